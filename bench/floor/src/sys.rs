//! The handful of system calls, with their results made `io::Result`.

use std::io;
use std::os::fd::RawFd;

/// Readable, writable and hung up, each told once per change.
pub const EDGE: u32 = (libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET) as u32;
/// Readable, told as long as it is.
pub const LEVEL: u32 = libc::EPOLLIN as u32;

fn result(returned: libc::c_int) -> io::Result<libc::c_int> {
    if returned < 0 { Err(io::Error::last_os_error()) } else { Ok(returned) }
}

/// Raises the soft limit of open files to the hard one.
pub fn raise_file_limit() -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` outlives both calls, which only read and write it.
    unsafe {
        result(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit))?;
        limit.rlim_cur = limit.rlim_max;
        result(libc::setrlimit(libc::RLIMIT_NOFILE, &limit))?;
    }
    Ok(())
}

/// Makes an epoll instance, which lives as long as the process.
pub fn epoll() -> io::Result<RawFd> {
    // SAFETY: takes no pointer.
    result(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })
}

/// Watches `fd`; its events carry the fd itself.
pub fn watch(epoll: RawFd, fd: RawFd, interest: u32) -> io::Result<()> {
    let mut event = libc::epoll_event { events: interest, u64: fd as u64 };
    // SAFETY: `event` outlives the call.
    result(unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &mut event) }).map(drop)
}

/// Fills `events` with what is ready and says how many there are; -1 ms waits for ever.
pub fn wait(epoll: RawFd, events: &mut [libc::epoll_event], timeout_ms: i32) -> io::Result<usize> {
    // SAFETY: the pointer and the length are those of `events`.
    let ready = unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), events.len() as libc::c_int, timeout_ms) };
    match result(ready) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
        other => other.map(|ready| ready as usize),
    }
}

/// Lets as many connections wait to be accepted as the system allows; `std` asks for 128, and a burst beyond that
/// is told to come back in a second.
pub fn widen_backlog(listener: RawFd) -> io::Result<()> {
    // SAFETY: takes no pointer. Listening again changes the backlog alone.
    result(unsafe { libc::listen(listener, libc::c_int::MAX) }).map(drop)
}

/// Takes the next waiting connection, if there is one.
pub fn accept(listener: RawFd) -> Option<RawFd> {
    // SAFETY: null addresses are allowed and mean that the peer's address isn't wanted.
    let fd = unsafe {
        libc::accept4(listener, std::ptr::null_mut(), std::ptr::null_mut(), libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC)
    };
    if fd < 0 {
        return None;
    }
    let on: libc::c_int = 1;
    // SAFETY: `on` outlives the call and its size is given.
    unsafe {
        libc::setsockopt(
            fd,
            libc::IPPROTO_TCP,
            libc::TCP_NODELAY,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        );
    }
    Some(fd)
}

/// What became of a read or a write.
#[derive(Debug)]
pub enum Moved {
    /// So many bytes.
    Bytes(usize),
    /// None now: try again when told.
    Blocked,
    /// The connection is over.
    Over,
}

fn moved(returned: isize) -> Moved {
    if returned >= 0 {
        return Moved::Bytes(returned as usize);
    }
    match io::Error::last_os_error().kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Moved::Blocked,
        _ => Moved::Over,
    }
}

/// Reads into `buffer`; end of file is [`Moved::Over`].
pub fn read(fd: RawFd, buffer: &mut [u8]) -> Moved {
    // SAFETY: the pointer and the length are those of `buffer`.
    match moved(unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) }) {
        Moved::Bytes(0) => Moved::Over,
        other => other,
    }
}

/// Writes as much of `bytes` as the socket takes. A peer that is gone raises no SIGPIPE: Rust programs ignore it.
pub fn write(fd: RawFd, bytes: &[u8]) -> Moved {
    // SAFETY: the pointer and the length are those of `bytes`.
    moved(unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) })
}

/// Closes `fd`, which must not be used afterwards.
pub fn close(fd: RawFd) {
    // SAFETY: the caller owns `fd` and forgets it.
    unsafe { libc::close(fd) };
}
