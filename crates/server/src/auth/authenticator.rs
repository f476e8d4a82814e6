//! The sources in their order: the first whose credential is in the request decides.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tidings::job::Jobs;
use tidings::{Clock, Implications, Principal, SystemClock};
use tidings_brokers::state::AccessStore;
use tidings_transports::{Authenticate, Problem, Request};

use super::api_key::ApiKeys;
use super::forward::Forward;
use super::identity;
use super::job_token::JobTokens;
use super::jwt::Jwt;
use super::proxy_header::ProxyHeader;
use super::settings::{AnonymousSettings, AuthSettings, OnInvalid, SourceSettings};
use super::source::{Verdict, expired, revoked, unheard};
use super::ticket::{Tickets, issue_ticket};
use super::words::{Draft, Words};
use super::{AuthError, Client, Recheck, Revocations, RevokeCallback};

/// For how long revocations and removed keys of other replicas may go unheard until nobody is let in any more but operators: whoever comes
/// may have been shut out since. Longer than the engine takes to get over the loss of one of its servers on most days.
const UNHEARD: Duration = Duration::from_secs(10);

/// What the sources work with. Cloned for each profile; what is shared stays shared.
#[derive(Clone)]
pub struct AuthContext {
    /// The namespace of the profile whose door this is; none at `/v1`.
    pub namespace: Option<String>,
    /// What follows from which grant, in the profile's own words.
    pub implications: Implications,
    /// For `/v1`: the implications of each profile by its namespace, for keys that are made for a profile.
    pub profiles: BTreeMap<String, Implications>,
    /// Keys, tickets, revocations.
    pub store: Arc<dyn AccessStore>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Who was shut out: one list for the whole program.
    pub revocations: Arc<Revocations>,
    /// Asks the app again about open streams: one for the whole program, which runs it.
    pub recheck: Arc<Recheck>,
    /// For asking the app and fetching key sets.
    pub client: Client,
    /// The jobs whose tokens count; without them none does.
    pub jobs: Option<Arc<Jobs>>,
    /// Where relative paths of files in the settings start.
    pub base: PathBuf,
}

impl AuthContext {
    /// A context for `/v1` with the machine's clock, where nobody is shut out yet. `revoke` ends live streams, when the app says no
    /// about them.
    pub fn new(store: Arc<dyn AccessStore>, revoke: RevokeCallback) -> Self {
        Self::with_clock(store, revoke, Arc::new(SystemClock))
    }

    /// The same with another clock.
    pub fn with_clock(store: Arc<dyn AccessStore>, revoke: RevokeCallback, clock: Arc<dyn Clock>) -> Self {
        AuthContext {
            namespace: None,
            implications: Implications::default(),
            profiles: BTreeMap::new(),
            revocations: Arc::new(Revocations::new(store.clone(), clock.clone())),
            recheck: Arc::new(Recheck::new(clock.clone(), revoke)),
            store,
            clock,
            client: Client::new(),
            jobs: None,
            base: PathBuf::new(),
        }
    }
}

/// Says who asks at one door: at `/v1`, or at the paths of one profile.
pub struct Authenticator {
    sources: Vec<(Source, OnInvalid)>,
    anonymous: Option<Arc<Principal>>,
    store: Arc<dyn AccessStore>,
    clock: Arc<dyn Clock>,
    revocations: Arc<Revocations>,
    recheck: Arc<Recheck>,
}

/// One source of credentials.
pub enum Source {
    /// API keys.
    ApiKey(Box<ApiKeys>),
    /// Signed tokens.
    Jwt(Box<Jwt>),
    /// The app, which is asked.
    Forward(Box<Forward>),
    /// A reverse proxy's header.
    ProxyHeader(Box<ProxyHeader>),
    /// Tokens of jobs.
    JobToken(JobTokens),
    /// One-time tickets.
    Ticket(Tickets),
}

