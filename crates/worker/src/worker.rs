//! Claims jobs and has them done.

use std::collections::HashMap;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::HeaderValue;
use serde::Deserialize;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::backoff::Backoff;
use crate::hub::{Hub, JSON, Request, Trouble};
use crate::job::Document;
use crate::lease::{ANSWER, Lease};
use crate::progress::{Progresses, tell};
use crate::running::{Handler, Owned, run};
use crate::{CancelReason, CancelToken, Job, Refused, WorkerBuilder};

/// How long a claim waits at the hub. Proxies cut what is silent for longer.
const WAIT: Duration = Duration::from_secs(25);

/// The least time between two claims that brought nothing, whatever the hub answers.
const PACE: Duration = Duration::from_millis(500);

/// How long a worker that stops waits for the answer to its last claim: a way there and back.
const LAST_CLAIM: Duration = Duration::from_millis(200);

/// How long the last words of a worker that stops may take, beyond what its handlers have.
const FAREWELL: Duration = Duration::from_secs(8);

/// Does the jobs of a hub. [`Worker::builder`] makes one, [`run`](Worker::run) has it work.
pub struct Worker {
    pub(crate) shared: Shared,
    pub(crate) concurrency: usize,
    pub(crate) grace: Duration,
    pub(crate) claim: Request,
}

/// What the jobs of a worker share.
pub(crate) struct Shared {
    pub hub: Arc<Hub>,
    pub key: Option<HeaderValue>,
    pub handlers: HashMap<String, Handler>,
    pub lease: Option<Duration>,
    pub patience: Duration,
    pub cancel_grace: Duration,
    /// The worker stops, and the time for what was begun is over.
    pub leave: CancelToken,
    pub progresses: Arc<Progresses>,
}

/// What the hub answers to a claim that brought a job.
#[derive(Deserialize)]
struct Claimed {
    job: Document,
    lease: String,
}

impl Worker {
    /// A worker for the hub at this address, like `http://127.0.0.1:8090`.
    pub fn builder(url: impl Into<String>) -> WorkerBuilder {
        WorkerBuilder::new(url.into())
    }

    /// Works until `until` is ready. Then it claims nothing more; what was begun has the time of
    /// [`grace`](WorkerBuilder::grace) to end, and after it is told to stop and goes back to the hub, which gives it to
    /// another worker without counting the attempt.
    ///
    /// A hub that is away is waited for. Dropping the future ends everything at once: the jobs go to other workers when
    /// their leases have run out.
    ///
    /// # Errors
    ///
    /// [`Refused`] where waiting does not help: the key counts for nothing (401), it may not do jobs of these kinds (403
    /// `may-not-work`), or no hub with jobs listens there (404). What was begun is ended as above before.
    pub async fn run(self, until: impl Future<Output = ()>) -> Result<(), Refused> {
        let Worker { shared, concurrency, grace, claim } = self;
        let shared = Arc::new(shared);
        let progresses = tell(shared.hub.clone(), shared.key.clone(), shared.progresses.clone());
        let _telling = Owned(tokio::spawn(progresses));
        let mut jobs = JoinSet::new();
        let mut kinds: Vec<&str> = shared.handlers.keys().map(String::as_str).collect();
        kinds.sort_unstable();
        tracing::info!(hub = shared.hub.base(), ?kinds, concurrency, "the worker asks for jobs");
        let stop = CancelToken::new();
        let ended = {
            let mut working = pin!(work(&shared, &claim, concurrency, &mut jobs, &stop));
            tokio::select! {
                biased;
                () = until => {
                    stop.cancel(CancelReason::Stopping);
                    working.await
                }
                ended = &mut working => ended,
            }
        };
        leave(&shared, grace, jobs).await;
        ended
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("hub", &self.shared.hub)
            .field("kinds", &self.shared.handlers.keys())
            .field("concurrency", &self.concurrency)
            .finish_non_exhaustive()
    }
}

