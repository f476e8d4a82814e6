//! How a lane is told that there is something to look at.

#[cfg(shuttle)]
use shuttle::sync::atomic::{AtomicBool, Ordering};
#[cfg(not(shuttle))]
use std::sync::atomic::{AtomicBool, Ordering};

/// Wakes a lane once for all that comes until it looks: waking it again would only cost a system call.
#[derive(Debug, Default)]
pub(super) struct Bell {
    /// Whether the lane was woken and has not looked yet.
    rung: AtomicBool,
}

impl Bell {
    /// There is something to look at, put there *before* this call. Calls `wake` unless the lane will look anyway.
    pub(super) fn ring(&self, wake: impl FnOnce()) {
        if !self.rung.swap(true, Ordering::SeqCst) {
            wake();
        }
    }

    /// The lane looks now. Called when it is awake and *before* it looks at anything, so that what comes later wakes it again.
    pub(super) fn answer(&self) {
        // A swap, not a store: it reads what the last ring wrote, and so sees all that was put there before that ring. After a
        // store, a processor may let the lane's next reads go first, and whoever rang before it would go unheard.
        self.rung.swap(false, Ordering::SeqCst);
    }
}

#[cfg(all(test, shuttle))]
mod model {
    use std::sync::Arc;

    use shuttle::sync::atomic::AtomicU64;
    use shuttle::sync::{Condvar, Mutex};
    use shuttle::thread;

    use super::*;

    /// A lane as far as it waits: its inbox, the end of the window, and a waker that remembers that it was used, as an eventfd.
    #[derive(Default)]
    struct Shared {
        bell: Bell,
        inbox: Mutex<Vec<u32>>,
        end: AtomicU64,
        woken: Mutex<bool>,
        waker: Condvar,
    }

    impl Shared {
        fn ring(&self) {
            self.bell.ring(|| {
                *self.woken.lock().unwrap() = true;
                self.waker.notify_one();
            });
        }

        /// As `Lane::run`: what is there is taken, then it waits, until it has had `messages` and has come to `end`.
        fn run(&self, messages: usize, end: u64) -> Vec<u32> {
            let (mut place, mut taken) = (0, Vec::new());
            while taken.len() < messages || place < end {
                let more = place != self.end.load(Ordering::Acquire);
                let mut woken = self.woken.lock().unwrap();
                while !more && !*woken {
                    woken = self.waker.wait(woken).unwrap();
                }
                *woken = false;
                drop(woken);
                self.bell.answer();
                taken.append(&mut self.inbox.lock().unwrap());
                place = self.end.load(Ordering::Acquire);
            }
            taken
        }
    }

    fn play() {
        let shared = Arc::new(Shared::default());
        let lane = shared.clone();
        let lane = thread::spawn(move || lane.run(4, 3));
        for sender in 0..2 {
            let shared = shared.clone();
            thread::spawn(move || {
                for n in 0..2 {
                    shared.inbox.lock().unwrap().push(10 * sender + n);
                    shared.ring();
                }
            });
        }
        for _ in 0..3 {
            shared.end.fetch_add(1, Ordering::Release);
            shared.ring();
        }
        let mut taken = lane.join().unwrap();
        taken.sort_unstable();
        assert_eq!(taken, [0, 1, 10, 11]);
    }

    /// A lane that sleeps for ever is reported as a deadlock.
    #[test]
    fn a_lane_sleeps_through_nothing() {
        let times = std::env::var("MODEL_ITERATIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(5_000);
        shuttle::check_random(play, times);
        shuttle::check_pct(play, times, 3);
    }
}
