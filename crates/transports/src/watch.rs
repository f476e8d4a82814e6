//! Which job a stream is of, and who may watch it.

use std::sync::Arc;

use bytes::Bytes;
use http::{StatusCode, request};
use tidings::job::{self, Job, JobId, Jobs};
use tidings::{Cursor, Entry, Filter, Grants, Hub, Interest, Offset, Principal, Profile, TopicPattern};

use crate::events::Mount;
use crate::problem::Problem;
use crate::query;
use crate::service::Service;
use crate::stream::{JobNamed, OneJob, Stream};

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
    /// The event of its end, if that was told: also where memory has no room for it.
    pub(crate) end: Option<Arc<Entry>>,
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
        let end = jobs.end_of(&job).await?;
        let filter = Filter::topics(job.topic().parse::<TopicPattern>());
        Ok(Watched { filter: self.stream.narrowed(filter), principal: holding(principal, &job), job, end })
    }
}

impl Watched {
    /// Whether who asks to go on from `asked` has the end already.
    pub(crate) fn is_told(&self, hub: &Hub, asked: Option<&str>) -> bool {
        let own = |cursor: &Cursor| hub.cursor(cursor.offset) == *cursor;
        let asked = asked.and_then(|asked| asked.parse::<Cursor>().ok()).filter(own);
        match (asked, self.end.as_ref().map(|end| end.event.offset)) {
            // The log does not know where it was, and it is told at the start of the log.
            (Some(asked), Some(Offset::START)) => asked.offset == Offset::START,
            (Some(asked), Some(end)) => asked.offset >= end,
            _ => false,
        }
    }
}

/// What a stream that begins at `until` is told of the present: the newest of each retained kind, and the ends of the jobs that it names,
/// of which `ends` has those that memory may have no room for.
pub(crate) fn present(hub: &Hub, interest: &Interest, until: Offset, ends: &[Arc<Entry>]) -> Vec<Arc<Entry>> {
    let mut found = hub.retained(interest, until);
    for end in ends {
        // What comes after `until` is read on from there.
        let is_due = end.event.offset <= until && interest.covers(&end.event);
        let is_same = |state: &Arc<Entry>| state.event.topic == end.event.topic && is_state(state);
        if is_due && !found.iter().any(is_same) {
            found.push(end.clone());
        }
    }
    found
}

fn is_state(entry: &Entry) -> bool {
    job::STATE_EVENTS.contains(&&*entry.event.name)
}

/// What somebody is told of a job after a gap: its end may have been in it.
pub(crate) enum AfterGap {
    /// The state is not at hand: who asks again is given it from the store.
    Unknown,
    /// This, and the end if it is that. Empty if the state comes later in the log.
    State(Bytes, Option<Arc<Entry>>),
}

/// What somebody is told of a job after a gap behind which it goes on from `until`.
pub(crate) fn after_gap(hub: &Hub, stream: &Stream, interest: &Interest, until: Offset) -> AfterGap {
    if newest(hub, interest).is_none() {
        return AfterGap::Unknown;
    }
    let states = hub.retained(interest, until);
    let end = states.iter().find(|entry| stream.ends_with(entry)).cloned();
    AfterGap::State(stream.states(&states, hub.cursor(until), &interest.grants).freeze(), end)
}

/// The newest state of the job that `interest` is about, whatever of it is told.
pub(crate) fn newest(hub: &Hub, interest: &Interest) -> Option<Arc<Entry>> {
    let topics = interest.filter.topics.iter().flat_map(|topics| topics.iter().cloned());
    let all = Interest { filter: Filter::topics(topics), grants: interest.grants.clone() };
    hub.retained(&all, Offset(u64::MAX)).pop()
}

/// The job that a request names, if `principal` may see it.
pub(crate) async fn job_at(
    jobs: &Jobs,
    profile: &Profile,
    parts: &request::Parts,
    principal: &Principal,
    one: &OneJob,
) -> Result<Job, Problem> {
    let id = named(one, parts)?;
    let found = jobs.get(&id).await?;
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
