//! Opens a directory: which segments there are, whether they are whole, and where to go on.

use std::io;
use std::sync::Arc;

use tidings::{Clock, Epoch, Head, Offset};

use super::floor::Floor;
use super::format::{HEADER_BYTES, Header, Malformed};
use super::index::{Index, MemoryIndex};
use super::index_file::IndexFile;
use super::scan::{Stop, scan};
use super::segment::{Segment, index_name, segment_name};
use super::storage::{Storage, StoredFile, read_full_at, write_all_at};
use crate::memory::random_epoch;

/// What was found and done when the log was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovery {
    /// Whether there was no log before.
    pub begun: bool,
    /// How many segments there are.
    pub segments: usize,
    /// How many bytes of an unfinished write were cut off the end. Nobody had been told of them.
    pub cut_bytes: u64,
    /// How many whole records were among them.
    pub cut_records: u64,
    /// How many index files were missing or damaged and were made anew.
    pub reindexed: usize,
}

/// Why a log could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has it.
    #[error("the log in {0} is in use by another process: stop that one, or give this one a directory of its own")]
    InUse(String),
    /// Something that was once durable is missing or does not read back. Nothing was changed.
    #[error("{0}")]
    Damaged(String),
    /// The disk refused.
    #[error("could not {what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        source: io::Error,
    },
}

const REPAIR: &str = "Nothing was changed. Move the directory of the log away to begin a new one (every subscriber is then told of a \
                      gap); do not put an older copy back, which would hand out places again that they know";

pub(crate) struct Recovered {
    /// All segments, oldest first; the last is the one to write to.
    pub segments: Vec<Arc<Segment>>,
    pub head: Head,
    pub recovery: Recovery,
    /// Where the zeros written ahead in the last segment end.
    pub room: u64,
}

fn failed(what: String) -> impl FnOnce(io::Error) -> OpenError {
    move |source| OpenError::Io { what, source }
}

/// Reads and checks the directory, cuts a torn end and makes the log ready to be written to.
pub(crate) fn recover(storage: &dyn Storage, clock: &dyn Clock) -> Result<Recovered, OpenError> {
    let names = storage.list().map_err(failed(format!("list {}", storage.path(""))))?;
    let mut bases: Vec<Offset> = Vec::new();
    for name in &names {
        if name.ends_with(".tmp") {
            storage.remove(name).map_err(failed(format!("remove {}", storage.path(name))))?;
        } else if let Some(base) = name.strip_suffix(".seg").and_then(|base| base.parse().ok()) {
            bases.push(Offset(base));
        }
    }
    bases.sort();
    for name in &names {
        let base = name.strip_suffix(".idx").and_then(|base| base.parse().ok()).map(Offset);
        if base.is_some_and(|base| bases.binary_search(&base).is_err()) {
            storage.remove(name).map_err(failed(format!("remove {}", storage.path(name))))?;
        }
    }

    let mut recovery = Recovery::default();
    let is_sealed = |base: Offset| names.contains(&index_name(base));
    let mut found = open_all(storage, &bases, is_sealed, &mut recovery)?;
    check_chain(storage, &found)?;
    // An index is written only when the next segment is safe on the disk.
    if let Some((newest, _)) = found.last().filter(|(header, _)| is_sealed(header.base)) {
        return Err(OpenError::Damaged(format!(
            "the log is damaged: the segment that follows on {} is missing. {REPAIR}.",
            storage.path(&segment_name(newest.base))
        )));
    }

    let floor = Floor::read(storage);
    let floor = floor.filter(|floor| found.last().is_some_and(|(header, _)| header.epoch == floor.epoch));
    if let (Some(floor), Some((newest, _))) = (floor, found.last())
        && floor.base > newest.base
    {
        return Err(OpenError::Damaged(format!(
            "the log is damaged: {} is missing. {REPAIR}.",
            storage.path(&segment_name(floor.base))
        )));
    }

    let mut segments = Vec::with_capacity(found.len());
    let newest = found.pop();
    for (header, file) in found {
        segments.push(Arc::new(open_sealed(storage, header, file, &mut recovery)?));
    }
    // What a segment says of the one before it shows an end that was lost.
    let follows = newest.as_ref().map(|(header, _)| header);
    let next = segments.iter().map(|segment| &segment.header).skip(1).chain(follows);
    for (segment, next) in segments.iter().zip(next) {
        let last = segment.extent().last;
        if next.previous.0 != last {
            return Err(OpenError::Damaged(format!(
                "the log is damaged: {} ends with event {last}, but the next segment was begun after event {}. {REPAIR}.",
                storage.path(&segment.name),
                next.previous
            )));
        }
    }
    let (active, room) = match newest {
        Some((header, file)) => open_newest(storage, header, file, floor, &mut recovery)?,
        None => {
            recovery.begun = true;
            let header = Header {
                epoch: random_epoch(),
                sequence: 1,
                base: Offset(1),
                previous: Offset::START,
                begun: clock.now(),
            };
            (
                create(storage, header).map_err(failed(format!("begin a log in {}", storage.path(""))))?,
                HEADER_BYTES as u64,
            )
        }
    };
    segments.push(Arc::new(active));
    recovery.segments = segments.len();

    let extents = segments.iter().map(|segment| segment.extent());
    let mut head = Head {
        epoch: segments[0].header.epoch,
        trimmed: segments[0].header.previous,
        last: Offset::START,
        events: 0,
        bytes: 0,
    };
    for extent in extents {
        head.last = Offset(extent.last);
        head.events += extent.events;
        head.bytes += extent.end;
    }
    let newest = &segments[segments.len() - 1];
    let floor = Floor { epoch: head.epoch, base: newest.header.base, end: newest.extent().end, last: head.last };
    if let Err(why) = floor.write(storage) {
        // A full disk, say: the log reads, and takes events again when there is room.
        tracing::warn!(%why, "could not note up to where the log is durable");
    }
    Ok(Recovered { segments, head, recovery, room })
}

