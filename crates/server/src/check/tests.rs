use super::*;

fn lines(report: &Report) -> Vec<usize> {
    let mut lines: Vec<usize> = report.mistakes().iter().filter_map(|m| m.place.as_ref().map(Place::line)).collect();
    lines.dedup();
    lines
}

fn check_text(text: &str) -> Report {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("profile.toml"), text).unwrap();
    check(&[dir.path().to_path_buf()])
}

const GOOD: &str = r#"name = "app"
[grants.implies]
"role/admin" = ["role/viewer"]
[[mounts]]
transport = "sse"
path = "/events"
[events."book.updated"]
topic = "book/{data.id}"
audience = [["user/{scope.owner}", "role/admin"], ["role/viewer"]]
[values]
name = "x"
[variants.b]
events."book.updated".wrap = "Book"
"#;

#[test]
fn a_profile_without_mistakes_is_silent() {
    let report = check_text(GOOD);
    assert!(report.is_empty(), "{report}");
}

#[test]
fn each_mistake_is_found_at_its_line() {
    for (line, from, to, says) in [
        (1, "name = \"app\"\n[grants", "name = \"a/b\"\n[grants", "a profile's name"),
        (3, "[\"role/viewer\"]\n[[", "[\"role/{x}\"]\n[[", "`{x}`"),
        (5, "\"sse\"", "\"see\"", "did you mean \"sse\"?"),
        (6, "/events", "events", "must begin with `/`"),
        (6, "/events", "/v1/events", "the program's own"),
        (6, "/events\"", "/events\"\nhartbeat_every = \"1s\"", "did you mean `heartbeat_every`?"),
        (7, "/events\"", "/events\"\nheartbeat_every = \"1y\"", "is no duration"),
        (7, "/events\"", "/events\"\nheartbeat = { comment = \"a\", event = \"b\" }", "a heartbeat is either"),
        (7, "/events\"", "/events\"\npath = \"/b\"", "duplicate key"),
        (7, "/events\"", "/events\"\nrequires = \"role/*\"", "not a valid topic"),
        (7, "/events\"", "/events\"\nrefusals = { 200 = \"x\" }", "status of a refusal"),
        (7, "/events\"", "/events\"\nfilters = [{ query = \"a\", topic = \"b\" }]", "needs a place for the value"),
        (8, "{data.id}", "{data.id", "not closed"),
        (8, "{data.id}", "{date.id}", "must begin with"),
        (7, "topic = \"book/{data.id}\"\n", "", "has no topic"),
        (9, "{scope.owner}\", \"role/admin\"", "{scope.owner}\", \"role/*\"", "has a `*`"),
        (9, "\"user/{scope.owner}\", ", "", "never reached"),
        (9, "[\"role/viewer\"]]", "[]]", "a rule without a grant"),
        (7, "audience = ", "#", "nobody would be given it"),
        (10, "[values]", "cases = [{ path = \"a[1]\", to = \"pascal\" }]\n[values]", "brackets are only"),
        (7, "\"book/{data.id}\"", "[]", "needs a topic"),
        (10, "[values]", "coalesce = { window = \"2s\", max_wait = \"1s\" }\n[values]", "shorter than"),
        (2, "\"app\"\n[grants", "\"app\"\ndescription = \"${values.nam}\"\n[grants", "did you mean `${values.name}`?"),
        (13, ".wrap", ".wrp", "did you mean `wrap`?"),
        (10, "[values]", "[auth]\nanonymus = \"reject\"\n[values]", "did you mean `anonymous`?"),
    ] {
        let text = GOOD.replacen(from, to, 1);
        assert_ne!(text, GOOD, "{from}");
        let report = check_text(&text);
        assert!(report.to_string().contains(says), "{says}: {report}");
        let near = lines(&report);
        assert!(near.contains(&line) || near.contains(&(line + 1)), "{says} in line {line}: {report}");
        assert_eq!(report.mistakes().len(), 1, "{report}");
    }
}

#[test]
fn all_mistakes_of_a_file_are_found_at_once() {
    let text = GOOD
        .replace("\"sse\"", "\"see\"")
        .replace("{data.id}", "{date.id}")
        .replace("[\"role/viewer\"]]", "[]]")
        .replace("[values]", "kept = \"yes\"\n[values]");
    let report = check_text(&text);
    // A mount of no known kind can't be looked into further; the rest can.
    assert_eq!(lines(&report), [5, 8, 9, 10], "{report}");
}

