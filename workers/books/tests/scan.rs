//! A photo of a bookshelf, read by tesseract or by the stand-in of a model, and looked up at the stand-in.

mod standin;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use standin::Running;
use tidings_books::enrich::Summary;
use tidings_books::report::{Collected, Failure, Report, Stopped, Unfinished};
use tidings_books::scan::{self, Engine, Key, Limits, Settings, Tesseract, Vision};
use tidings_books::standin::Trick;

fn shelf() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/shelf/shelf.png")
}

async fn scan(running: &Running, image: &Path, engine: Engine, report: &dyn Report) -> Result<Summary, Unfinished> {
    scan::run(image, &engine, &Settings::default(), &running.client(), report).await
}

fn vision(running: &Running, model: &str) -> Engine {
    Engine::Vision(Vision {
        base_url: format!("{}/v1/", running.url()),
        model: model.into(),
        api_key: Some(Key::new("sk-test")),
        timeout: Duration::from_secs(300),
    })
}

fn failure(ended: Result<Summary, Unfinished>) -> Failure {
    match ended {
        Err(Unfinished::Failed(failure)) => failure,
        other => panic!("{other:?}"),
    }
}

fn titles(report: &Collected) -> Vec<String> {
    report.items().iter().filter_map(|item| item["book"]["title"].as_str()).map(str::to_owned).collect()
}

#[tokio::test]
async fn tesseract_reads_a_shelf_and_the_books_on_it_are_found_from_the_left() {
    let running = standin::start().await;
    let report = Collected::default();
    let tesseract = Tesseract { timeout: Duration::from_secs(600), ..Tesseract::default() };
    let summary = scan(&running, &shelf(), Engine::Tesseract(tesseract), &report).await.unwrap();
    let on_the_shelf = [
        "Dune",
        "The Hobbit",
        "Pride and Prejudice",
        "Le Petit Prince",
        "Neuromancer",
        "Crime and Punishment",
        "Frankenstein",
    ];
    assert_eq!(titles(&report), on_the_shelf, "{:#?}", report.items());
    assert_eq!(summary, Summary { total: 8, found: 7, not_found: 1, errors: 0 });
    let unknown = &report.items()[7];
    assert_eq!(unknown["query"]["title"], "Gardening for Nobody Z. Quxley", "what nobody knows is told as it was read");
    for item in report.items() {
        let sure = item["spine"]["confidence"].as_f64().unwrap();
        assert!((0.5..=1.0).contains(&sure), "{item}");
    }
    let said: Vec<_> = report.progress().into_iter().filter_map(|said| said.message).collect();
    assert_eq!(said[0], "reading the photo");
    assert!(said.last().unwrap().ends_with("spines found"), "{said:?}");
}

#[tokio::test]
async fn a_model_reads_a_shelf_whatever_it_wraps_its_list_in() {
    let running = standin::start().await;
    for model in ["plain", "fenced", "object"] {
        let report = Collected::default();
        let summary = scan(&running, &shelf(), vision(&running, model), &report).await.unwrap();
        assert_eq!(summary, Summary { total: 3, found: 2, not_found: 1, errors: 0 }, "{model}");
        assert_eq!(titles(&report), ["Dune", "Neuromancer"]);
        let items = report.items();
        assert_eq!(items[0]["spine"], json!({"text": "Dune Frank Herbert", "confidence": 0.97}));
        assert_eq!(items[2]["query"], json!({"title": "A Book That Nobody Wrote"}));
        let progress: Vec<_> = report.progress().into_iter().map(|said| (said.done, said.total)).collect();
        assert_eq!(progress, [(0, None), (0, Some(3)), (0, Some(3)), (1, Some(3)), (2, Some(3)), (3, Some(3))]);
    }
}

