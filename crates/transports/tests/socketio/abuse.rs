//! What no client should send: the protocol's own error, a clean end, and nobody else is harmed.

use tidings::Limits;
use tidings_transports::{Cors, SocketIoSettings, StreamSettings};

use crate::client::*;
use crate::common::websocket::{FIN, TEXT, masked};
use crate::common::{Driver, Options, Server};

async fn limited(limits: Limits) -> Server {
    Server::start(Driver::Lanes, Options { settings: quiet(), limits, ..Options::default() }).await
}

#[tokio::test]
async fn a_sid_that_is_of_no_session_is_unknown() {
    let server = start(quiet()).await;
    let long = "A".repeat(4_000);
    for sid in ["", "none", "AAAAAAAAAAAAAAAAAAAA", "%00", "..%2F", "%F0%9F%98%80", long.as_str()] {
        let target = |transport| format!("{}&sid={sid}", path(Eio::V4, transport));
        for method in ["GET", "POST"] {
            ask(&server, method, &target("polling"), &bearer(ANN), "40").await.is(400, SESSION_UNKNOWN);
        }
        refused(&server, &target("websocket"), &bearer(ANN)).await.is(400, SESSION_UNKNOWN);
    }
}

#[tokio::test]
async fn the_sid_of_a_websocket_or_of_a_socket_is_none_to_poll_with() {
    let server = start(quiet()).await;
    let mut session = Session::open(&server, Eio::V4, By::WebSocket, ANN).await;
    let answer = session.connect().await;
    session.is_unknown().await;
    let socket = format!("{}&sid={}", path(Eio::V4, "polling"), answer["sid"].as_str().unwrap());
    ask(&server, "GET", &socket, "", "").await.is(400, SESSION_UNKNOWN);
    let mut session = Session::open(&server, Eio::V4, By::Polling, ANN).await;
    let answer = session.connect().await;
    let socket = format!("{}&sid={}", path(Eio::V4, "polling"), answer["sid"].as_str().unwrap());
    ask(&server, "GET", &socket, "", "").await.is(400, SESSION_UNKNOWN);
    session.is_alive().await;
}

#[tokio::test]
async fn the_sid_of_one_mount_is_unknown_at_another() {
    let server = start(quiet()).await;
    let mut session = Session::connected(&server, Eio::V4, By::Polling, ANN).await;
    for method in ["GET", "POST"] {
        let target = format!("/other{}", session.target("polling"));
        ask(&server, method, &target, &bearer(ANN), "1").await.is(400, SESSION_UNKNOWN);
    }
    let target = format!("/other{}", session.target("websocket"));
    refused(&server, &target, &bearer(ANN)).await.is(400, SESSION_UNKNOWN);
    session.is_alive().await;
}

#[tokio::test]
async fn a_session_takes_polls_and_posts_and_nothing_else() {
    let server = start(quiet()).await;
    let mut session = Session::connected(&server, Eio::V4, By::Polling, ANN).await;
    for method in ["PUT", "DELETE", "PATCH", "BREW"] {
        ask(&server, method, &session.target("polling"), "", "1").await.is(400, BAD_REQUEST);
    }
    assert_eq!(ask(&server, "OPTIONS", &session.target("polling"), "", "").await.status, 204);
    session.is_alive().await;
}

#[tokio::test]
async fn clients_of_revision_3_are_refused_where_they_may_not_come() {
    let socketio = SocketIoSettings { allow_eio3: false, ..SocketIoSettings::default() };
    let server = start(StreamSettings { socketio, ..quiet() }).await;
    ask(&server, "GET", &path(Eio::V3, "polling"), &bearer(ANN), "").await.is(400, BAD_VERSION);
    ask(&server, "POST", &path(Eio::V3, "polling"), &bearer(ANN), "").await.is(400, BAD_VERSION);
    refused(&server, &path(Eio::V3, "websocket"), &bearer(ANN)).await.is(400, BAD_VERSION);
    Session::connected(&server, Eio::V4, By::Polling, ANN).await.is_alive().await;
}

