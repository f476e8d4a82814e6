//! Asking the app who it is: its wall stays the wall.
//!
//! Only a 2xx is a yes, and only 401, 403, a redirect (to a login page), or 400, 422 and 431 (it can't read the credential) is a
//! no. Anything else, and no answer, is "not known": 503, never anonymous, never remembered.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use ipnet::IpNet;
use sha2::{Digest, Sha256};
use tidings::{Clock, Timestamp};
use tidings_transports::{Problem, Request};
use tokio::sync::OnceCell;

use super::asker::{Answered, Asker};
use super::client::address;
use super::identity::Identity;
use super::place::{Found, Places};
use super::proxy_header::{is_in, networks};
use super::recheck::Recheck;
use super::secret::Secret;
use super::settings::ForwardSettings;
use super::source::{Verdict, invalid, unclear};
use super::words::Words;
use super::{AuthContext, AuthError, Revocations};

/// The longest a yes may be remembered: beyond it, a logout would go unnoticed for too long.
const MAX_CACHE: Duration = Duration::from_secs(60);

/// What stands for the credential in a header that is added to the question.
const CREDENTIAL: &str = "{credential}";

/// When to come back if the app could not answer, in seconds.
const RETRY_AFTER: u32 = 2;

/// The app as a source.
pub struct Forward {
    places: Places,
    headers: Vec<Passed>,
    set: Vec<(HeaderName, Secret)>,
    trusted: Vec<IpNet>,
    asker: Arc<Asker>,
    clock: Arc<dyn Clock>,
    revocations: Arc<Revocations>,
    recheck: Arc<Recheck>,
    flights: Mutex<HashMap<[u8; 32], Weak<Flight>>>,
}

/// One question, which all who bring the same credential meanwhile wait for.
type Flight = OnceCell<(Answered, Timestamp)>;

/// Which headers are passed on.
enum Passed {
    Name(HeaderName),
    Prefix(String),
}

impl Forward {
    /// Checks the settings that stand at `path`.
    pub fn new(
        settings: &ForwardSettings,
        path: &str,
        context: &AuthContext,
        words: &Arc<Words>,
    ) -> Result<Self, AuthError> {
        let at = |name: &str| format!("{path}.{name}");
        let uri = address(&settings.url).map_err(|why| AuthError::new(at("url"), why))?;
        let method = match settings.method.as_str() {
            "GET" => Method::GET,
            "HEAD" => Method::HEAD,
            "POST" => Method::POST,
            other => return Err(AuthError::new(at("method"), format!("{other:?} is not one of GET, HEAD and POST"))),
        };
        for (name, duration) in [("timeout", settings.timeout), ("max_stale", settings.max_stale)] {
            if duration.is_zero() {
                return Err(AuthError::new(at(name), "it must be longer than nothing"));
            }
        }
        if settings.cache > MAX_CACHE {
            return Err(AuthError::new(at("cache"), "it is at most 60s, or a logout would go unnoticed for too long"));
        }
        if settings.recheck.is_some_and(|every| every < Duration::from_secs(1)) {
            return Err(AuthError::new(at("recheck"), "it is at least 1s, as each open session is a question"));
        }
        if !(1..=1024).contains(&settings.concurrent) {
            return Err(AuthError::new(at("concurrent"), "it must be from 1 to 1024"));
        }
        let headers = settings.headers.iter().enumerate().map(|(index, name)| {
            Passed::new(name).map_err(|why| AuthError::new(format!("{path}.headers[{index}]"), why))
        });
        let set = settings.set.iter().map(|(name, value)| {
            let wrong = |why: &str| AuthError::new(format!("{path}.set.{name}"), why.to_owned());
            let name: HeaderName = name.parse().map_err(|_| wrong("it is not a header name"))?;
            HeaderValue::from_str(value.expose()).map_err(|_| wrong("its value does not fit into a header"))?;
            if is_ours(&name) {
                return Err(wrong("this header is set by the connection itself"));
            }
            Ok((name, value.clone()))
        });
        let identity = Identity::new(&settings.principal, &["body", "header"], path, &[], &[])?;
        let places = Places::new(&settings.places, path)?;
        if let Some(index) = places.first_beside_headers()
            && !settings.set.values().any(|value| value.expose().contains(CREDENTIAL))
        {
            let message = format!(
                "the app would not be told this credential; pass it on: set = {{ authorization = \"Bearer {CREDENTIAL}\" }}"
            );
            return Err(AuthError::new(format!("{path}.in[{index}]"), message));
        }
        Ok(Forward {
            places,
            headers: headers.collect::<Result<_, _>>()?,
            set: set.collect::<Result<_, AuthError>>()?,
            trusted: networks(&settings.trusted, &at("trusted"))?,
            asker: Arc::new(Asker::new(settings, path, (method, uri), identity, context, words)?),
            clock: context.clock.clone(),
            revocations: context.revocations.clone(),
            recheck: context.recheck.clone(),
            flights: Mutex::default(),
        })
    }

