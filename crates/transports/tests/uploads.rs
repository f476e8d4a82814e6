//! Uploads with what can go wrong: a file is whole and on the disk, or refused with a reason and gone.

use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tidings::Limits;
use tidings::job::JobFiles;
use tidings_brokers::FileDirectory;
use tidings_transports::Problem;
use tidings_transports::upload::{Received, UploadSettings, receive};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const FORM: &str = "multipart/form-data; boundary=XyZ";

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let pair =
        |(name, value): &(&'static str, &str)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    pairs.iter().map(pair).collect()
}

fn form(parts: &[(&str, &str)]) -> String {
    let part =
        |(head, value): &(&str, &str)| format!("--XyZ\r\nContent-Disposition: form-data; {head}\r\n\r\n{value}\r\n");
    parts.iter().map(part).collect::<String>() + "--XyZ--\r\n"
}

fn pieces(bytes: impl Into<Bytes>, size: usize) -> Body {
    let mut bytes = bytes.into();
    let pieces = std::iter::from_fn(move || (!bytes.is_empty()).then(|| bytes.split_to(size.min(bytes.len()))));
    Body::from_stream(stream::iter(pieces.map(Ok::<_, std::io::Error>).collect::<Vec<_>>()))
}

fn files(directory: &Path) -> Vec<std::fs::DirEntry> {
    std::fs::read_dir(directory).unwrap().map(Result::unwrap).collect()
}

fn kept_in(directory: &Path) -> Arc<dyn JobFiles> {
    Arc::new(FileDirectory::new(directory))
}

async fn send(media: &str, body: Body, to: &Path, settings: &UploadSettings) -> Result<Received, Problem> {
    receive(&headers(&[("content-type", media)]), body, &kept_in(to), settings, &Limits::default()).await
}

/// What is received, as a value: fields, name, type, content.
async fn summary(media: &str, body: Body, settings: &UploadSettings) -> Value {
    let directory = TempDir::new().unwrap();
    let received = send(media, body, directory.path(), settings).await.unwrap();
    let file = received.file.as_ref().map(|file| {
        let content = std::fs::read(directory.path().join(file.key())).unwrap();
        assert_eq!((file.bytes, file.sha256), (content.len() as u64, Sha256::digest(&content).into()));
        json!([file.name, file.media_type, String::from_utf8_lossy(&content)])
    });
    json!({ "fields": received.fields, "file": file })
}

#[tokio::test]
async fn a_form_is_received_alike_in_whatever_pieces_it_arrives() {
    let body = "a preamble\r\n--XyZ \t\r\nContent-Disposition: form-data; name=\"job\"\r\n\r\n{\"id\":\"é\"}\r\n\
        --XyZ\r\ncontent-disposition: form-data; name=\"empty\"\r\n\r\n\r\n\
        --XyZ\r\nContent-Disposition: form-data; name=\"file\"; filename=\"C:\\\\lists\\\\books.csv\"\r\n\
        Content-Type: text/csv; charset=iso-8859-1\r\n\r\ntitle\r\n--Xy\r\n\r\r\n--XyY\r\n\r\n\
        --XyZ\r\nContent-Disposition: form-data; name=\"kind\"\r\n\r\nimport\r\n--XyZ--\r\nan epilogue";
    let expected = json!({
        "fields": [["job", "{\"id\":\"é\"}"], ["empty", ""], ["kind", "import"]],
        "file": ["books.csv", "text/csv; charset=iso-8859-1", "title\r\n--Xy\r\n\r\r\n--XyY\r\n"],
    });
    for size in [1, 2, 3, 7, 64, body.len()] {
        let settings = UploadSettings::default();
        assert_eq!(summary(FORM, pieces(body, size), &settings).await, expected, "pieces of {size} bytes");
    }
}

#[tokio::test]
async fn the_body_itself_is_the_file_where_that_is_asked_for() {
    let raw = UploadSettings { raw: true, ..UploadSettings::default() };
    let of = async |media: &str| summary(media, Body::from("title\nDune\n"), &raw).await["file"].clone();
    assert_eq!(of("text/csv; charset=utf-8").await, json!([null, "text/csv; charset=utf-8", "title\nDune\n"]));
    assert_eq!(of("nonsense").await, json!([null, "application/octet-stream", "title\nDune\n"]));
    let form = form(&[("name=file; filename=a.csv", "x")]);
    assert_eq!(summary(FORM, Body::from(form), &raw).await["file"][2], "x", "a form stays a form");
}

