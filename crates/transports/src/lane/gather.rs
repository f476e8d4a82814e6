//! Many frames in one write.

use bytes::Bytes;
use tidings::Offset;

use super::connection::Position;

/// Frames put together for one write, with the place in the log behind each: so that of a write that was cut short it is
/// known what the client has.
#[derive(Debug, Default)]
pub(super) struct Gather {
    bytes: Vec<u8>,
    frames: Vec<FrameEnd>,
    /// Where reading goes on after all of it, and the offset there. May lie beyond the last frame: what did not concern the reader.
    pub(super) reached: Option<(Position, Offset)>,
}

#[derive(Clone, Copy, Debug)]
struct FrameEnd {
    end: usize,
    position: Position,
    offset: Offset,
}

/// How far a write came.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) position: Position,
    pub(super) offset: Offset,
    /// What is left of the frame that was cut.
    pub(super) rest: Bytes,
}

impl Gather {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.frames.clear();
        self.reached = None;
    }

    /// Adds a frame; `position` and `offset` are those after it.
    pub(super) fn push(&mut self, frame: &[u8], position: Position, offset: Offset) {
        self.bytes.extend_from_slice(frame);
        self.frames.push(FrameEnd { end: self.bytes.len(), position, offset });
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where a reader stands after `written` bytes, fewer than all, were taken: behind the frame that was cut, whose
    /// rest it still owes. Only that rest is copied, never what follows.
    pub(super) fn cut(&self, written: usize) -> Written {
        let index = self.frames.partition_point(|frame| frame.end <= written);
        let frame = self.frames[index];
        let begin = index.checked_sub(1).map_or(0, |before| self.frames[before].end);
        if begin == written
            && let Some(before) = index.checked_sub(1)
        {
            // Cut between two frames: nothing is owed.
            let FrameEnd { position, offset, .. } = self.frames[before];
            return Written { position, offset, rest: Bytes::new() };
        }
        let rest = Bytes::copy_from_slice(&self.bytes[written..frame.end]);
        Written { position: frame.position, offset: frame.offset, rest }
    }

    /// The offset of the last frame.
    pub(super) fn last_offset(&self) -> Option<Offset> {
        self.frames.last().map(|frame| frame.offset)
    }

    /// How many frames there are, and how many of them end within `written` bytes.
    pub(super) fn frames_within(&self, written: usize) -> u64 {
        self.frames.partition_point(|frame| frame.end <= written) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tidings::Place;

    proptest! {
        /// However a write is cut, what was written, the rest, and the frames after the place make up the whole, once.
        #[test]
        fn a_cut_write_loses_and_doubles_nothing(sizes in prop::collection::vec(1usize..20, 1..10), at in 0usize..200) {
            let mut gather = Gather::default();
            let frames: Vec<Vec<u8>> = (0u8..).zip(&sizes).map(|(index, size)| vec![index; *size]).collect();
            for (index, frame) in (1u64..).zip(&frames) {
                gather.push(frame, Position::Window(Place(index)), Offset(index));
            }
            let all = frames.concat();
            let at = at % all.len();
            let cut = gather.cut(at);
            let Position::Window(Place(next)) = cut.position else { unreachable!() };
            let mut client = all[..at].to_vec();
            client.extend_from_slice(&cut.rest);
            let next = if at == 0 && cut.rest.is_empty() { 0 } else { next as usize };
            client.extend(frames[next..].concat());
            prop_assert_eq!(client, all);
            prop_assert_eq!(cut.offset, Offset(next as u64));
        }
    }
}
