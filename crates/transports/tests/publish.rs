//! `POST /v1/publish` with what can go wrong: each refusal says what and where, and nothing is published by halves.

mod common;

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use common::{Client, Driver, Options, Server};
use serde_json::{Value, json};
use tidings::broker::Page;
use tidings::{Broker, BrokerError, CloseReason, Head, Limits, NewEvent, Offset, Principal, Query, Revocation, Tail};
use tidings_brokers::memory::{MemoryBroker, MemorySettings};
use tidings_brokers::retention::Retention;
use tidings_transports::{Begun, Ended, Idempotency, Problem};
use tokio::sync::Semaphore;

async fn start(limits: Limits) -> Server {
    Server::start(Driver::Lanes, Options { limits, ..Options::default() }).await
}

fn head(token: &str, media: &str, more: &str) -> String {
    format!(
        "POST /v1/publish HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-type: {media}\r\n{more}\r\n"
    )
}

/// Begins a streamed request whose body stays open.
async fn lines(server: &Server, token: &str) -> Client {
    let mut client = server.connect().await;
    client.send(head(token, "application/x-ndjson", "transfer-encoding: chunked\r\n").as_bytes()).await;
    client
}

fn chunk(text: &str) -> Vec<u8> {
    format!("{:x}\r\n{text}\r\n", text.len()).into_bytes()
}

