//! The one thread that writes: group commit, rolling, retention.

use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tidings::{BrokerError, Clock, Event, Offset};
use tokio::sync::oneshot;

use super::floor::Floor;
use super::format::{self, HEADER_BYTES, Header, Place};
use super::index::{Entry, Index};
use super::recover::create;
use super::segment::{Segment, index_name};
use super::storage::write_all_at;
use super::{Shared, Submission};

/// The most bytes of one write. What queued beyond it goes into the next: one sync of so many bytes takes longer than
/// the sync itself, and who came first would wait for it.
const GROUP_BYTES: usize = 4 << 20;
/// How often retention by age looks at a log that nobody writes to.
const TICK: Duration = Duration::from_secs(30);

pub(crate) struct Writer {
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    active: Arc<Segment>,
    /// The next place to hand out. It only grows: places of a write that failed are not given again.
    next: u64,
    /// Where the zeros written ahead end.
    room: u64,
    /// Whether the end of the file may hold what is not part of the log.
    unclean: bool,
    /// Whether the file must not be written to any more, because a sync of it failed.
    distrusted: bool,
    buffer: Vec<u8>,
    entries: Vec<Entry>,
    zeros: Vec<u8>,
}

/// Why a group could not be made durable; every publish in it gets a copy.
struct Refusal {
    full: bool,
    why: String,
}

impl Refusal {
    fn new(what: &str, error: &io::Error) -> Self {
        let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        Refusal { full, why: format!("{what}: {error}") }
    }

    fn to_error(&self) -> BrokerError {
        if self.full { BrokerError::Full(self.why.clone()) } else { BrokerError::Unavailable(self.why.clone()) }
    }
}

impl Writer {
    pub fn new(shared: Arc<Shared>, clock: Arc<dyn Clock>, active: Arc<Segment>, room: u64) -> Self {
        let next = active.extent().last.max(active.header.base.0 - 1) + 1;
        let zeros = vec![0; usize::try_from(shared.settings.write_ahead).unwrap_or(0)];
        Writer {
            shared,
            clock,
            active,
            next,
            room,
            unclean: false,
            distrusted: false,
            buffer: Vec::new(),
            entries: Vec::new(),
            zeros,
        }
    }

