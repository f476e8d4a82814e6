//! Where a connection's bytes go, and one write to it.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::sync::Arc;

use mio::net::TcpStream;

use super::remote::Remote;

/// Where a connection's bytes go.
#[derive(Debug)]
pub(super) enum Socket {
    /// To a socket of the lane.
    Own(TcpStream),
    /// To whoever holds the real connection.
    Remote(Arc<Remote>),
    /// Nowhere: it is closed.
    None,
}

/// What became of a write.
pub(super) enum Wrote {
    All,
    Part(usize),
    Failed,
}

impl Socket {
    pub(super) fn write(&mut self, bytes: &[u8]) -> Wrote {
        match self {
            Socket::Own(socket) => written(bytes.len(), || socket.write(bytes)),
            Socket::Remote(remote) => written(bytes.len(), || remote.write(&[bytes])),
            Socket::None => Wrote::Failed,
        }
    }

    pub(super) fn write_both(&mut self, first: &[u8], second: &[u8]) -> Wrote {
        let total = first.len() + second.len();
        match self {
            Socket::Own(socket) => {
                written(total, || socket.write_vectored(&[IoSlice::new(first), IoSlice::new(second)]))
            }
            Socket::Remote(remote) => written(total, || remote.write(&[first, second])),
            Socket::None => Wrote::Failed,
        }
    }

    /// What came. From whoever holds the real connection it comes as a message.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Own(socket) => socket.read(buffer),
            Socket::Remote(_) | Socket::None => Err(ErrorKind::WouldBlock.into()),
        }
    }
}

fn written(total: usize, mut write: impl FnMut() -> io::Result<usize>) -> Wrote {
    if total == 0 {
        return Wrote::All;
    }
    loop {
        match write() {
            Ok(written) if written == total => return Wrote::All,
            Ok(written) => return Wrote::Part(written),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Wrote::Part(0),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Wrote::Failed,
        }
    }
}
