//! Subscriptions that come and go while a connection is open.
//!
//! A connection is one place in the log, with one interest: what any of its subscriptions asks for. Who asks for the past of something
//! reads it on a detour: from there, with that interest alone, up to the connection's own place, and then on from there with all.

use std::sync::Arc;

use bytes::BytesMut;
use tidings::{CloseReason, Entry, Filter, Interest, Offset, Start};

use super::connection::{AFTER_GOODBYE, Behind, Position};
use super::thread::Lane;
use crate::problem::Problem;
use crate::session::{Asker, Detour, Subscription, Voice};
use crate::watch;
use crate::websocket::message;

/// The name of what a Socket.IO client asked for when it connected.
const CONNECT: &str = "connect";

impl Lane {
    /// Where the connection reads on, and the offset there.
    pub(super) fn standing(&self, slot: usize) -> (Position, Offset) {
        match &self.connections[slot].behind {
            None => (Position::Window(self.place), self.offset),
            Some(behind) => (behind.position, behind.offset),
        }
    }

    /// Changes what the connection is interested in, at the place where it is.
    pub(super) fn change_interest(&mut self, slot: usize, filter: Filter) {
        if !self.connections[slot].is_open() {
            // What was said to it just before has found its client gone.
            return;
        }
        let stream = self.stream(slot).clone();
        let interest = Interest { filter, grants: self.connections[slot].principal.grants.clone() };
        self.leave_class(slot);
        self.enter_class(slot, interest, stream);
        let connection = &mut self.connections[slot];
        if let (Some(session), Some(class)) = (&mut connection.session, self.registry.get(connection.class as usize))
            && let [only] = &mut session.subscriptions[..]
            && only.filter == class.interest.filter
        {
            // Thousands that ask for the same hold it once.
            only.filter = class.interest.filter.clone();
        }
        let Some(behind) = &mut self.connections[slot].behind else { return };
        if behind.page.is_some() || behind.reading != 0 {
            // What was or is being read for the old interest may lack what the new one wants: it is read anew.
            (behind.page, behind.reading) = (None, 0);
            self.again.push(self.timer(slot));
        }
    }

