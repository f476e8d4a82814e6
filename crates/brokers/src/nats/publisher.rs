//! Publishes: one event as one message, several as one atomic batch (ADR-50) where the servers can.
//!
//! A publish has succeeded when its events were announced here, whatever became of the answer to it. What surely was not taken is tried
//! again until the deadline; what may have been taken only if it can be told as the same (`dedup`), for the engine then knows it by its id.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::client::{Request, RequestErrorKind};
use bytes::Bytes;
use serde::Deserialize;
use tidings::{BrokerError, NewEvent, Offset};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::announcer::{Announcer, Expectation};
use super::api::Refusal;
use super::codec::{self, Origin};
use super::engine::Engine;
use super::{stream, subject};

/// The most events of one atomic batch that servers take.
pub(super) const MOST_IN_BATCH: usize = 1_000;
/// How many atomic batches of one process are on their way: servers take 50 of a stream at once, of all replicas together.
const BATCHES_AT_ONCE: usize = 12;
/// How long the engine may be away before publishes are refused at once, so that nobody waits for nothing.
const AWAY: Duration = Duration::from_secs(1);
/// How long one try of what can be repeated waits for its answer.
const ONE_TRY: Duration = Duration::from_millis(1_500);
/// How long a signal that was sent is waited for to come back. It may be dropped.
const SIGNAL_ECHO: Duration = Duration::from_secs(1);

/// An event as it goes to the stream.
#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    subject: String,
    header: String,
    id: Option<String>,
    payload: Bytes,
}

/// What became of a try.
enum Outcome {
    /// All are in the stream; whether they were already.
    Taken { last: u64, places: Vec<u64>, again: bool },
    /// Nothing of what is still missing was taken.
    NotTaken(String),
    /// It may have been taken.
    Unclear(String),
    /// It never will be.
    Failed(BrokerError),
}

/// What the engine says to one message.
enum Ack {
    Taken { place: u64, again: bool },
    Duplicates,
    NotTaken(String),
    Unclear(String),
    Failed(BrokerError),
}

#[derive(Deserialize)]
struct PubAck {
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    duplicate: bool,
    error: Option<Refusal>,
}

/// Publishes what this process is handed.
pub(super) struct Publisher {
    engine: Arc<Engine>,
    announcer: Arc<Announcer>,
    events: String,
    signals: String,
    stream: String,
    /// Whether the stream takes atomic batches.
    is_atomic: bool,
    batches: AtomicU64,
    on_their_way: Semaphore,
}

impl Publisher {
    pub fn new(engine: Arc<Engine>, announcer: Arc<Announcer>, is_atomic: bool) -> Publisher {
        Publisher {
            events: stream::event_prefix(&engine),
            signals: signal_subject(&engine),
            stream: engine.stream_name(),
            is_atomic,
            batches: AtomicU64::new(0),
            on_their_way: Semaphore::new(BATCHES_AT_ONCE),
            engine,
            announcer,
        }
    }

    /// Publishes a batch: signals before its first event go before it, the others behind its last.
    pub async fn publish(&self, batch: Vec<NewEvent>) -> Result<Vec<Option<Offset>>, BrokerError> {
        self.announcer.start();
        let number = self.batches.fetch_add(1, Ordering::Relaxed);
        let kept: Vec<&NewEvent> = batch.iter().filter(|event| event.kept).collect();
        let outgoing = kept.iter().enumerate().map(|(index, event)| self.outgoing(event, self.origin(number, index)));
        let outgoing = outgoing.collect::<Result<Vec<_>, _>>()?;
        if outgoing.len() > MOST_IN_BATCH {
            let events = outgoing.len();
            return Err(BrokerError::Refused(format!(
                "{events} events in one batch, and NATS takes {MOST_IN_BATCH} as a whole: send fewer at once"
            )));
        }
        self.check_engine()?;
        let leading = batch.iter().take_while(|event| !event.kept).count();
        self.signal(&batch[..leading], Offset(self.announcer.announced())).await?;
        let places = if outgoing.is_empty() { Vec::new() } else { self.append(number, &outgoing).await? };
        let mut placed = places.iter().copied();
        let mut after = Offset::START;
        let mut answer = Vec::with_capacity(batch.len());
        for event in &batch {
            let place = if event.kept { placed.next() } else { None };
            after = place.unwrap_or(after);
            answer.push(place);
        }
        if leading < batch.len() {
            let trailing: Vec<NewEvent> = batch.into_iter().skip(leading).filter(|event| !event.kept).collect();
            // The events are taken, and signals may be dropped.
            let _ = self.signal(&trailing, after).await;
        }
        Ok(answer)
    }

    fn origin(&self, batch: u64, index: usize) -> Origin {
        Origin { process: self.announcer.process, batch, index: index as u32 }
    }

