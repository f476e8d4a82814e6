//! What was answered to a request that may be sent again.

use rusqlite::{OptionalExtension, params};
use tidings::Timestamp;

use super::{Store, StoreError, from_sql, to_sql};
use crate::state::{ANSWERS_KEPT, Answer};

/// The hash of a body that a crash took: no body has it.
pub(super) const UNKNOWN: [u8; 32] = [0; 32];

/// What was answered before this is forgotten.
pub(super) fn oldest(now: Timestamp) -> i64 {
    to_sql(Timestamp(now.0.saturating_sub(ANSWERS_KEPT.as_millis() as u64)))
}

impl Store {
    /// What was answered to this request, if that is not longer ago than [`ANSWERS_KEPT`].
    pub fn idempotent_get(&self, request: [u8; 16], now: Timestamp) -> Result<Option<Answer>, StoreError> {
        let connection = self.connection();
        let mut statement = connection
            .prepare_cached("SELECT body_hash, answer, at FROM idempotency WHERE request = ?1 AND at >= ?2")?;
        let read = |row: &rusqlite::Row<'_>| {
            let body = Some(row.get(0)?).filter(|body| *body != UNKNOWN);
            Ok(Answer { body, answer: row.get(1)?, at: from_sql(row.get(2)?) })
        };
        Ok(statement.query_row(params![request, oldest(now)], read).optional()?)
    }

    /// Keeps an answer. The first one stays, unless it is forgotten by the time of the new one.
    pub fn idempotent_put(&self, request: [u8; 16], answer: &Answer) -> Result<(), StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached(
            "INSERT INTO idempotency VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE
             SET body_hash = excluded.body_hash, answer = excluded.answer, at = excluded.at WHERE at < ?5",
        )?;
        let body = answer.body.unwrap_or(UNKNOWN);
        statement.execute(params![request, body, answer.answer, to_sql(answer.at), oldest(answer.at)])?;
        Ok(())
    }

    pub(super) fn sweep_answers(&self, now: Timestamp) -> Result<usize, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached("DELETE FROM idempotency WHERE at < ?1")?;
        Ok(statement.execute([oldest(now)])?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_hears_the_first_answer_for_a_day() {
        let store = Store::in_memory().unwrap();
        let first = Answer { body: Some([1; 32]), answer: "{\"cursor\":\"a\"}".into(), at: Timestamp(1_000) };
        assert_eq!(store.idempotent_get([9; 16], first.at).unwrap(), None);
        store.idempotent_put([9; 16], &first).unwrap();
        store.idempotent_put([9; 16], &Answer { answer: "other".into(), ..first.clone() }).unwrap();
        let day = Timestamp(1_000).after(ANSWERS_KEPT);
        assert_eq!(store.idempotent_get([9; 16], day).unwrap(), Some(first));
        assert_eq!(store.sweep(day).unwrap(), 0);
        let later = Timestamp(day.0 + 1);
        assert_eq!(store.idempotent_get([9; 16], later).unwrap(), None);
        assert_eq!(store.sweep(later).unwrap(), 1);
    }

    #[test]
    fn a_forgotten_answer_does_not_stand_in_the_way_of_a_new_one() {
        let store = Store::in_memory().unwrap();
        let old = Answer { body: None, answer: "old".into(), at: Timestamp(1_000) };
        store.idempotent_put([9; 16], &old).unwrap();
        let new = Answer { body: Some([2; 32]), answer: "new".into(), at: Timestamp(1_001).after(ANSWERS_KEPT) };
        store.idempotent_put([9; 16], &new).unwrap();
        assert_eq!(store.idempotent_get([9; 16], new.at).unwrap(), Some(new));
    }
}
