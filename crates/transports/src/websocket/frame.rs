//! Frames ↔ messages (RFC 6455 §5 to §8), of a server that agreed to no extension. Pure.
//!
//! What a client sends is judged as strictly as the RFC allows, and as early: a header that is wrong is refused before its payload
//! arrives, and text that is not UTF-8 with the byte that shows it.

use std::str;

use bytes::{BufMut, Bytes, BytesMut};

/// The most that a control frame carries, in bytes (§5.5).
pub const MAX_CONTROL_PAYLOAD: usize = 125;

/// The longest header: two bytes, eight of length, four of mask.
const MAX_HEADER: usize = 14;

/// A text message as one frame, unmasked as servers send (§5.1).
pub fn text(payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(MAX_HEADER + payload.len());
    put_text(&mut out, payload);
    out.freeze()
}

/// Appends a text message as one frame. That `payload` is UTF-8 is the caller's promise (§5.6).
pub fn put_text(out: &mut BytesMut, payload: &[u8]) {
    put(out, Opcode::Text, payload);
}

/// A binary message as one frame, unmasked.
pub fn binary(payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(MAX_HEADER + payload.len());
    put(&mut out, Opcode::Binary, payload);
    out.freeze()
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
    let payload = &payload[..payload.len().min(MAX_CONTROL_PAYLOAD)];
    let mut out = BytesMut::with_capacity(2 + payload.len());
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

/// What a peer said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Text, all its fragments together.
    Text(String),
    /// Bytes, all their fragments together.
    Binary(Vec<u8>),
    /// To be answered by a pong with the same payload, of 125 bytes at most.
    Ping(Vec<u8>),
    /// The answer to a ping, or unasked for.
    Pong(Vec<u8>),
    /// The peer's end of the connection. To be answered by a close frame unless it answers ours; what follows it is not to be read (§5.5.1).
    Close {
        /// Why, if it says so.
        code: Option<u16>,
        /// Why in words, often none.
        reason: String,
    },
}

/// What a peer did wrong. The connection is to be closed with this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The code for the close frame (§7.4.1): 1002 for what breaks the protocol, 1007 for text that is none, 1009 for too much of it.
    pub code: u16,
    /// What was wrong, for the close frame.
    pub reason: &'static str,
}

const fn protocol_error(reason: &'static str) -> Fault {
    Fault { code: 1002, reason }
}

const NOT_UTF8: Fault = Fault { code: 1007, reason: "text is not UTF-8" };
const TOO_BIG: Fault = Fault { code: 1009, reason: "the message is too big" };

/// Reads a client's bytes, in whatever pieces they arrive.
///
/// Between two messages it is one null pointer: there is a decoder in each of very many idle connections.
#[derive(Debug, Default)]
pub struct Decoder {
    partial: Option<Box<Partial>>,
}

impl Decoder {
    /// Takes bytes from `input` until a message is complete; `None` once `input` is used up.
    ///
    /// `max` bounds the payload of one message in bytes, all its fragments together; a header that announces more is refused at
    /// once. Memory grows with what has arrived, not with what was announced, and never above `max`. After a close, and after an
    /// error, the rest of what the peer sends is to be thrown away, and the decoder with it.
    pub fn next(&mut self, input: &mut &[u8], max: usize) -> Result<Option<Message>, Fault> {
        // On the stack while it is worked at: most messages arrive in one piece, and never touch the box.
        let mut partial = self.partial.take().map(|partial| *partial).unwrap_or_default();
        let message = partial.next(input, max)?;
        if !partial.is_empty() {
            self.partial = Some(Box::new(partial));
        }
        Ok(message)
    }

    /// Whether it stands between two messages and holds no memory.
    pub fn is_empty(&self) -> bool {
        self.partial.is_none()
    }
}

/// What has arrived of a message, and of the frame that may stand between its fragments.
#[derive(Debug, Default)]
struct Partial {
    header: Header,
    /// The frame whose payload is arriving.
    frame: Option<Frame>,
    /// Text or Binary while a message's last fragment is still to come.
    kind: Option<Opcode>,
    /// The message's payload as far as it has arrived, unmasked.
    message: Vec<u8>,
    /// How much of `message` is known to be UTF-8.
    checked: usize,
    /// The payload of a control frame.
    control: Vec<u8>,
}

