//! How far jobs are, told now and then for all of them together.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::HeaderValue;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use crate::backoff::Backoff;
use crate::error::cut;
use crate::hub::{Hub, NDJSON, Request, Trouble};
use crate::lease::{ANSWER, Lease, is_lost_code};

/// The least time between two batches. The hub tells watchers of one job every 200 ms at most.
const TICK: Duration = Duration::from_millis(100);

/// The most bytes of one batch; what is more goes into the next at once.
const MOST_BATCH: usize = 256 << 10;

/// The most bytes of one job's line. A longer one goes without its `item`, then without its `message`.
const MOST_LINE: usize = 16 << 10;

/// The most bytes of a message; what is more is cut off.
const MOST_MESSAGE: usize = 1000;

/// How far a job is.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Progress {
    /// How much is done, a count of anything.
    pub done: u64,
    /// How much there is, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// A sentence for who watches: 1000 bytes at most, the rest is cut off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What is worked on: any JSON, 16 KiB at most. A larger one is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<Value>,
}

impl Progress {
    /// So much is done.
    pub fn new(done: u64) -> Self {
        Progress { done, ..Progress::default() }
    }

    /// Of so much.
    #[must_use]
    pub fn of(self, total: u64) -> Self {
        Progress { total: Some(total), ..self }
    }

    /// With a sentence for who watches.
    #[must_use]
    pub fn message(self, message: impl Into<String>) -> Self {
        Progress { message: Some(message.into()), ..self }
    }

    /// With what is worked on.
    #[must_use]
    pub fn item(self, item: impl Into<Value>) -> Self {
        Progress { item: Some(item.into()), ..self }
    }
}

/// The newest progress of one job. Only the newest is kept, so it does not grow.
#[derive(Debug)]
pub(crate) struct Slot {
    lease: Arc<Lease>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    newest: Progress,
    /// How many there were, and up to which the hub has them.
    version: u64,
    told: u64,
    is_queued: bool,
    is_closed: bool,
}

impl Slot {
    pub fn new(lease: Arc<Lease>) -> Self {
        Slot { lease, state: Mutex::default() }
    }

    /// Sets the newest. It never goes backwards: of two threads that count, the slower may come last.
    fn set(&self, mut progress: Progress) -> bool {
        let mut state = lock(&self.state);
        if state.is_closed {
            return false;
        }
        progress.done = progress.done.max(state.newest.done);
        // What is left out stays as it was, for the hub as well.
        let total = progress.total.or(state.newest.total);
        progress.total = total.map(|total| total.max(progress.done));
        progress.message = progress.message.map(|message| cut(message, MOST_MESSAGE));
        state.newest = progress;
        state.version += 1;
        !mem::replace(&mut state.is_queued, true)
    }

    /// Takes no more. Returns what the hub was not told yet.
    pub fn close(&self) -> Option<Bytes> {
        let mut state = lock(&self.state);
        state.is_closed = true;
        (state.told < state.version).then(|| line(&state.newest, None))
    }

    /// Its line in a batch, and the version that it tells.
    fn encode(&self) -> Option<(Bytes, u64)> {
        let mut state = lock(&self.state);
        state.is_queued = false;
        let is_news = !state.is_closed && state.told < state.version;
        is_news.then(|| (line(&state.newest, Some(&self.lease)), state.version))
    }

    fn tell(&self, version: u64) {
        let mut state = lock(&self.state);
        state.told = state.told.max(version);
    }

    /// Marks it as waiting for a batch; false if it does so already or needs none.
    fn requeue(&self) -> bool {
        let mut state = lock(&self.state);
        !state.is_closed && state.told < state.version && !mem::replace(&mut state.is_queued, true)
    }
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease: Option<&'a str>,
    #[serde(flatten)]
    progress: &'a Progress,
}

/// A progress as a line of JSON; in a batch it says whose it is.
fn line(progress: &Progress, lease: Option<&Lease>) -> Bytes {
    let encode = |progress: &Progress| {
        let line = Line { job: lease.map(|lease| &*lease.job), lease: lease.map(|lease| &*lease.token), progress };
        // Numbers, texts and JSON can always be written as JSON.
        serde_json::to_vec(&line).unwrap_or_default()
    };
    let mut line = encode(progress);
    if line.len() > MOST_LINE {
        line = encode(&Progress { item: None, ..progress.clone() });
    }
    if line.len() > MOST_LINE {
        line = encode(&Progress { item: None, message: None, ..progress.clone() });
    }
    line.into()
}

