//! Up to where the log tells of a job. It stands beside the record, so that to note it never gets in the way of a change.

use serde::{Deserialize, Serialize};
use tidings::Timestamp;
use tidings::job::{Job, JobId, JobStoreError};

use super::Shared;
use super::index;
use super::key::{self, Part};

/// How often it is tried while others note it too.
const TRIES: usize = 10;

/// What is noted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Told {
    /// When the job was made: its id may have been that of another.
    pub created: Timestamp,
    pub revision: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
}

impl Told {
    /// The job with what is noted of it.
    pub fn put_into(self, job: &mut Job) {
        if self.created == job.created && self.revision >= job.announced {
            job.announced = self.revision;
            job.end = self.end.or(job.end.take());
        }
    }
}

impl Shared {
    /// Takes note that the log tells of the job up to this revision. It never takes that back.
    pub(super) async fn note_told(&self, id: &JobId, revision: u64, end: Option<String>) -> Result<(), JobStoreError> {
        let Some(created) = self.created(id).await? else { return Ok(()) };
        let key = key::part(id, Part::Announced);
        // As a rule nobody else does it, and what this replica knows is the newest.
        let mut last = self.index().get(id).and_then(|known| known.told.clone()).map_or(0, |told| told.sequence);
        let mut before: Option<Told> = None;
        let is_known = self.index().announced(id, created) >= revision;
        for attempt in 0..TRIES {
            if attempt > 0 || is_known {
                let found = self.stream.last(&key).await?;
                last = found.as_ref().map_or(0, |message| message.sequence);
                before = found.and_then(|message| serde_json::from_slice(&message.payload).ok());
                before = before.filter(|before: &Told| before.created == created);
            }
            if before.as_ref().is_some_and(|before| {
                before.revision > revision || (before.revision == revision && (end.is_none() || end == before.end))
            }) {
                return Ok(());
            }
            let end = end.clone().or_else(|| before.as_ref()?.end.clone());
            let told = Told { created, revision, end };
            let value = serde_json::to_vec(&told).map_err(|error| JobStoreError(error.to_string()))?;
            if let Some(sequence) = self.stream.put(&key, value.into(), Some(last)).await? {
                self.index().take_told(id, index::Told { sequence, revision });
                return Ok(());
            }
        }
        Err(JobStoreError(format!("others note again and again how far the log tells of job {id}")))
    }
}
