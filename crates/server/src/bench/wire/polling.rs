//! Socket.IO by long-polling: one request after another on one keep-alive connection.

use super::{Heard, Packet};
use crate::bench::publisher::response;

/// Stands between two packets of a body.
const SEPARATOR: u8 = 0x1e;

/// A client that polls.
#[derive(Debug)]
pub struct Polling {
    /// The path with its query, without the id of the session.
    path: String,
    /// The header lines of each request.
    headers: String,
    /// What it says to connect to its namespace.
    hello: Vec<u8>,
    /// The request that polls, once the session has an id.
    poll: Vec<u8>,
    /// Whether the request under way is a poll.
    polls: bool,
    /// The packets to post before the next poll.
    say: Vec<u8>,
}

impl Polling {
    pub fn new(path: String, headers: String, hello: Vec<u8>) -> Polling {
        Polling { path, headers, hello, poll: Vec::new(), polls: true, say: Vec::new() }
    }

    /// The request that opens the session.
    pub fn handshake(&self) -> Vec<u8> {
        format!("GET {} HTTP/1.1\r\n{}\r\n", self.path, self.headers).into_bytes()
    }

    pub(super) fn hear(
        &mut self,
        received: &[u8],
        out: &mut Vec<u8>,
        take: &mut impl FnMut(Heard<'_>),
    ) -> Result<usize, String> {
        let Some((status, length)) = response(received).map_err(|error| error.to_string())? else { return Ok(0) };
        let answer = &received[..length];
        if status != 200 {
            return Err(format!("the server refused: {}", String::from_utf8_lossy(answer).replace("\r\n", " | ")));
        }
        if self.polls {
            let body = memchr::memmem::find(answer, b"\r\n\r\n").map_or(length, |end| end + 4);
            for packet in answer[body..].split(|byte| *byte == SEPARATOR) {
                self.hear_packet(packet, take)?;
            }
        }
        // One request is under way at any time, so nothing follows its answer.
        self.polls = self.say.is_empty();
        if self.polls {
            out.extend_from_slice(&self.poll);
        } else {
            self.post(out);
        }
        Ok(length)
    }

    fn hear_packet(&mut self, packet: &[u8], take: &mut impl FnMut(Heard<'_>)) -> Result<(), String> {
        match Packet::of(packet)? {
            Packet::Open(open) => {
                let open: serde_json::Value = serde_json::from_slice(open).map_err(|error| error.to_string())?;
                let sid = open["sid"].as_str().ok_or("the session has no id")?;
                self.path.push_str(&format!("&sid={sid}"));
                self.poll = format!("GET {} HTTP/1.1\r\n{}\r\n", self.path, self.headers).into_bytes();
                take(Heard::Agreed);
                let hello = std::mem::take(&mut self.hello);
                self.say(&hello);
            }
            Packet::Ping => self.say(b"3"),
            Packet::Message => take(Heard::Frame(packet)),
            Packet::Noop => {}
        }
        Ok(())
    }

    fn say(&mut self, packet: &[u8]) {
        if !self.say.is_empty() {
            self.say.push(SEPARATOR);
        }
        self.say.extend_from_slice(packet);
    }

    fn post(&mut self, out: &mut Vec<u8>) {
        let say = std::mem::take(&mut self.say);
        let head = format!(
            "POST {} HTTP/1.1\r\n{}Content-Type: text/plain;charset=UTF-8\r\nContent-Length: {}\r\n\r\n",
            self.path,
            self.headers,
            say.len()
        );
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(&say);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(body: &str) -> Vec<u8> {
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    }

    /// What is heard of an answer, and what is asked next.
    fn hear(polling: &mut Polling, body: &str) -> (Vec<String>, String) {
        let (mut out, mut heard) = (Vec::new(), Vec::new());
        let answer = answer(body);
        let taken = polling.hear(&answer, &mut out, &mut |one| {
            if let Heard::Frame(frame) = one {
                heard.push(String::from_utf8_lossy(frame).into_owned());
            }
        });
        assert_eq!(taken, Ok(answer.len()));
        (heard, String::from_utf8(out).expect("requests are text"))
    }

    #[test]
    fn a_client_connects_polls_and_answers_pings_between_its_polls() {
        let mut polling = Polling::new("/socket.io/?EIO=4".to_owned(), "Host: h\r\n".to_owned(), b"40".to_vec());
        let (_, next) = hear(&mut polling, "0{\"sid\":\"abc\"}");
        assert!(next.starts_with("POST /socket.io/?EIO=4&sid=abc HTTP/1.1\r\nHost: h\r\n"), "{next}");
        assert!(next.ends_with("\r\n\r\n40"), "{next}");
        let poll = "GET /socket.io/?EIO=4&sid=abc HTTP/1.1\r\nHost: h\r\n\r\n";
        assert_eq!(hear(&mut polling, "ok"), (vec![], poll.to_owned()));
        let (heard, next) = hear(&mut polling, "40{\"sid\":\"x\"}\u{1e}2\u{1e}42[\"bench\"]");
        assert_eq!(heard, ["40{\"sid\":\"x\"}", "42[\"bench\"]"]);
        assert!(next.starts_with("POST") && next.ends_with("\r\n\r\n3"), "{next}");
        assert_eq!(hear(&mut polling, "ok"), (vec![], poll.to_owned()));
        assert_eq!(hear(&mut polling, "6"), (vec![], poll.to_owned()));
    }

    #[test]
    fn a_refused_poll_ends_the_run_with_what_the_server_said() {
        let mut polling = Polling::new("/socket.io/?EIO=4".to_owned(), String::new(), b"40".to_vec());
        let refusal = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno";
        let error = polling.hear(refusal, &mut Vec::new(), &mut |_| {}).expect_err("a refusal");
        assert!(error.contains("400 Bad Request") && error.contains("no"), "{error}");
    }
}
