//! All streams and publishers of one run, driven by one thread.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use memchr::memmem::Finder;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Protocol, Socket, Type};

use super::Failure;
use super::histogram::Histogram;
use super::payload::{MARK, Payload};
use super::publisher::Publisher;
use super::subscriber::{Progress, Subscriber, Turn};
use super::target::Target;
use super::wire::Heard;

/// Publishers' tokens begin here, above every subscriber's.
const PUBLISHERS: usize = 1 << 24;
/// Wide enough that a stream far behind is read in few calls, small enough to stay in the cache.
const BUFFER_BYTES: usize = 128 << 10;
/// How long nothing may happen before a run gives up.
const PATIENCE: Duration = Duration::from_secs(10);
/// The place of a subscriber that does not know yet where its series begins.
pub const ANYWHERE: u32 = u32::MAX;

/// What arrived.
#[derive(Debug, Default)]
pub struct Tally {
    /// Events that came for the first time.
    pub delivered: u64,
    /// Events that came a second time, or after a later one.
    pub repeated: u64,
    /// Events that did not come before a later one.
    pub skipped: u64,
    /// The bytes of the frames of all events.
    pub frame_bytes: u64,
    /// From publishing to arrival.
    pub latency: Histogram,
    /// From connecting to standing in the log, of subscribers.
    pub opening: Histogram,
    /// From connecting to the last event that was wanted, of subscribers.
    pub catching_up: Histogram,
    /// From request to answer, of publishers.
    pub answers: Histogram,
    /// Requests to publish that were answered.
    pub answered: u64,
    /// How long a subscriber had to wait until it was shown a state that was offered, or a newer one.
    pub shown: Histogram,
}

/// What a subscriber has to tell.
#[derive(Debug)]
pub enum News {
    /// It stands in the log: what is published from now on reaches it.
    Ready,
    /// It has had as many events as it was to have.
    Done,
    /// Its connection was cut, where that is part of the run.
    Cut,
}

/// All connections of one run.
pub struct Fleet<'a> {
    pub target: &'a Target,
    pub tally: Tally,
    pub publishers: Vec<Publisher>,
    pub subscribers: Vec<Subscriber>,
    /// What subscribers had to tell since it was last taken.
    pub news: Vec<(usize, News)>,
    /// Streams are closed as a browser closes them. Otherwise they are torn off, so that thousands of closed ones do
    /// not hold their ports for a minute and make the next run search for free ones.
    pub is_polite: bool,
    /// Subscribers watch a job each, of which newer states replace older ones: how often one is offered.
    pub watches: Option<Duration>,
    /// Subscriber 0 notes the ids of its events here.
    pub ids: Option<Vec<String>>,
    /// Every subscriber notes its newest id here, and goes on with it elsewhere when its connection is cut.
    pub places: Option<Vec<String>>,
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    clock: Instant,
    /// How many series of numbers there are, and the last number published in each.
    published: Vec<u32>,
    /// The last number each subscriber saw in each series.
    seen: Vec<u32>,
    connected: u32,
    marks: Finder<'static>,
}

