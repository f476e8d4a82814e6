//! Telling the other replicas of a change beside the bucket that it was made in. A copy of a bucket hears of changes by one consumer on one
//! server, and when that dies it takes seconds until there is another one. Who is shut out must not be let in for so long. A hint may be
//! lost, and says nothing by itself: whoever hears it reads the entry.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Message;
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};

use super::mirror::{Mirror, Record};
use super::record::{OfKey, from_json, to_json};
use crate::nats::Engine;
use crate::store::Revocation;

/// How many hints are looked after at once.
const AT_ONCE: usize = 64;

/// How long it waits before it listens again.
const AGAIN: Duration = Duration::from_secs(1);

/// How long the one that tells waits until it is on its way.
const SENT_WITHIN: Duration = Duration::from_millis(200);

/// An entry that was changed.
#[derive(Serialize, Deserialize)]
struct Hint {
    bucket: String,
    name: String,
    revision: u64,
}

fn subject(engine: &Engine) -> String {
    format!("tidings.{}.state.changed", engine.settings().hub)
}

/// Tells the others of a change that was made here.
pub(super) async fn tell<T: Record>(mirror: &Mirror<T>, name: &str, revision: u64) {
    let (engine, bucket) = (mirror.bucket().engine(), mirror.bucket().of().to_owned());
    let Ok(hint) = to_json(&Hint { bucket, name: name.to_owned(), revision }) else { return };
    let told = async {
        engine.client().publish(subject(engine), hint.into()).await.map_err(|error| error.to_string())?;
        // Whoever made the change may end now.
        engine.client().flush().await.map_err(|error| error.to_string())
    };
    // The change itself is made, and will be heard without this too.
    match tokio::time::timeout(SENT_WITHIN, told).await {
        Ok(Ok(())) => {}
        Ok(Err(why)) => tracing::debug!(why, "a change could not be told at once"),
        Err(_) => tracing::debug!("a change could not be told at once"),
    }
}

/// Looks after what others tell. Runs until it is dropped.
pub(super) async fn listen(keys: Arc<Mirror<OfKey>>, revocations: Arc<Mirror<Revocation>>) {
    let engine = keys.bucket().engine();
    loop {
        if let Ok(hints) = engine.client().subscribe(subject(engine)).await {
            hints.for_each_concurrent(AT_ONCE, |hint| look(&keys, &revocations, hint)).await;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn look(keys: &Mirror<OfKey>, revocations: &Mirror<Revocation>, message: Message) {
    let Ok(Hint { bucket, name, revision }) = from_json(&message.payload) else { return };
    let looked = match bucket {
        bucket if bucket == keys.bucket().of() => keys.look(&name, revision).await,
        bucket if bucket == revocations.bucket().of() => revocations.look(&name, revision).await,
        _ => return,
    };
    if let Err(error) = looked {
        tracing::debug!(%error, "a change that was told of can't be read");
    }
}
