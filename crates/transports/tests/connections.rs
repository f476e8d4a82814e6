//! Odd connections: bounded, and of no concern to anybody else.

mod common;

use std::time::Duration;

use common::{Client, Driver, Options, Server, event};
use tidings::Limits;

const STREAM: &str = "GET /v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer u+all\r\n";

async fn start(limits: Limits) -> Server {
    let server = Server::start(Driver::Lanes, Options { limits, ..Options::default() }).await;
    server.works().await;
    server
}

/// As quick as a test can wait for, and slow enough for who begins at once on a machine that stands still now and then.
fn quick() -> Limits {
    Limits { header_timeout: Duration::from_secs(5), ..Limits::default() }
}

async fn connection(server: &Server, bytes: &[u8]) -> Client {
    let mut client = server.connect().await;
    client.send(bytes).await;
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_client_is_given_a_stream_too() {
    let request = format!("{}\r\n", STREAM.replace("1.1", "1.0").replace("host: x\r\n", ""));
    for driver in [Driver::Lanes, Driver::Bodies] {
        let server = Server::start(driver, Options::default()).await;
        let mut client = server.raw(request.as_bytes()).await;
        assert_eq!(client.status, 200);
        assert!(!client.head.contains("chunked"), "HTTP/1.0 knows no chunks: {}", client.head);
        server.publish("t", "all", 1).await;
        assert_eq!(client.next().await.unwrap().name, "tidings.open");
        assert_eq!(client.numbers(1).await, [1]);
        drop(client);
        server.works().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_of_a_body_that_is_not_read_says_that_the_connection_ends_and_a_small_body_ends_none() {
    let server = start(Limits::default()).await;
    let head = |length: usize| format!("POST /v1/publish HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n");
    let large = server.raw(format!("{}\r\nabc", head(1_000_000)).as_bytes()).await;
    assert_eq!((large.status, large.head.contains("connection: close")), (401, true), "{}", large.head);
    let expecting = server.raw(format!("{}expect: 100-continue\r\n\r\n", head(10)).as_bytes()).await;
    assert_eq!((expecting.status, expecting.head.contains("connection: close")), (401, true), "{}", expecting.head);
    let mut both = connection(&server, format!("{}\r\n0123456789", head(10)).as_bytes()).await;
    both.send(format!("{}\r\n0123456789", head(10).replace("host: x", "host: x\r\nconnection: close")).as_bytes())
        .await;
    let answers = both.all().await;
    assert_eq!(answers.matches("HTTP/1.1 401").count(), 2, "{answers}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_without_end_is_cut_off() {
    let server = start(Limits { header_bytes: 8192, ..Limits::default() }).await;
    let many: String = (0..500).map(|n| format!("x-{n}: y\r\n")).collect();
    let endless = format!("x: {}", "y".repeat(100_000));
    let target = format!("GET /{} HTTP/1.1\r\n", "a".repeat(70_000));
    for head in [format!("{STREAM}{many}"), format!("{STREAM}{endless}"), target, "G".repeat(100_000)] {
        let mut client = server.connect().await;
        // It may hang up before everything is sent.
        let _ = client.try_send(head.as_bytes()).await;
        let answer = client.all().await;
        let status = answer.split(' ').nth(1).unwrap_or_default();
        assert!(["400", "414", "431", ""].contains(&status), "{answer}");
    }
    server.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_get_to_the_point_is_not_waited_for() {
    let server = start(quick()).await;
    let whole = "GET /plain HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut clients = Vec::new();
    for begun in ["", "G", "GET /v1/ev", STREAM, "PRI ", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", whole] {
        clients.push((begun, connection(&server, begun.as_bytes()).await));
    }
    for (begun, mut client) in clients {
        let answer = client.all().await;
        assert!(begun == whole || !answer.contains("200 OK"), "{begun:?}: {answer}");
    }
    server.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_drips_is_not_waited_for() {
    let server = start(quick()).await;
    let mut client = connection(&server, STREAM.as_bytes()).await;
    let drip = async {
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        loop {
            tick.tick().await;
            if client.try_send(b"x: y\r\n").await.is_err() {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), drip).await.expect("it is hung up on");
    drop(client);
    server.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_http_is_hung_up_on() {
    let server = start(quick()).await;
    let hello = [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], &[7; 506]].concat();
    let noise: Vec<u8> = (0..5000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let broken = [&preface[..], &noise].concat();
    let cases: [&[u8]; 8] = [
        &hello,
        &noise,
        &broken,
        b"\0\0\0\0",
        b"\r\n\r\n\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /v1/events HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
        b"POST /v1/publish HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
    ];
    let mut clients = Vec::new();
    for bytes in cases {
        let mut client = server.connect().await;
        let _ = client.try_send(bytes).await;
        clients.push(client);
    }
    for mut client in clients {
        let answer = client.all().await;
        assert!(!answer.contains(" 200 "), "{answer}");
    }
    server.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_does_not_mind_a_body_in_its_request() {
    for driver in [Driver::Lanes, Driver::Bodies] {
        let server = Server::start(driver, Options::default()).await;
        let mut client = server.raw(format!("{STREAM}content-length: 10\r\n\r\n0123").as_bytes()).await;
        assert_eq!(client.status, 200);
        assert_eq!(client.next().await.unwrap().name, "tidings.open");
        client.send(b"456789").await;
        server.publish("t", "all", 1).await;
        assert_eq!(client.numbers(1).await, [1]);
        drop(client);
        server.works().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_holds_no_more_connections_than_it_may() {
    // Who says nothing is kept for as long as the others take to come.
    let header_timeout = Duration::from_secs(600);
    let limits = Limits { connections_per_address: 100, header_timeout, ..Limits::default() };
    let server = start(limits).await;
    let mut idle = Vec::new();
    for _ in 0..2_000 {
        idle.push(server.connect().await);
    }
    // The last to be refused sees it; so all before it were looked at.
    assert_eq!(idle.last_mut().unwrap().all().await, "");
    assert_eq!(server.service.limiter.open(), 100);
    assert_eq!(server.service.limiter.refused.load(std::sync::atomic::Ordering::Relaxed), 1_900);
    drop(idle);
    server.until("their places are free again", |server| server.service.limiter.open() == 0).await;
    server.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_says_on_its_stream_is_not_kept() {
    let server = start(Limits::default()).await;
    let mut good = server.listen("", "good+all", None).await;
    let mut client = server.listen("", "u+all", None).await;
    let _ = client.try_send(&vec![b'x'; 8 << 20]).await;
    drop(client);
    server.publish("t", "all", 1).await;
    assert_eq!(good.numbers(1).await, [1]);
    drop(good);
    server.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_in_a_response_body_that_takes_nothing_is_let_go_too() {
    let limits = Limits { write_stall: Duration::from_millis(300), ..Limits::default() };
    let server = Server::start(Driver::Bodies, Options { limits, ..Options::default() }).await;
    let asleep = server.listen("", "asleep+all", None).await;
    for number in 0..200 {
        let mut event = event("t", "all", number);
        event.data = format!("\"{}\"", "x".repeat(100_000)).into();
        server.publish_all([event]).await;
    }
    server.until("it is let go", |server| server.service.open_streams() == 0).await;
    drop(asleep);
    server.works().await;
}
