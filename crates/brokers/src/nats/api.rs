//! Questions to JetStream, as JSON.

use std::time::Duration;

use async_nats::client::{Request, RequestErrorKind};
use serde::Deserialize;
use serde_json::Value;

use super::engine::{Engine, EngineError};

/// Why there is no answer to a question, or not the one that was hoped for.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum ApiError {
    /// Nobody took the question: the engine has no leader for it at the moment.
    #[error("NATS has nobody for it at the moment")]
    NoResponders,
    /// It was sent, and no answer came.
    #[error("NATS did not answer: {0}")]
    NoAnswer(String),
    /// The engine said no.
    #[error("NATS refused: {0}")]
    Refused(Refusal),
}

/// A no of JetStream.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Refusal {
    /// As in HTTP.
    #[serde(default)]
    pub code: u16,
    /// Which error, as in `errors.json` of nats-server.
    #[serde(default)]
    pub err_code: u16,
    /// A sentence.
    #[serde(default)]
    pub description: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.description, self.err_code)
    }
}

impl ApiError {
    /// Which error of JetStream it is, 0 if it is none.
    pub fn err_code(&self) -> u16 {
        match self {
            ApiError::Refused(refusal) => refusal.err_code,
            _ => 0,
        }
    }

    /// As a reason why the engine can't be used now.
    pub fn unreachable(self, engine: &Engine) -> EngineError {
        EngineError::Unreachable { at: engine.settings().shown_servers(), why: self.to_string() }
    }
}

/// There is no such stream.
pub(super) const STREAM_NOT_FOUND: u16 = 10059;
/// There is one, and it is another.
pub(super) const STREAM_NAME_IN_USE: u16 = 10058;
/// There is no such message.
pub(super) const NO_MESSAGE: u16 = 10037;

/// Asks `$JS.API.<question>`.
pub(super) async fn ask(engine: &Engine, question: &str, body: &Value) -> Result<Value, ApiError> {
    ask_within(engine, question, body, None).await
}

/// Asks, and waits no longer than `patience`.
pub(super) async fn ask_within(
    engine: &Engine,
    question: &str,
    body: &Value,
    patience: Option<Duration>,
) -> Result<Value, ApiError> {
    let mut request = Request::new().payload(body.to_string().into());
    if patience.is_some() {
        request = request.timeout(patience);
    }
    let answer = engine.client().send_request(format!("$JS.API.{question}"), request).await;
    let answer = answer.map_err(|error| match error.kind() {
        RequestErrorKind::NoResponders => ApiError::NoResponders,
        _ => ApiError::NoAnswer(error.to_string()),
    })?;
    let answer: Value =
        serde_json::from_slice(&answer.payload).map_err(|error| ApiError::NoAnswer(format!("no JSON: {error}")))?;
    match answer.get("error") {
        Some(error) => Err(ApiError::Refused(Refusal::deserialize(error).unwrap_or_default())),
        None => Ok(answer),
    }
}
