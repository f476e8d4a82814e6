//! What can't be done with a job, as a refusal.

use http::StatusCode;
use tidings::job::JobFault;

use crate::problem::Problem;

impl From<JobFault> for Problem {
    fn from(fault: JobFault) -> Self {
        let detail = fault.to_string();
        let problem = |status, code| Problem::new(status, code, detail.clone());
        match fault {
            JobFault::NoSuchJob => crate::watch::no_such_job(),
            JobFault::Invalid { field, detail } => {
                let detail = format!("{field}: {detail}");
                Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-job", detail).with("field", field)
            }
            JobFault::TooLarge { field, most, .. } => {
                problem(StatusCode::PAYLOAD_TOO_LARGE, "too-large").with("field", field).with("limit", most)
            }
            JobFault::IdTaken => problem(StatusCode::CONFLICT, "id-taken"),
            JobFault::NoRoom(_) => Problem::new(StatusCode::INSUFFICIENT_STORAGE, "no-room", detail)
                .header(http::header::RETRY_AFTER, "30"),
            JobFault::TooMany(most) => Problem::unavailable(retry_after(), "too-many-jobs", detail).with("limit", most),
            JobFault::LeaseLost => problem(StatusCode::CONFLICT, "lease-lost"),
            JobFault::AlreadyEnded(state) => problem(StatusCode::CONFLICT, "already-ended").with("state", state.name()),
            JobFault::NotCanceling => problem(StatusCode::CONFLICT, "not-canceling"),
            JobFault::ProgressBackwards { .. } => problem(StatusCode::UNPROCESSABLE_ENTITY, "progress-backwards"),
            JobFault::InvalidProgress { .. } => problem(StatusCode::UNPROCESSABLE_ENTITY, "invalid-progress"),
            JobFault::ItemsGap { count } => problem(StatusCode::CONFLICT, "items-gap").with("count", count),
            JobFault::TooManyItems(most) => {
                problem(StatusCode::PAYLOAD_TOO_LARGE, "too-many-items").with("limit", most)
            }
            // The cause is for who runs the program.
            fault => {
                tracing::error!(%fault, "a request about jobs was refused");
                Problem::unavailable(
                    retry_after(),
                    "jobs-unavailable",
                    "jobs are not available at the moment; try again",
                )
            }
        }
    }
}

/// Seconds.
fn retry_after() -> u32 {
    JobFault::RETRY_AFTER.as_secs() as u32
}
