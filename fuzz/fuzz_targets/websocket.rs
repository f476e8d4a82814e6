//! What a WebSocket client sends: heard alike in whatever pieces it arrives, within bounds, and refused with a code of the RFC. What
//! is heard and sent back can be read.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidings_transports::websocket::frame::{self, Decoder, Fault, Message};

const MAX: usize = 1000;

fuzz_target!(|bytes: &[u8]| {
    let Some((&size, bytes)) = bytes.split_first() else { return };
    let heard = hear(bytes.chunks(usize::from(size).max(1)));
    assert_eq!(heard, hear([bytes]));
    if let Some(fault) = heard.1 {
        assert!(matches!(fault.code, 1002 | 1007 | 1009), "{fault:?}");
    }
    heard.0.into_iter().for_each(answer);
    if let Some((opcode, payload, taken)) = frame::split(bytes) {
        assert!(opcode < 16 && payload.len() < taken && taken <= bytes.len());
    }
});

fn hear<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Message>, Option<Fault>) {
    let (mut decoder, mut messages) = (Decoder::default(), Vec::new());
    for mut piece in pieces {
        loop {
            match decoder.next(&mut piece, MAX) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(fault) => return (messages, Some(fault)),
            }
        }
        assert!(piece.is_empty(), "a decoder that wants more has taken all");
    }
    (messages, None)
}

/// Says the message back, as a server would, and reads what was said.
fn answer(message: Message) {
    let (opcode, bytes, payload) = match message {
        Message::Text(text) => (1, frame::text(text.as_bytes()), text.into_bytes()),
        Message::Binary(bytes) => (2, frame::binary(&bytes), bytes),
        Message::Ping(payload) => (10, frame::pong(&payload), payload),
        Message::Pong(payload) => (9, frame::ping(&payload), payload),
        Message::Close { code, reason } => {
            let code = code.unwrap_or(1000);
            (8, frame::close(code, &reason), [&code.to_be_bytes(), reason.as_bytes()].concat())
        }
    };
    assert!(payload.len() <= MAX);
    assert_eq!(frame::split(&bytes), Some((opcode, &payload[..], bytes.len())));
}
