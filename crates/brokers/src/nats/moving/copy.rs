//! The moving itself.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::NATS_EXPECTED_LAST_SEQUENCE;
use tidings::Offset;
use tokio::time::Instant;

use super::batch::Batch;
use super::window::Window;
use super::{LogMove, MoveError, Survey, Written, places, target};
use crate::nats::codec;
use crate::nats::settings::Durability;

/// How long after a failure it is tried again.
const AGAIN_AFTER: Duration = Duration::from_millis(200);

/// Moves what is missing, through whatever passes while there is patience.
pub(super) async fn copy(log: &LogMove, survey: &Survey, mut step: impl FnMut(Offset)) -> Result<(), MoveError> {
    let mut reached = Offset(survey.first.0 - 1);
    let mut deadline = Instant::now() + log.patience;
    loop {
        let before = reached;
        let mut run = Run { log, way: Way::Each(Window::default()), reached: &mut reached, step: &mut step };
        let failure = match run.go_on(survey).await {
            Err(MoveError::Interrupted(why)) => why,
            ended => return ended,
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

/// How messages go.
enum Way {
    /// Each for itself: the fastest where servers sync now and then.
    Each(Window),
    /// Many as one: the fastest where they sync each append.
    Batches(Batch),
}

/// One try.
struct Run<'a, F> {
    log: &'a LogMove,
    way: Way,
    reached: &'a mut Offset,
    step: &'a mut F,
}

impl<F: FnMut(Offset)> Run<'_, F> {
    /// Moves on from what the stream has.
    async fn go_on(&mut self, survey: &Survey) -> Result<(), MoveError> {
        let engine = &self.log.engine;
        let found = target::look(engine).await?.ok_or_else(|| MoveError::Refused("the stream is gone".into()))?;
        found.check(engine, self.log.epoch)?;
        let mut after = Offset(found.last);
        if after > survey.last {
            return Err(MoveError::Refused(format!(
                "the stream {} has {after}, which is behind the end of the log that is moved, {}",
                engine.stream_name(),
                survey.last
            )));
        }
        if engine.settings().durability == Durability::PowerSafe && found.is_atomic {
            self.way = Way::Batches(Batch::default());
        }
        self.reach(after);
        while after < survey.last {
            let page = self.log.page(after, survey.last).await?;
            for (place, event) in places(&page, after) {
                self.put(place, self.log.written(place, event)?).await?;
            }
            after = page.reached;
        }
        self.flush().await
    }

    async fn put(&mut self, place: Offset, written: Written) -> Result<(), MoveError> {
        let taken = match &mut self.way {
            Way::Each(window) => {
                let taken = if window.is_full() { window.first().await? } else { None };
                window.send(self.log, place, written).await?;
                taken
            }
            Way::Batches(batch) => {
                batch.add(place, written);
                if batch.is_full() { batch.append(self.log).await? } else { None }
            }
        };
        taken.into_iter().for_each(|taken| self.reach(taken));
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), MoveError> {
        loop {
            let taken = match &mut self.way {
                Way::Each(window) => window.first().await?,
                Way::Batches(batch) => batch.append(self.log).await?,
            };
            match taken {
                Some(taken) => self.reach(taken),
                None => return Ok(()),
            }
        }
    }

    fn reach(&mut self, place: Offset) {
        *self.reached = place;
        (self.step)(place);
    }
}

/// The headers of a message.
pub(super) fn headers(log: &LogMove, header: Option<String>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Expected-Stream", log.engine.stream_name());
    if let Some(header) = header {
        headers.insert(codec::HEADER, header);
    }
    headers
}

/// The headers of a message that is taken at this place or not at all: whatever was lost before it, and whoever else writes.
pub(super) fn expecting(log: &LogMove, place: Offset, header: Option<String>) -> HeaderMap {
    let mut headers = headers(log, header);
    headers.insert(NATS_EXPECTED_LAST_SEQUENCE, (place.0 - 1).to_string());
    headers
}

/// What was taken elsewhere.
pub(super) fn out_of_place(place: Offset, taken: u64) -> MoveError {
    MoveError::Refused(format!("NATS took {place} as {taken}: somebody else writes to the stream"))
}
