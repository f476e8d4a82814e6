//! How a piece of work says how far it is, and how it ends.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

/// Where a piece of work says how far it is.
///
/// It is called from blocking threads and from async code alike. All but [`Report::items`] return at once.
pub trait Report: Send + Sync {
    /// Says that `done` of `total` are done. `done` never goes down, and is never more than `total`. `item` is what is
    /// worked on now. Only the newest counts: the one before may never be seen.
    fn progress(&self, done: u64, total: Option<u64>, message: Option<&str>, item: Option<Value>);

    /// Hands over items of the result, in their order. May block while the hub is slow, which is what keeps the memory
    /// of the work flat.
    fn items(&self, items: Vec<Value>) -> Result<(), Stopped>;

    /// Whether somebody has canceled the work. It is to end within a second of that.
    fn is_canceled(&self) -> bool;
}

/// Nobody takes the result any more (the lease is lost, or the hub is gone): the work is to stop, and has nobody to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nobody takes the result any more")]
pub struct Stopped;

/// Why a piece of work failed: the `error` of its job (`protocol/README.md` §10.1).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// One word for programs, such as `empty-file`.
    pub code: String,
    /// A sentence for people: what is wrong, and what they can do.
    pub message: String,
    /// Whether the same work may succeed when it is tried again.
    pub retryable: bool,
}

impl Failure {
    /// A failure that would come again.
    pub fn new(code: &str, message: impl Into<String>) -> Failure {
        Failure { code: code.to_owned(), message: message.into(), retryable: false }
    }

    /// A failure that may pass.
    pub fn passing(code: &str, message: impl Into<String>) -> Failure {
        Failure { retryable: true, ..Failure::new(code, message) }
    }
}

/// How a piece of work ended that has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfinished {
    /// Somebody canceled it, and it has stopped.
    #[error("the work was canceled")]
    Canceled,
    /// Nobody takes the result any more.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// It can't be done.
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// A [`Report`] that keeps what it is told, for tests. It can play a cancel, or a hub that is gone, at an exact point.
#[derive(Debug, Default)]
pub struct Collected {
    state: Mutex<State>,
    cancel_at_item: Option<usize>,
    stop_at_item: Option<usize>,
}

#[derive(Debug, Default)]
struct State {
    progress: Vec<Progress>,
    items: Vec<Value>,
    canceled: bool,
}

/// One call of [`Report::progress`], as [`Collected`] keeps it.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// How many are done.
    pub done: u64,
    /// Of how many, if that is known.
    pub total: Option<u64>,
    /// A word about it.
    pub message: Option<String>,
    /// What is worked on.
    pub item: Option<Value>,
}

impl Collected {
    /// One that is canceled as soon as it holds `count` items (0: from the start).
    pub fn canceled_at(count: usize) -> Collected {
        Collected { cancel_at_item: Some(count), ..Collected::default() }
    }

    /// One that takes no more items once it holds `count`.
    pub fn stopped_at(count: usize) -> Collected {
        Collected { stop_at_item: Some(count), ..Collected::default() }
    }

    /// Cancels the work from now on.
    pub fn cancel(&self) {
        self.state().canceled = true;
    }

    /// The items so far, in order.
    pub fn items(&self) -> Vec<Value> {
        self.state().items.clone()
    }

    /// The calls of [`Report::progress`] so far, in order.
    pub fn progress(&self) -> Vec<Progress> {
        self.state().progress.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked with the lock held has failed already; what was collected is still of use.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Report for Collected {
    fn progress(&self, done: u64, total: Option<u64>, message: Option<&str>, item: Option<Value>) {
        self.state().progress.push(Progress { done, total, message: message.map(str::to_owned), item });
    }

    fn items(&self, items: Vec<Value>) -> Result<(), Stopped> {
        let mut state = self.state();
        if self.stop_at_item.is_some_and(|count| state.items.len() >= count) {
            return Err(Stopped);
        }
        state.items.extend(items);
        Ok(())
    }

    fn is_canceled(&self) -> bool {
        let state = self.state();
        state.canceled || self.cancel_at_item.is_some_and(|count| state.items.len() >= count)
    }
}
