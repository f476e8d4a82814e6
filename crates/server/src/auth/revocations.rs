//! Who was shut out.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tidings::principal::{Revocation, RevokedIdentity};
use tidings::{Clock, CloseReason, Principal, Timestamp};
use tidings_brokers::state::{AccessStore, StateError};
use tidings_brokers::store::{self, Revoked};

/// Ends the live streams that a revocation covers: the hub's part.
pub type RevokeCallback = Arc<dyn Fn(Revocation, CloseReason) + Send + Sync>;

/// How long it waits after the store could not tell what others changed.
const AGAIN: Duration = Duration::from_millis(400);

/// How many times as long as it took to read the store it waits before it reads it again, and how long at most: where much is revoked and
/// much has been, reading takes a fifth of a core, and a change is seen within a second.
const REST: (u32, Duration) = (4, Duration::from_millis(500));

/// For how long a key that was removed is refused by its id. Whoever found it good just before may not have said so yet, and what was
/// found good is believed for a while.
const REMOVED: Duration = Duration::from_secs(10);

/// The revocations that still count, asked on every request. A look-up is at most six hashes.
pub struct Revocations {
    entries: RwLock<HashMap<Revocation, Times>>,
    count: AtomicUsize,
    /// The keys that there are, and those that are in use here.
    keys: Mutex<HashSet<Arc<str>>>,
    store: Arc<dyn AccessStore>,
    clock: Arc<dyn Clock>,
    /// Held by who reads the store and ends streams for it.
    reading: tokio::sync::Mutex<()>,
}

#[derive(Clone, Copy, Debug)]
struct Times {
    /// By the clock of whoever revoked.
    at: Timestamp,
    until: Timestamp,
    /// When it was known here: what was found good here after this was found good after the revocation, whatever the clock of the other
    /// replica says.
    known: Timestamp,
}

impl Times {
    fn is_less_than(&self, other: &Times) -> bool {
        self.at < other.at || self.until < other.until
    }
}

impl Revocations {
    /// Nobody is shut out yet; what the store has is not read.
    pub fn new(store: Arc<dyn AccessStore>, clock: Arc<dyn Clock>) -> Self {
        Revocations {
            entries: RwLock::default(),
            count: AtomicUsize::new(0),
            keys: Mutex::default(),
            store,
            clock,
            reading: tokio::sync::Mutex::default(),
        }
    }

    /// Reads what the store has.
    pub async fn open(store: Arc<dyn AccessStore>, clock: Arc<dyn Clock>) -> Result<Self, StateError> {
        let revocations = Revocations::new(store, clock);
        revocations.refresh().await?;
        Ok(revocations)
    }

    /// Shuts `of` out here: credentials made up to now are refused from now on. Ending the live streams is the caller's part,
    /// and so is having it kept. Returns when it was.
    pub fn shut_out(&self, of: Revocation, until: Timestamp) -> Timestamp {
        let at = self.clock.now();
        self.remember(of, Times { at, until, known: at });
        at
    }

    /// Keeps that `of` was shut out at `at`, for a restart and for other replicas, until `until`, which should be no earlier
    /// than the end of the longest of the credentials that it covers.
    pub async fn keep(&self, of: Revocation, at: Timestamp, until: Timestamp) -> Result<(), StateError> {
        self.store.revoke(&to_kept(of, at, until)).await
    }

    /// Whether `principal` was shut out. Where the credential's age is unknown it counts as old, except that a
    /// revoked *principal* may come back through a source that has just asked the app (`asked`).
    pub fn refuse(&self, principal: &Principal, asked: bool) -> bool {
        self.covering(principal).any(|(of, times)| match (principal.issued_at, of.of) {
            // "Up to": a JWT's date is cut to its second.
            (Some(issued_at), _) => issued_at <= times.at,
            (None, RevokedIdentity::Principal(_)) => !asked,
            (None, _) => true,
        })
    }

    /// Whether `principal`, which was found good at `since`, was shut out since then.
    pub fn refuse_since(&self, principal: &Principal, since: Timestamp) -> bool {
        self.covering(principal).any(|(_, times)| times.known >= since)
    }

    fn covering(&self, principal: &Principal) -> impl Iterator<Item = (Revocation, Times)> {
        let mut found = Vec::new();
        if self.count.load(Ordering::Acquire) > 0 {
            let now = self.clock.now();
            let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
            let mut look = |everywhere: Revocation| {
                let here = principal.namespace.clone().map(|namespace| everywhere.clone().within(Some(namespace)));
                for of in here.into_iter().chain([everywhere]) {
                    if let Some(times) = entries.get(&of).filter(|times| times.until > now) {
                        found.push((of, *times));
                    }
                }
            };
            look(Revocation::principal(principal.id.clone()));
            principal.session.iter().cloned().map(Revocation::session).for_each(&mut look);
            principal.key.iter().cloned().map(Revocation::key).for_each(&mut look);
        }
        found.into_iter()
    }

