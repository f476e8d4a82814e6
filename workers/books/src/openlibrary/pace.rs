//! Holds requests back so that they leave at an even pace.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// One queue for all requests of the program: each gets the next free place in time.
#[derive(Debug)]
pub struct Pace {
    interval: Duration,
    next: Mutex<Instant>,
}

impl Pace {
    /// A pace of one request each `interval`; the first may leave at once.
    pub fn new(interval: Duration) -> Self {
        Pace { interval, next: Mutex::new(Instant::now()) }
    }

    /// Waits for a place. Places are given in the order in which they were asked for; who gives up waiting leaves
    /// its place empty.
    pub async fn turn(&self) {
        let place = {
            let mut next = self.next();
            let place = (*next).max(Instant::now());
            *next = place + self.interval;
            place
        };
        tokio::time::sleep_until(place).await;
    }

    /// Lets nothing that asks from now on leave for `pause`.
    pub fn pause(&self, pause: Duration) {
        let mut next = self.next();
        *next = (*next).max(Instant::now() + pause);
    }

    fn next(&self) -> MutexGuard<'_, Instant> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_request_leaves_at_once_and_each_further_one_an_interval_later() {
        let pace = Pace::new(Duration::from_secs(1));
        let start = Instant::now();
        let mut left = Vec::new();
        for _ in 0..4 {
            pace.turn().await;
            left.push(start.elapsed().as_secs());
        }
        assert_eq!(left, [0, 1, 2, 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_time_is_not_saved_up_for_a_burst() {
        let pace = Pace::new(Duration::from_secs(1));
        pace.turn().await;
        tokio::time::advance(Duration::from_secs(60)).await;
        let start = Instant::now();
        pace.turn().await;
        pace.turn().await;
        assert_eq!(start.elapsed().as_secs(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_holds_back_whoever_asks_during_it() {
        let pace = Pace::new(Duration::from_secs(1));
        let start = Instant::now();
        pace.pause(Duration::from_secs(30));
        pace.turn().await;
        assert_eq!(start.elapsed().as_secs(), 30);
        pace.turn().await;
        assert_eq!(start.elapsed().as_secs(), 31);
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_wait_at_the_same_time_share_one_pace() {
        let pace = Pace::new(Duration::from_secs(1));
        let start = Instant::now();
        tokio::join!(pace.turn(), pace.turn(), pace.turn());
        assert_eq!(start.elapsed().as_secs(), 2);
    }
}
