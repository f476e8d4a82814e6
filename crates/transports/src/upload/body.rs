//! A request's body in pieces, no faster than they are wanted.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::StatusCode;
use http_body::Body as _;
use multer::Field;
use tokio::time::Sleep;

use crate::problem::Problem;

/// The most bytes of one piece.
pub(super) const PIECE: usize = 64 << 10;

/// Why no more is read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Stopped {
    /// The connection broke, or its framing did.
    #[error("the body was cut off")]
    Broken,
    /// No byte came for this long.
    #[error("no byte of the body came for {} s", .0.as_secs())]
    Slow(Duration),
    /// What has to stand within so many bytes does not.
    #[error("there is no part within {0} bytes where one should begin")]
    Headless(usize),
}

impl From<Stopped> for Problem {
    fn from(stopped: Stopped) -> Self {
        let (status, code) = match stopped {
            Stopped::Broken => (StatusCode::BAD_REQUEST, "broken-body"),
            Stopped::Slow(_) => (StatusCode::REQUEST_TIMEOUT, "slow-request"),
            Stopped::Headless(_) => (StatusCode::BAD_REQUEST, "invalid-multipart"),
        };
        Problem::new(status, code, stopped.to_string())
    }
}

/// A body in pieces.
pub(super) struct Pieces {
    body: Body,
    /// What is left of a frame that was larger than a piece.
    rest: Bytes,
    patience: Duration,
    /// Runs while a byte is waited for.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Pieces {
    /// Of `body`, whose client may send nothing for `patience`.
    pub fn new(body: Body, patience: Duration) -> Self {
        Pieces { body, rest: Bytes::new(), patience, waiting: None }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Stopped>>> {
        while self.rest.is_empty() {
            match Pin::new(&mut self.body).poll_frame(cx) {
                // Trailers and empty frames are no bytes: the wait goes on.
                Poll::Ready(Some(Ok(frame))) => self.rest = frame.into_data().unwrap_or_default(),
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Some(Err(Stopped::Broken))),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => {
                    let patience = self.patience;
                    let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
                    ready!(waiting.as_mut().poll(cx));
                    return Poll::Ready(Some(Err(Stopped::Slow(patience))));
                }
            }
        }
        self.waiting = None;
        Poll::Ready(Some(Ok(self.rest.split_to(self.rest.len().min(PIECE)))))
    }

    /// The next piece; never an empty one.
    pub async fn next(&mut self) -> Option<Result<Bytes, Stopped>> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }
}

/// Lets pieces through to the parser one at a time, when what it has does not suffice.
///
/// Left alone it would take whatever has arrived before it looks at any of it, all of a fast client's file.
#[derive(Clone)]
pub(super) struct Gate(Arc<State>);

struct State {
    /// Whether the next piece may pass.
    open: AtomicBool,
    /// How many bytes have passed since the parser found something.
    unfound: AtomicUsize,
    /// How many may.
    most: usize,
}

impl Gate {
    /// Gives up on a parser that finds nothing in `most` bytes.
    pub fn new(most: usize) -> Self {
        Gate(Arc::new(State { open: AtomicBool::new(false), unfound: AtomicUsize::new(0), most }))
    }

    /// What the parser reads.
    pub fn admit(&self, mut pieces: Pieces) -> impl Stream<Item = Result<Bytes, Stopped>> + Send + use<> {
        let state = self.0.clone();
        futures_util::stream::poll_fn(move |cx| {
            if !state.open.load(Ordering::Relaxed) {
                // Nobody is woken for this: `drive` asks again.
                return Poll::Pending;
            }
            // One that waits leaves it open, by which `drive` knows.
            let piece = ready!(pieces.poll(cx));
            state.open.store(false, Ordering::Relaxed);
            if let Some(Ok(piece)) = &piece {
                let before = state.unfound.fetch_add(piece.len(), Ordering::Relaxed);
                if before > state.most {
                    return Poll::Ready(Some(Err(Stopped::Headless(state.most))));
                }
            }
            Poll::Ready(piece)
        })
    }

    /// What the parser's `poll` finds: first in what it has, then in as many pieces as it takes.
    pub async fn drive<T>(&self, mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> T {
        let Gate(state) = self;
        std::future::poll_fn(|cx| {
            let mut open = false;
            loop {
                state.open.store(open, Ordering::Relaxed);
                if let Poll::Ready(found) = poll(cx) {
                    state.unfound.store(0, Ordering::Relaxed);
                    return Poll::Ready(found);
                }
                if open && state.open.load(Ordering::Relaxed) {
                    return Poll::Pending;
                }
                open = true;
            }
        })
        .await
    }

    /// The next bytes of a part.
    pub async fn chunk(&self, field: &mut Field<'_>) -> Result<Option<Bytes>, multer::Error> {
        self.drive(|cx| field.poll_next_unpin(cx)).await.transpose()
    }
}
