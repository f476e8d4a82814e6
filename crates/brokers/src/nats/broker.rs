//! The log in NATS JetStream, as a broker.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use tidings::{Broker, BrokerError, Head, NewEvent, Offset, Page, Query, Standing, Tail};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::announcer::Announcer;
use super::direct::Direct;
use super::engine::{Engine, EngineError};
use super::history;
use super::kept_up::caught;
use super::publisher::{Publisher, signal_subject};
use super::reader::Reader;
use super::settings::Durability;
use super::stream::{self, StreamState};
use super::tail::{BeforeMissed, Follower, TailError};

/// How often the engine is asked where the log begins and how large it is.
const REFRESH: Duration = Duration::from_secs(2);

/// After how long without a word of the leader this replica is cut off, whatever else it hears: a server that the others of its cluster
/// can't reach goes on with the heartbeats of the consumers on it. Longer than a cluster takes to find another leader on most days.
const STALE: Duration = Duration::from_secs(8);

/// Keeps the events in one stream of NATS JetStream, which several replicas share.
///
/// The offset of an event is its sequence in the stream, and the epoch stands in the stream's metadata. This replica follows the stream with
/// one consumer: what comes there is announced, and a publish returns when its own events came. Where the engine is away, publishes and
/// reads are [`BrokerError::Unavailable`]; when it is back, the tail goes on where it was.
///
/// On servers below 2.12.1 a batch of several events is appended one by one: others may come between, and if the engine goes away in the middle,
/// a part of it stays. A signal that stands between two events of a batch comes behind the batch.
pub struct NatsBroker {
    engine: Arc<Engine>,
    announcer: Arc<Announcer>,
    publisher: Arc<Publisher>,
    reader: Arc<Reader>,
    is_caught_up: Arc<AtomicBool>,
    before_missed: Arc<OnceLock<BeforeMissed>>,
    copies: u64,
    is_atomic: bool,
    tasks: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for NatsBroker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NatsBroker").field("engine", &self.engine).field("head", &self.head()).finish_non_exhaustive()
    }
}

impl Drop for NatsBroker {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl NatsBroker {
    /// Opens the log of the hub, and makes it if there is none.
    pub async fn open(engine: Arc<Engine>) -> Result<Arc<NatsBroker>, EngineError> {
        let state = stream::open(&engine).await?;
        let newest = match state.last {
            last if last > state.trimmed() => history::publisher_of(&engine, last).await,
            _ => Ok(None),
        };
        let newest = newest.map_err(|error| error.unreachable(&engine))?;
        let announcer = Arc::new(Announcer::new(&state, newest, random_process()));
        let is_caught_up = Arc::new(AtomicBool::new(false));
        let unreachable = |why: String| EngineError::Unreachable { at: engine.settings().shown_servers(), why };
        let signals = engine.client().subscribe(signal_subject(&engine)).await;
        let signals = signals.map_err(|error| unreachable(error.to_string()))?;
        let follower = Follower::new(engine.clone(), announcer.clone(), is_caught_up.clone());
        let before_missed = follower.before_missed();
        let consumer = follower.attach().await.map_err(|error| match error {
            TailError::Again(why) | TailError::Over(why) => unreachable(why),
            TailError::Unfit(error) => error,
        })?;
        let direct = Direct::new(engine.clone()).await.map_err(|error| error.unreachable(&engine))?;
        let reader = Arc::new(Reader::new(engine.clone(), announcer.clone(), direct));
        let is_atomic = state.atomic;
        let copies = state.config["num_replicas"].as_u64().unwrap_or(1);
        reader.note(&state);
        let publisher = Arc::new(Publisher::new(engine.clone(), announcer.clone(), is_atomic));
        let tasks = vec![
            tokio::spawn(or_end(announcer.clone(), follower.run(signals, consumer))),
            tokio::spawn(or_end(announcer.clone(), refresh(engine.clone(), announcer.clone()))),
        ];
        Ok(Arc::new(NatsBroker {
            engine,
            announcer,
            publisher,
            reader,
            is_caught_up,
            before_missed,
            copies,
            is_atomic,
            tasks,
        }))
    }

    /// Returns when the history that was announced here is over, with a sentence that says why: the stream was removed or made anew, it lost
    /// its end, or retention removed events before this replica had them. From then on nothing is announced, and publishes and reads
    /// are refused: streams have to be ended, and the program starts anew on what is there.
    pub async fn replaced(&self) -> String {
        self.announcer.replaced().await
    }

    /// Has `what` done whenever this replica was cut off and is back, before what it missed is announced: it may have to learn first who is
    /// not to hear that any more. The events wait for it, for 10 s at most. Set once; a second is ignored.
    pub fn before_missed(&self, what: BeforeMissed) {
        let _ = self.before_missed.set(what);
    }

    /// Whether the tail follows the stream and has what was there when it began to, and the leader was heard of a moment ago.
    pub fn is_caught_up(&self) -> bool {
        let is_there = self.announcer.ended().is_none() && self.engine.down().is_none();
        is_there && self.is_caught_up.load(Ordering::Relaxed) && self.announcer.is_led(STALE)
    }

    /// How many messages in the stream were none of Tidings', and were passed over.
    pub fn foreign(&self) -> u64 {
        self.announcer.foreign()
    }

