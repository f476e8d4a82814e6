//! The tokens of jobs.

use rusqlite::{Connection, OptionalExtension, params};
use tidings::Timestamp;
use tidings::job::JobId;

use super::super::group::Fault;
use super::super::{Store, StoreError, from_sql, to_sql};

/// How many are swept in one transaction.
const SWEPT_AT_ONCE: usize = 5_000;

/// Keeps a token. It belongs to the job, not to its id: a later job of that id is another.
pub(super) fn put(database: &Connection, hash: [u8; 32], id: &JobId, expires: Timestamp) -> Result<(), Fault> {
    let mut statement = database.prepare_cached(
        "INSERT INTO job_tokens SELECT ?1, number, ?3 FROM jobs WHERE id = ?2
         ON CONFLICT DO UPDATE SET job = excluded.job, expires_at = excluded.expires_at",
    )?;
    match statement.execute(params![hash, id.as_str(), to_sql(expires)])? {
        0 => Err(Fault::new(format!("there is no job {id}"))),
        _ => Ok(()),
    }
}

/// Whose token it is, and until when.
pub(super) fn read(database: &Connection, hash: [u8; 32]) -> Result<Option<(JobId, Timestamp)>, Fault> {
    let mut statement =
        database.prepare_cached("SELECT id, expires_at FROM job_tokens JOIN jobs ON number = job WHERE hash = ?1")?;
    let found: Option<(String, i64)> = statement.query_row([hash], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let Some((id, expires)) = found else { return Ok(None) };
    let id = id.parse().map_err(|why| Fault::new(format!("the id of job {id:?} is damaged: {why}")))?;
    Ok(Some((id, from_sql(expires))))
}

impl Store {
    pub(in crate::store) fn sweep_job_tokens(&self, now: Timestamp) -> Result<usize, StoreError> {
        let mut swept = 0;
        loop {
            let connection = self.connection();
            let mut statement = connection.prepare_cached(
                "DELETE FROM job_tokens WHERE hash IN
                    (SELECT hash FROM job_tokens WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)",
            )?;
            let some = statement.execute(params![to_sql(now), SWEPT_AT_ONCE as i64])?;
            swept += some;
            if some < SWEPT_AT_ONCE {
                return Ok(swept);
            }
        }
    }
}
