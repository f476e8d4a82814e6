//! `tidings tail`: events as they come.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tidings::{Clock, SystemClock, Timestamp};

use super::http::{Hub, HubArgs, Refused, empty, target};
use super::sse::{Message, Parser};
use super::time::clock;
use super::{Closed, Failure, end};

/// `tidings tail`.
#[derive(Clone, Debug, clap::Args)]
pub struct TailArgs {
    /// Only these topics; patterns like book/* work. Repeat it for more
    #[arg(long, value_name = "TOPIC")]
    topic: Vec<String>,
    /// Only events of this name. Repeat it for more
    #[arg(long, value_name = "NAME")]
    name: Vec<String>,
    /// Begin after this cursor, or with `earliest`; without it with what comes next
    #[arg(long, value_name = "CURSOR")]
    since: Option<String>,
    /// The stream's path
    #[arg(long, default_value = "/v1/events")]
    path: String,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    hub: HubArgs,
}

/// How long nothing may come, not even a heartbeat, before the connection is taken for dead.
const SILENCE: Duration = Duration::from_secs(150);

/// How long to wait before coming back when the hub does not say, and the longest it gets.
const RETRY: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(30));

/// Prints events until it is interrupted.
pub async fn run(args: TailArgs) -> ExitCode {
    let mut screen = Screen::new(args.json);
    tokio::select! {
        result = follow(&args, &mut screen) => end(result),
        _ = tokio::signal::ctrl_c() => ExitCode::SUCCESS,
    }
}

/// Where events are shown.
struct Screen<W> {
    write: W,
    json: bool,
    colours: bool,
}

impl Screen<fn(&str) -> Result<(), Closed>> {
    fn new(json: bool) -> Self {
        let colours = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Screen { write: super::print, json, colours }
    }
}

/// Why one connection ended.
enum Ended {
    /// Come back; a sentence says why.
    Again(String),
    /// Nobody reads what is printed.
    Closed,
}

