//! What did not work, and how a handler says so.

use std::io;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

/// The longest code of a failure, in bytes.
const MOST_CODE: usize = 64;

/// The longest message of a failure, in bytes: it is a sentence for who watches, and part of each document of the job.
const MOST_MESSAGE: usize = 1024;

/// Why a call of a [`Job`](crate::Job) did not do what it should. In a handler `?` makes a fitting [`JobError`] of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The job is canceled, or the worker stops.
    #[error("the job should stop")]
    Canceled,
    /// The lease is lost: somebody else has the job, or it has ended.
    #[error("this worker no longer has the job")]
    LeaseLost,
    /// The hub did not answer for so long that it was given up.
    #[error("the hub did not answer for {} s: {cause}", .after.as_secs())]
    Away {
        /// For how long.
        after: Duration,
        /// What happened at the last try.
        cause: String,
    },
    /// The hub refused.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The item has more bytes than an item may have (16 KiB).
    #[error("item {index} has {bytes} bytes; an item may have 16384")]
    ItemTooLarge {
        /// Its index in the result page.
        index: u64,
        /// Its bytes as JSON.
        bytes: usize,
    },
    /// Something can't be written as JSON.
    #[error("it can't be written as JSON: {0}")]
    Json(#[source] serde_json::Error),
    /// The input is not what the handler expects.
    #[error("the input of the job is not as expected: {0}")]
    Input(#[source] serde_json::Error),
    /// The job has no file.
    #[error("the job has no file")]
    NoFile,
}

/// The hub understood the request and refused it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail} ({status}{}{code})", if code.is_empty() { "" } else { " " })]
pub struct Refused {
    /// The status of the answer.
    pub status: u16,
    /// The code of the problem (`protocol/README.md` §6), like `may-not-work`; empty where the answer had none.
    pub code: String,
    /// A sentence for people.
    pub detail: String,
}

/// The worker can't be built so: a sentence that says which setting is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BuildError(pub(crate) String);

/// How a handler ends without a result.
///
/// It does not implement [`std::error::Error`], and no error turns into it by itself but those of this crate and of reading
/// a file: its message is read by who watches the job, so that it has to be chosen.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum JobError {
    /// It stopped because the job was canceled.
    Canceled,
    /// It stopped because the job was canceled, and there is a result up to there.
    CanceledWith(Value),
    /// It failed.
    Failed(Failed),
}

/// Why a job failed, for who watches it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Failed {
    /// A word for programs, like `not-a-csv`.
    pub code: String,
    /// A sentence for people.
    pub message: String,
    /// Whether the same may succeed at another try; then the job is queued again while there are attempts.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub retryable: bool,
}

impl JobError {
    /// The job failed: a word for programs (64 bytes at most) and a sentence for people (1024 at most; the rest is cut).
    /// Without a word it is `failed`.
    pub fn failed(code: impl Into<String>, message: impl Into<String>) -> Self {
        let (mut code, message) = (cut(code.into(), MOST_CODE), cut(message.into(), MOST_MESSAGE));
        if code.is_empty() {
            code.push_str("failed");
        }
        JobError::Failed(Failed { code, message, retryable: false })
    }

    /// Another try may succeed: the job is queued again while there are attempts.
    #[must_use]
    pub fn retryable(mut self) -> Self {
        if let JobError::Failed(failed) = &mut self {
            failed.retryable = true;
        }
        self
    }

    /// It stopped because the job was canceled; `result` is what there is so far.
    pub fn canceled_with(result: impl Into<Value>) -> Self {
        JobError::CanceledWith(result.into())
    }
}

/// As much of the text as so many bytes hold.
pub(crate) fn cut(mut text: String, most: usize) -> String {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most));
    }
    text
}

impl From<Error> for JobError {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            // Of a lost lease nothing is told to the hub, whatever stands here.
            Error::Canceled | Error::LeaseLost => JobError::Canceled,
            Error::Away { .. } => JobError::failed("hub-away", message).retryable(),
            Error::Refused(refused) if refused.code.is_empty() => JobError::failed("refused", refused.detail),
            Error::Refused(refused) => JobError::failed(refused.code, refused.detail),
            Error::ItemTooLarge { .. } => JobError::failed("item-too-large", message),
            Error::Json(_) => JobError::failed("invalid-json", message),
            Error::Input(_) => JobError::failed("invalid-input", message),
            Error::NoFile => JobError::failed("no-file", message),
        }
    }
}

impl From<io::Error> for JobError {
    fn from(error: io::Error) -> Self {
        match error.downcast::<Error>() {
            Ok(error) => error.into(),
            Err(error) => JobError::failed("input-output", error.to_string()).retryable(),
        }
    }
}

/// So that a [`File`](crate::File) can be read as any other; the way back finds the same error.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        io::Error::other(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_as_long_as_may_be_and_ends_at_a_character() {
        let JobError::Failed(failed) = JobError::failed("c".repeat(100), "é".repeat(1000)) else { panic!() };
        assert_eq!((failed.code.len(), failed.message.len()), (64, 1024));
        let JobError::Failed(failed) = JobError::failed("code", format!("a{}", "é".repeat(1000))) else { panic!() };
        assert_eq!(failed.message.len(), 1023);
        let JobError::Failed(failed) = JobError::failed("", "") else { panic!() };
        assert_eq!(failed.code, "failed");
    }

    #[test]
    fn an_error_of_a_job_survives_being_an_error_of_reading() {
        assert_eq!(JobError::from(io::Error::from(Error::Canceled)), JobError::Canceled);
        let JobError::Failed(failed) = JobError::from(io::Error::from(io::ErrorKind::NotFound)) else { panic!() };
        assert!(failed.retryable && failed.code == "input-output");
    }

    #[test]
    fn a_refusal_is_a_sentence_with_its_status_and_code() {
        let mut refused = Refused { status: 403, code: "may-not-work".into(), detail: "it may not".into() };
        assert_eq!(refused.to_string(), "it may not (403 may-not-work)");
        refused.code.clear();
        assert_eq!(refused.to_string(), "it may not (403)");
    }
}
