//! One uploaded file on its way to where files are kept, as `multipart/form-data` (RFC 7578) or as the body itself.
//!
//! The file goes there piece by piece, so that its size takes no memory: `body` reads, `file` writes.

mod body;
mod file;

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use multer::{Field, Multipart};
use tidings::Limits;
use tidings::job::JobFiles;

use crate::problem::Problem;
use body::{Gate, Pieces, Stopped};
use file::Partial;
pub use file::Uploaded;

/// What a route takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadSettings {
    /// The name of the file's part. `None`: whichever part has a file name.
    pub part: Option<String>,
    /// The most bytes of the file.
    pub most_bytes: u64,
    /// Which files are taken, by their name's ending (`csv`) or their media type (`text/csv`, `image/*`): one that matches is
    /// enough. Both are the client's word. Empty: all.
    pub types: Vec<String>,
    /// Whether a body that is not multipart is the file itself, of the request's `Content-Type`.
    pub raw: bool,
    /// Whether a request without a file is refused.
    pub required: bool,
}

impl Default for UploadSettings {
    fn default() -> Self {
        UploadSettings {
            part: Some("file".to_owned()),
            // A photo has 20 MiB, an export of 100,000 books 30.
            most_bytes: 64 << 20,
            types: Vec::new(),
            raw: false,
            required: true,
        }
    }
}

/// What a request brought.
#[derive(Debug, Default)]
pub struct Received {
    /// The text parts in their order: name and value. A name may come twice.
    pub fields: Vec<(String, String)>,
    /// The file. `None` only where [`UploadSettings::required`] is off. Discarded when it is dropped, unless [`Uploaded::keep`] was
    /// called.
    pub file: Option<Uploaded>,
}

/// The most text parts beside the file: a form of one upload has a few.
const FIELDS: usize = 32;

/// The most bytes of one text part: a job's description, as it is held in memory.
const FIELD_BYTES: usize = 64 << 10;

/// The most bytes between two parts: the preamble, or a part's header.
const HEAD_BYTES: usize = 16 << 10;

/// The most that a whole body can be larger than its file.
const AROUND: u64 = (FIELDS * FIELD_BYTES + (FIELDS + 3) * HEAD_BYTES) as u64;

/// The most characters of a boundary (RFC 2046 §5.1.1).
const BOUNDARY: usize = 70;

/// Reads a request with one file into a new file of `to`. When it returns, the file is durable: no crash takes back what is
/// answered now.
///
/// Nothing stays in `to` after an error, nor where the future is dropped because the client is gone; what a killed process left is
/// [swept](crate::jobs::files::sweep). [`Limits::request_timeout`] bounds how long the client may send no byte, not how long it may take for all of them.
///
/// # Errors
/// | status | code | when |
/// |---|---|---|
/// | 400 | `invalid-boundary`, `invalid-multipart`, `invalid-field` | the body is not what RFC 7578 asks for; a text part is not UTF-8 |
/// | 400 | `broken-body` | it ends before its end |
/// | 400 | `no-file`, `empty-file`, `two-files` | not one file with something in it |
/// | 408 | `slow-request` | no byte came for the timeout |
/// | 413 | `file-too-large`, `field-too-large`, `too-many-fields` | with `limit`. By `Content-Length` even before it is read |
/// | 415 | `expected-multipart`, `unsupported-file-type`, `unsupported-encoding` | the request says that it is something else |
/// | 503 | `upload-unavailable` | files can't be kept now; with `Retry-After` |
/// | 507 | `no-room` | there is no room for it |
pub async fn receive(
    headers: &HeaderMap,
    body: Body,
    to: &Arc<dyn JobFiles>,
    settings: &UploadSettings,
    limits: &Limits,
) -> Result<Received, Problem> {
    let media = text(headers, header::CONTENT_TYPE).unwrap_or_default();
    refuse_encoded(headers)?;
    let length = text(headers, header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    let pieces = Pieces::new(body, limits.request_timeout);
    let receiver = Receiver { to, settings };
    match essence(media) {
        kind if kind == "multipart/form-data" => {
            let boundary = boundary(media)?;
            receiver.refuse_large(length.map(|length| length.saturating_sub(AROUND)))?;
            receiver.multipart(pieces, boundary).await
        }
        kind if settings.raw && !kind.starts_with("multipart/") => {
            receiver.refuse_large(length)?;
            receiver.raw(pieces, media).await
        }
        kind => Err(receiver.expected_multipart(&kind)),
    }
}

struct Receiver<'a> {
    to: &'a Arc<dyn JobFiles>,
    settings: &'a UploadSettings,
}

