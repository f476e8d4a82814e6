//! The program from its start to its end, and what it says when it can't start.

mod program;

use std::io::{Seek, SeekFrom, Write};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use program::{Http, Program, output, serve, tidings, until};
use serde_json::json;

fn dev(data: &Path) -> Command {
    let mut command = serve(data);
    command.arg("--dev");
    command
}

fn publish(program: &Program, number: u64) -> program::Answer {
    program.publish("", &json!({ "name": "n", "topic": "t", "audience": ["all"], "data": number }).to_string())
}

fn listen(program: &Program, last: &str) -> Http {
    let mut http = Http::connect(program.address).unwrap();
    let last = if last.is_empty() { String::new() } else { format!("last-event-id: {last}\r\n") };
    http.send(format!("GET /v1/events HTTP/1.1\r\nhost: localhost\r\n{last}\r\n").as_bytes()).unwrap();
    assert_eq!(http.head().unwrap().0, 200);
    while http.event().unwrap().0 != "tidings.open" {}
    http
}

/// The numbers of the next events.
fn numbers(http: &mut Http, count: usize) -> Vec<u64> {
    let mut numbers = Vec::new();
    while numbers.len() < count {
        let (name, data, _) = http.event().unwrap();
        assert_ne!(name, "tidings.gap", "{data}");
        if name == "n" {
            numbers.push(data.parse().unwrap());
        }
    }
    numbers
}

/// What it says when it does not start.
fn refusal(command: &mut Command) -> String {
    let ended = output(command);
    assert!(!ended.status.success());
    assert!(ended.stdout.is_empty(), "{ended:?}");
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(!said.contains("panicked"), "{said}");
    said
}

#[test]
fn told_to_stop_it_says_so_first_then_sends_everybody_away_and_ends_well() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::start(dev(dir.path()).envs([
        // Long enough for all that is asked before it sends anybody away, and for the streams to be told: machines stand still now and then.
        ("TIDINGS_DRAIN__DELAY", "8s"),
        ("TIDINGS_DRAIN__RETRY", "7s"),
        ("TIDINGS_LIMITS__DRAIN_WINDOW", "4s"),
        ("TIDINGS_LIMITS__HEADER_TIMEOUT", "10m"),
    ]));
    assert_eq!(publish(&program, 1).status, 200);
    let mut streams: Vec<Http> = (0..20).map(|_| listen(&program, "earliest")).collect();
    assert_eq!(program.get("/ready").status, 200);
    let idle = Http::connect(program.address).unwrap();
    program.terminate();
    until("/ready says no", || program.get("/ready").status == 503);
    assert_eq!(program.get("/health").status, 200, "it lives");
    assert_eq!(publish(&program, 2).status, 200, "who has not heard of it is still served");
    for stream in &mut streams {
        assert_eq!(numbers(stream, 2), [1, 2]);
        let (mut retry, mut reason) = (0, String::new());
        while let Ok((name, data, _)) = stream.event() {
            match name.as_str() {
                "retry" => retry = data.parse().unwrap(),
                "tidings.close" => reason = data,
                _ => {}
            }
        }
        assert!(reason.contains("\"draining\"") && reason.contains("\"reconnect\":true"), "{reason}");
        assert!((7_000..=14_000).contains(&retry), "{retry}");
    }
    // Who has not begun is not waited for: it may take ten minutes.
    assert_eq!(program.wait().code(), Some(0));
    drop(idle);
    let program = Program::start(&mut dev(dir.path()));
    assert_eq!(numbers(&mut listen(&program, "earliest"), 2), [1, 2]);
}

