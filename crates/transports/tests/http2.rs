//! HTTP/2 with prior knowledge: many streams on one socket, each with the promises of a socket of its own.

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::{Driver, Options, Server, event};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tidings::{Limits, NewEvent};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

struct Connection {
    send: SendRequest<Empty<Bytes>>,
    task: JoinHandle<()>,
}

impl Connection {
    async fn open(server: &Server) -> Connection {
        let socket = TcpStream::connect(server.address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        let (send, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(65_535)
            .initial_connection_window_size(8 << 20)
            .handshake(TokioIo::new(socket))
            .await
            .unwrap();
        let task = tokio::spawn(async move { drop(connection.await) });
        Connection { send, task }
    }

    async fn get(&mut self, target: &str, token: &str, last: &str) -> http::Response<Incoming> {
        let mut request = http::Request::get(format!("http://x{target}"));
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if !last.is_empty() {
            request = request.header("last-event-id", last);
        }
        self.send.ready().await.unwrap();
        self.send.send_request(request.body(Empty::new()).unwrap()).await.unwrap()
    }

    async fn listen(&mut self, query: &str, token: &str, last: &str) -> Events {
        let response = self.get(&format!("/v1/events?{query}"), token, last).await;
        assert_eq!(response.status(), 200);
        assert!(response.headers().get("connection").is_none(), "HTTP/2 has no such header");
        Events { body: response.into_body(), text: String::new() }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Events {
    body: Incoming,
    text: String,
}

impl Events {
    /// The data and id of the next event named `n`.
    async fn next(&mut self) -> (String, String) {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
                assert_ne!(field("event: "), "tidings.gap", "{block}");
                if field("event: ") == "n" {
                    return (field("data: ").trim().to_owned(), field("id: ").to_owned());
                }
                continue;
            }
            let frame = tokio::time::timeout(Duration::from_secs(60), self.body.frame()).await.expect("nothing came");
            let data = frame.expect("the stream goes on").unwrap().into_data().unwrap();
            self.text.push_str(std::str::from_utf8(&data).unwrap());
        }
    }

    async fn numbers(&mut self, count: usize) -> Vec<u64> {
        let mut numbers = Vec::new();
        while numbers.len() < count {
            numbers.push(self.next().await.0.parse().unwrap());
        }
        numbers
    }
}

async fn start(limits: Limits) -> Server {
    let server = Server::start(Driver::Lanes, Options { limits, ..Options::default() }).await;
    server.works().await;
    server
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_called_what_it_is_and_counts_how_long_events_took() {
    let server = start(Limits::default()).await;
    let mut connection = Connection::open(&server).await;
    let latency = || server.service.counters().latency.summary(server.hub.clock().ticks());
    server.clock.advance(Duration::from_secs(120));
    let mut stream = connection.listen("topic=t", "u+red", "").await;
    server.until("it is there", |server| server.hub.subscribers().len() == 1).await;
    assert_eq!(server.service.streams().await[0].transport, "sse");
    assert_eq!(latency(), None);
    server.publish_all([NewEvent { time: server.hub.clock().now(), ..event("t", "red", 1) }]).await;
    assert_eq!(stream.numbers(1).await, [1]);
    assert!(latency().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_connection_carries_many_streams_and_each_gets_what_it_may() {
    let server = start(Limits::default()).await;
    let mut connection = Connection::open(&server).await;
    let mut streams = Vec::new();
    for number in 0..100 {
        let grant = if number % 2 == 0 { "red" } else { "blue" };
        streams.push(connection.listen("topic=t", &format!("u{number}+{grant}"), "").await);
    }
    server.until("all are open", |server| server.service.open_streams() == 100).await;
    for number in 0..10 {
        server.publish("t", if number % 2 == 0 { "red" } else { "blue" }, number).await;
    }
    for (index, stream) in (0u64..).zip(&mut streams) {
        let expected: Vec<u64> = (0..10).filter(|number| number % 2 == index % 2).collect();
        assert_eq!(stream.numbers(5).await, expected);
    }
    drop((streams, connection));
    server.until("all are forgotten", |server| server.service.open_streams() == 0).await;
    server.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_resumes_on_the_same_connection_or_another() {
    let server = start(Limits::default()).await;
    let mut connection = Connection::open(&server).await;
    let mut stream = connection.listen("topic=t", "u+all", "").await;
    server.publish("t", "all", 1).await;
    let (_, last) = stream.next().await;
    drop(stream);
    server.publish("t", "all", 2).await;
    let mut same = connection.listen("topic=t", "u+all", &last).await;
    let mut other = Connection::open(&server).await;
    let mut elsewhere = other.listen("topic=t", "u+all", &last).await;
    server.publish("t", "all", 3).await;
    assert_eq!(same.numbers(2).await, [2, 3]);
    assert_eq!(elsewhere.numbers(2).await, [2, 3]);
    drop((same, elsewhere, connection, other));
    server.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_not_read_holds_up_none_beside_it_and_loses_nothing() {
    let server = start(Limits { window_events: 256, ..Limits::default() }).await;
    let mut connection = Connection::open(&server).await;
    let mut slow = connection.listen("topic=t", "slow+all", "").await;
    let mut quick = connection.listen("topic=t", "quick+all", "").await;
    // Far more than the window of a stream, and than that of the hub.
    for first in (0u64..2_000).step_by(100) {
        let events = (first..first + 100).map(|number| {
            let mut event = event("t", "all", number);
            event.data = format!("{number}{}", " ".repeat(2_000)).into_bytes().into();
            event
        });
        server.publish_all(events).await;
        assert_eq!(quick.numbers(100).await, (first..first + 100).collect::<Vec<_>>());
    }
    assert_eq!(slow.numbers(2_000).await, (0..2_000).collect::<Vec<_>>());
    drop((slow, quick, connection));
    server.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_reset_is_forgotten_and_those_beside_it_go_on() {
    let server = start(Limits::default()).await;
    let mut connection = Connection::open(&server).await;
    let mut stays = connection.listen("topic=t", "stays+all", "").await;
    for round in 0..300 {
        // Dropped before its end: a reset (RFC 9113 §6.4). More often than streams may be open at once.
        drop(connection.listen("", &format!("u{round}+all"), "").await);
    }
    server.publish("t", "all", 7).await;
    assert_eq!(stays.numbers(1).await, [7]);
    server.until("only one is open", |server| server.service.open_streams() == 1).await;
    drop((stays, connection));
    server.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_are_those_of_every_transport() {
    let server = start(Limits::default()).await;
    let mut connection = Connection::open(&server).await;
    for (target, token, status) in [
        ("/v1/events", "", 401),
        ("/v1/events?topic=a//b", "u", 400),
        ("/v1/poll?wait=x", "u", 400),
        ("/v1/publish", "u", 405),
    ] {
        let response = connection.get(target, token, "").await;
        assert_eq!(response.status(), status, "{target}");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(problem["status"], status);
    }
    drop(connection);
    server.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_on_one_socket_count_for_their_address() {
    let server = start(Limits { connections_per_address: 5, ..Limits::default() }).await;
    let mut connection = Connection::open(&server).await;
    let mut streams = Vec::new();
    for _ in 0..4 {
        streams.push(connection.listen("", "nobody+all", "").await);
    }
    let response = connection.get("/v1/events", "nobody+all", "").await;
    assert_eq!(response.status(), 429, "the socket and its four streams are five");
    assert_eq!(response.headers()["retry-after"], "30");
    streams.pop();
    server.until("one is forgotten", |server| server.service.open_streams() == 3).await;
    // Its place is free a moment after it is counted no more.
    let next = async {
        loop {
            let response = connection.get("/v1/events", "nobody+all", "").await;
            if response.status() == 200 {
                break response;
            }
            assert_eq!(response.status(), 429);
        }
    };
    let next = tokio::time::timeout(Duration::from_secs(60), next).await.expect("its place is free");
    drop((response, next, streams, connection));
    server.until("no connection is left", |server| server.service.limiter.open() == 0).await;
    server.works().await;
}
