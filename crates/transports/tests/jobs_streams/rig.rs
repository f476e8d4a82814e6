//! A hub with jobs on a real socket, a worker, and watchers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt;
use http::header;
use serde_json::Value;
use serde_json::value::RawValue;
use tidings::job::{
    Claimed, Failure, Job, JobId, JobSettings, JobStore, Jobs, KindSettings, MemoryJobs, NewJob, Outcome,
    ProgressUpdate,
};
use tidings::{
    Broker, BrokerError, Grants, Head, Hub, Implications, Limits, ManualClock, NewEvent, Offset, Page, Principal,
    Profile, Query, Tail, Timestamp,
};
use tidings_brokers::memory::{MemoryBroker, MemorySettings};
use tidings_brokers::retention::Retention;
use tidings_transports::stream::{Dialect, JobNamed, OneJob};
use tidings_transports::{
    Acceptor, Answer, Authenticate, Codec, Lanes, Limiter, Mount, Problem, Request, Service, Stream, StreamSettings,
};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::common::websocket::WebSocket;
use crate::common::{Client, Driver, Received};

/// The token is the principal: `id+grant+grant`, with `~1000` for an expiry at that time; `nobody` is anonymous, and `op` an operator. What
/// begins with `tdj_` is a job's. It comes in a header, in the query or as a subprotocol.
struct Tokens(Arc<Jobs>);

#[async_trait]
impl Authenticate for Tokens {
    async fn authenticate(&self, request: Request<'_>) -> Result<Arc<Principal>, Problem> {
        let header = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok());
        let bearer = header(header::AUTHORIZATION.as_str()).and_then(|value| value.strip_prefix("Bearer "));
        let Some(token) = bearer.or_else(|| header("sec-websocket-protocol")) else {
            return Err(Problem::unauthorized(None, "a token is needed"));
        };
        if token.starts_with("tdj_") {
            let found = self.0.token(token).await?;
            let (job, expires) = found.ok_or_else(|| Problem::unauthorized(Some("invalid_token"), "no such token"))?;
            let grants = Grants::parse([job.grant().as_str()]).unwrap();
            let principal = Principal::new(&format!("job/{}", job.id), grants, "job-token");
            return Ok(Arc::new(Principal { expires_at: Some(expires), ..principal }));
        }
        let (token, expires) = token.split_once('~').map_or((token, None), |(token, at)| (token, at.parse().ok()));
        let mut parts = token.split('+');
        let id = parts.next().unwrap_or_default();
        let source = if id == "nobody" { "anonymous" } else { "test" };
        let principal = Principal::new(id, Grants::parse(parts).unwrap(), source);
        Ok(Arc::new(Principal { expires_at: expires.map(Timestamp), operator: id == "op", ..principal }))
    }
}

/// A log that takes nothing while it is told so.
struct Stubborn {
    broker: MemoryBroker,
    refuses: Arc<AtomicBool>,
}

#[async_trait]
impl Broker for Stubborn {
    async fn publish(&self, batch: Vec<NewEvent>) -> Result<Vec<Option<Offset>>, BrokerError> {
        match self.refuses.load(Ordering::SeqCst) {
            true => Err(BrokerError::Full("the disk is full".into())),
            false => self.broker.publish(batch).await,
        }
    }

    async fn read(&self, query: Query) -> Result<Page, BrokerError> {
        self.broker.read(query).await
    }

    fn head(&self) -> Head {
        self.broker.head()
    }

    fn tail(&self, tail: Arc<dyn Tail>) {
        self.broker.tail(tail);
    }
}

pub struct Rig {
    pub address: SocketAddr,
    pub hub: Arc<Hub>,
    pub jobs: Arc<Jobs>,
    pub service: Arc<Service>,
    pub clock: Arc<ManualClock>,
    /// Whether the log takes nothing.
    pub refuses: Arc<AtomicBool>,
    kept: Kept,
    _stop: watch::Sender<bool>,
}

/// What outlives the program: the log, and what is known of jobs.
#[derive(Clone)]
struct Kept {
    broker: Arc<Stubborn>,
    store: Arc<MemoryJobs>,
    clock: Arc<ManualClock>,
}

pub struct Setup {
    pub limits: Limits,
    pub jobs: JobSettings,
    pub stream: StreamSettings,
    pub dialect: Dialect,
    pub lingers: Duration,
    pub retention: Retention,
}

impl Default for Setup {
    fn default() -> Self {
        let jobs = JobSettings { progress_every: Duration::ZERO, ..JobSettings::default() };
        Setup {
            limits: Limits { drain_window: Duration::from_millis(400), ..Limits::default() },
            jobs,
            stream: StreamSettings::default(),
            dialect: Dialect::default(),
            lingers: Duration::ZERO,
            retention: Retention::FOREVER,
        }
    }
}

/// Jobs of this kind tell their first items with the end.
pub const LARGE: &str = "large";

impl Rig {
    pub async fn start(driver: Driver) -> Rig {
        Rig::with(driver, Setup::default()).await
    }

