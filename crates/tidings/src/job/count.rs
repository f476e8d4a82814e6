//! How many jobs there are.

use std::sync::PoisonError;

use super::engine::Jobs;
use super::record::JobState;

/// The jobs that have not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenJobs {
    /// Those that wait for a worker.
    pub queued: u64,
    /// Those that a worker has.
    pub running: u64,
    /// Those of the running ones that somebody has canceled, and whose worker has not answered.
    pub canceling: u64,
}

impl Jobs {
    /// How many have not ended, by what they do.
    pub fn open_jobs(&self) -> OpenJobs {
        let mut count = OpenJobs::default();
        for active in self.open.read().unwrap_or_else(PoisonError::into_inner).values() {
            let shown = active.shown();
            match shown.job.state {
                JobState::Queued => count.queued += 1,
                JobState::Running => count.running += 1,
                // About to be taken out.
                _ => continue,
            }
            count.canceling += u64::from(shown.job.canceling.is_some());
        }
        count
    }
}
