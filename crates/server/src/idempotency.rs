//! What became of publishes with an `Idempotency-Key`: a retry is answered and not published again.
//!
//! The answer is kept in the store for [`KEPT_FOR`]. A crash, or a client that goes away, may come between the append and
//! the keeping; the log then knows more than the store, since each event of such a request carries its number. So
//! what the log holds behind the last recorded place is looked through when the program starts, and again for a
//! request that seems to be under way for too long.

mod log;
mod store;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use http::{StatusCode, header};
use sha2::{Digest, Sha256};
use tidings::{Broker, BrokerError, Clock, Cursor, Offset, Principal, Timestamp};
use tidings_transports::{Begun, Idempotency, Problem};

use crate::auth::StoreError;
use log::Request;

/// For how long a retry is recognised: longer than anybody's queue of retries.
pub const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);

/// The most requests under way at once: each holds about 100 bytes, and a publish at a time per client is usual.
const UNDER_WAY: usize = 16_384;

/// After how long a request that has not ended is looked for in the log: far longer than a sync takes.
const SLOW: Duration = Duration::from_secs(2);

/// After how long a request that has not ended, and is not in the log, is taken for lost. Longer than any kind coalesces.
const LOST: Duration = Duration::from_secs(60);

/// How often those that are taken for lost are looked for.
const SETTLE_EVERY: Duration = Duration::from_secs(60);

/// How often what is old is thrown away.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);

/// How many events the log may grow before the place up to which all is known is recorded anew: a start reads that much.
const RECORD_EVERY: u64 = 16_384;

/// An answer that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptAnswer {
    /// SHA-256 of the request's body; `None` if it was lost in a crash, and then any body is taken for the same.
    pub body: Option<[u8; 32]>,
    /// The answer, a JSON document.
    pub answer: String,
    /// When it may be forgotten.
    pub expires_at: Timestamp,
}

/// What keeps the answers. Each call is short; reads are made from async code, writes are not.
pub trait AnswerStore: Send + Sync + 'static {
    /// The answer of a request, if it is kept and `now` is before its end.
    fn answer(&self, request: [u8; 16], now: Timestamp) -> Result<Option<KeptAnswer>, StoreError>;
    /// Keeps an answer; a newer one takes the place of an older.
    fn keep(&self, request: [u8; 16], answer: &KeptAnswer) -> Result<(), StoreError>;
    /// Forgets the answers whose end is not after `now`.
    fn forget(&self, now: Timestamp) -> Result<(), StoreError>;
    /// The place in the log up to which every request has its answer kept, as recorded last.
    fn known_until(&self) -> Result<Option<Cursor>, StoreError>;
    /// Records that place.
    fn record(&self, known_until: Cursor) -> Result<(), StoreError>;
}

/// Remembers requests with an `Idempotency-Key`, through crashes too.
pub struct IdempotencyKeys(Arc<Shared>);

struct Shared {
    store: Arc<dyn AnswerStore>,
    broker: Arc<dyn Broker>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Only one looks through the log at a time.
    looking: tokio::sync::Mutex<()>,
}

struct State {
    begun: HashMap<[u8; 16], UnderWay>,
    recorded: Offset,
    swept_at: u64,
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
    /// Looks through the end of the log for requests whose answer was never kept, and then is ready.
    pub async fn open(
        store: Arc<dyn AnswerStore>,
        broker: Arc<dyn Broker>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        let head = broker.head();
        let known = store.known_until()?.filter(|known| known.epoch == head.epoch && known.offset <= head.last);
        let after = known.map_or(Offset::START, |known| known.offset);
        let ticks = clock.ticks();
        let state = State { begun: HashMap::new(), recorded: after, swept_at: ticks, settled_at: ticks };
        let shared =
            Arc::new(Shared { store, broker, clock, state: Mutex::new(state), looking: tokio::sync::Mutex::default() });
        let found = log::requests(&*shared.broker, after, head.last, None).await?;
        shared.clone().blocking(move |shared| shared.catch_up(found, head.last)).await?;
        Ok(IdempotencyKeys(shared))
    }
}

