//! What a client asks for over a connection that goes both ways: the requests of `protocol/README.md` §8.2, which Socket.IO clients
//! emit as events (§9.4). Pure.

use std::sync::Arc;

use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tidings::profile::MAX_NAME_BYTES;
use tidings::{Filter, InvalidTopic, Limits, TopicPattern};

use crate::problem::Problem;
use crate::stream::Stream;

/// The most bytes of a client's name for a subscription or a request.
pub const MAX_ID_BYTES: usize = 64;

/// A request.
#[derive(Clone, PartialEq)]
pub enum Command {
    /// Hear these topics and names.
    Subscribe {
        /// The client's name for it.
        id: String,
        /// What it is to hear, below the profile's namespace.
        filter: Filter,
        /// Where it begins; nothing is from now on.
        cursor: Option<String>,
    },
    /// Hear them no more.
    Unsubscribe {
        /// The client's name for it.
        id: String,
    },
    /// Publish.
    Publish {
        /// With it the client wants an answer.
        id: Option<String>,
        /// One event or an array of them, as JSON.
        events: String,
    },
    /// Go on with a new credential.
    Authenticate {
        /// The client's name for the request.
        id: Option<String>,
        /// The message, in which the credential stands.
        payload: Map<String, Value>,
    },
    /// Say that you are there.
    Ping {
        /// The client's name for the request.
        id: Option<String>,
    },
}

impl std::fmt::Debug for Command {
    /// Without credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Command::Subscribe { id, filter, cursor } => {
                f.debug_struct("Subscribe").field("id", id).field("filter", filter).field("cursor", cursor).finish()
            }
            Command::Unsubscribe { id } => f.debug_struct("Unsubscribe").field("id", id).finish(),
            Command::Publish { id, .. } => f.debug_struct("Publish").field("id", id).finish_non_exhaustive(),
            Command::Authenticate { id, .. } => f.debug_struct("Authenticate").field("id", id).finish_non_exhaustive(),
            Command::Ping { id } => f.debug_struct("Ping").field("id", id).finish(),
        }
    }
}

/// A request that can't be taken: whose, and why.
#[derive(Clone, Debug)]
pub struct Refused {
    /// The client's name for the request, if it gave one.
    pub id: Option<String>,
    /// What is wrong.
    pub problem: Problem,
}

/// The names of the requests.
pub const NAMES: [&str; 5] = ["subscribe", "unsubscribe", "publish", "authenticate", "ping"];

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(rename = "type")]
    kind: Option<String>,
    id: Option<String>,
    topics: Option<Vec<String>>,
    names: Option<Vec<String>>,
    cursor: Option<String>,
    #[serde(borrow)]
    event: Option<&'a RawValue>,
    #[serde(borrow)]
    events: Option<&'a RawValue>,
}

/// Reads a request of a client of `stream`. `kind` says what it is where the message itself does not.
pub fn parse(kind: Option<&str>, text: &str, stream: &Stream, limits: &Limits) -> Result<Command, Refused> {
    let wire: Wire<'_> = serde_json::from_str(text).map_err(|error| {
        let detail = format!("a request is a JSON object like {{\"type\":\"ping\"}}: {error}");
        refused(None, "invalid-message", detail)
    })?;
    let Some(kind) = kind.map(str::to_owned).or(wire.kind) else {
        return Err(refused(wire.id, "invalid-message", "a request says what it is: `type` is missing"));
    };
    let id = match wire.id {
        Some(id) if id.is_empty() || id.len() > MAX_ID_BYTES => {
            let detail = format!("`id` takes 1 to {MAX_ID_BYTES} bytes");
            return Err(refused(None, "invalid-id", detail).with_parameter("id"));
        }
        id => id,
    };
    let named = |id: &Option<String>| match id {
        Some(id) => Ok(id.clone()),
        None => Err(refused(None, "invalid-id", "a subscription has a name of yours: give it an `id`")),
    };
    match kind.as_str() {
        "subscribe" => {
            let filter = filter(stream, wire.topics.as_deref(), wire.names.as_deref(), limits)
                .map_err(|problem| Refused { id: id.clone(), problem })?;
            Ok(Command::Subscribe { id: named(&id)?, filter, cursor: wire.cursor.filter(|cursor| !cursor.is_empty()) })
        }
        "unsubscribe" => Ok(Command::Unsubscribe { id: named(&id)? }),
        "publish" => match (wire.event, wire.events) {
            (Some(one), None) if !one.get().starts_with('[') => {
                Ok(Command::Publish { id, events: one.get().to_owned() })
            }
            (None, Some(many)) if many.get().starts_with('[') => {
                Ok(Command::Publish { id, events: many.get().to_owned() })
            }
            _ => Err(refused(id, "invalid-message", "publish takes an object `event` or an array `events`")),
        },
        "authenticate" => {
            let payload = serde_json::from_str(text).unwrap_or_default();
            Ok(Command::Authenticate { id, payload })
        }
        "ping" => Ok(Command::Ping { id }),
        other => {
            let known = NAMES.join(", ");
            let other: String = other.chars().take(64).collect();
            Err(refused(id, "unknown-type", format!("there is no request {other:?}; there is {known}")))
        }
    }
}

