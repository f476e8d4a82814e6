//! WebSockets about one job: in an app's own words, and in ours.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tidings::job::{JobSettings, JobState, NewJob};
use tidings::{Form, FormNode, Limits};
use tidings_transports::StreamSettings;
use tidings_transports::stream::{Dialect, Heard};

use crate::common::Driver;
use crate::common::websocket::{BINARY, CLOSE, FIN, Frame, PING, PONG, TEXT, WebSocket, masked};
use crate::rig::{Rig, Setup, Work};

pub const DRIVERS: [Driver; 2] = [Driver::Lanes, Driver::Carried];

fn form(members: &[(&str, &str)]) -> Form {
    let members = members.iter().map(|(name, text)| ((*name).to_owned(), FormNode::Text((*text).to_owned())));
    Form::new(&FormNode::Object(members.collect()), &Default::default(), &[]).unwrap()
}

pub fn dialect() -> Dialect {
    let ack = form(&[("type", "ready_ack"), ("jobId", "{data.id}")]);
    let hears = [
        ("ready", Heard { answer: Some(ack), begins: true, cancels: false }),
        ("cancel", Heard { cancels: true, ..Heard::default() }),
    ];
    let close = |code, reason: &str| (code, reason.to_owned());
    let closes = [
        ("job.completed", close(1000, "Job completed")),
        ("job.failed", close(4400, "Job failed")),
        ("job.canceled", close(1000, "Job cancelled by client request")),
    ];
    Dialect {
        member: "type".into(),
        job: Some("jobId".into()),
        hears: hears.into_iter().map(|(word, heard)| (word.to_owned(), heard)).collect(),
        waits: Some(Duration::from_secs(3)),
        strict: false,
        closes: closes.into_iter().map(|(name, close)| (name.to_owned(), close)).collect::<BTreeMap<_, _>>(),
    }
}

async fn start(driver: Driver) -> Rig {
    Rig::with(driver, Setup { dialect: dialect(), ..Setup::default() }).await
}

pub async fn open(rig: &Rig, work: &Work) -> WebSocket {
    rig.websocket(&format!("/ws?jobId={}", work.id), "u1").await
}

/// A lane has it, and says nothing yet.
pub async fn is_held(socket: &mut WebSocket) {
    socket.client.send(&masked(FIN | PING, b"there?")).await;
    assert_eq!(socket.frame().await.unwrap(), Frame { opcode: PONG, payload: b"there?".to_vec() });
}

/// Says that it is ready and reads that this was heard.
pub async fn ready(socket: &mut WebSocket, work: &Work) {
    socket.tell(json!({"type": "ready"})).await;
    assert_eq!(socket.next().await.unwrap(), json!({"type": "ready_ack", "jobId": work.id.to_string()}));
}

/// The state of the job in the next message.
async fn state(socket: &mut WebSocket) -> String {
    let message = socket.next().await.unwrap_or_else(|| panic!("it ended: {:?}", socket.closed));
    message["state"].as_str().unwrap_or_else(|| panic!("the data of an event alone: {message}")).to_owned()
}

#[tokio::test]
async fn nothing_but_the_apps_messages_is_said_and_the_end_closes_as_the_app_has_it() {
    for driver in DRIVERS {
        for end in ["completed", "failed", "canceled"] {
            let rig = start(driver).await;
            let work = rig.work("import").await;
            let mut socket = open(&rig, &work).await;
            ready(&mut socket, &work).await;
            assert_eq!(state(&mut socket).await, "running");
            work.progress(3);
            assert_eq!(socket.next().await.unwrap()["progress"]["done"], 3);
            match end {
                "completed" => work.complete().await,
                "failed" => work.fail(false).await,
                _ => {
                    rig.jobs.cancel(&work.id, Duration::ZERO).await.unwrap();
                    assert_eq!(socket.next().await.unwrap()["canceling"], true);
                    work.finish(tidings::job::Outcome::Canceled(None)).await;
                }
            }
            assert_eq!(state(&mut socket).await, end);
            assert_eq!(socket.text().await, None, "nothing after the end");
            let expected = dialect().closes[&format!("job.{end}")].clone();
            assert_eq!(socket.closed.clone().unwrap(), expected, "{driver:?}");
            drop(socket);
            rig.is_left_alone().await;
        }
    }
}

