//! Whether the server took a configuration as it was asked to.
//!
//! Servers drop what they don't know without a word: 2.9 a filter of several subjects among them, and such a consumer then
//! gets everything. So what a server says that it made is compared with what was asked, and a difference is refused.

use async_nats::jetstream::{consumer, stream};
use serde::Serialize;
use serde_json::Value;

use super::engine::EngineError;

/// By these a stream loses, changes or gives away what is in it, answers before it has it, or refuses what the hub does with it. They count
/// also where nobody asked for them: a bucket of revocations that somebody gave a `max_age` would let everybody in again.
const NEVER_UNASKED: &[&str] = &[
    "max_age",
    "max_msgs_per_subject",
    "max_consumers",
    "consumer_limits",
    "discard_new_per_subject",
    "deny_delete",
    "deny_purge",
    "sealed",
    "no_ack",
    "persist_mode",
    "allow_msg_counter",
    "republish",
    "subject_transform",
    "mirror",
    "sources",
];

/// Refuses a stream (also the one of a bucket) that is not what was asked for. What `asked` leaves at its default is the server's choice,
/// but for what would harm what is in it.
pub fn check_stream(asked: &stream::Config, echoed: &stream::Config) -> Result<(), EngineError> {
    flag(&asked.name, "allow_direct", asked.allow_direct, echoed.allow_direct)?;
    check_stream_value(&format!("the stream {}", asked.name), &without_defaults(asked)?, &as_value(echoed)?)
}

/// These too, unless what comes is refused when it is full: so the owner of the servers may bound a bucket.
const NOT_WHERE_OLD_GOES: &[&str] = &["max_msgs", "max_bytes"];

/// The same of configurations as they are sent.
pub(super) fn check_stream_value(what: &str, asked: &Value, echoed: &Value) -> Result<(), EngineError> {
    if let Some((name, echoed)) = unasked(asked, echoed) {
        return Err(differs(what, name, "nothing of it", &echoed.to_string()));
    }
    check(what, asked, echoed)
}

/// What `echoed` has and `asked` has not, though it would do harm.
pub(super) fn unasked<'a>(asked: &Value, echoed: &'a Value) -> Option<(&'static str, &'a Value)> {
    let is_there = |config: &'a Value, name| config.get(name).filter(|value| !is_unset(value) && !is_unlimited(value));
    let is_asked = |name| asked.get(name).is_some_and(|value| !is_unset(value) && !is_unlimited(value));
    let by_size = NOT_WHERE_OLD_GOES.iter().filter(|_| echoed["discard"] != "new");
    NEVER_UNASKED
        .iter()
        .chain(by_size)
        .copied()
        .filter(|name| !is_asked(*name))
        .find_map(|name| is_there(echoed, name).map(|value| (name, value)))
}

/// Limits that are not set are echoed as -1, and the usual way to keep messages by its name.
fn is_unlimited(value: &Value) -> bool {
    value.as_i64() == Some(-1) || value == "default"
}

/// Refuses a consumer that is not what was asked for. What `asked` leaves at its default is the server's choice, but for its
/// filters: one that was not asked for would hide events.
pub fn check_consumer(asked: &consumer::Config, echoed: &consumer::Config) -> Result<(), EngineError> {
    let filters = |config: &consumer::Config| {
        let one = (!config.filter_subject.is_empty()).then(|| config.filter_subject.clone());
        let mut all: Vec<String> = config.filter_subjects.iter().cloned().chain(one).collect();
        all.sort_unstable();
        all
    };
    let name = asked.name.as_deref().or(asked.durable_name.as_deref()).unwrap_or("without a name");
    let what = format!("the consumer {name}");
    if filters(asked) != filters(echoed) {
        return Err(differs(&what, "filter_subjects", &filters(asked).join(", "), &filters(echoed).join(", ")));
    }
    let bare = consumer::Config { filter_subject: String::new(), filter_subjects: Vec::new(), ..asked.clone() };
    check(&what, &without_defaults(&bare)?, &as_value(echoed)?)
}

/// Refuses `what` if a field of `asked` is not in `echoed` as it was asked. Of what is not set (`null`, `false`, 0, empty) it is the same
/// whether it is there. Of a table, as `metadata` is, only the asked keys count: servers add some of their own.
pub(crate) fn check(what: &str, asked: &Value, echoed: &Value) -> Result<(), EngineError> {
    let Some(fields) = asked.as_object() else { return Ok(()) };
    for (name, asked) in fields {
        let echoed = echoed.get(name).unwrap_or(&Value::Null);
        if !is_kept(asked, echoed) {
            return Err(differs(what, name, &asked.to_string(), &echoed.to_string()));
        }
    }
    Ok(())
}

/// Whether what was asked for is what there is.
pub(crate) fn is_kept(asked: &Value, echoed: &Value) -> bool {
    match (asked, echoed) {
        (Value::Object(asked), Value::Object(echoed)) => {
            asked.iter().all(|(key, value)| is_kept(value, echoed.get(key).unwrap_or(&Value::Null)))
        }
        _ if is_unset(asked) => is_unset(echoed),
        _ => asked == echoed,
    }
}

