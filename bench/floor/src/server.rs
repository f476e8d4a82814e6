//! One thread, one epoll, one entry per socket.

use std::collections::HashMap;
use std::io;
use std::net::TcpListener;
use std::os::fd::{IntoRawFd, RawFd};

use crate::Mode;
use crate::sys::{self, Moved};

const STREAM_HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-store\r\nconnection: close\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";
/// The most bytes of one gathered write.
const WRITE_BYTES: usize = 256 << 10;

/// What is known of one descriptor. A stream costs these 16 bytes and its place in `streams`.
#[derive(Clone, Copy, Default)]
struct Entry {
    /// How much of the log it has been sent.
    cursor: u64,
    /// Where it stands in `streams`, if it is a stream.
    place: u32,
    /// The last write took less than was offered; wait until the socket is writable.
    blocked: bool,
}

struct Server {
    mode: Mode,
    epoll: RawFd,
    listener: RawFd,
    entries: Vec<Entry>,
    streams: Vec<RawFd>,
    /// Connections that speak HTTP, with what they sent of an unfinished request.
    requests: HashMap<RawFd, Vec<u8>>,
    /// `Mode::Write`: what a full socket did not take.
    pending: HashMap<RawFd, Vec<u8>>,
    /// `Mode::Gather`: every frame so far, and where each begins.
    log: Vec<u8>,
    begins: Vec<u64>,
    published: u64,
    /// Some stream may be behind and not blocked.
    behind: bool,
}

/// Listens on loopback and serves until the process is killed.
pub fn serve(mode: Mode, port: u16) -> io::Result<()> {
    sys::raise_file_limit()?;
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    println!("listening on {}", listener.local_addr()?);
    listener.set_nonblocking(true)?;
    let mut server = Server {
        mode,
        epoll: sys::epoll()?,
        listener: listener.into_raw_fd(),
        entries: Vec::new(),
        streams: Vec::new(),
        requests: HashMap::new(),
        pending: HashMap::new(),
        log: Vec::new(),
        begins: Vec::new(),
        published: 0,
        behind: false,
    };
    sys::widen_backlog(server.listener)?;
    sys::watch(server.epoll, server.listener, sys::LEVEL)?;
    let mut events = vec![libc::epoll_event { events: 0, u64: 0 }; 1024];
    let mut buffer = vec![0; 256 << 10];
    loop {
        let ready = sys::wait(server.epoll, &mut events, if server.behind { 0 } else { -1 })?;
        for event in &events[..ready] {
            let fd = event.u64 as RawFd;
            if fd == server.listener {
                server.accept(&mut buffer);
            } else if server.requests.contains_key(&fd) {
                server.hear(fd, &mut buffer);
            } else {
                server.stir(fd, event.events);
            }
        }
        if server.behind {
            server.sweep();
        }
    }
}

impl Server {
    fn accept(&mut self, buffer: &mut [u8]) {
        while let Some(fd) = sys::accept(self.listener) {
            if sys::watch(self.epoll, fd, sys::EDGE).is_err() {
                sys::close(fd);
                continue;
            }
            let index = fd as usize;
            if self.entries.len() <= index {
                self.entries.resize(index + 1, Entry::default());
            }
            self.entries[index] = Entry::default();
            self.requests.insert(fd, Vec::new());
            self.hear(fd, buffer);
        }
    }

    /// Reads what a connection that speaks HTTP has to say, and obeys each finished request.
    fn hear(&mut self, fd: RawFd, buffer: &mut [u8]) {
        loop {
            match sys::read(fd, buffer) {
                Moved::Bytes(count) => {
                    let Some(mut input) = self.requests.remove(&fd) else { return };
                    input.extend_from_slice(&buffer[..count]);
                    let mut from = 0;
                    while let Some(request) = Request::parse(&input[from..]) {
                        if request.is_get {
                            self.open(fd, request.last_event);
                            return;
                        }
                        self.publish(&input[from + request.head..from + request.whole]);
                        // A publisher that doesn't read its answers loses them; the load generator reads.
                        sys::write(fd, ANSWER);
                        from += request.whole;
                    }
                    input.drain(..from);
                    self.requests.insert(fd, input);
                }
                Moved::Blocked => return,
                Moved::Over => {
                    self.requests.remove(&fd);
                    sys::close(fd);
                    return;
                }
            }
        }
    }

