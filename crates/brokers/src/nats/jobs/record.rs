//! Jobs as they are kept.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use tidings::job::{Job, JobId, JobStoreError};

use super::key;
use super::stream::JobStream;

/// The most bytes of an input that stand in the record, which each replica is sent with each change.
pub(super) const INPUT: usize = 16 << 10;

/// The most bytes of a result that stand there: it comes once.
const RESULT: usize = 128 << 10;

/// The most bytes of a record beside the item in its progress: an input and a result as they may stand in it, and about as much as names,
/// grants and messages take.
pub(super) const LARGEST_REST: usize = INPUT + RESULT + (128 << 10);

/// The most bytes of a piece.
pub(super) const PIECE: usize = 256 << 10;

/// How many pieces are read at once.
const PIECES_AT_ONCE: usize = 8;

/// A job, but for what is large and stands elsewhere.
#[derive(Serialize, Deserialize)]
pub(super) struct Record {
    pub job: Job,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    input: Option<Pieces>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    result: Option<Pieces>,
}

/// Why a job can't be put together from what is kept.
pub(super) enum Unread {
    /// NATS did not answer: it may the next time.
    Unanswered(JobStoreError),
    /// A part is not there, or is not what it was: that is so the next time as well.
    Damaged(JobStoreError),
}

impl From<JobStoreError> for Unread {
    fn from(error: JobStoreError) -> Self {
        Unread::Unanswered(error)
    }
}

impl From<Unread> for JobStoreError {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Unanswered(error) | Unread::Damaged(error) => error,
        }
    }
}

/// What is too large for one message: the hashes of its pieces, in their order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pieces(pub Vec<String>);

/// An input that stands elsewhere, once it was read.
pub(super) type KnownInput = (Pieces, Arc<RawValue>);

impl Record {
    /// The record of a job, whose large parts are put where they belong if they are not the known one.
    pub async fn put_parts(
        stream: &JobStream,
        job: &Job,
        known: Option<&KnownInput>,
    ) -> Result<(Record, Option<KnownInput>), JobStoreError> {
        let mut record = Record { job: job.clone(), input: None, result: None };
        let mut input = None;
        if let Some(large) = record.job.input.take_if(|input| input.get().len() > INPUT) {
            let pieces = match known.filter(|(_, known)| Arc::ptr_eq(known, &large) || known.get() == large.get()) {
                Some((pieces, _)) => pieces.clone(),
                None => put(stream, &job.id, large.get().as_bytes()).await?,
            };
            record.input = Some(pieces.clone());
            input = Some((pieces, large));
        }
        if let Some(large) = record.job.result.take_if(|result| result.get().len() > RESULT) {
            record.result = Some(put(stream, &job.id, large.get().as_bytes()).await?);
        }
        Ok((record, input))
    }

    pub fn write(&self, stream: &JobStream) -> Result<Bytes, JobStoreError> {
        let written = serde_json::to_vec(self).map_err(|error| JobStoreError(error.to_string()))?;
        let (bytes, most) = (written.len(), stream.most_bytes());
        if bytes > most {
            let id = &self.job.id;
            return Err(JobStoreError(format!(
                "what is kept of job {id} has {bytes} bytes, and NATS takes {most} in one message: raise `max_payload` there"
            )));
        }
        Ok(written.into())
    }

    pub fn read(payload: &[u8]) -> Result<Record, Unread> {
        serde_json::from_slice(payload)
            .map_err(|error| Unread::Damaged(JobStoreError(format!("the record of a job is damaged: {error}"))))
    }

    /// The whole job, and its input if that stands elsewhere. `with_input`: whether it is of use.
    pub async fn whole(
        self,
        stream: &JobStream,
        with_input: bool,
        known: Option<KnownInput>,
    ) -> Result<(Job, Option<KnownInput>), Unread> {
        let Record { mut job, input, result } = self;
        let mut found = None;
        if let Some(pieces) = input.filter(|_| with_input) {
            let text = match known.filter(|(known, _)| *known == pieces) {
                Some((_, text)) => text,
                None => Arc::from(get(stream, &job.id, &pieces).await?),
            };
            job.input = Some(text.clone());
            found = Some((pieces, text));
        }
        if let Some(pieces) = result {
            job.result = Some(get(stream, &job.id, &pieces).await?);
        }
        Ok((job, found))
    }
}

/// Puts something large, in pieces.
pub(super) async fn put(stream: &JobStream, id: &JobId, bytes: &[u8]) -> Result<Pieces, JobStoreError> {
    let pieces: Vec<(String, Bytes)> =
        bytes.chunks(PIECE).map(|piece| (hash(piece), Bytes::copy_from_slice(piece))).collect();
    let hashes = pieces.iter().map(|(hash, _)| hash.clone()).collect();
    stream.put_all(pieces.into_iter().map(|(hash, piece)| (key::piece(id, &hash), piece)).collect()).await?;
    Ok(Pieces(hashes))
}

pub(super) fn hash(bytes: &[u8]) -> String {
    key::hex(&Sha256::digest(bytes))
}

/// A piece.
pub(super) async fn piece(stream: &JobStream, id: &JobId, hash: &str) -> Result<Bytes, Unread> {
    let found = stream.last(&key::piece(id, hash)).await?;
    let found =
        found.ok_or_else(|| Unread::Damaged(JobStoreError(format!("a piece of job {id} is missing: {hash}"))))?;
    Ok(found.payload)
}

async fn get(stream: &JobStream, id: &JobId, Pieces(hashes): &Pieces) -> Result<Box<RawValue>, Unread> {
    let read = |hash: &String| {
        let hash = hash.clone();
        async move { piece(stream, id, &hash).await }
    };
    let pieces: Vec<Bytes> =
        futures_util::stream::iter(hashes).map(read).buffered(PIECES_AT_ONCE).try_collect().await?;
    let mut text = BytesMut::new();
    pieces.iter().for_each(|piece| text.extend_from_slice(piece));
    let damaged = || Unread::Damaged(JobStoreError(format!("a part of job {id} is damaged")));
    let text = String::from_utf8(text.into()).map_err(|_| damaged())?;
    RawValue::from_string(text).map_err(|_| damaged())
}
