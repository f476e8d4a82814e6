//! `/v1/jobs`: making jobs, watching them, working on them (`protocol/README.md` §10).
//!
//! - [`router`]: the routes. [`JobRoutes`]: what they need beside the service.
//! - `create`, `watch`, `work`, `progress`: the handlers, by who asks. `lease`: what a worker shows. `fault`: refusals.
//! - [`files`]: the files that come with jobs, and their garbage. `range`, `ask`: what a request says.
//!
//! `GET /v1/jobs/{job}/events` is a stream like any other, and so a [`Mount`](crate::Mount).

mod ask;
mod create;
mod fault;
pub mod files;
mod lease;
mod progress;
mod range;
mod watch;
mod work;

pub(crate) use self::create::{job_file, make, refuse_foreign};

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, RawPathParams, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header, request};
use serde::Serialize;
use tidings::job::{Job, JobFiles, JobId, Jobs};
use tidings::{Moment, Principal};

use crate::events;
use crate::problem::Problem;
use crate::service::{Publishing, Service, method_not_allowed};
use crate::stream::Cors;
use crate::watch::no_such_job;

/// What the routes of jobs need beside the service.
#[derive(Clone)]
pub struct JobRoutes {
    /// Who says who asks, and the profiles that jobs may be of.
    pub publishing: Publishing,
    /// The most bytes of a file that comes with a job.
    pub upload_bytes: u64,
    /// Which other origins may ask.
    pub cors: Cors,
}

/// The routes of jobs; none where the service has no jobs.
pub fn router(service: &Arc<Service>, routes: JobRoutes) -> Router {
    let Some(jobs) = service.jobs.clone() else { return Router::new() };
    let api = Arc::new(Api { service: service.clone(), jobs, routes });
    Router::new()
        .route("/v1/jobs", any(answer))
        .route("/v1/jobs/{job}", any(answer))
        .route("/v1/jobs/{job}/{part}", any(answer))
        .with_state(api)
}

/// What the handlers share.
struct Api {
    service: Arc<Service>,
    jobs: Arc<Jobs>,
    routes: JobRoutes,
}

/// A request on its way through a handler.
struct Asked {
    parts: request::Parts,
    body: Body,
}

/// Somebody whose credential was good a moment ago.
struct Caller {
    principal: Arc<Principal>,
    /// When the credential was about to be checked.
    since: Moment,
}

async fn answer(State(api): State<Arc<Api>>, request: axum::extract::Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let (mut job, mut part) = (None, None);
    if let Ok(params) = RawPathParams::from_request_parts(&mut parts, &()).await {
        for (name, value) in &params {
            match name {
                "job" => job = Some(value.to_owned()),
                _ => part = Some(value.to_owned()),
            }
        }
    }
    let asked = parts.headers.clone();
    let mut response = match (&parts.method, methods(job.as_deref(), part.as_deref())) {
        (&Method::OPTIONS, Some(allow)) => api.preflight(&asked, allow),
        _ => {
            let answered = api.answer(Asked { parts, body }, job.as_deref(), part.as_deref()).await;
            answered.unwrap_or_else(IntoResponse::into_response)
        }
    };
    // Who may see a job today may be refused tomorrow, and each answer is of a moment.
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response.headers_mut().extend(events::cors(&api.routes.cors, &asked));
    response
}

impl Api {
    async fn answer(&self, asked: Asked, job: Option<&str>, part: Option<&str>) -> Result<Response, Problem> {
        // Behind the scenes the same: a HEAD is a GET whose body stays away (RFC 9110 §9.3.2).
        let method = if asked.parts.method == Method::HEAD { &Method::GET } else { &asked.parts.method };
        match (method.as_str(), job, part) {
            ("GET", None, None) => return self.list(&asked.parts).await,
            ("POST", None, None) => return self.create(asked).await,
            ("POST", Some("claim"), None) => return self.claim(asked).await,
            ("POST", Some("progress"), None) => return self.take_progress(asked).await,
            _ => {}
        }
        let (Some(allow), Some(id)) = (methods(job, part), job) else {
            return match methods(job, part) {
                Some(allow) => Ok(method_not_allowed(allow)),
                None => Err(nothing_there(&asked.parts)),
            };
        };
        if !allow.split(", ").any(|allowed| allowed == method.as_str()) {
            return Ok(method_not_allowed(allow));
        }
        let id: JobId = id.parse().map_err(|_| no_such_job())?;
        match (method.as_str(), part) {
            ("GET", None) => self.show(&id, &asked.parts).await,
            ("DELETE", None) => self.cancel(&id, &asked.parts).await,
            (_, Some("tokens")) => self.make_token(&id, &asked.parts).await,
            (_, Some("result")) => self.result(&id, &asked.parts).await,
            (_, Some("file")) => self.file(&id, &asked.parts).await,
            (_, Some(part)) => self.work(&id, part, asked).await,
            (_, None) => Ok(method_not_allowed(allow)),
        }
    }

