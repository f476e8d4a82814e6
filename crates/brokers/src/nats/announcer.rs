//! What was announced here: the one order in which this replica tells its hub of events and signals.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tidings::{Epoch, Event, Head, NewEvent, Offset, Tail};
use tokio::sync::{Notify, oneshot, watch};

use super::codec::{Origin, Signal};
use super::stream::StreamState;

/// The most signals that wait for the event they follow, about how many bytes they have, and how long they do. Signals may be dropped.
const HELD_SIGNALS: usize = 10_000;
pub(super) const HELD_BYTES: usize = 16 << 20;
const HELD_FOR: Duration = Duration::from_secs(5);

/// What stands at a place of the log.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// An event, and who published it.
    Event(Box<NewEvent>, Origin),
    /// None: a hole that a moved log had.
    Void,
    /// A message that is none of ours, with why.
    Foreign(String),
}

/// A place of the log as it came.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    /// Where.
    pub offset: u64,
    /// What.
    pub place: Place,
    /// How many bytes it takes in the stream.
    pub bytes: usize,
}

/// The log as far as it was announced, who wants to be told, and who waits for what they published.
pub(super) struct Announcer {
    /// The history that is announced here.
    pub epoch: Epoch,
    /// This process, as it stands in what it publishes.
    pub process: u64,
    state: Mutex<State>,
    waiting: Mutex<HashMap<u64, Waiter>>,
    announced: watch::Sender<u64>,
    replaced: watch::Sender<Option<String>>,
    /// What is known to be wrong with the log.
    blamed: OnceLock<String>,
    doubt: Notify,
    started: (Notify, std::sync::atomic::AtomicBool),
}

#[derive(Default)]
struct State {
    tail: Option<Arc<dyn Tail>>,
    announced: u64,
    trimmed: u64,
    bytes: u64,
    voids: u64,
    foreign: u64,
    /// When the leader of the stream was heard of last.
    led_at: Option<Instant>,
    /// The last place with an event, and who published it: what a log that lost its end no longer has there.
    newest: Option<(u64, Origin)>,
    held: VecDeque<(Instant, Signal, Origin)>,
}

struct Waiter {
    places: Vec<Option<Offset>>,
    missing: usize,
    done: oneshot::Sender<Vec<Offset>>,
}

