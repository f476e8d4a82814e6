//! Socket.IO clients on a lane: how they connect, what they say, how they stay and go.

use bytes::{Bytes, BytesMut};
use serde_json::{Map, Value};
use tidings::{CloseReason, Filter, Start};

use super::connection::Position;
use super::requests::Outcome;
use super::socket::Socket;
use super::thread::Lane;
use crate::command;
use crate::door::{Admitted, Handshake};
use crate::events::cut_off;
use crate::problem::Problem;
use crate::query;
use crate::recall::Recalled;
use crate::session::{Asker, Speaker, Stage};
use crate::socketio::engine::{self, Kind, Version};
use crate::socketio::packet::{self, Packet, PacketKind};
use crate::socketio::sid;
use crate::stream::{Rejection, Stream};
use crate::watch;
use crate::websocket::frame;

/// How often a connection may be turned away: each time somebody was asked.
const MAX_FAILURES: u8 = 5;

/// What a Socket.IO client says that wants to connect, and what was found out for it.
#[derive(Default)]
pub(super) struct Knock {
    payload: Option<Map<String, Value>>,
    /// Where it begins, once that is known.
    start: Option<Start>,
    /// What is known of the jobs that it names.
    recalled: Recalled,
}

impl Speaker {
    /// The first packet: what the transport is like.
    pub(super) fn open(&self, stream: &Stream, polls: bool, max_payload: usize) -> Bytes {
        if self.is_other {
            return Bytes::new();
        }
        let settings = &stream.settings.socketio;
        let upgrades: &[&str] = if polls && settings.websocket { &["websocket"] } else { &[] };
        let (interval, timeout) = (settings.ping_interval, settings.ping_timeout);
        let open = engine::open(self.version, &self.sid, upgrades, interval, timeout, max_payload);
        frame::text(open.as_bytes())
    }

    /// Whether the client expects to be connected without a word.
    pub(super) fn connects_unasked(&self) -> bool {
        self.version == Version::V3 && !self.is_other
    }

    /// When something is next due, in ticks of the clock.
    pub(super) fn due(&self, pinged_at: u64, stream: &Stream) -> u64 {
        let settings = &stream.settings.socketio;
        let (interval, timeout) = (settings.ping_interval.as_millis() as u64, settings.ping_timeout.as_millis() as u64);
        let ping = match (self.is_other, self.version) {
            (true, _) => u64::MAX,
            (false, Version::V4) => pinged_at + interval,
            (false, Version::V3) => pinged_at + interval + timeout,
        };
        match self.stage {
            Stage::Outside if self.others.is_empty() => ping.min(self.deadline),
            Stage::Outside | Stage::Asking | Stage::Inside => ping,
        }
    }
}

impl Lane {
    /// Hears one Engine.IO packet.
    pub(super) fn hear_packet(&mut self, slot: usize, text: &str) {
        let (kind, data) = match engine::parse(text) {
            Ok(packet) => packet,
            Err(engine::Malformed::Binary) if self.is_unheard(slot) => return,
            Err(engine::Malformed::Binary) => {
                return self.break_off(slot, 1003, "binary packets are not understood here");
            }
            Err(error) => return self.break_off(slot, 1002, &error.to_string()),
        };
        let now = self.now;
        let Some(session) = &mut self.connections[slot].session else { return };
        let Some(version) = session.speaker().map(|speaker| speaker.version) else { return };
        match (kind, version) {
            (Kind::Message, _) => self.hear_message(slot, data),
            (Kind::Pong, Version::V4) => session.unanswered_since = 0,
            (Kind::Ping, Version::V3) => {
                session.pinged_at = now;
                self.say(slot, &frame::text(format!("3{data}").as_bytes()));
                if self.connections[slot].is_open() {
                    self.set_timer(slot);
                }
            }
            // A poll that waits is let go.
            (Kind::Close, _) => self.end(slot, &frame::text(b"6"), CloseReason::Gone),
            (Kind::Ping | Kind::Pong, _) => self.break_off(slot, 1002, "the heartbeat goes the other way"),
            (Kind::Noop, _) => {}
            (Kind::Open | Kind::Upgrade, _) => self.break_off(slot, 1002, "an unexpected packet"),
        }
    }

