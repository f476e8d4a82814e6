//! Connections on which an app's own messages are spoken, about one job.

use std::sync::Arc;

use serde_json::{Map, Value};
use tidings::{CloseReason, Entry, Filter, FormFacts, Interest, Offset, Timestamp, TopicPattern, job};

use super::connection::Position;
use super::requests::Outcome;
use super::thread::Lane;
use crate::problem::Problem;
use crate::session::{About, Detour};
use crate::stream::Dialect;
use crate::watch::{self, AfterGap};
use crate::websocket::frame;

impl Lane {
    /// Tells the job's items so far, where they are told, its state, and from here on what comes. `filter` is what is told of it.
    fn tell_job(&mut self, slot: usize, filter: Filter) {
        let home = self.standing(slot);
        let from = home.1;
        let stream = self.stream(slot).clone();
        let interest = Interest { filter, grants: self.connections[slot].principal.grants.clone() };
        let end = self.about(slot).map_or(&[][..], |about| about.end.as_slice());
        let state = watch::present(&self.hub, &interest, from, end);
        let told = stream.retained("", &state, self.hub.cursor(from), &interest.grants);
        let end = state.into_iter().find(|entry| stream.ends_with(entry));
        let filter = interest.filter;
        match self.about(slot).and_then(|about| about.items_after).filter(|after| *after < from) {
            None => {
                self.say(slot, &told);
                self.change_interest(slot, filter);
                if let Some(end) = end {
                    self.end_after(slot, end);
                }
            }
            // They are in the log, as many as there are, and are read from it like any past: as fast as the socket takes them.
            Some(after) => {
                let items = filter.clone().names([job::ITEM_EVENT.into()]);
                self.detour(slot, Detour { until: from, home, filter, is_forward: false, told: told.freeze(), end });
                self.change_interest(slot, items);
                self.go_to(slot, Position::Log(after), after);
                if self.connections[slot].is_open() {
                    self.turn(slot);
                }
            }
        }
    }

    /// Ends the connection once it has all that was said to it, which was the end of what it is about.
    fn end_after(&mut self, slot: usize, end: Arc<Entry>) {
        let Some(connection) = self.connections.get_mut(slot).filter(|connection| connection.is_open()) else { return };
        match &connection.behind {
            Some(_) => connection.ends_after(&end),
            None => self.finish(slot, Some(end)),
        }
    }

    fn about(&self, slot: usize) -> Option<&About> {
        self.connections.get(slot)?.session.as_ref()?.about.as_deref()
    }

    /// A connection of one job that has just been told that it has ended, which is one of `ends`, ends with that.
    pub(super) fn end_if_told(&mut self, slot: usize, ends: &[Arc<Entry>]) {
        if self.about(slot).is_none() || !self.connections[slot].is_open() {
            return;
        }
        let (_, from) = self.standing(slot);
        // One that comes later in the log is read on to.
        if let Some(end) = ends.iter().find(|end| end.event.offset <= from) {
            self.end_after(slot, end.clone());
        }
    }

    /// Tells the job's state to one that goes on from `resume` behind a gap, in which its end may have been. False if nobody has it at hand,
    /// and the connection was ended: who comes back is given it from the store.
    pub(super) fn tell_job_after_gap(&mut self, slot: usize, resume: Offset) -> bool {
        let connection = &self.connections[slot];
        let class = self.registry.get(connection.class as usize).expect("a class lives as long as its members");
        let stream = self.stream(slot);
        match watch::after_gap(&self.hub, stream, &class.interest, resume) {
            AfterGap::Unknown => {
                self.say_goodbye(slot, CloseReason::Unavailable, None);
                false
            }
            AfterGap::State(told, end) => {
                self.append_rest(slot, &told);
                if let Some(end) = end {
                    self.connections[slot].ends_after(&end);
                }
                true
            }
        }
    }

