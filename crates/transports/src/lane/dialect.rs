//! Connections on which an app's own messages are spoken, about one job.

use serde_json::{Map, Value};
use tidings::{Filter, FormFacts, Offset, Timestamp};

use super::connection::AFTER_ALL;
use super::requests::Outcome;
use super::thread::Lane;
use crate::stream::Dialect;
use crate::websocket::frame;

impl Lane {
    /// Tells the job's state, and from here on what comes. `from` is its filter.
    pub(super) fn tell_job(&mut self, slot: usize, filter: Filter) {
        let (_, from) = self.standing(slot);
        let stream = self.stream(slot).clone();
        let grants = self.connections[slot].principal.grants.clone();
        let interest = tidings::Interest { filter, grants };
        let state = self.hub.retained(&interest, from);
        let told = stream.retained("", &state, self.hub.cursor(from), &interest.grants);
        let has_ended = state.iter().any(|entry| stream.ends_with(entry));
        self.say(slot, &told);
        self.change_interest(slot, interest.filter);
        let Some(connection) = self.connections.get_mut(slot).filter(|connection| connection.is_open()) else { return };
        if !has_ended {
            return;
        }
        match connection.behind {
            Some(_) => connection.ends_at = AFTER_ALL,
            None => self.finish(slot),
        }
    }

    /// The client said that it is ready, or did not say so for long enough.
    pub(super) fn begin_telling(&mut self, slot: usize) {
        let Some(session) = &mut self.connections[slot].session else { return };
        session.begin_by = 0;
        if let Some((filter, _)) = session.asked.take().map(|asked| *asked) {
            self.tell_job(slot, filter);
        }
    }

    /// Takes what a client says in the app's own words.
    pub(super) fn hear_said(&mut self, slot: usize, text: &str, dialect: &Dialect) {
        let said: Option<Map<String, Value>> = serde_json::from_str(text).ok();
        let word = said.as_ref().and_then(|said| said.get(&dialect.member)).and_then(Value::as_str);
        let Some(heard) = word.and_then(|word| dialect.hears.get(word)) else {
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

    fn cancel_job(&mut self, slot: usize) {
        let Some(state) = self.job_state(slot) else { return };
        let Some(connection) = self.connections.get(slot).filter(|connection| connection.is_open()) else { return };
        let Some(session) = &connection.session else { return };
        let (door, principal) = (session.door.clone(), connection.principal.clone());
        let topic = state.event.topic.clone();
        self.ask(slot, async move {
            if let Err(problem) = door.cancel(&principal, topic.as_str()).await {
                tracing::debug!(code = problem.code, "a job was not canceled over its connection");
            }
            Outcome::Canceled
        });
    }

    /// The newest state of the job that the connection is about.
    pub(super) fn job_state(&self, slot: usize) -> Option<std::sync::Arc<tidings::Entry>> {
        let connection = self.connections.get(slot)?;
        let asked = connection.session.as_ref().and_then(|session| session.asked.as_ref());
        let class = self.registry.get(connection.class as usize)?;
        let filter = asked.map_or_else(|| class.interest.filter.clone(), |asked| asked.0.clone());
        let grants = connection.principal.grants.clone();
        // Whatever the mount tells of it.
        let filter = Filter::topics(filter.topics.iter().flat_map(|topics| topics.iter().cloned()));
        self.hub.retained(&tidings::Interest { filter, grants }, Offset(u64::MAX)).pop()
    }
}
