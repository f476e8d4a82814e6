//! `GET` of a stream: from a request to a granted stream.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request};
use tidings::{Moment, Principal};

use crate::auth::{Authenticate, Request};
use crate::handover::{Granted, Handed, Handover, StreamBody};
use crate::problem::Problem;
use crate::recall::Recalled;
use crate::service::Service;
use crate::stream::{Cors, Stream};
use crate::{query, sse};

/// Where a stream is served: a path, how it behaves, and who says who asks.
#[derive(Clone)]
pub struct Mount {
    /// The path, beginning with a slash.
    pub path: String,
    /// How its clients are answered.
    pub answer: Answer,
    /// How its streams behave.
    pub stream: Arc<Stream>,
    /// Who says who asks.
    pub auth: Arc<dyn Authenticate>,
}

/// How the clients of a mount are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// With a stream of Server-Sent Events.
    Sse,
    /// With one JSON document as soon as there is something (long-poll).
    Poll,
    /// With a WebSocket (RFC 6455).
    WebSocket,
    /// With Socket.IO, over its own long-polling or WebSocket.
    SocketIo,
}

/// The address of the peer, put into each request by our own listener.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

impl Mount {
    /// Answers a request for the stream.
    pub async fn events(&self, service: &Service, parts: &request::Parts) -> Response {
        let response = match self.grant(service, parts, sse::CONTENT_TYPE).await {
            Ok(granted) if parts.method == Method::HEAD => {
                drop(granted);
                self.head(Body::empty())
            }
            Ok(granted) => {
                let handover = Handover::new(Handed::Stream(granted));
                let body = StreamBody::new(service.hub.clone(), service.counters().clone(), handover.clone());
                let mut response = self.head(Body::new(body));
                response.extensions_mut().insert(handover);
                response
            }
            Err(problem) if parts.method == Method::GET && may_come_back(&problem, &parts.headers) => {
                self.later(&problem)
            }
            Err(problem) => self.refuse(problem),
        };
        self.readable(&parts.headers, response)
    }

    /// The methods that the path takes.
    pub(crate) fn methods(&self) -> &'static str {
        match self.answer {
            Answer::Sse => "GET, HEAD, OPTIONS",
            // A HEAD would have to wait as long, and take what it does not show.
            Answer::Poll | Answer::WebSocket => "GET, OPTIONS",
            Answer::SocketIo => "GET, POST, OPTIONS",
        }
    }

    /// The answer with its CORS headers, also a refusal: else the page that made the request can't read why.
    pub(crate) fn readable(&self, asked: &HeaderMap, mut response: Response) -> Response {
        response.headers_mut().extend(cors(&self.stream.settings.cors, asked));
        response
    }

    /// A stream that ends at once and says when to come back. A stock EventSource would give up for good on a 503, also when the app
    /// behind us was only restarting.
    fn later(&self, problem: &Problem) -> Response {
        let after = problem.headers.iter().find(|(name, _)| *name == header::RETRY_AFTER);
        let after = after.and_then(|(_, value)| value.to_str().ok()?.parse().ok()).unwrap_or(3);
        self.head(Body::from(self.stream.later(&problem.detail, Duration::from_secs(after)).freeze()))
    }

    fn head(&self, body: Body) -> Response {
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(sse::CONTENT_TYPE));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
        for (name, value) in &self.stream.settings.headers {
            if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse()) {
                headers.insert(name, value);
            }
        }
        response
    }

    /// Checks all that a stream needs: what the client accepts, who asks, whether they may, and how many there are.
    pub(crate) async fn grant(
        &self,
        service: &Service,
        parts: &request::Parts,
        content_type: &str,
    ) -> Result<Granted, Problem> {
        if self.stream.settings.require_accept && !accepts(&parts.headers, content_type) {
            let detail = format!("this is a stream of {content_type}: send `Accept: {content_type}`");
            return Err(Problem::new(StatusCode::NOT_ACCEPTABLE, "not-acceptable", detail));
        }
        let (mut principal, since) = self.authenticate(service, request(parts)).await?;
        // Where nobody is told a place, the header is none of ours.
        let none = HeaderMap::new();
        let told = self.stream.settings.ids || self.stream.settings.announce || self.answer != Answer::Sse;
        let asked = query::resume(if told { &parts.headers } else { &none }, &parts.uri);
        service.hub.arrive(asked.as_deref()).await.map_err(|_| cut_off())?;
        // Before the job is looked at: what becomes of it from here on is read on from there.
        let start = service.hub.start(asked.as_deref());
        let watched = match &self.stream.settings.job {
            Some(one) => Some(self.watched(service, parts, principal.clone(), one).await?),
            None => None,
        };
        let address = service.limiter.shared(peer(parts), parts.version, &parts.headers);
        let permit = service.limiter.stream(&principal, address)?;
        let (filter, ends) = match watched {
            Some(watched) if watched.is_told(&service.hub, asked.as_deref()) => return Err(finished()),
            Some(watched) => {
                principal = watched.principal;
                (watched.filter, watched.end.into_iter().collect())
            }
            None => {
                let filter = query::filter(&self.stream, &parts.uri, service.hub.limits().filter_topics)?;
                // A poll that goes on from somewhere is told what comes after that, and nothing else.
                let is_told_states = self.answer != Answer::Poll || asked.is_none();
                let mut recalled = Recalled::default();
                let missing = if is_told_states { recalled.missing(&service.hub, &filter) } else { Vec::new() };
                if let (Some(jobs), false) = (&service.jobs, missing.is_empty()) {
                    recalled.ask(jobs, missing, &principal.grants).await?;
                }
                (filter, recalled.into_ends())
            }
        };
        let stream = match self.answer == Answer::Sse && query::meta(&self.stream, &parts.uri) {
            true => self.stream.with_meta(),
            false => self.stream.clone(),
        };
        Ok(Granted { principal, filter, stream, start, ends, since, permit })
    }

    /// Who asks, and whether they may open a stream here at all.
    pub(crate) async fn authenticate(
        &self,
        service: &Service,
        request: Request<'_>,
    ) -> Result<(Arc<Principal>, Moment), Problem> {
        // Before the credential is looked at: a revocation meanwhile must not be missed.
        let since = service.hub.moment();
        let principal = self.auth.authenticate(request).await?;
        if let Some(grant) = &self.stream.settings.requires
            && !principal.grants.holds(&self.stream.profile.qualify(grant))
        {
            let detail = format!("this stream needs the grant {grant}");
            return Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", detail));
        }
        Ok((principal, since))
    }

    /// The refusal in the app's own form, where its profile gives one.
    pub(crate) fn refuse(&self, problem: Problem) -> Response {
        if problem.status == StatusCode::NO_CONTENT {
            return (problem.status, [(header::CACHE_CONTROL, "no-store")]).into_response();
        }
        let own = self.stream.settings.refusals.get(&problem.status.as_u16()).cloned();
        let mut response = problem.into_response();
        if let Some(body) = own {
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response.headers_mut().remove(header::CONTENT_LENGTH);
            *response.body_mut() = Body::from(body);
        }
        response
    }

    /// Answers a preflight (Fetch standard §3.2.2, "CORS-preflight request").
    pub(crate) fn preflight(&self, headers: &HeaderMap) -> Response {
        let mut response = StatusCode::NO_CONTENT.into_response();
        let answer = response.headers_mut();
        answer.insert(header::ALLOW, HeaderValue::from_static(self.methods()));
        let cors = cors(&self.stream.settings.cors, headers);
        if cors.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
            answer.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(self.methods()));
            if let Some(asked) = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
                answer.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
            }
            answer.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
        }
        answer.extend(cors);
        response
    }
}

