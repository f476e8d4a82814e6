//! WebSocket (RFC 6455), and Socket.IO over it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Heard, Packet, head};

/// What is appended to the client's key (RFC 6455 §1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// A client's WebSocket. Each message is expected to come in one frame: that is how all servers here send them.
#[derive(Debug)]
pub struct WebSocket {
    key: [u8; 16],
    /// The state of a xorshift for masks, which need not be secret here (RFC 6455 §10.3 guards against intermediaries).
    random: u32,
    is_agreed: bool,
    /// What a Socket.IO client says to connect to its namespace.
    hello: Option<Vec<u8>>,
}

impl WebSocket {
    /// One that hears messages as they are.
    pub fn new(key: [u8; 16]) -> WebSocket {
        let random = u32::from_le_bytes([key[0], key[1], key[2], key[3]]) | 1;
        WebSocket { key, random, is_agreed: false, hello: None }
    }

    /// One whose messages are packets of Engine.IO; it says `hello` to connect to its namespace.
    pub fn socketio(key: [u8; 16], hello: Vec<u8>) -> WebSocket {
        WebSocket { hello: Some(hello), ..WebSocket::new(key) }
    }

    /// The header lines that ask for the transport.
    pub fn handshake(&self) -> String {
        format!(
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {}\r\n",
            STANDARD.encode(self.key)
        )
    }

    pub(super) fn hear(
        &mut self,
        received: &[u8],
        out: &mut Vec<u8>,
        take: &mut impl FnMut(Heard<'_>),
    ) -> Result<usize, String> {
        let mut from = 0;
        if !self.is_agreed {
            let Some(length) = head(received, "101")? else { return Ok(0) };
            if !self.is_accepted(&received[..length]) {
                return Err("the server accepted another key than the one it was given".to_owned());
            }
            self.is_agreed = true;
            take(Heard::Agreed);
            from = length;
        }
        while let Some(frame) = Frame::at_beginning(&received[from..])? {
            let all = &received[from..from + frame.length];
            self.hear_frame(&frame, all, out, take)?;
            from += frame.length;
        }
        Ok(from)
    }

    fn hear_frame(
        &mut self,
        frame: &Frame<'_>,
        all: &[u8],
        out: &mut Vec<u8>,
        take: &mut impl FnMut(Heard<'_>),
    ) -> Result<(), String> {
        match (frame.opcode, &self.hello) {
            (TEXT, None) => take(Heard::Frame(all)),
            (TEXT, Some(hello)) => match Packet::of(frame.payload)? {
                Packet::Open(_) => {
                    let hello = hello.clone();
                    self.say(TEXT, &hello, out);
                }
                Packet::Ping => self.say(TEXT, b"3", out),
                Packet::Message => take(Heard::Frame(all)),
                Packet::Noop => {}
            },
            (PING, _) => self.say(PONG, frame.payload, out),
            (PONG, _) => {}
            (CLOSE, _) => {
                let code = frame.payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
                let reason = String::from_utf8_lossy(frame.payload.get(2..).unwrap_or_default());
                return Err(format!("the server closed it: {code} {reason}"));
            }
            (opcode, _) => return Err(format!("a frame with the opcode {opcode}, which none was to have")),
        }
        Ok(())
    }

    /// Adds a masked frame of 125 bytes at most, or of 64 KiB if it is text.
    fn say(&mut self, opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
        out.push(0x80 | opcode);
        match u8::try_from(payload.len()) {
            Ok(length) if length < 126 => out.push(0x80 | length),
            _ => {
                out.push(0x80 | 126);
                out.extend_from_slice(&(payload.len() as u16).to_be_bytes());
            }
        }
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        let mask = self.random.to_ne_bytes();
        out.extend_from_slice(&mask);
        out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    }

    /// Whether the head has the answer to this key (RFC 6455 §4.1).
    fn is_accepted(&self, head: &[u8]) -> bool {
        let key = STANDARD.encode(self.key);
        let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, &[key.as_bytes(), GUID].concat());
        let wanted = STANDARD.encode(digest);
        head.split(|byte| *byte == b'\n').any(|line| {
            let Some(colon) = memchr::memchr(b':', line) else { return false };
            line[..colon].eq_ignore_ascii_case(b"sec-websocket-accept")
                && line[colon + 1..].trim_ascii() == wanted.as_bytes()
        })
    }
}

/// A server's frame.
#[derive(Debug, PartialEq, Eq)]
struct Frame<'a> {
    opcode: u8,
    payload: &'a [u8],
    /// How many bytes it has, its header among them.
    length: usize,
}

