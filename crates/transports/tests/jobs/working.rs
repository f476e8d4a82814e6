//! Working on jobs (§10.5).

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tidings::job::{JobSettings, JobState};
use tokio::time::Instant;

use super::app::{App, Work, no};

fn failure(retryable: bool) -> Value {
    json!({"error": {"code": "broken", "message": "it broke", "retryable": retryable}})
}

#[tokio::test]
async fn a_worker_is_given_the_job_with_its_input_and_a_lease() {
    let app = App::start().await;
    app.make(json!({"kind": "import", "id": "j1", "input": {"a": [1]}, "lease": "10s"})).await;
    let claimed = app.post("/v1/jobs/claim", "w+work/*", json!({"kinds": ["scan", "import"], "worker": "w7"})).await;
    let claimed = claimed.json();
    let job = &claimed["job"];
    assert_eq!((&job["id"], &job["state"], &job["attempt"]), (&"j1".into(), &"running".into(), &1.into()));
    assert_eq!((&job["input"], &job["lease"]), (&json!({"a": [1]}), &Value::Null));
    assert!(claimed["lease"].as_str().unwrap().starts_with("tdl_"));
    assert_eq!(claimed["lease_expires"], 1_000_000 + 10_000);
    let shown = app.get("/v1/jobs/j1", "op").await;
    assert!(!String::from_utf8_lossy(&shown.body).contains("tdl_"), "a lease is told to nobody else");
}

#[tokio::test]
async fn only_who_holds_the_kind_is_given_work_and_only_of_that_app() {
    let app = App::start().await;
    app.make(json!({"kind": "import"})).await;
    let claim = async |path: &str, token: &str, kinds: Value| {
        app.post(path, token, json!({"kinds": kinds, "wait": "0s"})).await
    };
    let refused = claim("/v1/jobs/claim", "w+work/scan", json!(["scan", "import"])).await;
    assert_eq!((refused.refusal(), &refused.json()["kind"]), (no(403, "may-not-work"), &"import".into()));
    assert_eq!(claim("/v1/jobs/claim", "maker", json!(["import"])).await.refusal(), no(403, "may-not-work"));
    assert_eq!(claim("/v1/jobs/claim", "w+work/**", json!(["a/b"])).await.refusal(), no(403, "may-not-work"));
    assert_eq!(claim("/v1/jobs/claim", "", json!(["import"])).await.refusal(), no(401, "no-credential"));
    let shelf = "/v1/jobs/claim?profile=shelf";
    assert_eq!(claim(shelf, "w+work/import", json!(["import"])).await.refusal(), no(403, "may-not-work"));
    assert_eq!(claim(shelf, "w+shelf/work/import", json!(["import"])).await.status, 204, "that job is another app's");
    assert_eq!(claim("/v1/jobs/claim", "w+work/import", json!(["import"])).await.status, 200);
}

#[tokio::test]
async fn each_mistake_in_a_claim_is_named() {
    let app = App::start().await;
    for (body, expected) in [
        (json!({}), no(422, "invalid-job")),
        (json!({"kinds": []}), no(422, "invalid-job")),
        (json!({"kinds": vec!["a"; 65]}), no(422, "invalid-job")),
        (json!({"kinds": ["a"], "wait": 30}), no(422, "invalid-request")),
        (json!({"kinds": ["a"], "waits": "1s"}), no(422, "invalid-request")),
        (json!({"kinds": "a"}), no(422, "invalid-request")),
    ] {
        assert_eq!(app.post("/v1/jobs/claim", "op", body.clone()).await.refusal(), expected, "{body}");
    }
    for long in [json!(60), json!("60")] {
        let said = app.post("/v1/jobs/claim", "op", json!({"kinds": ["a"], "lease": long})).await.json();
        let detail = said["detail"].as_str().unwrap();
        assert!(detail.contains("`lease`") && detail.contains("like \"30s\""), "{detail}");
    }
}