impl<'a> Fleet<'a> {
    pub fn new(target: &'a Target, series: usize) -> Result<Fleet<'a>, Failure> {
        Ok(Fleet {
            target,
            tally: Tally::default(),
            publishers: Vec::new(),
            subscribers: Vec::new(),
            news: Vec::new(),
            is_polite: false,
            watches: None,
            ids: None,
            places: None,
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            buffer: vec![0; BUFFER_BYTES],
            clock: Instant::now(),
            published: vec![0; series],
            seen: Vec::new(),
            connected: 0,
            marks: Finder::new(MARK),
        })
    }

    /// The next event of a series, stamped with the time.
    pub fn payload(&mut self, series: usize) -> Payload {
        self.published[series] += 1;
        self.stamp(series, self.published[series])
    }

    /// An event of a series with a number of the caller's own counting.
    pub fn stamp(&self, series: usize, number: u32) -> Payload {
        Payload { sent: self.clock.elapsed().as_nanos() as u64, series: series as u32, number }
    }

    pub fn add_publishers(&mut self, count: usize) -> Result<(), Failure> {
        for _ in 0..count {
            let token = Token(PUBLISHERS + self.publishers.len());
            let stream = self.connect(token, self.target.publish_address)?;
            self.publishers.push(Publisher::new(stream));
        }
        Ok(())
    }

    /// Begins to connect one subscriber, which saw `seen` of each series before.
    pub fn subscribe(&mut self, topic: &str, resume: Option<&str>, seen: u32, wanted: u32) -> Result<usize, Failure> {
        let index = self.subscribers.len();
        let (wire, request) = self.target.subscription(topic, resume)?;
        let stream = self.connect(Token(index), self.target.address)?;
        self.subscribers.push(Subscriber::new(stream, wire, request, wanted));
        if let Some(places) = &mut self.places {
            places.push(String::new());
        }
        self.seen.extend(std::iter::repeat_n(seen, self.published.len()));
        self.turn_subscriber(index)?;
        Ok(index)
    }

    /// Connects a subscriber that was cut anew, at `target`, from where it was.
    pub fn go_on(&mut self, index: usize, topic: &str, target: &Target) -> Result<(), Failure> {
        let place = self.places.as_ref().and_then(|places| places.get(index)).filter(|place| !place.is_empty());
        let (wire, request) = target.subscription(topic, place.map(String::as_str))?;
        let stream = self.connect(Token(index), target.address)?;
        self.subscribers[index] = Subscriber::new(stream, wire, request, 0);
        self.turn_subscriber(index)
    }

    /// Opens `count` streams, at most `at_once` of them unfinished at any time, and returns when all stand.
    pub fn open(&mut self, count: usize, at_once: usize, topic: impl Fn(usize) -> String) -> Result<(), Failure> {
        let (mut begun, mut ready) = (0, 0);
        while ready < count {
            while begun < count && begun - ready < at_once {
                self.subscribe(&topic(begun), None, 0, 0)?;
                begun += 1;
            }
            ready += self.news.drain(..).filter(|(_, news)| matches!(news, News::Ready)).count();
            if ready < count && begun - ready >= at_once.min(count - ready) {
                self.wait(|| format!("{ready} of {count} streams stand"))?;
            }
        }
        Ok(())
    }

    /// Leaves all streams.
    pub fn close_subscribers(&mut self) {
        self.subscribers.clear();
        self.seen.clear();
        self.news.clear();
    }

    /// Handles all that is ready, or waits up to `timeout` for something. Says how much there was.
    pub fn turn(&mut self, timeout: Duration) -> Result<usize, Failure> {
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        let events = std::mem::replace(&mut self.events, Events::with_capacity(1));
        let mut count = 0;
        for event in &events {
            count += 1;
            match event.token().0 {
                publisher if publisher >= PUBLISHERS => self.turn_publisher(publisher - PUBLISHERS)?,
                subscriber if subscriber < self.subscribers.len() => self.turn_subscriber(subscriber)?,
                _ => {}
            }
        }
        self.events = events;
        Ok(count)
    }

    /// Waits for anything at all, but not for ever: `state` says in words what was reached.
    pub fn wait(&mut self, state: impl Fn() -> String) -> Result<(), Failure> {
        match self.turn(PATIENCE)? {
            0 => Err(format!("nothing happened for {PATIENCE:?}: {}", state()).into()),
            _ => Ok(()),
        }
    }

    /// Goes on until so many deliveries are tallied, or nothing more comes. Says whether all came.
    pub fn drain(&mut self, deliveries: u64) -> Result<bool, Failure> {
        let (mut last, mut since) = (self.tally.delivered, Instant::now());
        while self.tally.delivered < deliveries {
            self.turn(Duration::from_millis(20))?;
            if self.tally.delivered > last {
                (last, since) = (self.tally.delivered, Instant::now());
            } else if since.elapsed() > PATIENCE {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Waits until every publisher has all its answers.
    pub fn settle_publishers(&mut self) -> Result<(), Failure> {
        while self.publishers.iter().any(|publisher| publisher.in_flight() > 0) {
            self.wait(|| "publishers still wait for answers".to_owned())?;
        }
        Ok(())
    }

    /// Does nothing else for a while, so that what was begun can come to rest.
    pub fn rest(&mut self, period: Duration) -> Result<(), Failure> {
        let end = Instant::now() + period;
        while Instant::now() < end {
            self.turn(Duration::from_millis(20))?;
        }
        Ok(())
    }

    /// How many events never came, where each subscriber should have seen `expected(subscriber, series)` of a series.
    pub fn missing(&self, expected: impl Fn(usize, usize) -> u32) -> u64 {
        let tail: u64 = self
            .seen
            .iter()
            .enumerate()
            .map(|(at, seen)| {
                let (subscriber, series) = (at / self.published.len(), at % self.published.len());
                u64::from(expected(subscriber, series).saturating_sub(*seen))
            })
            .sum();
        (self.tally.skipped + tail).saturating_sub(self.tally.repeated)
    }

    /// The last number published in each series.
    pub fn published(&self) -> &[u32] {
        &self.published
    }

    fn connect(&mut self, token: Token, address: SocketAddr) -> Result<TcpStream, Failure> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        if self.target.sources > 1 && address.is_ipv4() {
            self.connected += 1;
            let last = 1 + (self.connected % u32::from(self.target.sources)) as u8;
            choose_port_on_connect(&socket)?;
            socket.bind(&SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)), 0).into())?;
        }
        socket.set_tcp_nodelay(true)?;
        if !self.is_polite {
            socket.set_linger(Some(Duration::ZERO))?;
        }
        match socket.connect(&address.into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => {
                return Err(format!("cannot connect to {address}: {error}").into());
            }
            _ => {}
        }
        let mut stream = TcpStream::from_std(socket.into());
        self.poll.registry().register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(stream)
    }

