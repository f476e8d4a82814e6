//! How an event stands in a message of the stream.
//!
//! The payload is the event's data, byte for byte. What else belongs to it is JSON in one header, so that other programs can read the stream:
//!
//! `Tidings-Event: {"name":"book.updated","audience":["role/viewer"],"scope":"{\"owner\":\"u1\"}","time":1768600000000,"by":"…"}`
//!
//! `key` and `dedup` (`<request, 32 hex digits>.<index>.<of>`) stand there if the event has them. `by` says which process published it, in
//! which of its batches and as which of it. A signal has `topic`, as its subject says nothing, and `after`: the place it follows.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidings::event::Dedup;
use tidings::{Audience, NewEvent, Offset, Timestamp, Topic};

/// The header.
pub const HEADER: &str = "Tidings-Event";

/// The most bytes of the header: a stream takes 64 KiB of headers in one message, and a few more are needed beside it.
pub const MAX_HEADER_BYTES: usize = 64_000;

/// Who published an event: which process, in which of its batches, as which of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Random for each process.
    pub process: u64,
    /// Counts the batches of the process.
    pub batch: u64,
    /// The index in the batch.
    pub index: u32,
}

/// A signal as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signal {
    /// What it says.
    pub body: NewEvent,
    /// It comes after the event at this place.
    pub after: Offset,
}

/// Why a message is not an event of ours.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(String);

#[derive(Serialize, Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    topic: Option<Cow<'a, str>>,
    #[serde(borrow)]
    audience: Vec<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "str::is_empty")]
    scope: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    key: Option<Cow<'a, str>>,
    time: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dedup: Option<String>,
    by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<u64>,
}

/// A text that is borrowed where it has no escape; within a list serde copies else.
#[derive(Serialize, Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The header of an event.
pub fn encode(event: &NewEvent, by: Origin) -> Result<String, Malformed> {
    write(event, by, None)
}

/// The header of a signal.
pub fn encode_signal(signal: &NewEvent, after: Offset, by: Origin) -> Result<String, Malformed> {
    write(signal, by, Some(after))
}

fn write(event: &NewEvent, by: Origin, after: Option<Offset>) -> Result<String, Malformed> {
    let scope = std::str::from_utf8(&event.scope).map_err(|_| Malformed("its scope is not UTF-8".into()))?;
    let fields = Fields {
        name: event.name.as_ref().into(),
        topic: after.map(|_| event.topic.as_str().into()),
        audience: event.audience.grants().iter().map(|grant| Text(grant.as_str().into())).collect(),
        scope: scope.into(),
        key: event.key.as_deref().map(Into::into),
        time: event.time.0,
        dedup: event.dedup.map(|dedup| format!("{}.{}.{}", hex(&dedup.request), dedup.index, dedup.of)),
        by: by.to_string(),
        after: after.map(|after| after.0),
    };
    let header = serde_json::to_string(&fields).map_err(|error| Malformed(error.to_string()))?;
    if header.len() > MAX_HEADER_BYTES {
        let bytes = header.len();
        return Err(Malformed(format!(
            "what belongs to it (audience, scope, key) takes {bytes} bytes, and NATS has room for {MAX_HEADER_BYTES}: send fewer grants or less scope"
        )));
    }
    Ok(header)
}

/// The event of a message, and who published it.
pub fn decode(topic: Topic, header: &str, data: Bytes) -> Result<(NewEvent, Origin), Malformed> {
    let fields = read(header)?;
    fields.event(topic, data, true)
}

/// Who published the event with this header.
pub fn origin(header: &str) -> Result<Origin, Malformed> {
    Origin::read(&read(header)?.by)
}

/// The signal of a message, and who published it.
pub fn decode_signal(header: &str, data: Bytes) -> Result<(Signal, Origin), Malformed> {
    let fields = read(header)?;
    let topic = fields.topic.as_deref().ok_or_else(|| Malformed("a signal without a topic".into()))?;
    let topic = topic.parse().map_err(|error| Malformed(format!("{error}")))?;
    let after = Offset(fields.after.unwrap_or_default());
    let (body, by) = fields.event(topic, data, false)?;
    Ok((Signal { body, after }, by))
}

fn read(header: &str) -> Result<Fields<'_>, Malformed> {
    serde_json::from_str(header).map_err(|error| Malformed(format!("its header {HEADER} can't be read: {error}")))
}

