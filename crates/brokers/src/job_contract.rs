//! What every store of jobs must do, written once. Each implementation runs it.
//!
//! A claim is a function that takes a fresh, empty store and panics when the claim is false.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::value::RawValue;
use tidings::Timestamp;
use tidings::job::{Failure, Job, JobId, JobQuery, JobState, JobStore, Progress};

/// How long what was begun may take when nobody waits for it.
const DONE_WITHIN: Duration = Duration::from_secs(60);

/// A job for a test: queued, made at `created`.
pub fn job(id: &str, created: u64) -> Job {
    let record = format!(
        r#"{{"id":"{id}","kind":"import","audience":["job/{id}"],"state":"queued","attempt":0,"attempts":3,"lease_ms":30000,
            "created":{created},"updated":{created},"revision":1,"request":{:?}}}"#,
        [7; 32]
    );
    serde_json::from_str(&record).expect("the test's record is valid")
}

/// The job with its state changed: one revision on, and ended at `time` if that is an end.
pub fn changed(job: &Job, state: JobState, time: u64) -> Job {
    let ended = state.is_end().then_some(Timestamp(time));
    Job { state, ended, updated: Timestamp(time), revision: job.revision + 1, ..job.clone() }
}

/// The id.
pub fn id(id: &str) -> JobId {
    id.parse().expect("the test's id is valid")
}

/// A progress of which only `done` is known.
pub fn done(done: u64) -> Progress {
    Progress { done, ..Progress::default() }
}

/// All that is kept of a job, to be compared.
pub fn text(job: &Job) -> String {
    serde_json::to_string(job).expect("a record can be told as JSON")
}

/// All that is kept of jobs, to be compared.
pub fn texts(jobs: &[Job]) -> Vec<String> {
    jobs.iter().map(text).collect()
}

fn ids(jobs: &[Job]) -> Vec<&str> {
    jobs.iter().map(|job| job.id.as_str()).collect()
}

fn items(indexes: impl IntoIterator<Item = u64>) -> Vec<Bytes> {
    indexes.into_iter().map(|index| Bytes::from(format!("{{\"index\":{index}}}"))).collect()
}

async fn keep(store: &dyn JobStore, job: &Job) {
    let there = store.create(job).await.expect("a healthy store takes it");
    assert!(there.is_none(), "{} is new", job.id);
}

async fn replace(store: &dyn JobStore, job: &Job) {
    assert!(store.replace(job, job.revision - 1).await.expect("a healthy store takes it"), "nothing was between");
}

async fn read(store: &dyn JobStore, name: &str) -> Job {
    store.read(&id(name)).await.expect("it reads").expect("the job is there")
}

/// A note of progress is taken at the latest with the next write.
async fn settle(store: &dyn JobStore) {
    store.remove(&id("nothing-of-this-name")).await.expect("a healthy store takes it");
}

fn query() -> JobQuery {
    JobQuery { limit: 1_000, ..JobQuery::default() }
}

/// Every claim, each on a store that `fresh` makes.
pub async fn all<S: JobStore + 'static>(fresh: impl Fn() -> S) {
    all_of(async || Arc::new(fresh())).await;
}

