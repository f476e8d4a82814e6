//! A bookshelf of a test's own: in a folder of its own, on a port of its own.

#![allow(dead_code)]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use reqwest::{Method, Response, StatusCode};
use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;
use tidings::SystemClock;
use tidings_example_bookshelf::api;
use tidings_example_bookshelf::app::{App, Running, Settings, load};
use zip::write::SimpleFileOptions;

/// Longer than anything takes that works; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A bookshelf that runs: in this process, or as the program.
pub struct Shelf {
    pub folder: Arc<TempDir>,
    running: Option<Running>,
    program: Option<Child>,
    base: String,
    client: reqwest::Client,
}

/// How a test's bookshelf is run.
pub fn settings(folder: &Path) -> Settings {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    Settings {
        listen: ([127, 0, 0, 1], 0).into(),
        data: folder.to_owned(),
        watch: folder.join("drop"),
        web: folder.join("web"),
        profile: home.join("profile.toml"),
        origins: Vec::new(),
        download: Duration::from_millis(100),
        look_up: Duration::from_millis(1),
        password_kib: 64,
        demo: true,
    }
}

impl Shelf {
    /// An empty folder, filled with the demo.
    pub async fn start() -> Shelf {
        Shelf::start_with(|_| {}).await
    }

    pub async fn start_with(change: impl FnOnce(&mut Settings)) -> Shelf {
        Shelf::start_in(Arc::new(tempfile::tempdir().unwrap()), change).await
    }

    pub async fn start_in(folder: Arc<TempDir>, change: impl FnOnce(&mut Settings)) -> Shelf {
        let mut settings = settings(folder.path());
        change(&mut settings);
        let running = App::start(settings, Arc::new(SystemClock)).await.unwrap();
        let base = format!("http://{}", running.address);
        Shelf { folder, running: Some(running), program: None, base, client: client() }
    }

    /// The program itself, which can be killed.
    pub async fn run(folder: Arc<TempDir>, download_seconds: &str) -> Shelf {
        let mut program = Command::new(env!("CARGO_BIN_EXE_bookshelf"))
            .args(["--demo", "--listen", "127.0.0.1:0", "--download-seconds", download_seconds, "--data"])
            .arg(folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdout = program.stdout.take().unwrap();
        let first = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            BufReader::new(stdout).read_line(&mut line).unwrap();
            line
        });
        let line = tokio::time::timeout(PATIENCE, first).await.expect("the program says where it listens").unwrap();
        let base = line.trim().strip_prefix("listening on ").expect("the first line says where").to_owned();
        Shelf { folder, running: None, program: Some(program), base, client: client() }
    }

    /// Kills the program as a power cut would, and says what it left.
    pub fn kill(mut self) -> Arc<TempDir> {
        let mut program = self.program.take().unwrap();
        program.kill().unwrap();
        program.wait().unwrap();
        self.folder.clone()
    }

    /// Asks the program to stop, and says whether it did well.
    pub fn terminate(&mut self) -> bool {
        let mut program = self.program.take().unwrap();
        let killed = Command::new("kill").arg(program.id().to_string()).status().unwrap();
        killed.success() && program.wait().unwrap().success()
    }

    /// The app, where it runs in this process.
    pub fn app(&self) -> &Arc<App> {
        &self.running.as_ref().unwrap().app
    }

    /// Stops it, where it runs in this process.
    pub async fn stop(&mut self) {
        self.running.take().unwrap().stop().await;
    }

    pub fn drop_folder(&self) -> PathBuf {
        self.folder.path().join("drop")
    }

    /// Logs in; the password of the demo's users is their name.
    pub async fn log_in(&self, name: &str) -> User<'_> {
        let answer = self.try_log_in(name, name).await;
        assert_eq!(answer.status(), StatusCode::OK);
        User { shelf: self, cookie: cookie(&answer) }
    }

    pub async fn try_log_in(&self, name: &str, password: &str) -> Response {
        let url = format!("{}/api/v1/auth/login", self.base);
        self.client.post(url).json(&json!({ "name": name, "password": password })).send().await.unwrap()
    }

    pub fn host(&self) -> &str {
        self.base.trim_start_matches("http://")
    }

    /// Posts to `path`, and is gone as soon as the app has begun with it.
    pub fn ask_and_leave(&self, path: &str, cookie: &str) {
        let settings = &self.app().settings;
        let mut router = api::router(self.app(), &load(&settings.profile).unwrap());
        let request = http::Request::post(path).header("cookie", cookie).body(axum::body::Body::empty()).unwrap();
        // Polled once and dropped. Another thread may be quick enough to have the answer by then, which is as good.
        let _ = tower_service::Service::call(&mut router, request).now_or_never();
    }

    /// Runs the program to add a user to the database of this shelf; says what it printed, or why not.
    pub fn add_user(&self, args: &[&str], password: &str) -> Result<String, String> {
        let mut program = Command::new(env!("CARGO_BIN_EXE_bookshelf"))
            .args(["add-user", "--data"])
            .arg(self.folder.path())
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        program.stdin.take().unwrap().write_all(password.as_bytes()).unwrap();
        let output = program.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }

    /// Somebody without a session.
    pub fn nobody(&self) -> User<'_> {
        User { shelf: self, cookie: String::new() }
    }

    /// Somebody whose cookie says this.
    pub fn with_cookie(&self, cookie: &str) -> User<'_> {
        User { shelf: self, cookie: cookie.into() }
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        if let Some(mut program) = self.program.take() {
            let _ = program.kill();
            let _ = program.wait();
        }
    }
}

