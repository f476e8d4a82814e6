//! How many requests an address may make of one route.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderMap, HeaderName, StatusCode, header};
use tidings::Clock;

use crate::limiter::household;
use crate::problem::Problem;

/// So many requests in a fixed window of time, which begins with the first of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// The most requests of one address in one window.
    pub requests: u32,
    /// How long a window is, more than zero.
    pub per: Duration,
}

/// Counts the requests that each address makes of one route. Of IPv6 a /64 network is one address.
///
/// It keeps 65,536 windows at most, some 6 MB. Where more addresses come within one window, the oldest is forgotten, and its address
/// begins anew: whoever commands so many addresses gets through (it fails open), but nobody is refused for what others did.
#[derive(Debug)]
pub struct Rates {
    limit: RateLimit,
    windows: Mutex<Windows>,
    most: usize,
    /// How many requests were refused.
    pub refused: AtomicU64,
    /// How many windows were forgotten before their end.
    pub forgotten: AtomicU64,
}

/// The most windows of one route: more than a self-hosted app has visitors in a minute.
const WINDOWS: usize = 65_536;

#[derive(Debug, Default)]
struct Windows {
    of: HashMap<IpAddr, Window>,
    /// The same in the order in which they began. As all are equally long, they end in this order too, and each request clears away
    /// what has ended: no task is needed for it.
    order: VecDeque<IpAddr>,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    /// Ticks.
    began: u64,
    used: u32,
}

/// Whether a request may go on, and how many more may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Whether it may.
    pub allowed: bool,
    /// The most requests in one window.
    pub limit: u32,
    /// How many more this window takes.
    pub remaining: u32,
    /// When the next window may begin: seconds since 1970, rounded up.
    pub reset_at: u64,
    /// How long it is until then: seconds, rounded up.
    pub retry_after: u64,
}

impl Rates {
    /// Nobody has made a request yet.
    pub fn new(limit: RateLimit) -> Self {
        Rates::with_room(limit, WINDOWS)
    }

    fn with_room(limit: RateLimit, most: usize) -> Self {
        let (refused, forgotten) = (AtomicU64::new(0), AtomicU64::new(0));
        Rates { limit, windows: Mutex::default(), most, refused, forgotten }
    }

    /// Counts a request of `address`, if it may still make one.
    ///
    /// Windows are measured in ticks of `clock`, which never jump; its calendar serves [`Checked::reset_at`] alone.
    pub fn check(&self, address: IpAddr, clock: &dyn Clock) -> Checked {
        let (window, allowed, now) = self.count(household(address), clock);
        if !allowed {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        let left = Duration::from_millis(self.per().saturating_sub(now.saturating_sub(window.began)));
        Checked {
            allowed,
            limit: self.limit.requests,
            remaining: self.limit.requests - window.used,
            reset_at: clock.now().after(left).0.div_ceil(1000),
            retry_after: u64::try_from(left.as_millis().div_ceil(1000)).unwrap_or(u64::MAX),
        }
    }

    /// The window of `address`, whether it took this request, and the ticks.
    fn count(&self, address: IpAddr, clock: &dyn Clock) -> (Window, bool, u64) {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock, so that windows begin in the order in which they are kept.
        let now = clock.ticks();
        windows.end_those_begun(now.checked_sub(self.per()));
        if !windows.of.contains_key(&address) && windows.of.len() >= self.most {
            windows.end_oldest();
            self.forgotten.fetch_add(1, Ordering::Relaxed);
        }
        let window = windows.open(address, now);
        let allowed = window.used < self.limit.requests;
        window.used += u32::from(allowed);
        (*window, allowed, now)
    }

    /// How long a window is, in ticks.
    fn per(&self) -> u64 {
        u64::try_from(self.limit.per.as_millis()).unwrap_or(u64::MAX).max(1)
    }
}

impl Windows {
    /// Ends all that began at `latest` or before.
    fn end_those_begun(&mut self, latest: Option<u64>) {
        let Some(latest) = latest else { return };
        while self.order.front().and_then(|oldest| self.of.get(oldest)).is_some_and(|oldest| oldest.began <= latest) {
            self.end_oldest();
        }
    }

    fn end_oldest(&mut self) {
        if let Some(oldest) = self.order.pop_front() {
            self.of.remove(&oldest);
        }
    }

    /// The window of `address`; a new one if it has none.
    fn open(&mut self, address: IpAddr, now: u64) -> &mut Window {
        self.of.entry(address).or_insert_with(|| {
            self.order.push_back(address);
            Window { began: now, used: 0 }
        })
    }
}

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

impl Checked {
    /// Writes `X-RateLimit-Limit`, `-Remaining` and `-Reset` (seconds since 1970), and `Retry-After` (RFC 9110 §10.2.3) if it was refused.
    pub fn headers(&self, headers: &mut HeaderMap) {
        headers.insert(LIMIT, self.limit.into());
        headers.insert(REMAINING, self.remaining.into());
        headers.insert(RESET, self.reset_at.into());
        if !self.allowed {
            headers.insert(header::RETRY_AFTER, self.retry_after.into());
        }
    }

