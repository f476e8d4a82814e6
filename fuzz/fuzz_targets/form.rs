//! A form from a profile, filled from any data: the text of a hole on the first line, the data behind it. It is always JSON, a value that
//! a lone hole takes is there byte for byte, and what is hidden does not come back.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use tidings::{Audience, Form, FormFacts, FormNode, FormWords, Grants, NewEvent, Redaction, Shape, Timestamp};

fuzz_target!(|text: &str| {
    let Some((hole, data)) = text.split_once('\n') else { return };
    let words = FormWords::from([("words".into(), [("a".to_owned(), "b".into())].into())]);
    let alone = FormNode::Text(hole.to_owned());
    let beside = FormNode::Text(format!("<{hole}>"));
    let more = [("query", serde_json::json!({ "a": [1, "x"] }))];
    let form = match Form::new(&alone, &words, &["query"]) {
        Ok(form) => form,
        Err(mistakes) => {
            assert!(mistakes.iter().all(|mistake| mistake.position <= hole.chars().count()));
            return;
        }
    };
    let facts = FormFacts { data: data.as_bytes(), name: "n", topic: "t/\"", more: &more, ..FormFacts::default() };
    let shown = form.render(&facts);
    serde_json::from_slice::<IgnoredAny>(&shown).expect("a form makes JSON");
    let is_json = serde_json::from_str::<&RawValue>(data).is_ok();
    let inner = hole.strip_prefix("{data").and_then(|rest| rest.strip_suffix('}'));
    let is_path = inner.is_some_and(|inner| !inner.contains([':', '|', '{', '}']));
    if is_path && shown != "null" {
        let shown = std::str::from_utf8(&shown).expect("JSON is UTF-8");
        assert!(is_json && data.contains(shown), "{shown:?} is not in the data");
    }
    let list = FormNode::List(vec![alone, beside, FormNode::Text("{data}".into())]);
    // The list has no more text than a form may, or is refused.
    let Ok(form) = Form::new(&list, &words, &["query"]) else { return };
    serde_json::from_slice::<IgnoredAny>(&form.render(&facts)).expect("a form makes JSON");
    let hidden = Redaction { path: "a".parse().expect("a literal path"), unless: Vec::new(), with_null: false };
    let shape = Shape::default().redact(hidden).expect("one redaction is not too many").with_form(form);
    let event = NewEvent {
        name: "e".into(),
        topic: "t".parse().expect("a literal topic"),
        data: Bytes::from(format!("{{\"a\":\"MARKER\",\"b\":{}}}", if is_json { data } else { "1" })),
        scope: Bytes::new(),
        audience: Audience::default(),
        key: None,
        time: Timestamp(0),
        kept: true,
        dedup: None,
    };
    let shown = shape.render(&event, shape.variant(&Grants::default(), &event));
    serde_json::from_slice::<IgnoredAny>(&shown).expect("a form makes JSON");
    let marked = |bytes: &[u8]| bytes.windows(6).filter(|window| window == b"MARKER").count();
    assert!(marked(text.as_bytes()) > 0 || marked(&shown) == 0, "what is hidden came back");
});
