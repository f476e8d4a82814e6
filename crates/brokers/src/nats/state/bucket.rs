//! A bucket of NATS: the newest value of each name, in a stream of its own. Other programs read it as a key-value bucket of NATS
//! (ADR-8).

use std::collections::HashMap;
use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use async_nats::jetstream::stream::{
    self, DiscardPolicy, LastRawMessageErrorKind, RetentionPolicy, StorageType, Stream,
};
use async_nats::jetstream::{Error as JetStreamError, ErrorCode};
use bytes::Bytes;
use serde_json::json;

use crate::nats::api;
use crate::nats::bucket::open_bucket;
use crate::nats::stream::is_led;
use crate::nats::{Engine, EngineError};
use crate::state::StateError;

/// The header that says that a name was removed, and what it says then (ADR-8).
const OPERATION: &str = "KV-Operation";
const DELETED: &str = "DEL";

/// How often it is looked whether the connection that a question went over is still there.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How long the leader is waited for.
const LED_WITHIN: Duration = Duration::from_secs(2);

/// What a bucket is to be.
pub(super) struct Shape {
    /// What it holds, in a word: part of its name.
    pub of: &'static str,
    /// How long a value is kept; zero is for ever.
    pub max_age: Duration,
    /// How many names it may hold. Each is some hundred bytes on each server.
    pub most: u32,
    /// What happens when there are more.
    pub discard: DiscardPolicy,
}

/// A value, with the revision by which it is changed or removed on the condition that nobody else did.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub value: Bytes,
    pub revision: u64,
}

/// A bucket. Each question is answered by the leader, so what one replica was told as done, all others see.
pub(super) struct Bucket {
    engine: Arc<Engine>,
    of: &'static str,
    stream: Stream<()>,
    name: String,
    /// What the subjects of its names begin with.
    prefix: String,
}

impl Bucket {
    /// Makes it, or takes the one that is there. One that is not as it should be is refused.
    pub async fn open(engine: &Arc<Engine>, shape: Shape) -> Result<Self, EngineError> {
        let bucket = engine.bucket_name(shape.of);
        let (name, prefix) = (format!("KV_{bucket}"), format!("$KV.{bucket}."));
        let asked = config(&name, &prefix, engine.copies(), &shape);
        let stream = open_bucket(engine, asked, shape.of).await?;
        Ok(Bucket { engine: engine.clone(), of: shape.of, stream, name, prefix })
    }

