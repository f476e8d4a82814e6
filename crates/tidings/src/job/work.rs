//! What workers do with jobs, and what others ask of workers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use super::active::Active;
use super::engine::Jobs;
use super::fault::JobFault;
use super::progress::{Beat, Progress, ProgressUpdate};
use super::record::{Failure, Job, JobId, JobState, Lease};
use super::secret;
use crate::event::NewEvent;

/// The most events of items that are appended in one go.
const ITEMS_TOLD_AT_ONCE: usize = 500;

/// A job that a worker has now.
pub struct Claimed {
    /// What it is.
    pub job: Arc<Job>,
    /// What the worker shows from now on.
    pub lease: String,
    /// How long it counts.
    pub lease_for: Duration,
}

impl std::fmt::Debug for Claimed {
    /// Without the lease.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claimed").field("job", &self.job.id).finish_non_exhaustive()
    }
}

/// What came of the work.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It is done.
    Completed(Option<Box<RawValue>>),
    /// It can't be done, or not this time.
    Failed(Failure),
    /// It was canceled, and its worker has stopped.
    Canceled(Option<Box<RawValue>>),
    /// The worker gives it back undone.
    Released,
}

impl Jobs {
    /// The next job of one of these kinds, waiting for one up to `wait`.
    pub async fn claim(
        self: &Arc<Self>,
        namespace: Option<&str>,
        kinds: &[String],
        worker: &str,
        lease: Option<Duration>,
        wait: Duration,
    ) -> Result<Option<Claimed>, JobFault> {
        let worker: String = worker.chars().filter(|c| !c.is_control()).take(100).collect();
        let lease = lease.map(|lease| lease.clamp(Duration::from_secs(1), self.settings.longest_lease));
        let deadline = tokio::time::Instant::now() + wait.min(self.settings.longest_wait);
        loop {
            // Before the queue is looked at: what comes from here on wakes.
            let claimer = self.queue.stand_in_line(namespace, kinds);
            while let Some(active) = self.queue.pop(namespace, kinds) {
                if let Some(claimed) = self.hand_out(active, worker.clone(), lease).await? {
                    return Ok(Some(claimed));
                }
            }
            if self.hub.is_draining() || tokio::time::timeout_at(deadline, claimer.called()).await.is_err() {
                return Ok(None);
            }
        }
    }

    /// Begins a job for a worker. If that goes away meanwhile, the job is given back.
    async fn hand_out(
        self: &Arc<Self>,
        active: Arc<Active>,
        worker: String,
        lease: Option<Duration>,
    ) -> Result<Option<Claimed>, JobFault> {
        let jobs = self.clone();
        let (hand, handed) = oneshot::channel();
        tokio::spawn(async move {
            let begun = jobs.clone().begin(active, worker, lease).await;
            if let Err(Ok(Some(Claimed { job, lease, .. }))) = hand.send(begun)
                && let Err(fault) = jobs.finish(&job.id, &lease, Outcome::Released).await
            {
                tracing::warn!(job = %job.id, %fault, "a job that nobody took waits until its lease runs out");
            }
        });
        handed.await.unwrap_or_else(|_| Err(JobFault::Unavailable("the job could not be begun".into())))
    }

    async fn begin(
        self: Arc<Self>,
        active: Arc<Active>,
        worker: String,
        lease: Option<Duration>,
    ) -> Result<Option<Claimed>, JobFault> {
        let _turn = active.turn.lock().await;
        let begun = self.try_begin(&active, worker, lease).await;
        match begun {
            // Another replica was faster: the next one.
            Err(JobFault::Overtaken) => Ok(None),
            // It ended and was removed, and this replica has heard of neither.
            Err(JobFault::NoSuchJob) => Ok(None),
            begun => {
                if begun.is_err() && active.shown().job.state == JobState::Queued {
                    self.queue.push_back(active.clone());
                }
                begun
            }
        }
    }

