//! `GET /v1/poll`: the same promises as a stream, one answer at a time.

mod common;

use std::time::Duration;

use common::{Client, Driver, Options, Server, event};
use serde_json::Value;
use tidings::{CloseReason, Limits, NewEvent, Revocation};
use tidings_brokers::retention::Retention;

async fn start(limits: Limits) -> Server {
    Server::start(Driver::Lanes, Options { limits, ..Options::default() }).await
}

/// Asks, and leaves the answer to whoever reads the client.
async fn ask(server: &Server, query: &str, token: &str, more: &str) -> Client {
    let mut client = server.connect().await;
    let request = format!(
        "GET /v1/poll?{query} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\nconnection: close\r\n{more}\r\n"
    );
    client.send(request.as_bytes()).await;
    client
}

async fn poll(server: &Server, query: &str, token: &str) -> Value {
    let mut client = ask(server, query, token, "").await;
    client.read_head().await;
    assert_eq!(client.status, 200, "{}", client.head);
    assert!(client.head.contains("cache-control: no-store"), "{}", client.head);
    serde_json::from_str(&client.rest().await).unwrap()
}

fn numbers(answer: &Value) -> Vec<u64> {
    answer["events"].as_array().unwrap().iter().map(|event| event["data"].as_u64().unwrap()).collect()
}

