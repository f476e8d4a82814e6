//! Several replicas of a hub over NATS JetStream: one stream is the log, buckets hold the state that the replicas share.
//!
//! - [`Engine`]: the connection, and whether the server can be used.
//! - [`NatsSettings`]: how the engine is reached, and how it keeps the events.

mod engine;
mod settings;

pub use engine::{Down, Engine, EngineError, OLDEST, Version};
pub use settings::{Durability, Login, NatsSettings, NatsTls};
