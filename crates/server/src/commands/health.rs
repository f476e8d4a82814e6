//! `tidings health`: whether a running hub is well, for the health check of a container.

use std::process::ExitCode;
use std::time::Duration;

use http::{HeaderMap, Method};

use super::http::{Hub, HubArgs, empty};
use super::{Failure, end};

/// `tidings health`.
#[derive(Clone, Debug, clap::Args)]
pub struct HealthArgs {
    #[command(flatten)]
    hub: HubArgs,
    /// How many seconds it may take
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    timeout: u64,
}

/// Ends with success if the hub answers that it is well.
pub async fn run(args: HealthArgs) -> ExitCode {
    end(ask(&args).await)
}

async fn ask(args: &HealthArgs) -> Result<(), Failure> {
    let hub = Hub::new(&args.hub)?;
    let answer = hub.ask(Method::GET, "/health", HeaderMap::new(), empty());
    match tokio::time::timeout(Duration::from_secs(args.timeout), answer).await {
        Ok(answer) => {
            let answer = answer?;
            // Nobody need read it: the exit code says the same.
            let _ = super::print(&format!("{}\n", answer["status"].as_str().unwrap_or("ok")));
            Ok(())
        }
        Err(_) => Err(Failure::new(format!("{} did not answer within {} s", args.hub.url, args.timeout))),
    }
}
