//! The log on disk: append-only segments, one writer, group commit.
//!
//! - [`format`]: the bytes, one by one.
//! - `segment`, `index`, `index_file`: a file of the log, and where in it an offset or a topic is found.
//! - `scan`, `recover`, `floor`: opening a log, also after a crash.
//! - `writer`: the one thread that writes, syncs, tells the tail and removes what is old.
//! - `reader`: pages.
//! - [`storage`]: the seam through which all of it reaches the disk.
//!
//! # Offsets
//! An offset is handed out when the sync of its write has returned: only then do the publisher, the tail and readers learn it,
//! and from then on it means that event for ever. In a running process the offsets of a write that failed are skipped.
//! A crash may take back a write that was never synced; nobody had been told its offsets, so they are given again. What a killed
//! process had written but not synced is synced at the next start before anybody sees it.
//!
//! # Memory
//! The segment that is written to costs 4 bytes an event and about 50 a topic, the sealed ones under a byte an event.
//! Each segment holds two open files.

mod floor;
pub mod format;
mod index;
mod index_file;
mod reader;
mod recover;
mod scan;
mod segment;
pub mod storage;
mod writer;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::JoinHandle;

use async_trait::async_trait;
use tidings::{Broker, BrokerError, Clock, Head, NewEvent, Offset, Page, Query, Tail, TopicPattern};
use tokio::sync::oneshot;

use crate::retention::Retention;
pub use recover::{OpenError, Recovery};
use segment::Segment;
use storage::{Directory, Storage};
use writer::Writer;

/// How a [`DiskBroker`] keeps its events.
#[derive(Clone, Debug)]
pub struct DiskSettings {
    /// What may go.
    pub retention: Retention,
    /// How large a segment grows before the next is begun, in bytes. Default: 64 MiB: few files, and a start after a
    /// crash reads one of them.
    pub segment_bytes: u64,
    /// How many zeros are written behind the events at a time, in bytes; 0 for none. Default: 1 MiB. A sync that
    /// does not lengthen the file takes about half as long.
    pub write_ahead: u64,
}

impl Default for DiskSettings {
    fn default() -> Self {
        DiskSettings { retention: Retention::default(), segment_bytes: 64 << 20, write_ahead: 1 << 20 }
    }
}

impl DiskSettings {
    /// Where a segment ends: an eighth of what is kept at most, since only whole ones are removed.
    fn segment_size(&self) -> u64 {
        let eighth = self.retention.bytes.map_or(u64::MAX, |bytes| bytes / 8);
        // Positions have 32 bits, and the last group may be larger than what was left.
        self.segment_bytes.min(eighth).clamp(4096, 2 << 30)
    }
}

/// The most bytes of one batch: it is written and synced as one, and everybody waits for it.
const BATCH_BYTES: usize = 64 << 20;
/// The most bytes that wait for the disk. More means that it stands still, and then waiting longer is no help.
const QUEUE_BYTES: usize = 256 << 20;

/// Keeps the events in a directory of segments. Dropped, it finishes what was handed in and stops its thread.
pub struct DiskBroker {
    shared: Arc<Shared>,
    recovery: Recovery,
    writer: Mutex<Option<JoinHandle<()>>>,
    lock: Mutex<Option<Box<dyn Send + Sync>>>,
}

/// What the writer and the readers share.
struct Shared {
    storage: Arc<dyn Storage>,
    settings: DiskSettings,
    state: RwLock<State>,
    queue: Mutex<Queue>,
    wake: Condvar,
    tail: Mutex<Option<Arc<dyn Tail>>>,
}

/// What readers see. Only the writer changes it, and only to what is durable.
struct State {
    segments: Arc<[Arc<Segment>]>,
    head: Head,
}

#[derive(Default)]
struct Queue {
    submissions: VecDeque<Submission>,
    bytes: usize,
    trims: Vec<oneshot::Sender<()>>,
    /// Whether the writer sleeps and has to be woken.
    idle: bool,
    closed: bool,
}

/// A batch on its way to the disk.
struct Submission {
    batch: Vec<NewEvent>,
    /// About how much memory it holds; its records are not larger.
    bytes: usize,
    /// How many of its events are kept.
    kept: u32,
    done: oneshot::Sender<Result<Vec<Option<Offset>>, BrokerError>>,
}

impl Shared {
    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn snapshot(&self) -> (Arc<[Arc<Segment>]>, Head) {
        let state = self.state();
        (state.segments.clone(), state.head)
    }
}

fn closed() -> BrokerError {
    BrokerError::Unavailable("the log is closed".into())
}

impl DiskBroker {
    /// Opens the log in `directory`, or begins one there. Blocks on the disk.
    pub fn open(directory: &Path, settings: DiskSettings, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let storage = Directory::at(directory)
            .map_err(|source| OpenError::Io { what: format!("make the directory {}", directory.display()), source })?;
        Self::open_in(Arc::new(storage), settings, clock)
    }