impl Receiver<'_> {
    /// The body is the file.
    async fn raw(&self, mut pieces: Pieces, media: &str) -> Result<Received, Problem> {
        let of = Described { name: None, media_type: media_type(Some(media)) };
        self.refuse_type(&of)?;
        let mut partial = Partial::create(self.to).await?;
        while let Some(piece) = pieces.next().await {
            self.write(&mut partial, piece?).await?;
        }
        let file = self.finish(partial, of).await?;
        Ok(Received { fields: Vec::new(), file: Some(file) })
    }

    /// The file is one part of the body.
    async fn multipart(&self, pieces: Pieces, boundary: String) -> Result<Received, Problem> {
        let gate = Gate::new(HEAD_BYTES);
        let mut multipart = Multipart::new(gate.admit(pieces), boundary);
        let mut received = Received::default();
        while let Some(field) = gate.drive(|cx| multipart.poll_next_field(cx)).await.map_err(refused)? {
            if field.index() > FIELDS {
                return Err(too_many_fields());
            }
            match self.is_file(&field, received.file.is_some())? {
                true => received.file = self.file(&gate, field).await?,
                false => received.fields.push(self.field(&gate, field, received.fields.len()).await?),
            }
        }
        match received.file {
            None if self.settings.required => Err(self.no_file("there is no file in this request")),
            _ => Ok(received),
        }
    }

    /// Whether `field` is the file. Refuses another one, and one in another part: it would be missed only when it is needed.
    fn is_file(&self, field: &Field<'_>, has_one: bool) -> Result<bool, Problem> {
        // Of a form where none was chosen, browsers send a file with an empty name.
        let has_file_name = field.file_name().is_some_and(|name| !name.is_empty());
        let is_named = self.settings.part.as_deref().map_or(has_file_name, |part| field.name() == Some(part));
        if has_one && (is_named || has_file_name) {
            let detail = "there are two files in this request; send one in each";
            return Err(Problem::new(StatusCode::BAD_REQUEST, "two-files", detail));
        }
        if has_file_name && !is_named {
            let part = field.name().unwrap_or_default();
            return Err(self.no_file(&format!("the file is in part {part:?}")).with("part", part));
        }
        Ok(is_named)
    }

    /// The file in `field`, kept; `None` if none was chosen in the form.
    async fn file(&self, gate: &Gate, mut field: Field<'_>) -> Result<Option<Uploaded>, Problem> {
        let media = text(field.headers(), header::CONTENT_TYPE);
        let of = Described { name: field.file_name().and_then(display_name), media_type: media_type(media) };
        let chosen = field.file_name() != Some("");
        if chosen {
            self.refuse_type(&of)?;
        }
        let mut partial = Partial::create(self.to).await?;
        while let Some(piece) = gate.chunk(&mut field).await.map_err(refused)? {
            self.write(&mut partial, piece).await?;
        }
        if !chosen && partial.bytes() == 0 {
            return Ok(None);
        }
        Ok(Some(self.finish(partial, of).await?))
    }

    /// A text part, behind `before` others.
    async fn field(&self, gate: &Gate, mut field: Field<'_>, before: usize) -> Result<(String, String), Problem> {
        if before == FIELDS {
            return Err(too_many_fields());
        }
        let Some(name) = field.name().map(str::to_owned) else {
            let detail = format!("part {} has no name in its Content-Disposition (RFC 7578 §4.2)", field.index() + 1);
            return Err(Problem::new(StatusCode::BAD_REQUEST, "invalid-multipart", detail));
        };
        let mut value = Vec::new();
        while let Some(piece) = gate.chunk(&mut field).await.map_err(refused)? {
            if value.len() + piece.len() > FIELD_BYTES {
                let detail = format!("part {name:?} is larger than {FIELD_BYTES} bytes");
                return Err(too_large("field-too-large", detail, FIELD_BYTES as u64).with("field", name));
            }
            value.extend_from_slice(&piece);
        }
        match String::from_utf8(value) {
            Ok(value) => Ok((name, value)),
            Err(_) => {
                let detail = format!("part {name:?} is not UTF-8");
                Err(Problem::new(StatusCode::BAD_REQUEST, "invalid-field", detail).with("field", name))
            }
        }
    }

    async fn write(&self, partial: &mut Partial, piece: Bytes) -> Result<(), Problem> {
        self.refuse_large(Some(partial.bytes() + piece.len() as u64))?;
        partial.write(piece).await
    }

    async fn finish(&self, partial: Partial, of: Described) -> Result<Uploaded, Problem> {
        if partial.bytes() == 0 {
            return Err(Problem::new(StatusCode::BAD_REQUEST, "empty-file", "the file is empty"));
        }
        partial.finish(self.to, of.name, of.media_type).await
    }

    fn refuse_large(&self, bytes: Option<u64>) -> Result<(), Problem> {
        let most = self.settings.most_bytes;
        match bytes {
            Some(bytes) if bytes > most => {
                Err(too_large("file-too-large", format!("the file is larger than {most} bytes"), most))
            }
            _ => Ok(()),
        }
    }

    fn refuse_type(&self, of: &Described) -> Result<(), Problem> {
        let types = &self.settings.types;
        if types.is_empty() || types.iter().any(|taken| of.is(taken)) {
            return Ok(());
        }
        let name = of.name.as_ref().map(|name| format!("{name:?}, ")).unwrap_or_default();
        let detail = format!("the file is {name}{}; taken is {}", of.media_type, types.join(", "));
        let problem = Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-file-type", detail);
        Err(problem.with("allowed", types.clone()))
    }

    fn expected_multipart(&self, kind: &str) -> Problem {
        let body = if kind.is_empty() { "of no type" } else { kind };
        let raw = if self.settings.raw { ", or as the body itself with its own Content-Type" } else { "" };
        let detail = format!("the body is {body}: send the file as multipart/form-data, as {}{raw}", self.example());
        Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "expected-multipart", detail)
    }

    fn no_file(&self, what: &str) -> Problem {
        let detail = format!("{what}; send it as {}", self.example());
        Problem::new(StatusCode::BAD_REQUEST, "no-file", detail)
    }

    fn example(&self) -> String {
        format!("`curl -F {}=@<file>` does", self.settings.part.as_deref().unwrap_or("file"))
    }
}

