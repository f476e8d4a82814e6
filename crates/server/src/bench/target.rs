//! Which server is measured, and how its requests look.

use std::fmt::{self, Write as _};
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use super::Failure;
use super::payload::Payload;
use super::process::Process;

/// The servers whose dialect is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// This program: JSON events, arrays, NDJSON
    Tidings,
    /// The bare floor programs of `bench/floor`: one event per line, no topics
    Floor,
    /// nginx with nchan: one event per request, the topic in the path
    Nchan,
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
    /// Where it listens
    #[arg(long, default_value = "127.0.0.1:8080")]
    address: String,
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
    pub label: String,
    pub address: SocketAddr,
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
        let address = args
            .address
            .to_socket_addrs()
            .map_err(|error| format!("{} is no address: {error}", args.address))?
            .next()
            .ok_or_else(|| format!("{} has no address", args.address))?;
        let (subscribe, publish) = match args.target {
            Kind::Tidings => ("/v1/events?topic={topic}", "/v1/publish"),
            Kind::Floor => ("/events", "/publish"),
            Kind::Nchan => ("/sub/{topic}", "/pub/{topic}"),
        };
        let name = match args.target {
            Kind::Tidings => "tidings",
            Kind::Floor => "floor",
            Kind::Nchan => "nchan",
        };
        Ok(Target {
            kind: args.target,
            label: args.label.clone().unwrap_or_else(|| name.to_owned()),
            address,
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

    /// Whether a fresh stream begins with an event that says it stands, and where.
    pub fn announces_open(&self) -> bool {
        self.kind == Kind::Tidings
    }

    /// Whether one request may carry many events.
    pub fn takes_batches(&self) -> bool {
        self.kind != Kind::Nchan
    }

    /// The bytes that open a stream on `topic`, after the event `resume` if given.
    pub fn subscribe_request(&self, topic: &str, resume: Option<&str>) -> Vec<u8> {
        let mut head = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nAccept: text/event-stream\r\n{}",
            self.subscribe.replace("{topic}", topic),
            self.address,
            self.authorization
        );
        if let Some(id) = resume {
            let _ = write!(head, "Last-Event-ID: {id}\r\n");
        }
        head.push_str("\r\n");
        head.into_bytes()
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
