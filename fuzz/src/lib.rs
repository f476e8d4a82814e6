//! What several targets share.

use std::time::Duration;

use tidings::{Case, Coalesce, EventRule, Implications, Profile, Redaction, Shape};

/// A profile with a rule for each thing that a rule can say.
pub fn rich_profile() -> Profile {
    let rule = |name: &str, topic: &str, audience: &[&[&str]]| {
        let audience = audience.iter().map(|any_of| any_of.iter().map(|text| template(text)).collect()).collect();
        EventRule::new(name, template(topic), audience)
    };
    let book = EventRule {
        key: Some(template("{data.id}")),
        retain: true,
        shape: Shape::default()
            .named("Book")
            .expect("a name")
            .wrapped("Book")
            .case(path("action"), Case::Pascal)
            .redact(redaction("library.key", &["library/{data.library.id}/admin"], true))
            .and_then(|shape| shape.redact(redaction("files[].path", &[], false)))
            .expect("two redactions are not too many"),
        ..rule("book", "library/{scope.library}", &[&["library/{scope.library}/read"]])
    };
    let backup = EventRule {
        other_topics: vec![template("user/{scope.owner}"), template("backups")],
        coalesce: Some(Coalesce { window: Duration::from_millis(100), max_wait: Duration::from_secs(1) }),
        ..rule("backup", "library/{data.library}/backups", &[&["library/{data.library}/admin"], &["role/admin"]])
    };
    let any = EventRule {
        publisher_topic: true,
        publisher_audience: true,
        kept: false,
        ..rule("*", "any/{data.id}", &[&["user/{scope.owner}", "user/{data.a.b}"]])
    };
    let implications = Implications::new([("role/admin".into(), vec!["role/viewer".into()])]);
    Profile::new("app", Some("app"), implications.expect("no ring"), [book, backup, any])
}

fn template(text: &str) -> tidings::Template {
    text.parse().expect("a literal template")
}

fn path(text: &str) -> tidings::JsonPath {
    text.parse().expect("a literal path")
}

fn redaction(at: &str, unless: &[&str], with_null: bool) -> Redaction {
    Redaction { path: path(at), unless: unless.iter().map(|text| template(text)).collect(), with_null }
}
