//! Server-Sent Events of one job.

use std::sync::atomic::Ordering;
use std::time::Duration;

use proptest::prelude::*;
use tidings::Limits;
use tidings::job::{JobId, JobSettings, NewJob};
use tidings_brokers::retention::Retention;
use tidings_transports::stream::{Dialect, Heard};
use tidings_transports::{IdleEnd, StreamSettings};

use crate::common::websocket::WebSocket;
use crate::common::{Client, Driver, Received};
use crate::rig::{LARGE, Rig, Setup, data, names, told};

const DRIVERS: [Driver; 2] = [Driver::Lanes, Driver::Bodies];

#[tokio::test]
async fn a_stream_of_a_job_tells_topic_and_time_to_who_asks() {
    for driver in DRIVERS {
        let rig = Rig::start(driver).await;
        let id = rig.make("import").await;
        let mut client = rig.get(&format!("/jobs/{id}/events?meta=true"), "u1", None).await;
        let state = loop {
            let block = client.block().await.unwrap();
            if block.starts_with("event: job.") {
                break block;
            }
        };
        let [_, topic, time, ..] = state.lines().collect::<Vec<_>>()[..] else { panic!("{state}") };
        assert_eq!(topic, format!("topic: job/{id}"), "{driver:?}");
        assert!(time.starts_with("time: "), "{state}");
    }
}

/// Where an event stands in the life of its job.
fn age(event: &Received) -> (u64, u64) {
    let data = data(event);
    (data["revision"].as_u64().unwrap(), data["progress"]["done"].as_u64().unwrap())
}

/// Checks what somebody was told of a job that has ended: nothing older after something newer, one end, and nothing after it.
fn check(told: &[Received], end: &str) -> Result<(), String> {
    let ours = |event: &&Received| event.name.starts_with("tidings.");
    let states: Vec<&Received> = told.iter().filter(|event| !ours(event) && event.name != "job.item").collect();
    let what = || format!("{:?}", told.iter().map(|event| (&event.name, &event.data)).collect::<Vec<_>>());
    if !states.is_sorted_by_key(|event| age(event)) {
        return Err(format!("something older after something newer: {}", what()));
    }
    if states.iter().filter(|event| event.name == end).count() != 1 {
        return Err(format!("the end is not told once: {}", what()));
    }
    let [.., last, close] = told else { return Err(format!("too little: {}", what())) };
    match (&*last.name == end, &*close.name, close.data.contains("4007")) {
        (true, "tidings.close", true) => Ok(()),
        _ => Err(format!("the end is not the last: {}", what())),
    }
}

#[tokio::test]
async fn a_stream_tells_the_state_what_comes_and_the_end_and_is_over() {
    for driver in DRIVERS {
        let rig = Rig::start(driver).await;
        let id = rig.make("import").await;
        let mut client = rig.watch(&id, None).await;
        assert_eq!(client.next().await.unwrap().name, "tidings.open");
        assert_eq!(client.next().await.unwrap().name, "job.queued");
        let work = rig.claim("import").await;
        assert_eq!(client.next().await.unwrap().name, "job.running");
        work.progress(3);
        assert_eq!(data(&client.next().await.unwrap())["progress"]["done"], 3);
        work.complete().await;
        let rest = told(&mut client).await;
        assert_eq!(names(&rest), ["job.completed", "tidings.close"], "{driver:?}");
        assert!(rest[1].data.contains("4007"), "{rest:?}");
        assert!(!rest[0].id.is_empty(), "the end can be shown to have been told");
        drop(client);
        rig.is_left_alone().await;
    }
}

#[tokio::test]
async fn whoever_comes_after_the_end_is_given_it_and_sent_away() {
    for driver in DRIVERS {
        let rig = Rig::start(driver).await;
        let work = rig.work("import").await;
        work.progress(1);
        work.complete().await;
        let told = told(&mut rig.watch(&work.id, None).await).await;
        assert_eq!(
            names(&told),
            ["job.completed", "tidings.close"],
            "{driver:?}: not the place behind the end before it"
        );
        check(&told, "job.completed").unwrap();
        rig.is_left_alone().await;
    }
}

