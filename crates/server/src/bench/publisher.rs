//! One keep-alive connection that publishes.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use mio::net::TcpStream;

use super::Failure;

/// One client that publishes. Requests may be sent before the earlier ones are answered.
#[derive(Debug)]
pub struct Publisher {
    pub stream: TcpStream,
    out: Vec<u8>,
    input: Vec<u8>,
    asked: VecDeque<Instant>,
}

/// The answer to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub took: Duration,
}

impl Publisher {
    pub fn new(stream: TcpStream) -> Publisher {
        Publisher { stream, out: Vec::new(), input: Vec::new(), asked: VecDeque::new() }
    }

    /// How many requests wait for their answer.
    pub fn in_flight(&self) -> usize {
        self.asked.len()
    }

    /// Sends a request, or keeps what the socket does not take until it does.
    pub fn send(&mut self, request: &[u8]) -> Result<(), Failure> {
        self.asked.push_back(Instant::now());
        self.out.extend_from_slice(request);
        self.flush()
    }

    fn flush(&mut self) -> Result<(), Failure> {
        let mut sent = 0;
        while sent < self.out.len() {
            match self.stream.write(&self.out[sent..]) {
                Ok(written) => sent += written,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => break,
                Err(error) => return Err(format!("a publisher lost its connection: {error}").into()),
            }
        }
        self.out.drain(..sent);
        Ok(())
    }

    /// Sends and reads what it can, and hands each answer to `take`, with its bytes.
    pub fn turn(&mut self, buffer: &mut [u8], mut take: impl FnMut(Answer, &[u8])) -> Result<(), Failure> {
        self.flush()?;
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Err("the server closed a publisher's connection".into()),
                Ok(read) => self.input.extend_from_slice(&buffer[..read]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(format!("a publisher lost its connection: {error}").into()),
            }
            let mut from = 0;
            while let Some((status, length)) = response(&self.input[from..])? {
                let asked = self.asked.pop_front().ok_or("an answer to no request")?;
                take(Answer { status, took: asked.elapsed() }, &self.input[from..from + length]);
                from += length;
            }
            self.input.drain(..from);
        }
        Ok(())
    }
}

/// The status and the length of the response at the beginning of `received`, once it is whole.
pub fn response(received: &[u8]) -> Result<Option<(u16, usize)>, Failure> {
    let Some(end) = memchr::memmem::find(received, b"\r\n\r\n") else { return Ok(None) };
    let head = String::from_utf8_lossy(&received[..end]);
    let status: u16 = head
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3))
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| format!("not an HTTP response: {head}"))?;
    let body = end + 4;
    let (mut length, mut is_chunked) = (0, false);
    for line in head.split("\r\n").skip(1) {
        let Some((name, value)) = line.split_once(':') else { continue };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().map_err(|_| format!("a bad content-length: {value}"))?;
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            is_chunked = value.trim().eq_ignore_ascii_case("chunked");
        }
    }
    if is_chunked {
        return Ok(chunks(&received[body..])?.map(|length| (status, body + length)));
    }
    Ok((received.len() >= body + length).then_some((status, body + length)))
}

/// The length of a chunked body with its last chunk, once it is whole.
fn chunks(received: &[u8]) -> Result<Option<usize>, Failure> {
    let mut from = 0;
    loop {
        let Some(line) = memchr::memmem::find(&received[from..], b"\r\n") else { return Ok(None) };
        let size = String::from_utf8_lossy(&received[from..from + line]);
        let size = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16)
            .map_err(|_| format!("a bad chunk size: {size}"))?;
        from += line + 2 + size + 2;
        if from > received.len() {
            return Ok(None);
        }
        if size == 0 {
            return Ok(Some(from));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(bytes: &[u8]) -> Option<(u16, usize)> {
        response(bytes).expect("a response")
    }

    #[test]
    fn a_response_ends_where_its_framing_says() {
        assert_eq!(parsed(b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1"), Some((204, 27)));
        assert_eq!(parsed(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd"), Some((200, 41)));
        assert_eq!(parsed(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab"), None);
        let chunked = b"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        assert_eq!(parsed(chunked), Some((202, chunked.len())));
        assert_eq!(parsed(&chunked[..chunked.len() - 1]), None);
    }

    #[test]
    fn what_is_no_response_is_an_error() {
        assert!(response(b"SSH-2.0-x\r\n\r\n").is_err());
        assert!(response(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n").is_err());
    }
}
