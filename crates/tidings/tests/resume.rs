//! Resuming is the same as having stayed: whatever the cuts, a client sees its part of the log, in order and once each,
//! or is told of a gap.

mod common;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use common::{Bench, TestBroker, event_for, number};
use proptest::prelude::*;
use tidings::{
    Cursor, Delivery, Event, Filter, Gap, GapReason, Grants, Interest, Limits, NewEvent, Offset, Principal, Subscriber,
    TopicPattern,
};

/// One move of the world.
#[derive(Clone, Debug)]
enum Move {
    /// Some are published.
    Publish(Vec<Kind>),
    /// Some are published just before the next page of the log is read, and this many more events are trimmed.
    DuringRead(Vec<Kind>, u64),
    /// A client takes up to so many deliveries.
    Take(usize, usize),
    /// A client is cut, and comes back with the last id it saw.
    Cut(usize),
    /// A client is cut right after it was told its position, as quiet streams are.
    CutQuiet(usize),
    /// This many more events are trimmed.
    Trim(u64),
    /// What is appended is not announced for a while.
    Hold,
    Announce,
    /// The program is killed and started anew.
    Crash,
}

#[derive(Clone, Debug)]
struct Kind {
    topic: &'static str,
    audience: &'static str,
    name: &'static str,
    key: Option<&'static str>,
    kept: bool,
}

fn kind() -> impl Strategy<Value = Kind> {
    let pick = prop::sample::select;
    let kept = prop_oneof![3 => Just(true), 1 => Just(false)];
    (pick(&["a", "b", "a/b"][..]), pick(&["red", "blue"][..]), pick(&["e", "f"][..]), kept, any::<bool>()).prop_map(
        |(topic, audience, name, kept, keyed)| Kind { topic, audience, name, key: keyed.then_some("k"), kept },
    )
}

fn batch() -> impl Strategy<Value = Vec<Kind>> {
    prop::collection::vec(kind(), 1..6)
}

fn a_move(clients: usize, trims: bool) -> impl Strategy<Value = Move> {
    let trim = if trims { 1u64..12 } else { 0..1 };
    prop_oneof![
        8 => batch().prop_map(Move::Publish),
        3 => (batch(), trim.clone()).prop_map(|(batch, trim)| Move::DuringRead(batch, if trim > 8 { trim } else { 0 })),
        6 => (0..clients, 1usize..8).prop_map(|(client, count)| Move::Take(client, count)),
        4 => (0..clients).prop_map(Move::Cut),
        2 => (0..clients).prop_map(Move::CutQuiet),
        1 => trim.prop_map(Move::Trim),
        1 => Just(Move::Hold),
        2 => Just(Move::Announce),
        1 => Just(Move::Crash),
    ]
}

fn asked() -> impl Strategy<Value = (Filter, Grants)> {
    let topics = prop::sample::select(vec![None, Some(&["a"][..]), Some(&["a", "a/b"]), Some(&["*"]), Some(&["**"])]);
    let names = prop::option::of(prop::sample::select(&["e", "f"][..]));
    let grants = prop::sample::select(vec![&["red"][..], &["red", "blue"], &["*"]]);
    (topics, names, grants).prop_map(|(topics, names, grants)| {
        let filter = topics.map_or_else(Filter::all, |topics| {
            Filter::topics(topics.iter().map(|topic| topic.parse::<TopicPattern>().unwrap()))
        });
        let filter = match names {
            Some(name) => filter.names([name.into()]),
            None => filter,
        };
        (filter, Grants::parse(grants.iter().copied()).unwrap())
    })
}

/// A client as a browser is one: it knows the last id it was given, and nothing else.
struct Client {
    interest: Interest,
    principal: Arc<Principal>,
    subscriber: Option<Subscriber>,
    /// The last id: of the opening, an event, a gap, or a position.
    id: String,
    /// Everything up to here it was given, or told that it is lost.
    at: Offset,
    /// The number of the newest thing published when it connected, if it began with what comes next.
    newer_than: Option<u64>,
    /// The number of the last delivery on this connection.
    last: Option<u64>,
    gaps: usize,
}

