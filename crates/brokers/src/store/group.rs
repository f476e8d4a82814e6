//! Group commit: many writes, one transaction, one sync.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, TryRecvError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// A connection that several may use, one at a time.
pub(super) type Shared = Arc<Mutex<Connection>>;

/// What one unit of room stands for, in bytes: about what a small write takes with all that belongs to it.
const UNIT: usize = 1 << 10;
/// How much may wait to be written, in units: 32 MiB, or as many small writes. Who comes then waits until there is room.
const QUEUE_UNITS: u32 = 32 << 10;
/// How much is written in one transaction, in units: 2 MiB, or as many small writes, which take some tens of milliseconds. That
/// long do other writers of the database wait at most, and so much is what a sync is shared by.
const GROUP_UNITS: u32 = 2 << 10;

/// Why the database could not. Everyone whose write was in a group that failed gets a copy.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    /// There is no room: what is smaller may still fit.
    full: bool,
    /// A sentence.
    pub why: String,
}

impl Fault {
    pub fn new(why: impl Into<String>) -> Self {
        Fault { full: false, why: why.into() }
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Fault { full: true, why: format!("the disk is full ({error})") },
            _ => Fault::new(format!("the database refused: {error}")),
        }
    }
}

/// Something that nobody waits for, done between two groups, a step at a time.
pub(super) struct Chore {
    /// Whether there is anything to do.
    pub is_due: fn(&Connection) -> rusqlite::Result<bool>,
    /// Does some of it, within a transaction.
    pub step: fn(&Connection) -> rusqlite::Result<()>,
}

/// The one thread that writes. What was handed in while it waited for a sync is its next group.
///
/// When this is dropped, what was handed in is written first.
pub(super) struct GroupWriter {
    /// Taken away when it ends.
    queue: Option<mpsc::Sender<Pending>>,
    room: Arc<Semaphore>,
    commits: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

/// A write that was handed in.
struct Pending {
    write: Box<dyn Write>,
    /// Whether somebody relies on it after a power cut.
    is_durable: bool,
    /// Its place in the queue, for as long as it has one.
    room: OwnedSemaphorePermit,
}

trait Write: Send {
    /// Does it, within a transaction. It is done again if the transaction fails because of another write.
    fn attempt(&mut self, database: &Connection) -> Result<(), Fault>;
    /// Tells who waits what came of it, and of the transaction it was in.
    fn settle(self: Box<Self>, committed: Result<(), Fault>);
}

struct Asked<F, T> {
    run: F,
    outcome: Option<Result<T, Fault>>,
    answer: oneshot::Sender<Result<T, Fault>>,
}

impl<F, T> Write for Asked<F, T>
where
    F: Fn(&Connection) -> Result<T, Fault> + Send,
    T: Send,
{
    fn attempt(&mut self, database: &Connection) -> Result<(), Fault> {
        let outcome = (self.run)(database);
        let attempted = outcome.as_ref().map(|_| ()).map_err(Fault::clone);
        self.outcome = Some(outcome);
        attempted
    }

    fn settle(self: Box<Self>, committed: Result<(), Fault>) {
        let outcome = match (self.outcome, committed) {
            (Some(Err(own)), _) => Err(own),
            (_, Err(shared)) => Err(shared),
            (Some(done), Ok(())) => done,
            (None, Ok(())) => Err(Fault::new("the write was passed over")),
        };
        // Whoever stopped waiting does not take the write back.
        let _ = self.answer.send(outcome);
    }
}

impl GroupWriter {
    /// Starts it. `others` is a connection through which the same process writes too: with it the writer takes turns.
    pub fn start(connection: Shared, others: Option<Shared>, chore: Chore) -> io::Result<Self> {
        let (queue, handed_in) = mpsc::channel();
        let commits = Arc::<AtomicU64>::default();
        let writer = Writer { connection, others, handed_in, chore, syncs: None, commits: commits.clone() };
        let thread = thread::Builder::new().name("tidings-jobs".into()).spawn(move || writer.run())?;
        let room = Arc::new(Semaphore::new(QUEUE_UNITS as usize));
        Ok(GroupWriter { queue: Some(queue), room, commits, thread: Some(thread) })
    }

    /// Has `run` done, and returns when that is durable. `bytes` is about how much it writes.
    ///
    /// Who stops waiting before it was handed in has asked for nothing; later it is done all the same.
    pub async fn write<T: Send + 'static>(
        &self,
        bytes: usize,
        run: impl Fn(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        self.hand_in(bytes, true, run).await?.await.unwrap_or_else(|_| Err(ended()))
    }

    /// Has `run` done some time, in its order among the others, and returns at once if there is room in the queue. It may be
    /// lost in a crash.
    pub async fn write_later(
        &self,
        bytes: usize,
        run: impl Fn(&Connection) -> Result<(), Fault> + Send + 'static,
    ) -> Result<(), Fault> {
        // Nobody waits for this answer; if it fails, the writer says so.
        self.hand_in(bytes, false, run).await.map(drop)
    }

