//! `/v1/streams`: who is connected.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::request;
use serde_json::{Value, json};
use tidings_transports::Problem;

use super::Shared;
use super::asker::operator;

pub(super) async fn list_streams(
    State(shared): State<Arc<Shared>>,
    parts: request::Parts,
) -> Result<Response, Problem> {
    operator(&shared, &parts).await?;
    let open = shared.service.streams().await;
    let streams: Vec<Value> = open
        .iter()
        .map(|stream| {
            let profile = shared.service.hub.profiles().of(stream.principal.namespace.as_deref().unwrap_or_default());
            let topics = stream.filter.topics.as_ref();
            let topics = topics.map(|topics| topics.iter().map(|t| profile.local(t.as_str())).collect::<Vec<_>>());
            json!({
                "principal": *stream.principal.id,
                "source": stream.principal.source,
                "profile": stream.profile,
                "transport": stream.transport,
                "topics": topics,
                "lag": stream.lag,
            })
        })
        .collect();
    Ok(Json(json!({ "streams": streams })).into_response())
}
