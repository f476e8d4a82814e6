//! What the replicas of a hub share beside the log and the jobs, in buckets of NATS.
//!
//! - `bucket`: values by name, changed on the condition that nobody else did.
//! - `mirror`, `follow`: the copy in memory of what is asked on every request, and how it is kept right.
//! - `hint`: how revocations and removed keys are told beside that, for when a server dies.
//! - `access`: API keys, tickets and revocations. `request`: what became of requests with an `Idempotency-Key`.
//! - `record`: how all of that is spelled. `import`: what comes from another store.

mod access;
mod bucket;
mod follow;
mod hint;
mod import;
mod mirror;
mod record;
mod request;

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::stream::DiscardPolicy;
use async_trait::async_trait;
use tidings::Timestamp;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use self::bucket::{Bucket, Shape};
use self::follow::follow;
use self::mirror::{Mirror, Record};
use self::record::{OfKey, key_name, used_key};
use super::kept_up::kept_up;
use super::{Engine, EngineError};
use crate::state::{ANSWERS_KEPT, LONGEST_TICKET, StateError, StateStore};
use crate::store::Revocation;

/// The most keys, their last uses counted too. Each replica has them in memory, at about 600 bytes.
const MOST_KEYS: u32 = 200_000;

/// The most revocations. Each replica has them in memory, at about 300 bytes, and 100 more where it checks requests.
const MOST_REVOCATIONS: u32 = 1_000_000;

/// The most tickets of the last minutes: 2,700 a second.
const MOST_TICKETS: u32 = 1_000_000;

/// The most requests that are remembered: 46 a second for a day. Where there are more, the oldest are forgotten earlier. The servers have
/// their names in memory.
const MOST_REQUESTS: u32 = 4_000_000;

/// How much longer than it counts a ticket is kept, for clocks that are not quite right.
const TICKET_MARGIN: Duration = Duration::from_secs(60);

/// How long the first reading of keys and revocations may take.
const FIRST_READING: Duration = Duration::from_secs(30);

/// The shared state. Ends what it runs when it is dropped.
pub struct NatsState {
    keys: Arc<Mirror<OfKey>>,
    revocations: Arc<Mirror<Revocation>>,
    tickets: Bucket,
    requests: Bucket,
    changes: watch::Sender<u64>,
    following: [AbortHandle; 3],
}

impl NatsState {
    /// Makes the buckets, or takes those that are there, and reads the keys and revocations.
    pub async fn open(engine: Arc<Engine>) -> Result<Arc<NatsState>, EngineError> {
        let open = |of, max_age, most, discard| Bucket::open(&engine, Shape { of, max_age, most, discard });
        let changes = watch::Sender::new(0);
        let keys = open("keys", Duration::ZERO, MOST_KEYS, DiscardPolicy::New).await?;
        let revocations = open("revocations", Duration::ZERO, MOST_REVOCATIONS, DiscardPolicy::New).await?;
        let keys = Mirror::new(keys, changes.clone());
        let revocations = Mirror::new(revocations, changes.clone());
        let state = NatsState {
            tickets: open("tickets", LONGEST_TICKET + TICKET_MARGIN, MOST_TICKETS, DiscardPolicy::New).await?,
            requests: open("requests", ANSWERS_KEPT, MOST_REQUESTS, DiscardPolicy::Old).await?,
            following: [run(&keys), run(&revocations), listen(&keys, &revocations)],
            keys,
            revocations,
            changes,
        };
        for read in [state.keys.reach(0, FIRST_READING).await, state.revocations.reach(0, FIRST_READING).await] {
            let at = engine.settings().shown_servers();
            read.map_err(|error| EngineError::Unreachable { at, why: error.to_string() })?;
        }
        Ok(Arc::new(state))
    }
}

fn run<T: Record>(mirror: &Arc<Mirror<T>>) -> AbortHandle {
    let mirror = mirror.clone();
    tokio::spawn(async move { kept_up("a copy of a bucket of NATS", || follow(mirror.clone())).await }).abort_handle()
}

fn listen(keys: &Arc<Mirror<OfKey>>, revocations: &Arc<Mirror<Revocation>>) -> AbortHandle {
    let (keys, revocations) = (keys.clone(), revocations.clone());
    let listen = async move { kept_up("hints", || hint::listen(keys.clone(), revocations.clone())).await };
    tokio::spawn(listen).abort_handle()
}

impl Drop for NatsState {
    fn drop(&mut self) {
        self.following.iter().for_each(AbortHandle::abort);
    }
}

impl std::fmt::Debug for NatsState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NatsState")
    }
}

#[async_trait]
impl StateStore for NatsState {
    async fn sweep(&self, now: Timestamp) -> Result<usize, StateError> {
        let over = |name: &str, revocation: &Revocation, revision| {
            (revocation.until <= now).then(|| (name.to_owned(), revision))
        };
        let unused = |name: &str, _: &OfKey, revision| {
            let id = used_key(name)?;
            self.keys.get(&key_name(id)).is_none().then(|| (name.to_owned(), revision))
        };
        let revocations = forget(&self.revocations, self.revocations.all(over)).await?;
        let uses = forget(&self.keys, self.keys.all(unused)).await?;
        // Those who follow have been told of the removal by now, or will read all anew.
        let removals = forget(&self.keys, self.keys.long_removed()).await?;
        Ok(revocations + uses + removals)
    }
}

async fn forget<T: Record>(mirror: &Mirror<T>, names: Vec<(String, u64)>) -> Result<usize, StateError> {
    for (name, revision) in &names {
        mirror.bucket().forget(name, *revision).await?;
        mirror.forget(name, *revision);
    }
    Ok(names.len())
}
