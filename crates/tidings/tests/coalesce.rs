//! Coalescing: the newest by key, before it is appended.

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::{Bench, drain, event_for, number, profile, rule, who};
use tidings::{BrokerError, Coalesce, Delivery, Filter, Limits, NewEvent, Published, Subscriber};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

const WINDOW: Duration = Duration::from_millis(100);
const MAX_WAIT: Duration = Duration::from_millis(250);

async fn bench() -> Bench {
    let coalescing = |name| {
        let mut rule = rule(name, "t");
        rule.coalesce = Some(Coalesce { window: WINDOW, max_wait: MAX_WAIT });
        rule
    };
    Bench::with(Limits::default(), [profile([coalescing("progress"), coalescing("other"), rule("e", "t")])]).await
}

fn progress(key: &str, n: u64) -> NewEvent {
    NewEvent { name: "progress".into(), key: Some(key.into()), ..plain(n) }
}

fn plain(n: u64) -> NewEvent {
    event_for("app/t", &["everyone"], n)
}

/// Publishes in a task that has handed the event in when this returns.
async fn begin(bench: &Bench, event: NewEvent) -> JoinHandle<Result<Published, BrokerError>> {
    let hub = bench.hub.clone();
    let publishing = tokio::spawn(async move { hub.publish(vec![event]).await.map(|published| published[0]) });
    tokio::task::yield_now().await;
    publishing
}

/// What arrives, with the milliseconds since the start.
fn listen(mut subscriber: Subscriber) -> JoinHandle<Vec<(u64, u128)>> {
    let begun = Instant::now();
    tokio::spawn(async move {
        let mut seen = Vec::new();
        while let Ok(Delivery::Event(entry)) = tokio::time::timeout(Duration::from_secs(5), subscriber.next()).await {
            seen.push((number(&entry), begun.elapsed().as_millis()));
        }
        seen
    })
}

