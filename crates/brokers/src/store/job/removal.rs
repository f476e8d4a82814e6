//! Forgetting jobs.
//!
//! A job is gone at once. Its items, of which there may be a hundred thousand, are deleted after that, a few rows at a time between
//! the writes of others, and after a restart from where that was.

use rusqlite::{Connection, OptionalExtension};
use tidings::job::JobId;

use super::super::group::{Chore, Fault};

/// How many rows of items are deleted in one step: about 2 MiB, which takes a few milliseconds.
const ROWS_AT_ONCE: usize = 64;

/// Deletes what removed jobs have left.
pub(super) const CHORE: Chore = Chore { is_due, step };

pub(super) fn remove(database: &Connection, id: &JobId) -> Result<(), Fault> {
    let removed: Option<(i64, i64)> = database
        .prepare_cached("DELETE FROM jobs WHERE id = ?1 RETURNING number, items")?
        .query_row([id.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((job, items)) = removed else { return Ok(()) };
    database.prepare_cached("DELETE FROM job_tokens WHERE job = ?1")?.execute([job])?;
    database.prepare_cached("DELETE FROM job_progress WHERE job = ?1")?.execute([job])?;
    database.prepare_cached("DELETE FROM job_inputs WHERE job = ?1")?.execute([job])?;
    if items > 0 {
        database.prepare_cached("INSERT INTO job_removals VALUES (?1)")?.execute([job])?;
    }
    Ok(())
}

fn is_due(database: &Connection) -> rusqlite::Result<bool> {
    database.prepare_cached("SELECT 1 FROM job_removals LIMIT 1")?.exists([])
}

fn step(database: &Connection) -> rusqlite::Result<()> {
    let job: Option<i64> =
        database.prepare_cached("SELECT job FROM job_removals LIMIT 1")?.query_row([], |row| row.get(0)).optional()?;
    // Another process may have done it meanwhile.
    let Some(job) = job else { return Ok(()) };
    let mut delete = database
        .prepare_cached("DELETE FROM job_items WHERE rowid IN (SELECT rowid FROM job_items WHERE job = ?1 LIMIT ?2)")?;
    if delete.execute([job, ROWS_AT_ONCE as i64])? < ROWS_AT_ONCE {
        database.prepare_cached("DELETE FROM job_removals WHERE job = ?1")?.execute([job])?;
    }
    Ok(())
}
