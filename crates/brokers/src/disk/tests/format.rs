//! The parser, given anything.

use bytes::Bytes;
use proptest::prelude::*;
use tidings::event::Dedup;
use tidings::{Audience, Epoch};

use super::*;
use crate::disk::format::{self, Header, Next, Place};
use crate::disk::scan::{Stop, scan};

const PLACE: Place = Place { epoch: Epoch(0x1234_5678), offset: Offset(7), left: 0, distance: 0 };

fn encoded(event: &NewEvent, place: Place) -> Vec<u8> {
    let mut bytes = Vec::new();
    format::encode(event, place, &mut bytes);
    assert_eq!(bytes.len(), format::record_bytes(event).unwrap());
    bytes
}

fn any_event() -> impl Strategy<Value = NewEvent> {
    let path = "[a-zü]{1,5}(/[a-z0-9 ]{1,5}){0,3}";
    let dedup = prop::option::of((any::<[u8; 16]>(), any::<u32>(), any::<u32>()));
    let texts = (".{1,20}", path, prop::option::of(".{0,20}"), prop::collection::vec(path, 0..4));
    let bytes = (prop::collection::vec(any::<u8>(), 0..200), prop::collection::vec(any::<u8>(), 0..50));
    (texts, bytes, any::<u64>(), dedup).prop_map(|((name, topic, key, grants), (data, scope), time, dedup)| NewEvent {
        name: name.into(),
        topic: topic.parse().unwrap(),
        data: data.into(),
        scope: scope.into(),
        audience: Audience::new(grants.iter().map(|grant| grant.parse().unwrap())),
        key: key.map(Into::into),
        time: Timestamp(time),
        kept: true,
        dedup: dedup.map(|(request, index, of)| Dedup { request, index, of }),
    })
}

proptest! {
    #[test]
    fn any_event_reads_back_as_it_was_written(event in any_event(), offset: u64, left: u32, distance: u32) {
        let place = Place { epoch: Epoch(9), offset: Offset(offset), left, distance };
        let bytes = encoded(&event, place);
        let Next::Record(record) = format::next(&bytes) else { panic!("no record") };
        prop_assert_eq!(record.place(), place);
        prop_assert_eq!(record.len(), bytes.len());
        let read = format::decode(&Bytes::from(bytes), 0).unwrap();
        prop_assert_eq!(read, Event { offset: Offset(offset), body: event });
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        format::parse_segment(&bytes);
        let _ = Header::decode(&bytes);
    }

    /// The checksum stops most of it, so it is made to fit.
    #[test]
    fn no_contents_behind_a_checksum_that_fits_make_the_parser_panic(
        event in any_event(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = encoded(&event, PLACE);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let length = bytes.len() as u32;
        bytes[..4].copy_from_slice(&length.to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..4]), &bytes[8..]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        prop_assert!(matches!(format::next(&bytes), Next::Record(_)));
        let _ = format::decode(&Bytes::from(bytes), 0);
    }

    #[test]
    fn any_flipped_bit_is_noticed(event in any_event(), at: prop::sample::Index, bit in 0..8_u8) {
        let mut bytes = encoded(&event, PLACE);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(!matches!(format::next(&bytes), Next::Record(_)));
    }

    #[test]
    fn a_scan_of_any_bytes_ends(bytes in prop::collection::vec(prop_oneof![Just(0_u8), any::<u8>()], 0..3_000)) {
        let disk = FaultyDisk::default();
        disk.put("x", bytes);
        let file = crate::disk::storage::Storage::open(&disk, "x").unwrap();
        let scanned = scan(&*file, PLACE.epoch, Offset::START).unwrap();
        let is_damaged = matches!(scanned.stop, Stop::Damaged { .. });
        prop_assert!(!is_damaged);
        prop_assert_eq!(scanned.index.extent.events, 0);
    }
}

/// The bytes of version 1 must not change: logs of it are out there.
#[test]
fn the_documented_bytes_are_the_written_ones() {
    let event = NewEvent {
        name: "n".into(),
        topic: "t/1".parse().unwrap(),
        data: Bytes::from_static(b"{}"),
        scope: Bytes::from_static(b"s"),
        audience: Audience::new(["g".parse().unwrap()]),
        key: Some("k".into()),
        time: Timestamp(0x0102),
        kept: true,
        dedup: None,
    };
    let bytes = encoded(&event, Place { left: 3, distance: 5, ..PLACE });
    let mut expected = vec![67, 0, 0, 0];
    expected.extend_from_slice(&bytes[4..8]);
    expected.extend_from_slice(&[0x78, 0x56, 0x34, 0x12, 3, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0]);
    expected.extend_from_slice(&[2, 1, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0]);
    expected.extend_from_slice(&[1, 0, 3, 0, 1, 0, 1, 0, 1, 0, 0, 0]);
    expected.extend_from_slice(b"nt/1k\x01\0gs{}");
    assert_eq!(bytes, expected);
}

#[test]
fn a_header_reads_back_and_a_flipped_bit_in_it_is_noticed() {
    let header = Header { epoch: Epoch(5), sequence: 6, base: Offset(7), previous: Offset(4), begun: Timestamp(8) };
    let bytes = header.encode();
    assert_eq!(Header::decode(&bytes), Ok(header));
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes;
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(Header::decode(&flipped).is_err());
    }
}
