//! `tidings default-config`: the settings with every default and its reason.

use std::process::ExitCode;

use crate::settings::DEFAULT_CONFIG;

/// `tidings default-config`.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct DefaultConfigArgs {}

/// Prints the commented settings.
pub fn run(_: DefaultConfigArgs) -> ExitCode {
    // Nothing is left to do for whoever closed standard output.
    let _ = super::print(DEFAULT_CONFIG);
    ExitCode::SUCCESS
}