#[tokio::test]
async fn whoever_comes_after_the_end_is_told_it_and_why_it_is_over() {
    for driver in DRIVERS {
        for held_ends_bytes in [64 << 20, 10] {
            let jobs = JobSettings { held_ends_bytes, ..JobSettings::default() };
            let rig = Rig::with(driver, Setup { dialect: dialect(), jobs, ..Setup::default() }).await;
            let work = rig.work("import").await;
            work.fail(false).await;
            for is_ready in [true, false] {
                let mut socket = open(&rig, &work).await;
                if is_ready {
                    ready(&mut socket, &work).await;
                } else {
                    is_held(&mut socket).await;
                    rig.clock.advance(Duration::from_secs(4));
                }
                assert_eq!(state(&mut socket).await, "failed", "{driver:?} {held_ends_bytes}");
                assert_eq!(socket.close_code().await, 4400);
            }
        }
    }
}

#[tokio::test]
async fn an_end_that_comes_while_the_client_is_waited_for_is_told_when_it_is_ready() {
    for driver in DRIVERS {
        for held_ends_bytes in [64 << 20, 10] {
            let jobs = JobSettings { held_ends_bytes, ..JobSettings::default() };
            let rig = Rig::with(driver, Setup { dialect: dialect(), jobs, ..Setup::default() }).await;
            let work = rig.work("import").await;
            let (mut soon, mut never) = (open(&rig, &work).await, open(&rig, &work).await);
            is_held(&mut never).await;
            work.complete().await;
            soon.tell(json!({"type": "ready"})).await;
            assert_eq!(soon.next().await.unwrap()["type"], "ready_ack");
            assert_eq!(state(&mut soon).await, "completed", "{driver:?} {held_ends_bytes}");
            rig.clock.advance(Duration::from_secs(4));
            assert_eq!(state(&mut never).await, "completed", "{driver:?} {held_ends_bytes}");
            for mut socket in [soon, never] {
                assert_eq!(socket.close_code().await, 1000);
                assert_eq!(socket.closed.unwrap().1, "Job completed");
            }
        }
    }
}

#[tokio::test]
async fn a_client_that_never_says_it_is_ready_is_told_after_a_while() {
    for driver in DRIVERS {
        let rig = start(driver).await;
        let work = rig.work("import").await;
        let mut socket = open(&rig, &work).await;
        is_held(&mut socket).await;
        rig.clock.advance(Duration::from_millis(3_300));
        assert_eq!(state(&mut socket).await, "running", "{driver:?}");
        ready(&mut socket, &work).await;
        work.progress(1);
        assert_eq!(socket.next().await.unwrap()["progress"]["done"], 1, "it is not told the state again");
    }
}

#[tokio::test]
async fn to_be_ready_twice_is_answered_twice_and_tells_nothing_twice() {
    let rig = start(Driver::Lanes).await;
    let work = rig.work("import").await;
    let mut socket = open(&rig, &work).await;
    ready(&mut socket, &work).await;
    assert_eq!(state(&mut socket).await, "running");
    ready(&mut socket, &work).await;
    work.complete().await;
    assert_eq!(state(&mut socket).await, "completed");
}

#[tokio::test]
async fn without_waiting_it_begins_at_once() {
    for driver in DRIVERS {
        let setup = Setup { dialect: Dialect { waits: None, ..dialect() }, ..Setup::default() };
        let rig = Rig::with(driver, setup).await;
        let work = rig.work("import").await;
        let mut socket = open(&rig, &work).await;
        assert_eq!(state(&mut socket).await, "running", "{driver:?}");
        work.complete().await;
        assert_eq!(state(&mut socket).await, "completed");
        let mut late = open(&rig, &work).await;
        assert_eq!(state(&mut late).await, "completed");
        assert_eq!(late.close_code().await, 1000);
    }
}

