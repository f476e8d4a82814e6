//! One attempt at one job.

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::runtime::Handle;
use tokio::sync::Mutex;

use crate::file::About;
use crate::items::Items;
use crate::lease::Lease;
use crate::progress::{Progresses, Slot};
use crate::{CancelReason, CancelToken, Error, File, Progress};

/// One attempt at one job: what is to be done, and how the handler tells of it. Cheap to clone.
#[derive(Clone)]
pub struct Job(Arc<Inner>);

struct Inner {
    document: Document,
    lease: Arc<Lease>,
    slot: Arc<Slot>,
    progresses: Arc<Progresses>,
    items: Mutex<Items>,
    runtime: Handle,
}

/// What a claim says of a job (`protocol/README.md` §10.1, §10.5).
#[derive(Deserialize)]
pub(crate) struct Document {
    pub id: String,
    pub kind: String,
    #[serde(default)]
    attempt: u32,
    #[serde(default)]
    attempts: Option<u32>,
    #[serde(default)]
    owner: Option<String>,
    #[serde(default)]
    items: u64,
    #[serde(default)]
    input: Option<Box<RawValue>>,
    #[serde(default)]
    file: Option<About>,
}

impl Job {
    /// Must be called within the runtime.
    pub(crate) fn new(document: Document, lease: Arc<Lease>, progresses: Arc<Progresses>) -> Self {
        let slot = Arc::new(Slot::new(lease.clone()));
        let items = Mutex::new(Items::new(document.items));
        Job(Arc::new(Inner { document, lease, slot, progresses, items, runtime: Handle::current() }))
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.0.document.id
    }

    /// What is to be done.
    pub fn kind(&self) -> &str {
        &self.0.document.kind
    }

    /// Which try this is, from 1.
    pub fn attempt(&self) -> u32 {
        self.0.document.attempt
    }

    /// How many tries there may be, if the hub says so.
    pub fn attempts(&self) -> Option<u32> {
        self.0.document.attempts
    }

    /// Who it belongs to, if anybody.
    pub fn owner(&self) -> Option<&str> {
        self.0.document.owner.as_deref()
    }

    /// The input that it was made with. None at all reads as JSON's `null`, so that `Option` takes it.
    ///
    /// # Errors
    ///
    /// [`Error::Input`] if it is not a `T`; as the error of a handler it ends the job with `invalid-input`.
    pub fn input<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let input = self.0.document.input.as_ref().map_or("null", |input| input.get());
        serde_json::from_str(input).map_err(Error::Input)
    }

    /// The file that was uploaded with it, to be read from its beginning. Nothing is asked for before it is read.
    ///
    /// # Errors
    ///
    /// [`Error::NoFile`] if there is none.
    pub fn file(&self) -> Result<File, Error> {
        let about = self.0.document.file.clone().ok_or(Error::NoFile)?;
        Ok(File::new(about, self.0.lease.clone()))
    }

    /// Tells how far it is. It costs little and never waits: the newest progress is sent some ten times a second, with
    /// those of the other jobs of this worker. The last one is there before the job ends.
    ///
    /// `done` never goes backwards, and `total` is never less: a smaller number than before counts as the one before.
    pub fn progress(&self, progress: Progress) {
        self.0.progresses.set(&self.0.slot, progress);
    }

    /// Adds items to the result page, in order, and returns how many it has when the hub has them: no crash takes them
    /// back. With `tell` each is also told to who watches, as `job.item`. An item has up to 16 KiB as JSON.
    ///
    /// The first item of each attempt is item 0 again. Those that the hub has from an earlier attempt are passed over, so
    /// that a handler that does the same again makes the same page; see [`items_so_far`](Job::items_so_far) and
    /// [`skip_items_so_far`](Job::skip_items_so_far) for one that goes on instead. Calls from several tasks follow each other.
    ///
    /// # Errors
    ///
    /// [`Error::LeaseLost`], [`Error::Canceled`] if the hub did not answer and the job should stop, [`Error::Away`],
    /// [`Error::ItemTooLarge`], [`Error::Json`], [`Error::Refused`]. The items before the one that it is about may be
    /// there. A canceled job still takes items.
    pub async fn items<I>(&self, items: I, tell: bool) -> Result<u64, Error>
    where
        I: IntoIterator,
        I::Item: Serialize,
        I::IntoIter: Send,
    {
        let mut state = self.0.items.lock().await;
        state.send(&self.0.lease, &self.0.lease.cancel, items.into_iter(), tell).await
    }

    /// [`items`](Job::items) for a thread that may block, as in [`tokio::task::spawn_blocking`].
    ///
    /// # Errors
    ///
    /// As [`items`](Job::items).
    ///
    /// # Panics
    ///
    /// On a thread that drives async tasks, which must not block.
    pub fn blocking_items<I>(&self, items: I, tell: bool) -> Result<u64, Error>
    where
        I: IntoIterator,
        I::Item: Serialize,
        I::IntoIter: Send,
    {
        self.0.runtime.block_on(self.items(items, tell))
    }

    /// How many items earlier attempts have added.
    pub fn items_so_far(&self) -> u64 {
        self.0.document.items
    }

    /// Makes the next item follow those of earlier attempts, instead of being item 0 again. Returns its index.
    pub async fn skip_items_so_far(&self) -> u64 {
        self.0.items.lock().await.skip_known()
    }

    /// Tells that the job should stop: it was canceled, its lease is lost, or the worker stops.
    pub fn cancel_token(&self) -> CancelToken {
        self.0.lease.cancel.clone()
    }

    /// Whether the lease is lost: somebody else has the job, or it has ended. The token of
    /// [`cancel_token`](Job::cancel_token) is then canceled too.
    pub fn is_lost(&self) -> bool {
        self.0.lease.cancel.has(CancelReason::LeaseLost)
    }

    /// Returns as soon as the lease is lost.
    pub async fn lost(&self) {
        self.0.lease.cancel.for_reason(CancelReason::LeaseLost).await;
    }

    pub(crate) fn lease(&self) -> &Arc<Lease> {
        &self.0.lease
    }

    pub(crate) fn slot(&self) -> &Slot {
        &self.0.slot
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Document { id, kind, attempt, .. } = &self.0.document;
        f.debug_struct("Job").field("id", id).field("kind", kind).field("attempt", attempt).finish_non_exhaustive()
    }
}
