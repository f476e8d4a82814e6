//! A stream between its request and its driver.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use http_body::Frame;
use tidings::{
    CloseReason, Cursor, Delivery, Entry, Filter, Hub, Interest, Moment, Principal, Start, Subscriber, Timestamp,
};
use tokio::time::Instant;

use crate::lane::{Claim, LaneCounters};
use crate::limiter::Permit;
use crate::session::Session;
use crate::stream::Stream;
use crate::watch::{self, AfterGap};

/// A stream that was granted and waits for its driver: a lane, where the socket can be taken over, else the body of the response.
#[derive(Debug)]
pub struct Granted {
    /// Who reads.
    pub principal: Arc<Principal>,
    /// What was asked for.
    pub filter: Filter,
    /// How the stream behaves.
    pub stream: Arc<Stream>,
    /// Where it begins.
    pub start: Start,
    /// The ends that have come of the job that it is of, or of those that it names.
    pub ends: Vec<Arc<Entry>>,
    /// When the credential was about to be checked.
    pub since: Moment,
    /// Counted until it ends.
    pub permit: Permit,
}

/// What goes on after the response head.
#[derive(Debug)]
pub enum Handed {
    /// A stream that goes one way.
    Stream(Granted),
    /// A connection that goes both ways.
    Conversation(Granted, Box<Session>),
    /// A WebSocket that a long-polling client wants to move to.
    Move(Claim),
}

/// Travels with the response as an extension: whoever takes it out first drives it.
#[derive(Clone, Debug)]
pub struct Handover(Arc<Mutex<Option<Handed>>>);

impl Handover {
    /// Something to be taken.
    pub fn new(handed: Handed) -> Self {
        Handover(Arc::new(Mutex::new(Some(handed))))
    }

    /// Whether it is a stream, which can as well be the body of the response.
    pub fn is_stream(&self) -> bool {
        matches!(*self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()), Some(Handed::Stream(_)))
    }

    /// Takes it; `None` if somebody has.
    pub fn take(&self) -> Option<Handed> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take()
    }
}

type Frames = futures_util::stream::BoxStream<'static, Bytes>;

/// The stream as a response body, for HTTP/2, TLS, and servers that are not ours. It begins when it is first polled.
pub struct StreamBody {
    hub: Arc<Hub>,
    counters: Arc<LaneCounters>,
    handover: Handover,
    frames: Option<Frames>,
}

impl StreamBody {
    /// The body of the response that carries `handover`.
    pub fn new(hub: Arc<Hub>, counters: Arc<LaneCounters>, handover: Handover) -> Self {
        StreamBody { hub, counters, handover, frames: None }
    }
}

impl http_body::Body for StreamBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.frames.is_none() {
            let Some(Handed::Stream(granted)) = self.handover.take() else { return Poll::Ready(None) };
            self.frames = Some(frames(self.hub.clone(), self.counters.clone(), granted));
        }
        let frames = self.frames.as_mut().expect("set in the lines above");
        frames.poll_next_unpin(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// Counts an open stream until it is dropped, also when the client just goes away.
struct Counted {
    stream: Arc<Stream>,
    counters: Arc<LaneCounters>,
    closed: Option<CloseReason>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.stream.open.fetch_sub(1, Ordering::Relaxed);
        self.counters.count_close(self.closed.unwrap_or(CloseReason::Gone));
    }
}

struct Driving {
    hub: Arc<Hub>,
    opened: Timestamp,
    /// The time of the oldest event of this piece that is younger than the stream.
    oldest: Option<Timestamp>,
    interest: Interest,
    subscriber: Subscriber,
    counted: Counted,
    hello: Option<Bytes>,
    /// When something was last written; where heartbeats come always, when one was.
    written_at: Instant,
    updated_at: Instant,
    /// When it was last told a position.
    told_at: Instant,
    told: Option<Cursor>,
    _permit: Permit,
}

fn frames(hub: Arc<Hub>, counters: Arc<LaneCounters>, granted: Granted) -> Frames {
    let Granted { principal, filter, stream, mut start, ends, since, permit } = granted;
    stream.open.fetch_add(1, Ordering::Relaxed);
    counters.opened.fetch_add(1, Ordering::Relaxed);
    let counted = Counted { stream: stream.clone(), counters, closed: None };
    let (after, gap) = (start.after, start.gap.take());
    let (cursor, interest) = (hub.cursor(after), Interest { filter: filter.clone(), grants: principal.grants.clone() });
    let opened = hub.clock().now();
    let subscriber = hub.subscribe_over("sse", principal.clone(), filter, start, since);
    let (retained, mut counted) = (watch::present(&hub, &interest, after, &ends), counted);
    let mut hello = stream.opening(cursor, gap.as_ref(), &retained, &principal.grants);
    if retained.iter().any(|entry| stream.ends_with(entry)) {
        hello.extend_from_slice(&stream.closing(CloseReason::Finished, None, None));
        counted.closed = Some(CloseReason::Finished);
    }
    let now = Instant::now();
    let driving = Driving {
        hub,
        opened,
        interest,
        oldest: None,
        subscriber,
        counted,
        hello: Some(hello.freeze()),
        written_at: now,
        updated_at: now,
        told_at: now,
        told: Some(cursor),
        _permit: permit,
    };
    futures_util::stream::unfold(driving, |mut driving| async move {
        let bytes = driving.next().await?;
        Some((bytes, driving))
    })
    .boxed()
}

