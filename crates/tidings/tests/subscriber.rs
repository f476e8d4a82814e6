//! What a subscriber is given: live, resumed, and at the end.

mod common;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Bench, drain, event, event_for, numbers, said, take, topics, who};
use tidings::{Broker, CloseReason, Delivery, Filter, Grants, Limits, Offset, Principal, Revocation, Timestamp};

#[tokio::test]
async fn events_arrive_in_log_order_and_only_those_asked_for_and_allowed() {
    let bench = Bench::new().await;
    let mut all = bench.hub.subscribe(who("a", &["red", "blue"]), Filter::all(), None);
    let mut some = bench.hub.subscribe(who("b", &["red"]), topics(&["x/*"]), None);
    for (topic, audience, n) in [("x/1", "red", 1), ("y/1", "red", 2), ("x/1", "blue", 3), ("x/2", "red", 4)] {
        bench.publish(event_for(topic, &[audience], n)).await;
    }
    assert_eq!(drain(&mut all).await, numbers(1..=4));
    assert_eq!(drain(&mut some).await, ["1", "4"]);
}

#[tokio::test]
async fn a_subscriber_that_waits_is_woken_by_what_concerns_it_and_by_nothing_else() {
    let bench = Bench::new().await;
    let mut quiet = bench.subscribe(topics(&["mine"]), None);
    let mut waiting = Box::pin(quiet.next());
    let mut polled = by_hand(&mut waiting);
    assert!(polled.poll().is_none());
    bench.publish(event("theirs", 1)).await;
    assert!(!polled.woken(), "an event on another topic costs it nothing");
    bench.publish(event("mine", 2)).await;
    assert!(polled.woken());
    assert_eq!(said(&polled.poll().unwrap()), "2");
}

#[tokio::test]
async fn the_cursor_of_a_quiet_subscriber_moves_on_with_the_log() {
    let bench = Bench::new().await;
    let mut quiet = bench.subscribe(topics(&["mine"]), None);
    assert_eq!(drain(&mut quiet).await, numbers([]));
    bench.publish_numbers(1..=9).await;
    assert_eq!(quiet.cursor().to_string(), bench.cursor(9));
    bench.publish(event("mine", 10)).await;
    assert_eq!(quiet.cursor().to_string(), bench.cursor(9), "what it was not given yet comes after its cursor");
    assert_eq!(drain(&mut quiet).await, ["10"]);
    assert_eq!(quiet.cursor().to_string(), bench.cursor(10));
}

#[tokio::test]
async fn the_cursor_stands_before_what_was_read_but_not_taken() {
    let bench = Bench::new().await;
    let mut subscriber = bench.subscribe(Filter::all(), None);
    bench.publish_numbers(1..=3).await;
    for n in 1..=3 {
        assert_eq!(said(&subscriber.next().await), n.to_string());
        let cursor = subscriber.cursor().to_string();
        assert_eq!(cursor, bench.cursor(n));
        let mut resumed = bench.subscribe(Filter::all(), Some(&cursor));
        assert_eq!(drain(&mut resumed).await, numbers(n + 1..=3));
    }
}

#[tokio::test]
async fn resuming_within_the_window_reads_no_log() {
    let bench = Bench::new().await;
    bench.publish_numbers(1..=20).await;
    let before = bench.broker.reads();
    let mut resumed = bench.subscribe(Filter::all(), Some(&bench.cursor(5)));
    assert_eq!(drain(&mut resumed).await, numbers(6..=20));
    assert_eq!(bench.broker.reads(), before);
}

#[tokio::test]
async fn resuming_behind_the_window_reads_the_log_up_to_the_window_and_goes_on_live() {
    let bench = Bench::narrow(8, 5).await;
    bench.publish_numbers(1..=100).await;
    let mut resumed = bench.subscribe(Filter::all(), Some(&bench.cursor(3)));
    assert_eq!(drain(&mut resumed).await, numbers(4..=100));
    bench.publish_numbers(101..=110).await;
    assert_eq!(drain(&mut resumed).await, numbers(101..=110));
}

