//! Giving what has just come to the sockets that are caught up.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tidings::{CloseReason, Entry, Offset, Place};

use super::catch_up::kept;
use super::connection::{Behind, Position};
use super::gather::rest;
use super::socket::Wrote;
use super::thread::Lane;
use super::wheel::Timer;

/// The most entries matched before the sockets get a turn.
const ENTRIES_A_ROUND: usize = 512;

/// What a class is to be given in this round.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    class: usize,
    frames: Vec<(Bytes, Place, Offset)>,
    /// The offset of the last kept event among them.
    told: Option<Offset>,
    /// The last of them, if nothing comes after it.
    end: Option<Arc<Entry>>,
}

impl Lane {
    /// Reads the new entries of the window and gives them to the sockets that are caught up.
    pub(super) fn advance(&mut self) {
        if self.place == self.hub.window().end() {
            return;
        }
        let max_bytes = self.hub.limits().write_bytes;
        let mut batch: Vec<(Place, Arc<Entry>)> = Vec::new();
        let mut bytes = 0;
        let read = self.hub.window().read(self.place, |place, entry| {
            bytes += entry.event.data.len() + 64;
            batch.push((place, entry.clone()));
            batch.len() < ENTRIES_A_ROUND && bytes < max_bytes
        });
        let Ok(reached) = read else {
            self.fall_behind();
            return;
        };
        let epoch = self.hub.cursor(Offset::START);
        let (mut used, mut oldest) = (0, None);
        for (place, entry) in &batch {
            let pieces = &mut self.pieces;
            self.registry.matching(&entry.event, |id, class| {
                let Some(stream) = &class.members.stream else { return };
                if class.members.pieces == 0 {
                    if pieces.len() == used {
                        pieces.push(Pieces::default());
                    }
                    pieces[used].class = id;
                    used += 1;
                    class.members.pieces = used as u32;
                }
                let pieces = &mut pieces[class.members.pieces as usize - 1];
                if pieces.end.is_some() {
                    return;
                }
                let variant = stream.variant(entry, &class.interest.grants);
                let frame = stream.frame(entry, variant, epoch);
                pieces.told = kept(entry).or(pieces.told);
                pieces.end = stream.ends_with(entry).then(|| entry.clone());
                oldest = oldest.or(Some(entry.event.time));
                pieces.frames.push((frame.clone(), *place, entry.at));
            });
        }
        // Moved before anything is written: a socket that falls behind stands before here.
        let from = (self.place, self.offset);
        self.place = reached;
        if let Some((_, entry)) = batch.last() {
            self.offset = self.offset.max(entry.at);
        }
        for index in 0..used {
            let mut pieces = std::mem::take(&mut self.pieces[index]);
            self.write_class(&pieces, from);
            pieces.frames.clear();
            (pieces.told, pieces.end) = (None, None);
            // Keeps the allocation of a usual round, not of the largest ever.
            pieces.frames.shrink_to(ENTRIES_A_ROUND);
            self.pieces[index] = pieces;
        }
        if used > 1024 {
            self.pieces.truncate(1024);
        }
        if let Some(oldest) = oldest {
            self.counters.record_latency(&self.hub, oldest);
        }
        for (timer, end) in std::mem::take(&mut self.finishing) {
            if self.find(timer).is_some() {
                self.finish(timer.slot as usize, Some(end));
            }
        }
        // Only now: an end may have last words for others, which would put them behind in the middle of their round.
        for timer in std::mem::take(&mut self.failing) {
            if self.find(timer).is_some() {
                self.close(timer.slot as usize, CloseReason::Gone);
            }
        }
    }

