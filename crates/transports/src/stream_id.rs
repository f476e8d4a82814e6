//! The name of one open stream, for people who look.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

/// Names one open stream of one run of the program. It is never the name of another, also after a restart; whoever is
/// given one hands it back as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StreamId {
    run: u32,
    held: Held,
}

/// Who holds the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Held {
    /// A lane: its number, the slot there, and how often connections were placed before.
    Lane(u32, u32, u32),
    /// The body of a response, or a poll that waits: the number of its subscriber.
    Body(u64),
}

/// It is not the name of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidStreamId;

impl StreamId {
    pub(crate) fn of(held: Held) -> Self {
        StreamId { run: this_run(), held }
    }

    /// Who holds it; none if it is of another run of the program.
    pub(crate) fn held(self) -> Option<Held> {
        (self.run == this_run()).then_some(self.held)
    }
}

/// A number that another run of the program will not have.
fn this_run() -> u32 {
    static RUN: OnceLock<u32> = OnceLock::new();
    // Where the system has no randomness, names of an earlier run may be taken for ours; nothing else rests on it.
    *RUN.get_or_init(|| getrandom::u32().unwrap_or_else(|_| std::process::id()))
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.held {
            Held::Lane(lane, slot, generation) => write!(f, "{:x}-l{lane:x}-{slot:x}-{generation:x}", self.run),
            Held::Body(number) => write!(f, "{:x}-b-{number:x}", self.run),
        }
    }
}

impl FromStr for StreamId {
    type Err = InvalidStreamId;

    fn from_str(text: &str) -> Result<Self, InvalidStreamId> {
        let hex = |text: &str| u32::from_str_radix(text, 16).map_err(|_| InvalidStreamId);
        let parts: Vec<&str> = text.splitn(5, '-').collect();
        let (run, held) = match parts[..] {
            [run, "b", number] => (run, Held::Body(u64::from_str_radix(number, 16).map_err(|_| InvalidStreamId)?)),
            [run, lane, slot, generation] => {
                let lane = lane.strip_prefix('l').ok_or(InvalidStreamId)?;
                (run, Held::Lane(hex(lane)?, hex(slot)?, hex(generation)?))
            }
            _ => return Err(InvalidStreamId),
        };
        Ok(StreamId { run: hex(run)?, held })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_back_as_it_was_given_out_and_nothing_else_is_one() {
        for held in [Held::Lane(1, 0x2f, u32::MAX), Held::Body(u64::MAX)] {
            let id = StreamId::of(held);
            assert_eq!(id.to_string().parse(), Ok(id));
            assert_eq!(id.held(), Some(held));
        }
        for text in ["", "-", "1-l1-1", "1-1-1-1", "1-l1-1-1-1", "1-b-", "1-b-1-1", "x-b-1", "1-l1-1-100000000"] {
            assert_eq!(text.parse::<StreamId>(), Err(InvalidStreamId), "{text}");
        }
    }

    #[test]
    fn a_name_of_another_run_names_nothing() {
        let id = StreamId { run: this_run().wrapping_add(1), held: Held::Body(1) };
        assert_eq!(id.to_string().parse::<StreamId>().unwrap().held(), None);
    }
}
