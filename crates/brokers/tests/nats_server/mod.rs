//! Real NATS servers for tests: on free ports of this machine, each with a folder of its own, gone at the end.
#![allow(dead_code, reason = "each test program uses its part")]

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tidings_brokers::Retention;
use tidings_brokers::nats::{Engine, EngineError, NatsBroker, NatsSettings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The newest server that the tests know.
pub const NEWEST: &str = "2.15.1";

/// The folder of the programs: `scripts/nats-servers` puts them there.
fn program(version: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the crate is two below the root");
    let program = root.join(".make/nats").join(version).join("nats-server");
    assert!(program.exists(), "{} is missing: run scripts/nats-servers", program.display());
    program
}

/// A running server.
pub struct NatsServer {
    process: Child,
    port: Port,
    folder: TempDir,
    version: String,
    config: PathBuf,
}

impl NatsServer {
    /// A server alone, of the newest version.
    pub fn start() -> NatsServer {
        NatsServer::of(NEWEST, "")
    }

    /// A server alone, with these lines more in its configuration.
    pub fn of(version: &str, more: &str) -> NatsServer {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let port = Port::free();
        let store = folder.path().join("js");
        let config = folder.path().join("server.conf");
        let text = format!(
            "server_name: test\nlisten: \"127.0.0.1:{}\"\njetstream {{ store_dir: \"{}\" }}\n{more}\n",
            port.number,
            store.display()
        );
        std::fs::write(&config, text).expect("the configuration is written");
        let process = run(version, &config);
        NatsServer { process, port, folder, version: version.into(), config }
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port.number)
    }

    /// Settings for it.
    pub fn settings(&self) -> NatsSettings {
        NatsSettings { servers: vec![self.url()], ..NatsSettings::default() }
    }

    /// Kills it as a power cut would, but for what the system has not written yet.
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Starts it again after [`kill`](Self::kill), at the same address and with the same folder.
    pub fn restart(&mut self) {
        self.process = run(&self.version, &self.config);
    }

    /// Where its streams are.
    pub fn store(&self) -> PathBuf {
        self.folder.path().join("js")
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Several servers as one cluster.
pub struct NatsCluster {
    nodes: Vec<NatsServer>,
    _routes: Vec<Port>,
}

impl NatsCluster {
    /// Starts a cluster of `count` servers, and returns when one of them leads.
    pub fn start(count: usize) -> NatsCluster {
        let routes: Vec<Port> = (0..count).map(|_| Port::free()).collect();
        let all: Vec<_> = routes.iter().map(|port| format!("\"nats://127.0.0.1:{}\"", port.number)).collect();
        let all = all.join(", ");
        let nodes = routes.iter().enumerate().map(|(index, route)| {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let port = Port::free();
            let config = folder.path().join("server.conf");
            let text = format!(
                "server_name: n{index}\nlisten: \"127.0.0.1:{}\"\njetstream {{ store_dir: \"{}\" }}\n\
                 cluster {{ name: test, listen: \"127.0.0.1:{}\", routes: [{all}] }}\n",
                port.number,
                folder.path().join("js").display(),
                route.number
            );
            std::fs::write(&config, text).expect("the configuration is written");
            let process = run(NEWEST, &config);
            NatsServer { process, port, folder, version: NEWEST.into(), config }
        });
        let nodes = nodes.collect();
        NatsCluster { nodes, _routes: routes }
    }

    /// Its servers.
    pub fn nodes(&mut self) -> &mut [NatsServer] {
        &mut self.nodes
    }

    /// Settings for it.
    pub fn settings(&self) -> NatsSettings {
        NatsSettings { servers: self.nodes.iter().map(NatsServer::url).collect(), ..NatsSettings::default() }
    }
}

/// A port that is one server's for as long as this is there, also before it listens and while it is away. It is none of those that the
/// system gives out by itself, which may be somebody else's in between.
struct Port {
    number: u16,
    _held: UdpSocket,
}

impl Port {
    fn free() -> Port {
        static TRIED: AtomicUsize = AtomicUsize::new(0);
        // Test programs that run at once begin at other places.
        let begin = std::process::id() as usize * 97;
        loop {
            let tried = TRIED.fetch_add(1, Ordering::Relaxed);
            assert!(tried < 100_000, "no port is free");
            let number = 10_000 + ((begin + tried) % 20_000) as u16;
            // The ports of UDP are nobody's: who has this one has that of TCP too, and the system lets it go with the process.
            let Ok(held) = UdpSocket::bind(("127.0.0.1", number)) else { continue };
            if TcpListener::bind(("127.0.0.1", number)).is_ok() {
                return Port { number, _held: held };
            }
        }
    }
}

/// Starts a server and waits until it says that it is ready.
fn run(version: &str, config: &Path) -> Child {
    let mut process = Command::new(program(version))
        .arg("--config")
        .arg(config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the server starts");
    let mut lines = BufReader::new(process.stderr.take().expect("its log")).lines();
    let mut said = Vec::new();
    loop {
        match lines.next() {
            Some(Ok(line)) if line.contains("Server is ready") => break,
            Some(Ok(line)) => said.push(line),
            _ => panic!("the server ended:\n{}", said.join("\n")),
        }
    }
    // Else it would stand still once the pipe is full.
    std::thread::spawn(move || lines.for_each(drop));
    process
}

/// Settings for a hub that nobody used yet, which keeps everything.
pub fn fresh(settings: NatsSettings) -> NatsSettings {
    static HUBS: AtomicUsize = AtomicUsize::new(0);
    let hub = format!("hub{}", HUBS.fetch_add(1, Ordering::Relaxed));
    NatsSettings { hub, retention: Retention::FOREVER, ..settings }
}

/// A replica's log. A cluster that was just started is given a while to find its leaders.
pub async fn open(settings: NatsSettings) -> Arc<NatsBroker> {
    patiently(async || NatsBroker::open(Engine::connect(settings.clone()).await?).await).await
}

/// Opens it again while it can't be reached, as the program does: a cluster looks for its leaders, or a server stands still for a moment.
pub async fn patiently<T>(mut open: impl AsyncFnMut() -> Result<T, EngineError>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match open().await {
            Ok(opened) => return opened,
            Err(EngineError::Unreachable { .. }) if Instant::now() < deadline => tokio::time::sleep(POLL).await,
            Err(error) => panic!("it opens: {error}"),
        }
    }
}

/// A connection, as [`patiently`].
pub async fn connect(settings: NatsSettings) -> Arc<Engine> {
    patiently(async || Engine::connect(settings.clone()).await).await
}

/// How long a condition is waited for before the test fails, and how often it is looked at.
pub const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// Returns when `so` is the case.
pub async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !so().await {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(POLL).await;
    }
}

/// A link to a server that can be cut, and can swallow everything.
pub struct Link {
    port: u16,
    state: Arc<tokio::sync::watch::Sender<LinkState>>,
}

/// What a [`Link`] does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum LinkState {
    /// It carries what comes.
    Open,
    /// It ends connections, and takes none.
    Cut,
    /// It takes what comes and carries nothing, as a wall that drops packets.
    Silent,
}

