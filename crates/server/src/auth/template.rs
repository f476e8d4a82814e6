//! Text with holes: `library/{claims.libraries.id}/read`.
//!
//! A hole is a path into what a source knows (the claims of a token, the answer of the app). Where the path comes to
//! a list, the template yields one text for each item; two holes that go through the same list stand for the same
//! item. A hole that finds nothing yields no text at all, so that a missing claim is a missing grant.
//!
//! What fills a hole is escaped into one segment. `{claims.grants|path}` takes it as a path, `{claims.scope|words}`
//! takes each word, `{claims.roles|keys}` each key of an object. A name with dots stands in quotes:
//! `{claims."https://example.org/roles"}`.

use std::collections::BTreeMap;

use serde_json::Value;
use tidings::Topic;

/// The most texts that one template yields: a token with more is not believed to mean them.
const MAX_TEXTS: usize = 1_024;

/// Text with holes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Hole { path: Vec<String>, form: Form },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Segment,
    Path,
    Words,
    Keys,
}

/// How what fills a hole is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escape {
    /// As one segment of a path.
    Segment,
    /// As it is: for ids.
    None,
}

impl Template {
    /// Reads a template whose paths start at one of `roots`; the error is a sentence.
    pub fn parse(text: &str, roots: &[&str]) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find(['{', '}']) {
            if rest.as_bytes()[open] == b'}' {
                return Err(format!("{text:?} has a `}}` without a `{{`"));
            }
            let close = closing(&rest[open..]).ok_or_else(|| format!("{text:?} has a `{{` without a `}}`"))? + open;
            if open > 0 {
                parts.push(Part::Text(rest[..open].to_owned()));
            }
            let inside = &rest[open + 1..close];
            let (path, form) = match inside.rsplit_once('|').filter(|(_, form)| !form.contains('"')) {
                None => (inside, Form::Segment),
                Some((path, "path")) => (path, Form::Path),
                Some((path, "words")) => (path, Form::Words),
                Some((path, "keys")) => (path, Form::Keys),
                Some((_, form)) => return Err(format!("{form:?} in {text:?} is not one of path, words, keys")),
            };
            parts.push(Part::Hole { path: parse_path(path, roots)?, form });
            rest = &rest[close + 1..];
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Template(parts))
    }

    /// The template with each hole as `x`: whether that is a valid path says whether the template can yield one.
    pub fn sample(&self) -> String {
        self.0.iter().map(|part| if let Part::Text(text) = part { text } else { "x" }).collect()
    }

    /// Whether a hole starts at `root`.
    pub fn uses(&self, root: &str) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Hole { path, .. } if path[0] == root))
    }

    /// The path of its hole, if it is one hole and nothing else, without a form.
    pub fn single_path(&self) -> Option<&[String]> {
        match self.0.as_slice() {
            [Part::Hole { path, form: Form::Segment }] => Some(path),
            _ => None,
        }
    }

    /// Every text it yields.
    pub fn fill(&self, root: &Value, escape: Escape) -> Vec<String> {
        let mut texts = Texts::default();
        fill(&self.0, root, escape, String::new(), &mut Vec::new(), &mut texts);
        texts.found
    }

    /// The first text it yields.
    pub fn first(&self, root: &Value) -> Option<String> {
        self.fill(root, Escape::None).into_iter().next().filter(|text| !text.is_empty())
    }
}

/// Where the hole that `text` opens with ends; a `}` in quotes does not end it.
fn closing(text: &str) -> Option<usize> {
    let mut quoted = false;
    text.char_indices().find_map(|(at, c)| {
        quoted ^= c == '"';
        (c == '}' && !quoted).then_some(at)
    })
}

