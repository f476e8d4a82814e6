//! What the test suites of the Socket.IO protocol demand (revisions 4 and 5): connecting, leaving, events, acknowledgements.

use std::sync::Arc;

use serde_json::{Value, json};
use tidings::shape::{Args, Shape};
use tidings::template::Template;
use tidings::{EventRule, Implications, Limits, Profile, Timestamp};
use tidings_transports::{Greeting, SocketIoSettings, StreamSettings};

use crate::client::*;
use crate::common::{Driver, Options, Server};

const TOKEN: &str = r#"{"token":"ann+all"}"#;

#[tokio::test]
async fn each_namespace_is_connected_to_with_and_without_a_payload() {
    let server = start(quiet()).await;
    for by in [By::Polling, By::WebSocket] {
        for (packet, head) in [
            ("40".to_owned(), "40"),
            ("40/".to_owned(), "40"),
            ("40/,".to_owned(), "40"),
            (format!("40{TOKEN}"), "40"),
            (format!("40/,{TOKEN}"), "40"),
            ("40/custom,".to_owned(), "40/custom,"),
            ("40/custom".to_owned(), "40/custom,"),
            ("40/custom?a=b,".to_owned(), "40/custom,"),
            (format!("40/custom,{TOKEN}"), "40/custom,"),
        ] {
            let mut session = Session::open(&server, Eio::V4, by, ANN).await;
            session.say(&packet).await;
            let answer = connected(&session.next().await, head);
            assert_eq!(members(&answer), ["sid"], "{packet}");
            assert_ne!(answer["sid"], session.sid, "the sid of the transport is a secret of its client");
            session.is_alive_in(head.strip_prefix("40").unwrap()).await;
        }
    }
}

#[tokio::test]
async fn clients_of_revision_4_are_connected_to_the_main_namespace_unasked_and_to_others_when_they_ask() {
    let server = start(quiet()).await;
    for by in [By::Polling, By::WebSocket] {
        let mut session = Session::connected(&server, Eio::V3, by, ANN).await;
        session.say("40").await;
        session.is_alive().await;
        for packet in ["40/custom,", "40/custom?token=x", "40/custom"] {
            session.say(packet).await;
            assert_eq!(session.next().await, "40/custom,");
            session.is_alive_in("/custom,").await;
            session.say("41/custom").await;
            settle(&server).await;
        }
    }
}

