//! Lanes: threads that own many sockets after their handshake.
//!
//! A lane has its own epoll and its own place in the window. When the window grows it matches the new entries once per class
//! of equal subscribers, encodes each frame once, and writes the shared bytes to the members. A socket that takes no more keeps a
//! cursor and its place within a frame, and reads on from the log when it is writable again: there is no queue to fill.

mod bell;
mod care;
mod catch_up;
mod connection;
mod dialect;
mod gather;
mod hear;
mod live;
mod namespaces;
mod remote;
mod requests;
mod socket;
mod socketio;
mod subscribe;
mod thread;
mod wheel;

use std::io;
use std::net::TcpStream;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use tidings::history::LogPage;
use tidings::{BrokerError, CloseReason, Filter, Hub, Principal, Reader, Revocation, Timestamp};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use self::bell::Bell;
pub(crate) use self::connection::Position;
pub(crate) use self::hear::STRANGERS_BYTES;
use self::remote::Note;
pub use self::remote::{Claim, Remote};
use self::requests::Outcome;
use self::wheel::Timer;
use crate::handover::Granted;
use crate::latency::Latency;
use crate::session::Session;
use crate::stream_id::StreamId;

/// The lanes of the process. Dropping it ends their threads and closes their sockets.
pub struct Lanes {
    lanes: Vec<Arc<Shared>>,
    next: AtomicUsize,
    threads: Mutex<Vec<JoinHandle<()>>>,
    counters: Arc<LaneCounters>,
    stall: Duration,
}

/// What the lanes counted together.
#[derive(Debug, Default)]
pub struct LaneCounters {
    /// Events and signals written to sockets, also those of which a socket has taken the beginning.
    pub delivered: AtomicU64,
    /// Bytes written to sockets.
    pub bytes: AtomicU64,
    /// Writes that a socket did not take whole: it fell behind.
    pub blocked: AtomicU64,
    /// Sockets that are behind now.
    pub behind: AtomicU64,
    /// Gaps told to sockets that retention overtook.
    pub gaps: AtomicU64,
    /// Sockets handed over since the start.
    pub opened: AtomicU64,
    /// Messages heard from clients, pings and packets included.
    pub heard: AtomicU64,
    /// Connections broken off because their client broke the rules, by the place of the close code in [`BREAKS`].
    pub broken: [AtomicU64; BREAKS.len()],
    /// From the time of the newest event of each round to the sockets.
    pub latency: Latency,
    /// Ended streams, by the place of the reason in [`CloseReason::ALL`].
    pub closed: [AtomicU64; CloseReason::ALL.len()],
}

/// The close codes with which a connection is broken off (RFC 6455 §7.4.1): a protocol error, data of the wrong kind, data that is not
/// what it should be, more than the limits allow, too large.
pub const BREAKS: [u16; 5] = [1002, 1003, 1007, 1008, 1009];

impl LaneCounters {
    /// Notes how long the oldest event of what is handed to sockets now has taken: once a round, answer or piece.
    pub(crate) fn record_latency(&self, hub: &Hub, oldest: Timestamp) {
        let clock = hub.clock();
        let took = u64::try_from(clock.now().since(oldest).as_millis()).unwrap_or(u64::MAX);
        self.latency.record(took, clock.ticks());
    }

    /// How many streams are open.
    pub fn open(&self) -> u64 {
        let closed: u64 = self.closed.iter().map(|count| count.load(Ordering::SeqCst)).sum();
        self.opened.load(Ordering::SeqCst).saturating_sub(closed)
    }

