//! Files that come with jobs.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use http::{Method, StatusCode, header};
use serde_json::json;
use tidings::Limits;
use tidings::job::{JobFileError, JobFileReader, JobFiles, JobSettings, NewJobFile};
use tidings_brokers::FileDirectory;

use super::app::{Answered, App, Work, no};

const FORM: &str = "multipart/form-data; boundary=XyZ";

fn form(job: &str, content: &str) -> String {
    let job = if job.is_empty() {
        String::new()
    } else {
        format!("--XyZ\r\nContent-Disposition: form-data; name=\"job\"\r\n\r\n{job}\r\n")
    };
    let head = "Content-Disposition: form-data; name=\"file\"; filename=\"b\u{fc}cher.csv\"\r\nContent-Type: text/csv";
    format!("{job}--XyZ\r\n{head}\r\n\r\n{content}\r\n--XyZ--\r\n")
}

async fn upload(app: &App, path: &str, token: &str, job: &str, content: &str) -> Answered {
    app.request(Method::POST, path, token, FORM, form(job, content)).await
}

async fn claimed_with_file(app: &App) -> Work {
    let job = r#"{"kind":"import","owner":"u1"}"#;
    assert_eq!(upload(app, "/v1/jobs", "maker", job, "0123456789").await.status, 201);
    app.claim().await
}

async fn ranged(app: &App, work: &Work, token: &str, range: &str) -> Answered {
    let request = http::Request::builder().uri(format!("/v1/jobs/{}/file", work.id));
    let request = request.header("authorization", format!("Bearer {token}")).header("range", range);
    app.send(request.body(Default::default()).unwrap()).await
}

#[tokio::test]
async fn a_worker_is_given_the_file_and_any_part_of_it() {
    let app = App::start().await;
    let work = claimed_with_file(&app).await;
    let path = format!("/v1/jobs/{}/file", work.id);
    let whole = app.get(&path, &work.lease).await;
    assert_eq!((whole.status.as_u16(), &whole.body[..]), (200, &b"0123456789"[..]));
    let header = |name: &str| whole.headers[name].to_str().unwrap().to_owned();
    assert_eq!((header("content-type"), header("content-length")), ("text/csv".into(), "10".into()));
    assert_eq!(header("content-disposition"), "attachment; filename=\"b_cher.csv\"; filename*=UTF-8''b%C3%BCcher.csv");
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert!(header("content-security-policy").contains("sandbox"));
    let part = ranged(&app, &work, &work.lease, "bytes=3-5").await;
    assert_eq!((part.status.as_u16(), &part.body[..]), (206, &b"345"[..]));
    assert_eq!(part.headers[header::CONTENT_RANGE], "bytes 3-5/10");
    assert_eq!(ranged(&app, &work, &work.lease, "bytes=8-").await.body, "89");
    let beyond = ranged(&app, &work, &work.lease, "bytes=10-").await;
    assert_eq!(beyond.refusal(), no(416, "invalid-range"));
    assert_eq!(beyond.headers[header::CONTENT_RANGE], "bytes */10");
    let head = app.request(Method::HEAD, &path, &work.lease, "", "").await;
    assert_eq!((head.status, head.body.len(), head.header("content-length")), (StatusCode::OK, 0, "10"));
}

