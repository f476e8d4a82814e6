//! The keywords of JSON Schema, draft 2020-12 (Core §8, §10; Validation §6 to §9): which hold schemas.

use serde_json::Value;

use super::place::join;

/// One schema.
const ONE: [&str; 11] = [
    "not",
    "if",
    "then",
    "else",
    "items",
    "contains",
    "additionalProperties",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
    "contentSchema",
];
/// A list of schemas.
const LIST: [&str; 4] = ["allOf", "anyOf", "oneOf", "prefixItems"];
/// Schemas by name.
const NAMED: [&str; 4] = ["properties", "patternProperties", "dependentSchemas", "$defs"];
/// What is held against the same value as the schema that it stands in.
const IN_PLACE: [&str; 8] = ["allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas"];
/// The others.
const PLAIN: [&str; 35] = [
    "$schema",
    "$id",
    "$ref",
    "$comment",
    "$vocabulary",
    "type",
    "enum",
    "const",
    "multipleOf",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "maxLength",
    "minLength",
    "pattern",
    "maxItems",
    "minItems",
    "uniqueItems",
    "maxContains",
    "minContains",
    "maxProperties",
    "minProperties",
    "required",
    "dependentRequired",
    "format",
    "contentEncoding",
    "contentMediaType",
    "title",
    "description",
    "default",
    "deprecated",
    "readOnly",
    "writeOnly",
    "examples",
];

/// Keywords that a schema here can't have, and what to do instead.
pub(super) const REFUSED: [(&str, &str); 6] = [
    ("$anchor", "write the reference as `#/$defs/name`"),
    ("$dynamicAnchor", "write what is meant where it is meant"),
    ("$dynamicRef", "write the reference as `$ref`"),
    ("$recursiveRef", "write the reference as `$ref`"),
    ("definitions", "call it `$defs`: it is draft 2020-12"),
    ("dependencies", "call it `dependentRequired` or `dependentSchemas`: it is draft 2020-12"),
];

/// All keywords.
pub(super) fn all() -> impl Iterator<Item = &'static str> {
    PLAIN.iter().chain(&ONE).chain(&LIST).chain(&NAMED).copied()
}

/// The schemas within a schema, each with the keyword that it belongs to and its pointer.
pub(super) fn children<'a>(schema: &'a Value, pointer: &str) -> Vec<(&'a str, String, &'a Value)> {
    let mut children = Vec::new();
    for (keyword, value) in schema.as_object().into_iter().flatten() {
        let name = keyword.as_str();
        let at = join(pointer, name);
        match value {
            _ if ONE.contains(&name) => children.push((name, at, value)),
            Value::Array(list) if LIST.contains(&name) => {
                children.extend(list.iter().enumerate().map(|(index, one)| (name, format!("{at}/{index}"), one)));
            }
            Value::Object(named) if NAMED.contains(&name) => {
                children.extend(named.iter().map(|(key, one)| (name, join(&at, key), one)));
            }
            _ => {}
        }
    }
    children
}

/// Calls `change` for each schema directly within this one.
pub(super) fn for_each_mut(schema: &mut Value, change: &mut dyn FnMut(&mut Value)) {
    for (keyword, value) in schema.as_object_mut().into_iter().flatten() {
        let name = keyword.as_str();
        match value {
            _ if ONE.contains(&name) => change(value),
            Value::Array(list) if LIST.contains(&name) => list.iter_mut().for_each(&mut *change),
            Value::Object(named) if NAMED.contains(&name) => named.values_mut().for_each(&mut *change),
            _ => {}
        }
    }
}

/// Whether what stands there is held against the same value as the schema around it.
pub(super) fn is_in_place(keyword: &str) -> bool {
    IN_PLACE.contains(&keyword)
}
