//! From JSON Schema to the types of TypeScript.

use serde_json::{Map, Value};

use super::print::{comment, literal};
use crate::schema::refs;

/// A type.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Ty {
    /// Anything.
    Unknown,
    /// Nothing.
    Never,
    /// A word: `string`, `'added'`, `BookUpdated`.
    Word(String),
    /// Members, and what every other member is.
    Object(Vec<Member>, Option<Box<Ty>>),
    Array(Box<Ty>),
    /// Elements, how many of them are there in any case, and what those after them are.
    Tuple(Vec<Ty>, usize, Option<Box<Ty>>),
    /// Any of these.
    Union(Vec<Ty>),
    /// All of these.
    All(Vec<Ty>),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Member {
    pub name: String,
    pub optional: bool,
    pub ty: Ty,
    pub comment: Vec<String>,
}

/// The type of the values that fit the schema; a wider one where TypeScript can't say it.
pub(super) fn type_of(schema: &Value) -> Ty {
    let Value::Object(members) = schema else {
        return if *schema == Value::Bool(false) { Ty::Never } else { Ty::Unknown };
    };
    let mut all = Vec::new();
    if members.contains_key("$ref") {
        all.push(refs::target(schema).map_or(Ty::Unknown, Ty::Word));
    }
    all.push(own(members));
    for keyword in ["anyOf", "oneOf"] {
        if let Some(branches) = members.get(keyword).and_then(Value::as_array) {
            all.push(union(branches.iter().map(type_of).collect()));
        }
    }
    all.extend(members.get("allOf").and_then(Value::as_array).into_iter().flatten().map(type_of));
    every(all)
}

/// What the keywords say that are about values themselves.
fn own(members: &Map<String, Value>) -> Ty {
    if let Some(value) = members.get("const") {
        return value_type(value);
    }
    if let Some(options) = members.get("enum").and_then(Value::as_array) {
        return union(options.iter().map(value_type).collect());
    }
    match members.get("type") {
        Some(Value::String(kind)) => of_kind(kind, members),
        Some(Value::Array(kinds)) => {
            union(kinds.iter().filter_map(Value::as_str).map(|kind| of_kind(kind, members)).collect())
        }
        // Without a type these keywords are about objects or lists only, and let other values pass. Who writes them means just those.
        _ if ["properties", "required", "additionalProperties", "patternProperties"]
            .iter()
            .any(|k| members.contains_key(*k)) =>
        {
            object(members)
        }
        _ if ["items", "prefixItems"].iter().any(|keyword| members.contains_key(*keyword)) => array(members),
        _ => Ty::Unknown,
    }
}

fn of_kind(kind: &str, members: &Map<String, Value>) -> Ty {
    match kind {
        "string" | "boolean" | "null" => Ty::Word(kind.into()),
        "number" | "integer" => Ty::Word("number".into()),
        "array" => array(members),
        "object" => object(members),
        _ => Ty::Unknown,
    }
}

/// The type of one value.
fn value_type(value: &Value) -> Ty {
    match value {
        Value::Array(items) => Ty::Tuple(items.iter().map(value_type).collect(), items.len(), None),
        Value::Object(members) if members.is_empty() => nothing(),
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| Member {
                name: name.clone(),
                optional: false,
                ty: value_type(value),
                comment: Vec::new(),
            };
            Ty::Object(members.iter().map(member).collect(), None)
        }
        value => Ty::Word(literal(value)),
    }
}

fn array(members: &Map<String, Value>) -> Ty {
    let items = members.get("items");
    let Some(first) = members.get("prefixItems").and_then(Value::as_array).filter(|first| !first.is_empty()) else {
        return Ty::Array(Box::new(items.map_or(Ty::Unknown, type_of)));
    };
    let least = members.get("minItems").and_then(Value::as_u64).unwrap_or(0);
    let least = usize::try_from(least).unwrap_or(usize::MAX).min(first.len());
    let rest = match items.map_or(Ty::Unknown, type_of) {
        Ty::Never => None,
        rest => Some(Box::new(rest)),
    };
    Ty::Tuple(first.iter().map(type_of).collect(), least, rest)
}

fn object(members: &Map<String, Value>) -> Ty {
    let none = Map::new();
    let properties = members.get("properties").and_then(Value::as_object).unwrap_or(&none);
    let required: Vec<&str> =
        members.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let others = members.get("additionalProperties").map(type_of);
    // In the order in which the schema asks for them; then those that may be missing.
    let mut all: Vec<Member> = Vec::new();
    for name in &required {
        if all.iter().any(|known| known.name == *name) {
            continue;
        }
        let schema = properties.get(*name);
        let ty = schema.map(type_of).or(others.clone().filter(|ty| *ty != Ty::Never)).unwrap_or(Ty::Unknown);
        all.push(Member {
            name: (*name).to_owned(),
            optional: false,
            ty,
            comment: schema.map(comment).unwrap_or_default(),
        });
    }
    for (name, schema) in properties.iter().filter(|(name, _)| !required.contains(&name.as_str())) {
        all.push(Member { name: name.clone(), optional: true, ty: type_of(schema), comment: comment(schema) });
    }
    let patterns = members.get("patternProperties").and_then(Value::as_object);
    let mut index: Vec<Ty> = patterns.into_iter().flat_map(|named| named.values()).map(type_of).collect();
    index.extend(others.filter(|ty| *ty != Ty::Never));
    if index.is_empty() {
        let is_closed = members.get("additionalProperties") == Some(&Value::Bool(false));
        return if all.is_empty() && is_closed { nothing() } else { Ty::Object(all, None) };
    }
    // What is said of all members must be true of those that are named, too.
    index.extend(all.iter().map(|member| member.ty.clone()));
    if all.iter().any(|member| member.optional) {
        index.push(Ty::Word("undefined".into()));
    }
    Ty::Object(all, Some(Box::new(union(index))))
}

/// An object without members.
fn nothing() -> Ty {
    Ty::Word("Record<string, never>".into())
}

/// Any of these: each once, and none that another one covers.
pub(super) fn union(all: Vec<Ty>) -> Ty {
    let mut kept: Vec<Ty> = Vec::new();
    let mut waiting: Vec<Ty> = all.into_iter().rev().collect();
    while let Some(one) = waiting.pop() {
        match one {
            Ty::Unknown => return Ty::Unknown,
            Ty::Never => {}
            Ty::Union(within) => waiting.extend(within.into_iter().rev()),
            one if kept.contains(&one) => {}
            one => kept.push(one),
        }
    }
    let has = |word: &str| kept.contains(&Ty::Word(word.into()));
    let (has_text, has_number, has_bool) = (has("string"), has("number"), has("boolean"));
    kept.retain(|one| match one {
        Ty::Word(word) if word.starts_with('\'') => !has_text,
        Ty::Word(word) if word.starts_with(|c: char| c == '-' || c.is_ascii_digit()) => !has_number,
        Ty::Word(word) if word == "true" || word == "false" => !has_bool,
        _ => true,
    });
    match kept.len() {
        0 => Ty::Never,
        1 => kept.remove(0),
        _ => Ty::Union(kept),
    }
}

/// All of these at once.
fn every(all: Vec<Ty>) -> Ty {
    let mut kept: Vec<Ty> = Vec::new();
    for one in all {
        match one {
            Ty::Never => return Ty::Never,
            Ty::Unknown => {}
            Ty::All(within) => kept.extend(within),
            one if kept.contains(&one) => {}
            one => kept.push(one),
        }
    }
    match kept.len() {
        0 => Ty::Unknown,
        1 => kept.remove(0),
        _ => Ty::All(kept),
    }
}
