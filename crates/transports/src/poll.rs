//! Long-poll: the same deliveries, one JSON document at a time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header, request};
use serde::Serialize;
use serde_json::value::RawValue;
use tidings::{CloseReason, Cursor, Delivery, Entry, Grants, Interest};
use tokio::time::Instant;

use crate::events::Mount;
use crate::handover::Granted;
use crate::problem::Problem;
use crate::query;
use crate::service::Service;
use crate::stream::Stream;
use crate::watch;

/// How long a poll waits if it does not say: below the minute at which common proxies cut.
const DEFAULT_WAIT: Duration = Duration::from_secs(25);

/// An answer to a poll.
#[derive(Serialize)]
struct Answer {
    events: Vec<Polled>,
    /// Hand it back in the next poll.
    cursor: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    gap: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    closed: Option<&'static str>,
}

#[derive(Serialize)]
struct Polled {
    name: String,
    topic: String,
    data: Box<RawValue>,
    time: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
}

impl Mount {
    /// Answers a poll: at once if something has happened since `?cursor=`, else when it does or after `?wait=` seconds.
    pub async fn poll(&self, service: &Service, parts: &request::Parts) -> Response {
        let response = match self.polled(service, parts).await {
            Ok(answer) => ([(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response(),
            Err(problem) => self.refuse(problem),
        };
        self.readable(&parts.headers, response)
    }

    async fn polled(&self, service: &Service, parts: &request::Parts) -> Result<Answer, Problem> {
        let wait = wait(parts, service.hub.limits().poll_wait)?;
        let Granted { principal, filter, stream, start, ends, since, permit } =
            self.grant(service, parts, "application/json").await?;
        stream.open.fetch_add(1, Ordering::Relaxed);
        let _open = scopeguard(|| {
            stream.open.fetch_sub(1, Ordering::Relaxed);
        });
        let hub = &service.hub;
        // A first poll without a cursor answers at once: the client has its place before anything happens.
        let first = query::resume(&parts.headers, &parts.uri).is_none();
        let (after, interest) = (start.after, Interest { filter: filter.clone(), grants: principal.grants.clone() });
        let (opened, mut oldest) = (hub.clock().now(), None);
        let mut subscriber = hub.subscribe_over("poll", principal.clone(), filter, start, since);
        let mut answer = Answer { events: Vec::new(), cursor: String::new(), gap: None, closed: None };
        if first {
            // Without its place: it tells the present state, it is not the next event.
            let state = |entry: &Arc<Entry>| polled(service, &stream, entry, &principal.grants, None);
            answer.events = watch::present(hub, &interest, after, &ends).iter().map(state).collect();
        }
        let deadline = Instant::now() + if first { Duration::ZERO } else { wait };
        let (mut bytes, limits) = (0, hub.limits());
        loop {
            let delivery = match subscriber.try_next().await {
                Some(delivery) => delivery,
                None if !answer.events.is_empty() || answer.gap.is_some() => break,
                None => match tokio::time::timeout_at(deadline, subscriber.next()).await {
                    Ok(delivery) => delivery,
                    Err(_) => break,
                },
            };
            match delivery {
                Delivery::Event(entry) => {
                    bytes += entry.event.weight();
                    // What is older waited for the client, and not for us.
                    oldest = oldest.or(Some(entry.event.time).filter(|time| *time >= opened));
                    let cursor = (!entry.event.is_signal()).then(|| hub.cursor(entry.at));
                    answer.events.push(polled(service, &stream, &entry, &principal.grants, cursor));
                    service.counters().delivered.fetch_add(1, Ordering::Relaxed);
                }
                Delivery::Gap(gap) => answer.gap = RawValue::from_string(gap.to_json()).ok(),
                Delivery::Closed(reason) => {
                    answer.closed = Some(reason.name());
                    if !reason.come_back() && answer.events.is_empty() {
                        return Err(refusal(reason));
                    }
                    break;
                }
            }
            if answer.events.len() >= limits.poll_events || bytes >= limits.page_bytes {
                break;
            }
        }
        if let Some(oldest) = oldest {
            service.counters().record_latency(hub, oldest);
        }
        answer.cursor = subscriber.cursor().to_string();
        drop(permit);
        Ok(answer)
    }
}

fn polled(service: &Service, stream: &Stream, entry: &Entry, grants: &Grants, cursor: Option<Cursor>) -> Polled {
    let event = &entry.event;
    let data = stream.render(entry, stream.variant(entry, grants), cursor);
    let data = String::from_utf8(data.to_vec()).ok().and_then(|data| RawValue::from_string(data).ok());
    let profile = service.hub.profiles().of(event.topic.as_str());
    Polled {
        name: stream.shape(entry).wire_name(event).to_owned(),
        topic: profile.local(event.topic.as_str()).to_owned(),
        // Data was checked to be JSON when it was published.
        data: data.unwrap_or_default(),
        time: event.time.0,
        cursor: cursor.map(|cursor| cursor.to_string()),
    }
}

fn refusal(reason: CloseReason) -> Problem {
    Problem::unauthorized(Some("invalid_token"), reason.sentence())
}

fn wait(parts: &request::Parts, most: Duration) -> Result<Duration, Problem> {
    let Some((name, value)) = query::pairs(&parts.uri).find(|(name, _)| matches!(&**name, "wait" | "timeout")) else {
        return Ok(DEFAULT_WAIT.min(most));
    };
    match value.parse::<f64>() {
        Ok(seconds) if seconds >= 0.0 && seconds.is_finite() => {
            Ok(Duration::try_from_secs_f64(seconds).unwrap_or(most).min(most))
        }
        _ => {
            let detail = format!("?{name}= takes seconds, from 0 to {}", most.as_secs());
            Err(Problem::new(StatusCode::BAD_REQUEST, "invalid-wait", detail).with("parameter", name.as_ref()))
        }
    }
}

/// Runs `end` when it is dropped, also when the client goes away in the middle.
fn scopeguard(end: impl FnMut()) -> impl Drop {
    struct Guard<F: FnMut()>(F);
    impl<F: FnMut()> Drop for Guard<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }
    Guard(end)
}
