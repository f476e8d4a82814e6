//! Doing the jobs of a hub.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::ValueEnum;
use serde_json::Value;
use tempfile::NamedTempFile;
use tidings_books::enrich;
use tidings_books::import;
use tidings_books::openlibrary::Client;
use tidings_books::report::{self, Report, Stopped, Unfinished};
use tidings_books::scan::{self, Engine};
use tidings_worker::{Error, Job, JobError, Progress, Refused, Worker};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::Failed;
use crate::options::{OpenLibraryArgs, PhotoArgs, Secret, key_in};

/// How many batches of an import may wait for the hub, beside the one that is under way.
const AHEAD: usize = 2;

/// How the names of files begin that are worked on.
const PREFIX: &str = "tidings-books-";

/// No job takes so long: such a file is one that nobody works on any more.
const OLD: Duration = Duration::from_secs(24 * 3600);

/// `tidings-books work`.
#[derive(Clone, Debug, clap::Args)]
pub struct WorkArgs {
    /// Where the hub is
    #[arg(long, value_name = "URL", env = "TIDINGS_URL", default_value = "http://127.0.0.1:8090")]
    hub: String,
    /// The API key to work with; better in a file or in the environment, as others see a command line
    #[arg(long, value_name = "KEY", env = "TIDINGS_KEY", hide_env_values = true, value_parser = Secret::parse)]
    key: Option<Secret>,
    /// The file with the API key
    #[arg(long, value_name = "FILE", env = "TIDINGS_KEY_FILE", conflicts_with = "key")]
    key_file: Option<PathBuf>,
    /// The profile whose jobs are done, like bookstrack; without one, those of no profile
    #[arg(long, value_name = "NAME", env = "TIDINGS_BOOKS_PROFILE")]
    profile: Option<String>,
    /// Which jobs are done [default: all that can be]
    #[arg(long, value_name = "KIND,…", env = "TIDINGS_BOOKS_KINDS", value_delimiter = ',')]
    kinds: Option<Vec<Kind>>,
    /// How many jobs are done at once
    #[arg(long, value_name = "NUMBER", env = "TIDINGS_BOOKS_CONCURRENCY", default_value_t = 4)]
    concurrency: usize,
    /// What this worker is called in the hub's log
    #[arg(long, value_name = "NAME", env = "TIDINGS_BOOKS_NAME", default_value = "tidings-books")]
    name: String,
    /// After how many seconds of silence the hub gives a job to another worker [default: what the job or the hub says]
    #[arg(long, value_name = "SECONDS", env = "TIDINGS_BOOKS_LEASE")]
    lease: Option<u64>,
    /// How many seconds jobs may go on when the program is asked to stop; then they go back to the hub
    #[arg(long, value_name = "SECONDS", env = "TIDINGS_BOOKS_GRACE", default_value_t = 5)]
    grace: u64,
    /// Where files are put while they are worked on [default: the directory of the system for such]
    #[arg(long, value_name = "DIR", env = "TIDINGS_BOOKS_TEMPORARY")]
    temporary: Option<PathBuf>,
    /// The largest file that is taken, in MiB
    #[arg(long, value_name = "MIB", env = "TIDINGS_BOOKS_LARGEST_FILE", default_value_t = 1024)]
    largest_file: u64,
    #[command(flatten)]
    open_library: OpenLibraryArgs,
    #[command(flatten)]
    photo: PhotoArgs,
}

/// A kind of job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Kind {
    /// A list of books, as a file
    Import,
    /// Looking up a list of books: {"books":[{"title"?,"author"?,"isbn"?}]}
    Enrichment,
    /// A photo of a bookshelf, as a file
    Scan,
}

/// What the jobs share.
struct Books {
    files: Files,
    /// Nobody is asked about books where lists are imported alone.
    client: Option<Client>,
    engine: Option<Engine>,
}

/// Where files are put while they are worked on, and how large they may be.
struct Files {
    directory: PathBuf,
    most_bytes: u64,
}

/// Works until it is asked to stop.
pub async fn work(args: WorkArgs) -> Result<(), Failed> {
    let engine = args.photo.engine()?;
    let kinds = kinds(args.kinds.as_deref(), engine.is_some())?;
    let asks = kinds.contains(&Kind::Enrichment) || kinds.contains(&Kind::Scan);
    if asks && args.open_library.is_anonymous() {
        tracing::warn!("Open Library is not told who asks, and so allows one request a second: set --contact");
    }
    let client = asks.then(|| Client::new(args.open_library.settings())).transpose();
    let client = client.map_err(|error| Failed(error.to_string()))?;
    let directory = args.temporary.clone().unwrap_or_else(std::env::temp_dir);
    let files = Files { directory, most_bytes: args.largest_file << 20 };
    // Found out now, and not with the first job.
    drop(files.named().map_err(|error| Failed(format!("{error}; --temporary says another directory")))?);
    files.sweep();
    let worker = worker(&args, &kinds, Arc::new(Books { files, client, engine }))?;
    worker.run(stopped()).await.map_err(|refused| Failed(what_to_do(&args, &refused)))
}