#[tokio::test]
async fn a_claim_waits_for_a_job() {
    let app = App::start().await;
    let (claimed, made) = tokio::join!(
        app.post("/v1/jobs/claim", "op", json!({"kinds": ["import"], "wait": "50s"})),
        app.make(json!({"kind": "import"}))
    );
    assert_eq!(claimed.json()["job"]["id"], made.0);
}

/// A worker that hung up while its job was being begun left it running with nobody, until the lease ran out.
#[tokio::test]
async fn a_job_that_is_begun_for_a_worker_that_hung_up_is_given_back() {
    let app = App::start().await;
    app.make(json!({"kind": "import", "id": "j1"})).await;
    let kinds = ["import".to_owned()];
    {
        let mut claim = std::pin::pin!(app.jobs.claim(None, &kinds, "w", None, Duration::from_secs(50)));
        // Once, and never again.
        let once = std::future::poll_fn(|cx| std::task::Poll::Ready(claim.as_mut().poll(cx).is_pending()));
        assert!(once.await);
    }
    let work = app.claim().await;
    assert_eq!(work.id, "j1");
    let job = app.jobs.get(&"j1".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!((job.state, job.attempt), (JobState::Running, 1), "the attempt of nobody does not count");
}

#[tokio::test]
async fn a_lease_is_needed_and_has_to_be_the_right_one() {
    let app = App::start().await;
    let work = app.work().await;
    let other = app.work().await;
    for what in ["heartbeat", "progress", "items?from=0", "complete", "fail", "canceled", "release"] {
        let body = if what.starts_with("items") {
            json!([1])
        } else if what == "fail" {
            failure(false)
        } else {
            json!({})
        };
        let path = format!("/v1/jobs/{}/{what}", work.id);
        assert_eq!(app.post(&path, "", body.clone()).await.refusal(), no(401, "no-credential"), "{what}");
        assert_eq!(app.post(&path, "op", body.clone()).await.refusal(), no(401, "no-credential"), "{what}");
        for wrong in ["tdl_0", &other.lease] {
            assert_eq!(app.post(&path, wrong, body.clone()).await.refusal(), no(409, "lease-lost"), "{what}");
        }
        let unknown = app.post(&format!("/v1/jobs/nope/{what}"), &work.lease, body).await.refusal();
        assert!(unknown == no(409, "lease-lost") || unknown == no(404, "no-such-job"), "{what}: {unknown:?}");
    }
    assert_eq!(app.say(&work, "heartbeat", json!({})).await.status, 200, "nothing of that harmed it");
}

#[tokio::test]
async fn every_word_renews_the_lease_and_silence_ends_it() {
    let app = App::start().await;
    let work = app.work().await;
    for _ in 0..3 {
        app.pass(Duration::from_secs(29)).await;
        let beat = app.say(&work, "heartbeat", json!({})).await;
        assert_eq!((beat.status.as_u16(), &beat.json()["cancel"]), (200, &false.into()));
    }
    app.pass(Duration::from_secs(30)).await;
    assert_eq!(app.say(&work, "heartbeat", json!({})).await.refusal(), no(409, "lease-lost"));
    assert_eq!(app.say(&work, "complete", json!({})).await.refusal(), no(409, "lease-lost"));
    let again = app.claim().await;
    assert_eq!(again.id, work.id);
    assert_eq!(app.say(&work, "progress", json!({"done": 1})).await.refusal(), no(409, "lease-lost"), "another has it");
    assert_eq!(app.say(&again, "progress", json!({"done": 1})).await.status, 200);
    for _ in 0..2 {
        app.pass(Duration::from_secs(30)).await;
        if app.jobs.count_open() > 0 {
            app.claim().await;
        }
    }
    let lost = app.get(&format!("/v1/jobs/{}", work.id), "op").await.json();
    assert_eq!((&lost["state"], &lost["error"]["code"]), (&"lost".into(), &"worker-lost".into()));
    assert_eq!(app.jobs.counters.leases_lost.load(std::sync::atomic::Ordering::Relaxed), 3);
    assert!(app.jobs.counters.ended().any(|ended| ended == (JobState::Lost, 1)));
}

#[tokio::test]
async fn a_worker_that_waits_hears_of_a_cancel() {
    let app = App::start().await;
    let work = app.work().await;
    let path = format!("/v1/jobs/{}", work.id);
    let (beat, _) = tokio::join!(app.say(&work, "heartbeat", json!({"wait": "50s"})), app.delete(&path, "u1"));
    assert_eq!(beat.json()["cancel"], true);
    assert_eq!(app.say(&work, "progress", json!({"done": 1})).await.json()["cancel"], true, "each answer says it");
    app.pass(Duration::from_secs(31)).await;
    assert_eq!(app.get(&path, "u1").await.json()["state"], "canceled", "the worker did not answer");
}

#[tokio::test]
async fn progress_grows_and_never_beyond_its_total() {
    let app = App::start().await;
    let work = app.work().await;
    assert_eq!(
        app.say(&work, "progress", json!({"done": 5, "total": 10, "message": "m", "item": {"a": 1}})).await.status,
        200
    );
    let shown = app.get(&format!("/v1/jobs/{}", work.id), "u1").await.json();
    assert_eq!(shown["progress"], json!({"done": 5, "total": 10, "fraction": 0.5, "message": "m", "item": {"a": 1}}));
    for (update, expected) in [
        (json!({"done": 4}), no(422, "progress-backwards")),
        (json!({"done": 11}), no(422, "invalid-progress")),
        (json!({"total": 4}), no(422, "invalid-progress")),
        (json!({"done": -1}), no(422, "invalid-request")),
        (json!({"done": 1.5}), no(422, "invalid-request")),
        (json!({"doen": 6}), no(422, "invalid-request")),
        (json!({"done": 6, "message": "x".repeat(1_001)}), no(413, "too-large")),
        (json!({"done": 6, "item": "x".repeat(16 << 10)}), no(413, "too-large")),
    ] {
        assert_eq!(app.say(&work, "progress", update.clone()).await.refusal(), expected, "{:.80}", update.to_string());
    }
    assert_eq!(app.say(&work, "progress", json!({"done": 5})).await.status, 200, "nothing of that was taken");
}

#[tokio::test]
async fn items_that_are_sent_again_are_there_once_and_there_is_never_a_hole() {
    let app = App::start().await;
    let work = app.work().await;
    let append = async |from: u64, items: Value| app.say(&work, &format!("items?from={from}"), items).await;
    assert_eq!(append(0, json!([0, 1])).await.json()["count"], 2);
    assert_eq!(append(0, json!([0, 1, 2])).await.json()["count"], 3, "the first two are passed over");
    let gap = append(5, json!([5])).await;
    assert_eq!((gap.refusal(), &gap.json()["count"]), (no(409, "items-gap"), &3.into()));
    assert_eq!(append(3, json!([])).await.json()["count"], 3);
    assert_eq!(append(3, json!(["x".repeat(16 << 10)])).await.refusal(), no(413, "too-large"));
    assert_eq!(append(3, json!({})).await.refusal(), no(422, "invalid-request"));
    assert_eq!(app.say(&work, "items", json!([3])).await.refusal(), no(400, "invalid-query"));
    assert_eq!(app.say(&work, "items?from=3&tell=maybe", json!([3])).await.refusal(), no(400, "invalid-query"));
    let lines = async |body: &'static str| {
        let path = format!("/v1/jobs/{}/items?from=3", work.id);
        app.request(Method::POST, &path, &work.lease, "application/x-ndjson", body).await
    };
    assert_eq!(lines("3\n{broken\n").await.refusal(), no(400, "invalid-json"));
    assert_eq!(lines("{\"n\": 3}\n\n4\r\n").await.json()["count"], 5);
    let items = app.get(&format!("/v1/jobs/{}/result", work.id), "u1").await.json()["items"].clone();
    assert_eq!(items, json!([0, 1, 2, {"n": 3}, 4]));
}