#[test]
fn a_publisher_of_lines_is_told_that_it_stops_and_knows_what_was_kept() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::start(dev(dir.path()).env("TIDINGS_LIMITS__DRAIN_WINDOW", "1m"));
    let mut http = Http::connect(program.address).unwrap();
    http.send(
        b"POST /v1/publish HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n",
    )
    .unwrap();
    let (mut sent, mut kept) = (0, 0);
    let told = loop {
        let line = json!({ "name": "n", "topic": "t", "audience": ["all"], "data": sent }).to_string() + "\n";
        // It may have hung up by now, with its last word still to be read.
        let _ = http.send(format!("{:x}\r\n{line}\r\n", line.len()).as_bytes());
        if sent == 0 {
            assert_eq!(http.head().unwrap().0, 200);
        }
        sent += 1;
        let answers = String::from_utf8(http.chunk().unwrap().unwrap()).unwrap();
        let answer: serde_json::Value = serde_json::from_str(answers.lines().next().unwrap()).unwrap();
        if answer["end"] == true {
            break answer;
        }
        assert_eq!(answer["index"], kept);
        kept += 1;
        if kept == 10 {
            program.terminate();
        }
    };
    assert_eq!(told["error"]["status"], 503, "{told}");
    assert_eq!(told["error"]["index"], kept, "{told}");
    drop(http);
    assert_eq!(program.wait().code(), Some(0));
    let program = Program::start(&mut dev(dir.path()));
    assert_eq!(publish(&program, 1_000_000).status, 200);
    let expected: Vec<u64> = (0..kept).chain([1_000_000]).collect();
    assert_eq!(numbers(&mut listen(&program, "earliest"), expected.len()), expected);
}

#[test]
fn a_full_disk_refuses_publishes_and_goes_on_reading() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::start(&mut dev(dir.path()));
    assert_eq!(publish(&program, 0).status, 200);
    program.kill();
    let mut limited = dev(dir.path());
    limited.env("TIDINGS_LOG__LEVEL", "off");
    // SAFETY: between fork and exec only these two calls are made, and both may be (signal-safety(7)).
    unsafe {
        limited.pre_exec(|| {
            // Else the kernel ends a process that writes beyond its bound; this way the write fails.
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            let bound = libc::rlimit { rlim_cur: 2 << 20, rlim_max: 2 << 20 };
            match libc::setrlimit(libc::RLIMIT_FSIZE, &bound) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
    let program = Program::start(&mut limited);
    let mut live = listen(&program, "earliest");
    assert_eq!(numbers(&mut live, 1), [0]);
    let padding = "x".repeat(100_000);
    let large = json!({ "name": "large", "topic": "t", "audience": ["all"], "data": padding }).to_string();
    let mut taken = 0;
    let refused = loop {
        let answer = program.publish("", &large);
        if answer.status != 200 {
            break answer;
        }
        taken += 1;
        assert!(taken < 100, "it never filled up");
    };
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.head.contains("retry-after: "), "{}", refused.head);
    assert!(refused.head.contains("application/problem+json"), "{}", refused.head);
    assert!(refused.json()["detail"].as_str().unwrap().contains("nothing was published"));
    assert!(!refused.body.contains(dir.path().to_str().unwrap()), "{}", refused.body);
    assert_eq!(program.publish("", &large).status, 503, "it stays so");
    let mut again = listen(&program, "earliest");
    assert_eq!(numbers(&mut again, 1), [0], "what is there is read");
    for _ in 0..taken {
        while live.event().unwrap().0 != "large" {}
    }
    assert_eq!(program.get("/ready").status, 200);
    program.kill();
    let program = Program::start(&mut dev(dir.path()));
    assert_eq!(publish(&program, 1).status, 200);
    let mut all = listen(&program, "earliest");
    assert_eq!(numbers(&mut all, 1), [0]);
    for _ in 0..taken {
        assert_eq!(all.event().unwrap().0, "large", "each that was acknowledged, and none that was refused");
    }
    assert_eq!(numbers(&mut all, 1), [1]);
}

#[test]
fn a_second_process_on_the_same_directory_is_told_why_not() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::start(&mut dev(dir.path()));
    let said = refusal(&mut dev(dir.path()));
    assert!(said.contains(dir.path().to_str().unwrap()) && said.contains("another"), "{said}");
    assert_eq!(publish(&program, 1).status, 200, "the first one does not mind");
}

#[test]
fn a_port_that_is_taken_is_told_with_a_way_out() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    let said = refusal(tidings().args(["serve", "--dev", "--listen", &address, "--data"]).arg(dir.path()));
    assert!(said.contains(&format!("{address} is taken")) && said.contains("--listen"), "{said}");
}

