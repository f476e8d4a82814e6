//! What can go wrong, and how a client is told.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use tidings::job::JobFault;
use tidings_transports::Problem;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The client asked for what can't be; it is told why.
    #[error("{}", .0.detail)]
    Refused(Problem),
    /// The database could not.
    #[error("the database could not: {0}")]
    Database(#[from] rusqlite::Error),
    /// The disk could not.
    #[error("the disk could not: {0}")]
    Disk(#[from] std::io::Error),
    /// The hub could not do something with a job.
    #[error(transparent)]
    Job(#[from] JobFault),
    /// Something that should always work did not.
    #[error("{0}")]
    Broken(String),
}

/// What comes of something that may not work.
pub type Result<T> = std::result::Result<T, Fault>;

impl Fault {
    /// A refusal with a sentence.
    pub fn refused(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Fault::Refused(Problem::new(status, code, detail))
    }

    /// 404 for what is not there, or not there for whoever asks.
    pub fn missing(what: &str) -> Self {
        Fault::refused(StatusCode::NOT_FOUND, "not-found", format!("there is no such {what}"))
    }

    /// 409 for what is not possible now.
    pub fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Fault::refused(StatusCode::CONFLICT, code, detail)
    }

    /// 422 for what makes no sense.
    pub fn invalid(field: &str, detail: impl Into<String>) -> Self {
        let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-request", detail);
        Fault::Refused(problem.with("field", field))
    }
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        Fault::Refused(problem)
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Refused(problem) => problem,
            Fault::Job(fault) => fault.into(),
            // The cause is for who runs the program.
            other => {
                tracing::error!(%other, "a request failed");
                let detail = "that did not work; the log of the program says why";
                Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
            }
        }
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        Problem::from(self).into_response()
    }
}
