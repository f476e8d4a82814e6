//! One app's part: which events it has, who may see them, how they look.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::draft::{Draft, DraftError};
use crate::event::NewEvent;
use crate::grant::{Audience, EVERYONE, Grants, Implications};
use crate::limits::Limits;
use crate::schema::DataSchema;
use crate::shape::Shape;
use crate::template::{Facts, Template};
use crate::topic::{Topic, TopicPattern};

/// The name of the rule for events that no other rule names.
pub const ANY_EVENT: &str = "*";
/// The most bytes of an event's name.
pub const MAX_NAME_BYTES: usize = 128;
/// The most bytes of a key.
pub const MAX_KEY_BYTES: usize = 512;

/// One app's part: its events, who may see them, and how they look.
///
/// Every topic and grant of a profile stands below its namespace, so that two apps in one process can't see each
/// other's events, also when both speak of `user/1`.
#[derive(Clone, Debug)]
pub struct Profile {
    name: Arc<str>,
    namespace: Option<Arc<str>>,
    implications: Implications,
    rules: HashMap<Arc<str>, Arc<EventRule>, foldhash::fast::RandomState>,
}

/// What one kind of event is: where it goes, who sees it, whether it is kept, how it looks.
#[derive(Clone, Debug)]
pub struct EventRule {
    /// The name as publishers write it, or `*`.
    pub name: Arc<str>,
    /// What it is about.
    pub topic: Template,
    /// What it is about where `topic` does not resolve: the first of these that does.
    pub other_topics: Vec<Template>,
    /// Who may see it: the first rule whose templates all resolve, and of that any of its grants.
    pub audience: Vec<Vec<Template>>,
    /// Whether it is kept in the log; else it is a signal.
    pub kept: bool,
    /// What it replaces.
    pub key: Option<Template>,
    /// What it replaces where `key` does not resolve: the first of these that does.
    pub other_keys: Vec<Template>,
    /// Whether only the newest by key matters within a time.
    pub coalesce: Option<Coalesce>,
    /// Whether the newest by key is given to each subscriber when it connects.
    pub retain: bool,
    /// Whether a draft may name its topic.
    pub publisher_topic: bool,
    /// Whether a draft may name its audience.
    pub publisher_audience: bool,
    /// What its data must be; `None` is anything. Signals too.
    pub schema: Option<Arc<dyn DataSchema>>,
    /// How it looks.
    pub shape: Shape,
}

/// How events are coalesced: the newest by key, after a time without another, and at the latest after `max_wait`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coalesce {
    /// How long to wait for a newer one.
    pub window: Duration,
    /// How long one may be held back in all.
    pub max_wait: Duration,
}

impl EventRule {
    /// A rule for `name`: kept, not coalesced, shown as it is, for these audiences.
    pub fn new(name: &str, topic: Template, audience: Vec<Vec<Template>>) -> Self {
        EventRule {
            name: name.into(),
            topic,
            other_topics: Vec::new(),
            audience,
            kept: true,
            key: None,
            other_keys: Vec::new(),
            coalesce: None,
            retain: false,
            publisher_topic: false,
            publisher_audience: false,
            schema: None,
            shape: Shape::default(),
        }
    }
}

impl Profile {
    /// A profile of these rules. The namespace is one segment.
    pub fn new(
        name: &str,
        namespace: Option<&str>,
        implications: Implications,
        rules: impl IntoIterator<Item = EventRule>,
    ) -> Self {
        let namespace: Option<Arc<str>> = namespace.map(|text| Topic::escape_segment(text).as_ref().into());
        let rules = rules.into_iter().map(|mut rule| {
            rule.shape = rule.shape.within(namespace.as_ref());
            (Arc::clone(&rule.name), Arc::new(rule))
        });
        Profile { name: name.into(), implications, rules: rules.collect(), namespace }
    }

