//! Jobs in NATS, shared by all replicas of a hub.
//!
//! - `key`: the keys of the bucket. `stream`: the stream that it is.
//! - `record`, `noted`, `told`, `item`: a job, how far it is, up to where the log tells of it, and the items of its result.
//! - `index`: what is known of every job in memory. `follow`: what other replicas do.

mod follow;
mod index;
mod item;
mod key;
mod noted;
mod record;
mod stream;
mod token;
mod told;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use tidings::Timestamp;
use tidings::job::{Job, JobId, JobQuery, JobSettings, JobStore, JobStoreError, JobWatcher, Progress, Renewal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::follow::{Removal, Renewed};
use self::index::{Index, MOST_JOBS};
use self::item::{Owner, Places};
use self::key::Part;
use self::noted::{Attempt, Noted};
use self::record::{Record, Unread};
use self::stream::{ASKED_AT_ONCE, JobStream};
use super::{Engine, EngineError};

/// How long it may take to hear what was stored before a moment.
const HEARD_WITHIN: Duration = Duration::from_secs(3);

/// How long it may take at the start to hear of all jobs without hearing of any.
const STALLED: Duration = Duration::from_secs(15);

/// How often a change is tried again when what was known of the job was old.
const TRIES: usize = 5;

/// Keeps jobs in NATS JetStream. Each change is made on the condition that the job is as it was seen, so of several replicas one makes it; and
/// all hear of it.
///
/// A write that was begun is done whole or not at all, also if nobody waits for it any more.
pub struct NatsJobs {
    shared: Arc<Shared>,
    following: JoinHandle<()>,
}

struct Shared {
    stream: JobStream,
    index: Mutex<Index>,
    places: Places,
    watcher: Mutex<Option<Weak<dyn JobWatcher>>>,
    /// The sequence of the newest message that was heard.
    seen: watch::Sender<u64>,
    /// Whether the stream is followed at the moment.
    follows: AtomicBool,
    /// Where it is told that a job was removed.
    removals: String,
}

impl std::fmt::Debug for NatsJobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NatsJobs").field("jobs", &self.shared.index().len()).finish_non_exhaustive()
    }
}

impl Drop for NatsJobs {
    fn drop(&mut self) {
        self.following.abort();
    }
}

impl NatsJobs {
    /// Opens the jobs of the hub, and returns when all of them are known here.
    pub async fn open(engine: Arc<Engine>) -> Result<Arc<NatsJobs>, EngineError> {
        let unreachable = |why: String| EngineError::Unreachable { at: engine.settings().shown_servers(), why };
        let stream = JobStream::open(&engine).await?;
        let removals = format!("{}.jobs.removed", engine.prefix());
        let subscriber =
            engine.client().subscribe(removals.clone()).await.map_err(|error| unreachable(error.to_string()))?;
        let shared = Arc::new(Shared {
            stream,
            index: Mutex::default(),
            places: Places::default(),
            watcher: Mutex::default(),
            seen: watch::Sender::new(0),
            follows: AtomicBool::new(false),
            removals,
        });
        let following = tokio::spawn(follow::follow(shared.clone(), subscriber));
        let jobs = Arc::new(NatsJobs { shared, following });
        jobs.shared.heard(STALLED).await.map_err(|error| unreachable(error.to_string()))?;
        Ok(jobs)
    }

    /// Refuses bounds of jobs that the servers' own do not leave room for.
    pub fn check(&self, settings: &JobSettings) -> Result<(), EngineError> {
        let most = self.shared.stream.most_bytes();
        // Inputs, results and pages of items are kept in pieces; one item is not, nor is what stands beside a result in its record.
        let items = settings.item_bytes.saturating_add(item::ITEM_HEAD);
        let records = settings.item_bytes.saturating_add(record::LARGEST_REST);
        if items.max(records) <= most {
            return Ok(());
        }
        let item = settings.item_bytes;
        Err(EngineError::Unfit(format!(
            "one item of a job may have {item} bytes, and NATS takes {most} in one message with all that belongs to it: raise `max_payload` \
             there, or lower `item_bytes` of [jobs]"
        )))
    }

