//! The items of results.
//!
//! What is appended together is one page: a message that is made once, under the index of its first item. So who appends at an index where
//! somebody else did is refused, and the newest page says how many items there are. A large page has its items in pieces beside it, which are
//! put before: it is there whole, or not at all.
//!
//! A page is found by the sequence of its message, which grows with the index.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_nats::jetstream::message::StreamMessage;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use tidings::Timestamp;
use tidings::job::{JobId, JobStoreError};

use super::key;
use super::record::{self, PIECE};
use super::stream::JobStream;

/// The most bytes of a page that has its items in itself: who asks how many there are reads it.
const PAGE: usize = 32 << 10;

/// The most jobs of whose pages the places are remembered, and the most places of one.
const REMEMBERED: (usize, usize) = (256, 4_096);

/// Some items, as they are kept.
pub(super) struct Page {
    /// The index of the first.
    pub from: u64,
    /// How many there are.
    pub count: u64,
    sequence: u64,
    body: Body,
}

enum Body {
    Here(Bytes),
    Pieces(Vec<Run>),
}

/// Items in one piece.
#[derive(Serialize, Deserialize)]
struct Run {
    count: u64,
    hash: String,
}

/// The bytes of a page that has one item, beside that.
pub(super) const ITEM_HEAD: usize = 1 + 8 + 4;

const HERE: u8 = 1;
const IN_PIECES: u8 = 2;

impl Page {
    /// The index behind its last item.
    pub fn end(&self) -> u64 {
        self.from.saturating_add(self.count)
    }

    fn read(id: &JobId, message: StreamMessage) -> Result<Page, JobStoreError> {
        let damaged = || JobStoreError(format!("the items of job {id} are damaged, in {}", message.subject));
        let from = message.subject.rsplit('.').next().and_then(|from| from.parse().ok()).ok_or_else(damaged)?;
        let mut body = message.payload.clone();
        let kind = body.try_get_u8().map_err(|_| damaged())?;
        let count = body.try_get_u64_le().map_err(|_| damaged())?;
        let body = match kind {
            HERE => Body::Here(body),
            IN_PIECES => Body::Pieces(serde_json::from_slice(&body).map_err(|_| damaged())?),
            _ => return Err(damaged()),
        };
        Ok(Page { from, count, sequence: message.sequence, body })
    }

    /// Its items from an index on, as long as `take` takes them.
    async fn give(
        &self,
        stream: &JobStream,
        id: &JobId,
        from: u64,
        take: &mut (impl FnMut(Bytes) -> bool + Send),
    ) -> Result<bool, JobStoreError> {
        let mut skip = from.saturating_sub(self.from);
        let runs = match &self.body {
            Body::Here(items) => return give(id, items.clone(), skip, take),
            Body::Pieces(runs) => runs,
        };
        for run in runs {
            if skip >= run.count {
                skip -= run.count;
                continue;
            }
            let items = record::piece(stream, id, &run.hash).await?;
            if !give(id, items, skip, take)? {
                return Ok(false);
            }
            skip = 0;
        }
        Ok(true)
    }
}

