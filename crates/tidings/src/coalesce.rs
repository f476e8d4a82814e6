//! Only the latest by key: for kinds that change faster than anyone wants to hear.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::broker::BrokerError;
use crate::event::NewEvent;
use crate::grant::Audience;
use crate::hub::{Hub, Published};
use crate::profile::Coalesce;

/// Holds back events of kinds that coalesce.
///
/// The first of a key goes out at once. What follows within the window waits; a newer one replaces it and the window begins anew,
/// but never longer than `max_wait` after the first that waits. Events are replaced *before* they are appended: the log, and so every
/// subscriber whether live or resumed, holds just the ones that were let through, in order. A publisher of kept events is answered when
/// its event, or the one that replaced it, is durable; a signal is answered at once.
#[derive(Debug, Default)]
pub(crate) struct Coalescer {
    held: Mutex<HashMap<Key, Held>>,
}

/// Topic, name, key; for whom it is, so that nobody is left without the older one who may not see the newer; and whether it is
/// kept: a signal, which may be dropped, never replaces an event, which may not.
type Key = (Arc<str>, Arc<str>, Option<Arc<str>>, Audience, bool);
type Answer = Result<Published, BrokerError>;

#[derive(Debug)]
struct Held {
    /// The newest that waits, with all who wait for its answer; the last of them published it.
    latest: Option<(NewEvent, Vec<oneshot::Sender<Answer>>)>,
    /// When it goes out unless a newer one comes.
    due: Instant,
    /// When it goes out in any case.
    latest_due: Instant,
}

impl Hub {
    pub(crate) async fn publish_coalescing(
        self: &Arc<Self>,
        events: Vec<NewEvent>,
    ) -> Result<Vec<Published>, BrokerError> {
        enum Slot {
            Now(usize),
            Later(oneshot::Receiver<Answer>),
            Dropped,
        }
        let mut slots = Vec::with_capacity(events.len());
        let mut now = Vec::new();
        for event in events {
            let rule = self.profiles().rule(&event);
            // One whose rule has a key that it has no value for is never held: it would take the place of others that differ.
            let coalesce = rule.coalesce.filter(|_| event.key.is_some() || rule.key.is_none());
            let event = match coalesce {
                Some(coalesce) => match self.hold(event, &coalesce) {
                    Hold::LetThrough(event) => event,
                    Hold::Waits(answer) => {
                        slots.push(Slot::Later(answer));
                        continue;
                    }
                    Hold::WaitsUnanswered => {
                        slots.push(Slot::Dropped);
                        continue;
                    }
                },
                None => event,
            };
            slots.push(Slot::Now(now.len()));
            now.push(event);
        }
        let keeps_now = now.iter().any(|event| event.kept);
        let appended = self.append(now).await;
        let mut outcome = Outcome { is_any_kept: keeps_now && appended.is_ok(), error: None };
        let appended = outcome.take(appended).unwrap_or_default();
        let mut published = Vec::with_capacity(slots.len());
        for slot in slots {
            published.push(match slot {
                Slot::Now(index) => appended.get(index).copied(),
                Slot::Dropped => Some(Published { cursor: None, coalesced: true }),
                // Also after a failure: what became of the rest says what the failure means.
                Slot::Later(answer) => {
                    let answer = outcome.take(answer.await.unwrap_or_else(|_| Err(stopping())));
                    outcome.is_any_kept |= answer.is_some();
                    answer
                }
            });
        }
        outcome.of(published.into_iter().flatten().collect())
    }

    fn hold(self: &Arc<Self>, event: NewEvent, coalesce: &Coalesce) -> Hold {
        let (topic, audience) = (event.topic.as_str().into(), event.audience.clone());
        let key: Key = (topic, event.name.clone(), event.key.clone(), audience, event.kept);
        let now = Instant::now();
        let mut held = self.coalescer.held.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let Some(state) = held.get_mut(&key) else {
            let due = now + coalesce.window;
            held.insert(key.clone(), Held { latest: None, due, latest_due: due });
            tokio::spawn(release(self.clone(), key, *coalesce));
            return Hold::LetThrough(event);
        };
        let (sender, receiver) = oneshot::channel();
        let kept = event.kept;
        let mut waiting = match state.latest.take() {
            Some((_, waiting)) => {
                self.counters.coalesced.fetch_add(1, Ordering::Relaxed);
                waiting
            }
            None => {
                state.latest_due = now + coalesce.max_wait;
                Vec::new()
            }
        };
        state.due = (now + coalesce.window).min(state.latest_due);
        if kept {
            waiting.push(sender);
        }
        state.latest = Some((event, waiting));
        if kept { Hold::Waits(receiver) } else { Hold::WaitsUnanswered }
    }
}

/// Nobody lets through what waits any more. It may have been appended just before.
fn stopping() -> BrokerError {
    BrokerError::Unclear("the program is stopping".into())
}

/// What came of the parts of what was published at once.
struct Outcome {
    /// Whether an event of it is in the log.
    is_any_kept: bool,
    /// What went wrong with it.
    error: Option<BrokerError>,
}

impl Outcome {
    fn take<T>(&mut self, part: Result<T, BrokerError>) -> Option<T> {
        match part {
            Ok(part) => Some(part),
            Err(error) => {
                // Of a part it is not known whether it is in the log: so it is of the whole.
                if self.error.is_none() || matches!(error, BrokerError::Unclear(_)) {
                    self.error = Some(error);
                }
                None
            }
        }
    }

    /// The answer to the whole. Nobody may hear that nothing was published when a part was.
    fn of(self, published: Vec<Published>) -> Result<Vec<Published>, BrokerError> {
        match self.error {
            None => Ok(published),
            Some(error) if self.is_any_kept => {
                Err(BrokerError::Unclear(format!("a part of it was published, and a part was not: {error}")))
            }
            Some(error) => Err(error),
        }
    }
}

enum Hold {
    LetThrough(NewEvent),
    Waits(oneshot::Receiver<Answer>),
    WaitsUnanswered,
}

/// Lets the newest of `key` through when it is due, until nothing came for a whole window.
async fn release(hub: Arc<Hub>, key: Key, coalesce: Coalesce) {
    loop {
        let due = {
            let held = hub.coalescer.held.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            match held.get(&key) {
                Some(state) => state.due,
                None => return,
            }
        };
        tokio::time::sleep_until(due).await;
        let (event, waiting) = {
            let mut held = hub.coalescer.held.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            let Some(state) = held.get_mut(&key) else { return };
            if state.due > due {
                continue;
            }
            match state.latest.take() {
                Some(latest) => {
                    state.due = Instant::now() + coalesce.window;
                    latest
                }
                None => {
                    held.remove(&key);
                    return;
                }
            }
        };
        let answer = hub.append(vec![event]).await.map(|published| published[0]);
        let last = waiting.len().saturating_sub(1);
        for (index, sender) in waiting.into_iter().enumerate() {
            let answer = answer.clone().map(|published| Published { coalesced: index < last, ..published });
            // A publisher that went away does not need its answer.
            let _ = sender.send(answer);
        }
    }
}
