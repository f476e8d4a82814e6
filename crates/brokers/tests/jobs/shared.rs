//! What several replicas share in one process: a log and a store, of which each hears in its own time.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use async_trait::async_trait;
use bytes::Bytes;
use tidings::event::Dedup;
use tidings::job::{
    Job, JobId, JobNews, JobQuery, JobSettings, JobStore, JobStoreError, JobWatcher, Jobs, MemoryJobs, Progress,
    Renewal,
};
use tidings::{
    Broker, BrokerError, Event, Head, Hub, Limits, ManualClock, NewEvent, Offset, Page, Query, Tail, Timestamp,
};
use tidings_brokers::MemoryBroker;
use tokio::sync::Notify;

use crate::bench::{Bench, World};
use crate::world::{Fate, FatedBroker, FatedStore};

/// Several programs on one log and one store.
pub struct Replicas {
    pub world: World,
    log: Arc<SharedLog>,
    seed: AtomicU64,
}

impl Replicas {
    /// None yet. With a seed each hears of the others by chance later, else at once.
    pub fn new(seed: u64) -> Self {
        let world = World { store: Arc::new(MemoryJobs::shared()), ..World::default() };
        let log = SharedLog::over(world.log.clone());
        Replicas { world, log, seed: AtomicU64::new(seed) }
    }

    /// Starts a program.
    pub async fn start(&self, fate: Arc<Fate>) -> Bench {
        self.start_with(JobSettings::default(), fate).await
    }

    pub async fn start_with(&self, settings: JobSettings, fate: Arc<Fate>) -> Bench {
        self.start_on(self.world.clock.clone(), settings, fate).await
    }

    /// Lets the log forget by what it knows that it was told of something already, as it does after a while.
    pub async fn forget_told(&self) {
        self.log.taken.lock().await.clear();
    }

    /// Starts a program that has a clock of its own.
    pub async fn start_on(&self, clock: Arc<ManualClock>, settings: JobSettings, fate: Arc<Fate>) -> Bench {
        let seed = self.seed.fetch_add(7, Ordering::SeqCst);
        let port = self.log.port(Lag::new(seed, Arc::default()));
        let broker = Arc::new(FatedBroker { inner: port, fate: fate.clone() });
        let hub = Hub::open(broker, [], clock.clone(), Limits::default()).await.unwrap();
        let store = Arc::new(LateStore {
            inner: self.world.store.clone(),
            ear: Mutex::default(),
            lag: Lag::new(seed + 1, fate.deaf.clone()),
            is_away: fate.away.clone(),
        });
        let store = Arc::new(FatedStore { inner: store, fate: fate.clone() });
        let jobs = Jobs::open(hub.clone(), store, settings).await.unwrap();
        Bench { hub, jobs, fate, clock }
    }
}

/// Hands on in order what comes, each after a while.
struct Lag<T> {
    waiting: Mutex<VecDeque<T>>,
    seed: AtomicU64,
    is_held_up: Arc<AtomicBool>,
    is_pumping: AtomicBool,
    came: AtomicU64,
    went: AtomicU64,
    moved: Notify,
}

impl<T: Send + 'static> Lag<T> {
    fn new(seed: u64, is_held_up: Arc<AtomicBool>) -> Arc<Self> {
        Arc::new(Lag {
            is_held_up,
            waiting: Mutex::default(),
            seed: AtomicU64::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15)),
            is_pumping: AtomicBool::new(false),
            came: AtomicU64::new(0),
            went: AtomicU64::new(0),
            moved: Notify::new(),
        })
    }

    fn put(self: &Arc<Self>, thing: T, take: impl Fn(T) + Send + Sync + 'static) {
        self.came.fetch_add(1, Ordering::SeqCst);
        self.waiting.lock().unwrap().push_back(thing);
        if self.is_pumping.swap(true, Ordering::SeqCst) {
            return;
        }
        let lag = self.clone();
        tokio::spawn(async move {
            loop {
                for _ in 0..lag.pause() {
                    tokio::task::yield_now().await;
                }
                while lag.is_held_up.load(Ordering::SeqCst) {
                    tokio::task::yield_now().await;
                }
                if !lag.flush_one(&take) {
                    return;
                }
            }
        });
    }

    fn pause(&self) -> u64 {
        let seed = self.seed.load(Ordering::SeqCst);
        if seed == 0 {
            return 0;
        }
        let next = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407) | 1;
        self.seed.store(next, Ordering::SeqCst);
        (next >> 33) % 12
    }

    fn flush_one(&self, take: &impl Fn(T)) -> bool {
        let mut waiting = self.waiting.lock().unwrap();
        let Some(thing) = waiting.pop_front() else {
            self.is_pumping.store(false, Ordering::SeqCst);
            return false;
        };
        // Under the lock: what is taken stays in order.
        take(thing);
        drop(waiting);
        self.went.fetch_add(1, Ordering::SeqCst);
        self.moved.notify_waiters();
        true
    }

    /// Returns when all that has come by now was taken.
    async fn drained(&self) {
        let came = self.came.load(Ordering::SeqCst);
        while self.went.load(Ordering::SeqCst) < came {
            tokio::task::yield_now().await;
        }
    }
}

/// A log that several hubs append to. What is told as the same is taken once.
pub struct SharedLog {
    inner: Arc<MemoryBroker>,
    taken: tokio::sync::Mutex<HashMap<Dedup, Offset>>,
    ports: Mutex<Vec<Weak<Port>>>,
}

/// One replica's end of the log.
pub struct Port {
    log: Arc<SharedLog>,
    tail: Mutex<Option<Arc<dyn Tail>>>,
    lag: Arc<Lag<Vec<Event>>>,
}

