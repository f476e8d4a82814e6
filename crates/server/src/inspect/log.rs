//! The log: how much it holds, and what.

mod search;

use std::sync::Arc;

use http::{StatusCode, request};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tidings::{BrokerError, Cursor, Event, Offset, Query, TopicPattern};
use tidings_brokers::Retention;
use tidings_transports::Problem;

use self::search::{Found, Search};
use super::Inspector;
use crate::routes::asker;

/// How many events a page has if the request does not say, and the most.
const PAGE: (usize, usize) = (50, 500);

/// What keeps the log, for people who look.
pub struct LogSource {
    /// `disk` or `memory`.
    pub broker: &'static str,
    /// How much is kept.
    pub retention: Retention,
    /// How many segments there are, where the log has any.
    pub segments: Box<dyn Fn() -> Option<usize> + Send + Sync>,
}

/// How much the log holds.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    epoch: String,
    /// The oldest and the newest event that is kept.
    first: Option<String>,
    last: Option<String>,
    events: u64,
    bytes: u64,
    segments: Option<usize>,
    retention: ShownRetention,
    broker: &'static str,
    /// The time of the oldest, in ms since 1970.
    oldest: Option<u64>,
}

/// The bounds; null is none.
#[derive(Debug, Serialize)]
struct ShownRetention {
    /// In ms.
    age: Option<u64>,
    events: Option<u64>,
    bytes: Option<u64>,
}

/// What a request for events asks for.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Asked {
    before: Option<String>,
    limit: Option<usize>,
    topic: Option<String>,
    name: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Listed {
    events: Vec<ShownEvent>,
    /// Where to go on; absent once everything was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<String>,
}

#[derive(Debug, Serialize)]
struct ShownEvent {
    name: String,
    topic: String,
    profile: String,
    data: Box<RawValue>,
    time: u64,
    cursor: String,
    audience: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<Box<RawValue>>,
}

/// Which events are meant.
struct Wanted {
    /// In the words of a profile, or with its namespace.
    topic: Option<TopicPattern>,
    name: Option<String>,
    /// The topics by which the log finds them.
    seek: Option<Arc<[TopicPattern]>>,
}

impl Inspector {
    pub(super) async fn log(&self) -> Result<Shown, Problem> {
        let hub = &self.service.hub;
        let head = hub.broker().head();
        let query = Query { limit: 1, ..self.all_after(head.trimmed, head.last) };
        let oldest = match hub.broker().read(query).await {
            Ok(page) => page.events.into_iter().next(),
            // It was trimmed between the two.
            Err(BrokerError::Trimmed { .. }) => None,
            Err(error) => return Err(unreadable(&error)),
        };
        let cursor = |offset| hub.cursor(offset).to_string();
        let Retention { age, events, bytes } = self.log.retention;
        let age = age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        Ok(Shown {
            epoch: head.epoch.to_string(),
            first: oldest.as_ref().map(|event| cursor(event.offset)),
            last: (head.last > head.trimmed).then(|| cursor(head.last)),
            events: head.events,
            bytes: head.bytes,
            segments: (self.log.segments)(),
            retention: ShownRetention { age, events, bytes },
            broker: self.log.broker,
            oldest: oldest.map(|event| event.body.time.0),
        })
    }

    /// What is kept, newest first.
    pub(super) async fn kept(&self, parts: &request::Parts) -> Result<Listed, Problem> {
        let asked: Asked = asker::query(parts, &self.credentials)?;
        let limit = asked.limit.unwrap_or(PAGE.0).clamp(1, PAGE.1);
        let broker = self.service.hub.broker();
        let head = broker.head();
        let end = match &asked.before {
            None => head.last,
            Some(before) => Offset(self.place(before)?.0.saturating_sub(1)).min(head.last),
        };
        let wanted = self.wanted(asked)?;
        let is_wanted = |event: &Event| self.is_wanted(&wanted, event);
        let search = Search {
            broker: &**broker,
            limits: self.service.hub.limits(),
            seek: wanted.seek.clone(),
            is_wanted: &is_wanted,
            most: limit,
        };
        let Found { events, go_on } = search.back_from(end, head.trimmed).await.map_err(|error| unreadable(&error))?;
        let before = go_on.map(|until| self.service.hub.cursor(until.next()).to_string());
        Ok(Listed { events: events.iter().map(|event| self.shown_event(event)).collect(), before })
    }

    fn all_after(&self, after: Offset, until: Offset) -> Query {
        let limits = self.service.hub.limits();
        Query { topics: None, after, until, limit: limits.page_events, max_bytes: limits.page_bytes }
    }

    fn place(&self, before: &str) -> Result<Offset, Problem> {
        let invalid = |detail: String| {
            Problem::new(StatusCode::BAD_REQUEST, "invalid-cursor", format!("?before=: {detail}"))
                .with("parameter", "before")
        };
        let cursor: Cursor = before.parse().map_err(|error: tidings::InvalidCursor| invalid(error.to_string()))?;
        if self.service.hub.cursor(cursor.offset) != cursor {
            return Err(invalid("that is a place in another log".to_owned()));
        }
        Ok(cursor.offset)
    }

    fn wanted(&self, asked: Asked) -> Result<Wanted, Problem> {
        let Some(text) = asked.topic.filter(|topic| !topic.is_empty()) else {
            return Ok(Wanted { topic: None, name: asked.name, seek: None });
        };
        let invalid = |error: tidings::InvalidTopic| {
            Problem::new(StatusCode::BAD_REQUEST, "invalid-topic", format!("?topic=: {error}"))
                .with("parameter", "topic")
        };
        let topic: TopicPattern = text.parse().map_err(invalid)?;
        let profiles = self.service.hub.profiles();
        let of_profiles = profiles.with_namespace().map(|profile| profile.qualify(&text));
        let places = of_profiles.filter_map(|topic| topic.parse().ok()).chain([topic.clone()]);
        let seek = topic.is_literal().then(|| places.collect());
        Ok(Wanted { topic: Some(topic), name: asked.name, seek })
    }

    fn is_wanted(&self, wanted: &Wanted, event: &Event) -> bool {
        let topic = event.body.topic.as_str();
        let local = self.service.hub.profiles().of(topic).local(topic);
        wanted.name.as_ref().is_none_or(|name| *event.body.name == **name)
            && wanted.topic.as_ref().is_none_or(|wanted| wanted.matches(local) || wanted.matches(topic))
    }

    fn shown_event(&self, event: &Event) -> ShownEvent {
        let hub = &self.service.hub;
        let profile = hub.profiles().of(event.body.topic.as_str());
        let json = |bytes: &[u8]| RawValue::from_string(String::from_utf8(bytes.to_vec()).ok()?).ok();
        let audience = event.body.audience.grants().iter();
        ShownEvent {
            name: event.body.name.to_string(),
            topic: profile.local(event.body.topic.as_str()).to_owned(),
            profile: profile.name().to_owned(),
            // Data was checked to be JSON when it was published.
            data: json(&event.body.data).unwrap_or_default(),
            time: event.body.time.0,
            cursor: hub.cursor(event.offset).to_string(),
            audience: audience.map(|grant| profile.local(grant.as_str()).to_owned()).collect(),
            key: event.body.key.as_deref().map(|key| profile.local(key).to_owned()),
            scope: json(&event.body.scope),
        }
    }
}

fn unreadable(error: &BrokerError) -> Problem {
    tracing::error!(%error, "the log can't be read");
    Problem::unavailable(2, "log-unavailable", "the log can't be read at the moment")
}