fn is_unset(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_unset),
        Value::Bool(true) => false,
    }
}

fn flag(stream: &str, name: &str, asked: bool, echoed: bool) -> Result<(), EngineError> {
    if asked == echoed {
        return Ok(());
    }
    Err(differs(&format!("the stream {stream}"), name, &asked.to_string(), &echoed.to_string()))
}

fn differs(what: &str, field: &str, asked: &str, echoed: &str) -> EngineError {
    EngineError::Unfit(format!(
        "NATS made {what} with `{field}` = {echoed}, and {asked} was asked for. Either the server is too old for it (use the same \
         version, best 2.12 or newer, on all servers), or something else made it: then remove it there, or give the hub another name"
    ))
}

fn as_value(config: &impl Serialize) -> Result<Value, EngineError> {
    serde_json::to_value(config)
        .map_err(|error| EngineError::Unfit(format!("a configuration can't be written: {error}")))
}

fn without_defaults(config: &impl Serialize) -> Result<Value, EngineError> {
    let mut value = as_value(config)?;
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|_, value| !is_unset(value));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn stream() -> stream::Config {
        stream::Config {
            name: "S".into(),
            subjects: vec!["a.>".into()],
            num_replicas: 3,
            max_age: Duration::from_secs(9),
            allow_atomic_publish: true,
            metadata: [("tidings-epoch".to_owned(), "0000002a".to_owned())].into(),
            ..Default::default()
        }
    }

    #[test]
    fn what_the_server_adds_is_no_difference_and_what_it_drops_is() {
        let mut echoed = stream::Config { max_messages: -1, duplicate_window: Duration::from_secs(120), ..stream() };
        echoed.metadata.insert("_nats.ver".into(), "2.15.1".into());
        check_stream(&stream(), &echoed).expect("defaults and the server's own metadata");
        for dropped in [
            stream::Config { allow_atomic_publish: false, ..echoed.clone() },
            stream::Config { metadata: Default::default(), ..echoed.clone() },
            stream::Config { num_replicas: 1, ..echoed.clone() },
            stream::Config { max_age: Duration::ZERO, ..echoed.clone() },
            stream::Config { allow_direct: true, ..echoed.clone() },
            // Nobody asked for these, and they do harm.
            stream::Config { max_bytes: 1, ..echoed.clone() },
            stream::Config { sealed: true, ..echoed.clone() },
            stream::Config { persist_mode: Some(stream::PersistenceMode::Async), ..echoed.clone() },
            stream::Config {
                republish: Some(stream::Republish {
                    source: ">".into(),
                    destination: "out.>".into(),
                    headers_only: false,
                }),
                ..echoed.clone()
            },
            stream::Config {
                sources: Some(vec![stream::Source { name: "other".into(), ..Default::default() }]),
                ..echoed.clone()
            },
        ] {
            check_stream(&stream(), &dropped).expect_err("it differs");
        }
    }

    #[test]
    fn an_age_that_nobody_asked_for_is_refused() {
        let asked = stream::Config { max_age: Duration::ZERO, ..stream() };
        let sentence = check_stream(&asked, &stream()).expect_err("what is in it would go").to_string();
        assert!(sentence.contains("max_age"), "{sentence}");
        check_stream(&asked, &stream::Config { persist_mode: Some(stream::PersistenceMode::Default), ..asked.clone() })
            .expect("the usual way");
    }

    #[test]
    fn a_filter_that_was_dropped_is_told_with_what_to_do() {
        let asked = consumer::Config {
            name: Some("c".into()),
            filter_subjects: vec!["a.1".into(), "a.2".into()],
            ..Default::default()
        };
        let echoed = consumer::Config { filter_subjects: vec!["a.2".into(), "a.1".into()], ..asked.clone() };
        check_consumer(&asked, &echoed).expect("their order is nothing");
        let dropped = consumer::Config { filter_subjects: vec![], ..asked.clone() };
        let sentence = check_consumer(&asked, &dropped).expect_err("it would get everything").to_string();
        assert!(
            sentence.contains("filter_subjects") && sentence.contains("a.1, a.2") && sentence.contains("2.12"),
            "{sentence}"
        );
        check_consumer(&dropped, &asked).expect_err("a filter nobody asked for hides events");
    }

    #[test]
    fn values_are_compared_field_by_field() {
        let asked = json!({"a": 1, "off": false, "none": null, "m": {"k": "v"}});
        for same in
            [json!({"a": 1, "m": {"k": "v", "more": "x"}, "b": 2}), json!({"a": 1, "off": false, "m": {"k": "v"}})]
        {
            check("it", &asked, &same).expect("nothing that was asked differs");
        }
        for other in [json!({"a": 2, "m": {"k": "v"}}), json!({"a": 1, "off": true, "m": {"k": "v"}}), json!({"a": 1})]
        {
            check("it", &asked, &other).expect_err("it differs");
        }
    }
}
