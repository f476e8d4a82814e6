//! A client's bytes → messages.

use std::str;

use super::header::{Frame, Header, unmask};
use super::{MAX_CONTROL_PAYLOAD, Opcode};

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
    /// The peer's end of the connection: to be answered by a close frame, unless it is the answer to ours. What follows it is not
    /// to be read (§5.5.1).
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
    /// The code for the close frame (§7.4.1): 1002 for what breaks the protocol, 1007 for text that is none, 1009 for too much.
    pub code: u16,
    /// What was wrong, for the close frame.
    pub reason: &'static str,
}

/// What breaks the protocol (1002).
pub(super) const fn protocol_error(reason: &'static str) -> Fault {
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
        self.header.is_empty() && self.frame.is_none() && self.kind.is_none()
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
            let frame = self.take_payload(frame, input, max);
            if frame.left > 0 {
                self.frame = Some(frame);
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
        if frame.left > max.saturating_sub(self.message.len()) as u64 {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The header of a frame whose mask is zero, and so its payload plain.
    fn header(first: u8, length: u64) -> Vec<u8> {
        [&[first, 0xff][..], &length.to_be_bytes(), &[0; 4]].concat()
    }

    impl Decoder {
        /// How many bytes of payload it has room for.
        fn room(&self) -> usize {
            self.partial.as_ref().map_or(0, |partial| partial.message.capacity() + partial.control.capacity())
        }

        fn feed(&mut self, mut input: &[u8], max: usize) -> Option<Message> {
            self.next(&mut input, max).expect("no fault")
        }
    }

    #[test]
    fn an_idle_decoder_is_a_pointer() {
        assert_eq!(size_of::<Decoder>(), size_of::<usize>());
    }

    #[test]
    fn memory_grows_with_what_has_arrived_and_never_above_the_bound() {
        const MAX: usize = 1_500_000;
        let mut decoder = Decoder::default();
        assert_eq!(decoder.feed(&header(0x82, MAX as u64), MAX), None);
        assert_eq!(decoder.room(), 0, "what is announced costs nothing");
        let mut arrived = 0;
        while arrived < MAX - 1 {
            let piece = vec![0; 1000.min(MAX - 1 - arrived)];
            arrived += piece.len();
            assert_eq!(decoder.feed(&piece, MAX), None);
            assert!(decoder.room() <= (2 * arrived).min(MAX), "{} for {arrived}", decoder.room());
        }
        assert_eq!(decoder.feed(&[0], MAX), Some(Message::Binary(vec![0; MAX])));
        assert_eq!(decoder.room(), 0, "a big message leaves nothing behind");
        assert!(decoder.is_empty());
    }

    #[test]
    fn text_is_not_looked_at_again_because_a_piece_ends_within_a_character() {
        let mut decoder = Decoder::default();
        decoder.feed(&header(0x81, 70_000), 70_000);
        for round in 0..10 {
            decoder.feed(b"text\xc3", 70_000);
            let partial = decoder.partial.as_ref().expect("more is to come");
            assert_eq!((partial.message.len(), partial.checked), (6 * round + 5, 6 * round + 4));
            decoder.feed(b"\xa4", 70_000);
        }
    }

    #[test]
    fn many_small_fragments_move_the_message_seldom() {
        let fragment = [&header(0x00, 0x1_0000)[..], &[0; 0x1_0000]].concat();
        let mut decoder = Decoder::default();
        decoder.feed(&header(0x02, 0x1_0000), usize::MAX);
        decoder.feed(&[0; 0x1_0000], usize::MAX);
        let (mut room, mut moves) = (decoder.room(), 0);
        for _ in 0..200 {
            decoder.feed(&fragment, usize::MAX);
            moves += usize::from(decoder.room() != room);
            room = decoder.room();
        }
        assert!((1..=8).contains(&moves), "{moves} times for 200 fragments");
    }
}
