//! How much of a log is kept.

use std::time::Duration;

/// What may go, oldest first, as soon as any bound is passed. [`None`] is no bound.
///
/// The disk broker drops whole segments and never the one it writes to, so it keeps up to an eighth more than asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Events older than this may go. Default: 7 days, so that a phone that was off for a holiday week still resumes.
    pub age: Option<Duration>,
    /// At most this many events. Default: no bound.
    pub events: Option<u64>,
    /// At most this many bytes. Default: 4 GiB, about ten million events.
    pub bytes: Option<u64>,
}

impl Default for Retention {
    fn default() -> Self {
        Retention { age: Some(Duration::from_secs(7 * 24 * 3600)), events: None, bytes: Some(4 << 30) }
    }
}

impl Retention {
    /// Keeps everything.
    pub const FOREVER: Retention = Retention { age: None, events: None, bytes: None };
}
