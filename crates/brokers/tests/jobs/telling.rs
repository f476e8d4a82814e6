//! What watchers are told, in which order and how often.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tidings::job::{JobState, Outcome};

use crate::bench::{Bench, LEASE};
use crate::world::Trouble;

const EVERY: Duration = Duration::from_millis(200);

#[tokio::test(start_paused = true)]
async fn whoever_begins_to_watch_is_told_the_newest_state_whatever_it_is() {
    let (_world, bench) = Bench::new().await;
    let (id, lease) = {
        let id = bench.create("a").await;
        assert_eq!(bench.watch(&id).last(), Some(("job.queued", 0)));
        (id, bench.claim().await.unwrap().lease)
    };
    assert_eq!(bench.watch(&id).last(), Some(("job.running", 0)));
    bench.progress(&id, &lease, 5).unwrap();
    bench.settle().await;
    assert_eq!(bench.watch(&id).last(), Some(("job.progress", 5)));
    bench.cancel(&id).await.unwrap();
    assert_eq!(bench.watch(&id).last(), Some(("job.canceling", 5)));
    bench.complete(&id, &lease).await;
    assert_eq!(bench.watch(&id).last(), Some(("job.completed", 5)));
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_updates_at_once_are_told_as_the_first_and_the_newest() {
    let (_world, bench) = Bench::new().await;
    let (id, lease) = bench.begun("a").await;
    let mut watcher = bench.watch(&id);
    for done in 1..=10_000 {
        bench.progress(&id, &lease, done).unwrap();
        if done % 1_000 == 0 {
            bench.settle().await;
        }
    }
    bench.pass_for_progress(EVERY).await;
    let signals = watcher.read().await.iter().filter(|seen| seen.name == "job.progress").count();
    assert!((1..=2).contains(&signals), "{signals} were told");
    assert_eq!(watcher.last(), Some(("job.progress", 10_000)));
}

#[tokio::test(start_paused = true)]
async fn progress_is_told_at_most_once_in_its_time_for_each_job_by_itself() {
    let (_world, bench) = Bench::new().await;
    let ((a, at_a), (b, at_b)) = (bench.begun("a").await, bench.begun("b").await);
    let mut watchers = [bench.watch(&a), bench.watch(&b)];
    // Both say something each 10 ms for 2 s, the second from a little later on.
    for step in 1..=200 {
        bench.progress(&a, &at_a, step).unwrap();
        if step > 7 {
            bench.progress(&b, &at_b, step).unwrap();
        }
        bench.pass_for_progress(Duration::from_millis(10)).await;
        // A signal that a newer one replaced is not given to who reads later.
        for watcher in &mut watchers {
            watcher.read().await;
        }
    }
    bench.pass_for_progress(EVERY).await;
    for watcher in &mut watchers {
        let signals = watcher.read().await.iter().filter(|seen| seen.name == "job.progress").count();
        assert!((10..=12).contains(&signals), "{signals} were told in 2.2 s");
        assert_eq!(watcher.last(), Some(("job.progress", 200)));
    }
}

#[tokio::test(start_paused = true)]
async fn no_progress_comes_after_the_end() {
    let (_world, bench) = Bench::new().await;
    for seed in 0..100 {
        bench.fate.shuffle(seed);
        let (id, lease) = bench.begun(&format!("a{seed}")).await;
        let mut watcher = bench.watch(&id);
        bench.progress(&id, &lease, 1).unwrap();
        for _ in 0..seed % 17 {
            tokio::task::yield_now().await;
        }
        bench.progress(&id, &lease, 2).unwrap();
        bench.complete(&id, &lease).await;
        bench.pass_for_progress(EVERY).await;
        // The watcher itself finds fault with anything after the end.
        watcher.read().await;
        assert_eq!(watcher.last(), Some(("job.completed", 2)));
    }
}

#[tokio::test(start_paused = true)]
async fn progress_that_comes_while_a_cancel_is_stored_is_not_taken_back() {
    let (_world, bench) = Bench::new().await;
    for seed in 0..100 {
        bench.fate.shuffle(seed);
        let (id, lease) = bench.begun(&format!("a{seed}")).await;
        let mut watcher = bench.watch(&id);
        let (jobs, its) = (bench.jobs.clone(), id.clone());
        let canceling = tokio::spawn(async move { jobs.cancel(&its, Duration::ZERO).await });
        for done in 1..20 {
            bench.progress(&id, &lease, done).unwrap();
            tokio::task::yield_now().await;
        }
        canceling.await.unwrap().unwrap();
        assert_eq!(bench.jobs.get(&id).await.unwrap().unwrap().progress.done, 19);
        bench.pass_for_progress(EVERY).await;
        watcher.read().await;
        assert_eq!(watcher.last().map(|(_, done)| done), Some(19), "the newest is told at last");
        bench.finish(&id, &lease, Outcome::Canceled(None)).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn progress_that_the_log_refused_is_told_when_it_can_be() {
    let (_world, bench) = Bench::new().await;
    let (id, lease) = bench.begun("a").await;
    let mut watcher = bench.watch(&id);
    bench.fate.log_fails.store(true, Ordering::SeqCst);
    bench.progress(&id, &lease, 5).unwrap();
    bench.settle().await;
    bench.fate.log_fails.store(false, Ordering::SeqCst);
    bench.pass_for_progress(EVERY).await;
    watcher.read().await;
    assert_eq!(watcher.last(), Some(("job.progress", 5)), "its worker says nothing more for an hour");
}

#[tokio::test(start_paused = true)]
async fn an_end_that_the_log_refused_is_told_once_when_it_can_be() {
    for trouble in [Trouble::Fails, Trouble::FailsAfter] {
        // The store, the log, then the note that the log has it.
        for offset in 1..3 {
            let (world, bench) = Bench::new().await;
            let (id, lease) = bench.begun("a").await;
            let mut watcher = bench.watch(&id);
            bench.fate.plan(vec![(bench.fate.calls() + offset, trouble)]);
            assert_eq!(bench.complete(&id, &lease).await.state, JobState::Completed, "the answer does not wait");
            for _ in 0..4 {
                bench.pass_for_progress(Duration::from_secs(1)).await;
            }
            assert_eq!(world.names(&id).await, ["job.queued", "job.running", "job.completed"], "{offset} {trouble:?}");
            let kept = world.kept(&id).await;
            assert_eq!(kept.announced, kept.revision, "{offset} {trouble:?}");
            assert!(kept.end.is_some());
            watcher.read().await;
            assert!(watcher.has_ended());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_happens_while_the_log_refuses_is_told_in_order_afterwards() {
    let (world, bench) = Bench::new().await;
    let (id, lease) = bench.begun("a").await;
    let mut watcher = bench.watch(&id);
    bench.fate.log_fails.store(true, Ordering::SeqCst);
    bench.progress(&id, &lease, 5).unwrap();
    bench.cancel(&id).await.unwrap();
    bench.progress(&id, &lease, 6).unwrap();
    for _ in 0..4 {
        bench.pass_for_progress(Duration::from_millis(300)).await;
    }
    assert_eq!(watcher.read().await.len(), 1);
    bench.fate.log_fails.store(false, Ordering::SeqCst);
    for _ in 0..4 {
        bench.pass_for_progress(Duration::from_millis(300)).await;
    }
    watcher.read().await;
    assert_eq!(watcher.last().map(|(_, done)| done), Some(6));
    bench.finish(&id, &lease, Outcome::Canceled(None)).await.unwrap();
    watcher.read().await;
    assert_eq!(watcher.last(), Some(("job.canceled", 6)));
    assert_eq!(world.names(&id).await, ["job.queued", "job.running", "job.canceling", "job.canceled"]);
}

#[tokio::test(start_paused = true)]
async fn a_watcher_that_comes_back_after_a_restart_is_told_nothing_older_than_before() {
    let (world, bench) = Bench::new().await;
    let (id, _) = bench.begun("a").await;
    let start = bench.hub.cursor(tidings::Offset::START).to_string();
    drop(bench);
    let bench = world.start().await;
    // It went away before the first event: the log tells it all, so it is not told the end of it first.
    let topic = format!("job/{id}");
    let principal = tidings::Principal::new("u", tidings::Grants::parse([&*topic]).unwrap(), "test");
    let filter = tidings::Filter::topics([topic.parse().unwrap()]);
    let subscriber = bench.hub.subscribe(principal.into(), filter, Some(&start));
    assert!(subscriber.retained().is_empty());
    // Who comes anew is told the state.
    assert_eq!(bench.watch(&id).last(), Some(("job.running", 0)));
}

#[tokio::test(start_paused = true)]
async fn a_restart_takes_up_progress_and_leases() {
    let (world, bench) = Bench::new().await;
    let (id, lease) = bench.begun("a").await;
    let waiting = bench.create("b").await;
    bench.progress(&id, &lease, 5).unwrap();
    // Each job is put in the store at its turn, in 3 s at most.
    for _ in 0..16 {
        bench.pass_for_progress(Duration::from_millis(250)).await;
    }
    drop(bench);
    world.clock.advance(LEASE * 2);
    let bench = world.start().await;
    assert_eq!(bench.watch(&id).last(), Some(("job.running", 5)));
    assert_eq!(bench.watch(&waiting).last(), Some(("job.queued", 0)));
    bench.jobs.end_leases().await;
    bench.progress(&id, &lease, 6).expect("the lease counts anew");
    assert_eq!(bench.claim().await.unwrap().job.id, waiting);
    bench.pass(LEASE).await;
    assert!(bench.progress(&id, &lease, 7).is_err());
}
