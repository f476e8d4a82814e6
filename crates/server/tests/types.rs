//! What is made of the profiles, against what is committed, and how schemas bear on publishing.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use proptest::prelude::*;
use serde_json::{Value, json};
use tidings::{DataSchema, Limits, Profile, Timestamp};
use tidings_server::profile::Loading;
use tidings_server::schema::JsonSchema;
use tidings_server::settings::Report;

fn profiles() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../profiles");
    let mut found: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("profile.toml").is_file())
        .collect();
    found.sort();
    found
}

fn tidings(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tidings")).args(args).env_remove("TIDINGS_CONFIG").output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A profile of one event.
fn written(event: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let toml = format!(
        "name = \"a\"\n[auth]\nanonymous = {{ grants = [] }}\n[events.\"b.c\"]\ntopic = \"t\"\naudience = \"everyone\"\n{event}\n"
    );
    std::fs::write(folder.path().join("profile.toml"), toml).unwrap();
    let path = folder.path().display().to_string();
    (folder, path)
}

fn load(folder: &Path) -> std::sync::Arc<Profile> {
    let mut report = Report::default();
    let loaded = Loading::open(folder, &mut report).unwrap().finish(&[], &[], None, &mut report);
    assert!(report.is_empty(), "{report}");
    loaded.unwrap().profile
}

#[test]
fn what_is_committed_is_what_the_schemas_of_each_profile_say() {
    for profile in profiles() {
        for (command, file) in [("types", "events.generated.ts"), ("asyncapi", "asyncapi.json")] {
            let file = profile.join(file).display().to_string();
            let done = tidings(&[command, "--profile", &profile.display().to_string(), "--out", &file, "--check"]);
            assert!(done.status.success(), "{}", text(&done.stderr));
        }
    }
}

#[test]
fn the_types_of_the_bookshelf_are_what_its_schemas_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/bookshelf");
    let file = folder.join("web/src/events.generated.ts").display().to_string();
    let done = tidings(&["types", "--profile", &folder.display().to_string(), "--out", &file, "--check"]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let written = std::fs::read_to_string(&file).unwrap();
    assert_eq!(written.matches("export interface Book {").count(), 1, "two events with one schema have one type");
    assert!(written.contains("'book.added': Book\n") && written.contains("'book.updated': Book\n"));
}

#[test]
fn every_event_of_every_profile_has_a_schema() {
    for profile in profiles() {
        let loaded = load_alone(&profile);
        for rule in loaded.rules() {
            let is_known = rule.schema.is_some() || tidings::job::is_reserved(&rule.name);
            assert!(is_known, "{}: {}", loaded.name(), rule.name);
        }
    }
}

fn load_alone(folder: &Path) -> std::sync::Arc<Profile> {
    let mut report = Report::default();
    let loaded = Loading::open(folder, &mut report).unwrap().alone().finish(&[], &[], None, &mut report);
    assert!(report.is_empty(), "{report}");
    loaded.unwrap().profile
}

#[test]
fn a_name_that_no_profile_has_is_refused_with_where_ones_own_is_named() {
    let refused = tidings(&["types", "--profile", "atelier"]);
    let said = text(&refused.stderr);
    assert!(!refused.status.success() && said.contains("comes with the program"), "{said}");
    assert!(said.contains("--profile profiles/atelier"), "{said}");
}

#[test]
fn a_profile_by_its_name_is_the_one_in_its_folder() {
    for profile in profiles() {
        let name = profile.file_name().unwrap().to_str().unwrap();
        let (named, found) = (
            tidings(&["types", "--profile", name]),
            tidings(&["types", "--profile", &profile.join("profile.toml").display().to_string()]),
        );
        assert!(named.status.success() && named.stdout == found.stdout, "{name}: {}", text(&named.stderr));
    }
}

#[test]
fn drift_is_told_with_the_line_and_how_to_mend_it() {
    let (folder, path) =
        written("schema = { type = \"object\", required = [\"id\"], properties = { id = { type = \"integer\" } } }");
    let out = folder.path().join("events.ts").display().to_string();
    assert!(tidings(&["types", "--profile", &path, "--out", &out]).status.success());
    let made = std::fs::read_to_string(&out).unwrap();
    assert!(made.contains("  id: number\n") && made.contains("  'b.c': BC\n"), "{made}");
    std::fs::write(&out, made.replace("id: number", "id: string")).unwrap();
    let checked = tidings(&["types", "--profile", &path, "--out", &out, "--check"]);
    let said = text(&checked.stderr);
    assert!(!checked.status.success() && said.contains("-   id: string\n+   id: number"), "{said}");
    assert!(std::fs::read_to_string(&out).unwrap().contains("id: string"), "--check writes nothing");
}

#[test]
fn what_clients_see_is_in_the_types_and_not_what_publishers_send() {
    let (_folder, path) = written(
        "wire = \"changed\"\nwrap = \"Book\"\ncases = [{ path = \"state\", to = \"pascal\" }]\n\
         redact = [{ path = \"key\" }, { path = \"note\", with = \"null\" }]\n\
         schema = { type = \"object\", required = [\"state\", \"key\", \"note\"], properties = { state = { enum = [\"in_work\"] }, key = { type = \"string\" }, note = { type = \"string\" } } }",
    );
    let told = text(&tidings(&["types", "--profile", &path]).stdout);
    for part in ["  changed: Changed", "Book: {", "state: 'InWork'", "key?: string", "note: string | null"] {
        assert!(told.contains(part), "{part}:\n{told}");
    }
    let sent = text(&tidings(&["types", "--profile", &path, "--published"]).stdout);
    for part in ["  'b.c': BC", "state: 'in_work'", "key: string", "note: string\n"] {
        assert!(sent.contains(part), "{part}:\n{sent}");
    }
}

#[test]
fn an_event_without_a_schema_is_unknown() {
    let (_folder, path) = written("");
    assert!(text(&tidings(&["types", "--profile", &path]).stdout).contains("export type BC = unknown\n"));
    let document: Value = serde_json::from_slice(&tidings(&["asyncapi", "--profile", &path]).stdout).unwrap();
    assert_eq!(document["asyncapi"], "3.0.0");
}

#[test]
fn events_with_one_schema_have_one_payload_and_messages_of_their_own_names() {
    let schema = r#"{ title = "One", type = "object", properties = { id = { type = "integer" } } }"#;
    let events: String = ["b.d", "b.e"]
        .iter()
        .map(|name| format!("[events.\"{name}\"]\ntopic = \"t\"\naudience = \"everyone\"\nschema = {schema}\n"))
        .collect();
    let mounts = "[[mounts]]\ntransport = \"sse\"\npath = \"/live\"\n";
    let (_folder, path) = written(&format!("schema = {schema}\n{events}{mounts}"));
    let made = tidings(&["asyncapi", "--profile", &path]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let document: Value = serde_json::from_slice(&made.stdout).unwrap();
    let components = &document["components"];
    for name in ["b.c", "b.d", "b.e"] {
        assert_eq!(
            components["messages"][name]["payload"],
            json!({ "$ref": "#/components/schemas/One" }),
            "{document}"
        );
        assert_eq!(
            document["channels"]["sse"]["messages"][name],
            json!({ "$ref": format!("#/components/messages/{name}") })
        );
    }
    assert_eq!(components["schemas"].as_object().unwrap().keys().collect::<Vec<_>>(), ["One"]);
}

#[test]
fn a_wrong_schema_stops_check_config_with_its_file_and_line() {
    let (folder, path) = written("schema = \"b.json\"");
    std::fs::write(folder.path().join("b.json"), "{\n  \"properties\": { \"id\": { \"type\": \"text\" } }\n}").unwrap();
    let checked = tidings(&["check-config", &path]);
    assert!(!checked.status.success() && text(&checked.stderr).contains("b.json:2:35"), "{}", text(&checked.stderr));
    let (_folder, path) = written("schema = { properties = { id = { type = \"text\" } } }");
    let said = text(&tidings(&["check-config", &path]).stderr);
    assert!(said.contains("profile.toml:7:41") && said.contains("this is no JSON Schema: it must be one of"), "{said}");
}

#[test]
fn data_that_does_not_fit_is_refused_with_its_place_signals_too() {
    let (folder, _) = written(
        "kept = false\nschema = { properties = { medias = { items = { properties = { action = { enum = [\"added\"] } } } } } }",
    );
    let profile = load(folder.path());
    let derive = |data: Value| {
        let draft = serde_json::from_value(json!({ "name": "b.c", "data": data })).unwrap();
        profile.derive(draft, Timestamp(0), &Limits::default())
    };
    assert!(derive(json!({ "medias": [{ "action": "added" }] })).is_ok());
    let error = derive(json!({ "medias": [{ "action": "SECRET" }] })).unwrap_err();
    assert_eq!((error.code, error.field.as_str()), ("schema", "data/medias/0/action"));
    assert_eq!(error.detail, "it must be one of \"added\"");
}

/// `cargo nextest run -p tidings-server --run-ignored all what_a_schema_costs --no-capture`
#[test]
#[ignore = "a measurement"]
fn what_a_schema_costs() {
    let redseat = load_alone(&profiles().into_iter().find(|path| path.ends_with("redseat")).unwrap());
    let rule = redseat.rule("medias").unwrap();
    let schema = rule.schema.clone().unwrap();
    let media = json!({ "action": "added", "media": { "id": "m1", "name": "IMG_1.jpg", "type": "photo", "mimetype": "image/jpeg", "size": 123456, "width": 4000, "height": 3000 } });
    for count in [1, 10, 100] {
        let data = json!({ "library": "lib1", "medias": vec![media.clone(); count] }).to_string();
        let rounds = 200_000 / count;
        let begun = std::time::Instant::now();
        (0..rounds).for_each(|_| schema.check(&data).unwrap());
        println!("{} bytes: {:.2} µs", data.len(), begun.elapsed().as_secs_f64() * 1e6 / rounds as f64);
    }
}

fn any_data() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("left|right|id|.{0,3}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_data_is_held_against_a_recursive_schema_without_a_panic(data in any_data()) {
        let schema = JsonSchema::new(json!({
            "$ref": "#/$defs/Tree",
            "$defs": { "Tree": { "type": "object", "required": ["id"], "properties": {
                "id": { "type": ["string", "number"] }, "left": { "$ref": "#/$defs/Tree" }, "right": { "anyOf": [{ "$ref": "#/$defs/Tree" }, { "type": "null" }] } } } },
        })).unwrap();
        if let Err(fault) = schema.check(&data.to_string()) {
            prop_assert!(data.pointer(&fault.pointer).is_some() || fault.pointer.len() > 200, "{}", fault);
        }
    }
}
