//! The broker over NATS JetStream while servers are killed and links are cut: nothing that was acknowledged is missing, doubled or out of order.

mod nats_server;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nats_server::{Link, LinkState, NatsCluster, NatsServer, PATIENCE, connect, fresh, open, until};
use tidings::event::Dedup;
use tidings::{Broker, BrokerError, Event, NewEvent, Offset, Query, Standing};
use tidings_brokers::contract::{Recorder, after, event, of, read_all, signal};
use tidings_brokers::nats::{Durability, Engine, NatsBroker, NatsSettings};

/// Publishes at several replicas until it is stopped, each batch again until it is acknowledged, and remembers what was.
struct Load {
    replicas: Vec<Arc<NatsBroker>>,
    told: Vec<Arc<Recorder>>,
    acknowledged: Mutex<Vec<(Offset, NewEvent)>>,
    count: AtomicU64,
    stop: AtomicBool,
}

impl Load {
    /// Two replicas, each at an end of its own.
    async fn start(settings: [NatsSettings; 2]) -> (Arc<Load>, Vec<tokio::task::JoinHandle<()>>) {
        let mut replicas = Vec::new();
        for settings in settings {
            replicas.push(open(settings).await);
        }
        let told: Vec<_> = replicas.iter().map(|_| Arc::new(Recorder::default())).collect();
        replicas.iter().zip(&told).for_each(|(replica, told)| replica.tail(told.clone()));
        let load = Arc::new(Load {
            replicas,
            told,
            acknowledged: Mutex::default(),
            count: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        });
        let publishers = (0..6).map(|publisher| tokio::spawn(publish(load.clone(), publisher))).collect();
        (load, publishers)
    }

    /// Returns when more was acknowledged, at each replica.
    async fn goes_on(&self) {
        let before = self.count.load(Ordering::Relaxed);
        until("publishing goes on", async || self.count.load(Ordering::Relaxed) > before + 60).await;
        until("both replicas follow", async || {
            self.replicas.iter().all(|replica| replica.standing() == Standing::Current)
        })
        .await;
    }

    /// Stops, and judges what came of it.
    async fn judge(&self, publishers: Vec<tokio::task::JoinHandle<()>>) {
        self.stop.store(true, Ordering::Relaxed);
        for publisher in publishers {
            publisher.await.expect("no publisher fails");
        }
        let acknowledged = self.acknowledged.lock().expect("no panic").clone();
        let last = acknowledged.iter().map(|(offset, _)| *offset).max().expect("something was acknowledged");
        until("both replicas announce all", async || self.replicas.iter().all(|replica| replica.head().last >= last))
            .await;
        let kept = |told: &Recorder| told.told().into_iter().filter(|event| !event.is_signal()).collect::<Vec<Event>>();
        for (replica, told) in self.replicas.iter().zip(&self.told) {
            let told = kept(told);
            assert!(
                told.is_sorted_by(|a, b| a.offset.next() == b.offset),
                "in order, once each, and no place left out"
            );
            let read = read_all(&**replica, after(Offset::START)).await.expect("it reads");
            assert_eq!(told, read, "what was told is what is read");
            for (offset, body) in &acknowledged {
                let at =
                    told.binary_search_by_key(offset, |event| event.offset).expect("what was acknowledged is there");
                assert_eq!(told[at].body, *body);
            }
            // Each with its key: what was sent again is there once.
            assert_eq!(told.len(), acknowledged.len(), "once each");
            let topic = read_all(&**replica, of(&["p/3", "nothing"])).await.expect("it reads");
            let expected: Vec<Event> = told.iter().filter(|event| event.topic.as_str() == "p/3").cloned().collect();
            assert_eq!(topic, expected);
        }
    }
}

