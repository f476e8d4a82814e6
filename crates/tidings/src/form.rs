//! How an event, or any JSON document, looks to one app, where that is another form than its own.
//!
//! A form is a tree of JSON whose texts have holes to fill in:
//!
//! ```toml
//! form = { jobId = "{data.id}", status = "{data.state:words}", progress = "{data.progress.fraction|0}", at = "{time:iso}" }
//! words = { running = "processing" }
//! ```
//!
//! | written | is |
//! |---|---|
//! | `"{data.progress.done}"` | the value that stands there, of whatever type, byte for byte. A member or element that finds nothing is left out |
//! | `"{data.done} of {data.total}"` | text: beside other text, a hole that finds nothing, or `null`, is empty |
//! | `{data.books[0].title}`, `{data["odd name"]}` | an element by its index from 0; a name that has other marks than letters, digits, `_` and `-` |
//! | `{data}`, `{name}`, `{topic}`, `{time}`, `{cursor}` | the data whole; the event's name as published; its topic, without the namespace; when it was accepted, in ms since 1970; its place, if it has one |
//! | <code>{data.a&#124;data.b&#124;0}</code> | the first that is there and not `null`; the last may be a number, a `"text"`, `true`, `false` or `null` |
//! | `{data.started:iso}` | what was taken, changed by a filter, or by several one after another |
//! | `{{` | a brace |
//!
//! Filters leave what they can't work on as it is:
//!
//! | filter | makes of |
//! |---|---|
//! | `iso` | ms since 1970: `2025-12-03T12:00:00Z`, with milliseconds where they are not zero (RFC 3339) |
//! | `percent` | a fraction, 0 to 1: a number from 0 to 100, to two decimals |
//! | `seconds` | ms: seconds |
//! | `text` | a number, `true`, an object or a list: its JSON as a text |
//! | the name of words | a text, number or bool: what stands for it among these words, see [`FormWords`] |

mod hole;
mod outline;
mod values;

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use serde_json::Value;

use self::hole::{Hole, Names, Piece};
use self::values::Values;
use crate::clock::Timestamp;
use crate::cursor::Cursor;
use crate::json::quoted;

pub use self::hole::FILTERS;
pub use self::outline::{FormOutline, HoleChoice, HoleFilter, HoleOutline, HoleRoot, HoleStep};

/// The tree of a form as it is written, its members in their order.
#[derive(Clone, Debug, PartialEq)]
pub enum FormNode {
    /// An object.
    Object(Vec<(String, FormNode)>),
    /// A list.
    List(Vec<FormNode>),
    /// A text, which may have holes.
    Text(String),
    /// A value that stays as it is.
    Literal(Value),
}

/// Tables of words by name: `{state:words}` shows the value that the table `words` has for the state, else the state itself.
pub type FormWords = BTreeMap<String, BTreeMap<String, Value>>;

/// A form, ready to be filled. See the [module](self) for how it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    root: Part,
    words: Vec<BTreeMap<String, String>>,
    /// Some bytes of its output: those that are there in any case.
    least: usize,
}

/// What a form is filled from.
#[derive(Clone, Copy, Debug, Default)]
pub struct FormFacts<'a> {
    /// JSON. Looked into only where a hole needs it; what is no JSON has nothing in it.
    pub data: &'a [u8],
    /// The event's name as it was published.
    pub name: &'a str,
    /// The topic, without the profile's namespace.
    pub topic: &'a str,
    /// When it was accepted.
    pub time: Timestamp,
    /// Its place in the log, where that is told.
    pub cursor: Option<Cursor>,
    /// More values by name, which the form was told of when it was made.
    pub more: &'a [(&'a str, Value)],
}

/// A mistake in a form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct InvalidForm {
    /// Where in the tree: the index of the member or element, level by level.
    pub steps: Vec<usize>,
    /// The text, or the name of words; empty if it is about the form as a whole.
    pub text: String,
    /// How many characters of it stand before the mistake.
    pub position: usize,
    /// What is wrong.
    pub reason: String,
}

