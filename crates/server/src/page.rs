//! The plain live page at `/`: lists events as they come and publishes one. One file, no build step, nothing loaded from elsewhere.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use sha2::{Digest, Sha256};

/// The page. Its script and its style are one inline block each, so that a policy can name them by hash.
pub const HTML: &str = include_str!("page/index.html");

/// What the page may do: run its own script and style, and talk to the server it came from (CSP Level 3).
pub fn policy() -> HeaderValue {
    let hash = |tag: &str| {
        let inner = HTML
            .split_once(&format!("<{tag}>"))
            .and_then(|(_, rest)| rest.split_once(&format!("</{tag}>")))
            .map_or("", |(inner, _)| inner);
        format!("'sha256-{}'", STANDARD.encode(Sha256::digest(inner.as_bytes())))
    };
    let policy = format!(
        "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        hash("script"),
        hash("style"),
    );
    HeaderValue::from_str(&policy).expect("hashes and keywords are visible ASCII")
}