/// Makes a new segment that survives a crash.
pub(crate) fn create(storage: &dyn Storage, header: Header) -> io::Result<Segment> {
    let name = segment_name(header.base);
    let file = storage.create(&name)?;
    let made = write_all_at(&*file, &header.encode(), 0).and_then(|()| file.sync()).and_then(|()| storage.sync());
    if let Err(e) = made {
        // Left behind, it would stand in the way of the next attempt.
        let _ = storage.remove(&name);
        return Err(e);
    }
    Ok(Segment::new(header, file, Index::Memory(MemoryIndex::empty(header.previous))))
}

type Found = (Header, Arc<dyn StoredFile>);

fn open_all(
    storage: &dyn Storage,
    bases: &[Offset],
    is_sealed: impl Fn(Offset) -> bool,
    recovery: &mut Recovery,
) -> Result<Vec<Found>, OpenError> {
    let mut found = Vec::with_capacity(bases.len());
    for (number, base) in bases.iter().enumerate() {
        let name = segment_name(*base);
        let path = storage.path(&name);
        let file = storage.open(&name).map_err(failed(format!("open {path}")))?;
        let mut bytes = [0; HEADER_BYTES];
        let read = read_full_at(&*file, &mut bytes, 0).map_err(failed(format!("read {path}")))?;
        match Header::decode(&bytes[..read]) {
            Ok(header) if header.base == *base => found.push((header, file)),
            Ok(header) => {
                return Err(OpenError::Damaged(format!(
                    "{path} holds the events from {} on and so has a wrong name: the directory is a mix of two. {REPAIR}.",
                    header.base
                )));
            }
            Err(Malformed::Version(version)) => {
                return Err(OpenError::Damaged(format!(
                    "{path} was written by a newer version of this program (format {version}): use that one."
                )));
            }
            // The newest one, without a record: a crash came between its making and its first sync.
            Err(_)
                if number + 1 == bases.len()
                    && !number.checked_sub(1).is_some_and(|before| is_sealed(bases[before]))
                    && holds_nothing(&*file).map_err(failed(format!("read {path}")))? =>
            {
                recovery.cut_bytes += read as u64;
                drop(file);
                storage.remove(&name).map_err(failed(format!("remove {path}")))?;
                storage.sync().map_err(failed(format!("sync {}", storage.path(""))))?;
            }
            Err(why) => {
                return Err(OpenError::Damaged(format!(
                    "{path} is damaged in its header, at byte 0: {why}. {REPAIR}."
                )));
            }
        }
    }
    Ok(found)
}

fn holds_nothing(file: &dyn StoredFile) -> io::Result<bool> {
    Ok(file.len()? <= HEADER_BYTES as u64)
}

fn check_chain(storage: &dyn Storage, found: &[Found]) -> Result<(), OpenError> {
    for pair in found.windows(2) {
        let (before, after) = (&pair[0].0, &pair[1].0);
        let path = storage.path(&segment_name(after.base));
        if before.epoch != after.epoch {
            return Err(OpenError::Damaged(format!(
                "{path} is part of another log (epoch {}, not {}): the directory is a mix of two. {REPAIR}.",
                after.epoch, before.epoch
            )));
        }
        if before.sequence + 1 != after.sequence {
            return Err(OpenError::Damaged(format!(
                "the log is damaged: before {path}, the segment with the events up to {} is missing. Put the file back if it \
                 is there. {REPAIR}.",
                after.previous
            )));
        }
    }
    Ok(())
}