async fn publish(load: Arc<Load>, publisher: u64) {
    let mut n = 0;
    while !load.stop.load(Ordering::Relaxed) {
        n += 1;
        let replica = &load.replicas[publisher as usize % 2];
        let of = 1 + (n % 3) as u32;
        let request = (u128::from(publisher) << 64 | u128::from(n)).to_be_bytes();
        let batch: Vec<NewEvent> = (0..of)
            .map(|index| NewEvent {
                dedup: Some(Dedup { request, index, of }),
                ..event(&format!("p/{publisher}"), n * 10 + u64::from(index))
            })
            .collect();
        let places = loop {
            match replica.publish(batch.clone()).await {
                Ok(places) => break places,
                Err(BrokerError::Unavailable(_) | BrokerError::Unclear(_)) => {
                    tokio::time::sleep(Duration::from_millis(50)).await
                }
                Err(other) => panic!("{other:?}"),
            }
        };
        load.acknowledged.lock().expect("no panic").extend(places.into_iter().flatten().zip(batch));
        load.count.fetch_add(u64::from(of), Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_again_and_again_takes_back_nothing() {
    let mut server = NatsServer::start();
    let settings = fresh(server.settings());
    let (load, publishers) = Load::start([settings.clone(), settings.clone()]).await;
    for _ in 0..3 {
        load.goes_on().await;
        server.kill();
        until("it is noticed", async || load.replicas.iter().all(|replica| replica.standing() == Standing::CutOff))
            .await;
        server.restart();
    }
    load.goes_on().await;
    load.judge(publishers).await;
    assert_eq!(open(settings).await.head().epoch, load.replicas[0].head().epoch, "it is the same history");
}

/// Changes a byte of what the server wrote, in the file where `text` is.
fn damage(server: &NatsServer, text: &str) {
    let mut folders = vec![server.store()];
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let mut bytes = std::fs::read(&path).expect("a file");
            let is_block = path.extension().is_some_and(|extension| extension == "blk");
            let at = bytes.windows(text.len()).position(|window| window == text.as_bytes()).filter(|_| is_block);
            if let Some(at) = at {
                bytes[at] ^= 1;
                return std::fs::write(path, bytes).expect("it is written");
            }
        }
    }
    panic!("{text} is nowhere");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_on_the_servers_disk_is_told_as_a_gap_and_never_passed_over() {
    // In blocks of 8 MiB: what is damaged in the last one takes the end of the log with it, and its places are given away again.
    for (damaged, is_end) in [(3_u64, false), (24, true)] {
        let mut server = NatsServer::start();
        let settings = fresh(server.settings());
        let broker = open(settings.clone()).await;
        for n in 1..=25 {
            let data = format!("number-{n:02}-{}", "x".repeat(800_000));
            broker.publish(vec![NewEvent { data: data.into(), ..event("a", n) }]).await.expect("it is taken");
        }
        let epoch = broker.head().epoch;
        drop(broker);
        server.kill();
        damage(&server, &format!("number-{damaged:02}"));
        server.restart();
        let broker = open(settings.clone()).await;
        let head = broker.head();
        assert_ne!(head.epoch, epoch, "who stands in the old history is told of a gap");
        assert_eq!(head.last.0 < 25, is_end);
        for topics in [None, of(&["a"]).topics] {
            let query = Query { topics, ..after(head.trimmed) };
            let read = read_all(&*broker, query.clone()).await.expect("what is left reads");
            assert_eq!(read.len() as u64, head.last.0 - head.trimmed.0, "no place is missing behind where it begins");
            let before = broker.read(Query { after: Offset(damaged - 1), ..query }).await;
            assert_eq!(matches!(before, Err(BrokerError::Trimmed { .. })), !is_end, "{before:?}");
        }
        assert_eq!(open(settings).await.head().epoch, head.epoch, "one loss is told once");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_epoch_that_is_over_and_was_put_back_with_an_older_configuration_is_replaced_again() {
    // It is watched for two seconds: who stands still meanwhile puts it back too late, and tries again.
    for _ in 0..8 {
        if is_replaced_again_if_put_back_in_time().await {
            return;
        }
    }
    panic!("it was put back too late each time");
}

async fn is_replaced_again_if_put_back_in_time() -> bool {
    let mut server = NatsServer::start();
    let settings = fresh(server.settings());
    let broker = open(settings.clone()).await;
    for n in 1..=3 {
        let data = format!("number-{n:02}").into();
        broker.publish(vec![NewEvent { data, ..event("a", n) }]).await.expect("it is taken");
    }
    let over = broker.head().epoch;
    drop(broker);
    server.kill();
    damage(&server, "number-02");
    server.restart();
    let engine = connect(settings.clone()).await;
    let old = ask(&engine, "INFO", "{}".into()).await["config"].take();
    let put_back = async {
        let mut before = Instant::now();
        until("the epoch is replaced", async || {
            let asked = Instant::now();
            let is_replaced = ask(&engine, "INFO", "{}".into()).await["config"]["metadata"] != old["metadata"];
            if !is_replaced {
                before = asked;
            }
            is_replaced
        })
        .await;
        (ask(&engine, "UPDATE", old.to_string()).await, before.elapsed())
    };
    let (broker, (made, took)) = tokio::join!(open(settings), put_back);
    assert_eq!(made["config"]["metadata"]["tidings-epoch"], over.to_string(), "it was put back");
    if took > Duration::from_millis(1_500) {
        return false;
    }
    assert_ne!(broker.head().epoch, over);
    let now = ask(&engine, "INFO", "{}".into()).await;
    assert_eq!(now["config"]["metadata"]["tidings-epoch"], broker.head().epoch.to_string());
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_node_of_a_cluster_may_be_killed_in_turn() {
    for durability in [Durability::Engine, Durability::PowerSafe] {
        let mut cluster = NatsCluster::start(3);
        let settings = NatsSettings { durability, ..fresh(cluster.settings()) };
        let (load, publishers) = Load::start([settings.clone(), settings.clone()]).await;
        for node in 0..3 {
            load.goes_on().await;
            until("all copies are current", async || has_all_copies(&settings).await).await;
            cluster.nodes()[node].kill();
            load.goes_on().await;
            cluster.nodes()[node].restart();
        }
        load.goes_on().await;
        load.judge(publishers).await;
    }
}

async fn has_all_copies(settings: &NatsSettings) -> bool {
    let Ok(engine) = Engine::connect(settings.clone()).await else { return false };
    let question = format!("$JS.API.STREAM.INFO.{}", engine.stream_name());
    let Ok(answer) = engine.client().request(question, "".into()).await else { return false };
    let info: serde_json::Value = serde_json::from_slice(&answer.payload).expect("JSON");
    let copies = info["cluster"]["replicas"].as_array().map(Vec::as_slice).unwrap_or_default();
    copies.len() == 2 && copies.iter().all(|copy| copy["current"] == true)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_is_cut_or_goes_silent_costs_a_replica_nothing_but_time() {
    let server = NatsServer::start();
    let link = Link::to(&server).await;
    let near = fresh(server.settings());
    let far = NatsSettings { servers: link.settings().servers, ..near.clone() };
    let (load, publishers) = Load::start([near, far]).await;
    for state in [LinkState::Cut, LinkState::Silent, LinkState::Cut] {
        load.goes_on().await;
        link.set(state);
        until("it is noticed", async || load.replicas[1].standing() == Standing::CutOff).await;
        until("the other one goes on", async || load.replicas[0].standing() == Standing::Current).await;
        link.set(LinkState::Open);
    }
    load.goes_on().await;
    load.judge(publishers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_engine_is_away_publishes_and_reads_are_unavailable_and_soon_say_so() {
    let mut server = NatsServer::start();
    let broker = open(fresh(server.settings())).await;
    broker.publish(vec![event("a", 1)]).await.expect("it is taken");
    server.kill();
    until("it is refused at once", async || {
        let begun = Instant::now();
        let refused = broker.publish(vec![event("a", 2)]).await;
        matches!(refused, Err(BrokerError::Unavailable(_))) && begun.elapsed() < Duration::from_millis(100)
    })
    .await;
    assert!(matches!(broker.publish(vec![signal("a", 2)]).await, Err(BrokerError::Unavailable(_))));
    assert!(matches!(broker.read(after(Offset::START)).await, Err(BrokerError::Unavailable(_))));
    assert_eq!(broker.standing(), Standing::CutOff);
    server.restart();
    until("it is back", async || broker.publish(vec![event("a", 3)]).await.is_ok()).await;
    let read = read_all(&*broker, after(Offset::START)).await.expect("it reads");
    assert_eq!(read.first().map(|event| event.data.clone()), Some("1".into()));
    assert_eq!(read.last().map(|event| event.data.clone()), Some("3".into()));
}

/// Asks NATS about the stream, past the broker.
async fn ask(engine: &Engine, question: &str, body: String) -> serde_json::Value {
    let question = format!("$JS.API.STREAM.{question}.{}", engine.stream_name());
    let answer = engine.client().request(question, body.into()).await.expect("an answer");
    serde_json::from_slice(&answer.payload).expect("JSON")
}

/// Has the stream keep so many events, as an operator could by hand: the settings don't let a test keep this few.
async fn keep(settings: &NatsSettings, events: u64) {
    let engine = connect(settings.clone()).await;
    let mut config = ask(&engine, "INFO", "{}".into()).await["config"].take();
    config["max_msgs"] = events.into();
    let made = ask(&engine, "UPDATE", config.to_string()).await;
    assert_eq!(made["config"]["max_msgs"], events, "{made}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_was_away_for_longer_than_events_are_kept_begins_anew_and_skips_none_in_silence() {
    let server = NatsServer::start();
    let link = Link::to(&server).await;
    let near = fresh(server.settings());
    let far = NatsSettings { servers: link.settings().servers, ..near.clone() };
    let (here, there) = (open(near.clone()).await, open(far.clone()).await);
    keep(&near, 10).await;
    let told = Arc::new(Recorder::default());
    there.tail(told.clone());
    here.publish(vec![event("a", 0)]).await.expect("it is taken");
    until("it follows", async || told.told().len() == 1).await;
    link.set(LinkState::Cut);
    until("it is noticed", async || there.standing() == Standing::CutOff).await;
    for n in 1..=30 {
        here.publish(vec![event("a", n)]).await.expect("it is taken");
    }
    link.set(LinkState::Open);
    let why = tokio::time::timeout(PATIENCE, there.replaced()).await.expect("it is told");
    assert!(why.contains("from 2 to 21"), "{why}");
    assert_eq!(told.told().len(), 1, "nothing was announced as if nothing were missing");
    let anew = open(far).await;
    assert_eq!((anew.head().epoch, anew.head().trimmed), (here.head().epoch, Offset(21)));
    assert!(matches!(anew.read(after(Offset(1))).await, Err(BrokerError::Trimmed { resume: Offset(21), .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_key_an_outage_may_leave_it_unclear_and_what_was_acknowledged_is_there() {
    let mut server = NatsServer::start();
    let settings = NatsSettings { publish_timeout: Duration::from_secs(2), ..fresh(server.settings()) };
    let broker = open(settings).await;
    let told = Arc::new(Recorder::default());
    broker.tail(told.clone());
    let stop = Arc::new(AtomicBool::new(false));
    let publishers: Vec<_> = (0..8_u64)
        .map(|publisher| {
            let (broker, stop) = (broker.clone(), stop.clone());
            tokio::spawn(async move {
                let (mut acknowledged, mut refused) = (Vec::new(), Vec::new());
                for n in 1.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let n = publisher << 32 | n;
                    match broker.publish(vec![NewEvent { dedup: None, ..event("a", n) }]).await {
                        Ok(places) => acknowledged.push((places[0].expect("it is kept"), n)),
                        Err(BrokerError::Unavailable(_)) => refused.push(n),
                        Err(BrokerError::Unclear(_)) => {}
                        Err(other) => panic!("{other:?}"),
                    }
                }
                (acknowledged, refused)
            })
        })
        .collect();
    for _ in 0..3 {
        let before = told.told().len();
        until("publishing goes on", async || told.told().len() > before + 50).await;
        server.kill();
        until("it is noticed", async || broker.standing() == Standing::CutOff).await;
        server.restart();
    }
    until("it is back", async || broker.standing() == Standing::Current).await;
    stop.store(true, Ordering::Relaxed);
    let data = |event: &Event| String::from_utf8_lossy(&event.data).parse::<u64>().expect("a number");
    for publisher in publishers {
        let (acknowledged, refused) = publisher.await.expect("no publisher fails");
        let told = told.told();
        for (offset, n) in acknowledged {
            let times = told.iter().filter(|event| data(event) == n).map(|event| event.offset).collect::<Vec<_>>();
            assert_eq!(times, [offset], "what was acknowledged is there, once");
        }
        assert!(!told.iter().any(|event| refused.contains(&data(event))), "what was refused is never seen");
    }
}
