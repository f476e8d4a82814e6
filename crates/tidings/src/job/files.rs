//! Where the files that come with jobs are kept.

use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

/// The files that come with jobs. Each has a name of 32 hexadecimal digits that nobody guesses, and never changes once it is there.
///
/// Where several replicas share the jobs, each of them reads what any of them has kept.
#[async_trait]
pub trait JobFiles: Send + Sync {
    /// Begins a new file. Nobody reads it before it is [finished](NewJobFile::finish).
    ///
    /// # Errors
    /// [`JobFileError::NoRoom`], [`JobFileError::Unavailable`].
    async fn begin(&self) -> Result<Box<dyn NewJobFile>, JobFileError>;

    /// Opens the file `name` for its bytes in `part`. Beyond its end there is nothing: then reading is an error.
    ///
    /// # Errors
    /// [`JobFileError::NotFound`] where there is none that was finished, [`JobFileError::Unavailable`].
    async fn open(&self, name: &str, part: Range<u64>) -> Result<Box<dyn JobFileReader>, JobFileError>;

    /// Deletes it, finished or not; well, too, where there is none.
    ///
    /// # Errors
    /// [`JobFileError::Unavailable`]: then it may still be there.
    async fn remove(&self, name: &str) -> Result<(), JobFileError>;

    /// Deletes it without telling what came of it, for those who can't wait. What stays is found by [`names`](Self::names).
    fn discard(&self, name: &str);

    /// The names of all files, those included that are being received and those that a killed process left unfinished.
    ///
    /// # Errors
    /// [`JobFileError::Unavailable`].
    async fn names(&self) -> Result<Vec<String>, JobFileError>;

    /// For how long nothing was written to it; `None` where there is none.
    ///
    /// # Errors
    /// [`JobFileError::Unavailable`].
    async fn age(&self, name: &str) -> Result<Option<Duration>, JobFileError>;
}

/// A file that is being received. Dropped before it is finished, or while it is written, it is [discarded](JobFiles::discard).
///
/// What it holds in memory is bounded, whatever its size: a write returns when there is room for the next.
#[async_trait]
pub trait NewJobFile: Send {
    /// Its name.
    fn name(&self) -> &str;

    /// Puts `piece` behind what it has.
    ///
    /// # Errors
    /// [`JobFileError::NoRoom`], [`JobFileError::Unavailable`]. Nothing can be done with the file from then on.
    async fn write(&mut self, piece: Bytes) -> Result<(), JobFileError>;

    /// Makes it one that can be read, and that no crash takes back: as durable as an event.
    ///
    /// # Errors
    /// As of [`write`](Self::write).
    async fn finish(self: Box<Self>) -> Result<KeptFile, JobFileError>;
}

/// Reads a file from one place to another.
#[async_trait]
pub trait JobFileReader: Send {
    /// The next bytes, some 100 KB at most; `None` behind the last.
    ///
    /// # Errors
    /// [`JobFileError::NotFound`] where it was deleted meanwhile, [`JobFileError::Unavailable`].
    async fn next(&mut self) -> Result<Option<Bytes>, JobFileError>;
}

/// A file that was received whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptFile {
    /// How many bytes it has.
    pub bytes: u64,
    /// Their SHA-256.
    pub sha256: [u8; 32],
}

/// Why a file can't be kept, or not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JobFileError {
    /// There is none of this name.
    #[error("there is no such file")]
    NotFound,
    /// There is no room for it; what there was of it is gone.
    #[error("there is no room for the file: {0}")]
    NoRoom(String),
    /// It can't be done now. Trying again may help.
    #[error("files are not available: {0}")]
    Unavailable(String),
}

/// A name for a new file: nobody guesses one, and no two are alike.
///
/// # Errors
/// [`JobFileError::Unavailable`] where the system gives no random bytes.
pub fn new_file_name() -> Result<String, JobFileError> {
    let mut random = [0; RANDOM];
    getrandom::fill(&mut random).map_err(|error| JobFileError::Unavailable(error.to_string()))?;
    Ok(format!("{:032x}", u128::from_be_bytes(random)))
}

/// Whether a file is named like those that come with jobs.
pub fn is_file_name(name: &str) -> bool {
    name.len() == 2 * RANDOM && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The random bytes of a name.
const RANDOM: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_files_are_taken_for_some() {
        assert!(is_file_name(&new_file_name().unwrap()));
        assert_ne!(new_file_name().unwrap(), new_file_name().unwrap());
        for name in ["", "tidings.db", "0123456789abcdef0123456789abcde", "0123456789ABCDEF0123456789ABCDEF"] {
            assert!(!is_file_name(name), "{name}");
        }
    }
}
