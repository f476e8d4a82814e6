//! Who hears and sees what.

mod shelf;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use shelf::Shelf;

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
async fn only_an_admin_makes_a_storm_and_it_passes_those_by_who_did_not_ask() {
    let shelf = Shelf::start().await;
    let (ann, admin) = (shelf.log_in("ann").await, shelf.log_in("admin").await);
    let storm = json!({ "rate": 1000, "seconds": 1 });
    assert_eq!(ann.post("demo/storm", storm.clone()).await.status(), StatusCode::FORBIDDEN);
    let (mut books, mut noise) = (ann.listen("topics=book/*").await, ann.listen("topics=noise/*").await);
    assert_eq!(admin.post("demo/storm", storm).await.status(), StatusCode::ACCEPTED);
    let heard = noise.until(|event| event.data["number"] == 999).await;
    assert_eq!(heard.len(), 1000);
    let book = ann.want("In the storm", "Somebody", false).await;
    let heard = books.until(|event| event.name == "book.added" && event.data["id"] == book).await;
    assert!(heard.iter().all(|event| event.name != "shelf.noise"));
}