    fn outgoing(&self, event: &NewEvent, by: Origin) -> Result<Outgoing, BrokerError> {
        let header = codec::encode(event, by).map_err(|error| BrokerError::Refused(error.to_string()))?;
        let subject = subject::from_topic(&self.events, event.topic.as_str());
        let most = self.engine.client().max_payload();
        let bytes = header.len() + event.data.len() + 300;
        if bytes > most {
            return Err(BrokerError::Refused(format!(
                "an event of {bytes} bytes with all that belongs to it, and NATS takes {most}"
            )));
        }
        let id = event.dedup.as_ref().map(codec::message_id);
        Ok(Outgoing { subject, header, id, payload: event.data.clone() })
    }

    /// Refuses at once where waiting is for nothing.
    fn check_engine(&self) -> Result<(), BrokerError> {
        if let Some(why) = self.announcer.ended() {
            return Err(BrokerError::Unavailable(why));
        }
        match self.engine.down() {
            Some(down) if down.since.elapsed() > AWAY => {
                Err(BrokerError::Unavailable(format!("NATS is away: {}; nothing was published", down.why)))
            }
            _ => Ok(()),
        }
    }

    /// Sends signals, and waits a moment until they were heard here.
    async fn signal(&self, signals: &[NewEvent], after: Offset) -> Result<(), BrokerError> {
        if signals.is_empty() {
            return Ok(());
        }
        let number = self.batches.fetch_add(1, Ordering::Relaxed);
        let mut heard = self.announcer.expect(number, signals.len());
        for (index, signal) in signals.iter().enumerate() {
            let header = codec::encode_signal(signal, after, self.origin(number, index));
            let header = header.map_err(|error| BrokerError::Refused(error.to_string()))?;
            let mut headers = HeaderMap::new();
            headers.insert(codec::HEADER, header);
            let sent =
                self.engine.client().publish_with_headers(self.signals.clone(), headers, signal.data.clone()).await;
            sent.map_err(|error| BrokerError::Unavailable(format!("a signal could not be sent: {error}")))?;
        }
        tokio::select! {
            _ = heard.announced() => Ok(()),
            () = sleep(SIGNAL_ECHO) => self.check_engine(),
        }
    }

    /// Appends events, and returns when they were announced here.
    async fn append(&self, batch: u64, events: &[Outgoing]) -> Result<Vec<Offset>, BrokerError> {
        let deadline = Instant::now() + self.engine.settings().publish_timeout;
        let mut expected = self.announcer.expect(batch, events.len());
        let is_repeatable = events.iter().all(|event| event.id.is_some());
        let mut taken = vec![None; events.len()];
        let (mut maybe, mut pause): (Option<String>, _) = (None, Duration::from_millis(20));
        loop {
            let until = if is_repeatable { deadline.min(Instant::now() + ONE_TRY) } else { deadline };
            let outcome = tokio::select! {
                biased;
                places = expected.announced() => return Ok(places),
                why = self.announcer.replaced() => return Err(unclear(&why)),
                outcome = self.attempt(events, &mut taken, until) => outcome,
            };
            match outcome {
                Outcome::Taken { last, places, again } => {
                    return self.wait_for(expected, last, places, again, deadline).await;
                }
                Outcome::Failed(error) => return Err(error),
                Outcome::NotTaken(why) => {
                    // Dropped tries and changes of the leader pass within a moment.
                    tokio::select! {
                        places = expected.announced() => return Ok(places),
                        () = sleep(pause) => {}
                    }
                    pause = (pause * 2).min(Duration::from_millis(250));
                    if Instant::now() >= deadline || self.check_engine().is_err() {
                        return Err(match maybe {
                            Some(why) => unclear(&why),
                            None => BrokerError::Unavailable(format!("NATS did not take it: {why}")),
                        });
                    }
                }
                Outcome::Unclear(why) if is_repeatable && Instant::now() < deadline => maybe = Some(why),
                Outcome::Unclear(why) => {
                    return tokio::select! {
                        places = expected.announced() => Ok(places),
                        () = sleep_until(deadline) => Err(unclear(&why)),
                    };
                }
            }
        }
    }

    async fn wait_for(
        &self,
        mut expected: Expectation,
        last: u64,
        places: Vec<u64>,
        again: bool,
        deadline: Instant,
    ) -> Result<Vec<Offset>, BrokerError> {
        let late = || unclear(&format!("NATS took it as event {last}, which is not announced here yet"));
        let announced = async {
            if again {
                // Of the first time, perhaps by another process.
                self.announcer.reach(last).await;
                places.into_iter().map(Offset).collect()
            } else {
                expected.announced().await
            }
        };
        tokio::select! {
            places = timeout_at(deadline, announced) => places.map_err(|_| late()),
            why = self.announcer.replaced() => Err(unclear(&why)),
        }
    }

