//! Many frames in one write.

use std::sync::Arc;

use bytes::Bytes;
use tidings::{Entry, Offset};

use super::connection::Position;

/// Frames put together for one write, with the place in the log behind each: so that of a write that was cut short it is
/// known what the client has.
#[derive(Debug, Default)]
pub(super) struct Gather {
    bytes: Vec<u8>,
    frames: Vec<FrameEnd>,
    /// The offset of the last kept event among them: what a client that has all of it can resume from. Signals carry no cursor.
    pub(super) told: Option<Offset>,
    /// Where reading goes on after all of it, and the offset there. May lie beyond the last frame: what did not concern the reader.
    pub(super) reached: Option<(Position, Offset)>,
    /// The last of them, if nothing comes after it.
    pub(super) end: Option<Arc<Entry>>,
}

#[derive(Debug)]
struct FrameEnd {
    frame: Bytes,
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
    /// How many frames that were, the one that was cut among them.
    pub(super) frames: u64,
}

/// The most bytes of a rest that are copied.
const COPIED_REST: usize = 4096;

/// What is left of a frame of which `written` bytes were taken. A short rest is copied, so that it does not keep a large frame in
/// memory; a long one shares it with all others that were cut within it: a large frame would otherwise be there once per socket.
pub(super) fn rest(frame: &Bytes, written: usize) -> Bytes {
    let rest = frame.slice(written..);
    if rest.len() > COPIED_REST { rest } else { Bytes::copy_from_slice(&rest) }
}

impl Gather {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.frames.clear();
        self.told = None;
        self.reached = None;
        self.end = None;
    }

    /// Adds a frame; `position` and `offset` are those after it.
    pub(super) fn push(&mut self, frame: &Bytes, position: Position, offset: Offset) {
        self.bytes.extend_from_slice(frame);
        self.frames.push(FrameEnd { frame: frame.clone(), end: self.bytes.len(), position, offset });
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where a reader stands after `written` bytes, fewer than all, were taken: behind the frame that was cut, whose
    /// rest it still owes.
    pub(super) fn cut(&self, written: usize) -> Written {
        let index = self.frames.partition_point(|frame| frame.end <= written);
        let before = index.checked_sub(1).map(|before| &self.frames[before]);
        let begin = before.map_or(0, |before| before.end);
        if begin == written
            && let Some(before) = before
        {
            // Cut between two frames: nothing is owed.
            let (position, offset) = (before.position, before.offset);
            return Written { position, offset, rest: Bytes::new(), frames: index as u64 };
        }
        let FrameEnd { frame, position, offset, .. } = &self.frames[index];
        let rest = rest(frame, written - begin);
        Written { position: *position, offset: *offset, rest, frames: index as u64 + 1 }
    }

    /// How many frames there are.
    pub(super) fn len(&self) -> u64 {
        self.frames.len() as u64
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
                gather.push(&Bytes::copy_from_slice(frame), Position::Window(Place(index)), Offset(index));
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
            prop_assert_eq!(cut.frames, next as u64);
        }
    }

    #[test]
    fn many_slow_sockets_owe_one_large_frame_between_them() {
        let (frame, mut gather) = (Bytes::from(vec![0; 1 << 20]), Gather::default());
        gather.push(&Bytes::from_static(b"small"), Position::Window(Place(1)), Offset(1));
        gather.push(&frame, Position::Window(Place(2)), Offset(2));
        let within = |rest: &Bytes| frame.as_ptr_range().contains(&rest.as_ptr());
        assert!(within(&gather.cut(105).rest) && within(&rest(&frame, 100)));
        // The end of one does not keep all of it.
        assert!(!within(&rest(&frame, (1 << 20) - 10)));
        assert_eq!(rest(&frame, (1 << 20) - 10).len(), 10);
    }
}