    pub async fn with(driver: Driver, setup: Setup) -> Rig {
        let clock = Arc::new(ManualClock::at(Timestamp(1_000_000)));
        let broker = MemoryBroker::with_clock(MemorySettings { retention: setup.retention.clone() }, clock.clone());
        let broker = Arc::new(Stubborn { broker, refuses: Arc::default() });
        Rig::on(driver, setup, Kept { broker, store: Arc::default(), clock }).await
    }

    /// The program is gone, and is started again with what it had kept.
    pub async fn restarted(self, driver: Driver, setup: Setup) -> Rig {
        let kept = self.kept.clone();
        drop(self);
        Rig::on(driver, setup, kept).await
    }

    async fn on(driver: Driver, setup: Setup, kept: Kept) -> Rig {
        let Kept { broker, store, clock } = kept.clone();
        let shelf = Arc::new(Profile::new("shelf", Some("shelf"), Implications::default(), []));
        let refuses = broker.refuses.clone();
        let hub = Hub::open(broker, [shelf.clone()], clock.clone(), setup.limits).await.unwrap();
        let mut settings = setup.jobs;
        settings.kinds.insert((None, LARGE.into()), KindSettings { first_bytes: 900 << 10, ..KindSettings::default() });
        let jobs = Jobs::open(hub.clone(), store, settings).await.unwrap();
        let lanes =
            (driver != Driver::Bodies).then(|| Lanes::start(&hub, 2, &tokio::runtime::Handle::current()).unwrap());
        let service = Service::limited(hub.clone(), lanes, None, Limiter::new(hub.limits()), Some(jobs.clone()));
        let auth: Arc<dyn Authenticate> = Arc::new(Tokens(jobs.clone()));
        let open = Arc::new(Profile::open());
        let of = |job: OneJob, base: &StreamSettings| StreamSettings { job: Some(job), ..base.clone() };
        let path = |open: bool| OneJob { open, lingers: setup.lingers, ..OneJob::default() };
        let query = |open: bool| OneJob { named: JobNamed::Query("jobId".into()), ..path(open) };
        let mount = |path: &str, answer, settings: StreamSettings, profile: &Arc<Profile>| {
            let codec = match answer {
                Answer::WebSocket => Codec::WebSocket,
                Answer::SocketIo => Codec::SocketIo,
                Answer::Sse | Answer::Poll => Codec::Sse,
            };
            let stream = Stream::with_codec(codec, settings, profile.clone());
            Mount { path: path.into(), answer, stream, auth: auth.clone() }
        };
        let spoken = |dialect: Dialect| StreamSettings {
            dialect: Some(dialect),
            commands: false,
            bare_token: true,
            ..setup.stream.clone()
        };
        let scans = OneJob { kinds: vec!["scan".into()], ..path(false) };
        let plain = setup.stream.clone();
        let mounts = vec![
            mount("/jobs/{job}/events", Answer::Sse, of(path(false), &plain), &open),
            mount("/open/{job}/events", Answer::Sse, of(path(true), &plain), &open),
            mount("/scans/{job}/events", Answer::Sse, of(scans, &plain), &open),
            mount("/shelf/{job}/events", Answer::Sse, of(path(false), &plain), &shelf),
            mount("/query/events", Answer::Sse, of(query(false), &plain), &open),
            mount("/poll/{job}", Answer::Poll, of(path(false), &plain), &open),
            mount("/ws", Answer::WebSocket, of(query(false), &spoken(setup.dialect.clone())), &open),
            mount("/ws/open", Answer::WebSocket, of(query(true), &spoken(setup.dialect.clone())), &open),
            mount("/ws/ours", Answer::WebSocket, of(query(false), &plain), &open),
            mount("/v1/ws", Answer::WebSocket, plain.clone(), &open),
            mount("/v1/events", Answer::Sse, plain.clone(), &open),
            mount("/v1/poll", Answer::Poll, plain.clone(), &open),
            mount("/socket.io/", Answer::SocketIo, plain.clone(), &open),
            mount("/shelf/v1/events", Answer::Sse, plain.clone(), &shelf),
        ];
        let router = tidings_transports::router(&service, mounts, Vec::new());
        let (stop, stopped) = watch::channel(false);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        match driver {
            Driver::Carried => tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }),
            Driver::Lanes | Driver::Bodies => {
                tokio::spawn(Acceptor::new(service.clone(), router, stopped).run(listener))
            }
        };
        Rig { address, hub, jobs, service, clock, refuses, kept, _stop: stop }
    }

    /// The job is gone, with all that was kept of it but what the log tells.
    pub async fn remove(&self, id: &JobId) {
        self.kept.store.remove(id).await.unwrap();
    }

    /// Makes a job of this kind and gives back its id.
    pub async fn make(&self, kind: &str) -> JobId {
        self.make_new(NewJob { kind: kind.into(), owner: Some("u1".into()), ..NewJob::default() }).await.id
    }

    pub async fn make_new(&self, new: NewJob) -> Job {
        self.jobs.create(new).await.unwrap().job
    }

    /// Makes a job and begins it.
    pub async fn work(&self, kind: &str) -> Work {
        self.make(kind).await;
        self.claim(kind).await
    }

    /// Begins a job that waits.
    pub async fn claim(&self, kind: &str) -> Work {
        let claimed = self.jobs.claim(None, &[kind.into()], "w", None, Duration::ZERO).await.unwrap();
        let Claimed { job, lease, .. } = claimed.expect("a job waits");
        Work { jobs: self.jobs.clone(), id: job.id.clone(), lease }
    }

    /// A token of the job.
    pub async fn token(&self, id: &JobId) -> String {
        self.jobs.new_token(id, None).await.unwrap().0
    }

    /// Asks for something and reads the head of the answer.
    pub async fn request(&self, method: &str, target: &str, token: &str, last: Option<&str>) -> Client {
        let last = last.map(|id| format!("last-event-id: {id}\r\n")).unwrap_or_default();
        let bearer = if token.is_empty() { String::new() } else { format!("authorization: Bearer {token}\r\n") };
        self.raw(&format!("{method} {target} HTTP/1.1\r\nhost: x\r\n{bearer}{last}\r\n")).await
    }

    async fn raw(&self, request: &str) -> Client {
        let mut client = Client::connect(self.address).await;
        client.send(request.as_bytes()).await;
        client.read_head().await;
        client
    }

    pub async fn get(&self, target: &str, token: &str, last: Option<&str>) -> Client {
        self.request("GET", target, token, last).await
    }

    /// Watches a job as its owner.
    pub async fn watch(&self, id: &JobId, last: Option<&str>) -> Client {
        let client = self.get(&format!("/jobs/{id}/events"), "u1", last).await;
        assert_eq!(client.status, 200, "{}", client.head);
        client
    }

    /// A WebSocket about a job, of which nothing was read yet.
    pub async fn websocket(&self, target: &str, token: &str) -> WebSocket {
        WebSocket::new(self.upgrade(target, token).await)
    }

    pub async fn upgrade(&self, target: &str, token: &str) -> Client {
        let bearer = if token.is_empty() { String::new() } else { format!("authorization: Bearer {token}\r\n") };
        let request = format!(
            "GET {target} HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n{bearer}\r\n"
        );
        self.raw(&request).await
    }

    /// Waits until `done`; fails after a minute.
    pub async fn until(&self, what: &str, mut done: impl FnMut(&Rig) -> bool) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        while !done(self) {
            assert!(tokio::time::Instant::now() < deadline, "it never came to this: {what}");
            tokio::task::yield_now().await;
        }
    }

    /// Nobody is connected any more.
    pub async fn is_left_alone(&self) {
        self.until("every connection is gone", |rig| rig.service.limiter.open() == 0).await;
    }
}

