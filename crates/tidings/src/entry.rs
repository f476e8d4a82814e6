//! An event as the window holds it: with its rule and the frames it was encoded to.

use std::sync::Arc;

use bytes::Bytes;

use crate::cursor::Offset;
use crate::event::Event;
use crate::profile::EventRule;
use crate::sync::OnceLock;
use crate::sync::atomic::{AtomicBool, Ordering};

/// An event in memory, shared by all who read it, with what was made of it so far.
///
/// Encoding happens once per shape and codec: the first reader that needs a frame makes it, all others share the bytes.
#[derive(Debug)]
pub struct Entry {
    /// The event, or signal.
    pub event: Event,
    /// How its profile treats its kind.
    pub rule: Arc<EventRule>,
    /// Where it stands: its own offset, or for a signal that of the event before it.
    pub at: Offset,
    superseded: AtomicBool,
    frames: FrameList,
}

/// Which frame of an event: who encoded it, and which redactions it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FrameKey {
    /// The codec with its settings, as the transport numbers them.
    pub encoding: u32,
    /// [`Shape::variant`](crate::Shape::variant).
    pub variant: u32,
}

impl Entry {
    /// An event or signal at `at`.
    pub fn new(event: Event, rule: Arc<EventRule>, at: Offset) -> Self {
        Entry { event, rule, at, superseded: AtomicBool::new(false), frames: FrameList::default() }
    }

    /// The frame for `key`; `encode` is called if nobody has needed it yet.
    pub fn frame(&self, key: FrameKey, encode: impl FnOnce(&Entry) -> Bytes) -> &Bytes {
        self.frames.get_or_insert(key, || encode(self))
    }

    /// Whether it is a signal that a newer one with its key has replaced: nobody needs it any more.
    pub fn is_superseded(&self) -> bool {
        self.superseded.load(Ordering::Relaxed)
    }

    pub(crate) fn supersede(&self) {
        self.superseded.store(true, Ordering::Relaxed);
    }
}

/// A list that only grows, so that a reference into it stays good without a lock: an event has one or two frames,
/// rarely more.
#[derive(Debug, Default)]
struct FrameList(OnceLock<Box<Link>>);

#[derive(Debug)]
struct Link {
    key: FrameKey,
    frame: Bytes,
    next: FrameList,
}

impl FrameList {
    fn get_or_insert(&self, key: FrameKey, encode: impl FnOnce() -> Bytes) -> &Bytes {
        let mut list = self;
        while let Some(link) = list.0.get() {
            if link.key == key {
                return &link.frame;
            }
            list = &link.next;
        }
        // Encoded outside of `get_or_init`: another thread may be adding a frame of another key at this very place, and
        // then ours goes behind it.
        let mut link = Box::new(Link { key, frame: encode(), next: FrameList::default() });
        loop {
            match list.0.set(link) {
                Ok(()) => return &list.0.get().expect("set just now, and never taken out").frame,
                Err(ours) => {
                    let other = list.0.get().expect("set by another thread, and never taken out");
                    if other.key == key {
                        return &other.frame;
                    }
                    link = ours;
                    list = &other.next;
                }
            }
        }
    }
}
