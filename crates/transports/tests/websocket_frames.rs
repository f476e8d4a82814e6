//! The WebSocket codec against RFC 6455, and against what the cases of the Autobahn test suite demand (their numbers in comments).
//! The suite itself runs against `examples/websocket_echo.rs`.

use bytes::BytesMut;
use proptest::prelude::*;
use tidings_transports::websocket::frame::{self, Decoder, Fault, Message};

const MAX: usize = 1 << 20;

const FIN: u8 = 0x80;
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// A frame as clients send it.
fn masked(first: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..=125 => frame.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// One with any mask.
fn client(first: u8, payload: &[u8]) -> Vec<u8> {
    masked(first, payload, [0x37, 0xfa, 0x21, 0x3d])
}

/// What was said, and what was wrong in the end, if anything.
type Heard = (Vec<Message>, Option<Fault>);

/// Everything that is heard in these pieces, up to the first fault.
fn listen<'a>(decoder: &mut Decoder, pieces: impl IntoIterator<Item = &'a [u8]>, max: usize) -> Heard {
    let mut messages = Vec::new();
    for mut piece in pieces {
        loop {
            match decoder.next(&mut piece, max) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(fault) => return (messages, Some(fault)),
            }
        }
        assert!(piece.is_empty(), "a decoder that wants more has taken all");
    }
    (messages, None)
}

/// What is heard when the bytes arrive at once, which is what is heard when they arrive one by one.
fn hear(bytes: &[u8]) -> Heard {
    let at_once = listen(&mut Decoder::default(), [bytes], MAX);
    let one_by_one = listen(&mut Decoder::default(), bytes.chunks(1), MAX);
    assert_eq!(at_once, one_by_one);
    at_once
}

fn messages(bytes: &[u8]) -> Vec<Message> {
    let (messages, fault) = hear(bytes);
    assert_eq!(fault, None);
    messages
}

/// The code of the fault that these bytes end in, and how many messages came before.
fn fault(bytes: &[u8]) -> (usize, u16) {
    let (messages, fault) = hear(bytes);
    (messages.len(), fault.unwrap_or_else(|| panic!("{messages:?}")).code)
}

fn text(text: &str) -> Message {
    Message::Text(text.into())
}

fn closing(code: u16, reason: &str) -> Vec<u8> {
    client(FIN | CLOSE, &[&code.to_be_bytes(), reason.as_bytes()].concat())
}

