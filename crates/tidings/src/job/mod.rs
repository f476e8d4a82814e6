//! Jobs: long work that somebody else watches.
//!
//! A job is a topic with a grammar (`protocol/README.md` §10): queued, running, and exactly one end, which is kept. What is known of it is
//! a [`Job`], and a [`JobStore`] keeps that; [`Jobs`] changes it and tells of each change through the hub. Who does the work is another
//! program, which holds a *lease* for as long as it says that it lives.

mod active;
mod count;
mod create;
mod document;
mod engine;
mod fault;
mod files;
mod lookout;
mod memory;
mod news;
mod progress;
mod queue;
mod record;
mod replica;
mod secret;
mod settings;
mod store;
mod totals;
mod work;

pub use self::count::{JobCounters, OpenJobs};
pub use self::create::{Created, NewJob};
pub use self::engine::Jobs;
pub use self::fault::JobFault;
pub use self::files::{JobFileError, JobFileReader, JobFiles, KeptFile, NewJobFile, is_file_name, new_file_name};
pub use self::memory::MemoryJobs;
pub use self::progress::{Beat, Progress, ProgressUpdate};
pub use self::record::{Failure, Job, JobFile, JobId, JobState, Lease, MAX_ID_BYTES, MAX_KIND_BYTES};
pub use self::secret::{LEASE_PREFIX, TOKEN_PREFIX};
pub use self::settings::{JobSettings, KindSettings};
pub use self::store::{JobNews, JobQuery, JobStore, JobStoreError, JobWatcher, Renewal};
pub use self::work::{Claimed, Outcome};

use crate::event::NewEvent;

/// The events that tell the state of a job, in the order of its life. `job.progress` is a signal.
pub const STATE_EVENTS: [&str; 8] = [
    "job.queued",
    "job.running",
    "job.progress",
    "job.canceling",
    "job.completed",
    "job.failed",
    "job.canceled",
    "job.lost",
];

/// The event that tells one item of the result.
pub const ITEM_EVENT: &str = "job.item";

/// Whether nothing comes after an event of this name on the topic of a job.
pub fn is_end(name: &str) -> bool {
    matches!(name, "job.completed" | "job.failed" | "job.canceled" | "job.lost")
}

/// Whether the name is one that only the hub tells, about a job.
pub fn is_reserved(name: &str) -> bool {
    name == ITEM_EVENT || STATE_EVENTS.contains(&name)
}

/// The id of the job that a topic is of; in the profile's own words, without its namespace.
pub fn id_of(topic: &str) -> Option<&str> {
    topic.strip_prefix("job/").filter(|id| !id.is_empty() && !id.contains('/'))
}

/// Whether this event tells the state of a job: the newest is what a latecomer is given.
pub(crate) fn is_state(event: &NewEvent) -> bool {
    event.name.starts_with("job.") && STATE_EVENTS.contains(&&*event.name) && is_topic(event.topic.as_str())
}

/// Whether the last two segments of a topic are those of a job, below a namespace or not.
pub fn is_topic(topic: &str) -> bool {
    let mut segments = topic.rsplitn(3, '/');
    let (_, word, before) = (segments.next(), segments.next(), segments.next());
    word == Some("job") && before.is_none_or(|namespace| !namespace.contains('/'))
}
