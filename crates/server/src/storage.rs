//! Where the program keeps what it keeps: the log, and the state beside it.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tidings::job::{JobFiles, JobStore};
use tidings::{Broker, Clock};
use tidings_brokers::nats::{
    BeforeMissed, Engine, EngineError, NatsBroker, NatsFiles, NatsJobs, NatsSettings, NatsState, watch_over,
};
use tidings_brokers::state::StateStore;
use tidings_brokers::{DiskBroker, DiskSettings, FileDirectory, MemoryBroker, MemorySettings, Recovery, Store};

use crate::inspect::LogSource;
use crate::serve::Failure;
use crate::settings::{BrokerKind, Settings, data_bytes, message_bytes};

/// How long after a failure NATS is looked for again, at the start.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What was opened.
pub(crate) struct Storage {
    /// The log.
    pub broker: Arc<dyn Broker>,
    /// Keys, tickets, revocations, requests.
    pub state: Arc<dyn StateStore>,
    /// Jobs.
    pub jobs: Arc<dyn JobStore>,
    /// The files that come with jobs.
    pub files: Arc<dyn JobFiles>,
    /// What was found when the log was opened, if it is on disk.
    pub recovery: Option<Recovery>,
    /// The log, for people who look.
    pub log: LogSource,
    /// What stands behind an answered publish, a sentence each.
    pub promises: Vec<String>,
    /// Comes with a sentence when the log is no longer the one that was opened.
    pub replaced: Replaced,
    /// Takes what is done before events that this process missed are announced.
    pub before_missed: Box<dyn FnOnce(BeforeMissed) + Send>,
}

/// Comes with a sentence when the log is no longer the one that was opened. That of one process alone always is.
type Replaced = Pin<Box<dyn Future<Output = String> + Send>>;

fn never() -> Replaced {
    Box::pin(std::future::pending())
}

/// Opens what the settings name.
pub(crate) async fn open(settings: &mut Settings, clock: Arc<dyn Clock>) -> Result<Storage, Failure> {
    let storage = match settings.broker.kind() {
        BrokerKind::Memory => {
            let retention = settings.broker.retention();
            let log = LogSource { broker: "memory", retention: retention.clone(), segments: Box::new(|| None) };
            let broker = Arc::new(MemoryBroker::with_clock(MemorySettings { retention }, clock.clone()));
            local(settings, broker, None, log)?
        }
        BrokerKind::Disk => {
            let files = local_directory(settings)?;
            let retention = settings.broker.retention();
            let segment_bytes = settings.broker.segment_bytes;
            let disk = DiskSettings { retention: retention.clone(), segment_bytes, ..DiskSettings::default() };
            let broker = Arc::new(DiskBroker::open(&files.join("log"), disk, clock.clone())?);
            let (recovery, counted) = (broker.recovery(), Arc::downgrade(&broker));
            let segments = Box::new(move || counted.upgrade().map(|broker| broker.segments()));
            local(settings, broker, Some(recovery), LogSource { broker: "disk", retention, segments })?
        }
        BrokerKind::Nats => shared(settings).await?,
    };
    tokio::spawn(sweep(storage.state.clone(), clock));
    Ok(storage)
}

/// The directory of this process, made if it is not there.
fn local_directory(settings: &Settings) -> Result<&Path, Failure> {
    let dir = &settings.data.dir;
    std::fs::create_dir_all(dir).map_err(|error| {
        format!("the data directory {} can't be made: {error}. Give another with --data", dir.display())
    })?;
    Ok(dir)
}

/// What stands beside the log of one process alone: a database, and a directory for files.
fn local(
    settings: &Settings,
    broker: Arc<dyn Broker>,
    recovery: Option<Recovery>,
    log: LogSource,
) -> Result<Storage, Failure> {
    let dir = local_directory(settings)?;
    let store = Arc::new(
        Store::open(&dir.join("tidings.db"))
            .map_err(|error| format!("the database {} can't be opened: {error}", dir.join("tidings.db").display()))?,
    );
    let files = dir.join("jobs");
    std::fs::create_dir_all(&files).map_err(|error| format!("{} can't be made: {error}", files.display()))?;
    Ok(Storage {
        broker,
        state: store.clone(),
        jobs: store,
        files: Arc::new(FileDirectory::new(files)),
        recovery,
        log,
        promises: Vec::new(),
        replaced: never(),
        before_missed: Box::new(|_| {}),
    })
}

/// What replicas share: all of it is kept by NATS.
async fn shared(settings: &mut Settings) -> Result<Storage, Failure> {
    let engine = reach(settings.nats().unwrap_or_default()).await?;
    fit_limits(settings, &engine)?;
    tokio::spawn(watch_over(Arc::downgrade(&engine)));
    let broker = open_part(|| NatsBroker::open(engine.clone())).await?;
    let jobs = open_part(|| NatsJobs::open(engine.clone())).await?;
    jobs.check(&settings.jobs.engine())?;
    let (retention, watched, held) = (settings.broker.retention(), broker.clone(), broker.clone());
    Ok(Storage {
        state: open_part(|| NatsState::open(engine.clone())).await?,
        jobs,
        files: open_part(|| NatsFiles::open(engine.clone())).await?,
        recovery: None,
        log: LogSource { broker: "nats", retention, segments: Box::new(|| None) },
        promises: broker.loss_model(),
        replaced: Box::pin(async move { watched.replaced().await }),
        before_missed: Box::new(move |what| held.before_missed(what)),
        broker,
    })
}

/// Throws away what has run out, now and then.
async fn sweep(state: Arc<dyn StateStore>, clock: Arc<dyn Clock>) {
    loop {
        if let Err(error) = state.sweep(clock.now()).await {
            tracing::warn!(%error, "what has run out could not be removed");
        }
        tokio::time::sleep(Duration::from_secs(600)).await;
    }
}

/// Connects to NATS.
async fn reach(settings: NatsSettings) -> Result<Arc<Engine>, Failure> {
    open_part(|| Engine::connect(settings.clone())).await
}

/// Opens something at NATS.
async fn open_part<T, F>(open: impl Fn() -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, EngineError>>,
{
    Ok(patiently(open, |error| matches!(error, EngineError::Unreachable { .. })).await?)
}

/// Does what needs NATS, again and again while it fails for what may pass: servers may be starting too, or have no leader yet.
pub(crate) async fn patiently<T, E, F>(attempt: impl Fn() -> F, may_pass: impl Fn(&E) -> bool) -> Result<T, E>
where
    E: std::fmt::Display,
    F: Future<Output = Result<T, E>>,
{
    let mut is_told = false;
    loop {
        match attempt().await {
            Err(error) if may_pass(&error) => {
                if !std::mem::replace(&mut is_told, true) {
                    tracing::warn!("{error}; waiting for it");
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            done => return done,
        }
    }
}

/// Events must fit into messages. Where nobody said how large their data may be, it is what fits.
fn fit_limits(settings: &mut Settings, engine: &Engine) -> Result<(), Failure> {
    let (most, wanted) = (engine.max_payload(), message_bytes(&settings.limits));
    if wanted <= most {
        return Ok(());
    }
    let fits = data_bytes(&settings.limits, most);
    if fits < 64 << 10 {
        return Err(format!(
            "the NATS servers take messages of {most} bytes, and the rest of an event may need {} of that: raise `max_payload` there",
            wanted - settings.limits.event_data
        )
        .into());
    }
    tracing::info!(
        "an event may have {fits} bytes of data, as NATS takes messages of {most}; raise `max_payload` there for more"
    );
    settings.limits.event_data = fits;
    Ok(())
}