/// Every claim, each on a store that `fresh` makes in its time.
pub async fn all_of<S: JobStore + 'static>(fresh: impl AsyncFn() -> Arc<S>) {
    an_empty_store_knows_nothing(&*fresh().await).await;
    a_job_reads_back_as_it_was(&*fresh().await).await;
    the_second_of_an_id_finds_the_first_and_changes_nothing(&*fresh().await).await;
    a_job_is_replaced_only_from_the_revision_it_has(&*fresh().await).await;
    what_replaces_a_job_takes_the_place_of_all_of_it(&*fresh().await).await;
    of_many_who_replace_from_one_revision_one_does(fresh().await).await;
    a_noted_progress_changes_nothing_else(&*fresh().await).await;
    an_end_keeps_its_progress(&*fresh().await).await;
    what_is_announced_is_never_taken_back(&*fresh().await).await;
    open_jobs_are_those_with_something_left_to_do(&*fresh().await).await;
    a_list_has_what_fits_the_newest_first(&*fresh().await).await;
    a_list_goes_on_where_a_page_ended(&*fresh().await).await;
    items_read_back_in_their_order(&*fresh().await).await;
    a_page_of_items_keeps_its_bounds(&*fresh().await).await;
    items_that_leave_a_hole_or_come_twice_are_refused(&*fresh().await).await;
    of_many_who_append_at_one_index_one_does(fresh().await).await;
    the_number_of_items_is_what_is_there(&*fresh().await).await;
    a_token_is_known_with_its_expiry(&*fresh().await).await;
    ended_jobs_are_found_oldest_first_once_they_are_told(&*fresh().await).await;
    a_removed_job_is_gone_with_its_items_and_tokens(&*fresh().await).await;
    a_later_job_of_the_same_id_is_another(&*fresh().await).await;
    a_write_that_nobody_waits_for_is_done_whole_or_not_at_all(&*fresh().await).await;
}

/// Nothing is there, and that is no error.
pub async fn an_empty_store_knows_nothing(store: &dyn JobStore) {
    let none = id("none");
    assert!(store.read(&none).await.expect("it reads").is_none());
    assert!(store.open_jobs().await.expect("it reads").is_empty());
    assert!(store.list(&query()).await.expect("it reads").is_empty());
    assert!(store.items(&none, 0, 10, 10).await.expect("it reads").is_empty());
    assert!(store.ended_before(Timestamp(u64::MAX), 10).await.expect("it reads").is_empty());
    assert!(store.token([1; 32]).await.expect("it reads").is_none());
    assert!(!store.replace(&job("none", 1), 1).await.expect("nothing to do"));
    store.note_progress(vec![(none.clone(), done(1))]).await.expect("nothing to do");
    store.note_progress(vec![]).await.expect("nothing to do");
    store.note_announced(&none, 1, None).await.expect("nothing to do");
    store.remove(&none).await.expect("nothing to do");
    assert!(store.read(&none).await.expect("it reads").is_none());
}

/// Each member, letter by letter, small and large.
pub async fn a_job_reads_back_as_it_was(store: &dyn JobStore) {
    let raw = |text: &str| Some(serde_json::from_str::<Box<RawValue>>(text).expect("JSON"));
    let full = Job {
        namespace: Some("books".into()),
        owner: Some("ü 'u1\" \\".into()),
        input: raw(&format!("{{\"b\" : 1.50, \"a\":[ 1e2 ], \"c\":\"{}\"}}", "ä".repeat(400_000))).map(Arc::from),
        attempt: 2,
        canceling: Some(Timestamp(5)),
        progress: Progress { done: u64::MAX, total: Some(9), message: Some("so far".into()), item: raw("[ null ]") },
        result: raw("{\"z\":0,\"a\":0}"),
        error: Some(Failure { code: "c".into(), message: "m\n".into(), retryable: true }),
        started: Some(Timestamp(6)),
        ended: Some(Timestamp(7)),
        state: JobState::Failed,
        announced: 1,
        end: Some("cursor".into()),
        ..job("full.ID_-", 3)
    };
    for job in [full, job("plain", 4)] {
        keep(store, &job).await;
        assert_eq!(text(&read(store, job.id.as_str()).await), text(&job));
    }
}

/// Whoever made it first has made it.
pub async fn the_second_of_an_id_finds_the_first_and_changes_nothing(store: &dyn JobStore) {
    let first = job("a", 1);
    keep(store, &first).await;
    let second = Job { kind: "other".into(), ..job("a", 2) };
    let there = store.create(&second).await.expect("it reads").expect("it is there");
    assert_eq!(text(&there), text(&first));
    assert_eq!(texts(&store.list(&query()).await.expect("it reads")), [text(&first)]);
}

