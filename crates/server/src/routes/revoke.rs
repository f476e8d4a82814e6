//! `POST /v1/revoke`: shuts somebody out.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use tidings::{CloseReason, Revocation};
use tidings_transports::Problem;

use super::asker::{operator, read};
use super::{Shared, unknown_profile};

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RevokeRequest {
    principal: Option<String>,
    session: Option<String>,
    key: Option<String>,
    /// In which profile alone; else everywhere.
    profile: Option<String>,
    /// For how many seconds the credential is refused; its longest life.
    #[serde(rename = "for")]
    refuse_for: Option<u64>,
}

/// The longest life of a token that anybody should hand out: so long a revocation is remembered if not told otherwise.
const REVOKED_FOR: Duration = Duration::from_secs(30 * 86_400);

pub(super) async fn revoke(State(shared): State<Arc<Shared>>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let by = operator(&shared, &parts).await?;
    let asked: RevokeRequest = read(&shared, &parts, body).await?;
    let revocation = match (asked.principal, asked.session, asked.key) {
        (Some(id), None, None) => Revocation::principal(id),
        (None, Some(session), None) => Revocation::session(session),
        (None, None, Some(key)) => Revocation::key(key),
        _ => {
            let detail = "name one of `principal`, `session` and `key`";
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-revocation", detail));
        }
    };
    let namespace = match &asked.profile {
        None => None,
        Some(name) => {
            let profile = shared.service.hub.profiles().named(name).ok_or_else(|| unknown_profile(name))?;
            profile.namespace().map(Arc::from)
        }
    };
    let revocation = revocation.within(namespace);
    let until = shared.doors.clock.now().after(asked.refuse_for.map_or(REVOKED_FOR, Duration::from_secs));
    tracing::info!(by = %by.id, ?revocation, "revoked");
    let (revocations, kept) = (shared.doors.revocations.clone(), revocation.clone());
    let kept = tokio::task::spawn_blocking(move || revocations.revoke(kept, until)).await;
    // Live streams end also if it could not be kept: who revokes wants them gone now.
    (shared.doors.revoke)(revocation, CloseReason::Revoked);
    match kept {
        Ok(Ok(())) => Ok(Json(json!({ "revoked": true, "until": until.0 })).into_response()),
        Ok(Err(_)) | Err(_) => Err(Problem::unavailable(
            2,
            "store-unavailable",
            "the live streams were ended, but the revocation could not be kept: try again",
        )),
    }
}
