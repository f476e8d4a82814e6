//! `tidings publish`: one event, or many from standard input.

use std::io::BufRead;
use std::path::Path;
use std::process::ExitCode;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use super::http::{Hub, HubArgs, target, whole};
use super::{Failure, end};

/// `tidings publish`.
#[derive(Clone, Debug, clap::Args)]
pub struct PublishArgs {
    /// The kind of event, as in book.updated
    #[arg(required_unless_present = "data")]
    name: Option<String>,
    /// What it is about, as in book/42; a profile mostly derives it
    #[arg(long)]
    topic: Option<String>,
    /// Any JSON value; @FILE reads it from a file; - takes one a line from standard input, and without a name a whole event a line
    #[arg(long, value_name = "JSON")]
    data: Option<String>,
    /// Facts that decide who may see it, a JSON object
    #[arg(long, value_name = "JSON")]
    scope: Option<String>,
    /// Who may see it, a grant; repeat it for more. A profile mostly derives it
    #[arg(long, value_name = "GRANT")]
    audience: Vec<String>,
    /// What it replaces
    #[arg(long)]
    key: Option<String>,
    /// It is not kept, and may be dropped for a newer one
    #[arg(long)]
    signal: bool,
    /// The profile that it is for
    #[arg(long)]
    profile: Option<String>,
    /// Sent again with the same key, it is published once
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    #[command(flatten)]
    hub: HubArgs,
}

/// An event as it is sent.
#[derive(Serialize)]
struct Draft<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    audience: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<bool>,
}

/// Publishes, and prints the cursor of each event.
pub async fn run(args: PublishArgs) -> ExitCode {
    end(publish(&args).await)
}

async fn publish(args: &PublishArgs) -> Result<(), Failure> {
    let hub = Hub::new(&args.hub)?;
    let target = target("/v1/publish", [("profile", args.profile.as_deref())]);
    if args.data.as_deref() == Some("-") {
        return publish_lines(args, &hub, &target).await;
    }
    let data = args.data.as_deref().map(read_data).transpose()?;
    let body = draft(args, data.as_deref())?;
    let mut headers = content("application/json");
    if let Some(key) = &args.idempotency_key {
        let value = HeaderValue::from_str(key)
            .map_err(|_| Failure::new("--idempotency-key takes 1 to 255 visible ASCII characters"))?;
        headers.insert("idempotency-key", value);
    }
    let answer = hub.ask(Method::POST, &target, headers, whole(body)).await?;
    for result in answer["results"].as_array().into_iter().flatten() {
        let _ = super::print(&format!("{}\n", place(result)));
    }
    Ok(())
}

fn content(media: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(media))])
}

fn place(result: &Value) -> &str {
    result["cursor"].as_str().unwrap_or("sent: what is not kept has no cursor")
}

/// The text of `--data`, which `@` takes from a file.
pub(super) fn read_data(data: &str) -> Result<String, Failure> {
    match data.strip_prefix('@') {
        None => Ok(data.to_owned()),
        Some(file) => std::fs::read_to_string(Path::new(file))
            .map_err(|error| Failure::new(format!("--data: {file} can't be read: {error}"))),
    }
}

/// The event as JSON; its data byte for byte.
fn draft(args: &PublishArgs, data: Option<&str>) -> Result<String, Failure> {
    let name = args
        .name
        .as_deref()
        .ok_or_else(|| Failure::new("the event needs a name, as in `tidings publish book.updated`"))?;
    let json = |option: &str, text: &str| -> Result<Box<RawValue>, Failure> {
        serde_json::from_str(text.trim()).map_err(|error| {
            Failure::new(format!("{option} is not JSON: {error}. A text has quotes of its own: {option} '\"hello\"'"))
        })
    };
    let data = data.map(|text| json("--data", text)).transpose()?;
    let scope = args.scope.as_deref().map(|text| json("--scope", text)).transpose()?;
    let draft = Draft {
        name,
        topic: args.topic.as_deref(),
        data: data.as_deref(),
        scope: scope.as_deref(),
        audience: &args.audience,
        key: args.key.as_deref(),
        signal: args.signal.then_some(true),
    };
    serde_json::to_string(&draft).map_err(|error| Failure::new(error.to_string()))
}

