//! The refresh of all authors as a job. The look-up only plays: it takes its time.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde_json::{Value, json};
use tidings::Topic;
use tidings::job::{Failure, JobId, JobState, NewJob};

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
    /// `running`, `completed`, `canceled` or `failed`.
    pub status: &'static str,
    /// How many authors there are that everybody knows of.
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

/// Looks up one author after the other. What can't be done now is told as failed, and is begun anew by hand.
pub(super) async fn run(task: Arc<Task>) -> std::result::Result<Value, Ended> {
    let app = &task.app;
    let started_at = rfc3339(task.job.started.map_or_else(|| app.now(), |at| at.0 as i64));
    let mut status = Status { status: "running", total: 0, done: 0, failed: 0, started_at, completed_at: None };
    let done = look_up_all(&task, &mut status).await;
    let over = task.is_over();
    if over && matches!(task.end(Value::Null), Ended::Lost) {
        return Err(Ended::Lost);
    }
    status.status = match &done {
        Err(_) => "failed",
        Ok(()) if over => "canceled",
        Ok(()) => "completed",
    };
    status.completed_at = Some(rfc3339(app.now()));
    app.refresh.note(&status);
    let result = json!({ "total": status.total, "done": status.done, "failed": status.failed });
    let (key, now) = (format!("{} {}", task.job.id, status.status), app.now());
    let told = app.db.write(move |tx| outbox::put_once(tx, &key, "author.refresh.finished", &status, None, now)).await;
    match done.and(told) {
        Err(fault) => {
            Err(Ended::Failed(Failure { code: "not-now".into(), message: fault.to_string(), retryable: false }))
        }
        Ok(()) if over => Err(task.end(result)),
        Ok(()) => Ok(result),
    }
}

async fn look_up_all(task: &Task, status: &mut Status) -> Result<()> {
    let app = &task.app;
    let authors = app.db.read(author::all).await?;
    // Who is known to some alone is looked up too, and not counted: everybody hears of the number.
    status.total = authors.iter().filter(|(_, is_open)| *is_open).count() as u64;
    tell(task, status).await?;
    for (id, is_open) in authors {
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
        if is_open {
            status.done += 1;
            tell(task, status).await?;
        }
    }
    Ok(())
}

async fn tell(task: &Task, status: &Status) -> Result<()> {
    task.app.refresh.note(status);
    task.progress(status.done, Some(status.total), None, None).await;
    task.app.signal("author.refresh.progress", status, None).await
}

/// A time as others write it (RFC 3339), from ms since 1970.
fn rfc3339(at: i64) -> String {
    let (days, second) = (at.div_euclid(86_400_000), at.rem_euclid(86_400_000) / 1_000);
    let (year, month, day) = date(days);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3_600, second / 60 % 60, second % 60)
}

/// The year, month and day of a number of days since 1970. Years are counted from March, so that the day that comes every four years is the
/// last of one; 400 of them have 146,097 days.
fn date(days: i64) -> (i64, i64, i64) {
    let from_march = days + 719_468;
    let (era, day_of_era) = (from_march.div_euclid(146_097), from_march.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let months = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * months + 2) / 5 + 1;
    let month = if months < 10 { months + 3 } else { months - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_others_write_it() {
        for (at, written) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (1_700_000_000_999, "2023-11-14T22:13:20Z"),
            (4_107_542_399_000, "2100-02-28T23:59:59Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(at), written);
        }
    }
}
