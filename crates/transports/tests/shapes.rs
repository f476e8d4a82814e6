//! A mount that shows events in a shape of its own, or tells only some of them: by whatever transport, live, from the log, and of what
//! is retained.

mod common;

use std::sync::Arc;

use common::websocket::WebSocket;
use common::{Driver, Options, Server};
use serde_json::{Value, json};
use tidings::{
    CloseReason, EventRule, Form, FormNode, FormWords, Implications, Limits, Profile, Redaction, Revocation, Shape,
    Template,
};
use tidings_transports::StreamSettings;

/// Of a profile `app`: `step` and `end`, of which the newest is retained and only admins see the key, and `other`.
fn profile() -> Arc<Profile> {
    let template = |text: &str| text.parse::<Template>().unwrap();
    let hidden =
        |path: &str| Redaction { path: path.parse().unwrap(), unless: vec![template("role/admin")], with_null: false };
    let rule = |name: &str, shape| EventRule {
        retain: name == "end",
        shape,
        ..EventRule::new(name, template("job/{data.id}"), vec![vec![template("all")]])
    };
    let keyless = Shape::default().redact(hidden("key")).unwrap().wrapped("Plain");
    let rules = [rule("step", keyless.clone()), rule("end", keyless), rule("other", Shape::default())];
    Arc::new(Profile::new("app", Some("app"), Implications::default(), rules))
}

/// A mount that shows `step` and `end` as `mine`, with all that it can find.
fn settings() -> StreamSettings {
    let text = |text: &str| FormNode::Text(text.into());
    let members = [
        ("n", text("{data.n}")),
        ("job", text("{topic}")),
        ("key", text("{data.key}")),
        ("all", text("{data}")),
        ("at", text("{cursor}")),
    ];
    let tree = FormNode::Object(members.map(|(name, node)| (name.to_owned(), node)).into());
    let form = Form::new(&tree, &FormWords::new(), &[]).unwrap();
    let shape = Shape::default().named("mine").unwrap().with_form(form);
    let shapes = ["step", "end"].map(|name| (Arc::from(name), shape.clone()));
    StreamSettings { shapes: shapes.into(), ..StreamSettings::default() }
}

async fn start(driver: Driver, settings: StreamSettings) -> Server {
    // A window so small that who comes back reads the log.
    let limits = Limits { window_events: 4, page_events: 3, ..Limits::default() };
    Server::start(driver, Options { limits, settings, profile: profile(), ..Options::default() }).await
}

async fn tell(server: &Server, name: &str, n: u64) -> String {
    server.tell(json!({ "name": name, "data": { "id": "j", "n": n, "key": "SECRET" } })).await
}

