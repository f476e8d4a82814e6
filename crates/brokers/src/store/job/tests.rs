//! What the contract can't ask of every store: files, crashes, syncs, a full disk.

mod crash;
mod group;
mod model;
mod removal;
mod table;

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use rusqlite::Connection;
use tidings::job::{JobQuery, JobState, JobStore};

use crate::Store;
use crate::job_contract::{changed, id, job};

/// A database in a directory that goes with it.
struct Fixture {
    directory: tempfile::TempDir,
    store: Arc<Store>,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(&directory.path().join("store.db")).unwrap());
        Fixture { directory, store }
    }

    /// Another connection to the same database, as of another program.
    fn other(&self) -> Connection {
        let other = Connection::open(self.directory.path().join("store.db")).unwrap();
        other.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
        other
    }

    /// The same database after a restart.
    fn reopened(self) -> Self {
        let Fixture { directory, store } = self;
        drop(Arc::into_inner(store).expect("nobody else has it"));
        let store = Arc::new(Store::open(&directory.path().join("store.db")).unwrap());
        Fixture { directory, store }
    }
}

/// Keeps everybody else from writing, until it is let go.
fn hold(other: &Connection) -> rusqlite::Transaction<'_> {
    rusqlite::Transaction::new_unchecked(other, rusqlite::TransactionBehavior::Immediate).unwrap()
}

/// Has a future do what it does at once.
fn begin<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    std::pin::Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Has each do that. Tokio lets a task go on with some hundred at a time.
async fn begin_all<F: Future + Unpin>(futures: &mut [F]) {
    for future in futures {
        assert!(begin(future).is_pending());
        tokio::task::yield_now().await;
    }
}

fn everything() -> JobQuery {
    JobQuery { limit: 10_000, ..JobQuery::default() }
}

fn count(connection: &Connection, table: &str) -> u64 {
    connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0)).unwrap() as u64
}
