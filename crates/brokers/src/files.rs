//! The files that come with jobs, in one directory.

use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use tidings::job::{JobFileError, JobFileReader, JobFiles, KeptFile, NewJobFile, is_file_name, new_file_name};

/// How much is gathered before it is written, in bytes.
const WRITTEN: usize = 64 << 10;

/// The most bytes that are read at once.
const READ: usize = 128 << 10;

/// Files in a directory, for one process. Files there that are not named like those of jobs are left alone.
#[derive(Debug)]
pub struct FileDirectory {
    path: PathBuf,
}

impl FileDirectory {
    /// The files in the directory `path`, which has to be there when the first is begun.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        FileDirectory { path: path.into() }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where a file is; `None` where no file of a job can have this name.
    fn of(&self, name: &str) -> Option<PathBuf> {
        is_file_name(name).then(|| self.path.join(name))
    }
}

#[async_trait]
impl JobFiles for FileDirectory {
    async fn begin(&self) -> Result<Box<dyn NewJobFile>, JobFileError> {
        let name = new_file_name()?;
        let path = self.path.join(&name);
        let partial = blocking(move || {
            // Only this user may read it.
            let file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
            Ok(Partial::new(file, path))
        });
        let partial = partial.await.map_err(|error| match error {
            JobFileError::NotFound => JobFileError::Unavailable(format!("{} is missing", self.path.display())),
            error => error,
        })?;
        Ok(Box::new(NewFile { name, partial: Some(partial) }))
    }

    async fn open(&self, name: &str, part: Range<u64>) -> Result<Box<dyn JobFileReader>, JobFileError> {
        let path = self.of(name).ok_or(JobFileError::NotFound)?;
        let file = blocking(move || File::open(path)).await?;
        Ok(Box::new(Reader { file: Arc::new(file), left: part }))
    }

    async fn remove(&self, name: &str) -> Result<(), JobFileError> {
        let Some(path) = self.of(name) else { return Ok(()) };
        match blocking(move || std::fs::remove_file(path)).await {
            Err(JobFileError::NotFound) => Ok(()),
            removed => removed,
        }
    }

    fn discard(&self, name: &str) {
        if let Some(path) = self.of(name) {
            delete(&path);
        }
    }

    async fn names(&self) -> Result<Vec<String>, JobFileError> {
        let directory = self.path.clone();
        blocking(move || {
            let mut names = Vec::new();
            for entry in std::fs::read_dir(directory)? {
                let name = entry?.file_name();
                names.extend(name.to_str().filter(|name| is_file_name(name)).map(str::to_owned));
            }
            Ok(names)
        })
        .await
    }

