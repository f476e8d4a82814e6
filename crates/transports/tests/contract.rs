//! What every transport promises. Each claim is written once, and tried on all of them.

mod common;
#[path = "contract/oneway.rs"]
mod oneway;
#[path = "contract/socketio.rs"]
mod socketio;
#[path = "contract/transport.rs"]
mod transport;
#[path = "contract/twoway.rs"]
mod twoway;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::{Options, Server, event};
use oneway::{Poll, Sse};
use serde_json::{Value, json};
use socketio::{CARRIED, POLLING, SOCKET, SocketIo, UPGRADED, UPGRADED_CARRIED};
use tidings::{
    CloseReason, Coalesce, EventRule, Implications, Limits, NewEvent, Profile, Redaction, Revocation, Shape,
};
use tidings_brokers::retention::Retention;
use tidings_transports::{Rejection, SocketIoSettings, StreamSettings};
use transport::{Ask, Denied, Ending, Heard, Told, Transport};
use twoway::OverWebSocket;

/// The claims below, on one transport.
macro_rules! holds_on {
    ($($transport:ident: $type:ty,)*) => {$(
        mod $transport {
            type Tried = $type;
            claims! {
                the_position_is_told_before_anything_happens,
                what_was_asked_for_and_may_be_seen_arrives_in_order_and_once,
                resuming_within_the_window_is_live_with_what_was_missed_before,
                resuming_behind_the_window_reads_the_log,
                the_earliest_that_is_kept_can_be_asked_for,
                a_place_that_can_not_be_gone_on_from_is_told_as_a_gap_before_anything_else,
                what_retention_took_from_a_slow_reader_is_told_as_a_gap,
                who_may_not_listen_is_told_why,
                a_slow_client_loses_nothing_and_holds_up_nobody,
                who_takes_nothing_is_ended_while_others_go_on,
                an_expired_credential_ends_the_stream_within_a_tick,
                a_revocation_ends_just_those_it_names,
                a_drain_sends_all_away_and_what_they_missed_waits_where_they_come_back,
                of_signals_with_one_key_a_slow_reader_is_given_the_newest,
                of_events_that_coalesce_the_newest_comes,
                what_is_redacted_is_seen_by_those_who_may_alone,
                the_present_state_is_told_at_the_beginning,
            }
        }
    )*};
}

macro_rules! claims {
    ($($claim:ident,)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $claim() {
            super::$claim::<Tried>().await;
        }
    )*};
}

holds_on! {
    sse_on_a_lane: crate::Sse<true>,
    sse_as_a_body: crate::Sse<false>,
    poll: crate::Poll,
    websocket_on_a_lane: crate::OverWebSocket<true>,
    websocket_carried: crate::OverWebSocket<false>,
    socketio_4_by_websocket: crate::SocketIo<4, { crate::SOCKET }>,
    socketio_4_carried: crate::SocketIo<4, { crate::CARRIED }>,
    socketio_4_by_polling: crate::SocketIo<4, { crate::POLLING }>,
    socketio_4_upgraded: crate::SocketIo<4, { crate::UPGRADED }>,
    socketio_4_upgraded_carried: crate::SocketIo<4, { crate::UPGRADED_CARRIED }>,
    socketio_3_by_websocket: crate::SocketIo<3, { crate::SOCKET }>,
    socketio_3_by_polling: crate::SocketIo<3, { crate::POLLING }>,
    socketio_3_upgraded: crate::SocketIo<3, { crate::UPGRADED }>,
}

// --- What the claims are made of ---

async fn start<T: Transport>(options: Options) -> Server {
    Server::start(T::DRIVER, options).await
}

/// A server with these limits beside those of tests.
async fn limited<T: Transport>(change: impl FnOnce(Limits) -> Limits) -> Server {
    start::<T>(Options { limits: change(Options::default().limits), ..Options::default() }).await
}

async fn open<T: Transport>(server: &Server, ask: Ask) -> T {
    match T::open(server, &ask).await {
        Ok(listener) => listener,
        Err(denied) => panic!("{denied:?}"),
    }
}

async fn told(listener: &mut impl Transport) -> Told {
    match listener.next().await {
        Heard::Event(told) => told,
        other => panic!("an event was expected, and not {other:?}"),
    }
}

