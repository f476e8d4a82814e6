//! Streams that are each of one job (`protocol/README.md` §10.4), over each driver: its state, what comes, its end, and then the end of the
//! stream.

#[path = "../common/mod.rs"]
mod common;
mod dialect;
mod http2;
mod items;
mod named;
mod rig;
mod slow;
mod sse;
