//! The program: by itself, and as a worker of a hub that is killed on the way.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(180);

fn books() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidings-books"));
    command.stdin(Stdio::null()).env("TIDINGS_BOOKS_LOG", "warn");
    command
}

/// The hub, which the workspace builds beside this program.
fn tidings() -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_tidings-books")).with_file_name("tidings");
    assert!(program.exists(), "{} is missing: cargo build -p tidings-server makes it", program.display());
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).env("TIDINGS_LOG__LEVEL", "error");
    command
}

fn import(arguments: &[&str]) -> (bool, String, String) {
    let Output { status, stdout, stderr } = books().arg("import").args(arguments).output().unwrap();
    (status.success(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn list(directory: &TempDir, text: &str) -> PathBuf {
    let file = directory.path().join("list.csv");
    std::fs::write(&file, text).unwrap();
    file
}

const LIST: &str = "Title,Author,ISBN\nDune,Frank Herbert,9780441172719\n,,\nEmma,Jane Austen,978014143958X\n,,12\n";

#[test]
fn a_list_is_imported_without_a_hub_and_what_is_wrong_with_it_is_printed() {
    let directory = TempDir::new().unwrap();
    let file = list(&directory, LIST);
    let out = directory.path().join("books.ndjson");
    let (is_done, printed, said) = import(&[file.to_str().unwrap(), "--books", out.to_str().unwrap()]);
    assert!(is_done, "{said}");
    assert!(
        printed.starts_with("2 books of 3 rows (plain, utf-8)\n\n1 rows could not be used:\n  row 5:"),
        "{printed}"
    );
    assert!(said.is_empty(), "a bar is for terminals: {said}");
    let books = std::fs::read_to_string(out).unwrap();
    let titles: Vec<Value> =
        books.lines().map(|book| serde_json::from_str::<Value>(book).unwrap()["title"].clone()).collect();
    assert_eq!(titles, ["Dune", "Emma"]);
    let (_, printed, _) = import(&[file.to_str().unwrap(), "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&printed).unwrap()["imported"], 2);
}

#[test]
fn the_books_may_go_to_standard_output_and_the_summary_then_goes_elsewhere() {
    let directory = TempDir::new().unwrap();
    let (is_done, printed, said) = import(&[list(&directory, LIST).to_str().unwrap(), "--books", "-"]);
    assert!(is_done && printed.lines().count() == 2 && said.starts_with("2 books"), "{printed}{said}");
}

#[test]
fn a_file_that_is_none_is_a_sentence_and_a_failure() {
    let directory = TempDir::new().unwrap();
    for (file, sentence) in [
        (directory.path().join("none.csv"), "can't be read"),
        (directory.path().to_owned(), "is no file"),
        (list(&directory, ""), "empty"),
    ] {
        let (is_done, printed, said) = import(&[file.to_str().unwrap()]);
        assert!(!is_done && printed.is_empty() && said.contains(sentence), "{said}");
        assert!(said.starts_with("tidings-books: "), "{said}");
    }
}

#[test]
fn what_can_not_be_worked_with_is_said_at_the_start() {
    let missing = |arguments: &[&str]| {
        let output = books().arg("work").args(arguments).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let no_reader = ["--kinds", "scan", "--tesseract", "/nowhere/tesseract"];
    assert!(missing(&no_reader).contains("apt install tesseract-ocr"));
    assert!(missing(&["--hub", "nowhere"]).contains("http://127.0.0.1:8090"));
    assert!(missing(&["--key-file", "/nowhere/key"]).contains("/nowhere/key"));
    assert!(missing(&["--temporary", "/nowhere/tmp"]).contains("--temporary"));
    assert!(missing(&["--concurrency", "0"]).contains("jobs at once"));
    assert!(missing(&["--vision-url", "http://a/v1"]).contains("--vision-model"));
}

/// A process that ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    /// Starts it and waits until it listens.
    fn listening(command: &mut Command) -> (Process, SocketAddr) {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        let process = Process(child);
        let address = line.trim().strip_prefix("listening on http://").expect("it listens").parse().unwrap();
        // What else it prints is read, so that it never waits for us.
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        (process, address)
    }
}

/// A hub with a worker, and what stands in for Open Library.
struct House {
    hub: Option<Process>,
    worker: Option<Process>,
    _open_library: Process,
    address: SocketAddr,
    asked: SocketAddr,
    data: TempDir,
    client: reqwest::Client,
}

impl House {
    fn new() -> House {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let data = TempDir::new().unwrap();
        let (hub, address) = Process::listening(&mut hub(&data, "127.0.0.1:0"));
        // Slow enough that there is something to cancel.
        let stand_in = &mut books();
        let (open_library, asked) =
            Process::listening(stand_in.args(["stand-in", "--listen", "127.0.0.1:0", "--delay", "100"]));
        let client = reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap();
        let mut house =
            House { hub: Some(hub), worker: None, _open_library: open_library, address, asked, data, client };
        house.start_worker();
        house
    }

    fn start_worker(&mut self) {
        let mut command = books();
        command.args(["work", "--kinds", "import,enrichment", "--lease", "10", "--rate", "1000", "--retries", "0"]);
        command.args(["--hub", &self.url(""), "--open-library", &format!("http://{}", self.asked)]);
        self.worker = Some(Process(command.stderr(Stdio::null()).spawn().unwrap()));
    }

    fn kill_hub(&mut self) {
        self.hub = None;
        let (hub, _) = Process::listening(&mut hub(&self.data, &self.address.to_string()));
        self.hub = Some(hub);
    }

    fn url(&self, target: &str) -> String {
        format!("http://{}{target}", self.address)
    }

    async fn create(&self, job: Value, file: Option<&str>) {
        let request = self.client.post(self.url("/v1/jobs")).header("origin", self.url(""));
        let request = match file {
            None => request.json(&job),
            Some(file) => {
                let head = "content-disposition: form-data; name=";
                let parts = format!(
                    "--b\r\n{head}\"job\"\r\n\r\n{job}\r\n--b\r\n{head}\"file\"; filename=\"list.csv\"\r\n\r\n{file}\r\n--b--\r\n"
                );
                request.header("content-type", "multipart/form-data; boundary=b").body(parts)
            }
        };
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
    }

    async fn get(&self, target: &str) -> Value {
        self.client.get(self.url(target)).send().await.unwrap().json().await.unwrap()
    }

    /// Listens to the job until something that is told of it fits, and returns what the job then is.
    async fn until(&self, id: &str, mut fits: impl FnMut(&Value) -> bool) -> Value {
        let waiting = async {
            loop {
                let mut stream = self.client.get(self.url(&format!("/v1/jobs/{id}/events"))).send().await.unwrap();
                while let Ok(Some(_)) = stream.chunk().await {
                    let job = self.get(&format!("/v1/jobs/{id}")).await;
                    if fits(&job) {
                        return job;
                    }
                    assert!(job["ended"].is_null(), "{job}");
                }
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{id} never came to that"))
    }
}

fn hub(data: &TempDir, listen: &str) -> Command {
    let mut command = tidings();
    command.args(["serve", "--dev", "--listen", listen, "--data"]).arg(data.path()).stderr(Stdio::null());
    command
}

#[tokio::test]
async fn an_import_ends_with_each_book_once_though_hub_and_worker_are_killed() {
    const ROWS: usize = 60_000;
    let mut house = House::new();
    let rows: String = (0..ROWS).map(|row| format!("Book {row},Somebody\n")).collect();
    let file = format!("title,author\n{rows}");
    // Whoever kills too late, as the import has ended by then, tries again.
    let mut tries = (1..=8).map(|number| format!("j{number}"));
    let (id, job) = loop {
        let id = tries.next().expect("the worker is killed on the way");
        house.create(json!({"kind": "import", "id": id}), Some(&file)).await;
        house.until(&id, |job| job["items"].as_u64() > Some(0)).await;
        house.kill_hub();
        house.until(&id, |job| job["items"].as_u64() > Some(5_000)).await;
        house.worker = None;
        let is_too_late = !house.get(&format!("/v1/jobs/{id}")).await["ended"].is_null();
        house.start_worker();
        let job = house.until(&id, |job| job["state"] == "completed").await;
        if !is_too_late {
            break (id, job);
        }
    };
    assert_eq!((&job["attempt"], &job["items"], &job["result"]["imported"]), (&json!(2), &json!(ROWS), &json!(ROWS)));
    for from in (0..ROWS).step_by(1000) {
        let page = house.get(&format!("/v1/jobs/{id}/result?from={from}&limit=1000")).await;
        let titles: Vec<&str> =
            page["items"].as_array().unwrap().iter().filter_map(|item| item["title"].as_str()).collect();
        let expected: Vec<String> = (from..from + titles.len()).map(|row| format!("Book {row}")).collect();
        assert!(!titles.is_empty() && titles == expected, "from {from}");
    }
}

#[tokio::test]
async fn books_are_looked_up_and_a_cancel_ends_that() {
    let house = House::new();
    let books = json!([{"title": "Dune", "author": "Frank Herbert"}, {"title": "No Such Book At All"}]);
    house.create(json!({"kind": "enrichment", "id": "j1", "input": {"books": books}}), None).await;
    let job = house.until("j1", |job| job["state"] == "completed").await;
    assert_eq!(job["result"], json!({"total": 2, "found": 1, "notFound": 1, "errors": 0}));
    assert_eq!(house.get("/v1/jobs/j1/result").await["items"][0]["book"]["authors"], json!(["Frank Herbert"]));

    let many: Vec<Value> = (0..100).map(|index| json!({"title": format!("Unknown {index}")})).collect();
    house.create(json!({"kind": "enrichment", "id": "j2", "input": {"books": many}}), None).await;
    house.until("j2", |job| job["items"].as_u64() > Some(0)).await;
    let canceled = house.client.delete(house.url("/v1/jobs/j2?wait=50s")).send().await.unwrap();
    assert_eq!(canceled.status(), 200);
    let job: Value = canceled.json().await.unwrap();
    assert!(job["state"] == "canceled" && job["items"].as_u64() < Some(100), "{job}");
}

#[tokio::test]
async fn a_job_that_can_not_be_done_fails_with_what_to_do() {
    let house = House::new();
    for (id, job, file, code) in [
        ("j1", json!({"kind": "import"}), None, "no-file"),
        ("j2", json!({"kind": "import"}), Some("title,author\n"), ""),
        ("j3", json!({"kind": "import"}), Some("no,columns,of,books\n1,2,3,4\n"), ""),
        ("j4", json!({"kind": "enrichment", "input": 7}), None, "wrong-input"),
        ("j5", json!({"kind": "enrichment", "input": {"books": []}}), None, "no-books"),
    ] {
        let mut job = job;
        job["id"] = json!(id);
        house.create(job, file).await;
        let job = house.until(id, |job| job["state"] == "failed").await;
        assert!(code.is_empty() || job["error"]["code"] == code, "{job}");
        assert!(job["error"]["message"].as_str().unwrap().len() > 10, "{job}");
    }
}

#[test]
fn a_key_without_the_right_is_answered_with_the_command_that_makes_one() {
    let data = TempDir::new().unwrap();
    let made =
        tidings().args(["key", "create", "--name", "w", "--grant", "work/other", "--data"]).arg(data.path()).output();
    let key = data.path().join("key");
    std::fs::write(&key, made.unwrap().stdout).unwrap();
    let serve = &mut tidings();
    serve.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data.path()).stderr(Stdio::null());
    let (_hub, address) = Process::listening(serve);
    let work = |more: &[&str]| {
        let hub = format!("http://{address}");
        let output = books().args(["work", "--kinds", "import", "--hub", &hub]).args(more).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let make = "tidings key create --name books --grant 'work/*'";
    assert!(work(&["--key-file", key.to_str().unwrap()]).contains(make));
    assert!(work(&[]).contains("TIDINGS_KEY"));
    let said = work(&["--key", "tdg_hunter2"]);
    assert!(said.contains(make) && !said.contains("hunter2"), "{said}");
}

#[test]
fn an_empty_variable_is_one_that_is_not_set_and_old_files_are_swept_at_the_start() {
    let directory = TempDir::new().unwrap();
    let (old, new) = (directory.path().join("tidings-books-old"), directory.path().join("tidings-books-new"));
    let age = |file: &Path, hours: u64| {
        let at = std::time::SystemTime::now() - Duration::from_secs(hours * 3600);
        std::fs::File::create(file).unwrap().set_modified(at).unwrap();
    };
    age(&old, 30);
    age(&new, 1);
    let mut work = books();
    work.args(["work", "--kinds", "import", "--concurrency", "0"]).arg("--temporary").arg(directory.path());
    let output = work.env("TIDINGS_KEY", "").env("TIDINGS_BOOKS_VISION_URL", "").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("jobs at once"), "nothing else is wrong: {said}");
    assert!(!old.exists() && new.exists());
}
