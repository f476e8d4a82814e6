//! Going on where a client was, after a cut or a restart: by `pid` and `offset`, by `cursor`, and by the query.

use serde_json::{Value, json};
use tidings_brokers::retention::Retention;
use tidings_transports::{Cors, StreamSettings};

use crate::client::*;
use crate::common::{Driver, Options, Server, event};

async fn begin() -> Server {
    start(settings()).await
}

/// A server that begins anew on the log of another.
async fn restarted(server: Server) -> Server {
    let broker = Some(server.broker.clone());
    drop(server);
    Server::start(Driver::Lanes, Options { settings: settings(), broker, ..Options::default() }).await
}

/// Connects a client of revision 5 with this payload, and returns what it is answered.
async fn connect<'a>(server: &'a Server, by: By, token: &str, payload: &Value) -> (Session<'a>, Value) {
    let mut session = Session::open(server, Eio::V4, by, token).await;
    session.say(&format!("40{payload}")).await;
    let answer = connected(&session.next().await, "40");
    (session, answer)
}

/// The position that is told after connecting.
async fn opening(session: &mut Session<'_>) -> String {
    let packet = session.next().await;
    let arguments = event_of(&packet, "tidings.open");
    assert_eq!(arguments[0]["cursor"], arguments[1], "{packet}");
    arguments[1].as_str().unwrap().to_owned()
}

/// The arguments of an event of this name.
fn event_of(packet: &str, name: &str) -> Vec<Value> {
    let json = packet.strip_prefix("42").unwrap_or_else(|| panic!("no event: {packet}"));
    let mut event: Vec<Value> = serde_json::from_str(json).unwrap();
    assert_eq!(event.remove(0), name, "{packet}");
    event
}

/// Hears the events with these numbers, and returns the place of the last.
async fn hears(session: &mut Session<'_>, numbers: impl IntoIterator<Item = u64>) -> String {
    let mut place = String::new();
    for number in numbers {
        let packet = session.next().await;
        let arguments = event_of(&packet, "n");
        assert_eq!(arguments[0], number, "{packet}");
        place = arguments[1].as_str().unwrap().to_owned();
    }
    place
}

#[tokio::test]
async fn who_was_cut_off_is_the_same_again_and_has_missed_nothing() {
    for restarts in [false, true] {
        for by in [By::Polling, By::WebSocket] {
            let server = begin().await;
            let (mut session, first) = connect(&server, by, ANN, &json!({})).await;
            opening(&mut session).await;
            server.publish("t", "all", 1).await;
            let offset = hears(&mut session, [1]).await;
            drop(session);
            server.publish("t", "all", 2).await;
            server.publish("t", "others", 99).await;
            server.publish("t", "all", 3).await;
            let server = if restarts { restarted(server).await } else { server };
            let back = json!({ "pid": first["pid"], "offset": offset });
            let (mut session, second) = connect(&server, by, ANN, &back).await;
            assert_eq!(second, first, "the same sid and the same pid");
            assert_eq!(opening(&mut session).await, offset);
            hears(&mut session, [2, 3]).await;
            server.publish("t", "all", 4).await;
            hears(&mut session, [4]).await;
            session.is_alive().await;
        }
    }
}

#[tokio::test]
async fn who_has_heard_no_event_yet_is_recovered_by_the_position() {
    let server = begin().await;
    server.publish("t", "all", 1).await;
    let (mut session, first) = connect(&server, By::WebSocket, ANN, &json!({})).await;
    let offset = opening(&mut session).await;
    drop(session);
    server.publish("t", "all", 2).await;
    let back = json!({ "pid": first["pid"], "offset": offset });
    let (mut session, second) = connect(&server, By::WebSocket, ANN, &back).await;
    assert_eq!(second, first);
    opening(&mut session).await;
    hears(&mut session, [2]).await;
}

#[tokio::test]
async fn a_signal_says_the_place_that_it_stands_at_and_may_be_told_again_from_there() {
    let server = begin().await;
    let (mut session, first) = connect(&server, By::WebSocket, ANN, &json!({})).await;
    opening(&mut session).await;
    server.publish("t", "all", 1).await;
    server.publish_all([tidings::NewEvent { kept: false, ..event("t", "all", 2) }]).await;
    let offset = hears(&mut session, [1, 2]).await;
    drop(session);
    server.publish("t", "all", 3).await;
    let back = json!({ "pid": first["pid"], "offset": offset });
    let (mut session, second) = connect(&server, By::WebSocket, ANN, &back).await;
    assert_eq!(second, first);
    opening(&mut session).await;
    hears(&mut session, [2, 3]).await;
}

