//! The client's side of each transport: what it hears, and what it has to answer.

mod polling;
mod sse;
mod websocket;

pub use polling::Polling;
pub use sse::EventStream;
pub use websocket::WebSocket;

/// One thing heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard<'a> {
    /// The server has agreed to the transport.
    Agreed,
    /// One frame, with all its bytes: a block of an event stream, a WebSocket frame, a packet of a poll.
    Frame(&'a [u8]),
}

/// How one connection speaks, and how far it has come.
#[derive(Debug)]
pub enum Wire {
    EventStream(EventStream),
    WebSocket(WebSocket),
    Polling(Polling),
}

impl Wire {
    /// Hands to `take` what is whole at the beginning of `received`, and adds to `out` what is to be answered. Returns how
    /// many bytes of `received` were taken; the rest is to come again with what follows it. The error says why the
    /// connection is of no use any more.
    pub fn hear(
        &mut self,
        received: &[u8],
        out: &mut Vec<u8>,
        take: &mut impl FnMut(Heard<'_>),
    ) -> Result<usize, String> {
        match self {
            Wire::EventStream(stream) => stream.hear(received, take),
            Wire::WebSocket(socket) => socket.hear(received, out, take),
            Wire::Polling(polling) => polling.hear(received, out, take),
        }
    }
}

/// The length of a response's head once it is whole; an answer with another status is the error.
fn head(received: &[u8], status: &str) -> Result<Option<usize>, String> {
    let Some(end) = memchr::memmem::find(received, b"\r\n\r\n") else { return Ok(None) };
    if received.strip_prefix(b"HTTP/1.1 ").is_some_and(|rest| rest.starts_with(status.as_bytes())) {
        return Ok(Some(end + 4));
    }
    let shown = &received[..received.len().min(600)];
    Err(format!("the server refused: {}", String::from_utf8_lossy(shown).replace("\r\n", " | ")))
}

/// What a Socket.IO client does with a packet of Engine.IO.
#[derive(Debug, PartialEq, Eq)]
enum Packet<'a> {
    /// The session stands: the client connects to its namespace now. The id of the session is in it.
    Open(&'a [u8]),
    Ping,
    Message,
    Noop,
}

impl Packet<'_> {
    fn of(payload: &[u8]) -> Result<Packet<'_>, String> {
        match payload {
            [b'0', open @ ..] => Ok(Packet::Open(open)),
            [b'2'] => Ok(Packet::Ping),
            [b'4', b'4', refusal @ ..] => {
                Err(format!("the server refused to connect: {}", String::from_utf8_lossy(refusal)))
            }
            [b'4', b'1', ..] | [b'1'] => Err("the server disconnected".to_owned()),
            [b'4', ..] => Ok(Packet::Message),
            [b'6'] => Ok(Packet::Noop),
            _ => Err(format!("an unexpected packet: {}", String::from_utf8_lossy(payload))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_with_its_body() {
        assert_eq!(head(b"HTTP/1.1 200 OK\r\na: b\r\n", "200"), Ok(None));
        assert_eq!(head(b"HTTP/1.1 200 OK\r\na: b\r\n\r\nid", "200"), Ok(Some(25)));
        let refusal = head(b"HTTP/1.1 403 Forbidden\r\n\r\n{\"title\":\"no\"}", "200").expect_err("a 403 is no stream");
        assert!(refusal.contains("403") && refusal.contains("no"), "{refusal}");
    }

    #[test]
    fn a_refused_or_ended_session_is_no_packet_to_go_on_with() {
        assert_eq!(Packet::of(b"42[\"bench\"]"), Ok(Packet::Message));
        assert!(Packet::of(b"44{\"message\":\"no\"}").expect_err("a refusal").contains("no"));
        assert!(Packet::of(b"41").is_err() && Packet::of(b"1").is_err() && Packet::of(b"").is_err());
    }
}
