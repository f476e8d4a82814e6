//! The grammar of holes, read once when a form is made.

use crate::json::quoted;

/// The names of the filters, beside those of words.
pub const FILTERS: [&str; 4] = ["iso", "percent", "seconds", "text"];

/// The most steps of a path, and the most choices and filters of a hole.
const MAX_STEPS: usize = 32;

/// A piece of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Text as it stands between the quotes of a JSON string.
    Text(String),
    Hole(Hole),
}

/// What a hole takes: the first of the choices that is there, changed by the filters one after another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hole {
    pub choices: Vec<Choice>,
    pub filters: Vec<Filter>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    Path(Path),
    /// JSON.
    Literal(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path {
    pub root: Root,
    pub steps: Vec<Step>,
}

/// Where a path begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Root {
    Data,
    Name,
    Topic,
    Time,
    Cursor,
    More(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Member(String),
    Index(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    Iso,
    Percent,
    Seconds,
    Text,
    /// The table of words with this index.
    Words(usize),
}

/// The names that holes may use beside their own.
pub(super) struct Names<'a> {
    /// Tables of words, in the order of their indexes.
    pub words: Vec<&'a str>,
    /// Values from elsewhere.
    pub more: Vec<&'a str>,
}

/// A mistake: how many bytes stand before it, and what it is.
#[derive(Debug)]
pub(super) struct Mistake {
    pub at: usize,
    pub reason: String,
}

/// The pieces of a text: what stands between holes is one piece, and none is empty.
pub(super) fn pieces(text: &str, names: &Names<'_>) -> Result<Vec<Piece>, Mistake> {
    let mut reader = Reader { text, at: 0, names };
    let (mut pieces, mut plain) = (Vec::new(), String::new());
    while let Some(found) = text[reader.at..].find('{') {
        plain.push_str(&text[reader.at..reader.at + found]);
        reader.at += found + 1;
        if reader.eat('{') {
            plain.push('{');
            continue;
        }
        if !plain.is_empty() {
            pieces.push(Piece::Text(escaped(&std::mem::take(&mut plain))));
        }
        pieces.push(Piece::Hole(reader.hole()?));
    }
    plain.push_str(&text[reader.at..]);
    if !plain.is_empty() {
        pieces.push(Piece::Text(escaped(&plain)));
    }
    Ok(pieces)
}

/// Whether it can be written in a hole without quotes.
pub(super) fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(is_of_name)
}

fn is_of_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '-'
}

fn escaped(text: &str) -> String {
    super::within_quotes(&quoted(text)).to_owned()
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    names: &'a Names<'a>,
}

impl<'a> Reader<'a> {
    /// A hole, after its opening brace.
    fn hole(&mut self) -> Result<Hole, Mistake> {
        let open = self.at - 1;
        let (mut choices, mut filters) = (vec![self.choice()?], Vec::new());
        while self.eat('|') {
            if let Some(Choice::Literal(_)) = choices.last() {
                return self.wrong(self.at - 1, "what stands after a value that is always there is never taken");
            }
            choices.push(self.choice()?);
        }
        while self.eat(':') {
            filters.push(self.filter()?);
        }
        if choices.len().max(filters.len()) > MAX_STEPS {
            return self.wrong(open, format!("a hole has at most {MAX_STEPS} choices and filters"));
        }
        match self.rest().chars().next() {
            Some('}') => {
                self.at += 1;
                Ok(Hole { choices, filters })
            }
            None => self.wrong(open, "this `{` is not closed; for a brace write `{{`"),
            Some('|') => self.wrong(self.at, "the choices stand before the filters"),
            Some(c) => self.wrong(self.at, format!("`{c}` can't stand here: a hole is written like {{data.a|0:text}}")),
        }
    }

