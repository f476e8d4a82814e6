//! Who was shut out.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tidings::principal::{Revocation, RevokedIdentity};
use tidings::{Clock, CloseReason, Principal, Timestamp};

use super::store::{AuthStore, StoreError, StoredRevocation};

/// Ends the live streams that a revocation covers: the hub's part.
pub type RevokeCallback = Arc<dyn Fn(Revocation, CloseReason) + Send + Sync>;

/// How often the store is asked whether another process revoked something or removed a key. Half of the second
/// within which it must take effect.
const WATCH_EVERY: Duration = Duration::from_millis(400);

/// The revocations that still count, asked on every request. A look-up is at most six hashes.
pub struct Revocations {
    entries: RwLock<HashMap<Revocation, Times>>,
    count: AtomicUsize,
    known: Mutex<Known>,
    store: Arc<dyn AuthStore>,
    clock: Arc<dyn Clock>,
}

#[derive(Clone, Copy, Debug)]
struct Times {
    at: Timestamp,
    until: Timestamp,
}

/// What was last read from the store.
#[derive(Default)]
struct Known {
    generation: Option<u64>,
    keys: HashSet<Arc<str>>,
}

impl Revocations {
    /// Reads what the store has.
    pub fn open(store: Arc<dyn AuthStore>, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let revocations = Revocations {
            entries: RwLock::default(),
            count: AtomicUsize::new(0),
            known: Mutex::default(),
            store,
            clock,
        };
        revocations.refresh()?;
        Ok(revocations)
    }

    /// Shuts `of` out: credentials made up to now are refused from now on, and kept so until `until`, which should
    /// be no earlier than the end of the longest of them. Kept before it returns. Ending the live streams is the
    /// caller's part.
    pub fn revoke(&self, of: Revocation, until: Timestamp) -> Result<(), StoreError> {
        let at = self.clock.now();
        // First in memory: if the disk fails, the answer is an error, but the door is shut.
        self.remember(of.clone(), Times { at, until });
        self.store.put_revocation(&StoredRevocation { of, at, until })
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
        self.covering(principal).any(|(_, times)| times.at >= since)
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
        *kept = Times { at: kept.at.max(times.at), until: kept.until.max(times.until) };
        self.count.store(entries.len(), Ordering::Release);
    }

    /// Takes note of a key that is in use, so that its removal is noticed even if it was made after the last look.
    pub(super) fn know_key(&self, id: &Arc<str>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.keys.contains(id) {
            known.keys.insert(id.clone());
        }
    }

    /// Reads what the store has if it changed; returns whose live streams have to end for it.
    pub fn refresh(&self) -> Result<Vec<Revocation>, StoreError> {
        let generation = self.store.generation()?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.generation == Some(generation) {
            return Ok(Vec::new());
        }
        let mut gone = Vec::new();
        for StoredRevocation { of, at, until } in self.store.revocations(self.clock.now())? {
            let times = self.entries.read().unwrap_or_else(PoisonError::into_inner).get(&of).copied();
            if times.is_none_or(|times| times.at < at || times.until < until) {
                self.remember(of.clone(), Times { at, until });
                gone.push(of);
            }
        }
        let keys: HashSet<Arc<str>> = self.store.key_ids()?.into_iter().map(Arc::from).collect();
        gone.extend(known.keys.difference(&keys).map(|id| Revocation::key(id.clone())));
        *known = Known { generation: Some(generation), keys };
        Ok(gone)
    }

    /// Ends the streams of whom another process revoked, or whose key was removed. Runs until it is dropped.
    pub async fn watch(self: Arc<Self>, revoke: RevokeCallback) {
        let mut failing = false;
        loop {
            tokio::time::sleep(WATCH_EVERY).await;
            let revocations = self.clone();
            let gone = tokio::task::spawn_blocking(move || revocations.refresh()).await;
            let gone = match gone {
                Ok(Ok(gone)) => gone,
                Ok(Err(error)) if !failing => {
                    failing = true;
                    tracing::error!(%error, "revocations of other processes can't be read");
                    continue;
                }
                _ => continue,
            };
            failing = false;
            for of in gone {
                revoke(of, CloseReason::Revoked);
            }
        }
    }
}

impl fmt::Debug for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Revocations({})", self.count.load(Ordering::Relaxed))
    }
}
