//! How one mount's streams behave, whatever the transport, and how what they say looks on it.

mod one_job;
mod settings;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tidings::job;
use tidings::{
    CloseReason, Cursor, Entry, Filter, FormFacts, FrameKey, Gap, Grants, Principal, Profile, Shape, Timestamp,
};

pub use self::one_job::{Dialect, Heard, JobNamed, OneJob};
pub use self::settings::{Cors, Filtering, Greeting, Heartbeat, IdleEnd, Rejection, SocketIoSettings, StreamSettings};
use crate::socketio::{self, packet};
use crate::sse;
use crate::websocket::{frame, message};

/// How frames become bytes, and back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Server-Sent Events.
    Sse,
    /// The messages of `protocol/README.md` §8 in WebSocket frames.
    WebSocket,
    /// Socket.IO packets in WebSocket frames. For long-polling they are taken out of them.
    SocketIo,
}

/// One mount's streams at run time: its settings with what follows from them, and who is on.
#[derive(Debug)]
pub struct Stream {
    /// Its number in this process, by which a lane tells classes of different streams apart.
    pub id: u32,
    /// How it behaves.
    pub settings: StreamSettings,
    /// The app's part it belongs to.
    pub profile: Arc<Profile>,
    /// How its frames become bytes.
    pub codec: Codec,
    /// The namespace of Socket.IO whose events these are.
    pub namespace: String,
    /// The streams of the mount's other namespaces (Socket.IO), or the one whose blocks have the fields of `meta=true` (SSE).
    pub siblings: Vec<Arc<Stream>>,
    /// Whether an SSE block also has the topic and the time.
    meta: bool,
    /// The heartbeat as it goes out, where it is always the same.
    pub heartbeat: Bytes,
    /// How many streams are open now.
    pub open: AtomicU64,
    /// How many were sent away.
    sent_away: AtomicU64,
    /// Those of the settings, with what the profile hides.
    shapes: HashMap<Arc<str>, Shape>,
    encoding: u32,
}

impl Stream {
    /// A stream of Server-Sent Events of `profile` with these settings; long-polls use it too.
    pub fn new(settings: StreamSettings, profile: Arc<Profile>) -> Arc<Self> {
        Stream::with_codec(Codec::Sse, settings, profile)
    }

    /// A stream with this codec.
    pub fn with_codec(codec: Codec, settings: StreamSettings, profile: Arc<Profile>) -> Arc<Self> {
        let mut namespaces = settings.socketio.namespaces.iter();
        let namespace = namespaces.next().cloned().unwrap_or_else(|| "/".to_owned());
        let sibling = |namespace: String, meta| {
            Arc::new(Stream::build(codec, settings.clone(), profile.clone(), namespace, meta, Vec::new()))
        };
        let siblings = match codec {
            Codec::SocketIo => namespaces.map(|other| sibling(other.clone(), false)).collect(),
            Codec::Sse => vec![sibling(namespace.clone(), true)],
            Codec::WebSocket => Vec::new(),
        };
        Arc::new(Stream::build(codec, settings, profile, namespace, false, siblings))
    }

