//! The program's own routes: how it is, who is shut out, why somebody gets an event.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{HeaderValue, StatusCode, header, request};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tidings::{CloseReason, Cursor, Event, Filter, Offset, Principal, Query, Revocation, TopicPattern, explain};
use tidings_brokers::Recovery;
use tidings_transports::desk::Desk;
use tidings_transports::jobs::JobRoutes;
use tidings_transports::publish::collect;
use tidings_transports::{Answer, Authenticate, Cors, Mount, Peer, Problem, Publishing, Service, Stream};

use crate::assemble::{Doors, Side};
use crate::auth::issue_ticket;
use crate::metrics::{self, MetricsSource};
use crate::page;
use crate::serve::is_local_host;

struct Shared {
    service: Arc<Service>,
    doors: Doors,
    streams: Vec<(String, &'static str, Arc<Stream>)>,
    metrics: MetricsSource,
    policy: HeaderValue,
}

/// What the routes depend on beside the hub.
#[derive(Clone, Debug)]
pub struct RouteOptions {
    /// What was found when the log was opened, for the metrics.
    pub recovery: Option<Recovery>,
    /// Whether `/` is the live page.
    pub page: bool,
    /// Whether only this machine is answered, and that whatever it asks.
    pub dev: bool,
    /// The most bytes of a file that comes with a job.
    pub upload_bytes: u64,
    /// Which other origins may ask about jobs.
    pub cors: Cors,
}

/// All routes of the program.
pub fn router(
    service: &Arc<Service>,
    mounts: Vec<Mount>,
    publishing: Publishing,
    sides: Vec<Side>,
    desks: Vec<Arc<Desk>>,
    doors: Doors,
    options: RouteOptions,
) -> Router {
    let RouteOptions { recovery, page, dev, upload_bytes, cors } = options;
    let streams: Vec<_> = mounts
        .iter()
        .map(|mount| {
            let transport = match mount.answer {
                Answer::Sse => "sse",
                Answer::Poll => "poll",
                Answer::WebSocket => "websocket",
                Answer::SocketIo => "socketio",
            };
            (mount.path.clone(), transport, mount.stream.clone())
        })
        .collect();
    let mut metrics = MetricsSource::new(service.clone(), streams.clone());
    metrics.recovery = recovery;
    let shared = Arc::new(Shared { service: service.clone(), doors, streams, metrics, policy: page::policy() });
    let mut router = Router::new();
    // A profile may have its own form of these two.
    for (path, handler) in [("/health", get(health)), ("/ready", get(ready))] {
        if sides.iter().all(|side| side.path != path) {
            router = router.route(path, handler);
        }
    }
    let mut router = router
        .route("/metrics", get(show_metrics))
        .route("/v1/tickets", post(tickets))
        .route("/v1/revoke", post(revoke))
        .route("/v1/explain", get(explain_event))
        .route("/v1/streams", get(list_streams));
    if page {
        router = router.route("/", get(live_page));
    }
    let mut router = router.with_state(shared.clone());
    for side in sides {
        let path = side.path.clone();
        let state = (service.clone(), Arc::new(side));
        router = router.route(&path, get(side_endpoint).with_state(state));
    }
    let jobs = JobRoutes { publishing: publishing.clone(), upload_bytes, cors };
    let router = router
        .merge(tidings_transports::jobs::router(service, jobs))
        .merge(tidings_transports::router(service, mounts, vec![publishing]))
        .merge(tidings_transports::service::desks(service, desks))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method);
    if dev { router.layer(middleware::from_fn(only_this_machine)) } else { router }
}

/// In `--dev` everybody may do everything, so a page of another site must not get in by a name that points to this machine.
async fn only_this_machine(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| request.uri().authority().map(|authority| authority.as_str())).unwrap_or("localhost");
    if is_local_host(host) {
        return next.run(request).await;
    }
    let detail = "with --dev only requests to localhost are answered; start it without --dev to serve others";
    Problem::new(StatusCode::MISDIRECTED_REQUEST, "only-this-machine", detail).into_response()
}

async fn health() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    let mut open: BTreeMap<&str, u64> = BTreeMap::new();
    let mut seen = Vec::new();
    for (_, transport, stream) in &shared.streams {
        // A stream may have several paths and is counted once.
        if !seen.contains(&stream.id) {
            seen.push(stream.id);
            *open.entry(transport).or_default() += stream.open_now();
        }
    }
    let draining = shared.service.draining.load(Ordering::SeqCst);
    let status = if draining { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let word = if draining { "draining" } else { "ready" };
    (status, Json(json!({ "status": word, "streams": open }))).into_response()
}

