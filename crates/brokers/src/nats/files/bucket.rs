//! The bucket: what is asked of the engine, in the form of an object store (ADR-20).

use std::collections::{BTreeSet, HashMap};
use std::error::Error;
use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::HeaderMap;
use async_nats::jetstream::context::{PublishAckFuture, PublishError};
use async_nats::jetstream::stream::{Config, DiscardPolicy, LastRawMessageErrorKind, RawMessageError, Stream};
use async_nats::jetstream::{self, ErrorCode};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use bytes::Bytes;
use futures_util::TryStreamExt;
use serde::{Deserialize, Serialize};
use tidings::job::{JobFileError, is_file_name};

use crate::nats::bucket::open_bucket;
use crate::nats::engine::{Engine, EngineError};

/// The bytes of a chunk, as other clients have it.
const CHUNK: usize = 128 << 10;

/// The member of a record's metadata that says where its chunks are.
const PLACES: &str = "tidings-chunks";

pub(super) struct Bucket {
    engine: Arc<Engine>,
    name: String,
    stream: Stream<()>,
}

/// What there is to know of a file (ADR-20, `ObjectInfo`).
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    pub name: String,
    pub bucket: String,
    /// What the chunks are found by: the name itself.
    pub nuid: String,
    /// In bytes.
    pub size: u64,
    pub chunks: u64,
    /// `SHA-256=` and the hash in base64.
    pub digest: String,
    pub options: RecordOptions,
    pub metadata: HashMap<String, String>,
}

/// A part of [`Record`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RecordOptions {
    /// The bytes of each chunk but the last.
    pub max_chunk_size: u64,
}

impl Record {
    /// Where its chunks are in the stream. Each as how far it is behind the one before: a file of 100 MB has 800 of them.
    pub fn places(&self) -> Option<Vec<u64>> {
        let mut at = 0u64;
        let text = self.metadata.get(PLACES)?;
        let places = text.split_ascii_whitespace().map(|step| {
            at = at.checked_add(step.parse().ok()?)?;
            Some(at)
        });
        places.collect::<Option<Vec<u64>>>().filter(|places| places.len() as u64 == self.chunks)
    }

    /// With its chunks at these places.
    pub fn with_places(mut self, places: &[u64]) -> Self {
        let mut before = 0;
        let steps = places.iter().map(|place| {
            let step = place - before;
            before = *place;
            step.to_string()
        });
        let steps = steps.collect::<Vec<_>>().join(" ");
        self.metadata.insert(PLACES.into(), steps);
        self
    }
}

