//! Streams come and go: what each costs.

use std::time::{Duration, Instant};

use super::Failure;
use super::fleet::Fleet;
use super::report::{Report, microseconds, milliseconds};
use super::target::Target;

/// The options of `open`.
#[derive(Debug, clap::Args)]
pub struct OpenArgs {
    /// How many streams in all
    #[arg(long, default_value_t = 20_000)]
    connections: usize,
    /// How many are held open before all are left
    #[arg(long, default_value_t = 10_000)]
    held: usize,
    /// How many are being opened at any time
    #[arg(long, default_value_t = 256)]
    at_once: usize,
    /// The topic
    #[arg(long, default_value = "bench/1")]
    topic: String,
}

pub fn measure(target: &Target, args: &OpenArgs) -> Result<Report, Failure> {
    let mut fleet = Fleet::new(target, 1)?;
    fleet.is_polite = true;
    // The first connections make a process load code and threads: not what is asked.
    fleet.open(100, args.at_once, |_| args.topic.clone())?;
    fleet.close_subscribers();
    fleet.rest(Duration::from_millis(300))?;

    let (mut opening, mut opening_cpu, mut closing_cpu) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let mut left = args.connections;
    while left > 0 {
        let count = left.min(args.held.max(1));
        let (cpu, begin) = (target.process.cpu()?, Instant::now());
        fleet.open(count, args.at_once, |_| args.topic.clone())?;
        opening += begin.elapsed();
        let opened = target.process.cpu()?;
        opening_cpu += opened - cpu;
        fleet.close_subscribers();
        // Nobody says when a server is done with streams that were left.
        fleet.rest(Duration::from_millis(700))?;
        closing_cpu += target.process.cpu()? - opened;
        left -= count;
    }

    let mut report = Report::new(format!("open-{}", args.connections));
    let all = args.connections as f64;
    report.set("open_p50_ms", milliseconds(fleet.tally.opening.at(0.5)));
    report.set("open_p99_ms", milliseconds(fleet.tally.opening.at(0.99)));
    report.set("open_max_ms", milliseconds(fleet.tally.opening.at(1.0)));
    report.set("opened_per_s", all / opening.as_secs_f64());
    if target.process.is_known() {
        report.set("open_cpu_us", microseconds(opening_cpu) / all);
        report.set("close_cpu_us", microseconds(closing_cpu) / all);
    }
    Ok(report)
}
