//! Measures the disk broker beside the bare disk, in one run: `cargo run --release -p tidings-brokers --example log_bench`.
//!
//! `log_bench [directory] [events]`: where to write (default: the temporary directory, which must be on a real disk) and
//! how many events the log is filled with (default: ten million).

use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tidings::{Audience, Broker, NewEvent, Offset, Query, SystemClock, Timestamp, Topic};
use tidings_brokers::{DiskBroker, DiskSettings, Retention};

/// About what the record of one event of 300 bytes of data takes.
const RECORD: usize = 416;
const TOPICS: u64 = 10_000;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let parent = arguments.next().map_or_else(std::env::temp_dir, Into::into);
    let events: u64 = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(10_000_000);
    let root = parent.join(format!("log_bench-{}", std::process::id()));
    std::fs::create_dir_all(&root).expect("the directory can be made");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    raw(&root);
    for write_ahead in [1 << 20, 0, 4 << 20] {
        let settings = DiskSettings { retention: Retention::FOREVER, write_ahead, ..DiskSettings::default() };
        println!("write_ahead {} KiB", write_ahead >> 10);
        let broker = open(&root.join(format!("speed-{write_ahead}")), settings);
        let broker = Arc::new(broker);
        runtime.block_on(alone(&broker));
        for publishers in [64, 256] {
            runtime.block_on(together(&broker, publishers));
        }
    }
    raw(&root);
    runtime.block_on(resume(&root.join("full"), events));
    std::fs::remove_dir_all(&root).expect("the directory can be removed");
}

fn open(path: &Path, settings: DiskSettings) -> DiskBroker {
    DiskBroker::open(path, settings, Arc::new(SystemClock)).expect("the log opens")
}

/// What the disk itself needs for a write of one record and a sync.
fn raw(root: &Path) {
    let path = root.join("raw");
    let mut file = OpenOptions::new().create(true).truncate(true).read(true).write(true).open(&path).expect("a file");
    let record = [7; RECORD];
    let mut appended = Vec::new();
    for _ in 0..1_000 {
        let start = Instant::now();
        file.write_all(&record).and_then(|()| file.sync_data()).expect("it writes");
        appended.push(start.elapsed());
    }
    print("raw write + fdatasync, appended", &mut appended);
    file.seek(SeekFrom::Start(0)).and_then(|_| file.write_all(&vec![0; 1 << 20])).expect("it writes");
    file.sync_all().expect("it syncs");
    let mut within = Vec::new();
    for n in 0..1_000 {
        let start = Instant::now();
        file.write_all_at(&record, n * RECORD as u64).and_then(|()| file.sync_data()).expect("it writes");
        within.push(start.elapsed());
    }
    print("raw write + fdatasync, within the file", &mut within);
}

fn print(what: &str, times: &mut [Duration]) {
    times.sort();
    let at = |part: usize| times[(times.len() - 1) * part / 1000];
    println!("  {what}: p50 {:?}, p99 {:?}, max {:?}", at(500), at(990), at(1000));
}

fn event(topics: &[Topic], n: u64) -> NewEvent {
    // Multiplied by an odd number, so that neighbours have different topics.
    let topic = topics[(n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33) as usize % topics.len()].clone();
    NewEvent {
        name: "book.updated".into(),
        topic,
        data: Bytes::from(format!("{{\"n\":{n:10},\"pad\":\"{}\"}}", "x".repeat(275))),
        scope: Bytes::from_static(b"{\"library\":\"lib1\"}"),
        audience: Audience::new(["library/lib1/read".parse().expect("a grant")]),
        key: None,
        time: Timestamp(n),
        kept: true,
        dedup: None,
    }
}

fn topics() -> Arc<[Topic]> {
    (0..TOPICS).map(|n| format!("library/{n}").parse().expect("a topic")).collect()
}

async fn alone(broker: &DiskBroker) {
    let topics = topics();
    let mut times = Vec::new();
    for n in 0..2_000 {
        let event = event(&topics, n);
        let start = Instant::now();
        broker.publish(vec![event]).await.expect("it publishes");
        times.push(start.elapsed());
    }
    print("alone", &mut times);
}

async fn together(broker: &Arc<DiskBroker>, publishers: u64) {
    let topics = topics();
    let (start, cpu) = (Instant::now(), cpu());
    let each = 200_000 / publishers;
    let tasks: Vec<_> = (0..publishers)
        .map(|publisher| {
            let (broker, topics) = (broker.clone(), topics.clone());
            tokio::spawn(async move {
                for n in 0..each {
                    broker.publish(vec![event(&topics, publisher * each + n)]).await.expect("it publishes");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no publisher fails");
    }
    let (took, cpu) = (start.elapsed(), self::cpu() - cpu);
    let total = (each * publishers) as f64;
    println!(
        "  {publishers} in flight: {:.0} publishes/s, {:.2} µs CPU each",
        total / took.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / total
    );
}

async fn resume(path: &Path, events: u64) {
    let settings = DiskSettings { retention: Retention::FOREVER, ..DiskSettings::default() };
    let topics = topics();
    let broker = open(path, settings.clone());
    let start = Instant::now();
    let mut n = 0;
    while n < events {
        let batch = (n..(n + 1_000).min(events)).map(|n| event(&topics, n)).collect();
        broker.publish(batch).await.expect("it publishes");
        n += 1_000;
    }
    let head = broker.head();
    println!(
        "filled with {events} events, {} bytes each, in {:?}; rss {} KiB",
        head.bytes / events,
        start.elapsed(),
        rss()
    );
    drop(broker);
    let start = Instant::now();
    let broker = open(path, settings);
    println!("  opened in {:?}: {:?}; rss {} KiB", start.elapsed(), broker.recovery(), rss());
    let mut random = 0x1234_5678_9ABC_DEF1_u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let all = Query { topics: None, after: Offset(0), until: Offset(u64::MAX), limit: 100, max_bytes: 64 << 10 };
    let (mut by_offset, mut by_topic, mut last) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..2_000 {
        let query = Query { after: Offset(next() % events), ..all.clone() };
        let start = Instant::now();
        let page = broker.read(query).await.expect("it reads");
        by_offset.push(start.elapsed());
        assert!(!page.events.is_empty());
        let wanted = topics[next() as usize % topics.len()].clone();
        let query =
            Query { topics: Some([wanted.clone().into()].into()), after: Offset(next() % events), ..all.clone() };
        let start = Instant::now();
        broker.read(query).await.expect("it reads");
        by_topic.push(start.elapsed());
        let start = Instant::now();
        broker.before_last(&[wanted.into()], 100).await.expect("it reads");
        last.push(start.elapsed());
    }
    print("resume at a random place, 100 events", &mut by_offset);
    print("resume one of 10,000 topics at a random place, up to 100 events", &mut by_topic);
    print("find the last 100 of a topic", &mut last);
    println!("  rss {} KiB", rss());
}

/// The anonymous memory of this process, in KiB.
fn rss() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("RssAnon")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0)
}

/// The CPU time of this process, to a hundredth of a second.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: u64 = [11, 12].iter().filter_map(|at| fields.get(*at)?.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}
