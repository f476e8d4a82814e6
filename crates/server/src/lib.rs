//! How the program is configured, secured and run: what `main` is made of.

pub mod assemble;
pub mod auth;
pub mod bench;
pub mod check;
pub mod cli;
pub mod commands;
pub mod console;
pub mod descriptors;
pub mod idempotency;
pub mod inspect;
pub mod metrics;
pub mod page;
pub mod profile;
pub mod routes;
pub mod schema;
pub mod serve;
pub mod settings;
pub(crate) mod storage;
pub mod tls;

#[cfg(test)]
#[path = "../../brokers/tests/nats_server/mod.rs"]
mod nats_server;
