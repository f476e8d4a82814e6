//! What the sources keep: keys, tickets, revocations.

use std::collections::HashMap;
use std::fmt;
use std::sync::Mutex;

use tidings::Timestamp;
use tidings::principal::{Revocation, RevokedIdentity};
use tidings_brokers::Store;
use tidings_brokers::store::key::split_token;
use tidings_brokers::store::{self, Revoked};

/// What every key that the program makes begins with.
pub const KEY_PREFIX: &str = "tdg_";

/// Why the store could not answer.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct StoreError(pub String);

/// A key that the program made, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey {
    /// Its public id: `tdg_<id>_<secret>`.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it may see.
    pub grants: Vec<String>,
    /// Whether it may publish.
    pub may_publish: bool,
    /// The topics it may publish to; `None` is every topic.
    pub publish_topics: Option<Vec<String>>,
    /// The names it may publish; `None` is every name.
    pub publish_names: Option<Vec<String>>,
    /// Whether it is an operator's. Not if it is for one profile.
    pub operator: bool,
    /// The namespace of the profile that it is for, in whose words its grants and topics then are. `None`: it is for
    /// every door, and its grants and topics are whole (`<namespace>/role/admin`).
    pub profile: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it runs out.
    pub expires_at: Option<Timestamp>,
}

/// A revocation, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRevocation {
    /// Whom it concerns.
    pub of: Revocation,
    /// When it was made: older credentials are refused.
    pub at: Timestamp,
    /// When it may be forgotten.
    pub until: Timestamp,
}

/// What the sources need kept. Each call is short; reads are made from async code, writes are not.
pub trait AuthStore: Send + Sync + 'static {
    /// The key whose token this is, compared in constant time; `None` if there is none or the secret is wrong.
    /// Whether it has run out is not looked at.
    fn verify_key(&self, token: &str) -> Result<Option<StoredKey>, StoreError>;

    /// Takes note that a key is in use. At most once a minute for each; nobody waits for it.
    fn touch_key(&self, id: &str, now: Timestamp) -> Result<(), StoreError>;

    /// The ids of all keys.
    fn key_ids(&self) -> Result<Vec<String>, StoreError>;

    /// Keeps a ticket. Only its hash is known here.
    fn put_ticket(&self, hash: [u8; 32], principal: &str, expires_at: Timestamp) -> Result<(), StoreError>;

    /// Takes a ticket away and returns what it stands for. Of two that ask at once, one gets it.
    fn take_ticket(&self, hash: [u8; 32], now: Timestamp) -> Result<Option<String>, StoreError>;

    /// Keeps a revocation.
    fn put_revocation(&self, revocation: &StoredRevocation) -> Result<(), StoreError>;

    /// The revocations that are not forgotten.
    fn revocations(&self, now: Timestamp) -> Result<Vec<StoredRevocation>, StoreError>;

    /// A number that changes when the keys or the revocations do, also by another process.
    fn generation(&self) -> Result<u64, StoreError>;
}

impl From<store::StoreError> for StoreError {
    fn from(error: store::StoreError) -> Self {
        StoreError(error.to_string())
    }
}

impl AuthStore for Store {
    fn verify_key(&self, token: &str) -> Result<Option<StoredKey>, StoreError> {
        let Some((id, secret)) = split_token(token) else { return Ok(None) };
        // Not `Store::verify`: one that has run out is to be told so.
        let Some(key) = self.find_key(id)?.filter(|key| key.has_secret(secret)) else { return Ok(None) };
        let store::NewKey { name, grants, publish_topics, publish_names, may_publish, operator, profile, expires_at } =
            key.rights;
        Ok(Some(StoredKey {
            id: key.id,
            name,
            grants,
            may_publish,
            publish_topics,
            publish_names,
            operator,
            profile,
            created_at: key.created_at,
            expires_at,
        }))
    }

    fn touch_key(&self, id: &str, now: Timestamp) -> Result<(), StoreError> {
        Ok(Store::touch_key(self, id, now)?)
    }

    fn key_ids(&self) -> Result<Vec<String>, StoreError> {
        Ok(self.keys()?.into_iter().map(|key| key.id).collect())
    }