fn cursor(answer: &Value) -> &str {
    answer["cursor"].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poll_that_waits_is_called_one_and_counts_how_long_its_oldest_event_took() {
    let server = start(Limits::default()).await;
    let latency = || server.service.counters().latency.summary(server.hub.clock().ticks());
    let place = cursor(&poll(&server, "", "u+all").await).to_owned();
    server.publish("t", "all", 1).await;
    server.clock.advance(Duration::from_secs(5));
    let old = poll(&server, &format!("cursor={place}"), "u+all").await;
    assert_eq!((numbers(&old), latency()), (vec![1], None), "it waited for its client");
    let mut client = ask(&server, &format!("cursor={}&wait=30", cursor(&old)), "u+all", "").await;
    server.until("it waits", |server| server.hub.subscribers().len() == 1).await;
    assert_eq!(server.service.streams().await[0].transport, "poll");
    server.publish_all([NewEvent { time: server.hub.clock().now(), ..event("t", "all", 2) }]).await;
    client.read_head().await;
    assert!(latency().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_poll_answers_at_once_with_a_place_to_go_on_from() {
    let server = start(Limits::default()).await;
    server.publish("t", "all", 1).await;
    let first = poll(&server, "", "u+all").await;
    assert_eq!(numbers(&first), [0; 0]);
    server.publish("t", "all", 2).await;
    server.publish("t", "others", 3).await;
    server.publish("t", "all", 4).await;
    let next = poll(&server, &format!("cursor={}", cursor(&first)), "u+all").await;
    assert_eq!(numbers(&next), [2, 4]);
    let none = poll(&server, &format!("cursor={}&wait=0", cursor(&next)), "u+all").await;
    assert_eq!((numbers(&none), cursor(&none)), (vec![], cursor(&next)));
    server.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poll_waits_for_what_comes() {
    let server = start(Limits::default()).await;
    let first = poll(&server, "", "u+all").await;
    let mut client = ask(&server, &format!("cursor={}&wait=50", cursor(&first)), "u+all", "").await;
    server.until("it waits", |server| server.hub.subscribers().len() == 1).await;
    server.publish("t", "others", 1).await;
    server.publish("t", "all", 2).await;
    client.read_head().await;
    assert_eq!(numbers(&serde_json::from_str(&client.rest().await).unwrap()), [2]);
    server.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_has_its_bound_and_the_next_goes_on_there() {
    let server = start(Limits { poll_events: 3, window_events: 4, page_events: 2, ..Limits::default() }).await;
    let mut place = cursor(&poll(&server, "", "u+all").await).to_owned();
    for number in 0..10 {
        server.publish("t", "all", number).await;
    }
    let mut got = Vec::new();
    while got.len() < 10 {
        let answer = poll(&server, &format!("cursor={place}&wait=5"), "u+all").await;
        assert!((1..=3).contains(&numbers(&answer).len()), "{answer}");
        got.extend(numbers(&answer));
        place = cursor(&answer).to_owned();
    }
    assert_eq!(got, (0..10).collect::<Vec<_>>());
    server.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poll_is_told_of_a_gap_and_goes_on_from_there() {
    let retention = Retention { events: Some(10), ..Retention::FOREVER };
    let limits = Limits { window_events: 4, ..Options::default().limits };
    let server = Server::start(Driver::Lanes, Options { retention, limits, ..Options::default() }).await;
    let first = server.publish("t", "all", 0).await;
    for number in 1..=100 {
        server.publish("t", "all", number).await;
    }
    for (place, reason) in
        [(first.as_str(), "trimmed"), ("00000000-1", "other-epoch"), ("%00%0d%0a", "unknown"), ("-", "unknown")]
    {
        let mut answer = poll(&server, &format!("cursor={place}&wait=0"), "u+all").await;
        assert_eq!(answer["gap"]["reason"], reason, "{answer}");
        let mut got = numbers(&answer);
        loop {
            answer = poll(&server, &format!("cursor={}&wait=0", cursor(&answer)), "u+all").await;
            assert!(answer["gap"].is_null(), "a gap is told once: {answer}");
            if numbers(&answer).is_empty() {
                break;
            }
            got.extend(numbers(&answer));
        }
        if reason == "trimmed" {
            assert!(
                got.len() >= 4 && got.ends_with(&[98, 99, 100]) && got.windows(2).all(|two| two[1] == two[0] + 1),
                "{got:?}"
            );
        }
    }
    server.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_that_is_no_number_of_seconds_is_refused() {
    let server = start(Limits { poll_wait: Duration::from_millis(50), ..Limits::default() }).await;
    for wait in ["-1", "soon", "NaN", "inf", "", "1e400", "%00"] {
        let mut client = ask(&server, &format!("cursor=x&wait={wait}"), "u+all", "").await;
        client.read_head().await;
        assert_eq!(client.status, 400, "{wait}");
        assert_eq!(client.problem().await["parameter"], "wait");
    }
    let first = poll(&server, "", "u+all").await;
    let long = poll(&server, &format!("cursor={}&timeout=1e300", cursor(&first)), "u+all").await;
    assert_eq!(numbers(&long), [0; 0], "no wait is longer than the bound");
    server.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_shut_out_while_waiting_is_refused() {
    let server = start(Limits::default()).await;
    let place = cursor(&poll(&server, "", "bad+all").await).to_owned();
    let mut client = ask(&server, &format!("cursor={place}&wait=50"), "bad+all", "").await;
    server.until("it waits", |server| server.service.limiter.open() == 1).await;
    // It is counted a moment before its credential is looked at, and a revocation before that is not the poll's concern.
    let mut again = tokio::time::interval(Duration::from_millis(10));
    let revoke = async {
        loop {
            server.hub.close(&Revocation::principal("bad"), CloseReason::Revoked);
            again.tick().await;
        }
    };
    tokio::select! {
        () = client.read_head() => {}
        () = revoke => {}
    }
    assert_eq!(client.status, 401, "{}", client.head);
    assert!(client.head.contains("www-authenticate: bearer"), "{}", client.head);
    assert!(client.problem().await["detail"].as_str().unwrap().contains("revoked"));
    drop(client);
    let mut client = ask(&server, &format!("cursor={place}&wait=50"), "old+all~1000", "").await;
    client.read_head().await;
    assert_eq!(client.status, 401);
    assert!(client.problem().await["detail"].as_str().unwrap().contains("expired"));
    drop(client);
    server.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poll_under_way_is_answered_when_the_program_stops() {
    let server = start(Limits { drain_window: Duration::from_millis(50), ..Limits::default() }).await;
    let place = cursor(&poll(&server, "", "u+all").await).to_owned();
    let mut client = ask(&server, &format!("cursor={place}&wait=50"), "u+all", "").await;
    server.until("it waits", |server| server.hub.subscribers().len() == 1).await;
    server.hub.drain();
    client.read_head().await;
    assert_eq!(client.status, 200);
    let answer: Value = serde_json::from_str(&client.rest().await).unwrap();
    assert_eq!((answer["closed"].as_str(), cursor(&answer)), (Some("draining"), place.as_str()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_away_while_it_waits_is_forgotten() {
    let server = start(Limits::default()).await;
    let place = cursor(&poll(&server, "", "u+all").await).to_owned();
    let clients = [
        ask(&server, &format!("cursor={place}&wait=50"), "u+all", "").await,
        ask(&server, &format!("cursor={place}&wait=50"), "v+all", "").await,
    ];
    server.until("both wait", |server| server.hub.subscribers().len() == 2).await;
    drop(clients);
    server.until("both are forgotten", |server| server.service.limiter.open() == 0).await;
    server.works().await;
}
