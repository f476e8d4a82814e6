//! `POST /v1/jobs` (§10.3).

use http::{Method, header};
use serde_json::{Value, json};
use tidings::Limits;
use tidings::job::JobSettings;

use super::app::{App, no};

#[tokio::test]
async fn a_job_is_answered_with_its_document_its_place_and_a_token() {
    let app = App::start().await;
    let made = app.post("/v1/jobs", "maker", json!({"kind": "import", "id": "j1", "input": {"a": 1}})).await;
    assert_eq!((made.status.as_u16(), made.header("location")), (201, "/v1/jobs/j1"));
    assert_eq!(made.headers[header::CACHE_CONTROL], "no-store");
    let made = made.json();
    assert_eq!((&made["state"], &made["owner"], &made["input"]), (&"queued".into(), &"maker".into(), &Value::Null));
    assert!(made["token"].as_str().unwrap().starts_with("tdj_"));
    assert_eq!(made["token_expires"], 1_000_000 + 2 * 3600 * 1000);
    assert_eq!(app.get("/v1/jobs/j1", made["token"].as_str().unwrap()).await.json()["id"], "j1");
}

#[tokio::test]
async fn the_same_request_again_is_the_same_job_with_a_new_token_and_another_is_refused() {
    let app = App::start().await;
    let job = json!({"kind": "import", "id": "j1", "input": [1]});
    let first = app.post("/v1/jobs", "maker", job.clone()).await.json();
    let again = app.post("/v1/jobs", "maker", job).await;
    assert_eq!(again.status, 200);
    let again = again.json();
    assert_eq!((&again["id"], &again["created"]), (&first["id"], &first["created"]));
    assert_ne!(again["token"], first["token"]);
    for other in [json!({"kind": "scan", "id": "j1", "input": [1]}), json!({"kind": "import", "id": "j1"})] {
        assert_eq!(app.post("/v1/jobs", "maker", other).await.refusal(), no(409, "id-taken"));
    }
}

#[tokio::test]
async fn an_idempotency_key_names_the_job_of_a_request_that_names_none() {
    let app = App::start().await;
    let send = async |token: &str, key: &str, body: Value| {
        let request = http::Request::builder().method(Method::POST).uri("/v1/jobs").header("idempotency-key", key);
        let request = request.header("authorization", format!("Bearer {token}"));
        app.send(request.header("content-type", "application/json").body(body.to_string().into()).unwrap()).await
    };
    let job = json!({"kind": "import"});
    let first = send("maker", "k1", job.clone()).await;
    let again = send("maker", "k1", job.clone()).await;
    assert_eq!((first.status.as_u16(), again.status.as_u16()), (201, 200));
    assert_eq!(first.json()["id"], again.json()["id"]);
    let other_key = send("maker", "k2", job.clone()).await;
    let other_maker = send("maker@shelf", "k1", job.clone()).await;
    for other in [other_key, other_maker] {
        assert_eq!(other.status, 201);
        assert_ne!(other.json()["id"], first.json()["id"]);
    }
    assert_eq!(send("maker", "k1", json!({"kind": "scan"})).await.refusal(), no(409, "id-taken"));
    assert_eq!(send("maker", "a b", job).await.refusal(), no(400, "invalid-idempotency-key"));
}

#[tokio::test]
async fn who_may_not_publish_it_makes_no_job() {
    let app = App::start().await;
    let job = |id: &str| json!({"kind": "import", "id": id});
    assert_eq!(app.post("/v1/jobs", "", job("x")).await.refusal(), no(401, "no-credential"));
    assert_eq!(app.post("/v1/jobs", "reader", job("x")).await.refusal(), no(403, "may-not-publish"));
    assert_eq!(app.post("/v1/jobs", "limited", job("x")).await.refusal(), no(403, "may-not-publish"));
    assert_eq!(app.post("/v1/jobs", "limited", job("my-1")).await.status, 201);
    assert_eq!(app.post("/v1/jobs", "limited", json!({"kind": "a"})).await.refusal(), no(403, "may-not-publish"));
    assert_eq!(app.jobs.count_open(), 1);
}

#[tokio::test]
async fn a_job_belongs_to_who_made_it_within_the_same_app_or_to_whom_they_say() {
    let app = App::start().await;
    let owner = async |path: &str, token: &str, job: Value| app.post(path, token, job).await.json()["owner"].clone();
    let job = json!({"kind": "import"});
    assert_eq!(owner("/v1/jobs", "maker", job.clone()).await, "maker");
    assert_eq!(owner("/v1/jobs?profile=shelf", "maker@shelf", job.clone()).await, "maker");
    assert_eq!(owner("/v1/jobs?profile=shelf", "maker", job.clone()).await, Value::Null, "an id of another house");
    assert_eq!(owner("/v1/jobs", "anybody", job).await, Value::Null, "nobody in particular");
    assert_eq!(owner("/v1/jobs", "maker", json!({"kind": "import", "owner": "u7"})).await, "u7");
}

#[tokio::test]
async fn an_audience_stands_below_the_namespace_of_the_profile() {
    let app = App::start().await;
    let job = json!({"kind": "import", "id": "j1", "audience": ["library/l1"]});
    assert_eq!(app.post("/v1/jobs?profile=shelf", "maker", job).await.status, 201);
    assert_eq!(app.get("/v1/jobs/j1", "x+shelf/library/l1").await.status, 200);
    assert_eq!(app.get("/v1/jobs/j1", "x+library/l1").await.refusal(), no(404, "no-such-job"));
}