/// What is asked for by lists of topics and names in a message.
pub fn filter(
    stream: &Stream,
    topics: Option<&[String]>,
    names: Option<&[String]>,
    limits: &Limits,
) -> Result<Filter, Problem> {
    let most = limits.filter_topics;
    if topics.map_or(0, <[String]>::len).max(names.map_or(0, <[String]>::len)) > most {
        let detail = format!("more than {most} topics or names at once; use a pattern like library/*");
        return Err(Problem::new(StatusCode::BAD_REQUEST, "too-many-topics", detail).with("limit", most));
    }
    if let Some(long) = names.into_iter().flatten().find(|name| name.len() > MAX_NAME_BYTES) {
        let detail = format!("a name of {} bytes: no event has one of more than {MAX_NAME_BYTES}", long.len());
        return Err(Problem::new(StatusCode::BAD_REQUEST, "invalid-name", detail).with("parameter", "names"));
    }
    let pattern = |text: &str| -> Result<TopicPattern, Problem> {
        stream.profile.qualify(text).parse().map_err(|error: InvalidTopic| {
            Problem::new(StatusCode::BAD_REQUEST, "invalid-topic", error.to_string()).with("parameter", "topics")
        })
    };
    let filter = match (topics, stream.profile.namespace()) {
        (Some(topics), _) => Filter::topics(topics.iter().map(|topic| pattern(topic)).collect::<Result<Vec<_>, _>>()?),
        // A stream of one app is given that app's events, whatever else its principal may hold.
        (None, Some(_)) => Filter::topics([pattern("**")?]),
        (None, None) => Filter::all(),
    };
    Ok(stream.narrowed(match names {
        Some(names) => filter.names(names.iter().map(|name| Arc::from(name.as_str()))),
        None => filter,
    }))
}

fn refused(id: Option<String>, code: &'static str, detail: impl Into<String>) -> Refused {
    Refused { id, problem: Problem::new(StatusCode::BAD_REQUEST, code, detail) }
}

impl Refused {
    fn with_parameter(mut self, name: &str) -> Self {
        self.problem = self.problem.with("parameter", name);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::{Codec, StreamSettings};
    use proptest::prelude::*;
    use tidings::Profile;

    fn read(text: &str) -> Result<Command, Refused> {
        let stream = Stream::with_codec(Codec::WebSocket, StreamSettings::default(), Arc::new(Profile::open()));
        parse(None, text, &stream, &Limits::default())
    }

    #[test]
    fn a_subscription_names_itself_its_topics_and_its_place() {
        let topics = Filter::topics(["a/*".parse().unwrap()]);
        let command =
            read(r#"{"type":"subscribe","id":"s","topics":["a/*"],"cursor":"9f3c2a1b-1","newer":1}"#).unwrap();
        let cursor = Some("9f3c2a1b-1".to_owned());
        assert_eq!(command, Command::Subscribe { id: "s".into(), filter: topics, cursor });
        let all = Command::Subscribe { id: "s".into(), filter: Filter::all(), cursor: None };
        assert_eq!(read(r#"{"type":"subscribe","id":"s","cursor":""}"#).unwrap(), all);
    }

    #[test]
    fn what_is_wrong_is_told_with_the_request_that_it_is_about() {
        let code = |text: &str| {
            let Refused { id, problem } = read(text).unwrap_err();
            (id.unwrap_or_default(), problem.code)
        };
        assert_eq!(code("[]"), (String::new(), "invalid-message"));
        assert_eq!(code("{"), (String::new(), "invalid-message"));
        assert_eq!(code("{}"), (String::new(), "invalid-message"));
        assert_eq!(code(r#"{"type":"subscribe"}"#), (String::new(), "invalid-id"));
        assert_eq!(code(r#"{"type":"subscribe","id":""}"#), (String::new(), "invalid-id"));
        assert_eq!(code(r#"{"type":"fly","id":"1"}"#), ("1".into(), "unknown-type"));
        assert_eq!(code(r#"{"type":"subscribe","id":"1","topics":["a//b"]}"#), ("1".into(), "invalid-topic"));
        assert_eq!(code(r#"{"type":"publish","id":"1"}"#), ("1".into(), "invalid-message"));
        assert_eq!(code(r#"{"type":"publish","id":"1","event":[]}"#), ("1".into(), "invalid-message"));
        let many = vec!["a"; 300];
        let many = serde_json::json!({ "type": "subscribe", "id": "1", "topics": many });
        assert_eq!(code(&many.to_string()), ("1".into(), "too-many-topics"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,200}") {
            let _ = read(&text);
        }
    }
}