async fn follow<W: FnMut(&str) -> Result<(), Closed>>(args: &TailArgs, screen: &mut Screen<W>) -> Result<(), Failure> {
    let hub = Hub::new(&args.hub)?;
    let mut parser = Parser::default();
    let (mut connected, mut failures) = (false, 0);
    loop {
        let wait = match connect(args, &hub, &parser).await {
            Ok(body) => {
                (connected, failures) = (true, 0);
                parser.restart();
                match read(body, &mut parser, screen).await? {
                    Ended::Closed => return Ok(()),
                    Ended::Again(why) => {
                        let wait = parser.retry.map_or(RETRY.0, Duration::from_millis);
                        eprintln!("tidings: {why}; coming back in {:.1} s", wait.as_secs_f64());
                        wait
                    }
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

/// How long to wait after so many failures in a row, from 1.
pub(super) fn retry_in(failures: u32) -> Duration {
    (RETRY.0 * 2_u32.pow((failures - 1).min(8))).min(RETRY.1)
}

/// Whether asking again may help, and after how long if the hub says so. Who was never connected is told at once that
/// nothing listens; who was, waits for a restart.
pub(super) fn comes_back(refused: &Refused, connected: bool) -> Option<Option<Duration>> {
    match refused {
        Refused::Unreachable(_) => connected.then_some(None),
        Refused::Status { status, retry_after, .. } => match *status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Some(*retry_after),
            status => (connected && status.is_server_error()).then_some(*retry_after),
        },
    }
}

async fn connect(args: &TailArgs, hub: &Hub, parser: &Parser) -> Result<Incoming, Refused> {
    let topics = args.topic.iter().map(|topic| ("topic", Some(topic.as_str())));
    let names = args.name.iter().map(|name| ("name", Some(name.as_str())));
    let since = args.since.as_deref().filter(|_| parser.last_id.is_empty());
    let target = target(&args.path, topics.chain(names).chain([("cursor", since)]));
    let mut headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static("text/event-stream"))]);
    if !parser.last_id.is_empty()
        && let Ok(id) = HeaderValue::from_str(&parser.last_id)
    {
        headers.insert("last-event-id", id);
    }
    let response = hub.open(Method::GET, &target, headers, empty()).await?;
    let media = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if response.status() != StatusCode::OK || !media.starts_with("text/event-stream") {
        let sentence = format!("{} is no event stream: --path says where one is", args.path);
        return Err(Refused::Status { status: StatusCode::NOT_FOUND, sentence, retry_after: None });
    }
    Ok(response.into_body())
}

async fn read<W: FnMut(&str) -> Result<(), Closed>>(
    mut body: Incoming,
    parser: &mut Parser,
    screen: &mut Screen<W>,
) -> Result<Ended, Failure> {
    loop {
        let frame = match tokio::time::timeout(SILENCE, body.frame()).await {
            Err(_) => return Ok(Ended::Again(format!("nothing came for {} s", SILENCE.as_secs()))),
            Ok(None) => return Ok(Ended::Again("the stream ended".into())),
            Ok(Some(Err(_))) => return Ok(Ended::Again("the connection broke".into())),
            Ok(Some(Ok(frame))) => frame,
        };
        let Some(data) = frame.data_ref() else { continue };
        // One at a time: each is shown with the id that is its own.
        for line in data.split_inclusive(|byte| *byte == b'\n') {
            let messages = parser.feed(line).map_err(|_| Failure::new("an event is too large to be one of a hub"))?;
            for message in messages {
                if let Some(goodbye) = goodbye(&message)? {
                    return Ok(Ended::Again(goodbye));
                }
                if screen.show(&message, &parser.last_id, SystemClock.now()).is_err() {
                    return Ok(Ended::Closed);
                }
            }
        }
    }
}

/// What `tidings.close` says; an error if coming back is no use.
fn goodbye(message: &Message) -> Result<Option<String>, Failure> {
    if message.name != "tidings.close" {
        return Ok(None);
    }
    let close: Value = serde_json::from_str(&message.data).unwrap_or_default();
    let sentence = plain(close["message"].as_str().unwrap_or("the hub ended the stream"));
    if close["reconnect"] == false { Err(Failure::new(sentence)) } else { Ok(Some(sentence)) }
}

impl<W: FnMut(&str) -> Result<(), Closed>> Screen<W> {
    fn show(&mut self, message: &Message, id: &str, now: Timestamp) -> Result<(), Closed> {
        if matches!(message.name.as_str(), "tidings.open" | "tidings.cursor") {
            return Ok(());
        }
        let line = if self.json { as_json(message, id) } else { as_text(message, id, now, self.colours) };
        (self.write)(&line)
    }
}

/// `{"name":…,"id":…,"data":…}`. Data that is no JSON stands as a text.
fn as_json(message: &Message, id: &str) -> String {
    let data: Value = serde_json::from_str(&message.data).unwrap_or_else(|_| message.data.as_str().into());
    let id = (!id.is_empty()).then_some(id);
    // Parsed and written again it is on one line, whatever it was.
    format!("{}\n", json!({ "name": message.name, "id": id, "data": data }))
}

fn as_text(message: &Message, id: &str, now: Timestamp, colours: bool) -> String {
    let [dim, name, off] = match (colours, message.name == "tidings.gap") {
        (false, _) => ["", "", ""],
        (true, true) => ["\x1b[2m", "\x1b[1;33m", "\x1b[0m"],
        (true, false) => ["\x1b[2m", "\x1b[1;36m", "\x1b[0m"],
    };
    let data = match serde_json::from_str::<&RawValue>(&message.data) {
        Ok(json) => json.get(),
        Err(_) => &message.data,
    };
    let (time, id) = (clock(now), plain(id));
    format!("{dim}{time}{off} {name}{}{off} {} {dim}{id}{off}\n", plain(&message.name), plain(data))
}

/// Without what a terminal would obey: an event must not write elsewhere on the screen.
pub(super) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' => plain.push(' '),
            c if c.is_control() => plain.extend(c.escape_unicode()),
            c => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests;