/// The numbers of the next events, and their cursors.
async fn numbers(listener: &mut impl Transport, count: usize) -> Vec<(u64, Option<String>)> {
    let mut numbers = Vec::new();
    for _ in 0..count {
        let told = told(listener).await;
        assert_eq!(told.name, "n", "{told:?}");
        numbers.push((told.data.as_u64().unwrap(), told.cursor));
    }
    numbers
}

async fn plain_numbers(listener: &mut impl Transport, count: usize) -> Vec<u64> {
    numbers(listener, count).await.into_iter().map(|(number, _)| number).collect()
}

async fn ended(listener: &mut impl Transport, reason: CloseReason) {
    let ending = Ending { reason: reason.name().into(), comes_back: reason.come_back() };
    assert_eq!(listener.next().await, Heard::Ended(ending));
}

/// An event of about 100 kB that tells its number.
fn large(n: u64) -> NewEvent {
    let mut event = event("t", "all", n);
    event.data = format!("{{\"n\":{n},\"padding\":\"{}\"}}", "x".repeat(100_000)).into();
    event
}

/// How many of those are more than the sockets between two ends hold.
const PLENTY: u64 = 200;

// --- Connecting, receiving, resuming ---

async fn the_position_is_told_before_anything_happens<T: Transport>() {
    let server = start::<T>(Options::default()).await;
    let mut last = String::new();
    for n in 0..3 {
        last = server.publish("t", "all", n).await;
    }
    let listener = open::<T>(&server, Ask::by("u+all")).await;
    let place = listener.place().to_owned();
    assert_eq!(place, last);
    // Cut off before it has heard anything, it can still resume.
    drop(listener);
    let cursor = server.publish("t", "all", 3).await;
    let mut listener = open::<T>(&server, Ask::by("u+all").after(&place)).await;
    assert_eq!(numbers(&mut listener, 1).await, [(3, Some(cursor.clone()))]);
    assert_eq!(listener.place(), cursor);
    drop(listener);
    server.works().await;
}

async fn what_was_asked_for_and_may_be_seen_arrives_in_order_and_once<T: Transport>() {
    let server = start::<T>(Options::default()).await;
    let (topics, audiences) = (["a/1", "a/2", "b/1", "b/2/c"], ["red", "blue", "red/x", "all"]);
    type Fits = fn(&str, &str, u64) -> bool;
    let asks: [(Ask, Fits); 5] = [
        (Ask::by("one+red").topics(&["a/*"]), |topic, audience, _| topic.starts_with("a/") && audience == "red"),
        (Ask::by("two+blue+red/x"), |_, audience, _| audience == "blue" || audience == "red/x"),
        (Ask::by("three+*").topics(&["a/2", "b/**"]), |topic, audience, _| topic != "a/1" && audience != "red/x"),
        (Ask::by("four+*+*/*").names(&["odd"]), |_, _, n| n % 2 == 1),
        (Ask::by("five"), |_, _, _| false),
    ];
    let mut listeners = Vec::new();
    for (ask, _) in &asks {
        listeners.push(open::<T>(&server, ask.clone()).await);
    }
    let mut published = Vec::new();
    for first in (0..120u64).step_by(6) {
        let batch = (first..first + 6).map(|n| {
            let (topic, audience) = (topics[n as usize * 7 % 4], audiences[n as usize * 5 / 3 % 4]);
            let mut event = event(topic, audience, n);
            event.name = if n % 2 == 1 { "odd".into() } else { "even".into() };
            (topic, audience, n, event)
        });
        let batch: Vec<_> = batch.collect();
        let cursors = server.publish_all(batch.iter().map(|(.., event)| event.clone())).await;
        published.extend(batch.into_iter().zip(cursors).map(|((topic, audience, n, _), at)| (topic, audience, n, at)));
    }
    for ((_, fits), listener) in asks.iter().zip(&mut listeners) {
        let expected = published.iter().filter(|(topic, audience, n, _)| fits(topic, audience, *n));
        for (.., n, cursor) in expected {
            let heard = told(listener).await;
            assert_eq!((heard.data, heard.cursor), (json!(n), Some(cursor.clone())));
        }
    }
    // Nothing is left that one of them would have to be given still: the next thing that each hears is the end.
    let ids = ["one", "two", "three", "four", "five"];
    for (id, listener) in ids.iter().zip(&mut listeners) {
        listener.wait(&server).await;
        server.hub.close(&Revocation::principal(*id), CloseReason::Revoked);
        ended(listener, CloseReason::Revoked).await;
    }
    drop(listeners);
    server.works().await;
}

