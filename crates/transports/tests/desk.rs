//! Where an app's own clients make jobs, ask about them and cancel them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tempfile::TempDir;
use tidings::job::{JobSettings, Jobs, MemoryJobs};
use tidings::{
    Form, FormNode, Grants, Hub, Implications, Limits, ManualClock, Principal, Profile, PublishRights, Timestamp,
};
use tidings_brokers::FileDirectory;
use tidings_brokers::memory::{MemoryBroker, MemorySettings};
use tidings_brokers::retention::Retention;
use tidings_transports::desk::{Check, ClientIds, CreateSettings, Desk, DeskSettings, Does, NAMES};
use tidings_transports::rate::RateLimit;
use tidings_transports::service::desks;
use tidings_transports::stream::OneJob;
use tidings_transports::upload::UploadSettings;
use tidings_transports::{Authenticate, Cors, Limiter, Peer, Problem, Request, Service};
use tower::ServiceExt;

/// The token is the principal: `id+grant`. `maker` may publish all; `nobody`, or no token, is anonymous; `tdj_…` is a job's.
struct Tokens(Arc<Jobs>);

#[async_trait]
impl Authenticate for Tokens {
    async fn authenticate(&self, request: Request<'_>) -> Result<Arc<Principal>, Problem> {
        let bearer =
            request.headers.get("authorization").and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let cookie = request.headers.get("cookie").and_then(|value| value.to_str().ok()?.strip_prefix("user="));
        let token = bearer.or(cookie).unwrap_or("nobody");
        if token.starts_with("tdj_") {
            let (job, _) = self.0.token(token).await?.expect("a token of a job");
            let grants = Grants::parse([job.grant().as_str()]).unwrap();
            return Ok(Arc::new(Principal::new(&format!("job/{}", job.id), grants, "job-token")));
        }
        let mut parts = token.split('+');
        let id = parts.next().unwrap_or_default();
        let publish = if id == "maker" { PublishRights::All } else { PublishRights::None };
        let source = if id == "nobody" { "anonymous" } else { "test" };
        let principal = Principal::new(id, Grants::parse(parts).unwrap(), source);
        Ok(Arc::new(Principal { namespace: Some("shelf".into()), publish, operator: id == "op", ..principal }))
    }
}

struct App {
    router: axum::Router,
    jobs: Arc<Jobs>,
    clock: Arc<ManualClock>,
    files: TempDir,
}

