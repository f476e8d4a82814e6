//! What is particular to jobs in NATS, beside the contract that all stores keep.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, Weak};

use bytes::Bytes;
use serde_json::value::RawValue;
use tidings::Timestamp;
use tidings::job::{Job, JobNews, JobSettings, JobState, JobStore, JobWatcher, Renewal};
use tidings_brokers::job_contract::{changed, done, id, job, text};
use tidings_brokers::nats::{Engine, NatsJobs, NatsSettings};

use crate::nats_server::{NatsCluster, NatsServer, connect, patiently, until};

async fn open(settings: NatsSettings) -> Arc<NatsJobs> {
    patiently(async || NatsJobs::open(Engine::connect(settings.clone()).await?).await).await
}

/// Hears what becomes of jobs.
#[derive(Default)]
struct Ear(Mutex<Vec<JobNews>>);

impl JobWatcher for Ear {
    fn heard(&self, news: JobNews) {
        self.0.lock().unwrap().push(news);
    }
}

fn listen(store: &NatsJobs) -> Arc<Ear> {
    let ear = Arc::new(Ear::default());
    let watcher: Arc<dyn JobWatcher> = ear.clone();
    let watcher: Weak<dyn JobWatcher> = Arc::downgrade(&watcher);
    store.watch(watcher);
    ear
}

fn large(bytes: usize) -> Option<Arc<RawValue>> {
    Some(Arc::from(RawValue::from_string(format!("\"{}\"", "x".repeat(bytes))).unwrap()))
}

fn items(range: std::ops::Range<u64>) -> Vec<Bytes> {
    range.map(|n| Bytes::from(format!("{{\"n\":{n}}}"))).collect()
}

/// One that fails the first time.
#[derive(Default)]
struct Faulty {
    ear: Ear,
    failed: std::sync::atomic::AtomicBool,
}

