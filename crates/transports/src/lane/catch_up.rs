//! Reading on for sockets that are behind.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Buf, BytesMut};
use tidings::history::LogPage;
use tidings::{BrokerError, CloseReason, Entry, Offset, Place};

use super::Message;
use super::connection::{AFTER_ALL, AFTER_GOODBYE, Behind, Position};
use super::socket::Wrote;
use super::thread::Lane;
use super::wheel::Timer;

/// Where a detour ends, and what is taken on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    until: Offset,
    is_forward: bool,
}

impl Bound {
    /// Signals are not the past. On the connection's own way they are taken, but for those at its end, which come again behind it.
    fn takes(self, entry: &Entry) -> bool {
        !entry.event.is_signal() || (self.is_forward && entry.at < self.until)
    }
}

impl Lane {
    /// Lets a socket that is behind read on, until it is caught up, takes no more, or has had its turn.
    pub(super) fn turn(&mut self, slot: usize) {
        let (mut budget, stall) = (self.hub.limits().turn_bytes, self.stall());
        loop {
            let Some(connection) = self.connections.get(slot) else { return };
            let Some(behind) = &connection.behind else { return };
            if !connection.is_open() {
                return;
            }
            if behind.rest.is_empty() && !behind.answers.is_empty() {
                let behind = self.behind(slot);
                behind.rest = std::mem::take(&mut behind.answers).into();
                continue;
            }
            let (class, position, has_rest) = (connection.class, behind.position, !behind.rest.is_empty());
            // What is said after the rest comes before what is read on, and after the end comes nothing.
            let rest_alone = !behind.answers.is_empty() || connection.is_over();
            let detour = connection.session.as_ref().and_then(|session| session.detour.as_ref());
            let bound = detour.map(|detour| Bound { until: detour.until, is_forward: detour.is_forward });
            let at_end = position == Position::Window(self.place) && self.place == self.hub.window().end();
            if bound.is_some_and(|bound| behind.offset >= bound.until || at_end) {
                self.end_detour(slot);
                continue;
            }
            let offset = behind.offset;
            let ready = match position {
                _ if rest_alone => {
                    self.gathered = None;
                    self.gather.clear();
                    self.gather.reached = Some((position, offset));
                    true
                }
                Position::Window(place) if place == self.place && bound.is_some() => {
                    // The end of the detour lies further than this lane has come.
                    self.advance();
                    continue;
                }
                Position::Window(place) if place == self.place => {
                    self.gathered = None;
                    self.gather.clear();
                    self.gather.reached = Some((position, self.offset));
                    true
                }
                Position::Window(place) if place > self.place => {
                    // It begins where the window ends now, and this lane has not come there yet.
                    self.advance();
                    continue;
                }
                Position::Window(place) => match self.gather_window(class, place, bound) {
                    true => true,
                    false => {
                        let behind = self.behind(slot);
                        behind.position = Position::Log(behind.offset);
                        continue;
                    }
                },
                Position::Log(after) => {
                    // The log may have been read further than this lane has come: then the lane goes there first.
                    while after > self.offset && self.place != self.hub.window().end() {
                        self.advance();
                    }
                    if !self.connections[slot].is_open() {
                        // The others were given theirs meanwhile, and this one's end was among it.
                        return;
                    }
                    match self.hub.window().seek(after) {
                        Ok(place) => {
                            let place = place.min(self.place);
                            let behind = self.behind(slot);
                            behind.position = Position::Window(place);
                            behind.page = None;
                            continue;
                        }
                        // What it owes goes first: no page is read for a socket that takes nothing, and what retention takes
                        // from it meanwhile is told as one gap.
                        Err(_) if has_rest => {
                            self.gathered = None;
                            self.gather.clear();
                            self.gather.reached = Some((position, after));
                            true
                        }
                        Err(_) => self.gather_page(slot, after, bound),
                    }
                }
            };
            if !ready {
                return;
            }
            let beats_always = self.stream(slot).settings.beats_always;
            let Some(connection) = self.connections.get_mut(slot) else { return };
            let Some(behind) = &mut connection.behind else { return };
            let (owed, bytes) = (behind.rest.len(), self.gather.bytes());
            let total = owed + bytes.len();
            let wrote = match (owed, bytes.len()) {
                (0, 0) => Wrote::All,
                (0, _) => connection.socket.write(bytes),
                (_, 0) => connection.socket.write(&behind.rest),
                _ => connection.socket.write_both(&behind.rest, bytes),
            };
            let written = match wrote {
                Wrote::All => total,
                Wrote::Part(written) => written,
                Wrote::Failed => return self.close(slot, CloseReason::Gone),
            };
            self.counters.bytes.fetch_add(written as u64, Ordering::Relaxed);
            if written > 0 {
                if !beats_always {
                    connection.written_at = self.now;
                }
                behind.blocked_at = 0;
            }
            let of_frames = written.saturating_sub(owed);
            if of_frames > 0 {
                connection.updated_at = self.now;
            }
            behind.rest.advance(written.min(owed));
            if written == total {
                self.counters.delivered.fetch_add(self.gather.len(), Ordering::Relaxed);
                if let Some((position, offset)) = self.gather.reached {
                    behind.position = position;
                    behind.offset = behind.offset.max(offset);
                    if let Some(told) = self.gather.told {
                        (connection.told, connection.told_at) = (connection.told.max(told), self.now);
                    }
                }
                if connection.ends_at == AFTER_GOODBYE && behind.answers.is_empty() {
                    return self.close(slot, CloseReason::Finished);
                }
                let has_ended = connection.ends_at == AFTER_ALL && behind.answers.is_empty();
                let is_caught_up = behind.position == Position::Window(self.place) && bound.is_none() && !rest_alone;
                if has_ended || self.gather.end.is_some() || is_caught_up {
                    connection.behind = None;
                    self.counters.behind.fetch_sub(1, Ordering::Relaxed);
                    match self.gather.end.clone() {
                        None if is_caught_up => {}
                        end => self.finish(slot, end),
                    }
                    return;
                }
                budget = budget.saturating_sub(written);
                if budget == 0 {
                    // More is waiting and the socket takes it, but others want their turn.
                    self.again.push(self.timer(slot));
                    return;
                }
                continue;
            }
            let mut end = None;
            if of_frames > 0 {
                let cut = self.gather.cut(of_frames);
                self.counters.delivered.fetch_add(cut.frames, Ordering::Relaxed);
                behind.position = cut.position;
                behind.offset = behind.offset.max(cut.offset);
                behind.rest = cut.rest;
                end = self.gather.end.clone().filter(|_| cut.frames == self.gather.len());
            }
            // Nothing but the cursor is kept for one that takes no more.
            behind.page = None;
            let stalled = behind.blocked_at > 0 && behind.blocked_at + stall <= self.now;
            if behind.blocked_at == 0 {
                behind.blocked_at = self.now.max(1);
            }
            if let Some(end) = end {
                connection.ends_after(&end);
            }
            self.counters.blocked.fetch_add(1, Ordering::Relaxed);
            // One of several namespaces waits for the connection that they share, whose own patience counts.
            if stalled && self.whole(slot) == slot {
                self.close(slot, CloseReason::Stalled);
            }
            return;
        }
    }

