//! Where in a segment an offset or a topic is found.

use std::collections::HashMap;
use std::io;

use tidings::Offset;

use super::format::HEADER_BYTES;
use super::index_file::IndexFile;

/// One entry by offset for so many bytes: a read starts at most so far before the place it looks for, which costs less
/// than one seek, and ten million events of 300 bytes have 3 MB of entries.
const SPARSE_BYTES: u64 = 16 << 10;

/// What a segment holds, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Where its records end.
    pub end: u64,
    /// The last offset in it; that of the segment before if it has no record.
    pub last: u64,
    /// How many records it has.
    pub events: u64,
    /// The least time of its records; `u64::MAX` if it has none.
    pub oldest: u64,
    /// The greatest time of its records; 0 if it has none.
    pub newest: u64,
}

/// What the index needs to know of one record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub offset: u64,
    pub position: u32,
    pub length: u32,
    pub time: u64,
    pub topic: u64,
}

/// The index of a segment: in memory while the segment is written to, in a file once it is sealed.
pub(crate) enum Index {
    Memory(MemoryIndex),
    File(IndexFile),
}

impl Index {
    pub fn extent(&self) -> Extent {
        match self {
            Index::Memory(index) => index.extent,
            Index::File(index) => index.extent,
        }
    }

    /// A position from which on to look for the first record after `after`: no such record stands before it.
    pub fn seek(&self, after: Offset) -> u64 {
        let sparse = match self {
            Index::Memory(index) => &index.sparse,
            Index::File(index) => &index.sparse,
        };
        let behind = sparse.partition_point(|(offset, _)| *offset <= after.0.saturating_add(1));
        behind.checked_sub(1).map_or(HEADER_BYTES as u64, |at| u64::from(sparse[at].1))
    }

    /// The first `most` positions of a topic's records at or behind `from`, ascending.
    pub fn positions(&self, topic: u64, from: u64, most: usize) -> io::Result<Vec<u32>> {
        match self {
            Index::Memory(index) => Ok(index.positions(topic, from, most)),
            Index::File(index) => index.positions(topic, from, most),
        }
    }

    /// How many records a topic has here and the position of the one that has `n - 1` behind it, or of the first.
    pub fn last_positions(&self, topic: u64, n: usize) -> io::Result<Vec<u32>> {
        match self {
            Index::Memory(index) => {
                let all = index.topics.get(&topic).map_or(&[][..], Positions::as_slice);
                Ok(all[all.len().saturating_sub(n)..].to_vec())
            }
            Index::File(index) => index.last_positions(topic, n),
        }
    }
}

/// The positions of one topic. Most topics of a hub have one event each (`job/42`), so one needs no allocation.
pub(crate) enum Positions {
    One(u32),
    Many(Vec<u32>),
}

impl Positions {
    pub fn as_slice(&self) -> &[u32] {
        match self {
            Positions::One(position) => std::slice::from_ref(position),
            Positions::Many(positions) => positions,
        }
    }
}

/// The index of the segment that is written to: 4 bytes an event and about 50 a topic.
#[derive(Default)]
pub(crate) struct MemoryIndex {
    pub extent: Extent,
    /// Offset and position of a record every [`SPARSE_BYTES`].
    pub sparse: Vec<(u64, u32)>,
    pub topics: HashMap<u64, Positions, foldhash::fast::RandomState>,
}

impl MemoryIndex {
    /// The index of a segment without records, the segment before which ended with `previous`.
    pub fn empty(previous: Offset) -> Self {
        let extent = Extent { end: HEADER_BYTES as u64, last: previous.0, events: 0, oldest: u64::MAX, newest: 0 };
        MemoryIndex { extent, ..Default::default() }
    }

    pub fn push(&mut self, entry: &Entry) {
        let due = self.sparse.last().is_none_or(|(_, at)| u64::from(entry.position) >= u64::from(*at) + SPARSE_BYTES);
        if due {
            self.sparse.push((entry.offset, entry.position));
        }
        self.topics
            .entry(entry.topic)
            .and_modify(|positions| match positions {
                Positions::One(first) => *positions = Positions::Many(vec![*first, entry.position]),
                Positions::Many(all) => all.push(entry.position),
            })
            .or_insert(Positions::One(entry.position));
        self.extent.end = u64::from(entry.position) + u64::from(entry.length);
        self.extent.last = entry.offset;
        self.extent.events += 1;
        self.extent.oldest = self.extent.oldest.min(entry.time);
        self.extent.newest = self.extent.newest.max(entry.time);
    }

    fn positions(&self, topic: u64, from: u64, most: usize) -> Vec<u32> {
        let all = self.topics.get(&topic).map_or(&[][..], Positions::as_slice);
        let start = all.partition_point(|position| u64::from(*position) < from);
        all[start..].iter().take(most).copied().collect()
    }
}