    fn choice(&mut self) -> Result<Choice, Mistake> {
        let begin = self.at;
        if self.rest().starts_with('"') {
            return self.string().map(|text| Choice::Literal(quoted(&text)));
        }
        if self.rest().starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
            let number = self.take(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
            return match serde_json::from_str::<serde_json::Number>(number) {
                Ok(_) => Ok(Choice::Literal(number.to_owned())),
                Err(_) => self.wrong(begin, format!("`{number}` is no number")),
            };
        }
        let word = self.take(is_of_name);
        if matches!(word, "true" | "false" | "null") {
            return Ok(Choice::Literal(word.to_owned()));
        }
        let root = match word {
            "data" => Root::Data,
            "name" => Root::Name,
            "topic" => Root::Topic,
            "time" => Root::Time,
            "cursor" => Root::Cursor,
            more if self.names.more.contains(&more) => Root::More(more.to_owned()),
            other => {
                let known = ["data", "name", "topic", "time", "cursor"].iter().chain(&self.names.more);
                let known = known.copied().collect::<Vec<_>>().join(", ");
                let reason = match other {
                    "" => format!("a path is missing, like data.id; there are {known}"),
                    _ => format!("`{other}` is nothing that can be taken; there are {known}"),
                };
                return self.wrong(begin, reason);
            }
        };
        let steps = self.steps()?;
        if !steps.is_empty() && !matches!(root, Root::Data | Root::More(_)) {
            return self.wrong(begin, format!("`{word}` is a single value: nothing is within it"));
        }
        Ok(Choice::Path(Path { root, steps }))
    }

    fn steps(&mut self) -> Result<Vec<Step>, Mistake> {
        let begin = self.at;
        let mut steps = Vec::new();
        loop {
            if self.eat('.') {
                match self.take(is_of_name) {
                    "" => return self.wrong(self.at, "a name is missing behind the dot"),
                    name => steps.push(Step::Member(name.to_owned())),
                }
            } else if self.eat('[') {
                steps.push(if self.rest().starts_with('"') {
                    Step::Member(self.string()?)
                } else {
                    let begin = self.at;
                    match self.take(|c| c.is_ascii_digit()).parse() {
                        Ok(index) => Step::Index(index),
                        Err(_) => return self.wrong(begin, "in brackets stands an index from 0, or a \"name\""),
                    }
                });
                if !self.eat(']') {
                    return self.wrong(self.at, "this bracket is not closed");
                }
            } else if steps.len() > MAX_STEPS {
                return self.wrong(begin, format!("a path has at most {MAX_STEPS} steps"));
            } else {
                return Ok(steps);
            }
        }
    }

    fn filter(&mut self) -> Result<Filter, Mistake> {
        let begin = self.at;
        let name = self.take(is_of_name);
        Ok(match name {
            "iso" => Filter::Iso,
            "percent" => Filter::Percent,
            "seconds" => Filter::Seconds,
            "text" => Filter::Text,
            _ => match self.names.words.iter().position(|words| *words == name) {
                Some(index) => Filter::Words(index),
                None => {
                    let known = FILTERS.iter().chain(&self.names.words).copied().collect::<Vec<_>>().join(", ");
                    return self.wrong(begin, format!("`{name}` is no filter; there are {known}"));
                }
            },
        })
    }

    /// A JSON string.
    fn string(&mut self) -> Result<String, Mistake> {
        let begin = self.at;
        let mut after_backslash = false;
        for (index, c) in self.rest().char_indices().skip(1) {
            match c {
                '"' if !after_backslash => {
                    let string = &self.rest()[..=index];
                    self.at += index + 1;
                    return match serde_json::from_str(string) {
                        Ok(text) => Ok(text),
                        Err(_) => self.wrong(begin, "this is no text as JSON writes it"),
                    };
                }
                _ => after_backslash = c == '\\' && !after_backslash,
            }
        }
        self.wrong(begin, "this text is not closed")
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn eat(&mut self, c: char) -> bool {
        let there = self.rest().starts_with(c);
        self.at += if there { c.len_utf8() } else { 0 };
        there
    }

    fn take(&mut self, is_wanted: fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c| !is_wanted(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn wrong<T>(&self, at: usize, reason: impl Into<String>) -> Result<T, Mistake> {
        Err(Mistake { at, reason: reason.into() })
    }
}
