//! Does jobs of a Tidings hub: claims them, tells how far it is, hears of a cancel.
//!
//! A job is long work that somebody else watches (`protocol/README.md` §10). A [`Worker`] asks the hub for jobs of its
//! kinds and gives each to the handler of that kind, which is an async function from a [`Job`] to a result:
//!
//! ```no_run
//! use tidings_worker::{Job, JobError, Progress, Worker};
//!
//! async fn resize(job: Job) -> Result<usize, JobError> {
//!     let photos: Vec<String> = job.input()?;
//!     for (done, photo) in photos.iter().enumerate() {
//!         job.cancel_token().check()?;
//!         job.progress(Progress::new(done as u64).of(photos.len() as u64).message(photo.as_str()));
//!         // … resize it …
//!         job.items([photo], true).await?;
//!     }
//!     Ok(photos.len())
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let worker = Worker::builder("http://127.0.0.1:8090")
//!         .key(std::env::var("TIDINGS_KEY")?)
//!         .kind("resize", resize)
//!         .concurrency(4)
//!         .build()?;
//!     let stopped = async { drop(tokio::signal::ctrl_c().await) };
//!     worker.run(stopped).await?;
//!     Ok(())
//! }
//! ```
//!
//! What may go wrong on the way is the worker's affair and not the handler's: a hub that is away is asked again, with
//! longer and longer pauses, until it is back; a result is told until the hub has it; a lease is renewed while the
//! handler works; and what the hub answered is kept by it, whoever is killed.
//!
//! | here | what it is |
//! |---|---|
//! | [`Worker`], [`WorkerBuilder`] | which jobs are done, how many at once, and for which hub |
//! | [`Job`] | one attempt at one job: its input and file, its progress and items |
//! | [`Progress`] | how far it is |
//! | [`File`], [`BlockingFile`] | the file that was uploaded with the job |
//! | [`CancelToken`], [`CancelReason`] | that it should stop, and why |
//! | [`JobError`], [`Failed`] | how a handler ends without a result |
//! | [`Error`], [`Refused`], [`BuildError`] | what did not work |

mod backoff;
mod builder;
mod cancel;
mod error;
mod file;
mod heartbeat;
mod hub;
mod items;
mod job;
mod lease;
mod progress;
mod running;
mod worker;

pub use builder::WorkerBuilder;
pub use cancel::{CancelReason, CancelToken};
pub use error::{BuildError, Error, Failed, JobError, Refused};
pub use file::{BlockingFile, File};
pub use job::Job;
pub use progress::Progress;
pub use worker::Worker;
