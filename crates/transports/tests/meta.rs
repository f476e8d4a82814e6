//! `meta=true`: the topic and the time of each event, for who asks, and not a byte more for who does not.

mod common;

use std::sync::Arc;

use common::{Client, Driver, Options, Server};
use serde_json::json;
use tidings::{EventRule, Implications, Profile, Template};
use tidings_transports::{Filtering, StreamSettings};

const BOTH: [Driver; 2] = [Driver::Lanes, Driver::Bodies];

/// Of a profile `app`: `step`, and `state`, of which the newest is retained.
fn profile() -> Arc<Profile> {
    let template = |text: &str| text.parse::<Template>().unwrap();
    let rule = |name: &str| EventRule {
        retain: name == "state",
        ..EventRule::new(name, template("job/{data.id}"), vec![vec![template("all")]])
    };
    Arc::new(Profile::new("app", Some("app"), Implications::default(), ["step", "state"].map(rule)))
}

async fn start(driver: Driver, settings: StreamSettings) -> Server {
    Server::start(driver, Options { profile: profile(), settings, ..Options::default() }).await
}

/// The next block of an event of the app's.
async fn told(client: &mut Client) -> String {
    loop {
        let block = client.block().await.expect("the stream goes on");
        if block.starts_with("event: s") {
            return block;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_is_told_the_topic_in_the_profiles_words_and_the_time() {
    for driver in BOTH {
        let server = start(driver, StreamSettings::default()).await;
        let first = server.tell(json!({ "name": "step", "data": { "id": "j" } })).await;
        server.tell(json!({ "name": "state", "data": { "id": "j" } })).await;
        let mut late = server.listen("meta=true", "u+app/all", None).await;
        assert_eq!(told(&mut late).await, "event: state\ntopic: job/j\ntime: 1\ndata: {\"id\":\"j\"}", "{driver:?}");
        let mut live = server.listen("topic=job/*&meta=true", "u+app/all", None).await;
        told(&mut live).await;
        let at = server.tell(json!({ "name": "step", "data": { "id": "j" } })).await;
        let mut resumed = server.listen("meta=true", "u+app/all", Some(&first)).await;
        told(&mut resumed).await;
        for mut client in [live, late, resumed] {
            let expected = format!("event: step\ntopic: job/j\ntime: 1\ndata: {{\"id\":\"j\"}}\nid: {at}");
            assert_eq!(told(&mut client).await, expected, "{driver:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_ask_is_told_the_same_bytes_as_before() {
    for driver in BOTH {
        let server = start(driver, StreamSettings::default()).await;
        let mut clients = Vec::new();
        for query in ["", "meta=false", "meta=", "metadata=true"] {
            clients.push(server.listen(query, "u+app/all", None).await);
        }
        let _other = server.listen("meta=true", "u+app/all", None).await;
        let at = server.tell(json!({ "name": "step", "data": { "id": "j" } })).await;
        for client in &mut clients {
            assert_eq!(told(client).await, format!("event: step\ndata: {{\"id\":\"j\"}}\nid: {at}"), "{driver:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mount_that_has_a_parameter_of_that_name_keeps_it() {
    let always = Vec::new();
    let own = Filtering { query: "meta".into(), split: None, topic: "job/{value}".into(), always };
    for driver in BOTH {
        let settings = StreamSettings { filters: vec![own.clone()], ..StreamSettings::default() };
        let server = start(driver, settings).await;
        let mut client = server.listen("meta=true", "u+app/all", None).await;
        server.tell(json!({ "name": "step", "data": { "id": "j" } })).await;
        let at = server.tell(json!({ "name": "step", "data": { "id": "true" } })).await;
        assert_eq!(told(&mut client).await, format!("event: step\ndata: {{\"id\":\"true\"}}\nid: {at}"), "{driver:?}");
    }
}
