//! The deliveries of one reader as an async stream.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::broker::BrokerError;
use crate::clock::Timestamp;
use crate::close::CloseReason;
use crate::cursor::{Cursor, Offset};
use crate::entry::Entry;
use crate::filter::{Filter, Interest};
use crate::gap::Gap;
use crate::hub::{Hub, Start};
use crate::principal::Principal;
use crate::registry::Registry;
use crate::revoked::Moment;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard, Notify, OnceLock};
use crate::window::{BehindWindow, Place};

/// What a subscriber is given.
#[derive(Clone, Debug)]
pub enum Delivery {
    /// An event, or a signal, that it asked for and may see.
    Event(Arc<Entry>),
    /// Continuity can't be proven: it should fetch its state anew. What follows is complete again.
    Gap(Gap),
    /// The end, and why. Nothing comes after it.
    Closed(CloseReason),
}

/// One reader of the log as an async stream, for HTTP/2, TLS, polls, and programs that embed the hub.
///
/// It has no queue: it is a place in the log. Reading slowly holds up nobody and loses nothing that the log still holds.
pub struct Subscriber {
    hub: Arc<Hub>,
    seat: Arc<Seat>,
    class: usize,
    interest: Interest,
    position: Position,
    /// Everything up to here was delivered or did not concern it, but for what is in `ready`.
    offset: Offset,
    ready: VecDeque<Delivery>,
    first: Option<Gap>,
    drain_at: Option<Instant>,
    /// Whether the last read went to the end of the window.
    scanned: bool,
    ended: bool,
}

#[derive(Clone, Copy, Debug)]
enum Position {
    Window(Place),
    Log(Offset),
}

/// How many deliveries are taken out of the window at once: the lock is held that long.
const TAKEN_AT_ONCE: usize = 256;

impl Hub {
    /// Subscribes. `asked` is the cursor to go on from, `earliest`, or nothing for what comes next.
    pub fn subscribe(self: &Arc<Self>, principal: Arc<Principal>, filter: Filter, asked: Option<&str>) -> Subscriber {
        let (moment, start) = (self.moment(), self.start(asked));
        self.subscribe_at(principal, filter, start, moment)
    }

    /// Subscribes at a place found before. `since` was taken before the principal's credential was checked.
    pub fn subscribe_at(
        self: &Arc<Self>,
        principal: Arc<Principal>,
        filter: Filter,
        start: Start,
        since: Moment,
    ) -> Subscriber {
        self.subscribe_over("program", principal, filter, start, since)
    }

    /// The same, telling those who look ([`Hub::subscribers`]) which transport carries it.
    pub fn subscribe_over(
        self: &Arc<Self>,
        transport: &'static str,
        principal: Arc<Principal>,
        filter: Filter,
        start: Start,
        since: Moment,
    ) -> Subscriber {
        let interest = Interest { filter, grants: principal.grants.clone() };
        let seat = Arc::new(Seat {
            notify: Notify::new(),
            wanted: AtomicU64::new(NOTHING),
            closed: OnceLock::new(),
            drain_after: OnceLock::new(),
            principal,
            transport,
            number: self.seats.number(),
            opened: self.clock().now(),
        });
        // Seated before the first read: what is announced between the two is then seen by both, and in neither it would be lost.
        let class = self.seats.enter(interest.clone(), seat.clone());
        if let Some(reason) = self.closed_since(since, &seat.principal) {
            let _ = seat.closed.set(reason);
        }
        if self.is_draining() {
            let _ = seat.drain_after.set(Duration::ZERO);
        }
        let position = start.place.map_or(Position::Log(start.after), Position::Window);
        Subscriber {
            hub: self.clone(),
            seat,
            class,
            interest,
            position,
            offset: start.after,
            ready: VecDeque::new(),
            first: start.gap,
            drain_at: None,
            scanned: false,
            ended: false,
        }
    }
}