    /// Answers a preflight (Fetch standard §3.2.2, "CORS-preflight request").
    fn preflight(&self, asked: &HeaderMap, allow: &'static str) -> Response {
        let mut response = StatusCode::NO_CONTENT.into_response();
        let headers = response.headers_mut();
        headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        if events::cors(&self.routes.cors, asked).contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(allow));
            if let Some(wanted) = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
                headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
            }
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
        }
        response
    }

    async fn caller(&self, parts: &request::Parts) -> Result<Caller, Problem> {
        // Before the credential is looked at: a revocation meanwhile must not be missed.
        let since = self.service.hub.moment();
        let principal = self.routes.publishing.auth.authenticate(events::request(parts)).await?;
        Ok(Caller { principal, since })
    }

    /// The files that come with jobs.
    fn files(&self) -> Result<&Arc<dyn JobFiles>, Problem> {
        self.service.job_files().ok_or_else(|| {
            let detail = "this program takes no files: it has no place for them";
            Problem::new(StatusCode::NOT_IMPLEMENTED, "no-uploads", detail)
        })
    }

    /// A job that the principal may see.
    async fn seen(&self, id: &JobId, principal: &Principal) -> Result<Job, Problem> {
        let job = self.jobs.get(id).await?.ok_or_else(no_such_job)?;
        if job.may_be_seen_by(principal) {
            return Ok(job);
        }
        Err(match principal.source {
            // Said plainly: it is not that the job were not there.
            "job-token" => {
                let detail = "this token is of another job";
                Problem { code: "other-job", ..Problem::unauthorized(Some("invalid_token"), detail) }
            }
            _ => no_such_job(),
        })
    }
}

/// What a path takes; none if there is no such path.
fn methods(job: Option<&str>, part: Option<&str>) -> Option<&'static str> {
    Some(match (job, part) {
        (None, _) => "GET, POST",
        // A job may be called so too.
        (Some("claim" | "progress"), None) => "GET, DELETE, POST",
        (Some(_), None) => "GET, DELETE",
        (Some(_), Some("result" | "file")) => "GET",
        (Some(_), Some("tokens")) => "POST",
        (Some(_), Some(part)) if work::PARTS.contains(&part) => "POST",
        _ => return None,
    })
}

fn nothing_there(parts: &request::Parts) -> Problem {
    let detail = format!("there is nothing at {}", parts.uri.path());
    Problem::new(StatusCode::NOT_FOUND, "not-found", detail)
}

/// An answer of JSON that is written already.
fn json(status: StatusCode, body: impl Into<Bytes>) -> Response {
    let body: Bytes = body.into();
    (status, [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
}

/// An answer of JSON that is yet to be written.
fn answered(status: StatusCode, answer: &impl Serialize) -> Response {
    json(status, serde_json::to_vec(answer).unwrap_or_default())
}

/// A document with more members behind those that it has.
fn extended(document: &[u8], more: &impl Serialize) -> Vec<u8> {
    let (mut whole, more) = (document.to_vec(), serde_json::to_vec(more).unwrap_or_default());
    if more.len() > 2 && whole.last() == Some(&b'}') {
        whole.pop();
        whole.push(b',');
        whole.extend_from_slice(&more[1..]);
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn more_members_stand_behind_those_of_the_document() {
        let whole = extended(br#"{"id":"j"}"#, &json!({"token": "t"}));
        assert_eq!(serde_json::from_slice::<Value>(&whole).unwrap(), json!({"id": "j", "token": "t"}));
        assert_eq!(extended(br#"{"id":"j"}"#, &json!({})), br#"{"id":"j"}"#);
    }
}
