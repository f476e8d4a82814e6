//! Holds data against a schema.

use std::fmt;

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;
use tidings::{DataSchema, SchemaFault};

use super::sentence;

/// A schema, ready to be held against data.
pub struct JsonSchema {
    validator: Validator,
    document: Value,
}

impl fmt::Debug for JsonSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JsonSchema({})", self.document)
    }
}

impl JsonSchema {
    /// A schema of a document in which every reference is to `#/$defs`.
    pub fn new(document: Value) -> Result<Self, SchemaFault> {
        let options = jsonschema::draft202012::options()
            .offline()
            // Patterns without look-around, which take time in proportion to the text: it is the publishers' own.
            .with_pattern_options(PatternOptions::regex());
        match options.build(&document) {
            Ok(validator) => Ok(JsonSchema { validator, document }),
            Err(error) => Err(sentence::fault(&error)),
        }
    }
}

impl DataSchema for JsonSchema {
    fn check(&self, data: &str) -> Result<(), SchemaFault> {
        let value: Value = serde_json::from_str(data).map_err(|error| unreadable(&error))?;
        self.validator.validate(&value).map_err(|error| sentence::fault(&error))
    }

    fn document(&self) -> Option<&Value> {
        Some(&self.document)
    }
}

/// Data may be JSON and yet not be read into memory: nested without end, or with half a character.
fn unreadable(error: &serde_json::Error) -> SchemaFault {
    let sentence = error.to_string();
    let reason = sentence.split(" at line ").next().unwrap_or_default();
    SchemaFault { pointer: String::new(), detail: format!("it can't be held against its schema: {reason}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fault(schema: Value, data: Value) -> String {
        JsonSchema::new(schema).unwrap().check(&data.to_string()).unwrap_err().to_string()
    }

    #[test]
    fn what_does_not_fit_is_told_with_its_place_and_without_the_data() {
        let medias =
            json!({"properties": {"medias": {"items": {"properties": {"action": {"enum": ["added", "updated"]}}}}}});
        assert_eq!(
            fault(medias, json!({"medias": [{"action": "SECRET"}]})),
            "data/medias/0/action: it must be one of \"added\", \"updated\""
        );
        let closed = json!({"required": ["id"], "additionalProperties": false, "properties": {"id": {"type": ["string", "null"]}}});
        assert_eq!(fault(closed.clone(), json!({})), "data: `id` is missing");
        assert_eq!(fault(closed.clone(), json!({"id": 5})), "data/id: it must be null or string");
        assert_eq!(fault(closed.clone(), json!({"id": null, "x": 5})), "data: it may not have `x`");
        let long = fault(closed, json!({"id": null, "x".repeat(10_000): 5}));
        assert!(long.len() < 200, "{long}");
    }

    #[test]
    fn each_kind_of_mistake_is_a_sentence_that_does_not_repeat_the_data() {
        for (schema, data) in [
            (json!({"type": "integer"}), json!("SECRET")),
            (json!({"const": {"a": 1}}), json!("SECRET")),
            (json!({"minimum": 100}), json!(77)),
            (json!({"exclusiveMinimum": 100}), json!(77)),
            (json!({"maximum": 7}), json!(77)),
            (json!({"exclusiveMaximum": 7}), json!(77)),
            (json!({"multipleOf": 10}), json!(77)),
            (json!({"minLength": 10}), json!("SECRET")),
            (json!({"maxLength": 2}), json!("SECRET")),
            (json!({"pattern": "^x"}), json!("SECRET")),
            (json!({"minItems": 2}), json!(["SECRET"])),
            (json!({"maxItems": 1}), json!(["SECRET", 1])),
            (json!({"uniqueItems": true}), json!(["SECRET", "SECRET"])),
            (json!({"contains": {"type": "null"}}), json!(["SECRET"])),
            (json!({"prefixItems": [{}], "items": false}), json!([1, "SECRET"])),
            (json!({"minProperties": 2}), json!({"a": "SECRET"})),
            (json!({"maxProperties": 0}), json!({"a": "SECRET"})),
            (json!({"propertyNames": {"maxLength": 1}}), json!({"aa": "SECRET"})),
            (json!({"unevaluatedProperties": false}), json!({"a": "SECRET"})),
            (json!({"not": {"type": "string"}}), json!("SECRET")),
            (json!({"anyOf": [{"type": "null"}, {"type": "number"}]}), json!("SECRET")),
            (json!({"oneOf": [{}, {}]}), json!("SECRET")),
            (json!({"dependentRequired": {"a": ["b"]}}), json!({"a": "SECRET"})),
            (json!(false), json!("SECRET")),
        ] {
            let sentence = fault(schema.clone(), data);
            assert!(!sentence.contains("SECRET") && !sentence.contains("77"), "{schema}: {sentence}");
            assert!(sentence.len() > 12 && sentence.len() < 200, "{schema}: {sentence}");
        }
    }

    #[test]
    fn of_several_forms_the_one_that_comes_nearest_says_what_is_wrong() {
        let schema = json!({"anyOf": [
            {"type": "null"},
            {"type": "object", "properties": {"progress": {"properties": {"percent": {"type": "number"}}}}},
        ]});
        assert_eq!(fault(schema, json!({"progress": {"percent": "x"}})), "data/progress/percent: it must be a number");
    }

    #[test]
    fn data_that_can_not_be_read_is_no_panic() {
        let schema = JsonSchema::new(json!({"type": "array"})).unwrap();
        for data in ["[".repeat(1000) + &"]".repeat(1000), r#"["\ud800"]"#.into(), "[1e999]".into()] {
            let fault = schema.check(&data).unwrap_err();
            assert!(fault.detail.starts_with("it can't be held against its schema"), "{fault}");
        }
    }

    #[test]
    fn a_pattern_that_takes_time_without_end_can_not_be_made() {
        assert!(JsonSchema::new(json!({"pattern": "(?=a)b"})).is_err());
        let schema = JsonSchema::new(json!({"pattern": "^(a+)+$"})).unwrap();
        assert!(schema.check(&json!("a".repeat(100_000) + "!").to_string()).is_err());
    }
}
