//! What is committed is told once, whatever the disk does in between.

mod shelf;

use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use tidings::{Hub, Limits, Offset, Query, SystemClock};
use tidings_brokers::{DiskBroker, DiskSettings};
use tidings_example_bookshelf::app;
use tidings_example_bookshelf::db::Db;
use tidings_example_bookshelf::outbox::{self, Outbox};

/// The outbox of the database with this name, and the hub whose log lies beside it.
async fn open(folder: &Path, database: &str) -> (Db, Arc<Hub>, Outbox) {
    let (clock, profile) = (Arc::new(SystemClock), app::load(&shelf::settings(folder).profile).unwrap().profile);
    let broker = DiskBroker::open(&folder.join("log"), DiskSettings::default(), clock.clone()).unwrap();
    let hub = Hub::open(Arc::new(broker), [profile.clone()], clock, Limits::default()).await.unwrap();
    let db = Db::open(&folder.join(database)).unwrap();
    let outbox = Outbox::open(db.clone(), hub.clone(), profile).await.unwrap();
    (db, hub, outbox)
}

async fn removed(db: &Db, id: i64) {
    db.write(move |tx| outbox::put(tx, "book.removed", &json!({ "id": id }), None)).await.unwrap();
}

async fn told(hub: &Hub) -> Vec<String> {
    let query = Query { topics: None, after: Offset(0), until: Offset(u64::MAX), limit: 100, max_bytes: 1 << 20 };
    hub.broker()
        .read(query)
        .await
        .unwrap()
        .events
        .iter()
        .map(|event| String::from_utf8_lossy(&event.data).into_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_told_and_can_not_be_taken_out_now_is_not_told_again() {
    let folder = tempfile::tempdir().unwrap();
    let (db, hub, mut outbox) = open(folder.path(), "bookshelf.db").await;
    removed(&db, 1).await;
    let outside = shelf::database(folder.path());
    outside
        .execute_batch("CREATE TRIGGER full BEFORE DELETE ON outbox BEGIN SELECT RAISE(ABORT, 'the disk is full'); END")
        .unwrap();
    for _ in 0..3 {
        assert!(outbox.tell().await.is_err());
    }
    removed(&db, 2).await;
    outside.execute_batch("DROP TRIGGER full").unwrap();
    assert_eq!(outbox.tell().await.unwrap(), 2);
    assert_eq!(outbox.tell().await.unwrap(), 0);
    assert_eq!(told(&hub).await, [r#"{"id":1}"#, r#"{"id":2}"#]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rows_of_another_database_are_not_taken_for_those_the_log_has() {
    let folder = tempfile::tempdir().unwrap();
    let (db, hub, mut outbox) = open(folder.path(), "first.db").await;
    removed(&db, 1).await;
    assert_eq!(outbox.tell().await.unwrap(), 1);
    drop((db, hub, outbox));
    let waiting = Db::open(&folder.path().join("second.db")).unwrap();
    removed(&waiting, 2).await;
    let (_, hub, mut outbox) = open(folder.path(), "second.db").await;
    assert_eq!(outbox.tell().await.unwrap(), 1);
    assert_eq!(told(&hub).await, [r#"{"id":1}"#, r#"{"id":2}"#]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_whose_event_the_profile_refuses_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let (db, hub, mut outbox) = open(folder.path(), "bookshelf.db").await;
    let changed = db.write(|tx| {
        tx.execute("INSERT INTO authors (name, key) VALUES ('Nobody', 'nobody')", [])?;
        outbox::put(tx, "book.removed", &json!({ "id": "no number" }), None)
    });
    assert!(changed.await.unwrap_err().to_string().contains("book.removed"));
    let authors = db.read(|db| Ok(db.query_row("SELECT count(*) FROM authors", [], |row| row.get::<_, i64>(0))?));
    assert_eq!((authors.await.unwrap(), outbox.tell().await.unwrap()), (0, 0));
    assert!(told(&hub).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_once_is_told_once_for_each_key() {
    let folder = tempfile::tempdir().unwrap();
    let (db, hub, mut outbox) = open(folder.path(), "bookshelf.db").await;
    for (key, id) in [("one", 1), ("one", 2), ("other", 3)] {
        let put = db.write(move |tx| outbox::put_once(tx, key, "book.removed", &json!({ "id": id }), None, 1));
        put.await.unwrap();
    }
    assert_eq!(outbox.tell().await.unwrap(), 2);
    assert_eq!(told(&hub).await, [r#"{"id":1}"#, r#"{"id":3}"#]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_from_before_the_marks_keep_what_the_log_knows_them_by() {
    let folder = tempfile::tempdir().unwrap();
    let old = shelf::database(folder.path());
    old.execute_batch(include_str!("../src/schema.sql")).unwrap();
    old.execute_batch(
        "INSERT INTO outbox (id, name, data) VALUES (258, 'book.removed', '{\"id\":1}'); PRAGMA user_version = 1",
    )
    .unwrap();
    drop(Db::open(&folder.path().join("bookshelf.db")).unwrap());
    let marks = old.query_row("SELECT id, mark FROM outbox", [], |row| Ok((row.get(0)?, row.get(1)?)));
    assert_eq!(marks.unwrap(), (258_i64, [0_u8, 0, 0, 0, 0, 0, 1, 2]));
    old.execute("DELETE FROM outbox", []).unwrap();
    old.execute("INSERT INTO outbox (name, data) VALUES ('x', '')", []).unwrap();
    assert_eq!(old.query_row("SELECT id FROM outbox", [], |row| row.get::<_, i64>(0)).unwrap(), 259);
}
