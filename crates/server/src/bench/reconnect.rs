//! Everybody comes back at once, each having missed some events.

use std::time::{Duration, Instant};

use super::Failure;
use super::fleet::{Fleet, News};
use super::report::{Report, milliseconds};
use super::target::Target;

/// The options of `reconnect`.
#[derive(Debug, clap::Args)]
pub struct ReconnectArgs {
    /// How many come back
    #[arg(long, default_value_t = 5_000)]
    clients: usize,
    /// How many events each has missed
    #[arg(long, default_value_t = 100)]
    missed: u32,
    /// How many are not up to date yet at any time
    #[arg(long, default_value_t = 256)]
    at_once: usize,
    /// The topic
    #[arg(long, default_value = "bench/reconnect")]
    topic: String,
}

pub fn measure(target: &Target, args: &ReconnectArgs) -> Result<Report, Failure> {
    let mut fleet = Fleet::new(target, 1)?;
    // One listens throughout, to learn the ids.
    fleet.ids = Some(Vec::new());
    fleet.open(1, 1, |_| args.topic.clone())?;
    fleet.add_publishers(1)?;
    fleet.rest(Duration::from_millis(200))?;
    let history = args.missed * 2 + 1;
    for _ in 0..history {
        let payload = fleet.payload(0);
        let request = target.publish_request(&args.topic, &payload);
        fleet.publishers[0].send(&request)?;
        fleet.settle_publishers()?;
    }
    if !fleet.drain(u64::from(history))? {
        return Err(format!("only {} of {history} events arrived", fleet.tally.delivered).into());
    }
    let place = (history - args.missed) as usize;
    let id = fleet
        .ids
        .take()
        .and_then(|ids| ids.get(place - 1).cloned())
        .ok_or("the events carry no ids: nobody can resume here")?;

    let (mut begun, mut done) = (0, 0);
    let (cpu, begin) = (target.process.cpu()?, Instant::now());
    while done < args.clients {
        while begun < args.clients && begun - done < args.at_once {
            fleet.subscribe(&args.topic, Some(&id), place as u32, args.missed)?;
            begun += 1;
        }
        done += fleet.news.drain(..).filter(|(_, news)| matches!(news, News::Done)).count();
        if done < args.clients && begun - done >= args.at_once.min(args.clients - done) {
            fleet.wait(|| format!("{done} of {} clients are up to date", args.clients))?;
        }
    }
    let (elapsed, cpu) = (begin.elapsed(), target.process.cpu()? - cpu);
    // Whatever came twice would come now.
    fleet.rest(Duration::from_millis(300))?;

    let mut report = Report::new(format!("reconnect-{}", args.clients));
    report.set("reconnects_per_s", args.clients as f64 / elapsed.as_secs_f64());
    report.set("up_to_date_p50_ms", milliseconds(fleet.tally.catching_up.at(0.5)));
    report.set("up_to_date_p99_ms", milliseconds(fleet.tally.catching_up.at(0.99)));
    report.set("up_to_date_max_ms", milliseconds(fleet.tally.catching_up.at(1.0)));
    if target.process.is_known() {
        report.set("cpu_ms_per_reconnect", milliseconds(cpu) / args.clients as f64);
    }
    let missing = fleet.missing(|_, _| history);
    report.set_delivered(&fleet, missing);
    Ok(report)
}