    /// The engine it is in.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// What it holds, in a word.
    pub fn of(&self) -> &'static str {
        self.of
    }

    /// The name of its stream.
    pub fn stream_name(&self) -> &str {
        &self.name
    }

    /// The subjects of all its names.
    pub fn subjects(&self) -> String {
        format!("{}>", self.prefix)
    }

    /// The name that a subject of the bucket is about.
    pub fn name_of<'a>(&self, subject: &'a str) -> Option<&'a str> {
        subject.strip_prefix(&self.prefix)
    }

    /// The newest value of a name.
    pub async fn get(&self, name: &str) -> Result<Option<Entry>, StateError> {
        let newest = self.newest(name).await?;
        Ok(newest.and_then(|(value, revision)| Some(Entry { value: value?, revision })))
    }

    /// The newest change of a name with its revision; without a value it is a removal.
    pub async fn newest(&self, name: &str) -> Result<Option<(Option<Bytes>, u64)>, StateError> {
        let message = self.last_of(&self.subject(name)).await?;
        Ok(message.map(|message| ((!is_deleted(&message.headers)).then_some(message.payload), message.sequence)))
    }

    /// The revision of the newest change of any name; 0 if there was none.
    pub async fn last_revision(&self) -> Result<u64, StateError> {
        Ok(self.last_of(&self.subjects()).await?.map_or(0, |message| message.sequence))
    }

    /// Whether its leader answers, and most copies answer that one.
    pub async fn is_led(&self) -> bool {
        if self.check_up().is_err() {
            return false;
        }
        let question = format!("STREAM.INFO.{}", self.name);
        let info = api::ask_within(&self.engine, &question, &json!({}), Some(LED_WITHIN)).await;
        info.is_ok_and(|info| is_led(&info))
    }

    /// Gives a name that has no value this one. `None` if it has one.
    pub async fn create(&self, name: &str, value: impl Into<Bytes>) -> Result<Option<u64>, StateError> {
        let value = value.into();
        if let Some(revision) = self.put(name, value.clone(), Some(0)).await? {
            return Ok(Some(revision));
        }
        // Perhaps it had one that was removed.
        match self.last_of(&self.subject(name)).await? {
            Some(last) if is_deleted(&last.headers) => self.put(name, value, Some(last.sequence)).await,
            Some(_) => Ok(None),
            None => self.put(name, value, Some(0)).await,
        }
    }

    /// Gives a name another value, if nobody has changed it since `revision`. `None` if somebody has.
    pub async fn update(&self, name: &str, value: impl Into<Bytes>, revision: u64) -> Result<Option<u64>, StateError> {
        self.put(name, value.into(), Some(revision)).await
    }

    /// Gives a name a value, whatever it has.
    pub async fn set(&self, name: &str, value: impl Into<Bytes>) -> Result<(), StateError> {
        self.put(name, value.into(), None).await.map(drop)
    }

    /// Removes the value of a name, if nobody has changed it since `revision`, and returns the revision of the removal. `None` if
    /// somebody has.
    pub async fn delete(&self, name: &str, revision: u64) -> Result<Option<u64>, StateError> {
        let message = PublishMessage::build().header(OPERATION, DELETED);
        self.publish(name, message, Some(revision)).await
    }

    /// Removes a name up to a revision, and leaves no trace: those who follow the bucket are not told.
    pub async fn forget(&self, name: &str, revision: u64) -> Result<(), StateError> {
        let purge = self.stream.purge().filter(self.subject(name)).sequence(revision + 1);
        self.ask(async { purge.await.map(drop).map_err(|error| self.unavailable(&error)) }).await
    }

    /// Asks something over the connection, and gives up when that is cut meanwhile: on the next one no answer comes.
    pub async fn ask<T>(&self, question: impl Future<Output = Result<T, StateError>>) -> Result<T, StateError> {
        self.check_up()?;
        tokio::select! {
            biased;
            answer = question => answer,
            away = self.cut() => Err(away),
        }
    }

    /// Comes when the connection that there is now is no more.
    pub async fn cut(&self) -> StateError {
        let connects = || self.engine.client().statistics().connects.load(Ordering::Relaxed);
        let before = connects();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if let Err(away) = self.check_up() {
                return away;
            }
            if connects() != before {
                return StateError::Unavailable("the connection to NATS was cut and is back".into());
            }
        }
    }

    fn subject(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    async fn last_of(&self, subject: &str) -> Result<Option<StreamMessage>, StateError> {
        let question = async {
            match self.stream.get_last_raw_message_by_subject(subject).await {
                Ok(message) => Ok(Some(message)),
                Err(error) if matches!(error.kind(), LastRawMessageErrorKind::NoMessageFound) => Ok(None),
                Err(error) => Err(self.unavailable(&error)),
            }
        };
        self.ask(question).await
    }

    async fn put(&self, name: &str, value: Bytes, expected: Option<u64>) -> Result<Option<u64>, StateError> {
        self.publish(name, PublishMessage::build().payload(value), expected).await
    }

    /// `None` if the newest revision of the name is not the expected one.
    async fn publish(
        &self,
        name: &str,
        message: PublishMessage,
        expected: Option<u64>,
    ) -> Result<Option<u64>, StateError> {
        let message = match expected {
            Some(revision) => message.header(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, revision.to_string().as_str()),
            None => message,
        };
        let question = async {
            match self.engine.context().send_publish(self.subject(name), message).await {
                Ok(sent) => sent.await.map(|acknowledged| Some(acknowledged.sequence)),
                Err(error) => Err(error),
            }
            .or_else(|error| self.refused(&error))
        };
        self.ask(question).await
    }

    /// What a publish that was refused means: `None` if its condition did not hold.
    fn refused(&self, error: &PublishError) -> Result<Option<u64>, StateError> {
        let refused = error.source().and_then(|source| source.downcast_ref::<JetStreamError>());
        match (error.kind(), refused.map(JetStreamError::error_code)) {
            // In a cluster the leader may know it before it is stored, and then says it with the other code.
            (PublishErrorKind::WrongLastSequence, _) | (_, Some(ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT)) => {
                Ok(None)
            }
            (PublishErrorKind::MaxPayloadExceeded, _) => {
                Err(StateError::Broken(format!("NATS does not take messages this large: {error}")))
            }
            (_, Some(ErrorCode::STREAM_STORE_FAILED)) => {
                Err(StateError::Full(format!("NATS has no room for more {}: {error}", self.of)))
            }
            _ => Err(self.unavailable(error)),
        }
    }

    /// An error while the engine is away: else what is asked would wait for it, and be done when nobody counts on it any more.
    fn check_up(&self) -> Result<(), StateError> {
        match self.engine.down() {
            None => Ok(()),
            Some(down) => Err(StateError::Unavailable(format!("NATS is away: {}", down.why))),
        }
    }

    fn unavailable(&self, error: &dyn std::error::Error) -> StateError {
        let why = error.source().map_or_else(String::new, |source| format!(": {source}"));
        StateError::Unavailable(format!("NATS did not answer about {}: {error}{why}", self.of))
    }
}

/// Whether a message says that its name was removed.
pub(super) fn is_deleted(headers: &HeaderMap) -> bool {
    headers.get(OPERATION).is_some()
}

fn config(name: &str, prefix: &str, copies: usize, shape: &Shape) -> stream::Config {
    stream::Config {
        name: name.to_owned(),
        subjects: vec![format!("{prefix}>")],
        max_messages: i64::from(shape.most),
        max_messages_per_subject: 1,
        max_bytes: -1,
        max_message_size: -1,
        max_consumers: -1,
        max_age: shape.max_age,
        discard: shape.discard,
        retention: RetentionPolicy::Limits,
        storage: StorageType::File,
        num_replicas: copies,
        duplicate_window: if shape.max_age.is_zero() { DUPLICATES } else { DUPLICATES.min(shape.max_age) },
        allow_rollup: true,
        deny_delete: true,
        // What is read must be what the leader has.
        allow_direct: false,
        metadata: HashMap::new(),
        ..stream::Config::default()
    }
}

/// Nothing in a bucket is sent with a number of its own. It must not be longer than the values are kept.
const DUPLICATES: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests;
