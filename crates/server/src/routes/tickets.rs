//! `POST /v1/tickets`: a credential for one time, for where a browser can only give a URL.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde::Deserialize;
use serde_json::json;
use tidings_transports::Problem;

use super::asker::{read, who};
use super::{Shared, unknown_profile};
use crate::auth::issue_ticket;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TicketRequest {
    /// Seconds.
    ttl: Option<u64>,
    /// Whose door the caller's credential is for.
    profile: Option<String>,
}

pub(super) async fn tickets(State(shared): State<Arc<Shared>>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let asked: TicketRequest = read(&shared, &parts, body).await?;
    let door = match &asked.profile {
        None => &shared.doors.open,
        Some(name) => shared.doors.profiles.get(name).ok_or_else(|| unknown_profile(name))?,
    };
    let principal = who(door, &parts).await?;
    let ttl = asked.ttl.map_or(crate::auth::ticket::DEFAULT_TTL, Duration::from_secs).min(crate::auth::ticket::MAX_TTL);
    let doors = &shared.doors;
    let ticket = issue_ticket(&*doors.store, &*doors.clock, &doors.recheck, &principal, ttl).await?;
    let answer = Json(json!({ "ticket": ticket, "expires_in": ttl.as_secs() }));
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], answer).into_response())
}
