//! Several replicas, of which any may be asked anything, and any may die.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tidings::job::{JobFault, JobId, JobSettings, JobState, JobStore, Outcome, ProgressUpdate};
use tidings::{Clock, Filter, Grants, ManualClock, Offset, Principal, Timestamp};

use crate::bench::{Bench, LEASE, failure, items, json, wanted};
use crate::crowd::{Chance, JOBS, breathe, name, named, rounds};
use crate::judge::{Answered, judge};
use crate::life::told_items;
use crate::shared::Replicas;
use crate::world::{Fate, Trouble};

async fn two() -> (Replicas, Bench, Bench) {
    let replicas = Replicas::new(0);
    let (a, b) = (replicas.start(Arc::default()).await, replicas.start(Arc::default()).await);
    (replicas, a, b)
}

fn done(done: u64) -> ProgressUpdate {
    ProgressUpdate { done: Some(done), ..ProgressUpdate::default() }
}

#[tokio::test(start_paused = true)]
async fn a_job_made_at_one_replica_is_claimed_at_another_heard_at_a_third_and_ended_anywhere() {
    let (replicas, a, b) = two().await;
    let c = replicas.start(Arc::default()).await;
    let id = a.create("a").await;
    a.settle().await;
    let claimed = b.claim().await.expect("it waits everywhere");
    assert_eq!(claimed.job.id, id);
    assert!(!c.jobs.heartbeat(&id, &claimed.lease, Duration::ZERO).await.unwrap().cancel);
    c.jobs.progress(&id, &claimed.lease, done(5)).await.unwrap();
    let (count, _) = a.jobs.append_items(&id, &claimed.lease, 0, items(0..3), true).await.unwrap();
    let (more, _) = b.jobs.append_items(&id, &claimed.lease, 2, items(2..5), true).await.unwrap();
    assert_eq!((count, more), (3, 5));
    let ended = a.complete(&id, &claimed.lease).await;
    assert_eq!((ended.state, ended.items), (JobState::Completed, 5));
    a.settle().await;
    for replica in [&a, &b, &c] {
        assert_eq!(replica.state(&id).await, JobState::Completed);
        assert_eq!((replica.jobs.count_open(), replica.jobs.count_waiting()), (0, 0));
        assert!(replica.watch(&id).has_ended());
        let again = replica.finish(&id, &claimed.lease, Outcome::Completed(None)).await.unwrap();
        assert_eq!(again.revision, ended.revision, "the same again is the same");
        let other = replica.finish(&id, &claimed.lease, Outcome::Failed(failure(false))).await;
        assert_eq!(other.unwrap_err(), JobFault::AlreadyEnded(JobState::Completed));
    }
    let told =
        ["job.queued", "job.running", "job.item", "job.item", "job.item", "job.item", "job.item", "job.completed"];
    assert_eq!(replicas.world.names(&id).await, told);
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_waits_at_one_replica_is_woken_by_a_job_made_at_another() {
    let (_replicas, a, b) = two().await;
    let jobs = b.jobs.clone();
    let waiting =
        tokio::spawn(async move { jobs.claim(None, &["k".into()], "w", None, Duration::from_secs(50)).await });
    b.settle().await;
    let begun = tokio::time::Instant::now();
    let id = a.create("a").await;
    assert_eq!(waiting.await.unwrap().unwrap().expect("it is called").job.id, id);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn of_claims_at_all_replicas_each_job_is_given_to_one() {
    let (replicas, a, b) = two().await;
    let c = replicas.start(Arc::default()).await;
    for n in 0..50 {
        a.create(&format!("j{n}")).await;
    }
    let claim = |replica: &Bench| {
        let jobs = replica.jobs.clone();
        tokio::spawn(async move {
            let mut had = Vec::new();
            while let Some(claimed) = jobs.claim(None, &["k".into()], "w", None, Duration::ZERO).await.unwrap() {
                had.push(claimed.job.id.to_string());
            }
            had
        })
    };
    let claims = [claim(&a), claim(&b), claim(&c), claim(&b)];
    let mut all = Vec::new();
    for one in claims {
        all.extend(one.await.unwrap());
    }
    all.sort();
    let count = all.len();
    all.dedup();
    assert_eq!((all.len(), count), (50, 50));
}

#[tokio::test(start_paused = true)]
async fn a_cancel_at_one_replica_is_heard_at_once_by_a_heartbeat_that_waits_at_another() {
    let (_replicas, a, b) = two().await;
    let (id, lease) = a.begun("a").await;
    let (jobs, its, shown) = (b.jobs.clone(), id.clone(), lease.clone());
    let beat = tokio::spawn(async move { jobs.heartbeat(&its, &shown, Duration::from_secs(20)).await });
    b.settle().await;
    let begun = tokio::time::Instant::now();
    a.cancel(&id).await.unwrap();
    assert!(beat.await.unwrap().unwrap().cancel);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    b.finish(&id, &lease, Outcome::Canceled(None)).await.unwrap();
    a.settle().await;
    assert_eq!(a.state(&id).await, JobState::Canceled);
    assert_eq!(a.jobs.count_open(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_worker_heard_at_one_replica_keeps_its_job_at_all() {
    let (_replicas, a, b) = two().await;
    let (id, lease) = a.begun("a").await;
    for _ in 0..20 {
        // A third of a lease, in steps that the lookout sees.
        for _ in 0..40 {
            a.pass_for_progress(LEASE / 120).await;
        }
        b.jobs.heartbeat(&id, &lease, Duration::ZERO).await.expect("it counts");
        a.jobs.end_leases().await;
        b.jobs.end_leases().await;
    }
    assert_eq!(a.state(&id).await, JobState::Running);
    assert_eq!(b.jobs.get(&id).await.unwrap().unwrap().attempt, 1);
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_hears_late_takes_no_job_from_a_worker_that_lives() {
    let (_replicas, a, b) = two().await;
    let (id, lease) = a.begun("a").await;
    a.settle().await;
    b.fate.deaf.store(true, Ordering::SeqCst);
    for _ in 0..12 {
        for _ in 0..40 {
            a.pass_for_progress(LEASE / 120).await;
        }
        a.jobs.heartbeat(&id, &lease, Duration::ZERO).await.expect("it counts");
    }
    b.fate.deaf.store(false, Ordering::SeqCst);
    b.jobs.end_leases().await;
    b.settle().await;
    assert_eq!((a.state(&id).await, a.jobs.get(&id).await.unwrap().unwrap().attempt), (JobState::Running, 1));
    a.complete(&id, &lease).await;
}

#[tokio::test(start_paused = true)]
async fn the_replica_that_has_heard_a_worker_last_takes_its_job_first_and_another_one_when_that_is_gone() {
    let (_replicas, a, b) = two().await;
    let (id, _) = a.begun("a").await;
    b.clock.advance(LEASE);
    b.jobs.end_leases().await;
    assert_eq!(b.state(&id).await, JobState::Running, "the other one may have heard it since");
    a.jobs.end_leases().await;
    a.settle().await;
    assert_eq!(b.state(&id).await, JobState::Queued);
    let second = b.claim().await.unwrap();
    assert_eq!(second.job.attempt, 2);
    b.settle().await;
    drop(b);
    a.pass(LEASE).await;
    assert_eq!(a.state(&id).await, JobState::Running);
    a.pass(LEASE / 3 + Duration::from_secs(1)).await;
    assert_eq!(a.state(&id).await, JobState::Queued, "the one that gave it out is gone");
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_has_lost_the_store_ends_no_lease_and_when_it_is_back_workers_have_their_time() {
    let (_replicas, a, b) = two().await;
    let (id, lease) = a.begun("a").await;
    for replica in [&a, &b] {
        replica.fate.away.store(true, Ordering::SeqCst);
    }
    for _ in 0..300 {
        a.pass_for_progress(LEASE / 100).await;
    }
    let refused = a.jobs.heartbeat(&id, &lease, Duration::ZERO).await;
    assert!(matches!(refused, Err(JobFault::Unavailable(_))), "{refused:?}");
    for replica in [&a, &b] {
        replica.fate.away.store(false, Ordering::SeqCst);
        replica.jobs.end_leases().await;
    }
    a.pass_for_progress(Duration::from_secs(1)).await;
    assert_eq!(a.state(&id).await, JobState::Running);
    b.jobs.heartbeat(&id, &lease, Duration::ZERO).await.expect("it counts anew");
    a.complete(&id, &lease).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_replica_could_not_tell_before_it_died_another_one_tells_once() {
    for trouble in [Trouble::Dies, Trouble::DiesAfter] {
        // The look at its items, the store, the log, the note.
        for call in 0..4 {
            let (replicas, a, b) = two().await;
            let c = replicas.start(Arc::default()).await;
            let (id, lease) = a.begun("a").await;
            let mut watcher = b.watch(&id);
            a.fate.plan(vec![(a.fate.calls() + call, trouble)]);
            let (jobs, its, shown) = (a.jobs.clone(), id.clone(), lease.clone());
            tokio::spawn(async move { jobs.finish(&its, &shown, Outcome::Completed(None)).await });
            a.fate.death().await;
            for _ in 0..12 {
                b.pass_for_progress(Duration::from_millis(250)).await;
            }
            b.complete(&id, &lease).await;
            c.settle().await;
            assert_eq!(
                replicas.world.names(&id).await,
                ["job.queued", "job.running", "job.completed"],
                "{call} {trouble:?}"
            );
            let kept = replicas.world.kept(&id).await;
            assert_eq!(kept.announced, kept.revision, "{call} {trouble:?}");
            watcher.read().await;
            assert!(watcher.has_ended());
            assert_eq!((b.jobs.count_open(), c.jobs.count_open()), (0, 0));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn progress_of_any_replica_is_told_everywhere_and_shown_everywhere_soon() {
    let (_replicas, a, b) = two().await;
    let (id, lease) = a.begun("a").await;
    let mut watcher = b.watch(&id);
    a.jobs.progress(&id, &lease, done(5)).await.unwrap();
    a.settle().await;
    watcher.read().await;
    assert_eq!(watcher.last(), Some(("job.progress", 5)));
    assert_eq!(b.jobs.get(&id).await.unwrap().unwrap().progress.done, 5);
    // The worker is heard elsewhere, and says nothing of how much is done.
    let message = ProgressUpdate { message: Some("on".into()), ..ProgressUpdate::default() };
    b.jobs.progress(&id, &lease, message).await.unwrap();
    b.settle().await;
    watcher.read().await;
    assert_eq!(watcher.last(), Some(("job.progress", 5)));
    let less = b.jobs.progress(&id, &lease, done(4)).await;
    assert_eq!(less, Err(JobFault::ProgressBackwards { done: 4, before: 5 }));
    b.cancel(&id).await.unwrap();
    assert_eq!(b.watch(&id).last(), Some(("job.canceling", 5)));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_stops_is_not_refused_because_a_replica_has_not_heard_of_the_cancel() {
    let (_replicas, a, b) = two().await;
    let (id, lease) = a.begun("a").await;
    a.settle().await;
    let refused = a.finish(&id, &lease, Outcome::Canceled(None)).await;
    assert_eq!(refused.unwrap_err(), JobFault::NotCanceling, "nobody has canceled it");
    a.fate.deaf.store(true, Ordering::SeqCst);
    b.cancel(&id).await.unwrap();
    assert_eq!(a.finish(&id, &lease, Outcome::Canceled(None)).await.unwrap().state, JobState::Canceled);
}

#[tokio::test(start_paused = true)]
async fn a_worker_is_not_held_to_what_another_one_has_done_before_it_gave_the_job_back() {
    let (_replicas, a, b) = two().await;
    let (id, lease) = a.begun("a").await;
    a.jobs.progress(&id, &lease, done(50)).await.unwrap();
    a.settle().await;
    a.fate.deaf.store(true, Ordering::SeqCst);
    b.finish(&id, &lease, Outcome::Released).await.unwrap();
    let second = b.claim().await.expect("it waits again");
    a.jobs.progress(&id, &second.lease, done(5)).await.unwrap();
    assert_eq!(a.jobs.get(&id).await.unwrap().unwrap().progress.done, 5);
}

/// A job that ended and was removed while a replica heard nothing.
async fn missed(a: &Bench, b: &Bench, name: &str) -> JobId {
    let id = a.create(name).await;
    a.settle().await;
    b.fate.deaf.store(true, Ordering::SeqCst);
    a.cancel(&id).await.unwrap();
    a.clock.advance(tidings::job::JobSettings::default().keep_for + Duration::from_millis(1));
    assert_eq!(a.jobs.forget_old().await.unwrap(), 1);
    assert_eq!(b.jobs.count_open(), 1, "it has heard nothing of that");
    id
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_has_missed_the_end_and_the_removal_of_a_job_gives_out_the_next_one() {
    let (_replicas, a, b) = two().await;
    missed(&a, &b, "a").await;
    assert!(b.claim().await.is_none(), "there is none");
    assert_eq!((b.jobs.count_open(), b.jobs.count_waiting()), (0, 0));
    let next = b.create("next").await;
    assert_eq!(b.claim().await.expect("nothing stands before it").job.id, next);
}

#[tokio::test(start_paused = true)]
async fn a_job_takes_the_place_of_one_of_its_id_whose_removal_was_missed() {
    let (replicas, a, b) = two().await;
    let id = missed(&a, &b, "a").await;
    b.fate.deaf.store(false, Ordering::SeqCst);
    b.settle().await;
    assert_eq!(b.jobs.count_open(), 0, "the removal is heard after all");
    missed(&a, &b, "b").await;
    let made = a.jobs.create(wanted("b")).await.unwrap().job;
    let again = made.id;
    assert_eq!(b.state(&again).await, JobState::Queued);
    let claimed = b.claim().await.expect("the new one");
    assert_eq!((claimed.job.attempt, claimed.job.created), (1, made.created));
    assert_eq!(replicas.world.kept(&again).await.created, made.created);
    assert_ne!(again, id);
}

#[tokio::test(start_paused = true)]
async fn items_that_are_told_and_put_while_another_replica_ends_the_job_are_none_of_its_result() {
    let (replicas, a, b) = two().await;
    let (id, lease) = a.begun("a").await;
    a.jobs.append_items(&id, &lease, 0, items(0..2), true).await.unwrap();
    let mut watcher = b.watch(&id);
    a.fate.slow(Duration::from_secs(1));
    let (jobs, its, shown) = (a.jobs.clone(), id.clone(), lease.clone());
    let appending = tokio::spawn(async move { jobs.append_items(&its, &shown, 2, items(2..5), true).await });
    let begun = a.fate.calls();
    // It has looked, and is about to tell.
    while a.fate.calls() == begun {
        a.pass_for_progress(Duration::from_millis(100)).await;
    }
    assert_eq!(b.complete(&id, &lease).await.items, 2);
    while !appending.is_finished() {
        a.pass_for_progress(Duration::from_millis(100)).await;
    }
    assert_eq!(appending.await.unwrap().unwrap_err(), JobFault::LeaseLost);
    a.fate.slow(Duration::ZERO);
    let names = replicas.world.names(&id).await;
    assert!(names.last().is_some_and(|name| name == "job.item"), "the log has items behind the end: {names:?}");
    // Fails if it is told of an item after the end.
    assert!(!watcher.read().await.is_empty());
    let c = replicas.start(Arc::default()).await;
    for replica in [&a, &b, &c] {
        assert_eq!(replica.jobs.get(&id).await.unwrap().unwrap().items, 2);
        assert_eq!(replica.jobs.items(&id, 0, 9, 999).await.unwrap(), items(0..2));
        assert!(replica.jobs.items(&id, 3, 9, 999).await.unwrap().is_empty());
    }
    let topic = format!("job/{id}");
    let principal = Principal::new("u", Grants::parse([&*topic]).unwrap(), "test");
    let filter = Filter::topics([topic.parse().unwrap()]);
    let from = c.hub.cursor(Offset::START).to_string();
    let mut replay = c.hub.subscribe(Arc::new(principal), filter, Some(&from));
    let mut told = Vec::new();
    while let Some(tidings::Delivery::Event(entry)) = replay.try_next().await {
        told.push(entry.event.name.to_string());
    }
    assert_eq!(told, ["job.queued", "job.running", "job.item", "job.item", "job.completed"]);
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_goes_on_after_a_stop_tells_nothing_that_another_has_told_for_it() {
    let (replicas, a, b) = two().await;
    let (id, lease) = a.begun("a").await;
    a.settle().await;
    a.fate.slow(Duration::from_secs(4));
    let (jobs, its, shown) = (a.jobs.clone(), id.clone(), lease.clone());
    let ending = tokio::spawn(async move { jobs.finish(&its, &shown, Outcome::Completed(None)).await });
    while replicas.world.names(&id).await.last().is_none_or(|name| name != "job.completed") {
        b.pass_for_progress(Duration::from_millis(100)).await;
    }
    replicas.forget_told().await;
    while !ending.is_finished() {
        a.pass_for_progress(Duration::from_millis(100)).await;
    }
    ending.await.unwrap().unwrap();
    assert_eq!(replicas.world.names(&id).await, ["job.queued", "job.running", "job.completed"]);
}

#[tokio::test(start_paused = true)]
async fn workers_are_told_of_while_their_replica_waits_to_hear_of_others() {
    let (_replicas, a, b) = two().await;
    b.begun("dead").await;
    let (id, lease) = b.begun("alive").await;
    a.settle().await;
    b.fate.deaf.store(true, Ordering::SeqCst);
    for _ in 0..8 {
        for _ in 0..40 {
            b.pass_for_progress(LEASE / 120).await;
        }
        b.jobs.heartbeat(&id, &lease, Duration::ZERO).await.expect("it counts");
    }
    let alive = a.jobs.get(&id).await.unwrap().unwrap();
    assert_eq!((alive.state, alive.attempt), (JobState::Running, 1));
    assert_eq!(a.state(&"dead".parse().unwrap()).await, JobState::Queued);
}

#[tokio::test(start_paused = true)]
async fn what_a_replica_with_a_slower_clock_has_told_is_not_told_again() {
    let replicas = Replicas::new(0);
    let a = replicas.start(Arc::default()).await;
    let clock = Arc::new(ManualClock::at(Timestamp(a.clock.now().0 - 30_000)));
    let b = replicas.start_on(clock, JobSettings::default(), Arc::default()).await;
    let id = a.create("a").await;
    b.settle().await;
    let lease = b.claim().await.unwrap().lease;
    b.fate.store_fails.store(true, Ordering::SeqCst);
    b.jobs.append_items(&id, &lease, 0, items(0..2), true).await.expect_err("they are told, and not kept");
    replicas.forget_told().await;
    let (count, _) = a.jobs.append_items(&id, &lease, 0, items(0..3), true).await.unwrap();
    assert_eq!(count, 3);
    assert_eq!(told_items(&replicas.world, "a").await, [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn open_jobs_are_counted_and_bounded_over_all_replicas() {
    let replicas = Replicas::new(0);
    let settings = tidings::job::JobSettings { open_jobs: 4, ..Default::default() };
    let a = replicas.start_with(settings.clone(), Arc::default()).await;
    let b = replicas.start_with(settings, Arc::default()).await;
    for n in 0..3 {
        a.create(&n.to_string()).await;
    }
    b.settle().await;
    assert_eq!(b.jobs.open_jobs().queued, 3);
    assert!(matches!(b.jobs.create(wanted("one-more")).await, Err(JobFault::TooMany(_))));
    a.cancel(&"0".parse().unwrap()).await.unwrap();
    b.settle().await;
    b.create("now").await;
}

#[tokio::test(start_paused = true)]
async fn to_forget_a_job_twice_does_no_harm_to_another_of_its_id() {
    let (replicas, a, b) = two().await;
    let (id, lease) = a.begun("a").await;
    let old = a.complete(&id, &lease).await;
    a.clock.advance(tidings::job::JobSettings::default().keep_for + Duration::from_millis(1));
    assert_eq!(a.jobs.forget_old().await.unwrap(), 1);
    b.settle().await;
    assert_eq!(b.watch(&id).last(), None, "nobody is told of it anywhere");
    a.create("a").await;
    a.settle().await;
    // Another replica is late with what it has found to be old.
    replicas.world.store.remove_ended(&old).await.unwrap();
    assert_eq!(b.claim().await.unwrap().job.id, id);
}

/// Somebody who asks now this replica, now that one, as a balancer has it.
#[derive(Clone)]
struct Asker {
    replicas: Arc<Vec<Bench>>,
    answered: Answered,
    chance: Chance,
}

impl Asker {
    fn pick(&mut self) -> Bench {
        let living: Vec<&Bench> = self.replicas.iter().filter(|bench| !bench.fate.is_dead()).collect();
        living[self.chance.below(living.len() as u64) as usize].clone()
    }

    /// Asks until there is an answer: what a replica that died would have said is not known.
    async fn ask<T, F: Future<Output = Result<T, JobFault>>>(
        &mut self,
        ask: impl Fn(Bench) -> F,
    ) -> Result<T, JobFault> {
        for _ in 0..200 {
            breathe(&mut self.chance).await;
            let bench = self.pick();
            let answer = tokio::select! {
                answer = ask(bench.clone()) => answer,
                () = bench.fate.death() => continue,
            };
            match answer {
                Err(JobFault::Unavailable(_) | JobFault::Overtaken) => {}
                answer => return answer,
            }
        }
        panic!("it stays unavailable")
    }

    async fn create(mut self) {
        for n in 0..JOBS {
            let created = self.ask(|bench| async move { bench.jobs.create(wanted(&format!("j{n}"))).await }).await;
            self.answered.job(&created.unwrap().job);
        }
    }

    async fn cancel(mut self) {
        for _ in 0..3 {
            breathe(&mut self.chance).await;
            let id = &name(self.chance.below(JOBS * 2));
            if let Ok(job) = self.ask(|bench| async move { bench.jobs.cancel(id, Duration::ZERO).await }).await {
                self.answered.job(&job);
            }
        }
    }

    async fn pass_time(mut self) {
        for _ in 0..6 {
            breathe(&mut self.chance).await;
            let time = Duration::from_millis(self.chance.below(LEASE.as_millis() as u64 * 2 / 3));
            self.replicas[0].clock.advance(time);
            for bench in self.replicas.iter().filter(|bench| !bench.fate.is_dead()) {
                tokio::select! {
                    () = bench.jobs.end_leases() => {}
                    () = bench.fate.death() => {}
                }
            }
        }
    }

    async fn work(mut self) {
        for _ in 0..4 {
            breathe(&mut self.chance).await;
            let bench = self.pick();
            let claimed = tokio::select! {
                claimed = bench.try_claim() => claimed,
                () = bench.fate.death() => continue,
            };
            let Ok(Some(claimed)) = claimed else { continue };
            let (id, lease) = (claimed.job.id.clone(), claimed.lease.clone());
            self.answered.job(&claimed.job);
            let mut other = self.clone();
            other.claimed(&id, &lease).await;
            let _ = self.do_it(&id, &lease).await;
        }
    }

    async fn claimed(&mut self, id: &JobId, lease: &str) {
        let answered = self.answered.clone();
        let bench = self.pick();
        tokio::select! {
            () = answered.claimed(&bench, id, lease) => {}
            () = bench.fate.death() => {}
        }
    }

    async fn do_it(&mut self, id: &JobId, lease: &str) -> Result<(), JobFault> {
        for n in 1..4 {
            self.ask(|bench| async move { bench.jobs.progress(id, lease, done(n)).await }).await?;
            let job = self.ask(|bench| async move { bench.jobs.get(id).await }).await?;
            let from = job.map_or(0, |job| job.items).saturating_sub(self.chance.below(2));
            let put = |bench: Bench| async move {
                bench.jobs.append_items(id, lease, from, items(from..from + 2), true).await
            };
            let (count, _) = self.ask(put).await?;
            self.answered.items(id, count);
            if self.chance.below(10) == 0 {
                // It went away.
                return Ok(());
            }
        }
        let result = json(self.chance.below(1_000));
        let outcome = &match self.chance.below(6) {
            0 => Outcome::Released,
            1 => Outcome::Failed(failure(true)),
            2 => Outcome::Failed(failure(false)),
            _ => Outcome::Completed(Some(result)),
        };
        let finish = |bench: Bench| async move { bench.finish(id, lease, outcome.clone()).await };
        let job = self.ask(finish).await?;
        self.answered.job(&job);
        if job.state.is_end() {
            let again = self.ask(finish).await?;
            assert_eq!((again.state, again.revision), (job.state, job.revision), "the same again is the same");
        }
        Ok(())
    }

    async fn watch(mut self) {
        breathe(&mut self.chance).await;
        // It finds fault with what it is told by itself.
        let mut watcher = self.pick().watch(&name(self.chance.below(JOBS)));
        for _ in 0..20 {
            breathe(&mut self.chance).await;
            watcher.read().await;
        }
    }
}

/// What chance does with three replicas, of which so many die, on a log and a store that fail so often.
fn play(seed: u64, deaths: u64, failures: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let replicas = Replicas::new(seed | 1);
        let mut chance = Chance::new(seed ^ 0xABCD);
        let mut benches = Vec::new();
        for n in 0..3 {
            let fate = Arc::new(Fate::default());
            let mut plan: Vec<_> = (0..failures)
                .map(|_| (chance.below(80), [Trouble::Fails, Trouble::FailsAfter][chance.below(2) as usize]))
                .collect();
            if n < deaths {
                plan.insert(0, (2 + chance.below(60), [Trouble::Dies, Trouble::DiesAfter][chance.below(2) as usize]));
            }
            let bench = replicas.start(fate).await;
            bench.fate.plan(plan);
            bench.fate.shuffle(seed + n);
            benches.push(bench);
        }
        let (benches, answered) = (Arc::new(benches), Answered::default());
        let asker =
            |n| Asker { replicas: benches.clone(), answered: answered.clone(), chance: Chance::new(seed * 100 + n) };
        let mut all =
            vec![tokio::spawn(asker(0).create()), tokio::spawn(asker(1).cancel()), tokio::spawn(asker(2).pass_time())];
        all.extend((3..7).map(|n| tokio::spawn(asker(n).work())));
        all.extend((7..11).map(|n| tokio::spawn(asker(n).watch())));
        for one in all {
            one.await.unwrap();
        }
        let living: Vec<&Bench> = benches.iter().filter(|bench| !bench.fate.is_dead()).collect();
        living.iter().for_each(|bench| bench.fate.plan(Vec::new()));
        for _ in 0..16 {
            living[0].pass_for_progress(Duration::from_millis(250)).await;
        }
        judge(&replicas.world, living[living.len() - 1], &answered).await;
        living[0].settle().await;
        for bench in &living {
            assert_eq!(
                (bench.jobs.count_open(), bench.jobs.count_waiting()),
                (0, 0),
                "all replicas know that all have ended"
            );
            for id in answered.ids() {
                assert!(bench.watch(&id).has_ended(), "a latecomer is told the end of {id}");
            }
        }
    });
}

#[test]
fn a_crowd_at_three_replicas_finds_no_fault() {
    for seed in 0..rounds(80) {
        named(seed, || play(seed, 0, 0));
    }
}

#[test]
fn a_crowd_at_three_replicas_of_which_some_die_finds_no_fault() {
    for seed in 0..rounds(120) {
        named(seed, || play(seed, 1 + seed % 2, 0));
    }
}

#[test]
fn a_crowd_at_three_replicas_with_a_log_and_a_store_that_fail_finds_no_fault() {
    for seed in 0..rounds(120) {
        named(seed, || play(seed, seed % 3, 1 + seed % 4));
    }
}
