//! The opening handshake (RFC 6455 §4.2): which request may become a connection, and the answer that makes it one. Pure.

use std::fmt;

use axum::body::Body;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, HOST, HeaderName, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use sha1::{Digest, Sha1};

use crate::problem::Problem;
use crate::stream::Cors;

/// The one version there is (§4.1).
const VERSION: &str = "13";

/// What the key is hashed with, so that the answer shows that it was understood as WebSocket (§1.3).
const ACCEPT_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// An upgrade request that was checked.
pub struct Upgrade {
    /// The answer to its key.
    accept: HeaderValue,
    /// The subprotocols it offers, what it likes best first. One may be a credential.
    pub protocols: Vec<String>,
}

impl fmt::Debug for Upgrade {
    /// Without the subprotocols: browsers have no other place for a token than there and in the query.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgrade").field("protocols", &self.protocols.len()).finish_non_exhaustive()
    }
}

/// Checks a request for an upgrade (§4.2.1).
///
/// One that is none is answered 426 with `Upgrade: websocket`, one for another version 426 with the version there is (§4.4), and
/// one whose key is none 400.
pub fn check(parts: &Parts) -> Result<Upgrade, Problem> {
    let headers = &parts.headers;
    let is_upgrade = parts.method == Method::GET
        && parts.version == Version::HTTP_11
        && has_token(headers, CONNECTION, "upgrade")
        && has_token(headers, UPGRADE, "websocket");
    if !is_upgrade {
        return Err(upgrade_required("this is a WebSocket endpoint: ask by GET over HTTP/1.1 with Upgrade: websocket"));
    }
    if only(headers, SEC_WEBSOCKET_VERSION) != Some(VERSION.as_bytes()) {
        let detail = format!("the version of WebSocket spoken here is {VERSION}");
        return Err(upgrade_required(detail).header(SEC_WEBSOCKET_VERSION, VERSION));
    }
    let accept = only(headers, SEC_WEBSOCKET_KEY).filter(|key| is_key(key)).and_then(accept_of);
    let accept = accept.ok_or_else(|| {
        Problem::new(StatusCode::BAD_REQUEST, "bad-handshake", "Sec-WebSocket-Key is not 16 bytes in base64")
    })?;
    let protocols = list(headers, SEC_WEBSOCKET_PROTOCOL).map(str::to_owned).collect();
    Ok(Upgrade { accept, protocols })
}

impl Upgrade {
    /// 101 with the answer to the key, and the subprotocol that was chosen among those offered, if any (§4.2.2).
    pub fn accept(&self, protocol: Option<&str>) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, self.accept.clone());
        if let Some(Ok(mut protocol)) = protocol.map(HeaderValue::from_str) {
            // It may be a token.
            protocol.set_sensitive(true);
            headers.insert(SEC_WEBSOCKET_PROTOCOL, protocol);
        }
        response
    }
}

fn upgrade_required(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::UPGRADE_REQUIRED, "upgrade-required", detail)
        .header(UPGRADE, "websocket")
        .header(CONNECTION, "Upgrade")
}

/// Whether a key is the base64 of 16 bytes (§4.2.1, 5). What bytes they are means nothing.
fn is_key(key: &[u8]) -> bool {
    // Room for what 24 characters may stand for before their padding is looked at; more of them don't fit.
    let mut bytes = [0; 18];
    matches!(STANDARD.decode_slice(key, &mut bytes), Ok(16))
}

/// `Sec-WebSocket-Accept` for a key (§4.2.2, 5.4).
fn accept_of(key: &[u8]) -> Option<HeaderValue> {
    let hash = Sha1::new().chain_update(key).chain_update(ACCEPT_GUID).finalize();
    HeaderValue::try_from(STANDARD.encode(hash)).ok()
}

/// The value of a header that stands there once (§11.3.1, §11.3.5).
fn only(headers: &HeaderMap, name: HeaderName) -> Option<&[u8]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then_some(value.as_bytes())
}

/// The elements of a header that is a list, whether it stands there once or several times (RFC 9110 §5.3, §5.6.1).
fn list(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|element| !element.is_empty())
}

fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    list(headers, name).any(|element| element.eq_ignore_ascii_case(token))
}

/// Whether a page of this request's `Origin` may open a connection: none (it is no browser), the same origin, or one that `cors`
/// allows.
///
/// Browsers do not apply CORS to WebSocket, so the server has to look (§10.2). They send cookies along too, whatever the origin:
/// under [`Cors::Any`], which stands for pages without credentials, a cookie must count only if [`is_same_origin`].
pub fn is_origin_allowed(cors: &Cors, headers: &HeaderMap) -> bool {
    is_same_origin(headers)
        || match cors {
            Cors::Same => false,
            Cors::Any => true,
            Cors::Origins(_) => headers.get_all(ORIGIN).iter().all(|origin| cors.lists(origin)),
        }
}

