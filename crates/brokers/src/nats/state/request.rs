//! What became of requests with an `Idempotency-Key`, in NATS.

use std::time::Duration;

use async_trait::async_trait;
use tidings::{Cursor, Timestamp};

use super::NatsState;
use super::record::{Kept, RequestRecord, request_name, to_json};
use crate::state::{ANSWERS_KEPT, Answer, Claim, Claimed, Held, RequestStore, StateError};

/// How often a change is tried that others get before. Each time at least one of them is through.
const TRIES: usize = 32;

fn contended() -> StateError {
    StateError::Unavailable("too many come with the same request at once".into())
}

fn is_forgotten(answer: &Answer, now: Timestamp) -> bool {
    answer.at.after(ANSWERS_KEPT) < now
}

#[async_trait]
impl RequestStore for NatsState {
    fn keeps_claims(&self) -> bool {
        true
    }

    fn publish_timeout(&self) -> Duration {
        self.requests.engine().settings().publish_timeout
    }

    async fn claim(&self, request: [u8; 16], claim: &Claim) -> Result<Claimed, StateError> {
        let (name, record) = (request_name(request), to_json(&RequestRecord::from(claim))?);
        for _ in 0..TRIES {
            if let Some(revision) = self.requests.create(&name, record.clone()).await? {
                return Ok(Claimed::New(Held(revision)));
            }
            let Some(kept) = self.requests.get(&name).await? else { continue };
            match Kept::read(&kept.value)? {
                Kept::Claim(claim) => return Ok(Claimed::UnderWay(claim, Held(kept.revision))),
                Kept::Answer(answer) if !is_forgotten(&answer, claim.at) => return Ok(Claimed::Answered(answer)),
                Kept::Answer(_) => {
                    if let Some(held) = self.take_over(request, Held(kept.revision), claim).await? {
                        return Ok(Claimed::New(held));
                    }
                }
            }
        }
        Err(contended())
    }

    async fn take_over(&self, request: [u8; 16], held: Held, claim: &Claim) -> Result<Option<Held>, StateError> {
        let record = to_json(&RequestRecord::from(claim))?;
        Ok(self.requests.update(&request_name(request), record, held.0).await?.map(Held))
    }

    async fn answer(&self, request: [u8; 16], held: Held, answer: &Answer) -> Result<(), StateError> {
        let (name, record) = (request_name(request), to_json(&RequestRecord::from(answer))?);
        let mut revision = held.0;
        for _ in 0..TRIES {
            if self.requests.update(&name, record.clone(), revision).await?.is_some() {
                return Ok(());
            }
            let written = match self.requests.get(&name).await? {
                None => self.requests.create(&name, record.clone()).await?,
                Some(kept) => match Kept::read(&kept.value)? {
                    Kept::Answer(first) if !is_forgotten(&first, answer.at) => return Ok(()),
                    _ => {
                        revision = kept.revision;
                        None
                    }
                },
            };
            if written.is_some() {
                return Ok(());
            }
        }
        Err(contended())
    }

    async fn give_up(&self, request: [u8; 16], held: Held) -> Result<(), StateError> {
        self.requests.delete(&request_name(request), held.0).await.map(drop)
    }

    async fn known_until(&self) -> Result<Option<Cursor>, StateError> {
        Ok(None)
    }

    async fn record(&self, _known_until: Cursor) -> Result<(), StateError> {
        Ok(())
    }
}
