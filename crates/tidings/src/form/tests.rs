use proptest::prelude::*;
use serde_json::json;

use super::*;

/// The tree of a JSON text, its members in their order.
fn tree(text: &str) -> FormNode {
    #[derive(serde::Deserialize)]
    struct Any(#[serde(deserialize_with = "read")] FormNode);

    fn read<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<FormNode, D::Error> {
        struct Read;
        impl<'de> serde::de::Visitor<'de> for Read {
            type Value = FormNode;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any JSON")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<FormNode, A::Error> {
                let mut members = Vec::new();
                while let Some((name, Any(node))) = map.next_entry()? {
                    members.push((name, node));
                }
                Ok(FormNode::Object(members))
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<FormNode, A::Error> {
                let mut elements = Vec::new();
                while let Some(Any(node)) = seq.next_element()? {
                    elements.push(node);
                }
                Ok(FormNode::List(elements))
            }
            fn visit_str<E>(self, text: &str) -> Result<FormNode, E> {
                Ok(FormNode::Text(text.to_owned()))
            }
            fn visit_u64<E>(self, number: u64) -> Result<FormNode, E> {
                Ok(FormNode::Literal(number.into()))
            }
            fn visit_bool<E>(self, yes: bool) -> Result<FormNode, E> {
                Ok(FormNode::Literal(yes.into()))
            }
            fn visit_unit<E>(self) -> Result<FormNode, E> {
                Ok(FormNode::Literal(Value::Null))
            }
        }
        deserializer.deserialize_any(Read)
    }
    serde_json::from_str::<Any>(text).unwrap().0
}

fn words() -> FormWords {
    let states = json!({ "running": "processing", "7": 8, "true": "yes" });
    FormWords::from([("words".into(), states.as_object().unwrap().clone().into_iter().collect())])
}

fn form(text: &str) -> Form {
    Form::new(&tree(text), &words(), &["token", "query"]).unwrap_or_else(|mistakes| panic!("{text}: {mistakes:?}"))
}

fn filled(form_text: &str, facts: FormFacts<'_>) -> String {
    String::from_utf8(form(form_text).render(&facts).to_vec()).unwrap()
}

/// A form of a single text, filled from this data.
fn of(text: &str, data: &str) -> String {
    let form = Form::new(&FormNode::Text(text.into()), &words(), &[]).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    String::from_utf8(form.render(&FormFacts { data: data.as_bytes(), ..FormFacts::default() }).to_vec()).unwrap()
}

#[test]
fn members_come_in_the_order_of_the_form_and_values_byte_for_byte() {
    let data = r#"{"a":{"n":12345678901234567890,"f":1.0,"e":1E400,"s":"\u00e9\n"},"list":[ {"t":1}, {"t" : [2] } ]}"#;
    let written = r#"{"z":"{data.a.n}","b":"{data.a.f}","a":["{data.a.e}","{data.list[1].t}",7],"s":"{data.a.s}","all":"{data.list}"}"#;
    assert_eq!(
        filled(written, FormFacts { data: data.as_bytes(), ..FormFacts::default() }),
        r#"{"z":12345678901234567890,"b":1.0,"a":[1E400,[2],7],"s":"\u00e9\n","all":[ {"t":1}, {"t" : [2] } ]}"#
    );
}

#[test]
fn a_member_or_element_that_finds_nothing_is_left_out() {
    let written =
        r#"{"a":"{data.x}","b":{"c":"{data.y.z}"},"d":["{data.x}","{data.l[2]}",1,"{data.x}"],"e":"{data.n}","f":"x"}"#;
    let facts = FormFacts { data: br#"{"y":[],"l":[0,1],"n":null}"#, ..FormFacts::default() };
    assert_eq!(filled(written, facts), r#"{"b":{},"d":[1],"e":null,"f":"x"}"#);
    assert_eq!(of("{data.x}", "{}"), "null");
}

#[test]
fn beside_other_text_a_value_becomes_text() {
    let data = r#"{"s":"a\"\u00e9\ud800","n":1.50,"o":{"k":"v"},"z":null}"#;
    assert_eq!(of("<{data.s}|{data.n}|{data.z}{data.x}>", data), r#""<a\"\u00e9\ud800|1.50|>""#);
    assert_eq!(of("{data.o} \"", data), r#""{\"k\":\"v\"} \"""#);
    assert_eq!(of("{{data.n} } {{", data), r#""{data.n} } {""#);
    assert_eq!(of("", data), r#""""#);
}

#[test]
fn the_first_choice_that_is_there_is_taken() {
    let data = r#"{"a":1,"n":null,"f":false,"e":""}"#;
    for (text, taken) in [
        ("{data.x|data.a}", "1"),
        ("{data.n|data.a}", "1"),
        ("{data.f|data.a}", "false"),
        ("{data.e|data.a}", "\"\""),
        ("{data.x|-1.50e2}", "-1.50e2"),
        (r#"{data.x|"un|ti:t}led\u0041"}"#, "\"un|ti:t}ledA\""),
        ("{data.x|null}", "null"),
        ("{data.n|data.x}", "null"),
        ("{true}", "true"),
    ] {
        assert_eq!(of(text, data), taken, "{text}");
    }
}

#[test]
fn names_of_any_kind_are_reached_and_of_two_alike_the_last_counts() {
    let data = r#"{"odd name":{"a.b":1},"s\u0065t":2,"set":3,"":4,"ä-1_":5}"#;
    for (text, taken) in [
        (r#"{data["odd name"]["a.b"]}"#, "1"),
        ("{data.set}", "3"),
        (r#"{data[""]}"#, "4"),
        ("{data.ä-1_}", "5"),
        ("{data[0]}", "null"),
    ] {
        assert_eq!(of(text, data), taken, "{text}");
    }
}

#[test]
fn filters_change_what_they_can_work_on_and_nothing_else() {
    for (filter, value, changed) in [
        ("iso", "1764763200000", r#""2025-12-03T12:00:00Z""#),
        ("iso", "1764763200050", r#""2025-12-03T12:00:00.050Z""#),
        ("iso", "1709208000000.9", r#""2024-02-29T12:00:00Z""#),
        ("iso", "-1", r#""1969-12-31T23:59:59.999Z""#),
        ("iso", "253402300799999", r#""9999-12-31T23:59:59.999Z""#),
        ("iso", "-62167219200000", r#""0000-01-01T00:00:00Z""#),
        ("iso", "253402300800000", "253402300800000"),
        ("iso", "1e999", "1e999"),
        ("iso", "\"1\"", "\"1\""),
        ("percent", "0.65", "65"),
        ("percent", "0.07", "7"),
        ("percent", "0.33333", "33.33"),
        ("percent", "1.0", "100"),
        ("percent", "-0.0", "0"),
        ("percent", "1e308", "1e308"),
        ("percent", "null", "null"),
        ("seconds", "1500", "1.5"),
        ("seconds", "30000", "30"),
        ("seconds", "true", "true"),
        ("text", "1.0", "\"1.0\""),
        ("text", "\"a\"", "\"a\""),
        ("text", r#"{"a":"b"}"#, r#""{\"a\":\"b\"}""#),
        ("text", "null", "null"),
        ("words", "\"running\"", "\"processing\""),
        ("words", "\"r\\u0075nning\"", "\"processing\""),
        ("words", "\"queued\"", "\"queued\""),
        ("words", "7", "8"),
        ("words", "true", "\"yes\""),
        ("words", "[1]", "[1]"),
        ("seconds:text", "1000", "\"1\""),
    ] {
        let data = format!(r#"{{"v":{value}}}"#);
        assert_eq!(of(&format!("{{data.v:{filter}}}"), &data), changed, "{value}:{filter}");
    }
    assert_eq!(of("{data.x:text}", "{}"), "null", "nothing has no text");
    assert_eq!(of("{data.x|0.5:percent}", "{}"), "50");
}

#[test]
fn what_surrounds_the_data_can_be_shown() {
    let written = r#"{"n":"{name}","t":"{topic}","at":"{time}","iso":"{time:iso}","c":"{cursor}","j":"{query.jobId}","x":"{query.x}","u":"/ws?t={token}","d":"{data}"}"#;
    let more = [("token", json!("tdj_1")), ("query", json!({ "jobId": "j\"1" }))];
    let facts = FormFacts {
        data: b" [1] ",
        name: "job.progress",
        topic: "job/\"1",
        time: Timestamp(1_764_763_200_000),
        cursor: Some("9f3c2a1b-42".parse().unwrap()),
        more: &more,
    };
    assert_eq!(
        filled(written, facts),
        r#"{"n":"job.progress","t":"job/\"1","at":1764763200000,"iso":"2025-12-03T12:00:00Z","c":"9f3c2a1b-42","j":"j\"1","u":"/ws?t=tdj_1","d":[1]}"#
    );
    assert_eq!(filled(r#"["{cursor}"]"#, FormFacts::default()), "[]");
}

#[test]
fn data_that_is_no_json_has_nothing_in_it() {
    for data in ["", "{\"a\":1", "{\"a\":1}}", "{\"a\":1,}", "nul"] {
        assert_eq!(of("{data.a|data|0}", data), "0", "{data}");
    }
    let facts = FormFacts { data: b"{\"a\":\"\xff\"}", ..FormFacts::default() };
    assert_eq!(filled(r#"["{data.a}"]"#, facts), "[]");
}

#[test]
fn a_mistake_says_where_it_stands_and_what_there_is() {
    for (text, position, says) in [
        ("é{data.a", 1, "not closed"),
        ("{", 1, "a path is missing, like data.id; there are data, name"),
        ("{}", 1, "a path is missing"),
        ("{date.a}", 1, "`date` is nothing that can be taken; there are data, name, topic, time, cursor, token"),
        ("{data.a:progres}", 8, "`progres` is no filter; there are iso, percent, seconds, text, words"),
        ("{data.a:}", 8, "`` is no filter"),
        ("{data..a}", 6, "a name is missing"),
        ("{data.a[x]}", 8, "an index from 0"),
        ("{data.a[]}", 8, "an index from 0"),
        ("{data.a[99999999999999999999]}", 8, "an index from 0"),
        ("{data.a[0}", 9, "not closed"),
        ("{data[\"a]}", 6, "this text is not closed"),
        ("{data.a|\"\\x\"}", 8, "no text as JSON"),
        ("{data.a|-}", 8, "`-` is no number"),
        ("{data.a|01}", 8, "`01` is no number"),
        ("{data.a|0|data.b}", 9, "never taken"),
        ("{data.a:iso|0}", 11, "before the filters"),
        ("{data.a b}", 7, "` ` can't stand here"),
        ("{name.a}", 1, "a single value"),
    ] {
        let written = FormNode::Object(vec![
            ("ok".into(), FormNode::Text("{data}".into())),
            ("x".into(), FormNode::List(vec![FormNode::Text(text.into())])),
        ]);
        let mistakes = Form::new(&written, &words(), &["token"]).unwrap_err();
        assert_eq!(mistakes.len(), 1, "{text}");
        assert_eq!((mistakes[0].position, mistakes[0].steps.as_slice()), (position, &[1, 0][..]), "{}", mistakes[0]);
        assert!(mistakes[0].reason.contains(says), "{}", mistakes[0]);
    }
}

#[test]
fn every_mistake_is_told() {
    let mistakes = Form::new(&tree(r#"["{x}","{data.a:b}",1]"#), &FormWords::new(), &[]).unwrap_err();
    assert_eq!(mistakes.iter().map(|mistake| mistake.steps[0]).collect::<Vec<_>>(), [0, 1]);
    let words = FormWords::from([("iso".into(), BTreeMap::new()), ("w".into(), [("a".into(), json!([1]))].into())]);
    let mistakes = Form::new(&tree("1"), &words, &[]).unwrap_err();
    assert!(mistakes[0].to_string().contains("\"iso\": words are called"), "{}", mistakes[0]);
    assert!(mistakes[1].to_string().contains("what stands for a word"), "{}", mistakes[1]);
}

#[test]
fn a_form_is_bounded() {
    let refused = |node: &FormNode, says: &str| {
        let mistakes = Form::new(node, &FormWords::new(), &[]).unwrap_err();
        assert!(mistakes.iter().any(|mistake| mistake.reason.contains(says)), "{mistakes:?}");
    };
    let deep = |levels| (1..levels).fold(FormNode::Literal(1.into()), |inner, _| FormNode::List(vec![inner]));
    assert!(Form::new(&deep(MAX_DEPTH), &FormWords::new(), &[]).is_ok());
    refused(&deep(MAX_DEPTH + 1), "levels deep");
    let wide = |count| FormNode::List(vec![FormNode::Text("{data}".into()); count]);
    assert!(Form::new(&wide(MAX_VALUES - 1), &FormWords::new(), &[]).is_ok());
    refused(&wide(MAX_VALUES), "values");
    refused(&FormNode::Text("x".repeat(MAX_BYTES + 1)), "bytes of text");
    refused(&FormNode::Text(format!("{{data{}}}", ".a".repeat(100))), "steps");
    refused(&FormNode::Text(format!("{{data{}}}", ":text".repeat(100))), "choices and filters");
}

#[test]
fn deep_data_does_not_exhaust_the_stack() {
    let deep = format!(r#"{{"a":{}{},"b":1}}"#, "[".repeat(500_000), "]".repeat(500_000));
    assert_eq!(of("{data.b}", &deep), "1");
    assert_eq!(of("{data.a}", &deep).len(), 1_000_000);
}

fn hole() -> impl Strategy<Value = String> {
    let path = prop_oneof![
        Just("data".to_owned()),
        Just("name".to_owned()),
        Just("cursor".to_owned()),
        Just("query.a".to_owned()),
        "data(\\.[abc]|\\[[01]\\]){1,3}"
    ];
    let filter = prop_oneof![4 => Just(String::new()), 1 => ":(iso|percent|seconds|text|words)"];
    let default = prop_oneof![2 => Just(""), 1 => Just("|0"), 1 => Just("|\"x\\\"\"")];
    (path, default, filter).prop_map(|(path, default, filter)| format!("{{{path}{default}{filter}}}"))
}

fn node() -> impl Strategy<Value = FormNode> {
    let text = prop::collection::vec(prop_oneof![hole(), "[a\"\\\\\u{0}é}]{0,3}"], 0..3);
    let leaf = prop_oneof![
        2 => hole().prop_map(FormNode::Text),
        2 => text.prop_map(|pieces| FormNode::Text(pieces.concat())),
        1 => Just(FormNode::Literal(json!(1.5))),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(FormNode::List),
            prop::collection::vec(("[a-c\"]{0,2}", inner), 0..4).prop_map(FormNode::Object),
        ]
    })
}

fn rendered(node: &FormNode, data: &[u8]) -> Bytes {
    let more = [("query", json!({ "a": ["\"", 1] }))];
    let form = Form::new(node, &words(), &["query"]).unwrap();
    form.render(&FormFacts { data, name: "n\"", more: &more, ..FormFacts::default() })
}

proptest! {
    #[test]
    fn the_output_is_json_whatever_the_data_is(node in node(), data: Vec<u8>, text in "[\\[\\]{}\",:\\\\ab1u. é\u{0}]{0,30}") {
        for data in [&data[..], text.as_bytes()] {
            let shown = rendered(&node, data);
            prop_assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&shown).is_ok(), "{shown:?}");
        }
    }

    #[test]
    fn the_output_is_json_for_json(node in node(), data in value()) {
        let shown = rendered(&node, data.to_string().as_bytes());
        prop_assert!(serde_json::from_slice::<Value>(&shown).is_ok(), "{shown:?}");
    }

    #[test]
    fn no_text_makes_it_panic(text in "[{}|:.\\[\\]\"\\\\ data0-9-]{0,40}", any: String) {
        for text in [text, any] {
            if let Err(mistakes) = Form::new(&FormNode::Text(text.clone()), &words(), &[]) {
                prop_assert!(mistakes[0].position <= text.chars().count());
            }
        }
    }
}

fn value() -> impl Strategy<Value = Value> {
    let number = prop_oneof![Just(json!(0.5)), Just(json!(1_764_763_200_000_u64)), any::<f64>().prop_map(|f| json!(f))];
    let leaf = prop_oneof![number, any::<String>().prop_map(Value::from), Just(json!("running")), Just(Value::Null)];
    leaf.prop_recursive(3, 16, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-c]", inner, 0..3).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}
