//! `profile.toml` as it is written.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};
use serde_json::{Map, Value};
use tidings::Case;
use tidings_transports::Cors;

use crate::auth::AuthSettings;
use crate::settings::decode::At;
use crate::settings::read_cors;
use crate::settings::value::{duration, optional_duration, size};

/// The whole file, its variants laid over it and its values filled in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub name: At<String>,
    #[serde(default)]
    pub description: String,
    pub namespace: Option<At<String>>,
    pub base_path: Option<At<String>>,
    #[serde(default)]
    pub grants: Grants,
    #[serde(default)]
    pub auth: AuthSettings,
    #[serde(default)]
    pub mounts: Vec<At<Mount>>,
    #[serde(default)]
    pub events: BTreeMap<String, At<Event>>,
    #[serde(default)]
    pub jobs: BTreeMap<String, At<JobKind>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Grants {
    pub implies: BTreeMap<String, At<Vec<At<String>>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    Sse,
    Poll,
    #[serde(rename = "websocket")]
    WebSocket,
    #[serde(rename = "socketio")]
    SocketIo,
    Ready,
    Health,
    JobCreate,
    Job,
    JobCancel,
    JobResult,
}

impl Kind {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Sse => "sse",
            Kind::Poll => "poll",
            Kind::WebSocket => "websocket",
            Kind::SocketIo => "socketio",
            Kind::Ready => "ready",
            Kind::Health => "health",
            Kind::JobCreate => "job-create",
            Kind::Job => "job",
            Kind::JobCancel => "job-cancel",
            Kind::JobResult => "job-result",
        }
    }
}

/// A mount of any kind; which settings fit which kind says `fits`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mount {
    pub transport: Kind,
    pub path: At<TextOrList>,
    // A stream.
    pub heartbeat: Option<At<Heartbeat>>,
    #[serde(default, with = "present_duration")]
    pub heartbeat_every: Option<Duration>,
    pub heartbeat_when: Option<BeatWhen>,
    #[serde(default, deserialize_with = "present_optional_duration")]
    pub retry: Option<Option<Duration>>,
    pub preamble: Option<At<String>>,
    pub ids: Option<bool>,
    pub announce: Option<bool>,
    #[serde(default, with = "present_duration")]
    pub cursor_every: Option<Duration>,
    pub idle: Option<At<Idle>>,
    pub require_accept: Option<bool>,
    #[serde(default, deserialize_with = "present_cors")]
    pub cors: Option<Cors>,
    #[serde(default)]
    pub filters: Vec<At<Filter>>,
    pub requires: Option<At<String>>,
    #[serde(default)]
    pub refusals: BTreeMap<String, At<String>>,
    #[serde(default)]
    pub headers: BTreeMap<String, At<String>>,
    pub wrapped: Option<bool>,
    pub names: Option<At<Vec<At<String>>>>,
    #[serde(default)]
    pub shapes: BTreeMap<String, At<Looks>>,
    // A stream whose clients can send.
    pub commands: Option<bool>,
    pub bare_token: Option<bool>,
    // Socket.IO.
    pub namespaces: Option<At<Vec<At<String>>>>,
    pub polling: Option<bool>,
    pub websocket: Option<bool>,
    pub allow_eio3: Option<bool>,
    #[serde(default, with = "present_duration")]
    pub ping_interval: Option<Duration>,
    #[serde(default, with = "present_duration")]
    pub ping_timeout: Option<Duration>,
    pub reject: Option<At<Reject>>,
    #[serde(default)]
    pub greetings: Vec<At<Greeting>>,
    // A stream of one job, or where jobs are dealt with.
    pub job: Option<At<OneJob>>,
    // A WebSocket on which the app's own messages are spoken.
    pub dialect: Option<At<Dialect>>,
    // Where jobs are made.
    pub kind: Option<At<String>>,
    pub file: Option<At<JobFile>>,
    pub id: Option<At<String>>,
    pub client_ids: Option<At<ClientIds>>,
    #[serde(default, with = "present_size")]
    pub most_input: Option<u64>,
    #[serde(default)]
    pub checks: Vec<At<Check>>,
    #[serde(default, with = "present_duration")]
    pub token_ttl: Option<Duration>,
    pub open: Option<bool>,
    // Where jobs are dealt with.
    pub status: Option<At<u16>>,
    pub answer: Option<At<FormTree>>,
    pub cancel_answer: Option<At<FormTree>>,
    #[serde(default)]
    pub words: BTreeMap<String, At<Value>>,
    pub rate: Option<At<Rate>>,
    pub base: Option<At<String>>,
    pub page: Option<usize>,
    // A side endpoint.
    pub body: Option<At<Map<String, Value>>>,
    pub clients: Option<At<String>>,
    pub draining: Option<At<Map<String, Value>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Heartbeat {
    pub comment: Option<At<String>>,
    pub event: Option<At<String>>,
    pub data: Option<At<String>>,
    pub form: Option<At<FormTree>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Idle {
    #[serde(with = "duration")]
    pub after: Duration,
    pub event: Option<At<String>>,
    pub data: Option<At<String>>,
    pub form: Option<At<FormTree>>,
    #[serde(default)]
    pub words: BTreeMap<String, At<Value>>,
}

/// Which job a request is about.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OneJob {
    pub query: Option<At<String>>,
    #[serde(default)]
    pub open: bool,
    #[serde(default)]
    pub kinds: Vec<At<String>>,
    #[serde(default, with = "present_duration")]
    pub lingers: Option<Duration>,
}

