//! Where events and subscribers meet.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use crate::arrival::MOST_ARRIVING;
use crate::broker::{Broker, BrokerError, Query, Standing, Tail};
use crate::clock::Clock;
use crate::close::CloseReason;
use crate::coalesce::Coalescer;
use crate::cursor::{Cursor, Epoch, Offset};
use crate::entry::Entry;
use crate::event::{Event, NewEvent};
use crate::filter::Interest;
use crate::gap::{Gap, GapReason};
use crate::history::{History, LogPage};
use crate::limits::Limits;
use crate::principal::{Principal, Revocation};
use crate::profile::Profile;
use crate::profiles::Profiles;
use crate::retained::Retained;
use crate::revoked::{Moment, Revoked};
use crate::states::States;
use crate::subscriber::{Seated, Seats};
use crate::sync::{Mutex, MutexGuard, RwLock};
use crate::topic::TopicPattern;
use crate::window::{Place, Window};

/// How long a reader waits for a log that is away before its stream ends: its client comes back, maybe elsewhere.
const HISTORY_PATIENCE: Duration = Duration::from_secs(60);

/// Where events and subscribers of this process meet: publishes go through it to the broker, and what the broker
/// announces comes back through its window to every reader.
pub struct Hub {
    broker: Arc<dyn Broker>,
    window: Window,
    history: History,
    profiles: Profiles,
    readers: RwLock<Vec<Arc<dyn Reader>>>,
    pub(crate) seats: Seats,
    retained: Mutex<Retained>,
    states: Mutex<States>,
    pub(crate) coalescer: Coalescer,
    /// The window has grown.
    pub(crate) grown: Notify,
    /// How many more may wait for that.
    pub(crate) arriving: Semaphore,
    epoch: Epoch,
    clock: Arc<dyn Clock>,
    limits: Limits,
    draining: AtomicBool,
    revoked: Mutex<Revoked>,
    /// What was counted.
    pub counters: HubCounters,
}

/// A driver that reads the window for many subscribers, such as a lane.
pub trait Reader: Send + Sync {
    /// The window has grown. Must return at once.
    fn grown(&self);
    /// The streams that `revocation` covers end now.
    fn close(&self, revocation: &Revocation, reason: CloseReason);
    /// The program stops: all streams end, spread over `Limits::drain_window`.
    fn drain(&self);
}

/// What the hub counted since it was opened.
#[derive(Debug, Default)]
pub struct HubCounters {
    /// Events announced by the broker.
    pub events: AtomicU64,
    /// Signals announced.
    pub signals: AtomicU64,
    /// Publishes that the broker refused.
    pub publish_errors: AtomicU64,
    /// Events that a newer one replaced before they were appended.
    pub coalesced: AtomicU64,
    /// Gaps told, by reason: unknown, other epoch, trimmed, ahead.
    pub gaps: [AtomicU64; 4],
    /// Pages read from the log for readers behind the window.
    pub history_pages: AtomicU64,
}

/// What became of a published event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its place; `None` for a signal.
    pub cursor: Option<Cursor>,
    /// Whether a newer one with its key took its place; the cursor is then that one's.
    pub coalesced: bool,
}

/// Where a new subscriber begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// It has seen everything up to here.
    pub after: Offset,
    /// Where that is in the window, if it begins with what comes next.
    pub place: Option<Place>,
    /// What it has to be told first.
    pub gap: Option<Gap>,
}

impl Hub {
    /// Opens the hub on a broker: fills the window with the end of the log, then listens to what is appended.
    pub async fn open(
        broker: Arc<dyn Broker>,
        profiles: impl IntoIterator<Item = Arc<Profile>>,
        clock: Arc<dyn Clock>,
        limits: Limits,
    ) -> Result<Arc<Hub>, BrokerError> {
        let profiles = Profiles::new(profiles);
        let head = broker.head();
        let floor = Offset(head.last.0.saturating_sub(limits.window_events as u64)).max(head.trimmed);
        let hub = Arc::new(Hub {
            window: Window::new(floor, &limits),
            history: History::new(broker.clone(), &limits),
            profiles,
            readers: RwLock::default(),
            seats: Seats::default(),
            retained: Mutex::default(),
            states: Mutex::default(),
            coalescer: Coalescer::default(),
            grown: Notify::new(),
            arriving: Semaphore::new(MOST_ARRIVING),
            epoch: head.epoch,
            clock,
            limits,
            draining: AtomicBool::new(false),
            revoked: Mutex::default(),
            counters: HubCounters::default(),
            broker,
        });
        hub.load_retained(floor).await?;
        let mut after = floor;
        while after < head.last {
            match hub.broker.read(hub.page_query(None, after)).await {
                Ok(page) if page.reached <= after => break,
                Ok(page) => {
                    after = page.reached;
                    hub.take(page.events, false);
                }
                // Others publish meanwhile, and retention was faster: what was read is not continued by what is there.
                Err(BrokerError::Trimmed { resume, .. }) if resume > after => {
                    after = resume;
                    hub.window.begin_anew(after);
                }
                Err(error) => return Err(error),
            }
        }
        hub.broker.tail(Arc::new(HubTail(Arc::downgrade(&hub))));
        Ok(hub)
    }

