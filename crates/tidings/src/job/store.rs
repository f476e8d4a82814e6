//! The seam to what keeps the jobs.

use std::sync::Weak;

use async_trait::async_trait;
use bytes::Bytes;

use super::progress::Progress;
use super::record::{Job, JobId, JobState};
use crate::clock::Timestamp;

/// Keeps jobs, the items of their results and their tokens. It knows no worker and no watcher.
///
/// What returns `Ok` is durable unless it says otherwise. One contract suite (`tidings-brokers`, `job_contract`) runs on every
/// implementation.
#[async_trait]
pub trait JobStore: Send + Sync {
    /// Keeps a new job. If there is one of this id already, that one is returned and nothing is changed.
    async fn create(&self, job: &Job) -> Result<Option<Job>, JobStoreError>;

    /// The job of this id, with the number of items that are really there: of one that ended those that were put before its end.
    async fn read(&self, id: &JobId) -> Result<Option<Job>, JobStoreError>;

    /// Puts `job` in the place of what is kept if that has the revision `from`; else nothing happens and it returns `false`.
    async fn replace(&self, job: &Job, from: u64) -> Result<bool, JobStoreError>;

    /// Takes note of how far jobs are. The state, the revision and all else stay. It may be lost in a crash: it is told again.
    async fn note_progress(&self, progress: Vec<(JobId, Progress)>) -> Result<(), JobStoreError>;

    /// Takes note that the log tells of the job up to this revision, and where its end stands in it.
    async fn note_announced(&self, id: &JobId, revision: u64, end: Option<String>) -> Result<(), JobStoreError>;

    /// The jobs that have not ended, and those of whose last change the log may not tell yet: oldest first, each with the number of
    /// items that are really there.
    async fn open_jobs(&self) -> Result<Vec<Job>, JobStoreError>;

    /// The jobs that fit, the newest first, without their inputs.
    async fn list(&self, query: &JobQuery) -> Result<Vec<Job>, JobStoreError>;

    /// Appends items, the first at index `from`, which is the number that is there. All or none.
    async fn append_items(&self, id: &JobId, from: u64, items: Vec<Bytes>) -> Result<(), JobStoreError>;

    /// Items of the result from an index on: at most `limit`, and about `max_bytes` of them, but one even if it is larger.
    async fn items(&self, id: &JobId, from: u64, limit: usize, max_bytes: usize) -> Result<Vec<Bytes>, JobStoreError>;

    /// Keeps a token of a job by its SHA-256.
    async fn put_token(&self, hash: [u8; 32], id: &JobId, expires: Timestamp) -> Result<(), JobStoreError>;

    /// Whose token this is, and until when.
    async fn token(&self, hash: [u8; 32]) -> Result<Option<(JobId, Timestamp)>, JobStoreError>;

    /// Jobs that ended before `time`, without their inputs, of which the log tells: at most `limit`, the oldest first.
    async fn ended_before(&self, time: Timestamp, limit: usize) -> Result<Vec<Job>, JobStoreError>;

    /// Forgets a job with its items and tokens.
    async fn remove(&self, id: &JobId) -> Result<(), JobStoreError>;

    /// Forgets this job that has ended: not another one that was made under its id since.
    async fn remove_ended(&self, job: &Job) -> Result<(), JobStoreError> {
        self.remove(&job.id).await
    }

    /// Whether other replicas change the jobs too. What follows is of use only then.
    fn is_shared(&self) -> bool {
        false
    }

    /// From now on tells `watcher` what becomes of jobs, whoever has changed them: of each job in the order of its changes, and the newest at
    /// least. What it does itself it may be told too. Called once.
    fn watch(&self, _watcher: Weak<dyn JobWatcher>) {}

    /// Whether it can't be reached at this moment, as far as is known.
    fn is_away(&self) -> bool {
        false
    }

    /// Returns when the watcher has been told of all changes and renewals that were stored when this was called.
    async fn heard_all(&self) -> Result<(), JobStoreError> {
        Ok(())
    }

    /// Has the other replicas be told that these workers live.
    async fn renew(&self, _renewals: Vec<Renewal>) -> Result<(), JobStoreError> {
        Ok(())
    }
}

/// Is told what becomes of the jobs of a store that several replicas share.
pub trait JobWatcher: Send + Sync {
    /// Takes a piece of news. Must return at once.
    fn heard(&self, news: JobNews);
}

/// What became of a job.
#[derive(Clone, Debug)]
pub enum JobNews {
    /// It was made or changed: this is its record. The number of its items may be an older one.
    Changed(Box<Job>),
    /// The log tells of it up to this revision.
    Announced {
        /// Which job.
        id: JobId,
        /// Up to which revision.
        revision: u64,
    },
    /// A replica took note of how far it is.
    Progress {
        /// Which job.
        id: JobId,
        /// How far.
        progress: Progress,
    },
    /// A replica has heard its worker.
    Renewed(Renewal),
    /// It was forgotten.
    Removed {
        /// Which job.
        id: JobId,
        /// Its namespace.
        namespace: Option<String>,
    },
}

/// A worker that lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// Its job.
    pub id: JobId,
    /// SHA-256 of its lease.
    pub lease: [u8; 32],
    /// Which replica has heard it: a number that it has given itself.
    pub replica: u64,
}

/// Which jobs are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobQuery {
    /// Only in this state.
    pub state: Option<JobState>,
    /// Only of this kind.
    pub kind: Option<String>,
    /// Only those made before this one, in the order of [`Job::created`] and then of the id.
    pub before: Option<(Timestamp, JobId)>,
    /// At most this many.
    pub limit: usize,
}

/// Why the store could not.
#[derive(Debug, thiserror::Error)]
#[error("the store of jobs is unavailable: {0}")]
pub struct JobStoreError(pub String);
