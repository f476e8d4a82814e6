//! A hub on a log whose every move a test can order.

#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use tidings::{
    Audience, Broker, BrokerError, Delivery, Entry, Epoch, Event, EventRule, Filter, Grants, Head, Hub, Limits,
    ManualClock, NewEvent, Offset, Page, Principal, Profile, Query, Subscriber, Tail, Timestamp,
};

pub const EPOCH: Epoch = Epoch(0xA1);

type ReadHook = Box<dyn Fn(&Query) + Send + Sync>;

/// A log in memory that can hold announcements back, refuse, trim, and call a hook before each read.
#[derive(Default)]
pub struct TestBroker {
    log: Mutex<Log>,
    /// Whether what is appended waits for [`announce`](TestBroker::announce).
    pub holds: AtomicBool,
    /// Whether publishes fail.
    pub fails: AtomicBool,
    /// Whether reads fail.
    pub unreadable: AtomicBool,
    pub reads: AtomicUsize,
    hook: Mutex<Option<Arc<ReadHook>>>,
}

#[derive(Default)]
struct Log {
    events: VecDeque<Event>,
    all: Vec<Event>,
    unannounced: Vec<Event>,
    trimmed: Offset,
    last: Offset,
    tail: Option<Arc<dyn Tail>>,
}

impl TestBroker {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap()
    }

    /// Tells of what was held back.
    pub fn announce(&self) {
        let mut log = self.log();
        let events = std::mem::take(&mut log.unannounced);
        if let Some(tail) = log.tail.as_ref().filter(|_| !events.is_empty()) {
            tail.appended(events);
        }
    }

    /// Appends, and tells of it unless it holds.
    pub fn append(&self, batch: Vec<NewEvent>) -> Vec<Option<Offset>> {
        let mut log = self.log();
        let mut places = Vec::new();
        for body in batch {
            let kept = body.kept;
            if kept {
                log.last = log.last.next();
            }
            let event = Event { offset: if kept { log.last } else { Offset::START }, body };
            if kept {
                log.events.push_back(event.clone());
                log.all.push(event.clone());
            }
            places.push(kept.then_some(event.offset));
            log.unannounced.push(event);
        }
        if !self.holds.load(Ordering::SeqCst) && !log.unannounced.is_empty() {
            let events = std::mem::take(&mut log.unannounced);
            if let Some(tail) = &log.tail {
                tail.appended(events);
            }
        }
        places
    }

    /// What a crash does: nobody is told of what is durable and not announced, nor of a signal.
    pub fn crash(&self) {
        let mut log = self.log();
        (log.tail, log.unannounced) = (None, Vec::new());
    }

    /// Every event ever appended, trimmed or not.
    pub fn all(&self) -> Vec<Event> {
        self.log().all.clone()
    }

    /// Removes everything up to `offset`, but nothing that was not announced yet.
    pub fn trim(&self, offset: u64) {
        let mut log = self.log();
        let unannounced = log.unannounced.iter().filter(|event| event.body.kept).count() as u64;
        let offset = Offset(offset.min(log.last.0 - unannounced));
        log.events.retain(|event| event.offset > offset);
        log.trimmed = log.trimmed.max(offset);
    }

    /// Calls `hook` before each read.
    pub fn before_read(&self, hook: impl Fn(&Query) + Send + Sync + 'static) {
        *self.hook.lock().unwrap() = Some(Arc::new(Box::new(hook)));
    }

    pub fn events(&self) -> Vec<Event> {
        self.log().events.iter().cloned().collect()
    }

    pub fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Broker for TestBroker {
    async fn publish(&self, batch: Vec<NewEvent>) -> Result<Vec<Option<Offset>>, BrokerError> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(BrokerError::Full("there is no room".into()));
        }
        Ok(self.append(batch))
    }

    async fn read(&self, query: Query) -> Result<Page, BrokerError> {
        let hook = self.hook.lock().unwrap().clone();
        if let Some(hook) = hook {
            hook(&query);
        }
        tokio::task::yield_now().await;
        self.reads.fetch_add(1, Ordering::SeqCst);
        if self.unreadable.load(Ordering::SeqCst) {
            return Err(BrokerError::Damaged("a record is not what it was".into()));
        }
        let log = self.log();
        if query.after < log.trimmed {
            return Err(BrokerError::Trimmed { after: query.after, resume: log.trimmed });
        }
        let mut page = Page { events: Vec::new(), reached: query.after.max(query.until.min(log.last)) };
        for event in log.events.iter().filter(|event| event.offset > query.after && event.offset <= query.until) {
            if query.topics.as_ref().is_some_and(|topics| !topics.iter().any(|t| t.as_str() == event.topic.as_str())) {
                continue;
            }
            if page.events.len() == query.limit {
                page.reached = page.events.last().map_or(query.after, |last| last.offset);
                break;
            }
            page.events.push(event.clone());
        }
        Ok(page)
    }

    fn head(&self) -> Head {
        let log = self.log();
        let events = log.events.len() as u64;
        Head { epoch: EPOCH, trimmed: log.trimmed, last: log.last, events, bytes: 0 }
    }

    fn tail(&self, tail: Arc<dyn Tail>) {
        self.log().tail = Some(tail);
    }
}

