//! A copy of a bucket in memory, for what is asked on every request.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Place;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use super::bucket::Bucket;
use crate::state::StateError;

/// The least time between two questions about what is newest in a bucket, however many wait for it.
const ASKED_EVERY: Duration = Duration::from_millis(20);

/// How long it waits until it asks again whether it knows all.
const PROVEN_EVERY: Duration = Duration::from_secs(1);

/// How long it is waited for what is newest to arrive here. It takes a millisecond when all is well.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long a change that was told of may take to come by itself.
const AT_ONCE: Duration = Duration::from_millis(100);

/// What a value says, by its name.
pub(super) trait Record: Send + Sync + Sized + 'static {
    /// Reads it. An error is a sentence.
    fn read(name: &str, value: &[u8]) -> Result<Self, String>;

    /// Whether those who wait for changes are to be told of this one.
    fn is_told(&self) -> bool;
}

/// The copy. What was heard last counts for as long as nothing can be heard.
pub(super) struct Mirror<T> {
    bucket: Bucket,
    known: RwLock<Known<T>>,
    /// The revision before which everything is known. 0 while it is read anew.
    reached: watch::Sender<u64>,
    /// When it was last known to be everything.
    whole_at: RwLock<Instant>,
    changes: watch::Sender<u64>,
    /// How many questions about what is newest were begun.
    begun: AtomicU64,
    newest: Mutex<Question>,
}

struct Known<T> {
    slots: HashMap<String, Slot<T>>,
    /// Counts how often the bucket was read from the beginning.
    round: u64,
}

struct Slot<T> {
    /// `None`: it was removed. Kept so that an older value that arrives later does not bring it back.
    value: Option<Arc<T>>,
    revision: u64,
    round: u64,
    /// Whether a sweep has seen that it is removed.
    is_swept: bool,
}

/// The last question about what is newest.
struct Question {
    number: u64,
    at: Instant,
    outcome: Result<(), StateError>,
}

impl<T: Record> Mirror<T> {
    /// An empty one. Each change that is to be told adds 1 to `changes`.
    pub fn new(bucket: Bucket, changes: watch::Sender<u64>) -> Arc<Self> {
        Arc::new(Mirror {
            bucket,
            known: RwLock::new(Known { slots: HashMap::new(), round: 0 }),
            reached: watch::Sender::new(0),
            whole_at: RwLock::new(Instant::now()),
            changes,
            begun: AtomicU64::new(0),
            newest: Mutex::new(Question { number: 0, at: Instant::now(), outcome: Ok(()) }),
        })
    }

    /// What it is a copy of.
    pub fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    /// The value of a name, as far as is known here.
    pub fn get(&self, name: &str) -> Option<Arc<T>> {
        self.known().slots.get(name)?.value.clone()
    }

    /// All values with their names and revisions, as far as is known here, through `pick`.
    pub fn all<R>(&self, mut pick: impl FnMut(&str, &T, u64) -> Option<R>) -> Vec<R> {
        let known = self.known();
        let values = known.slots.iter().filter_map(|(name, slot)| Some((name, slot.value.as_ref()?, slot.revision)));
        values.filter_map(|(name, value, revision)| pick(name, value, revision)).collect()
    }

    /// Waits until everything is known that was so when this was called. Many who wait share one question.
    pub async fn catch_up(&self) -> Result<(), StateError> {
        let came = self.begun.load(Ordering::SeqCst);
        let mut last = self.newest.lock().await;
        // One that was begun after this was called says enough.
        if last.number <= came {
            tokio::time::sleep_until(last.at + ASKED_EVERY).await;
            let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
            let outcome = self.ask().await;
            *last = Question { number, at: Instant::now(), outcome };
        }
        last.outcome.clone()
    }

    async fn ask(&self) -> Result<(), StateError> {
        let newest = self.bucket.last_revision().await?;
        self.reach(newest, PATIENCE).await
    }

    /// Waits until everything up to `revision` is known.
    pub async fn reach(&self, revision: u64, patience: Duration) -> Result<(), StateError> {
        let mut reached = self.reached.subscribe();
        let arrived = tokio::time::timeout(patience, reached.wait_for(|reached| *reached > revision)).await;
        match arrived {
            Ok(Ok(_)) => Ok(()),
            _ => {
                let name = self.bucket.stream_name();
                Err(StateError::Unavailable(format!("what is newest in {name} of NATS does not arrive here")))
            }
        }
    }

