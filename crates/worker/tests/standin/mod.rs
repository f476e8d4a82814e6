//! A stand-in for a hub: what `protocol/README.md` §10.5 says of one, in memory, with faults on request.

use std::convert::Infallible;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A job of the stand-in.
#[derive(Clone, Debug, Default)]
pub struct Job {
    pub id: String,
    pub kind: String,
    pub input: Value,
    pub file: Option<Bytes>,
    pub state: String,
    pub attempt: u32,
    pub canceling: bool,
    pub lease: Option<String>,
    pub items: Vec<Value>,
    pub told: Vec<Value>,
    pub progress: Value,
    pub result: Value,
    pub error: Value,
    /// The lease that ended it, and what it said.
    ended: Option<(String, Value)>,
}

/// What goes wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// The connection breaks before the hub has heard of it.
    Break,
    /// It counts, and the connection breaks before the answer.
    LoseAnswer,
    /// 503, with `Retry-After` in seconds.
    Busy(u64),
    /// A proxy answers.
    Strange(u16),
    /// The file ends in the middle of the answer, so many bytes after where it began.
    Cut(usize),
    /// The file is sent whole, whatever part was asked for.
    Whole,
}

#[derive(Default)]
pub struct State {
    pub jobs: Vec<Job>,
    /// Each request: what was asked for, with its query, and its body as text.
    pub requests: Vec<(String, String)>,
    /// What goes wrong with the next requests that ask for this.
    faults: Vec<(String, Fault)>,
    /// The key without which no claim is answered.
    key: Option<String>,
    leases: u32,
}

impl State {
    pub fn job(&self, id: &str) -> &Job {
        self.jobs.iter().find(|job| job.id == id).expect("the test made it")
    }

    fn find(&mut self, id: &str) -> Option<&mut Job> {
        self.jobs.iter_mut().find(|job| job.id == id)
    }

    /// How often this was asked for.
    pub fn count(&self, action: &str) -> usize {
        self.bodies(action).len()
    }

    /// The bodies of the requests that asked for this.
    pub fn bodies(&self, action: &str) -> Vec<&str> {
        let fits = |target: &str| target.split('?').next().is_some_and(|path| path.ends_with(action));
        self.requests.iter().filter(|(target, _)| fits(target)).map(|(_, body)| body.as_str()).collect()
    }
}

struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

/// A running stand-in. It keeps what it knows when it is killed and started again, as a hub with a disk does.
pub struct Hub {
    shared: Arc<Shared>,
    address: SocketAddr,
    serving: Option<JoinHandle<()>>,
    /// Keeps the port while nothing listens there: else the system may give it to somebody else, a client that asks for the hub among them.
    _place: TcpSocket,
}

impl Hub {
    pub async fn start() -> Hub {
        let (place, address) = place();
        let listener = TcpListener::bind(address).await.unwrap();
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Notify::new() });
        Hub { serving: Some(tokio::spawn(serve(listener, shared.clone()))), address, shared, _place: place }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Ends all connections in the middle of whatever they do.
    pub async fn kill(&mut self) {
        let serving = self.serving.take().expect("it runs");
        serving.abort();
        let _ = serving.await;
    }

    pub async fn restart(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.serving = Some(tokio::spawn(serve(listener, self.shared.clone())));
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }

    pub fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.shared.changed.notify_waiters();
    }

    pub fn create(&self, id: &str, kind: &str, input: Value) {
        let job = Job { id: id.into(), kind: kind.into(), input, state: "queued".into(), ..Job::default() };
        self.change(|state| state.jobs.push(job));
    }

    pub fn create_with_file(&self, id: &str, kind: &str, file: impl Into<Bytes>) {
        self.create(id, kind, Value::Null);
        self.change(|state| state.find(id).unwrap().file = Some(file.into()));
    }

    pub fn cancel(&self, id: &str) {
        self.change(|state| state.find(id).unwrap().canceling = true);
    }

    /// Gives the job to nobody else, but takes it from its worker.
    pub fn take_lease(&self, id: &str) {
        self.change(|state| state.find(id).unwrap().lease = Some("tdl_of_somebody_else".into()));
    }

    /// Something goes wrong with the next request that asks for this.
    pub fn fault(&self, action: &str, fault: Fault) {
        self.change(|state| state.faults.push((action.into(), fault)));
    }

    pub fn require_key(&self, key: &str) {
        self.change(|state| state.key = Some(key.into()));
    }

    /// Waits until it is so; fails when patience ends.
    pub async fn until<T: Debug>(&self, what: &str, mut is_so: impl FnMut(&State) -> Option<T>) -> T {
        let waiting = async {
            loop {
                let mut changed = std::pin::pin!(self.shared.changed.notified());
                changed.as_mut().enable();
                if let Some(found) = is_so(&self.state()) {
                    return found;
                }
                changed.await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting)
            .await
            .unwrap_or_else(|_| panic!("it never came to this: {what}; {:?}", self.state().requests))
    }

    /// Waits until the job is in this state.
    pub async fn reaches(&self, id: &str, state: &str) -> Job {
        let so = |now: &State| Some(now.job(id)).filter(|job| job.state == state).cloned();
        self.until(&format!("{id} is {state}"), so).await
    }
}

