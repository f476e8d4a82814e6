//! Clients that come from a replica which is a moment ahead: on every way in they wait until this one has come to where they are.

#[allow(dead_code, reason = "what a client of Socket.IO can do besides is for its own tests")]
#[path = "socketio/client.rs"]
mod client;
mod common;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::time::Duration;

use async_trait::async_trait;
use client::{ANN, By, Eio, Session};
use common::websocket::WebSocket;
use common::{Client, Driver, Options, Server, event};
use serde_json::{Value, json};
use tidings::{Broker, BrokerError, Event, Head, NewEvent, Offset, Page, Query, Standing, Tail};
use tidings_brokers::memory::{MemoryBroker, MemorySettings};
use tidings_transports::{Rejection, SocketIoSettings, StreamSettings};
use tokio::sync::Semaphore;

/// The claims below, on each way in.
macro_rules! hold_on {
    ($($name:ident: $way:expr,)*) => {$(
        mod $name {
            use super::*;

            #[tokio::test(start_paused = true)]
            async fn who_is_ahead_waits_and_then_goes_on_without_a_gap() {
                waits_and_goes_on($way).await;
            }

            #[tokio::test(start_paused = true)]
            async fn who_is_ahead_of_a_replica_that_is_cut_off_is_sent_away_and_not_told_of_a_gap() {
                is_sent_away($way).await;
            }
        }
    )*};
}

hold_on! {
    sse_on_a_lane: Way::Sse(Driver::Lanes),
    sse_as_a_body: Way::Sse(Driver::Bodies),
    event_source: Way::EventSource,
    poll: Way::Poll,
    websocket_by_its_url: Way::Url(Driver::Lanes),
    websocket_by_its_url_carried: Way::Url(Driver::Carried),
    websocket_by_a_message: Way::Message(Driver::Lanes),
    websocket_by_a_message_carried: Way::Message(Driver::Carried),
    socketio_4_by_websocket: Way::SocketIo(Eio::V4, By::WebSocket, Asked::AsItConnects),
    socketio_4_by_websocket_known_before: Way::SocketIo(Eio::V4, By::WebSocket, Asked::AtItsHandshake),
    socketio_4_by_polling: Way::SocketIo(Eio::V4, By::Polling, Asked::AsItConnects),
    socketio_4_by_polling_known_before: Way::SocketIo(Eio::V4, By::Polling, Asked::AtItsHandshake),
    socketio_3_by_websocket: Way::SocketIo(Eio::V3, By::WebSocket, Asked::AsItConnects),
    socketio_3_by_websocket_known_before: Way::SocketIo(Eio::V3, By::WebSocket, Asked::AtItsHandshake),
    socketio_3_by_polling: Way::SocketIo(Eio::V3, By::Polling, Asked::AsItConnects),
    socketio_3_by_polling_known_before: Way::SocketIo(Eio::V3, By::Polling, Asked::AtItsHandshake),
}

/// The event that this replica has heard of, those that only others have, and the last of those to come.
const HEARD: u64 = 1;
const ELSEWHERE: [u64; 2] = [2, 3];
const LAST: u64 = 5;

async fn waits_and_goes_on(way: Way) {
    let _still = stand_still();
    for ahead in ELSEWHERE {
        let (server, log) = behind(way).await;
        let cursor = server.hub.cursor(Offset(ahead)).to_string();
        let told = way.go_on(&server, &cursor);
        tokio::pin!(told);
        tokio::select! {
            () = log.is_asked(way.looks()) => {}
            told = &mut told => panic!("before this replica has come there it says {told:?}"),
        }
        log.release();
        for n in ELSEWHERE[1] + 1..=LAST {
            log.publish_elsewhere(n).await;
        }
        assert_eq!(told.await, Ok((ahead + 1..=LAST).collect()));
        assert_eq!(gaps(&server), 0);
    }
}

