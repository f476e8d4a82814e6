//! The newest state of each job, for those who begin to listen to it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::cursor::Offset;
use crate::entry::Entry;
use crate::filter::Interest;
use crate::job;
use crate::window::Place;

/// The newest state of each job, by topic: of those that have not ended all, of the others the latest, as many bytes as are allowed.
///
/// It takes what is announced in the very order in which the window does, so that who reads on from a place and is given the states up
/// to there misses nothing and is told nothing older afterwards.
#[derive(Debug, Default)]
pub(crate) struct States {
    held: HashMap<Arc<str>, Held, foldhash::fast::RandomState>,
    /// The ended ones, the oldest first; some were told anew since, and stand further behind as well.
    ended: VecDeque<(Arc<str>, usize)>,
    ended_bytes: usize,
    most_bytes: usize,
}

#[derive(Debug)]
struct Held {
    entry: Arc<Entry>,
    /// Where it stands in the window, if it came from there.
    place: Option<Place>,
}

impl States {
    /// Holds so many bytes of states of ended jobs.
    pub(crate) fn hold_ends(&mut self, most_bytes: usize) {
        self.most_bytes = most_bytes;
        self.make_room();
    }

    /// Takes note of an entry, if it is the state of a job.
    pub(crate) fn take(&mut self, entry: &Arc<Entry>, place: Option<Place>) {
        if !job::is_state(&entry.event) {
            return;
        }
        let topic: Arc<str> = entry.event.topic.as_str().into();
        if job::is_end(&entry.event.name) {
            let bytes = entry.event.weight();
            self.ended.push_back((topic.clone(), bytes));
            self.ended_bytes += bytes;
        }
        self.held.insert(topic, Held { entry: entry.clone(), place });
        self.make_room();
    }

    fn make_room(&mut self) {
        while self.ended_bytes > self.most_bytes
            && let Some((topic, bytes)) = self.ended.pop_front()
        {
            self.ended_bytes -= bytes;
            let again = self.ended.iter().any(|(other, _)| *other == topic);
            if !again && self.held.get(&topic).is_some_and(|held| job::is_end(&held.entry.event.name)) {
                self.held.remove(&topic);
            }
        }
    }

    /// Whether the state of the job with this topic is held.
    pub(crate) fn holds(&self, topic: &str) -> bool {
        self.held.contains_key(topic)
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
            true => held.entry.at <= until || held.place.is_none_or(|place| place < first),
        };
        let covered = held.filter(is_old).filter(|held| interest.covers(&held.entry.event));
        covered.map(|held| held.entry.clone()).collect()
    }
}
