//! The program's own routes: how it is, who is shut out, why somebody gets an event.

pub(crate) mod asker;
mod explain;
mod ready;
mod revoke;
mod tickets;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::{StatusCode, header, request};
use tidings_brokers::Recovery;
use tidings_transports::desk::Desk;
use tidings_transports::jobs::JobRoutes;
use tidings_transports::{Cors, Mount, Problem, Publishing, Service};

use crate::assemble::{Doors, Side};
use crate::console::{self, Console};
use crate::inspect::{self, Inspector, MountedStreams};
use crate::metrics::MetricsSource;
use crate::page::{self, Mention};
use crate::serve::is_local_host;
use explain::explain_event;
use ready::{health, ready, show_metrics, side_endpoint};
use revoke::revoke;
use tickets::tickets;

struct Shared {
    service: Arc<Service>,
    doors: Doors,
    streams: MountedStreams,
    metrics: MetricsSource,
}

/// What the routes depend on beside the hub.
#[derive(Clone)]
pub struct RouteOptions {
    /// What was found when the log was opened, for the metrics.
    pub recovery: Option<Recovery>,
    /// Whether `/` is the live page.
    pub page: bool,
    /// Whether the console is served.
    pub console: bool,
    /// Whether only this machine is answered, and that whatever it asks.
    pub dev: bool,
    /// The most bytes of a file that comes with a job.
    pub upload_bytes: u64,
    /// Which other origins may ask about jobs.
    pub cors: Cors,
    /// The streams of the mounts, for those who watch over the program.
    pub streams: MountedStreams,
    /// What operators look into.
    pub inspector: Arc<Inspector>,
}

/// All routes of the program.
pub fn router(
    service: &Arc<Service>,
    mounts: Vec<Mount>,
    publishing: Publishing,
    sides: Vec<Side>,
    desks: Vec<Arc<Desk>>,
    doors: Doors,
    options: RouteOptions,
) -> Router {
    let RouteOptions { recovery, page, console, dev, upload_bytes, cors, streams, inspector } = options;
    let mut metrics = MetricsSource::new(service.clone(), streams.clone());
    metrics.recovery = recovery;
    let shared = Arc::new(Shared { service: service.clone(), doors, streams, metrics });
    let mut router = Router::new();
    // A profile may have its own form of these two.
    for (path, handler) in [("/health", get(health)), ("/ready", get(ready))] {
        if sides.iter().all(|side| side.path != path) {
            router = router.route(path, handler);
        }
    }
    let mut router = router
        .route("/metrics", get(show_metrics))
        .route("/v1/tickets", post(tickets))
        .route("/v1/revoke", post(revoke))
        .route("/v1/explain", get(explain_event));
    let built = Console::new(console::EMBEDDED);
    if page {
        let mention = if console && built.is_built() { Mention::Link } else { Mention::Nothing };
        router = router.route("/", get(async move || page::response(mention)));
    }
    let mut router = router.with_state(shared.clone());
    if console {
        router = router.merge(console::router(built));
    }
    for side in sides {
        let path = side.path.clone();
        let state = (shared.clone(), Arc::new(side));
        router = router.route(&path, get(side_endpoint).with_state(state));
    }
    let jobs = JobRoutes { publishing: publishing.clone(), upload_bytes, cors };
    let router = router
        .merge(inspect::router(&inspector))
        .merge(tidings_transports::jobs::router(service, jobs))
        .merge(tidings_transports::router(service, mounts, vec![publishing]))
        .merge(tidings_transports::service::desks(service, desks))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method);
    if dev { router.layer(middleware::from_fn(only_this_machine)) } else { router }
}

/// In `--dev` everybody may do everything, so a page of another site must not get in by a name that points to this machine.
async fn only_this_machine(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| request.uri().authority().map(|authority| authority.as_str())).unwrap_or("localhost");
    if is_local_host(host) {
        return next.run(request).await;
    }
    let detail = "with --dev only requests to localhost are answered; start it without --dev to serve others";
    Problem::new(StatusCode::MISDIRECTED_REQUEST, "only-this-machine", detail).into_response()
}

async fn not_found(parts: request::Parts) -> Problem {
    let path = parts.uri.path();
    Problem::new(StatusCode::NOT_FOUND, "not-found", format!("there is nothing at {path}"))
}

async fn wrong_method(parts: request::Parts) -> Problem {
    let detail = format!("{} does not take {}", parts.uri.path(), parts.method);
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail)
}

fn unknown_profile(name: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "unknown-profile", format!("there is no profile {name:?} here"))
}
