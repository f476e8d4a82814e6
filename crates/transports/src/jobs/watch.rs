//! Looking at jobs, and calling them off.

use std::time::Duration;

use axum::response::Response;
use http::{StatusCode, request};
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;
use tidings::Timestamp;
use tidings::job::{self, JobId, JobQuery, JobState};

use super::{Api, Caller, answered, ask, json};
use crate::problem::Problem;
use crate::watch::no_such_job;

/// How many jobs, or items, a page has if the request does not say, and the most.
const PAGE: (usize, usize) = (100, 1_000);

/// The most jobs that are looked through for one page. Who may see few of many goes on with `before`.
const LOOKED_THROUGH: usize = 5_000;

#[derive(Serialize)]
struct Listed {
    jobs: Vec<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<String>,
}

#[derive(Serialize)]
struct ResultPage {
    state: JobState,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Box<RawValue>>,
    items: Vec<Box<RawValue>>,
    count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u64>,
}

impl Api {
    pub(super) async fn show(&self, id: &JobId, parts: &request::Parts) -> Result<Response, Problem> {
        let Caller { principal, .. } = self.caller(parts).await?;
        let job = self.seen(id, &principal).await?;
        Ok(json(StatusCode::OK, job.document(None)))
    }

    pub(super) async fn list(&self, parts: &request::Parts) -> Result<Response, Problem> {
        let Caller { principal, .. } = self.caller(parts).await?;
        let limit = page(parts)?;
        if principal.source == "job-token" {
            // It sees one, and that can be had without looking through all.
            let own = job::id_of(&principal.id).and_then(|id| id.parse().ok()).ok_or_else(no_such_job)?;
            let jobs = self.jobs.get(&own).await?.and_then(|job| raw(&job.document(None)));
            return Ok(answered(StatusCode::OK, &Listed { jobs: jobs.into_iter().collect(), before: None }));
        }
        let states = JobState::ALL.map(JobState::name).join(", ");
        let mut query = JobQuery {
            state: ask::parameter(parts, "state", &format!("one of {states}"))?,
            kind: ask::parameter(parts, "kind", "a kind of job")?,
            before: ask::parameter::<Place>(parts, "before", "what the page before said")?.map(|Place(place)| place),
            limit,
        };
        let (mut jobs, mut looked_through) = (Vec::new(), 0);
        let before = loop {
            let found = self.jobs.list(&query).await?;
            let is_last = found.len() < query.limit;
            for job in found {
                looked_through += 1;
                query.before = Some((job.created, job.id.clone()));
                if job.may_be_seen_by(&principal) {
                    jobs.extend(raw(&job.document(None)));
                    if jobs.len() == limit {
                        break;
                    }
                }
            }
            if is_last && jobs.len() < limit {
                break None;
            }
            if jobs.len() == limit || looked_through >= LOOKED_THROUGH {
                break query.before.as_ref().map(|(created, id)| format!("{created}-{id}"));
            }
            query.limit = PAGE.1;
        };
        Ok(answered(StatusCode::OK, &Listed { jobs, before }))
    }

    pub(super) async fn result(&self, id: &JobId, parts: &request::Parts) -> Result<Response, Problem> {
        let Caller { principal, .. } = self.caller(parts).await?;
        let job = self.seen(id, &principal).await?;
        let from: u64 = ask::parameter(parts, "from", "the index of an item")?.unwrap_or(0);
        let limit = page(parts)?;
        let items = self.jobs.items(id, from, limit, self.service.hub.limits().page_bytes).await?;
        let items: Vec<_> = items.iter().filter_map(|item| raw(item)).collect();
        let reached = from.saturating_add(items.len() as u64);
        // Some may have come since the job was looked at.
        let count = if items.is_empty() { job.items } else { job.items.max(reached) };
        let next = (!items.is_empty() && reached < count).then_some(reached);
        Ok(answered(StatusCode::OK, &ResultPage { state: job.state, result: job.result, items, count, next }))
    }

    pub(super) async fn cancel(&self, id: &JobId, parts: &request::Parts) -> Result<Response, Problem> {
        let Caller { principal, .. } = self.caller(parts).await?;
        let job = self.seen(id, &principal).await?;
        if !job.may_be_canceled_by(&principal) {
            let detail = format!("{} may see this job, and may not cancel it", principal.id);
            return Err(Problem::new(StatusCode::FORBIDDEN, "may-not-cancel", detail));
        }
        let wait = ask::duration_parameter(parts, "wait")?.unwrap_or(Duration::ZERO);
        let job = self.jobs.cancel(id, wait).await?;
        let status = if job.state == JobState::Canceled { StatusCode::OK } else { StatusCode::ACCEPTED };
        Ok(json(status, job.document(None)))
    }

    /// Makes another token. Not for who came with one: it would count for ever.
    pub(super) async fn make_token(&self, id: &JobId, parts: &request::Parts) -> Result<Response, Problem> {
        let Caller { principal, .. } = self.caller(parts).await?;
        super::create::refuse_foreign(parts, &self.routes.cors)?;
        let job = self.jobs.get(id).await?.ok_or_else(no_such_job)?;
        let made_by = principal.publish.allow("job.queued", &job.topic());
        if !principal.operator && !job.is_owned_by(&principal) && !made_by {
            self.seen(id, &principal).await?;
            let detail = "tokens are made by the owner of a job, by who may make such jobs, and by operators";
            return Err(Problem::new(StatusCode::FORBIDDEN, "may-not-make-tokens", detail));
        }
        let (token, expires) = self.jobs.new_token(id, None).await?;
        Ok(answered(StatusCode::CREATED, &json!({ "token": token, "token_expires": expires })))
    }
}

/// `limit` of the query.
fn page(parts: &request::Parts) -> Result<usize, Problem> {
    let limit: usize = ask::parameter(parts, "limit", "a whole number")?.unwrap_or(PAGE.0);
    Ok(limit.clamp(1, PAGE.1))
}

fn raw(json: &[u8]) -> Option<Box<RawValue>> {
    serde_json::from_slice(json).ok()
}

/// Where a page of the list ends: when the job was made, and its id.
struct Place((Timestamp, JobId));

impl std::str::FromStr for Place {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let (created, id) = text.split_once('-').ok_or(())?;
        Ok(Place((Timestamp(created.parse().map_err(|_| ())?), id.parse().map_err(|_| ())?)))
    }
}
