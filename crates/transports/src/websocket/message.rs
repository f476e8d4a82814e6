//! The messages of `protocol/README.md` §8.2 that go out, as text. Pure.

use bytes::Bytes;
use serde_json::json;
use tidings::{CloseReason, Cursor, Entry, Gap, Profile, Timestamp};

use crate::problem::Problem;
use crate::sse;

/// What is said into silence, beside a Ping frame: a browser's script sees no such frame.
pub const HEARTBEAT: &str = r#"{"type":"heartbeat"}"#;

/// A text as a JSON string.
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// An event, or a signal, which has no cursor. `name` is its name on the wire.
pub fn event(profile: &Profile, entry: &Entry, name: &str, data: &Bytes, cursor: Option<Cursor>) -> String {
    let kind = if entry.event.is_signal() { "signal" } else { "event" };
    let mut text = format!("{{\"type\":\"{kind}\"{}", body(profile, entry, name, data));
    if let Some(cursor) = cursor {
        text.push_str(&format!(",\"cursor\":\"{cursor}\""));
    }
    text.push('}');
    text
}

/// The newest of a retained kind, for a subscription that has just begun.
pub fn retained(subscription: &str, profile: &Profile, entry: &Entry, name: &str, data: &Bytes) -> String {
    format!("{{\"type\":\"retained\",\"id\":{}{}}}", quoted(subscription), body(profile, entry, name, data))
}

fn body(profile: &Profile, entry: &Entry, name: &str, data: &Bytes) -> String {
    // Data was checked to be JSON, which is UTF-8, when it was published.
    let data = std::str::from_utf8(data).unwrap_or("null");
    let event = &entry.event;
    let topic = profile.local(event.topic.as_str());
    format!(",\"name\":{},\"topic\":{},\"data\":{data},\"time\":{}", quoted(name), quoted(topic), event.time.0)
}

/// The first message: where the connection stands, and after how much silence something comes.
pub fn open(cursor: Cursor, heartbeat: std::time::Duration) -> String {
    format!("{{\"type\":\"open\",\"cursor\":\"{cursor}\",\"heartbeat\":{}}}", heartbeat.as_millis())
}

/// A subscription was taken. Unless it is `live`, the past it asked for comes next.
pub fn subscribed(id: &str, cursor: Cursor, live: bool, gap: Option<&Gap>) -> String {
    let gap = gap.map(|gap| format!(",\"gap\":{}", gap.to_json())).unwrap_or_default();
    format!("{{\"type\":\"subscribed\",\"id\":{},\"cursor\":\"{cursor}\",\"live\":{live}{gap}}}", quoted(id))
}

/// The past of a subscription is told.
pub fn live(id: &str, cursor: Cursor) -> String {
    format!("{{\"type\":\"live\",\"id\":{},\"cursor\":\"{cursor}\"}}", quoted(id))
}

/// A subscription is gone.
pub fn unsubscribed(id: &str) -> String {
    json!({ "type": "unsubscribed", "id": id }).to_string()
}

/// What was published is durable. `answer` is what the same publish over HTTP is answered: an object with `results`.
pub fn published(id: Option<&str>, answer: &str) -> String {
    let id = id.map(|id| format!("\"id\":{},", quoted(id))).unwrap_or_default();
    format!("{{\"type\":\"published\",{id}{}", &answer[1..])
}

/// A new credential was taken.
pub fn authenticated(id: Option<&str>, expires: Option<Timestamp>) -> String {
    let mut message = json!({ "type": "authenticated" });
    if let Some(id) = id {
        message["id"] = id.into();
    }
    if let Some(Timestamp(at)) = expires {
        message["expires"] = at.into();
    }
    message.to_string()
}

/// Retention overtook the connection.
pub fn gap(gap: &Gap) -> String {
    let body = gap.to_json();
    format!("{{\"type\":\"gap\",{}", &body[1..])
}

/// The true position of a quiet connection.
pub fn cursor(cursor: Cursor) -> String {
    format!("{{\"type\":\"cursor\",\"cursor\":\"{cursor}\"}}")
}

/// The answer to a `ping`.
pub fn pong(id: Option<&str>) -> String {
    match id {
        Some(id) => json!({ "type": "pong", "id": id }).to_string(),
        None => json!({ "type": "pong" }).to_string(),
    }
}

/// A request was refused: the problem on an open connection.
pub fn error(id: Option<&str>, problem: &Problem) -> String {
    let mut message = json!({
        "type": "error",
        "status": problem.status.as_u16(),
        "code": problem.code,
        "detail": problem.detail,
    });
    if let (Some(message), Some(id)) = (message.as_object_mut(), id) {
        message.insert("id".into(), id.into());
    }
    if let Some(message) = message.as_object_mut() {
        for (name, value) in problem.members.iter() {
            message.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    message.to_string()
}

/// The end, and whether to come back.
pub fn close(reason: CloseReason) -> String {
    let body = sse::close_data(reason);
    format!("{{\"type\":\"close\",{}", &body[1..])
}
