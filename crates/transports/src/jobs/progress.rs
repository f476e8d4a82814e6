//! `POST /v1/jobs/progress`: the progress of many jobs at once.

use std::borrow::Cow;
use std::collections::BTreeSet;

use axum::response::Response;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tidings::job::{Beat, JobFault, JobId, ProgressUpdate};

use super::{Api, Asked, answered, ask};
use crate::problem::Problem;
use crate::publish::collect;

/// The most updates in one request. Whoever sends them need not say who they are, and each that is refused is answered.
const UPDATES: usize = 20_000;

/// How many updates are taken before others get their turn: less than a millisecond of work.
const TURN: usize = 500;

/// One update. What it says of strings is borrowed where nothing in them is escaped.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Update<'a> {
    #[serde(borrow)]
    job: Cow<'a, str>,
    #[serde(borrow)]
    lease: Cow<'a, str>,
    #[serde(default)]
    done: Option<u64>,
    #[serde(default)]
    total: Option<u64>,
    #[serde(default)]
    message: Option<Box<str>>,
    #[serde(default)]
    item: Option<Box<RawValue>>,
}

#[derive(Default, Serialize)]
struct Answer {
    taken: usize,
    refused: Vec<Refused>,
    canceling: BTreeSet<Box<str>>,
}

#[derive(Serialize)]
struct Refused {
    index: usize,
    code: &'static str,
    detail: String,
}

impl Api {
    /// Each update is judged alone, by the lease in it: no other credential is needed.
    pub(super) async fn take_progress(&self, asked: Asked) -> Result<Response, Problem> {
        let Asked { parts, body } = asked;
        let body = collect(body, self.service.hub.limits()).await?;
        let mut answer = Answer::default();
        for (index, update) in ask::elements(&ask::media(&parts), &body, UPDATES)?.iter().enumerate() {
            match self.take_one(update).await {
                Ok((beat, job)) => {
                    answer.taken += 1;
                    if beat.cancel && !answer.canceling.contains(&*job) {
                        answer.canceling.insert(job.into());
                    }
                }
                Err(Problem { code, detail, .. }) => answer.refused.push(Refused { index, code, detail }),
            }
            if index % TURN == TURN - 1 {
                tokio::task::yield_now().await;
            }
        }
        Ok(answered(StatusCode::OK, &answer))
    }

    async fn take_one<'a>(&self, update: &'a [u8]) -> Result<(Beat, Cow<'a, str>), Problem> {
        let update: Update<'a> = ask::object("the update", update)?;
        let Update { job, lease, done, total, message, item } = update;
        let id: JobId = job.parse().map_err(|_| JobFault::LeaseLost)?;
        let beat = self.jobs.progress(&id, &lease, ProgressUpdate { done, total, message, item }).await?;
        Ok((beat, job))
    }
}
