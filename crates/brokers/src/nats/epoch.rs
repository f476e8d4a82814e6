//! Another epoch for a log that lost something, so that whoever stands in what was lost is told of a gap.

use std::time::Duration;

use serde_json::{Value, json};
use tidings::Epoch;
use tokio::time::{Instant, sleep};

use super::api::{ApiError, ask};
use super::engine::Engine;
use super::stream::{EPOCH, StreamState, info};
use crate::memory::random_epoch;

/// Which loss that a server told of was answered with another epoch already; behind a dot the name of the server, if there are several.
const LOST: &str = "tidings-lost";

/// How long a new epoch is watched.
const WATCHED: Duration = Duration::from_secs(2);

/// What the leader of the stream says that it lost, and where it is noted that it was answered.
pub(super) fn lost(info: &Value) -> Option<(String, String)> {
    let lost = &info["state"]["lost"];
    let bytes = lost["bytes"].as_u64().filter(|bytes| *bytes > 0)?;
    let note = info["cluster"]["leader"].as_str().map_or_else(|| LOST.to_owned(), |leader| format!("{LOST}.{leader}"));
    let places = lost["msgs"].as_array().map(Vec::as_slice).unwrap_or_default();
    Some((
        note,
        match (places.first(), places.last()) {
            (Some(first), Some(last)) => format!("{bytes} bytes, places {first} to {last}"),
            _ => format!("{bytes} bytes"),
        },
    ))
}

/// Gives the stream another epoch, once, where its server found damage when it started: what was at its end may be missing, and
/// nobody was there who would know.
pub(super) async fn answer_loss(engine: &Engine, state: StreamState) -> Result<StreamState, ApiError> {
    let Some((note, lost)) = state.lost.clone().filter(|lost| !is_noted(&state.config, lost)) else { return Ok(state) };
    tracing::error!(
        lost,
        "NATS found damage in its files and lost a part of the log: every subscriber is told of a gap"
    );
    replace(engine, state.epoch, Some((&note, &lost))).await?;
    info(engine).await
}

/// Whether a loss was answered. The note stays: the servers of a cluster lead in turn, and each tells of its own loss until it starts anew.
fn is_noted(config: &Value, (note, lost): &(String, String)) -> bool {
    config["metadata"][note].as_str() == Some(lost)
}

/// Replaces an epoch that is over, with a note of why, and watches that it stays away: who changes the configuration at the same time may
/// put it back. If another replica replaced it already, nothing is left to do.
pub(super) async fn replace(engine: &Engine, over: Epoch, note: Option<(&str, &str)>) -> Result<(), ApiError> {
    let begun = Instant::now();
    let mut since = begun;
    loop {
        let now = info(engine).await?;
        if now.epoch == over {
            if begun.elapsed() > WATCHED * 5 {
                return Err(ApiError::NoAnswer("the log does not take another epoch".into()));
            }
            let mut config = now.config;
            config["metadata"][EPOCH] = json!(random_epoch().to_string());
            if let Some((note, lost)) = note {
                config["metadata"][note] = json!(lost);
            }
            ask(engine, &format!("STREAM.UPDATE.{}", engine.stream_name()), &config).await?;
            since = Instant::now();
        } else if since.elapsed() > WATCHED {
            return Ok(());
        }
        sleep(WATCHED / 4).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_that_lead_in_turn_have_each_its_loss_answered_once() {
        let said = |leader: &str, bytes: u64, places: Value| {
            lost(&json!({ "cluster": { "leader": leader }, "state": { "lost": { "msgs": places, "bytes": bytes } } }))
        };
        let mut config = json!({ "metadata": {} });
        let mut answer = |lost: Option<(String, String)>| {
            let Some(lost) = lost else { return false };
            let is_new = !is_noted(&config, &lost);
            config["metadata"][lost.0] = json!(lost.1);
            is_new
        };
        let turns = [
            said("n1", 90, json!([7])),
            said("n2", 0, json!([])),
            said("n1", 90, json!([7])),
            said("n3", 50, json!(null)),
        ];
        assert_eq!(turns.map(&mut answer), [true, false, false, true]);
        let later = [said("n1", 90, json!([7])), said("n3", 50, json!(null)), said("n1", 90, json!([8, 9]))];
        assert_eq!(later.map(&mut answer), [false, false, true], "another loss of as much is another");
        let alone = lost(&json!({ "state": { "lost": { "msgs": [4, 5], "bytes": 9 } } }));
        assert_eq!(alone, Some((LOST.to_owned(), "9 bytes, places 4 to 5".to_owned())));
    }
}
