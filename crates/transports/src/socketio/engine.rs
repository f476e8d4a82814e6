//! Engine.IO packets ↔ text, for both living revisions of its protocol (engine.io-protocol, revisions 3 and 4). Pure.
//!
//! A packet is a digit, its kind, and what follows it. One WebSocket text message holds one packet; a long-polling body,
//! the *payload*, holds several.

use std::time::Duration;

use http::StatusCode;
use serde::Serialize;
use thiserror::Error;

/// The revision of the Engine.IO protocol, which also decides that of Socket.IO.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// `EIO=3`, with Socket.IO protocol 4: clients 1.x and 2.x. The client pings.
    V3,
    /// `EIO=4`, with Socket.IO protocol 5: clients 3.x and 4.x. The server pings.
    V4,
}

/// What a packet is for (engine.io-protocol, "Packet types").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `0`: the server's first word, see [`open`].
    Open,
    /// `1`: this side ends the session.
    Close,
    /// `2`: asks for a pong; with `probe` during an upgrade.
    Ping,
    /// `3`: answers a ping with the same text.
    Pong,
    /// `4`: carries a Socket.IO packet, see [`super::packet`].
    Message,
    /// `5`: the client has moved on to the WebSocket that it probed.
    Upgrade,
    /// `6`: nothing; ends a waiting poll.
    Noop,
}

impl Kind {
    /// The kind that `digit` stands for, if it is one of the seven.
    fn of(digit: u8) -> Option<Self> {
        Some(match digit {
            b'0' => Self::Open,
            b'1' => Self::Close,
            b'2' => Self::Ping,
            b'3' => Self::Pong,
            b'4' => Self::Message,
            b'5' => Self::Upgrade,
            b'6' => Self::Noop,
            _ => return None,
        })
    }
}

/// Why text is no packet, or no payload. The reference server closes the connection for any of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Malformed {
    /// A packet or a payload without a character.
    #[error("a packet begins with its kind, and this one is empty")]
    Empty,
    /// The first character is no kind of packet.
    #[error("{0:?} is no kind of packet")]
    Kind(char),
    /// A packet of a v3 payload isn't as long as its length says, or the length is no number.
    #[error("a packet of a payload has as many UTF-16 code units as the number before its colon says")]
    Length,
    /// A payload of more packets than the reader takes.
    #[error("a payload has at most {0} packets")]
    TooMany(usize),
    /// A binary packet, event or acknowledgement; these are not carried.
    #[error("binary packets are not carried; send JSON")]
    Binary,
    /// The namespace holds a control character.
    #[error("a namespace holds no control characters")]
    Namespace,
    /// An acknowledgement id where there is none, none where there is one, or one over [`u64::MAX`].
    #[error("an event may have an acknowledgement id, an acknowledgement has one, other packets have none")]
    AckId,
    /// The data is no JSON, or none of the form that the kind has; the form is named.
    #[error("the data of this packet must be {0}")]
    Data(&'static str),
}

/// One packet: `4hello` is a message that says `hello`.
///
/// # Errors
/// [`Malformed::Empty`], [`Malformed::Kind`], and [`Malformed::Binary`] for `b…`, which is base64.
pub fn parse(packet: &str) -> Result<(Kind, &str), Malformed> {
    let first = packet.chars().next().ok_or(Malformed::Empty)?;
    let rest = &packet[first.len_utf8()..];
    match u8::try_from(first) {
        Ok(b'b') => Err(Malformed::Binary),
        Ok(digit) => Kind::of(digit).map(|kind| (kind, rest)).ok_or(Malformed::Kind(first)),
        Err(_) => Err(Malformed::Kind(first)),
    }
}

/// What stands between two packets of a v4 payload. JSON escapes it, so that no packet of ours can hold it.
const SEPARATOR: char = '\u{1e}';

/// A long-polling body: v4 puts U+001E between the packets, v3 a length and a colon before each.
///
/// The v3 length counts UTF-16 code units, as JavaScript does. No packet at all is the empty text in v4 and `0:` in v3. A v4
/// packet must not hold U+001E, as no JSON does: it would be read as two.
pub fn encode_payload<'a>(version: Version, packets: impl IntoIterator<Item = &'a str>) -> String {
    let mut payload = String::new();
    for packet in packets {
        match version {
            Version::V3 => {
                payload.push_str(&packet.encode_utf16().count().to_string());
                payload.push(':');
            }
            Version::V4 if !payload.is_empty() => payload.push(SEPARATOR),
            Version::V4 => {}
        }
        payload.push_str(packet);
    }
    if version == Version::V3 && payload.is_empty() {
        payload.push_str("0:");
    }
    payload
}