#[tokio::test]
async fn each_namespace_is_recovered_by_itself() {
    let server = begin().await;
    let mut session = Session::open(&server, Eio::V4, By::WebSocket, ANN).await;
    let mut was = Vec::new();
    for namespace in ["", "/custom,"] {
        session.say(&format!("40{namespace}")).await;
        was.push(connected(&session.next().await, &format!("40{namespace}")));
        session.next().await;
    }
    assert_ne!(was[0]["pid"], was[1]["pid"]);
    let places = [server.publish("t", "all", 1).await, server.publish("t", "all", 2).await];
    drop(session);
    let mut session = Session::open(&server, Eio::V4, By::WebSocket, ANN).await;
    for (namespace, was, place) in [("/custom,", &was[1], &places[0]), ("", &was[0], &places[1])] {
        session.say(&format!("40{namespace}{}", json!({ "pid": was["pid"], "offset": place }))).await;
        assert_eq!(&connected(&session.next().await, &format!("40{namespace}")), was);
        assert!(session.next().await.contains("tidings.open"));
        if !namespace.is_empty() {
            assert_eq!(session.next().await, format!(r#"42/custom,["n",2,"{}"]"#, places[1]));
        }
    }
    session.is_alive().await;
}

#[tokio::test]
async fn what_cant_be_proven_to_go_on_is_a_new_session_and_a_gap() {
    let retention = Retention { events: Some(2), ..Retention::FOREVER };
    let options = Options { settings: settings(), retention, ..Options::default() };
    let server = Server::start(Driver::Lanes, options).await;
    let (mut session, first) = connect(&server, By::WebSocket, ANN, &json!({})).await;
    opening(&mut session).await;
    server.publish("t", "all", 1).await;
    let offset = hears(&mut session, [1]).await;
    drop(session);
    let mut last = String::new();
    for n in 2..=5 {
        last = server.publish("t", "all", n).await;
    }
    let (epoch, end) = last.split_once('-').unwrap();
    let end: u64 = end.parse().unwrap();
    let ahead = format!("{epoch}-{}", end + 1);
    let trimmed = format!("{epoch}-{}", end - 2);
    for (asked, reason, resumed, heard) in [
        (offset.as_str(), "trimmed", trimmed.as_str(), &[4, 5][..]),
        ("00000001-1", "other-epoch", last.as_str(), &[]),
        (ahead.as_str(), "ahead", last.as_str(), &[]),
        ("no cursor at all", "unknown", last.as_str(), &[]),
    ] {
        for by in [By::Polling, By::WebSocket] {
            let back = json!({ "pid": first["pid"], "offset": asked });
            let (mut session, second) = connect(&server, by, ANN, &back).await;
            assert_ne!(second["pid"], first["pid"], "{reason}");
            assert_ne!(second["sid"], first["sid"], "{reason}");
            let packet = session.next().await;
            let arguments = event_of(&packet, "tidings.gap");
            assert_eq!(arguments.len(), 2, "{packet}");
            assert_eq!((&arguments[0]["reason"], &arguments[0]["asked"]), (&json!(reason), &json!(asked)), "{packet}");
            assert_eq!((&arguments[0]["resumed"], &arguments[1]), (&json!(resumed), &json!(resumed)), "{packet}");
            assert_eq!(arguments[0].get("at_most"), (reason == "trimmed").then(|| json!(2)).as_ref(), "{packet}");
            assert_eq!(opening(&mut session).await, resumed);
            hears(&mut session, heard.iter().copied()).await;
            session.is_alive().await;
        }
    }
}

#[tokio::test]
async fn a_pid_that_is_made_up_or_of_somebody_else_gives_no_rights_and_harms_nobody() {
    let server = begin().await;
    let (mut ann, of_ann) = connect(&server, By::WebSocket, "ann+all+a", &json!({})).await;
    let place = opening(&mut ann).await;
    server.publish("t", "a", 1).await;
    server.publish("t", "all", 2).await;
    hears(&mut ann, [1, 2]).await;
    for pid in [of_ann["pid"].as_str().unwrap(), "AAAAAAAAAAAAAAAAAAAA", of_ann["sid"].as_str().unwrap()] {
        let (mut bob, _) = connect(&server, By::WebSocket, "bob+all", &json!({ "pid": pid, "offset": place })).await;
        opening(&mut bob).await;
        hears(&mut bob, [2]).await;
        let refused = {
            let mut session = Session::open(&server, Eio::V4, By::WebSocket, "").await;
            session.say(&format!("40{}", json!({ "pid": pid, "offset": place }))).await;
            session.next().await
        };
        assert_eq!(refused, r#"44{"message":"a token is needed"}"#);
    }
    server.publish("t", "all", 3).await;
    hears(&mut ann, [3]).await;
    ann.is_alive().await;
}

#[tokio::test]
async fn a_pid_of_another_form_or_without_a_place_is_not_taken() {
    let server = begin().await;
    let place = server.publish("t", "all", 1).await;
    let long = "A".repeat(33);
    for back in [
        json!({ "pid": "short", "offset": place }),
        json!({ "pid": long, "offset": place }),
        json!({ "pid": "AAAAAAAAAAAAAAAAAA\u{1e}A", "offset": place }),
        json!({ "pid": "AAAAAAAAAAAAAAAAAA\"A", "offset": place }),
        json!({ "pid": 5, "offset": place }),
        json!({ "pid": ["AAAAAAAAAAAAAAAAAAAA"], "offset": place }),
        json!({ "pid": "AAAAAAAAAAAAAAAAAAAA" }),
        json!({ "pid": "AAAAAAAAAAAAAAAAAAAA", "offset": "" }),
        json!({ "pid": "AAAAAAAAAAAAAAAAAAAA", "offset": 7 }),
    ] {
        let (mut session, answer) = connect(&server, By::WebSocket, ANN, &back).await;
        assert_eq!(answer["pid"].as_str().unwrap().len(), 20);
        assert_ne!(answer["pid"], back["pid"], "{back}");
        assert!(!session.next().await.contains("tidings.gap"), "nobody asked to go on: {back}");
        session.is_alive().await;
    }
}

#[tokio::test]
async fn without_places_nobody_is_given_a_pid() {
    let server = start(StreamSettings { ids: false, ..settings() }).await;
    let back = json!({ "pid": "AAAAAAAAAAAAAAAAAAAA", "offset": "earliest" });
    let (_, answer) = connect(&server, By::WebSocket, ANN, &back).await;
    assert_eq!(members(&answer), ["sid"]);
}

#[tokio::test]
async fn a_cursor_in_the_payload_or_in_the_query_says_where_to_go_on() {
    let server = begin().await;
    let first = server.publish("t", "all", 1).await;
    let second = server.publish("t", "all", 2).await;
    server.publish("t", "all", 3).await;
    for by in [By::Polling, By::WebSocket] {
        let (mut session, _) = connect(&server, by, ANN, &json!({ "cursor": first })).await;
        assert_eq!(opening(&mut session).await, first);
        hears(&mut session, [2, 3]).await;
        let (mut session, _) = connect(&server, by, ANN, &json!({ "cursor": "earliest" })).await;
        opening(&mut session).await;
        hears(&mut session, [1, 2, 3]).await;
        for eio in BOTH {
            for name in ["cursor", "last_event_id", "lastEventId"] {
                let query = format!("&{name}={first}");
                let mut session = Session::open_with(&server, eio, by, &bearer(ANN), &query).await;
                session.connect().await;
                assert_eq!(opening(&mut session).await, first);
                hears(&mut session, [2, 3]).await;
            }
        }
        let mut session = Session::open_with(&server, Eio::V4, by, &bearer(ANN), &format!("&cursor={first}")).await;
        session.say(&format!("40{}", json!({ "cursor": second }))).await;
        session.next().await;
        assert_eq!(opening(&mut session).await, second, "what comes later is the truer");
        hears(&mut session, [3]).await;
    }
}

#[tokio::test]
async fn topics_and_names_are_asked_for_in_the_payload_or_in_the_query() {
    let server = start(StreamSettings { cors: Cors::Any, ..quiet() }).await;
    for by in [By::Polling, By::WebSocket] {
        let mut sessions = Vec::new();
        for payload in [
            json!({ "topics": ["a/*"] }),
            json!({ "topics": ["a/1", "c"] }),
            json!({ "names": ["n"], "topics": ["a/**"] }),
        ] {
            sessions.push(connect(&server, by, ANN, &payload).await.0);
        }
        for (eio, query) in
            BOTH.iter().flat_map(|eio| ["&topic=a/*", "&topics=a/1,c&names=n"].map(|query| (eio, query)))
        {
            let mut session = Session::open_with(&server, *eio, by, &bearer(ANN), query).await;
            session.connect().await;
            sessions.push(session);
        }
        server.publish("b/1", "all", 1).await;
        server.publish("a/1", "others", 2).await;
        server.publish("a/1", "all", 3).await;
        for session in &mut sessions {
            assert_eq!(session.next().await, r#"42["n",3]"#);
            session.is_alive().await;
        }
        let (mut session, _) = connect(&server, by, ANN, &json!({ "names": ["m"] })).await;
        server.publish("a/1", "all", 4).await;
        session.is_alive().await;
        let (mut session, _) = connect(&server, by, ANN, &json!({ "topics": [] })).await;
        server.publish("a/1", "all", 5).await;
        session.is_alive().await;
    }
}

#[tokio::test]
async fn topics_that_are_none_are_refused() {
    let server = start(quiet()).await;
    let many: Vec<String> = (0..257).map(|n| format!("t/{n}")).collect();
    for payload in [json!({ "topics": ["a//b"] }), json!({ "topics": many }), json!({ "topics": ["a\u{1}"] })] {
        let mut session = Session::open(&server, Eio::V4, By::WebSocket, ANN).await;
        session.say(&format!("40{payload}")).await;
        let refused = session.next().await;
        assert!(refused.starts_with(r#"44{"message":""#), "{refused}");
        session.say("40/custom,").await;
        connected(&session.next().await, "40/custom,");
    }
    for eio in BOTH {
        for (transport, answer) in [
            ("polling", ask(&server, "GET", &format!("{}&topic=a//b", path(eio, "polling")), &bearer(ANN), "").await),
            ("websocket", refused(&server, &format!("{}&topic=a//b", path(eio, "websocket")), &bearer(ANN)).await),
        ] {
            assert_eq!(answer.status, 400, "{transport}");
            assert!(answer.body.contains("urn:tidings:problem:invalid-topic"), "{answer:?}");
        }
    }
}