/// Claims jobs and begins them, at most so many at once, until the worker stops or the hub refuses.
async fn work(
    shared: &Arc<Shared>,
    claim: &Request,
    concurrency: usize,
    jobs: &mut JoinSet<()>,
    stop: &CancelToken,
) -> Result<(), Refused> {
    let mut backoff = Backoff::new();
    let mut has_worked = false;
    while !stop.is_canceled() {
        while jobs.try_join_next().is_some() {}
        if jobs.len() >= concurrency {
            tokio::select! {
                _ = jobs.join_next() => {}
                () = stop.canceled() => {}
            }
            continue;
        }
        let asked = Instant::now();
        let pause = match claim_unless(stop, shared, claim).await {
            Ok(Some(job)) => {
                (has_worked, backoff) = (true, Backoff::new());
                jobs.spawn(run(shared.clone(), job));
                continue;
            }
            Ok(None) => {
                (has_worked, backoff) = (true, Backoff::new());
                PACE.saturating_sub(asked.elapsed())
            }
            Err(Trouble::Away { retry_after, .. }) => backoff.next(retry_after),
            // An answer that is not the hub's own, from a place where there was a hub: a proxy whose hub is being replaced.
            Err(Trouble::Refused(refused)) if has_worked && refused.code.is_empty() => {
                tracing::warn!(%refused, "something else answers in the hub's place");
                backoff.next(Some(PACE))
            }
            Err(Trouble::Refused(refused)) => return Err(refused),
        };
        // It may stop in the meantime.
        let _ = timeout(pause, stop.canceled()).await;
    }
    Ok(())
}

/// Asks for one job, and goes away from the hub when the worker stops. A job that the hub had given by then is on its way
/// and is waited for: nobody else would have it before its lease runs out.
async fn claim_unless(stop: &CancelToken, shared: &Shared, claim: &Request) -> Result<Option<Job>, Trouble> {
    let stopped = async {
        stop.canceled().await;
        sleep(LAST_CLAIM).await;
    };
    tokio::select! {
        biased;
        claimed = claim_one(shared, claim) => claimed,
        () = stopped => Ok(None),
    }
}

/// Asks for one job; `None` if none came in time.
async fn claim_one(shared: &Shared, claim: &Request) -> Result<Option<Job>, Trouble> {
    let (status, body) = shared.hub.post(claim).await?;
    if status == StatusCode::NO_CONTENT {
        return Ok(None);
    }
    let strange =
        |detail: String| Trouble::Refused(Refused { status: status.as_u16(), code: "not-a-job".into(), detail });
    let claimed: Claimed = serde_json::from_slice(&body)
        .map_err(|error| strange(format!("the hub's answer to a claim is not understood: {error}")))?;
    let lease = Lease::new(shared.hub.clone(), claimed.job.id.clone(), claimed.lease, shared.patience)
        .map_err(|error| strange(error.to_string()))?;
    Ok(Some(Job::new(claimed.job, Arc::new(lease), shared.progresses.clone())))
}

/// The request that a claim is.
pub(crate) fn claim(
    path: String,
    key: Option<HeaderValue>,
    kinds: &[&String],
    name: &str,
    lease: Option<Duration>,
) -> Request {
    let mut body = json!({
        "kinds": kinds,
        "worker": name,
        "wait": format!("{}ms", WAIT.as_millis()),
    });
    if let Some(lease) = lease {
        body["lease"] = format!("{}ms", lease.as_millis()).into();
    }
    Request { path, content_type: JSON, body: body.to_string().into(), authorization: key, timeout: WAIT + ANSWER }
}

/// Lets the jobs end, and gives back those that don't.
async fn leave(shared: &Shared, grace: Duration, mut jobs: JoinSet<()>) {
    while jobs.try_join_next().is_some() {}
    if jobs.is_empty() {
        return tracing::info!("the worker stops");
    }
    tracing::info!(jobs = jobs.len(), grace_s = grace.as_secs(), "the worker stops when its jobs have ended");
    let mut ended = pin!(async { while jobs.join_next().await.is_some() {} });
    if timeout(grace, &mut ended).await.is_ok() {
        return;
    }
    shared.leave.cancel(CancelReason::Stopping);
    if timeout(shared.cancel_grace + FAREWELL, ended).await.is_err() {
        tracing::warn!("the worker stops without having given back all of its jobs; their leases run out");
    }
}
