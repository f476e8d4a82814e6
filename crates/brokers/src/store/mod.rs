//! SQLite beside the log, for what is relational.
//!
//! - [`key`]: who may publish and listen with an API key.
//! - [`ticket`]: one-time, short-lived ways in.
//! - [`revocation`]: who may no longer, though what they hold has not expired.
//! - [`idempotency`]: what was answered to a request that may be sent again.
//! - [`place`]: how far the log has been looked through.
//! - `job`: jobs, the items of their results and their tokens: the store is a [`JobStore`](tidings::job::JobStore).
//! - `state`: all but the jobs as a [`StateStore`](crate::state::StateStore).
//!
//! The store's own methods block on the disk, most for some microseconds, a write for one sync: call them where that is allowed.
//! Those of `JobStore` and `StateStore` wait without blocking.

mod export;
mod group;
pub mod idempotency;
mod job;
pub mod key;
pub mod place;
pub mod revocation;
mod state;
pub mod ticket;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use tidings::Timestamp;

pub use key::{Key, NewKey};
pub use revocation::{Revocation, Revoked};

/// How long another process may hold the database before a call gives up: `tidings key create` beside a running server
/// needs milliseconds.
const BUSY: Duration = Duration::from_secs(5);

/// Each brings the database from the version of its place to the next. They are never changed, only added to.
const MIGRATIONS: [&str; 4] = [
    "
    CREATE TABLE keys (
        id TEXT PRIMARY KEY,
        secret BLOB NOT NULL,
        name TEXT NOT NULL,
        grants TEXT NOT NULL,
        publish_topics TEXT,
        publish_names TEXT,
        may_publish INTEGER NOT NULL,
        operator INTEGER NOT NULL,
        profile TEXT,
        created_at INTEGER NOT NULL,
        expires_at INTEGER,
        used_at INTEGER
    ) STRICT;
    CREATE TABLE tickets (
        hash BLOB PRIMARY KEY,
        principal TEXT NOT NULL,
        expires_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX tickets_by_expiry ON tickets (expires_at);
    CREATE TABLE revocations (
        kind TEXT NOT NULL,
        value TEXT NOT NULL,
        at INTEGER NOT NULL,
        until INTEGER NOT NULL,
        PRIMARY KEY (kind, value)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE idempotency (
        request BLOB PRIMARY KEY,
        body_hash BLOB NOT NULL,
        answer TEXT NOT NULL,
        at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX idempotency_by_time ON idempotency (at);
",
    "
    CREATE TABLE places (
        name TEXT PRIMARY KEY,
        epoch INTEGER NOT NULL,
        offset INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
",
    // Two profiles may have users with one id; '' is every profile, as all revocations were before.
    "
    ALTER TABLE revocations RENAME TO everywhere;
    CREATE TABLE revocations (
        kind TEXT NOT NULL,
        value TEXT NOT NULL,
        namespace TEXT NOT NULL,
        at INTEGER NOT NULL,
        until INTEGER NOT NULL,
        PRIMARY KEY (kind, value, namespace)
    ) STRICT, WITHOUT ROWID;
    INSERT INTO revocations SELECT kind, value, '', at, until FROM everywhere;
    DROP TABLE everywhere;
",
    job::TABLES,
];

/// The database. One connection behind a lock that is held for one statement; jobs have connections of their own. A clone is the
/// same database.
#[derive(Clone)]
pub struct Store {
    /// Ends before the connection is closed: what was handed in is written first.
    jobs: Arc<job::JobTables>,
    connection: group::Shared,
    /// How often this process changed what a running server remembers.
    changes: Arc<AtomicU64>,
}

/// Why the store could not.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The database refused, is damaged or is busy for too long.
    #[error("the database refused: {0}")]
    Database(#[from] rusqlite::Error),
    /// A newer program has written it.
    #[error("the database has version {found}, and this program knows up to {known}: use the newer program")]
    Newer {
        /// The version it has.
        found: i64,
        /// The newest version that is known here.
        known: i64,
    },
    /// The system gave no random bytes, and a secret made without them would be none.
    #[error("the system gave no random bytes: {0}")]
    Random(getrandom::Error),
    /// The system gave no thread.
    #[error("the system gave no thread to write with: {0}")]
    Thread(std::io::Error),
}

/// SQLite's numbers are signed; no time of ours reaches the sign.
fn to_sql(time: Timestamp) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

fn from_sql(time: i64) -> Timestamp {
    Timestamp(u64::try_from(time).unwrap_or(0))
}

impl Store {
    /// Opens the database at `path`, or makes it, and brings it to the newest version.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::prepare(Connection::open(path)?, Some(path))
    }

    /// A database that ends with the process.
    pub fn in_memory() -> Result<Self, StoreError> {
        Self::prepare(Connection::open_in_memory()?, None)
    }

    fn prepare(mut connection: Connection, path: Option<&Path>) -> Result<Self, StoreError> {
        connection.busy_timeout(BUSY)?;
        // WAL: readers and the one writer do not wait for each other. FULL: a key that was shown survives a power cut.
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        // Taken before the version is read: two processes that start at once must not both migrate.
        let change = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let found: i64 = change.pragma_query_value(None, "user_version", |row| row.get(0))?;
        let known = MIGRATIONS.len() as i64;
        if found > known {
            return Err(StoreError::Newer { found, known });
        }
        for migration in &MIGRATIONS[usize::try_from(found).unwrap_or(0)..] {
            change.execute_batch(migration)?;
        }
        change.pragma_update(None, "user_version", known)?;
        change.commit()?;
        let connection = Arc::new(Mutex::new(connection));
        let jobs = Arc::new(job::JobTables::open(&connection, path)?);
        Ok(Store { jobs, connection, changes: Arc::default() })
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    /// Another number than before if keys or revocations may have changed, in this process or in another one
    /// (`tidings key create` beside a running server). Cheap: it reads one page that is in memory.
    pub fn generation(&self) -> Result<u64, StoreError> {
        let others: i64 = self.connection().pragma_query_value(None, "data_version", |row| row.get(0))?;
        Ok(self.changes.load(Ordering::Relaxed) << 32 | others as u64 & 0xffff_ffff)
    }

    /// Removes the tickets, revocations, answers and tokens of jobs that are of no use any more, and returns how many that were.
    pub fn sweep(&self, now: Timestamp) -> Result<usize, StoreError> {
        let tickets = self.sweep_tickets(now)?;
        let revocations = self.sweep_revocations(now)?;
        let answers = self.sweep_answers(now)?;
        let tokens = self.sweep_job_tokens(now)?;
        Ok(tickets + revocations + answers + tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stored_is_there_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        let store = Store::open(&path).unwrap();
        let (key, token) = store.create_key(NewKey::named("a"), Timestamp(1)).unwrap();
        drop(store);
        let store = Store::open(&path).unwrap();
        assert_eq!(store.verify(&token, Timestamp(2)).unwrap(), Some(key));
        let mode: String = store.connection().pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
        let sync: i64 = store.connection().pragma_query_value(None, "synchronous", |row| row.get(0)).unwrap();
        assert_eq!((mode.as_str(), sync), ("wal", 2));
    }

    #[test]
    fn a_database_of_a_newer_program_is_refused_and_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        Store::open(&path).unwrap().connection().pragma_update(None, "user_version", 99).unwrap();
        let error = Store::open(&path).err().unwrap();
        assert_eq!(
            error.to_string(),
            "the database has version 99, and this program knows up to 4: use the newer program"
        );
    }

    #[test]
    fn a_revocation_that_an_older_program_kept_holds_everywhere() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        let older = Connection::open(&path).unwrap();
        MIGRATIONS[..2].iter().for_each(|migration| older.execute_batch(migration).unwrap());
        older.pragma_update(None, "user_version", 2).unwrap();
        older.execute("INSERT INTO revocations VALUES ('principal', 'u1', 5, 100)", []).unwrap();
        drop(older);
        let kept = Store::open(&path).unwrap().revocations(Timestamp(9)).unwrap();
        let (value, at, until) = ("u1".into(), Timestamp(5), Timestamp(100));
        assert_eq!(kept, [Revocation { kind: Revoked::Principal, value, namespace: None, at, until }]);
    }

    #[test]
    fn the_generation_shows_a_change_of_this_and_of_another_process() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        let (server, command) = (Store::open(&path).unwrap(), Store::open(&path).unwrap());
        let first = server.generation().unwrap();
        assert_eq!(server.generation().unwrap(), first);
        command.create_key(NewKey::named("a"), Timestamp(1)).unwrap();
        let second = server.generation().unwrap();
        assert_ne!(second, first);
        server.create_key(NewKey::named("b"), Timestamp(1)).unwrap();
        assert_ne!(server.generation().unwrap(), second);
    }
}