fn parse_path(text: &str, roots: &[&str]) -> Result<Vec<String>, String> {
    let mut path = Vec::new();
    let mut rest = text;
    loop {
        let name;
        if let Some(quoted) = rest.strip_prefix('"') {
            let end = quoted.find('"').ok_or_else(|| format!("{text:?} has a quote that does not end"))?;
            (name, rest) = (&quoted[..end], &quoted[end + 1..]);
        } else {
            (name, rest) = rest.split_at(rest.find('.').unwrap_or(rest.len()));
        }
        if name.is_empty() {
            return Err(format!("{text:?} is not a path like {}.name", roots.first().unwrap_or(&"claims")));
        }
        path.push(name.to_owned());
        match rest.strip_prefix('.') {
            Some(next) => rest = next,
            None if rest.is_empty() => break,
            None => return Err(format!("{text:?} needs a `.` between its names")),
        }
    }
    if !roots.contains(&path[0].as_str()) {
        return Err(format!("{text:?} must start with {}", roots.join(" or ")));
    }
    Ok(path)
}

/// What a template yielded, and how often it was tried: lists of equal items would go on for ever without a new text.
#[derive(Default)]
struct Texts {
    found: Vec<String>,
    tried: usize,
}

impl Texts {
    fn full(&self) -> bool {
        self.found.len() >= MAX_TEXTS || self.tried >= 16 * MAX_TEXTS
    }
}

/// Which item of a list, named by the path to it, a hole stands for.
type Bound<'t> = Vec<(&'t [String], usize)>;

fn fill<'t>(parts: &'t [Part], root: &Value, escape: Escape, text: String, bound: &mut Bound<'t>, texts: &mut Texts) {
    if texts.full() {
        return;
    }
    texts.tried += 1;
    let Some((part, rest)) = parts.split_first() else {
        if !texts.found.contains(&text) {
            texts.found.push(text);
        }
        return;
    };
    match part {
        Part::Text(literal) => fill(rest, root, escape, text + literal, bound, texts),
        Part::Hole { path, form } => walk(root, path, 0, bound, &mut |leaf, bound| {
            for value in values(leaf, *form) {
                if texts.full() {
                    return;
                }
                let mut text = text.clone();
                match (escape, form) {
                    (Escape::None, _) | (_, Form::Path) => text.push_str(&value),
                    _ => text.push_str(&Topic::escape_segment(&value)),
                }
                fill(rest, root, escape, text, bound, texts);
            }
        }),
    }
}

/// Calls `found` with each value that `path` comes to.
fn walk<'t>(
    value: &Value,
    path: &'t [String],
    at: usize,
    bound: &mut Bound<'t>,
    found: &mut dyn FnMut(&Value, &mut Bound<'t>),
) {
    if let Value::Array(items) = value {
        let list = &path[..at];
        if let Some((_, index)) = bound.iter().find(|(known, _)| *known == list) {
            if let Some(item) = items.get(*index).filter(|item| !item.is_array()) {
                walk(item, path, at, bound, found);
            }
            return;
        }
        for (index, item) in items.iter().enumerate().filter(|(_, item)| !item.is_array()) {
            bound.push((list, index));
            walk(item, path, at, bound, found);
            bound.pop();
        }
    } else if at == path.len() {
        found(value, bound);
    } else if let Some(inner) = value.get(&path[at]) {
        walk(inner, path, at + 1, bound, found);
    }
}

fn values(leaf: &Value, form: Form) -> Vec<String> {
    match (leaf, form) {
        (Value::Object(object), Form::Keys) => object.keys().cloned().collect(),
        (Value::String(text), Form::Words) => {
            text.split(|c: char| c.is_whitespace() || c == ',').filter(|w| !w.is_empty()).map(str::to_owned).collect()
        }
        (Value::String(text), _) if !text.is_empty() => vec![text.clone()],
        (Value::Number(number), _) => vec![number.to_string()],
        (Value::Bool(bool), _) => vec![bool.to_string()],
        _ => Vec::new(),
    }
}

/// Facts that must all hold: each path comes to one of its values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Condition(Vec<(Vec<String>, Vec<Value>)>);

impl Condition {
    /// Reads a table of path = value or list of values.
    pub fn parse(table: &BTreeMap<String, Value>, roots: &[&str]) -> Result<Self, String> {
        let facts = table.iter().map(|(path, value)| {
            let wanted = match value {
                Value::Array(values) => values.clone(),
                value => vec![value.clone()],
            };
            Ok((parse_path(path, roots)?, wanted))
        });
        Ok(Condition(facts.collect::<Result<_, String>>()?))
    }

