//! What was acknowledged is in the files at that moment.

use bytes::Bytes;
use tidings::Timestamp;

use super::*;
use crate::job_contract::{done, texts};

/// What a program finds that starts on the files as they are now: as after a kill, nothing is closed.
async fn found(fixture: &Fixture) -> (Vec<String>, Vec<Bytes>, Option<Timestamp>) {
    let copy = tempfile::tempdir().unwrap();
    for file in ["store.db", "store.db-wal"] {
        let from = fixture.directory.path().join(file);
        std::fs::copy(from, copy.path().join(file)).unwrap();
    }
    state(&Store::open(&copy.path().join("store.db")).unwrap()).await
}

async fn state(store: &Store) -> (Vec<String>, Vec<Bytes>, Option<Timestamp>) {
    let jobs = texts(&store.list(&everything()).await.unwrap());
    let items = store.items(&id("a"), 0, 1_000, usize::MAX).await.unwrap();
    (jobs, items, store.token([1; 32]).await.unwrap().map(|(_, expires)| expires))
}

#[tokio::test]
async fn each_acknowledged_write_is_there_after_a_kill() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    let first = job("a", 1);
    assert_eq!(found(&fixture).await, (vec![], vec![], None));

    store.create(&first).await.unwrap();
    let (jobs, ..) = found(&fixture).await;
    assert_eq!(jobs, texts(std::slice::from_ref(&first)));

    store.append_items(&first.id, 0, vec![Bytes::from_static(b"1"); 100]).await.unwrap();
    assert_eq!(found(&fixture).await.1.len(), 100);

    store.put_token([1; 32], &first.id, Timestamp(5)).await.unwrap();
    assert_eq!(found(&fixture).await.2, Some(Timestamp(5)));

    store.note_progress(vec![(first.id.clone(), done(3))]).await.unwrap();
    let end = changed(&first, JobState::Completed, 9);
    assert!(store.replace(&end, 1).await.unwrap());
    let (jobs, ..) = found(&fixture).await;
    assert!(jobs[0].contains("completed"), "{jobs:?}");

    store.note_announced(&first.id, 2, Some("cursor".into())).await.unwrap();
    assert!(found(&fixture).await.0[0].contains("cursor"));
    assert_eq!(found(&fixture).await, state(store).await);

    store.remove(&first.id).await.unwrap();
    assert_eq!(found(&fixture).await, (vec![], vec![], None));
}
