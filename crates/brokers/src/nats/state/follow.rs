//! Keeps a copy of a bucket right: reads all of it, then each change as it is made. Whenever anything may have been missed (a cut, a
//! server that was killed, a message that never came) it begins anew.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, IntoConsumerConfig, push};
use async_nats::{HeaderMap, Message, StatusCode, Subscriber, jetstream};
use bytes::Bytes;
use futures_util::StreamExt;

use super::bucket::{Bucket, is_deleted};
use super::mirror::{Mirror, Record};
use crate::nats::check_consumer;
use crate::state::StateError;

/// How often the server says that there is nothing new.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// After how long without a word it is begun anew.
const SILENCE: Duration = Duration::from_millis(1_600);

/// For how long the server keeps a consumer that nobody hears. Longer than a client needs to come back to the same server.
const UNHEARD: Duration = Duration::from_secs(10);

/// How long it waits before it begins anew.
const AGAIN: Duration = Duration::from_millis(200);

/// The header of a server that waits for the answer to a question about flow control, with where to send it.
const STALLED: &str = "Nats-Consumer-Stalled";

/// Runs until it is dropped.
pub(super) async fn follow<T: Record>(mirror: Arc<Mirror<T>>) {
    let mut is_told = false;
    loop {
        let mut is_whole = false;
        let Err(why) = hear(&mirror, &mut is_whole).await;
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
    let subscribed = bucket.ask(async { subscribe(mirror).await.map_err(StateError::Unavailable) });
    let mut messages = subscribed.await.map_err(|error| error.to_string())?;
    mirror.begin();
    // What is newest now is part of what will be heard: it is the last of its name. Asked for after the beginning: what was made
    // here before that is then no newer.
    let mut newest = newest_of(bucket).await?;
    let mut cut = std::pin::pin!(bucket.cut());
    let mut heard = Heard::default();
    loop {
        if !*is_whole && heard.revision >= newest {
            *is_whole = true;
            mirror.end(heard.revision);
        }
        let message = tokio::select! {
            message = tokio::time::timeout(SILENCE, messages.next()) => message,
            away = &mut cut => return Err(away.to_string()),
        };
        let message = message.map_err(|_| "nothing was heard")?.ok_or("the subscription ended")?;
        if message.status.is_some() {
            heard.check(&message)?;
            let is_idle = has_nothing_to_send(&message);
            if *is_whole {
                mirror.is_whole_now();
            }
            answer(mirror, message).await?;
            if !*is_whole && is_idle {
                // What was newest may have been forgotten meanwhile, and then never comes.
                newest = newest_of(bucket).await?;
            }
            continue;
        }
        let message = jetstream::Message { message, context: bucket.engine().context().clone() };
        let info = message.info().map_err(|error| error.to_string())?;
        heard.next(info.consumer_sequence, info.stream_sequence)?;
        if let Some(name) = bucket.name_of(&message.subject) {
            let is_removal = message.headers.as_ref().is_some_and(is_deleted);
            mirror.hear(name, (!is_removal).then_some(&message.payload[..]), heard.revision);
        }
        if *is_whole {
            mirror.heard(heard.revision);
            mirror.is_whole_now();
        }
    }
}

async fn newest_of(bucket: &Bucket) -> Result<u64, String> {
    bucket.last_revision().await.map_err(|error| error.to_string())
}

/// Whether a message of the server's own says that there is nothing to send. One that asks for an answer, or that says that it waits
/// for one, comes while there may be much more (ADR-15, flow control).
fn has_nothing_to_send(message: &Message) -> bool {
    message.reply.is_none() && header(message.headers.as_ref(), STALLED).is_none()
}

/// A consumer of the newest value of each name, and then of all that comes.
async fn subscribe<T: Record>(mirror: &Mirror<T>) -> Result<Subscriber, String> {
    let bucket = mirror.bucket();
    let (client, context) = (bucket.engine().client(), bucket.engine().context());
    let inbox = client.new_inbox();
    // Before the consumer is made: it sends at once.
    let messages = client.subscribe(inbox.clone()).await.map_err(|error| error.to_string())?;
    let asked = push::Config {
        deliver_subject: inbox,
        deliver_policy: DeliverPolicy::LastPerSubject,
        ack_policy: AckPolicy::None,
        filter_subject: bucket.subjects(),
        idle_heartbeat: HEARTBEAT,
        flow_control: true,
        inactive_threshold: UNHEARD,
        memory_storage: true,
        num_replicas: 1,
        ..push::Config::default()
    };
    let made = context.create_consumer_on_stream(asked.clone(), bucket.stream_name()).await;
    let made = made.map_err(|error| error.to_string())?;
    check_consumer(&asked.into_consumer_config(), &made.cached_info().config).map_err(|error| error.to_string())?;
    Ok(messages)
}

/// What was heard of a consumer.
#[derive(Default)]
struct Heard {
    /// How many messages.
    count: u64,
    /// The revision of the last one.
    revision: u64,
}

impl Heard {
    /// A message. Its number among those of the consumer says whether one is missing before it.
    fn next(&mut self, number: u64, revision: u64) -> Result<(), String> {
        if number != self.count + 1 {
            return Err(format!("message {number} came after {}", self.count));
        }
        *self = Heard { count: number, revision };
        Ok(())
    }

    /// A heartbeat says how many messages were sent before it.
    fn check(&self, message: &Message) -> Result<(), String> {
        let sent = header(message.headers.as_ref(), "Nats-Last-Consumer").and_then(|text| text.parse::<u64>().ok());
        match sent {
            Some(sent) if sent > self.count => Err(format!("{sent} messages were sent and {} came", self.count)),
            _ => Ok(()),
        }
    }
}

/// The server sends no more than was said to have arrived (ADR-15, flow control).
async fn answer<T: Record>(mirror: &Mirror<T>, message: Message) -> Result<(), String> {
    if message.status != Some(StatusCode::IDLE_HEARTBEAT) {
        return Err(format!("the server said {:?} {:?}", message.status, message.description));
    }
    let stalled = header(message.headers.as_ref(), STALLED).map(Into::into);
    let client = mirror.bucket().engine().client();
    for subject in message.reply.into_iter().chain(stalled) {
        client.publish(subject, Bytes::new()).await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn header<'a>(headers: Option<&'a HeaderMap>, name: &'static str) -> Option<&'a str> {
    Some(headers?.get(name)?.as_str())
}