    /// Opens the log in any storage.
    pub fn open_in(
        storage: Arc<dyn Storage>,
        settings: DiskSettings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        let lock = storage.lock().map_err(|source| match source.kind() {
            std::io::ErrorKind::WouldBlock => OpenError::InUse(storage.path("")),
            _ => OpenError::Io { what: format!("lock {}", storage.path("")), source },
        })?;
        let recovered = recover::recover(&*storage, &*clock)?;
        recover::report(&*storage, &recovered.head, &recovered.recovery);
        let active = recovered.segments[recovered.segments.len() - 1].clone();
        let shared = Arc::new(Shared {
            storage,
            settings,
            state: RwLock::new(State { segments: recovered.segments.into(), head: recovered.head }),
            queue: Mutex::default(),
            wake: Condvar::new(),
            tail: Mutex::new(None),
        });
        let writer = Writer::new(shared.clone(), clock, active, recovered.room);
        let writer = std::thread::Builder::new()
            .name("tidings-log".into())
            .spawn(move || writer.run())
            .map_err(|source| OpenError::Io { what: "start the writer".into(), source })?;
        Ok(DiskBroker {
            shared,
            recovery: recovered.recovery,
            writer: Mutex::new(Some(writer)),
            lock: Mutex::new(Some(lock)),
        })
    }

    /// What was found and done when it was opened.
    pub fn recovery(&self) -> Recovery {
        self.recovery
    }

    /// How many segments there are now, that which is written to included.
    pub fn segments(&self) -> usize {
        self.shared.state().segments.len()
    }

    /// Finishes what was handed in, stops the writer and lets another process have the directory. Publishing is refused from
    /// now on; reading goes on. Blocks on the disk.
    pub fn close(&self) {
        self.shared.queue().closed = true;
        self.shared.wake.notify_all();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer
            && writer.join().is_err()
        {
            tracing::error!("the writer of the log panicked");
        }
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Removes what retention lets go now, without waiting for the next publish.
    pub async fn trim(&self) -> Result<(), BrokerError> {
        let (done, trimmed) = oneshot::channel();
        {
            let mut queue = self.shared.queue();
            if queue.closed {
                return Err(closed());
            }
            queue.trims.push(done);
            self.shared.wake.notify_one();
        }
        trimmed.await.map_err(|_| closed())
    }

    /// The place after which the last `n` events of these topics stand, all without wildcards: a seek, however old they are.
    pub async fn before_last(&self, topics: &[TopicPattern], n: usize) -> Result<Offset, BrokerError> {
        let mut hashes: Vec<u64> = topics.iter().map(|topic| format::topic_hash(topic.as_str().as_bytes())).collect();
        hashes.sort_unstable();
        hashes.dedup();
        self.blocking(
            move |storage, segments, head| {
                if n == 0 { Ok(head.last) } else { reader::before_last(storage, segments, head, &hashes, n) }
            },
        )
        .await
    }

    /// Runs a read where it may block.
    async fn blocking<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn Storage, &[Arc<Segment>], Head) -> Result<T, BrokerError> + Send + 'static,
    ) -> Result<T, BrokerError> {
        let storage = self.shared.storage.clone();
        let (segments, head) = self.shared.snapshot();
        let read = tokio::task::spawn_blocking(move || read(&*storage, &segments, head));
        read.await.map_err(|e| BrokerError::Unavailable(format!("a read did not finish: {e}")))?
    }
}

impl Drop for DiskBroker {
    fn drop(&mut self) {
        self.close();
    }
}

#[async_trait]
impl Broker for DiskBroker {
    async fn publish(&self, batch: Vec<NewEvent>) -> Result<Vec<Option<Offset>>, BrokerError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let (mut bytes, mut kept) = (0_usize, 0);
        for event in &batch {
            bytes += format::record_bytes(event).map_err(|why| BrokerError::Refused(why.into()))?;
            kept += u32::from(event.kept);
        }
        if bytes > BATCH_BYTES {
            return Err(BrokerError::Refused(format!("a batch of {bytes} bytes is larger than {BATCH_BYTES}")));
        }
        let (done, answer) = oneshot::channel();
        {
            let mut queue = self.shared.queue();
            if queue.closed {
                return Err(closed());
            }
            if queue.bytes + bytes > QUEUE_BYTES {
                return Err(BrokerError::Unavailable(format!("{} bytes already wait for the disk", queue.bytes)));
            }
            queue.bytes += bytes;
            queue.submissions.push_back(Submission { batch, bytes, kept, done });
            if queue.idle {
                queue.idle = false;
                self.shared.wake.notify_one();
            }
        }
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    async fn read(&self, query: Query) -> Result<Page, BrokerError> {
        self.blocking(move |storage, segments, head| reader::read(storage, segments, head, &query)).await
    }

    fn head(&self) -> Head {
        self.shared.state().head
    }

    fn tail(&self, tail: Arc<dyn Tail>) {
        *self.shared.tail.lock().unwrap_or_else(PoisonError::into_inner) = Some(tail);
    }
}
