//! A replica is killed, and all its streams go on at another.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Failure;
use super::fleet::{Fleet, News};
use super::histogram::Histogram;
use super::report::{Report, milliseconds};
use super::target::{Target, resolve};

/// The options of `takeover`.
#[derive(Debug, clap::Args)]
pub struct TakeoverArgs {
    /// Where the replica is that goes on; events are published there
    #[arg(long, value_name = "ADDRESS")]
    other: String,
    /// The process of the replica that is killed
    #[arg(long)]
    kill: u32,
    /// How many streams it has
    #[arg(long, default_value_t = 10_000)]
    clients: usize,
    /// Events published per second meanwhile
    #[arg(long, default_value_t = 20)]
    events_per_s: u32,
    /// How many come back at any time
    #[arg(long, default_value_t = 512)]
    at_once: usize,
    /// The topic
    #[arg(long, default_value = "bench/takeover")]
    topic: String,
}

pub fn measure(target: &Target, args: &TakeoverArgs) -> Result<Report, Failure> {
    let other = target.at(resolve(&args.other)?);
    let target = target.publishing_at(other.address);
    let mut fleet = Fleet::new(&target, 1)?;
    fleet.places = Some(Vec::with_capacity(args.clients));
    fleet.open(args.clients, 256, |_| args.topic.clone())?;
    fleet.add_publishers(1)?;
    let mut source = Source { next: Instant::now(), every: Duration::from_secs(1) / args.events_per_s.max(1) };
    let before = Instant::now();
    while before.elapsed() < Duration::from_secs(1) {
        source.publish(&mut fleet, &args.topic)?;
    }

    let killed = Instant::now();
    // SAFETY: takes no pointer.
    if unsafe { libc::kill(args.kill as libc::pid_t, libc::SIGKILL) } != 0 {
        return Err(format!("process {} can't be killed: {}", args.kill, std::io::Error::last_os_error()).into());
    }
    let (mut waiting, mut begun, mut back) = (VecDeque::new(), 0, 0);
    let mut took = Histogram::default();
    while back < args.clients {
        source.publish(&mut fleet, &args.topic)?;
        for (index, news) in fleet.news.split_off(0) {
            match news {
                News::Cut if killed.elapsed() > Duration::from_secs(60) => {
                    return Err("after a minute streams are still cut".into());
                }
                News::Cut => waiting.push_back(index),
                News::Ready => {
                    took.record(killed.elapsed().as_nanos() as u64);
                    back += 1;
                }
                News::Done => {}
            }
        }
        while begun - back < args.at_once
            && let Some(index) = waiting.pop_front()
        {
            fleet.go_on(index, &args.topic, &other)?;
            begun += 1;
        }
    }
    let all = u64::from(fleet.published()[0]) * args.clients as u64;
    fleet.settle_publishers()?;
    let is_whole = fleet.drain(all)?;
    let up_to_date = killed.elapsed();
    fleet.rest(Duration::from_millis(300))?;

    let mut report = Report::new(format!("takeover-{}", args.clients));
    report.set("back_p50_ms", milliseconds(took.at(0.5)));
    report.set("back_p99_ms", milliseconds(took.at(0.99)));
    report.set("back_max_ms", milliseconds(took.at(1.0)));
    report.set("all_up_to_date_ms", up_to_date.as_secs_f64() * 1e3);
    let published = fleet.published()[0];
    let missing = fleet.missing(|_, _| published);
    report.set_delivered(&fleet, missing);
    debug_assert!(is_whole || missing > 0);
    Ok(report)
}

/// Publishes at its own pace.
struct Source {
    next: Instant,
    every: Duration,
}

impl Source {
    /// Publishes what is due, and lets the streams have their turn.
    fn publish(&mut self, fleet: &mut Fleet<'_>, topic: &str) -> Result<(), Failure> {
        if Instant::now() >= self.next {
            self.next += self.every;
            let payload = fleet.payload(0);
            let request = fleet.target.publish_request(topic, &payload);
            fleet.publishers[0].send(&request)?;
        }
        fleet.turn(Duration::from_millis(1)).map(drop)
    }
}
