//! One write to one socket.

use std::io::{self, ErrorKind, IoSlice, Write};

use mio::net::TcpStream;

/// What became of a write.
pub(super) enum Wrote {
    All,
    Part(usize),
    Failed,
}

pub(super) fn write(socket: &mut TcpStream, bytes: &[u8]) -> Wrote {
    written(bytes.len(), || socket.write(bytes))
}

pub(super) fn write_both(socket: &mut TcpStream, first: &[u8], second: &[u8]) -> Wrote {
    written(first.len() + second.len(), || socket.write_vectored(&[IoSlice::new(first), IoSlice::new(second)]))
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