/// What happens to a job, and beside it.
#[derive(Clone, Copy, Debug)]
enum Happens {
    Progress,
    Items,
    Retry,
    /// Somebody begins to watch.
    Attach,
    /// Somebody who was told so much goes away and comes back.
    Return(usize),
    /// Somebody begins to watch over a WebSocket, and says so before the job ends or lets it wait.
    Socket(bool),
    /// Others of the runtime have a turn.
    Wait,
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        4 => Just(Happens::Progress),
        1 => Just(Happens::Items),
        1 => Just(Happens::Retry),
        3 => Just(Happens::Attach),
        2 => (1usize..6).prop_map(Happens::Return),
        2 => any::<bool>().prop_map(Happens::Socket),
        3 => Just(Happens::Wait),
    ]
}

/// Reads `count` events, goes away, and reads the rest where it left off.
async fn comes_back(mut client: Client, count: usize, rig: &Rig, id: &JobId) -> Vec<Received> {
    let (mut all, mut last) = (Vec::new(), None);
    while all.len() < count {
        let Some(event) = client.next().await else { break };
        if !event.id.is_empty() {
            last = Some(event.id.clone());
        }
        all.push(event);
    }
    drop(client);
    let mut again = rig.get(&format!("/jobs/{id}/events"), "u1", last.as_deref()).await;
    match again.status {
        204 => {
            // It had the end already, and went away before it was told that this is the last.
            if all.last().is_none_or(|last| last.name != "tidings.close") {
                let (name, data) = ("tidings.close".to_owned(), "4007".to_owned());
                all.push(Received { name, data, id: String::new() });
            }
            all
        }
        _ => {
            // A connection begins with the state again.
            all.clear();
            all.extend(told(&mut again).await);
            all
        }
    }
}

/// What is told over a WebSocket, as if it were a stream.
async fn heard(mut socket: WebSocket) -> Vec<Received> {
    let (mut told, id) = (Vec::new(), String::new());
    while let Some(data) = socket.text().await {
        let message: serde_json::Value = serde_json::from_str(&data).unwrap();
        let name = match (message["index"].is_u64(), message["state"].as_str()) {
            (true, _) => "job.item".to_owned(),
            (_, Some(state)) => format!("job.{state}"),
            _ => continue,
        };
        told.push(Received { name, data, id: id.clone() });
    }
    assert_eq!(socket.closed.map(|(code, _)| code), Some(1000));
    told.push(Received { name: "tidings.close".into(), data: "4007".into(), id });
    told
}

async fn life(driver: Driver, script: &[Happens], end: usize) -> Result<(), String> {
    let begins = Heard { begins: true, ..Heard::default() };
    let hears = [("ready".to_owned(), begins)].into();
    let dialect = Dialect { member: "type".into(), hears, waits: Some(Duration::from_secs(3)), ..Dialect::default() };
    let rig = Rig::with(driver, Setup { dialect, lingers: Duration::from_millis(100), ..Setup::default() }).await;
    let rig = std::sync::Arc::new(rig);
    let new = NewJob { kind: "import".into(), owner: Some("u1".into()), attempts: Some(100), ..NewJob::default() };
    let id = rig.make_new(new).await.id;
    let mut watchers = Vec::new();
    let watch = |back: Option<usize>| {
        let (rig, id) = (rig.clone(), id.clone());
        tokio::spawn(async move {
            let mut client = rig.get(&format!("/jobs/{id}/events"), "u1", None).await;
            assert_eq!(client.status, 200);
            match back {
                Some(count) => comes_back(client, count, &rig, &id).await,
                None => told(&mut client).await,
            }
        })
    };
    watchers.push(watch(None));
    let mut work = rig.claim("import").await;
    let (mut done, mut items) = (0, 0);
    for step in script {
        match step {
            Happens::Progress => {
                done += 1;
                work.progress(done);
            }
            Happens::Items => {
                work.items(items, &[items.into()], true).await;
                items += 1;
            }
            Happens::Retry => {
                work.fail(true).await;
                work = rig.claim("import").await;
                done = 0;
            }
            Happens::Attach => watchers.push(watch(None)),
            Happens::Return(count) => watchers.push(watch(Some(*count))),
            Happens::Socket(_) if driver == Driver::Bodies => {}
            Happens::Socket(is_ready) => {
                let mut socket = rig.websocket(&format!("/ws?jobId={id}"), "u1").await;
                let is_ready = *is_ready;
                watchers.push(tokio::spawn(async move {
                    if is_ready {
                        socket.say("{\"type\":\"ready\"}").await;
                    }
                    heard(socket).await
                }));
            }
            Happens::Wait => tokio::task::yield_now().await,
        }
    }
    let end = match end {
        0 => {
            work.complete().await;
            "job.completed"
        }
        1 => {
            work.fail(false).await;
            "job.failed"
        }
        _ => {
            rig.jobs.cancel(&id, Duration::ZERO).await.unwrap();
            work.finish(tidings::job::Outcome::Canceled(None)).await;
            "job.canceled"
        }
    };
    watchers.push(watch(None));
    // Lanes linger, and wait for sockets that never say that they are ready, by this clock.
    let clock = rig.clock.clone();
    let hand = tokio::spawn(async move {
        let mut hand = tokio::time::interval(Duration::from_millis(5));
        loop {
            hand.tick().await;
            clock.advance(Duration::from_millis(100));
        }
    });
    for watcher in watchers {
        check(&watcher.await.unwrap(), end)?;
    }
    hand.abort();
    rig.is_left_alone().await;
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whichever moment somebody attaches at, they are told nothing older after something newer, the end once, and nothing after it.
    #[test]
    fn whenever_somebody_attaches_the_end_is_told_once_and_last(
        script in prop::collection::vec(happens(), 0..40),
        end in 0usize..3,
        lanes in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let driver = if lanes { Driver::Lanes } else { Driver::Bodies };
        let lived = runtime.block_on(life(driver, &script, end));
        prop_assert!(lived.is_ok(), "{driver:?}: {lived:?}");
    }
}

