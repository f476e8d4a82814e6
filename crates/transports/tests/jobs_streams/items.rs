//! Items of a job that were told before the client of an app's own WebSocket was ready: it is told all of them.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tidings::Limits;
use tidings::job::{JobSettings, NewJob};
use tidings_brokers::retention::Retention;
use tidings_transports::StreamSettings;

use crate::common::Driver;
use crate::common::websocket::WebSocket;
use crate::dialect::{DRIVERS, dialect, is_held, open, ready};
use crate::rig::{Rig, Setup, Work};

/// A mount as an app has it that wants the items told.
fn telling() -> Setup {
    let names = ["job.progress", "job.item", "job.completed", "job.failed", "job.lost"];
    let stream = StreamSettings { names: Some(names.map(Arc::from).into()), ..StreamSettings::default() };
    Setup { dialect: dialect(), stream, ..Setup::default() }
}

async fn add(work: &Work, range: std::ops::Range<u64>) {
    let items: Vec<Value> = range.clone().map(|n| json!({ "n": n })).collect();
    work.items(range.start, &items, true).await;
}

/// In a word what the socket tells until its end: the index of each item, and what else is told by its state.
async fn told(socket: &mut WebSocket) -> Vec<String> {
    let mut told = Vec::new();
    while let Some(message) = socket.next().await {
        told.push(match message["index"].as_u64() {
            Some(index) => {
                assert_eq!(message["item"]["n"], index);
                index.to_string()
            }
            None => message["state"].as_str().unwrap_or_else(|| panic!("{message}")).to_owned(),
        });
    }
    told
}

#[tokio::test]
async fn who_is_ready_after_the_work_is_done_is_told_each_item_in_order_and_then_the_end() {
    for driver in DRIVERS {
        for held_ends_bytes in [64 << 20, 10] {
            let jobs = JobSettings { held_ends_bytes, ..JobSettings::default() };
            let rig = Rig::with(driver, Setup { jobs, ..telling() }).await;
            let work = rig.work("import").await;
            add(&work, 0..2).await;
            // One that comes in the middle, and one that comes after the end.
            let mut early = open(&rig, &work).await;
            is_held(&mut early).await;
            add(&work, 2..4).await;
            work.complete().await;
            for mut socket in [early, open(&rig, &work).await] {
                socket.tell(json!({"type": "ready"})).await;
                assert_eq!(socket.next().await.unwrap()["type"], "ready_ack");
                assert_eq!(told(&mut socket).await, ["0", "1", "2", "3", "completed"], "{driver:?} {held_ends_bytes}");
                assert_eq!(socket.closed.unwrap(), (1000, "Job completed".to_owned()));
            }
            rig.is_left_alone().await;
        }
    }
}

#[tokio::test]
async fn who_is_ready_while_the_work_goes_on_is_told_each_item_once() {
    for driver in DRIVERS {
        let rig = Rig::with(driver, telling()).await;
        let work = rig.work("import").await;
        add(&work, 0..3).await;
        work.progress(3);
        let mut socket = open(&rig, &work).await;
        ready(&mut socket, &work).await;
        for index in 0..3 {
            assert_eq!(socket.next().await.unwrap()["index"], index, "{driver:?}");
        }
        assert_eq!(socket.next().await.unwrap()["progress"]["done"], 3, "its state comes behind what led to it");
        // Sent once more, as after a cut.
        add(&work, 1..5).await;
        work.complete().await;
        assert_eq!(told(&mut socket).await, ["3", "4", "completed"], "{driver:?}");
    }
}

#[tokio::test]
async fn who_never_says_that_it_is_ready_is_told_the_items_after_a_while() {
    let rig = Rig::with(Driver::Lanes, telling()).await;
    let work = rig.work("import").await;
    let mut socket = open(&rig, &work).await;
    is_held(&mut socket).await;
    add(&work, 0..2).await;
    work.fail(false).await;
    rig.clock.advance(Duration::from_secs(4));
    assert_eq!(told(&mut socket).await, ["0", "1", "failed"]);
}

