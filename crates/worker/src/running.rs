//! One job, from the claim to the end that the hub knows of.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{sleep, timeout};

use crate::heartbeat::beat;
use crate::worker::Shared;
use crate::{CancelReason, Error, Job, JobError};

/// What a handler is, whatever it was written as.
pub(crate) type Handler = Box<dyn Fn(Job) -> Pin<Box<dyn Future<Output = Outcome> + Send>> + Send + Sync>;

/// How a handler ends.
pub(crate) type Outcome = Result<Value, JobError>;

/// The most bytes of a result (`protocol/README.md` §10.1). What is larger are items.
const MOST_RESULT: usize = 64 << 10;

/// How long the last progress may hold up the end.
const LAST_PROGRESS: Duration = Duration::from_secs(2);

/// How long a worker that stops goes on telling an end to a hub that does not answer.
const LAST_WORD: Duration = Duration::from_secs(5);

/// A task that ends with whoever waits for it.
pub(crate) struct Owned<T>(pub JoinHandle<T>);

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Threads can't be ended from outside: a handler that left its work to one is heard by the token, however it ended.
struct Over(Job);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.slot().close();
        self.0.lease().cancel.cancel(CancelReason::Stopping);
    }
}

/// Does one job. Returns when the hub has its end, or it is certain that it will not take one from here.
pub(crate) async fn run(shared: Arc<Shared>, job: Job) {
    let Some(handler) = shared.handlers.get(job.kind()) else {
        tracing::error!(job = job.id(), kind = job.kind(), "the hub gave a job of a kind that was not asked for");
        return drop(tell(&shared, &job, "release", &json!({})).await);
    };
    tracing::info!(job = job.id(), kind = job.kind(), attempt = job.attempt(), "the job begins");
    let over = Over(job.clone());
    let heart = Owned(tokio::spawn(beat(job.lease().clone(), shared.lease)));
    let mut work = Owned(tokio::spawn(handler(job.clone())));
    let outcome = tokio::select! {
        biased;
        outcome = &mut work.0 => Some(outcome),
        () = overdue(&shared, &job) => None,
    };
    // Dropped here and not later: a handler that did not heed the cancel says nothing more.
    drop(work);
    end(&shared, &job, outcome).await;
    drop(heart);
    drop(over);
}

/// Returns when a handler that should have stopped has not.
async fn overdue(shared: &Shared, job: &Job) {
    let cancel = &job.lease().cancel;
    tokio::select! {
        () = cancel.canceled() => {}
        () = shared.leave.canceled() => drop(cancel.cancel(CancelReason::Stopping)),
    }
    sleep(shared.cancel_grace).await;
    tracing::warn!(job = job.id(), "the handler did not stop in time and is dropped");
}

/// Tells the hub how the job ended.
async fn end(shared: &Shared, job: &Job, outcome: Option<Result<Outcome, JoinError>>) {
    let (id, kind) = (job.id(), job.kind());
    let outcome = outcome.map(|outcome| outcome.unwrap_or_else(|error| Err(panicked(job, error))));
    let (action, body) = match (outcome, job.lease().cancel.reason()) {
        (_, Some(CancelReason::LeaseLost)) => {
            return tracing::warn!(job = id, kind, "the lease is lost; what was done does not count");
        }
        (Some(Ok(result)), _) => complete(result),
        (Some(Err(JobError::CanceledWith(result))), Some(CancelReason::Canceled)) => {
            ("canceled", json!({ "result": result }))
        }
        (_, Some(CancelReason::Canceled)) => ("canceled", json!({})),
        (_, Some(CancelReason::Stopping)) => ("release", json!({})),
        (Some(Err(error)), None) => fail(error),
        // A handler is overdue for one of the reasons above.
        (None, None) => ("release", json!({})),
    };
    if action != "release" {
        last_progress(job).await;
    }
    match tell(shared, job, action, &body).await {
        Ok(()) => tracing::info!(job = id, kind, end = action, "the job ends"),
        Err(Error::Refused(refused)) if action == "complete" => {
            tracing::error!(job = id, kind, %refused, "the hub does not take the result");
            let (action, body) = fail(JobError::failed("result-refused", refused.detail));
            drop(tell(shared, job, action, &body).await);
        }
        Err(error) => tracing::warn!(job = id, kind, end = action, %error, "the hub was not told how the job ended"),
    }
}

fn complete(result: Value) -> (&'static str, Value) {
    let bytes = result.to_string().len();
    if bytes > MOST_RESULT {
        let message = format!("the result has {bytes} bytes; it may have {MOST_RESULT}, and what is more are items");
        return fail(JobError::failed("result-too-large", message));
    }
    ("complete", json!({ "result": result }))
}

fn fail(error: JobError) -> (&'static str, Value) {
    match error {
        JobError::Failed(failed) => ("fail", json!({ "error": failed })),
        JobError::Canceled | JobError::CanceledWith(_) => {
            let message = "the worker stopped as if the job had been canceled, and nobody had canceled it";
            fail(JobError::failed("not-canceled", message).retryable())
        }
    }
}

/// The text of a panic goes into the log and not to who watches: nobody has chosen it for them.
fn panicked(job: &Job, error: JoinError) -> JobError {
    if let Ok(panic) = error.try_into_panic() {
        let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        tracing::error!(job = job.id(), kind = job.kind(), panic = text.unwrap_or("(no text)"), "the handler panicked");
    }
    JobError::failed("worker-panicked", "the worker stopped unexpectedly").retryable()
}

/// Tells the progress that the hub does not have yet, so that a job that is done does not end at 98 %.
async fn last_progress(job: &Job) {
    if let Some(line) = job.slot().close() {
        let request = job.lease().request("progress", line);
        // It is the only thing that may be dropped.
        let _ = timeout(LAST_PROGRESS, job.lease().ask(&request)).await;
    }
}

/// Tells the hub until it answers.
async fn tell(shared: &Shared, job: &Job, action: &str, body: &Value) -> Result<(), Error> {
    let request = job.lease().request(action, body.to_string());
    job.lease().insist(&request, &shared.leave, LAST_WORD).await.map(drop)
}
