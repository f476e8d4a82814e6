//! The loop of one lane.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use mio::net::TcpStream;
use mio::{Events, Interest as Readiness, Poll, Token};
use slab::Slab;
use tidings::history::LogPage;
use tidings::{BrokerError, CloseReason, Entry, Hub, Interest, Offset, Place, Registry, Revocation, Timestamp};
use tokio::runtime::Handle;

use super::connection::{Behind, Connection, GONE, Position};
use super::gather::Gather;
use super::wheel::{Timer, Wheel};
use super::{LaneCounters, Message, OpenStream, Opening, Shared};
use crate::sse;
use crate::stream::Stream;

pub(super) const WAKER: Token = Token(usize::MAX);

/// The most entries matched before the sockets get a turn.
const ENTRIES_A_ROUND: usize = 512;

/// The most bytes a client may send into a stream that has nothing to hear from it.
const MAX_INBOUND: usize = 64 << 10;

/// One lane: everything here is touched by its thread alone.
pub(super) struct Lane {
    hub: Arc<Hub>,
    poll: Poll,
    shared: Arc<Shared>,
    counters: Arc<LaneCounters>,
    runtime: Handle,
    registry: Registry<Members>,
    connections: Slab<Connection>,
    generation: u32,
    /// Every entry before here was given to all sockets that are not behind.
    place: Place,
    /// The offset there.
    offset: Offset,
    wheel: Wheel,
    /// Sockets that used up their turn though they could take more.
    again: Vec<Timer>,
    /// Sockets to send away, the next one last, each with its time.
    leaving: Vec<(u64, Timer)>,
    /// Slots closed in this round: freed at its end, so that an event for the old socket never meets a new one.
    closed: Vec<usize>,
    gather: Gather,
    /// Which class and place `gather` holds, so that sockets at the same place share the work.
    gathered: Option<(u32, Position, Place)>,
    /// The pieces of this round, by class.
    pieces: Vec<Pieces>,
    now: u64,
    draining: bool,
}

/// The sockets of a class.
#[derive(Debug, Default)]
struct Members {
    stream: Option<Arc<Stream>>,
    slots: Vec<u32>,
    /// Where its pieces of this round are, plus one; 0 if it has none.
    pieces: u32,
}

/// What a class is to be given in this round.
#[derive(Debug, Default)]
struct Pieces {
    class: usize,
    frames: Vec<(Bytes, Place, Offset)>,
    bytes: usize,
}

/// What became of a write.
enum Wrote {
    All,
    Part(usize),
    Failed,
}