/// Hands on the items of a body behind the first so many; false if no more are wanted.
fn give(id: &JobId, mut body: Bytes, skip: u64, take: &mut impl FnMut(Bytes) -> bool) -> Result<bool, JobStoreError> {
    let mut index = 0;
    while !body.is_empty() {
        let length = body.try_get_u32_le().ok().map(|length| length as usize).filter(|length| *length <= body.len());
        let length = length.ok_or_else(|| JobStoreError(format!("the items of job {id} are damaged")))?;
        let item = body.split_to(length);
        index += 1;
        if index > skip && !take(item) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The items as they are put, after their pieces.
async fn pack(stream: &JobStream, id: &JobId, items: &[Bytes]) -> Result<Bytes, JobStoreError> {
    let most = stream.most_bytes();
    let mut runs: Vec<(u64, BytesMut)> = Vec::new();
    for item in items {
        let length = u32::try_from(item.len()).ok().filter(|_| item.len() + 4 <= most).ok_or_else(|| {
            let bytes = item.len();
            JobStoreError(format!(
                "an item has {bytes} bytes, and NATS takes {most} in one message: raise `max_payload` there"
            ))
        })?;
        if runs.last().is_none_or(|(_, run)| run.len() + 4 + item.len() > PIECE) {
            runs.push((0, BytesMut::new()));
        }
        if let Some((count, run)) = runs.last_mut() {
            *count += 1;
            run.put_u32_le(length);
            run.extend_from_slice(item);
        }
    }
    let mut page = BytesMut::new();
    let is_small = runs.len() <= 1 && runs.first().is_none_or(|(_, run)| run.len() <= PAGE);
    page.put_u8(if is_small { HERE } else { IN_PIECES });
    page.put_u64_le(items.len() as u64);
    if is_small {
        runs.iter().for_each(|(_, run)| page.extend_from_slice(run));
        return Ok(page.freeze());
    }
    let pieces: Vec<(u64, String, Bytes)> = runs
        .into_iter()
        .map(|(count, run)| {
            let run = run.freeze();
            (count, record::hash(&run), run)
        })
        .collect();
    let runs: Vec<Run> = pieces.iter().map(|(count, hash, _)| Run { count: *count, hash: hash.clone() }).collect();
    stream.put_all(pieces.into_iter().map(|(_, hash, run)| (key::piece(id, &hash), run)).collect()).await?;
    page.extend_from_slice(&serde_json::to_vec(&runs).map_err(|error| JobStoreError(error.to_string()))?);
    Ok(page.freeze())
}

/// A job whose items are meant: its id may have been that of another.
pub(super) type Owner = (JobId, Timestamp);

/// Appends items behind the `from` that are there; false if there are not so many.
pub(super) async fn append(
    stream: &JobStream,
    (id, created): &Owner,
    from: u64,
    items: &[Bytes],
) -> Result<bool, JobStoreError> {
    let page = pack(stream, id, items).await?;
    Ok(stream.put(&key::page(id, created.0, from), page, Some(0)).await?.is_some())
}

/// How many items there are.
pub(super) async fn count(stream: &JobStream, owner: &Owner) -> Result<u64, JobStoreError> {
    Ok(last(stream, owner).await?.map_or(0, |page| page.end()))
}

/// How many items were put before this sequence, which is that of the end.
pub(super) async fn count_before(
    stream: &JobStream,
    places: &Places,
    owner: &Owner,
    end: u64,
) -> Result<u64, JobStoreError> {
    let mut page = last(stream, owner).await?;
    while let Some(late) = page.as_ref().filter(|page| page.sequence > end) {
        // As a rule there is none: one at most for each replica that took some while another ended the job.
        let Some(before) = late.from.checked_sub(1) else { return Ok(0) };
        page = places.find(stream, owner, before).await?;
    }
    Ok(page.map_or(0, |page| page.end()))
}

async fn last(stream: &JobStream, (id, created): &Owner) -> Result<Option<Page>, JobStoreError> {
    let found = stream.last(&key::pages(id, created.0)).await?;
    found.map(|message| Page::read(id, message)).transpose()
}

/// Where pages were found.
#[derive(Default)]
pub(super) struct Places(Mutex<HashMap<Owner, BTreeMap<u64, u64>>>);

impl Places {
    fn all(&self) -> MutexGuard<'_, HashMap<Owner, BTreeMap<u64, u64>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, owner: &Owner, page: &Page) {
        let mut all = self.all();
        if all.len() >= REMEMBERED.0 && !all.contains_key(owner) {
            all.clear();
        }
        let places = all.entry(owner.clone()).or_default();
        if places.len() >= REMEMBERED.1 {
            places.clear();
        }
        places.insert(page.from, page.sequence);
    }

    /// The sequences of the last known page that begins at an index or before it, and of the first behind it.
    fn around(&self, owner: &Owner, index: u64) -> (u64, Option<u64>) {
        let all = self.all();
        let Some(places) = all.get(owner) else { return (0, None) };
        let before = places.range(..=index).next_back().map_or(0, |(_, sequence)| *sequence);
        let after = places.range(index.saturating_add(1)..).next().map(|(_, sequence)| *sequence);
        (before, after)
    }

    /// The page that has the item with this index, if there is one: found in as many steps as the number of messages has digits.
    async fn find(&self, stream: &JobStream, owner: &Owner, index: u64) -> Result<Option<Page>, JobStoreError> {
        let pages = key::pages(&owner.0, owner.1.0);
        let (mut low, after) = self.around(owner, index);
        let mut high = match after {
            Some(after) => after,
            None => match last(stream, owner).await? {
                Some(page) if page.end() <= index => return Ok(None),
                Some(page) => {
                    self.remember(owner, &page);
                    if page.from <= index {
                        return Ok(Some(page));
                    }
                    page.sequence
                }
                None => return Ok(None),
            },
        };
        // The known one, or the one behind it, as a rule: pages are read one after the other.
        let mut guesses = 2_u32;
        while low < high {
            let probe = match guesses {
                0 => low + (high - low) / 2,
                _ => low,
            };
            guesses = guesses.saturating_sub(1);
            let Some(found) = stream.next(&pages, probe).await? else { return Ok(None) };
            let page = Page::read(&owner.0, found)?;
            self.remember(owner, &page);
            if page.from > index {
                high = probe;
            } else if page.end() > index {
                return Ok(Some(page));
            } else {
                low = page.sequence + 1;
            }
        }
        Ok(None)
    }
}

/// Which items are wanted.
pub(super) struct Wanted {
    /// The index of the first.
    pub from: u64,
    /// At most so many.
    pub limit: usize,
    /// At most so many bytes of them, but one even if it is larger.
    pub max_bytes: usize,
    /// Only those that were put before this sequence.
    pub before: u64,
}

/// Items of a job.
pub(super) async fn read(
    stream: &JobStream,
    places: &Places,
    owner: &Owner,
    Wanted { from, limit, max_bytes, before }: Wanted,
) -> Result<Vec<Bytes>, JobStoreError> {
    let (mut found, mut bytes, mut index): (Vec<Bytes>, usize, u64) = (Vec::new(), 0, from);
    if limit == 0 {
        return Ok(found);
    }
    let mut take = |item: Bytes| {
        bytes = bytes.saturating_add(item.len());
        if found.len() == limit || (bytes > max_bytes && !found.is_empty()) {
            return false;
        }
        found.push(item);
        true
    };
    while let Some(page) = places.find(stream, owner, index).await? {
        if page.sequence > before || !page.give(stream, &owner.0, index, &mut take).await? {
            break;
        }
        index = page.end();
    }
    Ok(found)
}
