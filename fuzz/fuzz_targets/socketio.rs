//! What a Socket.IO client says: a packet has the form of its kind, and what is sent back is read as it was meant.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use serde_json::value::RawValue;
use tidings_transports::socketio::engine::{self, Kind, Version};
use tidings_transports::socketio::packet::{self, Packet, PacketKind};

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = packet::parse_event(text).map(|event| assert!(!packet::is_reserved(&event.name)));
    if let Ok(packet) = packet::parse(text) {
        form(&packet);
        match packet.kind {
            PacketKind::Event => event(&packet),
            PacketKind::Ack => ack(&packet),
            _ => {}
        }
    }
    name(text);
});

/// Each kind has the data that the protocol gives it.
fn form(packet: &Packet<'_>) {
    assert!(packet.namespace.starts_with('/') && !packet.namespace.contains(['?', ',']));
    assert!(packet.data.is_empty() || serde_json::from_str::<&RawValue>(packet.data).is_ok());
    let first = packet.data.chars().next();
    assert!(match packet.kind {
        PacketKind::Connect => matches!(first, None | Some('{')) && packet.ack.is_none(),
        PacketKind::Disconnect => first.is_none() && packet.ack.is_none(),
        PacketKind::Event => first == Some('['),
        PacketKind::Ack => first == Some('[') && packet.ack.is_some(),
        PacketKind::ConnectError => matches!(first, Some('{' | '"')) && packet.ack.is_none(),
        PacketKind::BinaryEvent | PacketKind::BinaryAck => false,
    });
}

/// Says the event on, as a server would, and reads it as a client would.
fn event(heard: &Packet<'_>) {
    let event = packet::parse_event(heard.data).expect("it was looked at before");
    let args: Vec<&str> = event.args.iter().map(|arg| arg.get()).collect();
    let said = packet::event(heard.namespace, &event.name, &args);
    let again = read(&said);
    assert_eq!((again.kind, again.namespace, again.ack), (PacketKind::Event, heard.namespace, None));
    let said = packet::parse_event(again.data).expect("an event");
    assert_eq!(said.name, event.name);
    assert_eq!(said.args.iter().map(|arg| arg.get()).collect::<Vec<_>>(), args);
}

fn ack(heard: &Packet<'_>) {
    let args: Vec<&RawValue> = serde_json::from_str(heard.data).expect("it was looked at before");
    let args: Vec<&str> = args.into_iter().map(RawValue::get).collect();
    let said = packet::ack(heard.namespace, heard.ack.expect("it was looked at before"), &args);
    let again = read(&said);
    assert_eq!((again.kind, again.namespace, again.ack), (PacketKind::Ack, heard.namespace, heard.ack));
}

/// No name and no message breaks out of its packet, nor the packet out of a payload.
fn name(text: &str) {
    let refused = packet::connect_error(Version::V3, "/", text);
    assert_eq!(serde_json::from_str::<Value>(read(&refused).data).ok(), Some(Value::from(text)));
    if packet::is_reserved(text) {
        return;
    }
    let event = packet::event("/", text, &["1"]);
    assert_eq!(packet::parse_event(read(&event).data).expect("an event").name, text);
    let payload = engine::encode_payload(Version::V4, [&*event, &*refused]);
    assert_eq!(engine::decode_payload(Version::V4, &payload, 2), Ok(vec![&*event, &*refused]));
}

fn read(said: &str) -> Packet<'_> {
    let (kind, message) = engine::parse(said).expect("a packet");
    assert_eq!(kind, Kind::Message);
    packet::parse(message).expect("a packet of Socket.IO")
}
