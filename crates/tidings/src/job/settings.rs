//! The bounds and habits of jobs.

use std::collections::BTreeMap;
use std::time::Duration;

/// How jobs are kept and worked on.
#[derive(Clone, Debug, PartialEq)]
pub struct JobSettings {
    /// How long a worker may be silent before its job is given to another, unless the job says otherwise.
    pub lease: Duration,
    /// The longest lease that may be asked for: a job whose worker died waits that long.
    pub longest_lease: Duration,
    /// How often a job may be tried, unless it says otherwise.
    pub attempts: u32,
    /// How long a canceled worker has to answer.
    pub cancel_grace: Duration,
    /// How long a job is kept after its end, with its result.
    pub keep_for: Duration,
    /// How long a job's token counts.
    pub token_ttl: Duration,
    /// At most once in this time is a job's progress told.
    pub progress_every: Duration,
    /// The longest that a claim or a heartbeat may wait.
    pub longest_wait: Duration,
    /// The most bytes of `input`.
    pub input_bytes: usize,
    /// The most bytes of `result`: a summary. What is larger are items.
    pub result_bytes: usize,
    /// The most bytes of one item, and of the item in a progress.
    pub item_bytes: usize,
    /// The most items of one job.
    pub items: u64,
    /// The most jobs that have not ended. One app has three quarters of them at most.
    pub open_jobs: usize,
    /// The most bytes of inputs of all jobs that have not ended: they are held in memory. One app has three quarters of them at most.
    pub open_input_bytes: u64,
    /// The most bytes of files of all jobs that have not ended. One app has three quarters of them at most.
    pub open_file_bytes: u64,
    /// The most bytes of states of ended jobs that are held in memory for latecomers. Others are read from the store.
    pub held_ends_bytes: usize,
    /// What is different for a kind, by namespace and kind.
    pub kinds: BTreeMap<(Option<String>, String), KindSettings>,
}

/// What is different for one kind of job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KindSettings {
    /// How long a worker may be silent.
    pub lease: Option<Duration>,
    /// How often it may be tried.
    pub attempts: Option<u32>,
    /// The most bytes of items that are told with the end. 0 tells none.
    pub first_bytes: usize,
}

impl Default for JobSettings {
    fn default() -> Self {
        JobSettings {
            lease: Duration::from_secs(30),
            longest_lease: Duration::from_secs(3600),
            attempts: 3,
            cancel_grace: Duration::from_secs(30),
            keep_for: Duration::from_secs(24 * 3600),
            token_ttl: Duration::from_secs(2 * 3600),
            progress_every: Duration::from_millis(200),
            longest_wait: Duration::from_secs(55),
            input_bytes: 1 << 20,
            result_bytes: 64 << 10,
            item_bytes: 16 << 10,
            items: 1_000_000,
            open_jobs: 100_000,
            open_input_bytes: 256 << 20,
            open_file_bytes: 10 << 30,
            held_ends_bytes: 64 << 20,
            kinds: BTreeMap::new(),
        }
    }
}

impl JobSettings {
    /// What is different for this kind.
    pub fn kind(&self, namespace: Option<&str>, kind: &str) -> KindSettings {
        let key = (namespace.map(str::to_owned), kind.to_owned());
        self.kinds.get(&key).cloned().unwrap_or_default()
    }
}
