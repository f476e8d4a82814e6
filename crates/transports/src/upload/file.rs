//! A file that is being received, and one that was.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use http::StatusCode;
use sha2::{Digest, Sha256};

use super::body::PIECE;
use crate::problem::Problem;

/// A file that was received whole, and is on the disk. Deleted when it is dropped, unless it was [kept](Self::keep).
#[derive(Debug)]
pub struct Uploaded {
    temporary: Temporary,
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
    /// Where it is: in the directory that was asked for, under a name of 32 hexadecimal digits.
    pub fn path(&self) -> &Path {
        &self.temporary.path
    }

    /// Leaves it where it is when this is dropped.
    pub fn keep(&mut self) {
        self.temporary.kept = true;
    }
}

/// Deletes the uploads in `directory` that `is_known` does not know by their name: those that a killed process left. Returns how many.
///
/// For the start of the program, before it receives any; blocks. Files that are not named like an upload are left alone.
///
/// # Errors
/// Where the directory can't be read, or a file not be deleted.
pub fn sweep(directory: &Path, is_known: impl Fn(&str) -> bool) -> io::Result<usize> {
    let mut swept = 0;
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        let Some(name) = name.to_str().filter(|name| is_upload(name) && !is_known(name)) else { continue };
        std::fs::remove_file(directory.join(name))?;
        swept += 1;
    }
    Ok(swept)
}

/// Whether a file is named like those that are received.
pub(crate) fn is_upload(name: &str) -> bool {
    name.len() == 2 * RANDOM && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The random bytes of a name: nobody guesses one, and no two are alike.
const RANDOM: usize = 16;

/// A path that is deleted when it is dropped.
#[derive(Debug)]
struct Temporary {
    path: PathBuf,
    kept: bool,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "an upload that is not needed can't be deleted");
        }
    }
}

/// A file that is being received.
///
/// It moves to a thread that may block and back with each write. Where the request is given up meanwhile, it ends there, and is deleted.
pub(super) struct Partial {
    file: File,
    temporary: Temporary,
    hash: Sha256,
    written: u64,
    /// What is not written yet.
    buffer: Vec<u8>,
}

impl Partial {
    /// A new file in `directory`, which only this user may read.
    pub async fn create(directory: &Path) -> Result<Self, Problem> {
        let directory = directory.to_owned();
        blocking(move || {
            let mut random = [0; RANDOM];
            getrandom::fill(&mut random).map_err(io::Error::other)?;
            let path = directory.join(format!("{:032x}", u128::from_be_bytes(random)));
            let file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
            Ok(Partial::new(file, path))
        })
        .await
    }

    fn new(file: File, path: PathBuf) -> Self {
        let temporary = Temporary { path, kept: false };
        Partial { file, temporary, hash: Sha256::new(), written: 0, buffer: Vec::with_capacity(2 * PIECE) }
    }

    /// How many bytes it has.
    pub fn bytes(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// The same with `piece` behind it.
    pub async fn write(mut self, piece: &[u8]) -> Result<Self, Problem> {
        self.buffer.extend_from_slice(piece);
        if self.buffer.len() < PIECE {
            return Ok(self);
        }
        blocking(move || {
            self.flush()?;
            Ok(self)
        })
        .await
    }

    /// The file, once it is durable and found under its name.
    pub async fn finish(mut self, name: Option<String>, media_type: String) -> Result<Uploaded, Problem> {
        blocking(move || {
            self.flush()?;
            self.file.sync_all()?;
            // The name is the directory's: without this the file may be whole, and nowhere.
            if let Some(directory) = self.temporary.path.parent() {
                File::open(directory)?.sync_all()?;
            }
            let Partial { temporary, hash, written: bytes, .. } = self;
            Ok(Uploaded { temporary, name, media_type, bytes, sha256: hash.finalize().into() })
        })
        .await
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all(&self.buffer)?;
        self.hash.update(&self.buffer);
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

/// Runs `work` where it may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(refused(&error)),
        Err(_) => Err(Problem::unavailable(1, "draining", "the program stops; send the file again in a moment")),
    }
}

fn refused(error: &io::Error) -> Problem {
    tracing::error!(%error, "an upload was refused");
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            let detail = "there is no room for the file at the moment; nothing of it was kept";
            Problem::new(StatusCode::INSUFFICIENT_STORAGE, "no-room", detail)
        }
        _ => Problem::unavailable(10, "upload-unavailable", "files can't be kept at the moment; nothing of it was"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `/dev/full` takes nothing, as a full disk does.
    #[tokio::test]
    async fn a_full_disk_is_a_507_and_leaves_nothing() {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path().keep().unwrap();
        let partial = Partial::new(File::options().write(true).open("/dev/full").unwrap(), path.clone());
        let problem = partial.write(&[7; PIECE]).await.err().unwrap();
        assert_eq!((problem.status, problem.code), (StatusCode::INSUFFICIENT_STORAGE, "no-room"));
        assert!(!path.exists());
    }

    #[test]
    fn only_names_of_uploads_are_swept() {
        assert!(is_upload("0123456789abcdef0123456789abcdef"));
        for name in ["", "tidings.db", "0123456789abcdef0123456789abcde", "0123456789ABCDEF0123456789ABCDEF"] {
            assert!(!is_upload(name), "{name}");
        }
    }
}
