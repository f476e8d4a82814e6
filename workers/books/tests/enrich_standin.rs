//! The stand-in as a developer and the tests of the whole program use it: over HTTP.

mod standin;

use serde_json::{Value, json};

async fn get(url: String) -> Value {
    reqwest_client().get(url).send().await.unwrap().json().await.unwrap()
}

fn reqwest_client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

#[tokio::test]
async fn it_fails_as_it_is_told_until_it_is_told_to_stop() {
    let running = standin::start().await;
    let post = |mode: &str| reqwest_client().post(format!("{}/stand-in/mode?is={mode}", running.url())).send();
    let search = || reqwest_client().get(format!("{}/search.json?q=dune", running.url())).send();
    assert_eq!(post("down").await.unwrap().status(), 204);
    assert_eq!(search().await.unwrap().status(), 503);
    assert_eq!(post("no-such-mode").await.unwrap().status(), 422);
    assert_eq!(post("ok").await.unwrap().status(), 204);
    assert_eq!(search().await.unwrap().status(), 200);
}

#[tokio::test]
async fn it_tells_what_it_was_asked() {
    let running = standin::start().await;
    get(format!("{}/search.json?q=dune", running.url())).await;
    let asked = get(format!("{}/stand-in/requests", running.url())).await;
    assert_eq!(asked, json!({"requests": [{"path": "/search.json", "query": "q=dune", "agent": ""}]}));
}

#[tokio::test]
async fn it_answers_a_search_with_the_fields_that_were_asked_for() {
    let running = standin::start().await;
    let answer = get(format!("{}/search.json?q=dune&fields=key,title,editions,editions.isbn", running.url())).await;
    let editions = json!({"numFound": 102, "start": 0, "numFoundExact": true, "docs": [{"isbn": ["9780441172719"]}]});
    assert_eq!(answer["docs"], json!([{"key": "/works/OL2W", "title": "Dune", "editions": editions}]));
    assert_eq!(answer["numFound"], 1);
    let none = get(format!("{}/search.json?title=dune&author=austen", running.url())).await;
    assert_eq!((&none["numFound"], &none["docs"]), (&json!(0), &json!([])));
}

#[tokio::test]
async fn a_model_is_not_asked_without_an_image() {
    let running = standin::start().await;
    let question = json!({"model": "plain", "messages": [{"role": "user", "content": "What is on this shelf?"}]});
    let url = format!("{}/v1/chat/completions", running.url());
    let response = reqwest_client().post(url).json(&question).send().await.unwrap();
    assert_eq!(response.status(), 400);
}