    fn hear_message(&mut self, slot: usize, text: &str) {
        let packet = match packet::parse(text) {
            Ok(packet) => packet,
            Err(packet::Malformed::Binary) if self.is_unheard(slot) => return,
            Err(packet::Malformed::Binary) => {
                return self.break_off(slot, 1003, "binary events are not understood here");
            }
            Err(error) => return self.break_off(slot, 1002, &error.to_string()),
        };
        let main = self.stream(slot).clone();
        let index = if packet.namespace == main.namespace {
            Some(0)
        } else {
            main.siblings.iter().position(|sibling| sibling.namespace == packet.namespace).map(|index| index + 1)
        };
        let Some(session) = &mut self.connections[slot].session else { return };
        let Some(speaker) = session.speaker() else { return };
        match (packet.kind, index) {
            (PacketKind::Connect, None) => {
                let refusal = packet::connect_error(speaker.version, packet.namespace, "Invalid namespace");
                self.say(slot, &frame::text(refusal.as_bytes()));
            }
            (PacketKind::Connect, Some(0)) => self.knock(slot, packet.data),
            (PacketKind::Connect, Some(index)) => self.open_other(slot, index, &packet, &main),
            (_, None) => self.break_off(slot, 1002, "a packet for a namespace that it is not connected to"),
            (_, Some(0)) => self.hear_inside(slot, &packet),
            (_, Some(index)) => match speaker.others.iter().find(|(other, ..)| *other == index) {
                Some(&(_, other, _)) => self.hear_inside(other as usize, &packet),
                None => self.break_off(slot, 1002, "a packet for a namespace that it is not connected to"),
            },
        }
    }

    /// A packet for a namespace that the client should be in.
    fn hear_inside(&mut self, slot: usize, packet: &Packet<'_>) {
        let Some(session) = &mut self.connections[slot].session else { return };
        let Some(speaker) = session.speaker() else { return };
        if packet.kind == PacketKind::Disconnect {
            return self.leave_namespace(slot);
        }
        if speaker.stage != Stage::Inside {
            // A client of the older generation is connected unasked, and may speak before it is.
            let patient = speaker.stage == Stage::Asking;
            if !patient {
                self.break_off(slot, 1002, "a packet for a namespace that it is not connected to");
            }
            return;
        }
        if packet.kind != PacketKind::Event {
            return;
        }
        let Ok(event) = packet::parse_event(packet.data) else {
            return self.break_off(slot, 1002, "not an event");
        };
        let stream = self.stream(slot).clone();
        if !stream.settings.commands || !command::NAMES.contains(&event.name.as_ref()) {
            // Nobody listens to what clients of this app emit.
            return;
        }
        let text = event.args.first().map_or("{}", |argument| argument.get());
        self.request(slot, Some(event.name.as_ref()), text, &stream, Asker::Acknowledgement(packet.ack));
    }

    /// A client wants in, with what it says of itself.
    pub(super) fn knock(&mut self, slot: usize, payload: &str) {
        let Some(session) = &mut self.connections[slot].session else { return };
        let Some(speaker) = session.speaker() else { return };
        if speaker.stage != Stage::Outside {
            // It is in already, or about to be.
            return;
        }
        let payload: Option<Map<String, Value>> = match payload {
            "" => None,
            payload => match serde_json::from_str(payload) {
                Ok(payload) => Some(payload),
                // It is JSON, but nested deeper than is read: what it says of itself can't be passed over.
                Err(_) => return self.break_off(self.whole(slot), 1002, "not a CONNECT packet"),
            },
        };
        self.ask_who(slot, payload);
    }

