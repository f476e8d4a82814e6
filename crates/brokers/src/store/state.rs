//! The database as what one hub on one machine keeps its state in.

use std::time::Duration;

use async_trait::async_trait;
use tidings::{Cursor, Timestamp};

use super::{Key, NewKey, Revocation, Store, StoreError};
use crate::state::{AccessStore, Answer, Claim, Claimed, Held, RequestStore, StateError, StateStore};

/// How often it is looked whether another process (`tidings key create`) changed something. Less than half of the second within which
/// that must take effect.
const LOOK_EVERY: Duration = Duration::from_millis(400);

/// The name of the place up to which every request has its answer kept.
const KNOWN_UNTIL: &str = "idempotency";

impl From<StoreError> for StateError {
    fn from(error: StoreError) -> Self {
        StateError::Unavailable(error.to_string())
    }
}

impl Store {
    /// Runs what may block on the disk where that is allowed. Goes on when nobody waits for it any more.
    async fn blocking<T: Send + 'static>(
        &self,
        run: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StateError> {
        let store = self.clone();
        match tokio::task::spawn_blocking(move || run(&store)).await {
            Ok(done) => Ok(done?),
            Err(error) => Err(StateError::Unavailable(format!("the database did not finish: {error}"))),
        }
    }
}

#[async_trait]
impl AccessStore for Store {
    async fn create_key(&self, new: NewKey, now: Timestamp) -> Result<(Key, String), StateError> {
        self.blocking(move |store| store.create_key(new, now)).await
    }

    async fn find_key(&self, id: &str) -> Result<Option<Key>, StateError> {
        // Here: it is made for every request, and takes some microseconds.
        Ok(Store::find_key(self, id)?)
    }

    async fn keys(&self) -> Result<Vec<Key>, StateError> {
        self.blocking(Store::keys).await
    }

    async fn key_ids(&self) -> Result<Vec<String>, StateError> {
        self.blocking(Store::key_ids).await
    }

    async fn delete_key(&self, id: &str) -> Result<bool, StateError> {
        let id = id.to_owned();
        self.blocking(move |store| store.delete_key(&id)).await
    }

    async fn touch_key(&self, id: &str, now: Timestamp) -> Result<(), StateError> {
        let id = id.to_owned();
        self.blocking(move |store| store.touch_key(&id, now)).await
    }

    async fn put_ticket(&self, hash: [u8; 32], principal: &str, expires_at: Timestamp) -> Result<(), StateError> {
        let principal = principal.to_owned();
        self.blocking(move |store| store.put_ticket(hash, &principal, expires_at)).await
    }

    async fn take_ticket(&self, hash: [u8; 32], now: Timestamp) -> Result<Option<String>, StateError> {
        self.blocking(move |store| store.take_ticket(hash, now)).await
    }

    async fn revoke(&self, revocation: &Revocation) -> Result<(), StateError> {
        let revocation = revocation.clone();
        self.blocking(move |store| store.revoke(&revocation)).await
    }

    async fn revocations(&self, now: Timestamp) -> Result<Vec<Revocation>, StateError> {
        self.blocking(move |store| store.revocations(now)).await
    }

    async fn changed(&self, seen: Option<u64>) -> Result<u64, StateError> {
        loop {
            let generation = self.blocking(Store::generation).await?;
            if seen != Some(generation) {
                return Ok(generation);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

#[async_trait]
impl RequestStore for Store {
    fn keeps_claims(&self) -> bool {
        false
    }

    async fn claim(&self, request: [u8; 16], claim: &Claim) -> Result<Claimed, StateError> {
        let now = claim.at;
        let answer = self.blocking(move |store| store.idempotent_get(request, now)).await?;
        Ok(answer.map_or(Claimed::New(Held::default()), Claimed::Answered))
    }

    async fn take_over(&self, _request: [u8; 16], held: Held, _claim: &Claim) -> Result<Option<Held>, StateError> {
        Ok(Some(held))
    }

    async fn answer(&self, request: [u8; 16], _held: Held, answer: &Answer) -> Result<(), StateError> {
        let answer = answer.clone();
        self.blocking(move |store| store.idempotent_put(request, &answer)).await
    }

    async fn give_up(&self, _request: [u8; 16], _held: Held) -> Result<(), StateError> {
        Ok(())
    }

    async fn known_until(&self) -> Result<Option<Cursor>, StateError> {
        self.blocking(|store| store.place(KNOWN_UNTIL)).await
    }

    async fn record(&self, known_until: Cursor) -> Result<(), StateError> {
        self.blocking(move |store| store.put_place(KNOWN_UNTIL, known_until)).await
    }
}

#[async_trait]
impl StateStore for Store {
    async fn sweep(&self, now: Timestamp) -> Result<usize, StateError> {
        self.blocking(move |store| store.sweep(now)).await
    }
}
