//! Several namespaces of Socket.IO on one connection. Each but the first is a connection of its own to the lane, with its own principal,
//! place and interest, whose bytes are passed on over the one they share.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tidings::{CloseReason, Filter, Interest, Principal};

use super::End;
use super::connection::{Behind, Position};
use super::remote::Remote;
use super::socket::Socket;
use super::thread::Lane;
use crate::limiter::Permit;
use crate::session::{Stage, Voice};
use crate::socketio::packet::Packet;
use crate::stream::Stream;

/// How many bytes of its namespaces a connection that is behind may owe beside its own.
const SAID_AHEAD: usize = 64 << 10;

impl Lane {
    /// The client has left its namespace; its connection stays for others, or for a while.
    pub(super) fn leave_namespace(&mut self, slot: usize) {
        let (now, patience) = (self.now, self.hub.limits().header_timeout.as_millis() as u64);
        let Some(session) = &mut self.connections[slot].session else { return };
        session.subscriptions = Box::default();
        session.detour = None;
        if let Some(waiting) = &mut session.waiting {
            waiting.requests.clear();
        }
        let Some(speaker) = session.speaker() else { return };
        speaker.stage = Stage::Outside;
        speaker.deadline = now + patience;
        if speaker.is_other {
            return self.close(slot, CloseReason::Gone);
        }
        // Whoever it was, it is not them that the connection waits for now.
        let connection = &mut self.connections[slot];
        connection.principal = Arc::new(Principal::new("", Default::default(), "anonymous"));
        if let Some(permit) = &mut connection.permit {
            permit.release_principal();
        }
        self.change_interest(slot, Filter::nothing());
        self.set_timer(slot);
    }

    /// The client wants into another namespace of the same connection.
    pub(super) fn open_other(&mut self, slot: usize, index: usize, packet: &Packet<'_>, main: &Stream) {
        let Some(stream) = main.siblings.get(index - 1).cloned() else { return };
        let deadline = self.now + self.hub.limits().header_timeout.as_millis() as u64;
        let Some(session) = &self.connections[slot].session else { return };
        let Voice::SocketIo(speaker) = &session.voice else { return };
        if speaker.others.iter().any(|(other, ..)| *other == index) {
            return;
        }
        let session = session.other(speaker, stream.clone(), deadline);
        let Some(limiter) = self.connections[slot].permit.as_ref().map(Permit::none_of_same) else { return };
        let remote = Remote::within(self.shared.clone(), slot as u32, self.speaking.clone());
        let behind = Behind::at(Position::Window(self.place), self.offset, Bytes::new());
        let nobody = Interest { filter: Filter::nothing(), grants: Default::default() };
        let principal = Arc::new(Principal::new("", Default::default(), "anonymous"));
        self.counters.opened.fetch_add(1, Ordering::Relaxed);
        let other = self.place_in(End::Remote(remote), nobody, stream, behind, principal, limiter, Some(session));
        let Some(other) = other else { return };
        let timer = self.timer(other);
        let parent = self.connections[slot].session.as_mut().and_then(|session| session.speaker());
        if let Some(parent) = parent {
            parent.others.push((index, timer.slot, timer.generation));
        }
        self.set_timer(other);
        self.turn(other);
        self.knock(other, packet.data);
    }

    /// Ends the other namespaces of a connection that has ended, and takes one that has ended off the list of its connection.
    pub(super) fn close_others(&mut self, slot: usize, reason: CloseReason) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        let parent = match &connection.socket {
            Socket::Remote(remote) => remote.parent(),
            Socket::Own(_) | Socket::None => None,
        };
        let others = match connection.session.as_mut().and_then(|session| session.speaker()) {
            Some(speaker) => std::mem::take(&mut speaker.others),
            None => Vec::new(),
        };
        for (_, other, _) in others {
            self.close(other as usize, reason);
        }
        let Some(parent) = parent else { return };
        // Its last words are passed on before it is forgotten.
        self.pass_on();
        let session = self.connections.get_mut(parent as usize).and_then(|parent| parent.session.as_mut());
        if let Some(speaker) = session.and_then(|session| session.speaker()) {
            speaker.others.retain(|(_, other, _)| *other as usize != slot);
        }
    }

    /// The connection that this one is a namespace of, or itself.
    pub(super) fn whole(&self, slot: usize) -> usize {
        match &self.connections[slot].socket {
            Socket::Remote(remote) => remote.parent().map_or(slot, |parent| parent as usize),
            Socket::Own(_) | Socket::None => slot,
        }
    }

    /// Passes on what namespaces have to say on the connection that they share.
    pub(super) fn pass_on(&mut self) {
        let speaking = std::mem::take(&mut *self.speaking.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
        for slot in speaking {
            let Some(Socket::Remote(remote)) = self.connections.get(slot as usize).map(|other| &other.socket) else {
                continue;
            };
            let (remote, Some(parent)) = (remote.clone(), remote.parent()) else { continue };
            let Some(connection) = self.connections.get(parent as usize).filter(|parent| parent.is_open()) else {
                continue;
            };
            let waits = connection.behind.as_ref().is_some_and(|behind| behind.answers.len() >= SAID_AHEAD);
            if waits && !remote.is_closed() {
                // It has to take what was said on it before.
                self.speaking.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(slot);
                continue;
            }
            let (bytes, blocked) = remote.drain();
            self.say(parent as usize, &bytes);
            if blocked && self.connections.get(slot as usize).is_some_and(|other| other.is_open()) {
                self.again.push(self.timer(slot as usize));
            }
        }
    }

    /// One of several namespaces that share a connection parts alone from a client that is to stay away, and takes the connection along
    /// for one that is to come back: stock clients do so only when their transport ends. False if there is nothing to part from.
    pub(super) fn parts_alone(&mut self, slot: usize, reason: CloseReason, retry: Option<Duration>) -> bool {
        let parent = match &self.connections[slot].socket {
            Socket::Remote(remote) => remote.parent(),
            Socket::Own(_) | Socket::None => None,
        };
        match (parent, reason.come_back()) {
            (Some(parent), true) => {
                self.say_goodbye(parent as usize, reason, retry);
                true
            }
            (Some(_), false) => false,
            (None, true) => false,
            (None, false) => {
                let session = self.connections[slot].session.as_mut();
                let shares = session.and_then(|session| session.speaker()).is_some_and(|main| !main.others.is_empty());
                if shares {
                    let gone = self.stream(slot).parting(reason);
                    self.say(slot, &gone);
                    if self.connections[slot].is_open() {
                        self.leave_namespace(slot);
                    }
                }
                shares
            }
        }
    }
}
