//! One client that listens, over any transport.

use std::io::{ErrorKind, Read, Write};
use std::time::Instant;

use mio::net::TcpStream;

use super::wire::{Heard, Wire};

/// One client that listens.
#[derive(Debug)]
pub struct Subscriber {
    pub stream: TcpStream,
    pub progress: Progress,
    wire: Wire,
    /// What is not sent yet.
    out: Vec<u8>,
    /// The beginning of a frame (or of the response's head) whose end hasn't come.
    rest: Vec<u8>,
}

/// How far a subscriber has come.
#[derive(Debug)]
pub struct Progress {
    /// When it began to connect.
    pub begun: Instant,
    /// It stands in the log: what is published now reaches it.
    pub is_ready: bool,
    /// How many events it has had.
    pub received: u32,
    /// After how many events there is news of it; 0 for never.
    pub wanted: u32,
    /// How often it was told the end of its job.
    pub ends: u32,
}

/// What became of a connection in one turn.
#[derive(Debug)]
pub enum Turn {
    /// It goes on.
    On,
    /// It is over, with the reason.
    Over(String),
}

impl Subscriber {
    /// One that sends `request` first.
    pub fn new(stream: TcpStream, wire: Wire, request: Vec<u8>, wanted: u32) -> Subscriber {
        let progress = Progress { begun: Instant::now(), is_ready: false, received: 0, wanted, ends: 0 };
        Subscriber { stream, progress, wire, out: request, rest: Vec::new() }
    }

    /// Sends and reads what it can, and hands to `take` what it heard.
    pub fn turn(&mut self, buffer: &mut [u8], mut take: impl FnMut(&mut Progress, Heard<'_>)) -> Turn {
        loop {
            if let Err(why) = self.flush() {
                return Turn::Over(why);
            }
            let kept = self.rest.len();
            if kept > buffer.len() / 2 {
                return Turn::Over(format!("{kept} bytes without the end of a frame"));
            }
            buffer[..kept].copy_from_slice(&self.rest);
            let read = match self.stream.read(&mut buffer[kept..]) {
                Ok(0) => return Turn::Over("the server ended it".to_owned()),
                Ok(read) => read,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                    return Turn::On;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Turn::Over(error.to_string()),
            };
            let filled = kept + read;
            let is_drained = filled < buffer.len();
            let Subscriber { wire, out, progress, .. } = self;
            let from = match wire.hear(&buffer[..filled], out, &mut |heard| take(progress, heard)) {
                Ok(from) => from,
                Err(why) => return Turn::Over(why),
            };
            self.rest.clear();
            if from < filled {
                self.rest.extend_from_slice(&buffer[from..filled]);
            } else if self.rest.capacity() > 0 {
                self.rest = Vec::new();
            }
            // Less than was asked for: the socket is empty, and epoll tells when it no longer is.
            if is_drained {
                return match self.flush() {
                    Ok(()) => Turn::On,
                    Err(why) => Turn::Over(why),
                };
            }
        }
    }

    /// Sends what it can; epoll tells when more can be.
    fn flush(&mut self) -> Result<(), String> {
        if self.out.is_empty() {
            return Ok(());
        }
        match self.stream.write(&self.out) {
            Ok(written) if written == self.out.len() => self.out = Vec::new(),
            Ok(written) => drop(self.out.drain(..written)),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {}
            Err(error) => return Err(error.to_string()),
        }
        Ok(())
    }
}
