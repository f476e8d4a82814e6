//! A Socket.IO client that says packets as they are, over either transport and in either generation.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::Value;
use tidings_transports::{SocketIoSettings, StreamSettings};

use crate::common::websocket::{BINARY, FIN, WebSocket, masked};
use crate::common::{Client, Driver, Options, Server};

/// Who may hear what all may hear.
pub const ANN: &str = "ann+all";

/// The generation of a client.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Eio {
    V3,
    V4,
}

/// How a client comes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum By {
    Polling,
    WebSocket,
}

/// Each generation by each transport.
pub const ALL: [(Eio, By); 4] =
    [(Eio::V4, By::Polling), (Eio::V4, By::WebSocket), (Eio::V3, By::Polling), (Eio::V3, By::WebSocket)];

pub const BOTH: [Eio; 2] = [Eio::V4, Eio::V3];

impl Eio {
    pub fn number(self) -> u8 {
        match self {
            Eio::V3 => 3,
            Eio::V4 => 4,
        }
    }

    /// A body of these packets (engine.io-protocol, "Payload").
    pub fn encode(self, packets: &[&str]) -> String {
        match self {
            Eio::V4 => packets.join("\u{1e}"),
            Eio::V3 => packets.iter().map(|packet| format!("{}:{packet}", packet.encode_utf16().count())).collect(),
        }
    }

    /// The packets of a body. What is decoded in these tests is of ASCII, where a length in characters is one in bytes.
    pub fn decode(self, body: &str) -> Vec<String> {
        match self {
            Eio::V4 => body.split('\u{1e}').map(str::to_owned).collect(),
            Eio::V3 => {
                let (mut packets, mut rest) = (Vec::new(), body);
                while let Some((length, after)) = rest.split_once(':') {
                    let length: usize = length.parse().unwrap_or_else(|_| panic!("{length:?} is no length: {body}"));
                    packets.push(after[..length].to_owned());
                    rest = &after[length..];
                }
                assert!(rest.is_empty(), "{body:?}");
                packets
            }
        }
    }
}

/// The answer to an HTTP request.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub async fn read(mut client: Client) -> Answer {
        if client.status == 0 {
            client.read_head().await;
        }
        let body = client.rest().await;
        Answer { status: client.status, head: client.head, body }
    }

    /// The refusals of the protocol.
    pub fn is(&self, status: u16, body: &str) {
        assert_eq!((self.status, self.body.as_str()), (status, body), "{}", self.head);
        assert!(self.head.contains("content-type: application/json"), "{}", self.head);
    }
}

pub const TRANSPORT_UNKNOWN: &str = r#"{"code":0,"message":"Transport unknown"}"#;
pub const SESSION_UNKNOWN: &str = r#"{"code":1,"message":"Session ID unknown"}"#;
pub const BAD_METHOD: &str = r#"{"code":2,"message":"Bad handshake method"}"#;
pub const BAD_REQUEST: &str = r#"{"code":3,"message":"Bad request"}"#;
pub const FORBIDDEN: &str = r#"{"code":4,"message":"Forbidden"}"#;
pub const BAD_VERSION: &str = r#"{"code":5,"message":"Unsupported protocol version"}"#;