/// The packets of a long-polling body, in order, at most `max` of them.
///
/// It is all of them or none: the reference server acts on the packets before a malformed one and then closes the session; here
/// it closes at once. A v3 length is decimal digits alone (the reference also reads `+5`, `0x5` and `5e0`), and a packet of
/// length zero is passed over, as there. Not spoken: JSONP (`d=…`), and the binary payloads of v3, which are sent as
/// `application/octet-stream` and are never UTF-8. Clients 1.x encode the UTF-8 of what they post twice, which servers 2.x and
/// later don't undo, and neither is it undone here.
///
/// # Errors
/// Those of [`parse`] for each packet, [`Malformed::Length`] and [`Malformed::TooMany`].
pub fn decode_payload(version: Version, body: &str, max: usize) -> Result<Vec<&str>, Malformed> {
    let packets = split_payload(version, body, max)?;
    packets.iter().try_for_each(|packet| parse(packet).map(drop))?;
    Ok(packets)
}

/// The same, without a look at the packets.
pub(crate) fn split_payload(version: Version, body: &str, max: usize) -> Result<Vec<&str>, Malformed> {
    match version {
        Version::V3 if body.is_empty() => Err(Malformed::Empty),
        Version::V3 => collect(Counted { rest: body }.filter(|packet| *packet != Ok("")), max),
        Version::V4 => collect(body.split(SEPARATOR).map(Ok), max),
    }
}

/// At most `max` packets.
fn collect<'a>(
    packets: impl Iterator<Item = Result<&'a str, Malformed>>,
    max: usize,
) -> Result<Vec<&'a str>, Malformed> {
    let mut all = Vec::new();
    for packet in packets {
        if all.len() == max {
            return Err(Malformed::TooMany(max));
        }
        all.push(packet?);
    }
    Ok(all)
}

/// The packets of a v3 payload, each behind its length.
struct Counted<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Counted<'a> {
    type Item = Result<&'a str, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let packet = self.take();
        if packet.is_err() {
            self.rest = "";
        }
        Some(packet)
    }
}

impl<'a> Counted<'a> {
    fn take(&mut self) -> Result<&'a str, Malformed> {
        let (length, rest) = self.rest.split_once(':').ok_or(Malformed::Length)?;
        // `parse` alone would also take a plus sign.
        if !length.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Malformed::Length);
        }
        let units = length.parse().map_err(|_| Malformed::Length)?;
        let (packet, rest) = split_at_utf16(rest, units).ok_or(Malformed::Length)?;
        self.rest = rest;
        Ok(packet)
    }
}

/// Splits `text` after `units` UTF-16 code units; `None` where it is shorter or a surrogate pair would be cut.
fn split_at_utf16(text: &str, units: usize) -> Option<(&str, &str)> {
    let mut seen = 0;
    for (at, char) in text.char_indices() {
        if seen >= units {
            return (seen == units).then(|| text.split_at(at));
        }
        seen += char.len_utf16();
    }
    (seen == units).then_some((text, ""))
}

/// The open packet, the first of a session: `0{"sid":…,"upgrades":[…],"pingInterval":…,"pingTimeout":…,"maxPayload":…}`.
///
/// `upgrades` are the transports a client may move to, `websocket` or none; the intervals go out in milliseconds, and
/// `max_payload`, the bytes that a message or a body may have, only in v4.
pub fn open(
    version: Version,
    sid: &str,
    upgrades: &[&str],
    ping_interval: Duration,
    ping_timeout: Duration,
    max_payload: usize,
) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Wire<'a> {
        sid: &'a str,
        upgrades: &'a [&'a str],
        ping_interval: u64,
        ping_timeout: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        max_payload: Option<usize>,
    }
    let wire = Wire {
        sid,
        upgrades,
        ping_interval: milliseconds(ping_interval),
        ping_timeout: milliseconds(ping_timeout),
        max_payload: (version == Version::V4).then_some(max_payload),
    };
    let handshake = serde_json::to_string(&wire).expect("a struct of strings and numbers is always JSON");
    format!("0{handshake}")
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// How the HTTP side refuses a request: what the reference server answers, byte for byte (`engine.io`, `Server.errors`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// 0: the `transport` of the query is none that this server speaks.
    TransportUnknown,
    /// 1: the `sid` of the query is of no session, or of one that has ended.
    SessionUnknown,
    /// 2: a session begins with a GET.
    BadHandshakeMethod,
    /// 3: the request fits neither the session nor the protocol.
    BadRequest,
    /// 4: the client may not connect.
    Forbidden,
    /// 5: the `EIO` of the query is no revision that is spoken here.
    UnsupportedVersion,
}

