//! What a profile sets for a mount.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use tidings::{Form, Shape, TopicPattern};

use super::one_job::{Dialect, OneJob};

/// How the streams of one mount behave.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamSettings {
    /// What keeps a quiet stream alive. Never carries an `id:`.
    pub heartbeat: Heartbeat,
    /// After how much silence it is sent. Below the 60 s at which common proxies cut.
    pub heartbeat_every: Duration,
    /// Whether it is sent that often on a stream that is not silent too. On one that is behind it never is.
    pub beats_always: bool,
    /// The `retry:` sent first: after how long a client comes back. `None` sends none.
    pub retry: Option<Duration>,
    /// The `retry:` of the goodbye when the program stops, spread out up to twice that: whoever takes over is not met by all
    /// clients at once.
    pub drain_retry: Duration,
    /// A comment sent as the first line, for clients or proxies that wait for a byte.
    pub preamble: Option<String>,
    /// Whether events carry their place, so that clients can resume: SSE's `id:`, the `cursor` of a WebSocket message, the last
    /// argument of a Socket.IO event.
    pub ids: bool,
    /// Whether `tidings.open`, `tidings.cursor` and `tidings.close` are sent. A gap is told in any case.
    pub announce: bool,
    /// How often a stream that saw no event of its own is told its new position (with `announce`).
    pub cursor_every: Duration,
    /// When a stream without updates ends. Heartbeats do not count as updates.
    pub idle: Option<IdleEnd>,
    /// Whether a request that does not accept the transport's content type is refused with 406.
    pub require_accept: bool,
    /// Which other origins may read.
    pub cors: Cors,
    /// Which query parameters narrow the stream.
    pub filters: Vec<Filtering>,
    /// What a principal must hold to open the stream at all; else 403. In the profile's own words, without its namespace.
    pub requires: Option<String>,
    /// The body of a refusal, by status, where the app has its own form (`{"error":"unauthorized"}`).
    pub refusals: BTreeMap<u16, String>,
    /// More response headers.
    pub headers: Vec<(String, String)>,
    /// Whether events wear the wrapper that their shape gives them. A profile may say it differently of two transports.
    pub wrapped: bool,
    /// The events that are told here, by their names as published; `None` is all of them. A reader can't ask for others.
    pub names: Option<Vec<Arc<str>>>,
    /// How events look here, by their names as published, in the place of how their profile has them look; what that hides is hidden
    /// here too.
    pub shapes: BTreeMap<Arc<str>, Shape>,
    /// Whether clients may subscribe, publish and authenticate anew over the connection (WebSocket, Socket.IO).
    pub commands: bool,
    /// Whether a WebSocket subprotocol other than `tidings.v1` and `bearer.<token>` is taken for a credential as it is, and echoed.
    pub bare_token: bool,
    /// What is Socket.IO's own.
    pub socketio: SocketIoSettings,
    /// Whether each stream is of one job, and ends with it.
    pub job: Option<OneJob>,
    /// Whether a WebSocket speaks the app's own messages.
    pub dialect: Option<Dialect>,
}

/// How one mount speaks Socket.IO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketIoSettings {
    /// The namespaces that clients may connect to, each beginning with a slash. The first is where clients of protocol 4 (2.x) are
    /// connected unasked.
    pub namespaces: Vec<String>,
    /// Whether clients may poll.
    pub polling: bool,
    /// Whether clients may come by WebSocket.
    pub websocket: bool,
    /// Whether clients of Engine.IO protocol 3 (1.x and 2.x) may come.
    pub allow_eio3: bool,
    /// How often a ping goes out (protocol 4), or is to come in (protocol 3).
    pub ping_interval: Duration,
    /// How long its answer may take.
    pub ping_timeout: Duration,
    /// How somebody is refused.
    pub reject: Rejection,
    /// Events that each client is given when it has connected.
    pub greetings: Vec<Greeting>,
}

