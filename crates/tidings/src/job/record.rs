//! What is known of one job.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::progress::Progress;
use crate::clock::Timestamp;
use crate::grant::Audience;
use crate::principal::Principal;
use crate::topic::Topic;

/// The most bytes of a job's id.
pub const MAX_ID_BYTES: usize = 100;
/// The most bytes of a kind.
pub const MAX_KIND_BYTES: usize = 64;

/// The name of a job: 1 to 100 of `A-Z a-z 0-9 . _ -`, so that it can stand in a topic, a path and a header as it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobId(Box<str>);

impl JobId {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for JobId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        // Alone these two mean something else in a path.
        if text.is_empty() || text.len() > MAX_ID_BYTES || !text.bytes().all(fits) || text == "." || text == ".." {
            return Err(format!("the id of a job is 1 to {MAX_ID_BYTES} of A-Z a-z 0-9 . _ -"));
        }
        Ok(JobId(text.into()))
    }
}

impl TryFrom<String> for JobId {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<JobId> for String {
    fn from(id: JobId) -> String {
        id.0.into()
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How far a job is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// It waits for a worker, for the first time or again.
    Queued,
    /// A worker has it.
    Running,
    /// The end: it was done.
    Completed,
    /// The end: its worker says that it can't be done.
    Failed,
    /// The end: somebody no longer wanted it.
    Canceled,
    /// The end: workers went away with it more often than it may be tried.
    Lost,
}

impl JobState {
    /// Whether nothing comes after it.
    pub fn is_end(self) -> bool {
        !matches!(self, JobState::Queued | JobState::Running)
    }

    /// The word for it on the wire.
    pub fn name(self) -> &'static str {
        match self {
            JobState::Queued => "queued",
            JobState::Running => "running",
            JobState::Completed => "completed",
            JobState::Failed => "failed",
            JobState::Canceled => "canceled",
            JobState::Lost => "lost",
        }
    }

    /// All of them.
    pub const ALL: [JobState; 6] = [
        JobState::Queued,
        JobState::Running,
        JobState::Completed,
        JobState::Failed,
        JobState::Canceled,
        JobState::Lost,
    ];
}

impl FromStr for JobState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = JobState::ALL.into_iter().find(|state| state.name() == text);
        found.ok_or_else(|| {
            let text: String = text.chars().take(32).collect();
            format!("there is no state {text:?}; there is {}", JobState::ALL.map(JobState::name).join(", "))
        })
    }
}

/// Why a job failed, or was lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A short name, stable for programs: 1 to 100 bytes.
    pub code: String,
    /// A sentence for people, 2,000 bytes at most.
    pub message: String,
    /// Whether to try the same again may help.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retryable: bool,
}

/// A file that came with a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobFile {
    /// Its name in the directory of such files.
    pub path: String,
    /// As whoever sent it calls it.
    pub name: String,
    /// Its media type, as they say.
    #[serde(rename = "type")]
    pub media_type: String,
    /// How large it is.
    pub bytes: u64,
}

/// Which worker has a job, and until when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// SHA-256 of what the worker shows.
    pub hash: [u8; 32],
    /// How the worker calls itself.
    pub worker: String,
}

