//! A job that has not ended.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::fault::JobFault;
use super::progress::{Beat, Progress};
use super::record::{Job, JobState};
use crate::cursor::Offset;

/// A job that has not ended, as the process holds it.
#[derive(Debug)]
pub(super) struct Active {
    /// Held by whoever changes the state, while it is stored and told.
    pub turn: tokio::sync::Mutex<()>,
    /// The state changed, or a progress was told.
    pub changed: Notify,
    /// Held by whoever has it stand where it belongs.
    pub standing: Mutex<()>,
    shown: Mutex<Shown>,
}

/// What is known of it now.
#[derive(Debug)]
pub(super) struct Shown {
    /// As it is kept.
    pub job: Arc<Job>,
    /// Who works on it.
    pub lease: Option<Held>,
    /// When a canceled one ends whatever its worker does, in ticks of the clock.
    pub cancel_by: Option<u64>,
    /// Its place among those that wait, the last that it had.
    pub place: Option<i64>,
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
    /// How many there were when this replica last put some, and when that was, in ticks of the clock.
    pub items_put: Option<(u64, u64)>,
    /// Whether the store may have more than is known here: it failed, and may have done what it was asked to all the same.
    pub is_unsure: bool,
    /// Whether the log may tell of the newest state already, though it is not known to.
    pub may_be_told: bool,
    /// When this replica had the newest state stored, in ticks of the clock, if it was that: others tell of it when too much time has passed.
    pub stored_at: Option<u64>,
    /// Where the log tells of the newest state, until the store has taken note of that.
    pub told_where: Option<Offset>,
    /// Whether somebody is at it to tell of it again.
    pub is_told_again: bool,
    /// Whether a progress waits until the state is told that came before it.
    pub is_held_back: bool,
    /// Whether it comes last when it waits again, and has not its old place.
    pub comes_last: bool,
    /// The change that is being stored: news of it are no news.
    pub pending: Option<Job>,
}

/// A lease that counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub hash: [u8; 32],
    /// When it runs out, in ticks of the clock.
    pub until: u64,
    /// Whether this replica has heard its worker last, as far as it knows.
    pub is_own: bool,
    /// Whether this replica has heard its worker since it told the others.
    pub is_untold: bool,
    /// When the others were last told of it by this replica, in ticks of the clock.
    pub told_at: u64,
}

/// How much longer than its lease a worker may be silent that another replica has heard last, in ms: that one may have heard it later than
/// it told, and is the first to take its job.
pub(super) fn slack(lease_ms: u64) -> u64 {
    renewal_every(lease_ms) + 1_000
}

/// How often the other replicas are told that a worker lives, in ms.
pub(super) fn renewal_every(lease_ms: u64) -> u64 {
    lease_ms / 3
}

impl Active {
    /// A job as it was made, or found. The lease of one that runs counts anew, and if it was canceled, its worker has `grace`
    /// anew.
    /// `is_own`: no other replica hears its worker.
    pub(super) fn new(job: Job, now: u64, grace: Duration, is_own: bool) -> Arc<Self> {
        let mut shown = Shown {
            job: Arc::new(job),
            lease: None,
            cancel_by: None,
            place: None,
            progress: Progress::default(),
            is_noted: true,
            is_due: false,
            is_telling: false,
            told_at: None,
            items: 0,
            items_told: None,
            items_put: None,
            is_unsure: false,
            may_be_told: false,
            stored_at: None,
            told_where: None,
            is_told_again: false,
            is_held_back: false,
            comes_last: false,
            pending: None,
        };
        shown.take(shown.job.clone(), now, grace, is_own);
        let turn = tokio::sync::Mutex::new(());
        Arc::new(Active { turn, changed: Notify::new(), standing: Mutex::default(), shown: Mutex::new(shown) })
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
    /// Takes the job as the store has it. A lease that was not known counts anew; `is_own`: no other replica hears its worker.
    pub(super) fn take(&mut self, job: Arc<Job>, now: u64, grace: Duration, is_own: bool) {
        self.is_noted = true;
        self.progress = job.progress.clone();
        self.items = job.items;
        self.is_unsure = false;
        self.now_is(job, now, grace, is_own);
    }

    /// The job is this now: its lease is the one that was known, or counts from now on.
    pub(super) fn now_is(&mut self, job: Arc<Job>, now: u64, grace: Duration, is_own: bool) {
        self.cancel_by = job.canceling.map(|_| self.cancel_by.unwrap_or(now + grace.as_millis() as u64));
        let running = job.lease.as_ref().filter(|_| job.state == JobState::Running);
        let latest = self.cancel_by.unwrap_or(u64::MAX);
        self.lease = running.map(|lease| {
            let known = self.lease.filter(|held| held.hash == lease.hash);
            let until = now + job.lease_ms + if is_own { 0 } else { slack(job.lease_ms) };
            let held = known.unwrap_or(Held { hash: lease.hash, until, is_own, is_untold: false, told_at: now });
            Held { until: held.until.min(latest), ..held }
        });
        self.job = job;
    }

    /// The worker that has this lease lives, if the lease counts: then it counts anew. One that was canceled has only so long to
    /// answer, whatever else it says. `is_confirmed`: the store says that it counts, however long this replica has not heard of it.
    pub(super) fn renew(&mut self, hash: &[u8; 32], now: u64, is_confirmed: bool) -> Result<Beat, JobFault> {
        let latest = self.cancel_by.unwrap_or(u64::MAX);
        let counts = |held: &&mut Held| held.hash == *hash && latest > now && (held.until > now || is_confirmed);
        let held = self.lease.as_mut().filter(counts).ok_or(JobFault::LeaseLost)?;
        held.until = (now + self.job.lease_ms).min(latest);
        (held.is_own, held.is_untold) = (true, true);
        let lease = Duration::from_millis(held.until.saturating_sub(now));
        Ok(Beat { cancel: self.job.canceling.is_some(), lease })
    }

    /// Another replica has heard the worker that has this lease.
    pub(super) fn renewed_elsewhere(&mut self, hash: &[u8; 32], now: u64) {
        let latest = self.cancel_by.unwrap_or(u64::MAX);
        if let Some(held) = self.lease.as_mut().filter(|held| held.hash == *hash) {
            held.is_own = false;
            held.until = (now + self.job.lease_ms + slack(self.job.lease_ms)).min(latest);
        }
    }

    /// No worker could be heard for a while: its lease, and its time to answer a cancel, count anew.
    pub(super) fn begin_anew(&mut self, now: u64, grace: Duration) {
        self.cancel_by = self.cancel_by.map(|_| now + grace.as_millis() as u64);
        let latest = self.cancel_by.unwrap_or(u64::MAX);
        if let Some(held) = self.lease.as_mut() {
            held.until = (now + self.job.lease_ms + slack(self.job.lease_ms)).min(latest);
        }
    }

    /// Whether the other replicas are to be told that its worker lives; they are taken to be told then.
    pub(super) fn is_renewal_due(&mut self, now: u64) -> Option<[u8; 32]> {
        let every = renewal_every(self.job.lease_ms);
        let is_due = |held: &&mut Held| held.is_untold && now >= held.told_at + every;
        let held = self.lease.as_mut().filter(is_due)?;
        (held.is_untold, held.told_at) = (false, now);
        Some(held.hash)
    }

    /// Whether the log tells of the newest state, and the store knows where.
    pub(super) fn is_told(&self) -> bool {
        self.job.announced >= self.job.revision && self.told_where.is_none()
    }
}
