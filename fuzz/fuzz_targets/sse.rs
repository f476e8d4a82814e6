//! Whatever a name and its data hold, a client reads one event back, with that data and no field more.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidings::{Cursor, Epoch, Offset};
use tidings_transports::sse;

fuzz_target!(|bytes: &[u8]| {
    let split = bytes.iter().position(|byte| *byte == 0xff).unwrap_or(bytes.len() / 2);
    let Ok(name) = std::str::from_utf8(&bytes[..split]) else { return };
    let data = &bytes[split..];
    let cursor = Cursor { epoch: Epoch(0x9f3c_2a1b), offset: Offset(bytes.len() as u64) };
    for id in [Some(cursor), None] {
        let mut stream = sse::comment(name).to_vec();
        stream.extend_from_slice(&sse::block(name, data, id));
        let read = read(&stream);
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].name, name.replace(['\r', '\n', '\0'], "").into_bytes());
        assert_eq!(read[0].data, lines(data).join(&b'\n'));
        assert_eq!(read[0].id, id.map(|id| id.to_string().into_bytes()));
    }
});

#[derive(Default)]
struct Block {
    name: Vec<u8>,
    data: Vec<u8>,
    id: Option<Vec<u8>>,
}

/// The lines of a stream: CRLF, LF and CR all end one.
fn lines(stream: &[u8]) -> Vec<Vec<u8>> {
    let mut lines = vec![Vec::new()];
    let mut bytes = stream.iter().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\r' => {
                bytes.next_if(|next| **next == b'\n');
                lines.push(Vec::new());
            }
            b'\n' => lines.push(Vec::new()),
            byte => lines.last_mut().expect("there is always a line").push(*byte),
        }
    }
    lines
}

/// The events of a stream, as WHATWG HTML §9.2.6 has a client read it.
fn read(stream: &[u8]) -> Vec<Block> {
    let (mut events, mut block, mut seen) = (Vec::new(), Block::default(), false);
    for line in lines(stream) {
        if line.is_empty() {
            if seen {
                block.data.pop();
                events.push(std::mem::take(&mut block));
            }
            (block, seen) = (Block::default(), false);
            continue;
        }
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match &line[..colon] {
            b"event" => block.name = value.to_vec(),
            b"data" => {
                seen = true;
                block.data.extend_from_slice(value);
                block.data.push(b'\n');
            }
            b"id" if !value.contains(&0) => block.id = Some(value.to_vec()),
            b"" | b"id" => {}
            field => panic!("a field nobody wrote: {field:?}"),
        }
    }
    events
}
