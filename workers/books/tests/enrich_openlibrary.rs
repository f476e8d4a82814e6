//! The client of Open Library against the stand-in.

mod standin;

use std::time::Duration;

use tidings_books::isbn::Isbn;
use tidings_books::openlibrary::{Client, Error, Settings};
use tidings_books::standin::Trick;
use tidings_books::standin::catalog::{BOOKS, NOT_INDEXED};

fn isbn(text: &str) -> Isbn {
    Isbn::parse(text).unwrap().unwrap()
}

fn trick(trick: Trick) -> Isbn {
    isbn(trick.isbn())
}

#[tokio::test]
async fn each_number_of_the_catalogue_is_valid_and_found_and_twenty_of_them_take_one_request() {
    let running = standin::start().await;
    let indexed: Vec<Isbn> = BOOKS.iter().filter(|book| book.indexed).map(|book| isbn(book.isbn)).collect();
    let found = running.client().by_isbns(&indexed[..20]).await.unwrap();
    for (record, book) in found.iter().zip(BOOKS) {
        let record = record.as_ref().unwrap();
        assert_eq!(record.book.isbn.as_deref(), Some(book.isbn));
        assert_eq!(record.book.title.as_deref(), Some(book.title));
        assert_eq!(record.book.authors, [book.author]);
        assert_eq!(record.book.pages, Some(book.pages));
        assert!(record.cover_url.as_deref().unwrap().starts_with("https://covers.openlibrary.org/b/id/"));
    }
    assert_eq!(running.paths(), ["/search.json"]);
}

#[tokio::test]
async fn an_edition_that_the_search_does_not_know_yet_is_found_by_its_number_all_the_same() {
    let running = standin::start().await;
    let found = running.client().by_isbns(&[isbn(NOT_INDEXED), isbn("9780441172719")]).await.unwrap();
    let titles: Vec<_> = found.iter().map(|record| record.as_ref().unwrap().book.title.clone().unwrap()).collect();
    assert_eq!(titles, ["The Stranger", "Dune"]);
    assert_eq!(running.paths(), ["/search.json", "/api/books"]);
    assert!(running.standin.requests()[1].query.contains(NOT_INDEXED));
    assert!(!running.standin.requests()[1].query.contains("9780441172719"));
}

#[tokio::test]
async fn what_was_answered_once_is_not_asked_again_not_even_that_a_book_is_unknown() {
    let running = standin::start().await;
    let client = running.client();
    let (dune, nothing) = (isbn("9780441172719"), isbn("9789999999991"));
    for _ in 0..2 {
        let found = client.by_isbns(&[dune, nothing, dune]).await.unwrap();
        assert_eq!(found.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, true]);
        assert!(client.by_title("Neuromancer", None).await.unwrap().is_some());
        assert!(client.by_title("No Such Title", Some("Nobody")).await.unwrap().is_none());
    }
    assert_eq!(running.paths(), ["/search.json", "/api/books", "/search.json", "/search.json"]);
}

#[tokio::test]
async fn a_title_finds_its_book_in_another_spelling_and_by_its_author_only() {
    let running = standin::start().await;
    let client = running.client();
    for (title, author, number) in [
        ("the hobbit", Some("Tolkien, J.R.R."), Some("9780547928227")),
        ("The Hobbit", Some("Frank Herbert"), None),
        ("Le petit prince", None, Some("9782070612758")),
        ("Jane Eyre", Some("Charlotte Bronte"), Some("9780141441146")),
        ("Dune: The First Book of the Series", Some("Frank Herbert"), Some("9780441172719")),
        ("The Hitchhikers Guide to the Galaxy", Some(""), Some("9780345391803")),
        ("Hobbit Dune", None, None),
    ] {
        let found = client.by_title(title, author).await.unwrap();
        assert_eq!(found.and_then(|record| record.book.isbn).as_deref(), number, "{title} by {author:?}");
    }
}

#[tokio::test]
async fn a_spine_finds_the_book_that_explains_it() {
    let running = standin::start().await;
    let client = running.client();
    let words = |text: &str| text.split(' ').map(str::to_lowercase).collect::<Vec<_>>();
    let found = client.by_spine(&words("DUNE FRANK HERBERT")).await.unwrap().unwrap();
    assert_eq!(found.book.title.as_deref(), Some("Dune"));
    // Not "War and Peace", though its author wrote it and the search finds it.
    assert_eq!(client.by_spine(&words("LEO TOLSTOY")).await.unwrap(), None);
    assert_eq!(client.by_spine(&[]).await.unwrap(), None);
}