#[tokio::test]
async fn a_model_that_gives_no_list_fails_the_work_with_its_reason() {
    let running = standin::start().await;
    for (model, code, retryable, words) in [
        ("prose", "vision-answer", true, "What a nice shelf!"),
        ("refusing", "vision-refused", false, "status 401: incorrect API key provided"),
        ("empty", "no-spines", false, "no spine"),
    ] {
        let failure = failure(scan(&running, &shelf(), vision(&running, model), &Collected::default()).await);
        assert_eq!((failure.code.as_str(), failure.retryable), (code, retryable), "{model}");
        assert!(failure.message.contains(words), "{}", failure.message);
    }
    for (played, code) in [
        (Trick::Down, "vision-unreachable"),
        (Trick::Busy, "vision-unreachable"),
        (Trick::Html, "vision-answer"),
        (Trick::Broken, "vision-answer"),
        (Trick::Endless, "vision-answer"),
    ] {
        running.standin.play(Some(played));
        let failure = failure(scan(&running, &shelf(), vision(&running, "plain"), &Collected::default()).await);
        assert_eq!((failure.code.as_str(), failure.retryable), (code, true), "{played:?}: {}", failure.message);
        assert!(!failure.message.contains("sk-test"));
    }
}

#[tokio::test]
async fn a_model_that_does_not_answer_in_time_or_is_not_there_may_be_asked_again() {
    let running = standin::start().await;
    running.standin.play(Some(Trick::Silent));
    let Engine::Vision(endpoint) = vision(&running, "plain") else { unreachable!() };
    for endpoint in [
        Vision { timeout: Duration::from_millis(100), ..endpoint.clone() },
        Vision { base_url: "http://127.0.0.1:9/v1".into(), ..endpoint },
    ] {
        let failure = failure(scan(&running, &shelf(), Engine::Vision(endpoint), &Collected::default()).await);
        assert_eq!((failure.code.as_str(), failure.retryable), ("vision-unreachable", true), "{}", failure.message);
    }
}

#[tokio::test]
async fn a_cancel_ends_the_wait_for_a_model() {
    let running = standin::start().await;
    running.standin.play(Some(Trick::Silent));
    let report = CancelsWhen(|| !running.standin.requests().is_empty());
    let (photo, engine) = (shelf(), vision(&running, "plain"));
    // Far below the time that the model may take; that it is a tenth of a second is tested beside the code.
    let ended = tokio::time::timeout(Duration::from_secs(60), scan(&running, &photo, engine, &report)).await.unwrap();
    assert_eq!(ended, Err(Unfinished::Canceled));
}

#[tokio::test]
async fn a_cancel_kills_the_reader() {
    let running = standin::start().await;
    let (dir, program) = script("echo $$ > \"$0.pid\"; exec sleep 1000");
    let pid_file = dir.path().join("reader.pid");
    let report = CancelsWhen(|| std::fs::read_to_string(&pid_file).is_ok_and(|pid| pid.ends_with('\n')));
    let engine = Engine::Tesseract(Tesseract { path: program, ..Tesseract::default() });
    assert_eq!(scan(&running, &shelf(), engine, &report).await, Err(Unfinished::Canceled));
    let pid = std::fs::read_to_string(&pid_file).unwrap();
    assert!(ends(pid.trim()).await, "process {pid} is still there");
}

#[tokio::test]
async fn a_reader_that_never_ends_is_killed_after_its_time() {
    let running = standin::start().await;
    let (dir, program) = script("echo $$ > \"$0.pid\"; exec sleep 1000");
    let timeout = Duration::from_millis(500);
    let engine = Engine::Tesseract(Tesseract { path: program, timeout, ..Tesseract::default() });
    let failure = failure(scan(&running, &shelf(), engine, &Collected::default()).await);
    assert_eq!((failure.code.as_str(), failure.retryable), ("ocr-too-slow", false));
    if let Ok(pid) = std::fs::read_to_string(dir.path().join("reader.pid")) {
        assert!(ends(pid.trim()).await, "process {pid} is still there");
    }
}

