//! Clients that break the rules: they are told which, others notice nothing, and nothing of them is left.

use std::time::Duration;

use serde_json::{Value, json};
use tidings::{CloseReason, Limits};

use crate::common::websocket::{BINARY, CLOSE, FIN, PING, PONG, TEXT, WebSocket, masked};
use crate::common::{Driver, Options, Server, event};

async fn limited(limits: Limits) -> Server {
    Server::start(Driver::Lanes, Options { limits, ..Options::default() }).await
}

async fn connect(server: &Server) -> WebSocket {
    let mut socket = server.websocket("/v1/ws", "u+all").await;
    assert_eq!(socket.hear().await["type"], "open");
    socket
}

fn closed(server: &Server, reason: CloseReason) -> u64 {
    let index = CloseReason::ALL.iter().position(|other| *other == reason).unwrap();
    server.service.counters().closed[index].load(std::sync::atomic::Ordering::Relaxed)
}

/// Sends these bytes and is ended with `code`; nothing is left of it, and others are served.
async fn is_ended_with(server: &Server, code: u16, bytes: &[u8]) {
    let before = closed(server, CloseReason::Protocol);
    let mut socket = connect(server).await;
    // It may be ended before all is sent.
    drop(socket.client.try_send(bytes).await);
    assert_eq!(socket.close_code().await, code, "{:?}", &bytes[..bytes.len().min(20)]);
    server.until("it is counted", |server| closed(server, CloseReason::Protocol) == before + 1).await;
    drop(socket);
    server.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_break_the_protocol_end_the_connection_with_its_code() {
    let server = limited(Limits { message_bytes: 1_000, ..Limits::default() }).await;
    let mut unmasked = masked(FIN | TEXT, b"{}");
    unmasked[1] &= 0x7f;
    let mut reserved = masked(FIN | TEXT, b"{}");
    reserved[0] |= 0x40;
    for (code, bytes) in [
        (1002, unmasked),
        (1002, reserved),
        (1002, masked(FIN | 3, b"")),
        (1002, masked(FIN, b"nothing was begun")),
        (1002, masked(PING, b"a control frame in parts")),
        (1002, masked(FIN | PING, &[0; 126])),
        (1002, [masked(TEXT, b"{"), masked(FIN | TEXT, b"}")].concat()),
        (1002, masked(FIN | CLOSE, &[3])),
        (1003, masked(FIN | BINARY, b"{}")),
        (1007, masked(FIN | TEXT, b"{\"a\":\"\xff\"}")),
        (1007, masked(FIN | TEXT, b"hello")),
        (1007, masked(FIN | TEXT, b"")),
        (1009, masked(FIN | TEXT, &[b' '; 1_001])),
        (1009, [masked(TEXT, &[b' '; 600]), masked(FIN, &[b' '; 600])].concat()),
        // As soon as it says so: nothing of it has come.
        (1009, vec![FIN | TEXT, 0x80 | 127, 0, 0, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4]),
    ] {
        is_ended_with(&server, code, &bytes).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_request_is_told_and_the_connection_goes_on() {
    let server = limited(Limits::default()).await;
    let mut socket = connect(&server).await;
    for (message, code, id) in [
        ("{}", "invalid-message", Value::Null),
        ("{\"type\":", "invalid-message", Value::Null),
        ("{\"type\":\"fly\",\"id\":\"1\"}", "unknown-type", json!("1")),
        ("{\"type\":\"subscribe\"}", "invalid-id", Value::Null),
        ("{\"type\":\"subscribe\",\"id\":\"1\",\"topics\":[\"a//b\"]}", "invalid-topic", json!("1")),
        ("{\"type\":\"publish\",\"id\":\"1\"}", "invalid-message", json!("1")),
    ] {
        socket.say(message).await;
        let answer = socket.hear().await;
        assert_eq!(
            (&answer["type"], &answer["code"], &answer["id"]),
            (&json!("error"), &json!(code), &id),
            "{message}"
        );
    }
    socket.say("{\"type\":\"ping\",\"id\":\"p\",\"newer\":[1]}").await;
    assert_eq!(socket.hear().await, json!({ "type": "pong", "id": "p" }));
    drop(socket);
    server.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_in_fragments_is_heard_whole_and_a_ping_among_them_is_answered_first() {
    let server = limited(Limits::default()).await;
    let mut socket = connect(&server).await;
    let message = json!({ "type": "ping", "id": "\u{1f600}" }).to_string();
    let bytes = message.as_bytes();
    for cut in 1..bytes.len() - 1 {
        // Also within a character.
        let parts = [masked(TEXT, &bytes[..cut]), masked(FIN | PING, b"p"), masked(0, b""), masked(FIN, &bytes[cut..])];
        for byte in parts.concat().chunks(7) {
            socket.client.send(byte).await;
        }
        let pong = socket.frame().await.unwrap();
        assert_eq!((pong.opcode, &pong.payload[..]), (PONG, &b"p"[..]));
        assert_eq!(socket.hear().await, json!({ "type": "pong", "id": "\u{1f600}" }));
        server.clock.advance(Duration::from_secs(1));
    }
    drop(socket);
    server.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_closes_is_answered_with_its_code() {
    let server = limited(Limits::default()).await;
    for (payload, code) in [(&b""[..], 1000), (&1001u16.to_be_bytes()[..], 1001), (b"\x0f\xa0bye", 4000)] {
        let mut socket = connect(&server).await;
        socket.client.send(&masked(FIN | CLOSE, payload)).await;
        assert_eq!(socket.close_code().await, code);
    }
    server.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_many_messages_may_come_in_a_second_and_no_more() {
    let server = limited(Limits { messages_per_second: 10, ..Limits::default() }).await;
    let mut steady = connect(&server).await;
    let ping = masked(FIN | TEXT, b"{\"type\":\"ping\"}");
    // Twice as many may come at once, and for each second as many again.
    for _ in 0..5 {
        for _ in 0..10 {
            steady.client.send(&masked(FIN | PING, b"")).await;
            steady.client.send(&ping).await;
        }
        for _ in 0..10 {
            assert_eq!(steady.hear().await, json!({ "type": "pong" }));
        }
        server.clock.advance(Duration::from_secs(2));
    }
    drop(steady);
    let floods = [ping.repeat(21), masked(FIN | PING, b"").repeat(21), masked(FIN | PONG, b"").repeat(21)];
    for flood in floods {
        is_ended_with(&server, 1008, &flood).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_begun_and_never_ended_is_not_waited_for() {
    let server = limited(Limits { request_timeout: Duration::from_secs(30), ..Limits::default() }).await;
    let begun = [
        masked(FIN | TEXT, &[b' '; 100])[..50].to_vec(),
        vec![FIN | TEXT],
        masked(TEXT, b"{"),
        [masked(TEXT, b"{"), masked(0, b"\"a"), masked(FIN | PING, b"")].concat(),
    ];
    for begun in begun {
        let mut socket = connect(&server).await;
        socket.client.send(&begun).await;
        for _ in 0..2 {
            server.service.streams().await;
        }
        server.clock.advance(Duration::from_secs(29));
        for _ in 0..2 {
            server.service.streams().await;
        }
        assert_eq!(server.service.open_streams(), 1, "it has a while");
        server.clock.advance(Duration::from_millis(1_250));
        // Without an answer to the ping among it, which would end what was begun.
        let mut last = socket.frame().await.unwrap();
        while last.opcode != CLOSE {
            last = socket.frame().await.unwrap();
        }
        assert_eq!(last.payload[..2], 1008u16.to_be_bytes());
        drop(socket);
        server.works().await;
    }
}

/// Makes the connection of this socket fall behind: more is published than is taken.
async fn fall_behind(server: &Server) {
    for n in 0..200 {
        let mut event = event("t", "all", n);
        event.data = format!("{n}{}", " ".repeat(100_000)).into();
        server.publish_all([event]).await;
    }
    let behind = &server.service.counters().behind;
    server.until("it is behind", |_| behind.load(std::sync::atomic::Ordering::Relaxed) == 1).await;
}

/// Asks and asks, and reads nothing, until it is ended.
async fn ask_on(server: &Server, socket: &mut WebSocket, question: &[u8]) {
    let mut asked = 0;
    while server.service.open_streams() > 0 && socket.client.try_send(&question.repeat(50)).await.is_ok() {
        asked += 1;
        assert!(asked < 10_000, "it may ask for ever");
        server.service.streams().await;
    }
    server.until("it is ended", |server| server.service.open_streams() == 0).await;
    assert!(asked > 2, "a few questions may be asked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_and_reads_no_answers_is_ended() {
    let limits = Limits { turn_bytes: 200_000, messages_per_second: 1_000_000, ..Limits::default() };
    let questions = [
        masked(FIN | TEXT, br#"{"type":"ping","id":"a question that is asked again and again"}"#),
        masked(FIN | TEXT, br#"{"type":"unknown","id":"a question that is asked again and again"}"#),
        masked(FIN | TEXT, br#"{"type":"subscribe","id":"the same again and again","topics":["u"]}"#),
        masked(FIN | PING, &[b'.'; 125]),
    ];
    for question in questions {
        let server = limited(limits.clone()).await;
        let mut socket = connect(&server).await;
        socket.tell(json!({ "type": "subscribe", "id": "s", "topics": ["t"] })).await;
        assert_eq!(socket.hear().await["type"], "subscribed");
        fall_behind(&server).await;
        ask_on(&server, &mut socket, &question).await;
        drop(socket);
        server.works().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_on_while_the_past_is_told_is_ended() {
    let limits = Limits { message_bytes: 100_000, messages_per_second: 1_000_000, ..Limits::default() };
    let server = limited(limits).await;
    for n in 0..200 {
        let mut event = event("t", "all", n);
        event.data = format!("{n}{}", " ".repeat(100_000)).into();
        server.publish_all([event]).await;
    }
    let mut socket = connect(&server).await;
    socket.tell(json!({ "type": "subscribe", "id": "s", "topics": ["t"], "cursor": "earliest" })).await;
    let question = masked(FIN | TEXT, br#"{"type":"ping","id":"a question that is asked again and again"}"#);
    ask_on(&server, &mut socket, &question).await;
    server.until("it is counted", |server| closed(server, CloseReason::Protocol) == 1).await;
    drop(socket);
    server.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_answer_pings_is_let_go() {
    let server = limited(Limits { write_stall: Duration::from_secs(60), ..Limits::default() }).await;
    let silent = connect(&server).await;
    let mut good = connect(&server).await;
    let mut waited = 0;
    while server.service.open_streams() > 1 {
        waited += 5;
        assert!(waited < 200, "it is never let go");
        server.clock.advance(Duration::from_secs(5));
        server.service.streams().await;
        // Its pings are answered while it reads.
        good.say("{\"type\":\"ping\"}").await;
        assert_eq!(good.hear().await["type"], "pong");
    }
    assert!(waited >= 60, "it has a while: {waited}");
    assert_eq!(server.service.open_streams(), 1);
    drop((silent, good));
    server.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_go_away_in_the_middle_of_anything_leave_nothing() {
    let server = limited(Limits { messages_per_second: 1_000_000, ..Limits::default() }).await;
    server.publish("t", "all", 1).await;
    let request = b"GET /v1/ws HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
        sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\nauthorization: Bearer u+all\r\n\r\n";
    let subscribe = masked(FIN | TEXT, br#"{"type":"subscribe","id":"s","topics":["t"],"cursor":"earliest"}"#);
    let publish = masked(FIN | TEXT, br#"{"type":"publish","event":{"name":"n","topic":"t","audience":["all"]}}"#);
    let authenticate = masked(FIN | TEXT, br#"{"type":"authenticate","token":"u+all"}"#);
    let all = [&request[..], &subscribe, &publish, &authenticate, &publish].concat();
    for length in (1..all.len()).step_by(3).chain([all.len()]) {
        let mut client = server.connect().await;
        client.send(&all[..length]).await;
    }
    server.works().await;
}
