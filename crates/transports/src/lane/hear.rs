//! What clients say on connections that go both ways.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tidings::{CloseReason, Cursor};

use super::BREAKS;
use super::remote::{Note, Remote};
use super::socket::Socket;
use super::thread::{Lane, READINESS};
use crate::session::{Asker, Session, Voice, Waiting};
use crate::stream::{Codec, Stream};
use crate::websocket::frame::{self, Message};
use crate::websocket::message;

/// The most bytes of a message of somebody of whom nothing is known yet: it has to say no more than who it is.
pub(crate) const STRANGERS_BYTES: usize = 64 << 10;

/// How much is heard from one socket before the others get their turn.
const HEARD_AT_ONCE: usize = 64 << 10;

impl Lane {
    /// What a connection says first.
    pub(super) fn hello(&mut self, slot: usize, polls: bool, cursor: Cursor) {
        let Some(session) = &self.connections[slot].session else { return };
        let stream = &session.stream;
        let hello = match &session.voice {
            Voice::Tidings if stream.settings.dialect.is_some() => return,
            Voice::Tidings => frame::text(message::open(cursor, stream.settings.heartbeat_every).as_bytes()),
            Voice::SocketIo(speaker) => speaker.open(stream, polls, self.hub.limits().message_bytes),
        };
        self.append_rest(slot, &hello);
    }

    /// A connection is in place.
    pub(super) fn begin(&mut self, slot: usize) {
        let (now, patience) = (self.now, self.hub.limits().header_timeout.as_millis() as u64);
        let Some(session) = &mut self.connections[slot].session else { return };
        session.pinged_at = now;
        if let Some(dialect) = &session.stream.settings.dialect {
            session.begin_by = dialect.waits.map_or(0, |waits| now.saturating_add(waits.as_millis() as u64).max(1));
            if session.begin_by == 0 {
                self.begin_telling(slot);
            }
            return;
        }
        let asked = session.asked.take();
        if let Voice::SocketIo(speaker) = &mut session.voice {
            speaker.deadline = now + patience;
            if speaker.connects_unasked() {
                self.ask_who(slot, None);
            }
        }
        if let Some((filter, cursor)) = asked.map(|asked| *asked) {
            self.begin_with(slot, filter, cursor);
        }
    }

    /// Reads what came on a socket, until there is no more, it has had its turn, or an answer has to be waited for.
    pub(super) fn hear_socket(&mut self, slot: usize) {
        let mut inbound = std::mem::take(&mut self.inbound);
        let mut left = HEARD_AT_ONCE;
        while let Some(connection) = self.connections.get_mut(slot).filter(|connection| connection.is_open()) {
            if connection.session.as_ref().is_none_or(|session| session.busy) {
                break;
            }
            if left == 0 {
                self.hear_again.push(self.timer(slot));
                break;
            }
            let read = connection.socket.read(&mut inbound);
            // What came now counts for now, however long this round has taken.
            self.now = self.hub.clock().ticks();
            match read {
                Ok(0) => {
                    self.close(slot, CloseReason::Gone);
                    break;
                }
                Ok(read) => {
                    left = left.saturating_sub(read);
                    self.hear_bytes(slot, &inbound[..read]);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    self.close(slot, CloseReason::Gone);
                    break;
                }
            }
        }
        self.inbound = inbound;
    }

    /// Hears the messages in `bytes`; what comes after one that has to be answered first waits.
    pub(super) fn hear_bytes(&mut self, slot: usize, bytes: &[u8]) {
        let (mut input, most, now) = (bytes, self.hub.limits().message_bytes, self.now);
        while let Some(connection) = self.connections.get_mut(slot).filter(|connection| connection.is_open()) {
            let Some(session) = &mut connection.session else { return };
            if session.busy && !input.is_empty() {
                session.waiting().bytes.extend_from_slice(input);
                return;
            }
            let most = if session.is_known() { most } else { most.min(STRANGERS_BYTES) };
            match session.decoder.next(&mut input, most) {
                Ok(Some(message)) => {
                    // What comes between the fragments of a message does not make it whole.
                    if session.decoder.is_empty() || matches!(message, Message::Text(_) | Message::Binary(_)) {
                        session.incomplete_since = 0;
                    }
                    self.hear(slot, message);
                }
                Ok(None) => {
                    let is_whole = session.decoder.is_empty();
                    session.incomplete_since = match (is_whole, session.incomplete_since) {
                        (true, _) => 0,
                        (false, 0) => now.max(1),
                        (false, since) => since,
                    };
                    return;
                }
                Err(fault) => return self.break_off(slot, fault.code, fault.reason),
            }
        }
    }

