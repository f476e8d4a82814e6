//! What the replicas of a hub share beside the log and the jobs.
//!
//! - [`AccessStore`]: who may come in: API keys, tickets, revocations.
//! - [`RequestStore`]: what became of requests with an `Idempotency-Key`.
//! - [`StateStore`] is both.
//!
//! [`Store`](crate::Store) keeps it in SQLite for one hub on one machine, [`NatsState`](crate::nats::NatsState) in buckets of
//! NATS for several replicas. One contract suite (`state_contract`) runs on both.

use std::time::Duration;

use async_trait::async_trait;
use tidings::{Cursor, Timestamp};

use crate::store::key::split_token;
use crate::store::{Key, NewKey, Revocation};

/// How long the answer of a request is kept: a client that retries after a day has other troubles.
pub const ANSWERS_KEPT: Duration = Duration::from_secs(24 * 3600);

/// The longest that a ticket may count. One that is to count for longer may be forgotten earlier than that.
pub const LONGEST_TICKET: Duration = Duration::from_secs(300);

/// After how long keys and revocations are not current any more. Longer than a cluster that keeps them takes to find another leader on most
/// days.
const STALE: Duration = Duration::from_secs(8);

/// Why the state could not be read or changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// Not now. Whether a change was made is not known; trying again may help.
    #[error("{0}")]
    Unavailable(String),
    /// There is no room for more of this.
    #[error("{0}")]
    Full(String),
    /// What is kept can't be read, or can't be written at all.
    #[error("{0}")]
    Broken(String),
}

/// Who may come in. After a change has been answered, every process that shares the state sees it: reads of one key or ticket at
/// once, [`keys`](AccessStore::keys) and [`revocations`](AccessStore::revocations) within a second.
#[async_trait]
pub trait AccessStore: Send + Sync + 'static {
    /// Makes a key and returns it with its token, `tdg_<id>_<secret>`. The token is stored nowhere: show it once.
    async fn create_key(&self, new: NewKey, now: Timestamp) -> Result<(Key, String), StateError>;

    /// The key with this id, also one that has expired. Made for every request: one that is known costs no question to
    /// anybody, and many unknown ones cost others little. A key that any process made before this was called is found.
    async fn find_key(&self, id: &str) -> Result<Option<Key>, StateError>;

    /// The key whose token this is, compared in constant time; `None` if there is none or the secret is wrong. Whether it has
    /// run out is not looked at.
    async fn key_of(&self, token: &str) -> Result<Option<Key>, StateError> {
        let Some((id, secret)) = split_token(token) else { return Ok(None) };
        Ok(self.find_key(id).await?.filter(|key| key.has_secret(secret)))
    }

    /// All keys, oldest first, the expired ones too.
    async fn keys(&self) -> Result<Vec<Key>, StateError>;

    /// The ids of all keys, in no order.
    async fn key_ids(&self) -> Result<Vec<String>, StateError>;

    /// Removes a key and returns whether there was one.
    async fn delete_key(&self, id: &str) -> Result<bool, StateError>;

    /// Remembers that a key was used. A write: call it once a minute and key, not at each use.
    async fn touch_key(&self, id: &str, now: Timestamp) -> Result<(), StateError>;

    /// Keeps who a ticket stands for, for [`LONGEST_TICKET`] at most. Only the ticket's SHA-256 is stored.
    async fn put_ticket(&self, hash: [u8; 32], principal: &str, expires_at: Timestamp) -> Result<(), StateError>;

    /// Takes a ticket away and returns who it stands for; `None` if there is none, it was taken or it has expired.
    /// Of all who come with one ticket, in whichever process, one gets it. After an error it may be gone.
    async fn take_ticket(&self, hash: [u8; 32], now: Timestamp) -> Result<Option<String>, StateError>;

    /// Keeps a revocation. Of two of the same, the later times count.
    async fn revoke(&self, revocation: &Revocation) -> Result<(), StateError>;

    /// All that still count, the oldest first.
    async fn revocations(&self, now: Timestamp) -> Result<Vec<Revocation>, StateError>;

    /// Waits until keys or revocations may have changed since `seen`, in whichever process, and returns what `seen` is to be from
    /// then on. Read them afterwards: nothing between is missed. With `None` it returns at once.
    async fn changed(&self, seen: Option<u64>) -> Result<u64, StateError>;

    /// Waits until keys and revocations are known here as they were when this was called. Where nobody else changes them they always are.
    async fn catch_up(&self) -> Result<(), StateError> {
        Ok(())
    }

    /// How long ago what is known here of keys and revocations was all that there is, for sure. Whoever was shut out elsewhere since may
    /// still come in here.
    fn whole_ago(&self) -> Duration {
        Duration::ZERO
    }

    /// Whether that was some seconds ago at the latest.
    fn is_current(&self) -> bool {
        self.whole_ago() < STALE
    }
}

