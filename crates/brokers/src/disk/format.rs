//! The bytes of the log, version 1. All numbers are little endian.
//!
//! A log is a directory of segments, each a file named `<base offset, 20 digits>.seg`: a header, then records without
//! space between them, then perhaps zeros (room written ahead, so that a sync has no length to store).
//!
//! # Segment header, 56 bytes
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 8 | `tidlog\r\n`: a copy that changed line ends shows at once |
//! | 8 | 4 | version, 1 |
//! | 12 | 4 | epoch: which history; the same in all segments of a log |
//! | 16 | 8 | sequence: 1 for the first segment ever, one more for each next; a hole is a missing segment |
//! | 24 | 8 | base: no record here has an offset below it |
//! | 32 | 8 | previous: the last offset of the segment before, 0 in the first. In the oldest segment that is left, this is up to where the log was trimmed |
//! | 40 | 8 | when it was begun, in milliseconds since 1970 |
//! | 48 | 4 | zero |
//! | 52 | 4 | crc32c of bytes 0..52 |
//!
//! # Record
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 4 | length of the whole record; 0 means that nothing was written here |
//! | 4 | 4 | crc32c of bytes 0..4 and 8..length |
//! | 8 | 4 | epoch |
//! | 12 | 4 | left: how many records of the same batch follow. A batch counts only with its last record, which has 0 |
//! | 16 | 8 | offset, above that of the record before; within a batch one above |
//! | 24 | 8 | time, in milliseconds since 1970 |
//! | 32 | 4 | distance from the beginning of the write that this record was part of, in bytes |
//! | 36 | 4 | length of data |
//! | 40 | 4 | length of scope |
//! | 44 | 2 | length of name |
//! | 46 | 2 | length of topic |
//! | 48 | 2 | length of key |
//! | 50 | 2 | number of grants in the audience |
//! | 52 | 1 | flags: 1 it has a key, 2 it has a dedup |
//! | 53 | 3 | zero |
//! | 56 | | name, topic, dedup if there is one (16 request, 4 index, 4 of), key, each grant (2 length, text), scope, data |
//!
//! # What a crash may leave
//! One write is followed by one sync, and the next write begins only when that sync has returned. So what a crash tore
//! belongs to the last write, though its blocks may have reached the disk in any order. `distance` tells a torn write
//! from damage: a whole record behind the tear that is part of a write that began *behind* the tear proves that the
//! torn place had once been synced.

use std::sync::Arc;

use bytes::Bytes;
use tidings::event::Dedup;
use tidings::{Audience, Epoch, Event, NewEvent, Offset, Timestamp, Topic};

/// The length of a segment header.
pub const HEADER_BYTES: usize = 56;
/// The length of the fixed part of a record.
pub const RECORD_HEAD: usize = 56;
/// The most bytes of one record: far above what `Limits` lets in, far below what a length could claim.
pub const MAX_RECORD: usize = 64 << 20;

const MAGIC: &[u8; 8] = b"tidlog\r\n";
/// The version of the format that this crate writes.
pub const VERSION: u32 = 1;
const HAS_KEY: u8 = 1;
const HAS_DEDUP: u8 = 2;

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

/// What stands at the beginning of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Which history.
    pub epoch: Epoch,
    /// The how manieth segment of the log, from 1.
    pub sequence: u64,
    /// No record has an offset below it.
    pub base: Offset,
    /// The last offset of the segment before.
    pub previous: Offset,
    /// When it was begun.
    pub begun: Timestamp,
}

/// What is wrong with bytes that should have been ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// They end too early.
    #[error("the bytes end within it")]
    Short,
    /// They are not of this kind of file at all.
    #[error("it does not begin like a file of this log")]
    Magic,
    /// Written by a newer program.
    #[error("its format has version {0}, and this program knows version 1")]
    Version(u32),
    /// The checksum does not fit.
    #[error("its checksum does not fit its bytes")]
    Checksum,
    /// The checksum fits but the contents can't be; the text says which.
    #[error("{0}")]
    Contents(&'static str),
}

