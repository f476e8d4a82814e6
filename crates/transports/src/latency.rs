//! How long events take from their time to the sockets, over the last minute.

use std::sync::{Mutex, MutexGuard};

use serde::Serialize;

/// How long one part of the minute is, in ticks of the clock (ms), and how many make it up.
const PART: u64 = 10_000;
const PARTS: usize = 6;

/// Up to here each millisecond has its own bucket; above, each power of two has eight.
const EXACT: u64 = 16;
const BUCKETS: usize = EXACT as usize + 8 * 14;

/// Latencies of the last minute, in buckets that are at most an eighth wide.
///
/// A lane adds to it once a round, not once a delivery: all of a round are written at about the same moment.
#[derive(Debug, Default)]
pub struct Latency(Mutex<Minute>);

/// What half, and 99 of 100, of the rounds of the last minute did not take longer than, and the longest; in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LatencySummary {
    /// Half of them.
    pub p50: u64,
    /// 99 of 100.
    pub p99: u64,
    /// All of them.
    pub max: u64,
}

#[derive(Debug, Default)]
struct Minute {
    parts: [Part; PARTS],
}

#[derive(Debug)]
struct Part {
    /// Which part since the clock began.
    number: u64,
    counts: [u32; BUCKETS],
    max: u64,
}

impl Default for Part {
    fn default() -> Self {
        Part { number: 0, counts: [0; BUCKETS], max: 0 }
    }
}

impl Latency {
    /// Adds one of `millis`, at `now` in ticks of the clock.
    pub fn record(&self, millis: u64, now: u64) {
        let number = now / PART;
        let mut minute = self.lock();
        let part = &mut minute.parts[(number % PARTS as u64) as usize];
        if part.number != number {
            *part = Part { number, ..Part::default() };
        }
        let count = &mut part.counts[bucket(millis)];
        *count = count.saturating_add(1);
        part.max = part.max.max(millis);
    }

    /// The last minute as seen at `now`; none if nothing was added in it.
    pub fn summary(&self, now: u64) -> Option<LatencySummary> {
        let number = now / PART;
        let (mut counts, mut max) = ([0u64; BUCKETS], 0);
        let minute = self.lock();
        for part in minute.parts.iter().filter(|part| part.number + PARTS as u64 > number) {
            max = max.max(part.max);
            counts.iter_mut().zip(&part.counts).for_each(|(sum, count)| *sum += u64::from(*count));
        }
        drop(minute);
        let total: u64 = counts.iter().sum();
        let below = |of_100: u64| {
            let wanted = (total * of_100).div_ceil(100);
            let mut seen = 0;
            let found = counts.iter().position(|count| {
                seen += count;
                seen >= wanted
            });
            found.map_or(max, top).min(max)
        };
        (total > 0).then(|| LatencySummary { p50: below(50), p99: below(99), max })
    }

    fn lock(&self) -> MutexGuard<'_, Minute> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Which bucket it belongs to.
fn bucket(millis: u64) -> usize {
    if millis < EXACT {
        return millis as usize;
    }
    let power = u64::from(millis.ilog2());
    let eighth = (millis >> (power - 3)) & 7;
    (EXACT + 8 * (power - 4) + eighth).min(BUCKETS as u64 - 1) as usize
}

/// The largest in a bucket.
fn top(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < EXACT {
        return bucket;
    }
    let (power, eighth) = ((bucket - EXACT) / 8 + 4, (bucket - EXACT) % 8);
    ((8 + eighth + 1) << (power - 3)) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bucket_is_told_by_its_largest_which_is_at_most_an_eighth_off() {
        for millis in (0..100_000).step_by(7) {
            let told = top(bucket(millis));
            assert!(told >= millis && told - millis <= millis / 8, "{millis} is told as {told}");
            assert_eq!(bucket(told), bucket(millis));
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn half_and_nearly_all_of_the_last_minute_are_told() {
        let latency = Latency::default();
        assert_eq!(latency.summary(0), None);
        for millis in 1..=100 {
            latency.record(millis, 1_000_000);
        }
        let LatencySummary { p50, p99, max } = latency.summary(1_000_000).unwrap();
        assert!((50..=56).contains(&p50) && (99..=100).contains(&p99), "{p50} {p99}");
        assert_eq!(max, 100);
    }

    #[test]
    fn what_is_older_than_a_minute_is_forgotten() {
        let latency = Latency::default();
        latency.record(500, 0);
        latency.record(3, 59_000);
        assert_eq!(latency.summary(59_999).unwrap().max, 500);
        assert_eq!(latency.summary(60_000), Some(LatencySummary { p50: 3, p99: 3, max: 3 }));
        assert_eq!(latency.summary(600_000), None);
        latency.record(9, 600_000);
        assert_eq!(latency.summary(600_000).unwrap().max, 9);
    }
}
