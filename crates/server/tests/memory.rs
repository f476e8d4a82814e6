//! Streams that have ended leave no memory behind.

mod program;

use program::{Http, Program, serve, until};

/// How many streams are open at once: fewer than the files a process may have open.
const AT_ONCE: usize = 2_000;

fn open_streams(program: &Program) -> u64 {
    program.get("/ready").json()["streams"]["sse"].as_u64().expect("it counts them")
}

/// Opens streams with different topics and places, and drops them all.
fn wave(program: &Program, number: usize) {
    let mut streams = Vec::with_capacity(AT_ONCE);
    for index in 0..AT_ONCE {
        let mut http = Http::connect(program.address).expect("it listens");
        let target = format!("/v1/events?topic=wave/{number}/{index}");
        http.send(format!("GET {target} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).expect("it reads");
        streams.push(http);
    }
    for http in &mut streams {
        assert_eq!(http.head().expect("it answers").0, 200);
    }
    until("all are open", || open_streams(program) == AT_ONCE as u64);
    drop(streams);
    until("all are forgotten", || open_streams(program) == 0);
}

#[test]
fn twenty_thousand_streams_come_and_go_and_leave_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::start(serve(dir.path()).arg("--dev"));
    // What the program makes room for once, it keeps for the next: so it is measured after the first two waves.
    wave(&program, 0);
    wave(&program, 1);
    let before = program.resident();
    for number in 2..12 {
        wave(&program, number);
    }
    let grown = program.resident().saturating_sub(before);
    println!("{} KiB before, {} KiB more after 20,000 streams", before / 1024, grown / 1024);
    // 200 bytes a stream is less than what the least of its parts would leave.
    assert!(grown < 4_000_000, "{grown} bytes were left by 20,000 streams");
}
