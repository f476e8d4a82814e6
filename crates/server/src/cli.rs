//! The commands of the program.

use std::future::Future;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::bench::{self, BenchArgs};
use crate::serve::{self, ServeArgs};

/// Live updates for any self-hosted app: the app says "this changed" once, and everyone who may know hears it at once.
#[derive(Debug, Parser)]
#[command(name = "tidings", version, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the hub
    Serve(ServeArgs),
    /// Measure a running server
    Bench(BenchArgs),
}

/// Runs the command.
pub fn run(cli: Cli) -> ExitCode {
    match cli.command {
        Command::Serve(args) => serve::run(args),
        Command::Bench(args) => bench::run(args),
    }
}

/// A command that talks to a hub needs one thread.
fn wait(command: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(command),
        Err(error) => {
            eprintln!("the program can't start: {error}");
            ExitCode::FAILURE
        }
    }
}
