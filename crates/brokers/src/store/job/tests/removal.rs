//! Many items are deleted in small steps.

use bytes::Bytes;

use super::super::removal::CHORE;
use super::*;

/// Items of which each fills a row.
fn large(count: usize) -> Vec<Bytes> {
    vec![Bytes::from(vec![b'x'; 40_000]); count]
}

/// After each answer there is a step.
async fn work_off(fixture: &Fixture, rows: u64) {
    for _ in 0..rows / 64 + 3 {
        fixture.store.remove(&id("none")).await.unwrap();
    }
}

#[tokio::test]
async fn a_removed_job_leaves_nothing_behind() {
    let fixture = Fixture::new();
    for name in ["a", "b"] {
        fixture.store.create(&job(name, 1)).await.unwrap();
        fixture.store.append_items(&id(name), 0, large(200)).await.unwrap();
        fixture.store.put_token([name.as_bytes()[0]; 32], &id(name), tidings::Timestamp(1)).await.unwrap();
    }
    fixture.store.remove(&id("a")).await.unwrap();
    assert!(fixture.store.items(&id("a"), 0, 9, 9).await.unwrap().is_empty(), "at once");
    work_off(&fixture, 200).await;
    let counts = ["jobs", "job_items", "job_tokens", "job_removals"].map(|table| count(&fixture.other(), table));
    assert_eq!(counts, [1, 200, 1, 0]);
    assert_eq!(fixture.store.items(&id("b"), 0, 999, usize::MAX).await.unwrap().len(), 200);
}

#[tokio::test]
async fn what_is_still_to_be_deleted_is_not_taken_for_that_of_a_later_job() {
    let fixture = Fixture::new();
    let first = job("a", 1);
    fixture.store.create(&first).await.unwrap();
    fixture.store.append_items(&first.id, 0, large(3)).await.unwrap();
    let other = fixture.other();
    let held = hold(&other);
    // The first may go alone; the others go together, so that nothing is deleted between them.
    let none = id("none");
    let mut alone = fixture.store.remove(&none);
    assert!(begin(&mut alone).is_pending());
    let mut remove = fixture.store.remove(&first.id);
    let mut create = fixture.store.create(&first);
    let mut append = fixture.store.append_items(&first.id, 0, vec![Bytes::from_static(b"1")]);
    assert!(begin(&mut remove).is_pending() && begin(&mut create).is_pending() && begin(&mut append).is_pending());
    drop(held);
    remove.await.unwrap();
    assert!(create.await.unwrap().is_none());
    append.await.unwrap();
    assert_eq!(fixture.store.items(&first.id, 0, 9, 99).await.unwrap(), ["1"]);
    work_off(&fixture, 3).await;
    assert_eq!(fixture.store.items(&first.id, 0, 9, 99).await.unwrap(), ["1"]);
}

#[tokio::test]
async fn one_step_is_small_whatever_there_is_to_delete() {
    let fixture = Fixture::new();
    fixture.store.create(&job("a", 1)).await.unwrap();
    fixture.store.append_items(&id("a"), 0, large(150)).await.unwrap();
    let other = fixture.other();
    let held = hold(&other);
    held.execute("DELETE FROM jobs", []).unwrap();
    held.execute("INSERT INTO job_removals SELECT DISTINCT job FROM job_items", []).unwrap();
    let mut left = Vec::new();
    while (CHORE.is_due)(&held).unwrap() {
        (CHORE.step)(&held).unwrap();
        left.push(count(&held, "job_items"));
    }
    assert_eq!(left, [86, 22, 0]);
    held.commit().unwrap();
}

#[tokio::test]
async fn what_a_crash_left_of_a_removed_job_is_deleted_after_the_next_start() {
    let fixture = Fixture::new();
    fixture.store.create(&job("a", 1)).await.unwrap();
    fixture.store.append_items(&id("a"), 0, large(200)).await.unwrap();
    let other = fixture.other();
    let held = hold(&other);
    held.execute("INSERT INTO job_removals SELECT number FROM jobs", []).unwrap();
    held.execute("DELETE FROM jobs", []).unwrap();
    held.commit().unwrap();
    drop(other);
    let fixture = fixture.reopened();
    work_off(&fixture, 200).await;
    assert_eq!(["job_items", "job_removals"].map(|table| count(&fixture.other(), table)), [0, 0]);
}
