//! The tables of jobs.

/// The fourth migration.
///
/// - `jobs`: one row each. `number` is never used again, so that what a removed job has left belongs to nobody. `document` is the
///   record as JSON, without its input; what changes more often than the state stands beside it and is laid over it.
/// - `job_inputs`: what jobs are to work on. It may be large and never changes, so that a change of the state does not write it again.
/// - `job_progress`: a progress that is newer than the record.
/// - `job_items`: the items of results, many to a row: `first` is the index of the first in `body`.
/// - `job_tokens`: who may watch and cancel one job.
/// - `job_removals`: removed jobs whose items are still to be deleted.
pub(in crate::store) const TABLES: &str = "
    CREATE TABLE jobs (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        kind TEXT NOT NULL,
        state TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        ended_at INTEGER,
        revision INTEGER NOT NULL,
        announced INTEGER NOT NULL,
        end_cursor TEXT,
        items INTEGER NOT NULL,
        document TEXT NOT NULL
    ) STRICT;
    CREATE INDEX jobs_open ON jobs (created_at, id) WHERE ended_at IS NULL OR announced < revision;
    CREATE INDEX jobs_ended ON jobs (ended_at, id) WHERE ended_at IS NOT NULL;
    CREATE INDEX jobs_by_creation ON jobs (created_at, id);
    CREATE INDEX jobs_by_state ON jobs (state, created_at, id);
    CREATE INDEX jobs_by_kind ON jobs (kind, created_at, id);
    CREATE INDEX jobs_by_kind_and_state ON jobs (kind, state, created_at, id);
    CREATE TABLE job_inputs (
        job INTEGER PRIMARY KEY,
        input TEXT NOT NULL
    ) STRICT;
    CREATE TABLE job_progress (
        job INTEGER PRIMARY KEY,
        progress TEXT NOT NULL
    ) STRICT;
    CREATE TABLE job_items (
        job INTEGER NOT NULL,
        first INTEGER NOT NULL,
        body BLOB NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX job_items_by_place ON job_items (job, first);
    CREATE TABLE job_tokens (
        hash BLOB PRIMARY KEY,
        job INTEGER NOT NULL,
        expires_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX job_tokens_by_job ON job_tokens (job);
    CREATE INDEX job_tokens_by_expiry ON job_tokens (expires_at);
    CREATE TABLE job_removals (
        job INTEGER PRIMARY KEY
    ) STRICT;
";
