//! The jobs of a store that several replicas share: what others do is heard here, and what is done here is heard there.
//!
//! All replicas are equal. What two of them may do at once is decided by the store, as each change is one from a known revision. So a
//! replica may be a moment behind, and does no harm by it: it is overtaken, looks again, and what it refuses it has looked up first.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::active::Active;
use super::engine::Jobs;
use super::fault::JobFault;
use super::progress::{Beat, Progress};
use super::record::{Job, JobId, JobState};
use super::store::{JobStoreError, JobWatcher, Renewal};
use crate::event::Dedup;

/// How long whoever has changed a job has to tell of it, before another replica does.
const TELL_BY: Duration = Duration::from_secs(2);

/// How long a change waits to hear that the log tells of the one before: it is on its way, as a rule.
const HEAR_BY: Duration = Duration::from_millis(100);

/// For how long a replica that has put items takes for known which of them the log tells: a worker sends again within that.
const KNOWN_FOR: Duration = Duration::from_secs(60);

/// How many jobs that left are remembered: more than may do so while one is put in the store.
const GONE: usize = 4_096;

/// How often something is tried again because another replica was faster. Each time the job is one step on in its life.
const TRIES: usize = 20;

/// What a replica knows beside its jobs.
pub(super) struct Replica {
    /// What it calls itself.
    pub(super) number: u64,
    /// The jobs of whose last change the log may not tell, and since when, in ticks of the clock.
    untold: Mutex<HashMap<JobId, (Arc<Active>, u64)>>,
    gone: Mutex<Gone>,
    /// Whether the store could not be reached a moment ago.
    was_away: AtomicBool,
}

/// The jobs that left just now: what is known of them from before is not true any more.
#[derive(Default)]
struct Gone {
    order: VecDeque<JobId>,
    ids: HashSet<JobId>,
}

impl Replica {
    pub(super) fn new() -> Self {
        let mut number = [0; 8];
        // Without randomness all have the same number: then a renewal of another is taken for the own one, and no lease counts less for it
        // than it would if this replica were alone.
        let _ = getrandom::fill(&mut number);
        Replica {
            number: u64::from_le_bytes(number),
            untold: Mutex::default(),
            gone: Mutex::default(),
            was_away: AtomicBool::new(false),
        }
    }

    /// A job has left.
    pub(super) fn has_gone(&self, id: JobId) {
        let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        if gone.ids.insert(id.clone()) {
            gone.order.push_back(id);
        }
        if gone.order.len() > GONE
            && let Some(oldest) = gone.order.pop_front()
        {
            gone.ids.remove(&oldest);
        }
    }

