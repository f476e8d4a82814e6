//! Which server is measured, and how its requests look.

use std::fmt::{self, Write as _};
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use super::Failure;
use super::payload::Payload;
use super::process::Process;
use super::transport::Transport;
use super::wire::{EventStream, Polling, WebSocket, Wire};

/// The servers whose dialect is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// This program: JSON events, arrays, NDJSON
    Tidings,
    /// The bare floor programs of `bench/floor`: one event per line, no topics
    Floor,
    /// nginx with nchan: one event per request, the topic in the path
    Nchan,
    /// The npm package `socket.io` as `bench/socketio` serves it: one event per request, to everybody
    Npm,
}

/// A token that is not shown by accident.
#[derive(Clone)]
pub struct Token(String);

impl FromStr for Token {
    type Err = std::convert::Infallible;
    fn from_str(text: &str) -> Result<Token, Self::Err> {
        Ok(Token(text.to_owned()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

/// The options that name the server.
#[derive(Debug, clap::Args)]
pub struct TargetArgs {
    /// What kind of server it is
    #[arg(long, value_enum, default_value = "tidings")]
    target: Kind,
    /// How subscribers are connected [default: what the kind is known for]
    #[arg(long, value_enum)]
    transport: Option<Transport>,
    /// Where it listens
    #[arg(long, default_value = "127.0.0.1:8080")]
    address: String,
    /// Where events are published, if not there: another replica of the same hub
    #[arg(long, value_name = "ADDRESS")]
    publish_address: Option<String>,
    /// What to call it in the results [default: the kind]
    #[arg(long)]
    label: Option<String>,
    /// Its process, for CPU and memory; several make a sum
    #[arg(long, value_delimiter = ',')]
    pid: Vec<u32>,
    /// The path to listen at, with `{topic}` in it [default: the kind's own]
    #[arg(long)]
    subscribe: Option<String>,
    /// The path to publish at, with `{topic}` in it if it has a place there [default: the kind's own]
    #[arg(long)]
    publish: Option<String>,
    /// A bearer token for both
    #[arg(long)]
    token: Option<Token>,
    /// The bytes of an event's data; 140 make frames of about 180 bytes
    #[arg(long, default_value_t = 140)]
    payload_bytes: usize,
    /// How many loopback addresses to connect from, so that ports do not run out
    #[arg(long, default_value_t = 16)]
    sources: u8,
}

/// A server to measure.
#[derive(Clone)]
pub struct Target {
    pub kind: Kind,
    pub transport: Transport,
    pub label: String,
    pub address: SocketAddr,
    /// Where events are published.
    pub publish_address: SocketAddr,
    pub process: Process,
    pub payload_bytes: usize,
    /// How many addresses 127.0.0.1, 127.0.0.2 … to connect from; 1 leaves the choice to the system.
    pub sources: u8,
    subscribe: String,
    publish: String,
    authorization: String,
}

/// How several events share one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batch {
    Array,
    Lines,
}

impl Target {
    pub fn new(args: &TargetArgs) -> Result<Target, Failure> {
        let address = resolve(&args.address)?;
        let publish_address = args.publish_address.as_deref().map_or(Ok(address), resolve)?;
        let transport = args.transport.unwrap_or(match args.target {
            Kind::Npm => Transport::Socketio,
            Kind::Tidings | Kind::Floor | Kind::Nchan => Transport::Sse,
        });
        let (name, publish) = match args.target {
            Kind::Tidings => ("tidings", "/v1/publish"),
            Kind::Floor => ("floor", "/publish"),
            Kind::Nchan => ("nchan", "/pub/{topic}"),
            Kind::Npm => ("socket.io", "/publish"),
        };
        let subscribe = match (args.target, transport) {
            (Kind::Tidings, Transport::Sse) => "/v1/events?topic={topic}",
            (Kind::Tidings, Transport::Websocket) => "/v1/ws?topic={topic}",
            (Kind::Tidings | Kind::Npm, Transport::Socketio) => "/socket.io/?EIO=4&transport=websocket",
            (Kind::Tidings | Kind::Npm, Transport::SocketioPolling) => "/socket.io/?EIO=4&transport=polling",
            (Kind::Floor, Transport::Sse) => "/events",
            (Kind::Nchan, Transport::Sse) => "/sub/{topic}",
            _ => return Err(format!("{name} is not measured over {transport}").into()),
        };
        Ok(Target {
            kind: args.target,
            transport,
            label: args.label.clone().unwrap_or_else(|| name.to_owned()),
            address,
            publish_address,
            process: Process::new(&args.pid),
            payload_bytes: args.payload_bytes,
            sources: if address.ip().is_loopback() { args.sources.max(1) } else { 1 },
            subscribe: args.subscribe.clone().unwrap_or_else(|| subscribe.to_owned()),
            publish: args.publish.clone().unwrap_or_else(|| publish.to_owned()),
            authorization: match &args.token {
                Some(token) => format!("Authorization: Bearer {}\r\n", token.0),
                None => String::new(),
            },
        })
    }

    /// Another replica of the same hub.
    pub fn at(&self, address: SocketAddr) -> Target {
        Target { address, ..self.clone() }
    }

    /// The same server, with events published at another replica.
    pub fn publishing_at(&self, publish_address: SocketAddr) -> Target {
        Target { publish_address, ..self.clone() }
    }

    /// The same server, listened to at another path.
    pub fn listening_at(&self, subscribe: &str) -> Target {
        Target { subscribe: subscribe.to_owned(), ..self.clone() }
    }

    /// The bytes of a request with a body of JSON.
    pub fn request(&self, path: &str, kind: &str, body: &[u8], bearer: Option<&str>) -> Vec<u8> {
        let authorization = match bearer {
            Some(bearer) => format!("Authorization: Bearer {bearer}\r\n"),
            None => self.authorization.clone(),
        };
        let length = body.len();
        let mut request = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: {kind}\r\n{authorization}Content-Length: {length}\r\n\r\n",
            self.address
        )
        .into_bytes();
        request.extend_from_slice(body);
        request
    }

    /// What the frame holds that says that a subscriber stands in the log; `None` where it stands once the transport was
    /// agreed to.
    pub fn ready_sign(&self) -> Option<&'static [u8]> {
        match (self.kind, self.transport) {
            (Kind::Floor | Kind::Nchan, _) => None,
            (_, Transport::Sse) => Some(b"event: tidings.open"),
            (_, Transport::Websocket) => Some(b"\"type\":\"subscribed\""),
            // The answer to CONNECT.
            (_, Transport::Socketio | Transport::SocketioPolling) => Some(b"40{"),
        }
    }

    /// Whether one request may carry many events.
    pub fn takes_batches(&self) -> bool {
        matches!(self.kind, Kind::Tidings | Kind::Floor)
    }

    /// A connection that listens on `topic`, after the event `resume` if given, and the bytes that open it.
    pub fn subscription(&self, topic: &str, resume: Option<&str>) -> Result<(Wire, Vec<u8>), Failure> {
        let path = self.subscribe.replace("{topic}", topic);
        let mut headers = format!("Host: {}\r\n{}", self.address, self.authorization);
        let request = |path: &str, headers: &str| format!("GET {path} HTTP/1.1\r\n{headers}\r\n").into_bytes();
        Ok(match self.transport {
            Transport::Sse => {
                headers.push_str("Accept: text/event-stream\r\n");
                if let Some(id) = resume {
                    let _ = write!(headers, "Last-Event-ID: {id}\r\n");
                }
                (Wire::EventStream(EventStream::new()), request(&path, &headers))
            }
            Transport::Websocket => {
                let socket = WebSocket::new(random_key()?);
                headers.push_str(&socket.handshake());
                let resumed = resume.map(|id| format!("&cursor={id}")).unwrap_or_default();
                (Wire::WebSocket(socket), request(&format!("{path}{resumed}"), &headers))
            }
            Transport::Socketio => {
                let socket = WebSocket::socketio(random_key()?, self.hello(topic, resume));
                headers.push_str(&socket.handshake());
                (Wire::WebSocket(socket), request(&path, &headers))
            }
            Transport::SocketioPolling => {
                let polling = Polling::new(path, headers, self.hello(topic, resume));
                let handshake = polling.handshake();
                (Wire::Polling(polling), handshake)
            }
        })
    }

    /// What a Socket.IO client says to connect to its namespace.
    fn hello(&self, topic: &str, resume: Option<&str>) -> Vec<u8> {
        let payload = match (self.kind, resume) {
            // It gives every event to everybody.
            (Kind::Npm, _) => return b"40".to_vec(),
            (_, None) => serde_json::json!({ "topics": [topic] }),
            (_, Some(id)) => serde_json::json!({ "topics": [topic], "cursor": id }),
        };
        format!("40{payload}").into_bytes()
    }

    /// The bytes that publish one event.
    pub fn publish_request(&self, topic: &str, payload: &Payload) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.payload_bytes + 64);
        self.write_event(&mut body, topic, payload);
        self.post(topic, "application/json", &body)
    }

    /// The bytes that publish many events at once.
    pub fn publish_batch<'a>(&self, batch: Batch, events: impl Iterator<Item = (&'a str, Payload)>) -> Vec<u8> {
        // The floor knows lines only; they cost it what an array would.
        let batch = if self.kind == Kind::Floor { Batch::Lines } else { batch };
        let mut body = Vec::new();
        for (topic, payload) in events {
            body.push(match (batch, body.is_empty()) {
                (Batch::Array, true) => b'[',
                (Batch::Array, false) => b',',
                (Batch::Lines, _) => b'\n',
            });
            self.write_event(&mut body, topic, &payload);
        }
        match batch {
            Batch::Array => {
                body.push(b']');
                self.post("", "application/json", &body)
            }
            Batch::Lines => self.post("", "application/x-ndjson", &body[1..]),
        }
    }

    fn write_event(&self, body: &mut Vec<u8>, topic: &str, payload: &Payload) {
        if self.kind == Kind::Tidings {
            body.extend_from_slice(b"{\"name\":\"bench\",\"topic\":\"");
            body.extend_from_slice(topic.as_bytes());
            body.extend_from_slice(b"\",\"data\":");
            payload.write(body, self.payload_bytes);
            body.push(b'}');
        } else {
            payload.write(body, self.payload_bytes);
        }
    }

    fn post(&self, topic: &str, kind: &str, body: &[u8]) -> Vec<u8> {
        let named = if self.kind == Kind::Nchan { "X-EventSource-Event: bench\r\n" } else { "" };
        let mut request = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: {kind}\r\n{named}{}Content-Length: {}\r\n\r\n",
            self.publish.replace("{topic}", topic),
            self.address,
            self.authorization,
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        request
    }
}

/// The first address that a text names.
pub fn resolve(text: &str) -> Result<SocketAddr, Failure> {
    let mut found = text.to_socket_addrs().map_err(|error| format!("{text} is no address: {error}"))?;
    Ok(found.next().ok_or_else(|| format!("{text} has no address"))?)
}

/// A key for a WebSocket handshake (RFC 6455 §4.1).
fn random_key() -> Result<[u8; 16], Failure> {
    let mut key = [0; 16];
    getrandom::fill(&mut key).map_err(|error| format!("the system gives no random bytes: {error}"))?;
    Ok(key)
}