    async fn try_begin(
        self: &Arc<Self>,
        active: &Arc<Active>,
        worker: String,
        lease: Option<Duration>,
    ) -> Result<Option<Claimed>, JobFault> {
        let from = {
            let shown = active.shown();
            if shown.job.state != JobState::Queued {
                // It was canceled while it waited.
                return Ok(None);
            }
            shown.job.revision
        };
        let (secret, hash) = secret::new(secret::LEASE_PREFIX)?;
        let now = self.hub.clock().now();
        let begun = self.change(active, from, |job| {
            job.state = JobState::Running;
            job.attempt += 1;
            job.started = Some(now);
            job.error = None;
            job.progress = Progress::default();
            job.lease = Some(Lease { hash, worker });
            if let Some(lease) = lease {
                job.lease_ms = lease.as_millis() as u64;
            }
        });
        let job = begun.await?;
        Ok(Some(Claimed { lease_for: job.lease_for(), job, lease: secret }))
    }

    /// The job that a lease is for, if it counts: then it counts anew.
    async fn hold(&self, id: &JobId, lease: &str) -> Result<(Arc<Active>, Beat), JobFault> {
        self.check_store()?;
        let hash = secret::hash(lease);
        if let Some(active) = self.active(id)
            && let Ok(beat) = active.shown().renew(&hash, self.hub.clock().ticks(), false)
        {
            return Ok((active.clone(), beat));
        }
        self.confirm(id, &hash).await
    }

    async fn renew(&self, active: &Active, hash: &[u8; 32]) -> Result<Beat, JobFault> {
        self.check_store()?;
        let id = {
            let mut shown = active.shown();
            match shown.renew(hash, self.hub.clock().ticks(), false) {
                Ok(beat) => return Ok(beat),
                Err(_) => shown.job.id.clone(),
            }
        };
        Ok(self.confirm(&id, hash).await?.1)
    }

    /// An error if this is not the lease of the job, or does not count. If it does, it counts anew.
    pub async fn check_lease(&self, id: &JobId, lease: &str) -> Result<(), JobFault> {
        self.hold(id, lease).await.map(drop)
    }

    /// A worker lives. With `wait` it is answered when the job is canceled or the lease is lost, or after that time; the lease counts
    /// meanwhile.
    pub async fn heartbeat(&self, id: &JobId, lease: &str, wait: Duration) -> Result<Beat, JobFault> {
        let hash = secret::hash(lease);
        let (active, first) = self.hold(id, lease).await?;
        let deadline = tokio::time::Instant::now() + wait.min(self.settings.longest_wait);
        let renew_every = first.lease / 3;
        loop {
            let changed = active.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let beat = self.renew(&active, &hash).await?;
            let now = tokio::time::Instant::now();
            if beat.cancel || now >= deadline || self.hub.is_draining() {
                return Ok(beat);
            }
            let _ = tokio::time::timeout_at(deadline.min(now + renew_every), changed).await;
        }
    }

    /// A worker says how far it is. Cheap: watchers are told the newest, now and then.
    pub async fn progress(&self, id: &JobId, lease: &str, update: ProgressUpdate) -> Result<Beat, JobFault> {
        self.check_store()?;
        let hash = secret::hash(lease);
        if let Some(active) = self.active(id) {
            match self.take_progress(&active, &hash, &update) {
                // What is known here may be a moment old.
                Some(Err(JobFault::ProgressBackwards { .. })) if self.replica.is_some() => {}
                Some(taken) => return taken,
                None => {}
            }
        }
        let (active, _) = self.confirm(id, &hash).await?;
        self.take_progress(&active, &hash, &update).unwrap_or(Err(JobFault::LeaseLost))
    }

    /// `None` if the lease does not count, as far as is known here.
    fn take_progress(
        &self,
        active: &Arc<Active>,
        hash: &[u8; 32],
        update: &ProgressUpdate,
    ) -> Option<Result<Beat, JobFault>> {
        if active.shown().lease.is_some_and(|held| !held.is_own) {
            self.learn_progress(active);
        }
        let beat;
        {
            // In one go: what a worker says whose lease is lost does not become the next one's progress.
            let mut shown = active.shown();
            beat = shown.renew(hash, self.hub.clock().ticks(), false).ok()?;
            match shown.progress.updated(update.clone(), self.settings.item_bytes) {
                Ok(progress) => shown.progress = progress,
                Err(fault) => return Some(Err(fault)),
            }
            shown.is_noted = false;
        }
        self.tell_soon(active);
        Some(Ok(beat))
    }

