//! What is in the database, page by page, for a store elsewhere that is to have it.

use rusqlite::params;
use tidings::Timestamp;
use tidings::job::JobId;

use super::idempotency::{UNKNOWN, oldest};
use super::{Store, StoreError, from_sql, to_sql};
use crate::state::Answer;

/// A token of a job: its SHA-256, whose it is, and until when.
pub type JobToken = ([u8; 32], JobId, Timestamp);

impl Store {
    /// Answers that still count, in the order of their requests: those after `after`, `limit` at most.
    pub fn answers(
        &self,
        after: Option<[u8; 16]>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<([u8; 16], Answer)>, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached(
            "SELECT request, body_hash, answer, at FROM idempotency WHERE request > ?1 AND at >= ?2 ORDER BY request LIMIT ?3",
        )?;
        let read = |row: &rusqlite::Row<'_>| {
            let body = Some(row.get(1)?).filter(|body| *body != UNKNOWN);
            Ok((row.get(0)?, Answer { body, answer: row.get(2)?, at: from_sql(row.get(3)?) }))
        };
        // No request is as short as that.
        let after = after.map_or_else(Vec::new, |after| after.to_vec());
        let found = statement.query_map(params![after, oldest(now), limit as i64], read)?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// Tokens of jobs that still count, in the order of their hashes: those after `after`, `limit` at most.
    pub fn job_tokens(
        &self,
        after: Option<[u8; 32]>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<JobToken>, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached(
            "SELECT hash, id, expires_at FROM job_tokens JOIN jobs ON number = job WHERE hash > ?1 AND expires_at > ?2
             ORDER BY hash LIMIT ?3",
        )?;
        let read = |row: &rusqlite::Row<'_>| {
            let id: String = row.get(1)?;
            let damaged =
                |why: String| rusqlite::Error::FromSqlConversionFailure(1, rusqlite::types::Type::Text, why.into());
            Ok((row.get(0)?, id.parse().map_err(damaged)?, from_sql(row.get(2)?)))
        };
        let after = after.map_or_else(Vec::new, |after| after.to_vec());
        let found = statement.query_map(params![after, to_sql(now), limit as i64], read)?;
        Ok(found.collect::<Result<_, _>>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job_contract::job;
    use crate::state::ANSWERS_KEPT;
    use tidings::job::JobStore;

    #[test]
    fn answers_are_given_page_by_page_without_those_that_are_forgotten() {
        let store = Store::in_memory().unwrap();
        let now = Timestamp(1_000).after(ANSWERS_KEPT);
        let answer = |at| Answer { body: None, answer: "a".into(), at: Timestamp(at) };
        for n in 0..5 {
            store.idempotent_put([n; 16], &answer(if n == 3 { 1 } else { 2_000 })).unwrap();
        }
        let page = |after, limit| {
            let found = store.answers(after, limit, now).unwrap();
            found.into_iter().map(|(request, _)| request[0]).collect::<Vec<_>>()
        };
        assert_eq!(page(None, 2), [0, 1]);
        assert_eq!(page(Some([1; 16]), 9), [2, 4]);
        assert_eq!(page(Some([4; 16]), 9), [] as [u8; 0]);
        assert_eq!(store.answers(None, 1, now).unwrap()[0].1, answer(2_000));
    }

    #[tokio::test]
    async fn tokens_of_jobs_are_given_page_by_page_without_those_that_have_run_out() {
        let store = Store::in_memory().unwrap();
        let job = job("j", 1);
        store.create(&job).await.unwrap();
        for n in 0..4 {
            store.put_token([n; 32], &job.id, Timestamp(if n == 1 { 5 } else { 50 })).await.unwrap();
        }
        let page = |after| store.job_tokens(after, 2, Timestamp(10)).unwrap();
        assert_eq!(page(None), [0, 2].map(|n| ([n; 32], job.id.clone(), Timestamp(50))));
        assert_eq!(page(Some([2; 32])), [([3; 32], job.id.clone(), Timestamp(50))]);
    }
}