/// The kinds that are done: those that were asked for, or all that can be.
fn kinds(asked: Option<&[Kind]>, reads_photos: bool) -> Result<BTreeSet<Kind>, Failed> {
    let mut kinds: BTreeSet<Kind> = asked.unwrap_or(Kind::value_variants()).iter().copied().collect();
    if reads_photos || !kinds.contains(&Kind::Scan) {
        return Ok(kinds);
    }
    let sentence = "nothing here reads photos: install tesseract (Debian: apt install tesseract-ocr), or set --vision-url \
                    and --vision-model";
    if asked.is_some() {
        return Err(Failed(sentence.into()));
    }
    tracing::warn!("{sentence}. Jobs of the kind scan are left to others");
    kinds.remove(&Kind::Scan);
    Ok(kinds)
}

fn worker(args: &WorkArgs, kinds: &BTreeSet<Kind>, books: Arc<Books>) -> Result<Worker, Failed> {
    let mut builder = Worker::builder(&args.hub)
        .name(&args.name)
        .concurrency(args.concurrency)
        .grace(Duration::from_secs(args.grace))
        // The work heeds a cancel within a second.
        .cancel_grace(Duration::from_secs(2));
    let key = args.key_file.as_deref().map(key_in).transpose()?;
    // An empty variable is one that is not set.
    let given = args.key.as_ref().filter(|key| !key.expose().trim().is_empty());
    if let Some(key) = key.as_ref().or(given) {
        builder = builder.key(key.expose());
    }
    if let Some(lease) = args.lease {
        builder = builder.lease(Duration::from_secs(lease));
    }
    if let Some(profile) = &args.profile {
        builder = builder.profile(profile);
    }
    for kind in kinds {
        let books = books.clone();
        builder = match kind {
            Kind::Import => builder.kind("import", move |job| import(books.clone(), job)),
            Kind::Enrichment => builder.kind("enrichment", move |job| enrich(books.clone(), job)),
            Kind::Scan => builder.kind("scan", move |job| scan(books.clone(), job)),
        };
    }
    builder.build().map_err(|error| Failed(error.to_string()))
}

/// Returns when the program is asked to stop. Whoever asks twice does not wait.
pub async fn stopped() {
    asked_to_stop().await;
    tokio::spawn(async {
        asked_to_stop().await;
        tracing::warn!("stopped at once; the jobs go to others when their leases have run out");
        std::process::exit(130);
    });
}

