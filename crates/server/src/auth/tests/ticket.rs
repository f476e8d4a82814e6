//! One-time tickets.

use super::*;

async fn login(program: &Program, expires_at: Option<Timestamp>) -> (Authenticator, Arc<Principal>) {
    program.store.add_key("tdg_k1_s", until(expires_at, operator("k1", Some("shelf"))));
    let door = program.open("");
    let principal = bearer("tdg_k1_s").at(&door).await.unwrap();
    (door, principal)
}

#[tokio::test]
async fn a_key_for_one_profile_is_no_operators() {
    let program = Program::new();
    for (id, profile) in [("k2", None), ("k3", Some("shelf"))] {
        program.store.add_key(&format!("tdg_{id}_s"), operator(id, profile));
        let principal = bearer(&format!("tdg_{id}_s")).at(&program.open("")).await.unwrap();
        assert_eq!(principal.operator, profile.is_none(), "{profile:?}");
    }
}

fn with_ticket(ticket: &str) -> Ask {
    get(&format!("/v1/events?ticket={ticket}"))
}

#[tokio::test]
async fn a_ticket_shows_what_its_maker_may_see_and_publishes_nothing() {
    let program = Program::new();
    let ends = Some(Timestamp((NOW + 600) * 1000));
    let (door, principal) = login(&program, ends).await;
    let ticket = door.issue_ticket(&principal, crate::auth::ticket::DEFAULT_TTL).await.unwrap();
    let listener = with_ticket(&ticket).at(&program.open_profile("shelf", "")).await.unwrap();
    assert_eq!((&listener.id, &listener.grants, &listener.key), (&principal.id, &principal.grants, &principal.key));
    assert_eq!((listener.expires_at, listener.source), (ends, "ticket"));
    assert!(!listener.operator && !listener.publish.allow("x", "shelf/job/1"));
}

#[tokio::test]
async fn a_ticket_may_be_said_first_and_says_what_the_app_says_of_its_maker() {
    let program = Program::new();
    let (door, principal) = login(&program, None).await;
    let principal = Principal { about: Some(r#"{"name":"Ann"}"#.into()), ..(*principal).clone() };
    let ticket = door.issue_ticket(&principal, crate::auth::ticket::DEFAULT_TTL).await.unwrap();
    let said = || get("/socket.io/?EIO=4").saying(serde_json::json!({ "ticket": ticket }));
    assert_eq!(said().at(&door).await.unwrap().about, principal.about);
    assert_eq!(said().who(&door).await, "401 invalid-credential", "it works once");
}

#[tokio::test]
async fn of_many_at_once_one_gets_in() {
    let program = Program::new();
    let (door, principal) = login(&program, None).await;
    let door = Arc::new(door);
    let ticket = door.issue_ticket(&principal, crate::auth::ticket::DEFAULT_TTL).await.unwrap();
    let asks: Vec<_> = (0..32)
        .map(|_| {
            let (door, ticket) = (door.clone(), ticket.clone());
            tokio::spawn(async move { with_ticket(&ticket).who(&door).await })
        })
        .collect();
    let mut let_in = 0;
    for ask in asks {
        match ask.await.unwrap().as_str() {
            "name-k1" => let_in += 1,
            other => assert_eq!(other, "401 invalid-credential"),
        }
    }
    assert_eq!(let_in, 1);
}

#[tokio::test]
async fn a_ticket_ends_with_its_time_its_maker_and_its_makers_key() {
    let program = Program::new();
    let (door, principal) = login(&program, Some(Timestamp((NOW + 20) * 1000))).await;
    let issue = || door.issue_ticket(&principal, Duration::from_secs(3600));
    let (late, revoked) = (issue().await.unwrap(), issue().await.unwrap());
    program.revoke(Revocation::key("k1")).await;
    assert_eq!(with_ticket(&revoked).who(&door).await, "401 revoked-credential");
    program.pass(20);
    assert_eq!(with_ticket(&late).who(&door).await, "401 invalid-credential", "no longer than its maker");
    let endless = Principal::new("x", Default::default(), "jwt");
    let short = door.issue_ticket(&endless, Duration::from_secs(3600)).await.unwrap();
    program.pass(300);
    assert_eq!(with_ticket(&short).who(&door).await, "401 invalid-credential", "five minutes at most");
}

#[tokio::test]
async fn a_made_up_ticket_is_refused_and_not_anonymous() {
    let door = Program::new().open("anonymous = { grants = [] }");
    assert_eq!(with_ticket("tdt_x").who(&door).await, "401 invalid-credential");
}

#[tokio::test]
async fn a_ticket_of_a_login_that_is_forgotten_here_ends_soon() {
    let program = Program::new();
    let door = program.open("");
    let asked = Principal { session: Some("s".into()), ..Principal::new("x", Default::default(), "forward") };
    let ticket = door.issue_ticket(&asked, crate::auth::ticket::DEFAULT_TTL).await.unwrap();
    let listener = with_ticket(&ticket).at(&door).await.unwrap();
    assert_eq!(listener.expires_at, Some(Timestamp((NOW + 60) * 1000)));
}
