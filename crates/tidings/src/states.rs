//! The newest state of each job, for those who begin to listen to it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::cursor::Offset;
use crate::entry::Entry;
use crate::event::Event;
use crate::filter::Interest;
use crate::job;
use crate::topic::Topic;
use crate::window::Place;

/// The newest state of each job, by topic: of those that have not ended all, of the others the latest, as many bytes as are allowed.
///
/// It takes what is announced in the very order in which the window does, so that who reads on from a place and is given the states up
/// to there misses nothing and is told nothing older afterwards.
#[derive(Debug, Default)]
pub(crate) struct States {
    held: HashMap<Arc<str>, Held, foldhash::fast::RandomState>,
    /// The ended ones, the oldest first; some were forgotten or told anew since, and then the number is another one.
    ended: VecDeque<Ended>,
    /// How many ends were taken so far: the number of the newest.
    count: u64,
    ended_bytes: usize,
    most_bytes: usize,
    /// The latest ends, also of those that are not held.
    ends: Ends,
    /// Whether progress may come late, and of one job from several replicas.
    is_shared: bool,
}

/// The latest ends of jobs, to know what the log has behind them: an item that one replica told while another one ended its job. Nobody is
/// given it.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    places: HashMap<Topic, Offset, foldhash::fast::RandomState>,
    order: VecDeque<Topic>,
}

/// How many ends are remembered: what comes behind one comes soon.
const MOST_ENDS: usize = 4_096;

impl Ends {
    /// Takes note if this is an end of a job, or tells of one that was made anew under its id.
    pub(crate) fn take(&mut self, event: &Event) {
        if event.is_signal() || !job::is_state(event) || event.offset == Offset::START {
            return;
        }
        if !job::is_end(&event.name) {
            self.places.remove(&event.topic);
        } else if self.places.insert(event.topic.clone(), event.offset).is_none() {
            self.order.push_back(event.topic.clone());
        }
        if self.order.len() > MOST_ENDS
            && let Some(oldest) = self.order.pop_front()
        {
            self.places.remove(&oldest);
        }
    }

    /// Whether this is an item of a job whose end came before.
    pub(crate) fn is_before(&self, event: &Event) -> bool {
        &*event.name == job::ITEM_EVENT && self.places.get(&event.topic).is_some_and(|end| *end < event.offset)
    }
}

/// How far a job is, as an event of its state tells it: what comes later is never less.
#[derive(PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
struct Stage {
    revision: u64,
    progress: Done,
}

#[derive(PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
struct Done {
    done: u64,
}

fn stage(entry: &Entry) -> Option<Stage> {
    serde_json::from_slice(&entry.event.data).ok()
}

#[derive(Debug)]
struct Held {
    entry: Arc<Entry>,
    /// Where it stands in the window, if it came from there.
    place: Option<Place>,
    /// The place in the log of the newest state that is kept: that of the entry itself, or before that signal.
    kept: Offset,
    /// The number of the end, if it is one.
    end: Option<u64>,
}

#[derive(Debug)]
struct Ended {
    topic: Arc<str>,
    number: u64,
    bytes: usize,
}

impl States {
    /// Holds so many bytes of states of ended jobs.
    pub(crate) fn hold_ends(&mut self, most_bytes: usize) {
        self.most_bytes = most_bytes;
        self.make_room();
    }

    /// Progress comes from several replicas, each on its way.
    pub(crate) fn share(&mut self) {
        self.is_shared = true;
    }

    /// Whether this came too late: progress or an item after the end of its job, or progress after more was told. Nobody is given it. One
    /// replica may have taken it from a worker while another ended the job, and then the worker was told so. The log has such items for ever.
    pub(crate) fn is_late(&self, entry: &Entry) -> bool {
        let event = &entry.event;
        if self.ends.is_before(event) {
            return true;
        }
        if !event.name.starts_with("job.") || !job::is_topic(event.topic.as_str()) {
            return false;
        }
        let Some(held) = self.held.get(event.topic.as_str()) else { return false };
        if &*event.name == job::ITEM_EVENT {
            return held.end.is_some() && held.kept < event.offset;
        }
        if !self.is_shared || !event.is_signal() || !job::is_state(event) {
            return false;
        }
        held.end.is_some() || matches!((stage(entry), stage(&held.entry)), (Some(new), Some(old)) if new < old)
    }

