//! What a connection that goes both ways has beside a stream's place in the log.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use tidings::{Entry, Filter, Offset, Principal};

use crate::door::{Admitted, Door, Handshake};
use crate::lane::Position;
use crate::socketio::engine::Version;
use crate::socketio::sid;
use crate::stream::Stream;
use crate::websocket::frame::Decoder;

/// So many bytes of a message count for another message.
const LARGE: usize = 16 << 10;

/// One connection that goes both ways. Idle, it holds no buffer.
#[derive(Debug)]
pub struct Session {
    pub(crate) door: Arc<Door>,
    /// What its client is told comes on this stream.
    pub(crate) stream: Arc<Stream>,
    pub(crate) peer: IpAddr,
    pub(crate) voice: Voice,
    pub(crate) decoder: Decoder,
    /// What came while an answer had to be waited for.
    pub(crate) waiting: Option<Box<Waiting>>,
    /// Whether an answer has to be waited for before what came next is heard.
    pub(crate) busy: bool,
    /// What its client subscribed to by requests. With none, a Socket.IO client hears what it asked for when it connected.
    pub(crate) subscriptions: Box<[Subscription]>,
    /// What is read before the connection goes on where it was.
    pub(crate) detour: Option<Box<Detour>>,
    /// When as many messages as came would have been in time, in microseconds of the clock: how far that lies ahead is how many too
    /// many there are.
    pub(crate) spent_until: u64,
    /// When the last ping went out, in ticks of the clock (ms).
    pub(crate) pinged_at: u64,
    /// Since when a ping is unanswered; 0 if none is.
    pub(crate) unanswered_since: u64,
    /// Since when a message is incomplete; 0 if none is.
    pub(crate) incomplete_since: u64,
    /// Until when what is to be told waits for the client, in ticks of the clock; 0 if it does not.
    pub(crate) begin_by: u64,
    /// What its request asked for.
    pub(crate) asked: Option<Box<(Filter, Option<String>)>>,
    /// The job that it is about, if it is about one.
    pub(crate) about: Option<Box<About>>,
}

/// The job that a connection is about.
#[derive(Debug)]
pub(crate) struct About {
    /// Its topic.
    pub(crate) topic: String,
    /// Who asked, without what they may see only because they could name the job.
    pub(crate) who: Arc<Principal>,
    /// The event of its end, once that is known.
    pub(crate) end: Option<Arc<Entry>>,
    /// The place in the log before its first item, where its items are told: also those from before the client was ready.
    pub(crate) items_after: Option<Offset>,
}

/// How it speaks.
#[derive(Debug)]
pub(crate) enum Voice {
    /// Our own messages.
    Tidings,
    /// Socket.IO.
    SocketIo(Box<Speaker>),
}

/// A Socket.IO client, in one namespace.
#[derive(Debug)]
pub(crate) struct Speaker {
    pub(crate) version: Version,
    /// The session of its transport; emptied once it was told.
    pub(crate) sid: String,
    pub(crate) stage: Stage,
    /// Until when it has to be in, in ticks of the clock.
    pub(crate) deadline: u64,
    /// How often it was turned away.
    pub(crate) failures: u8,
    /// Those of its other namespaces: which, and its slot and generation.
    pub(crate) others: Vec<(usize, u32, u32)>,
    /// What it asks anybody by; kept until nobody can have to be asked any more.
    pub(crate) handshake: Option<Box<Handshake>>,
    /// Who was let in by the handshake already.
    pub(crate) admitted: Option<Box<Admitted>>,
    /// Whether it is one of a connection's other namespaces.
    pub(crate) is_other: bool,
}

/// How far a client has come in its namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It is in no namespace.
    Outside,
    /// Somebody is being asked.
    Asking,
    /// It is connected.
    Inside,
}

/// What came while an answer had to be waited for.
#[derive(Default)]
pub(crate) struct Waiting {
    /// Bytes that are not decoded yet.
    pub(crate) bytes: Vec<u8>,
    /// Messages that came whole.
    pub(crate) messages: VecDeque<String>,
    /// Requests that came on a detour: what they are, where the message does not say, the message, and who waits for the answer.
    pub(crate) requests: VecDeque<(Option<String>, String, Asker)>,
}

/// Who waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    /// A client of our own protocol, by a message.
    Message,
    /// A Socket.IO client, by an acknowledgement with this number if it wants one.
    Acknowledgement(Option<u64>),
}

/// One subscription of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    pub(crate) id: Box<str>,
    pub(crate) filter: Filter,
}

