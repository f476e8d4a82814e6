//! Subscriptions that come and go on sockets so small that every write is cut somewhere.
//!
//! A model keeps the history of each subscription as a client would, and knows the log: whatever is asked for and whenever, each
//! subscription is given exactly the events after its start that it asked for and may see, in order and once.

use std::collections::{BTreeMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use axum::body::Body;
use serde_json::{Value, json};
use tidings::{Audience, Cursor, Filter, Grants, Interest, Limits, NewEvent, Offset, Timestamp};
use tidings_brokers::retention::Retention;
use tidings_transports::StreamSettings;
use tidings_transports::handover::{Handed, Handover};
use tidings_transports::lane::{Conversation, End};
use tower::ServiceExt;

use crate::common::websocket::{FIN, PING, PONG, TEXT, masked, split};
use crate::common::{Driver, Options, Server};

/// A generator of numbers from a seed (xorshift64*).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len() as u64) as usize]
    }
}

const GRANTS: [&str; 5] = ["red", "blue", "red+blue", "*", "none"];
const TOPICS: [&[&str]; 5] = [&["t/1"], &["t/*"], &["t/0", "t/2"], &["t/3", "u"], &[]];

fn grants(token: &str) -> Grants {
    Grants::parse(token.split('+')).unwrap()
}

fn filter(topics: &[&str]) -> Filter {
    match topics {
        [] => Filter::all(),
        topics => Filter::topics(topics.iter().map(|topic| topic.parse().unwrap())),
    }
}

fn event(topic: &str, audience: &str, n: u64, padding: usize) -> NewEvent {
    NewEvent {
        name: "n".into(),
        topic: topic.parse().unwrap(),
        data: format!("{n}{}", " ".repeat(padding)).into(),
        scope: Default::default(),
        audience: Audience::new([audience.parse().unwrap()]),
        key: None,
        time: Timestamp(1),
        kept: true,
        dedup: None,
    }
}

/// Everything that was published.
#[derive(Default)]
struct Log {
    /// By its number.
    all: Vec<NewEvent>,
    kept: Vec<(Offset, u64)>,
    epoch: Option<Cursor>,
    /// Whether not all of them stay.
    is_trimmed: bool,
}

impl Log {
    /// The first event after `after` that these see.
    fn next(&self, after: Offset, filter: &Filter, grants: &Grants, before: Option<&Grants>) -> Option<(Offset, u64)> {
        let from = self.kept.partition_point(|(offset, _)| *offset <= after);
        let sees = |grants: &Grants, event: &NewEvent| {
            Interest { filter: filter.clone(), grants: grants.clone() }.covers(event)
        };
        let sees = |event: &NewEvent| sees(grants, event) && before.is_none_or(|before| sees(before, event));
        self.kept[from..].iter().find(|(_, n)| sees(&self.all[*n as usize])).copied()
    }

    fn cursor(&self, offset: Offset) -> String {
        Cursor { offset, ..self.epoch.unwrap() }.to_string()
    }
}

/// One subscription, as its client knows it.
#[derive(Clone)]
struct Subscription {
    topics: &'static [&'static str],
    /// All that it was to be given up to here has come.
    at: Offset,
    /// What a client hands back (§8.3).
    cursor: Offset,
}

#[derive(Clone, Debug)]
enum Place {
    Now,
    Earliest,
    After(Offset),
}

#[derive(Clone, Debug)]
enum Asked {
    Subscribe { id: String, topics: &'static [&'static str], place: Place },
    Unsubscribe { id: String },
    Authenticate { token: &'static str },
    Ping { id: String },
}

/// A client, and what it was promised.
struct Client {
    socket: UnixStream,
    bytes: Vec<u8>,
    room: usize,
    token: &'static str,
    /// Those that it had before, as long as it does not know from which place on it has those of now.
    token_before: Option<&'static str>,
    subscriptions: BTreeMap<String, Subscription>,
    /// What is not answered yet, in order.
    asked: VecDeque<Asked>,
    /// The subscription that is told its past.
    past: Option<String>,
    /// Pings that were sent and not answered.
    pings: VecDeque<Vec<u8>>,
    serial: u64,
    /// How many subscriptions were told a past.
    pasts: usize,
    received: u64,
    gaps: usize,
}

