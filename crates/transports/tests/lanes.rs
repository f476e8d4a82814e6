//! Lanes with sockets so small that every write is cut somewhere.

use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tidings::{
    Audience, CloseReason, Cursor, Filter, Grants, Hub, Interest, Limits, ManualClock, NewEvent, Offset, Principal,
    Profile, Timestamp,
};
use tidings_brokers::memory::{MemoryBroker, MemorySettings};
use tidings_brokers::retention::Retention;
use tidings_transports::handover::Granted;
use tidings_transports::lane::Opening;
use tidings_transports::{Lanes, Limiter, Stream, StreamSettings};

/// One lane, and no HTTP before it.
struct Rig {
    hub: Arc<Hub>,
    clock: Arc<ManualClock>,
    lanes: Arc<Lanes>,
    stream: Arc<Stream>,
    limiter: Arc<Limiter>,
}

impl Rig {
    async fn start(limits: Limits, settings: StreamSettings, retention: Retention) -> Rig {
        let clock = Arc::new(ManualClock::at(Timestamp(1_000_000)));
        let broker = Arc::new(MemoryBroker::with_clock(MemorySettings { retention }, clock.clone()));
        let limiter = Limiter::new(&limits);
        let hub = Hub::open(broker, [], clock.clone(), limits).await.unwrap();
        let lanes = Lanes::start(&hub, 1, &tokio::runtime::Handle::current()).unwrap();
        Rig { hub, clock, lanes, stream: Stream::new(settings, Arc::new(Profile::open())), limiter }
    }

    /// Opens a stream on a socket whose send buffer holds about `room` bytes. It is a Unix socket: the kernel gives its
    /// buffers no more than was asked for, and no timers stand between its two ends.
    fn open(&self, principal: Principal, filter: Filter, asked: Option<&str>, room: usize) -> Reader {
        let (ours, theirs) = UnixStream::pair().unwrap();
        socket2::SockRef::from(&ours).set_send_buffer_size(room).unwrap();
        for socket in [&ours, &theirs] {
            socket.set_nonblocking(true).unwrap();
        }
        let since = self.hub.moment();
        let granted = Granted {
            principal: Arc::new(principal),
            filter,
            stream: self.stream.clone(),
            start: self.hub.start(asked),
            ends: Vec::new(),
            since,
            permit: self.limiter.accept("127.0.0.1".parse().unwrap()).unwrap(),
        };
        let socket = TcpStream::from(OwnedFd::from(ours));
        self.lanes.open(Opening { socket, head: bytes::Bytes::new(), granted });
        Reader { socket: theirs, bytes: Vec::new(), ended: false }
    }

    fn behind(&self) -> u64 {
        self.lanes.counters().behind.load(Ordering::Relaxed)
    }

    async fn publish(&self, events: Vec<NewEvent>) -> Vec<Option<Cursor>> {
        self.hub.publish(events).await.unwrap().into_iter().map(|published| published.cursor).collect()
    }

    fn closed(&self, reason: CloseReason) -> u64 {
        let index = CloseReason::ALL.iter().position(|other| *other == reason).unwrap();
        self.lanes.counters().closed[index].load(Ordering::Relaxed)
    }
}

fn principal(grants: &[&str]) -> Principal {
    Principal::new("u", Grants::parse(grants.iter().copied()).unwrap(), "test")
}

fn topics(patterns: &[&str]) -> Filter {
    Filter::topics(patterns.iter().map(|pattern| pattern.parse().unwrap()))
}

fn event(topic: &str, audience: &str, n: u64, padding: usize) -> NewEvent {
    NewEvent {
        name: "n".into(),
        topic: topic.parse().unwrap(),
        data: format!("{n}{}", " ".repeat(padding)).into(),
        scope: Default::default(),
        audience: Audience::new([audience.parse().unwrap()]),
        key: None,
        time: Timestamp(1),
        kept: true,
        dedup: None,
    }
}

fn signal(topic: &str, audience: &str, n: u64, key: Option<&str>) -> NewEvent {
    NewEvent { kept: false, key: key.map(Arc::from), ..event(topic, audience, n, 0) }
}

