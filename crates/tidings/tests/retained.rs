//! Retained kinds: the newest by key is told to whoever connects.

mod common;

use std::sync::Arc;

use common::{Bench, drain, event_for, number, profile, rule, who};
use tidings::{EventRule, Filter, Limits, NewEvent, Profile, Subscriber};

fn retaining(name: &str, topic: &str) -> EventRule {
    let mut rule = rule(name, topic);
    rule.retain = true;
    rule
}

fn profiles() -> [Arc<Profile>; 1] {
    [profile([retaining("state", "server"), retaining("job", "job/{data.id}"), rule("e", "t")])]
}

fn state(audience: &str, key: &str, n: u64) -> NewEvent {
    NewEvent { name: "state".into(), key: Some(key.into()), ..event_for("app/server", &[audience], n) }
}

fn other(n: u64) -> NewEvent {
    event_for("app/t", &["app/everyone"], n)
}

fn told(subscriber: &Subscriber) -> Vec<u64> {
    let mut told: Vec<_> = subscriber.retained().iter().map(|entry| number(entry)).collect();
    told.sort_unstable();
    told
}

#[tokio::test]
async fn whoever_connects_is_told_the_newest_of_each_key() {
    let bench = Bench::with(Limits::default(), profiles()).await;
    for (key, n) in [("b", 1), ("a", 2), ("a", 3), ("c", 4), ("b", 5)] {
        bench.publish(state("app/everyone", key, n)).await;
        bench.publish(other(100 + n)).await;
    }
    let subscriber = bench.hub.subscribe(who("u", &["app/everyone"]), Filter::all(), None);
    assert_eq!(told(&subscriber), [3, 4, 5]);
    let order: Vec<_> = subscriber.retained().iter().map(|entry| number(entry)).collect();
    assert_eq!(order, [3, 4, 5], "in log order");
    let asked = bench.hub.subscribe(who("u", &["app/everyone"]), common::topics(&["app/t"]), None);
    assert_eq!(told(&asked), [] as [u64; 0], "who did not ask for it is not told");
}

#[tokio::test]
async fn a_retained_event_is_told_only_to_its_audience() {
    let bench = Bench::with(Limits::default(), profiles()).await;
    bench.publish(state("app/role/admin", "a", 1)).await;
    bench.publish(state("app/everyone", "b", 2)).await;
    let user = bench.hub.subscribe(who("u", &["app/everyone"]), Filter::all(), None);
    assert_eq!(told(&user), [2]);
    let admin = bench.hub.subscribe(who("a", &["app/everyone", "app/role/*"]), Filter::all(), None);
    assert_eq!(told(&admin), [1, 2]);
}

#[tokio::test]
async fn what_a_replay_will_bring_is_not_told_before_it() {
    let bench = Bench::with(Limits::default(), profiles()).await;
    bench.publish(state("app/everyone", "a", 1)).await;
    bench.publish(state("app/everyone", "b", 2)).await;
    bench.publish(state("app/everyone", "a", 3)).await;
    for (after, retained, replayed) in [
        (0, vec![], vec!["1", "2", "3"]),
        (1, vec![], vec!["2", "3"]),
        (2, vec![2], vec!["3"]),
        (3, vec![2, 3], vec![]),
    ] {
        let asked = bench.cursor(after);
        let mut subscriber = bench.hub.subscribe(who("u", &["app/everyone"]), Filter::all(), Some(&asked));
        assert_eq!(told(&subscriber), retained, "after {after}");
        assert_eq!(drain(&mut subscriber).await, replayed, "after {after}");
    }
}

#[tokio::test]
async fn the_state_survives_reopening_also_when_it_lies_far_behind_the_window() {
    let limits = Limits { window_events: 8, page_events: 3, ..Limits::default() };
    let bench = Bench::with(limits.clone(), profiles()).await;
    bench.publish(state("app/everyone", "a", 1)).await;
    bench.publish(state("app/everyone", "b", 2)).await;
    bench.publish(state("app/everyone", "a", 3)).await;
    for n in 0..50 {
        bench.publish(other(n)).await;
    }
    // Its topic is not fixed: the log's index can't find it, so only the window knows it.
    let job =
        |n| NewEvent { name: "job".into(), key: Some("j".into()), ..event_for("app/job/1", &["app/everyone"], n) };
    bench.publish(job(4)).await;
    let Bench { hub, broker, .. } = bench;
    drop(hub);
    let again = Bench::on(broker, limits, profiles()).await;
    let subscriber = again.hub.subscribe(who("u", &["app/everyone"]), Filter::all(), None);
    assert_eq!(told(&subscriber), [2, 3, 4]);
}

#[tokio::test]
async fn a_newer_state_in_the_window_goes_before_an_older_one_in_the_log() {
    let limits = Limits { window_events: 4, ..Limits::default() };
    let bench = Bench::with(limits.clone(), profiles()).await;
    bench.publish(state("app/everyone", "a", 1)).await;
    for n in 0..10 {
        bench.publish(other(n)).await;
    }
    bench.publish(state("app/everyone", "a", 2)).await;
    let again = Bench::on(bench.broker.clone(), limits, profiles()).await;
    let subscriber = again.hub.subscribe(who("u", &["app/everyone"]), Filter::all(), None);
    assert_eq!(told(&subscriber), [2]);
}

#[tokio::test]
async fn a_retained_signal_is_told_as_long_as_the_program_runs() {
    let bench = Bench::with(Limits::default(), profiles()).await;
    bench.publish(NewEvent { kept: false, ..state("app/everyone", "a", 1) }).await;
    bench.publish(NewEvent { kept: false, ..state("app/everyone", "a", 2) }).await;
    let subscriber = bench.hub.subscribe(who("u", &["app/everyone"]), Filter::all(), None);
    assert_eq!(told(&subscriber), [2]);
    let again = Bench::on(bench.broker.clone(), Limits::default(), profiles()).await;
    let subscriber = again.hub.subscribe(who("u", &["app/everyone"]), Filter::all(), None);
    assert_eq!(told(&subscriber), [] as [u64; 0]);
}
