//! What jobs may take together, who is called for one, and names that are used again.

use std::time::Duration;

use tidings::job::{JobFault, JobFile, JobSettings, NewJob, Outcome};

use crate::bench::{Bench, World, items, json, wanted};

fn of(app: &str, name: &str) -> NewJob {
    NewJob { namespace: Some(app.into()), ..wanted(name) }
}

#[tokio::test(start_paused = true)]
async fn one_app_leaves_room_for_the_others() {
    let settings = JobSettings { open_jobs: 4, ..JobSettings::default() };
    let bench = World::default().start_with(settings, Default::default()).await;
    for name in ["a", "b", "c"] {
        bench.jobs.create(of("greedy", name)).await.unwrap();
    }
    assert_eq!(bench.jobs.create(of("greedy", "d")).await.unwrap_err(), JobFault::TooMany(3));
    bench.jobs.create(of("modest", "e")).await.unwrap();
    // And one that has ended makes room.
    let id = "a".parse().unwrap();
    bench.cancel(&id).await.unwrap();
    bench.jobs.create(of("greedy", "d")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn inputs_and_files_of_open_jobs_take_no_more_than_their_room() {
    let settings = JobSettings { open_input_bytes: 100, open_file_bytes: 1_000, ..JobSettings::default() };
    let bench = World::default().start_with(settings, Default::default()).await;
    bench.jobs.create(input("greedy", "a", 60)).await.unwrap();
    assert_eq!(bench.jobs.create(input("modest", "b", 41)).await.unwrap_err(), JobFault::NoRoom("inputs"));
    bench.jobs.create(input("modest", "b", 40)).await.unwrap();
    bench.jobs.create(file("greedy", "c", 600)).await.unwrap();
    assert_eq!(bench.jobs.create(file("modest", "d", 401)).await.unwrap_err(), JobFault::NoRoom("files"));
    bench.cancel(&"c".parse().unwrap()).await.unwrap();
    bench.jobs.create(file("modest", "d", 1_000)).await.unwrap();
}

fn input(app: &str, name: &str, bytes: usize) -> NewJob {
    NewJob { input: Some(json(format!("\"{}\"", "x".repeat(bytes - 2)))), ..of(app, name) }
}

fn file(app: &str, name: &str, bytes: u64) -> NewJob {
    let file = JobFile { path: name.into(), name: name.into(), media_type: "text/csv".into(), bytes };
    NewJob { file: Some(file), ..of(app, name) }
}

/// The strangers of one app could take all bytes of inputs, or of files, and no other app could make a job with any.
#[tokio::test(start_paused = true)]
async fn inputs_and_files_of_one_app_leave_room_for_those_of_the_others() {
    let settings = JobSettings { open_input_bytes: 100, open_file_bytes: 1_000, ..JobSettings::default() };
    let bench = World::default().start_with(settings, Default::default()).await;
    bench.jobs.create(input("greedy", "a", 60)).await.unwrap();
    assert_eq!(bench.jobs.create(input("greedy", "b", 16)).await.unwrap_err(), JobFault::NoRoom("inputs"));
    bench.jobs.create(input("greedy", "b", 15)).await.unwrap();
    bench.jobs.create(input("modest", "c", 25)).await.unwrap();
    bench.jobs.create(file("greedy", "d", 700)).await.unwrap();
    assert_eq!(bench.jobs.create(file("greedy", "e", 51)).await.unwrap_err(), JobFault::NoRoom("files"));
    bench.jobs.create(file("greedy", "e", 50)).await.unwrap();
    bench.jobs.create(file("modest", "f", 250)).await.unwrap();
    // And one that has ended makes room.
    bench.cancel(&"b".parse().unwrap()).await.unwrap();
    bench.jobs.create(input("greedy", "g", 15)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_items_of_a_job_whose_name_another_had_before_are_told_all() {
    let settings = JobSettings { keep_for: Duration::from_secs(60), ..JobSettings::default() };
    let world = World::default();
    let bench = world.start_with(settings, Default::default()).await;
    for count in [3u64, 4] {
        let (id, lease) = bench.begun("a").await;
        let appended = bench.jobs.append_items(&id, &lease, 0, items(0..count), true).await.unwrap();
        assert_eq!(appended.0, count);
        bench.finish(&id, &lease, Outcome::Completed(None)).await.unwrap();
        bench.pass(Duration::from_secs(61)).await;
        bench.jobs.forget_old().await.unwrap();
        assert!(bench.jobs.get(&id).await.unwrap().is_none());
    }
    let told = world.names(&"a".parse().unwrap()).await;
    assert_eq!(told.iter().filter(|name| *name == "job.item").count(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_claim_of_many_kinds_takes_what_has_waited_longest() {
    let (_, bench) = Bench::new().await;
    let kinds = ["first".to_owned(), "second".to_owned()];
    for (name, kind) in [("a", "second"), ("b", "first"), ("c", "second")] {
        bench.jobs.create(NewJob { kind: kind.into(), ..wanted(name) }).await.unwrap();
    }
    for name in ["a", "b", "c"] {
        let claimed = bench.jobs.claim(None, &kinds, "w", None, Duration::ZERO).await.unwrap().unwrap();
        assert_eq!(claimed.job.id.as_str(), name);
    }
}
