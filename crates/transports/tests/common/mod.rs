//! A hub on a real socket, and a client that reads bytes.

#![allow(dead_code, reason = "each test file uses its part")]

pub mod websocket;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use tidings::{Broker, Grants, Hub, Limits, ManualClock, NewEvent, Principal, Profile, PublishRights, Timestamp};
use tidings_brokers::memory::{MemoryBroker, MemorySettings};
use tidings_brokers::retention::Retention;
use tidings_transports::stream::Codec;
use tidings_transports::{
    Acceptor, Answer, Authenticate, Idempotency, Lanes, Limiter, Mount, Problem, Publishing, Request, Service, Stream,
    StreamSettings,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

/// Who drives the streams.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Driver {
    Lanes,
    Bodies,
    /// Lanes behind a server that is not ours: streams are bodies, and what goes both ways is carried to a lane.
    Carried,
}

/// The token is the principal: `id+grant+grant`, with `~1000` for an expiry at that time. `reader` may not publish, `limited`
/// only on `a/*`, `nobody` is anonymous, and whether `gated` may come in is only known once the gate opens. It is taken from the
/// client's first message, else from the header, the subprotocol `bearer.<token>`, a subprotocol that is nothing else, or the cookie
/// `session`.
struct Tokens(Arc<Gate>);

impl Tokens {
    fn find<'a>(request: &Request<'a>) -> Option<&'a str> {
        let header = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok());
        let protocols = || header("sec-websocket-protocol").into_iter().flat_map(|list| list.split(',')).map(str::trim);
        request
            .payload
            .and_then(|payload| payload.get("token")?.as_str())
            .or_else(|| header("authorization")?.strip_prefix("Bearer "))
            .or_else(|| protocols().find_map(|protocol| protocol.strip_prefix("bearer.")))
            .or_else(|| protocols().find(|protocol| *protocol != "tidings.v1"))
            .or_else(|| header("cookie")?.strip_prefix("session="))
    }
}

/// Where whoever looks at credentials waits with that of `gated`.
pub struct Gate {
    arrived: Semaphore,
    open: Semaphore,
}

impl Default for Gate {
    fn default() -> Self {
        Gate { arrived: Semaphore::new(0), open: Semaphore::new(0) }
    }
}

impl Gate {
    async fn pass(&self) {
        self.arrived.add_permits(1);
        self.open.acquire().await.unwrap().forget();
    }

    /// Waits until somebody stands before it.
    pub async fn somebody(&self) {
        self.arrived.acquire().await.unwrap().forget();
    }

    /// Lets one pass.
    pub fn open(&self) {
        self.open.add_permits(1);
    }
}

#[async_trait]
impl Authenticate for Tokens {
    async fn authenticate(&self, request: Request<'_>) -> Result<Arc<Principal>, Problem> {
        let Some(token) = Tokens::find(&request) else {
            return Err(Problem::unauthorized(None, "a token is needed"));
        };
        if token == "away" {
            return Err(Problem::unavailable(7, "app-unavailable", "the app can't be asked at the moment"));
        }
        let (token, expires) = token.split_once('~').map_or((token, None), |(token, at)| (token, at.parse().ok()));
        let mut parts = token.split('+');
        let id = parts.next().unwrap_or_default();
        if id == "gated" {
            self.0.pass().await;
        }
        let grants = Grants::parse(parts).map_err(|error| Problem::unauthorized(Some("bad"), error.to_string()))?;
        let publish = match id {
            "reader" => PublishRights::None,
            "limited" => PublishRights::Limited { topics: Arc::new(["a/*".parse().unwrap()]), names: None },
            _ => PublishRights::All,
        };
        let source = if id == "nobody" { "anonymous" } else { "test" };
        Ok(Arc::new(Principal { expires_at: expires.map(Timestamp), publish, ..Principal::new(id, grants, source) }))
    }
}

pub struct Server {
    pub address: SocketAddr,
    pub hub: Arc<Hub>,
    pub service: Arc<Service>,
    pub clock: Arc<ManualClock>,
    pub broker: Arc<dyn Broker>,
    pub gate: Arc<Gate>,
    pub profile: Arc<Profile>,
    pub router: axum::Router,
    _stop: watch::Sender<bool>,
}

