//! A list of books as a job: it is read row by row, and put into the database some rows at a time.

use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use serde_json::{Value, json};
use tidings::job::Failure;
use tidings_books::book::Book as Listed;
use tidings_books::import::{self, Options, Summary};
use tidings_books::report::{Report, Stopped, Unfinished};

use super::{Ended, Task};
use crate::book::NewBook;
use crate::fault::{Fault, Result};
use crate::{author, book, outbox, words};

/// The kind of these jobs.
pub const KIND: &str = "import";

/// How many books are put into the database at once: one sync for them, and few enough that a cancel comes soon.
const BATCH: usize = 20;

/// What is to be imported.
#[derive(Deserialize)]
struct Input {
    /// Whose the books are.
    owner: Option<i64>,
}

/// Reads the file of the job.
pub(super) async fn run(task: Arc<Task>) -> std::result::Result<Value, Ended> {
    let input: Input = task
        .job
        .input
        .as_ref()
        .and_then(|input| serde_json::from_str(input.get()).ok())
        .unwrap_or(Input { owner: None });
    let told = task.clone();
    let done = tokio::task::spawn_blocking(move || {
        let name = told.job.file.as_ref().map(|file| file.path.clone()).unwrap_or_default();
        let file = File::open(told.app.settings.data.join("jobs").join(name)).map_err(Fault::from)?;
        let shelf = Shelf::new(&told, input.owner);
        let options = Options { batch: BATCH, ..Options::default() };
        let ended = import::run(file, &options, &shelf);
        shelf.end(ended)
    });
    done.await.unwrap_or_else(|_| Err(Fault::Broken("the import broke off".into()).into()))
}

/// Takes the books of a list.
struct Shelf<'a> {
    task: &'a Task,
    owner: Option<i64>,
    added: AtomicU64,
    known: AtomicU64,
    total: AtomicU64,
    /// What the database could not do.
    fault: Mutex<Option<Fault>>,
}

impl<'a> Shelf<'a> {
    fn new(task: &'a Task, owner: Option<i64>) -> Self {
        let (added, known, total) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        Shelf { task, owner, added, known, total, fault: Mutex::default() }
    }

    fn put(&self, items: Vec<Value>) -> Result<()> {
        let listed: Vec<Listed> = items.into_iter().filter_map(|item| serde_json::from_value(item).ok()).collect();
        let now = self.task.app.now();
        for some in listed.chunks(BATCH) {
            let (added, known) = self.task.app.db.write_here(|tx| {
                let (mut authors, mut known) = (Vec::new(), 0);
                for new in some.iter().map(|listed| wanted(listed, self.owner)) {
                    if book::is_known(tx, &new.title, &new.author, new.owner)? {
                        known += 1;
                        continue;
                    }
                    authors.push(book::add(tx, &new, now, "The book was in an imported list.")?.author.id);
                }
                let added = authors.len() as u64;
                authors.sort_unstable();
                authors.dedup();
                authors.into_iter().try_for_each(|id| author::tell(tx, id))?;
                Ok((added, known))
            })?;
            self.added.fetch_add(added, Ordering::SeqCst);
            self.known.fetch_add(known, Ordering::SeqCst);
            let item = some.last().and_then(|listed| listed.title.as_deref()).map(|title| json!({ "title": title }));
            let done = self.added.load(Ordering::SeqCst) + self.known.load(Ordering::SeqCst);
            self.progress(done, None, None, item);
        }
        Ok(())
    }

    fn result(&self, summary: Option<&Summary>) -> Value {
        let mut result = summary.map_or_else(|| json!({}), Summary::to_result);
        result["added"] = self.added.load(Ordering::SeqCst).into();
        result["known"] = self.known.load(Ordering::SeqCst).into();
        result
    }

    fn end(self, ended: std::result::Result<Summary, Unfinished>) -> std::result::Result<Value, Ended> {
        let fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(fault) = fault {
            return Err(fault.into());
        }
        let (status, summary, error) = match &ended {
            Ok(summary) => ("completed", Some(summary), None),
            Err(Unfinished::Failed(failure)) => ("failed", None, Some(failure.message.clone())),
            Err(_) => ("canceled", None, None),
        };
        let result = self.result(summary);
        if !matches!(ended, Err(Unfinished::Stopped(_))) {
            let data = json!({
                "job": self.task.job.id, "status": status, "added": result["added"], "known": result["known"],
                "failed": summary.map_or(0, |summary| summary.failed), "error": error,
            });
            // A crash before the job has ended has it done once more, and its end is told already.
            let (key, owner, now) = (format!("{} {status}", self.task.job.id), self.task.owner(), self.task.app.now());
            self.task.app.db.write_here(|tx| outbox::put_once(tx, &key, "import.finished", &data, owner, now))?;
        }
        match ended {
            Ok(_) => Ok(result),
            Err(Unfinished::Failed(failure)) => Err(Ended::Failed(Failure {
                code: failure.code,
                message: failure.message,
                retryable: failure.retryable,
            })),
            Err(_) => Err(self.task.end(result)),
        }
    }
}

impl Report for Shelf<'_> {
    fn progress(&self, done: u64, total: Option<u64>, message: Option<&str>, item: Option<Value>) {
        let total = total.map_or_else(
            || self.total.load(Ordering::SeqCst),
            |total| {
                self.total.store(total, Ordering::SeqCst);
                total
            },
        );
        // The list is read on a thread for what blocks, which may wait for this.
        let told = self.task.progress(done, (total > 0).then_some(total), message, item);
        tokio::runtime::Handle::current().block_on(told);
    }

    fn items(&self, items: Vec<Value>) -> std::result::Result<(), Stopped> {
        self.put(items).map_err(|fault| {
            *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
            Stopped
        })
    }

    fn is_canceled(&self) -> bool {
        self.task.is_over()
    }
}

/// A book of a list as one that is wanted. What has no title is known by its number.
fn wanted(listed: &Listed, owner: Option<i64>) -> NewBook {
    let title = listed.title.as_deref().or(listed.isbn.as_deref()).and_then(words::tidy);
    let author = listed.authors.first().and_then(|author| words::tidy(author));
    let series = listed.series.as_deref().and_then(words::tidy);
    let index = listed.series_position.as_deref().and_then(|position| position.trim().parse().ok());
    NewBook {
        title: title.unwrap_or_else(|| "Untitled".into()),
        author: author.unwrap_or_else(|| "Unknown".into()),
        series: series.map(|series| (series, index)),
        owner,
    }
}
