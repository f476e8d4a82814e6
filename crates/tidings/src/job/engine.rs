//! The jobs of a hub: what may become of one, stored first and then told.

use std::collections::hash_map;
use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;

use super::active::Active;
use super::count::JobCounters;
use super::fault::JobFault;
use super::files::JobFiles;
use super::lookout;
use super::progress::{self, Due};
use super::queue::Queue;
use super::record::{Job, JobId, JobState};
use super::replica::Replica;
use super::secret;
use super::settings::JobSettings;
use super::store::{JobQuery, JobStore, JobStoreError};
use super::totals::HeldTotals;
use crate::broker::Query;
use crate::clock::Timestamp;
use crate::cursor::Offset;
use crate::entry::Entry;
use crate::event::{Event, NewEvent};
use crate::grant::{Audience, Grants};
use crate::hub::Hub;
use crate::topic::{Topic, TopicPattern};

/// The jobs of a hub.
///
/// Each change is stored, then told through the hub, then answered: what was answered no crash takes back, and what a crash kept from being
/// told is told at the next start. A change that was begun is ended also if whoever asked for it goes away.
pub struct Jobs {
    pub(super) hub: Arc<Hub>,
    pub(super) store: Arc<dyn JobStore>,
    pub(super) settings: JobSettings,
    pub(super) open: RwLock<HashMap<JobId, Arc<Active>, foldhash::fast::RandomState>>,
    pub(super) queue: Queue,
    /// What the open jobs take.
    pub(super) held: HeldTotals,
    pub(super) due: Arc<Due>,
    /// Where their files are kept, if there is a place for them.
    files: OnceLock<Arc<dyn JobFiles>>,
    /// What is of interest where several replicas share the store; none where this program has it alone.
    pub(super) replica: Option<Replica>,
    /// What was counted since the start.
    pub counters: JobCounters,
}

/// How long after a failure the log is asked again to take what it has to tell.
const TELL_AGAIN: Duration = Duration::from_millis(500);

/// So many bytes of ends are told with their first items to one who names many jobs; the others are told without.
const ENDS_WITH_ITEMS: usize = 8 << 20;

/// How far the clock of one replica may be behind that of another.
const SLOWER_CLOCK: Duration = Duration::from_secs(60);

impl std::fmt::Debug for Jobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Jobs").field("open", &self.count_open()).finish_non_exhaustive()
    }
}

impl Jobs {
    /// Takes up the jobs that the store has: those that wait go on waiting, and those that run have their leases anew.
    pub async fn open(
        hub: Arc<Hub>,
        store: Arc<dyn JobStore>,
        settings: JobSettings,
    ) -> Result<Arc<Jobs>, JobStoreError> {
        hub.hold_ends(settings.held_ends_bytes);
        let replica = store.is_shared().then(Replica::new);
        let (open, queue, due) = (RwLock::default(), Queue::default(), Arc::<Due>::default());
        let counters = JobCounters::default();
        let held = HeldTotals::default();
        let files = OnceLock::new();
        let jobs = Arc::new(Jobs { hub, store, settings, open, queue, held, due, files, replica, counters });
        if jobs.replica.is_some() {
            jobs.hub.share_jobs();
            // Before the store is read: what comes from here on is heard.
            jobs.store.watch(jobs.watcher());
        }
        for job in jobs.store.open_jobs().await? {
            match jobs.replica {
                Some(_) => jobs.take_up_shared(job).await?,
                None => jobs.take_up(job).await,
            }
        }
        tokio::spawn(progress::tell(Arc::downgrade(&jobs), jobs.due.clone()));
        tokio::spawn(lookout::look_out(Arc::downgrade(&jobs)));
        if jobs.replica.is_some() {
            tokio::spawn(lookout::tell_renewals(Arc::downgrade(&jobs)));
        }
        tokio::spawn(lookout::clean_up(Arc::downgrade(&jobs)));
        Ok(jobs)
    }

    async fn take_up(self: &Arc<Self>, job: Job) {
        let active = self.taken(job);
        let _turn = active.turn.lock().await;
        // The program ended between storing and telling, or after telling and before it took note.
        active.shown().may_be_told = true;
        self.announce(&active).await;
        let job = active.shown().job.clone();
        if job.state.is_end() {
            return;
        }
        if job.announced >= job.revision {
            self.show_again(&job).await;
        }
        let _ = self.enter(&active);
        if job.lease.is_none() {
            self.queue.push(active.clone());
        }
    }

