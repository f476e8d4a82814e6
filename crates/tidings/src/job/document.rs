//! What others are told of a job: `protocol/README.md` §10.1.

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::progress::Progress;
use super::record::{Failure, Job, JobId, JobState};
use crate::clock::Timestamp;

#[derive(Serialize)]
struct Document<'a> {
    id: &'a JobId,
    kind: &'a str,
    state: JobState,
    attempt: u32,
    attempts: u32,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    canceling: bool,
    progress: Shown<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "is_zero")]
    items: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first: Option<Vec<Box<RawValue>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a Failure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<&'a str>,
    created: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<Timestamp>,
    updated: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<Timestamp>,
    revision: u64,
}

#[derive(Serialize)]
struct Shown<'a> {
    done: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fraction: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    item: Option<&'a RawValue>,
}

fn is_zero(items: &u64) -> bool {
    *items == 0
}

impl Job {
    /// What others are told of it, as JSON. `first` are the first items of its result, where they are told with the end.
    pub fn document(&self, first: Option<&[Bytes]>) -> Bytes {
        self.document_with(&self.progress, first)
    }

    /// The same with a newer progress than the record has.
    pub(super) fn document_with(&self, progress: &Progress, first: Option<&[Bytes]>) -> Bytes {
        let item = |item: &Bytes| serde_json::from_slice(item).ok();
        let document = Document {
            id: &self.id,
            kind: &self.kind,
            state: self.state,
            attempt: self.attempt,
            attempts: self.attempts,
            canceling: self.canceling.is_some() && !self.state.is_end(),
            progress: Shown {
                done: progress.done,
                total: progress.total,
                fraction: self.fraction(progress),
                message: progress.message.as_deref(),
                item: progress.item.as_deref(),
            },
            result: self.result.as_deref(),
            items: self.items,
            first: first.map(|first| first.iter().filter_map(item).collect()),
            error: self.error.as_ref(),
            owner: self.owner.as_deref(),
            created: self.created,
            started: self.started,
            updated: self.updated,
            ended: self.ended,
            revision: self.revision,
        };
        // A record holds nothing that JSON can't say.
        serde_json::to_vec(&document).map(Bytes::from).unwrap_or_else(|_| Bytes::from_static(b"{}"))
    }

    /// How much of it is done, 0 to 1. What is completed is all done, also if its worker never said how much there is.
    fn fraction(&self, progress: &Progress) -> Option<f64> {
        if self.state == JobState::Completed {
            return Some(1.0);
        }
        let total = progress.total.filter(|total| *total > 0)?;
        Some((progress.done as f64 / total as f64).min(1.0))
    }
}
