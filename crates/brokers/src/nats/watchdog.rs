//! Connections that live and lead nowhere.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::sleep;

use super::api::{self, ApiError};
use super::engine::Engine;
use super::stream;

/// How often the engine is asked something.
const EVERY: Duration = Duration::from_secs(2);
/// After how many questions without an answer the connection is given up.
const UNANSWERED: u32 = 3;
/// The most rounds between two such: where no server answers, going from one to the other helps nobody.
const MOST_ROUNDS: u32 = 16;

/// Leaves a connection through which nothing comes back for what is sent, and one to a server that the others of its cluster
/// can't reach; the client then goes on at another. It takes neither for broken: a ping is only sent on a connection
/// that is silent, and the server that is cut off answers it. Ends with the engine.
pub async fn watch_over(engine: Weak<Engine>) {
    let (mut failed, mut patience) = (0, UNANSWERED);
    loop {
        sleep(EVERY).await;
        let Some(engine) = engine.upgrade() else { return };
        if engine.down().is_some() || answers(&engine).await {
            (failed, patience) = (0, UNANSWERED);
            continue;
        }
        failed += 1;
        if failed >= patience {
            tracing::warn!("NATS is connected and does not answer; going on at another server");
            (failed, patience) = (0, (2 * patience).min(MOST_ROUNDS));
            let _ = engine.client().force_reconnect().await;
        }
    }
}

/// Whether the leader of the log says anything about it.
async fn answers(engine: &Arc<Engine>) -> bool {
    match stream::info(engine).await {
        Ok(_) => true,
        Err(ApiError::Refused(refusal)) => refusal.err_code == api::STREAM_NOT_FOUND,
        Err(ApiError::NoResponders | ApiError::NoAnswer(_)) => false,
    }
}
