//! The commands against small servers.

use std::sync::{Arc, Mutex};

use ::http::{HeaderMap, StatusCode, Uri};
use axum::Router;
use axum::body::Bytes;
use axum::routing::{get, post};
use clap::Parser;

use super::*;

#[derive(Debug, Parser)]
enum Cli {
    Publish(publish::PublishArgs),
    Health(health::HealthArgs),
    Explain(explain::ExplainArgs),
}

/// Runs a command against a server with these routes.
async fn run(router: Router, words: &[&str]) -> ExitCode {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let code = match Cli::parse_from(["tidings"].iter().chain(words).copied().chain(["--url", &url])) {
        Cli::Publish(args) => publish::run(args).await,
        Cli::Health(args) => health::run(args).await,
        Cli::Explain(args) => explain::run(args).await,
    };
    server.abort();
    code
}

#[tokio::test]
async fn health_succeeds_only_if_the_hub_is_well() {
    let well = Router::new().route("/health", get(|| async { "{\"status\":\"ok\"}" }));
    assert_eq!(run(well, &["health"]).await, ExitCode::SUCCESS);
    let ill = Router::new().route("/health", get(|| async { StatusCode::SERVICE_UNAVAILABLE }));
    assert_eq!(run(ill, &["health"]).await, ExitCode::FAILURE);
    assert_eq!(run(Router::new(), &["health"]).await, ExitCode::FAILURE);
    let stuck = Router::new().route("/health", get(std::future::pending::<()>));
    assert_eq!(run(stuck, &["health", "--timeout", "0"]).await, ExitCode::FAILURE);
}

#[tokio::test]
async fn publish_sends_the_event_with_its_key_and_its_token() {
    type Seen = (Uri, HeaderMap, Bytes);
    let seen: Arc<Mutex<Option<Seen>>> = Arc::default();
    let told = seen.clone();
    let take = post(move |uri: Uri, headers: HeaderMap, body: Bytes| async move {
        *told.lock().unwrap() = Some((uri, headers, body));
        "{\"results\":[{\"cursor\":\"9f3c2a1b-42\"}]}"
    });
    let words = ["publish", "a", "--data", "1", "--profile", "x", "--idempotency-key", "k", "--token", "tdg_a_b"];
    assert_eq!(run(Router::new().route("/v1/publish", take), &words).await, ExitCode::SUCCESS);
    let (uri, headers, body) = seen.lock().unwrap().take().unwrap();
    assert_eq!(uri, "/v1/publish?profile=x");
    assert_eq!(
        (&headers["idempotency-key"], &headers["authorization"]),
        (&"k".parse().unwrap(), &"Bearer tdg_a_b".parse().unwrap())
    );
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(body, "{\"name\":\"a\",\"data\":1}");
}

#[tokio::test]
async fn a_refusal_fails_the_command() {
    let refuse = Router::new()
        .route("/v1/publish", post(|| async { (StatusCode::FORBIDDEN, "{\"detail\":\"x may not publish\"}") }))
        .route("/v1/explain", get(|| async { (StatusCode::NOT_FOUND, "{\"detail\":\"there is no event\"}") }));
    assert_eq!(run(refuse.clone(), &["publish", "a"]).await, ExitCode::FAILURE);
    assert_eq!(run(refuse, &["explain", "--cursor", "9f3c2a1b-42"]).await, ExitCode::FAILURE);
}
