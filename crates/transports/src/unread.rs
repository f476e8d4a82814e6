//! Request bodies that nobody reads to their end.
//!
//! Who refuses a large body does not wait for all of it, and then the connection has to end. It is said in the answer: a client that
//! believes the connection to stay sends its next request into the end of it, and has no answer to that (RFC 9112 §9.6).

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use hyper::body::{Body, Frame, Incoming, SizeHint};

/// As much of a body is passed over where it is there already, so that a small one costs no connection.
const PASSED_OVER: usize = 64 << 10;

/// A body whose rest comes back when it is dropped.
pub(crate) struct Watched {
    body: Option<Incoming>,
    left: Left,
}

type Left = Arc<Mutex<Option<Incoming>>>;

/// Where it comes back.
pub(crate) struct Rest {
    left: Left,
    may_pass_over: bool,
}

/// The same request, with its body watched; `None` if it has none.
pub(crate) fn watch(request: Request<Incoming>) -> (Request<Watched>, Option<Rest>) {
    // Whoever waits for the word to send its body would get it by being read.
    let may_pass_over = !request.headers().contains_key(header::EXPECT);
    let left = Left::default();
    let rest = (!request.body().is_end_stream()).then(|| Rest { left: left.clone(), may_pass_over });
    (request.map(|body| Watched { body: Some(body), left }), rest)
}

impl Rest {
    /// Says in the answer that the connection ends, if there is more of the body than can be passed over at once.
    pub fn answered<B>(self, response: &mut Response<B>) {
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner).take();
        if left.is_some_and(|mut left| !(self.may_pass_over && pass_over(&mut left))) {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

/// Whether what is left was there, and was not much.
fn pass_over(left: &mut Incoming) -> bool {
    let (mut context, mut passed) = (Context::from_waker(Waker::noop()), 0);
    loop {
        match Pin::new(&mut *left).poll_frame(&mut context) {
            Poll::Ready(None) => return true,
            Poll::Ready(Some(Ok(frame))) => passed += frame.data_ref().map_or(0, Bytes::len),
            Poll::Ready(Some(Err(_))) | Poll::Pending => return false,
        }
        if passed > PASSED_OVER {
            return false;
        }
    }
}

impl Body for Watched {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = std::task::ready!(Pin::new(body).poll_frame(context));
        if !matches!(polled, Some(Ok(_))) {
            self.body = None;
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) {
            *self.left.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
        }
    }
}
