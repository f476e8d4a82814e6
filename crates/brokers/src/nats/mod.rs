//! Several replicas of a hub over NATS JetStream: one stream is the log, buckets hold the state that the replicas share.
//!
//! - [`Engine`]: the connection, and whether the server can be used.
//! - [`check_stream`], [`check_consumer`]: whether the server made what was asked for.
//! - [`NatsState`]: what the replicas share beside the log and the jobs.
//! - [`NatsFiles`]: the files that come with jobs.
//! - [`NatsSettings`]: how the engine is reached, and how it keeps the events.

mod echo;
mod engine;
mod files;
mod settings;
mod state;

pub use echo::{check_consumer, check_stream};
pub use engine::{Down, Engine, EngineError, OLDEST, Version};
pub use files::NatsFiles;
pub use settings::{Durability, Login, NatsSettings, NatsTls};
pub use state::NatsState;
