//! Follows the stream: the one consumer of this replica, and the one subscription to signals.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_nats::{Message, Subscriber};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use serde_json::json;
use tokio::task::unconstrained;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::announcer::{Announcer, HELD_BYTES, Place, Placed};
use super::api::{ApiError, ask};
use super::codec::{self, Origin, Signal};
use super::engine::{Engine, EngineError};
use super::{echo, history, stream, subject};

/// How often the consumer is heard of when nothing happens.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// After how long a silence another consumer is made: three heartbeats and some.
const SILENCE: Duration = Duration::from_millis(3_500);
/// How long the consumer waits on the server for a client that is away, before it is removed there.
const ABANDONED: Duration = Duration::from_secs(30);
/// After how long without a heartbeat something may have been missed of what comes before events.
const LAPSE: Duration = Duration::from_millis(1_500);
/// For how long the events that were missed wait for what has to be known before them.
const LONGEST_HELD: Duration = Duration::from_secs(10);
/// The most places that are announced at once.
const MOST_AT_ONCE: usize = 1_024;

/// What is done before events that were missed are announced: see [`NatsBroker::before_missed`](super::NatsBroker::before_missed).
pub type BeforeMissed = Box<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// Why the stream can't be followed.
pub(super) enum TailError {
    /// Trying again may help.
    Again(String),
    /// The history that was announced is over.
    Over(String),
    /// The server makes other consumers than it was asked for.
    Unfit(EngineError),
}

/// What follows the stream.
pub(super) struct Follower {
    engine: Arc<Engine>,
    announcer: Arc<Announcer>,
    events: String,
    void: String,
    is_caught_up: Arc<AtomicBool>,
    before_missed: Arc<OnceLock<BeforeMissed>>,
}

/// A consumer that is heard.
pub(super) struct Consumer {
    messages: Subscriber,
    course: Course,
    /// How many connections had been made before it. Servers go on with it over the next one.
    connects: u64,
    /// The last place that the leader of the stream had when it was made. The copy that feeds it may be behind.
    target: u64,
}

/// How far a consumer came.
#[derive(Debug, Default)]
struct Course {
    /// How many messages it sent.
    sent: u64,
    /// The place of the last one.
    at: u64,
}

impl Course {
    /// Takes the `nth` message of the consumer, which stands at `at`. Whether it is the one that was `expected`; one from before it
    /// is passed over: on a copy that is behind, NATS 2.10 begins at an older place than it was asked to.
    fn take(&mut self, at: u64, nth: u64, expected: u64) -> Result<bool, TailError> {
        if nth != self.sent + 1 {
            let (from, to) = (self.sent + 1, nth.saturating_sub(1));
            return Err(TailError::Again(format!("messages {from} to {to} of the consumer were lost")));
        }
        if at <= self.at {
            return Err(TailError::Again(format!("the consumer went back from place {} to {at}", self.at)));
        }
        if at > expected {
            // Trimmed, damaged, or not on the copy that feeds the consumer: the leader knows, and is asked before the next consumer.
            let to = at - 1;
            return Err(TailError::Again(format!("the consumer passed over the places from {expected} to {to}")));
        }
        *self = Course { sent: nth, at };
        Ok(at == expected)
    }
}

impl Follower {
    pub fn new(engine: Arc<Engine>, announcer: Arc<Announcer>, is_caught_up: Arc<AtomicBool>) -> Follower {
        let (events, void) = (stream::event_prefix(&engine), stream::void_subject(&engine));
        Follower { engine, announcer, events, void, is_caught_up, before_missed: Arc::default() }
    }

    /// Where what is to be done before missed events are announced is put.
    pub fn before_missed(&self) -> Arc<OnceLock<BeforeMissed>> {
        self.before_missed.clone()
    }

