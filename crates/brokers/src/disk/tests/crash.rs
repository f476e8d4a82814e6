//! What a crash leaves, and what is refused because no crash leaves it.

use super::*;
use crate::disk::format::{HEADER_BYTES, Next, next};

/// Where the records of a segment begin, and where the last one ends.
fn boundaries(bytes: &[u8]) -> Vec<usize> {
    let mut at = HEADER_BYTES;
    let mut found = vec![at];
    while let Next::Record(record) = next(&bytes[at..]) {
        at += record.len();
        found.push(at);
    }
    found
}

/// What stands in a segment, without the room behind it.
fn written(disk: &FaultyDisk, name: &str) -> Vec<u8> {
    let mut bytes = disk.bytes(name);
    bytes.truncate(*boundaries(&bytes).last().unwrap());
    bytes
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_power_cut() {
    let disk = FaultyDisk::default();
    let broker = open(&disk, settings());
    for n in 0..100 {
        publish(&broker, n..n + 1).await;
    }
    let before = all(&broker).await;
    let again = open(&disk.after_power_cut(), settings());
    assert_eq!(all(&again).await, before);
    assert_eq!(again.head().epoch, broker.head().epoch);
    assert_eq!(again.recovery().cut_bytes, 0);
}

#[tokio::test]
async fn a_torn_tail_is_cut_and_counted_wherever_it_was_torn() {
    let disk = FaultyDisk::default();
    let broker = open(&disk, one_segment());
    publish(&broker, 0..4).await;
    publish(&broker, 4..7).await;
    let disk = disk.after_kill();
    let name = disk.names(".seg")[0].clone();
    let whole = written(&disk, &name);
    let start = boundaries(&whole)[4];
    for cut in start..whole.len() {
        for zeros in [0, 700] {
            let torn = disk.after_kill();
            let mut bytes = whole[..cut].to_vec();
            bytes.resize(cut + zeros, 0);
            torn.put(&name, bytes);
            let broker = open(&torn, one_segment());
            assert_eq!(numbers(&broker).await, [0, 1, 2, 3], "cut at {cut}");
            let recovery = broker.recovery();
            let seen = whole[start..cut].iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
            assert_eq!(recovery.cut_bytes.min(1), seen.min(1) as u64, "cut at {cut}: {recovery:?}");
            let records = boundaries(&whole[..cut]).len() as u64 - 5;
            assert_eq!(recovery.cut_records, records, "cut at {cut}");
            publish(&broker, 50..52).await;
            assert_eq!(numbers(&broker).await, [0, 1, 2, 3, 50, 51]);
            drop(broker);
            assert_eq!(numbers(&open(&torn, one_segment())).await, [0, 1, 2, 3, 50, 51], "and again after a start");
        }
    }
}

/// What was left of it would otherwise stand behind the next write and look like damage, or like events.
#[tokio::test]
async fn a_torn_tail_that_is_longer_than_the_next_write_is_gone_for_good() {
    let settings = DiskSettings { write_ahead: 0, ..one_segment() };
    let disk = FaultyDisk::default();
    let broker = open(&disk, settings.clone());
    publish(&broker, 0..2).await;
    publish(&broker, 2..40).await;
    let torn = disk.after_kill();
    let name = torn.names(".seg")[0].clone();
    let mut bytes = written(&torn, &name);
    bytes.truncate(bytes.len() - 1);
    torn.put(&name, bytes);
    let broker = open(&torn, settings.clone());
    assert_eq!(broker.recovery().cut_records, 37);
    publish(&broker, 50..51).await;
    let again = open(&torn.after_kill(), settings);
    assert_eq!(numbers(&again).await, [0, 1, 50]);
    assert_eq!(again.recovery().cut_bytes, 0);
}

#[tokio::test]
async fn a_last_write_whose_blocks_came_out_of_order_is_cut_and_not_called_damage() {
    let disk = FaultyDisk::default();
    let broker = open(&disk, one_segment());
    publish(&broker, 0..4).await;
    publish(&broker, 4..9).await;
    let disk = disk.after_kill();
    let name = disk.names(".seg")[0].clone();
    let whole = written(&disk, &name);
    let records = boundaries(&whole);
    for hole in records[4]..records[8] {
        let torn = disk.after_kill();
        let mut bytes = whole.clone();
        let end = (hole + 40).min(records[8] + 10);
        bytes[hole..end].fill(0);
        if bytes == whole {
            continue;
        }
        torn.put(&name, bytes);
        let broker = open(&torn, one_segment());
        assert_eq!(numbers(&broker).await, [0, 1, 2, 3], "hole at {hole}");
        assert!(broker.recovery().cut_bytes > 0);
    }
}

#[tokio::test]
async fn a_flipped_bit_with_later_writes_behind_it_is_refused_at_every_position() {
    let disk = FaultyDisk::default();
    let broker = open(&disk, one_segment());
    for n in 0..4 {
        publish(&broker, n..n + 1).await;
    }
    let disk = disk.after_kill();
    let name = disk.names(".seg")[0].clone();
    let whole = written(&disk, &name);
    let records = boundaries(&whole);
    for at in 0..records[3] {
        let damaged = disk.after_kill();
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        damaged.put(&name, bytes.clone());
        let sentence = refusal(&damaged, one_segment());
        let record = records.iter().rfind(|start| **start <= at).map_or(0, |start| *start);
        assert!(sentence.contains(&format!("byte {record} ")) || at < HEADER_BYTES, "{at}: {sentence}");
        assert!(sentence.contains(&name) || at < HEADER_BYTES, "{sentence}");
        assert_eq!(damaged.bytes(&name), bytes, "nothing was changed");
    }
}

#[tokio::test]
async fn after_an_orderly_end_or_a_start_even_the_last_write_is_not_taken_for_torn() {
    let disk = FaultyDisk::default();
    let broker = open(&disk, one_segment());
    publish(&broker, 0..4).await;
    broker.close();
    let name = disk.names(".seg")[0].clone();
    let whole = disk.bytes(&name);
    let started = disk.after_kill();
    let broker = open(&started, one_segment());
    publish(&broker, 4..5).await;
    for before in [disk.after_kill(), started.after_kill()] {
        for at in HEADER_BYTES..whole.len() {
            let damaged = before.after_kill();
            let mut bytes = damaged.bytes(&name);
            bytes[at] ^= 2;
            damaged.put(&name, bytes.clone());
            assert!(refusal(&damaged, one_segment()).contains("byte"));
            bytes.truncate(at);
            damaged.put(&name, bytes);
            assert!(refusal(&damaged, one_segment()).contains("though the log was durable up to event 4"));
        }
    }
    // It is a help and no need.
    disk.put("floor", vec![1, 2, 3]);
    assert_eq!(numbers(&open(&disk, one_segment())).await, [0, 1, 2, 3]);
}

#[tokio::test]
async fn damage_in_a_sealed_segment_is_refused_when_it_is_seen_and_never_skipped() {
    let disk = FaultyDisk::default();
    let broker = open(&disk, settings());
    for n in 0..100 {
        publish(&broker, n..n + 1).await;
    }
    broker.close();
    let name = disk.names(".seg")[1].clone();
    let mut bytes = disk.bytes(&name);
    let at = boundaries(&bytes)[3];
    bytes[at + 60] ^= 1;
    disk.put(&name, bytes.clone());
    // Its index is good, so that it is not read at the start, but when somebody asks for it.
    let broker = open(&disk, settings());
    let error = read_all(&broker, after(Offset::START)).await.unwrap_err();
    assert!(matches!(&error, tidings::BrokerError::Damaged(why) if why.contains(&name)), "{error}");
    drop(broker);
    disk.delete(&name.replace(".seg", ".idx"));
    let sentence = refusal(&disk, settings());
    assert!(sentence.contains(&format!("byte {at} ")) && sentence.contains(&name), "{sentence}");
    // Cut short.
    disk.put(&name, bytes[..at].to_vec());
    assert!(refusal(&disk, settings()).contains("is damaged"));
}

#[tokio::test]
async fn a_missing_segment_is_refused_unless_it_is_an_oldest_one() {
    let disk = FaultyDisk::default();
    let broker = open(&disk, settings());
    for n in 0..150 {
        publish(&broker, n..n + 1).await;
    }
    broker.close();
    let names = disk.names(".seg");
    assert!(names.len() > 3);
    for missing in &names[1..] {
        let damaged = disk.after_kill();
        damaged.delete(missing);
        let sentence = refusal(&damaged, settings());
        assert!(sentence.contains("missing"), "{sentence}");
    }
    // What retention might have removed: readers from before are told.
    disk.delete(&names[0]);
    let broker = open(&disk, settings());
    assert!(broker.head().trimmed > Offset::START);
    assert!(read_all(&broker, after(Offset::START)).await.is_err());
}

#[tokio::test]
async fn an_index_that_is_missing_or_damaged_is_made_anew() {
    let disk = FaultyDisk::default();
    let broker = open(&disk, settings());
    for n in 0..200 {
        publish(&broker, n..n + 1).await;
    }
    let before = all(&broker).await;
    broker.close();
    let names = disk.names(".idx");
    disk.delete(&names[0]);
    let mut bytes = disk.bytes(&names[1]);
    bytes[20] ^= 1;
    disk.put(&names[1], bytes);
    // Behind what is read at the start: found when a topic is looked up.
    let mut bytes = disk.bytes(&names[2]);
    let last = bytes.len() - 5;
    bytes.truncate(last);
    disk.put(&names[2], bytes);
    let broker = open(&disk, settings());
    assert_eq!(broker.recovery().reindexed, 3);
    assert_eq!(all(&broker).await, before);
    for topic in 0..7 {
        let name = format!("topic/{topic}");
        let read = read_all(&broker, crate::contract::of(&[&name])).await.unwrap();
        assert!(read.iter().eq(before.iter().filter(|event| event.topic.as_str() == name)));
    }
    drop(broker);
    assert_eq!(open(&disk, settings()).recovery().reindexed, 0, "it was stored");
}

#[tokio::test]
async fn an_index_that_is_damaged_while_the_log_runs_is_made_anew() {
    let disk = FaultyDisk::default();
    let broker = open(&disk, DiskSettings { segment_bytes: 100_000, ..settings() });
    for n in 0..40 {
        publish(&broker, n * 50..n * 50 + 50).await;
    }
    let before = all(&broker).await;
    broker.close();
    let name = &disk.names(".idx")[0];
    for at in (100..4_000).step_by(97) {
        let disk = disk.after_kill();
        let broker = open(&disk, DiskSettings { segment_bytes: 100_000, ..settings() });
        let mut bytes = disk.bytes(name);
        bytes[at] ^= 4;
        disk.put(name, bytes);
        for topic in 0..7 {
            let topic = format!("topic/{topic}");
            let read = read_all(&broker, crate::contract::of(&[&topic])).await.unwrap();
            assert!(read.iter().eq(before.iter().filter(|event| event.topic.as_str() == topic)), "flipped at {at}");
        }
    }
}

#[tokio::test]
async fn a_segment_that_was_being_made_when_the_power_went_is_no_damage() {
    let disk = FaultyDisk::default();
    let broker = open(&disk, one_segment());
    publish(&broker, 0..5).await;
    broker.close();
    for bytes in [vec![], vec![0; HEADER_BYTES], b"tidlog\r\n\x01\0\0".to_vec()] {
        let torn = disk.after_kill();
        torn.put(&format!("{:020}.seg", 6), bytes);
        torn.put("x.idx.tmp", vec![1]);
        let broker = open(&torn, one_segment());
        assert_eq!(numbers(&broker).await, [0, 1, 2, 3, 4]);
        publish(&broker, 5..6).await;
        drop(broker);
        assert_eq!(numbers(&open(&torn, one_segment())).await, [0, 1, 2, 3, 4, 5]);
    }
}

#[tokio::test]
async fn what_a_killed_process_wrote_is_synced_before_it_is_shown() {
    let disk = FaultyDisk::default();
    let broker = open(&disk, one_segment());
    publish(&broker, 0..2).await;
    let name = disk.names(".seg")[0].clone();
    publish(&broker, 2..3).await;
    // As if the last sync had not come: on the page cache only.
    let killed = disk.after_kill();
    let mut old = disk.bytes(&name);
    let ends = boundaries(&old)[2];
    let written = old.clone();
    old.truncate(ends);
    killed.put(&name, old);
    let file = Storage::open(&killed, &name).unwrap();
    crate::disk::storage::write_all_at(&*file, &written, 0).unwrap();
    let again = open(&killed, one_segment());
    assert_eq!(numbers(&again).await, [0, 1, 2]);
    assert_eq!(numbers(&open(&killed.after_power_cut(), one_segment())).await, [0, 1, 2]);
}

#[tokio::test]
async fn a_log_that_is_begun_anew_has_another_epoch() {
    let (one, other) = (FaultyDisk::default(), FaultyDisk::default());
    let (one, other) = (open(&one, settings()), open(&other, settings()));
    assert!(one.recovery().begun);
    assert_ne!(one.head().epoch, other.head().epoch);
}

#[tokio::test]
async fn files_of_another_log_are_refused() {
    let (one, other) = (FaultyDisk::default(), FaultyDisk::default());
    for disk in [&one, &other] {
        let broker = open(disk, settings());
        for n in 0..60 {
            publish(&broker, n..n + 1).await;
        }
    }
    let last = one.names(".seg").pop().unwrap();
    one.put(&last, other.bytes(&last));
    assert!(refusal(&one, settings()).contains("another log"));
    let mut newer = other.bytes(&last);
    newer[8] = 2;
    other.put(&last, newer);
    assert!(refusal(&other, settings()).contains("newer version"));
}

#[tokio::test]
async fn two_processes_cannot_open_one_directory() {
    let directory = tempfile::tempdir().unwrap();
    let clock = || Arc::new(ManualClock::default());
    let first = DiskBroker::open(directory.path(), settings(), clock()).unwrap();
    let second = DiskBroker::open(directory.path(), settings(), clock());
    let sentence = second.err().unwrap().to_string();
    assert!(sentence.contains("in use by another process"), "{sentence}");
    first.close();
    DiskBroker::open(directory.path(), settings(), clock()).unwrap();
}

use crate::disk::storage::Storage;
