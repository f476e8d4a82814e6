//! The commands of the program.

use std::future::Future;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::bench::{self, BenchArgs};
use crate::commands;
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
    /// Publish an event, or many from standard input
    Publish(commands::publish::PublishArgs),
    /// Print events as they come
    Tail(commands::tail::TailArgs),
    /// Make jobs, watch them, cancel them
    Job(commands::job::JobArgs),
    /// Say why somebody does or does not get an event
    Explain(commands::explain::ExplainArgs),
    /// Make, list and delete API keys
    Key(commands::key::KeyArgs),
    /// Move what one hub keeps on its disk into NATS, for several replicas
    Migrate(commands::migrate::MigrateArgs),
    /// Make a signed token for trying things out
    Token(commands::token::TokenArgs),
    /// Ask a running hub whether it is well; exits with 0 or 1
    Health(commands::health::HealthArgs),
    /// Find every mistake in settings and profiles
    CheckConfig(commands::check_config::CheckConfigArgs),
    /// Print the settings with every default and its reason
    DefaultConfig(commands::default_config::DefaultConfigArgs),
    /// Make TypeScript of the events of a profile
    Types(commands::types::TypesArgs),
    /// Make an AsyncAPI document of a profile
    #[command(name = "asyncapi")]
    AsyncApi(commands::asyncapi::AsyncApiArgs),
    /// Measure a running server
    Bench(BenchArgs),
}

/// Runs the command.
pub fn run(cli: Cli) -> ExitCode {
    match cli.command {
        Command::Serve(args) => serve::run(args),
        Command::Publish(args) => wait(commands::publish::run(args)),
        Command::Tail(args) => wait(commands::tail::run(args)),
        Command::Job(args) => wait(commands::job::run(args)),
        Command::Explain(args) => wait(commands::explain::run(args)),
        Command::Key(args) => wait(commands::key::run(args)),
        Command::Migrate(args) => wait(commands::migrate::run(args)),
        Command::Token(args) => commands::token::run(args),
        Command::Health(args) => wait(commands::health::run(args)),
        Command::CheckConfig(args) => commands::check_config::run(args),
        Command::DefaultConfig(args) => commands::default_config::run(args),
        Command::Types(args) => commands::types::run(args),
        Command::AsyncApi(args) => commands::asyncapi::run(args),
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
