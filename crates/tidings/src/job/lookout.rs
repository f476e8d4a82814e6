//! What has to be seen to by itself: workers that went away, progress that is worth keeping, jobs that nobody asks for any more.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use super::active::Active;
use super::engine::Jobs;
use super::fault::JobFault;
use super::record::{Failure, Job, JobState};

/// How often it is looked after leases: well below the shortest.
const EVERY: Duration = Duration::from_millis(250);
/// How often the progress of a job is put in the store, in rounds of the above: what a crash may take from it. Each round sees to its share
/// of the jobs, so that thousands of them are no burst of work.
const NOTE_EVERY: u32 = 12;
/// How often old jobs are looked for.
const FORGET_EVERY: Duration = Duration::from_secs(60);
/// How many leases that ran out are ended at the same time: a store that shares its syncs does them in a few.
const ENDED_AT_ONCE: usize = 256;
/// How many are forgotten in one go.
const FORGOTTEN_AT_ONCE: usize = 100;

/// Sees to the jobs until they are no more.
pub(super) async fn look_out(jobs: Weak<Jobs>) {
    let mut rounds = tokio::time::interval(EVERY);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for round in 1u32.. {
        rounds.tick().await;
        let Some(jobs) = jobs.upgrade() else { return };
        if jobs.hub.is_draining() {
            jobs.wake_waiting();
        }
        jobs.watch_store();
        jobs.tell_for_others();
        jobs.end_leases().await;
        if let Err(fault) = jobs.note_progress(round % NOTE_EVERY).await {
            tracing::warn!(%fault, "the progress of jobs can't be kept");
        }
    }
}

/// Tells the other replicas which workers live, until the jobs are no more. It has a task of its own: while this replica waits to hear what
/// others say, they are told in time all the same.
pub(super) async fn tell_renewals(jobs: Weak<Jobs>) {
    let mut rounds = tokio::time::interval(EVERY);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        let Some(jobs) = jobs.upgrade() else { return };
        if let Err(fault) = jobs.tell_renewals().await {
            tracing::warn!(%fault, "other replicas can't be told which workers live");
        }
    }
}

/// Forgets old jobs, until there are no more jobs at all. It has a task of its own, as it may take its time.
pub(super) async fn clean_up(jobs: Weak<Jobs>) {
    let mut wait = FORGET_EVERY;
    loop {
        tokio::time::sleep(wait).await;
        let Some(jobs) = jobs.upgrade() else { return };
        wait = match jobs.forget_old().await {
            // There may be more than come in one go.
            Ok(FORGOTTEN_AT_ONCE) => EVERY,
            Ok(_) => FORGET_EVERY,
            Err(fault) => {
                tracing::warn!(%fault, "old jobs can't be removed");
                FORGET_EVERY
            }
        };
    }
}

impl Jobs {
    /// Takes jobs from the workers that were silent for too long.
    pub async fn end_leases(self: &Arc<Self>) {
        let now = self.hub.clock().ticks();
        let is_over = |active: &&Arc<Active>| active.shown().lease.is_some_and(|held| held.until <= now);
        let over: Vec<Arc<Active>> = {
            let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
            open.values().filter(is_over).cloned().collect()
        };
        if over.is_empty() || !self.may_end_leases().await {
            return;
        }
        for some in over.chunks(ENDED_AT_ONCE) {
            let end = |active: &Arc<Active>| tokio::spawn(self.clone().end_lease(active.clone()));
            let ending: Vec<_> = some.iter().map(end).collect();
            for ended in ending {
                if let Ok(Err(fault)) = ended.await
                    // Another replica was faster.
                    && !matches!(fault, JobFault::Overtaken)
                {
                    // It is found again in the next round.
                    tracing::error!(%fault, "a job can't be taken from a worker that is gone");
                }
            }
        }
    }

    /// Has everybody who waits for a job, or for something to become of one, look again: they see that the program stops.
    fn wake_waiting(&self) {
        self.queue.call_all();
        self.all_open().iter().for_each(|active| active.changed.notify_waiters());
    }

    pub(super) fn all_open(&self) -> Vec<Arc<Active>> {
        self.open.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    async fn end_lease(self: Arc<Self>, active: Arc<Active>) -> Result<(), JobFault> {
        let _turn = active.turn.lock().await;
        let now = self.hub.clock().ticks();
        let job: Arc<Job> = {
            let shown = active.shown();
            if shown.lease.is_none_or(|held| held.until > now) {
                return Ok(());
            }
            shown.job.clone()
        };
        tracing::info!(job = %job.id, kind = job.kind, attempt = job.attempt, "a worker was silent for too long");
        let from = job.revision;
        if job.canceling.is_some() {
            self.change(&active, from, |job| job.state = JobState::Canceled).await?;
        } else if job.attempt < job.attempts {
            self.requeue(&active, from, None, false).await?;
        } else {
            let message = format!("its worker went away, in attempt {} of {}", job.attempt, job.attempts);
            self.change(&active, from, |job| {
                job.state = JobState::Lost;
                job.error = Some(Failure { code: "worker-lost".into(), message, retryable: true });
            })
            .await?;
        }
        self.counters.leases_lost.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Puts the newest progress in the store.
    async fn note_progress(&self, share: u32) -> Result<(), JobFault> {
        let note = |active: &Arc<Active>| {
            let mut shown = active.shown();
            let is_new = !std::mem::replace(&mut shown.is_noted, true);
            is_new.then(|| (shown.job.id.clone(), shown.progress.clone()))
        };
        let mut open = self.all_open();
        // Which share a job is of need only stay the same: where it stands in memory does.
        open.retain(|active| (Arc::as_ptr(active) as usize / 64) % NOTE_EVERY as usize == share as usize);
        let (noted, progress): (Vec<_>, Vec<_>) =
            open.iter().filter_map(|active| Some((active, note(active)?))).unzip();
        if progress.is_empty() {
            return Ok(());
        }
        let kept = self.store.note_progress(progress).await;
        if kept.is_err() {
            noted.into_iter().for_each(|active| active.shown().is_noted = false);
        }
        Ok(kept?)
    }

    /// Forgets jobs that ended long ago; says which had a file.
    pub async fn forget_old(&self) -> Result<usize, JobFault> {
        let before = self.hub.clock().now().0.saturating_sub(self.settings.keep_for.as_millis() as u64);
        let old = self.store.ended_before(crate::Timestamp(before), FORGOTTEN_AT_ONCE).await?;
        let count = old.len();
        for job in old {
            self.store.remove_ended(&job).await?;
            self.hub.forget(&job.topic());
        }
        Ok(count)
    }
}