    /// Finds out who it is.
    pub(super) fn ask_who(&mut self, slot: usize, payload: Option<Map<String, Value>>) {
        let Some(session) = &mut self.connections[slot].session else { return };
        let door = session.door.clone();
        let Some(speaker) = session.speaker() else { return };
        if let Some(admitted) = speaker.admitted.take() {
            speaker.stage = Stage::Asking;
            let asked = asked_cursor(payload.as_ref(), speaker.handshake.as_deref());
            if !asked.as_deref().is_some_and(|asked| self.hub.is_ahead(asked)) {
                return self.take_connect(slot, Ok(*admitted), Knock { payload, ..Knock::default() });
            }
            let hub = self.hub.clone();
            return self.ask(slot, async move {
                let arrived = hub.arrive(asked.as_deref()).await;
                let knock = Box::new(Knock { payload, ..Knock::default() });
                Outcome::Connect(arrived.map(|()| *admitted).map_err(|_| cut_off()), knock)
            });
        }
        let Some(handshake) = speaker.handshake.clone() else {
            // It was in, and has left: what it shook hands with is not kept for that. A client whose transport ends comes back.
            let goodbye = frame::close(1000, "connect anew");
            return self.end(self.whole(slot), &goodbye, CloseReason::Gone);
        };
        speaker.stage = Stage::Asking;
        let hub = self.hub.clone();
        self.ask(slot, async move {
            let asked = asked_cursor(payload.as_ref(), Some(&handshake));
            let mut result = door.admit(&handshake, payload.as_ref()).await;
            if result.is_ok() && hub.arrive(asked.as_deref()).await.is_err() {
                result = Err(cut_off());
            }
            Outcome::Connect(result, Box::new(Knock { payload, ..Knock::default() }))
        });
    }

    /// It is known who it is, or that they may not come in.
    pub(super) fn take_connect(&mut self, slot: usize, result: Result<Admitted, Problem>, mut knock: Knock) {
        let stream = self.stream(slot).clone();
        let asked = result.and_then(|admitted| {
            let filter = self.asked_filter(slot, &stream, knock.payload.as_ref())?;
            Ok((admitted, filter))
        });
        let (admitted, filter) = match asked {
            Ok(asked) => asked,
            Err(problem) => return self.turn_away(slot, &problem, &stream),
        };
        let Some(session) = &mut self.connections[slot].session else { return };
        let door = session.door.clone();
        let handshake = session.speaker().and_then(|speaker| speaker.handshake.as_deref());
        // Before the jobs are looked at: what becomes of them from here on is read on from there.
        let start = match knock.start.take() {
            Some(start) => start,
            None => self.hub.start(asked_cursor(knock.payload.as_ref(), handshake).as_deref()),
        };
        let missing = knock.recalled.missing(&self.hub, &filter);
        if missing.is_empty() {
            return self.let_in(slot, admitted, filter, start, &knock, &stream);
        }
        self.ask(slot, async move {
            let recalled = std::mem::take(&mut knock.recalled);
            let result = door.recall(recalled, missing, &admitted.principal.grants).await;
            let result = result.map(|recalled| {
                (knock.recalled, knock.start) = (recalled, Some(start));
                admitted
            });
            Outcome::Connect(result, Box::new(knock))
        });
    }

    /// What a client asks for, by its CONNECT packet or else by the query of its handshake.
    fn asked_filter(
        &mut self,
        slot: usize,
        stream: &Stream,
        payload: Option<&Map<String, Value>>,
    ) -> Result<Filter, Problem> {
        let list = |name: &str| -> Option<Vec<String>> {
            match payload?.get(name)? {
                Value::Array(list) => Some(list.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()),
                // As in a query.
                Value::String(list) => Some(list.split(',').map(|item| item.trim().to_owned()).collect()),
                _ => None,
            }
        };
        let (topics, names) = (list("topics"), list("names"));
        if topics.is_some() || names.is_some() {
            return command::filter(stream, topics.as_deref(), names.as_deref(), self.hub.limits());
        }
        let most = self.hub.limits().filter_topics;
        let session = self.connections[slot].session.as_mut();
        match session.and_then(|session| session.speaker()?.handshake.as_ref()) {
            Some(handshake) => query::filter(stream, &handshake.uri, most),
            None => command::filter(stream, None, None, self.hub.limits()),
        }
    }