#[tokio::test]
async fn there_are_only_so_many_items() {
    let app = App::with(JobSettings { items: 2, ..JobSettings::default() }).await;
    let work = app.work().await;
    assert_eq!(app.say(&work, "items?from=0", json!([0, 1, 2])).await.refusal(), no(413, "too-many-items"));
    assert_eq!(app.say(&work, "items?from=0", json!([0, 1])).await.status, 200);
}

#[tokio::test]
async fn a_job_ends_once_and_who_ended_it_may_ask_again() {
    let app = App::start().await;
    let work = app.work().await;
    for _ in 0..2 {
        let done = app.say(&work, "complete", json!({"result": {"n": 1}})).await;
        assert_eq!((done.status.as_u16(), &done.json()["state"]), (200, &"completed".into()));
    }
    for (what, body) in [("fail", failure(false)), ("canceled", json!({}))] {
        let refused = app.say(&work, what, body).await;
        assert_eq!((refused.refusal(), &refused.json()["state"]), (no(409, "already-ended"), &"completed".into()));
    }
    assert_eq!(app.say(&work, "progress", json!({"done": 1})).await.refusal(), no(409, "lease-lost"));
    let other = Work { lease: "tdl_other".into(), ..work };
    assert_eq!(app.say(&other, "complete", json!({})).await.refusal(), no(409, "lease-lost"));
}