/// Streams standard input, and prints what became of each line as soon as it is durable.
async fn publish_lines(args: &PublishArgs, hub: &Hub, target: &str) -> Result<(), Failure> {
    if args.idempotency_key.is_some() {
        return Err(Failure::new("--idempotency-key is for one event, not for a stream of lines"));
    }
    let (sender, mut receiver) = mpsc::channel::<Bytes>(64);
    let reading = args.clone();
    // A thread of its own: nothing ends a read from a terminal, and the program must not wait for it at its end.
    let (failed, failure) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        if let Err(error) = read_lines(&reading, std::io::stdin().lock(), |line| sender.blocking_send(line).is_ok()) {
            let _ = failed.send(error);
        }
    });
    let lines = futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx));
    let lines = futures_util::StreamExt::map(lines, |line| Ok(Frame::data(line)));
    let body = UnsyncBoxBody::new(StreamBody::new(lines));
    let mut answers = hub.open(Method::POST, target, content("application/x-ndjson"), body).await?.into_body();
    let mut text = Vec::new();
    let mut wrong = 0;
    while let Some(frame) = answers.frame().await {
        let frame =
            frame.map_err(|_| Failure::new("the connection broke; the events without an answer may be lost"))?;
        text.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        while let Some(line) = text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = text.drain(..=line).collect();
            wrong += usize::from(!tell(&serde_json::from_slice(&line).unwrap_or_default()));
        }
    }
    if let Ok(error) = failure.try_recv() {
        return Err(error);
    }
    match wrong {
        0 => Ok(()),
        1 => Err(Failure::new("1 line was not published")),
        wrong => Err(Failure::new(format!("{wrong} lines were not published"))),
    }
}

/// Hands out each line of the input as an event.
fn read_lines(args: &PublishArgs, input: impl BufRead, mut send: impl FnMut(Bytes) -> bool) -> Result<(), Failure> {
    for (index, line) in input.lines().enumerate() {
        let number = index + 1;
        let line =
            line.map_err(|error| Failure::new(format!("line {number} of standard input can't be read: {error}")))?;
        if line.trim().is_empty() {
            continue;
        }
        let mut line = match args.name {
            None => line,
            Some(_) => draft(args, Some(&line)).map_err(|error| Failure::new(format!("line {number}: {error}")))?,
        };
        line.push('\n');
        if !send(line.into()) {
            break;
        }
    }
    Ok(())
}

/// Prints what became of a line, and whether it was published.
fn tell(answer: &Value) -> bool {
    if let Some(error) = answer.get("error") {
        let line = answer["index"].as_u64().or(error["index"].as_u64()).map_or(0, |index| index + 1);
        let field = error["field"].as_str().map(|field| format!("{field}: ")).unwrap_or_default();
        eprintln!("tidings: line {line}: {field}{}", error["detail"].as_str().unwrap_or("not published"));
        return false;
    }
    let _ = super::print(&format!("{}\n", place(&answer["result"])));
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: PublishArgs,
    }

    fn args(words: &[&str]) -> PublishArgs {
        Cli::try_parse_from(["publish"].iter().chain(words)).unwrap().args
    }

    #[test]
    fn an_event_is_sent_as_it_was_given() {
        let args =
            args(&["book.updated", "--topic", "book/42", "--data", "{}", "--scope", r#"{"owner": "u1"}"#, "--signal"]);
        let text = draft(&args, Some(r#"{"n": 1.10}"#)).unwrap();
        let expected =
            r#"{"name":"book.updated","topic":"book/42","data":{"n": 1.10},"scope":{"owner": "u1"},"signal":true}"#;
        assert_eq!(text, expected);
        assert!(serde_json::from_str::<tidings::Draft>(&text).is_ok());
    }

    #[test]
    fn data_that_is_no_json_is_a_sentence_with_a_way_out() {
        let error = draft(&args(&["a"]), Some("hello")).unwrap_err().to_string();
        assert!(error.starts_with("--data is not JSON: ") && error.ends_with(r#"--data '"hello"'"#), "{error}");
    }

    #[test]
    fn data_comes_from_a_file_by_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("data.json");
        std::fs::write(&file, "[1]\n").unwrap();
        assert_eq!(read_data(&format!("@{}", file.display())).unwrap(), "[1]\n");
        assert!(read_data("@/nowhere").unwrap_err().to_string().contains("/nowhere can't be read"));
    }

    #[test]
    fn lines_are_events_without_a_name_and_data_with_one() {
        let lines = |words: &[&str], input: &str| {
            let mut sent = Vec::new();
            let result = read_lines(&args(words), input.as_bytes(), |line| {
                sent.push(String::from_utf8(line.to_vec()).unwrap());
                true
            });
            (sent, result.map_err(|error| error.to_string()))
        };
        let (sent, _) = lines(&["--data", "-"], "{\"name\":\"a\"}\n\n{\"name\":\"b\"}");
        assert_eq!(sent, ["{\"name\":\"a\"}\n", "{\"name\":\"b\"}\n"]);
        let (sent, result) = lines(&["tick", "--data", "-"], "1\r\n{\"x\":2}\nnonsense\n3\n");
        assert_eq!(sent, ["{\"name\":\"tick\",\"data\":1}\n", "{\"name\":\"tick\",\"data\":{\"x\":2}}\n"]);
        assert!(result.unwrap_err().starts_with("line 3: --data is not JSON"));
    }

    #[test]
    fn a_name_is_needed_unless_the_lines_bring_theirs() {
        assert!(Cli::try_parse_from(["publish"]).is_err());
        assert!(draft(&args(&["--data", "1"]), Some("1")).unwrap_err().to_string().contains("needs a name"));
    }
}
