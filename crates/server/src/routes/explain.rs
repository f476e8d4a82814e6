//! `GET /v1/explain`: why somebody does or does not get an event.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, request};
use serde::Deserialize;
use serde_json::{Value, json};
use tidings::{Cursor, Event, Filter, Offset, Principal, Query, TopicPattern, explain};
use tidings_transports::Problem;

use super::Shared;
use super::asker::{operator, query};

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExplainRequest {
    cursor: Option<String>,
    principal: Option<String>,
    grants: Option<String>,
    topics: Option<String>,
}

pub(super) async fn explain_event(
    State(shared): State<Arc<Shared>>,
    parts: request::Parts,
) -> Result<Response, Problem> {
    let caller = operator(&shared, &parts).await?;
    let asked: ExplainRequest = query(&parts, &shared.doors.credentials)?;
    let hub = &shared.service.hub;
    let event = find_event(&shared, asked.cursor.as_deref().unwrap_or_default()).await?;
    let profile = hub.profiles().of(event.topic.as_str()).clone();
    let invalid =
        |error: tidings::InvalidTopic| Problem::new(StatusCode::BAD_REQUEST, "invalid-grant", error.to_string());
    let split =
        |list: &str| list.split(',').map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned).collect();
    let patterns = |list: Vec<String>| -> Result<Vec<TopicPattern>, Problem> {
        list.iter().map(|text| profile.qualify(text).parse().map_err(invalid)).collect()
    };
    let filter = match &asked.topics {
        Some(topics) => Filter::topics(patterns(split(topics))?),
        None => Filter::all(),
    };
    let readers: Vec<(Arc<Principal>, Option<String>, Filter)> = match (&asked.principal, &asked.grants) {
        (Some(id), _) => {
            let open = shared.service.streams().await;
            let theirs = open.into_iter().filter(|stream| *stream.principal.id == **id);
            theirs.map(|stream| (stream.principal, Some(stream.profile), stream.filter)).collect()
        }
        (None, Some(grants)) => {
            let held: Vec<String> = split(grants);
            let held = held.iter().map(|text| text.parse().map_err(invalid)).collect::<Result<Vec<_>, _>>()?;
            vec![(Arc::new(Principal::new("somebody", profile.hold(held), "given")), None, filter)]
        }
        (None, None) => vec![(caller, None, filter)],
    };
    let now = hub.clock().now();
    let rule = hub.profiles().rule(&event);
    let explained: Vec<Value> = readers
        .iter()
        .map(|(principal, stream_profile, filter)| {
            let explanation = explain(&profile, &rule, principal, filter, &event, now);
            json!({
                "principal": *principal.id,
                "profile": stream_profile,
                "given": explanation.given,
                "steps": explanation.steps,
            })
        })
        .collect();
    let answer = json!({
        "cursor": hub.cursor(event.offset).to_string(),
        "name": *event.name,
        "topic": profile.local(event.topic.as_str()),
        "profile": profile.name(),
        "audience": event.audience.grants().iter().map(|grant| profile.local(grant.as_str())).collect::<Vec<_>>(),
        "readers": explained,
        "note": explained.is_empty().then_some("no stream of this principal is open here; give its grants with ?grants="),
    });
    Ok(Json(answer).into_response())
}

/// The event at a cursor.
async fn find_event(shared: &Shared, cursor: &str) -> Result<Event, Problem> {
    let hub = &shared.service.hub;
    let cursor: Cursor = cursor
        .parse()
        .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, "invalid-cursor", format!("?cursor=: {error}")))?;
    let gone = || {
        let detail = format!("there is no event at {cursor}: it was trimmed, or is of another log");
        Problem::new(StatusCode::NOT_FOUND, "no-such-event", detail)
    };
    if hub.cursor(cursor.offset) != cursor || cursor.offset == Offset::START {
        return Err(gone());
    }
    let query = Query {
        topics: None,
        after: Offset(cursor.offset.0 - 1),
        until: cursor.offset,
        limit: 1,
        max_bytes: usize::MAX,
    };
    match hub.broker().read(query).await {
        Ok(page) => page.events.into_iter().next().ok_or_else(gone),
        Err(tidings::BrokerError::Trimmed { .. }) => Err(gone()),
        Err(error) => {
            tracing::error!(%error, "an event can't be read");
            Err(Problem::unavailable(2, "log-unavailable", "the log can't be read at the moment"))
        }
    }
}