#[tokio::test]
async fn each_mistake_in_a_job_is_named() {
    let app = App::start().await;
    let long = "x".repeat(1 << 20);
    for (body, expected) in [
        (json!({}), no(422, "invalid-job")),
        (json!({"kind": ""}), no(422, "invalid-job")),
        (json!({"kind": "a/b"}), no(422, "invalid-job")),
        (json!({"kind": "x".repeat(65)}), no(422, "invalid-job")),
        (json!({"kind": "a", "id": "a/b"}), no(422, "invalid-request")),
        (json!({"kind": "a", "id": ".."}), no(422, "invalid-request")),
        (json!({"kind": "a", "lease": "soon"}), no(422, "invalid-request")),
        (json!({"kind": "a", "lease": "500ms"}), no(422, "invalid-job")),
        (json!({"kind": "a", "attempts": 0}), no(422, "invalid-job")),
        (json!({"kind": "a", "attempts": -1}), no(422, "invalid-request")),
        (json!({"kind": "a", "owner": ""}), no(422, "invalid-job")),
        (json!({"kind": "a", "audience": ["a//b"]}), no(422, "invalid-job")),
        (json!({"kind": "a", "audience": ["*"]}), no(422, "invalid-job")),
        (json!({"kind": "a", "knid": 1}), no(422, "invalid-request")),
        (json!({"kind": "a", "input": long}), no(413, "too-large")),
        (json!([]), no(422, "invalid-request")),
    ] {
        let answered = app.post("/v1/jobs", "maker", body.clone()).await;
        assert_eq!(answered.refusal(), expected, "{:.200}", body.to_string());
    }
    let send = async |media: &str, body: &'static str| {
        app.request(Method::POST, "/v1/jobs", "maker", media, body).await.refusal()
    };
    assert_eq!(send("application/json", "{\"kind\":").await, no(400, "invalid-json"));
    assert_eq!(send("text/plain", "{\"kind\":\"a\"}").await, no(415, "unsupported-media-type"));
    assert_eq!(send("", "").await, no(415, "unsupported-media-type"));
    let unknown = app.post("/v1/jobs?profile=nope", "maker", json!({"kind": "a"})).await;
    assert_eq!(unknown.refusal(), no(404, "unknown-profile"));
    assert_eq!(app.jobs.count_open(), 0);
}

#[tokio::test]
async fn there_is_a_bound_on_open_jobs_and_on_a_request() {
    let limits = Limits { request_bytes: 100, ..Limits::default() };
    let app = App::with_limits(JobSettings { open_jobs: 1, ..JobSettings::default() }, limits).await;
    app.make(json!({"kind": "a"})).await;
    let full = app.post("/v1/jobs", "maker", json!({"kind": "a"})).await;
    assert_eq!((full.refusal(), &full.headers[header::RETRY_AFTER]), (no(503, "too-many-jobs"), &"2".parse().unwrap()));
    let large = app.post("/v1/jobs", "maker", json!({"kind": "a", "input": "x".repeat(100)})).await;
    assert_eq!(large.refusal(), no(413, "body-too-large"));
}

#[tokio::test]
async fn nobody_publishes_what_the_hub_tells_of_a_job() {
    let app = App::start().await;
    for (path, topic) in [("/v1/publish", "job/j1"), ("/v1/publish", "shelf/job/j1")] {
        for name in ["job.completed", "job.progress", "job.item"] {
            let answered = app.post(path, "maker", json!({"name": name, "topic": topic})).await;
            assert_eq!(answered.refusal(), no(422, "reserved-event"), "{name} on {topic}");
        }
    }
    for (name, topic) in [("job.completed", "jobs/j1"), ("job.completed", "job/j1/x"), ("note", "job/j1")] {
        let answered = app.post("/v1/publish", "maker", json!({"name": name, "topic": topic})).await;
        assert_eq!(answered.status, 200, "{name} on {topic}");
    }
}

#[tokio::test]
async fn a_path_says_what_it_takes() {
    let app = App::start().await;
    for (method, path, allow) in [
        (Method::PUT, "/v1/jobs", "GET, POST"),
        (Method::POST, "/v1/jobs/j1", "GET, DELETE"),
        (Method::PUT, "/v1/jobs/claim", "GET, DELETE, POST"),
        (Method::GET, "/v1/jobs/j1/complete", "POST"),
        (Method::POST, "/v1/jobs/j1/result", "GET"),
        (Method::GET, "/v1/jobs/j1/tokens", "POST"),
    ] {
        let answered = app.request(method, path, "op", "", "").await;
        assert_eq!((answered.status.as_u16(), answered.header("allow")), (405, allow), "{path}");
    }
    assert_eq!(app.get("/v1/jobs/j1/nothing", "op").await.refusal(), no(404, "not-found"));
    let (id, _) = app.make(json!({"kind": "a", "id": "claim"})).await;
    assert_eq!(app.get(&format!("/v1/jobs/{id}"), "op").await.status, 200, "a job may have the name of a request");
}

#[tokio::test]
async fn pages_of_other_origins_ask_if_they_are_listed() {
    let app = App::start().await;
    let ask = async |origin: &str| {
        let request = http::Request::builder().method(Method::OPTIONS).uri("/v1/jobs/j1").header("origin", origin);
        let answered = app.send(request.body(Default::default()).unwrap()).await;
        assert_eq!(answered.status, 204);
        let header = |name| answered.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        (header(header::ACCESS_CONTROL_ALLOW_ORIGIN), header(header::ACCESS_CONTROL_ALLOW_METHODS))
    };
    assert_eq!(ask("https://app.example").await, (Some("https://app.example".into()), Some("GET, DELETE".into())));
    assert_eq!(ask("https://evil.example").await, (None, None));
}
