//! Messages that are appended as one atomic batch (ADR-50): where servers sync each append, they share one sync.

use std::sync::atomic::Ordering;

use serde::Deserialize;
use tidings::Offset;

use super::copy::{expecting, out_of_place};
use super::{LogMove, MoveError, Written};
use crate::nats::api::Refusal;

/// How many are in one. Servers take 1,000.
const MOST: usize = 500;

/// How many bytes of them, about.
const MOST_BYTES: usize = 4 << 20;

/// What is gathered for the next.
#[derive(Default)]
pub(super) struct Batch {
    gathered: Vec<(Offset, Written)>,
    bytes: usize,
}

/// What the engine says to the last of a batch.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    seq: u64,
    error: Option<Refusal>,
}

impl Batch {
    pub fn is_full(&self) -> bool {
        self.gathered.len() >= MOST || self.bytes >= MOST_BYTES
    }

    pub fn add(&mut self, place: Offset, written: Written) {
        self.bytes += written.bytes();
        self.gathered.push((place, written));
    }

    /// Appends what is gathered, and returns the place of the last; `None` if there is nothing.
    pub async fn append(&mut self, log: &LogMove) -> Result<Option<Offset>, MoveError> {
        self.bytes = 0;
        let gathered = std::mem::take(&mut self.gathered);
        let count = gathered.len();
        let Some((last, _)) = gathered.last() else { return Ok(None) };
        let last = *last;
        let client = log.engine.client();
        // Another for each try: of one that was cut off the server still has the beginning.
        let id = format!("tidings-move-{:016x}", log.batches.fetch_add(1, Ordering::Relaxed));
        for (index, (place, written)) in gathered.into_iter().enumerate() {
            // What is expected is looked at with the first, and the others stand behind it.
            let mut headers = match index {
                0 => expecting(log, place, written.header),
                _ => super::copy::headers(log, written.header),
            };
            headers.insert("Nats-Batch-Id", id.as_str());
            headers.insert("Nats-Batch-Sequence", (index + 1).to_string());
            if index + 1 < count {
                let sent = client.publish_with_headers(written.subject, headers, written.data).await;
                sent.map_err(|error| interrupted(&error))?;
                continue;
            }
            headers.insert("Nats-Batch-Commit", "1");
            let sent = client.request_with_headers(written.subject, headers, written.data).await;
            let answer = sent.map_err(|error| interrupted(&error))?;
            let answer: Answer = serde_json::from_slice(&answer.payload).map_err(|error| interrupted(&error))?;
            return match answer {
                Answer { error: Some(refusal), .. } => Err(interrupted(&refusal)),
                Answer { seq, .. } if seq == last.0 => Ok(Some(last)),
                Answer { seq, .. } => Err(out_of_place(last, seq)),
            };
        }
        Ok(None)
    }
}

fn interrupted(why: &dyn std::fmt::Display) -> MoveError {
    MoveError::Interrupted(format!("NATS did not take a batch: {why}"))
}
