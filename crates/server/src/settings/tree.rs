//! Settings as they were written: values that know where they stand.

use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::report::{Place, Report, Source};

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its number in its tree.
    pub id: u32,
    /// Where it stands.
    pub place: Place,
    /// What it is.
    pub kind: Kind,
}

/// What a value is.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A text, or a date.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// Another number.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// A list.
    List(Vec<Node>),
    /// A table, by name.
    Table(Vec<(Key, Node)>),
    /// The text of a variable of the environment: what it is depends on what is asked for.
    Variable(String),
}

/// The name of a value and where it stands.
#[derive(Clone, Debug)]
pub struct Key {
    /// The name.
    pub name: String,
    /// Where it stands.
    pub place: Place,
}

/// The name under which a table that is laid over a list says which of its tables are meant.
const WHERE: &str = "where";

/// Forms and schemas, which are documents: one that is laid over another takes its place, members and all.
const WHOLE: [&str; 4] = ["form", "answer", "cancel_answer", "schema"];

/// The tables whose entries have names that somebody chose, which may be any.
const CHOSEN: [&str; 5] = ["events", "hears", "jobs", "shapes", "values"];

impl Node {
    /// Reads TOML. Mistakes of the grammar go to the report; what could be read is given all the same.
    pub fn parse(source: &Arc<Source>, report: &mut Report) -> Node {
        let (table, errors) = DeTable::parse_recoverable(&source.text);
        for error in errors {
            let span = error.span().unwrap_or(0..0);
            report.at(&Place { source: Arc::clone(source), start: span.start, end: span.end }, error.message());
        }
        let whole = Place { source: Arc::clone(source), start: 0, end: 0 };
        let mut root = Node { id: 0, place: whole, kind: table_of(table.get_ref(), source) };
        root.number();
        root
    }

    /// What a variable of the environment says where a value of some kind is asked for: a value in TOML, else its text.
    pub fn of_variable(text: &str, place: &Place) -> Node {
        let line = format!("v = {text}");
        let kind = DeTable::parse(&line).ok().filter(|table| table.get_ref().len() == 1).and_then(|table| {
            let value = table.get_ref().get("v")?;
            let mut node = Node { id: 0, place: place.clone(), kind: kind_of(value.get_ref(), &place.source) };
            node.visit(&mut |node| node.place = place.clone());
            Some(node.kind)
        });
        Node { id: 0, place: place.clone(), kind: kind.unwrap_or_else(|| Kind::Text(text.to_owned())) }
    }

    /// A value that was read at one remove, at the place where it was written.
    pub fn from_json(value: serde_json::Value, place: &Place) -> Node {
        use serde_json::Value;
        let kind = match value {
            Value::Null => Kind::Text(String::new()),
            Value::Bool(yes) => Kind::Bool(yes),
            Value::Number(number) => number
                .as_i64()
                .map(Kind::Integer)
                .or_else(|| number.as_f64().map(Kind::Float))
                .unwrap_or_else(|| Kind::Text(number.to_string())),
            Value::String(text) => Kind::Text(text),
            Value::Array(items) => Kind::List(items.into_iter().map(|item| Node::from_json(item, place)).collect()),
            Value::Object(members) => Kind::Table(
                members
                    .into_iter()
                    .map(|(name, value)| (Key { name, place: place.clone() }, Node::from_json(value, place)))
                    .collect(),
            ),
        };
        Node { id: 0, place: place.clone(), kind }
    }

    /// Numbers all values anew, so that each can be told from the others.
    pub fn number(&mut self) {
        let mut next = 0;
        self.visit(&mut |node| {
            node.id = next;
            next += 1;
        });
    }

    /// Calls `visit` for this value and all within.
    pub fn visit(&mut self, visit: &mut dyn FnMut(&mut Node)) {
        visit(self);
        match &mut self.kind {
            Kind::List(items) => items.iter_mut().for_each(|item| item.visit(visit)),
            Kind::Table(entries) => entries.iter_mut().for_each(|(_, value)| value.visit(visit)),
            _ => {}
        }
    }