#[tokio::test]
async fn many_watchers_of_one_job_are_each_told_the_end() {
    for driver in DRIVERS {
        let rig = Rig::start(driver).await;
        let work = rig.work("import").await;
        let mut clients = Vec::new();
        for _ in 0..100 {
            let mut client = rig.watch(&work.id, None).await;
            assert_eq!(client.next().await.unwrap().name, "tidings.open");
            clients.push(client);
        }
        work.complete().await;
        for mut client in clients {
            check(&told(&mut client).await, "job.completed").unwrap();
        }
        rig.is_left_alone().await;
    }
}

/// Makes a job that tells some 900 KiB with its end.
async fn large(rig: &Rig) -> crate::rig::Work {
    let work = rig.work(LARGE).await;
    let item = serde_json::Value::from("i".repeat(15 << 10));
    for nth in 0..70 {
        work.items(nth, std::slice::from_ref(&item), false).await;
    }
    work
}

#[tokio::test]
async fn an_end_that_fills_every_buffer_comes_whole_to_whoever_takes_it_late() {
    for driver in DRIVERS {
        let rig = Rig::start(driver).await;
        let work = large(&rig).await;
        let mut blocked = rig.watch(&work.id, None).await;
        assert_eq!(blocked.next().await.unwrap().name, "tidings.open");
        // More than the kernels of both sides hold.
        let item = serde_json::Value::from("i".repeat(15 << 10));
        for nth in 0..700 {
            work.items(70 + nth, std::slice::from_ref(&item), true).await;
        }
        work.complete().await;
        if driver == Driver::Lanes {
            rig.until("the end fills the socket", |rig| counted_blocked(rig) > 0).await;
        }
        let late = rig.watch(&work.id, None).await;
        // More happens meanwhile that is none of theirs.
        rig.work("import").await.complete().await;
        for mut client in [blocked, late] {
            let told = told(&mut client).await;
            check(&told, "job.completed").unwrap();
            let end = told.iter().find(|event| event.name == "job.completed").unwrap();
            assert!(data(end)["first"].as_array().unwrap().len() > 50, "{driver:?}: with the first items");
        }
        rig.is_left_alone().await;
    }
}

fn counted_blocked(rig: &Rig) -> u64 {
    rig.service.counters().blocked.load(std::sync::atomic::Ordering::Relaxed)
}

