//! Durations, counted in buckets of 1.6 % so that ten million of them take no room.

use std::time::Duration;

const STEPS: usize = 64;

/// A distribution of durations.
#[derive(Clone, Debug)]
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        // 59 powers of two above the first 64 values, which are exact.
        Histogram { buckets: vec![0; STEPS * 60], count: 0, max: 0 }
    }
}

impl Histogram {
    /// Counts one duration, in nanoseconds.
    pub fn record(&mut self, nanoseconds: u64) {
        self.buckets[bucket(nanoseconds)] += 1;
        self.count += 1;
        self.max = self.max.max(nanoseconds);
    }

    #[cfg(test)]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The duration below which `share` (0 to 1) of all lie.
    pub fn at(&self, share: f64) -> Duration {
        let wanted = ((self.count as f64 * share).ceil() as u64).max(1);
        let mut sum = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            sum += count;
            if sum >= wanted {
                return Duration::from_nanos(value(index).min(self.max));
            }
        }
        Duration::from_nanos(self.max)
    }
}

fn bucket(value: u64) -> usize {
    if value < STEPS as u64 {
        return value as usize;
    }
    let power = 63 - value.leading_zeros() as usize; // 6 at least
    let step = (value >> (power - 6)) as usize - STEPS;
    (power - 5) * STEPS + step
}

/// The middle of a bucket.
fn value(bucket: usize) -> u64 {
    if bucket < STEPS {
        return bucket as u64;
    }
    let shift = bucket / STEPS - 1;
    let low = ((STEPS + bucket % STEPS) as u64) << shift;
    low + (1u64 << shift) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_within_two_percent() {
        let mut histogram = Histogram::default();
        for microseconds in 1..=10_000u64 {
            histogram.record(microseconds * 1_000);
        }
        for share in [0.01, 0.5, 0.99] {
            let exact = 10_000_000.0 * share;
            let told = histogram.at(share).as_nanos() as f64;
            assert!((told - exact).abs() / exact < 0.02, "{share}: {told} for {exact}");
        }
        assert_eq!(histogram.at(1.0), Duration::from_millis(10));
        assert_eq!(histogram.count(), 10_000);
    }

    #[test]
    fn every_duration_has_a_bucket() {
        let mut histogram = Histogram::default();
        for value in [0, 1, 63, 64, 65, 1 << 40, u64::MAX] {
            histogram.record(value);
        }
        assert_eq!(histogram.count(), 7);
    }
}
