//! From one copy of everything to three, while replicas go on.

mod nats_server;

use futures_util::TryStreamExt;
use nats_server::{NatsCluster, connect, patiently, until};
use tidings_brokers::nats::{Engine, NatsBroker, NatsFiles, NatsJobs, NatsSettings, NatsState};

/// Opens all there is. Of what has just been made, or is being copied, a leader is found first.
async fn open(settings: NatsSettings) -> usize {
    let engine = connect(settings).await;
    patiently(async || NatsBroker::open(engine.clone()).await).await;
    patiently(async || NatsState::open(engine.clone()).await).await;
    patiently(async || NatsJobs::open(engine.clone()).await).await;
    patiently(async || NatsFiles::open(engine.clone()).await).await;
    let mut copies = Vec::new();
    until("each stream tells of itself", async || {
        copies = copies_of_all(&engine).await.unwrap_or_default();
        !copies.is_empty()
    })
    .await;
    assert!(copies.len() > 5 && copies.iter().all(|count| *count == copies[0]), "{copies:?}");
    copies[0]
}

/// How many copies each stream is to have. `None` while one has no leader that would tell.
async fn copies_of_all(engine: &Engine) -> Option<Vec<usize>> {
    let names: Vec<String> = engine.context().stream_names().try_collect().await.ok()?;
    let mut copies = Vec::new();
    for name in names {
        let stream = engine.context().get_stream(name).await.ok()?;
        copies.push(stream.cached_info().config.num_replicas);
    }
    Some(copies)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_copies_follows_the_settings() {
    let cluster = NatsCluster::start(3);
    let settings = cluster.settings();
    assert_eq!(open(NatsSettings { copies: Some(1), ..settings.clone() }).await, 1);
    assert_eq!(open(settings).await, 3);
}
