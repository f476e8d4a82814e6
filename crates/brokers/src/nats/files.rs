//! The files that come with jobs, in an object store that all replicas read.

mod bucket;
mod read;
mod write;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tidings::job::{JobFileError, JobFileReader, JobFiles, NewJobFile, is_file_name, new_file_name};
use tokio::runtime::Handle;

use self::bucket::Bucket;
use self::read::Reader;
use self::write::Upload;
use super::engine::{Engine, EngineError};

/// The files that come with jobs in NATS: what one replica received is read at any of them.
///
/// They are an object store as NATS has it (ADR-20), bucket `tidings_<hub>_files`, so that `nats object` lists and gets them. A file is
/// some chunks of the same size, and a record behind them that says where they are. Only with the record there is a file: of an upload
/// whose end never came, the chunks go when they are old.
pub struct NatsFiles {
    bucket: Arc<Bucket>,
}

impl NatsFiles {
    /// Opens the bucket, and makes it where it is not there yet.
    ///
    /// # Errors
    /// Where the engine can't be reached, or has a bucket of this name that is not as it has to be.
    pub async fn open(engine: Arc<Engine>) -> Result<Arc<NatsFiles>, EngineError> {
        Ok(Arc::new(NatsFiles { bucket: Arc::new(Bucket::open(engine).await?) }))
    }

    /// Begins a file that has a name already, in the place of what there may be of it.
    ///
    /// # Errors
    /// [`JobFileError::Unavailable`], also where `name` is not one of a file.
    pub async fn begin_as(&self, name: &str) -> Result<Box<dyn NewJobFile>, JobFileError> {
        if !is_file_name(name) {
            return Err(JobFileError::Unavailable(format!("{name:?} is not the name of a file")));
        }
        self.bucket.remove(name).await?;
        Ok(Box::new(Upload::new(self.bucket.clone(), name.to_owned())))
    }
}

impl std::fmt::Debug for NatsFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("NatsFiles").field(&self.bucket.name()).finish()
    }
}

#[async_trait]
impl JobFiles for NatsFiles {
    async fn begin(&self) -> Result<Box<dyn NewJobFile>, JobFileError> {
        self.bucket.check_up()?;
        Ok(Box::new(Upload::new(self.bucket.clone(), new_file_name()?)))
    }

    async fn open(&self, name: &str, part: Range<u64>) -> Result<Box<dyn JobFileReader>, JobFileError> {
        if !is_file_name(name) {
            return Err(JobFileError::NotFound);
        }
        let record = self.bucket.record(name).await?;
        Ok(Box::new(Reader::new(self.bucket.clone(), record, part)?))
    }

    async fn remove(&self, name: &str) -> Result<(), JobFileError> {
        match is_file_name(name) {
            true => self.bucket.remove(name).await,
            false => Ok(()),
        }
    }

    fn discard(&self, name: &str) {
        if let (true, Ok(runtime)) = (is_file_name(name), Handle::try_current()) {
            let (bucket, name) = (self.bucket.clone(), name.to_owned());
            runtime.spawn(async move { bucket.discard(&name).await });
        }
    }

    async fn names(&self) -> Result<Vec<String>, JobFileError> {
        self.bucket.names().await
    }

    async fn age(&self, name: &str) -> Result<Option<Duration>, JobFileError> {
        match is_file_name(name) {
            true => self.bucket.age(name).await,
            false => Ok(None),
        }
    }
}