fn damage(storage: &dyn Storage, name: &str, position: u64, why: Malformed, more: &str) -> OpenError {
    OpenError::Damaged(format!(
        "{} is damaged: what stands at byte {position} does not read back ({why}){more}. {REPAIR}.",
        storage.path(name)
    ))
}

fn open_sealed(
    storage: &dyn Storage,
    header: Header,
    file: Arc<dyn StoredFile>,
    recovery: &mut Recovery,
) -> Result<Segment, OpenError> {
    let name = segment_name(header.base);
    let path = storage.path(&name);
    let length = file.len().map_err(failed(format!("read {path}")))?;
    match IndexFile::open(storage, &index_name(header.base), &header) {
        Ok(index) if length < index.extent.end => {
            return Err(OpenError::Damaged(format!(
                "{path} is damaged: it ends at byte {length}, but it once had {}. {REPAIR}.",
                index.extent.end
            )));
        }
        Ok(index) => return Ok(Segment::new(header, file, Index::File(index))),
        Err(why) => tracing::info!(segment = path, %why, "making the index of a segment anew"),
    }
    let scanned = scan(&*file, header.epoch, header.previous).map_err(failed(format!("read {path}")))?;
    match scanned.stop {
        Stop::End => {}
        Stop::Torn { .. } => {
            let why = Malformed::Contents("it is not a whole record");
            return Err(damage(storage, &name, scanned.index.extent.end, why, ", though another segment follows"));
        }
        Stop::Damaged { position, why, followed } => {
            return Err(damage(
                storage,
                &name,
                position,
                why,
                &format!(", though whole records follow from byte {followed} on"),
            ));
        }
    }
    recovery.reindexed += 1;
    let segment = Segment::new(header, file, Index::Memory(scanned.index));
    if let Err(why) = segment.seal(storage) {
        tracing::warn!(segment = path, %why, "the index of a segment could not be stored, and stays in memory");
    }
    Ok(segment)
}

fn open_newest(
    storage: &dyn Storage,
    header: Header,
    file: Arc<dyn StoredFile>,
    floor: Option<Floor>,
    recovery: &mut Recovery,
) -> Result<(Segment, u64), OpenError> {
    let name = segment_name(header.base);
    let path = storage.path(&name);
    let scanned = scan(&*file, header.epoch, header.previous).map_err(failed(format!("read {path}")))?;
    let end = scanned.index.extent.end;
    if let Some(floor) = floor.filter(|floor| floor.base == header.base && floor.end > end) {
        let why = Malformed::Contents("it is no whole record");
        let more = format!(", though the log was durable up to event {}, byte {}", floor.last, floor.end);
        return Err(damage(storage, &name, end, why, &more));
    }
    match scanned.stop {
        Stop::End => {}
        Stop::Torn { records, until } => {
            recovery.cut_bytes += until - end;
            recovery.cut_records += records;
            file.set_len(end).map_err(failed(format!("cut {path}")))?;
        }
        Stop::Damaged { position, why, followed } => {
            let more = format!(", though records that were written later follow from byte {followed} on");
            return Err(damage(storage, &name, position, why, &more));
        }
    }
    // What a process that was killed had written is in the page cache and read like the rest, but perhaps not yet on the
    // disk: it must not be shown to anybody before it is.
    file.sync().map_err(failed(format!("sync {path}")))?;
    storage.sync().map_err(failed(format!("sync {}", storage.path(""))))?;
    let room = file.len().map_err(failed(format!("read {path}")))?;
    Ok((Segment::new(header, file, Index::Memory(scanned.index)), room))
}

/// Says what was done, where somebody may look for it.
pub(crate) fn report(storage: &dyn Storage, head: &Head, recovery: &Recovery) {
    let Recovery { begun, segments, cut_bytes, cut_records, reindexed } = *recovery;
    let (epoch, last, events): (Epoch, Offset, u64) = (head.epoch, head.last, head.events);
    let directory = storage.path("");
    if cut_bytes > 0 {
        tracing::warn!(
            directory,
            cut_bytes,
            cut_records,
            "cut an unfinished write off the end of the log; nobody had been told of it"
        );
    }
    tracing::info!(directory, %epoch, %last, events, segments, reindexed, begun, "opened the log");
}
