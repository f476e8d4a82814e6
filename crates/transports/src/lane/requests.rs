//! What clients ask for on connections that go both ways, and how they are answered.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use tidings::{BrokerError, CloseReason, Entry, Filter};

use super::Message;
use super::socketio::Knock;
use super::thread::Lane;
use super::wheel::Timer;
use crate::command::{self, Command};
use crate::door::Admitted;
use crate::problem::Problem;
use crate::recall::Recalled;
use crate::session::Asker;
use crate::socketio::packet;
use crate::stream::{Codec, Stream};
use crate::websocket::{frame, message};

/// What came of something that took its time.
pub(super) enum Outcome {
    /// It was never answered.
    Lost,
    /// Of a Socket.IO client that wants to connect.
    Connect(Result<Admitted, Problem>, Box<Knock>),
    /// Of a subscription whose cursor was ahead of this replica.
    Arrived(Result<(), BrokerError>, Box<Subscribing>, Asker),
    /// Of a subscription that names jobs which nobody had at hand.
    Recalled(Result<Recalled, Problem>, Box<Subscribing>, Asker),
    /// Of a publish; the answer to one who wants it is made of it.
    Published(Result<String, Problem>, Option<String>, Asker),
    /// Of a job that was to be canceled: what came of it, its events tell.
    Canceled,
    /// The end of a job that nobody had at hand, if it has ended.
    Ended(Result<Option<Arc<Entry>>, Problem>),
    /// Of a new credential.
    Authenticated(Result<Admitted, Problem>, Option<String>, Asker),
}

/// What a client wants to hear, and from where.
pub(super) struct Subscribing {
    id: String,
    filter: Filter,
    cursor: Option<String>,
    /// What is known of the jobs that it names.
    recalled: Recalled,
}

impl Lane {
    /// Takes a request of a client.
    pub(super) fn request(&mut self, slot: usize, kind: Option<&str>, text: &str, stream: &Stream, asker: Asker) {
        // On a stream of one job there is nothing else to hear.
        if !stream.settings.commands || stream.settings.job.is_some() {
            let detail = "this path takes no requests: it only tells";
            let problem = Problem::new(http::StatusCode::FORBIDDEN, "no-requests", detail);
            return self.answer(slot, asker, &message::error(None, &problem));
        }
        let most = self.hub.limits().message_bytes;
        let Some(session) = &mut self.connections[slot].session else { return };
        let waits = session.waiting.as_ref().is_some_and(|waiting| !waiting.requests.is_empty());
        if session.detour.is_some() || session.busy || waits {
            // It is about the place where the connection will be then; or one of several namespaces on a connection waits for an answer.
            // What came on a detour that has just ended comes first.
            let waiting = session.waiting();
            if waiting.weight() + text.len() > most {
                return self.break_off(slot, 1008, "too many requests while the past is told");
            }
            waiting.requests.push_back((kind.map(str::to_owned), text.to_owned(), asker));
            return;
        }
        match command::parse(kind, text, stream, self.hub.limits()) {
            Ok(command) => self.obey(slot, command, asker),
            Err(refused) => self.answer(slot, asker, &message::error(refused.id.as_deref(), &refused.problem)),
        }
    }

    fn obey(&mut self, slot: usize, command: Command, asker: Asker) {
        match command {
            Command::Subscribe { id, filter, cursor } => {
                let subscribing = Subscribing { id, filter, cursor, recalled: Recalled::default() };
                if !subscribing.cursor.as_deref().is_some_and(|cursor| self.hub.is_ahead(cursor)) {
                    return self.obey_subscribe(slot, subscribing, asker);
                }
                let (hub, subscribing) = (self.hub.clone(), Box::new(subscribing));
                self.ask(slot, async move {
                    let arrived = hub.arrive(subscribing.cursor.as_deref()).await;
                    Outcome::Arrived(arrived, subscribing, asker)
                });
            }
            Command::Unsubscribe { id } => {
                self.unsubscribe(slot, &id);
                self.answer(slot, asker, &message::unsubscribed(&id));
            }
            Command::Publish { id, events } => {
                let connection = &self.connections[slot];
                let Some(session) = &connection.session else { return };
                let (door, principal) = (session.door.clone(), connection.principal.clone());
                // Those revoked until then are not here any more.
                let since = self.moment;
                self.ask(
                    slot,
                    async move { Outcome::Published(door.publish(principal, since, &events).await, id, asker) },
                );
            }
            Command::Authenticate { id, payload } => {
                let connection = &self.connections[slot];
                let Some(session) = &connection.session else { return };
                let (door, principal, peer) = (session.door.clone(), connection.principal.clone(), session.peer);
                self.ask(slot, async move {
                    Outcome::Authenticated(door.readmit(&principal, peer, &payload).await, id, asker)
                });
            }
            Command::Ping { id } => self.answer(slot, asker, &message::pong(id.as_deref())),
        }
    }

    /// Takes what a connection's own request asks for.
    pub(super) fn begin_with(&mut self, slot: usize, filter: Filter, cursor: Option<String>) {
        let about = self.connections[slot].session.as_ref().and_then(|session| session.about.as_ref());
        let recalled = match about.map(|about| (about.topic.parse().ok(), about.end.clone())) {
            Some((topic, Some(end))) => Recalled::of(topic, Some(end)),
            _ => Recalled::default(),
        };
        let subscribing = Subscribing { id: "query".into(), filter, cursor, recalled };
        self.obey_subscribe(slot, subscribing, Asker::Message);
    }