    pub(super) fn behind(&mut self, slot: usize) -> &mut Behind {
        self.connections[slot].behind.as_mut().expect("only called for one that is behind")
    }

    /// Gathers what the class is to be given from `from` on, as much as fits into one write. False if the window has moved on.
    /// On a detour it is given what is kept, `until` its end.
    pub(super) fn gather_window(&mut self, class: u32, from: Place, bound: Option<Bound>) -> bool {
        let key = (class, Position::Window(from), self.place);
        if bound.is_none() && self.gathered == Some(key) {
            return true;
        }
        self.gathered = None;
        self.gather.clear();
        let (end, max) = (self.place, self.hub.limits().write_bytes);
        let class = self.registry.get(class as usize).expect("a class lives as long as its members");
        let stream = class.members.stream.as_ref().expect("set with the first member");
        let epoch = self.hub.cursor(Offset::START);
        let (gather, mut reached, mut passed) = (&mut self.gather, (from, Offset::START), false);
        let read = self.hub.window().read(from, |place, entry| {
            passed = bound.is_some_and(|bound| entry.at > bound.until);
            if place > end || passed {
                return false;
            }
            if class.interest.covers(&entry.event) && bound.is_none_or(|bound| bound.takes(entry)) {
                let variant = stream.variant(entry, &class.interest.grants);
                let frame = stream.frame(entry, variant, epoch);
                gather.push(frame, Position::Window(place), entry.at);
                gather.told = kept(entry).or(gather.told);
                gather.end = stream.ends_with(entry).then(|| entry.clone());
            }
            reached = (place, entry.at);
            gather.end.is_none() && gather.bytes().len() < max
        });
        if read.is_err() {
            return false;
        }
        // Signals that were replaced leave holes, which the window steps over without a word.
        let place = if reached.0 == from && !passed { end } else { reached.0 };
        let offset = match bound {
            Some(bound) if passed => bound.until,
            _ if place == end => self.offset,
            _ => reached.1,
        };
        self.gather.reached = Some((Position::Window(place), offset));
        self.gathered = bound.is_none().then_some(key);
        true
    }

