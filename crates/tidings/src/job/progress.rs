//! How far the work of a job is: told by its worker as often as it likes, and to watchers only now and then, always the newest.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::Notify;

use super::active::Active;
use super::engine::Jobs;
use super::fault::JobFault;
use crate::event::NewEvent;

/// The most bytes of a message.
const MAX_MESSAGE_BYTES: usize = 1_000;

/// The most jobs of which is told in one go.
const TOLD_AT_ONCE: usize = 1_000;

/// How far the work of a job is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Progress {
    /// How much is done.
    pub done: u64,
    /// How much there is in all, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// A sentence for people: 1,000 bytes at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Box<str>>,
    /// What is worked on: any JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<Box<RawValue>>,
}

impl PartialEq for Progress {
    fn eq(&self, other: &Self) -> bool {
        let raw = |item: &Option<Box<RawValue>>| item.as_ref().map(|item| item.get().to_owned());
        (self.done, self.total, &self.message) == (other.done, other.total, &other.message)
            && raw(&self.item) == raw(&other.item)
    }
}

/// What a worker says of its progress. What it leaves out of `done` and `total` stays as it was.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProgressUpdate {
    /// How much is done: never less than before in one attempt.
    #[serde(default)]
    pub done: Option<u64>,
    /// How much there is in all.
    #[serde(default)]
    pub total: Option<u64>,
    /// A sentence for people.
    #[serde(default)]
    pub message: Option<Box<str>>,
    /// What is worked on.
    #[serde(default)]
    pub item: Option<Box<RawValue>>,
}

/// What a worker hears whenever it says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat {
    /// Somebody has canceled the job: stop, and say so.
    pub cancel: bool,
    /// How long the lease counts from now on.
    pub lease: Duration,
}

impl Progress {
    /// This, and then what a worker says.
    pub(super) fn updated(&self, update: ProgressUpdate, item_bytes: usize) -> Result<Progress, JobFault> {
        let done = update.done.unwrap_or(self.done);
        if done < self.done {
            return Err(JobFault::ProgressBackwards { done, before: self.done });
        }
        let total = update.total.or(self.total);
        if let Some(total) = total.filter(|total| done > *total) {
            return Err(JobFault::InvalidProgress { done, total });
        }
        if let Some(message) = update.message.as_deref().filter(|message| message.len() > MAX_MESSAGE_BYTES) {
            return Err(JobFault::TooLarge { field: "message", bytes: message.len(), most: MAX_MESSAGE_BYTES });
        }
        if let Some(item) = update.item.as_deref().filter(|item| item.get().len() > item_bytes) {
            return Err(JobFault::TooLarge { field: "item", bytes: item.get().len(), most: item_bytes });
        }
        Ok(Progress { done, total, message: update.message, item: update.item })
    }
}

/// The jobs whose progress is to be told, each with the tick of the clock at which it is due.
#[derive(Debug, Default)]
pub(super) struct Due {
    jobs: Mutex<BTreeMap<u64, Vec<Arc<Active>>>>,
    sooner: Notify,
}

impl Due {
    /// Has the progress of a job told at `tick`.
    pub(super) fn put(&self, tick: u64, job: Arc<Active>) {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = jobs.first_key_value().is_none_or(|(first, _)| tick < *first);
        jobs.entry(tick).or_default().push(job);
        drop(jobs);
        if is_first {
            self.sooner.notify_one();
        }
    }

    /// Those that are due, and the tick at which the next is.
    fn take(&self, now: u64) -> (Vec<Arc<Active>>, Option<u64>) {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let later = jobs.split_off(&(now + 1));
        let due = std::mem::replace(&mut *jobs, later);
        (due.into_values().flatten().collect(), jobs.first_key_value().map(|(tick, _)| *tick))
    }
}

/// Tells the progress of jobs when it is due, until the jobs are no more.
pub(super) async fn tell(jobs: Weak<Jobs>, due: Arc<Due>) {
    loop {
        let next = match jobs.upgrade() {
            Some(jobs) => jobs.tell_progress().await,
            None => return,
        };
        let wait = next.unwrap_or(Duration::from_secs(5));
        // Without anything to tell it looks up now and then, to find out that there are no jobs any more.
        let _ = tokio::time::timeout(wait, due.sooner.notified()).await;
    }
}

impl Jobs {
    /// Tells what is due, and says after how long the next is.
    pub(super) async fn tell_progress(&self) -> Option<Duration> {
        let now = self.hub.clock().ticks();
        let (due, next) = self.due.take(now);
        for some in due.chunks(TOLD_AT_ONCE) {
            let told: Vec<(&Arc<Active>, NewEvent)> =
                some.iter().filter_map(|active| Some((active, self.progress_event(active, now)?))).collect();
            let (told, events): (Vec<_>, Vec<_>) = told.into_iter().unzip();
            if events.is_empty() {
                continue;
            }
            let appended = self.hub.append(events).await;
            told.iter().for_each(|active| active.was_told());
            if let Err(error) = appended {
                tracing::warn!(%error, "the progress of jobs can't be told; it is tried again");
                told.into_iter().for_each(|active| self.tell_soon(active));
            }
        }
        next.map(|next| Duration::from_millis(next.saturating_sub(self.hub.clock().ticks())))
    }

    /// Has the newest progress of a job told as soon as it is due.
    pub(super) fn tell_soon(&self, active: &Arc<Active>) {
        let mut shown = active.shown();
        if std::mem::replace(&mut shown.is_due, true) {
            return;
        }
        let (now, every) = (self.hub.clock().ticks(), self.settings.progress_every.as_millis() as u64);
        let at = shown.told_at.map_or(now, |told| (told + every).max(now));
        drop(shown);
        self.due.put(at, active.clone());
    }

    /// Has a progress told that waited for the state that is told now.
    pub(super) fn catch_up_progress(&self, active: &Arc<Active>) {
        if std::mem::take(&mut active.shown().is_held_back) {
            self.tell_soon(active);
        }
    }

    fn progress_event(&self, active: &Active, now: u64) -> Option<NewEvent> {
        let mut shown = active.shown();
        shown.is_due = false;
        if shown.job.state.is_end() || shown.lease.is_none() {
            return None;
        }
        if shown.job.announced < shown.job.revision {
            // The state comes first, with the progress that there is then: nobody is told of less done after more.
            shown.is_held_back = true;
            return None;
        }
        shown.told_at = Some(now);
        shown.is_telling = true;
        let data = shown.job.document_with(&shown.progress, None);
        Some(NewEvent { kept: false, ..self.event(&shown.job, "job.progress", data) })
    }
}
