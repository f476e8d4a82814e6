//! What the jobs that have not ended take of memory and disk, all together.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::create::NewJob;
use super::fault::JobFault;
use super::record::Job;
use super::settings::JobSettings;

/// What the open jobs take. Strangers may be allowed to make jobs: what they make must not take everything.
#[derive(Debug, Default)]
pub(super) struct HeldTotals(Mutex<Sums>);

#[derive(Debug, Default)]
struct Sums {
    /// Bytes of inputs, in memory.
    inputs: u64,
    /// Bytes of files, on the disk.
    files: u64,
    /// How many of each app.
    jobs: HashMap<Option<String>, usize>,
}

fn input(job: &Job) -> u64 {
    job.input.as_ref().map_or(0, |input| input.get().len() as u64)
}

fn file(job: &Job) -> u64 {
    job.file.as_ref().map_or(0, |file| file.bytes)
}

impl HeldTotals {
    fn sums(&self) -> MutexGuard<'_, Sums> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A job stands among the open ones.
    pub(super) fn add(&self, job: &Job) {
        let mut sums = self.sums();
        sums.inputs += input(job);
        sums.files += file(job);
        *sums.jobs.entry(job.namespace.clone()).or_default() += 1;
    }

    /// A job has ended.
    pub(super) fn take_away(&self, job: &Job) {
        let mut sums = self.sums();
        sums.inputs = sums.inputs.saturating_sub(input(job));
        sums.files = sums.files.saturating_sub(file(job));
        if let Some(count) = sums.jobs.get_mut(&job.namespace) {
            *count -= 1;
            if *count == 0 {
                sums.jobs.remove(&job.namespace);
            }
        }
    }

    /// Whether there is room for one more.
    pub(super) fn check(&self, new: &NewJob, settings: &JobSettings) -> Result<(), JobFault> {
        let sums = self.sums();
        // The last quarter is for the other apps.
        let share = (settings.open_jobs - settings.open_jobs / 4).max(1);
        if sums.jobs.get(&new.namespace).is_some_and(|count| *count >= share) {
            return Err(JobFault::TooMany(share));
        }
        let input = new.input.as_ref().map_or(0, |input| input.get().len() as u64);
        let file = new.file.as_ref().map_or(0, |file| file.bytes);
        if sums.inputs + input > settings.open_input_bytes && input > 0 {
            return Err(JobFault::NoRoom("inputs"));
        }
        if sums.files + file > settings.open_file_bytes && file > 0 {
            return Err(JobFault::NoRoom("files"));
        }
        Ok(())
    }
}