/// A free port, kept without listening there.
fn place() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    // Then others may listen there, if they are told of it.
    socket.set_reuseaddr(true).unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        connections.spawn(connection(socket, shared.clone()));
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(socket: TcpStream, shared: Arc<Shared>) {
    let service = service_fn(move |request| answer(request, shared.clone()));
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
}

/// The connection breaks.
#[derive(Debug, thiserror::Error)]
#[error("broken")]
struct Broken;

type Answer = Response<BoxBody<Bytes, Broken>>;

async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Answer, Broken> {
    let (head, body) = request.into_parts();
    let target = head.uri.path_and_query().unwrap().as_str().to_owned();
    let path = head.uri.path().to_owned();
    let body = body.collect().await.map_err(|_| Broken)?.to_bytes();
    let text = String::from_utf8(body.to_vec()).unwrap();
    let action = match path.as_str() {
        "/v1/jobs/progress" => "batch".to_owned(),
        path => path.rsplit('/').next().unwrap().to_owned(),
    };
    let header = |name: &str| head.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let bearer = header("authorization").and_then(|value| value.strip_prefix("Bearer ").map(str::to_owned));
    let fault = {
        let mut state = shared.state.lock().unwrap();
        state.requests.push((target.clone(), text.clone()));
        let position = state.faults.iter().position(|(faulty, _)| *faulty == action);
        position.map(|position| state.faults.remove(position).1)
    };
    shared.changed.notify_waiters();
    match fault {
        Some(Fault::Break) => return Err(Broken),
        Some(Fault::Busy(after)) => return Ok(busy(after)),
        Some(Fault::Strange(status)) => return Ok(reply(status, "text/html", "<html>")),
        _ => {}
    }
    let answer = match (action.as_str(), path.split('/').nth(3)) {
        ("claim", _) => claim(&shared, bearer.as_deref(), &text).await,
        ("batch", _) => many(&shared, &text),
        ("file", Some(id)) => {
            let from = header("range").map(|range| range["bytes=".len()..range.len() - 1].parse().unwrap());
            file(&shared, id, bearer.as_deref(), from, fault)
        }
        ("heartbeat", Some(id)) => heartbeat(&shared, id, bearer.as_deref(), &text).await,
        (action, Some(id)) => change(&shared, id, action, bearer.as_deref(), &target, &text),
        _ => problem(404, "not-found"),
    };
    shared.changed.notify_waiters();
    if fault == Some(Fault::LoseAnswer) { Err(Broken) } else { Ok(answer) }
}

fn reply(status: u16, content_type: &str, body: impl Into<Bytes>) -> Answer {
    let body = Full::new(body.into()).map_err(|_: Infallible| Broken).boxed();
    Response::builder().status(status).header("content-type", content_type).body(body).unwrap()
}

fn busy(after: u64) -> Answer {
    let mut answer = reply(503, "text/plain", "later");
    answer.headers_mut().insert("retry-after", after.into());
    answer
}

fn document(status: u16, value: Value) -> Answer {
    reply(status, "application/json", value.to_string())
}

fn problem(status: u16, code: &str) -> Answer {
    let problem =
        json!({"type": format!("urn:tidings:problem:{code}"), "status": status, "detail": format!("it is {code}")});
    reply(status, "application/problem+json", problem.to_string())
}

async fn claim(shared: &Shared, bearer: Option<&str>, text: &str) -> Answer {
    let body: Value = serde_json::from_str(text).unwrap();
    loop {
        let mut changed = std::pin::pin!(shared.changed.notified());
        changed.as_mut().enable();
        {
            let mut state = shared.state.lock().unwrap();
            if state.key.is_some() && state.key.as_deref() != bearer {
                return problem(403, "may-not-work");
            }
            let kinds = body["kinds"].as_array().unwrap();
            let fits = |job: &&mut Job| job.state == "queued" && kinds.contains(&json!(job.kind));
            state.leases += 1;
            let lease = format!("tdl_{}", state.leases);
            if let Some(job) = state.jobs.iter_mut().find(fits) {
                job.state = "running".into();
                job.attempt += 1;
                job.lease = Some(lease.clone());
                let mut found = json!({"id": job.id, "kind": job.kind, "state": "running", "attempt": job.attempt,
                    "attempts": 3, "items": job.items.len(), "input": job.input, "revision": 1, "owner": "u1"});
                if let Some(file) = &job.file {
                    found["file"] = json!({"name": "list.csv", "type": "text/csv", "bytes": file.len()});
                }
                return document(200, json!({"job": found, "lease": lease, "lease_expires": 1}));
            }
        }
        changed.await;
    }
}

