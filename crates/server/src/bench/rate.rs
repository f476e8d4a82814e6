//! A steady load: what one delivery costs the server, and how late it is.

use std::time::{Duration, Instant};

use super::Failure;
use super::fleet::Fleet;
use super::report::{Report, milliseconds};
use super::target::Target;

/// The options of `rate`.
#[derive(Debug, clap::Args)]
pub struct RateArgs {
    /// How many listen
    #[arg(long, default_value_t = 1_000)]
    subscribers: usize,
    /// Deliveries offered per second, over all subscribers
    #[arg(long, default_value_t = 50_000)]
    rate: u32,
    /// For how long, in seconds
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// The topic
    #[arg(long, default_value = "bench/1")]
    topic: String,
}

pub fn measure(target: &Target, args: &RateArgs) -> Result<Report, Failure> {
    let mut fleet = Fleet::new(target, 1)?;
    fleet.open(args.subscribers, 256, |_| args.topic.clone())?;
    fleet.add_publishers(1)?;
    fleet.rest(Duration::from_millis(300))?;
    let interval = Duration::from_secs_f64(args.subscribers as f64 / f64::from(args.rate.max(1)));
    // Buffers grow to their size and pages are touched before the clock starts.
    let whole = offer(&mut fleet, args, interval, Duration::from_millis(500))?;
    fleet.tally.latency = Default::default();
    let (cpu, before, begin) = (target.process.cpu()?, fleet.tally.delivered, Instant::now());
    let whole = offer(&mut fleet, args, interval, Duration::from_secs_f64(args.seconds))? && whole;
    let elapsed = begin.elapsed();
    let cpu = target.process.cpu()? - cpu;
    let delivered = fleet.tally.delivered - before;

    let mut report = Report::new(format!("rate-{}", args.subscribers));
    report.set("deliveries_per_s", delivered as f64 / elapsed.as_secs_f64());
    if target.process.is_known() {
        report.set_ratio("cpu_s_per_million", cpu.as_secs_f64() * 1e6, delivered as f64);
    }
    report.set("latency_p50_ms", milliseconds(fleet.tally.latency.at(0.5)));
    report.set("latency_p99_ms", milliseconds(fleet.tally.latency.at(0.99)));
    report.set("latency_max_ms", milliseconds(fleet.tally.latency.at(1.0)));
    let published = fleet.published()[0];
    let missing = fleet.missing(|_, _| published);
    report.set_delivered(&fleet, missing);
    debug_assert!(whole || missing > 0);
    Ok(report)
}

/// Publishes one event per interval, at its time whether or not the earlier ones are through, and waits for the rest.
fn offer(fleet: &mut Fleet, args: &RateArgs, interval: Duration, period: Duration) -> Result<bool, Failure> {
    let begin = Instant::now();
    let events = (period.as_secs_f64() / interval.as_secs_f64()).ceil().max(1.0) as u32;
    for event in 0..events {
        let due = begin + interval * event;
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            // Epoll counts in milliseconds: the last one is spent looking.
            fleet.turn(if left > Duration::from_millis(2) {
                left - Duration::from_millis(2)
            } else {
                Duration::ZERO
            })?;
        }
        let payload = fleet.payload(0);
        let request = fleet.target.publish_request(&args.topic, &payload);
        fleet.publishers[0].send(&request)?;
    }
    let all = u64::from(fleet.published()[0]) * fleet.subscribers.len() as u64;
    fleet.drain(all)
}