#[tokio::test]
async fn the_file_is_the_named_part_or_the_one_with_a_file_name() {
    let any = UploadSettings { part: None, ..UploadSettings::default() };
    let named = UploadSettings::default();
    let two = form(&[("name=csv; filename=a.csv", "x"), ("name=file", "y")]);
    assert_eq!(
        summary(FORM, Body::from(two), &any).await,
        json!({ "fields": [["file", "y"]], "file": ["a.csv", "application/octet-stream", "x"] })
    );
    let unchosen = form(&[("name=cover; filename=\"\"", ""), ("name=file", "y")]);
    assert_eq!(
        summary(FORM, Body::from(unchosen), &named).await,
        json!({ "fields": [["cover", ""]], "file": [null, "application/octet-stream", "y"] })
    );
    let optional = UploadSettings { required: false, ..named };
    for none in [form(&[("name=kind", "scan")]), form(&[("name=kind", "scan"), ("name=file; filename=\"\"", "")])] {
        let expected = json!({ "fields": [["kind", "scan"]], "file": null });
        assert_eq!(summary(FORM, Body::from(none), &optional).await, expected);
    }
}

#[tokio::test]
async fn a_clients_name_for_its_file_is_for_showing_only() {
    let of = async |name: &str| {
        let body = form(&[(&format!("name=file; filename=\"{name}\""), "x")]);
        summary(FORM, Body::from(body), &UploadSettings::default()).await["file"][0].clone()
    };
    assert_eq!(of("../../etc/passwd").await, "passwd");
    assert_eq!(of("C:\\x\\books.csv").await, "books.csv");
    assert_eq!(of("a\tb\u{202e}c\u{85}.csv").await, "abc.csv");
    assert_eq!(of("Bücher 书.csv").await, "Bücher 书.csv");
    for nothing in ["..", ".", "a/", " "] {
        assert_eq!(of(nothing).await, Value::Null, "{nothing:?}");
    }
    assert_eq!(of(&"é".repeat(200)).await, "é".repeat(127));
}