/// How somebody is refused who has no right to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// By the status of the handshake's HTTP answer. A credential in the CONNECT packet comes too late to count.
    Http,
    /// By a CONNECT_ERROR packet, which the client shows as `connect_error`.
    ConnectError,
    /// The client is connected, given this event (a name, and its data as JSON), and disconnected.
    Event(String, String),
    /// The client is connected, and disconnected.
    Disconnect,
}

/// An event that says hello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// Its name.
    pub name: String,
    /// Its argument as JSON, in which `{about}` stands for what the app says of the principal, and `{id}` for its id as a JSON string.
    /// None is an event without argument.
    pub data: Option<String>,
}

impl Default for SocketIoSettings {
    fn default() -> Self {
        SocketIoSettings {
            namespaces: vec!["/".into()],
            polling: true,
            websocket: true,
            allow_eio3: true,
            // What the reference server has, and clients are made for.
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            reject: Rejection::ConnectError,
            greetings: Vec::new(),
        }
    }
}

/// What is sent into silence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heartbeat {
    /// A comment, which clients do not see.
    Comment(String),
    /// An event, which clients can watch for.
    Event {
        /// Its name.
        name: String,
        /// Its data, one line of JSON.
        data: String,
    },
    /// An event whose data is made anew each time: its form knows `{time}`, which is now, and no data.
    Form {
        /// Its name.
        name: String,
        /// Its data.
        form: Form,
    },
}

/// When and how a stream without updates ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdleEnd {
    /// After how long.
    pub after: Duration,
    /// The event that says so: name and data. `None` ends it with `tidings.close` alone.
    pub event: Option<(String, String)>,
    /// What the data is made of instead, on a stream of one job: the state of the job.
    pub form: Option<Form>,
}

/// Which other origins may read a stream from a browser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cors {
    /// None: the same origin only.
    Same,
    /// Any, without credentials (`Access-Control-Allow-Origin: *`).
    Any,
    /// These, with credentials. `*` as the port is any port: `http://localhost:*`.
    Origins(Vec<String>),
}

impl Cors {
    /// Whether the origin is in the list.
    pub(crate) fn lists(&self, origin: &HeaderValue) -> bool {
        let Cors::Origins(origins) = self else { return false };
        let is_number = |port: &[u8]| !port.is_empty() && port.iter().all(u8::is_ascii_digit);
        origins.iter().any(|listed| match listed.strip_suffix('*').filter(|listed| listed.ends_with(':')) {
            Some(host) => origin.as_bytes().strip_prefix(host.as_bytes()).is_some_and(is_number),
            None => origin == listed.as_str(),
        })
    }
}

/// A query parameter that narrows the stream to topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filtering {
    /// Its name: `libraries`.
    pub query: String,
    /// What separates several values in one parameter, each trimmed; `None` takes the value whole.
    pub split: Option<char>,
    /// The topic for a value, with `{value}`: `library/{value}`. In the profile's own words, without its namespace.
    pub topic: String,
    /// Topics that pass whatever the values are: events the filter says nothing about. Without the namespace.
    pub always: Vec<TopicPattern>,
}

impl Default for StreamSettings {
    fn default() -> Self {
        StreamSettings {
            heartbeat: Heartbeat::Comment("heartbeat".into()),
            heartbeat_every: Duration::from_secs(20),
            beats_always: false,
            retry: Some(Duration::from_secs(3)),
            drain_retry: Duration::from_secs(2),
            preamble: None,
            ids: true,
            announce: true,
            cursor_every: Duration::from_secs(60),
            idle: None,
            require_accept: true,
            cors: Cors::Same,
            filters: Vec::new(),
            requires: None,
            refusals: BTreeMap::new(),
            headers: Vec::new(),
            wrapped: true,
            names: None,
            shapes: BTreeMap::new(),
            commands: true,
            bare_token: false,
            socketio: SocketIoSettings::default(),
            job: None,
            dialect: None,
        }
    }
}
