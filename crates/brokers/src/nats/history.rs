//! Whether the log in NATS still is the one that was announced here, and has what follows on it.

use std::time::Duration;

use tidings::Epoch;
use tokio::time::{Instant, sleep};

use super::announcer::Announcer;
use super::api::{self, ApiError};
use super::codec::{self, Origin};
use super::direct::get_from_leader;
use super::engine::Engine;
use super::epoch;
use super::stream::{self, StreamState};
use super::tail::TailError;

/// How long a stream that seems to have lost its end is looked at again: a server that was just chosen may be a moment behind.
const DOUBT: Duration = Duration::from_secs(5);

/// Asks the leader whether the log is what was announced, and returns the last place that it has.
pub(super) async fn check(engine: &Engine, announcer: &Announcer) -> Result<u64, TailError> {
    let begun = Instant::now();
    loop {
        let now = match stream::info(engine).await {
            Ok(now) => now,
            Err(error) if error.err_code() == api::STREAM_NOT_FOUND && begun.elapsed() > DOUBT => {
                return Err(TailError::Over("the stream of the log was removed in NATS".into()));
            }
            Err(error) if error.err_code() == api::STREAM_NOT_FOUND => {
                sleep(Duration::from_millis(250)).await;
                continue;
            }
            Err(error) => return Err(again(&error)),
        };
        let announced = announcer.announced();
        if now.epoch != announcer.epoch {
            if begun.elapsed() < DOUBT / 4 {
                sleep(Duration::from_millis(250)).await;
                continue;
            }
            return Err(TailError::Over(other(announcer.epoch, now.epoch)));
        }
        if now.last < announced || !has_newest(engine, announcer, &now).await.map_err(|error| again(&error))? {
            if begun.elapsed() < DOUBT {
                sleep(Duration::from_millis(250)).await;
                continue;
            }
            let last = now.last;
            let why = format!(
                "NATS lost the end of the log: it ends at {last} and differs from what was announced up to {announced}"
            );
            announcer.blame(why.clone());
            // Its places will be given to other events: what was announced needs another epoch than what comes.
            epoch::replace(engine, now.epoch, None).await.map_err(|error| again(&error))?;
            return Err(TailError::Over(why));
        }
        if now.trimmed() > announced {
            let trimmed = now.trimmed();
            return Err(TailError::Over(format!(
                "the log in NATS no longer has the events from {} to {trimmed}, which were not announced here yet",
                announced + 1
            )));
        }
        announcer.refresh(&now);
        return Ok(now.last);
    }
}

fn again(error: &ApiError) -> TailError {
    TailError::Again(error.to_string())
}

/// Whether the last event that was announced here stands where it did. Also if it was trimmed meanwhile.
pub(super) async fn has_newest(engine: &Engine, announcer: &Announcer, now: &StreamState) -> Result<bool, ApiError> {
    let Some((offset, by)) = announcer.newest().filter(|(offset, _)| *offset > now.trimmed()) else {
        return Ok(true);
    };
    Ok(publisher_of(engine, offset).await? == Some(by))
}

/// Who published the event at `offset`. `None`: there is none, or it can't be told.
pub(super) async fn publisher_of(engine: &Engine, offset: u64) -> Result<Option<Origin>, ApiError> {
    let found = get_from_leader(engine, offset, None).await?.filter(|found| found.offset == offset);
    Ok(found.and_then(|found| codec::origin(&found.header?).ok()))
}

/// A sentence about a log that is not the one that was announced.
pub(super) fn other(was: Epoch, is: Epoch) -> String {
    format!("the log in NATS has another history ({is}) than was announced ({was})")
}