impl fmt::Display for InvalidForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.text.as_str() {
            "" => f.write_str(&self.reason),
            text => write!(f, "{text:?}: {} (at character {})", self.reason, self.position + 1),
        }
    }
}

/// How deep a form may be: it is walked by recursion.
pub const MAX_DEPTH: usize = 32;
/// How many values a form may have, those within others as well. Each may take the whole data.
pub const MAX_VALUES: usize = 512;
/// How many bytes of text a form may have.
pub const MAX_BYTES: usize = 64 << 10;

/// A part of a form. Texts of JSON are written with all their marks.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// JSON as it is.
    Fixed(String),
    /// Members, each with its name as `"name":`.
    Object(Vec<(String, Part)>),
    List(Vec<Part>),
    Value(Hole),
    Text(Vec<Piece>),
}

impl Form {
    /// A form of this tree, with these words; `more` are the names that [`FormFacts::more`] will have. Tells every mistake.
    pub fn new(tree: &FormNode, words: &FormWords, more: &[&str]) -> Result<Form, Vec<InvalidForm>> {
        let mut making = Making {
            names: Names { words: words.keys().map(String::as_str).collect(), more: more.to_vec() },
            steps: Vec::new(),
            values: 0,
            bytes: 0,
            mistakes: Vec::new(),
        };
        making.check_words(words);
        let root = making.part(tree);
        if !making.mistakes.is_empty() {
            return Err(making.mistakes);
        }
        let json = |table: &BTreeMap<String, Value>| {
            table.iter().map(|(from, to)| (from.clone(), to.to_string())).collect::<BTreeMap<_, _>>()
        };
        Ok(Form { root, words: words.values().map(json).collect(), least: making.bytes })
    }

    /// The form filled in: always JSON, whatever the facts are. One that is a single hole is `null` where that finds nothing.
    pub fn render(&self, facts: &FormFacts<'_>) -> Bytes {
        let mut out = String::with_capacity(self.least + 64);
        if !self.write(&self.root, &Values::new(facts, &self.words), &mut out) {
            out.push_str("null");
        }
        out.into()
    }

    /// Appends a part. False if it is a hole that finds nothing; then nothing was appended.
    fn write<'a>(&self, part: &'a Part, values: &Values<'a>, out: &mut String) -> bool {
        match part {
            Part::Fixed(json) => out.push_str(json),
            Part::Value(hole) => match values.take(hole) {
                Some(json) => out.push_str(&json),
                None => return false,
            },
            Part::Text(pieces) => {
                out.push('"');
                for piece in pieces {
                    match piece {
                        Piece::Text(escaped) => out.push_str(escaped),
                        Piece::Hole(hole) => put_within_text(values.take(hole).as_deref(), out),
                    }
                }
                out.push('"');
            }
            Part::Object(members) => {
                out.push('{');
                let begin = out.len();
                for (name, part) in members {
                    self.write_item(name, part, values, begin, out);
                }
                out.push('}');
            }
            Part::List(elements) => {
                out.push('[');
                let begin = out.len();
                for part in elements {
                    self.write_item("", part, values, begin, out);
                }
                out.push(']');
            }
        }
        true
    }

    /// Appends a member or element of what begins at `begin`, or nothing.
    fn write_item<'a>(&self, name: &str, part: &'a Part, values: &Values<'a>, begin: usize, out: &mut String) {
        let before = out.len();
        if before > begin {
            out.push(',');
        }
        out.push_str(name);
        if !self.write(part, values, out) {
            out.truncate(before);
        }
    }
}

/// Appends a value between the quotes of a text.
fn put_within_text(json: Option<&str>, out: &mut String) {
    match json {
        None | Some("null") => {}
        // Escaped as it came: what a string has between its quotes may stand between any.
        Some(json) if json.starts_with('"') => out.push_str(within_quotes(json)),
        Some(json) => out.push_str(within_quotes(&quoted(json))),
    }
}