    async fn hand_in<T: Send + 'static>(
        &self,
        bytes: usize,
        is_durable: bool,
        run: impl Fn(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<oneshot::Receiver<Result<T, Fault>>, Fault> {
        let units = u32::try_from(1 + bytes / UNIT).unwrap_or(u32::MAX).min(QUEUE_UNITS);
        let room = self.room.clone().acquire_many_owned(units).await.map_err(|_| ended())?;
        let (answer, answered) = oneshot::channel();
        let write = Box::new(Asked { run, outcome: None, answer });
        let queue = self.queue.as_ref().ok_or_else(ended)?;
        queue.send(Pending { write, is_durable, room }).map_err(|_| ended())?;
        Ok(answered)
    }

    /// How many groups were committed.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::SeqCst)
    }
}

impl Drop for GroupWriter {
    fn drop(&mut self) {
        drop(self.queue.take());
        // To wait for itself would be for ever: the last owner may be let go by the thread that answers it.
        if let Some(thread) = self.thread.take().filter(|thread| thread.thread().id() != thread::current().id()) {
            let _ = thread.join();
        }
    }
}

fn ended() -> Fault {
    Fault::new("what writes to the database has ended")
}

struct Writer {
    connection: Shared,
    others: Option<Shared>,
    handed_in: mpsc::Receiver<Pending>,
    chore: Chore,
    /// Whether the connection syncs at each commit, if that was ever said.
    syncs: Option<bool>,
    commits: Arc<AtomicU64>,
}

impl Writer {
    /// Works until nobody can hand in anything any more, and everything that was is done.
    fn run(mut self) {
        let mut has_chore = true;
        loop {
            // A chore waits for nobody, and nobody waits for more of it than one step.
            let next = if has_chore {
                self.handed_in.try_recv()
            } else {
                self.handed_in.recv().map_err(|_| TryRecvError::Disconnected)
            };
            match next {
                Ok(first) => {
                    let group = self.gather(first);
                    self.commit(group);
                }
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return,
            }
            has_chore = self.do_chore();
        }
    }

    /// What waits already goes with the first, up to the bound.
    fn gather(&self, first: Pending) -> Vec<Pending> {
        let mut units = first.room.num_permits();
        let mut group = vec![first];
        while units < GROUP_UNITS as usize
            && let Ok(next) = self.handed_in.try_recv()
        {
            units += next.room.num_permits();
            group.push(next);
        }
        group
    }

    /// Writes a group, and answers everyone in it.
    fn commit(&mut self, mut group: Vec<Pending>) {
        let committed = self.transact(&mut group);
        match &committed {
            Ok(()) => {
                self.commits.fetch_add(1, Ordering::SeqCst);
            }
            // One of them was too large for the disk; the others may not be.
            Err(fault) if fault.full && group.len() > 1 => {
                return group.into_iter().for_each(|one| self.commit(vec![one]));
            }
            Err(fault) => tracing::warn!(why = fault.why, writes = group.len(), "jobs could not be written"),
        }
        for Pending { write, .. } in group {
            write.settle(committed.clone());
        }
    }

    fn transact(&mut self, group: &mut [Pending]) -> Result<(), Fault> {
        let connection = self.connection.clone();
        let mut connection = lock(&connection);
        self.sync_at_commit(&connection, group.iter().any(|pending| pending.is_durable))?;
        let mut transaction = self.begin(&mut connection)?;
        for Pending { write, .. } in group {
            let savepoint = transaction.savepoint()?;
            match write.attempt(&savepoint) {
                Ok(()) => savepoint.commit()?,
                Err(fault) => {
                    drop(savepoint);
                    if transaction.is_autocommit() {
                        // SQLite has taken back the whole transaction, as it does on a full disk.
                        return Err(fault);
                    }
                }
            }
        }
        Ok(transaction.commit()?)
    }

    /// What may be lost in a power cut needs no sync; the next one includes it.
    fn sync_at_commit(&mut self, connection: &Connection, syncs: bool) -> rusqlite::Result<()> {
        if self.syncs != Some(syncs) {
            connection.pragma_update(None, "synchronous", if syncs { "FULL" } else { "NORMAL" })?;
            self.syncs = Some(syncs);
        }
        Ok(())
    }

    fn begin<'a>(&self, connection: &'a mut Connection) -> rusqlite::Result<Transaction<'a>> {
        // Whoever is at the other connection may be waiting for the database already, by asking again and again. It is let
        // through first: else it could lose against this thread each time. So it waits for one group at most.
        if let Some(others) = &self.others {
            drop(lock(others));
        }
        connection.transaction_with_behavior(TransactionBehavior::Immediate)
    }

    /// Does a step of the chore, and says whether there may be more of it.
    fn do_chore(&mut self) -> bool {
        self.try_chore().unwrap_or_else(|error| {
            tracing::warn!(%error, "what removed jobs have left could not be deleted; it is tried again later");
            false
        })
    }

    fn try_chore(&mut self) -> rusqlite::Result<bool> {
        let connection = self.connection.clone();
        let mut connection = lock(&connection);
        if !(self.chore.is_due)(&connection)? {
            return Ok(false);
        }
        // After a crash it is done again.
        self.sync_at_commit(&connection, false)?;
        let transaction = self.begin(&mut connection)?;
        (self.chore.step)(&transaction)?;
        transaction.commit()?;
        Ok(true)
    }
}

fn lock(connection: &Shared) -> MutexGuard<'_, Connection> {
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}