    fn build(
        codec: Codec,
        settings: StreamSettings,
        profile: Arc<Profile>,
        namespace: String,
        meta: bool,
        siblings: Vec<Arc<Stream>>,
    ) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let heartbeat = match (codec, &settings.heartbeat) {
            (Codec::Sse, Heartbeat::Comment(text)) => sse::comment(text),
            (Codec::Sse, Heartbeat::Event { name, data }) => sse::block(name, data.as_bytes(), None),
            (Codec::Sse, Heartbeat::Form { .. }) => Bytes::new(),
            (Codec::WebSocket, _) if settings.dialect.is_some() => frame::ping(b""),
            (Codec::WebSocket, _) => [frame::ping(b""), frame::text(message::HEARTBEAT.as_bytes())].concat().into(),
            (Codec::SocketIo, _) => frame::text(b"2"),
        };
        let shapes = shapes(&settings, &profile);
        // Streams whose events look alike share the frames.
        let own = match codec {
            _ if !shapes.is_empty() || settings.dialect.is_some() => id,
            Codec::SocketIo if namespace != "/" => id,
            // Their topics are in the profile's own words.
            Codec::WebSocket if profile.namespace().is_some() => id,
            Codec::Sse if meta && profile.namespace().is_some() => id,
            _ => 0,
        };
        let flags = u32::from(meta) << 4 | u32::from(settings.wrapped) << 3 | u32::from(settings.ids) << 2;
        let encoding = own << 8 | flags | codec as u32;
        Stream {
            id,
            settings,
            profile,
            codec,
            namespace,
            siblings,
            meta,
            heartbeat,
            open: AtomicU64::new(0),
            sent_away: AtomicU64::new(0),
            shapes,
            encoding,
        }
    }

    /// The stream for who asks for the topic and the time with each event: a sibling, so that those who don't ask share their frames
    /// as before.
    pub fn with_meta(self: &Arc<Self>) -> Arc<Stream> {
        self.siblings.iter().find(|sibling| sibling.meta).unwrap_or(self).clone()
    }

    /// The heartbeat that goes out at `now`.
    pub fn beat(&self, now: Timestamp) -> Bytes {
        match (self.codec, &self.settings.heartbeat) {
            (Codec::Sse, Heartbeat::Form { name, form }) => {
                sse::block(name, &form.render(&FormFacts { time: now, ..FormFacts::default() }), None)
            }
            _ => self.heartbeat.clone(),
        }
    }

    /// How many are open now, in all namespaces, with and without `meta=true`.
    pub fn open_now(&self) -> u64 {
        let siblings = self.siblings.iter().map(|sibling| sibling.open.load(Ordering::Relaxed));
        self.open.load(Ordering::Relaxed) + siblings.sum::<u64>()
    }

    /// How an event looks here.
    pub fn shape<'e>(&'e self, entry: &'e Entry) -> &'e Shape {
        if self.shapes.is_empty() {
            return &entry.rule.shape;
        }
        self.shapes.get(&entry.event.name).filter(|own| own.is_for(entry)).unwrap_or(&entry.rule.shape)
    }

    /// Which [variant](Shape::variant) of it who holds `grants` is shown here.
    pub fn variant(&self, entry: &Entry, grants: &Grants) -> u32 {
        self.shape(entry).variant(grants, &entry.event)
    }

    /// Whether nothing comes after this event on a stream of this kind.
    pub fn ends_with(&self, entry: &Entry) -> bool {
        self.settings.job.is_some() && job::is_end(&entry.event.name)
    }

    /// What was asked for, of the events that are told here. On a stream of one job each end is: it would be waited for else for ever.
    pub fn narrowed(&self, filter: Filter) -> Filter {
        let Some(told) = &self.settings.names else { return filter };
        let asked = filter.names.clone();
        let is_asked = |name: &&Arc<str>| asked.as_ref().is_none_or(|asked| asked.contains(name));
        let ends = job::STATE_EVENTS.into_iter().filter(|name| self.settings.job.is_some() && job::is_end(name));
        filter.names(told.iter().filter(is_asked).cloned().chain(ends.map(Arc::from)))
    }

    /// The frame of an event as who gets `variant` of its shape sees it; encoded once and shared by all streams that
    /// look alike. `epoch` is any cursor of this history.
    pub fn frame<'e>(&self, entry: &'e Entry, variant: u32, epoch: Cursor) -> &'e Bytes {
        entry.frame(FrameKey { encoding: self.encoding, variant }, |entry| {
            // A stock Socket.IO client takes any text that is the last argument for the place to go on from, so there a signal
            // says where it stands as well.
            let placed = self.codec == Codec::SocketIo || !entry.event.is_signal();
            self.encode(entry, variant, placed.then_some(Cursor { offset: entry.at, ..epoch }))
        })
    }

    fn encode(&self, entry: &Entry, variant: u32, cursor: Option<Cursor>) -> Bytes {
        let cursor = cursor.filter(|_| self.settings.ids);
        let data = self.render(entry, variant, cursor);
        let shape = self.shape(entry);
        let name = shape.wire_name(&entry.event);
        match self.codec {
            Codec::Sse => {
                let topic = self.profile.local(entry.event.topic.as_str());
                let meta = self.meta.then_some(sse::Meta { topic, time: entry.event.time });
                sse::block_with(name, meta, &data, cursor)
            }
            Codec::WebSocket if self.settings.dialect.is_some() => frame::text(&data),
            Codec::WebSocket => frame::text(message::event(&self.profile, entry, name, &data, cursor).as_bytes()),
            Codec::SocketIo => {
                let args = socketio::arguments(shape.args(), &data, cursor);
                frame::text(self.event(name, &args.each()).as_bytes())
            }
        }
    }

    /// The data as it is shown here. `cursor` is the place that the reader is told.
    pub(crate) fn render(&self, entry: &Entry, variant: u32, cursor: Option<Cursor>) -> Bytes {
        self.shape(entry).render_at(&entry.event, variant, cursor, self.settings.wrapped)
    }

    /// An event of the app's, on Socket.IO. A client breaks off when it is told one under a name that the protocol keeps for itself.
    fn event(&self, name: &str, args: &[&str]) -> String {
        match packet::is_reserved(name) {
            true => packet::event(&self.namespace, &format!("tidings.{name}"), args),
            false => packet::event(&self.namespace, name, args),
        }
    }

    /// An event of ours beside the app's, on Socket.IO.
    fn control(&self, name: &str, data: &str, cursor: Option<Cursor>) -> Bytes {
        let cursor = cursor.filter(|_| self.settings.ids).map(|cursor| format!("\"{cursor}\""));
        let args: Vec<&str> = std::iter::once(data).chain(cursor.as_deref()).collect();
        frame::text(packet::event(&self.namespace, name, &args).as_bytes())
    }

    /// Continuity can't be proven; with the position from which it can again.
    pub fn gap(&self, gap: &Gap) -> Bytes {
        match self.codec {
            Codec::Sse => sse::gap(gap, self.settings.ids),
            // It has no word for that, and is told the state of its job.
            Codec::WebSocket if self.settings.dialect.is_some() => Bytes::new(),
            Codec::WebSocket => frame::text(message::gap(gap).as_bytes()),
            Codec::SocketIo => self.control("tidings.gap", &gap.to_json(), Some(gap.resumed)),
        }
    }

    /// The true position of a quiet stream.
    pub fn position(&self, cursor: Cursor) -> Bytes {
        match self.codec {
            Codec::Sse => sse::cursor(cursor),
            Codec::WebSocket => frame::text(message::cursor(cursor).as_bytes()),
            Codec::SocketIo => self.control("tidings.cursor", &format!("{{\"cursor\":\"{cursor}\"}}"), Some(cursor)),
        }
    }

    /// What every stream begins with: how long to wait before coming back, the preamble, what was lost, the position, and
    /// the newest of each retained kind. What a two-way transport says before that is its own affair.
    pub fn opening(&self, cursor: Cursor, gap: Option<&Gap>, retained: &[Arc<Entry>], grants: &Grants) -> BytesMut {
        let mut bytes = BytesMut::new();
        if self.codec == Codec::Sse {
            if let Some(preamble) = &self.settings.preamble {
                bytes.extend_from_slice(&sse::comment(preamble));
            }
            if let Some(after) = self.settings.retry {
                bytes.extend_from_slice(&sse::retry(after));
            }
        }
        // Before the position: who was cut off between the two would else resume behind a gap that it never saw.
        if let Some(gap) = gap {
            bytes.extend_from_slice(&self.gap(gap));
        }
        // Not behind an end that it has not told yet: who was cut off between the two would be taken for one who has it.
        if self.settings.announce && !retained.iter().any(|entry| self.ends_with(entry)) {
            match self.codec {
                Codec::Sse => bytes.extend_from_slice(&sse::open(cursor)),
                Codec::SocketIo => {
                    let data = format!("{{\"cursor\":\"{cursor}\"}}");
                    bytes.extend_from_slice(&self.control("tidings.open", &data, Some(cursor)));
                }
                Codec::WebSocket => {}
            }
        }
        bytes.extend_from_slice(&self.states(retained, cursor, grants));
        if bytes.is_empty() && self.codec == Codec::Sse {
            // A byte must leave at once: proxies and clients wait for it.
            bytes.extend_from_slice(b":\n\n");
        }
        bytes
    }

    /// The newest of each retained kind, to one whose place is `cursor`.
    pub(crate) fn states(&self, retained: &[Arc<Entry>], cursor: Cursor, grants: &Grants) -> BytesMut {
        let mut bytes = BytesMut::new();
        for entry in retained {
            // Without its place: it tells the present state, it is not the next event. But for an end, which is the last: who has it
            // and comes back is known by that.
            let place = match self.codec {
                Codec::SocketIo => Some(cursor),
                _ => self.ends_with(entry).then(|| Cursor { offset: entry.event.offset, ..cursor }),
            };
            bytes.extend_from_slice(&self.encode(entry, self.variant(entry, grants), place));
        }
        bytes
    }

    /// The newest of each retained kind for one subscription of a WebSocket.
    pub(crate) fn retained(
        &self,
        subscription: &str,
        retained: &[Arc<Entry>],
        cursor: Cursor,
        grants: &Grants,
    ) -> BytesMut {
        let mut bytes = BytesMut::new();
        for entry in retained {
            if self.settings.dialect.is_some() {
                bytes.extend_from_slice(&self.encode(entry, self.variant(entry, grants), None));
                continue;
            }
            let shape = self.shape(entry);
            let data = self.render(entry, shape.variant(grants, &entry.event), None);
            let name = shape.wire_name(&entry.event);
            let text = match self.codec {
                Codec::SocketIo => {
                    let cursor = self.settings.ids.then_some(cursor);
                    let args = socketio::arguments(shape.args(), &data, cursor);
                    self.event(name, &args.each())
                }
                Codec::Sse | Codec::WebSocket => message::retained(subscription, &self.profile, entry, name, &data),
            };
            frame::put_text(&mut bytes, text.as_bytes());
        }
        bytes
    }

    /// The events that a client is given when it has connected.
    pub(crate) fn greetings(&self, principal: &Principal, cursor: Cursor) -> BytesMut {
        let mut bytes = BytesMut::new();
        let cursor = self.settings.ids.then(|| format!("\"{cursor}\""));
        for greeting in &self.settings.socketio.greetings {
            let data = greeting.data.as_ref().map(|data| filled(data, principal));
            let args: Vec<&str> = data.as_deref().into_iter().chain(cursor.as_deref()).collect();
            frame::put_text(&mut bytes, packet::event(&self.namespace, &greeting.name, &args).as_bytes());
        }
        bytes
    }

    /// After how long the next client that is sent away comes back: between `drain_retry` and twice that. Multiples of the golden
    /// ratio lie evenly however many there are.
    pub fn come_back_after(&self) -> Duration {
        let turn = self.sent_away.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let retry = self.settings.drain_retry;
        retry.saturating_add(retry.mul_f64(turn as f64 / f64::from(u32::MAX)))
    }

    /// What a Socket.IO client is told when it parts from a namespace. Who is disconnected by the server stays away; whose transport ends
    /// comes back.
    pub(crate) fn parting(&self, reason: CloseReason) -> BytesMut {
        let mut bytes = BytesMut::new();
        if let (CloseReason::Idle, Some(IdleEnd { event: Some((name, data)), .. })) = (reason, &self.settings.idle) {
            bytes.extend_from_slice(&self.control(name, data, None));
        }
        if self.settings.announce {
            bytes.extend_from_slice(&self.control("tidings.close", &sse::close_data(reason), None));
        }
        if !reason.come_back() {
            frame::put_text(&mut bytes, packet::disconnect(&self.namespace).as_bytes());
        }
        bytes
    }

    /// All of a stream that can't be opened at the moment, for `sentence`: when to come back.
    pub(crate) fn later(&self, sentence: &str, after: Duration) -> BytesMut {
        let mut bytes = BytesMut::new();
        if self.settings.retry.is_some() {
            bytes.extend_from_slice(&sse::retry(after));
        }
        if self.settings.announce {
            let data = sse::close_with(CloseReason::Unavailable, sentence);
            bytes.extend_from_slice(&sse::block("tidings.close", data.as_bytes(), None));
        }
        bytes
    }

    /// What it ends with. `state` is that of the job, on a stream of one.
    pub fn closing(&self, reason: CloseReason, retry: Option<Duration>, state: Option<&Entry>) -> BytesMut {
        let mut bytes = BytesMut::new();
        match self.codec {
            Codec::Sse => {
                if let Some(after) = retry.filter(|_| self.settings.retry.is_some()) {
                    bytes.extend_from_slice(&sse::retry(after));
                }
                if let (CloseReason::Idle, Some(IdleEnd { event: Some((name, data)), form, .. })) =
                    (reason, &self.settings.idle)
                {
                    let data = match (form, state) {
                        (Some(form), Some(state)) => form.render(&self.facts(state)),
                        _ => Bytes::copy_from_slice(data.as_bytes()),
                    };
                    bytes.extend_from_slice(&sse::block(name, &data, None));
                }
                if self.settings.announce {
                    bytes.extend_from_slice(&sse::close(reason));
                }
            }
            Codec::WebSocket if let Some(dialect) = &self.settings.dialect => {
                let (code, sentence) = dialect.close(reason, state.map(|state| &*state.event.name));
                bytes.extend_from_slice(&frame::close(code, sentence));
            }
            Codec::WebSocket => {
                frame::put_text(&mut bytes, message::close(reason).as_bytes());
                bytes.extend_from_slice(&frame::close(reason.code(), reason.name()));
            }
            Codec::SocketIo => {
                bytes = self.parting(reason);
                bytes.extend_from_slice(&frame::close(1000, reason.name()));
            }
        }
        bytes
    }
}

