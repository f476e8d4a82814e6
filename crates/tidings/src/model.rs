//! The interleavings of publishers, readers and revocations, run through by a model checker: `scripts/model-check`.
//!
//! A model that waits for ever is a lost wake-up: the checker reports it as a deadlock.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use shuttle::future::block_on;
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::sync::Mutex;
use shuttle::sync::atomic::{AtomicUsize, Ordering};
use shuttle::{Config, Runner, thread};

use crate::broker::{Broker, BrokerError, Head, Page, Query, Tail};
use crate::clock::{SystemClock, Timestamp};
use crate::cursor::{Epoch, Offset};
use crate::entry::{Entry, FrameKey};
use crate::event::{Event, NewEvent};
use crate::filter::Filter;
use crate::grant::{Audience, Grants};
use crate::hub::Hub;
use crate::limits::Limits;
use crate::principal::{Principal, Revocation};
use crate::profile::Profile;
use crate::subscriber::{Delivery, Subscriber};
use crate::window::{Place, Window};
use crate::{CloseReason, TopicPattern};

/// Runs the model under many schedules: random ones, and ones with few but well placed preemptions.
fn check(model: impl Fn() + Send + Sync + 'static) {
    let model = Arc::new(model);
    let run = |scheduler: Box<dyn Scheduler + Send>| {
        let mut config = Config::new();
        config.stack_size = 1 << 18;
        let model = model.clone();
        Runner::new(scheduler, config).run(move || model());
    };
    let times = std::env::var("MODEL_ITERATIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(3_000);
    run(Box::new(RandomScheduler::new(times)));
    run(Box::new(PctScheduler::new(3, times)));
}

/// A log that tells of each append under its lock, as brokers must.
#[derive(Default)]
struct Log(Mutex<(Vec<Event>, Option<Arc<dyn Tail>>)>);

#[async_trait]
impl Broker for Log {
    async fn publish(&self, batch: Vec<NewEvent>) -> Result<Vec<Option<Offset>>, BrokerError> {
        let mut log = self.0.lock().unwrap();
        let (mut told, mut places) = (Vec::new(), Vec::new());
        for body in batch {
            let offset = if body.kept { Offset(log.0.len() as u64 + 1) } else { Offset::START };
            let event = Event { offset, body };
            if event.body.kept {
                log.0.push(event.clone());
            }
            places.push(event.body.kept.then_some(offset));
            told.push(event);
        }
        if let Some(tail) = &log.1 {
            tail.appended(told);
        }
        Ok(places)
    }

    async fn read(&self, query: Query) -> Result<Page, BrokerError> {
        let log = self.0.lock().unwrap();
        let until = query.until.0.min(log.0.len() as u64) as usize;
        let from = (query.after.0 as usize).min(until);
        let events: Vec<_> = log.0[from..until].iter().take(query.limit).cloned().collect();
        let reached = events.last().map_or(query.after, |last| last.offset);
        Ok(Page { events, reached })
    }

    fn head(&self) -> Head {
        let events = self.0.lock().unwrap().0.len() as u64;
        Head { epoch: Epoch(1), trimmed: Offset::START, last: Offset(events), events, bytes: 0 }
    }

    fn tail(&self, tail: Arc<dyn Tail>) {
        self.0.lock().unwrap().1 = Some(tail);
    }
}

fn hub(window_events: usize) -> Arc<Hub> {
    let limits = Limits { window_events, page_events: 2, ..Limits::default() };
    block_on(Hub::open(Arc::new(Log::default()), [], Arc::new(SystemClock), limits)).unwrap()
}

fn event(topic: &str) -> NewEvent {
    NewEvent {
        name: "e".into(),
        topic: topic.parse().unwrap(),
        data: Bytes::new(),
        scope: Bytes::new(),
        audience: Audience::new(["everyone".parse().unwrap()]),
        key: None,
        time: Timestamp(0),
        kept: true,
        dedup: None,
    }
}

fn signal(topic: &str) -> NewEvent {
    NewEvent { kept: false, key: Some("k".into()), ..event(topic) }
}

fn subscribe(hub: &Arc<Hub>, topic: &str, asked: Option<&str>) -> Subscriber {
    let principal = Principal::new("u", Grants::parse(["everyone"]).unwrap(), "test");
    hub.subscribe(Arc::new(principal), Filter::topics([topic.parse::<TopicPattern>().unwrap()]), asked)
}

fn publish(hub: &Arc<Hub>, events: Vec<NewEvent>) {
    block_on(hub.publish(events)).unwrap();
}

/// The offsets of the next `count` events; signals are passed over.
async fn offsets(subscriber: &mut Subscriber, count: usize) -> Vec<u64> {
    let mut seen = Vec::new();
    while seen.len() < count {
        match subscriber.next().await {
            Delivery::Event(entry) if entry.event.is_signal() => {}
            Delivery::Event(entry) => {
                let (at, cursor) = (entry.event.offset.0, subscriber.cursor().offset.0);
                assert!(cursor >= at, "its place is behind what it was given");
                seen.push(at);
            }
            other => panic!("{other:?}"),
        }
    }
    seen
}

#[test]
fn who_waits_is_woken_and_given_each_event_once() {
    check(|| {
        let hub = hub(8);
        let mut subscriber = subscribe(&hub, "a", None);
        let reader = thread::spawn(move || block_on(offsets(&mut subscriber, 3)));
        let publisher = hub.clone();
        thread::spawn(move || {
            for topic in ["b", "a", "b", "b", "a", "a"] {
                publish(&publisher, vec![event(topic)]);
            }
        });
        assert_eq!(reader.join().unwrap(), [2, 5, 6]);
    });
}

#[test]
fn two_publishers_and_two_readers_agree_on_one_order() {
    check(|| {
        let hub = hub(8);
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let mut subscriber = subscribe(&hub, "a", None);
                thread::spawn(move || block_on(offsets(&mut subscriber, 4)))
            })
            .collect();
        for _ in 0..2 {
            let hub = hub.clone();
            thread::spawn(move || {
                publish(&hub, vec![event("a"), signal("a")]);
                publish(&hub, vec![event("a")]);
            });
        }
        for reader in readers {
            assert_eq!(reader.join().unwrap(), [1, 2, 3, 4]);
        }
    });
}

