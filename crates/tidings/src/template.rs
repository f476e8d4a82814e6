//! A path with places to fill in from an event.

use std::fmt;
use std::str::FromStr;

use crate::json;
use crate::topic::Topic;

/// A path with places to fill in from an event: `library/{scope.library}/read`, `user/{data.progress.userRef}`.
///
/// A string, number or bool fills its place as text that is escaped to stay within one segment, so that no value of an app
/// changes what the path means. Anything else leaves the template unresolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Field(Field),
}

/// A value of an event that a template needs: `scope.library`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Whether it stands in the scope; else in the data.
    pub scope: bool,
    /// The names that lead to it.
    pub path: Vec<String>,
}

/// The text is not a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a template: {reason} (at character {})", position + 1)]
pub struct InvalidTemplate {
    /// The text.
    pub text: String,
    /// How many characters stand before the mistake.
    pub position: usize,
    /// What is wrong.
    pub reason: String,
}

/// What templates are filled in from: two JSON texts, either of which may be empty.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The event's data.
    pub data: &'a str,
    /// The event's scope.
    pub scope: &'a str,
}

impl<'a> Facts<'a> {
    /// The facts of an event; what is not text counts as absent.
    pub fn new(data: &'a [u8], scope: &'a [u8]) -> Self {
        Facts { data: std::str::from_utf8(data).unwrap_or(""), scope: std::str::from_utf8(scope).unwrap_or("") }
    }
}

impl Template {
    /// The template as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The values it needs.
    pub fn fields(&self) -> impl Iterator<Item = &Field> {
        self.parts.iter().filter_map(|part| match part {
            Part::Field(field) => Some(field),
            Part::Literal(_) => None,
        })
    }

    /// Whether it is the same for every event.
    pub fn is_literal(&self) -> bool {
        self.fields().next().is_none()
    }

    /// The path for these facts, or the first field that has no value to fill in.
    pub fn resolve(&self, facts: Facts<'_>) -> Result<String, &Field> {
        let mut path = String::with_capacity(self.text.len() + 16);
        for part in &self.parts {
            match part {
                Part::Literal(text) => path.push_str(text),
                Part::Field(field) => path.push_str(&field.segment(facts).ok_or(field)?),
            }
        }
        Ok(path)
    }
}

impl Field {
    /// Whether nothing stands there, or `null`. A value that fits no place is not nothing. Nor is one on the way that has no members, in the
    /// scope, which is there for this; data has the form that it has.
    pub(crate) fn is_absent(&self, facts: Facts<'_>) -> bool {
        let text = if self.scope { facts.scope } else { facts.data };
        let found =
            (1..=self.path.len()).rev().find_map(|names| Some((names, json::lookup(text, &self.path[..names])?)));
        let (names, value) = found.unwrap_or((0, text.trim_ascii_start()));
        if names < self.path.len() && !self.scope {
            return true;
        }
        match value.as_bytes().first() {
            None | Some(b'n') => true,
            Some(b'{') => names < self.path.len(),
            Some(_) => false,
        }
    }