async fn resuming_within_the_window_is_live_with_what_was_missed_before<T: Transport>() {
    let server = start::<T>(Options::default()).await;
    let mut listener = open::<T>(&server, Ask::by("u+all")).await;
    server.publish("t", "all", 1).await;
    assert_eq!(plain_numbers(&mut listener, 1).await, [1]);
    let mut place = listener.place().to_owned();
    drop(listener);
    // Cut again and again, in the middle of what it is told.
    let mut next = 2;
    for round in 0..5u64 {
        for n in 2 + round * 60..2 + (round + 1) * 60 {
            server.publish("t", if n % 3 == 0 { "others" } else { "all" }, n).await;
        }
        let mut listener = open::<T>(&server, Ask::by("u+all").after(&place)).await;
        for _ in 0..25 {
            assert_eq!(plain_numbers(&mut listener, 1).await, [next]);
            next += if next % 3 == 2 { 2 } else { 1 };
        }
        place = listener.place().to_owned();
    }
    let mut listener = open::<T>(&server, Ask::by("u+all").after(&place)).await;
    server.publish("t", "all", 302).await;
    let expected: Vec<u64> = (next..302).filter(|n| n % 3 != 0).chain([302]).collect();
    assert_eq!(plain_numbers(&mut listener, expected.len()).await, expected);
    drop(listener);
    server.works().await;
}

async fn resuming_behind_the_window_reads_the_log<T: Transport>() {
    let server =
        limited::<T>(|limits| Limits { window_events: 8, page_events: 5, write_bytes: 64, poll_events: 7, ..limits })
            .await;
    let first = server.publish("t", "all", 0).await;
    for n in 1..100 {
        server.publish(if n % 2 == 0 { "t" } else { "u" }, "all", n).await;
    }
    let mut every = open::<T>(&server, Ask::by("u+all").after(&first)).await;
    let mut named = open::<T>(&server, Ask::by("u+all").topics(&["t"]).after(&first)).await;
    server.publish("t", "all", 100).await;
    assert_eq!(plain_numbers(&mut every, 100).await, (1..=100).collect::<Vec<_>>());
    assert_eq!(plain_numbers(&mut named, 50).await, (2..=100).step_by(2).collect::<Vec<_>>());
    drop((every, named));
    server.works().await;
}

async fn the_earliest_that_is_kept_can_be_asked_for<T: Transport>() {
    let server = limited::<T>(|limits| Limits { window_events: 4, ..limits }).await;
    for n in 0..20 {
        server.publish("t", "all", n).await;
    }
    let mut listener = open::<T>(&server, Ask::by("u+all").after("earliest")).await;
    server.publish("t", "all", 20).await;
    assert_eq!(plain_numbers(&mut listener, 21).await, (0..=20).collect::<Vec<_>>());
    drop(listener);
    server.works().await;
}

// --- Gaps ---

