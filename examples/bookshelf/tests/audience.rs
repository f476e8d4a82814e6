//! Who hears and sees what.

mod shelf;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use shelf::{Shelf, until};

fn titles(books: &Value) -> Vec<&str> {
    books["books"].as_array().unwrap().iter().map(|book| book["title"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_book_of_one_user_is_neither_seen_nor_heard_of_by_another_member() {
    let shelf = Shelf::start().await;
    let (ann, ben, admin) = (shelf.log_in("ann").await, shelf.log_in("ben").await, shelf.log_in("admin").await);
    let (mut of_ann, mut of_ben, mut of_admin) = (ann.listen("").await, ben.listen("").await, admin.listen("").await);
    let secret = ann.want("Ann's secret", "Nobody Else", true).await;
    let open = ann.want("Open to all", "Somebody", false).await;
    for stream in [&mut of_ann, &mut of_admin] {
        let heard = stream.until(|event| event.name == "book.added" && event.data["id"] == open).await;
        assert!(heard.iter().any(|event| event.name == "book.added" && event.data["id"] == secret));
        assert!(heard.iter().any(|event| event.name == "author.updated" && event.data["name"] == "Nobody Else"));
    }
    let heard = of_ben.until(|event| event.name == "author.updated" && event.data["name"] == "Somebody").await;
    let text = format!("{heard:?}");
    assert!(!text.contains("secret") && !text.contains("Nobody Else"), "{text}");
    assert!(!titles(&ben.get("books").await).contains(&"Ann's secret"));
    assert!(titles(&admin.get("wanted").await).contains(&"Ann's secret"));
    assert!(!ben.get("authors").await.to_string().contains("Nobody Else"));
    for path in ["", "/cover"] {
        let answer = ben.ask(Method::GET, &format!("/api/v1/books/{secret}{path}"), None).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    }
    assert_eq!(ben.post(&format!("books/{secret}/grab"), json!({})).await.status(), StatusCode::NOT_FOUND);
    let removed = ben.ask(Method::DELETE, &format!("/api/v1/books/{secret}"), None).await;
    assert_eq!(removed.status(), StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_told_before_is_told_later_only_to_those_who_may_hear_it() {
    let shelf = Shelf::start().await;
    let secret = shelf.log_in("ann").await.want("Ann's secret", "Nobody Else", true).await;
    let ben = shelf.log_in("ben").await;
    let open = ben.want("The last", "Somebody", false).await;
    let mut stream = ben.listen("cursor=earliest").await;
    let heard = stream.until(|event| event.name == "book.added" && event.data["id"] == open).await;
    assert!(heard.len() > 40 && heard.iter().all(|event| event.data["id"] != secret));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_of_an_owned_book_is_its_owners_and_downloads_reach_the_shelf() {
    let shelf = Shelf::start().await;
    let (ann, ben) = (shelf.log_in("ann").await, shelf.log_in("ben").await);
    let (mut of_ann, mut of_ben) = (ann.listen("").await, ben.listen("").await);
    let secret = ann.want("Ann's secret", "Nobody Else", true).await;
    assert_eq!(ann.post(&format!("books/{secret}/grab"), json!({})).await.status(), StatusCode::ACCEPTED);
    assert_eq!(ann.post(&format!("books/{secret}/grab"), json!({})).await.status(), StatusCode::CONFLICT);
    let heard = of_ann
        .until(|event| event.name == "book.updated" && event.data["id"] == secret && event.data["status"] == "imported")
        .await;
    let of_secret = heard.iter().filter(|event| event.data["item"]["book"]["id"] == secret);
    let stages: Vec<String> = of_secret.map(|event| event.data["item"]["status"].as_str().unwrap().into()).collect();
    assert_eq!(stages, ["grabbed", "downloading", "completed", "importing", "imported"]);
    assert!(heard.iter().any(|event| event.name == "queue.progress" && event.data["bookId"] == secret));
    assert_eq!(ann.get(&format!("books/{secret}")).await["file"]["format"], "epub");
    let last = ben.want("The last", "Somebody", false).await;
    let heard = of_ben.until(|event| event.name == "book.added" && event.data["id"] == last).await;
    assert!(!format!("{heard:?}").contains("secret"), "{heard:?}");
    assert!(!ben.get("queue").await.to_string().contains("secret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_book_that_becomes_somebodys_is_gone_for_the_others() {
    let shelf = Shelf::start().await;
    let (ann, ben) = (shelf.log_in("ann").await, shelf.log_in("ben").await);
    let book = ann.want("Mine now", "Somebody", false).await;
    let cursor = ben.ask(Method::GET, "/api/v1/books", None).await;
    let cursor = cursor.headers()["tidings-cursor"].to_str().unwrap().to_owned();
    let (mut of_ann, mut of_ben) = (ann.listen("").await, ben.listen(&format!("cursor={cursor}")).await);
    let path = format!("/api/v1/books/{book}");
    let changed = ann.ask(Method::PATCH, &path, Some(json!({ "owned": true }))).await;
    assert_eq!(changed.status(), StatusCode::OK);
    of_ben.until(|event| event.name == "book.removed" && event.data["id"] == book).await;
    of_ann.until(|event| event.name == "book.updated" && event.data["id"] == book && event.data["owner"] == "2").await;
    assert_eq!(ben.ask(Method::GET, &path, None).await.status(), StatusCode::NOT_FOUND);
    // And back again.
    assert_eq!(ann.ask(Method::PATCH, &path, Some(json!({ "owned": false }))).await.status(), StatusCode::OK);
    let heard = of_ben.until(|event| event.name == "book.updated" && event.data["id"] == book).await;
    assert_eq!(heard.last().unwrap().data["owner"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn how_one_user_writes_a_name_is_not_shown_to_who_sees_none_of_those_books() {
    let shelf = Shelf::start().await;
    let (ann, ben) = (shelf.log_in("ann").await, shelf.log_in("ben").await);
    let add = async |user: &shelf::User<'_>, title: &str, author: &str, series: &str, owned: bool| {
        let book = json!({ "title": title, "author": author, "series": series, "owned": owned });
        let book: Value = user.post("books", book).await.json().await.unwrap();
        (book["author"]["name"].as_str().unwrap().to_owned(), book["series"]["name"].as_str().unwrap().to_owned())
    };
    let pair = |author: &str, series: &str| (author.to_owned(), series.to_owned());
    add(&ann, "One", "NOBODY, the, Else!", "Secret-Series", true).await;
    assert_eq!(
        add(&ann, "Two", "Nobody the else", "secret series", true).await,
        pair("NOBODY, the, Else!", "Secret-Series")
    );
    assert_eq!(
        add(&ben, "Three", "Nobody The Else", "Secret series", false).await,
        pair("Nobody The Else", "Secret series")
    );
    // From here on everybody sees it, and it stays as it is.
    assert_eq!(
        add(&ann, "Four", "nobody the Else?", "SECRET SERIES", true).await,
        pair("Nobody The Else", "Secret series")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_saw_the_last_book_of_an_author_hears_of_the_author_when_it_leaves() {
    let shelf = Shelf::start().await;
    let (ann, ben) = (shelf.log_in("ann").await, shelf.log_in("ben").await);
    for change in [None, Some(json!({ "author": "Another One" })), Some(json!({ "owned": true }))] {
        let mut of_ben = ben.listen("").await;
        let book = ann.want("The last", "Soon Gone", false).await;
        of_ben.until(|event| event.name == "author.updated" && event.data["name"] == "Soon Gone").await;
        let path = format!("/api/v1/books/{book}");
        let method = if change.is_none() { Method::DELETE } else { Method::PATCH };
        assert!(ann.ask(method, &path, change.clone()).await.status().is_success());
        of_ben.until(|event| event.name == "author.updated" && event.data["name"] == "Soon Gone").await;
        assert!(!ben.get("authors").await.to_string().contains("Soon Gone"), "{change:?}");
        ann.ask(Method::DELETE, &path, None).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_position_of_an_answer_lies_before_what_was_read() {
    let shelf = Shelf::start().await;
    let ann = shelf.log_in("ann").await;
    let answer = ann.ask(Method::GET, "/api/v1/books", None).await;
    let cursor = answer.headers()["tidings-cursor"].to_str().unwrap().to_owned();
    let book = ann.want("After the answer", "Somebody", false).await;
    let mut stream = ann.listen(&format!("topics=book/*&cursor={cursor}")).await;
    stream.until(|event| event.name == "book.added" && event.data["id"] == book).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_ends_when_the_program_is_told_to() {
    let mut shelf = Shelf::start().await;
    let storm = json!({ "rate": 10, "seconds": 600 });
    assert_eq!(shelf.log_in("admin").await.post("demo/storm", storm).await.status(), StatusCode::ACCEPTED);
    let storms = shelf.app().storms.clone();
    assert!(storms.try_acquire().is_err());
    shelf.stop().await;
    assert!(storms.acquire().await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_refresh_counts_no_author_of_whom_only_some_know_and_looks_them_up_all_the_same() {
    let shelf = Shelf::start().await;
    let (ann, ben) = (shelf.log_in("ann").await, shelf.log_in("ben").await);
    let known = ben.get("authors").await["authors"].as_array().unwrap().len();
    let own = ann.get("authors").await["authors"].as_array().unwrap().len();
    ann.want("Ann's secret", "Nobody Else", true).await;
    let mut stream = ben.listen("topics=authors").await;
    ben.post("authors/refresh-all", json!({})).await;
    let heard = stream.until(|event| event.name == "author.refresh.finished").await;
    // Ben sees one author of his own, of whom the others know nothing.
    assert_eq!(heard.last().unwrap().data["total"], known - 1);
    let of_ann = ann.get("authors").await["authors"].as_array().unwrap().clone();
    assert_eq!(of_ann.len(), own + 1);
    assert!(of_ann.iter().all(|author| author["refreshedAt"].is_i64()), "{of_ann:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_admin_makes_a_storm_and_it_passes_those_by_who_did_not_ask() {
    let shelf = Shelf::start().await;
    let (ann, admin) = (shelf.log_in("ann").await, shelf.log_in("admin").await);
    let storm = json!({ "rate": 1000, "seconds": 1 });
    assert_eq!(ann.post("demo/storm", storm.clone()).await.status(), StatusCode::FORBIDDEN);
    let (mut books, mut noise) = (ann.listen("topics=book/*").await, ann.listen("topics=noise/*").await);
    assert_eq!(admin.post("demo/storm", storm).await.status(), StatusCode::ACCEPTED);
    let heard = noise.until(|event| event.data["number"] == 999).await;
    assert_eq!(heard.len(), 1000);
    let long = json!({ "rate": 100, "seconds": 600 });
    // The first one ends a moment after its last event.
    until("another one begins", async || admin.post("demo/storm", long.clone()).await.status() == StatusCode::ACCEPTED)
        .await;
    // One at a time, and none without end.
    let again = admin.post("demo/storm", json!({ "rate": 1, "seconds": 1 })).await;
    assert_eq!(again.status(), StatusCode::CONFLICT);
    let endless = admin.post("demo/storm", json!({ "rate": 20_000, "seconds": 600 })).await;
    assert_eq!(endless.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let book = ann.want("In the storm", "Somebody", false).await;
    let heard = books.until(|event| event.name == "book.added" && event.data["id"] == book).await;
    assert!(heard.iter().all(|event| event.name != "shelf.noise"));
}
