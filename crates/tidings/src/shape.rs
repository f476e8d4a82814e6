//! How an event looks on the wire of one profile.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;

use crate::cursor::Cursor;
use crate::entry::Entry;
use crate::event::NewEvent;
use crate::form::{Form, FormFacts};
use crate::grant::Grants;
use crate::json::{self, Edit, JsonPath};
use crate::profile::Profile;
use crate::template::{Facts, Template};

/// How an event looks: its name on the wire, what is redacted for whom, the case of values, the form, the wrapper.
///
/// The default changes nothing. What is not declared is never touched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    name: Option<String>,
    /// `{"Key":`, ready to be put before the data.
    wrap: Option<String>,
    cases: Vec<(JsonPath, Case)>,
    redactions: Vec<Redaction>,
    form: Option<Arc<Form>>,
    args: Args,
    namespace: Option<Arc<str>>,
}

/// Values that only some may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redaction {
    /// Where they stand.
    pub path: JsonPath,
    /// Who holds any of these sees them; an unless that does not resolve is held by nobody.
    pub unless: Vec<Template>,
    /// What the others see: `null` in their place, or nothing at all.
    pub with_null: bool,
}

/// How many arguments an event has where the transport can carry several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Args {
    /// The name alone.
    Zero,
    /// The data.
    #[default]
    One,
    /// The elements of the data, an array.
    Spread,
}

/// How the words of a value are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// `InProgress`
    Pascal,
    /// `inProgress`
    Camel,
    /// `in_progress`
    Snake,
    /// `in-progress`
    Kebab,
    /// `inprogress`: no word is looked for.
    Lower,
    /// `INPROGRESS`: no word is looked for.
    Upper,
}

/// A shape that can't be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidShape {
    /// A name on the wire is empty, too long or has control characters, with which it could make up fields.
    #[error("{0:?} can't be a name on the wire: 1 to 128 bytes without control characters")]
    Name(String),
    /// A variant is a set of 32 bits.
    #[error("an event can have at most 32 redactions")]
    TooManyRedactions,
}

impl Shape {
    /// The same with another name on the wire.
    pub fn named(mut self, name: &str) -> Result<Self, InvalidShape> {
        if name.is_empty() || name.len() > 128 || name.chars().any(char::is_control) {
            return Err(InvalidShape::Name(name.chars().take(128).collect()));
        }
        self.name = Some(name.to_owned());
        Ok(self)
    }

    /// The same with the data in an object with this one key.
    pub fn wrapped(mut self, key: &str) -> Self {
        self.wrap = Some(format!("{{{}:", json::quoted(key)));
        self
    }

    /// The same with the strings at a path in this case.
    pub fn case(mut self, path: JsonPath, case: Case) -> Self {
        self.cases.push((path, case));
        self
    }

    /// The same with one more redaction.
    pub fn redact(mut self, redaction: Redaction) -> Result<Self, InvalidShape> {
        if self.redactions.len() == 32 {
            return Err(InvalidShape::TooManyRedactions);
        }
        self.redactions.push(redaction);
        Ok(self)
    }

    /// The same with the data in this form, which is filled from what the redactions and cases leave of it.
    pub fn with_form(mut self, form: Form) -> Self {
        self.form = Some(Arc::new(form));
        self
    }

    /// The same for events of this name, in the place of the shape that `profile` gives them: what that hides is hidden here too.
    pub fn in_place_of(mut self, profile: &Profile, name: &str) -> Result<Self, InvalidShape> {
        let hidden = profile.rule(name).map(|rule| rule.shape.redactions.clone());
        let own = std::mem::replace(&mut self.redactions, hidden.unwrap_or_default());
        self.namespace = profile.namespace().map(Arc::from);
        own.into_iter().try_fold(self, |shape, redaction| match shape.redactions.contains(&redaction) {
            true => Ok(shape),
            false => shape.redact(redaction),
        })
    }

    /// Whether the entry is an event of the profile whose shape this is. The built-in profile's streams tell events of others too.
    pub fn is_for(&self, entry: &Entry) -> bool {
        match &self.namespace {
            Some(namespace) => local(entry.event.topic.as_str(), namespace).is_some(),
            None => entry.rule.shape.namespace.is_none(),
        }
    }

    /// The same with this many arguments.
    pub fn with_args(mut self, args: Args) -> Self {
        self.args = args;
        self
    }

    /// The same for grants below `namespace`.
    pub(crate) fn within(mut self, namespace: Option<&Arc<str>>) -> Self {
        self.namespace = namespace.cloned();
        self
    }

