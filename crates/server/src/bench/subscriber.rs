//! One stream of events, read as it comes.

use std::io::{ErrorKind, Read, Write};
use std::time::Instant;

use memchr::memmem::Finder;
use mio::net::TcpStream;

/// One client that listens.
#[derive(Debug)]
pub struct Subscriber {
    pub stream: TcpStream,
    /// When it began to connect.
    pub begun: Instant,
    /// It stands in the log: what is published now reaches it.
    pub is_ready: bool,
    /// How many events it has had.
    pub received: u32,
    /// After how many events there is news of it; 0 for never.
    pub wanted: u32,
    /// What is not sent yet of the request.
    request: Vec<u8>,
    in_body: bool,
    /// The beginning of a frame (or of the response's head) whose end hasn't come.
    rest: Vec<u8>,
}

/// What became of a stream in one turn.
#[derive(Debug)]
pub enum Turn {
    /// It goes on.
    On,
    /// It is over, with the reason.
    Over(String),
}

impl Subscriber {
    pub fn new(stream: TcpStream, request: Vec<u8>, wanted: u32) -> Subscriber {
        Subscriber {
            stream,
            begun: Instant::now(),
            is_ready: false,
            received: 0,
            wanted,
            request,
            in_body: false,
            rest: Vec::new(),
        }
    }

    /// Whether the response's head has come, and was a 200.
    pub fn is_open(&self) -> bool {
        self.in_body
    }

    /// Sends and reads what it can, and hands each whole frame to `take`. `ends` finds a frame's end.
    pub fn turn(&mut self, ends: &Finder, buffer: &mut [u8], mut take: impl FnMut(&mut Self, &[u8])) -> Turn {
        if !self.request.is_empty() {
            match self.stream.write(&self.request) {
                Ok(written) if written == self.request.len() => self.request = Vec::new(),
                Ok(written) => drop(self.request.drain(..written)),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {}
                Err(error) => return Turn::Over(error.to_string()),
            }
        }
        loop {
            let kept = self.rest.len();
            if kept > buffer.len() / 2 {
                return Turn::Over(format!("{kept} bytes without the end of a frame"));
            }
            buffer[..kept].copy_from_slice(&self.rest);
            let read = match self.stream.read(&mut buffer[kept..]) {
                Ok(0) => return Turn::Over("the server ended it".to_owned()),
                Ok(read) => read,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                    return Turn::On;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Turn::Over(error.to_string()),
            };
            let filled = kept + read;
            let is_drained = filled < buffer.len();
            let mut from = 0;
            if !self.in_body {
                match head(&buffer[..filled]) {
                    Ok(Some(length)) => {
                        self.in_body = true;
                        from = length;
                    }
                    Ok(None) => {}
                    Err(refusal) => return Turn::Over(refusal),
                }
            }
            if self.in_body {
                // An end that straddles two reads is found, because the rest is read again with what follows.
                while let Some(length) = ends.find(&buffer[from..filled]) {
                    take(self, &buffer[from..from + length + 2]);
                    from += length + 2;
                }
            }
            self.rest.clear();
            if from < filled {
                self.rest.extend_from_slice(&buffer[from..filled]);
            } else if self.rest.capacity() > 0 {
                self.rest = Vec::new();
            }
            // Less than was asked for: the socket is empty, and epoll tells when it no longer is.
            if is_drained {
                return Turn::On;
            }
        }
    }
}

/// The length of a response's head once it is whole; an answer other than 200 is the error.
fn head(received: &[u8]) -> Result<Option<usize>, String> {
    let Some(end) = memchr::memmem::find(received, b"\r\n\r\n") else { return Ok(None) };
    if received.starts_with(b"HTTP/1.1 200") {
        return Ok(Some(end + 4));
    }
    let shown = &received[..received.len().min(600)];
    Err(format!("the server refused: {}", String::from_utf8_lossy(shown).replace("\r\n", " | ")))
}

/// The id in a frame.
pub fn id(frame: &[u8]) -> Option<&str> {
    let line = frame.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"id:"))?;
    std::str::from_utf8(line).ok().map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_with_its_body() {
        assert_eq!(head(b"HTTP/1.1 200 OK\r\na: b\r\n"), Ok(None));
        assert_eq!(head(b"HTTP/1.1 200 OK\r\na: b\r\n\r\nid"), Ok(Some(25)));
        let refusal = head(b"HTTP/1.1 403 Forbidden\r\n\r\n{\"title\":\"no\"}").expect_err("a 403 is no stream");
        assert!(refusal.contains("403") && refusal.contains("no"), "{refusal}");
    }

    #[test]
    fn the_id_of_a_frame_is_its_id_line() {
        assert_eq!(id(b"event: bench\ndata: {\"id\": 3}\nid: 9f3c2a1b-12\n\n"), Some("9f3c2a1b-12"));
        assert_eq!(id(b": heartbeat\n\n"), None);
    }
}
