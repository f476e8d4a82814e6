//! Jobs, with all that belongs to them.

use futures_util::{StreamExt, TryStreamExt, stream};
use tidings::Timestamp;
use tidings::job::{Job, JobFileError, JobFiles, JobId, JobQuery, JobState, JobStore, JobStoreError};

use crate::nats::NatsFiles;
use crate::store::Store;

/// How many jobs are moved at once.
const AT_ONCE: usize = 16;

/// How many are listed at once.
const PAGE: usize = 500;

/// How many items of a job are moved at once, and about how many bytes of them.
const ITEMS: (usize, usize) = (1_000, 512 << 10);

/// What was moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MovedJobs {
    /// Jobs, those that have ended included.
    pub jobs: u64,
    /// Tokens of them.
    pub tokens: u64,
    /// Files of them.
    pub files: u64,
    /// Files of open jobs that were not there any more.
    pub missing_files: u64,
}

/// Moves jobs, their items, tokens and files; moving again goes on where it was. `step` is told how many jobs are moved.
///
/// A file is there before its job is, as it is when a job is made.
///
/// # Errors
/// Where one of the stores can't, and where NATS has another job of the same id.
pub async fn move_jobs(
    from: &Store,
    from_files: &dyn JobFiles,
    to: &dyn JobStore,
    to_files: &NatsFiles,
    now: Timestamp,
    mut step: impl FnMut(u64),
) -> Result<MovedJobs, JobStoreError> {
    let mut moved = MovedJobs::default();
    let mut query = JobQuery { limit: PAGE, ..JobQuery::default() };
    loop {
        let page = from.list(&query).await?;
        let Some(last) = page.last() else { break };
        query.before = Some((last.created, last.id.clone()));
        let ids: Vec<JobId> = page.into_iter().map(|job| job.id).collect();
        let mut done = stream::iter(ids)
            .map(|id| async move { move_one(from, from_files, to, to_files, &id).await })
            .buffer_unordered(AT_ONCE);
        while let Some(file) = done.try_next().await? {
            moved.jobs += 1;
            moved.files += u64::from(file == Some(true));
            moved.missing_files += u64::from(file == Some(false));
            step(moved.jobs);
        }
    }
    let mut after = None;
    loop {
        let page = from.job_tokens(after, PAGE, now).map_err(|error| JobStoreError(error.to_string()))?;
        let Some((last, ..)) = page.last() else { return Ok(moved) };
        after = Some(*last);
        moved.tokens += page.len() as u64;
        let put = |(hash, id, expires)| async move { to.put_token(hash, &id, expires).await };
        stream::iter(page).map(Ok).try_for_each_concurrent(AT_ONCE, put).await?;
    }
}

/// Moves a job. Whether its file was there, if it needs one.
async fn move_one(
    from: &Store,
    from_files: &dyn JobFiles,
    to: &dyn JobStore,
    to_files: &NatsFiles,
    id: &JobId,
) -> Result<Option<bool>, JobStoreError> {
    let Some(job) = JobStore::read(from, id).await? else { return Ok(None) };
    let file = match job.file.as_ref().filter(|_| job.ended.is_none()) {
        Some(file) => Some(move_file(from_files, to_files, &file.path, file.bytes).await?),
        None => None,
    };
    // What is put behind the end of a job is none of its result: an ended one with items is made open, and ended when they are there.
    let first =
        if job.ended.is_some() && job.items > 0 && job.revision > 1 { before_its_end(&job) } else { job.clone() };
    let (items, revision) = match to.create(&first).await? {
        None => (0, first.revision),
        Some(there) if is_same(&there, &first) || is_same(&there, &job) => (there.items, there.revision),
        Some(_) => {
            return Err(JobStoreError(format!("there is another job {id} in NATS: move to a hub of another name")));
        }
    };
    if revision == first.revision {
        move_items(from, to, &job, items).await?;
    }
    if revision < job.revision && !to.replace(&job, revision).await? {
        return Err(JobStoreError(format!(
            "job {id} was changed in NATS while it was moved: stop what else works there"
        )));
    }
    if job.announced > 0 {
        to.note_announced(id, job.announced, job.end.clone()).await?;
    }
    Ok(file)
}

/// The job as it was before it ended, but for what does not matter while it is moved.
fn before_its_end(job: &Job) -> Job {
    Job {
        state: JobState::Queued,
        ended: None,
        end: None,
        announced: 0,
        revision: job.revision - 1,
        items: 0,
        ..job.clone()
    }
}

fn is_same(there: &Job, here: &Job) -> bool {
    (there.created, there.revision, there.request) == (here.created, here.revision, here.request)
}

/// Moves the items of a job from an index on.
async fn move_items(from: &Store, to: &dyn JobStore, job: &Job, mut next: u64) -> Result<(), JobStoreError> {
    while next < job.items {
        let page = from.items(&job.id, next, ITEMS.0, ITEMS.1).await?;
        if page.is_empty() {
            return Err(JobStoreError(format!("item {next} of job {} is missing in the database", job.id)));
        }
        let count = page.len() as u64;
        to.append_items(&job.id, next, page).await?;
        next += count;
    }
    Ok(())
}

/// Moves a file, unless it is there. Whether there is one.
async fn move_file(from: &dyn JobFiles, to: &NatsFiles, name: &str, bytes: u64) -> Result<bool, JobStoreError> {
    let failed = |error: JobFileError| JobStoreError(format!("the file {name} of a job: {error}"));
    match to.open(name, 0..bytes).await {
        Ok(_) => return Ok(true),
        Err(JobFileError::NotFound) => {}
        Err(error) => return Err(failed(error)),
    }
    let mut reader = match from.open(name, 0..bytes).await {
        Ok(reader) => reader,
        Err(JobFileError::NotFound) => return Ok(false),
        Err(error) => return Err(failed(error)),
    };
    let mut new = to.begin_as(name).await.map_err(failed)?;
    while let Some(piece) = reader.next().await.map_err(failed)? {
        new.write(piece).await.map_err(failed)?;
    }
    new.finish().await.map_err(failed)?;
    Ok(true)
}
