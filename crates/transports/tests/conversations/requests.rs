//! What a client asks for, and what it is answered.

use std::time::Duration;

use serde_json::{Value, json};
use tidings::{CloseReason, Limits, Revocation};
use tidings_transports::{Cors, StreamSettings};

use crate::common::websocket::{CLOSE, FIN, PING, PONG, TEXT, WebSocket, masked};
use crate::common::{Driver, Options, Server, event};

async fn start() -> Server {
    Server::start(Driver::Lanes, Options::default()).await
}

async fn limited(limits: Limits) -> Server {
    Server::start(Driver::Lanes, Options { limits, ..Options::default() }).await
}

async fn set(settings: StreamSettings) -> Server {
    Server::start(Driver::Lanes, Options { settings, ..Options::default() }).await
}

/// A connection that was told where it stands.
async fn connect(server: &Server, token: &str) -> WebSocket {
    let mut socket = server.websocket("/v1/ws", token).await;
    let open = socket.hear().await;
    assert_eq!(open["type"], "open", "{open}");
    assert_eq!(open["heartbeat"], 20_000, "{open}");
    socket
}

async fn ask(socket: &mut WebSocket, message: Value) -> Value {
    socket.tell(message).await;
    socket.hear().await
}

async fn subscribe(socket: &mut WebSocket, id: &str, topics: &[&str], cursor: Option<&str>) -> Value {
    let mut message = json!({ "type": "subscribe", "id": id, "topics": topics });
    if let Some(cursor) = cursor {
        message["cursor"] = cursor.into();
    }
    let answer = ask(socket, message).await;
    assert_eq!((&answer["type"], &answer["id"]), (&json!("subscribed"), &json!(id)), "{answer}");
    answer
}

/// The numbers of the next events.
async fn numbers(socket: &mut WebSocket, count: usize) -> Vec<u64> {
    let mut numbers = Vec::new();
    for _ in 0..count {
        let message = socket.hear().await;
        assert_eq!(message["type"], "event", "{message}");
        numbers.push(message["data"].as_u64().unwrap());
    }
    numbers
}

/// The code and the status of a refusal of the request with this id.
fn refusal(answer: &Value, id: &str) -> (String, u64) {
    assert_eq!((&answer["type"], &answer["id"]), (&json!("error"), &json!(id)), "{answer}");
    assert!(!answer["detail"].as_str().unwrap().is_empty());
    (answer["code"].as_str().unwrap().to_owned(), answer["status"].as_u64().unwrap())
}