    fn turn_publisher(&mut self, index: usize) -> Result<(), Failure> {
        let Fleet { publishers, buffer, tally, .. } = self;
        let mut refusal = None;
        publishers[index].turn(buffer, |answer, bytes| {
            tally.answered += 1;
            tally.answers.record(answer.took.as_nanos() as u64);
            // A streamed body is answered line by line under one 200; a line may still be refused.
            if !(200..300).contains(&answer.status) || memchr::memmem::find(bytes, b"\"error\":").is_some() {
                refusal.get_or_insert_with(|| String::from_utf8_lossy(bytes).replace("\r\n", " | "));
            }
        })?;
        match refusal {
            Some(refusal) => Err(format!("the server refused an event: {refusal}").into()),
            None => Ok(()),
        }
    }

    fn turn_subscriber(&mut self, index: usize) -> Result<(), Failure> {
        let (sign, transport) = (self.target.ready_sign(), self.target.transport);
        let Fleet { subscribers, buffer, tally, seen, published, news, clock, marks, ids, places, watches, .. } = self;
        let watches = *watches;
        let series = published.len();
        let seen = &mut seen[index * series..(index + 1) * series];
        let mut now = None;
        let turn = subscribers[index].turn(buffer, |progress: &mut Progress, heard| {
            if !progress.is_ready && is_sign(heard, sign) {
                progress.is_ready = true;
                tally.opening.record(progress.begun.elapsed().as_nanos() as u64);
                news.push((index, News::Ready));
            }
            let Heard::Frame(frame) = heard else { return };
            if let (Some(places), Some(id)) = (places.as_mut(), transport.id(frame)) {
                places[index].clear();
                places[index].push_str(id);
            }
            if watches.is_some() && frame.starts_with(b"event: job.completed\n") {
                progress.ends += 1;
                return;
            }
            let Some(at) = marks.find(frame) else { return };
            let Some(payload) = Payload::read(&frame[at..]) else { return };
            let Some(seen) = seen.get_mut(payload.series as usize) else { return };
            if payload.number <= *seen && *seen != ANYWHERE {
                tally.repeated += 1;
                return;
            }
            if let Some(every) = watches {
                // What was offered right after the last one that was shown has waited longest.
                let skipped = payload.number.saturating_sub(*seen).saturating_sub(1);
                let now = *now.get_or_insert_with(|| clock.elapsed().as_nanos() as u64);
                let since = payload.sent.saturating_sub(u64::from(skipped) * every.as_nanos() as u64);
                tally.shown.record(now.saturating_sub(since));
            } else if *seen != ANYWHERE {
                tally.skipped += u64::from(payload.number - *seen - 1);
            }
            *seen = payload.number;
            tally.delivered += 1;
            tally.frame_bytes += frame.len() as u64;
            // One look at the clock for all that one turn brought: they arrived together.
            let now = *now.get_or_insert_with(|| clock.elapsed().as_nanos() as u64);
            tally.latency.record(now.saturating_sub(payload.sent));
            progress.received += 1;
            if progress.received == progress.wanted {
                tally.catching_up.record(progress.begun.elapsed().as_nanos() as u64);
                news.push((index, News::Done));
            }
            if let (0, Some(ids)) = (index, ids.as_mut()) {
                ids.extend(transport.id(frame).map(str::to_owned));
            }
        });
        match turn {
            Turn::On => Ok(()),
            Turn::Over(_) if subscribers[index].progress.ends > 0 => Ok(()),
            Turn::Over(_) if places.is_some() => {
                news.push((index, News::Cut));
                Ok(())
            }
            Turn::Over(why) => Err(format!("subscriber {index} ended: {why}").into()),
        }
    }
}

