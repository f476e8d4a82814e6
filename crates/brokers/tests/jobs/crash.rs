//! The program dies at every call of the log and the store, and starts again on what is left.

use std::time::Duration;

use crate::bench::World;
use crate::crowd::{crowd, named};
use crate::judge::{Answered, judge};
use crate::world::{Fate, Trouble};

use std::sync::Arc;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

/// One life, which ends with `plan` or when the crowd has gone; says how many calls there were. Its tasks end with the runtime.
fn live(world: &World, answered: &Answered, seed: u64, plan: Vec<(u64, Trouble)>) -> u64 {
    let fate = Arc::new(Fate::default());
    fate.plan(plan);
    fate.shuffle(seed);
    runtime().block_on(async {
        let life = async {
            let bench = world.start_with(Default::default(), fate.clone()).await;
            crowd(&bench, answered, seed * 100).await;
        };
        tokio::select! {
            biased;
            () = fate.death() => {}
            () = life => {}
        }
    });
    fate.calls()
}

fn judge_after(world: &World, answered: &Answered) {
    runtime().block_on(async {
        let bench = world.start().await;
        tokio::time::advance(Duration::from_secs(1)).await;
        bench.settle().await;
        judge(world, &bench, answered).await;
    });
}

#[test]
fn a_death_at_any_call_takes_nothing_back_and_tells_nothing_twice() {
    for seed in 0..4 {
        let calls = live(&World::default(), &Answered::default(), seed, Vec::new());
        assert!(calls > 50, "{calls} calls");
        for call in 0..calls {
            for trouble in [Trouble::Dies, Trouble::DiesAfter] {
                named((seed, call, trouble), || {
                    let (world, answered) = (World::default(), Answered::default());
                    live(&world, &answered, seed, vec![(call, trouble)]);
                    judge_after(&world, &answered);
                });
            }
        }
    }
}

#[test]
fn a_second_death_while_the_first_is_made_good_takes_nothing_back_either() {
    for seed in 10..14 {
        for first in (20..80).step_by(7) {
            for second in 0..12 {
                let [one, two] = match second % 2 {
                    0 => [Trouble::DiesAfter, Trouble::Dies],
                    _ => [Trouble::Dies, Trouble::DiesAfter],
                };
                named((seed, first, second), || {
                    let (world, answered) = (World::default(), Answered::default());
                    live(&world, &answered, seed, vec![(first, one)]);
                    live(&world, &answered, seed + 1, vec![(second, two)]);
                    judge_after(&world, &answered);
                });
            }
        }
    }
}

#[test]
fn a_death_after_a_failure_takes_nothing_back_either() {
    for seed in 20..24 {
        for call in (5..90).step_by(3) {
            for trouble in [Trouble::Fails, Trouble::FailsAfter] {
                named((seed, call, trouble), || {
                    let (world, answered) = (World::default(), Answered::default());
                    live(&world, &answered, seed, vec![(call, trouble), (call + 3, Trouble::Dies)]);
                    judge_after(&world, &answered);
                });
            }
        }
    }
}
