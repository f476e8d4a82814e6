//! Cursors from a replica that is a moment ahead.

use std::time::Duration;

use crate::broker::{BrokerError, Standing};
use crate::cursor::{Cursor, Offset};
use crate::hub::Hub;

/// How long is waited for the log to come to where a client stands already: longer than a log takes that was stalled for a moment. Who has
/// not come there then asks how far the log is, so that a client is told of a gap only by who knows better.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many events another replica may be ahead, as far as is believed: some seconds of the fastest publishing. Whoever claims to be further
/// is told of a gap at once.
const MOST_AHEAD: u64 = 1_000_000;

/// How many wait at once: each append wakes them all, and a cursor is easily made up.
pub(crate) const MOST_ARRIVING: usize = 256;

impl Hub {
    /// Whether `asked` is a cursor of this history that lies further than this process has come, though others may have.
    pub fn is_ahead(&self, asked: &str) -> bool {
        self.ahead(asked).is_some()
    }

    fn ahead(&self, asked: &str) -> Option<Offset> {
        let cursor = asked.parse::<Cursor>().ok().filter(|cursor| self.cursor(cursor.offset) == *cursor)?;
        let last = self.window().head().1;
        let may_come = cursor.offset > last && cursor.offset.0 - last.0 <= MOST_AHEAD;
        (may_come && self.broker().standing() != Standing::Alone).then_some(cursor.offset)
    }

    /// Waits until this process has come to where a client was that goes on here and was at another replica before. To be
    /// called before [`start`](Hub::start). Returns at once where no other process appends to the log.
    ///
    /// # Errors
    /// [`BrokerError::Unavailable`] if it does not come there because it is cut off, or if too many wait: another replica may be further.
    pub async fn arrive(&self, asked: Option<&str>) -> Result<(), BrokerError> {
        let Some(offset) = asked.and_then(|asked| self.ahead(asked)) else { return Ok(()) };
        let Ok(_place) = self.arriving.try_acquire() else {
            return Err(BrokerError::Unavailable("too many wait for this replica to come to where they are".into()));
        };
        let arrived = tokio::time::timeout(PATIENCE, async {
            loop {
                let grown = self.grown.notified();
                tokio::pin!(grown);
                // Before it is looked: what is appended from here on wakes.
                grown.as_mut().enable();
                if self.window().head().1 >= offset {
                    return;
                }
                grown.await;
            }
        });
        if arrived.await.is_ok() {
            return Ok(());
        }
        // What is heard here may be silent as nothing happens, or as this process is cut off and has not noticed.
        let is_behind = self.broker().standing() == Standing::CutOff || self.broker().proven_last().await? >= offset;
        if is_behind && self.window().head().1 < offset {
            return Err(BrokerError::Unavailable("this replica is cut off from the log".into()));
        }
        // Who is further than the log itself is told of a gap.
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Mutex};

    use async_trait::async_trait;

    use super::*;
    use crate::broker::{Broker, Head, Page, Query, Tail};
    use crate::cursor::Epoch;
    use crate::event::{Event, NewEvent};
    use crate::{Audience, Limits, Profile, SystemClock, Timestamp};

    /// A log to which another process appends.
    #[derive(Default)]
    struct Elsewhere {
        tail: Mutex<Option<Arc<dyn Tail>>>,
        is_cut_off: AtomicBool,
        /// How far the log is, where that can be asked.
        last: Mutex<Option<u64>>,
    }

    impl Elsewhere {
        fn tell(&self, offset: u64) {
            let body = NewEvent {
                name: "a".into(),
                topic: "a".parse().unwrap(),
                data: "1".into(),
                scope: Default::default(),
                audience: Audience::default(),
                key: None,
                time: Timestamp(1),
                kept: true,
                dedup: None,
            };
            let tail = self.tail.lock().unwrap().clone().unwrap();
            tail.appended(vec![Event { offset: Offset(offset), body }]);
        }
    }

    #[async_trait]
    impl Broker for Elsewhere {
        async fn publish(&self, _: Vec<NewEvent>) -> Result<Vec<Option<Offset>>, BrokerError> {
            Err(BrokerError::Refused("not here".into()))
        }
        async fn read(&self, query: Query) -> Result<Page, BrokerError> {
            Ok(Page { events: Vec::new(), reached: query.after })
        }
        fn head(&self) -> Head {
            Head { epoch: Epoch(7), trimmed: Offset::START, last: Offset::START, events: 0, bytes: 0 }
        }
        fn tail(&self, tail: Arc<dyn Tail>) {
            *self.tail.lock().unwrap() = Some(tail);
        }
        fn standing(&self) -> Standing {
            if self.is_cut_off.load(Ordering::SeqCst) { Standing::CutOff } else { Standing::Current }
        }
        async fn proven_last(&self) -> Result<Offset, BrokerError> {
            self.last.lock().unwrap().map(Offset).ok_or(BrokerError::Unavailable("nobody answers".into()))
        }
    }

    async fn hub(broker: &Arc<Elsewhere>) -> Arc<Hub> {
        Hub::open(broker.clone(), [Arc::new(Profile::open())], Arc::new(SystemClock), Limits::default()).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_from_a_replica_that_is_ahead_waits_until_this_one_is_there() {
        let broker = Arc::<Elsewhere>::default();
        let hub = hub(&broker).await;
        let asked = hub.cursor(Offset(2)).to_string();
        assert!(hub.is_ahead(&asked));
        let waiting = tokio::spawn({
            let (hub, asked) = (hub.clone(), asked.clone());
            async move { hub.arrive(Some(&asked)).await }
        });
        broker.tell(1);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished(), "one more is missing");
        broker.tell(2);
        waiting.await.unwrap().unwrap();
        let start = hub.start(Some(&asked));
        assert_eq!((start.after, start.gap), (Offset(2), None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_gap_is_told_by_a_replica_that_knows_how_far_the_log_is_and_by_no_other() {
        let broker = Arc::<Elsewhere>::default();
        let hub = hub(&broker).await;
        let asked = hub.cursor(Offset(2)).to_string();
        for last in [None, Some(2), Some(3)] {
            // It stands well, as it has not noticed yet.
            *broker.last.lock().unwrap() = last;
            assert!(matches!(hub.arrive(Some(&asked)).await, Err(BrokerError::Unavailable(_))), "{last:?}");
        }
        *broker.last.lock().unwrap() = Some(1);
        hub.arrive(Some(&asked)).await.unwrap();
        assert!(hub.start(Some(&asked)).gap.is_some());
        broker.is_cut_off.store(true, Ordering::SeqCst);
        assert!(matches!(hub.arrive(Some(&asked)).await, Err(BrokerError::Unavailable(_))));
        hub.arrive(None).await.unwrap();
        hub.arrive(Some("nonsense")).await.unwrap();
    }
}