#[tokio::test]
async fn silence_is_broken_by_pings_alone() {
    let stream = StreamSettings { heartbeat_every: Duration::from_secs(10), ..StreamSettings::default() };
    let rig = Rig::with(Driver::Lanes, Setup { dialect: dialect(), stream, ..Setup::default() }).await;
    let work = rig.work("import").await;
    let mut socket = open(&rig, &work).await;
    ready(&mut socket, &work).await;
    assert_eq!(state(&mut socket).await, "running");
    work.release().await;
    assert_eq!(state(&mut socket).await, "queued");
    // Far beyond when a stream of ours would be told its place.
    for _ in 0..10 {
        rig.hub.publish(vec![crate::common::event("other", "all", 1)]).await.unwrap();
        rig.clock.advance(Duration::from_secs(11));
        let frame = socket.frame().await.unwrap();
        assert_eq!(frame.opcode, PING, "{:?}", String::from_utf8_lossy(&frame.payload));
        socket.client.send(&masked(FIN | PONG, b"")).await;
        // It is heard before the next is due.
        ready(&mut socket, &work).await;
    }
}

#[tokio::test]
async fn a_cancel_is_heard_before_the_client_is_ready_and_after() {
    for driver in DRIVERS {
        for first in [true, false] {
            let rig = start(driver).await;
            let work = rig.work("import").await;
            let mut socket = open(&rig, &work).await;
            if !first {
                ready(&mut socket, &work).await;
                assert_eq!(state(&mut socket).await, "running");
            }
            socket.tell(json!({"type": "cancel"})).await;
            // What is said while that is asked for is heard after it.
            socket.tell(json!({"type": "ready"})).await;
            let mut heard = Vec::new();
            while heard.len() < 2 {
                let message = socket.next().await.unwrap();
                if message["canceling"] == true || message["type"] == "ready_ack" {
                    heard.push(message);
                }
            }
            assert!(rig.jobs.get(&work.id).await.unwrap().unwrap().canceling.is_some(), "{driver:?}");
            work.finish(tidings::job::Outcome::Canceled(None)).await;
            assert_eq!(state(&mut socket).await, "canceled");
            assert_eq!(socket.close_code().await, 1000);
        }
    }
}

#[tokio::test]
async fn what_is_said_of_another_job_is_passed_over() {
    for driver in DRIVERS {
        let rig = start(driver).await;
        let (work, other) = (rig.work("import").await, rig.work("import").await);
        let mut socket = open(&rig, &work).await;
        for named in [json!(other.id), json!(7), json!({"id": work.id})] {
            socket.tell(json!({"type": "ready", "jobId": named})).await;
            socket.tell(json!({"type": "cancel", "jobId": named})).await;
        }
        socket.tell(json!({"type": "ready", "jobId": null})).await;
        assert_eq!(socket.next().await.unwrap(), json!({"type": "ready_ack", "jobId": work.id}), "{driver:?}");
        assert_eq!(state(&mut socket).await, "running", "{driver:?}");
        for id in [&work.id, &other.id] {
            assert!(rig.jobs.get(id).await.unwrap().unwrap().canceling.is_none(), "{driver:?}");
        }
        socket.tell(json!({"type": "cancel", "jobId": work.id})).await;
        assert_eq!(socket.next().await.unwrap()["canceling"], true, "{driver:?}");
    }
}

#[tokio::test]
async fn who_may_only_watch_does_not_cancel() {
    let rig = start(Driver::Lanes).await;
    let new = NewJob { audience: vec!["team/a".parse().unwrap()], kind: "import".into(), ..NewJob::default() };
    let id = rig.make_new(new).await.id;
    let token = rig.token(&id).await;
    // By a grant of the audience, and by no more than the id where that is enough to watch.
    for (path, who) in [("/ws", "x+team/a"), ("/ws/open", "u2"), ("/ws/open", "nobody")] {
        let mut socket = rig.websocket(&format!("{path}?jobId={id}"), who).await;
        socket.tell(json!({"type": "cancel"})).await;
        socket.tell(json!({"type": "ready"})).await;
        assert_eq!(socket.next().await.unwrap()["type"], "ready_ack", "it is passed over: {who}");
        assert_eq!(state(&mut socket).await, "queued", "{path} {who}");
        assert_eq!(rig.jobs.get(&id).await.unwrap().unwrap().state, JobState::Queued, "{path} {who}");
    }
    let mut socket = rig.websocket(&format!("/ws/open?jobId={id}"), &token).await;
    socket.tell(json!({"type": "cancel"})).await;
    socket.tell(json!({"type": "ready"})).await;
    assert_eq!(socket.next().await.unwrap()["type"], "ready_ack");
    assert_eq!(state(&mut socket).await, "canceled", "whoever holds the job's token does");
}