    /// Appends items of the result, the first at index `from`; those that are there already are passed over. With `tell` each is
    /// an event.
    pub async fn append_items(
        self: &Arc<Self>,
        id: &JobId,
        lease: &str,
        from: u64,
        items: Vec<Bytes>,
        tell: bool,
    ) -> Result<(u64, Beat), JobFault> {
        let (active, _) = self.hold(id, lease).await?;
        if let Some(item) = items.iter().find(|item| item.len() > self.settings.item_bytes) {
            return Err(JobFault::TooLarge { field: "item", bytes: item.len(), most: self.settings.item_bytes });
        }
        let hash = secret::hash(lease);
        self.insist(|| {
            let (jobs, active, items) = (self.clone(), active.clone(), items.clone());
            async move {
                let appended = tokio::spawn(async move { jobs.append(active, hash, from, items, tell).await }).await;
                appended.unwrap_or_else(|_| Err(JobFault::Unavailable("the items could not be kept".into())))
            }
        })
        .await
    }

    async fn append(
        self: Arc<Self>,
        active: Arc<Active>,
        hash: [u8; 32],
        from: u64,
        mut items: Vec<Bytes>,
        tell: bool,
    ) -> Result<(u64, Beat), JobFault> {
        let _turn = active.turn.lock().await;
        let beat = self.renew(&active, &hash).await?;
        self.settle(&active).await?;
        self.look_at_items(&active, &hash).await?;
        let (job, count) = {
            let shown = active.shown();
            (shown.job.clone(), shown.items)
        };
        if from > count {
            return Err(JobFault::ItemsGap { count });
        }
        let known = usize::try_from(count - from).unwrap_or(usize::MAX).min(items.len());
        items.drain(..known);
        if items.is_empty() {
            return Ok((count, beat));
        }
        let after = count + items.len() as u64;
        if after > self.settings.items {
            return Err(JobFault::TooManyItems(self.settings.items));
        }
        // Told before they are kept: should the program end between the two, the worker sends them again, and the log knows which of
        // them it tells already.
        if tell {
            let known = active.shown().items_told;
            let told = match known {
                Some(told) => told,
                None => self.items_told(&job).await?,
            };
            let event = |(index, item): (u64, &Bytes)| self.item_event(&job, index, item);
            let untold = (count..).zip(&items).filter(|(index, _)| *index >= told);
            let events: Vec<NewEvent> = untold.map(event).collect();
            for some in events.chunks(ITEMS_TOLD_AT_ONCE) {
                active.shown().items_told = None;
                let told = self.hub.append(some.to_vec()).await;
                told.map_err(|error| JobFault::Unavailable(error.to_string()))?;
            }
            active.shown().items_told = Some(after.max(told));
        }
        if let Err(error) = self.store.append_items(&job.id, count, items).await {
            // They may be there all the same.
            active.shown().is_unsure = true;
            self.settle(&active).await?;
            if active.shown().items < after {
                return Err(error.into());
            }
        }
        {
            let mut shown = active.shown();
            (shown.items, shown.items_put) = (after, Some((after, self.hub.clock().ticks())));
        }
        // What was put while another replica ended the job, or its lease, is no part of the result.
        self.look_at_items(&active, &hash).await?;
        Ok((after, beat))
    }

    fn item_event(&self, job: &Job, index: u64, item: &Bytes) -> NewEvent {
        let mut data = format!("{{\"id\":\"{}\",\"index\":{index},\"item\":", job.id).into_bytes();
        data.extend_from_slice(item);
        data.push(b'}');
        let dedup = self.dedup(job, Some(index));
        NewEvent { key: None, dedup, ..self.event(job, super::ITEM_EVENT, data.into()) }
    }

