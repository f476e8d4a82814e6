//! What a shape makes of data, said of its schema: what is redacted, changed in case, put into a form, wrapped.

use serde_json::{Map, Value, json};
use tidings::json::Step;
use tidings::{Case, Shape};

use super::form::filled;
use super::keywords;
use super::refs::{self, Defs};

/// Stands behind the name of a definition that was made of another one, before a number.
pub(super) const MADE: char = '\u{1}';

/// The definitions of a view in the making.
#[derive(Default)]
pub(super) struct Bench {
    pub defs: Defs,
    /// What was made of a definition: it, the way on, the change, and the name of what came of it.
    made: Vec<(String, Vec<Step>, Edit, String)>,
}

/// What becomes of the values at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Edit {
    /// Texts are in this case.
    Case(Case),
    /// `null` may stand there instead.
    Null,
    /// It may be left out.
    Optional,
}

impl Bench {
    /// The schema of what this shape makes of an event called `name` whose data has this schema.
    pub fn shaped(&mut self, schema: Value, name: &str, shape: &Shape, wrapped: bool) -> Value {
        let mut schema = schema;
        for redaction in shape.redactions() {
            let edit = if redaction.with_null { Edit::Null } else { Edit::Optional };
            schema = self.edited(schema, redaction.path.steps(), edit);
        }
        for (path, case) in shape.cases() {
            schema = self.edited(schema, path.steps(), Edit::Case(*case));
        }
        if let Some(form) = shape.form() {
            schema = filled(&form.outline(), &schema, name, &self.defs);
        }
        match shape.wrap().filter(|_| wrapped) {
            Some(key) => self.wrapped(schema, &key),
            None => schema,
        }
    }

    /// What is in the wrapper has a name where it has a title.
    fn wrapped(&mut self, schema: Value, key: &str) -> Value {
        let description = schema.get("description").cloned();
        let inner = match schema.get("title").and_then(Value::as_str).map(str::to_owned) {
            Some(title) => json!({ "$ref": refs::reference(&self.define(&title, schema)) }),
            None => schema,
        };
        let mut wrapper =
            json!({ "type": "object", "properties": { key: inner }, "required": [key], "additionalProperties": false });
        if let Some(description) = description {
            wrapper["description"] = description;
        }
        wrapper
    }

    /// Adds a definition; its name is this one if that is free, or has the same meaning.
    pub fn define(&mut self, name: &str, schema: Value) -> String {
        match self.defs.get(name) {
            Some(known) if *known != schema => {
                let name = self.free(name);
                self.defs.insert(name.clone(), schema);
                name
            }
            _ => {
                self.defs.insert(name.to_owned(), schema);
                name.to_owned()
            }
        }
    }

    /// A name for another definition that is called so.
    pub fn free(&self, name: &str) -> String {
        let base = name.split(MADE).next().unwrap_or(name);
        let mut count = 2;
        loop {
            let name = format!("{base}{MADE}{count}");
            if !self.defs.contains_key(&name) {
                return name;
            }
            count += 1;
        }
    }

    /// The schema with what is at `path` changed. Where the path leads nowhere, nothing is.
    fn edited(&mut self, mut schema: Value, path: &[Step], edit: Edit) -> Value {
        if let Some(name) = refs::target(&schema) {
            let name = self.edited_def(&name, path, edit);
            schema["$ref"] = refs::reference(&name).into();
        }
        let Value::Object(members) = &mut schema else { return schema };
        for keyword in ["allOf", "anyOf", "oneOf"] {
            for branch in members.get_mut(keyword).and_then(Value::as_array_mut).into_iter().flatten() {
                *branch = self.edited(branch.take(), path, edit);
            }
        }
        for keyword in ["then", "else"] {
            if let Some(branch) = members.get_mut(keyword) {
                *branch = self.edited(branch.take(), path, edit);
            }
        }
        match path.split_first() {
            None => {
                if let Edit::Case(case) = edit {
                    change_case(&mut schema, case);
                }
            }
            Some((Step::Member(name), rest)) => {
                if rest.is_empty() && edit == Edit::Optional {
                    let required = members.get_mut("required").and_then(Value::as_array_mut);
                    required.into_iter().for_each(|required| required.retain(|known| known != name.as_str()));
                }
                if let Some(member) = members.get_mut("properties").and_then(|named| named.get_mut(name)) {
                    *member = self.below(member.take(), rest, edit);
                } else {
                    self.edit_unnamed(members, name, rest, edit);
                }
                let patterns = members.get_mut("patternProperties").and_then(Value::as_object_mut);
                for member in patterns.into_iter().flat_map(|named| named.values_mut()) {
                    *member = self.widened(member.take(), rest, edit);
                }
            }
            Some((Step::Each, rest)) => {
                if let Some(items) = members.get_mut("items") {
                    *items = self.below(items.take(), rest, edit);
                }
                for item in members.get_mut("prefixItems").and_then(Value::as_array_mut).into_iter().flatten() {
                    *item = self.below(item.take(), rest, edit);
                }
            }
        }
        schema
    }