pub struct Options {
    pub limits: Limits,
    pub settings: StreamSettings,
    pub retention: Retention,
    pub broker: Option<Arc<dyn Broker>>,
    pub profile: Arc<Profile>,
    /// The reverse proxies whose `X-Forwarded-For` is believed.
    pub proxies: Vec<IpAddr>,
    /// What remembers requests with an `Idempotency-Key`.
    pub idempotency: Option<Arc<dyn Idempotency>>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            limits: Limits { drain_window: Duration::from_millis(400), ..Limits::default() },
            settings: StreamSettings::default(),
            retention: Retention::FOREVER,
            broker: None,
            profile: Arc::new(Profile::open()),
            proxies: Vec::new(),
            idempotency: None,
        }
    }
}

impl Server {
    pub async fn start(driver: Driver, options: Options) -> Server {
        let clock = Arc::new(ManualClock::at(Timestamp(1_000_000)));
        let broker = options.broker.unwrap_or_else(|| {
            Arc::new(MemoryBroker::with_clock(MemorySettings { retention: options.retention.clone() }, clock.clone()))
        });
        let profile = options.profile;
        let named = profile.namespace().is_some().then(|| profile.clone());
        let hub = Hub::open(broker.clone(), named, clock.clone(), options.limits).await.unwrap();
        let lanes =
            (driver != Driver::Bodies).then(|| Lanes::start(&hub, 2, &tokio::runtime::Handle::current()).unwrap());
        let limiter = Limiter::behind(hub.limits(), Box::new(move |peer| options.proxies.contains(&peer)));
        let service = Service::limited(hub.clone(), lanes, options.idempotency, limiter, None);
        let gate = Arc::<Gate>::default();
        let auth: Arc<dyn Authenticate> = Arc::new(Tokens(gate.clone()));
        let mount = |path: &str, answer, codec| {
            let stream = Stream::with_codec(codec, options.settings.clone(), profile.clone());
            Mount { path: path.into(), answer, stream, auth: auth.clone() }
        };
        let publishing = Publishing {
            path: "/v1/publish".into(),
            auth: auth.clone(),
            profiles: BTreeMap::from([("default".to_owned(), profile.clone())]),
            default: profile.clone(),
        };
        let mounts = vec![
            mount("/v1/events", Answer::Sse, Codec::Sse),
            mount("/v1/poll", Answer::Poll, Codec::Sse),
            mount("/v1/ws", Answer::WebSocket, Codec::WebSocket),
            mount("/socket.io/", Answer::SocketIo, Codec::SocketIo),
            mount("/other/socket.io/", Answer::SocketIo, Codec::SocketIo),
        ];
        let router = tidings_transports::router(&service, mounts, vec![publishing])
            .route("/plain", axum::routing::get(|| async { "plain" }));
        let served = router.clone();
        let (stop, stopped) = watch::channel(false);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        match driver {
            Driver::Carried => tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }),
            Driver::Lanes | Driver::Bodies => {
                tokio::spawn(Acceptor::new(service.clone(), router, stopped).run(listener))
            }
        };
        Server { address, hub, service, clock, broker, gate, profile, router: served, _stop: stop }
    }

    pub async fn publish(&self, topic: &str, audience: &str, n: u64) -> String {
        self.publish_all([event(topic, audience, n)]).await.pop().unwrap()
    }

    pub async fn publish_all(&self, events: impl IntoIterator<Item = NewEvent>) -> Vec<String> {
        let published = self.hub.publish(events.into_iter().collect()).await.unwrap();
        published.iter().map(|p| p.cursor.map(|cursor| cursor.to_string()).unwrap_or_default()).collect()
    }

    /// Opens a stream and reads its head and `tidings.open`.
    pub async fn listen(&self, query: &str, token: &str, last: Option<&str>) -> Client {
        let mut client = self.request(query, token, last).await;
        assert_eq!(client.status, 200, "{}", client.head);
        let mut first = client.next().await.unwrap();
        if first.name == "tidings.gap" {
            // Told before the position; kept for the test, which asks for it next.
            client.gap = Some(first);
            first = client.read_event().await.unwrap();
        }
        assert_eq!(first.name, "tidings.open");
        client.open = first.id;
        client
    }

    pub async fn request(&self, target: &str, token: &str, last: Option<&str>) -> Client {
        let last = last.map(|id| format!("last-event-id: {id}\r\n")).unwrap_or_default();
        let bearer = if token.is_empty() { String::new() } else { format!("authorization: Bearer {token}\r\n") };
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/v1/events?{target}") };
        let request = format!("GET {target} HTTP/1.1\r\nhost: x\r\n{bearer}{last}\r\n");
        self.raw(request.as_bytes()).await
    }

    /// A connection on which nothing was said yet.
    pub async fn connect(&self) -> Client {
        Client::connect(self.address).await
    }

    /// Publishes an event of the server's own profile.
    pub async fn tell(&self, draft: Value) -> String {
        let event = self.derive(draft);
        self.publish_all([event]).await.pop().unwrap()
    }

    /// An event of the server's own profile.
    pub fn derive(&self, draft: Value) -> NewEvent {
        let draft = serde_json::from_value::<tidings::Draft>(draft).unwrap();
        self.profile.derive(draft, Timestamp(1), &Limits::default()).unwrap()
    }

    /// A good client hears of an event, and nothing else is left behind.
    pub async fn works(&self) {
        let mut client = self.listen("topic=still/*", "works+all", None).await;
        self.publish("still/here", "all", 42).await;
        assert_eq!(client.numbers(1).await, [42]);
        drop(client);
        // A response body notices that its client is gone when it has something to say, and is answered that nobody listens.
        let mut words = tokio::time::interval(Duration::from_millis(10));
        words.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        while tokio::time::Instant::now() < deadline {
            if self.service.limiter.open() == 0 {
                return;
            }
            self.publish("still/here", "all", 43).await;
            // One that polls has gone when it has not asked for a while.
            self.clock.advance(Duration::from_secs(20));
            words.tick().await;
        }
        panic!("{} connections are left", self.service.limiter.open());
    }

    /// Sends bytes and reads the answer's head.
    pub async fn raw(&self, request: &[u8]) -> Client {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        socket.write_all(request).await.unwrap();
        let mut client = Client::new(socket);
        client.read_head().await;
        client
    }

    pub async fn post(&self, token: &str, content_type: &str, body: &str) -> (u16, Value) {
        let length = body.len();
        let request = format!(
            "POST /v1/publish HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-type: {content_type}\r\n\
             content-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        let mut client = self.raw(request.as_bytes()).await;
        let body = client.rest().await;
        (client.status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
    }

    /// Waits until `done`; fails after a minute.
    pub async fn until(&self, what: &str, mut done: impl FnMut(&Server) -> bool) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        while !done(self) {
            assert!(tokio::time::Instant::now() < deadline, "it never came to this: {what}");
            tokio::task::yield_now().await;
        }
    }
}

