//! A log on disk that is moved into real NATS servers, and interrupted on its way.

mod nats_server;

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use nats_server::{NEWEST, NatsCluster, NatsServer, connect, fresh, open};
use tempfile::TempDir;
use tidings::{Broker, BrokerError, Clock, Cursor, Epoch, Head, NewEvent, Offset, Page, Query, SystemClock, Tail};
use tidings_brokers::contract::{after, event, read_all};
use tidings_brokers::disk::storage::{Directory, Storage, StoredFile};
use tidings_brokers::nats::{
    Durability, EngineError, LogMove, MoveError, MoveProgress, NatsBroker, NatsSettings, Survey, create_stream,
};
use tidings_brokers::{DiskBroker, DiskSettings, Retention};

/// A disk that fails to write while it is told to: the places of such writes stay empty.
struct Failing {
    disk: Directory,
    fails: Arc<AtomicBool>,
}

struct FailingFile {
    file: Arc<dyn StoredFile>,
    fails: Arc<AtomicBool>,
}

impl Failing {
    fn wrap(&self, file: io::Result<Arc<dyn StoredFile>>) -> io::Result<Arc<dyn StoredFile>> {
        Ok(Arc::new(FailingFile { file: file?, fails: self.fails.clone() }))
    }
}

impl Storage for Failing {
    fn lock(&self) -> io::Result<Box<dyn Send + Sync>> {
        self.disk.lock()
    }
    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }
    fn create(&self, name: &str) -> io::Result<Arc<dyn StoredFile>> {
        self.wrap(self.disk.create(name))
    }
    fn open(&self, name: &str) -> io::Result<Arc<dyn StoredFile>> {
        self.wrap(self.disk.open(name))
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn sync(&self) -> io::Result<()> {
        self.disk.sync()
    }
    fn path(&self, name: &str) -> String {
        self.disk.path(name)
    }
}

impl StoredFile for FailingFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.file.read_at(buffer, position)
    }
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<usize> {
        self.file.write_at(bytes, position)
    }
    fn sync(&self) -> io::Result<()> {
        match self.fails.load(Ordering::SeqCst) {
            true => Err(io::Error::other("the disk fails")),
            false => self.file.sync(),
        }
    }
    fn set_len(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}

fn settings() -> DiskSettings {
    DiskSettings { retention: Retention::FOREVER, ..DiskSettings::default() }
}

/// A log on disk of so many events, with a hole after every 500.
async fn a_log(at: &Path, events: u64) -> Arc<dyn Broker> {
    let fails = Arc::<AtomicBool>::default();
    let disk = Failing { disk: Directory::at(at).expect("a directory"), fails: fails.clone() };
    let broker = DiskBroker::open_in(Arc::new(disk), settings(), Arc::new(SystemClock)).expect("it opens");
    for page in 0..events / 500 {
        let of = |n| event(["library/lib 1", "user/ü", "job/4.2"][n as usize % 3], n);
        broker.publish((page * 500..page * 500 + 500).map(of).collect()).await.expect("it is taken");
        fails.store(true, Ordering::SeqCst);
        broker.publish(vec![event("lost", page), event("lost", page)]).await.expect_err("the disk fails");
        fails.store(false, Ordering::SeqCst);
    }
    broker.publish(vec![event("the end", 1)]).await.expect("it is taken");
    drop(broker);
    Arc::new(DiskBroker::open(at, settings(), Arc::new(SystemClock)).expect("it opens"))
}

async fn moving(settings: &NatsSettings, from: &Arc<dyn Broker>) -> LogMove {
    LogMove::new(connect(settings.clone()).await, from.clone())
}

async fn survey(log: &LogMove) -> Survey {
    log.survey(drop).await.expect("it can be moved")
}

/// Moves it to the end.
async fn moved(log: &LogMove) -> Survey {
    let survey = survey(log).await;
    log.copy(&survey, drop).await.expect("it is moved");
    log.check(&survey, drop).await.expect("all is there");
    log.finish(&survey).await.expect("it is done");
    survey
}