    /// A job that the store has, as the process holds it. Whoever works on it may be heard by another replica.
    pub(super) fn taken(&self, job: Job) -> Arc<Active> {
        Active::new(job, self.hub.clock().ticks(), self.settings.cancel_grace, self.replica.is_none())
    }

    /// Has whoever begins to listen to a job be given what the store knows of it, in the place of what the log tells: who goes on from
    /// before that place is told by the log.
    pub(super) async fn show_again(&self, job: &Job) {
        let place = match self.hub.shown_at(&job.topic()) {
            Some(offset) => Some(offset),
            None => self.told(job).await.unwrap_or_default(),
        };
        self.hub.show(self.entry(job, place.unwrap_or(Offset::START), None));
    }

    /// The job stands among those that have not ended; says which one stood there before it.
    pub(super) fn enter(&self, active: &Arc<Active>) -> Option<Arc<Active>> {
        let id = active.shown().job.id.clone();
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        match open.entry(id) {
            hash_map::Entry::Occupied(other) => Some(other.get().clone()),
            hash_map::Entry::Vacant(free) => {
                free.insert(active.clone());
                drop(open);
                self.held.add(&active.shown().job);
                None
            }
        }
    }

    /// The job does not stand among them any more.
    pub(super) fn leave(&self, active: &Arc<Active>) {
        let id = active.shown().job.id.clone();
        self.queue.remove(active);
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        if open.get(&id).is_some_and(|found| Arc::ptr_eq(found, active)) {
            open.remove(&id);
            drop(open);
            self.held.take_away(&active.shown().job);
            if let Some(replica) = &self.replica {
                replica.has_gone(id);
            }
        }
    }

    /// Where the log tells of the job's last change, if it does.
    async fn told(&self, job: &Job) -> Result<Option<Offset>, JobFault> {
        #[derive(serde::Deserialize)]
        struct Told {
            revision: u64,
        }
        let (name, mut found) = (event_name(job), None);
        let read = self.read_log(job, |event| {
            let revision = || serde_json::from_slice::<Told>(&event.data).ok().map(|told| told.revision);
            if *event.name == *name && revision() == Some(job.revision) {
                found = Some(event.offset);
            }
            ControlFlow::Continue(())
        });
        read.await?;
        Ok(found)
    }

    /// How many items of the job the log tells.
    pub(super) async fn items_told(&self, job: &Job) -> Result<u64, JobFault> {
        #[derive(serde::Deserialize)]
        struct Told {
            index: u64,
        }
        let mut told = 0;
        self.read_log(job, |event| {
            if &*event.name == super::ITEM_EVENT
                && let Ok(Told { index }) = serde_json::from_slice(&event.data)
            {
                told = told.max(index + 1);
            }
            ControlFlow::Continue(())
        })
        .await?;
        Ok(told)
    }

    /// The place in the log before all that it still tells of the job, if it tells anything.
    pub async fn begin_of(&self, job: &Job) -> Result<Option<Offset>, JobFault> {
        let mut first = None;
        self.read_log(job, |event| {
            first = Some(Offset(event.offset.0.saturating_sub(1)));
            ControlFlow::Break(())
        })
        .await?;
        Ok(first)
    }

    /// Goes through what the log still has of a job, for as long as `each` wants more.
    async fn read_log(&self, job: &Job, mut each: impl FnMut(&Event) -> ControlFlow<()>) -> Result<(), JobFault> {
        let from = self.told_from(job);
        let topic = job.topic().parse().map_err(|_| JobFault::NoSuchJob)?;
        let topics: Arc<[TopicPattern]> = Arc::from([topic]);
        let mut after = self.hub.broker().head().trimmed;
        loop {
            let (topics, until) = (Some(topics.clone()), Offset(u64::MAX));
            let query = Query { topics, after, until, limit: 256, max_bytes: 1 << 20 };
            match self.hub.broker().read(query).await {
                Ok(page) => {
                    // An id may have been that of another job, whose events are kept for longer than it was.
                    let passed = page.events.iter().filter(|event| event.time >= from).try_for_each(&mut each);
                    if passed.is_break() || page.reached <= after {
                        return Ok(());
                    }
                    after = page.reached;
                }
                Err(crate::BrokerError::Trimmed { resume, .. }) => after = resume,
                Err(error) => return Err(JobFault::Unavailable(error.to_string())),
            }
        }
    }

