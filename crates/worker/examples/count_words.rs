//! The worker of docs/jobs/workers.md: counts the words of some texts.
//!
//! `tidings serve --dev`, then `cargo run -p tidings-worker --example count_words`, then
//! `curl --json '{"kind":"count-words","input":["to be","or not"]}' http://127.0.0.1:8090/v1/jobs`.

use tidings_worker::{Job, JobError, Progress, Worker};

async fn count_words(job: Job) -> Result<usize, JobError> {
    let texts: Vec<String> = job.input()?;
    for (done, text) in texts.iter().enumerate() {
        job.cancel_token().check()?;
        job.items([text.split_whitespace().count()], true).await?;
        job.progress(Progress::new(done as u64 + 1).of(texts.len() as u64));
    }
    Ok(texts.len())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let hub = std::env::var("TIDINGS_URL").unwrap_or_else(|_| "http://127.0.0.1:8090".into());
    let mut worker = Worker::builder(hub).kind("count-words", count_words).concurrency(4);
    if let Ok(key) = std::env::var("TIDINGS_KEY") {
        worker = worker.key(key);
    }
    worker.build()?.run(async { drop(tokio::signal::ctrl_c().await) }).await?;
    Ok(())
}