/// Whether this says that a subscriber stands in the log: a frame with the sign, or that the transport was agreed to
/// where there is no sign.
fn is_sign(heard: Heard<'_>, sign: Option<&[u8]>) -> bool {
    match (heard, sign) {
        (Heard::Agreed, None) => true,
        (Heard::Frame(frame), Some(sign)) => memchr::memmem::find(frame, sign).is_some(),
        _ => false,
    }
}

/// Lets `bind` choose the address alone: a port that must be free for every peer is searched for long once thousands are
/// taken, one that must be free for this peer is not.
fn choose_port_on_connect(socket: &Socket) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: `on` outlives the call, and its size is given.
    let failed = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread::JoinHandle;

    use super::super::target::TargetArgs;
    use super::*;

    #[derive(clap::Parser)]
    struct Options {
        #[command(flatten)]
        target: TargetArgs,
    }

    fn frame(number: u32) -> Vec<u8> {
        let mut frame = b"event: bench\ndata: ".to_vec();
        Payload { sent: 0, series: 0, number }.write(&mut frame, 140);
        frame.extend_from_slice(format!("\nid: 9f3c2a1b-{number}\n\n").as_bytes());
        frame
    }

    /// A server that answers its first request with these bytes, piece by piece, and then waits for the client to leave.
    fn serve(pieces: Vec<Vec<u8>>) -> (Target, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("the fleet connects");
            stream.set_nodelay(true).expect("a TCP socket");
            let mut request = [0; 1024];
            assert!(stream.read(&mut request).expect("it asks") > 0);
            for piece in pieces {
                stream.write_all(&piece).expect("it listens");
            }
            let _ = stream.read(&mut request);
        });
        let options = <Options as clap::Parser>::parse_from(["bench", "--target", "floor", "--address", &address]);
        (Target::new(&options.target).expect("a good address"), thread)
    }

    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";

    /// What is tallied when one subscriber is sent `numbers` and five were published: delivered, repeated, missing.
    fn tally(numbers: &[u32]) -> (u64, u64, u64) {
        let pieces = std::iter::once(HEAD.to_vec()).chain(numbers.iter().map(|number| frame(*number)));
        let (target, server) = serve(pieces.collect());
        let mut fleet = Fleet::new(&target, 1).expect("an epoll");
        fleet.subscribe("bench/1", None, 0, 0).expect("a connection");
        while fleet.tally.delivered + fleet.tally.repeated < numbers.len() as u64 {
            fleet.wait(|| "not all frames came".to_owned()).expect("the server writes");
        }
        let tally = (fleet.tally.delivered, fleet.tally.repeated, fleet.missing(|_, _| 5));
        drop(fleet);
        server.join().expect("the server is content");
        tally
    }

    #[test]
    fn each_number_once_and_in_order_is_whole() {
        assert_eq!(tally(&[1, 2, 3, 4, 5]), (5, 0, 0));
    }

    #[test]
    fn what_is_lost_in_the_middle_or_at_the_end_is_missed() {
        assert_eq!(tally(&[1, 2, 5]), (3, 0, 2));
        assert_eq!(tally(&[1, 2, 3]), (3, 0, 2));
    }

    #[test]
    fn what_comes_twice_or_late_is_told() {
        assert_eq!(tally(&[1, 2, 2, 3, 4, 5]), (5, 1, 0));
        assert_eq!(tally(&[1, 3, 2, 4, 5]), (4, 1, 0));
    }

    #[test]
    fn a_frame_may_come_in_any_pieces() {
        let bytes = [HEAD, &frame(1), b": heartbeat\n\n", &frame(2)].concat();
        let (target, server) = serve(bytes.chunks(7).map(<[u8]>::to_vec).collect());
        let mut fleet = Fleet::new(&target, 1).expect("an epoll");
        fleet.subscribe("bench/1", None, 0, 2).expect("a connection");
        while !fleet.news.iter().any(|(_, news)| matches!(news, News::Done)) {
            fleet.wait(|| "not all frames came".to_owned()).expect("the server writes");
        }
        assert_eq!((fleet.tally.delivered, fleet.missing(|_, _| 2)), (2, 0));
        drop(fleet);
        server.join().expect("the server is content");
    }

    #[test]
    fn a_refusal_ends_the_run_with_what_the_server_said() {
        let answer = b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\n\r\n";
        let (target, server) = serve(vec![answer.to_vec()]);
        let mut fleet = Fleet::new(&target, 1).expect("an epoll");
        let error = fleet.open(1, 1, |_| "bench/1".to_owned()).expect_err("no stream stands");
        assert!(error.to_string().contains("429 Too Many Requests"), "{error}");
        drop(fleet);
        server.join().expect("the server is content");
    }
}
