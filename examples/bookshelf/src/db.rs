//! The database: one connection that writes, one that reads what is committed.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::Notify;

use crate::fault::{Fault, Result};

/// Each brings the database from the version of its place to the next. They are never changed, only added to.
const MIGRATIONS: [&str; 1] = [include_str!("schema.sql")];

/// The database. Cheap to clone.
#[derive(Clone)]
pub struct Db {
    writer: Arc<Mutex<Connection>>,
    reader: Arc<Mutex<Connection>>,
    committed: Arc<Notify>,
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
        Ok(Db { writer: shared(writer), reader: shared(connect(path)?), committed: Arc::default() })
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
        let done = work(&transaction)?;
        transaction.commit()?;
        self.committed.notify_one();
        Ok(done)
    }

    /// Returns when something was committed since this returned last.
    pub async fn committed(&self) {
        self.committed.notified().await;
    }
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
