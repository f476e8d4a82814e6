//! What outlives the program: a log and a store that fail or die when a test wants it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tidings::job::{Job, JobId, JobQuery, JobStore, JobStoreError, JobWatcher, Progress, Renewal};
use tidings::{Broker, BrokerError, Head, NewEvent, Offset, Page, Query, Tail, Timestamp};
use tokio::sync::Notify;

/// What goes wrong at one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It fails and nothing was done.
    Fails,
    /// It fails although it was done.
    FailsAfter,
    /// The program ends before anything is done.
    Dies,
    /// The program ends when it is done, and before anybody hears of that.
    DiesAfter,
}

/// Which calls go wrong. Shared by the log and the store, so that their calls are counted together.
#[derive(Debug, Default)]
pub struct Fate {
    calls: AtomicU64,
    planned: Mutex<Vec<(u64, Trouble)>>,
    is_dead: AtomicBool,
    died: Notify,
    /// Whether all calls of the log fail.
    pub log_fails: AtomicBool,
    /// Whether all calls of the store that write fail.
    pub store_fails: AtomicBool,
    /// Whether the store that is shared is known to be away.
    pub away: Arc<AtomicBool>,
    /// Whether the program hears nothing of others at the moment, and does not know that.
    pub deaf: Arc<AtomicBool>,
    /// How the seed of the test has the calls take turns.
    yields: AtomicU64,
    /// How many milliseconds each call takes.
    slow: AtomicU64,
}

impl Fate {
    pub fn plan(&self, planned: Vec<(u64, Trouble)>) {
        *self.planned.lock().unwrap() = planned;
    }

    /// Has each call let others go first, as often as chance has it.
    pub fn shuffle(&self, seed: u64) {
        self.yields.store(seed | 1, Ordering::SeqCst);
    }

    /// Has each call take so long.
    pub fn slow(&self, time: Duration) {
        self.slow.store(time.as_millis() as u64, Ordering::SeqCst);
    }

    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    pub fn is_dead(&self) -> bool {
        self.is_dead.load(Ordering::SeqCst)
    }

    /// Returns when the program has died.
    pub async fn death(&self) {
        let died = self.died.notified();
        if !self.is_dead() {
            died.await;
        }
    }

    async fn take_turns(&self) {
        let seed = self.yields.load(Ordering::SeqCst);
        if seed == 0 {
            return;
        }
        let next = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407) | 1;
        self.yields.store(next, Ordering::SeqCst);
        for _ in 0..(next >> 33) % 4 {
            tokio::task::yield_now().await;
        }
    }

    async fn die(&self) -> ! {
        self.is_dead.store(true, Ordering::SeqCst);
        self.died.notify_waiters();
        std::future::pending().await
    }

    async fn call<T, E>(
        &self,
        done: impl Future<Output = Result<T, E>>,
        error: impl Fn() -> E,
        fails: &AtomicBool,
    ) -> Result<T, E> {
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
        self.take_turns().await;
        let slow = self.slow.load(Ordering::SeqCst);
        if slow > 0 {
            tokio::time::sleep(Duration::from_millis(slow)).await;
        }
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        let trouble = self.planned.lock().unwrap().iter().find(|(at, _)| *at == call).map(|(_, trouble)| *trouble);
        if fails.load(Ordering::SeqCst) || trouble == Some(Trouble::Fails) {
            return Err(error());
        }
        if trouble == Some(Trouble::Dies) {
            self.die().await;
        }
        let done = done.await;
        self.take_turns().await;
        match trouble {
            Some(Trouble::FailsAfter) => Err(error()),
            Some(Trouble::DiesAfter) => self.die().await,
            _ => done,
        }
    }
}

/// A log whose fate is planned.
pub struct FatedBroker<B> {
    pub inner: Arc<B>,
    pub fate: Arc<Fate>,
}

#[async_trait]
impl<B: Broker> Broker for FatedBroker<B> {
    async fn publish(&self, batch: Vec<NewEvent>) -> Result<Vec<Option<Offset>>, BrokerError> {
        let error = || BrokerError::Unavailable("planned".into());
        self.fate.call(self.inner.publish(batch), error, &self.fate.log_fails).await
    }

