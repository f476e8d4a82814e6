//! The program `bookshelf`.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use tidings::SystemClock;
use tidings_example_bookshelf::app::App;
use tidings_example_bookshelf::args::Args;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match run(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<(), Box<dyn std::error::Error>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let demo = args.demo;
    let running = App::start(args.settings(), Arc::new(SystemClock)).await?;
    let mut out = format!("listening on http://{}\n", running.address);
    if demo {
        out.push_str("log in as admin, ann or ben; the password is the name\n");
    }
    out.push_str(&format!("drop .epub files into {}\n", running.app.drop.display()));
    // A closed standard output is no reason not to serve.
    let _ = std::io::stdout().lock().write_all(out.as_bytes());
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("told to stop: sending the streams away");
    running.stop().await;
    Ok(())
}
