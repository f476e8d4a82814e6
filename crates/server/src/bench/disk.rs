//! What the disk itself needs to make a few bytes durable: the measure of a durable publish.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::Failure;
use super::histogram::Histogram;

/// How long `write` + `fdatasync` of a small record takes.
#[derive(Debug, Default)]
pub struct Sync {
    /// At the end of a growing file: the size must be made durable too.
    pub appended: Histogram,
    /// Within a file whose blocks were written before.
    pub overwritten: Histogram,
}

impl Sync {
    /// Writes `bytes` and syncs, over and over for about `period` each way, in a file of its own in `directory`.
    pub fn measure(&mut self, directory: &Path, bytes: usize, period: Duration) -> Result<(), Failure> {
        let path = directory.join(format!("tidings-bench-{}.tmp", std::process::id()));
        let result = self.write(&path, bytes, period);
        let removed = fs::remove_file(&path);
        result?;
        removed?;
        Ok(())
    }

    fn write(&mut self, path: &Path, bytes: usize, period: Duration) -> Result<(), Failure> {
        let record = vec![b'x'; bytes];
        let mut file = File::create(path)
            .map_err(|error| format!("cannot write in {}: {error}", path.parent().unwrap_or(path).display()))?;
        repeat(&mut self.appended, period, |_| {
            file.write_all(&record)?;
            file.sync_data()
        })?;
        const BLOCKS: usize = 1 << 20;
        let file = File::create(path)?;
        file.write_all_at(&vec![0; BLOCKS], 0)?;
        file.sync_all()?;
        repeat(&mut self.overwritten, period, |round| {
            file.write_all_at(&record, (round * bytes % (BLOCKS - bytes)) as u64)?;
            file.sync_data()
        })
    }
}

fn repeat(
    times: &mut Histogram,
    period: Duration,
    mut once: impl FnMut(usize) -> std::io::Result<()>,
) -> Result<(), Failure> {
    let end = Instant::now() + period;
    let mut round = 0;
    loop {
        let begin = Instant::now();
        once(round)?;
        times.record(begin.elapsed().as_nanos() as u64);
        round += 1;
        if Instant::now() >= end {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measuring_leaves_nothing_behind() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut sync = Sync::default();
        sync.measure(directory.path(), 300, Duration::ZERO).expect("a writable directory");
        assert_eq!((sync.appended.count(), sync.overwritten.count()), (1, 1));
        assert_eq!(fs::read_dir(directory.path()).expect("it is still there").count(), 0);
    }
}
