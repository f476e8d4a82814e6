//! A list of books, looked up at the stand-in.

mod standin;

use std::time::Duration;

use serde_json::{Value, json};
use tidings_books::enrich::{self, Input, Settings, Summary};
use tidings_books::openlibrary::{self, Client};
use tidings_books::report::{Collected, Failure, Report, Stopped, Unfinished};
use tidings_books::standin::Trick;
use tidings_books::standin::catalog::BOOKS;

async fn enrich(client: &Client, books: Value, report: &dyn Report) -> Result<Summary, Unfinished> {
    let input = Input::read(&json!({ "books": books })).unwrap();
    enrich::run(input, &Settings::default(), client, report).await
}

fn statuses(report: &Collected) -> Vec<String> {
    report.items().iter().map(|item| item["status"].as_str().unwrap().to_owned()).collect()
}

fn failure(ended: Result<Summary, Unfinished>) -> Failure {
    match ended {
        Err(Unfinished::Failed(failure)) => failure,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn each_book_is_told_of_before_it_is_looked_up_and_handed_over_after() {
    let running = standin::start().await;
    let report = Collected::default();
    let books = json!([
        {"isbn": "978-0-441-17271-9"},
        {"title": "Neuromancer", "author": "William Gibson"},
        {"title": "A Book That Nobody Wrote"},
        {},
    ]);
    let summary = enrich(&running.client(), books, &report).await.unwrap();
    assert_eq!(serde_json::to_value(summary).unwrap(), json!({"total": 4, "found": 2, "notFound": 1, "errors": 1}));

    let progress: Vec<_> = report.progress().into_iter().map(|said| (said.done, said.total, said.item)).collect();
    let expected = [
        (0, Some(json!({"isbn": "978-0-441-17271-9"}))),
        (1, Some(json!({"title": "Neuromancer"}))),
        (2, Some(json!({"title": "A Book That Nobody Wrote"}))),
        (3, Some(json!({}))),
        (4, None),
    ];
    assert_eq!(progress, expected.map(|(done, item)| (done, Some(4), item)));

    let items = report.items();
    assert_eq!(items[0]["status"], "found");
    assert_eq!(items[0]["book"]["title"], "Dune");
    assert_eq!(items[0]["book"]["language"], "en");
    assert_eq!(items[1]["book"]["isbn"], "9780441569595");
    assert_eq!(items[2], json!({"index": 2, "status": "not-found", "query": {"title": "A Book That Nobody Wrote"}}));
    assert_eq!(
        items[3],
        json!({"index": 3, "status": "error", "query": {}, "reason": "it has neither a title nor an isbn"})
    );
}

#[tokio::test]
async fn a_list_of_numbers_takes_one_request_for_each_twenty() {
    let running = standin::start().await;
    let report = Collected::default();
    let books: Vec<Value> =
        BOOKS.iter().filter(|book| book.indexed).map(|book| json!({"isbn": book.isbn, "title": book.title})).collect();
    let summary = enrich(&running.client(), json!(books), &report).await.unwrap();
    assert_eq!(summary.found, 32);
    assert_eq!(running.paths(), ["/search.json", "/search.json"]);
    let indexes: Vec<u64> = report.items().iter().map(|item| item["index"].as_u64().unwrap()).collect();
    assert!(indexes.into_iter().eq(0..32));
}

#[tokio::test]
async fn a_number_that_is_wrong_or_unknown_does_not_hide_a_known_title() {
    let running = standin::start().await;
    let report = Collected::default();
    let books = json!([{"title": "Dune", "isbn": "9789999999991"}, {"title": "Dune", "isbn": "garbage"}]);
    assert_eq!(enrich(&running.client(), books, &report).await.unwrap().found, 2);
    assert_eq!(report.items()[0]["book"]["isbn"], "9789999999991", "the number that somebody holds stands");
}

#[tokio::test]
async fn a_number_that_breaks_the_answer_costs_only_itself() {
    let running = standin::start().await;
    let report = Collected::default();
    let books = json!([
        {"isbn": "9780441172719"}, {"isbn": Trick::Broken.isbn()}, {"isbn": "9780141439518"},
        {"isbn": Trick::Down.isbn()}, {"isbn": "9780451524935"},
    ]);
    let summary = enrich(&running.client(), books, &report).await.unwrap();
    assert_eq!(statuses(&report), ["found", "error", "found", "error", "found"]);
    assert_eq!(summary, Summary { total: 5, found: 3, not_found: 0, errors: 2 });
    assert!(report.items()[1]["reason"].as_str().unwrap().contains("not understood"));
}

#[tokio::test]
async fn a_host_that_dies_on_the_way_ends_the_work_for_now_and_keeps_what_was_found() {
    let running = standin::start().await;
    let books: Vec<Value> = BOOKS.iter().map(|book| json!({"title": book.title, "author": book.author})).collect();
    let report = DiesAfter { standin: running.standin.clone(), items: 3, collected: Collected::default() };
    let failure = failure(enrich(&running.client(), json!(books), &report).await);
    assert_eq!((failure.code.as_str(), failure.retryable), ("open-library-unavailable", true));
    assert!(failure.message.contains("5 books in a row"), "{}", failure.message);
    assert_eq!(statuses(&report.collected), ["found", "found", "found"], "those without an answer may be found later");

    // The next try gets further.
    running.standin.play(None);
    let report = Collected::default();
    let client = running.client();
    assert_eq!(enrich(&client, json!(books), &report).await.unwrap().found, BOOKS.len() - 1);
}

#[tokio::test]
async fn a_short_list_that_got_no_answer_at_all_is_tried_again_too() {
    let running = standin::start().await;
    running.standin.play(Some(Trick::Down));
    let report = Collected::default();
    let failure = failure(enrich(&running.client(), json!([{"title": "Dune"}, {}]), &report).await);
    assert!(failure.retryable && failure.code == "open-library-unavailable", "{failure:?}");
    assert!(report.items().is_empty());
}

#[tokio::test]
async fn a_book_without_an_answer_is_told_of_as_soon_as_another_has_one() {
    let running = standin::start().await;
    let report = Collected::default();
    let books = json!([{"title": "stand-in down"}, {}, {"title": "Dune"}]);
    enrich(&running.client(), books, &report).await.unwrap();
    assert_eq!(statuses(&report), ["error", "error", "found"], "in their order");
}

#[tokio::test]
async fn a_host_that_refuses_this_program_ends_the_work_for_good() {
    let running = standin::start().await;
    running.standin.play(Some(Trick::Refusing));
    let books = json!([{"isbn": "9780441172719"}, {"isbn": "9780141439518"}]);
    let failure = failure(enrich(&running.client(), books, &Collected::default()).await);
    assert_eq!((failure.code.as_str(), failure.retryable), ("open-library-refused", false));
    assert_eq!(running.paths().len(), 1);
}

#[tokio::test]
async fn a_cancel_ends_the_work_also_while_an_answer_is_awaited() {
    let running = standin::start().await;
    let report = CancelsWhenAsked { standin: running.standin.clone(), collected: Collected::default() };
    let client = running.client();
    let work = enrich(&client, json!([{"title": "stand-in silent"}, {"title": "Dune"}]), &report);
    // Far below the time that a request may take; that it is a tenth of a second is tested beside the code.
    let ended = tokio::time::timeout(Duration::from_secs(60), work).await.unwrap();
    assert_eq!(ended, Err(Unfinished::Canceled));
    assert_eq!(running.paths().len(), 1);
}

#[tokio::test]
async fn a_cancel_between_two_books_ends_the_work_before_the_next() {
    let running = standin::start().await;
    let report = Collected::canceled_at(1);
    let books = json!([{"title": "Dune"}, {"title": "Neuromancer"}]);
    assert_eq!(enrich(&running.client(), books, &report).await, Err(Unfinished::Canceled));
    assert_eq!(report.items().len(), 1);
    assert_eq!(running.paths().len(), 1);
}

#[tokio::test]
async fn work_that_nobody_takes_stops() {
    let running = standin::start().await;
    let report = Collected::stopped_at(1);
    let books = json!([{"title": "Dune"}, {"title": "Neuromancer"}, {"title": "Emma"}]);
    assert_eq!(enrich(&running.client(), books, &report).await, Err(Unfinished::Stopped(Stopped)));
}

#[tokio::test]
async fn a_list_that_is_none_empty_or_too_long_is_refused() {
    let running = standin::start().await;
    let client = running.client();
    for input in [json!({}), json!({"books": "Dune"}), json!([]), json!(null)] {
        assert_eq!(Input::read(&input).unwrap_err().code, "wrong-input");
    }
    assert_eq!(failure(enrich(&client, json!([]), &Collected::default()).await).code, "no-books");
    let many = vec![json!({"title": "Dune"}); 101];
    let failure = failure(enrich(&client, json!(many), &Collected::default()).await);
    assert_eq!(failure.code, "too-many-books");
    assert_eq!(failure.message, "the list has 101 books; at most 100 are looked up at once");
    assert!(running.paths().is_empty());
}

#[tokio::test]
async fn an_item_fits_into_16_kib_whatever_the_host_says() {
    let app = axum::Router::new().route("/search.json", axum::routing::get(largest));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = openlibrary::Settings {
        base_url: format!("http://{}", listener.local_addr().unwrap()),
        requests_per_second: Some(1000.0),
        ..openlibrary::Settings::default()
    };
    tokio::spawn(async { axum::serve(listener, app).await });
    let report = Collected::default();
    enrich(&Client::new(settings).unwrap(), json!([{"title": "𝕏".repeat(500)}]), &report).await.unwrap();
    let item = report.items().remove(0);
    assert_eq!(item["status"], "found");
    assert!(item.to_string().len() < 16 << 10, "{}", item.to_string().len());
}

async fn largest() -> axum::Json<Value> {
    let long = "𝕏".repeat(5000);
    let title = "𝕏".repeat(500);
    axum::Json(json!({"docs": [{
        "key": format!("/works/OL{long}W"), "title": title, "author_name": vec![&long; 30],
        "subject": vec![&long; 30], "editions": {"docs": [{"title": title, "publisher": [long]}]},
    }]}))
}

/// Lets the stand-in die when it holds so many items.
struct DiesAfter {
    standin: tidings_books::standin::Standin,
    items: usize,
    collected: Collected,
}

impl Report for DiesAfter {
    fn progress(&self, done: u64, total: Option<u64>, message: Option<&str>, item: Option<Value>) {
        Report::progress(&self.collected, done, total, message, item);
    }

    fn items(&self, items: Vec<Value>) -> Result<(), Stopped> {
        Report::items(&self.collected, items)?;
        if self.collected.items().len() >= self.items {
            self.standin.play(Some(Trick::Down));
        }
        Ok(())
    }

    fn is_canceled(&self) -> bool {
        self.collected.is_canceled()
    }
}

/// Cancels as soon as a question has reached the stand-in.
struct CancelsWhenAsked {
    standin: tidings_books::standin::Standin,
    collected: Collected,
}

impl Report for CancelsWhenAsked {
    fn progress(&self, done: u64, total: Option<u64>, message: Option<&str>, item: Option<Value>) {
        Report::progress(&self.collected, done, total, message, item);
    }

    fn items(&self, items: Vec<Value>) -> Result<(), Stopped> {
        Report::items(&self.collected, items)
    }

    fn is_canceled(&self) -> bool {
        !self.standin.requests().is_empty()
    }
}