    /// Whether all of it holds.
    pub fn holds(&self, root: &Value) -> bool {
        self.0.iter().all(|(path, wanted)| {
            let mut held = false;
            walk(root, path, 0, &mut Vec::new(), &mut |leaf, _| held |= wanted.contains(leaf));
            held
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn fill(text: &str, root: Value) -> Vec<String> {
        Template::parse(text, &["claims"]).unwrap().fill(&root, Escape::Segment)
    }

    #[test]
    fn a_list_yields_one_text_for_each_item_and_a_missing_claim_yields_none() {
        let root = json!({"claims": {"sub": "u1", "role": ["admin", "editor"], "n": 7}});
        assert_eq!(fill("role/{claims.role}", root.clone()), ["role/admin", "role/editor"]);
        assert_eq!(fill("user/{claims.sub}/{claims.n}", root.clone()), ["user/u1/7"]);
        assert!(fill("team/{claims.team}", root.clone()).is_empty());
        assert_eq!(fill("everyone", root), ["everyone"]);
    }

    #[test]
    fn two_holes_in_one_list_stand_for_the_same_item() {
        let root = json!({"claims": {"libs": [{"id": "a", "role": "read"}, {"id": "b", "role": ["read", "admin"]}]}});
        assert_eq!(
            fill("library/{claims.libs.id}/{claims.libs.role}", root),
            ["library/a/read", "library/b/read", "library/b/admin"]
        );
    }

    #[test]
    fn what_fills_a_hole_stays_one_segment_unless_it_is_asked_for_as_a_path() {
        let root =
            json!({"claims": {"sub": "a/../*", "grants": ["x/y"], "scope": "read write,admin", "map": {"k": 1}}});
        assert_eq!(fill("user/{claims.sub}", root.clone()), ["user/a%2F..%2F%2A"]);
        assert_eq!(fill("{claims.grants|path}", root.clone()), ["x/y"]);
        assert_eq!(fill("s/{claims.scope|words}", root.clone()), ["s/read", "s/write", "s/admin"]);
        assert_eq!(fill("s/{claims.map|keys}", root), ["s/k"]);
    }

    #[test]
    fn a_name_with_dots_stands_in_quotes() {
        let root = json!({"claims": {"https://example.org/roles": ["admin"]}});
        assert_eq!(fill("role/{claims.\"https://example.org/roles\"}", root), ["role/admin"]);
    }

    #[test]
    fn a_malformed_template_is_refused_with_a_reason() {
        for text in [
            "{",
            "}",
            "{}",
            "{claims",
            "{claims..a}",
            "{other.a}",
            "{claims.a|upper}",
            "{claims.\"a}",
            "{claims.\"a\"b}",
        ] {
            assert!(Template::parse(text, &["claims"]).is_err(), "{text}");
        }
    }

    #[test]
    fn a_condition_holds_when_each_path_comes_to_one_of_its_values() {
        let table = |json: Value| serde_json::from_value(json).unwrap();
        let root = json!({"claims": {"role": ["a", "b"], "ok": true}});
        let holds = |json| Condition::parse(&table(json), &["claims"]).unwrap().holds(&root);
        assert!(holds(json!({"claims.role": ["b", "c"], "claims.ok": true})));
        assert!(!holds(json!({"claims.role": "b", "claims.ok": false})));
        assert!(!holds(json!({"claims.none": "b"})));
    }

    #[test]
    fn a_token_full_of_lists_yields_a_bounded_number_of_texts() {
        let many: Vec<u32> = (0..2_000).collect();
        let root = json!({"claims": {"a": many, "b": many, "c": vec![1; 2_000]}});
        assert_eq!(fill("{claims.a}/{claims.b}", root.clone()).len(), MAX_TEXTS);
        assert_eq!(fill("{claims.c}/{claims.c}{claims.c|words}", root).len(), 1);
    }

    proptest! {
        #[test]
        fn no_template_text_panics(text in ".{0,40}") {
            if let Ok(template) = Template::parse(&text, &["claims"]) {
                template.fill(&json!({"claims": {"a": [1, [2]]}}), Escape::Segment);
            }
        }
    }
}
