//! Socket.IO packets ↔ text (socket.io-protocol, revisions 4 and 5), without Engine.IO's leading `4` when they arrive and with it
//! when they leave. Pure.
//!
//! `<kind>[<namespace>,][<acknowledgement id>][<JSON>]`. What is read here the reference (`socket.io-parser` 3.4 and 4.2) reads too,
//! and to the same effect. It also reads what no client of either revision sends, and what is refused here:
//! - packets of a binary kind; a packet without a kind, or with white space for one, which it takes for CONNECT;
//! - an event or an acknowledgement without its array, an acknowledgement without its id, an id on any other kind, and one
//!   over 2⁶⁴ - 1; white space for the id 0, here the white space that JSON may begin with;
//! - in revision 4 the names that revision 5 reserves, and a CONNECT or an ERROR with an array or `null`;
//! - an event's name that holds half a surrogate pair, and a namespace that holds a control character.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

pub use super::engine::Malformed;
use super::engine::Version;

/// What a packet is for (socket.io-protocol, "Packet types").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PacketKind {
    /// `0`: asks for a namespace, with `auth` in revision 5; or tells that it is granted.
    Connect,
    /// `1`: leaves a namespace.
    Disconnect,
    /// `2`: an event, its name and arguments.
    Event,
    /// `3`: the answer to an event that had an acknowledgement id.
    Ack,
    /// `4`: a namespace is refused; in revision 4 `ERROR`.
    ConnectError,
    /// `5`: an event with attachments; [`parse`] refuses it.
    BinaryEvent,
    /// `6`: an acknowledgement with attachments; [`parse`] refuses it.
    BinaryAck,
}

impl PacketKind {
    fn of(digit: char) -> Option<Self> {
        Some(match digit {
            '0' => Self::Connect,
            '1' => Self::Disconnect,
            '2' => Self::Event,
            '3' => Self::Ack,
            '4' => Self::ConnectError,
            '5' => Self::BinaryEvent,
            '6' => Self::BinaryAck,
            _ => return None,
        })
    }

    /// Whether a packet of this kind has an acknowledgement id as `ack` says.
    fn goes_with(self, ack: Option<u64>) -> bool {
        match self {
            Self::Event | Self::BinaryEvent => true,
            Self::Ack | Self::BinaryAck => ack.is_some(),
            Self::Connect | Self::Disconnect | Self::ConnectError => ack.is_none(),
        }
    }
}

/// A packet as it arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// What it is for.
    pub kind: PacketKind,
    /// The namespace, `/` where the packet names none.
    pub namespace: &'a str,
    /// What follows the namespace's `?`, undecoded: how 2.x clients pass a query when they connect to a namespace.
    pub query: Option<&'a str>,
    /// The acknowledgement id that an event asks for or an acknowledgement answers.
    pub ack: Option<u64>,
    /// JSON of the kind's form, without white space around it; empty where the kind has none.
    pub data: &'a str,
}

/// The packet that an Engine.IO message holds.
///
/// The data has its kind's form: CONNECT an object or none (revision 4 clients send none), DISCONNECT none, EVENT an array that
/// begins with a name (see [`parse_event`]), ACK an array, CONNECT_ERROR an object or a string.
///
/// # Errors
/// [`Malformed::Empty`], [`Malformed::Kind`], [`Malformed::Binary`], [`Malformed::Namespace`], [`Malformed::AckId`] and
/// [`Malformed::Data`].
pub fn parse(text: &str) -> Result<Packet<'_>, Malformed> {
    let first = text.chars().next().ok_or(Malformed::Empty)?;
    let kind = PacketKind::of(first).ok_or(Malformed::Kind(first))?;
    if matches!(kind, PacketKind::BinaryEvent | PacketKind::BinaryAck) {
        return Err(Malformed::Binary);
    }
    let (namespace, query, rest) = split_namespace(&text[1..])?;
    let (ack, data) = split_ack(rest)?;
    if !kind.goes_with(ack) {
        return Err(Malformed::AckId);
    }
    Ok(Packet { kind, namespace, query, ack, data: checked(kind, data)? })
}