    /// Changes what a member is that has no schema by its name, but one with others.
    fn edit_unnamed(&mut self, members: &mut Map<String, Value>, name: &str, rest: &[Step], edit: Edit) {
        let Some(others) = members.get("additionalProperties").filter(|others| others.is_object()).cloned() else {
            return;
        };
        if members.get("patternProperties").is_some() {
            // It may be one of those, and then this says nothing of it.
            members.insert("additionalProperties".into(), self.widened(others, rest, edit));
            return;
        }
        let member = self.below(others, rest, edit);
        let named = members.entry("properties").or_insert_with(|| json!({}));
        if let Some(named) = named.as_object_mut() {
            named.insert(name.to_owned(), member);
        }
    }

    /// What a member may be that is changed or another one that is not.
    fn widened(&mut self, schema: Value, rest: &[Step], edit: Edit) -> Value {
        let changed = self.below(schema.clone(), rest, edit);
        match edit {
            Edit::Case(_) if changed != schema => json!({ "anyOf": [schema, changed] }),
            _ => changed,
        }
    }

    fn below(&mut self, schema: Value, rest: &[Step], edit: Edit) -> Value {
        match edit {
            Edit::Null if rest.is_empty() => or_null(schema),
            _ => self.edited(schema, rest, edit),
        }
    }

    /// The name of what a definition becomes.
    fn edited_def(&mut self, name: &str, path: &[Step], edit: Edit) -> String {
        let is_known =
            |(from, way, how, _): &&(String, Vec<Step>, Edit, String)| from == name && way == path && *how == edit;
        if let Some((.., made)) = self.made.iter().find(is_known) {
            return made.clone();
        }
        let Some(schema) = self.defs.get(name).cloned() else { return name.to_owned() };
        let made = self.free(name);
        self.defs.insert(made.clone(), Value::Bool(true));
        // Known before it is there: what refers to itself would be made without end.
        self.made.push((name.to_owned(), path.to_vec(), edit, made.clone()));
        let index = self.made.len() - 1;
        let edited = self.edited(schema.clone(), path, edit);
        if edited == schema {
            self.made[index].3 = name.to_owned();
            self.defs.remove(&made);
            return name.to_owned();
        }
        self.defs.insert(made.clone(), edited);
        made
    }
}

/// The schema of the same or `null`.
fn or_null(schema: Value) -> Value {
    if schema == Value::Bool(true) || schema.as_object().is_some_and(serde_json::Map::is_empty) {
        return schema;
    }
    // What is said about it is said about both.
    let description = schema.get("description").cloned();
    let mut either = json!({ "anyOf": [schema, { "type": "null" }] });
    if let Some(description) = description {
        either["description"] = description;
    }
    either
}

fn change_case(schema: &mut Value, case: Case) {
    let change = |value: &mut Value| {
        if let Some(text) = value.as_str() {
            *value = case.change(text).into();
        }
    };
    let Some(members) = schema.as_object_mut() else { return };
    if let Some(options) = members.get_mut("enum").and_then(Value::as_array_mut) {
        options.iter_mut().for_each(change);
        let mut seen: Vec<Value> = Vec::new();
        options.retain(|option| {
            let new = !seen.contains(option);
            seen.push(option.clone());
            new
        });
    }
    if let Some(value) = members.get_mut("const") {
        change(value);
    }
    // They are about how it was written before.
    for keyword in ["pattern", "format", "minLength", "maxLength", "default", "examples"] {
        members.remove(keyword);
    }
}