/// A hub, its log and its clock.
pub struct Bench {
    pub hub: Arc<Hub>,
    pub broker: Arc<TestBroker>,
    pub clock: Arc<ManualClock>,
}

impl Bench {
    pub async fn new() -> Bench {
        Bench::with(Limits::default(), []).await
    }

    /// A hub whose window and pages are so small that readers soon have to read the log.
    pub async fn narrow(window_events: usize, page_events: usize) -> Bench {
        Bench::with(Limits { window_events, page_events, ..Limits::default() }, []).await
    }

    pub async fn with(limits: Limits, profiles: impl IntoIterator<Item = Arc<Profile>>) -> Bench {
        Bench::on(TestBroker::new(), limits, profiles).await
    }

    pub async fn on(
        broker: Arc<TestBroker>,
        limits: Limits,
        profiles: impl IntoIterator<Item = Arc<Profile>>,
    ) -> Bench {
        let clock = Arc::new(ManualClock::at(Timestamp(1_000_000)));
        let hub = Hub::open(broker.clone(), profiles, clock.clone(), limits).await.unwrap();
        Bench { hub, broker, clock }
    }

    /// Publishes one event and returns its id.
    pub async fn publish(&self, event: NewEvent) -> String {
        let published = self.hub.publish(vec![event]).await.unwrap();
        published[0].cursor.map(|cursor| cursor.to_string()).unwrap_or_default()
    }

    /// Publishes `first..end` on topic `t` for everyone.
    pub async fn publish_numbers(&self, numbers: impl IntoIterator<Item = u64>) {
        for n in numbers {
            self.publish(event("t", n)).await;
        }
    }

    pub fn subscribe(&self, filter: Filter, asked: Option<&str>) -> Subscriber {
        self.hub.subscribe(who("u", &["everyone"]), filter, asked)
    }

    pub fn cursor(&self, offset: u64) -> String {
        self.hub.cursor(Offset(offset)).to_string()
    }
}

pub fn who(id: &str, grants: &[&str]) -> Arc<Principal> {
    Arc::new(Principal::new(id, Grants::parse(grants.iter().copied()).unwrap(), "test"))
}

pub fn topics(topics: &[&str]) -> Filter {
    Filter::topics(topics.iter().map(|topic| topic.parse().unwrap()))
}

pub fn event(topic: &str, n: u64) -> NewEvent {
    event_for(topic, &["everyone"], n)
}

pub fn event_for(topic: &str, audience: &[&str], n: u64) -> NewEvent {
    NewEvent {
        name: "e".into(),
        topic: topic.parse().unwrap(),
        data: n.to_string().into(),
        scope: Default::default(),
        audience: Audience::new(audience.iter().map(|grant| grant.parse().unwrap())),
        key: None,
        time: Timestamp(1),
        kept: true,
        dedup: None,
    }
}

/// A signal named `s` on topic `t`.
pub fn signal(key: Option<&str>, n: u64) -> NewEvent {
    NewEvent { name: "s".into(), kept: false, key: key.map(Into::into), ..event("t", n) }
}

/// A profile `app` with one kind of event: on the topic and for the audience that is given.
pub fn profile(rules: impl IntoIterator<Item = EventRule>) -> Arc<Profile> {
    Arc::new(Profile::new("app", Some("app"), Default::default(), rules))
}

/// A rule for events on one topic, for everyone.
pub fn rule(name: &str, topic: &str) -> EventRule {
    EventRule::new(name, topic.parse().unwrap(), vec![vec!["everyone".parse().unwrap()]])
}

pub fn number(entry: &Entry) -> u64 {
    std::str::from_utf8(&entry.event.data).unwrap().parse().unwrap()
}

/// What can be had without waiting for an event: numbers of events, or the word for a gap or an end.
pub async fn drain(subscriber: &mut Subscriber) -> Vec<String> {
    let mut seen = Vec::new();
    while let Some(delivery) = subscriber.try_next().await {
        seen.push(said(&delivery));
        if matches!(delivery, Delivery::Closed(_)) {
            break;
        }
    }
    seen
}

/// The next `count` deliveries, waited for.
pub async fn take(subscriber: &mut Subscriber, count: usize) -> Vec<String> {
    let mut seen = Vec::new();
    while seen.len() < count {
        seen.push(said(&subscriber.next().await));
    }
    seen
}

pub fn said(delivery: &Delivery) -> String {
    match delivery {
        Delivery::Event(entry) if entry.event.is_signal() => format!("~{}", number(entry)),
        Delivery::Event(entry) => number(entry).to_string(),
        Delivery::Gap(gap) => format!("gap:{}", gap.reason.name()),
        Delivery::Closed(reason) => format!("closed:{}", reason.name()),
    }
}

pub fn numbers(numbers: impl IntoIterator<Item = u64>) -> Vec<String> {
    numbers.into_iter().map(|n| n.to_string()).collect()
}
