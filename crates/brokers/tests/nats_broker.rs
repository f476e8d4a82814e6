//! The broker over NATS JetStream, on real servers.

mod nats_server;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nats_server::{NEWEST, NatsServer};
use tidings_brokers::Retention;
use tidings_brokers::contract;
use tidings_brokers::nats::{Engine, NatsBroker, NatsSettings};

/// Settings for a hub that nobody used yet, without bounds.
fn fresh(server: &NatsServer) -> NatsSettings {
    static HUBS: AtomicUsize = AtomicUsize::new(0);
    let hub = format!("hub{}", HUBS.fetch_add(1, Ordering::Relaxed));
    NatsSettings { hub, retention: Retention::FOREVER, ..server.settings() }
}

async fn open(settings: NatsSettings) -> Arc<NatsBroker> {
    let engine = Engine::connect(settings).await.expect("the server is there");
    NatsBroker::open(engine).await.expect("the log opens")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_keeps_the_contract() {
    for version in [NEWEST, "2.12.8"] {
        let server = NatsServer::of(version, "");
        contract::all(async || open(fresh(&server)).await).await;
    }
}
