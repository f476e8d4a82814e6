//! How a worker is set up.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::hub::{Hub, bearer};
use crate::progress::Progresses;
use crate::running::Handler;
use crate::worker::{Shared, claim};
use crate::{BuildError, CancelToken, Job, JobError, Worker};

/// The most jobs at once: each holds a connection to the hub.
const MOST_JOBS: usize = 10_000;

/// Sets up a [`Worker`]; [`Worker::builder`] makes one.
pub struct WorkerBuilder {
    url: String,
    key: Option<String>,
    name: String,
    profile: Option<String>,
    handlers: HashMap<String, Handler>,
    twice: Option<String>,
    concurrency: usize,
    lease: Option<Duration>,
    patience: Duration,
    grace: Duration,
    cancel_grace: Duration,
}

impl WorkerBuilder {
    pub(crate) fn new(url: String) -> Self {
        WorkerBuilder {
            url,
            key: None,
            name: concat!("tidings-worker/", env!("CARGO_PKG_VERSION")).into(),
            profile: None,
            handlers: HashMap::new(),
            twice: None,
            concurrency: 1,
            lease: None,
            patience: Duration::from_secs(600),
            grace: Duration::from_secs(10),
            cancel_grace: Duration::from_secs(5),
        }
    }

    /// The API key, which holds `work/<kind>` for each kind: `tidings key create --name … --grant 'work/*'` makes one.
    /// Without it the worker asks without a credential, which a hub on one's own machine may allow. No log shows it.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// What this worker is called in the hub's log and console.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The profile whose jobs it does; without one, those of no profile.
    #[must_use]
    pub fn profile(mut self, profile: impl Into<String>) -> Self {
        self.profile = Some(profile.into());
        self
    }

    /// What does the jobs of this kind. `Ok` completes the job with the value as its result, of up to 64 KiB as JSON: a
    /// summary, as what is larger are [items](Job::items). How `Err` ends it is said by [`JobError`].
    ///
    /// A handler runs as a task of its own. When its job should stop ([`Job::cancel_token`]) it has the time of
    /// [`cancel_grace`](Self::cancel_grace) to end, and after it is dropped. A handler that panics has failed with
    /// `worker-panicked`, to be tried again; what it said is in the log alone.
    #[must_use]
    pub fn kind<F, R, T>(mut self, kind: impl Into<String>, handler: F) -> Self
    where
        F: Fn(Job) -> R + Send + Sync + 'static,
        R: Future<Output = Result<T, JobError>> + Send + 'static,
        T: Serialize,
    {
        let handler = Arc::new(handler);
        let handler: Handler = Box::new(move |job| {
            // Called within its task, so that a panic before its first `await` is one of the handler, too.
            let handler = handler.clone();
            Box::pin(async move {
                let result = handler(job).await?;
                serde_json::to_value(result).map_err(|error| crate::Error::Json(error).into())
            })
        });
        let kind = kind.into();
        if self.handlers.insert(kind.clone(), handler).is_some() {
            self.twice = Some(kind);
        }
        self
    }

    /// How many jobs are done at once; 1 unless said otherwise.
    #[must_use]
    pub fn concurrency(mut self, jobs: usize) -> Self {
        self.concurrency = jobs;
        self
    }

