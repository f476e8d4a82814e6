//! A form with a file, in whatever pieces it arrives: received alike, the file whole, or refused with a reason and nothing left.

#![no_main]

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, header};
use libfuzzer_sys::fuzz_target;
use tidings::Limits;
use tidings::job::JobFiles;
use tidings_brokers::FileDirectory;
use tidings_transports::upload::{UploadSettings, receive};
use tokio::runtime::Runtime;

const MOST: u64 = 1000;

/// Where nothing is synced for real, if there is such a place.
static DIRECTORY: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let directory = parent.join(format!("tidings-fuzz-upload-{}", std::process::id()));
    std::fs::create_dir(&directory).expect("a directory of our own");
    directory
});

static FILES: LazyLock<Arc<dyn JobFiles>> = LazyLock::new(|| Arc::new(FileDirectory::new(&*DIRECTORY)));

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime"));

/// What became of a request.
#[derive(Debug, PartialEq)]
enum Outcome {
    /// The text parts, and the file: its name, media type and content.
    Received(Vec<(String, String)>, Option<(Option<String>, String, Vec<u8>)>),
    Refused(u16, &'static str),
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&[size, how], bytes)) = bytes.split_first_chunk() else { return };
    let settings = UploadSettings {
        part: (how & 1 == 0).then(|| "file".to_owned()),
        most_bytes: MOST,
        types: if how & 2 == 0 { Vec::new() } else { vec!["csv".to_owned(), "text/*".to_owned()] },
        raw: how & 4 != 0,
        required: how & 8 == 0,
    };
    let media = if how & 16 == 0 { "multipart/form-data; boundary=x" } else { "text/csv" };
    let outcome = send(media, bytes.chunks(usize::from(size).max(1)), &settings);
    assert_eq!(outcome, send(media, bytes.chunks(bytes.len().max(1)), &settings));
    if media == "text/csv" && settings.raw && (1..=MOST as usize).contains(&bytes.len()) {
        assert_eq!(outcome, Outcome::Received(Vec::new(), Some((None, media.to_owned(), bytes.to_owned()))));
    }
});

fn send<'a>(media: &'static str, pieces: impl Iterator<Item = &'a [u8]>, settings: &UploadSettings) -> Outcome {
    let pieces: Vec<_> = pieces.map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece))).collect();
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(media))]);
    let body = Body::from_stream(stream::iter(pieces));
    let received = RUNTIME.block_on(receive(&headers, body, &FILES, settings, &Limits::default()));
    let outcome = match received {
        Err(problem) => {
            assert!(problem.status.is_client_error() && !problem.detail.is_empty(), "{problem:?}");
            Outcome::Refused(problem.status.as_u16(), problem.code)
        }
        Ok(received) => {
            assert!(received.fields.len() <= 32 && received.file.is_some() | !settings.required);
            let file = received.file.map(|file| {
                let content = std::fs::read(DIRECTORY.join(file.key())).expect("a file that was received");
                assert!(file.bytes == content.len() as u64 && (1..=MOST).contains(&file.bytes));
                let name = file.name.clone();
                assert!(name.iter().all(|name| name.len() <= 255 && !name.contains(['/', '\\', '\0', '\n'])));
                (name, file.media_type.clone(), content)
            });
            Outcome::Received(received.fields, file)
        }
    };
    assert!(std::fs::read_dir(&*DIRECTORY).expect("our directory").next().is_none(), "something was left");
    outcome
}
