//! Frames ↔ messages (RFC 6455 §5 to §8), of a server that agreed to no extension. Pure.
//!
//! What a client sends is judged as strictly as the RFC allows, and as early: a header that is wrong is refused before its payload
//! arrives, and text that is not UTF-8 with the byte that shows it.

mod decoder;
mod header;

use bytes::{BufMut, Bytes, BytesMut};

pub use decoder::{Decoder, Fault, Message};

/// The most that a control frame carries, in bytes (§5.5).
pub const MAX_CONTROL_PAYLOAD: usize = 125;

/// A text message as one frame, unmasked as servers send (§5.1).
pub fn text(payload: &[u8]) -> Bytes {
    frame(Opcode::Text, payload)
}

/// Appends a text message as one frame. That `payload` is UTF-8 is the caller's promise (§5.6).
pub fn put_text(out: &mut BytesMut, payload: &[u8]) {
    put(out, Opcode::Text, payload);
}

/// A binary message as one frame, unmasked.
pub fn binary(payload: &[u8]) -> Bytes {
    frame(Opcode::Binary, payload)
}

/// A ping (§5.5.2). A payload over [`MAX_CONTROL_PAYLOAD`] is cut.
pub fn ping(payload: &[u8]) -> Bytes {
    control(Opcode::Ping, payload)
}

/// The answer to a ping, with the ping's payload (§5.5.3). One over [`MAX_CONTROL_PAYLOAD`] is cut.
pub fn pong(payload: &[u8]) -> Bytes {
    control(Opcode::Pong, payload)
}

/// The end of a connection, with a code (§7.4) and a reason, which is cut at a character's boundary to fit (§5.5.1).
pub fn close(code: u16, reason: &str) -> Bytes {
    let code = code.to_be_bytes();
    let reason = &reason[..reason.floor_char_boundary(MAX_CONTROL_PAYLOAD - code.len())];
    control(Opcode::Close, &[&code, reason.as_bytes()].concat())
}

fn control(opcode: Opcode, payload: &[u8]) -> Bytes {
    frame(opcode, &payload[..payload.len().min(MAX_CONTROL_PAYLOAD)])
}

fn frame(opcode: Opcode, payload: &[u8]) -> Bytes {
    let header = match payload.len() {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => 10,
    };
    // No byte more: a frame is kept and shared as long as its event stands in the window.
    let mut out = BytesMut::with_capacity(header + payload.len());
    put(&mut out, opcode, payload);
    out.freeze()
}

fn put(out: &mut BytesMut, opcode: Opcode, payload: &[u8]) {
    out.put_u8(FIN | opcode as u8);
    // The shortest form of a length is the only right one (§5.2).
    match payload.len() {
        length @ 0..=125 => out.put_u8(length as u8),
        length @ 126..=0xffff => {
            out.put_u8(LENGTH_16);
            out.put_u16(length as u16);
        }
        length => {
            out.put_u8(LENGTH_64);
            out.put_u64(length as u64);
        }
    }
    out.put_slice(payload);
}

/// The first complete unmasked frame in `bytes`, as a server sends them: its opcode, its payload, and how many bytes it took.
/// `None` while it is incomplete. Made for frames of our own, which it does not judge.
pub fn split(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let [first, second, ..] = *bytes else { return None };
    let start = 2 + length_bytes(second);
    let length = usize::try_from(payload_length(second, bytes.get(2..start)?)).ok()?;
    let end = start.checked_add(length)?;
    Some((first & OPCODE, bytes.get(start..end)?, end))
}

/// What a frame is (§5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

impl Opcode {
    /// The opcode in a frame's first byte, unless it is reserved.
    fn of(first: u8) -> Option<Self> {
        Some(match first & OPCODE {
            0 => Opcode::Continuation,
            1 => Opcode::Text,
            2 => Opcode::Binary,
            8 => Opcode::Close,
            9 => Opcode::Ping,
            10 => Opcode::Pong,
            _ => return None,
        })
    }

    /// Whether its frames may stand between the fragments of a message (§5.5).
    fn is_control(self) -> bool {
        matches!(self, Opcode::Close | Opcode::Ping | Opcode::Pong)
    }
}

// Of a frame's first byte, ...
const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const OPCODE: u8 = 0x0f;
// ... and of its second. A length that seven bits can't hold stands in the bytes that follow.
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7f;
const LENGTH_16: u8 = 126;
const LENGTH_64: u8 = 127;

/// How many more bytes the length takes than the seven bits of the second one.
fn length_bytes(second: u8) -> usize {
    match second & LENGTH {
        LENGTH_16 => 2,
        LENGTH_64 => 8,
        _ => 0,
    }
}

/// The length that those seven bits or the bytes behind them say.
fn payload_length(second: u8, more: &[u8]) -> u64 {
    match more {
        [] => u64::from(second & LENGTH),
        more => more.iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
    }
}
