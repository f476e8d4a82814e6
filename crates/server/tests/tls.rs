//! TLS in the program: the same streams over HTTP/1.1 and HTTP/2, whichever the client asks for.

mod program;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use program::{PATIENCE, Program, output, serve};
use rustls::pki_types::ServerName;
use serde_json::json;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A certificate for localhost, written where the program finds it; its client.
fn certificate(dir: &Path) -> rustls::RootCertStore {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(dir.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    roots
}

fn start(dir: &Path) -> Program {
    let mut command = serve(&dir.join("data"));
    command.arg("--dev").env("TIDINGS_LISTEN__HTTPS", "127.0.0.1:0");
    command.env("TIDINGS_TLS__CERT", dir.join("cert.pem")).env("TIDINGS_TLS__KEY", dir.join("key.pem"));
    Program::start(&mut command)
}

async fn connect(program: &Program, roots: &rustls::RootCertStore, alpn: &str) -> TlsStream<TcpStream> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots.clone())
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.into()];
    let socket = TcpStream::connect(program.secure.expect("it listens by HTTPS")).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, socket).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(alpn.as_bytes()));
    stream
}

/// Sends a request over either version, and leaves the connection to a task.
async fn get(program: &Program, roots: &rustls::RootCertStore, alpn: &str, target: &str, last: &str) -> Incoming {
    let io = TokioIo::new(connect(program, roots, alpn).await);
    let request =
        http::Request::get(if alpn == "h2" { format!("https://localhost{target}") } else { target.to_owned() })
            .header("host", "localhost")
            .header("last-event-id", last)
            .body(Empty::<Bytes>::new())
            .unwrap();
    let response = if alpn == "h2" {
        let (mut send, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        send.send_request(request).await.unwrap()
    } else {
        let (mut send, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        send.send_request(request).await.unwrap()
    };
    assert_eq!(response.status(), 200);
    response.into_body()
}

async fn read_until(body: &mut Incoming, end: &str) -> String {
    let mut text = String::new();
    while !text.contains(end) {
        let frame = tokio::time::timeout(PATIENCE, body.frame()).await.expect("nothing came");
        let data = frame.expect("the stream goes on").unwrap().into_data().unwrap();
        text.push_str(std::str::from_utf8(&data).unwrap());
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_come_over_both_versions_of_http_and_resume() {
    let dir = tempfile::tempdir().unwrap();
    let roots = certificate(dir.path());
    let program = start(dir.path());
    let publish = |number: u32| {
        let body = json!({ "name": "n", "topic": "t", "audience": ["all"], "data": number }).to_string();
        let answer = program.publish("", &body);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["results"][0]["cursor"].as_str().unwrap().to_owned()
    };
    for alpn in ["http/1.1", "h2"] {
        let mut live = get(&program, &roots, alpn, "/v1/events", "").await;
        read_until(&mut live, "tidings.open").await;
        let first = publish(1);
        let text = read_until(&mut live, "data: 1\n").await;
        assert!(text.contains(&first), "{alpn}: {text}");
        drop(live);
        publish(2);
        let mut resumed = get(&program, &roots, alpn, "/v1/events", &first).await;
        let text = read_until(&mut resumed, "data: 2\n").await;
        assert!(!text.contains("data: 1\n") && !text.contains("tidings.gap"), "{alpn}: {text}");
    }
    // Neither plain text nor noise at this port is anybody's concern.
    let mut plain = program::Http::connect(program.secure.unwrap()).unwrap();
    plain.send(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    assert!(plain.head().is_err());
    drop(get(&program, &roots, "h2", "/health", "").await);
    program.terminate();
    assert_eq!(program.wait().code(), Some(0));
}

#[test]
fn a_key_that_is_none_stops_the_start_and_is_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    certificate(dir.path());
    std::fs::write(dir.path().join("key.pem"), "-----BEGIN PRIVATE KEY-----\nhush\n").unwrap();
    let mut command = serve(&dir.path().join("data"));
    command.arg("--dev").env("TIDINGS_LISTEN__HTTPS", "127.0.0.1:0");
    command.env("TIDINGS_TLS__CERT", dir.path().join("cert.pem")).env("TIDINGS_TLS__KEY", dir.path().join("key.pem"));
    let ended = output(&mut command);
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(!ended.status.success() && said.contains("key.pem") && !said.contains("hush"), "{said}");
}