    /// Gathers from the page of the log that the socket reads; asks for one if it has none. False while it is on its way.
    pub(super) fn gather_page(&mut self, slot: usize, after: Offset, bound: Option<Bound>) -> bool {
        let until = bound.map(|bound| bound.until);
        let max = self.hub.limits().write_bytes;
        let epoch = self.hub.cursor(Offset::START);
        let connection = &self.connections[slot];
        let class = self.registry.get(connection.class as usize).expect("a class lives as long as its members");
        let Some(page) = connection.behind.as_ref().and_then(|behind| behind.page.clone()) else {
            self.ask_for_page(slot, after);
            return false;
        };
        let stream = class.members.stream.as_ref().expect("set with the first member");
        self.gathered = None;
        self.gather.clear();
        let begin = page.entries.partition_point(|entry| entry.at <= after);
        let end = page.entries.partition_point(|entry| until.is_none_or(|until| entry.at <= until));
        let mut reached = until.map_or(page.reached, |until| until.min(page.reached));
        for entry in &page.entries[begin.min(end)..end] {
            if self.gather.len() > 0 && self.gather.bytes().len() >= max {
                reached = before(entry.at);
                break;
            }
            if class.interest.covers(&entry.event) {
                let variant = stream.variant(entry, &class.interest.grants);
                let frame = stream.frame(entry, variant, epoch);
                self.gather.push(frame, Position::Log(entry.at), entry.at);
                self.gather.told = Some(entry.at);
                if stream.ends_with(entry) {
                    self.gather.end = Some(entry.clone());
                    reached = entry.at;
                    break;
                }
            }
        }
        self.gather.reached = Some((Position::Log(reached), reached));
        if reached == page.reached {
            self.behind(slot).page = None;
        }
        true
    }

    pub(super) fn ask_for_page(&mut self, slot: usize, after: Offset) {
        let timer = self.timer(slot);
        let connection = &self.connections[slot];
        let class = self.registry.get(connection.class as usize).expect("a class lives as long as its members");
        let filter = &class.interest.filter;
        let topics = filter.literal_topics().and(filter.topics.clone());
        let behind = self.behind(slot);
        if behind.reading != 0 {
            return;
        }
        self.serial = self.serial.wrapping_add(1).max(1);
        let serial = self.serial;
        self.behind(slot).reading = serial;
        let (hub, shared) = (self.hub.clone(), self.shared.clone());
        self.runtime.spawn(async move {
            let page = hub.history(topics, after).await;
            shared.send(Message::Page { timer, serial, page });
        });
    }

    pub(super) fn take_page(&mut self, timer: Timer, serial: u32, page: Result<Arc<LogPage>, BrokerError>) {
        let slot = timer.slot as usize;
        let Some(behind) = self.find(timer).and_then(|connection| connection.behind.as_mut()) else { return };
        if behind.reading != serial {
            // Asked for before it went elsewhere: it may lack what is wanted now.
            return;
        }
        behind.reading = 0;
        match page {
            Ok(page) => {
                let stuck = page.entries.is_empty() && page.reached <= behind.offset;
                if stuck && self.hub.window().seek(page.reached).is_err() {
                    tracing::error!(after = %page.reached, "the log has nothing where it should have something");
                    return self.say_goodbye(slot, CloseReason::Unavailable, None);
                }
                self.behind(slot).page = Some(page);
            }
            Err(BrokerError::Trimmed { after, resume }) => {
                // On a detour it leads no further than to its end: what comes behind that the connection is told where it goes on.
                let session = self.connections[slot].session.as_ref();
                let detour = session.and_then(|session| session.detour.as_ref());
                // The state of its job is told at the end of that, and to one that has not begun when it does.
                let has_begun = session.is_none_or(|session| session.asked.is_none());
                let is_of_job = self.stream(slot).settings.job.is_some() && detour.is_none() && has_begun;
                let resume = detour.map_or(resume, |detour| resume.min(detour.until).max(after));
                let gap = self.hub.overtaken(after, resume);
                let told = self.stream(slot).gap(&gap);
                self.counters.gaps.fetch_add(1, Ordering::Relaxed);
                let behind = self.behind(slot);
                let mut rest = BytesMut::from(&behind.rest[..]);
                rest.extend_from_slice(&told);
                behind.rest = rest.freeze();
                (behind.position, behind.offset) = (Position::Log(resume), resume);
                if is_of_job && !self.tell_job_after_gap(slot, resume) {
                    return;
                }
            }
            Err(error) => {
                tracing::error!(%error, "a stream can't be given the log");
                return self.say_goodbye(slot, CloseReason::Unavailable, None);
            }
        }
        self.turn(slot);
    }
}

/// The offset of an event that carries its cursor; signals don't.
pub(super) fn kept(entry: &Entry) -> Option<Offset> {
    (!entry.event.is_signal()).then_some(entry.at)
}

/// The place before an offset.
fn before(offset: Offset) -> Offset {
    Offset(offset.0.saturating_sub(1))
}