/// Compare and swap.
pub async fn a_job_is_replaced_only_from_the_revision_it_has(store: &dyn JobStore) {
    let queued = job("a", 1);
    keep(store, &queued).await;
    let running = changed(&queued, JobState::Running, 2);
    for wrong in [0, 2, u64::MAX] {
        assert!(!store.replace(&running, wrong).await.expect("it reads"));
        assert_eq!(text(&read(store, "a").await), text(&queued));
    }
    assert!(store.replace(&running, 1).await.expect("it writes"));
    assert!(!store.replace(&running, 1).await.expect("it reads"), "it has another revision now");
    assert_eq!(text(&read(store, "a").await), text(&running));
}

/// Also what was noted meanwhile, and what is not there any more.
pub async fn what_replaces_a_job_takes_the_place_of_all_of_it(store: &dyn JobStore) {
    let input = |text: &str| Some(Arc::from(serde_json::from_str::<Box<RawValue>>(text).expect("JSON")));
    let first = Job { input: input("1"), end: Some("there".into()), announced: 1, ..job("a", 1) };
    keep(store, &first).await;
    store.note_progress(vec![(id("a"), done(5))]).await.expect("it writes");
    let mut last = first;
    for (input, kind) in [(input("2"), "other"), (None, "other"), (None, "import"), (input("3"), "import")] {
        last = Job { input, kind: kind.into(), ..changed(&last, JobState::Running, 2) };
        last.created = Timestamp(last.created.0 + 1);
        last.end = None;
        replace(store, &last).await;
        assert_eq!(text(&read(store, "a").await), text(&last));
        let found = store.list(&JobQuery { kind: Some(kind.into()), ..query() }).await.expect("it reads");
        // A list has no use for inputs, which may be large.
        assert_eq!(texts(&found), [text(&Job { input: None, ..last.clone() })]);
    }
}

/// Nobody's change is written over unseen.
pub async fn of_many_who_replace_from_one_revision_one_does(store: Arc<dyn JobStore>) {
    let first = job("a", 1);
    keep(&*store, &first).await;
    let writers: Vec<_> = (0..50)
        .map(|n| {
            let (store, next) = (store.clone(), changed(&first, JobState::Running, n));
            tokio::spawn(async move { store.replace(&next, 1).await.expect("it writes").then_some(n) })
        })
        .collect();
    let mut won = Vec::new();
    for writer in writers {
        won.extend(writer.await.expect("no writer fails"));
    }
    assert_eq!(won.len(), 1);
    assert_eq!(read(&*store, "a").await.updated, Timestamp(won[0]));
}

/// The newest counts, and only of the jobs it is of.
pub async fn a_noted_progress_changes_nothing_else(store: &dyn JobStore) {
    let (a, b) = (job("a", 1), job("b", 2));
    keep(store, &a).await;
    keep(store, &b).await;
    let newest = Progress { total: Some(10), message: Some("m".into()), ..done(6) };
    let notes = vec![(id("a"), done(9)), (id("unknown"), done(1)), (id("a"), done(5))];
    store.note_progress(notes).await.expect("it writes");
    store.note_progress(vec![(id("a"), newest.clone())]).await.expect("it writes");
    settle(store).await;
    let noted = Job { progress: newest, ..a };
    assert_eq!(text(&read(store, "a").await), text(&noted));
    let all = [text(&noted), text(&b)];
    assert_eq!(texts(&store.open_jobs().await.expect("it reads")), all);
    // A change of the state from the same revision: the note is not one.
    replace(store, &changed(&noted, JobState::Running, 3)).await;
}

/// A note that was late is of no use.
pub async fn an_end_keeps_its_progress(store: &dyn JobStore) {
    let first = job("a", 1);
    keep(store, &first).await;
    let end = Job { progress: done(10), ..changed(&first, JobState::Completed, 2) };
    replace(store, &end).await;
    store.note_progress(vec![(id("a"), done(9))]).await.expect("it writes");
    settle(store).await;
    assert_eq!(text(&read(store, "a").await), text(&end));
}

