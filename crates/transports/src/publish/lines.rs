//! One event a line, answered by a line each.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use http::{StatusCode, header};
use http_body_util::BodyExt;
use serde_json::json;
use tidings::{DraftError, NewEvent};
use tokio::sync::mpsc;

use super::{Accepted, Fault, Publisher, refused};
use crate::problem::Problem;

impl Publisher {
    /// One event a line. Each is answered by a line of its own when it is durable; a line that is wrong is answered
    /// with what is wrong, and the next go on.
    pub(super) fn lines(self, body: Body) -> Response {
        let (sender, mut receiver) = mpsc::channel::<Bytes>(8);
        tokio::spawn(async move {
            if let Err(last) = self.publish_lines(body, &sender).await {
                // The client may be gone; then nobody needs the last line.
                let _ = sender.send(last).await;
            }
        });
        let answers = futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx));
        let body = Body::from_stream(futures_util::StreamExt::map(answers, Ok::<_, std::convert::Infallible>));
        ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
    }

    async fn publish_lines(&self, mut body: Body, answers: &mpsc::Sender<Bytes>) -> Result<(), Bytes> {
        let limits = self.service.hub.limits();
        let last = |index: usize, problem: Problem| {
            let mut error = problem.body();
            error["index"] = index.into();
            Bytes::from(format!("{}\n", json!({ "error": error, "end": true })))
        };
        let (mut buffer, mut index, mut open) = (Lines::default(), 0, true);
        while open || !buffer.is_empty() {
            let (mut events, mut lines): (Vec<NewEvent>, Vec<Result<usize, Fault>>) = (Vec::new(), Vec::new());
            while events.len() < limits.batch_events {
                let Some(line) = buffer.take(!open) else { break };
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                lines.push(match std::str::from_utf8(&line) {
                    Ok(text) => self.derive(index, text).map(|event| {
                        events.push(event);
                        index
                    }),
                    Err(_) => Err(Fault {
                        index,
                        status: StatusCode::UNPROCESSABLE_ENTITY,
                        error: DraftError::new("event", "invalid-event", "the line is not UTF-8"),
                    }),
                });
                index += 1;
            }
            if !lines.is_empty() {
                self.check_credential().map_err(|problem| last(index, problem))?;
                let published = self.service.hub.publish(events).await.map_err(|error| last(index, refused(error)))?;
                let mut published = published.into_iter();
                let mut answer = Vec::new();
                for line in lines {
                    let value = match line {
                        Ok(index) => match published.next() {
                            Some(result) => json!({ "index": index, "result": Accepted::from(result) }),
                            None => continue,
                        },
                        Err(fault) => json!({ "index": fault.index, "error": fault.to_json() }),
                    };
                    answer.extend_from_slice(value.to_string().as_bytes());
                    answer.push(b'\n');
                }
                if answers.send(answer.into()).await.is_err() {
                    return Ok(());
                }
                if self.service.hub.is_draining() {
                    let detail = "the program stops; send what was not answered again in a moment";
                    return Err(last(index, Problem::unavailable(1, "draining", detail)));
                }
                continue;
            }
            if !open {
                break;
            }
            if buffer.bytes.len() > limits.request_bytes {
                let detail = format!("line {index} is longer than {} bytes", limits.request_bytes);
                return Err(last(index, Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "line-too-long", detail)));
            }
            match tokio::time::timeout(limits.request_timeout, body.frame()).await {
                Ok(None) => open = false,
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        buffer.bytes.extend_from_slice(&data);
                    }
                }
                Ok(Some(Err(_))) => {
                    return Err(last(
                        index,
                        Problem::new(StatusCode::BAD_REQUEST, "broken-body", "the body was cut off"),
                    ));
                }
                Err(_) => {
                    let detail = format!("no line came for {} s", limits.request_timeout.as_secs());
                    return Err(last(index, Problem::new(StatusCode::REQUEST_TIMEOUT, "slow-request", detail)));
                }
            }
        }
        Ok(())
    }
}

/// A body on its way, line by line.
#[derive(Default)]
struct Lines {
    bytes: BytesMut,
    /// Up to here there is no line end: a long line that comes in many pieces is looked through once.
    seen: usize,
}

impl Lines {
    fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The next whole line; at the end of the body also one without a line end.
    fn take(&mut self, all: bool) -> Option<BytesMut> {
        match self.bytes[self.seen..].iter().position(|byte| *byte == b'\n') {
            Some(end) => {
                let mut line = self.bytes.split_to(self.seen + end + 1);
                line.truncate(self.seen + end);
                self.seen = 0;
                Some(line)
            }
            None if all && !self.bytes.is_empty() => {
                self.seen = 0;
                Some(self.bytes.split())
            }
            None => {
                self.seen = self.bytes.len();
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line of 8 MiB that came in small pieces was searched from its start for each of them: seconds of a core for one request.
    #[test]
    fn a_line_in_many_pieces_is_looked_through_once() {
        let mut lines = Lines::default();
        for _ in 0..3 {
            lines.bytes.extend_from_slice(b"abc");
            assert_eq!(lines.take(false), None);
            assert_eq!(lines.seen, lines.bytes.len(), "what was looked at is not looked at again");
        }
        lines.bytes.extend_from_slice(b"\n\nd\ne");
        let taken: Vec<_> = std::iter::from_fn(|| lines.take(false)).collect();
        assert_eq!(taken, [&b"abcabcabc"[..], b"", b"d"]);
        assert_eq!(lines.take(true).unwrap(), &b"e"[..]);
        assert!(lines.is_empty() && lines.take(true).is_none());
    }
}
