//! Locks, atomics and wake-ups: those of the standard library and of tokio, or of the model checker.
//!
//! What several threads touch is made of these, so that `scripts/model-check` (built with `--cfg shuttle`) can run it
//! through its interleavings.

#[cfg(shuttle)]
pub(crate) use modelled::{Notify, OnceLock};
#[cfg(shuttle)]
pub(crate) use shuttle::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic};
#[cfg(not(shuttle))]
pub(crate) use std::sync::{Mutex, MutexGuard, OnceLock, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic};
#[cfg(not(shuttle))]
pub(crate) use tokio::sync::Notify;

#[cfg(shuttle)]
mod modelled {
    use std::future::poll_fn;
    use std::task::{Poll, Waker};

    use shuttle::sync::Mutex;
    use shuttle::sync::atomic::{AtomicBool, Ordering};

    /// As `std::sync::OnceLock`; before each call another thread may run.
    #[derive(Debug)]
    pub(crate) struct OnceLock<T> {
        cell: std::sync::OnceLock<T>,
        turn: AtomicBool,
    }

    impl<T> Default for OnceLock<T> {
        fn default() -> Self {
            Self::new()
        }
    }

    impl<T> OnceLock<T> {
        pub(crate) fn new() -> Self {
            OnceLock { cell: std::sync::OnceLock::new(), turn: AtomicBool::new(false) }
        }

        pub(crate) fn get(&self) -> Option<&T> {
            self.turn.load(Ordering::SeqCst);
            self.cell.get()
        }

        pub(crate) fn set(&self, value: T) -> Result<(), T> {
            self.turn.load(Ordering::SeqCst);
            self.cell.set(value)
        }
    }

    /// As `tokio::sync::Notify`, as far as it is used here: one who waits, one permit.
    #[derive(Debug)]
    pub(crate) struct Notify(Mutex<(bool, Option<Waker>)>);

    impl Notify {
        pub(crate) fn new() -> Self {
            Notify(Mutex::new((false, None)))
        }

        pub(crate) fn notify_one(&self) {
            let mut state = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            state.0 = true;
            if let Some(waker) = state.1.take() {
                waker.wake();
            }
        }

        pub(crate) async fn notified(&self) {
            poll_fn(|context| {
                let mut state = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                if std::mem::take(&mut state.0) {
                    return Poll::Ready(());
                }
                state.1 = Some(context.waker().clone());
                Poll::Pending
            })
            .await
        }
    }
}
