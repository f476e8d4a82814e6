//! The app: its database, the hub inside of it, and what goes on in the background.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use serde::Serialize;
use tidings::job::{JobSettings, Jobs};
use tidings::{Clock, Cursor, Hub, Limits, Profile};
use tidings_brokers::{DiskBroker, DiskSettings, FileDirectory, Retention, Store};
use tidings_server::profile::{LoadedProfile, Loading};
use tidings_server::settings::Report;
use tidings_transports::{Acceptor, Lanes, Service};
use tokio::net::TcpListener;
use tokio::sync::watch::{self, Sender};
use tokio::task::JoinHandle;

use crate::db::{self, Db};
use crate::downloader::Downloads;
use crate::fault::{Fault, Result};
use crate::library::Library;
use crate::logins::Logins;
use crate::outbox::{self, Outbox};
use crate::session::Wall;
use crate::users::Passwords;
use crate::{api, book, demo, queue, watch as folder, work};

/// How the app is run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it listens; port 0 is a free one.
    pub listen: std::net::SocketAddr,
    /// The folder of the database, the log and the files.
    pub data: PathBuf,
    /// The folder where books are dropped.
    pub watch: PathBuf,
    /// The folder of the built pages.
    pub web: PathBuf,
    /// What is told, and to whom.
    pub profile: PathBuf,
    /// The origins of the pages, where a proxy changes `Host` so that it can't be seen from there.
    pub origins: Vec<String>,
    /// How long a download takes.
    pub download: Duration,
    /// How long the look-up of one author takes.
    pub look_up: Duration,
    /// KiB of memory for the hash of a password.
    pub password_kib: u32,
    /// Whether an empty database is filled, and whether storms may be asked for.
    pub demo: bool,
}

/// The app.
pub struct App {
    /// How it is run.
    pub settings: Settings,
    /// Its database.
    pub db: Db,
    /// The hub.
    pub hub: Arc<Hub>,
    /// Its jobs.
    pub jobs: Arc<Jobs>,
    /// What is told, and to whom.
    pub profile: Arc<Profile>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// What the hub's handlers share.
    pub service: Arc<Service>,
    /// The wall.
    pub wall: Arc<Wall>,
    /// The hashes of passwords.
    pub passwords: Passwords,
    /// Who tries to log in.
    pub logins: Logins,
    /// The files.
    pub library: Library,
    /// Where books are dropped, …
    pub drop: PathBuf,
    /// … and where those are put that are none.
    pub failed: PathBuf,
    /// Where downloads are until they are imported.
    pub downloaded: PathBuf,
    /// What is fetched now.
    pub downloads: Downloads,
    /// The places for jobs that are done at once.
    pub places: Arc<tokio::sync::Semaphore>,
    /// The one storm there may be at a time.
    pub storms: Arc<tokio::sync::Semaphore>,
    /// The refresh of all authors.
    pub refresh: work::Refresh,
}

/// How many lanes hold the sockets of streams: a household needs one, and two show that there may be more.
const LANES: usize = 2;

/// What is kept of the log: who was away for longer fetches all anew.
const KEPT: Retention = Retention { age: Some(Duration::from_secs(7 * 86_400)), events: None, bytes: Some(512 << 20) };

/// How long jobs have to be given back when the app stops.
const GIVE_BACK: Duration = Duration::from_secs(2);

/// An app that runs.
pub struct Running {
    /// The app.
    pub app: Arc<App>,
    /// Where it listens.
    pub address: std::net::SocketAddr,
    stop: Sender<bool>,
    accepting: JoinHandle<()>,
    tasks: Vec<JoinHandle<()>>,
}

impl App {
    /// Opens everything, and listens.
    ///
    /// # Errors
    /// A sentence for whoever started it.
    pub async fn start(settings: Settings, clock: Arc<dyn Clock>) -> Result<Running> {
        let loaded = load(&settings.profile)?;
        let app = open(settings, loaded.profile.clone(), clock).await?;
        sweep(&app).await?;
        let outbox = Outbox::open(app.db.clone(), app.hub.clone(), app.profile.clone()).await?;
        if app.settings.demo {
            demo::fill(&app).await?;
        }
        let mut tasks = vec![tokio::spawn(outbox.run())];
        let now = app.now();
        for item in app.db.write(move |tx| queue::take_up(tx, now)).await? {
            app.downloads.begin(&app, item);
        }
        tasks.push(tokio::spawn(work::run(app.clone())));
        tasks.push(tokio::spawn(watch_folder(app.clone())));
        if let Some(files) = app.service.job_files() {
            let sweep = tidings_transports::jobs::files::sweep(files.clone(), Arc::downgrade(&app.jobs));
            tasks.push(tokio::spawn(sweep));
        }
        let (stop, stopped) = watch::channel(false);
        let listener = TcpListener::bind(app.settings.listen).await?;
        let address = listener.local_addr()?;
        let router: Router = api::router(&app, &loaded);
        let accepting = tokio::spawn(Acceptor::new(app.service.clone(), router, stopped).run(listener));
        Ok(Running { app, address, stop, accepting, tasks })
    }

    /// Now, in ms since 1970.
    pub fn now(&self) -> i64 {
        i64::try_from(self.clock.now().0).unwrap_or(i64::MAX)
    }