async fn is_sent_away(way: Way) {
    let _still = stand_still();
    let (server, log) = behind(way).await;
    log.stand(Standing::CutOff);
    let cursor = server.hub.cursor(Offset(ELSEWHERE[0])).to_string();
    {
        let told = way.go_on(&server, &cursor);
        tokio::pin!(told);
        tokio::select! {
            () = log.is_asked(way.looks()) => {}
            told = &mut told => panic!("it is not waited for: {told:?}"),
        }
        // Longer than anybody is made to wait.
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(told.await, Err(Instead::SentAway(way.refusal().into())));
    }
    assert_eq!(gaps(&server), 0);
    // Who comes back when all is well has missed nothing.
    log.stand(Standing::Current);
    log.release();
    for n in ELSEWHERE[1] + 1..=LAST {
        log.publish_elsewhere(n).await;
    }
    assert_eq!(way.go_on(&server, &cursor).await, Ok((ELSEWHERE[0] + 1..=LAST).collect()));
    assert_eq!(gaps(&server), 0);
}

/// A server that has not heard of the last events of its log.
async fn behind(way: Way) -> (Server, Arc<Replica>) {
    let log = Arc::new(Replica::new());
    let options = Options { broker: Some(log.clone()), settings: way.settings(), ..Options::default() };
    let server = Server::start(way.driver(), options).await;
    log.publish_elsewhere(HEARD).await;
    log.hold();
    for n in ELSEWHERE {
        log.publish_elsewhere(n).await;
    }
    (server, log)
}

fn gaps(server: &Server) -> u64 {
    server.hub.counters.gaps.iter().map(|gaps| gaps.load(Ordering::Relaxed)).sum()
}

/// Until what it returns is dropped, time passes only as it is told to: nobody's patience ends by how long a machine takes. After a
/// minute it passes again, so that what would wait for ever fails.
fn stand_still() -> mpsc::Sender<()> {
    let (still, dropped) = mpsc::channel();
    // Paused time does not move on by itself while something blocks.
    tokio::task::spawn_blocking(move || dropped.recv_timeout(Duration::from_secs(60)));
    still
}

// --- The ways in ---

#[derive(Clone, Copy)]
enum Way {
    /// A stream of Server-Sent Events, for a client that can read a status.
    Sse(Driver),
    /// The same for one that gives up for good at a status.
    EventSource,
    Poll,
    /// A WebSocket that asks in its URL.
    Url(Driver),
    /// A WebSocket on which a message asks.
    Message(Driver),
    SocketIo(Eio, By, Asked),
}

/// When a Socket.IO client is asked who it is.
#[derive(Clone, Copy)]
enum Asked {
    AsItConnects,
    AtItsHandshake,
}

/// What a client is told instead of the events behind its cursor.
#[derive(Debug, PartialEq)]
enum Instead {
    Gap(String),
    SentAway(String),
}

type Told = Result<Vec<u64>, Instead>;

impl Way {
    fn driver(self) -> Driver {
        match self {
            Way::Sse(driver) | Way::Url(driver) | Way::Message(driver) => driver,
            Way::EventSource | Way::Poll | Way::SocketIo(..) => Driver::Lanes,
        }
    }

    fn settings(self) -> StreamSettings {
        let mut socketio = SocketIoSettings::default();
        if let Way::SocketIo(_, _, Asked::AtItsHandshake) = self {
            socketio.reject = Rejection::Http;
        }
        StreamSettings { socketio, ..StreamSettings::default() }
    }

    /// How often it is looked how this replica stands until the client waits. A lane that knows who it is looks by itself first: those who
    /// are not ahead are answered at once.
    fn looks(self) -> u32 {
        match self {
            Way::Sse(_) | Way::EventSource | Way::Poll | Way::Url(_) => 1,
            Way::Message(_) | Way::SocketIo(_, _, Asked::AtItsHandshake) => 2,
            Way::SocketIo(_, _, Asked::AsItConnects) => 1,
        }
    }

