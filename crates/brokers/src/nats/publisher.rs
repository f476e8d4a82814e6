//! Publishes: one event as one message, several as one atomic batch (ADR-50) where the servers can.
//!
//! A publish has succeeded when its events were announced here, whatever became of the answer to it. What surely was not taken is tried
//! again until the deadline; what may have been taken only if it can be told as the same (`dedup`), for the engine then knows it by its id.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::HeaderMap;
use tidings::{BrokerError, NewEvent, Offset};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::announcer::{Announcer, Expectation};
use super::codec::{self, Origin};
use super::engine::Engine;
use super::group::Group;
use super::outgoing::{Ack, Courier, Outgoing};
use super::settings::Durability;
use super::{stream, subject};

/// The most events of one atomic batch that servers take.
pub const MOST_IN_BATCH: usize = 1_000;
/// How long the engine may be away before publishes are refused at once, so that nobody waits for nothing.
pub(super) const AWAY: Duration = Duration::from_secs(1);
/// How long one try of what can be repeated waits for its answer.
const ONE_TRY: Duration = Duration::from_millis(1_500);
/// How long a signal that was sent is waited for to come back. It may be dropped.
const SIGNAL_ECHO: Duration = Duration::from_secs(1);

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

/// Publishes what this process is handed.
pub(super) struct Publisher {
    engine: Arc<Engine>,
    announcer: Arc<Announcer>,
    events: String,
    signals: String,
    courier: Arc<Courier>,
    /// Where what is published at the same time goes together, if the stream takes atomic batches.
    group: Option<Group>,
    batches: AtomicU64,
}

