//! What the log knows of idempotent requests.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};
use tidings::{Broker, BrokerError, Cursor, Epoch, Event, Offset, Query, Timestamp};

/// The most events that are looked at: about a second of reading.
const MOST: u64 = 1_000_000;

/// How many events are read at a time, and how many bytes of data.
const PAGE: (usize, usize) = (4_096, 4 << 20);

/// The events of one request that are in the log.
#[derive(Debug)]
pub struct Request {
    /// Its number.
    pub number: [u8; 16],
    /// When the last of them was accepted.
    pub time: Timestamp,
    of: u32,
    places: BTreeMap<u32, Offset>,
}

impl Request {
    /// Whether all of its events are there.
    pub fn is_whole(&self) -> bool {
        self.places.len() >= self.of as usize
    }

    /// The answer that it had, or would have had. What is no kept event has no cursor.
    pub fn answer(&self, epoch: Epoch) -> String {
        let last = self.places.keys().next_back().map_or(0, |last| last + 1);
        let results: Vec<Value> = (0..last.max(self.of))
            .map(|index| match self.places.get(&index) {
                Some(offset) => json!({ "cursor": Cursor { epoch, offset: *offset }.to_string() }),
                None => json!({}),
            })
            .collect();
        json!({ "results": results }).to_string()
    }
}

/// The requests with events after `after` and up to `until`: all, or the one that is asked for.
pub async fn requests(
    broker: &dyn Broker,
    after: Offset,
    until: Offset,
    only: Option<[u8; 16]>,
) -> Result<Vec<Request>, BrokerError> {
    let mut after = after.max(Offset(until.0.saturating_sub(MOST))).max(broker.head().trimmed);
    let mut found = HashMap::new();
    while after < until {
        let query = Query { topics: None, after, until, limit: PAGE.0, max_bytes: PAGE.1 };
        let page = match broker.read(query).await {
            // Retention was faster; what it took is older than what a retry is about.
            Err(BrokerError::Trimmed { resume, .. }) if resume > after => {
                after = resume;
                continue;
            }
            page => page?,
        };
        page.events.iter().for_each(|event| add(&mut found, event, only));
        if page.reached <= after {
            break;
        }
        after = page.reached;
    }
    Ok(found.into_values().collect())
}

fn add(found: &mut HashMap<[u8; 16], Request>, event: &Event, only: Option<[u8; 16]>) {
    let Some(dedup) = event.dedup.filter(|dedup| only.is_none_or(|only| only == dedup.request)) else { return };
    let request = found.entry(dedup.request).or_insert_with(|| Request {
        number: dedup.request,
        time: event.time,
        of: dedup.of,
        places: BTreeMap::new(),
    });
    request.time = request.time.max(event.time);
    // The first counts: what a retry published anew stands behind it.
    request.places.entry(dedup.index).or_insert(event.offset);
}
