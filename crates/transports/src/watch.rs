//! Which job a stream is of, and who may watch it.

use std::sync::Arc;

use http::{StatusCode, header, request};
use tidings::job::{Job, JobFault, JobId, Jobs};
use tidings::{Cursor, Filter, Grants, Offset, Principal, Profile, Start, TopicPattern};

use crate::events::Mount;
use crate::problem::Problem;
use crate::query;
use crate::service::Service;
use crate::stream::{JobNamed, OneJob};

/// The segment `{job}` of the path, put into each request by the router.
#[derive(Clone, Debug)]
pub(crate) struct PathJob(pub(crate) String);

/// A job that may be watched.
#[derive(Debug)]
pub(crate) struct Watched {
    /// The job as it was a moment ago.
    pub(crate) job: Job,
    /// Who watches, with the grant to see it.
    pub(crate) principal: Arc<Principal>,
    /// Its topic.
    pub(crate) filter: Filter,
}

impl Mount {
    /// The job that a request names, if `principal` may watch it.
    pub(crate) async fn watched(
        &self,
        service: &Service,
        parts: &request::Parts,
        principal: Arc<Principal>,
        one: &OneJob,
    ) -> Result<Watched, Problem> {
        let Some(jobs) = &service.jobs else { return Err(no_such_job()) };
        let job = job_at(jobs, &self.stream.profile, parts, &principal, one).await?;
        let filter = Filter::topics(job.topic().parse::<TopicPattern>());
        Ok(Watched { filter: self.stream.narrowed(filter), principal: holding(principal, &job), job })
    }

    /// Where a stream of the job begins. `None` if whoever asks has its end already.
    pub(crate) fn start_of(&self, service: &Service, parts: &request::Parts, job: &Job) -> Option<Start> {
        let asked = query::resume(&parts.headers, &parts.uri);
        if !job.state.is_end() {
            return Some(service.hub.start(asked.as_deref()));
        }
        let own = |cursor: &Cursor| service.hub.cursor(cursor.offset) == *cursor;
        let end = job.end.as_deref().and_then(|end| end.parse::<Cursor>().ok()).filter(own);
        let end = end.map_or(Offset::START, |end| end.offset);
        let asked_for = asked.as_deref().and_then(|asked| asked.parse::<Cursor>().ok()).filter(own);
        if asked_for.is_some_and(|cursor| cursor.offset >= end) {
            return None;
        }
        // What lies before the end is told as well, if the log still has it.
        let start = service.hub.start(asked.as_deref());
        Some(match start.gap {
            Some(_) => Start { gap: start.gap, ..service.hub.start(None) },
            None => start,
        })
    }
}

/// The job that a request names, if `principal` may see it. Whoever begins to listen to it from here on is given its state, also if it
/// ended long ago.
pub(crate) async fn job_at(
    jobs: &Jobs,
    profile: &Profile,
    parts: &request::Parts,
    principal: &Principal,
    one: &OneJob,
) -> Result<Job, Problem> {
    let id = named(one, parts)?;
    let found = jobs.show(&id).await.map_err(unavailable)?;
    let here = |job: &Job| {
        let same_app = profile.namespace().is_none_or(|own| job.namespace.as_deref() == Some(own));
        same_app && (one.kinds.is_empty() || one.kinds.contains(&job.kind))
    };
    let is_nobody = principal.source == "anonymous" && !principal.grants.holds(&own_grant(profile, &id));
    let unseen = || {
        if is_nobody && !one.open {
            // Said of every job, also if there is none: nothing is told apart.
            return Problem::unauthorized(None, "this takes the token of the job");
        }
        no_such_job()
    };
    let job = found.filter(here).ok_or_else(unseen)?;
    if principal.source == "job-token" && !principal.grants.holds(&job.grant()) {
        // Said plainly: it is not that the job were not there.
        let detail = "this token is of another job";
        return Err(Problem { code: "other-job", ..Problem::unauthorized(Some("invalid_token"), detail) });
    }
    if !one.open && !job.may_be_seen_by(principal) {
        return Err(unseen());
    }
    Ok(job)
}

/// What lets somebody see the job of this name, if there is one.
fn own_grant(profile: &Profile, id: &JobId) -> String {
    profile.qualify(&format!("job/{id}"))
}

/// The same principal, who sees the job by its own grant: its owner, or who knows its name where that is enough.
fn holding(principal: Arc<Principal>, job: &Job) -> Arc<Principal> {
    let grant = job.grant();
    if principal.grants.meets(&job.audience).is_some() {
        return principal;
    }
    let own = grant.parse::<TopicPattern>().into_iter();
    let grants = Grants::new(principal.grants.iter().cloned().chain(own));
    Arc::new(Principal { grants, ..(*principal).clone() })
}

fn named(one: &OneJob, parts: &request::Parts) -> Result<JobId, Problem> {
    let name = match &one.named {
        JobNamed::Path => parts.extensions.get::<PathJob>().map(|path| path.0.clone()),
        JobNamed::Query(parameter) => {
            let found = query::pairs(&parts.uri).find(|(name, _)| name == parameter);
            let found = found.map(|(_, value)| value.into_owned()).filter(|value| !value.is_empty());
            if found.is_none() {
                let detail = format!("say which job: ?{parameter}= is missing");
                let problem = Problem::new(StatusCode::BAD_REQUEST, "missing-job", detail);
                return Err(problem.with("parameter", parameter.as_str()));
            }
            found
        }
    };
    name.and_then(|name| name.parse().ok()).ok_or_else(no_such_job)
}

/// 404, also for a job that somebody may not see.
pub(crate) fn no_such_job() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "no-such-job", "there is no such job, or it is not for you to see")
}

fn unavailable(fault: JobFault) -> Problem {
    tracing::error!(%fault, "a job can't be looked up");
    Problem::unavailable(2, "jobs-unavailable", "jobs can't be looked up at the moment")
        .header(header::CACHE_CONTROL, "no-store")
}
