//! The load generator behind `tidings bench`: one thread that opens streams, publishes, and checks what arrives.
//!
//! It drives the hub, the bare floor programs (`bench/floor`), nginx with nchan and npm's `socket.io` alike, so that
//! one run compares them on one machine. The server under test is pinned to one core and this to another by whoever
//! starts them (`bench/run.sh`); `bench/README.md` has the method.
//!
//! - `target`: which server, at which address, and how its requests look
//! - `transport`, `wire`: how a subscriber is connected, and the client's side of each transport
//! - `payload`: the event that is published, with its time and number inside
//! - `fleet`: the epoll loop with its `subscriber`s and `publisher`s, and the tally of what arrived
//! - `process`, `disk`, `histogram`: the server's CPU and memory, the raw disk's sync, latencies
//! - `rate`, `flat_out`, `idle`, `topics`, `open`, `reconnect`, `publish`, `resume`, `jobs`, `takeover`: one file per scenario
//! - `report`, `table`: the figures of one run, and the comparison of many

mod disk;
mod flat_out;
mod fleet;
mod histogram;
mod idle;
mod jobs;
mod open;
mod payload;
mod process;
mod publish;
mod publisher;
mod rate;
mod reconnect;
mod report;
mod resume;
mod subscriber;
mod table;
mod takeover;
mod target;
mod topics;
mod transport;
mod wire;

use std::path::PathBuf;
use std::process::ExitCode;

use report::Report;
use target::{Target, TargetArgs};
use transport::Transport;

/// `tidings bench`: measure a running server.
#[derive(Debug, clap::Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Debug, clap::Subcommand)]
enum Scenario {
    /// Offer a fixed number of deliveries per second: CPU per delivery, latency, loss
    Rate(Run<rate::RateArgs>),
    /// Publish without waiting until so many deliveries are through: deliveries per second
    FlatOut(Run<flat_out::FlatOutArgs>),
    /// Open streams and leave them: memory per idle connection
    Idle(Run<idle::IdleArgs>),
    /// One subscriber on each of many topics: CPU per publish
    Topics(Run<topics::TopicsArgs>),
    /// Open and close streams: CPU each, connections per second
    Open(Run<open::OpenArgs>),
    /// Clients that missed events come back all at once: connections per second until all are up to date
    Reconnect(Run<reconnect::ReconnectArgs>),
    /// Publish with nobody listening: latency alone, events per second with many in flight
    Publish(Run<publish::PublishArgs>),
    /// Resume at many places of a long log: time to the first event
    Resume(Run<resume::ResumeArgs>),
    /// Many running jobs, each with a watcher, and far more progress than anybody wants to see: CPU, how old what is shown is
    Jobs(Run<jobs::JobsArgs>),
    /// Kill the replica with all streams; they go on at another: how soon, and whether anything is lost
    Takeover(Run<takeover::TakeoverArgs>),
    /// Compare the results of many runs with the aims, as Markdown
    Table(table::TableArgs),
}

/// What every scenario takes, and its own options.
#[derive(Debug, clap::Args)]
struct Run<A: clap::Args> {
    #[command(flatten)]
    target: TargetArgs,
    /// Also write the figures to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    own: A,
}

/// Why a measurement could not be made, in a sentence.
type Failure = Box<dyn std::error::Error>;

/// Runs the scenario and prints its figures. Fails when it could not be measured, or when anything was lost,
/// delivered twice or out of order: such figures are worth nothing.
pub fn run(args: BenchArgs) -> ExitCode {
    let result = match args.scenario {
        Scenario::Rate(run) => run.measure(rate::measure),
        Scenario::FlatOut(run) => run.measure(flat_out::measure),
        Scenario::Idle(run) => run.measure(idle::measure),
        Scenario::Topics(run) => run.measure(topics::measure),
        Scenario::Open(run) => run.measure(open::measure),
        Scenario::Reconnect(run) => run.measure(reconnect::measure),
        Scenario::Publish(run) => run.measure(publish::measure),
        Scenario::Resume(run) => run.measure(resume::measure),
        Scenario::Jobs(run) => run.measure(jobs::measure),
        Scenario::Takeover(run) => run.measure(takeover::measure),
        Scenario::Table(args) => table::print(&args).map(|()| true),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("tidings bench: events were lost, doubled or out of order; see the figures");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("tidings bench: {error}");
            ExitCode::FAILURE
        }
    }
}

impl<A: clap::Args> Run<A> {
    fn measure(self, scenario: fn(&Target, &A) -> Result<Report, Failure>) -> Result<bool, Failure> {
        crate::descriptors::raise_limit()?;
        let target = Target::new(&self.target)?;
        let mut report = scenario(&target, &self.own)?;
        report.target = target.label.clone();
        if target.transport != Transport::Sse {
            report.scenario = format!("{}-{}", report.scenario, target.transport);
        }
        print!("{report}");
        if let Some(path) = &self.json {
            report.save(path)?;
        }
        Ok(report.is_whole())
    }
}
