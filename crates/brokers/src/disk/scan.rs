//! Reads a segment from its beginning, and tells a torn end from damage.

use std::io;

use tidings::Epoch;

use super::format::{self, HEADER_BYTES, Malformed, Next, RECORD_HEAD};
use super::index::{Entry, MemoryIndex};
use super::storage::{StoredFile, read_full_at};

/// Read at once: large enough that the number of calls does not matter, small enough not to be noticed in memory.
const CHUNK: usize = 1 << 20;

/// What a segment turned out to hold.
pub(crate) struct Scan {
    /// The index of the whole batches before the first thing that is none.
    pub index: MemoryIndex,
    /// What ends them.
    pub stop: Stop,
}

/// What comes after the last whole batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Nothing: the file ends, or has only zeros.
    End,
    /// What a crash may leave of the last write, up to here.
    Torn {
        /// How many whole records that is: those of a batch whose end is missing, and those behind a hole.
        records: u64,
        /// Where what is not zero ends.
        until: u64,
    },
    /// Something that was once durable does not read back.
    Damaged {
        /// Where.
        position: u64,
        /// What is wrong there.
        why: Malformed,
        /// Where a record stands that was written after it was durable.
        followed: u64,
    },
}

/// A part of the file in memory that moves on.
struct Pane<'a> {
    file: &'a dyn StoredFile,
    bytes: Vec<u8>,
    start: u64,
    /// Where the file ends.
    length: u64,
}

impl Pane<'_> {
    /// What stands from `position` on: at least `least` bytes, unless the file ends before.
    fn at(&mut self, position: u64, least: usize) -> io::Result<&[u8]> {
        let end = self.start + self.bytes.len() as u64;
        let wanted = (position + least as u64).min(self.length);
        if position < self.start || wanted > end {
            let size = least.max(CHUNK).min((self.length.saturating_sub(position)) as usize);
            self.bytes.resize(size, 0);
            let read = read_full_at(self.file, &mut self.bytes, position)?;
            self.bytes.truncate(read);
            self.start = position;
            // Shorter than it said: another length is not waited for.
            if read < size {
                self.length = position + read as u64;
            }
        }
        Ok(self.bytes.get((position - self.start) as usize..).unwrap_or_default())
    }
}

/// Reads the records of a segment whose header is good and that follows on the offset `previous`.
pub(crate) fn scan(file: &dyn StoredFile, epoch: Epoch, previous: tidings::Offset) -> io::Result<Scan> {
    let length = file.len()?;
    let mut pane = Pane { file, bytes: Vec::new(), start: 0, length };
    let mut index = MemoryIndex::empty(previous);
    let mut batch: Vec<Entry> = Vec::new();
    let mut position = HEADER_BYTES as u64;
    let mut last = previous.0;
    let mut left = 0;
    let why = loop {
        let mut bytes = pane.at(position, RECORD_HEAD)?;
        let mut next = format::next(bytes);
        if let Next::Short(needed) = next {
            bytes = pane.at(position, needed)?;
            next = format::next(bytes);
        }
        let record = match next {
            Next::Record(record) => record,
            Next::End => break None,
            Next::Short(_) if bytes.iter().all(|b| *b == 0) => break None,
            Next::Short(_) => break Some(Malformed::Short),
            Next::Bad(why) => break Some(why),
        };
        let place = record.place();
        let Ok(topic) = record.topic() else { break Some(Malformed::Contents("its lengths do not add up")) };
        if place.epoch != epoch {
            break Some(Malformed::Contents("it belongs to another history"));
        }
        let follows =
            if batch.is_empty() { place.offset.0 > last } else { place.offset.0 == last + 1 && place.left + 1 == left };
        if !follows {
            break Some(Malformed::Contents("it does not follow on the record before it"));
        }
        let Ok(at) = u32::try_from(position) else { break Some(Malformed::Contents("it stands behind 4 GiB")) };
        batch.push(Entry {
            offset: place.offset.0,
            position: at,
            length: record.len() as u32,
            time: record.time().0,
            topic: format::topic_hash(topic),
        });
        last = place.offset.0;
        left = place.left;
        position += record.len() as u64;
        if left == 0 {
            batch.drain(..).for_each(|entry| index.push(&entry));
        }
    };
    let cut = batch.len() as u64;
    let stop = look_behind(&mut pane, epoch, position, cut, why)?;
    Ok(Scan { index, stop })
}

/// Decides what it means that no record follows at `position`, where `cut` records of an unfinished batch end.
fn look_behind(pane: &mut Pane<'_>, epoch: Epoch, position: u64, cut: u64, why: Option<Malformed>) -> io::Result<Stop> {
    let (mut at, mut records, mut until) = (position, cut, position);
    while at < pane.length {
        let bytes = pane.at(at, RECORD_HEAD)?;
        // Zeros are skipped by the piece: room written ahead is most of what is looked at here.
        if bytes.len() >= 512 && bytes[..512] == [0; 512] {
            at += 512 - RECORD_HEAD as u64;
            continue;
        }
        if bytes[0] != 0 {
            until = at + 1;
        }
        if !format::may_begin_here(bytes, epoch) {
            at += 1;
            continue;
        }
        let needed = format::u32_at(bytes, 0) as usize;
        let Next::Record(record) = format::next(pane.at(at, needed)?) else {
            at += 1;
            continue;
        };
        let begun = at.saturating_sub(u64::from(record.place().distance));
        // At the very place, it is whole but does not fit the one before it: no write leaves that behind.
        if begun > position || at == position {
            let why = why.unwrap_or(Malformed::Contents("nothing was written there"));
            return Ok(Stop::Damaged { position, why, followed: at });
        }
        records += 1;
        at += record.len() as u64;
        until = at;
    }
    Ok(if why.is_none() && until == position && cut == 0 { Stop::End } else { Stop::Torn { records, until } })
}
