//! Measures the broker over NATS JetStream: `cargo run --release -p tidings-brokers --example nats_bench -- nats://127.0.0.1:4222`.
//!
//! `nats_bench URL [events] [power-safe]`: where a server runs that nobody else uses, how many events are published (default: 200,000), and with
//! which durability. Each run makes a hub of its own and leaves its stream behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tidings::{Audience, Broker, Event, NewEvent, Offset, Query, Tail, Timestamp, TopicPattern};
use tidings_brokers::Retention;
use tidings_brokers::nats::{Durability, Engine, NatsBroker, NatsSettings};
use tokio::sync::mpsc;

/// How many topics there are: the last hundred events of one are spread over all.
const TOPICS: u64 = 1_000;
/// How many are published a second where delays are measured.
const RATE: u64 = 5_000;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().expect("the address of a server");
    let events: u64 = arguments.next().and_then(|events| events.parse().ok()).unwrap_or(200_000);
    let durability = match arguments.next().as_deref() {
        Some("power-safe") => Durability::PowerSafe,
        _ => Durability::Engine,
    };
    let hub = format!("bench{}", std::process::id());
    let settings =
        NatsSettings { servers: vec![url], hub, durability, retention: Retention::FOREVER, ..NatsSettings::default() };
    let (here, there) = (open(&settings).await, open(&settings).await);
    here.loss_model().iter().for_each(|sentence| println!("{sentence}"));
    for at_once in [1, 64, 1_024] {
        pipelined(&here, events.min(events * at_once / 64).max(100), at_once).await;
    }
    batches(&here, events / 10).await;
    fill(&here, 100_000).await;
    resume(&here).await;
    delay(&here, &there, RATE).await;
}

async fn open(settings: &NatsSettings) -> Arc<NatsBroker> {
    let engine = Engine::connect(settings.clone()).await.expect("the server is there");
    NatsBroker::open(engine).await.expect("the log opens")
}

fn event(n: u64) -> NewEvent {
    NewEvent {
        name: "thing.changed".into(),
        topic: format!("library/{}", n % TOPICS).parse().expect("a topic"),
        data: Bytes::from(vec![b'7'; 300]),
        scope: Bytes::from_static(b"{\"owner\":\"u1\"}"),
        audience: Audience::new(["role/viewer".parse().expect("a grant")]),
        key: None,
        time: Timestamp(n),
        kept: true,
        dedup: None,
    }
}

/// One event at a time by each of `at_once` publishers.
async fn pipelined(broker: &Arc<NatsBroker>, events: u64, at_once: u64) {
    let next = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let publishers: Vec<_> = (0..at_once)
        .map(|_| {
            let (broker, next) = (broker.clone(), next.clone());
            tokio::spawn(async move {
                let mut times = Vec::new();
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= events {
                        return times;
                    }
                    let begun = Instant::now();
                    broker.publish(vec![event(n)]).await.expect("it is taken");
                    times.push(begun.elapsed());
                }
            })
        })
        .collect();
    let mut times = Vec::new();
    for publisher in publishers {
        times.extend(publisher.await.expect("no publisher fails"));
    }
    let rate = events as f64 / begun.elapsed().as_secs_f64();
    print(&format!("publish, {at_once} at once: {rate:.0} events/s; acknowledged and announced"), &mut times);
}

/// Batches of 100.
async fn batches(broker: &Arc<NatsBroker>, events: u64) {
    let (begun, mut times) = (Instant::now(), Vec::new());
    for first in (0..events).step_by(100) {
        let begun = Instant::now();
        broker.publish((first..first + 100).map(event).collect()).await.expect("it is taken");
        times.push(begun.elapsed());
    }
    let rate = events as f64 / begun.elapsed().as_secs_f64();
    print(&format!("publish, batches of 100 one by one: {rate:.0} events/s; a batch"), &mut times);
}

async fn fill(broker: &Arc<NatsBroker>, events: u64) {
    while broker.head().last.0 < events {
        let from = broker.head().last.0;
        broker.publish((from..from + 1_000).map(event).collect()).await.expect("it is taken");
    }
}

/// The last hundred events of one topic, and of ten.
async fn resume(broker: &Arc<NatsBroker>) {
    let last = broker.head().last.0;
    for topics in [1_u64, 10, 100] {
        let names = |first: u64| (first..first + topics).map(|n| format!("library/{}", n % TOPICS));
        let mut times = Vec::new();
        for first in 0..50 {
            let patterns = names(first * 7).map(|name| name.parse::<TopicPattern>().expect("a topic")).collect();
            let after = Offset(last.saturating_sub(100 * TOPICS / topics));
            let query =
                Query { topics: Some(patterns), after, until: Offset(u64::MAX), limit: 1_000, max_bytes: 1 << 20 };
            let begun = Instant::now();
            let page = broker.read(query).await.expect("it reads");
            times.push(begun.elapsed());
            assert!((90..=110).contains(&page.events.len()), "{}", page.events.len());
        }
        print(&format!("resume, the last 100 events of {topics} topics"), &mut times);
    }
    let mut times = Vec::new();
    for page in 0..50 {
        let query = Query {
            topics: None,
            after: Offset(page * 1_000),
            until: Offset(u64::MAX),
            limit: 1_000,
            max_bytes: 1 << 20,
        };
        let begun = Instant::now();
        assert_eq!(broker.read(query).await.expect("it reads").events.len(), 1_000);
        times.push(begun.elapsed());
    }
    print("read a page of 1,000 events of all topics", &mut times);
}

struct Arrivals(mpsc::UnboundedSender<(u64, Instant)>);

impl Tail for Arrivals {
    fn appended(&self, events: Vec<Event>) {
        let now = Instant::now();
        for event in events {
            let _ = self.0.send((event.time.0, now));
        }
    }
}

/// Published here, announced there.
async fn delay(here: &Arc<NatsBroker>, there: &Arc<NatsBroker>, rate: u64) {
    let (sender, mut arrivals) = mpsc::unbounded_channel();
    there.tail(Arc::new(Arrivals(sender)));
    // It has heard nothing of what was published before.
    while there.head().last < here.head().last {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let first = 1_000_000_000;
    let events = rate * 5;
    let mut sent = Vec::with_capacity(events as usize);
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    let mut publishers = tokio::task::JoinSet::new();
    for n in 0..events {
        if n % (rate / 1_000) == 0 {
            tick.tick().await;
        }
        sent.push(Instant::now());
        let here = here.clone();
        publishers.spawn(async move { here.publish(vec![event(first + n)]).await.expect("it is taken") });
    }
    publishers.join_all().await;
    let mut times = Vec::new();
    while times.len() < events as usize {
        let (time, arrived) = arrivals.recv().await.expect("the tail lives");
        if let Some(sent) = time.checked_sub(first).and_then(|n| sent.get(n as usize)) {
            times.push(arrived - *sent);
        }
    }
    print(&format!("published here, announced at another replica, {rate} events/s"), &mut times);
}

fn print(what: &str, times: &mut [Duration]) {
    times.sort();
    let at = |part: usize| times[(times.len() - 1) * part / 1_000];
    println!("{what}: p50 {:?}, p99 {:?}, max {:?}", at(500), at(990), at(1_000));
}