/// The other end of a stream, which reads as much as it is told to.
struct Reader {
    socket: UnixStream,
    bytes: Vec<u8>,
    ended: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct Block {
    name: String,
    data: String,
    id: Option<Cursor>,
}

impl Reader {
    /// Reads at most `most` bytes of what is there, and returns how many that were.
    fn take(&mut self, most: usize) -> usize {
        let mut chunk = vec![0; most];
        match self.socket.read(&mut chunk) {
            Ok(0) if most > 0 => self.ended = true,
            Ok(read) => {
                self.bytes.extend_from_slice(&chunk[..read]);
                return read;
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
        }
        0
    }

    /// The blocks that have come whole, comments left out.
    fn blocks(&mut self) -> Vec<Block> {
        let mut blocks = Vec::new();
        while let Some(end) = self.bytes.windows(2).position(|window| window == b"\n\n") {
            let text: Vec<u8> = self.bytes.drain(..end + 2).collect();
            let text = std::str::from_utf8(&text[..end]).unwrap();
            let mut block = Block { name: String::new(), data: String::new(), id: None };
            for line in text.lines() {
                match line.split_once(": ").unwrap_or_else(|| panic!("no line of a stream: {line:?} in {text:?}")) {
                    ("event", value) => block.name = value.into(),
                    ("data", value) => block.data = value.trim().into(),
                    ("id", value) => block.id = Some(value.parse().unwrap()),
                    ("retry", _) | ("", _) => {}
                    _ => panic!("no field of a stream: {line:?} in {text:?}"),
                }
            }
            if !block.name.is_empty() {
                blocks.push(block);
            }
        }
        blocks
    }

    /// Reads until a block of this name has come, and returns it with all before it.
    async fn until(&mut self, name: &str) -> Vec<Block> {
        let mut blocks = Vec::new();
        eventually(name, || {
            self.take(1 << 16);
            blocks.extend(self.blocks());
            blocks.iter().any(|block| block.name == name)
        })
        .await;
        blocks
    }
}

/// Waits until `done`; fails after a minute.
async fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < deadline, "it never came to this: {what}");
        tokio::task::yield_now().await;
    }
}

/// A generator of numbers from a seed (xorshift64*).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len() as u64) as usize]
    }
}

/// A client with what it was promised.
struct Checked {
    reader: Reader,
    interest: Interest,
    room: usize,
    last: Cursor,
    /// Everything kept up to here was received, or told as lost.
    at: Offset,
    newest: u64,
    received: u64,
    gaps: usize,
}

impl Checked {
    fn open(rig: &Rig, interest: Interest, room: usize, last: Option<Cursor>) -> Checked {
        let principal = Principal::new("u", interest.grants.clone(), "test");
        let begin = rig.hub.window().head().1;
        let asked = last.map(|cursor| cursor.to_string());
        let reader = rig.open(principal, interest.filter.clone(), asked.as_deref(), room);
        let last = last.unwrap_or(rig.hub.cursor(begin));
        Checked { reader, interest, room, last, at: last.offset, newest: 0, received: 0, gaps: 0 }
    }

    /// The next kept event it is to get.
    fn next<'a>(&self, log: &'a [(Offset, NewEvent)]) -> Option<(Offset, &'a NewEvent)> {
        let from = log.partition_point(|(offset, _)| *offset <= self.at);
        log[from..].iter().find(|(_, event)| self.interest.covers(event)).map(|(offset, event)| (*offset, event))
    }

    fn check(&mut self, log: &[(Offset, NewEvent)], all: &[NewEvent]) {
        for block in self.reader.blocks() {
            let id = block.id.map(|id| id.offset);
            match block.name.as_str() {
                "n" => {
                    let n: u64 = block.data.parse().unwrap();
                    assert!(n > self.newest, "{n} came after {}", self.newest);
                    assert!(self.interest.covers(&all[n as usize]), "{n} is not for it");
                    self.newest = n;
                    self.received += 1;
                    if let Some(id) = id {
                        let (offset, event) = self.next(log).expect("no more events were published");
                        let expected = std::str::from_utf8(&event.data).unwrap().trim().to_owned();
                        assert_eq!((id, block.data), (offset, expected), "the next kept event");
                        self.at = id;
                    }
                }
                "tidings.cursor" => {
                    let told = id.unwrap();
                    if let Some((next, _)) = self.next(log) {
                        assert!(next > told, "it was told {told} before it got {next}");
                    }
                    self.at = self.at.max(told);
                }
                "tidings.gap" => {
                    self.gaps += 1;
                    assert!(id.unwrap() >= self.at, "a gap leads back");
                    self.at = id.unwrap();
                }
                // Where it was trimmed, the gap comes next.
                "tidings.open" => assert!(id >= Some(self.at)),
                other => panic!("unexpected: {other}"),
            }
            self.last = block.id.unwrap_or(self.last);
        }
    }
}

