//! Reads pages of the log.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tidings::{BrokerError, Event, Head, Offset, Page, Query};

use super::format::{self, Interned, Next, RECORD_HEAD};
use super::segment::Segment;
use super::storage::{Storage, read_full_at};

/// The least that is read at once.
const LEAST: usize = 16 << 10;
/// The most that is read at once, unless one record is larger.
const MOST: usize = 1 << 20;
/// Records of one topic that are no farther apart than this are read together.
const NEAR: u64 = 8 << 10;
/// How much is read for a record whose length is not known yet.
const GUESS: usize = 2 << 10;

/// A page that is being filled.
struct Filling<'a> {
    query: &'a Query,
    events: Vec<Event>,
    bytes: usize,
    known: Interned,
}

enum Filled {
    /// There is room for more.
    NotYet,
    /// A bound of the page was met before this event.
    Full,
    /// This event lies behind what the query asks for.
    Past,
}

impl Filling<'_> {
    fn add(&mut self, page: &Bytes, at: usize, record: &format::Record<'_>) -> Result<Filled, format::Malformed> {
        let offset = record.place().offset;
        if offset > self.query.until {
            return Ok(Filled::Past);
        }
        if offset <= self.query.after {
            return Ok(Filled::NotYet);
        }
        let data = record.data_bytes();
        if !self.events.is_empty() && self.bytes + data > self.query.max_bytes || self.events.len() == self.query.limit
        {
            return Ok(Filled::Full);
        }
        self.events.push(format::decode_with(page, at, &mut self.known)?);
        self.bytes += data;
        Ok(Filled::NotYet)
    }
}

/// Reads a page. Blocks on the disk.
pub(crate) fn read(
    storage: &dyn Storage,
    segments: &[Arc<Segment>],
    head: Head,
    query: &Query,
) -> Result<Page, BrokerError> {
    if query.after < head.trimmed {
        return Err(BrokerError::Trimmed { after: query.after, resume: head.trimmed });
    }
    // Nothing behind the head of the moment the read began: what is appended meanwhile belongs to the next page.
    let end = query.until.min(head.last);
    let mut filling = Filling { query, events: Vec::new(), bytes: 0, known: Interned::default() };
    if query.limit == 0 || query.after >= end {
        let reached = if query.limit == 0 { query.after } else { query.after.max(end) };
        return Ok(Page { events: Vec::new(), reached });
    }
    let topics = query.topics.as_ref().map(|topics| {
        let mut hashes: Vec<u64> = topics.iter().map(|topic| format::topic_hash(topic.as_str().as_bytes())).collect();
        hashes.sort_unstable();
        hashes.dedup();
        hashes
    });
    let from = segments.partition_point(|segment| segment.header.base <= query.after).saturating_sub(1);
    for segment in &segments[from..] {
        if segment.header.base > end {
            break;
        }
        let reading = Reading { storage, segment, head };
        let filled = match &topics {
            None => reading.all(&mut filling)?,
            Some(hashes) => reading.topics(&mut filling, hashes)?,
        };
        match filled {
            Filled::NotYet => {}
            Filled::Past => break,
            Filled::Full => {
                let reached = filling.events.last().map_or(query.after, |event| event.offset);
                return Ok(Page { events: filling.events, reached });
            }
        }
    }
    Ok(Page { events: filling.events, reached: end })
}

/// The place after which the last `n` events of these topics stand.
pub(crate) fn before_last(
    storage: &dyn Storage,
    segments: &[Arc<Segment>],
    head: Head,
    topics: &[u64],
    n: usize,
) -> Result<Offset, BrokerError> {
    let mut missing = n;
    for segment in segments.iter().rev() {
        let reading = Reading { storage, segment, head };
        let mut positions = Vec::new();
        for topic in topics {
            positions.extend(reading.indexed(|index| index.last_positions(*topic, missing))?);
        }
        positions.sort_unstable();
        if let Some(first) = positions.len().checked_sub(missing).and_then(|at| positions.get(at)) {
            let page = reading.bytes(u64::from(*first), RECORD_HEAD, u64::MAX)?;
            let offset = format::u64_at(&page, 16);
            return Ok(Offset(offset.saturating_sub(1)).max(head.trimmed));
        }
        missing -= positions.len();
    }
    Ok(head.trimmed)
}

struct Reading<'a> {
    storage: &'a dyn Storage,
    segment: &'a Segment,
    head: Head,
}

