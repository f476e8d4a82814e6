//! Signals: not kept, the newest wins, and they stand among the events in the order in which they came.

mod common;

use std::sync::atomic::Ordering;

use common::{Bench, drain, event, event_for, signal, who};
use tidings::{Broker, Delivery, Filter, NewEvent, Offset};

#[tokio::test]
async fn a_signal_reaches_those_who_listen_and_is_kept_nowhere() {
    let bench = Bench::new().await;
    let mut live = bench.subscribe(Filter::all(), None);
    assert_eq!(bench.publish(signal(Some("k"), 1)).await, "", "it has no cursor");
    assert_eq!(drain(&mut live).await, ["~1"]);
    assert_eq!(bench.broker.head().last, Offset::START);
    let mut fresh = bench.subscribe(Filter::all(), None);
    let mut earliest = bench.subscribe(Filter::all(), Some("earliest"));
    bench.publish_numbers([2]).await;
    assert_eq!(drain(&mut fresh).await, ["2"], "who comes later does not hear of it");
    assert_eq!(drain(&mut earliest).await.last().unwrap(), "2");
    let counted = (&bench.hub.counters.signals, &bench.hub.counters.events);
    assert_eq!((counted.0.load(Ordering::Relaxed), counted.1.load(Ordering::Relaxed)), (1, 1));
}

#[tokio::test]
async fn signals_and_events_keep_the_order_in_which_they_came() {
    let bench = Bench::new().await;
    let mut live = bench.subscribe(Filter::all(), None);
    bench.hub.publish(vec![signal(None, 1), event("t", 2), signal(None, 3), signal(Some("a"), 4)]).await.unwrap();
    bench.hub.publish(vec![event("t", 5), signal(Some("b"), 6)]).await.unwrap();
    assert_eq!(drain(&mut live).await, ["~1", "2", "~3", "~4", "5", "~6"]);
}

#[tokio::test]
async fn a_slow_reader_is_given_only_the_newest_of_each_key() {
    let bench = Bench::new().await;
    let mut slow = bench.subscribe(Filter::all(), None);
    for n in 0..5 {
        bench.publish(signal(Some("a"), 10 + n)).await;
        bench.publish(signal(Some("b"), 20 + n)).await;
        bench.publish(event("t", n)).await;
    }
    // The same key under another name, or on another topic, is another thing.
    bench.publish(NewEvent { name: "other".into(), ..signal(Some("a"), 30) }).await;
    bench.publish(NewEvent { topic: "u".parse().unwrap(), ..signal(Some("a"), 31) }).await;
    assert_eq!(drain(&mut slow).await, ["0", "1", "2", "3", "~14", "~24", "4", "~30", "~31"]);
}

#[tokio::test]
async fn signals_without_a_key_replace_nothing() {
    let bench = Bench::new().await;
    let mut slow = bench.subscribe(Filter::all(), None);
    for n in 0..4 {
        bench.publish(signal(None, n)).await;
    }
    assert_eq!(drain(&mut slow).await, ["~0", "~1", "~2", "~3"]);
}

#[tokio::test]
async fn a_signal_that_is_replaced_while_a_reader_holds_it_says_so() {
    let bench = Bench::new().await;
    let mut live = bench.subscribe(Filter::all(), None);
    bench.publish(signal(Some("a"), 1)).await;
    let Delivery::Event(entry) = live.next().await else { panic!("a signal") };
    assert!(!entry.is_superseded());
    bench.publish(signal(Some("a"), 2)).await;
    assert!(entry.is_superseded());
}

#[tokio::test]
async fn replaced_signals_are_freed_at_once_and_never_fill_the_window_with_bytes() {
    let bench = Bench::narrow(100, 100).await;
    bench.publish(event("t", 1)).await;
    bench.publish(signal(Some("a"), 1)).await;
    let (_, bytes) = bench.hub.window().size();
    for _ in 0..50 {
        bench.publish(signal(Some("a"), 1)).await;
    }
    assert_eq!(bench.hub.window().size().1, bytes);
    for n in 0..500 {
        bench.publish(signal(Some("a"), n)).await;
    }
    let (entries, _) = bench.hub.window().size();
    assert!(entries <= 100, "{entries}");
}