    /// Who the app says it is.
    pub async fn check(&self, request: &Request<'_>) -> Verdict {
        let credential = match self.places.find(request) {
            Found::One(credential) => Some(credential),
            Found::Absent if self.places.is_empty() => None,
            Found::Absent => return Verdict::Absent,
            Found::Unclear(why) => return Verdict::Refused(unclear(why)),
        };
        let Some(question) = self.question(request, credential.as_deref()) else {
            return Verdict::Refused(invalid("the credential has characters that can't be passed on"));
        };
        let hash = fingerprint(credential.as_deref(), &question);
        // Without a place the address may be what the app goes by; with one, the session is the credential's.
        let session = self.asker.session(credential.as_deref().map_or(&hash, |text| text.as_bytes()));
        // Twice: an answer that a revocation overtook is not believed, and asked for again.
        for _ in 0..2 {
            if let Some((principal, asked_at)) = self.asker.known.get(&hash)
                && self.clock.now().since(asked_at) < self.asker.cache
                && !self.revocations.refuse_since(&principal, asked_at)
            {
                self.recheck.add(&self.asker, &principal, question, asked_at);
                return Verdict::Accepted(principal);
            }
            let (answered, asked_at) = self.ask(hash, &question).await;
            let draft = match answered {
                Answered::Yes(draft) => draft,
                Answered::No(status) => return Verdict::Refused(refusal(status)),
                Answered::Unknown(why) => {
                    tracing::warn!(url = %self.asker.uri, why, "the app can't say who asks");
                    return Verdict::Unknown(unavailable());
                }
            };
            let principal = self.asker.share(hash, self.asker.principal(*draft, Some(&session)), asked_at);
            if !self.revocations.refuse_since(&principal, asked_at) || self.revocations.refuse(&principal, true) {
                self.recheck.add(&self.asker, &principal, question, asked_at);
                return Verdict::Accepted(principal);
            }
        }
        Verdict::Unknown(unavailable())
    }

    /// Asks once for all who bring the same. Whoever came first may go away: the next takes over.
    async fn ask(&self, hash: [u8; 32], question: &HeaderMap) -> (Answered, Timestamp) {
        let flight = {
            let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
            if flights.len().is_power_of_two() {
                flights.retain(|_, flight| flight.strong_count() > 0);
            }
            match flights.get(&hash).and_then(Weak::upgrade) {
                // One that has landed is an old answer.
                Some(flight) if !flight.initialized() => flight,
                _ => {
                    let flight = Arc::new(Flight::new());
                    flights.insert(hash, Arc::downgrade(&flight));
                    flight
                }
            }
        };
        flight
            .get_or_init(|| async {
                let asked_at = self.clock.now();
                (self.asker.ask(question.clone()).await, asked_at)
            })
            .await
            .clone()
    }

    /// The headers of the question; `None` if the credential does not fit into one.
    fn question(&self, request: &Request<'_>, credential: Option<&str>) -> Option<HeaderMap> {
        let trusted = is_in(&self.trusted, request.peer);
        let mut question = HeaderMap::new();
        for (name, value) in request.headers {
            if self.headers.iter().any(|passed| passed.covers(name))
                && !is_ours(name)
                && (trusted || !is_of_proxy(name))
            {
                question.append(name, value.clone());
            }
        }
        for (name, template) in &self.set {
            let mut value =
                HeaderValue::from_str(&template.expose().replace(CREDENTIAL, credential.unwrap_or_default())).ok()?;
            value.set_sensitive(true);
            question.insert(name, value);
        }
        let peer = request.peer.to_canonical().to_string();
        let chain = match request.headers.get("x-forwarded-for").and_then(|chain| chain.to_str().ok()) {
            Some(chain) if trusted => format!("{chain}, {peer}"),
            _ => peer,
        };
        if self.places.is_empty() || self.headers.iter().any(|p| p.covers(&HeaderName::from_static("x-forwarded-for")))
        {
            question.insert("x-forwarded-for", HeaderValue::from_str(&chain).ok()?);
        }
        Some(question)
    }
}

impl Passed {
    fn new(text: &str) -> Result<Self, String> {
        let text = text.to_ascii_lowercase();
        if let Some(prefix) = text.strip_suffix('*') {
            return match prefix.parse::<HeaderName>() {
                Ok(_) => Ok(Passed::Prefix(prefix.to_owned())),
                Err(_) => Err(format!("{text:?} is not the beginning of a header name")),
            };
        }
        let name: HeaderName = text.parse().map_err(|_| format!("{text:?} is not a header name"))?;
        if is_ours(&name) {
            Err(format!("{name} belongs to one connection and can't be passed on"))
        } else {
            Ok(Passed::Name(name))
        }
    }

    fn covers(&self, name: &HeaderName) -> bool {
        match self {
            Passed::Name(passed) => passed == name,
            Passed::Prefix(prefix) => name.as_str().starts_with(prefix.as_str()),
        }
    }
}

/// Headers of one connection and its message (RFC 9110 §7.6.1).
fn is_ours(name: &HeaderName) -> bool {
    const OURS: [HeaderName; 10] = [
        header::HOST,
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::TE,
        header::TRAILER,
        header::UPGRADE,
        header::EXPECT,
        header::PROXY_AUTHORIZATION,
        HeaderName::from_static("keep-alive"),
    ];
    OURS.contains(name)
}

/// Headers that only a reverse proxy may set: the app believes them because they come from us.
fn is_of_proxy(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("x-forwarded")
        || name.starts_with("x-auth-request")
        || matches!(name, "forwarded" | "x-real-ip" | "remote-user")
}

/// What an answer is remembered by: the question, and the credential, which need not stand in it as it is. No two logins
/// share an answer, wherever their credentials came from.
fn fingerprint(credential: Option<&str>, question: &HeaderMap) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update([u8::from(credential.is_some())]);
    let fields = question.iter().flat_map(|(name, value)| [name.as_str().as_bytes(), value.as_bytes()]);
    for part in credential.map(str::as_bytes).into_iter().chain(fields) {
        // With its length, so that what ends one can't begin the next.
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

fn refusal(status: StatusCode) -> Problem {
    if status == StatusCode::FORBIDDEN {
        Problem::new(status, "forbidden", "the app does not let this user in")
    } else {
        invalid("the app does not know this credential")
    }
}

fn unavailable() -> Problem {
    Problem::unavailable(RETRY_AFTER, "app-unavailable", "the app can't say at the moment who asks")
}
