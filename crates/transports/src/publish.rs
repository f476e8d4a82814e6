//! `POST /v1/publish`: one event, an array, or a stream of lines.

mod lines;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, Uri, header, request};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tidings::event::Dedup;
use tidings::job;
use tidings::{
    BrokerError, CloseReason, Cursor, Draft, DraftError, Hub, Limits, Moment, NewEvent, Principal, Profile, Published,
};

use crate::problem::Problem;
use crate::service::{Publishing, Service, method_not_allowed};
use crate::{events, query};

/// Remembers what became of requests with an `Idempotency-Key`, so that a retry is answered and not published again.
#[async_trait]
pub trait Idempotency: Send + Sync {
    /// Looks the request up, and marks it as under way if it is new. The same key with another body is a 422, and one
    /// that is still under way a 409.
    async fn begin(&self, principal: &Principal, key: &str, body: &[u8]) -> Result<Begun, Problem>;
    /// Takes note of what came of a request that was begun.
    async fn end(&self, request: [u8; 16], body: &[u8], ended: Ended<'_>);
}

/// What came of a request that was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended<'a> {
    /// It was published, and this is the answer to keep.
    Answered(&'a str),
    /// Nothing was published: its key is free again.
    Refused,
    /// Nobody knows whether it was published: a retry looks into the log.
    Unclear,
}

/// What is known of a request.
#[derive(Debug)]
pub enum Begun {
    /// It is new: its events carry this number.
    New([u8; 16]),
    /// It was answered before, with this.
    Answered(String),
}

/// One event of an answer.
#[derive(Serialize)]
struct Accepted {
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_text")]
    cursor: Option<Cursor>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    coalesced: bool,
}

/// The answer to a document.
#[derive(Serialize)]
struct Answer {
    results: Vec<Accepted>,
}

fn as_text<S: Serializer>(cursor: &Option<Cursor>, serializer: S) -> Result<S::Ok, S::Error> {
    match cursor {
        Some(cursor) => serializer.collect_str(cursor),
        None => serializer.serialize_none(),
    }
}

impl From<Published> for Accepted {
    fn from(Published { cursor, coalesced }: Published) -> Self {
        Accepted { cursor, coalesced }
    }
}

/// What is wrong with one event.
struct Fault {
    index: usize,
    status: StatusCode,
    error: DraftError,
}

impl Fault {
    fn to_json(&self) -> Value {
        let DraftError { field, detail, code } = &self.error;
        json!({ "index": self.index, "status": self.status.as_u16(), "field": field, "code": code, "detail": detail })
    }
}

pub(crate) async fn publish(
    State((service, publishing)): State<(Arc<Service>, Arc<Publishing>)>,
    request: axum::extract::Request,
) -> Response {
    let (parts, body) = request.into_parts();
    if parts.method != Method::POST {
        return method_not_allowed("POST");
    }
    let answer = accept(&service, &publishing, &parts, body).await;
    let counter = if answer.is_ok() { &service.counters.publishes } else { &service.counters.refused_publishes };
    counter.fetch_add(1, Ordering::Relaxed);
    answer.unwrap_or_else(IntoResponse::into_response)
}

async fn accept(
    service: &Arc<Service>,
    publishing: &Publishing,
    parts: &request::Parts,
    body: Body,
) -> Result<Response, Problem> {
    // Before the credential is looked at: a revocation meanwhile must not be missed.
    let since = service.hub.moment();
    let principal = publishing.auth.authenticate(events::request(parts)).await?;
    if principal.publish == tidings::PublishRights::None {
        let detail = format!("{} may not publish: use an API key with the right to", principal.id);
        return Err(Problem::new(StatusCode::FORBIDDEN, "may-not-publish", detail));
    }
    let profile = publishing.profile(&parts.uri)?;
    let publisher = Publisher { service: service.clone(), principal, since, profile: profile.clone() };
    let media = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "application/json" => publisher.document(parts, body).await,
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => {
            match parts.headers.get(IDEMPOTENCY_KEY) {
                None => Ok(publisher.lines(body)),
                Some(_) => {
                    let detail = "an Idempotency-Key is for one document; of streamed lines, send those again that got no answer";
                    Err(Problem::new(StatusCode::BAD_REQUEST, "invalid-idempotency-key", detail))
                }
            }
        }
        // Anything a page of another origin can send without asking (Fetch standard, "CORS-safelisted") stays out.
        other => {
            let detail = format!(
                "the body is {}: send `Content-Type: application/json` for one event or an array, or application/x-ndjson for one a line",
                if other.is_empty() { "of no type" } else { other }
            );
            Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", detail))
        }
    }
}

impl Publishing {
    /// The profile that `?profile=` names, or the one that counts where it names none.
    pub(crate) fn profile(&self, uri: &Uri) -> Result<&Arc<Profile>, Problem> {
        let Some((_, name)) = query::pairs(uri).find(|(name, _)| name == "profile") else { return Ok(&self.default) };
        self.profiles.get(name.as_ref()).ok_or_else(|| {
            let known: Vec<_> = self.profiles.keys().map(String::as_str).collect();
            let detail = format!("there is no profile {name:?} here; there is {}", known.join(", "));
            Problem::new(StatusCode::NOT_FOUND, "unknown-profile", detail)
        })
    }
}