    /// Goes on hearing once what had to be waited for is there.
    pub(super) fn hear_on(&mut self, slot: usize) {
        let Some(session) = self.connections.get_mut(slot).and_then(|connection| connection.session.as_mut()) else {
            return;
        };
        session.busy = false;
        if let Some(mut waiting) = session.waiting.take() {
            self.hear_waiting(slot, &mut waiting);
            let Some(connection) = self.connections.get_mut(slot).filter(|connection| connection.is_open()) else {
                return;
            };
            if let (Some(session), false) = (&mut connection.session, waiting.is_empty()) {
                // What came meanwhile comes after what waits already.
                if let Some(later) = session.waiting.take() {
                    waiting.append(*later);
                }
                session.waiting = Some(waiting);
            }
        }
        if !self.waits(slot) {
            self.heard(slot);
            self.hear_socket(slot);
        }
    }

    /// Hears what had to wait, until there is something to wait for again.
    fn hear_waiting(&mut self, slot: usize, waiting: &mut Waiting) {
        // Only requests are about the place in the log; what else is said is heard on a detour as well.
        while !self.is_on_detour(slot)
            && let Some((kind, text, asker)) = waiting.requests.pop_front()
        {
            let stream = self.stream(slot).clone();
            self.request(slot, kind.as_deref(), &text, &stream, asker);
            if self.waits(slot) {
                return;
            }
        }
        while let Some(text) = waiting.messages.pop_front() {
            self.hear_text(slot, &text);
            if self.waits(slot) {
                return;
            }
        }
        let bytes = std::mem::take(&mut waiting.bytes);
        self.hear_bytes(slot, &bytes);
    }

    fn is_on_detour(&self, slot: usize) -> bool {
        self.connections[slot].session.as_ref().is_some_and(|session| session.detour.is_some())
    }

    pub(super) fn waits(&self, slot: usize) -> bool {
        let open = self.connections.get(slot).filter(|connection| connection.is_open());
        open.and_then(|connection| connection.session.as_ref()).is_none_or(|session| session.busy)
    }

    /// The same when this one has had its turn.
    pub(super) fn hear_on_later(&mut self, slot: usize) {
        let timer = self.timer(slot);
        self.unbusy.push(timer);
    }

    /// Tells whoever holds the real connection that all of what it handed in was heard.
    fn heard(&self, slot: usize) {
        let Some(connection) = self.connections.get(slot) else { return };
        let waits = connection.session.as_ref().is_some_and(|session| session.busy);
        if let (Socket::Remote(remote), false) = (&connection.socket, waits) {
            remote.was_heard();
        }
    }

    /// What the holder of a real connection tells.
    pub(super) fn take_note(&mut self, remote: &Arc<Remote>, note: Note) {
        let Some(timer) = remote.timer() else { return };
        let is_ours = |socket: &Socket| matches!(socket, Socket::Remote(ours) if Arc::ptr_eq(ours, remote));
        if !self.find(timer).is_some_and(|connection| is_ours(&connection.socket)) {
            return;
        }
        let slot = timer.slot as usize;
        match note {
            Note::Bytes(bytes) => {
                self.hear_bytes(slot, &bytes);
                self.heard(slot);
            }
            Note::Packets(packets) => {
                let Some(session) = &mut self.connections[slot].session else { return };
                let waiting = session.waiting();
                waiting.messages.extend(packets);
                if waiting.weight() > 2 * self.hub.limits().message_bytes {
                    return self.break_off(slot, 1008, "too much is said before it is answered");
                }
                if !session.busy {
                    self.hear_on(slot);
                }
            }
            Note::Room => {
                if let Some(behind) = &mut self.connections[slot].behind {
                    // It was fetched: there is somebody.
                    behind.blocked_at = 0;
                }
                self.turn(slot);
            }
            Note::Gone => {
                // There is nobody whom anything could be told.
                remote.drain();
                self.close(slot, CloseReason::Gone);
            }
            Note::Moved(socket, unread, permit) => {
                let connection = &mut self.connections[slot];
                connection.permit = match (connection.permit.take(), permit) {
                    (Some(own), Some(permit)) => Some(permit.join(own)),
                    (own, permit) => own.or(permit),
                };
                self.move_to(slot, remote, socket, &unread);
            }
            Note::Broken => self.end(slot, &frame::text(b"1"), CloseReason::Protocol),
        }
    }

    /// The connection goes on over a socket of the lane.
    fn move_to(&mut self, slot: usize, remote: &Arc<Remote>, socket: std::net::TcpStream, unread: &[u8]) {
        let mut socket = mio::net::TcpStream::from_std(socket);
        if self.poll.registry().register(&mut socket, mio::Token(slot), READINESS).is_err() {
            return self.close(slot, CloseReason::Gone);
        }
        let (owed, _) = remote.drain();
        remote.close();
        let (position, offset) = self.standing(slot);
        self.go_to(slot, position, offset);
        let connection = &mut self.connections[slot];
        connection.socket = Socket::Own(socket);
        if let Some(behind) = &mut connection.behind {
            // What was written to the old end and not fetched there comes before what it still owes.
            behind.rest = [&owed[..], &behind.rest[..]].concat().into();
            behind.blocked_at = 0;
        }
        let timer = self.timer(slot);
        self.turn(slot);
        if self.find(timer).is_some() {
            self.hear_bytes(slot, unread);
        }
    }