#[test]
fn a_mistake_within_a_template_is_pointed_at() {
    let report = check_text(&GOOD.replace("{data.id}", "{data.}"));
    assert!(report.to_string().contains("8 | topic = \"book/{data.}\"\n  |                ^"), "{report}");
}

#[test]
fn a_value_that_is_needed_is_asked_for_where_the_profile_is_used() {
    let text = GOOD
        .replace("name = \"x\"", "key = { needed = \"the key of the app\" }")
        .replace("name = \"app\"\n", "name = \"app\"\ndescription = \"${values.key}\"\n");
    assert!(check_text(&text).is_empty(), "{}", check_text(&text));
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("profile.toml"), text).unwrap();
    let settings = dir.path().join("server.toml");
    std::fs::write(&settings, "[[profiles]]\npath = \".\"\n").unwrap();
    let report = check(std::slice::from_ref(&settings));
    assert!(report.to_string().contains("needs the value `key`: the key of the app"), "{report}");
    std::fs::write(&settings, "[[profiles]]\npath = \".\"\nvalues = { key = \"k\" }\n").unwrap();
    assert!(check(&[settings]).is_empty());
}

#[test]
fn a_variant_lays_a_table_over_each_mount() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("profile.toml"), GOOD.replace("[variants.b]", "[variants.b]\nmounts.ids = false"))
        .unwrap();
    let mut report = Report::default();
    let loading = Loading::open(dir.path(), &mut report).unwrap();
    let loaded = loading.finish(&[At::nowhere("b".into())], &[], None, &mut report).unwrap();
    let crate::profile::Transport::Sse(stream) = &loaded.mounts[0].transport else { panic!("a stream") };
    assert!(!stream.ids && loaded.mounts[0].paths[0].path == "/events");
}

#[test]
fn profiles_in_each_others_way_are_an_error() {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [("a", GOOD.to_owned()), ("b", GOOD.replace("name = \"app\"", "name = \"b\""))] {
        std::fs::create_dir(dir.path().join(name)).unwrap();
        std::fs::write(dir.path().join(name).join("profile.toml"), text).unwrap();
    }
    let settings = dir.path().join("server.toml");
    let check_settings = |text: &str| {
        std::fs::write(&settings, text).unwrap();
        check(std::slice::from_ref(&settings))
    };
    let both = check_settings("[[profiles]]\npath = \"a\"\n[[profiles]]\npath = \"b\"\n");
    assert!(
        both.to_string().contains("the path /events of the profile \"b\" is taken by the profile \"app\""),
        "{both}"
    );
    let apart = check_settings("[[profiles]]\npath = \"a\"\n[[profiles]]\npath = \"b\"\nbase_path = \"/b/\"\n");
    assert!(apart.is_empty(), "{apart}");
    let twice = check_settings("[[profiles]]\npath = \"a\"\n[[profiles]]\npath = \"a\"\nbase_path = \"/b\"\n");
    assert!(twice.to_string().contains("share the namespace"), "{twice}");
    let wrong = check_settings(
        "[lanes]\ncuont = 1\n[[profiles]]\npath = \"a\"\nvariants = [\"bb\"]\nvalues = { nme = \"x\" }\n[[profiles]]\nname = \"nope\"\n",
    );
    assert_eq!(lines(&wrong), [2, 5, 6, 8], "{wrong}");
}

proptest::proptest! {
    #[test]
    fn a_profile_that_is_cut_and_mixed_up_is_checked_without_a_panic(from in 0usize..500, length in 0usize..60, with in "[\\[\\]{}=\"a.\n,$1]{0,6}") {
        let mut text: Vec<char> = GOOD.chars().collect();
        let from = from.min(text.len());
        text.splice(from..(from + length).min(text.len()), with.chars());
        let source = Source::file("profile.toml", text.into_iter().collect::<String>());
        let mut report = Report::default();
        let loading = Loading::read(&source, PathBuf::new(), &mut report);
        let made = loading.finish(&[At::nowhere("b".into())], &[], None, &mut report);
        // Whatever is wrong is said, and what is not wrong is made.
        proptest::prop_assert_eq!(made.is_some(), report.is_empty(), "{}", report);
        let _ = report.render(true);
    }
}
