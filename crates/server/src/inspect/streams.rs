//! Who is connected, and sending somebody away.

use axum::response::{IntoResponse, Response};
use http::{StatusCode, request};
use serde::Serialize;
use tidings::{CloseReason, Principal};
use tidings_transports::Problem;
use tidings_transports::lane::OpenStream;

use super::{Inspector, last_segment};

#[derive(Debug, Serialize)]
pub(super) struct Streams {
    streams: Vec<Shown>,
}

/// One open stream as it is shown.
#[derive(Debug, Serialize)]
struct Shown {
    id: String,
    principal: String,
    source: &'static str,
    profile: String,
    transport: &'static str,
    topics: Option<Vec<String>>,
    names: Option<Vec<String>>,
    lag: Option<u64>,
    /// Milliseconds since 1970.
    opened: u64,
}

impl Inspector {
    pub(super) async fn streams(&self) -> Streams {
        let open = self.service.streams().await;
        Streams { streams: open.iter().map(|stream| self.shown(stream)).collect() }
    }

    fn shown(&self, stream: &OpenStream) -> Shown {
        let profile = self.service.hub.profiles().of(stream.principal.namespace.as_deref().unwrap_or_default());
        let local = |topic: &str| profile.local(topic).to_owned();
        let (topics, names) = (stream.filter.topics.as_ref(), stream.filter.names.as_ref());
        Shown {
            id: stream.id.to_string(),
            principal: stream.principal.id.to_string(),
            source: stream.principal.source,
            profile: stream.profile.clone(),
            transport: stream.transport,
            topics: topics.map(|topics| topics.iter().map(|topic| local(topic.as_str())).collect()),
            names: names.map(|names| names.iter().map(|name| name.to_string()).collect()),
            lag: stream.lag,
            opened: stream.opened.0,
        }
    }

    /// Ends the stream that the path names, for good: its client is told not to come back.
    pub(super) async fn disconnect(&self, parts: &request::Parts, by: &Principal) -> Result<Response, Problem> {
        let gone = || Problem::new(StatusCode::NOT_FOUND, "no-such-stream", "there is no such stream, or it has ended");
        let id = last_segment(parts).parse().map_err(|_| gone())?;
        if !self.service.disconnect(id, CloseReason::Disconnected).await {
            return Err(gone());
        }
        tracing::info!(by = %by.id, stream = %id, "disconnected");
        Ok(StatusCode::NO_CONTENT.into_response())
    }
}
