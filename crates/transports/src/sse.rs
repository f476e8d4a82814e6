//! Server-Sent Events: frames ↔ bytes (WHATWG HTML §9.2, "Server-sent events"). Pure.
//!
//! `id:` stands last in its block, and a block leaves in one piece: some clients keep an id before its data arrived.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use tidings::{CloseReason, Cursor, Gap, Timestamp};

use crate::websocket::message::quoted;

/// The media type of a stream.
pub const CONTENT_TYPE: &str = "text/event-stream";

/// What a client that asks with `meta=true` is told beside an event (`protocol/README.md` §2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta<'a> {
    /// The topic, in the profile's own words.
    pub topic: &'a str,
    /// When it happened.
    pub time: Timestamp,
}

/// One event block. The name and the data can't break out of it, whatever they hold.
pub fn block(name: &str, data: &[u8], id: Option<Cursor>) -> Bytes {
    block_with(name, None, data, id)
}

/// The same with the fields `topic:` and `time:`, which an EventSource passes over.
pub fn block_with(name: &str, meta: Option<Meta<'_>>, data: &[u8], id: Option<Cursor>) -> Bytes {
    let extra = meta.map_or(0, |meta| meta.topic.len() + 40);
    let mut block = BytesMut::with_capacity(name.len() + data.len() + extra + 64);
    put_field(&mut block, b"event: ", name);
    if let Some(Meta { topic, time }) = meta {
        put_field(&mut block, b"topic: ", topic);
        put_field(&mut block, b"time: ", &time.0.to_string());
    }
    put_data(&mut block, data);
    if let Some(id) = id {
        block.put_slice(b"id: ");
        block.put_slice(id.to_string().as_bytes());
        block.put_u8(b'\n');
    }
    block.put_u8(b'\n');
    block.freeze()
}

/// A field of one line.
fn put_field(block: &mut BytesMut, field: &[u8], value: &str) {
    block.put_slice(field);
    // A name comes from a profile or was checked when it was published; this holds even if it was not.
    block.extend(value.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n' | b'\0')));
    block.put_u8(b'\n');
}

/// The data in `data:` lines. CR, LF and CRLF all end a line there, so each begins a new one; a client joins them with LF,
/// which between the tokens of JSON is only white space.
fn put_data(block: &mut BytesMut, data: &[u8]) {
    let mut rest = data;
    loop {
        block.put_slice(b"data: ");
        match rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
            None => {
                block.put_slice(rest);
                block.put_u8(b'\n');
                return;
            }
            Some(end) => {
                block.put_slice(&rest[..end]);
                block.put_u8(b'\n');
                let crlf = rest[end..].starts_with(b"\r\n");
                rest = &rest[end + 1 + usize::from(crlf)..];
            }
        }
    }
}

/// A comment, which clients do not see.
pub fn comment(text: &str) -> Bytes {
    let text: String = text.chars().map(|c| if matches!(c, '\r' | '\n' | '\0') { ' ' } else { c }).collect();
    Bytes::from(format!(": {text}\n\n"))
}

/// After how long a client that was cut off comes back.
pub fn retry(after: Duration) -> Bytes {
    Bytes::from(format!("retry: {}\n\n", after.as_millis()))
}

/// `tidings.open`: the true position, so that a client that has seen nothing yet can resume.
pub fn open(cursor: Cursor) -> Bytes {
    block("tidings.open", format!("{{\"cursor\":\"{cursor}\"}}").as_bytes(), Some(cursor))
}

/// `tidings.cursor`: the true position of a quiet stream. A dispatched event, as several clients ignore a block with only an id.
pub fn cursor(cursor: Cursor) -> Bytes {
    block("tidings.cursor", format!("{{\"cursor\":\"{cursor}\"}}").as_bytes(), Some(cursor))
}

/// `tidings.gap`: continuity can't be proven. It carries the position from which it can again.
pub fn gap(gap: &Gap, ids: bool) -> Bytes {
    block("tidings.gap", gap.to_json().as_bytes(), ids.then_some(gap.resumed))
}

/// `tidings.close`: why the stream ends, and whether to come back.
pub fn close(reason: CloseReason) -> Bytes {
    block("tidings.close", close_data(reason).as_bytes(), None)
}

/// Why a stream ends, as JSON.
pub(crate) fn close_data(reason: CloseReason) -> String {
    close_with(reason, reason.sentence())
}

/// The same with a sentence that says more.
pub(crate) fn close_with(reason: CloseReason, sentence: &str) -> String {
    let (code, name, come_back) = (reason.code(), reason.name(), reason.come_back());
    let message = quoted(sentence);
    format!("{{\"code\":{code},\"reason\":\"{name}\",\"message\":{message},\"reconnect\":{come_back}}}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tidings::{Epoch, Offset};

    const CURSOR: Cursor = Cursor { epoch: Epoch(0x9f3c_2a1b), offset: Offset(42) };

    /// Reads a stream as WHATWG HTML §9.2.6 says a client does.
    fn parse(stream: &str) -> Vec<(String, String, String)> {
        let stream = stream.replace("\r\n", "\n").replace('\r', "\n");
        let (mut events, mut name, mut data, mut id) = (Vec::new(), String::new(), Vec::new(), String::new());
        for line in stream.split('\n') {
            if line.is_empty() {
                if !data.is_empty() {
                    events.push((std::mem::take(&mut name), data.join("\n"), id.clone()));
                }
                (name, data) = (String::new(), Vec::new());
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => name = value.into(),
                "data" => data.push(value.to_owned()),
                "id" => id = value.into(),
                _ => {}
            }
        }
        events
    }

    #[test]
    fn a_block_ends_with_its_id() {
        let expected = "event: item.created\ndata: {\"a\":1}\nid: 9f3c2a1b-42\n\n";
        assert_eq!(block("item.created", b"{\"a\":1}", Some(CURSOR)), expected);
    }

    proptest! {
        /// Whatever the name, the topic and the data hold, a client reads one event with that data and no other field.
        #[test]
        fn nothing_breaks_out_of_a_block(
            name in "[a-z.\r\n:\0]{1,20}",
            data in "[a-z\r\n: ]{0,60}",
            topic in prop::option::of("[a-z/\r\n:\0]{1,20}"),
        ) {
            let meta = topic.as_deref().map(|topic| Meta { topic, time: Timestamp(7) });
            let text = String::from_utf8(block_with(&name, meta, data.as_bytes(), Some(CURSOR)).to_vec()).unwrap();
            prop_assert_eq!(text.matches("\ntopic: ").count(), usize::from(topic.is_some()));
            let events = parse(&text);
            prop_assert_eq!(events.len(), 1);
            prop_assert_eq!(&events[0].0, &name.replace(['\r', '\n', '\0'], ""));
            prop_assert_eq!(&events[0].1, &data.replace("\r\n", "\n").replace('\r', "\n"));
            prop_assert_eq!(&events[0].2, "9f3c2a1b-42");
        }

        #[test]
        fn a_comment_is_never_an_event(text in "[a-z\r\n: ]{0,60}") {
            let bytes = comment(&text);
            prop_assert!(parse(std::str::from_utf8(&bytes).unwrap()).is_empty());
        }
    }
}
