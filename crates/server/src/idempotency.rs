//! What became of publishes with an `Idempotency-Key`: a retry is answered and not published again.
//!
//! The answer is kept in the store for a day. A crash, or a client that goes away, may come between the append and the keeping;
//! the log then knows more than the store, since each event of such a request carries its number.
//!
//! Where replicas share a store, a request is claimed in it before it is published, so that of two replicas one publishes; whoever
//! comes with the key after a crash looks through the log from where it ended at the claim. Where one process has the store, its claims
//! are in its memory, and a publish costs one write to the store and not two. What a crash takes of them is found when the program starts:
//! what the log holds behind the last recorded place is looked through then.

mod log;
mod settle;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use http::{StatusCode, header};
use sha2::{Digest, Sha256};
use tidings::{Broker, BrokerError, Clock, Cursor, Offset, Principal, Standing};
use tidings_brokers::state::{Answer, Claim, Claimed, Held, RequestStore, StateError};
use tidings_transports::{Begun, Ended, Idempotency, Problem};

use log::Request;

/// The most requests under way at once: each holds about 100 bytes, and a publish at a time per client is usual.
const UNDER_WAY: usize = 16_384;

/// After how long a request that has not ended is looked for in the log: far longer than a sync takes.
const SLOW: Duration = Duration::from_secs(2);

/// After how long a request that has not ended, and is not in the log, is taken for lost. Longer than any kind coalesces.
const LOST: Duration = Duration::from_secs(60);

/// The same of a request of another replica, which may have crashed, and how much longer than its events may be held back and its
/// publish waits for the log. Should it arrive after all, the log knows its events by their numbers and keeps them once.
const LOST_ELSEWHERE: Duration = Duration::from_secs(10);
const LOST_AFTER_TIMEOUT: Duration = Duration::from_secs(5);

/// Remembers requests with an `Idempotency-Key`, through crashes too.
pub struct IdempotencyKeys(Arc<Shared>);

struct Shared {
    store: Arc<dyn RequestStore>,
    broker: Arc<dyn Broker>,
    clock: Arc<dyn Clock>,
    /// Who claims.
    by: u64,
    state: Mutex<State>,
    /// Only one looks through the log at a time.
    looking: tokio::sync::Mutex<()>,
    /// How long an event may be held back before it is appended.
    longest_wait: Duration,
}

struct State {
    begun: HashMap<[u8; 16], UnderWay>,
    recorded: Offset,
    settled_at: u64,
}

/// A request that has begun and whose answer is not in the store.
#[derive(Clone, Debug)]
struct UnderWay {
    body: [u8; 32],
    /// The end of the log when it began: its events come after.
    after: Offset,
    /// When it began, by [`Clock::ticks`].
    at: u64,
    /// Its place in the store.
    held: Held,
    /// The answer, if it has one that the store did not take.
    answer: Option<String>,
}

/// The number of a request: the first 16 bytes of SHA-256 over who sends it and its key.
fn number(principal: &Principal, key: &str) -> [u8; 16] {
    let mut hash = Sha256::new();
    if let Some(namespace) = &principal.namespace {
        // No text has this byte, so that no id can be taken for one with a namespace.
        hash = hash.chain_update(&**namespace).chain_update([0xff]);
    }
    let hash = hash.chain_update(&*principal.id).chain_update([0]).chain_update(key).finalize();
    let mut number = [0; 16];
    number.copy_from_slice(&hash[..16]);
    number
}

impl IdempotencyKeys {
    /// Looks through the end of the log for requests whose answer was never kept, if nobody else can do it later, and then is ready. An event
    /// is held back for `longest_wait` at most before it is appended.
    pub async fn open(
        store: Arc<dyn RequestStore>,
        broker: Arc<dyn Broker>,
        clock: Arc<dyn Clock>,
        longest_wait: Duration,
    ) -> Result<Self, OpenError> {
        let mut by = [0; 8];
        getrandom::fill(&mut by)
            .map_err(|error| StateError::Unavailable(format!("the system gave no random bytes: {error}")))?;
        let state = State { begun: HashMap::new(), recorded: Offset::START, settled_at: clock.ticks() };
        let (state, looking, by) = (Mutex::new(state), tokio::sync::Mutex::default(), u64::from_le_bytes(by));
        let shared = Arc::new(Shared { store, broker, clock, by, state, looking, longest_wait });
        if !shared.store.keeps_claims() {
            shared.catch_up().await?;
        }
        Ok(IdempotencyKeys(shared))
    }
}