impl SharedLog {
    fn over(inner: Arc<MemoryBroker>) -> Arc<Self> {
        let log = Arc::new(SharedLog { inner: inner.clone(), taken: Default::default(), ports: Mutex::default() });
        inner.tail(Arc::new(FanOut(Arc::downgrade(&log))));
        log
    }

    fn port(self: &Arc<Self>, lag: Arc<Lag<Vec<Event>>>) -> Arc<Port> {
        let port = Arc::new(Port { log: self.clone(), tail: Mutex::default(), lag });
        self.ports.lock().unwrap().push(Arc::downgrade(&port));
        port
    }
}

struct FanOut(Weak<SharedLog>);

impl Tail for FanOut {
    fn appended(&self, events: Vec<Event>) {
        let Some(log) = self.0.upgrade() else { return };
        for port in log.ports.lock().unwrap().iter().filter_map(Weak::upgrade) {
            let Some(tail) = port.tail.lock().unwrap().clone() else { continue };
            port.lag.put(events.clone(), move |events| tail.appended(events));
        }
    }
}

#[async_trait]
impl Broker for Port {
    async fn publish(&self, batch: Vec<NewEvent>) -> Result<Vec<Option<Offset>>, BrokerError> {
        let mut taken = self.log.taken.lock().await;
        let mut places = Vec::new();
        for event in batch {
            if let Some(offset) = event.dedup.and_then(|dedup| taken.get(&dedup)) {
                places.push(Some(*offset));
                continue;
            }
            let dedup = event.dedup;
            let offset = self.log.inner.publish(vec![event]).await?[0];
            if let (Some(dedup), Some(offset)) = (dedup, offset) {
                taken.insert(dedup, offset);
            }
            places.push(offset);
        }
        drop(taken);
        // What this replica has appended it was told of.
        self.lag.drained().await;
        Ok(places)
    }

    async fn read(&self, query: Query) -> Result<Page, BrokerError> {
        self.log.inner.read(query).await
    }

    fn head(&self) -> Head {
        self.log.inner.head()
    }

    fn tail(&self, tail: Arc<dyn Tail>) {
        *self.tail.lock().unwrap() = Some(tail);
    }
}

/// A store of which news come late.
struct LateStore {
    inner: Arc<MemoryJobs>,
    ear: Mutex<Option<Arc<Ear>>>,
    lag: Arc<Lag<JobNews>>,
    is_away: Arc<AtomicBool>,
}

struct Ear {
    watcher: Weak<dyn JobWatcher>,
    lag: Arc<Lag<JobNews>>,
}

impl JobWatcher for Ear {
    fn heard(&self, news: JobNews) {
        let watcher = self.watcher.clone();
        self.lag.put(news, move |news| {
            if let Some(watcher) = watcher.upgrade() {
                watcher.heard(news);
            }
        });
    }
}

#[async_trait]
impl JobStore for LateStore {
    async fn create(&self, job: &Job) -> Result<Option<Job>, JobStoreError> {
        self.inner.create(job).await
    }

    async fn read(&self, id: &JobId) -> Result<Option<Job>, JobStoreError> {
        self.inner.read(id).await
    }

    async fn replace(&self, job: &Job, from: u64) -> Result<bool, JobStoreError> {
        self.inner.replace(job, from).await
    }

    async fn note_progress(&self, progress: Vec<(JobId, Progress)>) -> Result<(), JobStoreError> {
        self.inner.note_progress(progress).await
    }

    async fn note_announced(&self, id: &JobId, revision: u64, end: Option<String>) -> Result<(), JobStoreError> {
        self.inner.note_announced(id, revision, end).await
    }

    async fn open_jobs(&self) -> Result<Vec<Job>, JobStoreError> {
        self.inner.open_jobs().await
    }

    async fn list(&self, query: &JobQuery) -> Result<Vec<Job>, JobStoreError> {
        self.inner.list(query).await
    }

    async fn append_items(&self, id: &JobId, from: u64, items: Vec<Bytes>) -> Result<(), JobStoreError> {
        self.inner.append_items(id, from, items).await
    }

    async fn items(&self, id: &JobId, from: u64, limit: usize, max_bytes: usize) -> Result<Vec<Bytes>, JobStoreError> {
        self.inner.items(id, from, limit, max_bytes).await
    }

    async fn put_token(&self, hash: [u8; 32], id: &JobId, expires: Timestamp) -> Result<(), JobStoreError> {
        self.inner.put_token(hash, id, expires).await
    }

    async fn token(&self, hash: [u8; 32]) -> Result<Option<(JobId, Timestamp)>, JobStoreError> {
        self.inner.token(hash).await
    }

    async fn ended_before(&self, time: Timestamp, limit: usize) -> Result<Vec<Job>, JobStoreError> {
        self.inner.ended_before(time, limit).await
    }

    async fn remove(&self, id: &JobId) -> Result<(), JobStoreError> {
        self.inner.remove(id).await
    }

    async fn remove_ended(&self, job: &Job) -> Result<(), JobStoreError> {
        self.inner.remove_ended(job).await
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn watch(&self, watcher: Weak<dyn JobWatcher>) {
        let ear: Arc<Ear> = Arc::new(Ear { watcher, lag: self.lag.clone() });
        let heard: Arc<dyn JobWatcher> = ear.clone();
        self.inner.watch(Arc::downgrade(&heard));
        *self.ear.lock().unwrap() = Some(ear);
    }

    fn is_away(&self) -> bool {
        self.is_away.load(Ordering::SeqCst)
    }

    async fn heard_all(&self) -> Result<(), JobStoreError> {
        self.lag.drained().await;
        Ok(())
    }

    async fn renew(&self, renewals: Vec<Renewal>) -> Result<(), JobStoreError> {
        self.inner.renew(renewals).await
    }
}
