//! What is removed, and that it stays removed.

use std::time::Duration;

use tidings::{BrokerError, Clock};

use super::*;

async fn fill(broker: &DiskBroker, count: u64) {
    for n in 0..count {
        publish(broker, n..n + 1).await;
    }
}

/// What is left is a whole end of the log, and a reader from before is told where to go on.
async fn assert_trimmed(broker: &DiskBroker, published: u64) -> Vec<u64> {
    let head = broker.head();
    let left = numbers(broker).await;
    assert!(!left.is_empty() && (left.len() as u64) < published);
    assert_eq!(left, (published - left.len() as u64..published).collect::<Vec<_>>());
    assert_eq!((head.events, head.trimmed), (left.len() as u64, Offset(published - left.len() as u64)));
    match broker.read(after(Offset::START)).await {
        Err(BrokerError::Trimmed { resume, .. }) => assert_eq!(resume, head.trimmed),
        other => panic!("{other:?}"),
    }
    left
}

#[tokio::test]
async fn old_segments_go_by_count_and_by_bytes_and_a_trimmed_place_survives_a_restart() {
    for retention in
        [Retention { events: Some(40), ..Retention::FOREVER }, Retention { bytes: Some(10_000), ..Retention::FOREVER }]
    {
        let disk = FaultyDisk::default();
        let settings = DiskSettings { retention: retention.clone(), ..settings() };
        let broker = open(&disk, settings.clone());
        fill(&broker, 300).await;
        broker.trim().await.unwrap();
        let left = assert_trimmed(&broker, 300).await;
        assert!(left.len() >= 38, "{} are left", left.len());
        if let Some(most) = retention.events {
            assert!(left.len() as u64 <= most + most / 8 + 1, "{} are left", left.len());
        }
        if let Some(most) = retention.bytes {
            assert!(broker.head().bytes <= most + 4_500);
        }
        let head = broker.head();
        drop(broker);
        for copy in [disk.after_kill(), disk.after_power_cut()] {
            let again = open(&copy, settings.clone());
            assert_eq!(again.head(), head);
            assert_trimmed(&again, 300).await;
        }
    }
}

#[tokio::test]
async fn old_segments_go_by_age_also_when_nobody_publishes() {
    let disk = FaultyDisk::default();
    let clock = Arc::new(ManualClock::at(Timestamp(0)));
    let age = Duration::from_secs(800);
    let settings = DiskSettings { retention: Retention { age: Some(age), ..Retention::FOREVER }, ..one_segment() };
    let broker = DiskBroker::open_in(Arc::new(disk.clone()), settings, clock.clone()).unwrap();
    for n in 0..20 {
        clock.advance(Duration::from_secs(100));
        let event = NewEvent { time: clock.now(), ..event("a", n) };
        broker.publish(vec![event]).await.unwrap();
    }
    broker.trim().await.unwrap();
    let left = assert_trimmed(&broker, 20).await;
    assert!((8..=11).contains(&left.len()), "{left:?}");
    clock.advance(Duration::from_secs(2_000));
    broker.trim().await.unwrap();
    assert_eq!(numbers(&broker).await, Vec::<u64>::new());
    assert_eq!(broker.head().trimmed, broker.head().last);
    assert_eq!(publish(&broker, 20..21).await, [Offset(21)], "the places go on");
}

#[tokio::test]
async fn who_reads_a_segment_while_it_is_removed_reads_on() {
    let disk = FaultyDisk::default();
    let broker = open(&disk, settings());
    fill(&broker, 100).await;
    let (segments, head) = broker.shared.snapshot();
    for name in disk.names(".seg") {
        Storage::remove(&disk, &name).unwrap();
    }
    let page = crate::disk::reader::read(&disk, &segments, head, &after(Offset::START)).unwrap();
    assert_eq!(page.events.len(), 100);
}

#[tokio::test]
async fn the_last_events_of_a_topic_are_found_by_a_seek() {
    let disk = FaultyDisk::default();
    let broker = open(&disk, settings());
    fill(&broker, 200).await;
    let topic = |n: u64| [format!("topic/{n}").parse().unwrap()];
    for n in [0, 1, 5, 20, 28, 500] {
        let from = broker.before_last(&topic(3), n).await.unwrap();
        let query = tidings::Query { after: from, ..crate::contract::of(&["topic/3"]) };
        let read = read_all(&broker, query).await.unwrap();
        let expected: Vec<u64> = (0..200).filter(|m| m % 7 == 3).collect();
        let expected = &expected[expected.len().saturating_sub(n)..];
        let read: Vec<u64> = read.iter().map(|e| std::str::from_utf8(&e.data).unwrap().parse().unwrap()).collect();
        assert_eq!(read, expected, "the last {n}");
    }
    assert_eq!(broker.before_last(&topic(99), 5).await.unwrap(), Offset::START);
}

use crate::disk::storage::Storage;