impl JobWatcher for Faulty {
    fn heard(&self, news: JobNews) {
        assert!(self.failed.swap(true, Ordering::SeqCst), "a fault of the test's");
        self.ear.heard(news);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_fault_of_who_hears_of_jobs_they_are_followed_again() {
    let server = NatsServer::start();
    let (a, b) = (open(server.settings()).await, open(server.settings()).await);
    let faulty = Arc::new(Faulty::default());
    let watcher: Arc<dyn JobWatcher> = faulty.clone();
    b.watch(Arc::downgrade(&watcher));
    a.create(&job("a", 1)).await.unwrap();
    until("it failed", async || faulty.failed.load(Ordering::SeqCst)).await;
    a.create(&job("b", 1)).await.unwrap();
    let is_b = |news: &JobNews| matches!(news, JobNews::Changed(job) if job.id == id("b"));
    until("it hears of the next", async || faulty.ear.0.lock().unwrap().iter().any(is_b)).await;
    assert!(!b.is_away());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_replica_does_the_other_hears_in_order_and_reads() {
    let server = NatsServer::start();
    let (a, b) = (open(server.settings()).await, open(server.settings()).await);
    let ear = listen(&b);
    let first = Job { namespace: Some("ns".into()), input: large(600_000), ..job("a", 1) };
    assert!(a.create(&first).await.unwrap().is_none());
    let there = b.create(&job("a", 2)).await.unwrap().expect("the other one has made it");
    assert_eq!(text(&there), text(&first));
    a.note_announced(&id("a"), 1, None).await.unwrap();
    let running = Job { announced: 1, ..changed(&first, JobState::Running, 2) };
    assert!(b.replace(&running, 1).await.unwrap());
    assert!(!a.replace(&running, 1).await.unwrap(), "one of them has changed it");
    let renewal = Renewal { id: id("a"), lease: [7; 32], replica: 9 };
    a.renew(vec![renewal.clone()]).await.unwrap();
    a.note_progress(vec![(id("a"), done(5))]).await.unwrap();
    assert_eq!(b.read(&id("a")).await.unwrap().unwrap().progress.done, 5);
    let end = Job { ended: Some(Timestamp(3)), ..changed(&running, JobState::Completed, 3) };
    assert!(a.replace(&end, 2).await.unwrap());
    a.note_announced(&id("a"), 3, Some("cursor".into())).await.unwrap();
    b.heard_all().await.unwrap();
    assert_eq!(b.ended_before(Timestamp(9), 9).await.unwrap().len(), 1);
    a.remove_ended(&end).await.unwrap();
    until("the removal is heard", async || {
        ear.0.lock().unwrap().iter().any(|news| matches!(news, JobNews::Removed { .. }))
    })
    .await;
    let heard: Vec<String> = ear.0.lock().unwrap().iter().map(told).collect();
    let expected = [
        "changed 1 600002",
        "announced 1",
        "changed 2 600002",
        "renewed 9",
        "progress 5",
        "changed 3 0",
        "announced 3",
        "removed ns",
    ];
    assert_eq!(heard, expected);
    assert!(b.read(&id("a")).await.unwrap().is_none());
    assert!(b.list(&tidings::job::JobQuery { limit: 9, ..Default::default() }).await.unwrap().is_empty());
}

fn told(news: &JobNews) -> String {
    match news {
        JobNews::Changed(job) => {
            format!("changed {} {}", job.revision, job.input.as_ref().map_or(0, |input| input.get().len()))
        }
        JobNews::Announced { revision, .. } => format!("announced {revision}"),
        JobNews::Progress { progress, .. } => format!("progress {}", progress.done),
        JobNews::Renewed(renewal) => format!("renewed {}", renewal.replica),
        JobNews::Removed { namespace, .. } => format!("removed {}", namespace.as_deref().unwrap_or_default()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_at_several_replicas_who_change_one_job_or_append_to_it_one_does() {
    let server = NatsServer::start();
    let stores = [open(server.settings()).await, open(server.settings()).await, open(server.settings()).await];
    let first = job("a", 1);
    stores[0].create(&first).await.unwrap();
    for round in 1..20 {
        let now = stores[0].read(&first.id).await.unwrap().unwrap();
        let change = |(n, store): (u64, &Arc<NatsJobs>)| {
            let (store, next) = (store.clone(), changed(&now, JobState::Running, round * 10 + n));
            let (from, items_from) = (now.revision, now.items);
            tokio::spawn(async move {
                let replaced = store.replace(&next, from).await.unwrap();
                let put = store.append_items(&next.id, items_from, items(n..n + 2)).await.is_ok();
                (replaced, put)
            })
        };
        let all: Vec<_> = (0..).zip(stores.iter().chain(&stores)).map(change).collect();
        let (mut replaced, mut put) = (0, 0);
        for one in all {
            let (has_replaced, has_put) = one.await.unwrap();
            replaced += u32::from(has_replaced);
            put += u32::from(has_put);
        }
        assert_eq!((replaced, put), (1, 1), "in round {round}");
    }
    assert_eq!(stores[1].read(&first.id).await.unwrap().unwrap().items, 38);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_page_of_a_hundred_thousand_items_takes_a_few_questions() {
    let server = NatsServer::start();
    let a = open(server.settings()).await;
    let engine = connect(server.settings()).await;
    let b = patiently(async || NatsJobs::open(engine.clone()).await).await;
    for name in ["other", "a"] {
        a.create(&job(name, 1)).await.unwrap();
    }
    for from in (0..100_000).step_by(500) {
        a.append_items(&id("a"), from, items(from..from + 500)).await.unwrap();
        // Messages of others stand between.
        a.note_progress(vec![(id("other"), done(from))]).await.unwrap();
    }
    assert_eq!(b.read(&id("a")).await.unwrap().unwrap().items, 100_000);
    // What it sends to be told of all this is counted too.
    b.heard_all().await.unwrap();
    let asked = || engine.client().statistics().out_messages.load(Ordering::Relaxed);
    let page = async |from: u64| {
        let before = asked();
        let found = b.items(&id("a"), from, 100, 1 << 20).await.unwrap();
        assert_eq!(found, items(from..from + 100), "from {from}");
        asked() - before
    };
    for n in 1..200_u64 {
        let questions = page((n * 7_919 * 13) % 99_900).await;
        assert!(questions <= 24, "{questions} questions: there are 200 pages");
    }
    let mut one_after_the_other = 0;
    for from in (0..50_000).step_by(100) {
        one_after_the_other += page(from).await;
    }
    assert!(one_after_the_other <= 4 * 500, "{one_after_the_other} questions for 500 pages");
    let all = b.items(&id("a"), 0, usize::MAX, usize::MAX).await.unwrap();
    assert!(all == items(0..100_000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_larger_than_a_message_is_there_whole() {
    let server = NatsServer::start();
    let store = open(server.settings()).await;
    store.create(&job("a", 1)).await.unwrap();
    let item = |n: usize| Bytes::from(format!("\"{n}{}\"", "y".repeat(16_000)));
    let all: Vec<Bytes> = (0..400).map(item).collect();
    store.append_items(&id("a"), 0, all[..300].to_vec()).await.unwrap();
    store.append_items(&id("a"), 300, all[300..].to_vec()).await.unwrap();
    for from in [0, 15, 16, 299, 300, 399] {
        let found = store.items(&id("a"), from as u64, 3, usize::MAX).await.unwrap();
        assert!(found == all[from..400.min(from + 3)], "from {from}");
    }
    let too_large = store.append_items(&id("a"), 400, vec![vec![b'1'; 2 << 20].into()]).await.unwrap_err();
    assert!(too_large.to_string().contains("raise `max_payload`"), "{too_large}");
    assert_eq!(store.read(&id("a")).await.unwrap().unwrap().items, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn items_put_behind_the_end_are_none_of_the_result() {
    let server = NatsServer::start();
    let (a, b) = (open(server.settings()).await, open(server.settings()).await);
    let first = job("a", 1);
    a.create(&first).await.unwrap();
    a.append_items(&id("a"), 0, items(0..3)).await.unwrap();
    a.append_items(&id("a"), 3, items(3..5)).await.unwrap();
    // Whoever ends it has not heard of the second page.
    let end = Job { items: 3, ..changed(&first, JobState::Completed, 2) };
    b.replace(&end, 1).await.unwrap();
    for from in [5, 7] {
        a.append_items(&id("a"), from, items(from..from + 2)).await.unwrap();
    }
    let c = open(server.settings()).await;
    b.heard_all().await.unwrap();
    for store in [&b, &c] {
        assert_eq!(store.read(&id("a")).await.unwrap().unwrap().items, 5);
        assert_eq!(store.items(&id("a"), 0, 99, usize::MAX).await.unwrap(), items(0..5));
        assert!(store.items(&id("a"), 5, 99, usize::MAX).await.unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_noted_late_of_an_earlier_attempt_is_none_of_the_next() {
    let server = NatsServer::start();
    let engine = connect(server.settings()).await;
    let a = patiently(async || NatsJobs::open(engine.clone()).await).await;
    let b = open(server.settings()).await;
    let first = job("a", 1);
    a.create(&first).await.unwrap();
    let one = Job { attempt: 1, ..changed(&first, JobState::Running, 2) };
    a.replace(&one, 1).await.unwrap();
    a.note_progress(vec![(id("a"), done(50))]).await.unwrap();
    assert_eq!(b.read(&id("a")).await.unwrap().unwrap().progress.done, 50);
    let bucket = engine.bucket_name("jobs");
    let subject = format!("$KV.{bucket}.j.a.s.p");
    let stream = engine.context().get_stream(format!("KV_{bucket}")).await.unwrap();
    let noted = stream.get_last_raw_message_by_subject(&subject).await.unwrap().payload;
    b.heard_all().await.unwrap();
    let ear = listen(&b);
    let two = Job { attempt: 2, progress: done(0), ..changed(&one, JobState::Running, 3) };
    b.replace(&two, 2).await.unwrap();
    // A replica that has not heard of that.
    engine.context().publish(subject, noted).await.unwrap().await.unwrap();
    b.heard_all().await.unwrap();
    assert_eq!(b.read(&id("a")).await.unwrap().unwrap().progress.done, 0);
    let heard: Vec<String> = ear.0.lock().unwrap().iter().map(told).collect();
    assert_eq!(heard, ["changed 3 0"]);
    b.note_progress(vec![(id("a"), done(7))]).await.unwrap();
    assert_eq!(a.read(&id("a")).await.unwrap().unwrap().progress.done, 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bounds_that_the_server_leaves_no_room_for_are_refused_with_what_to_do() {
    let server = NatsServer::start();
    let store = open(server.settings()).await;
    store.check(&JobSettings::default()).expect("the defaults fit");
    let settings = JobSettings { item_bytes: 2 << 20, ..JobSettings::default() };
    let sentence = store.check(&settings).expect_err("items are not cut").to_string();
    assert!(sentence.contains("2097152") && sentence.contains("lower `item_bytes`"), "{sentence}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_that_was_decided_before_leaves_another_job_of_the_id_alone() {
    let server = NatsServer::start();
    let (a, b) = (open(server.settings()).await, open(server.settings()).await);
    let old = Job { announced: 2, ..changed(&job("a", 1), JobState::Lost, 2) };
    a.create(&old).await.unwrap();
    a.append_items(&old.id, 0, items(0..3)).await.unwrap();
    b.heard_all().await.unwrap();
    assert_eq!(b.ended_before(Timestamp(9), 9).await.unwrap().len(), 1);
    a.remove_ended(&old).await.unwrap();
    let young = job("a", 5);
    assert!(a.create(&young).await.unwrap().is_none());
    b.remove_ended(&old).await.unwrap();
    for store in [&a, &b] {
        assert_eq!(text(&store.read(&old.id).await.unwrap().unwrap()), text(&young));
    }
    b.heard_all().await.unwrap();
    assert!(b.ended_before(Timestamp(9), 9).await.unwrap().is_empty());
    assert_eq!(b.open_jobs().await.unwrap().len(), 1);
}

/// Takes the pieces of a job out of the bucket behind everybody's back.
async fn lose_pieces(engine: &Engine, job: &str) {
    let bucket = engine.bucket_name("jobs");
    let stream = engine.context().get_stream(format!("KV_{bucket}")).await.unwrap();
    let purged = stream.purge().filter(format!("$KV.{bucket}.j.{job}.b.>")).await.unwrap();
    assert!(purged.purged > 0, "it had pieces");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_of_which_a_piece_is_gone_stops_no_replica_and_no_other_job() {
    let server = NatsServer::start();
    let engine = connect(server.settings()).await;
    let a = patiently(async || NatsJobs::open(engine.clone()).await).await;
    let b = open(server.settings()).await;
    let first = Job { input: large(600_000), ..job("a", 1) };
    a.create(&first).await.unwrap();
    a.create(&job("b", 2)).await.unwrap();
    b.heard_all().await.unwrap();
    lose_pieces(&engine, "a").await;
    let c = open(server.settings()).await;
    let open_jobs = c.open_jobs().await.unwrap();
    assert_eq!(open_jobs.iter().map(|job| job.id.as_str()).collect::<Vec<_>>(), ["b"]);
    // A change of it that both hear of, and one of them knows its input no more.
    a.replace(&changed(&first, JobState::Running, 2), 1).await.unwrap();
    a.create(&job("d", 3)).await.unwrap();
    for store in [&b, &c] {
        store.heard_all().await.unwrap();
        assert!(!store.is_away());
        assert!(store.read(&id("d")).await.unwrap().is_some());
    }
    c.read(&id("a")).await.expect_err("it is told that a piece is missing");
    assert_eq!(c.open_jobs().await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_made_while_another_of_its_id_is_removed_has_all_its_pieces() {
    let server = NatsServer::start();
    let (a, b, c) = (open(server.settings()).await, open(server.settings()).await, open(server.settings()).await);
    let mut made = Vec::new();
    // It is made in time now and then; where it is not, it goes on for longer.
    let mut n = 0;
    while n < 60 || made.is_empty() && n < 1_000 {
        n += 1;
        let name = format!("j{n}");
        let old = Job { announced: 2, ..changed(&Job { input: large(20_000), ..job(&name, 1) }, JobState::Lost, 2) };
        a.create(&old).await.unwrap();
        let young = Job { input: large(300_000), ..job(&name, 5) };
        let (was_there, removed, again) = tokio::join!(b.create(&young), a.remove_ended(&old), c.remove_ended(&old));
        removed.unwrap();
        again.unwrap();
        if was_there.unwrap().is_none() {
            made.push(young);
        }
    }
    assert!(!made.is_empty(), "it is made in time now and then");
    let fresh = open(server.settings()).await;
    for young in made {
        let kept = fresh.read(&young.id).await.unwrap().expect("it is there");
        assert_eq!(text(&kept), text(&young), "{}", young.id);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_starts_knows_all_jobs_and_one_that_was_cut_off_catches_up() {
    let mut server = NatsServer::start();
    let (a, b) = (open(server.settings()).await, open(server.settings()).await);
    for n in 0..300_u64 {
        let state = if n % 3 == 0 { JobState::Completed } else { JobState::Running };
        let made = job(&format!("j{n:03}"), n);
        a.create(&Job { announced: 2, ..changed(&made, state, 1_000 + n) }).await.unwrap();
    }
    let c = open(server.settings()).await;
    assert_eq!(c.open_jobs().await.unwrap().len(), 200);
    assert_eq!(c.ended_before(Timestamp(9_999), 999).await.unwrap().len(), 100);
    server.kill();
    until("it is away", async || a.is_away() && b.is_away()).await;
    a.read(&id("j001")).await.expect_err("nothing is told as known that is not");
    a.create(&job("new", 1)).await.expect_err("nor as done");
    b.heard_all().await.expect_err("nor as heard");
    server.restart();
    until("it is back", async || !a.is_away() && !b.is_away()).await;
    until("it takes writes", async || a.create(&job("new", 9_999)).await.is_ok()).await;
    until("all is heard", async || b.heard_all().await.is_ok()).await;
    assert_eq!(b.open_jobs().await.unwrap().len(), 201);
    let newest = b.list(&tidings::job::JobQuery { limit: 1, ..Default::default() }).await.unwrap();
    assert_eq!(newest[0].id, id("new"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_cluster_jobs_outlive_any_one_server() {
    let mut cluster = NatsCluster::start(3);
    let settings = cluster.settings();
    let store = open(settings).await;
    store.create(&job("a", 1)).await.unwrap();
    for node in 0..3 {
        cluster.nodes()[node].kill();
        let name = format!("n{node}");
        until("another leads", async || store.create(&job(&name, 2)).await.is_ok()).await;
        until("it is still there", async || store.read(&id("a")).await.is_ok_and(|job| job.is_some())).await;
        cluster.nodes()[node].restart();
        until("it has them all", async || store.heard_all().await.is_ok()).await;
    }
    assert_eq!(store.open_jobs().await.unwrap().len(), 4);
}