#[tokio::test]
async fn what_failed_for_now_is_tried_again_and_what_failed_for_good_is_not() {
    let app = App::start().await;
    app.make(json!({"kind": "import", "attempts": 2})).await;
    let work = app.claim().await;
    let queued = app.say(&work, "fail", failure(true)).await.json();
    assert_eq!((&queued["state"], &queued["attempt"]), (&"queued".into(), &1.into()));
    let again = app.claim().await;
    assert_eq!(app.say(&again, "fail", failure(true)).await.json()["state"], "failed", "that was the last attempt");
    let work = app.work().await;
    let failed = app.say(&work, "fail", failure(false)).await.json();
    assert_eq!((&failed["state"], &failed["error"]["code"]), (&"failed".into(), &"broken".into()));
}

#[tokio::test]
async fn a_job_that_is_given_back_waits_again_and_the_attempt_does_not_count() {
    let app = App::start().await;
    let work = app.work().await;
    let released = app.say(&work, "release", Value::Null).await;
    assert_eq!(released.refusal(), no(422, "invalid-request"), "null is no object");
    let released = app.say(&work, "release", json!({})).await.json();
    assert_eq!((&released["state"], &released["attempt"]), (&"queued".into(), &0.into()));
    assert_eq!(app.claim().await.id, work.id);
}

#[tokio::test]
async fn each_mistake_in_an_end_is_named_and_ends_nothing() {
    let app = App::start().await;
    let work = app.work().await;
    for (what, body, expected) in [
        ("complete", json!({"result": "x".repeat(64 << 10)}), no(413, "too-large")),
        ("complete", json!({"resutl": 1}), no(422, "invalid-request")),
        ("fail", json!({}), no(422, "invalid-job")),
        ("fail", json!({"error": {"code": "x"}}), no(422, "invalid-request")),
        ("fail", json!({"error": {"code": "", "message": "x"}}), no(422, "invalid-job")),
        ("fail", json!({"error": {"code": "x", "message": "y", "more": 1}}), no(422, "invalid-request")),
        ("canceled", json!({}), no(409, "not-canceling")),
        ("release", json!({"why": 1}), no(422, "invalid-request")),
        ("heartbeat", json!({"wait": "long"}), no(422, "invalid-request")),
    ] {
        assert_eq!(app.say(&work, what, body.clone()).await.refusal(), expected, "{what} {:.80}", body.to_string());
    }
    let path = format!("/v1/jobs/{}/complete", work.id);
    let plain = app.request(Method::POST, &path, &work.lease, "text/plain", "{}").await;
    assert_eq!(plain.refusal(), no(415, "unsupported-media-type"));
    assert_eq!(app.request(Method::POST, &path, &work.lease, "", "").await.status, 200, "nothing need be said");
}

