//! Which characters the bytes of a file are.

use std::borrow::Cow;
use std::io::{self, Read};

use encoding_rs::{CoderResult, Decoder, Encoding as Charset, UTF_16BE, UTF_16LE, WINDOWS_1252};
use serde::{Deserialize, Serialize};

/// How much of a file is decoded at once.
const CHUNK: usize = 32 * 1024;

/// How the characters of a file are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Encoding {
    /// UTF-8, with or without a byte order mark.
    #[serde(rename = "utf-8")]
    Utf8,
    /// UTF-16 with the low byte first, as Excel's "Unicode text".
    #[serde(rename = "utf-16le")]
    Utf16Le,
    /// UTF-16 with the high byte first.
    #[serde(rename = "utf-16be")]
    Utf16Be,
    /// Windows-1252, of which Latin-1 is a part.
    #[serde(rename = "windows-1252")]
    Windows1252,
}

/// What the beginning of a file says about its encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Beginning {
    /// `None`: UTF-8 or Windows-1252, which only the whole file can tell.
    pub encoding: Option<Encoding>,
    /// How many bytes the byte order mark has.
    pub mark: u64,
}

impl Beginning {
    /// By the byte order mark; without one, UTF-16 is known by every other of the first bytes being zero.
    pub fn of(bytes: &[u8]) -> Beginning {
        let (encoding, mark) = match bytes {
            [0xef, 0xbb, 0xbf, ..] => (Some(Encoding::Utf8), 3),
            [0xff, 0xfe, ..] => (Some(Encoding::Utf16Le), 2),
            [0xfe, 0xff, ..] => (Some(Encoding::Utf16Be), 2),
            [1..=255, 0, 1..=255, 0, ..] => (Some(Encoding::Utf16Le), 0),
            [0, 1..=255, 0, 1..=255, ..] => (Some(Encoding::Utf16Be), 0),
            _ => (None, 0),
        };
        Beginning { encoding, mark }
    }

    /// `bytes`, how the file begins, without the mark and in an encoding that has ASCII in it.
    pub fn text<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        let bytes = bytes.get(self.mark as usize..).unwrap_or_default();
        match self.encoding.and_then(Encoding::charset) {
            None => Cow::Borrowed(bytes),
            Some(charset) => Cow::Owned(charset.decode_without_bom_handling(bytes).0.into_owned().into_bytes()),
        }
    }
}

impl Encoding {
    /// `input` as UTF-8. UTF-8 itself is passed on unseen: whether it is valid is asked of each record, so that one
    /// that is not does not cost the others.
    pub fn decode<'a>(self, input: impl Read + 'a) -> Box<dyn Read + 'a> {
        match self.charset() {
            None => Box::new(input),
            Some(charset) => Box::new(Decoded {
                input,
                decoder: Some(charset.new_decoder_without_bom_handling()),
                bytes: vec![0; CHUNK],
                text: vec![0; 4 * CHUNK],
                unread: 0..0,
            }),
        }
    }

    fn charset(self) -> Option<&'static Charset> {
        match self {
            Encoding::Utf8 => None,
            Encoding::Utf16Le => Some(UTF_16LE),
            Encoding::Utf16Be => Some(UTF_16BE),
            Encoding::Windows1252 => Some(WINDOWS_1252),
        }
    }
}

/// One field of a file that may be UTF-8 or Windows-1252.
pub(super) fn guess(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => WINDOWS_1252.decode_without_bom_handling(bytes).0,
    }
}

/// Decides between UTF-8 and Windows-1252 by the records of the whole file.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    /// Records with characters beyond ASCII that are valid UTF-8. Other text hardly ever is.
    valid: u64,
    /// Records that are not UTF-8.
    invalid: u64,
}

impl Evidence {
    /// Looks at the bytes of a record.
    pub fn add(&mut self, record: &[u8]) {
        if !record.is_ascii() {
            match std::str::from_utf8(record) {
                Ok(_) => self.valid += 1,
                Err(_) => self.invalid += 1,
            }
        }
    }

