//! A local stand-in for Open Library and for a vision endpoint: for tests, and for who works without a network.
//!
//! It knows some thirty books ([`catalog`]) and answers like the real ones, in the shapes of Open Library's Search
//! and Books API and of OpenAI's chat completions. It fails on demand: see [`Trick`].

pub mod catalog;
mod openlibrary;
mod trick;
mod vision;

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, RawQuery, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;

pub use trick::Trick;

/// The most requests that are remembered.
const REMEMBERED: usize = 10_000;

/// How the stand-in behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long each answer takes. Default 0; some 100 ms make a bar worth watching.
    pub delay: Duration,
    /// How long a slow answer takes. Default 30 s.
    pub slow: Duration,
    /// What [`Trick::Busy`] says in `Retry-After`, in seconds. Default 1.
    pub retry_after: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { delay: Duration::ZERO, slow: Duration::from_secs(30), retry_after: 1 }
    }
}

/// A stand-in. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Standin(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    now: Mutex<Now>,
}

#[derive(Debug, Default)]
struct Now {
    /// What is played with every request, whatever it asks.
    mode: Option<Trick>,
    /// Path and query of each request, and who asked, oldest first.
    requests: Vec<Asked>,
    /// Whether [`Trick::Busy`] was played for one question already.
    busy_once: bool,
}

/// A request that came.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Asked {
    /// Its path.
    pub path: String,
    /// Its query as it came, percent-encoded.
    pub query: String,
    /// Its `User-Agent`.
    pub agent: String,
}

impl Standin {
    /// A stand-in that nobody has asked yet.
    pub fn new(settings: Settings) -> Self {
        Standin(Arc::new(Inner { settings, now: Mutex::default() }))
    }

    /// Answers on `listener` until it fails.
    pub async fn serve(self, listener: TcpListener) -> io::Result<()> {
        axum::serve(listener, self.router()).await
    }

    /// What came so far, but for questions about the stand-in itself.
    pub fn requests(&self) -> Vec<Asked> {
        self.with(|now| now.requests.clone())
    }

    /// From now on plays `trick` with every request; none: answers again.
    pub fn play(&self, trick: Option<Trick>) {
        self.with(|now| now.mode = trick);
    }

    fn router(self) -> Router {
        let played = Router::new()
            .route("/search.json", get(openlibrary::search))
            .route("/api/books", get(openlibrary::books))
            .route("/v1/chat/completions", post(vision::complete))
            // A photo as a data URL in JSON.
            .layer(axum::extract::DefaultBodyLimit::max(64 << 20))
            .layer(middleware::from_fn_with_state(self.clone(), play));
        Router::new()
            .merge(played)
            .route("/stand-in/requests", get(requests))
            .route("/stand-in/mode", post(mode))
            .with_state(self)
    }

    fn with<T>(&self, look: impl FnOnce(&mut Now) -> T) -> T {
        look(&mut self.0.now.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Plays a trick; none where the real answer is to follow.
    async fn played(&self, trick: Trick) -> Option<Response> {
        match trick {
            Trick::Busy if self.with(|now| std::mem::replace(&mut now.busy_once, true)) => None,
            trick => trick.play(&self.0.settings).await,
        }
    }
}

/// Remembers each request, and plays the trick that it or the mode asks for.
async fn play(State(standin): State<Standin>, RawQuery(query): RawQuery, request: Request, next: Next) -> Response {
    let query = query.unwrap_or_default();
    let agent = request.headers().get("user-agent").and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    let asked = Asked { path: request.uri().path().into(), query: query.clone(), agent: agent.into() };
    let mode = standin.with(|now| {
        if now.requests.len() < REMEMBERED {
            now.requests.push(asked);
        }
        now.mode
    });
    tokio::time::sleep(standin.0.settings.delay).await;
    if let Some(trick) = mode.or_else(|| Trick::in_query(&query))
        && let Some(response) = standin.played(trick).await
    {
        return response;
    }
    next.run(request).await
}

/// `GET /stand-in/requests`: what came so far.
async fn requests(State(standin): State<Standin>) -> Response {
    Json(json!({ "requests": standin.requests() })).into_response()
}

#[derive(Deserialize)]
struct Mode {
    is: String,
}

/// `POST /stand-in/mode?is=down`: plays that trick with every request; `is=ok` ends it.
async fn mode(State(standin): State<Standin>, Query(mode): Query<Mode>) -> Response {
    match (mode.is.as_str(), Trick::named(&mode.is)) {
        ("ok", _) => standin.play(None),
        (_, Some(trick)) => standin.play(Some(trick)),
        (_, None) => return (StatusCode::UNPROCESSABLE_ENTITY, "no such mode\n").into_response(),
    }
    StatusCode::NO_CONTENT.into_response()
}
