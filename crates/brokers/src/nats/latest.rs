//! What the leader said last of the stream, shared by the reads that run at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex as StdMutex, PoisonError};

use tokio::sync::Mutex;

use super::api::ApiError;
use super::stream::StreamState;

/// The last answer. What was asked after a read began to wait serves it, also if it is that there is none: else each of many reads would
/// wait for a silence of its own, one behind the other.
#[derive(Default)]
pub(super) struct Latest {
    begun: AtomicU64,
    last: Mutex<(u64, Option<Result<StreamState, ApiError>>)>,
    known: StdMutex<Known>,
}

/// What is known of the stream without asking.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// How many copies of it there are.
    pub copies: u64,
    /// Who leads it, and since when.
    pub leader: String,
    /// A place that this leader surely has.
    pub last: u64,
}

impl Known {
    /// Whether copies answer that may be behind their leader.
    pub fn is_copied(&self) -> bool {
        self.copies != 1
    }

    /// Whether what was read by this is what would be read by `now`: else servers may have answered that were not asked for proof.
    pub fn holds(&self, now: &Known) -> bool {
        self.is_copied() == now.is_copied() && self.leader == now.leader
    }
}

impl Latest {
    /// What the leader says after this was called.
    pub async fn ask(
        &self,
        info: impl Future<Output = Result<StreamState, ApiError>>,
    ) -> Result<StreamState, ApiError> {
        let arrived = self.begun.load(Ordering::Acquire);
        let mut last = self.last.lock().await;
        if let (number, Some(said)) = &*last
            && *number > arrived
        {
            return said.clone();
        }
        let number = self.begun.fetch_add(1, Ordering::AcqRel) + 1;
        let said = info.await;
        *last = (number, Some(said.clone()));
        if let Ok(now) = &said {
            self.note(now);
        }
        said
    }

    /// Takes what the leader said.
    pub fn note(&self, now: &StreamState) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let last = if known.leader == now.leader { known.last.max(now.last) } else { now.last };
        *known = Known { copies: now.config["num_replicas"].as_u64().unwrap_or(0), leader: now.leader.clone(), last };
    }

    /// What is known.
    pub fn known(&self) -> Known {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::time::{Instant, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn many_reads_that_get_no_answer_wait_for_two_questions_at_most() {
        let (latest, asked) = (Latest::default(), AtomicU64::new(0));
        let silence = async || {
            asked.fetch_add(1, Ordering::Relaxed);
            sleep(Duration::from_secs(2)).await;
            Err(ApiError::NoAnswer("it took too long".into()))
        };
        let begun = Instant::now();
        let answers = futures_util::future::join_all((0..64).map(|_| latest.ask(silence()))).await;
        assert!(answers.iter().all(Result::is_err));
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        assert!(asked.load(Ordering::Relaxed) <= 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_asked_before_a_read_came_does_not_serve_it() {
        let latest = Arc::new(Latest::default());
        let first = tokio::spawn({
            let latest = latest.clone();
            async move {
                let slow = async {
                    sleep(Duration::from_secs(1)).await;
                    Ok(StreamState::of(1, 5))
                };
                latest.ask(slow).await
            }
        });
        sleep(Duration::from_millis(500)).await;
        let second = latest.ask(async { Ok(StreamState::of(1, 6)) }).await;
        assert_eq!(second.expect("an answer").last, 6);
        assert_eq!(first.await.expect("it ends").expect("an answer").last, 5);
    }

    #[test]
    fn a_place_of_another_leader_and_other_copies_prove_nothing() {
        let latest = Latest::default();
        let said = |leader: &str, last, copies: u64| {
            let mut said = StreamState { leader: leader.into(), ..StreamState::of(1, last) };
            said.config["num_replicas"] = copies.into();
            latest.note(&said);
            latest.known()
        };
        let first = said("n1", 9, 3);
        assert_eq!(said("n1", 7, 3).last, 9, "what one leader had it has still");
        let second = said("n2", 8, 3);
        assert_eq!(second.last, 8);
        assert!(!first.holds(&second) && second.holds(&said("n2", 12, 5)));
        assert!(!said("n2", 12, 1).holds(&said("n2", 12, 3)));
    }
}
