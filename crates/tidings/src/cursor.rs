//! Where a reader stands in the log.

use std::fmt;
use std::str::FromStr;

/// The place of one event in the log: 1 for the first ever appended, and only ever growing.
///
/// 0 is the place before the first event. Offsets are never reused, also not when a write failed, so a gap in the
/// numbers is legal; their order is the log's order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub u64);

impl Offset {
    /// The place before the first event.
    pub const START: Offset = Offset(0);

    /// The next place.
    pub fn next(self) -> Offset {
        Offset(self.0 + 1)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which history the offsets count in.
///
/// A log that lost its history (deleted, restored from an older copy, begun anew) has another epoch. Without it, a
/// client that stood at offset 500 of the old log would be taken to stand at 500 of the new one, and would silently
/// miss everything before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch(pub u32);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// A place in the log: the epoch and the last offset that was read.
///
/// Spelled `<epoch as 8 hex digits>-<offset>`, for example `9f3c2a1b-42`. Clients treat it as opaque and hand it back as
/// SSE's `Last-Event-ID` or in `?cursor=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// Which history.
    pub epoch: Epoch,
    /// The last event that was read; reading goes on after it.
    pub offset: Offset,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.offset)
    }
}

/// The text is not a cursor of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor: a cursor is the value of an `id:` field or of `cursor` in an answer, like 9f3c2a1b-42")]
pub struct InvalidCursor;

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let (epoch, offset) = text.split_once('-').ok_or(InvalidCursor)?;
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if epoch.len() != 8 || !epoch.bytes().all(hex) {
            return Err(InvalidCursor);
        }
        // One spelling per place: no sign, no leading zero. 20 digits hold every u64.
        let canonical = offset == "0" || (!offset.starts_with('0') && offset.bytes().all(|b| b.is_ascii_digit()));
        if offset.is_empty() || offset.len() > 20 || !canonical {
            return Err(InvalidCursor);
        }
        Ok(Cursor {
            epoch: Epoch(u32::from_str_radix(epoch, 16).map_err(|_| InvalidCursor)?),
            offset: Offset(offset.parse().map_err(|_| InvalidCursor)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_cursor_reads_back_as_it_was_written(epoch: u32, offset: u64) {
            let cursor = Cursor { epoch: Epoch(epoch), offset: Offset(offset) };
            prop_assert_eq!(cursor.to_string().parse::<Cursor>(), Ok(cursor));
        }

        #[test]
        fn text_that_parses_is_spelled_the_one_way(text in "[0-9a-fA-F+-]{0,30}") {
            if let Ok(cursor) = text.parse::<Cursor>() {
                prop_assert_eq!(cursor.to_string(), text);
            }
        }
    }

    #[test]
    fn foreign_ids_are_refused() {
        for text in [
            "",
            "42",
            "1768600000000-progress",
            "9f3c2a1b-",
            "9f3c2a1b-042",
            "9F3C2A1B-1",
            "9f3c2a1b-99999999999999999999",
        ] {
            assert_eq!(text.parse::<Cursor>(), Err(InvalidCursor), "{text}");
        }
    }
}
