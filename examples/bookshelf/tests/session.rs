//! Logins, and how they end.

mod shelf;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use shelf::{Shelf, cookie};

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_lets_nobody_in_and_does_not_say_what_is_wrong() {
    let shelf = Shelf::start().await;
    let mut answers = Vec::new();
    for (name, password) in [("ann", "wrong"), ("nobody", "nobody"), ("ann", ""), ("Ann", "ann"), ("' OR 1=1 --", "x")]
    {
        let answer = shelf.try_log_in(name, password).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        assert!(answer.headers().get("set-cookie").is_none());
        answers.push(answer.text().await.unwrap());
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_behind_the_wall_with_a_problem_for_who_is_not_logged_in() {
    let shelf = Shelf::start().await;
    let strangers =
        [shelf.nobody(), shelf.with_cookie("bookshelf_session=made-up"), shelf.with_cookie("bookshelf_session=")];
    for stranger in strangers {
        for path in [
            "/api/v1/auth/me",
            "/api/v1/books",
            "/api/v1/books/1",
            "/api/v1/queue",
            "/api/v1/authors",
            "/api/v1/series",
            "/api/v1/events",
            "/api/v1/poll",
            "/v1/jobs",
            "/v1/jobs/x/events",
        ] {
            let answer = stranger.ask(Method::GET, path, None).await;
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{path}");
            assert_eq!(answer.headers()["content-type"], "application/problem+json", "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn logging_out_ends_the_streams_of_this_session_alone() {
    let shelf = Shelf::start().await;
    let (here, there) = (shelf.log_in("ann").await, shelf.log_in("ann").await);
    let (mut of_here, mut of_there) = (here.listen("").await, there.listen("").await);
    let answer = here.ask(Method::POST, "/api/v1/auth/logout", None).await;
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    let heard = of_here.until(|event| event.name == "tidings.close").await;
    assert_eq!(heard.last().unwrap().data["code"], 4002);
    assert!(of_here.next().await.is_none());
    assert_eq!(here.ask(Method::GET, "/api/v1/events", None).await.status(), StatusCode::UNAUTHORIZED);
    let book = there.want("Still here", "Somebody", false).await;
    of_there.until(|event| event.name == "book.added" && event.data["id"] == book).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_logs_out_and_goes_away_at_once_is_logged_out_all_the_same() {
    let shelf = Shelf::start().await;
    let ann = shelf.log_in("ann").await;
    let mut stream = ann.listen("").await;
    shelf.ask_and_leave("/api/v1/auth/logout", &ann.cookie);
    stream.until(|event| event.name == "tidings.close").await;
    assert_eq!(ann.ask(Method::GET, "/api/v1/auth/me", None).await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_origin_changes_nothing_with_this_users_cookie() {
    let shelf = Shelf::start_with(|settings| settings.origins = vec!["https://books.example.org".into()]).await;
    let ann = shelf.log_in("ann").await;
    let own = format!("http://{}", shelf.host());
    for (origin, status) in [
        (own.as_str(), StatusCode::CREATED),
        ("https://books.example.org", StatusCode::CREATED),
        ("https://evil.example", StatusCode::FORBIDDEN),
        ("null", StatusCode::FORBIDDEN),
        ("ftp://books.example.org", StatusCode::FORBIDDEN),
    ] {
        let answer = ann.want_from(origin, &format!("From {origin}")).await;
        assert_eq!(answer.status(), status, "{origin}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_let_in_learns_no_position() {
    let shelf = Shelf::start().await;
    let answer = shelf.nobody().ask(Method::GET, "/api/v1/books", None).await;
    assert_eq!((answer.status(), answer.headers().get("tidings-cursor")), (StatusCode::UNAUTHORIZED, None));
    assert_eq!(answer.headers()["cache-control"], "no-store");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_guesses_passwords_is_told_to_wait_and_nobody_else_is() {
    let shelf = Shelf::start().await;
    for _ in 0..10 {
        assert_eq!(shelf.try_log_in("ann", "a guess").await.status(), StatusCode::UNAUTHORIZED);
    }
    let refused = shelf.try_log_in("ann", "ann").await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    let seconds: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    // Neither somebody else, nor who logs in often.
    for _ in 0..12 {
        shelf.log_in("ben").await;
    }
    let ben = shelf.log_in("ben").await;
    for _ in 0..10 {
        let guess = json!({ "current": "a guess", "new": "long enough" });
        assert_eq!(ben.post("auth/password", guess).await.status(), StatusCode::FORBIDDEN);
    }
    let asked = json!({ "current": "ben", "new": "long enough" });
    assert_eq!(ben.post("auth/password", asked).await.status(), StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_added_from_outside_with_a_password_that_is_given_or_made_up() {
    let shelf = Shelf::start_with(|settings| settings.demo = false).await;
    assert_eq!(shelf.try_log_in("admin", "admin").await.status(), StatusCode::UNAUTHORIZED);
    assert!(shelf.add_user(&["--name", "eve", "--admin"], "a good password\n").is_ok());
    let answer = shelf.try_log_in("eve", "a good password").await;
    assert_eq!(answer.json::<Value>().await.unwrap()["user"]["role"], "admin");
    let told = shelf.add_user(&["--name", "carl"], "").unwrap();
    let password = told.trim().rsplit(' ').next().unwrap();
    let answer = shelf.try_log_in("carl", password).await;
    assert_eq!(answer.json::<Value>().await.unwrap()["user"]["role"], "member");
    for (name, password, why) in
        [("eve", "another one", "already"), ("", "a good one", "no name"), ("x", "short", "8 to")]
    {
        let error = shelf.add_user(&["--name", name], password).unwrap_err();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn the_demo_listens_to_no_other_machine() {
    use clap::Parser;
    use tidings_example_bookshelf::args::Args;
    let settings = |args: &[&str]| Args::parse_from([&["bookshelf"], args].concat()).settings();
    assert!(settings(&["--demo"]).is_ok() && settings(&["--listen", "0.0.0.0:3000"]).is_ok());
    assert!(settings(&["--demo", "--listen", "0.0.0.0:3000"]).unwrap_err().contains("add-user"));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_password_ends_every_session_but_the_new_one() {
    let shelf = Shelf::start().await;
    let (here, there) = (shelf.log_in("ann").await, shelf.log_in("ann").await);
    let mut of_there = there.listen("").await;
    for (asked, status) in [
        (json!({ "current": "wrong", "new": "long enough" }), StatusCode::FORBIDDEN),
        (json!({ "current": "ann", "new": "short" }), StatusCode::UNPROCESSABLE_ENTITY),
    ] {
        assert_eq!(here.post("auth/password", asked).await.status(), status);
    }
    let answer = here.post("auth/password", json!({ "current": "ann", "new": "long enough" })).await;
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    let anew = shelf.with_cookie(&cookie(&answer));
    assert_eq!(anew.get("auth/me").await, json!({ "id": "2", "name": "ann", "role": "member" }));
    of_there.until(|event| event.name == "tidings.close").await;
    for ended in [&here, &there] {
        assert_eq!(ended.ask(Method::GET, "/api/v1/auth/me", None).await.status(), StatusCode::UNAUTHORIZED);
    }
    assert_eq!(shelf.try_log_in("ann", "ann").await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(shelf.try_log_in("ann", "long enough").await.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused_with_a_problem() {
    let shelf = Shelf::start().await;
    let ann = shelf.log_in("ann").await;
    for (path, body) in [
        ("books", json!({ "title": "", "author": "A" })),
        ("books", json!({ "title": "T" })),
        ("books", json!({ "title": "x".repeat(501), "author": "A" })),
        ("books", json!({ "title": "T", "author": "A", "unknown": 1 })),
        ("auth/login", json!({ "name": "ann" })),
    ] {
        let answer = ann.post(path, body).await;
        assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY, "{path}");
        let problem: Value = answer.json().await.unwrap();
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{problem}");
    }
    for path in ["/api/v1/books/999999", "/api/v1/books/x", "/api/v1/nothing", "/v1/nothing"] {
        let answer = ann.ask(Method::GET, path, None).await;
        assert_eq!(
            (answer.status(), &answer.headers()["content-type"]),
            (StatusCode::NOT_FOUND, &"application/problem+json".parse().unwrap())
        );
    }
}