/// A connection is one place in the log. Who asks for the past of something reads it on a detour from there and back.
#[derive(Debug)]
pub(crate) struct Detour {
    /// Up to where it goes.
    pub(crate) until: Offset,
    /// Where the connection goes on then, and the offset there.
    pub(crate) home: (Position, Offset),
    /// What it asks for from then on.
    pub(crate) filter: Filter,
    /// Whether the signals on the way are for it: it is the connection's own way, not the past.
    pub(crate) is_forward: bool,
    /// What the client is told then.
    pub(crate) told: bytes::Bytes,
    /// The end of its job, if that is told then.
    pub(crate) end: Option<Arc<Entry>>,
}

impl std::fmt::Debug for Waiting {
    /// Without what was said: a credential may stand there.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").field("messages", &self.messages.len()).finish_non_exhaustive()
    }
}

impl Waiting {
    /// How many bytes that is, about.
    pub(crate) fn weight(&self) -> usize {
        let messages: usize = self.messages.iter().map(|text| text.len() + 32).sum();
        let requests: usize = self.requests.iter().map(|(_, text, _)| text.len() + 64).sum();
        self.bytes.len() + messages + requests
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.messages.is_empty() && self.requests.is_empty()
    }

    /// Adds what came after it.
    pub(crate) fn append(&mut self, mut later: Waiting) {
        self.bytes.append(&mut later.bytes);
        self.messages.append(&mut later.messages);
        self.requests.append(&mut later.requests);
    }
}

impl Session {
    fn new(door: Arc<Door>, stream: Arc<Stream>, peer: IpAddr, voice: Voice) -> Box<Self> {
        Box::new(Session {
            door,
            stream,
            peer,
            voice,
            decoder: Decoder::default(),
            waiting: None,
            busy: false,
            subscriptions: Box::default(),
            detour: None,
            spent_until: 0,
            pinged_at: 0,
            unanswered_since: 0,
            incomplete_since: 0,
            begin_by: 0,
            asked: None,
            about: None,
        })
    }

    /// One that speaks our own messages.
    pub(crate) fn tidings(door: Arc<Door>, peer: IpAddr) -> Box<Self> {
        let stream = door.mount.stream.clone();
        Session::new(door, stream, peer, Voice::Tidings)
    }

    /// One that speaks Socket.IO and has not connected to a namespace yet.
    pub(crate) fn socketio(
        door: Arc<Door>,
        version: Version,
        handshake: Handshake,
        admitted: Option<Admitted>,
    ) -> Box<Self> {
        let stream = door.mount.stream.clone();
        let peer = handshake.peer;
        let speaker = Speaker {
            version,
            sid: sid::random(),
            stage: Stage::Outside,
            deadline: 0,
            failures: 0,
            others: Vec::new(),
            handshake: Some(Box::new(handshake)),
            admitted: admitted.map(Box::new),
            is_other: false,
        };
        Session::new(door, stream, peer, Voice::SocketIo(Box::new(speaker)))
    }

    /// The same client in another namespace, whose events come on `stream`.
    pub(crate) fn other(&self, speaker: &Speaker, stream: Arc<Stream>, deadline: u64) -> Box<Self> {
        let other = Speaker {
            version: speaker.version,
            sid: String::new(),
            stage: Stage::Outside,
            deadline,
            failures: 0,
            others: Vec::new(),
            handshake: speaker.handshake.clone(),
            admitted: None,
            is_other: true,
        };
        Session::new(self.door.clone(), stream, self.peer, Voice::SocketIo(Box::new(other)))
    }

    /// Who speaks Socket.IO here.
    pub(crate) fn speaker(&mut self) -> Option<&mut Speaker> {
        match &mut self.voice {
            Voice::SocketIo(speaker) => Some(speaker),
            Voice::Tidings => None,
        }
    }

    /// Whether it is known who it is.
    pub(crate) fn is_known(&self) -> bool {
        match &self.voice {
            Voice::Tidings => true,
            Voice::SocketIo(speaker) => speaker.stage == Stage::Inside || !speaker.others.is_empty(),
        }
    }

    /// What all its subscriptions ask for.
    pub(crate) fn filter(&self) -> Filter {
        Filter::any_of(self.subscriptions.iter().map(|subscription| subscription.filter.clone()))
    }

    /// Whether one more message of `bytes` at `now` (ms) is within `rate` a second, of which as many as come in two seconds may come
    /// at once. A large one counts for several: it takes as long to read.
    pub(crate) fn spend(&mut self, now: u64, rate: usize, bytes: usize) -> bool {
        let (now, each) = (now * 1_000, 1_000_000 / rate.max(1) as u64);
        let count = 1 + (bytes / LARGE) as u64;
        self.spent_until = self.spent_until.max(now).saturating_add(each.saturating_mul(count));
        self.spent_until - now <= 2_000_000
    }

    pub(crate) fn waiting(&mut self) -> &mut Waiting {
        self.waiting.get_or_insert_default()
    }
}
