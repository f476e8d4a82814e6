//! The built pages, from a folder.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use axum::extract::State;
use axum::response::{Html, IntoResponse, Response};
use http::{Method, StatusCode, header, request};
use percent_encoding::percent_decode_str;
use tidings_transports::Problem;

use super::etag;
use crate::app::App;

/// What the pages may load and talk to: this origin alone. Their connections may live in a worker.
const POLICY: &str = "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; \
     worker-src 'self' blob:; base-uri 'none'; frame-ancestors 'none'; form-action 'self'";

const NOT_BUILT: &str = "<!doctype html><title>Bookshelf</title><h1>Bookshelf</h1>\
    <p>The pages are not built. In the root of the repository: <code>npm ci &amp;&amp; npm run build -w examples/bookshelf/web</code>. \
    The API is at <code>/api/v1</code>.</p>";

/// A file of the pages; for any other path the page itself, which knows its own addresses.
pub(super) async fn serve(State(app): State<Arc<App>>, parts: request::Parts) -> Response {
    let path = parts.uri.path();
    let is_page = !path.starts_with("/api/") && !path.starts_with("/v1/");
    if !is_page || !matches!(parts.method, Method::GET | Method::HEAD) {
        let detail = format!("there is nothing at {path}");
        return Problem::new(StatusCode::NOT_FOUND, "not-found", detail).into_response();
    }
    // The build names what lies there by its content.
    let lasting = path.starts_with("/assets/");
    let (web, asked) = (app.settings.web.clone(), path.to_owned());
    let found = tokio::task::spawn_blocking(move || read(&web, &asked)).await.ok().flatten();
    let Some((file, bytes)) = found else {
        // A script that is gone since a new build must not be answered with a page.
        return match lasting {
            true => Problem::new(StatusCode::NOT_FOUND, "not-found", "there is no such file").into_response(),
            false => Html(NOT_BUILT).into_response(),
        };
    };
    let tag = etag::of(&bytes);
    let headers = [
        (header::CONTENT_TYPE, media_of(&file)),
        (header::CACHE_CONTROL, if lasting { "public, max-age=31536000, immutable" } else { "no-cache" }),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
    ];
    let tagged = [(header::ETAG, tag.clone())];
    match etag::is_known(&parts.headers, &tag) {
        true => (StatusCode::NOT_MODIFIED, headers, tagged).into_response(),
        false => (headers, tagged, bytes).into_response(),
    }
}

/// The file that a path names; else the page, but not in place of what the build has named. Blocks.
fn read(web: &Path, path: &str) -> Option<(PathBuf, Vec<u8>)> {
    let page = || (!path.starts_with("/assets/")).then(|| web.join("index.html"));
    let file = file_of(web, path).or_else(page)?;
    let bytes = std::fs::read(&file).ok()?;
    Some((file, bytes))
}

/// The file below `web`; none if the path leads elsewhere, or to no file.
fn file_of(web: &Path, path: &str) -> Option<PathBuf> {
    let path = percent_decode_str(path.trim_start_matches('/')).decode_utf8().ok()?;
    let path = Path::new(&*path);
    let is_below = path.components().all(|component| matches!(component, Component::Normal(_)));
    let file = web.join(path);
    (is_below && file.is_file()).then_some(file)
}

fn media_of(file: &Path) -> &'static str {
    match file.extension().and_then(|ending| ending.to_str()).unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" => "image/jpeg",
        "webp" => "image/webp",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "webmanifest" => "application/manifest+json",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_leads_out_of_the_folder() {
        let web = tempfile::tempdir().unwrap();
        std::fs::create_dir(web.path().join("dist")).unwrap();
        std::fs::write(web.path().join("secret"), "x").unwrap();
        std::fs::write(web.path().join("dist/a.js"), "x").unwrap();
        let dist = web.path().join("dist");
        assert!(file_of(&dist, "/a.js").is_some());
        for hostile in ["/../secret", "/%2e%2e/secret", "//../secret", "/a.js/../../secret", "/", ""] {
            assert_eq!(file_of(&dist, hostile), None, "{hostile}");
        }
        assert_eq!(file_of(&dist, web.path().join("secret").to_str().unwrap()), None);
    }
}
