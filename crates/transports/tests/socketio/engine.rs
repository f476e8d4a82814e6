//! What the test suites of the Engine.IO protocol demand (revisions 3 and 4): handshakes, messages, heartbeats, closing.

use serde_json::json;
use tidings::Limits;
use tidings_transports::{SocketIoSettings, StreamSettings};

use crate::client::*;
use crate::common::{Driver, Options, Server};

#[tokio::test]
async fn a_session_opens_with_the_members_of_its_generation_and_no_others() {
    let server = start(quiet()).await;
    for (eio, by) in ALL {
        let Session { opened, .. } = Session::open(&server, eio, by, ANN).await;
        let mut expected =
            json!({ "sid": opened["sid"], "upgrades": [], "pingInterval": 25_000, "pingTimeout": 20_000 });
        if eio == Eio::V4 {
            expected["maxPayload"] = 1_000_000.into();
        }
        if by == By::Polling {
            expected["upgrades"] = json!(["websocket"]);
        }
        assert_eq!(opened, expected, "{eio:?} {by:?}");
        assert_eq!(opened["sid"].as_str().unwrap().len(), 20);
    }
}

#[tokio::test]
async fn a_poll_is_answered_as_text_that_no_cache_keeps() {
    let server = start(quiet()).await;
    let answer = ask(&server, "GET", &path(Eio::V4, "polling"), &bearer(ANN), "").await;
    assert!(answer.head.contains("content-type: text/plain; charset=utf-8"), "{}", answer.head);
    assert!(answer.head.contains("cache-control: no-store"), "{}", answer.head);
}

#[tokio::test]
async fn an_upgrade_is_offered_only_where_there_is_a_websocket_to_go_to() {
    let socketio = SocketIoSettings { websocket: false, ..SocketIoSettings::default() };
    let server = start(StreamSettings { socketio, ..quiet() }).await;
    let session = Session::open(&server, Eio::V4, By::Polling, ANN).await;
    assert_eq!(session.opened["upgrades"], json!([]));
    for target in [path(Eio::V4, "websocket"), session.target("websocket")] {
        refused(&server, &target, &bearer(ANN)).await.is(400, TRANSPORT_UNKNOWN);
    }
}

#[tokio::test]
async fn a_transport_that_the_mount_lacks_is_unknown() {
    let socketio = SocketIoSettings { polling: false, ..SocketIoSettings::default() };
    let server = start(StreamSettings { socketio, ..quiet() }).await;
    for method in ["GET", "POST"] {
        ask(&server, method, &path(Eio::V4, "polling"), &bearer(ANN), "").await.is(400, TRANSPORT_UNKNOWN);
    }
    Session::connected(&server, Eio::V4, By::WebSocket, ANN).await;
}

#[tokio::test]
async fn a_handshake_that_is_not_as_it_should_be_is_refused_over_both_transports() {
    let server = start(quiet()).await;
    for version in ["", "EIO=abc&", "EIO=&", "EIO=2&", "EIO=5&", "EIO=44&"] {
        let target = |transport: &str| format!("/socket.io/?{version}transport={transport}");
        ask(&server, "GET", &target("polling"), &bearer(ANN), "").await.is(400, BAD_REQUEST);
        refused(&server, &target("websocket"), &bearer(ANN)).await.is(400, BAD_REQUEST);
    }
    for eio in BOTH {
        for transport in ["", "&transport=", "&transport=abc", "&transport=constructor", "&transport=Polling"] {
            let target = format!("/socket.io/?EIO={}{transport}", eio.number());
            ask(&server, "GET", &target, &bearer(ANN), "").await.is(400, TRANSPORT_UNKNOWN);
            refused(&server, &target, &bearer(ANN)).await.is(400, TRANSPORT_UNKNOWN);
        }
    }
    assert_eq!(server.service.pollers(), 0);
}

