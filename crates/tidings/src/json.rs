//! A walk over JSON text that leaves its bytes alone.
//!
//! Parsing into a tree and writing it out again would change what an app sent: the order of members, the spelling of
//! numbers, and big integers. So paths are followed on the text, and only what stands at a path is written anew. Nothing
//! here recurses with the depth of the data.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// A path to values inside JSON: `library.credentials`, `medias[].action`, where `[]` is every element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonPath(Vec<Step>);

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// To the member of that name.
    Member(String),
    /// To every element.
    Each,
}

impl JsonPath {
    /// Its steps.
    pub fn steps(&self) -> &[Step] {
        &self.0
    }
}

/// The text is not a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a path into the data: {reason}")]
pub struct InvalidPath {
    /// The text.
    pub text: String,
    /// Which rule it breaks.
    pub reason: &'static str,
}

/// The most steps of a path: following it recurses once per step.
const MAX_STEPS: usize = 32;

impl FromStr for JsonPath {
    type Err = InvalidPath;

    fn from_str(text: &str) -> Result<Self, InvalidPath> {
        let fail = |reason| Err(InvalidPath { text: text.to_owned(), reason });
        let mut steps = Vec::new();
        for (index, part) in text.split('.').enumerate() {
            let mut name = part;
            let mut each = 0;
            while let Some(rest) = name.strip_suffix("[]") {
                name = rest;
                each += 1;
            }
            if name.contains(['[', ']', '{', '}']) {
                return fail("brackets are only `[]` behind a name, for every element");
            }
            if !name.is_empty() {
                steps.push(Step::Member(name.to_owned()));
            } else if index > 0 || each == 0 {
                return fail("a name is missing");
            }
            steps.extend(std::iter::repeat_n(Step::Each, each));
        }
        if steps.len() > MAX_STEPS {
            return fail("it has more than 32 steps");
        }
        Ok(JsonPath(steps))
    }
}

impl fmt::Display for JsonPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.0.iter().enumerate() {
            match step {
                Step::Member(name) if index == 0 => f.write_str(name)?,
                Step::Member(name) => write!(f, ".{name}")?,
                Step::Each => f.write_str("[]")?,
            }
        }
        Ok(())
    }
}

/// What becomes of the values at a path.
#[derive(Clone, Copy)]
pub(crate) enum Edit<'a> {
    /// Something stands in their place.
    Replace(&'a str),
    /// They are gone, their names too.
    Remove,
    /// Strings are written as this makes them; what is no string stays.
    Strings(fn(&str) -> String),
}

/// The text is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// `json` with the values at `path` edited and every other byte of them as it was. Without the path, nothing changes.
pub(crate) fn edit(json: &str, path: &JsonPath, edit: Edit<'_>) -> Result<String, Malformed> {
    let mut out = String::with_capacity(json.len() + 16);
    apply(json, &path.0, edit, &mut out)?;
    Ok(out)
}

/// Writes `value` to `out`, edited.
fn apply(value: &str, path: &[Step], edit: Edit<'_>, out: &mut String) -> Result<(), Malformed> {
    let Some((step, rest)) = path.split_first() else {
        match edit {
            Edit::Replace(with) => out.push_str(with),
            Edit::Remove => {}
            Edit::Strings(change) => match string(value) {
                Some(text) => out.push_str(&quoted(&change(&text))),
                None => out.push_str(value),
            },
        }
        return Ok(());
    };
    let removes = rest.is_empty() && matches!(edit, Edit::Remove);
    match step {
        Step::Member(name) if value.starts_with('{') => {
            out.push('{');
            let mut first = true;
            for item in items(value) {
                let (key, member) = item?;
                // Every member of that name: readers differ in which of two they take.
                let at = string(key).is_some_and(|key| key == *name);
                if at && removes {
                    continue;
                }
                if !std::mem::take(&mut first) {
                    out.push(',');
                }
                out.push_str(key);
                out.push(':');
                if at {
                    apply(member, rest, edit, out)?;
                } else {
                    out.push_str(member);
                }
            }
            out.push('}');
        }
        Step::Each if value.starts_with('[') => {
            out.push('[');
            let mut first = true;
            for item in items(value) {
                let (_, element) = item?;
                if removes {
                    continue;
                }
                if !std::mem::take(&mut first) {
                    out.push(',');
                }
                apply(element, rest, edit, out)?;
            }
            out.push(']');
        }
        _ => out.push_str(value),
    }
    Ok(())
}

/// The value at a path of member names; of two members with one name the last, as `JSON.parse` takes it.
pub(crate) fn lookup<'a>(json: &'a str, path: &[String]) -> Option<&'a str> {
    let mut value = json.trim_ascii();
    for name in path {
        if !value.starts_with('{') {
            return None;
        }
        let mut found = None;
        for item in items(value) {
            let (key, member) = item.ok()?;
            if string(key).is_some_and(|key| key == *name) {
                found = Some(member);
            }
        }
        value = found?;
    }
    Some(value)
}

/// The text of a JSON string. `None` for any other value, and for a string that is no Unicode (a lone surrogate).
pub(crate) fn string(value: &str) -> Option<Cow<'_, str>> {
    let inner = value.strip_prefix('"')?.strip_suffix('"')?;
    if !inner.contains('\\') {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str::<String>(value).ok().map(Cow::Owned)
}