/// What is known of one job, as it is kept. [`Job::document`] is what others are told of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    /// Its name.
    pub id: JobId,
    /// The namespace of its profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// What is to be done.
    pub kind: String,
    /// Who it belongs to: the id of a principal of its profile, or of none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Who may see it, namespace included.
    #[serde(with = "audience")]
    pub audience: Audience,
    /// What its worker is to work on. Shared, as it may be large.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "shared")]
    pub input: Option<Arc<RawValue>>,
    /// The file to work on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<JobFile>,
    /// Where it is in its life.
    pub state: JobState,
    /// Which try this is; 0 while none was made.
    pub attempt: u32,
    /// How often it may be tried.
    pub attempts: u32,
    /// How long a worker may be silent, in ms.
    pub lease_ms: u64,
    /// When somebody canceled it, if its worker has not answered yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canceling: Option<Timestamp>,
    /// How far its work is.
    #[serde(default)]
    pub progress: Progress,
    /// What its worker said at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Box<RawValue>>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// How many items its result has.
    #[serde(default)]
    pub items: u64,
    /// When it was made.
    pub created: Timestamp,
    /// When this try began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// When its state last changed.
    pub updated: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// Grows with each change of the state.
    pub revision: u64,
    /// Who works on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
    /// SHA-256 of what the worker showed that ended it: it may ask again what came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_lease: Option<[u8; 32]>,
    /// SHA-256 of the request that made it: the same one again is no mistake.
    pub request: [u8; 32],
    /// Up to which revision the log tells of it. Behind `revision` only for a moment, or after a crash.
    #[serde(default)]
    pub announced: u64,
    /// The cursor of its end in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
}

impl Job {
    /// Its topic, below the namespace.
    pub fn topic(&self) -> String {
        self.qualify(&format!("job/{}", self.id))
    }

    /// The grant that lets see it: the path of its topic.
    pub fn grant(&self) -> String {
        self.topic()
    }

    fn qualify(&self, path: &str) -> String {
        match &self.namespace {
            Some(namespace) => format!("{namespace}/{path}"),
            None => path.to_owned(),
        }
    }

    /// How long a worker may be silent.
    pub fn lease_for(&self) -> Duration {
        Duration::from_millis(self.lease_ms)
    }

    /// Whether `principal` may see it: by a grant, as its owner, or as an operator.
    pub fn may_be_seen_by(&self, principal: &Principal) -> bool {
        principal.operator
            || principal.grants.meets(&self.audience).is_some()
            || self.is_owned_by(principal)
            || self.may_be_made_by(principal)
    }

    /// Whether `principal` may cancel it: whoever holds its own grant, its owner, an operator, or who may make such jobs.
    pub fn may_be_canceled_by(&self, principal: &Principal) -> bool {
        principal.operator
            || principal.grants.literals().iter().any(|held| held.as_str() == self.grant())
            || self.is_owned_by(principal)
            || self.may_be_made_by(principal)
    }

    /// Whether `principal` may make such jobs: an app sees and cancels those that it has made for its users.
    pub fn may_be_made_by(&self, principal: &Principal) -> bool {
        let is_at_home = principal.namespace.is_none() || principal.namespace.as_deref() == self.namespace.as_deref();
        is_at_home && principal.publish.allow("job.queued", &self.topic())
    }

    /// Whether it belongs to `principal`, who is somebody of its app.
    pub fn is_owned_by(&self, principal: &Principal) -> bool {
        let same_house = principal.namespace.as_deref() == self.namespace.as_deref();
        // The token of another job is nobody, whatever it was shown for.
        let is_somebody = principal.source != "anonymous" && !principal.id.starts_with("job/");
        is_somebody && same_house && self.owner.as_deref() == Some(&*principal.id)
    }
}

/// JSON that is held once, however often the record is copied.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use serde_json::value::RawValue;

    pub fn serialize<S: Serializer>(input: &Option<Arc<RawValue>>, serializer: S) -> Result<S::Ok, S::Error> {
        input.as_deref().serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Arc<RawValue>>, D::Error> {
        Ok(Option::<Box<RawValue>>::deserialize(deserializer)?.map(Arc::from))
    }
}

mod audience {
    use serde::{Deserialize, Deserializer, Serializer, de};

    use super::{Audience, Topic};

    pub fn serialize<S: Serializer>(audience: &Audience, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(audience.grants().iter().map(Topic::as_str))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Audience, D::Error> {
        let grants = Vec::<String>::deserialize(deserializer)?;
        let topics = grants.iter().map(|grant| grant.parse()).collect::<Result<Vec<Topic>, _>>();
        topics.map(Audience::new).map_err(de::Error::custom)
    }
}
