//! Asking the app: yes, no, not known; once for many; and again about open streams.

use serde_json::json;
use tokio::sync::Notify;

use super::app::{App, Reply, json, status};
use super::*;

fn settings(app: &App, more: &str) -> String {
    format!(
        r#"
        anonymous = {{ grants = ["role/guest"] }}
        [[sources]]
        kind = "forward"
        in = [{{ cookie = "sid" }}]
        url = {:?}
        headers = ["cookie", "x-app-*", "x-forwarded-*"]
        trusted = ["10.0.0.0/8"]
        {more}
        principal = {{ id = ["{{body.user.id}}", "{{header.x-user}}"], grants = ["role/{{body.user.roles}}"] }}
    "#,
        app.url("/me")
    )
}

fn user(roles: &[&str]) -> Reply {
    json(200, json!({"user": {"id": 7, "roles": roles}}))
}

fn ann() -> Ask {
    get("/").with("cookie", "sid=ann; theme=dark")
}

#[tokio::test]
async fn the_app_says_who_it_is_and_is_asked_once_in_a_while() {
    let (program, app) = (Program::new(), App::start().await);
    let door = program.open(&settings(&app, ""));
    app.say("/me", user(&["editor", "viewer"]));
    let principal = ann().with("x-app-lang", "en").with("x-other", "1").at(&door).await.unwrap();
    assert_eq!((&*principal.id, principal.source), ("7", "forward"));
    assert_eq!(principal.grants.to_string(), "everyone role/editor role/viewer");
    let session = principal.session.as_deref().unwrap();
    assert!(session.starts_with("login-") && !session.contains("ann"));
    let question = app.questions().pop().unwrap();
    assert_eq!(question["cookie"], "sid=ann; theme=dark");
    assert_eq!(question["x-app-lang"], "en");
    assert!(!question.contains_key("x-other"));

    let again = ann().with("x-app-lang", "en").at(&door).await.unwrap();
    assert!(Arc::ptr_eq(&principal, &again));
    assert_eq!(app.asked(), 0);
    program.pass(5);
    let later = ann().with("x-app-lang", "en").at(&door).await.unwrap();
    assert!(Arc::ptr_eq(&principal, &later), "asked again, and the same principal while it lives");
    assert_eq!(app.asked(), 1);
    assert_eq!(get("/").who(&door).await, "anonymous");
    assert_eq!(app.asked(), 0, "without the cookie nobody is asked");
}

