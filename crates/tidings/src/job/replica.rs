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
use super::engine::{Jobs, is_same_change};
use super::fault::JobFault;
use super::progress::{Beat, Progress};
use super::record::{Job, JobId, JobState};
use super::store::{JobNews, JobStoreError, JobWatcher, Renewal};
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
    number: u64,
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

    fn untold(&self) -> MutexGuard<'_, HashMap<JobId, (Arc<Active>, u64)>> {
        self.untold.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

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
            }
        }
    }
}

impl Jobs {
    /// What is told of what other replicas do.
    pub(super) fn watcher(self: &Arc<Self>) -> Weak<dyn JobWatcher> {
        let watcher: Arc<dyn JobWatcher> = self.clone();
        Arc::downgrade(&watcher)
    }

    fn hear_change(&self, job: Job) {
        let known = self.active(&job.id).or_else(|| self.untold_one(&job.id));
        // An id may be that of an older job, which was forgotten.
        let known = known.filter(|active| active.shown().job.created == job.created);
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
    fn welcome(&self, active: &Arc<Active>) -> Option<Arc<Active>> {
        active.shown().may_be_told = true;
        if !active.shown().job.state.is_end()
            && let Some(other) = self.enter(active)
        {
            return Some(other);
        }
        self.stand(active);
        None
    }

    /// Takes a record of a job that stands here, if it is newer than what is known.
    pub(super) fn take_news(&self, active: &Arc<Active>, job: Job) {
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
                let goes_on = (before.attempt, before.state) == (job.attempt, job.state);
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
            None => self.leave(active),
        }
        Ok(())
    }

    /// The job of this id as the store has it, among those that have not ended; none if it has, or is not there.
    pub(super) async fn look_up(&self, id: &JobId) -> Result<Option<Arc<Active>>, JobFault> {
        let Some(job) = self.store.read(id).await? else { return Ok(None) };
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
                None => self.leave(&active),
            },
        }
        Ok(self.active(id))
    }

    /// What is known of a job that has not ended, as far as this replica knew: others may have changed it.
    pub(super) async fn get_shared(&self, active: &Arc<Active>) -> Result<Option<Job>, JobFault> {
        let id = active.shown().job.id.clone();
        let kept = match self.store.read(&id).await {
            Ok(Some(kept)) => kept,
            Ok(None) => return Ok(None),
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
        Ok(Some(match known.revision >= kept.revision {
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
    pub(super) async fn complete_record(&self, active: &Active, job: &mut Job) -> Result<(), JobFault> {
        if self.replica.is_none() {
            return Ok(());
        }
        let kept = self.store.read(&job.id).await?.ok_or(JobFault::NoSuchJob)?;
        job.items = kept.items;
        active.shown().items = kept.items;
        Ok(())
    }

    /// Looks up how many items there are, as other replicas may have taken some; and whether the lease still counts.
    pub(super) async fn look_at_items(&self, active: &Active, hash: &[u8; 32]) -> Result<(), JobFault> {
        if self.replica.is_none() {
            return Ok(());
        }
        let id = active.shown().job.id.clone();
        let kept = self.store.read(&id).await?.ok_or(JobFault::LeaseLost)?;
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
