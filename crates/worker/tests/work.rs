//! A worker against a stand-in for a hub: what is done and told, and what goes wrong on the way.

mod standin;

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use standin::{Fault, Hub, PATIENCE};
use tidings_worker::{CancelReason, Job, JobError, Progress, Refused, Worker, WorkerBuilder};
use tokio::io::AsyncReadExt;
use tokio::sync::{Barrier, Notify, mpsc, oneshot};
use tokio::task::JoinHandle;

/// A worker that runs, and is stopped when the test wants it.
struct Running {
    stop: oneshot::Sender<()>,
    worker: JoinHandle<Result<(), Refused>>,
}

fn start(builder: WorkerBuilder) -> Running {
    let (stop, stopped) = oneshot::channel();
    let worker = builder.build().unwrap();
    Running { stop, worker: tokio::spawn(worker.run(async { drop(stopped.await) })) }
}

impl Running {
    async fn stop(self) -> Result<(), Refused> {
        let _ = self.stop.send(());
        tokio::time::timeout(PATIENCE, self.worker).await.expect("a worker stops in bounded time").unwrap()
    }
}

/// What a handler says next; fails when patience ends.
async fn next<T>(hub: &Hub, says: &mut mpsc::Receiver<T>) -> T {
    let said = tokio::time::timeout(PATIENCE, says.recv()).await;
    said.unwrap_or_else(|_| panic!("no handler said anything: {:?}", hub.state().requests)).expect("the worker runs")
}

/// Waits until it is told to stop.
async fn obedient(job: Job) -> Result<(), JobError> {
    job.cancel_token().canceled().await;
    Err(JobError::Canceled)
}

#[tokio::test]
async fn a_job_is_claimed_done_and_completed_with_its_result() {
    let hub = Hub::start().await;
    let worker = start(Worker::builder(hub.url()).name("w1").profile("books").lease(Duration::from_secs(9)).kind(
        "add",
        |job: Job| async move {
            let numbers: Vec<u32> = job.input()?;
            assert_eq!((job.id(), job.kind(), job.attempt(), job.attempts()), ("j1", "add", 1, Some(3)));
            assert_eq!((job.owner(), job.items_so_far()), (Some("u1"), 0));
            Ok(numbers.iter().sum::<u32>())
        },
    ));
    hub.create("j1", "add", json!([1, 2, 3]));
    let job = hub.reaches("j1", "completed").await;
    assert_eq!((job.result, job.attempt), (json!(6), 1));
    worker.stop().await.unwrap();
    let state = hub.state();
    let (target, claim) = &state.requests[0];
    let claim: Value = serde_json::from_str(claim).unwrap();
    assert_eq!(target, "/v1/jobs/claim?profile=books");
    assert_eq!((&claim["kinds"], &claim["worker"], &claim["lease"]), (&json!(["add"]), &json!("w1"), &json!("9000ms")));
}

