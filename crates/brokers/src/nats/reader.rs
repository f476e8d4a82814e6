//! Reads the log, and claims no more of it than is proven.
//!
//! Any copy of the stream answers, so an answer may come from one that is behind, or has trimmed more than its leader. Read without
//! topics, the places must follow one on another. Of a topic, where there are several copies, the leader is asked for the first event after
//! where the reader stands and for the next one after the last that was found. What the leader says afterwards of the history and of
//! where the log begins holds for both.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use tidings::{BrokerError, Event, NewEvent, Offset, Page, Query};
use tokio::time::{Instant, sleep, timeout};

use super::announcer::{Announcer, Place};
use super::api::ApiError;
use super::direct::{Direct, Stored, Wanted, get_from_leader};
use super::engine::Engine;
use super::latest::{Known, Latest};
use super::publisher::AWAY;
use super::stream::{self, StreamState};
use super::{subject, tail};

/// How long a read tries, over an election of another leader too.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long one try may take, and how much longer for each time that topics are asked for; after how long it ends with what it has.
const ONE_TRY: Duration = Duration::from_secs(4);
const MORE_TOPICS: Duration = Duration::from_millis(500);
const LONG_PAGE: Duration = Duration::from_secs(2);
/// The most messages of one request.
const MOST: usize = 1_000;
/// How many topics are asked for at once.
const TOPICS_AT_ONCE: usize = 32;
/// About what a message takes beside its data.
const BESIDE_DATA: usize = 300;

/// Reads pages of the log.
pub(super) struct Reader {
    engine: Arc<Engine>,
    announcer: Arc<Announcer>,
    direct: Direct,
    events: String,
    void: String,
    latest: Latest,
}

/// What went wrong with a try.
enum Trouble {
    /// To be tried again until patience ends.
    Again(String),
    /// To be told.
    Told(BrokerError),
}

impl From<ApiError> for Trouble {
    fn from(error: ApiError) -> Trouble {
        Trouble::Again(error.to_string())
    }
}

impl Reader {
    pub fn new(engine: Arc<Engine>, announcer: Arc<Announcer>, direct: Direct) -> Reader {
        let (events, void) = (stream::event_prefix(&engine), stream::void_subject(&engine));
        Reader { engine, announcer, direct, events, void, latest: Latest::default() }
    }

    /// A page of the log, of what was announced here.
    pub async fn read(&self, query: Query) -> Result<Page, BrokerError> {
        let until = query.until.0.min(self.announcer.announced());
        let after = query.after.0;
        self.check_trimmed(after)?;
        if query.limit == 0 || after >= until {
            return Ok(Page { events: Vec::new(), reached: query.after });
        }
        let rounds = query.topics.as_ref().map_or(0, |topics| (topics.len() / TOPICS_AT_ONCE) as u32);
        let one_try = ONE_TRY + MORE_TOPICS * rounds;
        let begun = Instant::now();
        loop {
            if let Some(why) = self.announcer.ended() {
                return Err(BrokerError::Unavailable(why));
            }
            let page = timeout(one_try, self.read_once(&query, until)).await;
            match page.unwrap_or_else(|_| Err(Trouble::Again("it took too long".into()))) {
                Ok(page) => return Ok(page),
                Err(Trouble::Told(error)) => return Err(error),
                Err(Trouble::Again(why)) if begun.elapsed() > PATIENCE || self.is_away() => {
                    return Err(BrokerError::Unavailable(format!("the log can't be read in NATS: {why}")));
                }
                Err(Trouble::Again(_)) => sleep(Duration::from_millis(25)).await,
            }
        }
    }

    /// The last place of the log, by a leader that most copies answer.
    pub async fn proven_last(&self) -> Result<Offset, BrokerError> {
        let unavailable = |why: String| BrokerError::Unavailable(format!("the log can't be asked in NATS: {why}"));
        if let Some(down) = self.engine.down() {
            return Err(unavailable(down.why));
        }
        let now = self.latest.ask(stream::info(&self.engine)).await.map_err(|error| unavailable(error.to_string()))?;
        if now.epoch != self.announcer.epoch || !now.is_led {
            return Err(unavailable("who answers may not lead it any more".into()));
        }
        self.announcer.refresh(&now);
        Ok(Offset(now.last))
    }

    async fn read_once(&self, query: &Query, until: u64) -> Result<Page, Trouble> {
        let Some(topics) = &query.topics else { return self.read_all(query, until).await };
        let mut subjects: Vec<String> =
            topics.iter().map(|topic| subject::from_topic(&self.events, topic.as_str())).collect();
        subjects.sort_unstable();
        subjects.dedup();
        self.read_topics(query, until, subjects).await
    }

