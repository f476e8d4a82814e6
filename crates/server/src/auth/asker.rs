//! The one who asks the app: now, and again while streams are open.

use std::sync::{Arc, Weak};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tidings::{Principal, Timestamp};
use tokio::sync::Semaphore;

use super::cache::Cache;
use super::client::Client;
use super::identity::Identity;
use super::settings::ForwardSettings;
use super::words::{Draft, Words};
use super::{AuthContext, AuthError};

/// The most bytes of the app's answer: who somebody is, with some hundred grants.
const MAX_BYTES: usize = 256 << 10;

/// The most yes that are remembered.
const REMEMBERED: usize = 16_384;

/// The one who asks, also again later.
pub(super) struct Asker {
    client: Client,
    pub(super) uri: Uri,
    method: Method,
    timeout: Duration,
    pub(super) cache: Duration,
    slots: Semaphore,
    identity: Identity,
    wants_body: bool,
    words: Arc<Words>,
    /// Mixed into the made-up names of sessions, so that they tell nothing of the credential.
    salt: [u8; 32],
    pub(super) known: Cache<[u8; 32], (Arc<Principal>, Timestamp)>,
    /// Who streams hold, also when the yes is too old.
    held: Cache<[u8; 32], Weak<Principal>>,
    pub(super) recheck: Option<Duration>,
    pub(super) max_stale: Duration,
}

/// What the app said.
#[derive(Clone)]
pub(super) enum Answered {
    /// Who it is.
    Yes(Box<Draft>),
    /// With 401 or 403.
    No(StatusCode),
    /// It could not say, for this reason.
    Unknown(String),
}

impl Asker {
    /// One that asks there, about who the templates of `identity` make of the answer.
    pub(super) fn new(
        settings: &ForwardSettings,
        path: &str,
        (method, uri): (Method, Uri),
        identity: Identity,
        context: &AuthContext,
        words: &Arc<Words>,
    ) -> Result<Self, AuthError> {
        let mut salt = [0; 32];
        getrandom::fill(&mut salt).map_err(|_| AuthError::new(path, "the system gives no random numbers"))?;
        Ok(Asker {
            client: context.client.clone(),
            uri,
            method,
            timeout: settings.timeout,
            cache: settings.cache,
            slots: Semaphore::new(settings.concurrent),
            wants_body: identity.uses("body"),
            identity,
            words: words.clone(),
            salt,
            known: Cache::new(REMEMBERED),
            held: Cache::new(REMEMBERED),
            recheck: settings.recheck,
            max_stale: settings.max_stale,
        })
    }

    /// Asks the app.
    pub(super) async fn ask(&self, mut question: HeaderMap) -> Answered {
        question.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        question.entry(header::USER_AGENT).or_insert(HeaderValue::from_static("tidings"));
        let Ok(slot) = tokio::time::timeout(self.timeout, self.slots.acquire()).await else {
            return Answered::Unknown("too many questions are waiting".into());
        };
        let answer = self.client.ask(&self.method, &self.uri, question, self.timeout, MAX_BYTES).await;
        drop(slot);
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return Answered::Unknown(error.to_string()),
        };
        match answer.status {
            StatusCode::FORBIDDEN => return Answered::No(StatusCode::FORBIDDEN),
            // It can't even read the credential, and will not tomorrow.
            StatusCode::BAD_REQUEST
            | StatusCode::UNPROCESSABLE_ENTITY
            | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => return Answered::No(StatusCode::UNAUTHORIZED),
            status @ (StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) => {
                let (url, method, status) = (&self.uri, &self.method, status.as_u16());
                tracing::error!(%url, %method, status, "nobody can be let in: the app has nothing to ask at this `url`");
                return Answered::Unknown(format!("the answer is {status}: check `url` and `method`"));
            }
            status
                if status == StatusCode::UNAUTHORIZED
                    || (status.is_redirection() && status != StatusCode::NOT_MODIFIED) =>
            {
                return Answered::No(StatusCode::UNAUTHORIZED);
            }
            status if !status.is_success() => return Answered::Unknown(format!("the answer is {status}")),
            _ => {}
        }
        let body = match serde_json::from_slice::<Value>(&answer.body) {
            Ok(body) => body,
            Err(_) if !self.wants_body => Value::Null,
            Err(_) => return Answered::Unknown("the answer is not JSON".into()),
        };
        let mut headers = Map::new();
        for name in answer.headers.keys() {
            let values =
                answer.headers.get_all(name).iter().filter_map(|value| std::str::from_utf8(value.as_bytes()).ok());
            headers.insert(name.as_str().to_owned(), values.collect::<Vec<_>>().into());
        }
        match self.identity.draft(&json!({ "body": body, "header": headers })) {
            Some(draft) => Answered::Yes(Box::new(draft)),
            // A page that says "nobody is logged in" with 200.
            None => Answered::No(StatusCode::UNAUTHORIZED),
        }
    }

    /// The principal of an answer; `session` names the login where the app does not.
    pub(super) fn principal(&self, draft: Draft, session: Option<&Arc<str>>) -> Principal {
        let session = draft.session.clone().or(session.map(|session| session.to_string()));
        self.words.principal(Draft { session, ..draft }, "forward")
    }

    /// The namespace of the profile whose app it asks; none at `/v1`.
    pub(super) fn namespace(&self) -> Option<&Arc<str>> {
        self.words.namespace.as_ref()
    }

    /// A made-up name for the login with this credential.
    pub(super) fn session(&self, credential: &[u8]) -> Arc<str> {
        let hash = Sha256::new().chain_update(self.salt).chain_update(credential).finalize();
        let hex: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        format!("login-{hex}").into()
    }

    /// Remembers a yes. The principal stays the one that its streams have, as long as nothing of it changed.
    pub(super) fn share(&self, hash: [u8; 32], principal: Principal, asked_at: Timestamp) -> Arc<Principal> {
        let held = self.held.get(&hash).and_then(|held| held.upgrade()).filter(|held| **held == principal);
        let principal = held.unwrap_or_else(|| Arc::new(principal));
        self.held.insert(hash, Arc::downgrade(&principal));
        self.known.insert(hash, (principal.clone(), asked_at));
        principal
    }

    /// Forgets every yes about this session.
    pub(super) fn forget(&self, session: &Arc<str>) {
        self.known.retain(|_, (principal, _)| principal.session.as_ref() != Some(session));
    }

    /// Forgets every yes that is too old, so that only streams hold their principals.
    pub(super) fn forget_old(&self, now: Timestamp) {
        self.known.retain(|_, (_, asked_at)| now.since(*asked_at) < self.cache);
    }
}