async fn a_place_that_can_not_be_gone_on_from_is_told_as_a_gap_before_anything_else<T: Transport>() {
    let retention = Retention { events: Some(10), ..Retention::FOREVER };
    let limits = Limits { window_events: 4, ..Options::default().limits };
    let server = start::<T>(Options { retention, limits, ..Options::default() }).await;
    let first = server.publish("t", "all", 0).await;
    for n in 1..=100 {
        server.publish("t", "all", n).await;
    }
    let last = open::<T>(&server, Ask::by("u+all")).await.place().to_owned();
    let ahead = format!("{}-999", last.split('-').next().unwrap());
    let places = [
        ("1768600000000-progress", "unknown"),
        ("00000000-1", "other-epoch"),
        (ahead.as_str(), "ahead"),
        (first.as_str(), "trimmed"),
    ];
    for (n, (place, reason)) in (101..).zip(places) {
        let mut listener = open::<T>(&server, Ask::by("u+all").after(place)).await;
        // A place that retention is about to reach is not for this test.
        let last = if reason == "trimmed" { n - 1 } else { n };
        if last == n {
            server.publish("t", "all", n).await;
        }
        let Heard::Gap(gap) = listener.next().await else { panic!("the gap of {place} comes first") };
        assert_eq!(gap.reason, reason);
        assert_eq!(listener.place(), gap.resumed, "it tells where it goes on");
        // What comes behind the gap is complete.
        let next = plain_numbers(&mut listener, 1).await[0];
        match reason {
            "trimmed" => assert!((80..100).contains(&next), "with the oldest that is kept: {next}"),
            _ => assert_eq!(next, n),
        }
        let rest: Vec<u64> = (next + 1..=last).collect();
        assert_eq!(plain_numbers(&mut listener, rest.len()).await, rest);
        // And the place that the gap led to is one to resume from.
        let mut again = open::<T>(&server, Ask::by("u+all").after(&gap.resumed)).await;
        assert_eq!(plain_numbers(&mut again, 1).await, [next]);
    }
    server.works().await;
}

async fn what_retention_took_from_a_slow_reader_is_told_as_a_gap<T: Transport>() {
    let retention = Retention { events: Some(10), ..Retention::FOREVER };
    let limits = Limits { window_events: 4, ..Options::default().limits };
    let server = start::<T>(Options { retention, limits, ..Options::default() }).await;
    let mut slow = open::<T>(&server, Ask::by("slow+all")).await;
    for n in 0..PLENTY {
        server.publish_all([large(n)]).await;
    }
    let (mut next, mut gaps, mut is_after_gap) = (0, 0, false);
    while next < PLENTY {
        match slow.next().await {
            Heard::Gap(gap) => {
                assert_eq!(gap.reason, "trimmed");
                (gaps, is_after_gap) = (gaps + 1, true);
            }
            Heard::Event(told) => {
                let n = told.data["n"].as_u64().unwrap();
                assert!(n == next || (n > next && is_after_gap), "{n} came for {next}");
                (next, is_after_gap) = (n + 1, false);
            }
            Heard::Ended(ending) => panic!("{ending:?}"),
        }
    }
    assert!(gaps > 0, "it was not slow enough to show anything");
    drop(slow);
    server.works().await;
}

// --- Denials ---

async fn denied<T: Transport>(server: &Server, ask: Ask) -> Denied {
    match T::open(server, &ask).await {
        Ok(_) => panic!("{} was let in", ask.token),
        Err(denied) => denied,
    }
}

async fn who_may_not_listen_is_told_why<T: Transport>() {
    for reject in [Rejection::ConnectError, Rejection::Http] {
        let by_status = reject == Rejection::Http;
        let settings = StreamSettings {
            requires: Some("all".into()),
            socketio: SocketIoSettings { reject, ..SocketIoSettings::default() },
            ..StreamSettings::default()
        };
        let limits = Limits { connections_per_principal: 2, ..Options::default().limits };
        let server = start::<T>(Options { settings, limits, ..Options::default() }).await;
        let check = |denied: Denied, status: u16, detail: &str| {
            assert!(denied.detail.contains(detail), "{denied:?}");
            assert!(denied.status == Some(status) || denied.status.is_none() && !by_status, "{denied:?}");
        };
        check(denied::<T>(&server, Ask::by("")).await, 401, "a token is needed");
        check(denied::<T>(&server, Ask::by("u+all//")).await, 401, "all//");
        check(denied::<T>(&server, Ask::by("u+other")).await, 403, "needs the grant all");
        let mut listeners = [open::<T>(&server, Ask::by("u+all")).await, open::<T>(&server, Ask::by("u+all")).await];
        for listener in &mut listeners {
            listener.wait(&server).await;
        }
        check(denied::<T>(&server, Ask::by("u+all")).await, 429, "already has 2 streams");
        // Others are none the worse, nor is the principal once it has left.
        open::<T>(&server, Ask::by("v+all")).await;
        drop(listeners);
        server.works().await;
        open::<T>(&server, Ask::by("u+all")).await;
        server.works().await;
    }
}