impl Client {
    /// Opens a connection on a socket whose send buffer holds about `room` bytes. It is a Unix socket: the kernel gives its buffers no
    /// more than was asked for, and no timers stand between its two ends.
    async fn open(server: &Server, token: &'static str, room: usize) -> Client {
        let (ours, theirs) = UnixStream::pair().unwrap();
        socket2::SockRef::from(&ours).set_send_buffer_size(room).unwrap();
        for socket in [&ours, &theirs] {
            socket.set_nonblocking(true).unwrap();
        }
        let request = http::Request::get("/v1/ws")
            .header("host", "x")
            .header("upgrade", "websocket")
            .header("connection", "Upgrade")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("sec-websocket-version", "13")
            .header("authorization", format!("Bearer u+{token}"));
        let response = server.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let handed = response.extensions().get::<Handover>().and_then(Handover::take);
        let Some(Handed::Conversation(granted, session)) = handed else { panic!("{response:?}") };
        let end = End::Socket(TcpStream::from(OwnedFd::from(ours)));
        let (head, unread) = (bytes::Bytes::new(), Vec::new());
        let lanes = server.service.lanes.as_ref().unwrap();
        lanes.converse(Conversation { end, head, unread, granted, session, polls: false });
        Client {
            socket: theirs,
            bytes: Vec::new(),
            room,
            token,
            token_before: None,
            subscriptions: BTreeMap::new(),
            asked: VecDeque::new(),
            past: None,
            pings: VecDeque::new(),
            serial: 0,
            pasts: 0,
            received: 0,
            gaps: 0,
        }
    }

