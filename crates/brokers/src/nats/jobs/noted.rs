//! How far a job is, if that is newer than its record. It stands beside that, and may be noted by a replica that has not heard of a change.

use serde::{Deserialize, Serialize};
use tidings::Timestamp;
use tidings::job::{Job, Progress};

/// One try of a worker at a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Attempt {
    /// When the job was made: its id may have been that of another.
    created: Timestamp,
    number: u32,
    /// When it began: one that was given back has its number again.
    started: Option<Timestamp>,
}

impl Attempt {
    pub fn of(job: &Job) -> Self {
        Attempt { created: job.created, number: job.attempt, started: job.started }
    }
}

/// What is noted.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Noted {
    /// Which attempt it is of. Not known of what was noted before this was.
    attempt: Option<Attempt>,
    pub progress: Progress,
}

impl Noted {
    pub fn new(attempt: Attempt, progress: Progress) -> Self {
        Noted { attempt: Some(attempt), progress }
    }

    pub fn read(payload: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(payload)
            .or_else(|_| Ok(Noted { attempt: None, progress: serde_json::from_slice(payload)? }))
    }

    /// Whether it may be of this attempt.
    pub fn is_of(&self, attempt: Attempt) -> bool {
        self.attempt.is_none_or(|noted| noted == attempt)
    }
}