impl Header {
    /// Its bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.epoch.0.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.base.0.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.previous.0.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.begun.0.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..52]);
        bytes[52..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads it back.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let bytes = bytes.get(..HEADER_BYTES).ok_or(Malformed::Short)?;
        if &bytes[..8] != MAGIC {
            return Err(Malformed::Magic);
        }
        if u32_at(bytes, 8) != VERSION {
            return Err(Malformed::Version(u32_at(bytes, 8)));
        }
        if crc32c::crc32c(&bytes[..52]) != u32_at(bytes, 52) {
            return Err(Malformed::Checksum);
        }
        Ok(Header {
            epoch: Epoch(u32_at(bytes, 12)),
            sequence: u64_at(bytes, 16),
            base: Offset(u64_at(bytes, 24)),
            previous: Offset(u64_at(bytes, 32)),
            begun: Timestamp(u64_at(bytes, 40)),
        })
    }
}

/// How long the record of an event is, or why it can't have one.
pub fn record_bytes(event: &NewEvent) -> Result<usize, &'static str> {
    let short = |length: usize| length <= usize::from(u16::MAX);
    let key = event.key.as_ref().map_or(0, |key| key.len());
    let grants = event.audience.grants();
    if !short(event.name.len()) || !short(key) || !short(grants.len()) {
        return Err("the name, the key or the audience of an event is larger than 65,535");
    }
    let audience: usize = grants.iter().map(|grant| grant.as_str().len() + 2).sum();
    let dedup = if event.dedup.is_some() { 24 } else { 0 };
    let length = RECORD_HEAD
        .saturating_add(event.name.len() + event.topic.as_str().len() + dedup + key + audience)
        .saturating_add(event.scope.len())
        .saturating_add(event.data.len());
    if length > MAX_RECORD { Err("an event is larger than 64 MiB") } else { Ok(length) }
}

/// Where a record stands, beside what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which history.
    pub epoch: Epoch,
    /// Its place in the log.
    pub offset: Offset,
    /// How many records of its batch follow.
    pub left: u32,
    /// How far it is from the beginning of its write.
    pub distance: u32,
}

/// Appends the record of `event`, whose lengths [`record_bytes`] has checked.
pub fn encode(event: &NewEvent, place: Place, out: &mut Vec<u8>) {
    let start = out.len();
    let mut head = [0; RECORD_HEAD];
    head[8..12].copy_from_slice(&place.epoch.0.to_le_bytes());
    head[12..16].copy_from_slice(&place.left.to_le_bytes());
    head[16..24].copy_from_slice(&place.offset.0.to_le_bytes());
    head[24..32].copy_from_slice(&event.time.0.to_le_bytes());
    head[32..36].copy_from_slice(&place.distance.to_le_bytes());
    head[36..40].copy_from_slice(&(event.data.len() as u32).to_le_bytes());
    head[40..44].copy_from_slice(&(event.scope.len() as u32).to_le_bytes());
    head[44..46].copy_from_slice(&(event.name.len() as u16).to_le_bytes());
    head[46..48].copy_from_slice(&(event.topic.as_str().len() as u16).to_le_bytes());
    head[48..50].copy_from_slice(&(event.key.as_ref().map_or(0, |key| key.len()) as u16).to_le_bytes());
    head[50..52].copy_from_slice(&(event.audience.grants().len() as u16).to_le_bytes());
    head[52] = if event.key.is_some() { HAS_KEY } else { 0 } | if event.dedup.is_some() { HAS_DEDUP } else { 0 };
    out.extend_from_slice(&head);
    out.extend_from_slice(event.name.as_bytes());
    out.extend_from_slice(event.topic.as_str().as_bytes());
    if let Some(dedup) = &event.dedup {
        out.extend_from_slice(&dedup.request);
        out.extend_from_slice(&dedup.index.to_le_bytes());
        out.extend_from_slice(&dedup.of.to_le_bytes());
    }
    out.extend_from_slice(event.key.as_deref().unwrap_or_default().as_bytes());
    for grant in event.audience.grants() {
        out.extend_from_slice(&(grant.as_str().len() as u16).to_le_bytes());
        out.extend_from_slice(grant.as_str().as_bytes());
    }
    out.extend_from_slice(&event.scope);
    out.extend_from_slice(&event.data);
    let length = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    seal_record(&mut out[start..]);
}