impl Driving {
    /// The next bytes; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(hello) = self.hello.take() {
            return Some(hello);
        }
        if self.counted.closed.is_some() {
            return None;
        }
        let settings = &self.counted.stream.settings;
        let (beat, beats_always) = (self.written_at + settings.heartbeat_every, settings.beats_always);
        let mut due = beat;
        if let Some(idle) = &settings.idle {
            due = due.min(self.updated_at + idle.after);
        }
        let bytes = match tokio::time::timeout_at(due, self.subscriber.next()).await {
            Ok(delivery) if beats_always => {
                let bytes = self.gather(delivery).await;
                if Instant::now() < beat || self.counted.closed.is_some() {
                    return Some(bytes);
                }
                // One that always has something to say is never waited for.
                [&bytes[..], &self.counted.stream.beat(self.hub.clock().now())[..]].concat().into()
            }
            Ok(delivery) => self.gather(delivery).await,
            Err(_) => self.quiet(),
        };
        self.written_at = Instant::now();
        Some(bytes)
    }

    /// The delivery, and what else is ready, as one piece.
    async fn gather(&mut self, first: Delivery) -> Bytes {
        let max = self.hub.limits().write_bytes;
        let mut bytes = BytesMut::new();
        let mut next = Some(first);
        while let Some(delivery) = next {
            self.put(&mut bytes, delivery);
            if self.counted.closed.is_some() || bytes.len() >= max {
                break;
            }
            next = self.subscriber.try_next().await;
        }
        if let Some(oldest) = self.oldest.take() {
            self.counted.counters.record_latency(&self.hub, oldest);
        }
        bytes.freeze()
    }

    fn put(&mut self, bytes: &mut BytesMut, delivery: Delivery) {
        let stream = &self.counted.stream;
        match delivery {
            Delivery::Event(entry) => {
                let variant = stream.variant(&entry, &self.subscriber.principal().grants);
                bytes.extend_from_slice(stream.frame(&entry, variant, self.hub.cursor(entry.at)));
                self.counted.counters.delivered.fetch_add(1, Ordering::Relaxed);
                self.updated_at = Instant::now();
                // What is older waited for the client, and not for us.
                self.oldest = self.oldest.or(Some(entry.event.time).filter(|time| *time >= self.opened));
                if !entry.event.is_signal() {
                    // A signal is an update, but it tells no position.
                    self.told_at = self.updated_at;
                    self.told = Some(self.hub.cursor(entry.at));
                }
                if stream.ends_with(&entry) {
                    bytes.extend_from_slice(&stream.closing(CloseReason::Finished, None, None));
                    self.counted.closed = Some(CloseReason::Finished);
                }
            }
            Delivery::Gap(gap) => {
                bytes.extend_from_slice(&stream.gap(&gap));
                if stream.settings.job.is_some() {
                    self.put_job(bytes, gap.resumed);
                }
            }
            Delivery::Closed(reason) => {
                let retry = (reason == CloseReason::Draining).then(|| stream.come_back_after());
                bytes.extend_from_slice(&stream.closing(reason, retry, None));
                self.counted.closed = Some(reason);
            }
        }
    }

    /// What the log has lost may have been the job's end: the state is told anew, and if nobody has it at hand, the client comes back for it.
    fn put_job(&mut self, bytes: &mut BytesMut, resumed: Cursor) {
        let stream = &self.counted.stream;
        let reason = match watch::after_gap(&self.hub, stream, &self.interest, resumed.offset) {
            AfterGap::Unknown => CloseReason::Unavailable,
            AfterGap::State(told, end) => {
                bytes.extend_from_slice(&told);
                if end.is_none() {
                    return;
                }
                CloseReason::Finished
            }
        };
        bytes.extend_from_slice(&stream.closing(reason, None, None));
        self.counted.closed = Some(reason);
    }

    /// What is due on a stream that was silent.
    fn quiet(&mut self) -> Bytes {
        let stream = self.counted.stream.clone();
        let now = Instant::now();
        if stream.settings.idle.as_ref().is_some_and(|idle| self.updated_at + idle.after <= now) {
            self.counted.closed = Some(CloseReason::Idle);
            let state = stream.settings.job.is_some().then(|| watch::newest(&self.hub, &self.interest)).flatten();
            return stream.closing(CloseReason::Idle, None, state.as_deref()).freeze();
        }
        let mut bytes = BytesMut::from(&stream.beat(self.hub.clock().now())[..]);
        if stream.settings.announce && self.told_at + stream.settings.cursor_every <= now {
            let cursor = self.subscriber.cursor();
            if self.told != Some(cursor) {
                bytes.extend_from_slice(&stream.position(cursor));
                (self.told, self.told_at) = (Some(cursor), now);
            }
        }
        bytes.freeze()
    }
}