    /// The same client on a new connection, where it asks anew for what it had, each from where it was.
    async fn reopen(self, server: &Server, log: &Log) -> Client {
        let mut wanted: BTreeMap<String, (&'static [&'static str], Place)> = BTreeMap::new();
        for (id, Subscription { topics, cursor, .. }) in self.subscriptions {
            wanted.insert(id, (topics, Place::After(cursor)));
        }
        let mut token = self.token;
        for asked in self.asked {
            match asked {
                Asked::Subscribe { id, topics, place } => drop(wanted.insert(id, (topics, place))),
                Asked::Unsubscribe { id } => drop(wanted.remove(&id)),
                Asked::Authenticate { token: newer } => token = newer,
                Asked::Ping { .. } => {}
            }
        }
        let mut again = Client::open(server, token, self.room).await;
        for (id, (topics, place)) in wanted {
            again.ask(log, Asked::Subscribe { id, topics, place });
        }
        again.serial = self.serial;
        again
    }

    fn send(&mut self, first: u8, payload: &[u8]) {
        self.socket.write_all(&masked(first, payload)).expect("the server reads what is sent");
    }

    fn ask(&mut self, log: &Log, asked: Asked) {
        let message = match &asked {
            Asked::Subscribe { id, topics, place } => {
                let mut message = json!({ "type": "subscribe", "id": id });
                if !topics.is_empty() {
                    message["topics"] = json!(topics);
                }
                match place {
                    Place::Now => {}
                    Place::Earliest => message["cursor"] = "earliest".into(),
                    Place::After(offset) => message["cursor"] = log.cursor(*offset).into(),
                }
                message
            }
            Asked::Unsubscribe { id } => json!({ "type": "unsubscribe", "id": id }),
            Asked::Authenticate { token } => {
                json!({ "type": "authenticate", "id": "a", "token": format!("u+{token}") })
            }
            Asked::Ping { id } => json!({ "type": "ping", "id": id }),
        };
        self.asked.push_back(asked);
        self.send(FIN | TEXT, message.to_string().as_bytes());
    }

    /// Reads at most `most` bytes of what is there.
    fn take(&mut self, most: usize) {
        let mut chunk = vec![0; most];
        match self.socket.read(&mut chunk) {
            Ok(0) => panic!("the server hung up: {:?}", String::from_utf8_lossy(&self.bytes)),
            Ok(read) => self.bytes.extend_from_slice(&chunk[..read]),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
        }
    }

    /// Looks at the messages that have come whole.
    fn check(&mut self, log: &Log) {
        while let Some((frame, length)) = split(&self.bytes) {
            self.bytes.drain(..length);
            match frame.opcode {
                TEXT => {
                    let message: Value = serde_json::from_slice(&frame.payload).unwrap();
                    self.hear(log, &message);
                }
                PING => self.send(FIN | PONG, &frame.payload),
                PONG => assert_eq!(Some(frame.payload), self.pings.pop_front(), "pongs come in order"),
                other => panic!("an unexpected opcode: {other}: {:?}", String::from_utf8_lossy(&frame.payload)),
            }
        }
    }

    fn hear(&mut self, log: &Log, message: &Value) {
        let cursor = message["cursor"].as_str().map(|cursor| cursor.parse::<Cursor>().unwrap().offset);
        match message["type"].as_str().unwrap() {
            "open" | "heartbeat" => {}
            "subscribed" => self.subscribed(log, message, cursor.unwrap()),
            "unsubscribed" => {
                let Some(Asked::Unsubscribe { id }) = self.asked.pop_front() else { panic!("{message}") };
                assert_eq!(message["id"], id);
                self.subscriptions.remove(&id);
            }
            "authenticated" => {
                let Some(Asked::Authenticate { token }) = self.asked.pop_front() else { panic!("{message}") };
                // Twice in a row: what came in between may have been seen with any of the three.
                self.token_before = if self.token_before.is_some() { Some("none") } else { Some(self.token) };
                self.token = token;
            }
            "pong" => {
                let Some(Asked::Ping { id }) = self.asked.pop_front() else { panic!("{message}") };
                assert_eq!(message["id"], id);
            }
            "event" => self.event(log, message, cursor.unwrap()),
            "signal" => {
                assert_eq!(self.past, None, "signals are of the present: {message}");
                let event = &log.all[message["data"].as_u64().unwrap() as usize];
                let sees = |topics| Interest { filter: filter(topics), grants: grants(self.token) }.covers(event);
                assert!(self.topics().any(sees), "{message} is not for it");
            }
            "gap" => {
                assert_eq!(message["reason"], "trimmed");
                self.gaps += 1;
                let resumed = message["resumed"].as_str().unwrap().parse::<Cursor>().unwrap().offset;
                // Whatever the connection reads at the moment goes on there.
                let past = self.past.clone();
                let overtaken =
                    self.subscriptions.iter_mut().filter(|(id, _)| past.as_ref().is_none_or(|past| past == *id));
                for (_, subscription) in overtaken {
                    subscription.at = subscription.at.max(resumed);
                    subscription.cursor = subscription.cursor.max(resumed);
                }
            }
            "live" => {
                let id = self.past.take().expect("it was told its past");
                assert_eq!(message["id"], id);
                self.settle(log, cursor.unwrap());
                self.keep(cursor.unwrap());
            }
            "cursor" => {
                assert_eq!(self.past, None);
                self.settle(log, cursor.unwrap());
                self.keep(cursor.unwrap());
            }
            other => panic!("unexpected: {other} in {message}"),
        }
    }

    /// What any of its subscriptions asks for.
    fn topics(&self) -> impl Iterator<Item = &'static [&'static str]> {
        self.subscriptions.values().map(|subscription| subscription.topics)
    }

    /// Whether another is about to take its place: from when on is not known.
    fn is_fading(&self, id: &str) -> bool {
        self.asked.iter().any(|asked| matches!(asked, Asked::Subscribe { id: other, .. } if other == id))
    }

    fn subscribed(&mut self, log: &Log, message: &Value, from: Offset) {
        let Some(Asked::Subscribe { id, topics, place }) = self.asked.pop_front() else { panic!("{message}") };
        assert_eq!(message["id"], id);
        assert_eq!(self.past, None, "one after the other");
        let is_live = message["live"].as_bool().unwrap();
        match (place, message["gap"]["reason"].as_str()) {
            (Place::Now, None) => assert!(is_live, "{message}"),
            (Place::Earliest, None) => assert!(from == Offset::START || log.is_trimmed, "{message}"),
            (Place::After(offset), None) => assert_eq!(from, offset),
            (Place::After(offset), Some("trimmed")) => {
                assert!(from > offset, "{message}");
                self.gaps += 1;
            }
            _ => panic!("{message}"),
        }
        self.subscriptions.remove(&id);
        if is_live {
            // It begins where the connection is.
            self.settle(log, from);
        } else {
            (self.past, self.pasts) = (Some(id.clone()), self.pasts + 1);
        }
        self.subscriptions.insert(id, Subscription { topics, at: from, cursor: from });
    }

    fn event(&mut self, log: &Log, message: &Value, offset: Offset) {
        let n = message["data"].as_u64().unwrap();
        self.received += 1;
        if let Some(id) = &self.past {
            let own = self.subscriptions.get_mut(id).unwrap();
            let next = log.next(own.at, &filter(own.topics), &grants(self.token), None);
            assert_eq!(next, Some((offset, n)), "the next of the past of {id}");
            (own.at, own.cursor) = (offset, offset);
            return;
        }
        let event = &log.all[n as usize];
        let sees = |topics| Interest { filter: filter(topics), grants: grants(self.token) }.covers(event);
        assert!(self.topics().any(sees), "{n} is not for it: {message}");
        self.settle(log, Offset(offset.0 - 1));
        for (id, subscription) in &mut self.subscriptions {
            assert!(subscription.at < offset, "{n} came to {id} though it is at {}", subscription.at);
            subscription.at = offset;
            if sees(subscription.topics) {
                subscription.cursor = offset;
            }
        }
        self.token_before = None;
    }

    /// The connection is at this place: all that was for any subscription up to it has come.
    fn settle(&mut self, log: &Log, place: Offset) {
        let (now, before) = (grants(self.token), self.token_before.map(grants));
        for (id, subscription) in &self.subscriptions {
            let next = log.next(subscription.at, &filter(subscription.topics), &now, before.as_ref());
            assert!(
                next.is_none_or(|(offset, _)| offset > place) || self.is_fading(id),
                "{id} at {} was not given {next:?} before {place}",
                subscription.at
            );
        }
        for subscription in self.subscriptions.values_mut() {
            subscription.at = subscription.at.max(place);
        }
        self.token_before = None;
    }

    fn keep(&mut self, cursor: Offset) {
        for subscription in self.subscriptions.values_mut() {
            subscription.cursor = subscription.cursor.max(cursor);
        }
    }

    /// What it waits for.
    fn state(&self) -> String {
        let subscriptions = self.subscriptions.iter().map(|(id, one)| format!("{id} at {} {:?}", one.at, one.topics));
        let subscriptions: Vec<_> = subscriptions.collect();
        let (asked, past, pings) = (&self.asked, &self.past, self.pings.len());
        format!("asked {asked:?}, on the past of {past:?}, {pings} pings, {subscriptions:?}, room {}", self.room)
    }

    /// Whether everything was answered, and all that was for it has come.
    fn is_done(&self, log: &Log) -> bool {
        let (now, before) = (grants(self.token), self.token_before.map(grants));
        let waits = |subscription: &Subscription| {
            log.next(subscription.at, &filter(subscription.topics), &now, before.as_ref()).is_some()
        };
        self.asked.is_empty() && self.pings.is_empty() && self.past.is_none() && !self.subscriptions.values().any(waits)
    }
}