/// What the client says of its file.
struct Described {
    name: Option<String>,
    media_type: String,
}

impl Described {
    /// Whether it is of the type `taken`: an ending, or a media type whose second half may be `*`.
    fn is(&self, taken: &str) -> bool {
        if taken.contains('/') {
            let kind = essence(&self.media_type);
            return match taken.strip_suffix('*') {
                Some(family) => kind.starts_with(&family.to_ascii_lowercase()),
                None => kind.eq_ignore_ascii_case(taken),
            };
        }
        let ending = self.name.as_deref().and_then(|name| name.rsplit_once('.')).map(|(_, ending)| ending);
        ending.is_some_and(|ending| ending.eq_ignore_ascii_case(taken.trim_start_matches('.')))
    }
}

/// What stands before the parameters of a media type, in lower case.
fn essence(media: &str) -> String {
    media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// The media type as it was said, with its parameters, or that of bytes nobody knows (RFC 9110 §8.3).
fn media_type(media: Option<&str>) -> String {
    let is_type =
        |media: &&str| media.len() <= 255 && essence(media).split('/').filter(|half| !half.is_empty()).count() == 2;
    media.map(str::trim).filter(is_type).unwrap_or("application/octet-stream").to_owned()
}

/// The most bytes of a file name: what file systems take.
const NAME_BYTES: usize = 255;

/// What may be shown of the name that a client gave its file: the last segment of a path, without characters that control how
/// text is shown.
fn display_name(name: &str) -> Option<String> {
    // Of directions too: `fdp.exe` must not read as `exe.pdf` (Unicode UAX #9, "Explicit Formatting Characters").
    let shown = |character: &char| {
        !character.is_control() && !matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let mut name: String = last.chars().filter(shown).collect();
    name.truncate(name.floor_char_boundary(NAME_BYTES));
    let name = name.trim();
    (!matches!(name, "" | "." | "..")).then(|| name.to_owned())
}

fn boundary(media: &str) -> Result<String, Problem> {
    let invalid = |detail: &str| Problem::new(StatusCode::BAD_REQUEST, "invalid-boundary", detail);
    let boundary = multer::parse_boundary(media).map_err(|error| match error {
        multer::Error::NoBoundary => invalid("the Content-Type has no boundary; let your HTTP library set this header"),
        _ => invalid("the Content-Type can't be read; let your HTTP library set this header"),
    })?;
    let is_boundary = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    match (1..=BOUNDARY).contains(&boundary.len()) && boundary.bytes().all(is_boundary) {
        true => Ok(boundary),
        false => Err(invalid("the boundary is not of 1 to 70 visible characters (RFC 2046 §5.1.1)")),
    }
}

/// Refuses what would be stored compressed and be taken for something else (RFC 9110 §8.4).
fn refuse_encoded(headers: &HeaderMap) -> Result<(), Problem> {
    match text(headers, header::CONTENT_ENCODING).map(str::trim) {
        None | Some("" | "identity") => Ok(()),
        Some(encoding) => {
            let detail = format!("the body is encoded as {encoding:?}; send it as it is");
            let problem = Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-encoding", detail);
            Err(problem.header(header::ACCEPT_ENCODING, "identity"))
        }
    }
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

fn too_large(code: &'static str, detail: String, limit: u64) -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, code, detail).with("limit", limit)
}

fn too_many_fields() -> Problem {
    let detail = format!("there are more than {FIELDS} parts beside the file");
    too_large("too-many-fields", detail, FIELDS as u64)
}

/// What the parser's error says to the client.
fn refused(error: multer::Error) -> Problem {
    let (code, detail) = match error {
        multer::Error::StreamReadFailed(cause) => match cause.downcast::<Stopped>() {
            Ok(stopped) => return (*stopped).into(),
            Err(_) => ("broken-body", "the body was cut off".to_owned()),
        },
        multer::Error::IncompleteFieldData { .. } | multer::Error::IncompleteStream => {
            let detail = "the body ends without the closing line of its boundary: it was cut off, or its Content-Type names another";
            ("broken-body", detail.to_owned())
        }
        error => ("invalid-multipart", format!("the body is not multipart/form-data: {error}")),
    };
    Problem::new(StatusCode::BAD_REQUEST, code, detail)
}