struct World {
    bench: Bench,
    limits: Limits,
    clients: Vec<Client>,
    /// Each thing published has its number, signals too.
    published: Arc<Mutex<u64>>,
}

impl World {
    async fn new(limits: Limits, asked: Vec<(Filter, Grants)>) -> World {
        let bench = Bench::with(limits.clone(), []).await;
        let clients = asked.into_iter().map(|(filter, grants)| Client {
            principal: Arc::new(Principal::new("u", grants.clone(), "test")),
            interest: Interest { filter, grants },
            subscriber: None,
            id: String::new(),
            at: Offset::START,
            newer_than: None,
            last: None,
            gaps: 0,
        });
        let mut world = World { bench, limits, clients: clients.collect(), published: Arc::default() };
        for client in 0..world.clients.len() {
            world.connect(client);
        }
        world
    }

    fn connect(&mut self, index: usize) {
        let hub = &self.bench.hub;
        let client = &mut self.clients[index];
        let (since, mut start) = (hub.moment(), hub.start(Some(&client.id)));
        client.newer_than = client.id.is_empty().then(|| *self.published.lock().unwrap());
        if client.id.is_empty() {
            client.at = start.after;
        }
        let (opened, gap) = (hub.cursor(start.after), start.gap.take());
        client.subscriber =
            Some(hub.subscribe_at(client.principal.clone(), client.interest.filter.clone(), start, since));
        client.last = None;
        if let Some(gap) = gap {
            client.told(&gap, &self.bench.broker);
        } else if client.id.is_empty() {
            client.id = opened.to_string();
        }
        // What opens the stream tells its place.
        assert_eq!(opened.to_string(), client.id);
    }

    async fn take(&mut self, index: usize, count: usize) {
        let client = &mut self.clients[index];
        for _ in 0..count {
            let Some(delivery) = client.subscriber.as_mut().unwrap().try_next().await else { break };
            match delivery {
                Delivery::Event(entry) => {
                    let n = number(&entry);
                    assert!(client.interest.covers(&entry.event), "never asked for, or not allowed: {entry:?}");
                    assert!(client.last.is_none_or(|last| last < n), "out of order, or twice: {n}");
                    assert!(client.newer_than.is_none_or(|than| n > than), "older than the connection: {n}");
                    client.last = Some(n);
                    if entry.event.is_signal() {
                        assert_eq!(client.missed(entry.at, &self.bench.broker), [], "before a signal at {}", entry.at);
                        continue;
                    }
                    let expected = client.missed(Offset(u64::MAX), &self.bench.broker).into_iter().next();
                    assert_eq!(Some(&entry.event), expected.as_ref(), "the next of the log after {}", client.at);
                    client.at = entry.event.offset;
                    client.id = self.bench.hub.cursor(client.at).to_string();
                }
                Delivery::Gap(gap) => client.told(&gap, &self.bench.broker),
                Delivery::Closed(reason) => panic!("nobody ended it: {reason}"),
            }
        }
    }

    fn prepared(published: &Mutex<u64>, batch: &[Kind]) -> Vec<NewEvent> {
        let mut number = published.lock().unwrap();
        let event = |kind: &Kind| {
            *number += 1;
            NewEvent {
                name: kind.name.into(),
                key: kind.key.map(Into::into),
                kept: kind.kept,
                ..event_for(kind.topic, &[kind.audience], *number)
            }
        };
        batch.iter().map(event).collect()
    }

