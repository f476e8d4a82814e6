//! Jobs of several replicas in a real NATS server.

#[path = "nats_jobs/life.rs"]
mod life;
mod nats_server;
#[path = "nats_jobs/store.rs"]
mod store;
