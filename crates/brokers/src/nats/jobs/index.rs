//! What is known of every job in memory, so that no question goes through all of them.
//!
//! It is filled by following the stream, and by what this replica does itself. What it says is a moment old at most; what is decided is read
//! from the leader.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use tidings::Timestamp;
use tidings::job::{Job, JobId, JobQuery, JobState, Progress};

use super::noted::{Attempt, Noted};
use super::record::KnownInput;

/// The most jobs that are kept, ended ones included: each takes about 400 bytes of memory on each replica.
pub(super) const MOST_JOBS: usize = 1_000_000;

/// How many removed ones are remembered: what was on its way of them is not taken for theirs anew.
const REMOVED: usize = 4_096;

/// Where a job stands in the order of its making.
type Place = (Timestamp, Arc<JobId>);

/// Which jobs are asked for: those in a state, or of a kind, or both, or all.
type Asked = (Option<JobState>, Option<Arc<str>>);

#[derive(Default)]
pub(super) struct Index {
    jobs: HashMap<Arc<JobId>, Known>,
    /// By state and by kind, each if that is asked for.
    made: HashMap<Asked, BTreeSet<Place>>,
    /// Not ended, or not told.
    open: BTreeSet<Place>,
    /// Ended and told, by their ends.
    ended: BTreeSet<Place>,
    removed: HashMap<JobId, u64>,
    removed_order: VecDeque<JobId>,
}

/// What is known of a job.
pub(super) struct Known {
    id: Arc<JobId>,
    pub namespace: Option<Arc<str>>,
    kind: Arc<str>,
    state: JobState,
    pub created: Timestamp,
    /// In which attempt it is.
    pub attempt: Attempt,
    pub ended: Option<Timestamp>,
    pub revision: u64,
    /// The sequence of its record.
    pub sequence: u64,
    /// Up to where the record itself says that it was announced.
    announced: u64,
    pub told: Option<Told>,
    /// The newest progress that was noted, and its sequence.
    pub progress: Option<(u64, Arc<Progress>)>,
    /// How many items there are, or were a moment ago.
    pub items: Option<u64>,
    /// Its input, while it is open, if that does not stand in the record.
    pub input: Option<KnownInput>,
}

/// Up to where the log tells of a job, as was noted.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub sequence: u64,
    pub revision: u64,
}

impl Known {
    fn is_told(&self) -> bool {
        self.announced.max(self.told.as_ref().map_or(0, |told| told.revision)) >= self.revision
    }

    fn places(&self) -> [(Asked, Place); 4] {
        let place = (self.created, self.id.clone());
        let (state, kind) = (Some(self.state), Some(self.kind.clone()));
        [(None, None), (state, None), (None, kind.clone()), (state, kind)].map(|key| (key, place.clone()))
    }
}

impl Index {
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    pub fn get(&self, id: &JobId) -> Option<&Known> {
        self.jobs.get(id)
    }

    /// Up to which revision the log tells of a job, as far as is known.
    pub fn announced(&self, id: &JobId, created: Timestamp) -> u64 {
        let known = self.jobs.get(id).filter(|known| known.created == created);
        known.map_or(0, |known| known.announced.max(known.told.as_ref().map_or(0, |told| told.revision)))
    }

    /// Takes a record that has this sequence; false if a newer one is known.
    pub fn take(&mut self, sequence: u64, job: &Job, input: Option<KnownInput>) -> bool {
        let is_old = |known: &Known| known.sequence >= sequence;
        if self.jobs.get(&job.id).is_some_and(is_old)
            || self.removed.get(&job.id).is_some_and(|until| *until >= sequence)
        {
            return false;
        }
        let before = self.leave(&job.id);
        // Of another job that was made under its id.
        let before = before.filter(|before| before.created == job.created);
        let id = before.as_ref().map_or_else(|| Arc::new(job.id.clone()), |before| before.id.clone());
        let (told, progress, items) =
            before.map_or((None, None, None), |before| (before.told, before.progress, before.items));
        let kind = match self.made.keys().find_map(|(_, kind)| kind.as_ref().filter(|kind| ***kind == *job.kind)) {
            Some(kind) => kind.clone(),
            None => job.kind.as_str().into(),
        };
        self.enter(Known {
            id,
            namespace: job.namespace.as_deref().map(Into::into),
            kind,
            state: job.state,
            created: job.created,
            attempt: Attempt::of(job),
            ended: job.ended,
            revision: job.revision,
            sequence,
            announced: job.announced,
            told,
            progress: progress.filter(|_| job.ended.is_none()),
            items,
            input: input.filter(|_| job.ended.is_none()),
        });
        true
    }

