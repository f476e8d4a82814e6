//! What the jobs that have not ended take of memory and disk, all together.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::create::NewJob;
use super::fault::JobFault;
use super::record::Job;
use super::settings::JobSettings;

/// What the open jobs take. Strangers may be allowed to make jobs: what they make must not take everything, and least of all from other apps.
#[derive(Debug, Default)]
pub(super) struct HeldTotals(Mutex<Sums>);

#[derive(Debug, Default)]
struct Sums {
    all: Held,
    /// What those of each app take of it.
    of_app: HashMap<Option<String>, Held>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Held {
    jobs: usize,
    /// Bytes of inputs, in memory.
    inputs: u64,
    /// Bytes of files, on the disk.
    files: u64,
}

impl Held {
    fn of(job: &Job) -> Held {
        let input = job.input.as_ref().map_or(0, |input| input.get().len() as u64);
        Held { jobs: 1, inputs: input, files: job.file.as_ref().map_or(0, |file| file.bytes) }
    }

    fn add(&mut self, more: Held) {
        self.jobs += more.jobs;
        self.inputs += more.inputs;
        self.files += more.files;
    }

    fn take_away(&mut self, less: Held) {
        self.jobs = self.jobs.saturating_sub(less.jobs);
        self.inputs = self.inputs.saturating_sub(less.inputs);
        self.files = self.files.saturating_sub(less.files);
    }
}

impl HeldTotals {
    fn sums(&self) -> MutexGuard<'_, Sums> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A job stands among the open ones.
    pub(super) fn add(&self, job: &Job) {
        let mut sums = self.sums();
        sums.all.add(Held::of(job));
        sums.of_app.entry(job.namespace.clone()).or_default().add(Held::of(job));
    }

    /// A job has ended.
    pub(super) fn take_away(&self, job: &Job) {
        let mut sums = self.sums();
        sums.all.take_away(Held::of(job));
        if let Some(own) = sums.of_app.get_mut(&job.namespace) {
            own.take_away(Held::of(job));
            if own.jobs == 0 {
                sums.of_app.remove(&job.namespace);
            }
        }
    }

    /// Whether there is room for one more.
    pub(super) fn check(&self, new: &NewJob, settings: &JobSettings) -> Result<(), JobFault> {
        let sums = self.sums();
        let own = sums.of_app.get(&new.namespace).copied().unwrap_or_default();
        let most_jobs = share(settings.open_jobs as u64).max(1) as usize;
        if own.jobs >= most_jobs {
            return Err(JobFault::TooMany(most_jobs));
        }
        let input = new.input.as_ref().map_or(0, |input| input.get().len() as u64);
        if !fits(input, own.inputs, sums.all.inputs, settings.open_input_bytes) {
            return Err(JobFault::NoRoom("inputs"));
        }
        let file = new.file.as_ref().map_or(0, |file| file.bytes);
        if !fits(file, own.files, sums.all.files, settings.open_file_bytes) {
            return Err(JobFault::NoRoom("files"));
        }
        Ok(())
    }
}

/// What one app may have of so much: the last quarter is for the others.
fn share(most: u64) -> u64 {
    most - most / 4
}

/// Whether these bytes fit beside those that the app has, and those that all have. Only what comes alone may be larger than a share, or it
/// would never fit.
fn fits(bytes: u64, own: u64, all: u64, most: u64) -> bool {
    bytes == 0 || (all + bytes <= most && (own == 0 || own + bytes <= share(most)))
}