    /// How it is sent away.
    fn refusal(self) -> &'static str {
        match self {
            Way::Sse(_) | Way::Poll | Way::Url(_) => "503 cut-off, again after 2",
            Way::EventSource => "unavailable, again after 2",
            Way::Message(_) => "3005 unavailable",
            Way::SocketIo(_, By::WebSocket, _) => "1013 try again later",
            Way::SocketIo(_, By::Polling, _) => "the session is over",
        }
    }

    /// What a client is told that goes on behind `cursor`, up to the last event.
    async fn go_on(self, server: &Server, cursor: &str) -> Told {
        match self {
            Way::Sse(_) => stream(server, cursor, "").await,
            Way::EventSource => stream(server, cursor, "accept: text/event-stream\r\n").await,
            Way::Poll => poll(server, cursor).await,
            Way::Url(_) => {
                let answer = server.upgrade(&format!("/v1/ws?cursor={cursor}"), ANN, "").await;
                match answer.status {
                    101 => messages(WebSocket::new(answer)).await,
                    _ => Err(refused(answer).await),
                }
            }
            Way::Message(_) => {
                let mut socket = server.websocket("/v1/ws", ANN).await;
                socket.tell(json!({ "type": "subscribe", "id": "s", "cursor": cursor })).await;
                messages(socket).await
            }
            Way::SocketIo(eio, by, _) => packets(server, eio, by, cursor).await,
        }
    }
}

async fn refused(mut answer: Client) -> Instead {
    let problem = answer.problem().await;
    let kind = problem["type"].as_str().unwrap().rsplit(':').next().unwrap();
    let after = answer.head.split("retry-after: ").nth(1).and_then(|after| after.split('\r').next());
    Instead::SentAway(format!("{} {kind}, again after {}", answer.status, after.unwrap()))
}

async fn get(server: &Server, target: &str, headers: &str) -> Client {
    let bearer = client::bearer(ANN);
    server
        .raw(format!("GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{bearer}{headers}\r\n").as_bytes())
        .await
}

async fn stream(server: &Server, cursor: &str, accept: &str) -> Told {
    let mut client = get(server, "/v1/events", &format!("last-event-id: {cursor}\r\n{accept}")).await;
    if client.status != 200 {
        return Err(refused(client).await);
    }
    let mut numbers = Vec::new();
    while numbers.last() != Some(&LAST) {
        let event = client.next().await.expect("the stream goes on");
        match event.name.as_str() {
            "n" => numbers.push(event.data.parse().unwrap()),
            "tidings.gap" => return Err(Instead::Gap(event.data)),
            "tidings.close" => {
                let close: Value = serde_json::from_str(&event.data).unwrap();
                let seen = String::from_utf8_lossy(&client.seen);
                let retry: u64 = seen.rsplit("retry: ").next().unwrap().lines().next().unwrap().parse().unwrap();
                let reason = close["reason"].as_str().unwrap();
                return Err(Instead::SentAway(format!("{reason}, again after {}", retry / 1_000)));
            }
            name => assert!(matches!(name, "tidings.open" | "tidings.cursor"), "{event:?}"),
        }
    }
    Ok(numbers)
}

async fn poll(server: &Server, cursor: &str) -> Told {
    let (mut numbers, mut cursor) = (Vec::new(), cursor.to_owned());
    while numbers.last() != Some(&LAST) {
        let mut client = get(server, &format!("/v1/poll?wait=50&cursor={cursor}"), "").await;
        if client.status != 200 {
            return Err(refused(client).await);
        }
        let answer: Value = serde_json::from_str(&client.rest().await).unwrap();
        if answer["gap"].is_object() {
            return Err(Instead::Gap(answer["gap"].to_string()));
        }
        numbers.extend(answer["events"].as_array().unwrap().iter().map(|event| event["data"].as_u64().unwrap()));
        cursor = answer["cursor"].as_str().unwrap().to_owned();
    }
    Ok(numbers)
}

async fn messages(mut socket: WebSocket) -> Told {
    let mut numbers = Vec::new();
    while numbers.last() != Some(&LAST) {
        let message = socket.hear().await;
        match message["type"].as_str().unwrap() {
            "event" => numbers.push(message["data"].as_u64().unwrap()),
            "close" => {
                let code = socket.close_code().await;
                return Err(Instead::SentAway(format!("{code} {}", message["reason"].as_str().unwrap())));
            }
            kind if kind == "gap" || message["gap"].is_object() => return Err(Instead::Gap(message.to_string())),
            kind => assert!(matches!(kind, "open" | "subscribed" | "live"), "{message}"),
        }
    }
    Ok(numbers)
}