    async fn attempt(&self, events: &[Outgoing], taken: &mut [Option<(u64, bool)>], until: Instant) -> Outcome {
        if events.len() > 1 && self.is_atomic && taken.iter().all(Option::is_none) {
            match self.send_batch(events, until).await {
                Ack::Taken { place, .. } => {
                    let first = place + 1 - events.len() as u64;
                    return Outcome::Taken { last: place, places: (first..=place).collect(), again: false };
                }
                // Each one by itself then says where it was the first time.
                Ack::Duplicates => {}
                Ack::NotTaken(why) => return Outcome::NotTaken(why),
                Ack::Unclear(why) => return Outcome::Unclear(why),
                Ack::Failed(error) => return Outcome::Failed(error),
            }
        }
        // One after the other: sent together, a change of the leader could take the second and not the first.
        for (event, taken) in events.iter().zip(&mut *taken).filter(|(_, taken)| taken.is_none()) {
            match self.send(event, until).await {
                Ack::Taken { place, again } => *taken = Some((place, again)),
                Ack::NotTaken(why) => return Outcome::NotTaken(why),
                Ack::Unclear(why) => return Outcome::Unclear(why),
                Ack::Failed(error) => return Outcome::Failed(error),
                Ack::Duplicates => return Outcome::NotTaken("a duplicate is on its way".into()),
            }
        }
        let places: Vec<u64> = taken.iter().flatten().map(|(place, _)| *place).collect();
        let last = places.iter().copied().max().unwrap_or_default();
        Outcome::Taken { last, places, again: taken.iter().flatten().any(|(_, again)| *again) }
    }

    async fn send(&self, event: &Outgoing, until: Instant) -> Ack {
        self.ask(event, event.headers(&self.stream), until).await
    }

    async fn send_batch(&self, events: &[Outgoing], until: Instant) -> Ack {
        let Ok(_permit) = self.on_their_way.acquire().await else {
            return Ack::NotTaken("stopped".into());
        };
        let id = format!("{:016x}-{}", self.announcer.process, self.batches.fetch_add(1, Ordering::Relaxed));
        let Some((last, others)) = events.split_last() else { return Ack::NotTaken("an empty batch".into()) };
        for (index, event) in others.iter().enumerate() {
            let headers = event.batch_headers(&self.stream, &id, index + 1);
            let sent =
                self.engine.client().publish_with_headers(event.subject.clone(), headers, event.payload.clone()).await;
            if let Err(error) = sent {
                return Ack::NotTaken(error.to_string());
            }
        }
        let mut headers = last.batch_headers(&self.stream, &id, events.len());
        headers.insert("Nats-Batch-Commit", "1");
        self.ask(last, headers, until).await
    }

    async fn ask(&self, event: &Outgoing, headers: HeaderMap, until: Instant) -> Ack {
        let patience = until.saturating_duration_since(Instant::now());
        let request = Request::new().payload(event.payload.clone()).headers(headers).timeout(Some(patience));
        let answer = match self.engine.client().send_request(event.subject.clone(), request).await {
            Ok(answer) => answer,
            Err(error) => {
                return match error.kind() {
                    RequestErrorKind::NoResponders => Ack::NotTaken("no server leads the log at the moment".into()),
                    RequestErrorKind::MaxPayloadExceeded | RequestErrorKind::InvalidSubject => {
                        Ack::Failed(BrokerError::Refused(error.to_string()))
                    }
                    _ => Ack::Unclear(error.to_string()),
                };
            }
        };
        match serde_json::from_slice::<PubAck>(&answer.payload) {
            Ok(PubAck { error: Some(refusal), .. }) => judge(&refusal),
            Ok(PubAck { seq: 0, .. }) | Err(_) => Ack::Unclear("NATS answered with something else".into()),
            Ok(PubAck { seq, duplicate, .. }) => Ack::Taken { place: seq, again: duplicate },
        }
    }
}

impl Outgoing {
    fn headers(&self, stream: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(codec::HEADER, self.header.as_str());
        headers.insert("Nats-Expected-Stream", stream);
        if let Some(id) = &self.id {
            headers.insert("Nats-Msg-Id", id.as_str());
        }
        headers
    }

    fn batch_headers(&self, stream: &str, id: &str, sequence: usize) -> HeaderMap {
        let mut headers = self.headers(stream);
        headers.insert("Nats-Batch-Id", id);
        headers.insert("Nats-Batch-Sequence", sequence.to_string());
        headers
    }
}

/// The subject of signals.
pub(super) fn signal_subject(engine: &Engine) -> String {
    format!("{}.signal", engine.prefix())
}

/// What a no of the engine means for an event. With any of them it was not taken.
fn judge(refusal: &Refusal) -> Ack {
    match refusal.err_code {
        // Room on the servers, or in the account, ran out.
        10002 | 10023 | 10028 | 10047 | 10077 | 10122 => {
            Ack::Failed(BrokerError::Full(format!("NATS says: {refusal}")))
        }
        10054 | 10097 => Ack::Failed(BrokerError::Refused(format!("NATS says: {refusal}"))),
        10201 => Ack::Duplicates,
        // No leader, a batch of which a part was lost, too many at once, a first try that is not through yet.
        10008 | 10009 | 10118 | 10158 | 10176 | 10194 | 10210 => Ack::NotTaken(refusal.to_string()),
        _ if refusal.code >= 500 => Ack::NotTaken(refusal.to_string()),
        _ => Ack::Failed(BrokerError::Unavailable(format!("NATS did not take it: {refusal}"))),
    }
}

fn unclear(why: &str) -> BrokerError {
    BrokerError::Unclear(format!("{why}; send it again with the same Idempotency-Key"))
}
