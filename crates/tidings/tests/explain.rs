//! What is explained is what happens.

mod common;

use std::sync::Arc;

use common::{Bench, event_for, number, rule};
use proptest::prelude::*;
use tidings::{
    Delivery, Event, Filter, Grants, Interest, NewEvent, Offset, Principal, Profile, Timestamp, TopicPattern, explain,
};

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec("[ab]", 1..4).prop_map(|segments| segments.join("/"))
}

fn pattern() -> impl Strategy<Value = String> {
    (prop::collection::vec("[ab*]", 1..4), any::<bool>())
        .prop_map(|(segments, rest)| segments.join("/") + if rest { "/**" } else { "" })
}

fn filter() -> impl Strategy<Value = Filter> {
    let topics = prop::option::of(prop::collection::vec(pattern(), 0..3));
    (topics, prop::option::of(prop::collection::vec("[ef]", 0..2))).prop_map(|(topics, names)| {
        let filter = topics.map_or_else(Filter::all, |list| {
            Filter::topics(list.iter().map(|topic| topic.parse::<TopicPattern>().unwrap()))
        });
        match names {
            Some(names) => filter.names(names.iter().map(|name| name.as_str().into())),
            None => filter,
        }
    })
}

fn principal() -> impl Strategy<Value = Principal> {
    prop::collection::vec(pattern(), 0..4)
        .prop_map(|grants| Principal::new("u", Grants::parse(grants.iter().map(String::as_str)).unwrap(), "test"))
}

fn new_event() -> impl Strategy<Value = NewEvent> {
    ("[ef]", path(), prop::collection::vec(path(), 0..3)).prop_map(|(name, topic, audience)| {
        let audience: Vec<&str> = audience.iter().map(String::as_str).collect();
        NewEvent { name: name.as_str().into(), ..event_for(&topic, &audience, 1) }
    })
}

proptest! {
    #[test]
    fn an_event_is_explained_as_given_just_when_the_hub_gives_it(
        principal in principal(), filter in filter(), event in new_event(),
    ) {
        let profile = Profile::open();
        let rule = rule("e", "t");
        let interest = Interest { filter: filter.clone(), grants: principal.grants.clone() };
        let event = Event { offset: Offset(1), body: event };
        let explanation = explain(&profile, &rule, &principal, &filter, &event, Timestamp(0));
        prop_assert_eq!(explanation.given, interest.covers(&event), "{}", explanation);
        let refused = explanation.steps.iter().any(|step| !step.passed);
        prop_assert_eq!(refused, !explanation.given, "a refusal names its step");
    }

    #[test]
    fn what_is_delivered_is_what_is_explained(
        principal in principal(), filter in filter(), events in prop::collection::vec(new_event(), 1..12),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let bench = Bench::new().await;
            let mut live = bench.hub.subscribe(Arc::new(principal.clone()), filter.clone(), None);
            for (n, event) in (0..).zip(&events) {
                bench.publish(NewEvent { data: n.to_string().into(), ..event.clone() }).await;
            }
            let mut seen = Vec::new();
            while let Some(Delivery::Event(entry)) = live.try_next().await {
                seen.push(number(&entry));
            }
            let rule = rule("e", "t");
            let given = bench.broker.events().into_iter().filter(|event| {
                explain(&Profile::open(), &rule, &principal, &filter, event, Timestamp(0)).given
            });
            let expected: Vec<u64> = given.map(|event| event.offset.0 - 1).collect();
            prop_assert_eq!(seen, expected);
            Ok(())
        })?;
    }
}

#[test]
fn an_expired_principal_is_given_nothing_and_told_why() {
    let principal =
        Principal { expires_at: Some(Timestamp(1_000)), ..Principal::new("u", Grants::parse(["**"]).unwrap(), "test") };
    let event = Event { offset: Offset(1), body: event_for("t", &["everyone"], 1) };
    let explained =
        |now| explain(&Profile::open(), &rule("e", "t"), &principal, &Filter::all(), &event, Timestamp(now));
    assert!(explained(999).given);
    let late = explained(3_000);
    assert!(!late.given);
    assert_eq!(late.steps[0].answer, "no: it ran out 2 s ago");
}
