//! A key set that is fetched, kept, and fetched again when keys change (RFC 7517).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, Uri, header};
use tidings::{Clock, Timestamp};

use super::client::{Client, address};
use super::jws::{Key, key_set};
use super::settings::JwtSettings;
use super::{AuthContext, AuthError};

/// The most bytes of a key set: 64 RSA keys with certificates.
const MAX_BYTES: usize = 512 << 10;

/// The least time between two fetches while there is no key at all: the app may just be starting.
const FIRST_FLOOR: Duration = Duration::from_secs(1);

/// The shortest and the longest that an answer's `max-age` is obeyed: a wrong one must neither make us ask all the
/// time nor keep a withdrawn key for weeks.
const MAX_AGE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(24 * 3600));

/// There is no key set, or it may be too old to say.
#[derive(Debug)]
pub struct Unavailable;

/// A fetched key set.
pub struct Jwks {
    uri: Uri,
    client: Client,
    clock: Arc<dyn Clock>,
    refresh: Duration,
    floor: Duration,
    timeout: Duration,
    state: Mutex<State>,
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Clone, Default)]
struct State {
    keys: Option<Arc<[Key]>>,
    fresh_until: Timestamp,
    tried_at: Option<Timestamp>,
    failed: bool,
}

impl Jwks {
    /// Checks the settings that stand at `path`. Nothing is fetched before the first token.
    pub fn new(settings: &JwtSettings, url: &str, path: &str, context: &AuthContext) -> Result<Self, AuthError> {
        Ok(Jwks {
            uri: address(url).map_err(|why| AuthError::new(format!("{path}.jwks_url"), why))?,
            client: context.client.clone(),
            clock: context.clock.clone(),
            refresh: settings.jwks_refresh,
            floor: settings.jwks_floor,
            timeout: settings.jwks_timeout,
            state: Mutex::default(),
            fetching: tokio::sync::Mutex::new(()),
        })
    }

    /// The keys: fetched when there are none or they are too old. Old ones stay when they can't be fetched.
    pub async fn keys(&self) -> Result<Arc<[Key]>, Unavailable> {
        let state = self.state();
        match state.keys {
            Some(keys) if state.fresh_until > self.clock.now() => Ok(keys),
            keys => self.fetch(keys.as_ref()).await,
        }
    }

    /// Keys that are newer than `known`, which lack one that a token names. They are `known` again when the publisher
    /// was asked a moment ago and has no others. When it could not answer, the missing key may well exist.
    pub async fn newer_than(&self, known: &Arc<[Key]>) -> Result<Arc<[Key]>, Unavailable> {
        let keys = self.fetch(Some(known)).await?;
        if Arc::ptr_eq(&keys, known) && self.state().failed {
            return Err(Unavailable);
        }
        Ok(keys)
    }

    fn state(&self) -> State {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Fetches once for all who wait, unless somebody has just done so.
    async fn fetch(&self, known: Option<&Arc<[Key]>>) -> Result<Arc<[Key]>, Unavailable> {
        let _one = self.fetching.lock().await;
        let now = self.clock.now();
        let state = self.state();
        let changed = match (&state.keys, known) {
            (Some(keys), Some(known)) => !Arc::ptr_eq(keys, known),
            (keys, _) => keys.is_some(),
        };
        let floor = if state.keys.is_some() { self.floor } else { FIRST_FLOOR.min(self.floor) };
        if changed || state.tried_at.is_some_and(|at| now.since(at) < floor) {
            return state.keys.ok_or(Unavailable);
        }
        let fetched = self.ask().await;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.tried_at = Some(now);
        state.failed = fetched.is_err();
        match fetched {
            Ok((keys, max_age)) => {
                state.fresh_until = now.after(max_age);
                state.keys = Some(keys.into());
            }
            // The old ones stay: the publisher's pause is no reason to lock everybody out.
            Err(why) => tracing::warn!(url = %self.uri, why, "the key set can't be fetched"),
        }
        state.keys.clone().ok_or(Unavailable)
    }

    async fn ask(&self) -> Result<(Vec<Key>, Duration), String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/jwk-set+json, application/json"));
        let answer = self.client.ask(&Method::GET, &self.uri, headers, self.timeout, MAX_BYTES).await;
        let answer = answer.map_err(|error| error.to_string())?;
        if !answer.status.is_success() {
            return Err(format!("the answer is {}", answer.status));
        }
        Ok((key_set(&answer.body)?, max_age(&answer.headers).unwrap_or(self.refresh)))
    }
}

fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all(header::CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let seconds = values.flat_map(|value| value.split(',')).find_map(|directive| {
        let (name, seconds) = directive.trim().split_once('=')?;
        if name.eq_ignore_ascii_case("max-age") { seconds.trim_matches('"').parse().ok() } else { None }
    })?;
    Some(Duration::from_secs(seconds).clamp(MAX_AGE.0, MAX_AGE.1))
}