impl Reading<'_> {
    fn failed(&self, error: &io::Error) -> BrokerError {
        BrokerError::Unavailable(format!("{} could not be read: {error}", self.storage.path(&self.segment.name)))
    }

    fn damaged(&self, position: u64, why: format::Malformed) -> BrokerError {
        BrokerError::Damaged(format!(
            "what stands at byte {position} of {} does not read back ({why})",
            self.storage.path(&self.segment.name)
        ))
    }

    /// Asks the index, and makes it anew from the segment if its file is damaged.
    fn indexed<T>(&self, ask: impl Fn(&super::index::Index) -> io::Result<T>) -> Result<T, BrokerError> {
        let first = ask(&self.segment.index());
        match first {
            Ok(answer) => Ok(answer),
            Err(why) => {
                tracing::warn!(segment = self.segment.name, %why, "making the index of a segment anew");
                self.segment.reindex().map_err(|e| self.failed(&e))?;
                ask(&self.segment.index()).map_err(|e| self.failed(&e))
            }
        }
    }

    /// Reads from `position` on: `wanted` bytes, or as many as there are up to `end`.
    fn bytes(&self, position: u64, wanted: usize, end: u64) -> Result<Bytes, BrokerError> {
        let size = (wanted as u64).min(end.saturating_sub(position)) as usize;
        let mut buffer = vec![0; size];
        let read = read_full_at(&*self.segment.file, &mut buffer, position).map_err(|e| self.failed(&e))?;
        buffer.truncate(read);
        Ok(buffer.into())
    }

    fn all(&self, filling: &mut Filling<'_>) -> Result<Filled, BrokerError> {
        let (mut position, end) = {
            let index = self.segment.index();
            (index.seek(filling.query.after), index.extent().end)
        };
        let mut size = filling.query.limit.saturating_mul(512).clamp(LEAST, MOST);
        while position < end {
            let page = self.bytes(position, size, end)?;
            let mut at = 0;
            loop {
                match format::next(&page[at..]) {
                    Next::Record(record) => {
                        if record.place().offset > self.head.last {
                            return Ok(Filled::Past);
                        }
                        let length = record.len();
                        let filled = filling.add(&page, at, &record);
                        match filled.map_err(|why| self.damaged(position + at as u64, why))? {
                            Filled::NotYet => at += length,
                            done => return Ok(done),
                        }
                    }
                    Next::End if at == page.len() && at > 0 => break,
                    // Cut off by the end of the page: the next one begins with it.
                    Next::Short(_) if at > 0 && position + (page.len() as u64) < end => break,
                    Next::Short(needed) if needed > page.len() && position + needed as u64 <= end => {
                        size = needed;
                        break;
                    }
                    Next::Bad(why) => return Err(self.damaged(position + at as u64, why)),
                    Next::End | Next::Short(_) => {
                        return Err(self.damaged(position + at as u64, format::Malformed::Short));
                    }
                }
            }
            position += at as u64;
        }
        Ok(Filled::NotYet)
    }

    fn topics(&self, filling: &mut Filling<'_>, topics: &[u64]) -> Result<Filled, BrokerError> {
        let end = self.segment.extent().end;
        let mut from = self.first_after(filling.query.after, end)?;
        loop {
            let most = (filling.query.limit - filling.events.len()).saturating_add(1).min(4096);
            let mut positions = Vec::new();
            for topic in topics {
                positions.extend(self.indexed(|index| index.positions(*topic, from, most))?);
            }
            positions.sort_unstable();
            // Of each topic at most so many were asked for: behind that, one may be missing.
            positions.truncate(most);
            let Some(last) = positions.last().copied() else { return Ok(Filled::NotYet) };
            let complete = positions.len() < most;
            match self.these(filling, &positions, end)? {
                Filled::NotYet if complete => return Ok(Filled::NotYet),
                Filled::NotYet => from = u64::from(last) + 1,
                done => return Ok(done),
            }
        }
    }

    /// Where the first record after `after` stands.
    fn first_after(&self, after: Offset, end: u64) -> Result<u64, BrokerError> {
        let mut position = self.segment.index().seek(after);
        if after < self.segment.header.base {
            return Ok(position);
        }
        let mut wanted = LEAST * 2;
        let mut page = self.bytes(position, wanted, end)?;
        let mut at = 0;
        while position + (at as u64) < end {
            match format::next(&page[at..]) {
                Next::Record(record) if record.place().offset > after => break,
                Next::Record(record) => at += record.len(),
                Next::Bad(why) => return Err(self.damaged(position + at as u64, why)),
                Next::End | Next::Short(_) if at > 0 => {
                    position += at as u64;
                    at = 0;
                    page = self.bytes(position, wanted, end)?;
                }
                Next::Short(needed) if needed > page.len() && position + needed as u64 <= end => {
                    wanted = needed;
                    page = self.bytes(position, wanted, end)?;
                }
                Next::End | Next::Short(_) => {
                    return Err(self.damaged(position + at as u64, format::Malformed::Short));
                }
            }
        }
        Ok(position + at as u64)
    }

    /// Reads the records at these positions, those that are near each other together.
    fn these(&self, filling: &mut Filling<'_>, positions: &[u32], end: u64) -> Result<Filled, BrokerError> {
        let (mut start, mut page) = (0_u64, Bytes::new());
        for (number, position) in positions.iter().map(|position| u64::from(*position)).enumerate() {
            let mut at = position.saturating_sub(start) as usize;
            let missing = page.get(at..).is_none_or(|rest| matches!(format::next(rest), Next::Short(_) | Next::End));
            if missing {
                let mut far = position;
                for next in positions[number + 1..].iter().map(|next| u64::from(*next)) {
                    if next - far > NEAR || next - position > (MOST / 4) as u64 {
                        break;
                    }
                    far = next;
                }
                (start, at) = (position, 0);
                page = self.bytes(position, (far - position) as usize + GUESS, end)?;
                if let Next::Short(needed) = format::next(&page) {
                    page = self.bytes(position, needed, end)?;
                }
            }
            match format::next(&page[at..]) {
                Next::Record(record) => {
                    if record.place().offset > self.head.last {
                        return Ok(Filled::Past);
                    }
                    let topic = record.topic().map_err(|why| self.damaged(position, why))?;
                    let wanted = filling.query.topics.iter().flat_map(|topics| topics.iter());
                    // Two topics may share a hash.
                    if !wanted.into_iter().any(|wanted| wanted.as_str().as_bytes() == topic) {
                        continue;
                    }
                    let filled = filling.add(&page, at, &record).map_err(|why| self.damaged(position, why))?;
                    if !matches!(filled, Filled::NotYet) {
                        return Ok(filled);
                    }
                }
                Next::Bad(why) => return Err(self.damaged(position, why)),
                Next::End | Next::Short(_) => return Err(self.damaged(position, format::Malformed::Short)),
            }
        }
        Ok(Filled::NotYet)
    }
}
