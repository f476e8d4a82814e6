//! The schemas of AsyncAPI are those of JSON Schema draft 7 (AsyncAPI 3.0.0, "Schema Object").

use serde_json::{Value, json};

use crate::schema::{keywords, refs};

/// Keywords that draft 7 has not. What they say is left out: the schema then lets more pass.
const NEWER: [&str; 9] = [
    "unevaluatedItems",
    "unevaluatedProperties",
    "minContains",
    "maxContains",
    "contentSchema",
    "dependentRequired",
    "dependentSchemas",
    "$vocabulary",
    "$defs",
];

/// A schema of draft 2020-12 as one of draft 7. `refer` gives the reference to a definition.
pub(super) fn draft7(schema: &Value, refer: &dyn Fn(&str) -> String) -> Value {
    let mut schema = schema.clone();
    let target = refs::target(&schema);
    keywords::for_each_mut(&mut schema, &mut |child| *child = draft7(child, refer));
    let Value::Object(members) = &mut schema else { return schema };
    let mut dependencies = serde_json::Map::new();
    for keyword in ["dependentRequired", "dependentSchemas"] {
        if let Some(Value::Object(all)) = members.get(keyword) {
            dependencies.extend(all.clone());
        }
    }
    if !dependencies.is_empty() {
        members.insert("dependencies".into(), dependencies.into());
    }
    NEWER.iter().for_each(|keyword| drop(members.remove(*keyword)));
    // Elements by place are `items`, and those after them `additionalItems`.
    if let Some(first) = members.remove("prefixItems")
        && let Some(rest) = members.insert("items".into(), first)
    {
        members.insert("additionalItems".into(), rest);
    }
    let Some(target) = target else { return schema };
    let reference = json!({ "$ref": refer(&target) });
    members.remove("$ref");
    if members.is_empty() {
        return reference;
    }
    // What stands beside a reference counts for nothing in draft 7.
    let all = members.entry("allOf").or_insert_with(|| json!([]));
    if let Some(all) = all.as_array_mut() {
        all.insert(0, reference);
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_draft_7_says_otherwise_is_said_so() {
        let refer = |name: &str| format!("#/x/{name}");
        for (newer, older) in [
            (json!({"$ref": "#/$defs/A"}), json!({"$ref": "#/x/A"})),
            (
                json!({"$ref": "#/$defs/A", "description": "d"}),
                json!({"description": "d", "allOf": [{"$ref": "#/x/A"}]}),
            ),
            (
                json!({"prefixItems": [{"$ref": "#/$defs/A"}], "items": false}),
                json!({"items": [{"$ref": "#/x/A"}], "additionalItems": false}),
            ),
            (
                json!({"dependentRequired": {"a": ["b"]}, "unevaluatedProperties": false}),
                json!({"dependencies": {"a": ["b"]}}),
            ),
        ] {
            assert_eq!(draft7(&newer, &refer), older);
        }
    }
}
