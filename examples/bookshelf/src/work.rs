//! The jobs that the app does itself: it claims them from the hub in its own process, and hears of a cancel at once.

mod import;
mod refresh;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use serde_json::value::RawValue;
use tidings::job::{Claimed, Failure, Job, JobId, Outcome, ProgressUpdate};

use crate::app::App;
use crate::fault::Fault;

pub use import::KIND as IMPORT;
pub use refresh::{KIND as REFRESH, Refresh, Status as RefreshStatus};

/// How many jobs are done at once.
pub const AT_ONCE: u32 = 4;

/// How long a job waits after a crash until it is begun again.
const LEASE: Duration = Duration::from_secs(10);

/// How long one question for a job, or for a cancel, is left open.
const WAIT: Duration = Duration::from_secs(20);

/// How long to wait after the hub could not answer.
const AGAIN: Duration = Duration::from_millis(500);

/// A job that is being done.
pub struct Task {
    app: Arc<App>,
    /// What it is.
    pub job: Arc<Job>,
    lease: String,
    done: AtomicU64,
    canceled: AtomicBool,
    /// Nobody takes the result: the program stops, or another has the job.
    lost: AtomicBool,
}

/// How work on a job ends without a result.
pub enum Ended {
    /// Somebody has canceled it. What was done till then is the result.
    Canceled(Value),
    /// Nobody takes the result any more.
    Lost,
    /// It can't be done.
    Failed(Failure),
}

impl From<Fault> for Ended {
    fn from(fault: Fault) -> Self {
        Ended::Failed(Failure { code: "not-now".into(), message: fault.to_string(), retryable: true })
    }
}

impl Task {
    /// Says how far it is. What is less than before is passed over.
    pub async fn progress(&self, done: u64, total: Option<u64>, message: Option<&str>, item: Option<Value>) {
        let done = self.done.fetch_max(done, Ordering::SeqCst).max(done);
        let update = ProgressUpdate {
            done: Some(total.map_or(done, |total| done.min(total))),
            total,
            message: message.map(Into::into),
            item: item.and_then(|item| RawValue::from_string(item.to_string()).ok()),
        };
        if let Err(fault) = self.app.jobs.progress(&self.job.id, &self.lease, update).await {
            tracing::debug!(job = %self.job.id, %fault, "progress is not taken");
        }
    }

    /// Whether it is to end now.
    pub fn is_over(&self) -> bool {
        self.canceled.load(Ordering::SeqCst) || self.lost.load(Ordering::SeqCst)
    }

    /// How it ends now, if it is to: with what was done till then.
    pub fn end(&self, so_far: Value) -> Ended {
        if self.canceled.load(Ordering::SeqCst) { Ended::Canceled(so_far) } else { Ended::Lost }
    }

    /// Keeps the lease, and hears of a cancel.
    async fn listen(&self) {
        while !self.is_over() {
            match self.app.jobs.heartbeat(&self.job.id, &self.lease, WAIT).await {
                Ok(beat) if beat.cancel => self.canceled.store(true, Ordering::SeqCst),
                Ok(_) if self.app.hub.is_draining() => self.lost.store(true, Ordering::SeqCst),
                Ok(_) => {}
                Err(fault) => {
                    tracing::warn!(job = %self.job.id, %fault, "the job is lost");
                    self.lost.store(true, Ordering::SeqCst);
                }
            }
        }
    }

    /// Only whoever may see what `owner` has is told.
    fn owner(&self) -> Option<i64> {
        self.job.owner.as_deref().and_then(|owner| owner.parse().ok())
    }
}

/// Does jobs, for ever.
pub async fn run(app: Arc<App>) {
    let namespace = app.profile.namespace().map(str::to_owned);
    let kinds = [IMPORT.to_owned(), REFRESH.to_owned()];
    while let Ok(place) = app.places.clone().acquire_owned().await {
        match app.jobs.claim(namespace.as_deref(), &kinds, "bookshelf", Some(LEASE), WAIT).await {
            Ok(Some(claimed)) => {
                let app = app.clone();
                tokio::spawn(async move {
                    work(app, claimed).await;
                    drop(place);
                });
            }
            Ok(None) if app.hub.is_draining() => return,
            Ok(None) => {}
            Err(fault) => {
                tracing::warn!(%fault, "the hub gives no jobs now");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

async fn work(app: Arc<App>, claimed: Claimed) {
    let Claimed { job, lease, .. } = claimed;
    let (done, canceled, lost) = (AtomicU64::default(), AtomicBool::default(), AtomicBool::default());
    let task = Arc::new(Task { app: app.clone(), job, lease, done, canceled, lost });
    let listening = tokio::spawn({
        let task = task.clone();
        async move { task.listen().await }
    });
    let ended = match task.job.kind.as_str() {
        IMPORT => import::run(task.clone()).await,
        _ => refresh::run(task.clone()).await,
    };
    let raw = |value: Value| RawValue::from_string(value.to_string()).ok();
    let outcome = match ended {
        Ok(result) => Outcome::Completed(raw(result)),
        Err(Ended::Canceled(result)) => Outcome::Canceled(raw(result)),
        Err(Ended::Failed(failure)) => Outcome::Failed(failure),
        Err(Ended::Lost) => Outcome::Released,
    };
    // What is said at the end renews the lease once more.
    listening.abort();
    finish(&app, &task.job.id, &task.lease, outcome).await;
}

async fn finish(app: &App, id: &JobId, lease: &str, outcome: Outcome) {
    if let Err(fault) = app.jobs.finish(id, lease, outcome).await {
        tracing::warn!(job = %id, %fault, "the end of a job is not taken");
    }
}