#[tokio::test(start_paused = true)]
async fn the_first_goes_out_at_once_and_the_newest_when_the_window_ends() {
    let bench = bench().await;
    let heard = listen(bench.subscribe(Filter::all(), None));
    let first = begin(&bench, progress("k", 1)).await;
    let second = begin(&bench, progress("k", 2)).await;
    sleep(Duration::from_millis(50)).await;
    let third = begin(&bench, progress("k", 3)).await;
    let published = first.await.unwrap().unwrap();
    assert!(!published.coalesced);
    let (second, third) = (second.await.unwrap().unwrap(), third.await.unwrap().unwrap());
    assert_eq!(second.cursor, third.cursor, "who was replaced is answered with the place of the newer one");
    assert!(second.cursor.is_some() && second.cursor != published.cursor);
    assert_eq!((second.coalesced, third.coalesced), (true, false));
    assert_eq!(heard.await.unwrap(), [(1, 0), (3, 150)], "the window began anew with the third");
    assert_eq!(bench.broker.events().len(), 2, "what was replaced was never appended");
    assert_eq!(bench.hub.counters.coalesced.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn what_has_no_value_for_the_key_of_its_rule_takes_the_place_of_nothing() {
    let mut keyed = rule("progress", "t");
    keyed.key = Some("{data.id}".parse().unwrap());
    keyed.coalesce = Some(Coalesce { window: WINDOW, max_wait: MAX_WAIT });
    let bench = Bench::with(Limits::default(), [profile([keyed])]).await;
    let heard = listen(bench.subscribe(Filter::all(), None));
    let many = (0..10).map(|n| NewEvent { name: "progress".into(), key: None, ..plain(n) }).collect();
    bench.hub.publish(many).await.unwrap();
    assert_eq!(heard.await.unwrap(), (0..10).map(|n| (n, 0)).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_held_back_longer_than_its_longest_wait() {
    let bench = bench().await;
    let heard = listen(bench.subscribe(Filter::all(), None));
    for n in 0..20 {
        drop(begin(&bench, progress("k", n)).await);
        sleep(Duration::from_millis(50)).await;
    }
    // 1 waits from 50 ms on, and a newer one comes before each window ends: at 300 ms the newest goes out in any case.
    let heard = heard.await.unwrap();
    assert_eq!(heard[..2], [(0, 0), (5, 300)], "{heard:?}");
    assert_eq!(heard.last().unwrap().0, 19);
    for pair in heard.windows(2) {
        assert!(pair[1].1 - pair[0].1 <= 50 + MAX_WAIT.as_millis(), "{heard:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_quiet_window_the_next_goes_out_at_once_again() {
    let bench = bench().await;
    let heard = listen(bench.subscribe(Filter::all(), None));
    for n in 0..3 {
        begin(&bench, progress("k", n)).await.await.unwrap().unwrap();
        sleep(WINDOW * 2).await;
    }
    assert_eq!(heard.await.unwrap(), [(0, 0), (1, 200), (2, 400)]);
}

#[tokio::test(start_paused = true)]
async fn other_keys_names_and_topics_do_not_mix() {
    let bench = bench().await;
    let heard = listen(bench.subscribe(Filter::all(), None));
    let others = [
        progress("k", 1),
        progress("l", 2),
        NewEvent { name: "other".into(), ..progress("k", 3) },
        NewEvent { topic: "app/u".parse().unwrap(), ..progress("k", 4) },
    ];
    for event in others {
        assert!(!begin(&bench, event).await.await.unwrap().unwrap().coalesced);
    }
    assert_eq!(heard.await.unwrap(), [(1, 0), (2, 0), (3, 0), (4, 0)]);
}

#[tokio::test(start_paused = true)]
async fn a_signal_never_takes_the_place_of_an_event_that_is_kept() {
    let bench = bench().await;
    let mut subscriber = bench.subscribe(Filter::all(), None);
    drop(begin(&bench, progress("k", 1)).await);
    let kept = begin(&bench, progress("k", 2)).await;
    let signal = begin(&bench, NewEvent { kept: false, ..progress("k", 3) }).await;
    assert_eq!(signal.await.unwrap().unwrap().cursor, None);
    assert!(kept.await.unwrap().unwrap().cursor.is_some());
    assert_eq!(bench.broker.events().len(), 2);
    assert_eq!(drain(&mut subscriber).await, ["1", "~3", "2"]);
}

#[tokio::test(start_paused = true)]
async fn an_event_for_others_does_not_take_the_place_of_ours() {
    let bench = bench().await;
    let mut red = bench.hub.subscribe(who("r", &["red"]), Filter::all(), None);
    let mut blue = bench.hub.subscribe(who("b", &["blue"]), Filter::all(), None);
    let event = |audience, n| NewEvent { audience: event_for("t", &[audience], n).audience, ..progress("k", n) };
    for (audience, n) in [("red", 1), ("red", 2), ("blue", 3), ("blue", 4), ("blue", 5)] {
        drop(begin(&bench, event(audience, n)).await);
    }
    sleep(WINDOW * 2).await;
    assert_eq!(drain(&mut red).await, ["1", "2"]);
    assert_eq!(drain(&mut blue).await, ["3", "5"]);
}

#[tokio::test(start_paused = true)]
async fn events_of_other_kinds_go_out_at_once_and_in_order() {
    let bench = bench().await;
    let heard = listen(bench.subscribe(Filter::all(), None));
    let hub = bench.hub.clone();
    let batch = vec![plain(1), progress("k", 2), plain(3), progress("k", 4), plain(5)];
    let published = tokio::spawn(async move { hub.publish(batch).await });
    sleep(Duration::from_millis(10)).await;
    bench.hub.publish(vec![plain(6)]).await.unwrap();
    let published = published.await.unwrap().unwrap();
    assert_eq!(heard.await.unwrap(), [(1, 0), (2, 0), (3, 0), (5, 0), (6, 10), (4, 100)]);
    let places: Vec<_> = published.iter().map(|published| published.cursor.unwrap().offset.0).collect();
    assert_eq!(places, [1, 2, 3, 6, 4], "each with its own answer, in the order of the batch");
}

#[tokio::test(start_paused = true)]
async fn signals_are_answered_at_once() {
    let bench = bench().await;
    let begun = Instant::now();
    for n in 0..5 {
        let event = NewEvent { kept: false, ..progress("k", n) };
        let published = bench.hub.publish(vec![event]).await.unwrap();
        assert_eq!(published[0], Published { cursor: None, coalesced: n > 0 });
    }
    assert_eq!(begun.elapsed(), Duration::ZERO);
    let mut subscriber = bench.subscribe(Filter::all(), None);
    sleep(WINDOW * 2).await;
    assert_eq!(drain(&mut subscriber).await, ["~4"]);
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_log_reaches_all_who_wait() {
    let bench = bench().await;
    begin(&bench, progress("k", 1)).await.await.unwrap().unwrap();
    let waiting = [begin(&bench, progress("k", 2)).await, begin(&bench, progress("k", 3)).await];
    bench.broker.fails.store(true, Ordering::SeqCst);
    for publishing in waiting {
        let error = publishing.await.unwrap().unwrap_err();
        assert!(error.to_string().contains("there is no room"), "{error}");
    }
    bench.broker.fails.store(false, Ordering::SeqCst);
    sleep(WINDOW * 3).await;
    begin(&bench, progress("k", 4)).await.await.unwrap().unwrap();
    let kept: Vec<_> = bench.broker.events().iter().map(|event| event.data.clone()).collect();
    assert_eq!(kept, ["1", "4"], "what failed does not come later");
}

#[tokio::test(start_paused = true)]
async fn of_what_was_published_in_part_nobody_hears_that_nothing_was() {
    let bench = bench().await;
    begin(&bench, progress("k", 1)).await.await.unwrap().unwrap();
    let publish = |batch: Vec<NewEvent>| {
        let hub = bench.hub.clone();
        tokio::spawn(async move { hub.publish(batch).await })
    };
    let batch = publish(vec![plain(2), progress("k", 3)]);
    let only_later = publish(vec![progress("k", 4), NewEvent { kept: false, ..plain(5) }]);
    sleep(Duration::from_millis(10)).await;
    bench.broker.fails.store(true, Ordering::SeqCst);
    let failed_now = publish(vec![plain(6), progress("k", 7)]);
    let error = batch.await.unwrap().unwrap_err();
    assert!(matches!(error, BrokerError::Unclear(_)), "2 is in the log: {error}");
    for nothing in [only_later, failed_now] {
        let error = nothing.await.unwrap().unwrap_err();
        assert!(matches!(error, BrokerError::Full(_)), "nothing of it is in the log: {error}");
    }

    bench.broker.fails.store(false, Ordering::SeqCst);
    sleep(WINDOW * 3).await;
    begin(&bench, progress("k", 8)).await.await.unwrap().unwrap();
    bench.broker.fails.store(true, Ordering::SeqCst);
    let batch = publish(vec![plain(9), progress("k", 10)]);
    sleep(Duration::from_millis(10)).await;
    bench.broker.fails.store(false, Ordering::SeqCst);
    let error = batch.await.unwrap().unwrap_err();
    assert!(matches!(error, BrokerError::Unclear(_)), "10 came into the log later: {error}");
    let kept: Vec<_> = bench.broker.events().iter().map(|event| event.data.clone()).collect();
    assert_eq!(kept, ["1", "2", "8", "10"]);
}

#[tokio::test(start_paused = true)]
async fn a_publisher_that_goes_away_takes_its_event_not_back() {
    let bench = bench().await;
    begin(&bench, progress("k", 1)).await.await.unwrap().unwrap();
    begin(&bench, progress("k", 2)).await.abort();
    sleep(WINDOW * 2).await;
    assert_eq!(bench.broker.events().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn live_and_resumed_readers_see_the_same() {
    let bench = bench().await;
    let mut live = bench.hub.subscribe(who("u", &["everyone"]), Filter::all(), None);
    let start = bench.cursor(0);
    for n in 0..30 {
        drop(begin(&bench, progress(if n % 3 == 0 { "k" } else { "l" }, n)).await);
        drop(begin(&bench, plain(100 + n)).await);
        sleep(Duration::from_millis(30)).await;
    }
    sleep(Duration::from_secs(1)).await;
    let mut resumed = bench.subscribe(Filter::all(), Some(&start));
    let seen = drain(&mut live).await;
    assert_eq!(seen, drain(&mut resumed).await);
    assert!(seen.len() < 60 && seen.len() > 30, "{seen:?}");
    let again = Bench::on(Arc::clone(&bench.broker), Limits::default(), []).await;
    assert_eq!(drain(&mut again.subscribe(Filter::all(), Some(&start))).await, seen);
}
