//! A disk that fails while the log runs.

use tidings::BrokerError;

use super::*;
use crate::contract::{Recorder, signal};

/// A failure, what it must be called, and that afterwards all is as if it had not been tried.
async fn fails_and_recovers(faults: Faults, is_full: bool) {
    let disk = FaultyDisk::default();
    let broker = open(&disk, one_segment());
    let told = Arc::new(Recorder::default());
    broker.tail(told.clone());
    let before = publish(&broker, 0..3).await;
    for again in 0..2 {
        disk.fail(faults);
        let error = broker.publish(vec![event("a", 90), event("a", 91)]).await.unwrap_err();
        match error {
            BrokerError::Full(_) => assert!(is_full),
            BrokerError::Unavailable(_) => assert!(!is_full),
            other => panic!("{other}"),
        }
        assert_eq!(numbers(&broker).await.len(), 3 + again, "reading goes on");
        assert_eq!(broker.head().last, told.told().last().unwrap().offset);
        disk.heal();
        let place = publish(&broker, 3 + again as u64..4 + again as u64).await;
        assert!(place[0] > before[2]);
    }
    let expected = [0, 1, 2, 3, 4];
    assert_eq!(numbers(&broker).await, expected);
    let offsets: Vec<_> = told.told().iter().map(|event| event.offset).collect();
    assert!(offsets.is_sorted_by(|a, b| a < b));
    let read = all(&broker).await;
    assert_eq!(told.told(), read);
    for copy in [disk.after_power_cut(), disk.after_kill()] {
        let again = open(&copy, one_segment());
        assert_eq!(all(&again).await, read, "also after a restart nothing of it is seen");
        assert_eq!(again.recovery().cut_bytes, 0);
    }
}

#[tokio::test]
async fn a_full_disk_refuses_publishes_and_takes_them_again_when_there_is_room() {
    for room in [0, 1, 60, 200] {
        fails_and_recovers(Faults { room: Some(room), ..Faults::default() }, true).await;
    }
}

#[tokio::test]
async fn a_failed_write_leaves_nothing_behind() {
    fails_and_recovers(Faults { write: true, ..Faults::default() }, false).await;
}

#[tokio::test]
async fn a_failed_sync_leaves_nothing_behind_and_its_file_is_not_written_to_again() {
    fails_and_recovers(Faults { sync: true, ..Faults::default() }, false).await;
    let disk = FaultyDisk::default();
    let broker = open(&disk, one_segment());
    publish(&broker, 0..1).await;
    disk.fail(Faults { sync: true, ..Faults::default() });
    broker.publish(vec![event("a", 9)]).await.unwrap_err();
    disk.heal();
    publish(&broker, 1..2).await;
    assert_eq!(disk.names(".seg").len(), 2);
}

#[tokio::test]
async fn after_a_failed_cut_nothing_is_written_until_the_cut_succeeds() {
    fails_and_recovers(Faults { room: Some(100), cut: true, ..Faults::default() }, true).await;
    let disk = FaultyDisk::default();
    let broker = open(&disk, one_segment());
    publish(&broker, 0..1).await;
    disk.fail(Faults { room: Some(100), cut: true, ..Faults::default() });
    broker.publish(vec![event("a", 9)]).await.unwrap_err();
    disk.fail(Faults { cut: true, ..Faults::default() });
    let error = broker.publish(vec![event("a", 9)]).await.unwrap_err();
    assert!(error.to_string().contains("could not be cleaned"), "{error}");
    disk.heal();
    publish(&broker, 1..2).await;
    assert_eq!(numbers(&broker).await, [0, 1]);
}

#[tokio::test]
async fn short_writes_are_gone_on_with() {
    let disk = FaultyDisk::default();
    disk.fail(Faults { at_most: Some(13), ..Faults::default() });
    let broker = open(&disk, settings());
    for n in 0..30 {
        publish(&broker, n * 5..n * 5 + 5).await;
    }
    assert_eq!(numbers(&broker).await, (0..150).collect::<Vec<_>>());
    assert_eq!(numbers(&open(&disk.after_power_cut(), settings())).await, (0..150).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_segment_that_can_not_be_begun_refuses_the_publish_that_needs_it() {
    let disk = FaultyDisk::default();
    let broker = open(&disk, settings());
    let mut taken = Vec::new();
    disk.fail(Faults { create: true, ..Faults::default() });
    let refused = loop {
        let n = taken.len() as u64;
        match broker.publish(vec![event("a", n)]).await {
            Ok(_) => taken.push(n),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, BrokerError::Unavailable(_)), "{refused}");
    assert_eq!(numbers(&broker).await, taken);
    disk.heal();
    publish(&broker, taken.len() as u64..taken.len() as u64 + 1).await;
    assert_eq!(numbers(&open(&disk.after_power_cut(), settings())).await.len(), taken.len() + 1);
}

#[tokio::test]
async fn signals_are_told_of_also_when_the_disk_is_full_and_need_no_sync() {
    let disk = FaultyDisk::default();
    let broker = open(&disk, settings());
    let told = Arc::new(Recorder::default());
    broker.tail(told.clone());
    disk.fail(Faults { room: Some(0), sync: true, ..Faults::default() });
    let syncs = disk.syncs();
    assert_eq!(broker.publish(vec![signal("a", 1), signal("a", 2)]).await.unwrap(), [None, None]);
    assert_eq!((told.told().len(), disk.syncs()), (2, syncs));
    // All or nothing: a signal goes with the batch that it came in.
    broker.publish(vec![signal("a", 3), event("a", 4)]).await.unwrap_err();
    assert_eq!(told.told().len(), 2);
}

#[tokio::test]
async fn what_can_never_be_stored_is_refused_and_costs_the_others_nothing() {
    let disk = FaultyDisk::default();
    let broker = open(&disk, settings());
    let long: Arc<str> = "x".repeat(70_000).into();
    for bad in [
        NewEvent { name: long.clone(), ..event("a", 1) },
        NewEvent { key: Some(long), ..event("a", 1) },
        NewEvent { data: vec![b' '; 65 << 20].into(), ..event("a", 1) },
    ] {
        let error = broker.publish(vec![event("a", 0), bad]).await.unwrap_err();
        assert!(matches!(error, BrokerError::Refused(_)), "{error}");
    }
    publish(&broker, 0..1).await;
    assert_eq!(numbers(&broker).await, [0]);
}

#[tokio::test]
async fn a_closed_log_refuses_publishes_and_still_reads() {
    let disk = FaultyDisk::default();
    let broker = open(&disk, settings());
    publish(&broker, 0..3).await;
    broker.close();
    broker.close();
    assert!(matches!(broker.publish(vec![event("a", 1)]).await, Err(BrokerError::Unavailable(_))));
    assert!(broker.trim().await.is_err());
    assert_eq!(numbers(&broker).await, [0, 1, 2]);
}

#[tokio::test]
async fn what_was_handed_in_before_the_end_is_finished() {
    let disk = FaultyDisk::default();
    let broker = Arc::new(open(&disk, settings()));
    let publishes: Vec<_> = (0..50)
        .map(|n| {
            let broker = broker.clone();
            tokio::spawn(async move { broker.publish(vec![event("a", n)]).await })
        })
        .collect();
    tokio::task::yield_now().await;
    broker.close();
    let mut taken = 0;
    for publish in publishes {
        taken += usize::from(publish.await.unwrap().is_ok());
    }
    assert!(taken > 0);
    assert_eq!(numbers(&broker).await.len(), taken);
}