/// Notes may come in any order.
pub async fn what_is_announced_is_never_taken_back(store: &dyn JobStore) {
    let first = Job { revision: 5, ..job("a", 1) };
    keep(store, &first).await;
    let steps: [(u64, Option<&str>, u64, Option<&str>); 4] =
        [(3, None, 3, None), (5, Some("c5"), 5, Some("c5")), (4, None, 5, Some("c5")), (5, Some("d"), 5, Some("d"))];
    for (revision, end, announced, kept) in steps {
        store.note_announced(&id("a"), revision, end.map(Into::into)).await.expect("it writes");
        let expected = Job { announced, end: kept.map(Into::into), ..first.clone() };
        assert_eq!(text(&read(store, "a").await), text(&expected));
    }
}

/// Not ended, or not told: oldest first, and by id where that is the same.
pub async fn open_jobs_are_those_with_something_left_to_do(store: &dyn JobStore) {
    let told = |job: Job| Job { announced: job.revision, ..job };
    let end = |name: &str, created| changed(&job(name, created), JobState::Completed, 9);
    for job in [told(job("d", 4)), job("b", 2), told(end("over", 1)), end("a", 2), told(job("c", 2))] {
        keep(store, &job).await;
    }
    assert_eq!(ids(&store.open_jobs().await.expect("it reads")), ["a", "b", "c", "d"]);
    store.note_announced(&id("a"), 2, Some("cursor".into())).await.expect("it writes");
    replace(store, &changed(&read(store, "d").await, JobState::Lost, 9)).await;
    assert_eq!(ids(&store.open_jobs().await.expect("it reads")), ["b", "c", "d"], "the end of d is to be told");
    store.note_announced(&id("d"), 2, Some("cursor".into())).await.expect("it writes");
    assert_eq!(ids(&store.open_jobs().await.expect("it reads")), ["b", "c"]);
}