#[tokio::test]
async fn a_session_begins_with_a_get() {
    let server = start(quiet()).await;
    for eio in BOTH {
        for method in ["POST", "PUT", "DELETE", "PATCH", "HEAD"] {
            let answer = ask(&server, method, &path(eio, "polling"), &bearer(ANN), "").await;
            match method {
                "HEAD" => assert_eq!(answer.status, 400),
                _ => answer.is(400, BAD_METHOD),
            }
        }
    }
    assert_eq!(server.service.pollers(), 0);
}

#[tokio::test]
async fn a_request_for_a_websocket_that_is_no_handshake_is_refused() {
    let server = start(quiet()).await;
    ask(&server, "GET", &path(Eio::V4, "websocket"), &bearer(ANN), "").await.is(400, BAD_REQUEST);
    ask(&server, "POST", &path(Eio::V4, "websocket"), &bearer(ANN), "").await.is(400, BAD_REQUEST);
}

#[tokio::test]
async fn a_body_of_one_packet_is_heard_and_answered() {
    for driver in [Driver::Lanes, Driver::Carried] {
        let server = Server::start(driver, Options { settings: quiet(), ..Options::default() }).await;
        for eio in BOTH {
            let session = Session::connected(&server, eio, By::Polling, ANN).await;
            let answer = session.post(&eio.encode(&[r#"420["ping"]"#])).await;
            assert_eq!((answer.status, answer.body.as_str()), (200, "ok"), "{}", answer.head);
            assert!(answer.head.contains("content-type: text/html"), "what the reference says: {}", answer.head);
            let answer = session.poll().await;
            assert_eq!((answer.status, answer.body), (200, eio.encode(&[r#"430[{"type":"pong"}]"#])));
        }
    }
}

#[tokio::test]
async fn several_packets_of_one_body_are_answered_in_one() {
    let server = start(quiet()).await;
    for eio in BOTH {
        let session = Session::connected(&server, eio, By::Polling, ANN).await;
        let asked = [0, 1, 2].map(|n| format!(r#"42{n}["ping",{{"id":"é€😀{n}"}}]"#));
        let answer = session.post(&eio.encode(&asked.each_ref().map(String::as_str))).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "ok"));
        settle(&server).await;
        let answers = [0, 1, 2].map(|n| format!(r#"43{n}[{{"id":"é€😀{n}","type":"pong"}}]"#));
        let answer = session.poll().await;
        assert_eq!((answer.status, answer.body), (200, eio.encode(&answers.each_ref().map(String::as_str))));
    }
}

/// The suites have binary packets echoed. They are not carried here: the session ends.
#[tokio::test]
async fn a_binary_packet_ends_the_session_with_the_protocols_refusal() {
    let server = start(quiet()).await;
    for (eio, body) in [(Eio::V4, "4hello\u{1e}bAQIDBA=="), (Eio::V3, "6:4hello10:b4AQIDBA=="), (Eio::V4, "bAQIDBA==")]
    {
        let session = Session::connected(&server, eio, By::Polling, ANN).await;
        session.post(body).await.is(400, BAD_REQUEST);
        session.is_unknown().await;
    }
    // The binary form of a body, as 2.x clients post a buffer.
    let session = Session::connected(&server, Eio::V3, By::Polling, ANN).await;
    let mut client = server.connect().await;
    let head = format!("POST {} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n", session.target("polling"));
    client.send(format!("{head}content-type: application/octet-stream\r\ncontent-length: 8\r\n\r\n").as_bytes()).await;
    client.send(&[1, 5, 255, 4, 1, 2, 3, 4]).await;
    Answer::read(client).await.is(400, BAD_REQUEST);
    session.is_unknown().await;
    for (eio, bytes) in [(Eio::V4, &[1, 2, 3, 4][..]), (Eio::V3, &[4, 1, 2, 3, 4])] {
        let mut session = Session::connected(&server, eio, By::WebSocket, ANN).await;
        session.say_binary(bytes).await;
        session.ends(1003).await;
        let mut session = Session::connected(&server, eio, By::WebSocket, ANN).await;
        session.say("bAQIDBA==").await;
        session.ends(1003).await;
    }
}

#[tokio::test]
async fn a_packet_of_no_kind_ends_the_session() {
    let server = start(quiet()).await;
    for eio in BOTH {
        for packet in ["abc", "7", "x2", "-1"] {
            let session = Session::connected(&server, eio, By::Polling, ANN).await;
            session.post(packet).await.is(400, BAD_REQUEST);
            session.is_unknown().await;
            let session = Session::connected(&server, eio, By::Polling, ANN).await;
            session.post(&eio.encode(&[r#"420["ping"]"#, packet])).await.is(400, BAD_REQUEST);
            session.is_unknown().await;
            let mut session = Session::connected(&server, eio, By::WebSocket, ANN).await;
            session.say(packet).await;
            session.ends(1002).await;
        }
        let session = Session::connected(&server, eio, By::Polling, ANN).await;
        session.post("").await.is(400, BAD_REQUEST);
        session.is_unknown().await;
        let mut session = Session::connected(&server, eio, By::WebSocket, ANN).await;
        session.say("").await;
        session.ends(1002).await;
    }
}

#[tokio::test]
async fn packets_that_only_the_other_side_sends_end_the_session() {
    let server = start(quiet()).await;
    for (eio, packets) in [(Eio::V4, ["0{}", "5", "2"]), (Eio::V3, ["0{}", "5", "3"])] {
        for packet in packets {
            for by in [By::Polling, By::WebSocket] {
                let mut session = Session::connected(&server, eio, by, ANN).await;
                session.say(packet).await;
                session.ends(1002).await;
            }
        }
    }
}

#[tokio::test]
async fn a_noop_is_passed_over() {
    let server = start(quiet()).await;
    for (eio, by) in ALL {
        let mut session = Session::connected(&server, eio, by, ANN).await;
        session.say("6").await;
        session.is_alive().await;
    }
}

#[tokio::test]
async fn two_polls_at_once_end_the_session_and_only_one_of_them_is_told() {
    let server = start(quiet()).await;
    for eio in BOTH {
        let session = Session::connected(&server, eio, By::Polling, ANN).await;
        let (first, second) = tokio::join!(session.poll(), session.poll());
        let (told, refused) = if first.status == 200 { (first, second) } else { (second, first) };
        assert_eq!((told.status, told.body), (200, eio.encode(&["1"])));
        refused.is(400, BAD_REQUEST);
        session.is_unknown().await;
    }
    server.until("no session is left", |server| server.service.pollers() == 0).await;
}

#[tokio::test]
async fn a_poll_that_the_client_cancels_ends_the_session() {
    let server = start(quiet()).await;
    for eio in BOTH {
        let session = Session::connected(&server, eio, By::Polling, ANN).await;
        drop(session.begin_poll().await);
        server.until("the session is over", |server| server.service.pollers() == 0).await;
        session.is_unknown().await;
    }
}

#[tokio::test]
async fn the_server_pings_clients_of_revision_4_and_hears_their_pongs() {
    let server = start(quiet()).await;
    for by in [By::Polling, By::WebSocket] {
        let mut session = Session::connected(&server, Eio::V4, by, ANN).await;
        for _ in 0..4 {
            pass(&server, 25).await;
            assert_eq!(session.next().await, "2");
            session.say("3").await;
            settle(&server).await;
        }
        session.is_alive().await;
    }
}

#[tokio::test]
async fn an_open_session_that_never_connects_is_pinged_as_well() {
    let limits = Limits { header_timeout: std::time::Duration::from_secs(600), ..Limits::default() };
    let options = Options { settings: quiet(), limits, ..Options::default() };
    let server = Server::start(Driver::Lanes, options).await;
    let mut session = Session::open(&server, Eio::V4, By::Polling, ANN).await;
    for _ in 0..3 {
        pass(&server, 25).await;
        let answer = session.poll().await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "2"));
        session.say("3").await;
        settle(&server).await;
    }
}

#[tokio::test]
async fn who_does_not_answer_a_ping_is_gone() {
    let server = start(quiet()).await;
    let mut socket = Session::connected(&server, Eio::V4, By::WebSocket, ANN).await;
    let polls = Session::connected(&server, Eio::V4, By::Polling, ANN).await;
    let unheard = Session::connected(&server, Eio::V4, By::Polling, ANN).await;
    pass(&server, 25).await;
    assert_eq!(socket.next().await, "2");
    assert_eq!(polls.polled().await, ["2"]);
    pass(&server, 19).await;
    assert_eq!(server.service.pollers(), 2, "it has 20 seconds");
    let waiting = polls.begin_poll().await;
    pass(&server, 1).await;
    socket.ends(1000).await;
    Answer::read(waiting).await.is(400, SESSION_UNKNOWN);
    polls.is_unknown().await;
    // Whatever it was not given yet, it is not given it now: that the session is over is all that it is told.
    unheard.is_unknown().await;
    assert_eq!(server.service.pollers(), 0);
}

#[tokio::test]
async fn clients_of_revision_3_ping_and_are_answered_with_what_they_said() {
    let server = start(quiet()).await;
    for by in [By::Polling, By::WebSocket] {
        let mut session = Session::connected(&server, Eio::V3, by, ANN).await;
        for ping in ["2", "2hello", "2"] {
            pass(&server, 40).await;
            session.say(ping).await;
            assert_eq!(session.next().await, ping.replacen('2', "3", 1));
            settle(&server).await;
        }
        session.is_alive().await;
    }
}

#[tokio::test]
async fn a_client_of_revision_3_that_does_not_ping_is_gone() {
    let server = start(quiet()).await;
    let mut socket = Session::connected(&server, Eio::V3, By::WebSocket, ANN).await;
    let polls = Session::connected(&server, Eio::V3, By::Polling, ANN).await;
    pass(&server, 44).await;
    assert_eq!(server.service.pollers(), 1, "it has 45 seconds");
    pass(&server, 1).await;
    socket.ends(1000).await;
    polls.post("1:2").await.is(400, SESSION_UNKNOWN);
    polls.is_unknown().await;
    assert_eq!(server.service.pollers(), 0);
}

#[tokio::test]
async fn a_client_that_closes_has_its_waiting_poll_let_go() {
    let server = start(quiet()).await;
    for eio in BOTH {
        let session = Session::connected(&server, eio, By::Polling, ANN).await;
        let waiting = session.begin_poll().await;
        let answer = session.post(&eio.encode(&["1"])).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "ok"));
        let answer = Answer::read(waiting).await;
        assert_eq!((answer.status, answer.body), (200, eio.encode(&["6"])));
        session.is_unknown().await;
        server.until("it is forgotten", |server| server.service.pollers() == 0).await;
        let mut session = Session::connected(&server, eio, By::WebSocket, ANN).await;
        session.say("1").await;
        while session.hear().await.is_some_and(|packet| packet == "6") {}
    }
    server.until("nobody is left", |server| server.service.limiter.open() == 0).await;
}

#[tokio::test]
async fn what_is_said_last_waits_for_a_client_that_does_not_poll_just_then() {
    let server = start(quiet()).await;
    for eio in BOTH {
        let session = Session::connected(&server, eio, By::Polling, ANN).await;
        server.publish("t", "all", 7).await;
        let revoked = tidings::Revocation::principal("ann");
        server.hub.close(&revoked, tidings::CloseReason::Revoked);
        settle(&server).await;
        assert_eq!(session.polled().await, [r#"42["n",7]"#, "41"]);
        // Alone: a stock client takes the end of its transport before what was told in the same answer.
        assert_eq!(session.polled().await, ["1"]);
        session.is_unknown().await;
    }
    assert_eq!(server.service.pollers(), 0);
}
