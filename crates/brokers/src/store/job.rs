//! Jobs: the record of each, the items of its result, its tokens.
//!
//! All writes go through one thread ([`GroupWriter`]): what queues while it waits for a sync shares the next one, so that ten
//! thousand jobs that end at once take a few syncs. Reads have connections of their own and wait for no write.

mod item;
mod reader;
mod record;
mod removal;
mod tables;
#[cfg(test)]
mod tests;
mod token;

use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::Connection;
use tidings::Timestamp;
use tidings::job::{Job, JobId, JobQuery, JobStore, JobStoreError, Progress};

use self::reader::Readers;
pub(super) use self::tables::TABLES;
use super::group::{Fault, GroupWriter, Shared};
use super::{BUSY, Store, StoreError};

/// How large the write-ahead log may stay after it was once large, in bytes.
const WAL_BYTES: i64 = 64 << 20;

/// How many statements a connection remembers: more than there are here.
const STATEMENTS: usize = 32;

/// What writes and reads jobs.
pub(super) struct JobTables {
    writer: GroupWriter,
    readers: Arc<Readers>,
}

impl JobTables {
    /// Over the database at `path`. One that is only in memory has no second connection: all share that one.
    pub fn open(connection: &Shared, path: Option<&Path>) -> Result<Self, StoreError> {
        let (write, others, readers) = match path {
            Some(path) => {
                let write = Connection::open(path)?;
                write.busy_timeout(BUSY)?;
                write.pragma_update(None, "journal_size_limit", WAL_BYTES)?;
                write.set_prepared_statement_cache_capacity(STATEMENTS);
                (Arc::new(Mutex::new(write)), Some(connection.clone()), Readers::of_file(path))
            }
            None => (connection.clone(), None, Readers::of_connection(connection.clone())),
        };
        let writer = GroupWriter::start(write, others, removal::CHORE).map_err(StoreError::Thread)?;
        Ok(JobTables { writer, readers: Arc::new(readers) })
    }

    async fn read<T: Send + 'static>(
        &self,
        run: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, JobStoreError> {
        Ok(self.readers.read(run).await?)
    }

    async fn write<T: Send + 'static>(
        &self,
        bytes: usize,
        run: impl Fn(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, JobStoreError> {
        Ok(self.writer.write(bytes, run).await?)
    }
}

impl Store {
    /// How many transactions have written jobs since the program started. Beside the number of writes it shows how many of them
    /// share one.
    pub fn job_commits(&self) -> u64 {
        self.jobs.writer.commits()
    }
}

impl From<Fault> for JobStoreError {
    fn from(fault: Fault) -> Self {
        JobStoreError(fault.why)
    }
}

/// Progress is seen by readers, and outlives the process, with the next commit, of which there is one at once; a power cut
/// may take back what no later write has made durable.
#[async_trait]
impl JobStore for Store {
    async fn create(&self, job: &Job) -> Result<Option<Job>, JobStoreError> {
        let record = record::Record::of(job)?;
        self.jobs.write(record.bytes(), move |database| record.create(database)).await
    }

    async fn read(&self, id: &JobId) -> Result<Option<Job>, JobStoreError> {
        let id = id.clone();
        self.jobs.read(move |database| record::read(database, &id)).await
    }

    async fn replace(&self, job: &Job, from: u64) -> Result<bool, JobStoreError> {
        let record = record::Record::of(job)?;
        self.jobs.write(record.bytes(), move |database| record.replace(database, from)).await
    }

    async fn note_progress(&self, progress: Vec<(JobId, Progress)>) -> Result<(), JobStoreError> {
        // In parts, so that many of them do not hold up a write that somebody waits for.
        let notes = record::ProgressNote::all(&progress)?;
        for part in notes.chunks(record::NOTED_AT_ONCE) {
            let part = part.to_vec();
            let bytes = part.iter().map(record::ProgressNote::bytes).sum();
            self.jobs.writer.write_later(bytes, move |database| record::note_progress(database, &part)).await?;
        }
        Ok(())
    }

    async fn note_announced(&self, id: &JobId, revision: u64, end: Option<String>) -> Result<(), JobStoreError> {
        let id = id.clone();
        self.jobs.write(0, move |database| record::note_announced(database, &id, revision, end.as_deref())).await
    }

    async fn open_jobs(&self) -> Result<Vec<Job>, JobStoreError> {
        self.jobs.read(record::open_jobs).await
    }

    async fn list(&self, query: &JobQuery) -> Result<Vec<Job>, JobStoreError> {
        let query = query.clone();
        self.jobs.read(move |database| record::list(database, &query)).await
    }

    async fn append_items(&self, id: &JobId, from: u64, items: Vec<Bytes>) -> Result<(), JobStoreError> {
        let (id, page) = (id.clone(), item::Page::pack(from, &items)?);
        drop(items);
        self.jobs.write(page.bytes(), move |database| page.append(database, &id)).await
    }

    async fn items(&self, id: &JobId, from: u64, limit: usize, max_bytes: usize) -> Result<Vec<Bytes>, JobStoreError> {
        let id = id.clone();
        self.jobs.read(move |database| item::read(database, &id, from, limit, max_bytes)).await
    }

    async fn put_token(&self, hash: [u8; 32], id: &JobId, expires: Timestamp) -> Result<(), JobStoreError> {
        let id = id.clone();
        self.jobs.write(0, move |database| token::put(database, hash, &id, expires)).await
    }

    async fn token(&self, hash: [u8; 32]) -> Result<Option<(JobId, Timestamp)>, JobStoreError> {
        self.jobs.read(move |database| token::read(database, hash)).await
    }

    async fn ended_before(&self, time: Timestamp, limit: usize) -> Result<Vec<Job>, JobStoreError> {
        self.jobs.read(move |database| record::ended_before(database, time, limit)).await
    }

    async fn remove(&self, id: &JobId) -> Result<(), JobStoreError> {
        let id = id.clone();
        self.jobs.write(0, move |database| removal::remove(database, &id)).await
    }
}
