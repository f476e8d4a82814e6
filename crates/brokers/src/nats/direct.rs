//! Messages of the stream by their place, without a consumer (ADR-31): many with one request where the server can (2.11), else one by one.
//!
//! Any server that has a copy answers, also one that is a moment behind, or ahead in trimming. What an answer proves is the reader's
//! business.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::client::{Request, RequestErrorKind};
use async_nats::{HeaderMap, Message, Subscriber};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::api::{self, ApiError};
use super::codec;
use super::engine::{Engine, Version};

/// The servers from which on one request gets many messages.
const BATCHED: Version = Version(2, 11, 0);
/// How many requests run at once where each gets one message.
const AT_ONCE: usize = 128;
/// How long an answer, or the next message of one, is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// After how long messages that are asked for one after the other are given as far as they are there.
const LONG_HOP: Duration = Duration::from_secs(1);

/// A message as it stands in the stream.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    /// Its place.
    pub offset: u64,
    /// Its subject.
    pub subject: String,
    /// The header of the codec, if it has one.
    pub header: Option<String>,
    /// Its payload.
    pub data: Bytes,
}

/// What one request got.
#[derive(Debug, Default)]
pub(super) struct Got {
    /// Messages, oldest first.
    pub found: Vec<Stored>,
    /// Whether whoever answered had no more.
    pub is_end: bool,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    /// From this place on.
    pub from: u64,
    /// Only of this subject.
    pub subject: Option<&'a str>,
    /// At most so many.
    pub count: usize,
    /// About so many bytes at most, with all that belongs to a message; one is given in any case.
    pub bytes: usize,
}

/// Gets messages. Answers to all its requests come by one subscription.
pub(super) struct Direct {
    engine: Arc<Engine>,
    inbox: String,
    asked: Arc<Asked>,
    next: AtomicU64,
    task: tokio::task::JoinHandle<()>,
}

type Asked = Mutex<HashMap<String, mpsc::UnboundedSender<Message>>>;

impl Drop for Direct {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Direct {
    pub async fn new(engine: Arc<Engine>) -> Result<Direct, ApiError> {
        let inbox = engine.client().new_inbox();
        let answers = engine.client().subscribe(format!("{inbox}.*")).await;
        let answers = answers.map_err(|error| ApiError::NoAnswer(error.to_string()))?;
        let asked = Arc::<Asked>::default();
        let task = tokio::spawn(hand_out(answers, asked.clone()));
        Ok(Direct { engine, inbox, asked, next: AtomicU64::new(0), task })
    }

    /// Gets what is wanted, or the first part of it.
    pub async fn get(&self, wanted: Wanted<'_>) -> Result<Got, ApiError> {
        if self.engine.version().is_some_and(|version| version >= BATCHED) {
            self.get_batch(wanted).await
        } else if let Some(subject) = wanted.subject {
            self.hop(wanted, subject).await
        } else {
            self.get_each(wanted).await
        }
    }

    async fn get_batch(&self, wanted: Wanted<'_>) -> Result<Got, ApiError> {
        let id = self.next.fetch_add(1, Ordering::Relaxed).to_string();
        let (sender, mut answers) = mpsc::unbounded_channel();
        let _asked = Entry::new(&self.asked, id.clone(), sender);
        let mut question = json!({ "seq": wanted.from, "batch": wanted.count, "max_bytes": wanted.bytes });
        if let Some(subject) = wanted.subject {
            question["next_by_subj"] = json!(subject);
        }
        let (to, reply) = (self.question(), format!("{}.{id}", self.inbox));
        let sent = self.engine.client().publish_with_reply(to, reply, question.to_string().into()).await;
        sent.map_err(|error| ApiError::NoAnswer(error.to_string()))?;
        let mut got = Got::default();
        loop {
            let answer = timeout(PATIENCE, answers.recv()).await;
            let answer = answer.ok().flatten().ok_or_else(|| ApiError::NoAnswer("it took too long".into()))?;
            let headers = answer.headers.clone().unwrap_or_default();
            // Each message says which one came before it, so that none can be missing.
            let before = number(&headers, "Nats-Last-Sequence");
            let last = got.found.last().map_or(0, |found: &Stored| found.offset);
            if before.is_some_and(|before| before != last) {
                return Err(ApiError::NoAnswer("a part of the answer is missing".into()));
            }
            match answer.status.map_or(200, |status| status.as_u16()) {
                200 => {}
                204 => {
                    got.is_end = number(&headers, "Nats-Num-Pending") == Some(0);
                    return Ok(got);
                }
                404 => return Ok(Got { is_end: true, ..got }),
                503 => return Err(ApiError::NoResponders),
                other => {
                    let what = answer.description.unwrap_or_default();
                    return Err(ApiError::NoAnswer(format!("{other} {what}")));
                }
            }
            got.found.push(stored(&headers, answer.payload)?);
            if before.is_none() {
                // Another server of the cluster, too old for batches.
                return Ok(got);
            }
        }
    }

