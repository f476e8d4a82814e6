//! What stands beside a log, moved into real NATS servers and interrupted on its way.

mod nats_server;

use std::sync::Arc;

use bytes::Bytes;
use nats_server::{NatsServer, connect, fresh, patiently};
use serde_json::value::RawValue;
use tempfile::TempDir;
use tidings::Timestamp;
use tidings::job::{Job, JobFile, JobFiles, JobQuery, JobState, JobStore, Progress};
use tidings_brokers::files_contract::{content, keep, read};
use tidings_brokers::job_contract::{changed, job};
use tidings_brokers::nats::{
    MovedJobs, MovedState, NatsFiles, NatsJobs, NatsSettings, NatsState, move_jobs, move_state,
};
use tidings_brokers::state::{AccessStore, Answer, Claim, Claimed, RequestStore};
use tidings_brokers::store::{NewKey, Revocation, Revoked};
use tidings_brokers::{FileDirectory, Store};

const NOW: Timestamp = Timestamp(1_000_000);

/// What a hub has on its disk.
struct Old {
    _folder: TempDir,
    store: Store,
    files: Arc<dyn JobFiles>,
}

impl Old {
    fn new() -> Old {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = Store::open(&folder.path().join("tidings.db")).expect("it opens");
        let files = Arc::new(FileDirectory::new(folder.path()));
        Old { _folder: folder, store, files }
    }

    /// A job with whatever belongs to one of this number.
    async fn add(&self, n: u64) {
        let mut new = job(&format!("j{n}"), NOW.0 + n);
        new.input =
            Some(RawValue::from_string(format!("\"{}\"", "i".repeat(n as usize * 3_000))).expect("JSON").into());
        if n.is_multiple_of(4) {
            let content = content(200_000);
            let path = keep(&self.files, &content, 100_000).await;
            let (name, media_type) = ("a.csv".into(), "text/csv".into());
            new.file = Some(JobFile { path, name, media_type, bytes: content.len() as u64 });
        }
        assert!(self.store.create(&new).await.expect("it is made").is_none());
        let items: Vec<Bytes> = (0..n * 200).map(|item| format!("{{\"n\":{item}}}").into()).collect();
        self.store.append_items(&new.id, 0, items).await.expect("they are kept");
        self.store.put_token([n as u8; 32], &new.id, Timestamp(NOW.0 * 2)).await.expect("it is kept");
        match n % 3 {
            0 => {
                let mut end = changed(&new, JobState::Completed, NOW.0 + 500);
                end.result = Some(RawValue::from_string("{\"all\":true}".into()).expect("JSON"));
                assert!(self.store.replace(&end, new.revision).await.expect("it ends"));
                self.store.note_announced(&new.id, end.revision, Some("0000002a-7".into())).await.expect("noted");
            }
            1 => {
                let progress = Progress { done: n, ..Progress::default() };
                self.store.note_progress(vec![(new.id, progress)]).await.expect("it is noted");
            }
            _ => {}
        }
    }

    async fn jobs(&self) -> Vec<Job> {
        self.store.list(&JobQuery { limit: 100, ..JobQuery::default() }).await.expect("they are listed")
    }
}

/// The same hub in NATS.
struct New {
    jobs: Arc<NatsJobs>,
    files: Arc<NatsFiles>,
    state: Arc<NatsState>,
}

impl New {
    async fn open(settings: &NatsSettings) -> New {
        let engine = connect(settings.clone()).await;
        let jobs = patiently(async || NatsJobs::open(engine.clone()).await).await;
        let files = patiently(async || NatsFiles::open(engine.clone()).await).await;
        New { jobs, files, state: patiently(async || NatsState::open(engine.clone()).await).await }
    }

    async fn take(&self, old: &Old, step: impl FnMut(u64)) -> Result<MovedJobs, tidings::job::JobStoreError> {
        move_jobs(&old.store, &*old.files, &*self.jobs, &self.files, NOW, step).await
    }
}

