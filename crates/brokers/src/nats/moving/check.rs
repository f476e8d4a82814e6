//! Whether all arrived: everything is read back.

use std::time::Duration;

use tidings::Offset;
use tokio::time::Instant;

use super::target::{self, interrupted};
use super::{LogMove, MoveError, PAGE_BYTES, Survey, places};
use crate::nats::direct::{Direct, Stored, Wanted};

/// How many messages are asked for at once.
const PAGE: usize = 500;

/// How long after an empty answer it is asked again: any server answers, also one that is behind.
const AGAIN_AFTER: Duration = Duration::from_millis(200);

/// The messages of the stream, one after the other.
struct Messages {
    direct: Direct,
    found: std::vec::IntoIter<Stored>,
    next: u64,
    patience: Duration,
}

impl Messages {
    async fn next(&mut self) -> Result<Stored, MoveError> {
        let deadline = Instant::now() + self.patience;
        loop {
            if let Some(found) = self.found.next() {
                self.next = found.offset + 1;
                return Ok(found);
            }
            let wanted = Wanted { from: self.next, subject: None, count: PAGE, bytes: PAGE_BYTES };
            match self.direct.get(wanted).await {
                Ok(got) if !got.found.is_empty() => {
                    self.found = got.found.into_iter();
                    continue;
                }
                Err(error) if Instant::now() >= deadline => return Err(interrupted(error)),
                Ok(_) if Instant::now() >= deadline => {
                    return Err(MoveError::Refused(format!("{} is missing in NATS", self.next)));
                }
                _ => tokio::time::sleep(AGAIN_AFTER).await,
            }
        }
    }
}

pub(super) async fn check(log: &LogMove, survey: &Survey, mut step: impl FnMut(Offset)) -> Result<(), MoveError> {
    let found = target::look(&log.engine).await?.ok_or_else(|| MoveError::Refused("the stream is gone".into()))?;
    if found.messages > 0 && found.last + 1 - found.first != found.messages {
        return Err(MoveError::Refused(format!(
            "the stream {} has {} messages from {} to {}: some are missing",
            log.engine.stream_name(),
            found.messages,
            found.first,
            found.last
        )));
    }
    if found.last != survey.last.0 {
        return Err(MoveError::Refused(format!("the log in NATS ends at {}, and not at {}", found.last, survey.last)));
    }
    let direct = Direct::new(log.engine.clone()).await.map_err(interrupted)?;
    // What the limits of the stream let go since is not missed.
    let mut after = Offset(found.first.max(survey.first.0) - 1);
    let mut messages = Messages { direct, found: Vec::new().into_iter(), next: after.0 + 1, patience: log.patience };
    while after < survey.last {
        let page = log.page(after, survey.last).await?;
        let mut passed = after;
        for (place, event) in places(&page, after) {
            if place <= passed {
                continue;
            }
            let there = messages.next().await?;
            if there.offset > place.0 {
                passed = let_go(log, Offset(there.offset - 1)).await?;
                // It is compared when its place comes.
                messages.next = there.offset;
                messages.found = Vec::new().into_iter();
                continue;
            }
            let expected = log.written(place, event)?;
            if (&there.subject, &there.header, &there.data) != (&expected.subject, &expected.header, &expected.data) {
                return Err(MoveError::Refused(format!(
                    "{place} is another in NATS than in the log that was moved: remove the stream {} and move again",
                    log.engine.stream_name()
                )));
            }
        }
        after = page.reached.max(passed);
        step(after);
    }
    Ok(())
}

/// That what is missing up to a place is so because of the stream's limits.
async fn let_go(log: &LogMove, until: Offset) -> Result<Offset, MoveError> {
    let found = target::look(&log.engine).await?.ok_or_else(|| MoveError::Refused("the stream is gone".into()))?;
    match found.first > until.0 {
        true => Ok(until),
        false => Err(MoveError::Refused(format!("{until} is missing in NATS"))),
    }
}
