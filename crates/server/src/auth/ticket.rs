//! One-time tickets: a short word for a URL, where a client can't send a header.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tidings::principal::PublishRights;
use tidings::{Clock, Grants, Principal, Timestamp};
use tidings_brokers::state::{AccessStore, LONGEST_TICKET};
use tidings_transports::{Problem, Request};

use super::place::{Found, Places};
use super::recheck::Recheck;
use super::settings::TicketSettings;
use super::source::{Verdict, invalid, unclear, unreadable};
use super::{AuthContext, AuthError};

/// How long a ticket counts where the request does not say: the time to open a stream with it.
pub const DEFAULT_TTL: Duration = Duration::from_secs(30);

/// The longest a ticket may count.
pub const MAX_TTL: Duration = LONGEST_TICKET;

/// How long a ticket's streams last when its login should be asked about again and is not known here any more.
const UNASKED: Duration = Duration::from_secs(60);

/// Tickets as a source.
pub struct Tickets {
    places: Places,
    store: Arc<dyn AccessStore>,
    clock: Arc<dyn Clock>,
    recheck: Arc<Recheck>,
}

/// What a ticket stands for. Its grants are whole: with the namespace, implications included.
#[derive(Serialize, Deserialize)]
struct Stub {
    id: String,
    #[serde(default)]
    namespace: Option<String>,
    grants: Vec<String>,
    session: Option<String>,
    key: Option<String>,
    issued_at: u64,
    expires_at: Option<u64>,
    /// Whether the one it was made for came through asking the app, which then is asked about the ticket's streams too.
    asked: bool,
    #[serde(default)]
    about: Option<String>,
}

impl Tickets {
    /// Checks the settings that stand at `path`.
    pub fn new(settings: &TicketSettings, path: &str, context: &AuthContext) -> Result<Self, AuthError> {
        let places = Places::new(&settings.places, path)?;
        if places.is_empty() {
            return Err(AuthError::new(format!("{path}.in"), "it needs a place to look for the ticket"));
        }
        let AuthContext { store, clock, recheck, .. } = context;
        Ok(Tickets { places, store: store.clone(), clock: clock.clone(), recheck: recheck.clone() })
    }

    /// Whose ticket is in the request. It is used up by this.
    pub async fn check(&self, request: &Request<'_>) -> Verdict {
        let ticket = match self.places.find(request) {
            Found::Absent => return Verdict::Absent,
            Found::Unclear(why) => return Verdict::Refused(unclear(why)),
            Found::One(ticket) => ticket,
        };
        let now = self.clock.now();
        match self.store.take_ticket(hash(&ticket), now).await {
            Ok(Some(stub)) => match principal(&stub) {
                Some((principal, false)) => Verdict::Accepted(Arc::new(principal)),
                Some((principal, true)) => Verdict::Accepted(self.join(principal, now)),
                None => Verdict::Refused(invalid("the ticket can't be read")),
            },
            Ok(None) => Verdict::Refused(invalid("the ticket is unknown, used or too old")),
            Err(error) => Verdict::Unknown(unreadable(&error)),
        }
    }
}

impl Tickets {
    /// Has the app asked again about who came with a ticket of one it knows. If its session is forgotten here, as
    /// after a restart, nobody would be: then the streams end soon, and the client comes back with its own credential.
    fn join(&self, mut principal: Principal, now: Timestamp) -> Arc<Principal> {
        let shared = Arc::new(principal.clone());
        if self.recheck.join(&shared) {
            return shared;
        }
        let soon = now.after(UNASKED);
        principal.expires_at = Some(principal.expires_at.map_or(soon, |at| at.min(soon)));
        Arc::new(principal)
    }
}

/// Makes a ticket for `principal` that counts once, within `ttl` (at most [`MAX_TTL`]). Who comes with it sees what
/// `principal` may see for as long as its own credential lasts, but may not publish and is no operator: a ticket
/// stands in a URL.
pub async fn issue_ticket(
    store: &dyn AccessStore,
    clock: &dyn Clock,
    recheck: &Recheck,
    principal: &Principal,
    ttl: Duration,
) -> Result<String, Problem> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret)
        .map_err(|_| Problem::unavailable(2, "no-randomness", "the system gives no random numbers"))?;
    let ticket = format!("tdt_{}", URL_SAFE_NO_PAD.encode(secret));
    let now = clock.now();
    let ends = now.after(ttl.min(MAX_TTL));
    let expires_at = principal.expires_at.map_or(ends, |at| at.min(ends));
    recheck.keep(principal, ends);
    let stub = Stub {
        id: principal.id.to_string(),
        namespace: principal.namespace.as_deref().map(Into::into),
        grants: principal.grants.iter().map(|grant| grant.as_str().to_owned()).collect(),
        session: principal.session.as_deref().map(Into::into),
        key: principal.key.as_deref().map(Into::into),
        issued_at: principal.issued_at.unwrap_or(now).0,
        expires_at: principal.expires_at.map(|at| at.0),
        asked: principal.source == "forward",
        about: principal.about.as_deref().map(Into::into),
    };
    let stub = serde_json::to_string(&stub)
        .map_err(|_| Problem::unavailable(2, "store-unavailable", "the ticket can't be written"))?;
    match store.put_ticket(hash(&ticket), &stub, expires_at).await {
        Ok(()) => Ok(ticket),
        Err(error) => Err(unreadable(&error)),
    }
}

fn hash(ticket: &str) -> [u8; 32] {
    Sha256::digest(ticket.as_bytes()).into()
}

/// The principal, and whether it came through asking the app.
fn principal(stub: &str) -> Option<(Principal, bool)> {
    let stub: Stub = serde_json::from_str(stub).ok()?;
    let grants = Grants::parse(stub.grants.iter().map(String::as_str)).ok()?;
    let principal = Principal {
        namespace: stub.namespace.map(Into::into),
        session: stub.session.map(Into::into),
        key: stub.key.map(Into::into),
        expires_at: stub.expires_at.map(Timestamp),
        issued_at: Some(Timestamp(stub.issued_at)),
        publish: PublishRights::None,
        operator: false,
        about: stub.about.map(Into::into),
        ..Principal::new(&stub.id, grants, "ticket")
    };
    Some((principal, stub.asked))
}
