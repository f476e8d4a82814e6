//! The files that come with jobs: handing them out, and sweeping up those that nobody needs any more.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, Method, StatusCode, header, request};
use tidings::job::{JobFault, JobFile, JobFileError, JobFileReader, JobFiles, JobId, Jobs};

use super::range::{self, Part};
use super::{Api, Caller, lease};
use crate::problem::Problem;

/// How often it is looked for files that nobody needs.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// A file that no job has may be of one that is being made, for as long as an upload may take.
const YOUNG: Duration = Duration::from_secs(3600);

impl Api {
    pub(super) async fn file(&self, id: &JobId, parts: &request::Parts) -> Result<Response, Problem> {
        let job = match lease::of(&parts.headers) {
            Some(lease) => {
                self.jobs.check_lease(id, lease).await?;
                self.jobs.get(id).await?.ok_or(JobFault::LeaseLost)?
            }
            None => {
                let Caller { principal, .. } = self.caller(parts).await?;
                let job = self.seen(id, &principal).await?;
                if !principal.operator && !job.is_owned_by(&principal) {
                    let detail = "its file is for the owner of a job and for its worker";
                    return Err(Problem::new(StatusCode::FORBIDDEN, "may-not-read-file", detail));
                }
                job
            }
        };
        let Some(file) = job.file else { return Err(no_such_file("this job came without a file")) };
        let part = range::wanted(&parts.headers, file.bytes);
        let opened = match (&part, &parts.method) {
            // Nothing of it is sent, but whether it is there is told.
            (Part::Beyond, _) | (_, &Method::HEAD) => 0..0,
            (Part::Whole, _) => 0..file.bytes,
            (Part::Bytes(part), _) => part.clone(),
        };
        match self.files()?.open(&file.path, opened).await {
            Ok(reader) => Ok(sent(&file, &part, reader)),
            Err(JobFileError::NotFound) => Err(no_such_file("the file is gone: it is kept until the job ends")),
            Err(error) => Err(JobFault::Unavailable(error.to_string()).into()),
        }
    }
}

fn no_such_file(detail: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "no-such-file", detail)
}

fn sent(file: &JobFile, part: &Part, reader: Box<dyn JobFileReader>) -> Response {
    let (status, part): (_, Range<u64>) = match part {
        Part::Whole => (StatusCode::OK, 0..file.bytes),
        Part::Bytes(part) => (StatusCode::PARTIAL_CONTENT, part.clone()),
        Part::Beyond => {
            let detail = format!("the file has {} bytes", file.bytes);
            return Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, "invalid-range", detail)
                .header(header::CONTENT_RANGE, &format!("bytes */{}", file.bytes))
                .into_response();
        }
    };
    let body = Body::from_stream(pieces(reader));
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    let unknown = HeaderValue::from_static("application/octet-stream");
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(&file.media_type).unwrap_or(unknown));
    headers.insert(header::CONTENT_LENGTH, (part.end - part.start).into());
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if status == StatusCode::PARTIAL_CONTENT
        && let Ok(range) = HeaderValue::from_str(&format!("bytes {}-{}/{}", part.start, part.end - 1, file.bytes))
    {
        headers.insert(header::CONTENT_RANGE, range);
    }
    if let Ok(disposition) = HeaderValue::from_str(&disposition(&file.name)) {
        headers.insert(header::CONTENT_DISPOSITION, disposition);
    }
    // Whoever sent it may have sent a page: it is never shown as one of this program's.
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox"));
    response
}

/// To be saved under this name (RFC 6266 §4): for all in ASCII, and for those who can in UTF-8 (RFC 8187 §3.2.1).
fn disposition(name: &str) -> String {
    let plain =
        |c: char| if c == ' ' || c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '%' | '/') { c } else { '_' };
    let ascii: String = name.chars().map(plain).collect();
    if ascii == name {
        return format!("attachment; filename=\"{ascii}\"");
    }
    let mut encoded = String::with_capacity(3 * name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte.into()),
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    format!("attachment; filename=\"{ascii}\"; filename*=UTF-8''{encoded}")
}