/// Why the requests of the past could not be read.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store.
    #[error("the store of idempotency keys can't be read: {0}")]
    Store(#[from] StoreError),
    /// The log.
    #[error(transparent)]
    Log(#[from] BrokerError),
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs what writes to the store where it may block. Goes on when nobody waits for it any more.
    async fn blocking<T: Send + 'static>(
        self: Arc<Self>,
        write: impl FnOnce(&Shared) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let task = tokio::task::spawn_blocking(move || write(&self));
        task.await.unwrap_or_else(|error| Err(StoreError(format!("a write did not finish: {error}"))))
    }

    /// Looks for a request in the log that has been under way for long, and keeps its answer if it is there.
    /// `None` while somebody else looks.
    async fn look(
        self: &Arc<Self>,
        request: [u8; 16],
        under_way: &UnderWay,
    ) -> Option<Result<Option<String>, Problem>> {
        let _looking = self.looking.try_lock().ok()?;
        let head = self.broker.head();
        let found = match log::requests(&*self.broker, under_way.after, head.last, Some(request)).await {
            Ok(found) => found,
            Err(error) => {
                tracing::error!(%error, "the log could not be read for a retry");
                return Some(Err(unavailable()));
            }
        };
        let answer = found.into_iter().find(Request::is_whole).map(|found| found.answer(head.epoch));
        if let Some(answer) = &answer {
            self.clone().end(request, under_way.body, answer.clone()).await;
        }
        Some(Ok(answer))
    }

    /// Ends the requests that nobody came back for: their clients went away while they were published.
    async fn settle(self: Arc<Self>) {
        let Ok(_looking) = self.looking.try_lock() else { return };
        let lost: HashMap<[u8; 16], UnderWay> = {
            let ticks = self.clock.ticks();
            let is_lost = |under_way: &UnderWay| ticks.saturating_sub(under_way.at) >= LOST.as_millis() as u64;
            let state = self.state();
            state.begun.iter().filter(|(_, known)| is_lost(known)).map(|(key, known)| (*key, known.clone())).collect()
        };
        let Some(after) = lost.values().map(|under_way| under_way.after).min() else { return };
        let head = self.broker.head();
        let mut found = match log::requests(&*self.broker, after, head.last, None).await {
            Ok(found) => found,
            Err(error) => return tracing::error!(%error, "the log could not be read for lost requests"),
        };
        found.retain(|request| request.is_whole() && lost.contains_key(&request.number));
        let mut answers: HashMap<_, _> =
            found.into_iter().map(|request| (request.number, request.answer(head.epoch))).collect();
        for (number, under_way) in lost {
            match under_way.answer.or_else(|| answers.remove(&number)) {
                Some(answer) => self.clone().end(number, under_way.body, answer).await,
                None => drop(self.state().begun.remove(&number)),
            }
        }
    }

    fn catch_up(&self, found: Vec<Request>, last: Offset) -> Result<(), StoreError> {
        let (now, epoch) = (self.clock.now(), self.broker.head().epoch);
        for request in found {
            let expires_at = request.time.after(KEPT_FOR);
            // Events that coalesced with others, or are half of a request: a retry publishes the whole of it.
            if !request.is_whole() || expires_at <= now || self.store.answer(request.number, now)?.is_some() {
                continue;
            }
            self.store.keep(request.number, &KeptAnswer { body: None, answer: request.answer(epoch), expires_at })?;
        }
        self.store.forget(now)?;
        self.record(last)
    }

    fn record(&self, until: Offset) -> Result<(), StoreError> {
        self.store.record(Cursor { epoch: self.broker.head().epoch, offset: until })?;
        self.state().recorded = until;
        Ok(())
    }

    /// Looks into the store for a request that has just got its place among those under way: of two that come at once one is
    /// refused, and the other looks.
    async fn begin_new(self: Arc<Self>, request: [u8; 16], body: [u8; 32]) -> Result<Begun, Problem> {
        let mut place = Place { shared: self.clone(), request, is_taken: false };
        // Not here: the store may be busy with a write, and its sync.
        match self.blocking(move |shared| shared.store.answer(request, shared.clock.now())).await {
            Ok(None) => {
                place.is_taken = true;
                Ok(Begun::New(request))
            }
            Ok(Some(kept)) if kept.body.is_none_or(|kept| kept == body) => Ok(Begun::Answered(kept.answer)),
            Ok(Some(_)) => Err(other_body()),
            Err(error) => {
                tracing::error!(%error, "the store of idempotency keys can't be read");
                Err(unavailable())
            }
        }
    }

    /// Keeps an answer. What the store does not take is kept in memory, and the log is not taken for known beyond it.
    async fn end(self: Arc<Self>, request: [u8; 16], body: [u8; 32], answer: String) {
        if let Some(under_way) = self.state().begun.get_mut(&request) {
            under_way.answer = Some(answer.clone());
        }
        let kept = self.blocking(move |shared| {
            let expires_at = shared.clock.now().after(KEPT_FOR);
            shared.store.keep(request, &KeptAnswer { body: Some(body), answer, expires_at })?;
            shared.state().begun.remove(&request);
            shared.tidy()
        });
        if let Err(error) = kept.await {
            tracing::error!(%error, "an answer could not be kept for retries");
        }
    }

    /// Records how far all is known, and throws away what is old, each now and then.
    fn tidy(&self) -> Result<(), StoreError> {
        // Before the look at who is under way: whoever begins later has events after this.
        let last = self.broker.head().last;
        let ticks = self.clock.ticks();
        let (until, recorded, sweep) = {
            let mut state = self.state();
            let sweep = ticks.saturating_sub(state.swept_at) >= SWEEP_EVERY.as_millis() as u64;
            if sweep {
                state.swept_at = ticks;
            }
            let until = state.begun.values().map(|under_way| under_way.after).min().unwrap_or(last);
            (until, state.recorded, sweep)
        };
        if until.0.saturating_sub(recorded.0) >= RECORD_EVERY {
            self.record(until)?;
        }
        if sweep {
            self.store.forget(self.clock.now())?;
        }
        Ok(())
    }
}

