//! The seam to what keeps the events.

use std::sync::Arc;

use async_trait::async_trait;

use crate::cursor::{Epoch, Offset};
use crate::event::{Event, NewEvent};
use crate::topic::TopicPattern;

/// Keeps the events in one order and tells of each append. It knows no subscriber and no principal.
///
/// One contract suite (`tidings-brokers`, `contract`) runs on every implementation.
#[async_trait]
pub trait Broker: Send + Sync {
    /// Appends the batch and returns the place of each event, in the batch's order; `None` for a signal.
    ///
    /// All or nothing: after an error no event of the batch is ever seen, but for [`BrokerError::Unclear`]. It returns only
    /// when a crash can no longer take the batch back, and the [`Tail`] is told before it returns. What several callers hand in at
    /// the same time may share one sync. A batch of nothing returns at once. Dropping the future does not take back what was handed in.
    async fn publish(&self, batch: Vec<NewEvent>) -> Result<Vec<Option<Offset>>, BrokerError>;

    /// Reads on from a place, oldest first.
    ///
    /// Every kept event after [`Query::after`] that the query asks for is in this page or, because a bound was
    /// met, after [`Page::reached`].
    async fn read(&self, query: Query) -> Result<Page, BrokerError>;

    /// Where the log begins and ends now.
    fn head(&self) -> Head;

    /// From now on tells `tail` of every append and every signal: in log order, each once, and only what is durable.
    ///
    /// Called once, before the first publish. Announcing is part of appending: nobody is told of event 8
    /// before event 7.
    fn tail(&self, tail: Arc<dyn Tail>);

    /// How this process stands to others that append to the same log. Alone, unless the implementation is for several.
    fn standing(&self) -> Standing {
        Standing::Alone
    }

    /// The last place that the log has for all who append to it, as it is known for sure from a moment after this was called. An error
    /// if nothing is: who claims to have been further is not told then that there is nothing.
    async fn proven_last(&self) -> Result<Offset, BrokerError> {
        Ok(self.head().last)
    }
}

/// How a process stands to others that append to the same log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nobody else appends: what this process announced is all there is.
    Alone,
    /// Others append too, and what they do is heard here within moments.
    Current,
    /// Others may append, and it is not heard here at the moment.
    CutOff,
}

/// Is told of what was appended.
pub trait Tail: Send + Sync {
    /// These events are durable, and follow in log order on those told before. Signals stand among them as they came.
    /// Must return soon: the next append waits for it.
    fn appended(&self, events: Vec<Event>);
}

/// The two ends of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Which history this is.
    pub epoch: Epoch,
    /// Everything up to here was trimmed: a reader at or after it misses nothing. [`Offset::START`] if nothing was.
    pub trimmed: Offset,
    /// The last durable event.
    pub last: Offset,
    /// How many events are kept, as near as is known.
    pub events: u64,
    /// How many bytes they take, as near as is known.
    pub bytes: u64,
}

/// What to read.
#[derive(Clone, Debug)]
pub struct Query {
    /// Only events on these topics, all without wildcards; `None` is all topics. Lets the log seek instead of reading on.
    pub topics: Option<Arc<[TopicPattern]>>,
    /// Only events after this place.
    pub after: Offset,
    /// Only events up to and with this place; [`Offset`]`(u64::MAX)` for no bound.
    pub until: Offset,
    /// At most this many events.
    pub limit: usize,
    /// About this many bytes of data at most; one event is given even if it is larger.
    pub max_bytes: usize,
}

/// A page of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The events, oldest first.
    pub events: Vec<Event>,
    /// Nothing the query asks for lies between the last event and here; read on from here.
    pub reached: Offset,
}

/// Why the broker could not.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// The place is gone: the subscriber is told of a gap and goes on from `resume`.
    #[error("the log no longer holds the events after {after}; it begins after {resume}")]
    Trimmed {
        /// Where the reader stood.
        after: Offset,
        /// The first place from which reading is possible.
        resume: Offset,
    },
    /// There is no room: publishes are refused and reading goes on.
    #[error("the log has no room: {0}")]
    Full(String),
    /// It can't be reached or written at the moment; trying again may help.
    #[error("the log is unavailable: {0}")]
    Unavailable(String),
    /// Whether it was taken can't be told: it was handed on, and no answer came. It may be seen, now or later.
    #[error("whether the log took it can't be told: {0}")]
    Unclear(String),
    /// What is stored is damaged: starting or reading is refused rather than skipping anything.
    #[error("the log is damaged: {0}")]
    Damaged(String),
    /// The batch can never be taken.
    #[error("refused: {0}")]
    Refused(String),
}
