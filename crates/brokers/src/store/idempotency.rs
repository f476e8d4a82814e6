//! What was answered to a request that may be sent again.

use std::time::Duration;

use rusqlite::{OptionalExtension, params};
use tidings::Timestamp;

use super::{Store, StoreError, from_sql, to_sql};

/// How long an answer is kept: a client that retries after a day has other troubles.
pub const KEPT: Duration = Duration::from_secs(24 * 3600);

/// An answer that was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// SHA-256 of the request's body: the same key with another body is a mistake of the client.
    pub body_hash: [u8; 32],
    /// The body of the answer.
    pub answer: String,
    /// When it was given.
    pub at: Timestamp,
}

impl Store {
    /// What was answered to this request: the first 16 bytes of SHA-256 over the publisher's id and its `Idempotency-Key`.
    pub fn idempotent_get(&self, request: [u8; 16]) -> Result<Option<Answer>, StoreError> {
        let connection = self.connection();
        let mut statement =
            connection.prepare_cached("SELECT body_hash, answer, at FROM idempotency WHERE request = ?1")?;
        let read = |row: &rusqlite::Row<'_>| {
            Ok(Answer { body_hash: row.get(0)?, answer: row.get(1)?, at: from_sql(row.get(2)?) })
        };
        Ok(statement.query_row([request], read).optional()?)
    }

    /// Keeps an answer. The first one stays: a retry must never hear something else.
    pub fn idempotent_put(&self, request: [u8; 16], answer: &Answer) -> Result<(), StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached("INSERT OR IGNORE INTO idempotency VALUES (?1, ?2, ?3, ?4)")?;
        statement.execute(params![request, answer.body_hash, answer.answer, to_sql(answer.at)])?;
        Ok(())
    }

    pub(super) fn sweep_answers(&self, now: Timestamp) -> Result<usize, StoreError> {
        let oldest = Timestamp(now.0.saturating_sub(KEPT.as_millis() as u64));
        let connection = self.connection();
        let mut statement = connection.prepare_cached("DELETE FROM idempotency WHERE at < ?1")?;
        Ok(statement.execute([to_sql(oldest)])?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_hears_the_first_answer_for_a_day() {
        let store = Store::in_memory().unwrap();
        let first = Answer { body_hash: [1; 32], answer: "{\"cursor\":\"a\"}".into(), at: Timestamp(1_000) };
        assert_eq!(store.idempotent_get([9; 16]).unwrap(), None);
        store.idempotent_put([9; 16], &first).unwrap();
        store.idempotent_put([9; 16], &Answer { answer: "other".into(), ..first.clone() }).unwrap();
        assert_eq!(store.idempotent_get([9; 16]).unwrap(), Some(first));
        let day = Timestamp(1_000).after(KEPT);
        assert_eq!(store.sweep(day).unwrap(), 0);
        assert_eq!(store.sweep(Timestamp(day.0 + 1)).unwrap(), 1);
        assert_eq!(store.idempotent_get([9; 16]).unwrap(), None);
    }
}
