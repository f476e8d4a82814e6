//! Many jobs: what they leave behind, and what they cost others.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tidings::job::{JobSettings, JobStore, Outcome};

use crate::bench::{Bench, LEASE, World, wanted};

#[tokio::test(start_paused = true)]
async fn jobs_that_ended_leave_nothing_but_what_may_be_held() {
    let world = World::default();
    let settings = JobSettings { held_ends_bytes: 20_000, ..JobSettings::default() };
    let bench = world.start_with(settings, Default::default()).await;
    for n in 0..20_000 {
        let id = bench.create(&n.to_string()).await;
        if n % 3 == 0 {
            bench.cancel(&id).await.unwrap();
        } else {
            let claimed = bench.claim().await.unwrap();
            bench.progress(&id, &claimed.lease, 1).unwrap();
            bench.finish(&id, &claimed.lease, Outcome::Completed(None)).await.unwrap();
        }
    }
    assert_eq!(bench.jobs.count_open(), 0);
    assert!(bench.jobs.files().is_empty());
    let held = (0..20_000).filter(|n| bench.watch(&n.to_string().parse().unwrap()).last().is_some()).count();
    assert!((1..200).contains(&held), "{held} ends are held");
    // An end that is held no more is shown when it is asked for.
    let first = "1".parse().unwrap();
    let job = bench.jobs.get(&first).await.unwrap().unwrap();
    assert_eq!(&*bench.jobs.end_of(&job).await.unwrap().unwrap().event.name, "job.completed");
    assert_eq!(bench.watch(&first).last(), Some(("job.completed", 1)));
}

#[tokio::test(start_paused = true)]
async fn jobs_that_are_canceled_while_they_wait_leave_the_queue() {
    let (_world, bench) = Bench::new().await;
    for n in 0..1_000 {
        let id = bench.create(&n.to_string()).await;
        bench.cancel(&id).await.unwrap();
    }
    assert!(!format!("{:?}", bench.jobs).is_empty());
    assert_eq!(bench.jobs.count_waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn only_jobs_that_ended_long_ago_and_were_told_are_forgotten() {
    let (world, bench) = Bench::new().await;
    let (ended, lease) = bench.begun("ended").await;
    bench.complete(&ended, &lease).await;
    let (untold, lease) = bench.begun("untold").await;
    bench.fate.log_fails.store(true, Ordering::SeqCst);
    bench.complete(&untold, &lease).await;
    bench.fate.log_fails.store(false, Ordering::SeqCst);
    let (running, _) = {
        let id = bench.jobs.create(wanted("running")).await.unwrap().job.id;
        (id, bench.claim().await.unwrap())
    };
    bench.clock.advance(JobSettings::default().keep_for);
    assert_eq!(bench.jobs.forget_old().await.unwrap(), 0, "not before their time");
    bench.clock.advance(Duration::from_millis(1));
    let (recent, lease) = {
        let id = bench.jobs.create(wanted("recent")).await.unwrap().job.id;
        (id, bench.claim().await.unwrap().lease)
    };
    bench.complete(&recent, &lease).await;
    assert_eq!(bench.jobs.forget_old().await.unwrap(), 1);
    assert!(world.store.read(&ended).await.unwrap().is_none());
    assert_eq!(bench.watch(&ended).last(), None, "nobody is told of it any more");
    for id in [untold.clone(), running, recent] {
        assert!(world.store.read(&id).await.unwrap().is_some(), "{id}");
    }
    // Once it is told it goes as well.
    bench.pass_for_progress(Duration::from_secs(1)).await;
    assert_eq!(bench.jobs.forget_old().await.unwrap(), 1);
    assert!(world.store.read(&untold).await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn however_many_jobs_are_old_they_are_all_forgotten_by_themselves() {
    let (world, bench) = Bench::new().await;
    for n in 0..1_050 {
        let id = bench.create(&n.to_string()).await;
        bench.cancel(&id).await.unwrap();
    }
    bench.clock.advance(JobSettings::default().keep_for + Duration::from_secs(1));
    tokio::time::sleep(Duration::from_secs(70)).await;
    let query = tidings::job::JobQuery { limit: 10_000, ..Default::default() };
    assert_eq!(world.store.list(&query).await.unwrap().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn leases_that_run_out_all_at_once_are_ended_side_by_side() {
    let (_world, bench) = Bench::new().await;
    for n in 0..1_000 {
        bench.create(&n.to_string()).await;
        bench.claim().await.unwrap();
    }
    bench.clock.advance(LEASE);
    // Each change of the store takes 10 ms, however many are made at the same time.
    bench.fate.slow(Duration::from_millis(10));
    let begun = tokio::time::Instant::now();
    bench.jobs.end_leases().await;
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert!(bench.claim().await.is_some());
}
