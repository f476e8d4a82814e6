//! `/api/v1`, and everything else that is served: the hub's streams, the jobs, the pages.

mod auth;
mod authors;
mod body;
mod books;
mod downloads;
mod etag;
mod imports;
mod pages;
mod storm;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::handler::Handler;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use http::{HeaderValue, Method, StatusCode, header, request};
use tidings::Profile;
use tidings_server::profile::{LoadedProfile, Transport};
use tidings_transports::jobs::JobRoutes;
use tidings_transports::stream::{Codec, OneJob};
use tidings_transports::websocket::handshake::is_origin_allowed;
use tidings_transports::{Answer, Authenticate, Cors, Mount, Problem, Publishing, Stream, StreamSettings};

use crate::app::App;
use crate::fault::Fault;

/// The header with the hub's position from before the database was read: a page goes on from there.
pub const CURSOR: &str = "tidings-cursor";

/// The most bytes of a list of books.
pub const LIST_BYTES: u64 = 64 << 20;

/// All that is served.
pub fn router(app: &Arc<App>, loaded: &LoadedProfile) -> Router {
    let wall: Arc<dyn Authenticate> = app.wall.clone();
    let publishing = Publishing {
        path: "/v1/publish".into(),
        auth: wall.clone(),
        profiles: BTreeMap::from([(app.profile.name().to_owned(), app.profile.clone())]),
        default: app.profile.clone(),
    };
    let cors = match &app.settings.origins[..] {
        [] => Cors::Same,
        origins => Cors::Origins(origins.to_vec()),
    };
    let jobs = JobRoutes { publishing, upload_bytes: LIST_BYTES, cors: cors.clone() };
    let api = Router::new()
        .route("/auth/login", post(auth::log_in))
        .route("/auth/logout", post(auth::log_out))
        .route("/auth/password", post(auth::change_password))
        .route("/auth/me", get(auth::me))
        .route("/books", get(books::list).post(books::add))
        .route("/books/{id}", get(books::show).patch(books::change).delete(books::remove))
        .route("/books/{id}/cover", get(books::cover))
        .route("/books/{id}/grab", post(downloads::grab))
        .route("/wanted", get(books::wanted))
        .route("/queue", get(downloads::list))
        .route("/queue/{id}", delete(downloads::remove))
        .route("/queue/{id}/retry", post(downloads::retry))
        .route("/authors", get(authors::list))
        .route("/authors/refresh-all", post(authors::refresh_all))
        .route("/authors/refresh-all/status", get(authors::refresh_status))
        .route("/authors/{id}", get(authors::show))
        .route("/series", get(authors::list_series))
        .route("/series/{id}", get(authors::show_series))
        .route("/imports", post(imports::import))
        .route("/demo/storm", post(storm::begin))
        .layer(middleware::from_fn(to_the_end))
        .layer(middleware::from_fn_with_state(app.clone(), position))
        .with_state(app.clone());
    Router::new()
        .nest("/api/v1", api)
        .merge(tidings_transports::jobs::router(&app.service, jobs))
        .merge(tidings_transports::router(&app.service, mounts(app, loaded, &wall, &cors), vec![]))
        .fallback_service(pages::serve.with_state(app.clone()))
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(cors, same_origin))
}

/// The streams that the profile names, and those of one job each.
fn mounts(app: &App, loaded: &LoadedProfile, auth: &Arc<dyn Authenticate>, cors: &Cors) -> Vec<Mount> {
    let profile: &Arc<Profile> = &app.profile;
    let mut mounts = Vec::new();
    for served in &loaded.mounts {
        let (answer, codec, settings) = match &served.transport {
            Transport::Sse(settings) => (Answer::Sse, Codec::Sse, settings),
            Transport::Poll(settings) => (Answer::Poll, Codec::Sse, settings),
            Transport::WebSocket(settings) => (Answer::WebSocket, Codec::WebSocket, settings),
            _ => continue,
        };
        let settings = StreamSettings { cors: cors.clone(), ..settings.clone() };
        let stream = Stream::with_codec(codec, settings, profile.clone());
        mounts.extend(served.paths.iter().map(|path| Mount {
            path: path.path.clone(),
            answer,
            stream: stream.clone(),
            auth: auth.clone(),
        }));
    }
    let of_one = StreamSettings { job: Some(OneJob::default()), ..StreamSettings::default() };
    let stream = Stream::with_codec(Codec::Sse, of_one, profile.clone());
    let path = "/v1/jobs/{job}/events".into();
    mounts.push(Mount { path, answer: Answer::Sse, stream, auth: auth.clone() });
    mounts
}

/// Does what changes something to the end, also when whoever asked goes away: what follows a commit, as the end of a session's streams
/// or the begin of a download, is not left out.
async fn to_the_end(request: Request, next: Next) -> Response {
    if is_safe(request.method()) {
        return next.run(request).await;
    }
    let done = tokio::spawn(next.run(request)).await;
    done.unwrap_or_else(|error| Fault::Broken(error.to_string()).into_response())
}

/// Whether a request changes nothing (RFC 9110 §9.2.1).
fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Says with each answer to a GET from which position on to listen. Taken before the handler reads the database: what is committed
/// meanwhile may be in both, and never in neither.
async fn position(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let is_get = request.method() == Method::GET;
    let position = app.position();
    let mut response = next.run(request).await;
    // A refusal has read nothing, and says nothing of the hub to who is not let in.
    let has_read = response.status().is_success() || response.status() == StatusCode::NOT_MODIFIED;
    if is_get
        && has_read
        && let Ok(position) = HeaderValue::from_str(&position.to_string())
    {
        response.headers_mut().insert(CURSOR, position);
    }
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Refuses what a page of another origin asks for with this user's cookie (beside `SameSite`, which older browsers do not know).
async fn same_origin(State(cors): State<Cors>, request: Request, next: Next) -> Response {
    let mut headers = request.headers().clone();
    // HTTP/2 has the host in the address of the request (RFC 9113 §8.3.1).
    if let Some(authority) = request.uri().authority()
        && let Ok(authority) = HeaderValue::from_str(authority.as_str())
    {
        headers.entry(header::HOST).or_insert(authority);
    }
    if !is_safe(request.method()) && !is_origin_allowed(&cors, &headers) {
        let detail =
            "a page of another origin can't do that; behind a proxy that changes Host, start the program with --origin";
        return Problem::new(StatusCode::FORBIDDEN, "foreign-origin", detail).into_response();
    }
    next.run(request).await
}

async fn wrong_method(parts: request::Parts) -> Problem {
    let detail = format!("{} does not take {}", parts.uri.path(), parts.method);
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail)
}