    /// After how long without a word from this worker the hub gives a job to another one; what the job or the hub says
    /// unless said otherwise, mostly 30 s. It is renewed all the time, so it says how fast a worker that died is noticed,
    /// and not how long a job may take.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = Some(lease);
        self
    }

    /// How long the hub may be away before a job that is under way is given up; 10 minutes unless said otherwise. Until
    /// then its handler works on, and what it has to tell waits.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// How long jobs may go on when the worker stops; 10 s unless said otherwise.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// How long a handler may take to end once its job should stop; 5 s unless said otherwise. Then it is dropped.
    #[must_use]
    pub fn cancel_grace(mut self, grace: Duration) -> Self {
        self.cancel_grace = grace;
        self
    }

    /// The worker. It does not ask the hub yet.
    ///
    /// # Errors
    ///
    /// A sentence that says which setting is wrong.
    pub fn build(self) -> Result<Worker, BuildError> {
        let wrong = |sentence: &str| Err(BuildError(sentence.into()));
        if let Some(kind) = self.twice {
            return Err(BuildError(format!("two handlers are given for jobs of the kind {kind:?}")));
        }
        if self.handlers.is_empty() {
            return wrong("the worker has no handler: say with kind() which jobs it does");
        }
        if self.concurrency == 0 || self.concurrency > MOST_JOBS {
            return Err(BuildError(format!("a worker does 1 to {MOST_JOBS} jobs at once, not {}", self.concurrency)));
        }
        if self.lease.is_some_and(|lease| lease < Duration::from_secs(1)) {
            return wrong("a lease of less than 1 s runs out between two heartbeats");
        }
        let key = match self.key.as_deref().map(str::trim) {
            None => None,
            Some("") => return wrong("the key is empty"),
            Some(key) => {
                Some(bearer(key).ok_or_else(|| BuildError("the key holds characters that no key has".into()))?)
            }
        };
        let hub = Arc::new(Hub::new(&self.url)?);
        let mut kinds: Vec<&String> = self.handlers.keys().collect();
        kinds.sort_unstable();
        let path = claim_path(self.profile.as_deref());
        let claim = claim(path, key.clone(), &kinds, &self.name, self.lease);
        let shared = Shared {
            hub,
            key,
            handlers: self.handlers,
            lease: self.lease,
            patience: self.patience,
            cancel_grace: self.cancel_grace,
            leave: CancelToken::new(),
            progresses: Arc::new(Progresses::default()),
        };
        Ok(Worker { shared, concurrency: self.concurrency, grace: self.grace, claim })
    }
}

impl fmt::Debug for WorkerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerBuilder")
            .field("name", &self.name)
            .field("profile", &self.profile)
            .field("kinds", &self.handlers.keys())
            .field("concurrency", &self.concurrency)
            .finish_non_exhaustive()
    }
}

/// The target of a claim; a profile's name becomes part of a query, whatever stands in it.
fn claim_path(profile: Option<&str>) -> String {
    let mut path = "/v1/jobs/claim".to_owned();
    for (index, byte) in profile.unwrap_or_default().bytes().enumerate() {
        if index == 0 {
            path.push_str("?profile=");
        }
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => path.push(byte.into()),
            _ => path.push_str(&format!("%{byte:02X}")),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builder() -> WorkerBuilder {
        Worker::builder("http://127.0.0.1:8090").kind("import", |_| async { Ok(()) })
    }

    fn sentence(builder: WorkerBuilder) -> String {
        builder.build().unwrap_err().to_string()
    }

    #[test]
    fn a_wrong_setting_is_a_sentence_that_says_which() {
        assert!(builder().build().is_ok());
        assert!(sentence(builder().concurrency(0)).contains("1 to 10000"));
        assert!(sentence(builder().key(" ")).contains("key is empty"));
        assert!(sentence(builder().key("a\nb")).contains("key holds"));
        assert!(sentence(builder().lease(Duration::ZERO)).contains("lease"));
        assert!(sentence(builder().kind("import", |_| async { Ok(()) })).contains("\"import\""));
        assert!(sentence(Worker::builder("http://a")).contains("no handler"));
        assert!(sentence(Worker::builder("a").kind("k", |_| async { Ok(()) })).contains("address"));
    }

    #[test]
    fn the_key_is_not_shown_by_debug() {
        let builder = builder().key("tdg_hunter2");
        assert!(!format!("{builder:?}").contains("hunter2"));
        let worker = builder.build().unwrap();
        assert!(!format!("{worker:?}").contains("hunter2"));
        assert!(!format!("{:?}", worker.claim.authorization).contains("hunter2"));
    }

    #[test]
    fn a_profile_is_escaped_in_the_query() {
        assert_eq!(claim_path(None), "/v1/jobs/claim");
        assert_eq!(claim_path(Some("books & co")), "/v1/jobs/claim?profile=books%20%26%20co");
    }
}
