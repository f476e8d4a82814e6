//! As fast as it goes: publish without waiting, until so many deliveries are through.

use std::time::{Duration, Instant};

use super::Failure;
use super::fleet::Fleet;
use super::payload::Payload;
use super::report::{Report, milliseconds};
use super::target::{Batch, Target};

/// The options of `flat-out`.
#[derive(Debug, clap::Args)]
pub struct FlatOutArgs {
    /// How many listen
    #[arg(long, default_value_t = 15_000)]
    subscribers: usize,
    /// Until so many deliveries are through, over all subscribers
    #[arg(long, default_value_t = 10_000_000)]
    deliveries: u64,
    /// How many connections publish
    #[arg(long, default_value_t = 16)]
    publishers: usize,
    /// How many requests each sends before the first is answered
    #[arg(long, default_value_t = 16)]
    pipeline: usize,
    /// How many events one request carries, where the server takes that
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// How many events publishing may be ahead of the average subscriber: bounds what the kernel must hold
    #[arg(long, default_value_t = 128)]
    ahead: u64,
    /// Give up publishing after so many seconds: slow servers need not see all of it
    #[arg(long, default_value_t = 30.0)]
    seconds: f64,
    /// The topic
    #[arg(long, default_value = "bench/1")]
    topic: String,
}

pub fn measure(target: &Target, args: &FlatOutArgs) -> Result<Report, Failure> {
    let mut fleet = Fleet::new(target, args.publishers)?;
    fleet.open(args.subscribers, 256, |_| args.topic.clone())?;
    fleet.add_publishers(args.publishers)?;
    fleet.rest(Duration::from_millis(500))?;

    let listening = args.subscribers.max(1) as u64;
    let events = args.deliveries.div_ceil(listening);
    let batch = if target.takes_batches() { args.batch.max(1) as u64 } else { 1 };
    // As many events in flight, whether or not the server takes them in batches.
    let pipeline = args.pipeline.max(1) * if target.takes_batches() { 1 } else { args.batch.max(1) };
    let mut published = 0;
    let (cpu, begin) = (target.process.cpu()?, Instant::now());
    let limit = Duration::from_secs_f64(args.seconds);
    while published < events && begin.elapsed() < limit {
        let before = published;
        for publisher in 0..args.publishers {
            while published < events
                && fleet.publishers[publisher].in_flight() < pipeline
                && published + batch <= fleet.tally.delivered / listening + args.ahead.max(batch)
            {
                let count = batch.min(events - published);
                let payloads: Vec<Payload> = (0..count).map(|_| fleet.payload(publisher)).collect();
                let request = match payloads.as_slice() {
                    [payload] => target.publish_request(&args.topic, payload),
                    _ => target.publish_batch(Batch::Array, payloads.into_iter().map(|one| (args.topic.as_str(), one))),
                };
                fleet.publishers[publisher].send(&request)?;
                published += count;
            }
        }
        fleet.turn(if published > before { Duration::ZERO } else { Duration::from_millis(1) })?;
    }
    fleet.drain(published * listening)?;
    let elapsed = begin.elapsed();
    let cpu = target.process.cpu()? - cpu;
    let delivered = fleet.tally.delivered as f64;

    let mut report = Report::new(format!("flat-out-{}", args.subscribers));
    report.set("deliveries_per_s", delivered / elapsed.as_secs_f64());
    if target.process.is_known() {
        report.set_ratio("cpu_s_per_million", cpu.as_secs_f64() * 1e6, delivered);
        report.set("server_busy_percent", cpu.as_secs_f64() / elapsed.as_secs_f64() * 100.0);
        report.set_ratio("deliveries_per_cpu_s", delivered, cpu.as_secs_f64());
    }
    report.set("latency_p50_ms", milliseconds(fleet.tally.latency.at(0.5)));
    report.set("latency_p99_ms", milliseconds(fleet.tally.latency.at(0.99)));
    let numbers = fleet.published().to_vec();
    let missing = fleet.missing(|_, series| numbers[series]);
    report.set_delivered(&fleet, missing);
    Ok(report)
}
