//! Reading while others write.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::super::BUSY;
use super::super::group::{Fault, Shared};

/// How many read at once. They do not wait for the disk as a rule, so that more would only wait for the processors.
const READERS: usize = 4;

/// Connections that only read.
pub(super) struct Readers {
    source: Source,
    free: Arc<Semaphore>,
}

enum Source {
    /// Each reads as the database was at the last commit, however long the next one takes.
    File { path: PathBuf, idle: Mutex<Vec<Connection>> },
    /// There is one connection only.
    Connection(Shared),
}

impl Readers {
    pub fn of_file(path: &Path) -> Self {
        let source = Source::File { path: path.to_owned(), idle: Mutex::default() };
        Readers { source, free: Arc::new(Semaphore::new(READERS)) }
    }

    pub fn of_connection(connection: Shared) -> Self {
        Readers { source: Source::Connection(connection), free: Arc::new(Semaphore::new(READERS)) }
    }

    /// Has `run` read, on a thread that may block.
    pub async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        run: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let failed = |why: &str| Fault::new(format!("the read failed: {why}"));
        // Held by the thread: it goes on also when nobody waits for it any more.
        let turn = self.free.clone().acquire_owned().await.map_err(|error| failed(&error.to_string()))?;
        let readers = self.clone();
        let read = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            readers.lend(run)
        });
        read.await.map_err(|error| failed(&error.to_string()))?
    }

    fn lend<T>(&self, run: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, Fault> {
        match &self.source {
            Source::Connection(connection) => run(&connection.lock().unwrap_or_else(PoisonError::into_inner)),
            Source::File { path, idle } => {
                let known = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let connection = known.map_or_else(|| open(path), Ok)?;
                let read = run(&connection);
                idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
                read
            }
        }
    }
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}
