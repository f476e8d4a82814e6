//! The life of a job, claim by claim and lease by lease.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tidings::job::{JobFault, JobSettings, JobState, NewJob, Outcome};

use crate::bench::{Bench, GRACE, LEASE, World, failure, items, json, wanted};
use crate::world::Trouble;

const MS: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn the_same_request_finds_the_same_job_and_another_one_is_refused() {
    let (world, bench) = Bench::new().await;
    assert!(bench.jobs.create(wanted("a")).await.unwrap().is_new);
    assert!(!bench.jobs.create(wanted("a")).await.unwrap().is_new);
    let other = NewJob { input: Some(json(1)), ..wanted("a") };
    assert_eq!(bench.jobs.create(other).await.unwrap_err(), JobFault::IdTaken);
    assert_eq!(world.names(&"a".parse().unwrap()).await, ["job.queued"]);
    assert!(bench.claim().await.is_some());
    assert!(bench.claim().await.is_none(), "it waits once");
}

#[tokio::test(start_paused = true)]
async fn of_two_requests_that_race_one_makes_the_job_and_both_find_it_told() {
    for seed in 0..50 {
        let (world, bench) = Bench::new().await;
        bench.fate.shuffle(seed);
        let create = |new: NewJob| {
            let jobs = bench.jobs.clone();
            tokio::spawn(async move { jobs.create(new).await })
        };
        let same = [create(wanted("a")), create(wanted("a")), create(wanted("a"))];
        let other = create(NewJob { input: Some(json(1)), ..wanted("a") });
        let mut new = 0;
        let mut found = 0;
        for made in same {
            match made.await.unwrap() {
                Ok(created) => {
                    found += 1;
                    new += usize::from(created.is_new);
                    assert_eq!(world.names(&created.job.id).await, ["job.queued"], "it was told before the answer");
                }
                Err(fault) => assert_eq!(fault, JobFault::IdTaken),
            }
        }
        match other.await.unwrap() {
            Ok(created) => assert!(created.is_new && found == 0),
            Err(fault) => assert!(fault == JobFault::IdTaken && found == 3),
        }
        assert!(new <= 1);
        assert!(bench.claim().await.is_some());
        assert!(bench.claim().await.is_none(), "it waits once");
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_there_is_found_also_when_there_is_room_for_no_more() {
    let world = World::default();
    let bench = world.start_with(JobSettings { open_jobs: 1, ..JobSettings::default() }, Default::default()).await;
    bench.create("a").await;
    assert!(!bench.jobs.create(wanted("a")).await.unwrap().is_new);
    assert_eq!(bench.jobs.create(wanted("b")).await.unwrap_err(), JobFault::TooMany(1));
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_making_seemed_to_fail_is_worked_on_all_the_same() {
    for trouble in [Trouble::Fails, Trouble::FailsAfter] {
        let (world, bench) = Bench::new().await;
        // The store keeps it, or not, and can't say so: neither then, nor when it is asked.
        let next = bench.fate.calls();
        bench.fate.plan(vec![(next, trouble), (next + 1, Trouble::Fails)]);
        assert!(matches!(bench.jobs.create(wanted("a")).await, Err(JobFault::Unavailable(_))));
        let again = bench.jobs.create(wanted("a")).await.unwrap();
        assert_eq!(world.names(&again.job.id).await, ["job.queued"]);
        let (id, lease) = (again.job.id, bench.claim().await.expect("it waits for a worker").lease);
        bench.complete(&id, &lease).await;
        assert_eq!(world.names(&id).await, ["job.queued", "job.running", "job.completed"]);
    }
}

#[tokio::test(start_paused = true)]
async fn jobs_of_a_kind_are_given_out_in_their_order_and_one_that_is_given_back_has_its_place_again() {
    let (_world, bench) = Bench::new().await;
    for name in ["a", "b", "c", "d"] {
        bench.create(name).await;
    }
    let (a, b) = (bench.claim().await.unwrap(), bench.claim().await.unwrap());
    bench.finish(&a.job.id, &a.lease, Outcome::Released).await.unwrap();
    bench.finish(&b.job.id, &b.lease, Outcome::Released).await.unwrap();
    let mut order = Vec::new();
    while let Some(next) = bench.claim().await {
        assert_eq!(next.job.attempt, 1, "what was given back does not count");
        order.push(next.job.id.to_string());
    }
    assert_eq!(order, ["a", "b", "c", "d"]);
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_waits_is_given_the_next_job_and_no_other_is() {
    let (_world, bench) = Bench::new().await;
    let claim = || {
        let jobs = bench.jobs.clone();
        let wait = Duration::from_secs(10);
        tokio::spawn(async move { jobs.claim(None, &["x".into(), "k".into()], "w", None, wait).await })
    };
    let (one, two) = (claim(), claim());
    bench.settle().await;
    bench.create("a").await;
    let claimed = [one.await.unwrap().unwrap(), two.await.unwrap().unwrap()];
    assert_eq!(claimed.iter().flatten().count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_is_dropped_at_any_moment_loses_no_job() {
    for seed in 0..200 {
        let (_world, bench) = Bench::new().await;
        bench.create("a").await;
        bench.fate.shuffle(seed);
        {
            let claim = bench.try_claim();
            tokio::pin!(claim);
            for _ in 0..seed % 40 {
                // Nobody waits for it any more after so many polls.
                let polled = std::future::poll_fn(|context| std::task::Poll::Ready(claim.as_mut().poll(context)));
                if polled.await.is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        for _ in 0..20 {
            bench.settle().await;
        }
        let job = bench.jobs.get(&"a".parse().unwrap()).await.unwrap().unwrap();
        let waits = bench.claim().await;
        match job.state {
            JobState::Queued => assert_eq!(waits.expect("it waits").job.attempt, 1),
            // Its answer was there before the future was dropped: that was the worker's.
            JobState::Running => assert!(waits.is_none()),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_counts_as_long_as_its_worker_says_something_and_then_not_again() {
    let (_world, bench) = Bench::new().await;
    let (id, lease) = bench.begun("a").await;
    for _ in 0..5 {
        bench.pass(LEASE - MS).await;
        bench.jobs.heartbeat(&id, &lease, Duration::ZERO).await.unwrap();
        bench.pass(LEASE - MS).await;
        bench.progress(&id, &lease, 1).unwrap();
        bench.pass(LEASE - MS).await;
        bench.jobs.append_items(&id, &lease, 0, items(0..1), false).await.unwrap();
    }
    bench.clock.advance(LEASE);
    assert_eq!(
        bench.progress(&id, &lease, 2),
        Err(JobFault::LeaseLost),
        "it does not count, also if nobody saw to it yet"
    );
    bench.jobs.end_leases().await;
    let next = bench.claim().await.expect("it waits again");
    assert_eq!((next.job.attempt, &next.job.id), (2, &id));
    assert_eq!(bench.jobs.heartbeat(&id, &lease, Duration::ZERO).await, Err(JobFault::LeaseLost));
    assert_eq!(bench.progress(&id, &lease, 1), Err(JobFault::LeaseLost));
    let appended = bench.jobs.append_items(&id, &lease, 1, items(1..2), true).await;
    assert_eq!(appended.unwrap_err(), JobFault::LeaseLost);
    for outcome in
        [Outcome::Completed(None), Outcome::Failed(failure(true)), Outcome::Canceled(None), Outcome::Released]
    {
        assert_eq!(bench.finish(&id, &lease, outcome).await.unwrap_err(), JobFault::LeaseLost);
    }
    assert_eq!(bench.jobs.get(&id).await.unwrap().unwrap().progress.done, 0, "it begins anew");
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_workers_all_went_away_is_lost() {
    let (world, bench) = Bench::new().await;
    let (id, _) = bench.begun("a").await;
    for _ in 1..3 {
        bench.pass(LEASE).await;
        assert!(bench.claim().await.is_some());
    }
    bench.pass(LEASE).await;
    assert_eq!(bench.state(&id).await, JobState::Lost);
    assert!(bench.claim().await.is_none());
    assert_eq!(world.names(&id).await.last().unwrap(), "job.lost");
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_that_waits_hears_of_a_cancel_and_of_a_loss_at_once() {
    let (_world, bench) = Bench::new().await;
    let wait = |id: &tidings::job::JobId, lease: &str| {
        let (jobs, id, lease) = (bench.jobs.clone(), id.clone(), lease.to_owned());
        tokio::spawn(async move { jobs.heartbeat(&id, &lease, Duration::from_secs(20)).await })
    };
    let begun = tokio::time::Instant::now();
    let (id, lease) = bench.begun("a").await;
    let heard = wait(&id, &lease);
    bench.settle().await;
    bench.cancel(&id).await.unwrap();
    assert!(heard.await.unwrap().unwrap().cancel);

    let (id, lease) = bench.begun("b").await;
    let heard = wait(&id, &lease);
    bench.settle().await;
    bench.pass(LEASE).await;
    assert_eq!(heard.await.unwrap(), Err(JobFault::LeaseLost));
    assert_eq!(begun.elapsed(), Duration::ZERO, "nobody waited for a timer");
}

#[tokio::test(start_paused = true)]
async fn a_canceled_job_whose_worker_only_says_that_it_lives_ends_after_its_grace() {
    let (_world, bench) = Bench::new().await;
    let long = NewJob { lease: Some(GRACE * 10), ..wanted("a") };
    let id = bench.jobs.create(long).await.unwrap().job.id;
    let lease = bench.claim().await.unwrap().lease;
    bench.cancel(&id).await.unwrap();
    bench.pass(GRACE - MS).await;
    let beat = bench.jobs.heartbeat(&id, &lease, Duration::from_secs(20)).await.unwrap();
    assert!(beat.cancel && beat.lease == MS);
    bench.pass(MS).await;
    assert_eq!(bench.state(&id).await, JobState::Canceled);
}

#[tokio::test(start_paused = true)]
async fn a_canceled_job_whose_worker_is_silent_ends_when_its_lease_runs_out() {
    let (_world, bench) = Bench::new().await;
    let short = NewJob { lease: Some(GRACE / 10), ..wanted("a") };
    let id = bench.jobs.create(short).await.unwrap().job.id;
    let lease = bench.claim().await.unwrap().lease;
    bench.cancel(&id).await.unwrap();
    bench.pass(GRACE / 10 - MS).await;
    bench.jobs.heartbeat(&id, &lease, Duration::ZERO).await.expect("it lives, and may take its grace");
    bench.pass(GRACE / 10 - MS).await;
    assert_eq!(bench.state(&id).await, JobState::Running);
    bench.pass(MS).await;
    assert_eq!(bench.state(&id).await, JobState::Canceled);
}

#[tokio::test(start_paused = true)]
async fn a_cancel_does_not_revive_a_lease_that_ran_out() {
    let (_world, bench) = Bench::new().await;
    let (id, lease) = bench.begun("a").await;
    bench.clock.advance(LEASE);
    bench.cancel(&id).await.unwrap();
    assert_eq!(bench.jobs.heartbeat(&id, &lease, Duration::ZERO).await, Err(JobFault::LeaseLost));
}

#[tokio::test(start_paused = true)]
async fn a_canceled_job_that_runs_over_a_restart_ends_after_its_grace() {
    let (world, bench) = Bench::new().await;
    let long = NewJob { lease: Some(GRACE * 10), ..wanted("a") };
    let id = bench.jobs.create(long).await.unwrap().job.id;
    bench.claim().await.unwrap();
    bench.cancel(&id).await.unwrap();
    drop(bench);
    let bench = world.start().await;
    bench.pass(GRACE).await;
    assert_eq!(bench.state(&id).await, JobState::Canceled);
}

#[tokio::test(start_paused = true)]
async fn what_a_worker_says_last_of_a_canceled_job_decides() {
    let (_world, bench) = Bench::new().await;
    for (name, outcome, end) in [
        ("a", Outcome::Completed(None), JobState::Completed),
        ("b", Outcome::Failed(failure(true)), JobState::Canceled),
        ("c", Outcome::Failed(failure(false)), JobState::Canceled),
        ("d", Outcome::Canceled(None), JobState::Canceled),
        ("e", Outcome::Released, JobState::Canceled),
    ] {
        let (id, lease) = bench.begun(name).await;
        bench.cancel(&id).await.unwrap();
        let said = bench.finish(&id, &lease, outcome.clone()).await.unwrap();
        assert_eq!(said.state, end, "{name}");
        let again = bench.finish(&id, &lease, outcome).await.unwrap();
        assert_eq!((again.state, again.revision), (end, said.revision), "{name}: again is the same");
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_end_twice_at_the_same_time_is_told_once_and_answered_twice() {
    let (world, bench) = Bench::new().await;
    let (id, lease) = bench.begun("a").await;
    let finish = || {
        let (jobs, id, lease) = (bench.jobs.clone(), id.clone(), lease.clone());
        tokio::spawn(async move { jobs.finish(&id, &lease, Outcome::Completed(Some(json(7)))).await })
    };
    let (one, two) = (finish(), finish());
    assert_eq!(one.await.unwrap().unwrap().state, JobState::Completed);
    assert_eq!(two.await.unwrap().unwrap().state, JobState::Completed);
    assert_eq!(world.names(&id).await, ["job.queued", "job.running", "job.completed"]);
    let other = bench.finish(&id, &lease, Outcome::Failed(failure(false))).await.unwrap_err();
    assert_eq!(other, JobFault::AlreadyEnded(JobState::Completed));
}

#[tokio::test(start_paused = true)]
async fn a_failure_worth_another_try_has_it_wait_again_while_there_are_tries() {
    let (_world, bench) = Bench::new().await;
    let id = bench.create("a").await;
    for attempt in 1..=3 {
        let claimed = bench.claim().await.unwrap();
        assert_eq!(claimed.job.attempt, attempt);
        bench.finish(&id, &claimed.lease, Outcome::Failed(failure(true))).await.unwrap();
    }
    assert_eq!(bench.state(&id).await, JobState::Failed);
}

#[tokio::test(start_paused = true)]
async fn items_are_passed_over_where_they_are_there_and_refused_where_there_would_be_a_hole() {
    let (world, bench) = Bench::new().await;
    let (id, lease) = bench.begun("a").await;
    let put = |from, range| bench.jobs.append_items(&id, &lease, from, items(range), true);
    assert_eq!(put(0, 0..3).await.unwrap().0, 3);
    assert_eq!(put(1, 1..5).await.unwrap().0, 5);
    assert_eq!(put(6, 6..7).await.unwrap_err(), JobFault::ItemsGap { count: 5 });
    assert_eq!(put(0, 0..5).await.unwrap().0, 5);
    assert_eq!(told_items(&world, "a").await, [0, 1, 2, 3, 4]);
    assert_eq!(bench.jobs.items(&id, 0, 10, 1 << 20).await.unwrap(), items(0..5));
}

pub async fn told_items(world: &World, id: &str) -> Vec<u64> {
    let told = world.told(&id.parse().unwrap()).await;
    let of_items = told.iter().filter(|event| &*event.name == tidings::job::ITEM_EVENT);
    let index = |data: &[u8]| serde_json::from_slice::<serde_json::Value>(data).unwrap()["index"].as_u64().unwrap();
    of_items.map(|event| index(&event.data)).collect()
}

#[tokio::test(start_paused = true)]
async fn items_of_which_the_store_can_t_say_whether_it_has_them_can_be_sent_again() {
    // Told and not kept; kept and not known to be; the same with a store that can't be asked either.
    for (offset, trouble) in
        [(0, Trouble::Fails), (0, Trouble::FailsAfter), (1, Trouble::Fails), (1, Trouble::FailsAfter)]
    {
        for is_unreadable in [false, true] {
            let (world, bench) = Bench::new().await;
            let (id, lease) = bench.begun("a").await;
            let put = |from, range| bench.jobs.append_items(&id, &lease, from, items(range), true);
            put(0, 0..2).await.unwrap();
            let call = bench.fate.calls() + offset;
            let mut plan = vec![(call, trouble)];
            plan.extend(is_unreadable.then_some((call + 1, Trouble::Fails)));
            bench.fate.plan(plan);
            let mut tries = 0;
            while put(2, 2..4).await.is_err() {
                tries += 1;
                assert!(tries < 5, "it can't be sent: {offset} {trouble:?} {is_unreadable}");
            }
            bench.complete(&id, &lease).await;
            assert_eq!(told_items(&world, "a").await, [0, 1, 2, 3], "each is told once: {offset} {trouble:?}");
            assert_eq!(bench.jobs.items(&id, 0, 10, 1 << 20).await.unwrap(), items(0..4));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn items_that_are_told_and_not_kept_are_not_told_again_after_a_crash() {
    let (world, bench) = Bench::new().await;
    let (id, lease) = bench.begun("a").await;
    bench.jobs.append_items(&id, &lease, 0, items(0..2), true).await.unwrap();
    bench.fate.store_fails.store(true, Ordering::SeqCst);
    bench.jobs.append_items(&id, &lease, 2, items(2..5), true).await.unwrap_err();
    drop(bench);
    let bench = world.start().await;
    let (count, _) = bench.jobs.append_items(&id, &lease, 2, items(2..7), true).await.expect("the lease counts again");
    assert_eq!(count, 7);
    assert_eq!(told_items(&world, "a").await, (0..7).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_change_of_which_the_store_can_t_say_whether_it_was_kept_holds_up_nothing() {
    for trouble in [Trouble::Fails, Trouble::FailsAfter] {
        for is_unreadable in [false, true] {
            let (world, bench) = Bench::new().await;
            let (id, lease) = bench.begun("a").await;
            let call = bench.fate.calls();
            let mut plan = vec![(call, trouble)];
            plan.extend(is_unreadable.then_some((call + 1, Trouble::Fails)));
            bench.fate.plan(plan);
            let mut tries = 0;
            while let Err(fault) = bench.finish(&id, &lease, Outcome::Completed(Some(json(7)))).await {
                tries += 1;
                assert!(tries < 5, "it can't be ended: {fault} {trouble:?} {is_unreadable}");
            }
            assert_eq!(world.names(&id).await, ["job.queued", "job.running", "job.completed"]);
            let kept = world.kept(&id).await;
            assert_eq!((kept.state, kept.revision, kept.announced), (JobState::Completed, 3, 3));
            assert_eq!(bench.jobs.count_open(), 0);
        }
    }
}