/// This replica hears nothing new at the moment, and another one has been further.
pub(crate) fn cut_off() -> Problem {
    let detail =
        "this replica is cut off from the log, and you were further already; come back, and go on where you were";
    Problem::unavailable(2, "cut-off", detail)
}

/// 204: whoever asks has the end already. It is what makes an EventSource stop (WHATWG HTML §9.2.3, "reestablish the connection").
fn finished() -> Problem {
    Problem::new(StatusCode::NO_CONTENT, "finished", "the job has ended, and you were told")
}

/// The parts of a request that may carry a credential.
pub(crate) fn request(parts: &request::Parts) -> Request<'_> {
    Request { method: &parts.method, uri: &parts.uri, headers: &parts.headers, peer: peer(parts), payload: None }
}

/// Who connected: our own listener says so, or the server of the program that embeds the hub.
pub(crate) fn peer(parts: &request::Parts) -> IpAddr {
    let peer = parts.extensions.get::<Peer>().map(|peer| peer.0);
    let connect = || parts.extensions.get::<axum::extract::ConnectInfo<std::net::SocketAddr>>().map(|info| info.0.ip());
    peer.or_else(connect).unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED))
}

/// Whether the client takes `content_type`. No `Accept` at all is everything (RFC 9110 §12.5.1); `q=0` is a no.
fn accepts(headers: &HeaderMap, content_type: &str) -> bool {
    let mut values = headers.get_all(header::ACCEPT).iter().peekable();
    if values.peek().is_none() {
        return true;
    }
    let major = content_type.split('/').next().unwrap_or_default();
    values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let refused = parts.any(|parameter| matches!(parameter, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"));
        let covers = media.eq_ignore_ascii_case(content_type)
            || media == "*/*"
            || media.strip_suffix("/*").is_some_and(|range| range.eq_ignore_ascii_case(major));
        covers && !refused
    })
}

/// Whether the client asked for a stream by name, as every EventSource does, and is refused only for the moment.
fn may_come_back(problem: &Problem, headers: &HeaderMap) -> bool {
    let asked = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let by_name = asked
        .flat_map(|value| value.split(','))
        .any(|range| range.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(sse::CONTENT_TYPE));
    problem.status == StatusCode::SERVICE_UNAVAILABLE && by_name
}

/// The CORS headers of an answer.
pub fn cors(cors: &Cors, headers: &HeaderMap) -> HeaderMap {
    let mut answer = HeaderMap::new();
    let Some(origin) = headers.get(header::ORIGIN) else { return answer };
    match cors {
        Cors::Same => {}
        Cors::Any => {
            answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        }
        Cors::Origins(_) => {
            answer.insert(header::VARY, HeaderValue::from_static("Origin"));
            if cors.lists(origin) {
                answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
                answer.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            }
        }
    }
    answer
}