impl Publisher {
    pub fn new(engine: Arc<Engine>, announcer: Arc<Announcer>, is_atomic: bool) -> Publisher {
        let courier = Arc::new(Courier::new(engine.clone(), announcer.process));
        Publisher {
            events: stream::event_prefix(&engine),
            signals: signal_subject(&engine),
            group: is_atomic.then(|| Group::new(courier.clone())),
            courier,
            batches: AtomicU64::new(0),
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
        let outgoing = outgoing.collect::<Result<Arc<[_]>, _>>()?;
        if outgoing.len() > MOST_IN_BATCH {
            let events = outgoing.len();
            return Err(BrokerError::Refused(format!(
                "{events} events in one batch, and NATS takes {MOST_IN_BATCH} as a whole: send fewer at once"
            )));
        }
        self.check_size(&outgoing)?;
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

    /// Refuses a batch after which retention would leave too little for replicas that are a moment behind.
    fn check_size(&self, batch: &[Outgoing]) -> Result<(), BrokerError> {
        let bytes = batch.iter().map(Outgoing::bytes).sum::<usize>() as u64;
        match self.engine.settings().retention.bytes {
            Some(kept) if bytes > kept / 2 => Err(BrokerError::Refused(format!(
                "a batch of {bytes} bytes with all that belongs to it, and the log keeps {kept}: send half of that at once at most"
            ))),
            _ => Ok(()),
        }
    }

    fn origin(&self, batch: u64, index: usize) -> Origin {
        Origin { process: self.announcer.process, batch, index: index as u32 }
    }

    fn outgoing(&self, event: &NewEvent, by: Origin) -> Result<Outgoing, BrokerError> {
        let header = codec::encode(event, by).map_err(|error| BrokerError::Refused(error.to_string()))?;
        let subject = subject::from_topic(&self.events, event.topic.as_str());
        let most = self.engine.client().max_payload();
        let id = event.dedup.as_ref().map(codec::message_id);
        let outgoing = Outgoing { subject, header, id, payload: event.data.clone() };
        let bytes = outgoing.bytes();
        if bytes > most {
            return Err(BrokerError::Refused(format!(
                "an event of {bytes} bytes with all that belongs to it, and NATS takes {most}"
            )));
        }
        Ok(outgoing)
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
    async fn append(&self, batch: u64, events: &Arc<[Outgoing]>) -> Result<Vec<Offset>, BrokerError> {
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
                Outcome::Failed(error) => return Err(as_it_stands(&taken, maybe, error)),
                Outcome::NotTaken(why) => {
                    // Dropped tries and changes of the leader pass within a moment.
                    tokio::select! {
                        places = expected.announced() => return Ok(places),
                        () = sleep(pause) => {}
                    }
                    pause = (pause * 2).min(Duration::from_millis(250));
                    if Instant::now() >= deadline || self.check_engine().is_err() {
                        let error = BrokerError::Unavailable(format!("NATS did not take it: {why}"));
                        return Err(as_it_stands(&taken, maybe, error));
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

    async fn attempt(&self, events: &Arc<[Outgoing]>, taken: &mut [Option<(u64, bool)>], until: Instant) -> Outcome {
        // The client would keep it, and send it when nobody waits for it any more.
        if let Some(down) = self.engine.down() {
            return Outcome::NotTaken(format!("NATS is away: {}", down.why));
        }
        if taken.iter().all(Option::is_none)
            && let Some(ack) = self.attempt_together(events, until).await
        {
            match ack {
                Ack::Taken { place, .. } => {
                    let first = place + 1 - events.len() as u64;
                    return Outcome::Taken { last: place, places: (first..=place).collect(), again: false };
                }
                // Each one by itself then says where it was the first time.
                Ack::OneByOne => {}
                Ack::NotTaken(why) => return Outcome::NotTaken(why),
                Ack::Unclear(why) => return Outcome::Unclear(why),
                Ack::Failed(error) => return Outcome::Failed(error),
            }
        }
        // One after the other: sent together, a change of the leader could take the second and not the first.
        for (event, taken) in events.iter().zip(&mut *taken).filter(|(_, taken)| taken.is_none()) {
            match self.courier.send(event, until).await {
                Ack::Taken { place, again } => *taken = Some((place, again)),
                Ack::NotTaken(why) => return Outcome::NotTaken(why),
                Ack::Unclear(why) => return Outcome::Unclear(why),
                Ack::Failed(error) => return Outcome::Failed(error),
                Ack::OneByOne => return Outcome::NotTaken("a duplicate is on its way".into()),
            }
        }
        let places: Vec<u64> = taken.iter().flatten().map(|(place, _)| *place).collect();
        let last = places.iter().copied().max().unwrap_or_default();
        Outcome::Taken { last, places, again: taken.iter().flatten().any(|(_, again)| *again) }
    }

    /// As a whole and with what others publish now, where that can be. A batch costs the servers some milliseconds, however many events it
    /// has, and one event by itself a fraction of that: it goes along only where it would have to wait for a sync of its own.
    async fn attempt_together(&self, events: &Arc<[Outgoing]>, until: Instant) -> Option<Ack> {
        let group = self.group.as_ref()?;
        let is_power_safe = self.engine.settings().durability == Durability::PowerSafe;
        if events.len() == 1 && !is_power_safe {
            return None;
        }
        match group.send(events.clone(), until).await {
            None if events.len() > 1 => Some(self.courier.send_batch(events, until).await),
            ack => ack,
        }
    }
}

/// The subject of signals.
pub(super) fn signal_subject(engine: &Engine) -> String {
    format!("{}.signal", engine.prefix())
}

/// What a batch ends with that was not taken now: not as a no, if an earlier try or a part of it may be in the log.
fn as_it_stands(taken: &[Option<(u64, bool)>], maybe: Option<String>, error: BrokerError) -> BrokerError {
    match maybe {
        Some(why) => unclear(&why),
        None if taken.iter().any(Option::is_some) => unclear(&format!("a part of it was taken, then {error}")),
        None => error,
    }
}

fn unclear(why: &str) -> BrokerError {
    BrokerError::Unclear(format!("{why}; send it again with the same Idempotency-Key"))
}