    /// The position of the hub: what is told after it is not in what was read of the database before.
    ///
    /// Taken from the window, which is at most a little behind the log: what lies between is told twice rather than not at all.
    pub fn position(&self) -> Cursor {
        self.hub.cursor(self.hub.start(None).after)
    }

    /// Tells what is not kept, at once. `owner` as in [`outbox::put`].
    pub async fn signal(&self, name: &str, data: &impl Serialize, owner: Option<i64>) -> Result<()> {
        let draft = outbox::draft(name, data, owner)?;
        let event = self.profile.derive(draft, self.clock.now(), self.hub.limits());
        let event = event.map_err(|error| Fault::Broken(error.to_string()))?;
        self.hub.publish(vec![event]).await.map_err(|error| Fault::Broken(error.to_string()))?;
        Ok(())
    }
}

impl Running {
    /// Sends the streams away, lets requests end, and stops what goes on in the background.
    pub async fn stop(self) {
        let (service, hub) = (&self.app.service, &self.app.hub);
        service.draining.store(true, Ordering::SeqCst);
        hub.drain();
        let deadline = tokio::time::Instant::now() + 2 * hub.limits().drain_window;
        let all_gone = || service.open_streams() == 0;
        while !all_gone() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let _ = self.stop.send(true);
        let _ = self.accepting.await;
        while service.limiter.open() > 0 && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        for task in self.tasks {
            task.abort();
            let _ = task.await;
        }
        self.app.downloads.end_all();
        // Jobs under way are given back, and go on at once after the next start.
        let _ = tokio::time::timeout(GIVE_BACK, self.app.places.acquire_many(work::AT_ONCE)).await;
    }
}

/// The profile, read from its file.
pub fn load(path: &Path) -> Result<LoadedProfile> {
    let mut report = Report::default();
    let loading = Loading::open(path, &mut report).map_err(Fault::Broken)?;
    let loaded = loading.finish(&[], &[], None, &mut report);
    report.into_result(loaded).map_err(|report| Fault::Broken(report.render(false)))
}

async fn open(settings: Settings, profile: Arc<Profile>, clock: Arc<dyn Clock>) -> Result<Arc<App>> {
    let data = settings.data.clone();
    let (drop, failed, downloaded) = (settings.watch.clone(), settings.watch.join("failed"), data.join("downloads"));
    for folder in [&data, &failed, &downloaded, &data.join("jobs")] {
        let told = |error| Fault::Broken(format!("the folder {} can't be made: {error}", folder.display()));
        std::fs::create_dir_all(folder).map_err(told)?;
    }
    let broken = |error: &dyn std::fmt::Display| Fault::Broken(error.to_string());
    let db = Db::open(&data.join(db::FILE))?;
    let disk = DiskSettings { retention: KEPT, ..DiskSettings::default() };
    let broker = DiskBroker::open(&data.join("log"), disk, clock.clone()).map_err(|error| broken(&error))?;
    let limits = Limits { drain_window: Duration::from_secs(1), ..Limits::default() };
    let hub = Hub::open(Arc::new(broker), [profile.clone()], clock.clone(), limits);
    let hub = hub.await.map_err(|error| broken(&error))?;
    let store = Store::open(&data.join("tidings.db")).map_err(|error| broken(&error))?;
    let jobs = Jobs::open(hub.clone(), Arc::new(store), JobSettings::default()).await;
    let jobs = jobs.map_err(|error| broken(&error))?;
    let lanes = Lanes::start(&hub, LANES, &tokio::runtime::Handle::current())?;
    let limiter = tidings_transports::Limiter::new(hub.limits());
    let service = Service::limited(hub.clone(), Some(lanes), None, limiter, Some(jobs.clone()));
    service.keep_files(Arc::new(FileDirectory::new(data.join("jobs"))));
    Ok(Arc::new(App {
        wall: Arc::new(Wall::new(db.clone(), profile.clone(), clock.clone())),
        passwords: Passwords::new(settings.password_kib)?,
        logins: Logins::default(),
        library: Library::open(&data)?,
        downloads: Downloads::default(),
        places: Arc::new(tokio::sync::Semaphore::new(work::AT_ONCE as usize)),
        storms: Arc::new(tokio::sync::Semaphore::new(1)),
        refresh: work::Refresh::default(),
        settings,
        db,
        hub,
        jobs,
        profile,
        clock,
        service,
        drop,
        failed,
        downloaded,
    }))
}

/// Removes the files that are of no use any more: the covers of books that are gone, and what was fetched of downloads that begin again.
/// Books stay, named or not: a database that was brought back from a copy does not know the newest.
async fn sweep(app: &Arc<App>) -> Result<()> {
    let named = app.db.read(book::covers).await?;
    let swept = app.clone();
    let done = tokio::task::spawn_blocking(move || {
        for entry in std::fs::read_dir(&swept.downloaded)?.flatten() {
            std::fs::remove_file(entry.path())?;
        }
        swept.library.sweep_covers(&named)
    });
    let removed = done.await.map_err(|error| Fault::Broken(error.to_string()))??;
    if removed > 0 {
        tracing::info!(removed, "covers of books that are gone were removed");
    }
    Ok(())
}

async fn watch_folder(app: Arc<App>) {
    if let Err(error) = folder::run(app).await {
        tracing::error!(%error, "the watch folder can't be watched: what is dropped there is imported at the next start");
    }
}
