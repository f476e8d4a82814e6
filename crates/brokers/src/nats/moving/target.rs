//! The stream that the log is moved to.

use serde_json::{Value, json};
use tidings::{Epoch, Offset};

use super::{LogMove, MoveError, Survey};
use crate::nats::api::{self, ApiError};
use crate::nats::engine::Engine;
use crate::nats::stream::{self, CreateError};

/// In the place of the version of its form while it is moved: hubs refuse to open it.
pub(in crate::nats) const MOVING: &str = "moving";

/// The member of the metadata that says up to where the log was moved.
const MOVED: &str = "tidings-moved";

/// What is there.
pub(super) struct Target {
    epoch: Option<Epoch>,
    pub first: u64,
    pub last: u64,
    pub messages: u64,
    consumers: u64,
    /// Whether it takes atomic batches.
    pub is_atomic: bool,
    /// Whether a log is on its way there.
    pub is_moving: bool,
    /// Up to where a log was moved there, if one was.
    pub moved: Option<Offset>,
    config: Value,
}

impl Target {
    fn read(info: &Value) -> Target {
        let number = |table: &str, name: &str| info[table][name].as_u64().unwrap_or(0);
        let metadata = &info["config"]["metadata"];
        let text = |name: &str| metadata[name].as_str();
        Target {
            epoch: text(stream::EPOCH).and_then(|text| u32::from_str_radix(text, 16).ok()).map(Epoch),
            first: number("state", "first_seq"),
            last: number("state", "last_seq"),
            messages: number("state", "messages"),
            consumers: number("state", "consumer_count"),
            is_atomic: info["config"]["allow_atomic"].as_bool().unwrap_or(false),
            is_moving: text(stream::FORMAT) == Some(MOVING),
            moved: text(MOVED).and_then(|place| place.parse().ok()).map(Offset),
            config: info["config"].clone(),
        }
    }

    /// Whether a hub has made it and never used it, and is not there now.
    pub fn is_unused(&self) -> bool {
        let is_log = self.epoch.is_some() && !self.is_moving && self.moved.is_none();
        is_log && self.last == 0 && self.messages == 0 && self.consumers == 0
    }

    /// Refuses what did not come from the log of this epoch.
    pub fn check(&self, engine: &Engine, epoch: Epoch) -> Result<(), MoveError> {
        if self.epoch == Some(epoch) && (self.is_moving || self.moved.is_some()) {
            return Ok(());
        }
        let stream = engine.stream_name();
        Err(MoveError::Refused(format!(
            "NATS has another log for this hub already, which did not come from here: the stream {stream} with {} messages. Give this hub \
             another name (`hub` of [broker.nats]), or stop those who use the stream and remove it (`nats stream rm {stream}`)",
            self.messages
        )))
    }
}

/// What there is of the stream.
pub(super) async fn look(engine: &Engine) -> Result<Option<Target>, MoveError> {
    match api::ask(engine, &question(engine, "INFO"), &json!({})).await {
        Ok(info) => Ok(Some(Target::read(&info))),
        Err(error) if error.err_code() == api::STREAM_NOT_FOUND => Ok(None),
        Err(error) => Err(interrupted(error)),
    }
}

/// Makes the stream, if there is none that was begun.
pub(super) async fn begin(log: &LogMove, survey: &Survey) -> Result<(), MoveError> {
    let engine = &log.engine;
    let found = match look(engine).await? {
        Some(found) if found.is_unused() => {
            api::ask(engine, &question(engine, "DELETE"), &json!({})).await.map_err(interrupted)?;
            None
        }
        found => found,
    };
    let Some(found) = found else {
        let mut asked = stream::config(engine, log.epoch, Some(survey.first));
        asked["metadata"][stream::FORMAT] = json!(MOVING);
        return stream::create(engine, asked).await.map_err(|error| match error {
            CreateError::Engine(error) => MoveError::Engine(error),
            CreateError::Exists => MoveError::Interrupted("somebody else has just made the stream".into()),
        });
    };
    found.check(engine, log.epoch)
}

/// Says in the stream that all is there.
pub(super) async fn finish(log: &LogMove, survey: &Survey) -> Result<(), MoveError> {
    let engine = &log.engine;
    let found = look(engine).await?.ok_or_else(|| MoveError::Refused("the stream is gone".into()))?;
    found.check(engine, log.epoch)?;
    if found.is_moving && found.last != survey.last.0 {
        return Err(MoveError::Refused(format!(
            "NATS has the log up to {}, and it ends at {}: it is not moved yet",
            found.last, survey.last.0
        )));
    }
    let mut config = found.config;
    config["metadata"][stream::FORMAT] = json!(stream::FORMAT_NOW);
    config["metadata"][MOVED] = json!(survey.last.0.to_string());
    api::ask(engine, &question(engine, "UPDATE"), &config).await.map_err(interrupted)?;
    Ok(())
}

fn question(engine: &Engine, what: &str) -> String {
    format!("STREAM.{what}.{}", engine.stream_name())
}

pub(super) fn interrupted(error: ApiError) -> MoveError {
    MoveError::Interrupted(error.to_string())
}
