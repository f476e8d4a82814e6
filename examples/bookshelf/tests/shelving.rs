//! Files, lists and jobs.

mod shelf;

use std::fs;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use shelf::{Heard, Shelf, drop_book};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n not much of a picture";

fn is_imported(event: &Heard, title: &str) -> bool {
    event.name == "book.updated" && event.data["title"] == title && event.data["status"] == "imported"
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_book_is_on_the_shelf_with_its_cover_and_everybody_hears_of_it() {
    let shelf = Shelf::start().await;
    let (ann, ben) = (shelf.log_in("ann").await, shelf.log_in("ben").await);
    let (mut of_ann, mut of_ben) = (ann.listen("").await, ben.listen("").await);
    drop_book(&shelf.drop_folder(), "new.epub", "A New Book", "Some Body", Some(PNG));
    for stream in [&mut of_ann, &mut of_ben] {
        stream.until(|event| is_imported(event, "A New Book")).await;
    }
    let found = &ann.get("books?q=a%20new%20book").await["books"][0];
    assert_eq!(found["file"]["name"], "A New Book.epub");
    let cover = ann.ask(Method::GET, found["cover"].as_str().unwrap(), None).await;
    assert_eq!(cover.headers()["content-type"], "image/png");
    assert_eq!(cover.bytes().await.unwrap(), PNG);
    assert!(!shelf.drop_folder().join("new.epub").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cover_of_ones_own_book_is_asked_for_each_time_and_sent_once() {
    let shelf = Shelf::start().await;
    let (ann, ben) = (shelf.log_in("ann").await, shelf.log_in("ben").await);
    let mut stream = ann.listen("").await;
    for (title, owned, keep) in
        [("Mine", true, "private, no-cache"), ("Ours", false, "private, max-age=31536000, immutable")]
    {
        let book = ann.want(title, "Somebody", owned).await;
        drop_book(&shelf.drop_folder(), "x.epub", title, "Somebody", Some(PNG));
        stream.until(|event| is_imported(event, title)).await;
        let path = format!("/api/v1/books/{book}/cover");
        let answer = ann.ask(Method::GET, &path, None).await;
        assert_eq!(answer.headers()["cache-control"], keep);
        let tag = answer.headers()["etag"].to_str().unwrap();
        let again = ann.ask_unless(&path, tag).await;
        assert_eq!(
            (again.status(), &again.headers()["cache-control"]),
            (StatusCode::NOT_MODIFIED, &keep.parse().unwrap())
        );
        let of_ben = ben.ask_unless(&path, tag).await.status();
        assert_eq!(of_ben, if owned { StatusCode::NOT_FOUND } else { StatusCode::NOT_MODIFIED });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_sent_anew_only_when_it_is_another() {
    let shelf = Shelf::start().await;
    let page = shelf.folder.path().join("web");
    fs::create_dir_all(&page).unwrap();
    fs::write(page.join("index.html"), "one").unwrap();
    let ann = shelf.nobody();
    let answer = ann.ask(Method::GET, "/queue", None).await;
    let tag = answer.headers()["etag"].to_str().unwrap().to_owned();
    assert_eq!(answer.text().await.unwrap(), "one");
    assert_eq!(ann.ask_unless("/", &tag).await.status(), StatusCode::NOT_MODIFIED);
    fs::write(page.join("index.html"), "other").unwrap();
    assert_eq!(ann.ask_unless("/", &tag).await.text().await.unwrap(), "other");
    assert_eq!(ann.ask(Method::GET, "/assets/gone.js", None).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_book_is_the_one_that_somebody_wants() {
    let shelf = Shelf::start().await;
    let ann = shelf.log_in("ann").await;
    let book = ann.want("The Wanted One", "Jane Q. Public", true).await;
    let mut stream = ann.listen("").await;
    drop_book(&shelf.drop_folder(), "x.EPUB", "Wanted one!", "Public, Jane Q.", None);
    let heard = stream.until(|event| is_imported(event, "The Wanted One")).await;
    assert_eq!(heard.last().unwrap().data["id"], book);
    assert_eq!(heard.last().unwrap().data["owner"], "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_book_that_is_written_slowly_is_imported_when_it_is_whole() {
    use std::io::Write;
    let shelf = Shelf::start().await;
    let ann = shelf.log_in("ann").await;
    let mut stream = ann.listen("").await;
    let bytes = shelf::epub("Slowly written", "Somebody", None);
    let (first, rest) = bytes.split_at(bytes.len() / 2);
    let mut file = fs::File::create(shelf.drop_folder().join("slow.epub")).unwrap();
    file.write_all(first).unwrap();
    file.sync_all().unwrap();
    // Something else comes and goes meanwhile.
    drop_book(&shelf.drop_folder(), "fast.epub", "Fast", "Somebody", None);
    let heard = stream.until(|event| is_imported(event, "Fast")).await;
    assert!(heard.iter().all(|event| event.name != "import.failed"));
    file.write_all(rest).unwrap();
    drop(file);
    stream.until(|event| is_imported(event, "Slowly written")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_book_is_put_aside_with_the_reason() {
    let shelf = Shelf::start().await;
    let ann = shelf.log_in("ann").await;
    let mut stream = ann.listen("").await;
    let hidden = shelf.folder.path().join("broken");
    fs::write(&hidden, "no archive").unwrap();
    fs::rename(hidden, shelf.drop_folder().join("broken.epub")).unwrap();
    let heard = stream.until(|event| event.name == "import.failed").await;
    assert_eq!(heard.last().unwrap().data["file"], "broken.epub");
    let failed = shelf.drop_folder().join("failed");
    let text = fs::read_to_string(failed.join("broken.epub.txt")).unwrap();
    assert!(text.contains("archive can't be read"), "{text}");
    // Told once it is so.
    assert!(failed.join("broken.epub").exists() && !shelf.drop_folder().join("broken.epub").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_becomes_wanted_books_once_and_says_what_is_wrong_with_its_rows() {
    let shelf = Shelf::start().await;
    let (ann, ben) = (shelf.log_in("ann").await, shelf.log_in("ben").await);
    let mut stream = ann.listen("").await;
    let mut of_ben = ben.listen("").await;
    let rows: String = (0..100).map(|number| format!("Listed {number},Some Author\n")).collect();
    let csv = format!("title,author\n{rows},\nToo,many,fields,here\n");
    for (added, known) in [(100, 0), (0, 100)] {
        let answer = ann.upload(&csv).await;
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
        let job = answer.json::<Value>().await.unwrap()["job"].as_str().unwrap().to_owned();
        let heard = stream.until(|event| event.name == "import.finished").await;
        let end = &heard.last().unwrap().data;
        assert_eq!((end["added"].as_u64(), end["known"].as_u64()), (Some(added), Some(known)), "{end}");
        let mut of_job = ann.ask(Method::GET, &format!("/v1/jobs/{job}/events"), None).await;
        let mut text = String::new();
        while let Some(chunk) = of_job.chunk().await.unwrap() {
            text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
        assert!(text.contains("job.completed") && text.contains("too-many-fields"), "{text}");
        assert_eq!(ben.ask(Method::GET, &format!("/v1/jobs/{job}"), None).await.status(), StatusCode::NOT_FOUND);
    }
    of_ben.until(|event| event.data["title"] == "Listed 99").await;
    let refused = ann.upload("").await;
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_canceled_ends_soon_and_keeps_what_was_added() {
    let shelf = Shelf::start().await;
    let ann = shelf.log_in("ann").await;
    let mut stream = ann.listen("topics=book/*,imports").await;
    let rows: String = (0..20_000).map(|number| format!("Listed {number},Author {number}\n")).collect();
    let answer = ann.upload(&format!("title,author\n{rows}")).await;
    let job = answer.json::<Value>().await.unwrap()["job"].as_str().unwrap().to_owned();
    let is_listed = |title: &Value| title.as_str().is_some_and(|title| title.starts_with("Listed"));
    stream.until(|event| event.name == "book.added" && is_listed(&event.data["title"])).await;
    let canceled = ann.ask(Method::DELETE, &format!("/v1/jobs/{job}?wait=50s"), None).await;
    assert_eq!(canceled.status(), StatusCode::OK);
    let document: Value = canceled.json().await.unwrap();
    assert_eq!(document["state"], "canceled");
    let added = document["result"]["added"].as_u64().unwrap();
    assert!(added > 0 && added < 20_000, "{added}");
    let heard = stream.until(|event| event.name == "import.finished").await;
    assert_eq!(heard.last().unwrap().data["status"], "canceled");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_refresh_of_all_authors_runs_at_a_time_and_tells_how_far_it_is() {
    let shelf = Shelf::start_with(|settings| settings.look_up = Duration::from_millis(200)).await;
    let (ann, ben) = (shelf.log_in("ann").await, shelf.log_in("ben").await);
    let mut stream = ben.listen("topics=authors,author/*").await;
    assert_eq!(ann.ask(Method::GET, "/api/v1/authors/refresh-all/status", None).await.status(), StatusCode::NOT_FOUND);
    let begun = ann.post("authors/refresh-all", json!({})).await;
    assert_eq!(begun.status(), StatusCode::ACCEPTED);
    let job = begun.json::<Value>().await.unwrap()["job"].clone();
    let again = ben.post("authors/refresh-all", json!({})).await;
    assert_eq!(again.status(), StatusCode::CONFLICT);
    assert_eq!(again.json::<Value>().await.unwrap()["job"], job);
    let heard = stream.until(|event| event.name == "author.refresh.finished").await;
    let end = &heard.last().unwrap().data;
    assert_eq!((end["status"].as_str(), &end["done"]), (Some("completed"), &end["total"]));
    let done: Vec<u64> = heard
        .iter()
        .filter(|event| event.name == "author.refresh.progress")
        .map(|event| event.data["done"].as_u64().unwrap())
        .collect();
    assert!(done.len() > 1 && done.is_sorted(), "{done:?}");
    // The job ends a moment after that was told.
    let mut of_job = ann.ask(Method::GET, &format!("/v1/jobs/{}/events", job.as_str().unwrap()), None).await;
    while of_job.chunk().await.unwrap().is_some() {}
    assert_eq!(ann.post("authors/refresh-all", json!({})).await.status(), StatusCode::ACCEPTED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_that_breaks_off_is_told_as_failed_and_another_can_begin() {
    let shelf = Shelf::start().await;
    let ann = shelf.log_in("ann").await;
    let mut stream = ann.listen("topics=authors").await;
    let outside = shelf::database(shelf.folder.path());
    let full = "CREATE TRIGGER full BEFORE UPDATE ON authors BEGIN SELECT RAISE(ABORT, 'the disk is full'); END";
    outside.execute_batch(full).unwrap();
    let begun: Value = ann.post("authors/refresh-all", json!({})).await.json().await.unwrap();
    let heard = stream.until(|event| event.name == "author.refresh.finished").await;
    assert_eq!(heard.last().unwrap().data["status"], "failed");
    assert_eq!(ann.get("authors").await["refresh"]["status"], "failed");
    let job = format!("/v1/jobs/{}/events", begun["job"].as_str().unwrap());
    let mut of_job = ann.ask(Method::GET, &job, None).await;
    while of_job.chunk().await.unwrap().is_some() {}
    outside.execute_batch("DROP TRIGGER full").unwrap();
    assert_eq!(ann.post("authors/refresh-all", json!({})).await.status(), StatusCode::ACCEPTED);
    let heard = stream.until(|event| event.name == "author.refresh.finished").await;
    assert_eq!(heard.last().unwrap().data["status"], "completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_told_and_can_be_tried_again() {
    let shelf = Shelf::start().await;
    let ann = shelf.log_in("ann").await;
    let book = ann.want("Hard to get (unavailable)", "Somebody", false).await;
    let mut stream = ann.listen("").await;
    let grabbed: Value = ann.post(&format!("books/{book}/grab"), json!({})).await.json().await.unwrap();
    let heard = stream.until(|event| event.data["item"]["status"] == "failed").await;
    assert!(heard.last().unwrap().data["item"]["error"].is_string());
    let retried = ann.post(&format!("queue/{}/retry", grabbed["id"]), json!({})).await;
    assert_eq!(retried.status(), StatusCode::ACCEPTED);
    stream.until(|event| is_imported(event, "Hard to get (unavailable)")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_grabs_a_book_and_goes_away_at_once_has_it_fetched_all_the_same() {
    let shelf = Shelf::start().await;
    let ann = shelf.log_in("ann").await;
    let book = ann.want("Grabbed in passing", "Somebody", false).await;
    let mut stream = ann.listen("").await;
    shelf.ask_and_leave(&format!("/api/v1/books/{book}/grab"), &ann.cookie);
    stream.until(|event| is_imported(event, "Grabbed in passing")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_book_that_becomes_somebodys_while_it_is_fetched_is_wanted_again() {
    let shelf = Shelf::start_with(|settings| settings.download = Duration::from_secs(600)).await;
    let ann = shelf.log_in("ann").await;
    let book = ann.want("Mine meanwhile", "Somebody", false).await;
    let mut stream = ann.listen("").await;
    ann.post(&format!("books/{book}/grab"), json!({})).await;
    stream.until(|event| event.data["bookId"] == book).await;
    let path = format!("/api/v1/books/{book}");
    let changed = ann.ask(Method::PATCH, &path, Some(json!({ "owned": true }))).await;
    assert_eq!(changed.json::<Value>().await.unwrap()["status"], "wanted");
    let heard = stream.until(|event| event.name == "book.updated" && event.data["owner"] == "2").await;
    assert_eq!(heard.last().unwrap().data["status"], "wanted");
    assert_eq!(ann.post(&format!("books/{book}/grab"), json!({})).await.status(), StatusCode::ACCEPTED);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_is_removed_is_fetched_no_more() {
    let shelf = Shelf::start_with(|settings| settings.download = Duration::from_secs(600)).await;
    let ann = shelf.log_in("ann").await;
    let book = ann.want("Not any more", "Somebody", false).await;
    let mut stream = ann.listen("").await;
    let grabbed: Value = ann.post(&format!("books/{book}/grab"), json!({})).await.json().await.unwrap();
    stream.until(|event| event.data["bookId"] == book).await;
    let removed = ann.ask(Method::DELETE, &format!("/api/v1/queue/{}", grabbed["id"]), None).await;
    assert_eq!(removed.status(), StatusCode::NO_CONTENT);
    let heard = stream.until(|event| event.name == "book.updated" && event.data["status"] == "wanted").await;
    assert!(heard.iter().any(|event| event.data["action"] == "removed"));
}