async fn side_endpoint(State((service, side)): State<(Arc<Service>, Arc<Side>)>) -> Response {
    let draining = service.draining.load(Ordering::SeqCst);
    let clients = side.streams.iter().map(|stream| stream.open_now()).sum();
    let status = if draining && !side.lives { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (status, Json(side.ready.answer(clients, draining))).into_response()
}

async fn show_metrics(State(shared): State<Arc<Shared>>) -> Response {
    let text = metrics::render(&shared.metrics);
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response()
}

async fn live_page(State(shared): State<Arc<Shared>>) -> Response {
    let headers = [
        (header::CONTENT_SECURITY_POLICY, shared.policy.clone()),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (headers, Html(page::HTML)).into_response()
}

async fn not_found(parts: request::Parts) -> Problem {
    let path = parts.uri.path();
    Problem::new(StatusCode::NOT_FOUND, "not-found", format!("there is nothing at {path}"))
}

async fn wrong_method(parts: request::Parts) -> Problem {
    let detail = format!("{} does not take {}", parts.uri.path(), parts.method);
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail)
}

async fn who(door: &Arc<dyn Authenticate>, parts: &request::Parts) -> Result<Arc<Principal>, Problem> {
    let peer = parts.extensions.get::<Peer>().map_or(std::net::Ipv4Addr::UNSPECIFIED.into(), |peer| peer.0);
    let (method, uri, headers) = (&parts.method, &parts.uri, &parts.headers);
    let request = tidings_transports::Request { method, uri, headers, peer, payload: None };
    door.authenticate(request).await
}

async fn operator(shared: &Shared, parts: &request::Parts) -> Result<Arc<Principal>, Problem> {
    let principal = who(&shared.doors.open, parts).await?;
    if principal.operator {
        return Ok(principal);
    }
    let detail = format!("{} is not an operator: make a key with `tidings key create --operator`", principal.id);
    Err(Problem::new(StatusCode::FORBIDDEN, "not-an-operator", detail))
}

/// A JSON body of a known form; an empty one is the default form.
async fn read<T: DeserializeOwned + Default>(
    shared: &Shared,
    parts: &request::Parts,
    body: Body,
) -> Result<T, Problem> {
    let body = collect(body, shared.service.hub.limits()).await?;
    if body.is_empty() {
        return Ok(T::default());
    }
    let media = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !media.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        let detail = "send the body as `Content-Type: application/json`";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", detail));
    }
    serde_json::from_slice(&body)
        .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, "invalid-json", format!("the body: {error}")))
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TicketRequest {
    /// Seconds.
    ttl: Option<u64>,
    /// Whose door the caller's credential is for.
    profile: Option<String>,
}

async fn tickets(State(shared): State<Arc<Shared>>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let asked: TicketRequest = read(&shared, &parts, body).await?;
    let door = match &asked.profile {
        None => &shared.doors.open,
        Some(name) => shared.doors.profiles.get(name).ok_or_else(|| unknown_profile(name))?,
    };
    let principal = who(door, &parts).await?;
    let ttl = asked.ttl.map_or(crate::auth::ticket::DEFAULT_TTL, Duration::from_secs).min(crate::auth::ticket::MAX_TTL);
    let doors = &shared.doors;
    let ticket = issue_ticket(&doors.store, &*doors.clock, &doors.recheck, &principal, ttl).await?;
    let answer = Json(json!({ "ticket": ticket, "expires_in": ttl.as_secs() }));
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], answer).into_response())
}

fn unknown_profile(name: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "unknown-profile", format!("there is no profile {name:?} here"))
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RevokeRequest {
    principal: Option<String>,
    session: Option<String>,
    key: Option<String>,
    /// In which profile alone; else everywhere.
    profile: Option<String>,
    /// For how many seconds the credential is refused; its longest life.
    #[serde(rename = "for")]
    refuse_for: Option<u64>,
}

/// The longest life of a token that anybody should hand out: so long a revocation is remembered if not told otherwise.
const REVOKED_FOR: Duration = Duration::from_secs(30 * 86_400);

async fn revoke(State(shared): State<Arc<Shared>>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let by = operator(&shared, &parts).await?;
    let asked: RevokeRequest = read(&shared, &parts, body).await?;
    let revocation = match (asked.principal, asked.session, asked.key) {
        (Some(id), None, None) => Revocation::principal(id),
        (None, Some(session), None) => Revocation::session(session),
        (None, None, Some(key)) => Revocation::key(key),
        _ => {
            let detail = "name one of `principal`, `session` and `key`";
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-revocation", detail));
        }
    };
    let namespace = match &asked.profile {
        None => None,
        Some(name) => {
            let profile = shared.service.hub.profiles().named(name).ok_or_else(|| unknown_profile(name))?;
            profile.namespace().map(Arc::from)
        }
    };
    let revocation = revocation.within(namespace);
    let until = shared.doors.clock.now().after(asked.refuse_for.map_or(REVOKED_FOR, Duration::from_secs));
    tracing::info!(by = %by.id, ?revocation, "revoked");
    let (revocations, kept) = (shared.doors.revocations.clone(), revocation.clone());
    let kept = tokio::task::spawn_blocking(move || revocations.revoke(kept, until)).await;
    // Live streams end also if it could not be kept: who revokes wants them gone now.
    (shared.doors.revoke)(revocation, CloseReason::Revoked);
    match kept {
        Ok(Ok(())) => Ok(Json(json!({ "revoked": true, "until": until.0 })).into_response()),
        Ok(Err(_)) | Err(_) => Err(Problem::unavailable(
            2,
            "store-unavailable",
            "the live streams were ended, but the revocation could not be kept: try again",
        )),
    }
}