/// Something that a client may ask for.
fn request(random: &mut Random, log: &Log, client: &mut Client) -> Asked {
    client.serial += 1;
    match random.below(12) {
        0..2 if !client.subscriptions.is_empty() => {
            let ids: Vec<String> = client.subscriptions.keys().cloned().collect();
            Asked::Unsubscribe { id: random.pick(&ids).clone() }
        }
        2 => Asked::Authenticate { token: random.pick::<&str>(&GRANTS) },
        3..5 => Asked::Ping { id: format!("p{}", client.serial) },
        _ => {
            let place = match random.below(10) {
                0..3 => Place::Now,
                3 => Place::Earliest,
                // Among the newest: a slow connection has not come so far.
                4..7 if !log.kept.is_empty() => {
                    let newest = log.kept.len() as u64;
                    Place::After(log.kept[(newest - 1 - random.below(newest.min(4))) as usize].0)
                }
                _ if !log.kept.is_empty() => Place::After(random.pick(&log.kept).0),
                _ => Place::Now,
            };
            let id = format!("s{}", random.below(4));
            Asked::Subscribe { id, topics: random.pick::<&[&str]>(&TOPICS), place }
        }
    }
}

fn one_of<'a>(random: &mut Random, clients: &'a mut [Client]) -> &'a mut Client {
    let index = random.below(clients.len() as u64) as usize;
    &mut clients[index]
}

/// What a run has shown.
#[derive(Debug, Default)]
struct Shown {
    pasts: usize,
    received: u64,
    gaps: usize,
}

impl Shown {
    fn by(&mut self, client: &Client) {
        self.pasts += client.pasts;
        self.received += client.received;
        self.gaps += client.gaps;
    }
}