/// What is spoken on a WebSocket.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Dialect {
    pub member: Option<At<String>>,
    pub job: Option<At<String>>,
    #[serde(default)]
    pub hears: BTreeMap<String, At<Heard>>,
    #[serde(default, with = "present_duration")]
    pub waits: Option<Duration>,
    #[serde(default)]
    pub strict: bool,
    #[serde(default)]
    pub closes: BTreeMap<String, At<Close>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Heard {
    pub answer: Option<At<FormTree>>,
    #[serde(default)]
    pub words: BTreeMap<String, At<Value>>,
    #[serde(default)]
    pub begins: bool,
    #[serde(default)]
    pub cancels: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Close {
    pub code: u16,
    #[serde(default)]
    pub reason: String,
}

/// The file that comes with a job.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JobFile {
    pub part: Option<At<String>>,
    #[serde(default, with = "present_size")]
    pub most: Option<u64>,
    #[serde(default)]
    pub types: Vec<At<String>>,
    #[serde(default)]
    pub raw: bool,
}

/// Which ids clients may choose for their jobs.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ClientIds {
    Any,
    Uuid,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Check {
    pub member: At<String>,
    #[serde(default)]
    pub needed: bool,
    pub most_items: Option<usize>,
    pub most_chars: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rate {
    pub requests: u32,
    #[serde(with = "duration")]
    pub per: Duration,
    pub shared: Option<At<String>>,
}

/// What is different for one kind of job.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JobKind {
    #[serde(default, with = "present_duration")]
    pub lease: Option<Duration>,
    pub attempts: Option<u32>,
    #[serde(default, with = "present_size")]
    pub first: Option<u64>,
}

