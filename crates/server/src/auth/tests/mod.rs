//! Each source alone, orders, and every refusal, through [`Authenticator`].

mod app;
mod forward;
mod job_token;
mod jwt;
mod order;
mod replicas;
mod revocation;
mod signer;
mod ticket;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use tidings::principal::Revocation;
use tidings::{Clock, CloseReason, Implications, ManualClock, Principal, Timestamp};
use tidings_brokers::store::{Key, NewKey};
use tidings_transports::{Problem, Request};

use super::*;

/// The time in these tests: 2026-01-01.
const NOW: u64 = 1_767_225_600;

/// A program with nothing but its doors.
struct Program {
    clock: Arc<ManualClock>,
    store: Arc<MemoryStore>,
    context: AuthContext,
    ended: Arc<Mutex<Vec<(Revocation, CloseReason)>>>,
}

impl Program {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp(NOW * 1000)));
        let store = Arc::new(MemoryStore::default());
        let ended = Arc::<Mutex<Vec<_>>>::default();
        let told = ended.clone();
        let revoke: RevokeCallback = Arc::new(move |of, reason| told.lock().unwrap().push((of, reason)));
        let context = AuthContext::with_clock(store.clone(), revoke, clock.clone());
        Program { clock, store, context, ended }
    }

    fn open(&self, toml: &str) -> Authenticator {
        self.try_open(toml).unwrap()
    }

    fn try_open(&self, toml: &str) -> Result<Authenticator, AuthError> {
        Authenticator::new(&toml::from_str(toml).unwrap(), self.context.clone())
    }

    /// The door of a profile.
    fn open_profile(&self, namespace: &str, toml: &str) -> Authenticator {
        let implications = Implications::new([("role/admin".into(), vec!["role/viewer".into()])]).unwrap();
        let context = AuthContext { namespace: Some(namespace.into()), implications, ..self.context.clone() };
        Authenticator::new(&toml::from_str(toml).unwrap(), context).unwrap()
    }

    fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    async fn revoke(&self, of: Revocation) {
        revoke(&self.context.revocations, of, self.clock.now().after(Duration::from_secs(86_400))).await;
    }

    fn ended(&self) -> Vec<(Revocation, CloseReason)> {
        std::mem::take(&mut *self.ended.lock().unwrap())
    }
}

/// Shuts `of` out, and has it kept.
async fn revoke(revocations: &Revocations, of: Revocation, until: Timestamp) {
    let at = revocations.shut_out(of.clone(), until);
    revocations.keep(of, at, until).await.unwrap();
}

/// A request to be.
struct Ask {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    peer: std::net::IpAddr,
    payload: Option<serde_json::Value>,
}

fn get(uri: &str) -> Ask {
    let peer = [192, 0, 2, 1].into();
    Ask { method: Method::GET, uri: uri.parse().unwrap(), headers: HeaderMap::new(), peer, payload: None }
}

fn bearer(token: &str) -> Ask {
    get("/").with("authorization", &format!("Bearer {token}"))
}

impl Ask {
    fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
        self
    }

    /// Saying this first, as Socket.IO clients do.
    fn saying(mut self, payload: serde_json::Value) -> Self {
        self.payload = Some(payload);
        self
    }

    fn by(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    fn from(mut self, peer: &str) -> Self {
        self.peer = peer.parse().unwrap();
        self
    }

    async fn at(&self, door: &Authenticator) -> Result<Arc<Principal>, Problem> {
        let Ask { method, uri, headers, peer, payload } = self;
        let payload = payload.as_ref().and_then(serde_json::Value::as_object);
        door.identify(Request { method, uri, headers, peer: *peer, payload }).await
    }

    /// Who was let in.
    async fn who(&self, door: &Authenticator) -> String {
        match self.at(door).await {
            Ok(principal) => principal.id.to_string(),
            Err(problem) => format!("{} {}", problem.status.as_u16(), problem.code),
        }
    }
}

/// The header of a problem.
fn header(problem: &Problem, name: &str) -> String {
    let found = problem.headers.iter().find(|(known, _)| known == name);
    found.map(|(_, value)| value.to_str().unwrap().to_owned()).unwrap_or_default()
}

/// A key with this id, of a profile or of none.
fn stored(id: &str, profile: Option<&str>) -> Key {
    let rights = NewKey {
        grants: vec!["role/admin".into()],
        may_publish: true,
        publish_topics: Some(vec!["job/*".into()]),
        profile: profile.map(Into::into),
        ..NewKey::named(format!("name-{id}"))
    };
    let (mut key, _) = Key::generate(rights, Timestamp(NOW * 1000 - 1)).unwrap();
    key.id = id.into();
    key
}

/// The same as an operator's.
fn operator(id: &str, profile: Option<&str>) -> Key {
    let mut key = stored(id, profile);
    key.rights.operator = true;
    key
}

/// The same until a time.
fn until(expires_at: Option<Timestamp>, mut key: Key) -> Key {
    key.rights.expires_at = expires_at;
    key
}