#[tokio::test]
async fn a_cursor_from_before_the_end_is_told_what_is_missing_and_one_behind_it_that_it_has_all() {
    for driver in DRIVERS {
        let rig = Rig::start(driver).await;
        let id = rig.make("import").await;
        let open = rig.watch(&id, None).await.next().await.unwrap();
        let work = rig.claim("import").await;
        work.items(0, &[1.into(), 2.into()], true).await;
        work.complete().await;
        let missing = told(&mut rig.watch(&id, Some(&open.id)).await).await;
        let names = names(&missing);
        let ours = |name: &&&str| !name.starts_with("tidings.open");
        let rest: Vec<&str> = names.iter().filter(ours).skip_while(|name| **name == "job.queued").copied().collect();
        assert_eq!(rest, ["job.running", "job.item", "job.item", "job.completed", "tidings.close"], "{driver:?}");
        let end = missing.iter().find(|event| event.name == "job.completed").unwrap();
        let again = rig.get(&format!("/jobs/{id}/events"), "u1", Some(&end.id)).await;
        assert_eq!(again.status, 204, "{driver:?}");
        assert!(again.head.contains("cache-control: no-store"), "nobody keeps it for others: {}", again.head);
        let head = rig.request("HEAD", &format!("/jobs/{id}/events"), "u1", Some(&end.id)).await;
        assert_eq!(head.status, 204, "{driver:?}");
    }
}

#[tokio::test]
async fn a_cursor_that_means_nothing_here_is_a_gap_and_then_the_end() {
    for driver in DRIVERS {
        let rig = Rig::start(driver).await;
        let work = rig.work("import").await;
        work.complete().await;
        for last in ["00000000-1", "rubbish", "1700000000000-progress"] {
            let told = told(&mut rig.watch(&work.id, Some(last)).await).await;
            assert_eq!(names(&told), ["tidings.gap", "job.completed", "tidings.close"], "{driver:?} {last}");
        }
    }
}

#[tokio::test]
async fn an_end_that_memory_has_no_room_for_is_told_from_the_store() {
    for driver in DRIVERS {
        let jobs = JobSettings { held_ends_bytes: 10, progress_every: Duration::ZERO, ..JobSettings::default() };
        let rig = Rig::with(driver, Setup { jobs, ..Setup::default() }).await;
        let work = rig.work("import").await;
        work.complete().await;
        for _ in 0..2 {
            let told = told(&mut rig.watch(&work.id, None).await).await;
            assert_eq!(names(&told), ["job.completed", "tidings.close"], "{driver:?}");
        }
        let told = told(&mut rig.watch(&work.id, Some("rubbish")).await).await;
        assert_eq!(names(&told), ["tidings.gap", "job.completed", "tidings.close"], "{driver:?}");
    }
}

#[tokio::test]
async fn a_quiet_job_ends_its_stream_with_an_event_that_says_how_it_stands() {
    let form = tidings::FormNode::Object(vec![
        ("jobId".into(), tidings::FormNode::Text("{data.id}".into())),
        ("lastProgress".into(), tidings::FormNode::Text("{data.progress.done}".into())),
    ]);
    let form = tidings::Form::new(&form, &Default::default(), &[]).unwrap();
    for driver in DRIVERS {
        // A response body goes by the machine's clock, and the machine may stand still for as long as some heartbeats take.
        let (after, heartbeat_every) = match driver {
            Driver::Lanes => (Duration::from_secs(300), Duration::from_secs(100)),
            _ => (Duration::from_secs(4), Duration::from_millis(100)),
        };
        let idle = IdleEnd { after, event: Some(("timeout".into(), "{}".into())), form: Some(form.clone()) };
        let stream = StreamSettings {
            idle: Some(idle),
            heartbeat_every,
            names: Some(["job.progress", "job.completed"].map(Into::into).into()),
            ..StreamSettings::default()
        };
        let rig = Rig::with(driver, Setup { stream, ..Setup::default() }).await;
        let work = rig.work("import").await;
        let mut client = rig.watch(&work.id, None).await;
        assert_eq!(client.next().await.unwrap().name, "tidings.open");
        let (mut told, mut hand) = (Vec::new(), tokio::time::interval(Duration::from_millis(5)));
        loop {
            tokio::select! {
                block = client.block() => match block {
                    Some(block) => told.push(block),
                    None => break,
                },
                // The lanes go by this clock, and see each of its steps.
                _ = hand.tick(), if driver == Driver::Lanes => {
                    rig.clock.advance(Duration::from_secs(5));
                    for _ in 0..3 {
                        rig.service.streams().await;
                    }
                }
            }
        }
        drop(client);
        let beats = told.iter().filter(|block| block.contains("heartbeat")).count();
        assert!(beats > 0, "heartbeats are no updates: {told:?}");
        let timeout = told.iter().find(|block| block.starts_with("event: timeout")).expect("it says so");
        assert!(timeout.contains(&format!("data: {{\"jobId\":\"{}\",\"lastProgress\":0}}", work.id)), "{timeout}");
        rig.is_left_alone().await;
    }
}

