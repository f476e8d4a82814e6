//! From long-polling to a WebSocket (engine.io-protocol, "Upgrade"): also over a server that is not ours, whose sockets no lane holds.

use crate::client::*;
use crate::common::websocket::WebSocket;
use crate::common::{Driver, Options, Server};

const DRIVERS: [Driver; 2] = [Driver::Lanes, Driver::Carried];

async fn begin(driver: Driver) -> Server {
    Server::start(driver, Options { settings: quiet(), ..Options::default() }).await
}

/// A WebSocket for the session, over which the probe was answered.
async fn probe(session: &Session<'_>) -> WebSocket {
    let mut socket = session.server.websocket(&session.target("websocket"), "").await;
    socket.say("2probe").await;
    assert_eq!(socket.text().await.as_deref(), Some("3probe"));
    socket
}

/// Moves the session to the WebSocket, and waits until it is there.
async fn complete(session: &mut Session<'_>, mut socket: WebSocket) {
    socket.say("5").await;
    session.socket = Some(socket);
    session.is_alive().await;
}

#[tokio::test]
async fn a_session_goes_on_over_the_websocket_that_it_probed() {
    for driver in DRIVERS {
        let server = begin(driver).await;
        for eio in BOTH {
            let mut session = Session::connected(&server, eio, By::Polling, ANN).await;
            let socket = probe(&session).await;
            let answer = session.poll().await;
            assert_eq!((answer.status, answer.body), (200, eio.encode(&["6"])), "a poll is let go");
            complete(&mut session, socket).await;
            server.publish("t", "all", 1).await;
            assert_eq!(session.next().await, r#"42["n",1]"#);
        }
    }
}

#[tokio::test]
async fn a_poll_that_waits_is_let_go_when_the_probe_comes() {
    for driver in DRIVERS {
        let server = begin(driver).await;
        let mut session = Session::connected(&server, Eio::V4, By::Polling, ANN).await;
        let waiting = session.begin_poll().await;
        let socket = probe(&session).await;
        let answer = Answer::read(waiting).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "6"));
        complete(&mut session, socket).await;
    }
}

#[tokio::test]
async fn requests_with_the_old_sid_are_refused_after_the_upgrade_and_harm_nobody() {
    for driver in DRIVERS {
        let server = begin(driver).await;
        for eio in BOTH {
            let mut session = Session::connected(&server, eio, By::Polling, ANN).await;
            let socket = probe(&session).await;
            complete(&mut session, socket).await;
            session.is_unknown().await;
            refused(&server, &session.target("websocket"), &bearer(ANN)).await.is(400, SESSION_UNKNOWN);
            session.is_alive().await;
            assert_eq!(server.service.pollers(), 0);
        }
    }
}