    fn page_query(&self, topics: Option<Arc<[TopicPattern]>>, after: Offset) -> Query {
        Query {
            topics,
            after,
            until: Offset(u64::MAX),
            limit: self.limits.page_events,
            max_bytes: self.limits.page_bytes,
        }
    }

    /// The newest of each retained kind, from the part of the log that the window does not hold. Kinds with a fixed topic
    /// are found by the log's own index; of others only what the window holds is known.
    async fn load_retained(&self, until: Offset) -> Result<(), BrokerError> {
        let fixed = |profile: &Profile| -> Vec<TopicPattern> {
            let rules = profile.rules().filter(|rule| rule.retain && rule.topic.is_literal());
            rules.filter_map(|rule| profile.qualify(rule.topic.as_str()).parse().ok()).collect()
        };
        let topics: Vec<TopicPattern> = self.profiles.with_namespace().flat_map(|profile| fixed(profile)).collect();
        if topics.is_empty() {
            return Ok(());
        }
        let topics: Arc<[TopicPattern]> = topics.into();
        let mut after = self.broker.head().trimmed;
        while after < until {
            let page = match self.broker.read(Query { until, ..self.page_query(Some(topics.clone()), after) }).await {
                Err(BrokerError::Trimmed { resume, .. }) if resume > after => {
                    after = resume;
                    continue;
                }
                page => page?,
            };
            for event in page.events {
                self.retain(&Arc::new(self.entry(event)));
            }
            if page.reached <= after {
                break;
            }
            after = page.reached;
        }
        Ok(())
    }

    /// An event with its rule.
    pub fn entry(&self, event: Event) -> Entry {
        let (rule, at) = (self.profiles.rule(&event), event.offset);
        Entry::new(event, rule, at)
    }

    fn retain(&self, entry: &Arc<Entry>) {
        self.retained.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take(entry);
    }

    fn take(&self, events: Vec<Event>, live: bool) {
        // Until the window has them too: who is given a state and then reads the window is told nothing older there.
        let mut states = self.states();
        let (mut place, mut last) = self.window.head();
        let entries: Vec<Arc<Entry>> = events
            .into_iter()
            .filter_map(|event| {
                if !event.is_signal() {
                    last = event.offset;
                }
                let rule = self.profiles.rule(&event);
                let entry = Arc::new(Entry::new(event, rule, last));
                if states.is_late(&entry) {
                    return None;
                }
                self.retain(&entry);
                states.take(&entry, Some(place));
                place.0 += 1;
                Some(entry)
            })
            .collect();
        self.window.append(entries.iter().cloned());
        drop(states);
        if !live {
            return;
        }
        let signals = entries.iter().filter(|entry| entry.event.is_signal()).count() as u64;
        self.counters.signals.fetch_add(signals, Ordering::Relaxed);
        self.counters.events.fetch_add(entries.len() as u64 - signals, Ordering::Relaxed);
        self.grown.notify_waiters();
        let end = self.window.end();
        self.seats.wake(&entries, Place(end.0 - entries.len() as u64));
        for reader in self.readers.read().unwrap_or_else(|poisoned| poisoned.into_inner()).iter() {
            reader.grown();
        }
    }

    /// Adds a driver. It is told of what is appended from now on.
    pub fn attach(&self, reader: Arc<dyn Reader>) {
        self.readers.write().unwrap_or_else(|poisoned| poisoned.into_inner()).push(reader);
    }

    /// Appends events: durable, and given to every subscriber who may see them, when this returns.
    ///
    /// Kinds that coalesce wait for their window, and may come back with the cursor of the newer one that replaced them.
    pub async fn publish(self: &Arc<Self>, events: Vec<NewEvent>) -> Result<Vec<Published>, BrokerError> {
        if events.iter().any(|event| self.profiles.rule(event).coalesce.is_some()) {
            return self.publish_coalescing(events).await;
        }
        self.append(events).await
    }

    pub(crate) async fn append(&self, events: Vec<NewEvent>) -> Result<Vec<Published>, BrokerError> {
        let offsets = self.broker.publish(events).await.inspect_err(|_| {
            self.counters.publish_errors.fetch_add(1, Ordering::Relaxed);
        })?;
        let published = |offset: Option<Offset>| Published {
            cursor: offset.map(|offset| Cursor { epoch: self.epoch, offset }),
            coalesced: false,
        };
        Ok(offsets.into_iter().map(published).collect())
    }