fn n(n: u64) -> String {
    json!({ "name": "n", "topic": "t", "data": n, "audience": ["all"] }).to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_refusal_says_what_is_wrong_and_where() {
    let limits = Limits { request_bytes: 4096, event_data: 100, event_scope: 50, batch_events: 3, ..Limits::default() };
    let server = start(limits).await;
    let json = "application/json";
    let many = format!("[{}]", [n(1), n(2), n(3), n(4)].join(","));
    let large =
        json!([{ "name": "n", "topic": "t" }, { "name": "n", "topic": "t", "data": "x".repeat(200) }]).to_string();
    let scope = json!({ "name": "n", "topic": "t", "scope": { "a": "x".repeat(200) } }).to_string();
    let huge = json!({ "name": "n", "topic": "t", "data": "x".repeat(9000) }).to_string();
    let cases: &[(&str, &str, &str, u16, &str, Value)] = &[
        ("u", json, "", 400, "invalid-json", json!({ "line": 1, "column": 0 })),
        ("u", json, "{\"name\":\"n\",\n \"topic\" 1}", 400, "invalid-json", json!({ "line": 2, "column": 10 })),
        ("u", json, "[{\"name\":\"n\"}", 400, "invalid-json", json!({ "line": 1 })),
        ("u", json, "{\"name\":\"n\"} {}", 400, "invalid-json", json!({ "line": 1, "column": 14 })),
        ("u", json, "\u{feff}{}", 400, "invalid-json", json!({ "line": 1, "column": 1 })),
        ("u", json, "7", 422, "invalid-event", json!({ "index": 0, "field": "event" })),
        ("u", json, "[null]", 422, "invalid-event", json!({ "index": 0, "field": "event" })),
        ("u", json, "{\"nome\":\"n\"}", 422, "invalid-event", json!({ "index": 0 })),
        ("u", json, "{\"name\":\"a\\nb\",\"topic\":\"t\"}", 422, "invalid-name", json!({ "field": "name" })),
        ("u", json, "{\"name\":\"n\",\"topic\":\"a\\u0000b\"}", 422, "invalid-topic", json!({ "field": "topic" })),
        ("u", json, "{\"name\":\"n\",\"topic\":\"a//b\"}", 422, "invalid-topic", json!({ "field": "topic" })),
        ("u", json, &many, 413, "too-many-events", json!({ "limit": 3 })),
        ("u", json, &large, 413, "data-too-large", json!({ "index": 1, "field": "data" })),
        ("u", json, &scope, 413, "scope-too-large", json!({ "index": 0, "field": "scope" })),
        ("u", json, &huge, 413, "body-too-large", json!({ "limit": 4096 })),
        ("reader", json, "{}", 403, "may-not-publish", json!({})),
        ("limited", json, &n(1), 403, "may-not-publish", json!({ "index": 0, "field": "topic" })),
        ("u", "application/x-www-form-urlencoded", "a=b", 415, "unsupported-media-type", json!({})),
        ("u", "multipart/form-data; boundary=x", "--x--", 415, "unsupported-media-type", json!({})),
        ("u", "text/plain;charset=application/json", "{}", 415, "unsupported-media-type", json!({})),
        ("u", "", "{}", 415, "unsupported-media-type", json!({})),
    ];
    for (token, media, body, status, code, members) in cases {
        let request = format!("{}{body}", head(token, media, &format!("content-length: {}\r\n", body.len())));
        let mut client = server.raw(request.as_bytes()).await;
        assert_eq!(client.status, *status, "{body}");
        let problem = client.problem().await;
        // One event with a fault says its code in the list of all.
        let said = problem["errors"][0]["code"].as_str().unwrap_or_default();
        let kind = problem["type"].as_str().unwrap();
        assert!(kind.ends_with(code) || said == *code, "{code}: {problem}");
        for (name, value) in members.as_object().unwrap() {
            assert_eq!(&problem[name], value, "{name} of {problem}");
        }
    }
    assert_eq!(server.broker.head().last, Offset::START, "nothing was published");
    server.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_and_how_is_checked_before_the_body() {
    let server = start(Limits::default()).await;
    let mut client = server
        .raw(b"POST /v1/publish HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\nexpect: 100-continue\r\n\r\n")
        .await;
    assert_eq!(client.status, 401, "no 100 Continue for a body that nobody wants");
    assert!(client.head.contains("www-authenticate: bearer realm=\"tidings\"\r\n"), "{}", client.head);
    client.problem().await;
    for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let mut client = server.raw(format!("{method} /v1/publish HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await;
        assert_eq!(client.status, 405, "{method}");
        assert!(client.head.contains("allow: post\r\n"), "{}", client.head);
        client.problem().await;
    }
    let request =
        head("u", "application/json", "content-length: 2\r\n").replace("/v1/publish", "/v1/publish?profile=nope%0a");
    let mut client = server.raw(format!("{request}{{}}").as_bytes()).await;
    assert_eq!(client.status, 404);
    assert!(client.problem().await["detail"].as_str().unwrap().contains("\"nope\\n\""));
    drop(client);
    server.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_asks_first_is_told_to_go_on() {
    let server = start(Limits::default()).await;
    let mut client = server.connect().await;
    let body = n(1);
    let request = head("u", "application/json", &format!("content-length: {}\r\nexpect: 100-continue\r\n", body.len()));
    client.send(request.as_bytes()).await;
    client.read_head().await;
    assert_eq!(client.status, 100);
    client.send(body.as_bytes()).await;
    client.read_head().await;
    assert_eq!(client.status, 200);
    drop(client);
    server.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_wrong_events_each_is_named_and_nothing_is_published() {
    let server = start(Limits::default()).await;
    let body = format!("[{},{{\"name\":\"\"}},{},{{\"name\":\"n\",\"topic\":\"*\"}}]", n(1), n(2));
    let (status, problem) = server.post("u", "application/json", &body).await;
    assert_eq!(status, 422);
    assert_eq!((&problem["index"], &problem["published"]), (&json!(1), &json!(0)), "{problem}");
    let places: Vec<_> =
        problem["errors"].as_array().unwrap().iter().map(|e| (e["index"].clone(), e["field"].clone())).collect();
    assert_eq!(places, [(json!(1), json!("name")), (json!(3), json!("topic"))]);
    assert_eq!(server.broker.head().last, Offset::START);
    server.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_is_answered_while_the_next_is_not_yet_sent() {
    let server = start(Limits::default()).await;
    let mut reader = server.listen("", "r+all", None).await;
    let mut client = lines(&server, "u").await;
    for number in 0..3 {
        client.send(&chunk(&format!("{}\n", n(number)))).await;
        if number == 0 {
            client.read_head().await;
            assert_eq!(client.status, 200);
        }
        let answer = client.line().await.unwrap();
        assert_eq!(answer["index"], number);
        assert!(answer["result"]["cursor"].is_string(), "{answer}");
        assert_eq!(reader.numbers(1).await, [number], "who is told of it has it");
    }
    client.send(b"0\r\n\r\n").await;
    assert_eq!(client.line().await, None);
    drop((client, reader));
    server.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_line_is_answered_with_what_is_wrong_and_the_next_go_on() {
    let limits = Limits { event_data: 100, ..Limits::default() };
    let server = start(limits).await;
    let mut reader = server.listen("", "r+all", None).await;
    let mut client = lines(&server, "u").await;
    let large = json!({ "name": "n", "topic": "t", "data": "x".repeat(200) });
    let body = format!("{}\nnot json\n\r\n  \n{}\n{large}\n{}", n(1), n(2), n(3));
    client.send(&chunk(&body)).await;
    client.send(b"1\r\n\xff\r\n").await;
    client.send(&chunk(&format!("\n{}", n(4)))).await;
    client.send(b"0\r\n\r\n").await;
    client.read_head().await;
    let mut answers = Vec::new();
    while let Some(answer) = client.line().await {
        answers.push(answer);
    }
    let indexes: Vec<_> = answers.iter().map(|answer| answer["index"].as_u64().unwrap()).collect();
    assert_eq!(indexes, [0, 1, 2, 3, 4, 5], "empty lines are no events: {answers:?}");
    assert_eq!(answers[1]["error"]["code"], "invalid-event");
    assert_eq!((&answers[3]["error"]["status"], &answers[3]["error"]["field"]), (&json!(413), &json!("data")));
    assert!(answers[4]["error"]["detail"].as_str().unwrap().contains("UTF-8"), "{}", answers[4]);
    assert!(answers[5]["result"]["cursor"].is_string(), "the last line needs no line end: {}", answers[5]);
    assert_eq!(reader.numbers(3).await, [1, 2, 4]);
    drop((client, reader));
    server.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_without_an_end_is_cut_off_at_the_bound() {
    let server = start(Limits { request_bytes: 10_000, ..Limits::default() }).await;
    let mut client = lines(&server, "u").await;
    client.send(&chunk(&format!("{}\n", n(1)))).await;
    client.read_head().await;
    assert_eq!(client.line().await.unwrap()["index"], 0);
    for _ in 0..3 {
        client.send(&chunk(&" ".repeat(5_000))).await;
    }
    let last = client.line().await.unwrap();
    assert_eq!(
        (&last["end"], &last["error"]["status"], &last["error"]["index"]),
        (&json!(true), &json!(413), &json!(1))
    );
    assert_eq!(client.line().await, None);
    drop(client);
    server.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let server = start(Limits { request_timeout: Duration::from_millis(200), ..Limits::default() }).await;
    let mut client = server.raw(head("u", "application/json", "content-length: 100\r\n").as_bytes()).await;
    assert_eq!(client.status, 408);
    client.problem().await;
    let mut client = lines(&server, "u").await;
    client.read_head().await;
    let last = client.line().await.unwrap();
    assert_eq!((&last["end"], &last["error"]["status"]), (&json!(true), &json!(408)));
    assert_eq!(client.line().await, None);
    drop(client);
    server.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_cut_off_publishes_nothing() {
    let server = start(Limits::default()).await;
    let mut client = server.connect().await;
    client.send(format!("{}{}", head("u", "application/json", "content-length: 1000\r\n"), n(1)).as_bytes()).await;
    drop(client);
    let mut client = lines(&server, "u").await;
    client.send(&chunk(&n(2))).await;
    drop(client);
    server.works().await;
    let page = Query { topics: None, after: Offset::START, until: Offset(u64::MAX), limit: 10, max_bytes: 1 << 20 };
    let events = server.broker.read(page).await.unwrap().events;
    assert!(events.iter().all(|event| event.topic.as_str() == "still/here"), "{events:?}");
}

/// Sends lines and reads no answer: its connection is let go, and nobody else waits for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_that_reads_no_answers_is_let_go_and_blocks_nobody() {
    let server = start(Limits { write_stall: Duration::from_millis(500), ..Limits::default() }).await;
    let mut client = lines(&server, "u").await;
    let wrong = chunk(&"x\n".repeat(10_000));
    let mut sent = 0usize;
    // Each wrong line of two bytes is answered with a hundred.
    let flood = async {
        while client.try_send(&wrong).await.is_ok() {
            sent += wrong.len();
        }
    };
    let beside = async {
        let mut reader = server.listen("", "r+all", None).await;
        for number in 0..20 {
            assert_eq!(server.post("u", "application/json", &n(number)).await.0, 200);
            assert_eq!(reader.numbers(1).await, [number]);
        }
    };
    tokio::time::timeout(Duration::from_secs(60), async { tokio::join!(flood, beside) }).await.expect("it is let go");
    assert!(sent < 8 << 20, "{sent} bytes were taken from a client that reads nothing");
    drop(client);
    server.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_revoked_publishes_no_further_line() {
    let server = start(Limits::default()).await;
    for (token, end) in [("bad", "revoked"), ("old~1010000", "expired")] {
        let mut client = lines(&server, token).await;
        client.send(&chunk(&format!("{}\n", n(1)))).await;
        client.read_head().await;
        assert!(client.line().await.unwrap()["result"].is_object());
        let last = server.broker.head().last;
        server.hub.close(&Revocation::principal("bad"), CloseReason::Revoked);
        server.clock.advance(Duration::from_secs(6));
        client.send(&chunk(&format!("{}\n", n(2)))).await;
        let answer = client.line().await.unwrap();
        assert_eq!((&answer["end"], &answer["error"]["status"]), (&json!(true), &json!(401)), "{end}");
        assert!(answer["error"]["detail"].as_str().unwrap().contains(end), "{answer}");
        assert_eq!(server.broker.head().last, last);
    }
    server.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idempotency_key_is_one_word_and_never_ignored() {
    let server = start(Limits::default()).await;
    let long = "k".repeat(256);
    for key in ["", "two words", "tab\tbed", "ümlaut", &long] {
        let more = format!("content-length: {}\r\nidempotency-key: {key}\r\n", n(1).len());
        let mut client = server.raw(format!("{}{}", head("u", "application/json", &more), n(1)).as_bytes()).await;
        assert_eq!(client.status, 400, "{key:?}");
        assert!(client.problem().await["type"].as_str().unwrap().ends_with("invalid-idempotency-key"));
    }
    let mut client =
        server.raw(head("u", "application/x-ndjson", "content-length: 0\r\nidempotency-key: k\r\n").as_bytes()).await;
    assert_eq!(client.status, 400, "lines can't be remembered, and saying nothing would be a promise");
    client.problem().await;
    drop(client);
    assert_eq!(server.broker.head().last, Offset::START);
    server.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_in_an_event_breaks_its_frame() {
    for driver in [Driver::Lanes, Driver::Bodies] {
        let server = Server::start(driver, Options::default()).await;
        let mut reader = server.listen("", "r+all", None).await;
        let data = "{\r\n\"a\":\"x\\u0000\\r\\n\\ndata: y\\n\\nid: 9\",\n\r\"event: z\"\n:\r1}";
        let body = format!("{{\"name\":\"event: id\",\"topic\":\"data: t\",\"audience\":[\"all\"],\"data\":{data}}}");
        let (status, answer) = server.post("u", "application/json", &body).await;
        if status == 200 {
            let event = reader.next().await.unwrap();
            assert_eq!(event.id, answer["results"][0]["cursor"].as_str().unwrap());
        }
        let body = format!("{{\"name\":\"n\",\"topic\":\"t\",\"audience\":[\"all\"],\"data\":{data}}}");
        let (status, answer) = server.post("u", "application/json", &body).await;
        assert_eq!(status, 200, "{answer}");
        let event = reader.next().await.unwrap();
        let expected: Value = serde_json::from_str(data).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&event.data).unwrap(), expected);
        assert_eq!(event.id, answer["results"][0]["cursor"].as_str().unwrap());
        drop(reader);
        server.works().await;
    }
}

/// A log that is slow with what has an `Idempotency-Key`.
struct Slow {
    inner: MemoryBroker,
    arrived: AtomicU8,
    go: Semaphore,
}

#[async_trait]
impl Broker for Slow {
    async fn publish(&self, batch: Vec<NewEvent>) -> Result<Vec<Option<Offset>>, BrokerError> {
        if batch.iter().any(|event| event.dedup.is_some()) {
            self.arrived.fetch_add(1, Ordering::SeqCst);
            self.go.acquire().await.unwrap().forget();
        }
        self.inner.publish(batch).await
    }

    async fn read(&self, query: Query) -> Result<Page, BrokerError> {
        self.inner.read(query).await
    }

    fn head(&self) -> Head {
        self.inner.head()
    }

    fn tail(&self, tail: Arc<dyn Tail>) {
        self.inner.tail(tail);
    }
}

/// Takes every request for new, and keeps what came of it.
#[derive(Default)]
struct Remembered(Mutex<Vec<String>>);

#[async_trait]
impl Idempotency for Remembered {
    async fn begin(&self, _: &Principal, _: &str, _: &[u8]) -> Result<Begun, Problem> {
        Ok(Begun::New([7; 16]))
    }

    async fn end(&self, _: [u8; 16], _: &[u8], ended: Ended<'_>) {
        self.0.lock().unwrap().push(format!("{ended:?}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_became_of_a_request_is_remembered_also_when_its_client_is_gone() {
    let inner = MemoryBroker::new(MemorySettings { retention: Retention::FOREVER });
    let broker = Arc::new(Slow { inner, arrived: AtomicU8::new(0), go: Semaphore::new(0) });
    let remembered = Arc::new(Remembered::default());
    let options = Options { broker: Some(broker.clone()), idempotency: Some(remembered.clone()), ..Options::default() };
    let server = Server::start(Driver::Lanes, options).await;
    let mut client = server.connect().await;
    let more = format!("content-length: {}\r\nidempotency-key: k\r\n", n(1).len());
    client.send(format!("{}{}", head("u", "application/json", &more), n(1)).as_bytes()).await;
    server.until("it is handed to the log", |_| broker.arrived.load(Ordering::SeqCst) == 1).await;
    drop(client);
    // Long enough for the server to notice.
    server.works().await;
    assert_eq!(*remembered.0.lock().unwrap(), [""; 0]);
    broker.go.add_permits(1);
    server.until("it is remembered", |_| !remembered.0.lock().unwrap().is_empty()).await;
    assert!(remembered.0.lock().unwrap()[0].starts_with("Answered("));
}

/// A log that refuses while it is told to.
struct Failing {
    inner: MemoryBroker,
    mode: AtomicU8,
}

#[async_trait]
impl Broker for Failing {
    async fn publish(&self, batch: Vec<NewEvent>) -> Result<Vec<Option<Offset>>, BrokerError> {
        match self.mode.load(Ordering::SeqCst) {
            0 => self.inner.publish(batch).await,
            1 => Err(BrokerError::Full("no space left on /secret/path".into())),
            2 => Err(BrokerError::Unavailable("gone from /secret/path".into())),
            _ => Err(BrokerError::Refused("the event is of the wrong colour".into())),
        }
    }

    async fn read(&self, query: Query) -> Result<Page, BrokerError> {
        self.inner.read(query).await
    }

    fn head(&self) -> Head {
        self.inner.head()
    }

    fn tail(&self, tail: Arc<dyn Tail>) {
        self.inner.tail(tail);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_refuses_is_told_and_reading_goes_on() {
    let broker = Arc::new(Failing {
        inner: MemoryBroker::new(MemorySettings { retention: Retention::FOREVER }),
        mode: AtomicU8::new(0),
    });
    let server = Server::start(Driver::Lanes, Options { broker: Some(broker.clone()), ..Options::default() }).await;
    let first = server.publish("t", "all", 1).await;
    for (mode, status, code, retry) in [
        (1, 503, "log-full", "retry-after: 10"),
        (2, 503, "log-unavailable", "retry-after: 2"),
        (3, 422, "refused", ""),
    ] {
        broker.mode.store(mode, Ordering::SeqCst);
        let request =
            format!("{}{}", head("u", "application/json", &format!("content-length: {}\r\n", n(1).len())), n(1));
        let mut client = server.raw(request.as_bytes()).await;
        assert_eq!(client.status, status);
        assert!(client.head.contains(retry), "{}", client.head);
        let problem = client.problem().await;
        assert!(problem["type"].as_str().unwrap().ends_with(code), "{problem}");
        assert!(!problem.to_string().contains("/secret"), "{problem}");
        let mut streamed = lines(&server, "u").await;
        streamed.send(&chunk(&format!("{}\n", n(1)))).await;
        streamed.read_head().await;
        let last = streamed.line().await.unwrap();
        assert_eq!((&last["end"], &last["error"]["status"]), (&json!(true), &json!(status)));
        let earliest = server.listen("last_event_id=earliest", "r+all", None).await.numbers(1).await;
        assert_eq!(earliest, [1], "reading goes on");
        broker.mode.store(0, Ordering::SeqCst);
    }
    assert_eq!(server.broker.head().last.0.to_string(), first.rsplit('-').next().unwrap());
    server.works().await;
}

/// Most clients send all of a body before they read the answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_reaches_a_client_that_is_still_sending() {
    let server = start(Limits { request_bytes: 16 << 20, ..Limits::default() }).await;
    let (half, unwanted) = (vec![b' '; 30 << 20], vec![b'x'; 15 << 20]);
    for (token, media, body, status) in [("u", "application/json", &half, 413), ("u", "text/plain", &unwanted, 415)] {
        let mut client = server.connect().await;
        client.send(head(token, media, &format!("content-length: {}\r\n", body.len())).as_bytes()).await;
        for piece in body.chunks(1 << 20) {
            client.send(piece).await;
        }
        client.read_head().await;
        assert_eq!(client.status, status);
        client.problem().await;
    }
    server.works().await;
}
