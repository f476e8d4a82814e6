//! `/console`: the console's files, as they were when the program was built.

use std::collections::BTreeMap;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use tidings_transports::Problem;
use tidings_transports::service::method_not_allowed;

use crate::page;

/// Where it is.
const PATH: &str = "/console";

/// What its pages may do: run and load its own files, and talk to the server they came from (CSP Level 3).
const POLICY: &str = "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
    worker-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The files that were there when the program was built.
pub const EMBEDDED: &[File] = include!(concat!(env!("OUT_DIR"), "/console.rs"));

/// One file.
#[derive(Clone, Copy, Debug)]
pub struct File {
    /// Its path below `/console/`.
    pub path: &'static str,
    /// Its bytes.
    pub plain: &'static [u8],
    /// What gzip made of them.
    pub packed: Option<&'static [u8]>,
}

/// The files by their paths.
pub struct Console(BTreeMap<&'static str, Served>);

struct Served {
    file: File,
    /// The tag of its bytes, without quotes.
    tag: String,
}

impl Console {
    /// A console of these files; without an `index.html` there is none.
    pub fn new(files: &[File]) -> Self {
        let served = files.iter().map(|file| {
            let tag = URL_SAFE_NO_PAD.encode(&Sha256::digest(file.plain)[..12]);
            (file.path, Served { file: *file, tag })
        });
        Console(served.collect())
    }

    /// Whether there is one.
    pub fn is_built(&self) -> bool {
        self.0.contains_key("index.html")
    }

    /// The file at a path below `/console/`. Its views have paths of their own, without a dot, and are all one file.
    fn at(&self, path: &str) -> Option<&Served> {
        let is_view = !path.rsplit('/').next().unwrap_or_default().contains('.');
        self.0.get(if is_view { "index.html" } else { path })
    }

    /// Answers a request for `path`, which is below `/console/`.
    fn answer(&self, path: &str, asked: &HeaderMap) -> Response {
        let Some(Served { file, tag }) = self.at(path) else {
            let detail = format!("the console has no file {PATH}/{path}");
            return Problem::new(StatusCode::NOT_FOUND, "not-found", detail).into_response();
        };
        let packed = file.packed.filter(|_| takes_gzip(asked));
        // Other bytes, another tag (RFC 9110 §8.8.3.3).
        let tag = if packed.is_some() { format!("\"{tag}-gz\"") } else { format!("\"{tag}\"") };
        let is_known = knows(asked, &tag);
        let body = if is_known { Body::empty() } else { Body::from(packed.unwrap_or(file.plain)) };
        let mut response = Response::new(body);
        if is_known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        let headers = response.headers_mut();
        if packed.is_some() && !is_known {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if let Ok(tag) = HeaderValue::from_str(&tag) {
            headers.insert(header::ETAG, tag);
        }
        let keep = if is_hashed(file.path) { "public, max-age=31536000, immutable" } else { "no-cache" };
        for (name, value) in [
            (header::CONTENT_TYPE, content_type(file.path)),
            (header::CACHE_CONTROL, keep),
            (header::VARY, "accept-encoding"),
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

/// The routes of the console; where it was not built, the plain page says how to get it.
pub fn router(console: Console) -> Router {
    let console = Arc::new(console);
    let routes = [PATH.to_owned(), format!("{PATH}/"), format!("{PATH}/{{*path}}")];
    let router = routes.iter().fold(Router::new(), |router, path| router.route(path, any(serve)));
    router.with_state(console)
}

async fn serve(State(console): State<Arc<Console>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    if parts.method != Method::GET && parts.method != Method::HEAD {
        return method_not_allowed("GET, HEAD");
    }
    let below = parts.uri.path().strip_prefix(PATH).unwrap_or_default();
    match (console.is_built(), below) {
        (true, _) => console.answer(below.strip_prefix('/').unwrap_or_default(), &parts.headers),
        (false, "") => page::response(page::Mention::NotBuilt),
        // Its links are relative to where it is.
        (false, _) => (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, PATH)]).into_response(),
    }
}

/// Whether gzip is taken (RFC 9110 §12.5.3): by name or by `*`, and not with `q=0`.
fn takes_gzip(asked: &HeaderMap) -> bool {
    let values = asked.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let mut by_any = false;
    for coding in values.flat_map(|value| value.split(',')) {
        let mut parts = coding.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let refused = parts.any(|part| matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"));
        match name {
            "gzip" => return !refused,
            "*" => by_any = !refused,
            _ => {}
        }
    }
    by_any
}

/// Whether the client has what the tag is of (RFC 9110 §13.1.2).
fn knows(asked: &HeaderMap, tag: &str) -> bool {
    let values = asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).any(|known| {
        // By the weak comparison that is asked for there.
        known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag
    })
}

/// Whether a part of the name follows from the bytes, so that they never change: `assets/index-C__EQMyM.js`.
fn is_hashed(path: &str) -> bool {
    let name = path.strip_prefix("assets/").and_then(|name| name.split('.').next()).unwrap_or_default();
    let hash = name.len().checked_sub(9).and_then(|at| name.get(at..)).and_then(|end| end.strip_prefix('-'));
    hash.is_some_and(|hash| hash.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')))
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: &[File] = &[
        File { path: "index.html", plain: b"<!doctype html>", packed: Some(b"packed") },
        File { path: "assets/index-C__EQMyM.js", plain: b"run()", packed: Some(b"packed too") },
        File { path: "assets/icon-CNSd8pQB.svg", plain: b"<svg/>", packed: None },
        File { path: "robots.txt", plain: b"", packed: None },
    ];

    fn ask(path: &str, headers: &[(&'static str, &str)]) -> (StatusCode, HeaderMap) {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        let response = Console::new(FILES).answer(path, &headers);
        (response.status(), response.headers().clone())
    }

    fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
        headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    #[test]
    fn each_view_is_the_page_and_what_is_no_file_is_not_there() {
        for path in ["", "streams", "topics/a"] {
            let (status, headers) = ask(path, &[]);
            assert_eq!(
                (status, text(&headers, "content-type")),
                (StatusCode::OK, "text/html; charset=utf-8"),
                "{path}"
            );
            assert_eq!(text(&headers, "cache-control"), "no-cache");
        }
        for path in ["assets/other.js", "assets/../index.html", ".env", "index.html.gz"] {
            assert_eq!(ask(path, &[]).0, StatusCode::NOT_FOUND, "{path}");
        }
    }

    #[test]
    fn what_has_a_hash_in_its_name_is_kept_for_good() {
        let (_, headers) = ask("assets/index-C__EQMyM.js", &[]);
        assert_eq!(text(&headers, "cache-control"), "public, max-age=31536000, immutable");
        assert_eq!(text(&headers, "content-type"), "text/javascript; charset=utf-8");
        for path in ["index.html", "robots.txt", "assets/plain.js", "assets/short-abc.js", "index-C__EQMyM.js"] {
            assert!(!is_hashed(path), "{path}");
        }
    }

    #[test]
    fn gzip_is_sent_to_who_takes_it_under_a_tag_of_its_own() {
        let plain = ask("", &[]).1;
        for (accepts, packed) in
            [("gzip, br", true), ("br, *", true), ("gzip;q=0, *", false), ("br", false), ("*;q=0", false)]
        {
            let (_, headers) = ask("", &[("accept-encoding", accepts)]);
            assert_eq!(text(&headers, "content-encoding") == "gzip", packed, "{accepts}");
            assert_eq!(text(&headers, "etag") != text(&plain, "etag"), packed, "{accepts}");
        }
        let (_, headers) = ask("assets/icon-CNSd8pQB.svg", &[("accept-encoding", "gzip")]);
        assert_eq!(text(&headers, "content-encoding"), "", "there is nothing packed of it");
        assert_eq!(text(&headers, "vary"), "accept-encoding");
    }

    #[test]
    fn who_has_the_file_is_told_so() {
        let (_, headers) = ask("", &[]);
        let tag = text(&headers, "etag");
        for known in [tag, &format!("W/{tag}"), &format!("\"x\", {tag}"), "*"] {
            assert_eq!(ask("", &[("if-none-match", known)]).0, StatusCode::NOT_MODIFIED, "{known}");
        }
        assert_eq!(ask("", &[("if-none-match", "\"x\"")]).0, StatusCode::OK);
        assert_eq!(ask("", &[("if-none-match", tag), ("accept-encoding", "gzip")]).0, StatusCode::OK);
    }

    #[test]
    fn nothing_but_its_own_files_runs_in_it_and_no_other_page_frames_it() {
        let (_, headers) = ask("", &[]);
        let policy = text(&headers, "content-security-policy");
        for part in ["default-src 'self'", "script-src 'self'", "frame-ancestors 'none'"] {
            assert!(policy.split("; ").any(|found| found == part), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
    }
}