    async fn read(&self, query: Query) -> Result<Page, BrokerError> {
        let error = || BrokerError::Unavailable("planned".into());
        self.fate.call(self.inner.read(query), error, &self.fate.log_fails).await
    }

    fn head(&self) -> Head {
        self.inner.head()
    }

    fn tail(&self, tail: Arc<dyn Tail>) {
        self.inner.tail(tail);
    }
}

/// A store whose fate is planned.
pub struct FatedStore<S> {
    pub inner: Arc<S>,
    pub fate: Arc<Fate>,
}

static WORKS: AtomicBool = AtomicBool::new(false);

impl<S> FatedStore<S> {
    async fn write<T>(&self, done: impl Future<Output = Result<T, JobStoreError>>) -> Result<T, JobStoreError> {
        self.fate.call(done, || JobStoreError("planned".into()), &self.fate.store_fails).await
    }

    async fn look<T>(&self, done: impl Future<Output = Result<T, JobStoreError>>) -> Result<T, JobStoreError> {
        self.fate.call(done, || JobStoreError("planned".into()), &WORKS).await
    }
}

#[async_trait]
impl<S: JobStore> JobStore for FatedStore<S> {
    async fn create(&self, job: &Job) -> Result<Option<Job>, JobStoreError> {
        self.write(self.inner.create(job)).await
    }

    async fn read(&self, id: &JobId) -> Result<Option<Job>, JobStoreError> {
        self.look(self.inner.read(id)).await
    }

    async fn replace(&self, job: &Job, from: u64) -> Result<bool, JobStoreError> {
        self.write(self.inner.replace(job, from)).await
    }

    async fn note_progress(&self, progress: Vec<(JobId, Progress)>) -> Result<(), JobStoreError> {
        self.write(self.inner.note_progress(progress)).await
    }

    async fn note_announced(&self, id: &JobId, revision: u64, end: Option<String>) -> Result<(), JobStoreError> {
        self.write(self.inner.note_announced(id, revision, end)).await
    }

    async fn open_jobs(&self) -> Result<Vec<Job>, JobStoreError> {
        self.look(self.inner.open_jobs()).await
    }

    async fn list(&self, query: &JobQuery) -> Result<Vec<Job>, JobStoreError> {
        self.look(self.inner.list(query)).await
    }

    async fn append_items(&self, id: &JobId, from: u64, items: Vec<Bytes>) -> Result<(), JobStoreError> {
        self.write(self.inner.append_items(id, from, items)).await
    }

    async fn items(&self, id: &JobId, from: u64, limit: usize, max_bytes: usize) -> Result<Vec<Bytes>, JobStoreError> {
        self.look(self.inner.items(id, from, limit, max_bytes)).await
    }

    async fn put_token(&self, hash: [u8; 32], id: &JobId, expires: Timestamp) -> Result<(), JobStoreError> {
        self.write(self.inner.put_token(hash, id, expires)).await
    }

    async fn token(&self, hash: [u8; 32]) -> Result<Option<(JobId, Timestamp)>, JobStoreError> {
        self.look(self.inner.token(hash)).await
    }

    async fn ended_before(&self, time: Timestamp, limit: usize) -> Result<Vec<Job>, JobStoreError> {
        self.look(self.inner.ended_before(time, limit)).await
    }

    async fn remove(&self, id: &JobId) -> Result<(), JobStoreError> {
        self.write(self.inner.remove(id)).await
    }

    async fn remove_ended(&self, job: &Job) -> Result<(), JobStoreError> {
        self.write(self.inner.remove_ended(job)).await
    }

    fn is_shared(&self) -> bool {
        self.inner.is_shared()
    }

    fn watch(&self, watcher: Weak<dyn JobWatcher>) {
        self.inner.watch(watcher);
    }

    fn is_away(&self) -> bool {
        self.inner.is_away()
    }

    async fn heard_all(&self) -> Result<(), JobStoreError> {
        self.look(self.inner.heard_all()).await
    }

    async fn renew(&self, renewals: Vec<Renewal>) -> Result<(), JobStoreError> {
        self.write(self.inner.renew(renewals)).await
    }
}
