//! What becomes of schemas.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn view(schema: Value, types: Value) -> View {
    let types: BTreeMap<String, Value> = serde_json::from_value(types).unwrap();
    let event = ViewEvent {
        name: "e".into(),
        type_name: "E".into(),
        schema,
        args: Args::One,
        published: BTreeSet::from(["e".into()]),
        is_known: true,
    };
    View { events: vec![event], types, open: false }
}

fn ty(schema: Value) -> String {
    print(&type_of(&schema), 0).split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn each_keyword_has_its_type() {
    for (schema, expected) in [
        (json!(true), "unknown"),
        (json!(false), "never"),
        (json!({}), "unknown"),
        (json!({"type": "integer"}), "number"),
        (json!({"type": ["string", "null"]}), "string | null"),
        (json!({"enum": ["a", 1, null, "it's\n"]}), "'a' | 1 | null | 'it\\'s\\n'"),
        (json!({"const": {"a": [1]}}), "{ a: [1] }"),
        (json!({"type": "array", "items": {"type": ["string", "null"]}}), "(string | null)[]"),
        (json!({"type": ["array", "null"], "items": {"type": "string"}}), "string[] | null"),
        (json!({"type": "array"}), "unknown[]"),
        (
            json!({"prefixItems": [{"type": "string"}, {"type": "number"}], "minItems": 1}),
            "[string, number?, ...unknown[]]",
        ),
        (json!({"prefixItems": [{"type": "string"}], "items": false, "minItems": 1}), "[string]"),
        (json!({"anyOf": [{"type": "string"}, {"const": "a"}, {"type": "number"}]}), "string | number"),
        (json!({"oneOf": [{"type": "null"}, {"$ref": "#/$defs/Book"}]}), "null | Book"),
        (
            json!({"allOf": [{"$ref": "#/$defs/A"}, {"anyOf": [{"$ref": "#/$defs/B"}, {"type": "null"}]}]}),
            "A & (B | null)",
        ),
        (json!({"type": "object", "additionalProperties": false}), "Record<string, never>"),
        (json!({"type": "object", "properties": {}, "additionalProperties": false}), "Record<string, never>"),
        (json!({"const": {}}), "Record<string, never>"),
        (json!({"type": "object"}), "{ [member: string]: unknown }"),
        (json!({"additionalProperties": {"type": "number"}}), "{ [member: string]: number }"),
        (json!({"properties": {"b": {"type": "string"}, "a": {}}, "required": ["b"]}), "{ b: string a?: unknown }"),
        (
            json!({"properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "number"}}),
            "{ a?: string [member: string]: number | string | undefined }",
        ),
        (json!({"properties": {"a": {"type": "string"}}, "additionalProperties": false}), "{ a?: string }"),
        (json!({"required": ["odd name"], "properties": {"2": {}}}), "{ 'odd name': unknown '2'?: unknown }"),
        (json!({"patternProperties": {"^x": {"type": "string"}}}), "{ [member: string]: string }"),
    ] {
        assert_eq!(ty(schema.clone()), expected, "{schema}");
    }
}

#[test]
fn a_file_has_every_event_and_what_they_refer_to() {
    let schema = json!({"description": "Told */ when\nit is so.", "$ref": "#/$defs/Tree"});
    let types = json!({"Tree": {"type": "object", "required": ["left"], "properties": {
        "left": {"$ref": "#/$defs/Tree", "description": "The \u{2028}left."}, "at": {"type": "string", "format": "date-time", "deprecated": true}}}});
    let header =
        Header { about: "About.".into(), command: "tidings types".into(), socketio: Some(vec!["hello".into()]) };
    let expected = "// About.
// Made by `tidings types`. Do not edit it: change the schemas, and make it again.

export interface Tree {
  /** The  left. */
  left: Tree
  /**
   * Format: date-time.
   * @deprecated
   */
  at?: string
}

/**
 * Told *\\/ when
 * it is so.
 */
export type E = Tree

/** The data of each event, by its name. */
export interface Events {
  e: E
}

/** Any of the events, told apart by `name`. */
export type LiveEvent = {
  [Name in keyof Events]: { readonly name: Name; readonly data: Events[Name] }
}[keyof Events]

/** For socket.io-client: `Socket<ServerToClientEvents>`. */
export interface ServerToClientEvents {
  e: (data: E) => void
  hello: (data: unknown) => void
}
";
    assert_eq!(write(&view(schema, types), &header), expected);
}

#[test]
fn a_type_that_is_nothing_but_itself_says_nothing() {
    let types = json!({"A": {"anyOf": [{"$ref": "#/$defs/B"}]}, "B": {"allOf": [{"$ref": "#/$defs/A"}]}});
    let text = write(&view(json!({"$ref": "#/$defs/A"}), types), &Header::default());
    assert!(text.contains("export type A = unknown\n") && text.contains("export type B = unknown\n"), "{text}");
}

/// Whether every bracket that is opened outside of texts and comments is closed, and no text is left open at the end of its line.
fn is_balanced(text: &str) -> bool {
    let mut open = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '/' if chars.peek() == Some(&'/') => while chars.next_if(|c| *c != '\n').is_some() {},
            '/' if chars.peek() == Some(&'*') => {
                let mut before = ' ';
                loop {
                    match chars.next() {
                        Some('/') if before == '*' => break,
                        Some(c) => before = c,
                        None => return false,
                    }
                }
            }
            '\'' => loop {
                match chars.next() {
                    Some('\\') => drop(chars.next()),
                    Some('\'') => break,
                    Some('\n') | None => return false,
                    Some(_) => {}
                }
            },
            '{' | '[' | '(' => open.push(c),
            '}' | ']' | ')' => match (open.pop(), c) {
                (Some('{'), '}') | (Some('['), ']') | (Some('('), ')') => {}
                _ => return false,
            },
            _ => {}
        }
    }
    open.is_empty()
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        "[a-z'\"*/\\\\{}\n\u{2028}]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-z'*/ ]{0,5}", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Something that looks like a schema, right or wrong.
pub(in crate::schema) fn any_schema() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        prop::sample::select(vec!["A", "B", "C", "nope"]).prop_map(|name| json!({"$ref": format!("#/$defs/{name}")})),
        prop::sample::subsequence(vec!["string", "number", "null", "array", "object", "odd"], 0..4)
            .prop_map(|kinds| json!({"type": kinds})),
        any_json().prop_map(|value| json!({"const": value})),
        prop::collection::vec(any_json(), 0..4).prop_map(|all| json!({"enum": all})),
        any_json(),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let list = || prop::collection::vec(inner.clone(), 0..3);
        let named = || prop::collection::btree_map("[a-c_'*/ .]{0,4}", inner.clone(), 0..3);
        (list(), named(), inner.clone(), prop::sample::subsequence(vec!["a", "b", "*/", "it's"], 0..3), 0..5u8, ".{0,6}").prop_map(
            |(list, named, one, required, which, text)| match which {
                0 => json!({"anyOf": list, "description": text}),
                1 => json!({"allOf": list, "oneOf": [one]}),
                2 => json!({"type": "object", "properties": named, "required": required, "additionalProperties": one, "description": text}),
                3 => json!({"prefixItems": list, "items": one, "minItems": 1, "format": text}),
                _ => json!({"type": ["object", "null"], "patternProperties": named, "properties": {"x": one}, "default": text}),
            },
        )
    })
}

proptest! {
    #[test]
    fn whatever_a_schema_is_the_text_is_whole(schema in any_schema(), a in any_schema(), b in any_schema(), c in any_schema()) {
        let text = write(&view(schema, json!({"A": a, "B": b, "C": c})), &Header::default());
        prop_assert!(is_balanced(&text), "{}", text);
    }
}
