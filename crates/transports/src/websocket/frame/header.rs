//! A frame's header as a client sends it (RFC 6455 §5.2), and its mask (§5.3).

use super::decoder::{Fault, protocol_error};
use super::{
    FIN, LENGTH, LENGTH_16, LENGTH_64, MASKED, MAX_CONTROL_PAYLOAD, Opcode, RESERVED, length_bytes, payload_length,
};

/// A frame whose header was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub opcode: Opcode,
    /// Whether it is its message's last.
    pub fin: bool,
    /// How many bytes of its payload are still to come.
    pub left: u64,
    /// The mask, turned so that its first byte is the next payload byte's.
    pub mask: [u8; 4],
}

/// The longest header: two bytes, eight of length, four of mask.
const MAX_HEADER: usize = 14;

/// As much of a frame's header as has arrived (§5.2).
#[derive(Debug, Default)]
pub(super) struct Header {
    bytes: [u8; MAX_HEADER],
    filled: usize,
}

impl Header {
    /// Whether nothing of it has arrived.
    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Takes a header's bytes from `input`; `None` while it is incomplete.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<Frame>, Fault> {
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
    let opcode = Opcode::of(first).ok_or(protocol_error("a reserved opcode"))?;
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

/// Takes the mask off, whose first byte belongs to the payload's first (§5.3), eight bytes at a time.
pub(super) fn unmask(payload: &mut [u8], mask: [u8; 4]) {
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
