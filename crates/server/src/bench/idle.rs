//! Streams that do nothing: the memory each takes, and what it cost to open it.

use std::time::{Duration, Instant};

use super::Failure;
use super::fleet::Fleet;
use super::process::Memory;
use super::report::{Report, microseconds, milliseconds};
use super::target::Target;

/// The options of `idle`.
#[derive(Debug, clap::Args)]
pub struct IdleArgs {
    /// How many streams
    #[arg(long, default_value_t = 15_000)]
    connections: usize,
    /// How many are being opened at any time
    #[arg(long, default_value_t = 256)]
    at_once: usize,
    /// For how many seconds to leave them before their memory is read
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// The topic
    #[arg(long, default_value = "bench/1")]
    topic: String,
}

pub fn measure(target: &Target, args: &IdleArgs) -> Result<Report, Failure> {
    if !target.process.is_known() {
        return Err("memory is read from /proc: name the server's process with --pid".into());
    }
    let mut fleet = Fleet::new(target, 1)?;
    let first = (args.connections / 15).max(1);
    let empty = target.process.memory()?;
    fleet.open(first, args.at_once, |_| args.topic.clone())?;
    fleet.rest(Duration::from_millis(300))?;
    let some = target.process.memory()?;
    let rest = args.connections - first;
    let (cpu, begin) = (target.process.cpu()?, Instant::now());
    fleet.open(rest, args.at_once, |_| args.topic.clone())?;
    let (elapsed, cpu) = (begin.elapsed(), target.process.cpu()? - cpu);
    fleet.rest(Duration::from_secs_f64(args.seconds))?;
    let full = target.process.memory()?;

    let mut report = Report::new(format!("idle-{}", args.connections));
    let all = args.connections as f64;
    let more = |after: u64, before: u64| after as f64 - before as f64;
    report.set("bytes_per_connection", more(full.resident, empty.resident) / all);
    report.set("anonymous_bytes_per_connection", more(full.anonymous, empty.anonymous) / all);
    // Without what the very first connections made the process load and allocate once.
    report.set_ratio("bytes_per_further_connection", more(full.resident, some.resident), rest as f64);
    report.set("resident_mib_empty", mebibytes(empty));
    report.set("resident_mib_full", mebibytes(full));
    report.set("open_p50_ms", milliseconds(fleet.tally.opening.at(0.5)));
    report.set("open_p99_ms", milliseconds(fleet.tally.opening.at(0.99)));
    report.set("open_max_ms", milliseconds(fleet.tally.opening.at(1.0)));
    report.set("opened_per_s", rest as f64 / elapsed.as_secs_f64());
    report.set_ratio("open_cpu_us", microseconds(cpu), rest as f64);
    Ok(report)
}

fn mebibytes(memory: Memory) -> f64 {
    memory.resident as f64 / f64::from(1 << 20)
}