#[tokio::test]
async fn a_job_is_watched_by_who_may_see_it_and_is_not_there_for_others() {
    let rig = Rig::start(Driver::Lanes).await;
    let new = NewJob { audience: vec!["team/a".parse().unwrap()], ..import("u1") };
    let id = rig.make_new(new).await.id;
    let other = rig.make("import").await;
    let (own, foreign) = (rig.token(&id).await, rig.token(&other).await);
    let path = format!("/jobs/{id}/events");
    for who in ["u1", "op", "x+team/a", "x+job/*", &own] {
        assert_eq!(rig.get(&path, who, None).await.status, 200, "{who}");
        let mut client = rig.get(&path, who, None).await;
        assert_eq!(client.next().await.unwrap().name, "tidings.open", "{who}");
        assert_eq!(client.next().await.unwrap().name, "job.queued", "{who} is told the state");
    }
    for (path, who, status, code) in [
        (&*path, "u2", 404, "no-such-job"),
        (&path, "nobody", 401, "no-credential"),
        (&path, "", 401, "no-credential"),
        (&path, &foreign, 401, "other-job"),
        ("/jobs/nope/events", "op", 404, "no-such-job"),
        ("/jobs/nope/events", "nobody", 401, "no-credential"),
        ("/jobs/a%20b/events", "op", 404, "no-such-job"),
        (&format!("/scans/{id}/events"), "op", 404, "no-such-job"),
        (&format!("/shelf/{id}/events"), "op", 404, "no-such-job"),
        ("/query/events", "op", 400, "missing-job"),
        ("/query/events?jobId=", "op", 400, "missing-job"),
    ] {
        let mut refused = rig.get(path, who, None).await;
        assert_eq!(refused.status, status, "{path} {who}: {}", refused.head);
        assert_eq!(refused.problem().await["type"], format!("urn:tidings:problem:{code}"), "{path} {who}");
    }
    assert_eq!(rig.get(&format!("/query/events?jobId={id}"), "u1", None).await.status, 200);
    let open = format!("/open/{id}/events");
    for who in ["nobody", "u2"] {
        let mut client = rig.get(&open, who, None).await;
        assert_eq!(client.next().await.unwrap().name, "tidings.open", "{who}");
        assert_eq!(client.next().await.unwrap().name, "job.queued", "whoever knows its id: {who}");
    }
}

fn import(owner: &str) -> NewJob {
    NewJob { kind: "import".into(), owner: Some(owner.into()), ..NewJob::default() }
}

#[tokio::test]
async fn progress_keeps_a_stream_from_being_idle() {
    let idle = IdleEnd { after: Duration::from_secs(300), event: None, form: None };
    let stream = StreamSettings { idle: Some(idle), ..StreamSettings::default() };
    let rig = Rig::with(Driver::Lanes, Setup { stream, ..Setup::default() }).await;
    let work = rig.work("import").await;
    let mut client = rig.watch(&work.id, None).await;
    for done in 1..10 {
        // Each within the lease, and all together far beyond what is idle.
        for _ in 0..8 {
            rig.clock.advance(Duration::from_secs(25));
            work.progress(done);
            while client.next().await.unwrap().name != "job.progress" {}
        }
    }
    work.complete().await;
    assert_eq!(names(&told(&mut client).await), ["job.completed", "tidings.close"]);
}

#[tokio::test]
async fn an_end_that_the_mount_does_not_tell_is_told_all_the_same() {
    for driver in DRIVERS {
        let told_names = Some(["job.progress", "job.completed"].map(Into::into).into());
        let stream = StreamSettings { names: told_names, ..StreamSettings::default() };
        let rig = Rig::with(driver, Setup { stream, ..Setup::default() }).await;
        let work = rig.work("import").await;
        let mut client = rig.watch(&work.id, None).await;
        assert_eq!(client.next().await.unwrap().name, "tidings.open");
        work.fail(false).await;
        assert_eq!(names(&told(&mut client).await), ["job.failed", "tidings.close"], "{driver:?}");
        let mut late = rig.watch(&work.id, None).await;
        assert_eq!(names(&told(&mut late).await), ["job.failed", "tidings.close"], "{driver:?}");
    }
}

