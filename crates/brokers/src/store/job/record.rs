//! The record of each job.

use std::sync::Arc;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};
use serde_json::value::RawValue;
use tidings::Timestamp;
use tidings::job::{Job, JobId, JobQuery, Progress};

use super::super::group::Fault;
use super::super::to_sql;

/// How many progresses are written together.
pub(super) const NOTED_AT_ONCE: usize = 500;

/// What is read of each job, in the order of [`decode`].
const READ: &str = "
    SELECT jobs.id, document, items, announced, end_cursor, progress, input FROM jobs
    LEFT JOIN job_progress ON job_progress.job = number LEFT JOIN job_inputs ON job_inputs.job = number";

/// The same without inputs, which may be large: what the list has no use for.
const LISTED: &str = "
    SELECT jobs.id, document, items, announced, end_cursor, progress, NULL FROM jobs
    LEFT JOIN job_progress ON job_progress.job = number";

/// A question with what is left open in it.
type Statement = (String, Vec<Value>);

/// A job as it is stored.
pub(super) struct Record {
    job: Job,
    document: String,
    input: Option<Arc<RawValue>>,
}

impl Record {
    pub fn of(job: &Job) -> Result<Self, Fault> {
        let mut job = job.clone();
        let input = job.input.take();
        let document = serde_json::to_string(&job).map_err(unsaid)?;
        Ok(Record { job, document, input })
    }

    /// About how much there is to write.
    pub fn bytes(&self) -> usize {
        self.document.len() + self.input.as_ref().map_or(0, |input| input.get().len())
    }

    /// Keeps it, unless there is one of its id: then that is the answer.
    pub fn create(&self, database: &Connection) -> Result<Option<Job>, Fault> {
        let Record { job, document, .. } = self;
        let created = database
            .prepare_cached(
                "INSERT INTO jobs (id, kind, state, created_at, ended_at, revision, announced, end_cursor, items, document)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0, ?9) ON CONFLICT (id) DO NOTHING",
            )?
            .execute(params![
                job.id.as_str(),
                job.kind,
                job.state.name(),
                to_sql(job.created),
                job.ended.map(to_sql),
                number(job.revision),
                number(job.announced),
                job.end,
                document
            ])?;
        if created == 0 {
            return read(database, &job.id);
        }
        self.put_input(database, database.last_insert_rowid())?;
        Ok(None)
    }

    /// Puts it in the place of what is kept, if that has the revision `from`.
    pub fn replace(&self, database: &Connection, from: u64) -> Result<bool, Fault> {
        let Record { job, document, .. } = self;
        let replaced: Option<i64> = database
            .prepare_cached(
                "UPDATE jobs SET kind = ?2, state = ?3, created_at = ?4, ended_at = ?5, revision = ?6, announced = ?7,
                    end_cursor = ?8, document = ?9
                 WHERE id = ?1 AND revision = ?10 RETURNING number",
            )?
            .query_row(
                params![
                    job.id.as_str(),
                    job.kind,
                    job.state.name(),
                    to_sql(job.created),
                    job.ended.map(to_sql),
                    number(job.revision),
                    number(job.announced),
                    job.end,
                    document,
                    number(from)
                ],
                |row| row.get(0),
            )
            .optional()?;
        let Some(number) = replaced else { return Ok(false) };
        // The record's own is the newest now.
        database.prepare_cached("DELETE FROM job_progress WHERE job = ?1")?.execute([number])?;
        self.put_input(database, number)?;
        Ok(true)
    }

    fn put_input(&self, database: &Connection, number: i64) -> Result<(), Fault> {
        match &self.input {
            // To compare a large one takes less than to write it.
            Some(input) => database
                .prepare_cached(
                    "INSERT INTO job_inputs VALUES (?1, ?2)
                     ON CONFLICT DO UPDATE SET input = excluded.input WHERE input <> excluded.input",
                )?
                .execute(params![number, input.get()])?,
            None => database.prepare_cached("DELETE FROM job_inputs WHERE job = ?1")?.execute([number])?,
        };
        Ok(())
    }
}

/// A progress as it is stored.
#[derive(Clone)]
pub(super) struct ProgressNote {
    id: JobId,
    progress: String,
}

impl ProgressNote {
    pub fn all(progress: &[(JobId, Progress)]) -> Result<Vec<Self>, Fault> {
        let note = |(id, progress): &(JobId, Progress)| {
            Ok(ProgressNote { id: id.clone(), progress: serde_json::to_string(progress).map_err(unsaid)? })
        };
        progress.iter().map(note).collect()
    }

    pub fn bytes(&self) -> usize {
        self.progress.len()
    }
}

