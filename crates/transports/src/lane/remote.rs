//! The end of a connection that is not a socket of the lane: long-polling, TLS, a server that is not ours.

use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;

use super::wheel::Timer;
use super::{Message, Shared};
use crate::limiter::Permit;
use crate::websocket::frame;

/// How many bytes may wait for a reader. One write is taken whole, so it can be more by the largest write.
const ROOM: usize = 64 << 10;

/// How long the bytes of a client that has had our last words are read and thrown away, and how many at most.
const LINGER: Duration = Duration::from_secs(2);
const MAX_LINGER: u64 = 16 << 20;

/// What a lane writes to instead of a socket. Whoever holds the real connection takes the bytes out, and hands in what came.
#[derive(Debug)]
pub struct Remote {
    shared: Arc<Shared>,
    state: Mutex<State>,
    /// There is something to take out, or it is over.
    ready: Notify,
    /// What was handed in was heard.
    heard: Notify,
    /// For a namespace that shares a connection: that connection, and the list of those that have something to say.
    within: Option<Within>,
    /// Whether its client polls.
    polled: AtomicBool,
    /// Whether it is known who its client is.
    known: AtomicBool,
}

#[derive(Debug)]
struct Within {
    slot: u32,
    speaking: Arc<Mutex<Vec<u32>>>,
}

#[derive(Default)]
struct State {
    out: Vec<u8>,
    /// Whether the lane had something to say for which there was no room.
    is_blocked: bool,
    is_closed: bool,
    /// Whether whoever takes out is to come back empty-handed: the connection is about to move to a socket.
    is_moving: bool,
    /// Whether somebody is about to move it.
    is_claimed: bool,
    /// Whether it has moved: what is said from then on is for nobody who polls.
    has_left: bool,
    when_closed: Option<Box<dyn FnOnce(bool) + Send>>,
    timer: Option<Timer>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("out", &self.out.len())
            .field("is_closed", &self.is_closed)
            .finish_non_exhaustive()
    }
}

/// What the holder of the real connection tells the lane.
pub(super) enum Note {
    /// Bytes of WebSocket frames.
    Bytes(Vec<u8>),
    /// Messages that came whole.
    Packets(Vec<String>),
    /// There is room again.
    Room,
    /// It is over.
    Gone,
    /// From now on it is this socket; these bytes came on it already.
    Moved(TcpStream, Vec<u8>, Option<Permit>),
    /// Whoever holds it broke the protocol.
    Broken,
}

impl Remote {
    /// One whose client polls, or whose bytes are carried.
    pub(super) fn new(shared: Arc<Shared>, polled: bool) -> Arc<Self> {
        Arc::new(Remote {
            shared,
            state: Mutex::default(),
            ready: Notify::new(),
            heard: Notify::new(),
            within: None,
            polled: AtomicBool::new(polled),
            known: AtomicBool::new(false),
        })
    }