/// `/namespace?query,` from the front of `text`, if it begins with a slash. The comma may be left off where nothing follows.
fn split_namespace(text: &str) -> Result<(&str, Option<&str>, &str), Malformed> {
    if !text.starts_with('/') {
        return Ok(("/", None, text));
    }
    let (path, rest) = text.split_once(',').unwrap_or((text, ""));
    // No payload and no log line may be broken by a namespace that is said back.
    if path.contains(char::is_control) {
        return Err(Malformed::Namespace);
    }
    match path.split_once('?') {
        Some((namespace, query)) => Ok((namespace, Some(query), rest)),
        None => Ok((path, None, rest)),
    }
}

/// The digits at the front of `text`, as a number.
fn split_ack(text: &str) -> Result<(Option<u64>, &str), Malformed> {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = text.split_at(end);
    let ack = if digits.is_empty() { None } else { Some(digits.parse().map_err(|_| Malformed::AckId)?) };
    Ok((ack, rest))
}

/// The data without white space around it, if it has the form of `kind`.
fn checked(kind: PacketKind, data: &str) -> Result<&str, Malformed> {
    let form = match kind {
        PacketKind::Connect => "an object or left out",
        PacketKind::Disconnect => "left out",
        PacketKind::Event | PacketKind::BinaryEvent => EVENT_FORM,
        PacketKind::Ack | PacketKind::BinaryAck => "an array",
        PacketKind::ConnectError => "an object or a string",
    };
    let json = if data.is_empty() { "" } else { raw(data, form)? };
    let first = json.bytes().next();
    let fits = match kind {
        PacketKind::Connect => matches!(first, None | Some(b'{')),
        PacketKind::Disconnect => first.is_none(),
        PacketKind::Event | PacketKind::BinaryEvent => {
            name_of(json)?;
            true
        }
        PacketKind::Ack | PacketKind::BinaryAck => first == Some(b'['),
        PacketKind::ConnectError => matches!(first, Some(b'{' | b'"')),
    };
    fits.then_some(json).ok_or(Malformed::Data(form))
}

/// `text` without white space around it, if it is JSON.
fn raw<'a>(text: &'a str, form: &'static str) -> Result<&'a str, Malformed> {
    serde_json::from_str::<&RawValue>(text).map(RawValue::get).map_err(|_| Malformed::Data(form))
}

const EVENT_FORM: &str = "an array that begins with the event's name";

/// An event as a client sent it.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    /// The name. The protocol allows a number too; it is then the number as it was written.
    pub name: Cow<'a, str>,
    /// The arguments, each as it was written.
    pub args: Vec<&'a RawValue>,
}

/// The event that the data of an EVENT packet tells.
///
/// # Errors
/// [`Malformed::Data`] where it is no array that begins with a string or a number, or where that string [is
/// reserved](is_reserved).
pub fn parse_event(data: &str) -> Result<Event<'_>, Malformed> {
    let name = name_of(data)?;
    let elements: Vec<&RawValue> = serde_json::from_str(data).map_err(|_| Malformed::Data(EVENT_FORM))?;
    Ok(Event { name, args: elements.into_iter().skip(1).collect() })
}

/// The first element of an array, as an event's name. What follows it is not looked at.
fn name_of(array: &str) -> Result<Cow<'_, str>, Malformed> {
    let malformed = Malformed::Data(EVENT_FORM);
    let elements = array.trim_ascii_start().strip_prefix('[').ok_or(malformed)?;
    let mut reader = serde_json::Deserializer::from_str(elements);
    let first = <&RawValue>::deserialize(&mut reader).map_err(|_| malformed)?.get();
    let name = match first.bytes().next() {
        Some(b'"') => serde_json::from_str::<Text>(first).map_err(|_| malformed)?.0,
        Some(b'-' | b'0'..=b'9') => Cow::Borrowed(first),
        _ => return Err(malformed),
    };
    if is_reserved(&name) { Err(malformed) } else { Ok(name) }
}

/// A string, borrowed where nothing in it is escaped.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Whether `name` has a meaning of its own in the clients, so that no packet may carry an event of this name: a 4.x client
/// that reads one closes the connection.
pub fn is_reserved(name: &str) -> bool {
    matches!(name, "connect" | "connect_error" | "disconnect" | "disconnecting" | "newListener" | "removeListener")
}

/// An event: `42["name",arg,…]`. Each of `args` is JSON and goes out as it is written.
///
/// `namespace` is `/` or a path without a comma, as for each encoder here. The name should not be [reserved](is_reserved).
pub fn event(namespace: &str, name: &str, args: &[&str]) -> String {
    let mut packet = head('2', namespace);
    packet.push('[');
    packet.push_str(&quoted(name));
    for arg in args {
        packet.push(',');
        push_json(&mut packet, arg);
    }
    packet.push(']');
    packet
}

