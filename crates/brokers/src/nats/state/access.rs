//! API keys, tickets and revocations in NATS.

use std::time::Duration;

use async_trait::async_trait;
use tidings::Timestamp;

use super::record::{
    KeyRecord, OfKey, RevocationRecord, TicketRecord, from_json, key_name, revocation_name, ticket_name, to_json,
    use_name,
};
use super::{NatsState, hint};
use crate::nats::state::mirror::Record;
use crate::state::{AccessStore, StateError};
use crate::store::{Key, NewKey, Revocation};

/// How often a change is tried that others get before. Each time at least one of them is through.
const TRIES: usize = 32;

fn contended() -> StateError {
    StateError::Unavailable("too many change the same in NATS at once".into())
}

impl NatsState {
    /// The key as it is known here, with its last use.
    fn known_key(&self, id: &str) -> Option<Key> {
        match &*self.keys.get(&key_name(id))? {
            OfKey::Key(key) => Some(Key { used_at: self.used_at(id), ..Key::clone(key) }),
            OfKey::UsedAt(_) => None,
        }
    }

    fn used_at(&self, id: &str) -> Option<Timestamp> {
        match &*self.keys.get(&use_name(id))? {
            OfKey::UsedAt(at) => Some(*at),
            OfKey::Key(_) => None,
        }
    }
}

/// Whether a text can be the id of a key, and so a name in a bucket.
fn is_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[async_trait]
impl AccessStore for NatsState {
    async fn create_key(&self, new: NewKey, now: Timestamp) -> Result<(Key, String), StateError> {
        for _ in 0..TRIES {
            let generated = Key::generate(new.clone(), now);
            let (key, token) = generated
                .map_err(|error| StateError::Unavailable(format!("the system gave no random bytes: {error}")))?;
            let name = key_name(&key.id);
            if let Some(revision) = self.keys.bucket().create(&name, to_json(&KeyRecord::new(&key))?).await? {
                self.keys.note(&name, Some(OfKey::Key(Box::new(key.clone()))), revision);
                return Ok((key, token));
            }
        }
        Err(contended())
    }

    async fn find_key(&self, id: &str) -> Result<Option<Key>, StateError> {
        if let Some(key) = self.known_key(id) {
            return Ok(Some(key));
        }
        if !is_id(id) {
            return Ok(None);
        }
        // Perhaps another replica has just made it.
        self.keys.catch_up().await?;
        Ok(self.known_key(id))
    }

    async fn keys(&self) -> Result<Vec<Key>, StateError> {
        let mut keys = self.keys.all(|_, record, _| match record {
            OfKey::Key(key) => Some(Key::clone(key)),
            OfKey::UsedAt(_) => None,
        });
        keys.iter_mut().for_each(|key| key.used_at = self.used_at(&key.id));
        keys.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        Ok(keys)
    }

    async fn key_ids(&self) -> Result<Vec<String>, StateError> {
        Ok(self.keys.all(|_, record, _| match record {
            OfKey::Key(key) => Some(key.id.clone()),
            OfKey::UsedAt(_) => None,
        }))
    }

    async fn delete_key(&self, id: &str) -> Result<bool, StateError> {
        if !is_id(id) {
            return Ok(false);
        }
        let name = key_name(id);
        for _ in 0..TRIES {
            let Some(kept) = self.keys.bucket().get(&name).await? else { return Ok(false) };
            if let Some(revision) = self.keys.bucket().delete(&name, kept.revision).await? {
                self.keys.note(&name, None, revision);
                hint::tell(&self.keys, &name, revision).await;
                return Ok(true);
            }
        }
        Err(contended())
    }

    async fn touch_key(&self, id: &str, now: Timestamp) -> Result<(), StateError> {
        if self.known_key(id).is_none() {
            return Ok(());
        }
        self.keys.bucket().set(&use_name(id), to_json(&now.0)?).await
    }

    async fn put_ticket(&self, hash: [u8; 32], principal: &str, expires_at: Timestamp) -> Result<(), StateError> {
        let record = TicketRecord { principal: principal.to_owned(), expires_at: expires_at.0 };
        self.tickets.set(&ticket_name(hash), to_json(&record)?).await
    }

    async fn take_ticket(&self, hash: [u8; 32], now: Timestamp) -> Result<Option<String>, StateError> {
        let name = ticket_name(hash);
        let Some(kept) = self.tickets.get(&name).await? else { return Ok(None) };
        // Of all who have read it one removes it.
        if self.tickets.delete(&name, kept.revision).await?.is_none() {
            return Ok(None);
        }
        let ticket: TicketRecord = from_json(&kept.value)
            .map_err(|error| StateError::Broken(format!("a ticket in NATS can't be read: {error}")))?;
        Ok((Timestamp(ticket.expires_at) > now).then_some(ticket.principal))
    }

    async fn revoke(&self, revocation: &Revocation) -> Result<(), StateError> {
        let name = revocation_name(revocation);
        let bucket = self.revocations.bucket();
        let mut revocation = revocation.clone();
        for _ in 0..TRIES {
            let written = match bucket.get(&name).await? {
                None => bucket.create(&name, to_json(&RevocationRecord::new(&revocation))?).await?,
                Some(kept) => {
                    let earlier = Revocation::read(&name, &kept.value)
                        .map_err(|error| StateError::Broken(format!("a revocation in NATS can't be read: {error}")))?;
                    revocation.at = revocation.at.max(earlier.at);
                    revocation.until = revocation.until.max(earlier.until);
                    bucket.update(&name, to_json(&RevocationRecord::new(&revocation))?, kept.revision).await?
                }
            };
            if let Some(revision) = written {
                self.revocations.note(&name, Some(revocation), revision);
                hint::tell(&self.revocations, &name, revision).await;
                return Ok(());
            }
        }
        Err(contended())
    }

    async fn revocations(&self, now: Timestamp) -> Result<Vec<Revocation>, StateError> {
        let mut counting = self.revocations.all(|_, kept, _| (kept.until > now).then(|| kept.clone()));
        counting.sort_by_key(|revocation| revocation.at);
        Ok(counting)
    }

    async fn changed(&self, seen: Option<u64>) -> Result<u64, StateError> {
        let mut changes = self.changes.subscribe();
        let now = changes.wait_for(|now| Some(*now) != seen).await;
        Ok(*now.map_err(|error| StateError::Unavailable(error.to_string()))?)
    }

    async fn catch_up(&self) -> Result<(), StateError> {
        tokio::try_join!(self.keys.catch_up(), self.revocations.catch_up()).map(|_| ())
    }

    fn whole_ago(&self) -> Duration {
        self.keys.whole_ago().max(self.revocations.whole_ago())
    }
}
