//! What the bare machine does: the least program that pushes events to sockets, to measure the hub against.
//!
//! `tidings-bench-floor floor PORT` writes each event to each socket with one `write(2)` and keeps nothing.
//! `tidings-bench-floor floor-log PORT` appends each event to a log in memory; a socket is a cursor into it, and one
//! write carries whatever the socket is behind.
//!
//! It speaks as much HTTP/1.1 as the load generator needs: any GET opens a stream, any POST publishes each line of its
//! body as one event. There are no topics, no permissions, no disk and no limits.

mod server;
mod sys;

use std::process::ExitCode;

/// How events reach the sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One write per event and socket.
    Write,
    /// One write per socket, of all it is behind.
    Gather,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (mode, port) = match arguments.as_slice() {
        [mode, port] => match (mode.as_str(), port.parse::<u16>()) {
            ("floor", Ok(port)) => (Mode::Write, port),
            ("floor-log", Ok(port)) => (Mode::Gather, port),
            _ => return usage(),
        },
        _ => return usage(),
    };
    match server::serve(mode, port) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tidings-bench-floor: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: tidings-bench-floor floor|floor-log PORT");
    ExitCode::from(2)
}
