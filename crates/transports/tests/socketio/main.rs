//! Engine.IO and Socket.IO over raw HTTP and raw WebSockets: each demand of the protocols' own test suites, asked here with
//! requests of ours where the suites have an application that echoes, and what the suites leave out.

#[path = "../common/mod.rs"]
mod common;

mod abuse;
mod client;
mod connect;
mod ending;
mod engine;
mod leaks;
mod namespaces;
mod recovery;
mod rejection;
mod storm;
mod upgrade;
