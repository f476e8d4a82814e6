//! The plain live page at `/`: lists events as they come and publishes one. One file, no build step, nothing loaded from elsewhere.

use axum::response::{Html, IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, header};
use sha2::{Digest, Sha256};

/// The page. Its script and its style are one inline block each, so that a policy can name them by hash.
pub const HTML: &str = include_str!("page/index.html");

/// Where the page speaks of the console.
const PLACE: &str = "<!-- console -->";

/// What the page says of the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mention {
    /// Nothing: the settings turn it off.
    Nothing,
    /// Where it is.
    Link,
    /// That the program was built without it, and how to get it.
    NotBuilt,
}

/// The page as it is sent.
pub fn response(mention: Mention) -> Response {
    let said = match mention {
        Mention::Nothing => "",
        Mention::Link => "<a href=\"console\">Console</a>",
        Mention::NotBuilt => {
            "<span>This program was built without the console. With Node 20.19 or later: \
             <code>npm ci &amp;&amp; npm run build -w @tidings/client -w @tidings/console</code>, then build it again.</span>"
        }
    };
    let headers = [
        (header::CONTENT_SECURITY_POLICY, policy()),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (headers, Html(HTML.replacen(PLACE, said, 1))).into_response()
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_a_place_for_the_console_outside_of_what_its_policy_names() {
        let (before, after) = HTML.split_once(PLACE).unwrap();
        assert!(!after.contains(PLACE));
        assert!(before.contains("</style>") && after.contains("<script>"));
    }
}