/// Sends a request, without reading the answer.
pub async fn send(server: &Server, method: &str, target: &str, headers: &str, body: &str) -> Client {
    let mut client = server.connect().await;
    let length = body.len();
    let request = format!(
        "{method} {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    );
    client.send(request.as_bytes()).await;
    client
}

pub async fn ask(server: &Server, method: &str, target: &str, headers: &str, body: &str) -> Answer {
    Answer::read(send(server, method, target, headers, body).await).await
}

/// Asks for a WebSocket that is refused.
pub async fn refused(server: &Server, target: &str, headers: &str) -> Answer {
    Answer::read(server.upgrade(target, "", &format!("connection: close\r\n{headers}")).await).await
}

/// A server that says no more than it has to: neither places nor positions.
pub fn quiet() -> StreamSettings {
    StreamSettings { ids: false, announce: false, ..settings() }
}

/// The defaults, with a second namespace.
pub fn settings() -> StreamSettings {
    let socketio = SocketIoSettings { namespaces: vec!["/".into(), "/custom".into()], ..SocketIoSettings::default() };
    StreamSettings { socketio, ..StreamSettings::default() }
}

pub async fn start(settings: StreamSettings) -> Server {
    Server::start(Driver::Lanes, Options { settings, ..Options::default() }).await
}

/// Waits until the lanes have heard all that was said to them, and seen what the clock shows.
///
/// A lane answers between two rounds. The clock is looked at in the beginning of a round, so one that was under way shows itself in
/// the first answer, one with the new time has begun by the second, and has ended by the third.
pub async fn settle(server: &Server) {
    for _ in 0..3 {
        server.service.streams().await;
    }
}

/// Lets time pass, and the lanes do what is due then.
pub async fn pass(server: &Server, seconds: u64) {
    server.clock.advance(Duration::from_secs(seconds));
    settle(server).await;
}

/// A session.
pub struct Session<'a> {
    pub server: &'a Server,
    pub eio: Eio,
    pub sid: String,
    /// What the open packet says.
    pub opened: Value,
    pub socket: Option<WebSocket>,
    heard: VecDeque<String>,
    is_over: bool,
}

pub fn path(eio: Eio, transport: &str) -> String {
    format!("/socket.io/?EIO={}&transport={transport}", eio.number())
}

pub fn bearer(token: &str) -> String {
    if token.is_empty() { String::new() } else { format!("authorization: Bearer {token}\r\n") }
}