#[test]
fn who_falls_behind_the_window_reads_the_log_and_comes_back_without_a_seam() {
    check(|| {
        let hub = hub(2);
        publish(&hub, vec![event("a"), event("a"), event("a")]);
        let mut subscriber = subscribe(&hub, "a", Some("00000001-0"));
        let reader = thread::spawn(move || block_on(offsets(&mut subscriber, 8)));
        let publisher = hub.clone();
        thread::spawn(move || {
            for _ in 0..2 {
                publish(&publisher, vec![event("a"), signal("a")]);
                publish(&publisher, vec![event("a"), event("b")]);
            }
            publish(&publisher, vec![event("a")]);
        });
        assert_eq!(reader.join().unwrap(), [1, 2, 3, 4, 5, 7, 8, 10]);
    });
}

#[test]
fn the_place_of_one_to_whom_nothing_is_said_never_passes_what_it_has_to_hear() {
    check(|| {
        let hub = hub(4);
        let mut quiet = subscribe(&hub, "a", None);
        let publisher = hub.clone();
        let publishing = thread::spawn(move || {
            for topic in ["b", "b", "a", "b"] {
                publish(&publisher, vec![event(topic)]);
            }
        });
        // The first look makes it skip; then its place is asked for, while publishing goes on.
        let first = block_on(quiet.try_next());
        if first.is_none() {
            for _ in 0..3 {
                assert!(quiet.cursor().offset < Offset(3));
            }
            assert_eq!(block_on(offsets(&mut quiet, 1)), [3]);
        }
        publishing.join().unwrap();
        assert!(block_on(quiet.try_next()).is_none());
        assert_eq!(quiet.cursor().offset, Offset(4));
    });
}

