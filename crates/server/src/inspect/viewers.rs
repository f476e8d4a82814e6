//! `GET /v1/stats/events`: the figures as they come, as a response body for each viewer.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use http::{HeaderValue, StatusCode, header};
use tidings::{CloseReason, Hub, Moment, Principal};
use tidings_transports::{Problem, sse};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast};

use super::Inspector;
use super::sampler::Told;

/// After how long a viewer comes back when the program has stopped.
const RETRY: Duration = Duration::from_secs(3);

/// One who looks on.
struct Viewer {
    hub: Arc<Hub>,
    principal: Arc<Principal>,
    told: broadcast::Receiver<Told>,
    first: Option<Bytes>,
    ended: bool,
    _permit: OwnedSemaphorePermit,
}

impl Inspector {
    /// The stream of figures for `principal`, whose credential was checked after `since`.
    pub(super) fn view(&self, principal: Arc<Principal>, since: Moment) -> Result<Response, Problem> {
        let Ok(permit) = self.sampler.viewers.clone().try_acquire_owned() else {
            let detail = "as many look at the figures as may at a time; close one of them, or ask for /v1/stats";
            let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-viewers", detail);
            return Err(problem.header(header::RETRY_AFTER, "10"));
        };
        let hub = self.sampler.service().hub.clone();
        let (history, told) = self.sampler.watch();
        let mut first = BytesMut::from(&sse::retry(RETRY)[..]);
        first.extend_from_slice(&history);
        // It hears of revocations from here on; of those before it asks.
        let closed = hub.closed_since(since, &principal);
        let closed = closed.or_else(|| hub.is_draining().then_some(CloseReason::Draining));
        if let Some(reason) = closed {
            first.extend_from_slice(&sse::close(reason));
        }
        let (first, ended) = (Some(first.freeze()), closed.is_some());
        let viewer = Viewer { hub, principal, told, first, ended, _permit: permit };
        let blocks = futures_util::stream::unfold(viewer, |mut viewer| async move {
            let block = viewer.next().await?;
            Some((Ok::<_, Infallible>(block), viewer))
        });
        let mut response = Response::new(Body::from_stream(blocks));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(sse::CONTENT_TYPE));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
        Ok(response)
    }
}

impl Viewer {
    /// The next block; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        while !self.ended {
            let reason = match self.told.recv().await {
                Ok(Told::Block(_)) if self.principal.is_expired(self.hub.clock().now()) => CloseReason::Expired,
                Ok(Told::Block(block)) => return Some(block),
                Ok(Told::Close(revocation, reason)) if revocation.covers(&self.principal) => reason,
                Ok(Told::Close(..)) => continue,
                Ok(Told::Drain) | Err(RecvError::Closed) => CloseReason::Draining,
                // What it missed may have been its own end: rather send it away, it comes back.
                Err(RecvError::Lagged(_)) => CloseReason::Stalled,
            };
            self.ended = true;
            return Some(sse::close(reason));
        }
        None
    }
}
