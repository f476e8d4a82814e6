//! Keys, tickets and revocations in memory: for tests, and for programs that keep nothing.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tidings::Timestamp;
use tidings_brokers::state::{AccessStore, StateError};
use tidings_brokers::store::{Key, NewKey, Revocation};
use tokio::sync::watch;

/// Keeps everything in memory. Gone with the process.
pub struct MemoryStore {
    kept: Mutex<Kept>,
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct Kept {
    /// By their tokens.
    keys: HashMap<String, Key>,
    tickets: HashMap<[u8; 32], (String, Timestamp)>,
    revocations: Vec<Revocation>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        MemoryStore { kept: Mutex::default(), changes: watch::Sender::new(0) }
    }
}

impl MemoryStore {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// Adds a key under this token, whatever the token is.
    pub fn add_key(&self, token: &str, key: Key) {
        self.kept().keys.insert(token.to_owned(), key);
        self.changed();
    }

    /// Forgets a key, and returns whether there was one.
    pub fn remove_key(&self, id: &str) -> bool {
        let mut kept = self.kept();
        let count = kept.keys.len();
        kept.keys.retain(|_, key| key.id != id);
        let removed = kept.keys.len() < count;
        drop(kept);
        self.changed();
        removed
    }

    fn pick<T>(&self, pick: impl FnMut(&Key) -> T) -> Vec<T> {
        self.kept().keys.values().map(pick).collect()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryStore")
    }
}

#[async_trait]
impl AccessStore for MemoryStore {
    async fn create_key(&self, new: NewKey, now: Timestamp) -> Result<(Key, String), StateError> {
        let made = Key::generate(new, now);
        let (key, token) = made.map_err(|error| StateError::Unavailable(error.to_string()))?;
        self.add_key(&token, key.clone());
        Ok((key, token))
    }

    async fn find_key(&self, id: &str) -> Result<Option<Key>, StateError> {
        Ok(self.kept().keys.values().find(|key| key.id == id).cloned())
    }

    async fn key_of(&self, token: &str) -> Result<Option<Key>, StateError> {
        Ok(self.kept().keys.get(token).cloned())
    }

    async fn keys(&self) -> Result<Vec<Key>, StateError> {
        let mut keys = self.pick(Key::clone);
        keys.sort_by_key(|key| key.created_at);
        Ok(keys)
    }

    async fn key_ids(&self) -> Result<Vec<String>, StateError> {
        Ok(self.pick(|key| key.id.clone()))
    }

    async fn delete_key(&self, id: &str) -> Result<bool, StateError> {
        Ok(self.remove_key(id))
    }

    async fn touch_key(&self, id: &str, now: Timestamp) -> Result<(), StateError> {
        self.kept().keys.values_mut().filter(|key| key.id == id).for_each(|key| key.used_at = Some(now));
        Ok(())
    }

    async fn put_ticket(&self, hash: [u8; 32], principal: &str, expires_at: Timestamp) -> Result<(), StateError> {
        self.kept().tickets.insert(hash, (principal.to_owned(), expires_at));
        Ok(())
    }

    async fn take_ticket(&self, hash: [u8; 32], now: Timestamp) -> Result<Option<String>, StateError> {
        let ticket = self.kept().tickets.remove(&hash);
        Ok(ticket.filter(|(_, expires_at)| *expires_at > now).map(|(principal, _)| principal))
    }

    async fn revoke(&self, revocation: &Revocation) -> Result<(), StateError> {
        self.kept().revocations.push(revocation.clone());
        self.changed();
        Ok(())
    }

    async fn revocations(&self, now: Timestamp) -> Result<Vec<Revocation>, StateError> {
        Ok(self.kept().revocations.iter().filter(|revocation| revocation.until > now).cloned().collect())
    }

    async fn changed(&self, seen: Option<u64>) -> Result<u64, StateError> {
        let mut changes = self.changes.subscribe();
        let now = changes.wait_for(|now| Some(*now) != seen).await;
        Ok(*now.map_err(|error| StateError::Unavailable(error.to_string()))?)
    }
}
