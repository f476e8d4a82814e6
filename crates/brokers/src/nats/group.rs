//! What several callers publish at the same time, as one atomic batch: they share its sync to the disks of the servers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::outgoing::{Ack, Courier, Outgoing};
use super::publisher::MOST_IN_BATCH;

/// The most publishes that wait for the batch before. More wait in their callers.
const WAITING: usize = 4_096;

/// About how many bytes of several publishes go together: retention has to leave more than a few such batches.
const MOST_BYTES: usize = 8 << 20;

/// How long the answer to a batch is waited for before the next one is sent.
const STALLED: Duration = Duration::from_millis(1_500);

/// Gathers what is published while a batch is on its way into the next one.
pub(super) struct Group {
    submissions: mpsc::Sender<Submission>,
    task: JoinHandle<()>,
}

struct Submission {
    events: Arc<[Outgoing]>,
    until: Instant,
    /// Whoever sets it first decides: it is on its way, or it was given up and never will be.
    decided: Arc<AtomicBool>,
    /// `None`: to be tried alone, as one of the batch could not be taken.
    done: oneshot::Sender<Option<Ack>>,
}

impl Submission {
    fn bytes(&self) -> usize {
        self.events.iter().map(Outgoing::bytes).sum()
    }

    /// Whether it is to be sent: not where nobody waits for it any more, nor where it has no time left to be answered.
    fn begin(&self, now: Instant) -> bool {
        !self.done.is_closed() && self.until > now && !self.decided.swap(true, Ordering::AcqRel)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Group {
    pub fn new(courier: Arc<Courier>) -> Group {
        let (submissions, queue) = mpsc::channel(WAITING);
        Group { submissions, task: tokio::spawn(run(courier, queue)) }
    }

    /// Sends events together with those of others. `None` if they have to be sent alone; else `place` is that of the last of them.
    pub async fn send(&self, events: Arc<[Outgoing]>, until: Instant) -> Option<Ack> {
        let (done, ack) = oneshot::channel();
        let decided = Arc::new(AtomicBool::new(false));
        let submission = Submission { events, until, decided: decided.clone(), done };
        let sent = async {
            self.submissions.send(submission).await.ok()?;
            ack.await.ok()?
        };
        match timeout_at(until, sent).await {
            Ok(ack) => ack,
            Err(_) if decided.swap(true, Ordering::AcqRel) => Some(Ack::Unclear("no answer came in time".into())),
            Err(_) => Some(Ack::NotTaken("others were before it for too long".into())),
        }
    }
}

async fn run(courier: Arc<Courier>, mut queue: mpsc::Receiver<Submission>) {
    let mut next = None;
    loop {
        let first = match next.take() {
            Some(first) => first,
            None => match queue.recv().await {
                Some(first) => first,
                None => return,
            },
        };
        let (mut count, mut bytes) = (first.events.len(), first.bytes());
        let mut batch: Vec<Submission> = vec![first];
        while let Ok(submission) = queue.try_recv() {
            count += submission.events.len();
            bytes += submission.bytes();
            if count > MOST_IN_BATCH || bytes > MOST_BYTES {
                next = Some(submission);
                break;
            }
            batch.push(submission);
        }
        let now = Instant::now();
        batch.retain(|submission| submission.begin(now));
        // An answer that is lost holds up those that come behind for a moment, and not for as long as it is waited for.
        let _ = timeout(STALLED, tokio::spawn(send(courier.clone(), batch))).await;
    }
}

/// Sends a batch, and waits for its answer: what comes meanwhile is the next batch.
async fn send(courier: Arc<Courier>, batch: Vec<Submission>) {
    // Each waits for its own time only: one that is nearly over is not the end of the others.
    let Some(until) = batch.iter().map(|submission| submission.until).max() else { return };
    let events: Vec<Outgoing> = batch.iter().flat_map(|submission| submission.events.iter().cloned()).collect();
    let ack = match &events[..] {
        [event] => courier.send(event, until).await,
        events => courier.send_batch(events, until).await,
    };
    let mut at = match &ack {
        Ack::Taken { place, again: false } => place.saturating_sub(events.len() as u64),
        _ => 0,
    };
    for submission in batch {
        at += submission.events.len() as u64;
        let _ = submission.done.send(match &ack {
            Ack::Taken { again: false, .. } => Some(Ack::Taken { place: at, again: false }),
            // What one of them is refused for, or was taken before, is nothing to the others.
            Ack::Taken { again: true, .. } | Ack::OneByOne | Ack::Failed(_) => None,
            Ack::NotTaken(why) => Some(Ack::NotTaken(why.clone())),
            Ack::Unclear(why) => Some(Ack::Unclear(why.clone())),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn submission(until: Instant) -> (Submission, oneshot::Receiver<Option<Ack>>) {
        let (done, ack) = oneshot::channel();
        (Submission { events: Arc::new([]), until, decided: Arc::default(), done }, ack)
    }

    #[test]
    fn what_is_over_or_given_up_is_never_sent_and_what_is_sent_can_not_be_given_up() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let (waits, _ack) = submission(later);
        assert!(waits.begin(now) && waits.decided.load(Ordering::Relaxed));
        let (over, _ack) = submission(now);
        assert!(
            !over.begin(now) && !over.decided.load(Ordering::Relaxed),
            "its sender then knows that it was not taken"
        );
        let (left, ack) = submission(later);
        drop(ack);
        assert!(!left.begin(now));
        let (given_up, _ack) = submission(later);
        given_up.decided.store(true, Ordering::Relaxed);
        assert!(!given_up.begin(now));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_in_vain_for_the_batch_before_is_told_in_time_that_it_was_not_taken() {
        let (submissions, mut queue) = mpsc::channel(1);
        let group = Group { submissions, task: tokio::spawn(async {}) };
        let until = Instant::now() + Duration::from_secs(1);
        assert!(matches!(group.send(Arc::new([]), until).await, Some(Ack::NotTaken(_))));
        let queued = queue.recv().await.expect("it is in the queue still");
        assert!(!queued.begin(Instant::now() - Duration::from_secs(1)), "and is not sent behind its back");
    }
}