    /// The built-in profile `default`: any event, on any topic, for whom the publisher names, else for everyone.
    pub fn open() -> Profile {
        let template = |text: &str| text.parse::<Template>().expect("a literal path is a template");
        let mut rule = EventRule::new(ANY_EVENT, template("events"), vec![vec![template(EVERYONE)]]);
        rule.publisher_topic = true;
        rule.publisher_audience = true;
        Profile::new("default", None, Implications::default(), [rule])
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first segment of each of its topics and grants.
    pub fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// Which of its grants bring others along; in its own words, without the namespace.
    pub fn implications(&self) -> &Implications {
        &self.implications
    }

    /// The rule for events of this name: its own, else the one for any event.
    pub fn rule(&self, name: &str) -> Option<&Arc<EventRule>> {
        self.rules.get(name).or_else(|| self.rules.get(ANY_EVENT))
    }

    /// All its rules, in no order.
    pub fn rules(&self) -> impl Iterator<Item = &Arc<EventRule>> {
        self.rules.values()
    }

    /// The path without the namespace; as it is if it has none or another.
    pub fn local<'a>(&self, path: &'a str) -> &'a str {
        self.namespace()
            .and_then(|namespace| path.strip_prefix(namespace)?.strip_prefix('/'))
            .filter(|rest| !rest.is_empty())
            .unwrap_or(path)
    }

    /// The path below the namespace.
    pub fn qualify(&self, path: &str) -> String {
        match &self.namespace {
            Some(namespace) => format!("{namespace}/{path}"),
            None => path.to_owned(),
        }
    }

    /// What a principal holds that was given `grants` in the profile's own words: these, `everyone`, and what follows from
    /// them, all below the namespace. One that is too long with the namespace is left out.
    pub fn hold(&self, grants: impl IntoIterator<Item = TopicPattern>) -> Grants {
        let everyone = EVERYONE.parse().ok();
        let held = self.implications.expand(grants.into_iter().chain(everyone));
        if self.namespace.is_none() {
            return held;
        }
        Grants::new(held.iter().filter_map(|grant| self.qualify(grant.as_str()).parse().ok()))
    }

    /// Makes the event of what a publisher handed in: derives its topic, audience and key, and leaves the data untouched.
    ///
    /// The data and the scope are looked into only where a template needs them. An audience that can't be derived is an
    /// error, never everyone.
    pub fn derive(&self, draft: Draft, now: Timestamp, limits: &Limits) -> Result<NewEvent, DraftError> {
        check_name(&draft.name)?;
        let Some(rule) = self.rule(&draft.name) else {
            let detail = format!("the profile {:?} has no event {:?}", self.name, draft.name);
            return Err(DraftError::new("name", "unknown-event", detail));
        };
        if draft.data.get().len() > limits.event_data {
            let detail = format!("{} bytes are more than {}", draft.data.get().len(), limits.event_data);
            return Err(DraftError::new("data", "data-too-large", detail));
        }
        let scope = draft.scope.as_deref().map_or("", |scope| scope.get());
        if scope.len() > limits.event_scope {
            let detail = format!("{} bytes are more than {}", scope.len(), limits.event_scope);
            return Err(DraftError::new("scope", "scope-too-large", detail));
        }
        if !scope.is_empty() && !scope.starts_with('{') {
            return Err(DraftError::new("scope", "invalid-scope", "it must be an object"));
        }
        let facts = Facts { data: draft.data.get(), scope };
        let topic = self.topic(rule, draft.topic.as_deref(), facts)?;
        let audience = self.audience(rule, draft.audience.as_deref(), facts, limits)?;
        let key = self.key(rule, draft.key, facts, &topic)?;
        // Last, as it costs most.
        if let Some(schema) = &rule.schema {
            schema.check(draft.data.get()).map_err(|fault| fault.into_error())?;
        }
        let name = if *rule.name == draft.name { Arc::clone(&rule.name) } else { draft.name.into() };
        Ok(NewEvent {
            name,
            topic,
            audience,
            key,
            time: now,
            kept: draft.signal.map_or(rule.kept, |signal| !signal),
            dedup: None,
            scope: draft.scope.map(into_bytes).unwrap_or_default(),
            data: into_bytes(draft.data),
        })
    }

    fn topic(&self, rule: &EventRule, given: Option<&str>, facts: Facts<'_>) -> Result<Topic, DraftError> {
        let path = match given {
            Some(_) if !rule.publisher_topic => {
                let detail = format!("the profile {:?} derives it ({}); leave it out", self.name, rule.topic);
                return Err(DraftError::new("topic", "not-allowed", detail));
            }
            Some(topic) => topic.to_owned(),
            None => {
                let resolved = rule.topic.resolve(facts);
                let others = || rule.other_topics.iter().find_map(|topic| topic.resolve(facts).ok());
                resolved.or_else(|field| others().ok_or(field)).map_err(|field| {
                    let detail = format!("the topic {} needs a string, number or bool here", rule.topic);
                    DraftError::new(field.to_string(), "unresolved-topic", detail)
                })?
            }
        };
        let checked = path.parse::<Topic>().and_then(|topic| match self.namespace {
            Some(_) => self.qualify(&path).parse(),
            None => Ok(topic),
        });
        checked.map_err(|error| DraftError::new("topic", "invalid-topic", error.to_string()))
    }

    fn audience(
        &self,
        rule: &EventRule,
        given: Option<&[String]>,
        facts: Facts<'_>,
        limits: &Limits,
    ) -> Result<Audience, DraftError> {
        let grants = match given {
            Some(_) if !rule.publisher_audience => {
                let detail = format!("the profile {:?} derives it; leave it out", self.name);
                return Err(DraftError::new("audience", "not-allowed", detail));
            }
            Some([]) => return Err(DraftError::new("audience", "invalid-audience", "an empty audience is nobody")),
            Some(grants) if grants.len() > limits.audience_grants => {
                let detail = format!("{} grants are more than {}", grants.len(), limits.audience_grants);
                return Err(DraftError::new("audience", "invalid-audience", detail));
            }
            Some(grants) => grants.to_vec(),
            None => first_resolving(rule, facts)?,
        };
        let parse = |grant: &String| {
            // Checked before the namespace is put before it: `app//x` says less than `/x`.
            let checked = grant.parse::<Topic>().and_then(|topic| match self.namespace {
                Some(_) => self.qualify(grant).parse(),
                None => Ok(topic),
            });
            checked.map_err(|error| DraftError::new("audience", "invalid-audience", error.to_string()))
        };
        Ok(Audience::new(grants.iter().map(parse).collect::<Result<Vec<_>, _>>()?))
    }

    fn key(
        &self,
        rule: &EventRule,
        given: Option<String>,
        facts: Facts<'_>,
        topic: &Topic,
    ) -> Result<Option<Arc<str>>, DraftError> {
        let key = given.or_else(|| rule.key.iter().chain(&rule.other_keys).find_map(|key| key.resolve(facts).ok()));
        let Some(key) = key else {
            // What is coalesced or retained needs one: the newest on each topic. Not where the rule has a key that does not
            // resolve: things that differ would be taken for one.
            let by_topic = rule.key.is_none() && (rule.coalesce.is_some() || rule.retain);
            return Ok(by_topic.then(|| topic.as_str().into()));
        };
        if key.is_empty() || key.len() > MAX_KEY_BYTES || key.chars().any(char::is_control) {
            return Err(DraftError::new("key", "invalid-key", "it must be 1 to 512 bytes without control characters"));
        }
        Ok(Some(self.qualify(&key).into()))
    }
}