/// What is read, a piece at a time as they are wanted.
fn pieces(reader: Box<dyn JobFileReader>) -> impl futures_util::Stream<Item = Result<Bytes, JobFileError>> + Send {
    stream::try_unfold(reader, |mut reader| async move { Ok(reader.next().await?.map(|piece| (piece, reader))) })
}

/// Deletes the files that belong to no job that goes on, now and then, for as long as there are jobs.
///
/// Most went when their job ended. Else a file whose job has ended since the look before goes at the next one; one that no job is known to have had goes when it is an hour old, as an upload may
/// be under way, and was of no job at two looks in a row: a replica that was cut off hears only after a moment of jobs that others made.
pub async fn sweep(files: Arc<dyn JobFiles>, jobs: Weak<Jobs>) {
    let (mut needed, mut orphans) = (HashSet::new(), HashSet::new());
    loop {
        let Some(open) = jobs.upgrade().map(|jobs| jobs.files()) else { return };
        let before = std::mem::replace(&mut needed, open.clone());
        match sweep_once(&files, &open, &before, &mut orphans).await {
            Ok(0) => {}
            Ok(files) => tracing::info!(files, "files of jobs that have ended were deleted"),
            Err(error) => tracing::warn!(%error, "files of jobs that have ended can't be deleted"),
        }
        tokio::time::sleep(SWEEP_EVERY).await;
    }
}

/// Deletes all but those of `open`: at once those that were `open` before, others when they are old and among the `orphans` of the look
/// before, in whose place it puts those of this one. Says how many it deleted.
async fn sweep_once(
    files: &Arc<dyn JobFiles>,
    open: &HashSet<String>,
    before: &HashSet<String>,
    orphans: &mut HashSet<String>,
) -> Result<usize, JobFileError> {
    let (mut swept, earlier) = (0, std::mem::take(orphans));
    for name in files.names().await?.into_iter().filter(|name| !open.contains(name)) {
        let is_old = || async { Ok(files.age(&name).await?.is_some_and(|age| age >= YOUNG)) };
        if before.contains(&name) || earlier.contains(&name) && is_old().await? {
            files.remove(&name).await?;
            swept += 1;
        } else {
            orphans.insert(name);
        }
    }
    Ok(swept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::time::SystemTime;
    use tidings_brokers::FileDirectory;

    #[test]
    fn a_name_can_not_leave_its_header() {
        assert_eq!(disposition("books.csv"), "attachment; filename=\"books.csv\"");
        assert_eq!(disposition("a\"b\r\n.csv"), "attachment; filename=\"a_b__.csv\"; filename*=UTF-8''a%22b%0D%0A.csv");
        assert_eq!(disposition("Bücher.csv"), "attachment; filename=\"B_cher.csv\"; filename*=UTF-8''B%C3%BCcher.csv");
    }

    #[tokio::test]
    async fn only_what_no_open_job_needs_is_swept_and_what_may_be_under_way_stays() {
        let directory = tempfile::tempdir().unwrap();
        let name = |n: u8| format!("{n:032x}");
        let age = |name: &str, age: Duration| {
            let file = File::create(directory.path().join(name)).unwrap();
            file.set_modified(SystemTime::now() - age).unwrap();
        };
        let files: Arc<dyn JobFiles> = Arc::new(FileDirectory::new(directory.path()));
        age(&name(1), 2 * YOUNG);
        age(&name(2), 2 * YOUNG);
        age(&name(3), Duration::ZERO);
        age(&name(4), Duration::ZERO);
        age("notes.txt", 2 * YOUNG);
        let (open, before) = (HashSet::from([name(1)]), HashSet::from([name(1), name(3)]));
        let there = |name: &str| directory.path().join(name).exists();
        let mut orphans = HashSet::new();
        assert_eq!(sweep_once(&files, &open, &before, &mut orphans).await.unwrap(), 1);
        assert!(there(&name(2)), "it is old, but perhaps its job was not heard of yet");
        assert_eq!(sweep_once(&files, &open, &open, &mut orphans).await.unwrap(), 1);
        assert!(there(&name(1)), "its job goes on");
        assert!(!there(&name(2)), "it is old, and no job has it");
        assert!(!there(&name(3)), "its job has ended");
        assert!(there(&name(4)), "it may be under way");
        assert!(there("notes.txt"), "it is no upload");
    }
}
