//! Workers, watchers and cancelers who do what chance has them do.

use std::time::Duration;

use tidings::job::{JobFault, JobId, Outcome};

use crate::bench::{Bench, LEASE, failure, items, json, wanted};
use crate::judge::{Answered, judge};
use crate::world::Trouble;

/// Chance that can be had again.
#[derive(Clone)]
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Chance(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
}

pub const JOBS: u64 = 4;

/// All of them, until each has done what it had to do.
pub async fn crowd(bench: &Bench, answered: &Answered, seed: u64) {
    let mut all = vec![
        tokio::spawn(creator(bench.clone(), answered.clone())),
        tokio::spawn(canceler(bench.clone(), answered.clone(), Chance::new(seed + 1))),
        tokio::spawn(clock(bench.clone(), Chance::new(seed + 2))),
    ];
    let worker = |n| tokio::spawn(worker(bench.clone(), answered.clone(), Chance::new(seed + n)));
    all.extend((3..6).map(worker));
    let watcher = |n| tokio::spawn(watcher(bench.clone(), Chance::new(seed + n)));
    all.extend((6..10).map(watcher));
    for one in all {
        one.await.unwrap();
    }
}

pub fn name(n: u64) -> JobId {
    format!("j{n}").parse().unwrap()
}

async fn creator(bench: Bench, answered: Answered) {
    for n in 0..JOBS {
        let created = insist(|| bench.jobs.create(wanted(&format!("j{n}")))).await;
        answered.job(&created.unwrap().job);
    }
}

/// Asks again what can't be done at the moment.
async fn insist<T, F: Future<Output = Result<T, JobFault>>>(ask: impl Fn() -> F) -> Result<T, JobFault> {
    for _ in 0..50 {
        match ask().await {
            Err(JobFault::Unavailable(_)) => tokio::task::yield_now().await,
            answer => return answer,
        }
    }
    panic!("it stays unavailable")
}

async fn canceler(bench: Bench, answered: Answered, mut chance: Chance) {
    for _ in 0..3 {
        breathe(&mut chance).await;
        let id = name(chance.below(JOBS * 2));
        if let Ok(job) = insist(|| bench.jobs.cancel(&id, Duration::ZERO)).await {
            answered.job(&job);
        }
    }
}

async fn clock(bench: Bench, mut chance: Chance) {
    for _ in 0..6 {
        breathe(&mut chance).await;
        bench.clock.advance(Duration::from_millis(chance.below(LEASE.as_millis() as u64 * 2 / 3)));
        bench.jobs.end_leases().await;
    }
}

pub async fn breathe(chance: &mut Chance) {
    for _ in 0..chance.below(25) {
        tokio::task::yield_now().await;
    }
}

async fn worker(bench: Bench, answered: Answered, mut chance: Chance) {
    for _ in 0..4 {
        breathe(&mut chance).await;
        let Ok(Some(claimed)) = bench.try_claim().await else { continue };
        answered.claimed(&bench, &claimed.job.id, &claimed.lease).await;
        answered.job(&claimed.job);
        // What it says no more when its lease is lost.
        let _ = work(&bench, &answered, &claimed.job.id, &claimed.lease, &mut chance).await;
    }
}

async fn work(
    bench: &Bench,
    answered: &Answered,
    id: &JobId,
    lease: &str,
    chance: &mut Chance,
) -> Result<(), JobFault> {
    for done in 1..4 {
        breathe(chance).await;
        bench.progress(id, lease, done)?;
        let from = bench.jobs.get(id).await?.map_or(0, |job| job.items);
        let from = from.saturating_sub(chance.below(2));
        let put = || bench.jobs.append_items(id, lease, from, items(from..from + 2), true);
        answered.items(id, insist(put).await?.0);
        if chance.below(10) == 0 {
            // It went away.
            return Ok(());
        }
    }
    let result = json(chance.below(1_000));
    let outcome = match chance.below(8) {
        0 => Outcome::Released,
        1 => Outcome::Failed(failure(true)),
        2 => Outcome::Failed(failure(false)),
        3 | 4 if bench.jobs.get(id).await?.is_some_and(|job| job.canceling.is_some()) => {
            Outcome::Canceled(Some(result))
        }
        _ => Outcome::Completed(Some(result)),
    };
    let job = insist(|| bench.finish(id, lease, outcome.clone())).await?;
    answered.job(&job);
    if job.state.is_end() {
        let again = insist(|| bench.finish(id, lease, outcome.clone())).await?;
        assert_eq!((again.state, again.revision), (job.state, job.revision), "the same again is the same");
    }
    Ok(())
}

async fn watcher(bench: Bench, mut chance: Chance) {
    breathe(&mut chance).await;
    // It finds fault with what it is told by itself.
    let mut watcher = bench.watch(&name(chance.below(JOBS)));
    for _ in 0..20 {
        breathe(&mut chance).await;
        watcher.read().await;
    }
}

/// What chance does with a log and a store that fail so often.
fn play(seed: u64, failures: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let (world, bench) = Bench::new().await;
        let mut chance = Chance::new(seed ^ 0xABCD);
        let troubles = [Trouble::Fails, Trouble::FailsAfter];
        let plan = (0..failures).map(|_| (chance.below(120), troubles[chance.below(2) as usize])).collect();
        bench.fate.plan(plan);
        bench.fate.shuffle(seed);
        let answered = Answered::default();
        crowd(&bench, &answered, seed * 100).await;
        // What could not be told is told again by now.
        bench.fate.plan(Vec::new());
        for _ in 0..3 {
            tokio::time::advance(Duration::from_secs(1)).await;
            bench.settle().await;
        }
        judge(&world, &bench, &answered).await;
        for id in answered.ids() {
            assert!(bench.watch(&id).has_ended(), "a latecomer is told the end of {id}");
        }
    });
}

#[test]
fn a_crowd_finds_no_fault() {
    for seed in 0..rounds(300) {
        named(seed, || play(seed, 0));
    }
}

#[test]
fn a_crowd_finds_no_fault_with_a_log_and_a_store_that_fail() {
    for seed in 0..rounds(600) {
        named(seed, || play(seed, 1 + seed % 5));
    }
}

/// How often something is tried, more often where it is asked for.
pub fn rounds(few: u64) -> u64 {
    std::env::var("JOB_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(few)
}

/// Says with which seed it failed.
pub fn named(seed: impl std::fmt::Debug, run: impl FnOnce() + std::panic::UnwindSafe) {
    if let Err(panic) = std::panic::catch_unwind(run) {
        eprintln!("with {seed:?}");
        std::panic::resume_unwind(panic);
    }
}
