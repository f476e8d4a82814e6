//! Jobs in memory.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};

use async_trait::async_trait;
use bytes::Bytes;

use super::progress::Progress;
use super::record::{Job, JobId};
use super::store::{JobNews, JobQuery, JobStore, JobStoreError, JobWatcher, Renewal};
use crate::clock::Timestamp;

/// Keeps jobs in memory: for programs that embed the hub, and for tests. They end with the process.
///
/// A token goes with its job, whether it has expired or not.
#[derive(Debug, Default)]
pub struct MemoryJobs {
    kept: Mutex<Kept>,
    is_shared: bool,
}

#[derive(Default)]
struct Kept {
    watchers: Vec<Weak<dyn JobWatcher>>,
    jobs: HashMap<JobId, Entry>,
    /// Their order: that of a list, backwards.
    by_creation: BTreeSet<(Timestamp, JobId)>,
    tokens: HashMap<[u8; 32], (JobId, Timestamp)>,
}

#[derive(Debug)]
struct Entry {
    job: Job,
    items: Vec<Bytes>,
    /// How many items there were at its end.
    at_end: Option<usize>,
    tokens: HashSet<[u8; 32]>,
}

impl Entry {
    fn job(&self) -> Job {
        Job { items: self.count() as u64, ..self.job.clone() }
    }

    /// How many items there are. What is put after the end is none of the result.
    fn count(&self) -> usize {
        self.at_end.unwrap_or(self.items.len())
    }

    fn is_told(&self) -> bool {
        self.job.announced >= self.job.revision
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("jobs", &self.jobs.len()).finish_non_exhaustive()
    }
}

impl Kept {
    /// Tells everybody. Under the lock, so that nobody is told of two changes in the wrong order.
    fn tell(&mut self, news: &JobNews) {
        self.watchers.retain(|watcher| watcher.upgrade().inspect(|watcher| watcher.heard(news.clone())).is_some());
    }

    fn tell_changed(&mut self, id: &JobId) {
        if let Some(job) = self.jobs.get(id).map(Entry::job).filter(|_| !self.watchers.is_empty()) {
            self.tell(&JobNews::Changed(Box::new(job)));
        }
    }

    fn entry(&mut self, id: &JobId) -> Result<&mut Entry, JobStoreError> {
        self.jobs.get_mut(id).ok_or_else(|| JobStoreError(format!("there is no job {id}")))
    }

    /// All that fit, the oldest first.
    fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.by_creation.iter().filter_map(|(_, id)| self.jobs.get(id))
    }
}