    async fn age(&self, name: &str) -> Result<Option<Duration>, JobFileError> {
        let Some(path) = self.of(name) else { return Ok(None) };
        match blocking(move || std::fs::metadata(path)?.modified()).await {
            Ok(at) => Ok(Some(SystemTime::now().duration_since(at).unwrap_or_default())),
            Err(JobFileError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// A file that is being received.
struct NewFile {
    name: String,
    /// Away while a thread writes: where that is given up meanwhile, it ends there, and is deleted.
    partial: Option<Partial>,
}

impl NewFile {
    fn partial(&mut self) -> Result<Partial, JobFileError> {
        self.partial.take().ok_or_else(|| JobFileError::Unavailable("an earlier write failed".into()))
    }
}

#[async_trait]
impl NewJobFile for NewFile {
    fn name(&self) -> &str {
        &self.name
    }

    async fn write(&mut self, piece: Bytes) -> Result<(), JobFileError> {
        let mut partial = self.partial()?;
        partial.buffer.extend_from_slice(&piece);
        if partial.buffer.len() >= WRITTEN {
            partial = blocking(move || partial.flush().map(|()| partial)).await?;
        }
        self.partial = Some(partial);
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<KeptFile, JobFileError> {
        let partial = self.partial()?;
        let (mut temporary, kept) = blocking(move || partial.finish()).await?;
        // Not by the thread: where this was dropped while it synced, nobody has heard of the file.
        temporary.kept = true;
        Ok(kept)
    }
}

/// The file itself. Deleted when it is dropped.
struct Partial {
    file: File,
    temporary: Temporary,
    hash: Sha256,
    written: u64,
    /// What is not written yet.
    buffer: Vec<u8>,
}

impl Partial {
    fn new(file: File, path: PathBuf) -> Self {
        let temporary = Temporary { path, kept: false };
        Partial { file, temporary, hash: Sha256::new(), written: 0, buffer: Vec::with_capacity(2 * WRITTEN) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all(&self.buffer)?;
        self.hash.update(&self.buffer);
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Makes it durable, and found under its name.
    fn finish(mut self) -> io::Result<(Temporary, KeptFile)> {
        self.flush()?;
        self.file.sync_all()?;
        // The name is the directory's: without this the file may be whole, and nowhere.
        if let Some(directory) = self.temporary.path.parent() {
            File::open(directory)?.sync_all()?;
        }
        let kept = KeptFile { bytes: self.written, sha256: self.hash.finalize().into() };
        Ok((self.temporary, kept))
    }
}

/// A path that is deleted when it is dropped, unless the file is kept.
struct Temporary {
    path: PathBuf,
    kept: bool,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.kept {
            delete(&self.path);
        }
    }
}

fn delete(path: &Path) {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "an upload that is not needed can't be deleted");
        }
        _ => {}
    }
}

/// Reads a file piece by piece.
struct Reader {
    file: Arc<File>,
    left: Range<u64>,
}

#[async_trait]
impl JobFileReader for Reader {
    async fn next(&mut self) -> Result<Option<Bytes>, JobFileError> {
        let (file, at) = (self.file.clone(), self.left.start);
        let length = usize::try_from(self.left.end.saturating_sub(at)).unwrap_or(READ).min(READ);
        if length == 0 {
            return Ok(None);
        }
        let piece = blocking(move || {
            let mut piece = vec![0; length];
            file.read_exact_at(&mut piece, at)?;
            Ok(Bytes::from(piece))
        });
        let piece = piece.await?;
        self.left.start += length as u64;
        Ok(Some(piece))
    }
}

/// Runs `work` where it may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, JobFileError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(fault),
        Err(_) => Err(JobFileError::Unavailable("the program stops".into())),
    }
}

fn fault(error: io::Error) -> JobFileError {
    match error.kind() {
        io::ErrorKind::NotFound => JobFileError::NotFound,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            JobFileError::NoRoom(error.to_string())
        }
        _ => JobFileError::Unavailable(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// `/dev/full` takes nothing, as a full disk does.
    #[tokio::test]
    async fn a_full_disk_is_told_as_such_and_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let (name, path) = (new_file_name().unwrap(), directory.path().join("partial"));
        std::fs::write(&path, "x").unwrap();
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut new = NewFile { name, partial: Some(Partial::new(full, path.clone())) };
        let error = new.write(vec![7; WRITTEN].into()).await.err().unwrap();
        assert!(matches!(error, JobFileError::NoRoom(_)), "{error}");
        assert!(!path.exists());
        assert!(new.write(Bytes::from("x")).await.is_err(), "nothing can be done with it any more");
    }

    #[tokio::test]
    async fn only_its_owner_reads_a_file_and_other_files_are_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let files = FileDirectory::new(directory.path());
        std::fs::write(directory.path().join("notes.txt"), "x").unwrap();
        let mut new = files.begin().await.unwrap();
        let name = new.name().to_owned();
        new.write(Bytes::from("x")).await.unwrap();
        new.finish().await.unwrap();
        let mode = directory.path().join(&name).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(files.names().await.unwrap(), [name]);
        files.remove("notes.txt").await.unwrap();
        files.discard("notes.txt");
        assert!(directory.path().join("notes.txt").exists());
        for outside in ["notes.txt", "../notes.txt", "/etc/hostname"] {
            let opened = files.open(outside, 0..1).await;
            assert!(matches!(opened, Err(JobFileError::NotFound)), "{outside}");
        }
    }
}