#[tokio::test]
async fn every_refusal_says_what_is_wrong_and_leaves_nothing() {
    let settings = UploadSettings {
        most_bytes: 10,
        types: vec!["csv".into(), ".TSV".into(), "text/*".into()],
        ..UploadSettings::default()
    };
    let raw = UploadSettings { raw: true, ..settings.clone() };
    let optional = UploadSettings { required: false, ..settings.clone() };
    let file = |value: &str| form(&[("name=file; filename=a.csv", value)]);
    let cut = |text: String, by: usize| text[..text.len() - by].to_owned();
    let many = |head, count| form(&vec![(head, ""); count]);
    let (large, long) = ("x".repeat((64 << 10) + 1), format!("name={}", "x".repeat(100 << 10)));
    let nothing = json!({});
    let cases: &[(&UploadSettings, &str, String, u16, &str, Value)] = &[
        (&settings, "", file("x"), 415, "expected-multipart", nothing.clone()),
        (&settings, "text/csv", "x".into(), 415, "expected-multipart", nothing.clone()),
        (&raw, "multipart/mixed; boundary=XyZ", file("x"), 415, "expected-multipart", nothing.clone()),
        (&settings, "multipart/form-data", file("x"), 400, "invalid-boundary", nothing.clone()),
        (&settings, "multipart/form-data; boundary=\"\"", file("x"), 400, "invalid-boundary", nothing.clone()),
        (&settings, &format!("{FORM}{}", "Z".repeat(70)), file("x"), 400, "invalid-boundary", nothing.clone()),
        (&settings, "multipart/form-data; boundary=other", file("x"), 400, "broken-body", nothing.clone()),
        (&settings, "multipart/form-data; boundary=other", file(&large), 400, "invalid-multipart", nothing.clone()),
        (&settings, FORM, form(&[(&long, "x")]), 400, "invalid-multipart", nothing.clone()),
        (&settings, FORM, String::new(), 400, "broken-body", nothing.clone()),
        (&settings, FORM, cut(file("x"), 4), 400, "broken-body", nothing.clone()),
        (&settings, FORM, cut(file("x"), 10), 400, "broken-body", nothing.clone()),
        (&settings, FORM, form(&[("filename=", "x")]), 400, "invalid-multipart", nothing.clone()),
        (&settings, FORM, "--XyZ\r\nno header\r\n\r\nx\r\n--XyZ--".into(), 400, "invalid-multipart", nothing.clone()),
        (&settings, FORM, "--XyZ--".into(), 400, "no-file", nothing.clone()),
        (&settings, FORM, form(&[("name=job", "{}")]), 400, "no-file", nothing.clone()),
        (&settings, FORM, form(&[("name=file; filename=\"\"", "")]), 400, "no-file", nothing.clone()),
        (&settings, FORM, form(&[("name=csv; filename=a.csv", "x")]), 400, "no-file", json!({ "part": "csv" })),
        (&settings, FORM, file(""), 400, "empty-file", nothing.clone()),
        (&raw, "text/csv", String::new(), 400, "empty-file", nothing.clone()),
        (
            &settings,
            FORM,
            form(&[("name=file; filename=a.csv", "x"), ("name=file", "y")]),
            400,
            "two-files",
            nothing.clone(),
        ),
        (&settings, FORM, file("12345678901"), 413, "file-too-large", json!({ "limit": 10 })),
        (&raw, "text/csv", "12345678901".into(), 413, "file-too-large", json!({ "limit": 10 })),
        (&optional, FORM, many("name=a", 33), 413, "too-many-fields", json!({ "limit": 32 })),
        (&settings, FORM, many("name=a", 34), 413, "too-many-fields", json!({ "limit": 32 })),
        (&settings, FORM, many("name=file; filename=\"\"", 34), 413, "too-many-fields", json!({ "limit": 32 })),
        (
            &settings,
            FORM,
            form(&[("name=file; filename=a.csv", "x"), ("name=b; filename=b.csv", "y")]),
            400,
            "two-files",
            nothing.clone(),
        ),
        (&settings, FORM, form(&[("name=a", &large)]), 413, "field-too-large", json!({ "limit": 65536, "field": "a" })),
        (
            &settings,
            FORM,
            form(&[("name=file; filename=a.zip", "x")]),
            415,
            "unsupported-file-type",
            json!({ "allowed": ["csv", ".TSV", "text/*"] }),
        ),
        (&raw, "application/zip", "x".into(), 415, "unsupported-file-type", nothing.clone()),
    ];
    let directory = TempDir::new().unwrap();
    for (settings, media, body, status, code, members) in cases {
        for size in [5, body.len().max(1)] {
            let result = send(media, pieces(body.clone(), size), directory.path(), settings).await;
            let problem = result.err().unwrap_or_else(|| panic!("{code} was accepted: {media} {body:.200}"));
            let answer = problem.body();
            assert_eq!((problem.status.as_u16(), problem.code), (*status, *code), "{answer} {body:.200}");
            for (name, value) in members.as_object().unwrap() {
                assert_eq!(&answer[name], value, "{answer}");
            }
            assert_eq!(files(directory.path()).len(), 0, "{code} left a file");
        }
    }
    let taken = ["a.CSV", "b.tsv", "b.zip\"\r\nContent-Type: \"text/plain"];
    for name in taken.map(|name| format!("name=file; filename=\"{name}\"")) {
        let name = name.replace(": \"text/plain\"", ": text/plain");
        send(FORM, Body::from(form(&[(&name, "1234567890")])), directory.path(), &settings).await.unwrap();
    }
    let example = send("text/csv", Body::empty(), directory.path(), &settings).await.unwrap_err();
    assert!(example.detail.contains("curl -F file=@<file>"), "{}", example.detail);
}

#[tokio::test]
async fn a_body_in_another_encoding_is_refused() {
    let directory = TempDir::new().unwrap();
    let raw = UploadSettings { raw: true, ..UploadSettings::default() };
    let of = async |encoding: &str| {
        let headers = headers(&[("content-type", "text/csv"), ("content-encoding", encoding)]);
        receive(&headers, Body::from("x"), &kept_in(directory.path()), &raw, &Limits::default()).await
    };
    of("identity").await.unwrap();
    let problem = of("gzip").await.unwrap_err();
    assert_eq!((problem.status.as_u16(), problem.code), (415, "unsupported-encoding"));
}

