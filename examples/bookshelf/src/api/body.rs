//! What a request says, with refusals of our own form.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Json, Path, Query, Request};
use http::{StatusCode, request};
use serde::de::DeserializeOwned;
use tidings_transports::{Peer, Problem};

/// A JSON document.
pub struct Body<T>(pub T);

/// The number in the path.
pub struct Id(pub i64);

/// Where the request comes from: a proxy, if there is one in front.
pub struct Address(pub IpAddr);

/// The query.
pub struct Asked<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let read = Json::<T>::from_request(request, state).await;
        let Json(body) = read.map_err(|refused: JsonRejection| {
            let status = refused.status();
            let code = match status {
                StatusCode::UNSUPPORTED_MEDIA_TYPE => "unsupported-media-type",
                StatusCode::PAYLOAD_TOO_LARGE => "too-large",
                StatusCode::UNPROCESSABLE_ENTITY => "invalid-request",
                _ => "invalid-json",
            };
            Problem::new(status, code, refused.body_text())
        })?;
        Ok(Body(body))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut request::Parts, state: &S) -> Result<Self, Problem> {
        let read: Result<Path<i64>, PathRejection> = Path::from_request_parts(parts, state).await;
        let not_there = |_| Problem::new(StatusCode::NOT_FOUND, "not-found", "there is nothing of that number");
        read.map(|Path(id)| Id(id)).map_err(not_there)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Address {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut request::Parts, _: &S) -> Result<Self, Infallible> {
        let unknown = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Ok(Address(parts.extensions.get::<Peer>().map_or(unknown, |peer| peer.0)))
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut request::Parts, state: &S) -> Result<Self, Problem> {
        let read: Result<Query<T>, QueryRejection> = Query::from_request_parts(parts, state).await;
        let invalid =
            |refused: QueryRejection| Problem::new(StatusCode::BAD_REQUEST, "invalid-query", refused.body_text());
        read.map(|Query(asked)| Asked(asked)).map_err(invalid)
    }
}