async fn heartbeat(shared: &Shared, id: &str, bearer: Option<&str>, text: &str) -> Answer {
    let waits = serde_json::from_str::<Value>(text).unwrap()["wait"].is_string();
    loop {
        let mut changed = std::pin::pin!(shared.changed.notified());
        changed.as_mut().enable();
        {
            let mut state = shared.state.lock().unwrap();
            let Some(job) = state.find(id) else { return problem(404, "no-such-job") };
            if job.lease.as_deref() != bearer {
                return problem(409, "lease-lost");
            }
            if job.canceling || !waits {
                return document(200, json!({"cancel": job.canceling, "lease_expires": 1}));
            }
        }
        changed.await;
    }
}

fn many(shared: &Shared, text: &str) -> Answer {
    let mut state = shared.state.lock().unwrap();
    let (mut refused, mut canceling, mut taken) = (Vec::new(), Vec::new(), 0);
    for (index, line) in text.lines().enumerate() {
        let progress: Value = serde_json::from_str(line).unwrap();
        let job = state.find(progress["job"].as_str().unwrap()).unwrap();
        if job.lease.as_deref() != progress["lease"].as_str() {
            refused.push(json!({"index": index, "code": "lease-lost", "detail": "another worker has it"}));
            continue;
        }
        if job.canceling {
            canceling.push(job.id.clone());
        }
        job.progress = progress;
        taken += 1;
    }
    document(200, json!({"taken": taken, "refused": refused, "canceling": canceling}))
}

fn change(shared: &Shared, id: &str, action: &str, bearer: Option<&str>, target: &str, text: &str) -> Answer {
    let mut state = shared.state.lock().unwrap();
    let Some(job) = state.find(id) else { return problem(404, "no-such-job") };
    if let Some((lease, said)) = &job.ended
        && Some(lease.as_str()) == bearer
    {
        let is_same = *said == json!([action, text]);
        return if is_same { document(200, json!({"id": id})) } else { problem(409, "already-ended") };
    }
    if job.lease.as_deref() != bearer {
        return problem(409, "lease-lost");
    }
    if action == "items" {
        return items(job, target, text);
    }
    let body: Value = serde_json::from_str(text).unwrap();
    if action == "progress" {
        job.progress = body;
        return document(200, json!({"cancel": job.canceling, "lease_expires": 1}));
    }
    job.state = match action {
        "complete" => "completed",
        "fail" if body["error"]["retryable"] == true => "queued",
        "fail" => "failed",
        "canceled" if !job.canceling => return problem(409, "not-canceling"),
        "canceled" => "canceled",
        "release" => "queued",
        _ => return problem(404, "not-found"),
    }
    .into();
    if action == "release" {
        job.attempt -= 1;
    }
    job.result = body["result"].clone();
    job.error = body["error"].clone();
    job.ended = job.lease.take().map(|lease| (lease, json!([action, text])));
    document(200, json!({"id": id, "state": job.state}))
}

fn items(job: &mut Job, target: &str, text: &str) -> Answer {
    let query = |name: &str| {
        let pairs = target.split('?').nth(1).unwrap().split('&');
        pairs.filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).unwrap().1.to_owned()
    };
    let from: usize = query("from").parse().unwrap();
    if from > job.items.len() {
        return problem(409, "items-gap");
    }
    for (index, line) in text.lines().enumerate() {
        if from + index >= job.items.len() {
            let item: Value = serde_json::from_str(line).unwrap();
            if query("tell") == "true" {
                job.told.push(item.clone());
            }
            job.items.push(item);
        }
    }
    document(200, json!({"count": job.items.len(), "cancel": job.canceling, "lease_expires": 1}))
}

fn file(shared: &Shared, id: &str, bearer: Option<&str>, from: Option<usize>, fault: Option<Fault>) -> Answer {
    let mut state = shared.state.lock().unwrap();
    let job = state.find(id).unwrap();
    if job.lease.as_deref() != bearer {
        return problem(409, "lease-lost");
    }
    let whole = job.file.clone().unwrap();
    let from = from.filter(|_| fault != Some(Fault::Whole));
    let part = whole.slice(from.unwrap_or(0)..);
    let length = part.len();
    let mut frames = vec![Ok(Frame::data(part.clone()))];
    if let Some(Fault::Cut(bytes)) = fault {
        frames = vec![Ok(Frame::data(part.slice(..bytes))), Err(Broken)];
    }
    let body = BodyExt::boxed(StreamBody::new(Frames { frames: frames.into_iter(), has_paused: false }));
    let mut answer = Response::builder().header("content-length", length);
    if let Some(from) = from {
        let range = format!("bytes {from}-{}/{}", whole.len() - 1, whole.len());
        answer = answer.status(StatusCode::PARTIAL_CONTENT).header("content-range", range);
    }
    answer.body(body).unwrap()
}

struct Frames {
    frames: std::vec::IntoIter<Result<Frame<Bytes>, Broken>>,
    has_paused: bool,
}

impl futures_util::Stream for Frames {
    type Item = Result<Frame<Bytes>, Broken>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // What was sent is on its way before the connection breaks.
        if matches!(self.frames.as_slice(), [Err(_)]) && !std::mem::replace(&mut self.has_paused, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.frames.next())
    }
}