/// That NATS has the log as it was, and goes on with it.
async fn is_as_it_was(settings: &NatsSettings, from: &Arc<dyn Broker>) {
    let there = open(settings.clone()).await;
    let (was, is) = (from.head(), there.head());
    assert_eq!((is.epoch, is.last), (was.epoch, was.last));
    let all = read_all(&**from, after(was.trimmed)).await.expect("it reads");
    assert_eq!(read_all(&*there, after(is.trimmed)).await.expect("it reads"), all);
    // A client that stood in the middle reads on from there.
    let cursor: Cursor =
        Cursor { epoch: was.epoch, offset: all[all.len() / 2].offset }.to_string().parse().expect("one");
    let rest = read_all(&*there, after(cursor.offset)).await.expect("it reads");
    assert_eq!(rest, all[all.len() / 2 + 1..]);
    let next = there.publish(vec![event("new", 1)]).await.expect("it is taken");
    assert_eq!(next, [Some(Offset(was.last.0 + 1))]);
}

fn disk() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_with_holes_is_moved_with_every_place_epoch_and_cursor() {
    let disk = disk();
    let from = a_log(disk.path(), 5_000).await;
    for version in ["2.10.26", NEWEST] {
        let server = NatsServer::of(version, "");
        let settings = fresh(server.settings());
        let log = moving(&settings, &from).await;
        assert_eq!(log.progress().await.expect("it is told"), MoveProgress::New);
        let survey = moved(&log).await;
        assert_eq!((survey.first, survey.events, survey.left_out), (Offset(1), 5_001, 0));
        assert!(survey.holes >= 10, "{survey:?}");
        assert_eq!(log.progress().await.expect("it is told"), MoveProgress::Done(survey.last));
        is_as_it_was(&settings, &from).await;
    }
}