// --- Subscriptions ---

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_hears_what_it_is_subscribed_to_and_nothing_before_or_after() {
    let server = start().await;
    let mut socket = connect(&server, "u+all").await;
    let first = server.publish("a", "all", 1).await;
    heard(&server).await;
    let subscribed = subscribe(&mut socket, "s", &["a", "b/*"], None).await;
    assert_eq!(subscribed, json!({ "type": "subscribed", "id": "s", "cursor": first, "live": true }));
    server.publish("c", "all", 2).await;
    server.publish("a", "others", 3).await;
    let fourth = server.publish("b/1", "all", 4).await;
    let event = socket.hear().await;
    let expected = json!({ "type": "event", "name": "n", "topic": "b/1", "data": 4, "time": 1, "cursor": fourth });
    assert_eq!(event, expected);
    let answer = ask(&mut socket, json!({ "type": "unsubscribe", "id": "s" })).await;
    assert_eq!(answer, json!({ "type": "unsubscribed", "id": "s" }));
    server.publish("a", "all", 5).await;
    heard(&server).await;
    subscribe(&mut socket, "t", &["a"], None).await;
    server.publish("a", "all", 6).await;
    assert_eq!(numbers(&mut socket, 1).await, [6]);
    drop(socket);
    server.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_comes_once_however_many_subscriptions_it_fits() {
    let server = start().await;
    let mut socket = connect(&server, "u+all").await;
    subscribe(&mut socket, "one", &["a/*"], None).await;
    subscribe(&mut socket, "two", &["a/1", "b"], None).await;
    socket.tell(json!({ "type": "subscribe", "id": "all", "names": ["other"] })).await;
    assert_eq!(socket.hear().await["live"], true);
    for (n, topic) in (1..).zip(["a/1", "b", "a/2", "c"]) {
        server.publish(topic, "all", n).await;
    }
    assert_eq!(numbers(&mut socket, 3).await, [1, 2, 3]);
    // What one of them asked for is still heard when the other has gone.
    assert_eq!(ask(&mut socket, json!({ "type": "unsubscribe", "id": "one" })).await["type"], "unsubscribed");
    for (n, topic) in (5..).zip(["a/2", "a/1", "b"]) {
        server.publish(topic, "all", n).await;
    }
    assert_eq!(numbers(&mut socket, 2).await, [6, 7]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_that_is_in_use_is_replaced() {
    let server = start().await;
    let mut socket = connect(&server, "u+all").await;
    subscribe(&mut socket, "s", &["a"], None).await;
    subscribe(&mut socket, "s", &["b"], None).await;
    server.publish("a", "all", 1).await;
    server.publish("b", "all", 2).await;
    assert_eq!(numbers(&mut socket, 1).await, [2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_past_of_a_subscription_is_told_for_it_alone_and_then_all_go_on() {
    for window_events in [2, 1_000] {
        let server = limited(Limits { window_events, page_events: 3, ..Limits::default() }).await;
        let first = server.publish("a", "all", 0).await;
        let mut socket = connect(&server, "u+all").await;
        subscribe(&mut socket, "b", &["b", "both"], None).await;
        for n in 1..10 {
            server.publish("a", "all", n).await;
        }
        server.publish("b", "all", 10).await;
        let last = server.publish("both", "all", 11).await;
        assert_eq!(numbers(&mut socket, 2).await, [10, 11]);
        let subscribed = subscribe(&mut socket, "a", &["a", "both"], Some(&first)).await;
        assert_eq!((&subscribed["live"], &subscribed["cursor"]), (&json!(false), &json!(first)));
        // Once more what `b` had already, as it is for `a`; but not what is for `b` alone.
        assert_eq!(numbers(&mut socket, 10).await, [1, 2, 3, 4, 5, 6, 7, 8, 9, 11]);
        assert_eq!(socket.hear().await, json!({ "type": "live", "id": "a", "cursor": last }));
        server.publish("b", "all", 12).await;
        server.publish("a", "all", 13).await;
        server.publish("both", "all", 14).await;
        assert_eq!(numbers(&mut socket, 3).await, [12, 13, 14]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_that_can_not_be_gone_on_from_is_told_with_the_subscription() {
    let server = start().await;
    let last = server.publish("a", "all", 0).await;
    let mut socket = connect(&server, "u+all").await;
    let subscribed = subscribe(&mut socket, "s", &["a"], Some("foreign")).await;
    assert_eq!(subscribed["gap"], json!({ "reason": "unknown", "asked": "foreign", "resumed": last }));
    assert_eq!((&subscribed["live"], &subscribed["cursor"]), (&json!(true), &json!(last)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_may_subscribe_by_its_query() {
    let server = start().await;
    let first = server.publish("a/1", "all", 1).await;
    server.publish("a/2", "all", 2).await;
    server.publish("b", "all", 3).await;
    let mut socket = server.websocket(&format!("/v1/ws?topic=a/*&cursor={first}"), "u+all").await;
    assert_eq!(socket.hear().await["type"], "open");
    let subscribed = socket.hear().await;
    assert_eq!((&subscribed["id"], &subscribed["live"]), (&json!("query"), &json!(false)));
    assert_eq!(numbers(&mut socket, 1).await, [2]);
    assert_eq!(socket.hear().await["type"], "live");
    assert_eq!(ask(&mut socket, json!({ "type": "unsubscribe", "id": "query" })).await["type"], "unsubscribed");
    // A query that can't be taken is refused by status.
    assert_eq!(server.upgrade("/v1/ws?topic=a//b", "u+all", "").await.status, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_are_so_many_subscriptions_and_topics_and_no_more() {
    let server = limited(Limits { subscriptions: 3, filter_topics: 4, ..Limits::default() }).await;
    let mut socket = connect(&server, "u+all").await;
    subscribe(&mut socket, "one", &["a", "b"], None).await;
    let answer = ask(&mut socket, json!({ "type": "subscribe", "id": "x", "topics": ["c", "d", "e"] })).await;
    assert_eq!(refusal(&answer, "x"), ("too-many-subscriptions".into(), 400));
    let many = json!({ "type": "subscribe", "id": "x", "topics": ["a", "b", "c", "d", "e"] });
    assert_eq!(refusal(&ask(&mut socket, many).await, "x"), ("too-many-topics".into(), 400));
    subscribe(&mut socket, "two", &["c"], None).await;
    subscribe(&mut socket, "three", &["d"], None).await;
    let answer = ask(&mut socket, json!({ "type": "subscribe", "id": "four", "topics": [] })).await;
    assert_eq!(refusal(&answer, "four"), ("too-many-subscriptions".into(), 400));
    // A replacement is not one more, and those that are there are heard still.
    subscribe(&mut socket, "three", &["e"], None).await;
    for (n, topic) in (1..).zip(["a", "d", "e"]) {
        server.publish(topic, "all", n).await;
    }
    assert_eq!(numbers(&mut socket, 2).await, [1, 3]);
}

/// An event of about 100 kB: two hundred are more than the sockets between two ends hold.
async fn publish_large(server: &Server, count: u64) {
    for n in 0..count {
        let mut event = event("t", "all", n);
        event.data = format!("{n}{}", " ".repeat(100_000)).into();
        server.publish_all([event]).await;
    }
}

/// All lanes have heard what was sent before, and come to what was published before.
async fn heard(server: &Server) {
    for _ in 0..2 {
        server.service.streams().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_while_the_past_is_told_is_answered_after_it_and_pings_at_once() {
    let server = start().await;
    publish_large(&server, 200).await;
    let mut socket = connect(&server, "u+all").await;
    assert_eq!(subscribe(&mut socket, "s", &["t"], Some("earliest")).await["live"], false);
    assert_eq!(numbers(&mut socket, 1).await, [0], "it is being told");
    socket.tell(json!({ "type": "subscribe", "id": "u", "topics": ["u"] })).await;
    socket.tell(json!({ "type": "ping", "id": "p" })).await;
    socket.tell(json!({ "type": "subscribe", "id": "v", "topics": ["t"], "cursor": "earliest" })).await;
    socket.tell(json!({ "type": "unsubscribe", "id": "s" })).await;
    socket.client.send(&masked(FIN | PING, b"now")).await;
    heard(&server).await;
    let mut order = Vec::new();
    while order.last().is_none_or(|last| last != "unsubscribed s") {
        let frame = socket.frame().await.unwrap();
        let said = match frame.opcode {
            TEXT => {
                let message: Value = serde_json::from_slice(&frame.payload).unwrap();
                format!("{} {}", message["type"].as_str().unwrap(), message["id"].as_str().unwrap_or_default())
            }
            PONG => "the pong".to_owned(),
            other => panic!("{other}"),
        };
        if order.last() != Some(&said) {
            order.push(said);
        }
    }
    let expected = [
        "event ",
        "the pong",
        "event ",
        "live s",
        "subscribed u",
        "pong p",
        "subscribed v",
        "event ",
        "live v",
        "unsubscribed s",
    ];
    assert_eq!(order, expected);
    drop(socket);
    server.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_closes_while_the_past_is_told_is_let_go_at_once() {
    let server = start().await;
    publish_large(&server, 200).await;
    let mut socket = connect(&server, "u+all").await;
    socket.tell(json!({ "type": "subscribe", "id": "s", "topics": ["t"], "cursor": "earliest" })).await;
    socket.client.send(&masked(FIN | CLOSE, &1000u16.to_be_bytes())).await;
    server.until("it is let go", |server| server.service.open_streams() == 0).await;
    drop(socket);
    server.works().await;
}

// --- Publishing ---

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publish_is_answered_when_it_is_durable() {
    let server = start().await;
    let mut listener = connect(&server, "v+all").await;
    subscribe(&mut listener, "s", &["**"], None).await;
    let mut socket = connect(&server, "u+all").await;
    let one = json!({ "name": "n", "topic": "a", "data": 1, "audience": ["all"] });
    let answer = ask(&mut socket, json!({ "type": "publish", "id": "p", "event": one })).await;
    assert_eq!((&answer["type"], &answer["id"]), (&json!("published"), &json!("p")));
    let heard = listener.hear().await;
    assert_eq!(answer["results"], json!([{ "cursor": heard["cursor"] }]));
    assert_eq!(
        server.hub.broker().head().last.to_string(),
        heard["cursor"].as_str().unwrap().split('-').nth(1).unwrap()
    );
    // Several at once, and a signal among them, which has no place.
    let many = json!([one, { "name": "n", "topic": "a", "data": 2, "audience": ["all"], "signal": true }, one]);
    let answer = ask(&mut socket, json!({ "type": "publish", "id": "p", "events": many })).await;
    let results = answer["results"].as_array().unwrap();
    assert!(
        results[0]["cursor"].is_string() && results[1] == json!({}) && results[2]["cursor"].is_string(),
        "{answer}"
    );
    let heard = [listener.hear().await, listener.hear().await, listener.hear().await];
    assert_eq!(heard.each_ref().map(|message| message["type"].as_str().unwrap()), ["event", "signal", "event"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishes_are_kept_in_their_order_without_waiting_for_an_answer() {
    let server = start().await;
    let mut listener = connect(&server, "v+all").await;
    subscribe(&mut listener, "s", &["a"], None).await;
    let mut socket = connect(&server, "u+all").await;
    for n in 0..60 {
        let event = json!({ "name": "n", "topic": "a", "data": n, "audience": ["all"] });
        // Every other wants no answer.
        let message = match n % 2 {
            0 => json!({ "type": "publish", "event": event }),
            _ => json!({ "type": "publish", "id": format!("p{n}"), "event": event }),
        };
        socket.tell(message).await;
    }
    assert_eq!(numbers(&mut listener, 60).await, (0..60).collect::<Vec<_>>());
    for n in (1..60).step_by(2) {
        let answer = socket.hear().await;
        assert_eq!((&answer["type"], &answer["id"]), (&json!("published"), &json!(format!("p{n}"))), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publish_that_can_not_be_taken_is_refused_by_its_id() {
    let server = start().await;
    let publish = |topic: &str| {
        let event = json!({ "name": "n", "topic": topic, "data": 1, "audience": ["all"] });
        json!({ "type": "publish", "id": "p", "event": event })
    };
    let mut socket = connect(&server, "reader+all").await;
    let answer = ask(&mut socket, publish("a/1")).await;
    assert_eq!(refusal(&answer, "p"), ("may-not-publish".into(), 403));
    let mut socket = connect(&server, "limited+all").await;
    assert_eq!(ask(&mut socket, publish("a/1")).await["type"], "published");
    let (_, status) = refusal(&ask(&mut socket, publish("b/1")).await, "p");
    assert_eq!(status, 403);
    let mut socket = connect(&server, "u+all").await;
    let wrong = [
        json!({ "name": "", "data": 1 }),
        json!({ "name": "n", "unknown": 1 }),
        json!({ "name": "n", "topic": "a//b" }),
        json!("n"),
    ];
    for event in wrong {
        let answer = ask(&mut socket, json!({ "type": "publish", "id": "p", "event": event })).await;
        let (_, status) = refusal(&answer, "p");
        assert!((400..500).contains(&status), "{answer}");
    }
    // All or none.
    let events = json!([{ "name": "n", "topic": "a" }, { "name": "" }]);
    let before = server.hub.broker().head().last;
    let answer = ask(&mut socket, json!({ "type": "publish", "id": "p", "events": events })).await;
    refusal(&answer, "p");
    assert_eq!(server.hub.broker().head().last, before);
    assert_eq!(answer["index"], 1, "{answer}");
}

// --- Credentials ---

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_new_credential_a_connection_sees_what_that_one_grants_from_then_on() {
    let server = start().await;
    let mut socket = connect(&server, "u+red").await;
    subscribe(&mut socket, "s", &["**"], None).await;
    let mut n = 0;
    for (token, sees) in [("u+red+blue", 3), ("u+blue", 2), ("u", 0), ("u+red", 1)] {
        let answer = ask(&mut socket, json!({ "type": "authenticate", "id": "a", "token": token })).await;
        assert_eq!(answer, json!({ "type": "authenticated", "id": "a" }));
        let mut expected = Vec::new();
        for (bit, audience) in [(1, "red"), (2, "blue")] {
            server.publish("t", audience, n).await;
            if sees & bit > 0 {
                expected.push(n);
            }
            n += 1;
        }
        assert_eq!(numbers(&mut socket, expected.len()).await, expected, "{token}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_that_is_not_taken_changes_nothing() {
    let server = start().await;
    let mut socket = connect(&server, "u+red").await;
    subscribe(&mut socket, "s", &["**"], None).await;
    for (token, expected) in
        [("v+blue", ("somebody-else", 403)), ("u+a//", ("unauthorized", 401)), ("away", ("app-unavailable", 503))]
    {
        let answer = ask(&mut socket, json!({ "type": "authenticate", "id": "a", "token": token })).await;
        let (code, status) = refusal(&answer, "a");
        assert_eq!(status, expected.1, "{answer}");
        assert!(code == expected.0 || status == 401, "{answer}");
        server.publish("t", "blue", 1).await;
        server.publish("t", "red", 2).await;
        assert_eq!(numbers(&mut socket, 1).await, [2]);
    }
    let answer = ask(&mut socket, json!({ "type": "authenticate", "id": "a" })).await;
    assert_eq!(refusal(&answer, "a").1, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_outlives_the_credential_that_was_replaced_and_not_the_one_that_replaced_it() {
    let server = start().await;
    let mut socket = connect(&server, "u+all~1005000").await;
    subscribe(&mut socket, "s", &["**"], None).await;
    server.clock.advance(Duration::from_secs(4));
    let answer = ask(&mut socket, json!({ "type": "authenticate", "token": "u+all~1009000" })).await;
    assert_eq!(answer, json!({ "type": "authenticated", "expires": 1_009_000 }));
    for n in 0..4 {
        server.clock.advance(Duration::from_secs(1));
        server.publish("t", "all", n).await;
        assert_eq!(numbers(&mut socket, 1).await, [n]);
    }
    server.clock.advance(Duration::from_millis(1250));
    let close = socket.hear().await;
    assert_eq!((&close["type"], &close["reason"]), (&json!("close"), &json!("expired")));
    assert_eq!(socket.close_code().await, 4001);
    server.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_while_the_new_credential_is_checked_is_not_missed() {
    let server = start().await;
    let (mut socket, ()) = tokio::join!(connect(&server, "gated+all"), async {
        server.gate.somebody().await;
        server.gate.open();
    });
    socket.tell(json!({ "type": "authenticate", "token": "gated+all" })).await;
    server.gate.somebody().await;
    server.hub.close(&Revocation::principal("gated"), CloseReason::Revoked);
    server.gate.open();
    let close = socket.hear().await;
    assert_eq!((&close["type"], &close["reason"]), (&json!("close"), &json!("revoked")));
    assert_eq!(socket.close_code().await, 4002);
    server.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_while_a_credential_is_checked_waits_for_it() {
    let server = start().await;
    let mut socket = connect(&server, "u+red").await;
    // The token of another, whom somebody takes long to look at.
    socket.tell(json!({ "type": "authenticate", "id": "a", "token": "gated" })).await;
    socket.tell(json!({ "type": "subscribe", "id": "s", "topics": ["t"] })).await;
    socket.tell(json!({ "type": "ping", "id": "p" })).await;
    server.gate.somebody().await;
    heard(&server).await;
    server.gate.open();
    assert_eq!(refusal(&socket.hear().await, "a").0, "somebody-else");
    assert_eq!(socket.hear().await["id"], "s");
    assert_eq!(socket.hear().await, json!({ "type": "pong", "id": "p" }));
}

// --- Handshakes ---

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_the_subprotocols_ours_is_chosen_and_a_token_echoed_only_where_it_stands_alone() {
    let chosen = |head: &str| {
        let line = head.lines().find_map(|line| line.strip_prefix("sec-websocket-protocol: "));
        line.map(str::to_owned)
    };
    for (bare_token, offered, echoed) in [
        (false, "tidings.v1, bearer.u+all", Some("tidings.v1")),
        (false, "bearer.u+all, tidings.v1", Some("tidings.v1")),
        (false, "bearer.u+all", Some("bearer.u+all")),
        (false, "bearer.u+all, other", None),
        (true, "u+all", Some("u+all")),
        (true, "tidings.v1, u+all", Some("tidings.v1")),
    ] {
        let server = set(StreamSettings { bare_token, ..StreamSettings::default() }).await;
        let header = format!("sec-websocket-protocol: {offered}\r\n");
        let answer = server.upgrade("/v1/ws", "", &header).await;
        assert_eq!(answer.status, 101, "{offered}: {}", answer.head);
        assert_eq!(chosen(&answer.head).as_deref(), echoed, "{offered}");
        let mut socket = WebSocket::new(answer);
        assert_eq!(socket.hear().await["type"], "open");
        subscribe(&mut socket, "s", &["t"], None).await;
        server.publish("t", "all", 1).await;
        assert_eq!(numbers(&mut socket, 1).await, [1]);
    }
    let server = start().await;
    let answer = server.upgrade("/v1/ws", "", "sec-websocket-protocol: tidings.v1\r\n").await;
    assert_eq!(answer.status, 401, "no credential is none");
    drop(answer);
    server.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_another_origin_may_not_connect_unless_the_mount_says_so() {
    let same = set(StreamSettings::default()).await;
    let listed = vec!["https://good.example".to_owned()];
    let listed = set(StreamSettings { cors: Cors::Origins(listed), ..StreamSettings::default() }).await;
    let any = set(StreamSettings { cors: Cors::Any, ..StreamSettings::default() }).await;
    for (origin, statuses) in [
        ("http://x", [101, 101, 101]),
        ("https://good.example", [403, 101, 101]),
        ("https://bad.example", [403, 403, 101]),
        ("null", [403, 403, 101]),
    ] {
        for (server, status) in [&same, &listed, &any].into_iter().zip(statuses) {
            let mut answer = server.upgrade("/v1/ws", "u+all", &format!("origin: {origin}\r\n")).await;
            assert_eq!(answer.status, status, "{origin}: {}", answer.head);
            if status == 403 {
                assert!(answer.problem().await["type"].as_str().unwrap().ends_with(":foreign-origin"));
            }
        }
    }
    same.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_no_handshake_is_told_to_upgrade() {
    let server = start().await;
    let mut answer = server.request("/v1/ws", "u+all", None).await;
    assert_eq!(answer.status, 426);
    assert!(answer.head.contains("upgrade: websocket"), "{}", answer.head);
    answer.problem().await;
    drop(answer);
    let key = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let ask = |more: &str| {
        format!(
            "GET /v1/ws HTTP/1.1\r\nhost: x\r\nauthorization: Bearer u+all\r\nconnection: Upgrade\r\nupgrade: websocket\r\n{more}\r\n"
        )
    };
    let other_version = server.raw(ask(&format!("{key}sec-websocket-version: 8\r\n")).as_bytes()).await;
    assert_eq!(other_version.status, 426);
    assert!(other_version.head.contains("sec-websocket-version: 13"), "{}", other_version.head);
    assert_eq!(server.raw(ask("sec-websocket-version: 13\r\n").as_bytes()).await.status, 400);
    let post =
        server.raw(ask(&format!("{key}sec-websocket-version: 13\r\n")).replacen("GET", "POST", 1).as_bytes()).await;
    assert_eq!(post.status, 405);
    drop((other_version, post));
    server.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_a_mount_takes_no_requests_a_connection_hears_all_it_may_and_is_told_so() {
    let server = set(StreamSettings { commands: false, ..StreamSettings::default() }).await;
    let mut socket = server.websocket("/v1/ws", "u+all").await;
    assert_eq!(socket.hear().await["type"], "open");
    assert_eq!(socket.hear().await["id"], "query");
    let answer = ask(&mut socket, json!({ "type": "ping", "id": "p" })).await;
    assert_eq!((&answer["type"], &answer["code"]), (&json!("error"), &json!("no-requests")));
    server.publish("t", "all", 1).await;
    assert_eq!(numbers(&mut socket, 1).await, [1]);
}