    /// Counts an ended stream.
    pub fn count_close(&self, reason: CloseReason) {
        if let Some(index) = CloseReason::ALL.iter().position(|other| *other == reason) {
            self.closed[index].fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A socket whose request is answered up to here: the lane writes the head, and all that follows.
#[derive(Debug)]
pub struct Opening {
    /// The socket, non-blocking.
    pub socket: TcpStream,
    /// The response head, not yet written.
    pub head: Bytes,
    /// The stream. Its permit counts the socket as well.
    pub granted: Granted,
}

/// A connection that goes both ways, to be held by a lane from here on.
#[derive(Debug)]
pub struct Conversation {
    /// Where its bytes go.
    pub end: End,
    /// The response head, not yet written.
    pub head: Bytes,
    /// What the client has sent already.
    pub unread: Vec<u8>,
    /// Who is there, and the stream.
    pub granted: Granted,
    /// How it speaks.
    pub session: Box<Session>,
    /// Whether its client polls.
    pub polls: bool,
}

/// Where the bytes of a connection go.
#[derive(Debug)]
pub enum End {
    /// To a socket, non-blocking.
    Socket(TcpStream),
    /// To whoever holds the real connection.
    Remote(Arc<Remote>),
}

/// One open stream, for people who look.
#[derive(Clone, Debug)]
pub struct OpenStream {
    /// Its name.
    pub id: StreamId,
    /// When it was opened, to a tenth of a second.
    pub opened: Timestamp,
    /// Who reads.
    pub principal: Arc<Principal>,
    /// The profile it belongs to.
    pub profile: String,
    /// What carries it: `sse`, `poll`, `websocket`, `socketio`, `socketio-polling`; `program` for one of a program that embeds the hub.
    pub transport: &'static str,
    /// What was asked for.
    pub filter: Filter,
    /// How many events of the log lie between its place and the end, where that is known.
    pub lag: Option<u64>,
}

enum Message {
    Open(Box<Entering>),
    Page { timer: Timer, serial: u32, page: Result<Arc<LogPage>, BrokerError> },
    Note(Arc<Remote>, Note),
    Done(Timer, Box<Outcome>),
    Close(Revocation, CloseReason),
    Drain,
    List(oneshot::Sender<Vec<OpenStream>>),
    Settle(oneshot::Sender<()>),
    Disconnect(Timer, CloseReason, oneshot::Sender<bool>),
    Stop,
}

/// A stream or a conversation on its way into a lane.
struct Entering {
    end: End,
    head: Bytes,
    unread: Vec<u8>,
    granted: Granted,
    session: Option<Box<Session>>,
    polls: bool,
}

/// The side of a lane that others see.
struct Shared {
    inbox: Mutex<Vec<Message>>,
    waker: mio::Waker,
    bell: Bell,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    fn send(&self, message: Message) {
        self.inbox.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(message);
        self.wake();
    }

    fn wake(&self) {
        self.bell.ring(|| {
            if let Err(error) = self.waker.wake() {
                tracing::error!(%error, "a lane could not be woken");
            }
        });
    }
}

impl Lanes {
    /// Starts `count` lanes on the hub. `runtime` runs their reads of the log.
    pub fn start(hub: &Arc<Hub>, count: usize, runtime: &Handle) -> io::Result<Arc<Lanes>> {
        let counters = Arc::new(LaneCounters::default());
        let (mut lanes, mut threads) = (Vec::new(), Vec::new());
        for number in 0..count.max(1) {
            let poll = mio::Poll::new()?;
            let waker = mio::Waker::new(poll.registry(), thread::WAKER)?;
            let shared = Arc::new(Shared { inbox: Mutex::default(), waker, bell: Bell::default() });
            let seat = (number as u32, poll, shared.clone());
            let lane = thread::Lane::new(hub.clone(), seat, counters.clone(), runtime.clone());
            threads.push(std::thread::Builder::new().name(format!("lane-{number}")).spawn(move || {
                if std::panic::catch_unwind(AssertUnwindSafe(|| lane.run())).is_err() {
                    // Its sockets would stay open and silent for ever. Whoever supervises the program starts it anew, and
                    // the clients resume: nothing is lost by an end, everything by silence.
                    tracing::error!("a lane ended in a panic; the program ends with it");
                    std::process::abort();
                }
            })?);
            lanes.push(shared);
        }
        let (next, threads, stall) = (AtomicUsize::new(0), Mutex::new(threads), hub.limits().write_stall);
        let lanes = Arc::new(Lanes { lanes, next, threads, counters, stall });
        hub.attach(Arc::new(LaneReader(Arc::downgrade(&lanes))));
        Ok(lanes)
    }

    /// Hands a socket over. From here on it belongs to a lane.
    pub fn open(&self, opening: Opening) {
        let Opening { socket, head, granted } = opening;
        self.counters.opened.fetch_add(1, Ordering::Relaxed);
        let (end, unread) = (End::Socket(socket), Vec::new());
        let entering = Entering { end, head, unread, granted, session: None, polls: false };
        self.next().send(Message::Open(Box::new(entering)));
    }

    /// Hands a connection over that goes both ways.
    pub fn converse(&self, conversation: Conversation) {
        let Conversation { end, head, unread, granted, session, polls } = conversation;
        self.counters.opened.fetch_add(1, Ordering::Relaxed);
        let lane = match &end {
            End::Socket(_) => self.next().clone(),
            End::Remote(remote) => remote.lane(),
        };
        let entering = Entering { end, head, unread, granted, session: Some(session), polls };
        lane.send(Message::Open(Box::new(entering)));
    }

    /// An end for a connection whose socket no lane can hold.
    pub fn remote(&self, polled: bool) -> Arc<Remote> {
        Remote::new(self.next().clone(), polled)
    }

    fn next(&self) -> &Arc<Shared> {
        &self.lanes[self.next.fetch_add(1, Ordering::Relaxed) % self.lanes.len()]
    }

    /// How long a connection may take nothing.
    pub(crate) fn stall(&self) -> Duration {
        self.stall
    }

    /// What was counted.
    pub fn counters(&self) -> &Arc<LaneCounters> {
        &self.counters
    }

    /// Returns when the lanes have done what they were told before: who was revoked hears no event that is announced from then on.
    pub async fn settle(&self) {
        for lane in &self.lanes {
            let (sender, receiver) = oneshot::channel();
            lane.send(Message::Settle(sender));
            // One that is no more delivers nothing either.
            let _ = receiver.await;
        }
    }

    /// The open streams. Asks each lane, which answers between two rounds.
    pub async fn list(&self) -> Vec<OpenStream> {
        let mut streams = Vec::new();
        for lane in &self.lanes {
            let (sender, receiver) = oneshot::channel();
            lane.send(Message::List(sender));
            streams.extend(receiver.await.unwrap_or_default());
        }
        streams
    }

    /// Ends the connection of this generation in a slot of a lane; false if it has ended.
    pub(crate) async fn disconnect(&self, lane: u32, slot: u32, generation: u32, reason: CloseReason) -> bool {
        let Some(lane) = self.lanes.get(lane as usize) else { return false };
        let (sender, receiver) = oneshot::channel();
        lane.send(Message::Disconnect(Timer { slot, generation }, reason, sender));
        receiver.await.unwrap_or(false)
    }

    fn each(&self, tell: impl Fn(&Shared)) {
        self.lanes.iter().for_each(|lane| tell(lane));
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        self.each(|lane| lane.send(Message::Stop));
        for thread in self.threads.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).drain(..) {
            // A lane that panicked has ended the program.
            let _ = thread.join();
        }
    }
}

/// The hub holds its readers, and the lanes hold the hub: a weak reference breaks the ring.
struct LaneReader(std::sync::Weak<Lanes>);

impl LaneReader {
    fn each(&self, tell: impl Fn(&Shared)) {
        if let Some(lanes) = self.0.upgrade() {
            lanes.each(tell);
        }
    }
}

impl Reader for LaneReader {
    fn grown(&self) {
        self.each(Shared::wake);
    }

    fn close(&self, revocation: &Revocation, reason: CloseReason) {
        self.each(|lane| lane.send(Message::Close(revocation.clone(), reason)));
    }

    fn drain(&self) {
        self.each(|lane| lane.send(Message::Drain));
    }
}
