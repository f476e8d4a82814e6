//! The files of jobs in real NATS servers, with what can go wrong.

mod nats_server;

use std::cell::Cell;
use std::sync::Arc;

use async_nats::jetstream::stream;
use bytes::Bytes;
use nats_server::{NEWEST, NatsCluster, NatsServer, PATIENCE, connect, patiently};
use sha2::{Digest, Sha256};
use tidings::job::{JobFileError, JobFiles, KeptFile};
use tidings_brokers::files_contract::{self, content, keep, read};
use tidings_brokers::nats::{Engine, EngineError, NatsFiles, NatsSettings};
use tokio::io::AsyncReadExt;

const MB: usize = 1 << 20;

async fn open(settings: NatsSettings) -> (Arc<Engine>, Arc<dyn JobFiles>) {
    let engine = connect(settings).await;
    let files = patiently(async || NatsFiles::open(engine.clone()).await).await;
    (engine, files)
}

async fn replica(server: &NatsServer) -> Arc<dyn JobFiles> {
    open(server.settings()).await.1
}

/// Waits for what is so in the end.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is_so().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("not so: {what}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_keep_the_contract_on_the_oldest_and_on_the_newest_server() {
    for version in ["2.10.26", NEWEST] {
        let server = NatsServer::of(version, "");
        let made = Cell::new(0);
        files_contract::all(async || {
            made.set(made.get() + 1);
            let settings = NatsSettings { hub: format!("hub{}", made.get()), ..server.settings() };
            [open(settings.clone()).await.1, open(settings).await.1]
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_client_of_object_stores_reads_what_is_kept() {
    let server = NatsServer::start();
    let (engine, files) = open(server.settings()).await;
    let content = content(300_000);
    let name = keep(&files, &content, 10_000).await;
    let store = engine.context().get_object_store(engine.bucket_name("files")).await.expect("it is one");
    let mut read = Vec::new();
    let mut object = store.get(&name).await.expect("it is there");
    object.read_to_end(&mut read).await.expect("its digest is right");
    assert!(read == content);
    assert_eq!((object.info().size, object.info().chunks), (300_000, 3));
}

/// The most memory that this process has had since it was last asked, in bytes.
fn most_memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("this is Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the line");
    let kib: usize = line.trim().trim_end_matches(" kB").parse().expect("a number");
    std::fs::write("/proc/self/clear_refs", "5").expect("it begins anew");
    kib << 10
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_megabytes_go_in_and_out_in_flat_memory() {
    let server = NatsServer::start();
    let (here, there) = (replica(&server).await, replica(&server).await);
    let piece = content(64 << 10);
    let pass = async |pieces: usize| {
        let mut new = here.begin().await.expect("a file is begun");
        let name = new.name().to_owned();
        let mut hash = Sha256::new();
        for _ in 0..pieces {
            new.write(piece.clone()).await.expect("it is written");
            hash.update(&piece);
        }
        let bytes = (pieces * piece.len()) as u64;
        let sha256: [u8; 32] = hash.finalize().into();
        assert_eq!(new.finish().await.expect("it is kept"), KeptFile { bytes, sha256 });
        let mut reader = there.open(&name, 0..bytes).await.expect("it is there");
        let mut hash = Sha256::new();
        while let Some(piece) = reader.next().await.expect("it is read") {
            hash.update(&piece);
        }
        assert_eq!(<[u8; 32]>::from(hash.finalize()), sha256);
    };
    pass(16).await;
    most_memory();
    let before = most_memory();
    pass(50 * MB / piece.len()).await;
    let grown = most_memory().saturating_sub(before);
    assert!(grown < 16 * MB, "{} MB more", grown / MB);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_dies_in_an_upload_leaves_no_file_and_its_chunks_are_swept() {
    let mut server = NatsServer::start();
    let (engine, files) = open(server.settings()).await;
    let whole = keep(&files, &content(MB), 64 << 10).await;
    let mut new = files.begin().await.expect("a file is begun");
    let name = new.name().to_owned();
    new.write(content(MB)).await.expect("it is written");
    server.kill();
    let refused = async {
        loop {
            if let Err(error) = new.write(content(MB)).await {
                return error;
            }
        }
    };
    let error = tokio::time::timeout(PATIENCE, refused).await.expect("it is told");
    assert!(matches!(error, JobFileError::Unavailable(_)), "{error}");
    assert!(new.write(Bytes::from("x")).await.is_err(), "nothing can be done with it any more");
    drop(new);
    until("it is known to be away", async || engine.down().is_some()).await;
    assert!(matches!(files.begin().await.err(), Some(JobFileError::Unavailable(_))));
    assert!(matches!(files.open(&whole, 0..1).await.err(), Some(JobFileError::Unavailable(_))));
    assert!(matches!(files.remove(&whole).await.err(), Some(JobFileError::Unavailable(_))));

    server.restart();
    until("it is back", async || files.names().await.is_ok()).await;
    assert!(matches!(files.open(&name, 0..1).await.err(), Some(JobFileError::NotFound)));
    assert!(read(&files, &whole, 0..MB as u64).await.expect("it is still there") == content(MB));
    let mut left = files.names().await.expect("they are listed");
    left.retain(|left| *left != whole);
    for name in left {
        // Whoever gave it up may delete it by itself at this very moment.
        let has_age = files.age(&name).await.expect("it is told").is_some();
        assert!(has_age || !files.names().await.expect("they are listed").contains(&name));
        files.remove(&name).await.expect("it is swept");
    }
    assert_eq!(files.names().await.expect("they are listed"), [whole]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_three_copies_a_server_that_dies_in_an_upload_costs_at_most_that_upload() {
    let mut cluster = NatsCluster::start(3);
    let settings = cluster.settings();
    let (_, files) = open(settings).await;
    for victim in 0..2 {
        let mut new = files.begin().await.expect("a file is begun");
        let name = new.name().to_owned();
        let (half, mut outcome) = (content(4 * MB), Ok(()));
        new.write(half.clone()).await.expect("it is written");
        cluster.nodes()[victim].kill();
        for from in (0..half.len()).step_by(64 << 10) {
            if outcome.is_ok() {
                outcome = new.write(half.slice(from..from + (64 << 10))).await;
            }
        }
        let outcome = match outcome {
            Ok(()) => new.finish().await.map(drop),
            Err(error) => Err(error),
        };
        until("the others go on", async || {
            !matches!(files.open(&name, 0..8 * MB as u64).await, Err(JobFileError::Unavailable(_)))
        })
        .await;
        match outcome {
            Ok(()) => {
                let read = read(&files, &name, 0..8 * MB as u64).await.expect("it was kept");
                assert!(read[..4 * MB] == half && read[4 * MB..] == half);
            }
            Err(error) => {
                assert!(matches!(error, JobFileError::Unavailable(_)), "{error}");
                // What was written although nobody heard of that is deleted by whoever gave it up.
                until("it was told as not kept", async || {
                    matches!(files.open(&name, 0..8 * MB as u64).await, Err(JobFileError::NotFound))
                })
                .await;
            }
        }
        cluster.nodes()[victim].restart();
        until("a new one is kept", async || {
            let Ok(mut new) = files.begin().await else { return false };
            new.write(half.slice(..100_000)).await.is_ok() && new.finish().await.is_ok()
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_is_full_is_told_as_such_and_nothing_stays() {
    let server = NatsServer::start();
    let engine = connect(server.settings()).await;
    let bucket = engine.bucket_name("files");
    let limited = stream::Config {
        name: format!("OBJ_{bucket}"),
        description: Some("files that come with jobs".into()),
        subjects: vec![format!("$O.{bucket}.C.>"), format!("$O.{bucket}.M.>")],
        discard: stream::DiscardPolicy::New,
        num_replicas: 1,
        allow_rollup: true,
        max_bytes: MB as i64,
        ..Default::default()
    };
    engine.context().create_stream(limited).await.expect("it is made");
    let files: Arc<dyn JobFiles> = NatsFiles::open(engine).await.expect("its owner may limit it");
    let mut new = files.begin().await.expect("a file is begun");
    let error = match new.write(content(4 * MB)).await {
        Ok(()) => new.finish().await.map(drop).expect_err("there is no room"),
        Err(error) => {
            drop(new);
            error
        }
    };
    assert!(matches!(error, JobFileError::NoRoom(_)), "{error}");
    until("nothing stays", async || files.names().await.expect("they are listed").is_empty()).await;
    keep(&files, &content(MB / 2), MB).await;
}

#[tokio::test]
async fn a_bucket_of_something_else_is_refused_with_what_differs() {
    let server = NatsServer::start();
    let engine = connect(server.settings()).await;
    let other = stream::Config {
        name: format!("OBJ_{}", engine.bucket_name("files")),
        description: Some("files that come with jobs".into()),
        subjects: vec!["something.else".into()],
        allow_rollup: true,
        discard: stream::DiscardPolicy::New,
        ..Default::default()
    };
    engine.context().create_stream(other).await.expect("it is made");
    let error = NatsFiles::open(engine).await.expect_err("it is not ours");
    let EngineError::Unfit(sentence) = error else { panic!("{error:?}") };
    assert!(sentence.contains("OBJ_tidings_hub_files") && sentence.contains("something.else"), "{sentence}");
}

/// The sweep of another replica took what came an hour ago: what is left would be a file without its beginning.
#[tokio::test]
async fn an_upload_whose_beginning_was_swept_is_refused_at_its_end() {
    let server = NatsServer::start();
    let (here, there) = (replica(&server).await, replica(&server).await);
    let mut new = here.begin().await.expect("a file is begun");
    let name = new.name().to_owned();
    new.write(content(MB)).await.expect("it is written");
    until("it has begun", async || there.age(&name).await.expect("it is told").is_some()).await;
    there.remove(&name).await.expect("it is swept");
    new.write(content(MB)).await.expect("it is written");
    assert!(new.finish().await.is_err());
    assert!(matches!(there.open(&name, 0..1).await.err(), Some(JobFileError::NotFound)));
    until("nothing stays", async || there.names().await.expect("they are listed").is_empty()).await;
}

#[tokio::test]
async fn a_file_that_is_not_what_was_sent_is_never_read_to_its_end() {
    let server = NatsServer::start();
    let (engine, files) = open(server.settings()).await;
    let bucket = engine.bucket_name("files");
    let content = content(400_000);
    let name = keep(&files, &content, 10_000).await;
    let stream = engine.context().get_stream(format!("OBJ_{bucket}")).await.expect("it is there");
    let info = stream.cached_info().clone();
    let record = stream.get_raw_message(info.state.last_sequence).await.expect("the record comes last");
    let put = async |text: String| {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nats-Rollup", "sub");
        let sent = engine.context().publish_with_headers(record.subject.clone(), headers, text.into()).await;
        sent.expect("it is sent").await.expect("it is taken");
    };
    let text = String::from_utf8(record.payload.to_vec()).expect("it is JSON");
    let digest = text.find("SHA-256=").expect("its digest") + 8;
    let mut other = text.clone();
    other.replace_range(digest..digest + 4, "AAAA");
    put(other).await;
    let error = read(&files, &name, 0..400_000).await.expect_err("its hash is another");
    assert!(error.to_string().contains("its hash is another"), "{error}");
    for wrong in
        [text.replace("\"size\":400000", "\"size\":4000000"), text.replace("\"chunks\":4", "\"chunks\":3"), "x".into()]
    {
        put(wrong).await;
        assert!(read(&files, &name, 0..10).await.is_err());
    }
    put(text).await;
    stream.delete_message(2).await.expect("it is deleted");
    assert!(read(&files, &name, 0..400_000).await.is_err(), "a chunk is missing");
    assert_eq!(read(&files, &name, 0..10).await.expect("this part is there"), content[..10]);
}
