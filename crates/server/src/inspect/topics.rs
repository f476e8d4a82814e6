//! Which topics are busy.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use http::{StatusCode, request};
use serde::{Deserialize, Serialize};
use tidings::{Entry, Hub, Place, TopicPattern};
use tidings_transports::Problem;

use super::Inspector;
use crate::routes::asker;

/// How many topics are known at a time. With the longest names that is 2 MiB.
const KNOWN: usize = 4_096;

/// How many are looked at to find one that may go. Of so many the quietest is hardly ever a busy one.
const LOOKED_AT: usize = 8;

/// Over about how many milliseconds rates are told: counts fade with this time constant. The mean age of what counts is then as if the
/// last minute were counted evenly.
const FADE: f64 = 30_000.0;

/// How often what is new in the window is counted. A window of the usual size holds what is published meanwhile at 250,000 events/s.
const EVERY: Duration = Duration::from_millis(250);

/// How many entries are taken out of the window at once: its lock is held that long.
const AT_ONCE: usize = 256;

/// How many topics an answer has if the request does not say, and the most.
const PAGE: (usize, usize) = (100, KNOWN);

/// Counts the events of each topic. It reads the window as any subscriber does: who publishes does not wait for it.
pub struct Topics {
    hub: Arc<Hub>,
    table: Mutex<Table>,
    /// Since when, in ms since 1970.
    since: u64,
}

struct Table {
    slots: Vec<Slot>,
    by_topic: HashMap<Arc<str>, usize>,
    /// Where the search for one that may go goes on.
    hand: usize,
    /// Everything before here is counted.
    place: Place,
    forgotten: u64,
    uncounted: u64,
}

struct Slot {
    topic: Arc<str>,
    events: u64,
    /// The events that have not faded, as of `counted_at`.
    heat: f64,
    /// In ticks of the clock.
    counted_at: u64,
    /// The time of the newest event, in ms since 1970.
    last: u64,
}

/// What a request asks for.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Asked {
    sort: Sort,
    limit: Option<usize>,
    r#match: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Sort {
    #[default]
    Rate,
    Events,
    Last,
    Topic,
}

/// The answer.
#[derive(Debug, Serialize)]
pub(super) struct Listed {
    topics: Vec<Shown>,
    /// How many topics are known, whether they are shown or not.
    known: usize,
    /// How often one was forgotten to make room for another.
    forgotten: u64,
    /// How many events went by faster than they could be counted.
    uncounted: u64,
    /// Since when they are counted, in ms since 1970.
    since: u64,
}

#[derive(Debug, PartialEq, Serialize)]
struct Shown {
    topic: String,
    profile: String,
    events: u64,
    rate: f64,
    last: u64,
}

/// Which topics are meant: by a pattern, or by a part of the path.
enum Matcher {
    Pattern(TopicPattern),
    Part(String),
}

impl Topics {
    /// Counts what is announced from now on.
    pub fn new(hub: Arc<Hub>) -> Arc<Self> {
        let table = Table {
            slots: Vec::new(),
            by_topic: HashMap::new(),
            hand: 0,
            place: hub.window().end(),
            forgotten: 0,
            uncounted: 0,
        };
        let since = hub.clock().now().0;
        Arc::new(Topics { hub, table: Mutex::new(table), since })
    }

    /// Counts what is new, again and again.
    pub async fn run(self: Arc<Self>) {
        let mut turns = tokio::time::interval(EVERY);
        turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            drop(self.counted());
        }
    }

    /// The table with all that is in the window by now.
    fn counted(&self) -> MutexGuard<'_, Table> {
        let mut table = self.table.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let now = self.hub.clock().ticks();
        let mut batch: Vec<Arc<Entry>> = Vec::new();
        // Up to here and no further: who asks does not wait for what comes meanwhile.
        let end = self.hub.window().end();
        while table.place < end {
            let read = self.hub.window().read(table.place, |_, entry| {
                batch.push(entry.clone());
                batch.len() < AT_ONCE
            });
            match read {
                Ok(place) => table.place = place,
                Err(_) => {
                    table.uncounted += end.0 - table.place.0;
                    table.place = end;
                }
            }
            for entry in batch.drain(..) {
                table.count(entry.event.topic.as_str(), entry.event.time.0, now);
            }
        }
        table
    }

    pub(super) fn list(&self, asked: &Asked) -> Result<Listed, Problem> {
        let matcher = asked.r#match.as_deref().map(Matcher::new).transpose()?;
        let limit = asked.limit.unwrap_or(PAGE.0).clamp(1, PAGE.1);
        let table = self.counted();
        let now = self.hub.clock().ticks();
        let profiles = self.hub.profiles();
        let shown = table.slots.iter().map(|slot| {
            let profile = profiles.of(&slot.topic);
            Shown {
                topic: profile.local(&slot.topic).to_owned(),
                profile: profile.name().to_owned(),
                events: slot.events,
                rate: slot.rate(now),
                last: slot.last,
            }
        });
        let mut topics: Vec<Shown> =
            shown.filter(|shown| matcher.as_ref().is_none_or(|matcher| matcher.matches(&shown.topic))).collect();
        let (known, forgotten, uncounted) = (table.slots.len(), table.forgotten, table.uncounted);
        drop(table);
        topics.sort_by(|one, other| asked.sort.order(one, other));
        topics.truncate(limit);
        Ok(Listed { topics, known, forgotten, uncounted, since: self.since })
    }
}