    /// The held state of the job with this topic.
    pub(crate) fn entry(&self, topic: &str) -> Option<&Arc<Entry>> {
        self.held.get(topic).map(|held| &held.entry)
    }

    /// Takes note of an entry, if it is the state of a job.
    pub(crate) fn take(&mut self, entry: &Arc<Entry>, place: Option<Place>) {
        if !job::is_state(&entry.event) {
            return;
        }
        self.ends.take(&entry.event);
        let topic: Arc<str> = entry.event.topic.as_str().into();
        let end = job::is_end(&entry.event.name).then(|| {
            let bytes = entry.event.weight();
            self.count += 1;
            self.ended.push_back(Ended { topic: topic.clone(), number: self.count, bytes });
            self.ended_bytes += bytes;
            self.count
        });
        let kept = match entry.event.is_signal() {
            true => self.held.get(&topic).map_or(entry.at, |before| before.kept),
            false => entry.event.offset,
        };
        self.held.insert(topic, Held { entry: entry.clone(), place, kept, end });
        self.make_room();
    }

    fn make_room(&mut self) {
        while self.ended_bytes > self.most_bytes
            && let Some(Ended { topic, number, bytes }) = self.ended.pop_front()
        {
            self.ended_bytes -= bytes;
            if self.held.get(&topic).is_some_and(|held| held.end == Some(number)) {
                self.held.remove(&topic);
            }
        }
    }

    /// The place in the log of the held state of the job with this topic.
    pub(crate) fn offset(&self, topic: &str) -> Option<Offset> {
        self.held.get(topic).map(|held| held.entry.event.offset)
    }

    /// Forgets a job.
    pub(crate) fn forget(&mut self, topic: &str) {
        self.held.remove(topic);
    }