async fn stress(seed: u64, retention: Retention, shown: &mut Shown) {
    let is_trimmed = retention != Retention::FOREVER;
    let random = &mut Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let limits = Limits {
        window_events: 1 + random.below(40) as usize,
        page_events: 1 + random.below(8) as usize,
        page_bytes: 1 + random.below(4000) as usize,
        write_bytes: random.below(3000) as usize * usize::from(!seed.is_multiple_of(8)),
        turn_bytes: 30_000 + random.below(6000) as usize,
        write_stall: Duration::from_secs(1 << 30),
        messages_per_second: 1_000_000,
        connections_per_address: 1_000_000,
        connections_per_principal: 1_000_000,
        ..Limits::default()
    };
    let settings = StreamSettings { cursor_every: Duration::from_secs(30), ..StreamSettings::default() };
    let server = Server::start(Driver::Lanes, Options { limits, settings, retention, ..Options::default() }).await;
    let mut log = Log { epoch: Some(server.hub.cursor(Offset::START)), is_trimmed, ..Log::default() };
    let mut clients: Vec<Client> = Vec::new();
    for _ in 0..400 {
        match random.below(24) {
            0..7 => {
                let many = if random.below(3) > 0 { 3 } else { 30 };
                let mut batch = Vec::new();
                for _ in 0..1 + random.below(many) {
                    let n = (log.all.len() + batch.len()) as u64;
                    let (topic, audience) = (format!("t/{}", random.below(4)), *random.pick(&["red", "blue", "other"]));
                    let padding = if random.below(10) == 0 { random.below(6000) } else { random.below(60) };
                    let mut event = event(&topic, audience, n, padding as usize);
                    if random.below(8) == 0 {
                        (event.kept, event.key) = (false, Some("a".into()));
                    }
                    batch.push(event);
                }
                let first = log.all.len() as u64;
                log.all.extend(batch.iter().cloned());
                let published = server.hub.publish(batch).await.unwrap();
                let kept = (first..).zip(published).filter_map(|(n, published)| Some((published.cursor?.offset, n)));
                log.kept.extend(kept);
            }
            7..14 if !clients.is_empty() => {
                let client = one_of(random, &mut clients);
                client.take(1 + random.below(9000) as usize);
                client.check(&log);
            }
            14..19 if !clients.is_empty() => {
                let client = one_of(random, &mut clients);
                if client.asked.len() < 6 {
                    let asked = request(random, &log, client);
                    client.ask(&log, asked);
                }
            }
            19 if !clients.is_empty() => {
                let client = one_of(random, &mut clients);
                let payload = random.next().to_be_bytes().to_vec();
                client.send(FIN | PING, &payload);
                client.pings.push_back(payload);
            }
            20 if clients.len() < 6 => {
                let client = Client::open(&server, random.pick::<&str>(&GRANTS), 1 << random.below(15)).await;
                clients.push(client);
            }
            21 if !clients.is_empty() => {
                let old = clients.swap_remove(random.below(clients.len() as u64) as usize);
                shown.by(&old);
                if random.below(4) > 0 {
                    clients.push(old.reopen(&server, &log).await);
                }
            }
            22 => server.clock.advance(Duration::from_millis(random.below(20_000))),
            // Lets the lanes come to their place, so that what follows is live.
            _ => {
                for _ in 0..random.below(200) {
                    tokio::task::yield_now().await;
                }
            }
        }
    }
    for client in &mut clients {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !client.is_done(&log) {
            assert!(Instant::now() < deadline, "it never came to an end: {}", client.state());
            client.take(1 << 16);
            client.check(&log);
            tokio::task::yield_now().await;
        }
        shown.by(client);
    }
    let count = clients.len() as u64;
    server.until("those that left are gone", |server| server.service.open_streams() == count).await;
    assert!(is_trimmed || shown.gaps == 0, "nothing was trimmed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_asked_for_each_subscription_has_its_events_once_and_in_order() {
    let mut shown = Shown::default();
    for seed in seeds() {
        println!("seed {seed}");
        stress(seed, Retention::FOREVER, &mut shown).await;
    }
    assert!(shown.pasts > 0 && shown.received > 200, "too little to mean anything: {shown:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_retention_took_from_a_subscription_is_told_and_nothing_else_is_missing() {
    let mut shown = Shown::default();
    for seed in seeds() {
        println!("seed {seed}");
        stress(seed, Retention { events: Some(1 + seed % 50), ..Retention::FOREVER }, &mut shown).await;
    }
    // Of a slow reader more is taken than of a fast one.
    assert!(shown.gaps > 0 && shown.received > 200, "too little to mean anything: {shown:?}");
}

/// A few, for each run; more with `STRESS_SEEDS=from..to`.
fn seeds() -> std::ops::Range<u64> {
    let Ok(range) = std::env::var("STRESS_SEEDS") else { return 1..25 };
    let (from, to) = range.split_once("..").unwrap();
    from.parse().unwrap()..to.parse().unwrap()
}
