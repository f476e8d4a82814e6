//! What a request about jobs says: its query and its body.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use axum::body::Body;
use http::{StatusCode, header, request};
use serde::de::{DeserializeOwned, DeserializeSeed, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;
use tidings::Limits;

use crate::problem::Problem;
use crate::publish::collect;
use crate::query;

/// A parameter of the query; none where it is missing or empty.
pub(super) fn parameter<T: FromStr>(parts: &request::Parts, name: &str, form: &str) -> Result<Option<T>, Problem> {
    let found = query::pairs(&parts.uri).find(|(found, value)| found == name && !value.is_empty());
    let Some((_, value)) = found else { return Ok(None) };
    value.parse().map(Some).map_err(|_| {
        let detail = format!("?{name}= takes {form}");
        Problem::new(StatusCode::BAD_REQUEST, "invalid-query", detail).with("parameter", name)
    })
}

/// A duration in the query: `?wait=5s`.
pub(super) fn duration_parameter(parts: &request::Parts, name: &str) -> Result<Option<Duration>, Problem> {
    let form = "a whole number and ms, s, m, h or d, like 30s";
    Ok(parameter::<Written>(parts, name, form)?.map(|Written(duration)| duration))
}

/// A duration as it is written: `30s`.
struct Written(Duration);

impl FromStr for Written {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        tidings::duration::parse(text).map(Written)
    }
}

/// For `#[serde(deserialize_with)]`: `lease`, which may be left out.
pub(super) fn lease<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    deserializer.deserialize_any(Named("lease"))
}

/// The same of `wait`.
pub(super) fn wait<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    deserializer.deserialize_any(Named("wait"))
}

/// The duration of this member. A bare number is refused: seconds that were meant as ms would be a lease of hours.
struct Named(&'static str);

impl<'de> Visitor<'de> for Named {
    type Value = Option<Duration>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` as a duration with its unit, like \"30s\"", self.0)
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        tidings::duration::parse(text).map(Some).map_err(|why| E::custom(format!("`{}`: {why}", self.0)))
    }
    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// The media type of the body, in lower case and without parameters.
pub(super) fn media(parts: &request::Parts) -> String {
    let media = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

pub(super) fn is_lines(media: &str) -> bool {
    matches!(media, "application/x-ndjson" | "application/ndjson" | "application/jsonl")
}

/// 415. Anything that a page of another origin can send without asking (Fetch standard, "CORS-safelisted") stays out.
pub(super) fn unsupported(media: &str, takes: &str) -> Problem {
    let media = if media.is_empty() { "of no type" } else { media };
    let detail = format!("the body is {media}: send {takes}");
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", detail)
}

/// A JSON body of a known form; an empty one is the default form.
pub(super) async fn read<T: DeserializeOwned + Default>(
    parts: &request::Parts,
    body: Body,
    limits: &Limits,
) -> Result<T, Problem> {
    let body = collect(body, limits).await?;
    if body.is_empty() {
        return Ok(T::default());
    }
    match media(parts).as_str() {
        "application/json" => object("the body", &body),
        other => Err(unsupported(other, "it as `Content-Type: application/json`")),
    }
}

/// A JSON object of a known form.
pub(super) fn object<'de, T: Deserialize<'de>>(what: &str, json: &'de [u8]) -> Result<T, Problem> {
    // An array would be taken for the members in their order, as they happen to stand in the code.
    if json.trim_ascii_start().first() == Some(&b'[') {
        let detail = format!("{what} is an array, and not an object");
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-request", detail));
    }
    serde_json::from_slice(json).map_err(|error| malformed(what, &error))
}

/// 422 for JSON that says what it must not, 400 for what is no JSON.
pub(super) fn malformed(what: &str, error: &serde_json::Error) -> Problem {
    let (status, code) = match error.is_data() {
        true => (StatusCode::UNPROCESSABLE_ENTITY, "invalid-request"),
        false => (StatusCode::BAD_REQUEST, "invalid-json"),
    };
    Problem::new(status, code, format!("{what}: {error}"))
}

/// The elements of an array, or the lines of a text that are not empty, as they stand in the body: at most so many.
pub(super) fn elements<'a>(media: &str, body: &'a [u8], most: usize) -> Result<Vec<&'a [u8]>, Problem> {
    let elements: Vec<&[u8]> = if is_lines(media) {
        let lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        lines.filter(|line| !line.is_empty()).take(most + 1).collect()
    } else if media == "application/json" {
        let mut reader = serde_json::Deserializer::from_slice(body);
        let read = FirstOf(most + 1).deserialize(&mut reader);
        let read = read.and_then(|read| if read.len() > most { Ok(read) } else { reader.end().map(|()| read) });
        read.map_err(|error| malformed("the body", &error))?
    } else {
        return Err(unsupported(media, "an array as application/json, or one element a line as application/x-ndjson"));
    };
    if elements.len() > most {
        let detail = format!("more than {most} elements at once are too many: send fewer, and more often");
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-many-elements", detail).with("limit", most));
    }
    Ok(elements)
}

/// Reads the first so many elements of an array: a few bytes each, they would take many times the memory of the body.
struct FirstOf(usize);

impl<'de> DeserializeSeed<'de> for FirstOf {
    type Value = Vec<&'de [u8]>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for FirstOf {
    type Value = Vec<&'de [u8]>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = array.next_element::<&'de RawValue>()? {
            elements.push(element.get().as_bytes());
            if elements.len() == self.0 {
                while array.next_element::<de::IgnoredAny>()?.is_some() {}
            }
        }
        Ok(elements)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elements_of<'a>(media: &str, body: &'a str) -> Result<Vec<&'a [u8]>, Problem> {
        elements(media, body.as_bytes(), 3)
    }

    #[test]
    fn an_array_and_lines_say_the_same() {
        let array = elements_of("application/json", " [1, {\"a\": 2} ,\"x\"] ").unwrap();
        let lines = elements_of("application/x-ndjson", "1\r\n\n {\"a\": 2}\n\"x\"").unwrap();
        assert_eq!(array, lines);
        assert_eq!(array, [&b"1"[..], b"{\"a\": 2}", b"\"x\""]);
    }

    #[test]
    fn more_elements_than_there_may_be_are_refused_in_either_form() {
        for (media, body) in [("application/json", "[1,2,3,4,5]"), ("application/x-ndjson", "1\n2\n3\n4\n5")] {
            let problem = elements_of(media, body).unwrap_err();
            assert_eq!((problem.status, problem.code), (StatusCode::PAYLOAD_TOO_LARGE, "too-many-elements"));
        }
    }

    #[test]
    fn what_a_page_can_send_without_asking_is_not_read() {
        assert_eq!(elements_of("text/plain", "[]").unwrap_err().status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
        assert_eq!(elements_of("application/json", "{}").unwrap_err().status, StatusCode::UNPROCESSABLE_ENTITY);
        for broken in ["[1", "[1] 2", "[1,]", "[1,2,3,4,", ""] {
            assert_eq!(
                elements_of("application/json", broken).unwrap_err().status,
                StatusCode::BAD_REQUEST,
                "{broken}"
            );
        }
    }
}
