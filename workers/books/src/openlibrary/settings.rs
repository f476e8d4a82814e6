//! How Open Library is asked.

use std::path::PathBuf;
use std::time::Duration;

/// How Open Library is asked. `Settings::default()` asks the real one, as slowly as it asks strangers to.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it is, without a path. Default `https://openlibrary.org`; a mirror or a stand-in otherwise.
    pub base_url: String,
    /// A mail address or a page at which the operator of this program can be reached. Open Library asks for it and
    /// gives those who say it three times the rate; since 2026 it answers some programs that leave it out with 403.
    /// None by default: nobody's address can be a default.
    pub contact: Option<String>,
    /// The whole `User-Agent`, in place of `tidings-books/<version> (<contact>)`.
    pub user_agent: Option<String>,
    /// The most requests a second. Default: 3 with a contact, 1 without, which is Open Library's policy.
    pub requests_per_second: Option<f64>,
    /// The longest one request may take, its body included. Default 20 s: a search for twenty ISBNs takes some
    /// seconds on a bad day.
    pub timeout: Duration,
    /// How often a request is tried again after no answer, 429 or 5xx. Default 3.
    pub retries: u32,
    /// The wait before the first retry; doubled for each further one. Default 500 ms.
    pub backoff: Duration,
    /// The longest wait that `Retry-After` may ask for; a longer one is an error at once. Default 30 s, the lease
    /// of a job.
    pub longest_pause: Duration,
    /// The most bytes of one answer. Default 4 MiB: twenty works with all their subjects take less than one.
    pub answer_bytes: usize,
    /// What is kept of the answers.
    pub cache: CacheSettings,
}

/// What is kept of the answers.
#[derive(Clone, Debug)]
pub struct CacheSettings {
    /// A directory in which the answers outlive the program. Default: none, they are in memory only.
    pub dir: Option<PathBuf>,
    /// How long an answer counts, also one that a book is not known. Default 7 days: records change seldom.
    pub ttl: Duration,
    /// The most answers kept; the oldest goes first. Default 10,000, about 10 MB. 0 keeps none.
    pub entries: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            base_url: "https://openlibrary.org".into(),
            contact: None,
            user_agent: None,
            requests_per_second: None,
            timeout: Duration::from_secs(20),
            retries: 3,
            backoff: Duration::from_millis(500),
            longest_pause: Duration::from_secs(30),
            answer_bytes: 4 << 20,
            cache: CacheSettings::default(),
        }
    }
}

impl Default for CacheSettings {
    fn default() -> Self {
        CacheSettings { dir: None, ttl: Duration::from_secs(7 * 24 * 3600), entries: 10_000 }
    }
}

impl Settings {
    /// The `User-Agent` to send.
    pub fn agent(&self) -> String {
        let name = concat!("tidings-books/", env!("CARGO_PKG_VERSION"));
        match (&self.user_agent, self.contact()) {
            (Some(agent), _) => agent.clone(),
            (None, Some(contact)) => format!("{name} ({contact})"),
            (None, None) => name.into(),
        }
    }

    /// The time between two requests.
    pub fn interval(&self) -> Duration {
        let default = if self.contact().is_some() { 3.0 } else { 1.0 };
        let rate = self.requests_per_second.filter(|rate| rate.is_finite() && *rate > 0.0).unwrap_or(default);
        // A rate of nearly nothing would be a wait of centuries, which `Duration` cannot hold.
        Duration::from_secs_f64(1.0 / rate.max(0.001))
    }

    fn contact(&self) -> Option<&str> {
        self.contact.as_deref().map(str::trim).filter(|contact| !contact.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_says_a_contact_may_ask_three_times_a_second_and_others_once() {
        let known = Settings { contact: Some("books@example.org".into()), ..Settings::default() };
        assert_eq!(known.interval(), Duration::from_secs_f64(1.0 / 3.0));
        assert!(known.agent().ends_with(" (books@example.org)"), "{}", known.agent());
        assert_eq!(Settings::default().interval(), Duration::from_secs(1));
        let blank = Settings { contact: Some("  ".into()), ..Settings::default() };
        assert_eq!(blank.interval(), Duration::from_secs(1));
    }

    #[test]
    fn a_rate_that_makes_no_sense_is_the_default_and_none_is_a_wait_of_centuries() {
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let settings = Settings { requests_per_second: Some(rate), ..Settings::default() };
            assert_eq!(settings.interval(), Duration::from_secs(1), "{rate}");
        }
        let settings = Settings { requests_per_second: Some(1e-300), ..Settings::default() };
        assert_eq!(settings.interval(), Duration::from_secs(1000));
    }
}