/// One publish request: who, to which profile.
pub(crate) struct Publisher {
    pub(crate) service: Arc<Service>,
    pub(crate) principal: Arc<Principal>,
    /// When the credential was about to be checked.
    pub(crate) since: Moment,
    pub(crate) profile: Arc<Profile>,
}

impl Publisher {
    /// Whether the credential still holds: a body may come slowly, and a stream of lines for days.
    pub(crate) fn check_credential(&self) -> Result<(), Problem> {
        let hub = &self.service.hub;
        let expired = self.principal.is_expired(hub.clock().now()).then_some(CloseReason::Expired);
        match expired.or_else(|| hub.closed_since(self.since, &self.principal)) {
            None => Ok(()),
            Some(reason) => Err(Problem::unauthorized(Some("invalid_token"), reason.sentence())),
        }
    }

    /// One event or an array: all are taken, or none.
    async fn document(self, parts: &request::Parts, body: Body) -> Result<Response, Problem> {
        let body = collect(body, self.service.hub.limits()).await?;
        self.check_credential()?;
        let key = match parts.headers.get(IDEMPOTENCY_KEY) {
            None => return Ok(answered(self.publish_document(&body, None).await?)),
            Some(value) => value.to_str().ok().filter(|key| is_idempotency_key(key)).ok_or_else(|| {
                let detail = "Idempotency-Key takes 1 to 255 visible ASCII characters";
                Problem::new(StatusCode::BAD_REQUEST, "invalid-idempotency-key", detail)
            })?,
        };
        let Some(idempotency) = &self.service.idempotency else {
            let detail = "this server keeps no idempotency keys";
            return Err(Problem::new(StatusCode::NOT_IMPLEMENTED, "no-idempotency", detail));
        };
        let request = match idempotency.begin(&self.principal, key, &body).await? {
            Begun::Answered(answer) => {
                let headers = [(header::CONTENT_TYPE, "application/json"), (REPLAYED, "true")];
                return Ok((headers, answer).into_response());
            }
            Begun::New(request) => request,
        };
        let idempotency = idempotency.clone();
        // On its own: a client that goes away takes back nothing, and what became of its request is known all the same.
        let publishing = tokio::spawn(async move {
            let answer = self.publish_document(&body, Some(request)).await;
            let ended = match &answer {
                Ok(answer) => Ended::Answered(answer),
                Err(problem) if problem.code == UNCLEAR => Ended::Unclear,
                Err(_) => Ended::Refused,
            };
            idempotency.end(request, &body, ended).await;
            answer
        });
        let stopped = |error: tokio::task::JoinError| refused(BrokerError::Unclear(error.to_string()));
        Ok(answered(publishing.await.map_err(stopped)??))
    }

    /// Publishes one event or an array of them: all are taken, or none. Returns the answer, an object with `results`.
    pub(crate) async fn publish_document(&self, body: &[u8], request: Option<[u8; 16]>) -> Result<String, Problem> {
        let invalid = |error: serde_json::Error| {
            let detail = format!("the body is not JSON: {error}");
            Problem::new(StatusCode::BAD_REQUEST, "invalid-json", detail)
                .with("line", error.line())
                .with("column", error.column())
        };
        let array = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
        let raws: Vec<&RawValue> = match array {
            true => serde_json::from_slice(body).map_err(invalid)?,
            false => vec![serde_json::from_slice(body).map_err(invalid)?],
        };
        let most = self.service.hub.limits().batch_events;
        if raws.len() > most {
            let detail =
                format!("{} events at once are more than {most}: stream them as application/x-ndjson", raws.len());
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-many-events", detail).with("limit", most));
        }
        let mut events = Vec::with_capacity(raws.len());
        let mut faults = Vec::new();
        for (index, raw) in raws.iter().enumerate() {
            match self.derive(index, raw.get()) {
                Ok(event) => events.push(event),
                Err(fault) => faults.push(fault),
            }
        }
        if let Some(first) = faults.first() {
            let DraftError { field, detail, code } = &first.error;
            let mut problem = Problem::new(first.status, code, format!("event {}: {field}: {detail}", first.index))
                .with("index", first.index)
                .with("field", field.as_str());
            // Many faults of one program are one fault many times.
            let all: Vec<Value> = faults.iter().take(20).map(Fault::to_json).collect();
            problem = problem.with("errors", all).with("published", 0);
            return Err(problem);
        }
        if let Some(request) = request {
            // Signals leave no trace in the log: a request is whole when its kept events are.
            let of = events.iter().filter(|event| event.kept).count() as u32;
            for (index, event) in (0u32..).zip(&mut events) {
                event.dedup = Some(Dedup { request, index, of });
            }
        }
        let published = self.service.hub.publish(events).await.map_err(refused)?;
        let answer = Answer { results: published.into_iter().map(Into::into).collect() };
        Ok(serde_json::to_string(&answer).expect("a list of texts and flags is always JSON"))
    }

