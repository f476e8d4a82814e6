//! `tidings job create`.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use http_body_util::StreamBody;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Frame;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use super::super::http::{Body, Hub, HubArgs, target, whole};
use super::super::publish::read_data;
use super::{Failure, OneArgs, watch};

#[derive(Clone, Debug, clap::Args)]
pub(super) struct CreateArgs {
    /// What is to be done, as in import
    kind: String,
    /// A file to work on
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// What to work on, any JSON value; @FILE reads it from a file
    #[arg(long, value_name = "JSON")]
    input: Option<String>,
    /// Its id; without one it is given one
    #[arg(long)]
    id: Option<String>,
    /// Who it belongs to; without one it is yours
    #[arg(long)]
    owner: Option<String>,
    /// Who else may see it, a grant; repeat it for more
    #[arg(long, value_name = "GRANT")]
    audience: Vec<String>,
    /// How often it may be tried
    #[arg(long)]
    attempts: Option<u32>,
    /// How long its worker may be silent: 30s
    #[arg(long, value_name = "DURATION")]
    lease: Option<String>,
    /// The profile that it is for
    #[arg(long)]
    profile: Option<String>,
    /// Sent again with the same key, it is made once
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Watch it until its end
    #[arg(long)]
    watch: bool,
    /// Print all that is answered as JSON, the job's token with it
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    hub: HubArgs,
}

/// A job as it is asked for.
#[derive(Serialize)]
struct Wanted<'a> {
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    audience: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease: Option<&'a str>,
}

pub(super) async fn create(args: &CreateArgs) -> Result<(), Failure> {
    let hub = Hub::new(&args.hub)?.patient();
    let wanted = wanted(args)?;
    let target = target("/v1/jobs", [("profile", args.profile.as_deref())]);
    let (mut headers, body) = match &args.file {
        None => (content("application/json")?, whole(wanted)),
        Some(file) => form(&wanted, file)?,
    };
    if let Some(key) = &args.idempotency_key {
        let value = HeaderValue::from_str(key)
            .map_err(|_| Failure::new("--idempotency-key takes 1 to 255 visible ASCII characters"))?;
        headers.insert("idempotency-key", value);
    }
    let job = hub.ask(Method::POST, &target, headers, body).await?;
    let id = job["id"].as_str().unwrap_or_default().to_owned();
    let _ = super::super::print(&if args.json { format!("{job}\n") } else { format!("{id}\n") });
    if args.watch {
        // Who may make it may not see it: its token does.
        let token = job["token"].as_str().map(Into::into);
        let hub = HubArgs { token: token.or_else(|| args.hub.token.clone()), ..args.hub.clone() };
        return watch::watch(&OneArgs { id, json: args.json, hub }).await;
    }
    Ok(())
}

fn wanted(args: &CreateArgs) -> Result<String, Failure> {
    let input = args.input.as_deref().map(read_data).transpose()?;
    let json = |text: &String| -> Result<Box<RawValue>, Failure> {
        serde_json::from_str(text.trim()).map_err(|error| {
            Failure::new(format!("--input is not JSON: {error}. A text has quotes of its own: --input '\"hello\"'"))
        })
    };
    let input = input.as_ref().map(json).transpose()?;
    let wanted = Wanted {
        kind: &args.kind,
        id: args.id.as_deref(),
        input: input.as_deref(),
        owner: args.owner.as_deref(),
        audience: &args.audience,
        attempts: args.attempts,
        lease: args.lease.as_deref(),
    };
    serde_json::to_string(&wanted).map_err(|error| Failure::new(error.to_string()))
}

fn content(media: &str) -> Result<HeaderMap, Failure> {
    let media = HeaderValue::from_str(media).map_err(|_| Failure::new(format!("{media:?} is no media type")))?;
    Ok(HeaderMap::from_iter([(header::CONTENT_TYPE, media)]))
}

