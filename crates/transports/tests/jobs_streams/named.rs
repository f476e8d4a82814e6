//! Jobs that somebody names among other topics, on streams that are of no job.

use serde_json::{Value, json};
use tidings::job::{JobSettings, NewJob};

use crate::common::websocket::WebSocket;
use crate::common::{Client, Driver};
use crate::rig::{LARGE, Rig, Setup};

/// The ways to name topics, and the names of the events that whoever does so is told at once.
const WAYS: [&str; 7] = ["sse", "poll", "query", "subscribe", "past", "connect", "emit"];

/// What comes on a WebSocket until it is asked for in vain: everything before the answer to a ping.
async fn until_pong(socket: &mut WebSocket) -> Vec<Value> {
    socket.tell(json!({"type": "ping", "id": "p"})).await;
    let mut heard = Vec::new();
    loop {
        match socket.hear().await {
            message if message["type"] == "pong" => return heard,
            message => heard.push(message),
        }
    }
}

async fn socketio(rig: &Rig, connect: &Value, token: &str) -> WebSocket {
    let mut socket = rig.websocket("/socket.io/?EIO=4&transport=websocket", token).await;
    assert!(socket.text().await.unwrap().starts_with('0'));
    socket.say(&format!("40{connect}")).await;
    socket
}