    /// The next messages of a subject, each asked for when the one before is known.
    async fn hop(&self, wanted: Wanted<'_>, subject: &str) -> Result<Got, ApiError> {
        let (mut got, mut from, mut bytes) = (Got::default(), wanted.from, 0);
        let begun = Instant::now();
        while got.found.len() < wanted.count
            && bytes <= wanted.bytes
            && (got.found.is_empty() || begun.elapsed() < LONG_HOP)
        {
            let Some(found) = self.get_one(json!({ "seq": from, "next_by_subj": subject })).await? else {
                got.is_end = true;
                break;
            };
            from = found.offset + 1;
            bytes += found.data.len() + found.subject.len();
            got.found.push(found);
        }
        Ok(got)
    }

    /// Messages of all subjects: their places are known beforehand.
    async fn get_each(&self, wanted: Wanted<'_>) -> Result<Got, ApiError> {
        let count = wanted.count.min(AT_ONCE).min(wanted.bytes / 256 + 1) as u64;
        let each = (wanted.from..wanted.from + count).map(|seq| self.get_one(json!({ "seq": seq })));
        let mut got = Got::default();
        for found in join_all(each).await {
            match found? {
                Some(found) => got.found.push(found),
                // Whether it is trimmed or not there yet, the next place tells.
                None => got.is_end = true,
            }
        }
        Ok(got)
    }

    async fn get_one(&self, question: Value) -> Result<Option<Stored>, ApiError> {
        let request = Request::new().payload(question.to_string().into()).timeout(Some(PATIENCE));
        let answer = self.engine.client().send_request(self.question(), request).await;
        let answer = answer.map_err(|error| match error.kind() {
            RequestErrorKind::NoResponders => ApiError::NoResponders,
            _ => ApiError::NoAnswer(error.to_string()),
        })?;
        match answer.status.map_or(200, |status| status.as_u16()) {
            200 => stored(&answer.headers.unwrap_or_default(), answer.payload).map(Some),
            404 => Ok(None),
            other => Err(ApiError::NoAnswer(format!("{other} {}", answer.description.unwrap_or_default()))),
        }
    }

    fn question(&self) -> String {
        format!("$JS.API.DIRECT.GET.{}", self.engine.stream_name())
    }
}

/// Asks the leader of the stream for the message at `from`, or for the next one of `subject` from there on. `None`: there is none.
pub(super) async fn get_from_leader(
    engine: &Engine,
    from: u64,
    subject: Option<&str>,
) -> Result<Option<Stored>, ApiError> {
    let mut question = json!({ "seq": from });
    if let Some(subject) = subject {
        question["next_by_subj"] = json!(subject);
    }
    let name = format!("STREAM.MSG.GET.{}", engine.stream_name());
    let answer = match api::ask_within(engine, &name, &question, Some(PATIENCE)).await {
        Ok(answer) => answer,
        Err(error) if error.err_code() == api::NO_MESSAGE => return Ok(None),
        Err(error) => return Err(error),
    };
    let message = &answer["message"];
    let decode = |name: &str| match message[name].as_str() {
        Some(text) => BASE64_STANDARD.decode(text).map_err(|error| ApiError::NoAnswer(format!("`{name}`: {error}"))),
        None => Ok(Vec::new()),
    };
    let header = String::from_utf8_lossy(&decode("hdrs")?)
        .lines()
        .find_map(|line| line.strip_prefix(codec::HEADER)?.strip_prefix(':').map(|value| value.trim().to_owned()));
    let lacks = |what: &str| ApiError::NoAnswer(format!("a message without `{what}`"));
    Ok(Some(Stored {
        offset: message["seq"].as_u64().ok_or_else(|| lacks("seq"))?,
        subject: message["subject"].as_str().ok_or_else(|| lacks("subject"))?.to_owned(),
        header,
        data: decode("data")?.into(),
    }))
}

async fn hand_out(mut answers: Subscriber, asked: Arc<Asked>) {
    while let Some(answer) = answers.next().await {
        let id = answer.subject.rsplit('.').next().unwrap_or_default();
        let asker = asked.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned();
        if let Some(asker) = asker {
            let _ = asker.send(answer);
        }
    }
}

/// A request whose answers are waited for.
struct Entry<'a> {
    asked: &'a Asked,
    id: String,
}

impl<'a> Entry<'a> {
    fn new(asked: &'a Asked, id: String, sender: mpsc::UnboundedSender<Message>) -> Entry<'a> {
        asked.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), sender);
        Entry { asked, id }
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.as_str().parse().ok()
}

fn stored(headers: &HeaderMap, data: Bytes) -> Result<Stored, ApiError> {
    let lacks = |what: &str| ApiError::NoAnswer(format!("a message without `{what}`"));
    Ok(Stored {
        offset: number(headers, "Nats-Sequence").ok_or_else(|| lacks("Nats-Sequence"))?,
        subject: headers.get("Nats-Subject").ok_or_else(|| lacks("Nats-Subject"))?.as_str().to_owned(),
        header: headers.get(codec::HEADER).map(|value| value.as_str().to_owned()),
        data,
    })
}
