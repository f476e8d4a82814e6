//! What a socket needs beside events: heartbeats, positions, an end.

use std::io::{ErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tidings::{CloseReason, Entry, Filter, Revocation, Timestamp};

use super::OpenStream;
use super::connection::{AFTER_GOODBYE, Behind, Position, TENTH};
use super::socket::{Socket, Wrote};
use super::thread::Lane;
use super::wheel::Timer;
use crate::stream_id::{Held, StreamId};

/// The most bytes a client may send into a stream that has nothing to hear from it.
const MAX_INBOUND: usize = 64 << 10;

/// How long the bytes of a client that was broken off are read and thrown away, in milliseconds, and how many at most: in all, in its turn,
/// and of all clients in one sweep. And how many clients there may be.
const LINGER: u64 = 2_000;
const MAX_LINGER: usize = 16 << 20;
const LINGER_A_TURN: usize = 64 << 10;
const LINGER_A_SWEEP: usize = 1 << 20;
const MAX_LINGERING: usize = 256;

/// A socket that has had our last words, and whose client may still be sending.
pub(super) struct Lingering {
    socket: mio::net::TcpStream,
    until: u64,
    left: usize,
}

impl Lingering {
    /// Reads and throws away about `most` bytes, and says how many it were; `None` once there is no need to go on.
    fn read_on(&mut self, buffer: &mut [u8], most: usize) -> Option<usize> {
        let mut total = 0;
        while total < most {
            match self.socket.read(buffer) {
                Ok(read @ 1..) if self.left > read => {
                    self.left -= read;
                    total += read;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => return None,
            }
        }
        Some(total)
    }
}

impl Lane {
    /// A client has nothing to say on a stream; what it sends is read, so that its end is noticed, and thrown away.
    pub(super) fn discard_inbound(&mut self, slot: usize) {
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

    /// Reads on for a while what clients that were broken off send: closing over bytes that were not read would reset the connection, and
    /// take our last words with it. Each has its turn, and all together no more than a busy stream.
    fn linger(&mut self) {
        let (now, buffer, mut left) = (self.now, &mut self.unwanted, LINGER_A_SWEEP);
        self.lingering.retain_mut(|lingering| {
            if left == 0 {
                return lingering.until > now;
            }
            match lingering.read_on(buffer, LINGER_A_TURN.min(left)) {
                Some(read) => {
                    left = left.saturating_sub(read);
                    lingering.until > now
                }
                None => false,
            }
        });
    }

    /// Looks at the connections for which something is due.
    pub(super) fn tick(&mut self) {
        let mut due = Vec::new();
        let before = self.wheel.now();
        self.wheel.turn(self.now, &mut due);
        if self.wheel.now() != before {
            self.linger();
        }
        let tick = self.wheel.now();
        for timer in due {
            // It may have been put earlier since: then this one is stale.
            if let Some(connection) = self.find(timer).filter(|connection| (1..=tick).contains(&connection.timer_tick))
            {
                connection.timer_tick = 0;
                self.look_at(timer.slot as usize);
            }
        }
        while self.leaving.last().is_some_and(|(at, _)| *at <= self.now) {
            let Some((_, timer)) = self.leaving.pop() else { break };
            if self.find(timer).is_some() {
                let slot = timer.slot as usize;
                let retry = self.stream(slot).come_back_after();
                self.say_goodbye(slot, CloseReason::Draining, Some(retry));
            }
        }
    }

    pub(super) fn look_at(&mut self, slot: usize) {
        let now = self.now;
        if self.connections[slot].session.is_some() && !self.look_at_session(slot) {
            return;
        }
        let settings = &self.stream(slot).settings;
        let (beat, cursor_every, announce) =
            (settings.heartbeat_every.as_millis() as u64, settings.cursor_every.as_millis() as u64, settings.announce);
        let idle = settings.idle.as_ref().map(|idle| idle.after.as_millis() as u64);
        let connection = &self.connections[slot];
        if connection.principal.is_expired(self.hub.clock().now()) {
            return self.say_goodbye(slot, CloseReason::Expired, None);
        }
        if (1..=now).contains(&connection.ends_at) {
            return self.part(slot);
        }
        // An end that is on its way is waited for as long as any write.
        if connection.ends_at == 0 && idle.is_some_and(|idle| connection.updated_at + idle <= now) {
            return self.say_goodbye(slot, CloseReason::Idle, None);
        }
        if let Some(behind) = &connection.behind {
            // It takes nothing, or is reading: a heartbeat would only add to what it owes.
            if behind.blocked_at > 0 && behind.blocked_at + self.stall() <= now {
                // The kernel tells of room only when there is plenty: one that takes a little is found out by asking.
                self.turn(slot);
            }
            if self.connections[slot].is_open() {
                self.set_timer(slot);
            }
            return;
        }
        let (silent, told) = (connection.beats() && connection.written_at + beat <= now, connection.told);
        // Signals have no cursor: a stream that hears nothing else is told where it stands though it is not silent.
        let tell = announce && connection.hears() && told < self.offset && connection.told_at + cursor_every <= now;
        if silent
            && let Some(session) = &mut self.connections[slot].session
            && session.unanswered_since == 0
        {
            // There is a ping in the heartbeat.
            session.unanswered_since = now.max(1);
        }
        if silent {
            self.connections[slot].written_at = now;
        }
        if silent || tell {
            let beat = if silent { self.stream(slot).beat(self.hub.clock().now()) } else { Bytes::new() };
            let bytes = if tell {
                self.connections[slot].tell(self.offset, now);
                [&beat[..], &self.stream(slot).position(self.hub.cursor(self.offset))[..]].concat().into()
            } else {
                beat
            };
            if !self.write_control(slot, &bytes) {
                return;
            }
        }
        self.set_timer(slot);
    }

    /// Writes a control frame to one that is caught up. False if the socket failed and was closed.
    pub(super) fn write_control(&mut self, slot: usize, bytes: &Bytes) -> bool {
        let beats_always = self.stream(slot).settings.beats_always;
        let connection = &mut self.connections[slot];
        match connection.socket.write(bytes) {
            Wrote::All => {
                if !beats_always {
                    connection.written_at = self.now;
                }
                self.counters.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            }
            Wrote::Part(written) => {
                self.counters.bytes.fetch_add(written as u64, Ordering::Relaxed);
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

    /// What the connection was about has ended, and that is written.
    pub(super) fn finish(&mut self, slot: usize, end: Option<Arc<Entry>>) {
        if let Some(end) = end {
            self.connections[slot].ends_after(&end);
        }
        let lingers = self.stream(slot).settings.job.as_ref().map_or(0, |job| job.lingers.as_millis() as u64);
        if lingers == 0 {
            return self.part(slot);
        }
        self.connections[slot].ends_at = self.now.saturating_add(lingers).min(AFTER_GOODBYE - 1);
        // Others may still speak of the same topic.
        self.change_interest(slot, Filter::nothing());
        self.set_timer(slot);
    }

    /// Says that it is over, and closes once the socket has taken that: who takes it late is not left to guess why.
    fn part(&mut self, slot: usize) {
        let bytes = self.goodbye(slot, CloseReason::Finished, None);
        let connection = &mut self.connections[slot];
        connection.ends_at = AFTER_GOODBYE;
        if let Some(behind) = &mut connection.behind {
            behind.answers.extend_from_slice(&bytes);
            return self.turn(slot);
        }
        if self.write_control(slot, &bytes) && self.connections[slot].behind.is_none() {
            self.close(slot, CloseReason::Finished);
        }
    }

    /// Says why, where the socket is at the border of two frames, and closes.
    pub(super) fn say_goodbye(&mut self, slot: usize, reason: CloseReason, retry: Option<Duration>) {
        if !self.connections[slot].is_open() || self.parts_alone(slot, reason, retry) {
            return;
        }
        let bytes = self.goodbye(slot, reason, retry);
        self.end(slot, &bytes, reason);
    }

    /// Writes the last words where the socket is at the border of two frames, and closes.
    pub(super) fn end(&mut self, slot: usize, bytes: &[u8], reason: CloseReason) {
        let Some(connection) = self.connections.get_mut(slot).filter(|connection| connection.is_open()) else { return };
        let owed = match &connection.behind {
            Some(behind) if behind.answers.is_empty() => behind.rest.clone(),
            Some(behind) => [&behind.rest[..], &behind.answers[..]].concat().into(),
            None => Bytes::new(),
        };
        // One goodbye is enough.
        let bytes = if connection.ends_at == AFTER_GOODBYE { &[] } else { bytes };
        // The last words: what the socket does not take now is not waited for.
        match connection.socket.write(&owed) {
            Wrote::All => drop(connection.socket.write(bytes)),
            Wrote::Part(_) | Wrote::Failed => {}
        }
        self.close(slot, reason);
    }

    pub(super) fn close(&mut self, slot: usize, reason: CloseReason) {
        let Some(connection) = self.connections.get_mut(slot).filter(|connection| connection.is_open()) else { return };
        match std::mem::replace(&mut connection.socket, Socket::None) {
            Socket::Own(mut socket) => {
                // Half-closed first: what was written still arrives, also if the client has sent something we have not read.
                let _ = socket.shutdown(std::net::Shutdown::Write);
                let _ = self.poll.registry().deregister(&mut socket);
                if connection.session.is_some() && reason != CloseReason::Gone {
                    let mut lingering = Lingering { socket, until: self.now + LINGER, left: MAX_LINGER };
                    let is_open = lingering.read_on(&mut self.unwanted, LINGER_A_TURN).is_some();
                    if is_open && self.lingering.len() < MAX_LINGERING {
                        self.lingering.push(lingering);
                    }
                }
            }
            Socket::Remote(remote) => {
                remote.close();
                // It may be asked for the connection that it was part of.
                self.connections[slot].socket = Socket::Remote(remote);
            }
            Socket::None => {}
        }
        let connection = &mut self.connections[slot];
        if connection.behind.take().is_some() {
            self.counters.behind.fetch_sub(1, Ordering::Relaxed);
        }
        self.stream(slot).open.fetch_sub(1, Ordering::Relaxed);
        self.leave_class(slot);
        self.counters.count_close(reason);
        self.closed.push(slot);
        self.close_others(slot, reason);
    }

    pub(super) fn close_revoked(&mut self, revocation: &Revocation, reason: CloseReason) {
        // What was told before is still theirs: an app that says goodbye before it revokes is heard.
        let end = self.hub.window().end();
        while self.place < end {
            self.advance();
        }
        let open = self.connections.iter().filter(|(_, connection)| connection.is_open());
        let covered = open.filter(|(_, connection)| revocation.covers(&connection.principal));
        for timer in covered.map(|(slot, _)| self.timer(slot)).collect::<Vec<_>>() {
            // One may have taken another along: namespaces of one connection.
            if self.find(timer).is_some() {
                self.say_goodbye(timer.slot as usize, reason, None);
            }
        }
    }

    /// Ends one connection, if it is still there.
    pub(super) fn disconnect(&mut self, timer: Timer, reason: CloseReason) -> bool {
        let is_there = self.find(timer).is_some();
        if is_there {
            self.say_goodbye(timer.slot as usize, reason, None);
        }
        is_there
    }

    /// Spreads the end of all streams over the drain window.
    pub(super) fn drain(&mut self) {
        self.draining = true;
        let window = self.hub.limits().drain_window.as_millis() as u64;
        let count = self.connections.len().max(1) as u64;
        let open = self.connections.iter().filter(|(_, connection)| connection.is_open());
        let slots: Vec<usize> = open.map(|(slot, _)| slot).collect();
        let times = (0u64..).map(|index| self.now + window * index / count);
        self.leaving = times.zip(slots).map(|(at, slot)| (at, self.timer(slot))).collect();
        self.leaving.reverse();
    }

    pub(super) fn list(&self) -> Vec<OpenStream> {
        let open = self.connections.iter().filter(|(_, connection)| connection.is_open());
        let now = self.hub.clock().now();
        open.filter_map(|(slot, connection)| {
            let class = self.registry.get(connection.class as usize)?;
            let at = connection.behind.as_ref().map_or(self.offset, |behind| behind.offset);
            let age = self.now.saturating_sub(u64::from(connection.opened) * TENTH);
            Some(OpenStream {
                id: StreamId::of(Held::Lane(self.number, slot as u32, connection.generation)),
                opened: Timestamp(now.0.saturating_sub(age)),
                principal: connection.principal.clone(),
                profile: class.members.stream.as_ref()?.profile.name().to_owned(),
                transport: connection.transport(class.members.stream.as_ref()?.codec),
                filter: class.interest.filter.clone(),
                lag: Some(self.hub.window().head().1.0.saturating_sub(at.0)),
            })
        })
        .collect()
    }

    /// For how long a socket may take nothing, in ticks of the clock.
    pub(super) fn stall(&self) -> u64 {
        self.hub.limits().write_stall.as_millis() as u64
    }

    /// Puts the connection where something is next due for it.
    pub(super) fn set_timer(&mut self, slot: usize) {
        if !self.connections[slot].is_open() {
            return;
        }
        let stream = self.stream(slot);
        let beat = stream.settings.heartbeat_every.as_millis() as u64;
        let idle = stream.settings.idle.as_ref().map(|idle| idle.after.as_millis() as u64);
        let connection = &self.connections[slot];
        // One that is behind does not beat: it is looked at when it has taken nothing for too long, or again in a while.
        let due = match &connection.behind {
            None => connection.written_at + beat,
            Some(behind) if behind.blocked_at > 0 => behind.blocked_at + self.stall(),
            Some(_) => self.now + beat,
        };
        let mut due = due.min(self.now + self.stall());
        if let Some(idle) = idle {
            due = due.min(connection.updated_at + idle);
        }
        if (1..AFTER_GOODBYE).contains(&connection.ends_at) {
            due = due.min(connection.ends_at);
        }
        if let Some(session) = &connection.session {
            due = due.min(self.session_due(session, stream));
        }
        if let Some(Timestamp(at)) = connection.principal.expires_at {
            due = due.min(self.now + at.saturating_sub(self.hub.clock().now().0));
        }
        let (tick, timer) = (self.wheel.tick(due.max(self.now + 1)), self.timer(slot));
        let connection = &mut self.connections[slot];
        // One timer for each: it is looked at again whenever it comes up.
        if connection.timer_tick == 0 || connection.timer_tick > tick {
            connection.timer_tick = tick;
            self.wheel.set(timer, tick);
        }
    }
}