async fn list_streams(State(shared): State<Arc<Shared>>, parts: request::Parts) -> Result<Response, Problem> {
    operator(&shared, &parts).await?;
    let open = shared.service.streams().await;
    let streams: Vec<Value> = open
        .iter()
        .map(|stream| {
            let profile = shared.service.hub.profiles().of(stream.principal.namespace.as_deref().unwrap_or_default());
            let topics = stream.filter.topics.as_ref();
            let topics = topics.map(|topics| topics.iter().map(|t| profile.local(t.as_str())).collect::<Vec<_>>());
            json!({
                "principal": *stream.principal.id,
                "source": stream.principal.source,
                "profile": stream.profile,
                "transport": stream.transport,
                "topics": topics,
                "lag": stream.lag,
            })
        })
        .collect();
    Ok(Json(json!({ "streams": streams })).into_response())
}

#[derive(Default, Deserialize)]
struct ExplainRequest {
    cursor: Option<String>,
    principal: Option<String>,
    grants: Option<String>,
    topics: Option<String>,
}

async fn explain_event(State(shared): State<Arc<Shared>>, parts: request::Parts) -> Result<Response, Problem> {
    let caller = operator(&shared, &parts).await?;
    let asked = axum::extract::Query::<ExplainRequest>::try_from_uri(&parts.uri);
    let axum::extract::Query(asked) =
        asked.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, "invalid-query", error.body_text()))?;
    let hub = &shared.service.hub;
    let event = find_event(&shared, asked.cursor.as_deref().unwrap_or_default()).await?;
    let profile = hub.profiles().of(event.topic.as_str()).clone();
    let invalid =
        |error: tidings::InvalidTopic| Problem::new(StatusCode::BAD_REQUEST, "invalid-grant", error.to_string());
    let split =
        |list: &str| list.split(',').map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned).collect();
    let patterns = |list: Vec<String>| -> Result<Vec<TopicPattern>, Problem> {
        list.iter().map(|text| profile.qualify(text).parse().map_err(invalid)).collect()
    };
    let filter = match &asked.topics {
        Some(topics) => Filter::topics(patterns(split(topics))?),
        None => Filter::all(),
    };
    let readers: Vec<(Arc<Principal>, Option<String>, Filter)> = match (&asked.principal, &asked.grants) {
        (Some(id), _) => {
            let open = shared.service.streams().await;
            let theirs = open.into_iter().filter(|stream| *stream.principal.id == **id);
            theirs.map(|stream| (stream.principal, Some(stream.profile), stream.filter)).collect()
        }
        (None, Some(grants)) => {
            let held: Vec<String> = split(grants);
            let held = held.iter().map(|text| text.parse().map_err(invalid)).collect::<Result<Vec<_>, _>>()?;
            vec![(Arc::new(Principal::new("somebody", profile.hold(held), "given")), None, filter)]
        }
        (None, None) => vec![(caller, None, filter)],
    };
    let now = hub.clock().now();
    let rule = hub.profiles().rule(&event);
    let explained: Vec<Value> = readers
        .iter()
        .map(|(principal, stream_profile, filter)| {
            let explanation = explain(&profile, &rule, principal, filter, &event, now);
            json!({
                "principal": *principal.id,
                "profile": stream_profile,
                "given": explanation.given,
                "steps": explanation.steps,
            })
        })
        .collect();
    let answer = json!({
        "cursor": hub.cursor(event.offset).to_string(),
        "name": *event.name,
        "topic": profile.local(event.topic.as_str()),
        "profile": profile.name(),
        "audience": event.audience.grants().iter().map(|grant| profile.local(grant.as_str())).collect::<Vec<_>>(),
        "readers": explained,
        "note": explained.is_empty().then_some("no stream of this principal is open here; give its grants with ?grants="),
    });
    Ok(Json(answer).into_response())
}

/// The event at a cursor.
async fn find_event(shared: &Shared, cursor: &str) -> Result<Event, Problem> {
    let hub = &shared.service.hub;
    let cursor: Cursor = cursor
        .parse()
        .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, "invalid-cursor", format!("?cursor=: {error}")))?;
    let gone = || {
        let detail = format!("there is no event at {cursor}: it was trimmed, or is of another log");
        Problem::new(StatusCode::NOT_FOUND, "no-such-event", detail)
    };
    if hub.cursor(cursor.offset) != cursor || cursor.offset == Offset::START {
        return Err(gone());
    }
    let query = Query {
        topics: None,
        after: Offset(cursor.offset.0 - 1),
        until: cursor.offset,
        limit: 1,
        max_bytes: usize::MAX,
    };
    match hub.broker().read(query).await {
        Ok(page) => page.events.into_iter().next().ok_or_else(gone),
        Err(tidings::BrokerError::Trimmed { .. }) => Err(gone()),
        Err(error) => {
            tracing::error!(%error, "an event can't be read");
            Err(Problem::unavailable(2, "log-unavailable", "the log can't be read at the moment"))
        }
    }
}