// --- Slowness ---

async fn a_slow_client_loses_nothing_and_holds_up_nobody<T: Transport>() {
    // Once in the window, and once behind it.
    for window_events in [16, 10_000] {
        let server = limited::<T>(|limits| Limits { window_events, ..limits }).await;
        let mut slow = open::<T>(&server, Ask::by("slow+all")).await;
        let mut quick = open::<T>(&server, Ask::by("quick+all")).await;
        for n in 0..PLENTY {
            server.publish_all([large(n)]).await;
            assert_eq!(told(&mut quick).await.data["n"], n);
        }
        if T::IS_WATCHED {
            let is_behind = |server: &Server| server.service.counters().behind.load(Ordering::Relaxed) > 0;
            server.until("it is behind", is_behind).await;
        }
        for n in 0..PLENTY {
            assert_eq!(told(&mut slow).await.data["n"], n);
        }
        drop((slow, quick));
        server.works().await;
    }
}

async fn who_takes_nothing_is_ended_while_others_go_on<T: Transport>() {
    if !T::IS_WATCHED {
        return;
    }
    let server = limited::<T>(|limits| Limits { write_stall: Duration::from_secs(60), ..limits }).await;
    let silent = open::<T>(&server, Ask::by("silent+all")).await;
    let mut witness = open::<T>(&server, Ask::by("witness+all")).await;
    for n in 0..PLENTY {
        server.publish_all([large(n)]).await;
        assert_eq!(told(&mut witness).await.data["n"], n);
    }
    assert_eq!(server.service.open_streams(), 2);
    // In steps: what the kernel between the two still takes counts as taken.
    let mut steps = 0;
    while server.service.open_streams() > 1 {
        steps += 1;
        assert!(steps < 60, "it is never ended");
        server.clock.advance(Duration::from_secs(5));
        // A round of every lane.
        server.service.streams().await;
        witness.live().await;
        server.publish_all([large(steps)]).await;
        assert_eq!(told(&mut witness).await.data["n"], steps);
    }
    assert!(steps > 3, "it was given time: {steps}");
    server.publish_all([large(1_000)]).await;
    assert_eq!(told(&mut witness).await.data["n"], 1_000);
    drop((silent, witness));
    server.works().await;
}

// --- Endings ---

async fn an_expired_credential_ends_the_stream_within_a_tick<T: Transport>() {
    let server = start::<T>(Options::default()).await;
    let mut listener = open::<T>(&server, Ask::by("u+all~1005000")).await;
    let mut other = open::<T>(&server, Ask::by("v+all~9005000")).await;
    server.clock.advance(Duration::from_millis(4_900));
    server.publish("t", "all", 1).await;
    assert_eq!(plain_numbers(&mut listener, 1).await, [1]);
    listener.wait(&server).await;
    // The rest of its time, and one tick.
    server.clock.advance(Duration::from_millis(100 + 250));
    if !T::IS_CLOCKED {
        // Its timer runs on the machine's clock; an event makes it look.
        server.publish("t", "all", 2).await;
    }
    ended(&mut listener, CloseReason::Expired).await;
    server.publish("t", "all", 3).await;
    let expected: &[u64] = if T::IS_CLOCKED { &[1, 3] } else { &[1, 2, 3] };
    assert_eq!(plain_numbers(&mut other, expected.len()).await, expected);
    // Nor does it stay when it comes again, as whoever: whoever looks at credentials would refuse it at once.
    match T::open(&server, &Ask::by("u+all~1005000")).await {
        Ok(mut again) => {
            server.clock.advance(Duration::from_millis(250));
            ended(&mut again, CloseReason::Expired).await;
        }
        Err(denied) => assert!(denied.detail.contains("expired"), "{denied:?}"),
    }
    drop((listener, other));
    server.works().await;
}

async fn a_revocation_ends_just_those_it_names<T: Transport>() {
    let server = start::<T>(Options::default()).await;
    let mut out = open::<T>(&server, Ask::by("bad+all")).await;
    let mut stays = open::<T>(&server, Ask::by("good+all")).await;
    out.wait(&server).await;
    server.hub.close(&Revocation::principal("bad"), CloseReason::Revoked);
    ended(&mut out, CloseReason::Revoked).await;
    server.publish("t", "all", 1).await;
    assert_eq!(plain_numbers(&mut stays, 1).await, [1]);
    drop((out, stays));
    server.works().await;
}

