//! Several replicas of a hub over NATS JetStream: one stream is the log, buckets hold the state that the replicas share.
//!
//! - [`NatsBroker`]: the log; [`codec`] and [`subject`] say how an event stands in the stream.
//! - [`Engine`]: the connection, and whether the server can be used.
//! - [`check_stream`], [`check_consumer`]: whether the server made what was asked for.
//! - [`NatsFiles`]: the files that come with jobs.
//! - [`NatsJobs`]: jobs with their last state and leases.
//! - [`NatsState`]: what the replicas share beside the log and the jobs.
//! - [`LogMove`]: a log on disk that is moved there.
//! - [`NatsSettings`]: how the engine is reached, and how it keeps the events.

mod announcer;
mod api;
mod broker;
mod bucket;
pub mod codec;
mod direct;
mod echo;
mod engine;
mod epoch;
mod files;
mod group;
mod history;
mod jobs;
mod kept_up;
mod latest;
mod moving;
mod outgoing;
mod publisher;
mod pushed;
mod reader;
mod settings;
mod state;
mod stream;
pub mod subject;
mod tail;
mod watchdog;

pub use broker::NatsBroker;
pub use echo::{check_consumer, check_stream};
pub use engine::{Down, Engine, EngineError, OLDEST, Version};
pub use files::NatsFiles;
pub use jobs::NatsJobs;
pub use moving::{LogMove, MoveError, MoveProgress, MovedJobs, MovedState, Survey, move_jobs, move_state};
pub use publisher::MOST_IN_BATCH;
pub use settings::{Durability, Login, NatsSettings, NatsTls};
pub use state::NatsState;
pub use stream::{CreateError, create_stream};
pub use tail::BeforeMissed;
pub use watchdog::watch_over;
