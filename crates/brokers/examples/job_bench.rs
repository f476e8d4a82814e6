//! Measures the store of jobs: `cargo run --release -p tidings-brokers --example job_bench`.
//!
//! `job_bench [directory] [jobs]`: where to write (default: the temporary directory, which must be on a real disk) and how many
//! jobs there are (default: ten thousand).

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tidings::job::{Job, JobId, JobQuery, JobState, JobStore, Progress};
use tidings::{Audience, Timestamp};
use tidings_brokers::store::NewKey;
use tidings_brokers::{Store, job_contract};

/// As many items as a busy worker sends at once.
const PAGE: usize = 500;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let parent = arguments.next().map_or_else(std::env::temp_dir, Into::into);
    let count: usize = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(10_000);
    let root = parent.join(format!("job_bench-{}", std::process::id()));
    std::fs::create_dir_all(&root).expect("the directory can be made");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let store = Arc::new(Store::open(&root.join("store.db")).expect("the store opens"));
    runtime.block_on(measure(&store, count));
    drop(store);
    std::fs::remove_dir_all(&root).expect("the directory can be removed");
}

fn jobs(count: usize) -> Vec<Job> {
    let input = format!("{{\"books\":\"{}\"}}", "x".repeat(2_000));
    let audience = Audience::new(["books/job/1".parse().expect("a path"), "user/u1".parse().expect("a path")]);
    let job = |n: usize| Job {
        input: serde_json::from_str::<Box<serde_json::value::RawValue>>(&input).ok().map(Into::into),
        audience: audience.clone(),
        owner: Some("u1".into()),
        ..job_contract::job(&format!("6f1c9f0e-0000-4000-8000-{n:012}"), n as u64)
    };
    (0..count).map(job).collect()
}

async fn measure(store: &Arc<Store>, count: usize) {
    let queued = jobs(count);
    together(store, "create", &queued, |store, job| async move { store.create(&job).await.map(drop) }).await;
    let running: Vec<Job> = queued.iter().map(|job| job_contract::changed(job, JobState::Running, 5)).collect();
    let replace = |store: Arc<Store>, job: Job| async move { store.replace(&job, job.revision - 1).await.map(drop) };
    together(store, "replace (running)", &running, replace).await;
    for round in 0..3 {
        let message = Some("a sentence about what is done".into());
        let progress = Progress { done: round, total: Some(10), message, item: None };
        let notes: Vec<(JobId, Progress)> = queued.iter().map(|job| (job.id.clone(), progress.clone())).collect();
        let start = Instant::now();
        store.note_progress(notes).await.expect("it writes");
        let handed_in = start.elapsed();
        store.remove(&job_contract::id("none")).await.expect("it writes");
        println!("progress of {count}: handed in after {handed_in:.1?}, written after {:.1?}", start.elapsed());
    }
    let ended: Vec<Job> = running.iter().map(|job| job_contract::changed(job, JobState::Completed, 9)).collect();
    let (other, ending) = (store.clone(), std::sync::atomic::AtomicBool::new(true));
    let keys = async {
        let mut longest = Duration::ZERO;
        while ending.load(std::sync::atomic::Ordering::SeqCst) {
            let (other, start) = (other.clone(), Instant::now());
            let made =
                tokio::task::spawn_blocking(move || other.create_key(NewKey::named("a"), Timestamp(1)).map(drop));
            made.await.expect("it ends").expect("it writes");
            longest = longest.max(start.elapsed());
        }
        println!("  the longest that a key took meanwhile: {longest:.1?}");
    };
    let end = async {
        together(store, "replace (completed)", &ended, replace).await;
        ending.store(false, std::sync::atomic::Ordering::SeqCst);
    };
    tokio::join!(end, keys);
    let announce =
        |store: Arc<Store>, job: Job| async move { store.note_announced(&job.id, 3, Some("c".into())).await };
    together(store, "note_announced", &ended, announce).await;
    let start = Instant::now();
    let found = store.list(&JobQuery { limit: 100, ..JobQuery::default() }).await.expect("it reads");
    println!("list of {}: {:.1?}", found.len(), start.elapsed());
    items(store, &ended[0].id).await;
    together(store, "remove", &ended, |store, job| async move { store.remove(&job.id).await }).await;
}

async fn items(store: &Store, id: &JobId) {
    let start = Instant::now();
    for from in (0..100_000).step_by(PAGE) {
        let page = vec![Bytes::from(vec![b'x'; 150]); PAGE];
        store.append_items(id, from as u64, page).await.expect("it writes");
    }
    println!("100,000 items in pages of {PAGE}: {:.1?}", start.elapsed());
    let (start, mut from) = (Instant::now(), 0);
    loop {
        let page = store.items(id, from, PAGE, usize::MAX).await.expect("it reads");
        if page.is_empty() {
            break;
        }
        from += page.len() as u64;
    }
    println!("read again, in pages of {PAGE}: {:.1?}", start.elapsed());
    let start = Instant::now();
    let one = store.items(id, 77_777, 1, usize::MAX).await.expect("it reads");
    println!("{} item from the middle: {:.1?}", one.len(), start.elapsed());
}

async fn together<F, T>(store: &Arc<Store>, what: &str, jobs: &[Job], write: F)
where
    F: Fn(Arc<Store>, Job) -> T,
    T: Future<Output = Result<(), tidings::job::JobStoreError>> + Send + 'static,
{
    let (start, commits) = (Instant::now(), store.job_commits());
    let writes: Vec<_> = jobs.iter().map(|job| tokio::spawn(write(store.clone(), job.clone()))).collect();
    for write in writes {
        write.await.expect("it ends").expect("it writes");
    }
    println!("{what} of {} at once: {:.1?}, {} commits", jobs.len(), start.elapsed(), store.job_commits() - commits);
}