    /// Finds out again and again whether all is known here that the leader has. Runs until it is dropped.
    pub async fn prove(&self) {
        loop {
            tokio::time::sleep(PROVEN_EVERY).await;
            let asked = Instant::now();
            // Heartbeats prove nothing: a server that the others of its cluster can't reach goes on with those of the consumers on it.
            if self.bucket.is_led().await && self.catch_up().await.is_ok() {
                *self.whole_at.write().unwrap_or_else(PoisonError::into_inner) = asked;
            }
        }
    }

    /// How long ago it was everything for sure.
    pub fn whole_ago(&self) -> Duration {
        self.whole_at.read().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// Looks after a change that somebody told of, unless it comes by itself at once, as it does when all is well.
    pub async fn look(&self, name: &str, revision: u64) -> Result<(), StateError> {
        if self.reach(revision, AT_ONCE).await.is_ok() {
            return Ok(());
        }
        if let Some((value, revision)) = self.bucket.newest(name).await? {
            self.hear(name, value.as_deref(), revision);
        }
        Ok(())
    }

    /// Begins to read the bucket anew. What is known goes on counting.
    pub fn begin(&self) {
        self.known_mut().round += 1;
        self.reached.send_replace(0);
    }

    /// All is read that was there, up to `reached`: what was not in it is gone.
    pub fn end(&self, reached: u64) {
        let mut known = self.known_mut();
        let round = known.round;
        known.slots.retain(|_, slot| slot.round == round);
        drop(known);
        self.tell(true);
        self.reached.send_replace(reached + 1);
    }

    /// A change was heard, after all those before it; `None` is a removal.
    pub fn hear(&self, name: &str, value: Option<&[u8]>, revision: u64) {
        match value.map(|value| T::read(name, value)).transpose() {
            Ok(value) => self.note(name, value, revision),
            Err(error) => {
                let bucket = self.bucket.stream_name();
                tracing::error!(bucket, name, error, "a value in NATS can't be read, and does not count");
                self.note(name, None, revision);
            }
        }
    }

    /// Everything up to `revision` was heard.
    pub fn heard(&self, revision: u64) {
        self.reached.send_if_modified(|reached| std::mem::replace(reached, (revision + 1).max(*reached)) <= revision);
    }

    /// A change, made here or heard. An older one than what is known changes nothing.
    pub fn note(&self, name: &str, value: Option<T>, revision: u64) {
        let mut known = self.known_mut();
        let round = known.round;
        let slot = Slot { value: value.map(Arc::new), revision, round, is_swept: false };
        let is_told = |slot: &Slot<T>| slot.value.as_ref().is_some_and(|value| value.is_told());
        let told = match known.slots.entry(name.to_owned()) {
            Place::Occupied(mut place) => {
                let old = place.get_mut();
                // The same is made here and then heard. A bucket that was made anew counts from the beginning.
                if old.round == round && old.revision >= revision {
                    return;
                }
                let told = old.revision != revision && (is_told(old) || is_told(&slot));
                *old = slot;
                told
            }
            Place::Vacant(place) => {
                let told = is_told(&slot);
                place.insert(slot);
                told
            }
        };
        drop(known);
        self.tell(told);
    }

    /// Forgets a name here that was forgotten in the bucket.
    pub fn forget(&self, name: &str, revision: u64) {
        let mut known = self.known_mut();
        if let Place::Occupied(place) = known.slots.entry(name.to_owned())
            && place.get().revision <= revision
        {
            place.remove();
        }
    }

    /// The names that have been removed since before the last call, with the revisions of that.
    pub fn long_removed(&self) -> Vec<(String, u64)> {
        let mut long = Vec::new();
        for (name, slot) in self.known_mut().slots.iter_mut().filter(|(_, slot)| slot.value.is_none()) {
            if std::mem::replace(&mut slot.is_swept, true) {
                long.push((name.clone(), slot.revision));
            }
        }
        long
    }

    fn tell(&self, is_told: bool) {
        if is_told {
            self.changes.send_modify(|changes| *changes += 1);
        }
    }

    fn known(&self) -> RwLockReadGuard<'_, Known<T>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn known_mut(&self) -> RwLockWriteGuard<'_, Known<T>> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}
