//! What a WebSocket client asks for: it is taken or refused with what is wrong, and what is said back about it is JSON that holds
//! just what it should.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tidings::{Limits, Profile};
use tidings_transports::command::{self, Command, MAX_ID_BYTES, Refused};
use tidings_transports::websocket::message;
use tidings_transports::{Codec, Stream, StreamSettings};

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let stream = Stream::with_codec(Codec::WebSocket, StreamSettings::default(), Arc::new(Profile::open()));
    let limits = Limits::default();
    for kind in [None, Some("subscribe"), Some("publish")] {
        match command::parse(kind, text, &stream, &limits) {
            Ok(Command::Subscribe { id, filter, .. }) => {
                assert!(id.len() <= MAX_ID_BYTES);
                assert!(filter.topics.is_none_or(|topics| topics.len() <= limits.filter_topics));
                assert_eq!(said(&message::unsubscribed(&id))["id"], id);
            }
            Ok(Command::Publish { id, events }) => {
                assert!(serde_json::from_str::<Value>(&events).is_ok_and(|events| !events.is_string()));
                let answer = message::published(id.as_deref(), "{\"results\":[]}");
                assert_eq!(said(&answer)["id"].as_str(), id.as_deref());
            }
            Ok(Command::Ping { id }) => assert_eq!(said(&message::pong(id.as_deref()))["type"], "pong"),
            Ok(Command::Unsubscribe { .. } | Command::Authenticate { .. }) => {}
            Err(Refused { id, problem }) => {
                let error = said(&message::error(id.as_deref(), &problem));
                assert!(error["type"] == "error" && error["status"].is_u64() && error["code"].is_string());
            }
        }
    }
});

fn said(text: &str) -> Value {
    serde_json::from_str(text).expect("what is said is JSON")
}