    /// Where a subscriber that asks for `asked` begins: a cursor, `earliest` for all that is kept, or nothing for what comes next.
    pub fn start(&self, asked: Option<&str>) -> Start {
        let head = self.broker.head();
        let (place, last) = self.window.head();
        let next = |gap| Start { after: last, place: Some(place), gap };
        let Some(asked) = asked.filter(|asked| !asked.is_empty()) else { return next(None) };
        let gap = |reason: GapReason, resumed: Offset, at_most| {
            self.counters.gaps[reason as usize].fetch_add(1, Ordering::Relaxed);
            let asked = asked.chars().take(128).collect();
            Some(Gap { reason, asked, resumed: Cursor { epoch: self.epoch, offset: resumed }, at_most })
        };
        if asked == "earliest" {
            return Start { after: head.trimmed, place: None, gap: None };
        }
        match asked.parse::<Cursor>() {
            Err(_) => next(gap(GapReason::Unknown, last, None)),
            Ok(cursor) if cursor.epoch != self.epoch => next(gap(GapReason::OtherEpoch, last, None)),
            Ok(cursor) if cursor.offset > last => next(gap(GapReason::Ahead, last, None)),
            Ok(cursor) if cursor.offset < head.trimmed => {
                let lost = head.trimmed.0 - cursor.offset.0;
                let gap = gap(GapReason::Trimmed, head.trimmed, Some(lost));
                Start { after: head.trimmed, place: None, gap }
            }
            Ok(cursor) if cursor.offset == last => next(None),
            Ok(cursor) => Start { after: cursor.offset, place: None, gap: None },
        }
    }

    /// The gap of a reader that stood at `after` when retention overtook it.
    pub fn overtaken(&self, after: Offset, resume: Offset) -> Gap {
        self.counters.gaps[GapReason::Trimmed as usize].fetch_add(1, Ordering::Relaxed);
        Gap {
            reason: GapReason::Trimmed,
            asked: self.cursor(after).to_string(),
            resumed: self.cursor(resume),
            at_most: Some(resume.0.saturating_sub(after.0)),
        }
    }

    /// The newest event of each retained kind that `interest` covers and that lies at or before `until`: what a new
    /// subscriber is told of the present state, in log order. Later ones it gets by reading on.
    pub fn retained(&self, interest: &Interest, until: Offset) -> Vec<Arc<Entry>> {
        let mut found = self.retained.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).covered(interest, until);
        if interest.filter.topics.is_some() {
            let states = self.states();
            found.extend(states.covered(interest, until, self.window.first()));
        }
        found
    }

    fn states(&self) -> MutexGuard<'_, States> {
        self.states.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Holds so many bytes of states of ended jobs for latecomers.
    pub(crate) fn hold_ends(&self, most_bytes: usize) {
        self.states().hold_ends(most_bytes);
    }

    /// The progress of one job may come from several replicas.
    pub(crate) fn share_jobs(&self) {
        self.states().share();
    }

    /// The newest state that is at hand of the job with this topic, whoever may see it.
    pub fn shown_state(&self, topic: &str) -> Option<Arc<Entry>> {
        self.states().entry(topic).cloned()
    }

    /// Whoever begins to listen to the job is given this state.
    pub(crate) fn show(&self, entry: Entry) {
        self.states().take(&Arc::new(entry), None);
    }

    /// The same, unless a state of the job is at hand already; says which one counts.
    pub(crate) fn show_if_unknown(&self, entry: Entry) -> Arc<Entry> {
        let mut states = self.states();
        if let Some(held) = states.entry(entry.event.topic.as_str()) {
            return held.clone();
        }
        let entry = Arc::new(entry);
        states.take(&entry, None);
        entry
    }

    /// Where in the log the state stands that is at hand of the job with this topic.
    pub(crate) fn shown_at(&self, topic: &str) -> Option<Offset> {
        self.states().offset(topic)
    }

    /// Nobody is told of this job any more.
    pub(crate) fn forget(&self, topic: &str) {
        self.states().forget(topic);
    }

    /// A page of the log, for a reader that has fallen behind the window. Where the log is kept by others and away at the moment, it is
    /// asked for again for a minute: streams stay open meanwhile.
    pub async fn history(
        &self,
        topics: Option<Arc<[TopicPattern]>>,
        after: Offset,
    ) -> Result<Arc<LogPage>, BrokerError> {
        self.counters.history_pages.fetch_add(1, Ordering::Relaxed);
        let is_shared = self.broker.standing() != Standing::Alone;
        let deadline = Instant::now() + HISTORY_PATIENCE;
        let mut wait = Duration::from_millis(100);
        loop {
            let (_, until) = self.window.head();
            match self.history.read(topics.clone(), after, until, |event| self.entry(event)).await {
                Err(BrokerError::Unavailable(_)) if is_shared && !self.is_draining() && Instant::now() < deadline => {
                    tokio::time::sleep(wait).await;
                    wait = (2 * wait).min(Duration::from_secs(2));
                }
                page => return page,
            }
        }
    }

    /// Ends the streams that `revocation` covers. Refusing the credential from now on is the auth source's part.
    pub fn close(&self, revocation: &Revocation, reason: CloseReason) {
        self.revoked.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(revocation.clone(), reason);
        self.seats.close(reason, |principal| revocation.covers(principal));
        for reader in self.readers.read().unwrap_or_else(|poisoned| poisoned.into_inner()).iter() {
            reader.close(revocation, reason);
        }
    }

    /// The async subscribers of this process: who they are, and what they asked for. Lanes know their own.
    pub fn subscribers(&self) -> Vec<Seated> {
        self.seats.list()
    }

    /// Ends the async subscriber of this [number](Seated::number); false if there is none.
    pub fn disconnect(&self, number: u64, reason: CloseReason) -> bool {
        self.seats.disconnect(number, reason)
    }

    /// Which moment this is among the revocations. Taken *before* a credential is checked, and handed to
    /// [`closed_since`](Hub::closed_since) once the stream is in place: a revocation between the two reaches neither otherwise.
    pub fn moment(&self) -> Moment {
        self.revoked.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).moment()
    }

    /// Whether `principal` was revoked after `since`, and how its stream ends then.
    pub fn closed_since(&self, since: Moment, principal: &Principal) -> Option<CloseReason> {
        self.revoked.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).since(since, principal)
    }

    /// Begins to send every stream away, spread over `Limits::drain_window`.
    pub fn drain(&self) {
        if self.draining.swap(true, Ordering::SeqCst) {
            return;
        }
        self.seats.drain(self.limits.drain_window);
        for reader in self.readers.read().unwrap_or_else(|poisoned| poisoned.into_inner()).iter() {
            reader.drain();
        }
    }

    /// Whether the program is about to stop.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// The cursor of a place in this history.
    pub fn cursor(&self, offset: Offset) -> Cursor {
        Cursor { epoch: self.epoch, offset }
    }

    /// The recent events.
    pub fn window(&self) -> &Window {
        &self.window
    }

    /// What keeps the events.
    pub fn broker(&self) -> &Arc<dyn Broker> {
        &self.broker
    }

    /// The profiles of the process.
    pub fn profiles(&self) -> &Profiles {
        &self.profiles
    }

    /// The bounds.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }
}