impl Refusal {
    /// Each of them, by code.
    pub const ALL: [Self; 6] = [
        Self::TransportUnknown,
        Self::SessionUnknown,
        Self::BadHandshakeMethod,
        Self::BadRequest,
        Self::Forbidden,
        Self::UnsupportedVersion,
    ];

    /// 400, and 403 for [`Refusal::Forbidden`].
    pub fn status(self) -> StatusCode {
        match self {
            Self::Forbidden => StatusCode::FORBIDDEN,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// The body, which is `application/json`.
    pub fn body(self) -> &'static str {
        match self {
            Self::TransportUnknown => r#"{"code":0,"message":"Transport unknown"}"#,
            Self::SessionUnknown => r#"{"code":1,"message":"Session ID unknown"}"#,
            Self::BadHandshakeMethod => r#"{"code":2,"message":"Bad handshake method"}"#,
            Self::BadRequest => r#"{"code":3,"message":"Bad request"}"#,
            Self::Forbidden => r#"{"code":4,"message":"Forbidden"}"#,
            Self::UnsupportedVersion => r#"{"code":5,"message":"Unsupported protocol version"}"#,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOTH: [Version; 2] = [Version::V3, Version::V4];

    /// Packets with what a payload might stumble over: digits and colons, one to four bytes of UTF-8, surrogate pairs.
    fn packets() -> impl Strategy<Value = Vec<String>> {
        prop::collection::vec("[0-6]([0-9:b\n]|[\u{e9}\u{20ac}\u{ffff}]|[\u{1f600}\u{10ffff}]|\\PC){0,12}", 1..6)
    }

    fn borrowed(packets: &[String]) -> impl Iterator<Item = &str> {
        packets.iter().map(String::as_str)
    }

    #[test]
    fn a_surrogate_pair_is_two_units_and_never_cut() {
        assert_eq!(decode_payload(Version::V3, "3:4\u{1f600}", 1), Ok(vec!["4\u{1f600}"]));
        for body in ["2:4\u{1f600}", "2:4\u{1f600}1:2", "4:4\u{1f600}", "2:4\u{1f600}0:"] {
            assert_eq!(decode_payload(Version::V3, body, 9), Err(Malformed::Length), "{body}");
        }
    }

    #[test]
    fn a_length_is_digits_alone() {
        for body in [
            "+1:2",
            "-1:2",
            " 1:2",
            "1 :2",
            "0x1:2",
            "1e0:2",
            "1.0:2",
            ":2",
            "2",
            "1",
            "1:2x",
            "99999999999999999999:2",
        ] {
            assert_eq!(decode_payload(Version::V3, body, 9), Err(Malformed::Length), "{body}");
        }
        assert_eq!(decode_payload(Version::V3, "01:2", 9), Ok(vec!["2"]));
    }

    #[test]
    fn one_packet_too_many_is_refused() {
        for (version, body) in [(Version::V3, "1:22:3a1:6"), (Version::V4, "2\u{1e}3a\u{1e}6")] {
            assert_eq!(decode_payload(version, body, 3), Ok(vec!["2", "3a", "6"]));
            assert_eq!(decode_payload(version, body, 2), Err(Malformed::TooMany(2)));
        }
    }

    proptest! {
        #[test]
        fn the_packets_of_a_payload_are_those_that_were_put_in(packets in packets()) {
            for version in BOTH {
                let payload = encode_payload(version, borrowed(&packets));
                let read = decode_payload(version, &payload, packets.len());
                prop_assert_eq!(read, Ok(borrowed(&packets).collect::<Vec<_>>()));
            }
        }

        #[test]
        fn no_length_but_the_right_one_is_taken(packet in "[0-6](\\PC|[\u{1f600}-\u{1f64f}]){0,12}", wrong in 0usize..40) {
            let right = packet.encode_utf16().count();
            let body = format!("{wrong}:{packet}");
            let read = decode_payload(Version::V3, &body, 1);
            prop_assert_eq!(read == Ok(vec![packet.as_str()]), wrong == right);
        }

        #[test]
        fn any_body_is_read_or_refused(body in "([0-9]{0,3}:?[0-9b\u{1e}\u{e9}\u{1f600}]{0,4}){0,6}", max in 0usize..5) {
            for version in BOTH {
                let Ok(packets) = decode_payload(version, &body, max) else { continue };
                prop_assert!(packets.len() <= max);
                prop_assert!(packets.iter().all(|packet| parse(packet).is_ok()));
            }
        }

        #[test]
        fn any_text_is_a_packet_or_refused(text in "[0-7b]?(?s:.){0,4}") {
            if let Ok((kind, rest)) = parse(&text) {
                prop_assert_eq!(Kind::of(text.as_bytes()[0]), Some(kind));
                prop_assert_eq!(rest, &text[1..]);
            }
        }
    }
}
