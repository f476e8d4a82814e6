//! A file on its way out of the bucket.

use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use sha2::{Digest, Sha256};
use tidings::job::{JobFileError, JobFileReader};

use super::bucket::{Bucket, Record, damaged};
use super::write::digest;

/// How many chunks are asked for at once: what one download has in memory at most.
const AHEAD: usize = 4;

/// Reads the chunks that hold a part of a file, and no others.
pub(super) struct Reader {
    pieces: Pin<Box<dyn Stream<Item = Result<Bytes, JobFileError>> + Send>>,
    name: String,
    /// How many bytes are still to come.
    left: u64,
    /// Of a file that is read whole: its hash so far, and what it has to be.
    check: Option<(Sha256, String)>,
}

/// One chunk to ask for.
struct Wanted {
    place: u64,
    /// How many bytes it has.
    bytes: u64,
    /// Which of them are wanted.
    part: Range<u64>,
}

impl Reader {
    pub fn new(bucket: Arc<Bucket>, record: Record, part: Range<u64>) -> Result<Self, JobFileError> {
        if part.end > record.size {
            return Err(JobFileError::Unavailable(format!("the file has {} bytes", record.size)));
        }
        let wanted = wanted(&record, &part).ok_or_else(|| damaged(&record.name, "its record does not add up"))?;
        let is_whole = part.start == 0 && part.end == record.size && record.size > 0;
        let check = is_whole.then(|| (Sha256::new(), record.digest.clone()));
        let name = Arc::<str>::from(record.name.as_str());
        let pieces = stream::iter(wanted).map(move |wanted| get(bucket.clone(), name.clone(), wanted)).buffered(AHEAD);
        let left = part.end.saturating_sub(part.start);
        Ok(Reader { pieces: Box::pin(pieces), name: record.name, left, check })
    }
}

#[async_trait]
impl JobFileReader for Reader {
    async fn next(&mut self) -> Result<Option<Bytes>, JobFileError> {
        let Some(piece) = self.pieces.next().await.transpose()? else { return Ok(None) };
        self.left = self.left.saturating_sub(piece.len() as u64);
        if let Some((hash, _)) = &mut self.check {
            hash.update(&piece);
        }
        // Before the last piece is handed out: a file that is not what was sent is never there as a whole.
        if let Some((hash, expected)) = self.check.take_if(|_| self.left == 0)
            && digest(&hash.finalize().into()) != expected
        {
            return Err(damaged(&self.name, "its hash is another"));
        }
        Ok(Some(piece))
    }
}

/// The chunks that hold `part`; `None` where the record contradicts itself.
fn wanted(record: &Record, part: &Range<u64>) -> Option<Vec<Wanted>> {
    if part.is_empty() {
        return Some(Vec::new());
    }
    let places = record.places()?;
    let each = record.options.max_chunk_size;
    if each == 0 || record.size.div_ceil(each) != places.len() as u64 {
        return None;
    }
    let (first, last) = (part.start / each, (part.end - 1) / each);
    let of = |index: u64| {
        let begin = index * each;
        let bytes = each.min(record.size - begin);
        let part = part.start.max(begin) - begin..part.end.min(begin + bytes) - begin;
        Some(Wanted { place: *places.get(usize::try_from(index).ok()?)?, bytes, part })
    };
    (first..=last).map(of).collect()
}

async fn get(bucket: Arc<Bucket>, name: Arc<str>, wanted: Wanted) -> Result<Bytes, JobFileError> {
    let chunk = bucket.chunk(&name, wanted.place).await?;
    if chunk.len() as u64 != wanted.bytes {
        return Err(damaged(&name, format_args!("its chunk at {} has {} bytes", wanted.place, chunk.len())));
    }
    let (start, end) = (usize::try_from(wanted.part.start), usize::try_from(wanted.part.end));
    match (start, end) {
        (Ok(start), Ok(end)) if start <= end && end <= chunk.len() => Ok(chunk.slice(start..end)),
        _ => Err(damaged(&name, "its record does not add up")),
    }
}