impl Stream {
    /// What a form is filled from that is about this event.
    pub(crate) fn facts<'e>(&'e self, entry: &'e Entry) -> FormFacts<'e> {
        FormFacts {
            data: &entry.event.data,
            name: &entry.event.name,
            topic: self.profile.local(entry.event.topic.as_str()),
            time: entry.event.time,
            cursor: None,
            more: &[],
        }
    }
}

/// The shapes of the settings, each with what the profile hides of its events.
fn shapes(settings: &StreamSettings, profile: &Profile) -> HashMap<Arc<str>, Shape> {
    let mut shapes = HashMap::with_capacity(settings.shapes.len());
    for (name, shape) in &settings.shapes {
        match shape.clone().in_place_of(profile, name) {
            Ok(shape) => {
                shapes.insert(Arc::clone(name), shape);
            }
            // Rather as the profile has it look than with less hidden.
            Err(error) => tracing::error!(event = %name, %error, "a mount can't show the event in its own shape"),
        }
    }
    shapes
}

/// A greeting's data with its places filled: in one go, so that what an app says of somebody is not taken for a place.
fn filled(data: &str, principal: &Principal) -> String {
    let mut filled = String::with_capacity(data.len());
    let mut rest = data;
    while let Some(at) = rest.find('{') {
        filled.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("{about}") {
            filled.push_str(principal.about.as_deref().unwrap_or("null"));
            rest = after;
        } else if let Some(after) = rest.strip_prefix("{id}") {
            filled.push_str(&message::quoted(&principal.id));
            rest = after;
        } else {
            filled.push('{');
            rest = &rest[1..];
        }
    }
    filled.push_str(rest);
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        let draft = serde_json::from_str(r#"{"name":"n","topic":"t","audience":["all"],"data":{"a":1}}"#).unwrap();
        let profile = Profile::open();
        let body = profile.derive(draft, tidings::Timestamp(7), &tidings::Limits::default()).unwrap();
        let rule = profile.rule("n").unwrap().clone();
        Entry::new(tidings::Event { offset: tidings::Offset(1), body }, rule, tidings::Offset(1))
    }

    #[test]
    fn streams_whose_events_look_alike_share_the_frames_and_no_others_do() {
        let (entry, cursor) = (entry(), "9f3c2a1b-1".parse().unwrap());
        let stream = |name: Option<&str>| {
            let shapes = name.map(|name| ("n".into(), Shape::default().named(name).unwrap()));
            let settings = StreamSettings { shapes: shapes.into_iter().collect(), ..StreamSettings::default() };
            Stream::new(settings, Arc::new(Profile::open()))
        };
        let streams = [None, None, Some("x"), Some("y"), Some("n")].map(stream);
        let frames = streams.each_ref().map(|stream| stream.frame(&entry, 0, cursor));
        assert!(std::ptr::eq(frames[0], frames[1]), "two that are alike");
        let text = |frame: &Bytes| String::from_utf8(frame.to_vec()).unwrap();
        for (frame, name) in frames.iter().zip(["n", "n", "x", "y", "n"]) {
            assert!(text(frame).starts_with(&format!("event: {name}\n")), "{name}: {}", text(frame));
        }
    }

    #[test]
    fn who_asks_for_topics_has_frames_of_their_own_and_is_counted_with_the_mount() {
        let (entry, cursor) = (entry(), "9f3c2a1b-1".parse().unwrap());
        let app = Arc::new(Profile::new("a", Some("t"), Default::default(), []));
        let [one, two, other] = [Profile::open().into(), Profile::open().into(), app]
            .map(|profile: Arc<Profile>| Stream::new(StreamSettings::default(), profile));
        let [plain, first, second] = [&one, &one.with_meta(), &two.with_meta()].map(|s| s.frame(&entry, 0, cursor));
        assert!(std::ptr::eq(first, second), "two that are alike");
        assert!(!std::ptr::eq(plain, first) && std::ptr::eq(plain, other.frame(&entry, 0, cursor)));
        assert!(!std::ptr::eq(first, other.with_meta().frame(&entry, 0, cursor)), "topics in another app's words");
        one.with_meta().open.fetch_add(1, Ordering::Relaxed);
        one.open.fetch_add(1, Ordering::Relaxed);
        assert_eq!(one.open_now(), 2);
    }

    #[test]
    fn only_what_a_mount_tells_can_be_asked_for() {
        let names = |names: &[&str]| names.iter().map(|name| Arc::from(*name)).collect::<Vec<Arc<str>>>();
        let filter = |asked: &[&str]| Filter::topics(["t".parse().unwrap()]).names(names(asked));
        let told = |names| {
            let settings = StreamSettings { names, ..StreamSettings::default() };
            Stream::new(settings, Arc::new(Profile::open()))
        };
        let (all, some) = (told(None), told(Some(names(&["a", "b"]))));
        assert_eq!(all.narrowed(filter(&["c"])), filter(&["c"]));
        assert_eq!(some.narrowed(Filter::topics(["t".parse().unwrap()])), filter(&["a", "b"]));
        assert_eq!(some.narrowed(filter(&["c", "b"])), filter(&["b"]));
        assert!(!some.narrowed(filter(&["c"])).wants(&entry().event), "nothing is asked for any more");
    }

    #[test]
    fn what_an_app_says_of_somebody_is_no_place_to_fill() {
        let about = Some(r#"{"name":"{id} {about}"}"#.into());
        let principal = Principal { about, ..Principal::new("a\"b", Default::default(), "test") };
        assert_eq!(filled(r#"{"u":{about},"i":{id}}"#, &principal), r#"{"u":{"name":"{id} {about}"},"i":"a\"b"}"#);
        assert_eq!(filled("{", &principal), "{");
    }
}
