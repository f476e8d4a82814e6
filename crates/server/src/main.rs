//! The program `tidings`.

use std::process::ExitCode;

use clap::Parser;
use tidings_server::cli::{Cli, run};

/// Thousands of small, long-lived allocations: jemalloc holds a connection in the least memory of the allocators measured.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    run(Cli::parse())
}