#[tokio::test]
async fn who_resumes_is_given_the_signals_that_came_after_its_place_and_none_before() {
    let bench = Bench::new().await;
    bench.publish(event("t", 1)).await;
    bench.publish(signal(Some("old"), 2)).await;
    bench.publish(event("t", 3)).await;
    bench.publish(signal(Some("new"), 4)).await;
    bench.publish(signal(Some("new"), 5)).await;
    bench.publish(event("t", 6)).await;
    let mut resumed = bench.subscribe(Filter::all(), Some(&bench.cursor(2)));
    assert_eq!(drain(&mut resumed).await, ["~5", "6"]);
    let mut current = bench.subscribe(Filter::all(), Some(&bench.cursor(3)));
    assert_eq!(drain(&mut current).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_place_is_found_among_any_number_of_replaced_signals() {
    let bench = Bench::new().await;
    let mut n = 0;
    for round in [3, 0, 7, 40, 1, 0, 0, 12] {
        for _ in 0..round {
            n += 1;
            bench.publish(signal(Some("k"), n)).await;
        }
        bench.publish(event("t", 1_000 + n)).await;
    }
    for after in 0..8 {
        let mut resumed = bench.subscribe(Filter::all(), Some(&bench.cursor(after)));
        let seen = drain(&mut resumed).await;
        let events = seen.iter().filter(|said| !said.starts_with('~')).count() as u64;
        assert_eq!(events, 8 - after, "after {after}: {seen:?}");
    }
}

#[tokio::test]
async fn a_signal_is_for_its_audience_alone() {
    let bench = Bench::new().await;
    let mut red = bench.hub.subscribe(who("r", &["red"]), Filter::all(), None);
    let mut blue = bench.hub.subscribe(who("b", &["blue"]), Filter::all(), None);
    bench.publish(NewEvent { kept: false, ..event_for("t", &["red"], 1) }).await;
    assert_eq!(drain(&mut blue).await, Vec::<String>::new());
    assert_eq!(drain(&mut red).await, ["~1"]);
}

#[tokio::test]
async fn a_signal_for_others_does_not_replace_ours() {
    let bench = Bench::new().await;
    let mut red = bench.hub.subscribe(who("r", &["red"]), Filter::all(), None);
    let mut both = bench.hub.subscribe(who("b", &["red", "blue"]), Filter::all(), None);
    let notice = |audience, n| NewEvent { kept: false, key: Some("k".into()), ..event_for("t", &[audience], n) };
    for (audience, n) in [("red", 1), ("red", 2), ("blue", 3), ("blue", 4)] {
        bench.publish(notice(audience, n)).await;
    }
    assert_eq!(drain(&mut red).await, ["~2"]);
    assert_eq!(drain(&mut both).await, ["~2", "~4"]);
}

#[tokio::test]
async fn signals_move_no_cursor() {
    let bench = Bench::new().await;
    bench.publish(event("t", 1)).await;
    let mut live = bench.subscribe(Filter::all(), None);
    bench.publish(signal(None, 2)).await;
    bench.publish(signal(None, 3)).await;
    for _ in 0..2 {
        assert!(matches!(live.next().await, Delivery::Event(_)));
        assert_eq!(live.cursor().to_string(), bench.cursor(1));
    }
}

#[tokio::test]
async fn one_that_fell_behind_the_window_loses_signals_and_no_event() {
    let bench = Bench::narrow(6, 4).await;
    let mut slow = bench.subscribe(Filter::all(), None);
    for n in 1..=30 {
        bench.hub.publish(vec![event("t", n), signal(None, n)]).await.unwrap();
    }
    let seen = drain(&mut slow).await;
    let events: Vec<_> = seen.iter().filter(|said| !said.starts_with('~')).cloned().collect();
    assert_eq!(events, common::numbers(1..=30));
    assert_eq!(seen[seen.len() - 6..], ["28", "~28", "29", "~29", "30", "~30"]);
}