    fn obey_subscribe(&mut self, slot: usize, mut subscribing: Subscribing, asker: Asker) {
        let missing = subscribing.recalled.missing(&self.hub, &subscribing.filter);
        let connection = &self.connections[slot];
        if let (false, Some(session)) = (missing.is_empty(), &connection.session) {
            let (door, grants) = (session.door.clone(), connection.principal.grants.clone());
            let (recalled, subscribing) = (std::mem::take(&mut subscribing.recalled), Box::new(subscribing));
            return self.ask(slot, async move {
                Outcome::Recalled(door.recall(recalled, missing, &grants).await, subscribing, asker)
            });
        }
        let Subscribing { id, filter, cursor, recalled } = subscribing;
        if let Err(problem) = self.subscribe(slot, &id, filter, cursor.as_deref(), recalled.ends(), asker) {
            self.answer(slot, asker, &message::error(Some(&id), &problem));
        }
        self.end_if_told(slot, recalled.ends());
    }

    /// Waits for something that takes its time before the next message is heard.
    pub(super) fn ask(&mut self, slot: usize, question: impl Future<Output = Outcome> + Send + 'static) {
        let (timer, shared) = (self.timer(slot), self.shared.clone());
        if let Some(session) = &mut self.connections[slot].session {
            session.busy = true;
        }
        self.runtime.spawn(async move {
            // One who waits for ever for an answer would be worse than a fault that is told.
            let outcome = AssertUnwindSafe(question).catch_unwind().await.unwrap_or(Outcome::Lost);
            shared.send(Message::Done(timer, Box::new(outcome)));
        });
    }

    pub(super) fn take_outcome(&mut self, timer: Timer, outcome: Outcome) {
        if self.find(timer).is_none() {
            return;
        }
        let slot = timer.slot as usize;
        if let Some(session) = &mut self.connections[slot].session {
            session.busy = false;
        }
        match outcome {
            Outcome::Connect(result, knock) => self.take_connect(slot, result, *knock),
            Outcome::Arrived(Ok(()), subscribing, asker) => self.obey_subscribe(slot, *subscribing, asker),
            // Where another replica can be reached, the client is told all from its cursor on there.
            Outcome::Arrived(Err(_), ..) => self.say_goodbye(slot, CloseReason::Unavailable, None),
            Outcome::Recalled(Ok(recalled), subscribing, asker) => {
                self.obey_subscribe(slot, Subscribing { recalled, ..*subscribing }, asker);
            }
            Outcome::Recalled(Err(problem), subscribing, asker) => {
                self.answer(slot, asker, &message::error(Some(&subscribing.id), &problem));
            }
            Outcome::Published(Ok(answer), id, asker) => {
                if id.is_some() || asker != Asker::Message {
                    self.answer(slot, asker, &message::published(id.as_deref(), &answer));
                }
            }
            Outcome::Published(Err(problem), id, asker) | Outcome::Authenticated(Err(problem), id, asker) => {
                self.answer(slot, asker, &message::error(id.as_deref(), &problem));
            }
            Outcome::Authenticated(Ok(admitted), id, asker) => self.take_credential(slot, admitted, id, asker),
            Outcome::Canceled => {}
            Outcome::Ended(end) => self.take_end(slot, end),
            Outcome::Lost => {
                tracing::error!("a question for a connection ended in a panic");
                self.say_goodbye(slot, CloseReason::Unavailable, None);
            }
        }
        // One answer may have led to another question.
        if self.find(timer).is_some() && !self.waits(slot) {
            self.hear_on(slot);
        }
    }

    /// The same principal goes on with a new credential: what it sees from here on is what that one grants.
    fn take_credential(&mut self, slot: usize, admitted: Admitted, id: Option<String>, asker: Asker) {
        let Admitted { principal, since, .. } = admitted;
        if let Some(reason) = self.hub.closed_since(since, &principal) {
            return self.say_goodbye(slot, reason, None);
        }
        let expires = principal.expires_at;
        if principal.is_expired(self.hub.clock().now()) {
            return self.say_goodbye(slot, CloseReason::Expired, None);
        }
        let connection = &mut self.connections[slot];
        connection.principal = principal;
        let class = self.registry.get(connection.class as usize).expect("a class lives as long as its members");
        let filter = class.interest.filter.clone();
        self.change_interest(slot, filter);
        self.answer(slot, asker, &message::authenticated(id.as_deref(), expires));
        if self.connections[slot].is_open() {
            self.set_timer(slot);
        }
    }

    /// An answer as it goes out, if anybody waits for it.
    pub(super) fn answer_frame(&self, slot: usize, asker: Asker, text: &str) -> Bytes {
        match asker {
            Asker::Message => frame::text(text.as_bytes()),
            Asker::Acknowledgement(Some(id)) => {
                frame::text(packet::ack(&self.stream(slot).namespace, id, &[text]).as_bytes())
            }
            Asker::Acknowledgement(None) => Bytes::new(),
        }
    }

    pub(super) fn answer(&mut self, slot: usize, asker: Asker, text: &str) {
        let bytes = self.answer_frame(slot, asker, text);
        self.say(slot, &bytes);
    }

    /// Something that we say unasked: a message, or for Socket.IO an event of this name.
    pub(super) fn message(&self, slot: usize, event: &str, text: &str) -> Bytes {
        let stream = self.stream(slot);
        match stream.codec {
            Codec::SocketIo => frame::text(packet::event(&stream.namespace, event, &[text]).as_bytes()),
            Codec::WebSocket | Codec::Sse => frame::text(text.as_bytes()),
        }
    }
}