    /// Writes the pieces to each member of their class that is caught up; `from` is where it stood before this round.
    pub(super) fn write_class(&mut self, pieces: &Pieces, from: (Place, Offset)) {
        let Some(class) = self.registry.get_mut(pieces.class) else { return };
        class.members.pieces = 0;
        let slots = std::mem::take(&mut class.members.slots);
        self.gathered = None;
        let single = match &pieces.frames[..] {
            [(frame, ..)] => Some(frame.clone()),
            frames => {
                self.gather.clear();
                for (frame, place, offset) in frames {
                    self.gather.push(frame, Position::Window(*place), *offset);
                }
                None
            }
        };
        let bytes: &[u8] = single.as_deref().unwrap_or_else(|| self.gather.bytes());
        let (mut delivered, mut written_bytes, mut failed, mut blocked) = (0u64, 0u64, Vec::new(), 0u64);
        let mut finishing = Vec::new();
        let beats_always = class.members.stream.as_ref().is_some_and(|stream| stream.settings.beats_always);
        for &slot in &slots {
            let Some(connection) = self.connections.get_mut(slot as usize) else { continue };
            if connection.behind.is_some() {
                continue;
            }
            match connection.socket.write(bytes) {
                Wrote::All => {
                    if !beats_always {
                        connection.written_at = self.now;
                    }
                    connection.updated_at = self.now;
                    if let Some(told) = pieces.told {
                        connection.tell(told, self.now);
                    }
                    delivered += pieces.frames.len() as u64;
                    written_bytes += bytes.len() as u64;
                    if let Some(end) = &pieces.end {
                        finishing.push((Timer { slot, generation: connection.generation }, end.clone()));
                    }
                }
                Wrote::Part(written) => {
                    blocked += 1;
                    written_bytes += written as u64;
                    let delivered_before = delivered;
                    let mut behind = match (&single, written) {
                        (Some(frame), 1..) => {
                            let (_, place, offset) = pieces.frames[0];
                            delivered += 1;
                            Behind::at(Position::Window(place), offset, rest(frame, written))
                        }
                        (None, 1..) => {
                            let cut = self.gather.cut(written);
                            delivered += cut.frames;
                            Behind::at(cut.position, cut.offset, cut.rest)
                        }
                        (_, 0) => Behind::at(Position::Window(from.0), from.1, Bytes::new()),
                    };
                    behind.blocked_at = self.now.max(1);
                    connection.behind = Some(behind);
                    // Else it is read again, and is found to be the last then.
                    let has_last = delivered - delivered_before == pieces.frames.len() as u64;
                    if let Some(end) = pieces.end.as_ref().filter(|_| has_last) {
                        connection.ends_after(end);
                    }
                }
                Wrote::Failed => failed.push(Timer { slot, generation: connection.generation }),
            }
        }
        if let Some(class) = self.registry.get_mut(pieces.class) {
            class.members.slots = slots;
        }
        self.counters.delivered.fetch_add(delivered, Ordering::Relaxed);
        self.counters.bytes.fetch_add(written_bytes, Ordering::Relaxed);
        self.counters.blocked.fetch_add(blocked, Ordering::Relaxed);
        self.counters.behind.fetch_add(blocked, Ordering::Relaxed);
        self.failing.extend(failed);
        self.finishing.extend(finishing);
    }

    /// The window moved on past this lane: every socket that was caught up reads on from the log by itself.
    pub(super) fn fall_behind(&mut self) {
        let offset = self.offset;
        let mut slots = Vec::new();
        for (slot, connection) in &mut self.connections {
            // One that was closed in this round waits for the end of the round, and is behind nothing any more.
            if connection.is_open() && connection.behind.is_none() {
                connection.behind = Some(Behind::at(Position::Log(offset), offset, Bytes::new()));
                slots.push(slot);
            }
        }
        tracing::warn!(sockets = slots.len(), "a lane fell behind the window; its sockets read on from the log");
        self.counters.behind.fetch_add(slots.len() as u64, Ordering::Relaxed);
        (self.place, self.offset) = self.hub.window().head();
        for slot in slots {
            self.again.push(self.timer(slot));
        }
    }
}