    /// From which time on an event is of this job and not of an older one of its id: what a replica tells has the time of its own clock,
    /// which may be behind that of the one that has made the job.
    fn told_from(&self, job: &Job) -> Timestamp {
        let slower = match self.replica {
            Some(_) => SLOWER_CLOCK.min(self.settings.keep_for / 2),
            None => Duration::ZERO,
        };
        Timestamp(job.created.0.saturating_sub(slower.as_millis() as u64))
    }

    /// The hub that they are told through.
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// Their bounds.
    pub fn settings(&self) -> &JobSettings {
        &self.settings
    }

    /// How many have not ended.
    pub fn count_open(&self) -> usize {
        self.open.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// How many wait for a worker.
    pub fn count_waiting(&self) -> usize {
        self.queue.len()
    }

    /// Has the file of each job be deleted from `files` when the job ends. What can't be deleted then is for whoever sweeps them. To be said once.
    pub fn keep_files_in(&self, files: Arc<dyn JobFiles>) {
        let _ = self.files.set(files);
    }

    /// The names of the files of all that have not ended.
    pub fn files(&self) -> HashSet<String> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.values().filter_map(|active| Some(active.shown().job.file.as_ref()?.path.clone())).collect()
    }

    pub(super) fn active(&self, id: &JobId) -> Option<Arc<Active>> {
        self.open.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// What is known of a job now.
    pub async fn get(&self, id: &JobId) -> Result<Option<Job>, JobFault> {
        match self.active(id) {
            Some(active) if self.replica.is_some() => self.get_shared(&active).await,
            Some(active) => Ok(Some(active.job())),
            None => Ok(self.store.read(id).await?),
        }
    }

    /// The event of the job's end, if it has come, in the place where the log tells of it: also where memory had no room for it, or the
    /// program was started since. It is at hand for those who come next as well, as far as there is room.
    pub async fn end_of(&self, job: &Job) -> Result<Option<Arc<Entry>>, JobFault> {
        self.look_up_end(job, true).await
    }

    async fn look_up_end(&self, job: &Job, with_items: bool) -> Result<Option<Arc<Entry>>, JobFault> {
        // Where the end is on its way, another state is held until it comes.
        let only_end = |state: Arc<Entry>| Some(state).filter(|state| super::is_end(&state.event.name));
        if let Some(held) = self.hub.shown_state(&job.topic()) {
            return Ok(only_end(held));
        }
        if !job.state.is_end() {
            return Ok(None);
        }
        let place = job.end.as_deref().and_then(|end| end.parse::<crate::Cursor>().ok());
        let place = place.filter(|end| self.hub.cursor(end.offset) == *end).map_or(Offset::START, |end| end.offset);
        if !with_items {
            return Ok(Some(Arc::new(self.entry(job, place, None))));
        }
        let first = self.first(job).await?;
        Ok(only_end(self.hub.show_if_unknown(self.entry(job, place, first.as_deref()))))
    }

    /// The ends of the jobs with these topics: of those that have ended, and that may be seen by whoever holds `grants`. Of all others
    /// nothing is said, whether they are there or not.
    pub async fn ends(&self, topics: &[TopicPattern], grants: &Grants) -> Result<Vec<Arc<Entry>>, JobFault> {
        let (mut ends, mut bytes) = (Vec::new(), 0);
        // Who may see nothing is no reason to ask the store.
        let topics = if grants.iter().next().is_none() { &[] } else { topics };
        for topic in topics {
            let Some(id) = topic.as_str().rsplit('/').next().and_then(|id| id.parse().ok()) else { continue };
            let job = self.get(&id).await?;
            let may_see = |job: &Job| job.topic() == topic.as_str() && grants.meets(&job.audience).is_some();
            let Some(job) = job.filter(may_see) else { continue };
            if let Some(end) = self.look_up_end(&job, bytes < ENDS_WITH_ITEMS).await? {
                bytes += end.event.weight();
                ends.push(end);
            }
        }
        Ok(ends)
    }

    /// The jobs that fit, the newest first.
    pub async fn list(&self, query: &JobQuery) -> Result<Vec<Job>, JobFault> {
        let mut found = self.store.list(query).await?;
        for job in &mut found {
            if let Some(known) =
                self.active(&job.id).map(|active| active.job()).filter(|known| known.revision >= job.revision)
            {
                *job = Job { items: known.items.max(job.items), ..known };
            }
        }
        Ok(found)
    }

    /// A page of the items of a job's result.
    pub async fn items(&self, id: &JobId, from: u64, limit: usize, max_bytes: usize) -> Result<Vec<Bytes>, JobFault> {
        Ok(self.store.items(id, from, limit, max_bytes).await?)
    }

    /// A new token of a job, and until when it counts.
    pub async fn new_token(&self, id: &JobId, ttl: Option<Duration>) -> Result<(String, Timestamp), JobFault> {
        let expires = self.hub.clock().now().after(ttl.unwrap_or(self.settings.token_ttl));
        let (token, hash) = secret::new(secret::TOKEN_PREFIX)?;
        self.store.put_token(hash, id, expires).await?;
        Ok((token, expires))
    }

    /// Whose token this is, and until when. One that ran out is still known for a while.
    pub async fn token(&self, token: &str) -> Result<Option<(Job, Timestamp)>, JobFault> {
        let Some((id, expires)) = self.store.token(secret::hash(token)).await? else { return Ok(None) };
        Ok(self.get(&id).await?.map(|job| (job, expires)))
    }

    /// The first items, where the kind tells them with the end.
    async fn first(&self, job: &Job) -> Result<Option<Vec<Bytes>>, JobFault> {
        let most = self.settings.kind(job.namespace.as_deref(), &job.kind).first_bytes;
        if most == 0 || !job.state.is_end() {
            return Ok(None);
        }
        let limit = usize::try_from(job.items).unwrap_or(usize::MAX).min(100_000);
        let mut items = self.store.items(&job.id, 0, limit, most).await?;
        let mut bytes = 0;
        let fit = items.iter().take_while(|item| {
            bytes += item.len() + 1;
            bytes <= most
        });
        items.truncate(fit.count());
        Ok(Some(items))
    }

    /// An event about the job.
    pub(super) fn event(&self, job: &Job, name: &str, data: Bytes) -> NewEvent {
        let topic = job.topic();
        NewEvent {
            name: name.into(),
            key: Some(topic.as_str().into()),
            topic: topic.parse().unwrap_or_else(|_| self.lost_and_found()),
            data,
            scope: Bytes::new(),
            audience: job.audience.clone(),
            time: self.hub.clock().now(),
            kept: true,
            dedup: None,
        }
    }

    /// An id and a namespace always make a topic; if one day they do not, nobody is told rather than everybody.
    fn lost_and_found(&self) -> Topic {
        "job".parse().expect("one segment is a topic")
    }

    /// The event of its state, as if it had just come from the log.
    fn entry(&self, job: &Job, offset: Offset, first: Option<&[Bytes]>) -> Entry {
        let body = self.event(job, &event_name(job), job.document(first));
        self.hub.entry(Event { offset, body: NewEvent { time: job.updated, ..body } })
    }

    /// Stores the job as `change` makes it of that with the revision `from`, tells of it, and says what it is then. The caller holds its
    /// turn, and has looked at it with that revision.
    pub(super) async fn change(
        self: &Arc<Self>,
        active: &Arc<Active>,
        from: u64,
        change: impl FnOnce(&mut Job),
    ) -> Result<Arc<Job>, JobFault> {
        self.settle(active).await?;
        self.tell_before(active).await?;
        let before = active.shown().job.clone();
        if before.revision != from {
            return Err(self.overtaken());
        }
        let mut job = active.job();
        change(&mut job);
        job.revision = from + 1;
        job.updated = self.hub.clock().now();
        if job.state.is_end() {
            self.complete_record(active, &mut job).await?;
            job.ended = Some(job.updated);
            job.last_lease = job.lease.take().map(|lease| lease.hash);
            job.canceling = None;
        }
        let begun = self.hub.clock().ticks();
        if let Err(fault) = self.replace(active, &job, from).await {
            active.shown().pending = None;
            return Err(fault);
        }
        let job = Arc::new(job);
        let is_newest = {
            let mut shown = active.shown();
            shown.pending = None;
            let is_newest = shown.job.revision == from;
            // Else another replica has gone on from here, and it is known here already.
            if is_newest {
                // While it was stored, its worker may have said more.
                if !(before.state == JobState::Running && job.state == JobState::Running) {
                    shown.progress = job.progress.clone();
                }
                shown.now_is(job.clone(), self.hub.clock().ticks(), self.settings.cancel_grace, true);
                (shown.may_be_told, shown.told_where) = (false, None);
                shown.stored_at = Some(begun);
            }
            is_newest
        };
        if self.replica.is_some() && !job.state.is_end() {
            self.stand(active);
        }
        active.changed.notify_waiters();
        if is_newest {
            self.announce(active).await;
        }
        if job.state.is_end() {
            self.counters.count_end(job.state);
            self.leave(active);
            self.forget_file(&job).await;
        }
        Ok(job)
    }

    /// Puts the job in the store in the place of that with the revision `from`.
    async fn replace(self: &Arc<Self>, active: &Arc<Active>, job: &Job, from: u64) -> Result<(), JobFault> {
        if self.replica.is_some() {
            active.shown().pending = Some(job.clone());
        }
        let replaced = self.store.replace(job, from).await;
        let error = match replaced {
            Ok(true) => return Ok(()),
            Ok(false) => None,
            Err(error) => Some(error),
        };
        // It may have been done all the same, now or by a try before.
        active.shown().is_unsure = true;
        match self.store.read(&job.id).await? {
            Some(kept) if is_same_change(&kept, job) => {
                active.shown().is_unsure = false;
                Ok(())
            }
            Some(kept) => {
                if !self.catch_up(active, kept).await
                    && let Some(error) = error
                {
                    return Err(error.into());
                }
                Err(self.overtaken())
            }
            None => {
                self.vanish(active);
                Err(error.map_or(JobFault::NoSuchJob, JobFault::from))
            }
        }
    }

    /// What was to be changed was changed before.
    pub(super) fn overtaken(&self) -> JobFault {
        match self.replica {
            Some(_) => JobFault::Overtaken,
            None => JobFault::Unavailable("the job was changed meanwhile".into()),
        }
    }

    /// Makes sure that what is known here is what the store has. If that was not so, the caller has to look again.
    pub(super) async fn settle(self: &Arc<Self>, active: &Arc<Active>) -> Result<(), JobFault> {
        if !active.shown().is_unsure {
            return Ok(());
        }
        let id = active.shown().job.id.clone();
        let Some(kept) = self.store.read(&id).await? else { return Err(self.vanish(active)) };
        match self.catch_up(active, kept).await {
            true => Err(self.overtaken()),
            false => Ok(()),
        }
    }

    /// Takes what the store has if that is newer, and says whether it is.
    async fn catch_up(self: &Arc<Self>, active: &Arc<Active>, kept: Job) -> bool {
        let is_newer = {
            let mut shown = active.shown();
            (shown.is_unsure, shown.items, shown.pending) = (false, kept.items, None);
            kept.revision > shown.job.revision || kept.created != shown.job.created
        };
        if is_newer {
            self.adopt(active, kept).await;
        }
        is_newer
    }

    /// Goes on with the job as the store has it, tells of it and has it stand where it belongs. The caller holds its turn.
    pub(super) async fn adopt(self: &Arc<Self>, active: &Arc<Active>, kept: Job) {
        if self.replica.is_some() {
            // Whoever has changed it tells of it.
            return self.take_news(active, kept);
        }
        let job = Arc::new(kept);
        {
            let mut shown = active.shown();
            shown.take(job.clone(), self.hub.clock().ticks(), self.settings.cancel_grace, true);
            (shown.may_be_told, shown.told_where) = (true, None);
        }
        active.changed.notify_waiters();
        self.announce(active).await;
        let has_waited = active.shown().place.is_some();
        match job.state {
            JobState::Queued if has_waited => self.queue.push_back(active.clone()),
            JobState::Queued => self.queue.push(active.clone()),
            JobState::Running => self.queue.remove(active),
            _ => {
                self.leave(active);
                self.forget_file(&job).await;
            }
        }
    }

    /// Deletes the file of a job that has ended, however it did: it takes no room from then on.
    async fn forget_file(&self, job: &Job) {
        if let (Some(file), Some(files)) = (&job.file, self.files.get())
            && let Err(error) = files.remove(&file.path).await
        {
            tracing::warn!(job = %job.id, %error, "the file of a job that has ended can't be deleted; it is for the sweep");
        }
    }

    /// Tells of the job's state. If the log can't take it now, it is told as soon as it can: the caller's answer does not wait for
    /// that, and whoever begins to listen meanwhile is given the state from before. The caller holds its turn.
    pub(super) async fn announce(self: &Arc<Self>, active: &Arc<Active>) {
        let Err(error) = self.try_announce(active).await else { return };
        let id = active.shown().job.id.clone();
        tracing::error!(job = %id, %error, "the log can't tell of a job; it is tried again");
        if std::mem::replace(&mut active.shown().is_told_again, true) {
            return;
        }
        let (jobs, active) = (Arc::downgrade(self), active.clone());
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(TELL_AGAIN).await;
                let Some(jobs) = jobs.upgrade() else { return };
                let _turn = active.turn.lock().await;
                if jobs.try_announce(&active).await.is_ok() {
                    active.shown().is_told_again = false;
                    if jobs.replica.is_some() {
                        // It may have been another replica's change by then, which waits to be gone on from.
                        jobs.stand(&active);
                    }
                    return;
                }
            }
        });
    }

    pub(super) async fn try_announce(&self, active: &Arc<Active>) -> Result<(), JobFault> {
        if active.shown().is_told() {
            return Ok(());
        }
        active.untold().await;
        let (job, place) = {
            let shown = active.shown();
            (shown.job.clone(), shown.told_where)
        };
        let offset = match place {
            Some(offset) => offset,
            None => self.tell(active, &job).await?,
        };
        {
            let mut shown = active.shown();
            // Else another replica has changed it meanwhile, and sees to it.
            if shown.job.revision == job.revision {
                shown.told_where = Some(offset);
                shown.job = Arc::new(Job { announced: job.revision, ..(*shown.job).clone() });
            }
        }
        self.catch_up_progress(active);
        self.note(&job, offset).await?;
        {
            let mut shown = active.shown();
            if shown.job.revision == job.revision {
                shown.told_where = None;
            }
        }
        Ok(())
    }

    /// Has the log tell of the job's state, once, and says where.
    async fn tell(&self, active: &Active, job: &Job) -> Result<Offset, JobFault> {
        let first = self.first(job).await?;
        // Just before it is told: a program may be stopped at any moment, and go on long after others have told of it.
        if (active.shown().may_be_told || self.is_late(active))
            && let Some(offset) = self.told(job).await?
        {
            return Ok(offset);
        }
        // With the newest progress: watchers may have been told of it before.
        let progress = match job.state.is_end() {
            true => job.progress.clone(),
            false => active.shown().progress.clone(),
        };
        let event = self.event(job, &event_name(job), job.document_with(&progress, first.as_deref()));
        let event = NewEvent { dedup: self.dedup(job, None), ..event };
        // From here on it may be told, whatever the log answers.
        active.shown().may_be_told = true;
        let published = self.hub.append(vec![event]).await.map_err(|error| JobFault::Unavailable(error.to_string()))?;
        let cursor = published.first().and_then(|published| published.cursor);
        Ok(cursor.map_or(Offset::START, |cursor| cursor.offset))
    }

    /// Takes note that the log tells of it, there.
    async fn note(&self, job: &Job, offset: Offset) -> Result<(), JobStoreError> {
        let end = job.state.is_end().then(|| self.hub.cursor(offset).to_string());
        self.store.note_announced(&job.id, job.revision, end).await
    }

    /// Who may see the events of a job: who holds its own grant, and these.
    pub(super) fn audience(topic: &str, more: &[Topic]) -> Result<Audience, JobFault> {
        let own: Topic = topic.parse().map_err(|_| JobFault::Invalid {
            field: "id",
            detail: "with its namespace it is too long for a topic".into(),
        })?;
        Ok(Audience::new(std::iter::once(own).chain(more.iter().cloned())))
    }
}

/// Whether what is kept is what was to be kept: no other change has the same lease, end and time.
pub(super) fn is_same_change(kept: &Job, job: &Job) -> bool {
    let change = |job: &Job| (job.revision, job.state, job.attempt, job.updated, job.canceling, job.last_lease);
    change(kept) == change(job) && kept.lease == job.lease
}

/// The event that tells the state of a job.
pub(super) fn event_name(job: &Job) -> String {
    match job.canceling {
        Some(_) if !job.state.is_end() => "job.canceling".into(),
        _ => format!("job.{}", job.state.name()),
    }
}
