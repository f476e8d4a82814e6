//! A long log, and clients that come back to any place in it.

use std::time::Duration;

use super::Failure;
use super::fleet::{ANYWHERE, Fleet, News};
use super::histogram::Histogram;
use super::payload::Payload;
use super::report::{Report, milliseconds};
use super::target::{Batch, Target};

/// The options of `resume`.
#[derive(Debug, clap::Args)]
pub struct ResumeArgs {
    /// How many events to publish first; 0 when the log is long already
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,
    /// How many clients come back to each kind of place
    #[arg(long, default_value_t = 200)]
    samples: u32,
    /// Of how many events one is on a second, rare topic
    #[arg(long, default_value_t = 10_000)]
    rare: u64,
    /// How many events one request carries while the log is filled
    #[arg(long, default_value_t = 500)]
    batch: usize,
    /// The topic
    #[arg(long, default_value = "bench/resume")]
    topic: String,
}

const RARE: &str = "bench/resume-rare";

pub fn measure(target: &Target, args: &ResumeArgs) -> Result<Report, Failure> {
    let mut report = Report::new(format!("resume-{}", args.events));
    let (history, first) = tail(target, args)?;
    let filled = fill(target, args)?;
    if filled > Duration::ZERO {
        report.set("filled_events_per_s", args.events as f64 / filled.as_secs_f64());
    }
    let (_, last) = tail(target, args)?;
    // With nothing to fill, the log's own beginning is the first place.
    let first = if args.events == 0 { 0 } else { first };
    let span = last.saturating_sub(first);
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut anywhere = move || {
        // xorshift: the places need no better chance than this.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % span.max(1)
    };
    let mut worst: f64 = 0.0;
    for (place, topic) in [
        ("start", &*args.topic),
        ("middle", &args.topic),
        ("end", &args.topic),
        ("anywhere", &args.topic),
        ("rare", RARE),
    ] {
        if place == "rare" && (args.rare == 0 || span < args.rare * 2) {
            continue;
        }
        let mut times = Histogram::default();
        for sample in 0..args.samples {
            let offset = match place {
                "start" => first + u64::from(sample),
                "middle" => first + span / 2 + u64::from(sample),
                "end" => last - (span / 2).min(u64::from(sample) % 50 + 1),
                // The last rare event must still lie ahead.
                "rare" => first + anywhere() % (span - args.rare),
                _ => first + anywhere(),
            };
            times.record(come_back(target, topic, &format!("{history}{offset}"))?.as_nanos() as u64);
        }
        report.set(&format!("{place}_first_event_p50_ms"), milliseconds(times.at(0.5)));
        report.set(&format!("{place}_first_event_p99_ms"), milliseconds(times.at(0.99)));
        worst = worst.max(milliseconds(times.at(0.99)));
    }
    report.set("worst_p99_ms", worst);
    Ok(report)
}

/// Publishes one event and returns its id, cut into what all ids of this log begin with and its offset.
fn tail(target: &Target, args: &ResumeArgs) -> Result<(String, u64), Failure> {
    let mut fleet = Fleet::new(target, 1)?;
    fleet.ids = Some(Vec::new());
    fleet.open(1, 1, |_| args.topic.clone())?;
    fleet.add_publishers(1)?;
    let payload = fleet.payload(0);
    let request = target.publish_request(&args.topic, &payload);
    fleet.publishers[0].send(&request)?;
    fleet.drain(1)?;
    let id = fleet.ids.take().and_then(|mut ids| ids.pop()).ok_or("the events carry no ids: nobody can resume here")?;
    let at = id.rfind('-').map_or(0, |dash| dash + 1);
    let offset = id[at..].parse().map_err(|_| format!("the id {id} holds no offset: its places cannot be computed"))?;
    Ok((id[..at].to_owned(), offset))
}

fn fill(target: &Target, args: &ResumeArgs) -> Result<Duration, Failure> {
    let mut fleet = Fleet::new(target, 2)?;
    fleet.add_publishers(4)?;
    let begin = std::time::Instant::now();
    let mut published = 0u64;
    while published < args.events {
        for publisher in 0..fleet.publishers.len() {
            if fleet.publishers[publisher].in_flight() < 2 && published < args.events {
                let count = (args.batch.max(1) as u64).min(args.events - published);
                let events: Vec<(&str, Payload)> = (published..published + count)
                    .map(|event| {
                        let is_rare = args.rare > 0 && event % args.rare == args.rare - 1;
                        (if is_rare { RARE } else { &*args.topic }, fleet.payload(usize::from(is_rare)))
                    })
                    .collect();
                let request = target.publish_batch(Batch::Array, events.into_iter());
                fleet.publishers[publisher].send(&request)?;
                published += count;
            }
        }
        fleet.wait(|| format!("{published} events published"))?;
    }
    fleet.settle_publishers()?;
    Ok(begin.elapsed())
}

/// How long a client that resumes after `id` waits for its first event, connecting included.
fn come_back(target: &Target, topic: &str, id: &str) -> Result<Duration, Failure> {
    let mut fleet = Fleet::new(target, 2)?;
    fleet.subscribe(topic, Some(id), ANYWHERE, 1)?;
    let begun = fleet.subscribers[0].progress.begun;
    loop {
        if fleet.news.drain(..).any(|(_, news)| matches!(news, News::Done)) {
            return Ok(begun.elapsed());
        }
        fleet.wait(|| format!("no event came after {id}"))?;
    }
}