    fn derive(&self, index: usize, raw: &str) -> Result<NewEvent, Fault> {
        let limits = self.service.hub.limits();
        let fault = |status, error| Fault { index, status, error };
        let draft: Draft = serde_json::from_str(raw).map_err(|error| {
            let error = DraftError::new("event", "invalid-event", error.to_string());
            fault(StatusCode::UNPROCESSABLE_ENTITY, error)
        })?;
        let now = self.service.hub.clock().now();
        let event = self.profile.derive(draft, now, limits).map_err(|error| {
            let status = match error.is_too_large() {
                true => StatusCode::PAYLOAD_TOO_LARGE,
                false => StatusCode::UNPROCESSABLE_ENTITY,
            };
            fault(status, error)
        })?;
        if job::is_reserved(&event.name) && job::is_topic(event.topic.as_str()) {
            let detail = format!("{} on the topic of a job is told by the hub alone, when the job changes", event.name);
            return Err(fault(StatusCode::UNPROCESSABLE_ENTITY, DraftError::new("name", "reserved-event", detail)));
        }
        if !self.principal.publish.allow(&event.name, event.topic.as_str()) {
            let detail = format!(
                "{} may not publish {} on {}{}",
                self.principal.id,
                event.name,
                self.profile.local(event.topic.as_str()),
                elsewhere(&self.service.hub, &self.principal, &self.profile, "/v1/publish")
            );
            return Err(fault(StatusCode::FORBIDDEN, DraftError::new("topic", "may-not-publish", detail)));
        }
        Ok(event)
    }
}

/// What to do about a refusal, said behind it, where the key is for another profile than the one that was meant.
pub(crate) fn elsewhere(hub: &Hub, principal: &Principal, meant: &Profile, path: &str) -> String {
    let home = principal.namespace.as_deref().filter(|home| meant.namespace() != Some(*home));
    let Some(home) = home.and_then(|home| hub.profiles().with_namespace().find(|p| p.namespace() == Some(home))) else {
        return String::new();
    };
    let name = home.name();
    format!("; the key is for the profile {name}: post to {path}?profile={name}")
}

fn answered(answer: String) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], answer).into_response()
}

/// Says that an answer was kept from an earlier request with the same key.
const REPLAYED: header::HeaderName = header::HeaderName::from_static("idempotency-replayed");

/// The whole body, within the bounds of `limits`.
pub async fn collect(body: Body, limits: &Limits) -> Result<Bytes, Problem> {
    let limited = Limited::new(body, limits.request_bytes).collect();
    match tokio::time::timeout(limits.request_timeout, limited).await {
        Err(_) => {
            let detail = format!("the body did not arrive within {} s", limits.request_timeout.as_secs());
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "slow-request", detail))
        }
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let detail = format!(
                "the body is larger than {} bytes; send fewer events at once, or stream them as application/x-ndjson",
                limits.request_bytes
            );
            let problem = Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", detail);
            Err(problem.with("limit", limits.request_bytes))
        }
        Ok(Err(_)) => Err(Problem::new(StatusCode::BAD_REQUEST, "broken-body", "the body was cut off")),
    }
}

/// Names a request, so that a retry of it is known.
pub(crate) const IDEMPOTENCY_KEY: header::HeaderName = header::HeaderName::from_static("idempotency-key");

pub(crate) fn is_idempotency_key(key: &str) -> bool {
    (1..=255).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The code of a refusal of which nobody knows whether it is one.
const UNCLEAR: &str = "publish-unclear";

/// A log that is away refuses every publish: one line a second says enough.
static ONCE_A_SECOND: OnceASecond = OnceASecond(AtomicU64::new(0));

struct OnceASecond(AtomicU64);

impl OnceASecond {
    fn is_due(&self) -> bool {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.0.swap(since, Ordering::Relaxed) != since
    }
}

fn refused(error: BrokerError) -> Problem {
    match error {
        BrokerError::Refused(reason) => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "refused", reason),
        BrokerError::Full(_) => {
            tracing::error!(%error, "a publish was refused");
            Problem::unavailable(10, "log-full", "the log has no room at the moment; nothing was published")
        }
        BrokerError::Unclear(_) => {
            if ONCE_A_SECOND.is_due() {
                tracing::error!(%error, "a publish was not answered");
            }
            let detail = "whether it was published can't be told at the moment; send it again with the same Idempotency-Key, \
                          and it is published once";
            Problem::unavailable(1, UNCLEAR, detail)
        }
        error => {
            if ONCE_A_SECOND.is_due() {
                tracing::error!(%error, "a publish was refused");
            }
            Problem::unavailable(2, "log-unavailable", "the log can't be written at the moment; nothing was published")
        }
    }
}
