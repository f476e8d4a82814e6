//! Looking into the running program (`protocol/README.md` §11): what the console is made of.
//!
//! - [`router`]: the routes. [`Inspector`]: what they share.
//! - `whoami`, `streams`, `topics`, `profiles`, `log`, `stats`, `viewers`: the handlers, by what is looked at.
//! - [`Sampler`]: the figures of each second. [`Topics`]: counts the events of each topic.

mod log;
mod profiles;
mod sampler;
mod stats;
mod streams;
mod topics;
mod viewers;
mod whoami;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header, request};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tidings_transports::events::cors;
use tidings_transports::service::method_not_allowed;
use tidings_transports::{Authenticate, Cors, Problem, Service, Stream};

pub use self::log::LogSource;
pub use self::profiles::{ShownProfile, answer as all_profiles};
pub use self::sampler::Sampler;
pub use self::stats::{Stats, open_by_transport};
pub use self::topics::Topics;
use crate::routes::asker;

/// What is looked into, and by whom it may be.
pub struct Inspector {
    /// The handlers' share of the hub.
    pub service: Arc<Service>,
    /// Who says who asks.
    pub door: Arc<dyn Authenticate>,
    /// The parameters of the query in which a credential may stand.
    pub credentials: Arc<[String]>,
    /// The figures of each second.
    pub sampler: Arc<Sampler>,
    /// The events of each topic.
    pub topics: Arc<Topics>,
    /// What keeps the log.
    pub log: LogSource,
    /// The names of the profiles that are served.
    pub profiles: Vec<String>,
    /// What is told of them, as JSON.
    pub shown_profiles: Box<RawValue>,
    /// Whether whoever reaches the program may do everything.
    pub dev: bool,
    /// Which other origins may ask.
    pub cors: Cors,
}

/// The streams of the mounts: path, transport, streams.
pub type MountedStreams = Vec<(String, &'static str, Arc<Stream>)>;

/// What a path shows.
#[derive(Clone, Copy, Debug)]
enum Page {
    Whoami,
    Streams,
    Stream,
    Topics,
    Profiles,
    Log,
    LogEvents,
    Stats,
    StatsEvents,
}

impl Page {
    const ALL: [(&'static str, Page); 9] = [
        ("/v1/whoami", Page::Whoami),
        ("/v1/streams", Page::Streams),
        ("/v1/streams/{id}", Page::Stream),
        ("/v1/topics", Page::Topics),
        ("/v1/profiles", Page::Profiles),
        ("/v1/log", Page::Log),
        ("/v1/log/events", Page::LogEvents),
        ("/v1/stats", Page::Stats),
        ("/v1/stats/events", Page::StatsEvents),
    ];

    /// The methods that the path takes.
    fn methods(self) -> &'static str {
        match self {
            Page::Stream => "DELETE, OPTIONS",
            _ => "GET, HEAD, OPTIONS",
        }
    }
}

/// The routes.
pub fn router(inspector: &Arc<Inspector>) -> Router {
    let mut router = Router::new();
    for (path, page) in Page::ALL {
        router = router.route(path, any(answer).with_state((inspector.clone(), page)));
    }
    router
}

async fn answer(State((inspector, page)): State<(Arc<Inspector>, Page)>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let allow = page.methods();
    let mut response = match parts.method {
        Method::OPTIONS => inspector.preflight(&parts.headers, allow),
        _ if !allow.split(", ").any(|method| method == parts.method.as_str()) => method_not_allowed(allow),
        _ => inspector.show(page, &parts).await.unwrap_or_else(IntoResponse::into_response),
    };
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.extend(cors(&inspector.cors, &parts.headers));
    response
}

impl Inspector {
    async fn show(self: &Arc<Self>, page: Page, parts: &request::Parts) -> Result<Response, Problem> {
        // Before the credential is looked at: a revocation meanwhile must not be missed.
        let since = self.service.hub.moment();
        let principal = match page {
            Page::Whoami => asker::who(&self.door, parts).await?,
            _ => asker::operator_at(&self.door, parts).await?,
        };
        if !matches!(page, Page::Topics | Page::LogEvents) {
            let Nothing {} = asker::query(parts, &self.credentials)?;
        }
        match page {
            Page::Whoami => Ok(json(&self.whoami(&principal))),
            Page::Streams => Ok(json(&self.streams().await)),
            Page::Stream => self.disconnect(parts, &principal).await,
            Page::Topics => Ok(json(&self.busy_topics(parts)?)),
            Page::Profiles => Ok(json(&self.shown_profiles)),
            Page::Log => Ok(json(&self.log().await?)),
            Page::LogEvents => Ok(json(&self.kept(parts).await?)),
            Page::Stats => Ok(json(&self.sampler.sample())),
            Page::StatsEvents => self.view(principal, since),
        }
    }

    /// Answers a preflight (Fetch standard §3.2.2, "CORS-preflight request").
    fn preflight(&self, asked: &HeaderMap, allow: &'static str) -> Response {
        let mut response = StatusCode::NO_CONTENT.into_response();
        let headers = response.headers_mut();
        headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        if cors(&self.cors, asked).contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(allow));
            if let Some(wanted) = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
                headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
            }
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
        }
        response
    }
}

/// An answer of JSON.
fn json(answer: &impl Serialize) -> Response {
    axum::Json(answer).into_response()
}

/// A query that asks for nothing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// The last segment of the path.
fn last_segment(parts: &request::Parts) -> &str {
    parts.uri.path().rsplit('/').next().unwrap_or_default()
}
