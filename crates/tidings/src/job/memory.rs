//! Jobs in memory.

/// Jobs in memory.
#[derive(Debug, Default)]
pub struct MemoryJobs;