impl Link {
    /// A link to `server`.
    pub async fn to(server: &NatsServer) -> Link {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let state = Arc::new(tokio::sync::watch::Sender::new(LinkState::Open));
        let (target, seen) = (server.port.number, state.clone());
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(carry(near, target, seen.clone()));
            }
        });
        Link { port, state }
    }

    /// What it does from now on.
    pub fn set(&self, state: LinkState) {
        self.state.send_replace(state);
    }

    /// Settings for the server behind it.
    pub fn settings(&self) -> NatsSettings {
        NatsSettings { servers: vec![format!("nats://127.0.0.1:{}", self.port)], ..NatsSettings::default() }
    }
}

async fn carry(near: tokio::net::TcpStream, target: u16, state: Arc<tokio::sync::watch::Sender<LinkState>>) {
    let mut cut = state.subscribe();
    let Ok(far) = tokio::net::TcpStream::connect(("127.0.0.1", target)).await else { return };
    let ((near_reader, near_writer), (far_reader, far_writer)) = (near.into_split(), far.into_split());
    tokio::select! {
        _ = cut.wait_for(|state| *state == LinkState::Cut) => {}
        () = pump(near_reader, far_writer, state.clone()) => {}
        () = pump(far_reader, near_writer, state.clone()) => {}
    }
}

async fn pump(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    state: Arc<tokio::sync::watch::Sender<LinkState>>,
) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let is_silent = *state.borrow() == LinkState::Silent;
        if !is_silent && to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
