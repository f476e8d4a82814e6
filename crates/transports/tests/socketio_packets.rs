//! The packets of `protocol/fixtures/socketio.json`, byte for byte.

use std::time::Duration;

use serde_json::Value;
use tidings_transports::socketio::engine::{self, Kind, Malformed, Refusal, Version};
use tidings_transports::socketio::packet;

fn fixtures(section: &str) -> Vec<Value> {
    let text = include_str!("../../../protocol/fixtures/socketio.json");
    let fixtures: Value = serde_json::from_str(text).expect("the fixtures are JSON");
    fixtures[section].as_array().unwrap_or_else(|| panic!("no {section}")).clone()
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap_or_else(|| panic!("no {member} in {value}"))
}

fn number(value: &Value, member: &str) -> u64 {
    value[member].as_u64().unwrap_or_else(|| panic!("no {member} in {value}"))
}

fn texts<'a>(value: &'a Value, member: &str) -> Vec<&'a str> {
    let texts = value[member].as_array().unwrap_or_else(|| panic!("no {member} in {value}"));
    texts.iter().map(|text| text.as_str().unwrap()).collect()
}

fn version(value: &Value) -> Version {
    match number(value, "version") {
        3 => Version::V3,
        4 => Version::V4,
        other => panic!("{other} is no revision"),
    }
}

/// What the fixtures call `error`.
fn name(error: Malformed) -> &'static str {
    match error {
        Malformed::Empty => "empty",
        Malformed::Kind(_) => "kind",
        Malformed::Length => "length",
        Malformed::TooMany(_) => "too_many",
        Malformed::Binary => "binary",
        Malformed::Namespace => "namespace",
        Malformed::AckId => "ack_id",
        Malformed::Data(_) => "data",
    }
}

#[test]
fn open_packets_are_those_of_the_protocol() {
    for open in fixtures("open") {
        let upgrades = texts(&open, "upgrades");
        let [interval, timeout] = ["ping_interval", "ping_timeout"].map(|it| Duration::from_millis(number(&open, it)));
        let max_payload = number(&open, "max_payload").try_into().unwrap();
        let bytes = engine::open(version(&open), text(&open, "sid"), &upgrades, interval, timeout, max_payload);
        assert_eq!(bytes, text(&open, "bytes"), "{}", text(&open, "what"));
    }
}

#[test]
fn refusals_are_those_of_the_protocol() {
    let fixtures = fixtures("refusals");
    assert_eq!(fixtures.len(), Refusal::ALL.len());
    for (refusal, fixture) in Refusal::ALL.into_iter().zip(&fixtures) {
        assert_eq!(refusal.body(), text(fixture, "bytes"));
        assert_eq!(u64::from(refusal.status().as_u16()), number(fixture, "status"), "{refusal:?}");
    }
}

#[test]
fn payloads_are_written_and_read_as_the_protocol_says() {
    for payload in fixtures("payloads") {
        let (version, packets, bytes) = (version(&payload), texts(&payload, "packets"), text(&payload, "bytes"));
        assert_eq!(engine::encode_payload(version, packets.iter().copied()), bytes, "{}", text(&payload, "what"));
        assert_eq!(engine::decode_payload(version, bytes, packets.len()), Ok(packets), "{}", text(&payload, "what"));
    }
}

#[test]
fn malformed_payloads_are_refused_whole() {
    for payload in fixtures("malformed_payloads") {
        let error = engine::decode_payload(version(&payload), text(&payload, "bytes"), 9).unwrap_err();
        assert_eq!(name(error), text(&payload, "error"), "{}", text(&payload, "what"));
    }
}

#[test]
fn packets_are_written_as_the_protocol_says() {
    for sent in fixtures("sent") {
        let namespace = text(&sent, "namespace");
        let bytes = match text(&sent, "call") {
            "event" => packet::event(namespace, text(&sent, "name"), &texts(&sent, "args")),
            "ack" => packet::ack(namespace, number(&sent, "id"), &texts(&sent, "args")),
            "connected" => packet::connected(version(&sent), namespace, text(&sent, "sid"), sent["pid"].as_str()),
            "connect_error" => packet::connect_error(version(&sent), namespace, text(&sent, "message")),
            "disconnect" => packet::disconnect(namespace),
            other => panic!("{other} writes no packet"),
        };
        assert_eq!(bytes, text(&sent, "bytes"), "{}", text(&sent, "what"));
    }
}

#[test]
fn packets_are_read_as_the_protocol_says() {
    for received in fixtures("received") {
        let what = text(&received, "what");
        let (kind, message) = engine::parse(text(&received, "bytes")).expect(what);
        assert_eq!(kind, Kind::Message, "{what}");
        let packet = packet::parse(message).expect(what);
        assert_eq!(format!("{:?}", packet.kind), text(&received, "kind"), "{what}");
        assert_eq!(packet.namespace, text(&received, "namespace"), "{what}");
        assert_eq!(packet.query, received["query"].as_str(), "{what}");
        assert_eq!(packet.ack, received["ack"].as_u64(), "{what}");
        assert_eq!(packet.data, text(&received, "data"), "{what}");
        if packet.kind == packet::PacketKind::Event {
            let event = packet::parse_event(packet.data).expect(what);
            assert_eq!(event.name, text(&received, "name"), "{what}");
            assert_eq!(event.args.iter().map(|arg| arg.get()).collect::<Vec<_>>(), texts(&received, "args"), "{what}");
        }
    }
}

#[test]
fn malformed_packets_are_refused() {
    for malformed in fixtures("malformed") {
        let (_, message) = engine::parse(text(&malformed, "bytes")).unwrap();
        let error = packet::parse(message).expect_err(text(&malformed, "what"));
        assert_eq!(name(error), text(&malformed, "error"), "{}", text(&malformed, "what"));
    }
}
