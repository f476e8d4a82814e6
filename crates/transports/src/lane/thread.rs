//! The loop of one lane.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest as Readiness, Poll, Token};
use slab::Slab;
use tidings::{CloseReason, Hub, Interest, Offset, Place, Registry};
use tokio::runtime::Handle;

use super::connection::{Behind, Connection, Position};
use super::gather::Gather;
use super::live::Pieces;
use super::wheel::{Timer, Wheel};
use super::{LaneCounters, Message, Opening, Shared};
use crate::handover::Granted;
use crate::stream::Stream;

pub(super) const WAKER: Token = Token(usize::MAX);

/// One lane: everything here is touched by its thread alone.
pub(super) struct Lane {
    pub(super) hub: Arc<Hub>,
    pub(super) poll: Poll,
    pub(super) shared: Arc<Shared>,
    pub(super) counters: Arc<LaneCounters>,
    pub(super) runtime: Handle,
    pub(super) registry: Registry<Members>,
    pub(super) connections: Slab<Connection>,
    pub(super) generation: u32,
    /// Every entry before here was given to all sockets that are not behind.
    pub(super) place: Place,
    /// The offset there.
    pub(super) offset: Offset,
    pub(super) wheel: Wheel,
    /// Sockets that used up their turn though they could take more.
    pub(super) again: Vec<Timer>,
    /// Sockets to send away, the next one last, each with its time.
    pub(super) leaving: Vec<(u64, Timer)>,
    /// Slots closed in this round: freed at its end, so that an event for the old socket never meets a new one.
    pub(super) closed: Vec<usize>,
    pub(super) gather: Gather,
    /// Which class and place `gather` holds, so that sockets at the same place share the work.
    pub(super) gathered: Option<(u32, Position, Place)>,
    /// The pieces of this round, by class.
    pub(super) pieces: Vec<Pieces>,
    pub(super) now: u64,
    pub(super) draining: bool,
}

/// The sockets of a class.
#[derive(Debug, Default)]
pub(super) struct Members {
    pub(super) stream: Option<Arc<Stream>>,
    pub(super) slots: Vec<u32>,
    /// Where its pieces of this round are, plus one; 0 if it has none.
    pub(super) pieces: u32,
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
                panic!("a lane can't wait for its sockets: {error}");
            }
            // Before anything is looked at: what comes later wakes again.
            self.shared.bell.answer();
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
        let Opening { socket, head, granted } = opening;
        let Granted { principal, filter, stream, start, since, permit } = granted;
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
            told_at: self.now,
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

    pub(super) fn timer(&self, slot: usize) -> Timer {
        Timer { slot: slot as u32, generation: self.connections[slot].generation }
    }

    /// The connection that the timer was set for, if it is still there.
    pub(super) fn find(&mut self, timer: Timer) -> Option<&mut Connection> {
        let found = self.connections.get_mut(timer.slot as usize)?;
        (found.generation == timer.generation && found.is_open()).then_some(found)
    }

    pub(super) fn stream(&self, slot: usize) -> &Arc<Stream> {
        let class = self.connections[slot].class as usize;
        let class = self.registry.get(class).expect("a class lives as long as its members");
        class.members.stream.as_ref().expect("set with the first member")
    }
}
