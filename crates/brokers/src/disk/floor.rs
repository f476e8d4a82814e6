//! Up to where the log is known to be durable.
//!
//! A torn last write and damage to the last write look alike from within a segment. So at each start and each orderly end the file
//! `floor` is written: what stands before that place was durable, and if it does not read back, that is damage and
//! no torn write. It may be behind, never ahead; a log without it is read as it is.
//!
//! 40 bytes, little endian: `tidflr\r\n`, epoch 4, crc32c of all other bytes 4, base of the segment 8, where its records ended 8,
//! the last offset 8.

use std::io;

use tidings::{Epoch, Offset};

use super::format::{u32_at, u64_at};
use super::storage::{Storage, read_full_at, write_all_at};

const NAME: &str = "floor";
const MAGIC: &[u8; 8] = b"tidflr\r\n";
const BYTES: usize = 40;

/// A place in the log before which everything is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Floor {
    pub epoch: Epoch,
    pub base: Offset,
    pub end: u64,
    pub last: Offset,
}

fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..])
}

impl Floor {
    /// Stores it in place of the one before.
    pub fn write(&self, storage: &dyn Storage) -> io::Result<()> {
        let mut bytes = [0; BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&self.epoch.0.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.base.0.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.end.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.last.0.to_le_bytes());
        let crc = checksum(&bytes);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        let unfinished = format!("{NAME}.tmp");
        match storage.remove(&unfinished) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let file = storage.create(&unfinished)?;
        write_all_at(&*file, &bytes, 0)?;
        file.sync()?;
        storage.rename(&unfinished, NAME)?;
        storage.sync()
    }

    /// Reads it; [`None`] if there is none or it does not read back.
    pub fn read(storage: &dyn Storage) -> Option<Self> {
        let mut bytes = [0; BYTES];
        let read = read_full_at(&*storage.open(NAME).ok()?, &mut bytes, 0).ok()?;
        let good = read == BYTES && &bytes[..8] == MAGIC && checksum(&bytes) == u32_at(&bytes, 12);
        good.then(|| Floor {
            epoch: Epoch(u32_at(&bytes, 8)),
            base: Offset(u64_at(&bytes, 16)),
            end: u64_at(&bytes, 24),
            last: Offset(u64_at(&bytes, 32)),
        })
    }
}
