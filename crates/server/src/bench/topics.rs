//! Many topics with one subscriber each: a publish must cost what its one receiver costs, not what all do.

use std::time::{Duration, Instant};

use super::Failure;
use super::fleet::Fleet;
use super::payload::Payload;
use super::report::{Report, microseconds};
use super::target::{Batch, Target};

/// The options of `topics`.
#[derive(Debug, clap::Args)]
pub struct TopicsArgs {
    /// How many topics, each with its subscriber
    #[arg(long, default_value_t = 10_000)]
    topics: usize,
    /// How many events are published in each of the three ways
    #[arg(long, default_value_t = 30_000)]
    events: usize,
    /// How many events one array carries
    #[arg(long, default_value_t = 100)]
    batch: usize,
}

pub fn measure(target: &Target, args: &TopicsArgs) -> Result<Report, Failure> {
    let mut run = Topics { fleet: Fleet::new(target, 1)?, numbers: vec![0; args.topics], next: 0, published: 0 };
    run.fleet.open(args.topics, 256, name)?;
    run.fleet.add_publishers(64)?;
    run.fleet.rest(Duration::from_millis(500))?;

    let mut report = Report::new(format!("topics-{}", args.topics));
    // What is slow alone needs no more events to be known.
    run.publish(&mut report, "alone", args.events / 3, 1, 1)?;
    run.publish(&mut report, "64_in_flight", args.events, 64, 1)?;
    if target.takes_batches() {
        run.publish(&mut report, "arrays", args.events, 4, args.batch)?;
    }
    let missing = run.fleet.missing(|subscriber, _| run.numbers[subscriber]);
    report.set_delivered(&run.fleet, missing);
    Ok(report)
}

fn name(topic: usize) -> String {
    format!("bench/topic-{topic}")
}

struct Topics<'a> {
    fleet: Fleet<'a>,
    /// The last number published on each topic.
    numbers: Vec<u32>,
    next: usize,
    published: u64,
}

impl Topics<'_> {
    fn publish(
        &mut self,
        report: &mut Report,
        way: &str,
        events: usize,
        publishers: usize,
        batch: usize,
    ) -> Result<(), Failure> {
        let target = self.fleet.target;
        let (cpu, begin) = (target.process.cpu()?, Instant::now());
        let mut left = events;
        while left > 0 {
            for publisher in 0..publishers {
                if left > 0 && self.fleet.publishers[publisher].in_flight() == 0 {
                    let count = batch.min(left);
                    let chosen: Vec<(String, Payload)> = (0..count).map(|_| self.choose()).collect();
                    let request = match chosen.as_slice() {
                        [(topic, payload)] => target.publish_request(topic, payload),
                        _ => {
                            target.publish_batch(Batch::Array, chosen.iter().map(|(topic, one)| (topic.as_str(), *one)))
                        }
                    };
                    self.fleet.publishers[publisher].send(&request)?;
                    left -= count;
                    self.published += count as u64;
                }
            }
            self.fleet.wait(|| format!("{left} events of {events} are not published yet ({way})"))?;
        }
        self.fleet.drain(self.published)?;
        self.fleet.settle_publishers()?;
        let (elapsed, cpu) = (begin.elapsed(), target.process.cpu()? - cpu);
        if target.process.is_known() {
            report.set_ratio(&format!("cpu_us_per_publish_{way}"), microseconds(cpu), events as f64);
        }
        report.set(&format!("publishes_per_s_{way}"), events as f64 / elapsed.as_secs_f64());
        Ok(())
    }

    /// The next topic, and its next event. All topics take turns in an order without pattern, so that no topic has two
    /// events in flight, whose order nobody could promise.
    fn choose(&mut self) -> (String, Payload) {
        let topics = self.numbers.len();
        // A stride that shares no divisor with the number of topics visits each once.
        let mut stride = (topics * 618 / 1000).max(1);
        while divisor(stride, topics) > 1 {
            stride += 1;
        }
        self.next = (self.next + stride) % topics;
        self.numbers[self.next] += 1;
        (name(self.next), self.fleet.stamp(0, self.numbers[self.next]))
    }
}

/// The greatest common divisor.
fn divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { divisor(b, a % b) }
}