    async fn make(&mut self, a_move: Move) {
        let broker = self.bench.broker.clone();
        match a_move {
            Move::Publish(batch) => {
                self.bench.hub.publish(Self::prepared(&self.published, &batch)).await.unwrap();
            }
            Move::DuringRead(batch, trim) => {
                let (published, batch) = (self.published.clone(), Mutex::new(Some(batch)));
                let weak = Arc::downgrade(&broker);
                broker.before_read(move |_| {
                    if let (Some(broker), Some(batch)) = (weak.upgrade(), batch.lock().unwrap().take()) {
                        broker.append(Self::prepared(&published, &batch));
                        if trim > 0 {
                            trim_more(&broker, trim);
                        }
                    }
                });
            }
            Move::Take(client, count) => self.take(client, count).await,
            Move::Cut(client) => self.connect(client),
            Move::CutQuiet(client) => {
                let quiet = &mut self.clients[client];
                let cursor = quiet.subscriber.as_mut().unwrap().cursor();
                quiet.stands_at(cursor, &broker);
                self.connect(client);
            }
            Move::Trim(more) => trim_more(&broker, more),
            Move::Hold => broker.holds.store(true, Ordering::SeqCst),
            Move::Announce => {
                broker.holds.store(false, Ordering::SeqCst);
                broker.announce();
            }
            Move::Crash => {
                broker.holds.store(false, Ordering::SeqCst);
                // Nobody publishes before the hub is open.
                broker.before_read(|_| {});
                broker.crash();
                self.bench = Bench::on(broker, self.limits.clone(), []).await;
                for client in 0..self.clients.len() {
                    self.connect(client);
                }
            }
        }
    }

    /// Everyone reads to the end; then nothing may be missing.
    async fn finish(&mut self) {
        self.make(Move::Announce).await;
        for index in 0..self.clients.len() {
            self.take(index, usize::MAX).await;
            // The hook may have published during that very read.
            self.take(index, usize::MAX).await;
        }
        for index in 0..self.clients.len() {
            self.take(index, usize::MAX).await;
            let client = &mut self.clients[index];
            assert_eq!(client.missed(Offset(u64::MAX), &self.bench.broker), [], "never given");
            let cursor = client.subscriber.as_mut().unwrap().cursor();
            assert!(cursor.offset <= self.bench.hub.window().head().1);
            client.stands_at(cursor, &self.bench.broker);
        }
    }
}

fn trim_more(broker: &TestBroker, more: u64) {
    if more > 0 {
        broker.trim(tidings::Broker::head(broker).trimmed.0 + more);
    }
}

impl Client {
    /// What it was to be given after its place, up to `until`.
    fn missed(&self, until: Offset, broker: &TestBroker) -> Vec<Event> {
        let after = |event: &Event| event.offset > self.at && event.offset <= until && self.interest.covers(event);
        broker.all().into_iter().filter(after).collect()
    }

    /// It is told of a loss: there must have been one, and no larger than what is told.
    fn told(&mut self, gap: &Gap, broker: &TestBroker) {
        let head = tidings::Broker::head(broker);
        assert_eq!(gap.reason, GapReason::Trimmed);
        assert!(gap.resumed.offset > self.at && gap.resumed.offset <= head.trimmed, "{gap:?} at {}", self.at);
        (self.at, self.id) = (gap.resumed.offset, gap.resumed.to_string());
        self.gaps += 1;
    }

    /// It is told that it has everything up to `cursor`.
    fn stands_at(&mut self, cursor: Cursor, broker: &TestBroker) {
        assert!(cursor.offset >= self.at, "its place went back from {} to {}", self.at, cursor.offset);
        assert_eq!(self.missed(cursor.offset, broker), [], "told to stand at {} without them", cursor.offset);
        (self.at, self.id) = (cursor.offset, cursor.to_string());
    }
}

fn play(limits: Limits, asked: Vec<(Filter, Grants)>, moves: Vec<Move>) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut world = World::new(limits, asked).await;
        for a_move in moves {
            world.make(a_move).await;
        }
        world.finish().await;
        world.clients.iter().map(|client| client.gaps).sum()
    })
}

fn narrow() -> impl Strategy<Value = Limits> {
    (1usize..7, 1usize..5).prop_map(|(window_events, page_events)| Limits {
        window_events,
        page_events,
        ..Limits::default()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn all_connections_together_are_the_log_once_and_in_order(
        limits in narrow(),
        asked in prop::collection::vec(asked(), 3),
        moves in prop::collection::vec(a_move(3, false), 1..60),
    ) {
        prop_assert_eq!(play(limits, asked, moves), 0, "nothing was trimmed, so nobody is told of a gap");
    }

    #[test]
    fn what_retention_took_is_told_and_the_rest_is_the_log(
        limits in narrow(),
        asked in prop::collection::vec(asked(), 3),
        moves in prop::collection::vec(a_move(3, true), 1..60),
    ) {
        play(limits, asked, moves);
    }
}