#[tokio::test]
async fn what_is_not_understood_is_passed_over() {
    for driver in DRIVERS {
        let rig = start(driver).await;
        let work = rig.work("import").await;
        let mut socket = open(&rig, &work).await;
        let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
        for said in
            ["", "{", "[]", "null", r#"{"type":7}"#, r#"{"type":"subscribe","topics":["**"]}"#, r#"{"ready":1}"#, &deep]
        {
            socket.say(said).await;
        }
        ready(&mut socket, &work).await;
        assert_eq!(state(&mut socket).await, "running", "{driver:?}");
        socket.client.send(&masked(FIN | BINARY, b"x")).await;
        assert_eq!(socket.close_code().await, 1003);
    }
}

#[tokio::test]
async fn where_it_is_strict_what_is_not_understood_ends_it() {
    for said in ["", "{", r#"{"type":"reddy"}"#, r#"{"type":"ready""#] {
        let setup = Setup { dialect: Dialect { strict: true, ..dialect() }, ..Setup::default() };
        let rig = Rig::with(Driver::Lanes, setup).await;
        let work = rig.work("import").await;
        let mut socket = open(&rig, &work).await;
        ready(&mut socket, &work).await;
        socket.say(said).await;
        assert_eq!(socket.close_code().await, 1002, "{said:?}");
        drop(socket);
        rig.is_left_alone().await;
    }
}

#[tokio::test]
async fn whoever_says_too_much_is_sent_away() {
    let limits = Limits { messages_per_second: 10, ..Limits::default() };
    let rig = Rig::with(Driver::Lanes, Setup { dialect: dialect(), limits, ..Setup::default() }).await;
    let work = rig.work("import").await;
    let mut socket = open(&rig, &work).await;
    for _ in 0..30 {
        drop(socket.client.try_send(&masked(FIN | TEXT, br#"{"type":"ready"}"#)).await);
    }
    assert_eq!(socket.close_code().await, 1008);
}

#[tokio::test]
async fn a_client_that_closes_by_itself_after_the_end_is_answered() {
    for driver in DRIVERS {
        let setup = Setup { dialect: dialect(), lingers: Duration::from_secs(1), ..Setup::default() };
        let rig = Rig::with(driver, setup).await;
        let work = rig.work("import").await;
        let (mut first, mut second) = (open(&rig, &work).await, open(&rig, &work).await);
        for socket in [&mut first, &mut second] {
            ready(socket, &work).await;
            assert_eq!(state(socket).await, "running");
        }
        work.complete().await;
        for socket in [&mut first, &mut second] {
            assert_eq!(state(socket).await, "completed");
        }
        // Others may still speak of the topic; of the job nothing comes any more.
        let grant = format!("job/{}", work.id);
        rig.hub.publish(vec![crate::common::event(&grant, &grant, 7)]).await.unwrap();
        // A cancel now is too late and hurts nobody, and nothing is answered after the end.
        first.tell(json!({"type": "cancel"})).await;
        first.tell(json!({"type": "ready"})).await;
        first.client.send(&masked(FIN | CLOSE, &1000u16.to_be_bytes())).await;
        assert_eq!(first.text().await, None);
        assert_eq!(first.closed, Some((1000, String::new())), "{driver:?}: its own code, and no reason of ours");
        rig.clock.advance(Duration::from_millis(1_300));
        assert_eq!(second.text().await, None);
        assert_eq!(second.closed, Some((1000, "Job completed".into())), "{driver:?}");
        drop((first, second));
        rig.is_left_alone().await;
    }
}

#[tokio::test]
async fn only_who_may_watch_is_let_in() {
    let rig = start(Driver::Lanes).await;
    let work = rig.work("import").await;
    let other = rig.make("import").await;
    let (own, foreign) = (rig.token(&work.id).await, rig.token(&other).await);
    let target = format!("/ws?jobId={}", work.id);
    for (target, who, status) in [
        (&*target, "u2", 404),
        (&target, "nobody", 401),
        (&target, "", 401),
        (&target, &foreign, 401),
        ("/ws?jobId=nope", "op", 404),
        ("/ws", "op", 400),
        (&target, &own, 101),
    ] {
        assert_eq!(rig.upgrade(target, who).await.status, status, "{target} {who}");
    }
    let plain = rig.get(&target, "u1", None).await;
    assert_eq!(plain.status, 426);
}

#[tokio::test]
async fn a_credential_that_is_revoked_or_runs_out_ends_it_with_1008_and_a_stop_with_1001() {
    let rig = start(Driver::Lanes).await;
    let work = rig.work("import").await;
    let mut expired = rig.websocket(&format!("/ws?jobId={}", work.id), "op~1005000").await;
    let mut stopped = open(&rig, &work).await;
    ready(&mut stopped, &work).await;
    ready(&mut expired, &work).await;
    rig.clock.advance(Duration::from_secs(6));
    assert_eq!(expired.close_code().await, 1008);
    rig.hub.drain();
    rig.clock.advance(Duration::from_secs(1));
    assert_eq!(stopped.close_code().await, 1001);
}

#[tokio::test]
async fn in_our_own_words_it_ends_as_well() {
    for driver in DRIVERS {
        for held_ends_bytes in [64 << 20, 10] {
            let jobs = JobSettings { held_ends_bytes, ..JobSettings::default() };
            let rig = Rig::with(driver, Setup { jobs, ..Setup::default() }).await;
            let work = rig.work("import").await;
            let target = format!("/ws/ours?jobId={}", work.id);
            let mut socket = rig.websocket(&target, "u1").await;
            let mut heard = Vec::new();
            while heard.last() != Some(&json!("job.running")) {
                heard.push(socket.hear().await["name"].clone());
            }
            // Nothing else is heard there.
            socket.tell(json!({"type": "subscribe", "id": "x", "topics": ["**"]})).await;
            assert_eq!(socket.hear().await["type"], "error");
            work.complete().await;
            for mut socket in [socket, rig.websocket(&target, "u1").await] {
                let mut ends = 0;
                loop {
                    let message: Value = socket.hear().await;
                    ends += usize::from(message["name"] == "job.completed");
                    if message["type"] == "close" {
                        assert_eq!(message["code"], 4007, "{driver:?} {message}");
                        break;
                    }
                }
                assert_eq!((ends, socket.close_code().await), (1, 4007), "{driver:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_connection_that_asks_for_the_topic_is_given_the_state_and_does_not_end_with_it() {
    for held_ends_bytes in [64 << 20, 10] {
        let jobs = JobSettings { held_ends_bytes, ..JobSettings::default() };
        let rig = Rig::with(Driver::Lanes, Setup { jobs, ..Setup::default() }).await;
        let work = rig.work("import").await;
        work.complete().await;
        let topic = format!("job/{}", work.id);
        let mut socket = rig.websocket("/v1/ws", &format!("x+{topic}")).await;
        socket.tell(json!({"type": "subscribe", "id": "s", "topics": [topic]})).await;
        socket.tell(json!({"type": "ping", "id": "p"})).await;
        let mut names = Vec::new();
        loop {
            let message = socket.hear().await;
            match message["type"].as_str().unwrap() {
                "pong" => break,
                "retained" => names.push(message["name"].as_str().unwrap().to_owned()),
                _ => {}
            }
        }
        assert_eq!(names, ["job.completed"], "{held_ends_bytes}");
    }
}
