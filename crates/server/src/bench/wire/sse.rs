//! Server-Sent Events.

use memchr::memmem::Finder;

use super::{Heard, head};

/// A stream of blocks, each ended by an empty line.
#[derive(Debug)]
pub struct EventStream {
    in_body: bool,
    /// Finds a block's end.
    ends: Finder<'static>,
}

impl EventStream {
    pub fn new() -> EventStream {
        EventStream { in_body: false, ends: Finder::new(b"\n\n") }
    }

    pub(super) fn hear(&mut self, received: &[u8], take: &mut impl FnMut(Heard<'_>)) -> Result<usize, String> {
        let mut from = 0;
        if !self.in_body {
            let Some(length) = head(received, "200")? else { return Ok(0) };
            self.in_body = true;
            take(Heard::Agreed);
            from = length;
        }
        while let Some(length) = self.ends.find(&received[from..]) {
            take(Heard::Frame(&received[from..from + length + 2]));
            from += length + 2;
        }
        Ok(from)
    }
}
