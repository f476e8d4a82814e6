//! A hub with jobs on a log and a store that outlive it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use serde_json::Value;
use serde_json::value::RawValue;
use tidings::job::{
    Claimed, Failure, Job, JobFault, JobId, JobSettings, JobState, JobStore, Jobs, MemoryJobs, NewJob, Outcome,
    ProgressUpdate,
};
use tidings::{
    Broker, Delivery, Entry, Event, Filter, Grants, Hub, Limits, ManualClock, Offset, Principal, Query, Subscriber,
    Timestamp,
};
use tidings_brokers::{MemoryBroker, MemorySettings};

use crate::world::{Fate, FatedBroker, FatedStore};

/// What outlives the program.
pub struct World {
    pub log: Arc<MemoryBroker>,
    pub store: Arc<MemoryJobs>,
    pub clock: Arc<ManualClock>,
}

/// One life of the program.
#[derive(Clone)]
pub struct Bench {
    pub hub: Arc<Hub>,
    pub jobs: Arc<Jobs>,
    pub fate: Arc<Fate>,
    pub clock: Arc<ManualClock>,
}

pub const LEASE: Duration = Duration::from_secs(30);
pub const GRACE: Duration = Duration::from_secs(30);

impl Default for World {
    fn default() -> Self {
        World {
            log: Arc::new(MemoryBroker::new(MemorySettings::default())),
            store: Arc::default(),
            clock: Arc::new(ManualClock::at(Timestamp(1_000_000))),
        }
    }
}

impl World {
    /// Starts the program.
    pub async fn start(&self) -> Bench {
        self.start_with(JobSettings::default(), Arc::default()).await
    }

    pub async fn start_with(&self, settings: JobSettings, fate: Arc<Fate>) -> Bench {
        let broker = Arc::new(FatedBroker { inner: self.log.clone(), fate: fate.clone() });
        let hub = Hub::open(broker, [], self.clock.clone(), Limits::default()).await.unwrap();
        let store = Arc::new(FatedStore { inner: self.store.clone(), fate: fate.clone() });
        let jobs = Jobs::open(hub.clone(), store, settings).await.unwrap();
        Bench { hub, jobs, fate, clock: self.clock.clone() }
    }

    /// All that the log tells of a job.
    pub async fn told(&self, id: &JobId) -> Vec<Event> {
        let topics = Some(Arc::from([format!("job/{id}").parse().unwrap()]));
        let until = Offset(u64::MAX);
        let query = Query { topics, after: Offset::START, until, limit: 100_000, max_bytes: 1 << 30 };
        self.log.read(query).await.unwrap().events
    }

    /// The names of the events that tell of a job.
    pub async fn names(&self, id: &JobId) -> Vec<String> {
        self.told(id).await.iter().map(|event| event.name.to_string()).collect()
    }

    /// What the store knows of a job.
    pub async fn kept(&self, id: &JobId) -> Job {
        self.store.read(id).await.unwrap().unwrap()
    }
}

impl Bench {
    /// A new program on a new world.
    pub async fn new() -> (World, Bench) {
        let world = World::default();
        let bench = world.start().await;
        (world, bench)
    }

    pub async fn create(&self, name: &str) -> JobId {
        self.jobs.create(wanted(name)).await.unwrap().job.id
    }

    pub async fn claim(&self) -> Option<Claimed> {
        self.try_claim().await.unwrap()
    }

    pub async fn try_claim(&self) -> Result<Option<Claimed>, JobFault> {
        self.jobs.claim(None, &["k".into()], "w", None, Duration::ZERO).await
    }

    /// A job that a worker has.
    pub async fn begun(&self, name: &str) -> (JobId, String) {
        let id = self.create(name).await;
        let claimed = self.claim().await.expect("it waits");
        assert_eq!(claimed.job.id, id);
        (id, claimed.lease)
    }

    pub async fn finish(&self, id: &JobId, lease: &str, outcome: Outcome) -> Result<Job, JobFault> {
        self.jobs.finish(id, lease, outcome).await
    }

