//! What replicas share is kept by the same contract in SQLite and in NATS.

mod nats_server;

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use nats_server::{NatsServer, patiently};
use tidings_brokers::nats::{Engine, NatsSettings, NatsState};
use tidings_brokers::state_contract::{self, Pair};
use tidings_brokers::{StateStore, Store};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_over_one_database_keep_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let made = Cell::new(0);
    state_contract::all(async || {
        made.set(made.get() + 1);
        let path = directory.path().join(format!("{}.db", made.get()));
        [0, 1].map(|_| Arc::new(Store::open(&path).unwrap()) as Arc<dyn StateStore>)
    })
    .await;
}

#[tokio::test]
async fn a_database_in_memory_keeps_it_as_well() {
    state_contract::all(async || {
        let store: Arc<dyn StateStore> = Arc::new(Store::in_memory().unwrap());
        [store.clone(), store]
    })
    .await;
}

/// Two replicas of a fresh hub on this server, each with a connection of its own.
async fn replicas(settings: &NatsSettings, made: &AtomicU32) -> Pair {
    let hub = format!("hub{}", made.fetch_add(1, Ordering::SeqCst));
    let settings = NatsSettings { hub, ..settings.clone() };
    let open = async || {
        let opened = patiently(async || NatsState::open(Engine::connect(settings.clone()).await?).await).await;
        opened as Arc<dyn StateStore>
    };
    [open().await, open().await]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_over_nats_keep_the_contract_on_every_line_of_servers() {
    for version in ["2.10.26", "2.11.11", "2.12.8", nats_server::NEWEST] {
        let server = NatsServer::of(version, "");
        let (settings, made) = (server.settings(), AtomicU32::new(0));
        state_contract::all(|| replicas(&settings, &made)).await;
    }
}
