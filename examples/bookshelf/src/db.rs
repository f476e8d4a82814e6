//! The database: one connection that writes, one that reads what is committed.

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::Notify;

use crate::fault::{Fault, Result};

/// The name of the file in the data directory.
pub const FILE: &str = "bookshelf.db";

/// Each brings the database from the version of its place to the next. They are never changed, only added to.
const MIGRATIONS: [&str; 2] = [include_str!("schema.sql"), include_str!("schema-2.sql")];

/// What a transaction must pass before it is committed. It sees what the transaction has put into the outbox after the row of this id.
type Guard = Box<dyn Fn(&Connection, i64) -> Result<()> + Send + Sync>;

/// The database. Cheap to clone.
#[derive(Clone)]
pub struct Db {
    writer: Arc<Mutex<Connection>>,
    reader: Arc<Mutex<Connection>>,
    committed: Arc<Notify>,
    guard: Arc<OnceLock<Guard>>,
}

impl Db {
    /// Opens the file, and brings it to the newest version.
    ///
    /// # Errors
    /// Where it can't be opened, or a newer program has written it.
    pub fn open(path: &Path) -> Result<Db> {
        let mut writer = connect(path)?;
        migrate(&mut writer)?;
        let shared = |connection| Arc::new(Mutex::new(connection));
        let (writer, reader) = (shared(writer), shared(connect(path)?));
        Ok(Db { writer, reader, committed: Arc::default(), guard: Arc::default() })
    }

    /// Has each transaction from now on pass `guard` before it is committed. The first one set stays.
    pub fn guard(&self, guard: impl Fn(&Connection, i64) -> Result<()> + Send + Sync + 'static) {
        let _ = self.guard.set(Box::new(guard));
    }

    /// What `work` finds among what is committed.
    pub async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let reader = self.reader.clone();
        blocking(move || work(&reader.lock().unwrap_or_else(PoisonError::into_inner))).await
    }

    /// Does all of `work` or nothing of it, durably, and wakes whoever tells of it.
    pub async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let db = self.clone();
        blocking(move || db.write_here(work)).await
    }

    /// The same on this thread, which may block.
    pub fn write_here<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        // Dropped without a commit it is rolled back.
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let before = last_row(&transaction)?;
        let done = work(&transaction)?;
        if let Some(guard) = self.guard.get() {
            guard(&transaction, before)?;
        }
        transaction.commit()?;
        self.committed.notify_one();
        Ok(done)
    }

    /// Returns when something was committed since this returned last.
    pub async fn committed(&self) {
        self.committed.notified().await;
    }
}

/// The id that the outbox gave last.
fn last_row(transaction: &Transaction<'_>) -> Result<i64> {
    let sql = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'outbox'";
    Ok(transaction.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(Fault::Broken("work on the database broke off".into())))
}

fn connect(path: &Path) -> Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    // What was answered is not taken back by a power cut.
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    Ok(connection)
}

fn migrate(connection: &mut Connection) -> Result<()> {
    let version: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version as usize > MIGRATIONS.len() {
        return Err(Fault::Broken(format!("the database has version {version}: a newer program has written it")));
    }
    for (next, migration) in (1_u32..).zip(MIGRATIONS).skip(version as usize) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "user_version", next)?;
        transaction.commit()?;
    }
    Ok(())
}