#[tokio::test]
async fn two_credentials_from_what_clients_say_first_never_share_an_answer() {
    let (program, app) = (Program::new(), App::start().await);
    let door = program.open(&format!(
        r#"
        [[sources]]
        kind = "forward"
        in = [{{ payload = "token" }}, {{ subprotocol = "bearer." }}]
        url = {:?}
        set = {{ authorization = "Bearer {{credential}}" }}
        principal = {{ id = "{{body.user.id}}", about = "{{body.user}}" }}
    "#,
        app.url("/me")
    ));
    let mut sessions = Vec::new();
    for (token, id) in [("a", 7), ("b", 8), ("a", 9)] {
        app.say("/me", json(200, json!({"user": {"id": id, "name": "Ann"}})));
        let principal = get("/").with("cookie", "theme=dark").saying(json!({"token": token})).at(&door).await.unwrap();
        let (id, asked) = if id == 9 { (7, 0) } else { (id, 1) };
        assert_eq!(&*principal.id, id.to_string(), "{token}");
        assert_eq!(principal.about.as_deref().unwrap(), format!(r#"{{"id":{id},"name":"Ann"}}"#));
        let questions = app.questions();
        assert_eq!(questions.len(), asked, "the second time it is remembered");
        assert!(questions.iter().all(|question| question["authorization"] == format!("Bearer {token}")));
        sessions.push(principal.session.clone());
    }
    assert!(sessions[0] != sessions[1] && sessions[0] == sessions[2]);
    assert_eq!(get("/").with("sec-websocket-protocol", "tidings.v1, bearer.c").who(&door).await, "9");
    assert_eq!(app.questions()[0]["authorization"], "Bearer c");
    assert_eq!(get("/").saying(json!({"token": "new\nline"})).who(&door).await, "401 invalid-credential");
    assert_eq!(get("/").saying(json!({"token": 7})).who(&door).await, "400 unclear-credential");
    assert_eq!(get("/").saying(json!({})).who(&door).await, "401 no-credential");
}

#[tokio::test]
async fn a_no_of_the_app_is_a_refusal_and_never_anonymous() {
    let (program, app) = (Program::new(), App::start().await);
    let door = program.open(&settings(&app, ""));
    for (reply, code) in [
        (status(401), "401 invalid-credential"),
        (status(403), "403 forbidden"),
        (status(400), "401 invalid-credential"),
        (status(422), "401 invalid-credential"),
        (status(431), "401 invalid-credential"),
        (Reply::Now(302, vec![("location", "/login".into())], String::new()), "401 invalid-credential"),
        (json(200, json!({"user": null})), "401 invalid-credential"),
    ] {
        app.say("/me", reply);
        assert_eq!(ann().who(&door).await, code);
    }
}

#[tokio::test]
async fn an_app_that_cannot_say_is_not_a_no() {
    let (program, app) = (Program::new(), App::start().await);
    let door = program.open(&settings(&app, "on_invalid = \"next\""));
    for reply in [
        status(500),
        json(500, json!({"user": {"id": 7}})),
        status(502),
        status(404),
        status(405),
        status(409),
        status(429),
        Reply::Now(200, Vec::new(), "<html>".into()),
        Reply::Now(200, Vec::new(), "x".repeat(300_000)),
    ] {
        app.say("/me", reply);
        let problem = ann().at(&door).await.unwrap_err();
        assert_eq!((problem.status.as_u16(), problem.code), (503, "app-unavailable"));
        assert_eq!(header(&problem, "retry-after"), "2");
    }
    app.say("/me", user(&[]));
    assert_eq!(ann().who(&door).await, "7", "nothing of it was remembered");
}

#[tokio::test]
async fn an_app_that_hangs_or_is_away_is_not_waited_for() {
    let (program, app) = (Program::new(), App::start().await);
    let door = program.open(&settings(&app, "timeout = \"50ms\""));
    app.say("/me", Reply::Never);
    assert_eq!(ann().who(&door).await, "503 app-unavailable");
    let door = program.open(&settings(&app, "").replace(&app.url("/me"), "http://127.0.0.1:1/me"));
    assert_eq!(ann().who(&door).await, "503 app-unavailable");
}

#[tokio::test]
async fn many_with_the_same_credential_are_one_question_also_when_the_first_goes_away() {
    let (program, app) = (Program::new(), App::start().await);
    let door = Arc::new(program.open(&settings(&app, "")));
    let go = Arc::new(Notify::new());
    app.say("/me", Reply::Held(go.clone(), Box::new(user(&["viewer"]))));
    let ask = |door: &Arc<Authenticator>| {
        let door = door.clone();
        tokio::spawn(async move { ann().at(&door).await.map(|principal| principal.id.to_string()).ok() })
    };
    let first = ask(&door);
    app.arrived().await;
    let others: Vec<_> = (0..20).map(|_| ask(&door)).collect();
    tokio::task::yield_now().await;
    app.say("/me", user(&["viewer"]));
    first.abort();
    for other in others {
        assert_eq!(other.await.unwrap().as_deref(), Some("7"));
    }
    assert_eq!(app.asked(), 2, "the one that was given up, and one for all the others");
}

#[tokio::test]
async fn only_a_trusted_proxy_speaks_for_the_client() {
    let (program, app) = (Program::new(), App::start().await);
    let door = program.open(&settings(&app, ""));
    app.say("/me", user(&[]));
    let ask = || ann().with("x-forwarded-for", "198.51.100.1").with("x-forwarded-user", "root");
    ask().at(&door).await.unwrap();
    let question = app.questions().pop().unwrap();
    assert!(!question.contains_key("x-forwarded-user"));
    assert_eq!(question["x-forwarded-for"], "192.0.2.1");
    ask().from("10.0.0.9").at(&door).await.unwrap();
    let question = app.questions().pop().unwrap();
    assert_eq!(question["x-forwarded-user"], "root");
    assert_eq!(question["x-forwarded-for"], "198.51.100.1, 10.0.0.9");
}

#[tokio::test]
async fn a_credential_can_be_asked_about_under_another_header() {
    let (program, app) = (Program::new(), App::start().await);
    let door = program.open(&format!(
        r#"
        [[sources]]
        kind = "forward"
        in = [{{ query = "token", prefix = "app_" }}]
        url = {:?}
        headers = []
        set = {{ authorization = "Bearer {{credential}}" }}
        principal = {{ id = "{{header.x-user}}" }}
    "#,
        app.url("/me")
    ));
    app.say("/me", Reply::Now(204, vec![("x-user", "ann".into())], String::new()));
    assert_eq!(get("/?token=app_1").who(&door).await, "ann");
    assert_eq!(app.questions().pop().unwrap()["authorization"], "Bearer app_1");
    assert_eq!(get("/?token=other").who(&door).await, "401 no-credential");
    assert_eq!(get("/?token=app_%0Ax").who(&door).await, "401 invalid-credential");
}

#[tokio::test]
async fn an_open_stream_is_asked_about_again_and_ends_on_a_clear_no() {
    let (program, app) = (Program::new(), App::start().await);
    let door = program.open(&settings(&app, "recheck = \"60s\""));
    let recheck = &program.context.recheck;
    app.say("/me", user(&["viewer"]));
    let stream = ann().at(&door).await.unwrap();
    let closed = get("/").with("cookie", "sid=bob").at(&door).await.unwrap();
    drop(closed);
    assert_eq!(app.asked(), 2);
    program.pass(59);
    recheck.ask_due().await;
    assert_eq!(app.asked(), 0, "not yet");
    program.pass(1);
    recheck.ask_due().await;
    assert_eq!(app.asked(), 1, "only about the stream that is open");
    assert!(program.ended().is_empty());

    app.say("/me", status(401));
    program.pass(60);
    recheck.ask_due().await;
    let session = Revocation::session(stream.session.clone().unwrap());
    assert_eq!(program.ended(), [(session, CloseReason::Revoked)]);
    assert_eq!(ann().who(&door).await, "401 invalid-credential", "and the old yes is forgotten");
}

#[tokio::test]
async fn a_clear_no_also_ends_what_is_remembered() {
    let (program, app) = (Program::new(), App::start().await);
    let door = program.open(&settings(&app, "recheck = \"10s\"\ncache = \"60s\""));
    app.say("/me", user(&["viewer"]));
    let _stream = ann().at(&door).await.unwrap();
    app.say("/me", status(403));
    program.pass(10);
    assert_eq!(ann().who(&door).await, "7", "remembered");
    program.pass(10);
    program.context.recheck.ask_due().await;
    assert_eq!(program.ended().len(), 1);
    assert_eq!(ann().who(&door).await, "403 forbidden");
}

#[tokio::test]
async fn other_grants_send_an_open_stream_to_ask_again() {
    let (program, app) = (Program::new(), App::start().await);
    let door = program.open(&settings(&app, "recheck = \"60s\""));
    app.say("/me", user(&["admin"]));
    let stream = ann().at(&door).await.unwrap();
    app.say("/me", user(&["viewer"]));
    program.pass(60);
    program.context.recheck.ask_due().await;
    let session = Revocation::session(stream.session.clone().unwrap());
    assert_eq!(program.ended(), [(session, CloseReason::Reauthenticate)]);
    assert!(ann().at(&door).await.unwrap().grants.holds("role/viewer"));
}

#[tokio::test]
async fn an_open_stream_outlives_a_pause_of_the_app_but_not_a_long_one() {
    let (program, app) = (Program::new(), App::start().await);
    let door = program.open(&settings(&app, "recheck = \"60s\"\nmax_stale = \"150s\""));
    app.say("/me", user(&["viewer"]));
    let stream = ann().at(&door).await.unwrap();
    app.say("/me", status(503));
    for _ in 0..2 {
        program.pass(60);
        program.context.recheck.ask_due().await;
        assert!(program.ended().is_empty());
    }
    program.pass(60);
    program.context.recheck.ask_due().await;
    let session = Revocation::session(stream.session.clone().unwrap());
    assert_eq!(program.ended(), [(session, CloseReason::Unavailable)]);
}

#[tokio::test]
async fn a_stream_by_ticket_is_asked_about_with_the_login_it_was_made_for() {
    let (program, app) = (Program::new(), App::start().await);
    let door = program.open(&settings(&app, "recheck = \"60s\""));
    let common = program.open("");
    app.say("/me", user(&["viewer"]));
    let login = ann().at(&door).await.unwrap();
    let ticket = door.issue_ticket(&login, Duration::from_secs(120)).await.unwrap();
    drop(login);
    program.pass(60);
    program.context.recheck.ask_due().await;
    assert_eq!(app.asked(), 1, "nobody has come with it yet");
    let stream = get(&format!("/?ticket={ticket}")).at(&common).await.unwrap();
    assert_eq!((&*stream.id, stream.expires_at), ("7", None));
    app.say("/me", status(401));
    program.pass(60);
    program.context.recheck.ask_due().await;
    let session = Revocation::session(stream.session.clone().unwrap());
    assert_eq!(program.ended(), [(session, CloseReason::Revoked)]);
}