#[tokio::test]
async fn a_server_with_places_says_where_a_client_stands_and_how_it_can_be_recovered() {
    let server = start(settings()).await;
    let place = server.publish("t", "all", 1).await;
    for (eio, by) in ALL {
        let mut session = Session::open(&server, eio, by, ANN).await;
        let answer = session.connect().await;
        if eio == Eio::V4 {
            assert_eq!(members(&answer), ["pid", "sid"]);
            assert_ne!(answer["pid"], answer["sid"]);
        }
        assert_eq!(session.next().await, format!(r#"42["tidings.open",{{"cursor":"{place}"}},"{place}"]"#));
        session.say("40/custom,").await;
        let answer = session.next().await;
        if eio == Eio::V4 {
            assert_eq!(members(&connected(&answer, "40/custom,")), ["pid", "sid"]);
        } else {
            assert_eq!(answer, "40/custom,");
        }
        assert_eq!(session.next().await, format!(r#"42/custom,["tidings.open",{{"cursor":"{place}"}},"{place}"]"#));
    }
    let mut session = Session::open(&server, Eio::V4, By::WebSocket, ANN).await;
    session.connect().await;
    session.next().await;
    let next = server.publish("t", "all", 2).await;
    assert_eq!(session.next().await, format!(r#"42["n",2,"{next}"]"#));
}

#[tokio::test]
async fn a_namespace_that_there_is_not_is_refused_and_the_connection_lives_on() {
    let server = start(quiet()).await;
    for by in [By::Polling, By::WebSocket] {
        let mut session = Session::open(&server, Eio::V4, by, ANN).await;
        session.say("40/random").await;
        assert_eq!(session.next().await, r#"44/random,{"message":"Invalid namespace"}"#);
        session.say(r#"40/a"b,"#).await;
        assert_eq!(session.next().await, r#"44/a"b,{"message":"Invalid namespace"}"#);
        session.connect().await;
        session.is_alive().await;
        let mut session = Session::connected(&server, Eio::V3, by, ANN).await;
        session.say("40/random").await;
        assert_eq!(session.next().await, r#"44/random,"Invalid namespace""#);
        session.is_alive().await;
    }
}

#[tokio::test]
async fn a_handshake_that_is_malformed_ends_the_connection() {
    let server = start(quiet()).await;
    for by in [By::Polling, By::WebSocket] {
        for packet in
            ["4abc", "4", "4 ", "47", r#"40"token""#, "40[]", "40null", "401{}", "40{", "40{}}", "40/custom,[]"]
        {
            let mut session = Session::open(&server, Eio::V4, by, ANN).await;
            session.say(packet).await;
            session.ends(1002).await;
        }
    }
}

#[tokio::test]
async fn who_connects_to_no_namespace_in_time_is_closed() {
    let server = start(quiet()).await;
    let mut socket = Session::open(&server, Eio::V4, By::WebSocket, ANN).await;
    let mut polls = Session::open(&server, Eio::V4, By::Polling, ANN).await;
    let mut inside = Session::open(&server, Eio::V4, By::WebSocket, ANN).await;
    pass(&server, 29).await;
    for session in [&mut socket, &mut polls, &mut inside] {
        assert_eq!(session.next().await, "2");
        session.say("3").await;
    }
    inside.say("40/custom,").await;
    connected(&inside.next().await, "40/custom,");
    pass(&server, 1).await;
    socket.ends(1000).await;
    polls.ends(1000).await;
    inside.is_alive_in("/custom,").await;
}

#[tokio::test]
async fn connecting_twice_is_connecting_once() {
    let server = start(quiet()).await;
    for by in [By::Polling, By::WebSocket] {
        let mut session = Session::connected(&server, Eio::V4, by, ANN).await;
        session.say_all(&["40", "40{}"]).await;
        session.is_alive().await;
        session.say("40/custom,").await;
        connected(&session.next().await, "40/custom,");
        session.say("40/custom,").await;
        session.is_alive_in("/custom,").await;
        server.publish("t", "all", 1).await;
        let mut heard = [session.next().await, session.next().await];
        heard.sort_unstable();
        assert_eq!(heard, [r#"42/custom,["n",1]"#, r#"42["n",1]"#]);
        session.is_alive().await;
    }
}

#[tokio::test]
async fn who_leaves_the_main_namespace_hears_nothing_more_and_may_come_back() {
    let server = start(quiet()).await;
    for by in [By::Polling, By::WebSocket] {
        let mut session = Session::open(&server, Eio::V4, by, ANN).await;
        let first = session.connect().await;
        session.say("41").await;
        settle(&server).await;
        server.publish("t", "all", 1).await;
        pass(&server, 25).await;
        assert_eq!(session.next().await, "2");
        session.say("3").await;
        let second = session.connect().await;
        assert_ne!(first["sid"], second["sid"]);
        session.is_alive().await;
        session.say("41").await;
        settle(&server).await;
        pass(&server, 25).await;
        assert_eq!(session.next().await, "2");
        pass(&server, 5).await;
        session.ends(1000).await;
    }
}

#[tokio::test]
async fn who_leaves_a_custom_namespace_stays_in_the_main_one() {
    let server = start(quiet()).await;
    for (eio, by) in ALL {
        let mut session = Session::connected(&server, eio, by, ANN).await;
        session.say("40/custom").await;
        assert!(session.next().await.starts_with("40/custom,"));
        session.say_all(&["41/custom", r#"42["ping"]"#]).await;
        settle(&server).await;
        server.publish("t", "all", 1).await;
        assert_eq!(session.next().await, r#"42["n",1]"#);
        session.is_alive().await;
    }
}

/// Of a profile `app`: an event for each number of arguments.
fn profile() -> Arc<Profile> {
    let template = |text: &str| text.parse::<Template>().unwrap();
    let rule = |name: &str, args| {
        let mut rule = EventRule::new(name, template("t"), vec![vec![template("all")]]);
        rule.shape = Shape::default().with_args(args);
        rule
    };
    let rules = [rule("none", Args::Zero), rule("one", Args::One), rule("many", Args::Spread)];
    Arc::new(Profile::new("app", Some("app"), Implications::default(), rules))
}

#[tokio::test]
async fn an_event_has_no_argument_or_one_or_many_and_then_its_place() {
    for ids in [false, true] {
        let settings = StreamSettings { ids, announce: false, ..settings() };
        let options = Options { settings, profile: profile(), ..Options::default() };
        let server = Server::start(Driver::Lanes, options).await;
        for (eio, by) in ALL {
            let mut session = Session::connected(&server, eio, by, "ann+app/all").await;
            session.say("40/custom,").await;
            session.next().await;
            for (name, data, args) in [
                ("none", json!({ "a": 1 }), ""),
                ("one", json!({ "a": [true, null] }), r#",{"a":[true,null]}"#),
                ("one", json!([1, 2]), ",[1,2]"),
                // The place is not to be taken for the data.
                ("one", json!(null), if ids { ",null" } else { "" }),
                ("many", json!([1, "2", { "3": [true] }]), r#",1,"2",{"3":[true]}"#),
                ("many", json!([]), ""),
                ("many", json!("no list"), r#","no list""#),
            ] {
                let draft = serde_json::from_value(json!({ "name": name, "data": data })).unwrap();
                let event = server.profile.derive(draft, Timestamp(1), &Limits::default()).unwrap();
                let place = server.publish_all([event]).await.pop().unwrap();
                let place = if ids { format!(r#","{place}""#) } else { String::new() };
                let mut heard = [session.next().await, session.next().await];
                heard.sort_unstable();
                let expected = ["/custom,", ""].map(|namespace| format!(r#"42{namespace}["{name}"{args}{place}]"#));
                assert_eq!(heard, expected, "{eio:?} {by:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_request_that_wants_an_acknowledgement_has_it_with_its_own_number() {
    let server = start(quiet()).await;
    for (eio, by) in ALL {
        let mut session = Session::connected(&server, eio, by, ANN).await;
        session.say("40/custom,").await;
        session.next().await;
        for (packet, answer) in [
            (r#"42456["ping",{"id":"a"}]"#, r#"43456[{"id":"a","type":"pong"}]"#),
            (r#"420["ping"]"#, r#"430[{"type":"pong"}]"#),
            (r#"421["ping",{"id":"a"},1,"2",{"3":[false]}]"#, r#"431[{"id":"a","type":"pong"}]"#),
            (r#"4218446744073709551615["ping"]"#, r#"4318446744073709551615[{"type":"pong"}]"#),
            (r#"42/custom,456["ping",{"id":"a"}]"#, r#"43/custom,456[{"id":"a","type":"pong"}]"#),
            (r#"42/,3["ping"]"#, r#"433[{"type":"pong"}]"#),
            ("425[ \"ping\" , { } ]", r#"435[{"type":"pong"}]"#),
        ] {
            session.say(packet).await;
            assert_eq!(session.next().await, answer, "{packet}");
        }
    }
}

#[tokio::test]
async fn what_nobody_listens_to_is_passed_over() {
    let server = start(quiet()).await;
    for (eio, by) in ALL {
        let mut session = Session::connected(&server, eio, by, ANN).await;
        let packets = [
            r#"42["ping"]"#,
            r#"42["message"]"#,
            r#"421["message",1,"2",{"3":[true]}]"#,
            "42[5]",
            "422[5,6]",
            "431[]",
            r#"43456[1,"2"]"#,
            r#"42["Ping"]"#,
        ];
        session.say_all(&packets).await;
        session.is_alive().await;
    }
}

#[tokio::test]
async fn a_malformed_packet_ends_the_connection() {
    let server = start(quiet()).await;
    for (eio, by) in ALL {
        for packet in [
            "4abc",
            "42",
            "42{}",
            "42[]",
            "42[null]",
            "42[{}]",
            r#"42abc["ping"]"#,
            r#"42-1["ping"]"#,
            r#"421.5["ping"]"#,
            r#"4218446744073709551616["ping"]"#,
            r#"42["ping"#,
            r#"42["ping"]]"#,
            r#"42["ping",]"#,
            r#"42"ping""#,
            "43[]",
            "431{}",
            "411",
            r#"41{}"#,
        ] {
            let mut session = Session::connected(&server, eio, by, ANN).await;
            session.say(packet).await;
            session.ends(1002).await;
        }
    }
}

#[tokio::test]
async fn a_binary_event_or_acknowledgement_ends_the_connection() {
    let server = start(quiet()).await;
    for (eio, by) in ALL {
        for packet in [
            r#"452-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#,
            r#"452-789["ping",{"_placeholder":true,"num":0}]"#,
            r#"450-["ping"]"#,
            r#"461-1[{"_placeholder":true,"num":0}]"#,
        ] {
            let mut session = Session::connected(&server, eio, by, ANN).await;
            session.say(packet).await;
            session.ends(1003).await;
        }
    }
}

#[tokio::test]
async fn a_packet_for_a_namespace_that_it_is_not_in_ends_the_connection() {
    let server = start(quiet()).await;
    for by in [By::Polling, By::WebSocket] {
        for packet in [r#"42["ping"]"#, r#"42/custom,["ping"]"#, r#"42/nowhere,["ping"]"#, "41/custom,", "41/nowhere,"]
        {
            let mut session = Session::open(&server, Eio::V4, by, ANN).await;
            session.say(packet).await;
            session.ends(1002).await;
        }
        for packet in [r#"42/custom,["ping"]"#, "41/custom,", r#"42/nowhere,["ping"]"#, "41/nowhere"] {
            let mut session = Session::connected(&server, Eio::V4, by, ANN).await;
            session.say(packet).await;
            session.ends(1002).await;
        }
    }
}

#[tokio::test]
async fn what_comes_while_somebody_is_asked_who_it_is_is_heard_afterwards() {
    let server = start(quiet()).await;
    for by in [By::Polling, By::WebSocket] {
        let mut session = Session::open(&server, Eio::V4, by, "").await;
        session.say_all(&[r#"40{"token":"gated+all"}"#, r#"421["ping"]"#, r#"422["ping"]"#]).await;
        server.gate.somebody().await;
        session.say(r#"423["ping"]"#).await;
        settle(&server).await;
        server.gate.open();
        connected(&session.next().await, "40");
        for n in 1..=3 {
            assert_eq!(session.next().await, format!(r#"43{n}[{{"type":"pong"}}]"#));
        }
    }
}

#[tokio::test]
async fn requests_of_the_message_protocol_are_events_with_acknowledgements() {
    let server = start(quiet()).await;
    for (eio, by) in ALL {
        let mut session = Session::connected(&server, eio, by, "ann+all+b").await;
        let answer = |packet: String, head: &str| -> Value {
            let answers: Vec<Value> = serde_json::from_str(packet.strip_prefix(head).unwrap_or(&packet)).unwrap();
            assert_eq!(answers.len(), 1, "{packet}");
            answers.into_iter().next().unwrap()
        };
        session.say(r#"421["subscribe",{"id":"s","topics":["a/*"]}]"#).await;
        let subscribed = answer(session.next().await, "431");
        assert_eq!(members(&subscribed), ["cursor", "id", "live", "type"]);
        assert_eq!((&subscribed["id"], &subscribed["live"]), (&json!("s"), &json!(true)));
        session.say(r#"422["unsubscribe",{"id":"connect"}]"#).await;
        assert_eq!(session.next().await, r#"432[{"id":"connect","type":"unsubscribed"}]"#);
        server.publish("b/1", "all", 1).await;
        let place = server.publish("a/1", "all", 2).await;
        assert_eq!(session.next().await, r#"42["n",2]"#, "only what it still asks for");
        session
            .say(&format!(
                r#"423["subscribe",{{"id":"b","topics":["a/1"],"cursor":"{}"}}]"#,
                subscribed["cursor"].as_str().unwrap()
            ))
            .await;
        let again = answer(session.next().await, "433");
        assert_eq!((&again["cursor"], &again["live"]), (&subscribed["cursor"], &json!(false)));
        assert_eq!(session.next().await, r#"42["n",2]"#, "its past");
        assert_eq!(
            session.next().await,
            format!(r#"42["tidings.live",{{"type":"live","id":"b","cursor":"{place}"}}]"#)
        );
        session
            .say(r#"424["publish",{"id":"p","event":{"name":"n","topic":"a/2","data":3,"audience":["all"]}}]"#)
            .await;
        let mut heard = [session.next().await, session.next().await];
        heard.sort_unstable();
        assert_eq!(heard[0], r#"42["n",3]"#);
        let published = answer(heard[1].clone(), "434");
        assert_eq!((&published["type"], &published["id"]), (&json!("published"), &json!("p")));
        assert!(published["results"][0]["cursor"].is_string(), "{published}");
        session.say(r#"425["authenticate",{"token":"ann+b"}]"#).await;
        assert_eq!(session.next().await, r#"435[{"type":"authenticated"}]"#);
        server.publish("a/1", "all", 4).await;
        server.publish("a/1", "b", 5).await;
        assert_eq!(session.next().await, r#"42["n",5]"#, "what the new credential grants");
        session.say(r#"426["authenticate",{"token":"bob+all"}]"#).await;
        let refused = answer(session.next().await, "436");
        assert_eq!((&refused["status"], &refused["code"]), (&json!(403), &json!("somebody-else")));
        session.say(r#"427["subscribe",5]"#).await;
        assert_eq!(answer(session.next().await, "437")["code"], "invalid-message");
        session.is_alive().await;
    }
}

#[tokio::test]
async fn a_mount_that_takes_no_requests_passes_them_over() {
    let server = start(StreamSettings { commands: false, ..quiet() }).await;
    for (eio, by) in ALL {
        let mut session = Session::connected(&server, eio, by, ANN).await;
        session.say_all(&[r#"421["ping"]"#, r#"42["publish",{"event":{"name":"n"}}]"#]).await;
        settle(&server).await;
        server.publish("t", "all", 1).await;
        assert_eq!(session.next().await, r#"42["n",1]"#);
    }
}

#[tokio::test]
async fn a_mount_that_takes_no_requests_passes_over_events_with_attachments_too() {
    let server = start(StreamSettings { commands: false, ..quiet() }).await;
    for (eio, by) in ALL {
        let mut session = Session::connected(&server, eio, by, ANN).await;
        let event = r#"451-["x",{"_placeholder":true,"num":0}]"#;
        match by {
            By::Polling => session.say_all(&[event, "bAQIDBA=="]).await,
            By::WebSocket => {
                session.say(event).await;
                session.say_binary(&[4, 1, 2, 3]).await;
            }
        }
        settle(&server).await;
        server.publish("t", "all", 1).await;
        assert_eq!(session.next().await, r#"42["n",1]"#);
    }
}

#[tokio::test]
async fn everybody_is_greeted_in_each_namespace() {
    let greetings = vec![
        Greeting { name: "hello".into(), data: Some(r#"{"id":{id},"about":{about}}"#.into()) },
        Greeting { name: "bare".into(), data: None },
    ];
    for ids in [false, true] {
        let socketio = SocketIoSettings { greetings: greetings.clone(), ..settings().socketio };
        let server = start(StreamSettings { socketio, ids, announce: false, ..StreamSettings::default() }).await;
        let place = server.publish("t", "all", 1).await;
        let place = if ids { format!(r#","{place}""#) } else { String::new() };
        for (eio, by) in ALL {
            let mut session = Session::connected(&server, eio, by, r#"a"n\n+all"#).await;
            let hello = r#"{"id":"a\"n\\n","about":null}"#;
            assert_eq!(session.next().await, format!(r#"42["hello",{hello}{place}]"#));
            assert_eq!(session.next().await, format!(r#"42["bare"{place}]"#));
            session.say("40/custom,").await;
            session.next().await;
            assert_eq!(session.next().await, format!(r#"42/custom,["hello",{hello}{place}]"#));
            assert_eq!(session.next().await, format!(r#"42/custom,["bare"{place}]"#));
        }
    }
}
