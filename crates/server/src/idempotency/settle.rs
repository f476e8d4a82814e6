//! What is done for requests whose clients are gone: at the start, and now and then.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tidings::{Cursor, Offset};
use tidings_brokers::state::{ANSWERS_KEPT, Answer, Held, StateError};

use super::log::{self, Request};
use super::{LOST, OpenError, Shared, UnderWay};

/// How often those that are taken for lost are looked for.
pub(super) const EVERY: Duration = Duration::from_secs(60);

/// How many events the log may grow before the place up to which all is known is recorded anew: a start reads that much.
pub(super) const RECORD_EVERY: u64 = 16_384;

impl Shared {
    /// Keeps the answers of requests that a crash kept from being answered.
    pub(super) async fn catch_up(&self) -> Result<(), OpenError> {
        let (now, head) = (self.clock.now(), self.broker.head());
        let known = self.store.known_until().await?;
        let known = known.filter(|known| known.epoch == head.epoch && known.offset <= head.last);
        let after = known.map_or(Offset::START, |known| known.offset);
        for request in log::requests(&*self.broker, after, head.last, None).await? {
            // Events that coalesced with others, or are half of a request: a retry publishes the whole of it.
            if request.is_whole() && request.time.after(ANSWERS_KEPT) > now {
                let answer = Answer { body: None, answer: request.answer(head.epoch), at: request.time };
                self.store.answer(request.number, Held::default(), &answer).await?;
            }
        }
        Ok(self.record(head.last).await?)
    }

    /// Ends the requests that nobody came back for: their clients went away while they were published.
    pub(super) async fn settle(self: Arc<Self>) {
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
            found.into_iter().map(|request: Request| (request.number, request.answer(head.epoch))).collect();
        for (number, under_way) in lost {
            match under_way.answer.or_else(|| answers.remove(&number)) {
                Some(answer) => self.end(number, under_way.body, under_way.held, answer).await,
                None => drop(self.state().begun.remove(&number)),
            }
        }
    }

    /// Records how far all is known, now and then.
    pub(super) async fn tidy(&self) -> Result<(), StateError> {
        if self.store.keeps_claims() {
            return Ok(());
        }
        // Before the look at who is under way: whoever begins later has events after this.
        let last = self.broker.head().last;
        let (until, recorded) = {
            let state = self.state();
            (state.begun.values().map(|under_way| under_way.after).min().unwrap_or(last), state.recorded)
        };
        if until.0.saturating_sub(recorded.0) >= RECORD_EVERY {
            self.record(until).await?;
        }
        Ok(())
    }

    async fn record(&self, until: Offset) -> Result<(), StateError> {
        self.store.record(Cursor { epoch: self.broker.head().epoch, offset: until }).await?;
        self.state().recorded = until;
        Ok(())
    }
}
