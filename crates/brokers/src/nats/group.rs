//! What several callers publish at the same time, as one atomic batch: they share its sync to the disks of the servers.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::outgoing::{Ack, Courier, Outgoing};
use super::publisher::MOST_IN_BATCH;

/// The most publishes that wait for the batch before. More wait in their callers.
const WAITING: usize = 4_096;

/// Gathers what is published while a batch is on its way into the next one.
pub(super) struct Group {
    submissions: mpsc::Sender<Submission>,
    task: JoinHandle<()>,
}

struct Submission {
    events: Arc<[Outgoing]>,
    until: Instant,
    /// `None`: to be tried alone, as one of the batch could not be taken.
    done: oneshot::Sender<Option<Ack>>,
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
        self.submissions.send(Submission { events, until, done }).await.ok()?;
        ack.await.ok()?
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
        let mut count = first.events.len();
        let mut batch: Vec<Submission> = vec![first];
        while let Ok(submission) = queue.try_recv() {
            if submission.done.is_closed() {
                continue;
            }
            if count + submission.events.len() > MOST_IN_BATCH {
                next = Some(submission);
                break;
            }
            count += submission.events.len();
            batch.push(submission);
        }
        send(&courier, batch).await;
    }
}

/// Sends a batch, and waits for its answer: what comes meanwhile is the next batch.
async fn send(courier: &Courier, batch: Vec<Submission>) {
    let events: Vec<Outgoing> = batch.iter().flat_map(|submission| submission.events.iter().cloned()).collect();
    let until = batch.iter().map(|submission| submission.until).min().unwrap_or_else(Instant::now);
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
            Ack::Taken { again: true, .. } | Ack::Duplicates | Ack::Failed(_) => None,
            Ack::NotTaken(why) => Some(Ack::NotTaken(why.clone())),
            Ack::Unclear(why) => Some(Ack::Unclear(why.clone())),
        });
    }
}