#[tokio::test]
async fn a_handler_that_fails_fails_its_job_with_its_code_and_sentence() {
    let hub = Hub::start().await;
    let worker = start(
        Worker::builder(hub.url())
            .kind("import", |_| async { Err::<(), _>(JobError::failed("not-a-csv", "it is a zip")) }),
    );
    hub.create("j1", "import", Value::Null);
    assert_eq!(hub.reaches("j1", "failed").await.error, json!({"code": "not-a-csv", "message": "it is a zip"}));
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn a_failure_that_is_retryable_is_tried_again() {
    let hub = Hub::start().await;
    let worker = start(Worker::builder(hub.url()).kind("import", |job: Job| async move {
        if job.attempt() == 1 { Err(JobError::failed("busy", "later").retryable()) } else { Ok(job.attempt()) }
    }));
    hub.create("j1", "import", Value::Null);
    assert_eq!(hub.reaches("j1", "completed").await.result, 2);
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn an_input_that_is_not_as_expected_fails_the_job() {
    let hub = Hub::start().await;
    let worker = start(Worker::builder(hub.url()).kind("add", |job: Job| async move {
        let numbers: Vec<u32> = job.input()?;
        Ok(numbers.len())
    }));
    hub.create("j1", "add", json!("no list"));
    assert_eq!(hub.reaches("j1", "failed").await.error["code"], "invalid-input");
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn a_handler_that_panics_fails_its_job_to_be_tried_again_and_its_text_is_told_to_nobody() {
    let hub = Hub::start().await;
    let worker = start(Worker::builder(hub.url()).kind("import", |job: Job| async move {
        assert!(job.attempt() > 1, "secret of the first try");
        Ok(())
    }));
    hub.create("j1", "import", Value::Null);
    hub.reaches("j1", "completed").await;
    let fail = hub.state().bodies("fail")[0].to_owned();
    assert!(
        fail.contains("worker-panicked") && fail.contains(r#""retryable":true"#) && !fail.contains("secret"),
        "{fail}"
    );
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn a_handler_that_panics_before_it_is_async_has_failed_as_well() {
    let hub = Hub::start().await;
    let worker = start(Worker::builder(hub.url()).kind("import", |job: Job| {
        assert!(job.attempt() > 1, "before it is async");
        async { Ok(()) }
    }));
    hub.create("j1", "import", Value::Null);
    hub.reaches("j1", "completed").await;
    assert!(hub.state().bodies("fail")[0].contains("worker-panicked"));
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn a_result_that_is_too_large_fails_the_job_instead_of_being_sent() {
    let hub = Hub::start().await;
    let worker = start(Worker::builder(hub.url()).kind("import", |_| async { Ok("x".repeat(70_000)) }));
    hub.create("j1", "import", Value::Null);
    assert_eq!(hub.reaches("j1", "failed").await.error["code"], "result-too-large");
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn a_cancel_reaches_the_handler_at_once_and_what_it_has_so_far_is_told() {
    let hub = Hub::start().await;
    let worker = start(Worker::builder(hub.url()).kind("import", |job: Job| async move {
        job.cancel_token().canceled().await;
        assert_eq!(job.cancel_token().reason(), Some(CancelReason::Canceled));
        Err::<(), _>(JobError::canceled_with(json!({"rows": 7})))
    }));
    hub.create("j1", "import", Value::Null);
    hub.reaches("j1", "running").await;
    hub.cancel("j1");
    let job = hub.reaches("j1", "canceled").await;
    assert_eq!((job.result, job.attempt), (json!({"rows": 7}), 1));
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn a_cancel_is_heard_of_by_the_answer_to_items_where_no_heartbeat_comes_through() {
    let hub = Hub::start().await;
    for _ in 0..1000 {
        hub.fault("heartbeat", Fault::Break);
    }
    let go = Arc::new(Notify::new());
    let worker = start(Worker::builder(hub.url()).kind("import", {
        let go = go.clone();
        move |job: Job| {
            let go = go.clone();
            async move {
                go.notified().await;
                job.items([1], false).await?;
                job.cancel_token().check()?;
                Ok(())
            }
        }
    }));
    hub.create("j1", "import", Value::Null);
    hub.reaches("j1", "running").await;
    hub.cancel("j1");
    go.notify_one();
    assert_eq!(hub.reaches("j1", "canceled").await.items, [1]);
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn a_handler_that_ends_well_after_a_cancel_has_completed_its_job() {
    let hub = Hub::start().await;
    let worker = start(Worker::builder(hub.url()).kind("import", |job: Job| async move {
        job.cancel_token().canceled().await;
        Ok("done all the same")
    }));
    hub.create("j1", "import", Value::Null);
    hub.reaches("j1", "running").await;
    hub.cancel("j1");
    hub.reaches("j1", "completed").await;
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn a_handler_that_heeds_no_cancel_is_dropped_and_the_job_is_canceled() {
    let hub = Hub::start().await;
    let builder = Worker::builder(hub.url()).cancel_grace(Duration::from_millis(20));
    let worker = start(builder.kind("import", |_| async {
        std::future::pending::<()>().await;
        Ok(())
    }));
    hub.create("j1", "import", Value::Null);
    hub.reaches("j1", "running").await;
    hub.cancel("j1");
    hub.reaches("j1", "canceled").await;
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn a_thread_that_a_dropped_handler_left_behind_hears_of_it() {
    let hub = Hub::start().await;
    let (left, mut leaves) = mpsc::channel(1);
    let builder = Worker::builder(hub.url()).cancel_grace(Duration::ZERO);
    let worker = start(builder.kind("import", move |job: Job| {
        let left = left.clone();
        async move {
            let token = job.cancel_token();
            let thread = tokio::task::spawn_blocking(move || {
                while !token.is_canceled() {
                    std::thread::yield_now();
                }
                left.blocking_send(token.reason()).unwrap();
            });
            drop(thread.await);
            Ok(())
        }
    }));
    hub.create("j1", "import", Value::Null);
    hub.reaches("j1", "running").await;
    hub.cancel("j1");
    assert_eq!(next(&hub, &mut leaves).await, Some(CancelReason::Canceled));
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn a_handler_that_gives_up_by_itself_has_not_been_canceled() {
    let hub = Hub::start().await;
    let worker =
        start(Worker::builder(hub.url()).kind("import", |job: Job| async move {
            if job.attempt() == 1 { Err(JobError::Canceled) } else { Ok(()) }
        }));
    hub.create("j1", "import", Value::Null);
    hub.reaches("j1", "completed").await;
    assert!(hub.state().bodies("fail")[0].contains("not-canceled"));
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn a_lost_lease_stops_the_handler_and_nothing_more_is_said_of_the_job() {
    let hub = Hub::start().await;
    let (lost, mut losses) = mpsc::channel(1);
    let worker = start(Worker::builder(hub.url()).kind("import", move |job: Job| {
        let lost = lost.clone();
        async move {
            job.lost().await;
            lost.send((job.is_lost(), job.cancel_token().reason())).await.unwrap();
            Ok(())
        }
    }));
    hub.create("j1", "import", Value::Null);
    hub.reaches("j1", "running").await;
    hub.take_lease("j1");
    assert_eq!(next(&hub, &mut losses).await, (true, Some(CancelReason::LeaseLost)));
    hub.create("j2", "import", Value::Null);
    hub.reaches("j2", "running").await;
    hub.take_lease("j2");
    next(&hub, &mut losses).await;
    worker.stop().await.unwrap();
    let state = hub.state();
    assert_eq!(state.count("complete") + state.count("fail") + state.count("canceled"), 0);
}

#[tokio::test]
async fn an_end_is_told_until_the_hub_has_it_and_counts_once() {
    // A proxy that misses the hub has words of its own, 401 and 404 among them.
    let strange = [401, 404, 502].map(Fault::Strange);
    for fault in [Fault::Break, Fault::LoseAnswer, Fault::Busy(0)].into_iter().chain(strange) {
        let hub = Hub::start().await;
        hub.fault("complete", fault);
        let worker = start(Worker::builder(hub.url()).kind("import", |_| async { Ok("result") }));
        hub.create("j1", "import", Value::Null);
        hub.until(&format!("it is told again after {fault:?}"), |state| (state.count("complete") == 2).then_some(()))
            .await;
        assert_eq!(hub.reaches("j1", "completed").await.result, "result");
        worker.stop().await.unwrap();
        let state = hub.state();
        assert_eq!((state.count("complete"), state.job("j1").attempt), (2, 1), "{fault:?}");
    }
}

#[tokio::test]
async fn retry_after_of_a_busy_hub_is_heeded() {
    let hub = Hub::start().await;
    hub.fault("claim", Fault::Busy(1));
    let began = std::time::Instant::now();
    let worker = start(Worker::builder(hub.url()).kind("import", |_| async { Ok(()) }));
    hub.create("j1", "import", Value::Null);
    hub.reaches("j1", "completed").await;
    assert!(began.elapsed() >= Duration::from_secs(1));
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn items_arrive_in_order_once_each_whatever_breaks() {
    let hub = Hub::start().await;
    for fault in [Fault::Break, Fault::LoseAnswer, Fault::Busy(0)] {
        hub.fault("items", fault);
    }
    let worker = start(Worker::builder(hub.url()).kind("import", |job: Job| async move {
        assert_eq!(job.items(0..2500_u32, false).await?, 2500);
        assert_eq!(job.items([json!({"last": true})], true).await?, 2501);
        Ok(())
    }));
    hub.create("j1", "import", Value::Null);
    let job = hub.reaches("j1", "completed").await;
    assert_eq!(job.attempt, 1);
    let mut expected: Vec<Value> = (0..2500).map(Value::from).collect();
    expected.push(json!({"last": true}));
    assert_eq!(job.items, expected);
    assert_eq!(job.told, [json!({"last": true})]);
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn an_attempt_that_does_the_same_again_makes_the_same_page_and_sends_only_what_is_missing() {
    let hub = Hub::start().await;
    let worker = start(Worker::builder(hub.url()).kind("import", |job: Job| async move {
        let until = if job.attempt() == 1 { 3 } else { 5 };
        for item in 0..until {
            job.items([item], true).await?;
        }
        if job.attempt() == 1 { Err(JobError::failed("broken", "again").retryable()) } else { Ok(job.items_so_far()) }
    }));
    hub.create("j1", "import", Value::Null);
    let job = hub.reaches("j1", "completed").await;
    assert_eq!(
        (job.items, job.told.len(), job.result),
        (vec![json!(0), json!(1), json!(2), json!(3), json!(4)], 5, json!(3))
    );
    assert_eq!(hub.state().count("items"), 5);
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn an_attempt_that_goes_on_adds_to_the_page() {
    let hub = Hub::start().await;
    let worker = start(Worker::builder(hub.url()).kind("import", |job: Job| async move {
        let from = job.skip_items_so_far().await;
        job.items([from, from + 1], false).await?;
        if job.attempt() == 1 { Err(JobError::failed("broken", "again").retryable()) } else { Ok(()) }
    }));
    hub.create("j1", "import", Value::Null);
    assert_eq!(hub.reaches("j1", "completed").await.items, [0, 1, 2, 3]);
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn an_item_that_is_too_large_is_an_error_and_those_before_it_are_not_lost() {
    let hub = Hub::start().await;
    let worker = start(Worker::builder(hub.url()).kind("import", |job: Job| async move {
        job.items(["small"], false).await?;
        job.items(["x".repeat(20_000)], false).await?;
        Ok(())
    }));
    hub.create("j1", "import", Value::Null);
    let job = hub.reaches("j1", "failed").await;
    assert_eq!((job.items, &job.error["code"]), (vec![json!("small")], &json!("item-too-large")));
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn a_call_that_was_dropped_leaves_no_hole_and_nothing_double() {
    let hub = Hub::start().await;
    let worker = start(Worker::builder(hub.url()).kind("import", {
        move |job: Job| async move {
            // Polled once: the batch is on its way, and nobody waits for its answer.
            let mut call = Box::pin(job.items(["a", "b"], false));
            std::future::poll_fn(|cx| {
                let _ = call.as_mut().poll(cx);
                std::task::Poll::Ready(())
            })
            .await;
            drop(call);
            job.items(["c"], false).await?;
            Ok(())
        }
    }));
    hub.create("j1", "import", Value::Null);
    assert_eq!(hub.reaches("j1", "completed").await.items, ["a", "b", "c"]);
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn progress_is_conflated_to_the_newest_and_never_goes_backwards() {
    let hub = Hub::start().await;
    let worker = start(Worker::builder(hub.url()).kind("import", |job: Job| async move {
        for done in 0..=10_000 {
            job.progress(Progress::new(done).of(10_000).message("rows"));
        }
        job.progress(Progress::new(3).of(5).item("a late thread"));
        job.progress(Progress::new(4).message("é".repeat(600)).item("a late thread"));
        job.cancel_token().canceled().await;
        Err::<(), _>(JobError::Canceled)
    }));
    hub.create("j1", "import", Value::Null);
    let so = |state: &standin::State| Some(state.job("j1").progress.clone()).filter(|told| !told.is_null());
    let told = hub.until("progress is told", so).await;
    assert_eq!(
        (&told["done"], &told["total"], &told["item"]),
        (&json!(10_000), &json!(10_000), &json!("a late thread"))
    );
    assert_eq!(told["message"].as_str().unwrap().len(), 1000);
    assert_eq!(hub.state().count("progress"), 1);
    hub.cancel("j1");
    hub.reaches("j1", "canceled").await;
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn the_progress_of_many_jobs_goes_in_one_request() {
    let hub = Hub::start().await;
    let together = Arc::new(Barrier::new(5));
    let worker = start(Worker::builder(hub.url()).key("tdg_key").concurrency(5).kind("import", {
        move |job: Job| {
            let together = together.clone();
            async move {
                together.wait().await;
                job.progress(Progress::new(7));
                obedient(job).await
            }
        }
    }));
    let ids = ["j1", "j2", "j3", "j4", "j5"];
    ids.iter().for_each(|id| hub.create(id, "import", Value::Null));
    let so = |state: &standin::State| state.jobs.iter().all(|job| job.progress["done"] == 7).then_some(());
    hub.until("all have progress", so).await;
    assert_eq!(hub.state().count("progress"), 1);
    ids.iter().for_each(|id| hub.cancel(id));
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn progress_that_did_not_arrive_is_told_again_and_a_cancel_in_its_answer_is_heard() {
    let hub = Hub::start().await;
    hub.fault("batch", Fault::Break);
    hub.fault("batch", Fault::Busy(0));
    for _ in 0..1000 {
        hub.fault("heartbeat", Fault::Break);
    }
    let go = Arc::new(Notify::new());
    let worker = start(Worker::builder(hub.url()).kind("import", {
        let go = go.clone();
        move |job: Job| {
            let go = go.clone();
            async move {
                go.notified().await;
                job.progress(Progress::new(1));
                obedient(job).await
            }
        }
    }));
    hub.create("j1", "import", Value::Null);
    hub.reaches("j1", "running").await;
    hub.cancel("j1");
    go.notify_one();
    hub.reaches("j1", "canceled").await;
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn the_last_progress_is_there_before_the_end() {
    let hub = Hub::start().await;
    for _ in 0..1000 {
        hub.fault("batch", Fault::Busy(0));
    }
    let worker = start(Worker::builder(hub.url()).kind("import", |job: Job| async move {
        job.progress(Progress::new(50).of(50));
        Ok(())
    }));
    hub.create("j1", "import", Value::Null);
    assert_eq!(hub.reaches("j1", "completed").await.progress["done"], 50);
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn a_progress_whose_item_is_huge_is_told_without_it() {
    let hub = Hub::start().await;
    let worker = start(Worker::builder(hub.url()).kind("import", |job: Job| async move {
        job.progress(Progress::new(1).message("m").item("x".repeat(100_000)));
        obedient(job).await
    }));
    hub.create("j1", "import", Value::Null);
    let so = |state: &standin::State| Some(state.job("j1").progress.clone()).filter(|told| !told.is_null());
    let told = hub.until("progress is told", so).await;
    assert_eq!((&told["message"], &told["item"]), (&json!("m"), &Value::Null));
    hub.cancel("j1");
    worker.stop().await.unwrap();
}

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|index| (index % 251) as u8).collect()
}

#[tokio::test]
async fn a_file_is_read_whole_over_connections_that_break() {
    let hub = Hub::start().await;
    for fault in [Fault::Break, Fault::Cut(70_001), Fault::Busy(0), Fault::Cut(0), Fault::Cut(1), Fault::Whole] {
        hub.fault("file", fault);
    }
    let worker = start(Worker::builder(hub.url()).kind("import", |job: Job| async move {
        let mut file = job.file()?;
        assert_eq!((file.name(), file.media_type(), file.bytes()), (Some("list.csv"), Some("text/csv"), 300_000));
        let mut read = Vec::new();
        file.read_to_end(&mut read).await?;
        assert!(read == bytes(300_000));
        Ok(read.len())
    }));
    hub.create_with_file("j1", "import", bytes(300_000));
    let job = hub.reaches("j1", "completed").await;
    // An assertion that fails in the handler is a panic, after which it is tried again.
    assert_eq!((job.result, job.attempt), (json!(300_000), 1));
    assert_eq!(hub.state().count("file"), 6, "each connection that broke was made again, and no other");
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn a_file_can_be_read_by_a_thread_that_blocks() {
    let hub = Hub::start().await;
    hub.fault("file", Fault::Cut(100));
    let worker = start(Worker::builder(hub.url()).kind("import", |job: Job| async move {
        let mut file = job.file()?.blocking();
        let thread = tokio::task::spawn_blocking(move || {
            let mut read = Vec::new();
            file.read_to_end(&mut read)?;
            job.blocking_items([read.len()], false)?;
            Ok::<_, JobError>(read)
        });
        assert!(thread.await.unwrap()? == bytes(1000));
        Ok(())
    }));
    hub.create_with_file("j1", "import", bytes(1000));
    let job = hub.reaches("j1", "completed").await;
    assert_eq!((job.items, job.attempt), (vec![json!(1000)], 1));
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn reading_a_file_ends_when_the_job_is_canceled() {
    let hub = Hub::start().await;
    for _ in 0..10_000 {
        hub.fault("file", Fault::Busy(0));
    }
    let worker = start(Worker::builder(hub.url()).kind("import", |job: Job| async move {
        let mut read = Vec::new();
        job.file()?.read_to_end(&mut read).await?;
        Ok(())
    }));
    hub.create_with_file("j1", "import", bytes(10));
    hub.until("it is asked for", |state| (state.count("file") > 0).then_some(())).await;
    hub.cancel("j1");
    hub.reaches("j1", "canceled").await;
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn a_job_without_a_file_says_so() {
    let hub = Hub::start().await;
    let worker = start(Worker::builder(hub.url()).kind("import", |job: Job| async move {
        job.file()?;
        Ok(())
    }));
    hub.create("j1", "import", Value::Null);
    assert_eq!(hub.reaches("j1", "failed").await.error["code"], "no-file");
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn a_hub_that_is_killed_on_the_way_loses_nothing() {
    let mut hub = Hub::start().await;
    let go = Arc::new(Notify::new());
    let worker = start(Worker::builder(hub.url()).concurrency(2).kind("import", {
        let go = go.clone();
        move |job: Job| {
            let go = go.clone();
            async move {
                job.items(["before"], true).await?;
                go.notified().await;
                job.progress(Progress::new(2));
                job.items(["after"], true).await?;
                Ok("all")
            }
        }
    }));
    hub.create("j1", "import", Value::Null);
    hub.until("the first item is there", |state| (state.job("j1").items.len() == 1).then_some(())).await;
    hub.kill().await;
    go.notify_one();
    hub.restart().await;
    let job = hub.reaches("j1", "completed").await;
    assert_eq!((job.attempt, job.items, job.result), (1, vec![json!("before"), json!("after")], json!("all")));
    hub.create("j2", "import", Value::Null);
    go.notify_one();
    hub.reaches("j2", "completed").await;
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn a_worker_may_be_started_before_its_hub() {
    let mut hub = Hub::start().await;
    hub.kill().await;
    let worker = start(Worker::builder(hub.url()).kind("import", |_| async { Ok(()) }));
    hub.restart().await;
    hub.create("j1", "import", Value::Null);
    hub.reaches("j1", "completed").await;
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn no_more_jobs_are_begun_than_may_be() {
    let hub = Hub::start().await;
    let (begun, mut begins) = mpsc::channel(8);
    let go = Arc::new(Notify::new());
    let worker = start(Worker::builder(hub.url()).concurrency(2).kind("import", {
        let go = go.clone();
        move |job: Job| {
            let (go, begun) = (go.clone(), begun.clone());
            async move {
                begun.send(job.id().to_owned()).await.unwrap();
                go.notified().await;
                Ok(())
            }
        }
    }));
    ["j1", "j2", "j3"].iter().for_each(|id| hub.create(id, "import", Value::Null));
    for _ in 0..2 {
        next(&hub, &mut begins).await;
    }
    assert_eq!(hub.state().jobs.iter().filter(|job| job.state == "queued").count(), 1);
    go.notify_one();
    next(&hub, &mut begins).await;
    assert_eq!(hub.state().jobs.iter().filter(|job| job.state == "completed").count(), 1);
    go.notify_waiters();
    go.notify_one();
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn a_worker_that_stops_lets_its_jobs_end() {
    let hub = Hub::start().await;
    let go = Arc::new(Notify::new());
    let (begun, mut begins) = mpsc::channel(1);
    let worker = start(Worker::builder(hub.url()).grace(PATIENCE).kind("import", {
        let go = go.clone();
        move |_| {
            let (go, begun) = (go.clone(), begun.clone());
            async move {
                begun.send(()).await.unwrap();
                go.notified().await;
                Ok(())
            }
        }
    }));
    hub.create("j1", "import", Value::Null);
    next(&hub, &mut begins).await;
    let Running { stop, worker } = worker;
    stop.send(()).unwrap();
    go.notify_one();
    worker.await.unwrap().unwrap();
    assert_eq!(hub.state().job("j1").state, "completed");
}

#[tokio::test]
async fn a_worker_that_stops_gives_back_what_did_not_end_in_time() {
    let hub = Hub::start().await;
    let builder =
        Worker::builder(hub.url()).concurrency(2).grace(Duration::ZERO).cancel_grace(Duration::from_millis(20));
    let (begun, mut begins) = mpsc::channel(2);
    let good = {
        let begun = begun.clone();
        move |job: Job| {
            let begun = begun.clone();
            async move {
                begun.send(()).await.unwrap();
                obedient(job).await
            }
        }
    };
    let worker = start(builder.kind("good", good).kind("bad", move |_| {
        let begun = begun.clone();
        async move {
            begun.send(()).await.unwrap();
            std::future::pending::<()>().await;
            Ok(())
        }
    }));
    hub.create("j1", "good", Value::Null);
    hub.create("j2", "bad", Value::Null);
    // What the hub has given is not in the worker's hands yet.
    for _ in 0..2 {
        next(&hub, &mut begins).await;
    }
    worker.stop().await.unwrap();
    let state = hub.state();
    for id in ["j1", "j2"] {
        assert_eq!((state.job(id).state.as_str(), state.job(id).attempt), ("queued", 0), "{id}");
    }
}

#[tokio::test]
async fn a_worker_stops_in_bounded_time_though_the_hub_is_away() {
    let mut hub = Hub::start().await;
    let builder = Worker::builder(hub.url()).grace(Duration::ZERO).cancel_grace(Duration::ZERO);
    let (begun, mut begins) = mpsc::channel(1);
    let worker = start(builder.kind("import", move |job: Job| {
        let begun = begun.clone();
        async move {
            begun.send(()).await.unwrap();
            obedient(job).await
        }
    }));
    hub.create("j1", "import", Value::Null);
    next(&hub, &mut begins).await;
    hub.kill().await;
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn a_key_that_may_not_work_ends_the_worker_with_what_the_hub_says() {
    let hub = Hub::start().await;
    hub.require_key("tdg_right");
    let wrong = start(Worker::builder(hub.url()).key("tdg_wrong").kind("import", obedient));
    let refused = wrong.worker.await.unwrap().unwrap_err();
    assert_eq!((refused.status, refused.code.as_str()), (403, "may-not-work"));
    let worker = start(Worker::builder(hub.url()).key("tdg_right\n").kind("import", |_| async { Ok(()) }));
    hub.create("j1", "import", Value::Null);
    hub.reaches("j1", "completed").await;
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn a_place_where_no_hub_listens_ends_the_worker_but_one_that_was_there_is_waited_for() {
    let hub = Hub::start().await;
    hub.fault("claim", Fault::Strange(404));
    let worker = start(Worker::builder(hub.url()).kind("import", |_| async { Ok(()) }));
    assert_eq!(worker.worker.await.unwrap().unwrap_err().status, 404);
    let worker = start(Worker::builder(hub.url()).kind("import", |_| async { Ok(()) }));
    hub.create("j1", "import", Value::Null);
    hub.reaches("j1", "completed").await;
    hub.fault("claim", Fault::Strange(404));
    hub.create("j2", "import", Value::Null);
    hub.create("j3", "import", Value::Null);
    hub.reaches("j3", "completed").await;
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn a_hub_that_is_away_for_longer_than_patience_costs_the_job() {
    let mut hub = Hub::start().await;
    let ((begun, mut begins), (lost, mut losses)) = (mpsc::channel(1), mpsc::channel(1));
    let builder = Worker::builder(hub.url()).patience(Duration::from_millis(1));
    let worker = start(builder.kind("import", move |job: Job| {
        let (begun, lost) = (begun.clone(), lost.clone());
        async move {
            begun.send(()).await.unwrap();
            job.lost().await;
            lost.send(()).await.unwrap();
            Ok(())
        }
    }));
    hub.create("j1", "import", Value::Null);
    next(&hub, &mut begins).await;
    hub.kill().await;
    next(&hub, &mut losses).await;
    worker.stop().await.unwrap();
}