    /// Works until the broker is closed and everything that was handed in is finished.
    pub fn run(mut self) {
        // Also when this thread panics, those who wait must not wait for ever.
        let _closing = Closing(self.shared.clone());
        let mut group = Vec::new();
        loop {
            let trims = match self.take(&mut group) {
                Some(trims) => trims,
                None => break,
            };
            if !group.is_empty() {
                self.commit(&mut group);
            }
            self.trim();
            for done in trims {
                let _ = done.send(());
            }
        }
        if let Err(why) = self.finish() {
            tracing::warn!(%why, "the log was not closed in order; the next start reads it as after a crash");
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.clean()?;
        let extent = self.active.extent();
        if self.room > extent.end {
            // The zeros are of no use to the next start.
            self.active.file.set_len(extent.end)?;
            self.active.file.sync()?;
        }
        let Header { epoch, base, .. } = self.active.header;
        Floor { epoch, base, end: extent.end, last: Offset(extent.last) }.write(&*self.shared.storage)
    }

    /// Waits for something to do; [`None`] is the end.
    fn take(&self, group: &mut Vec<Submission>) -> Option<Vec<oneshot::Sender<()>>> {
        let mut queue = self.shared.queue();
        loop {
            if !queue.submissions.is_empty() || !queue.trims.is_empty() {
                let mut bytes = 0;
                while let Some(next) = queue.submissions.front() {
                    if bytes > 0 && bytes + next.bytes > GROUP_BYTES {
                        break;
                    }
                    bytes += next.bytes;
                    group.extend(queue.submissions.pop_front());
                }
                queue.bytes -= bytes;
                return Some(std::mem::take(&mut queue.trims));
            }
            if queue.closed {
                return None;
            }
            queue.idle = true;
            if self.shared.settings.retention.age.is_some() {
                let waited = self.shared.wake.wait_timeout(queue, TICK).unwrap_or_else(PoisonError::into_inner);
                queue = waited.0;
                queue.idle = false;
                if waited.1.timed_out() && queue.submissions.is_empty() {
                    return (!queue.closed).then(Vec::new);
                }
            } else {
                queue = self.shared.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
                queue.idle = false;
            }
        }
    }

    /// Makes a group durable with one write and one sync, tells the tail, and then those who published.
    fn commit(&mut self, group: &mut Vec<Submission>) {
        let first = self.next;
        let kept: u64 = group.iter().map(|submission| submission.kept as u64).sum();
        let refusal = if kept > 0 { self.append(group).err() } else { None };
        if let Some(refusal) = &refusal {
            tracing::warn!(why = refusal.why, events = kept, "a publish was refused");
        }

        let mut offset = first;
        let mut told = Vec::with_capacity(group.iter().map(|submission| submission.batch.len()).sum());
        let mut answers = Vec::with_capacity(group.len());
        for submission in group.drain(..) {
            if let Some(refusal) = refusal.as_ref().filter(|_| submission.kept > 0) {
                answers.push((submission.done, Err(refusal.to_error())));
                continue;
            }
            let mut places = Vec::with_capacity(submission.batch.len());
            for body in submission.batch {
                let place = body.kept.then_some(Offset(offset));
                offset += u64::from(body.kept);
                places.push(place);
                told.push(Event { offset: place.unwrap_or(Offset::START), body });
            }
            answers.push((submission.done, Ok(places)));
        }
        let tail = self.shared.tail.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(tail) = tail.filter(|_| !told.is_empty()) {
            tail.appended(told);
        }
        for (done, answer) in answers {
            // Whoever stopped waiting does not take the event back.
            let _ = done.send(answer);
        }
    }

    fn append(&mut self, group: &[Submission]) -> Result<(), Refusal> {
        self.clean().map_err(|e| Refusal::new("the end of the log could not be cleaned after a failed write", &e))?;
        if self.is_roll_due() {
            self.roll().map_err(|e| Refusal::new("a new segment could not be begun", &e))?;
        }
        let end = self.active.extent().end;
        self.encode(group, end);
        let written = end + self.buffer.len() as u64;
        if u32::try_from(written).is_err() {
            return Err(Refusal { full: false, why: "the batch does not fit a segment".into() });
        }
        if let Err(e) = write_all_at(&*self.active.file, &self.buffer, end) {
            self.unclean = true;
            let _ = self.clean();
            return Err(Refusal::new("a write failed", &e));
        }
        if written > self.room && !self.zeros.is_empty() {
            // The sync of a write that does not change the file's length has no metadata to store and takes half as long.
            // If there is no room for zeros, there may still be for events.
            self.room = match write_all_at(&*self.active.file, &self.zeros, written) {
                Ok(()) => written + self.zeros.len() as u64,
                Err(_) => written,
            };
        }
        if let Err(e) = self.active.file.sync() {
            // What the page cache holds of this file may now differ from the disk without a sign of it: cut back to
            // what was durable, and never write to it again.
            self.unclean = true;
            self.distrusted = true;
            let _ = self.clean();
            return Err(Refusal::new("a sync failed", &e));
        }
        self.room = self.room.max(written);
        self.show();
        Ok(())
    }

    /// Puts the group's records into the buffer, and hands out their places.
    fn encode(&mut self, group: &[Submission], end: u64) {
        self.buffer.clear();
        self.entries.clear();
        for submission in group {
            let mut left = submission.kept;
            for event in submission.batch.iter().filter(|event| event.kept) {
                left -= 1;
                let distance = self.buffer.len() as u32;
                let place = Place { epoch: self.active.header.epoch, offset: Offset(self.next), left, distance };
                format::encode(event, place, &mut self.buffer);
                self.entries.push(Entry {
                    offset: self.next,
                    position: (end as u32).wrapping_add(distance),
                    length: self.buffer.len() as u32 - distance,
                    time: event.time.0,
                    topic: format::topic_hash(event.topic.as_str().as_bytes()),
                });
                self.next += 1;
            }
        }
    }

    /// Lets readers see what is now durable.
    fn show(&mut self) {
        let mut state = self.shared.state_mut();
        if let Index::Memory(index) = &mut *self.active.index_mut() {
            self.entries.iter().for_each(|entry| index.push(entry));
        }
        state.head.last = Offset(self.next - 1);
        state.head.events += self.entries.len() as u64;
        state.head.bytes += self.buffer.len() as u64;
    }

    /// After a failed write: cuts the file back to what is durable.
    fn clean(&mut self) -> io::Result<()> {
        if self.unclean {
            let end = self.active.extent().end;
            self.active.file.set_len(end)?;
            self.active.file.sync()?;
            self.room = end;
            self.unclean = false;
        }
        Ok(())
    }

    fn is_roll_due(&self) -> bool {
        let extent = self.active.extent();
        let old = |age: Duration| {
            let now = self.clock.now();
            extent.events > 0 && now.since(tidings::Timestamp(extent.oldest)) > age / 8
        };
        let retention = &self.shared.settings.retention;
        self.distrusted
            || extent.events > 0
                && (extent.end >= self.shared.settings.segment_size()
                    || retention.events.is_some_and(|most| extent.events >= (most / 8).max(1))
                    || retention.age.is_some_and(old))
    }

    /// Begins a new segment and seals the one before.
    fn roll(&mut self) -> io::Result<()> {
        let extent = self.active.extent();
        if self.room > extent.end {
            self.active.file.set_len(extent.end)?;
            self.room = extent.end;
            self.active.file.sync()?;
        }
        let before = &self.active.header;
        let header = Header {
            epoch: before.epoch,
            sequence: before.sequence + 1,
            base: Offset(self.next),
            previous: Offset(extent.last),
            begun: self.clock.now(),
        };
        let segment = Arc::new(create(&*self.shared.storage, header)?);
        {
            let mut state = self.shared.state_mut();
            let mut segments = state.segments.to_vec();
            segments.push(segment.clone());
            state.segments = segments.into();
            state.head.bytes += HEADER_BYTES as u64;
        }
        let sealed = std::mem::replace(&mut self.active, segment);
        self.room = HEADER_BYTES as u64;
        self.distrusted = false;
        if let Err(why) = sealed.seal(&*self.shared.storage) {
            tracing::warn!(segment = sealed.name, %why, "the index of a segment could not be stored, and stays in memory");
        }
        Ok(())
    }

    /// Removes the oldest segments as far as retention says.
    fn trim(&mut self) {
        if self.is_roll_due() && !self.unclean && self.shared.settings.retention.age.is_some() {
            // Also where nobody publishes any more, the last events are to go when their time has come.
            if let Err(why) = self.roll() {
                tracing::warn!(%why, "a new segment could not be begun");
            }
        }
        while let Some((oldest, trimmed)) = self.first_to_go() {
            let storage = &*self.shared.storage;
            let extent = oldest.extent();
            // First the file, then the memory of it: a place that was said to be trimmed stays trimmed.
            let removed = storage.remove(&oldest.name).and_then(|()| {
                let _ = storage.remove(&index_name(oldest.header.base));
                storage.sync()
            });
            if let Err(why) = removed {
                tracing::warn!(segment = oldest.name, %why, "an old segment could not be removed");
                if storage.open(&oldest.name).is_ok() {
                    return;
                }
            }
            let mut state = self.shared.state_mut();
            state.segments = state.segments[1..].into();
            state.head.trimmed = trimmed;
            state.head.events -= extent.events;
            state.head.bytes -= extent.end;
        }
    }

    /// The oldest segment if it is to go, and up to where the log is then trimmed.
    fn first_to_go(&self) -> Option<(Arc<Segment>, Offset)> {
        let state = self.shared.state();
        let [oldest, next, ..] = &*state.segments else { return None };
        let extent = oldest.extent();
        let retention = &self.shared.settings.retention;
        let go = retention.events.is_some_and(|most| state.head.events - extent.events >= most)
            || retention.bytes.is_some_and(|most| state.head.bytes - extent.end >= most)
            || retention.age.is_some_and(|most| self.clock.now().since(tidings::Timestamp(extent.newest)) > most);
        go.then(|| (oldest.clone(), next.header.previous))
    }
}

/// Refuses what comes when the writer is gone.
struct Closing(Arc<Shared>);

impl Drop for Closing {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        queue.closed = true;
        queue.submissions.clear();
        queue.trims.clear();
    }
}