#[tokio::test]
async fn readers_at_one_place_share_a_read_and_named_topics_let_the_log_seek() {
    let bench = Bench::narrow(4, 100).await;
    bench.publish_numbers(1..=50).await;
    let seeks = Arc::new(Mutex::new(Vec::new()));
    let noted = seeks.clone();
    bench.broker.before_read(move |query| noted.lock().unwrap().push(query.topics.is_some()));
    for filter in [Filter::all(), Filter::all(), topics(&["t"]), topics(&["t"]), topics(&["*"])] {
        let mut reader = bench.subscribe(filter, Some(&bench.cursor(3)));
        assert_eq!(drain(&mut reader).await, numbers(4..=50));
    }
    assert_eq!(*seeks.lock().unwrap(), [false, true], "one read of all, one of the topic");
}

#[tokio::test]
async fn what_is_durable_but_not_announced_is_not_read_from_the_log() {
    let bench = Bench::narrow(4, 100).await;
    bench.publish_numbers(1..=20).await;
    bench.broker.holds.store(true, Ordering::SeqCst);
    bench.publish_numbers(21..=25).await;
    let mut resumed = bench.subscribe(Filter::all(), Some(&bench.cursor(2)));
    assert_eq!(drain(&mut resumed).await, numbers(3..=20));
    assert_eq!(resumed.cursor().to_string(), bench.cursor(20));
    bench.broker.announce();
    assert_eq!(drain(&mut resumed).await, numbers(21..=25), "once, and only now");
}