impl Table {
    /// Counts one event. Costs one look-up, and a look at a few others where a new topic finds no room.
    fn count(&mut self, topic: &str, time: u64, now: u64) {
        let index = match self.by_topic.get(topic) {
            Some(index) => *index,
            None => self.place_for(topic, now),
        };
        let slot = &mut self.slots[index];
        slot.heat = slot.heat(now) + 1.0;
        slot.counted_at = now;
        slot.events += 1;
        slot.last = slot.last.max(time);
    }

    fn place_for(&mut self, topic: &str, now: u64) -> usize {
        let topic: Arc<str> = topic.into();
        let slot = Slot { topic: topic.clone(), events: 0, heat: 0.0, counted_at: now, last: 0 };
        let index = if self.slots.len() < KNOWN {
            self.slots.push(slot);
            self.slots.len() - 1
        } else {
            let quietest = self.quietest(now);
            let gone = std::mem::replace(&mut self.slots[quietest], slot);
            self.by_topic.remove(&gone.topic);
            self.forgotten += 1;
            quietest
        };
        self.by_topic.insert(topic, index);
        index
    }

    /// The quietest of the next few.
    fn quietest(&mut self, now: u64) -> usize {
        let from = self.hand;
        self.hand = (from + LOOKED_AT) % self.slots.len();
        let candidates = (from..from + LOOKED_AT).map(|index| index % self.slots.len());
        let heat = |index: &usize| self.slots[*index].heat(now);
        candidates.min_by(|one, other| heat(one).total_cmp(&heat(other))).unwrap_or(from)
    }
}

impl Slot {
    fn heat(&self, now: u64) -> f64 {
        self.heat * (-(now.saturating_sub(self.counted_at) as f64) / FADE).exp()
    }

    /// Per second, to a thousandth.
    fn rate(&self, now: u64) -> f64 {
        (self.heat(now) / FADE * 1e6).round() / 1e3
    }
}

impl Sort {
    /// What is more comes first; the same in the order of the paths.
    fn order(self, one: &Shown, other: &Shown) -> Ordering {
        let by_value = match self {
            Sort::Rate => other.rate.total_cmp(&one.rate),
            Sort::Events => other.events.cmp(&one.events),
            Sort::Last => other.last.cmp(&one.last),
            Sort::Topic => Ordering::Equal,
        };
        by_value.then_with(|| one.topic.cmp(&other.topic))
    }
}

impl Matcher {
    fn new(text: &str) -> Result<Matcher, Problem> {
        if !text.contains('*') {
            return Ok(Matcher::Part(text.to_owned()));
        }
        let invalid = |error: tidings::InvalidTopic| {
            let detail = format!("?match=: {error}");
            Problem::new(StatusCode::BAD_REQUEST, "invalid-topic", detail).with("parameter", "match")
        };
        text.parse().map(Matcher::Pattern).map_err(invalid)
    }

    fn matches(&self, topic: &str) -> bool {
        match self {
            Matcher::Pattern(pattern) => pattern.matches(topic),
            Matcher::Part(part) => topic.contains(part.as_str()),
        }
    }
}

impl Inspector {
    pub(super) fn busy_topics(&self, parts: &request::Parts) -> Result<Listed, Problem> {
        self.topics.list(&asker::query(parts, &self.credentials)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let (slots, by_topic, place) = (Vec::new(), HashMap::new(), Place(0));
        Table { slots, by_topic, hand: 0, place, forgotten: 0, uncounted: 0 }
    }

    #[test]
    fn a_steady_topic_is_told_at_its_rate_and_fades_when_it_is_quiet() {
        let mut table = table();
        for n in 0..600 {
            table.count("t", 0, n * 200);
        }
        let rate = |at| table.slots[0].rate(at);
        assert!((4.8..5.1).contains(&rate(120_000)), "5 a second, told as {}", rate(120_000));
        assert!(rate(180_000) < 1.0 && rate(600_000) < 0.001);
        assert_eq!(table.slots[0].events, 600);
    }

    #[test]
    fn many_topics_that_come_once_push_no_busy_one_out() {
        let mut table = table();
        for n in 0..200_000u64 {
            table.count(&format!("once/{n}"), n, n / 100);
            if n % 40 == 0 {
                table.count(&format!("busy/{}", n / 40 % 50), n, n / 100);
            }
        }
        assert_eq!((table.slots.len(), table.by_topic.len()), (KNOWN, KNOWN));
        let busy = table.by_topic.keys().filter(|topic| topic.starts_with("busy/")).count();
        assert_eq!(busy, 50);
        assert_eq!(table.forgotten, 200_050 - KNOWN as u64);
    }
}
