//! Any JSON, shown with something hidden: a path on the first line, the data behind it. What stands at the path is gone
//! from the output, and everything else is there as it was.

#![no_main]

use std::fmt;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use tidings::{Audience, Case, Grants, JsonPath, NewEvent, Redaction, Shape, Timestamp};

fuzz_target!(|text: &str| {
    let Some((path, data)) = text.split_once('\n') else { return };
    let Ok(parsed) = path.parse::<JsonPath>() else { return };
    let mut event = NewEvent {
        name: "e".into(),
        topic: "t".parse().expect("a literal topic"),
        data: Bytes::copy_from_slice(data.as_bytes()),
        scope: Bytes::new(),
        audience: Audience::default(),
        key: None,
        time: Timestamp(0),
        kept: true,
        dedup: None,
    };
    for with_null in [true, false] {
        let redaction = Redaction { path: parsed.clone(), unless: Vec::new(), with_null };
        let shape = Shape::default().redact(redaction).expect("one redaction is not too many");
        let cased = shape.clone().case(parsed.clone(), Case::Camel).wrapped("W");
        // Also what is no JSON is shown without a panic.
        let _ = cased.render(&event, 1);
        // What is published is checked like this before it is looked at.
        let Ok(raw) = serde_json::from_str::<Box<RawValue>>(data) else { continue };
        event.data = Bytes::copy_from_slice(raw.get().as_bytes());
        let shown = shape.render(&event, shape.variant(&Grants::default(), &event));
        let shown = std::str::from_utf8(&shown).expect("text stays text");
        serde_json::from_slice::<serde::de::IgnoredAny>(&cased.render(&event, 1)).expect("it is shown as JSON");
        // A name that is no Unicode, or data deeper than this reader goes, is left to the others.
        if raw.get().bytes().filter(|byte| matches!(byte, b'{' | b'[')).count() > 200 {
            continue;
        }
        let Ok(mut expected) = serde_json::from_str::<Tree>(raw.get()) else { continue };
        hide(&mut expected, &steps(path), with_null);
        assert_eq!(serde_json::from_str::<Tree>(shown).expect("it is shown as JSON"), expected, "{shown}");
    }
});

/// JSON with its members in their order, also those with the same name, and its scalars byte for byte.
#[derive(Clone, Debug, PartialEq)]
enum Tree {
    Object(Vec<(String, Tree)>),
    Array(Vec<Tree>),
    Scalar(String),
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw: &RawValue = Deserialize::deserialize(deserializer)?;
        let text = raw.get();
        match text.as_bytes().first() {
            Some(b'{') => serde_json::Deserializer::from_str(text).deserialize_map(Members),
            Some(b'[') => serde_json::Deserializer::from_str(text).deserialize_seq(Elements),
            _ => return Ok(Tree::Scalar(text.to_owned())),
        }
        .map_err(serde::de::Error::custom)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Tree::Object(members))
    }
}

struct Elements;

impl<'de> Visitor<'de> for Elements {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tree, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = seq.next_element()? {
            elements.push(element);
        }
        Ok(Tree::Array(elements))
    }
}

/// The steps of a path that is known to be one: a member's name, or none for each element.
fn steps(path: &str) -> Vec<Option<&str>> {
    let mut steps = Vec::new();
    for part in path.split('.') {
        let name = part.trim_end_matches("[]");
        steps.extend(Some(name).filter(|name| !name.is_empty()).map(Some));
        steps.extend(std::iter::repeat_n(None, (part.len() - name.len()) / 2));
    }
    steps
}

fn hide(tree: &mut Tree, path: &[Option<&str>], with_null: bool) {
    let Some((step, rest)) = path.split_first() else { return };
    let last = rest.is_empty();
    match (step, tree) {
        (Some(name), Tree::Object(members)) => {
            if last && !with_null {
                members.retain(|(known, _)| known != name);
            }
            members
                .iter_mut()
                .filter(|(known, _)| known == name)
                .for_each(|(_, member)| reach(member, rest, with_null));
        }
        (None, Tree::Array(elements)) => {
            if last && !with_null {
                elements.clear();
            }
            elements.iter_mut().for_each(|element| reach(element, rest, with_null));
        }
        _ => {}
    }
}

fn reach(tree: &mut Tree, rest: &[Option<&str>], with_null: bool) {
    if rest.is_empty() {
        *tree = Tree::Scalar("null".into());
    } else {
        hide(tree, rest, with_null);
    }
}