/// By state, by kind, by both, and no more than asked for.
pub async fn a_list_has_what_fits_the_newest_first(store: &dyn JobStore) {
    use JobState::{Canceled, Queued, Running};
    let kept = [("a", 1, "x", Queued), ("b", 2, "y", Running), ("c", 2, "x", Running), ("d", 3, "x", Canceled)];
    for (name, created, kind, state) in kept {
        let kind = kind.into();
        keep(store, &Job { kind, state, ended: state.is_end().then_some(Timestamp(9)), ..job(name, created) }).await;
    }
    let list = async |state: Option<JobState>, kind: Option<&str>, limit| {
        let query = JobQuery { state, kind: kind.map(Into::into), before: None, limit };
        let found = store.list(&query).await.expect("it reads");
        found.iter().map(|job| job.id.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(list(None, None, 9).await, ["d", "c", "b", "a"]);
    assert_eq!(list(None, None, 4).await, ["d", "c", "b", "a"]);
    assert_eq!(list(None, None, 2).await, ["d", "c"]);
    assert!(list(None, None, 0).await.is_empty());
    assert_eq!(list(Some(Running), None, 9).await, ["c", "b"]);
    assert_eq!(list(None, Some("x"), 9).await, ["d", "c", "a"]);
    assert_eq!(list(Some(Running), Some("x"), 9).await, ["c"]);
    assert!(list(Some(JobState::Lost), None, 9).await.is_empty());
    assert!(list(None, Some("X"), 9).await.is_empty());
    replace(store, &changed(&read(store, "a").await, Running, 5)).await;
    assert_eq!(list(Some(Running), None, 9).await, ["c", "b", "a"]);
    assert!(list(Some(Queued), None, 9).await.is_empty());
}

/// Each once, also where many were made in one millisecond, and though others come meanwhile.
pub async fn a_list_goes_on_where_a_page_ended(store: &dyn JobStore) {
    for n in 0..40 {
        let kind = if n % 3 == 0 { "x" } else { "y" };
        keep(store, &Job { kind: kind.into(), ..job(&format!("j{n:02}"), n / 10) }).await;
    }
    for kind in [None, Some("x".to_owned())] {
        for state in [None, Some(JobState::Queued)] {
            let all = store.list(&JobQuery { kind: kind.clone(), state, ..query() }).await.expect("it reads");
            let (mut paged, mut before) = (Vec::new(), None);
            loop {
                let query = JobQuery { kind: kind.clone(), state, before: before.clone(), limit: 7 };
                let page = store.list(&query).await.expect("it reads");
                let Some(last) = page.last() else { break };
                before = Some((last.created, last.id.clone()));
                paged.extend(page);
                keep(store, &Job { kind: "x".into(), ..job(&format!("new{}", paged.len()), 1_000) }).await;
                store.remove(&id(&format!("new{}", paged.len()))).await.expect("it writes");
            }
            assert_eq!(ids(&paged), ids(&all));
        }
    }
}

/// Byte for byte, from each index, however many came at once.
pub async fn items_read_back_in_their_order(store: &dyn JobStore) {
    keep(store, &job("other", 1)).await;
    store.append_items(&id("other"), 0, items(900..1_000)).await.expect("it writes");
    keep(store, &job("a", 2)).await;
    let mut all: Vec<Bytes> = Vec::new();
    for (n, count) in [1, 0, 2, 700, 1, 64, 3, 500].into_iter().enumerate() {
        let mut next = items(all.len() as u64..all.len() as u64 + count);
        if n == 6 {
            next = vec![Bytes::new(), Bytes::from(vec![0xff; 200_000]), Bytes::from(vec![b'x'; 16 << 10])];
        }
        store.append_items(&id("a"), all.len() as u64, next.clone()).await.expect("it writes");
        all.extend(next);
    }
    let read =
        async |from: usize, limit| store.items(&id("a"), from as u64, limit, usize::MAX).await.expect("it reads");
    assert_eq!(read(0, usize::MAX).await, all);
    for from in (0..all.len() + 2).step_by(13).chain([1, 3, 702, 703, 704, 767, 768, 769, 770, 771]) {
        let expected = &all[from.min(all.len())..(from + 5).min(all.len())];
        assert_eq!(read(from, 5).await, expected, "from {from}");
    }
    assert!(store.items(&id("a"), u64::MAX, 5, 5).await.expect("it reads").is_empty());
}

/// `limit`, and `max_bytes`, of which the first item is free.
pub async fn a_page_of_items_keeps_its_bounds(store: &dyn JobStore) {
    keep(store, &job("a", 1)).await;
    store.append_items(&id("a"), 0, vec![Bytes::from_static(b"1234567890"); 30]).await.expect("it writes");
    let count =
        async |from, limit, max_bytes| store.items(&id("a"), from, limit, max_bytes).await.expect("it reads").len();
    assert_eq!(count(0, 7, 1_000).await, 7);
    assert_eq!(count(0, 0, 1_000).await, 0);
    assert_eq!(count(25, 7, 1_000).await, 5);
    assert_eq!(count(3, 7, 30).await, 3);
    assert_eq!(count(3, 7, 39).await, 3);
    assert_eq!(count(3, 7, 9).await, 1, "one is given");
    assert_eq!(count(3, 7, 0).await, 1, "one is given");
}

/// All or none, and nothing between.
pub async fn items_that_leave_a_hole_or_come_twice_are_refused(store: &dyn JobStore) {
    keep(store, &job("a", 1)).await;
    store.append_items(&id("a"), 0, items(0..3)).await.expect("it writes");
    for from in [0, 2, 4, u64::MAX] {
        let error = store.append_items(&id("a"), from, items(0..2)).await.expect_err("it is refused");
        assert!(error.to_string().contains("job a has 3 items"), "{error}");
    }
    store.append_items(&id("none"), 0, items(0..2)).await.expect_err("there is no such job");
    assert_eq!(store.items(&id("a"), 0, 9, 1_000).await.expect("it reads"), items(0..3));
    assert_eq!(read(store, "a").await.items, 3);
    store.append_items(&id("a"), 3, items(3..4)).await.expect("after an error it goes on");
}

/// Two senders never write over each other.
pub async fn of_many_who_append_at_one_index_one_does(store: Arc<dyn JobStore>) {
    keep(&*store, &job("a", 1)).await;
    let writers: Vec<_> = (0..20u64)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move { store.append_items(&id("a"), 0, items([n, n])).await.is_ok().then_some(n) })
        })
        .collect();
    let mut won = Vec::new();
    for writer in writers {
        won.extend(writer.await.expect("no writer fails"));
    }
    assert_eq!(won.len(), 1);
    assert_eq!(store.items(&id("a"), 0, 99, 9_999).await.expect("it reads"), items([won[0], won[0]]));
}