    /// Does what was begun to its end, whoever waits for it.
    async fn write<T: Send + 'static, F: Future<Output = Result<T, JobStoreError>> + Send + 'static>(
        &self,
        write: impl FnOnce(Arc<Shared>) -> F,
    ) -> Result<T, JobStoreError> {
        let written = tokio::spawn(write(self.shared.clone())).await;
        written.unwrap_or_else(|error| Err(JobStoreError(format!("a write did not end: {error}"))))
    }
}

impl Shared {
    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watcher(&self) -> MutexGuard<'_, Option<Weak<dyn JobWatcher>>> {
        self.watcher.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When a job was made, if there is one of this id.
    async fn created(&self, id: &JobId) -> Result<Option<Timestamp>, JobStoreError> {
        Ok(self.bounds(id).await?.map(|(created, _)| created))
    }

    /// The same, and the sequence of its end, if it has ended: items that were put behind it are none of its result.
    async fn bounds(&self, id: &JobId) -> Result<Option<(Timestamp, Option<u64>)>, JobStoreError> {
        if let Some(known) = self.index().get(id) {
            return Ok(Some((known.created, known.ended.map(|_| known.sequence))));
        }
        let Some(found) = self.stream.last(&key::part(id, Part::Record)).await? else { return Ok(None) };
        let job = Record::read(&found.payload)?.job;
        Ok(Some((job.created, job.ended.map(|_| found.sequence))))
    }

    /// Returns when all was heard that had been put before. An error if nothing is heard for `patience`.
    async fn heard(&self, patience: Duration) -> Result<(), JobStoreError> {
        // A message behind all others. Another replica's, that takes its place, is behind it.
        let mark = self.stream.put(key::MARK, Bytes::new(), None).await?.unwrap_or(u64::MAX);
        let mut seen = self.seen.subscribe();
        let mut deadline = tokio::time::Instant::now() + patience;
        loop {
            if *seen.borrow_and_update() >= mark {
                return Ok(());
            }
            match tokio::time::timeout_at(deadline, seen.changed()).await {
                Ok(_) => deadline = tokio::time::Instant::now() + patience,
                Err(_) => return Err(JobStoreError("what other replicas do is not heard in time".into())),
            }
        }
    }

    /// Whether the record of a job is still the one with this sequence.
    async fn is_newest(&self, id: &JobId, sequence: u64) -> Result<bool, JobStoreError> {
        let found = self.stream.last(&key::part(id, Part::Record)).await?;
        Ok(found.is_some_and(|message| message.sequence == sequence))
    }

    /// A job as the leader has it, with the number of its items. `with_input`: whether that is of use.
    async fn read(&self, id: &JobId, with_input: bool) -> Result<Option<Job>, Unread> {
        let keys = [Part::Record, Part::Announced, Part::Progress].map(|part| key::part(id, part));
        let [record, told, progress] = &keys;
        let mut tries = TRIES;
        let (sequence, told, progress, (mut job, input)) = loop {
            let (record, told, progress) =
                tokio::try_join!(self.stream.last(record), self.stream.last(told), self.stream.last(progress))?;
            let Some(record) = record else { return Ok(None) };
            let known = self.index().get(id).and_then(|known| known.input.clone());
            match Record::read(&record.payload)?.whole(&self.stream, with_input, known).await {
                // It was removed or changed while it was read.
                Err(Unread::Damaged(_)) if tries > 0 && !self.is_newest(id, record.sequence).await? => tries -= 1,
                read => break (record.sequence, told, progress, read?),
            }
        };
        if with_input || job.ended.is_some() {
            self.index().take(sequence, &job, input);
        }
        if let Some(told) = told.and_then(|message| serde_json::from_slice::<told::Told>(&message.payload).ok()) {
            told.put_into(&mut job);
        }
        if let Some(progress) = progress.filter(|noted| noted.sequence > sequence && job.ended.is_none()) {
            // Else a replica noted it that had not heard of the newest attempt, or it is damaged, which whoever follows it tells.
            if let Ok(noted) = Noted::read(&progress.payload)
                && noted.is_of(Attempt::of(&job))
            {
                job.progress = noted.progress;
            }
        }
        let owner = (id.clone(), job.created);
        job.items = match job.ended {
            Some(_) => item::count_before(&self.stream, &self.places, &owner, sequence).await?,
            None => item::count(&self.stream, &owner).await?,
        };
        self.index().take_items(id, job.created, job.items);
        Ok(Some(job))
    }