    /// Whether the engine is away for longer than it takes to go on at another server.
    fn is_away(&self) -> bool {
        self.engine.down().is_some_and(|down| down.since.elapsed() > AWAY)
    }

    fn check_trimmed(&self, after: u64) -> Result<(), BrokerError> {
        let resume = self.announcer.head().trimmed;
        if after < resume.0 { Err(BrokerError::Trimmed { after: Offset(after), resume }) } else { Ok(()) }
    }

    async fn read_all(&self, query: &Query, until: u64) -> Result<Page, Trouble> {
        let (mut pager, begun) = (Pager::new(query), Instant::now());
        let mut reached = query.after.0;
        'page: while reached < until && (reached == query.after.0 || begun.elapsed() < LONG_PAGE) {
            let wanted = Wanted { from: reached + 1, subject: None, ..pager.wanted(until - reached) };
            let got = self.direct.get(wanted).await?;
            let before = reached;
            for stored in got.found {
                if stored.offset != reached + 1 || reached == until {
                    break;
                }
                if !pager.push(self.event(&stored), stored.offset) {
                    reached = pager.last();
                    break 'page;
                }
                reached += 1;
                if pager.is_full() {
                    break 'page;
                }
            }
            if reached == before {
                // It was trimmed, or whoever answered is behind. Of what was found so far nothing is missing.
                self.verify(query.after.0, until, None).await?;
                if reached > query.after.0 {
                    break;
                }
                self.check_trimmed(reached).map_err(Trouble::Told)?;
                return Err(Trouble::Again(format!("a server does not have place {} yet", reached + 1)));
            }
        }
        // A place that is there proves all before it; only the history has to be the same.
        self.verify(reached, until, None).await?;
        Ok(pager.page(reached))
    }

    async fn read_topics(&self, query: &Query, until: u64, subjects: Vec<String>) -> Result<Page, Trouble> {
        let mut known = self.latest.known();
        if known.is_copied() && known.last < until {
            self.ask_leader(until).await?;
            known = self.latest.known();
            if known.last < until {
                return Err(Trouble::Again("the log has another leader".into()));
            }
        }
        let (is_copied, begun) = (known.is_copied(), Instant::now());
        let mut pager = Pager::new(query);
        let mut strands: Vec<Strand> =
            subjects.into_iter().map(|subject| Strand::new(subject, query.after.0)).collect();
        let mut reached = query.after.0;
        'page: while reached < until && (reached == query.after.0 || begun.elapsed() < LONG_PAGE) {
            let room = pager.wanted(until - reached);
            // So that a page of many topics is not fetched once for each.
            let share = |all: usize, least: usize| all.min(2 * all / strands.len().max(1) + least);
            let share = Wanted { count: share(room.count, 16), bytes: share(room.bytes, 64 << 10), ..room };
            let mut behind: Vec<&mut Strand> = strands.iter_mut().filter(|strand| strand.upto <= reached).collect();
            for some in behind.chunks_mut(TOPICS_AT_ONCE) {
                try_join_all(some.iter_mut().map(|strand| self.fill(strand, until, share, is_copied))).await?;
            }
            let bound = strands.iter().map(|strand| strand.upto).min().unwrap_or(until);
            while let Some(stored) = next_of(&mut strands, bound) {
                if !pager.push(self.event(&stored), stored.offset) || pager.is_full() {
                    reached = pager.last();
                    break 'page;
                }
            }
            reached = bound;
        }
        self.verify(query.after.0, until, Some(&known)).await?;
        Ok(pager.page(reached))
    }

    /// Gets more of one topic, and says up to where nothing of it is missing.
    async fn fill(&self, strand: &mut Strand, until: u64, room: Wanted<'_>, is_copied: bool) -> Result<(), Trouble> {
        let subject = strand.subject.clone();
        let from = strand.upto + 1;
        let got = self.direct.get(Wanted { from, subject: Some(&subject), ..room });
        if !is_copied {
            let got = got.await?;
            strand.upto = match got.found.last() {
                _ if got.is_end => until,
                Some(last) => last.offset.min(until),
                None => return Err(Trouble::Again("an answer had nothing in it".into())),
            };
            strand.take(got.found, until);
            return Ok(());
        }
        let (got, first) = tokio::join!(got, get_from_leader(&self.engine, from, Some(&subject)));
        let (got, first) = (got?, first?.filter(|first| first.offset <= until));
        match (first, got.found.first().map(|found| found.offset)) {
            // Whoever answered has trimmed more than the leader, or is behind: only what the leader has is sure.
            (Some(first), found) if found.is_none_or(|found| found > first.offset) => {
                strand.upto = first.offset;
                strand.take(vec![first], until);
                return Ok(());
            }
            (None, None) => {
                strand.upto = until;
                return Ok(());
            }
            _ => {}
        }
        let last = got.found.last().map_or(until, |last| last.offset.min(until));
        strand.upto = last;
        strand.take(got.found, until);
        if got.is_end && last < until {
            match get_from_leader(&self.engine, last + 1, Some(&subject)).await?.filter(|next| next.offset <= until) {
                None => strand.upto = until,
                Some(next) => {
                    strand.upto = next.offset;
                    strand.take(vec![next], until);
                }
            }
        }
        Ok(())
    }

    /// Asks the leader whether the history is the same and, for what was read by what is `known`, that nothing after `after` is trimmed
    /// and that it led all the while: another one that was just chosen may have said of a topic that it has no more.
    async fn verify(&self, after: u64, until: u64, known: Option<&Known>) -> Result<(), Trouble> {
        self.ask_leader(until).await?;
        let Some(known) = known else { return Ok(()) };
        if !known.holds(&self.latest.known()) {
            return Err(Trouble::Again("the log has another leader, or other copies".into()));
        }
        self.check_trimmed(after).map_err(Trouble::Told)
    }

    /// Asks the leader whether the history is the same, and whether it has all `until` there.
    async fn ask_leader(&self, until: u64) -> Result<(), Trouble> {
        let now = self.latest.ask(stream::info(&self.engine)).await?;
        if now.epoch != self.announcer.epoch {
            return Err(Trouble::Told(BrokerError::Unavailable("the log in NATS has another history now".into())));
        }
        if now.last < until {
            return Err(Trouble::Again(format!("the leader has places up to {} only", now.last)));
        }
        self.announcer.refresh(&now);
        Ok(())
    }

    fn event(&self, stored: &Stored) -> Option<NewEvent> {
        match tail::place_of(&self.events, &self.void, &stored.subject, stored.header.as_deref(), &stored.data) {
            Place::Event(event, _) => Some(*event),
            Place::Void => None,
            Place::Foreign(why) => {
                tracing::warn!(
                    offset = stored.offset,
                    why,
                    "a message in the log is none of Tidings' and is passed over"
                );
                None
            }
        }
    }

    /// Takes what the engine says of the stream.
    pub fn note(&self, stream: &StreamState) {
        self.latest.note(stream);
    }
}

