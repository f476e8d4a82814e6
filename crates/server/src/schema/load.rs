//! Reads the schemas of a profile, and finds every mistake in them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::files::{Files, resolve};
use super::refs::{self, Defs};
use super::validate::JsonSchema;
use super::{keywords, place};
use crate::settings::report::{Place, Report, Source, nearest};
use crate::settings::tree::{Kind, Node};

/// The only draft that is understood.
const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// What an event says of its schema.
pub enum Origin<'a> {
    /// The path of a file, relative to the profile's folder, and where that is written.
    File(&'a str, &'a Place),
    /// The schema itself.
    Inline(&'a Node),
}

/// Reads the schemas of one profile. What two of them refer to is read once, and has one name.
pub struct Loader<'a> {
    files: &'a Files,
    /// By path; `None` if something is wrong with it, which was told.
    documents: HashMap<String, Option<Rc<Document>>>,
    /// What is referred to: file and pointer, and the name it was given.
    names: HashMap<(String, String), String>,
    defs: Defs,
}

/// A text with schemas.
struct Document {
    path: String,
    value: Value,
    text: Text,
}

/// Where it was written.
enum Text {
    File(Arc<Source>),
    Table(Node),
}

impl Document {
    /// Where the value at a pointer stands.
    fn place(&self, pointer: &str) -> Place {
        match &self.text {
            Text::File(source) => {
                let range = place::range_of(&source.text, pointer);
                // A whole table is many lines: its beginning says enough.
                let end = source.text[range.clone()].find('\n').map_or(range.end, |line| range.start + line);
                Place { source: Arc::clone(source), start: range.start, end }
            }
            Text::Table(root) => {
                let (mut node, mut place) = (root, root.place.clone());
                for step in place::steps(pointer) {
                    let next = match &node.kind {
                        Kind::List(items) => step.parse().ok().and_then(|index: usize| items.get(index)),
                        _ => node.get(&step),
                    };
                    let Some(next) = next else { break };
                    node = next;
                    place = node.place.clone();
                }
                place
            }
        }
    }
}

impl<'a> Loader<'a> {
    /// A loader for the profile in this folder.
    pub fn new(files: &'a Files) -> Self {
        Loader { files, documents: HashMap::new(), names: HashMap::new(), defs: BTreeMap::new() }
    }

    /// The schema of the event `name`. `None` if something is wrong with it or with what it refers to; the report says what.
    pub fn load(&mut self, name: &str, origin: Origin<'_>, report: &mut Report) -> Option<JsonSchema> {
        let (document, at) = match origin {
            Origin::File(path, at) => {
                let path = resolve("profile.toml", path)
                    .map_err(|sentence| {
                        report.at(at, sentence);
                    })
                    .ok()?;
                (self.document(&path, at, report)?, at.clone())
            }
            Origin::Inline(node) => (inline(name, node, report)?, node.place.clone()),
        };
        let before = report.mistakes().len();
        let mut root = self.bundled(&document, "", &document.value, report);
        if let Some(own) = self.names.get(&(document.path.clone(), String::new())) {
            root = serde_json::json!({ "$ref": refs::reference(own) });
        }
        if report.mistakes().len() > before {
            return None;
        }
        let mut reached = BTreeSet::new();
        refs::reach(&root, &self.defs, &mut reached);
        if let Some(endless) = reached.iter().find(|name| {
            self.defs.get(*name).is_some_and(|found| refs::leads_to(found, name, &self.defs, &mut BTreeSet::new()))
        }) {
            report.at(&at, format!("{endless:?} in this schema is nothing but itself: following it never ends"));
            return None;
        }
        match JsonSchema::new(refs::bundle(root, &self.defs)) {
            Ok(schema) => Some(schema),
            Err(fault) => {
                report.at(&document.place(&fault.pointer), format!("this schema can't be used: {}", fault.detail));
                None
            }
        }
    }

    /// The document in a file; `from` is where it is named.
    fn document(&mut self, path: &str, from: &Place, report: &mut Report) -> Option<Rc<Document>> {
        if let Some(known) = self.documents.get(path) {
            return known.clone();
        }
        let read = match self.files.read(path) {
            Ok(source) => parsed(path, source, report),
            Err(sentence) => {
                report.at(from, format!("this schema is not there: {sentence}"));
                None
            }
        };
        let read = read.filter(|document| is_schema(document, report)).map(Rc::new);
        self.documents.insert(path.to_owned(), read.clone());
        read
    }

    /// A schema of a document with its references to the names of definitions, which are read as they are met.
    fn bundled(&mut self, document: &Document, pointer: &str, schema: &Value, report: &mut Report) -> Value {
        let mut bundled = schema.clone();
        if let Some(members) = bundled.as_object_mut() {
            // What is referred to has a place of its own; the others say nothing about data.
            for keyword in ["$defs", "$id", "$schema", "$comment"] {
                members.remove(keyword);
            }
            if let Some(text) = schema.get("$ref").and_then(Value::as_str) {
                let name = self.named(document, text, &place::join(pointer, "$ref"), report);
                members.insert("$ref".into(), name.map(|name| refs::reference(&name)).unwrap_or_default().into());
            }
        }
        let mut children = keywords::children(schema, pointer).into_iter().filter(|(keyword, ..)| *keyword != "$defs");
        // In the same order, as both are walked alike.
        keywords::for_each_mut(&mut bundled, &mut |child| {
            if let Some((_, at, original)) = children.next() {
                *child = self.bundled(document, &at, original, report);
            }
        });
        bundled
    }

