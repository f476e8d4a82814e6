//! What can't be done with a job, and why.

use std::time::Duration;

use super::record::JobState;
use super::store::JobStoreError;

/// Why something can't be done with a job.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JobFault {
    /// There is none of this id, or no more.
    #[error("there is no such job")]
    NoSuchJob,
    /// Something of a request is wrong.
    #[error("{detail}")]
    Invalid {
        /// Which member.
        field: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// Something of a request is too large.
    #[error("{field} has {bytes} bytes, and {most} are the most")]
    TooLarge {
        /// Which member.
        field: &'static str,
        /// How large it is.
        bytes: usize,
        /// How large it may be.
        most: usize,
    },
    /// Another request has made a job of this id.
    #[error("there is another job of this id, made by another request")]
    IdTaken,
    /// There are as many jobs as there may be.
    #[error("{0} jobs wait or run already: come back when some of them have ended")]
    TooMany(usize),
    /// The jobs that have not ended take as much as they may.
    #[error(
        "the {0} of jobs that wait or run take all the room there is for them: come back when some of them have ended"
    )]
    NoRoom(&'static str),
    /// The lease ran out, its job ended, or another worker has it.
    #[error("this lease does not count any more: stop working on the job")]
    LeaseLost,
    /// It ended otherwise.
    #[error("the job has ended already: it is {}", .0.name())]
    AlreadyEnded(JobState),
    /// Its worker answers a cancel that nobody asked for.
    #[error("nobody has canceled the job")]
    NotCanceling,
    /// Less is done than before.
    #[error("{done} is less than the {before} that were done before")]
    ProgressBackwards {
        /// What is said to be done.
        done: u64,
        /// What was.
        before: u64,
    },
    /// More is done than there is.
    #[error("{done} of {total} can't be done")]
    InvalidProgress {
        /// What is said to be done.
        done: u64,
        /// How much there is.
        total: u64,
    },
    /// There would be a hole between the items.
    #[error("there are {count} items, so the next has index {count}")]
    ItemsGap {
        /// How many there are.
        count: u64,
    },
    /// There are as many items as there may be.
    #[error("a job has at most {0} items")]
    TooManyItems(u64),
    /// Another replica has changed it meanwhile, and again whenever it was tried anew.
    #[error("the job was changed meanwhile")]
    Overtaken,
    /// It can't be done at the moment.
    #[error("{0}")]
    Unavailable(String),
}

impl JobFault {
    /// After how long to try again what can't be done at the moment.
    pub const RETRY_AFTER: Duration = Duration::from_secs(2);
}

impl From<JobStoreError> for JobFault {
    fn from(error: JobStoreError) -> Self {
        JobFault::Unavailable(error.to_string())
    }
}