/// Whatever the record says, and wherever it is read.
pub async fn the_number_of_items_is_what_is_there(store: &dyn JobStore) {
    let first = Job { items: 77, ..job("a", 1) };
    keep(store, &first).await;
    assert_eq!(read(store, "a").await.items, 0);
    store.append_items(&id("a"), 0, items(0..3)).await.expect("it writes");
    let end = Job { items: 99, announced: 2, ..changed(&first, JobState::Completed, 2) };
    assert_eq!(store.open_jobs().await.expect("it reads")[0].items, 3);
    replace(store, &end).await;
    assert_eq!(read(store, "a").await.items, 3);
    assert_eq!(store.list(&query()).await.expect("it reads")[0].items, 3);
    assert_eq!(store.ended_before(Timestamp(9), 9).await.expect("it reads")[0].items, 3);
    assert_eq!(store.create(&first).await.expect("it reads").expect("it is there").items, 3);
}

/// Who comes with an expired one is to be told so. What was put last counts.
pub async fn a_token_is_known_with_its_expiry(store: &dyn JobStore) {
    keep(store, &job("a", 1)).await;
    store.put_token([1; 32], &id("a"), Timestamp(1)).await.expect("it writes");
    store.put_token([2; 32], &id("a"), Timestamp(2)).await.expect("it writes");
    store.put_token([2; 32], &id("a"), Timestamp(3)).await.expect("it writes");
    assert_eq!(store.token([1; 32]).await.expect("it reads"), Some((id("a"), Timestamp(1))));
    assert_eq!(store.token([2; 32]).await.expect("it reads"), Some((id("a"), Timestamp(3))));
    assert_eq!(store.token([3; 32]).await.expect("it reads"), None);
    store.put_token([4; 32], &id("none"), Timestamp(9)).await.expect_err("there is no such job");
    keep(store, &job("none", 1)).await;
    assert_eq!(store.token([4; 32]).await.expect("it reads"), None);
    store.put_token([2; 32], &id("none"), Timestamp(4)).await.expect("it writes");
    store.remove(&id("a")).await.expect("it writes");
    assert_eq!(store.token([2; 32]).await.expect("it reads"), Some((id("none"), Timestamp(4))));
}

