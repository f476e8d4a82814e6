//! Socket.IO clients that poll: which there are, and what goes to and fro in HTTP bodies.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use super::engine::{self, Malformed, Version};
use crate::lane::Remote;
use crate::websocket::frame;

/// How long the last words for a client wait to be fetched.
const LAST_WORDS: Duration = Duration::from_secs(30);

/// How long a poll waits that comes while its client moves to a WebSocket. Its word that it has moved may be on the way: then the poll
/// comes too late and is refused. Else it is let go.
const MOVING: Duration = Duration::from_millis(100);

/// The most packets in one answer: a client in Python takes no more, and would come back to the same ones for ever. Of those in
/// JavaScript it is known that they take any number.
const PACKETS_AN_ANSWER: usize = 16;
const JAVASCRIPT: [&str; 2] = ["Mozilla/", "node-XMLHttpRequest"];

/// How many packets a client of this `User-Agent` takes in one answer.
pub(crate) fn packets_an_answer(agent: Option<&str>) -> usize {
    let is_javascript = agent.is_some_and(|agent| JAVASCRIPT.iter().any(|begin| agent.starts_with(begin)));
    if is_javascript { usize::MAX } else { PACKETS_AN_ANSWER }
}

/// The most packets in one body.
const MAX_PACKETS: usize = 1_000;

/// The Socket.IO clients that poll, by their session id.
#[derive(Debug, Default)]
pub struct Pollers(Mutex<HashMap<String, Arc<Poller>>>);

/// A client that polls.
#[derive(Debug)]
pub(crate) struct Poller {
    pub(crate) remote: Arc<Remote>,
    pub(crate) version: Version,
    /// The mount where it came: a session of one app is unknown at the door of another.
    mount: u32,
    /// The most packets in one answer to it.
    packets: usize,
    /// Whether nobody listens to what it emits: then that may be what would not be understood.
    is_unheard: bool,
    polls: AtomicBool,
    posts: AtomicBool,
}

impl Pollers {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Poller>>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Takes a client, and forgets it once its connection has ended, or moved, and its last words were fetched or waited long enough.
    pub(crate) fn insert(
        self: &Arc<Self>,
        sid: &str,
        remote: Arc<Remote>,
        version: Version,
        mount: u32,
        packets: usize,
        is_unheard: bool,
    ) -> Arc<Poller> {
        let (polls, posts) = (AtomicBool::new(false), AtomicBool::new(false));
        let poller = Arc::new(Poller { remote: remote.clone(), version, mount, packets, is_unheard, polls, posts });
        self.lock().insert(sid.to_owned(), poller.clone());
        let (pollers, sid): (Weak<Pollers>, String) = (Arc::downgrade(self), sid.to_owned());
        let runtime = tokio::runtime::Handle::current();
        remote.when_closed(move |is_owing| {
            let Some(pollers) = pollers.upgrade() else { return };
            if !is_owing {
                pollers.forget(&sid);
                return;
            }
            runtime.spawn(async move {
                tokio::time::sleep(LAST_WORDS).await;
                pollers.forget(&sid);
            });
        });
        poller
    }

    /// The client of this session at this mount.
    pub(crate) fn get(&self, sid: &str, mount: u32) -> Option<Arc<Poller>> {
        self.lock().get(sid).filter(|poller| poller.mount == mount).cloned()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Ends the session of a client that broke the protocol. A poll that waits is told; the next request is for no session any more.
    pub(crate) fn break_off(&self, sid: &str) {
        if let Some(poller) = self.lock().remove(sid) {
            poller.remote.break_off();
        }
    }

    pub(crate) fn forget(&self, sid: &str) {
        self.lock().remove(sid);
    }
}

/// A request that is under way, until it is dropped.
pub(crate) struct UnderWay<'a>(&'a AtomicBool);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// A poll that waits. A client that lets go of it has gone.
struct Waiting<'a> {
    poller: &'a Poller,
    is_answered: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.poller.remote.hang_up();
        }
    }
}

impl Poller {
    fn begin(flag: &AtomicBool) -> Option<UnderWay<'_>> {
        (!flag.swap(true, Ordering::SeqCst)).then_some(UnderWay(flag))
    }

    /// Begins a poll; `None` if one is under way.
    pub(crate) fn begin_poll(&self) -> Option<UnderWay<'_>> {
        Self::begin(&self.polls)
    }

    /// Begins a post; `None` if one is under way.
    pub(crate) fn begin_post(&self) -> Option<UnderWay<'_>> {
        Self::begin(&self.posts)
    }

    /// What the client is to be given, as soon as there is something; `None` if the session is over.
    pub(crate) async fn poll(&self) -> Option<String> {
        let mut waiting = Waiting { poller: self, is_answered: false };
        self.remote.settled(MOVING).await;
        let frames = self.remote.take_some(self.packets).await;
        waiting.is_answered = true;
        let frames = frames?;
        if frames.is_empty() {
            // It is about to move: let go, with a packet that says nothing.
            return Some(engine::encode_payload(self.version, ["6"]));
        }
        let mut packets: Vec<&str> = Vec::new();
        let mut rest = &frames[..];
        while let Some((opcode, payload, taken)) = frame::split(rest) {
            match opcode {
                1 => packets.push(std::str::from_utf8(payload).unwrap_or("6")),
                // The end of the connection is a packet here.
                8 => packets.push("1"),
                _ => {}
            }
            rest = &rest[taken..];
        }
        Some(engine::encode_payload(self.version, packets))
    }

    /// Hears what the client has posted.
    pub(crate) fn post(&self, body: &str) -> Result<(), Malformed> {
        let packets = engine::split_payload(self.version, body, MAX_PACKETS)?;
        // Each is looked at before any is heard.
        for packet in &packets {
            match engine::parse(packet) {
                Err(Malformed::Binary) if self.is_unheard => {}
                parsed => drop(parsed?),
            }
        }
        self.remote.post(packets.into_iter().map(str::to_owned).collect());
        Ok(())
    }
}
