//! The jobs that wait for a worker.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::active::Active;

/// The jobs that wait for a worker, by namespace and kind: first in, first out.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<HashMap<Kind, VecDeque<Arc<Active>>>>,
    /// Something was put in.
    pub grown: Notify,
}

type Kind = (Option<String>, String);

impl Queue {
    /// A job comes last.
    pub(super) fn push(&self, active: Arc<Active>) {
        self.put(active, VecDeque::push_back);
    }

    /// A job comes first: it waited already.
    pub(super) fn push_first(&self, active: Arc<Active>) {
        self.put(active, VecDeque::push_front);
    }

    fn put(&self, active: Arc<Active>, put: impl FnOnce(&mut VecDeque<Arc<Active>>, Arc<Active>)) {
        let kind = {
            let shown = active.shown();
            (shown.job.namespace.clone(), shown.job.kind.clone())
        };
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        put(waiting.entry(kind).or_default(), active);
        drop(waiting);
        self.grown.notify_waiters();
    }

    /// The next job of one of these kinds. It may have been canceled since.
    pub(super) fn pop(&self, namespace: Option<&str>, kinds: &[String]) -> Option<Arc<Active>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        kinds.iter().find_map(|kind| {
            let key = (namespace.map(str::to_owned), kind.clone());
            let found = waiting.get_mut(&key)?;
            let next = found.pop_front();
            if found.is_empty() {
                waiting.remove(&key);
            }
            next
        })
    }
}
