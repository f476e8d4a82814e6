//! A log that is moved into NATS: each event gets the place that it had, so that every cursor goes on meaning what it meant.
//!
//! - `survey`: what there is to move, and whether NATS can take it.
//! - `target`: the stream, which no hub opens before all is there.
//! - `copy`: the moving, by a `window` or by each `batch`. `check`: whether all arrived.
//! - `state`, `jobs`: what is beside the log.
//!
//! Whatever interrupts it, it goes on where it was: a message is taken at its own place or not at all, and what is there tells how far it is.

mod batch;
mod check;
mod copy;
mod jobs;
mod state;
mod survey;
mod target;
mod window;

pub use jobs::{MovedJobs, move_jobs};
pub use state::{MovedState, move_state};
pub use survey::Survey;
pub(super) use target::MOVING;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tidings::{Broker, BrokerError, Epoch, NewEvent, Offset, Page, Query};

use super::codec::{self, Origin};
use super::engine::{Engine, EngineError};
use super::{stream, subject};
use crate::memory::random_epoch;

/// How many events are read at once.
const PAGE: usize = 1_000;

/// How many bytes of them.
const PAGE_BYTES: usize = 8 << 20;

/// Why a log can't be moved, or not to the end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MoveError {
    /// The engine can't be reached, or can't be used.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The log that is moved can't be read.
    #[error("the log that is to be moved can't be read: {0}")]
    Source(#[from] BrokerError),
    /// It can't be moved as it is, or not there: a sentence that says what to do.
    #[error("{0}")]
    Refused(String),
    /// It stopped on its way. Moving again goes on where it was.
    #[error("{0}")]
    Interrupted(String),
}

/// What there is of a log in NATS before it is moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MoveProgress {
    /// Nothing.
    New,
    /// It was begun, and is there up to this place.
    Begun(Offset),
    /// It was moved, up to this place, and hubs may be at work with it.
    Done(Offset),
}

/// A log on its way into NATS.
pub struct LogMove {
    engine: Arc<Engine>,
    from: Arc<dyn Broker>,
    epoch: Epoch,
    patience: Duration,
    /// The numbers of batches, from one on that no other process has.
    batches: AtomicU64,
}

impl LogMove {
    /// Of the log `from`, to which nothing is appended any more.
    pub fn new(engine: Arc<Engine>, from: Arc<dyn Broker>) -> Self {
        let epoch = from.head().epoch;
        let batches = AtomicU64::new(u64::from(random_epoch().0) << 32);
        LogMove { engine, from, epoch, patience: Duration::from_secs(30), batches }
    }

    /// With another time than 30 s for which the engine may be away before it is given up.
    pub fn with_patience(self, patience: Duration) -> Self {
        LogMove { patience, ..self }
    }

    /// How far it is.
    ///
    /// # Errors
    /// [`MoveError::Refused`] where NATS has another log for this hub, and [`MoveError::Engine`].
    pub async fn progress(&self) -> Result<MoveProgress, MoveError> {
        let Some(found) = target::look(&self.engine).await?.filter(|found| !found.is_unused()) else {
            return Ok(MoveProgress::New);
        };
        found.check(&self.engine, self.epoch)?;
        Ok(match found.moved.filter(|_| !found.is_moving) {
            Some(until) => MoveProgress::Done(until),
            None => MoveProgress::Begun(Offset(found.last)),
        })
    }

    /// Looks through the log for what NATS could not take, and counts what there is to do. `step` is told of the places that are behind.
    ///
    /// # Errors
    /// [`MoveError::Refused`] with the first event that does not fit.
    pub async fn survey(&self, step: impl FnMut(Offset)) -> Result<Survey, MoveError> {
        survey::survey(self, step).await
    }

    /// Moves what is missing. `step` is told of each place that is reached.
    ///
    /// # Errors
    /// [`MoveError::Interrupted`] where NATS is away for longer than a moment.
    pub async fn copy(&self, survey: &Survey, step: impl FnMut(Offset)) -> Result<(), MoveError> {
        target::begin(self, survey).await?;
        copy::copy(self, survey, step).await
    }

    /// Reads everything back and compares it. `step` is told of each place that is reached.
    ///
    /// # Errors
    /// [`MoveError::Refused`] where something differs.
    pub async fn check(&self, survey: &Survey, step: impl FnMut(Offset)) -> Result<(), MoveError> {
        check::check(self, survey, step).await
    }

    /// Lets hubs open it. Only from now on they do.
    pub async fn finish(&self, survey: &Survey) -> Result<(), MoveError> {
        target::finish(self, survey).await
    }

    async fn page(&self, after: Offset, until: Offset) -> Result<Page, MoveError> {
        let query = Query { topics: None, after, until, limit: PAGE, max_bytes: PAGE_BYTES };
        Ok(self.from.read(query).await?)
    }

    /// How an event stands in the stream.
    fn written(&self, place: Offset, event: Option<&NewEvent>) -> Result<Written, MoveError> {
        let Some(event) = event else {
            return Ok(Written {
                subject: stream::void_subject(&self.engine),
                header: None,
                data: bytes::Bytes::new(),
            });
        };
        let refused = |why: String| MoveError::Refused(format!("event {place} ({}) can't be moved: {why}", event.name));
        // No process has this number, and places are never used again: nobody takes it for what they published.
        let by = Origin { process: 0, batch: place.0, index: 0 };
        let header = codec::encode(event, by).map_err(|error| refused(error.to_string()))?;
        let subject = subject::from_topic(&stream::event_prefix(&self.engine), event.topic.as_str());
        let (bytes, most) = (header.len() + event.data.len() + 300, self.engine.max_payload());
        if bytes > most {
            let sentence =
                format!("it has {bytes} bytes, and NATS takes messages of {most}: raise `max_payload` there");
            return Err(refused(sentence));
        }
        Ok(Written { subject, header: Some(header), data: event.data.clone() })
    }
}

/// A message of the stream.
struct Written {
    subject: String,
    header: Option<String>,
    data: bytes::Bytes,
}

impl Written {
    /// About how many bytes of memory it takes.
    fn bytes(&self) -> usize {
        self.subject.len() + self.header.as_ref().map_or(0, String::len) + self.data.len()
    }
}

/// Each place of a page with its event, and those that have none: up to what the page says that it reached.
fn places(page: &Page, after: Offset) -> impl Iterator<Item = (Offset, Option<&NewEvent>)> {
    let mut events = page.events.iter().peekable();
    (after.0 + 1..=page.reached.0).map(move |place| {
        let event = events.next_if(|event| event.offset.0 == place);
        (Offset(place), event.map(|event| &event.body))
    })
}
