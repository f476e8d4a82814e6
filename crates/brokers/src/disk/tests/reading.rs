//! Pages, where they are hard to get right.

use bytes::Bytes;
use tidings::{BrokerError, Query};

use super::*;
use crate::disk::format::record_bytes;

/// An event whose record has so many bytes.
fn sized(length: usize) -> NewEvent {
    let mut event = NewEvent { key: None, dedup: None, ..event("a", 0) };
    event.data = Bytes::new();
    event.data = vec![b'x'; length - record_bytes(&event).unwrap()].into();
    event
}

/// A page was once cut in the length of a record, whose first byte is zero if it is a multiple of 256, and that byte alone
/// was taken for the end of what was written.
#[tokio::test]
async fn a_page_that_ends_within_a_length_is_gone_on_with() {
    for first in 256..768 {
        let disk = FaultyDisk::default();
        let broker = open(&disk, one_segment());
        let mut batch = vec![sized(first)];
        batch.resize(130, sized(256));
        broker.publish(batch).await.unwrap();
        for from in [0, 1, 40, 50, 60, 63, 64, 65, 100, 120] {
            let query = Query { limit: 32, ..after(Offset(from)) };
            let read = read_all(&broker, query).await.unwrap();
            assert_eq!(read.len() as u64, 130 - from, "first {first}, from {from}");
        }
    }
}

#[tokio::test]
async fn large_and_small_events_read_together() {
    let disk = FaultyDisk::default();
    let broker = open(&disk, DiskSettings { segment_bytes: 8 << 20, ..settings() });
    let sizes = [200, 3_000_000, 200, 20_000, 17_000, 16_384, 200, 1_048_576, 40_000, 200];
    for size in sizes {
        broker.publish(vec![sized(size), event("b", 1)]).await.unwrap();
    }
    for limit in [1, 3, 100] {
        let read = read_all(&broker, Query { limit, max_bytes: 8 << 20, ..after(Offset::START) }).await.unwrap();
        let read: Vec<usize> = read.iter().map(|event| record_bytes(event).unwrap()).step_by(2).collect();
        assert_eq!(read, sizes);
        let query = Query { limit, ..crate::contract::of(&["a"]) };
        let read = read_all(&broker, query).await.unwrap();
        assert_eq!(read.iter().map(|event| record_bytes(event).unwrap()).collect::<Vec<_>>(), sizes);
    }
    for from in 0..20 {
        for topic in ["a", "b"] {
            let query = Query { after: Offset(from), ..crate::contract::of(&[topic]) };
            let read = read_all(&broker, query).await.unwrap();
            let expected = (from + 1..=20).filter(|n| (n % 2 == 1) == (topic == "a")).count();
            assert_eq!(read.len(), expected, "{topic} after {from}");
        }
    }
}

#[tokio::test]
async fn a_topic_is_read_past_damage_to_the_events_of_others_and_never_past_its_own() {
    let disk = FaultyDisk::default();
    let broker = open(&disk, one_segment());
    for n in 0..200 {
        broker.publish(vec![event(if n % 2 == 0 { "a" } else { "b" }, n)]).await.unwrap();
    }
    let name = disk.names(".seg")[0].clone();
    let mut bytes = disk.bytes(&name);
    // Within the data of event 101, about "a".
    let at = bytes.windows(3).rposition(|window| window == b"100").unwrap();
    bytes[at] = b'9';
    disk.put(&name, bytes);
    let read = read_all(&broker, crate::contract::of(&["b"])).await.unwrap();
    assert_eq!(read.len(), 100, "records of other topics are not looked at");
    for query in [crate::contract::of(&["a"]), after(Offset::START)] {
        let error = read_all(&broker, query).await.unwrap_err();
        assert!(matches!(&error, BrokerError::Damaged(why) if why.contains(&name)), "{error}");
    }
}

/// Positions are looked up some thousand at a time; behind the last of them, another topic's may already be known.
#[tokio::test]
async fn thousands_of_events_of_one_topic_do_not_push_another_ones_before_them() {
    let disk = FaultyDisk::default();
    let broker = open(&disk, DiskSettings { segment_bytes: 8 << 20, ..settings() });
    let batch = (0..9_000).map(|n| event(if n % 5_000 == 4_999 { "b" } else { "a" }, n)).collect();
    broker.publish(batch).await.unwrap();
    let query = Query { limit: usize::MAX, max_bytes: usize::MAX, ..crate::contract::of(&["a", "b"]) };
    let page = broker.read(query).await.unwrap();
    assert!(page.events.iter().map(|event| event.offset.0).eq(1..=9_000));
}