impl Subscriber {
    /// The next delivery. After [`Delivery::Closed`] it never returns again. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Delivery {
        if self.ended {
            std::future::pending::<()>().await;
        }
        loop {
            if let Some(delivery) = self.try_next().await {
                return delivery;
            }
            let expiry = self.seat.principal.expires_at.map(|at| at.since(self.hub.clock().now()));
            let drain = self.drain_at.map(|at| at.saturating_duration_since(Instant::now()));
            let wait = match (expiry, drain) {
                (Some(a), Some(b)) => a.min(b),
                (Some(a), None) | (None, Some(a)) => a,
                (None, None) => {
                    self.seat.notify.notified().await;
                    continue;
                }
            };
            let _ = tokio::time::timeout(wait, self.seat.notify.notified()).await;
        }
    }

    /// The next delivery if there is one without waiting for an event; reading the log may take a moment.
    pub async fn try_next(&mut self) -> Option<Delivery> {
        if let Some(gap) = self.first.take() {
            return Some(Delivery::Gap(gap));
        }
        if self.ready.is_empty() && self.ending().is_none() {
            self.read().await;
        }
        // Asked after the read, which may have taken a while: who was revoked meanwhile is given nothing of it.
        if let Some(reason) = self.ending() {
            self.ended = true;
            return Some(Delivery::Closed(reason));
        }
        let delivery = self.ready.pop_front()?;
        self.ended = matches!(delivery, Delivery::Closed(_));
        Some(delivery)
    }

    /// Where a client that has taken every delivery so far may resume.
    ///
    /// While a gap is not taken yet, that is before the gap, so that whoever goes on from there is told of it too. Only for a
    /// place that was no cursor at all there is no such place.
    pub fn cursor(&mut self) -> Cursor {
        if let Some(gap) = &self.first {
            return gap.asked.parse().unwrap_or(gap.resumed);
        }
        if self.ready.is_empty() {
            self.skip();
        }
        let offset = match self.ready.front() {
            // What is ready but not taken yet comes after the cursor.
            Some(Delivery::Event(entry)) if entry.event.is_signal() => entry.at,
            Some(Delivery::Event(entry)) => Offset(entry.at.0 - 1),
            Some(Delivery::Gap(gap)) => return gap.asked.parse().unwrap_or(gap.resumed),
            Some(Delivery::Closed(_)) | None => self.offset,
        };
        self.hub.cursor(offset)
    }

    /// Who reads.
    pub fn principal(&self) -> &Arc<Principal> {
        &self.seat.principal
    }

    /// The newest event of each retained kind that it may see and asked for.
    pub fn retained(&self) -> Vec<Arc<Entry>> {
        self.hub.retained(&self.interest, self.offset)
    }

    fn ending(&mut self) -> Option<CloseReason> {
        if let Some(reason) = self.seat.closed.get() {
            return Some(*reason);
        }
        if self.seat.principal.is_expired(self.hub.clock().now()) {
            return Some(CloseReason::Expired);
        }
        if self.drain_at.is_none() {
            self.drain_at = self.seat.drain_after.get().map(|after| Instant::now() + *after);
        }
        self.drain_at.is_some_and(|at| at <= Instant::now()).then_some(CloseReason::Draining)
    }

    /// Goes past what is known not to concern it, without looking at it: a quiet subscriber on a busy hub costs nothing.
    fn skip(&mut self) {
        let Position::Window(at) = self.position else { return };
        if !self.scanned {
            return;
        }
        let (woken, offset) = self.hub.seats.woken();
        // Read in this order: what matched before `woken` has set `wanted` before `woken` was moved there.
        let wanted = Place(self.seat.wanted.load(Ordering::Acquire));
        if wanted > woken && woken > at {
            self.position = Position::Window(woken);
            self.offset = self.offset.max(offset);
        } else if wanted != Place(NOTHING) && wanted > at {
            self.position = Position::Window(wanted);
        }
    }

    async fn read(&mut self) {
        self.skip();
        loop {
            match self.position {
                Position::Window(from) => {
                    if self.read_window(from).is_ok() {
                        return;
                    }
                    self.scanned = false;
                    self.position = Position::Log(self.offset);
                }
                Position::Log(after) => {
                    if let Ok(place) = self.hub.window().seek(after) {
                        self.position = Position::Window(place);
                        continue;
                    }
                    self.read_log(after).await;
                    // A long log may hold nothing for it: its end does not wait until all is read.
                    if !self.ready.is_empty() || self.ending().is_some() {
                        return;
                    }
                }
            }
        }
    }

    fn read_window(&mut self, from: Place) -> Result<(), BehindWindow> {
        // Taken back before reading: a match that is announced meanwhile sets it again, and wakes.
        self.seat.wanted.store(NOTHING, Ordering::Release);
        let (interest, ready, offset) = (&self.interest, &mut self.ready, &mut self.offset);
        let mut full = false;
        let place = self.hub.window().read(from, |_, entry| {
            if interest.covers(&entry.event) {
                ready.push_back(Delivery::Event(entry.clone()));
            }
            *offset = (*offset).max(entry.at);
            full = ready.len() >= TAKEN_AT_ONCE;
            !full
        })?;
        self.position = Position::Window(place);
        self.scanned = !full;
        Ok(())
    }

    async fn read_log(&mut self, after: Offset) {
        let topics = self.interest.filter.literal_topics().and(self.interest.filter.topics.clone());
        match self.hub.history(topics, after).await {
            Ok(page) => {
                for entry in page.entries.iter().filter(|entry| self.interest.covers(&entry.event)) {
                    self.ready.push_back(Delivery::Event(entry.clone()));
                }
                self.offset = page.reached.max(self.offset);
                self.position = Position::Log(page.reached);
                if page.reached <= after && self.hub.window().seek(after).is_err() {
                    self.ready.push_back(Delivery::Closed(CloseReason::Unavailable));
                }
            }
            Err(BrokerError::Trimmed { resume, .. }) => {
                self.ready.push_back(Delivery::Gap(self.hub.overtaken(after, resume)));
                self.offset = resume;
                self.position = Position::Log(resume);
            }
            Err(error) => {
                tracing::error!(%error, "a subscriber can't be given the log");
                self.ready.push_back(Delivery::Closed(CloseReason::Unavailable));
            }
        }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.hub.seats.leave(self.class, &self.seat);
    }
}