#[tokio::test]
async fn two_books_that_were_taken_for_one_spine_are_two_items() {
    let running = standin::start().await;
    // On one level, with less between the author of the first and the title of the second than within each; where one
    // shelf ends and the other begins is seen from their neighbours.
    let words = [
        (10, 10, 150, "Dune"),
        (300, 10, 150, "Herbert"),
        (480, 10, 150, "Neuromancer"),
        (900, 10, 150, "Gibson"),
        (10, 400, 440, "Nobody"),
        (480, 800, 570, "Nothing"),
    ];
    let row = |(index, (left, top, width, text)): (usize, &(u32, u32, u32, &str))| {
        format!("5\\t1\\t{index}\\t1\\t1\\t1\\t{left}\\t{top}\\t{width}\\t30\\t95\\t{text}\\n")
    };
    let table: String = words.iter().enumerate().map(row).collect();
    let only_once = format!("cat > /dev/null; case \"$*\" in *'psm 12'*method=0*) printf '{table}';; esac");
    let (_dir, program) = script(&only_once);
    let report = Collected::default();
    let engine = Engine::Tesseract(Tesseract { path: program, ..Tesseract::default() });
    let summary = scan(&running, &shelf(), engine, &report).await.unwrap();
    assert_eq!(summary, Summary { total: 4, found: 2, not_found: 2, errors: 0 });
    let items = report.items();
    let told: Vec<_> = items.iter().map(|item| (item["index"].as_u64(), item["spine"]["text"].as_str())).collect();
    let expected = ["Nothing", "Nobody", "Dune Herbert", "Neuromancer Gibson"];
    assert_eq!(told, [0, 1, 2, 3].map(|index| (Some(index), Some(expected[index as usize]))));
    let said: Vec<_> = report.progress().into_iter().filter_map(|said| Some((said.done, said.total?))).collect();
    assert_eq!(said, [(0, 3), (0, 3), (1, 3), (2, 3), (4, 4)], "the total grows, and is never below what is done");
}

#[tokio::test]
async fn a_reader_that_fails_or_says_too_much_is_told_of() {
    let running = standin::start().await;
    for (body, code) in [
        ("echo no such language >&2; exit 1", "ocr-failed"),
        ("cat > /dev/null; head -c 12000000 /dev/zero", "no-spines"),
        ("exit 0", "no-spines"),
    ] {
        let (_dir, program) = script(body);
        let engine = Engine::Tesseract(Tesseract { path: program, ..Tesseract::default() });
        let failure = failure(scan(&running, &shelf(), engine, &Collected::default()).await);
        assert_eq!(failure.code, code, "{body}: {}", failure.message);
    }
}

#[tokio::test]
async fn a_machine_without_a_reader_says_what_to_install() {
    let running = standin::start().await;
    let engine = Engine::Tesseract(Tesseract { path: "no-such-tesseract".into(), ..Tesseract::default() });
    let failure = failure(scan(&running, &shelf(), engine, &Collected::default()).await);
    assert_eq!((failure.code.as_str(), failure.retryable), ("no-ocr", false));
    assert!(failure.message.contains("install tesseract-ocr or set --vision-url"), "{}", failure.message);
}

#[tokio::test]
async fn what_is_no_photo_or_an_empty_one_is_refused() {
    let running = standin::start().await;
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("text.png");
    std::fs::write(&text, "no picture").unwrap();
    let grey = dir.path().join("grey.png");
    image::GrayImage::from_pixel(300, 200, image::Luma([128])).save(&grey).unwrap();
    for (path, code) in [(&text, "not-an-image"), (&grey, "no-spines")] {
        let engine = Engine::Tesseract(Tesseract::default());
        let failure = failure(scan(&running, path, engine, &Collected::default()).await);
        assert_eq!((failure.code.as_str(), failure.retryable), (code, false));
    }
    let settings = Settings { photo: Limits { pixels: 1000, ..Limits::default() }, ..Settings::default() };
    let (client, engine) = (running.client(), vision(&running, "plain"));
    let ended = scan::run(&shelf(), &engine, &settings, &client, &Collected::default()).await;
    assert_eq!(failure(ended).code, "photo-too-large");
    assert!(running.paths().is_empty(), "nobody was asked");
}

/// A program `reader` that does this, and the directory it lives in.
fn script(body: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("reader");
    std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    (dir, path)
}

/// Whether the process ends, or is but a name in the table that nobody has collected yet.
async fn ends(pid: &str) -> bool {
    let stat = format!("/proc/{pid}/stat");
    let is_alive = || std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z "));
    let gone = async {
        while is_alive() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone).await.is_ok()
}

/// Cancels as soon as something is so.
struct CancelsWhen<F>(F);

impl<F: Fn() -> bool + Send + Sync> Report for CancelsWhen<F> {
    fn progress(&self, _: u64, _: Option<u64>, _: Option<&str>, _: Option<Value>) {}

    fn items(&self, _: Vec<Value>) -> Result<(), Stopped> {
        Ok(())
    }

    fn is_canceled(&self) -> bool {
        (self.0)()
    }
}