/// The broker holds the tail, and the hub the broker: a weak reference breaks the ring.
struct HubTail(std::sync::Weak<Hub>);

impl Tail for HubTail {
    fn appended(&self, events: Vec<Event>) {
        if let Some(hub) = self.0.upgrade() {
            hub.take(events, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use async_trait::async_trait;

    use super::*;
    use crate::broker::{Head, Page};
    use crate::{Audience, SystemClock, Timestamp};

    /// A log of ten events of which retention takes five while somebody reads.
    #[derive(Default)]
    struct Trimming(AtomicU64);

    #[async_trait]
    impl Broker for Trimming {
        async fn publish(&self, _: Vec<NewEvent>) -> Result<Vec<Option<Offset>>, BrokerError> {
            Err(BrokerError::Refused("not here".into()))
        }
        async fn read(&self, query: Query) -> Result<Page, BrokerError> {
            let trimmed = self.0.swap(5, Ordering::SeqCst);
            if query.after.0 < trimmed {
                return Err(BrokerError::Trimmed { after: query.after, resume: Offset(trimmed) });
            }
            // One event a page.
            let next = query.after.next();
            let body = NewEvent {
                name: "a".into(),
                topic: "a".parse().unwrap(),
                data: "1".into(),
                scope: Default::default(),
                audience: Audience::default(),
                key: None,
                time: Timestamp(1),
                kept: true,
                dedup: None,
            };
            let events = if next.0 > 10 { vec![] } else { vec![Event { offset: next, body }] };
            Ok(Page { reached: next.min(Offset(10)), events })
        }
        fn head(&self) -> Head {
            Head { epoch: Epoch(7), trimmed: Offset::START, last: Offset(10), events: 10, bytes: 0 }
        }
        fn tail(&self, _: Arc<dyn Tail>) {}
    }

    #[tokio::test]
    async fn a_hub_opens_while_retention_is_faster_than_its_first_look() {
        let profiles = [Arc::new(Profile::open())];
        let hub = Hub::open(Arc::new(Trimming::default()), profiles, Arc::new(SystemClock), Limits::default());
        let hub = hub.await.unwrap();
        assert_eq!(hub.window.head().1, Offset(10));
        assert!(hub.window.seek(Offset(4)).is_err(), "what is gone is not taken for seen");
        assert!(hub.window.seek(Offset(5)).is_ok());
    }
}