async fn a_revocation_while_the_credential_is_checked_is_not_missed<T: Transport>() {
    for reject in [Rejection::ConnectError, Rejection::Http] {
        let socketio = SocketIoSettings { reject, ..SocketIoSettings::default() };
        let settings = StreamSettings { socketio, ..StreamSettings::default() };
        let server = start::<T>(Options { settings, ..Options::default() }).await;
        let ask = Ask::by("gated+all");
        let revoke = async {
            server.gate.somebody().await;
            server.hub.close(&Revocation::principal("gated"), CloseReason::Revoked);
            server.gate.open();
        };
        match tokio::join!(T::open(&server, &ask), revoke).0 {
            Ok(mut listener) => ended(&mut listener, CloseReason::Revoked).await,
            Err(denied) => assert!(denied.detail.contains("revoked"), "{denied:?}"),
        }
        server.works().await;
    }
}

async fn a_drain_sends_all_away_and_what_they_missed_waits_where_they_come_back<T: Transport>() {
    let server = limited::<T>(|limits| Limits { drain_window: Duration::from_millis(100), ..limits }).await;
    let mut listeners = Vec::new();
    for n in 0..5 {
        listeners.push(open::<T>(&server, Ask::by(&format!("u{n}+all"))).await);
    }
    server.publish("t", "all", 0).await;
    for listener in &mut listeners {
        assert_eq!(plain_numbers(listener, 1).await, [0]);
        listener.wait(&server).await;
    }
    server.hub.drain();
    // Every lane has heard of it when it has answered.
    server.service.streams().await;
    // Events go on while they are sent away one by one.
    let mut published = 1;
    for _ in 0..10 {
        server.clock.advance(Duration::from_millis(10));
        server.publish("t", "all", published).await;
        published += 1;
    }
    server.until("all were sent away within the window", |server| server.service.open_streams() == 0).await;
    server.publish("t", "all", published).await;
    published += 1;
    let broker = Some(server.broker.clone());
    let next = start::<T>(Options { broker, ..Options::default() }).await;
    for (n, mut listener) in (0..).zip(listeners) {
        let mut seen = 0;
        let ending = loop {
            match listener.next().await {
                Heard::Event(told) => {
                    seen += 1;
                    assert_eq!(told.data, seen);
                }
                Heard::Ended(ending) => break ending,
                Heard::Gap(gap) => panic!("{gap:?}"),
            }
        };
        assert_eq!(ending, Ending { reason: "draining".into(), comes_back: true });
        let mut again = open::<T>(&next, Ask::by(&format!("u{n}+all")).after(listener.place())).await;
        let missed: Vec<u64> = (seen + 1..published).collect();
        assert_eq!(plain_numbers(&mut again, missed.len()).await, missed);
    }
    next.works().await;
}

// --- Kinds of events ---

fn signal(n: u64, key: &str) -> NewEvent {
    NewEvent { kept: false, key: Some(key.into()), name: "signal".into(), ..event("t", "all", n) }
}

async fn of_signals_with_one_key_a_slow_reader_is_given_the_newest<T: Transport>() {
    let server = start::<T>(Options::default()).await;
    let mut slow = open::<T>(&server, Ask::by("slow+all")).await;
    for n in 0..PLENTY {
        server.publish_all([large(n)]).await;
    }
    if T::IS_WATCHED {
        let is_behind = |server: &Server| server.service.counters().behind.load(Ordering::Relaxed) > 0;
        server.until("it is behind", is_behind).await;
    }
    for n in 0..1_000 {
        server.publish_all([signal(n, "a"), signal(n, "b")]).await;
    }
    server.publish_all([large(PLENTY)]).await;
    for n in 0..PLENTY {
        assert_eq!(told(&mut slow).await.data["n"], n);
    }
    let mut signals: Vec<u64> = Vec::new();
    loop {
        let told = told(&mut slow).await;
        match told.name.as_str() {
            "signal" => signals.push(told.data.as_u64().unwrap()),
            _ => break assert_eq!(told.data["n"], PLENTY),
        }
    }
    assert!(signals.is_sorted() && signals.ends_with(&[999, 999]), "the newest of each key: {signals:?}");
    // Of a response body nobody knows how slow it is.
    assert!(signals.len() == 2 || !T::IS_WATCHED, "those alone: {signals:?}");
    drop(slow);
    server.works().await;
}