    /// What an acknowledged publish survives with these settings, in sentences for people who run it.
    pub fn loss_model(&self) -> Vec<String> {
        let copies = self.copies;
        let mut sentences = vec![match copies {
            1 => "Events are kept on 1 NATS server: while it is away nothing can be published, and if its disk is lost, the log is.".to_owned(),
            _ => format!(
                "Events are kept on {copies} NATS servers: an acknowledged one is on {} of them, and {} may fail at once.",
                copies / 2 + 1,
                copies / 2
            ),
        }];
        sentences.push(match self.engine.settings().durability {
            Durability::Engine => taken_back(copies),
            Durability::PowerSafe => "Publishes are made for servers with `sync_interval: always`, which Tidings can't ask for: look that each server has \
                 it. What is acknowledged is then on the disks first."
                .to_owned(),
        });
        if !self.is_atomic {
            sentences.push(
                "The NATS servers are older than 2.12.1: a batch of several events is appended one by one, and an outage in the middle leaves a part of it."
                    .to_owned(),
            );
        }
        sentences
    }
}

/// What servers that sync to their disks now and then may take back.
fn taken_back(copies: u64) -> String {
    let power_cut = match copies {
        1 => "a power cut takes back what was acknowledged within that time",
        _ => {
            "a power cut of most of the copies takes back what was acknowledged within that time, and one of a single copy may do so if \
             another copy fails before it has caught up"
        }
    };
    format!(
        "What is acknowledged is written to the servers' disks within their `sync_interval`, which Tidings can't ask for. With its default, \
         2 minutes, {power_cut}; a crash of a server's process alone takes back nothing."
    )
}

#[async_trait]
impl Broker for NatsBroker {
    async fn publish(&self, batch: Vec<NewEvent>) -> Result<Vec<Option<Offset>>, BrokerError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let publisher = self.publisher.clone();
        // In a task of its own: who drops the future does not leave a batch half sent.
        let task = tokio::spawn(async move { publisher.publish(batch).await });
        task.await.map_err(|_| BrokerError::Unavailable("the program is stopping".into()))?
    }

    async fn read(&self, query: Query) -> Result<Page, BrokerError> {
        self.reader.read(query).await
    }

    fn head(&self) -> Head {
        self.announcer.head()
    }

    fn tail(&self, tail: Arc<dyn Tail>) {
        self.announcer.tell(tail);
    }

    fn standing(&self) -> Standing {
        if self.is_caught_up() { Standing::Current } else { Standing::CutOff }
    }

    async fn proven_last(&self) -> Result<Offset, BrokerError> {
        self.reader.proven_last().await
    }
}

/// Does `work`. If it panics nothing is announced any more, or not what is so: the program has to begin anew.
async fn or_end(announcer: Arc<Announcer>, work: impl Future<Output = ()>) {
    if caught(work).await.is_err() {
        announcer.end("a fault of this program keeps it from following the log".into());
    }
}

/// Keeps where the log begins up to date, and notices another epoch: the one that another replica gave the log, say, as it had lost its end.
async fn refresh(engine: Arc<Engine>, announcer: Arc<Announcer>) {
    let (mut is_other, mut doubts, mut leader) = (false, Doubts::default(), None);
    while announcer.ended().is_none() {
        sleep(REFRESH).await;
        let announced = announcer.announced();
        let Ok(now) = stream::info(&engine).await else { continue };
        if now.epoch != announcer.epoch {
            if std::mem::replace(&mut is_other, true) {
                // Said twice: not by a server that was a moment behind.
                announcer.end(history::other(announcer.epoch, now.epoch));
            }
            continue;
        }
        is_other = false;
        announcer.refresh(&now);
        if doubts.hear(announced, &now) {
            announcer.doubt();
        }
        // Another leader may have another end, with as many events or more: a consumer that lives on says nothing of it.
        if leader.as_ref() != Some(&now.leader) {
            match history::has_newest(&engine, &announcer, &now).await {
                Ok(true) => leader = Some(now.leader),
                Ok(false) => announcer.doubt(),
                Err(_) => {}
            }
        }
    }
}

/// What the engine said of the ends of the stream that does not go with what was announced.
#[derive(Default)]
struct Doubts {
    /// What was announced when it did so last.
    at: Option<u64>,
}

impl Doubts {
    /// Takes what the engine said after `announced` was announced. Whether it is to be looked into: it was said twice while nothing was
    /// announced, so it is no server that was a moment behind, and no event that is on its way.
    fn hear(&mut self, announced: u64, now: &StreamState) -> bool {
        let is_odd = now.last < announced || now.trimmed() > announced;
        let before = std::mem::replace(&mut self.at, is_odd.then_some(announced));
        is_odd && before == Some(announced)
    }
}

fn random_process() -> u64 {
    let mut bytes = [0; 8];
    if getrandom::fill(&mut bytes).is_err() {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        return since.as_nanos() as u64 ^ u64::from(std::process::id());
    }
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_that_not_all_copies_have_to_lose_their_power_for_a_loss() {
        assert!(taken_back(1).contains("a power cut takes back"));
        let of_three = taken_back(3);
        assert!(of_three.contains("of most of the copies") && of_three.contains("of a single copy may"), "{of_three}");
    }

    #[test]
    fn an_end_that_is_missing_is_doubted_when_it_is_missing_twice_and_nothing_was_announced_meanwhile() {
        let (whole, short, ahead) = (StreamState::of(1, 8), StreamState::of(1, 5), StreamState::of(12, 20));
        let mut doubts = Doubts::default();
        let heard =
            [(8, &whole), (8, &short), (8, &short), (8, &whole), (8, &short), (9, &short), (9, &ahead), (9, &ahead)];
        let told = heard.map(|(announced, now)| doubts.hear(announced, now));
        assert_eq!(told, [false, false, true, false, false, false, true, true]);
    }
}
