//! How many rows an import reads in a second, and how much memory the process needs at most:
//! `cargo bench -p tidings-books --bench import [-- <rows>]`.
//!
//! A Goodreads export is made up, written to disk and imported three times on one thread; books are made JSON as for a
//! hub, and go nowhere. Time of the processor is what counts where other programs run beside it.

use std::env;
use std::error::Error;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde_json::Value;
use tidings_books::import::{self, Options, sample};
use tidings_books::report::{Report, Stopped};

/// Counts books, as a hub would take them.
#[derive(Default)]
struct Counting {
    items: AtomicU64,
    bytes: AtomicU64,
}

impl Report for Counting {
    fn progress(&self, _: u64, _: Option<u64>, _: Option<&str>, _: Option<Value>) {}

    fn items(&self, items: Vec<Value>) -> Result<(), Stopped> {
        let bytes = serde_json::to_string(&items).map_or(0, |text| text.len());
        self.items.fetch_add(items.len() as u64, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(())
    }

    fn is_canceled(&self) -> bool {
        false
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let rows = env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(100_000);
    let mut output = BufWriter::new(tempfile::tempfile()?);
    sample::write_goodreads(rows, &mut output)?;
    output.flush()?;
    let mut file = output.into_inner()?;
    let bytes = file.metadata()?.len();
    println!("{rows} rows, {:.1} MB", bytes as f64 / 1e6);
    for _ in 0..3 {
        measure(&mut file, rows)?;
    }
    println!("peak memory of the process: {}", peak_memory());
    Ok(())
}

fn measure(file: &mut File, rows: u64) -> Result<(), Box<dyn Error>> {
    let report = Counting::default();
    let (start, start_on_cpu) = (Instant::now(), seconds_on_cpu());
    let summary = import::run(file, &Options::default(), &report)?;
    let seconds = start.elapsed().as_secs_f64();
    if summary.imported != rows || report.items.into_inner() != rows {
        return Err("rows are missing".into());
    }
    let on_cpu = seconds_on_cpu() - start_on_cpu;
    println!(
        "{seconds:.3} s, {:.0} rows/s; {on_cpu:.3} s on the processor, {:.0} rows/s; {:.1} MB of books",
        rows as f64 / seconds,
        rows as f64 / on_cpu,
        report.bytes.into_inner() as f64 / 1e6
    );
    Ok(())
}

/// How long this thread has had a processor, as Linux counts it; NaN elsewhere.
fn seconds_on_cpu() -> f64 {
    let counted = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    counted.split(' ').next().and_then(|nanoseconds| nanoseconds.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1e9
}

/// The high-water mark of resident memory, as Linux counts it.
fn peak_memory() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.map_or("unknown".to_owned(), |line| line.trim().to_owned())
}
