//! Refusals: problem details for HTTP (RFC 9457), which say what is wrong, where, and what to do.

use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};

/// A refusal on its way to the client.
#[derive(Clone, Debug)]
pub struct Problem {
    /// The status of the answer.
    pub status: StatusCode,
    /// A short name of the kind of problem, stable for programs: `invalid-token`, `unknown-event`.
    pub code: &'static str,
    /// A sentence with the values in it. Never holds a secret.
    pub detail: String,
    /// Headers that the status asks for: `WWW-Authenticate`, `Retry-After`, `Allow`. Boxed, as most have none.
    pub headers: Box<Vec<(HeaderName, HeaderValue)>>,
    /// More members of the problem object: `index`, `field`, `limit`. Boxed, as most have none.
    pub members: Box<Map<String, Value>>,
}

impl Problem {
    /// A refusal with a sentence.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Problem { status, code, detail: detail.into(), headers: Box::default(), members: Box::default() }
    }

    /// 401 with `WWW-Authenticate: Bearer` (RFC 6750 §3). Without an `error` code when no credential was there at all, as §3.1 asks.
    pub fn unauthorized(error: Option<&str>, detail: impl Into<String>) -> Self {
        let challenge = match error {
            Some(error) => format!("Bearer realm=\"tidings\", error=\"{error}\""),
            None => "Bearer realm=\"tidings\"".to_owned(),
        };
        let code = if error.is_some() { "invalid-credential" } else { "no-credential" };
        Problem::new(StatusCode::UNAUTHORIZED, code, detail).header(header::WWW_AUTHENTICATE, &challenge)
    }

    /// 503 with `Retry-After`.
    pub fn unavailable(retry_after_secs: u32, code: &'static str, detail: impl Into<String>) -> Self {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, detail)
            .header(header::RETRY_AFTER, &retry_after_secs.to_string())
    }

    /// The same with one more header.
    pub fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }

    /// The same with one more member in its body.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// The body as JSON.
    pub fn body(&self) -> Value {
        let mut body = json!({
            "type": format!("urn:tidings:problem:{}", self.code),
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        if let Some(object) = body.as_object_mut() {
            object.extend(self.members.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
        body
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.body().to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for (name, value) in *self.headers {
            headers.append(name, value);
        }
        response
    }
}
