//! The file that was uploaded with a job.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use reqwest::header::CONTENT_RANGE;
use reqwest::{Response, StatusCode};
use serde::Deserialize;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, timeout};

use crate::backoff::Backoff;
use crate::hub::{Trouble, causes};
use crate::lease::{ANSWER, Lease};
use crate::{Error, Refused};

/// How long the hub may send nothing in the middle of a file.
const STALL: Duration = Duration::from_secs(30);

/// What is known of a file before it is read.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct About {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    r#type: Option<String>,
    bytes: u64,
}

/// The file that was uploaded with a job, read from its beginning by [`AsyncRead`] or by [`chunk`](File::chunk).
///
/// A connection that breaks is made again, and reading goes on at the byte where it was. It ends with an error when the
/// job should stop, or the hub is away for too long. Only what is being read is in memory.
pub struct File {
    about: About,
    rest: Bytes,
    // One of the two is there: the reader, or what it is doing, which gives it back.
    reader: Option<Box<Reader>>,
    reading: Option<Pin<Box<Reading>>>,
}

type Reading = dyn Future<Output = (Box<Reader>, Result<Option<Bytes>, Error>)> + Send + Sync;

impl File {
    pub(crate) fn new(about: About, lease: Arc<Lease>) -> Self {
        let reader = Reader { lease, position: 0, bytes: about.bytes, response: None, skip: 0 };
        File { about, rest: Bytes::new(), reader: Some(Box::new(reader)), reading: None }
    }

    /// The name it had where it came from, if it had one. It comes from whoever made the job: it may be any text, also
    /// one with `/` in it.
    pub fn name(&self) -> Option<&str> {
        self.about.name.as_deref()
    }

    /// The media type that whoever made the job says it has.
    pub fn media_type(&self) -> Option<&str> {
        self.about.r#type.as_deref()
    }

    /// How many bytes the whole file has.
    pub fn bytes(&self) -> u64 {
        self.about.bytes
    }

    /// The next part of it, or `None` at its end. Nothing is lost if the future is dropped.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        poll_fn(|cx| self.poll_chunk(cx)).await
    }

    /// The same for a thread that may block, as in [`tokio::task::spawn_blocking`]. Call it within the runtime.
    pub fn blocking(self) -> BlockingFile {
        BlockingFile { file: self, runtime: Handle::current() }
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Error>> {
        if !self.rest.is_empty() {
            return Poll::Ready(Ok(Some(std::mem::take(&mut self.rest))));
        }
        if let Some(mut reader) = self.reader.take() {
            self.reading = Some(Box::pin(async move {
                let read = reader.read().await;
                (reader, read)
            }));
        }
        let Some(reading) = &mut self.reading else { return Poll::Ready(Ok(None)) };
        let (reader, read) = ready!(reading.as_mut().poll(cx));
        self.reading = None;
        self.reader = Some(reader);
        Poll::Ready(read)
    }
}

impl AsyncRead for File {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let file = self.get_mut();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if let Some(mut chunk) = ready!(file.poll_chunk(cx))? {
            let part = chunk.split_to(chunk.len().min(buf.remaining()));
            buf.put_slice(&part);
            file.rest = chunk;
        }
        Poll::Ready(Ok(()))
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").field("about", &self.about).finish_non_exhaustive()
    }
}

/// A [`File`] for a thread that may block.
#[derive(Debug)]
pub struct BlockingFile {
    file: File,
    runtime: Handle,
}

impl io::Read for BlockingFile {
    /// # Panics
    ///
    /// On a thread that drives async tasks, which must not block.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.file.rest.is_empty() {
            self.file.rest = self.runtime.block_on(self.file.chunk())?.unwrap_or_default();
        }
        let count = self.file.rest.len().min(buf.len());
        self.file.rest.copy_to_slice(&mut buf[..count]);
        Ok(count)
    }
}

/// Reads on from where it was, over as many connections as it takes.
struct Reader {
    lease: Arc<Lease>,
    position: u64,
    bytes: u64,
    response: Option<Response>,
    /// How much of the answer lies before `position`, where the hub did not heed the range.
    skip: u64,
}

impl Reader {
    async fn read(&mut self) -> Result<Option<Bytes>, Error> {
        let cancel = self.lease.cancel.clone();
        tokio::select! {
            biased;
            () = cancel.canceled() => Err(cancel.check().err().unwrap_or(Error::Canceled)),
            read = self.read_again() => read,
        }
    }

    async fn read_again(&mut self) -> Result<Option<Bytes>, Error> {
        let began = Instant::now();
        let mut backoff = Backoff::new();
        while self.position < self.bytes {
            let (cause, retry_after) = match self.read_once().await {
                Ok(chunk) => {
                    self.position += chunk.len() as u64;
                    return Ok(Some(chunk));
                }
                Err(Trouble::Refused(refused)) if refused.code.is_empty() => (refused.to_string(), None),
                Err(Trouble::Refused(refused)) => return Err(self.lease.refused(refused)),
                Err(Trouble::Away { cause, retry_after }) => (cause, retry_after),
            };
            self.response = None;
            let (after, wait) = (began.elapsed(), backoff.next(retry_after));
            if after + wait > self.lease.patience {
                return Err(Error::Away { after, cause });
            }
            tracing::debug!(job = self.lease.job, position = self.position, cause, "reading of the file goes on");
            sleep(wait).await;
        }
        Ok(None)
    }

    /// The next part of at least one byte.
    async fn read_once(&mut self) -> Result<Bytes, Trouble> {
        if self.response.is_none() {
            self.open().await?;
        }
        let broken = |cause: String| Trouble::Away { cause, retry_after: None };
        let Some(response) = &mut self.response else { return Err(broken("there is no answer".into())) };
        loop {
            let mut chunk = match timeout(STALL, response.chunk()).await {
                Ok(Ok(Some(chunk))) => chunk,
                Ok(Ok(None)) => return Err(broken(format!("the file broke off at byte {}", self.position))),
                Ok(Err(error)) => return Err(broken(causes(&error))),
                Err(_) => return Err(broken(format!("nothing of the file came for {} s", STALL.as_secs()))),
            };
            let skipped = self.skip.min(chunk.len() as u64);
            self.skip -= skipped;
            chunk.advance(skipped as usize);
            chunk.truncate(usize::try_from(self.bytes - self.position).unwrap_or(usize::MAX));
            if !chunk.is_empty() {
                return Ok(chunk);
            }
        }
    }

    async fn open(&mut self) -> Result<(), Trouble> {
        let path = format!("{}/file", self.lease.path());
        let answer = self.lease.hub.file(&path, &self.lease.authorization, self.position, ANSWER).await;
        let response = answer.inspect_err(|trouble| self.lease.hear(trouble))?;
        let begins = match response.status() {
            StatusCode::PARTIAL_CONTENT => begins(&response),
            _ => Some(0),
        };
        let Some(skip) = begins.and_then(|begins| self.position.checked_sub(begins)) else {
            return Err(Trouble::Refused(Refused {
                status: response.status().as_u16(),
                code: "invalid-range".into(),
                detail: format!("the hub was asked for the file from byte {} on and sent another part", self.position),
            }));
        };
        self.skip = skip;
        self.response = Some(response);
        Ok(())
    }
}

/// The first byte of a part: 42 in `Content-Range: bytes 42-99/100` (RFC 9110 §14.4).
fn begins(response: &Response) -> Option<u64> {
    let range = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split_once('-')?.0.trim().parse().ok()
}