    /// Many jobs, in their order, without those that are gone, or damaged.
    async fn read_all(&self, ids: Vec<JobId>, with_input: bool) -> Result<Vec<Job>, JobStoreError> {
        let read = |id: JobId| async move {
            let sequence = self.index().get(&id).map_or(0, |known| known.sequence);
            match self.read(&id, with_input).await {
                // Removed by another replica, and this one was not told.
                Ok(None) => self.forget(&id, sequence),
                Ok(found) => return Ok(found),
                Err(Unread::Unanswered(error)) => return Err(error),
                Err(Unread::Damaged(error)) => {
                    tracing::error!(job = %id, %error, "what NATS has of a job is damaged");
                    // So that it is told once.
                    self.index().remove(&id, sequence);
                }
            }
            Ok(None)
        };
        let found: Vec<Option<Job>> =
            futures_util::stream::iter(ids).map(read).buffered(ASKED_AT_ONCE / 4).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn create(&self, job: &Job) -> Result<Option<Job>, JobStoreError> {
        if self.index().len() >= MOST_JOBS {
            return Err(JobStoreError(format!(
                "{MOST_JOBS} jobs are kept, ended ones included, and that is the most: lower `keep_for` of [jobs]"
            )));
        }
        let is_large = job.input.as_ref().is_some_and(|input| input.get().len() > record::INPUT);
        for _ in 0..TRIES {
            let had_before = is_large && self.stream.last(&key::all(&job.id)).await?.is_some();
            // Each time: whoever removes what there was before removes the parts with it that were put until then.
            let (record, input) = Record::put_parts(&self.stream, job, None).await?;
            let value = record.write(&self.stream)?;
            if let Some(sequence) = self.stream.put(&key::part(&job.id, Part::Record), value, Some(0)).await? {
                self.index().take(sequence, job, input);
                if had_before {
                    // A second one may be about to remove it, and has looked how far before the record was there.
                    Record::put_parts(&self.stream, job, None).await?;
                }
                return Ok(None);
            }
            if let Some(there) = self.read(&job.id, true).await? {
                return Ok(Some(there));
            }
            // It was removed meanwhile.
        }
        Err(JobStoreError(format!("job {} is made and removed again and again", job.id)))
    }

    async fn replace(&self, job: &Job, from: u64) -> Result<bool, JobStoreError> {
        let (mut known, input) = {
            let index = self.index();
            let known = index.get(&job.id);
            (known.map(|known| (known.revision, known.sequence)), known.and_then(|known| known.input.clone()))
        };
        let key = key::part(&job.id, Part::Record);
        let mut value: Option<(Bytes, _)> = None;
        for _ in 0..TRIES {
            let sequence = match known.take().filter(|(revision, _)| *revision == from) {
                Some((_, sequence)) => sequence,
                None => match self.stream.last(&key).await? {
                    Some(found) if Record::read(&found.payload)?.job.revision == from => found.sequence,
                    _ => return Ok(false),
                },
            };
            let (written, input) = match value.take() {
                Some(value) => value,
                None => {
                    let (record, input) = Record::put_parts(&self.stream, job, input.as_ref()).await?;
                    (record.write(&self.stream)?, input)
                }
            };
            if let Some(sequence) = self.stream.put(&key, written.clone(), Some(sequence)).await? {
                self.index().take(sequence, job, input);
                return Ok(true);
            }
            value = Some((written, input));
        }
        Err(JobStoreError(format!("job {} is changed again and again", job.id)))
    }

    async fn note_progress(&self, progress: Vec<(JobId, Progress)>) -> Result<(), JobStoreError> {
        // Of two for one job the second.
        let mut newest = std::collections::BTreeMap::new();
        for (id, progress) in progress {
            let open = self.index().get(&id).filter(|known| known.ended.is_none()).map(|known| known.attempt);
            if let Some(attempt) = open {
                let noted = Noted::new(attempt, progress);
                let value = serde_json::to_vec(&noted).map_err(|error| JobStoreError(error.to_string()))?;
                newest.insert(key::part(&id, Part::Progress), Bytes::from(value));
            }
        }
        self.stream.put_all(newest.into_iter().collect()).await
    }

    async fn append(&self, id: &JobId, from: u64, items: &[Bytes]) -> Result<(), JobStoreError> {
        let known = self.index().get(id).map(|known| (known.created, known.items));
        let (created, known) = match known {
            Some(known) => known,
            None => match self.created(id).await? {
                Some(created) => (created, None),
                None => return Err(JobStoreError(format!("there is no job {id}"))),
            },
        };
        let owner: Owner = (id.clone(), created);
        // What was once the number of items is at most taken by others meanwhile, and then the page is theirs.
        let is_known = known == Some(from);
        let refused = |count: u64| {
            Err(JobStoreError(format!("job {id} has {count} items, so the next has index {count}, not {from}")))
        };
        if !is_known {
            let count = item::count(&self.stream, &owner).await?;
            if count != from {
                return refused(count);
            }
        }
        if items.is_empty() {
            return Ok(());
        }
        if !item::append(&self.stream, &owner, from, items).await? {
            return refused(item::count(&self.stream, &owner).await?);
        }
        self.index().take_items(id, created, from + items.len() as u64);
        Ok(())
    }

    /// Forgets a job, if it is as it was seen, or as it is.
    async fn remove(&self, id: &JobId, seen: Option<&Job>) -> Result<(), JobStoreError> {
        // Before it is looked at: another of its id that is made from here on is behind this.
        let Some(last) = self.stream.last(&key::all(id)).await? else {
            let known = self.index().get(id).map_or(0, |known| known.sequence);
            self.forget(id, known);
            return Ok(());
        };
        if let Some(seen) = seen {
            let found = self.stream.last(&key::part(id, Part::Record)).await?;
            let Some(found) = found else {
                // Another replica was faster. What there is belongs to one that is being made under its id.
                let known = self.index().get(id).map(|known| (known.created, known.sequence));
                if let Some((_, sequence)) = known.filter(|(created, _)| *created == seen.created) {
                    self.forget(id, sequence);
                }
                return Ok(());
            };
            let kept = Record::read(&found.payload)?.job;
            if (kept.created, kept.revision) != (seen.created, seen.revision) {
                return Ok(());
            }
        }
        self.remove_tokens(id).await?;
        self.stream.purge(&key::all(id), last.sequence).await?;
        let namespace = self.index().get(id).and_then(|known| known.namespace.as_deref().map(str::to_owned));
        self.forget(id, last.sequence);
        let removal = Removal { id: id.clone(), namespace, until: last.sequence };
        let removal = serde_json::to_vec(&removal).map_err(|error| JobStoreError(error.to_string()))?;
        // Who is not told finds out by itself.
        let _ = self.stream.engine().client().publish(self.removals.clone(), removal.into()).await;
        Ok(())
    }
}

#[async_trait]
impl JobStore for NatsJobs {
    async fn create(&self, job: &Job) -> Result<Option<Job>, JobStoreError> {
        let job = job.clone();
        self.write(|shared| async move { shared.create(&job).await }).await
    }