    /// The value as one escaped segment.
    fn segment(&self, facts: Facts<'_>) -> Option<String> {
        let value = json::lookup(if self.scope { facts.scope } else { facts.data }, &self.path)?;
        match value.as_bytes().first()? {
            b'"' => {
                let text = json::string(value)?;
                (!text.is_empty()).then(|| Topic::escape_segment(&text).into_owned())
            }
            b'{' | b'[' | b'n' => None,
            _ => Some(Topic::escape_segment(value).into_owned()),
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.scope { "scope" } else { "data" })?;
        self.path.iter().try_for_each(|name| write!(f, ".{name}"))
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Template {
    type Err = InvalidTemplate;

    fn from_str(text: &str) -> Result<Self, InvalidTemplate> {
        let fail = |at: usize, reason: String| {
            Err(InvalidTemplate { text: text.to_owned(), position: text[..at].chars().count(), reason })
        };
        let mut parts = Vec::new();
        let mut at = 0;
        while let Some(found) = text[at..].find(['{', '}']) {
            let open = at + found;
            if text.as_bytes()[open] == b'}' {
                return fail(open, "this `}` closes nothing".into());
            }
            if open > at {
                parts.push(Part::Literal(text[at..open].to_owned()));
            }
            let Some(length) = text[open + 1..].find(['{', '}']).filter(|i| text.as_bytes()[open + 1 + i] == b'}')
            else {
                return fail(open, "this `{` is not closed".into());
            };
            let inner = &text[open + 1..open + 1 + length];
            let mut names = inner.split('.');
            let scope = match names.next() {
                Some("scope") => true,
                Some("data") => false,
                _ => {
                    return fail(
                        open + 1,
                        format!("`{{{inner}}}` must begin with `scope.` or `data.`, as in `{{scope.library}}`"),
                    );
                }
            };
            let path: Vec<String> = names.map(str::to_owned).collect();
            if path.is_empty() || path.iter().any(String::is_empty) {
                return fail(open + 1, format!("`{{{inner}}}` lacks a name, as in `{{scope.library}}`"));
            }
            if path.len() > 32 || path.iter().any(|name| name.contains(|c: char| c.is_control() || "[]".contains(c))) {
                return fail(open + 1, format!("`{{{inner}}}` is not a path of names"));
            }
            parts.push(Part::Field(Field { scope, path }));
            at = open + length + 2;
        }
        if at < text.len() {
            parts.push(Part::Literal(text[at..].to_owned()));
        }
        let sample: String = parts.iter().map(|part| if let Part::Literal(text) = part { text } else { "x" }).collect();
        if let Err(error) = sample.parse::<Topic>() {
            return fail(0, error.reason.into());
        }
        Ok(Template { text: text.to_owned(), parts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn resolve(template: &str, data: &str, scope: &str) -> Result<String, String> {
        template.parse::<Template>().unwrap().resolve(Facts { data, scope }).map_err(|field| field.to_string())
    }

    #[test]
    fn places_are_filled_from_data_and_scope() {
        let data = r#"{"id": 42, "done": true, "user": {"ref": "u/1"}}"#;
        assert_eq!(resolve("a/{data.id}/{data.done}", data, ""), Ok("a/42/true".into()));
        assert_eq!(resolve("user/{data.user.ref}", data, ""), Ok("user/u%2F1".into()));
        assert_eq!(resolve("job-{scope.j}", "null", r#"{"j":"7"}"#), Ok("job-7".into()));
    }

    #[test]
    fn what_is_no_single_value_leaves_it_unresolved() {
        for scope in
            ["", "null", "{}", r#"{"l":null}"#, r#"{"l":""}"#, r#"{"l":{}}"#, r#"{"l":[1]}"#, r#"{"l":"\ud800"}"#]
        {
            assert_eq!(resolve("library/{scope.l}/read", "{}", scope), Err("scope.l".into()), "{scope}");
        }
    }

    #[test]
    fn a_malformed_template_says_where() {
        for (text, position) in [
            ("a/{scope.x", 2),
            ("a/}", 2),
            ("a/{x}", 3),
            ("é/{scope}", 3),
            ("a/{data.}", 3),
            ("{scope.{data.x}}", 0),
            ("a//b", 0),
            ("", 0),
            ("a/*", 0),
        ] {
            let error = text.parse::<Template>().unwrap_err();
            assert_eq!(error.position, position, "{error}");
        }
    }

    proptest! {
        #[test]
        fn a_value_stays_within_its_segment(value in ".{1,40}", text in "[{}a-c./*]{0,20}") {
            let scope = serde_json::json!({ "l": value }).to_string();
            let path = resolve("library/{scope.l}/read", "", &scope).unwrap();
            prop_assert!(path.parse::<Topic>().is_ok());
            prop_assert_eq!(path.split('/').count(), 3);
            prop_assert!(path.starts_with("library/") && path.ends_with("/read"));
            if let Ok(template) = text.parse::<Template>() {
                let _ = template.resolve(Facts { data: "{}", scope: &scope });
            }
        }
    }
}