/// The suites poll right behind the `5`, when the server may not have read it yet.
#[tokio::test]
async fn a_poll_right_behind_the_upgrade_loses_nothing() {
    for driver in DRIVERS {
        let server = begin(driver).await;
        for n in 0..20 {
            let mut session = Session::connected(&server, Eio::V4, By::Polling, ANN).await;
            let mut socket = probe(&session).await;
            socket.say("5").await;
            let waiting = session.begin_poll().await;
            server.publish("t", "all", n).await;
            session.socket = Some(socket);
            let (answer, event) = (Answer::read(waiting).await, format!(r#"42["n",{n}]"#));
            if answer.status == 200 && answer.body == event {
                // It came before the server knew.
                session.is_alive().await;
                continue;
            }
            if answer.status != 200 || answer.body != "6" {
                answer.is(400, SESSION_UNKNOWN);
            }
            assert_eq!(session.next().await, event);
        }
    }
}

#[tokio::test]
async fn a_second_websocket_for_a_session_is_refused_while_the_first_probes() {
    for driver in DRIVERS {
        let server = begin(driver).await;
        let mut session = Session::connected(&server, Eio::V4, By::Polling, ANN).await;
        let socket = probe(&session).await;
        refused(&server, &session.target("websocket"), &bearer(ANN)).await.is(400, BAD_REQUEST);
        complete(&mut session, socket).await;
    }
}

#[tokio::test]
async fn what_was_said_before_and_between_comes_before_what_is_said_after() {
    for driver in DRIVERS {
        let server = begin(driver).await;
        let mut session = Session::connected(&server, Eio::V4, By::Polling, ANN).await;
        server.publish("t", "all", 1).await;
        settle(&server).await;
        let mut socket = probe(&session).await;
        server.publish("t", "all", 2).await;
        settle(&server).await;
        socket.say("5").await;
        session.socket = Some(socket);
        server.publish("t", "all", 3).await;
        for n in 1..=3 {
            assert_eq!(session.next().await, format!(r#"42["n",{n}]"#));
        }
        session.is_alive().await;
    }
}

#[tokio::test]
async fn a_client_that_moves_before_it_connects_is_connected_afterwards() {
    for driver in DRIVERS {
        let server = begin(driver).await;
        let mut session = Session::open(&server, Eio::V4, By::Polling, ANN).await;
        let mut socket = probe(&session).await;
        socket.say("5").await;
        session.socket = Some(socket);
        session.connect().await;
        session.is_alive().await;
    }
}

#[tokio::test]
async fn packets_that_come_right_behind_the_upgrade_are_heard() {
    let server = begin(Driver::Lanes).await;
    let mut session = Session::connected(&server, Eio::V4, By::Polling, ANN).await;
    let mut socket = server.websocket(&session.target("websocket"), "").await;
    // Without waiting for an answer, as the suite of Socket.IO does.
    for packet in ["2probe", "5", r#"421["ping"]"#, r#"422["ping"]"#] {
        socket.say(packet).await;
    }
    session.socket = Some(socket);
    for expected in ["3probe", r#"431[{"type":"pong"}]"#, r#"432[{"type":"pong"}]"#] {
        assert_eq!(session.next().await, expected);
    }
}

#[tokio::test]
async fn a_websocket_that_goes_away_within_its_probe_leaves_the_session_where_it_was() {
    for driver in DRIVERS {
        let server = begin(driver).await;
        let mut session = Session::connected(&server, Eio::V4, By::Polling, ANN).await;
        for _ in 0..2 {
            drop(probe(&session).await);
            // Until it is noticed, a poll is let go at once, and another WebSocket is refused.
            let target = session.target("websocket");
            let again = loop {
                let client = server.upgrade(&target, ANN, "").await;
                if client.status == 101 {
                    break client;
                }
                settle(&server).await;
            };
            drop(again);
        }
        session.say(r#"421["ping"]"#).await;
        let heard = loop {
            let packet = session.next().await;
            if packet != "6" {
                break packet;
            }
        };
        assert_eq!(heard, r#"431[{"type":"pong"}]"#);
    }
}

#[tokio::test]
async fn a_probe_that_is_none_is_refused_and_the_session_goes_on_polling() {
    let server = begin(Driver::Lanes).await;
    let mut session = Session::connected(&server, Eio::V4, By::Polling, ANN).await;
    for packets in [&["5"][..], &["2"], &["2probe", "2probe"], &["2probe", "4hello"], &["40"], &[""], &["abc"]] {
        let mut socket = loop {
            let client = server.upgrade(&session.target("websocket"), ANN, "").await;
            if client.status == 101 {
                break WebSocket::new(client);
            }
            settle(&server).await;
        };
        for packet in packets {
            socket.say(packet).await;
        }
        assert_eq!(socket.close_code().await, 1002, "{packets:?}");
    }
    session.say(r#"421["ping"]"#).await;
    while session.next().await == "6" {}
}

#[tokio::test]
async fn a_websocket_for_a_session_that_never_was_or_is_over_is_refused() {
    let server = begin(Driver::Lanes).await;
    let mut session = Session::connected(&server, Eio::V4, By::Polling, ANN).await;
    for sid in ["", "none", "AAAAAAAAAAAAAAAAAAAA"] {
        let target = format!("{}&sid={sid}", path(Eio::V4, "websocket"));
        refused(&server, &target, &bearer(ANN)).await.is(400, SESSION_UNKNOWN);
    }
    session.say("1").await;
    session.polled().await;
    // It is over when the lane has ended its round.
    settle(&server).await;
    refused(&server, &session.target("websocket"), &bearer(ANN)).await.is(400, SESSION_UNKNOWN);
}

#[tokio::test]
async fn a_session_that_ends_while_it_moves_takes_the_websocket_with_it() {
    for driver in DRIVERS {
        let server = begin(driver).await;
        let session = Session::connected(&server, Eio::V4, By::Polling, ANN).await;
        let mut socket = probe(&session).await;
        pass(&server, 25).await;
        pass(&server, 20).await;
        session.is_unknown().await;
        socket.say("5").await;
        assert_eq!(socket.text().await, None);
        server.until("nobody is left", |server| server.service.limiter.open() == 0).await;
    }
}