    /// The first of this and all within for which `ask` says yes.
    pub fn find<'a>(&'a self, ask: &dyn Fn(&Node) -> bool) -> Option<&'a Node> {
        if ask(self) {
            return Some(self);
        }
        match &self.kind {
            Kind::List(items) => items.iter().find_map(|item| item.find(ask)),
            Kind::Table(entries) => entries.iter().find_map(|(_, value)| value.find(ask)),
            _ => None,
        }
    }

    /// The value of that name, and its key.
    pub fn entry(&self, name: &str) -> Option<&(Key, Node)> {
        match &self.kind {
            Kind::Table(entries) => entries.iter().find(|(key, _)| key.name == name),
            _ => None,
        }
    }

    /// The value of that name.
    pub fn get(&self, name: &str) -> Option<&Node> {
        self.entry(name).map(|(_, value)| value)
    }

    /// Takes the value of that name out.
    pub fn take(&mut self, name: &str) -> Option<Node> {
        let Kind::Table(entries) = &mut self.kind else { return None };
        let at = entries.iter().position(|(key, _)| key.name == name)?;
        Some(entries.remove(at).1)
    }

    /// Puts a value in, in the place of one of that name.
    pub fn put(&mut self, key: Key, value: Node) {
        if let Kind::Table(entries) = &mut self.kind {
            match entries.iter_mut().find(|(known, _)| known.name == key.name) {
                Some(entry) => *entry = (key, value),
                None => entries.push((key, value)),
            }
        }
    }

    /// The names of a table.
    pub fn names(&self) -> Vec<&str> {
        match &self.kind {
            Kind::Table(entries) => entries.iter().map(|(key, _)| key.name.as_str()).collect(),
            _ => Vec::new(),
        }
    }

    /// Lays `over` over this: tables are merged name by name (forms are not), a table over a list of tables is laid over each of these (with
    /// `where = { … }`, over each that has these values; none of them is a mistake), and everything else is replaced.
    pub fn overlay(&mut self, over: Node, report: &mut Report) {
        self.overlay_within("", over, report);
    }

    /// The same for the value that is called `name`.
    fn overlay_within(&mut self, name: &str, over: Node, report: &mut Report) {
        match (&mut self.kind, over.kind) {
            (Kind::Table(_), Kind::Table(entries)) => {
                let is_whole = |key: &str| WHOLE.contains(&key) && !CHOSEN.contains(&name);
                for (key, value) in entries {
                    let known = match &mut self.kind {
                        Kind::Table(own) => own.iter_mut().find(|(own, _)| own.name == key.name),
                        _ => None,
                    };
                    match known {
                        Some((_, own)) if !is_whole(&key.name) => own.overlay_within(&key.name, value, report),
                        _ => self.put(key, value),
                    }
                }
            }
            (Kind::List(items), Kind::Table(entries))
                if !items.is_empty() && items.iter().all(|item| matches!(item.kind, Kind::Table(_))) =>
            {
                let (wanted, entries): (Vec<_>, Vec<_>) = entries.into_iter().partition(|(key, _)| key.name == WHERE);
                let is_meant = |item: &&mut Node| wanted.iter().all(|(_, wanted)| item.has(wanted));
                let mut meant = items.iter_mut().filter(is_meant).peekable();
                if let (None, Some((_, wanted))) = (meant.peek(), wanted.first()) {
                    report.at(&wanted.place, "nothing that this is laid over has these values");
                }
                for item in meant {
                    let over = Node { id: 0, place: over.place.clone(), kind: Kind::Table(entries.clone()) };
                    item.overlay_within(name, over, report);
                }
            }
            (kind, over_kind) => {
                *kind = over_kind;
                self.place = over.place;
            }
        }
    }

    /// Whether it is a table with all entries of `wanted`, which is one too.
    fn has(&self, wanted: &Node) -> bool {
        let Kind::Table(entries) = &wanted.kind else { return false };
        entries.iter().all(|(key, value)| self.get(&key.name).is_some_and(|own| own.to_json() == value.to_json()))
    }

    /// The value as JSON.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value;
        match &self.kind {
            Kind::Text(text) => text.as_str().into(),
            Kind::Integer(number) => (*number).into(),
            Kind::Float(number) => (*number).into(),
            Kind::Bool(yes) => (*yes).into(),
            Kind::List(items) => Value::Array(items.iter().map(Node::to_json).collect()),
            Kind::Table(entries) => {
                Value::Object(entries.iter().map(|(key, value)| (key.name.clone(), value.to_json())).collect())
            }
            Kind::Variable(text) => Node::of_variable(text, &self.place).to_json(),
        }
    }
}

/// The place of an entry of a table in the tree, for mistakes that only show later.
pub(crate) fn place_at(root: &Node, path: &str) -> Place {
    let mut node = root;
    let mut place = root.place.clone();
    for part in path.split('.').flat_map(|part| part.split('[')) {
        let next = match (part.strip_suffix(']').and_then(|index| index.parse::<usize>().ok()), &node.kind) {
            (Some(index), Kind::List(items)) => items.get(index).map(|item| (item.place.clone(), item)),
            _ => node.entry(part).map(|(key, value)| {
                let table = matches!(value.kind, Kind::Table(_) | Kind::List(_));
                (if table { key.place.clone() } else { value.place.clone() }, value)
            }),
        };
        let Some((at, next)) = next else { break };
        (place, node) = (at, next);
    }
    place
}

fn table_of(table: &DeTable<'_>, source: &Arc<Source>) -> Kind {
    let place = |span: std::ops::Range<usize>| Place { source: Arc::clone(source), start: span.start, end: span.end };
    let entries = table.iter().map(|(key, value)| {
        let node = Node { id: 0, place: place(value.span()), kind: kind_of(value.get_ref(), source) };
        (Key { name: key.get_ref().to_string(), place: place(key.span()) }, node)
    });
    let mut entries: Vec<_> = entries.collect();
    // The parser sorts them by name; where their order says something, it is that in which they are written.
    entries.sort_by_key(|(key, _): &(Key, Node)| key.place.start);
    Kind::Table(entries)
}

fn kind_of(value: &DeValue<'_>, source: &Arc<Source>) -> Kind {
    match value {
        DeValue::String(text) => Kind::Text(text.to_string()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Kind::Integer(number),
            Err(_) => Kind::Text(number.to_string()),
        },
        DeValue::Float(number) => number.as_str().parse().map_or_else(|_| Kind::Text(number.to_string()), Kind::Float),
        DeValue::Boolean(yes) => Kind::Bool(*yes),
        DeValue::Datetime(date) => Kind::Text(date.to_string()),
        DeValue::Array(items) => Kind::List(
            items
                .iter()
                .map(|item| {
                    let span = item.span();
                    let place = Place { source: Arc::clone(source), start: span.start, end: span.end };
                    Node { id: 0, place, kind: kind_of(item.get_ref(), source) }
                })
                .collect(),
        ),
        DeValue::Table(table) => table_of(table, source),
    }
}