#[tokio::test]
async fn a_length_that_is_too_large_is_refused_before_a_byte_is_read() {
    let directory = TempDir::new().unwrap();
    let settings = UploadSettings { most_bytes: 10, raw: true, ..UploadSettings::default() };
    for (media, length) in [("text/csv", "11"), (FORM, "10000000")] {
        let headers = headers(&[("content-type", media), ("content-length", length)]);
        let unread = Body::from_stream(stream::poll_fn(|_| -> Poll<Option<Result<Bytes, std::io::Error>>> {
            panic!("the body was read")
        }));
        let problem =
            receive(&headers, unread, &kept_in(directory.path()), &settings, &Limits::default()).await.unwrap_err();
        assert_eq!((problem.status.as_u16(), problem.code), (413, "file-too-large"));
    }
    // The parts around the file are not the file.
    let body = form(&[("name=job", &"x".repeat(1000)), ("name=file; filename=a", "1234567890")]);
    let headers = headers(&[("content-type", FORM), ("content-length", &body.len().to_string())]);
    receive(&headers, Body::from(body), &kept_in(directory.path()), &settings, &Limits::default()).await.unwrap();
}

#[tokio::test]
async fn a_connection_that_breaks_leaves_nothing() {
    let directory = TempDir::new().unwrap();
    let settings = UploadSettings { raw: true, ..UploadSettings::default() };
    for media in [FORM, "text/csv"] {
        let begun = "--XyZ\r\nContent-Disposition: form-data; name=file\r\n\r\nabc";
        let broken =
            stream::iter([Ok(Bytes::from(begun)), Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset))]);
        let problem = send(media, Body::from_stream(broken), directory.path(), &settings).await.unwrap_err();
        assert_eq!((problem.status.as_u16(), problem.code), (400, "broken-body"));
        assert_eq!(files(directory.path()).len(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn only_silence_is_too_slow_however_long_the_whole_takes() {
    let directory = TempDir::new().unwrap();
    let settings = UploadSettings { raw: true, ..UploadSettings::default() };
    let whole = form(&[("name=file", &"x".repeat(1000))]);
    for media in [FORM, "text/csv"] {
        let slowly = |pause| {
            let each = move |piece: &[u8]| {
                let piece = Bytes::copy_from_slice(piece);
                async move {
                    tokio::time::sleep(pause).await;
                    Ok::<_, std::io::Error>(piece)
                }
            };
            let pieces: Vec<_> = whole.as_bytes().chunks(100).map(each).collect();
            Body::from_stream(stream::iter(pieces).then(|piece| piece))
        };
        send(media, slowly(Duration::from_secs(29)), directory.path(), &settings).await.unwrap();
        let begun = tokio::time::Instant::now();
        let problem = send(media, slowly(Duration::from_secs(31)), directory.path(), &settings).await.unwrap_err();
        assert_eq!((problem.status.as_u16(), problem.code), (408, "slow-request"));
        assert_eq!(begun.elapsed().as_secs(), 30);
        assert_eq!(files(directory.path()).len(), 0);
    }
}

#[tokio::test]
async fn a_file_stays_only_where_it_is_kept_and_only_its_owner_reads_it() {
    let directory = TempDir::new().unwrap();
    let upload = async || {
        let body = form(&[("name=file; filename=a.csv", "title\n")]);
        send(FORM, Body::from(body), directory.path(), &UploadSettings::default()).await.unwrap()
    };
    drop(upload().await);
    assert_eq!(files(directory.path()).len(), 0);
    let mut received = upload().await;
    received.file.as_mut().unwrap().keep();
    let path = directory.path().join(received.file.as_ref().unwrap().key());
    drop(received);
    assert_eq!(std::fs::read(&path).unwrap(), b"title\n");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit()), "{name}");
}

#[tokio::test]
async fn a_directory_that_can_not_be_written_is_a_503() {
    let directory = TempDir::new().unwrap().path().join("gone");
    let body = form(&[("name=file", "x")]);
    let problem = send(FORM, Body::from(body), &directory, &UploadSettings::default()).await.unwrap_err();
    assert_eq!((problem.status.as_u16(), problem.code), (503, "upload-unavailable"));
}