pub fn event(topic: &str, audience: &str, n: u64) -> NewEvent {
    let draft = json!({ "name": "n", "topic": topic, "data": n, "audience": [audience] });
    let draft = serde_json::from_value::<tidings::Draft>(draft).unwrap();
    Profile::open().derive(draft, Timestamp(1), &Limits::default()).unwrap()
}

#[derive(Clone, Debug, PartialEq)]
pub struct Received {
    pub name: String,
    pub data: String,
    pub id: String,
}

/// Reads a response byte by byte as it comes.
pub struct Client {
    socket: TcpStream,
    buffer: Vec<u8>,
    chunked: bool,
    pub status: u16,
    pub head: String,
    pub open: String,
    gap: Option<Received>,
    /// Everything of the body so far.
    pub seen: Vec<u8>,
    at: usize,
}

impl Client {
    fn new(socket: TcpStream) -> Self {
        Client {
            socket,
            buffer: Vec::new(),
            chunked: false,
            status: 0,
            head: String::new(),
            open: String::new(),
            gap: None,
            seen: Vec::new(),
            at: 0,
        }
    }

    /// A connection on which nothing was said yet.
    pub async fn connect(address: SocketAddr) -> Client {
        Client::new(TcpStream::connect(address).await.unwrap())
    }

    /// The socket itself, for what kernels can be asked of it.
    pub fn socket(&self) -> socket2::SockRef<'_> {
        socket2::SockRef::from(&self.socket)
    }

    pub async fn read_head(&mut self) {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                self.head = String::from_utf8(self.buffer.drain(..end + 4).collect()).unwrap().to_lowercase();
                break;
            }
            assert!(self.fill().await, "the connection ended before an answer: {:?}", self.buffer);
        }
        self.status = self.head.split(' ').nth(1).unwrap().parse().unwrap();
        self.chunked = self.head.contains("transfer-encoding: chunked");
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.unwrap();
    }

    /// Sends bytes to somebody who may have hung up.
    pub async fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.socket.write_all(bytes).await
    }

    /// Everything that comes until the other side closes, head included.
    pub async fn all(&mut self) -> String {
        while self.fill().await {}
        String::from_utf8_lossy(&self.buffer).into_owned()
    }

    /// The next line of a body.
    pub async fn line(&mut self) -> Option<Value> {
        loop {
            let rest = &self.seen[self.at..];
            if let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line = serde_json::from_slice(&rest[..end]).unwrap();
                self.at += end + 1;
                return Some(line);
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// The body of a refusal, which is always a problem that repeats its status.
    pub async fn problem(&mut self) -> Value {
        assert!(self.head.contains("content-type: application/problem+json"), "{}", self.head);
        let length = self.head.split("content-length: ").nth(1).expect("a refusal has a length");
        let length: usize = length.split('\r').next().unwrap().parse().unwrap();
        while self.seen.len() < length && (!self.buffer.is_empty() || self.status > 0) {
            assert!(self.more().await, "the connection ended within the body");
        }
        let problem: Value = serde_json::from_slice(&self.seen[..length]).unwrap();
        assert_eq!(problem["status"], self.status, "{problem}");
        assert!(problem["type"].as_str().unwrap().starts_with("urn:tidings:problem:"), "{problem}");
        assert!(!problem["detail"].as_str().unwrap().is_empty(), "{problem}");
        problem
    }

    async fn fill(&mut self) -> bool {
        let mut chunk = vec![0; 65536];
        let read = tokio::time::timeout(Duration::from_secs(60), self.socket.read(&mut chunk));
        match read.await.expect("nothing came for a minute") {
            Ok(0) | Err(_) => false,
            Ok(read) => {
                self.buffer.extend_from_slice(&chunk[..read]);
                true
            }
        }
    }

    /// Moves what has come into `seen`, without chunk heads. False at the end.
    async fn more(&mut self) -> bool {
        loop {
            if !self.chunked && !self.buffer.is_empty() {
                self.seen.append(&mut self.buffer);
                return true;
            }
            if let Some(end) = self.buffer.windows(2).position(|window| window == b"\r\n") {
                let size = usize::from_str_radix(std::str::from_utf8(&self.buffer[..end]).unwrap(), 16).unwrap();
                if size == 0 {
                    return false;
                }
                if self.buffer.len() >= end + size + 4 {
                    self.seen.extend_from_slice(&self.buffer[end + 2..end + 2 + size]);
                    self.buffer.drain(..end + size + 4);
                    return true;
                }
            }
            if !self.fill().await {
                return false;
            }
        }
    }

    /// The next block, as text; `None` at the end.
    pub async fn block(&mut self) -> Option<String> {
        loop {
            let rest = &self.seen[self.at..];
            if let Some(end) = rest.windows(2).position(|window| window == b"\n\n") {
                let block = String::from_utf8(rest[..end].to_vec()).unwrap();
                self.at += end + 2;
                return Some(block);
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// The next event; comments and `retry:` are passed over.
    pub async fn next(&mut self) -> Option<Received> {
        match self.gap.take() {
            Some(gap) => Some(gap),
            None => self.read_event().await,
        }
    }

    async fn read_event(&mut self) -> Option<Received> {
        loop {
            let block = self.block().await?;
            let mut received = Received { name: String::new(), data: String::new(), id: String::new() };
            for line in block.lines() {
                match line.split_once(": ") {
                    Some(("event", value)) => received.name = value.into(),
                    Some(("data", value)) => received.data.push_str(value),
                    Some(("id", value)) => received.id = value.into(),
                    _ => {}
                }
            }
            if !received.name.is_empty() {
                return Some(received);
            }
        }
    }

    /// The data of the next `count` events, as numbers.
    pub async fn numbers(&mut self, count: usize) -> Vec<u64> {
        let mut numbers = Vec::new();
        while numbers.len() < count {
            let event = self.next().await.expect("the stream goes on");
            if event.name == "n" {
                numbers.push(event.data.parse().unwrap());
            } else {
                assert!(event.name == "tidings.cursor", "{event:?}");
            }
        }
        numbers
    }

    /// The next bytes of the body.
    pub async fn exactly(&mut self, length: usize) -> String {
        while self.seen.len() < self.at + length {
            assert!(self.more().await, "it ended within the body");
        }
        self.at += length;
        String::from_utf8(self.seen[self.at - length..self.at].to_vec()).unwrap()
    }

    /// The rest of the body.
    pub async fn rest(&mut self) -> String {
        while self.more().await {}
        String::from_utf8(self.seen[self.at..].to_vec()).unwrap()
    }
}