/// Clients that read in bursts, come back, and are slow, on sockets that cut each write, with a window and pages of a few
/// events: what each one gets is what it would have got by itself, once and in order.
async fn stress(seed: u64, retention: Retention) {
    let random = &mut Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let limits = Limits {
        window_events: 1 + random.below(40) as usize,
        page_events: 1 + random.below(8) as usize,
        page_bytes: 1 + random.below(4000) as usize,
        write_bytes: random.below(3000) as usize * usize::from(!seed.is_multiple_of(8)),
        turn_bytes: random.below(6000) as usize,
        write_stall: Duration::from_secs(1 << 30),
        ..Limits::default()
    };
    let settings = StreamSettings { cursor_every: Duration::from_secs(30), ..StreamSettings::default() };
    let keeps_all = retention == Retention::FOREVER;
    let rig = Rig::start(limits, settings, retention).await;
    let filters = [Filter::all(), topics(&["t/1"]), topics(&["t/*"]), topics(&["t/0", "t/2"])];
    let grants = [&["red"][..], &["blue"], &["red", "blue"], &["*"], &["none"]];
    let interest = |random: &mut Random| Interest {
        filter: random.pick(&filters).clone(),
        grants: Grants::parse(random.pick(&grants).iter().copied()).unwrap(),
    };
    // Index 0 stands for nothing, so that each event's number is its index.
    let (mut all, mut log) = (vec![event("x", "nobody", 0, 0)], Vec::new());
    let mut clients: Vec<Checked> = Vec::new();
    for _ in 0..400 {
        match random.below(20) {
            0..8 => {
                let few = random.below(3) > 0;
                let mut batch = Vec::new();
                for _ in 0..1 + random.below(if few { 3 } else { 30 }) {
                    let n = (all.len() + batch.len()) as u64;
                    let (topic, audience) = (format!("t/{}", random.below(4)), *random.pick(&["red", "blue", "none"]));
                    batch.push(match random.below(10) {
                        0..2 => signal(&topic, audience, n, Some(*random.pick(&["a", "b"]))),
                        2 => signal(&topic, audience, n, None),
                        3 => event(&topic, audience, n, random.below(6000) as usize),
                        _ => event(&topic, audience, n, random.below(60) as usize),
                    });
                }
                let cursors = rig.publish(batch.clone()).await;
                let kept =
                    cursors.iter().zip(&batch).filter_map(|(cursor, event)| Some(((*cursor)?.offset, event.clone())));
                log.extend(kept);
                all.extend(batch);
            }
            8..16 if !clients.is_empty() => {
                let index = random.below(clients.len() as u64) as usize;
                clients[index].reader.take(1 + random.below(9000) as usize);
                clients[index].check(&log, &all);
            }
            16 if clients.len() < 8 => {
                let (interest, room) = (interest(random), 1 << random.below(15));
                let last = (!log.is_empty() && random.below(2) == 0).then(|| rig.hub.cursor(random.pick(&log).0));
                clients.push(Checked::open(&rig, interest, room, last));
            }
            17 if !clients.is_empty() => {
                let old = clients.swap_remove(random.below(clients.len() as u64) as usize);
                if random.below(2) == 0 {
                    clients.push(Checked::open(&rig, old.interest.clone(), old.room, Some(old.last)));
                }
            }
            18 => rig.clock.advance(Duration::from_millis(random.below(20_000))),
            // Lets the lane come to its place, so that what follows is live.
            _ => {
                for _ in 0..random.below(200) {
                    tokio::task::yield_now().await;
                }
            }
        }
    }
    for client in &mut clients {
        eventually("everything has come", || {
            client.reader.take(1 << 16);
            client.check(&log, &all);
            assert!(!client.reader.ended, "it ended");
            client.next(&log).is_none()
        })
        .await;
        assert!(client.gaps == 0 || !keeps_all, "nothing was trimmed");
    }
    eventually("all are caught up", || {
        clients.iter_mut().for_each(|client| {
            client.reader.take(1 << 16);
            client.check(&log, &all);
        });
        rig.behind() == 0
    })
    .await;
    eventually("those that left are gone", || rig.lanes.counters().open() == clients.len() as u64).await;
}

