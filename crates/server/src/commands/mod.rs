//! The commands of the program, beside `serve` and `bench`: one file each.
//!
//! - [`publish`], [`tail`], [`job`], [`explain`], [`health`]: ask a running hub. [`http`] is their client.
//! - [`migrate`]: what one hub kept on its disk goes into NATS.
//! - [`key`]: the keys in its database. [`token`]: a signed token for trying things out.
//! - [`check_config`], [`default_config`]: the settings.
//! - [`types`], [`asyncapi`]: what a profile's events are, for others. [`made`]: the files of these.

pub mod asyncapi;
pub mod check_config;
pub mod default_config;
pub mod explain;
pub mod health;
pub mod http;
pub mod job;
pub mod key;
pub mod made;
pub mod migrate;
pub mod publish;
mod sse;
pub mod tail;
mod time;
pub mod token;
pub mod types;

use std::fmt;
use std::process::ExitCode;

/// Why a command could not: a sentence that says what to do.
#[derive(Debug)]
pub struct Failure(String);

impl Failure {
    fn new(sentence: impl Into<String>) -> Self {
        Failure(sentence.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The end of a command: what went wrong goes to standard error.
fn end(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(sentence)) => {
            eprintln!("tidings: {sentence}");
            ExitCode::FAILURE
        }
    }
}

/// Writes to standard output. Whoever reads it may stop reading (`tidings tail | head`); that is no mistake.
fn print(text: &str) -> Result<(), Closed> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|_| Closed)
}

/// Nobody reads standard output any more.
#[derive(Debug)]
struct Closed;

#[cfg(test)]
mod tests;