    /// Announces what comes, for ever: over cuts, restarts and other leaders; until the history is over.
    pub async fn run(self, mut signals: Subscriber, first: Consumer) {
        drop_while(&mut signals, self.announcer.has_started()).await;
        let mut consumer = Some(first);
        let mut tries = 0_u32;
        loop {
            let attached = match consumer.take() {
                Some(consumer) => Ok(consumer),
                None => drop_while(&mut signals, self.come_back()).await,
            };
            let ended = match attached {
                Ok(consumer) => self.follow(consumer, &mut signals, &mut tries).await,
                Err(error) => error,
            };
            let why = match ended {
                TailError::Again(why) => why,
                TailError::Over(why) => return self.announcer.end(why),
                TailError::Unfit(error) => error.to_string(),
            };
            self.is_caught_up.store(false, Ordering::Relaxed);
            tries = tries.saturating_add(1);
            if tries > 1 {
                tracing::warn!(why, "the log in NATS can't be followed at the moment");
            } else {
                tracing::info!(why, "following the log in NATS anew");
            }
            drop_while(&mut signals, sleep(Duration::from_millis(20 << tries.min(5)))).await;
        }
    }

    /// Attaches again, when all is done that comes before what was missed, or has taken too long.
    async fn come_back(&self) -> Result<Consumer, TailError> {
        let connects = self.engine.connects();
        self.learn().await;
        Ok(Consumer { connects, ..self.attach().await? })
    }

    /// Does what comes before missed events, or gives it up.
    async fn learn(&self) {
        if let Some(before) = self.before_missed.get()
            && timeout(LONGEST_HELD, before()).await.is_err()
            && self.engine.down().is_none()
        {
            tracing::warn!("what has to be known before missed events can't be had from NATS; going on without it");
        }
    }

    /// Makes a consumer that sends what follows on what was announced, if this is still the same log.
    pub async fn attach(&self) -> Result<Consumer, TailError> {
        let connects = self.engine.connects();
        let target = history::check(&self.engine, &self.announcer).await?;
        let again = |error: ApiError| TailError::Again(error.to_string());
        let client = self.engine.client();
        let inbox = client.new_inbox();
        let messages = client.subscribe(inbox.clone()).await.map_err(|error| TailError::Again(error.to_string()))?;
        let name = format!("tidings-{}", inbox.rsplit('.').next().unwrap_or_default());
        let config = json!({
            "name": name,
            "description": "A replica of Tidings that follows the log",
            "deliver_subject": inbox,
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": self.announcer.announced() + 1,
            "ack_policy": "none",
            "replay_policy": "instant",
            "max_deliver": -1,
            "mem_storage": true,
            "num_replicas": 1,
            "flow_control": true,
            "idle_heartbeat": HEARTBEAT.as_nanos() as u64,
            "inactive_threshold": ABANDONED.as_nanos() as u64,
            "filter_subject": "",
            "filter_subjects": [],
            "headers_only": false,
        });
        let stream = self.engine.stream_name();
        let body = json!({ "stream_name": stream, "action": "create", "config": config });
        let made = ask(&self.engine, &format!("CONSUMER.CREATE.{stream}.{name}"), &body).await.map_err(again)?;
        echo::check(&format!("the consumer {name}"), &config, &made["config"]).map_err(TailError::Unfit)?;
        Ok(Consumer { messages, course: Course::default(), connects, target })
    }

