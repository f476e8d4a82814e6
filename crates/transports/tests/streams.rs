//! What a stream promises, whoever drives it: a lane that took its socket over, or the body of a response.

mod common;

use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body;
use common::{Driver, Options, Server, event};
use http_body_util::BodyExt;
use tidings::{Clock, CloseReason, Form, FormNode, Limits, Revocation};
use tidings_brokers::retention::Retention;
use tidings_transports::{Heartbeat, IdleEnd, StreamSettings};
use tokio::sync::mpsc;
use tower::ServiceExt;

const BOTH: [Driver; 2] = [Driver::Lanes, Driver::Bodies];

macro_rules! on_both {
    ($($(#[$meta:meta])* async fn $name:ident($driver:ident) $body:block)*) => {$(
        $(#[$meta])*
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            for $driver in BOTH {
                $body
            }
        }
    )*};
}

on_both! {
    async fn events_arrive_in_order_with_their_cursors(driver) {
        let server = Server::start(driver, Options::default()).await;
        let mut client = server.listen("topic=t", "u+all", None).await;
        let mut cursors = Vec::new();
        for n in 0..50 {
            cursors.push(server.publish("t", "all", n).await);
        }
        for (n, cursor) in (0..50).zip(cursors) {
            let event = client.next().await.unwrap();
            assert_eq!((event.name.as_str(), event.data, event.id), ("n", n.to_string(), cursor));
        }
    }

    async fn nobody_is_given_what_they_may_not_see_or_did_not_ask_for(driver) {
        let server = Server::start(driver, Options::default()).await;
        let mut one = server.listen("topic=a/*", "one+red", None).await;
        let mut two = server.listen("", "two+blue+red/x", None).await;
        server.publish("a/1", "red", 1).await;
        server.publish("a/1", "blue", 2).await;
        server.publish("b/1", "red", 3).await;
        server.publish("b/1", "blue", 4).await;
        server.publish("a/2", "red", 5).await;
        server.publish("end", "red/x", 6).await;
        assert_eq!(one.numbers(2).await, [1, 5]);
        assert_eq!(two.numbers(3).await, [2, 4, 6]);
    }

    async fn resuming_is_live_with_what_was_missed_before(driver) {
        let server = Server::start(driver, Options::default()).await;
        let mut client = server.listen("", "u+all", None).await;
        server.publish("t", "all", 1).await;
        let last = client.next().await.unwrap().id;
        drop(client);
        for n in 2..300 {
            server.publish("t", if n % 3 == 0 { "others" } else { "all" }, n).await;
        }
        let mut client = server.listen("", "u+all", Some(&last)).await;
        server.publish("t", "all", 300).await;
        let expected: Vec<u64> = (2..300).filter(|n| n % 3 != 0).chain([300]).collect();
        assert_eq!(client.numbers(expected.len()).await, expected);
    }

    async fn resuming_behind_the_window_reads_the_log(driver) {
        let limits = Limits { window_events: 8, page_events: 5, write_bytes: 64, ..Options::default().limits };
        let server = Server::start(driver, Options { limits, ..Options::default() }).await;
        let first = server.publish("t", "all", 0).await;
        for n in 1..100 {
            server.publish(if n % 2 == 0 { "t" } else { "u" }, "all", n).await;
        }
        let mut every = server.listen("", "u+all", Some(&first)).await;
        let mut named = server.listen("topic=t", "u+all", Some(&first)).await;
        server.publish("t", "all", 100).await;
        assert_eq!(every.numbers(100).await, (1..=100).collect::<Vec<_>>());
        assert_eq!(named.numbers(50).await, (2..=100).step_by(2).collect::<Vec<_>>());
    }

    async fn a_cursor_that_was_never_ours_is_told_as_a_gap(driver) {
        let server = Server::start(driver, Options::default()).await;
        server.publish("t", "all", 1).await;
        for (id, reason) in [("1768600000000-progress", "unknown"), ("00000000-1", "other-epoch"), ("%00", "unknown")] {
            let mut client = server.listen("", "u+all", Some(id)).await;
            let gap = client.next().await.unwrap();
            assert_eq!(gap.name, "tidings.gap");
            assert!(gap.data.contains(&format!("\"reason\":\"{reason}\"")), "{}", gap.data);
            assert_eq!(gap.id, client.open, "the gap tells where it goes on");
        }
        let open = server.listen("", "u+all", None).await.open;
        let ahead = open.replace("-1", "-99");
        let mut client = server.listen("", "u+all", Some(&ahead)).await;
        assert!(client.next().await.unwrap().data.contains("\"ahead\""));
    }

    async fn a_gap_is_told_before_the_position(driver) {
        // Cut off between the two, a client that was told its position first would resume behind a gap it never saw.
        let server = Server::start(driver, Options::default()).await;
        let mut client = server.request("", "u+all", Some("foreign")).await;
        assert_eq!(client.next().await.unwrap().name, "tidings.gap");
        assert_eq!(client.next().await.unwrap().name, "tidings.open");
    }

    async fn a_trimmed_place_is_told_as_a_gap_and_the_rest_follows(driver) {
        let retention = Retention { events: Some(10), ..Retention::FOREVER };
        let limits = Limits { window_events: 4, ..Options::default().limits };
        let server = Server::start(driver, Options { retention, limits, ..Options::default() }).await;
        let first = server.publish("t", "all", 0).await;
        for n in 1..=100 {
            server.publish("t", "all", n).await;
        }
        let mut client = server.listen("", "u+all", Some(&first)).await;
        let gap = client.next().await.unwrap();
        assert_eq!(gap.name, "tidings.gap");
        assert!(gap.data.contains("\"trimmed\""), "{}", gap.data);
        let next = client.numbers(1).await[0];
        assert!(next > 80, "it goes on with the oldest that is kept: {next}");
        let rest: Vec<u64> = (next + 1..=100).collect();
        assert_eq!(client.numbers(rest.len()).await, rest);
    }

    async fn a_client_that_saw_nothing_yet_resumes_from_where_it_opened(driver) {
        let server = Server::start(driver, Options::default()).await;
        server.publish("t", "all", 1).await;
        let open = server.listen("", "u+all", None).await.open;
        server.publish("t", "all", 2).await;
        assert_eq!(server.listen("", "u+all", Some(&open)).await.numbers(1).await, [2]);
        assert_eq!(server.listen("last_event_id=earliest", "u+all", None).await.numbers(2).await, [1, 2]);
        let stale = format!("lastEventId={}", open.replace("-1", "-0"));
        assert_eq!(server.listen(&stale, "u+all", Some(&open)).await.numbers(1).await, [2], "the header wins");
        assert_eq!(server.listen(&stale, "u+all", None).await.numbers(2).await, [1, 2]);
    }

    async fn a_slow_reader_loses_nothing_and_holds_up_nobody(driver) {
        let limits = Limits { window_events: 512, write_stall: Duration::from_secs(600), ..Options::default().limits };
        let server = Server::start(driver, Options { limits, ..Options::default() }).await;
        let mut slow = server.listen("", "slow+all", None).await;
        let mut quick = server.listen("", "quick+all", None).await;
        let padding = "x".repeat(4096);
        // Far more than the sockets between the two hold: the slow one has to be left behind.
        for first in (0u64..4000).step_by(100) {
            let events = (first..first + 100).map(|n| {
                let mut event = event("t", "all", n);
                event.data = format!("{n:>5}{padding}").into_bytes().iter().map(|b| if *b == b'x' { b' ' } else { *b }).collect();
                event
            });
            server.publish_all(events).await;
            let numbers: Vec<u64> = (first..first + 100).collect();
            let mut got = Vec::new();
            while got.len() < 100 {
                got.push(quick.next().await.unwrap().data.trim().parse::<u64>().unwrap());
            }
            assert_eq!(got, numbers);
        }
        if driver == Driver::Lanes {
            assert!(server.service.counters().behind.load(Ordering::Relaxed) > 0, "it was not slow enough to show anything");
        }
        for n in 0..4000u64 {
            assert_eq!(slow.next().await.unwrap().data.trim().parse::<u64>().unwrap(), n);
        }
    }

    async fn an_expired_credential_ends_its_stream_with_a_reason(driver) {
        let server = Server::start(driver, Options::default()).await;
        let mut client = server.listen("", "u+all~1005000", None).await;
        let mut other = server.listen("", "v+all~9005000", None).await;
        server.publish("t", "all", 1).await;
        assert_eq!(client.numbers(1).await, [1]);
        server.clock.advance(Duration::from_secs(6));
        if driver == Driver::Bodies {
            // Its timer runs on the real clock; an event makes it look.
            server.publish("t", "all", 2).await;
        }
        let close = client.next().await.unwrap();
        assert_eq!(close.name, "tidings.close");
        assert!(close.data.contains("\"expired\"") && close.data.contains("\"reconnect\":false"), "{}", close.data);
        assert_eq!(client.next().await, None);
        server.publish("t", "all", 3).await;
        assert_eq!(*other.numbers(if driver == Driver::Bodies { 3 } else { 2 }).await.last().unwrap(), 3);
    }

    async fn a_revocation_ends_just_the_streams_it_names(driver) {
        let server = Server::start(driver, Options::default()).await;
        let mut out = server.listen("", "bad+all", None).await;
        let mut stays = server.listen("", "good+all", None).await;
        server.hub.close(&Revocation::principal("bad"), CloseReason::Revoked);
        let close = out.next().await.unwrap();
        assert!(close.data.contains("\"revoked\""), "{}", close.data);
        assert_eq!(out.next().await, None);
        server.publish("t", "all", 1).await;
        assert_eq!(stays.numbers(1).await, [1]);
    }

    async fn what_is_announced_once_the_streams_have_settled_is_not_told_to_who_was_revoked_before(driver) {
        let server = Server::start(driver, Options::default()).await;
        for round in 0..50 {
            let mut out = Vec::new();
            for _ in 0..8 {
                out.push(server.listen("", &format!("bad{round}+all"), None).await);
            }
            server.hub.close(&Revocation::principal(format!("bad{round}")), CloseReason::Revoked);
            server.service.settle().await;
            server.publish("t", "all", round).await;
            for mut client in out {
                assert_eq!(client.next().await.unwrap().name, "tidings.close", "round {round}");
                assert_eq!(client.next().await, None);
            }
        }
    }

    async fn a_drain_ends_every_stream_with_when_to_come_back(driver) {
        let server = Server::start(driver, Options::default()).await;
        let mut clients = Vec::new();
        for n in 0..10 {
            clients.push(server.listen("", &format!("u{n}+all"), None).await);
        }
        server.hub.drain();
        server.until("no stream is open", |server| {
            server.clock.advance(Duration::from_millis(50));
            server.service.open_streams() == 0
        })
        .await;
        for mut client in clients {
            let mut text = String::new();
            while let Some(block) = client.block().await {
                text.push_str(&block);
                text.push('\n');
            }
            assert!(text.contains("retry: ") && text.contains("\"draining\"") && text.contains("\"reconnect\":true"), "{text}");
        }
    }

    async fn a_mount_that_tells_no_place_and_no_retry_takes_no_place_and_ends_without_a_word(driver) {
        let heartbeat_every = Duration::from_secs(1 << 30);
        let settings = StreamSettings { ids: false, announce: false, retry: None, heartbeat_every, ..StreamSettings::default() };
        let limits = Limits { drain_window: Duration::from_millis(50), ..Options::default().limits };
        let server = Server::start(driver, Options { settings, limits, ..Options::default() }).await;
        let mut client = server.request("", "u+all", Some("of-an-app-s-own")).await;
        assert_eq!(client.block().await.as_deref(), Some(":"), "no gap");
        server.hub.drain();
        server.until("no stream is open", |server| {
            server.clock.advance(Duration::from_millis(20));
            server.service.open_streams() == 0
        })
        .await;
        assert_eq!(client.block().await, None);
    }

    async fn the_head_says_when_it_was_written(driver) {
        let server = Server::start(driver, Options::default()).await;
        let client = server.listen("", "u+all", None).await;
        let dates: Vec<_> = client.head.lines().filter(|line| line.starts_with("date: ")).collect();
        // Hyper, which writes the other heads, reads the machine's clock.
        assert!(dates.len() == 1 && (driver == Driver::Bodies || dates == ["date: thu, 01 jan 1970 00:16:40 gmt"]), "{dates:?}");
    }

    async fn what_went_away_is_forgotten(driver) {
        let server = Server::start(driver, Options::default()).await;
        let client = server.listen("", "u+all", None).await;
        server.until("it is open", |server| server.service.open_streams() == 1).await;
        drop(client);
        if driver == Driver::Bodies {
            server.publish("t", "all", 1).await;
            server.publish("t", "all", 2).await;
        }
        server.until("it is forgotten", |server| server.service.open_streams() == 0).await;
        server.until("its socket is, too", |server| server.service.limiter.open() == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quiet_stream_beats_and_is_told_where_it_stands() {
    let settings = StreamSettings {
        heartbeat: Heartbeat::Event { name: "heartbeat".into(), data: "{}".into() },
        heartbeat_every: Duration::from_secs(30),
        cursor_every: Duration::from_secs(60),
        ..StreamSettings::default()
    };
    let server = Server::start(Driver::Lanes, Options { settings, ..Options::default() }).await;
    let mut client = server.listen("topic=quiet", "u+all", None).await;
    let elsewhere = server.publish("busy", "all", 1).await;
    server.clock.advance(Duration::from_secs(31));
    assert_eq!(client.block().await.unwrap(), "event: heartbeat\ndata: {}", "a heartbeat has no id");
    server.clock.advance(Duration::from_secs(31));
    assert_eq!(client.block().await.unwrap(), "event: heartbeat\ndata: {}");
    let cursor = client.next().await.unwrap();
    assert_eq!((cursor.name.as_str(), &cursor.id), ("tidings.cursor", &elsewhere));
    server.clock.advance(Duration::from_secs(31));
    assert_eq!(client.block().await.unwrap(), "event: heartbeat\ndata: {}");
    server.publish("quiet", "all", 2).await;
    assert_eq!(client.numbers(1).await, [2], "the position was not told a second time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heartbeat_may_come_on_a_stream_that_is_never_silent() {
    let heartbeat_every = Duration::from_secs(30);
    let settings = StreamSettings { beats_always: true, heartbeat_every, ..StreamSettings::default() };
    let server = Server::start(Driver::Lanes, Options { settings, ..Options::default() }).await;
    let mut client = server.listen("", "u+all", None).await;
    let (mut beats, mut n) = (0, 0);
    while beats < 3 {
        n += 1;
        assert!(n < 15, "{beats} in {n}0 s");
        server.clock.advance(Duration::from_secs(10));
        server.publish("t", "all", n).await;
        loop {
            let block = client.block().await.unwrap();
            match block.as_str() {
                ": heartbeat" => beats += 1,
                event if event.contains(&format!("data: {n}")) => break,
                other => assert!(other.contains("tidings.cursor"), "{other}"),
            }
        }
    }
    assert!(n > 6, "{beats} in {n}0 s");
}

/// The blocks of a response, read as they come and without a socket: time that stands still does not wait for one.
async fn blocks(server: &Server) -> mpsc::UnboundedReceiver<String> {
    let request = http::Request::get("/v1/events").header("host", "x").header("authorization", "Bearer u+all");
    let response = server.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), 200);
    let (told, heard) = mpsc::unbounded_channel();
    let mut body = response.into_body();
    tokio::spawn(async move {
        let mut text = String::new();
        while let Some(Ok(frame)) = body.frame().await {
            text.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap());
            while let Some((block, rest)) = text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                text = rest;
                if told.send(block).is_err() {
                    return;
                }
            }
        }
    });
    heard
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_may_come_on_a_response_that_is_never_silent() {
    let heartbeat_every = Duration::from_secs(30);
    for (beats_always, expected) in [(true, 3), (false, 0)] {
        let settings = StreamSettings { beats_always, heartbeat_every, ..StreamSettings::default() };
        let server = Server::start(Driver::Bodies, Options { settings, ..Options::default() }).await;
        let mut heard = blocks(&server).await;
        while !heard.recv().await.unwrap().starts_with("event: tidings.open") {}
        let mut beats = 0;
        for n in 0..11 {
            tokio::time::sleep(Duration::from_secs(9)).await;
            server.publish("t", "all", n).await;
            loop {
                let block = heard.recv().await.unwrap();
                match block.as_str() {
                    ": heartbeat" => beats += 1,
                    event if event.contains(&format!("data: {n}")) => break,
                    other => assert!(other.contains("tidings.cursor"), "{other}"),
                }
            }
        }
        assert_eq!(beats, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heartbeat_may_tell_the_time() {
    let tree = FormNode::Object(vec![("timestamp".into(), FormNode::Text("{time}".into()))]);
    let form = Form::new(&tree, &Default::default(), &[]).unwrap();
    let settings = StreamSettings {
        heartbeat: Heartbeat::Form { name: "ping".into(), form },
        heartbeat_every: Duration::from_secs(30),
        ..StreamSettings::default()
    };
    let server = Server::start(Driver::Lanes, Options { settings, ..Options::default() }).await;
    let mut client = server.listen("", "u+all", None).await;
    for _ in 0..2 {
        server.clock.advance(Duration::from_secs(31));
        let now = server.clock.now().0;
        assert_eq!(client.block().await.unwrap(), format!("event: ping\ndata: {{\"timestamp\":{now}}}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_without_updates_ends_and_heartbeats_do_not_count() {
    let settings = StreamSettings {
        heartbeat_every: Duration::from_secs(30),
        idle: Some(IdleEnd {
            after: Duration::from_secs(100),
            event: Some(("timeout".into(), "{\"e\":1}".into())),
            form: None,
        }),
        ..StreamSettings::default()
    };
    let server = Server::start(Driver::Lanes, Options { settings, ..Options::default() }).await;
    let mut client = server.listen("", "u+all", None).await;
    for _ in 0..3 {
        server.clock.advance(Duration::from_secs(31));
        assert_eq!(client.block().await.unwrap(), ": heartbeat");
    }
    server.clock.advance(Duration::from_secs(31));
    assert_eq!(client.next().await.unwrap().name, "timeout");
    assert!(client.next().await.unwrap().data.contains("\"idle\""));
    assert_eq!(client.next().await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_is_taken_over_wherever_its_request_stands() {
    let server = Server::start(Driver::Lanes, Options::default()).await;
    let stream = "GET /v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer u+all\r\n\r\n";
    let plain = "GET /plain HTTP/1.1\r\nhost: x\r\n\r\n";
    // Two in one segment: both answers, in order.
    let mut client = server.raw(format!("{plain}{stream}").as_bytes()).await;
    assert!(client.head.contains("content-length: 5"), "{}", client.head);
    server.until("the stream is open", |server| server.service.open_streams() == 1).await;
    server.publish("t", "all", 7).await;
    let mut text = String::new();
    while !text.contains("data: 7") {
        text.push_str(&client.block().await.unwrap());
    }
    assert!(text.starts_with("plainHTTP/1.1 200 OK\r\n"), "{text}");
    // A request behind the stream is never answered, and does no harm.
    let mut client = server.raw(format!("{stream}{plain}").as_bytes()).await;
    assert_eq!(client.next().await.unwrap().name, "tidings.open");
    server.publish("t", "all", 8).await;
    assert_eq!(client.numbers(1).await, [8]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_takes_nothing_for_too_long_is_let_go() {
    let limits = Limits { write_stall: Duration::from_secs(60), ..Options::default().limits };
    let server = Server::start(Driver::Lanes, Options { limits, ..Options::default() }).await;
    let client = server.listen("", "u+all", None).await;
    for n in 0..200 {
        let mut event = event("t", "all", n);
        event.data = format!("\"{}\"", "x".repeat(100_000)).into();
        server.publish_all([event]).await;
    }
    server.until("it is behind", |server| server.service.counters().behind.load(Ordering::Relaxed) == 1).await;
    server
        .until("it is let go", |server| {
            // In steps: what the kernel between the two still takes counts as taken.
            server.clock.advance(Duration::from_secs(10));
            server.service.open_streams() == 0
        })
        .await;
    let stalled = CloseReason::ALL.iter().position(|reason| *reason == CloseReason::Stalled).unwrap();
    assert_eq!(server.service.counters().closed[stalled].load(Ordering::Relaxed), 1);
    drop(client);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_can_not_be_let_in_just_now_is_told_when_to_come_back() {
    let server = Server::start(Driver::Lanes, Options::default()).await;
    let asking = |accept: &str| {
        format!("GET /v1/events HTTP/1.1\r\nhost: x\r\n{accept}authorization: Bearer away\r\nconnection: close\r\n\r\n")
    };
    // An EventSource, which asks for a stream by name, would give up for good on a 503.
    let mut page = server.raw(asking("accept: text/event-stream\r\n").as_bytes()).await;
    assert_eq!(page.status, 200);
    let text = page.rest().await;
    assert!(text.starts_with("retry: 7000\n\n") && text.contains("\"unavailable\""), "{text}");
    assert!(
        text.contains("\"message\":\"the app can't be asked at the moment\""),
        "it says what a script is told: {text}"
    );
    for accept in ["", "accept: */*\r\n"] {
        let script = server.raw(asking(accept).as_bytes()).await;
        assert_eq!(script.status, 503);
        assert!(script.head.contains("retry-after: 7"), "{}", script.head);
    }
}