#[tokio::test]
async fn a_worker_that_completes_a_canceled_job_has_completed_it() {
    let app = App::start().await;
    let work = app.work().await;
    app.delete(&format!("/v1/jobs/{}", work.id), "u1").await;
    assert_eq!(app.say(&work, "complete", json!({})).await.json()["state"], "completed");
}

#[tokio::test]
async fn of_many_updates_each_is_judged_alone() {
    let app = App::start().await;
    let (first, second, third) = (app.work().await, app.work().await, app.work().await);
    app.delete(&format!("/v1/jobs/{}", second.id), "u1").await;
    let update = |work: &Work, done: i64| json!({"job": work.id, "lease": work.lease, "done": done, "total": 9});
    let updates = [
        update(&first, 3),
        update(&second, 1),
        update(&first, 2),
        json!({"job": first.id, "lease": second.lease, "done": 4}),
        json!({"job": "a/b", "lease": "x"}),
        json!({"job": first.id, "lease": first.lease, "doen": 4}),
        json!([first.id, first.lease, 4]),
        update(&third, 10),
        json!({"job": third.id, "lease": third.lease, "message": "only \"words\""}),
        update(&second, 2),
    ];
    let expected = [
        (2, "progress-backwards"),
        (3, "lease-lost"),
        (4, "lease-lost"),
        (5, "invalid-request"),
        (6, "invalid-request"),
        (7, "invalid-progress"),
    ];
    let check = |answer: Value| {
        assert_eq!((&answer["taken"], &answer["canceling"]), (&4.into(), &json!([second.id])), "{answer}");
        let refused = answer["refused"].as_array().unwrap().iter();
        let refused: Vec<_> =
            refused.map(|one| (one["index"].as_u64().unwrap(), one["code"].as_str().unwrap())).collect();
        assert_eq!(refused, expected);
    };
    let array = app.post("/v1/jobs/progress", "", json!(updates)).await;
    assert_eq!(array.status, 200);
    check(array.json());
    assert_eq!(app.get(&format!("/v1/jobs/{}", third.id), "u1").await.json()["progress"]["message"], "only \"words\"");
    let lines = updates.map(|update| update.to_string()).join("\n") + "\n{";
    let lines = app.request(Method::POST, "/v1/jobs/progress", "", "application/x-ndjson", lines).await.json();
    let last = lines["refused"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["index"], &last["code"]), (&10.into(), &"invalid-json".into()));
    for (body, expected) in [("[", no(400, "invalid-json")), ("{}", no(422, "invalid-request"))] {
        let answered = app.request(Method::POST, "/v1/jobs/progress", "", "application/json", body).await;
        assert_eq!(answered.refusal(), expected);
    }
}

/// With time paused a wait that nothing ends takes its whole time in an instant, and is seen by that.
#[tokio::test(start_paused = true)]
async fn every_wait_ends_when_the_program_stops() {
    let app = App::start().await;
    let work = app.work().await;
    let other = app.work().await;
    let path = format!("/v1/jobs/{}?wait=50s", other.id);
    let began = Instant::now();
    let (claim, beat, cancel, ()) = tokio::join!(
        app.post("/v1/jobs/claim", "op", json!({"kinds": ["import"], "wait": "50s"})),
        app.say(&work, "heartbeat", json!({"wait": "20s"})),
        app.delete(&path, "u1"),
        async { app.hub.drain() }
    );
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!((claim.refusal(), beat.refusal()), (no(503, "draining"), no(503, "draining")));
    assert_eq!(cancel.status, 202);
    assert_eq!(app.say(&work, "complete", json!({})).await.status, 200, "what does not wait is answered");
}
