//! Streams that are each of one job, and connections on which little is said.

use std::collections::BTreeMap;
use std::time::Duration;

use tidings::{CloseReason, Form};

/// Each stream of a mount is of one job: it begins with the job's state, and ends with the job's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneJob {
    /// Where a request names the job.
    pub named: JobNamed,
    /// Whether whoever knows the id of a job may watch it: ids that nobody can guess are needed for that.
    pub open: bool,
    /// Only jobs of these kinds; empty is every kind.
    pub kinds: Vec<String>,
    /// How long after the end the connection is closed, for clients that close by themselves.
    pub lingers: Duration,
}

/// Where a request names a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobNamed {
    /// The segment `{job}` of the mount's path.
    Path,
    /// A parameter of the query.
    Query(String),
}

impl Default for OneJob {
    fn default() -> Self {
        OneJob { named: JobNamed::Path, open: false, kinds: Vec::new(), lingers: Duration::ZERO }
    }
}

/// How a WebSocket speaks on which each message is the data of an event, with nothing of ours around it.
///
/// What it says beside that is Ping frames, and at the end a Close frame.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dialect {
    /// The member of a client's message that says what it is.
    pub member: String,
    /// The member that names the job, if there is one. What a client says of another job is not understood; it need not name any.
    pub job: Option<String>,
    /// What a client may say, by the member that says what it is.
    pub hears: BTreeMap<String, Heard>,
    /// How long what is to be told waits for a client to say that it [begins](Heard::begins); `None` does not wait.
    pub waits: Option<Duration>,
    /// Whether a client that says something else is broken off (1002); else that is passed over.
    pub strict: bool,
    /// How the connection is closed after an event that is a job's end, by the event's name: code and reason. 1000 without one.
    pub closes: BTreeMap<String, (u16, String)>,
}

/// What comes of something that a client says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Heard {
    /// What is answered.
    pub answer: Option<Form>,
    /// Whether what is to be told may begin now.
    pub begins: bool,
    /// Whether the job is canceled.
    pub cancels: bool,
}

impl Dialect {
    /// The code and the reason of the Close frame (RFC 6455 §7.4.1). `state` is the name of the job's last event.
    pub(crate) fn close(&self, reason: CloseReason, state: Option<&str>) -> (u16, &str) {
        let own = state.and_then(|state| self.closes.get(state));
        match (reason, own) {
            (CloseReason::Finished, Some((code, sentence))) => (*code, sentence),
            (CloseReason::Finished | CloseReason::Idle | CloseReason::Disconnected, _) => (1000, reason.name()),
            (CloseReason::Draining | CloseReason::Gone, _) => (1001, reason.name()),
            (CloseReason::Unavailable, _) => (1011, reason.name()),
            (CloseReason::TooMany, _) => (1013, reason.name()),
            (_, _) => (1008, reason.name()),
        }
    }
}
