//! Schemas that are right and wrong.

use super::*;
use serde_json::json;
use tidings::DataSchema;

fn load(files: &[(&str, &str)]) -> Result<Value, String> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let file = folder.path().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
    let files_here = Files::Folder(folder.path().to_path_buf());
    let mut report = Report::default();
    let source = Source::file("profile.toml", "\n\nschema = \"…\"");
    let at = Place { source, start: 2, end: 8 };
    let loaded = Loader::new(&files_here).load("e", Origin::File(files[0].0, &at), &mut report);
    match loaded {
        Some(schema) if report.is_empty() => Ok(schema.document().unwrap().clone()),
        _ => Err(report.render(false).replace(&folder.path().display().to_string(), "")),
    }
}

#[test]
fn what_is_referred_to_in_this_and_other_files_comes_along_under_a_name() {
    let files = [
        (
            "schemas/a.json",
            r##"{"$schema":"https://json-schema.org/draft/2020-12/schema","$id":"https://example.org/a","type":"object",
            "properties":{"action":{"$ref":"#/$defs/Action"},"book":{"$ref":"common/b.json"},"again":{"$ref":"#/$defs/Action"},
            "other":{"$ref":"common/b.json#/$defs/Action"},"odd":{"$ref":"#/properties/action"}},"$defs":{"Action":{"enum":["added"]},"Unused":{}}}"##,
        ),
        (
            "schemas/common/b.json",
            r##"{"title":"Book","properties":{"next":{"$ref":"#"}},"$defs":{"Action":{"const":1}}}"##,
        ),
    ];
    let expected = json!({
        "type": "object",
        "properties": {
            "action": {"$ref": "#/$defs/Action"}, "again": {"$ref": "#/$defs/Action"}, "book": {"$ref": "#/$defs/Book"},
            "odd": {"$ref": "#/$defs/action"}, "other": {"$ref": "#/$defs/Action2"},
        },
        "$defs": {
            "Action": {"enum": ["added"]}, "Action2": {"const": 1}, "action": {"$ref": "#/$defs/Action"},
            "Book": {"title": "Book", "properties": {"next": {"$ref": "#/$defs/Book"}}},
        },
    });
    assert_eq!(load(&files).unwrap(), expected);
}

#[test]
fn a_schema_that_refers_to_itself_is_a_definition() {
    let document = load(&[("tree.json", r##"{"properties":{"left":{"$ref":"#"}}}"##)]).unwrap();
    assert_eq!(document["$ref"], "#/$defs/tree");
    let schema = JsonSchema::new(document).unwrap();
    assert!(schema.check(r#"{"left":{"left":{}}}"#).is_ok());
}

#[test]
fn each_mistake_is_told_with_its_file_and_line() {
    for (text, place, sentence) in [
        ("{\n \"type\": \"object\",\n}", "a.json:3:1", "this is not JSON"),
        ("{\n \"type\": \"strnig\"\n}", "a.json:2:10", "this is no JSON Schema"),
        ("{\n \"requierd\": [\"a\"]\n}", "a.json:2:14", "`requierd` is no keyword"),
        (
            "{\n \"properties\": {\"a\": {\n  \"$ref\": \"https://example.org/b.json\"}}\n}",
            "a.json:3:11",
            "nothing is fetched",
        ),
        ("{\n \"properties\": {\"a\": {\"$ref\": \"//example.org/b.json\"}}\n}", "a.json:2:31", "nothing is fetched"),
        ("{\n \"$ref\": \"#/$defs/nope\"\n}", "a.json:2:10", "leads to no schema"),
        ("{\n \"$ref\": \"b.json\"\n}", "a.json:2:10", "this schema is not there"),
        ("{\n \"$ref\": \"../b.json\"\n}", "a.json:2:10", "outside of the profile's folder"),
        ("{\n \"$ref\": \"/etc/passwd\"\n}", "a.json:2:10", "below the profile's folder"),
        ("{\n \"$ref\": \"#anchor\"\n}", "a.json:2:10", "is no reference"),
        ("{\n \"$dynamicRef\": \"#a\"\n}", "a.json:2:17", "`$dynamicRef` can't be used"),
        ("{\n \"definitions\": {}\n}", "a.json:2:17", "`definitions` can't be used"),
        ("{\n \"$schema\": \"http://json-schema.org/draft-07/schema#\"\n}", "a.json:2:13", "another draft"),
        ("{\n \"not\": {\"$id\": \"x\"}\n}", "a.json:2:17", "`$id` can't be used"),
        ("{\n \"pattern\": \"(\"\n}", "a.json", ""),
        (
            "{\"$ref\": \"#/$defs/a\", \"$defs\": {\"a\": {\"anyOf\": [{\"$ref\": \"#/$defs/a\"}]}}}",
            "profile.toml:3:1",
            "nothing but itself",
        ),
        ("[]", "a.json:1:1", "this is no JSON Schema"),
    ] {
        let report = load(&[("a.json", text)]).unwrap_err();
        assert!(report.contains(place) && report.contains(sentence), "{text}:\n{report}");
    }
}

#[test]
fn a_schema_that_is_not_there_is_told_where_it_is_named() {
    let files = Files::Embedded("x", &[]);
    let mut report = Report::default();
    let at = Place { source: Source::file("profile.toml", "schema = \"a.json\""), start: 9, end: 17 };
    assert!(Loader::new(&files).load("e", Origin::File("a.json", &at), &mut report).is_none());
    assert!(report.render(false).contains("profile.toml:1:10"), "{}", report.render(false));
}
