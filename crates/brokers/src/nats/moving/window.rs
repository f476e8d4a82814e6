//! Messages on their way one by one, many at a time.

use std::collections::VecDeque;
use std::error::Error;
use std::future::{Future, IntoFuture};
use std::pin::Pin;

use async_nats::jetstream::context::PublishError;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::publish::PublishAck;
use tidings::Offset;

use super::copy::{expecting, out_of_place};
use super::{LogMove, MoveError, Written};

/// How many are on their way at once.
const MOST: usize = 1_000;

/// How many bytes of them.
const MOST_BYTES: usize = 8 << 20;

type Ack = Pin<Box<dyn Future<Output = Result<PublishAck, PublishError>> + Send>>;

/// What was sent and not acknowledged yet, the first in front.
#[derive(Default)]
pub(super) struct Window {
    sent: VecDeque<(Offset, usize, Ack)>,
    bytes: usize,
}

impl Window {
    pub fn is_full(&self) -> bool {
        self.sent.len() >= MOST || self.bytes >= MOST_BYTES
    }

    pub async fn send(&mut self, log: &LogMove, place: Offset, written: Written) -> Result<(), MoveError> {
        let bytes = written.bytes();
        let message = PublishMessage::build().headers(expecting(log, place, written.header)).payload(written.data);
        let ack = log.engine.context().send_publish(written.subject, message).await.map_err(|error| failed(&error))?;
        self.sent.push_back((place, bytes, ack.into_future()));
        self.bytes += bytes;
        Ok(())
    }

    /// Waits for the first, and returns its place; `None` if there is none.
    pub async fn first(&mut self) -> Result<Option<Offset>, MoveError> {
        let Some((place, bytes, ack)) = self.sent.pop_front() else { return Ok(None) };
        self.bytes -= bytes;
        let acknowledged = ack.await.map_err(|error| failed(&error))?;
        match acknowledged.sequence == place.0 {
            true => Ok(Some(place)),
            false => Err(out_of_place(place, acknowledged.sequence)),
        }
    }
}

fn failed(error: &PublishError) -> MoveError {
    let why = error.source().map_or_else(String::new, |source| format!(": {source}"));
    MoveError::Interrupted(format!("NATS did not take it: {error}{why}"))
}