    pub async fn complete(&self, id: &JobId, lease: &str) -> Job {
        self.finish(id, lease, Outcome::Completed(None)).await.unwrap()
    }

    pub fn progress(&self, id: &JobId, lease: &str, done: u64) -> Result<(), JobFault> {
        let update = ProgressUpdate { done: Some(done), ..ProgressUpdate::default() };
        self.jobs.progress(id, lease, update).now_or_never().expect("it is in memory").map(|_| ())
    }

    pub async fn cancel(&self, id: &JobId) -> Result<Job, JobFault> {
        self.jobs.cancel(id, Duration::ZERO).await
    }

    pub async fn state(&self, id: &JobId) -> JobState {
        self.jobs.get(id).await.unwrap().unwrap().state
    }

    /// Lets time pass for leases.
    pub async fn pass(&self, time: Duration) {
        self.clock.advance(time);
        self.jobs.end_leases().await;
    }

    /// Lets every task go as far as it can.
    pub async fn settle(&self) {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    /// Lets time pass for progress that is to be told, and has it told.
    pub async fn pass_for_progress(&self, time: Duration) {
        self.clock.advance(time);
        tokio::time::advance(time).await;
        self.settle().await;
    }

    /// Whoever begins to watch a job now: what is told first, and then.
    pub fn watch(&self, id: &JobId) -> Watcher {
        let topic = format!("job/{id}");
        let grants = Grants::parse([&*topic]).unwrap();
        let principal = Principal::new("u", grants, "test");
        let subscriber = self.hub.subscribe(Arc::new(principal), Filter::topics([topic.parse().unwrap()]), None);
        let first = subscriber.retained().pop();
        let mut watcher = Watcher { subscriber, told: Vec::new() };
        first.into_iter().for_each(|entry| watcher.take(&entry));
        watcher
    }
}

/// What a watcher was told of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub name: String,
    pub revision: u64,
    pub done: u64,
}

/// Somebody who watches a job, and finds fault with what it is told.
pub struct Watcher {
    subscriber: Subscriber,
    pub told: Vec<Seen>,
}

impl Watcher {
    /// Takes what there is now.
    pub async fn read(&mut self) -> &[Seen] {
        while let Some(delivery) = self.subscriber.try_next().await {
            match delivery {
                Delivery::Event(entry) => self.take(&entry),
                other => panic!("{other:?}"),
            }
        }
        &self.told
    }

    fn take(&mut self, entry: &Entry) {
        if &*entry.event.name == tidings::job::ITEM_EVENT {
            assert!(!self.has_ended(), "an item after the end");
            return;
        }
        let document: Value = serde_json::from_slice(&entry.event.data).unwrap();
        let (revision, done) = (document["revision"].as_u64().unwrap(), document["progress"]["done"].as_u64().unwrap());
        let seen = Seen { name: entry.event.name.to_string(), revision, done };
        if let Some(last) = self.told.last() {
            assert!(!self.has_ended(), "{seen:?} after {last:?}");
            let order = |seen: &Seen| (seen.revision, seen.done);
            assert!(order(&seen) >= order(last), "{seen:?} after {last:?}");
        }
        self.told.push(seen);
    }

    pub fn has_ended(&self) -> bool {
        self.told.last().is_some_and(|seen| tidings::job::is_end(&seen.name))
    }

    pub fn last(&self) -> Option<(&str, u64)> {
        self.told.last().map(|seen| (&*seen.name, seen.done))
    }
}

pub fn wanted(name: &str) -> NewJob {
    NewJob { id: Some(name.parse().unwrap()), kind: "k".into(), lease: Some(LEASE), ..NewJob::default() }
}

pub fn failure(retryable: bool) -> Failure {
    Failure { code: "broken".into(), message: "it broke".into(), retryable }
}

pub fn json(text: impl std::fmt::Display) -> Box<RawValue> {
    RawValue::from_string(text.to_string()).unwrap()
}

pub fn items(range: std::ops::Range<u64>) -> Vec<Bytes> {
    range.map(|index| Bytes::from(format!("{{\"n\":{index}}}"))).collect()
}