impl<'a> Session<'a> {
    /// Opens a session and reads its open packet. `token` comes with the handshake.
    pub async fn open(server: &'a Server, eio: Eio, by: By, token: &str) -> Session<'a> {
        Session::open_with(server, eio, by, &bearer(token), "").await
    }

    /// The same with these header lines, and this at the end of the query.
    pub async fn open_with(server: &'a Server, eio: Eio, by: By, headers: &str, query: &str) -> Session<'a> {
        let mut session = Session {
            server,
            eio,
            sid: String::new(),
            opened: Value::Null,
            socket: None,
            heard: VecDeque::new(),
            is_over: false,
        };
        match by {
            By::WebSocket => {
                let target = format!("{}{query}", path(eio, "websocket"));
                session.socket = Some(WebSocket::new(server.upgrade(&target, "", headers).await));
            }
            By::Polling => {
                let target = format!("{}{query}", path(eio, "polling"));
                let answer = ask(server, "GET", &target, headers, "").await;
                assert_eq!(answer.status, 200, "{answer:?}");
                session.heard.extend(eio.decode(&answer.body));
            }
        }
        let open = session.hear().await.expect("a session opens");
        let json = open.strip_prefix('0').unwrap_or_else(|| panic!("no open packet: {open}"));
        session.opened = serde_json::from_str(json).unwrap();
        session.sid = session.opened["sid"].as_str().expect("a sid").to_owned();
        session
    }

    /// A session that has connected to `/`, on a server that says no more about it than it has to.
    pub async fn connected(server: &'a Server, eio: Eio, by: By, token: &str) -> Session<'a> {
        let mut session = Session::open(server, eio, by, token).await;
        session.connect().await;
        session
    }

    /// Connects to `/`, and returns what the answer says.
    pub async fn connect(&mut self) -> Value {
        if self.eio == Eio::V4 {
            self.say("40").await;
        }
        let answer = self.next().await;
        match self.eio {
            Eio::V3 => {
                assert_eq!(answer, "40");
                Value::Null
            }
            Eio::V4 => connected(&answer, "40"),
        }
    }

    pub fn target(&self, transport: &str) -> String {
        format!("{}&sid={}", path(self.eio, transport), self.sid)
    }

    pub async fn post(&self, body: &str) -> Answer {
        ask(self.server, "POST", &self.target("polling"), "", body).await
    }

    /// Begins a poll.
    pub async fn begin_poll(&self) -> Client {
        send(self.server, "GET", &self.target("polling"), "", "").await
    }

    pub async fn poll(&self) -> Answer {
        Answer::read(self.begin_poll().await).await
    }

    /// Polls, and returns what came.
    pub async fn polled(&self) -> Vec<String> {
        let answer = self.poll().await;
        assert_eq!(answer.status, 200, "{answer:?}");
        self.eio.decode(&answer.body)
    }

    /// A poll is refused: there is no such session.
    pub async fn is_unknown(&self) {
        self.poll().await.is(400, SESSION_UNKNOWN);
        self.post(&self.eio.encode(&["2"])).await.is(400, SESSION_UNKNOWN);
    }

    pub async fn say(&mut self, packet: &str) {
        self.say_all(&[packet]).await;
    }

    /// Says several packets, in one body where it posts.
    pub async fn say_all(&mut self, packets: &[&str]) {
        match &mut self.socket {
            Some(socket) => {
                for packet in packets {
                    socket.say(packet).await;
                }
            }
            None => {
                let answer = self.post(&self.eio.encode(packets)).await;
                assert_eq!((answer.status, answer.body.as_str()), (200, "ok"), "{}", answer.head);
            }
        }
    }

    pub async fn say_binary(&mut self, bytes: &[u8]) {
        self.socket.as_mut().expect("a WebSocket").client.send(&masked(FIN | BINARY, bytes)).await;
    }

    /// The next packet; `None` once the session has ended.
    pub async fn hear(&mut self) -> Option<String> {
        if let Some(packet) = self.heard.pop_front() {
            // Over polling, the end of the transport is a packet.
            self.is_over |= packet == "1";
            return (packet != "1").then_some(packet);
        }
        match &mut self.socket {
            Some(socket) => socket.text().await,
            None if self.is_over => {
                self.is_unknown().await;
                None
            }
            None => {
                let answer = self.poll().await;
                if answer.status == 400 {
                    self.is_over = true;
                    return None;
                }
                assert_eq!(answer.status, 200, "{answer:?}");
                self.heard.extend(self.eio.decode(&answer.body));
                Box::pin(self.hear()).await
            }
        }
    }

    pub async fn next(&mut self) -> String {
        let closed = |session: &Session<'_>| session.socket.as_ref().and_then(|socket| socket.closed.clone());
        let packet = self.hear().await;
        packet.unwrap_or_else(|| panic!("the session goes on, but ended with {:?}", closed(self)))
    }

    /// The session is at its end, with nothing more to hear. Over a WebSocket it says so with this code.
    pub async fn ends(&mut self, code: u16) {
        let more = self.hear().await;
        assert_eq!(more, None, "it ends");
        match &self.socket {
            Some(socket) => assert_eq!(socket.closed.as_ref().map(|(code, _)| *code), Some(code)),
            None => self.is_unknown().await,
        }
    }

    /// It is alive, and has nothing else to say.
    pub async fn is_alive(&mut self) {
        self.is_alive_in("").await;
    }

    /// The same of a namespace, given with its comma.
    pub async fn is_alive_in(&mut self, namespace: &str) {
        self.say(&format!(r#"42{namespace}7["ping",{{"id":"alive"}}]"#)).await;
        assert_eq!(self.next().await, format!(r#"43{namespace}7[{{"id":"alive","type":"pong"}}]"#));
    }
}

/// What a packet that begins with `head` says that a client of 3.x or 4.x is connected with.
pub fn connected(packet: &str, head: &str) -> Value {
    let json = packet.strip_prefix(head).unwrap_or_else(|| panic!("{packet} does not begin with {head}"));
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {packet}"))
}

/// The names of the members of an object, in the order of the alphabet.
pub fn members(value: &Value) -> Vec<&str> {
    let mut names: Vec<&str> = value.as_object().expect("an object").keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}
