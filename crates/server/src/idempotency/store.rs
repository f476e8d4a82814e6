//! The answers in the program's database.

use tidings::{Cursor, Timestamp};
use tidings_brokers::Store;
use tidings_brokers::state::Answer;

use super::{AnswerStore, KEPT_FOR, KeptAnswer};
use crate::auth::StoreError;

/// The name of the place up to which every request has its answer kept.
const PLACE: &str = "idempotency";

fn failed(error: impl std::fmt::Display) -> StoreError {
    StoreError(error.to_string())
}

impl AnswerStore for Store {
    fn answer(&self, request: [u8; 16], now: Timestamp) -> Result<Option<KeptAnswer>, StoreError> {
        let kept = self.idempotent_get(request, now).map_err(failed)?;
        Ok(kept.map(|Answer { body, answer, at }| KeptAnswer { body, answer, expires_at: at.after(KEPT_FOR) }))
    }

    fn keep(&self, request: [u8; 16], answer: &KeptAnswer) -> Result<(), StoreError> {
        let at = Timestamp(answer.expires_at.0.saturating_sub(KEPT_FOR.as_millis() as u64));
        let answer = Answer { body: answer.body, answer: answer.answer.clone(), at };
        self.idempotent_put(request, &answer).map_err(failed)
    }

    fn forget(&self, now: Timestamp) -> Result<(), StoreError> {
        self.sweep(now).map(drop).map_err(failed)
    }

    fn known_until(&self) -> Result<Option<Cursor>, StoreError> {
        self.place(PLACE).map_err(failed)
    }

    fn record(&self, known_until: Cursor) -> Result<(), StoreError> {
        self.put_place(PLACE, known_until).map_err(failed)
    }
}
