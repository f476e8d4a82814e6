//! API keys: those that the program keeps, and those from settings.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tidings::principal::PublishRights;
use tidings::{Clock, Principal, Timestamp, TopicPattern};
use tidings_brokers::state::AccessStore;
use tidings_brokers::store::Key;
use tidings_brokers::store::key::TOKEN_PREFIX;
use tidings_transports::{Problem, Request};

use super::cache::Cache;
use super::identity;
use super::place::{Found, Places};
use super::secret::SecretFrom;
use super::settings::{ApiKeySettings, StaticKeySettings};
use super::source::{Verdict, invalid, unclear, unreadable};
use super::words::{Draft, Home, Words};
use super::{AuthContext, AuthError, Revocations};

/// How long a key that was found in the store is believed without looking again. Shorter than the second within
/// which removing a key must take effect.
const BELIEVED: Duration = Duration::from_millis(500);

/// The most keys in use that are remembered.
const REMEMBERED: usize = 4_096;

/// How often it is noted when a key was last used: a write with a sync each.
const TOUCH_EVERY: Duration = Duration::from_secs(60);

/// API keys as a source.
pub struct ApiKeys {
    places: Places,
    store: Option<Arc<dyn AccessStore>>,
    fixed: Vec<Fixed>,
    words: Arc<Words>,
    clock: Arc<dyn Clock>,
    revocations: Arc<Revocations>,
    known: Cache<[u8; 32], (Arc<Principal>, Timestamp)>,
    touched: Cache<Arc<str>, Timestamp>,
}

/// A key from settings.
struct Fixed {
    hash: [u8; 32],
    principal: Arc<Principal>,
}

impl ApiKeys {
    /// Checks the settings that stand at `path`.
    pub fn new(
        settings: &ApiKeySettings,
        path: &str,
        context: &AuthContext,
        words: &Arc<Words>,
    ) -> Result<Self, AuthError> {
        let places = Places::new(&settings.places, path)?;
        if places.is_empty() {
            return Err(AuthError::new(format!("{path}.in"), "it needs a place to look for the key"));
        }
        if !settings.stored && settings.keys.is_empty() {
            return Err(AuthError::new(
                path,
                "it has neither stored keys nor keys of its own, so no key could be right",
            ));
        }
        let keys = settings.keys.iter().enumerate();
        Ok(ApiKeys {
            places,
            store: settings.stored.then(|| context.store.clone()),
            fixed: keys
                .map(|(index, key)| Fixed::new(key, &format!("{path}.keys[{index}]"), &context.base, words))
                .collect::<Result<_, _>>()?,
            words: words.clone(),
            clock: context.clock.clone(),
            revocations: context.revocations.clone(),
            known: Cache::new(REMEMBERED),
            touched: Cache::new(REMEMBERED),
        })
    }

    /// Whose key is in the request.
    pub async fn check(&self, request: &Request<'_>) -> Verdict {
        let token = match self.places.find(request) {
            Found::Absent => return Verdict::Absent,
            Found::Unclear(why) => return Verdict::Refused(unclear(why)),
            Found::One(token) => token,
        };
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        // Every key is compared, so that the time tells nothing of which one is near.
        let mut fixed = None;
        for key in &self.fixed {
            if bool::from(key.hash.ct_eq(&hash)) {
                fixed = Some(&key.principal);
            }
        }
        if let Some(principal) = fixed {
            return Verdict::Accepted(principal.clone());
        }
        match &self.store {
            Some(store) if token.starts_with(TOKEN_PREFIX) => self.check_stored(store.as_ref(), &token, hash).await,
            _ => Verdict::Refused(invalid("the API key is not known")),
        }
    }