/// The job and its file as a form (RFC 7578), the file as it is read from the disk.
fn form(job: &str, file: &Path) -> Result<(HeaderMap, Body), Failure> {
    let unreadable = |error| Failure::new(format!("--file: {} can't be read: {error}", file.display()));
    let mut opened = File::open(file).map_err(unreadable)?;
    let length = opened.metadata().map_err(unreadable)?.len();
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| Failure::new(format!("there are no random numbers: {error}")))?;
    let boundary = format!("{:032x}", u128::from_be_bytes(random));
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    // As browsers do (WHATWG HTML §4.10.21.8): what would end the name is escaped.
    let name = name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A");
    let head = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"job\"\r\n\r\n{job}\r\n\
         --{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
         Content-Type: {}\r\n\r\n",
        media_type(file)
    );
    let tail = format!("\r\n--{boundary}--\r\n");
    let mut headers = content(&format!("multipart/form-data; boundary={boundary}"))?;
    headers.insert(header::CONTENT_LENGTH, (head.len() as u64 + length + tail.len() as u64).into());
    let (sender, mut receiver) = mpsc::channel::<Bytes>(4);
    std::thread::spawn(move || {
        let mut sent = sender.blocking_send(head.into()).is_ok();
        let mut left = length;
        while sent && left > 0 {
            let mut piece = vec![0; left.min(256 << 10) as usize];
            // A file that became shorter, or can't be read: the body breaks off, and the hub refuses it.
            sent = opened.read_exact(&mut piece).is_ok() && sender.blocking_send(piece.into()).is_ok();
            left = left.saturating_sub(256 << 10);
        }
        if sent {
            let _ = sender.blocking_send(tail.into());
        }
    });
    let pieces = futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx));
    let pieces = futures_util::StreamExt::map(pieces, |piece| Ok(Frame::data(piece)));
    Ok((headers, UnsyncBoxBody::new(StreamBody::new(pieces))))
}

/// By the ending of its name. The hub and the worker look at what is in it.
fn media_type(file: &Path) -> &'static str {
    let ending = file.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_ascii_lowercase();
    match ending.as_str() {
        "csv" => "text/csv",
        "tsv" => "text/tab-separated-values",
        "txt" => "text/plain",
        "json" => "application/json",
        "jpg" | "jpeg" => "image/jpeg",
        "png" => "image/png",
        "pdf" => "application/pdf",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use http_body_util::BodyExt;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: CreateArgs,
    }

    fn args(words: &[&str]) -> CreateArgs {
        Cli::try_parse_from(["create"].iter().chain(words)).unwrap().args
    }

    #[test]
    fn a_job_is_sent_as_it_was_given() {
        let args = args(&["import", "--input", r#"{"n": 1.10}"#, "--owner", "u1", "--audience", "team/a"]);
        let expected = r#"{"kind":"import","input":{"n": 1.10},"owner":"u1","audience":["team/a"]}"#;
        assert_eq!(wanted(&args).unwrap(), expected);
    }

    #[test]
    fn an_input_that_is_no_json_is_a_sentence_with_a_way_out() {
        let error = wanted(&args(&["import", "--input", "hello"])).unwrap_err().to_string();
        assert!(error.ends_with(r#"--input '"hello"'"#), "{error}");
    }

    #[tokio::test]
    async fn a_form_is_as_long_as_it_says_and_holds_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a\"b.csv");
        let content: String = (0..80_000).map(|n| format!("{n}\n")).collect();
        std::fs::write(&file, &content).unwrap();
        let (headers, body) = form(r#"{"kind":"import"}"#, &file).unwrap();
        let body = body.collect().await.unwrap().to_bytes();
        assert_eq!(headers[header::CONTENT_LENGTH], body.len().to_string());
        let body = String::from_utf8(body.to_vec()).unwrap();
        assert!(body.contains("name=\"file\"; filename=\"a%22b.csv\"\r\nContent-Type: text/csv\r\n\r\n0\n1\n"));
        assert!(body.contains(&content) && body.contains("name=\"job\"\r\n\r\n{\"kind\":\"import\"}\r\n"));
    }

    #[test]
    fn a_file_that_is_not_there_is_a_sentence() {
        let error = form("{}", Path::new("/nowhere/x.csv")).err().unwrap().to_string();
        assert!(error.contains("/nowhere/x.csv can't be read"), "{error}");
    }
}
