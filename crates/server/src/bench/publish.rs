//! Publishing with nobody listening: what taking an event in costs, and making it durable.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::Failure;
use super::disk::Sync;
use super::fleet::Fleet;
use super::payload::Payload;
use super::report::{Report, microseconds, milliseconds};
use super::target::{Batch, Target};

/// The options of `publish`.
#[derive(Debug, clap::Args)]
pub struct PublishArgs {
    /// For how long each way is tried, in seconds
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// The bytes of an event's data
    #[arg(long, default_value_t = 300)]
    event_bytes: usize,
    /// How many events are in flight in the ways that have many
    #[arg(long, default_value_t = 64)]
    in_flight: usize,
    /// How many events one array or NDJSON body carries
    #[arg(long, default_value_t = 100)]
    batch: usize,
    /// A directory on the disk that holds the server's log: its own sync is measured in the same run
    #[arg(long)]
    disk: Option<PathBuf>,
    /// The topic
    #[arg(long, default_value = "bench/publish")]
    topic: String,
}

/// One way to publish.
struct Way {
    name: &'static str,
    connections: usize,
    /// Requests in flight on each.
    pipeline: usize,
    /// Events in each request.
    batch: Option<(Batch, usize)>,
}

pub fn measure(target: &Target, args: &PublishArgs) -> Result<Report, Failure> {
    let mut target = target.clone();
    target.payload_bytes = args.event_bytes;
    let mut report = Report::new("publish");
    let period = Duration::from_secs_f64(args.seconds);
    let mut sync = Sync::default();
    let disk_period = period.mul_f64(0.25);
    let mut measure_disk = || match &args.disk {
        Some(directory) => sync.measure(directory, args.event_bytes, disk_period),
        None => Ok(()),
    };
    let pipelined = args.in_flight.div_ceil(8).max(1);
    let mut ways = vec![
        Way { name: "alone", connections: 1, pipeline: 1, batch: None },
        Way { name: "in_flight", connections: args.in_flight, pipeline: 1, batch: None },
        Way { name: "pipelined", connections: 8, pipeline: pipelined, batch: None },
    ];
    if target.takes_batches() {
        ways.push(Way { name: "array", connections: 8, pipeline: 1, batch: Some((Batch::Array, args.batch)) });
        ways.push(Way { name: "ndjson", connections: 8, pipeline: 1, batch: Some((Batch::Lines, args.batch)) });
    }
    // The disk before, between and after: its mood changes, and the ratio should not.
    measure_disk()?;
    let mut alone = Duration::ZERO;
    for way in &ways {
        let median = publish(&target, args, way, period, &mut report)?;
        if way.name == "alone" {
            alone = median;
            measure_disk()?;
        }
    }
    if args.disk.is_some() {
        measure_disk()?;
        for (name, times) in [("appended", &sync.appended), ("overwritten", &sync.overwritten)] {
            report.set(&format!("disk_sync_{name}_p50_ms"), milliseconds(times.at(0.5)));
            report.set(&format!("disk_sync_{name}_p99_ms"), milliseconds(times.at(0.99)));
            report.set(&format!("alone_p50_by_{name}_sync"), alone.as_secs_f64() / times.at(0.5).as_secs_f64());
        }
    }
    Ok(report)
}

/// Publishes one way for a while, and returns the median time of a request.
fn publish(
    target: &Target,
    args: &PublishArgs,
    way: &Way,
    period: Duration,
    report: &mut Report,
) -> Result<Duration, Failure> {
    let mut fleet = Fleet::new(target, 1)?;
    fleet.add_publishers(way.connections)?;
    let (cpu, begin) = (target.process.cpu()?, Instant::now());
    let mut requests = 0u64;
    let size = way.batch.map_or(1, |(_, size)| size);
    while begin.elapsed() < period {
        for publisher in 0..way.connections {
            while fleet.publishers[publisher].in_flight() < way.pipeline {
                let request = match way.batch {
                    None => {
                        let payload = fleet.payload(0);
                        target.publish_request(&args.topic, &payload)
                    }
                    Some((batch, size)) => {
                        let events: Vec<Payload> = (0..size).map(|_| fleet.payload(0)).collect();
                        target.publish_batch(batch, events.into_iter().map(|one| (args.topic.as_str(), one)))
                    }
                };
                fleet.publishers[publisher].send(&request)?;
                requests += 1;
            }
        }
        fleet.wait(|| format!("{requests} requests sent ({})", way.name))?;
    }
    fleet.settle_publishers()?;
    let (elapsed, cpu) = (begin.elapsed(), target.process.cpu()? - cpu);
    let events = (requests * size as u64) as f64;
    report.set(&format!("{}_events_per_s", way.name), events / elapsed.as_secs_f64());
    report.set(&format!("{}_p50_ms", way.name), milliseconds(fleet.tally.answers.at(0.5)));
    report.set(&format!("{}_p99_ms", way.name), milliseconds(fleet.tally.answers.at(0.99)));
    if target.process.is_known() {
        report.set_ratio(&format!("{}_cpu_us_per_event", way.name), microseconds(cpu), events);
    }
    Ok(fleet.tally.answers.at(0.5))
}