/// The text as a JSON string.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The members of an object, or the elements of an array with an empty key. `text` begins with its bracket.
pub(crate) fn items(text: &str) -> Items<'_> {
    Items { text, at: 1, object: text.starts_with('{'), state: State::First }
}

pub(crate) struct Items<'a> {
    text: &'a str,
    at: usize,
    object: bool,
    state: State,
}

#[derive(PartialEq)]
enum State {
    First,
    Next,
    Done,
}

impl<'a> Iterator for Items<'a> {
    type Item = Result<(&'a str, &'a str), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.state == State::Done {
            return None;
        }
        let item = self.read();
        if !matches!(item, Ok(Some(_))) {
            self.state = State::Done;
        }
        item.transpose()
    }
}

impl<'a> Items<'a> {
    fn read(&mut self) -> Result<Option<(&'a str, &'a str)>, Malformed> {
        let close = if self.object { b'}' } else { b']' };
        match self.peek()? {
            byte if byte == close => return Ok(None),
            b',' if self.state == State::Next => self.at += 1,
            _ if self.state == State::First => {}
            _ => return Err(Malformed),
        }
        self.state = State::Next;
        let mut key = "";
        if self.object {
            key = self.value()?;
            if !key.starts_with('"') || self.peek()? != b':' {
                return Err(Malformed);
            }
            self.at += 1;
        }
        Ok(Some((key, self.value()?)))
    }

    /// The next byte that is no white space.
    fn peek(&mut self) -> Result<u8, Malformed> {
        let bytes = self.text.as_bytes();
        while matches!(bytes.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        bytes.get(self.at).copied().ok_or(Malformed)
    }

    /// Reads one value of any kind, without looking into it.
    fn value(&mut self) -> Result<&'a str, Malformed> {
        self.peek()?;
        let start = self.at;
        let bytes = self.text.as_bytes();
        let mut depth = 0usize;
        loop {
            match bytes.get(self.at).copied().ok_or(Malformed)? {
                b'"' => {
                    self.at += 1;
                    loop {
                        match bytes.get(self.at).copied().ok_or(Malformed)? {
                            b'"' => break,
                            b'\\' => self.at += 2,
                            _ => self.at += 1,
                        }
                    }
                    self.at += 1;
                }
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1).ok_or(Malformed)?;
                    self.at += 1;
                }
                b',' | b':' if depth == 0 => return Err(Malformed),
                b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' => self.at += 1,
                _ => {
                    while !matches!(
                        bytes.get(self.at),
                        None | Some(b',' | b':' | b'"' | b'{' | b'}' | b'[' | b']' | b' ' | b'\t' | b'\n' | b'\r')
                    ) {
                        self.at += 1;
                    }
                }
            }
            if depth == 0 {
                return self.text.get(start..self.at).ok_or(Malformed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(text: &str) -> JsonPath {
        text.parse().unwrap()
    }

    #[test]
    fn only_what_stands_at_the_path_is_written_anew() {
        let data = r#"{"z":1.10,"n":12345678901234567890123,"a":{"s" : [ {"k":1}, {"k":"x"} ]}}"#;
        let edited = edit(data, &path("a.s[].k"), Edit::Replace("null")).unwrap();
        assert_eq!(edited, r#"{"z":1.10,"n":12345678901234567890123,"a":{"s":[{"k":null},{"k":null}]}}"#);
        assert_eq!(edit(data, &path("a.missing.k"), Edit::Remove).unwrap().replace(' ', ""), data.replace(' ', ""));
    }

    #[test]
    fn a_name_that_is_escaped_or_repeated_does_not_hide_a_value() {
        let data = r#"{"se\u0063ret":1,"secret":2,"b":3}"#;
        assert_eq!(edit(data, &path("secret"), Edit::Remove).unwrap(), r#"{"b":3}"#);
    }

    #[test]
    fn paths_say_what_is_wrong_with_them() {
        for text in ["", "a..b", ".a", "a.", "a[0]", "a[", "a.[]", "a[]b"] {
            assert!(text.parse::<JsonPath>().is_err(), "{text:?}");
        }
        for text in ["a", "a.b", "a[].b", "[].b", "a[][]"] {
            assert_eq!(path(text).to_string(), text);
        }
    }

    #[test]
    fn deep_data_does_not_exhaust_the_stack() {
        let deep = format!(r#"{{"a":{}{},"b":1}}"#, "[".repeat(500_000), "]".repeat(500_000));
        assert_eq!(lookup(&deep, &["b".into()]), Some("1"));
        assert!(edit(&deep, &path("a[].b"), Edit::Remove).is_ok());
    }

    proptest! {
        #[test]
        fn any_text_is_walked_without_a_panic(text in "[\\[\\]{}\",:\\\\a1 é]{0,40}") {
            let _ = edit(&text, &path("a[].a"), Edit::Remove);
            let _ = edit(&text, &path("[]"), Edit::Replace("null"));
            let _ = lookup(&text, &["a".into()]);
        }
    }
}