impl Partial {
    fn is_empty(&self) -> bool {
        self.header.filled == 0 && self.frame.is_none() && self.kind.is_none()
    }

    fn next(&mut self, input: &mut &[u8], max: usize) -> Result<Option<Message>, Fault> {
        loop {
            let frame = match self.frame.take() {
                Some(frame) => frame,
                None => match self.header.read(input)? {
                    Some(frame) => self.begin(frame, max)?,
                    None => return Ok(None),
                },
            };
            let left = self.take_payload(frame, input, max);
            if left.left > 0 {
                self.frame = Some(left);
                self.check_text()?;
                return Ok(None);
            }
            if let Some(message) = self.end(frame)? {
                return Ok(Some(message));
            }
        }
    }

    /// Judges a frame by its place among the others (§5.4).
    fn begin(&mut self, frame: Frame, max: usize) -> Result<Frame, Fault> {
        match (frame.opcode, self.kind) {
            (opcode, _) if opcode.is_control() => return Ok(frame),
            (Opcode::Continuation, None) => return Err(protocol_error("there is nothing to continue")),
            (Opcode::Continuation, Some(_)) => {}
            (_, Some(_)) => return Err(protocol_error("the message before is not complete")),
            (opcode, None) => self.kind = Some(opcode),
        }
        // At most `max`, which is a usize.
        if frame.left > (max.saturating_sub(self.message.len())) as u64 {
            return Err(TOO_BIG);
        }
        Ok(frame)
    }

    /// Takes what has arrived of the frame's payload; returns the frame with what is left of it.
    fn take_payload(&mut self, mut frame: Frame, input: &mut &[u8], max: usize) -> Frame {
        let length = usize::try_from(frame.left).map_or(input.len(), |left| left.min(input.len()));
        let Some(arrived) = input.split_off(..length) else { return frame };
        let (payload, bound) = match frame.opcode.is_control() {
            true => (&mut self.control, MAX_CONTROL_PAYLOAD),
            false => (&mut self.message, max),
        };
        let start = payload.len();
        grow(payload, length, bound);
        payload.extend_from_slice(arrived);
        unmask(&mut payload[start..], frame.mask);
        frame.mask.rotate_left(length % 4);
        frame.left -= length as u64;
        frame
    }

    /// Finds a fault in text before the rest arrives, so that nobody waits for the end of what is already wrong.
    fn check_text(&mut self) -> Result<(), Fault> {
        if self.kind != Some(Opcode::Text) {
            return Ok(());
        }
        match str::from_utf8(&self.message[self.checked..]) {
            Ok(_) => self.checked = self.message.len(),
            // A character whose rest may still come.
            Err(error) if error.error_len().is_none() => self.checked += error.valid_up_to(),
            Err(_) => return Err(NOT_UTF8),
        }
        Ok(())
    }

    /// What a frame completed, if anything.
    fn end(&mut self, frame: Frame) -> Result<Option<Message>, Fault> {
        if frame.opcode.is_control() {
            let payload = std::mem::take(&mut self.control);
            return match frame.opcode {
                Opcode::Ping => Ok(Some(Message::Ping(payload))),
                Opcode::Pong => Ok(Some(Message::Pong(payload))),
                _ => closing(&payload).map(Some),
            };
        }
        if !frame.fin {
            self.check_text()?;
            return Ok(None);
        }
        self.checked = 0;
        let payload = std::mem::take(&mut self.message);
        match self.kind.take() {
            // Text that came in pieces is looked at twice; most comes in one.
            Some(Opcode::Text) => {
                String::from_utf8(payload).map(|text| Some(Message::Text(text))).map_err(|_| NOT_UTF8)
            }
            _ => Ok(Some(Message::Binary(payload))),
        }
    }
}

/// Makes room for `more` bytes: twice as much as before, so that many small pieces cost no more than a big one, but not over `bound`.
fn grow(payload: &mut Vec<u8>, more: usize, bound: usize) {
    let needed = payload.len() + more;
    if needed > payload.capacity() {
        let capacity = needed.max(payload.capacity().saturating_mul(2).min(bound));
        payload.reserve_exact(capacity - payload.len());
    }
}

/// XORs with the mask, which stands at the byte that comes first (§5.3), eight bytes at a time.
fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let word_mask = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ word_mask).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