#[tokio::test]
async fn what_others_say_on_the_topic_does_not_come_after_the_end() {
    for driver in DRIVERS {
        let rig = Rig::start(driver).await;
        let work = rig.work("import").await;
        let mut client = rig.watch(&work.id, None).await;
        assert_eq!(client.next().await.unwrap().name, "tidings.open");
        let grant = format!("job/{}", work.id);
        let said = || crate::common::event(&grant, &grant, 7);
        rig.hub.publish(vec![said()]).await.unwrap();
        work.complete().await;
        rig.hub.publish(vec![said()]).await.unwrap();
        let live = told(&mut client).await;
        assert_eq!(names(&live), ["job.running", "n", "job.completed", "tidings.close"], "{driver:?}");
        let early = rig.watch(&work.id, Some("earliest"));
        let read = told(&mut early.await).await;
        let rest: Vec<&str> = names(&read).into_iter().filter(|name| *name != "tidings.open").collect();
        assert_eq!(rest, ["job.queued", "job.running", "n", "job.completed", "tidings.close"], "{driver:?}");
        // One that stands behind the end and before what was said then.
        let late = told(&mut rig.watch(&work.id, None).await).await;
        assert_eq!(names(&late), ["job.completed", "tidings.close"], "{driver:?}");
    }
}

#[tokio::test]
async fn who_is_overtaken_by_retention_is_told_of_the_gap_and_the_end() {
    for driver in DRIVERS {
        for held_ends_bytes in [64 << 20, 10] {
            let retention = Retention { events: Some(20), ..Retention::FOREVER };
            let limits = Limits { window_events: 10, ..Limits::default() };
            let jobs = JobSettings { held_ends_bytes, progress_every: Duration::ZERO, ..JobSettings::default() };
            let rig = Rig::with(driver, Setup { retention, limits, jobs, ..Setup::default() }).await;
            let work = rig.work("import").await;
            let open = rig.watch(&work.id, None).await.next().await.unwrap();
            let mut blocked = rig.watch(&work.id, None).await;
            assert_eq!(blocked.next().await.unwrap().name, "tidings.open");
            let item = serde_json::Value::from("i".repeat(15 << 10));
            // More than the kernels of both sides hold.
            for nth in 0..2_000 {
                work.items(nth, std::slice::from_ref(&item), true).await;
            }
            work.complete().await;
            for _ in 0..10 {
                rig.hub.publish((0..10).map(|n| crate::common::event("other", "all", n)).collect()).await.unwrap();
            }
            // Who comes back is told that something is missing.
            let back = told(&mut rig.watch(&work.id, Some(&open.id)).await).await;
            let told_names: Vec<&str> = names(&back).into_iter().filter(|name| *name != "tidings.open").collect();
            assert_eq!(told_names, ["tidings.gap", "job.completed", "tidings.close"], "{driver:?} {held_ends_bytes}");
            // And so is who was there, or else it is sent to come back.
            let live = told(&mut blocked).await;
            let [.., before, close] = &live[..] else { panic!("{live:?}") };
            assert_eq!(close.name, "tidings.close", "{driver:?}");
            assert!(live.iter().any(|event| event.name == "tidings.gap"), "{driver:?}: it was overtaken");
            // Where nobody holds the end it is told only if it was read from the log in time.
            let is_told = (&*before.name, close.data.contains("4007")) == ("job.completed", true);
            let comes_back = before.name != "job.completed" && close.data.contains("3005");
            assert!(is_told || (held_ends_bytes == 10 && comes_back), "{driver:?} {before:?} {close:?}");
        }
    }
}

#[tokio::test]
async fn a_token_that_runs_out_or_is_revoked_ends_its_stream() {
    for driver in DRIVERS {
        let rig = Rig::start(driver).await;
        let id = rig.make("import").await;
        let token = rig.token(&id).await;
        let mut client = rig.get(&format!("/jobs/{id}/events"), &token, None).await;
        let mut other = rig.get(&format!("/jobs/{id}/events"), "u1", None).await;
        for client in [&mut client, &mut other] {
            assert_eq!(client.next().await.unwrap().name, "tidings.open");
            assert_eq!(client.next().await.unwrap().name, "job.queued");
        }
        rig.clock.advance(Duration::from_secs(2 * 3600));
        if driver == Driver::Bodies {
            // It looks at the clock when there is something to tell.
            rig.claim("import").await;
        }
        let told_last = told(&mut client).await;
        assert!(told_last.last().unwrap().data.contains("4001"), "{driver:?} {told_last:?}");
        let revocation = tidings::Revocation { of: tidings::RevokedIdentity::Principal("u1".into()), namespace: None };
        rig.hub.close(&revocation, tidings::CloseReason::Revoked);
        let told_last = told(&mut other).await;
        assert!(told_last.last().unwrap().data.contains("4002"), "{driver:?} {told_last:?}");
    }
}