/// The place of a request among those under way. Given back, unless the request is new and takes it.
struct Place {
    shared: Arc<Shared>,
    request: [u8; 16],
    is_taken: bool,
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
            if ticks.saturating_sub(state.settled_at) >= SETTLE_EVERY.as_millis() as u64 {
                state.settled_at = ticks;
                tokio::spawn(shared.clone().settle());
            }
            match state.begun.get(&request) {
                Some(known) => Some(known.clone()),
                None if state.begun.len() >= UNDER_WAY => return Err(unavailable()),
                None => {
                    let after = shared.broker.head().last;
                    state.begun.insert(request, UnderWay { body, after, at: ticks, answer: None });
                    None
                }
            }
        };
        let Some(known) = known else { return self.0.clone().begin_new(request, body).await };
        if known.body != body {
            return Err(other_body());
        }
        if let Some(answer) = known.answer {
            return Ok(Begun::Answered(answer));
        }
        let since = Duration::from_millis(ticks.saturating_sub(known.at));
        if since >= SLOW {
            match shared.look(request, &known).await {
                Some(Ok(Some(answer))) => return Ok(Begun::Answered(answer)),
                Some(Err(problem)) => return Err(problem),
                Some(Ok(None)) if since >= LOST => {
                    let mut state = shared.state();
                    if let Some(under_way) = state.begun.get_mut(&request).filter(|now| now.at == known.at) {
                        under_way.at = ticks;
                        return Ok(Begun::New(request));
                    }
                }
                _ => {}
            }
        }
        let detail = "a request with this Idempotency-Key is still under way; ask again for its answer";
        Err(Problem::new(StatusCode::CONFLICT, "request-under-way", detail).header(header::RETRY_AFTER, "1"))
    }

    async fn end(&self, request: [u8; 16], body: &[u8], answer: Option<&str>) {
        match answer {
            Some(answer) => {
                self.0.clone().end(request, Sha256::digest(body).into(), answer.to_owned()).await;
            }
            None => {
                self.0.state().begun.remove(&request);
            }
        }
    }
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
