//! Looking at jobs and calling them off (§10.4).

use std::time::Duration;

use serde_json::{Value, json};

use super::app::{App, no};

#[tokio::test]
async fn a_job_is_shown_to_its_owner_its_token_its_grant_and_operators_and_is_not_there_for_others() {
    let app = App::start().await;
    let (id, token) = app.make(json!({"kind": "import", "id": "j1", "owner": "u1", "audience": ["team/a"]})).await;
    let (_, other) = app.make(json!({"kind": "import", "id": "j2"})).await;
    let path = format!("/v1/jobs/{id}");
    for who in ["u1", "x+job/j1", "x+team/a", "x+job/*", "maker", "op", &token] {
        let shown = app.get(&path, who).await;
        assert_eq!((shown.status.as_u16(), &shown.json()["id"]), (200, &"j1".into()), "{who}");
    }
    for who in ["u2", "x+job/j2", "u1@shelf"] {
        assert_eq!(app.get(&path, who).await.refusal(), no(404, "no-such-job"), "{who}");
    }
    assert_eq!(app.get(&path, &other).await.refusal(), no(401, "other-job"), "a token of another job is told so");
    assert_eq!(app.get("/v1/jobs/nope", "op").await.refusal(), no(404, "no-such-job"));
    assert_eq!(app.get("/v1/jobs/a%20b", "op").await.refusal(), no(404, "no-such-job"));
    assert_eq!(app.get(&path, "").await.refusal(), no(401, "no-credential"));
}