/// A job that was begun.
pub struct Work {
    jobs: Arc<Jobs>,
    pub id: JobId,
    pub lease: String,
}

impl Work {
    pub fn progress(&self, done: u64) {
        let update = ProgressUpdate { done: Some(done), ..ProgressUpdate::default() };
        self.jobs.progress(&self.id, &self.lease, update).now_or_never().expect("it is in memory").unwrap();
    }

    pub async fn items(&self, from: u64, items: &[Value], tell: bool) {
        let items = items.iter().map(|item| Bytes::from(item.to_string())).collect();
        self.jobs.append_items(&self.id, &self.lease, from, items, tell).await.unwrap();
    }

    pub async fn finish(&self, outcome: Outcome) -> Job {
        self.jobs.finish(&self.id, &self.lease, outcome).await.unwrap()
    }

    pub async fn complete(&self) {
        self.finish(Outcome::Completed(None)).await;
    }

    /// Completes it with so many bytes of a summary.
    pub async fn complete_with(&self, bytes: usize) {
        let result = RawValue::from_string(Value::from("r".repeat(bytes)).to_string()).unwrap();
        self.finish(Outcome::Completed(Some(result))).await;
    }

    /// Gives it back, so that no lease runs out.
    pub async fn release(&self) {
        self.finish(Outcome::Released).await;
    }

    pub async fn fail(&self, retryable: bool) {
        let failure = Failure { code: "broken".into(), message: "it broke".into(), retryable };
        self.finish(Outcome::Failed(failure)).await;
    }
}

/// What a stream told until it ended, with `tidings.close` at its end.
pub async fn told(client: &mut Client) -> Vec<Received> {
    let mut told = Vec::new();
    while let Some(event) = client.next().await {
        told.push(event);
    }
    told
}

pub fn names(told: &[Received]) -> Vec<&str> {
    told.iter().map(|event| &*event.name).collect()
}

pub fn data(event: &Received) -> Value {
    serde_json::from_str(&event.data).unwrap_or_else(|error| panic!("{error}: {event:?}"))
}