    async fn read(&self, id: &JobId) -> Result<Option<Job>, JobStoreError> {
        Ok(self.shared.read(id, true).await?)
    }

    async fn replace(&self, job: &Job, from: u64) -> Result<bool, JobStoreError> {
        let job = job.clone();
        self.write(move |shared| async move { shared.replace(&job, from).await }).await
    }

    async fn note_progress(&self, progress: Vec<(JobId, Progress)>) -> Result<(), JobStoreError> {
        self.write(|shared| async move { shared.note_progress(progress).await }).await
    }

    async fn note_announced(&self, id: &JobId, revision: u64, end: Option<String>) -> Result<(), JobStoreError> {
        let id = id.clone();
        self.write(move |shared| async move { shared.note_told(&id, revision, end).await }).await
    }

    async fn open_jobs(&self) -> Result<Vec<Job>, JobStoreError> {
        let ids = self.shared.index().open();
        let found = self.shared.read_all(ids, true).await?;
        Ok(found.into_iter().filter(|job| job.ended.is_none() || job.announced < job.revision).collect())
    }

    async fn list(&self, query: &JobQuery) -> Result<Vec<Job>, JobStoreError> {
        let ids = self.shared.index().list(query);
        let mut found = self.shared.read_all(ids, false).await?;
        found.iter_mut().for_each(|job| job.input = None);
        Ok(found)
    }