    fn open(&mut self, fd: RawFd, last_event: Option<u64>) {
        self.entries[fd as usize] = Entry {
            cursor: match last_event {
                Some(last) if last < self.begins.len() as u64 => self.begins[last as usize],
                _ => self.log.len() as u64,
            },
            place: self.streams.len() as u32,
            blocked: false,
        };
        self.streams.push(fd);
        if !matches!(sys::write(fd, STREAM_HEAD), Moved::Bytes(_)) {
            self.close(fd);
            return;
        }
        if self.mode == Mode::Gather {
            self.catch_up(fd);
        }
    }

    /// A stream became writable, or its client left.
    fn stir(&mut self, fd: RawFd, what: u32) {
        if what & (libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) as u32 != 0 {
            self.close(fd);
        } else if self.entries[fd as usize].blocked && what & libc::EPOLLOUT as u32 != 0 {
            self.entries[fd as usize].blocked = false;
            match self.mode {
                Mode::Gather => self.catch_up(fd),
                Mode::Write => {
                    if let Some(bytes) = self.pending.remove(&fd) {
                        self.push(fd, &bytes);
                    }
                }
            }
        }
    }

    fn publish(&mut self, body: &[u8]) {
        for data in body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            self.published += 1;
            let mut frame = Vec::with_capacity(data.len() + 64);
            frame.extend_from_slice(b"event: bench\ndata: ");
            frame.extend_from_slice(data);
            frame.extend_from_slice(format!("\nid: 9f3c2a1b-{}\n\n", self.published).as_bytes());
            match self.mode {
                Mode::Write => {
                    // Backwards, as closing one moves the last into its place.
                    for place in (0..self.streams.len()).rev() {
                        self.push(self.streams[place], &frame);
                    }
                }
                Mode::Gather => {
                    self.begins.push(self.log.len() as u64);
                    self.log.extend_from_slice(&frame);
                    self.behind = true;
                }
            }
        }
    }

    /// `Mode::Write`: sends `bytes` now, or what the socket does not take when it is writable again.
    fn push(&mut self, fd: RawFd, bytes: &[u8]) {
        if self.entries[fd as usize].blocked {
            self.pending.entry(fd).or_default().extend_from_slice(bytes);
            return;
        }
        let written = match sys::write(fd, bytes) {
            Moved::Bytes(written) => written,
            Moved::Blocked => 0,
            Moved::Over => return self.close(fd),
        };
        if written < bytes.len() {
            self.entries[fd as usize].blocked = true;
            self.pending.insert(fd, bytes[written..].to_vec());
        }
    }

    /// `Mode::Gather`: each stream once around; what was published meanwhile waits for the next round.
    fn sweep(&mut self) {
        self.behind = false;
        for place in (0..self.streams.len()).rev() {
            self.catch_up(self.streams[place]);
        }
    }

    fn catch_up(&mut self, fd: RawFd) {
        let entry = &mut self.entries[fd as usize];
        let from = entry.cursor as usize;
        if entry.blocked || from == self.log.len() {
            return;
        }
        let bytes = &self.log[from..self.log.len().min(from + WRITE_BYTES)];
        match sys::write(fd, bytes) {
            Moved::Bytes(written) => {
                entry.cursor += written as u64;
                entry.blocked = written < bytes.len();
                self.behind |= !entry.blocked && (entry.cursor as usize) < self.log.len();
            }
            Moved::Blocked => entry.blocked = true,
            Moved::Over => self.close(fd),
        }
    }

    fn close(&mut self, fd: RawFd) {
        let place = self.entries[fd as usize].place as usize;
        if self.streams.get(place) != Some(&fd) {
            return; // Closed already, by another event of the same turn.
        }
        self.streams.swap_remove(place);
        if let Some(moved) = self.streams.get(place) {
            self.entries[*moved as usize].place = place as u32;
        }
        self.pending.remove(&fd);
        sys::close(fd);
    }
}

/// Where one request stands in the bytes received.
struct Request {
    is_get: bool,
    /// The bytes of its head.
    head: usize,
    /// The bytes of its head and body.
    whole: usize,
    /// The offset in `Last-Event-ID`.
    last_event: Option<u64>,
}

impl Request {
    fn parse(input: &[u8]) -> Option<Request> {
        let head = input.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let (mut length, mut last_event) = (0, None);
        for line in input[..head].split(|byte| *byte == b'\n') {
            let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
            let value = String::from_utf8_lossy(&line[colon + 1..]);
            if line[..colon].eq_ignore_ascii_case(b"content-length") {
                length = value.trim().parse().unwrap_or(0);
            } else if line[..colon].eq_ignore_ascii_case(b"last-event-id") {
                last_event = value.trim().rsplit('-').next().and_then(|offset| offset.parse().ok());
            }
        }
        let whole = head + length;
        (input.len() >= whole).then_some(Request { is_get: input.starts_with(b"GET "), head, whole, last_event })
    }
}