impl MemoryJobs {
    /// Jobs that several hubs of one process share.
    pub fn shared() -> Self {
        MemoryJobs { is_shared: true, ..MemoryJobs::default() }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The job as lists have it.
fn listed(entry: &Entry) -> Job {
    Job { input: None, ..entry.job() }
}

#[async_trait]
impl JobStore for MemoryJobs {
    async fn create(&self, job: &Job) -> Result<Option<Job>, JobStoreError> {
        let mut kept = self.kept();
        if let Some(there) = kept.jobs.get(&job.id) {
            return Ok(Some(there.job()));
        }
        kept.by_creation.insert((job.created, job.id.clone()));
        let entry = Entry { job: job.clone(), items: Vec::new(), at_end: None, tokens: HashSet::new() };
        kept.jobs.insert(job.id.clone(), entry);
        kept.tell_changed(&job.id);
        Ok(None)
    }

    async fn read(&self, id: &JobId) -> Result<Option<Job>, JobStoreError> {
        Ok(self.kept().jobs.get(id).map(Entry::job))
    }

    async fn replace(&self, job: &Job, from: u64) -> Result<bool, JobStoreError> {
        let mut kept = self.kept();
        let Some(entry) = kept.jobs.get_mut(&job.id).filter(|entry| entry.job.revision == from) else {
            return Ok(false);
        };
        let before = std::mem::replace(&mut entry.job, job.clone());
        entry.at_end = job.ended.map(|_| entry.at_end.unwrap_or(entry.items.len()));
        if before.created != job.created {
            kept.by_creation.remove(&(before.created, before.id));
            kept.by_creation.insert((job.created, job.id.clone()));
        }
        kept.tell_changed(&job.id);
        Ok(true)
    }

    async fn note_progress(&self, progress: Vec<(JobId, Progress)>) -> Result<(), JobStoreError> {
        let mut kept = self.kept();
        for (id, progress) in progress {
            if let Some(entry) = kept.jobs.get_mut(&id).filter(|entry| entry.job.ended.is_none()) {
                entry.job.progress = progress.clone();
                kept.tell(&JobNews::Progress { id, progress });
            }
        }
        Ok(())
    }

    async fn note_announced(&self, id: &JobId, revision: u64, end: Option<String>) -> Result<(), JobStoreError> {
        let mut kept = self.kept();
        if let Some(Entry { job, .. }) = kept.jobs.get_mut(id) {
            job.announced = job.announced.max(revision);
            job.end = end.or(job.end.take());
            kept.tell(&JobNews::Announced { id: id.clone(), revision });
        }
        Ok(())
    }

    async fn open_jobs(&self) -> Result<Vec<Job>, JobStoreError> {
        let kept = self.kept();
        Ok(kept.entries().filter(|entry| entry.job.ended.is_none() || !entry.is_told()).map(Entry::job).collect())
    }

    async fn list(&self, query: &JobQuery) -> Result<Vec<Job>, JobStoreError> {
        let kept = self.kept();
        let fits = |job: &Job| {
            query.state.is_none_or(|state| job.state == state)
                && query.kind.as_ref().is_none_or(|kind| job.kind == *kind)
                && query.before.as_ref().is_none_or(|(created, id)| (job.created, &job.id) < (*created, id))
        };
        Ok(kept.entries().rev().filter(|entry| fits(&entry.job)).take(query.limit).map(listed).collect())
    }

    async fn append_items(&self, id: &JobId, from: u64, items: Vec<Bytes>) -> Result<(), JobStoreError> {
        let mut kept = self.kept();
        let there = &mut kept.entry(id)?.items;
        if there.len() as u64 != from {
            let count = there.len();
            return Err(JobStoreError(format!(
                "job {id} has {count} items, so the next has index {count}, not {from}"
            )));
        }
        there.extend(items);
        Ok(())
    }

    async fn items(&self, id: &JobId, from: u64, limit: usize, max_bytes: usize) -> Result<Vec<Bytes>, JobStoreError> {
        let kept = self.kept();
        let there = kept.jobs.get(id).map_or(&[][..], |entry| &entry.items[..entry.count()]);
        let from = usize::try_from(from).unwrap_or(usize::MAX).min(there.len());
        let mut bytes = 0;
        let fits = |(nth, item): &(usize, &Bytes)| {
            bytes += item.len();
            *nth == 0 || bytes <= max_bytes
        };
        Ok(there[from..].iter().take(limit).enumerate().take_while(fits).map(|(_, item)| item.clone()).collect())
    }

    async fn put_token(&self, hash: [u8; 32], id: &JobId, expires: Timestamp) -> Result<(), JobStoreError> {
        let mut kept = self.kept();
        kept.entry(id)?.tokens.insert(hash);
        let before = kept.tokens.insert(hash, (id.clone(), expires));
        // It goes with the job that it was put for last.
        if let Some((other, _)) = before.filter(|(other, _)| other != id) {
            kept.entry(&other)?.tokens.remove(&hash);
        }
        Ok(())
    }

    async fn token(&self, hash: [u8; 32]) -> Result<Option<(JobId, Timestamp)>, JobStoreError> {
        Ok(self.kept().tokens.get(&hash).cloned())
    }

    async fn ended_before(&self, time: Timestamp, limit: usize) -> Result<Vec<Job>, JobStoreError> {
        let kept = self.kept();
        let ended = |entry: &&Entry| entry.job.ended.is_some_and(|ended| ended < time) && entry.is_told();
        let mut found: Vec<&Entry> = kept.entries().filter(ended).collect();
        found.sort_by_key(|entry| (entry.job.ended, &entry.job.id));
        Ok(found.into_iter().take(limit).map(listed).collect())
    }

    async fn remove(&self, id: &JobId) -> Result<(), JobStoreError> {
        let mut kept = self.kept();
        if let Some(Entry { job, tokens, .. }) = kept.jobs.remove(id) {
            kept.by_creation.remove(&(job.created, job.id.clone()));
            for token in tokens {
                kept.tokens.remove(&token);
            }
            kept.tell(&JobNews::Removed { id: id.clone(), namespace: job.namespace });
        }
        Ok(())
    }

    async fn remove_ended(&self, job: &Job) -> Result<(), JobStoreError> {
        let is_this = |entry: &Entry| (entry.job.created, entry.job.revision) == (job.created, job.revision);
        if !self.kept().jobs.get(&job.id).is_some_and(is_this) {
            return Ok(());
        }
        self.remove(&job.id).await
    }

    fn is_shared(&self) -> bool {
        self.is_shared
    }

    fn watch(&self, watcher: Weak<dyn JobWatcher>) {
        self.kept().watchers.push(watcher);
    }

    async fn renew(&self, renewals: Vec<Renewal>) -> Result<(), JobStoreError> {
        let mut kept = self.kept();
        renewals.into_iter().for_each(|renewal| kept.tell(&JobNews::Renewed(renewal)));
        Ok(())
    }
}
