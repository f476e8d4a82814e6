//! The program `tidings-books`: does the jobs of a hub that are about books, or imports a list by itself.

mod alone;
mod bar;
mod options;
mod work;

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use tidings_books::standin::{self, Standin};
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

/// Imports lists of books, looks books up, and reads bookshelves.
#[derive(Debug, Parser)]
#[command(name = "tidings-books", version, arg_required_else_help = true, after_help = EXAMPLES)]
struct Cli {
    /// What is logged, to standard error: error, warn, info, debug, or the same for a part as in tidings_worker=debug
    #[arg(long, global = true, value_name = "LEVEL", env = "TIDINGS_BOOKS_LOG", default_value = "info")]
    log: String,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  # what is wrong with this list, and which books are in it?
  tidings-books import goodreads_library_export.csv --books books.ndjson
  # do the jobs of a hub on this machine
  tidings-books work --hub http://127.0.0.1:8090 --contact me@example.org
  # those of an app, with a key; the hub makes one with: tidings key create --name books --grant 'work/*'
  TIDINGS_KEY=tdg_… tidings-books work --hub https://hub.example --profile bookstrack";

#[derive(Debug, Subcommand)]
enum Command {
    /// Do the jobs of a hub: import, enrichment and scan
    Work(Box<work::WorkArgs>),
    /// Import a list of books without a hub, and print what was found
    Import(alone::ImportArgs),
    /// Serve a stand-in for Open Library and for a vision endpoint, which knows some thirty books
    StandIn(StandInArgs),
}

#[derive(Debug, clap::Args)]
struct StandInArgs {
    /// Where it listens
    #[arg(long, value_name = "ADDRESS", env = "TIDINGS_BOOKS_LISTEN", default_value = "127.0.0.1:8098")]
    listen: SocketAddr,
    /// How long each answer takes, in ms
    #[arg(long, value_name = "MS", default_value_t = 0)]
    delay: u64,
}

/// Why a command failed: a sentence that says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Failed(String);

fn main() -> ExitCode {
    let Cli { log, command } = Cli::parse();
    let ended = match command {
        Command::Import(args) => alone::import(&args),
        Command::Work(args) => served(&log, work::work(*args)),
        Command::StandIn(args) => served(&log, stand_in(args)),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed(sentence)) => {
            eprintln!("tidings-books: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn served(log: &str, work: impl Future<Output = Result<(), Failed>>) -> Result<(), Failed> {
    let filter = EnvFilter::try_new(log).map_err(|error| Failed(format!("--log {log:?} is no level: {error}")))?;
    let is_terminal = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(is_terminal);
    log.with_target(false).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failed(format!("no threads can be started: {error}")))?;
    let ended = runtime.block_on(work);
    // A thread that is still in the middle of a file ends with the program.
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

async fn stand_in(args: StandInArgs) -> Result<(), Failed> {
    let failed =
        |error| Failed(format!("{} can't be listened at: {error}; --listen says another address", args.listen));
    let listener = TcpListener::bind(args.listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    println!("listening on http://{address}");
    tracing::info!(
        "give it to a worker: --open-library http://{address} --vision-url http://{address}/v1 --vision-model any"
    );
    let settings = standin::Settings { delay: Duration::from_millis(args.delay), ..standin::Settings::default() };
    tokio::select! {
        served = Standin::new(settings).serve(listener) => served.map_err(failed),
        () = work::stopped() => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn each_option_of_work_has_an_environment_variable() {
        let command = Cli::command();
        let work = command.find_subcommand("work").unwrap();
        for option in work.get_arguments().filter(|option| option.get_id() != "help") {
            assert!(option.get_env().is_some(), "{}", option.get_id());
        }
    }
}