impl Bucket {
    pub async fn open(engine: Arc<Engine>) -> Result<Self, EngineError> {
        let name = engine.bucket_name("files");
        let asked = Config {
            name: format!("OBJ_{name}"),
            description: Some("files that come with jobs".into()),
            subjects: vec![format!("$O.{name}.C.>"), format!("$O.{name}.M.>")],
            discard: DiscardPolicy::New,
            num_replicas: engine.copies(),
            allow_rollup: true,
            // All is asked of the leader: what was kept a moment ago at another replica is there.
            allow_direct: false,
            ..Config::default()
        };
        let stream = open_bucket(&engine, asked, "files of jobs").await?;
        Ok(Bucket { engine, name, stream })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The bytes of each chunk but the last. A message must have room for it.
    pub fn chunk_bytes(&self) -> usize {
        CHUNK.min(self.engine.client().server_info().max_payload / 2).max(1)
    }

    /// Refuses at once what would wait for an engine that is away.
    pub fn check_up(&self) -> Result<(), JobFileError> {
        match self.engine.down() {
            None => Ok(()),
            Some(down) => Err(JobFileError::Unavailable(format!("NATS is away: {}", down.why))),
        }
    }

    fn chunks_of(&self, name: &str) -> String {
        format!("$O.{}.C.{name}", self.name)
    }

    fn record_of(&self, name: &str) -> String {
        format!("$O.{}.M.{}", self.name, URL_SAFE.encode(name))
    }

    /// Sends a chunk, and returns what will say where it is.
    pub async fn send_chunk(&self, name: &str, chunk: Bytes) -> Result<PublishAckFuture, JobFileError> {
        self.check_up()?;
        self.engine.context().publish(self.chunks_of(name), chunk).await.map_err(|error| refused(&error))
    }

    /// Sends the record that makes a file of its chunks.
    pub async fn send_record(&self, record: &Record) -> Result<PublishAckFuture, JobFileError> {
        let text = serde_json::to_vec(record).map_err(unavailable)?;
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Rollup", "sub");
        let subject = self.record_of(&record.name);
        self.engine.context().publish_with_headers(subject, headers, text.into()).await.map_err(|error| refused(&error))
    }

    /// How many chunks there are.
    pub async fn count_chunks(&self, name: &str) -> Result<u64, JobFileError> {
        let subject = self.chunks_of(name);
        let mut found = self.stream.info_with_subjects(&subject).await.map_err(unavailable)?;
        let mut count = 0;
        while let Some((_, messages)) = found.try_next().await.map_err(unavailable)? {
            count += messages as u64;
        }
        Ok(count)
    }

    /// The record of a file, as the leader of the bucket has it: it may have been made a moment ago at another replica.
    pub async fn record(&self, name: &str) -> Result<Record, JobFileError> {
        self.check_up()?;
        let message = self.stream.get_last_raw_message_by_subject(&self.record_of(name)).await.map_err(missing)?;
        serde_json::from_slice(&message.payload).map_err(|error| damaged(name, error))
    }

    /// The chunk of a file at a place of the stream.
    pub async fn chunk(&self, name: &str, place: u64) -> Result<Bytes, JobFileError> {
        let message = self.stream.get_raw_message(place).await.map_err(missing)?;
        match message.subject.as_str() == self.chunks_of(name) {
            true => Ok(message.payload),
            false => Err(damaged(name, format_args!("its chunk at {place} is something else"))),
        }
    }

    /// Deletes a file. The record goes first: a file is found whole, or not at all.
    pub async fn remove(&self, name: &str) -> Result<(), JobFileError> {
        self.check_up()?;
        for subject in [self.record_of(name), self.chunks_of(name)] {
            self.stream.purge().filter(subject).await.map_err(unavailable)?;
        }
        Ok(())
    }

    /// Deletes a file that nobody waits for. What stays of it is found by the sweep.
    pub async fn discard(&self, name: &str) {
        if let Err(error) = self.remove(name).await {
            tracing::warn!(%error, "an upload that is not needed can't be deleted; it is tried again");
        }
    }

    /// The names of all of which there is a record or a chunk.
    pub async fn names(&self) -> Result<Vec<String>, JobFileError> {
        self.check_up()?;
        let prefix = format!("$O.{}.", self.name);
        let mut found = self.stream.info_with_subjects(format!("{prefix}>")).await.map_err(unavailable)?;
        let mut names = BTreeSet::new();
        while let Some((subject, _)) = found.try_next().await.map_err(unavailable)? {
            let name = subject.strip_prefix(&prefix).and_then(|rest| match rest.split_once('.')? {
                ("C", name) => Some(name.to_owned()),
                (_, name) => String::from_utf8(URL_SAFE.decode(name).ok()?).ok(),
            });
            names.extend(name.filter(|name| is_file_name(name)));
        }
        Ok(names.into_iter().collect())
    }

    /// For how long nothing of it was written: neither its record, nor a chunk.
    pub async fn age(&self, name: &str) -> Result<Option<Duration>, JobFileError> {
        self.check_up()?;
        for subject in [self.record_of(name), self.chunks_of(name)] {
            match self.stream.get_last_raw_message_by_subject(&subject).await {
                Ok(message) => {
                    let written = u64::try_from(message.time.unix_timestamp()).unwrap_or_default();
                    let written = UNIX_EPOCH + Duration::from_secs(written);
                    return Ok(Some(SystemTime::now().duration_since(written).unwrap_or_default()));
                }
                Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => {}
                Err(error) => return Err(unavailable(error)),
            }
        }
        Ok(None)
    }
}

/// A file of which not all is as it was written.
pub(super) fn damaged(name: &str, why: impl Display) -> JobFileError {
    JobFileError::Unavailable(format!("the file {name} is damaged: {why}"))
}

pub(super) fn unavailable(error: impl Display) -> JobFileError {
    JobFileError::Unavailable(error.to_string())
}

fn missing(error: RawMessageError) -> JobFileError {
    match error.kind() {
        LastRawMessageErrorKind::NoMessageFound => JobFileError::NotFound,
        _ => unavailable(error),
    }
}

/// What a publish that failed says: whether there is no room, or it can't be told now.
pub(super) fn refused(error: &PublishError) -> JobFileError {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<jetstream::Error>());
    match cause {
        Some(cause) if is_full(cause.error_code()) => JobFileError::NoRoom(format!("NATS says: {cause}")),
        _ => unavailable(error),
    }
}

/// Whether there is no room for more: on the servers, in the account, or in the bucket where somebody has limited it.
fn is_full(code: ErrorCode) -> bool {
    [
        ErrorCode::INSUFFICIENT_RESOURCES,
        ErrorCode::STORAGE_RESOURCES_EXCEEDED,
        ErrorCode::ACCOUNT_RESOURCES_EXCEEDED,
        ErrorCode::STREAM_STORE_FAILED,
    ]
    .contains(&code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(chunks: u64) -> Record {
        Record {
            name: "n".into(),
            bucket: "b".into(),
            nuid: "n".into(),
            size: 1,
            chunks,
            digest: String::new(),
            options: RecordOptions { max_chunk_size: 1 },
            metadata: HashMap::new(),
        }
    }

    proptest! {
        #[test]
        fn places_are_read_as_they_were_written(steps in prop::collection::vec(1u64..1 << 40, 0..50)) {
            let mut at = 0;
            let places: Vec<u64> = steps.iter().map(|step| { at += step; at }).collect();
            let record = record(places.len() as u64).with_places(&places);
            prop_assert_eq!(record.places(), Some(places));
        }
    }

    #[test]
    fn places_that_are_no_numbers_or_not_as_many_as_chunks_are_none() {
        let of = |chunks, text: &str| {
            let mut record = record(chunks);
            record.metadata.insert(PLACES.into(), text.into());
            record.places()
        };
        assert_eq!(of(2, "3 1"), Some(vec![3, 4]));
        for (chunks, text) in [(3, "3 1"), (1, "x"), (1, "-1"), (2, "18446744073709551615 1")] {
            assert_eq!(of(chunks, text), None, "{text}");
        }
        assert_eq!(record(0).places(), None);
    }
}