/// Whether the request comes from no page at all, or from one of this server's own: `Origin` names the host and port of `Host`.
///
/// The scheme is not compared, as a proxy in front may speak TLS for us; it says which port is meant where none is named.
pub fn is_same_origin(headers: &HeaderMap) -> bool {
    let mut origins = headers.get_all(ORIGIN).iter().peekable();
    if origins.peek().is_none() {
        return true;
    }
    let host = only(headers, HOST).and_then(authority);
    host.is_some_and(|host| origins.all(|origin| is_at(origin, &host)))
}

fn is_at(origin: &HeaderValue, host: &Authority) -> bool {
    let Some((scheme, origin)) = origin.to_str().ok().and_then(|origin| origin.split_once("://")) else {
        // `null`: a sandboxed page, a file.
        return false;
    };
    let default_port = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return false,
    };
    let port = |at: &Authority| at.port_u16().unwrap_or(default_port);
    authority(origin.as_bytes())
        .is_some_and(|origin| origin.host().eq_ignore_ascii_case(host.host()) && port(&origin) == port(host))
}

/// A host and perhaps a port, with no user before them, who would make it look like another.
fn authority(bytes: &[u8]) -> Option<Authority> {
    Authority::try_from(bytes).ok().filter(|authority| !authority.as_str().contains('@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    /// The request of RFC 6455 §1.3, with its headers changed by `changes`: an empty value takes one away, others add one more.
    fn request(changes: &[(&str, &str)]) -> Parts {
        let sample = [
            ("host", "server.example.com"),
            ("upgrade", "websocket"),
            ("connection", "Upgrade"),
            ("sec-websocket-key", KEY),
            ("sec-websocket-version", "13"),
        ];
        let taken = |name: &str| changes.contains(&(name, ""));
        let kept = sample.iter().filter(|(name, _)| !taken(name));
        let added = changes.iter().filter(|(_, value)| !value.is_empty());
        let builder = http::Request::get("/chat");
        let builder = kept.chain(added).fold(builder, |builder, (name, value)| builder.header(*name, *value));
        builder.body(()).unwrap().into_parts().0
    }

    /// The same with one header's value replaced.
    fn with(name: &str, value: &str) -> Parts {
        request(&[(name, ""), (name, value)])
    }

    fn header(name: HeaderName, problem: &Problem) -> Option<&str> {
        problem.headers.iter().find(|(other, _)| *other == name).map(|(_, value)| value.to_str().unwrap())
    }

    #[test]
    fn the_sample_of_the_rfc_is_answered_as_there() {
        let upgrade = check(&request(&[("sec-websocket-protocol", "chat, superchat")])).unwrap();
        assert_eq!(upgrade.protocols, ["chat", "superchat"]);
        let response = upgrade.accept(Some("chat"));
        assert_eq!(response.status(), 101);
        assert_eq!(response.headers()[UPGRADE], "websocket");
        assert_eq!(response.headers()[CONNECTION], "Upgrade");
        assert_eq!(response.headers()[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(response.headers()[SEC_WEBSOCKET_PROTOCOL], "chat");
    }

    #[test]
    fn no_subprotocol_is_named_that_was_not_chosen() {
        let upgrade = check(&request(&[("sec-websocket-protocol", "chat")])).unwrap();
        assert!(!upgrade.accept(None).headers().contains_key(SEC_WEBSOCKET_PROTOCOL));
    }

    #[test]
    fn lists_are_read_whatever_their_case_and_number_of_headers() {
        let connection = with("connection", "keep-alive, UPGRADE");
        assert!(check(&connection).is_ok());
        assert!(check(&with("upgrade", "h2c, WebSocket")).is_ok());
        assert!(check(&request(&[("connection", "keep-alive")])).is_ok());
        let twice = request(&[("sec-websocket-protocol", "a ,, b"), ("sec-websocket-protocol", "c")]);
        assert_eq!(check(&twice).unwrap().protocols, ["a", "b", "c"]);
    }

    #[test]
    fn what_is_no_upgrade_is_told_to_upgrade() {
        let changed = |change: fn(&mut Parts)| {
            let mut parts = request(&[]);
            change(&mut parts);
            parts
        };
        let requests = [
            request(&[("upgrade", "")]),
            request(&[("connection", "")]),
            with("upgrade", "websockets"),
            with("connection", "close"),
            changed(|parts| parts.method = Method::POST),
            changed(|parts| parts.version = Version::HTTP_10),
            changed(|parts| parts.version = Version::HTTP_2),
        ];
        for parts in requests {
            let problem = check(&parts).unwrap_err();
            assert_eq!(problem.status, 426, "{parts:?}");
            assert_eq!(header(UPGRADE, &problem), Some("websocket"), "{parts:?}");
            assert_eq!(header(SEC_WEBSOCKET_VERSION, &problem), None, "{parts:?}");
        }
    }

    #[test]
    fn another_version_is_told_the_one_there_is() {
        let version = "sec-websocket-version";
        for parts in [request(&[(version, "")]), with(version, "8"), with(version, "13, 8"), request(&[(version, "8")])]
        {
            let problem = check(&parts).unwrap_err();
            assert_eq!(problem.status, 426, "{parts:?}");
            assert_eq!(header(SEC_WEBSOCKET_VERSION, &problem), Some("13"), "{parts:?}");
        }
    }

    #[test]
    fn a_key_is_sixteen_bytes_in_base64_and_stands_there_once() {
        let key = "sec-websocket-key";
        let bad = [
            "a",
            "dGhlIHNhbXBsZSBub25jZQ",
            "dGhlIHNhbXBsZSBub25j",
            "dGhlIHNhbXBsZSBub25jZWU=",
            "dGhlIHNhbXBsZSBub25jZWVl",
            "dGhlIHNhbXBsZSBub25jZ.==",
            "dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ==",
        ];
        let requests = bad.map(|value| with(key, value)).into_iter();
        for parts in requests.chain([request(&[(key, "")]), request(&[(key, KEY)])]) {
            assert_eq!(check(&parts).unwrap_err().status, 400, "{parts:?}");
        }
    }

    #[test]
    fn a_token_among_the_subprotocols_is_not_shown() {
        let upgrade = check(&request(&[("sec-websocket-protocol", "bearer.secret")])).unwrap();
        assert!(!format!("{upgrade:?} {:?}", upgrade.accept(Some("bearer.secret"))).contains("secret"));
    }

    #[test]
    fn a_page_may_connect_from_its_own_server_and_where_cors_allows() {
        let listed = Cors::Origins(vec!["https://app.example".into()]);
        let (own, listed_only, any_only) = ([true, true, true], [false, true, true], [false, false, true]);
        let cases = [
            ("x.example", "https://x.example", own),
            ("x.example", "http://x.example", own),
            ("X.example", "https://x.EXAMPLE", own),
            ("x.example:443", "https://x.example", own),
            ("x.example", "http://x.example:80", own),
            ("x.example:8080", "http://x.example:8080", own),
            ("[::1]:8080", "http://[::1]:8080", own),
            ("x.example", "https://app.example", listed_only),
            ("x.example", "https://app.example.evil.example", any_only),
            ("x.example:8080", "http://x.example", any_only),
            ("x.example", "http://x.example:443", any_only),
            ("x.example", "https://x.example.evil.example", any_only),
            ("x.example", "https://x.example@evil.example", any_only),
            ("user@x.example", "https://x.example", any_only),
            ("x.example", "https://evil.example/x.example", any_only),
            ("x.example", "ftp://x.example", any_only),
            ("x.example", "x.example", any_only),
            ("x.example", "https://", any_only),
            ("x.example", "null", any_only),
            ("", "https://x.example", any_only),
            ("", "https://", any_only),
        ];
        for (host, origin, expected) in cases {
            let headers = with("host", host).headers;
            let no_page = [&Cors::Same, &listed, &Cors::Any].map(|cors| is_origin_allowed(cors, &headers));
            assert_eq!(no_page, own, "{host}");
            let parts = request(&[("host", ""), ("host", host), ("origin", origin)]);
            let allowed = [&Cors::Same, &listed, &Cors::Any].map(|cors| is_origin_allowed(cors, &parts.headers));
            assert_eq!(allowed, expected, "{origin} at {host}");
        }
    }

    #[test]
    fn a_second_origin_must_be_allowed_too() {
        let listed = Cors::Origins(vec!["https://app.example".into()]);
        for origin in ["https://app.example", "https://server.example.com"] {
            let parts = request(&[("origin", origin), ("origin", "https://evil.example")]);
            assert!(!is_origin_allowed(&Cors::Same, &parts.headers));
            assert!(!is_origin_allowed(&listed, &parts.headers));
        }
    }
}
