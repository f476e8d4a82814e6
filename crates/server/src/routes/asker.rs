//! Who asks, and with what body.

use std::sync::Arc;

use axum::body::Body;
use http::{StatusCode, Uri, header, request};
use serde::de::DeserializeOwned;
use tidings::Principal;
use tidings_transports::publish::collect;
use tidings_transports::{Authenticate, Peer, Problem};

use super::Shared;

/// Whose credential the request carries.
pub(crate) async fn who(door: &Arc<dyn Authenticate>, parts: &request::Parts) -> Result<Arc<Principal>, Problem> {
    let peer = parts.extensions.get::<Peer>().map_or(std::net::Ipv4Addr::UNSPECIFIED.into(), |peer| peer.0);
    let (method, uri, headers) = (&parts.method, &parts.uri, &parts.headers);
    let request = tidings_transports::Request { method, uri, headers, peer, payload: None };
    door.authenticate(request).await
}

/// The same, if it is an operator.
pub(super) async fn operator(shared: &Shared, parts: &request::Parts) -> Result<Arc<Principal>, Problem> {
    operator_at(&shared.doors.open, parts).await
}

/// The same at this door.
pub(crate) async fn operator_at(
    door: &Arc<dyn Authenticate>,
    parts: &request::Parts,
) -> Result<Arc<Principal>, Problem> {
    let principal = who(door, parts).await?;
    if principal.operator {
        return Ok(principal);
    }
    let detail = format!("{} is not an operator: make a key with `tidings key create --operator`", principal.id);
    Err(Problem::new(StatusCode::FORBIDDEN, "not-an-operator", detail))
}

/// What the query asks for, beside a credential in a parameter of one of these names.
pub(crate) fn query<T: DeserializeOwned>(parts: &request::Parts, credentials: &[String]) -> Result<T, Problem> {
    let pairs = parts.uri.query().unwrap_or_default().split('&');
    let name = |pair: &str| pair.split_once('=').map_or(pair, |(name, _)| name).to_owned();
    let asked: Vec<&str> = pairs.filter(|pair| !credentials.contains(&name(pair))).collect();
    let invalid = |detail: String| Problem::new(StatusCode::BAD_REQUEST, "invalid-query", detail);
    let uri: Uri = format!("/?{}", asked.join("&")).parse().map_err(|_| invalid("it can't be read".to_owned()))?;
    let asked = axum::extract::Query::<T>::try_from_uri(&uri).map_err(|error| invalid(error.body_text()))?;
    Ok(asked.0)
}

/// A JSON body of a known form; an empty one is the default form.
pub(super) async fn read<T: DeserializeOwned + Default>(
    shared: &Shared,
    parts: &request::Parts,
    body: Body,
) -> Result<T, Problem> {
    let body = collect(body, shared.service.hub.limits()).await?;
    if body.is_empty() {
        return Ok(T::default());
    }
    let media = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !media.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        let detail = "send the body as `Content-Type: application/json`";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", detail));
    }
    serde_json::from_slice(&body)
        .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, "invalid-json", format!("the body: {error}")))
}
