//! What a request asks for: topics, names, and where to go on from.

use std::sync::Arc;

use http::{HeaderMap, StatusCode, Uri};
use tidings::{Filter, Topic, TopicPattern};

use crate::problem::Problem;
use crate::stream::Stream;

/// The query's names for the place to go on from; the header `Last-Event-ID` wins over all of them, since clients send a
/// stale query beside a fresh header.
pub const RESUME_NAMES: [&str; 5] = ["last_event_id", "lastEventID", "lastEventId", "Last-Event-ID", "cursor"];

/// The pairs of a query, decoded.
pub fn pairs(uri: &Uri) -> impl Iterator<Item = (std::borrow::Cow<'_, str>, std::borrow::Cow<'_, str>)> {
    form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes())
}

/// The place to go on from, if the request names one.
pub fn resume(headers: &HeaderMap, uri: &Uri) -> Option<String> {
    // An empty header is what some clients send before they have seen an id: it says nothing, and the query still counts.
    if let Some(value) = headers.get("last-event-id").filter(|value| !value.is_empty()) {
        return Some(String::from_utf8_lossy(value.as_bytes()).into_owned());
    }
    pairs(uri).find(|(name, value)| RESUME_NAMES.contains(&name.as_ref()) && !value.is_empty()).map(|(_, id)| id.into())
}

/// Whether the query asks for anything: topics, names, or a place to go on from.
pub fn asks(stream: &Stream, uri: &Uri) -> bool {
    pairs(uri).any(|(name, _)| {
        matches!(name.as_ref(), "topic" | "topics" | "name" | "names")
            || RESUME_NAMES.contains(&name.as_ref())
            || stream.settings.filters.iter().any(|filtering| filtering.query == name)
    })
}

/// Whether each event is to be told with its topic and its time: `meta=true`, unless the mount has a parameter of that name for itself.
pub fn meta(stream: &Stream, uri: &Uri) -> bool {
    stream.settings.filters.iter().all(|filtering| filtering.query != "meta")
        && pairs(uri).any(|(name, value)| name == "meta" && value == "true")
}

/// What was asked for: by the mount's own parameters (`?libraries=`), or by `topic`, `topics`, `name` and `names`.
pub fn filter(stream: &Stream, uri: &Uri, most: usize) -> Result<Filter, Problem> {
    let mut own: Option<Vec<TopicPattern>> = None;
    let mut topics: Option<Vec<TopicPattern>> = None;
    let mut names: Option<Vec<Arc<str>>> = None;
    for (name, value) in pairs(uri) {
        if let Some(filtering) = stream.settings.filters.iter().find(|filtering| filtering.query == name) {
            let own = own.get_or_insert_default();
            let values: Vec<&str> = match filtering.split {
                Some(separator) => value.split(separator).map(str::trim).filter(|value| !value.is_empty()).collect(),
                None => Some(value.as_ref()).filter(|value| !value.is_empty()).into_iter().collect(),
            };
            for value in values {
                let topic = filtering.topic.replace("{value}", &Topic::escape_segment(value));
                own.push(pattern(stream, &name, &topic)?);
            }
            for always in &filtering.always {
                own.push(pattern(stream, &name, always.as_str())?);
            }
            bound(&name, own.len(), most, "ask for fewer, or leave it out and hear of all")?;
            continue;
        }
        match name.as_ref() {
            "topic" => topics.get_or_insert_default().push(pattern(stream, &name, &value)?),
            "topics" => {
                for value in value.split(',').map(str::trim).filter(|value| !value.is_empty()) {
                    topics.get_or_insert_default().push(pattern(stream, &name, value)?);
                }
            }
            "name" => names.get_or_insert_default().push(value.as_ref().into()),
            "names" => names.get_or_insert_default().extend(value.split(',').map(|name| Arc::from(name.trim()))),
            _ => {}
        }
        bound(
            &name,
            topics.as_ref().map_or(0, Vec::len).max(names.as_ref().map_or(0, Vec::len)),
            most,
            "use a pattern like library/*",
        )?;
    }
    let filter = match (own, topics) {
        (Some(_), Some(_)) => {
            let query = &stream.settings.filters[0].query;
            let detail = format!("ask either by `{query}` or by `topic`, not by both: which of them should hold?");
            return Err(Problem::new(StatusCode::BAD_REQUEST, "ambiguous-filter", detail));
        }
        (Some(topics), None) | (None, Some(topics)) => Filter::topics(topics),
        (None, None) => match stream.profile.namespace() {
            // A stream of one app is given that app's events, whatever else its principal may hold.
            Some(_) => Filter::topics([pattern(stream, "topic", "**")?]),
            None => Filter::all(),
        },
    };
    Ok(stream.narrowed(match names {
        Some(names) => filter.names(names),
        None => filter,
    }))
}

fn pattern(stream: &Stream, parameter: &str, text: &str) -> Result<TopicPattern, Problem> {
    stream.profile.qualify(text).parse().map_err(|error: tidings::InvalidTopic| {
        Problem::new(StatusCode::BAD_REQUEST, "invalid-topic", format!("?{parameter}=: {error}"))
            .with("parameter", parameter)
    })
}

fn bound(parameter: &str, count: usize, most: usize, hint: &str) -> Result<(), Problem> {
    if count <= most {
        return Ok(());
    }
    let detail = format!("?{parameter}= asks for more than {most} topics; {hint}");
    Err(Problem::new(StatusCode::BAD_REQUEST, "too-many-topics", detail).with("limit", most))
}
