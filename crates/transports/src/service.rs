//! What the handlers share, and the routes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::{FromRequestParts, RawPathParams, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http::{HeaderValue, Method, StatusCode, header};
use tidings::job::{JobFiles, Jobs};
use tidings::{CloseReason, Hub, Profile, Seated};

use crate::auth::Authenticate;
use crate::desk::Desk;
use crate::door::Door;
use crate::events::{Answer, Mount};
use crate::lane::{LaneCounters, Lanes, OpenStream};
use crate::limiter::Limiter;
use crate::problem::Problem;
use crate::publish::{self, Idempotency};
use crate::socketio::polling::Pollers;
use crate::stream_id::{Held, StreamId};
use crate::watch::PathJob;
use crate::websocket::mount::over_foreign_server;

/// What the handlers of one process share.
pub struct Service {
    /// The hub.
    pub hub: Arc<Hub>,
    /// The lanes, where sockets can be taken over; without them every stream is a response body.
    pub lanes: Option<Arc<Lanes>>,
    /// How many connections there are.
    pub limiter: Arc<Limiter>,
    /// Remembers what became of requests with an `Idempotency-Key`; without it they are refused.
    pub idempotency: Option<Arc<dyn Idempotency>>,
    /// The jobs; without them there are none, and the paths for them are not served.
    pub jobs: Option<Arc<Jobs>>,
    job_files: OnceLock<Arc<dyn JobFiles>>,
    /// Whether the program is about to stop: `/ready` says no from here on.
    pub draining: AtomicBool,
    /// What the handlers counted.
    pub counters: ServiceCounters,
    bodies: Arc<LaneCounters>,
    /// The Socket.IO clients that poll.
    pub(crate) pollers: Arc<Pollers>,
}

/// What the handlers counted.
#[derive(Debug, Default)]
pub struct ServiceCounters {
    /// Publish requests that were taken.
    pub publishes: AtomicU64,
    /// Publish requests that were refused.
    pub refused_publishes: AtomicU64,
}

impl Service {
    /// The handlers' share of `hub`.
    pub fn new(hub: Arc<Hub>, lanes: Option<Arc<Lanes>>, idempotency: Option<Arc<dyn Idempotency>>) -> Arc<Self> {
        let limiter = Limiter::new(hub.limits());
        Service::limited(hub, lanes, idempotency, limiter, None)
    }

    /// The same with a limiter of its own, for a program behind reverse proxies, and with jobs.
    pub fn limited(
        hub: Arc<Hub>,
        lanes: Option<Arc<Lanes>>,
        idempotency: Option<Arc<dyn Idempotency>>,
        limiter: Arc<Limiter>,
        jobs: Option<Arc<Jobs>>,
    ) -> Arc<Self> {
        let bodies = lanes.as_ref().map_or_else(Arc::default, |lanes| lanes.counters().clone());
        let (draining, counters) = (AtomicBool::new(false), ServiceCounters::default());
        let pollers = Arc::default();
        let job_files = OnceLock::new();
        Arc::new(Service { hub, lanes, limiter, idempotency, jobs, job_files, draining, counters, bodies, pollers })
    }

    /// Takes files that come with jobs, and keeps each of them there until its job ends. Before it is said, once, none are taken.
    pub fn keep_files(&self, files: Arc<dyn JobFiles>) {
        if let Some(jobs) = &self.jobs {
            jobs.keep_files_in(files.clone());
        }
        let _ = self.job_files.set(files);
    }

    /// Where the files that come with jobs are kept, if they are taken.
    pub fn job_files(&self) -> Option<&Arc<dyn JobFiles>> {
        self.job_files.get()
    }

    /// How many streams are open.
    pub fn open_streams(&self) -> u64 {
        self.bodies.open()
    }

    /// How many Socket.IO clients poll, those included whose last words wait to be fetched.
    pub fn pollers(&self) -> usize {
        self.pollers.len()
    }

    /// Returns when all streams that [`Hub::close`] covered before hear nothing more.
    pub async fn settle(&self) {
        // Those that are response bodies look before each delivery.
        if let Some(lanes) = &self.lanes {
            lanes.settle().await;
        }
    }

    /// Every open stream: those of the lanes, and those that are response bodies or polls that wait.
    pub async fn streams(&self) -> Vec<OpenStream> {
        let profiles = self.hub.profiles();
        let bodies =
            self.hub.subscribers().into_iter().map(|Seated { number, principal, transport, filter, opened }| {
                let profile =
                    principal.namespace.as_deref().map_or(profiles.open(), |namespace| profiles.of(namespace));
                let profile = profile.name().to_owned();
                let id = StreamId::of(Held::Body(number));
                OpenStream { id, opened, profile, transport, principal, filter, lag: None }
            });
        let mut streams: Vec<OpenStream> = bodies.collect();
        if let Some(lanes) = &self.lanes {
            streams.extend(lanes.list().await);
        }
        streams
    }