/// What is not told yet is still needed.
pub async fn ended_jobs_are_found_oldest_first_once_they_are_told(store: &dyn JobStore) {
    for (name, ended, is_told) in
        [("c", 30, true), ("b", 10, true), ("a", 10, true), ("untold", 5, false), ("d", 31, true)]
    {
        let job = changed(&job(name, 1), JobState::Failed, ended);
        let announced = if is_told { job.revision } else { job.revision - 1 };
        keep(store, &Job { announced, ..job }).await;
    }
    keep(store, &Job { announced: 1, ..job("open", 1) }).await;
    let found = async |time, limit| {
        let found = store.ended_before(Timestamp(time), limit).await.expect("it reads");
        found.iter().map(|job| job.id.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(found(31, 9).await, ["a", "b", "c"]);
    assert_eq!(found(32, 2).await, ["a", "b"]);
    assert_eq!(found(u64::MAX, 9).await, ["a", "b", "c", "d"]);
    assert!(found(10, 9).await.is_empty());
    assert!(found(99, 0).await.is_empty());
}

/// And nothing else is.
pub async fn a_removed_job_is_gone_with_its_items_and_tokens(store: &dyn JobStore) {
    for (name, token) in [("a", 1), ("b", 2)] {
        let input = Some(Arc::from(serde_json::from_str::<Box<RawValue>>("{}").expect("JSON")));
        keep(store, &Job { input, ..job(name, 1) }).await;
        store.append_items(&id(name), 0, items(0..10)).await.expect("it writes");
        store.put_token([token; 32], &id(name), Timestamp(9)).await.expect("it writes");
        store.note_progress(vec![(id(name), done(1))]).await.expect("it writes");
    }
    for _ in 0..2 {
        store.remove(&id("a")).await.expect("it writes");
        assert!(store.read(&id("a")).await.expect("it reads").is_none());
        assert!(store.items(&id("a"), 0, 9, 9).await.expect("it reads").is_empty());
        assert_eq!(store.token([1; 32]).await.expect("it reads"), None);
        assert_eq!(ids(&store.open_jobs().await.expect("it reads")), ["b"]);
        assert_eq!(ids(&store.list(&query()).await.expect("it reads")), ["b"]);
    }
    assert_eq!((read(store, "b").await.items, read(store, "b").await.progress.done), (10, 1));
    assert_eq!(store.token([2; 32]).await.expect("it reads"), Some((id("b"), Timestamp(9))));
}

/// It has nothing of the one before.
pub async fn a_later_job_of_the_same_id_is_another(store: &dyn JobStore) {
    let input = Some(Arc::from(serde_json::from_str::<Box<RawValue>>("{}").expect("JSON")));
    keep(store, &Job { input, ..job("a", 1) }).await;
    store.append_items(&id("a"), 0, items(0..10)).await.expect("it writes");
    store.put_token([1; 32], &id("a"), Timestamp(9)).await.expect("it writes");
    store.note_progress(vec![(id("a"), done(1))]).await.expect("it writes");
    store.remove(&id("a")).await.expect("it writes");
    let later = job("a", 2);
    keep(store, &later).await;
    assert_eq!(text(&read(store, "a").await), text(&later));
    assert!(store.items(&id("a"), 0, 9, 9).await.expect("it reads").is_empty());
    assert_eq!(store.token([1; 32]).await.expect("it reads"), None);
    store.append_items(&id("a"), 0, items(5..6)).await.expect("it writes");
    assert_eq!(store.items(&id("a"), 0, 9, 99).await.expect("it reads"), items(5..6));
}

/// Whoever goes away in the middle leaves no half of it, and holds up nobody.
pub async fn a_write_that_nobody_waits_for_is_done_whole_or_not_at_all(store: &dyn JobStore) {
    let first = job("a", 1);
    keep(store, &first).await;
    let next = changed(&first, JobState::Running, 2);
    let mut counts = BTreeSet::from([0]);
    for is_begun in [false, true] {
        let (mut append, mut replace) = (store.append_items(&first.id, 0, items(0..500)), store.replace(&next, 1));
        if is_begun {
            let mut context = Context::from_waker(Waker::noop());
            let _ = (append.as_mut().poll(&mut context), replace.as_mut().poll(&mut context));
        }
        drop((append, replace));
        settle(store).await;
        let mut there = read(store, "a").await;
        // A store at the other end of a wire has its time.
        let deadline = Instant::now() + DONE_WITHIN;
        while is_begun && there.items == 0 && Instant::now() < deadline {
            tokio::task::yield_now().await;
            there = read(store, "a").await;
        }
        counts.insert(there.items);
        assert_eq!(store.items(&first.id, 0, 1_000, usize::MAX).await.expect("it reads").len() as u64, there.items);
        assert!(
            [text(&Job { items: there.items, ..first.clone() }), text(&Job { items: there.items, ..next.clone() })]
                .contains(&text(&there))
        );
    }
    assert_eq!(counts, BTreeSet::from([0, 500]), "whole or not at all");
}
