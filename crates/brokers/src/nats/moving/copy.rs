//! The moving itself.

use std::collections::VecDeque;
use std::error::Error;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::NATS_EXPECTED_LAST_SEQUENCE;
use async_nats::jetstream::context::PublishError;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::publish::PublishAck;
use tidings::Offset;
use tokio::time::Instant;

use super::{LogMove, MoveError, Survey, Written, places, target};
use crate::nats::codec;

/// How many messages are on their way at once.
const ON_THEIR_WAY: usize = 1_000;

/// How many bytes of them.
const BYTES_ON_THEIR_WAY: usize = 8 << 20;

/// How long after a failure it is tried again.
const AGAIN_AFTER: Duration = Duration::from_millis(200);

type Ack = Pin<Box<dyn Future<Output = Result<PublishAck, PublishError>> + Send>>;

/// What was sent and not acknowledged yet, the first in front.
#[derive(Default)]
struct Window {
    sent: VecDeque<(Offset, usize, Ack)>,
    bytes: usize,
}

impl Window {
    fn is_full(&self) -> bool {
        self.sent.len() >= ON_THEIR_WAY || self.bytes >= BYTES_ON_THEIR_WAY
    }

    /// Waits for the first, and returns its place.
    async fn first(&mut self) -> Result<Option<Offset>, MoveError> {
        let Some((place, bytes, ack)) = self.sent.pop_front() else { return Ok(None) };
        self.bytes -= bytes;
        let acknowledged = ack.await.map_err(|error| failed(&error))?;
        if acknowledged.sequence != place.0 {
            return Err(MoveError::Interrupted(format!(
                "NATS took {place} as {}: somebody else writes to the stream",
                acknowledged.sequence
            )));
        }
        Ok(Some(place))
    }
}

/// Moves what is missing, through whatever passes while there is patience.
pub(super) async fn copy(log: &LogMove, survey: &Survey, mut step: impl FnMut(Offset)) -> Result<u64, MoveError> {
    let mut moved = 0;
    let mut reached = Offset(survey.first.0 - 1);
    let mut deadline = Instant::now() + log.patience;
    loop {
        let before = reached;
        let failure = match go_on(log, survey, &mut reached, &mut moved, &mut step).await {
            Ok(()) => return Ok(moved),
            Err(MoveError::Interrupted(why)) => why,
            Err(error) => return Err(error),
        };
        let now = Instant::now();
        if reached > before {
            deadline = now + log.patience;
        }
        if now >= deadline {
            return Err(MoveError::Interrupted(failure));
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

/// Moves on from what the stream has.
async fn go_on(
    log: &LogMove,
    survey: &Survey,
    reached: &mut Offset,
    moved: &mut u64,
    step: &mut impl FnMut(Offset),
) -> Result<(), MoveError> {
    let found = target::look(&log.engine).await?.ok_or_else(|| MoveError::Refused("the stream is gone".into()))?;
    found.check(&log.engine, log.epoch)?;
    let mut after = Offset(found.last);
    if after > survey.last {
        return Err(MoveError::Refused(format!(
            "the stream {} has {after}, which is behind the end of the log that is moved, {}",
            log.engine.stream_name(),
            survey.last
        )));
    }
    *reached = after;
    step(after);
    let mut window = Window::default();
    while after < survey.last {
        let page = log.page(after, survey.last).await?;
        for (place, event) in places(&page, after) {
            while window.is_full() {
                acknowledged(&mut window, reached, step).await?;
            }
            send(log, &mut window, place, log.written(place, event)?).await?;
            *moved += u64::from(event.is_some());
        }
        after = page.reached;
    }
    while acknowledged(&mut window, reached, step).await? {}
    Ok(())
}

async fn acknowledged(
    window: &mut Window,
    reached: &mut Offset,
    step: &mut impl FnMut(Offset),
) -> Result<bool, MoveError> {
    let Some(place) = window.first().await? else { return Ok(false) };
    *reached = place;
    step(place);
    Ok(true)
}

async fn send(log: &LogMove, window: &mut Window, place: Offset, written: Written) -> Result<(), MoveError> {
    let bytes = written.subject.len() + written.header.as_ref().map_or(0, String::len) + written.data.len();
    let mut headers = HeaderMap::new();
    // At its own place, or not at all: whatever was lost before it, and whoever else writes.
    headers.insert(NATS_EXPECTED_LAST_SEQUENCE, (place.0 - 1).to_string());
    headers.insert("Nats-Expected-Stream", log.engine.stream_name());
    if let Some(header) = written.header {
        headers.insert(codec::HEADER, header);
    }
    let message = PublishMessage::build().headers(headers).payload(written.data);
    let ack = log.engine.context().send_publish(written.subject, message).await.map_err(|error| failed(&error))?;
    window.sent.push_back((place, bytes, ack.into_future()));
    window.bytes += bytes;
    Ok(())
}

fn failed(error: &PublishError) -> MoveError {
    let why = error.source().map_or_else(String::new, |source| format!(": {source}"));
    MoveError::Interrupted(format!("NATS did not take it: {error}{why}"))
}