/// The payload of a close frame: nothing, or a code and a reason (§5.5.1).
fn closing(payload: &[u8]) -> Result<Message, Fault> {
    match payload {
        [] => Ok(Message::Close { code: None, reason: String::new() }),
        [_] => Err(protocol_error("half a close code")),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            if !may_be_sent(code) {
                return Err(protocol_error("a close code that may not be sent"));
            }
            let reason = str::from_utf8(reason).map_err(|_| NOT_UTF8)?;
            Ok(Message::Close { code: Some(code), reason: reason.to_owned() })
        }
    }
}

/// Whether a close code may stand in a frame: those of the RFC and its registry but the ones that only ever describe an ending
/// without a code (1005, 1006, 1015), and those of libraries and apps (§7.4).
fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// A frame whose header was read.
#[derive(Clone, Copy, Debug)]
struct Frame {
    opcode: Opcode,
    /// Whether it is its message's last.
    fin: bool,
    /// How many bytes of its payload are still to come.
    left: u64,
    /// The mask, turned so that its first byte is the next payload byte's.
    mask: [u8; 4],
}

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
    fn is_control(self) -> bool {
        matches!(self, Opcode::Close | Opcode::Ping | Opcode::Pong)
    }
}

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7f;
const LENGTH_16: u8 = 126;
const LENGTH_64: u8 = 127;

/// As much of a frame's header as has arrived (§5.2).
#[derive(Debug, Default)]
struct Header {
    bytes: [u8; MAX_HEADER],
    filled: usize,
}

impl Header {
    /// Takes a header's bytes from `input`; `None` while it is incomplete.
    fn read(&mut self, input: &mut &[u8]) -> Result<Option<Frame>, Fault> {
        if !self.fill(2, input) {
            return Ok(None);
        }
        let [first, second, ..] = self.bytes;
        let opcode = check_start(first, second)?;
        let mask_at = 2 + length_bytes(second);
        if !self.fill(mask_at, input) {
            return Ok(None);
        }
        let left = payload_length(second, &self.bytes[2..mask_at]);
        check_length(second, left)?;
        if !self.fill(mask_at + 4, input) {
            return Ok(None);
        }
        let mut mask = [0; 4];
        mask.copy_from_slice(&self.bytes[mask_at..mask_at + 4]);
        self.filled = 0;
        Ok(Some(Frame { opcode, fin: first & FIN != 0, left, mask }))
    }

    /// Whether the first `needed` bytes are there, after taking what was missing of them.
    fn fill(&mut self, needed: usize, input: &mut &[u8]) -> bool {
        let missing = needed.saturating_sub(self.filled).min(input.len());
        if let Some(arrived) = input.split_off(..missing) {
            self.bytes[self.filled..self.filled + missing].copy_from_slice(arrived);
            self.filled += missing;
        }
        self.filled >= needed
    }
}

/// Judges the first two bytes, which say all but the length.
fn check_start(first: u8, second: u8) -> Result<Opcode, Fault> {
    if first & RESERVED != 0 {
        return Err(protocol_error("a reserved bit is set, and no extension was agreed on"));
    }
    let opcode = match first & OPCODE {
        0 => Opcode::Continuation,
        1 => Opcode::Text,
        2 => Opcode::Binary,
        8 => Opcode::Close,
        9 => Opcode::Ping,
        10 => Opcode::Pong,
        _ => return Err(protocol_error("a reserved opcode")),
    };
    if second & MASKED == 0 {
        return Err(protocol_error("a client's frames are masked"));
    }
    if opcode.is_control() && first & FIN == 0 {
        return Err(protocol_error("a control frame is not fragmented"));
    }
    if opcode.is_control() && usize::from(second & LENGTH) > MAX_CONTROL_PAYLOAD {
        return Err(protocol_error("a control frame carries 125 bytes at most"));
    }
    Ok(opcode)
}

/// A length is written in the shortest form, and its top bit is 0 (§5.2).
fn check_length(second: u8, length: u64) -> Result<(), Fault> {
    match second & LENGTH {
        LENGTH_16 if length < 126 => Err(protocol_error("a length is not in its shortest form")),
        LENGTH_64 if length <= 0xffff => Err(protocol_error("a length is not in its shortest form")),
        LENGTH_64 if length >> 63 != 0 => Err(protocol_error("a length's top bit is set")),
        _ => Ok(()),
    }
}

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
