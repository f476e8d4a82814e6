//! Connections that live and lead nowhere.

use std::sync::{Arc, Weak};
use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use super::api::{self, ApiError};
use super::engine::Engine;
use super::stream;

/// How often the engine is asked something.
const EVERY: Duration = Duration::from_secs(1);
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// After how many questions without an answer the connection is given up: more than a cluster takes to find another leader on most days.
const UNANSWERED: u32 = 4;
/// After so many other servers it is left at more rounds: where none answers, going from one to the other helps nobody.
const SERVERS: u32 = 6;
/// How many rounds these are.
const MORE_ROUNDS: u32 = 16;

/// Leaves a connection through which nothing comes back for what is sent, and one to a server that the others of its cluster
/// can't reach; the client then goes on at another. It takes neither for broken: a ping is only sent on a connection
/// that is silent, and the server that is cut off answers it. Ends with the engine.
pub async fn watch_over(engine: Weak<Engine>) {
    let (mut failed, mut left) = (0, 0);
    loop {
        sleep(EVERY).await;
        let Some(engine) = engine.upgrade() else { return };
        if engine.down().is_some() {
            failed = 0;
            continue;
        }
        if answers(&engine).await {
            (failed, left) = (0, 0);
            continue;
        }
        failed += 1;
        if failed >= if left < SERVERS { UNANSWERED } else { MORE_ROUNDS } {
            tracing::warn!("NATS is connected and does not answer; going on at another server");
            (failed, left) = (0, left + 1);
            let _ = engine.client().force_reconnect().await;
        }
    }
}

/// Whether the leader of the log says anything about it, which most copies of it would agree with, and the cluster has a leader at all. A
/// server that is cut off goes on speaking for what it led for long.
async fn answers(engine: &Arc<Engine>) -> bool {
    let nothing = json!({});
    let (log, cluster) = tokio::join!(stream::info(engine), api::ask_within(engine, "INFO", &nothing, Some(PATIENCE)));
    let is_there = |error: &ApiError| matches!(error, ApiError::Refused(refusal) if refusal.code < 500);
    log.map_or_else(|error| is_there(&error), |now| now.is_led)
        && cluster.map_or_else(|error| is_there(&error), |_| true)
}