#[tokio::test]
async fn nothing_falls_into_the_seam_while_publishing_goes_on() {
    let bench = Bench::narrow(8, 5).await;
    bench.publish_numbers(1..=50).await;
    // Each read of the log finds that more was appended just before it: the window runs away from the reader.
    let (hub, next) = (bench.hub.clone(), Arc::new(Mutex::new(51u64)));
    let publish = move || {
        let mut next = next.lock().unwrap();
        let events: Vec<_> = (*next..*next + 3).filter(|n| *n <= 200).map(|n| event("t", n)).collect();
        *next += 3;
        let hub = hub.clone();
        tokio::spawn(async move { hub.publish(events).await.unwrap() });
    };
    bench.broker.before_read(move |_| publish());
    let mut resumed = bench.subscribe(Filter::all(), Some(&bench.cursor(10)));
    let mut seen = drain(&mut resumed).await;
    let more = drain(&mut resumed).await;
    seen.extend(more);
    let last: u64 = bench.broker.head().last.0;
    assert!(last > 60, "it did go on: {last}");
    assert_eq!(seen, numbers(11..=last));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_publishers_and_readers_agree_on_one_order() {
    let bench = Arc::new(Bench::narrow(16, 7).await);
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let mut subscriber = bench.subscribe(Filter::all(), None);
            tokio::spawn(async move {
                let mut seen = Vec::new();
                while seen.len() < 600 {
                    match subscriber.next().await {
                        Delivery::Event(entry) => seen.push(entry.event.offset.0),
                        other => panic!("{other:?}"),
                    }
                }
                seen
            })
        })
        .collect();
    let publishers: Vec<_> = (0..3)
        .map(|_| {
            let bench = bench.clone();
            tokio::spawn(async move {
                for n in 0..100 {
                    bench.hub.publish(vec![event("t", n), event("u", n)]).await.unwrap();
                }
            })
        })
        .collect();
    for publisher in publishers {
        publisher.await.unwrap();
    }
    for reader in readers {
        let seen = tokio::time::timeout(Duration::from_secs(60), reader).await.expect("no wake-up is lost").unwrap();
        assert_eq!(seen, (1..=600).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn more_than_is_taken_at_once_comes_whole() {
    let bench = Bench::new().await;
    let mut subscriber = bench.subscribe(Filter::all(), None);
    bench.hub.publish((1..=1_000).map(|n| event("t", n)).collect()).await.unwrap();
    assert_eq!(take(&mut subscriber, 1_000).await, numbers(1..=1_000));
}

#[tokio::test]
async fn earliest_is_everything_that_is_kept() {
    let bench = Bench::narrow(4, 3).await;
    bench.publish_numbers(1..=30).await;
    bench.broker.trim(10);
    let mut subscriber = bench.subscribe(Filter::all(), Some("earliest"));
    assert_eq!(drain(&mut subscriber).await, numbers(11..=30), "without a gap: it asked for no place");
}

#[tokio::test]
async fn a_place_that_is_not_ours_is_told_as_a_gap_and_what_follows_is_complete() {
    let bench = Bench::new().await;
    bench.publish_numbers(1..=3).await;
    for (asked, reason) in
        [("1768600000000-progress", "unknown"), ("000000a2-1", "other-epoch"), ("000000a1-99", "ahead")]
    {
        let mut subscriber = bench.subscribe(Filter::all(), Some(asked));
        assert_eq!(drain(&mut subscriber).await, [format!("gap:{reason}")]);
    }
    let counted = |index: usize| bench.hub.counters.gaps[index].load(Ordering::Relaxed);
    assert_eq!([counted(0), counted(1), counted(2), counted(3)], [1, 1, 0, 1]);
}

#[tokio::test]
async fn a_trimmed_place_is_told_as_a_gap_with_what_may_be_lost() {
    let bench = Bench::narrow(4, 100).await;
    bench.publish_numbers(1..=30).await;
    bench.broker.trim(20);
    let mut subscriber = bench.subscribe(Filter::all(), Some(&bench.cursor(5)));
    let Delivery::Gap(gap) = subscriber.next().await else { panic!("a gap comes first") };
    assert_eq!((gap.asked, gap.resumed.to_string(), gap.at_most), (bench.cursor(5), bench.cursor(20), Some(15)));
    assert_eq!(drain(&mut subscriber).await, numbers(21..=30));
}

#[tokio::test]
async fn a_reader_that_retention_overtakes_is_told_and_goes_on() {
    let bench = Bench::narrow(4, 5).await;
    bench.publish_numbers(1..=40).await;
    let mut subscriber = bench.subscribe(Filter::all(), Some(&bench.cursor(2)));
    assert_eq!(take(&mut subscriber, 5).await, numbers(3..=7));
    bench.broker.trim(15);
    let seen = drain(&mut subscriber).await;
    assert_eq!(seen[0], "gap:trimmed");
    assert_eq!(seen[1..], numbers(16..=40));
}

#[tokio::test]
async fn the_cursor_of_one_that_was_not_told_of_its_gap_yet_stands_before_the_gap() {
    let bench = Bench::narrow(4, 5).await;
    bench.publish_numbers(1..=40).await;
    bench.broker.trim(20);
    let mut subscriber = bench.subscribe(Filter::all(), Some(&bench.cursor(5)));
    let cursor = subscriber.cursor().to_string();
    let mut resumed = bench.subscribe(Filter::all(), Some(&cursor));
    assert_eq!(said(&resumed.next().await), "gap:trimmed", "whoever goes on from there is told as well");
}

#[tokio::test]
async fn a_log_that_can_not_be_read_ends_the_stream_and_skips_nothing() {
    let bench = Bench::narrow(4, 5).await;
    bench.publish_numbers(1..=40).await;
    let mut subscriber = bench.subscribe(Filter::all(), Some(&bench.cursor(2)));
    assert_eq!(take(&mut subscriber, 5).await, numbers(3..=7));
    bench.broker.unreadable.store(true, Ordering::SeqCst);
    assert_eq!(drain(&mut subscriber).await, ["closed:unavailable"]);
    assert_eq!(subscriber.cursor().to_string(), bench.cursor(7));
}

#[tokio::test]
async fn dropping_a_waiting_future_loses_nothing() {
    let bench = Bench::narrow(4, 5).await;
    bench.publish_numbers(1..=20).await;
    let mut subscriber = bench.subscribe(Filter::all(), Some(&bench.cursor(0)));
    let mut seen = Vec::new();
    while seen.len() < 20 {
        // Polled once and dropped, wherever it stood; the read of the log yields in the middle.
        let mut next = Box::pin(subscriber.next());
        let first = by_hand(&mut next).poll();
        drop(next);
        match first {
            Some(delivery) => seen.push(said(&delivery)),
            None => seen.push(said(&subscriber.next().await)),
        }
    }
    assert_eq!(seen, numbers(1..=20));
}

#[tokio::test]
async fn a_revocation_ends_the_streams_it_covers_and_no_others() {
    let bench = Bench::new().await;
    let login = |id: &str, session: &str, key: Option<&str>| {
        let grants = Grants::parse(["everyone"]).unwrap();
        Arc::new(Principal {
            session: Some(session.into()),
            key: key.map(Into::into),
            ..Principal::new(id, grants, "test")
        })
    };
    let mut ann = bench.hub.subscribe(login("ann", "s1", None), Filter::all(), None);
    let mut ann_too = bench.hub.subscribe(login("ann", "s2", None), Filter::all(), None);
    let mut bob = bench.hub.subscribe(login("bob", "s3", Some("k1")), Filter::all(), None);
    bench.publish_numbers([1]).await;
    bench.hub.close(&Revocation::session("s1"), CloseReason::Revoked);
    assert_eq!(drain(&mut ann).await, ["closed:revoked"], "also what it had not read yet is withheld");
    assert_eq!(drain(&mut ann_too).await, ["1"]);
    bench.hub.close(&Revocation::principal("ann"), CloseReason::Reauthenticate);
    assert_eq!(said(&ann_too.next().await), "closed:reauthenticate");
    bench.hub.close(&Revocation::key("k1"), CloseReason::Revoked);
    assert_eq!(drain(&mut bob).await, ["closed:revoked"]);
}

#[tokio::test]
async fn a_revocation_while_a_credential_is_checked_reaches_the_stream_that_comes_of_it() {
    let bench = Bench::new().await;
    let revoke = |id: &str| bench.hub.close(&Revocation::principal(id), CloseReason::Revoked);
    revoke("u");
    let since = bench.hub.moment();
    let mut good = bench.hub.subscribe_at(who("u", &["everyone"]), Filter::all(), bench.hub.start(None), since);
    assert_eq!(drain(&mut good).await, numbers([]), "who was let in after the revocation stays");
    let since = bench.hub.moment();
    revoke("other");
    revoke("v");
    let mut late = bench.hub.subscribe_at(who("v", &["everyone"]), Filter::all(), bench.hub.start(None), since);
    assert_eq!(drain(&mut late).await, ["closed:revoked"]);
}

#[tokio::test]
async fn more_revocations_than_are_remembered_send_the_slow_back_to_be_asked_again() {
    let bench = Bench::new().await;
    let since = bench.hub.moment();
    for n in 0..2_000 {
        bench.hub.close(&Revocation::principal(n.to_string()), CloseReason::Revoked);
    }
    let mut slow = bench.hub.subscribe_at(who("u", &["everyone"]), Filter::all(), bench.hub.start(None), since);
    assert_eq!(drain(&mut slow).await, ["closed:reauthenticate"]);
}

#[tokio::test]
async fn a_revocation_during_a_read_of_the_log_withholds_what_was_read() {
    let bench = Bench::narrow(4, 5).await;
    bench.publish_numbers(1..=40).await;
    let mut subscriber = bench.subscribe(Filter::all(), Some(&bench.cursor(2)));
    let hub = bench.hub.clone();
    bench.broker.before_read(move |_| hub.close(&Revocation::principal("u"), CloseReason::Revoked));
    assert_eq!(drain(&mut subscriber).await, ["closed:revoked"]);
}

#[tokio::test]
async fn a_revocation_ends_a_long_read_that_finds_nothing() {
    let bench = Bench::narrow(4, 5).await;
    bench.publish_numbers(1..=500).await;
    let filter = topics(&["not-there/*"]);
    let mut subscriber = bench.subscribe(filter, Some(&bench.cursor(2)));
    let (hub, before) = (bench.hub.clone(), bench.broker.reads());
    bench.broker.before_read(move |query| {
        if query.after == Offset(12) {
            hub.close(&Revocation::principal("u"), CloseReason::Revoked);
        }
    });
    assert_eq!(drain(&mut subscriber).await, ["closed:revoked"]);
    assert_eq!(bench.broker.reads() - before, 3, "it does not read the whole log first");
}

#[tokio::test(start_paused = true)]
async fn an_expired_credential_ends_the_stream() {
    let bench = Bench::new().await;
    let at = Timestamp(1_000_000).after(Duration::from_secs(60));
    let principal = |id| Arc::new(Principal { expires_at: Some(at), ..(*who(id, &["everyone"])).clone() });
    let mut subscriber = bench.hub.subscribe(principal("u"), Filter::all(), None);
    bench.clock.advance(Duration::from_millis(59_999));
    bench.publish_numbers([1]).await;
    assert_eq!(drain(&mut subscriber).await, ["1"]);
    bench.publish_numbers([2]).await;
    bench.clock.advance(Duration::from_millis(1));
    assert_eq!(drain(&mut subscriber).await, ["closed:expired"], "and what came before it read is withheld");
}

#[tokio::test(start_paused = true)]
async fn an_expiry_wakes_who_waits_for_events() {
    let bench = Bench::new().await;
    let at = Timestamp(1_000_000).after(Duration::from_secs(60));
    let principal = Arc::new(Principal { expires_at: Some(at), ..(*who("u", &["everyone"])).clone() });
    let mut subscriber = bench.hub.subscribe(principal, Filter::all(), None);
    let clock = bench.clock.clone();
    let waiting = tokio::spawn(async move { said(&subscriber.next().await) });
    tokio::task::yield_now().await;
    clock.advance(Duration::from_secs(60));
    let before = tokio::time::Instant::now();
    assert_eq!(waiting.await.unwrap(), "closed:expired");
    assert_eq!(before.elapsed().as_secs(), 60, "by the timer, with nothing else to wake it");
}

#[tokio::test(start_paused = true)]
async fn draining_sends_all_away_spread_over_its_window() {
    let limits = Limits { drain_window: Duration::from_secs(10), ..Limits::default() };
    let bench = Bench::with(limits, []).await;
    let begun = tokio::time::Instant::now();
    let streams: Vec<_> = (0..5)
        .map(|n| {
            let mut subscriber = bench.hub.subscribe(who(&n.to_string(), &["everyone"]), Filter::all(), None);
            tokio::spawn(async move {
                let end = said(&subscriber.next().await);
                (end, begun.elapsed().as_millis() / 100)
            })
        })
        .collect();
    tokio::task::yield_now().await;
    bench.hub.drain();
    bench.hub.drain();
    let mut ends = Vec::new();
    for stream in streams {
        let (end, at) = stream.await.unwrap();
        assert_eq!(end, "closed:draining");
        ends.push(at);
    }
    ends.sort_unstable();
    assert_eq!(ends, [0, 20, 40, 60, 80]);
    let mut late = bench.subscribe(Filter::all(), None);
    assert_eq!(drain(&mut late).await, ["closed:draining"], "who comes while it drains is sent away at once");
}

#[tokio::test]
async fn a_dropped_subscriber_leaves_nothing_behind() {
    let bench = Bench::new().await;
    let one = bench.subscribe(topics(&["a", "b/*"]), None);
    let two = bench.subscribe(topics(&["a", "b/*"]), None);
    let weak = Arc::downgrade(one.principal());
    drop(one);
    bench.publish_numbers(1..=3).await;
    drop(two);
    assert!(weak.upgrade().is_none());
}

/// Polls a future by hand, to see whether it was woken.
fn by_hand<F: Future + Unpin>(future: &mut F) -> ByHand<'_, F> {
    let flag = Arc::new(Flag::default());
    ByHand { future, waker: flag.clone().into(), flag }
}

struct ByHand<'a, F> {
    future: &'a mut F,
    waker: std::task::Waker,
    flag: Arc<Flag>,
}

#[derive(Default)]
struct Flag(std::sync::atomic::AtomicBool);

impl std::task::Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl<F: Future + Unpin> ByHand<'_, F> {
    fn poll(&mut self) -> Option<F::Output> {
        let mut context = std::task::Context::from_waker(&self.waker);
        match std::pin::Pin::new(&mut *self.future).poll(&mut context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        }
    }

    fn woken(&self) -> bool {
        self.flag.0.load(Ordering::SeqCst)
    }
}
