//! The built program in a process of its own, and a client that speaks bytes.

#![allow(dead_code, reason = "each test file uses its part")]

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The program, not started yet.
pub fn tidings() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
    command.env("TIDINGS_LOG__LEVEL", "error").stdin(Stdio::null());
    command
}

/// `serve` on a free port and this data directory.
pub fn serve(data: &Path) -> Command {
    let mut command = tidings();
    command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data);
    command
}

/// A process that is killed when nobody needs it any more.
pub struct Program {
    child: Child,
    /// Where it listens: the first address for HTTP.
    pub address: SocketAddr,
    /// Where it listens for HTTPS.
    pub secure: Option<SocketAddr>,
}

impl Program {
    /// Starts it and waits until it listens.
    pub fn start(command: &mut Command) -> Program {
        let child = command.stdout(Stdio::piped()).spawn().expect("the program is built");
        Program::listening(child).expect("it listens")
    }

    /// Waits until it listens; `None` if it ends before.
    pub fn listening(mut child: Child) -> Option<Program> {
        let mut lines = BufReader::new(child.stdout.take().expect("piped"));
        let (mut address, mut secure) = (None, None);
        loop {
            let mut line = String::new();
            match lines.read_line(&mut line) {
                Ok(read) if read > 0 => {}
                _ => {
                    let _ = child.wait();
                    return None;
                }
            }
            match line.trim().strip_prefix("listening on ").and_then(|url| url.split_once("://")) {
                Some(("http", at)) => address = at.parse().ok(),
                Some(("https", at)) => secure = at.parse().ok(),
                _ => break,
            }
        }
        // What else it prints is read, so that it never waits for us.
        std::thread::spawn(move || io::copy(&mut lines, &mut io::sink()));
        Some(Program { child, address: address.expect("it listens by HTTP"), secure })
    }

    /// Kills it in the middle of whatever it does.
    pub fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it was started here");
    }

    /// Asks it to stop (SIGTERM).
    pub fn terminate(&self) {
        // SAFETY: a signal to a child that was not waited for: the id is still its own.
        let sent = unsafe { libc::kill(self.child.id() as libc::pid_t, libc::SIGTERM) };
        assert_eq!(sent, 0);
    }

    /// Waits until it ends.
    pub fn wait(mut self) -> ExitStatus {
        let mut ended = None;
        until("the program ends", || {
            ended = self.child.try_wait().expect("it was started here");
            ended.is_some()
        });
        ended.expect("waited for in the line above")
    }

    /// The memory it holds, in bytes.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the kernel counts it");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }

    /// One request on a connection of its own.
    pub fn request(&self, request: &str) -> Answer {
        let mut http = Http::connect(self.address).expect("it listens");
        http.send(request.as_bytes()).expect("it reads");
        http.answer().expect("it answers")
    }

    /// `GET` without a credential.
    pub fn get(&self, target: &str) -> Answer {
        self.request(&format!("GET {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"))
    }

    /// Publishes a document.
    pub fn publish(&self, token: &str, body: &str) -> Answer {
        self.request(&post(token, body, "connection: close\r\n"))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command to its end.
pub fn output(command: &mut Command) -> Output {
    command.output().expect("the program is built")
}

/// Waits until `done`; fails when patience ends.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "it never came to this: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The bearer header, if there is a token.
pub fn bearer(token: &str) -> String {
    if token.is_empty() { String::new() } else { format!("authorization: Bearer {token}\r\n") }
}

/// A publish of a document.
pub fn post(token: &str, body: &str, more: &str) -> String {
    format!(
        "POST /v1/publish HTTP/1.1\r\nhost: localhost\r\n{}content-type: application/json\r\ncontent-length: {}\r\n{more}\r\n{body}",
        bearer(token),
        body.len()
    )
}

/// An answer that was read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// In lower case.
    pub head: String,
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A keep-alive connection. Every error means that it is of no use any more.
pub struct Http {
    socket: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Http {
    pub fn connect(address: SocketAddr) -> io::Result<Http> {
        let socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        socket.set_nodelay(true)?;
        let reader = BufReader::new(socket.try_clone()?);
        Ok(Http { socket, reader })
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes)
    }

    pub fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.reader.read_line(&mut line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ if !line.ends_with('\n') => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end_matches(['\r', '\n']).to_owned()),
        }
    }

    /// The head of an answer, in lower case, and its status.
    pub fn head(&mut self) -> io::Result<(u16, String)> {
        let mut head = String::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            head.push_str(&line.to_ascii_lowercase());
            head.push('\n');
        }
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Ok((status.ok_or(io::ErrorKind::InvalidData)?, head))
    }

    /// An answer with a length, with chunks, or up to the end of the connection.
    pub fn answer(&mut self) -> io::Result<Answer> {
        let (status, head) = self.head()?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        let mut body = Vec::new();
        match length {
            Some(length) => {
                body.resize(length, 0);
                self.reader.read_exact(&mut body)?;
            }
            None if head.contains("transfer-encoding: chunked") => {
                while let Some(chunk) = self.chunk()? {
                    body.extend(chunk);
                }
            }
            None => drop(self.reader.read_to_end(&mut body)?),
        }
        let body = String::from_utf8(body).map_err(|_| io::ErrorKind::InvalidData)?;
        Ok(Answer { status, head, body })
    }

    /// The next chunk of a body; `None` after the last.
    pub fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let size = usize::from_str_radix(&self.line()?, 16).map_err(|_| io::ErrorKind::InvalidData)?;
        let mut chunk = vec![0; size + 2];
        self.reader.read_exact(&mut chunk)?;
        chunk.truncate(size);
        Ok((size > 0).then_some(chunk))
    }

    /// The next event of a stream that is not chunked: name, data, id. `retry:` comes as a name of its own.
    pub fn event(&mut self) -> io::Result<(String, String, String)> {
        loop {
            let (mut name, mut data, mut id) = (String::new(), String::new(), String::new());
            loop {
                let line = self.line()?;
                match line.split_once(": ") {
                    _ if line.is_empty() => break,
                    Some(("event", value)) => name = value.to_owned(),
                    Some(("data", value)) => data.push_str(value),
                    Some(("id", value)) => id = value.to_owned(),
                    Some(("retry", value)) => (name, data) = ("retry".to_owned(), value.to_owned()),
                    _ => {}
                }
            }
            if !name.is_empty() {
                return Ok((name, data, id));
            }
        }
    }
}