/// A job as it is kept, as text.
async fn kept(store: &dyn JobStore, job: &Job) -> String {
    let kept = store.read(&job.id).await.expect("it is read").expect("it is there");
    serde_json::to_string(&kept).expect("it is JSON")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_with_all_that_belongs_to_them_are_moved_through_any_interruption() {
    let (old, server) = (Old::new(), NatsServer::start());
    for n in 0..30 {
        old.add(n).await;
    }
    let settings = fresh(server.settings());
    let mut runs = 0;
    // Dropped after one poll more each time: wherever it waits.
    for polls in (1..).map(|n: usize| n * n * 4) {
        let new = New::open(&settings).await;
        let mut moving = Box::pin(new.take(&old, |_| ()));
        let mut polled = 0;
        let moved = std::future::poll_fn(|cx| {
            polled += 1;
            match moving.as_mut().poll(cx) {
                std::task::Poll::Ready(moved) => std::task::Poll::Ready(Some(moved)),
                _ if polled > polls => std::task::Poll::Ready(None),
                _ => std::task::Poll::Pending,
            }
        })
        .await;
        runs += 1;
        if let Some(moved) = moved {
            let moved = moved.expect("they are moved");
            assert_eq!(moved, MovedJobs { jobs: 30, tokens: 30, files: moved.files, missing_files: 0 });
            break;
        }
    }
    assert!(runs >= 3, "it was interrupted {runs} times");

    let new = New::open(&settings).await;
    let files: Arc<dyn JobFiles> = new.files.clone();
    for listed in old.jobs().await {
        assert_eq!(kept(&*new.jobs, &listed).await, kept(&old.store, &listed).await, "{}", listed.id);
        let items = async |store: &dyn JobStore| {
            let mut all = Vec::new();
            loop {
                let page = store.items(&listed.id, all.len() as u64, 1_000, 1 << 20).await.expect("they are read");
                if page.is_empty() {
                    return all;
                }
                all.extend(page);
            }
        };
        assert_eq!(items(&*new.jobs).await, items(&old.store).await, "{}", listed.id);
        if let Some(file) = listed.file.as_ref().filter(|_| listed.ended.is_none()) {
            let part = 0..file.bytes;
            let expected = read(&old.files, &file.path, part.clone()).await.expect("it is there");
            assert!(read(&files, &file.path, part).await.expect("it was moved") == expected);
        }
    }
    for n in 0..30_u8 {
        let token = old.store.token([n; 32]).await.expect("it is read");
        assert!(token.is_some());
        assert_eq!(new.jobs.token([n; 32]).await.expect("it is read"), token);
    }
    let ids = |jobs: Vec<Job>| jobs.into_iter().map(|job| job.id).collect::<Vec<_>>();
    assert_eq!(
        ids(new.jobs.open_jobs().await.expect("they are read")),
        ids(old.store.open_jobs().await.expect("they are read"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_job_of_the_same_id_is_refused_and_a_missing_file_is_counted() {
    let (old, server) = (Old::new(), NatsServer::start());
    old.add(4).await;
    let open = old.jobs().await.remove(0);
    old.files.remove(&open.file.expect("it has one").path).await.expect("it is deleted");
    let settings = fresh(server.settings());
    let new = New::open(&settings).await;
    let moved = new.take(&old, |_| ()).await.expect("it is moved");
    assert_eq!((moved.jobs, moved.files, moved.missing_files), (1, 0, 1));

    let other = Old::new();
    assert!(other.store.create(&job("j4", 7)).await.expect("it is made").is_none());
    let refused = new.take(&other, |_| ()).await.expect_err("it is another").to_string();
    assert!(refused.contains("another job j4"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_revocations_and_answers_are_moved_and_again_is_well() {
    let (old, server) = (Old::new(), NatsServer::start());
    let rights = NewKey { grants: vec!["role/*".into()], publish_names: Some(vec![]), ..NewKey::named("a") };
    let (key, token) = old.store.create_key(rights, NOW).expect("it is made");
    old.store.touch_key(&key.id, Timestamp(NOW.0 + 5)).expect("it is used");
    let revocation = Revocation {
        kind: Revoked::Principal,
        value: "u1".into(),
        namespace: Some("shelf".into()),
        at: NOW,
        until: Timestamp(NOW.0 * 2),
    };
    old.store.revoke(&revocation).expect("it is revoked");
    let answer = Answer { body: Some([3; 32]), answer: "{\"cursor\":\"0000002a-7\"}".into(), at: NOW };
    for request in 0..2_500_u128 {
        old.store.idempotent_put(request.to_be_bytes(), &answer).expect("it is kept");
    }
    let settings = fresh(server.settings());
    let new = New::open(&settings).await;
    for _ in 0..2 {
        let moved = move_state(&old.store, &new.state, NOW).await.expect("it is moved");
        assert_eq!(moved, MovedState { keys: 1, revocations: 1, answers: 2_500 });
    }
    let state = New::open(&settings).await.state;
    assert_eq!(state.keys().await.expect("they are read"), old.store.keys().expect("they are read"));
    assert!(state.key_of(&token).await.expect("it is looked for").is_some());
    assert_eq!(state.revocations(NOW).await.expect("they are read"), [revocation]);
    for request in [0_u128, 999, 1_000, 2_499] {
        let after = "0000002a-9".parse().expect("a cursor");
        let claim = Claim { body: [3; 32], after, by: 1, at: NOW };
        let claimed = state.claim(request.to_be_bytes(), &claim).await.expect("it is told");
        assert_eq!(claimed, Claimed::Answered(answer.clone()));
    }
}