/// The answer to the event that asked for the acknowledgement `id`: `43id[arg,…]`. Each of `args` is JSON.
pub fn ack(namespace: &str, id: u64, args: &[&str]) -> String {
    let mut packet = head('3', namespace);
    packet.push_str(&id.to_string());
    packet.push('[');
    for (at, arg) in args.iter().enumerate() {
        if at > 0 {
            packet.push(',');
        }
        push_json(&mut packet, arg);
    }
    packet.push(']');
    packet
}

/// The namespace is granted: revision 5 says `40{"sid":"…"}`, with `pid` where the session can be recovered; revision 4 says
/// `40` and has neither.
pub fn connected(version: Version, namespace: &str, sid: &str, pid: Option<&str>) -> String {
    let mut packet = head('0', namespace);
    if version == Version::V4 {
        packet.push_str(r#"{"sid":"#);
        packet.push_str(&quoted(sid));
        if let Some(pid) = pid {
            packet.push_str(r#","pid":"#);
            packet.push_str(&quoted(pid));
        }
        packet.push('}');
    }
    packet
}

/// The namespace is refused: `44{"message":"…"}` in revision 5, `44"…"` in revision 4.
pub fn connect_error(version: Version, namespace: &str, message: &str) -> String {
    let (head, message) = (head('4', namespace), quoted(message));
    match version {
        Version::V3 => format!("{head}{message}"),
        Version::V4 => format!(r#"{head}{{"message":{message}}}"#),
    }
}

/// The server ends the session of this namespace: `41`.
pub fn disconnect(namespace: &str) -> String {
    head('1', namespace)
}

/// Engine.IO's message, the kind, and the namespace unless it is the default one.
fn head(kind: char, namespace: &str) -> String {
    debug_assert!(namespace.starts_with('/') && !namespace.contains(','), "{namespace:?} is no namespace");
    let mut packet = format!("4{kind}");
    if namespace != "/" {
        packet.push_str(namespace);
        packet.push(',');
    }
    packet
}

fn push_json(packet: &mut String, json: &str) {
    debug_assert!(serde_json::from_str::<&RawValue>(json).is_ok(), "{json:?} is no JSON");
    packet.push_str(json);
}

/// `text` as a JSON string.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socketio::engine::{self, Kind};
    use proptest::prelude::*;
    use serde_json::Value;

    /// What a client reads from a packet of ours.
    fn read(packet: &str) -> Packet<'_> {
        let (kind, message) = engine::parse(packet).unwrap();
        assert_eq!(kind, Kind::Message);
        parse(message).unwrap_or_else(|error| panic!("{packet}: {error}"))
    }

    fn texts<'a>(args: &[&'a RawValue]) -> Vec<&'a str> {
        args.iter().map(|arg| arg.get()).collect()
    }

    /// Any text, with many of the characters that mean something on the wire. (`any::<String>()` has no control characters.)
    fn text() -> impl Strategy<Value = String> {
        r#"([\x00-\x1f"\\\[\],/0-9]|(?s:.)){0,12}"#
    }

    /// JSON as text, in one line or in several.
    fn json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            text().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<bool>().prop_map(Value::from),
            Just(Value::Null),
        ];
        let value = leaf.prop_recursive(3, 12, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((text(), inner), 0..4).prop_map(|members| members.into_iter().collect()),
            ]
        });
        (value, any::<bool>()).prop_map(|(value, pretty)| if pretty { format!("{value:#}") } else { value.to_string() })
    }

    fn namespace() -> impl Strategy<Value = String> {
        prop_oneof![Just("/".to_owned()), "/[a-z0-9/\\[\"{\u{e9}]{1,8}"]
    }

    #[test]
    fn a_number_names_an_event_as_it_is_written() {
        for (data, name) in [("[5]", "5"), ("[-1.50,1]", "-1.50"), ("[1e999]", "1e999")] {
            assert_eq!(parse_event(data).unwrap().name, name);
        }
    }

    #[test]
    fn a_reserved_name_is_no_event() {
        for name in ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"] {
            assert!(is_reserved(name));
            assert!(parse(&event("/", name, &[])[1..]).is_err(), "{name}");
            // Nor when it is written so that only a reader of JSON sees it.
            let escaped = format!(r#"["\u{:04x}{}"]"#, name.as_bytes()[0], &name[1..]);
            assert!(parse_event(&escaped).is_err(), "{escaped}");
        }
    }

    #[test]
    fn an_acknowledgement_id_is_not_rounded() {
        let asked = format!("2{}[\"a\"]", u64::MAX);
        let ack = parse(&asked).unwrap().ack.unwrap();
        assert_eq!(super::ack("/", ack, &[]), format!("43{}[]", u64::MAX));
        assert_eq!(parse(&format!("2{}0[\"a\"]", u64::MAX)), Err(Malformed::AckId));
    }

    #[test]
    fn json_may_be_as_deep_as_it_is_long() {
        let deep = format!("2[\"a\",{}{}]", "[".repeat(500_000), "]".repeat(500_000));
        assert_eq!(parse_event(parse(&deep).unwrap().data).unwrap().args.len(), 1);
        let open = format!("2[\"a\",{}", "[{\"a\":".repeat(200_000));
        assert_eq!(parse(&open), Err(Malformed::Data(EVENT_FORM)));
        assert_eq!(parse(&format!("2{}", "[".repeat(500_000))), Err(Malformed::Data(EVENT_FORM)));
    }

    proptest! {
        /// Whatever the name and the arguments hold, a client reads one event with that name and those arguments, also beside
        /// others in a payload.
        #[test]
        fn nothing_breaks_out_of_an_event(
            namespace in namespace(),
            name in text().prop_filter("reserved", |name| !is_reserved(name)),
            args in prop::collection::vec(json(), 0..4),
        ) {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            let packet = event(&namespace, &name, &args);
            let Packet { kind, data, ack, namespace: heard, query } = read(&packet);
            prop_assert_eq!((kind, ack, heard, query), (PacketKind::Event, None, namespace.as_str(), None));
            let event = parse_event(data).unwrap();
            prop_assert_eq!(event.name, name);
            prop_assert_eq!(texts(&event.args), args);
            for version in [Version::V3, Version::V4] {
                let payload = engine::encode_payload(version, ["3probe", &packet, "6"]);
                prop_assert_eq!(engine::decode_payload(version, &payload, 3), Ok(vec!["3probe", &packet, "6"]));
            }
        }

        #[test]
        fn an_acknowledgement_is_read_as_it_was_written(namespace in namespace(), id: u64, args in prop::collection::vec(json(), 0..4)) {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            let packet = ack(&namespace, id, &args);
            let Packet { kind, data, ack, namespace: heard, .. } = read(&packet);
            prop_assert_eq!((kind, ack, heard), (PacketKind::Ack, Some(id), namespace.as_str()));
            prop_assert_eq!(texts(&serde_json::from_str::<Vec<&RawValue>>(data).unwrap()), args);
        }

        #[test]
        fn no_message_breaks_out_of_a_refusal(namespace in namespace(), message in text()) {
            let packet = connect_error(Version::V4, &namespace, &message);
            prop_assert_eq!(serde_json::from_str::<Value>(read(&packet).data).unwrap(), serde_json::json!({ "message": &message }));
            let packet = connect_error(Version::V3, &namespace, &message);
            prop_assert_eq!(serde_json::from_str::<Value>(read(&packet).data).unwrap(), Value::from(message));
        }

        #[test]
        fn any_text_is_a_packet_or_refused(
            text in prop_oneof![
                text(),
                "[0-7](/[a-z?]{0,4},?)?[0-9 ]{0,21}[\\[\\]{}\",:a-e0-9 \\\\\u{e9}]{0,12}",
                "[0-6](/[a-z?]{0,2},)?[0-9]{0,2}(\\[\"[a-c]{0,2}\"(,[0-9]){0,2}\\]|\\{\\}|\"a\")?",
            ],
        ) {
            let Ok(packet) = parse(&text) else { return Ok(()) };
            prop_assert!(packet.namespace.starts_with('/'));
            prop_assert!(packet.data.is_empty() || serde_json::from_str::<Value>(packet.data).is_ok() || text.contains("\\u"));
            if packet.kind == PacketKind::Event {
                prop_assert!(parse_event(packet.data).is_ok());
            }
        }
    }
}