/// A profile with a kind of each sort.
fn profile() -> Arc<Profile> {
    let rule =
        |name: &str| EventRule::new(name, format!("{name}s").parse().unwrap(), vec![vec!["all".parse().unwrap()]]);
    let redaction = |path: &str, unless: &str, with_null| Redaction {
        path: path.parse().unwrap(),
        unless: vec![unless.parse().unwrap()],
        with_null,
    };
    let shape = Shape::default()
        .redact(redaction("key", "role/admin", false))
        .and_then(|shape| shape.redact(redaction("owner.mail", "user/{data.owner.id}", true)))
        .and_then(|shape| shape.named("on-book"))
        .unwrap();
    let coalesce = Coalesce { window: Duration::from_secs(1), max_wait: Duration::from_secs(60) };
    let rules = [
        EventRule { coalesce: Some(coalesce), ..rule("count") },
        EventRule { shape, ..rule("book") },
        EventRule { retain: true, ..rule("state") },
    ];
    Arc::new(Profile::new("app", Some("app"), Implications::default(), rules))
}

async fn of_events_that_coalesce_the_newest_comes<T: Transport>() {
    let server = start::<T>(Options { profile: profile(), ..Options::default() }).await;
    let mut live = open::<T>(&server, Ask::by("u+app/all")).await;
    let events = (1..=4).map(|n| server.derive(json!({ "name": "count", "data": n })));
    let cursors = server.publish_all(events).await;
    assert!(cursors[1] == cursors[3] && cursors[0] != cursors[3], "{cursors:?}");
    server.tell(json!({ "name": "book", "data": {} })).await;
    let mut resumed = open::<T>(&server, Ask::by("u+app/all").after("earliest")).await;
    for listener in [&mut live, &mut resumed] {
        let heard = [told(listener).await, told(listener).await, told(listener).await];
        assert_eq!(heard.each_ref().map(|told| told.name.as_str()), ["count", "count", "on-book"]);
        assert_eq!(heard.each_ref().map(|told| &told.data)[..2], [&json!(1), &json!(4)]);
        assert_eq!(heard[1].cursor.as_ref(), Some(&cursors[3]));
    }
}

async fn what_is_redacted_is_seen_by_those_who_may_alone<T: Transport>() {
    let server = start::<T>(Options { profile: profile(), ..Options::default() }).await;
    type Redact = fn(&mut Value);
    let who: [(&str, Redact); 3] = [
        ("admin+app/all+app/role/admin", |data| data["owner"]["mail"] = Value::Null),
        ("owner+app/all+app/user/u1", |data| drop(data.as_object_mut().unwrap().remove("key"))),
        ("other+app/all+app/user/u2", |data| {
            data["owner"]["mail"] = Value::Null;
            data.as_object_mut().unwrap().remove("key");
        }),
    ];
    let mut live = Vec::new();
    for (token, _) in who {
        live.push(open::<T>(&server, Ask::by(token)).await);
    }
    let data = json!({ "id": 1, "key": "secret", "owner": { "id": "u1", "mail": "a@example.com" } });
    server.tell(json!({ "name": "book", "data": data })).await;
    for ((token, redact), live) in who.into_iter().zip(&mut live) {
        let mut seen = data.clone();
        redact(&mut seen);
        let mut resumed = open::<T>(&server, Ask::by(token).after("earliest")).await;
        for listener in [live, &mut resumed] {
            let heard = told(listener).await;
            assert_eq!((heard.name.as_str(), &heard.data), ("on-book", &seen), "{token}");
        }
    }
}

