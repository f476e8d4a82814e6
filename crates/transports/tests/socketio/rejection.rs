//! The forms in which a mount refuses somebody, in exact frames.

use tidings_transports::{Rejection, SocketIoSettings, StreamSettings};

use crate::client::*;
use crate::common::{Driver, Options, Server};

async fn begin(reject: Rejection) -> Server {
    let socketio = SocketIoSettings { reject, ..settings().socketio };
    let settings = StreamSettings { socketio, ..quiet() };
    Server::start(Driver::Lanes, Options { settings, ..Options::default() }).await
}

/// A session whose client has shown no credential, and has asked to come in.
async fn stranger(server: &Server, eio: Eio, by: By) -> Session<'_> {
    let mut session = Session::open(server, eio, by, "").await;
    if eio == Eio::V4 {
        session.say("40").await;
    }
    session
}

/// The answer that connects a client, in either generation.
fn is_connected(eio: Eio, packet: &str, head: &str) {
    match eio {
        Eio::V3 => assert_eq!(packet, head),
        Eio::V4 => assert_eq!(members(&connected(packet, head)), ["sid"]),
    }
}

#[tokio::test]
async fn a_connect_error_says_why_and_the_client_may_try_again() {
    let server = begin(Rejection::ConnectError).await;
    for by in [By::Polling, By::WebSocket] {
        let mut session = stranger(&server, Eio::V4, by).await;
        assert_eq!(session.next().await, r#"44{"message":"a token is needed"}"#);
        session.say(r#"40{"token":"ann+a//b"}"#).await;
        let refused = session.next().await;
        assert!(refused.starts_with(r#"44{"message":""#), "{refused}");
        session.say("40/custom,{}").await;
        assert_eq!(session.next().await, r#"44/custom,{"message":"a token is needed"}"#);
        session.say(r#"40/custom,{"token":"ann+all"}"#).await;
        is_connected(Eio::V4, &session.next().await, "40/custom,");
        session.say(r#"40{"token":"ann+all"}"#).await;
        is_connected(Eio::V4, &session.next().await, "40");
        session.is_alive().await;
        session.is_alive_in("/custom,").await;
        let mut session = stranger(&server, Eio::V3, by).await;
        assert_eq!(session.next().await, r#"44"a token is needed""#);
        session.say("40/custom,").await;
        assert_eq!(session.next().await, r#"44/custom,"a token is needed""#);
    }
}

#[tokio::test]
async fn an_event_tells_of_the_refusal_and_then_the_client_is_disconnected() {
    let server = begin(Rejection::Event("error".into(), "\"unauthorized\"".into())).await;
    for (eio, by) in ALL {
        let mut session = stranger(&server, eio, by).await;
        is_connected(eio, &session.next().await, "40");
        assert_eq!(session.next().await, r#"42["error","unauthorized"]"#);
        assert_eq!(session.next().await, "41");
        session.say("40/custom,").await;
        is_connected(eio, &session.next().await, "40/custom,");
        assert_eq!(session.next().await, r#"42/custom,["error","unauthorized"]"#);
        assert_eq!(session.next().await, "41/custom,");
    }
}

#[tokio::test]
async fn a_client_may_also_be_disconnected_without_a_word() {
    let server = begin(Rejection::Disconnect).await;
    for (eio, by) in ALL {
        let mut session = stranger(&server, eio, by).await;
        is_connected(eio, &session.next().await, "40");
        assert_eq!(session.next().await, "41");
        session.say("40/custom,").await;
        is_connected(eio, &session.next().await, "40/custom,");
        assert_eq!(session.next().await, "41/custom,");
    }
}

#[tokio::test]
async fn who_was_refused_and_stays_is_closed_after_a_while() {
    for reject in [Rejection::ConnectError, Rejection::Disconnect] {
        let server = begin(reject).await;
        for (eio, by) in ALL {
            let mut session = stranger(&server, eio, by).await;
            session.next().await;
            settle(&server).await;
            server.clock.advance(std::time::Duration::from_secs(30));
            while session.hear().await.is_some_and(|packet| matches!(packet.as_str(), "2" | "41")) {}
            server.until("it is forgotten", |server| server.service.pollers() == 0).await;
        }
        server.until("nobody is left", |server| server.service.limiter.open() == 0).await;
    }
}

#[tokio::test]
async fn who_is_turned_away_again_and_again_is_broken_off() {
    for reject in [Rejection::ConnectError, Rejection::Disconnect] {
        let server = begin(reject).await;
        for by in [By::Polling, By::WebSocket] {
            let mut session = Session::open(&server, Eio::V4, by, "").await;
            let mut asked = 0;
            let ended = loop {
                assert!(asked < 20, "each time somebody is asked");
                asked += 1;
                session.say("40").await;
                match session.hear().await {
                    Some(packet) if packet.starts_with("40") => assert_eq!(session.next().await, "41"),
                    Some(packet) => assert!(packet.starts_with("44"), "{packet}"),
                    None => break session.socket.as_ref().and_then(|socket| socket.closed.clone()),
                }
            };
            assert!(asked > 3, "a client that renews its token may come again");
            assert_eq!(ended.map(|(code, _)| code), (by == By::WebSocket).then_some(1008));
        }
    }
}

#[tokio::test]
async fn a_status_refuses_the_handshake_itself() {
    let server = begin(Rejection::Http).await;
    for eio in BOTH {
        for (by, answer) in [
            (By::Polling, ask(&server, "GET", &path(eio, "polling"), "", "").await),
            (By::WebSocket, refused(&server, &path(eio, "websocket"), "").await),
        ] {
            assert_eq!(answer.status, 401, "{by:?}");
            assert!(answer.head.contains("www-authenticate: bearer"), "{}", answer.head);
            assert!(answer.head.contains("content-type: application/problem+json"), "{}", answer.head);
        }
    }
    assert_eq!(server.service.pollers(), 0);
    for eio in BOTH {
        for by in [By::Polling, By::WebSocket] {
            let mut session = Session::connected(&server, eio, by, ANN).await;
            session.is_alive().await;
            // Who it is was settled by the handshake, for the other namespaces too.
            session.say(r#"40/custom,{"token":"bob+b"}"#).await;
            is_connected(eio, &session.next().await, "40/custom,");
        }
    }
}

#[tokio::test]
async fn a_credential_in_the_payload_comes_too_late_where_the_handshake_decides() {
    let server = begin(Rejection::Http).await;
    let mut session = Session::open(&server, Eio::V4, By::WebSocket, ANN).await;
    session.say(r#"40{"token":"bob+b"}"#).await;
    is_connected(Eio::V4, &session.next().await, "40");
    server.publish("t", "b", 1).await;
    server.publish("t", "all", 2).await;
    assert_eq!(session.next().await, r#"42["n",2]"#);
}

#[tokio::test]
async fn who_holds_too_little_is_refused_in_the_same_form() {
    let socketio = SocketIoSettings { reject: Rejection::ConnectError, ..settings().socketio };
    let server = start(StreamSettings { socketio, requires: Some("role/viewer".into()), ..quiet() }).await;
    let mut session = Session::open(&server, Eio::V4, By::WebSocket, ANN).await;
    session.say("40").await;
    assert_eq!(session.next().await, r#"44{"message":"this stream needs the grant role/viewer"}"#);
    let mut session = Session::connected(&server, Eio::V4, By::WebSocket, "ann+role/viewer").await;
    session.is_alive().await;
}

#[tokio::test]
async fn while_nobody_can_say_who_it_is_the_transport_ends_so_that_the_client_comes_back() {
    for reject in [Rejection::ConnectError, Rejection::Disconnect, Rejection::Event("error".into(), "1".into())] {
        let server = begin(reject).await;
        for (eio, by) in ALL {
            let mut session = Session::open(&server, eio, by, "away").await;
            if eio == Eio::V4 {
                session.say("40").await;
            }
            session.ends(1013).await;
            let mut session = Session::connected(&server, eio, by, ANN).await;
            session.is_alive().await;
        }
        server.until("no session is left", |server| server.service.pollers() <= 2).await;
    }
    let server = begin(Rejection::Http).await;
    for eio in BOTH {
        assert_eq!(ask(&server, "GET", &path(eio, "polling"), &bearer("away"), "").await.status, 503);
        let answer = refused(&server, &path(eio, "websocket"), &bearer("away")).await;
        assert_eq!(answer.status, 503);
        assert!(answer.head.contains("retry-after: 7"), "{}", answer.head);
    }
}

#[tokio::test]
async fn one_namespace_that_cant_be_asked_about_ends_the_transport_for_all() {
    let server = begin(Rejection::ConnectError).await;
    for by in [By::Polling, By::WebSocket] {
        let mut session = Session::connected(&server, Eio::V4, by, ANN).await;
        session.say(r#"40/custom,{"token":"away"}"#).await;
        session.ends(1013).await;
    }
}

#[tokio::test]
async fn a_credential_that_ran_out_is_refused_with_the_next_connect() {
    let server = begin(Rejection::ConnectError).await;
    for (eio, by) in ALL {
        let mut session = Session::connected(&server, eio, by, "ann+all~1010000").await;
        session.is_alive().await;
    }
    let mut session = Session::connected(&server, Eio::V4, By::WebSocket, "ann+all~1010000").await;
    pass(&server, 10).await;
    assert_eq!(session.next().await, "41", "the client is to stay away, or come with a new one");
    session.ends(1000).await;
}
