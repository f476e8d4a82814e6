//! Where Tidings keeps its events.
//!
//! This crate answers one question: *where are events kept, and how do replicas hear of them?*
//!
//! - [`MemoryBroker`]: the log in memory; it ends with the process.
//! - [`DiskBroker`]: an append-only log of segments in one directory; it survives a crash. [`disk::format`] has its bytes.
//! - [`Store`]: SQLite beside it, for what is relational: API keys, tickets, revocations, idempotency, jobs.
//! - [`FileDirectory`]: the files that come with jobs.
//! - [`StateStore`]: what replicas share beside log and jobs: API keys, tickets, revocations, requests with an `Idempotency-Key`.
//! - [`nats`]: NATS JetStream, for several replicas of one hub.
//! - [`Retention`]: how much of a log is kept.
//! - `contract`: what every broker must do, as a suite; `job_contract`: what every store of jobs must; `files_contract`: what keeps their files;
//!   `state_contract`: what every [`StateStore`] must (feature `contract`).

#[cfg(any(test, feature = "contract"))]
pub mod contract;
pub mod disk;
pub mod files;
#[cfg(any(test, feature = "contract"))]
pub mod files_contract;
#[cfg(any(test, feature = "contract"))]
pub mod job_contract;
pub mod memory;
pub mod nats;
pub mod retention;
pub mod state;
#[cfg(any(test, feature = "contract"))]
pub mod state_contract;
pub mod store;

pub use disk::{DiskBroker, DiskSettings, OpenError, Recovery};
pub use files::FileDirectory;
pub use memory::{MemoryBroker, MemorySettings};
pub use retention::Retention;
pub use state::StateStore;
pub use store::Store;