/// Puts the checksum that fits the other bytes into a record of at least [`RECORD_HEAD`] bytes.
pub fn seal_record(record: &mut [u8]) {
    let crc = checksum(record);
    record[4..8].copy_from_slice(&crc.to_le_bytes());
}

fn checksum(record: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&record[..4]), &record[8..])
}

/// What stands at the beginning of some bytes of a segment.
#[derive(Debug)]
pub enum Next<'a> {
    /// Nothing was ever written here, or the bytes end.
    End,
    /// A record of this length may begin here, but the bytes end before it does.
    Short(usize),
    /// A whole record whose checksum fits.
    Record(Record<'a>),
    /// No record.
    Bad(Malformed),
}

/// A whole record whose checksum fits.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a>(&'a [u8]);

/// Looks at what begins at the first of `bytes`. Never panics, whatever they are.
pub fn next(bytes: &[u8]) -> Next<'_> {
    if bytes.is_empty() {
        return Next::End;
    }
    // Also where these are zeros: they may be the first bytes of a length.
    if bytes.len() < 4 {
        return Next::Short(RECORD_HEAD);
    }
    let length = u32_at(bytes, 0) as usize;
    if length == 0 {
        return Next::End;
    }
    if !(RECORD_HEAD..=MAX_RECORD).contains(&length) {
        return Next::Bad(Malformed::Contents("its length can't be"));
    }
    let Some(record) = bytes.get(..length) else { return Next::Short(length) };
    if checksum(record) != u32_at(record, 4) {
        return Next::Bad(Malformed::Checksum);
    }
    Next::Record(Record(record))
}

/// Reads a whole segment held in memory as far as it can be read, and returns its events: what a fuzzer or a tool calls.
/// Never panics, whatever the bytes are.
pub fn parse_segment(bytes: &[u8]) -> Vec<Event> {
    let page = Bytes::copy_from_slice(bytes);
    let mut events = Vec::new();
    let mut at = match Header::decode(&page) {
        Ok(_) => HEADER_BYTES,
        Err(_) => 0,
    };
    while let Next::Record(record) = next(&page[at..]) {
        events.extend(decode(&page, at));
        at += record.len();
    }
    events
}

/// Whether a record of this history could begin here, by a look at the fixed part alone. Cheap: it is asked of every
/// byte behind a tear.
pub(crate) fn may_begin_here(bytes: &[u8], epoch: Epoch) -> bool {
    bytes.len() >= RECORD_HEAD
        && bytes[8..12] == epoch.0.to_le_bytes()
        && bytes[53..56] == [0; 3]
        && (RECORD_HEAD..=MAX_RECORD).contains(&(u32_at(bytes, 0) as usize))
}

impl<'a> Record<'a> {
    /// How many bytes it has.
    #[allow(clippy::len_without_is_empty, reason = "a record is never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Where it stands.
    pub fn place(&self) -> Place {
        Place {
            epoch: Epoch(u32_at(self.0, 8)),
            left: u32_at(self.0, 12),
            offset: Offset(u64_at(self.0, 16)),
            distance: u32_at(self.0, 32),
        }
    }

    /// When its event was accepted.
    pub fn time(&self) -> Timestamp {
        Timestamp(u64_at(self.0, 24))
    }

    /// How many bytes of data its event has.
    pub fn data_bytes(&self) -> usize {
        u32_at(self.0, 36) as usize
    }