/// Somebody is about to publish the events of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// SHA-256 of the request's body: the same key with another body is a mistake of the client.
    pub body: [u8; 32],
    /// The end of the log before it: the events of the request come after.
    pub after: Cursor,
    /// Who: a number that a process draws when it starts.
    pub by: u64,
    /// When.
    pub at: Timestamp,
}

/// An answer that was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// SHA-256 of the request's body; `None` if it was lost in a crash.
    pub body: Option<[u8; 32]>,
    /// The body of the answer.
    pub answer: String,
    /// When it was given.
    pub at: Timestamp,
}

/// A place at a request that nobody else has: handed back with what became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held(pub u64);

/// What came of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// It is the caller's.
    New(Held),
    /// It was claimed before, and not answered: by this, and whoever wants it from them hands in this place.
    UnderWay(Claim, Held),
    /// It was answered before.
    Answered(Answer),
}

/// What became of requests, by their numbers: the first 16 bytes of SHA-256 over the publisher and its `Idempotency-Key`.
#[async_trait]
pub trait RequestStore: Send + Sync + 'static {
    /// Whether claims are seen by other processes, and outlive this one. Where not, each claim is [`Claimed::New`]: the one process
    /// sees to it that it claims once, and records how far the log is known ([`known_until`](RequestStore::known_until)), because
    /// a crash takes its claims.
    fn keeps_claims(&self) -> bool;

    /// How long a publish of another process may be on its way to the log.
    fn publish_timeout(&self) -> Duration {
        Duration::ZERO
    }

    /// Claims a request of which nothing is kept, or only an answer that is older than [`ANSWERS_KEPT`]. Of all who claim one at
    /// the same time, one gets it.
    async fn claim(&self, request: [u8; 16], claim: &Claim) -> Result<Claimed, StateError>;

    /// Takes over a claim that nobody is at any more. `None` if it is not as it was seen: somebody else was faster.
    async fn take_over(&self, request: [u8; 16], held: Held, claim: &Claim) -> Result<Option<Held>, StateError>;

    /// Keeps an answer in the place of the claim. The first one stays: a retry must never hear something else.
    async fn answer(&self, request: [u8; 16], held: Held, answer: &Answer) -> Result<(), StateError>;

    /// Gives a claim up of which nothing was published, unless somebody has taken it over.
    async fn give_up(&self, request: [u8; 16], held: Held) -> Result<(), StateError>;

    /// The place in the log up to which every request has its answer kept, as recorded last. Only where claims are not kept.
    async fn known_until(&self) -> Result<Option<Cursor>, StateError>;

    /// Records that place.
    async fn record(&self, known_until: Cursor) -> Result<(), StateError>;
}

/// All that replicas share beside the log and the jobs.
#[async_trait]
pub trait StateStore: AccessStore + RequestStore {
    /// Removes what is of no use any more, and returns how much that was. To be called now and then.
    async fn sweep(&self, now: Timestamp) -> Result<usize, StateError>;
}
