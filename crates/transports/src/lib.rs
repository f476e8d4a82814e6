//! How bytes reach a client of Tidings and come back.
//!
//! - [`accept`]: our own accept loop; hyper reads a request, and a stream's socket moves on to a lane. `adopt`: connections that go
//!   both ways, whoever shook hands.
//! - [`lane`]: threads that own many sockets and write shared frames to them.
//! - [`handover`]: a granted stream between its request and its driver, a lane or a response body.
//! - [`session`]: what a connection that goes both ways has beside its place. [`command`]: what its client may ask for. `door`: how it
//!   asks the program who that is, and publishes.
//! - [`events`], [`poll`], [`publish`], [`service`]: the HTTP handlers and their routes.
//! - [`sse`], [`websocket`], [`socketio`]: frames ↔ bytes, pure. [`stream`]: how one mount's streams behave. [`query`]: what a
//!   request asks for.
//! - [`jobs`]: making jobs, watching them, working on them. [`upload`]: a file on its way to the disk.
//! - [`StreamId`]: the name of an open stream, for people who look. [`Latency`]: how long events take to the sockets.
//! - [`auth`]: the seam to who asks. [`limiter`]: how many there may be. [`rate`]: how many requests. [`problem`]: refusals.

pub mod accept;
mod adopt;
pub mod auth;
pub mod command;
mod date;
pub mod desk;
mod door;
pub mod events;
pub mod handover;
pub mod jobs;
pub mod lane;
mod latency;
pub mod limiter;
pub mod poll;
pub mod problem;
pub mod publish;
pub mod query;
pub mod rate;
mod recall;
pub mod service;
pub mod session;
pub mod socketio;
pub mod sse;
pub mod stream;
mod stream_id;
mod unread;
pub mod upload;
mod watch;
pub mod websocket;

pub use accept::{Acceptor, Handshake};
pub use auth::{Authenticate, Request};
pub use events::{Answer, Mount, Peer};
pub use lane::Lanes;
pub use latency::{Latency, LatencySummary};
pub use limiter::{Limiter, Trusts};
pub use problem::Problem;
pub use publish::{Begun, Ended, Idempotency};
pub use service::{Publishing, Service, router};
pub use stream::{
    Codec, Cors, Filtering, Greeting, Heartbeat, IdleEnd, Rejection, SocketIoSettings, Stream, StreamSettings,
};
pub use stream_id::{InvalidStreamId, StreamId};
