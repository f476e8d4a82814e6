//! Making jobs.

use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::engine::Jobs;
use super::fault::JobFault;
use super::progress::Progress;
use super::record::{Job, JobFile, JobId, JobState, MAX_KIND_BYTES};
use super::secret;
use crate::topic::Topic;

/// A job that somebody wants done.
#[derive(Clone, Debug, Default)]
pub struct NewJob {
    /// Its name; without one it gets a name that nobody can guess.
    pub id: Option<JobId>,
    /// The namespace of its profile.
    pub namespace: Option<String>,
    /// What is to be done: one segment of a topic, 64 bytes at most.
    pub kind: String,
    /// What its worker is to work on.
    pub input: Option<Box<RawValue>>,
    /// A file to work on, which is in its place already.
    pub file: Option<JobFile>,
    /// SHA-256 of that file's content.
    pub file_hash: Option<[u8; 32]>,
    /// Who it belongs to.
    pub owner: Option<String>,
    /// Who may see it beside its owner and its token: grants, namespace included.
    pub audience: Vec<Topic>,
    /// How often it may be tried.
    pub attempts: Option<u32>,
    /// How long a worker may be silent.
    pub lease: Option<Duration>,
}

/// A job that was made, now or by the same request before.
#[derive(Clone, Debug)]
pub struct Created {
    /// What is known of it.
    pub job: Job,
    /// Whether it was made now. If not, the file of this request is not wanted.
    pub is_new: bool,
}

impl NewJob {
    /// SHA-256 of what is asked for: two requests with the same hash ask for the same.
    fn hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let mut put = |part: &[u8]| {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        };
        put(self.namespace.as_deref().unwrap_or_default().as_bytes());
        put(self.kind.as_bytes());
        put(self.input.as_ref().map_or("", |input| input.get()).as_bytes());
        put(self.file_hash.as_ref().map_or(&[], |hash| &hash[..]));
        put(self.owner.as_deref().unwrap_or_default().as_bytes());
        put(&self.attempts.unwrap_or_default().to_be_bytes());
        put(&self.lease.unwrap_or_default().as_millis().to_be_bytes());
        self.audience.iter().for_each(|grant| put(grant.as_str().as_bytes()));
        hash.finalize().into()
    }

    fn check(&self, jobs: &Jobs) -> Result<(), JobFault> {
        let invalid = |field, detail: &str| Err(JobFault::Invalid { field, detail: detail.into() });
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if self.kind.is_empty() || self.kind.len() > MAX_KIND_BYTES || !self.kind.bytes().all(fits) {
            return invalid("kind", "it is 1 to 64 of A-Z a-z 0-9 . _ -");
        }
        let settings = &jobs.settings;
        if let Some(input) = self.input.as_ref().filter(|input| input.get().len() > settings.input_bytes) {
            return Err(JobFault::TooLarge { field: "input", bytes: input.get().len(), most: settings.input_bytes });
        }
        if self.attempts.is_some_and(|attempts| !(1..=100).contains(&attempts)) {
            return invalid("attempts", "it is 1 to 100");
        }
        if self.lease.is_some_and(|lease| lease < Duration::from_secs(1) || lease > settings.longest_lease) {
            let detail = format!("it is 1s to {}s", settings.longest_lease.as_secs());
            return Err(JobFault::Invalid { field: "lease", detail });
        }
        if self.owner.as_ref().is_some_and(|owner| owner.is_empty() || owner.len() > 512) {
            return invalid("owner", "it is 1 to 512 bytes");
        }
        if self.audience.len() > jobs.hub.limits().audience_grants {
            return invalid("audience", "it has too many grants");
        }
        Ok(())
    }
}

impl Jobs {
    /// Makes a job, and has it wait for a worker. The same request again finds the job that the first has made.
    pub async fn create(self: &Arc<Self>, new: NewJob) -> Result<Created, JobFault> {
        new.check(self)?;
        let room = match self.count_open() >= self.settings.open_jobs {
            true => Err(JobFault::TooMany(self.settings.open_jobs)),
            false => self.held.check(&new, &self.settings),
        };
        // One that is there already is found also when there is room for no more.
        if let Err(full) = room
            && match &new.id {
                Some(id) => self.get(id).await?.is_none(),
                None => true,
            }
        {
            return Err(full);
        }
        let jobs = self.clone();
        // A change that was begun is ended, also if nobody waits for it any more.
        let made = tokio::spawn(async move { jobs.make(new).await }).await;
        made.unwrap_or_else(|_| Err(JobFault::Unavailable("the job could not be made".into())))
    }