    /// One within the connection at `slot`; it puts its own slot on the list when it has something to say.
    pub(super) fn within(shared: Arc<Shared>, slot: u32, speaking: Arc<Mutex<Vec<u32>>>) -> Arc<Self> {
        Arc::new(Remote {
            shared,
            state: Mutex::default(),
            ready: Notify::new(),
            heard: Notify::new(),
            within: Some(Within { slot, speaking }),
            polled: AtomicBool::new(false),
            known: AtomicBool::new(false),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    // --- The lane's side ---

    pub(super) fn place(&self, timer: Timer) {
        self.state().timer = Some(timer);
    }

    pub(super) fn timer(&self) -> Option<Timer> {
        self.state().timer
    }

    /// The connection that it is within.
    pub(super) fn parent(&self) -> Option<u32> {
        self.within.as_ref().map(|within| within.slot)
    }

    /// Whether its client polls.
    pub(super) fn is_polled(&self) -> bool {
        self.polled.load(Ordering::Relaxed)
    }

    /// Takes all of `parts`, or nothing.
    pub(super) fn write(&self, parts: &[&[u8]]) -> io::Result<usize> {
        let mut state = self.state();
        if state.is_closed {
            return Err(ErrorKind::BrokenPipe.into());
        }
        if state.out.len() >= ROOM {
            state.is_blocked = true;
            return Err(ErrorKind::WouldBlock.into());
        }
        let total = parts.iter().map(|part| part.len()).sum();
        // One that is on the list already is not put there again.
        let was_empty = state.out.is_empty();
        for part in parts {
            state.out.extend_from_slice(part);
        }
        if let (Some(within), Some(timer), true) = (&self.within, state.timer, was_empty) {
            within.speaking.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(timer.slot);
        }
        drop(state);
        self.ready.notify_one();
        Ok(total)
    }

    /// Says something before all that waits. Only whole frames wait, so it stands between two.
    pub(super) fn say_first(&self, frame: &[u8]) {
        self.state().out.splice(..0, frame.iter().copied());
        self.ready.notify_one();
    }

    /// It is known who its client is.
    pub(super) fn set_known(&self) {
        self.known.store(true, Ordering::Relaxed);
    }

    /// Whether it is known who its client is.
    pub(crate) fn is_known(&self) -> bool {
        self.known.load(Ordering::Relaxed)
    }

    /// What is there, and whether the lane waits for room.
    pub(super) fn drain(&self) -> (Vec<u8>, bool) {
        let mut state = self.state();
        (std::mem::take(&mut state.out), std::mem::take(&mut state.is_blocked))
    }

    pub(super) fn close(&self) {
        let mut state = self.state();
        state.is_closed = true;
        let (then, is_owing) = (state.when_closed.take(), !state.out.is_empty());
        drop(state);
        if let Some(then) = then {
            then(is_owing);
        }
        self.ready.notify_one();
        self.heard.notify_one();
    }

    pub(super) fn was_heard(&self) {
        self.heard.notify_one();
    }

    // --- The side of the real connection ---

    /// The lane that it belongs to.
    pub(super) fn lane(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    fn tell(self: &Arc<Self>, note: Note) {
        self.shared.send(Message::Note(self.clone(), note));
    }

    /// Whether the lane is done with it.
    pub fn is_closed(&self) -> bool {
        self.state().is_closed
    }

    /// Whether the lane is done with it, and all it said was taken.
    pub(crate) fn is_over(&self) -> bool {
        let state = self.state();
        state.is_closed && state.out.is_empty()
    }

    /// The frames to pass on, as soon as there are any; `None` once it is over and all were taken, empty when the connection
    /// is about to move. Dropping the future loses nothing.
    pub async fn take(self: &Arc<Self>) -> Option<Vec<u8>> {
        self.take_by(std::mem::take, false).await
    }

    /// The same for one who polls, with at most so many frames; the others stay. It is also over when the connection has moved. The
    /// frame that ends the connection comes alone: a stock client that polls takes the end of its transport before what was told in the same
    /// answer.
    pub(crate) async fn take_some(self: &Arc<Self>, most: usize) -> Option<Vec<u8>> {
        self.take_by(|out| first_frames(out, most), true).await
    }

    async fn take_by(self: &Arc<Self>, take: impl Fn(&mut Vec<u8>) -> Vec<u8>, polls: bool) -> Option<Vec<u8>> {
        loop {
            {
                let mut state = self.state();
                if polls && state.has_left {
                    return None;
                }
                if !state.out.is_empty() {
                    let out = take(&mut state.out);
                    // Also while there is no room yet: that somebody fetches is what it has to know.
                    let is_blocked = std::mem::take(&mut state.is_blocked);
                    drop(state);
                    if is_blocked {
                        self.tell(Note::Room);
                    }
                    return Some(out);
                }
                if state.is_closed {
                    return None;
                }
                if polls && state.is_moving {
                    return Some(Vec::new());
                }
            }
            self.ready.notified().await;
        }
    }

    /// Waits until a connection that is about to move has moved or stays, for `patience` at most.
    pub(crate) async fn settled(&self, patience: Duration) {
        let is_moving = || {
            let state = self.state();
            state.is_moving && !state.has_left && !state.is_closed
        };
        let moved = async {
            while is_moving() {
                self.ready.notified().await;
            }
        };
        // However it ends, what is there then decides.
        let _ = tokio::time::timeout(patience, moved).await;
    }

    /// Hands in messages that came whole.
    pub fn post(self: &Arc<Self>, packets: Vec<String>) {
        self.tell(Note::Packets(packets));
    }

    /// The real connection is no more.
    pub fn hang_up(self: &Arc<Self>) {
        self.tell(Note::Gone);
    }

    /// Whether the connection is about to move: whoever waits for frames returns without.
    pub fn set_moving(&self, moving: bool) {
        self.state().is_moving = moving;
        self.ready.notify_one();
    }

    /// From now on the lane writes to `socket`, first what nobody has taken out yet. `unread` came on it already.
    pub(crate) fn move_to(self: &Arc<Self>, socket: TcpStream, unread: Vec<u8>, permit: Option<Permit>) {
        self.tell(Note::Moved(socket, unread, permit));
    }

    /// Claims the right to move the connection; `None` if somebody has it.
    pub(crate) fn claim(self: &Arc<Self>) -> Option<Claim> {
        let was_claimed = std::mem::replace(&mut self.state().is_claimed, true);
        (!was_claimed).then(|| Claim { remote: self.clone(), is_used: false })
    }

    /// The client broke the protocol: the connection ends.
    pub fn break_off(self: &Arc<Self>) {
        self.tell(Note::Broken);
    }

    /// Calls `then` when the lane is done with the connection, with whether something is left to be taken.
    pub fn when_closed(&self, then: impl FnOnce(bool) + Send + 'static) {
        let mut state = self.state();
        if !state.is_closed {
            state.when_closed = Some(Box::new(then));
            return;
        }
        let is_owing = !state.out.is_empty();
        drop(state);
        then(is_owing);
    }

    /// The connection goes on elsewhere: whoever wanted to know of its end here is told that it has come.
    pub(crate) fn leave(&self) {
        let mut state = self.state();
        state.has_left = true;
        let then = state.when_closed.take();
        drop(state);
        if let Some(then) = then {
            then(false);
        }
        self.ready.notify_one();
    }

    /// Carries bytes between the lane and `io` until either ends. `unread` came on it already.
    pub async fn carry(self: Arc<Self>, io: impl AsyncRead + AsyncWrite + Unpin, unread: Vec<u8>, stall: Duration) {
        self.polled.store(false, Ordering::Relaxed);
        let (mut reader, mut writer) = tokio::io::split(io);
        let hear = async {
            let mut buffer = unread;
            loop {
                if !buffer.is_empty() {
                    self.tell(Note::Bytes(std::mem::take(&mut buffer)));
                    // One piece at a time: a client that is not heard is not read.
                    self.heard.notified().await;
                }
                if self.is_closed() {
                    return;
                }
                buffer.reserve(4096);
                match reader.read_buf(&mut buffer).await {
                    Ok(0) | Err(_) => return self.hang_up(),
                    Ok(_) => {}
                }
            }
        };
        let say = async {
            while let Some(bytes) = self.take().await {
                let written = async {
                    writer.write_all(&bytes).await?;
                    writer.flush().await
                };
                // One that takes nothing is let go, as on a socket of the lane.
                if !matches!(tokio::time::timeout(stall, written).await, Ok(Ok(()))) {
                    self.hang_up();
                    return;
                }
            }
            // Best effort: the last words are written.
            let _ = tokio::time::timeout(stall, writer.shutdown()).await;
        };
        {
            tokio::pin!(hear, say);
            let mut heard = false;
            loop {
                tokio::select! {
                    () = &mut say => break,
                    // The lane closes in turn, and what it says last is carried still.
                    () = &mut hear, if !heard => heard = true,
                }
            }
        }
        // Closing over bytes that were not read would reset the connection, and take our last words with it.
        let (mut unwanted, mut nowhere) = (reader.take(MAX_LINGER), tokio::io::sink());
        let _ = tokio::time::timeout(LINGER, tokio::io::copy(&mut unwanted, &mut nowhere)).await;
    }
}

/// Takes the first `most` frames out, a closing one alone.
fn first_frames(out: &mut Vec<u8>, most: usize) -> Vec<u8> {
    let mut end = 0;
    let mut count = 0;
    while count < most
        && let Some((opcode, _, taken)) = frame::split(&out[end..])
    {
        if opcode == CLOSE && end > 0 {
            break;
        }
        end += taken;
        count += 1;
    }
    // Only whole frames are written; should one ever not be, nothing is held back for ever.
    let rest = if end == 0 { Vec::new() } else { out.split_off(end) };
    std::mem::replace(out, rest)
}

/// The opcode of a closing frame (RFC 6455 §5.5.1).
const CLOSE: u8 = 8;

/// The right to move a connection to a socket. Given back when it is dropped unused.
#[derive(Debug)]
pub struct Claim {
    remote: Arc<Remote>,
    is_used: bool,
}

impl Claim {
    /// The connection.
    pub(crate) fn remote(&self) -> &Arc<Remote> {
        &self.remote
    }

    /// The connection has moved: nobody else may.
    pub(crate) fn used(mut self) -> Arc<Remote> {
        self.is_used = true;
        self.remote.clone()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.is_used {
            self.remote.state().is_claimed = false;
            self.remote.set_moving(false);
        }
    }
}