impl Authenticator {
    /// Checks the settings. An error names the setting.
    pub fn new(settings: &AuthSettings, context: AuthContext) -> Result<Self, AuthError> {
        let words = Arc::new(Words {
            namespace: context.namespace.as_deref().map(Arc::from),
            implications: context.implications.clone(),
            profiles: context.profiles.clone(),
        });
        let sources = settings.sources.iter().enumerate().map(|(index, source)| {
            let path = format!("sources[{index}]");
            Ok(match source {
                SourceSettings::ApiKey(settings) => {
                    (Source::ApiKey(Box::new(ApiKeys::new(settings, &path, &context, &words)?)), settings.on_invalid)
                }
                SourceSettings::Jwt(settings) => {
                    (Source::Jwt(Box::new(Jwt::new(settings, &path, &context, &words)?)), settings.on_invalid)
                }
                SourceSettings::Forward(settings) => {
                    let source = Forward::new(settings, &path, &context, &words)?;
                    (Source::Forward(Box::new(source)), settings.on_invalid)
                }
                SourceSettings::ProxyHeader(settings) => {
                    (Source::ProxyHeader(Box::new(ProxyHeader::new(settings, &path, &words)?)), OnInvalid::Reject)
                }
                SourceSettings::JobToken(settings) => {
                    (Source::JobToken(JobTokens::new(settings, &path, &context)?), settings.on_invalid)
                }
                SourceSettings::Ticket(settings) => {
                    (Source::Ticket(Tickets::new(settings, &path, &context)?), settings.on_invalid)
                }
            })
        });
        let anonymous = match &settings.anonymous {
            AnonymousSettings::Reject => None,
            AnonymousSettings::Grants(nobody) => Some(Draft {
                publish: identity::rights(&nobody.publish, "anonymous.publish")?,
                operator: nobody.operator,
                ..Draft::new("anonymous", identity::grants(&nobody.grants, "anonymous.grants")?)
            }),
        };
        Ok(Authenticator {
            sources: sources.collect::<Result<_, AuthError>>()?,
            anonymous: anonymous.map(|draft| Arc::new(words.principal(draft, "anonymous"))),
            store: context.store,
            clock: context.clock,
            revocations: context.revocations,
            recheck: context.recheck,
        })
    }

    /// Who asks, or the refusal to answer with.
    pub async fn identify(&self, request: Request<'_>) -> Result<Arc<Principal>, Problem> {
        let mut refused = None;
        for (source, on_invalid) in &self.sources {
            let verdict = match source.check(&request).await {
                Verdict::Accepted(principal) => self.admit(principal, matches!(source, Source::Forward(_))),
                verdict => verdict,
            };
            match verdict {
                Verdict::Absent => {}
                Verdict::Accepted(principal) => return Ok(principal),
                // Remembered: a request with a wrong credential is refused in the end, and never anonymous.
                Verdict::Refused(problem) if *on_invalid == OnInvalid::Next => {
                    refused.get_or_insert(problem);
                }
                Verdict::Refused(problem) | Verdict::Unknown(problem) => return Err(problem),
            }
        }
        match (refused, &self.anonymous) {
            (Some(problem), _) => Err(problem),
            (None, Some(anonymous)) => Ok(anonymous.clone()),
            (None, None) => Err(Problem::unauthorized(None, "a credential is needed")),
        }
    }

    /// Whether who was found good, now or a while ago, may still come in.
    fn admit(&self, principal: Arc<Principal>, asked: bool) -> Verdict {
        if principal.is_expired(self.clock.now()) {
            Verdict::Refused(expired())
        } else if self.revocations.refuse(&principal, asked) {
            Verdict::Refused(revoked())
        } else if !principal.operator && self.store.whole_ago() > UNHEARD {
            // Operators look after a replica that is cut off, and revoke there.
            Verdict::Unknown(unheard())
        } else {
            Verdict::Accepted(principal)
        }
    }

    /// Makes a one-time ticket for `principal` that counts for `ttl`; see [`issue_ticket`].
    pub async fn issue_ticket(&self, principal: &Principal, ttl: Duration) -> Result<String, Problem> {
        issue_ticket(&*self.store, self.clock.as_ref(), &self.recheck, principal, ttl).await
    }
}

impl Source {
    async fn check(&self, request: &Request<'_>) -> Verdict {
        match self {
            Source::ApiKey(source) => source.check(request).await,
            Source::Jwt(source) => source.check(request).await,
            Source::Forward(source) => source.check(request).await,
            Source::ProxyHeader(source) => source.check(request),
            Source::JobToken(source) => source.check(request).await,
            Source::Ticket(source) => source.check(request).await,
        }
    }
}

#[async_trait]
impl Authenticate for Authenticator {
    async fn authenticate(&self, request: Request<'_>) -> Result<Arc<Principal>, Problem> {
        self.identify(request).await
    }
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authenticator({} sources)", self.sources.len())
    }
}
