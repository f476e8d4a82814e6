//! What an event is about, and how a client names it.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The most bytes a topic, a grant or a pattern may have.
pub const MAX_PATH_BYTES: usize = 512;
/// The most segments a topic, a grant or a pattern may have.
pub const MAX_PATH_SEGMENTS: usize = 32;

/// A path that says what an event is about: `library/lib1`, `user/u1`, `job/42`.
///
/// One to 32 segments, none empty, 512 bytes at most, no control characters and no `*`. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic(Arc<str>);

/// A topic with wildcards: `*` stands for one whole segment, a final `**` for one or more.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPattern(Arc<str>);

/// The text is not a topic, grant or pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a valid {what}: {reason}")]
pub struct InvalidTopic {
    /// The text, cut to 80 characters.
    pub text: String,
    /// "topic" or "pattern".
    pub what: &'static str,
    /// Which rule it breaks.
    pub reason: &'static str,
}

fn check(text: &str, what: &'static str) -> Result<(), InvalidTopic> {
    let wild = what == "pattern";
    let fail = |reason| Err(InvalidTopic { text: text.chars().take(80).collect(), what, reason });
    if text.is_empty() {
        return fail("it is empty");
    }
    if text.len() > MAX_PATH_BYTES {
        return fail("it is longer than 512 bytes");
    }
    if text.chars().any(char::is_control) {
        return fail("it has a control character");
    }
    let count = text.split('/').count();
    if count > MAX_PATH_SEGMENTS {
        return fail("it has more than 32 segments");
    }
    for (index, segment) in text.split('/').enumerate() {
        match segment {
            "" => return fail("it has an empty segment (two slashes in a row, or one at an end)"),
            "*" if wild => {}
            "**" if wild && index + 1 == count => {}
            "**" if wild => return fail("`**` may stand only at the end"),
            s if s.contains('*') && wild => return fail("`*` must be a whole segment"),
            s if s.contains('*') => return fail("it has a `*`"),
            _ => {}
        }
    }
    Ok(())
}

impl Topic {
    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Makes any text fit to be one segment, reversibly: `%`, `/`, `*` and control characters become `%XX`.
    ///
    /// A template puts values of an app into a path through this, so that an id like `a/../b` or `*` stays one
    /// segment and never widens who may see an event.
    pub fn escape_segment(text: &str) -> std::borrow::Cow<'_, str> {
        let bad = |c: char| matches!(c, '%' | '/' | '*') || c.is_control();
        if !text.contains(bad) {
            return text.into();
        }
        let mut escaped = String::with_capacity(text.len() + 8);
        for c in text.chars() {
            if bad(c) {
                let mut buffer = [0; 4];
                for byte in c.encode_utf8(&mut buffer).bytes() {
                    escaped.push_str(&format!("%{byte:02X}"));
                }
            } else {
                escaped.push(c);
            }
        }
        escaped.into()
    }
}

impl TopicPattern {
    /// The pattern as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it has no wildcard, and so names one topic.
    pub fn is_literal(&self) -> bool {
        !self.0.contains('*')
    }

    /// Whether the pattern covers `path`.
    pub fn matches(&self, path: &str) -> bool {
        matches(&self.0, path)
    }
}

/// Whether `pattern` covers `path`; both must be valid.
///
/// Linear in the shorter of the two: `**` stands only at the end, so there is nothing to go back to.
pub fn matches(pattern: &str, path: &str) -> bool {
    let mut wanted = pattern.split('/');
    let mut given = path.split('/');
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return true,
            (Some("**"), Some(_)) => return true,
            (Some("*"), Some(_)) => {}
            (Some(a), Some(b)) if a == b => {}
            _ => return false,
        }
    }
}

impl FromStr for Topic {
    type Err = InvalidTopic;
    fn from_str(text: &str) -> Result<Self, InvalidTopic> {
        check(text, "topic")?;
        Ok(Topic(text.into()))
    }
}

impl FromStr for TopicPattern {
    type Err = InvalidTopic;
    fn from_str(text: &str) -> Result<Self, InvalidTopic> {
        check(text, "pattern")?;
        Ok(TopicPattern(text.into()))
    }
}

impl From<Topic> for TopicPattern {
    fn from(topic: Topic) -> Self {
        TopicPattern(topic.0)
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Borrow<str> for Topic {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_star_is_one_segment_and_two_at_the_end_are_one_or_more() {
        for (pattern, path, expected) in [
            ("library/*", "library/lib1", true),
            ("library/*", "library/lib1/x", false),
            ("library/*", "library", false),
            ("library/**", "library/lib1/x", true),
            ("library/**", "library", false),
            ("**", "a/b", true),
            ("*/read", "a/read", true),
            ("a/b", "a/b", true),
            ("a/b", "a/bc", false),
        ] {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn malformed_paths_are_refused_with_a_reason() {
        for text in ["", "/a", "a/", "a//b", "a\nb", "a/*", &"x".repeat(513), &vec!["a"; 33].join("/")] {
            assert!(text.parse::<Topic>().is_err(), "{text:?}");
        }
        for text in ["a/**/b", "a/b*", "**/a", "a/***"] {
            assert!(text.parse::<TopicPattern>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn an_escaped_value_is_one_segment_and_different_values_stay_different(a in ".{1,20}", b in ".{1,20}") {
            let (x, y) = (Topic::escape_segment(&a), Topic::escape_segment(&b));
            prop_assert!(x.parse::<Topic>().is_ok());
            prop_assert!(!x.contains('/'));
            prop_assert_eq!(a == b, x == y);
        }

        #[test]
        fn a_literal_pattern_covers_only_itself(path in "[a-c]{1,2}(/[a-c]{1,2}){0,3}", other in "[a-c]{1,2}(/[a-c]{1,2}){0,3}") {
            prop_assert_eq!(matches(&path, &other), path == other);
        }
    }
}
