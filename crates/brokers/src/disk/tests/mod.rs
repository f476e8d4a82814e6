//! The log on a disk that fails.

mod crash;
mod failure;
mod faulty;
mod format;
mod model;
mod reading;
mod retention;

use std::sync::Arc;

use tidings::{Broker, Event, ManualClock, NewEvent, Offset, Timestamp};

use super::{DiskBroker, DiskSettings, OpenError};
use crate::Retention;
use crate::contract::{after, event, read_all};
use faulty::{Faults, FaultyDisk};

/// Small segments, and room written ahead as in real life.
fn settings() -> DiskSettings {
    DiskSettings { retention: Retention::FOREVER, segment_bytes: 4_096, write_ahead: 1_000 }
}

/// One segment for everything.
fn one_segment() -> DiskSettings {
    DiskSettings { segment_bytes: 1 << 20, ..settings() }
}

fn try_open(disk: &FaultyDisk, settings: DiskSettings) -> Result<DiskBroker, OpenError> {
    DiskBroker::open_in(Arc::new(disk.clone()), settings, Arc::new(ManualClock::at(Timestamp(5_000))))
}

fn open(disk: &FaultyDisk, settings: DiskSettings) -> DiskBroker {
    try_open(disk, settings).unwrap()
}

/// What the refusal to open says.
fn refusal(disk: &FaultyDisk, settings: DiskSettings) -> String {
    match try_open(disk, settings) {
        Err(OpenError::Damaged(sentence)) => sentence,
        Err(other) => panic!("another error: {other}"),
        Ok(broker) => panic!("it opened: {:?}", broker.recovery()),
    }
}

async fn publish(broker: &DiskBroker, numbers: std::ops::Range<u64>) -> Vec<Offset> {
    let batch: Vec<NewEvent> = numbers.map(|n| event(&format!("topic/{}", n % 7), n)).collect();
    broker.publish(batch).await.unwrap().into_iter().flatten().collect()
}

async fn all(broker: &DiskBroker) -> Vec<Event> {
    let head = broker.head();
    read_all(broker, after(head.trimmed)).await.unwrap()
}

/// The data of the events, which are numbers.
async fn numbers(broker: &DiskBroker) -> Vec<u64> {
    all(broker).await.iter().map(|event| std::str::from_utf8(&event.data).unwrap().parse().unwrap()).collect()
}
