//! Events on their way to the stream, and what the engine says to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_nats::HeaderMap;
use async_nats::client::{Request, RequestErrorKind};
use bytes::Bytes;
use serde::Deserialize;
use tidings::BrokerError;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::api::Refusal;
use super::codec;
use super::engine::Engine;

/// How many atomic batches of one process are on their way: servers take 50 of a stream at once, of all replicas together.
const BATCHES_AT_ONCE: usize = 12;

/// An event as it goes to the stream.
#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    pub subject: String,
    pub header: String,
    pub id: Option<String>,
    pub payload: Bytes,
}

/// What the engine says to one message.
pub(super) enum Ack {
    Taken {
        place: u64,
        again: bool,
    },
    /// Not as a batch: a part of it was taken before, or the server takes no ids in a batch (2.12.0).
    OneByOne,
    NotTaken(String),
    Unclear(String),
    Failed(BrokerError),
}

#[derive(Deserialize)]
struct PubAck {
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    duplicate: bool,
    error: Option<Refusal>,
}

/// Sends events to the stream.
pub(super) struct Courier {
    engine: Arc<Engine>,
    stream: String,
    process: u64,
    batches: AtomicU64,
    on_their_way: Semaphore,
}

impl Courier {
    pub fn new(engine: Arc<Engine>, process: u64) -> Courier {
        let stream = engine.stream_name();
        Courier { engine, stream, process, batches: AtomicU64::new(0), on_their_way: Semaphore::new(BATCHES_AT_ONCE) }
    }

    /// Sends one event.
    pub async fn send(&self, event: &Outgoing, until: Instant) -> Ack {
        self.ask(event, event.headers(&self.stream), until).await
    }

    /// Sends several as one atomic batch (ADR-50), of [`MOST_IN_BATCH`](super::publisher::MOST_IN_BATCH) at most. Where it is taken, `place` is that of the last.
    pub async fn send_batch(&self, events: &[Outgoing], until: Instant) -> Ack {
        let Ok(_permit) = self.on_their_way.acquire().await else {
            return Ack::NotTaken("stopped".into());
        };
        let id = format!("{:016x}-{}", self.process, self.batches.fetch_add(1, Ordering::Relaxed));
        let Some((last, others)) = events.split_last() else { return Ack::NotTaken("an empty batch".into()) };
        for (index, event) in others.iter().enumerate() {
            let headers = event.batch_headers(&self.stream, &id, index + 1);
            let sent =
                self.engine.client().publish_with_headers(event.subject.clone(), headers, event.payload.clone()).await;
            if let Err(error) = sent {
                return Ack::NotTaken(error.to_string());
            }
        }
        let mut headers = last.batch_headers(&self.stream, &id, events.len());
        headers.insert("Nats-Batch-Commit", "1");
        self.ask(last, headers, until).await
    }

    async fn ask(&self, event: &Outgoing, headers: HeaderMap, until: Instant) -> Ack {
        let patience = until.saturating_duration_since(Instant::now());
        let request = Request::new().payload(event.payload.clone()).headers(headers).timeout(Some(patience));
        let answer = match self.engine.client().send_request(event.subject.clone(), request).await {
            Ok(answer) => answer,
            Err(error) => {
                return match error.kind() {
                    RequestErrorKind::NoResponders => Ack::NotTaken("no server leads the log at the moment".into()),
                    RequestErrorKind::MaxPayloadExceeded | RequestErrorKind::InvalidSubject => {
                        Ack::Failed(BrokerError::Refused(error.to_string()))
                    }
                    _ => Ack::Unclear(error.to_string()),
                };
            }
        };
        match serde_json::from_slice::<PubAck>(&answer.payload) {
            Ok(PubAck { error: Some(refusal), .. }) => judge(&refusal),
            Ok(PubAck { seq: 0, .. }) | Err(_) => Ack::Unclear("NATS answered with something else".into()),
            Ok(PubAck { seq, duplicate, .. }) => Ack::Taken { place: seq, again: duplicate },
        }
    }
}

impl Outgoing {
    /// About how many bytes it takes with all that belongs to it.
    pub fn bytes(&self) -> usize {
        self.header.len() + self.payload.len() + 300
    }

    fn headers(&self, stream: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(codec::HEADER, self.header.as_str());
        headers.insert("Nats-Expected-Stream", stream);
        if let Some(id) = &self.id {
            headers.insert("Nats-Msg-Id", id.as_str());
        }
        headers
    }

    fn batch_headers(&self, stream: &str, id: &str, sequence: usize) -> HeaderMap {
        let mut headers = self.headers(stream);
        headers.insert("Nats-Batch-Id", id);
        headers.insert("Nats-Batch-Sequence", sequence.to_string());
        headers
    }
}

/// What a no of the engine means for an event. With any of them it was not taken.
fn judge(refusal: &Refusal) -> Ack {
    match refusal.err_code {
        // Room on the servers, or in the account, ran out.
        10002 | 10023 | 10028 | 10047 | 10077 | 10122 => {
            Ack::Failed(BrokerError::Full(format!("NATS says: {refusal}")))
        }
        10054 | 10097 => Ack::Failed(BrokerError::Refused(format!("NATS says: {refusal}"))),
        10177 | 10201 => Ack::OneByOne,
        // No leader, a batch of which a part was lost, too many at once, a first try that is not through yet.
        10008 | 10009 | 10118 | 10158 | 10176 | 10194 | 10210 => Ack::NotTaken(refusal.to_string()),
        _ if refusal.code >= 500 => Ack::NotTaken(refusal.to_string()),
        _ => Ack::Failed(BrokerError::Unavailable(format!("NATS did not take it: {refusal}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_server_takes_no_ids_in_a_batch_its_events_go_one_by_one() {
        // nats-server 2.12.0; from 2.12.1 on it takes them (nats-server PR 7391).
        let refusal =
            Refusal { code: 400, err_code: 10177, description: "unsupported header used: Nats-Msg-Id".into() };
        assert!(matches!(judge(&refusal), Ack::OneByOne));
    }
}