#[test]
fn to_try_it_out_is_for_this_machine_alone() {
    let dir = tempfile::tempdir().unwrap();
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:80"] {
        let said = refusal(tidings().args(["serve", "--dev", "--listen", address, "--data"]).arg(dir.path()));
        assert!(said.contains("this machine only") && said.contains(address), "{said}");
    }
    let program = Program::start(&mut dev(dir.path()));
    for (host, status) in [
        ("localhost", 200),
        ("LOCALHOST:80", 200),
        ("127.0.0.1:8090", 200),
        ("[::1]:1", 200),
        ("evil.example", 421),
        ("localhost.evil.example:80", 421),
        ("127.0.0.1.evil.example", 421),
        ("192.168.1.1", 421),
        ("", 421),
    ] {
        for path in ["/", "/health", "/metrics", "/nowhere"] {
            let answer = program.request(&format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"));
            let expected = if status == 200 && path == "/nowhere" { 404 } else { status };
            assert_eq!(answer.status, expected, "{host:?} {path}");
        }
        let answer =
            program.request(&format!("OPTIONS /v1/events HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"));
        assert_eq!(answer.status, if status == 200 { 204 } else { status }, "{host:?}");
    }
}

#[test]
fn a_damaged_log_is_not_served_and_the_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::start(&mut dev(dir.path()));
    for number in 0..50 {
        assert_eq!(publish(&program, number).status, 200);
    }
    program.kill();
    let log = dir.path().join("log");
    let segments = std::fs::read_dir(&log).unwrap().map(|entry| entry.unwrap().path());
    let segment = segments.max_by_key(|path| std::fs::metadata(path).unwrap().len()).unwrap();
    let bytes = std::fs::read(&segment).unwrap();
    // In the middle of what is written, with whole records behind it.
    let at =
        bytes.windows(4).position(|window| window == b"by/t" || window.ends_with(b"all")).unwrap_or(200) as u64 + 2;
    let mut file = std::fs::OpenOptions::new().write(true).open(&segment).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(&[bytes[at as usize] ^ 0x55]).unwrap();
    drop(file);
    let said = refusal(&mut dev(dir.path()));
    assert!(said.contains(segment.file_name().unwrap().to_str().unwrap()), "{said}");
    assert!(said.contains("damage"), "{said}");
    let after = std::fs::read(&segment).unwrap();
    assert_eq!(after.len(), bytes.len(), "nothing is cut off");
}

#[test]
fn the_programs_own_paths_refuse_in_the_one_form() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::start(
        dev(dir.path()).env("TIDINGS_LIMITS__REQUEST_BYTES", "2KiB").env("TIDINGS_LIMITS__REQUEST_TIMEOUT", "3s"),
    );
    let request = |method: &str, target: &str, more: &str, body: &str| {
        let answer = program.request(&format!(
            "{method} {target} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\nconnection: close\r\n{more}\r\n{body}",
            body.len()
        ));
        assert!(answer.head.contains("application/problem+json"), "{method} {target}: {answer:?}");
        assert_eq!(answer.json()["status"], answer.status, "{answer:?}");
        answer
    };
    let json = "content-type: application/json\r\n";
    assert_eq!(request("GET", "/nowhere%0d%0a", "", "").status, 404);
    let wrong = request("POST", "/health", "", "");
    assert_eq!(wrong.status, 405);
    assert!(wrong.head.contains("allow: get"), "{}", wrong.head);
    let wrong = request("GET", "/v1/revoke", "", "");
    assert!(wrong.status == 405 && wrong.head.contains("allow: post"), "{wrong:?}");
    assert_eq!(request("POST", "/v1/revoke", json, "{\"principal\":1}").status, 400);
    assert_eq!(request("POST", "/v1/revoke", json, "{}").status, 422);
    assert_eq!(request("POST", "/v1/revoke", "content-type: text/plain\r\n", "principal=u").status, 415);
    assert_eq!(request("POST", "/v1/tickets", json, &" ".repeat(3000)).status, 413);
    assert_eq!(request("POST", "/v1/tickets", json, "{\"profile\":\"nope\"}").status, 404);
    assert_eq!(request("GET", "/v1/explain?cursor=%ff", "", "").status, 400);
    assert_eq!(request("GET", "/v1/explain?cursor=a&cursor=b", "", "").status, 400);
    let slow = program
        .request("POST /v1/tickets HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\nconnection: close\r\n\r\n{");
    assert_eq!(slow.status, 408, "{slow:?}");
    assert_eq!(publish(&program, 1).status, 200);
}
