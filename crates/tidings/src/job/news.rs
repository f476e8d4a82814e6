//! What a replica hears of jobs that others change.

use std::sync::{Arc, PoisonError};

use super::active::Active;
use super::engine::{Jobs, is_same_change};
use super::fault::JobFault;
use super::progress::Progress;
use super::record::{Job, JobId, JobState};
use super::store::{JobNews, JobWatcher, Renewal};

impl JobWatcher for Jobs {
    fn heard(&self, news: JobNews) {
        match news {
            JobNews::Changed(job) => self.hear_change(*job),
            JobNews::Announced { id, revision } => self.hear_announced(&id, revision),
            JobNews::Progress { id, progress } => self.hear_progress(&id, progress),
            JobNews::Renewed(renewal) => self.hear_renewal(&renewal),
            JobNews::Removed { id, namespace } => {
                let topic = match namespace {
                    Some(namespace) => format!("{namespace}/job/{id}"),
                    None => format!("job/{id}"),
                };
                self.hub.forget(&topic);
                // Its end was not heard, and will not be.
                if let Some(active) = self.active(&id) {
                    self.vanish(&active);
                }
            }
        }
    }
}

impl Jobs {
    fn hear_change(&self, job: Job) {
        let known = self.active(&job.id).or_else(|| self.untold_one(&job.id));
        if let Some(active) = known {
            return self.take_news(&active, job);
        }
        let is_untold = job.announced < job.revision;
        if job.state.is_end() && !is_untold {
            if let Some(replica) = &self.replica {
                replica.has_gone(job.id);
            }
            return;
        }
        self.welcome(&self.taken(job));
    }

    /// A job that was not known here stands where it belongs; says which one stands there already.
    pub(super) fn welcome(&self, active: &Arc<Active>) -> Option<Arc<Active>> {
        active.shown().may_be_told = true;
        if !active.shown().job.state.is_end()
            && let Some(other) = self.enter(active)
        {
            return Some(other);
        }
        self.stand(active);
        None
    }

    /// A job that stands here is gone from the store: it ended and was removed, and nothing was heard of that. Says so.
    pub(super) fn vanish(&self, active: &Arc<Active>) -> JobFault {
        let id = active.shown().job.id.clone();
        // Whoever still speaks of it looks it up.
        active.shown().lease = None;
        self.leave(active);
        if let Some(replica) = &self.replica {
            let mut untold = replica.untold();
            if untold.get(&id).is_some_and(|(known, _)| Arc::ptr_eq(known, active)) {
                untold.remove(&id);
            }
        }
        active.changed.notify_waiters();
        JobFault::NoSuchJob
    }

    /// Takes a record of a job that stands here, if it is newer than what is known.
    pub(super) fn take_news(&self, active: &Arc<Active>, job: Job) {
        let created = active.shown().job.created;
        if created != job.created {
            // An id may be that of an older job, which was removed. That one is kept for long, so the clocks of replicas agree on which is.
            if created < job.created {
                self.vanish(active);
                self.hear_change(job);
            }
            return;
        }
        let now = self.hub.clock().ticks();
        {
            let mut shown = active.shown();
            let is_own = shown.pending.as_ref().is_some_and(|pending| is_same_change(&job, pending));
            if is_own || job.revision < shown.job.revision {
                return;
            }
            if job.revision == shown.job.revision {
                if job.announced <= shown.job.announced {
                    return;
                }
                shown.job = Arc::new(Job { announced: job.announced, ..(*shown.job).clone() });
            } else {
                let (before, progress, items) = (shown.job.clone(), shown.progress.clone(), shown.items);
                let is_undone = job.state == JobState::Queued && job.attempt < before.attempt;
                // One that was given back and begun again has the same attempt, and another worker.
                let attempt = |job: &Job| (job.attempt, job.state, job.lease.as_ref().map(|lease| lease.hash));
                let goes_on = attempt(&before) == attempt(&job);
                // That the log tells of it may have been heard before the record that was read then.
                let announced = job.announced.max(before.announced.min(job.revision));
                let job = Job { announced, ..job };
                shown.take(Arc::new(job), now, self.settings.cancel_grace, false);
                shown.items = shown.items.max(items);
                (shown.may_be_told, shown.told_where) = (true, None);
                // One that is given back has its place again.
                shown.comes_last = !is_undone;
                // Its worker may have said more here than whoever has changed it knew.
                if goes_on && progress.done >= shown.progress.done {
                    shown.progress = progress;
                }
            }
        }
        self.stand(active);
    }

    /// Has a job stand where it belongs, as what is known of it has changed.
    pub(super) fn stand(&self, active: &Arc<Active>) {
        // Of two who do it at the same time the second one sees the newest.
        let _standing = active.standing.lock().unwrap_or_else(PoisonError::into_inner);
        let (id, state, is_told, comes_last) = {
            let mut shown = active.shown();
            let (state, is_told) = (shown.job.state, shown.is_told());
            let comes_last = shown.comes_last || shown.place.is_none();
            shown.comes_last &= state != JobState::Queued || !is_told;
            (shown.job.id.clone(), state, is_told, comes_last)
        };
        if let Some(replica) = &self.replica {
            let now = self.hub.clock().ticks();
            match is_told {
                true => drop(replica.untold().remove(&id)),
                false => drop(replica.untold().entry(id).or_insert_with(|| (active.clone(), now))),
            }
        }
        match state {
            // What the log does not tell yet is not gone on from.
            JobState::Queued if !is_told => {}
            JobState::Queued if comes_last => self.queue.push(active.clone()),
            JobState::Queued => self.queue.push_back(active.clone()),
            JobState::Running => self.queue.remove(active),
            _ => self.leave(active),
        }
        active.changed.notify_waiters();
    }

    fn untold_one(&self, id: &JobId) -> Option<Arc<Active>> {
        self.replica.as_ref()?.untold().get(id).map(|(active, _)| active.clone())
    }

    fn hear_announced(&self, id: &JobId, revision: u64) {
        let Some(active) = self.active(id).or_else(|| self.untold_one(id)) else { return };
        {
            let mut shown = active.shown();
            if revision <= shown.job.announced && shown.told_where.is_none() {
                return;
            }
            if revision > shown.job.announced {
                shown.job = Arc::new(Job { announced: revision, ..(*shown.job).clone() });
            }
            if revision >= shown.job.revision {
                shown.told_where = None;
            }
        }
        // What waits stands in line already where this replica has told of it.
        self.stand(&active);
        self.catch_up_progress(&active);
    }

    fn hear_progress(&self, id: &JobId, progress: Progress) {
        let Some(active) = self.active(id) else { return };
        let mut shown = active.shown();
        if shown.lease.is_some_and(|held| !held.is_own) {
            shown.progress = progress;
        }
    }

    fn hear_renewal(&self, renewal: &Renewal) {
        if self.replica.as_ref().is_some_and(|replica| replica.number == renewal.replica) {
            return;
        }
        if let Some(active) = self.active(&renewal.id) {
            active.shown().renewed_elsewhere(&renewal.lease, self.hub.clock().ticks());
        }
    }
}
