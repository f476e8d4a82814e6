//! A file that is being received, and one that was.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use tidings::job::{JobFileError, JobFiles, KeptFile, NewJobFile};

use crate::problem::Problem;

/// A file that was received whole, and is kept. Discarded when it is dropped, unless it was [kept](Self::keep).
pub struct Uploaded {
    files: Arc<dyn JobFiles>,
    key: String,
    kept: bool,
    /// What the client calls it, to be shown and for nothing else: the last segment of a path, 255 bytes at most, no control
    /// characters.
    pub name: Option<String>,
    /// What the client says that it is, with parameters: `text/csv; charset=iso-8859-1`; else `application/octet-stream`.
    pub media_type: String,
    /// How many bytes it has, at least one.
    pub bytes: u64,
    /// The SHA-256 of its bytes.
    pub sha256: [u8; 32],
}

impl Uploaded {
    /// Its name among the files that are kept: 32 hexadecimal digits.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Leaves it where it is when this is dropped.
    pub fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for Uploaded {
    fn drop(&mut self) {
        if !self.kept {
            self.files.discard(&self.key);
        }
    }
}

impl std::fmt::Debug for Uploaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Uploaded").field("key", &self.key).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// A file that is being received. Where the request is given up meanwhile, nothing of it stays.
pub(super) struct Partial {
    file: Box<dyn NewJobFile>,
    bytes: u64,
}

impl Partial {
    /// A new file among `files`.
    pub async fn create(files: &Arc<dyn JobFiles>) -> Result<Self, Problem> {
        Ok(Partial { file: files.begin().await.map_err(refused)?, bytes: 0 })
    }

    /// How many bytes it has.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Puts `piece` behind them.
    pub async fn write(&mut self, piece: Bytes) -> Result<(), Problem> {
        self.bytes += piece.len() as u64;
        self.file.write(piece).await.map_err(refused)
    }

    /// The file, once it is durable and found under its name.
    pub async fn finish(
        self,
        files: &Arc<dyn JobFiles>,
        name: Option<String>,
        media_type: String,
    ) -> Result<Uploaded, Problem> {
        let key = self.file.name().to_owned();
        let KeptFile { bytes, sha256 } = self.file.finish().await.map_err(refused)?;
        Ok(Uploaded { files: files.clone(), key, kept: false, name, media_type, bytes, sha256 })
    }
}

fn refused(error: JobFileError) -> Problem {
    tracing::error!(%error, "an upload was refused");
    match error {
        JobFileError::NoRoom(_) => {
            let detail = "there is no room for the file at the moment; nothing of it was kept";
            Problem::new(StatusCode::INSUFFICIENT_STORAGE, "no-room", detail)
        }
        _ => Problem::unavailable(10, "upload-unavailable", "files can't be kept at the moment; nothing of it was"),
    }
}
