//! The broker over NATS JetStream, on real servers.

mod nats_server;

use std::sync::Arc;

use async_nats::HeaderMap;
use async_nats::jetstream::{consumer, stream};
use nats_server::{Link, LinkState, NEWEST, NatsServer, PATIENCE, connect, fresh, open, until};
use tidings::event::Dedup;
use tidings::{Broker, BrokerError, Event, NewEvent, Offset, Query, Standing, Tail};
use tidings_brokers::Retention;
use tidings_brokers::contract::{self, Recorder, after, event, read_all, signal};
use tidings_brokers::nats::{
    CreateError, Durability, Engine, EngineError, NatsBroker, NatsSettings, check_consumer, check_stream, create_stream,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_keeps_the_contract() {
    for version in [NEWEST, "2.12.8"] {
        let server = NatsServer::of(version, "");
        contract::all(async || open(fresh(server.settings())).await).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_safe_it_keeps_the_contract() {
    let server = NatsServer::of(NEWEST, "");
    contract::all(async || open(NatsSettings { durability: Durability::PowerSafe, ..fresh(server.settings()) }).await)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_servers_without_batches_it_keeps_all_of_the_contract_but_that_a_batch_stays_together() {
    for version in ["2.11.11", "2.10.26"] {
        let server = NatsServer::of(version, "");
        let fresh = async || open(fresh(server.settings())).await;
        contract::an_empty_log_has_nothing_and_begins_at_the_start(&*fresh().await).await;
        contract::what_was_published_reads_back_as_it_was(&*fresh().await).await;
        contract::a_batch_of_nothing_returns_at_once(&*fresh().await).await;
        contract::a_batch_has_its_places_in_its_order(&*fresh().await).await;
        contract::the_tail_is_told_before_publish_returns(&*fresh().await).await;
        contract::a_signal_has_its_place_among_the_told_but_none_in_the_log(&*fresh().await).await;
        contract::a_page_keeps_its_bounds_and_says_how_far_it_reached(&*fresh().await).await;
        contract::a_topic_is_read_alone(&*fresh().await).await;
        contract::ten_thousand_events_read_back_page_by_page(&*fresh().await).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_announce_the_same_in_the_same_order() {
    let server = NatsServer::start();
    let settings = fresh(server.settings());
    let replicas = [open(settings.clone()).await, open(settings).await];
    let told = [(); 2].map(|()| Arc::new(Recorder::default()));
    replicas.iter().zip(&told).for_each(|(replica, told)| replica.tail(told.clone()));
    let publishers: Vec<_> = (0..8)
        .map(|publisher| {
            let replica = replicas[publisher % 2].clone();
            tokio::spawn(async move {
                for n in 0..50 {
                    replica.publish(vec![event("a", n), signal("a", n), event("b", n)]).await.expect("it is taken");
                }
            })
        })
        .collect();
    for publisher in publishers {
        publisher.await.expect("no publisher fails");
    }
    let kept = |told: &Recorder| told.told().into_iter().filter(|event| !event.is_signal()).collect::<Vec<_>>();
    until("both announce all", async || told.iter().all(|told| kept(told).len() == 800)).await;
    assert_eq!(kept(&told[0]), kept(&told[1]));
    assert_eq!(kept(&told[0]), read_all(&*replicas[1], after(Offset::START)).await.expect("it reads"));
    until("signals of the other replica are heard", async || told.iter().all(|told| told.told().len() == 1_200)).await;
}

fn same(request: u8, index: u32, of: u32) -> NewEvent {
    NewEvent { dedup: Some(Dedup { request: [request; 16], index, of }), ..event("a", u64::from(index)) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_again_with_its_key_has_its_first_places_at_any_replica() {
    for version in [NEWEST, "2.11.11"] {
        let server = NatsServer::of(version, "");
        let settings = fresh(server.settings());
        let (here, there) = (open(settings.clone()).await, open(settings).await);
        for batch in [vec![same(1, 0, 1)], (0..5).map(|index| same(2, index, 5)).collect()] {
            let first = here.publish(batch.clone()).await.expect("it is taken");
            assert_eq!(here.publish(batch.clone()).await.expect("it is there"), first);
            assert_eq!(there.publish(batch).await.expect("it is there"), first);
        }
        assert_eq!(here.head().last, Offset(6), "and is there once");
    }
}

/// Has the stream keep so many events, as an operator could by hand: the settings don't let a test keep this few.
async fn keep(settings: &NatsSettings, events: u64) {
    let engine = connect(settings.clone()).await;
    let ask = async |question: &str, body: String| -> serde_json::Value {
        let question = format!("$JS.API.STREAM.{question}.{}", engine.stream_name());
        let answer = engine.client().request(question, body.into()).await.expect("an answer");
        serde_json::from_slice(&answer.payload).expect("JSON")
    };
    let mut config = ask("INFO", "{}".into()).await["config"].take();
    config["max_msgs"] = events.into();
    let made = ask("UPDATE", config.to_string()).await;
    assert_eq!(made["config"]["max_msgs"], events, "{made}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_stands_before_what_retention_removed_is_told_exactly() {
    for version in [NEWEST, "2.10.26"] {
        let server = NatsServer::of(version, "");
        let settings = fresh(server.settings());
        let broker = open(settings.clone()).await;
        keep(&settings, 10).await;
        for n in 0..30 {
            broker.publish(vec![event("a", n)]).await.expect("it is taken");
        }
        for topics in [None, contract::of(&["a"]).topics, contract::of(&["nothing"]).topics] {
            let read = |place| broker.read(Query { topics: topics.clone(), ..after(Offset(place)) });
            match read(19).await {
                Err(BrokerError::Trimmed { after, resume }) => assert_eq!((after, resume), (Offset(19), Offset(20))),
                other => panic!("{other:?}"),
            }
            assert_eq!(read(20).await.expect("nothing is missing").reached, Offset(30));
        }
        let head = broker.head();
        assert_eq!((head.trimmed, head.last, head.events), (Offset(20), Offset(30), 10));
    }
}

async fn ask(engine: &Engine, question: &str) {
    let answer = engine.client().request(format!("$JS.API.{question}"), "{}".into()).await.expect("an answer");
    assert!(!String::from_utf8_lossy(&answer.payload).contains("\"error\""), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_was_made_anew_is_another_history_and_never_misread() {
    let server = NatsServer::start();
    let settings = fresh(server.settings());
    let engine = connect(settings.clone()).await;
    let broker = open(settings.clone()).await;
    broker.publish(vec![event("a", 1)]).await.expect("it is taken");
    until("it is caught up", async || broker.is_caught_up()).await;
    ask(&engine, &format!("STREAM.DELETE.{}", engine.stream_name())).await;
    let anew = open(settings).await;
    anew.publish(vec![event("b", 2), event("b", 3)]).await.expect("it is taken");
    let why = tokio::time::timeout(PATIENCE, broker.replaced()).await.expect("it is told");
    assert!(why.contains("another history"), "{why}");
    assert!(!broker.is_caught_up());
    assert_ne!(anew.head().epoch, broker.head().epoch);
    assert!(matches!(broker.publish(vec![event("a", 4)]).await, Err(BrokerError::Unavailable(_))));
    assert!(matches!(broker.read(after(Offset::START)).await, Err(BrokerError::Unavailable(_))));
    assert_eq!(anew.head().last, Offset(2), "nothing of the old history got into the new one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_told_and_panics_ends_the_history_and_is_not_followed_by_silence() {
    struct Faulty;
    impl Tail for Faulty {
        fn appended(&self, _: Vec<Event>) {
            panic!("a fault of the test's");
        }
    }
    let server = NatsServer::start();
    let broker = open(fresh(server.settings())).await;
    broker.tail(Arc::new(Faulty));
    // Whether it is answered is not said: it is in the log.
    let _ = tokio::time::timeout(std::time::Duration::from_secs(1), broker.publish(vec![event("a", 1)])).await;
    let why = tokio::time::timeout(PATIENCE, broker.replaced()).await.expect("it is told");
    assert!(why.contains("a fault of this program"), "{why}");
    assert!(!broker.is_caught_up());
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder").map(|entry| entry.expect("an entry")) {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() { copy(&from, &to) } else { std::fs::copy(from, to).map(|_| ()).expect("a file") }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_lost_the_end_of_the_log_is_told_and_the_log_gets_another_epoch() {
    for published_since in [1, 9] {
        let mut server = NatsServer::start();
        let link = Link::to(&server).await;
        let settings = fresh(server.settings());
        let broker = open(NatsSettings { servers: link.settings().servers, ..settings.clone() }).await;
        let publish = async |broker: &Arc<NatsBroker>, count| {
            for n in 0..count {
                broker.publish(vec![event("a", n)]).await.expect("it is taken");
            }
        };
        publish(&broker, 3).await;
        server.kill();
        let older = tempfile::tempdir().expect("a folder");
        copy(&server.store(), older.path());
        until("it is noticed", async || broker.standing() == Standing::CutOff).await;
        server.restart();
        until("it is back", async || broker.is_caught_up()).await;
        publish(&broker, 5).await;
        // As after a power cut, or a restore of an older copy. What another replica publishes then takes the same places; the first one
        // comes back after that, as it would replace the epoch before.
        link.set(LinkState::Cut);
        server.kill();
        std::fs::remove_dir_all(server.store()).expect("it goes");
        copy(older.path(), &server.store());
        server.restart();
        let other = open(settings.clone()).await;
        let epoch = other.head().epoch;
        publish(&other, published_since).await;
        link.set(LinkState::Open);
        let told = async { (broker.replaced().await, other.replaced().await) };
        let (why, _) = tokio::time::timeout(PATIENCE, told).await.expect("both are told");
        assert!(why.contains("lost the end"), "{why}");
        assert_ne!(open(settings).await.head().epoch, epoch);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_announced_nothing_since_it_began_notices_that_the_end_it_began_at_was_lost() {
    let mut server = NatsServer::start();
    let settings = fresh(server.settings());
    let begun = open(settings.clone()).await;
    begun.publish(vec![event("a", 1)]).await.expect("it is taken");
    server.kill();
    let older = tempfile::tempdir().expect("a folder");
    copy(&server.store(), older.path());
    until("it is noticed", async || begun.standing() == Standing::CutOff).await;
    server.restart();
    until("it is back", async || begun.is_caught_up()).await;
    begun.publish(vec![event("a", 2)]).await.expect("it is taken");
    drop(begun);
    let link = Link::to(&server).await;
    let quiet = open(NatsSettings { servers: link.settings().servers, ..settings.clone() }).await;
    quiet.tail(Arc::new(Recorder::default()));
    link.set(LinkState::Cut);
    server.kill();
    std::fs::remove_dir_all(server.store()).expect("it goes");
    copy(older.path(), &server.store());
    server.restart();
    open(settings).await.publish(vec![event("b", 2)]).await.expect("it takes the place of what was lost");
    link.set(LinkState::Open);
    let why = tokio::time::timeout(PATIENCE, quiet.replaced()).await.expect("it is told");
    assert!(why.contains("lost the end"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_of_somebody_else_is_passed_over_and_counted() {
    let server = NatsServer::start();
    let settings = fresh(server.settings());
    let engine = connect(settings.clone()).await;
    let broker = open(settings).await;
    let told = Arc::new(Recorder::default());
    broker.tail(told.clone());
    broker.publish(vec![event("a", 1)]).await.expect("it is taken");
    let subject = format!("{}.e.a", engine.prefix());
    let mut headers = HeaderMap::new();
    headers.insert("Tidings-Event", "{\"name\":1}");
    let client = engine.client();
    client.request(subject.clone(), "no header".into()).await.expect("it is stored");
    client.request_with_headers(subject, headers, "another header".into()).await.expect("it is stored");
    client.request(format!("{}.e.=zz", engine.prefix()), "no topic".into()).await.expect("it is stored");
    let last = broker.publish(vec![event("a", 2)]).await.expect("it is taken");
    assert_eq!(last, [Some(Offset(5))]);
    assert_eq!((told.told().len(), broker.foreign(), broker.head().events), (2, 3, 2));
    assert_eq!(read_all(&*broker, after(Offset::START)).await.expect("it reads"), told.told());
    assert_eq!(read_all(&*broker, contract::of(&["a"])).await.expect("it reads"), told.told());
}

#[tokio::test]
async fn nobody_may_delete_from_the_log_by_hand() {
    let server = NatsServer::start();
    let settings = fresh(server.settings());
    let engine = connect(settings.clone()).await;
    let broker = open(settings).await;
    broker.publish((0..9).map(|n| event("a", n)).collect()).await.expect("it is taken");
    let name = engine.stream_name();
    for question in [format!("STREAM.MSG.DELETE.{name}"), format!("STREAM.PURGE.{name}")] {
        let refused =
            engine.client().request(format!("$JS.API.{question}"), "{\"seq\":4}".into()).await.expect("an answer");
        assert!(String::from_utf8_lossy(&refused.payload).contains("not permit"), "{refused:?}");
    }
}

#[tokio::test]
async fn a_batch_that_retention_would_nearly_remove_at_once_is_refused_as_a_whole() {
    let server = NatsServer::start();
    let retention = Retention { bytes: Some(64 << 20), ..Retention::FOREVER };
    let broker = open(NatsSettings { retention, ..fresh(server.settings()) }).await;
    let data = bytes::Bytes::from(vec![b'1'; 900_000]);
    let batch = |count| (0..count).map(|n| NewEvent { data: data.clone(), ..event("a", n) }).collect::<Vec<_>>();
    match broker.publish(batch(40)).await {
        Err(BrokerError::Refused(sentence)) => assert!(sentence.contains("half of that at once"), "{sentence}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(broker.head().last, Offset::START);
    broker.publish(batch(30)).await.expect("it is taken");
}

#[tokio::test]
async fn limits_follow_the_settings_and_a_stream_of_somebody_else_is_left_alone() {
    let server = NatsServer::start();
    let settings = fresh(server.settings());
    let before = open(settings.clone()).await;
    for _ in 0..11 {
        before.publish((0..1_000).map(|n| event("a", n)).collect()).await.expect("it is taken");
    }
    let limited = |events| NatsSettings {
        retention: Retention { events: Some(events), ..Retention::FOREVER },
        ..settings.clone()
    };
    let smaller = open(limited(10_000)).await;
    assert_eq!(smaller.head().trimmed, Offset(1_000));
    assert_eq!(smaller.head().epoch, before.head().epoch);
    match NatsBroker::open(connect(limited(100)).await).await {
        Err(EngineError::Unfit(sentence)) => assert!(sentence.contains("keep_events = 100"), "{sentence}"),
        other => panic!("{other:?}"),
    }

    let settings = fresh(server.settings());
    let engine = connect(settings.clone()).await;
    let stream = engine.stream_name();
    let foreign = format!("{{\"name\":\"{stream}\",\"subjects\":[\"tidings.{}.e.>\"]}}", settings.hub);
    engine.client().request(format!("$JS.API.STREAM.CREATE.{stream}"), foreign.into()).await.expect("it is made");
    match NatsBroker::open(engine).await {
        Err(EngineError::Unfit(sentence)) => {
            assert!(sentence.contains(&stream) && sentence.contains("another name"), "{sentence}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn replicas_that_make_the_stream_at_once_agree_and_a_moved_log_keeps_its_epoch_and_places() {
    let server = NatsServer::start();
    let settings = fresh(server.settings());
    let opened = futures_util::future::join_all((0..6).map(|_| open(settings.clone()))).await;
    assert!(opened.iter().all(|broker| broker.head().epoch == opened[0].head().epoch));

    let settings = fresh(server.settings());
    let engine = connect(settings.clone()).await;
    create_stream(&engine, Some(tidings::Epoch(42)), Some(Offset(1_000))).await.expect("it is made");
    assert!(matches!(create_stream(&engine, None, None).await, Err(CreateError::Exists)));
    let moved = open(settings).await;
    assert_eq!(moved.head().epoch, tidings::Epoch(42));
    assert_eq!((moved.head().last, moved.head().events), (Offset(999), 0));
    assert_eq!(moved.publish(vec![event("a", 1)]).await.expect("it is taken"), [Some(Offset(1_000))]);
    assert_eq!(read_all(&*moved, after(Offset(999))).await.expect("it reads").len(), 1);
    assert!(matches!(moved.read(after(Offset(5))).await, Err(BrokerError::Trimmed { resume: Offset(999), .. })));
}

#[tokio::test]
async fn what_the_servers_can_not_do_is_refused_with_what_to_do() {
    let old = NatsServer::of("2.11.11", "");
    let power_safe = NatsSettings { durability: Durability::PowerSafe, ..fresh(old.settings()) };
    let too_many = NatsSettings { copies: Some(3), ..fresh(old.settings()) };
    for (settings, what) in [(power_safe, "durability = \"engine\""), (too_many, "copies = 1")] {
        let engine = connect(settings).await;
        match NatsBroker::open(engine).await {
            Err(EngineError::Unfit(sentence)) => assert!(sentence.contains(what), "{sentence}"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn what_an_old_server_drops_from_a_filter_is_found_in_what_it_echoes() {
    let server = NatsServer::of("debian", "");
    let client = async_nats::connect(server.url()).await.expect("it is there");
    let context = async_nats::jetstream::new(client);
    let stream = stream::Config { name: "S".into(), subjects: vec!["a.*".into()], ..Default::default() };
    let stream = context.create_stream(stream).await.expect("it is made");
    let asked = consumer::Config {
        name: Some("c".into()),
        deliver_subject: Some("inbox".into()),
        filter_subjects: vec!["a.1".into(), "a.2".into()],
        ..Default::default()
    };
    // 2.9 takes it without a word, and sends everything.
    let body = serde_json::json!({ "stream_name": "S", "config": asked });
    let answer: serde_json::Value =
        context.request("CONSUMER.CREATE.S.c", &body).await.map_err(|error| error.to_string()).expect("an answer");
    let echoed = serde_json::from_value(answer["config"].clone()).expect("it is a configuration");
    let sentence = check_consumer(&asked, &echoed).expect_err("the filter is gone").to_string();
    assert!(sentence.contains("filter_subjects") && sentence.contains("a.1, a.2"), "{sentence}");

    let asked =
        stream::Config { metadata: [("k".to_owned(), "v".to_owned())].into(), ..stream.cached_info().config.clone() };
    let made = context.update_stream(&asked).await.expect("it takes that too");
    let sentence = check_stream(&asked, &made.config).expect_err("the metadata is gone").to_string();
    assert!(sentence.contains("metadata"), "{sentence}");
}
