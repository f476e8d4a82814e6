//! A hub with jobs, and requests to its router.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use http::{HeaderMap, Method, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tempfile::TempDir;
use tidings::job::{JobFiles, JobSettings, Jobs, MemoryJobs};
use tidings::{Grants, Hub, Implications, Limits, ManualClock, Principal, Profile, PublishRights, Timestamp};
use tidings_brokers::FileDirectory;
use tidings_brokers::memory::{MemoryBroker, MemorySettings};
use tidings_brokers::retention::Retention;
use tidings_transports::jobs::JobRoutes;
use tidings_transports::{Authenticate, Cors, Limiter, Problem, Publishing, Request, Service};
use tower::ServiceExt;

/// The token is the principal: `id+grant+grant`, or `id@namespace+…`. `maker` may publish all, `limited` only about jobs that begin with
/// `my-`, `op` is an operator, `anybody` is anonymous and may publish. Else it is a job's.
struct Tokens(Arc<Jobs>);

#[async_trait]
impl Authenticate for Tokens {
    async fn authenticate(&self, request: Request<'_>) -> Result<Arc<Principal>, Problem> {
        let header = request.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let cookie = request.headers.get(header::COOKIE).and_then(|value| value.to_str().ok());
        let token = header.and_then(|value| value.strip_prefix("Bearer ")).or(cookie);
        let Some(token) = token else { return Err(Problem::unauthorized(None, "a token is needed")) };
        if token.starts_with("tdj_") {
            let (job, expires) = self.0.token(token).await?.expect("a token of a job");
            let grants = Grants::parse([job.grant().as_str()]).unwrap();
            return Ok(Arc::new(Principal {
                expires_at: Some(expires),
                ..Principal::new(&format!("job/{}", job.id), grants, "job-token")
            }));
        }
        let mut parts = token.split('+');
        let (id, namespace) = match parts.next().unwrap_or_default().split_once('@') {
            Some((id, namespace)) => (id, Some(namespace.into())),
            None => (parts_id(token), None),
        };
        let publish = match id {
            "maker" | "anybody" => PublishRights::All,
            "limited" => PublishRights::Limited {
                topics: Arc::new(["job/my-1".parse().unwrap(), "shelf/job/my-1".parse().unwrap()]),
                names: None,
            },
            _ => PublishRights::None,
        };
        let source = if id == "anybody" { "anonymous" } else { "test" };
        let principal = Principal::new(id, Grants::parse(parts).unwrap(), source);
        Ok(Arc::new(Principal { namespace, publish, operator: id == "op", ..principal }))
    }
}

fn parts_id(token: &str) -> &str {
    token.split('+').next().unwrap_or_default()
}

pub struct App {
    pub router: axum::Router,
    pub jobs: Arc<Jobs>,
    pub clock: Arc<ManualClock>,
    pub hub: Arc<Hub>,
    pub files: TempDir,
}

/// What was answered.
#[derive(Debug)]
pub struct Answered {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: bytes::Bytes,
}

impl Answered {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// A header; empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The status, and the code of a problem.
    pub fn refusal(&self) -> (u16, String) {
        let body = self.json();
        let kind = body["type"].as_str().unwrap_or_else(|| panic!("no problem: {self:?}"));
        (self.status.as_u16(), kind.rsplit(':').next().unwrap().to_owned())
    }
}