    /// The name of what a reference is to.
    fn named(&mut self, document: &Document, text: &str, at: &str, report: &mut Report) -> Option<String> {
        let place = document.place(at);
        let (file, pointer) = match split(document, text) {
            Ok(found) => found,
            Err(sentence) => {
                report.at(&place, sentence);
                return None;
            }
        };
        let key = (file.clone(), pointer.clone());
        if let Some(name) = self.names.get(&key) {
            return Some(name.clone());
        }
        let other;
        let owner = match file == document.path {
            true => document,
            false => {
                other = self.document(&file, &place, report)?;
                &other
            }
        };
        let Some(schema) = owner.value.pointer(&pointer).filter(|schema| schema.is_object() || schema.is_boolean())
        else {
            report.at(&place, format!("{text:?} leads to no schema"));
            return None;
        };
        let name = self.free_name(&file, &pointer, schema);
        self.names.insert(key, name.clone());
        self.defs.insert(name.clone(), Value::Bool(true));
        let bundled = self.bundled(owner, &pointer, schema, report);
        self.defs.insert(name.clone(), bundled);
        Some(name)
    }

    /// A name for what is referred to: its own among `$defs`, the title of a whole file, else the last part of the way to it.
    fn free_name(&self, file: &str, pointer: &str, schema: &Value) -> String {
        let title = schema.get("title").and_then(Value::as_str).map(str::to_owned);
        let stem = file.rsplit('/').next().unwrap_or(file).trim_end_matches(".json").to_owned();
        let wanted = place::steps(pointer).last().or(title).unwrap_or(stem);
        let mut name = wanted.clone();
        let mut count = 1;
        while self.defs.contains_key(&name) {
            count += 1;
            name = format!("{wanted}{count}");
        }
        name
    }
}

/// The file and the pointer that a reference in this document is to; an error is a sentence.
fn split(document: &Document, text: &str) -> Result<(String, String), String> {
    let (file, fragment) = text.split_once('#').unwrap_or((text, ""));
    // A scheme comes before the first slash (RFC 3986 §4.2).
    if file.split('/').next().is_some_and(|first| first.contains(':')) || file.starts_with("//") {
        return Err(format!("{text:?} is elsewhere, and nothing is fetched: copy it into the profile's folder"));
    }
    let wrong = || format!("{text:?} is no reference: write `#/$defs/name`, `file.json` or `file.json#/$defs/name`");
    let pointer = percent_decode_str(fragment).decode_utf8().map_err(|_| wrong())?.into_owned();
    if !pointer.is_empty() && !pointer.starts_with('/') {
        return Err(wrong());
    }
    let file = percent_decode_str(file).decode_utf8().map_err(|_| wrong())?;
    let file = if file.is_empty() { document.path.clone() } else { resolve(&document.path, &file)? };
    Ok((file, pointer))
}

fn parsed(path: &str, source: Arc<Source>, report: &mut Report) -> Option<Document> {
    match serde_json::from_str(&source.text) {
        Ok(value) => Some(Document { path: path.to_owned(), value, text: Text::File(source) }),
        Err(error) => {
            let line =
                source.text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum::<usize>();
            let start = (line + error.column().saturating_sub(1)).min(source.text.len());
            let sentence = error.to_string();
            let sentence = sentence.split(" at line ").next().unwrap_or_default();
            report.at(&Place { source, start, end: start }, format!("this is not JSON: {sentence}"));
            None
        }
    }
}

fn inline(name: &str, node: &Node, report: &mut Report) -> Option<Rc<Document>> {
    // Like a file that lies beside the profile, under a name that no file can have.
    let document = Document { path: format!("{name}\0"), value: node.to_json(), text: Text::Table(node.clone()) };
    is_schema(&document, report).then(|| Rc::new(document))
}

/// Whether the document is a schema. Tells every mistake.
fn is_schema(document: &Document, report: &mut Report) -> bool {
    let before = report.mistakes().len();
    if let Some(draft) = document.value.get("$schema").and_then(Value::as_str)
        && draft.trim_end_matches('#') != DRAFT
    {
        let mistake = report.at(&document.place("/$schema"), format!("{draft:?} is another draft than {DRAFT}"));
        mistake.help("most schemas of newer drafts are good as they are: write this one, and check again");
    }
    check_keywords(document, "", &document.value, report);
    if report.mistakes().len() > before {
        return false;
    }
    for error in jsonschema::draft202012::meta::validator().iter_errors(&document.value) {
        let fault = super::sentence::fault(&error);
        report.at(&document.place(&fault.pointer), format!("this is no JSON Schema: {}", fault.detail));
    }
    report.mistakes().len() == before
}

fn check_keywords(document: &Document, pointer: &str, schema: &Value, report: &mut Report) {
    for keyword in schema.as_object().into_iter().flat_map(|members| members.keys()) {
        let at = place::join(pointer, keyword);
        if let Some((_, instead)) = keywords::REFUSED.iter().find(|(refused, _)| refused == keyword) {
            report.at(&document.place(&at), format!("`{keyword}` can't be used here")).help(*instead);
        } else if keyword == "$id" && !pointer.is_empty() {
            report.at(&document.place(&at), "`$id` can't be used within a schema").help("use `#/$defs/name`");
        } else if !keywords::all().any(|known| known == keyword)
            && let Some(near) = nearest(keyword, keywords::all())
        {
            // Others may be somebody's own (Core §6.5); one that is nearly a known one is a slip of the pen, and would allow anything.
            let mistake = report.at(&document.place(&at), format!("`{keyword}` is no keyword of JSON Schema"));
            mistake.help(format!("did you mean `{near}`?"));
        }
    }
    for (_, at, child) in keywords::children(schema, pointer) {
        check_keywords(document, &at, child, report);
    }
}

#[cfg(test)]
mod tests;