    async fn append_items(&self, id: &JobId, from: u64, items: Vec<Bytes>) -> Result<(), JobStoreError> {
        let id = id.clone();
        self.write(move |shared| async move { shared.append(&id, from, &items).await }).await
    }

    async fn items(&self, id: &JobId, from: u64, limit: usize, max_bytes: usize) -> Result<Vec<Bytes>, JobStoreError> {
        let Some((created, end)) = self.shared.bounds(id).await? else { return Ok(Vec::new()) };
        let (Shared { stream, places, .. }, owner) = (&*self.shared, (id.clone(), created));
        let wanted = item::Wanted { from, limit, max_bytes, before: end.unwrap_or(u64::MAX) };
        item::read(stream, places, &owner, wanted).await
    }

    async fn put_token(&self, hash: [u8; 32], id: &JobId, expires: Timestamp) -> Result<(), JobStoreError> {
        let id = id.clone();
        self.write(move |shared| async move { shared.put_token(hash, &id, expires).await }).await
    }

    async fn token(&self, hash: [u8; 32]) -> Result<Option<(JobId, Timestamp)>, JobStoreError> {
        self.shared.token(hash).await
    }

    async fn ended_before(&self, time: Timestamp, limit: usize) -> Result<Vec<Job>, JobStoreError> {
        let ids = self.shared.index().ended_before(time, limit);
        let mut found = self.shared.read_all(ids, false).await?;
        found.retain(|job| job.ended.is_some_and(|ended| ended < time) && job.announced >= job.revision);
        found.iter_mut().for_each(|job| job.input = None);
        Ok(found)
    }

    async fn remove(&self, id: &JobId) -> Result<(), JobStoreError> {
        let id = id.clone();
        self.write(move |shared| async move { shared.remove(&id, None).await }).await
    }

    async fn remove_ended(&self, job: &Job) -> Result<(), JobStoreError> {
        let job = job.clone();
        self.write(move |shared| async move { shared.remove(&job.id, Some(&job)).await }).await
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn watch(&self, watcher: Weak<dyn JobWatcher>) {
        *self.shared.watcher() = Some(watcher);
    }

    fn is_away(&self) -> bool {
        self.shared.stream.engine().down().is_some() || !self.shared.follows.load(Ordering::SeqCst)
    }

    async fn heard_all(&self) -> Result<(), JobStoreError> {
        self.shared.heard(HEARD_WITHIN).await
    }

    async fn renew(&self, renewals: Vec<Renewal>) -> Result<(), JobStoreError> {
        let heard = |Renewal { id, lease, replica }: Renewal| {
            let value =
                serde_json::to_vec(&Renewed { lease, replica }).map_err(|error| JobStoreError(error.to_string()))?;
            Ok((key::part(&id, Part::Renewal), Bytes::from(value)))
        };
        let values = renewals.into_iter().map(heard).collect::<Result<Vec<_>, JobStoreError>>()?;
        self.write(|shared| async move { shared.stream.put_all(values).await }).await
    }
}
