//! The program `bookshelf`.

use std::io::{IsTerminal, Read, Write};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use tidings::SystemClock;
use tidings_example_bookshelf::app::App;
use tidings_example_bookshelf::args::{Args, Command, PASSWORD_KIB};
use tidings_example_bookshelf::users;
use tidings_example_bookshelf::viewer::Role;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let done = match args.command.clone() {
        Some(Command::AddUser { name, admin }) => add_user(&args, &name, admin).await,
        None => run(args).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn add_user(args: &Args, name: &str, admin: bool) -> Result<(), Box<dyn std::error::Error>> {
    let mut given = String::new();
    if !std::io::stdin().is_terminal() {
        // More than a password has is not read.
        std::io::stdin().lock().take(1024).read_to_string(&mut given)?;
    }
    let given = given.trim_end_matches(['\r', '\n']);
    let password = if given.is_empty() { users::made_up()? } else { given.to_owned() };
    let role = if admin { Role::Admin } else { Role::Member };
    users::add_to(&args.data, name, role, &password, PASSWORD_KIB).await?;
    let mut out = format!("{name} can log in\n");
    if given.is_empty() {
        out.push_str(&format!("the password, which is shown this once: {password}\n"));
    }
    std::io::stdout().lock().write_all(out.as_bytes())?;
    Ok(())
}

async fn run(args: Args) -> Result<(), Box<dyn std::error::Error>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let running = App::start(args.settings()?, Arc::new(SystemClock)).await?;
    let demo = running.app.settings.demo;
    let mut out = format!("listening on http://{}\n", running.address);
    if demo {
        out.push_str("log in as admin, ann or ben; the password is the name\n");
    }
    if running.app.db.read(users::are_none).await? {
        let data = running.app.settings.data.display();
        out.push_str(&format!(
            "nobody can log in yet: add somebody with `bookshelf add-user --data {data} --name NAME --admin`\n"
        ));
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