/// A refusal as a test expects it.
pub fn no(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

/// A job that was claimed.
pub struct Work {
    pub id: String,
    pub lease: String,
}

impl App {
    pub async fn start() -> App {
        App::with(JobSettings::default()).await
    }

    pub async fn with(settings: JobSettings) -> App {
        App::with_limits(settings, Limits::default()).await
    }

    pub async fn with_limits(settings: JobSettings, limits: Limits) -> App {
        App::keeping(settings, limits, |path| Arc::new(FileDirectory::new(path))).await
    }

    /// With files that are kept as `keeping` says, in the directory that it is given.
    pub async fn keeping(
        settings: JobSettings,
        limits: Limits,
        keeping: impl FnOnce(&Path) -> Arc<dyn JobFiles>,
    ) -> App {
        let clock = Arc::new(ManualClock::at(Timestamp(1_000_000)));
        let memory = MemorySettings { retention: Retention::FOREVER };
        let broker = Arc::new(MemoryBroker::with_clock(memory, clock.clone()));
        let shelf = Arc::new(Profile::new("shelf", Some("shelf"), Implications::default(), []));
        let hub = Hub::open(broker, [shelf.clone()], clock.clone(), limits).await.unwrap();
        let jobs = Jobs::open(hub.clone(), Arc::new(MemoryJobs::default()), settings).await.unwrap();
        let service = Service::limited(hub.clone(), None, None, Limiter::new(hub.limits()), Some(jobs.clone()));
        let files = TempDir::new().unwrap();
        service.keep_files(keeping(files.path()));
        let open = Arc::new(Profile::open());
        let publishing = Publishing {
            path: "/v1/publish".into(),
            auth: Arc::new(Tokens(jobs.clone())),
            profiles: BTreeMap::from([("default".to_owned(), open.clone()), ("shelf".to_owned(), shelf)]),
            default: open,
        };
        let routes = JobRoutes {
            publishing: publishing.clone(),
            upload_bytes: 1_000_000,
            cors: Cors::Origins(vec!["https://app.example".into()]),
        };
        let router = tidings_transports::jobs::router(&service, routes);
        let router = router.merge(tidings_transports::router(&service, Vec::new(), vec![publishing]));
        App { router, jobs, clock, hub, files }
    }

    pub async fn send(&self, request: http::Request<Body>) -> Answered {
        let (parts, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answered { status: parts.status, headers: parts.headers, body }
    }

    pub async fn request(
        &self,
        method: Method,
        path: &str,
        token: &str,
        media: &str,
        body: impl Into<Body>,
    ) -> Answered {
        let mut request = http::Request::builder().method(method).uri(path).header("host", "hub.example");
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if !media.is_empty() {
            request = request.header("content-type", media);
        }
        self.send(request.body(body.into()).unwrap()).await
    }

    pub async fn get(&self, path: &str, token: &str) -> Answered {
        self.request(Method::GET, path, token, "", "").await
    }

    pub async fn delete(&self, path: &str, token: &str) -> Answered {
        self.request(Method::DELETE, path, token, "", "").await
    }

    pub async fn post(&self, path: &str, token: &str, body: Value) -> Answered {
        self.request(Method::POST, path, token, "application/json", body.to_string()).await
    }

    /// Makes a job as `maker` and returns its id and token.
    pub async fn make(&self, job: Value) -> (String, String) {
        let made = self.post("/v1/jobs", "maker", job).await;
        assert_eq!(made.status, 201, "{made:?}");
        let made = made.json();
        (made["id"].as_str().unwrap().to_owned(), made["token"].as_str().unwrap().to_owned())
    }

    /// Makes a job and takes it up.
    pub async fn work(&self) -> Work {
        self.make(json!({"kind": "import", "owner": "u1"})).await;
        self.claim().await
    }

    /// Takes up a job that waits.
    pub async fn claim(&self) -> Work {
        let claimed = self.post("/v1/jobs/claim", "w+work/import", json!({"kinds": ["import"], "wait": "0s"})).await;
        assert_eq!(claimed.status, 200, "{claimed:?}");
        let claimed = claimed.json();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Work { id: text(&claimed["job"]["id"]), lease: text(&claimed["lease"]) }
    }

    /// Says something with the lease.
    pub async fn say(&self, work: &Work, what: &str, body: Value) -> Answered {
        self.post(&format!("/v1/jobs/{}/{what}", work.id), &work.lease, body).await
    }

    /// Time passes, and leases run out.
    pub async fn pass(&self, time: Duration) {
        self.clock.advance(time);
        self.jobs.end_leases().await;
    }

    /// The names of the files that are kept.
    pub fn kept_files(&self) -> usize {
        std::fs::read_dir(self.files.path()).unwrap().count()
    }
}
