//! The stream that holds the jobs: the newest message of each subject, as a key-value bucket of NATS has them (ADR-8).

use std::sync::Arc;
use std::time::Duration;

use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use async_nats::jetstream::stream::{
    self, DiscardPolicy, LastRawMessageErrorKind, RawMessageErrorKind, RetentionPolicy, StorageType, Stream,
};
use async_nats::jetstream::{self, ErrorCode};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use tidings::job::JobStoreError;

use crate::nats::bucket::open_bucket;
use crate::nats::pushed::{Pace, Pushed};
use crate::nats::{Engine, EngineError};

/// What the bucket is called, behind the name of the hub.
const BUCKET: &str = "jobs";

/// How many messages are on their way at once: more than fit into a round trip.
const IN_FLIGHT: usize = 128;

/// How often the one that follows is heard of when nothing happens, after how long a silence another is made, and for how long the server
/// keeps one that nobody hears.
const HEARTBEAT: Duration = Duration::from_secs(1);
const SILENCE: Duration = Duration::from_millis(3_500);
const UNHEARD: Duration = Duration::from_secs(30);

/// The stream.
pub(super) struct JobStream {
    engine: Arc<Engine>,
    stream: Stream<()>,
    name: String,
    prefix: String,
}

impl JobStream {
    /// Makes it, or takes the one that is there. One that is not as it should be is refused.
    pub async fn open(engine: &Arc<Engine>) -> Result<Self, EngineError> {
        let bucket = engine.bucket_name(BUCKET);
        let (name, prefix) = (format!("KV_{bucket}"), format!("$KV.{bucket}."));
        let asked = config(&name, &prefix, engine.copies());
        let stream = open_bucket(engine, asked, "jobs").await?;
        Ok(JobStream { engine: engine.clone(), stream, name, prefix })
    }

    /// The connection.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The most bytes of one message, but for its headers.
    pub fn most_bytes(&self) -> usize {
        self.engine.client().server_info().max_payload.saturating_sub(1_024)
    }

    /// The key that a subject of the stream is of.
    pub fn key<'a>(&self, subject: &'a str) -> Option<&'a str> {
        subject.strip_prefix(&self.prefix)
    }

    /// The newest message of a key, or of the keys that a pattern fits. As the leader has it: what another replica was told to be done, is there.
    pub async fn last(&self, key: &str) -> Result<Option<StreamMessage>, JobStoreError> {
        self.check_up()?;
        match self.stream.get_last_raw_message_by_subject(&self.subject(key)).await {
            Ok(message) => Ok(Some(message)),
            Err(error) if matches!(error.kind(), LastRawMessageErrorKind::NoMessageFound) => Ok(None),
            Err(error) => Err(unavailable(&error)),
        }
    }

    /// The first message of the keys that a pattern fits, at a sequence or behind it.
    pub async fn next(&self, keys: &str, sequence: u64) -> Result<Option<StreamMessage>, JobStoreError> {
        self.check_up()?;
        let asked = self.stream.raw_message_builder().sequence(sequence.max(1)).next_by_subject(self.subject(keys));
        match asked.send().await {
            Ok(message) => Ok(Some(message)),
            Err(error) if matches!(error.kind(), RawMessageErrorKind::NoMessageFound) => Ok(None),
            Err(error) => Err(unavailable(&error)),
        }
    }

    /// Puts a value. With `expected` only if the newest message of the key has that sequence, 0 if there is none: else it is `None`.
    pub async fn put(&self, key: &str, value: Bytes, expected: Option<u64>) -> Result<Option<u64>, JobStoreError> {
        self.check_up()?;
        let message = PublishMessage::build().payload(value);
        let message = match expected {
            Some(sequence) => message.header(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, sequence.to_string().as_str()),
            None => message,
        };
        let error = match self.engine.context().send_publish(self.subject(key), message).await {
            Ok(sent) => match sent.await {
                Ok(acknowledged) => return Ok(Some(acknowledged.sequence)),
                Err(error) => error,
            },
            Err(error) => error,
        };
        let refused = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<jetstream::Error>());
        match (error.kind(), refused.map(jetstream::Error::error_code)) {
            // In a cluster the leader may know it before it is stored, and then says it with the other code.
            (PublishErrorKind::WrongLastSequence, _) | (_, Some(ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT)) => {
                Ok(None)
            }
            _ => Err(unavailable(&error)),
        }
    }

    /// Puts many values, whatever there was.
    pub async fn put_all(&self, values: Vec<(String, Bytes)>) -> Result<(), JobStoreError> {
        let put = |(key, value): (String, Bytes)| async move { self.put(&key, value, None).await.map(drop) };
        futures_util::stream::iter(values).map(put).buffer_unordered(IN_FLIGHT).try_collect().await
    }

    /// Forgets all messages of the keys that a pattern fits, up to and with a sequence. Nobody is told.
    pub async fn purge(&self, keys: &str, until: u64) -> Result<(), JobStoreError> {
        self.check_up()?;
        let purged = self.stream.purge().filter(self.subject(keys)).sequence(until + 1).await;
        purged.map(drop).map_err(|error| unavailable(&error))
    }

    /// The keys that a pattern fits.
    pub async fn keys(&self, pattern: &str) -> Result<Vec<String>, JobStoreError> {
        self.check_up()?;
        let found = self.stream.info_with_subjects(self.subject(pattern)).await;
        let found: Vec<(String, usize)> = match found {
            Ok(found) => found.try_collect().await.map_err(|error| unavailable(&error))?,
            Err(error) => return Err(unavailable(&error)),
        };
        Ok(found.iter().filter_map(|(subject, _)| self.key(subject).map(str::to_owned)).collect())
    }

    /// What is put for the keys that a pattern fits, from a sequence on, in order.
    pub async fn follow(&self, keys: &str, from: u64) -> Result<Pushed<'_>, JobStoreError> {
        self.check_up()?;
        let pace = Pace { heartbeat: HEARTBEAT, silence: SILENCE, unheard: UNHEARD };
        let from = DeliverPolicy::ByStartSequence { start_sequence: from.max(1) };
        let made = Pushed::make(&self.engine, &self.name, self.subject(keys), from, pace).await;
        made.map_err(JobStoreError)
    }

    fn subject(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// An error while the engine is away: else what is asked would wait for it, and be done when nobody counts on it any more.
    fn check_up(&self) -> Result<(), JobStoreError> {
        match self.engine.down() {
            None => Ok(()),
            Some(down) => Err(JobStoreError(format!("NATS is away: {}", down.why))),
        }
    }
}

/// How many jobs are asked about at once.
pub(super) const ASKED_AT_ONCE: usize = IN_FLIGHT;

fn unavailable(error: &dyn std::error::Error) -> JobStoreError {
    let why = error.source().map_or_else(String::new, |source| format!(": {source}"));
    JobStoreError(format!("NATS did not answer about jobs: {error}{why}"))
}

fn config(name: &str, prefix: &str, copies: usize) -> stream::Config {
    stream::Config {
        name: name.to_owned(),
        subjects: vec![format!("{prefix}>")],
        max_messages: -1,
        max_messages_per_subject: 1,
        max_bytes: -1,
        max_message_size: -1,
        max_consumers: -1,
        discard: DiscardPolicy::New,
        retention: RetentionPolicy::Limits,
        storage: StorageType::File,
        num_replicas: copies,
        allow_rollup: true,
        deny_delete: true,
        // What is read must be what the leader has.
        allow_direct: false,
        ..stream::Config::default()
    }
}
