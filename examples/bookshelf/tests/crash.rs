//! What a crash leaves is healed by the next start.

mod shelf;

use std::fs;
use std::sync::Arc;

use reqwest::Method;
use serde_json::{Value, json};
use shelf::{Shelf, User, database, drop_book, epub, until};

const ROW: &str = "INSERT INTO outbox (name, data, scope) VALUES ('book.removed', ?1, NULL)";

async fn removed(user: &User<'_>, last: i64) -> Vec<i64> {
    let mut stream = user.listen("names=book.removed&cursor=earliest").await;
    let heard = stream.until(|event| event.data["id"] == last).await;
    heard.iter().filter(|event| event.name == "book.removed").map(|event| event.data["id"].as_i64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_committed_and_not_told_is_told_by_the_next_start_in_order() {
    let folder = Shelf::run(folder(), "1").await.kill();
    // The program ended between its commit and the telling.
    let database = database(folder.path());
    for id in 9_001..=9_003 {
        database.execute(ROW, [json!({ "id": id }).to_string()]).unwrap();
    }
    drop(database);
    let shelf = Shelf::run(folder, "1").await;
    assert_eq!(removed(&shelf.log_in("ann").await, 9_003).await, [9_001, 9_002, 9_003]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_told_and_not_taken_out_is_told_once() {
    let shelf = Shelf::run(folder(), "0.1").await;
    let ann = shelf.log_in("ann").await;
    let mut stream = ann.listen("cursor=earliest").await;
    // All downloads of the demo are done, so that nothing else is told.
    for _ in 0..2 {
        stream.until(|event| event.name == "queue.changed" && event.data["item"]["status"] == "imported").await;
    }
    // The rows can't be taken out from here on: the program ends between the telling and that.
    let database = database(shelf.folder.path());
    let stuck = "CREATE TRIGGER stuck BEFORE DELETE ON outbox BEGIN SELECT RAISE(ABORT, 'stuck'); END";
    database.execute_batch(stuck).unwrap();
    let book = ann.want("Told once", "Somebody", false).await;
    stream.until(|event| event.name == "author.updated" && event.data["name"] == "Somebody").await;
    let folder = shelf.kill();
    let left = || database.query_row("SELECT count(*) FROM outbox", [], |row| row.get::<_, i64>(0)).unwrap();
    assert!(left() >= 2);
    database.execute_batch("DROP TRIGGER stuck").unwrap();
    database.execute(ROW, [json!({ "id": 9_003 }).to_string()]).unwrap();
    let mut shelf = Shelf::run(folder.clone(), "1").await;
    let ann = shelf.log_in("ann").await;
    let mut stream = ann.listen("cursor=earliest").await;
    let heard = stream.until(|event| event.name == "book.removed" && event.data["id"] == 9_003).await;
    assert_eq!(heard.iter().filter(|event| event.name == "book.added" && event.data["id"] == book).count(), 1);
    drop((ann, stream));
    until("what was told is taken out", async || left() == 0).await;
    assert!(shelf.terminate());
    assert_eq!(left(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_shelved_before_the_crash_is_imported_once() {
    let folder = folder();
    let bytes = epub("Half way", "Somebody", None);
    // The file is on the shelf, the database knows nothing, and it still lies where it was dropped.
    for place in ["library/Somebody", "drop"] {
        fs::create_dir_all(folder.path().join(place)).unwrap();
    }
    fs::write(folder.path().join("library/Somebody/Half way.epub"), &bytes).unwrap();
    fs::write(folder.path().join("drop/half.epub"), &bytes).unwrap();
    let shelf = Shelf::start_in(folder, |_| {}).await;
    let ann = shelf.log_in("ann").await;
    let mut stream = ann.listen("cursor=earliest").await;
    let is_there = |book: &Value| book["title"] == "Half way" && book["status"] == "imported";
    stream.until(|event| event.name == "book.updated" && is_there(&event.data)).await;
    // Once more, as after a crash just before the file left the folder.
    let drop = shelf.drop_folder();
    until("the first one has left it", async || !drop.join("half.epub").exists()).await;
    drop_book(&shelf.drop_folder(), "half.epub", "Half way", "Somebody", None);
    drop_book(&shelf.drop_folder(), "other.epub", "The other", "Somebody", None);
    until("both are taken", async || ["half", "other"].iter().all(|name| !drop.join(format!("{name}.epub")).exists()))
        .await;
    // Behind whatever was told of them.
    let last = ann.want("The last", "Somebody", false).await;
    let heard = stream.until(|event| event.name == "book.added" && event.data["id"] == last).await;
    assert!(heard.iter().any(|event| event.name == "book.updated" && event.data["title"] == "The other"));
    assert!(heard.iter().all(|event| event.data["title"] != "Half way"), "{heard:?}");
    assert_eq!(ann.get("books?q=half%20way").await["books"].as_array().unwrap().len(), 1);
    assert_eq!(fs::read_dir(shelf.folder.path().join("library/Somebody")).unwrap().count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_a_restart_cut_begins_again() {
    let shelf = Shelf::run(folder(), "600").await;
    let ann = shelf.log_in("ann").await;
    let book = ann.want("Cut off", "Somebody", false).await;
    let mut stream = ann.listen("cursor=earliest").await;
    ann.post(&format!("books/{book}/grab"), json!({})).await;
    stream.until(|event| event.data["bookId"] == book).await;
    let shelf = Shelf::run(shelf.kill(), "0.1").await;
    let ann = shelf.log_in("ann").await;
    let mut stream = ann.listen("cursor=earliest").await;
    stream.until(|event| event.data["id"] == book && event.data["status"] == "imported").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_after_a_kill_and_its_session_counts() {
    let shelf = Shelf::run(folder(), "600").await;
    let ann = shelf.log_in("ann").await;
    let (cookie, answer) = (ann.cookie.clone(), ann.ask(Method::GET, "/api/v1/books", None).await);
    let cursor = answer.headers()["tidings-cursor"].to_str().unwrap().to_owned();
    let books: Vec<i64> = vec![ann.want("One", "Somebody", false).await, ann.want("Two", "Somebody", true).await];
    let shelf = Shelf::run(shelf.kill(), "600").await;
    let mut stream = shelf.with_cookie(&cookie).listen(&format!("names=book.added&cursor={cursor}")).await;
    for book in books {
        let heard = stream.until(|event| event.name == "book.added").await;
        assert_eq!(heard.last().unwrap().data["id"], book);
    }
}

fn folder() -> Arc<tempfile::TempDir> {
    Arc::new(tempfile::tempdir().unwrap())
}
