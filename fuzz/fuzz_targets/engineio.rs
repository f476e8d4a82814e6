//! What an Engine.IO client posts or sends: a payload is read as somebody else would read it, or refused, and can be written again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidings_transports::socketio::engine::{self, Malformed, Version};

const MAX: usize = 16;

fuzz_target!(|bytes: &[u8]| {
    let Ok(body) = std::str::from_utf8(bytes) else { return };
    for (version, expected) in [(Version::V3, counted(body)), (Version::V4, Some(body.split('\u{1e}').collect()))] {
        let read = engine::decode_payload(version, body, MAX);
        let expected = expected.filter(|packets| packets.iter().all(|packet| engine::parse(packet).is_ok()));
        match &read {
            Err(Malformed::TooMany(max)) => assert_eq!(*max, MAX),
            Err(_) => assert_eq!(expected.filter(|packets| packets.len() <= MAX), None),
            Ok(packets) => {
                assert_eq!(Some(packets), expected.as_ref());
                let again = engine::encode_payload(version, packets.iter().copied());
                assert_eq!(engine::decode_payload(version, &again, MAX), read);
            }
        }
    }
    write(body);
});

/// The packets of a v3 payload, cut where a length counted over its UTF-16 says.
fn counted(body: &str) -> Option<Vec<&str>> {
    let (mut packets, mut rest) = (Vec::new(), body);
    while !rest.is_empty() {
        let (length, behind) = rest.split_at(rest.find(':')?);
        let behind = &behind[1..];
        let digits = !length.is_empty() && length.chars().all(|char| char.is_ascii_digit());
        let units: usize = length.parse().ok().filter(|_| digits)?;
        let packet = String::from_utf16(behind.encode_utf16().collect::<Vec<_>>().get(..units)?).ok()?;
        let (packet, behind) = behind.split_at(packet.len());
        if !packet.is_empty() {
            packets.push(packet);
        }
        rest = behind;
    }
    (!body.is_empty()).then_some(packets)
}

/// Whatever a message says, it is read back from among others.
fn write(text: &str) {
    let message = format!("4{text}");
    let packets = ["2probe", &message, "6"];
    for version in [Version::V3, Version::V4] {
        if version == Version::V4 && text.contains('\u{1e}') {
            continue;
        }
        let payload = engine::encode_payload(version, packets);
        assert_eq!(engine::decode_payload(version, &payload, packets.len()).as_deref(), Ok(&packets[..]));
    }
}