impl Frame<'_> {
    /// The frame at the beginning of `received`, once it is whole (RFC 6455 §5.2).
    fn at_beginning(received: &[u8]) -> Result<Option<Frame<'_>>, String> {
        let &[first, second, ..] = received else { return Ok(None) };
        if first & 0xf0 != 0x80 || second & 0x80 != 0 {
            return Err(format!("a frame that begins with {first:02x} {second:02x}: fragmented, compressed or masked"));
        }
        let (from, length): (usize, usize) = match second {
            126 => match received.get(2..4) {
                Some(&[high, low]) => (4, usize::from(u16::from_be_bytes([high, low]))),
                _ => return Ok(None),
            },
            127 => match received.get(2..).and_then(<[u8]>::first_chunk) {
                Some(length) => (10, usize::try_from(u64::from_be_bytes(*length)).unwrap_or(usize::MAX)),
                None => return Ok(None),
            },
            length => (2, usize::from(length)),
        };
        let end = from.saturating_add(length);
        Ok(received.get(from..end).map(|payload| Frame { opcode: first & 0xf, payload, length: end }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key and its answer of RFC 6455 §1.3.
    const KEY: &[u8; 16] = b"the sample nonce";
    const AGREED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\n\
        sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

    fn server(first: u8, payload: &[u8]) -> Vec<u8> {
        [&[first, payload.len() as u8], payload].concat()
    }

    /// How much was taken, the frames heard, and what was answered, unmasked.
    type Exchange = (usize, Vec<Vec<u8>>, Vec<String>);

    fn hear(socket: &mut WebSocket, received: &[u8]) -> Result<Exchange, String> {
        let (mut out, mut heard) = (Vec::new(), Vec::new());
        let taken = socket.hear(received, &mut out, &mut |one| {
            if let Heard::Frame(frame) = one {
                heard.push(frame.to_vec());
            }
        })?;
        let (mut said, mut rest) = (Vec::new(), &out[..]);
        while let [_, length, mask @ ..] = rest {
            let (length, mask) = (usize::from(length & 0x7f), mask);
            let text = mask[4..4 + length].iter().zip(mask[..4].iter().cycle()).map(|(byte, mask)| byte ^ mask);
            said.push(String::from_utf8(text.collect()).expect("it says text"));
            rest = &mask[4 + length..];
        }
        Ok((taken, heard, said))
    }

    #[test]
    fn a_handshake_is_agreed_by_the_answer_to_its_own_key() {
        let mut socket = WebSocket::new(*KEY);
        assert!(socket.handshake().contains("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"));
        let event = server(0x81, b"{}");
        let (taken, heard, said) = hear(&mut socket, &[AGREED, &event, &event[..2]].concat()).expect("it is agreed");
        assert_eq!((taken, heard, said.len()), (AGREED.len() + 4, vec![event], 0));
        assert!(hear(&mut WebSocket::new([0; 16]), AGREED).expect_err("another key").contains("key"));
    }

    #[test]
    fn a_socketio_client_connects_when_the_session_stands_and_answers_pings() {
        let mut socket = WebSocket::socketio(*KEY, b"40{}".to_vec());
        let event = server(0x81, b"42[\"bench\"]");
        let frames = [AGREED, &server(0x81, b"0{}"), &server(0x81, b"2"), &server(0x89, b"hi"), &event].concat();
        let (taken, heard, said) = hear(&mut socket, &frames).expect("a server's frames");
        assert_eq!((taken, heard), (frames.len(), vec![event]));
        assert_eq!(said, ["40{}", "3", "hi"]);
    }

    #[test]
    fn a_frame_is_taken_once_it_is_whole_whatever_its_length() {
        for length in [0usize, 125, 126, 65_535, 65_536] {
            let header = match length {
                ..=125 => vec![0x81, length as u8],
                126..=65_535 => [&[0x81, 126][..], &(length as u16).to_be_bytes()].concat(),
                _ => [&[0x81, 127][..], &(length as u64).to_be_bytes()].concat(),
            };
            let bytes = [header.clone(), vec![b'x'; length]].concat();
            for cut in [0, 1, header.len() - 1, bytes.len() - 1] {
                assert_eq!(Frame::at_beginning(&bytes[..cut]), Ok(None), "{cut} of {length}");
            }
            let frame = Frame::at_beginning(&bytes).expect("a frame").expect("all of it");
            assert_eq!((frame.payload.len(), frame.length), (length, bytes.len()));
        }
    }

    #[test]
    fn a_close_and_a_masked_frame_end_the_run() {
        let closed = [AGREED, &server(0x88, b"\x0b\xb9draining")].concat();
        let error = hear(&mut WebSocket::new(*KEY), &closed).expect_err("it is closed");
        assert!(error.contains("3001 draining"), "{error}");
        assert!(Frame::at_beginning(&[0x81, 0x80, 0, 0, 0, 0]).is_err());
        assert!(Frame::at_beginning(&[0x01, 0]).is_err(), "a fragment");
    }
}
