//! Looks through the log from its end, in bounded steps, while its beginning may be trimmed away.

use std::collections::VecDeque;
use std::sync::Arc;

use tidings::{Broker, BrokerError, Event, Limits, Offset, Query, TopicPattern};

/// About how many bytes of data are found at most; one event is given even if it is larger.
const MOST_BYTES: usize = 4 << 20;

/// How many places of the log are looked at in one go, and in one search at most: with its topic named, the log finds events by its index,
/// else each is looked at.
const READ: Reading = Reading { at_once: 512, at_most: 10_000 };
const READ_BY_TOPIC: Reading = Reading { at_once: 50_000, at_most: 500_000 };

/// After how many pages of the log no other go is begun.
const PAGES: usize = 256;

/// After how many pages within one go half of what is left of it is for the next search. A go then takes a few hundred at most.
const PAGES_AT_ONCE: usize = 32;

#[derive(Clone, Copy, Debug)]
struct Reading {
    at_once: u64,
    at_most: u64,
}

/// What is looked for.
pub(super) struct Search<'a> {
    pub broker: &'a dyn Broker,
    pub limits: &'a Limits,
    /// The topics by which the log finds them; `None` for any.
    pub seek: Option<Arc<[TopicPattern]>>,
    pub is_wanted: &'a (dyn Fn(&Event) -> bool + Sync),
    /// How many are enough.
    pub most: usize,
}

/// What was found.
pub(super) struct Found {
    /// Newest first.
    pub events: Vec<Event>,
    /// What is up to here was not looked at; `None` once everything was.
    pub go_on: Option<Offset>,
}

/// What was found between two places.
struct Newest {
    /// In the order of the log.
    events: VecDeque<Event>,
    bytes: usize,
    /// All that is wanted after here was found; what comes up to here is for the next time.
    down_to: Offset,
    /// Up to here the log was seen to be trimmed.
    floor: Offset,
    /// How often the log was read.
    pages: usize,
}

impl Search<'_> {
    /// The newest of those up to `end` in a log that was trimmed up to `floor`.
    ///
    /// It ends however often the log is trimmed meanwhile, and lets others run after each page: a log in memory answers without waiting.
    pub async fn back_from(&self, end: Offset, mut floor: Offset) -> Result<Found, BrokerError> {
        let reading = if self.seek.is_some() { READ_BY_TOPIC } else { READ };
        let lowest = end.0.saturating_sub(reading.at_most);
        let (mut events, mut bytes, mut pages, mut until) = (Vec::new(), 0, 0, end);
        while until > floor && until.0 > lowest && events.len() < self.most && bytes < MOST_BYTES && pages < PAGES {
            let after = Offset(until.0.saturating_sub(reading.at_once).max(lowest)).max(floor);
            let newest = self.newest(after, until, self.most - events.len(), MOST_BYTES - bytes).await?;
            bytes += newest.bytes;
            pages += newest.pages;
            floor = floor.max(newest.floor);
            events.extend(newest.events.into_iter().rev());
            if newest.down_to >= until {
                break;
            }
            until = newest.down_to;
        }
        Ok(Found { events, go_on: (until > floor).then_some(until) })
    }

    /// The newest of those between two places, as many as fit.
    async fn newest(
        &self,
        mut after: Offset,
        until: Offset,
        most: usize,
        most_bytes: usize,
    ) -> Result<Newest, BrokerError> {
        let mut newest = Newest { events: VecDeque::new(), bytes: 0, down_to: after, floor: Offset::START, pages: 0 };
        while after < until {
            if newest.pages > 0 {
                tokio::task::yield_now().await;
            }
            newest.pages += 1;
            let page = match self.broker.read(self.query(after, until)).await {
                Ok(page) => page,
                Err(BrokerError::Trimmed { resume, .. }) if resume > after => {
                    (after, newest.floor) = (resume, resume);
                    newest.down_to = newest.down_to.max(resume);
                    continue;
                }
                Err(error) => return Err(error),
            };
            if page.reached <= after {
                break;
            }
            after = page.reached;
            page.events.into_iter().filter(|event| (self.is_wanted)(event)).for_each(|event| {
                newest.take(event, most, most_bytes);
            });
            if newest.pages.is_multiple_of(PAGES_AT_ONCE) && after < until {
                after = Offset(after.0 + (until.0 - after.0) / 2);
                newest.forget_up_to(after);
            }
        }
        Ok(newest)
    }

    fn query(&self, after: Offset, until: Offset) -> Query {
        let Limits { page_events: limit, page_bytes: max_bytes, .. } = *self.limits;
        Query { topics: self.seek.clone(), after, until, limit, max_bytes }
    }
}

