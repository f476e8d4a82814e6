//! A job that has not ended.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::progress::Progress;
use super::record::{Job, JobState};

/// A job that has not ended, as the process holds it.
#[derive(Debug)]
pub(super) struct Active {
    /// Held by whoever changes the state, while it is stored and told.
    pub turn: tokio::sync::Mutex<()>,
    /// The state changed, or a progress was told.
    pub changed: Notify,
    shown: Mutex<Shown>,
}

/// What is known of it now.
#[derive(Debug)]
pub(super) struct Shown {
    /// As it is kept.
    pub job: Arc<Job>,
    /// Who works on it.
    pub lease: Option<Held>,
    /// The newest progress; the record has an older one.
    pub progress: Progress,
    /// Whether the store has it.
    pub is_noted: bool,
    /// Whether it waits to be told.
    pub is_due: bool,
    /// Whether it is being told at this moment.
    pub is_telling: bool,
    /// When a progress was last told, in ticks of the clock.
    pub told_at: Option<u64>,
    /// How many items there are.
    pub items: u64,
    /// How many of them the log tells, where they are told; not known until it is asked.
    pub items_told: Option<u64>,
}

/// A lease that counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub hash: [u8; 32],
    /// When it runs out, in ticks of the clock.
    pub until: u64,
}

impl Active {
    /// A job as it was made, or found. The lease of one that runs counts anew.
    pub(super) fn new(job: Job, now: u64) -> Arc<Self> {
        let running = job.lease.as_ref().filter(|_| job.state == JobState::Running);
        let lease = running.map(|lease| Held { hash: lease.hash, until: now + job.lease_ms });
        let (progress, items) = (job.progress.clone(), job.items);
        Arc::new(Active {
            turn: tokio::sync::Mutex::new(()),
            changed: Notify::new(),
            shown: Mutex::new(Shown {
                job: Arc::new(job),
                lease,
                progress,
                is_noted: true,
                is_due: false,
                is_telling: false,
                told_at: None,
                items,
                items_told: None,
            }),
        })
    }

    pub(super) fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The job as it is now: its newest progress and number of items with it.
    pub(super) fn job(&self) -> Job {
        let shown = self.shown();
        Job { progress: shown.progress.clone(), items: shown.items, ..(*shown.job).clone() }
    }

    /// A progress was told.
    pub(super) fn was_told(&self) {
        self.shown().is_telling = false;
        self.changed.notify_waiters();
    }

    /// Waits until no progress of it is on its way: what comes next comes after it.
    pub(super) async fn untold(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Before it is looked at: what changes from here on wakes.
            changed.as_mut().enable();
            if !self.shown().is_telling {
                return;
            }
            changed.await;
        }
    }
}

impl Shown {
    /// The lease, if this is it and it counts.
    pub(super) fn held_by(&self, hash: &[u8; 32], now: u64) -> Option<&Held> {
        self.lease.as_ref().filter(|held| held.hash == *hash && held.until > now)
    }
}
