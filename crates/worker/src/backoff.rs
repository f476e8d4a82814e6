//! How long to wait before asking again.

use std::time::Duration;

/// The ceiling of the first wait.
const FIRST: Duration = Duration::from_millis(100);

/// The ceiling of every wait: a hub that is back is noticed within this time.
const MOST: Duration = Duration::from_secs(3);

/// The longest wait that a hub can ask for by `Retry-After`.
const MOST_ASKED: Duration = Duration::from_secs(60);

/// Waits that grow: the ceiling doubles with each, and a wait is a random part of it ("full jitter"), so that the
/// workers of a hub that was restarted do not come back all at once.
#[derive(Debug)]
pub(crate) struct Backoff {
    ceiling: Duration,
}

impl Backoff {
    pub fn new() -> Self {
        Backoff { ceiling: FIRST }
    }

    /// The next wait; no shorter than what the hub asked for.
    pub fn next(&mut self, asked: Option<Duration>) -> Duration {
        let wait = self.ceiling.mul_f64(fraction());
        self.ceiling = (self.ceiling * 2).min(MOST);
        match asked {
            Some(asked) => asked.min(MOST_ASKED) + wait,
            None => wait,
        }
    }

    /// There was an answer.
    pub fn reset(&mut self) {
        *self = Backoff::new();
    }
}

/// A random number from 0 to 1. Without a source of randomness it is 1: all of the wait.
fn fraction() -> f64 {
    getrandom::u32().map_or(1.0, |random| f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_stays_below_a_ceiling_that_doubles_up_to_its_bound() {
        let mut backoff = Backoff::new();
        let mut ceiling = FIRST;
        for _ in 0..20 {
            assert!(backoff.next(None) <= ceiling);
            ceiling = (ceiling * 2).min(MOST);
        }
        assert_eq!(backoff.ceiling, MOST);
    }

    #[test]
    fn what_the_hub_asks_for_is_waited_in_full_but_not_for_ever() {
        let asked = Duration::from_secs(2);
        assert!(Backoff::new().next(Some(asked)) >= asked);
        assert!(Backoff::new().next(Some(Duration::from_secs(86_400))) <= MOST_ASKED + FIRST);
    }

    #[test]
    fn waits_are_spread_out() {
        let waits: std::collections::HashSet<_> = (0..20).map(|_| Backoff::new().next(None)).collect();
        assert!(waits.len() > 10, "{waits:?}");
    }
}