    /// Sends the connection elsewhere in the log. What it owes goes first.
    pub(super) fn go_to(&mut self, slot: usize, position: Position, offset: Offset) {
        let connection = &mut self.connections[slot];
        if !connection.is_open() {
            return;
        }
        match &mut connection.behind {
            Some(behind) => {
                (behind.position, behind.offset) = (position, offset);
                if behind.page.is_some() || behind.reading != 0 {
                    (behind.page, behind.reading) = (None, 0);
                    self.again.push(self.timer(slot));
                }
            }
            None => {
                connection.behind = Some(Behind::at(position, offset, Default::default()));
                self.counters.behind.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        }
    }

    /// Takes a subscription, or one in the place of another with its name. `ends` are those of the jobs that it names.
    pub(super) fn subscribe(
        &mut self,
        slot: usize,
        id: &str,
        filter: Filter,
        cursor: Option<&str>,
        ends: &[Arc<Entry>],
        asker: Asker,
    ) -> Result<(), Problem> {
        let start = cursor.map(|cursor| self.hub.start(Some(cursor)));
        // The log may be known further than this lane has come.
        while start.as_ref().is_some_and(|start| start.after > self.offset) && self.place != self.hub.window().end() {
            self.advance();
        }
        if !self.connections[slot].is_open() {
            return Ok(());
        }
        self.name_what_it_hears(slot);
        let Some(session) = self.connections[slot].session.as_mut() else { return Ok(()) };
        let mut wanted: Vec<Subscription> =
            session.subscriptions.iter().filter(|subscription| *subscription.id != *id).cloned().collect();
        wanted.push(Subscription { id: id.into(), filter: filter.clone() });
        let limits = self.hub.limits();
        let size = |filter: &Filter| {
            filter.topics.as_ref().map_or(1, |topics| topics.len())
                + filter.names.as_ref().map_or(0, |names| names.len())
        };
        let topics: usize = wanted.iter().map(|one| size(&one.filter)).sum();
        if wanted.len() > limits.subscriptions || topics > limits.filter_topics {
            let detail = format!(
                "a connection has at most {} subscriptions with {} topics and names together; use patterns like library/*",
                limits.subscriptions, limits.filter_topics
            );
            return Err(Problem::new(http::StatusCode::BAD_REQUEST, "too-many-subscriptions", detail)
                .with("limit", limits.subscriptions));
        }
        let before = Filter::any_of(wanted[..wanted.len() - 1].iter().map(|one| one.filter.clone()));
        session.subscriptions = wanted.into();
        let all = session.filter();
        let home = self.standing(slot);
        let start = start.unwrap_or(Start { after: home.1, place: None, gap: None });
        let (from, gap) = (start.after, start.gap.as_ref());
        let subscribed = |hub: &tidings::Hub, live| message::subscribed(id, hub.cursor(from), live, gap);
        let grants = self.connections[slot].principal.grants.clone();
        let interest = Interest { filter: filter.clone(), grants: grants.clone() };
        let retained = watch::present(&self.hub, &interest, from, ends);
        let retained = self.stream(slot).retained(id, &retained, self.hub.cursor(home.1), &grants);
        if from == home.1 {
            let text = subscribed(&self.hub, true);
            self.answer(slot, asker, &text);
            self.say(slot, &retained);
            self.change_interest(slot, all);
        } else if from < home.1 {
            // Its past first, alone; then on from where the connection is.
            let text = subscribed(&self.hub, false);
            let told = self.message(slot, "tidings.live", &message::live(id, self.hub.cursor(home.1)));
            self.answer(slot, asker, &text);
            self.say(slot, &retained);
            self.detour(slot, Detour { until: home.1, home, filter: all, is_forward: false, told, end: None });
            self.change_interest(slot, filter);
            self.go_to(slot, Position::Log(from), from);
        } else {
            // The connection is behind, and has to come to where this begins without it.
            let mut told = BytesMut::new();
            let text = subscribed(&self.hub, true);
            told.extend_from_slice(&self.answer_frame(slot, asker, &text));
            told.extend_from_slice(&retained);
            let there = (Position::Log(from), from);
            let told = told.freeze();
            self.detour(slot, Detour { until: from, home: there, filter: all, is_forward: true, told, end: None });
            self.change_interest(slot, before);
            self.go_to(slot, home.0, home.1);
        }
        if self.connections[slot].is_open() {
            self.turn(slot);
        }
        Ok(())
    }

    pub(super) fn detour(&mut self, slot: usize, detour: Detour) {
        if let Some(session) = &mut self.connections[slot].session {
            session.detour = Some(Box::new(detour));
        }
    }

    /// The connection has come to the end of its detour, and goes on where it was.
    pub(super) fn end_detour(&mut self, slot: usize) {
        let Some(session) = &mut self.connections[slot].session else { return };
        let Some(detour) = session.detour.take() else { return };
        let Detour { home: (position, offset), filter, told, end, .. } = *detour;
        self.change_interest(slot, filter);
        self.go_to(slot, position, offset);
        self.append(slot, &told);
        if let Some(end) = end {
            self.connections[slot].ends_after(&end);
        }
        self.hear_on_later(slot);
    }

    /// A Socket.IO client that subscribes to something goes on hearing what it asked for when it connected: under a name, by which it can
    /// end that too.
    fn name_what_it_hears(&mut self, slot: usize) {
        let connection = &mut self.connections[slot];
        let Some(session) = &mut connection.session else { return };
        if matches!(session.voice, Voice::SocketIo(_)) && session.subscriptions.is_empty() {
            let class = self.registry.get(connection.class as usize).expect("a class lives as long as its members");
            let filter = class.interest.filter.clone();
            if filter != Filter::nothing() {
                session.subscriptions = Box::new([Subscription { id: CONNECT.into(), filter }]);
            }
        }
    }

    /// Ends a subscription.
    pub(super) fn unsubscribe(&mut self, slot: usize, id: &str) {
        self.name_what_it_hears(slot);
        let Some(session) = &mut self.connections[slot].session else { return };
        let before = session.subscriptions.len();
        let left = session.subscriptions.iter().filter(|subscription| *subscription.id != *id);
        session.subscriptions = left.cloned().collect();
        if session.subscriptions.len() < before {
            let all = session.filter();
            self.change_interest(slot, all);
        }
    }

    /// Adds to what the connection owes, which is written when it has its turn.
    pub(super) fn append(&mut self, slot: usize, bytes: &[u8]) {
        let Some(connection) = self.connections.get_mut(slot).filter(|connection| connection.is_open()) else { return };
        if let Some(behind) = &mut connection.behind {
            behind.answers.extend_from_slice(bytes);
        }
    }

    /// Adds to what was not written of its first frame, so that both leave in one write.
    pub(super) fn append_rest(&mut self, slot: usize, bytes: &[u8]) {
        if let Some(behind) = &mut self.connections[slot].behind {
            behind.rest = [&behind.rest[..], bytes].concat().into();
        }
    }

    /// Says something of its own to a client, at the border of two frames.
    pub(super) fn say(&mut self, slot: usize, bytes: &[u8]) {
        let Some(connection) = self.connections.get_mut(slot).filter(|connection| connection.is_open()) else { return };
        if bytes.is_empty() || connection.ends_at == AFTER_GOODBYE {
            return;
        }
        match &connection.behind {
            None => {
                self.write_control(slot, &bytes::Bytes::copy_from_slice(bytes));
            }
            Some(behind) if behind.answers.len() > self.hub.limits().turn_bytes => {
                // It asks and asks, and reads none of the answers.
                self.say_goodbye(slot, CloseReason::Stalled, None);
            }
            Some(_) => self.append(slot, bytes),
        }
    }
}
