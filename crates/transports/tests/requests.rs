//! Requests for a stream, with what can be wrong about them: refused with a problem that says so, and readable where the answer would be.

mod common;

use std::time::Duration;

use common::{Client, Driver, Options, Server};
use serde_json::json;
use tidings::Limits;
use tidings_transports::{Cors, StreamSettings};

async fn start(limits: Limits) -> Server {
    Server::start(Driver::Lanes, Options { limits, ..Options::default() }).await
}

async fn get(server: &Server, target: &str, more: &str) -> Client {
    server.raw(format!("GET {target} HTTP/1.1\r\nhost: x\r\n{more}\r\n").as_bytes()).await
}

const TOKEN: &str = "authorization: Bearer u+all\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_refusal_says_what_is_wrong() {
    let server = start(Limits { filter_topics: 3, ..Limits::default() }).await;
    let accept = |accept: &str| format!("{TOKEN}accept: {accept}\r\n");
    let cases = [
        ("/v1/events", "".to_owned(), 401, "no-credential", "www-authenticate: bearer realm=\"tidings\"\r\n"),
        ("/v1/events", "authorization: Bearer u+a//b\r\n".into(), 401, "invalid-credential", "error=\"bad\""),
        ("/v1/events", accept("text/html"), 406, "not-acceptable", ""),
        ("/v1/events", accept("text/event-stream;q=0"), 406, "not-acceptable", ""),
        ("/v1/events", accept("\u{1f600}"), 406, "not-acceptable", ""),
        ("/v1/poll", accept("text/event-stream"), 406, "not-acceptable", ""),
        ("/v1/events?topic=a//b", TOKEN.into(), 400, "invalid-topic", ""),
        ("/v1/events?topic=%00", TOKEN.into(), 400, "invalid-topic", ""),
        ("/v1/events?topic=a%0d%0ax:y", TOKEN.into(), 400, "invalid-topic", ""),
        ("/v1/events?topics=a,**/b,%ff", TOKEN.into(), 400, "invalid-topic", ""),
        ("/v1/poll?topic=", TOKEN.into(), 400, "invalid-topic", ""),
        ("/v1/events?topics=a,b,c,d", TOKEN.into(), 400, "too-many-topics", ""),
        ("/v1/events?names=a,b,c,d", TOKEN.into(), 400, "too-many-topics", ""),
    ];
    for (target, more, status, code, header) in cases {
        let mut client = get(&server, target, &more).await;
        assert_eq!(client.status, status, "{target} {more}");
        assert!(client.head.contains(header), "{}", client.head);
        assert!(client.head.contains("cache-control: no-store"), "{}", client.head);
        let problem = client.problem().await;
        assert!(problem["type"].as_str().unwrap().ends_with(code), "{code}: {problem}");
    }
    for accepted in ["*/*", "text/*", "Text/Event-Stream", "text/html, text/event-stream;q=0.1"] {
        assert_eq!(get(&server, "/v1/events", &accept(accepted)).await.status, 200, "{accepted}");
    }
    server.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_method_that_a_path_does_not_take_is_answered_with_those_it_takes() {
    let server = start(Limits::default()).await;
    for (path, allow, wrong) in [
        ("/v1/events", "allow: get, head, options\r\n", &["POST", "PUT", "DELETE", "BREW"][..]),
        ("/v1/poll", "allow: get, options\r\n", &["POST", "PUT", "TRACE"][..]),
    ] {
        for method in wrong {
            let request = format!("{method} {path} HTTP/1.1\r\nhost: x\r\n{TOKEN}content-length: 0\r\n\r\n");
            let mut client = server.raw(request.as_bytes()).await;
            assert_eq!(client.status, 405, "{method} {path}");
            assert!(client.head.contains(allow), "{}", client.head);
            client.problem().await;
        }
        let client = server.raw(format!("OPTIONS {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await;
        assert_eq!(client.status, 204);
        assert!(client.head.contains(allow), "{}", client.head);
    }
    let request = format!("HEAD /v1/poll HTTP/1.1\r\nhost: x\r\n{TOKEN}\r\n");
    assert_eq!(server.raw(request.as_bytes()).await.status, 405);
    server.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_is_answered_like_a_get_and_holds_no_stream() {
    for driver in [Driver::Lanes, Driver::Bodies] {
        let server = Server::start(driver, Options::default()).await;
        for (token, status) in [(TOKEN, 200), ("", 401)] {
            let request = format!("HEAD /v1/events HTTP/1.1\r\nhost: x\r\n{token}connection: close\r\n\r\n");
            let mut client = server.raw(request.as_bytes()).await;
            assert_eq!(client.status, status);
            assert_eq!(client.rest().await, "");
        }
        server.until("it holds none", |server| server.service.open_streams() == 0).await;
        server.works().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_an_allowed_origin_can_read_the_answer_and_also_why_not() {
    let ours = "origin: https://app.example\r\n";
    let theirs = "origin: https://evil.example\r\n";
    let origins = Cors::Origins(vec!["https://app.example".into()]);
    let local = Cors::Origins(vec!["http://localhost:*".into()]);
    // The settings, the origin, and what is allowed: nothing, everybody, or this one.
    let cases = [
        (Cors::Same, ours, None),
        (Cors::Any, theirs, Some("*")),
        (origins.clone(), ours, Some("https://app.example")),
        (origins, theirs, None),
        (local.clone(), "origin: http://localhost:5173\r\n", Some("http://localhost:5173")),
        (local.clone(), "origin: http://localhost:80.evil.example\r\n", None),
        (local.clone(), "origin: https://localhost:5173\r\n", None),
        (local, "origin: http://localhost.evil.example:5173\r\n", None),
    ];
    for (cors, origin, allowed) in cases {
        let named = matches!(cors, Cors::Origins(_));
        let settings = StreamSettings { cors, ..StreamSettings::default() };
        let server = Server::start(Driver::Lanes, Options { settings, ..Options::default() }).await;
        let requests = [
            format!("GET /v1/events HTTP/1.1\r\nhost: x\r\n{origin}{TOKEN}\r\n"),
            format!("GET /v1/events HTTP/1.1\r\nhost: x\r\n{origin}\r\n"),
            format!("GET /v1/events?topic=// HTTP/1.1\r\nhost: x\r\n{origin}{TOKEN}\r\n"),
            format!("GET /v1/poll HTTP/1.1\r\nhost: x\r\n{origin}{TOKEN}\r\n"),
            format!("GET /v1/poll?wait=x HTTP/1.1\r\nhost: x\r\n{origin}{TOKEN}\r\n"),
            format!("DELETE /v1/events HTTP/1.1\r\nhost: x\r\n{origin}{TOKEN}\r\n"),
            format!(
                "OPTIONS /v1/events HTTP/1.1\r\nhost: x\r\n{origin}access-control-request-headers: authorization\r\n\r\n"
            ),
        ];
        for request in requests {
            let head = server.raw(request.as_bytes()).await.head;
            let said = head.lines().find_map(|line| line.strip_prefix("access-control-allow-origin: "));
            assert_eq!(said, allowed, "{request}{head}");
            let credentials = head.contains("access-control-allow-credentials: true");
            assert_eq!(credentials, named && allowed.is_some(), "{head}");
            assert_eq!(head.contains("vary: origin"), named, "a cache must not give it to another origin: {head}");
            if request.starts_with("OPTIONS") {
                let headers = head.contains("access-control-allow-headers: authorization\r\n");
                assert_eq!(headers, allowed.is_some(), "{head}");
                assert_eq!(head.contains("access-control-allow-methods: get, head"), allowed.is_some(), "{head}");
            }
        }
        server.works().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_needs_a_grant_is_refused_to_others() {
    let settings = StreamSettings { requires: Some("role/viewer".into()), ..StreamSettings::default() };
    let server = Server::start(Driver::Lanes, Options { settings, ..Options::default() }).await;
    for path in ["/v1/events", "/v1/poll"] {
        let mut client = get(&server, path, TOKEN).await;
        assert_eq!(client.status, 403);
        assert!(client.problem().await["detail"].as_str().unwrap().contains("role/viewer"));
        assert_eq!(get(&server, path, "authorization: Bearer u+role/viewer\r\n").await.status, 200);
    }
    server.until("no connection is left", |server| server.service.limiter.open() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_principal_has_its_most_streams_and_gets_them_back() {
    for driver in [Driver::Lanes, Driver::Bodies] {
        let limits = Limits { connections_per_principal: 3, ..Limits::default() };
        let server = Server::start(driver, Options { limits, ..Options::default() }).await;
        let mut open = Vec::new();
        for _ in 0..3 {
            open.push(server.listen("", "many+all", None).await);
        }
        for target in ["/v1/events", "/v1/poll"] {
            let mut client = server.request(target, "many+all", None).await;
            assert_eq!(client.status, 429);
            assert!(client.head.contains("retry-after: 30\r\n"), "{}", client.head);
            assert!(client.problem().await["detail"].as_str().unwrap().contains("3 streams"));
        }
        let other = server.listen("", "other+all", None).await;
        let strangers = [server.listen("", "nobody+all", None).await, server.listen("", "nobody+all", None).await];
        drop((open, other, strangers));
        server.works().await;
        server.listen("", "many+all", None).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_proxy_each_client_has_its_own_bound() {
    for driver in [Driver::Lanes, Driver::Bodies] {
        let limits = Limits { connections_per_address: 2, ..Limits::default() };
        let proxies = vec!["127.0.0.1".parse().unwrap()];
        let server = Server::start(driver, Options { limits, proxies, ..Options::default() }).await;
        let from = |forwarded: &str| format!("authorization: Bearer nobody+all\r\nx-forwarded-for: {forwarded}\r\n");
        let mut open = Vec::new();
        for client in ["203.0.113.7", "198.51.100.1, 203.0.113.7", "203.0.113.8", "203.0.113.8", "2001:db8::1"] {
            open.push(get(&server, "/v1/events", &from(client)).await);
            assert_eq!(open.last().unwrap().status, 200, "{client}");
        }
        for spoofed in ["203.0.113.7", "192.0.2.99, 203.0.113.7", "192.0.2.99, 203.0.113.8:1234"] {
            let mut client = get(&server, "/v1/events", &from(spoofed)).await;
            assert_eq!(client.status, 429, "{spoofed}");
            assert!(client.head.contains("retry-after: "), "{}", client.head);
            client.problem().await;
        }
        drop(open);
        server.works().await;
        assert_eq!(get(&server, "/v1/events", &from("203.0.113.7")).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_no_proxy_gains_nothing_by_what_it_forwards() {
    let server = start(Limits { connections_per_address: 2, ..Limits::default() }).await;
    let mut open = Vec::new();
    for spoofed in ["203.0.113.1", "203.0.113.2"] {
        open.push(get(&server, "/v1/events", &format!("{TOKEN}x-forwarded-for: {spoofed}\r\n")).await);
    }
    let mut third = server.connect().await;
    let request = format!("GET /v1/events HTTP/1.1\r\nhost: x\r\n{TOKEN}x-forwarded-for: 203.0.113.3\r\n\r\n");
    let _ = third.try_send(request.as_bytes()).await;
    assert_eq!(third.all().await, "", "it is closed unanswered");
    drop((open, third));
    server.until("their places are free again", |server| server.service.limiter.open() == 0).await;
    server.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_name_for_the_place_to_go_on_from_is_known_and_the_header_wins() {
    let server = start(Limits::default()).await;
    let first = server.publish("t", "all", 1).await;
    let second = server.publish("t", "all", 2).await;
    server.publish("t", "all", 3).await;
    for name in ["last_event_id", "lastEventID", "lastEventId", "Last-Event-ID", "cursor"] {
        let query = format!("{name}={first}");
        assert_eq!(server.listen(&query, "u+all", None).await.numbers(2).await, [2, 3], "{name}");
        assert_eq!(server.listen(&query, "u+all", Some(&second)).await.numbers(1).await, [3], "{name}");
        // Before it has seen an id, a client may send an empty header: the place in the query is still where it wants to begin.
        assert_eq!(server.listen(&query, "u+all", Some("")).await.numbers(2).await, [2, 3], "{name}");
    }
    let mut fresh = server.listen("last_event_id=", "u+all", Some("")).await;
    server.publish("t", "all", 4).await;
    assert_eq!(fresh.numbers(1).await, [4], "nothing is a place to begin, and no gap");
    drop(fresh);
    server.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_are_sent_away_come_back_spread_out() {
    for driver in [Driver::Lanes, Driver::Bodies] {
        let settings = StreamSettings { drain_retry: Duration::from_secs(10), ..StreamSettings::default() };
        let limits = Limits { drain_window: Duration::from_millis(100), ..Limits::default() };
        let server = Server::start(driver, Options { settings, limits, ..Options::default() }).await;
        let mut clients = Vec::new();
        for number in 0..10 {
            clients.push(server.listen("", &format!("u{number}+all"), None).await);
        }
        server.hub.drain();
        server
            .until("no stream is open", |server| {
                server.clock.advance(Duration::from_millis(20));
                server.service.open_streams() == 0
            })
            .await;
        let mut retries = Vec::new();
        for mut client in clients {
            let rest = client.rest().await;
            let retry =
                rest.lines().find_map(|line| line.strip_prefix("retry: ")).expect("it is told when to come back");
            retries.push(retry.parse::<u64>().unwrap());
        }
        retries.sort_unstable();
        assert!(retries[0] >= 10_000 && retries[9] <= 20_000, "{retries:?}");
        assert!(retries.windows(2).all(|two| two[1] - two[0] < 3_000), "{retries:?} are spread out");
        assert!(retries[9] - retries[0] > 5_000, "{retries:?} are spread out");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_request_says_never_becomes_part_of_the_answer_by_accident() {
    let server = start(Limits::default()).await;
    let mut client = get(&server, "/v1/poll?wait=%0d%0aset-cookie:%20a=b", TOKEN).await;
    assert_eq!(client.status, 400);
    assert!(!client.head.contains("set-cookie"), "{}", client.head);
    assert_eq!(client.problem().await["parameter"], json!("wait"));
    drop(client);
    for place in ["1\u{0}2", "1\r2", "1\n 2"] {
        let client = server.request("/v1/events", "u+all", Some(place)).await;
        assert_eq!(client.status, 400, "no header holds {place:?}");
    }
    let mut client = server.listen("last_event_id=1%0a%0adata:%20x", "u+all", None).await;
    assert_eq!(client.next().await.unwrap().name, "tidings.gap");
    drop(client);
    server.works().await;
}