    /// A worker is done with a job, in one way or another. The same again is the same.
    pub async fn finish(self: &Arc<Self>, id: &JobId, lease: &str, outcome: Outcome) -> Result<Job, JobFault> {
        self.check_outcome(&outcome)?;
        self.insist(|| self.try_finish(id, lease, outcome.clone())).await
    }

    async fn try_finish(self: &Arc<Self>, id: &JobId, lease: &str, outcome: Outcome) -> Result<Job, JobFault> {
        let active = match self.hold(id, lease).await {
            Ok((active, _)) => active,
            Err(JobFault::LeaseLost) => return self.finished_before(id, secret::hash(lease), &outcome).await,
            Err(fault) => return Err(fault),
        };
        let (jobs, hash) = (self.clone(), secret::hash(lease));
        let finished = tokio::spawn(async move { jobs.end(active, hash, outcome).await }).await;
        finished.unwrap_or_else(|_| Err(JobFault::Unavailable("the end could not be kept".into())))
    }

    fn check_outcome(&self, outcome: &Outcome) -> Result<(), JobFault> {
        let too_large = |field, bytes, most| Err(JobFault::TooLarge { field, bytes, most });
        match outcome {
            Outcome::Completed(Some(result)) | Outcome::Canceled(Some(result))
                if result.get().len() > self.settings.result_bytes =>
            {
                too_large("result", result.get().len(), self.settings.result_bytes)
            }
            Outcome::Failed(failure) if failure.code.is_empty() => {
                Err(JobFault::Invalid { field: "error.code", detail: "a failure has a code, like `not-found`".into() })
            }
            Outcome::Failed(failure) if failure.code.len() > 100 => too_large("error.code", failure.code.len(), 100),
            Outcome::Failed(failure) if failure.message.len() > 2_000 => {
                too_large("error.message", failure.message.len(), 2_000)
            }
            _ => Ok(()),
        }
    }

    /// A worker says again what it has said: its answer was lost, or its lease.
    async fn finished_before(&self, id: &JobId, hash: [u8; 32], outcome: &Outcome) -> Result<Job, JobFault> {
        let job = match self.replica {
            Some(_) => self.store.read(id).await?,
            None => self.get(id).await?,
        };
        let Some(job) = job else { return Err(JobFault::NoSuchJob) };
        if !job.state.is_end() {
            return Err(JobFault::LeaseLost);
        }
        let was_theirs = job.last_lease == Some(hash);
        let same = matches!(
            (outcome, job.state),
            (Outcome::Completed(_), JobState::Completed)
                | (Outcome::Failed(_), JobState::Failed)
                | (Outcome::Canceled(_), JobState::Canceled)
                // So ends what fails, or is given back, after somebody has canceled it.
                | (Outcome::Failed(_) | Outcome::Released, JobState::Canceled)
        );
        match (was_theirs, same) {
            (true, true) => Ok(job),
            (true, false) => Err(JobFault::AlreadyEnded(job.state)),
            (false, _) => Err(JobFault::LeaseLost),
        }
    }