/// Why the requests of the past could not be read.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store.
    #[error("the store of idempotency keys can't be read: {0}")]
    Store(#[from] StateError),
    /// The log.
    #[error(transparent)]
    Log(#[from] BrokerError),
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a request of which nobody knows any more since `at` its place once more. `false` if somebody was faster.
    fn begin_anew(&self, request: [u8; 16], at: u64, now: u64) -> bool {
        let mut state = self.state();
        let under_way =
            state.begun.get_mut(&request).filter(|under_way| under_way.at == at && under_way.answer.is_none());
        under_way.map(|under_way| under_way.at = now).is_some()
    }

    /// Claims a request that has just got its place among those under way here: of two that come at once one is refused, and the
    /// other claims.
    async fn claim(self: Arc<Self>, request: [u8; 16], body: [u8; 32], after: Offset) -> Result<Begun, Problem> {
        let mut place = Place { shared: self.clone(), request, is_taken: false };
        let after = Cursor { epoch: self.broker.head().epoch, offset: after };
        let claim = Claim { body, after, by: self.by, at: self.clock.now() };
        match self.store.claim(request, &claim).await {
            Ok(Claimed::New(held)) => Ok(place.take(held)),
            Ok(Claimed::Answered(kept)) if kept.body.is_none_or(|kept| kept == body) => {
                Ok(Begun::Answered(kept.answer))
            }
            Ok(Claimed::UnderWay(theirs, held)) if theirs.body == body => {
                self.settle_claim(place, theirs, held, claim).await
            }
            Ok(Claimed::Answered(_) | Claimed::UnderWay(..)) => Err(other_body()),
            Err(error) => {
                tracing::error!(%error, "the store of idempotency keys can't be read");
                Err(unavailable())
            }
        }
    }

    /// What to do about a claim that another replica made, or that was left here when nobody knew what came of it.
    async fn settle_claim(
        self: Arc<Self>,
        mut place: Place,
        theirs: Claim,
        held: Held,
        ours: Claim,
    ) -> Result<Begun, Problem> {
        let is_left = theirs.by == self.by;
        let since = ours.at.since(theirs.at);
        if !is_left && since < SLOW {
            return Err(under_way());
        }
        // A log that was begun anew is looked through as a whole.
        let is_same_log = theirs.after.epoch == ours.after.epoch;
        let after = if is_same_log { theirs.after.offset } else { Offset::START };
        match self.look(place.request, after).await? {
            Looked::Found(answer) => {
                self.end(place.request, theirs.body, held, answer.clone()).await;
                Ok(Begun::Answered(answer))
            }
            Looked::Nothing if is_left || since >= self.lost_elsewhere() => {
                // Its events, if they arrive after all, come after the place of the first claim.
                let claim = Claim { after: theirs.after, ..ours };
                match self.store.take_over(place.request, held, &claim).await {
                    Ok(Some(held)) => Ok(place.take(held)),
                    Ok(None) => Err(under_way()),
                    Err(error) => {
                        tracing::error!(%error, "a request that was lost could not be claimed");
                        Err(unavailable())
                    }
                }
            }
            Looked::Nothing | Looked::Busy => Err(under_way()),
        }
    }

    fn lost_elsewhere(&self) -> Duration {
        LOST_ELSEWHERE.max(self.longest_wait + self.store.publish_timeout() + LOST_AFTER_TIMEOUT)
    }

    /// Looks for a request in the log.
    async fn look(&self, request: [u8; 16], after: Offset) -> Result<Looked, Problem> {
        let Ok(_looking) = self.looking.try_lock() else { return Ok(Looked::Busy) };
        let head = self.broker.head();
        let found = log::requests(&*self.broker, after, head.last, Some(request)).await.map_err(|error| {
            tracing::error!(%error, "the log could not be read for a retry");
            unavailable()
        })?;
        match found.into_iter().find(Request::is_whole) {
            Some(found) => Ok(Looked::Found(found.answer(head.epoch))),
            // It may be in the part of the log that can't be seen from here.
            None if self.broker.standing() == Standing::CutOff => Err(unavailable()),
            None => Ok(Looked::Nothing),
        }
    }

    /// Keeps an answer. What the store does not take is kept in memory, and the log is not taken for known beyond it.
    async fn end(&self, request: [u8; 16], body: [u8; 32], held: Held, answer: String) {
        if let Some(under_way) = self.state().begun.get_mut(&request) {
            under_way.answer = Some(answer.clone());
        }
        let answer = Answer { body: Some(body), answer, at: self.clock.now() };
        let kept = async {
            self.store.answer(request, held, &answer).await?;
            self.state().begun.remove(&request);
            self.tidy().await
        };
        if let Err(error) = kept.await {
            tracing::error!(%error, "an answer could not be kept for retries");
        }
    }
}

/// What the log knows of a request.
enum Looked {
    /// It was published, and this is its answer.
    Found(String),
    /// It is not there as a whole.
    Nothing,
    /// Somebody else looks for something.
    Busy,
}

/// The place of a request among those under way. Given back, unless the request is new and takes it.
struct Place {
    shared: Arc<Shared>,
    request: [u8; 16],
    is_taken: bool,
}

impl Place {
    fn take(&mut self, held: Held) -> Begun {
        self.is_taken = true;
        if let Some(under_way) = self.shared.state().begun.get_mut(&self.request) {
            under_way.held = held;
        }
        Begun::New(self.request)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.is_taken {
            self.shared.state().begun.remove(&self.request);
        }
    }
}

#[async_trait]
impl Idempotency for IdempotencyKeys {
    async fn begin(&self, principal: &Principal, key: &str, body: &[u8]) -> Result<Begun, Problem> {
        let request = number(principal, key);
        let body: [u8; 32] = Sha256::digest(body).into();
        let shared = &self.0;
        let ticks = shared.clock.ticks();
        let known = {
            let mut state = shared.state();
            if ticks.saturating_sub(state.settled_at) >= settle::EVERY.as_millis() as u64 {
                state.settled_at = ticks;
                tokio::spawn(shared.clone().settle());
            }
            match state.begun.get(&request) {
                Some(known) => Ok(known.clone()),
                None if state.begun.len() >= UNDER_WAY => return Err(unavailable()),
                None => {
                    let (after, held) = (shared.broker.head().last, Held::default());
                    state.begun.insert(request, UnderWay { body, after, at: ticks, held, answer: None });
                    Err(after)
                }
            }
        };
        let known = match known {
            Ok(known) => known,
            Err(after) => return shared.clone().claim(request, body, after).await,
        };
        if known.body != body {
            return Err(other_body());
        }
        if let Some(answer) = known.answer {
            return Ok(Begun::Answered(answer));
        }
        let since = Duration::from_millis(ticks.saturating_sub(known.at));
        if since >= SLOW {
            match shared.look(request, known.after).await? {
                Looked::Found(answer) => {
                    shared.end(request, body, known.held, answer.clone()).await;
                    return Ok(Begun::Answered(answer));
                }
                // What others know of it by now counts, and the store says which one of all goes on with it.
                Looked::Nothing if since >= LOST && shared.begin_anew(request, known.at, ticks) => {
                    return shared.clone().claim(request, body, known.after).await;
                }
                Looked::Nothing | Looked::Busy => {}
            }
        }
        Err(under_way())
    }

    async fn end(&self, request: [u8; 16], body: &[u8], ended: Ended<'_>) {
        let shared = &self.0;
        if let Ended::Answered(answer) = ended {
            let held = shared.state().begun.get(&request).map_or(Held::default(), |under_way| under_way.held);
            return shared.end(request, Sha256::digest(body).into(), held, answer.to_owned()).await;
        }
        // Of what is unclear the claim stays: whoever comes with the key next looks into the log.
        let under_way = shared.state().begun.remove(&request);
        if let (Some(under_way), Ended::Refused) = (under_way, ended)
            && let Err(error) = shared.store.give_up(request, under_way.held).await
        {
            tracing::warn!(%error, "the claim of a request that was refused could not be given up; it counts for some seconds");
        }
    }
}

fn under_way() -> Problem {
    let detail = "a request with this Idempotency-Key is still under way; ask again for its answer";
    Problem::new(StatusCode::CONFLICT, "request-under-way", detail).header(header::RETRY_AFTER, "1")
}

fn other_body() -> Problem {
    let detail = "this Idempotency-Key was used for another body: a new request needs a new key";
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency-key-reused", detail)
}

fn unavailable() -> Problem {
    let detail = "whether this request was published before can't be told at the moment; nothing was published";
    Problem::unavailable(1, "idempotency-unavailable", detail)
}

#[cfg(test)]
mod tests;
