//! Finds fault with what a program leaves behind.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tidings::job::{JobId, JobState, JobStore};

use crate::bench::{Bench, LEASE, World, items};
use crate::life::told_items;

/// What was answered 2xx.
#[derive(Clone, Default)]
pub struct Answered(Arc<Mutex<HashMap<JobId, Facts>>>);

#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// How many items are there.
    items: u64,
    /// The highest revision of it that was answered.
    revision: u64,
    end: Option<(JobState, Option<String>)>,
    /// Every lease that was given out, the newest last.
    leases: Vec<String>,
}

impl Answered {
    /// A change of the job was answered.
    pub fn job(&self, job: &tidings::job::Job) {
        let mut all = self.0.lock().unwrap();
        let facts = all.entry(job.id.clone()).or_default();
        facts.revision = facts.revision.max(job.revision);
        if job.state.is_end() {
            let end = (job.state, job.result.as_ref().map(|result| result.get().to_owned()));
            let before = facts.end.get_or_insert_with(|| end.clone());
            assert_eq!(*before, end, "{} has one end", job.id);
        }
    }

    pub fn items(&self, id: &JobId, count: u64) {
        let mut all = self.0.lock().unwrap();
        let facts = all.entry(id.clone()).or_default();
        facts.items = facts.items.max(count);
    }

    /// A lease was given out: none from before counts.
    pub async fn claimed(&self, bench: &Bench, id: &JobId, lease: &str) {
        let before = {
            let mut all = self.0.lock().unwrap();
            let facts = all.entry(id.clone()).or_default();
            facts.leases.push(lease.to_owned());
            facts.leases[..facts.leases.len() - 1].to_vec()
        };
        for old in before {
            assert!(bench.jobs.check_lease(id, &old).await.is_err(), "two workers have {id}");
        }
    }

    pub fn ids(&self) -> Vec<JobId> {
        self.0.lock().unwrap().keys().cloned().collect()
    }
}

/// Has all jobs end in a program to which nothing happens, and judges what is left.
pub async fn judge(world: &World, bench: &Bench, answered: &Answered) {
    for _ in 0..10 {
        while let Some(claimed) = bench.claim().await {
            answered.claimed(bench, &claimed.job.id, &claimed.lease).await;
            answered.job(&bench.complete(&claimed.job.id, &claimed.lease).await);
        }
        bench.pass(LEASE * 4).await;
        for _ in 0..if world.store.is_shared() { 12 } else { 0 } {
            // Long enough for what another replica did not tell.
            bench.pass_for_progress(Duration::from_millis(250)).await;
        }
    }
    bench.settle().await;
    assert_eq!(bench.jobs.count_open(), 0, "all jobs end");
    assert_eq!(bench.jobs.count_waiting(), 0);
    let all = answered.0.lock().unwrap().clone();
    for (id, facts) in all {
        judge_job(world, bench, &id, &facts).await;
    }
}

async fn judge_job(world: &World, bench: &Bench, id: &JobId, facts: &Facts) {
    let mut told = world.told(id).await;
    let is_end = |event: &tidings::Event| tidings::job::is_end(&event.name);
    if let Some(end) = told.iter().position(is_end).filter(|_| world.store.is_shared()) {
        // An item that one replica told while another ended the job, whose worker was told so: no hub gives it to anybody.
        let late = told.split_off(end + 1);
        assert!(late.iter().all(|event| &*event.name == tidings::job::ITEM_EVENT), "{late:?}");
    }
    let names: Vec<&str> = told.iter().map(|event| &*event.name).collect();
    let story = || format!("{id}: {names:?}, {facts:?}");
    let kept = world.kept(id).await;
    assert!(kept.state.is_end() && kept.announced == kept.revision && kept.end.is_some(), "{} {kept:?}", story());

    let ends = names.iter().filter(|name| tidings::job::is_end(name)).count();
    assert_eq!(ends, 1, "one end: {}", story());
    assert_eq!(*names.last().unwrap(), format!("job.{}", kept.state.name()), "the end is last: {}", story());

    let states = told.iter().filter(|event| &*event.name != tidings::job::ITEM_EVENT);
    let revision = |data: &[u8]| serde_json::from_slice::<Value>(data).unwrap()["revision"].as_u64().unwrap();
    let revisions: Vec<u64> = states.map(|event| revision(&event.data)).collect();
    assert!(revisions.is_sorted_by(|a, b| a < b), "{revisions:?}: {}", story());
    assert_eq!(revisions.last(), Some(&kept.revision), "{}", story());
    assert!(kept.revision >= facts.revision, "{}", story());

    if let Some((state, result)) = &facts.end {
        let kept_result = kept.result.as_ref().map(|result| result.get().to_owned());
        assert_eq!((kept.state, &kept_result), (*state, result), "an answered end stays: {}", story());
    }
    assert!(kept.items >= facts.items, "answered items stay: {} {}", kept.items, story());
    let index = told_items(world, id.as_str()).await;
    assert!(index.is_sorted_by(|a, b| a < b), "{index:?}: each is told once and in order: {}", story());
    assert!(index.iter().copied().eq(0..index.len() as u64), "{index:?}: none is left out: {}", story());
    assert!(index.len() as u64 >= kept.items, "each item that is kept is told: {}", story());
    assert_eq!(bench.jobs.items(id, 0, 1_000, 1 << 20).await.unwrap(), items(0..kept.items), "{}", story());
}