impl Lane {
    pub(super) fn new(
        hub: Arc<Hub>,
        poll: Poll,
        shared: Arc<Shared>,
        counters: Arc<LaneCounters>,
        runtime: Handle,
    ) -> Self {
        let (place, offset) = hub.window().head();
        let now = hub.clock().ticks();
        Lane {
            hub,
            poll,
            shared,
            counters,
            runtime,
            registry: Registry::new(),
            connections: Slab::new(),
            generation: 0,
            place,
            offset,
            wheel: Wheel::new(now),
            again: Vec::new(),
            leaving: Vec::new(),
            closed: Vec::new(),
            gather: Gather::default(),
            gathered: None,
            pieces: Vec::new(),
            now,
            draining: false,
        }
    }

    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(1024);
        loop {
            let more = !self.again.is_empty() || self.place != self.hub.window().end();
            let wait = match (more, self.connections.is_empty()) {
                (true, _) => Some(Duration::ZERO),
                (false, true) => None,
                (false, false) => Some(Duration::from_millis(self.wheel.next_in(self.hub.clock().ticks()))),
            };
            if let Err(error) = self.poll.poll(&mut events, wait)
                && error.kind() != ErrorKind::Interrupted
            {
                tracing::error!(%error, "a lane can't wait for its sockets and ends");
                return;
            }
            // Before anything is looked at: what comes later wakes again.
            self.shared.awake.store(false, Ordering::SeqCst);
            self.now = self.hub.clock().ticks();
            if self.take_messages() {
                return;
            }
            for event in &events {
                if event.token() == WAKER {
                    continue;
                }
                let slot = event.token().0;
                if event.is_error() || event.is_read_closed() {
                    self.close(slot, CloseReason::Gone);
                } else {
                    if event.is_readable() {
                        self.discard_inbound(slot);
                    }
                    if event.is_writable() {
                        self.turn(slot);
                    }
                }
            }
            for timer in std::mem::take(&mut self.again) {
                if self.find(timer).is_some() {
                    self.turn(timer.slot as usize);
                }
            }
            self.advance();
            self.tick();
            for slot in self.closed.drain(..) {
                self.connections.remove(slot);
            }
        }
    }

    /// Returns whether the lane has to stop.
    fn take_messages(&mut self) -> bool {
        let messages = std::mem::take(&mut *self.shared.inbox.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
        for message in messages {
            match message {
                Message::Open(opening) => self.open(*opening),
                Message::Page { slot, generation, page } => self.take_page(Timer { slot, generation }, page),
                Message::Close(revocation, reason) => self.close_revoked(&revocation, reason),
                Message::Drain => self.drain(),
                Message::List(answer) => {
                    // Whoever asked may be gone; then nobody needs the answer.
                    let _ = answer.send(self.list());
                }
                Message::Stop => return true,
            }
        }
        false
    }

    fn open(&mut self, opening: Opening) {
        let Opening { socket, head, principal, filter, stream, start, since, permit } = opening;
        let mut socket = TcpStream::from_std(socket);
        let interest = Interest { filter, grants: principal.grants.clone() };
        let retained = self.hub.retained(&interest, start.after);
        let cursor = self.hub.cursor(start.after);
        let hello = stream.opening(cursor, start.gap.as_ref(), &retained, &principal.grants);
        let rest = if head.is_empty() { hello.freeze() } else { [&head[..], &hello[..]].concat().into() };

        let class = self.registry.enter(interest, stream.id);
        let members = &mut self.registry.get_mut(class).expect("entered in the line above").members;
        let entry = self.connections.vacant_entry();
        let slot = entry.key();
        self.generation = self.generation.wrapping_add(1);
        if let Err(error) =
            self.poll.registry().register(&mut socket, Token(slot), Readiness::READABLE | Readiness::WRITABLE)
        {
            tracing::warn!(%error, "a socket can't be watched");
            self.counters.count_close(CloseReason::Gone);
            if members.slots.is_empty() {
                self.registry.leave(class);
            }
            return;
        }
        let position = start.place.map_or(Position::Log(start.after), Position::Window);
        let member = u32::try_from(members.slots.len()).expect("a lane holds fewer than 2^32 sockets");
        members.slots.push(slot as u32);
        stream.open.fetch_add(1, Ordering::Relaxed);
        members.stream.get_or_insert(stream);
        entry.insert(Connection {
            socket,
            generation: self.generation,
            class: class as u32,
            member,
            written_at: self.now,
            updated_at: self.now,
            told: start.after,
            principal: principal.clone(),
            behind: Some(Behind::at(position, start.after, rest)),
            _permit: permit,
        });
        self.counters.behind.fetch_add(1, Ordering::Relaxed);
        // It is in place now: a revocation from here on finds it, and one since its credential was checked is looked up.
        if let Some(reason) = self.hub.closed_since(since, &principal) {
            self.say_goodbye(slot, reason, None);
            return;
        }
        self.set_timer(slot);
        if self.draining {
            self.leaving.push((self.now, self.timer(slot)));
        }
        self.turn(slot);
    }

    fn timer(&self, slot: usize) -> Timer {
        Timer { slot: slot as u32, generation: self.connections[slot].generation }
    }

    /// The connection that the timer was set for, if it is still there.
    fn find(&mut self, timer: Timer) -> Option<&mut Connection> {
        let found = self.connections.get_mut(timer.slot as usize)?;
        (found.generation == timer.generation && found.is_open()).then_some(found)
    }

    fn stream(&self, slot: usize) -> &Arc<Stream> {
        let class = self.connections[slot].class as usize;
        let class = self.registry.get(class).expect("a class lives as long as its members");
        class.members.stream.as_ref().expect("set with the first member")
    }

    /// Puts the connection where something is next due for it.
    fn set_timer(&mut self, slot: usize) {
        let stream = self.stream(slot);
        let beat = stream.settings.heartbeat_every.as_millis() as u64;
        let idle = stream.settings.idle.as_ref().map(|idle| idle.after.as_millis() as u64);
        let connection = &self.connections[slot];
        let mut due = connection.written_at + beat;
        if let Some(idle) = idle {
            due = due.min(connection.updated_at + idle);
        }
        if let Some(Timestamp(at)) = connection.principal.expires_at {
            due = due.min(self.now + at.saturating_sub(self.hub.clock().now().0));
        }
        // One that is behind does not beat; it is looked at again in a while.
        self.wheel.set(self.timer(slot), due.max(self.now + 1));
    }

    /// Reads the new entries of the window and gives them to the sockets that are caught up.
    fn advance(&mut self) {
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
        let mut used = 0;
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
                let variant = entry.rule.shape.variant(&class.interest.grants, &entry.event);
                let frame = sse::frame(entry, stream.encoding(), variant, epoch);
                let pieces = &mut pieces[class.members.pieces as usize - 1];
                pieces.bytes += frame.len();
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
            pieces.bytes = 0;
            // Keeps the allocation of a usual round, not of the largest ever.
            pieces.frames.shrink_to(ENTRIES_A_ROUND);
            self.pieces[index] = pieces;
        }
        if used > 1024 {
            self.pieces.truncate(1024);
        }
    }

    /// Writes the pieces to each member of their class that is caught up; `from` is where it stood before this round.
    fn write_class(&mut self, pieces: &Pieces, from: (Place, Offset)) {
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
        let offset = pieces.frames.last().map_or(self.offset, |(_, _, offset)| *offset);
        let (mut delivered, mut written_bytes, mut failed, mut blocked) = (0u64, 0u64, Vec::new(), 0u64);
        for &slot in &slots {
            let Some(connection) = self.connections.get_mut(slot as usize) else { continue };
            if connection.behind.is_some() {
                continue;
            }
            match write(&mut connection.socket, bytes) {
                Wrote::All => {
                    connection.written_at = self.now;
                    connection.updated_at = self.now;
                    connection.told = offset;
                    delivered += pieces.frames.len() as u64;
                    written_bytes += bytes.len() as u64;
                }
                Wrote::Part(written) => {
                    blocked += 1;
                    written_bytes += written as u64;
                    let mut behind = match (&single, written) {
                        (Some(frame), 1..) => {
                            let (_, place, offset) = pieces.frames[0];
                            // The frame is shared, but a slow socket must not keep a large one alive: its rest is copied.
                            let rest = Bytes::copy_from_slice(&frame[written..]);
                            Behind::at(Position::Window(place), offset, rest)
                        }
                        (None, 1..) => {
                            delivered += self.gather.frames_within(written);
                            let cut = self.gather.cut(written);
                            Behind::at(cut.position, cut.offset, cut.rest)
                        }
                        (_, 0) => Behind::at(Position::Window(from.0), from.1, Bytes::new()),
                    };
                    behind.blocked_at = self.now.max(1);
                    connection.behind = Some(behind);
                }
                Wrote::Failed => failed.push(slot as usize),
            }
        }
        if let Some(class) = self.registry.get_mut(pieces.class) {
            class.members.slots = slots;
        }
        self.counters.delivered.fetch_add(delivered, Ordering::Relaxed);
        self.counters.bytes.fetch_add(written_bytes, Ordering::Relaxed);
        self.counters.blocked.fetch_add(blocked, Ordering::Relaxed);
        self.counters.behind.fetch_add(blocked, Ordering::Relaxed);
        for slot in failed {
            self.close(slot, CloseReason::Gone);
        }
    }

    /// The window moved on past this lane: every socket that was caught up reads on from the log by itself.
    fn fall_behind(&mut self) {
        let offset = self.offset;
        let mut slots = Vec::new();
        for (slot, connection) in &mut self.connections {
            if connection.behind.is_none() {
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

    /// Lets a socket that is behind read on, until it is caught up, takes no more, or has had its turn.
    fn turn(&mut self, slot: usize) {
        let mut budget = self.hub.limits().turn_bytes;
        loop {
            let Some(connection) = self.connections.get(slot) else { return };
            let Some(behind) = &connection.behind else { return };
            let (class, position, has_rest) = (connection.class, behind.position, !behind.rest.is_empty());
            if !connection.is_open() {
                return;
            }
            let ready = match position {
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
                Position::Window(place) => match self.gather_window(class, place) {
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
                    match self.hub.window().seek(after) {
                        Ok(place) => {
                            let place = place.min(self.place);
                            let behind = self.behind(slot);
                            behind.position = Position::Window(place);
                            behind.page = None;
                            continue;
                        }
                        Err(_) => self.gather_page(slot, after),
                    }
                }
            };
            if !ready && !has_rest {
                return;
            }
            if !ready {
                self.gather.clear();
                self.gathered = None;
            }
            let Some(connection) = self.connections.get_mut(slot) else { return };
            let Some(behind) = &mut connection.behind else { return };
            let (owed, bytes) = (behind.rest.len(), self.gather.bytes());
            let total = owed + bytes.len();
            let wrote = match (owed, bytes.len()) {
                (0, 0) => Wrote::All,
                (0, _) => write(&mut connection.socket, bytes),
                (_, 0) => write(&mut connection.socket, &behind.rest),
                _ => write_both(&mut connection.socket, &behind.rest, bytes),
            };
            let written = match wrote {
                Wrote::All => total,
                Wrote::Part(written) => written,
                Wrote::Failed => return self.close(slot, CloseReason::Gone),
            };
            self.counters.bytes.fetch_add(written as u64, Ordering::Relaxed);
            if written > 0 {
                connection.written_at = self.now;
                behind.blocked_at = 0;
            }
            let of_frames = written.saturating_sub(owed);
            if of_frames > 0 {
                connection.updated_at = self.now;
                self.counters.delivered.fetch_add(self.gather.frames_within(of_frames), Ordering::Relaxed);
            }
            behind.rest.advance(written.min(owed));
            if written == total {
                if let Some((position, offset)) = self.gather.reached.filter(|_| ready) {
                    behind.position = position;
                    behind.offset = behind.offset.max(offset);
                    if let Some(last) = self.gather.last_offset() {
                        connection.told = connection.told.max(last);
                    }
                }
                if !ready {
                    return;
                }
                if behind.position == Position::Window(self.place) {
                    connection.behind = None;
                    self.counters.behind.fetch_sub(1, Ordering::Relaxed);
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
            if of_frames > 0 {
                let cut = self.gather.cut(of_frames);
                behind.position = cut.position;
                behind.offset = behind.offset.max(cut.offset);
                behind.rest = cut.rest;
            }
            // Nothing but the cursor is kept for one that takes no more.
            behind.page = None;
            if behind.blocked_at == 0 {
                behind.blocked_at = self.now.max(1);
            }
            self.counters.blocked.fetch_add(1, Ordering::Relaxed);
            return;
        }
    }

    fn behind(&mut self, slot: usize) -> &mut Behind {
        self.connections[slot].behind.as_mut().expect("only called for one that is behind")
    }

    /// Gathers what the class is to be given from `from` on, as much as fits into one write. False if the window has moved on.
    fn gather_window(&mut self, class: u32, from: Place) -> bool {
        let key = (class, Position::Window(from), self.place);
        if self.gathered == Some(key) {
            return true;
        }
        self.gathered = None;
        self.gather.clear();
        let (end, max) = (self.place, self.hub.limits().write_bytes);
        let class = self.registry.get(class as usize).expect("a class lives as long as its members");
        let stream = class.members.stream.as_ref().expect("set with the first member");
        let epoch = self.hub.cursor(Offset::START);
        let (gather, mut reached) = (&mut self.gather, (from, Offset::START));
        let read = self.hub.window().read(from, |place, entry| {
            if place > end {
                return false;
            }
            if class.interest.covers(&entry.event) {
                let variant = entry.rule.shape.variant(&class.interest.grants, &entry.event);
                let frame = sse::frame(entry, stream.encoding(), variant, epoch);
                gather.push(frame, Position::Window(place), entry.at);
            }
            reached = (place, entry.at);
            gather.bytes().len() < max
        });
        if read.is_err() {
            return false;
        }
        // Signals that were replaced leave holes, which the window steps over without a word.
        let place = if reached.0 == from { end } else { reached.0 };
        let offset = if place == end { self.offset } else { reached.1 };
        self.gather.reached = Some((Position::Window(place), offset));
        self.gathered = Some(key);
        true
    }

    /// Gathers from the page of the log that the socket reads; asks for one if it has none. False while it is on its way.
    fn gather_page(&mut self, slot: usize, after: Offset) -> bool {
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
        let mut reached = page.reached;
        for entry in &page.entries[begin..] {
            if self.gather.bytes().len() >= max {
                reached = before(entry.at);
                break;
            }
            if class.interest.covers(&entry.event) {
                let variant = entry.rule.shape.variant(&class.interest.grants, &entry.event);
                let frame = sse::frame(entry, stream.encoding(), variant, epoch);
                self.gather.push(frame, Position::Log(entry.at), entry.at);
            }
        }
        self.gather.reached = Some((Position::Log(reached), reached));
        if reached == page.reached {
            self.behind(slot).page = None;
        }
        true
    }

    fn ask_for_page(&mut self, slot: usize, after: Offset) {
        let timer = self.timer(slot);
        let connection = &self.connections[slot];
        let class = self.registry.get(connection.class as usize).expect("a class lives as long as its members");
        let filter = &class.interest.filter;
        let topics = filter.literal_topics().and(filter.topics.clone());
        let behind = self.behind(slot);
        if std::mem::replace(&mut behind.reading, true) {
            return;
        }
        let (hub, shared) = (self.hub.clone(), self.shared.clone());
        self.runtime.spawn(async move {
            let page = hub.history(topics, after).await;
            shared.send(Message::Page { slot: timer.slot, generation: timer.generation, page });
        });
    }

    fn take_page(&mut self, timer: Timer, page: Result<Arc<LogPage>, BrokerError>) {
        let slot = timer.slot as usize;
        let Some(behind) = self.find(timer).and_then(|connection| connection.behind.as_mut()) else { return };
        behind.reading = false;
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
                let gap = self.hub.overtaken(after, resume);
                let ids = self.stream(slot).settings.ids;
                self.counters.gaps.fetch_add(1, Ordering::Relaxed);
                let behind = self.behind(slot);
                let mut rest = BytesMut::from(&behind.rest[..]);
                rest.extend_from_slice(&sse::gap(&gap, ids));
                behind.rest = rest.freeze();
                (behind.position, behind.offset) = (Position::Log(resume), resume);
            }
            Err(error) => {
                tracing::error!(%error, "a stream can't be given the log");
                return self.say_goodbye(slot, CloseReason::Unavailable, None);
            }
        }
        self.turn(slot);
    }

    /// A client has nothing to say on a stream; what it sends is read, so that its end is noticed, and thrown away.
    fn discard_inbound(&mut self, slot: usize) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        let (mut buffer, mut total) = ([0; 4096], 0);
        let reason = loop {
            match connection.socket.read(&mut buffer) {
                Ok(0) => break CloseReason::Gone,
                Ok(read) if total + read > MAX_INBOUND => break CloseReason::Disconnected,
                Ok(read) => total += read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break CloseReason::Gone,
            }
        };
        self.close(slot, reason);
    }

    /// Looks at the connections for which something is due.
    fn tick(&mut self) {
        let mut due = Vec::new();
        self.wheel.turn(self.now, &mut due);
        for timer in due {
            if self.find(timer).is_some() {
                self.look_at(timer.slot as usize);
            }
        }
        while self.leaving.last().is_some_and(|(at, _)| *at <= self.now) {
            let Some((_, timer)) = self.leaving.pop() else { break };
            if self.find(timer).is_some() {
                // Spread out again when they come back, so that the next server is not met by all of them at once.
                let spread =
                    Duration::from_millis(500 + u64::from(timer.generation.wrapping_mul(2_654_435_761)) % 2_500);
                self.say_goodbye(timer.slot as usize, CloseReason::Draining, Some(spread));
            }
        }
    }

    fn look_at(&mut self, slot: usize) {
        let (now, stall) = (self.now, self.hub.limits().write_stall.as_millis() as u64);
        let settings = &self.stream(slot).settings;
        let (beat, cursor_every, announce) =
            (settings.heartbeat_every.as_millis() as u64, settings.cursor_every.as_millis() as u64, settings.announce);
        let idle = settings.idle.as_ref().map(|idle| idle.after.as_millis() as u64);
        let connection = &self.connections[slot];
        if connection.principal.is_expired(self.hub.clock().now()) {
            return self.say_goodbye(slot, CloseReason::Expired, None);
        }
        if idle.is_some_and(|idle| connection.updated_at + idle <= now) {
            return self.say_goodbye(slot, CloseReason::Idle, None);
        }
        if let Some(behind) = &connection.behind {
            if behind.blocked_at > 0 && behind.blocked_at + stall <= now {
                return self.close(slot, CloseReason::Stalled);
            }
            // It takes nothing, or is reading: a heartbeat would only add to what it owes.
            let timer = self.timer(slot);
            self.wheel.set(timer, now + beat.min(stall).max(1));
            return;
        }
        if connection.written_at + beat <= now {
            let quiet = connection.updated_at + cursor_every <= now && connection.told < self.offset;
            let mut bytes = self.stream(slot).heartbeat.clone();
            if announce && quiet {
                bytes = [&bytes[..], &sse::cursor(self.hub.cursor(self.offset))[..]].concat().into();
                self.connections[slot].told = self.offset;
            }
            if !self.write_control(slot, &bytes) {
                return;
            }
        }
        self.set_timer(slot);
    }

    /// Writes a control frame to one that is caught up. False if the socket failed and was closed.
    fn write_control(&mut self, slot: usize, bytes: &Bytes) -> bool {
        let connection = &mut self.connections[slot];
        match write(&mut connection.socket, bytes) {
            Wrote::All => connection.written_at = self.now,
            Wrote::Part(written) => {
                let mut behind = Behind::at(Position::Window(self.place), self.offset, bytes.slice(written..));
                behind.blocked_at = self.now.max(1);
                connection.behind = Some(behind);
                self.counters.behind.fetch_add(1, Ordering::Relaxed);
            }
            Wrote::Failed => {
                self.close(slot, CloseReason::Gone);
                return false;
            }
        }
        true
    }

    /// Says why, where the socket is at the border of two frames, and closes.
    fn say_goodbye(&mut self, slot: usize, reason: CloseReason, retry: Option<Duration>) {
        let bytes = self.stream(slot).closing(reason, retry);
        let connection = &mut self.connections[slot];
        let owed = connection.behind.as_ref().map(|behind| behind.rest.clone()).unwrap_or_default();
        // The last words: what the socket does not take now is not waited for.
        match write(&mut connection.socket, &owed) {
            Wrote::All => drop(write(&mut connection.socket, &bytes)),
            Wrote::Part(_) | Wrote::Failed => {}
        }
        self.close(slot, reason);
    }

    fn close(&mut self, slot: usize, reason: CloseReason) {
        let Some(connection) = self.connections.get_mut(slot).filter(|connection| connection.is_open()) else { return };
        // Half-closed first: what was written still arrives, also if the client has sent something we have not read.
        let _ = connection.socket.shutdown(std::net::Shutdown::Write);
        let _ = self.poll.registry().deregister(&mut connection.socket);
        if connection.behind.take().is_some() {
            self.counters.behind.fetch_sub(1, Ordering::Relaxed);
        }
        let (class, member) = (connection.class as usize, connection.member as usize);
        connection.member = GONE;
        if let Some(found) = self.registry.get_mut(class) {
            let members = &mut found.members;
            if let Some(stream) = &members.stream {
                stream.open.fetch_sub(1, Ordering::Relaxed);
            }
            members.slots.swap_remove(member);
            if let Some(&moved) = members.slots.get(member) {
                self.connections[moved as usize].member = member as u32;
            }
            if members.slots.is_empty() {
                self.registry.leave(class);
            }
        }
        self.gathered = None;
        self.counters.count_close(reason);
        self.closed.push(slot);
    }

    fn close_revoked(&mut self, revocation: &Revocation, reason: CloseReason) {
        let open = self.connections.iter().filter(|(_, connection)| connection.is_open());
        let covered = open.filter(|(_, connection)| revocation.covers(&connection.principal));
        for slot in covered.map(|(slot, _)| slot).collect::<Vec<_>>() {
            self.say_goodbye(slot, reason, None);
        }
    }

    /// Spreads the end of all streams over the drain window.
    fn drain(&mut self) {
        self.draining = true;
        let window = self.hub.limits().drain_window.as_millis() as u64;
        let count = self.connections.len().max(1) as u64;
        let open = self.connections.iter().filter(|(_, connection)| connection.is_open());
        let slots: Vec<usize> = open.map(|(slot, _)| slot).collect();
        let times = (0u64..).map(|index| self.now + window * index / count);
        self.leaving = times.zip(slots).map(|(at, slot)| (at, self.timer(slot))).collect();
        self.leaving.reverse();
    }

    fn list(&self) -> Vec<OpenStream> {
        let open = self.connections.iter().filter(|(_, connection)| connection.is_open());
        open.filter_map(|(_, connection)| {
            let class = self.registry.get(connection.class as usize)?;
            let topics = class.interest.filter.topics.as_ref();
            let at = connection.behind.as_ref().map_or(self.offset, |behind| behind.offset);
            Some(OpenStream {
                principal: connection.principal.clone(),
                profile: class.members.stream.as_ref()?.profile.name().to_owned(),
                topics: topics.map(|topics| topics.iter().map(|topic| topic.as_str().to_owned()).collect()),
                lag: self.hub.window().head().1.0.saturating_sub(at.0),
            })
        })
        .collect()
    }
}

/// The place before an offset.
fn before(offset: Offset) -> Offset {
    Offset(offset.0.saturating_sub(1))
}

fn write(socket: &mut TcpStream, bytes: &[u8]) -> Wrote {
    written(bytes.len(), || socket.write(bytes))
}

fn write_both(socket: &mut TcpStream, first: &[u8], second: &[u8]) -> Wrote {
    written(first.len() + second.len(), || socket.write_vectored(&[IoSlice::new(first), IoSlice::new(second)]))
}

fn written(total: usize, mut write: impl FnMut() -> io::Result<usize>) -> Wrote {
    if total == 0 {
        return Wrote::All;
    }
    loop {
        match write() {
            Ok(written) if written == total => return Wrote::All,
            Ok(written) => return Wrote::Part(written),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Wrote::Part(0),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Wrote::Failed,
        }
    }
}