/// A JSON string without its quotes.
fn within_quotes(string: &str) -> &str {
    string.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_default()
}

/// A form in the making.
struct Making<'a> {
    names: Names<'a>,
    steps: Vec<usize>,
    values: usize,
    bytes: usize,
    mistakes: Vec<InvalidForm>,
}

impl Making<'_> {
    fn check_words(&mut self, words: &FormWords) {
        for (name, table) in words {
            if FILTERS.contains(&name.as_str()) || !hole::is_name(name) {
                self.wrong(name, 0, "words are called by letters, digits, `_` and `-`, and not as a filter is".into());
            }
            let texts = table.values().filter_map(Value::as_str);
            self.bytes += table.keys().map(String::len).sum::<usize>() + texts.map(str::len).sum::<usize>();
            if table.values().any(|value| value.is_object() || value.is_array()) {
                self.wrong(name, 0, "what stands for a word is a text, a number, true or false".into());
            }
        }
        self.check_bytes("");
    }

    /// The part that a value of the tree becomes. What is wrong is told, and becomes `null`.
    fn part(&mut self, node: &FormNode) -> Part {
        self.values += 1;
        if self.values == MAX_VALUES + 1 {
            self.wrong("", 0, format!("a form has at most {MAX_VALUES} values"));
        }
        if self.steps.len() == MAX_DEPTH {
            self.wrong("", 0, format!("a form is at most {MAX_DEPTH} levels deep"));
        }
        if self.values > MAX_VALUES || self.steps.len() >= MAX_DEPTH {
            return Part::Fixed("null".into());
        }
        match node {
            FormNode::Object(members) => {
                let mut parts = Vec::with_capacity(members.len());
                for (index, (name, node)) in members.iter().enumerate() {
                    let name = quoted(name) + ":";
                    self.bytes += name.len();
                    parts.push((name, self.below(index, node)));
                }
                self.check_bytes("");
                Part::Object(parts)
            }
            FormNode::List(elements) => {
                Part::List(elements.iter().enumerate().map(|(index, node)| self.below(index, node)).collect())
            }
            FormNode::Literal(value) => {
                let json = value.to_string();
                self.bytes += json.len();
                self.check_bytes("");
                Part::Fixed(json)
            }
            FormNode::Text(text) => self.text(text),
        }
    }

    fn below(&mut self, index: usize, node: &FormNode) -> Part {
        self.steps.push(index);
        let part = self.part(node);
        self.steps.pop();
        part
    }

    fn text(&mut self, text: &str) -> Part {
        self.bytes += text.len();
        self.check_bytes(text);
        let mut pieces = match hole::pieces(text, &self.names) {
            Ok(pieces) => pieces,
            Err(mistake) => {
                let position = text[..mistake.at].chars().count();
                self.wrong(text, position, mistake.reason);
                return Part::Fixed("null".into());
            }
        };
        match (pieces.pop(), pieces.is_empty()) {
            (None, _) => Part::Fixed("\"\"".into()),
            (Some(Piece::Hole(hole)), true) => Part::Value(hole),
            (Some(Piece::Text(escaped)), true) => Part::Fixed(format!("\"{escaped}\"")),
            (Some(last), false) => {
                pieces.push(last);
                Part::Text(pieces)
            }
        }
    }

    fn check_bytes(&mut self, text: &str) {
        if self.bytes > MAX_BYTES {
            self.wrong(text, 0, format!("a form has at most {MAX_BYTES} bytes of text"));
            // Told once.
            self.bytes = 0;
        }
    }

    fn wrong(&mut self, text: &str, position: usize, reason: String) {
        let text = text.chars().take(256).collect();
        self.mistakes.push(InvalidForm { steps: self.steps.clone(), text, position, reason });
    }
}

#[cfg(test)]
mod tests;