/// The schema without the keywords that only say something about it.
pub(super) fn bare(schema: &Value) -> Value {
    let mut schema = schema.clone();
    if let Some(members) = schema.as_object_mut() {
        for keyword in
            ["title", "description", "default", "examples", "deprecated", "$comment", "readOnly", "writeOnly"]
        {
            members.remove(keyword);
        }
    }
    keywords::for_each_mut(&mut schema, &mut |child| *child = bare(child));
    schema
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidings::Redaction;

    fn redaction(path: &str, with_null: bool) -> Redaction {
        Redaction { path: path.parse().unwrap(), unless: Vec::new(), with_null }
    }

    #[test]
    fn what_is_redacted_for_some_may_be_missing_or_null() {
        let schema = json!({
            "type": "object", "required": ["id", "key", "path"],
            "properties": {"id": {"type": "string"}, "key": {"type": "string", "description": "K"}, "path": {"type": "string"}},
        });
        let shape = Shape::default().redact(redaction("key", true)).unwrap().redact(redaction("path", false)).unwrap();
        let shaped = Bench::default().shaped(schema, "e", &shape, true);
        assert_eq!(shaped["required"], json!(["id", "key"]));
        assert_eq!(shaped["properties"]["key"]["anyOf"][1], json!({"type": "null"}));
    }

    #[test]
    fn what_is_redacted_among_members_without_a_name_may_be_missing_or_null() {
        let text = json!({"type": "string"});
        let or_null = json!({"anyOf": [text, {"type": "null"}]});
        let schema = |keyword: &str, of: Value| json!({"type": "object", "required": ["key"], keyword: of});
        let shaped = |schema: Value, path: &str, with_null: bool| {
            let shape = Shape::default().redact(redaction(path, with_null)).unwrap();
            Bench::default().shaped(schema, "e", &shape, true)
        };
        let others = schema("additionalProperties", text.clone());
        let told = shaped(others.clone(), "key", true);
        assert_eq!((&told["properties"]["key"], &told["additionalProperties"]), (&or_null, &text));
        let told = shaped(others, "key", false);
        assert_eq!((&told["required"], &told["properties"]["key"]), (&json!([]), &text));
        let told = shaped(schema("patternProperties", json!({"^k": text})), "key", true);
        assert_eq!(told["patternProperties"]["^k"], or_null);
        let deep = schema("additionalProperties", json!({"required": ["a"], "properties": {"a": text}}));
        assert_eq!(shaped(deep, "key.a", false)["properties"]["key"]["required"], json!([]));
    }

    #[test]
    fn a_change_within_a_definition_makes_another_one_and_leaves_the_first() {
        let mut bench = Bench::default();
        bench.define("Action", json!({"enum": ["added", "Added", "in_work"]}));
        bench.define(
            "Item",
            json!({"properties": {"action": {"$ref": "#/$defs/Action"}, "next": {"$ref": "#/$defs/Item"}}}),
        );
        let schema = json!({"title": "Message", "properties": {"items": {"items": {"$ref": "#/$defs/Item"}}, "was": {"$ref": "#/$defs/Item"}}});
        let shape = Shape::default().case("items[].action".parse().unwrap(), Case::Pascal).wrapped("Items");
        let shaped = bench.shaped(schema, "e", &shape, true);
        assert_eq!(shaped["properties"]["Items"]["$ref"], "#/$defs/Message");
        let message = bench.defs["Message"].clone();
        assert_eq!(message["properties"]["was"]["$ref"], "#/$defs/Item");
        let item = refs::target(&message["properties"]["items"]["items"]).unwrap();
        let action = refs::target(&bench.defs[&item]["properties"]["action"]).unwrap();
        assert_eq!(bench.defs[&action]["enum"], json!(["Added", "InWork"]));
        // Further down nothing was changed.
        assert_eq!(bench.defs[&item]["properties"]["next"]["$ref"], "#/$defs/Item");
        assert_eq!(bench.defs["Action"]["enum"], json!(["added", "Added", "in_work"]));
    }
}