/// The data as it is shown to whoever holds no more than `all`, with its place.
fn mine(n: u64, at: &str) -> String {
    format!(r#"{{"n":{n},"job":"job/j","all":{{"id":"j","n":{n}}},"at":"{at}"}}"#)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_shows_events_as_its_mount_says_live_and_from_the_log() {
    for driver in [Driver::Lanes, Driver::Bodies] {
        let server = start(driver, settings()).await;
        let mut client = server.listen("", "u+app/all", None).await;
        let first = tell(&server, "step", 0).await;
        let event = client.next().await.unwrap();
        assert_eq!((event.name.as_str(), event.data, &event.id), ("mine", mine(0, &first), &first), "{driver:?}");
        let mut places = Vec::new();
        for n in 1..20 {
            places.push(tell(&server, "step", n).await);
        }
        tell(&server, "other", 20).await;
        for mut client in [client, server.listen("", "u+app/all", Some(&first)).await] {
            for (n, at) in (1..20).zip(&places) {
                let event = client.next().await.unwrap();
                assert_eq!((event.name.as_str(), event.data), ("mine", mine(n, at)), "{driver:?}");
            }
            let event = client.next().await.unwrap();
            assert_eq!((event.name.as_str(), event.data.as_str()), ("other", r#"{"id":"j","key":"SECRET","n":20}"#));
        }
        let mut admin = server.listen("", "u+app/all+app/role/admin", Some(&places[17])).await;
        assert!(admin.next().await.unwrap().data.contains(r#""key":"SECRET""#), "an admin sees it");
    }
}

/// What is retained has no place of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_retained_is_shown_as_the_mount_says_too() {
    for driver in [Driver::Lanes, Driver::Bodies] {
        let server = start(driver, settings()).await;
        tell(&server, "end", 7).await;
        let event = server.listen("", "u+app/all", None).await.next().await.unwrap();
        assert_eq!(
            (event.name.as_str(), event.data.as_str()),
            ("mine", r#"{"n":7,"job":"job/j","all":{"id":"j","n":7}}"#)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poll_shows_events_as_its_mount_says() {
    let server = start(Driver::Lanes, settings()).await;
    tell(&server, "end", 1).await;
    let poll = async |query: &str| -> Value {
        let request = format!(
            "GET /v1/poll?{query} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer u+app/all\r\nconnection: close\r\n\r\n"
        );
        serde_json::from_str(&server.raw(request.as_bytes()).await.rest().await).unwrap()
    };
    let first = poll("").await;
    let retained = json!({ "n": 1, "job": "job/j", "all": { "id": "j", "n": 1 } });
    assert_eq!((&first["events"][0]["name"], &first["events"][0]["data"]), (&json!("mine"), &retained));
    let at = tell(&server, "step", 2).await;
    let next = poll(&format!("cursor={}", first["cursor"].as_str().unwrap())).await;
    assert_eq!(next["events"][0]["data"], serde_json::from_str::<Value>(&mine(2, &at)).unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_shows_events_as_its_mount_says() {
    let server = start(Driver::Lanes, settings()).await;
    tell(&server, "end", 1).await;
    let mut socket = subscribed(&server, json!({})).await;
    let retained = socket.hear().await;
    assert_eq!((&retained["type"], &retained["name"]), (&json!("retained"), &json!("mine")));
    assert_eq!(retained["data"], json!({ "n": 1, "job": "job/j", "all": { "id": "j", "n": 1 } }));
    let at = tell(&server, "step", 2).await;
    let event = socket.hear().await;
    assert_eq!((&event["name"], &event["cursor"]), (&json!("mine"), &json!(at)));
    assert_eq!(event["data"], serde_json::from_str::<Value>(&mine(2, &at)).unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn socket_io_shows_events_as_its_mount_says() {
    let server = start(Driver::Lanes, StreamSettings { announce: false, ..settings() }).await;
    tell(&server, "end", 1).await;
    let mut socket = socketio(&server).await;
    let retained = socket.text().await.unwrap();
    assert!(retained.starts_with(r#"42["mine",{"n":1,"job":"job/j","all":{"id":"j","n":1}"#), "{retained}");
    let at = tell(&server, "step", 2).await;
    assert_eq!(socket.text().await.unwrap(), format!(r#"42["mine",{},"{at}"]"#, mine(2, &at)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mount_that_tells_only_some_events_tells_no_others_whoever_asks() {
    let names = Some(vec!["step".into(), "end".into()]);
    let settings = StreamSettings { names, announce: false, ..StreamSettings::default() };
    for driver in [Driver::Lanes, Driver::Bodies] {
        let server = start(driver, settings.clone()).await;
        let token = "u+app/all+app/role/admin";
        let mut every = server.request("", token, None).await;
        let mut some = server.request("names=step,other", token, None).await;
        let mut none = server.request("name=other&topic=job/*", token, None).await;
        let mut socket = match driver {
            Driver::Lanes => {
                Some((subscribed(&server, json!({ "names": ["other", "step"] })).await, socketio(&server).await))
            }
            _ => None,
        };
        for (n, name) in ["other", "end", "step", "other"].into_iter().enumerate() {
            tell(&server, name, n as u64).await;
        }
        assert_eq!([every.next().await.unwrap().name, every.next().await.unwrap().name], ["end", "step"], "{driver:?}");
        assert_eq!(some.next().await.unwrap().name, "step", "{driver:?}");
        if let Some((websocket, socketio)) = &mut socket {
            assert_eq!(websocket.hear().await["name"], "step");
            let heard = [socketio.text().await.unwrap(), socketio.text().await.unwrap()];
            assert!(heard[0].starts_with(r#"42["end","#) && heard[1].starts_with(r#"42["step","#), "{heard:?}");
        }
        // And nothing else came before the end.
        server.hub.close(&Revocation::principal("u"), CloseReason::Revoked);
        for client in [&mut every, &mut some, &mut none] {
            assert_eq!(client.next().await, None, "{driver:?}");
        }
    }
}

/// A subscription to everything of the profile, or to what `more` says.
async fn subscribed(server: &Server, more: Value) -> WebSocket {
    let mut socket = server.websocket("/v1/ws", "u+app/all").await;
    let mut message = json!({ "type": "subscribe", "id": "s" });
    message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    socket.tell(message).await;
    loop {
        if socket.hear().await["type"] == "subscribed" {
            return socket;
        }
    }
}

/// A Socket.IO client that is connected.
async fn socketio(server: &Server) -> WebSocket {
    let mut socket = server.websocket("/socket.io/?EIO=4&transport=websocket", "u+app/all").await;
    assert!(socket.text().await.unwrap().starts_with("0{"));
    socket.say("40").await;
    assert!(socket.text().await.unwrap().starts_with("40{"));
    socket
}
