//! One file of the log.

use std::io;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tidings::Offset;

use super::format::Header;
use super::index::{Extent, Index};
use super::index_file::IndexFile;
use super::scan::{Stop, scan};
use super::storage::{Storage, StoredFile};

/// A segment: its file stays open, so that who reads it can go on when retention has removed it.
pub(crate) struct Segment {
    pub header: Header,
    pub name: String,
    pub file: Arc<dyn StoredFile>,
    index: RwLock<Index>,
}

/// How the segment that begins with `base` is called.
pub(crate) fn segment_name(base: Offset) -> String {
    format!("{:020}.seg", base.0)
}

/// How the index of the segment that begins with `base` is called.
pub(crate) fn index_name(base: Offset) -> String {
    format!("{:020}.idx", base.0)
}

impl Segment {
    pub fn new(header: Header, file: Arc<dyn StoredFile>, index: Index) -> Self {
        Segment { name: segment_name(header.base), header, file, index: RwLock::new(index) }
    }

    pub fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn extent(&self) -> Extent {
        self.index().extent()
    }

    /// Puts the index of a segment that is no longer written to into a file, and out of memory.
    ///
    /// Neither is synced: every page of the file is verified when it is read, and what does not fit is made anew.
    pub fn seal(&self, storage: &dyn Storage) -> io::Result<()> {
        let name = index_name(self.header.base);
        match &*self.index() {
            Index::Memory(index) => IndexFile::write(storage, &name, &self.header, index)?,
            Index::File(_) => return Ok(()),
        }
        let index = IndexFile::open(storage, &name, &self.header)?;
        *self.index_mut() = Index::File(index);
        Ok(())
    }

    /// Makes the index anew from the records, after its file turned out to be damaged.
    pub fn reindex(&self) -> io::Result<()> {
        let scanned = scan(&*self.file, self.header.epoch, self.header.previous)?;
        if scanned.stop != Stop::End {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "both the segment and its index are damaged"));
        }
        *self.index_mut() = Index::Memory(scanned.index);
        Ok(())
    }
}
