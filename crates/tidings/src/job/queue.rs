//! The jobs that wait for a worker.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::active::Active;

/// The jobs that wait for a worker, by namespace and kind: first in, first out.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: HashMap<Kind, Line>,
    /// The claims that wait for a job of a kind, the longest first.
    claimers: HashMap<Kind, VecDeque<Arc<Notify>>>,
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
        waiting.lines.entry(kind.clone()).or_default().insert(place, active);
        waiting.call(&kind);
    }

    /// A job that waited already has its place again; one of which that is not known comes first.
    pub(super) fn push_back(&self, active: Arc<Active>) {
        let mut waiting = self.waiting();
        let kind = kind_of(&active);
        let place = *active.shown().place.get_or_insert(0);
        let line = waiting.lines.entry(kind.clone()).or_default();
        // Taken only by another one of which the place is not known.
        let place = match line.get(&place) {
            Some(other) if !Arc::ptr_eq(other, &active) => line.first_key_value().map_or(0, |(first, _)| *first - 1),
            _ => place,
        };
        active.shown().place = Some(place);
        line.insert(place, active);
        waiting.call(&kind);
    }

    /// A job waits: where it stands already, if it stands anywhere, else last.
    pub(super) fn push_once(&self, active: &Arc<Active>) {
        let (kind, place) = (kind_of(active), active.shown().place);
        let stands = |waiting: &Waiting| {
            let found = place.and_then(|place| waiting.lines.get(&kind)?.get(&place));
            found.is_some_and(|found| Arc::ptr_eq(found, active))
        };
        if !stands(&self.waiting()) {
            self.push(active.clone());
        }
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting().lines.values().map(BTreeMap::len).sum()
    }

    /// A job does not wait any more.
    pub(super) fn remove(&self, active: &Arc<Active>) {
        self.waiting().leave(&kind_of(active), active);
    }

    /// The next job of one of these kinds: the one that has waited longest. It may have been canceled since.
    pub(super) fn pop(&self, namespace: Option<&str>, kinds: &[String]) -> Option<Arc<Active>> {
        let mut waiting = self.waiting();
        let keys = kinds.iter().map(|kind| (namespace.map(str::to_owned), kind.clone()));
        let first = |key: &Kind| waiting.lines.get(key)?.first_key_value().map(|(place, _)| *place);
        let (_, key) = keys.filter_map(|key| Some((first(&key)?, key))).min()?;
        let line = waiting.lines.get_mut(&key)?;
        let next = line.pop_first();
        if line.is_empty() {
            waiting.lines.remove(&key);
        }
        Some(next?.1)
    }

    /// A claim that will wait for a job of these kinds. One claim is called for each job that comes.
    pub(super) fn stand_in_line(&self, namespace: Option<&str>, kinds: &[String]) -> Claimer<'_> {
        let bell = Arc::new(Notify::new());
        let kinds: Vec<Kind> = kinds.iter().map(|kind| (namespace.map(str::to_owned), kind.clone())).collect();
        let mut waiting = self.waiting();
        for kind in &kinds {
            waiting.claimers.entry(kind.clone()).or_default().push_back(bell.clone());
        }
        drop(waiting);
        Claimer { queue: self, kinds, bell }
    }

    /// Has every claim look up: there will be nothing more.
    pub(super) fn call_all(&self) {
        for bell in self.waiting().claimers.values().flatten() {
            bell.notify_one();
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A claim that waits for a job.
#[derive(Debug)]
pub(super) struct Claimer<'a> {
    queue: &'a Queue,
    kinds: Vec<Kind>,
    bell: Arc<Notify>,
}

impl Claimer<'_> {
    /// Returns when there may be a job for it.
    pub(super) async fn called(&self) {
        self.bell.notified().await;
    }
}

impl Drop for Claimer<'_> {
    fn drop(&mut self) {
        let mut waiting = self.queue.waiting();
        for kind in &self.kinds {
            if let Some(claimers) = waiting.claimers.get_mut(kind) {
                claimers.retain(|bell| !Arc::ptr_eq(bell, &self.bell));
                if claimers.is_empty() {
                    waiting.claimers.remove(kind);
                }
            }
            // It may have been called for a job that it did not take, as its worker is gone.
            if waiting.lines.contains_key(kind) {
                waiting.call(kind);
            }
        }
    }
}

impl Waiting {
    /// Calls the claim that has waited longest for this kind.
    fn call(&mut self, kind: &Kind) {
        let Some(claimers) = self.claimers.get_mut(kind) else { return };
        if let Some(bell) = claimers.pop_front() {
            bell.notify_one();
        }
        if claimers.is_empty() {
            self.claimers.remove(kind);
        }
    }

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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn job(id: &str) -> Arc<Active> {
        let record = serde_json::json!({
            "id": id, "kind": "k", "audience": [], "state": "queued", "attempt": 0, "attempts": 1, "lease_ms": 1,
            "created": 0, "updated": 0, "revision": 1, "request": vec![0; 32],
        });
        Active::new(serde_json::from_str(&record.to_string()).unwrap(), 0, Duration::ZERO, true)
    }

    async fn is_called(claimer: &Claimer<'_>) -> bool {
        tokio::time::timeout(Duration::ZERO, claimer.called()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn one_claim_is_called_for_each_job_and_of_its_kind_only() {
        let queue = Queue::default();
        let (k, other) = (["k".to_owned()], ["other".to_owned()]);
        let claimers =
            [queue.stand_in_line(None, &k), queue.stand_in_line(None, &other), queue.stand_in_line(None, &k)];
        queue.push(job("a"));
        assert!(is_called(&claimers[0]).await);
        assert!(!is_called(&claimers[1]).await && !is_called(&claimers[2]).await);
        queue.push(job("b"));
        assert!(is_called(&claimers[2]).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_claim_that_is_called_and_goes_away_passes_the_call_on() {
        let queue = Queue::default();
        let kinds = ["other".to_owned(), "k".to_owned()];
        let (first, second) = (queue.stand_in_line(None, &kinds), queue.stand_in_line(None, &kinds));
        queue.push(job("a"));
        drop(first);
        assert!(is_called(&second).await);
        assert!(queue.pop(None, &kinds).is_some());
        drop(second);
        assert!(queue.waiting().claimers.is_empty() && queue.waiting().lines.is_empty());
    }
}
