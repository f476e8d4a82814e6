//! From one copy of everything to three, while replicas go on.

mod nats_server;

use std::time::Duration;

use nats_server::NatsCluster;
use tidings_brokers::nats::{Engine, EngineError, NatsBroker, NatsFiles, NatsJobs, NatsSettings, NatsState};

/// Asks again while it has no leader, as the program does: of what has just been made, or is being copied, a leader is found first.
async fn patiently<T, F: Future<Output = Result<T, EngineError>>>(open: impl Fn() -> F) -> T {
    for _ in 0..100 {
        match open().await {
            Err(EngineError::Unreachable { .. }) => tokio::time::sleep(Duration::from_millis(100)).await,
            opened => return opened.expect("it opens"),
        }
    }
    panic!("no leader was found");
}

async fn open(settings: NatsSettings) -> usize {
    let engine = Engine::connect(settings).await.expect("a cluster");
    patiently(|| NatsBroker::open(engine.clone())).await;
    patiently(|| NatsState::open(engine.clone())).await;
    patiently(|| NatsJobs::open(engine.clone())).await;
    patiently(|| NatsFiles::open(engine.clone())).await;
    let mut copies = Vec::new();
    let mut names = engine.context().stream_names();
    while let Some(name) = futures_util::StreamExt::next(&mut names).await {
        let stream = engine.context().get_stream(name.expect("a name")).await.expect("it is there");
        copies.push(stream.cached_info().config.num_replicas);
    }
    assert!(copies.len() > 5 && copies.iter().all(|count| *count == copies[0]), "{copies:?}");
    copies[0]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_copies_follows_the_settings() {
    let cluster = NatsCluster::start(3);
    let settings = cluster.settings();
    assert_eq!(open(NatsSettings { copies: Some(1), ..settings.clone() }).await, 1);
    assert_eq!(open(settings).await, 3);
}