/// A client of the older generation connects without a word, and asks in the query of its handshake.
async fn packets(server: &Server, eio: Eio, by: By, cursor: &str) -> Told {
    let query = if eio == Eio::V3 { format!("&cursor={cursor}") } else { String::new() };
    let mut session = Session::open_with(server, eio, by, &client::bearer(ANN), &query).await;
    if eio == Eio::V4 {
        session.say(&format!("40{}", json!({ "offset": cursor }))).await;
    }
    let mut numbers = Vec::new();
    while numbers.last() != Some(&LAST) {
        let Some(packet) = session.hear().await else {
            let closed = session.socket.and_then(|socket| socket.closed);
            let end = closed.map(|(code, reason)| format!("{code} {reason}"));
            return Err(Instead::SentAway(end.unwrap_or_else(|| "the session is over".into())));
        };
        let Some(event) = packet.strip_prefix("42") else {
            assert!(packet.starts_with("40"), "{packet}");
            continue;
        };
        let event: Vec<Value> = serde_json::from_str(event).unwrap();
        match event[0].as_str().unwrap() {
            "n" => numbers.push(event[1].as_u64().unwrap()),
            "tidings.gap" => return Err(Instead::Gap(packet)),
            name => assert!(matches!(name, "tidings.open" | "tidings.cursor"), "{packet}"),
        }
    }
    Ok(numbers)
}

// --- The log ---

/// A log that others append to as well, as one of them sees it: what it has not heard of is not there yet.
struct Replica {
    log: MemoryBroker,
    hearing: Arc<Hearing>,
    standing: Mutex<Standing>,
    /// One for each time that somebody looked how it stands.
    looks: Semaphore,
}

#[derive(Default)]
struct Hearing {
    tail: OnceLock<Arc<dyn Tail>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    last: Offset,
    /// What was appended since it is held back.
    held: Option<Vec<Event>>,
}

impl Hearing {
    fn hear(&self, state: &mut State, events: Vec<Event>) {
        state.last = events.last().map_or(state.last, |event| event.offset);
        self.tail.get().expect("a hub listens").appended(events);
    }
}

impl Tail for Hearing {
    fn appended(&self, events: Vec<Event>) {
        let mut state = self.state.lock().unwrap();
        match &mut state.held {
            Some(held) => held.extend(events),
            None => self.hear(&mut state, events),
        }
    }
}

impl Replica {
    fn new() -> Replica {
        let (log, hearing) = (MemoryBroker::new(MemorySettings::default()), Arc::<Hearing>::default());
        log.tail(hearing.clone());
        Replica { log, hearing, standing: Mutex::new(Standing::Current), looks: Semaphore::new(0) }
    }

    async fn publish_elsewhere(&self, n: u64) {
        self.log.publish(vec![event("t", "all", n)]).await.unwrap();
    }

    /// From now on it hears of nothing.
    fn hold(&self) {
        self.hearing.state.lock().unwrap().held = Some(Vec::new());
    }

    /// It hears of what it missed, and of what comes.
    fn release(&self) {
        let mut state = self.hearing.state.lock().unwrap();
        let held = state.held.take().expect("it is held");
        self.hearing.hear(&mut state, held);
    }

    fn stand(&self, standing: Standing) {
        *self.standing.lock().unwrap() = standing;
    }

    /// Waits until it was looked so often how it stands.
    async fn is_asked(&self, times: u32) {
        self.looks.acquire_many(times).await.unwrap().forget();
    }
}

#[async_trait]
impl Broker for Replica {
    async fn publish(&self, batch: Vec<NewEvent>) -> Result<Vec<Option<Offset>>, BrokerError> {
        self.log.publish(batch).await
    }

    async fn read(&self, query: Query) -> Result<Page, BrokerError> {
        let last = self.hearing.state.lock().unwrap().last;
        self.log.read(Query { until: query.until.min(last), ..query }).await
    }

    fn head(&self) -> Head {
        Head { last: self.hearing.state.lock().unwrap().last, ..self.log.head() }
    }

    fn tail(&self, tail: Arc<dyn Tail>) {
        assert!(self.hearing.tail.set(tail).is_ok(), "one hub listens");
    }

    fn standing(&self) -> Standing {
        self.looks.add_permits(1);
        *self.standing.lock().unwrap()
    }
}