    fn is_gone(&self, id: &JobId) -> bool {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner).ids.contains(id)
    }

    pub(super) fn untold(&self) -> MutexGuard<'_, HashMap<JobId, (Arc<Active>, u64)>> {
        self.untold.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Jobs {
    /// What is told of what other replicas do.
    pub(super) fn watcher(self: &Arc<Self>) -> Weak<dyn JobWatcher> {
        let watcher: Arc<dyn JobWatcher> = self.clone();
        Arc::downgrade(&watcher)
    }

    /// Takes up a job that the store had at the start. Others may be at it.
    pub(super) async fn take_up_shared(self: &Arc<Self>, job: Job) -> Result<(), JobStoreError> {
        let active = self.taken(job);
        if let Some(other) = self.welcome(&active) {
            let job = (*active.shown().job).clone();
            self.take_news(&other, job);
            return Ok(());
        }
        self.look_again(&active).await?;
        let job = active.shown().job.clone();
        if !job.state.is_end() && job.announced >= job.revision {
            self.show_again(&job).await;
        }
        Ok(())
    }

    /// Looks up a job that was put here from what was read before: if it was heard to leave meanwhile.
    pub(super) async fn look_again(&self, active: &Arc<Active>) -> Result<(), JobStoreError> {
        let id = active.shown().job.id.clone();
        if self.replica.as_ref().is_none_or(|replica| !replica.is_gone(&id)) {
            return Ok(());
        }
        match self.store.read(&id).await? {
            Some(job) => self.take_news(active, job),
            None => drop(self.vanish(active)),
        }
        Ok(())
    }

    /// The job of this id as the store has it, among those that have not ended; none if it has, or is not there.
    pub(super) async fn look_up(&self, id: &JobId) -> Result<Option<Arc<Active>>, JobFault> {
        // One that comes to stand here from now on was made after it was read that there is none.
        let known = self.active(id);
        let Some(job) = self.store.read(id).await? else {
            known.inspect(|active| drop(self.vanish(active)));
            return Ok(None);
        };
        if let Some(active) = self.active(id) {
            self.take_news(&active, job);
            return Ok(self.active(id));
        }
        if job.state.is_end() {
            return Ok(None);
        }
        let active = self.taken(job);
        match self.welcome(&active) {
            Some(_) => {}
            // Now that it is heard what becomes of it.
            None => match self.store.read(id).await? {
                Some(job) => self.take_news(&active, job),
                None => drop(self.vanish(&active)),
            },
        }
        Ok(self.active(id))
    }

    /// What is known of a job that has not ended, as far as this replica knew: others may have changed it.
    pub(super) async fn get_shared(&self, active: &Arc<Active>) -> Result<Option<Job>, JobFault> {
        let id = active.shown().job.id.clone();
        let kept = match self.store.read(&id).await {
            Ok(Some(kept)) => kept,
            Ok(None) => {
                self.vanish(active);
                return Ok(None);
            }
            // The newest that is known here is still true, or was a moment ago.
            Err(error) => {
                tracing::debug!(job = %id, %error, "the store can't be asked about a job");
                return Ok(Some(active.job()));
            }
        };
        let items = kept.items;
        self.take_news(active, kept.clone());
        self.learn_progress(active);
        let known = active.job();
        Ok(Some(match known.created == kept.created && known.revision >= kept.revision {
            true => Job { items: known.items.max(items), ..known },
            false => kept,
        }))
    }

    /// Makes sure that a refusal is none of a moment: whether the lease counts as the store has it. Then it counts anew.
    pub(super) async fn confirm(&self, id: &JobId, hash: &[u8; 32]) -> Result<(Arc<Active>, Beat), JobFault> {
        if self.replica.is_none() {
            return Err(JobFault::LeaseLost);
        }
        let active = self.look_up(id).await?.ok_or(JobFault::LeaseLost)?;
        let beat = active.shown().renew(hash, self.hub.clock().ticks(), true)?;
        Ok((active, beat))
    }

    /// Makes sure that what is refused is not refused because this replica has not heard yet: if the store has more, the caller has to look
    /// again. The caller holds its turn.
    pub(super) async fn check_known(self: &Arc<Self>, active: &Arc<Active>) -> Result<(), JobFault> {
        if self.replica.is_none() {
            return Ok(());
        }
        active.shown().is_unsure = true;
        self.settle(active).await
    }

    /// An error while the store is away that others share: what is heard of a worker here would be told nobody.
    pub(super) fn check_store(&self) -> Result<(), JobFault> {
        match self.replica.is_some() && self.store.is_away() {
            true => Err(JobFault::Unavailable("the store of jobs is away".into())),
            false => Ok(()),
        }
    }

    /// Has the change before be told, if it was another replica that made it: the log tells them in their order.
    pub(super) async fn tell_before(&self, active: &Arc<Active>) -> Result<(), JobFault> {
        if self.replica.is_none() {
            return Ok(());
        }
        self.learn_progress(active);
        let deadline = tokio::time::Instant::now() + HEAR_BY;
        loop {
            let changed = active.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if active.shown().is_told() {
                return Ok(());
            }
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                self.try_announce(active).await?;
                self.stand(active);
                return Ok(());
            }
        }
    }

    /// What the record of an end is to have beside what this replica knows: others may have taken items.
    pub(super) async fn complete_record(&self, active: &Arc<Active>, job: &mut Job) -> Result<(), JobFault> {
        if self.replica.is_none() {
            return Ok(());
        }
        let Some(kept) = self.store.read(&job.id).await? else { return Err(self.vanish(active)) };
        job.items = kept.items;
        active.shown().items = kept.items;
        Ok(())
    }

    /// Looks up how many items there are, as other replicas may have taken some; and whether the lease still counts.
    pub(super) async fn look_at_items(&self, active: &Arc<Active>, hash: &[u8; 32]) -> Result<(), JobFault> {
        if self.replica.is_none() {
            return Ok(());
        }
        let id = active.shown().job.id.clone();
        let Some(kept) = self.store.read(&id).await? else {
            self.vanish(active);
            return Err(JobFault::LeaseLost);
        };
        if kept.state != JobState::Running || kept.lease.as_ref().is_none_or(|lease| lease.hash != *hash) {
            return Err(JobFault::LeaseLost);
        }
        let mut shown = active.shown();
        let now = self.hub.clock().ticks();
        // Else another replica may have told of items that it did not put then.
        if !shown.items_put.is_some_and(|(count, at)| count == kept.items && now < at + KNOWN_FOR.as_millis() as u64) {
            shown.items_told = None;
        }
        shown.items = kept.items;
        Ok(())
    }

    /// Takes the newest progress that watchers were told: another replica may have taken it.
    pub(super) fn learn_progress(&self, active: &Active) {
        #[derive(Deserialize)]
        struct Told {
            revision: u64,
            progress: Newest,
        }
        #[derive(Deserialize)]
        struct Newest {
            done: u64,
            total: Option<u64>,
            message: Option<Box<str>>,
            item: Option<Box<RawValue>>,
        }
        if self.replica.is_none() {
            return;
        }
        let topic = active.shown().job.topic();
        let Some(state) = self.hub.shown_state(&topic).filter(|state| state.event.is_signal()) else { return };
        let Ok(Told { revision, progress }) = serde_json::from_slice(&state.event.data) else { return };
        let mut shown = active.shown();
        if revision == shown.job.revision && progress.done > shown.progress.done {
            let Newest { done, total, message, item } = progress;
            shown.progress = Progress { done, total, message, item };
        }
    }

    /// By what the log knows that it was told of a change already, or of an item, whichever replica tells it.
    pub(super) fn dedup(&self, job: &Job, item: Option<u64>) -> Option<Dedup> {
        self.replica.as_ref()?;
        let index = u32::try_from(item.unwrap_or(job.revision)).ok()?;
        let mut hash = Sha256::new();
        let what: &[u8] = if item.is_some() { b"items" } else { b"states" };
        for part in [what, job.namespace.as_deref().unwrap_or_default().as_bytes(), job.id.as_str().as_bytes()] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.update(job.created.0.to_be_bytes());
        let mut request = [0; 16];
        request.copy_from_slice(&hash.finalize()[..16]);
        // Nobody ever asks what came of it, so it is never whole.
        Some(Dedup { request, index, of: u32::MAX })
    }

    /// Whether others may have told by now of what this replica has stored.
    pub(super) fn is_late(&self, active: &Active) -> bool {
        let by = |stored: u64| self.hub.clock().ticks() >= stored + TELL_BY.as_millis() as u64;
        self.replica.is_some() && active.shown().stored_at.is_some_and(by)
    }

    /// Tells of the changes that other replicas have made, and did not tell in time: they are gone.
    pub(super) fn tell_for_others(self: &Arc<Self>) {
        let Some(replica) = &self.replica else { return };
        let now = self.hub.clock().ticks();
        let late: Vec<Arc<Active>> = {
            let mut untold = replica.untold();
            untold.retain(|_, (active, _)| !active.shown().is_told());
            let is_late = |since: u64| now >= since + TELL_BY.as_millis() as u64;
            let late = untold.values_mut().filter(|(_, since)| is_late(*since));
            // The next try has its time anew.
            late.map(|(active, since)| {
                *since = now;
                active.clone()
            })
            .collect()
        };
        for active in late {
            let jobs = self.clone();
            tokio::spawn(async move {
                let _turn = active.turn.lock().await;
                if let Err(fault) = jobs.try_announce(&active).await {
                    let id = active.shown().job.id.clone();
                    return tracing::warn!(job = %id, %fault, "the log can't tell of a job for another replica; it is tried again");
                }
                jobs.stand(&active);
            });
        }
    }

    /// Tells the other replicas which workers live.
    pub(super) async fn tell_renewals(&self) -> Result<(), JobFault> {
        let Some(replica) = &self.replica else { return Ok(()) };
        let now = self.hub.clock().ticks();
        let renewal = |active: &Arc<Active>| {
            let mut shown = active.shown();
            let lease = shown.is_renewal_due(now)?;
            Some(Renewal { id: shown.job.id.clone(), lease, replica: replica.number })
        };
        let open = self.all_open();
        let (due, renewals): (Vec<_>, Vec<_>) =
            open.iter().filter_map(|active| Some((active, renewal(active)?))).unzip();
        if renewals.is_empty() {
            return Ok(());
        }
        let told = self.store.renew(renewals).await;
        if told.is_err() {
            for active in due {
                if let Some(held) = active.shown().lease.as_mut() {
                    (held.is_untold, held.told_at) = (true, 0);
                }
            }
        }
        Ok(told?)
    }

    /// Whether leases may be ended now: this replica has heard all that others heard of workers. While it can't hear, and for the length of a
    /// lease after that, none is: workers could not be heard either.
    pub(super) async fn may_end_leases(&self) -> bool {
        let Some(replica) = &self.replica else { return true };
        let heard = match self.store.is_away() {
            true => false,
            false => self.store.heard_all().await.is_ok(),
        };
        if !heard {
            replica.was_away.store(true, Ordering::SeqCst);
            return false;
        }
        if replica.was_away.swap(false, Ordering::SeqCst) {
            self.begin_leases_anew();
        }
        true
    }

    /// Takes note if the store is away, and has leases begin anew when it is back.
    pub(super) fn watch_store(&self) {
        let Some(replica) = &self.replica else { return };
        match self.store.is_away() {
            true => replica.was_away.store(true, Ordering::SeqCst),
            false if replica.was_away.swap(false, Ordering::SeqCst) => self.begin_leases_anew(),
            false => {}
        }
    }

    fn begin_leases_anew(&self) {
        let (now, grace) = (self.hub.clock().ticks(), self.settings.cancel_grace);
        self.all_open().iter().for_each(|active| active.shown().begin_anew(now, grace));
    }

    /// Tries something again whenever another replica was faster.
    pub(super) async fn insist<T, F: Future<Output = Result<T, JobFault>>>(
        &self,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T, JobFault> {
        for _ in 1..TRIES {
            match attempt().await {
                Err(JobFault::Overtaken) => {}
                answer => return answer,
            }
        }
        attempt().await
    }
}
