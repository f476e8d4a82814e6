//! Whatever is done in whatever order, SQLite and memory know the same.

use bytes::Bytes;
use proptest::prelude::*;
use tidings::Timestamp;
use tidings::job::{Job, JobId, MemoryJobs};

use super::*;
use crate::job_contract::{done, text, texts};

#[derive(Clone, Debug)]
enum Step {
    Create { id: u8, created: u64, kind: bool, input: bool },
    Replace { id: u8, ahead: u8, state: JobState, time: u64, announced: bool, input: bool },
    Progress { notes: Vec<(u8, u64)> },
    Announced { id: u8, revision: u64, end: Option<u8> },
    Append { id: u8, ahead: u8, items: Vec<u16> },
    Items { id: u8, from: u64, limit: usize, max_bytes: usize },
    Token { id: u8, hash: u8, expires: u64 },
    List { state: Option<JobState>, kind: Option<bool>, before: Option<(u64, u8)>, limit: usize },
    Ended { time: u64, limit: usize },
    Remove { id: u8 },
    Restart,
}

fn state() -> impl Strategy<Value = JobState> {
    proptest::sample::select(JobState::ALL.to_vec())
}

fn step() -> impl Strategy<Value = Step> {
    use proptest::option::of;
    let (id, time) = (|| 0..5u8, || 0..6u64);
    prop_oneof![
        6 => (id(), time(), any::<bool>(), any::<bool>())
            .prop_map(|(id, created, kind, input)| Step::Create { id, created, kind, input }),
        8 => (id(), prop_oneof![5 => Just(0), 1 => 1..3u8], state(), time(), any::<bool>(), any::<bool>())
            .prop_map(|(id, ahead, state, time, announced, input)| Step::Replace { id, ahead, state, time, announced, input }),
        3 => proptest::collection::vec((id(), 0..100u64), 0..4).prop_map(|notes| Step::Progress { notes }),
        3 => (id(), 0..6u64, of(0..3u8)).prop_map(|(id, revision, end)| Step::Announced { id, revision, end }),
        4 => (id(), prop_oneof![6 => Just(0), 1 => 1..3u8], proptest::collection::vec(0..20_000u16, 0..6))
            .prop_map(|(id, ahead, items)| Step::Append { id, ahead, items }),
        4 => (id(), 0..20u64, 0..9usize, 0..60_000usize)
            .prop_map(|(id, from, limit, max_bytes)| Step::Items { id, from, limit, max_bytes }),
        2 => (id(), 0..4u8, time()).prop_map(|(id, hash, expires)| Step::Token { id, hash, expires }),
        4 => (of(state()), of(any::<bool>()), of((time(), id())), 0..5usize)
            .prop_map(|(state, kind, before, limit)| Step::List { state, kind, before, limit }),
        2 => (time(), 0..4usize).prop_map(|(time, limit)| Step::Ended { time, limit }),
        2 => id().prop_map(|id| Step::Remove { id }),
        1 => Just(Step::Restart),
    ]
}

fn name(n: u8) -> JobId {
    id(&format!("j{n}"))
}

fn kind(is_import: bool) -> String {
    if is_import { "import" } else { "scan" }.to_owned()
}

fn input(is_there: bool, n: u64) -> Option<std::sync::Arc<serde_json::value::RawValue>> {
    let raw = || serde_json::from_str::<Box<serde_json::value::RawValue>>(&format!("{{\"n\":{n}}}")).unwrap();
    is_there.then(|| raw().into())
}

/// Takes a step, and says what came of it.
async fn take(store: &dyn JobStore, step: &Step) -> String {
    match step.clone() {
        Step::Create { id, created, kind: k, input: i } => {
            let job = Job { kind: kind(k), input: input(i, created), ..job(name(id).as_str(), created) };
            format!("{:?}", store.create(&job).await.unwrap().as_ref().map(text))
        }
        Step::Replace { id, ahead, state, time, announced, input: i } => {
            let Some(there) = store.read(&name(id)).await.unwrap() else { return "none".into() };
            let next = changed(&there, state, time);
            let announced = if announced { next.revision } else { 0 };
            let next = Job { announced, input: input(i, time), end: None, items: 99, ..next };
            format!("{:?}", store.replace(&next, there.revision + u64::from(ahead)).await.unwrap())
        }
        Step::Progress { notes } => {
            store.note_progress(notes.into_iter().map(|(id, n)| (name(id), done(n))).collect()).await.unwrap();
            // With the next write it is there.
            store.remove(&id("none")).await.unwrap();
            String::new()
        }
        Step::Announced { id, revision, end } => {
            store.note_announced(&name(id), revision, end.map(|end| format!("c{end}"))).await.unwrap();
            String::new()
        }
        Step::Append { id, ahead, items } => {
            let there = store.read(&name(id)).await.unwrap();
            if there.as_ref().is_some_and(|job| job.state.is_end()) {
                // Nobody puts items behind an end; a store for several replicas, where it may happen, leaves them out.
                return "ended".into();
            }
            let from = there.map_or(0, |job| job.items) + u64::from(ahead);
            let items = items.into_iter().map(|length| Bytes::from(vec![length as u8; length.into()])).collect();
            format!("{:?}", store.append_items(&name(id), from, items).await.map_err(|error| error.to_string()))
        }
        Step::Items { id, from, limit, max_bytes } => {
            let items = store.items(&name(id), from, limit, max_bytes).await.unwrap();
            format!("{:?}", items.iter().map(|item| (item.len(), item.first().copied())).collect::<Vec<_>>())
        }
        Step::Token { id, hash, expires } => {
            let put = store.put_token([hash; 32], &name(id), Timestamp(expires)).await;
            format!("{:?}", put.map_err(|error| error.to_string()))
        }
        Step::List { state, kind: k, before, limit } => {
            let before = before.map(|(created, id)| (Timestamp(created), name(id)));
            let query = JobQuery { state, kind: k.map(kind), before, limit };
            format!("{:?}", texts(&store.list(&query).await.unwrap()))
        }
        Step::Ended { time, limit } => {
            format!("{:?}", texts(&store.ended_before(Timestamp(time), limit).await.unwrap()))
        }
        Step::Remove { id } => {
            store.remove(&name(id)).await.unwrap();
            String::new()
        }
        Step::Restart => String::new(),
    }
}

/// All that is known.
async fn knows(store: &dyn JobStore) -> Vec<String> {
    let mut known = texts(&store.list(&everything()).await.unwrap());
    known.extend(texts(&store.open_jobs().await.unwrap()));
    known.extend(texts(&store.ended_before(Timestamp(u64::MAX), usize::MAX).await.unwrap()));
    for n in 0..5 {
        known.push(format!("{:?}", store.token([n; 32]).await.unwrap()));
        known.push(format!("{:?}", store.items(&name(n), 0, usize::MAX, usize::MAX).await.unwrap().len()));
    }
    known
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]
    #[test]
    fn sqlite_and_memory_know_the_same(steps in proptest::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (memory, mut fixture) = (MemoryJobs::default(), Fixture::new());
            for step in &steps {
                if let Step::Restart = step {
                    fixture = fixture.reopened();
                }
                let (expected, there) = (take(&memory, step).await, take(&*fixture.store, step).await);
                prop_assert_eq!(expected, there, "{:?}", step);
            }
            prop_assert_eq!(knows(&memory).await, knows(&*fixture.store).await);
            Ok(())
        })?;
    }
}