async fn the_present_state_is_told_at_the_beginning<T: Transport>() {
    let server = start::<T>(Options { profile: profile(), ..Options::default() }).await;
    for n in 0..3 {
        server.tell(json!({ "name": "state", "data": n })).await;
    }
    let last = server.tell(json!({ "name": "book", "data": {} })).await;
    let mut listener = open::<T>(&server, Ask::by("u+app/all")).await;
    let next = server.tell(json!({ "name": "book", "data": { "id": 7 } })).await;
    let state = told(&mut listener).await;
    assert_eq!((state.name.as_str(), state.data), ("state", json!(2)));
    assert!(state.cursor.as_ref().is_none_or(|cursor| *cursor == last), "it leads nowhere: {:?} {last}", state.cursor);
    let heard = told(&mut listener).await;
    assert_eq!((heard.data, heard.cursor), (json!({ "id": 7 }), Some(next)));
    // It is not for those who may not see it.
    let mut other = open::<T>(&server, Ask::by("v+app/other")).await;
    other.wait(&server).await;
    server.hub.close(&Revocation::principal("v"), CloseReason::Revoked);
    ended(&mut other, CloseReason::Revoked).await;
}

// --- What holds on some ---

/// On lanes; a response body ends with what its client has taken by then.
async fn what_was_told_before_a_revocation_arrives<T: Transport>() {
    let server = start::<T>(Options::default()).await;
    for n in 0..50 {
        let mut listener = open::<T>(&server, Ask::by("bad+all")).await;
        server.publish("t", "all", n).await;
        server.hub.close(&Revocation::principal("bad"), CloseReason::Revoked);
        assert_eq!(plain_numbers(&mut listener, 1).await, [n]);
        ended(&mut listener, CloseReason::Revoked).await;
    }
    server.works().await;
}

macro_rules! tried {
    ($claim:ident on $($(#[$meta:meta])* $transport:ident: $type:ty,)*) => {
        mod $claim {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                $(#[$meta])*
                async fn $transport() {
                    super::$claim::<$type>().await;
                }
            )*
        }
    };
}

tried! { what_was_told_before_a_revocation_arrives on
    sse_on_a_lane: crate::Sse<true>,
    websocket_on_a_lane: crate::OverWebSocket<true>,
    websocket_carried: crate::OverWebSocket<false>,
    socketio_4_by_websocket: crate::SocketIo<4, { crate::SOCKET }>,
    socketio_4_by_polling: crate::SocketIo<4, { crate::POLLING }>,
    socketio_4_upgraded: crate::SocketIo<4, { crate::UPGRADED }>,
    socketio_3_by_websocket: crate::SocketIo<3, { crate::SOCKET }>,
}

tried! { a_revocation_while_the_credential_is_checked_is_not_missed on
    sse_on_a_lane: crate::Sse<true>,
    sse_as_a_body: crate::Sse<false>,
    poll: crate::Poll,
    websocket_on_a_lane: crate::OverWebSocket<true>,
    websocket_carried: crate::OverWebSocket<false>,
    socketio_4_by_websocket: crate::SocketIo<4, { crate::SOCKET }>,
    socketio_4_carried: crate::SocketIo<4, { crate::CARRIED }>,
    socketio_4_by_polling: crate::SocketIo<4, { crate::POLLING }>,
    socketio_4_upgraded: crate::SocketIo<4, { crate::UPGRADED }>,
    socketio_3_by_websocket: crate::SocketIo<3, { crate::SOCKET }>,
    socketio_3_by_polling: crate::SocketIo<3, { crate::POLLING }>,
    socketio_3_upgraded: crate::SocketIo<3, { crate::UPGRADED }>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_may_come_with_the_packet_that_connects() {
    async fn late<T: Transport>() {
        let server = start::<T>(Options::default()).await;
        let mut listener = open::<T>(&server, Ask::by("u+all").late()).await;
        server.publish("t", "others", 1).await;
        server.publish("t", "all", 2).await;
        assert_eq!(plain_numbers(&mut listener, 1).await, [2]);
        assert!(denied::<T>(&server, Ask::by("u+all//").late()).await.detail.contains("all//"));
        drop(listener);
        server.works().await;
    }
    late::<SocketIo<4, SOCKET>>().await;
    late::<SocketIo<4, POLLING>>().await;
    late::<SocketIo<4, UPGRADED>>().await;
}
