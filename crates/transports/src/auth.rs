//! The seam to who asks.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use http::{HeaderMap, Method, Uri};
use serde_json::{Map, Value};
use tidings::Principal;

use crate::problem::Problem;

/// The parts of a request that may carry a credential.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Its method: some credentials count only on safe ones.
    pub method: &'a Method,
    /// Its target, with the query.
    pub uri: &'a Uri,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// The address of the peer that connected: of the proxy, if there is one.
    pub peer: IpAddr,
    /// What the client said in its first message, where the transport has such: the `auth` payload of Socket.IO's CONNECT
    /// packet, or an `authenticate` message.
    pub payload: Option<&'a Map<String, Value>>,
}

impl std::fmt::Debug for Request<'_> {
    /// Without what a credential may stand in.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (method, path) = (self.method, self.uri.path());
        f.debug_struct("Request").field("method", method).field("path", &path).finish_non_exhaustive()
    }
}

/// Says who asks. A transport never decides who may see what; it asks here and carries the answer to the hub.
#[async_trait]
pub trait Authenticate: Send + Sync + 'static {
    /// Who asks, or the refusal to answer with: 401 with `WWW-Authenticate` (RFC 6750 §3), 403, or 503 when it
    /// can't be known at the moment. A credential that is there and wrong never becomes "anonymous".
    async fn authenticate(&self, request: Request<'_>) -> Result<Arc<Principal>, Problem>;
}