#[tokio::test]
async fn a_page_of_another_origin_is_refused_whatever_it_asks_for() {
    for cors in [Cors::Same, Cors::Origins(vec!["https://good.example".into()])] {
        let server = start(StreamSettings { cors: cors.clone(), ..quiet() }).await;
        let mut session = Session::connected(&server, Eio::V4, By::Polling, ANN).await;
        for origin in
            ["http://evil.example", "null", "https://good.example.evil", "http://x@evil.example", "http://x:81"]
        {
            let headers = format!("origin: {origin}\r\ncookie: session={ANN}\r\n");
            ask(&server, "GET", &path(Eio::V4, "polling"), &headers, "").await.is(403, FORBIDDEN);
            ask(&server, "GET", &session.target("polling"), &headers, "").await.is(403, FORBIDDEN);
            ask(&server, "POST", &session.target("polling"), &headers, "1").await.is(403, FORBIDDEN);
            refused(&server, &path(Eio::V4, "websocket"), &headers).await.is(403, FORBIDDEN);
            refused(&server, &session.target("websocket"), &headers).await.is(403, FORBIDDEN);
        }
        session.is_alive().await;
        let welcome = if cors == Cors::Same { "http://x" } else { "https://good.example" };
        for by in [By::Polling, By::WebSocket] {
            let headers = format!("origin: {welcome}\r\ncookie: session={ANN}\r\n");
            let mut session = Session::open_with(&server, Eio::V4, by, &headers, "").await;
            session.connect().await;
        }
    }
}

