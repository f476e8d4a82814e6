//! One thing that happened.

use std::sync::Arc;

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::cursor::Offset;
use crate::grant::Audience;
use crate::topic::Topic;

/// An event before it has a place in the log.
///
/// What a [`Profile`](crate::Profile) makes of what a publisher handed in: the topic, the audience and the key are already
/// derived, the data is untouched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// The kind, as the publisher calls it: `book.updated`. 1 to 128 bytes, no control characters.
    pub name: Arc<str>,
    /// What it is about.
    pub topic: Topic,
    /// The payload: one JSON value, byte for byte as it came.
    pub data: Bytes,
    /// Facts that decide the audience: a JSON object, or empty. Never on the wire.
    pub scope: Bytes,
    /// Who may see it.
    pub audience: Audience,
    /// What it replaces: of two signals, or two coalesced events, with one name and key only the newer matters.
    pub key: Option<Arc<str>>,
    /// When it was accepted.
    pub time: Timestamp,
    /// Whether it is kept in the log. What is not kept is a *signal*: no cursor, and it may be dropped for a newer one.
    pub kept: bool,
    /// A hash of the publisher's `Idempotency-Key` and the index in its batch, kept with the event so that a
    /// retry after a crash finds out that it was already accepted.
    pub dedup: Option<Dedup>,
}

/// Which part of which idempotent request an event was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Dedup {
    /// The first 16 bytes of SHA-256 over the publisher's id and its `Idempotency-Key`.
    pub request: [u8; 16],
    /// Its index among the events of the request.
    pub index: u32,
    /// How many kept events the request had.
    pub of: u32,
}

/// An event with its place in the log. A signal has none and stands at [`Offset::START`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its place; [`Offset::START`] for a signal.
    pub offset: Offset,
    /// The event itself.
    pub body: NewEvent,
}

impl Event {
    /// Whether it is a signal: not kept, without cursor.
    pub fn is_signal(&self) -> bool {
        !self.body.kept
    }

    /// About how many bytes of memory it holds, to bound windows and pages.
    pub fn weight(&self) -> usize {
        let audience: usize = self.body.audience.grants().iter().map(|grant| grant.as_str().len() + 16).sum();
        160 + self.body.data.len() + self.body.scope.len() + self.body.topic.as_str().len() + audience
    }
}

impl std::ops::Deref for Event {
    type Target = NewEvent;
    fn deref(&self) -> &NewEvent {
        &self.body
    }
}