    /// The name on the wire.
    pub fn wire_name<'a>(&'a self, event: &'a NewEvent) -> &'a str {
        self.name.as_deref().unwrap_or(&event.name)
    }

    /// How many arguments the event has.
    pub fn args(&self) -> Args {
        self.args
    }

    /// The key that the data is wrapped in.
    pub fn wrap(&self) -> Option<String> {
        serde_json::from_str(self.wrap.as_deref()?.strip_prefix('{')?.strip_suffix(':')?).ok()
    }

    /// The strings that are told in another case, by where they stand.
    pub fn cases(&self) -> &[(JsonPath, Case)] {
        &self.cases
    }

    /// The form that the data is put into.
    pub fn form(&self) -> Option<&Form> {
        self.form.as_deref()
    }

    /// The name on the wire, where it is another than the event's own.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// What is redacted for some.
    pub fn redactions(&self) -> &[Redaction] {
        &self.redactions
    }

    /// Which redactions apply to who holds `grants`: bit i for redaction i. Who has the same variant is shown the same bytes.
    pub fn variant(&self, grants: &Grants, event: &NewEvent) -> u32 {
        let mut variant = 0;
        for (index, redaction) in self.redactions.iter().enumerate() {
            let facts = || Facts::new(&event.data, &event.scope);
            let exempt = redaction.unless.iter().any(|template| {
                template.resolve(facts()).is_ok_and(|grant| match &self.namespace {
                    Some(namespace) => grants.holds(&format!("{namespace}/{grant}")),
                    None => grants.holds(&grant),
                })
            });
            if !exempt {
                variant |= 1 << index;
            }
        }
        variant
    }

    /// The data as it is shown: redacted, its cases changed, put into its form, wrapped, in that order. Without any of these it
    /// is the event's own bytes.
    ///
    /// It never fails. Data without the path of a redaction stays as it is; data that is no JSON at all is shown as
    /// `null` where something was to be redacted.
    pub fn render(&self, event: &NewEvent, variant: u32) -> Bytes {
        self.render_at(event, variant, None, true)
    }

    /// The same without the wrapper, for a transport on which the app shows its events bare.
    pub fn render_bare(&self, event: &NewEvent, variant: u32) -> Bytes {
        self.render_at(event, variant, None, false)
    }

    /// The same with or without the wrapper, for a reader who is told the event's place: a form may show it.
    pub fn render_at(&self, event: &NewEvent, variant: u32, cursor: Option<Cursor>, wrapped: bool) -> Bytes {
        let wrap = self.wrap.as_deref().filter(|_| wrapped);
        if wrap.is_none() && self.form.is_none() && self.cases.is_empty() && variant == 0 {
            return event.data.clone();
        }
        let shown = self.edited(&event.data, variant);
        match &self.form {
            Some(form) => {
                let filled = form.render(&self.facts(event, &shown, cursor));
                match wrap {
                    Some(wrap) => [wrap.as_bytes(), &filled, b"}"].concat().into(),
                    None => filled,
                }
            }
            None => wrapped_text(wrap, &shown),
        }
    }

    /// The data with what is to be redacted gone and its cases changed. `null` where it can't be redacted, as it then might hold
    /// just what was to be hidden.
    fn edited<'a>(&self, data: &'a [u8], variant: u32) -> Cow<'a, str> {
        let Ok(text) = std::str::from_utf8(data) else { return "null".into() };
        let mut shown = Cow::Borrowed(text);
        for (_, redaction) in self.redactions.iter().enumerate().filter(|(index, _)| variant & (1 << index) != 0) {
            let how = if redaction.with_null { Edit::Replace("null") } else { Edit::Remove };
            shown = match json::edit(shown.trim_ascii(), &redaction.path, how) {
                Ok(edited) => edited.into(),
                Err(json::Malformed) => return "null".into(),
            };
        }
        for (path, case) in &self.cases {
            if let Ok(edited) = json::edit(shown.trim_ascii(), path, Edit::Strings(case.changer())) {
                shown = edited.into();
            }
        }
        shown
    }

    fn facts<'a>(&self, event: &'a NewEvent, data: &'a str, cursor: Option<Cursor>) -> FormFacts<'a> {
        let topic = event.topic.as_str();
        let topic = self.namespace.as_deref().and_then(|namespace| local(topic, namespace)).unwrap_or(topic);
        FormFacts { data: data.as_bytes(), name: &event.name, topic, time: event.time, cursor, more: &[] }
    }
}

