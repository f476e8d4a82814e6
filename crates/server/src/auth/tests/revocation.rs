//! Who was shut out.

use serde_json::{Value, json};

use super::app::{App, json as reply};
use super::signer::{SECRET, Signer};
use super::*;

fn door(program: &Program) -> Authenticator {
    program.open(&format!(
        r#"
        [[sources]]
        kind = "api-key"
        [[sources]]
        kind = "jwt"
        secret = {SECRET:?}
        [[sources]]
        kind = "proxy-header"
        trusted = ["10.0.0.0/8"]
    "#
    ))
}

fn token(claims: Value) -> String {
    Signer::hmac().token(json!({"alg": "HS256"}), claims)
}

#[tokio::test]
async fn a_revoked_principal_is_refused_with_what_is_older_and_let_in_with_what_is_newer() {
    let program = Program::new();
    let door = door(&program);
    let made = |iat: u64| token(json!({"sub": "ann", "exp": NOW + 600, "iat": iat}));
    assert_eq!(bearer(&made(NOW)).who(&door).await, "ann");
    program.pass(10);
    program.revoke(Revocation::principal("ann")).await;
    assert_eq!(bearer(&made(NOW)).who(&door).await, "401 revoked-credential", "also a remembered one");
    assert_eq!(bearer(&made(NOW + 10)).who(&door).await, "401 revoked-credential", "the same second");
    program.pass(1);
    assert_eq!(bearer(&made(NOW + 11)).who(&door).await, "ann");
    assert_eq!(bearer(&token(json!({"sub": "ann", "exp": NOW + 600}))).who(&door).await, "401 revoked-credential");
    assert_eq!(bearer(&token(json!({"sub": "bob", "exp": NOW + 600}))).who(&door).await, "bob");
    let by_proxy = || get("/").with("x-forwarded-user", "ann").from("10.0.0.1");
    assert_eq!(by_proxy().who(&door).await, "401 revoked-credential");
    program.pass(86_400);
    assert_eq!(by_proxy().who(&door).await, "ann", "until it is forgotten");
}

#[tokio::test]
async fn a_token_from_the_future_does_not_outlast_a_revocation() {
    let program = Program::new();
    let door = door(&program);
    let early = token(json!({"sub": "ann", "exp": NOW + 600, "iat": NOW + 300}));
    assert_eq!(bearer(&early).who(&door).await, "ann");
    program.pass(10);
    program.revoke(Revocation::principal("ann")).await;
    assert_eq!(bearer(&early).who(&door).await, "401 revoked-credential");
}

#[tokio::test]
async fn a_revoked_session_or_key_ends_just_that_one() {
    let program = Program::new();
    let door = door(&program);
    let login = |jti: &str| token(json!({"sub": "ann", "exp": NOW + 600, "jti": jti}));
    program.store.add_key("tdg_k1_s", stored("k1", None));
    program.store.add_key("tdg_k2_s", stored("k2", None));
    program.revoke(Revocation::session("a")).await;
    program.revoke(Revocation::key("k1")).await;
    assert_eq!(bearer(&login("a")).who(&door).await, "401 revoked-credential");
    assert_eq!(bearer(&login("b")).who(&door).await, "ann");
    assert_eq!(bearer("tdg_k1_s").who(&door).await, "401 revoked-credential");
    assert_eq!(bearer("tdg_k2_s").who(&door).await, "name-k2");
}

#[tokio::test]
async fn a_key_that_was_removed_is_refused_also_where_it_was_just_found_good() {
    let program = Program::new();
    let door = door(&program);
    let revocations = &program.context.revocations;
    // Of a replica whose clock is ahead.
    let mut early = stored("k1", None);
    early.created_at = Timestamp((NOW + 60) * 1000);
    program.store.add_key("tdg_k1_s", early);
    revocations.refresh().await.unwrap();
    assert_eq!(bearer("tdg_k1_s").who(&door).await, "name-k1");
    program.store.remove_key("k1");
    assert_eq!(bearer("tdg_k1_s").who(&door).await, "name-k1", "remembered");
    assert_eq!(revocations.refresh().await.unwrap(), [Revocation::key("k1")]);
    assert_eq!(bearer("tdg_k1_s").who(&door).await, "401 revoked-credential", "its streams will not be ended again");
    program.pass(11);
    assert_eq!(bearer("tdg_k1_s").who(&door).await, "401 invalid-credential");
    assert_eq!(revocations.refresh().await.unwrap(), []);
}

