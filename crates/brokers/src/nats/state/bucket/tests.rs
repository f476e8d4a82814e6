use super::*;
use crate::nats::NatsSettings;

#[path = "../../../../tests/nats_server/mod.rs"]
mod nats_server;

async fn small(server: &nats_server::NatsServer, discard: DiscardPolicy) -> Bucket {
    let settings = NatsSettings { servers: vec![server.url()], ..NatsSettings::default() };
    let shape = || Shape { of: "test", max_age: Duration::ZERO, most: 2, discard };
    let mut opened = None;
    nats_server::until("the bucket opens", async || {
        match async { Bucket::open(&Engine::connect(settings.clone()).await?, shape()).await }.await {
            Ok(bucket) => opened = Some(bucket),
            Err(EngineError::Unreachable { .. }) => {}
            Err(error) => panic!("the bucket opens: {error}"),
        }
        opened.is_some()
    })
    .await;
    opened.unwrap()
}

#[tokio::test]
async fn a_full_bucket_says_so_and_takes_changes_of_what_it_has() {
    let server = nats_server::NatsServer::start();
    let bucket = small(&server, DiscardPolicy::New).await;
    let first = bucket.create("a", "1").await.unwrap().unwrap();
    bucket.create("b", "1").await.unwrap().unwrap();
    let full = bucket.create("c", "1").await.unwrap_err();
    assert!(matches!(full, StateError::Full(_)), "{full:?}");
    let second = bucket.update("a", "2", first).await.unwrap().unwrap();
    let removed = bucket.delete("a", second).await.unwrap().unwrap();
    bucket.forget("a", removed).await.unwrap();
    bucket.create("c", "1").await.unwrap().unwrap();
}

#[tokio::test]
async fn where_the_oldest_go_the_newest_are_kept() {
    let server = nats_server::NatsServer::start();
    let bucket = small(&server, DiscardPolicy::Old).await;
    for name in ["a", "b", "c"] {
        bucket.create(name, "1").await.unwrap().unwrap();
    }
    assert!(bucket.get("a").await.unwrap().is_none());
    assert!(bucket.get("c").await.unwrap().is_some());
}

#[tokio::test]
async fn what_was_changed_since_a_name_is_forgotten_stays() {
    let server = nats_server::NatsServer::start();
    let bucket = small(&server, DiscardPolicy::New).await;
    let first = bucket.create("a", "1").await.unwrap().unwrap();
    let second = bucket.update("a", "2", first).await.unwrap().unwrap();
    bucket.forget("a", first).await.unwrap();
    assert_eq!(bucket.get("a").await.unwrap().map(|kept| kept.revision), Some(second));
}