#[tokio::test]
async fn each_request_says_who_asks_and_how_to_reach_them() {
    let running = standin::start().await;
    running.client().by_title("Dune", None).await.unwrap();
    let agent = running.standin.requests().remove(0).agent;
    assert!(agent.starts_with("tidings-books/") && agent.ends_with(" (tests@example.org)"), "{agent}");
}

#[tokio::test]
async fn a_host_that_is_busy_is_asked_again_when_it_says() {
    let running = standin::start().await;
    let found = running.client().by_isbns(&[trick(Trick::Busy)]).await.unwrap();
    assert_eq!(found, [None]);
    assert_eq!(running.paths(), ["/search.json", "/search.json", "/api/books"]);
}

#[tokio::test]
async fn a_pause_longer_than_a_lease_is_an_error_at_once() {
    let settings = tidings_books::standin::Settings { retry_after: 3600, ..Default::default() };
    let running = standin::start_with(settings).await;
    let error = running.client().by_isbns(&[trick(Trick::Busy)]).await.unwrap_err();
    assert_eq!(error, Error::Busy("it asks for a pause of 3600 s".into()));
    assert_eq!(running.paths().len(), 1);
}

#[tokio::test]
async fn a_broken_host_is_asked_as_often_as_is_set_and_then_told_of() {
    let running = standin::start().await;
    let error = running.client().by_isbns(&[trick(Trick::Down)]).await.unwrap_err();
    assert_eq!(error, Error::Busy("status 503".into()));
    assert_eq!(running.paths().len(), 4, "once, and three retries");
}

#[tokio::test]
async fn an_answer_that_makes_no_sense_is_an_error_and_not_asked_for_again() {
    let running = standin::start().await;
    let client = running.client();
    for (played, word) in [(Trick::Broken, "no JSON"), (Trick::Html, "no JSON")] {
        let before = running.paths().len();
        let error = client.by_isbns(&[trick(played)]).await.unwrap_err();
        assert!(matches!(&error, Error::Unexpected(why) if why.contains(word)), "{error}");
        assert_eq!(running.paths().len(), before + 1);
    }
}

#[tokio::test]
async fn an_answer_without_an_end_is_cut_off() {
    let running = standin::start().await;
    let settings = Settings { answer_bytes: 100_000, ..running.settings() };
    let error = Client::new(settings).unwrap().by_isbns(&[trick(Trick::Endless)]).await.unwrap_err();
    assert_eq!(error, Error::Unexpected("more than 100000 bytes".into()));
}

#[tokio::test]
async fn a_host_that_wants_no_requests_is_told_with_what_to_do() {
    let running = standin::start().await;
    let error = running.client().by_isbns(&[trick(Trick::Refusing)]).await.unwrap_err();
    assert_eq!(error, Error::Refused(403));
    assert!(error.to_string().contains("--contact"), "{error}");
}

#[tokio::test]
async fn no_answer_within_the_time_is_an_error() {
    let running = standin::start().await;
    let settings = Settings { timeout: Duration::from_millis(50), retries: 1, ..running.settings() };
    let error = Client::new(settings).unwrap().by_isbns(&[trick(Trick::Silent)]).await.unwrap_err();
    assert_eq!(error, Error::Unreachable("it took too long".into()));
}

#[tokio::test]
async fn a_host_that_is_not_there_is_an_error_that_says_so() {
    let settings = Settings {
        base_url: "http://127.0.0.1:9".into(),
        retries: 0,
        requests_per_second: Some(1000.0),
        ..Settings::default()
    };
    let error = Client::new(settings).unwrap().by_title("Dune", None).await.unwrap_err();
    assert!(matches!(&error, Error::Unreachable(why) if why.contains("refused")), "{error}");
}

#[test]
fn settings_that_can_not_work_are_refused_with_the_value_in_the_sentence() {
    for base_url in ["openlibrary.org", "ftp://openlibrary.org", "", "http://"] {
        let error = Client::new(Settings { base_url: base_url.into(), ..Settings::default() }).unwrap_err();
        assert!(matches!(&error, Error::Settings(why) if why.contains(&format!("{base_url:?}"))), "{error}");
    }
}

#[tokio::test]
async fn what_one_program_has_asked_the_next_finds_in_the_directory() {
    let running = standin::start().await;
    let dir = tempfile::tempdir().unwrap();
    let mut settings = running.settings();
    settings.cache.dir = Some(dir.path().join("cache"));
    for _ in 0..2 {
        let client = Client::new(settings.clone()).unwrap();
        assert!(client.by_title("Dune", None).await.unwrap().is_some());
    }
    assert_eq!(running.paths().len(), 1);
}