#[tokio::test]
async fn a_revocation_of_a_replica_whose_clock_is_wrong_has_the_app_asked_again_once() {
    for (behind, ahead) in [(300, 0), (0, 300)] {
        let (program, app) = (Program::new(), App::start().await);
        let door = program.open(&format!(
            "[[sources]]\nkind = \"forward\"\nin = [{{ cookie = \"sid\" }}]\nurl = {:?}\nprincipal = {{ id = \"{{body.id}}\" }}\ncache = \"60s\"",
            app.url("/me")
        ));
        let ann = || get("/").with("cookie", "sid=1");
        app.say("/me", reply(200, json!({"id": "ann"})));
        assert_eq!(ann().who(&door).await, "ann");
        program.pass(1);
        let other = Revocations::new(program.store.clone(), program.clock.clone());
        let at = Timestamp((NOW + 1 + ahead - behind) * 1000);
        other.keep(Revocation::principal("ann"), at, at.after(Duration::from_secs(3_600))).await.unwrap();
        program.context.revocations.refresh().await.unwrap();
        program.pass(1);
        assert_eq!(app.asked(), 1);
        for _ in 0..2 {
            assert_eq!(ann().who(&door).await, "ann", "the app still says yes");
        }
        assert_eq!(app.asked(), 1, "what was remembered is not believed, and what is said since is");
    }
}

#[tokio::test]
async fn a_revocation_outlives_a_restart() {
    let program = Program::new();
    program.revoke(Revocation::session("a")).await;
    let revoke: RevokeCallback = Arc::new(|_, _| {});
    let context = AuthContext::with_clock(program.store.clone(), revoke, program.clock.clone());
    context.revocations.refresh().await.unwrap();
    let again = Program { context, ..program };
    let token = token(json!({"sub": "ann", "exp": NOW + 600, "jti": "a"}));
    assert_eq!(bearer(&token).who(&door(&again)).await, "401 revoked-credential");
}

/// The door of a profile and the common one, over a database that is opened anew each time.
struct Doors {
    context: AuthContext,
}

impl Doors {
    async fn open(directory: &std::path::Path, clock: &Arc<ManualClock>) -> Self {
        let store = Arc::new(tidings_brokers::Store::open(&directory.join("store.db")).unwrap());
        let revoke: RevokeCallback = Arc::new(|_, _| {});
        let context = AuthContext::with_clock(store, revoke, clock.clone());
        context.revocations.refresh().await.unwrap();
        Doors { context }
    }

    fn of(&self, namespace: Option<&str>) -> Authenticator {
        let toml = format!("[[sources]]\nkind = \"jwt\"\nsecret = {SECRET:?}\n[[sources]]\nkind = \"ticket\"");
        let context = AuthContext { namespace: namespace.map(Into::into), ..self.context.clone() };
        Authenticator::new(&toml::from_str(&toml).unwrap(), context).unwrap()
    }
}