#[tokio::test]
async fn a_stop_sends_watchers_away_to_come_back() {
    for driver in DRIVERS {
        let rig = Rig::start(driver).await;
        let id = rig.make("import").await;
        let mut client = rig.watch(&id, None).await;
        assert_eq!(client.next().await.unwrap().name, "tidings.open");
        rig.hub.drain();
        rig.clock.advance(Duration::from_secs(1));
        let last = told(&mut client).await.pop().unwrap();
        assert!(last.data.contains("3001"), "{driver:?} {last:?}");
    }
}

#[tokio::test]
async fn a_poll_tells_the_state_and_then_the_end_and_no_more() {
    for held_ends_bytes in [64 << 20, 10] {
        let jobs = JobSettings { held_ends_bytes, ..JobSettings::default() };
        let rig = Rig::with(Driver::Lanes, Setup { jobs, ..Setup::default() }).await;
        let work = rig.work("import").await;
        let poll = async |cursor: &str| {
            let mut client = rig.get(&format!("/poll/{}?wait=50&cursor={cursor}", work.id), "u1", None).await;
            let answer: serde_json::Value = match client.status {
                200 => {
                    let length = client.head.split("content-length: ").nth(1).unwrap().split('\r').next().unwrap();
                    serde_json::from_str(&client.exactly(length.parse().unwrap()).await).unwrap()
                }
                _ => serde_json::Value::Null,
            };
            (client.status, answer)
        };
        let (_, first) = poll("").await;
        assert_eq!(first["events"][0]["name"], "job.running");
        work.complete().await;
        let (_, second) = poll(first["cursor"].as_str().unwrap()).await;
        assert_eq!(second["events"][0]["name"], "job.completed");
        assert_eq!(poll(second["cursor"].as_str().unwrap()).await.0, 204);
        let (_, late) = poll("").await;
        assert_eq!(late["events"][0]["name"], "job.completed");
        assert_eq!(poll(late["cursor"].as_str().unwrap()).await.0, 204);
    }
}

#[tokio::test]
async fn an_end_that_the_log_can_not_take_yet_is_waited_for() {
    for driver in DRIVERS {
        let rig = Rig::start(driver).await;
        let work = rig.work("import").await;
        let mut client = rig.watch(&work.id, None).await;
        let open = client.next().await.unwrap();
        assert_eq!(open.name, "tidings.open");
        rig.refuses.store(true, Ordering::SeqCst);
        work.complete().await;
        assert!(rig.jobs.get(&work.id).await.unwrap().unwrap().state.is_end());
        // It was not told to anybody: nobody is taken for one who has it.
        let mut clients = vec![client];
        for last in [None, Some(&*open.id), Some("rubbish")] {
            let mut client = rig.watch(&work.id, last).await;
            while client.next().await.unwrap().name != "job.running" {}
            clients.push(client);
        }
        rig.refuses.store(false, Ordering::SeqCst);
        for mut client in clients {
            check(&told(&mut client).await, "job.completed").unwrap();
        }
    }
}
#[tokio::test]
async fn a_progress_that_the_window_has_no_room_for_does_not_come_before_what_the_log_still_tells() {
    for driver in DRIVERS {
        let limits = Limits { window_events: 10, ..Limits::default() };
        let rig = Rig::with(driver, Setup { limits, ..Setup::default() }).await;
        let id = rig.make("import").await;
        let open = rig.watch(&id, None).await.next().await.unwrap();
        let work = rig.claim("import").await;
        let mut first = rig.watch(&id, None).await;
        work.progress(3);
        while first.next().await.unwrap().name != "job.progress" {}
        rig.hub.publish((0..20).map(|n| crate::common::event("other", "all", n)).collect()).await.unwrap();
        let mut back = rig.watch(&id, Some(&open.id)).await;
        // Once it has all that there is.
        work.progress(4);
        let mut seen = Vec::new();
        while seen.last() != Some(&(2, 4)) {
            let event = back.next().await.unwrap();
            if !event.name.starts_with("tidings.") {
                seen.push(age(&event));
            }
        }
        assert!(seen.is_sorted(), "{driver:?} {seen:?}");
    }
}