impl Fields<'_> {
    fn event(&self, topic: Topic, data: Bytes, kept: bool) -> Result<(NewEvent, Origin), Malformed> {
        let grants = self.audience.iter().map(|Text(grant)| grant.parse()).collect::<Result<Vec<Topic>, _>>();
        let body = NewEvent {
            name: self.name.as_ref().into(),
            topic,
            data,
            scope: Bytes::copy_from_slice(self.scope.as_bytes()),
            audience: Audience::new(grants.map_err(|error| Malformed(format!("its audience: {error}")))?),
            key: self.key.as_deref().map(Into::into),
            time: Timestamp(self.time),
            kept,
            dedup: self.dedup.as_deref().map(read_dedup).transpose()?,
        };
        Ok((body, Origin::read(&self.by)?))
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}.{}.{}", self.process, self.batch, self.index)
    }
}

impl Origin {
    /// Reads what [`Display`](std::fmt::Display) writes.
    pub fn read(text: &str) -> Result<Origin, Malformed> {
        let parse = || {
            let mut parts = text.split('.');
            let process = u64::from_str_radix(parts.next()?, 16).ok()?;
            let origin = Origin { process, batch: parts.next()?.parse().ok()?, index: parts.next()?.parse().ok()? };
            parts.next().is_none().then_some(origin)
        };
        parse().ok_or_else(|| Malformed("`by` is not one of ours".into()))
    }
}

/// What the engine knows a repeated event by, for as long as its window is: which request, and which of its events.
pub fn message_id(dedup: &Dedup) -> String {
    format!("{}.{}", hex(&dedup.request), dedup.index)
}

fn read_dedup(text: &str) -> Result<Dedup, Malformed> {
    let parse = || {
        let mut parts = text.split('.');
        let digits = parts.next()?;
        if digits.len() != 32 || !digits.is_ascii() {
            return None;
        }
        let request = u128::from_str_radix(digits, 16).ok()?.to_be_bytes();
        let dedup = Dedup { request, index: parts.next()?.parse().ok()?, of: parts.next()?.parse().ok()? };
        parts.next().is_none().then_some(dedup)
    };
    parse().ok_or_else(|| Malformed("`dedup` is not one of ours".into()))
}

fn hex(bytes: &[u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    prop_compose! {
        fn any_event()(
            name in "\\PC{1,20}", topic in "[a-zü .]{1,9}(/[a-z]{1,9}){0,2}", data: Vec<u8>, scope in "\\PC{0,30}",
            audience in proptest::collection::vec("[a-zü\"\\\\]{1,9}(/[a-z]{1,9}){0,2}", 0..4), key in proptest::option::of("(?s).{0,9}"),
            time: u64, dedup in proptest::option::of((any::<[u8; 16]>(), any::<u32>(), any::<u32>())),
        ) -> NewEvent {
            NewEvent {
                name: name.into(), topic: topic.parse().expect("a topic"), data: data.into(), scope: scope.into(),
                audience: Audience::new(audience.iter().map(|grant| grant.parse().expect("a grant"))),
                key: key.map(Into::into), time: Timestamp(time), kept: true,
                dedup: dedup.map(|(request, index, of)| Dedup { request, index, of }),
            }
        }
    }

    proptest! {
        #[test]
        fn an_event_reads_back_as_it_was(event in any_event(), process: u64, batch: u64, index: u32, after: u64) {
            let by = Origin { process, batch, index };
            let header = encode(&event, by).expect("it is small");
            prop_assert!(!header.contains(['\r', '\n']), "a header is one line");
            let read = decode(event.topic.clone(), &header, event.data.clone()).expect("it reads back");
            prop_assert_eq!(read, (event.clone(), by));
            let signal = NewEvent { kept: false, ..event };
            let header = encode_signal(&signal, Offset(after), by).expect("it is small");
            let read = decode_signal(&header, signal.data.clone()).expect("it reads back");
            prop_assert_eq!(read, (Signal { body: signal, after: Offset(after) }, by));
        }

        #[test]
        fn other_headers_are_refused_and_never_a_panic(header in "\\PC{0,60}") {
            prop_assert!(decode("a".parse().expect("a topic"), &header, Bytes::new()).is_err());
        }
    }

    #[test]
    fn what_does_not_fit_into_a_header_is_refused_with_what_to_do() {
        let grants = (0..64).map(|n| format!("{n}/{}", "g".repeat(500)).parse().expect("a grant"));
        let event = NewEvent {
            name: "n".into(),
            topic: "a".parse().expect("a topic"),
            data: Bytes::new(),
            scope: vec![b'"'; 20_000].into(),
            audience: Audience::new(grants),
            key: None,
            time: Timestamp(0),
            kept: true,
            dedup: None,
        };
        let refused = encode(&event, Origin { process: 0, batch: 0, index: 0 }).expect_err("72 KB");
        assert!(refused.to_string().contains("fewer grants"), "{refused}");
    }
}