#[tokio::test]
async fn a_large_file_arrives_whole() {
    let app = App::start().await;
    let content: String = (0..60_000).map(|n| format!("{n},row\n")).collect();
    assert_eq!(upload(&app, "/v1/jobs", "maker", r#"{"kind":"import"}"#, &content).await.status, 201);
    let work = app.claim().await;
    assert_eq!(app.get(&format!("/v1/jobs/{}/file", work.id), &work.lease).await.body, content);
}

#[tokio::test]
async fn the_file_is_for_the_owner_and_the_worker_alone_and_gone_with_the_end() {
    let app = App::start().await;
    let work = claimed_with_file(&app).await;
    let path = format!("/v1/jobs/{}/file", work.id);
    assert_eq!(app.get(&path, "u1").await.body, "0123456789");
    assert_eq!(app.get(&path, "op").await.body, "0123456789");
    assert_eq!(app.get(&path, &format!("x+job/{}", work.id)).await.refusal(), no(403, "may-not-read-file"));
    assert_eq!(app.get(&path, "stranger").await.refusal(), no(404, "no-such-job"));
    assert_eq!(app.get(&path, "tdl_wrong").await.refusal(), no(409, "lease-lost"));
    assert_eq!(app.kept_files(), 1);
    assert_eq!(app.say(&work, "complete", json!({})).await.status, 200);
    assert_eq!(app.kept_files(), 0);
    assert_eq!(app.get(&path, "u1").await.refusal(), no(404, "no-such-file"));
    let without = app.work().await;
    let path = format!("/v1/jobs/{}/file", without.id);
    assert_eq!(app.get(&path, &without.lease).await.refusal(), no(404, "no-such-file"));
}

#[tokio::test]
async fn a_file_stays_while_its_job_is_tried_again_and_goes_when_it_is_canceled() {
    let app = App::start().await;
    let work = claimed_with_file(&app).await;
    app.say(&work, "fail", json!({"error": {"code": "x", "message": "y", "retryable": true}})).await;
    assert_eq!(app.kept_files(), 1);
    assert_eq!(app.delete(&format!("/v1/jobs/{}", work.id), "u1").await.status, 200);
    assert_eq!(app.kept_files(), 0);
}

/// Only what was ended at these paths took its file with it; a lost job, and one whose worker did not answer a cancel, left it behind.
#[tokio::test]
async fn a_file_goes_with_its_job_also_if_nobody_says_that_it_ends() {
    let app = App::with(JobSettings { attempts: 1, ..JobSettings::default() }).await;
    claimed_with_file(&app).await;
    app.pass(Duration::from_secs(31)).await;
    assert_eq!((app.jobs.count_open(), app.kept_files()), (0, 0), "it is lost");
    let work = claimed_with_file(&app).await;
    assert_eq!(app.delete(&format!("/v1/jobs/{}", work.id), "u1").await.status, 202);
    assert_eq!(app.kept_files(), 1, "its worker may still need it");
    app.pass(Duration::from_secs(31)).await;
    assert_eq!((app.jobs.count_open(), app.kept_files()), (0, 0), "its worker has had its time");
}

#[tokio::test]
async fn the_same_upload_again_keeps_one_file_and_another_is_another_request() {
    let app = App::start().await;
    let job = r#"{"kind":"import","id":"j1"}"#;
    assert_eq!(upload(&app, "/v1/jobs", "maker", job, "a,b").await.status, 201);
    assert_eq!(upload(&app, "/v1/jobs", "maker", job, "a,b").await.status, 200);
    assert_eq!(upload(&app, "/v1/jobs", "maker", job, "a,c").await.refusal(), no(409, "id-taken"));
    assert_eq!(app.kept_files(), 1);
    let claimed = app.post("/v1/jobs/claim", "w+work/import", json!({"kinds": ["import"]})).await.json();
    assert_eq!(claimed["job"]["file"], json!({"name": "bücher.csv", "type": "text/csv", "bytes": 3}));
}

#[tokio::test]
async fn a_file_of_no_job_is_not_kept() {
    let app = App::start().await;
    let send = async |path: &str, token: &str, job: &str, content: &str| {
        upload(&app, path, token, job, content).await.refusal()
    };
    assert_eq!(send("/v1/jobs", "maker", "", "a").await, no(422, "invalid-job"));
    assert_eq!(send("/v1/jobs", "maker", r#"{"kind":"a/b"}"#, "a").await, no(422, "invalid-job"));
    assert_eq!(send("/v1/jobs", "maker", r#"{"kind":"a""#, "a").await, no(400, "invalid-json"));
    assert_eq!(send("/v1/jobs", "maker", r#"{"kind":"a","x":1}"#, "a").await, no(422, "invalid-request"));
    assert_eq!(send("/v1/jobs", "maker", r#"{"kind":"a"}"#, "").await, no(400, "empty-file"));
    assert_eq!(send("/v1/jobs", "reader", r#"{"kind":"a"}"#, "a").await, no(403, "may-not-publish"));
    assert_eq!(send("/v1/jobs", "maker", r#"{"kind":"a"}"#, &"x".repeat(1_000_001)).await, no(413, "file-too-large"));
    let extra = form(r#"{"kind":"a"}"#, "a").replacen("name=\"job\"", "name=\"jbo\"", 1);
    let extra = app.request(Method::POST, "/v1/jobs", "maker", FORM, extra).await;
    assert_eq!(extra.refusal(), no(422, "unknown-part"));
    assert_eq!((app.kept_files(), app.jobs.count_open()), (0, 0));
    assert_eq!(upload(&app, "/v1/jobs?kind=import", "maker", "", "a").await.status, 201, "the query says the kind");
}

#[tokio::test]
async fn a_page_of_another_origin_sends_no_file_with_the_cookies_of_its_visitor() {
    let app = App::start().await;
    let send = async |origin: &str, credential: &str, value: &str| {
        let request = http::Request::builder().method(Method::POST).uri("/v1/jobs").header("host", "hub.example");
        let request = request.header("origin", origin).header(credential, value).header("content-type", FORM);
        app.send(request.body(form(r#"{"kind":"a"}"#, "x").into()).unwrap()).await
    };
    assert_eq!(send("https://evil.example", "cookie", "maker").await.refusal(), no(403, "foreign-origin"));
    assert_eq!(send("https://hub.example", "cookie", "maker").await.status, 201);
    assert_eq!(send("https://app.example", "cookie", "maker").await.status, 201, "it is listed");
    assert_eq!(send("https://evil.example", "authorization", "Bearer maker").await.status, 201, "the page knows it");
}

/// The file of a client that hung up before it was answered was deleted, and its job stayed, with nothing to work on.
#[tokio::test]
async fn a_job_that_is_made_for_a_client_that_hung_up_has_its_file() {
    let app = App::start().await;
    {
        let mut request = std::pin::pin!(upload(&app, "/v1/jobs", "maker", r#"{"kind":"import"}"#, "a,b"));
        while app.jobs.count_open() == 0 {
            let once = std::future::poll_fn(|cx| std::task::Poll::Ready(request.as_mut().poll(cx).is_pending()));
            assert!(once.await, "it is not answered yet");
            tokio::task::yield_now().await;
        }
    }
    let claimed = app.post("/v1/jobs/claim", "w+work/import", json!({"kinds": ["import"], "wait": "50s"})).await.json();
    let path = format!("/v1/jobs/{}/file", claimed["job"]["id"].as_str().unwrap());
    assert_eq!(app.get(&path, claimed["lease"].as_str().unwrap()).await.body, "a,b");
}

/// Files that can be away, as those of other machines can.
struct Remote {
    files: FileDirectory,
    away: AtomicBool,
}

impl Remote {
    fn there(&self) -> Result<&FileDirectory, JobFileError> {
        match self.away.load(Ordering::SeqCst) {
            true => Err(JobFileError::Unavailable("the engine is away".into())),
            false => Ok(&self.files),
        }
    }
}

#[async_trait]
impl JobFiles for Remote {
    async fn begin(&self) -> Result<Box<dyn NewJobFile>, JobFileError> {
        self.there()?.begin().await
    }
    async fn open(&self, name: &str, part: Range<u64>) -> Result<Box<dyn JobFileReader>, JobFileError> {
        self.there()?.open(name, part).await
    }
    async fn remove(&self, name: &str) -> Result<(), JobFileError> {
        self.there()?.remove(name).await
    }
    fn discard(&self, name: &str) {
        self.files.discard(name);
    }
    async fn names(&self) -> Result<Vec<String>, JobFileError> {
        self.there()?.names().await
    }
    async fn age(&self, name: &str) -> Result<Option<Duration>, JobFileError> {
        self.there()?.age(name).await
    }
}

#[tokio::test]
async fn while_files_are_away_clients_are_told_when_to_come_back_and_nothing_is_half_done() {
    let mut remote = None;
    let keeping = |path: &std::path::Path| -> Arc<dyn JobFiles> {
        let kept = Arc::new(Remote { files: FileDirectory::new(path), away: AtomicBool::new(true) });
        remote = Some(kept.clone());
        kept
    };
    let app = App::keeping(JobSettings::default(), Limits::default(), keeping).await;
    let remote = remote.unwrap();
    let refused = upload(&app, "/v1/jobs", "maker", r#"{"kind":"import"}"#, "a,b").await;
    assert_eq!(refused.refusal(), no(503, "upload-unavailable"));
    assert_eq!(refused.header("retry-after"), "10");
    assert_eq!((app.kept_files(), app.jobs.count_open()), (0, 0));

    remote.away.store(false, Ordering::SeqCst);
    let work = claimed_with_file(&app).await;
    remote.away.store(true, Ordering::SeqCst);
    let path = format!("/v1/jobs/{}/file", work.id);
    let refused = app.get(&path, &work.lease).await;
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(!refused.header("retry-after").is_empty());
    assert_eq!(ranged(&app, &work, &work.lease, "bytes=3-5").await.status, 503);
    assert_eq!(app.request(Method::HEAD, &path, &work.lease, "", "").await.status, 503);
    assert_eq!(app.say(&work, "complete", json!({})).await.status, 200, "its file is for the sweep");
    assert_eq!(app.kept_files(), 1);
}