/// The events that a Socket.IO client is told until its ping is answered.
async fn emitted(socket: &mut WebSocket) -> Vec<String> {
    socket.say(r#"429["ping",{"id":"p"}]"#).await;
    let mut names = Vec::new();
    loop {
        let packet = socket.text().await.unwrap();
        if packet.starts_with("439") {
            return names;
        }
        if let Some(event) = packet.strip_prefix("42") {
            let event: Value = serde_json::from_str(event).unwrap();
            names.push(event[0].as_str().unwrap().to_owned());
        }
    }
}

/// The answer to a poll.
async fn document(client: &mut Client) -> Value {
    let length = client.head.split("content-length: ").nth(1).unwrap();
    let length = length.split('\r').next().unwrap().parse().unwrap();
    serde_json::from_str(&client.exactly(length).await).unwrap()
}

/// What whoever names `topics` is told of jobs at once, besides what else is told.
async fn told(rig: &Rig, way: &str, topics: &[&str], token: &str) -> Vec<String> {
    let list = topics.join(",");
    let names = |events: &[Value]| -> Vec<String> {
        events.iter().filter_map(|event| Some(event["name"].as_str()?.to_owned())).collect()
    };
    let mut all = match way {
        "sse" => {
            // What begins now comes behind all that is told at once.
            let marker = rig.make("marker").await;
            let (target, token) = (format!("/v1/events?topics={list},job/{marker}"), format!("{token}+job/{marker}"));
            let mut client = rig.get(&target, &token, None).await;
            assert_eq!(client.status, 200, "{}", client.head);
            rig.claim("marker").await;
            let mut names = Vec::new();
            loop {
                match client.next().await.unwrap().name {
                    name if name == "job.running" => break,
                    name if name == "job.queued" => {}
                    name => names.push(name),
                }
            }
            names
        }
        "poll" => {
            let mut client = rig.get(&format!("/v1/poll?topics={list}&wait=0"), token, None).await;
            assert_eq!(client.status, 200, "{}", client.head);
            let answer: Value = document(&mut client).await;
            names(answer["events"].as_array().unwrap())
        }
        "query" => names(&until_pong(&mut rig.websocket(&format!("/v1/ws?topics={list}"), token).await).await),
        "subscribe" | "past" => {
            let mut socket = rig.websocket("/v1/ws", token).await;
            let cursor = rig.hub.cursor(rig.hub.window().head().1).to_string();
            let cursor = if way == "past" { cursor } else { String::new() };
            socket.tell(json!({"type": "subscribe", "id": "s", "topics": topics, "cursor": cursor})).await;
            let heard = until_pong(&mut socket).await;
            let order: Vec<&str> = heard.iter().filter_map(|message| message["type"].as_str()).collect();
            assert!(order.starts_with(&["open", "subscribed"]), "the answer comes first: {heard:?}");
            names(&heard)
        }
        "connect" => emitted(&mut socketio(rig, &json!({ "topics": topics }), token).await).await,
        _ => {
            let mut socket = socketio(rig, &json!({ "topics": [] }), token).await;
            let subscribe = json!(["subscribe", { "id": "s", "topics": topics }]);
            socket.say(&format!("421{subscribe}")).await;
            emitted(&mut socket).await
        }
    };
    all.retain(|name| name.starts_with("job."));
    all
}

fn forgetful() -> Setup {
    let jobs = JobSettings { held_ends_bytes: 10, ..JobSettings::default() };
    Setup { jobs, ..Setup::default() }
}

#[tokio::test]
async fn who_names_a_job_that_ended_is_told_its_end_also_where_memory_had_no_room_for_it() {
    for driver in [Driver::Lanes, Driver::Carried] {
        let rig = Rig::with(driver, forgetful()).await;
        let (one, other) = (rig.work("import").await, rig.work("import").await);
        one.complete().await;
        other.fail(false).await;
        let topics = [&*format!("job/{}", one.id), &*format!("job/{}", other.id), "news"];
        for way in WAYS {
            let mut names = told(&rig, way, &topics, "x+job/*").await;
            names.sort();
            assert_eq!(names, ["job.completed", "job.failed"], "{driver:?} {way}");
        }
    }
}

#[tokio::test]
async fn who_names_a_job_that_ended_before_the_program_was_started_again_is_told_its_end() {
    for way in WAYS {
        let rig = Rig::start(Driver::Lanes).await;
        let work = rig.work("import").await;
        work.complete().await;
        let topic = format!("job/{}", work.id);
        let rig = rig.restarted(Driver::Lanes, Setup::default()).await;
        assert!(rig.hub.shown_state(&topic).is_none(), "nobody has it at hand");
        let token = rig.token(&work.id).await;
        assert_eq!(told(&rig, "poll", &["job/nope", &topic], &token).await, ["job.completed"]);
        assert_eq!(told(&rig, way, &[&topic], &format!("x+{topic}")).await, ["job.completed"], "{way}");
    }
}

#[tokio::test]
async fn over_http_2_and_other_servers_the_end_is_told_as_well() {
    let rig = Rig::with(Driver::Bodies, forgetful()).await;
    let work = rig.work("import").await;
    work.complete().await;
    assert_eq!(told(&rig, "sse", &[&format!("job/{}", work.id)], "x+job/*").await, ["job.completed"]);
}

#[tokio::test]
async fn who_may_not_see_a_job_is_told_nothing_and_has_it_shown_to_nobody() {
    for way in WAYS {
        let rig = Rig::start(Driver::Lanes).await;
        let work = rig.work("import").await;
        work.complete().await;
        let topic = format!("job/{}", work.id);
        let rig = rig.restarted(Driver::Lanes, Setup::default()).await;
        for token in ["x", "x+job/other", "u1"] {
            assert!(told(&rig, way, &[&topic], token).await.is_empty(), "{way} {token}");
            assert!(rig.hub.shown_state(&topic).is_none(), "{way} {token}");
        }
    }
}

#[tokio::test]
async fn who_wants_no_ends_has_none_looked_up() {
    let rig = Rig::start(Driver::Lanes).await;
    let work = rig.work("import").await;
    work.complete().await;
    let topic = format!("job/{}", work.id);
    let rig = rig.restarted(Driver::Lanes, Setup::default()).await;
    for target in [format!("/v1/events?topics={topic}&name=job.item"), "/v1/events?topics=job/*".into()] {
        assert_eq!(rig.get(&target, "x+job/*", None).await.status, 200);
        assert!(rig.hub.shown_state(&topic).is_none(), "{target}");
    }
    let from = rig.hub.cursor(rig.hub.window().head().1);
    let poll = format!("/v1/poll?topics={topic}&wait=0&cursor={from}");
    assert_eq!(rig.get(&poll, "x+job/*", None).await.status, 200);
    assert!(rig.hub.shown_state(&topic).is_none(), "a poll that goes on is told what comes");
}

#[tokio::test]
async fn the_job_of_an_app_is_found_by_the_apps_own_topic() {
    let rig = Rig::start(Driver::Lanes).await;
    let new = NewJob { kind: "import".into(), namespace: Some("shelf".into()), ..NewJob::default() };
    let job = rig.make_new(new).await;
    rig.jobs.cancel(&job.id, std::time::Duration::ZERO).await.unwrap();
    let rig = rig.restarted(Driver::Lanes, Setup::default()).await;
    let mut client = rig.get(&format!("/shelf/v1/events?topic=job/{}", job.id), "x+shelf/job/*", None).await;
    assert_eq!(client.next().await.unwrap().name, "tidings.open");
    assert_eq!(client.next().await.unwrap().name, "job.canceled");
    let mut other = rig.get(&format!("/v1/poll?wait=0&topic=job/{}", job.id), "x+**", None).await;
    let answer: Value = document(&mut other).await;
    assert_eq!(answer["events"], json!([]), "it is no job of nobody's");
}

#[tokio::test]
async fn who_names_many_jobs_with_large_ends_is_told_all_and_of_some_without_their_items() {
    let rig = Rig::with(Driver::Lanes, forgetful()).await;
    let (item, mut topics) = (json!("i".repeat(15 << 10)), Vec::new());
    for _ in 0..12 {
        let work = rig.work(LARGE).await;
        work.items(0, &vec![item.clone(); 55], false).await;
        work.complete().await;
        topics.push(format!("job/{}", work.id));
    }
    let mut client = rig.get(&format!("/v1/poll?wait=0&topics={}", topics.join(",")), "x+job/*", None).await;
    let answer: Value = document(&mut client).await;
    let events = answer["events"].as_array().unwrap();
    let with_items = events.iter().filter(|event| event["data"]["first"].is_array()).count();
    assert_eq!((events.len(), with_items), (12, 10));
    assert!(events.iter().all(|event| event["data"]["items"] == 55));
}