#[tokio::test]
async fn where_any_origin_may_come_a_foreign_one_brings_nobodys_cookie() {
    let server = start(StreamSettings { cors: Cors::Any, ..quiet() }).await;
    for by in [By::Polling, By::WebSocket] {
        let foreign = format!("origin: http://evil.example\r\ncookie: session={ANN}\r\n");
        let mut session = Session::open_with(&server, Eio::V4, by, &foreign, "").await;
        session.say("40").await;
        assert_eq!(session.next().await, r#"44{"message":"a token is needed"}"#);
        session.say("40/custom,").await;
        assert_eq!(session.next().await, r#"44/custom,{"message":"a token is needed"}"#);
        let mut session = Session::open_with(&server, Eio::V3, by, &foreign, "").await;
        assert_eq!(session.next().await, r#"44"a token is needed""#);
        for own in [format!("origin: http://x\r\ncookie: session={ANN}\r\n"), format!("cookie: session={ANN}\r\n")] {
            let mut session = Session::open_with(&server, Eio::V4, by, &own, "").await;
            session.connect().await;
        }
        // A credential that the page itself has is its own.
        let mut session = Session::open_with(&server, Eio::V4, by, &foreign, "").await;
        session.say(r#"40{"token":"ann+all"}"#).await;
        connected(&session.next().await, "40");
    }
    let answer = ask(&server, "GET", &path(Eio::V4, "polling"), "origin: http://evil.example\r\n", "").await;
    assert!(answer.head.contains("access-control-allow-origin: *"), "{}", answer.head);
    assert!(!answer.head.contains("allow-credentials"), "{}", answer.head);
}

#[tokio::test]
async fn a_page_that_may_come_can_read_why_it_is_refused() {
    let server = start(StreamSettings { cors: Cors::Origins(vec!["https://good.example".into()]), ..quiet() }).await;
    let origin = "origin: https://good.example\r\n";
    let unknown = format!("{}&sid=none", path(Eio::V4, "polling"));
    for (method, target) in [("GET", "/socket.io/?EIO=4"), ("GET", unknown.as_str()), ("POST", unknown.as_str())] {
        let answer = ask(&server, method, target, origin, "").await;
        assert_eq!(answer.status, 400);
        assert!(answer.head.contains("access-control-allow-origin: https://good.example"), "{}", answer.head);
        assert!(answer.head.contains("access-control-allow-credentials: true"), "{}", answer.head);
    }
    let asked =
        format!("{origin}access-control-request-method: POST\r\naccess-control-request-headers: authorization\r\n");
    let answer = ask(&server, "OPTIONS", &unknown, &asked, "").await;
    assert_eq!(answer.status, 204);
    for line in ["access-control-allow-methods: get, post, options", "access-control-allow-headers: authorization"] {
        assert!(answer.head.contains(line), "{}", answer.head);
    }
}

#[tokio::test]
async fn a_body_or_a_message_that_is_too_large_ends_the_session() {
    let server = limited(Limits { message_bytes: 1_000, ..Limits::default() }).await;
    for eio in BOTH {
        let session = Session::connected(&server, eio, By::Polling, ANN).await;
        if eio == Eio::V4 {
            assert_eq!(session.opened["maxPayload"], 1_000);
        }
        let packet = |size: usize| format!(r#"42["{}"]"#, "x".repeat(size - 6));
        let fits = if eio == Eio::V4 { packet(1_000) } else { packet(996) };
        let answer = session.post(&eio.encode(&[&fits])).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "ok"));
        let answer = session.post(&eio.encode(&[&packet(1_001)])).await;
        assert_eq!(answer.status, 413);
        assert!(answer.body.contains("urn:tidings:problem:body-too-large"), "{answer:?}");
        session.is_unknown().await;
        let mut session = Session::connected(&server, eio, By::WebSocket, ANN).await;
        session.say(&packet(1_000)).await;
        session.is_alive().await;
        session.say(&packet(1_001)).await;
        session.ends(1009).await;
    }
}

#[tokio::test]
async fn a_message_whose_length_is_too_large_is_refused_before_it_comes() {
    let server = limited(Limits { message_bytes: 1_000, ..Limits::default() }).await;
    let mut session = Session::connected(&server, Eio::V4, By::WebSocket, ANN).await;
    let frame = masked(FIN | TEXT, &[b'x'; 1_001]);
    session.socket.as_mut().unwrap().client.send(&frame[..8]).await;
    session.ends(1009).await;
}

#[tokio::test]
async fn ten_thousand_packets_in_one_body_end_the_session() {
    let server = start(quiet()).await;
    for eio in BOTH {
        for packet in ["6", r#"42["ping"]"#] {
            let session = Session::connected(&server, eio, By::Polling, ANN).await;
            session.post(&eio.encode(&[packet; 10_000])).await.is(400, BAD_REQUEST);
            session.is_unknown().await;
        }
    }
}

#[tokio::test]
async fn more_packets_than_the_rate_allows_end_the_session() {
    let server = start(quiet()).await;
    for eio in BOTH {
        let session = Session::connected(&server, eio, By::Polling, ANN).await;
        let answer = session.post(&eio.encode(&[r#"42["message"]"#; 300])).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "ok"));
        assert_eq!(session.polled().await, ["1"]);
        session.is_unknown().await;
        let mut session = Session::connected(&server, eio, By::WebSocket, ANN).await;
        let flood = masked(FIN | TEXT, br#"42["message"]"#).repeat(300);
        session.socket.as_mut().unwrap().client.send(&flood).await;
        session.ends(1008).await;
        // As many as that over some time are well.
        let mut session = Session::connected(&server, eio, By::WebSocket, ANN).await;
        for _ in 0..3 {
            session.say_all(&[r#"42["message"]"#; 100]).await;
            session.is_alive().await;
            pass(&server, 2).await;
        }
    }
}

#[tokio::test]
async fn two_posts_at_once_end_the_session() {
    let server = start(quiet()).await;
    let session = Session::connected(&server, Eio::V4, By::Polling, ANN).await;
    let mut slow = server.connect().await;
    let head = format!("POST {} HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n", session.target("polling"));
    slow.send(head.as_bytes()).await;
    slow.send(b"6").await;
    let refused = loop {
        let answer = session.post("6").await;
        if answer.status != 200 {
            break answer;
        }
    };
    refused.is(400, BAD_REQUEST);
    session.is_unknown().await;
}

#[tokio::test]
async fn json_may_be_as_deep_as_it_likes() {
    let server = start(quiet()).await;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let nested = format!("{}1{}", r#"{"a":"#.repeat(5_000), "}".repeat(5_000));
    for by in [By::Polling, By::WebSocket] {
        // But for what a client says of itself, which has to be read.
        let mut session = Session::open(&server, Eio::V4, by, ANN).await;
        session.say(&format!("40{nested}")).await;
        session.ends(1002).await;
    }
    for (eio, by) in ALL {
        let mut session = Session::connected(&server, eio, by, ANN).await;
        session.say(&format!(r#"42["message",{deep}]"#)).await;
        session.say(&format!(r#"421["ping",{deep}]"#)).await;
        assert!(session.next().await.contains("invalid-message"));
        session
            .say(&format!(
                r#"422["publish",{{"id":"p","event":{{"name":"n","topic":"t","data":{deep},"audience":["all"]}}}}]"#
            ))
            .await;
        let answer = session.next().await;
        assert!(answer.starts_with("432[") || answer.starts_with(r#"42["n","#), "{}", &answer[..100.min(answer.len())]);
        let mut session = Session::connected(&server, eio, by, ANN).await;
        session.say(&format!("42{}", "[".repeat(100_000))).await;
        session.ends(1002).await;
    }
}

#[tokio::test]
async fn names_that_mean_something_to_the_clients_are_not_taken_from_them() {
    let server = start(quiet()).await;
    for (eio, by) in ALL {
        for name in ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"] {
            let mut session = Session::connected(&server, eio, by, ANN).await;
            session.say(&format!(r#"42["{name}"]"#)).await;
            session.ends(1002).await;
        }
    }
}

#[tokio::test]
async fn names_that_mean_something_to_us_are_only_events_from_them() {
    let server = start(quiet()).await;
    for (eio, by) in ALL {
        let mut session = Session::connected(&server, eio, by, ANN).await;
        let mut other = Session::connected(&server, eio, by, ANN).await;
        for name in ["tidings.close", "tidings.gap", "tidings.open", "n", "__proto__"] {
            session.say(&format!(r#"421["{name}",{{"code":4002}}]"#)).await;
        }
        session.is_alive().await;
        other.is_alive().await;
    }
}

#[tokio::test]
async fn what_is_not_utf_8_ends_the_session() {
    let server = start(quiet()).await;
    for eio in BOTH {
        let session = Session::connected(&server, eio, By::Polling, ANN).await;
        let mut client = server.connect().await;
        let head = format!("POST {} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n", session.target("polling"));
        client.send(format!("{head}content-length: 6\r\n\r\n").as_bytes()).await;
        client.send(b"42[\"\xff\"").await;
        Answer::read(client).await.is(400, BAD_REQUEST);
        session.is_unknown().await;
        let mut session = Session::connected(&server, eio, By::WebSocket, ANN).await;
        session.socket.as_mut().unwrap().client.send(&masked(FIN | TEXT, b"42[\"\xff\"]")).await;
        session.ends(1007).await;
    }
}

#[tokio::test]
async fn lengths_that_lie_end_a_session_of_revision_3() {
    let server = start(quiet()).await;
    for body in ["2:6", "0:", ":6", "1:61", "+1:6", "99999999999999999999:6", "-1:6", "1:", "1", "1:6:", "2:4\u{1f600}"]
    {
        let session = Session::connected(&server, Eio::V3, By::Polling, ANN).await;
        let answer = session.post(body).await;
        if body == "0:" {
            // A packet of no length is passed over, as the reference does.
            assert_eq!(answer.status, 200);
            continue;
        }
        answer.is(400, BAD_REQUEST);
        session.is_unknown().await;
    }
}

#[tokio::test]
async fn one_client_that_breaks_every_rule_harms_no_other() {
    let server = start(quiet()).await;
    let mut good = Session::connected(&server, Eio::V4, By::WebSocket, ANN).await;
    for packet in ["4", "41/custom,", "45", "48", "40/custom,{", "2", "5", "0", "b", "42[\"connect\"]"] {
        for by in [By::Polling, By::WebSocket] {
            let mut bad = Session::connected(&server, Eio::V4, by, ANN).await;
            match by {
                By::Polling => drop(bad.post(packet).await),
                By::WebSocket => bad.say(packet).await,
            }
        }
    }
    server.publish("t", "all", 1).await;
    assert_eq!(good.next().await, r#"42["n",1]"#);
    good.is_alive().await;
    server.until("only the good one is left", |server| server.service.open_streams() == 1).await;
}
