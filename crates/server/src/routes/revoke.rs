//! `POST /v1/revoke`: shuts somebody out.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use tidings::{CloseReason, Revocation, Timestamp};
use tidings_transports::Problem;

use super::asker::{operator, read};
use super::{Shared, unknown_profile};
use crate::auth::{Revocations, RevokeCallback, duration};

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RevokeRequest {
    principal: Option<String>,
    session: Option<String>,
    key: Option<String>,
    /// In which profile alone; else everywhere.
    profile: Option<String>,
    /// For how long the credential is refused, written or in seconds; its longest life.
    #[serde(rename = "for", deserialize_with = "duration::written_or_seconds")]
    refuse_for: Option<Duration>,
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
        (None, None, Some(key)) => {
            // A name would be kept as an id that no key has, and the key would go on working. If it can't be known, the door is shut.
            if let Ok(None) = shared.doors.store.find_key(&key).await {
                let detail = format!("no key has the id {key:?}; `tidings key list` shows the ids");
                return Err(Problem::new(StatusCode::NOT_FOUND, "no-such-key", detail));
            }
            Revocation::key(key)
        }
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
    let until = shared.doors.clock.now().after(asked.refuse_for.unwrap_or(REVOKED_FOR));
    tracing::info!(by = %by.id, ?revocation, "revoked");
    match in_full(&shared.doors.revocations, &shared.doors.revoke, revocation, until).await {
        true => Ok(Json(json!({ "revoked": true, "until": until.0 })).into_response()),
        false => Err(Problem::unavailable(
            2,
            "store-unavailable",
            "the live streams were ended, but the revocation could not be kept: try again",
        )),
    }
}

/// Shuts the door, ends the streams that the revocation covers, and keeps it. Says whether it could be kept.
///
/// A task of its own: the streams end also if whoever asked is gone before the revocation is kept.
async fn in_full(
    revocations: &Arc<Revocations>,
    revoke: &RevokeCallback,
    revocation: Revocation,
    until: Timestamp,
) -> bool {
    let (revocations, revoke) = (revocations.clone(), revoke.clone());
    let shut_out = tokio::spawn(async move {
        let at = revocations.shut_out(revocation.clone(), until);
        // Before it is kept, and also if it can't be: who revokes wants them gone now.
        revoke(revocation.clone(), CloseReason::Revoked);
        let kept = revocations.keep(revocation, at, until).await;
        if let Err(error) = &kept {
            tracing::error!(%error, "a revocation could not be kept");
        }
        kept.is_ok()
    });
    shut_out.await.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::task::{Context, Waker};

    use tidings::SystemClock;

    use super::*;
    use crate::auth::MemoryStore;

    #[tokio::test]
    async fn the_streams_end_also_if_whoever_asked_goes_away_at_once() {
        let clock = Arc::new(SystemClock);
        let store = Arc::new(MemoryStore::default());
        let revocations = Arc::new(Revocations::new(store, clock));
        let (ended, mut told) = tokio::sync::mpsc::unbounded_channel();
        let revoke: RevokeCallback = Arc::new(move |of, _| drop(ended.send(of)));
        let mut asked = Box::pin(in_full(&revocations, &revoke, Revocation::principal("u"), Timestamp(u64::MAX)));
        assert!(asked.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        drop(asked);
        drop(revoke);
        assert_eq!(told.recv().await, Some(Revocation::principal("u")));
    }
}