    fn let_in(
        &mut self,
        slot: usize,
        admitted: Admitted,
        filter: Filter,
        start: Start,
        knock: &Knock,
        stream: &Stream,
    ) {
        let Admitted { principal, since, permit } = admitted;
        let payload = knock.payload.as_ref();
        let text = |name: &str| payload.and_then(|payload| payload.get(name)?.as_str());
        let keeps_handshake = !stream.siblings.is_empty();
        let expired = principal.is_expired(self.hub.clock().now()).then_some(CloseReason::Expired);
        // Looked up before it is told that it is in: what is published from then on comes before the end by a later revocation, which
        // finds it in place.
        match expired.or_else(|| self.hub.closed_since(since, &principal)) {
            None => {}
            Some(reason) if reason.come_back() => {
                let goodbye = frame::close(1000, reason.name());
                return self.end(self.whole(slot), &goodbye, reason);
            }
            Some(reason) => {
                let problem = Problem::unauthorized(Some("invalid_token"), reason.sentence());
                return self.turn_away(slot, &problem, stream);
            }
        }
        let connection = &mut self.connections[slot];
        connection.permit = connection.permit.take().map(|own| own.join(permit));
        connection.principal = principal.clone();
        let Some(session) = &mut self.connections[slot].session else { return };
        let Some(speaker) = session.speaker() else { return };
        let asked = asked_cursor(payload, speaker.handshake.as_deref());
        let before = text("pid").filter(|pid| sid::is_wellformed(pid)).map(str::to_owned);
        let (sid, pid) = match stream.settings.ids && speaker.version == Version::V4 {
            true => {
                // Who returns with its place, and has missed nothing, is who it was. Its public id follows from the private one, so that
                // this holds after a restart too.
                let recovered = before.filter(|_| asked.is_some() && start.gap.is_none());
                let pid = recovered.unwrap_or_else(sid::random);
                (sid::of(&pid), Some(pid))
            }
            // Not that of the transport, whose requests anybody who knows it can send.
            false => (sid::random(), None),
        };
        speaker.stage = Stage::Inside;
        let is_other = speaker.is_other;
        let connected = packet::connected(speaker.version, &stream.namespace, &sid, pid.as_deref());
        if !keeps_handshake {
            speaker.handshake = None;
        }
        let cursor = self.hub.cursor(start.after);
        let interest = tidings::Interest { filter: filter.clone(), grants: principal.grants.clone() };
        let retained = watch::present(&self.hub, &interest, start.after, knock.recalled.ends());
        let mut hello = BytesMut::new();
        frame::put_text(&mut hello, connected.as_bytes());
        // Before anything else: who was cut off after a greeting would else resume behind a gap that it never saw.
        if let Some(gap) = &start.gap {
            hello.extend_from_slice(&stream.gap(gap));
        }
        hello.extend_from_slice(&stream.greetings(&principal, cursor));
        hello.extend_from_slice(&stream.opening(cursor, None, &retained, &principal.grants));
        self.say(slot, &hello);
        let connection = &mut self.connections[slot];
        if !connection.is_open() {
            return;
        }
        (connection.told, connection.told_at, connection.updated_at) = (start.after, self.now, self.now);
        if let (Socket::Remote(remote), false) = (&connection.socket, is_other) {
            remote.set_known();
        }
        self.change_interest(slot, filter);
        let position = start.place.map_or(Position::Log(start.after), Position::Window);
        self.go_to(slot, position, start.after);
        self.set_timer(slot);
        self.turn(slot);
    }

    /// Refuses somebody in the form that the mount has for it.
    fn turn_away(&mut self, slot: usize, problem: &Problem, stream: &Stream) {
        if problem.status == http::StatusCode::SERVICE_UNAVAILABLE {
            // Nobody can say who it is just now: a client whose transport ends comes back by itself.
            let goodbye = frame::close(1013, "try again later");
            return self.end(self.whole(slot), &goodbye, CloseReason::Unavailable);
        }
        let Some(session) = &mut self.connections[slot].session else { return };
        let Some(speaker) = session.speaker() else { return };
        speaker.stage = Stage::Outside;
        let (version, is_other) = (speaker.version, speaker.is_other);
        // Counted for the whole connection: what a namespace knows ends with it, and its next attempt begins anew.
        let whole = self.whole(slot);
        let session = self.connections.get_mut(whole).and_then(|main| main.session.as_mut());
        let Some(main) = session.and_then(|session| session.speaker()) else { return };
        main.failures += 1;
        if main.failures > MAX_FAILURES {
            return self.break_off(whole, 1008, "turned away too often");
        }
        let connected = packet::connected(version, &stream.namespace, &sid::random(), None);
        let gone = packet::disconnect(&stream.namespace);
        let packets = match &stream.settings.socketio.reject {
            Rejection::Http | Rejection::ConnectError => {
                vec![packet::connect_error(version, &stream.namespace, &problem.detail)]
            }
            Rejection::Event(name, data) => {
                vec![connected, packet::event(&stream.namespace, name, &[data.as_str()]), gone]
            }
            Rejection::Disconnect => vec![connected, gone],
        };
        let mut bytes = BytesMut::new();
        for packet in packets {
            frame::put_text(&mut bytes, packet.as_bytes());
        }
        match is_other {
            true => self.end(slot, &bytes, CloseReason::Refused),
            false => {
                self.say(slot, &bytes);
                if self.connections[slot].is_open() {
                    self.set_timer(slot);
                }
            }
        }
    }