/// A topic without this namespace, if it has it.
fn local<'a>(topic: &'a str, namespace: &str) -> Option<&'a str> {
    topic.strip_prefix(namespace)?.strip_prefix('/')
}

fn wrapped_text(wrap: Option<&str>, data: &str) -> Bytes {
    match wrap {
        Some(wrap) => format!("{wrap}{data}}}").into(),
        None => Bytes::copy_from_slice(data.as_bytes()),
    }
}

impl Case {
    /// The text in this case.
    pub fn change(self, text: &str) -> String {
        self.changer()(text)
    }

    fn changer(self) -> fn(&str) -> String {
        match self {
            Case::Pascal => |text| words(text).map(|word| capitalised(&word)).collect(),
            Case::Camel => |text| {
                let change = |(index, word): (usize, String)| if index == 0 { word } else { capitalised(&word) };
                words(text).enumerate().map(change).collect()
            },
            Case::Snake => |text| words(text).collect::<Vec<_>>().join("_"),
            Case::Kebab => |text| words(text).collect::<Vec<_>>().join("-"),
            Case::Lower => |text| text.to_lowercase(),
            Case::Upper => |text| text.to_uppercase(),
        }
    }
}

fn capitalised(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// The words of a name in any case, in lower case: split at `_`, `-`, space, and before a capital that begins a word.
fn words(text: &str) -> impl Iterator<Item = String> {
    let chars: Vec<char> = text.chars().collect();
    let mut words = vec![String::new()];
    for (index, &c) in chars.iter().enumerate() {
        if matches!(c, '_' | '-' | ' ') {
            words.push(String::new());
            continue;
        }
        let after_lower = index > 0 && !chars[index - 1].is_uppercase();
        let before_lower = chars.get(index + 1).is_some_and(|next| next.is_lowercase());
        if c.is_uppercase() && index > 0 && (after_lower || before_lower) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.extend(c.to_lowercase());
        }
    }
    words.into_iter().filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::cursor::Offset;
    use crate::event::Event;
    use crate::form::{FormNode, FormWords};
    use crate::grant::Audience;
    use crate::profile::EventRule;
    use proptest::prelude::*;

    fn event(data: &str) -> NewEvent {
        NewEvent {
            name: "e".into(),
            topic: "t".parse().unwrap(),
            data: Bytes::copy_from_slice(data.as_bytes()),
            scope: Bytes::new(),
            audience: Audience::default(),
            key: None,
            time: Timestamp(0),
            kept: true,
            dedup: None,
        }
    }

    fn redaction(path: &str, unless: &[&str], with_null: bool) -> Redaction {
        Redaction {
            path: path.parse().unwrap(),
            unless: unless.iter().map(|text| text.parse().unwrap()).collect(),
            with_null,
        }
    }

    #[test]
    fn without_shape_work_the_bytes_are_shared() {
        let event = event(r#"{ "a" : 1 }"#);
        let shown = Shape::default().render(&event, 0);
        assert_eq!(shown.as_ptr(), event.data.as_ptr());
        let redacting = Shape::default().redact(redaction("a", &["role/admin"], true)).unwrap();
        assert_eq!(redacting.render(&event, 0).as_ptr(), event.data.as_ptr());
    }

    #[test]
    fn a_redaction_spares_who_holds_one_of_its_grants() {
        let shape = Shape::default()
            .redact(redaction("library.key", &["library/{data.library.id}/admin", "role/admin"], true))
            .unwrap()
            .redact(redaction("path", &[], false))
            .unwrap()
            .within(Some(&"app".into()));
        let event = event(r#"{"library":{"id":"l1","key":"s"},"path":"/x","b":2}"#);
        for (grants, variant, shown) in [
            ("app/library/l1/admin", 0b10, r#"{"library":{"id":"l1","key":"s"},"b":2}"#),
            ("app/role/admin", 0b10, r#"{"library":{"id":"l1","key":"s"},"b":2}"#),
            ("library/l1/admin", 0b11, r#"{"library":{"id":"l1","key":null},"b":2}"#),
            ("app/library/l2/admin", 0b11, r#"{"library":{"id":"l1","key":null},"b":2}"#),
        ] {
            let held = Grants::parse([grants]).unwrap();
            assert_eq!(shape.variant(&held, &event), variant, "{grants}");
            assert_eq!(shape.render(&event, variant), shown, "{grants}");
        }
    }

    #[test]
    fn without_a_namespace_grants_are_compared_as_they_are() {
        let shape = Shape::default().redact(redaction("key", &["user/{data.id}"], true)).unwrap();
        let event = event(r#"{"id":1,"key":"s"}"#);
        let variant = |grant: &str| shape.variant(&Grants::parse([grant]).unwrap(), &event);
        assert_eq!((variant("user/1"), variant("user/2")), (0, 1));
    }

    #[test]
    fn redaction_comes_before_case_and_case_before_the_wrapper() {
        let shape = Shape::default()
            .wrapped("Medias")
            .case("medias[].action".parse().unwrap(), Case::Pascal)
            .redact(redaction("medias[].secret", &[], false))
            .unwrap();
        let event = event(r#"{"medias":[{"action":"added","secret":1},{"action":7}]}"#);
        assert_eq!(shape.render(&event, 1), r#"{"Medias":{"medias":[{"action":"Added"},{"action":7}]}}"#);
    }

    fn form(members: &[(&str, &str)]) -> Form {
        let members = members.iter().map(|(name, text)| (name.to_string(), FormNode::Text(text.to_string())));
        Form::new(&FormNode::Object(members.collect()), &FormWords::new(), &[]).unwrap()
    }

    #[test]
    fn a_form_is_filled_after_redaction_and_case_and_before_the_wrapper() {
        let shape = Shape::default()
            .wrapped("Job")
            .case("state".parse().unwrap(), Case::Pascal)
            .redact(redaction("owner", &["role/admin"], false))
            .unwrap()
            .with_form(form(&[
                ("status", "{data.state}"),
                ("by", "{data.owner}"),
                ("on", "{topic}"),
                ("what", "{name}"),
                ("at", "{cursor}"),
            ]));
        let shape = shape.in_place_of(&profile(Shape::default()), "e").unwrap();
        let mut event = event(r#"{"state":"in_progress","owner":"u1"}"#);
        event.topic = "app/job/1".parse().unwrap();
        assert_eq!(shape.render(&event, 1), r#"{"Job":{"status":"InProgress","on":"job/1","what":"e"}}"#);
        let cursor = "9f3c2a1b-42".parse().ok();
        let placed = r#"{"status":"InProgress","by":"u1","on":"job/1","what":"e","at":"9f3c2a1b-42"}"#;
        assert_eq!(shape.render_at(&event, 0, cursor, false), placed);
        event.data = "no JSON".into();
        assert_eq!(shape.render_bare(&event, 1), r#"{"on":"job/1","what":"e"}"#);
    }

    /// A profile whose events look so.
    fn profile(shape: Shape) -> Profile {
        let rule =
            EventRule { shape, ..EventRule::new("e", "t".parse().unwrap(), vec![vec!["everyone".parse().unwrap()]]) };
        Profile::new("app", Some("app"), Default::default(), [rule])
    }

    #[test]
    fn what_stands_in_the_place_of_an_events_own_shape_hides_what_that_hides() {
        let rule = Shape::default().redact(redaction("key", &["role/admin"], true)).unwrap();
        let own = Shape::default().redact(redaction("path", &["role/admin"], false)).unwrap();
        let own = own.redact(redaction("key", &["role/admin"], true)).unwrap().named("mine").unwrap();
        let shape = own.in_place_of(&profile(rule), "e").unwrap();
        assert_eq!(shape.redactions().len(), 2, "what both hide is hidden once");
        let event = event(r#"{"key":1,"path":2}"#);
        for (grant, shown) in [("app/role/admin", r#"{"key":1,"path":2}"#), ("role/admin", r#"{"key":null}"#)] {
            let held = Grants::parse([grant]).unwrap();
            assert_eq!(shape.render(&event, shape.variant(&held, &event)), shown);
        }
        let many = |name: &str| {
            (0..20).try_fold(Shape::default(), |shape, i| shape.redact(redaction(&format!("{name}{i}"), &[], true)))
        };
        let (many, others) = (many("a").unwrap(), profile(many("b").unwrap()));
        assert_eq!(many.clone().in_place_of(&others, "e"), Err(InvalidShape::TooManyRedactions));
        assert_eq!(many.in_place_of(&others, "other").unwrap().redactions().len(), 20);
    }

    #[test]
    fn a_shape_in_the_place_of_another_is_for_events_of_its_profile_alone() {
        let (app, open) = (profile(Shape::default()), Profile::open());
        let entry = |topic: &str, profile: &Profile| {
            let body = NewEvent { topic: topic.parse().unwrap(), ..event("1") };
            Entry::new(Event { offset: Offset(1), body }, profile.rule("e").unwrap().clone(), Offset(1))
        };
        let of_app = Shape::default().in_place_of(&app, "e").unwrap();
        let of_open = Shape::default().in_place_of(&open, "e").unwrap();
        for (topic, from, for_app, for_open) in
            [("app/t", &app, true, false), ("t", &open, false, true), ("apple/t", &open, false, true)]
        {
            let entry = entry(topic, from);
            assert_eq!((of_app.is_for(&entry), of_open.is_for(&entry)), (for_app, for_open), "{topic}");
        }
    }

    #[test]
    fn words_are_found_in_any_case() {
        for (text, pascal, camel, snake) in [
            ("added", "Added", "added", "added"),
            ("inProgress", "InProgress", "inProgress", "in_progress"),
            ("IN_PROGRESS", "InProgress", "inProgress", "in_progress"),
            ("HTTPServer-2x", "HttpServer2x", "httpServer2x", "http_server_2x"),
            ("", "", "", ""),
        ] {
            assert_eq!(Case::Pascal.changer()(text), pascal);
            assert_eq!(Case::Camel.changer()(text), camel);
            assert_eq!(Case::Snake.changer()(text), snake);
        }
    }

    #[test]
    fn data_that_is_no_json_is_hidden_where_something_is_redacted() {
        let shape = Shape::default().redact(redaction("a.b", &[], true)).unwrap();
        assert_eq!(shape.render(&event(r#"{"a":{"b":"MARK"#), 1), "null");
    }

    #[test]
    fn a_name_that_could_make_up_fields_is_refused() {
        assert!(Shape::default().named("a\ndata: x").is_err());
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf =
            prop_oneof![Just(serde_json::json!("plain")), Just(serde_json::json!(1.5)), Just(serde_json::json!(null))];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
                prop::collection::btree_map("[a-c]", inner, 0..4)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_redacted_value_is_never_in_the_output(around in json(), more in json(), with_null: bool, each: bool) {
            let marker = serde_json::json!({"deep": ["MARKER"]});
            let (path, secret) = if each {
                ("a[].secret", serde_json::json!([{"secret": marker, "x": around}, {"secret": "MARKER"}, more]))
            } else {
                ("a.secret", serde_json::json!({"x": more, "secret": marker, "y": around}))
            };
            let data = serde_json::json!({"a": secret, "b": more}).to_string();
            let shape = Shape::default().redact(redaction(path, &[], with_null)).unwrap().wrapped("W");
            let event = event(&data);
            let shown = shape.render(&event, shape.variant(&Grants::parse(["**"]).unwrap(), &event));
            prop_assert!(!shown.windows(6).any(|window| window == b"MARKER"));
            prop_assert!(serde_json::from_slice::<serde_json::Value>(&shown).is_ok());
        }

        #[test]
        fn a_redacted_value_does_not_come_back_through_a_form(
            around in json(),
            with_null: bool,
            hole in "\\{data(\\.a|\\.a\\[0\\]){0,1}(\\.secret|\\.deep|\\[0\\]){0,3}(\\|data){0,1}(:text){0,1}\\}",
        ) {
            let marker = serde_json::json!({"deep": ["MARKER"]});
            let data = match with_null {
                true => serde_json::json!({"a": {"secret": marker, "x": around}}),
                false => serde_json::json!({"a": [{"secret": marker}, {"secret": "MARKER"}, around]}),
            };
            let path = if with_null { "a.secret" } else { "a[].secret" };
            let form = form(&[("alone", &hole), ("text", &format!("<{hole}>")), ("all", "{data}")]);
            let rule = Shape::default().redact(redaction(path, &[], with_null)).unwrap();
            for shape in [rule.clone().with_form(form.clone()), Shape::default().with_form(form).in_place_of(&profile(rule), "e").unwrap()] {
                let event = event(&data.to_string());
                let shown = shape.render(&event, shape.variant(&Grants::parse(["**"]).unwrap(), &event));
                prop_assert!(!shown.windows(6).any(|window| window == b"MARKER"), "{shown:?}");
                prop_assert!(serde_json::from_slice::<serde_json::Value>(&shown).is_ok(), "{shown:?}");
            }
        }

        #[test]
        fn rendering_any_bytes_does_not_panic(data: Vec<u8>, variant: u32) {
            let shape = Shape::default()
                .redact(redaction("a[].b", &["x/{data.c}"], false))
                .unwrap()
                .case("a".parse().unwrap(), Case::Camel);
            let mut event = event("");
            event.data = data.into();
            let _ = shape.variant(&Grants::default(), &event);
            let _ = shape.render(&event, variant);
        }
    }
}
