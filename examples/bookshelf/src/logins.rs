//! How often somebody may try to log in: a hash takes memory and a core, and a password is not to be guessed.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderValue, StatusCode, header};
use tidings_transports::Problem;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::fault::{Fault, Result};

/// How many passwords are hashed at once.
const AT_ONCE: usize = 2;

/// How many may be hashed or wait for it; who comes on top of that is sent away.
const ROOM: usize = 32;

/// How many tries there are for one name from one address, …
const TRIES: u32 = 10;

/// … within so much time from the first of them. A right one ends the count.
const WITHIN: Duration = Duration::from_secs(60);

/// The most names and addresses that are counted. Whoever commands more addresses begins to be forgotten.
const COUNTED: usize = 10_000;

/// The most characters of a name that count. Nobody has so long a name.
const NAME_CHARS: usize = 128;

/// Who tries to log in now, and how often they have.
pub struct Logins {
    room: Semaphore,
    turns: Semaphore,
    tries: Mutex<HashMap<(String, IpAddr), Tries>>,
}

#[derive(Clone, Copy)]
struct Tries {
    /// Ticks.
    began: u64,
    made: u32,
}

/// A turn to hash passwords, until it is dropped.
pub struct Turn<'a> {
    _room: SemaphorePermit<'a>,
    _turn: SemaphorePermit<'a>,
}

impl Default for Logins {
    fn default() -> Self {
        Logins { room: Semaphore::new(ROOM), turns: Semaphore::new(AT_ONCE), tries: Mutex::default() }
    }
}

impl Logins {
    /// Waits for a turn.
    ///
    /// # Errors
    /// 429 if too many wait.
    pub async fn turn(&self) -> Result<Turn<'_>> {
        let busy = |_| refused("too many log in at once".into(), 1);
        let room = self.room.try_acquire().map_err(busy)?;
        let turn = self.turns.acquire().await.map_err(|error| Fault::Broken(error.to_string()))?;
        Ok(Turn { _room: room, _turn: turn })
    }

    /// Counts a try at `now`, in ticks. It counts before it is known to be wrong, so that many at once are counted as well.
    ///
    /// # Errors
    /// 429 once there were too many.
    pub fn count(&self, name: &str, address: IpAddr, now: u64) -> Result<()> {
        let within = u64::try_from(WITHIN.as_millis()).unwrap_or(u64::MAX);
        let mut tries = self.tries();
        let key = key(name, address);
        if tries.len() >= COUNTED && !tries.contains_key(&key) {
            tries.retain(|_, tries| now.saturating_sub(tries.began) < within);
            if let (true, Some(some)) = (tries.len() >= COUNTED, tries.keys().next().cloned()) {
                tries.remove(&some);
            }
        }
        let counted = tries.entry(key).or_insert(Tries { began: now, made: 0 });
        let passed = now.saturating_sub(counted.began);
        if passed >= within {
            *counted = Tries { began: now, made: 0 };
        } else if counted.made >= TRIES {
            let seconds = (within - passed).div_ceil(1_000);
            return Err(refused(format!("the password was wrong too often: try again in {seconds} s"), seconds));
        }
        counted.made += 1;
        Ok(())
    }

    /// The password was right: the tries before it are forgotten.
    pub fn forget(&self, name: &str, address: IpAddr) {
        self.tries().remove(&key(name, address));
    }

    fn tries(&self) -> MutexGuard<'_, HashMap<(String, IpAddr), Tries>> {
        self.tries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(name: &str, address: IpAddr) -> (String, IpAddr) {
    (name.chars().take(NAME_CHARS).collect(), address.to_canonical())
}

/// 429 (RFC 6585 §4).
fn refused(detail: String, seconds: u64) -> Fault {
    let mut problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-logins", detail);
    problem.headers.push((header::RETRY_AFTER, HeaderValue::from(seconds)));
    Fault::Refused(problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn so_many_tries_are_taken_within_a_minute_and_a_right_one_ends_the_count() {
        let logins = Logins::default();
        let all = |now| (0..TRIES).all(|_| logins.count("ann", HERE, now).is_ok());
        assert!(all(1_000));
        let refused = Problem::from(logins.count("ann", HERE, 31_500).unwrap_err());
        assert_eq!((refused.status, &refused.headers[0].1), (StatusCode::TOO_MANY_REQUESTS, &HeaderValue::from(30)));
        assert!(logins.count("ben", HERE, 31_500).is_ok());
        assert!(logins.count("ann", "192.0.2.1".parse().unwrap(), 31_500).is_ok());
        assert!(logins.count("ann", HERE, 60_999).is_err());
        assert!(all(61_000) && logins.count("ann", HERE, 61_000).is_err());
        logins.forget("ann", HERE);
        assert!(all(61_000));
    }

    #[test]
    fn no_more_are_counted_than_there_is_room_for() {
        let logins = Logins::default();
        for number in 0..=COUNTED {
            logins.count(&number.to_string(), HERE, 0).unwrap();
        }
        assert_eq!(logins.tries().len(), COUNTED);
    }

    #[tokio::test]
    async fn who_comes_when_too_many_wait_is_sent_away() {
        let logins = Logins::default();
        let turns = [logins.turn().await.unwrap(), logins.turn().await.unwrap()];
        let mut waiting: Vec<_> = (AT_ONCE..ROOM).map(|_| Box::pin(logins.turn())).collect();
        for turn in &mut waiting {
            assert!(futures_util::poll!(turn).is_pending());
        }
        assert!(logins.turn().await.is_err());
        drop(turns);
        assert!(waiting.remove(0).await.is_ok());
    }
}
