//! The frames of `protocol/fixtures`, byte for byte.

use std::time::Duration;

use serde_json::Value;
use tidings::{CloseReason, Cursor, Gap, GapReason, Timestamp};
use tidings_transports::sse;

fn fixtures() -> Value {
    let text = include_str!("../../../protocol/fixtures/sse.json");
    serde_json::from_str(text).expect("the fixtures are JSON")
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap_or_else(|| panic!("no {member} in {value}"))
}

#[test]
fn event_frames_are_those_of_the_protocol() {
    for frame in fixtures()["frames"].as_array().unwrap() {
        let event = &frame["event"];
        let id = event["id"].as_str().map(|id| id.parse::<Cursor>().unwrap());
        let bytes = sse::block(text(event, "name"), text(event, "data").as_bytes(), id);
        assert_eq!(bytes, text(frame, "bytes"), "{}", text(frame, "what"));
    }
}

#[test]
fn frames_with_topic_and_time_are_those_of_the_protocol() {
    for frame in fixtures()["meta"].as_array().unwrap() {
        let event = &frame["event"];
        let id = event["id"].as_str().map(|id| id.parse::<Cursor>().unwrap());
        let meta = sse::Meta { topic: text(event, "topic"), time: Timestamp(event["time"].as_u64().unwrap()) };
        let bytes = sse::block_with(text(event, "name"), Some(meta), text(event, "data").as_bytes(), id);
        assert_eq!(bytes, text(frame, "bytes"), "{}", text(frame, "what"));
    }
}

#[test]
fn control_frames_are_those_of_the_protocol() {
    let fixtures = fixtures();
    let cursor: Cursor = text(&fixtures, "cursor").parse().unwrap();
    for frame in fixtures["control"].as_array().unwrap() {
        let bytes = match text(frame, "what") {
            "comment" => sse::comment(text(frame, "text")),
            "retry" => sse::retry(Duration::from_millis(frame["ms"].as_u64().unwrap())),
            "open" => sse::open(cursor),
            "cursor" => sse::cursor(cursor),
            "gap" => {
                let gap = &frame["gap"];
                assert_eq!(text(gap, "reason"), GapReason::Trimmed.name());
                let asked = text(gap, "asked").to_owned();
                sse::gap(
                    &Gap { reason: GapReason::Trimmed, asked, resumed: cursor, at_most: gap["at_most"].as_u64() },
                    true,
                )
            }
            other => panic!("{other} is not a control frame"),
        };
        assert_eq!(bytes, text(frame, "bytes"), "{}", text(frame, "what"));
    }
}

#[test]
fn endings_are_those_of_the_protocol() {
    for frame in fixtures()["close"].as_array().unwrap() {
        let reason = CloseReason::ALL.into_iter().find(|reason| reason.name() == text(frame, "reason")).unwrap();
        assert_eq!(sse::close(reason), text(frame, "bytes"));
    }
}

#[test]
fn every_close_reason_stands_in_the_protocol() {
    let protocol = include_str!("../../../protocol/README.md");
    for reason in CloseReason::ALL {
        assert!(protocol.contains(&format!("| {} | {} |", reason.code(), reason.name())), "{}", reason.name());
    }
}