/// One subscriber as the hub knows it.
pub(crate) struct Seat {
    notify: Notify,
    /// The place of the first match since it last read the window; [`NOTHING`] if there was none.
    wanted: AtomicU64,
    closed: OnceLock<CloseReason>,
    drain_after: OnceLock<Duration>,
    principal: Arc<Principal>,
    transport: &'static str,
    /// No other subscriber of this process has it.
    number: u64,
    opened: Timestamp,
}

/// One async subscriber, for people who look.
#[derive(Clone, Debug)]
pub struct Seated {
    /// Its number: that of no other of this process.
    pub number: u64,
    /// Who reads.
    pub principal: Arc<Principal>,
    /// What carries it; `program` where nobody said so.
    pub transport: &'static str,
    /// What was asked for.
    pub filter: Filter,
    /// When it began.
    pub opened: Timestamp,
}

const NOTHING: u64 = u64::MAX;

/// All async subscribers of the process.
#[derive(Default)]
pub(crate) struct Seats(Mutex<Seating>);

#[derive(Default)]
struct Seating {
    registry: Registry<Vec<Arc<Seat>>>,
    /// How many were seated so far.
    count: u64,
    /// All matches before here were told: the place, and the offset of the newest event before it.
    woken: (Place, Offset),
}

impl Seats {
    fn lock(&self) -> MutexGuard<'_, Seating> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The number of the next subscriber.
    fn number(&self) -> u64 {
        let mut seating = self.lock();
        seating.count += 1;
        seating.count
    }

    fn enter(&self, interest: Interest, seat: Arc<Seat>) -> usize {
        let mut seated = self.lock();
        let class = seated.registry.enter(interest, 0);
        seated.registry.get_mut(class).expect("entered in the line above").members.push(seat);
        class
    }

    fn leave(&self, class: usize, seat: &Arc<Seat>) {
        let mut seated = self.lock();
        let Some(found) = seated.registry.get_mut(class) else { return };
        found.members.retain(|other| !Arc::ptr_eq(other, seat));
        if found.members.is_empty() {
            seated.registry.leave(class);
        }
    }

    /// Wakes whom these entries concern; `first` is the place of the first of them.
    pub(crate) fn wake(&self, entries: &[Arc<Entry>], first: Place) {
        let mut seated = self.lock();
        for (place, entry) in (first.0..).zip(entries) {
            seated.registry.matching(&entry.event, |_, class| {
                for seat in &class.members {
                    // Only the first match since the last read has anybody to wake.
                    if seat.wanted.fetch_min(place, Ordering::AcqRel) == NOTHING {
                        seat.notify.notify_one();
                    }
                }
            });
        }
        if let Some(last) = entries.last() {
            seated.woken = (Place(first.0 + entries.len() as u64), last.at);
        }
    }

    fn woken(&self) -> (Place, Offset) {
        self.lock().woken
    }

    /// Who is subscribed, and to what.
    pub(crate) fn list(&self) -> Vec<Seated> {
        let seated = self.lock();
        let seats = seated.registry.iter().flat_map(|(_, class)| class.members.iter().map(move |seat| (class, seat)));
        let shown = seats.map(|(class, seat)| Seated {
            number: seat.number,
            principal: seat.principal.clone(),
            transport: seat.transport,
            filter: class.interest.filter.clone(),
            opened: seat.opened,
        });
        shown.collect()
    }

    /// Ends the subscriber of this number; false if there is none, or it has been told to end already.
    pub(crate) fn disconnect(&self, number: u64, reason: CloseReason) -> bool {
        let seated = self.lock();
        let mut seats = seated.registry.iter().flat_map(|(_, class)| &class.members);
        let Some(seat) = seats.find(|seat| seat.number == number) else { return false };
        let ends = seat.closed.set(reason).is_ok();
        seat.notify.notify_one();
        ends
    }

    /// Ends the subscribers whom `covers` names.
    pub(crate) fn close(&self, reason: CloseReason, covers: impl Fn(&Principal) -> bool) {
        for (_, class) in self.lock().registry.iter() {
            for seat in class.members.iter().filter(|seat| covers(&seat.principal)) {
                let _ = seat.closed.set(reason);
                seat.notify.notify_one();
            }
        }
    }

    /// Sends all away, spread evenly over `window`.
    pub(crate) fn drain(&self, window: Duration) {
        let seated = self.lock();
        let seats: Vec<_> = seated.registry.iter().flat_map(|(_, class)| &class.members).collect();
        let step = window / u32::try_from(seats.len().max(1)).unwrap_or(u32::MAX);
        for (index, seat) in (0u32..).zip(&seats) {
            let _ = seat.drain_after.set(step * index);
            seat.notify.notify_one();
        }
    }
}