    fn remember(&self, of: Revocation, times: Times) {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        if entries.len().is_power_of_two() {
            entries.retain(|_, times| times.until > now);
        }
        let kept = entries.entry(of).or_insert(times);
        *kept =
            Times { at: kept.at.max(times.at), until: kept.until.max(times.until), known: kept.known.max(times.known) };
        self.count.store(entries.len(), Ordering::Release);
    }

    fn keys(&self) -> MutexGuard<'_, HashSet<Arc<str>>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a key that is in use, so that its removal is noticed even if it was made after the last look.
    pub(super) fn know_key(&self, id: &Arc<str>) {
        let mut keys = self.keys();
        if !keys.contains(id) {
            keys.insert(id.clone());
        }
    }

    /// Reads what the store has; returns whose live streams have to end for it.
    pub async fn refresh(&self) -> Result<Vec<Revocation>, StateError> {
        // Before the store is asked: what is not there then is gone, and a key that is first used meanwhile is not.
        let known = self.keys().clone();
        let there: HashSet<Arc<str>> = self.store.key_ids().await?.into_iter().map(Arc::from).collect();
        let kept = self.store.revocations(self.clock.now()).await?;
        let now = self.clock.now();
        let mut kept: Vec<_> = kept.into_iter().map(|revocation| from_kept(revocation, now)).collect();
        {
            let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
            kept.retain(|(of, times)| entries.get(of).is_none_or(|known| known.is_less_than(times)));
        }
        kept.iter().for_each(|(of, times)| self.remember(of.clone(), *times));
        let mut gone: Vec<Revocation> = kept.into_iter().map(|(of, _)| of).collect();
        let removed: HashSet<Arc<str>> = known.difference(&there).cloned().collect();
        let mut keys = self.keys();
        keys.retain(|id| !removed.contains(id));
        keys.extend(there);
        drop(keys);
        for key in removed.into_iter().map(Revocation::key) {
            // Its streams are ended once: whoever comes with what is remembered of it must not begin new ones, whatever the date says that
            // another replica gave the key.
            self.remember(key.clone(), Times { at: Timestamp(u64::MAX), until: now.after(REMOVED), known: now });
            gone.push(key);
        }
        Ok(gone)
    }

    /// Learns whom other processes have shut out up to now, and ends their streams. Returns when that is done, however long it takes.
    pub async fn catch_up(&self, revoke: &RevokeCallback) {
        loop {
            let known = async {
                self.store.catch_up().await?;
                self.end_others(revoke).await
            };
            match known.await {
                Ok(()) => return,
                Err(error) => tracing::debug!(%error, "revocations of other processes can't be read yet"),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Reads what the store has, and ends the streams of whom another process shut out. One at a time: who reads what is no news any more
    /// has to know that the streams have ended.
    async fn end_others(&self, revoke: &RevokeCallback) -> Result<(), StateError> {
        let _turn = self.reading.lock().await;
        self.refresh().await?.into_iter().for_each(|of| revoke(of, CloseReason::Revoked));
        Ok(())
    }

    /// Ends the streams of whom another process revoked, or whose key was removed. Runs until it is dropped.
    pub async fn watch(self: Arc<Self>, revoke: RevokeCallback) {
        let (mut seen, mut is_failing) = (None, false);
        loop {
            let ended = async {
                let now = self.store.changed(seen).await?;
                let began = tokio::time::Instant::now();
                self.end_others(&revoke).await?;
                seen = Some(now);
                Ok::<_, StateError>(began.elapsed())
            };
            match ended.await {
                Ok(took) => {
                    is_failing = false;
                    tokio::time::sleep((took * REST.0).min(REST.1)).await;
                }
                Err(error) => {
                    if !std::mem::replace(&mut is_failing, true) {
                        tracing::error!(%error, "revocations of other processes can't be read");
                    }
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }
}

impl fmt::Debug for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Revocations({})", self.count.load(Ordering::Relaxed))
    }
}

fn to_kept(Revocation { of, namespace }: Revocation, at: Timestamp, until: Timestamp) -> store::Revocation {
    let (kind, value) = match &of {
        RevokedIdentity::Principal(id) => (Revoked::Principal, id),
        RevokedIdentity::Session(id) => (Revoked::Session, id),
        RevokedIdentity::Key(id) => (Revoked::Key, id),
    };
    store::Revocation { kind, value: value.to_string(), namespace: namespace.as_deref().map(Into::into), at, until }
}

fn from_kept(revocation: store::Revocation, known: Timestamp) -> (Revocation, Times) {
    let store::Revocation { kind, value, namespace, at, until } = revocation;
    let of = match kind {
        Revoked::Principal => Revocation::principal(value),
        Revoked::Session => Revocation::session(value),
        Revoked::Key => Revocation::key(value),
    };
    (of.within(namespace.map(Into::into)), Times { at, until, known })
}