#[tokio::test]
async fn a_user_revoked_in_one_profile_lives_on_under_the_same_id_in_another_also_after_a_restart() {
    let clock = Arc::new(ManualClock::at(Timestamp(NOW * 1000)));
    let directory = tempfile::tempdir().unwrap();
    let doors = Doors::open(directory.path(), &clock).await;
    let u1 = bearer(&token(json!({"sub": "u1", "exp": NOW + 600, "jti": "login"})));
    let mut live = Vec::new();
    for namespace in [Some("a"), Some("b"), None] {
        live.push(u1.at(&doors.of(namespace)).await.unwrap());
    }
    let until = clock.now().after(Duration::from_secs(3600));
    let in_a = Revocation::principal("u1").within(Some("a".into()));
    let login_in_b = Revocation::session("login").within(Some("b".into()));
    revoke(&doors.context.revocations, in_a.clone(), until).await;
    assert_eq!(live.iter().map(|who| in_a.covers(who)).collect::<Vec<_>>(), [true, false, false]);

    let again = Doors::open(directory.path(), &clock).await;
    for (doors, when) in [(&doors, "at once"), (&again, "after a restart")] {
        assert_eq!(u1.who(&doors.of(Some("a"))).await, "401 revoked-credential", "{when}");
        assert_eq!(u1.who(&doors.of(Some("b"))).await, "u1", "{when}");
        assert_eq!(u1.who(&doors.of(None)).await, "u1", "{when}");
    }
    revoke(&again.context.revocations, login_in_b, until).await;
    assert_eq!(u1.who(&again.of(Some("b"))).await, "401 revoked-credential");
    assert_eq!(u1.who(&again.of(None)).await, "u1");
    revoke(&again.context.revocations, Revocation::principal("u1"), until).await;
    assert_eq!(u1.who(&again.of(None)).await, "401 revoked-credential", "everywhere");
}

#[tokio::test]
async fn a_ticket_stays_that_of_the_profile_it_was_made_in() {
    let clock = Arc::new(ManualClock::at(Timestamp(NOW * 1000)));
    let directory = tempfile::tempdir().unwrap();
    let doors = Doors::open(directory.path(), &clock).await;
    let (a, open) = (doors.of(Some("a")), doors.of(None));
    let u1 = bearer(&token(json!({"sub": "u1", "exp": NOW + 600}))).at(&a).await.unwrap();
    let mut tickets = Vec::new();
    for _ in 0..2 {
        tickets.push(a.issue_ticket(&u1, Duration::from_secs(30)).await.unwrap());
    }
    let with = |ticket: &str| get(&format!("/?ticket={ticket}"));
    assert_eq!(with(&tickets[0]).at(&open).await.unwrap().namespace.as_deref(), Some("a"));
    let in_a = Revocation::principal("u1").within(Some("a".into()));
    revoke(&doors.context.revocations, in_a, clock.now().after(Duration::from_secs(3600))).await;
    assert_eq!(with(&tickets[1]).who(&open).await, "401 revoked-credential");
}

#[tokio::test]
async fn after_a_revocation_the_app_is_asked_again_instead_of_remembered() {
    let (program, app) = (Program::new(), App::start().await);
    let door = program.open(&format!(
        "[[sources]]\nkind = \"forward\"\nin = [{{ cookie = \"sid\" }}]\nurl = {:?}\nprincipal = {{ id = \"{{body.id}}\" }}",
        app.url("/me")
    ));
    let ann = || get("/").with("cookie", "sid=1");
    app.say("/me", reply(200, json!({"id": "ann"})));
    let login = ann().at(&door).await.unwrap();
    program.pass(1);
    program.revoke(Revocation::principal("ann")).await;
    program.pass(1);
    assert_eq!(ann().who(&door).await, "ann", "the app still says yes");
    assert_eq!(app.asked(), 2);
    app.say("/me", app::status(401));
    assert_eq!(ann().who(&door).await, "ann", "remembered since the revocation");
    program.revoke(Revocation::session(login.session.clone().unwrap())).await;
    app.say("/me", reply(200, json!({"id": "ann"})));
    program.pass(1);
    assert_eq!(ann().who(&door).await, "401 revoked-credential", "this login is over, whatever the app says");
}

#[tokio::test(start_paused = true)]
async fn what_another_process_revoked_ends_live_streams_within_a_second() {
    let program = Program::new();
    let told = program.ended.clone();
    let revoke: RevokeCallback = Arc::new(move |of, reason| told.lock().unwrap().push((of, reason)));
    let watch = tokio::spawn(program.context.revocations.clone().watch(revoke));
    let of = Revocation::key("k1");
    let at = program.clock.now();
    let other = Revocations::new(program.store.clone(), program.clock.clone());
    other.keep(of.clone(), at, at.after(Duration::from_secs(60))).await.unwrap();
    tokio::time::timeout(Duration::from_secs(1), async {
        while program.ended.lock().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .unwrap();
    assert_eq!(program.ended()[0], (of, CloseReason::Revoked));
    watch.abort();
}
