//! The log in memory.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tidings::{Broker, BrokerError, Clock, Epoch, Event, Head, NewEvent, Offset, Page, Query, SystemClock, Tail};

use crate::retention::Retention;

/// How a [`MemoryBroker`] keeps its events.
#[derive(Clone, Debug)]
pub struct MemorySettings {
    /// What may go. Default: 100,000 events and 64 MiB, whatever their age: it is memory.
    pub retention: Retention,
}

impl Default for MemorySettings {
    fn default() -> Self {
        MemorySettings { retention: Retention { age: None, events: Some(100_000), bytes: Some(64 << 20) } }
    }
}

/// Keeps the events in memory: for tests, and for who needs no history across a restart.
///
/// Each one begins a history of its own, with a random epoch. Reading by topic looks at every event after the place.
pub struct MemoryBroker {
    settings: MemorySettings,
    epoch: Epoch,
    clock: Arc<dyn Clock>,
    log: Mutex<Log>,
}

#[derive(Default)]
struct Log {
    events: VecDeque<Event>,
    bytes: u64,
    trimmed: Offset,
    last: Offset,
    tail: Option<Arc<dyn Tail>>,
}

impl MemoryBroker {
    /// An empty log.
    pub fn new(settings: MemorySettings) -> Self {
        Self::with_clock(settings, Arc::new(SystemClock))
    }

    /// An empty log that tells the age of its events by `clock`.
    pub fn with_clock(settings: MemorySettings, clock: Arc<dyn Clock>) -> Self {
        MemoryBroker { settings, epoch: random_epoch(), clock, log: Mutex::default() }
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn trim(&self, log: &mut Log) {
        let Retention { age, events, bytes } = &self.settings.retention;
        let now = self.clock.now();
        // The newest event stays whatever the bounds are: it was accepted, and a reader that stands right before it
        // would otherwise be told of a gap at each publish.
        while log.events.len() > 1 {
            let Some(oldest) = log.events.front() else { break };
            let too_many = events.is_some_and(|most| log.events.len() as u64 > most);
            let too_large = bytes.is_some_and(|most| log.bytes > most);
            let too_old = age.is_some_and(|most| now.since(oldest.time) > most);
            if !(too_many || too_large || too_old) {
                break;
            }
            log.bytes -= oldest.weight() as u64;
            log.trimmed = oldest.offset;
            log.events.pop_front();
        }
    }
}

/// An epoch that no other log has, as far as 32 random bits can say.
pub(crate) fn random_epoch() -> Epoch {
    let mut bytes = [0; 4];
    if getrandom::fill(&mut bytes).is_err() {
        // Without a source of randomness the time still tells this history from the one before.
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        bytes = since.subsec_nanos().wrapping_add(since.as_secs() as u32).to_le_bytes();
    }
    Epoch(u32::from_le_bytes(bytes))
}

#[async_trait]
impl Broker for MemoryBroker {
    async fn publish(&self, batch: Vec<NewEvent>) -> Result<Vec<Option<Offset>>, BrokerError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let mut places = Vec::with_capacity(batch.len());
        let mut told = Vec::with_capacity(batch.len());
        let mut log = self.log();
        for body in batch {
            let offset = if body.kept { log.last.next() } else { Offset::START };
            let event = Event { offset, body };
            if event.body.kept {
                log.last = offset;
                log.bytes += event.weight() as u64;
                log.events.push_back(event.clone());
            }
            places.push((!event.is_signal()).then_some(offset));
            told.push(event);
        }
        self.trim(&mut log);
        // Told under the lock: two publishers can then not be told of in the wrong order.
        if let Some(tail) = &log.tail {
            tail.appended(told);
        }
        Ok(places)
    }

    async fn read(&self, query: Query) -> Result<Page, BrokerError> {
        let log = self.log();
        if query.after < log.trimmed {
            return Err(BrokerError::Trimmed { after: query.after, resume: log.trimmed });
        }
        let mut page = Page { events: Vec::new(), reached: query.after.max(query.until.min(log.last)) };
        if query.limit == 0 {
            page.reached = query.after;
            return Ok(page);
        }
        let mut bytes = 0;
        let from = log.events.partition_point(|event| event.offset <= query.after);
        for event in log.events.range(from..).take_while(|event| event.offset <= query.until) {
            if query.topics.as_ref().is_some_and(|topics| !topics.iter().any(|t| t.as_str() == event.topic.as_str())) {
                continue;
            }
            bytes += event.data.len();
            let full = page.events.len() == query.limit || bytes > query.max_bytes;
            if let Some(last) = page.events.last().filter(|_| full) {
                page.reached = last.offset;
                break;
            }
            page.events.push(event.clone());
        }
        Ok(page)
    }

    fn head(&self) -> Head {
        let log = self.log();
        Head {
            epoch: self.epoch,
            trimmed: log.trimmed,
            last: log.last,
            events: log.events.len() as u64,
            bytes: log.bytes,
        }
    }

    fn tail(&self, tail: Arc<dyn Tail>) {
        self.log().tail = Some(tail);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidings::{ManualClock, Timestamp};

    use super::*;
    use crate::contract::{after, event, read_all};

    #[tokio::test]
    async fn it_keeps_to_each_of_its_bounds_and_tells_who_stands_before_them() {
        for retention in [
            Retention { events: Some(10), ..Retention::FOREVER },
            Retention { bytes: Some(2_500), ..Retention::FOREVER },
            Retention { age: Some(Duration::from_millis(9)), ..Retention::FOREVER },
        ] {
            let clock = Arc::new(ManualClock::at(Timestamp(1_000)));
            let broker = MemoryBroker::with_clock(MemorySettings { retention }, clock.clone());
            for n in 0..100 {
                broker.publish(vec![event("a", n)]).await.unwrap();
                clock.advance(Duration::from_millis(1));
            }
            let head = broker.head();
            assert_eq!(head.last, Offset(100));
            assert_eq!(head.trimmed.0 + head.events, 100);
            assert!((8..=12).contains(&head.events), "{head:?}");
            let read = read_all(&broker, after(head.trimmed)).await.unwrap();
            assert_eq!(read.len() as u64, head.events);
            match broker.read(after(Offset(head.trimmed.0 - 1))).await {
                Err(BrokerError::Trimmed { resume, .. }) => assert_eq!(resume, head.trimmed),
                other => panic!("{other:?}"),
            }
        }
    }
}
