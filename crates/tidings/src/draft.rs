//! What a publisher hands in.

use serde::Deserialize;
use serde_json::value::RawValue;

/// What a publisher hands in: a name and the data; the rest is mostly left to the profile.
///
/// Reading it keeps `data` and `scope` byte for byte.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Draft {
    /// The kind of event: `book.updated`.
    pub name: String,
    /// What it is about, where the profile leaves that to the publisher.
    #[serde(default)]
    pub topic: Option<String>,
    /// The payload, any JSON value; `null` if it is left out.
    #[serde(default = "null")]
    pub data: Box<RawValue>,
    /// Facts that decide the audience, an object. Never on the wire.
    #[serde(default)]
    pub scope: Option<Box<RawValue>>,
    /// Who may see it, where the profile leaves that to the publisher.
    #[serde(default)]
    pub audience: Option<Vec<String>>,
    /// What it replaces; goes before the key of the profile.
    #[serde(default)]
    pub key: Option<String>,
    /// Whether it is a signal, not kept; goes before what the profile says.
    #[serde(default)]
    pub signal: Option<bool>,
}

fn null() -> Box<RawValue> {
    RawValue::NULL.to_owned()
}

impl Draft {
    /// A draft with a name and nothing else.
    pub fn new(name: &str) -> Self {
        Draft { name: name.to_owned(), topic: None, data: null(), scope: None, audience: None, key: None, signal: None }
    }
}

/// Why a draft can't become an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {detail}")]
pub struct DraftError {
    /// What is wrong: `name`, `data`, `topic`, `scope.library`.
    pub field: String,
    /// A sentence with the values in it.
    pub detail: String,
    /// A short name of the kind of mistake, stable for programs: `unknown-event`, `data-too-large`.
    pub code: &'static str,
}

impl DraftError {
    /// A mistake in one field.
    pub fn new(field: impl Into<String>, code: &'static str, detail: impl Into<String>) -> Self {
        DraftError { field: field.into(), detail: detail.into(), code }
    }

    /// Whether the draft is too large, rather than wrong: 413 instead of 422.
    pub fn is_too_large(&self) -> bool {
        matches!(self.code, "data-too-large" | "scope-too-large")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_kept_byte_for_byte() {
        let draft: Draft =
            serde_json::from_str(r#"{"name":"a","data": {"b" : 1.10, "a":12345678901234567890} }"#).unwrap();
        assert_eq!(draft.data.get(), r#"{"b" : 1.10, "a":12345678901234567890}"#);
        assert_eq!(serde_json::from_str::<Draft>(r#"{"name":"a"}"#).unwrap().data.get(), "null");
    }

    #[test]
    fn a_field_nobody_knows_is_an_error() {
        assert!(serde_json::from_str::<Draft>(r#"{"name":"a","audiences":[]}"#).is_err());
    }
}
