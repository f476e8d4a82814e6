//! One timer for many connections.

/// How long one tick is, in milliseconds: an expiry or a revocation may be late by one, far below the second that is promised.
pub(crate) const TICK_MS: u64 = 250;

/// Two minutes in one turn. What is due later goes round again.
const BUCKETS: usize = 512;

/// A timer wheel: for each tick the connections to look at. An entry costs eight bytes; nothing is moved when a connection is
/// busy, it is looked at when its bucket comes and put where it is due next.
#[derive(Debug)]
pub(crate) struct Wheel {
    buckets: Vec<Vec<Timer>>,
    now: u64,
}

/// A connection to look at, by its slot and how often the slot was used before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timer {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl Wheel {
    /// A wheel that stands at `now`, in milliseconds.
    pub(crate) fn new(now: u64) -> Self {
        Wheel { buckets: (0..BUCKETS).map(|_| Vec::new()).collect(), now: now / TICK_MS }
    }

    /// The tick with which something due at `due` comes up: at the earliest the next, and at the latest before it has gone round.
    pub(crate) fn tick(&self, due: u64) -> u64 {
        due.div_ceil(TICK_MS).clamp(self.now + 1, self.now + BUCKETS as u64 - 1)
    }

    /// Puts a timer at such a tick.
    pub(crate) fn set(&mut self, timer: Timer, tick: u64) {
        self.buckets[tick as usize % BUCKETS].push(timer);
    }

    /// The tick up to which everything has come up.
    pub(crate) fn now(&self) -> u64 {
        self.now
    }

    /// Moves on to `now` and takes out what is due.
    pub(crate) fn turn(&mut self, now: u64, due: &mut Vec<Timer>) {
        let now = now / TICK_MS;
        // After a long stop of the process each bucket comes up once.
        let steps = now.saturating_sub(self.now).min(BUCKETS as u64);
        for step in 1..=steps {
            let bucket = &mut self.buckets[(self.now + step) as usize % BUCKETS];
            due.append(bucket);
            // A burst of connections made at one moment would keep its memory for ever.
            if bucket.capacity() > 1024 {
                bucket.shrink_to(0);
            }
        }
        self.now = self.now.max(now);
    }

    /// Milliseconds until the next tick.
    pub(crate) fn next_in(&self, now: u64) -> u64 {
        ((self.now + 1) * TICK_MS).saturating_sub(now).clamp(1, TICK_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// A timer comes up neither early nor more than a tick late, unless it is further off than one turn: then it
        /// comes up early and is set anew, which its owner does.
        #[test]
        fn a_timer_comes_up_when_it_is_due(start in 0u64..1_000_000, wait in 0u64..120_000, step in 1u64..1000) {
            let mut wheel = Wheel::new(start);
            let timer = Timer { slot: 1, generation: 2 };
            wheel.set(timer, wheel.tick(start + wait));
            let (mut now, mut due) = (start, Vec::new());
            while due.is_empty() {
                now += step;
                wheel.turn(now, &mut due);
                prop_assert!(now < start + wait + 3 * (TICK_MS + step));
            }
            prop_assert_eq!(&due, &[timer]);
            prop_assert!(now + TICK_MS > start + wait, "not early");
        }
    }
}
