//! The loop of one lane.

use std::io::ErrorKind;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mio::{Events, Interest as Readiness, Poll, Token};
use slab::Slab;
use tidings::{CloseReason, Entry, Hub, Interest, Moment, Offset, Place, Principal, Registry};
use tokio::runtime::Handle;

use super::care::Lingering;
use super::connection::{Behind, Connection, GONE, Position, TENTH};
use super::gather::Gather;
use super::live::Pieces;
use super::socket::Socket;
use super::wheel::{Timer, Wheel};
use super::{End, Entering, LaneCounters, Message, Shared};
use crate::handover::Granted;
use crate::limiter::Permit;
use crate::session::Session;
use crate::stream::Stream;
use crate::watch;

/// What a lane is told of its sockets.
pub(super) const READINESS: Readiness = Readiness::READABLE.add(Readiness::WRITABLE);

pub(super) const WAKER: Token = Token(usize::MAX);

/// One lane: everything here is touched by its thread alone.
pub(super) struct Lane {
    /// Which lane it is.
    pub(super) number: u32,
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
    /// Sockets that used up their turn though there is more to hear.
    pub(super) hear_again: Vec<Timer>,
    /// Sockets that are closed but for what their clients still send.
    pub(super) lingering: Vec<Lingering>,
    /// Connections that failed while others of their round still had to be given theirs.
    pub(super) failing: Vec<Timer>,
    /// Connections that were given the end of what they were about.
    pub(super) finishing: Vec<(Timer, Arc<Entry>)>,
    /// Which moment it was among the revocations in the round before this one: those until then have reached this lane.
    pub(super) moment: Moment,
    /// Connections that may be heard again.
    pub(super) unbusy: Vec<Timer>,
    /// Namespaces that have something to say on the connection they share.
    pub(super) speaking: Arc<Mutex<Vec<u32>>>,
    /// What is read from sockets, one at a time.
    pub(super) inbound: Vec<u8>,
    /// What is read only to be thrown away.
    pub(super) unwanted: Vec<u8>,
    /// Numbers the pages that are asked for.
    pub(super) serial: u32,
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
    /// A lane with its number, its epoll and the side that others see.
    pub(super) fn new(
        hub: Arc<Hub>,
        (number, poll, shared): (u32, Poll, Arc<Shared>),
        counters: Arc<LaneCounters>,
        runtime: Handle,
    ) -> Self {
        let (place, offset) = hub.window().head();
        let moment = hub.moment();
        let now = hub.clock().ticks();
        Lane {
            number,
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
            hear_again: Vec::new(),
            lingering: Vec::new(),
            failing: Vec::new(),
            finishing: Vec::new(),
            moment,
            unbusy: Vec::new(),
            speaking: Arc::default(),
            inbound: vec![0; 16 << 10],
            unwanted: vec![0; 16 << 10],
            serial: 0,
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
        let mut moment = self.moment;
        loop {
            let waiting = [&self.again, &self.hear_again, &self.unbusy];
            let more = waiting.iter().any(|list| !list.is_empty()) || self.place != self.hub.window().end();
            let wait = match (more, self.connections.is_empty() && self.lingering.is_empty()) {
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
            self.moment = std::mem::replace(&mut moment, self.hub.moment());
            if self.take_messages() {
                for (_, connection) in &self.connections {
                    if let Socket::Remote(remote) = &connection.socket {
                        remote.close();
                    }
                }
                return;
            }
            for event in &events {
                if event.token() == WAKER {
                    continue;
                }
                let slot = event.token().0;
                let talks = self.connections.get(slot).is_some_and(|connection| connection.session.is_some());
                if event.is_error() || (event.is_read_closed() && !talks) {
                    self.close(slot, CloseReason::Gone);
                } else {
                    if event.is_readable() || event.is_read_closed() {
                        match talks {
                            true => self.hear_socket(slot),
                            false => self.discard_inbound(slot),
                        }
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
            for timer in std::mem::take(&mut self.unbusy) {
                if self.find(timer).is_some() && !self.waits(timer.slot as usize) {
                    self.hear_on(timer.slot as usize);
                }
            }
            for timer in std::mem::take(&mut self.hear_again) {
                if self.find(timer).is_some() {
                    self.hear_socket(timer.slot as usize);
                }
            }
            self.advance();
            self.tick();
            self.pass_on();
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
                Message::Open(entering) => self.open(*entering),
                Message::Page { timer, serial, page } => self.take_page(timer, serial, page),
                Message::Note(remote, note) => self.take_note(&remote, note),
                Message::Done(timer, outcome) => self.take_outcome(timer, *outcome),
                Message::Close(revocation, reason) => self.close_revoked(&revocation, reason),
                Message::Drain => self.drain(),
                Message::List(answer) => {
                    // Whoever asked may be gone; then nobody needs the answer.
                    let _ = answer.send(self.list());
                }
                Message::Settle(answer) => {
                    let _ = answer.send(());
                }
                Message::Disconnect(timer, reason, answer) => {
                    let _ = answer.send(self.disconnect(timer, reason));
                }
                Message::Stop => return true,
            }
        }
        false
    }

    fn open(&mut self, entering: Entering) {
        let Entering { end, head, unread, granted, session, polls } = entering;
        let Granted { principal, filter, stream, start, ends, since, permit } = granted;
        let interest = Interest { filter, grants: principal.grants.clone() };
        let position = start.place.map_or(Position::Log(start.after), Position::Window);
        let behind = Behind::at(position, start.after, head);
        let Some(slot) = self.place_in(end, interest, stream, behind, principal, permit, session) else { return };
        let timer = self.timer(slot);
        // It is in place now: a revocation from here on finds it, and one since its credential was checked is looked up. Who was
        // revoked is told where it stands and why it ends, and nothing else.
        let closed = self.hub.closed_since(since, &self.connections[slot].principal);
        let cursor = self.hub.cursor(start.after);
        if self.connections[slot].session.is_some() {
            self.hello(slot, polls, cursor);
        } else {
            let class = self.registry.get(self.connections[slot].class as usize);
            let interest = &class.expect("entered in the lines above").interest;
            let told = || watch::present(&self.hub, interest, start.after, &ends);
            let retained = if closed.is_none() { told() } else { Vec::new() };
            let grants = interest.grants.clone();
            let stream = self.stream(slot);
            let opening = stream.opening(cursor, start.gap.as_ref(), &retained, &grants);
            if let Some(end) = retained.iter().find(|entry| stream.ends_with(entry)) {
                self.connections[slot].ends_after(end);
            }
            self.append_rest(slot, &opening);
        }
        if let Some(reason) = closed {
            return self.say_goodbye(slot, reason, None);
        }
        self.begin(slot);
        if self.find(timer).is_none() {
            return;
        }
        self.set_timer(slot);
        if self.draining {
            self.leaving.push((self.now, timer));
        }
        self.turn(slot);
        if !unread.is_empty() && self.find(timer).is_some() {
            self.hear_bytes(slot, &unread);
        }
    }

    /// Puts a connection in a slot and in its class. `None` if its socket can't be watched.
    #[expect(clippy::too_many_arguments, reason = "the parts of a connection")]
    pub(super) fn place_in(
        &mut self,
        end: End,
        interest: Interest,
        stream: Arc<Stream>,
        behind: Box<Behind>,
        principal: Arc<Principal>,
        permit: Permit,
        session: Option<Box<Session>>,
    ) -> Option<usize> {
        self.generation = self.generation.wrapping_add(1);
        let entry = self.connections.vacant_entry();
        let (slot, generation) = (entry.key(), self.generation);
        let socket = match end {
            End::Remote(remote) => {
                remote.place(Timer { slot: slot as u32, generation });
                Socket::Remote(remote)
            }
            End::Socket(socket) => {
                let mut socket = mio::net::TcpStream::from_std(socket);
                if let Err(error) = self.poll.registry().register(&mut socket, Token(slot), READINESS) {
                    tracing::warn!(%error, "a socket can't be watched");
                    self.counters.count_close(CloseReason::Gone);
                    return None;
                }
                Socket::Own(socket)
            }
        };
        let told = behind.offset;
        entry.insert(Connection {
            socket,
            generation,
            class: 0,
            member: GONE,
            opened: u32::try_from(self.now / TENTH).unwrap_or(u32::MAX),
            written_at: self.now,
            updated_at: self.now,
            told,
            told_at: self.now,
            timer_tick: 0,
            ends_at: 0,
            principal,
            behind: Some(behind),
            session,
            permit: Some(permit),
        });
        stream.open.fetch_add(1, Ordering::Relaxed);
        self.enter_class(slot, interest, stream);
        self.counters.behind.fetch_add(1, Ordering::Relaxed);
        Some(slot)
    }

    /// Puts the connection among those with this interest.
    pub(super) fn enter_class(&mut self, slot: usize, interest: Interest, stream: Arc<Stream>) {
        let class = self.registry.enter(interest, stream.id);
        let members = &mut self.registry.get_mut(class).expect("entered in the line above").members;
        let member = u32::try_from(members.slots.len()).expect("a lane holds fewer than 2^32 sockets");
        members.slots.push(slot as u32);
        members.stream.get_or_insert(stream);
        let connection = &mut self.connections[slot];
        (connection.class, connection.member) = (class as u32, member);
    }

    /// Takes the connection out of its class.
    pub(super) fn leave_class(&mut self, slot: usize) {
        let connection = &mut self.connections[slot];
        let (class, member) = (connection.class as usize, connection.member as usize);
        connection.member = GONE;
        self.gathered = None;
        let Some(found) = self.registry.get_mut(class) else { return };
        let members = &mut found.members;
        members.slots.swap_remove(member);
        if let Some(&moved) = members.slots.get(member) {
            self.connections[moved as usize].member = member as u32;
        }
        if members.slots.is_empty() {
            self.registry.leave(class);
        }
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
        if let Some(session) = &self.connections[slot].session {
            return &session.stream;
        }
        let class = self.connections[slot].class as usize;
        let class = self.registry.get(class).expect("a class lives as long as its members");
        class.members.stream.as_ref().expect("set with the first member")
    }
}
