//! One profile of which two mounts show the same event in two forms, in the built program.

mod program;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use program::{Http, PATIENCE, Program, output, serve, tidings};

const PROFILE: &str = r#"name = "app"
[auth]
anonymous = { grants = ["role/viewer"] }

[[mounts]]
transport = "sse"
path = "/stream"
ids = false
announce = false
retry = false

[[mounts]]
transport = "websocket"
path = "/ws"
names = ["job.step"]
[mounts.shapes."job.step"]
wire = "told"
redact = [{ path = "own" }]
words = { running = "at-work", kinds = { import = "csv_import" } }
[mounts.shapes."job.step".form]
type = "progress"
pipeline = "{data.kind:kinds}"
status = "{data.state:words}"
percent = "{data.progress.fraction:percent}"
owner = "{data.owner}"
own = "{data.own}"
at = "{cursor}"

[events."job.step"]
topic = "step/{data.id}"
audience = "role/viewer"
redact = [{ path = "owner" }]
wire = "progress"
words = { running = "processing" }
[events."job.step".form]
jobId = "{data.id}"
status = "{data.state:words}"
done = "{data.progress.done|0}"
note = "{data.progress.done} of {data.progress.total}"
startedAt = "{data.started:iso}"
owner = "{data.owner}"
own = "{data.own}"
last = "{data.progress.item[0].title}"

[events.other]
topic = "other"
audience = "role/viewer"

[variants.percent]
events."job.step".form = { done = "{data.progress.fraction:percent}", status = "{data.state:words}" }
mounts.where = { transport = "websocket" }
mounts.shapes."job.step".form = { status = "{data.state}" }
mounts.shapes."job.step".words.running = "at-work-again"
"#;

fn start(dir: &Path, variants: &str) -> Program {
    std::fs::write(dir.join("profile.toml"), PROFILE).unwrap();
    let config = dir.join("server.toml");
    std::fs::write(&config, format!("[[profiles]]\npath = \".\"\nvariants = [{variants}]\n")).unwrap();
    Program::start(serve(&dir.join("data")).arg("--dev").arg("--config").arg(config))
}

fn publish(program: &Program, name: &str, data: &str) -> String {
    let answer = program.publish("", &format!(r#"{{"name":"{name}","data":{data}}}"#));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["results"][0]["cursor"].as_str().unwrap_or_default().to_owned()
}

/// A stream whose head was read.
fn stream(program: &Program) -> Http {
    let mut http = Http::connect(program.address).unwrap();
    http.send(b"GET /stream HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n").unwrap();
    assert_eq!(http.head().unwrap().0, 200);
    http
}

/// A WebSocket whose head was read. It is told everything that it may know.
fn websocket(program: &Program) -> TcpStream {
    let mut socket = TcpStream::connect(program.address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let key = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n";
    let request = "GET /ws?topic=** HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: Upgrade\r\n";
    socket.write_all(format!("{request}{key}\r\n").as_bytes()).unwrap();
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        socket.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    socket
}

/// The next message that is an event.
fn message(socket: &mut TcpStream) -> String {
    loop {
        let mut head = [0; 2];
        socket.read_exact(&mut head).unwrap();
        let mut length = [0; 2];
        match head[1] {
            126 => socket.read_exact(&mut length).unwrap(),
            small => length[1] = small,
        }
        let mut payload = vec![0; usize::from(u16::from_be_bytes(length))];
        socket.read_exact(&mut payload).unwrap();
        let text = String::from_utf8(payload).unwrap();
        if text.starts_with(r#"{"type":"event""#) {
            return text;
        }
    }
}

const STEP: &str = r#"{"id":"j\u002f1","kind":"import","state":"running","owner":"SECRET","own":[1.0, 12345678901234567890],"started":1764763200000,"progress":{"done":32,"total":50,"fraction":0.64,"item":[{"title":"Emma"}]}}"#;

#[test]
fn two_mounts_of_a_profile_show_an_event_each_in_its_own_form() {
    let dir = tempfile::tempdir().unwrap();
    let program = start(dir.path(), "");
    let (mut stream, mut websocket) = (stream(&program), websocket(&program));
    publish(&program, "other", "1");
    let at = publish(&program, "job.step", STEP);
    assert_eq!(stream.event().unwrap(), ("other".into(), "1".into(), String::new()));
    let (name, data, _) = stream.event().unwrap();
    assert_eq!(name, "progress");
    assert_eq!(
        data,
        r#"{"jobId":"j\u002f1","status":"processing","done":32,"note":"32 of 50","startedAt":"2025-12-03T12:00:00Z","own":[1.0, 12345678901234567890],"last":"Emma"}"#
    );
    // It has its own redaction, and that of the event.
    let told = message(&mut websocket);
    let data = format!(
        r#""name":"told","topic":"step/j%2F1","data":{{"type":"progress","pipeline":"csv_import","status":"at-work","percent":64,"at":"{at}"}}"#
    );
    assert!(told.contains(&data), "{told}");
}

#[test]
fn a_variant_puts_another_form_in_the_place_of_one() {
    let dir = tempfile::tempdir().unwrap();
    let program = start(dir.path(), "\"percent\"");
    let (mut stream, mut websocket) = (stream(&program), websocket(&program));
    publish(&program, "job.step", STEP);
    let (name, data, _) = stream.event().unwrap();
    assert_eq!((name.as_str(), data.as_str()), ("progress", r#"{"done":64,"status":"processing"}"#));
    let told = message(&mut websocket);
    assert!(told.contains(r#""name":"told","topic":"step/j%2F1","data":{"status":"running"},"#), "{told}");
}

#[test]
fn a_mistake_in_a_form_is_pointed_at_before_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let wrong = PROFILE.replacen("{data.started:iso}", "{data.started:isso}", 1);
    std::fs::write(dir.path().join("profile.toml"), wrong).unwrap();
    let checked = output(tidings().arg("check-config").arg(dir.path()));
    assert!(!checked.status.success());
    let said = [checked.stdout, checked.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains("`isso` is no filter; there are iso, percent, seconds, text, words"), "{said}");
    assert!(said.contains("startedAt = \"{data.started:isso}\"\n   |                            ^"), "{said}");
    assert_eq!(said.matches("no filter").count(), 1, "{said}");
}
