//! The refresh of all authors as a job. The look-up only plays: it takes its time.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde_json::{Value, json};
use tidings::Topic;
use tidings::job::{JobId, JobState, NewJob};

use super::{Ended, Task};
use crate::app::App;
use crate::fault::{Fault, Result};
use crate::{author, outbox};

/// The kind of these jobs.
pub const KIND: &str = "author-refresh";

/// The refresh that runs, or that ran last since the program started.
#[derive(Default)]
pub struct Refresh {
    /// One is begun at a time.
    begins: tokio::sync::Mutex<Option<JobId>>,
    status: Mutex<Option<Status>>,
}

/// How far a refresh is.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// `running`, `completed` or `canceled`.
    pub status: &'static str,
    /// How many authors there are.
    pub total: u64,
    /// How many are done.
    pub done: u64,
    /// For how many it did not work.
    pub failed: u64,
    /// When it began (RFC 3339).
    pub started_at: String,
    /// When it ended (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<String>,
}

impl Refresh {
    /// Begins a refresh, and says by which job.
    ///
    /// # Errors
    /// 409 if one runs.
    pub async fn begin(&self, app: &App, user: i64) -> Result<JobId> {
        let mut begun = self.begins.lock().await;
        if let Some(id) = &*begun
            && app.jobs.get(id).await?.is_some_and(|job| !job.state.is_end())
        {
            let problem = Fault::conflict("refresh-runs", "a refresh of all authors is under way");
            return Err(with_job(problem, id));
        }
        let open = open_job(app).await?;
        if let Some(id) = open {
            let problem = Fault::conflict("refresh-runs", "a refresh of all authors is under way");
            let problem = with_job(problem, &id);
            *begun = Some(id);
            return Err(problem);
        }
        let role: Topic = app
            .profile
            .qualify("role/member")
            .parse()
            .map_err(|_| Fault::Broken("the name of a role is no grant".into()))?;
        let new = NewJob {
            namespace: app.profile.namespace().map(str::to_owned),
            kind: KIND.into(),
            owner: Some(user.to_string()),
            audience: vec![role],
            ..NewJob::default()
        };
        let id = app.jobs.create(new).await?.job.id;
        *begun = Some(id.clone());
        Ok(id)
    }

    /// How far it is; none if there was none since the program started.
    pub fn status(&self) -> Option<Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, status: &Status) {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = Some(status.clone());
    }
}

fn with_job(fault: Fault, id: &JobId) -> Fault {
    match fault {
        Fault::Refused(problem) => Fault::Refused(problem.with("job", id.as_str())),
        other => other,
    }
}

/// A refresh that a program before this one has begun.
async fn open_job(app: &App) -> Result<Option<JobId>> {
    for state in [JobState::Queued, JobState::Running] {
        let query =
            tidings::job::JobQuery { state: Some(state), kind: Some(KIND.into()), limit: 1, ..Default::default() };
        if let Some(job) = app.jobs.list(&query).await?.into_iter().next() {
            return Ok(Some(job.id));
        }
    }
    Ok(None)
}

/// Looks up one author after the other.
pub(super) async fn run(task: Arc<Task>) -> std::result::Result<Value, Ended> {
    let app = &task.app;
    let authors = app.db.read(author::all).await?;
    let started_at = rfc3339(app, task.job.started.map_or_else(|| app.now(), |at| at.0 as i64)).await?;
    let mut status =
        Status { status: "running", total: authors.len() as u64, done: 0, failed: 0, started_at, completed_at: None };
    tell(&task, &status).await?;
    for id in authors {
        tokio::time::sleep(app.settings.look_up).await;
        if task.is_over() {
            break;
        }
        let now = app.now();
        app.db
            .write(move |tx| {
                tx.execute("UPDATE authors SET refreshed_at = ?2 WHERE id = ?1", [id, now])?;
                author::tell(tx, id)
            })
            .await?;
        status.done += 1;
        tell(&task, &status).await?;
    }
    let result = json!({ "total": status.total, "done": status.done, "failed": status.failed });
    let over = task.is_over();
    if over && matches!(task.end(Value::Null), Ended::Lost) {
        return Err(Ended::Lost);
    }
    status.status = if over { "canceled" } else { "completed" };
    status.completed_at = Some(rfc3339(app, app.now()).await?);
    app.refresh.note(&status);
    app.db.write(move |tx| outbox::put(tx, "author.refresh.finished", &status, None)).await?;
    if over { Err(task.end(result)) } else { Ok(result) }
}

async fn tell(task: &Task, status: &Status) -> Result<()> {
    task.app.refresh.note(status);
    task.progress(status.done, Some(status.total), None, None);
    task.app.signal("author.refresh.progress", status, None).await
}

/// A time as others write it (RFC 3339), from ms since 1970.
async fn rfc3339(app: &App, at: i64) -> Result<String> {
    let sql = "SELECT strftime('%Y-%m-%dT%H:%M:%SZ', ?1 / 1000, 'unixepoch')";
    app.db.read(move |db| Ok(db.query_row(sql, [at], |row| row.get(0))?)).await
}
