//! Any message as one of the log in NATS (a line with the path of its subject, a line with its header, its data): an event or none, never
//! a panic; and what reads as one is written as the same.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tidings_brokers::nats::{codec, subject};

fuzz_target!(|message: &str| {
    let mut lines = message.splitn(3, '\n');
    let (path, header) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let data = Bytes::copy_from_slice(lines.next().unwrap_or_default().as_bytes());
    let whole = format!("p.{path}");
    if let Some(topic) = subject::to_topic("p", &whole) {
        assert_eq!(subject::from_topic("p", topic.as_str()), whole);
        // What is read may need more escapes than it came with, and be too long to be written again.
        if let Ok((event, by)) = codec::decode(topic.clone(), header, data.clone())
            && let Ok(written) = codec::encode(&event, by)
        {
            let read = codec::decode(topic, &written, data.clone()).expect("it reads back");
            assert_eq!(read, (event, by));
        }
    }
    if let Ok((signal, by)) = codec::decode_signal(header, data.clone())
        && let Ok(written) = codec::encode_signal(&signal.body, signal.after, by)
    {
        let read = codec::decode_signal(&written, data).expect("it reads back");
        assert_eq!(read, (signal, by));
    }
    let _ = codec::origin(header);
});