    async fn follow(&self, mut consumer: Consumer, signals: &mut Subscriber, tries: &mut u32) -> TailError {
        let target = consumer.target;
        self.is_caught_up.store(self.announcer.announced() >= target, Ordering::Relaxed);
        let mut silent_at = Instant::now() + SILENCE;
        loop {
            let mut first_signal = None;
            let first = tokio::select! {
                biased;
                () = self.announcer.doubted() => return TailError::Again("its ends are not what was announced".into()),
                signal = signals.next() => match signal {
                    Some(signal) => { first_signal = Some(signal); None }
                    None => return TailError::Again("the connection was given up".into()),
                },
                message = timeout_at(silent_at, consumer.messages.next()) => match message {
                    Ok(Some(message)) => Some(message),
                    Ok(None) => return TailError::Again("the subscription ended".into()),
                    Err(_) => return TailError::Again("nothing was heard of the consumer".into()),
                },
            };
            // What has arrived, and only then the signals: one that was sent before an event is then never found too late.
            let mut placed = Vec::new();
            let mut outcome = Ok(());
            let mut next = first.or_else(|| arrived(&mut consumer.messages));
            if next.is_some() {
                if Instant::now() > silent_at - SILENCE + LAPSE {
                    drop_while(signals, self.learn()).await;
                }
                silent_at = Instant::now() + SILENCE;
            } else if Instant::now() >= silent_at {
                // Signals that never end would keep it from being noticed above.
                return TailError::Again("nothing was heard of the consumer".into());
            }
            while let Some(message) = next {
                outcome = self.take(&mut consumer, message, &mut placed).await;
                if outcome.is_err() || placed.len() >= MOST_AT_ONCE {
                    break;
                }
                next = arrived(&mut consumer.messages);
            }
            let heard = heard(first_signal, signals);
            if self.engine.connects() != consumer.connects {
                return TailError::Again("there is another connection".into());
            }
            if !placed.is_empty() {
                *tries = 0;
            }
            if !placed.is_empty() || !heard.is_empty() {
                self.announcer.announce(placed, heard);
            }
            if let Err(error) = outcome {
                return error;
            }
            if self.announcer.announced() >= target {
                self.is_caught_up.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Takes one message of the consumer.
    async fn take(&self, consumer: &mut Consumer, message: Message, placed: &mut Vec<Placed>) -> Result<(), TailError> {
        if let Some(status) = message.status.filter(|status| status.as_u16() != 200) {
            if status.as_u16() != 100 {
                let what = message.description.unwrap_or_default();
                return Err(TailError::Again(format!("the consumer says {} {what}", status.as_u16())));
            }
            return self.control(consumer, &message).await;
        }
        let Some((at, nth)) = message.reply.as_deref().and_then(sequences) else {
            return Err(TailError::Again("a message came that is not of the consumer".into()));
        };
        let expected = placed.last().map_or_else(|| self.announcer.announced(), |last| last.offset) + 1;
        if !consumer.course.take(at, nth, expected)? {
            return Ok(());
        }
        let bytes = message.length;
        let header =
            message.headers.as_ref().and_then(|headers| headers.get(codec::HEADER)).map(|value| value.as_str());
        let place = place_of(&self.events, &self.void, &message.subject, header, &message.payload);
        placed.push(Placed { offset: at, place, bytes });
        Ok(())
    }

    /// A heartbeat or a question whether the messages so far have arrived.
    async fn control(&self, consumer: &Consumer, message: &Message) -> Result<(), TailError> {
        let stalled = message.headers.as_ref().and_then(|headers| headers.get("Nats-Consumer-Stalled"));
        let reply = message.reply.as_ref().map(|reply| reply.to_string());
        if let Some(reply) = reply.or_else(|| stalled.map(|subject| subject.as_str().to_owned())) {
            let _ = self.engine.client().publish(reply, bytes::Bytes::new()).await;
        }
        let sent = message.headers.as_ref().and_then(|headers| headers.get("Nats-Last-Consumer"));
        match sent.and_then(|sent| sent.as_str().parse::<u64>().ok()) {
            Some(sent) if sent > consumer.course.sent => Err(TailError::Again(format!(
                "messages {} to {sent} of the consumer were lost",
                consumer.course.sent + 1
            ))),
            _ => Ok(()),
        }
    }
}

/// What has arrived already, if anything. Not by the budget of a task, which calls a queue empty that is not.
fn arrived(messages: &mut Subscriber) -> Option<Message> {
    unconstrained(messages.next()).now_or_never().flatten()
}

/// Waits for `work`, and drops the signals that come meanwhile: they would pile up, and be old.
async fn drop_while<T>(signals: &mut Subscriber, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            signal = signals.next() => if signal.is_none() {
                return work.await;
            },
        }
    }
}

/// The signals that have arrived, as many as are told at once.
fn heard(first: Option<Message>, signals: &mut Subscriber) -> Vec<(Signal, Origin)> {
    let (mut heard, mut bytes) = (Vec::new(), 0);
    let mut next = first.or_else(|| arrived(signals));
    while let Some(message) = next {
        bytes += message.length;
        heard.extend(signal_of(&message));
        let is_room = heard.len() < MOST_AT_ONCE && bytes < HELD_BYTES;
        next = if is_room { arrived(signals) } else { None };
    }
    heard
}

fn signal_of(message: &Message) -> Option<(Signal, Origin)> {
    let header = message.headers.as_ref().and_then(|headers| headers.get(codec::HEADER))?;
    codec::decode_signal(header.as_str(), message.payload.clone())
        .inspect_err(|error| tracing::warn!(%error, "a signal in NATS is none of Tidings'"))
        .ok()
}

/// What a message of the stream is.
pub(super) fn place_of(events: &str, void: &str, subject: &str, header: Option<&str>, data: &bytes::Bytes) -> Place {
    if subject == void {
        return Place::Void;
    }
    let Some(topic) = subject::to_topic(events, subject) else {
        return Place::Foreign(format!("its subject {subject:?} is not of a topic"));
    };
    let Some(header) = header else { return Place::Foreign(format!("it has no header {}", codec::HEADER)) };
    match codec::decode(topic, header, data.clone()) {
        Ok((event, by)) => Place::Event(Box::new(event), by),
        Err(error) => Place::Foreign(error.to_string()),
    }
}

/// The place in the stream and the number at the consumer, of the subject to which a message would be acknowledged (ADR-15): the old
/// form has 9 parts, the new one a domain and an account more.
pub(super) fn sequences(reply: &str) -> Option<(u64, u64)> {
    let parts: Vec<&str> = reply.strip_prefix("$JS.ACK.")?.split('.').collect();
    let from = match parts.len() {
        7 => 3,
        9.. => 5,
        _ => return None,
    };
    Some((parts[from].parse().ok()?, parts[from + 1].parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_from_before_what_is_expected_is_passed_over_and_no_consumer_ends_the_history() {
        let mut behind = Course::default();
        for (nth, at) in (1..).zip(8..11) {
            assert!(matches!(behind.take(at, nth, 11), Ok(false)), "a copy that is behind began at an older place");
        }
        assert!(matches!(behind.take(11, 4, 11), Ok(true)));
        for (at, nth, what) in [(12, 6, "messages 5 to 5"), (14, 5, "from 12 to 13"), (11, 5, "went back")] {
            let Err(TailError::Again(why)) = behind.take(at, nth, 12) else { panic!("{at} is not what follows") };
            assert!(why.contains(what), "{why}");
        }
        assert!(matches!(behind.take(12, 5, 12), Ok(true)), "what was refused did not move it");
    }

    #[test]
    fn both_forms_of_the_subject_for_acknowledging_are_read() {
        assert_eq!(sequences("$JS.ACK.S.c.1.70.3.1768600000000000000.9"), Some((70, 3)));
        assert_eq!(sequences("$JS.ACK._.hash.S.c.1.70.3.1768600000000000000.9"), Some((70, 3)));
        assert_eq!(sequences("$JS.ACK.domain.hash.S.c.1.70.3.1768600000000000000.9.token"), Some((70, 3)));
        for other in ["", "_INBOX.a", "$JS.ACK.S.c.1.70", "$JS.ACK.S.c.1.x.3.17.9"] {
            assert_eq!(sequences(other), None, "{other}");
        }
    }
}
