//! The disk as the log sees it: the seam through which all its work goes.
//!
//! There are two: [`Directory`], a real one, and one for tests that fails on demand.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One directory of files.
pub trait Storage: Send + Sync {
    /// Takes the directory for this process until the lock is dropped; `WouldBlock` if another process has it.
    fn lock(&self) -> io::Result<Box<dyn Send + Sync>>;
    /// The names of all files.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Makes an empty file; `AlreadyExists` if there is one. It survives a crash only after [`Storage::sync`].
    fn create(&self, name: &str) -> io::Result<Arc<dyn StoredFile>>;
    /// Opens a file for reading and writing.
    fn open(&self, name: &str) -> io::Result<Arc<dyn StoredFile>>;
    /// Removes a file. Whoever has it open can still read it.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Gives a file another name, in place of a file that has it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Makes what was created, removed and renamed survive a crash.
    fn sync(&self) -> io::Result<()>;
    /// How a file is called in a message to the operator.
    fn path(&self, name: &str) -> String;
}

/// One file. Reads and writes name their position, so that readers share it with the one writer.
pub trait StoredFile: Send + Sync {
    /// Reads up to `buffer.len()` bytes; 0 at the end.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;
    /// Writes some of `bytes` and returns how many.
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<usize>;
    /// Returns when what was written survives a crash.
    fn sync(&self) -> io::Result<()>;
    /// Cuts the file, or lengthens it with zeros.
    fn set_len(&self, length: u64) -> io::Result<()>;
    /// How long it is.
    fn len(&self) -> io::Result<u64>;
    /// Whether nothing is in it.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// Writes all of `bytes`.
pub(crate) fn write_all_at(file: &dyn StoredFile, mut bytes: &[u8], mut position: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write_at(bytes, position) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                bytes = &bytes[n..];
                position += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Reads until `buffer` is full or the file ends, and returns how many bytes that were.
pub(crate) fn read_full_at(file: &dyn StoredFile, buffer: &mut [u8], position: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], position + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

/// A directory of the file system.
#[derive(Debug)]
pub struct Directory(PathBuf);

impl Directory {
    /// Makes the directory if there is none.
    pub fn at(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        Ok(Directory(path.to_owned()))
    }
}

const LOCK: &str = "lock";

impl Storage for Directory {
    fn lock(&self) -> io::Result<Box<dyn Send + Sync>> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(self.0.join(LOCK))?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(file)),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(e)) => Err(e),
        }
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            names.extend(entry?.file_name().into_string().ok());
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StoredFile>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(self.0.join(name))?;
        Ok(Arc::new(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StoredFile>> {
        Ok(Arc::new(OpenOptions::new().read(true).write(true).open(self.0.join(name))?))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.0.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.0.join(from), self.0.join(to))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl StoredFile for File {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, position)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<usize> {
        FileExt::write_at(self, bytes, position)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        File::set_len(self, length)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}