    /// UTF-8 for the most part is UTF-8, with some records broken.
    pub fn encoding(&self) -> Encoding {
        if self.invalid <= self.valid { Encoding::Utf8 } else { Encoding::Windows1252 }
    }
}

/// A reader of UTF-8 over one of something else. What is no character becomes U+FFFD.
struct Decoded<R> {
    input: R,
    /// `None`: all is decoded.
    decoder: Option<Decoder>,
    bytes: Vec<u8>,
    text: Vec<u8>,
    unread: std::ops::Range<usize>,
}

impl<R: Read> Decoded<R> {
    /// Decodes the next bytes into `text`.
    fn refill(&mut self, decoder: &mut Decoder) -> io::Result<bool> {
        let count = self.input.read(&mut self.bytes)?;
        let is_last = count == 0;
        let (result, read, written, _) = decoder.decode_to_utf8(&self.bytes[..count], &mut self.text, is_last);
        // A byte becomes three at most, so there is room for all.
        debug_assert!(result == CoderResult::InputEmpty && read == count);
        self.unread = 0..written;
        Ok(is_last)
    }
}

impl<R: Read> Read for Decoded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.unread.is_empty() {
            let Some(mut decoder) = self.decoder.take() else { return Ok(0) };
            let refilled = self.refill(&mut decoder);
            if !matches!(refilled, Ok(true)) {
                self.decoder = Some(decoder);
            }
            refilled?;
        }
        let count = buffer.len().min(self.unread.len());
        buffer[..count].copy_from_slice(&self.text[self.unread.start..self.unread.start + count]);
        self.unread.start += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf16(text: &str, to_bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(to_bytes).collect()
    }

    fn decoded(encoding: Encoding, bytes: &[u8]) -> String {
        let mut text = String::new();
        encoding.decode(bytes).read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn the_byte_order_mark_says_the_encoding() {
        let beginning = |bytes: &[u8]| {
            let Beginning { encoding, mark } = Beginning::of(bytes);
            (encoding, mark)
        };
        assert_eq!(beginning(b"\xef\xbb\xbfTitle"), (Some(Encoding::Utf8), 3));
        assert_eq!(beginning(b"\xff\xfeT\0"), (Some(Encoding::Utf16Le), 2));
        assert_eq!(beginning(b"\xfe\xff\0T"), (Some(Encoding::Utf16Be), 2));
        assert_eq!(beginning(&utf16("Title", u16::to_le_bytes)), (Some(Encoding::Utf16Le), 0));
        assert_eq!(beginning(&utf16("Title", u16::to_be_bytes)), (Some(Encoding::Utf16Be), 0));
        assert_eq!(beginning(b"Title"), (None, 0));
        assert_eq!(beginning(b""), (None, 0));
    }

    #[test]
    fn each_encoding_is_read() {
        let text = "Škvorecký – 日本 😀\r\n".repeat(10_000);
        assert_eq!(decoded(Encoding::Utf16Le, &utf16(&text, u16::to_le_bytes)), text);
        assert_eq!(decoded(Encoding::Utf16Be, &utf16(&text, u16::to_be_bytes)), text);
        assert_eq!(decoded(Encoding::Utf8, text.as_bytes()), text);
        assert_eq!(decoded(Encoding::Windows1252, b"caf\xe9 \x96 \x80"), "café – €");
    }

    #[test]
    fn half_a_character_at_the_end_becomes_a_mark_of_loss() {
        assert_eq!(decoded(Encoding::Utf16Le, b"a\0b"), "a\u{fffd}");
        assert_eq!(decoded(Encoding::Utf16Le, b"\x3d\xd8a\0"), "\u{fffd}a");
    }

    #[test]
    fn most_records_decide() {
        let encoding = |records: &[&[u8]]| {
            let mut evidence = Evidence::default();
            records.iter().for_each(|record| evidence.add(record));
            evidence.encoding()
        };
        assert_eq!(encoding(&[b"cafe"]), Encoding::Utf8);
        assert_eq!(encoding(&["café".as_bytes(), b"caf\xe9", b"cafe"]), Encoding::Utf8);
        assert_eq!(encoding(&[b"cafe", b"caf\xe9", b"cafe"]), Encoding::Windows1252);
    }
}