/// How somebody is refused.
pub(super) enum Reject {
    Http,
    ConnectError,
    Disconnect,
    Event(RejectEvent),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RejectEvent {
    pub event: At<String>,
    pub data: At<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Greeting {
    pub event: At<String>,
    pub data: Option<At<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    pub query: At<String>,
    pub split: Option<At<String>>,
    pub topic: At<String>,
    #[serde(default)]
    pub always: Vec<At<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Event {
    pub topic: Option<At<TextOrList>>,
    pub audience: Option<At<Audience>>,
    #[serde(default = "yes")]
    pub kept: bool,
    pub key: Option<At<TextOrList>>,
    pub coalesce: Option<At<Coalesce>>,
    #[serde(default)]
    pub retain: bool,
    #[serde(default)]
    pub publisher_topic: bool,
    #[serde(default)]
    pub publisher_audience: bool,
    pub schema: Option<At<Schema>>,
    pub wire: Option<At<String>>,
    pub wrap: Option<At<String>>,
    #[serde(default)]
    pub cases: Vec<At<CaseAt>>,
    #[serde(default)]
    pub redact: Vec<At<Redact>>,
    #[serde(default)]
    pub args: Args,
    pub form: Option<At<FormTree>>,
    #[serde(default)]
    pub words: BTreeMap<String, At<Value>>,
}

/// When a heartbeat is sent.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum BeatWhen {
    /// On a stream that is silent.
    Silent,
    /// On each.
    Always,
}

/// What the data of an event must be.
pub(super) enum Schema {
    /// The path of a file with a schema.
    File(String),
    /// A schema in a table. What it says is read where it stands.
    Inline,
}

/// How an event looks on one mount: the settings of [`Event`] that say so.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Looks {
    pub wire: Option<At<String>>,
    pub wrap: Option<At<String>>,
    #[serde(default)]
    pub cases: Vec<At<CaseAt>>,
    #[serde(default)]
    pub redact: Vec<At<Redact>>,
    #[serde(default)]
    pub args: Args,
    pub form: Option<At<FormTree>>,
    #[serde(default)]
    pub words: BTreeMap<String, At<Value>>,
}

/// A form as it is written: a tree whose members are in their order.
pub(super) enum FormTree {
    Text(String),
    Literal(Value),
    List(Vec<At<FormTree>>),
    Table(Vec<(String, At<FormTree>)>),
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Coalesce {
    #[serde(with = "duration")]
    pub window: Duration,
    #[serde(with = "duration")]
    pub max_wait: Duration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CaseAt {
    pub path: At<String>,
    pub to: CaseName,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum CaseName {
    Pascal,
    Camel,
    Snake,
    Kebab,
    Lower,
    Upper,
}

impl From<CaseName> for Case {
    fn from(name: CaseName) -> Case {
        match name {
            CaseName::Pascal => Case::Pascal,
            CaseName::Camel => Case::Camel,
            CaseName::Snake => Case::Snake,
            CaseName::Kebab => Case::Kebab,
            CaseName::Lower => Case::Lower,
            CaseName::Upper => Case::Upper,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Redact {
    pub path: At<String>,
    #[serde(default)]
    pub unless: Vec<At<String>>,
    #[serde(default)]
    pub with: With,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum With {
    /// Gone, its name too.
    #[default]
    Nothing,
    /// `null` in its place.
    Null,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Args {
    Zero,
    #[default]
    One,
    Spread,
}

/// One text, or a list of texts.
pub(super) enum TextOrList {
    Text(String),
    List(Vec<At<String>>),
}

impl At<TextOrList> {
    /// The texts.
    pub fn texts(&self) -> Vec<At<String>> {
        match &self.value {
            TextOrList::Text(text) => vec![At { value: text.clone(), place: self.place.clone() }],
            TextOrList::List(texts) => texts.clone(),
        }
    }
}

/// Who may see an event: one grant, or rules of grants.
pub(super) enum Audience {
    Grant(String),
    Rules(Vec<At<Vec<At<String>>>>),
}

impl<'de> Deserialize<'de> for TextOrList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> de::Visitor<'de> for Read {
            type Value = TextOrList;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<TextOrList, E> {
                Ok(TextOrList::Text(text.to_owned()))
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, list: A) -> Result<TextOrList, A::Error> {
                Vec::deserialize(de::value::SeqAccessDeserializer::new(list)).map(TextOrList::List)
            }
        }
        deserializer.deserialize_any(Read)
    }
}

impl<'de> Deserialize<'de> for Schema {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> de::Visitor<'de> for Read {
            type Value = Schema;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the path of a file with a JSON Schema, or a JSON Schema as a table")
            }
            fn visit_str<E: de::Error>(self, path: &str) -> Result<Schema, E> {
                Ok(Schema::File(path.to_owned()))
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut table: A) -> Result<Schema, A::Error> {
                while table.next_entry::<de::IgnoredAny, de::IgnoredAny>()?.is_some() {}
                Ok(Schema::Inline)
            }
        }
        deserializer.deserialize_any(Read)
    }
}

impl<'de> Deserialize<'de> for FormTree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> de::Visitor<'de> for Read {
            type Value = FormTree;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text like \"{data.id}\", a number, true, false, a list or a table")
            }
            fn visit_bool<E>(self, yes: bool) -> Result<FormTree, E> {
                Ok(FormTree::Literal(yes.into()))
            }
            fn visit_i64<E>(self, number: i64) -> Result<FormTree, E> {
                Ok(FormTree::Literal(number.into()))
            }
            fn visit_u64<E>(self, number: u64) -> Result<FormTree, E> {
                Ok(FormTree::Literal(number.into()))
            }
            fn visit_f64<E>(self, number: f64) -> Result<FormTree, E> {
                Ok(FormTree::Literal(number.into()))
            }
            fn visit_str<E>(self, text: &str) -> Result<FormTree, E> {
                Ok(FormTree::Text(text.to_owned()))
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, list: A) -> Result<FormTree, A::Error> {
                Vec::deserialize(de::value::SeqAccessDeserializer::new(list)).map(FormTree::List)
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut table: A) -> Result<FormTree, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = table.next_entry()? {
                    members.push(member);
                }
                Ok(FormTree::Table(members))
            }
        }
        deserializer.deserialize_any(Read)
    }
}

impl<'de> Deserialize<'de> for Audience {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> de::Visitor<'de> for Read {
            type Value = Audience;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a grant like \"role/viewer\", or a list of rules, each a list of grants: [[\"a\", \"b\"], [\"c\"]]")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Audience, E> {
                Ok(Audience::Grant(text.to_owned()))
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, list: A) -> Result<Audience, A::Error> {
                Vec::deserialize(de::value::SeqAccessDeserializer::new(list)).map(Audience::Rules)
            }
        }
        deserializer.deserialize_any(Read)
    }
}

impl<'de> Deserialize<'de> for Reject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> de::Visitor<'de> for Read {
            type Value = Reject;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"http\", \"connect-error\", \"disconnect\" or { event = …, data = … }")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Reject, E> {
                match text {
                    "http" => Ok(Reject::Http),
                    "connect-error" => Ok(Reject::ConnectError),
                    "disconnect" => Ok(Reject::Disconnect),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Reject, A::Error> {
                RejectEvent::deserialize(de::value::MapAccessDeserializer::new(map)).map(Reject::Event)
            }
        }
        deserializer.deserialize_any(Read)
    }
}

/// A size that is there.
mod present_size {
    use super::*;

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
        size::deserialize(deserializer).map(Some)
    }
}

/// A duration that is there.
mod present_duration {
    use super::*;

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        duration::deserialize(deserializer).map(Some)
    }
}

fn present_optional_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<Duration>>, D::Error> {
    optional_duration::deserialize(deserializer).map(Some)
}

fn present_cors<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Cors>, D::Error> {
    read_cors(deserializer).map(Some)
}
