//! The event that is published: its time and number stand at fixed places in its data.

use std::io::Write as _;

/// Begins the data of each event that was published here.
pub const MARK: &[u8] = b"{\"t\":\"";

/// What an event carries to be checked on arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload {
    /// When it was sent, in nanoseconds on the load generator's own clock.
    pub sent: u64,
    /// Which series its number counts in: events of one publisher keep their order, those of two need not.
    pub series: u32,
    /// Its number in the series, from 1.
    pub number: u32,
}

impl Payload {
    /// Appends the data as `bytes` bytes of JSON (62 at least). Digits are strings of a fixed width, so that they are
    /// found again without parsing, and no server changes them.
    pub fn write(&self, to: &mut Vec<u8>, bytes: usize) {
        let begin = to.len();
        // A Vec takes every write.
        let _ = write!(
            to,
            "{{\"t\":\"{:019}\",\"p\":\"{:05}\",\"q\":\"{:09}\",\"x\":\"",
            self.sent, self.series, self.number
        );
        let written = to.len() - begin;
        to.resize(begin + bytes.max(written + 2) - 2, b'x');
        to.extend_from_slice(b"\"}");
    }

    /// Reads the payload that begins at [`MARK`].
    pub fn read(data: &[u8]) -> Option<Payload> {
        Some(Payload {
            sent: number(data.get(6..25)?)?,
            series: number(data.get(32..37)?)? as u32,
            number: number(data.get(44..53)?)? as u32,
        })
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0u64, |sum, digit| {
        let digit = digit.wrapping_sub(b'0');
        (digit < 10).then(|| sum * 10 + u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_read_as_it_was_written() {
        let payload = Payload { sent: 12_345_678_901, series: 63, number: 4_000_000 };
        let mut data = Vec::new();
        payload.write(&mut data, 140);
        assert_eq!(data.len(), 140);
        assert!(data.starts_with(MARK));
        assert_eq!(Payload::read(&data), Some(payload));
        assert!(serde_json::from_slice::<serde_json::Value>(&data).is_ok());
    }

    #[test]
    fn a_cut_or_foreign_payload_is_none() {
        let mut data = Vec::new();
        Payload { sent: 1, series: 1, number: 1 }.write(&mut data, 100);
        assert_eq!(Payload::read(&data[..50]), None);
        data[10] = b'-';
        assert_eq!(Payload::read(&data), None);
    }
}