    /// The states of the jobs that `interest` asks for by name, as of `until`: what is newer is read on from there, as long as it is in
    /// the window, which begins at `first`.
    pub(crate) fn covered(&self, interest: &Interest, until: Offset, first: Place) -> Vec<Arc<Entry>> {
        let Some(topics) = interest.filter.topics.as_deref() else { return Vec::new() };
        let named = topics.iter().filter(|topic| topic.is_literal());
        let held = named.filter_map(|topic| self.held.get(topic.as_str()));
        let is_old = |held: &&Held| match held.entry.event.is_signal() {
            false => held.entry.event.offset <= until,
            // Not before a state that is older and comes later, from the log.
            true => held.entry.at <= until || (held.kept <= until && held.place.is_none_or(|place| place < first)),
        };
        let covered = held.filter(is_old).filter(|held| interest.covers(&held.entry.event));
        covered.map(|held| held.entry.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::clock::Timestamp;
    use crate::event::NewEvent;
    use crate::filter::Filter;
    use crate::grant::{Audience, Grants};
    use crate::profiles::Profiles;

    fn state(job: u64, name: &str, offset: u64, data: usize) -> Arc<Entry> {
        let topic: crate::Topic = format!("job/{job}").parse().unwrap();
        let audience = Audience::new([topic.clone()]);
        let data = Bytes::from(vec![b'0'; data]);
        let body = NewEvent {
            name: name.into(),
            topic,
            key: None,
            data,
            scope: Bytes::new(),
            audience,
            time: Timestamp(0),
            kept: true,
            dedup: None,
        };
        let event = Event { offset: Offset(offset), body };
        let rule = Profiles::new([]).rule(&event);
        Arc::new(Entry::new(event, rule, Offset(offset)))
    }

    fn covered(states: &States, job: u64, until: u64) -> Vec<u64> {
        let topic = format!("job/{job}");
        let filter = Filter::topics([topic.parse().unwrap()]);
        let interest = Interest { filter, grants: Grants::parse([&*topic]).unwrap() };
        states.covered(&interest, Offset(until), Place(0)).iter().map(|entry| entry.event.offset.0).collect()
    }

    #[test]
    fn the_oldest_ends_make_room_and_open_jobs_stay() {
        let mut states = States::default();
        states.hold_ends(10_000);
        states.take(&state(0, "job.running", 1, 100), None);
        (1..=1_000).for_each(|job| states.take(&state(job, "job.completed", 1 + job, 1_000), None));
        assert!(states.ended_bytes <= 10_000);
        assert!(states.held.len() <= 11 && states.ended.len() <= 10, "{} held", states.held.len());
        assert_eq!(covered(&states, 0, 2_000), [1], "one that runs is always held");
        assert_eq!(covered(&states, 1_000, 2_000), [1_001], "the newest end is held");
        assert!(covered(&states, 1, 2_000).is_empty(), "the oldest has gone");
    }

    fn progress(job: u64, revision: u64, done: u64) -> Arc<Entry> {
        let entry = state(job, "job.progress", 0, 0);
        let data = format!("{{\"progress\":{{\"done\":{done}}},\"revision\":{revision}}}");
        let body = NewEvent { kept: false, data: data.into(), ..entry.event.body.clone() };
        let event = Event { offset: Offset::START, body };
        Arc::new(Entry::new(event, entry.rule.clone(), Offset(1)))
    }

    #[test]
    fn progress_of_another_replica_that_comes_after_more_or_after_the_end_is_late() {
        let mut states = States::default();
        states.hold_ends(10_000);
        states.share();
        assert!(!states.is_late(&progress(1, 2, 5)), "nothing else is known");
        states.take(&progress(1, 2, 5), None);
        assert!(!states.is_late(&progress(1, 2, 5)) && !states.is_late(&progress(1, 3, 0)));
        assert!(states.is_late(&progress(1, 2, 4)) && states.is_late(&progress(1, 1, 9)));
        assert!(!states.is_late(&state(1, "job.running", 2, 0)), "what is kept is always told");
        states.take(&state(1, "job.completed", 3, 0), None);
        assert!(states.is_late(&progress(1, 9, 9)));
        assert!(!states.is_late(&progress(2, 1, 1)));
    }

    #[test]
    fn an_end_told_anew_is_held_as_long_as_if_it_had_just_come() {
        let mut states = States::default();
        states.hold_ends(4_000);
        states.take(&state(1, "job.completed", 1, 1_000), None);
        states.take(&state(2, "job.completed", 2, 1_000), None);
        states.take(&state(1, "job.completed", 1, 1_000), None);
        states.take(&state(3, "job.completed", 3, 1_000), None);
        states.take(&state(4, "job.completed", 4, 1_000), None);
        assert!(states.entry("job/1").is_some() && states.entry("job/2").is_none());
    }

    #[test]
    fn a_forgotten_end_makes_room_in_its_turn_and_not_for_one_of_the_same_name() {
        let mut states = States::default();
        states.hold_ends(4_000);
        states.take(&state(1, "job.completed", 1, 1_000), None);
        states.forget("job/1");
        states.take(&state(1, "job.running", 2, 100), None);
        (2..20).for_each(|job| states.take(&state(job, "job.completed", 1 + job, 1_000), None));
        assert_eq!(covered(&states, 1, 100), [2], "the new job of that name runs");
    }

    #[test]
    fn items_behind_the_end_of_their_job_are_told_nobody_and_those_of_the_next_one_are() {
        let log = [
            ("job.item", 1, false),
            ("job.completed", 1, false),
            ("job.item", 1, true),
            ("job.item", 2, false),
            ("job.queued", 1, false),
            ("job.item", 1, false),
            ("job.lost", 2, false),
            ("job.item", 2, true),
            ("other", 2, false),
        ];
        // No end is held.
        let (mut states, mut ends) = (States::default(), Ends::default());
        for (offset, (name, job, is_late)) in (1..).zip(log) {
            let entry = state(job, name, offset, 10);
            assert_eq!(states.is_late(&entry), is_late, "{name} of {job}");
            assert_eq!(ends.is_before(&entry.event), is_late, "{name} of {job}");
            states.take(&entry, None);
            ends.take(&entry.event);
        }
        assert!(!states.is_late(&state(1, "job.item", 1, 10)), "it came before the end");
    }

    #[test]
    fn so_many_ends_are_remembered_and_no_more() {
        let mut ends = Ends::default();
        (1..10_000).for_each(|job| ends.take(&state(job, "job.lost", job, 10).event));
        assert!(ends.order.len() <= MOST_ENDS && ends.places.len() <= MOST_ENDS);
        assert!(ends.is_before(&state(9_999, "job.item", 10_000, 10).event));
    }
}
