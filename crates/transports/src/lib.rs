//! How bytes reach a client of Tidings and come back.

pub mod auth;
pub mod problem;
pub mod stream;

pub use auth::{Authenticate, Request};
pub use problem::Problem;
pub use stream::{Cors, Filtering, Heartbeat, IdleEnd, StreamSettings};