/// The jobs of a worker whose progress is to be told: each at most once.
#[derive(Debug, Default)]
pub(crate) struct Progresses {
    queue: Mutex<Vec<Arc<Slot>>>,
    some: Notify,
}

impl Progresses {
    /// Sets the newest progress of a job. Takes two short locks and sends nothing.
    pub fn set(&self, slot: &Arc<Slot>, progress: Progress) {
        if slot.set(progress) {
            self.push(slot.clone());
        }
    }

    fn push(&self, slot: Arc<Slot>) {
        lock(&self.queue).push(slot);
        self.some.notify_one();
    }

    fn take(&self) -> Vec<Arc<Slot>> {
        mem::take(&mut *lock(&self.queue))
    }
}

/// Tells the hub the newest progress of all jobs together, at most once in a tick, for ever.
pub(crate) async fn tell(hub: Arc<Hub>, key: Option<HeaderValue>, progresses: Arc<Progresses>) {
    let mut backoff = Backoff::new();
    let mut next = Instant::now();
    loop {
        progresses.some.notified().await;
        sleep_until(next).await;
        next = Instant::now() + TICK;
        let mut waiting = progresses.take().into_iter();
        let mut retry_after = None;
        while let Some(batch) = Batch::fill(&mut waiting) {
            let Err(after) = batch.send(&hub, key.as_ref()).await else { continue };
            retry_after = Some(after);
            // What could not be told is told later, with the newest that there is by then.
            let slots = batch.slots.into_iter().map(|(slot, _)| slot).chain(waiting.by_ref());
            slots.filter(|slot| slot.requeue()).for_each(|slot| progresses.push(slot));
        }
        match retry_after {
            Some(after) => sleep(backoff.next(after)).await,
            None => backoff.reset(),
        }
    }
}

/// Lines for one request.
struct Batch {
    body: Vec<u8>,
    slots: Vec<(Arc<Slot>, u64)>,
}

/// What the hub answers to a batch.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Taken {
    refused: Vec<RefusedLine>,
    canceling: Vec<String>,
}

#[derive(Deserialize)]
struct RefusedLine {
    index: usize,
    #[serde(default)]
    code: String,
    #[serde(default)]
    detail: String,
}

impl Batch {
    /// As many as fit, or `None` if there is nothing to tell.
    fn fill(waiting: &mut impl Iterator<Item = Arc<Slot>>) -> Option<Batch> {
        let mut batch = Batch { body: Vec::new(), slots: Vec::new() };
        while batch.body.len() < MOST_BATCH {
            let Some(slot) = waiting.next() else { break };
            let Some((line, version)) = slot.encode() else { continue };
            batch.body.extend_from_slice(&line);
            batch.body.push(b'\n');
            batch.slots.push((slot, version));
        }
        (!batch.slots.is_empty()).then_some(batch)
    }

    /// Sends it once. The error is that the hub is away, and after how long it wants to be asked again.
    async fn send(&self, hub: &Hub, key: Option<&HeaderValue>) -> Result<(), Option<Duration>> {
        let request = Request {
            path: "/v1/jobs/progress".into(),
            content_type: NDJSON,
            body: self.body.clone().into(),
            authorization: key.cloned(),
            timeout: ANSWER,
        };
        match hub.post(&request).await {
            Ok((_, body)) => self.hear(&serde_json::from_slice(&body).unwrap_or_default()),
            Err(Trouble::Away { retry_after, .. }) => return Err(retry_after),
            // Progress is the only thing that may be dropped, and it is told.
            Err(Trouble::Refused(refused)) => tracing::warn!(%refused, "the hub takes no progress"),
        }
        for (slot, version) in &self.slots {
            slot.tell(*version);
        }
        Ok(())
    }

    fn hear(&self, taken: &Taken) {
        for RefusedLine { index, code, detail } in &taken.refused {
            let Some((slot, _)) = self.slots.get(*index) else { continue };
            tracing::debug!(job = slot.lease.job, code, detail, "the hub does not take this progress");
            if is_lost_code(code) {
                slot.lease.lose();
            }
        }
        let canceling = |slot: &Slot| taken.canceling.contains(&slot.lease.job);
        for (slot, _) in self.slots.iter().filter(|(slot, _)| canceling(slot)) {
            slot.lease.hear_cancel();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it is held, and what it guards is whole at any time.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