fn client() -> reqwest::Client {
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    reqwest::Client::builder().tls_backend_preconfigured(tls).build().unwrap()
}

/// What the answer sets as cookie.
pub fn cookie(answer: &Response) -> String {
    let set = answer.headers()["set-cookie"].to_str().unwrap();
    assert!(set.contains("HttpOnly") && set.contains("SameSite=Lax"), "{set}");
    set.split(';').next().unwrap().to_owned()
}

/// Somebody who asks.
pub struct User<'a> {
    shelf: &'a Shelf,
    pub cookie: String,
}

impl User<'_> {
    pub async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Response {
        let mut request = self.shelf.client.request(method, format!("{}{path}", self.shelf.base));
        if !self.cookie.is_empty() {
            request = request.header("cookie", &self.cookie);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        request.send().await.unwrap()
    }

    /// Asks for what they have with this tag.
    pub async fn ask_unless(&self, path: &str, tag: &str) -> Response {
        let request = self.shelf.client.get(format!("{}{path}", self.shelf.base));
        request.header("cookie", &self.cookie).header("if-none-match", tag).send().await.unwrap()
    }

    pub async fn get(&self, path: &str) -> Value {
        let answer = self.ask(Method::GET, &format!("/api/v1/{path}"), None).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        answer.json().await.unwrap()
    }

    pub async fn post(&self, path: &str, body: Value) -> Response {
        self.ask(Method::POST, &format!("/api/v1/{path}"), Some(body)).await
    }

    /// Adds a book from a page of this origin.
    pub async fn want_from(&self, origin: &str, title: &str) -> Response {
        let request = self.shelf.client.post(format!("{}/api/v1/books", self.shelf.base));
        let request = request.header("cookie", &self.cookie).header("origin", origin);
        request.json(&json!({ "title": title, "author": "Somebody" })).send().await.unwrap()
    }

    /// Adds a book and says its number.
    pub async fn want(&self, title: &str, author: &str, owned: bool) -> i64 {
        let answer = self.post("books", json!({ "title": title, "author": author, "owned": owned })).await;
        assert_eq!(answer.status(), StatusCode::CREATED);
        answer.json::<Value>().await.unwrap()["id"].as_i64().unwrap()
    }

    pub async fn upload(&self, csv: &str) -> Response {
        let body = format!(
            "--xx\r\nContent-Disposition: form-data; name=\"file\"; filename=\"l.csv\"\r\nContent-Type: text/csv\r\n\r\n{csv}\r\n--xx--\r\n"
        );
        let request =
            self.shelf.client.post(format!("{}/api/v1/imports", self.shelf.base)).header("cookie", &self.cookie);
        request.header("content-type", "multipart/form-data; boundary=xx").body(body).send().await.unwrap()
    }

    /// Listens from `cursor` on, or from now on.
    pub async fn listen(&self, query: &str) -> Stream {
        let answer = self.ask(Method::GET, &format!("/api/v1/events?{query}"), None).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let mut stream = Stream { answer, unread: String::new() };
        stream.until(|event| event.name == "tidings.open").await;
        stream
    }
}

