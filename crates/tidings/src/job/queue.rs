//! The jobs that wait for a worker.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::active::Active;

/// The jobs that wait for a worker, by namespace and kind: first in, first out.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    /// Something was put in.
    pub grown: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: HashMap<Kind, Line>,
    /// The last place that was given to one that came.
    last: i64,
}

type Kind = (Option<String>, String);
/// Those that wait for a worker of one kind, by place.
type Line = BTreeMap<i64, Arc<Active>>;

impl Queue {
    /// A job comes last.
    pub(super) fn push(&self, active: Arc<Active>) {
        let mut waiting = self.waiting();
        let kind = kind_of(&active);
        waiting.leave(&kind, &active);
        waiting.last += 1;
        let place = waiting.last;
        active.shown().place = Some(place);
        waiting.lines.entry(kind).or_default().insert(place, active);
        drop(waiting);
        self.grown.notify_waiters();
    }

    /// A job that waited already has its place again; one of which that is not known comes first.
    pub(super) fn push_back(&self, active: Arc<Active>) {
        let mut waiting = self.waiting();
        let kind = kind_of(&active);
        let place = *active.shown().place.get_or_insert(0);
        let line = waiting.lines.entry(kind).or_default();
        // Taken only by another one of which the place is not known.
        let place = match line.get(&place) {
            Some(other) if !Arc::ptr_eq(other, &active) => line.first_key_value().map_or(0, |(first, _)| *first - 1),
            _ => place,
        };
        active.shown().place = Some(place);
        line.insert(place, active);
        drop(waiting);
        self.grown.notify_waiters();
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting().lines.values().map(BTreeMap::len).sum()
    }

    /// A job does not wait any more.
    pub(super) fn remove(&self, active: &Arc<Active>) {
        self.waiting().leave(&kind_of(active), active);
    }

    /// The next job of one of these kinds. It may have been canceled since.
    pub(super) fn pop(&self, namespace: Option<&str>, kinds: &[String]) -> Option<Arc<Active>> {
        let mut waiting = self.waiting();
        kinds.iter().find_map(|kind| {
            let key = (namespace.map(str::to_owned), kind.clone());
            let line = waiting.lines.get_mut(&key)?;
            let next = line.pop_first();
            if line.is_empty() {
                waiting.lines.remove(&key);
            }
            Some(next?.1)
        })
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn leave(&mut self, kind: &Kind, active: &Arc<Active>) {
        let (Some(line), Some(place)) = (self.lines.get_mut(kind), active.shown().place) else { return };
        if line.get(&place).is_some_and(|found| Arc::ptr_eq(found, active)) {
            line.remove(&place);
        }
        if line.is_empty() {
            self.lines.remove(kind);
        }
    }
}

fn kind_of(active: &Active) -> Kind {
    let shown = active.shown();
    (shown.job.namespace.clone(), shown.job.kind.clone())
}
