//! Tokens of jobs.

use serde_json::json;
use tidings::job::{JobSettings, Jobs, MemoryJobs, NewJob};
use tidings::{Hub, Limits, Profile};
use tidings_brokers::{MemoryBroker, MemorySettings, Retention};

use super::*;

/// A program with jobs.
async fn with_jobs() -> (Program, Arc<Jobs>) {
    let mut program = Program::new();
    let memory = MemorySettings { retention: Retention::FOREVER };
    let broker = Arc::new(MemoryBroker::with_clock(memory, program.clock.clone()));
    let shelf = Arc::new(Profile::new("shelf", Some("shelf"), Implications::default(), []));
    let hub = Hub::open(broker, [shelf], program.clock.clone(), Limits::default()).await.unwrap();
    let jobs = Jobs::open(hub, Arc::new(MemoryJobs::default()), JobSettings::default()).await.unwrap();
    program.context.jobs = Some(jobs.clone());
    (program, jobs)
}

async fn token(jobs: &Arc<Jobs>, id: &str, namespace: Option<&str>) -> String {
    let id = Some(id.parse().unwrap());
    let new = NewJob { id, namespace: namespace.map(Into::into), kind: "import".into(), ..NewJob::default() };
    let created = jobs.create(new).await.unwrap();
    jobs.new_token(&created.job.id, None).await.unwrap().0
}

#[tokio::test]
async fn a_token_holds_its_job_and_nothing_else_and_only_for_a_while() {
    let (program, jobs) = with_jobs().await;
    let token = token(&jobs, "j1", Some("shelf")).await;
    let door = program.open("");
    let principal = bearer(&token).at(&door).await.unwrap();
    assert_eq!((&*principal.id, principal.namespace.as_deref()), ("job/j1", Some("shelf")));
    assert_eq!((principal.grants.to_string().as_str(), principal.source), ("shelf/job/j1", "job-token"));
    assert_eq!(principal.expires_at, Some(Timestamp((NOW + 7200) * 1000)));
    assert!(!principal.operator && !principal.publish.allow("job.queued", "shelf/job/j1"));
    program.pass(7199);
    assert_eq!(bearer(&token).who(&door).await, "job/j1");
    program.pass(1);
    assert_eq!(bearer(&token).who(&door).await, "401 expired-credential");
}

#[tokio::test]
async fn it_may_stand_wherever_a_client_can_put_it() {
    let (program, jobs) = with_jobs().await;
    let token = token(&jobs, "j1", None).await;
    let door = program.open("");
    for ask in [
        bearer(&token),
        get(&format!("/v1/jobs/j1/events?token={token}")),
        get("/v1/ws").with("sec-websocket-protocol", &format!("tidings.v1, bearer.{token}")),
        get("/socket.io/").saying(json!({ "token": token })),
    ] {
        assert_eq!(ask.who(&door).await, "job/j1");
    }
    let cookie = program.open("[[sources]]\nkind = \"job-token\"\nin = [{ cookie = \"job\" }]");
    assert_eq!(get("/").with("cookie", &format!("job={token}")).who(&cookie).await, "job/j1");
    let elsewhere = program.open("[[sources]]\nkind = \"api-key\"");
    assert_eq!(bearer(&token).who(&elsewhere).await, "401 no-credential", "only where it is a source");
}

#[tokio::test]
async fn at_the_door_of_a_profile_only_its_own_jobs_count() {
    let (program, jobs) = with_jobs().await;
    let (ours, open) = (token(&jobs, "j1", Some("shelf")).await, token(&jobs, "j2", None).await);
    let (shelf, other) = (program.open_profile("shelf", ""), program.open_profile("other", ""));
    assert_eq!(bearer(&ours).who(&shelf).await, "job/j1");
    for (token, door) in [(&open, &shelf), (&ours, &other), (&open, &other)] {
        assert_eq!(bearer(token).who(door).await, "403 wrong-profile");
    }
}

#[tokio::test]
async fn one_that_was_made_up_is_refused_and_not_anonymous() {
    let (program, _) = with_jobs().await;
    let nobody = "anonymous = { grants = [] }";
    assert_eq!(bearer("tdj_x").who(&program.open(nobody)).await, "401 invalid-credential");
    assert_eq!(bearer("tdj_x").who(&Program::new().open(nobody)).await, "401 invalid-credential", "without jobs");
}

#[tokio::test]
async fn to_revoke_the_job_as_a_principal_shuts_its_tokens_out() {
    let (program, jobs) = with_jobs().await;
    let (first, second) = (token(&jobs, "j1", None).await, token(&jobs, "j2", None).await);
    let door = program.open("");
    program.revoke(Revocation::principal("job/j1")).await;
    assert_eq!(bearer(&first).who(&door).await, "401 revoked-credential");
    assert_eq!(bearer(&second).who(&door).await, "job/j2");
}

#[tokio::test]
async fn a_ticket_for_a_token_shows_the_same_job() {
    let (program, jobs) = with_jobs().await;
    let token = token(&jobs, "j1", None).await;
    let door = program.open("");
    let principal = bearer(&token).at(&door).await.unwrap();
    let ticket = door.issue_ticket(&principal, crate::auth::ticket::DEFAULT_TTL).await.unwrap();
    let watcher = get(&format!("/v1/jobs/j1/events?ticket={ticket}")).at(&door).await.unwrap();
    assert_eq!(
        (&watcher.id, &watcher.grants, watcher.expires_at),
        (&principal.id, &principal.grants, principal.expires_at)
    );
}
