//! The program is killed in the middle of everything, many times, and nothing that it promised is lost, doubled or out of order.

mod program;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use program::{Http, PATIENCE, Program, bearer, output, post, serve, tidings, until};
use serde_json::{Value, json};

/// How often it is killed.
const ROUNDS: usize = 15;

/// What the threads of the test share.
#[derive(Default)]
struct World {
    /// Where the program listens, while it does.
    address: Mutex<Option<SocketAddr>>,
    acknowledged: AtomicU64,
    /// How many retries were answered from memory.
    replayed: AtomicU64,
    finish: AtomicBool,
}

impl World {
    fn connect(&self) -> Option<Http> {
        let address = *self.address.lock().unwrap();
        let http = address.and_then(|address| Http::connect(address).ok());
        if http.is_none() {
            std::thread::sleep(Duration::from_millis(2));
        }
        http
    }

    fn is_finishing(&self) -> bool {
        self.finish.load(Ordering::SeqCst)
    }
}

/// An event of a publisher: odd numbers are red, even ones blue.
fn event(publisher: &str, number: u64) -> Value {
    let audience = if number % 2 == 1 { "red" } else { "blue" };
    json!({ "name": "n", "topic": format!("by/{publisher}"), "audience": [audience], "data": [publisher, number] })
}

/// Publishes one to three events at a time, and tries again with the same key until it knows that they are published.
/// Returns how many there are.
fn publish_with_keys(world: &World, name: &str, token: &str) -> u64 {
    let (mut next, mut http) = (0, None);
    while !world.is_finishing() {
        let count = 1 + next % 3;
        let body = Value::from_iter((next..next + count).map(|number| event(name, number))).to_string();
        let request = post(token, &body, &format!("idempotency-key: {name}-{next}\r\n"));
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "{name} can't publish {next}");
            let Some(mut connection) = http.take().or_else(|| world.connect()) else { continue };
            match connection.send(request.as_bytes()).and_then(|()| connection.answer()) {
                Ok(answer) if answer.status == 200 => {
                    assert_eq!(answer.json()["results"].as_array().unwrap().len() as u64, count, "{answer:?}");
                    let replayed = answer.head.contains("idempotency-replayed: true");
                    world.replayed.fetch_add(u64::from(replayed), Ordering::SeqCst);
                    http = Some(connection);
                    break;
                }
                Ok(answer) => assert!(matches!(answer.status, 409 | 503), "{answer:?}"),
                Err(_) => {}
            }
        }
        next += count;
        world.acknowledged.fetch_add(count, Ordering::SeqCst);
    }
    next
}

/// Streams lines, a few ahead of their answers, and never tries again. Returns how many were sent, and which were acknowledged.
fn publish_lines(world: &World, name: &str, token: &str) -> (u64, Vec<u64>) {
    let head = format!(
        "POST /v1/publish HTTP/1.1\r\nhost: localhost\r\n{}content-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n",
        bearer(token)
    );
    let (mut next, mut acknowledged) = (0, Vec::new());
    while !world.is_finishing() {
        let Some(mut http) = world.connect() else { continue };
        let first = next;
        let _ = (|| -> io::Result<()> {
            http.send(head.as_bytes())?;
            let (mut is_answered, mut answers) = (false, String::new());
            while !world.is_finishing() {
                for _ in 0..4 {
                    let line = format!("{}\n", event(name, next));
                    // Counted before it is sent: part of a failed send may have arrived.
                    next += 1;
                    http.send(format!("{:x}\r\n{line}\r\n", line.len()).as_bytes())?;
                }
                if !is_answered {
                    let (status, head) = http.head()?;
                    assert_eq!(status, 200, "{head}");
                    is_answered = true;
                }
                while first + acknowledged_since(&acknowledged, first) < next {
                    answers.push_str(std::str::from_utf8(&http.chunk()?.ok_or(io::ErrorKind::UnexpectedEof)?).unwrap());
                    while let Some(end) = answers.find('\n') {
                        let answer: Value = serde_json::from_str(&answers[..end]).unwrap();
                        answers.drain(..=end);
                        assert!(answer["result"]["cursor"].is_string(), "{answer}");
                        acknowledged.push(first + answer["index"].as_u64().unwrap());
                        world.acknowledged.fetch_add(1, Ordering::SeqCst);
                    }
                }
            }
            Ok(())
        })();
    }
    (next, acknowledged)
}

fn acknowledged_since(acknowledged: &[u64], first: u64) -> u64 {
    acknowledged.iter().rev().take_while(|number| **number >= first).count() as u64
}