    /// The last words of a stream that ends.
    pub(super) fn goodbye(&mut self, slot: usize, reason: CloseReason, retry: Option<std::time::Duration>) -> Bytes {
        let stream = self.stream(slot).clone();
        let session = self.connections[slot].session.as_mut();
        match session.and_then(|session| session.speaker()) {
            // It shares its connection, which goes on.
            Some(speaker) if speaker.is_other => stream.parting(reason).freeze(),
            Some(speaker) if speaker.stage != Stage::Inside => frame::close(1000, reason.name()),
            _ => {
                let state = stream.settings.job.as_ref().and_then(|_| self.job_state(slot));
                stream.closing(reason, retry, state.as_deref()).freeze()
            }
        }
    }

    /// Sends the pings of Engine.IO and waits for theirs. False if the connection was ended.
    pub(super) fn look_at_speaker(&mut self, slot: usize, stream: &Stream) -> bool {
        let now = self.now;
        let (behind, written_at) = (self.connections[slot].behind.is_some(), self.connections[slot].written_at);
        let settings = &stream.settings.socketio;
        let (interval, timeout) = (settings.ping_interval.as_millis() as u64, settings.ping_timeout.as_millis() as u64);
        let Some(session) = &mut self.connections[slot].session else { return true };
        let (pinged_at, unanswered, busy) = (session.pinged_at, session.unanswered_since, session.busy);
        // While it is behind, its answer comes after what it is still taking.
        let since = if behind { unanswered.max(written_at) } else { unanswered };
        let Some(speaker) = session.speaker() else { return true };
        if speaker.stage == Stage::Outside && speaker.deadline <= now && speaker.others.is_empty() {
            self.end(slot, &frame::close(1000, "nobody connected in time"), CloseReason::Gone);
            return false;
        }
        if speaker.is_other {
            return true;
        }
        let dead = match speaker.version {
            // While a request of somebody known is being answered, nothing is read of them.
            Version::V4 => unanswered > 0 && since + timeout <= now && !(busy && speaker.stage == Stage::Inside),
            Version::V3 => pinged_at + interval + timeout <= now,
        };
        if dead {
            if let Socket::Remote(remote) = &self.connections[slot].socket {
                // A client that comes back to it is to hear that its session is over, not what was left of it.
                remote.drain();
                self.close(slot, CloseReason::Gone);
            } else {
                self.end(slot, &frame::close(1000, "ping timeout"), CloseReason::Gone);
            }
            return false;
        }
        if speaker.version == Version::V4 && pinged_at + interval <= now {
            session.pinged_at = now;
            if session.unanswered_since > 0 {
                // One is on its way.
                return true;
            }
            session.unanswered_since = now.max(1);
            let ping = stream.heartbeat.clone();
            match &self.connections[slot].socket {
                // Before what waits to be fetched, which may take longer than a client waits for a ping.
                Socket::Remote(remote) if remote.is_polled() => remote.say_first(&ping),
                _ => self.say(slot, &ping),
            }
            return self.connections[slot].is_open();
        }
        true
    }
}

/// The cursor that a client goes on from, by its CONNECT packet or else by the query of its handshake.
fn asked_cursor(payload: Option<&Map<String, Value>>, handshake: Option<&Handshake>) -> Option<String> {
    let text = |name: &str| payload.and_then(|payload| payload.get(name)?.as_str());
    let asked = text("offset").or_else(|| text("cursor")).filter(|asked| !asked.is_empty());
    asked.map(str::to_owned).or_else(|| query::resume(&handshake?.headers, &handshake?.uri))
}
