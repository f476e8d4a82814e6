//! Keeps a copy of a bucket right: reads all of it, then each change as it is made. Whenever anything may have been missed (a cut, a
//! server that was killed, a message that never came) it begins anew.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::DeliverPolicy;

use super::bucket::{Bucket, is_deleted};
use super::mirror::{Mirror, Record};
use crate::nats::pushed::{Heard, Pace, Pushed};
use crate::state::StateError;

/// How often the server says that there is nothing new.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// After how long without a word it is begun anew.
const SILENCE: Duration = Duration::from_millis(1_600);

/// For how long the server keeps a consumer that nobody hears. Longer than a client needs to come back to the same server.
const UNHEARD: Duration = Duration::from_secs(10);

/// How long it waits before it begins anew.
const AGAIN: Duration = Duration::from_millis(200);

/// Runs until it is dropped.
pub(super) async fn follow<T: Record>(mirror: Arc<Mirror<T>>) {
    tokio::join!(hear_on(&mirror), mirror.prove());
}

async fn hear_on<T: Record>(mirror: &Mirror<T>) {
    let mut is_told = false;
    loop {
        let mut is_whole = false;
        let Err(why) = hear(mirror, &mut is_whole).await;
        // That the engine is away is told by itself.
        is_told &= !is_whole;
        let is_news = !is_told && mirror.bucket().engine().down().is_none();
        let bucket = mirror.bucket().stream_name();
        match is_news {
            true => tracing::warn!(bucket, why, "a bucket of NATS is read anew"),
            false => tracing::debug!(bucket, why, "a bucket of NATS is read anew"),
        }
        is_told |= is_news;
        tokio::time::sleep(AGAIN).await;
    }
}

/// Reads all, which `is_whole` tells then, and goes on hearing. Ends with the reason why it can't be sure any more to have heard all.
async fn hear<T: Record>(mirror: &Mirror<T>, is_whole: &mut bool) -> Result<std::convert::Infallible, String> {
    let bucket = mirror.bucket();
    let pace = Pace { heartbeat: HEARTBEAT, silence: SILENCE, unheard: UNHEARD };
    // The newest value of each name, and then all that comes.
    let from = DeliverPolicy::LastPerSubject;
    let made = Pushed::make(bucket.engine(), bucket.stream_name(), bucket.subjects(), from, pace);
    let made = bucket.ask(async { made.await.map_err(StateError::Unavailable) });
    let mut pushed = made.await.map_err(|error| error.to_string())?;
    mirror.begin();
    // What is newest now is part of what will be heard: it is the last of its name. Asked for after the beginning: what was made
    // here before that is then no newer.
    let mut newest = newest_of(bucket).await?;
    let mut cut = std::pin::pin!(bucket.cut());
    let mut heard = 0;
    loop {
        if !*is_whole && heard >= newest {
            *is_whole = true;
            mirror.end(heard);
        }
        let next = tokio::select! {
            next = pushed.next() => next?,
            away = &mut cut => return Err(away.to_string()),
        };
        match next {
            Heard::Message(message, revision) => {
                heard = revision;
                if let Some(name) = bucket.name_of(&message.subject) {
                    let is_removal = message.headers.as_ref().is_some_and(is_deleted);
                    mirror.hear(name, (!is_removal).then_some(&message.payload[..]), revision);
                }
                if *is_whole {
                    mirror.heard(revision);
                }
            }
            // What was newest may have been forgotten meanwhile, and then never comes.
            Heard::Beat { is_idle: true } if !*is_whole => newest = newest_of(bucket).await?,
            Heard::Beat { .. } => {}
        }
    }
}

async fn newest_of(bucket: &Bucket) -> Result<u64, String> {
    bucket.last_revision().await.map_err(|error| error.to_string())
}
