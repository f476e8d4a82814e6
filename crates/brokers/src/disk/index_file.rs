//! The index of a sealed segment, in a file beside it.
//!
//! `<base offset, 20 digits>.idx` is made of pages of 4,096 bytes: 4,092 of contents, and a crc32c over them and the number of
//! the page, so that whatever part is read is verified. The contents, little endian, the parts without space between them:
//!
//! | part | bytes |
//! |---|---|
//! | head | `tididx\r\n`, version 4, epoch 4, sequence 8, base 8, end of the records 8, last offset 8, events 8, oldest time 8, newest time 8, then the counts: sparse 4, fences 4, topics 4, positions 4 |
//! | sparse | offset 8, position 4: a record every 16 KiB |
//! | fences | hash 8: that of every 128th topic |
//! | topics | hash 8, first 4 (into the positions), count 4: sorted by hash |
//! | positions | 4 each: those of one topic together, ascending |
//!
//! The head, sparse and fences are held in memory (under a byte an event); a topic is found by reading one block of
//! 128 topics and then its positions. The file says nothing that the segment does not: one that is missing or damaged is
//! made anew from the segment.

use std::io;
use std::sync::Arc;

use super::format::{Header, u32_at, u64_at};
use super::index::{Extent, MemoryIndex};
use super::storage::{Storage, StoredFile, read_full_at, write_all_at};

const MAGIC: &[u8; 8] = b"tididx\r\n";
const VERSION: u32 = 1;
const PAGE: usize = 4096;
const CONTENTS: usize = PAGE - 4;
const HEAD: usize = 88;
const SPARSE: usize = 12;
const FENCE: usize = 8;
const TOPIC: usize = 16;
const POSITION: usize = 4;
const BLOCK: usize = 128;

/// The index of a sealed segment.
pub(crate) struct IndexFile {
    file: Arc<dyn StoredFile>,
    pub extent: Extent,
    pub sparse: Vec<(u64, u32)>,
    fences: Vec<u64>,
    topics_at: usize,
    topics: usize,
    positions_at: usize,
    positions: usize,
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the index file is damaged: {what}"))
}

fn page_checksum(contents: &[u8], page: usize) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(contents), &(page as u64).to_le_bytes())
}

/// Reads `length` bytes of contents from `at` on, and verifies every page they stand on.
fn read(file: &dyn StoredFile, at: usize, length: usize) -> io::Result<Vec<u8>> {
    if length == 0 {
        return Ok(Vec::new());
    }
    let (first, last) = (at / CONTENTS, (at + length - 1) / CONTENTS);
    let mut pages = vec![0; (last - first + 1) * PAGE];
    if read_full_at(file, &mut pages, (first * PAGE) as u64)? < pages.len() {
        return Err(damaged("it is too short"));
    }
    let mut contents = Vec::with_capacity(pages.len());
    for (number, page) in pages.chunks_exact(PAGE).enumerate() {
        if page_checksum(&page[..CONTENTS], first + number) != u32_at(page, CONTENTS) {
            return Err(damaged("a checksum does not fit"));
        }
        contents.extend_from_slice(&page[..CONTENTS]);
    }
    contents.drain(..at - first * CONTENTS);
    contents.truncate(length);
    Ok(contents)
}

impl IndexFile {
    /// Writes the index of a segment under `name`: first under another name, so that a file of that name is whole.
    pub fn write(storage: &dyn Storage, name: &str, header: &Header, index: &MemoryIndex) -> io::Result<()> {
        let mut topics: Vec<_> = index.topics.iter().collect();
        topics.sort_unstable_by_key(|(hash, _)| **hash);
        let count: usize = topics.iter().map(|(_, positions)| positions.as_slice().len()).sum();
        let fences = topics.len().div_ceil(BLOCK);

        let mut out = Vec::with_capacity(HEAD + topics.len() * TOPIC + count * POSITION + index.sparse.len() * SPARSE);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&header.epoch.0.to_le_bytes());
        let Extent { end, last, events, oldest, newest } = index.extent;
        for number in [header.sequence, header.base.0, end, last, events, oldest, newest] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for number in [index.sparse.len(), fences, topics.len(), count] {
            out.extend_from_slice(&(number as u32).to_le_bytes());
        }
        debug_assert_eq!(out.len(), HEAD);
        for (offset, position) in &index.sparse {
            out.extend_from_slice(&offset.to_le_bytes());
            out.extend_from_slice(&position.to_le_bytes());
        }
        for (hash, _) in topics.iter().step_by(BLOCK) {
            out.extend_from_slice(&hash.to_le_bytes());
        }
        let mut first = 0_u32;
        for (hash, positions) in &topics {
            let count = positions.as_slice().len() as u32;
            out.extend_from_slice(&hash.to_le_bytes());
            out.extend_from_slice(&first.to_le_bytes());
            out.extend_from_slice(&count.to_le_bytes());
            first += count;
        }
        for position in topics.iter().flat_map(|(_, positions)| positions.as_slice()) {
            out.extend_from_slice(&position.to_le_bytes());
        }

