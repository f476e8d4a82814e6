//! What there is to move.

use tidings::{Clock, NewEvent, Offset, SystemClock, Timestamp};

use super::{LogMove, MoveError, places};
use crate::retention::Retention;

/// What there is to move, and what the limits of the settings let go anyway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Survey {
    /// The first place that is moved.
    pub first: Offset,
    /// The last.
    pub last: Offset,
    /// How many events there are from the first to the last.
    pub events: u64,
    /// How many places there are between that have no event.
    pub holes: u64,
    /// How many events are before the first: they are older, or more, than the settings keep.
    pub left_out: u64,
}

/// Events, and the bytes of their data.
#[derive(Clone, Copy, Default)]
struct Sum {
    events: u64,
    bytes: u64,
}

impl Sum {
    fn add(&mut self, event: &NewEvent) {
        self.events += 1;
        self.bytes += event.data.len() as u64;
    }
}

pub(super) async fn survey(log: &LogMove, mut step: impl FnMut(Offset)) -> Result<Survey, MoveError> {
    let head = log.from.head();
    let mut left = Sum::default();
    let mut after = head.trimmed;
    while after < head.last {
        let page = log.page(after, head.last).await?;
        page.events.iter().for_each(|event| left.add(&event.body));
        after = page.reached;
    }
    let retention = &log.engine.settings().retention;
    let oldest = retention.age.map(|age| Timestamp(SystemClock.now().0.saturating_sub(age.as_millis() as u64)));
    let mut survey = Survey { first: Offset(head.trimmed.0 + 1), last: head.last, events: 0, holes: 0, left_out: 0 };
    let mut after = head.trimmed;
    while after < head.last {
        let page = log.page(after, head.last).await?;
        for (place, event) in places(&page, after) {
            let Some(event) = event else {
                survey.holes += 1;
                continue;
            };
            if survey.events == 0 && goes(retention, oldest, left, event) {
                left.events -= 1;
                left.bytes -= event.data.len() as u64;
                survey = Survey { first: Offset(place.0 + 1), holes: 0, left_out: survey.left_out + 1, ..survey };
                continue;
            }
            log.written(place, Some(event))?;
            survey.events += 1;
        }
        after = page.reached;
        step(after);
    }
    Ok(survey)
}

/// Whether the settings let this event go, of so much that is left.
fn goes(retention: &Retention, oldest: Option<Timestamp>, left: Sum, event: &NewEvent) -> bool {
    oldest.is_some_and(|oldest| event.time < oldest)
        || retention.events.is_some_and(|most| left.events > most)
        || retention.bytes.is_some_and(|most| left.bytes > most)
}
