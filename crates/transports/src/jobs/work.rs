//! Working on jobs.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, request};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tidings::job::{Claimed, Failure, JobFault, JobId, Outcome, ProgressUpdate};
use tidings::{Principal, Profile};

use super::lease::{self, Heard};
use super::{Api, Asked, answered, ask, extended, json};
use crate::problem::Problem;
use crate::publish::{collect, elsewhere};

/// What a worker says of a job that it has a lease of.
pub(super) const PARTS: [&str; 7] = ["heartbeat", "progress", "items", "complete", "fail", "canceled", "release"];

/// The most kinds of one claim.
const KINDS: usize = 64;

/// The most items in one request: enough that their requests do not count, few enough that one does not hold up the others.
const ITEMS: usize = 100_000;

/// How long a claim waits if it does not say: below the minute at which common proxies cut.
const CLAIM_WAIT: Duration = Duration::from_secs(30);

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Claim {
    kinds: Vec<String>,
    worker: Option<String>,
    #[serde(deserialize_with = "ask::wait")]
    wait: Option<Duration>,
    #[serde(deserialize_with = "ask::lease")]
    lease: Option<Duration>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Heartbeat {
    #[serde(deserialize_with = "ask::wait")]
    wait: Option<Duration>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Finished {
    result: Option<Box<RawValue>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Failed {
    error: Option<Reason>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reason {
    code: String,
    message: String,
    #[serde(default)]
    retryable: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Nothing {}

impl Api {
    pub(super) async fn claim(&self, asked: Asked) -> Result<Response, Problem> {
        let caller = self.caller(&asked.parts).await?;
        let profile = self.routes.publishing.profile(&asked.parts.uri)?.clone();
        let claim: Claim = self.read(&asked.parts, asked.body).await?;
        let elsewhere = elsewhere(&self.service.hub, &caller.principal, &profile, "/v1/jobs/claim");
        check_kinds(&claim.kinds, &caller.principal, &profile, &elsewhere)?;
        let worker = claim.worker.unwrap_or_else(|| caller.principal.id.to_string());
        let wait = claim.wait.unwrap_or(CLAIM_WAIT);
        let claimed = self.jobs.claim(profile.namespace(), &claim.kinds, &worker, claim.lease, wait).await?;
        let Some(claimed) = claimed else {
            self.refuse_draining()?;
            return Ok(StatusCode::NO_CONTENT.into_response());
        };
        if let Err(problem) = self.check_credential(&caller) {
            // They were shut out while they waited.
            let _ = self.jobs.finish(&claimed.job.id, &claimed.lease, Outcome::Released).await;
            return Err(problem);
        }
        Ok(answered(StatusCode::OK, &self.handed_out(&claimed)))
    }

    fn handed_out(&self, claimed: &Claimed) -> impl serde::Serialize + use<> {
        #[derive(serde::Serialize)]
        struct Answer {
            job: Option<Box<RawValue>>,
            lease: String,
            lease_expires: u64,
        }
        #[derive(serde::Serialize)]
        struct More<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            input: Option<&'a RawValue>,
            #[serde(skip_serializing_if = "Option::is_none")]
            file: Option<serde_json::Value>,
        }
        let Claimed { job, lease, lease_for } = claimed;
        let file = job.file.as_ref();
        let file = file.map(|file| json!({ "name": file.name, "type": file.media_type, "bytes": file.bytes }));
        let document = extended(&job.document(None), &More { input: job.input.as_deref(), file });
        let lease_expires = self.service.hub.clock().now().after(*lease_for).0;
        Answer { job: serde_json::from_slice(&document).ok(), lease: lease.clone(), lease_expires }
    }

    /// Answers a worker that shows a lease of the job.
    pub(super) async fn work(&self, id: &JobId, part: &str, asked: Asked) -> Result<Response, Problem> {
        let Asked { parts, body } = asked;
        let lease = lease::needed(&parts.headers)?;
        if matches!(part, "items" | "progress") {
            // Before a large body is read of somebody who has no right to send it.
            self.jobs.check_lease(id, lease).await?;
        }
        let outcome = match part {
            "heartbeat" => {
                let Heartbeat { wait } = self.read(&parts, body).await?;
                let beat = self.jobs.heartbeat(id, lease, wait.unwrap_or(Duration::ZERO)).await?;
                if wait.is_some() && !beat.cancel {
                    self.refuse_draining()?;
                }
                return Ok(answered(StatusCode::OK, &Heard::new(&self.service.hub, beat)));
            }
            "progress" => {
                let update: ProgressUpdate = self.read(&parts, body).await?;
                let beat = self.jobs.progress(id, lease, update).await?;
                return Ok(answered(StatusCode::OK, &Heard::new(&self.service.hub, beat)));
            }
            "items" => return self.append_items(id, lease, &parts, body).await,
            "complete" => Outcome::Completed(self.read::<Finished>(&parts, body).await?.result),
            "canceled" => Outcome::Canceled(self.read::<Finished>(&parts, body).await?.result),
            "fail" => {
                let missing = || JobFault::Invalid { field: "error", detail: "say why: a code and a message".into() };
                let failed: Failed = self.read(&parts, body).await?;
                let Reason { code, message, retryable } = failed.error.ok_or_else(missing)?;
                Outcome::Failed(Failure { code, message, retryable })
            }
            _ => {
                let Nothing {} = self.read(&parts, body).await?;
                Outcome::Released
            }
        };
        let job = self.jobs.finish(id, lease, outcome).await?;
        Ok(json(StatusCode::OK, job.document(None)))
    }

    async fn append_items(
        &self,
        id: &JobId,
        lease: &str,
        parts: &request::Parts,
        body: Body,
    ) -> Result<Response, Problem> {
        let from: Option<u64> = ask::parameter(parts, "from", "the index of the first item")?;
        let Some(from) = from else {
            // Without it a page that is sent again would be there twice.
            let detail = "?from= is missing: the index of the first item";
            return Err(Problem::new(StatusCode::BAD_REQUEST, "invalid-query", detail).with("parameter", "from"));
        };
        let tell: bool = ask::parameter(parts, "tell", "true or false")?.unwrap_or(false);
        let body = collect(body, self.service.hub.limits()).await?;
        let media = ask::media(parts);
        let items = ask::elements(&media, &body, ITEMS)?;
        if ask::is_lines(&media) {
            for (index, item) in items.iter().enumerate() {
                let checked = serde_json::from_slice::<&RawValue>(item);
                checked.map_err(|error| ask::malformed(&format!("line {index}"), &error).with("index", index))?;
            }
        }
        let items = items.into_iter().map(|item| body.slice_ref(item)).collect();
        let (count, beat) = self.jobs.append_items(id, lease, from, items, tell).await?;
        let heard = serde_json::to_vec(&Heard::new(&self.service.hub, beat)).unwrap_or_default();
        Ok(json(StatusCode::OK, extended(&heard, &json!({ "count": count }))))
    }

    async fn read<T: serde::de::DeserializeOwned + Default>(
        &self,
        parts: &request::Parts,
        body: Body,
    ) -> Result<T, Problem> {
        ask::read(parts, body, self.service.hub.limits()).await
    }

    /// 503 where a wait ended because the program stops: a worker that was answered as if its time were over would ask again at once,
    /// and again.
    fn refuse_draining(&self) -> Result<(), Problem> {
        match self.service.hub.is_draining() {
            true => Err(Problem::unavailable(1, "draining", "the program stops; ask again in a moment")),
            false => Ok(()),
        }
    }
}

/// Whether they may work on all of these.
fn check_kinds(
    kinds: &[String],
    principal: &Arc<Principal>,
    profile: &Profile,
    elsewhere: &str,
) -> Result<(), Problem> {
    if kinds.is_empty() || kinds.len() > KINDS {
        let detail = format!("say which kinds of job, 1 to {KINDS}");
        return Err(JobFault::Invalid { field: "kinds", detail }.into());
    }
    let held = |kind: &&String| {
        let grant = format!("work/{kind}");
        // Not a path with more segments than there seem to be.
        !kind.contains('/') && principal.grants.holds(&profile.qualify(&grant))
    };
    match kinds.iter().find(|kind| !principal.operator && !held(kind)) {
        None => Ok(()),
        Some(kind) => {
            let detail = format!("{} does not hold work/{kind}{elsewhere}", principal.id);
            Err(Problem::new(StatusCode::FORBIDDEN, "may-not-work", detail).with("kind", kind.as_str()))
        }
    }
}
