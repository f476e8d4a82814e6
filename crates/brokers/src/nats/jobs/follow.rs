//! What other replicas do with jobs, as the stream tells it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::{Message, Subscriber};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use tidings::job::{JobId, JobNews, JobStoreError, Renewal};

use super::Shared;
use super::key::{self, Part};
use super::noted::Noted;
use super::record::{Record, Unread};
use super::told::Told;
use crate::nats::kept_up::caught;
use crate::nats::pushed::Heard;

/// How long it waits to follow again after that failed.
const AGAIN: Duration = Duration::from_millis(500);

/// The header of a message by which another program has removed a key (ADR-8).
const OPERATION: &str = "KV-Operation";

/// A job was forgotten. Told without being kept: who misses it finds out when it would forget the job itself.
#[derive(Serialize, Deserialize)]
pub(super) struct Removal {
    pub id: JobId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Up to which sequence.
    pub until: u64,
}

/// A worker that was heard.
#[derive(Serialize, Deserialize)]
pub(super) struct Renewed {
    pub lease: [u8; 32],
    pub replica: u64,
}

/// Follows the stream for as long as the task is let.
pub(super) async fn follow(shared: Arc<Shared>, mut removals: Subscriber) {
    loop {
        let ended = caught(follow_once(&shared, &mut removals)).await;
        if let Err(error) = ended.unwrap_or_else(|panicked| Err(JobStoreError(panicked.to_string()))) {
            tracing::warn!(%error, "jobs can't be followed in NATS; it is tried again");
        }
        shared.follows.store(false, Ordering::SeqCst);
        tokio::time::sleep(AGAIN).await;
    }
}

async fn follow_once(shared: &Arc<Shared>, removals: &mut Subscriber) -> Result<(), JobStoreError> {
    let seen = *shared.seen.borrow();
    let mut pushed = shared.stream.follow(key::FOLLOWED, seen + 1).await?;
    shared.follows.store(true, Ordering::SeqCst);
    loop {
        tokio::select! {
            heard = pushed.next() => if let Heard::Message(message, sequence) = heard.map_err(JobStoreError)? {
                shared.take(sequence, &message).await?;
            },
            Some(removal) = removals.next() => {
                if let Ok(Removal { id, until, .. }) = serde_json::from_slice(&removal.payload) {
                    shared.forget(&id, until);
                }
            }
        }
    }
}

impl Shared {
    async fn take(&self, sequence: u64, message: &Message) -> Result<(), JobStoreError> {
        let part = self.stream.key(&message.subject).and_then(key::read);
        if let Some((id, part)) = part {
            self.take_part(sequence, id, part, message).await?;
        }
        // On a copy that is behind, NATS 2.10 begins at an older place than it was asked to.
        self.seen.send_modify(|seen| *seen = sequence.max(*seen));
        Ok(())
    }

    /// What can't be read is told, and passed over: it would be the same the next time.
    async fn take_part(&self, sequence: u64, id: JobId, part: Part, message: &Message) -> Result<(), JobStoreError> {
        let damaged =
            |error: &dyn std::fmt::Display| tracing::error!(job = %id, %error, "what NATS has of a job is damaged");
        if message.headers.as_ref().is_some_and(|headers| headers.get(OPERATION).is_some()) {
            if part == Part::Record {
                self.forget(&id, sequence);
            }
            return Ok(());
        }
        let payload = &message.payload;
        match part {
            Part::Record => match Record::read(payload) {
                Ok(record) => match self.take_record(sequence, record).await {
                    Ok(()) => {}
                    Err(Unread::Unanswered(error)) => return Err(error),
                    // Else it is gone, or was changed, since it was put.
                    Err(Unread::Damaged(error)) if self.is_newest(&id, sequence).await? => damaged(&error),
                    Err(Unread::Damaged(_)) => {}
                },
                Err(unread) => damaged(&JobStoreError::from(unread)),
            },
            Part::Announced => match serde_json::from_slice::<Told>(payload) {
                Ok(told) => self.take_told(sequence, id, &told),
                Err(error) => damaged(&error),
            },
            Part::Progress => match Noted::read(payload) {
                Ok(noted) => {
                    let is_its = self.index().take_progress(&id, sequence, &noted);
                    if is_its {
                        self.tell(|| JobNews::Progress { id, progress: noted.progress });
                    }
                }
                Err(error) => damaged(&error),
            },
            Part::Renewal => match serde_json::from_slice::<Renewed>(payload) {
                Ok(Renewed { lease, replica }) => self.tell(|| JobNews::Renewed(Renewal { id, lease, replica })),
                Err(error) => damaged(&error),
            },
        }
        Ok(())
    }

    async fn take_record(&self, sequence: u64, record: Record) -> Result<(), Unread> {
        let id = record.job.id.clone();
        let known = self.index().get(&id).and_then(|known| known.input.clone());
        let is_open = record.job.ended.is_none();
        let (job, input) = record.whole(&self.stream, is_open, known).await?;
        let announced = {
            let mut index = self.index();
            index.take(sequence, &job, input);
            index.announced(&id, job.created)
        };
        self.tell(|| JobNews::Changed(Box::new(tidings::job::Job { announced: job.announced.max(announced), ..job })));
        Ok(())
    }

    fn take_told(&self, sequence: u64, id: JobId, told: &Told) {
        let revision = told.revision;
        let is_its = {
            let mut index = self.index();
            let is_its = index.get(&id).is_some_and(|known| known.created == told.created);
            if is_its {
                index.take_told(&id, super::index::Told { sequence, revision });
            }
            is_its
        };
        if is_its {
            self.tell(|| JobNews::Announced { id, revision });
        }
    }

    /// A job was removed, by whomever.
    pub(super) fn forget(&self, id: &JobId, until: u64) {
        let removed = self.index().remove(id, until);
        if let Some(namespace) = removed {
            let namespace = namespace.map(|namespace| namespace.to_string());
            self.tell(|| JobNews::Removed { id: id.clone(), namespace });
        }
    }

    fn tell(&self, news: impl FnOnce() -> JobNews) {
        if let Some(watcher) = self.watcher().as_ref().and_then(std::sync::Weak::upgrade) {
            watcher.heard(news());
        }
    }
}
