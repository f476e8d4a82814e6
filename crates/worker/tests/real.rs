//! A worker and the program itself, which is killed on the way.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tidings_worker::{Job, JobError, Progress, Refused, Worker, WorkerBuilder};
use tokio::io::AsyncReadExt;
use tokio::net::TcpSocket;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// A lease that does not run out while a hub begins anew, however slow the machine is.
const LONG: Duration = Duration::from_secs(600);

/// The program, which the workspace builds beside its tests.
fn tidings() -> Command {
    let test = std::env::current_exe().unwrap();
    let program = test.parent().and_then(Path::parent).unwrap().join("tidings");
    assert!(program.exists(), "{} is missing: cargo build -p tidings-server makes it", program.display());
    let mut command = Command::new(program);
    command.env("TIDINGS_LOG__LEVEL", "error").stdin(Stdio::null());
    command
}

/// A directory that goes with the test.
struct Directory(PathBuf);

impl Directory {
    fn new(test: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("tidings-worker-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        Directory(directory)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A hub in a process of its own.
struct Hub {
    child: Child,
    address: SocketAddr,
    data: Directory,
    is_open: bool,
    client: reqwest::Client,
    /// Keeps the port while the hub is killed: else the system may give it to somebody else, the worker that asks for it among them.
    _place: TcpSocket,
}

impl Hub {
    /// One that is open to everybody on this machine.
    fn start(test: &str) -> Hub {
        Hub::begin(Directory::new(test), true)
    }

    fn begin(data: Directory, is_open: bool) -> Hub {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let place = TcpSocket::new_v4().unwrap();
        // Then the hub may listen there all the same.
        place.set_reuseaddr(true).unwrap();
        place.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let (child, address) = serve(&data.0, &place.local_addr().unwrap().to_string(), is_open);
        // Each request on a connection of its own: none is left from before the hub was killed.
        let client = reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap();
        Hub { child, address, data, is_open, client, _place: place }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Kills it in the middle of whatever it does, and starts it again where it was.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        (self.child, _) = serve(&self.data.0, &self.address.to_string(), self.is_open);
    }

    async fn create(&self, job: Value) {
        let request = self.client.post(format!("{}/v1/jobs", self.url())).json(&job);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
    }

    async fn create_with_file(&self, job: Value, file: &[u8]) {
        let mut body =
            format!("--b\r\ncontent-disposition: form-data; name=\"job\"\r\n\r\n{job}\r\n--b\r\n").into_bytes();
        body.extend(
            b"content-disposition: form-data; name=\"file\"; filename=\"list.csv\"\r\ncontent-type: text/csv\r\n\r\n",
        );
        body.extend(file);
        body.extend(b"\r\n--b--\r\n");
        let request = self.client.post(format!("{}/v1/jobs", self.url())).header("origin", self.url());
        let answer = request.header("content-type", "multipart/form-data; boundary=b").body(body).send().await.unwrap();
        assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
    }

    async fn get(&self, target: &str) -> Value {
        self.client.get(format!("{}{target}", self.url())).send().await.unwrap().json().await.unwrap()
    }

    /// Waits until the job is in this state, hearing of it as any client does.
    async fn reaches(&self, id: &str, state: &str) -> Value {
        let waiting = async {
            loop {
                let target = format!("{}/v1/jobs/{id}/events", self.url());
                let mut stream = self.client.get(target).send().await.unwrap();
                let mut heard = String::new();
                // What comes is reason to look; the stream ends with the job.
                while let Ok(Some(chunk)) = stream.chunk().await {
                    heard.push_str(&String::from_utf8_lossy(&chunk));
                    let job = self.get(&format!("/v1/jobs/{id}")).await;
                    if job["state"] == state {
                        return job;
                    }
                    assert!(job["ended"].is_null(), "{job}");
                }
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{id} never came to be {state}"))
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve(data: &Path, listen: &str, is_open: bool) -> (Child, SocketAddr) {
    let mut command = tidings();
    command.args(["serve", "--listen", listen, "--data"]).arg(data).stdout(Stdio::piped()).stderr(Stdio::null());
    if is_open {
        command.arg("--dev");
    }
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on http://").expect("it listens").parse().unwrap();
    // What else it prints is read, so that it never waits for us.
    std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
    (child, address)
}

/// A worker that runs, and is stopped when the test wants it.
struct Running {
    stop: oneshot::Sender<()>,
    worker: JoinHandle<Result<(), Refused>>,
}

fn start(builder: WorkerBuilder) -> Running {
    let (stop, stopped) = oneshot::channel();
    let worker = builder.build().unwrap();
    Running { stop, worker: tokio::spawn(worker.run(async { drop(stopped.await) })) }
}

impl Running {
    async fn stop(self) {
        let _ = self.stop.send(());
        tokio::time::timeout(PATIENCE, self.worker).await.unwrap().unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_job_is_done_from_its_input_to_its_result() {
    let hub = Hub::start("done");
    let worker = start(Worker::builder(hub.url()).kind("count", |job: Job| async move {
        let until: u64 = job.input()?;
        job.items(0..until, true).await?;
        job.progress(Progress::new(until).of(until).message("counted").item(json!({"last": until - 1})));
        Ok(json!({"counted": until}))
    }));
    hub.create(json!({"kind": "count", "id": "j1", "input": 2500})).await;
    let job = hub.reaches("j1", "completed").await;
    assert_eq!((&job["result"], &job["items"], &job["attempt"]), (&json!({"counted": 2500}), &json!(2500), &json!(1)));
    assert_eq!((&job["progress"]["done"], &job["progress"]["fraction"]), (&json!(2500), &json!(1.0)));
    let page = hub.get("/v1/jobs/j1/result?from=2499").await;
    assert_eq!(page["items"], json!([2499]));
    worker.stop().await;
}

#[tokio::test]
async fn a_hub_that_is_killed_again_and_again_has_every_item_once_and_the_end() {
    let mut hub = Hub::start("killed");
    let (begun, mut begins) = mpsc::channel(1);
    let worker = start(Worker::builder(hub.url()).lease(LONG).kind("count", move |job: Job| {
        let begun = begun.clone();
        async move {
            for item in 0..200_u64 {
                job.items([item], item % 2 == 0).await?;
                job.progress(Progress::new(item + 1).of(200));
                if item % 20 == 0 {
                    // The hub is killed while the next are on their way.
                    let _ = begun.try_send(());
                }
            }
            Ok("all")
        }
    }));
    hub.create(json!({"kind": "count", "id": "j1"})).await;
    for _ in 0..4 {
        tokio::time::timeout(PATIENCE, begins.recv()).await.unwrap().unwrap();
        hub.kill();
    }
    let job = hub.reaches("j1", "completed").await;
    assert_eq!((&job["attempt"], &job["result"]), (&json!(1), &json!("all")));
    let page = hub.get("/v1/jobs/j1/result?limit=1000").await;
    assert_eq!(page["items"], json!((0..200).collect::<Vec<u64>>()));
    worker.stop().await;
}

#[tokio::test]
async fn a_worker_that_dies_costs_an_attempt_and_the_next_makes_the_same_page() {
    let hub = Hub::start("died");
    let (begun, mut begins) = mpsc::channel(1);
    let handler = move |job: Job| {
        let begun = begun.clone();
        async move {
            job.items(["a", "b"], false).await?;
            if job.attempt() == 1 {
                begun.send(()).await.unwrap();
                std::future::pending::<()>().await;
            }
            job.items(["c"], false).await?;
            Ok(job.items_so_far())
        }
    };
    // The job says how long, and the worker nothing else: long enough for a machine that stands still now and then.
    let dying = start(Worker::builder(hub.url()).kind("count", handler.clone()));
    hub.create(json!({"kind": "count", "id": "j1", "lease": "5s"})).await;
    tokio::time::timeout(PATIENCE, begins.recv()).await.unwrap().unwrap();
    // No word of farewell, as from a process that was killed.
    dying.worker.abort();
    let worker = start(Worker::builder(hub.url()).lease(LONG).kind("count", handler));
    let job = hub.reaches("j1", "completed").await;
    assert_eq!((&job["attempt"], &job["result"]), (&json!(2), &json!(2)));
    assert_eq!(hub.get("/v1/jobs/j1/result").await["items"], json!(["a", "b", "c"]));
    worker.stop().await;
}

#[tokio::test]
async fn a_cancel_is_answered_by_the_worker_while_somebody_waits_for_it() {
    let hub = Hub::start("cancel");
    let worker = start(Worker::builder(hub.url()).kind("count", |job: Job| async move {
        job.cancel_token().canceled().await;
        Err::<(), _>(JobError::canceled_with(json!({"so": "far"})))
    }));
    hub.create(json!({"kind": "count", "id": "j1"})).await;
    hub.reaches("j1", "running").await;
    let request = hub.client.delete(format!("{}/v1/jobs/j1?wait=50s", hub.url())).send().await.unwrap();
    assert_eq!(request.status(), 200);
    let job: Value = request.json().await.unwrap();
    assert_eq!((&job["state"], &job["result"]), (&json!("canceled"), &json!({"so": "far"})));
    worker.stop().await;
}

#[tokio::test]
async fn a_cancel_that_the_hub_took_before_it_was_killed_is_not_forgotten() {
    let mut hub = Hub::start("cancel-killed");
    let go = Arc::new(Notify::new());
    let worker = start(Worker::builder(hub.url()).kind("count", {
        let go = go.clone();
        move |job: Job| {
            let go = go.clone();
            async move {
                go.notified().await;
                job.cancel_token().canceled().await;
                Err::<(), _>(JobError::Canceled)
            }
        }
    }));
    hub.create(json!({"kind": "count", "id": "j1"})).await;
    hub.reaches("j1", "running").await;
    let request = hub.client.delete(format!("{}/v1/jobs/j1", hub.url())).send().await.unwrap();
    assert_eq!(request.status(), 202);
    hub.kill();
    go.notify_one();
    hub.reaches("j1", "canceled").await;
    worker.stop().await;
}

#[tokio::test]
async fn a_file_is_read_whole_though_the_hub_is_killed_in_the_middle_of_it() {
    let mut hub = Hub::start("file");
    let file: Vec<u8> = (0..30_000_000_u32).map(|index| (index % 251) as u8).collect();
    let (begun, mut begins) = mpsc::channel(1);
    let go = Arc::new(Notify::new());
    let worker = start(Worker::builder(hub.url()).lease(LONG).kind("import", {
        let (go, file) = (go.clone(), file.clone());
        move |job: Job| {
            let (begun, go, expected) = (begun.clone(), go.clone(), file.clone());
            async move {
                let mut file = job.file()?;
                let mut read = vec![0; 1000];
                file.read_exact(&mut read).await?;
                begun.send(()).await.unwrap();
                go.notified().await;
                file.read_to_end(&mut read).await?;
                assert!(read == expected, "{} bytes", read.len());
                Ok(json!([file.name(), file.media_type(), file.bytes()]))
            }
        }
    }));
    hub.create_with_file(json!({"kind": "import", "id": "j1"}), &file).await;
    tokio::time::timeout(PATIENCE, begins.recv()).await.unwrap().unwrap();
    hub.kill();
    go.notify_one();
    let job = hub.reaches("j1", "completed").await;
    // An assertion that fails in the handler is a panic, after which it is tried again.
    assert_eq!((&job["result"], &job["attempt"]), (&json!(["list.csv", "text/csv", 30_000_000]), &json!(1)));
    worker.stop().await;
}

#[tokio::test]
async fn what_a_worker_gives_back_when_it_stops_costs_no_attempt() {
    let hub = Hub::start("release");
    let (begun, mut begins) = mpsc::channel(1);
    let handler = move |job: Job| {
        let begun = begun.clone();
        async move {
            begun.send(()).await.unwrap();
            job.cancel_token().canceled().await;
            Err::<(), _>(JobError::Canceled)
        }
    };
    let worker = start(Worker::builder(hub.url()).grace(Duration::ZERO).kind("count", handler));
    hub.create(json!({"kind": "count", "id": "j1"})).await;
    // What the hub has given is not in the worker's hands yet.
    tokio::time::timeout(PATIENCE, begins.recv()).await.unwrap().unwrap();
    worker.stop().await;
    let job = hub.get("/v1/jobs/j1").await;
    assert_eq!((&job["state"], &job["attempt"]), (&json!("queued"), &json!(0)));
    let worker = start(Worker::builder(hub.url()).kind("count", |job: Job| async move { Ok(job.attempt()) }));
    assert_eq!(hub.reaches("j1", "completed").await["result"], 1);
    worker.stop().await;
}

#[tokio::test]
async fn a_key_without_the_right_to_work_is_refused_by_name_and_one_with_it_works() {
    let data = Directory::new("keys");
    let key = |more: &[&str]| {
        let output =
            tidings().args(["key", "create", "--name", "w", "--data"]).arg(&data.0).args(more).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let (wrong, right) = (key(&["--grant", "work/other"]), key(&["--grant", "work/*", "--publish", "--operator"]));
    let hub = Hub::begin(data, false);
    let worker = |key: &str| start(Worker::builder(hub.url()).key(key).kind("count", |_| async { Ok("done") }));
    for (key, status) in [(wrong.as_str(), 403), ("tdg_nobody", 401)] {
        let refused = tokio::time::timeout(PATIENCE, worker(key).worker).await.unwrap().unwrap().unwrap_err();
        assert_eq!(refused.status, status, "{refused}");
        assert!(!refused.to_string().contains(key.trim()), "{refused}");
    }
    let working = worker(&right);
    let create = hub.client.post(format!("{}/v1/jobs", hub.url())).bearer_auth(right.trim());
    let created: Value = create.json(&json!({"kind": "count", "id": "j1"})).send().await.unwrap().json().await.unwrap();
    let token = created["token"].as_str().unwrap();
    let events = hub.client.get(format!("{}/v1/jobs/j1/events", hub.url())).bearer_auth(token).send().await.unwrap();
    let told = tokio::time::timeout(PATIENCE, events.text()).await.unwrap().unwrap();
    assert!(told.contains("job.completed"), "{told}");
    working.stop().await;
}
