//! Clients that vanish, ask too much or come twice: they harm neither the lane nor the others, and nothing is left of them.

#[path = "socketio/client.rs"]
#[allow(dead_code, reason = "written for other tests too")]
mod client;
mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use client::{By, Eio, Session, ask, path, quiet, settings, settle};
use common::websocket::{FIN, PONG, TEXT, WebSocket, masked, split};
use common::{Driver, Options, Server, event};
use serde_json::{Value, json};
use tidings::{
    Broker, BrokerError, Clock, CloseReason, EventRule, Head, Implications, Limits, NewEvent, Offset, Page, Profile,
    Query, Revocation, Tail,
};
use tidings_brokers::memory::{MemoryBroker, MemorySettings};
use tidings_brokers::retention::Retention;
use tidings_transports::handover::{Handed, Handover};
use tidings_transports::lane::{Conversation, End};
use tidings_transports::{Greeting, Rejection, StreamSettings};
use tokio::sync::Semaphore;
use tower::ServiceExt;

const BOTH: [Driver; 2] = [Driver::Lanes, Driver::Carried];

/// As many messages as anybody likes: how many are too many is not what is asked here.
fn talkative() -> Limits {
    Limits { messages_per_second: 1_000_000, ..Limits::default() }
}

async fn begin(driver: Driver, settings: StreamSettings, limits: Limits) -> Server {
    Server::start(driver, Options { settings, limits, ..Options::default() }).await
}

/// A WebSocket that speaks our own protocol and has said hello.
async fn connect(server: &Server, target: &str) -> WebSocket {
    let mut socket = server.websocket(target, "u+all").await;
    assert_eq!(socket.hear().await["type"], "open");
    socket
}

async fn request(socket: &mut WebSocket, message: Value) -> Value {
    socket.tell(message).await;
    socket.hear().await
}

fn padded(topic: &str, n: u64, bytes: usize) -> NewEvent {
    NewEvent { data: format!("{n}{}", " ".repeat(bytes)).into(), ..event(topic, "all", n) }
}

/// A client in `/` and in `/custom` as one principal.
async fn twice<'a>(server: &'a Server, token: &str) -> Session<'a> {
    let mut session = Session::connected(server, Eio::V4, By::WebSocket, token).await;
    session.say("40/custom,").await;
    client::connected(&session.next().await, "40/custom,");
    session
}

/// Others are served, and nothing is left of those who came before.
async fn serves_others(server: &Server) {
    let mut session = Session::connected(server, Eio::V4, By::WebSocket, "works+all").await;
    session.is_alive().await;
    drop(session);
    server.until("nobody is left", |server| server.service.limiter.open() == 0).await;
}

/// What a session hears until its transport ends.
async fn last_words(session: &mut Session<'_>) -> Vec<String> {
    let mut heard = Vec::new();
    while let Some(packet) = session.hear().await {
        heard.push(packet);
    }
    heard
}

/// Breaks the connection as the kernel does for a client that crashed.
fn reset(socket: WebSocket) {
    socket.client.socket().set_linger(Some(Duration::ZERO)).unwrap();
}

/// A connection whose server end is held by the test too, so that it can die at a known moment: a Unix socket, to which the kernel gives
/// no more room than was asked for.
struct Pipe {
    ours: UnixStream,
    theirs: UnixStream,
    bytes: Vec<u8>,
}

impl Pipe {
    async fn open(server: &Server, target: &str, token: &str) -> Pipe {
        let (ours, theirs) = UnixStream::pair().unwrap();
        socket2::SockRef::from(&ours).set_send_buffer_size(8_000).unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let request = http::Request::get(target)
            .header("host", "x")
            .header("upgrade", "websocket")
            .header("connection", "Upgrade")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("sec-websocket-version", "13")
            .header("authorization", format!("Bearer {token}"));
        let response = server.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let handed = response.extensions().get::<Handover>().and_then(Handover::take);
        let Some(Handed::Conversation(granted, session)) = handed else { panic!("{response:?}") };
        let end = End::Socket(TcpStream::from(OwnedFd::from(ours.try_clone().unwrap())));
        let (head, unread) = (bytes::Bytes::new(), Vec::new());
        let lanes = server.service.lanes.as_ref().unwrap();
        lanes.converse(Conversation { end, head, unread, granted, session, polls: false });
        let mut pipe = Pipe { ours, theirs, bytes: Vec::new() };
        pipe.next();
        pipe
    }