async fn ids(app: &App, query: &str, token: &str) -> (Vec<String>, Option<String>) {
    let listed = app.get(&format!("/v1/jobs{query}"), token).await;
    assert_eq!(listed.status, 200, "{listed:?}");
    let listed = listed.json();
    let ids = listed["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect();
    (ids, listed["before"].as_str().map(str::to_owned))
}

#[tokio::test]
async fn a_list_has_the_newest_first_and_only_what_may_be_seen() {
    let app = App::start().await;
    for n in 0..9 {
        let kind = if n % 2 == 0 { "import" } else { "scan" };
        let owner = if n < 6 { "u1" } else { "u2" };
        app.make(json!({"kind": kind, "id": format!("j{n}"), "owner": owner})).await;
        app.clock.advance(Duration::from_millis(1));
    }
    assert_eq!(ids(&app, "", "u1").await, (["j5", "j4", "j3", "j2", "j1", "j0"].map(str::to_owned).to_vec(), None));
    assert_eq!(ids(&app, "", "u3").await, (vec![], None));
    assert_eq!(ids(&app, "?kind=scan", "op").await.0, ["j7", "j5", "j3", "j1"]);
    app.delete("/v1/jobs/j3", "op").await;
    assert_eq!(ids(&app, "?state=canceled", "op").await.0, ["j3"]);
    assert_eq!(ids(&app, "?state=queued&kind=scan", "u1").await.0, ["j5", "j1"]);
    let (mut seen, mut before) = (Vec::new(), String::new());
    loop {
        let (page, next) = ids(&app, &format!("?limit=2&before={before}"), "u1").await;
        assert!(page.len() <= 2);
        seen.extend(page);
        match next {
            Some(next) => before = next,
            None => break,
        }
    }
    assert_eq!(seen, ["j5", "j4", "j3", "j2", "j1", "j0"]);
    let (id, token) = app.make(json!({"kind": "import", "id": "mine"})).await;
    assert_eq!(ids(&app, "?limit=1", &token).await, (vec![id], None), "a token's own job alone");
    for wrong in ["?state=runing", "?before=x", "?before=1-a/b", "?limit=many"] {
        assert_eq!(app.get(&format!("/v1/jobs{wrong}"), "op").await.refusal(), no(400, "invalid-query"), "{wrong}");
    }
}

#[tokio::test]
async fn a_result_is_read_in_pages_also_while_it_grows() {
    let app = App::start().await;
    let work = app.work().await;
    app.say(&work, "items?from=0", json!([0, 1, 2, 3, 4])).await;
    let page = async |query: &str| app.get(&format!("/v1/jobs/{}/result{query}", work.id), "u1").await.json();
    assert_eq!(
        page("?limit=2").await,
        json!({"state": "running", "items": [0, 1], "count": 5, "next": 2}),
        "the items so far"
    );
    assert_eq!(page("?from=4").await, json!({"state": "running", "items": [4], "count": 5}));
    assert_eq!(page("?from=9").await, json!({"state": "running", "items": [], "count": 5}));
    app.say(&work, "complete", json!({"result": {"good": 5}})).await;
    let done = page("?from=3&limit=1000000").await;
    assert_eq!(done, json!({"state": "completed", "result": {"good": 5}, "items": [3, 4], "count": 5}));
    let other = format!("/v1/jobs/{}/result", work.id);
    assert_eq!(app.get(&other, "u2").await.refusal(), no(404, "no-such-job"));
    assert_eq!(app.get(&format!("{other}?from=-1"), "u1").await.refusal(), no(400, "invalid-query"));
}

#[tokio::test]
async fn a_job_that_waits_is_canceled_at_once_and_again_is_the_same() {
    let app = App::start().await;
    let (id, token) = app.make(json!({"kind": "import"})).await;
    for _ in 0..2 {
        let canceled = app.delete(&format!("/v1/jobs/{id}"), &token).await;
        assert_eq!((canceled.status.as_u16(), &canceled.json()["state"]), (200, &"canceled".into()));
    }
    let none = app.post("/v1/jobs/claim", "op", json!({"kinds": ["import"], "wait": "0s"})).await;
    assert_eq!(none.status, 204, "nobody is given it");
}

#[tokio::test]
async fn a_job_that_runs_is_canceled_when_its_worker_says_so_and_who_waits_hears_of_it() {
    let app = App::start().await;
    let work = app.work().await;
    let path = format!("/v1/jobs/{}", work.id);
    for _ in 0..2 {
        let asked = app.delete(&path, "u1").await;
        assert_eq!(asked.status, 202);
        assert_eq!((&asked.json()["state"], &asked.json()["canceling"]), (&"running".into(), &true.into()));
    }
    let waiting = format!("{path}?wait=50s");
    let (canceled, answered) =
        tokio::join!(app.delete(&waiting, "u1"), app.say(&work, "canceled", json!({"result": {"done": 3}})));
    assert_eq!((canceled.status.as_u16(), &canceled.json()["state"]), (200, &"canceled".into()));
    assert_eq!((answered.status.as_u16(), &answered.json()["result"]), (200, &json!({"done": 3})));
}

#[tokio::test]
async fn what_ended_otherwise_can_not_be_canceled() {
    let app = App::start().await;
    let work = app.work().await;
    app.say(&work, "complete", json!({})).await;
    let refused = app.delete(&format!("/v1/jobs/{}", work.id), "u1").await;
    assert_eq!((refused.refusal(), &refused.json()["state"]), (no(409, "already-ended"), &"completed".into()));
}

#[tokio::test]
async fn who_may_only_see_a_job_does_not_cancel_it() {
    let app = App::start().await;
    let (id, _) = app.make(json!({"kind": "import", "audience": ["team/a"]})).await;
    let (_, other) = app.make(json!({"kind": "import"})).await;
    let path = format!("/v1/jobs/{id}");
    assert_eq!(app.delete(&path, "x+team/a").await.refusal(), no(403, "may-not-cancel"));
    assert_eq!(app.delete(&path, "stranger").await.refusal(), no(404, "no-such-job"));
    assert_eq!(app.delete(&path, &other).await.refusal(), no(401, "other-job"));
    assert_eq!(app.delete(&format!("{path}?wait=soon"), "op").await.refusal(), no(400, "invalid-query"));
    assert_eq!(app.get(&path, "op").await.json()["state"], "queued");
}

#[tokio::test]
async fn a_token_makes_no_tokens() {
    let app = App::start().await;
    let (id, token) = app.make(json!({"kind": "import", "owner": "u1"})).await;
    let path = format!("/v1/jobs/{id}/tokens");
    for who in ["u1", "op", "maker"] {
        let made = app.post(&path, who, Value::Null).await;
        assert_eq!(made.status, 201, "{who}");
        let token = made.json()["token"].as_str().unwrap().to_owned();
        assert_eq!(app.get(&format!("/v1/jobs/{id}"), &token).await.status, 200);
    }
    assert_eq!(app.post(&path, &token, Value::Null).await.refusal(), no(403, "may-not-make-tokens"));
    assert_eq!(app.post(&path, "stranger", Value::Null).await.refusal(), no(404, "no-such-job"));
    assert_eq!(app.post("/v1/jobs/nope/tokens", "op", Value::Null).await.refusal(), no(404, "no-such-job"));
}