/// Each run is dropped at another place, as a killed one ends.
async fn is_moved_however_often_it_is_killed(durability: Durability) {
    let (disk, server) = (disk(), NatsServer::start());
    let settings = NatsSettings { durability, ..fresh(server.settings()) };
    let from = a_log(disk.path(), 5_000).await;
    let (mut runs, mut reached) = (0, 0);
    for stop_after in (1..700).step_by(97).cycle() {
        let log = moving(&settings, &from).await;
        let survey = survey(&log).await;
        let seen = AtomicU64::new(0);
        let killed = tokio::sync::Notify::new();
        let step = |place: Offset| {
            let begun = seen.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |seen| (seen == 0).then_some(place.0));
            if begun.is_err() && place.0 >= seen.load(Ordering::SeqCst) + stop_after {
                killed.notify_one();
            }
        };
        tokio::select! {
            biased;
            () = killed.notified() => {}
            done = log.copy(&survey, step) => {
                done.expect("it is moved");
                break;
            }
        }
        runs += 1;
        let MoveProgress::Begun(at) = log.progress().await.expect("it is told") else { panic!("it was begun") };
        assert!(at.0 > reached, "it goes on: {at} after {reached}");
        reached = at.0;
        let engine = connect(settings.clone()).await;
        let refused = NatsBroker::open(engine).await.expect_err("no hub opens it half moved").to_string();
        assert!(refused.contains("tidings migrate"), "{refused}");
    }
    assert!(runs >= 3, "it was killed {runs} times");
    let log = moving(&settings, &from).await;
    let survey = survey(&log).await;
    log.check(&survey, drop).await.expect("all is there");
    log.finish(&survey).await.expect("it is done");
    is_as_it_was(&settings, &from).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_often_it_is_killed_nothing_is_doubled_or_lost() {
    is_moved_however_often_it_is_killed(Durability::Engine).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_is_it_where_it_goes_in_batches() {
    is_moved_however_often_it_is_killed(Durability::PowerSafe).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_dies_on_the_way_is_waited_for() {
    for durability in [Durability::Engine, Durability::PowerSafe] {
        is_moved_through_a_death(durability).await;
    }
}

async fn is_moved_through_a_death(durability: Durability) {
    let (disk, mut server) = (disk(), NatsServer::start());
    let settings = NatsSettings { durability, ..fresh(server.settings()) };
    let from = a_log(disk.path(), 5_000).await;
    let log = moving(&settings, &from).await;
    let survey = survey(&log).await;
    let mut is_killed = false;
    log.copy(&survey, |place| {
        if place.0 > 2_000 && !std::mem::replace(&mut is_killed, true) {
            server.kill();
            server.restart();
        }
    })
    .await
    .expect("it is moved");
    assert!(is_killed);
    log.check(&survey, drop).await.expect("all is there");
    log.finish(&survey).await.expect("it is done");
    is_as_it_was(&settings, &from).await;
}

/// Does it again while it is interrupted, as whoever runs the command would.
async fn until_done<T, F: Future<Output = Result<T, MoveError>>>(what: impl Fn() -> F) -> T {
    for _ in 0..20 {
        match what().await {
            Err(MoveError::Interrupted(_)) => {}
            done => return done.expect("it is done"),
        }
    }
    panic!("it is interrupted for ever");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_three_copies_one_node_may_die_on_the_way() {
    let (disk, mut cluster) = (disk(), NatsCluster::start(3));
    let (from, settings) = (a_log(disk.path(), 5_000).await, fresh(cluster.settings()));
    // Opened as hubs do, so that the cluster has its leaders.
    drop(open(fresh(cluster.settings())).await);
    let log = moving(&settings, &from).await;
    let survey = survey(&log).await;
    let victim = Mutex::new(&mut cluster.nodes()[0]);
    let is_killed = AtomicBool::new(false);
    let step = |place: Offset| {
        if place.0 > 2_000 && !is_killed.swap(true, Ordering::SeqCst) {
            victim.lock().expect("no panic").kill();
        }
    };
    // The others choose a leader meanwhile; whoever is interrupted by that goes on.
    until_done(|| log.copy(&survey, step)).await;
    assert!(is_killed.into_inner());
    until_done(|| log.check(&survey, drop)).await;
    until_done(|| log.finish(&survey)).await;
    is_as_it_was(&settings, &from).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_log_in_nats_is_refused_and_an_unused_one_is_replaced() {
    let (disk, server) = (disk(), NatsServer::start());
    let from = a_log(disk.path(), 500).await;
    let refused = async |settings: &NatsSettings| {
        let log = moving(settings, &from).await;
        let survey = survey(&log).await;
        for refused in [log.progress().await.map(drop), log.copy(&survey, drop).await.map(drop)] {
            let Err(MoveError::Refused(sentence)) = refused else { panic!("{refused:?}") };
            assert!(sentence.contains("nats stream rm"), "{sentence}");
        }
    };
    let used = fresh(server.settings());
    open(used.clone()).await.publish(vec![event("a", 1)]).await.expect("it is taken");
    refused(&used).await;

    let moved_elsewhere = fresh(server.settings());
    let engine = connect(moved_elsewhere.clone()).await;
    create_stream(&engine, Some(Epoch(7)), Some(Offset(9))).await.expect("it is made");
    refused(&moved_elsewhere).await;

    let unused = fresh(server.settings());
    let engine = connect(unused.clone()).await;
    create_stream(&engine, None, None).await.expect("it is made");
    moved(&moving(&unused, &from).await).await;
    is_as_it_was(&unused, &from).await;
}

/// Says other than what it is about.
struct Altered {
    log: Arc<dyn Broker>,
    alter: fn(&mut Page),
}

#[async_trait]
impl Broker for Altered {
    async fn publish(&self, _: Vec<NewEvent>) -> Result<Vec<Option<Offset>>, BrokerError> {
        Err(BrokerError::Refused("it is read only".into()))
    }
    async fn read(&self, query: Query) -> Result<Page, BrokerError> {
        let mut page = self.log.read(query).await?;
        if page.events.len() > 300 {
            (self.alter)(&mut page);
        }
        Ok(page)
    }
    fn head(&self) -> Head {
        self.log.head()
    }
    fn tail(&self, _: Arc<dyn Tail>) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_arrived_as_something_else_is_found() {
    let (disk, server) = (disk(), NatsServer::start());
    let (from, settings) = (a_log(disk.path(), 1_000).await, fresh(server.settings()));
    moved(&moving(&settings, &from).await).await;
    let alterations: [fn(&mut Page); 4] = [
        |page| page.events[300].body.data = Bytes::from("other"),
        |page| page.events[300].body.topic = "other".parse().expect("a topic"),
        |page| page.events[300].body.time.0 += 1,
        |page| drop(page.events.remove(300)),
    ];
    for alter in alterations {
        let altered: Arc<dyn Broker> = Arc::new(Altered { log: from.clone(), alter });
        let log = moving(&settings, &altered).await;
        let survey = survey(&log).await;
        let error = log.check(&survey, drop).await.expect_err("one differs");
        assert!(error.to_string().contains("is another in NATS"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_settings_let_go_is_not_moved_and_its_places_stay_taken() {
    let (disk, server) = (disk(), NatsServer::start());
    let from = a_log(disk.path(), 1_000).await;
    let keep = |retention| NatsSettings { retention, ..fresh(server.settings()) };
    let few = keep(Retention { events: Some(100), ..Retention::FOREVER });
    let survey = moved(&moving(&few, &from).await).await;
    assert_eq!((survey.events, survey.left_out), (100, 901));
    // The log itself takes no limit as low as this.
    let there = open(NatsSettings { retention: Retention::FOREVER, ..few }).await;
    assert_eq!(there.head().last, from.head().last);
    let all = read_all(&*from, after(Offset::START)).await.expect("it reads");
    // Holes count as messages, so the stream may keep a few less.
    let kept = read_all(&*there, after(there.head().trimmed)).await.expect("it reads");
    assert!(kept.len() >= 90 && all.ends_with(&kept), "{}", kept.len());

    // All of them are of 1970.
    let young = keep(Retention { age: Some(Duration::from_secs(3600)), ..Retention::FOREVER });
    let survey = moved(&moving(&young, &from).await).await;
    assert_eq!((survey.events, survey.left_out), (0, 1_001));
    let there = open(young).await;
    assert_eq!((there.head().epoch, there.head().last), (from.head().epoch, from.head().last));
    let next = there.publish(vec![event("new", SystemClock.now().0)]).await.expect("it is taken");
    assert_eq!(next, [Some(Offset(from.head().last.0 + 1))]);
}

#[tokio::test]
async fn an_event_that_nats_can_not_take_is_told_before_anything_is_made() {
    let (disk, server) = (disk(), NatsServer::of(NEWEST, "max_payload: 64KB"));
    let broker = DiskBroker::open(disk.path(), settings(), Arc::new(SystemClock)).expect("it opens");
    let large = NewEvent { data: vec![b'1'; 70_000].into(), ..event("a", 2) };
    broker.publish(vec![event("a", 1), large]).await.expect("it is taken");
    let from: Arc<dyn Broker> = Arc::new(broker);
    let settings = NatsSettings { event_bytes: 0, ..fresh(server.settings()) };
    let log = moving(&settings, &from).await;
    let error = log.survey(drop).await.expect_err("it is too large").to_string();
    assert!(error.contains("event 2") && error.contains("raise `max_payload`"), "{error}");
    assert_eq!(log.progress().await.expect("it is told"), MoveProgress::New);
}

#[tokio::test]
async fn an_engine_that_stays_away_is_told() {
    let (disk, mut server) = (disk(), NatsServer::start());
    let (from, settings) = (a_log(disk.path(), 5_000).await, fresh(server.settings()));
    let log = moving(&settings, &from).await.with_patience(Duration::from_secs(1));
    let survey = survey(&log).await;
    let copied = log.copy(&survey, |place| {
        if place.0 > 100 {
            server.kill();
        }
    });
    match copied.await {
        Err(MoveError::Interrupted(_) | MoveError::Engine(EngineError::Unreachable { .. })) => {}
        other => panic!("{other:?}"),
    }
}