/// The events of one topic that were found and not used yet.
struct Strand {
    subject: String,
    found: VecDeque<Stored>,
    /// Nothing of the topic is missing up to here.
    upto: u64,
}

impl Strand {
    fn new(subject: String, upto: u64) -> Strand {
        Strand { subject, found: VecDeque::new(), upto }
    }

    fn take(&mut self, found: Vec<Stored>, until: u64) {
        self.found.extend(found.into_iter().filter(|stored| stored.offset <= until));
    }
}

/// The oldest event of all topics up to `bound`.
fn next_of(strands: &mut [Strand], bound: u64) -> Option<Stored> {
    let first = |strand: &Strand| strand.found.front().map(|stored| stored.offset).filter(|offset| *offset <= bound);
    let strand = strands.iter_mut().filter(|strand| first(strand).is_some()).min_by_key(|strand| first(strand))?;
    strand.found.pop_front()
}

/// A page that is being filled.
struct Pager {
    limit: usize,
    max_bytes: usize,
    bytes: usize,
    events: Vec<Event>,
}

impl Pager {
    fn new(query: &Query) -> Pager {
        Pager { limit: query.limit, max_bytes: query.max_bytes, bytes: 0, events: Vec::new() }
    }

    /// How much is asked for at once, of `left` places.
    fn wanted(&self, left: u64) -> Wanted<'static> {
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        let count = (self.limit - self.events.len()).clamp(1, MOST).min(left);
        let room = self.max_bytes.saturating_sub(self.bytes);
        let bytes = room.saturating_add(BESIDE_DATA * count.min(room / 8 + 1)).min(8 << 20);
        Wanted { from: 0, subject: None, count, bytes }
    }

    /// Adds an event; `false` if there is no room for it any more. A place without one needs none.
    fn push(&mut self, event: Option<NewEvent>, offset: u64) -> bool {
        let Some(body) = event else { return true };
        self.bytes += body.data.len();
        let is_full = self.events.len() == self.limit || self.bytes > self.max_bytes;
        if is_full && !self.events.is_empty() {
            return false;
        }
        self.events.push(Event { offset: Offset(offset), body });
        true
    }

    /// Whether it has as many events as it may.
    fn is_full(&self) -> bool {
        self.events.len() == self.limit
    }

    fn last(&self) -> u64 {
        self.events.last().map_or(0, |event| event.offset.0)
    }

    fn page(self, reached: u64) -> Page {
        Page { events: self.events, reached: Offset(reached) }
    }
}