    fn hear(&mut self, slot: usize, message: Message) {
        match message {
            Message::Text(text) => self.hear_text(slot, &text),
            Message::Ping(payload) => {
                if self.count_message(slot, payload.len()) {
                    self.say(slot, &frame::pong(&payload));
                }
            }
            Message::Pong(payload) => {
                if self.count_message(slot, payload.len())
                    && let Some(session) = &mut self.connections[slot].session
                    && matches!(session.voice, Voice::Tidings)
                {
                    session.unanswered_since = 0;
                }
            }
            Message::Binary(payload) if self.is_unheard(slot) => {
                // An attachment of an event that nobody listens to.
                self.count_message(slot, payload.len());
            }
            Message::Binary(_) => self.break_off(slot, 1003, "binary messages are not understood here"),
            Message::Close { code, .. } => {
                // RFC 6455 §5.5.1: answered with the same code.
                let answer = frame::close(code.unwrap_or(1000), "");
                self.end(slot, &answer, CloseReason::Gone);
            }
        }
    }

    /// Whether nobody listens to what this Socket.IO client emits: then it may also emit what would not be understood.
    pub(super) fn is_unheard(&self, slot: usize) -> bool {
        let stream = self.stream(slot);
        stream.codec == Codec::SocketIo && !stream.settings.commands
    }

    /// Whether this message is within what a connection may send; else the connection is ended.
    fn count_message(&mut self, slot: usize, bytes: usize) -> bool {
        let (now, rate) = (self.now, self.hub.limits().messages_per_second);
        self.counters.heard.fetch_add(1, Ordering::Relaxed);
        let Some(session) = &mut self.connections[slot].session else { return false };
        if session.spend(now, rate, bytes) {
            return true;
        }
        self.break_off(slot, 1008, "too many messages in too short a time");
        false
    }

    pub(super) fn hear_text(&mut self, slot: usize, text: &str) {
        if !self.count_message(slot, text.len()) {
            return;
        }
        let stream = self.stream(slot).clone();
        match stream.codec {
            Codec::SocketIo => self.hear_packet(slot, text),
            Codec::WebSocket if let Some(dialect) = &stream.settings.dialect => self.hear_said(slot, text, dialect),
            Codec::WebSocket | Codec::Sse => {
                if !text.trim_start().starts_with('{') {
                    return self.break_off(slot, 1007, "a message is a JSON object");
                }
                self.request(slot, None, text, &stream, Asker::Message);
            }
        }
    }

    /// Ends a connection whose client breaks the rules, with the code that says which (RFC 6455 §7.4.1).
    pub(super) fn break_off(&mut self, slot: usize, code: u16, reason: &str) {
        tracing::debug!(code, reason, "a client broke the protocol");
        if let Some(index) = BREAKS.iter().position(|known| *known == code) {
            self.counters.broken[index].fetch_add(1, Ordering::Relaxed);
        }
        self.end(self.whole(slot), &frame::close(code, reason), CloseReason::Protocol);
    }

    /// What a connection needs beside a stream's heartbeat. False if it was ended.
    pub(super) fn look_at_session(&mut self, slot: usize) -> bool {
        let (now, stall) = (self.now, self.stall());
        let patience = self.hub.limits().request_timeout.as_millis() as u64;
        let stream = self.stream(slot).clone();
        let connection = &mut self.connections[slot];
        let Some(session) = &mut connection.session else { return true };
        if session.incomplete_since > 0 && session.incomplete_since + patience <= now {
            self.break_off(slot, 1008, "a message was begun and not ended");
            return false;
        }
        if (1..=now).contains(&session.begin_by) {
            self.begin_telling(slot);
            if self.connections.get(slot).is_none_or(|connection| !connection.is_open()) {
                return false;
            }
        }
        let Some(session) = &self.connections[slot].session else { return true };
        match &session.voice {
            Voice::SocketIo(_) => self.look_at_speaker(slot, &stream),
            Voice::Tidings => {
                if session.unanswered_since > 0 && session.unanswered_since + stall <= now {
                    self.close(slot, CloseReason::Gone);
                    return false;
                }
                true
            }
        }
    }

    /// When a connection is next to be looked at, in ticks of the clock.
    pub(super) fn session_due(&self, session: &Session, stream: &Stream) -> u64 {
        let mut due = u64::MAX;
        if session.incomplete_since > 0 {
            due = session.incomplete_since + self.hub.limits().request_timeout.as_millis() as u64;
        }
        if session.unanswered_since > 0 {
            let patience = match session.voice {
                Voice::Tidings => self.stall(),
                Voice::SocketIo(_) => stream.settings.socketio.ping_timeout.as_millis() as u64,
            };
            due = due.min(session.unanswered_since + patience);
        }
        if session.begin_by > 0 {
            due = due.min(session.begin_by);
        }
        if let Voice::SocketIo(speaker) = &session.voice {
            due = due.min(speaker.due(session.pinged_at, stream));
        }
        due
    }
}
