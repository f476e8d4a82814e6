//! One socket of a lane.

use std::sync::Arc;

use bytes::Bytes;
use tidings::history::LogPage;
use tidings::{Entry, Offset, Place, Principal};

use super::socket::Socket;
use crate::limiter::Permit;
use crate::session::{Session, Stage, Voice};
use crate::stream::Codec;

/// One socket. Idle, it is this and nothing else: no task, no buffer, no timer of its own.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) socket: Socket,
    /// How often its slot was used before: a message to an earlier connection is not for this one.
    pub(super) generation: u32,
    /// Its class in the lane's registry.
    pub(super) class: u32,
    /// Its place among the members of the class.
    pub(super) member: u32,
    /// When it was placed, in tenths of a second of the clock: coarse, so that it fits beside the others.
    pub(super) opened: u32,
    /// When something was last written, in ticks of the clock (ms): silence since then makes a heartbeat due. Where heartbeats come
    /// always, when one was.
    pub(super) written_at: u64,
    /// When an event was last written: heartbeats do not count as updates.
    pub(super) updated_at: u64,
    /// The last position that the client was told.
    pub(super) told: Offset,
    /// When that was, in ticks of the clock.
    pub(super) told_at: u64,
    /// On which tick of the wheel it is next looked at; 0 if on none. A timer that comes up on a later one is stale.
    pub(super) timer_tick: u64,
    /// When it ends because what it was about has, in ticks of the clock: 0 if it has not, [`AFTER_ALL`] once all of it is written,
    /// [`AFTER_GOODBYE`] once it is told that it ends.
    pub(super) ends_at: u64,
    pub(super) principal: Arc<Principal>,
    /// `None` while it is caught up: then the lane's own place is its place.
    pub(super) behind: Option<Box<Behind>>,
    /// What it has beside if it goes both ways.
    pub(super) session: Option<Box<Session>>,
    /// Counted among the connections until it is dropped. `None` for a moment while it is exchanged.
    pub(super) permit: Option<Permit>,
}

/// What a socket needs that is not caught up: its place in the log, and its place within a frame.
#[derive(Debug)]
pub(super) struct Behind {
    /// Where to read on.
    pub(super) position: Position,
    /// Everything up to here was written, but for `rest`.
    pub(super) offset: Offset,
    /// What is left of a frame that was written in part, or a control frame that waits.
    pub(super) rest: Bytes,
    /// What is to be said after that, and before what is read on.
    pub(super) answers: Vec<u8>,
    /// The page it reads, while it is writing it. Given back when the socket blocks.
    pub(super) page: Option<Arc<LogPage>>,
    /// Which page was asked for and is on its way; 0 if none is.
    pub(super) reading: u32,
    /// Since when the socket takes nothing, in ticks of the clock; 0 if it does.
    pub(super) blocked_at: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Position {
    /// In the window.
    Window(Place),
    /// In the log, behind the window.
    Log(Offset),
}

/// A tenth of a second in ticks of the clock: the unit of [`Connection::opened`].
pub(super) const TENTH: u64 = 100;

/// Stands in [`Connection::ends_at`] while the end is on its way to the socket.
pub(super) const AFTER_ALL: u64 = u64::MAX;

/// Stands there while the last words are on their way to it.
pub(super) const AFTER_GOODBYE: u64 = u64::MAX - 1;

/// Stands in [`Connection::member`] once it is closed, until its slot is freed.
pub(super) const GONE: u32 = u32::MAX;

impl Connection {
    /// Whether it is not closed yet.
    pub(super) fn is_open(&self) -> bool {
        self.member != GONE
    }

    /// Whether silence on it is broken by the stream's heartbeat. Socket.IO has pings of its own, silent or not.
    pub(super) fn beats(&self) -> bool {
        self.session.as_ref().is_none_or(|session| matches!(session.voice, Voice::Tidings))
    }

    /// Whether it hears anything: its position is of use.
    pub(super) fn hears(&self) -> bool {
        match self.session.as_ref().map(|session| &session.voice) {
            None => true,
            Some(Voice::Tidings) => self.session.as_ref().is_some_and(|session| !session.subscriptions.is_empty()),
            Some(Voice::SocketIo(speaker)) => speaker.stage == Stage::Inside,
        }
    }

    /// How it is held, for people who look.
    pub(super) fn transport(&self, codec: Codec) -> &'static str {
        match (codec, &self.socket) {
            (Codec::Sse, _) => "sse",
            (Codec::WebSocket, _) => "websocket",
            (Codec::SocketIo, Socket::Remote(remote)) if remote.is_polled() => "socketio-polling",
            (Codec::SocketIo, _) => "socketio",
        }
    }

    /// What it was about has ended, with this event: nothing comes after what it owes now.
    pub(super) fn ends_after(&mut self, end: &Arc<Entry>) {
        self.ends_at = AFTER_ALL;
        if let Some(about) = self.session.as_mut().and_then(|session| session.about.as_mut()) {
            about.end = Some(end.clone());
        }
    }

    /// Whether nothing is read on for it any more: it is only given what it owes.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.ends_at, AFTER_ALL | AFTER_GOODBYE)
    }

    /// Remembers that the client was told its position.
    pub(super) fn tell(&mut self, position: Offset, now: u64) {
        self.told = self.told.max(position);
        self.told_at = now;
    }
}

impl Behind {
    pub(super) fn at(position: Position, offset: Offset, rest: Bytes) -> Box<Self> {
        Box::new(Behind { position, offset, rest, answers: Vec::new(), page: None, reading: 0, blocked_at: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hundred thousand idle sockets are a hundred thousand of these.
    #[test]
    fn when_a_connection_was_opened_takes_no_room_of_its_own() {
        struct Without {
            _words: [u64; 6],
            _numbers: [u32; 3],
            _socket: Socket,
            _principal: Arc<Principal>,
            _behind: Option<Box<Behind>>,
            _session: Option<Box<Session>>,
            _permit: Option<Permit>,
        }
        assert_eq!(size_of::<Connection>(), size_of::<Without>());
    }
}
