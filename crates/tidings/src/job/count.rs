//! How many jobs there are.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

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

/// What was counted of jobs since the start.
#[derive(Debug, Default)]
pub struct JobCounters {
    /// Leases that ran out: their workers went away, or were silent for too long.
    pub leases_lost: AtomicU64,
    /// By state, as in [`JobState::ALL`].
    ended: [AtomicU64; JobState::ALL.len()],
}

impl JobCounters {
    pub(super) fn count_end(&self, state: JobState) {
        self.ended[state as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many jobs ended in each of the states that are an end.
    pub fn ended(&self) -> impl Iterator<Item = (JobState, u64)> {
        let count = |state: &JobState| (*state, self.ended[*state as usize].load(Ordering::Relaxed));
        JobState::ALL.iter().filter(|state| state.is_end()).map(count)
    }
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