#[test]
fn subscribing_while_something_is_published_misses_nothing_after_its_place() {
    check(|| {
        let hub = hub(4);
        let publisher = hub.clone();
        let publishing = thread::spawn(move || {
            for _ in 0..3 {
                publish(&publisher, vec![event("a")]);
            }
        });
        let mut subscriber = subscribe(&hub, "a", None);
        let from = subscriber.cursor().offset.0;
        let seen = block_on(offsets(&mut subscriber, 3 - from as usize));
        assert_eq!(seen, (from + 1..=3).collect::<Vec<_>>());
        publishing.join().unwrap();
    });
}

#[test]
fn a_revocation_reaches_the_stream_that_is_being_opened() {
    check(|| {
        let hub = hub(4);
        let principal = Arc::new(Principal::new("u", Grants::default(), "test"));
        let since = hub.moment();
        let other = hub.clone();
        thread::spawn(move || other.close(&Revocation::principal("u"), CloseReason::Revoked));
        let mut subscriber = hub.subscribe_at(principal, Filter::all(), hub.start(None), since);
        assert!(matches!(block_on(subscriber.next()), Delivery::Closed(CloseReason::Revoked)));
    });
}

#[test]
fn a_window_shows_each_reader_its_events_in_order_and_without_a_hole() {
    check(|| {
        let limits = Limits { window_events: 3, ..Limits::default() };
        let window = Arc::new(Window::new(Offset::START, &limits));
        let rule = Profile::open().rule("*").unwrap().clone();
        let entry = move |offset: u64, at: u64| {
            let body = if offset == 0 { signal("a") } else { event("a") };
            Arc::new(Entry::new(Event { offset: Offset(offset), body }, rule.clone(), Offset(at)))
        };
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let window = window.clone();
                thread::spawn(move || {
                    let (mut place, mut last) = (Place(0), Offset::START);
                    while last < Offset(5) {
                        let end = window.end();
                        let mut expected = last.0 + 1;
                        let read = window.read(place, |_, entry| {
                            if !entry.event.is_signal() {
                                assert_eq!(entry.event.offset.0, expected, "a hole, or twice");
                                expected += 1;
                            }
                            assert_eq!(entry.at.0, expected - 1);
                            true
                        });
                        match read {
                            Ok(reached) => {
                                assert!(reached >= end, "the end was shown before the entries");
                                (place, last) = (reached, Offset(expected - 1));
                            }
                            Err(_) => match window.seek(last) {
                                Ok(found) => place = found,
                                // Stands for reading the log: all that was announced is durable.
                                Err(_) => last = window.head().1,
                            },
                        }
                        thread::yield_now();
                    }
                })
            })
            .collect();
        window.append([entry(1, 1), entry(0, 1)]);
        window.append([entry(2, 2)]);
        window.append([entry(0, 2), entry(3, 3), entry(4, 4)]);
        window.append([entry(5, 5)]);
        for reader in readers {
            reader.join().unwrap();
        }
    });
}

#[test]
fn a_frame_is_the_same_bytes_for_all_who_ask_for_it() {
    check(|| {
        let rule = Profile::open().rule("*").unwrap().clone();
        let entry = Arc::new(Entry::new(Event { offset: Offset(1), body: event("a") }, rule, Offset(1)));
        let encoded = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = [[1, 2], [2, 1], [1, 3]]
            .map(|keys| {
                let (entry, encoded) = (entry.clone(), encoded.clone());
                thread::spawn(move || {
                    keys.map(|encoding| {
                        let frame = entry.frame(FrameKey { encoding, variant: 0 }, |_| {
                            encoded.fetch_add(1, Ordering::SeqCst);
                            Bytes::from(encoding.to_string())
                        });
                        assert_eq!(frame, &encoding.to_string());
                        (encoding, frame.as_ptr() as usize)
                    })
                })
            })
            .into_iter()
            .collect();
        let frames: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        for (encoding, at) in &frames {
            assert!(frames.iter().all(|(other, there)| other != encoding || there == at), "two frames for one key");
        }
        let before = encoded.load(Ordering::SeqCst);
        entry.frame(FrameKey { encoding: 3, variant: 0 }, |_| panic!("it was encoded before"));
        assert_eq!(encoded.load(Ordering::SeqCst), before);
    });
}