/// Publishes until the stream of the reader is behind, and returns how many events that took.
async fn fall_behind(rig: &Rig, topic: &str) -> u64 {
    let behind = rig.behind();
    let mut count = 0;
    while rig.behind() == behind {
        rig.publish(vec![event(topic, "all", count, 4000)]).await;
        count += 1;
        assert!(count < 10_000, "the socket takes everything");
        // It is the only one that could fall behind, once the lane has come there.
        let end = rig.hub.window().head().1;
        eventually("the lane has come there", || {
            rig.behind() > behind || { rig.lanes.counters().delivered.load(Ordering::Relaxed) >= end.0 }
        })
        .await;
    }
    count
}

/// Lets a stream that is caught up beat, so that the lane has seen the time, and looked at all that was due before.
async fn beat(rig: &Rig, witness: &mut Reader) {
    rig.clock.advance(Duration::from_secs(20));
    eventually("a heartbeat", || witness.take(1 << 16) > 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_also_runs_out_on_a_stream_that_is_behind() {
    let rig = Rig::start(Limits::default(), StreamSettings::default(), Retention::FOREVER).await;
    let expires_at = Some(Timestamp(1_000_000 + 22_000));
    let mut slow = rig.open(Principal { expires_at, ..principal(&["all"]) }, topics(&["t"]), None, 1);
    let mut witness = rig.open(principal(&["none"]), Filter::all(), None, 1);
    slow.until("tidings.open").await;
    witness.until("tidings.open").await;
    fall_behind(&rig, "t").await;
    beat(&rig, &mut witness).await;
    assert_eq!(rig.lanes.counters().open(), 2);
    rig.clock.advance(Duration::from_secs(2));
    eventually("it has ended", || rig.lanes.counters().open() == 1).await;
    assert_eq!(rig.closed(CloseReason::Expired), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_takes_little_is_not_taken_for_one_that_takes_nothing() {
    // Once in the window and once behind it, where what to write has to be read first.
    for window_events in [1000, 2] {
        let limits = Limits { window_events, ..Limits::default() };
        let rig = Rig::start(limits, StreamSettings::default(), Retention::FOREVER).await;
        let mut slow = rig.open(principal(&["all"]), topics(&["t"]), None, 200_000);
        let mut witness = rig.open(principal(&["none"]), Filter::all(), None, 1);
        slow.until("tidings.open").await;
        witness.until("tidings.open").await;
        fall_behind(&rig, "t").await;
        for n in 0..20 {
            rig.publish(vec![event("t", "all", n, 4000)]).await;
        }
        // Until the lane has come to the end, the witness may be reading on from the log, and beats later for it.
        rig.publish(vec![event("t", "none", 20, 0)]).await;
        witness.until("n").await;
        // So little that the kernel does not tell of it: its buffer is still more than half full.
        assert!(slow.take(20_000) > 0);
        for _ in 0..4 {
            beat(&rig, &mut witness).await;
        }

        assert_eq!(rig.closed(CloseReason::Stalled), 0);
        assert_eq!(rig.lanes.counters().open(), 2);
        // What it took may have been noticed only at the next beat.
        for _ in 0..20 {
            if rig.lanes.counters().open() == 1 {
                break;
            }
            beat(&rig, &mut witness).await;
        }
        eventually("it is let go", || rig.lanes.counters().open() == 1).await;
        assert_eq!(rig.closed(CloseReason::Stalled), 1, "now it has taken nothing");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_hears_only_signals_is_told_where_it_stands() {
    let rig = Rig::start(Limits::default(), StreamSettings::default(), Retention::FOREVER).await;
    let mut reader = rig.open(principal(&["all"]), topics(&["busy"]), None, 100_000);
    reader.until("tidings.open").await;
    let elsewhere = rig.publish(vec![event("elsewhere", "all", 0, 0)]).await[0];
    let mut cursors = Vec::new();
    // Never silent for as long as a heartbeat takes, for two minutes.
    for n in 1..=12 {
        rig.publish(vec![signal("busy", "all", n, None)]).await;
        cursors.extend(reader.until("n").await.into_iter().filter(|block| block.name == "tidings.cursor"));
        rig.clock.advance(Duration::from_secs(60));
    }
    if cursors.is_empty() {
        cursors = reader.until("tidings.cursor").await;
    }
    let cursors: Vec<_> = cursors.iter().map(|block| block.id).collect();
    assert_eq!(cursors, [elsewhere], "once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_page_is_read_for_a_socket_that_takes_nothing_and_its_loss_is_one_gap() {
    let limits = Limits { window_events: 2, ..Limits::default() };
    let retention = Retention { events: Some(4), ..Retention::FOREVER };
    let rig = Rig::start(limits, StreamSettings::default(), retention).await;
    // More than one of its frames is under way, so that the kernel tells of room while it owes the rest of another.
    let mut slow = rig.open(principal(&["all"]), topics(&["t"]), None, 20_000);
    let mut witness = rig.open(principal(&["none"]), Filter::all(), None, 1);
    slow.until("tidings.open").await;
    witness.until("tidings.open").await;
    rig.publish(vec![event("t", "all", 0, 400_000)]).await;
    eventually("it is behind", || rig.behind() == 1).await;
    let mut last = None;
    for n in 1..20 {
        last = *rig.publish(vec![event("t", "all", n, 0)]).await.last().unwrap();
        slow.take(20_000);
        beat(&rig, &mut witness).await;
    }
    assert_eq!(rig.hub.counters.history_pages.load(Ordering::Relaxed), 0, "it owes what it has begun");
    let mut blocks = Vec::new();
    eventually("it has come to the end", || {
        slow.take(1 << 16);
        blocks.extend(slow.blocks());
        blocks.last().is_some_and(|block| block.id == last)
    })
    .await;
    let names: Vec<_> = blocks.iter().map(|block| block.name.as_str()).collect();
    assert_eq!(names, ["n", "tidings.gap", "n", "n", "n", "n"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_was_cut_counts_as_delivered_once() {
    let limits = Limits { window_events: 20, page_events: 7, ..Limits::default() };
    let rig = Rig::start(limits, StreamSettings::default(), Retention::FOREVER).await;
    let mut slow = rig.open(principal(&["all"]), Filter::all(), None, 1);
    slow.until("tidings.open").await;
    for n in 0..100 {
        rig.publish(vec![event("t", "all", n, 3000)]).await;
    }
    let mut blocks = Vec::new();
    eventually("all have come", || {
        slow.take(2000);
        blocks.extend(slow.blocks());
        blocks.len() == 100
    })
    .await;
    eventually("it is caught up", || rig.behind() == 0).await;
    let delivered = || rig.lanes.counters().delivered.load(Ordering::Relaxed);
    eventually("all are counted", || delivered() >= 100).await;
    assert_eq!(delivered(), 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_cuts_a_stream_each_event_comes_once_and_in_order() {
    for seed in seeds() {
        println!("seed {seed}");
        stress(seed, Retention::FOREVER).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_retention_took_from_a_slow_reader_is_told_and_nothing_else_is_missing() {
    for seed in seeds() {
        println!("seed {seed}");
        stress(seed, Retention { events: Some(1 + seed % 50), ..Retention::FOREVER }).await;
    }
}

/// A few, for each run; more with `STRESS_SEEDS=from..to`.
fn seeds() -> std::ops::Range<u64> {
    let Ok(range) = std::env::var("STRESS_SEEDS") else { return 1..25 };
    let (from, to) = range.split_once("..").unwrap();
    from.parse().unwrap()..to.parse().unwrap()
}