impl Announcer {
    /// Everything up to the end of the stream counts as announced. `newest` published what stands there.
    pub fn new(stream: &StreamState, newest: Option<Origin>, process: u64) -> Announcer {
        let state = State {
            newest: newest.map(|by| (stream.last, by)),
            announced: stream.last,
            trimmed: stream.trimmed(),
            bytes: stream.bytes,
            voids: stream.voids,
            led_at: stream.is_led.then(Instant::now),
            ..State::default()
        };
        Announcer {
            epoch: stream.epoch,
            process,
            announced: watch::Sender::new(state.announced),
            state: Mutex::new(state),
            waiting: Mutex::default(),
            replaced: watch::Sender::new(None),
            blamed: OnceLock::new(),
            doubt: Notify::new(),
            started: Default::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, Waiter>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on tells `tail`.
    pub fn tell(&self, tail: Arc<dyn Tail>) {
        self.state().tail = Some(tail);
        self.start();
    }

    /// Begins to announce: with the first tail or the first publish. Until then the head stands still, so that whoever
    /// reads up to it and then asks to be told misses nothing.
    pub fn start(&self) {
        self.started.1.store(true, std::sync::atomic::Ordering::Release);
        self.started.0.notify_one();
    }

    /// Returns when it may be announced.
    pub async fn has_started(&self) {
        while !self.started.1.load(std::sync::atomic::Ordering::Acquire) {
            self.started.0.notified().await;
        }
    }

    /// The last place that was announced.
    pub fn announced(&self) -> u64 {
        *self.announced.borrow()
    }

    /// Returns when everything up to `offset` was announced.
    pub async fn reach(&self, offset: u64) {
        // The sender lives as long as this does.
        let _ = self.announced.subscribe().wait_for(|announced| *announced >= offset).await;
    }

    /// The two ends of the log as they are known here.
    pub fn head(&self) -> Head {
        let state = self.state();
        let trimmed = state.trimmed.min(state.announced);
        Head {
            epoch: self.epoch,
            trimmed: Offset(trimmed),
            last: Offset(state.announced),
            events: (state.announced - trimmed).saturating_sub(state.voids),
            bytes: state.bytes,
        }
    }

    /// How many messages in the stream were none of ours.
    pub fn foreign(&self) -> u64 {
        self.state().foreign
    }

    /// The last event that was announced here, and who published it.
    pub fn newest(&self) -> Option<(u64, Origin)> {
        self.state().newest
    }

    /// Takes what the engine says of the stream now.
    pub fn refresh(&self, stream: &StreamState) {
        let mut state = self.state();
        if stream.is_led {
            state.led_at = Some(Instant::now());
        }
        state.trimmed = state.trimmed.max(stream.trimmed());
        if state.announced >= stream.last {
            state.bytes = stream.bytes;
            state.voids = stream.voids + state.foreign;
        }
    }

    /// Whether the leader was heard of within this time.
    pub fn is_led(&self, within: Duration) -> bool {
        self.state().led_at.is_some_and(|at| at.elapsed() < within)
    }

    /// Has whoever follows the stream ask whether it is what was announced still.
    pub fn doubt(&self) {
        self.doubt.notify_one();
    }

    /// Returns when somebody doubts it.
    pub async fn doubted(&self) {
        self.doubt.notified().await;
    }

    /// Takes note of what is wrong with the log before it is given another epoch for it: whoever notices that one first tells this.
    pub fn blame(&self, why: String) {
        let _ = self.blamed.set(why);
    }

    /// The history that was announced here is over; `why` is a sentence. Only the first one counts.
    pub fn end(&self, why: String) {
        let why = self.blamed.get().cloned().unwrap_or(why);
        self.replaced.send_if_modified(|ended| {
            if ended.is_some() {
                return false;
            }
            tracing::error!(why, "what was announced of the log in NATS can't be gone on with");
            *ended = Some(why);
            true
        });
    }

    /// Why the history is over, if it is.
    pub fn ended(&self) -> Option<String> {
        self.replaced.borrow().clone()
    }

    /// Returns when the history is over, with why.
    pub async fn replaced(&self) -> String {
        let mut replaced = self.replaced.subscribe();
        let why = replaced.wait_for(Option::is_some).await.map(|why| why.clone());
        why.ok().flatten().unwrap_or_default()
    }

    /// Begins to wait for a batch of `count` events, or signals, of this process to be announced.
    pub fn expect(self: &Arc<Self>, batch: u64, count: usize) -> Expectation {
        let (done, receiver) = oneshot::channel();
        self.waiting().insert(batch, Waiter { places: vec![None; count], missing: count, done });
        Expectation { announcer: self.clone(), batch, receiver }
    }

    /// Announces places that follow on what was announced, and signals, each behind what it follows.
    pub fn announce(&self, placed: Vec<Placed>, signals: Vec<(Signal, Origin)>) {
        if self.ended().is_some() {
            return;
        }
        let (told, seen, tail, last) = {
            let mut state = self.state();
            let now = Instant::now();
            state.held.extend(signals.into_iter().map(|(signal, by)| (now, signal, by)));
            let mut told = Told::default();
            for Placed { offset, place, bytes } in placed {
                debug_assert_eq!(offset, state.announced + 1);
                told.release(&mut state.held, offset - 1);
                state.announced = offset;
                state.bytes += bytes as u64;
                match place {
                    Place::Event(body, by) => {
                        state.newest = Some((offset, by));
                        told.seen.push((by, Offset(offset)));
                        told.events.push(Event { offset: Offset(offset), body: *body });
                    }
                    Place::Void => state.voids += 1,
                    Place::Foreign(why) => {
                        state.voids += 1;
                        state.foreign += 1;
                        tracing::error!(offset, why, "a message in the log is none of Tidings' and is passed over");
                    }
                }
            }
            let announced = state.announced;
            told.release(&mut state.held, announced);
            drop_old(&mut state.held, now);
            (told.events, told.seen, state.tail.clone(), announced)
        };
        // Only the one task that follows the stream is here, so what is told is told in order without a lock.
        if let Some(tail) = tail.filter(|_| !told.is_empty()) {
            tail.appended(told);
        }
        self.announced.send_if_modified(|announced| std::mem::replace(announced, last) != last);
        self.answer(seen);
    }

    fn answer(&self, seen: Vec<(Origin, Offset)>) {
        let mut waiting = self.waiting();
        for (by, place) in seen.into_iter().filter(|(by, _)| by.process == self.process) {
            let Some(waiter) = waiting.get_mut(&by.batch) else { continue };
            let Some(at) = waiter.places.get_mut(by.index as usize) else { continue };
            // What was appended twice (a try whose answer was lost, beyond the window of the engine) counts once.
            if at.replace(place).is_none() {
                waiter.missing -= 1;
            }
            if waiter.missing == 0
                && let Some(waiter) = waiting.remove(&by.batch)
            {
                let _ = waiter.done.send(waiter.places.into_iter().flatten().collect());
            }
        }
    }
}

#[derive(Default)]
struct Told {
    events: Vec<Event>,
    seen: Vec<(Origin, Offset)>,
}

impl Told {
    /// Lets the signals go that follow `offset` or what is before it.
    fn release(&mut self, held: &mut VecDeque<(Instant, Signal, Origin)>, offset: u64) {
        if held.iter().all(|(_, signal, _)| signal.after.0 > offset) {
            return;
        }
        for (since, signal, by) in std::mem::take(held) {
            if signal.after.0 > offset {
                held.push_back((since, signal, by));
                continue;
            }
            self.seen.push((by, Offset::START));
            self.events.push(Event { offset: Offset::START, body: signal.body });
        }
    }
}

/// About how many bytes a signal takes.
fn bytes_of(signal: &Signal) -> usize {
    signal.body.data.len() + signal.body.scope.len() + 500
}

/// Drops the oldest until those that are left are young, few and small enough.
fn drop_old(held: &mut VecDeque<(Instant, Signal, Origin)>, now: Instant) {
    let mut bytes = 0;
    let fit = held.iter().rev().take(HELD_SIGNALS).take_while(|(since, signal, _)| {
        bytes += bytes_of(signal);
        bytes <= HELD_BYTES && now.saturating_duration_since(*since) <= HELD_FOR
    });
    let fit = fit.count();
    held.drain(..held.len() - fit);
}

/// A batch of this process that is waited for.
pub(super) struct Expectation {
    announcer: Arc<Announcer>,
    batch: u64,
    receiver: oneshot::Receiver<Vec<Offset>>,
}

impl Expectation {
    /// The places of the batch, as soon as all of it was announced here. May be called again if it was not waited out.
    pub async fn announced(&mut self) -> Vec<Offset> {
        match (&mut self.receiver).await {
            Ok(places) => places,
            // The sender goes only with its answer; who gave up waiting is no longer here.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Expectation {
    fn drop(&mut self) {
        self.announcer.waiting().remove(&self.batch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract;

    #[test]
    fn signals_that_wait_are_bounded_in_number_in_bytes_and_in_time() {
        let now = Instant::now();
        let by = Origin { process: 1, batch: 1, index: 0 };
        let held = |count: usize, bytes: usize, age| -> VecDeque<_> {
            let body = NewEvent { data: vec![b'1'; bytes].into(), ..contract::signal("a", 1) };
            let signal = Signal { body, after: Offset(9) };
            (0..count).map(|_| (now - age, signal.clone(), by)).collect()
        };
        let left = |mut held: VecDeque<_>| {
            drop_old(&mut held, now);
            held.len()
        };
        assert_eq!(left(held(HELD_SIGNALS + 5, 1, Duration::ZERO)), HELD_SIGNALS);
        assert_eq!(left(held(40, 1 << 20, Duration::ZERO)), 15, "what belongs to each counts too");
        assert_eq!(left(held(3, 1, HELD_FOR + Duration::from_secs(1))), 0);
        assert_eq!(left(held(3, 1, Duration::ZERO)), 3);
    }
}
