//! Random work against a list.

use proptest::prelude::*;
use tidings::{Query, TopicPattern};

use super::*;
use crate::contract::signal;

#[derive(Clone, Debug)]
enum Step {
    /// Publishes a batch; `true` is a signal.
    Publish(Vec<(u8, bool)>),
    Read {
        from: prop::sample::Index,
        until: prop::sample::Index,
        topics: Option<Vec<u8>>,
        limit: usize,
        bytes: usize,
    },
    Reopen,
    Kill,
    PowerCut,
    FailedSync,
    FullDisk(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let batch = prop::collection::vec((0..5_u8, prop::bool::weighted(0.2)), 0..30);
    let topics = prop::option::of(prop::collection::vec(0..6_u8, 1..4));
    prop_oneof![
        6 => batch.prop_map(Step::Publish),
        6 => (any::<prop::sample::Index>(), any::<prop::sample::Index>(), topics, 1..60_usize, 0..300_usize)
            .prop_map(|(from, until, topics, limit, bytes)| Step::Read { from, until, topics, limit, bytes }),
        1 => Just(Step::Reopen),
        1 => Just(Step::Kill),
        1 => Just(Step::PowerCut),
        1 => Just(Step::FailedSync),
        1 => (0..400_usize).prop_map(Step::FullDisk),
    ]
}

fn topic(n: u8) -> String {
    format!("topic/{n}")
}

async fn run(steps: Vec<Step>, segment_bytes: u64) {
    let mut disk = FaultyDisk::default();
    let settings = DiskSettings { segment_bytes, ..settings() };
    let mut broker = open(&disk, settings.clone());
    let mut model: Vec<Event> = Vec::new();
    let mut n = 0;
    for step in steps {
        match step {
            Step::Publish(batch) => {
                let batch: Vec<NewEvent> = batch
                    .into_iter()
                    .map(|(about, is_signal)| {
                        n += 1;
                        if is_signal { signal(&topic(about), n) } else { event(&topic(about), n) }
                    })
                    .collect();
                let places = broker.publish(batch.clone()).await.unwrap();
                assert_eq!(places.len(), batch.len());
                for (place, body) in places.into_iter().zip(batch) {
                    assert_eq!(place.is_some(), body.kept);
                    model.extend(place.map(|offset| Event { offset, body }));
                }
            }
            Step::Read { from, until, topics, limit, bytes } => {
                let last = broker.head().last.0;
                let after = Offset(from.index(last as usize + 1) as u64);
                let until = Offset(after.0 + until.index(last as usize + 10) as u64);
                let names = topics.map(|topics| topics.into_iter().map(topic).collect::<Vec<_>>());
                let patterns = names
                    .as_ref()
                    .map(|names| names.iter().map(|name| name.parse::<TopicPattern>().unwrap()).collect());
                let page =
                    broker.read(Query { topics: patterns, after, until, limit, max_bytes: bytes }).await.unwrap();
                let wanted = |event: &&Event| {
                    event.offset > after
                        && event.offset <= until
                        && names.as_ref().is_none_or(|names| names.iter().any(|name| name == event.topic.as_str()))
                };
                let all: Vec<&Event> = model.iter().filter(wanted).collect();
                let mut expected: Vec<&Event> = Vec::new();
                let mut sum = 0;
                for event in &all {
                    sum += event.data.len();
                    if expected.len() == limit || sum > bytes && !expected.is_empty() {
                        break;
                    }
                    expected.push(event);
                }
                assert!(page.events.iter().eq(expected.iter().copied()), "{page:?} {expected:?}");
                let reached = match all.get(expected.len()) {
                    Some(_) => expected[expected.len() - 1].offset,
                    None => after.max(until.min(broker.head().last)),
                };
                assert_eq!(page.reached, reached);
            }
            Step::Reopen => {
                drop(broker);
                broker = open(&disk, settings.clone());
            }
            Step::Kill | Step::PowerCut => {
                disk = if matches!(step, Step::Kill) { disk.after_kill() } else { disk.after_power_cut() };
                broker = open(&disk, settings.clone());
                assert_eq!(broker.recovery().cut_bytes, 0);
            }
            Step::FailedSync | Step::FullDisk(_) => {
                disk.fail(match step {
                    Step::FullDisk(room) => Faults { room: Some(room), ..Faults::default() },
                    _ => Faults { sync: true, ..Faults::default() },
                });
                let bodies = vec![event("lost", 0), event("lost", 1)];
                let places = broker.publish(bodies.clone()).await;
                disk.heal();
                if let Ok(places) = places {
                    // There was just enough room.
                    model.extend(places.into_iter().flatten().zip(bodies).map(|(offset, body)| Event { offset, body }));
                }
            }
        }
        let head = broker.head();
        assert_eq!(head.events, model.len() as u64);
        assert_eq!(head.last, model.last().map_or(Offset::START, |event| event.offset));
    }
    assert_eq!(all(&broker).await, model);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
    #[test]
    fn the_log_is_a_list_whatever_happens_to_it(
        steps in prop::collection::vec(step(), 1..60),
        segment_bytes in prop_oneof![Just(4_096_u64), Just(20_000), Just(1 << 20)],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(run(steps, segment_bytes));
    }
}