/// Reads from the beginning to the event `end`, over as many connections as it takes. Returns what it saw.
fn listen(world: &World, token: &str) -> Vec<(String, u64)> {
    let (mut seen, mut last) = (Vec::new(), "earliest".to_owned());
    // The whole takes as long as it takes: patience ends where nothing comes any more.
    let (mut before, mut deadline) = (0, Instant::now() + 2 * PATIENCE);
    loop {
        if seen.len() > before {
            (before, deadline) = (seen.len(), Instant::now() + 2 * PATIENCE);
        }
        assert!(Instant::now() < deadline, "the end never came; {} events did", seen.len());
        let Some(mut http) = world.connect() else { continue };
        let request =
            format!("GET /v1/events HTTP/1.1\r\nhost: localhost\r\n{}last-event-id: {last}\r\n\r\n", bearer(token));
        let ended = (|| -> io::Result<bool> {
            http.send(request.as_bytes())?;
            let (status, head) = http.head()?;
            assert_eq!(status, 200, "{head}");
            loop {
                let (name, data, id) = http.event()?;
                match name.as_str() {
                    "n" => {
                        seen.push(serde_json::from_str::<(String, u64)>(&data).unwrap());
                        assert!(!id.is_empty());
                    }
                    "end" => return Ok(true),
                    "tidings.gap" => panic!("a gap was told after {last}: {data}"),
                    _ => {}
                }
                if !id.is_empty() {
                    last = id;
                }
            }
        })();
        if ended.unwrap_or(false) {
            return seen;
        }
    }
}

fn key(data: &Path, name: &str, rights: &[&str]) -> String {
    let made = output(tidings().args(["key", "create", "--name", name]).args(rights).arg("--data").arg(data));
    assert!(made.status.success(), "{made:?}");
    String::from_utf8(made.stdout).unwrap().trim().to_owned()
}

/// Numbers that differ from run to run; the seed is printed by a test that fails.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

#[test]
fn what_was_acknowledged_outlives_every_crash_once_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let publisher = key(dir.path(), "publisher", &["--publish"]);
    let readers = [
        ("red", key(dir.path(), "red", &["--grant", "red"])),
        ("blue", key(dir.path(), "blue", &["--grant", "blue"])),
        ("both", key(dir.path(), "both", &["--grant", "red", "--grant", "blue"])),
    ];
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    println!("seed {seed}");
    let mut random = Random(seed);
    let world = Arc::new(World::default());

    let spawn_keyed = |name: &'static str| {
        let (world, token) = (world.clone(), publisher.clone());
        std::thread::spawn(move || publish_with_keys(&world, name, &token))
    };
    let keyed = [("k1", spawn_keyed("k1")), ("k2", spawn_keyed("k2"))];
    let streamed = {
        let (world, token) = (world.clone(), publisher.clone());
        std::thread::spawn(move || publish_lines(&world, "s1", &token))
    };
    let listeners = readers.map(|(name, token)| {
        let world = world.clone();
        (name, std::thread::spawn(move || listen(&world, &token)))
    });

    for round in 0..ROUNDS {
        if round % 5 == 4 {
            // Killed while it starts, wherever it is.
            let mut child = serve(dir.path()).stdout(std::process::Stdio::piped()).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(random.below(150)));
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let program = Program::start(&mut serve(dir.path()));
        *world.address.lock().unwrap() = Some(program.address);
        let enough = world.acknowledged.load(Ordering::SeqCst) + 1 + random.below(300);
        until("events are acknowledged", || world.acknowledged.load(Ordering::SeqCst) >= enough);
        *world.address.lock().unwrap() = None;
        program.kill();
    }
    let program = Program::start(&mut serve(dir.path()));
    *world.address.lock().unwrap() = Some(program.address);
    world.finish.store(true, Ordering::SeqCst);
    let keyed = keyed.map(|(name, thread)| (name, thread.join().unwrap()));
    let (sent, acknowledged) = streamed.join().unwrap();
    let end = json!({ "name": "end", "topic": "end", "audience": ["red", "blue"] }).to_string();
    assert_eq!(program.publish(&publisher, &end).status, 200);

    let seen: HashMap<&str, Vec<(String, u64)>> =
        listeners.into_iter().map(|(name, thread)| (name, thread.join().unwrap())).collect();
    let both = &seen["both"];
    let of = |publisher: &str| -> Vec<u64> {
        both.iter().filter(|(by, _)| by == publisher).map(|(_, number)| *number).collect()
    };
    for (name, published) in keyed {
        assert_eq!(
            of(name),
            (0..published).collect::<Vec<_>>(),
            "{name}: each once, in order, whatever was tried again"
        );
    }
    let lines = of("s1");
    assert!(lines.windows(2).all(|two| two[0] < two[1]), "each at most once, in order: {lines:?}");
    assert!(lines.iter().all(|number| *number < sent));
    let missing: Vec<_> = acknowledged.iter().filter(|number| lines.binary_search(number).is_err()).collect();
    assert!(missing.is_empty(), "acknowledged and lost: {missing:?}");
    for (name, remainder) in [("red", 1), ("blue", 0)] {
        let expected: Vec<_> = both.iter().filter(|(_, number)| number % 2 == remainder).cloned().collect();
        assert_eq!(seen[name], expected, "{name} saw what it may see of the same log, in the same order");
    }
    println!(
        "{} events, {} retries answered from memory, {} lines without an answer",
        both.len(),
        world.replayed.load(Ordering::SeqCst),
        sent - acknowledged.len() as u64
    );
}
