//! The items of a result page, sent in order and in batches.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use crate::hub::NDJSON;
use crate::lease::Lease;
use crate::{CancelToken, Error};

/// The most bytes of one item (`protocol/README.md` §10.5).
const MOST_ITEM: usize = 16 << 10;

/// The most bytes of one request, and the most items: a batch is one write of the hub, which others wait for.
const MOST_BATCH: usize = 256 << 10;
const MOST_ITEMS: u64 = 1_000;

/// How long the hub has for a batch that is under way when the job should stop.
const GRACE: Duration = Duration::from_millis(500);

/// Where the next item goes.
#[derive(Debug, Default)]
pub(crate) struct Items {
    /// How many there are since an earlier attempt: they are not sent again.
    known: u64,
    next: u64,
    /// A batch that may or may not have arrived: it is sent again before anything else, so that what a call that was
    /// dropped had already sent leaves no hole and nothing double.
    open: Option<Batch>,
}

#[derive(Debug)]
struct Batch {
    from: u64,
    count: u64,
    tell: bool,
    lines: Bytes,
}

impl Items {
    pub fn new(known: u64) -> Self {
        Items { known, ..Items::default() }
    }

    /// The next item follows those of earlier attempts.
    pub fn skip_known(&mut self) -> u64 {
        self.next = self.next.max(self.known);
        self.next
    }

    /// Sends them all; returns how many the result page then has.
    pub async fn send<T: Serialize>(
        &mut self,
        lease: &Lease,
        stop: &CancelToken,
        mut items: impl Iterator<Item = T> + Send,
        tell: bool,
    ) -> Result<u64, Error> {
        loop {
            if let Some(batch) = &self.open {
                batch.send(lease, stop).await?;
                self.next = batch.from + batch.count;
                self.open = None;
            }
            self.open = self.fill(&mut items, tell)?;
            if self.open.is_none() {
                return Ok(self.next);
            }
        }
    }

    /// The next batch, or `None` if there are no more items.
    fn fill<T: Serialize>(&mut self, items: &mut impl Iterator<Item = T>, tell: bool) -> Result<Option<Batch>, Error> {
        let mut lines = Vec::new();
        let mut count = 0;
        while lines.len() < MOST_BATCH && count < MOST_ITEMS {
            let Some(item) = items.next() else { break };
            if self.next < self.known {
                self.next += 1;
                continue;
            }
            let before = lines.len();
            serde_json::to_writer(&mut lines, &item).map_err(Error::Json)?;
            let bytes = lines.len() - before;
            if bytes > MOST_ITEM {
                return Err(Error::ItemTooLarge { index: self.next + count, bytes });
            }
            lines.push(b'\n');
            count += 1;
        }
        Ok((count > 0).then(|| Batch { from: self.next, count, tell, lines: lines.into() }))
    }
}

impl Batch {
    async fn send(&self, lease: &Lease, stop: &CancelToken) -> Result<(), Error> {
        let action = format!("items?from={}&tell={}", self.from, self.tell);
        let mut request = lease.request(&action, self.lines.clone());
        request.content_type = NDJSON;
        lease.insist(&request, stop, GRACE).await.map(drop)
    }
}
