//! `tidings job watch`.

use std::io::IsTerminal;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;

use super::super::http::{Hub, Refused, empty};
use super::super::sse::Parser;
use super::super::tail::{comes_back, retry_in};
use super::{Failure, OneArgs, get, path, show};

/// How long nothing may come, not even a heartbeat, before the connection is taken for dead.
const SILENCE: Duration = Duration::from_secs(150);

/// The columns of the bar.
const COLUMNS: usize = 24;

/// How the job is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// A document a line.
    Json,
    /// A line for each change.
    Lines,
    /// One line that changes.
    Bar,
}

/// What came of a connection.
enum Ended {
    /// The end of the job, as it is called.
    End(String),
    /// The connection, with the job going on.
    Broken,
    /// Nobody reads what is printed.
    Closed,
}

/// Shows the job until its end. An error says how it ended, if it is not completed.
pub(super) async fn watch(args: &OneArgs) -> Result<(), Failure> {
    let hub = Hub::new(&args.hub)?;
    let look = match (args.json, std::io::stdout().is_terminal()) {
        (true, _) => Look::Json,
        (false, true) => Look::Bar,
        (false, false) => Look::Lines,
    };
    let (mut parser, mut failures, mut connected) = (Parser::default(), 0, false);
    loop {
        let wait = match open(&hub, &args.id, &parser).await {
            Ok(None) => return ended(end_of(&hub, &args.id, look).await?),
            Ok(Some(body)) => {
                (connected, failures) = (true, 0);
                parser.restart();
                match read(body, &mut parser, look).await? {
                    Ended::End(state) => return ended(state),
                    Ended::Closed => return Ok(()),
                    Ended::Broken => parser.retry.map_or(Duration::from_secs(1), Duration::from_millis),
                }
            }
            Err(refused) => {
                let Some(asked) = comes_back(&refused, connected) else { return Err(refused.into()) };
                failures += 1;
                let wait = asked.unwrap_or_else(|| retry_in(failures));
                eprintln!("tidings: {}; trying again in {:.1} s", Failure::from(refused), wait.as_secs_f64());
                wait
            }
        };
        tokio::time::sleep(wait).await;
    }
}

/// Opens the stream; none if the job has ended and that was told.
async fn open(hub: &Hub, id: &str, parser: &Parser) -> Result<Option<Incoming>, Refused> {
    let mut headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static("text/event-stream"))]);
    if !parser.last_id.is_empty()
        && let Ok(last) = HeaderValue::from_str(&parser.last_id)
    {
        headers.insert("last-event-id", last);
    }
    let response = hub.open(Method::GET, &path(id, "/events"), headers, empty()).await?;
    Ok((response.status() != StatusCode::NO_CONTENT).then(|| response.into_body()))
}

async fn read(mut body: Incoming, parser: &mut Parser, look: Look) -> Result<Ended, Failure> {
    loop {
        let frame = match tokio::time::timeout(SILENCE, body.frame()).await {
            Err(_) | Ok(None | Some(Err(_))) => return Ok(Ended::Broken),
            Ok(Some(Ok(frame))) => frame,
        };
        let Some(data) = frame.data_ref() else { continue };
        let messages = parser.feed(data).map_err(|_| Failure::new("an event is too large to be one of a hub"))?;
        for message in messages {
            if message.name == "job.item" || !message.name.starts_with("job.") {
                continue;
            }
            let job: Value = serde_json::from_str(&message.data).unwrap_or_default();
            if super::super::print(&seen(&job, look)).is_err() {
                return Ok(Ended::Closed);
            }
            if tidings::job::is_end(&message.name) {
                return Ok(Ended::End(job["state"].as_str().unwrap_or_default().to_owned()));
            }
        }
    }
}

/// The end of a job that has ended before.
async fn end_of(hub: &Hub, id: &str, look: Look) -> Result<String, Failure> {
    let job = get(hub, &path(id, "")).await?;
    let _ = super::super::print(&seen(&job, look));
    Ok(job["state"].as_str().unwrap_or_default().to_owned())
}

fn ended(state: String) -> Result<(), Failure> {
    match state.as_str() {
        "completed" => Ok(()),
        state => Err(Failure::new(format!("the job is {}", show::plain(state)))),
    }
}

fn seen(job: &Value, look: Look) -> String {
    match look {
        Look::Json => format!("{job}\n"),
        Look::Lines => format!("{}\n", show::state(job)),
        Look::Bar => {
            let bar = job["progress"]["fraction"].as_f64().map(|fraction| show::bar(fraction, COLUMNS));
            let bar = bar.map(|bar| format!("{bar}  ")).unwrap_or_default();
            let is_end = job["ended"].is_u64();
            // To the start of the line, and what stood there is wiped away.
            format!("\r\x1b[K{bar}{}{}", show::state(job), if is_end { "\n" } else { "" })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_bar_stays_in_its_line_until_the_end() {
        let running = json!({"state": "running", "progress": {"done": 1, "total": 2, "fraction": 0.5}});
        assert_eq!(seen(&running, Look::Bar), "\r\x1b[K[############............]  50 %  running 1/2");
        let done = json!({"state": "completed", "progress": {"done": 2, "fraction": 1.0}, "ended": 7});
        assert!(seen(&done, Look::Bar).ends_with("completed 2\n"));
        assert_eq!(seen(&running, Look::Lines), "running 1/2\n");
        assert_eq!(serde_json::from_str::<Value>(&seen(&done, Look::Json)).unwrap(), done);
    }

    #[test]
    fn only_what_is_completed_went_well() {
        assert!(ended("completed".into()).is_ok());
        assert_eq!(ended("lost".into()).unwrap_err().to_string(), "the job is lost");
    }
}