    /// From now on each write of the lane fails, though nothing tells it so before.
    fn die(&self) {
        self.ours.shutdown(Shutdown::Write).unwrap();
    }

    fn say(&mut self, text: &str) {
        self.theirs.write_all(&masked(FIN | TEXT, text.as_bytes())).unwrap();
    }

    /// The next text message.
    fn next(&mut self) -> String {
        loop {
            if let Some((frame, length)) = split(&self.bytes) {
                self.bytes.drain(..length);
                assert_eq!(frame.opcode, TEXT, "{frame:?}");
                return String::from_utf8(frame.payload).unwrap();
            }
            let mut chunk = [0; 65536];
            let read = match self.theirs.read(&mut chunk) {
                // A read with a timeout is interrupted where the process was stopped for a while.
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                read => read.expect("something comes within a minute"),
            };
            assert!(read > 0, "it goes on");
            self.bytes.extend_from_slice(&chunk[..read]);
        }
    }

    /// Connects to a namespace, given with its comma.
    fn enter(&mut self, namespace: &str) {
        self.say(&format!("40{namespace}"));
        let answer = self.next();
        assert!(answer.starts_with(&format!("40{namespace}{{")), "{answer}");
    }
}

/// A broker whose reads can be held up.
struct Slow {
    inner: MemoryBroker,
    held: AtomicBool,
    arrived: Semaphore,
    open: Semaphore,
}

impl Slow {
    fn new() -> Arc<Slow> {
        let inner = MemoryBroker::new(MemorySettings { retention: Retention::FOREVER });
        Arc::new(Slow { inner, held: AtomicBool::new(false), arrived: Semaphore::new(0), open: Semaphore::new(0) })
    }

    fn hold(&self) {
        self.held.store(true, Ordering::SeqCst);
    }

    fn let_go(&self) {
        self.held.store(false, Ordering::SeqCst);
        self.open.add_permits(1_000);
    }
}

#[async_trait]
impl Broker for Slow {
    async fn publish(&self, batch: Vec<NewEvent>) -> Result<Vec<Option<Offset>>, BrokerError> {
        self.inner.publish(batch).await
    }

    async fn read(&self, query: Query) -> Result<Page, BrokerError> {
        if self.held.load(Ordering::SeqCst) {
            self.arrived.add_permits(1);
            self.open.acquire().await.unwrap().forget();
        }
        self.inner.read(query).await
    }

    fn head(&self) -> Head {
        self.inner.head()
    }

    fn tail(&self, tail: Arc<dyn Tail>) {
        self.inner.tail(tail);
    }
}

