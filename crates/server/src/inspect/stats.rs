//! What the program did, and does.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::Serialize;
use tidings_transports::{LatencySummary, Service};

use super::MountedStreams;
use crate::metrics::process::{self, Usage};

/// The figures of one moment. Counts are since the start.
#[derive(Clone, Debug, Serialize)]
pub struct Stats {
    /// Which moment: ms since 1970.
    pub time: u64,
    /// When the program started, in ms since 1970.
    pub started: u64,
    /// The version that runs.
    pub version: &'static str,
    /// Open streams by transport.
    pub streams: BTreeMap<&'static str, u64>,
    /// Events and signals handed to clients.
    pub delivered: u64,
    /// The bytes of that.
    pub delivered_bytes: u64,
    /// Events appended to the log.
    pub events: u64,
    /// Signals announced.
    pub signals: u64,
    /// Batches that the log could not take.
    pub publish_errors: u64,
    /// Gaps told to clients.
    pub gaps: u64,
    /// Streams that are behind now.
    pub behind: u64,
    /// Streams opened.
    pub opened: u64,
    /// Streams ended.
    pub closed: u64,
    /// From the time of an event to the sockets, over the last minute; null if there was none.
    pub latency: Option<LatencySummary>,
    /// The process: memory, time, files.
    #[serde(flatten)]
    pub usage: Usage,
}

impl Stats {
    /// The figures of now.
    pub(super) fn now(service: &Service, mounts: &MountedStreams, started: u64, usage: Usage) -> Stats {
        let (hub, lanes) = (&service.hub, service.counters());
        let of = |counter: &AtomicU64| counter.load(Relaxed);
        let sum = |counters: &[AtomicU64]| counters.iter().map(of).sum();
        Stats {
            time: hub.clock().now().0,
            started,
            version: env!("CARGO_PKG_VERSION"),
            streams: open_by_transport(mounts),
            delivered: of(&lanes.delivered),
            delivered_bytes: of(&lanes.bytes),
            events: of(&hub.counters.events),
            signals: of(&hub.counters.signals),
            publish_errors: of(&hub.counters.publish_errors),
            gaps: sum(&hub.counters.gaps),
            behind: of(&lanes.behind),
            opened: of(&lanes.opened),
            closed: sum(&lanes.closed),
            latency: lanes.latency.summary(hub.clock().ticks()),
            usage,
        }
    }
}

/// How many streams are open, by transport. A stream may have several paths and is counted once.
pub fn open_by_transport(mounts: &MountedStreams) -> BTreeMap<&'static str, u64> {
    let (mut open, mut seen) = (BTreeMap::new(), Vec::new());
    for (_, transport, stream) in mounts {
        if !seen.contains(&stream.id) {
            seen.push(stream.id);
            *open.entry(*transport).or_default() += stream.open_now();
        }
    }
    open
}

/// What the process uses now.
pub(super) fn usage() -> Usage {
    process::usage()
}