    fn put_ticket(&self, hash: [u8; 32], principal: &str, expires_at: Timestamp) -> Result<(), StoreError> {
        Ok(Store::put_ticket(self, hash, principal, expires_at)?)
    }

    fn take_ticket(&self, hash: [u8; 32], now: Timestamp) -> Result<Option<String>, StoreError> {
        Ok(Store::take_ticket(self, hash, now)?)
    }

    fn put_revocation(&self, revocation: &StoredRevocation) -> Result<(), StoreError> {
        let StoredRevocation { of: Revocation { of, namespace }, at, until } = revocation;
        let (kind, value) = match of {
            RevokedIdentity::Principal(id) => (Revoked::Principal, id),
            RevokedIdentity::Session(id) => (Revoked::Session, id),
            RevokedIdentity::Key(id) => (Revoked::Key, id),
        };
        let (value, namespace) = (value.to_string(), namespace.as_deref().map(Into::into));
        Ok(self.revoke(&store::Revocation { kind, value, namespace, at: *at, until: *until })?)
    }

    fn revocations(&self, now: Timestamp) -> Result<Vec<StoredRevocation>, StoreError> {
        let kept = Store::revocations(self, now)?.into_iter().map(|kept| {
            let store::Revocation { kind, value, namespace, at, until } = kept;
            let of = match kind {
                Revoked::Principal => Revocation::principal(value),
                Revoked::Session => Revocation::session(value),
                Revoked::Key => Revocation::key(value),
            };
            StoredRevocation { of: of.within(namespace.map(Into::into)), at, until }
        });
        Ok(kept.collect())
    }

    fn generation(&self) -> Result<u64, StoreError> {
        Ok(Store::generation(self)?)
    }
}

/// Keeps everything in memory: for tests, and for programs that keep nothing.
#[derive(Default)]
pub struct MemoryStore(Mutex<Memory>);

#[derive(Default)]
struct Memory {
    keys: HashMap<String, StoredKey>,
    tickets: HashMap<[u8; 32], (String, Timestamp)>,
    revocations: Vec<StoredRevocation>,
    generation: u64,
}

impl MemoryStore {
    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Adds a key under the token that is its secret here.
    pub fn add_key(&self, token: &str, key: StoredKey) {
        let mut memory = self.memory();
        memory.keys.insert(token.to_owned(), key);
        memory.generation += 1;
    }

    /// Forgets a key.
    pub fn remove_key(&self, id: &str) {
        let mut memory = self.memory();
        memory.keys.retain(|_, key| key.id != id);
        memory.generation += 1;
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryStore")
    }
}

impl AuthStore for MemoryStore {
    fn verify_key(&self, token: &str) -> Result<Option<StoredKey>, StoreError> {
        Ok(self.memory().keys.get(token).cloned())
    }

    fn touch_key(&self, _id: &str, _now: Timestamp) -> Result<(), StoreError> {
        Ok(())
    }

    fn key_ids(&self) -> Result<Vec<String>, StoreError> {
        Ok(self.memory().keys.values().map(|key| key.id.clone()).collect())
    }

    fn put_ticket(&self, hash: [u8; 32], principal: &str, expires_at: Timestamp) -> Result<(), StoreError> {
        self.memory().tickets.insert(hash, (principal.to_owned(), expires_at));
        Ok(())
    }

    fn take_ticket(&self, hash: [u8; 32], now: Timestamp) -> Result<Option<String>, StoreError> {
        let ticket = self.memory().tickets.remove(&hash);
        Ok(ticket.filter(|(_, expires_at)| *expires_at > now).map(|(principal, _)| principal))
    }

    fn put_revocation(&self, revocation: &StoredRevocation) -> Result<(), StoreError> {
        let mut memory = self.memory();
        memory.revocations.push(revocation.clone());
        memory.generation += 1;
        Ok(())
    }

    fn revocations(&self, now: Timestamp) -> Result<Vec<StoredRevocation>, StoreError> {
        Ok(self.memory().revocations.iter().filter(|r| r.until > now).cloned().collect())
    }

    fn generation(&self) -> Result<u64, StoreError> {
        Ok(self.memory().generation)
    }
}
