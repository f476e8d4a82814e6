//! A file on its way into the bucket.

use std::collections::{HashMap, VecDeque};
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;

use async_nats::jetstream::context::{PublishAckFuture, PublishError};
use async_nats::jetstream::publish::PublishAck;
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};
use tidings::job::{JobFileError, KeptFile, NewJobFile};
use tokio::runtime::Handle;

use super::bucket::{Bucket, Record, RecordOptions, damaged, refused};

/// How many chunks are on their way at once: what one upload has in memory at most, beside one that is filled.
const ON_THEIR_WAY: usize = 4;

type Ack = Pin<Box<dyn Future<Output = Result<PublishAck, PublishError>> + Send>>;

/// A file that is being received. Deleted when it is dropped, unless it was finished.
pub(super) struct Upload {
    bucket: Arc<Bucket>,
    name: String,
    hash: Sha256,
    bytes: u64,
    chunk_bytes: usize,
    /// What does not fill a chunk yet.
    buffer: BytesMut,
    /// What was sent and is not acknowledged, the first in front.
    sent: VecDeque<Ack>,
    /// Where the chunks are.
    places: Vec<u64>,
    /// Whether the engine may have something of it.
    leaves_something: bool,
    failed: bool,
}

impl Upload {
    pub fn new(bucket: Arc<Bucket>, name: String) -> Self {
        let chunk_bytes = bucket.chunk_bytes();
        Upload {
            bucket,
            name,
            hash: Sha256::new(),
            bytes: 0,
            chunk_bytes,
            buffer: BytesMut::with_capacity(chunk_bytes),
            sent: VecDeque::with_capacity(ON_THEIR_WAY),
            places: Vec::new(),
            leaves_something: false,
            failed: false,
        }
    }

    async fn gather(&mut self, mut piece: Bytes) -> Result<(), JobFileError> {
        while !piece.is_empty() {
            let room = self.chunk_bytes - self.buffer.len();
            self.buffer.extend_from_slice(&piece.split_to(room.min(piece.len())));
            if self.buffer.len() == self.chunk_bytes {
                self.send().await?;
            }
        }
        Ok(())
    }

    /// Sends what was gathered.
    async fn send(&mut self) -> Result<(), JobFileError> {
        while self.sent.len() >= ON_THEIR_WAY {
            self.acknowledged().await?;
        }
        let chunk = self.buffer.split().freeze();
        self.buffer.reserve(self.chunk_bytes);
        self.hash.update(&chunk);
        self.bytes += chunk.len() as u64;
        self.leaves_something = true;
        let ack = self.bucket.send_chunk(&self.name, chunk).await?;
        self.wait_for(ack);
        Ok(())
    }

    fn wait_for(&mut self, ack: PublishAckFuture) {
        self.sent.push_back(ack.into_future());
    }

    /// Waits for the first that was sent. It stays in its place until then: whoever is dropped meanwhile waits for it as well.
    async fn acknowledged(&mut self) -> Result<(), JobFileError> {
        let Some(ack) = self.sent.front_mut() else { return Ok(()) };
        let ack = ack.await;
        self.sent.pop_front();
        let place = ack.map_err(|error| refused(&error))?.sequence;
        // Else one overtook another, and the file would be put together wrong.
        if self.places.last().is_some_and(|before| *before >= place) {
            return Err(damaged(&self.name, "its chunks arrived in another order"));
        }
        self.places.push(place);
        Ok(())
    }

    async fn complete(&mut self) -> Result<KeptFile, JobFileError> {
        if !self.buffer.is_empty() {
            self.send().await?;
        }
        while !self.sent.is_empty() {
            self.acknowledged().await?;
        }
        // What was sent long ago may have been taken for something that a killed process left.
        let chunks = self.places.len() as u64;
        if chunks > 0 && self.bucket.count_chunks(&self.name).await? != chunks {
            return Err(damaged(&self.name, "it took so long that its beginning is gone"));
        }
        let sha256: [u8; 32] = std::mem::take(&mut self.hash).finalize().into();
        let record = Record {
            name: self.name.clone(),
            bucket: self.bucket.name().to_owned(),
            nuid: self.name.clone(),
            size: self.bytes,
            chunks,
            digest: digest(&sha256),
            options: RecordOptions { max_chunk_size: self.chunk_bytes as u64 },
            metadata: HashMap::new(),
        };
        self.leaves_something = true;
        let ack = self.bucket.send_record(&record.with_places(&self.places)).await?;
        self.wait_for(ack);
        self.acknowledged().await?;
        self.leaves_something = false;
        Ok(KeptFile { bytes: self.bytes, sha256 })
    }
}

/// A hash as a record has it.
pub(super) fn digest(sha256: &[u8; 32]) -> String {
    format!("SHA-256={}", URL_SAFE.encode(sha256))
}

#[async_trait]
impl NewJobFile for Upload {
    fn name(&self) -> &str {
        &self.name
    }

    async fn write(&mut self, piece: Bytes) -> Result<(), JobFileError> {
        // Where it is not told what came of a write, what follows would stand in the wrong place.
        if std::mem::replace(&mut self.failed, true) {
            return Err(damaged(&self.name, "an earlier write failed"));
        }
        self.gather(piece).await?;
        self.failed = false;
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<KeptFile, JobFileError> {
        match self.failed {
            true => Err(damaged(&self.name, "an earlier write failed")),
            false => self.complete().await,
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // Without a runtime there is no connection either; then the sweep finds it.
        let (true, Ok(runtime)) = (self.leaves_something, Handle::try_current()) else { return };
        let (bucket, name) = (self.bucket.clone(), std::mem::take(&mut self.name));
        let sent = std::mem::take(&mut self.sent);
        runtime.spawn(async move {
            // What is under way would arrive behind the deletion.
            for ack in sent {
                let _ = ack.await;
            }
            bucket.discard(&name).await;
        });
    }
}
