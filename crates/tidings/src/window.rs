//! The recent events in memory.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::cursor::Offset;
use crate::entry::Entry;
use crate::grant::Audience;
use crate::limits::Limits;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// A place in the window: how many entries, signals included, were appended before it since the program started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(pub u64);

/// The recent entries of the log, and the signals between them, in the order in which they were announced.
///
/// Every reader of this process, whichever its transport, reads on from its place here; who has fallen behind the window reads the
/// broker until it is back. Bounded by `Limits::window_events` and `Limits::window_bytes`.
pub struct Window {
    ring: RwLock<Ring>,
    end: AtomicU64,
    max_entries: usize,
    max_bytes: usize,
}

struct Ring {
    entries: VecDeque<Slot>,
    /// The place of the first entry.
    first: u64,
    /// Every event after this offset is in the ring, or not yet appended.
    floor: Offset,
    /// The offset of the newest event.
    last: Offset,
    bytes: usize,
    /// Where the newest signal of each key stands.
    signals: HashMap<SignalKey, u64, foldhash::fast::RandomState>,
}

/// `None` once a newer signal took its place: the bytes are freed at once, not when the window has moved on.
type Slot = Option<Arc<Entry>>;

type SignalKey = (Arc<str>, Arc<str>, Arc<str>, Audience);

/// The place asked for is older than the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BehindWindow;

impl Window {
    /// An empty window whose first event will come after `last`.
    pub fn new(last: Offset, limits: &Limits) -> Self {
        Window {
            ring: RwLock::new(Ring {
                entries: VecDeque::new(),
                first: 0,
                floor: last,
                last,
                bytes: 0,
                signals: HashMap::default(),
            }),
            end: AtomicU64::new(0),
            max_entries: limits.window_events.max(1),
            max_bytes: limits.window_bytes,
        }
    }

    fn ring(&self) -> RwLockReadGuard<'_, Ring> {
        self.ring.read().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn ring_mut(&self) -> RwLockWriteGuard<'_, Ring> {
        self.ring.write().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Appends in order. Only what the broker has announced comes here.
    pub(crate) fn append(&self, entries: impl IntoIterator<Item = Arc<Entry>>) {
        let mut ring = self.ring_mut();
        for entry in entries {
            let place = ring.first + ring.entries.len() as u64;
            if entry.event.is_signal() {
                if let Some(key) = signal_key(&entry)
                    && let Some(older) = ring.signals.insert(key, place)
                    && let Some(index) = older.checked_sub(ring.first)
                    && let Some(slot) = usize::try_from(index).ok().and_then(|index| ring.entries.get_mut(index))
                    && let Some(entry) = slot.take()
                {
                    entry.supersede();
                    ring.bytes -= weight(&entry);
                }
            } else {
                ring.last = entry.event.offset;
            }
            ring.bytes += weight(&entry);
            ring.entries.push_back(Some(entry));
        }
        while ring.entries.len() > self.max_entries || (ring.bytes > self.max_bytes && ring.entries.len() > 1) {
            ring.drop_first();
        }
        let end = ring.first + ring.entries.len() as u64;
        // Under the lock, so that nobody sees the end move before the entries are there.
        self.end.store(end, Ordering::Release);
    }

    /// Holds nothing any more, and what comes next comes after `last`. Before anybody reads.
    pub(crate) fn begin_anew(&self, last: Offset) {
        let mut ring = self.ring_mut();
        ring.first += ring.entries.len() as u64;
        ring.entries.clear();
        ring.signals.clear();
        (ring.floor, ring.last, ring.bytes) = (last, last, 0);
    }

    /// The place after the newest entry. Costs one load; a reader at this place has nothing to read.
    pub fn end(&self) -> Place {
        Place(self.end.load(Ordering::Acquire))
    }

    /// The place of the oldest entry that is held.
    pub(crate) fn first(&self) -> Place {
        Place(self.ring().first)
    }

    /// The place after the newest entry, and the offset of the newest event, as of one moment.
    pub fn head(&self) -> (Place, Offset) {
        let ring = self.ring();
        (Place(ring.first + ring.entries.len() as u64), ring.last)
    }

    /// The place from which every event after `after` follows, if the window still holds them all.
    pub fn seek(&self, after: Offset) -> Result<Place, BehindWindow> {
        let ring = self.ring();
        if after < ring.floor {
            return Err(BehindWindow);
        }
        // Freed signals have no offset of their own, so the search steps over them to the next entry that has one.
        let (mut low, mut high) = (0, ring.entries.len());
        while low < high {
            let middle = (low + high) / 2;
            let probe = (middle..high).find_map(|index| ring.entries[index].as_ref().map(|entry| (index, entry)));
            match probe {
                Some((index, entry)) if !entry.event.is_signal() && entry.at <= after => low = index + 1,
                Some((index, entry)) if entry.event.is_signal() && entry.at < after => low = index + 1,
                Some(_) | None => high = middle,
            }
        }
        Ok(Place(ring.first + low as u64))
    }

    /// Hands the entries from `from` on to `take`, with the place after each, until it returns `false` or there are no more.
    /// Returns the place to go on from. The lock is held meanwhile: `take` must be short.
    pub fn read(&self, from: Place, mut take: impl FnMut(Place, &Arc<Entry>) -> bool) -> Result<Place, BehindWindow> {
        let ring = self.ring();
        let Some(start) = from.0.checked_sub(ring.first) else { return Err(BehindWindow) };
        let start = usize::try_from(start).unwrap_or(usize::MAX).min(ring.entries.len());
        let mut place = from.0.min(ring.first + ring.entries.len() as u64);
        for slot in ring.entries.range(start..) {
            place += 1;
            if let Some(entry) = slot
                && !take(Place(place), entry)
            {
                break;
            }
        }
        Ok(Place(place))
    }

    /// How many entries and bytes it holds.
    pub fn size(&self) -> (usize, usize) {
        let ring = self.ring();
        (ring.entries.len(), ring.bytes)
    }
}

impl Ring {
    fn drop_first(&mut self) {
        let place = self.first;
        self.first += 1;
        let Some(Some(entry)) = self.entries.pop_front() else { return };
        self.bytes -= weight(&entry);
        if entry.event.is_signal() {
            if let Some(key) = signal_key(&entry)
                && self.signals.get(&key) == Some(&place)
            {
                self.signals.remove(&key);
            }
        } else {
            self.floor = entry.event.offset;
        }
    }
}

/// The event and one frame of it.
fn weight(entry: &Entry) -> usize {
    2 * entry.event.weight()
}

/// What makes two signals the same thing at two times: topic, name and key, and for whom it is. One for another audience
/// replaces nothing: those who see only the older one would be left without either.
fn signal_key(entry: &Entry) -> Option<SignalKey> {
    let key = entry.event.key.clone()?;
    Some((entry.event.topic.as_str().into(), entry.event.name.clone(), key, entry.event.audience.clone()))
}
