//! The figures of each second: one task takes them, however many look.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use tidings::{CloseReason, Reader, Revocation};
use tidings_transports::{Service, sse};
use tokio::sync::{Semaphore, broadcast};

use super::MountedStreams;
use super::stats::{self, Stats};

/// How often the figures are taken.
pub const EVERY: Duration = Duration::from_secs(1);

/// How many are kept: five minutes.
const KEPT: usize = 300;

/// How many may look on at a time. Each is a person with a page, or a script.
const VIEWERS: usize = 16;

/// How many messages a viewer may be behind. One that is slower misses figures; nothing else.
const BEHIND: usize = 16;

/// Takes the figures each second, keeps those of the last minutes, and tells whoever looks on.
pub struct Sampler {
    service: Arc<Service>,
    mounts: MountedStreams,
    /// When the program started, in ms since 1970.
    started: u64,
    /// The samples as JSON, the newest last.
    samples: Mutex<VecDeque<Arc<str>>>,
    told: broadcast::Sender<Told>,
    pub(super) viewers: Arc<Semaphore>,
}

/// What viewers are told.
#[derive(Clone, Debug)]
pub(super) enum Told {
    /// A block of figures.
    Block(Bytes),
    /// Whoever this covers is sent away.
    Close(Revocation, CloseReason),
    /// All are.
    Drain,
}

impl Sampler {
    /// A sampler of this program. It begins when [`run`](Sampler::run) does.
    pub fn new(service: Arc<Service>, mounts: MountedStreams) -> Arc<Self> {
        let started = service.hub.clock().now().0;
        let (told, _) = broadcast::channel(BEHIND);
        let viewers = Arc::new(Semaphore::new(VIEWERS));
        let sampler =
            Arc::new(Sampler { started, samples: Mutex::default(), told, viewers, mounts, service: service.clone() });
        service.hub.attach(Arc::new(Announcer(sampler.told.clone())));
        sampler
    }

    /// The figures of now.
    pub fn sample(&self) -> Stats {
        Stats::now(&self.service, &self.mounts, self.started, stats::usage())
    }

    /// Takes the figures each second, until it is dropped.
    pub async fn run(self: Arc<Self>) {
        let mut seconds = tokio::time::interval(EVERY);
        seconds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            seconds.tick().await;
            self.take();
        }
    }

    /// Takes one sample and tells it.
    fn take(&self) {
        let sample: Arc<str> = serde_json::to_string(&self.sample()).unwrap_or_default().into();
        let block = sse::block("tidings.stats", sample.as_bytes(), None);
        // Under the lock, so that who is just coming has it either in the history or as news, and not in both.
        let mut samples = self.samples();
        if samples.len() == KEPT {
            samples.pop_front();
        }
        samples.push_back(sample);
        // Nobody may be looking.
        let _ = self.told.send(Told::Block(block));
    }

    fn samples(&self) -> MutexGuard<'_, VecDeque<Arc<str>>> {
        self.samples.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// What a viewer is told first, and what comes after it.
    pub(super) fn watch(&self) -> (Bytes, broadcast::Receiver<Told>) {
        let samples = self.samples();
        let receiver = self.told.subscribe();
        let list: Vec<&str> = samples.iter().map(|sample| &**sample).collect();
        let history = format!("{{\"every\":{},\"samples\":[{}]}}", EVERY.as_millis(), list.join(","));
        (sse::block("tidings.history", history.as_bytes(), None), receiver)
    }

    /// Whether the program is about to send everybody away.
    pub(super) fn service(&self) -> &Arc<Service> {
        &self.service
    }
}

/// Tells the viewers when they have to go.
struct Announcer(broadcast::Sender<Told>);

impl Reader for Announcer {
    fn grown(&self) {}

    fn close(&self, revocation: &Revocation, reason: CloseReason) {
        let _ = self.0.send(Told::Close(revocation.clone(), reason));
    }

    fn drain(&self) {
        let _ = self.0.send(Told::Drain);
    }
}