    /// Ends an open stream; false if it has ended, or never was.
    pub async fn disconnect(&self, id: StreamId, reason: CloseReason) -> bool {
        match (id.held(), &self.lanes) {
            (Some(Held::Body(number)), _) => self.hub.disconnect(number, reason),
            (Some(Held::Lane(lane, slot, generation)), Some(lanes)) => {
                lanes.disconnect(lane, slot, generation, reason).await
            }
            (Some(Held::Lane(..)), None) | (None, _) => false,
        }
    }

    /// What was delivered, by lanes and by response bodies together.
    pub fn counters(&self) -> &Arc<LaneCounters> {
        &self.bodies
    }
}

/// Who may publish, and to which profiles.
#[derive(Clone)]
pub struct Publishing {
    /// The path: `/v1/publish`.
    pub path: String,
    /// Who says who asks.
    pub auth: Arc<dyn Authenticate>,
    /// The profiles by name, chosen by `?profile=`.
    pub profiles: BTreeMap<String, Arc<Profile>>,
    /// The profile of a publish that names none.
    pub default: Arc<Profile>,
}

/// The routes of streams, polls, connections and publishing. A program that embeds the hub merges them into its own router.
pub fn router(service: &Arc<Service>, mounts: Vec<Mount>, publishing: Vec<Publishing>) -> Router {
    let publishing: Vec<Arc<Publishing>> = publishing.into_iter().map(Arc::new).collect();
    let mut router = Router::new();
    for mount in mounts {
        let path = mount.path.clone();
        let door = Door::new(service, mount, publishing.first().cloned());
        router = router.route(&path, any(listen).with_state((service.clone(), door)));
    }
    for publishing in publishing {
        let path = publishing.path.clone();
        router = router.route(&path, any(publish::publish).with_state((service.clone(), publishing)));
    }
    router
}

/// The routes at which an app's clients deal with jobs, to be merged as well.
pub fn desks(service: &Arc<Service>, desks: Vec<Arc<Desk>>) -> Router {
    let mut router = Router::new();
    for desk in desks {
        let path = desk.path.clone();
        router = router.route(&path, any(attend).with_state((service.clone(), desk)));
    }
    router
}

async fn attend(State((service, desk)): State<(Arc<Service>, Arc<Desk>)>, request: axum::extract::Request) -> Response {
    let (mut parts, body) = request.into_parts();
    find_job(&mut parts).await;
    desk.answer(&service, &parts, body).await
}

/// Takes the job out of the path, where the route has a place for it.
async fn find_job(parts: &mut http::request::Parts) {
    if let Ok(params) = RawPathParams::from_request_parts(parts, &()).await
        && let Some((_, job)) = params.iter().find(|(name, _)| *name == "job")
    {
        let job = PathJob(job.to_owned());
        parts.extensions.insert(job);
    }
}

async fn listen(State((service, door)): State<(Arc<Service>, Arc<Door>)>, request: axum::extract::Request) -> Response {
    let (mut parts, body) = request.into_parts();
    find_job(&mut parts).await;
    // HTTP/2 says it in the target (RFC 9113 §8.3.1), and whoever asks which origin this is looks at the header.
    if let (false, Some(authority)) = (parts.headers.contains_key(header::HOST), parts.uri.authority())
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        parts.headers.insert(header::HOST, host);
    }
    let mount = &door.mount;
    match (&parts.method, mount.answer) {
        (&Method::OPTIONS, _) => mount.preflight(&parts.headers),
        (&Method::GET | &Method::HEAD, Answer::Sse) => mount.events(&service, &parts).await,
        (&Method::GET, Answer::Poll) => mount.poll(&service, &parts).await,
        (&Method::GET, Answer::WebSocket) => {
            let mut response = mount.websocket(&service, &door, &parts).await;
            over_foreign_server(&service, &mut parts, &mut response);
            response
        }
        (_, Answer::SocketIo) => {
            let mut response = mount.socketio(&service, &door, &parts, body).await;
            over_foreign_server(&service, &mut parts, &mut response);
            response
        }
        _ => mount.readable(&parts.headers, method_not_allowed(mount.methods())),
    }
}

/// 405 with `Allow` (RFC 9110 §15.5.6).
pub fn method_not_allowed(allow: &str) -> Response {
    let detail = format!("this path takes {allow}");
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail)
        .header(header::ALLOW, allow)
        .into_response()
}