    /// The refusal: 429 (RFC 6585 §4) with the same headers.
    pub fn problem(&self) -> Problem {
        let Checked { limit, remaining, retry_after, .. } = *self;
        let detail = format!("your address has made the {limit} requests that it may; try again in {retry_after} s");
        let mut problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", detail)
            .with("limit", limit)
            .with("remaining", remaining)
            .with("retryAfter", retry_after);
        let mut headers = HeaderMap::new();
        self.headers(&mut headers);
        problem.headers.extend(headers.into_iter().filter_map(|(name, value)| Some((name?, value))));
        problem
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tidings::{ManualClock, Timestamp};

    const MINUTE: RateLimit = RateLimit { requests: 2, per: Duration::from_secs(60) };

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn noon() -> ManualClock {
        ManualClock::at(Timestamp(1_700_000_000_400))
    }

    #[test]
    fn a_window_begins_with_its_first_request_and_takes_so_many() {
        let (rates, clock, client) = (Rates::new(MINUTE), noon(), ip("203.0.113.7"));
        let check = || {
            let Checked { allowed, limit, remaining, reset_at, retry_after } = rates.check(client, &clock);
            assert_eq!(limit, 2);
            (allowed, remaining, reset_at, retry_after)
        };
        assert_eq!(check(), (true, 1, 1_700_000_061, 60), "60 s after .400 is rounded up");
        clock.advance(Duration::from_millis(58_500));
        assert_eq!(check(), (true, 0, 1_700_000_061, 2));
        assert_eq!(check(), (false, 0, 1_700_000_061, 2));
        clock.advance(Duration::from_millis(1_499));
        assert_eq!(check(), (false, 0, 1_700_000_061, 1), "a millisecond before its end, and never 0 s");
        clock.advance(Duration::from_millis(1));
        assert_eq!(check(), (true, 1, 1_700_000_121, 60));
        assert_eq!(rates.refused.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_network_of_ipv6_is_one_address_and_a_mapped_one_is_that_of_ipv4() {
        let (rates, clock) = (Rates::new(MINUTE), noon());
        let allowed = |address| rates.check(ip(address), &clock).allowed;
        assert!(allowed("2001:db8::1") && allowed("2001:db8::2:0:0:1"));
        assert!(!allowed("2001:db8::3"));
        assert!(allowed("2001:db8:0:1::1"), "the next network");
        assert!(allowed("203.0.113.7") && allowed("::ffff:203.0.113.7"));
        assert!(!allowed("203.0.113.7"));
    }

    #[test]
    fn no_more_windows_are_kept_than_there_is_room_for_and_none_beyond_its_end() {
        let (rates, clock) = (Rates::with_room(MINUTE, 3), noon());
        let kept = || {
            let windows = rates.windows.lock().unwrap();
            assert_eq!(windows.of.len(), windows.order.len());
            windows.of.len()
        };
        let exhaust = |address| while rates.check(ip(address), &clock).allowed {};
        ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"].into_iter().for_each(exhaust);
        assert_eq!((kept(), rates.forgotten.load(Ordering::Relaxed)), (3, 1));
        assert!(!rates.check(ip("10.0.0.2"), &clock).allowed, "those that are kept still count");
        assert!(rates.check(ip("10.0.0.1"), &clock).allowed, "the oldest began anew");
        clock.advance(MINUTE.per);
        rates.check(ip("10.0.0.9"), &clock);
        assert_eq!((kept(), rates.forgotten.load(Ordering::Relaxed)), (1, 2));
    }

    #[test]
    fn a_limit_of_nothing_refuses_all() {
        let none = RateLimit { requests: 0, per: Duration::ZERO };
        assert!(!Rates::new(none).check(ip("10.0.0.1"), &noon()).allowed);
    }

    #[test]
    fn only_a_refusal_says_when_to_try_again() {
        let (rates, clock) = (Rates::new(MINUTE), noon());
        let headers = |checked: Checked| {
            let mut headers = HeaderMap::new();
            checked.headers(&mut headers);
            let of = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
            ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "retry-after"].map(of)
        };
        let some = |text: &str| Some(text.to_owned());
        let check = || rates.check(ip("10.0.0.1"), &clock);
        assert_eq!(headers(check()), [some("2"), some("1"), some("1700000061"), None]);
        check();
        let refused = check();
        assert_eq!(headers(refused), [some("2"), some("0"), some("1700000061"), some("60")]);
        let problem = refused.problem();
        assert_eq!((problem.status, problem.code), (StatusCode::TOO_MANY_REQUESTS, "too-many-requests"));
        let body = problem.body();
        assert_eq!((&body["limit"], &body["remaining"], &body["retryAfter"]), (&2.into(), &0.into(), &60.into()));
        let sent: HeaderMap = problem.headers.iter().cloned().collect();
        assert_eq!((sent.len(), sent[header::RETRY_AFTER].as_bytes()), (4, &b"60"[..]));
    }

    proptest! {
        #[test]
        fn no_window_takes_more_than_the_limit_and_nobody_counts_for_another(
            limit in 0u32..4,
            requests in prop::collection::vec((0u8..4, 0u64..30), 0..200),
        ) {
            let limit = RateLimit { requests: limit, per: Duration::from_millis(50) };
            let (together, clock) = (Rates::new(limit), noon());
            let alone: [Rates; 4] = std::array::from_fn(|_| Rates::new(limit));
            let mut taken: [Vec<u64>; 4] = Default::default();
            for (who, pause) in requests {
                clock.advance(Duration::from_millis(pause));
                let (who, address) = (usize::from(who), IpAddr::from([10, 0, 0, who]));
                let checked = together.check(address, &clock);
                prop_assert_eq!(checked, alone[who].check(address, &clock));
                if checked.allowed {
                    taken[who].push(clock.ticks());
                }
            }
            for taken in taken {
                let mut window = (None, 0);
                for at in taken {
                    if window.0.is_none_or(|began| at >= began + 50) {
                        window = (Some(at), 0);
                    }
                    window.1 += 1;
                    prop_assert!(window.1 <= limit.requests);
                }
            }
        }
    }
}