    async fn make(self: Arc<Self>, new: NewJob) -> Result<Created, JobFault> {
        let request = new.hash();
        let kind = self.settings.kind(new.namespace.as_deref(), &new.kind);
        let id = match new.id {
            Some(id) => id,
            None => secret::new_id()?,
        };
        let now = self.hub.clock().now();
        let lease = new.lease.or(kind.lease).unwrap_or(self.settings.lease);
        let mut job = Job {
            id,
            namespace: new.namespace,
            kind: new.kind,
            owner: new.owner,
            audience: Default::default(),
            input: new.input.map(Arc::from),
            file: new.file,
            state: JobState::Queued,
            attempt: 0,
            attempts: new.attempts.or(kind.attempts).unwrap_or(self.settings.attempts),
            lease_ms: lease.as_millis() as u64,
            canceling: None,
            progress: Progress::default(),
            result: None,
            error: None,
            items: 0,
            created: now,
            started: None,
            updated: now,
            ended: None,
            revision: 1,
            lease: None,
            last_lease: None,
            request,
            announced: 0,
            end: None,
        };
        job.audience = Jobs::audience(&job.topic(), &new.audience)?;
        let (known, is_unsure) = match self.store.create(&job).await {
            Ok(known) => (known, false),
            // It may be there all the same.
            Err(error) => (Some(self.store.read(&job.id).await?.ok_or(error)?), true),
        };
        let Some(known) = known else {
            return Ok(Created { job: self.begin_life(job, false).await?, is_new: true });
        };
        if known.request != request {
            return Err(JobFault::IdTaken);
        }
        let is_this = (known.created, &known.file, known.revision) == (job.created, &job.file, 1);
        let is_new = is_unsure && is_this;
        let job = match self.active(&known.id) {
            Some(active) => {
                // Whoever makes it at this moment tells of it first.
                let is_untold = active.shown().job.announced == 0;
                let _turn = if is_untold { Some(active.turn.lock().await) } else { None };
                self.tell_before(&active).await?;
                active.job()
            }
            None if known.state.is_end() => known,
            None => self.begin_life(known, true).await?,
        };
        Ok(Created { job, is_new })
    }

    /// Has a job that the store has stand among the open ones, tells of it and has it wait for a worker. `is_found`: it was not made just now,
    /// so that more may have become of it meanwhile.
    async fn begin_life(self: &Arc<Self>, job: Job, is_found: bool) -> Result<Job, JobFault> {
        if self.replica.is_some() {
            return self.begin_shared_life(job, is_found).await;
        }
        let active = self.taken(job);
        let _turn = active.turn.lock().await;
        let job = active.job();
        if let Some(other) = self.enter(&active) {
            // The same request at the same time was faster: what it has begun is told when its turn is over.
            let _turn = other.turn.lock().await;
            let job = other.job();
            if job.state.is_end() || self.active(&job.id).is_some_and(|active| Arc::ptr_eq(&active, &other)) {
                return Ok(job);
            }
            // It could not be begun there.
            return Err(JobFault::Unavailable(
                "the job was made at the same time by another request; ask again".into(),
            ));
        }
        if is_found {
            let fresh = self.store.read(&job.id).await;
            return match fresh {
                Ok(Some(fresh)) => {
                    self.adopt(&active, fresh).await;
                    Ok(active.job())
                }
                gone => {
                    self.leave(&active);
                    gone?.ok_or(JobFault::NoSuchJob)
                }
            };
        }
        self.announce(&active).await;
        // Before the turn is over: one that is canceled from here on leaves the queue again.
        self.queue.push(active.clone());
        Ok(job)
    }

    /// The same where other replicas may have heard of it, begun it and ended it by now.
    async fn begin_shared_life(self: &Arc<Self>, job: Job, is_found: bool) -> Result<Job, JobFault> {
        let fresh = self.taken(job);
        let active = match self.enter(&fresh) {
            Some(other) => other,
            None => {
                self.look_again(&fresh).await?;
                fresh
            }
        };
        let _turn = active.turn.lock().await;
        let is_mine = !is_found && active.shown().job.revision == 1;
        if is_mine {
            // Should another replica have told of it, then within the time in which the log knows what it has.
            {
                let mut shown = active.shown();
                let since = self.hub.clock().now().0.saturating_sub(shown.job.created.0);
                shown.may_be_told = false;
                shown.stored_at = Some(self.hub.clock().ticks().saturating_sub(since));
            }
            self.announce(&active).await;
        } else {
            self.tell_before(&active).await?;
        }
        let (state, has_waited) = {
            let shown = active.shown();
            (shown.job.state, shown.place.is_some())
        };
        if state == JobState::Queued && !has_waited {
            self.queue.push_once(&active);
        }
        Ok(active.job())
    }
}