    async fn end(self: Arc<Self>, active: Arc<Active>, hash: [u8; 32], outcome: Outcome) -> Result<Job, JobFault> {
        let turn = active.turn.lock().await;
        // Whoever had the turn before may have ended it.
        if let Err(fault) = self.renew(&active, &hash).await {
            let job = active.shown().job.clone();
            drop(turn);
            let is_over = job.state.is_end() || (self.replica.is_some() && fault == JobFault::LeaseLost);
            return if is_over { self.finished_before(&job.id, hash, &outcome).await } else { Err(fault) };
        }
        let (from, attempt, attempts, canceling) = {
            let job = &active.shown().job;
            if job.lease.as_ref().is_none_or(|lease| lease.hash != hash) {
                return Err(self.overtaken());
            }
            (job.revision, job.attempt, job.attempts, job.canceling.is_some())
        };
        let job = match outcome {
            Outcome::Completed(result) => {
                self.change(&active, from, |job| {
                    job.state = JobState::Completed;
                    job.result = result;
                    if let Some(total) = job.progress.total {
                        job.progress.done = total;
                    }
                })
                .await?
            }
            Outcome::Canceled(_) if !canceling => {
                // Somebody may have canceled it at another replica.
                self.check_known(&active).await?;
                return Err(JobFault::NotCanceling);
            }
            Outcome::Canceled(result) => {
                self.change(&active, from, |job| {
                    job.state = JobState::Canceled;
                    job.result = result;
                })
                .await?
            }
            // Who has canceled it does not want it tried again.
            Outcome::Failed(_) | Outcome::Released if canceling => {
                self.change(&active, from, |job| job.state = JobState::Canceled).await?
            }
            Outcome::Failed(failure) if failure.retryable && attempt < attempts => {
                self.requeue(&active, from, Some(failure), false).await?
            }
            Outcome::Failed(failure) => {
                self.change(&active, from, |job| {
                    job.state = JobState::Failed;
                    job.error = Some(failure);
                })
                .await?
            }
            Outcome::Released => self.requeue(&active, from, None, true).await?,
        };
        drop(turn);
        Ok((*job).clone())
    }

    /// Has the job wait for a worker again. The caller holds its turn.
    pub(super) async fn requeue(
        self: &Arc<Self>,
        active: &Arc<Active>,
        from: u64,
        error: Option<Failure>,
        is_undone: bool,
    ) -> Result<Arc<Job>, JobFault> {
        let job = self.change(active, from, |job| {
            job.state = JobState::Queued;
            job.lease = None;
            job.error = error;
            job.started = None;
            if is_undone {
                job.attempt = job.attempt.saturating_sub(1);
            }
        });
        let job = job.await?;
        match is_undone {
            true => self.queue.push_back(active.clone()),
            false => self.queue.push(active.clone()),
        }
        Ok(job)
    }

    /// Cancels a job. One that waits has ended then; of one that runs the worker is asked to stop, and `wait` says how long to wait for that.
    /// Again is the same.
    pub async fn cancel(self: &Arc<Self>, id: &JobId, wait: Duration) -> Result<Job, JobFault> {
        let known = match self.active(id) {
            None if self.replica.is_some() => self.look_up(id).await?,
            known => known,
        };
        let Some(active) = known else {
            let Some(job) = self.get(id).await? else { return Err(JobFault::NoSuchJob) };
            return match job.state {
                JobState::Canceled => Ok(job),
                other => Err(JobFault::AlreadyEnded(other)),
            };
        };
        self.insist(|| {
            let (jobs, its) = (self.clone(), active.clone());
            async move {
                let begun = tokio::spawn(async move { jobs.begin_cancel(its).await }).await;
                begun.unwrap_or_else(|_| Err(JobFault::Unavailable("the job could not be canceled".into())))
            }
        })
        .await?;
        let deadline = tokio::time::Instant::now() + wait.min(self.settings.longest_wait);
        loop {
            let changed = active.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let job = active.job();
            match job.state {
                JobState::Canceled => return Ok(job),
                state if state.is_end() => return Err(JobFault::AlreadyEnded(state)),
                _ => {}
            }
            if self.hub.is_draining() || tokio::time::timeout_at(deadline, changed).await.is_err() {
                return Ok(active.job());
            }
        }
    }

    async fn begin_cancel(self: Arc<Self>, active: Arc<Active>) -> Result<(), JobFault> {
        let _turn = active.turn.lock().await;
        let (from, state, canceling) = {
            let shown = active.shown();
            (shown.job.revision, shown.job.state, shown.job.canceling.is_some())
        };
        match state {
            JobState::Queued => {
                self.change(&active, from, |job| job.state = JobState::Canceled).await?;
            }
            JobState::Running if !canceling => {
                let now = self.hub.clock().now();
                self.change(&active, from, |job| job.canceling = Some(now)).await?;
            }
            _ => {}
        }
        Ok(())
    }
}