/// The grants of the first audience rule whose places can all be filled.
///
/// The next rule is for events that have nothing there, which may be the one for everybody: what is there and fits no place, like
/// an owner that is a list, is refused.
fn first_resolving(rule: &EventRule, facts: Facts<'_>) -> Result<Vec<String>, DraftError> {
    let mut missing: Vec<String> = Vec::new();
    for any_of in &rule.audience {
        match any_of.iter().map(|template| template.resolve(facts)).collect::<Result<Vec<_>, _>>() {
            Ok(grants) if !grants.is_empty() => return Ok(grants),
            Ok(_) => {}
            Err(field) if !field.is_absent(facts) => {
                let detail =
                    "it decides who may see the event: a text that is not empty, a number or a bool, or left out";
                return Err(DraftError::new(field.to_string(), "unresolved-audience", detail));
            }
            Err(field) => missing.push(field.to_string()),
        }
    }
    missing.dedup();
    let field = missing.first().cloned().unwrap_or_else(|| "audience".to_owned());
    let needs = if missing.is_empty() { "there is none".to_owned() } else { format!("needs {}", missing.join(" or ")) };
    Err(DraftError::new(field, "unresolved-audience", format!("no audience rule resolves: {needs}")))
}

fn check_name(name: &str) -> Result<(), DraftError> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
        return Err(DraftError::new("name", "invalid-name", "it must be 1 to 128 bytes without control characters"));
    }
    Ok(())
}