// --- Clients that vanish ---

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_subscribes_190_times_and_resets_harms_nobody() {
    let server = begin(Driver::Lanes, StreamSettings::default(), talkative()).await;
    let mut witness = connect(&server, "/v1/ws?topic=w").await;
    assert_eq!(witness.hear().await["type"], "subscribed");
    let subscribe =
        |n: usize| masked(FIN | TEXT, json!({ "type": "subscribe", "id": n.to_string() }).to_string().as_bytes());
    let all: Vec<u8> = (0..190).flat_map(|n| subscribe(n % 3)).collect();
    for round in 0..100 {
        let mut socket = connect(&server, "/v1/ws").await;
        let before = server.service.counters().heard.load(Ordering::Relaxed);
        socket.client.send(&all).await;
        let heard = |server: &Server| server.service.counters().heard.load(Ordering::Relaxed) >= before + round;
        server.until("some of it is heard", heard).await;
        reset(socket);
    }
    // The same where the lane is sure to find out while it answers.
    for _ in 0..10 {
        let mut pipe = Pipe::open(&server, "/v1/ws", "u+all").await;
        pipe.die();
        pipe.theirs.write_all(&all).unwrap();
        server.until("it is gone", |server| server.service.open_streams() == 1).await;
    }
    server.publish("w", "all", 7).await;
    assert_eq!(witness.hear().await["data"], 7);
    drop(witness);
    server.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_who_is_in_two_namespaces_is_sent_away_once_and_cleanly() {
    let server = begin(Driver::Lanes, quiet(), talkative()).await;
    for reason in [CloseReason::Reauthenticate, CloseReason::Revoked] {
        let mut witness = Session::connected(&server, Eio::V4, By::WebSocket, "ann+all").await;
        let mut session = twice(&server, "u+all").await;
        server.hub.close(&Revocation::principal("u"), reason);
        if reason.come_back() {
            assert_eq!(last_words(&mut session).await, [""; 0]);
            assert!(session.socket.as_ref().unwrap().closed.is_some(), "its transport ends with a word");
        } else {
            let mut heard = [session.next().await, session.next().await];
            heard.sort_unstable();
            assert_eq!(heard, ["41", "41/custom,"]);
        }
        // The same where its socket is dead already.
        for _ in 0..10 {
            let mut pipe = Pipe::open(&server, &path(Eio::V4, "websocket"), "v+all").await;
            pipe.enter("");
            pipe.enter("/custom,");
            pipe.die();
            server.hub.close(&Revocation::principal("v"), reason);
            settle(&server).await;
        }
        let ours = |server: &Server| server.service.open_streams() <= 2;
        server.until("the dead are gone", ours).await;
        witness.is_alive().await;
    }
    serves_others(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_dies_in_a_round_takes_nothing_from_a_slow_one_with_two_namespaces() {
    const EVENTS: u64 = 40;
    let server = begin(Driver::Lanes, quiet(), talkative()).await;
    let target = path(Eio::V4, "websocket");
    // Two of each, one for each lane. Their classes are told in the order in which they came: what the slow one is told in its second
    // namespace comes first, then the dead one is found out, and then the slow one has its turn in its first namespace.
    let (mut slow, mut dead) = (Vec::new(), Vec::new());
    for n in 0..2 {
        slow.push(Pipe::open(&server, &target, &format!("slow{n}+all+slow/{n}")).await);
    }
    for n in 0..2 {
        dead.push(Pipe::open(&server, &target, &format!("dead{n}+all+dead/{n}")).await);
    }
    slow.iter_mut().for_each(|pipe| pipe.enter("/custom,"));
    for pipe in &mut dead {
        pipe.enter("");
        pipe.enter("/custom,");
    }
    slow.iter_mut().for_each(|pipe| pipe.enter(""));
    settle(&server).await;
    dead.iter().for_each(Pipe::die);
    for n in 0..EVENTS {
        server.publish_all([padded("t", n, 30_000)]).await;
    }
    server.until("the dead are gone", |server| server.service.open_streams() == 4).await;
    for pipe in &mut slow {
        let (mut main, mut custom) = (0, 0);
        while main < EVENTS || custom < EVENTS {
            let packet = pipe.next();
            let (next, json) = match packet.strip_prefix("42/custom,") {
                Some(json) => (&mut custom, json),
                None => (&mut main, packet.strip_prefix("42").unwrap_or_else(|| panic!("{packet}"))),
            };
            let told: Value = serde_json::from_str(json).expect("a whole frame");
            assert_eq!(told[1], *next, "in order, each once");
            *next += 1;
        }
    }
}

// --- Clients that read little or nothing ---

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_polls_lives_however_much_waits_for_it() {
    const EVENTS: u64 = 60;
    let server = begin(Driver::Lanes, quiet(), talkative()).await;
    let session = Session::connected(&server, Eio::V4, By::Polling, "slow+all").await;
    for n in 0..EVENTS * 30 {
        server.publish_all([padded("t", n, 200)]).await;
    }
    // More seconds than it may go without a ping, and than a socket may take nothing.
    let (mut next, mut pings) = (0, 0);
    for second in 0.. {
        for packet in session.polled().await {
            match packet.as_str() {
                "2" => {
                    pings += 1;
                    assert_eq!(session.post("3").await.status, 200);
                }
                event => {
                    let told: Value = serde_json::from_str(event.strip_prefix("42").expect("an event")).unwrap();
                    assert_eq!(told[1], next, "in order, each once");
                    next += 1;
                }
            }
        }
        assert!(pings >= second / 26, "a ping in time: {pings} in {second} s");
        if next == EVENTS * 30 {
            assert!(second > 90, "too little to mean anything: {second} s");
            return;
        }
        server.clock.advance(Duration::from_secs(1));
        settle(&server).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_larger_than_a_turn_is_told_whole() {
    let rule = EventRule::new("state", "states".parse().unwrap(), vec![vec!["all".parse().unwrap()]]);
    let rule = EventRule { retain: true, key: Some("{data.id}".parse().unwrap()), ..rule };
    let profile = Arc::new(Profile::new("app", Some("app"), Implications::default(), [rule]));
    for driver in BOTH {
        let limits = Limits { turn_bytes: 4_096, ..talkative() };
        let server = Server::start(driver, Options { limits, profile: profile.clone(), ..Options::default() }).await;
        for n in 0..6 {
            server.tell(json!({ "name": "state", "data": { "id": n, "is": "x".repeat(900_000) } })).await;
        }
        let mut socket = server.websocket("/v1/ws?topic=states", "u+app/all").await;
        assert_eq!(socket.hear().await["type"], "open");
        // What it asks right away is answered, for it reads.
        socket.tell(json!({ "type": "ping", "id": "p" })).await;
        assert_eq!(socket.hear().await["type"], "subscribed");
        let (mut states, mut pongs) = (Vec::new(), 0);
        while states.len() < 6 || pongs < 1 {
            let heard = socket.hear().await;
            match heard["type"].as_str() {
                Some("pong") => pongs += 1,
                _ => states.push(heard["data"]["id"].as_u64().unwrap_or_else(|| panic!("{driver:?} {heard}"))),
            }
        }
        states.sort_unstable();
        assert_eq!(states, [0, 1, 2, 3, 4, 5], "{driver:?}");
        server.tell(json!({ "name": "state", "data": { "id": 9 } })).await;
        assert_eq!(socket.hear().await["data"]["id"], 9);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_carried_client_that_never_reads_is_let_go_and_its_socket_closed() {
    // By the clock of the world: it is the socket that stands still.
    let limits = Limits { write_stall: Duration::from_millis(300), ..talkative() };
    let server = begin(Driver::Carried, StreamSettings::default(), limits).await;
    let mut socket = connect(&server, "/v1/ws?topic=p").await;
    for n in 0..200 {
        server.publish_all([padded("p", n, 100_000)]).await;
    }
    server.until("it is let go", |server| server.service.open_streams() == 0).await;
    server.until("nothing is counted any more", |server| server.service.limiter.open() == 0).await;
    let rest = socket.client.all().await;
    assert!(rest.len() < 20_000_000, "the socket ends before all was told");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_while_a_page_of_the_log_is_under_way_loses_nothing() {
    const BEFORE: u64 = 200;
    for driver in BOTH {
        for authenticates in [false, true] {
            let broker = Slow::new();
            let limits = Limits { window_events: 4, ..talkative() };
            let options = Options { limits, broker: Some(broker.clone()), ..Options::default() };
            let server = Server::start(driver, options).await;
            let mut socket = connect(&server, "/v1/ws?topic=p").await;
            assert_eq!(socket.hear().await["type"], "subscribed");
            let other = json!({ "type": "subscribe", "id": "other", "topics": ["zz"] });
            assert_eq!(request(&mut socket, other).await["type"], "subscribed");
            broker.hold();
            for n in 0..BEFORE {
                server.publish_all([padded("p", n, 100_000)]).await;
            }
            let (mut events, mut answers) = (Vec::new(), 0);
            loop {
                tokio::select! {
                    message = socket.hear() => events.push(message["data"].as_u64().unwrap()),
                    arrived = broker.arrived.acquire() => break arrived.unwrap().forget(),
                }
            }
            if authenticates {
                socket.tell(json!({ "type": "authenticate", "token": "u+all~9000000" })).await;
                while server.service.streams().await.iter().all(|stream| stream.principal.expires_at.is_none()) {}
            } else {
                socket.tell(json!({ "type": "unsubscribe", "id": "other" })).await;
                let hears_other = |stream: &tidings_transports::lane::OpenStream| {
                    stream.filter.topics.iter().flat_map(|topics| topics.iter()).any(|topic| topic.as_str() == "zz")
                };
                while server.service.streams().await.iter().any(hears_other) {}
            }
            broker.let_go();
            for n in 0..20 {
                server.publish("p", "all", BEFORE + n).await;
            }
            while events.len() < BEFORE as usize + 20 || answers == 0 {
                let message = socket.hear().await;
                match message["type"].as_str() {
                    Some("event") => events.push(message["data"].as_u64().unwrap()),
                    Some("unsubscribed" | "authenticated") => answers += 1,
                    _ => panic!("{message}"),
                }
            }
            assert_eq!(events, (0..BEFORE + 20).collect::<Vec<_>>(), "{driver:?}");
        }
    }
}

// --- Clients that ask too much ---

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_comes_that_no_subscription_asked_for_as_a_whole() {
    let server = begin(Driver::Lanes, StreamSettings::default(), talkative()).await;
    let mut socket = connect(&server, "/v1/ws").await;
    for (id, topic, name) in [("a", "a/*", "x"), ("b", "b/*", "n")] {
        let subscribe = json!({ "type": "subscribe", "id": id, "topics": [topic], "names": [name] });
        assert_eq!(request(&mut socket, subscribe).await["type"], "subscribed");
    }
    let named = |topic: &str, name: &str, n: u64| NewEvent { name: name.into(), ..event(topic, "all", n) };
    let told = [("a/1", "n", 1), ("b/1", "x", 2), ("a/1", "x", 3), ("b/1", "n", 4)];
    server.publish_all(told.map(|(topic, name, n)| named(topic, name, n))).await;
    for (name, n) in [("x", 3), ("n", 4)] {
        let heard = socket.hear().await;
        assert_eq!((&heard["name"], &heard["data"]), (&json!(name), &json!(n)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_bounded_in_their_length_and_number() {
    let limits = Limits { filter_topics: 8, ..talkative() };
    let server = begin(Driver::Lanes, StreamSettings::default(), limits).await;
    let mut socket = connect(&server, "/v1/ws").await;
    let subscribe =
        |id: &str, names: Vec<String>| json!({ "type": "subscribe", "id": id, "topics": ["a"], "names": names });
    let refusal = request(&mut socket, subscribe("long", vec!["n".repeat(3_600)])).await;
    assert_eq!((&refusal["type"], &refusal["id"]), (&json!("error"), &json!("long")), "{refusal}");
    let names = |from: usize, count: usize| (from..from + count).map(|n| format!("n{n}")).collect::<Vec<_>>();
    assert_eq!(request(&mut socket, subscribe("many", names(0, 9))).await["type"], "error");
    // Of all subscriptions of a connection together.
    assert_eq!(request(&mut socket, subscribe("1", names(0, 4))).await["type"], "subscribed");
    assert_eq!(request(&mut socket, subscribe("2", names(4, 4))).await["type"], "error");
    assert_eq!(request(&mut socket, subscribe("2", names(4, 2))).await["type"], "subscribed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_posted_while_somebody_is_asked_who_it_is_is_bounded() {
    let server = begin(Driver::Lanes, quiet(), talkative()).await;
    let session = Session::open(&server, Eio::V4, By::Polling, "").await;
    assert_eq!(session.post(r#"40{"token":"gated+all"}"#).await.status, 200);
    server.gate.somebody().await;
    // Somebody of whom nothing is known has not much to say.
    assert_eq!(session.post(&format!(r#"42["e","{}"]"#, "x".repeat(900_000))).await.status, 413);
    let session = Session::open(&server, Eio::V4, By::Polling, "").await;
    assert_eq!(session.post(r#"40{"token":"gated+all"}"#).await.status, 200);
    server.gate.somebody().await;
    let body = format!(r#"42["e","{}"]"#, "x".repeat(60_000));
    let mut taken = 0;
    while session.post(&body).await.status == 200 {
        taken += 1;
        // What is posted is heard in its turn.
        settle(&server).await;
        assert!(taken <= 40, "it is kept without an end");
    }
    assert!(taken > 0, "one message may wait");
    server.gate.open();
    serves_others(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_never_pauses_at_the_border_of_a_message_is_not_cut() {
    let limits = Limits { request_timeout: Duration::from_secs(30), ..talkative() };
    let server = begin(Driver::Lanes, StreamSettings::default(), limits).await;
    let mut socket = connect(&server, "/v1/ws").await;
    let ping = masked(FIN | TEXT, br#"{"type":"ping","id":"1"}"#);
    let (begin, end) = ping.split_at(9);
    let streamed = [end, &masked(FIN | PONG, b""), begin].concat();
    socket.client.send(begin).await;
    for _ in 0..30 {
        socket.client.send(&streamed).await;
        assert_eq!(socket.hear().await["type"], "pong");
        client::pass(&server, 4).await;
    }
}

// --- Clients that come twice, and that are turned away ---

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_the_only_namespace_and_connects_again_is_made_to_come_back() {
    let server = begin(Driver::Lanes, StreamSettings { socketio: Default::default(), ..quiet() }, talkative()).await;
    let mut session = Session::connected(&server, Eio::V4, By::WebSocket, "u+all").await;
    session.say_all(&["41", "40"]).await;
    let heard = last_words(&mut session).await;
    assert!(!heard.iter().any(|packet| packet.starts_with("44")), "an error would keep it away: {heard:?}");
    assert_eq!(session.socket.as_ref().unwrap().closed.as_ref().map(|(code, _)| *code), Some(1000));
    serves_others(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connect_that_fails_does_not_prolong_the_stay() {
    let limits = Limits { header_timeout: Duration::from_secs(30), ..talkative() };
    let server = begin(Driver::Lanes, quiet(), limits).await;
    let mut session = Session::open(&server, Eio::V4, By::WebSocket, "").await;
    for _ in 0..2 {
        client::pass(&server, 10).await;
        session.say("40").await;
        assert!(session.next().await.starts_with("44"));
    }
    client::pass(&server, 8).await;
    assert_eq!(server.service.open_streams(), 1, "it has thirty seconds in all");
    client::pass(&server, 3).await;
    assert_eq!(last_words(&mut session).await, ["2"], "a ping, and the end");
    serves_others(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_connects_may_fail_and_no_more() {
    let server = begin(Driver::Lanes, quiet(), talkative()).await;
    for namespace in ["", "/custom,"] {
        let mut session = Session::open(&server, Eio::V4, By::WebSocket, "").await;
        for _ in 0..5 {
            session.say(&format!("40{namespace}")).await;
            assert!(session.next().await.starts_with(&format!("44{namespace}")));
        }
        session.say(&format!("40{namespace}")).await;
        session.ends(1008).await;
    }
    serves_others(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_principal_that_leaves_and_comes_again_on_one_socket_is_counted_once() {
    let limits = Limits { connections_per_principal: 3, ..talkative() };
    let server = begin(Driver::Lanes, quiet(), limits).await;
    let open = async || Session::open(&server, Eio::V4, By::WebSocket, "u+all").await;
    let mut session = open().await;
    for round in 0..10 {
        session.connect().await;
        if round < 9 {
            session.say("41").await;
        }
    }
    let (mut second, mut third, mut fourth) = (open().await, open().await, open().await);
    second.connect().await;
    third.connect().await;
    fourth.say("40").await;
    assert!(fourth.next().await.starts_with("44"), "there are three already");
    session.say("41").await;
    session.say("40/none,").await;
    assert!(session.next().await.starts_with("44/none,"), "by then it has left");
    // And its place is free when the lane has ended its round.
    settle(&server).await;
    fourth.connect().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_revoked_between_handshake_and_connect_is_told_nothing() {
    let rule = EventRule::new("state", "states".parse().unwrap(), vec![vec!["all".parse().unwrap()]]);
    let profile =
        Arc::new(Profile::new("app", Some("app"), Implications::default(), [EventRule { retain: true, ..rule }]));
    let mut settings = quiet();
    settings.socketio.reject = Rejection::Http;
    settings.socketio.greetings = vec![Greeting { name: "greeting".into(), data: Some(r#""secret""#.into()) }];
    let options = Options { settings, profile, ..Options::default() };
    let server = Server::start(Driver::Lanes, options).await;
    server.tell(json!({ "name": "state", "data": "secret" })).await;
    for by in [By::WebSocket, By::Polling] {
        let mut good = Session::open(&server, Eio::V4, by, "good+app/all").await;
        good.say("40").await;
        client::connected(&good.next().await, "40");
        for told in ["greeting", "state"] {
            let packet = good.next().await;
            assert!(packet.contains("secret"), "others are told the {told}: {packet}");
        }
        let mut revoked = Session::open(&server, Eio::V4, by, "u+app/all").await;
        server.hub.close(&Revocation::principal("u"), CloseReason::Revoked);
        let now = server.clock.now().0;
        let mut expired = Session::open(&server, Eio::V4, by, &format!("v+app/all~{}", now + 5)).await;
        server.clock.advance(Duration::from_millis(10));
        for session in [&mut revoked, &mut expired] {
            session.say("40").await;
            assert!(session.next().await.starts_with("44{"), "{by:?}");
            session.say("40/none,").await;
            assert!(session.next().await.starts_with("44/none,"), "nothing was said in between");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_is_told_before_the_greeting() {
    let mut settings = settings();
    settings.socketio.greetings = vec![Greeting { name: "hi".into(), data: None }];
    let server = begin(Driver::Lanes, settings, talkative()).await;
    for by in [By::WebSocket, By::Polling] {
        let mut session = Session::open(&server, Eio::V4, by, "u+all").await;
        session.say(r#"40{"pid":"aaaaaaaaaaaaaaaaaaaaaaaa","offset":"00000001-5"}"#).await;
        client::connected(&session.next().await, "40");
        let (gap, greeting) = (session.next().await, session.next().await);
        assert!(gap.starts_with(r#"42["tidings.gap""#), "{gap}");
        assert!(greeting.starts_with(r#"42["hi""#), "{greeting}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_client_that_polls_is_offered_the_websocket() {
    for driver in BOTH {
        let server = begin(driver, quiet(), talkative()).await;
        let socket = Session::open(&server, Eio::V4, By::WebSocket, "u+all").await;
        assert_eq!(socket.opened["upgrades"], json!([]), "{driver:?}");
        let polling = Session::open(&server, Eio::V4, By::Polling, "u+all").await;
        assert_eq!(polling.opened["upgrades"], json!(["websocket"]), "{driver:?}");
        let answer = ask(&server, "GET", &path(Eio::V3, "polling"), "", "").await;
        assert!(answer.body.contains(r#""upgrades":["websocket"]"#), "{}", answer.body);
    }
}

// --- Clients that publish ---

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publish_over_a_websocket_is_counted() {
    let server = begin(Driver::Lanes, StreamSettings::default(), talkative()).await;
    let mut socket = connect(&server, "/v1/ws").await;
    let publish = json!({ "type": "publish", "id": "p", "event": { "name": "n", "topic": "t", "audience": ["all"] } });
    assert_eq!(request(&mut socket, publish).await["type"], "published");
    let counted = |server: &Server| {
        let counters = &server.service.counters;
        (counters.publishes.load(Ordering::Relaxed), counters.refused_publishes.load(Ordering::Relaxed))
    };
    assert_eq!(counted(&server), (1, 0));
    let refused = json!({ "type": "publish", "id": "p", "event": { "name": "", "topic": "t" } });
    assert_eq!(request(&mut socket, refused).await["type"], "error");
    assert_eq!(counted(&server), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_many_revocations_of_others_a_long_lived_connection_can_publish() {
    let server = begin(Driver::Lanes, StreamSettings::default(), talkative()).await;
    let mut socket = connect(&server, "/v1/ws").await;
    for n in 0..1_100 {
        server.hub.close(&Revocation::principal(format!("other{n}")), CloseReason::Revoked);
    }
    settle(&server).await;
    let publish = json!({ "type": "publish", "id": "p", "event": { "name": "n", "topic": "t", "audience": ["all"] } });
    let answer = request(&mut socket, publish).await;
    assert_eq!(answer["type"], "published", "{answer}");
}