impl Newest {
    /// Takes one that is newer than all before, and drops the oldest that no longer fit.
    fn take(&mut self, event: Event, most: usize, most_bytes: usize) {
        self.bytes += event.weight();
        self.events.push_back(event);
        while self.events.len() > most || (self.bytes > most_bytes && self.events.len() > 1) {
            let Some(gone) = self.events.pop_front() else { break };
            self.bytes -= gone.weight();
            // It is for the next time, and all before it.
            self.down_to = gone.offset;
        }
    }

    /// Leaves all up to this place for the next time.
    fn forget_up_to(&mut self, place: Offset) {
        self.events.clear();
        (self.bytes, self.down_to) = (0, place);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use async_trait::async_trait;
    use tidings::{Audience, Head, NewEvent, Page, Tail, Timestamp};
    use tidings_brokers::{MemoryBroker, MemorySettings, Retention};

    use super::*;

    const KEPT: u64 = 20;

    fn event(n: u64) -> NewEvent {
        NewEvent {
            name: "x".into(),
            topic: "a".parse().unwrap(),
            data: n.to_string().into(),
            scope: Default::default(),
            audience: Audience::new(["all".parse().unwrap()]),
            key: None,
            time: Timestamp(n),
            kept: true,
            dedup: None,
        }
    }

    /// A log to which others publish so much before each read that what was asked for is trimmed.
    struct Trimming {
        log: MemoryBroker,
        reads: AtomicU64,
        /// Before how many reads, and how much.
        busy: (u64, u64),
    }

    impl Trimming {
        async fn of(events: u64, kept: u64, busy: (u64, u64)) -> Self {
            let retention = Retention { events: Some(kept), ..Retention::FOREVER };
            let log = MemoryBroker::new(MemorySettings { retention });
            for n in 0..events {
                log.publish(vec![event(n)]).await.unwrap();
            }
            Trimming { log, reads: AtomicU64::new(0), busy }
        }

        async fn found(&self, limits: &Limits, most: usize) -> Found {
            let head = self.head();
            let search = Search { broker: self, limits, seek: None, is_wanted: &|_| true, most };
            search.back_from(head.last, head.trimmed).await.unwrap()
        }
    }

    #[async_trait]
    impl Broker for Trimming {
        async fn publish(&self, batch: Vec<NewEvent>) -> Result<Vec<Option<Offset>>, BrokerError> {
            self.log.publish(batch).await
        }

        async fn read(&self, query: Query) -> Result<Page, BrokerError> {
            let reads = self.reads.fetch_add(1, Ordering::Relaxed);
            assert!(reads < 2_000, "the search does not end");
            for n in (0..self.busy.1).filter(|_| reads < self.busy.0) {
                self.publish(vec![event(n)]).await?;
            }
            self.log.read(query).await
        }

        fn head(&self) -> Head {
            self.log.head()
        }

        fn tail(&self, tail: Arc<dyn Tail>) {
            self.log.tail(tail);
        }
    }

    #[tokio::test]
    async fn a_search_ends_when_all_it_looked_for_is_trimmed_before_it_is_read() {
        for busy in [(1, 2 * KEPT), (u64::MAX, 2 * KEPT), (1, KEPT), (u64::MAX, 1)] {
            let broker = Trimming::of(100, KEPT, busy).await;
            let found = broker.found(&Limits::default(), 50).await;
            assert!(found.events.iter().all(|event| event.offset <= Offset(100)));
            assert_eq!(found.go_on, None, "nothing is left of what there was");
        }
    }

    #[tokio::test]
    async fn what_is_left_after_trimming_is_found_newest_first() {
        let broker = Trimming::of(100, KEPT, (1, 5)).await;
        let found = broker.found(&Limits::default(), 50).await;
        let offsets: Vec<u64> = found.events.iter().map(|event| event.offset.0).collect();
        assert_eq!(offsets, (86..=100).rev().collect::<Vec<_>>());
        assert_eq!(found.go_on, None);
    }

    #[tokio::test]
    async fn a_search_in_pages_of_one_event_is_bounded_and_goes_on_where_it_ended() {
        let broker = Trimming::of(3_000, 3_000, (0, 0)).await;
        let limits = Limits { page_events: 1, ..Limits::default() };
        let (mut seen, mut until) = (Vec::new(), Some(Offset(3_000)));
        while let Some(end) = until {
            broker.reads.store(0, Ordering::Relaxed);
            let search = Search { broker: &broker, limits: &limits, seek: None, is_wanted: &|_| true, most: 500 };
            let found = search.back_from(end, Offset::START).await.unwrap();
            assert!(broker.reads.load(Ordering::Relaxed) < 2 * PAGES as u64);
            seen.extend(found.events.iter().map(|event| event.offset.0));
            until = found.go_on;
        }
        assert_eq!(seen, (1..=3_000).rev().collect::<Vec<_>>());
    }
}