#[derive(Debug)]
struct Answered {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Answered {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

fn form(members: &[(&str, &str)]) -> Form {
    let members = members.iter().map(|(name, text)| ((*name).to_owned(), FormNode::Text((*text).to_owned())));
    Form::new(&FormNode::Object(members.collect()), &Default::default(), &NAMES).unwrap()
}

/// What a refusal looks like.
const REFUSAL: &str =
    r#"{"own":true,"code":"{code}","detail":"{detail}","path":"{path}","from":"{address}","{odd":{}}"#;
const LIMITED: &str = r#"{"after":{retry_after},"left":{remaining},"of":{limit},"by":"{address}","at":"{path}"}"#;

fn settings(does: Does, answer: Form) -> DeskSettings {
    let refusals = [(400, REFUSAL), (409, REFUSAL), (413, REFUSAL), (429, LIMITED), (500, REFUSAL)];
    DeskSettings {
        does,
        answer,
        status: StatusCode::OK,
        refusals: refusals.map(|(status, body)| (status, body.to_owned())).into(),
        headers: vec![("x-app".into(), "shelf".into())],
        cors: Cors::Origins(vec!["https://app.example".into()]),
        rate: None,
        base: None,
    }
}

fn create(open: bool, file: Option<UploadSettings>) -> CreateSettings {
    let check =
        |member: &str, needed, most_items, most_chars| Check { member: member.into(), needed, most_items, most_chars };
    let checks = match file {
        Some(_) => Vec::new(),
        None => vec![check("books", true, Some(3), None), check("books[].title", true, None, Some(5))],
    };
    CreateSettings {
        kind: "import".into(),
        file,
        id: Some("jobId".into()),
        client_ids: ClientIds::Any,
        most_input: None,
        checks,
        token_ttl: None,
        open,
    }
}

async fn start() -> App {
    let clock = Arc::new(ManualClock::at(Timestamp(1_000_000)));
    let memory = MemorySettings { retention: Retention::FOREVER };
    let broker = Arc::new(MemoryBroker::with_clock(memory, clock.clone()));
    let profile = Arc::new(Profile::new("shelf", Some("shelf"), Implications::default(), []));
    let hub = Hub::open(broker, [profile.clone()], clock.clone(), Limits::default()).await.unwrap();
    let jobs = Jobs::open(hub.clone(), Arc::new(MemoryJobs::default()), JobSettings::default()).await.unwrap();
    let service = Service::limited(hub.clone(), None, None, Limiter::new(hub.limits()), Some(jobs.clone()));
    let files = TempDir::new().unwrap();
    service.keep_files(Arc::new(FileDirectory::new(files.path())));
    let auth: Arc<dyn Authenticate> = Arc::new(Tokens(jobs.clone()));
    let made = form(&[
        ("id", "{data.id}"),
        ("token", "{token}"),
        ("base", "{base}"),
        ("ws", "{ws_base}/ws?job={data.id}"),
        ("query", "{query.q}"),
        ("state", "{data.state}"),
    ]);
    let shown = form(&[("id", "{data.id}"), ("state", "{data.state}"), ("done", "{data.progress.done}")]);
    let results = form(&[("items", "{data.items}"), ("next", "{data.next}"), ("count", "{data.count}")]);
    let file = UploadSettings { most_bytes: 1_000, ..UploadSettings::default() };
    let job = || OneJob::default();
    let limited = DeskSettings {
        rate: Some(RateLimit { requests: 2, per: Duration::from_secs(60) }),
        ..settings(Does::Show { job: job(), cancels: None }, shown.clone())
    };
    let show = |cancels| settings(Does::Show { job: job(), cancels }, shown.clone());
    let mut created = settings(Does::Create(create(true, None)), made.clone());
    created.status = StatusCode::ACCEPTED;
    let based = DeskSettings { base: Some("https://books.example/".into()), ..created.clone() };
    let careful = CreateSettings { client_ids: ClientIds::Uuid, most_input: Some(200), ..create(true, None) };
    let made_desks = [
        ("/careful", settings(Does::Create(careful), made.clone())),
        ("/make", created),
        ("/based", based),
        ("/closed", settings(Does::Create(create(false, None)), made.clone())),
        ("/upload", settings(Does::Create(create(true, Some(file))), made)),
        ("/jobs/{job}", show(Some(form(&[("gone", "{data.id}")])))),
        ("/open/{job}", settings(Does::Show { job: OneJob { open: true, ..job() }, cancels: None }, shown.clone())),
        ("/cancel/{job}", settings(Does::Cancel { job: job() }, shown.clone())),
        ("/results/{job}", settings(Does::Result { job: job(), page: 2 }, results)),
    ];
    let mut all = Desk::at(["/limited/{job}", "/alias/{job}"], &limited, &profile, &auth);
    all.extend(made_desks.iter().flat_map(|(path, settings)| Desk::at([*path], settings, &profile, &auth)));
    App { router: desks(&service, all), jobs, clock, files }
}

impl App {
    async fn send(&self, request: http::Request<Body>) -> Answered {
        let (parts, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        Answered { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    fn request(method: Method, path: &str, token: &str) -> http::request::Builder {
        let request = http::Request::builder().method(method).uri(path).header("host", "hub.example");
        if token.is_empty() { request } else { request.header("authorization", format!("Bearer {token}")) }
    }

    async fn get(&self, path: &str, token: &str) -> Answered {
        self.send(App::request(Method::GET, path, token).body(Body::empty()).unwrap()).await
    }

    async fn delete(&self, path: &str, token: &str) -> Answered {
        self.send(App::request(Method::DELETE, path, token).body(Body::empty()).unwrap()).await
    }

    async fn post(&self, path: &str, token: &str, body: &str) -> Answered {
        let request = App::request(Method::POST, path, token).header("content-type", "application/json");
        self.send(request.body(Body::from(body.to_owned())).unwrap()).await
    }

    async fn make(&self) -> (String, String) {
        let made = self.post("/make", "u1", &books().to_string()).await.json();
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        (text("id"), text("token"))
    }

    fn kept_files(&self) -> usize {
        std::fs::read_dir(self.files.path()).unwrap().count()
    }
}

fn books() -> Value {
    json!({"books": [{"title": "Emma"}], "unknown": [1, null]})
}

#[tokio::test]
async fn a_job_is_made_and_answered_in_the_apps_form() {
    let app = start().await;
    let made = app.post("/make?q=a%22b", "", &books().to_string()).await;
    assert_eq!((made.status, made.header("content-type")), (202, "application/json"));
    assert_eq!((made.header("x-app"), made.header("cache-control")), ("shelf", "no-store"));
    let made = made.json();
    let id = made["id"].as_str().unwrap();
    assert!(made["token"].as_str().unwrap().starts_with("tdj_"));
    assert_eq!((&made["base"], &made["query"]), (&"http://hub.example".into(), &"a\"b".into()));
    assert_eq!(made["ws"], format!("ws://hub.example/ws?job={id}"));
    let job = app.jobs.get(&id.parse().unwrap()).await.unwrap().unwrap();
    assert_eq!((job.owner, job.namespace.as_deref()), (None, Some("shelf")));
    assert_eq!(serde_json::from_str::<Value>(job.input.unwrap().get()).unwrap(), books(), "with what nobody knows");
    let based = app.post("/based", "", &books().to_string()).await.json();
    assert_eq!(based["base"], "https://books.example");
    assert!(based["ws"].as_str().unwrap().starts_with("wss://books.example/ws?job="));
}

#[tokio::test]
async fn a_name_of_this_host_that_is_none_breaks_nothing() {
    let app = start().await;
    for host in ["x\"},{\"y", "a\\b", "{base}", "", "h\u{e9}", "<script>"] {
        let request =
            http::Request::builder().method(Method::POST).uri("/make").header("content-type", "application/json");
        let value = http::HeaderValue::from_bytes(host.as_bytes()).unwrap();
        let made = app.send(request.header("host", value).body(Body::from(books().to_string())).unwrap()).await;
        assert_eq!(made.status, 202, "{host}");
        let base = made.json()["base"].as_str().unwrap().to_owned();
        let expected = if host.is_ascii() { host } else { "localhost" };
        assert_eq!(base, format!("http://{expected}"));
    }
}

#[tokio::test]
async fn what_is_wrong_with_the_input_is_said_in_the_apps_form() {
    let app = start().await;
    let long = "x".repeat(200);
    for (body, detail) in [
        ("{}".to_owned(), "books: it is missing"),
        (json!({"books": "x"}).to_string(), "books: it is a list"),
        (json!({"books": []}).to_string(), "books: it is empty"),
        (json!({"books": [1, 2, 3, 4]}).to_string(), "books: it has 4 elements, and 3 are the most"),
        (json!({"books": [{"title": "Emma"}, {}]}).to_string(), "books[1].title: it is missing"),
        (json!({"books": [7]}).to_string(), "books[0].title: it is missing"),
        (json!({"books": [{"title": 7}]}).to_string(), "books[0].title: it is a text"),
        (
            json!({"books": [{"title": "Persuasion"}]}).to_string(),
            "books[0].title: it has 10 characters, and 5 are the most",
        ),
        (json!({"books": [{"title": "E"}], "jobId": 7}).to_string(), "jobId: it is a text"),
        (json!({"books": [{"title": "E"}], "jobId": "a b"}).to_string(), "jobId: "),
        (json!({"books": [{"title": "E"}], "jobId": long}).to_string(), "jobId: "),
        ("[1]".to_owned(), "the body is no JSON object"),
        ("{\"a\":".to_owned(), "the body is no JSON object"),
        (String::new(), "the body is no JSON object"),
    ] {
        let refused = app.post("/make", "", &body).await;
        let said = refused.json();
        assert_eq!((refused.status, &said["own"]), (400, &true.into()), "{body}");
        assert!(said["detail"].as_str().unwrap().starts_with(detail), "{body}: {said}");
    }
    // In characters, not in bytes.
    assert_eq!(app.post("/make", "", &json!({"books": [{"title": "ÄÖÜßé"}]}).to_string()).await.status, 202);
    let request = App::request(Method::POST, "/make", "").header("content-type", "text/plain");
    assert_eq!(app.send(request.body(Body::from("{}")).unwrap()).await.status, 415);
    assert_eq!(app.jobs.count_open(), 1);
}

#[tokio::test]
async fn only_who_may_make_jobs_does_unless_anybody_may() {
    let app = start().await;
    let body = books().to_string();
    assert_eq!(app.post("/closed", "u1", &body).await.status, 403);
    assert_eq!(app.post("/closed", "", &body).await.status, 403);
    for who in ["maker", "op"] {
        assert_eq!(app.post("/closed", who, &body).await.status, 200, "{who}");
    }
}

#[tokio::test]
async fn the_same_request_again_finds_the_same_job_and_makes_another_token() {
    let app = start().await;
    let body = json!({"jobId": "mine", "books": [{"title": "Emma"}]}).to_string();
    let (first, again) = (app.post("/make", "u1", &body).await.json(), app.post("/make", "u1", &body).await.json());
    assert_eq!((&first["id"], &again["id"]), (&"mine".into(), &"mine".into()));
    assert_ne!(first["token"], again["token"]);
    for made in [&first, &again] {
        assert_eq!(app.get("/jobs/mine", made["token"].as_str().unwrap()).await.status, 200);
    }
    for (who, body) in [("u2", body.clone()), ("u1", body.replace("Emma", "Elma"))] {
        let taken = app.post("/make", who, &body).await;
        assert_eq!((taken.status, &taken.json()["code"]), (409, &"id-taken".into()), "{who}");
    }
    assert_eq!(app.jobs.count_open(), 1);
}

/// A stranger could take the name that another app was about to give its job, and hear of each name whether it is taken.
#[tokio::test]
async fn strangers_choose_only_names_that_nobody_guesses_where_the_profile_says_so() {
    let app = start().await;
    let make = async |id: &str| {
        let body = json!({"jobId": id, "books": [{"title": "Emma"}]}).to_string();
        let made = app.post("/careful", "", &body).await;
        (made.status, made.json())
    };
    assert_eq!(
        app.post("/make", "u1", &json!({"jobId": "list-7", "books": [{"title": "E"}]}).to_string()).await.status,
        202
    );
    for id in [
        "list-7",
        "list-8",
        "0b2d9a4e-6c1f-4f0e-9d53-7f8a1c2e3b4",
        "0b2d9a4e-6c1f-4f0e-9d53-7f8a1c2e3b4g",
        "0b2d9a4e06c1f04f0e09d5307f8a1c2e3b4d",
    ] {
        let (status, said) = make(id).await;
        assert_eq!((status, &said["code"]), (400, &"invalid-input".into()), "{id}");
        assert!(said["detail"].as_str().unwrap().starts_with("jobId: it is a UUID"), "{id}: {said}");
    }
    for id in ["0b2d9a4e-6c1f-4f0e-9d53-7f8a1c2e3b4d", "0B2D9A4E-6C1F-4F0E-9D53-7F8A1C2E3B4D"] {
        assert_eq!(make(id).await.1["id"], id);
    }
    assert_eq!(app.post("/careful", "", &books().to_string()).await.status, 200, "who chooses none is given one");
}

/// Only what the checks name was looked at: what stood beside it could fill the room for inputs.
#[tokio::test]
async fn an_input_is_as_large_as_the_profile_lets_it_be_with_what_nobody_asked_for() {
    let app = start().await;
    let padded = |bytes: usize| {
        let padded = json!({"books": [{"title": "Emma"}], "pad": ""});
        let pad = "x".repeat(bytes - padded.to_string().len());
        json!({"books": [{"title": "Emma"}], "pad": pad}).to_string()
    };
    let refused = app.post("/careful", "", &padded(201)).await;
    let said = refused.json();
    assert_eq!((refused.status, &said["code"]), (413, &"too-large".into()));
    assert_eq!(said["detail"], "input has 201 bytes, and 200 are the most");
    assert_eq!(app.post("/careful", "", &padded(200)).await.status, 200);
    assert_eq!(app.jobs.count_open(), 1);
}

async fn upload(app: &App, parts: &[(&str, Option<&str>, &str)]) -> Answered {
    let mut body = String::new();
    for (name, file, content) in parts {
        let file = file.map(|name| format!("; filename=\"{name}\"")).unwrap_or_default();
        body += &format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n{content}\r\n");
    }
    body += "--B--\r\n";
    let request = App::request(Method::POST, "/upload", "").header("content-type", "multipart/form-data; boundary=B");
    app.send(request.body(Body::from(body)).unwrap()).await
}

#[tokio::test]
async fn a_file_is_kept_with_its_job_and_not_without_one() {
    let app = start().await;
    let parts = [("jobId", None, "up-1"), ("file", Some("a\"b.csv"), "title\nEmma\n"), ("note", None, "later")];
    let made = upload(&app, &parts).await;
    assert_eq!((made.status, &made.json()["id"]), (200, &"up-1".into()), "{made:?}");
    let job = app.jobs.get(&"up-1".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(serde_json::from_str::<Value>(job.input.unwrap().get()).unwrap()["note"], "later");
    assert_eq!(job.file.unwrap().bytes, 11);
    assert_eq!(app.kept_files(), 1);
    assert_eq!(upload(&app, &parts).await.status, 200);
    assert_eq!(app.kept_files(), 1, "the same again needs no other file");
    let other = [("jobId", None, "up-1"), ("file", Some("a.csv"), "title\nElma\n")];
    assert_eq!(upload(&app, &other).await.status, 409);
    assert_eq!(upload(&app, &[("file", Some("a.csv"), &"x".repeat(1_001))]).await.status, 413);
    assert_eq!(upload(&app, &[("jobId", None, "a b"), ("file", Some("a.csv"), "x")]).await.status, 400);
    assert_eq!(upload(&app, &[("jobId", None, "up-2")]).await.status, 400);
    assert_eq!(app.kept_files(), 1);
}

/// It stayed for an hour, and took from the room for files what nobody counted.
#[tokio::test]
async fn a_file_goes_with_its_job_when_that_is_canceled() {
    let app = start().await;
    for path in ["/cancel", "/jobs"] {
        let made = upload(&app, &[("file", Some("a.csv"), "title\nEmma\n")]).await.json();
        assert_eq!(app.kept_files(), 1);
        let its = format!("{path}/{}", made["id"].as_str().unwrap());
        let canceled = app.delete(&its, made["token"].as_str().unwrap()).await;
        assert_eq!((canceled.status, app.kept_files()), (200, 0), "{path}");
    }
}

#[tokio::test]
async fn a_job_is_shown_and_canceled_in_the_apps_form() {
    let app = start().await;
    let (id, token) = app.make().await;
    let (_, other) = app.make().await;
    let path = format!("/jobs/{id}");
    for who in ["u1", "op", &token] {
        assert_eq!(app.get(&path, who).await.json(), json!({"id": id, "state": "queued", "done": 0}), "{who}");
    }
    for (who, status) in [("u2", 404), ("", 401), (&*other, 401)] {
        for refused in [app.get(&path, who).await, app.delete(&path, who).await] {
            assert_eq!((refused.status, &refused.json()["own"]), (status, &true.into()), "{who} {refused:?}");
        }
    }
    assert_eq!(app.get(&format!("/open/{id}"), "").await.status, 200, "whoever knows its name");
    assert_eq!(app.get("/jobs/nope", "op").await.status, 404);
    let canceled = app.delete(&path, &token).await;
    assert_eq!((canceled.status, canceled.json()), (200, json!({"gone": id})));
    assert_eq!(app.delete(&path, &token).await.status, 200, "again is the same");
    assert_eq!(app.get(&path, "u1").await.json()["state"], "canceled");
    assert_eq!(app.delete(&format!("/open/{id}"), &token).await.status, 405);
}

#[tokio::test]
async fn what_ended_otherwise_is_not_canceled() {
    let app = start().await;
    let (id, token) = app.make().await;
    let claimed = app.jobs.claim(Some("shelf"), &["import".into()], "w", None, Duration::ZERO).await.unwrap().unwrap();
    let seen = app.get(&format!("/jobs/{id}"), "x+shelf/job/*").await;
    assert_eq!(seen.json()["state"], "running");
    app.jobs.finish(&claimed.job.id, &claimed.lease, tidings::job::Outcome::Completed(None)).await.unwrap();
    for method in [Method::DELETE, Method::POST] {
        let request = App::request(method, &format!("/cancel/{id}"), &token);
        let refused = app.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!((refused.status, &refused.json()["code"]), (409, &"already-ended".into()));
    }
}

#[tokio::test]
async fn a_refusal_stays_json_whatever_stands_in_the_request() {
    let app = start().await;
    for path in ["/jobs/%22%7D", "/jobs/a%5Cb", "/jobs/%7Bdetail%7D", "/jobs/x\"y", "/jobs/%00"] {
        let Ok(uri) = path.parse::<http::Uri>() else { continue };
        let request = http::Request::builder().uri(uri.clone()).header("authorization", "Bearer op");
        let refused = app.send(request.body(Body::empty()).unwrap()).await;
        let said = refused.json();
        assert_eq!((refused.status, &said["path"]), (404, &uri.path().into()));
        assert_eq!(said["{odd"], json!({}), "braces that are no places stay");
    }
    let body = json!({"books": [{"title": "E"}], "jobId": "\"}{code}\\"}).to_string();
    let refused = app.post("/make", "", &body).await;
    assert_eq!((refused.status, &refused.json()["code"]), (400, &"invalid-input".into()));
}

#[tokio::test]
async fn an_address_asks_so_often_and_then_is_told_when_to_come_back() {
    let app = start().await;
    let (id, _) = app.make().await;
    let ask = async |address: &str| {
        let peer = Peer(address.parse::<IpAddr>().unwrap());
        let request = App::request(Method::GET, &format!("/limited/{id}"), "u1").extension(peer);
        app.send(request.body(Body::empty()).unwrap()).await
    };
    for left in ["1", "0"] {
        let answer = ask("10.0.0.1").await;
        assert_eq!((answer.status, answer.header("x-ratelimit-remaining")), (200, left));
        assert_eq!((answer.header("x-ratelimit-limit"), answer.header("x-ratelimit-reset")), ("2", "1060"));
    }
    app.clock.advance(Duration::from_millis(500));
    let refused = ask("::ffff:10.0.0.1").await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, "60"));
    let said = json!({"after": 60, "left": 0, "of": 2, "by": "10.0.0.1", "at": format!("/limited/{id}")});
    assert_eq!(refused.json(), said);
    assert_eq!(refused.header("x-ratelimit-remaining"), "0");
    assert_eq!(ask("10.0.0.2").await.status, 200, "another address");
    app.clock.advance(Duration::from_secs(60));
    assert_eq!(ask("10.0.0.1").await.status, 200);
}

#[tokio::test]
async fn the_paths_of_one_mount_share_its_rate() {
    let app = start().await;
    let (id, token) = app.make().await;
    let ask = async |path: &str| app.get(&format!("/{path}/{id}"), &token).await.status;
    assert_eq!(
        [ask("limited").await, ask("alias").await, ask("limited").await, ask("alias").await],
        [200, 200, 429, 429]
    );
}

#[tokio::test]
async fn the_token_of_one_job_owns_no_other() {
    let app = start().await;
    let (_, token) = app.make().await;
    let made = app.post("/make", &token, &books().to_string()).await.json();
    let job = app.jobs.get(&made["id"].as_str().unwrap().parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(job.owner, None);
    assert_eq!(app.get(&format!("/jobs/{}", job.id), &token).await.status, 401);
}

#[tokio::test]
async fn a_page_of_another_origin_makes_and_cancels_nothing_as_whoever_looks_at_it() {
    let app = start().await;
    let (id, _) = app.make().await;
    let ask = async |method: Method, path: &str, origin: &str| {
        let request = App::request(method, path, "").header("cookie", "user=u1").header("origin", origin);
        let request = request.header("content-type", "application/json").body(Body::from(books().to_string()));
        app.send(request.unwrap()).await.status
    };
    let own = format!("/jobs/{id}");
    let cancel = format!("/cancel/{id}");
    for (method, path) in [(Method::POST, "/make"), (Method::POST, cancel.as_str()), (Method::DELETE, own.as_str())] {
        assert_eq!(ask(method, path, "https://evil.example").await, 403, "{path}");
    }
    assert_eq!(ask(Method::POST, "/make", "https://app.example").await, 202, "this one is listed");
    assert_eq!(ask(Method::POST, "/make", "http://hub.example").await, 202, "and this is its own");
}

#[tokio::test]
async fn a_result_is_read_in_pages() {
    let app = start().await;
    let (id, _) = app.make().await;
    let claimed = app.jobs.claim(Some("shelf"), &["import".into()], "w", None, Duration::ZERO).await.unwrap().unwrap();
    let items = (0..5).map(|n| bytes::Bytes::from(n.to_string())).collect();
    app.jobs.append_items(&claimed.job.id, &claimed.lease, 0, items, false).await.unwrap();
    let page = async |query: &str| app.get(&format!("/results/{id}{query}"), "u1").await;
    for (query, expected) in [
        ("", json!({"items": [0, 1], "next": 2, "count": 5})),
        ("?from=2", json!({"items": [2, 3], "next": 4, "count": 5})),
        ("?from=4&limit=0", json!({"items": [4], "count": 5})),
        ("?from=3&limit=18446744073709551615", json!({"items": [3, 4], "count": 5})),
        ("?from=18446744073709551615", json!({"items": [], "count": 5})),
        ("?from=9223372036854775807", json!({"items": [], "count": 5})),
    ] {
        assert_eq!(page(query).await.json(), expected, "{query}");
    }
    for query in ["?from=-1", "?from=18446744073709551616", "?limit=many", "?limit=1.5", "?from="] {
        let refused = page(query).await;
        assert_eq!((refused.status, &refused.json()["code"]), (400, &"invalid-page".into()), "{query}");
    }
    assert_eq!(app.get(&format!("/results/{id}"), "u2").await.status, 404);
}

#[tokio::test]
async fn methods_are_named_and_pages_of_other_origins_asked_for_theirs() {
    let app = start().await;
    let (id, _) = app.make().await;
    for (path, allow) in [
        ("/make".to_owned(), "POST, OPTIONS"),
        (format!("/jobs/{id}"), "GET, HEAD, DELETE, OPTIONS"),
        (format!("/open/{id}"), "GET, HEAD, OPTIONS"),
        (format!("/cancel/{id}"), "DELETE, POST, OPTIONS"),
        (format!("/results/{id}"), "GET, HEAD, OPTIONS"),
    ] {
        let wrong = app.send(App::request(Method::PUT, &path, "").body(Body::empty()).unwrap()).await;
        assert_eq!((wrong.status, wrong.header("allow")), (405, allow), "{path}");
        let asked = App::request(Method::OPTIONS, &path, "").header("access-control-request-headers", "authorization");
        let theirs = asked.header("origin", "https://app.example").body(Body::empty()).unwrap();
        let answer = app.send(theirs).await;
        assert_eq!((answer.status, answer.header("access-control-allow-methods")), (204, allow), "{path}");
        assert_eq!(answer.header("access-control-allow-headers"), "authorization");
        let foreign = App::request(Method::OPTIONS, &path, "").header("origin", "https://evil.example");
        let answer = app.send(foreign.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.header("access-control-allow-origin"), "", "{path}");
    }
    let refused = App::request(Method::GET, &format!("/jobs/{id}"), "u2").header("origin", "https://app.example");
    let refused = app.send(refused.body(Body::empty()).unwrap()).await;
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (404, "https://app.example"));
    let head = app.send(App::request(Method::HEAD, &format!("/jobs/{id}"), "u1").body(Body::empty()).unwrap()).await;
    assert_eq!(head.status, 200);
}
