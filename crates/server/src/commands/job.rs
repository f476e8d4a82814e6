//! `tidings job`: makes jobs, shows them, watches them and calls them off.

mod create;
pub(super) mod show;
mod watch;

use std::process::ExitCode;

use http::{HeaderMap, Method};
use serde_json::Value;

use super::http::{Hub, HubArgs, Refused, empty, target};
use super::{Failure, end};

/// `tidings job`.
#[derive(Clone, Debug, clap::Args)]
pub struct JobArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// Make a job, and print its id
    Create(create::CreateArgs),
    /// The jobs that you may see, the newest first
    List(ListArgs),
    /// What is known of a job
    Show(OneArgs),
    /// Watch a job until its end; exits with 0 if it is completed
    Watch(OneArgs),
    /// Call a job off
    Cancel(CancelArgs),
    /// What came of a job: its items, one a line
    Result(OneArgs),
}

/// One job.
#[derive(Clone, Debug, clap::Args)]
struct OneArgs {
    /// The job's id
    id: String,
    /// As JSON: one object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    hub: HubArgs,
}

#[derive(Clone, Debug, clap::Args)]
struct ListArgs {
    /// Only those in this state: queued, running, completed, failed, canceled or lost
    #[arg(long)]
    state: Option<String>,
    /// Only those of this kind
    #[arg(long)]
    kind: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 20)]
    limit: usize,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    hub: HubArgs,
}

#[derive(Clone, Debug, clap::Args)]
struct CancelArgs {
    /// How long to wait for its worker to stop: 5s
    #[arg(long, default_value = "5s")]
    wait: String,
    #[command(flatten)]
    one: OneArgs,
}

/// Runs one of the commands.
pub async fn run(args: JobArgs) -> ExitCode {
    match args.command {
        Command::Create(args) => end(create::create(&args).await),
        Command::List(args) => end(list(&args).await),
        Command::Show(args) => end(one(&args).await),
        Command::Watch(args) => tokio::select! {
            result = watch::watch(&args) => end(result),
            // To stop watching is not to cancel.
            _ = tokio::signal::ctrl_c() => ExitCode::SUCCESS,
        },
        Command::Cancel(args) => end(cancel(&args).await),
        Command::Result(args) => end(result(&args).await),
    }
}

/// The path of a job, or of a part of it that begins with a slash.
fn path(id: &str, part: &str) -> String {
    format!("/v1/jobs/{}{part}", percent_encoding::utf8_percent_encode(id, percent_encoding::NON_ALPHANUMERIC))
}

async fn get(hub: &Hub, target: &str) -> Result<Value, Refused> {
    hub.ask(Method::GET, target, HeaderMap::new(), empty()).await
}

async fn one(args: &OneArgs) -> Result<(), Failure> {
    let job = get(&Hub::new(&args.hub)?, &path(&args.id, "")).await?;
    let _ = super::print(&if args.json { format!("{job}\n") } else { show::whole(&job) });
    Ok(())
}

/// The most jobs of one page.
const PAGE: usize = 1_000;

async fn list(args: &ListArgs) -> Result<(), Failure> {
    let hub = Hub::new(&args.hub)?;
    let (mut left, mut before) = (args.limit, None::<String>);
    while left > 0 {
        let limit = left.min(PAGE).to_string();
        let pairs = [
            ("state", args.state.as_deref()),
            ("kind", args.kind.as_deref()),
            ("limit", Some(limit.as_str())),
            ("before", before.as_deref()),
        ];
        let page = get(&hub, &target("/v1/jobs", pairs)).await?;
        for job in page["jobs"].as_array().into_iter().flatten().take(left) {
            left -= 1;
            if super::print(&if args.json { format!("{job}\n") } else { show::line(job) }).is_err() {
                return Ok(());
            }
        }
        before = page["before"].as_str().map(str::to_owned);
        if before.is_none() {
            break;
        }
    }
    Ok(())
}

async fn cancel(args: &CancelArgs) -> Result<(), Failure> {
    let target = target(&path(&args.one.id, ""), [("wait", Some(args.wait.as_str()))]);
    let job = Hub::new(&args.one.hub)?.patient().ask(Method::DELETE, &target, HeaderMap::new(), empty()).await?;
    if args.one.json {
        let _ = super::print(&format!("{job}\n"));
    } else if job["state"] == "canceled" {
        let _ = super::print("canceled\n");
    } else {
        let _ = super::print("canceling: its worker has not answered yet\n");
    }
    Ok(())
}

async fn result(args: &OneArgs) -> Result<(), Failure> {
    let hub = Hub::new(&args.hub)?;
    let mut from = Some(0);
    while let Some(at) = from {
        let limit = PAGE.to_string();
        let pairs = [("from", Some(at.to_string())), ("limit", Some(limit))];
        let pairs = pairs.iter().map(|(name, value)| (*name, value.as_deref()));
        let page = get(&hub, &target(&path(&args.id, "/result"), pairs)).await?;
        if at == 0 && !args.json {
            // Beside the items, so that these can be piped on.
            let state = page["state"].as_str().unwrap_or_default();
            let summary = page.get("result").map(|result| format!(": {result}")).unwrap_or_default();
            eprintln!("{state}, {} items{}", page["count"], show::plain(&summary));
        }
        if args.json {
            if super::print(&format!("{page}\n")).is_err() {
                return Ok(());
            }
        } else {
            for item in page["items"].as_array().into_iter().flatten() {
                if super::print(&format!("{item}\n")).is_err() {
                    return Ok(());
                }
            }
        }
        from = page["next"].as_u64();
    }
    Ok(())
}