        let mut pages = Vec::with_capacity(out.len() + out.len() / 1000 + PAGE);
        for (number, contents) in out.chunks(CONTENTS).enumerate() {
            let start = pages.len();
            pages.extend_from_slice(contents);
            pages.resize(start + CONTENTS, 0);
            let crc = page_checksum(&pages[start..], number);
            pages.extend_from_slice(&crc.to_le_bytes());
        }
        let unfinished = format!("{name}.tmp");
        match storage.remove(&unfinished) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let file = storage.create(&unfinished)?;
        write_all_at(&*file, &pages, 0)?;
        storage.rename(&unfinished, name)
    }

    /// Opens the index of the segment with `header`, or says why it can't be used.
    pub fn open(storage: &dyn Storage, name: &str, header: &Header) -> io::Result<Self> {
        let file = storage.open(name)?;
        let head = read(&*file, 0, HEAD)?;
        if &head[..8] != MAGIC || u32_at(&head, 8) != VERSION {
            return Err(damaged("it does not begin like one, or has another version"));
        }
        if (u32_at(&head, 12), u64_at(&head, 16), u64_at(&head, 24)) != (header.epoch.0, header.sequence, header.base.0)
        {
            return Err(damaged("it belongs to another segment"));
        }
        let number = |at: usize| u64_at(&head, 32 + at * 8);
        let extent =
            Extent { end: number(0), last: number(1), events: number(2), oldest: number(3), newest: number(4) };
        let count = |at: usize| u32_at(&head, 72 + at * 4) as usize;
        let (sparse_count, fence_count, topics, positions) = (count(0), count(1), count(2), count(3));
        let fences_at = HEAD + sparse_count * SPARSE;
        let topics_at = fences_at + fence_count * FENCE;
        let positions_at = topics_at + topics * TOPIC;
        let length = file.len()?;
        let expected = (positions_at + positions * POSITION).div_ceil(CONTENTS) * PAGE;
        if length != expected as u64 || fence_count != topics.div_ceil(BLOCK) {
            return Err(damaged("its length is not what its counts say"));
        }
        let sparse = read(&*file, HEAD, sparse_count * SPARSE)?;
        let sparse = sparse.chunks_exact(SPARSE).map(|raw| (u64_at(raw, 0), u32_at(raw, 8))).collect();
        let fences = read(&*file, fences_at, fence_count * FENCE)?;
        let fences = fences.chunks_exact(FENCE).map(|raw| u64_at(raw, 0)).collect();
        Ok(IndexFile { file, extent, sparse, fences, topics_at, topics, positions_at, positions })
    }

    /// Which of the positions are those of a topic: the first, and how many.
    fn find(&self, topic: u64) -> io::Result<(usize, usize)> {
        let Some(block) = self.fences.partition_point(|fence| *fence <= topic).checked_sub(1) else {
            return Ok((0, 0));
        };
        let first = block * BLOCK;
        let count = BLOCK.min(self.topics - first);
        let raw = read(&*self.file, self.topics_at + first * TOPIC, count * TOPIC)?;
        let found = raw.chunks_exact(TOPIC).find(|raw| u64_at(raw, 0) == topic);
        let (first, count) = found.map_or((0, 0), |raw| (u32_at(raw, 8) as usize, u32_at(raw, 12) as usize));
        if first.saturating_add(count) > self.positions {
            return Err(damaged("a topic has positions that it does not hold"));
        }
        Ok((first, count))
    }

    fn read_positions(&self, first: usize, count: usize) -> io::Result<Vec<u32>> {
        let raw = read(&*self.file, self.positions_at + first * POSITION, count * POSITION)?;
        Ok(raw.chunks_exact(POSITION).map(|raw| u32_at(raw, 0)).collect())
    }

    pub fn positions(&self, topic: u64, from: u64, most: usize) -> io::Result<Vec<u32>> {
        let (first, count) = self.find(topic)?;
        // Halving touches one page a step; a list that fits one page is read at once.
        let (mut low, mut high) = (0, count);
        while high - low > CONTENTS / POSITION {
            let middle = low + (high - low) / 2;
            if u64::from(self.read_positions(first + middle, 1)?[0]) < from {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let mut found = self.read_positions(first + low, (high - low + most).min(count - low))?;
        let start = found.partition_point(|position| u64::from(*position) < from);
        found.drain(..start);
        found.truncate(most);
        Ok(found)
    }

    pub fn last_positions(&self, topic: u64, n: usize) -> io::Result<Vec<u32>> {
        let (first, count) = self.find(topic)?;
        let n = n.min(count);
        self.read_positions(first + count - n, n)
    }
}