    /// The topic, as bytes.
    pub fn topic(&self) -> Result<&'a [u8], Malformed> {
        let name = usize::from(u16_at(self.0, 44));
        let topic = usize::from(u16_at(self.0, 46));
        self.0.get(RECORD_HEAD + name..RECORD_HEAD + name + topic).ok_or(Malformed::Contents(LENGTHS))
    }
}

const LENGTHS: &str = "its lengths do not add up";

/// Topics that were seen lately, so that a page of a thousand events on ten topics makes ten strings.
#[derive(Default)]
pub(crate) struct Interned {
    topics: Vec<Topic>,
    name: Option<Arc<str>>,
}

impl Interned {
    fn topic(&mut self, text: &str) -> Result<Topic, Malformed> {
        if let Some(known) = self.topics.iter().rev().find(|topic| topic.as_str() == text) {
            return Ok(known.clone());
        }
        let topic: Topic = text.parse().map_err(|_| Malformed::Contents("a path in it is no path"))?;
        // A short list: comparing eight strings is cheaper than hashing one.
        if self.topics.len() == 8 {
            self.topics.remove(0);
        }
        self.topics.push(topic.clone());
        Ok(topic)
    }

    fn name(&mut self, text: &str) -> Arc<str> {
        match &self.name {
            Some(known) if **known == *text => known.clone(),
            _ => self.name.insert(text.into()).clone(),
        }
    }
}

/// Reads the event of a record that [`next`] found at `start` of `page`; its data and scope are slices of `page`.
pub fn decode(page: &Bytes, start: usize) -> Result<Event, Malformed> {
    decode_with(page, start, &mut Interned::default())
}

pub(crate) fn decode_with(page: &Bytes, start: usize, known: &mut Interned) -> Result<Event, Malformed> {
    let Next::Record(record) = next(page.get(start..).unwrap_or_default()) else { return Err(Malformed::Checksum) };
    let bytes = record.0;
    let mut at = RECORD_HEAD;
    let mut take = |length: usize| {
        let taken = bytes.get(at..at + length).ok_or(Malformed::Contents(LENGTHS))?;
        at += length;
        Ok(taken)
    };
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| Malformed::Contents("a text in it is not UTF-8"));
    let flags = bytes[52];
    let name = known.name(text(take(usize::from(u16_at(bytes, 44)))?)?);
    let topic = known.topic(text(take(usize::from(u16_at(bytes, 46)))?)?)?;
    let dedup = if flags & HAS_DEDUP != 0 {
        let raw = take(24)?;
        let mut request = [0; 16];
        request.copy_from_slice(&raw[..16]);
        Some(Dedup { request, index: u32_at(raw, 16), of: u32_at(raw, 20) })
    } else {
        None
    };
    let key = text(take(usize::from(u16_at(bytes, 48)))?)?;
    let key = (flags & HAS_KEY != 0).then(|| key.into());
    let mut grants = Vec::new();
    for _ in 0..u16_at(bytes, 50) {
        let length = usize::from(u16_at(take(2)?, 0));
        grants.push(known.topic(text(take(length)?)?)?);
    }
    let scope_bytes = u32_at(bytes, 40) as usize;
    take(scope_bytes)?;
    take(record.data_bytes())?;
    if at != bytes.len() {
        return Err(Malformed::Contents(LENGTHS));
    }
    let data_at = start + at - record.data_bytes();
    // An empty slice of a page would keep the page alive for nothing.
    let slice = |from: usize, to: usize| if from == to { Bytes::new() } else { page.slice(from..to) };
    Ok(Event {
        offset: record.place().offset,
        body: NewEvent {
            name,
            topic,
            data: slice(data_at, start + at),
            scope: slice(data_at - scope_bytes, data_at),
            audience: Audience::new(grants),
            key,
            time: record.time(),
            kept: true,
            dedup,
        },
    })
}

/// A number for a topic that is the same in every version and on every machine, because it is stored: FNV-1a with a
/// final mix, so that all its bits are even. Two topics may share one; whoever finds a record by it compares the text.
pub(crate) fn topic_hash(topic: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in topic {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}