    /// The client said that it is ready, or did not say so for long enough.
    pub(super) fn begin_telling(&mut self, slot: usize) {
        let Some(session) = &mut self.connections[slot].session else { return };
        session.begin_by = 0;
        if session.asked.is_none() {
            return;
        }
        let topic = session.about.as_ref().filter(|about| about.end.is_none()).map(|about| about.topic.clone());
        if let Some(topic) = topic
            && self.job_state(slot).is_none()
        {
            // It has ended meanwhile, and memory had no room for that.
            let Some(session) = &self.connections[slot].session else { return };
            let door = session.door.clone();
            return self.ask(slot, async move { Outcome::Ended(door.end(&topic).await) });
        }
        self.tell_asked(slot);
    }

    fn tell_asked(&mut self, slot: usize) {
        let Some(session) = &mut self.connections[slot].session else { return };
        if let Some((filter, _)) = session.asked.take().map(|asked| *asked) {
            self.tell_job(slot, filter);
        }
    }

    /// The store says whether the job has ended.
    pub(super) fn take_end(&mut self, slot: usize, end: Result<Option<Arc<Entry>>, Problem>) {
        match end {
            Ok(end) => {
                if let Some(about) = self.connections[slot].session.as_mut().and_then(|session| session.about.as_mut())
                {
                    about.end = end;
                }
                self.tell_asked(slot);
            }
            Err(problem) => {
                tracing::warn!(code = problem.code, "the state of a job can't be told");
                self.say_goodbye(slot, CloseReason::Unavailable, None);
            }
        }
    }

    /// Takes what a client says in the app's own words.
    pub(super) fn hear_said(&mut self, slot: usize, text: &str, dialect: &Dialect) {
        if self.connections[slot].ends_at > 0 {
            // The end was told: nothing comes after it.
            return;
        }
        let said: Option<Map<String, Value>> = serde_json::from_str(text).ok();
        let word = said.as_ref().and_then(|said| said.get(&dialect.member)).and_then(Value::as_str);
        let named = said.as_ref().zip(dialect.job.as_ref()).and_then(|(said, member)| said.get(member));
        let is_own = named.is_none_or(|named| named.is_null() || self.is_about(slot, named));
        let Some(heard) = word.and_then(|word| dialect.hears.get(word)).filter(|_| is_own) else {
            if dialect.strict {
                self.break_off(slot, 1002, "this message is not understood here");
            }
            return;
        };
        if let Some(form) = &heard.answer {
            let state = self.job_state(slot);
            let time = Timestamp(self.hub.clock().now().0);
            let stream = self.stream(slot);
            let answer = match &state {
                Some(state) => form.render(&FormFacts { time, ..stream.facts(state) }),
                None => form.render(&FormFacts { time, ..FormFacts::default() }),
            };
            self.say(slot, &frame::text(&answer));
        }
        if self.connections.get(slot).is_none_or(|connection| !connection.is_open()) {
            return;
        }
        if heard.begins {
            self.begin_telling(slot);
        }
        if heard.cancels {
            self.cancel_job(slot);
        }
    }

    /// Whether this is the id of the job that the connection is about.
    fn is_about(&self, slot: usize, named: &Value) -> bool {
        let id = self.about(slot).and_then(|about| about.topic.rsplit('/').next());
        id.is_some_and(|id| named.as_str() == Some(id))
    }

    fn cancel_job(&mut self, slot: usize) {
        let Some(connection) = self.connections.get(slot).filter(|connection| connection.is_open()) else { return };
        let Some(session) = &connection.session else { return };
        let Some(about) = &session.about else { return };
        let (door, who, topic) = (session.door.clone(), about.who.clone(), about.topic.clone());
        self.ask(slot, async move {
            if let Err(problem) = door.cancel(&who, &topic).await {
                tracing::debug!(code = problem.code, "a job was not canceled over its connection");
            }
            Outcome::Canceled
        });
    }

    /// The newest state of the job that the connection is about, whatever the mount tells of it.
    pub(super) fn job_state(&self, slot: usize) -> Option<Arc<Entry>> {
        let connection = self.connections.get(slot)?;
        let grants = connection.principal.grants.clone();
        let filter = match self.about(slot) {
            Some(About { end: Some(end), .. }) => return Some(end.clone()),
            Some(about) => Filter::topics([about.topic.parse::<TopicPattern>().ok()?]),
            None => self.registry.get(connection.class as usize)?.interest.filter.clone(),
        };
        watch::newest(&self.hub, &Interest { filter, grants })
    }
}