/// The text, without a copy.
fn into_bytes(raw: Box<serde_json::value::RawValue>) -> Bytes {
    Bytes::from(Box::<str>::from(raw).into_boxed_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn template(text: &str) -> Template {
        text.parse().unwrap()
    }

    fn rule(name: &str, topic: &str, audience: &[&[&str]]) -> EventRule {
        let rules = audience.iter().map(|any_of| any_of.iter().map(|text| template(text)).collect()).collect();
        EventRule::new(name, template(topic), rules)
    }

    fn profile() -> Profile {
        Profile::new(
            "app",
            Some("app"),
            Implications::new([("role/admin".into(), vec!["role/viewer".into()])]).unwrap(),
            [
                rule("book", "library/{scope.library}", &[&["library/{scope.library}/read"]]),
                rule("backup", "backups", &[&["library/{data.library}/admin"], &["role/admin"]]),
                rule("owned", "owned", &[&["user/{scope.owner}", "role/admin"]]),
            ],
        )
    }

    fn derive(profile: &Profile, draft: Value) -> Result<NewEvent, DraftError> {
        profile.derive(serde_json::from_value(draft).unwrap(), Timestamp(1), &Limits::default())
    }

    fn audience(event: &NewEvent) -> Vec<&str> {
        event.audience.grants().iter().map(Topic::as_str).collect()
    }

    #[test]
    fn topic_and_audience_are_derived_below_the_namespace() {
        let event = derive(&profile(), json!({"name": "book", "scope": {"library": "l/1"}, "data": [1]})).unwrap();
        assert_eq!(event.topic.as_str(), "app/library/l%2F1");
        assert_eq!(audience(&event), ["app/library/l%2F1/read"]);
        assert_eq!((event.data.as_ref(), event.kept), (&b"[1]"[..], true));
        assert_eq!(profile().local(event.topic.as_str()), "library/l%2F1");
    }

    #[test]
    fn the_first_rule_that_resolves_decides() {
        let one = derive(&profile(), json!({"name": "backup", "data": {"library": "l1"}})).unwrap();
        assert_eq!(audience(&one), ["app/library/l1/admin"]);
        let none = derive(&profile(), json!({"name": "backup", "data": {"library": null}})).unwrap();
        assert_eq!(audience(&none), ["app/role/admin"]);
    }

    #[test]
    fn an_event_is_about_the_first_topic_that_resolves() {
        let mut rule = rule("e", "library/{data.library}", &[&["everyone"]]);
        rule.other_topics = vec![template("backup/{data.id}"), template("server")];
        let profile = Profile::new("a", None, Implications::default(), [rule]);
        for (data, topic) in
            [(json!({"library": 1, "id": 2}), "library/1"), (json!({"id": 2}), "backup/2"), (json!(0), "server")]
        {
            assert_eq!(derive(&profile, json!({"name": "e", "data": data})).unwrap().topic.as_str(), topic);
        }
    }

    #[test]
    fn an_audience_that_does_not_resolve_is_an_error_and_never_everyone() {
        let error = derive(&profile(), json!({"name": "owned"})).unwrap_err();
        assert_eq!((error.field.as_str(), error.code), ("scope.owner", "unresolved-audience"));
        assert_eq!(error.detail, "no audience rule resolves: needs scope.owner");
    }

    #[test]
    fn the_rule_for_everybody_is_for_events_without_an_owner_and_never_for_one_whose_owner_is_no_name() {
        let rule = rule("book", "books", &[&["user/{scope.owner.id}", "role/admin"], &["everyone"]]);
        let profile = Profile::new("a", None, Implications::default(), [rule]);
        for scope in
            [json!(null), json!({}), json!({"owner": null}), json!({"owner": {}}), json!({"owner": {"id": null}})]
        {
            let draft = json!({"name": "book", "scope": scope});
            assert_eq!(audience(&derive(&profile, draft).unwrap()), ["everyone"], "{scope}");
        }
        for owner in [json!({"id": [2]}), json!({"id": {"n": 9}}), json!({"id": ""}), json!([2]), json!(2), json!("2")]
        {
            let error = derive(&profile, json!({"name": "book", "scope": {"owner": owner}})).unwrap_err();
            assert_eq!((error.field.as_str(), error.code), ("scope.owner.id", "unresolved-audience"), "{owner}");
        }
        // It is not known whether it has an owner: half a character is no text.
        let draft = r#"{"name": "book", "scope": {"owner": {"id": "\ud800"}}}"#;
        assert!(profile.derive(serde_json::from_str(draft).unwrap(), Timestamp(1), &Limits::default()).is_err());
    }

    #[test]
    fn mistakes_name_their_field() {
        for (draft, field, code) in [
            (json!({"name": ""}), "name", "invalid-name"),
            (json!({"name": "a\nb"}), "name", "invalid-name"),
            (json!({"name": "nope"}), "name", "unknown-event"),
            (json!({"name": "book"}), "scope.library", "unresolved-topic"),
            (json!({"name": "book", "scope": [1]}), "scope", "invalid-scope"),
            (json!({"name": "book", "scope": {"library": "x".repeat(600)}}), "topic", "invalid-topic"),
            (json!({"name": "book", "scope": {"library": "x".repeat(20_000)}}), "scope", "scope-too-large"),
            (json!({"name": "backup", "data": "x".repeat(1 << 20)}), "data", "data-too-large"),
            (json!({"name": "backup", "topic": "a"}), "topic", "not-allowed"),
            (json!({"name": "backup", "audience": ["a"]}), "audience", "not-allowed"),
            (json!({"name": "backup", "key": ""}), "key", "invalid-key"),
        ] {
            let error = derive(&profile(), draft.clone()).unwrap_err();
            assert_eq!((error.field.as_str(), error.code), (field, code), "{error}");
        }
    }

    #[derive(Debug)]
    struct Never;

    impl crate::DataSchema for Never {
        fn check(&self, _: &str) -> Result<(), crate::SchemaFault> {
            Err(crate::SchemaFault { pointer: "/books/0".into(), detail: "it must be a book".into() })
        }
    }

    #[test]
    fn data_that_does_not_fit_the_schema_is_refused_with_its_place_whether_it_is_kept_or_not() {
        let mut rule = rule("book", "books/{data.id}", &[&["everyone"]]);
        rule.schema = Some(Arc::new(Never));
        let profile = Profile::new("a", Some("a"), Implications::default(), [rule]);
        for signal in [true, false] {
            let draft = json!({"name": "book", "data": {"id": 1}, "signal": signal});
            let error = derive(&profile, draft).unwrap_err();
            assert_eq!(error.to_string(), "data/books/0: it must be a book");
            assert_eq!((error.code, error.is_too_large()), ("schema", false));
        }
        // What it is about is looked for first.
        assert_eq!(derive(&profile, json!({"name": "book"})).unwrap_err().code, "unresolved-topic");
    }

    #[test]
    fn the_open_profile_takes_what_the_publisher_says_and_else_tells_everyone() {
        let open = Profile::open();
        let event = derive(&open, json!({"name": "x"})).unwrap();
        assert_eq!((event.topic.as_str(), audience(&event)), ("events", vec!["everyone"]));
        let event = derive(&open, json!({"name": "x", "topic": "a/b", "audience": ["u/1"], "signal": true})).unwrap();
        assert_eq!((event.topic.as_str(), audience(&event), event.kept), ("a/b", vec!["u/1"], false));
        for draft in [
            json!({"name": "x", "topic": "a//b"}),
            json!({"name": "x", "audience": []}),
            json!({"name": "x", "audience": ["*"]}),
            json!({"name": "x", "audience": (0..65).map(|n| n.to_string()).collect::<Vec<_>>()}),
        ] {
            assert!(derive(&open, draft.clone()).is_err(), "{draft}");
        }
    }

    #[test]
    fn what_is_retained_without_a_key_is_the_newest_on_its_topic() {
        let mut rule = rule("state", "server", &[&["everyone"]]);
        rule.retain = true;
        let profile = Profile::new("a", Some("a"), Implications::default(), [rule]);
        assert_eq!(derive(&profile, json!({"name": "state"})).unwrap().key.as_deref(), Some("a/server"));
        assert_eq!(derive(&profile, json!({"name": "state", "key": "k"})).unwrap().key.as_deref(), Some("a/k"));
        let mut rule = self::rule("state", "server", &[&["everyone"]]);
        (rule.retain, rule.key) = (true, Some(template("{data.id}")));
        let profile = Profile::new("a", Some("a"), Implications::default(), [rule]);
        assert_eq!(derive(&profile, json!({"name": "state", "data": {"id": 1}})).unwrap().key.as_deref(), Some("a/1"));
        assert_eq!(derive(&profile, json!({"name": "state"})).unwrap().key, None);
    }

    #[test]
    fn data_may_have_another_form_on_the_way_to_what_decides_and_is_taken_by_the_rule_for_that() {
        let rules: &[&[&str]] =
            &[&["library/{data.backup.backup.library}"], &["library/{data.backup.library}"], &["admin"]];
        let profile = Profile::new("a", None, Implications::default(), [rule("backup", "backups", rules)]);
        for (data, seen_by) in [
            (json!({"backup": {"backup": {"library": "l"}}}), "library/l"),
            (json!({"backup": {"backup": "b1", "library": "l"}}), "library/l"),
            (json!({"backup": {"backup": "b1"}}), "admin"),
            (json!("b1"), "admin"),
        ] {
            assert_eq!(
                audience(&derive(&profile, json!({"name": "backup", "data": data})).unwrap()),
                [seen_by],
                "{data}"
            );
        }
        let list = json!({"name": "backup", "data": {"backup": {"backup": {"library": ["l"]}}}});
        assert_eq!(derive(&profile, list).unwrap_err().code, "unresolved-audience");
    }

    #[test]
    fn an_event_replaces_by_the_first_key_that_resolves() {
        let mut rule = rule("e", "t", &[&["everyone"]]);
        (rule.key, rule.other_keys) = (Some(template("{data.progress.id}")), vec![template("{data.media}")]);
        let profile = Profile::new("a", None, Implications::default(), [rule]);
        for (data, key) in [
            (json!({"progress": {"id": "p"}, "media": "m"}), Some("p")),
            (json!({"progress": 100, "media": "m"}), Some("m")),
            (json!({"progress": 100}), None),
        ] {
            assert_eq!(derive(&profile, json!({"name": "e", "data": data})).unwrap().key.as_deref(), key);
        }
    }

    #[test]
    fn a_principal_holds_what_follows_and_everyone_below_the_namespace() {
        let held = profile().hold(["role/admin".parse().unwrap(), "**".parse().unwrap()]);
        assert!(held.holds("app/role/viewer") && held.holds("app/everyone"));
        assert!(!held.holds("role/admin") && !held.holds("other/role/viewer"));
    }

    fn anything() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<f64>().prop_map(|n| json!(n)),
            ".{0,12}".prop_map(Value::from),
            "[/*%.a]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("library|owner|x", inner, 0..3)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn deriving_from_any_json_does_not_panic(
            name in "book|backup|owned|.{0,4}", data in anything(), scope in anything(), topic: Option<String>, key: Option<String>,
        ) {
            for profile in [profile(), Profile::open()] {
                let draft = json!({"name": name, "data": data, "scope": scope, "topic": topic, "key": key});
                if let Ok(event) = derive(&profile, draft) {
                    prop_assert!(!event.audience.is_empty());
                }
            }
        }

        #[test]
        fn no_value_widens_an_audience(value in "[/*%.{}a]{1,12}") {
            let event = derive(&profile(), json!({"name": "book", "scope": {"library": value}})).unwrap();
            // Whoever holds just this library sees it, and whoever holds another does not.
            let own = Topic::escape_segment(&value);
            let own = profile().hold([format!("library/{own}/read").parse().unwrap()]);
            prop_assert!(own.meets(&event.audience).is_some());
            let others = profile().hold(["library/b/read".parse().unwrap(), "role/admin".parse().unwrap()]);
            prop_assert!(others.meets(&event.audience).is_none());
        }

        #[test]
        fn rules_before_the_first_that_resolves_and_after_it_do_not_matter(
            resolving in prop::collection::vec(any::<bool>(), 1..6),
        ) {
            let audience: Vec<Vec<Template>> = resolving.iter().enumerate()
                .map(|(n, ok)| vec![template(&format!("g{n}")), template(if *ok { "{scope.here}" } else { "{scope.gone}" })])
                .collect();
            let profile = Profile::new("a", None, Implications::default(), [EventRule::new("e", template("t"), audience)]);
            let derived = derive(&profile, json!({"name": "e", "scope": {"here": 1}}));
            match resolving.iter().position(|ok| *ok) {
                Some(first) => {
                    let event = derived.unwrap();
                    prop_assert_eq!(super::tests::audience(&event), [format!("g{first}"), "1".to_owned()]);
                }
                None => prop_assert_eq!(derived.unwrap_err().code, "unresolved-audience"),
            }
        }
    }
}