/// A form whose body is always there, as of a client on the same machine: 8 MiB behind some small parts.
fn fast(
    taken: Arc<AtomicU64>,
    look: impl Fn(u64) + Send + 'static,
) -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send {
    let small = "--XyZ\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n".repeat(32);
    let head = small + "--XyZ\r\nContent-Disposition: form-data; name=file\r\n\r\n";
    let data = std::iter::repeat_n(Bytes::from(vec![b'x'; 16 << 10]), 512);
    let all = std::iter::once(Bytes::from(head)).chain(data).chain([Bytes::from("\r\n--XyZ--\r\n")]);
    stream::iter(all.map(move |piece| {
        look(taken.fetch_add(piece.len() as u64, Ordering::Relaxed));
        Ok(piece)
    }))
}

#[tokio::test]
async fn a_body_is_read_no_faster_than_it_is_written() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().to_owned();
    let ahead = Arc::new(AtomicU64::new(0));
    let most = ahead.clone();
    let look = move |taken: u64| {
        let written = files(&path).first().map_or(0, |file| file.metadata().unwrap().len());
        most.fetch_max(taken.saturating_sub(written), Ordering::Relaxed);
    };
    for media in [FORM, "text/plain"] {
        let settings = UploadSettings { raw: true, ..UploadSettings::default() };
        let body = Body::from_stream(fast(Arc::default(), look.clone()));
        let received = send(media, body, directory.path(), &settings).await.unwrap();
        assert!(received.file.unwrap().bytes >= 8 << 20);
        let ahead = ahead.swap(0, Ordering::Relaxed);
        assert!(ahead <= 128 << 10, "{ahead} bytes were in memory");
    }
}

/// Dropped while it waits for the client, or while a thread writes: the file goes either way.
#[test]
fn wherever_the_client_leaves_nothing_stays() {
    for polls in 0..60 {
        let directory = TempDir::new().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let body = Body::from_stream(fast(Arc::default(), |_| ()));
            let settings = UploadSettings::default();
            let mut upload = pin!(send(FORM, body, directory.path(), &settings));
            let mut polled = 0;
            std::future::poll_fn(|cx| {
                polled += 1;
                if polled > polls { Poll::Ready(()) } else { upload.as_mut().poll(cx).map(drop) }
            })
            .await;
        });
        // Waits for the thread that writes.
        drop(runtime);
        assert_eq!(files(directory.path()).len(), 0, "left at poll {polls}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_a_socket_a_form_arrives_and_a_client_that_hangs_up_leaves_nothing() {
    let directory = Arc::new(TempDir::new().unwrap());
    let (ended, mut end) = tokio::sync::mpsc::unbounded_channel();
    let handler = {
        let directory = directory.clone();
        move |request: axum::extract::Request| async move {
            // Told when the handler ends, be it because it was dropped.
            struct Ended(tokio::sync::mpsc::UnboundedSender<()>);
            impl Drop for Ended {
                fn drop(&mut self) {
                    let _ = self.0.send(());
                }
            }
            let _ended = Ended(ended);
            let (parts, body) = request.into_parts();
            let limits = Limits::default();
            receive(&parts.headers, body, &kept_in(directory.path()), &UploadSettings::default(), &limits)
                .await
                .map(|received| received.file.unwrap().bytes.to_string())
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move { axum::serve(listener, axum::routing::post(handler)).await });
    let body = form(&[("name=file; filename=a.csv", &"x".repeat(200_000))]);
    let head = format!(
        "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: {FORM}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let connect = async |body: &str| {
        let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
        client.write_all(head.as_bytes()).await.unwrap();
        client.write_all(body.as_bytes()).await.unwrap();
        client
    };
    let mut answer = String::new();
    connect(&body).await.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n200000"), "{answer}");
    end.recv().await.unwrap();
    drop(connect(&body[..150_000]).await);
    end.recv().await.unwrap();
    assert_eq!(files(directory.path()).len(), 0);
    server.abort();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// All that the file is made of are beginnings of its boundary.
    #[test]
    fn what_looks_like_a_boundary_is_part_of_the_file(
        content in "[\r\n\\-Xy]{1,200}", size in 1usize..40,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let body = form(&[("name=file", &content)]);
        let received = runtime.block_on(summary(FORM, pieces(body, size), &UploadSettings::default()));
        prop_assert_eq!(received["file"][2].as_str(), Some(content.as_str()));
    }
}