    /// Takes note of how far the log tells of a job.
    pub fn take_told(&mut self, id: &JobId, told: Told) {
        let is_new = |known: &Known| known.told.as_ref().is_none_or(|before| before.sequence < told.sequence);
        if !self.jobs.get(id).is_some_and(is_new) {
            return;
        }
        if let Some(known) = self.leave(id) {
            self.enter(Known { told: Some(told), ..known });
        }
    }

    /// Takes the progress that was noted with this sequence, and says whether it is of the attempt that is known.
    pub fn take_progress(&mut self, id: &JobId, sequence: u64, noted: &Noted) -> bool {
        let Some(known) = self.jobs.get_mut(id).filter(|known| noted.is_of(known.attempt)) else { return false };
        if known.ended.is_none()
            && sequence > known.sequence
            && known.progress.as_ref().is_none_or(|(before, _)| *before < sequence)
        {
            known.progress = Some((sequence, Arc::new(noted.progress.clone())));
        }
        true
    }

    pub fn take_items(&mut self, id: &JobId, created: Timestamp, items: u64) {
        if let Some(known) = self.jobs.get_mut(id).filter(|known| known.created == created) {
            known.items = Some(items);
        }
    }

    /// A job was removed, with all that has at most this sequence; says its namespace, if it was known.
    pub fn remove(&mut self, id: &JobId, until: u64) -> Option<Option<Arc<str>>> {
        if self.removed.insert(id.clone(), until).is_none() {
            self.removed_order.push_back(id.clone());
        }
        if self.removed_order.len() > REMOVED
            && let Some(oldest) = self.removed_order.pop_front()
        {
            self.removed.remove(&oldest);
        }
        if self.jobs.get(id).is_none_or(|known| known.sequence > until) {
            return None;
        }
        self.leave(id).map(|known| known.namespace)
    }

    fn enter(&mut self, known: Known) {
        for (key, place) in known.places() {
            self.made.entry(key).or_default().insert(place);
        }
        match (known.ended, known.is_told()) {
            (Some(ended), true) => drop(self.ended.insert((ended, known.id.clone()))),
            _ => drop(self.open.insert((known.created, known.id.clone()))),
        }
        self.jobs.insert(known.id.clone(), known);
    }

    fn leave(&mut self, id: &JobId) -> Option<Known> {
        let known = self.jobs.remove(id)?;
        for (key, place) in known.places() {
            if let Some(places) = self.made.get_mut(&key) {
                places.remove(&place);
                if places.is_empty() {
                    self.made.remove(&key);
                }
            }
        }
        self.open.remove(&(known.created, known.id.clone()));
        if let Some(ended) = known.ended {
            self.ended.remove(&(ended, known.id.clone()));
        }
        Some(known)
    }

    /// Those that have not ended or are not told, the oldest first.
    pub fn open(&self) -> Vec<JobId> {
        self.open.iter().map(|(_, id)| (**id).clone()).collect()
    }

    /// Those that fit, the newest first.
    pub fn list(&self, query: &JobQuery) -> Vec<JobId> {
        let Some(places) = self.made.get(&(query.state, query.kind.as_deref().map(Into::into))) else {
            return Vec::new();
        };
        let ids = |place: &Place| (*place.1).clone();
        match &query.before {
            Some((created, id)) => {
                let before = (*created, Arc::new(id.clone()));
                places.range(..before).rev().take(query.limit).map(ids).collect()
            }
            None => places.iter().rev().take(query.limit).map(ids).collect(),
        }
    }

    /// Those that ended before `time` and are told, the oldest first.
    pub fn ended_before(&self, time: Timestamp, limit: usize) -> Vec<JobId> {
        let old = self.ended.iter().take_while(|(ended, _)| *ended < time);
        old.take(limit).map(|(_, id)| (**id).clone()).collect()
    }
}