/// What somebody hears.
pub struct Stream {
    answer: Response,
    unread: String,
}

#[derive(Clone, Debug)]
pub struct Heard {
    pub name: String,
    pub data: Value,
}

impl Stream {
    /// The next event; none at the end.
    pub async fn next(&mut self) -> Option<Heard> {
        loop {
            if let Some((block, rest)) = self.unread.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.unread = rest;
                let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned));
                if let (Some(name), Some(data)) = (field("event: "), field("data: ")) {
                    return Some(Heard { name, data: serde_json::from_str(&data).unwrap() });
                }
                continue;
            }
            let chunk = tokio::time::timeout(PATIENCE, self.answer.chunk()).await.expect("something is heard in time");
            match chunk {
                Ok(Some(chunk)) => self.unread.push_str(std::str::from_utf8(&chunk).unwrap()),
                _ => return None,
            }
        }
    }

    /// All that is heard up to and with the first that fits.
    pub async fn until(&mut self, fits: impl Fn(&Heard) -> bool) -> Vec<Heard> {
        let mut heard = Vec::new();
        loop {
            let next = self.next().await.unwrap_or_else(|| panic!("the stream ended after {heard:#?}"));
            heard.push(next);
            if heard.last().is_some_and(&fits) {
                return heard;
            }
        }
    }
}

/// Returns when `so` is the case.
pub async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !so().await {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Writes a book to `path` in one piece: under another name first, then renamed.
pub fn drop_book(folder: &Path, name: &str, title: &str, author: &str, cover: Option<&[u8]>) {
    let bytes = epub(title, author, cover);
    let hidden = folder.join(format!(".{name}.part"));
    std::fs::write(&hidden, bytes).unwrap();
    std::fs::rename(hidden, folder.join(name)).unwrap();
}

/// The bytes of a book.
pub fn epub(title: &str, author: &str, cover: Option<&[u8]>) -> Vec<u8> {
    let container = r#"<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles><rootfile full-path="p.opf"/></rootfiles></container>"#;
    let package = format!(
        r#"<package xmlns="http://www.idpf.org/2007/opf"><metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>{title}</dc:title><dc:creator>{author}</dc:creator></metadata><manifest><item id="c" href="c.png" properties="cover-image"/></manifest></package>"#
    );
    let mut bytes = std::io::Cursor::new(Vec::new());
    let mut archive = zip::ZipWriter::new(&mut bytes);
    let mut entries = vec![("META-INF/container.xml", container.as_bytes()), ("p.opf", package.as_bytes())];
    entries.extend(cover.map(|cover| ("c.png", cover)));
    for (name, content) in entries {
        archive.start_file(name, SimpleFileOptions::default()).unwrap();
        archive.write_all(content).unwrap();
    }
    archive.finish().unwrap();
    bytes.into_inner()
}

/// The app's database, looked into from outside.
pub fn database(folder: &Path) -> Connection {
    let connection = Connection::open(folder.join("bookshelf.db")).unwrap();
    connection.busy_timeout(PATIENCE).unwrap();
    connection
}
