//! `tidings asyncapi`: a profile as an AsyncAPI document.

use std::process::ExitCode;

use super::made::MadeArgs;
use super::{Failure, end};
use crate::schema::asyncapi;

/// `tidings asyncapi`.
#[derive(Clone, Debug, clap::Args)]
pub struct AsyncApiArgs {
    #[command(flatten)]
    made: MadeArgs,
    /// Where clients reach it, like https://books.example.org
    #[arg(long, value_name = "URL")]
    server: Option<String>,
}

/// Makes the document.
pub fn run(args: AsyncApiArgs) -> ExitCode {
    end(args.made.load().and_then(|loaded| {
        let document = asyncapi::document(&loaded, args.server.as_deref()).map_err(Failure::new)?;
        let text = serde_json::to_string_pretty(&document).unwrap_or_default();
        args.made.put(&format!("{text}\n"))
    }))
}