#[tokio::test]
async fn after_a_restart_the_items_are_told_as_before() {
    let rig = Rig::with(Driver::Lanes, telling()).await;
    let work = rig.work("import").await;
    add(&work, 0..3).await;
    work.complete().await;
    let rig = rig.restarted(Driver::Lanes, telling()).await;
    let mut socket = open(&rig, &work).await;
    ready(&mut socket, &work).await;
    assert_eq!(told(&mut socket).await, ["0", "1", "2", "completed"]);
}

/// However many they are, they are read from the log in pages, as fast as the socket takes them: others have their turn meanwhile.
#[tokio::test]
async fn who_takes_many_items_slowly_holds_up_nobody_and_misses_none() {
    const MANY: u64 = 5_000;
    let limits =
        Limits { window_events: 64, page_events: 100, turn_bytes: 8_000, write_bytes: 4_000, ..Limits::default() };
    let rig = Rig::with(Driver::Lanes, Setup { limits, ..telling() }).await;
    let work = rig.work("import").await;
    let text = "t".repeat(2_000);
    for begin in (0..MANY).step_by(500) {
        let items: Vec<Value> = (begin..begin + 500).map(|n| json!({ "n": n, "text": text })).collect();
        work.items(begin, &items, true).await;
    }
    // As many as there are lanes, twice: each lane has one that takes nothing yet.
    let mut slow = Vec::new();
    for _ in 0..4 {
        let mut socket = open(&rig, &work).await;
        socket.tell(json!({"type": "ready"})).await;
        slow.push(socket);
    }
    let other = rig.work("scan").await;
    add(&other, 0..1).await;
    let mut quick = open(&rig, &other).await;
    ready(&mut quick, &other).await;
    other.complete().await;
    assert_eq!(told(&mut quick).await, ["0", "completed"]);
    work.complete().await;
    for mut socket in slow {
        assert_eq!(socket.next().await.unwrap()["type"], "ready_ack");
        let told = told(&mut socket).await;
        let items: Vec<String> = (0..MANY).map(|n| n.to_string()).collect();
        let of_items: Vec<String> = told.iter().filter(|told| told.parse::<u64>().is_ok()).cloned().collect();
        assert!(of_items == items, "each once and in order");
        assert_eq!(told.last().unwrap(), "completed");
    }
}

#[tokio::test]
async fn of_an_older_job_of_the_same_name_no_item_is_told() {
    let rig = Rig::with(Driver::Lanes, telling()).await;
    let new = || NewJob {
        id: Some("again".parse().unwrap()),
        owner: Some("u1".into()),
        kind: "import".into(),
        ..NewJob::default()
    };
    rig.make_new(new()).await;
    let older = rig.claim("import").await;
    add(&older, 0..5).await;
    older.complete().await;
    rig.remove(&older.id).await;
    rig.clock.advance(Duration::from_secs(1));
    rig.make_new(new()).await;
    let work = rig.claim("import").await;
    add(&work, 0..2).await;
    work.complete().await;
    let mut socket = open(&rig, &work).await;
    ready(&mut socket, &work).await;
    assert_eq!(told(&mut socket).await, ["0", "1", "completed"]);
}

#[tokio::test]
async fn what_the_log_has_lost_of_the_items_keeps_nobody_from_the_end() {
    for driver in DRIVERS {
        let retention = Retention { events: Some(20), ..Retention::FOREVER };
        let limits = Limits { window_events: 10, ..Limits::default() };
        let rig = Rig::with(driver, Setup { retention, limits, ..telling() }).await;
        let work = rig.work("import").await;
        add(&work, 0..5).await;
        let mut socket = open(&rig, &work).await;
        is_held(&mut socket).await;
        add(&work, 5..50).await;
        work.complete().await;
        ready(&mut socket, &work).await;
        let told = told(&mut socket).await;
        let (end, items) = told.split_last().unwrap();
        assert_eq!(end, "completed", "{driver:?}");
        let left: Vec<String> = (50 - items.len()..50).map(|n| n.to_string()).collect();
        assert!(!items.is_empty() && items == left, "{items:?}");
    }
}