/// A job that has ended keeps the progress of its end: what comes after that is late.
pub(super) fn note_progress(database: &Connection, notes: &[ProgressNote]) -> Result<(), Fault> {
    let mut statement = database.prepare_cached(
        "INSERT INTO job_progress SELECT number, ?2 FROM jobs WHERE id = ?1 AND ended_at IS NULL
         ON CONFLICT DO UPDATE SET progress = excluded.progress",
    )?;
    for ProgressNote { id, progress } in notes {
        statement.execute(params![id.as_str(), progress])?;
    }
    Ok(())
}

/// What was taken note of is not taken back by an older note.
pub(super) fn note_announced(database: &Connection, id: &JobId, revision: u64, end: Option<&str>) -> Result<(), Fault> {
    let mut statement = database.prepare_cached(
        "UPDATE jobs SET announced = max(announced, ?2), end_cursor = coalesce(?3, end_cursor) WHERE id = ?1",
    )?;
    statement.execute(params![id.as_str(), number(revision), end])?;
    Ok(())
}

/// The job of this id.
pub(super) fn read(database: &Connection, id: &JobId) -> Result<Option<Job>, Fault> {
    let mut statement = database.prepare_cached(&format!("{READ} WHERE jobs.id = ?1"))?;
    let mut rows = statement.query([id.as_str()])?;
    rows.next()?.map(decode).transpose()
}

/// The jobs that have not ended or of which not all is told, the oldest first.
pub(super) fn open_jobs(database: &Connection) -> Result<Vec<Job>, Fault> {
    select(database, open_statement(), usize::MAX)
}

pub(super) fn open_statement() -> Statement {
    // The words of its condition are those of the index.
    (format!("{READ} WHERE ended_at IS NULL OR announced < revision ORDER BY created_at, jobs.id"), vec![])
}

/// The jobs that fit, the newest first.
pub(super) fn list(database: &Connection, query: &JobQuery) -> Result<Vec<Job>, Fault> {
    select(database, list_statement(query), query.limit)
}

pub(super) fn list_statement(query: &JobQuery) -> Statement {
    let (mut sql, mut params) = (format!("{LISTED} WHERE true"), Vec::new());
    if let Some(state) = query.state {
        sql.push_str(" AND state = ?");
        params.push(Value::Text(state.name().into()));
    }
    if let Some(kind) = &query.kind {
        sql.push_str(" AND kind = ?");
        params.push(Value::Text(kind.clone()));
    }
    if let Some((created, id)) = &query.before {
        sql.push_str(" AND (created_at, jobs.id) < (?, ?)");
        params.extend([Value::Integer(to_sql(*created)), Value::Text(id.as_str().into())]);
    }
    sql.push_str(" ORDER BY created_at DESC, jobs.id DESC");
    (sql, params)
}

/// The jobs that ended before `time`, the oldest first, without those of which not all is told.
pub(super) fn ended_before(database: &Connection, time: Timestamp, limit: usize) -> Result<Vec<Job>, Fault> {
    select(database, ended_statement(time), limit)
}

pub(super) fn ended_statement(time: Timestamp) -> Statement {
    let sql = format!("{LISTED} WHERE ended_at < ? AND announced >= revision ORDER BY ended_at, jobs.id");
    (sql, vec![Value::Integer(to_sql(time))])
}

/// At most `limit` jobs. One that is damaged is passed over: it must not keep the others from being found, nor the program from
/// starting.
fn select(database: &Connection, (sql, params): Statement, limit: usize) -> Result<Vec<Job>, Fault> {
    let mut statement = database.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(params))?;
    let mut jobs = Vec::new();
    // No row is looked at that is not asked for, so the statement needs no limit of its own.
    while jobs.len() < limit
        && let Some(row) = rows.next()?
    {
        match decode(row) {
            Ok(job) => jobs.push(job),
            Err(fault) => tracing::error!(why = fault.why, "a job is passed over"),
        }
    }
    Ok(jobs)
}

fn decode(row: &Row<'_>) -> Result<Job, Fault> {
    let id: String = row.get(0)?;
    decode_parts(row).map_err(|why| Fault::new(format!("the record of job {id} is damaged: {why}")))
}

fn decode_parts(row: &Row<'_>) -> Result<Job, Box<dyn std::error::Error>> {
    let mut job: Job = serde_json::from_str(row.get_ref(1)?.as_str()?)?;
    job.items = u64::try_from(row.get::<_, i64>(2)?)?;
    job.announced = u64::try_from(row.get::<_, i64>(3)?)?;
    job.end = row.get(4)?;
    if let Some(progress) = row.get_ref(5)?.as_str_or_null()? {
        job.progress = serde_json::from_str(progress)?;
    }
    if let Some(input) = row.get::<_, Option<String>>(6)? {
        job.input = Some(RawValue::from_string(input)?.into());
    }
    Ok(job)
}

fn unsaid(error: serde_json::Error) -> Fault {
    Fault::new(format!("it can't be told as JSON: {error}"))
}

/// SQLite's numbers are signed; nothing that is counted reaches the sign.
pub(super) fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