async fn asked_to_stop() {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

/// A refusal, and what to do about it.
fn what_to_do(args: &WorkArgs, refused: &Refused) -> String {
    let profile = args.profile.as_ref().map(|profile| format!(" --profile {profile}")).unwrap_or_default();
    let make = format!("tidings key create --name books --grant 'work/*'{profile}");
    let has_key = args.key.is_some() || args.key_file.is_some();
    let hint = match refused.status {
        403 if has_key => format!("this key may not do these jobs; one that may is made by: {make}"),
        401 if has_key => format!("the hub does not know this key; one that counts is made by: {make}"),
        401 | 403 => format!("give a key by --key-file or TIDINGS_KEY; one is made by: {make}"),
        _ => "is --hub (TIDINGS_URL) the address of a hub, and --profile one of its profiles?".into(),
    };
    format!("{} lets nobody work so: {refused}\n{hint}", args.hub)
}

/// A list of books, which is read twice and so is put aside first.
async fn import(books: Arc<Books>, job: Job) -> Result<Value, JobError> {
    let source = file_of(&job, &books.files, "a list of books")?.blocking();
    let (batches, mut waiting) = mpsc::channel::<Vec<Value>>(AHEAD);
    let reading = tokio::task::spawn_blocking({
        let job = job.clone();
        move || {
            let report = Told { job: &job, to: To::Ahead(batches), failed: Mutex::default() };
            let file = spool(source, tempfile::tempfile_in(&books.files.directory)?, &report)?;
            let summary = import::run(file, &import::Options::default(), &report).map_err(unfinished)?;
            Ok(summary.to_result())
        }
    });
    let sending = async {
        while let Some(batch) = waiting.recv().await {
            job.items(batch, false).await?;
        }
        Ok::<_, Error>(())
    };
    // What could not be sent is why the import has stopped.
    sending.await?;
    drop(waiting);
    joined(reading.await)
}

async fn enrich(books: Arc<Books>, job: Job) -> Result<Value, JobError> {
    let client = books.client()?;
    let input = enrich::Input::read(&job.input()?).map_err(failure)?;
    let report = Told::each(&job);
    let ended = enrich::run(input, &enrich::Settings::default(), client, &report).await;
    report.ended(ended.map(|summary| serde_json::json!(summary)))
}

async fn scan(books: Arc<Books>, job: Job) -> Result<Value, JobError> {
    let (client, engine) = (books.client()?, books.engine.as_ref().ok_or_else(cannot)?);
    let source = file_of(&job, &books.files, "a photo of a bookshelf")?.blocking();
    let photo = tokio::task::spawn_blocking({
        let (job, books) = (job.clone(), books.clone());
        move || {
            let photo = books.files.named()?;
            spool(source, photo.as_file().try_clone()?, &Told::each(&job))?;
            Ok(photo)
        }
    });
    let photo: NamedTempFile = joined(photo.await)?;
    let report = Told::each(&job);
    let ended = scan::run(photo.path(), engine, &scan::Settings::default(), client, &report).await;
    report.ended(ended.map(|summary| serde_json::json!(summary)))
}

impl Books {
    fn client(&self) -> Result<&Client, JobError> {
        self.client.as_ref().ok_or_else(cannot)
    }
}

/// A job of a kind that was not asked for. The hub gives none.
fn cannot() -> JobError {
    JobError::failed("cannot", "this worker does not do such jobs").retryable()
}

impl Files {
    /// A file that goes when it is dropped.
    fn named(&self) -> io::Result<NamedTempFile> {
        tempfile::Builder::new().prefix(PREFIX).tempfile_in(&self.directory)
    }

    /// Deletes what a program that was killed has left. What cannot be deleted is left to who can.
    fn sweep(&self) {
        let entries = std::fs::read_dir(&self.directory).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes())) {
            let modified = entry.metadata().and_then(|about| about.modified()).ok();
            if modified.and_then(|at| at.elapsed().ok()).is_some_and(|age| age > OLD) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

fn file_of(job: &Job, files: &Files, what: &str) -> Result<tidings_worker::File, JobError> {
    let file = job.file().map_err(|_| JobError::failed("no-file", format!("the job has no file: it takes {what}")))?;
    if file.bytes() > files.most_bytes {
        let message = format!("the file has {} bytes; at most {} are taken", file.bytes(), files.most_bytes);
        return Err(JobError::failed("file-too-large", message));
    }
    Ok(file)
}

/// Puts a file aside. What is read stops with an error when the job should stop.
fn spool(mut source: impl io::Read, mut file: File, report: &Told<'_>) -> Result<File, JobError> {
    report.progress(0, None, Some("fetching the file"), None);
    io::copy(&mut source, &mut file)?;
    Ok(file)
}

fn joined<T>(ended: Result<Result<T, JobError>, tokio::task::JoinError>) -> Result<T, JobError> {
    match ended.map_err(tokio::task::JoinError::try_into_panic) {
        Ok(ended) => ended,
        // The worker tells of it, as of a panic in the handler itself.
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        Err(Err(_)) => Err(JobError::Canceled),
    }
}

/// Where what a piece of work says goes: to the hub.
struct Told<'a> {
    job: &'a Job,
    to: To,
    /// Why the hub took no more items.
    failed: Mutex<Option<Error>>,
}

/// How items go there.
enum To {
    /// Each told to who watches, and there before the work goes on.
    Each,
    /// Sent by somebody else while the work goes on.
    Ahead(mpsc::Sender<Vec<Value>>),
}

impl<'a> Told<'a> {
    fn each(job: &'a Job) -> Self {
        Told { job, to: To::Each, failed: Mutex::default() }
    }

    /// How the work ended, for the hub.
    fn ended(self, ended: Result<Value, Unfinished>) -> Result<Value, JobError> {
        match (ended, self.failed.into_inner().unwrap_or_else(PoisonError::into_inner)) {
            (Err(Unfinished::Stopped(_)), Some(error)) => Err(error.into()),
            (ended, _) => ended.map_err(unfinished),
        }
    }
}

impl Report for Told<'_> {
    fn progress(&self, done: u64, total: Option<u64>, message: Option<&str>, item: Option<Value>) {
        let mut progress = Progress::new(done);
        (progress.total, progress.message, progress.item) = (total, message.map(str::to_owned), item);
        self.job.progress(progress);
    }

    fn items(&self, items: Vec<Value>) -> Result<(), Stopped> {
        match &self.to {
            To::Ahead(batches) => batches.blocking_send(items).map_err(|_| Stopped),
            To::Each => self.job.blocking_items(items, true).map(drop).map_err(|error| {
                *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                Stopped
            }),
        }
    }

    fn is_canceled(&self) -> bool {
        self.job.cancel_token().is_canceled()
    }
}

fn unfinished(unfinished: Unfinished) -> JobError {
    match unfinished {
        // The lease is lost, or the worker stops: nothing of this is told.
        Unfinished::Canceled | Unfinished::Stopped(_) => JobError::Canceled,
        Unfinished::Failed(failed) => failure(failed),
    }
}

fn failure(failure: report::Failure) -> JobError {
    let failed = JobError::failed(failure.code, failure.message);
    if failure.retryable { failed.retryable() } else { failed }
}