    async fn check_stored(&self, store: &dyn AccessStore, token: &str, hash: [u8; 32]) -> Verdict {
        let now = self.clock.now();
        let known = self.known.get(&hash);
        if let Some((principal, _)) = known.as_ref().filter(|(_, at)| now.since(*at) < BELIEVED && *at <= now) {
            return Verdict::Accepted(principal.clone());
        }
        let key = match store.key_of(token).await {
            Ok(Some(key)) => key,
            Ok(None) => {
                self.known.remove(&hash);
                return Verdict::Refused(invalid("the API key is not known"));
            }
            Err(error) => return Verdict::Unknown(unreadable(&error)),
        };
        if key.rights.operator && key.rights.profile.is_some() && known.is_none() {
            tracing::warn!(key = %key.id, "a key for one profile is no operator's, although it was made with --operator: make one without --profile");
        }
        let home = key.rights.profile.clone().map_or(Home::Whole, Home::Of);
        if !self.words.know(&home) {
            return Verdict::Refused(Problem::new(
                StatusCode::FORBIDDEN,
                "wrong-profile",
                "the API key is for another profile",
            ));
        }
        let mut principal = Arc::new(self.words.principal(draft(key, home), "api-key"));
        // The same principal as long as nothing of it changed: its connections share one.
        if let Some((known, _)) = known.filter(|(known, _)| **known == *principal) {
            principal = known;
        }
        self.known.insert(hash, (principal.clone(), now));
        self.touch(&principal, now);
        principal.key.iter().for_each(|key| self.revocations.know_key(key));
        Verdict::Accepted(principal)
    }

    /// Has the store take note that the key is in use, beside the request.
    fn touch(&self, principal: &Principal, now: Timestamp) {
        let (Some(store), Some(key), Ok(runtime)) =
            (self.store.clone(), principal.key.clone(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        if self.touched.get(&key).is_some_and(|at| now.since(at) < TOUCH_EVERY) {
            return;
        }
        self.touched.insert(key.clone(), now);
        runtime.spawn(async move {
            if let Err(error) = store.touch_key(&key, now).await {
                tracing::warn!(%error, "the last use of a key can't be noted");
            }
        });
    }
}

fn draft(Key { id, rights, created_at, .. }: Key, home: Home) -> Draft {
    let patterns = |texts: &[String]| texts.iter().filter_map(|text| text.parse().ok()).collect::<Vec<TopicPattern>>();
    let publish = match (rights.may_publish, &rights.publish_topics, &rights.publish_names) {
        (false, ..) => PublishRights::None,
        (true, None, None) => PublishRights::All,
        (true, topics, names) => PublishRights::Limited {
            topics: topics.as_ref().map_or_else(|| patterns(&["**".into()]), |topics| patterns(topics)).into(),
            names: names.as_ref().map(|names| names.iter().map(|name| name.as_str().into()).collect()),
        },
    };
    Draft {
        key: Some(id),
        expires_at: rights.expires_at,
        issued_at: Some(created_at),
        publish,
        // An operator sees and ends what is of any app.
        operator: rights.operator && rights.profile.is_none(),
        home,
        ..Draft::new(rights.name, patterns(&rights.grants))
    }
}

impl Fixed {
    fn new(settings: &StaticKeySettings, path: &str, base: &Path, words: &Words) -> Result<Self, AuthError> {
        let StaticKeySettings { name, sha256, value, value_file, value_env, grants, publish, operator } = settings;
        if name.is_empty() {
            return Err(AuthError::new(format!("{path}.name"), "the key needs a name: it is who publishes or listens"));
        }
        let value = SecretFrom { value: value.as_ref(), file: value_file.as_ref(), env: value_env.as_ref() }
            .read(base, &format!("{path}.value"))?;
        let hash = match (sha256, value) {
            (Some(text), None) => from_hex(text)
                .ok_or_else(|| AuthError::new(format!("{path}.sha256"), "it must be the 64 hex digits of a SHA-256"))?,
            (None, Some(value)) => Sha256::digest(value.expose().as_bytes()).into(),
            _ => {
                return Err(AuthError::new(
                    path,
                    "the key is said in exactly one of sha256, value, value_file and value_env",
                ));
            }
        };
        let draft = Draft {
            key: Some(name.clone()),
            publish: identity::rights(publish, &format!("{path}.publish"))?,
            operator: *operator,
            ..Draft::new(name.clone(), identity::grants(grants, &format!("{path}.grants"))?)
        };
        Ok(Fixed { hash, principal: Arc::new(words.principal(draft, "api-key")) })
    }
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let text = text.trim();
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 32];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(bytes)
}