#[test]
fn the_samples_of_the_rfc_are_read_and_written() {
    // §5.7
    let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(messages(&hello), [text("Hello")]);
    let pong = [0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(messages(&pong), [Message::Pong(b"Hello".into())]);
    assert_eq!(frame::text(b"Hello")[..], [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
    assert_eq!(frame::ping(b"Hello")[..], [0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
    assert_eq!(frame::binary(&[0; 256])[..5], [0x82, 0x7e, 0x01, 0x00, 0x00]);
    assert_eq!(frame::binary(&[0; 65536])[..11], [0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
}

#[test]
fn messages_of_every_form_of_length_are_heard() {
    // 1.1.1 to 1.2.8, 9.1.1, 9.2.1
    for length in [0, 1, 125, 126, 127, 128, 65535, 65536, MAX] {
        let payload = vec![b'*'; length];
        let said = String::from_utf8(payload.clone()).unwrap();
        assert_eq!(listen(&mut Decoder::default(), [&client(FIN | TEXT, &payload)[..]], MAX).0, [Message::Text(said)]);
        let bytes = client(FIN | BINARY, &payload);
        for size in [1, 997, 1 << 16] {
            let heard = listen(&mut Decoder::default(), bytes.chunks(size), MAX);
            assert_eq!(heard, (vec![Message::Binary(payload.clone())], None), "{length} bytes in pieces of {size}");
        }
    }
}

#[test]
fn pings_and_pongs_are_heard_with_their_payload() {
    // 2.1 to 2.4, 2.6 to 2.11
    for payload in [&b""[..], b"Hello", &[0, 0xff, 0xfe, 0xfd, 0xfc, 0xfb, 0, 0xff], &[0xfe; 125]] {
        assert_eq!(messages(&client(FIN | PING, payload)), [Message::Ping(payload.into())]);
        assert_eq!(messages(&client(FIN | PONG, payload)), [Message::Pong(payload.into())]);
    }
}

#[test]
fn each_breach_of_the_protocol_is_1002() {
    let long = [b'*'; 126];
    let hello = client(FIN | TEXT, b"Hello");
    let start = client(TEXT, b"Hello");
    let mut breaches = vec![
        ("an unmasked frame (§5.1)", vec![0x81, 0x05, b'H', b'e', b'l', b'l', b'o']),
        ("an empty unmasked one", vec![0x81, 0x00]),
        ("2.5: a ping of 126 bytes", client(FIN | PING, &long)),
        ("a pong of 126 bytes", client(FIN | PONG, &long)),
        ("7.3.6: a close of 126 bytes", client(FIN | CLOSE, &[&[0x03, 0xe8][..], &long[2..]].concat())),
        ("5.1: a ping in fragments", client(PING, b"")),
        ("5.2: a pong in fragments", client(PONG, b"")),
        ("a close in fragments", client(CLOSE, b"")),
        ("5.9 to 5.11: a last fragment of nothing", client(FIN | CONTINUATION, b"Hello")),
        ("5.12 to 5.14: a fragment of nothing", client(CONTINUATION, b"Hello")),
        ("5.18: text within text", [&start[..], &client(FIN | TEXT, b"Hello")].concat()),
        ("5.18 with bytes", [&start[..], &client(FIN | BINARY, b"Hello")].concat()),
        ("5.18 with one more beginning", [&start[..], &start].concat()),
        ("length 125 in 16 bits (§5.2)", vec![0x82, 0xfe, 0, 125]),
        ("length 0 in 16 bits", vec![0x82, 0xfe, 0, 0]),
        ("length 65535 in 64 bits", vec![0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff]),
        ("length 5 in 64 bits", vec![0x82, 0xff, 0, 0, 0, 0, 0, 0, 0, 5]),
        ("a length of 64 bits", vec![0x82, 0xff, 0x80, 0, 0, 0, 0, 1, 0, 0]),
        ("7.3.2: a close of one byte", client(FIN | CLOSE, b"a")),
    ];
    for reserved in (0x10..=0x70).step_by(0x10) {
        breaches.push(("3.1 to 3.7: a reserved bit", client(FIN | reserved | TEXT, b"Hello")));
        breaches.push(("3.x on a control frame", client(FIN | reserved | PING, b"")));
        breaches.push(("3.x on a close", client(FIN | reserved | CLOSE, b"")));
    }
    for opcode in (3..=7).chain(11..=15) {
        breaches.push(("4.1.1 to 4.2.5: a reserved opcode", client(FIN | opcode, b"Hello")));
        breaches.push(("4.x in fragments", client(opcode, b"")));
    }
    for (breach, bytes) in breaches {
        assert_eq!(fault(&bytes), (0, 1002), "{breach}");
        // 3.2 to 3.4, 4.1.3 to 4.1.5, 5.15: what was complete before is still heard.
        assert_eq!(fault(&[&hello[..], &bytes].concat()), (1, 1002), "{breach}, after a message");
    }
}

#[test]
fn a_header_is_refused_before_its_payload_arrives() {
    for header in [[0xc1, 0x85], [0x83, 0x85], [0x81, 0x05], [0x09, 0x80], [0x89, 0xfe]] {
        assert_eq!(fault(&header), (0, 1002), "{header:02x?}");
    }
}

#[test]
fn fragments_are_put_together_and_control_frames_between_them_are_heard_at_once() {
    // 5.3 to 5.8: the pieces they come in are those of `hear`.
    let start = client(TEXT, b"fragment1");
    let end = client(FIN | CONTINUATION, b"fragment2");
    assert_eq!(messages(&[&start[..], &end].concat()), [text("fragment1fragment2")]);
    let ping = client(FIN | PING, b"ping");
    let heard = [Message::Ping(b"ping".into()), text("fragment1fragment2")];
    assert_eq!(messages(&[&start[..], &ping, &end].concat()), heard);
    // 5.19, 5.20
    let middle = client(CONTINUATION, b"fragment2");
    let bytes = [&start[..], &middle, &ping, &middle, &ping, &client(FIN | CONTINUATION, b"fragment5")].concat();
    let pings = [Message::Ping(b"ping".into()), Message::Ping(b"ping".into())];
    let whole = text("fragment1fragment2fragment2fragment5");
    assert_eq!(messages(&bytes), [&pings[..], &[whole]].concat());
    // 6.1.2: fragments may be empty.
    let empty = [client(TEXT, b""), client(CONTINUATION, b""), client(FIN | CONTINUATION, b"")].concat();
    assert_eq!(messages(&empty), [text("")]);
    // A close between fragments ends the connection all the same (§5.4).
    let closed = messages(&[&start[..], &closing(1000, "")].concat());
    assert_eq!(closed, [Message::Close { code: Some(1000), reason: String::new() }]);
}

#[test]
fn valid_text_is_heard_however_it_is_cut() {
    // 6.2.1 to 6.2.4, 6.5, 6.7, 6.9, 6.11, 6.22, 6.23
    let valid = [
        "Hello-µ@ßöäüàá-UTF-8!!",
        "κόσμε",
        "\u{0}",
        "\u{80}",
        "\u{800}",
        "\u{10000}",
        "\u{7f}",
        "\u{7ff}",
        "\u{ffff}",
        "\u{10ffff}",
        "\u{d7ff}",
        "\u{e000}",
        "\u{fffd}",
        "\u{fffe}",
    ];
    for said in valid {
        let bytes = said.as_bytes();
        assert_eq!(messages(&client(FIN | TEXT, bytes)), [text(said)]);
        for cut in 0..=bytes.len() {
            let (start, end) = bytes.split_at(cut);
            assert_eq!(messages(&[client(TEXT, start), client(FIN | CONTINUATION, end)].concat()), [text(said)]);
        }
        let each: Vec<u8> = bytes.iter().flat_map(|byte| client(CONTINUATION, &[*byte])).collect();
        assert_eq!(messages(&[client(TEXT, b""), each, client(FIN | CONTINUATION, b"")].concat()), [text(said)]);
    }
}

/// The first byte, counted from 1, after which `bytes` can't become UTF-8 any more; `None` if they still may.
fn wrong_with(bytes: &[u8]) -> Option<usize> {
    (1..=bytes.len()).find(|end| std::str::from_utf8(&bytes[..*end]).is_err_and(|error| error.error_len().is_some()))
}

/// Feeds byte by byte, and says with which payload byte the fault came.
fn faulty_byte(payload: &[u8]) -> Option<usize> {
    let mut decoder = Decoder::default();
    // One frame that says it is longer, so that it is not its end that shows the fault.
    let bytes = masked(FIN | TEXT, &[payload, &[b'*'; 200]].concat(), [1, 2, 3, 4]);
    let (header, rest) = bytes.split_at(8);
    assert_eq!(listen(&mut decoder, [header], MAX), (vec![], None));
    (1..=payload.len()).zip(rest.chunks(1)).find_map(|(number, byte)| {
        let fault = decoder.next(&mut &byte[..], MAX).err()?;
        assert_eq!(fault.code, 1007);
        Some(number)
    })
}

#[test]
fn what_is_not_utf8_is_1007_with_the_byte_that_shows_it() {
    let sequences: [(&str, &[u8], usize); 17] = [
        ("6.3.1, 6.3.2: a surrogate within", b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited", 13),
        ("6.4.1, 6.4.3: above U+10FFFF", b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80edited", 13),
        ("6.8.1: five bytes", b"\xf8\x88\x80\x80\x80", 1),
        ("6.8.2: six bytes", b"\xfc\x84\x80\x80\x80\x80", 1),
        ("6.10.1: above all that four bytes may say", b"\xf7\xbf\xbf\xbf", 1),
        ("6.11.5: U+110000", b"\xf4\x90\x80\x80", 2),
        ("6.12.1: the middle of a character", b"\x80", 1),
        ("6.12.2: the same", b"\xbf", 1),
        ("6.13: beginnings alone", b"\xc2 \xc3 ", 2),
        ("6.15: one beginning after another", b"\xef\xbf\xdf", 3),
        ("6.16.1: an impossible byte", b"\xfe", 1),
        ("6.16.2: another", b"\xff", 1),
        ("6.17.1: an overlong slash", b"\xc0\xaf", 1),
        ("6.18.2: overlong in three bytes", b"\xe0\x9f\xbf", 2),
        ("6.19.3: overlong in four", b"\xf0\x80\x80\x80", 2),
        ("6.20.1: a surrogate", b"\xed\xa0\x80", 2),
        ("6.21.1: two of them", b"\xed\xa0\x80\xed\xb0\x80", 2),
    ];
    for (name, bytes, byte) in sequences {
        assert_eq!(wrong_with(bytes), Some(byte), "{name}");
        assert_eq!(faulty_byte(bytes), Some(byte), "{name}");
        assert_eq!(fault(&client(FIN | TEXT, bytes)), (0, 1007), "{name}");
        assert_eq!(fault(&client(TEXT, bytes)), (0, 1007), "{name}, before the last fragment");
    }
}

#[test]
fn a_fault_in_a_fragment_shows_before_the_next() {
    // 6.4.2, 6.4.4
    let (start, wrong) =
        (client(TEXT, b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4"), client(CONTINUATION, b"\x90"));
    assert_eq!(hear(&start), (vec![], None), "it may still be right");
    assert_eq!(fault(&[start, wrong].concat()), (0, 1007));
}

#[test]
fn text_that_ends_within_a_character_is_1007() {
    // 6.6.1, 6.6.4, 6.14.6, 6.14.7
    for end in [&b"\xce"[..], b"\xce\xba\xe1\xbd", b"\xdf", b"\xef\xbf", b"\xf0\x90\x80"] {
        assert_eq!(fault(&client(FIN | TEXT, end)), (0, 1007));
        assert_eq!(fault(&[client(TEXT, end), client(FIN | CONTINUATION, b"")].concat()), (0, 1007));
    }
}

#[test]
fn what_is_binary_is_no_text() {
    let bytes = b"\xff\xfe\x80";
    assert_eq!(messages(&client(FIN | BINARY, bytes)), [Message::Binary(bytes.into())]);
    let cut = [client(BINARY, bytes), client(FIN | PING, b"\xff"), client(FIN | CONTINUATION, b"\xff")].concat();
    assert_eq!(messages(&cut), [Message::Ping(b"\xff".into()), Message::Binary(b"\xff\xfe\x80\xff".into())]);
    let (text_after, wrong) = (client(FIN | TEXT, b"ok"), client(FIN | TEXT, bytes));
    assert_eq!(fault(&[&cut[..], &text_after, &wrong].concat()), (3, 1007));
}

#[test]
fn closing_says_why_or_nothing() {
    // 7.1.1, 7.3.1, 7.3.3 to 7.3.5, 7.7.1 to 7.7.13
    assert_eq!(messages(&client(FIN | CLOSE, b"")), [Message::Close { code: None, reason: String::new() }]);
    for reason in ["", "Hello World!", &"*".repeat(123)] {
        let heard = messages(&closing(1000, reason));
        assert_eq!(heard, [Message::Close { code: Some(1000), reason: reason.into() }]);
    }
}

#[test]
fn close_codes_are_those_that_may_be_sent() {
    // 7.7.1 to 7.7.13, 7.9.1 to 7.9.9, 7.13.1, 7.13.2
    let may_be_sent = |code: &u16| matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
    for code in 0..=u16::MAX {
        let heard = listen(&mut Decoder::default(), [&closing(code, "")[..]], MAX);
        match may_be_sent(&code) {
            true => assert_eq!(heard, (vec![Message::Close { code: Some(code), reason: String::new() }], None)),
            false => assert_eq!(heard.1.map(|fault| fault.code), Some(1002), "{code}"),
        }
    }
}

#[test]
fn a_close_reason_that_is_not_utf8_is_1007() {
    // 7.5.1
    let payload =
        [&1000u16.to_be_bytes()[..], b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited"].concat();
    assert_eq!(fault(&client(FIN | CLOSE, &payload)), (0, 1007));
}

#[test]
fn a_message_over_the_bound_is_1009_by_its_header() {
    let bound = |bytes: &[u8]| listen(&mut Decoder::default(), [bytes], 1000);
    let too_big = |bytes: &[u8]| bound(bytes).1.is_some_and(|fault| fault.code == 1009);
    assert_eq!(bound(&client(FIN | BINARY, &[0; 1000])).0, [Message::Binary(vec![0; 1000])]);
    assert!(too_big(&client(FIN | BINARY, &[0; 1001])[..8]));
    assert!(too_big(&[0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]));
    // All fragments together; what stands between them does not count.
    let start = [client(BINARY, &[0; 600]), client(FIN | PING, &[0; 125])].concat();
    let heard = bound(&[&start[..], &client(FIN | CONTINUATION, &[0; 400])].concat()).0;
    assert_eq!(heard, [Message::Ping(vec![0; 125]), Message::Binary(vec![0; 1000])]);
    assert!(too_big(&[&start[..], &client(FIN | CONTINUATION, &[0; 401])[..8]].concat()));
    // A bound below what a control frame may carry is none for it.
    assert_eq!(
        listen(&mut Decoder::default(), [&client(FIN | PING, b"ping")[..]], 0).0,
        [Message::Ping(b"ping".into())]
    );
}

#[test]
fn a_decoder_is_empty_between_messages_only() {
    let bytes = [client(TEXT, b"ab"), client(FIN | PING, b"p"), client(FIN | CONTINUATION, b"")].concat();
    let mut decoder = Decoder::default();
    for (number, byte) in bytes.chunks(1).enumerate() {
        assert_eq!(decoder.is_empty(), number == 0, "before byte {number}");
        listen(&mut decoder, [byte], MAX);
    }
    assert!(decoder.is_empty());
    assert!(decoder.next(&mut &client(FIN | TEXT, b"\xff")[..], MAX).is_err());
    assert!(decoder.is_empty(), "a fault holds no memory either");
}

#[test]
fn what_is_written_can_be_split_off_again() {
    for length in [0, 1, 125, 126, 127, 65535, 65536, 100_000] {
        let payload = vec![b'*'; length];
        let mut out = BytesMut::from(&b"before"[..]);
        frame::put_text(&mut out, &payload);
        let frame = &out[6..];
        let kept = frame::text(&payload);
        assert_eq!(frame, kept);
        assert_eq!(kept.try_into_mut().unwrap().capacity(), frame.len(), "a frame that is kept holds no byte more");
        let header = frame.len() - length;
        assert_eq!(frame::split(&[frame, b"after"].concat()), Some((TEXT, &payload[..], frame.len())));
        for end in (0..header.min(frame.len())).chain([frame.len() - 1]) {
            assert_eq!(frame::split(&frame[..end]), None, "{end} of {}", frame.len());
        }
    }
    assert_eq!(frame::split(&frame::binary(b"b")), Some((BINARY, &b"b"[..], 3)));
    assert_eq!(frame::split(&[0x81, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), None);
}

#[test]
fn control_frames_are_cut_to_what_they_may_carry() {
    assert_eq!(frame::split(&frame::ping(&[1; 126])), Some((PING, &[1; 125][..], 127)));
    assert_eq!(frame::split(&frame::pong(&[1; 125])), Some((PONG, &[1; 125][..], 127)));
    let long = "ä".repeat(100);
    let cut = [&1001u16.to_be_bytes()[..], "ä".repeat(61).as_bytes()].concat();
    assert_eq!(frame::split(&frame::close(1001, &long)), Some((CLOSE, &cut[..], 126)));
    assert_eq!(frame::close(4000, "bye")[..], [0x88, 5, 0x0f, 0xa0, b'b', b'y', b'e']);
}

/// A message that a client may send, and the control frames that may stand between its fragments.
fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        "\\PC{0,300}".prop_map(Message::Text),
        prop::collection::vec(any::<u8>(), 0..70_000).prop_map(Message::Binary),
        control(),
    ]
}

fn control() -> impl Strategy<Value = Message> {
    let payload = || prop::collection::vec(any::<u8>(), 0..=125);
    prop_oneof![payload().prop_map(Message::Ping), payload().prop_map(Message::Pong)]
}

/// The frames of a message, cut at these places, with these control frames between.
fn frames(
    message: &Message,
    cuts: &[prop::sample::Index],
    between: &[Message],
    mask: [u8; 4],
) -> (Vec<u8>, Vec<Message>) {
    let (opcode, payload) = match message {
        Message::Text(text) => (TEXT, text.as_bytes()),
        Message::Binary(bytes) => (BINARY, &bytes[..]),
        Message::Ping(payload) => return (masked(FIN | PING, payload, mask), vec![message.clone()]),
        Message::Pong(payload) => return (masked(FIN | PONG, payload, mask), vec![message.clone()]),
        Message::Close { .. } => unreachable!("none is made"),
    };
    let mut places: Vec<_> = cuts.iter().map(|cut| cut.index(payload.len() + 1)).collect();
    places.sort_unstable();
    let (mut bytes, mut heard, mut from) = (Vec::new(), Vec::new(), 0);
    for (number, place) in places.iter().enumerate() {
        let first = if number == 0 { opcode } else { CONTINUATION };
        bytes.extend(masked(first, &payload[from..*place], mask));
        from = *place;
        if let Some(control) = between.get(number) {
            let (frame, messages) = frames(control, &[], &[], mask);
            bytes.extend(frame);
            heard.extend(messages);
        }
    }
    let last = if places.is_empty() { opcode } else { CONTINUATION };
    bytes.extend(masked(FIN | last, &payload[from..], mask));
    heard.push(message.clone());
    (bytes, heard)
}

/// The bytes in pieces that end at these places.
fn pieces<'a>(bytes: &'a [u8], ends: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut ends: Vec<_> = ends.iter().map(|end| end.index(bytes.len() + 1)).collect();
    ends.push(bytes.len());
    ends.sort_unstable();
    let mut from = 0;
    ends.into_iter().map(|end| &bytes[std::mem::replace(&mut from, end)..end]).collect()
}

/// Bytes that are often a frame or the beginning of one, so that faults are met deep within.
fn nearly_a_frame() -> impl Strategy<Value = Vec<u8>> {
    let opcode =
        prop_oneof![10 => prop::sample::select(&[CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG][..]), 1 => 0..16u8];
    let first = (opcode, any::<bool>(), prop::bool::weighted(0.02));
    let payload = prop_oneof![
        "\\PC{0,50}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..140),
        (900..5100u16).prop_map(|code| code.to_be_bytes().to_vec()),
    ];
    (first, payload, any::<[u8; 4]>(), prop::option::weighted(0.1, any::<prop::sample::Index>())).prop_map(
        |((opcode, fin, reserved), payload, mask, end)| {
            let first = opcode | u8::from(fin) << 7 | u8::from(reserved) << 5;
            let mut frame = masked(first, &payload, mask);
            frame.truncate(end.map_or(frame.len(), |end| end.index(frame.len())));
            frame
        },
    )
}

proptest! {
    #[test]
    fn messages_are_heard_as_they_were_said_however_they_are_cut(
        said in prop::collection::vec(
            (message(), prop::collection::vec(any::<prop::sample::Index>(), 0..5),
                prop::collection::vec(control(), 0..3), any::<[u8; 4]>()),
            0..5,
        ),
        ends in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let (mut bytes, mut expected) = (Vec::new(), Vec::new());
        for (message, cuts, between, mask) in &said {
            let (frames, heard) = frames(message, cuts, between, *mask);
            bytes.extend(frames);
            expected.extend(heard);
        }
        let mut decoder = Decoder::default();
        prop_assert_eq!(listen(&mut decoder, pieces(&bytes, &ends), MAX), (expected, None));
        prop_assert!(decoder.is_empty());
    }

    #[test]
    fn what_is_heard_does_not_depend_on_the_pieces(
        nearly in prop::collection::vec(nearly_a_frame(), 0..6),
        ends in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let bytes = nearly.concat();
        let heard = hear(&bytes);
        prop_assert_eq!(listen(&mut Decoder::default(), pieces(&bytes, &ends), MAX), heard);
    }

    #[test]
    fn whatever_arrives_is_heard_or_refused_with_a_code_of_the_rfc(
        bytes in prop::collection::vec(any::<u8>(), 0..200), max in 0..300usize,
    ) {
        let (heard, fault) = listen(&mut Decoder::default(), [&bytes[..]], max);
        prop_assert!(fault.is_none_or(|fault| matches!(fault.code, 1002 | 1007 | 1009)));
        for message in heard {
            match message {
                Message::Text(text) => prop_assert!(text.len() <= max),
                Message::Binary(payload) => prop_assert!(payload.len() <= max),
                Message::Ping(payload) | Message::Pong(payload) => prop_assert!(payload.len() <= 125),
                Message::Close { reason, .. } => prop_assert!(reason.len() <= 123),
            }
        }
        let _ = frame::split(&bytes);
    }

    #[test]
    fn text_is_refused_with_the_byte_that_spoils_it_and_no_later(
        start in "\\PC{0,20}", rest in prop::collection::vec(any::<u8>(), 0..8),
    ) {
        let payload = [start.as_bytes(), &rest].concat();
        prop_assert_eq!(faulty_byte(&payload), wrong_with(&payload));
    }

    #[test]
    fn a_close_that_is_written_says_what_fits(code in 1000..5000u16, reason in "\\PC{0,200}") {
        let close = frame::close(code, &reason);
        let (opcode, payload, taken) = frame::split(&close).unwrap();
        prop_assert_eq!((opcode, &payload[..2], taken), (CLOSE, &code.to_be_bytes()[..], close.len()));
        let said = std::str::from_utf8(&payload[2..]).unwrap();
        prop_assert!(reason.starts_with(said) && (said.len() == reason.len() || (120..=123).contains(&said.len())));
    }
}
