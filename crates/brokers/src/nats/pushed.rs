//! A consumer that pushes what is put into a stream: made as it was asked for, and heard without a hole, or given up.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, IntoConsumerConfig, push};
use async_nats::{HeaderMap, Message, StatusCode, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::time::{Instant, timeout_at};

use super::echo::check_consumer;
use super::engine::Engine;
use super::tail::sequences;

/// The header of a server that waits for the answer to a question about flow control, with where to send it.
const STALLED: &str = "Nats-Consumer-Stalled";

/// How a consumer is to be.
pub(super) struct Pace {
    /// How often the server says that there is nothing new.
    pub heartbeat: Duration,
    /// After how long without a word it is given up.
    pub silence: Duration,
    /// For how long the server keeps it when nobody hears it.
    pub unheard: Duration,
}

/// The consumer.
pub(super) struct Pushed<'a> {
    engine: &'a Engine,
    messages: Subscriber,
    silence: Duration,
    silent_at: Instant,
    /// How many messages were heard.
    count: u64,
}

/// What is heard of it.
pub(super) enum Heard {
    /// A message, with its place in the stream.
    Message(Box<Message>, u64),
    /// That it lives; `is_idle` if there is nothing to send. One that asks for an answer, or that says that it waits for one, comes while
    /// there may be much more (ADR-15, flow control).
    Beat { is_idle: bool },
}

impl<'a> Pushed<'a> {
    /// Makes one of the subjects that `filter` fits.
    pub async fn make(
        engine: &'a Engine,
        stream: &str,
        filter: String,
        from: DeliverPolicy,
        pace: Pace,
    ) -> Result<Pushed<'a>, String> {
        let (client, context) = (engine.client(), engine.context());
        let inbox = client.new_inbox();
        // Before the consumer is made: it sends at once.
        let messages = client.subscribe(inbox.clone()).await.map_err(|error| error.to_string())?;
        let asked = push::Config {
            deliver_subject: inbox,
            deliver_policy: from,
            ack_policy: AckPolicy::None,
            filter_subject: filter,
            idle_heartbeat: pace.heartbeat,
            flow_control: true,
            inactive_threshold: pace.unheard,
            memory_storage: true,
            num_replicas: 1,
            ..push::Config::default()
        };
        let made = context.create_consumer_on_stream(asked.clone(), stream).await;
        let made = made.map_err(|error| error.to_string())?;
        check_consumer(&asked.into_consumer_config(), &made.cached_info().config).map_err(|error| error.to_string())?;
        Ok(Pushed { engine, messages, silence: pace.silence, silent_at: Instant::now() + pace.silence, count: 0 })
    }

    /// What comes next. An error is the reason why it can't be sure any more to have heard all. May be dropped while it waits.
    pub async fn next(&mut self) -> Result<Heard, String> {
        let message = timeout_at(self.silent_at, self.messages.next()).await;
        let message = message.map_err(|_| "nothing was heard")?.ok_or("the subscription ended")?;
        self.silent_at = Instant::now() + self.silence;
        if message.status.is_some_and(|status| status != StatusCode::OK) {
            return self.control(message).await;
        }
        let (sequence, number) =
            message.reply.as_deref().and_then(sequences).ok_or("a message came that is not of the consumer")?;
        // Its number among those of the consumer says whether one is missing before it.
        if number != self.count + 1 {
            return Err(format!("message {number} came after {}", self.count));
        }
        self.count = number;
        Ok(Heard::Message(Box::new(message), sequence))
    }

    /// A heartbeat says how many messages were sent before it. The server sends no more than was said to have arrived.
    async fn control(&self, message: Message) -> Result<Heard, String> {
        let sent = header(message.headers.as_ref(), "Nats-Last-Consumer").and_then(|text| text.parse::<u64>().ok());
        if let Some(sent) = sent.filter(|sent| *sent > self.count) {
            return Err(format!("{sent} messages were sent and {} came", self.count));
        }
        if message.status != Some(StatusCode::IDLE_HEARTBEAT) {
            return Err(format!("the server said {:?} {:?}", message.status, message.description));
        }
        let stalled = header(message.headers.as_ref(), STALLED).map(Into::into);
        let is_idle = message.reply.is_none() && stalled.is_none();
        for subject in message.reply.into_iter().chain(stalled) {
            self.engine.client().publish(subject, Bytes::new()).await.map_err(|error| error.to_string())?;
        }
        Ok(Heard::Beat { is_idle })
    }
}

fn header<'a>(headers: Option<&'a HeaderMap>, name: &'static str) -> Option<&'a str> {
    Some(headers?.get(name)?.as_str())
}
