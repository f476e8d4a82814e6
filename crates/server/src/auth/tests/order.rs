//! Which source decides; keys, proxy headers and nobody.

use http::StatusCode;
use proptest::prelude::*;

use super::*;

/// A wall of three: a key whose wrongness is no matter, a token, a proxy's header.
const WALL: &str = r#"
    [[sources]]
    kind = "api-key"
    in = [{ header = "x-api-key" }, { query = "apikey", methods = ["GET", "HEAD", "OPTIONS"] }]
    on_invalid = "next"
    stored = false
    keys = [{ name = "operator", value = "right-key", grants = ["role/admin"], operator = true, publish = true }]

    [[sources]]
    kind = "jwt"
    secret = "a secret of at least sixteen bytes"
    in = [{ cookie = "sid" }]

    [[sources]]
    kind = "proxy-header"
    header = "x-forwarded-user"
    groups_header = "x-forwarded-groups"
    trusted = ["10.0.0.0/8", "127.0.0.1"]
    principal = { grants = ["user/{user}", "group/{groups}"] }
"#;

fn session(sub: &str) -> String {
    let claims = serde_json::json!({"sub": sub, "exp": NOW + 60});
    signer::Signer::hmac().token(serde_json::json!({"alg": "HS256"}), claims)
}

#[tokio::test]
async fn the_first_source_whose_credential_is_there_decides() {
    let door = Program::new().open(WALL);
    let cookie = format!("sid={}", session("ann"));
    let all = || get("/?apikey=right-key").with("cookie", &cookie).with("x-forwarded-user", "bob").from("10.1.2.3");
    assert_eq!(all().who(&door).await, "operator");
    assert_eq!(all().by(Method::POST).who(&door).await, "ann", "a key in the query counts only on safe methods");
    assert_eq!(all().with("x-api-key", "wrong").who(&door).await, "ann", "a wrong key is no matter here");
    assert_eq!(get("/").with("x-forwarded-user", "bob").from("10.1.2.3").who(&door).await, "bob");
    let broken = get("/").with("cookie", "sid=x").with("x-forwarded-user", "bob").from("10.1.2.3");
    assert_eq!(
        broken.who(&door).await,
        "401 invalid-credential",
        "a wrong session is refused before the proxy is asked"
    );
}

#[tokio::test]
async fn no_credential_is_refused_with_a_bare_challenge_and_a_wrong_one_with_its_error() {
    let door = Program::new().open(WALL);
    let none = get("/").at(&door).await.unwrap_err();
    assert_eq!((none.status, none.code), (StatusCode::UNAUTHORIZED, "no-credential"));
    assert_eq!(header(&none, "www-authenticate"), "Bearer realm=\"tidings\"");
    let wrong = get("/").with("x-api-key", "wrong").at(&door).await.unwrap_err();
    assert_eq!(header(&wrong, "www-authenticate"), "Bearer realm=\"tidings\", error=\"invalid_token\"");
}

#[tokio::test]
async fn a_wrong_credential_never_becomes_anonymous() {
    let door = Program::new().open(&format!("anonymous = {{ grants = [\"role/guest\"] }}\n{WALL}"));
    let nobody = get("/").at(&door).await.unwrap();
    assert_eq!((&*nobody.id, nobody.source), ("anonymous", "anonymous"));
    assert!(nobody.grants.holds("role/guest") && nobody.grants.holds("everyone"));
    assert!(!nobody.operator && !nobody.publish.allow("x", "a"));
    assert_eq!(get("/").with("x-api-key", "wrong").who(&door).await, "401 invalid-credential");
    assert_eq!(get("/").with("cookie", "sid=wrong").who(&door).await, "401 invalid-credential");
}

#[tokio::test]
async fn where_nothing_is_set_up_keys_and_tokens_come_as_a_browser_can_send_them() {
    let program = Program::new();
    program.store.add_key("tdg_k1_s", stored("k1", None));
    let token = session("ann");
    let jwt = "[[sources]]\nkind = \"jwt\"\nsecret = \"a secret of at least sixteen bytes\"\n";
    for (settings, credential, id) in [("", "tdg_k1_s", "name-k1"), (jwt, token.as_str(), "ann")] {
        let door = program.open(settings);
        assert_eq!(bearer(credential).who(&door).await, id);
        let offered = get("/v1/ws").with("sec-websocket-protocol", &format!("tidings.v1, bearer.{credential}"));
        assert_eq!(offered.who(&door).await, id);
        assert_eq!(get("/").saying(serde_json::json!({ "token": credential })).who(&door).await, id);
    }
    let both = program.open(&format!("anonymous = {{ grants = [] }}\n[[sources]]\nkind = \"api-key\"\n{jwt}"));
    assert_eq!(get("/").saying(serde_json::json!({ "token": token })).who(&both).await, "ann", "no key begins so");
    let wrong = get("/").saying(serde_json::json!({ "token": "tdg_k1_x" }));
    assert_eq!(wrong.who(&both).await, "401 invalid-credential", "and never anonymous");
}

#[tokio::test]
async fn a_proxy_is_believed_only_by_its_address() {
    let door = Program::new().open(WALL);
    let bob = || get("/").with("x-forwarded-user", "bob").with("x-forwarded-groups", "a, b ,,c");
    assert_eq!(bob().from("192.0.2.7").who(&door).await, "401 no-credential");
    let principal = bob().from("::ffff:10.0.0.1").at(&door).await.unwrap();
    assert_eq!(principal.grants.to_string(), "everyone group/a group/b group/c user/bob");
    let again = bob().from("127.0.0.1").at(&door).await.unwrap();
    assert!(Arc::ptr_eq(&principal, &again), "the same user shares one principal");
    let twice = bob().with("x-forwarded-user", "root").from("10.0.0.1");
    assert_eq!(twice.who(&door).await, "400 unclear-credential");
}

#[tokio::test]
async fn a_stored_key_opens_the_door_of_its_profile_and_the_common_one() {
    let program = Program::new();
    program.store.add_key("tdg_k1_s", stored("k1", Some("shelf")));
    let common = program.open("");
    let principal = bearer("tdg_k1_s").at(&common).await.unwrap();
    assert_eq!((&*principal.id, principal.key.as_deref()), ("name-k1", Some("k1")));
    assert!(principal.grants.holds("shelf/role/admin") && !principal.grants.holds("role/admin"));
    assert!(principal.publish.allow("any", "shelf/job/1") && !principal.publish.allow("any", "job/1"));
    let shelf = program.open_profile("shelf", "");
    assert!(bearer("tdg_k1_s").at(&shelf).await.unwrap().grants.holds("shelf/role/viewer"));
    assert_eq!(bearer("tdg_k1_s").who(&program.open_profile("other", "")).await, "403 wrong-profile");
    assert_eq!(bearer("tdg_k1_x").who(&common).await, "401 invalid-credential");
}

#[tokio::test]
async fn a_removed_key_is_refused_within_a_second_and_its_streams_are_told() {
    let program = Program::new();
    program.store.add_key("tdg_k1_s", stored("k1", None));
    program.context.revocations.refresh().await.unwrap();
    let door = program.open("");
    let first = bearer("tdg_k1_s").at(&door).await.unwrap();
    program.pass(1);
    assert!(Arc::ptr_eq(&first, &bearer("tdg_k1_s").at(&door).await.unwrap()), "looked up again and shared");
    assert!(program.store.remove_key("k1"));
    assert_eq!(program.context.revocations.refresh().await.unwrap(), [Revocation::key("k1")]);
    program.pass(1);
    assert_eq!(bearer("tdg_k1_s").who(&door).await, "401 invalid-credential");
}

#[tokio::test]
async fn an_expired_key_is_refused_and_not_anonymous() {
    let program = Program::new();
    let expires_at = Some(Timestamp((NOW + 5) * 1000));
    program.store.add_key("tdg_k1_s", until(expires_at, stored("k1", None)));
    let door = program.open("anonymous = { grants = [] }");
    assert_eq!(bearer("tdg_k1_s").who(&door).await, "name-k1");
    program.pass(5);
    assert_eq!(bearer("tdg_k1_s").who(&door).await, "401 expired-credential");
}

#[tokio::test]
async fn a_key_may_be_given_by_its_hash_and_publish_only_what_it_may() {
    let door = Program::new().open(&format!(
        r#"
        [[sources]]
        kind = "api-key"
        keys = [{{ name = "app", sha256 = "{}", publish = {{ topics = ["job/*"], names = ["progress"] }} }}]
    "#,
        sha256("right-key")
    ));
    let principal = get("/").with("x-api-key", "right-key").at(&door).await.unwrap();
    assert!(principal.publish.allow("progress", "job/1"));
    assert!(!principal.publish.allow("done", "job/1") && !principal.publish.allow("progress", "library/1"));
    assert_eq!(get("/").with("x-api-key", "right-kez").who(&door).await, "401 invalid-credential");
}

#[tokio::test]
async fn keys_tickets_and_revocations_are_kept_in_the_database() {
    let Program { clock, context, .. } = Program::new();
    let store = Arc::new(tidings_brokers::Store::in_memory().unwrap());
    let revocations = Arc::new(Revocations::open(store.clone(), clock.clone()).await.unwrap());
    let door = Authenticator::new(
        &AuthSettings::default(),
        AuthContext { store: store.clone(), revocations: revocations.clone(), ..context },
    )
    .unwrap();
    let key = tidings_brokers::store::NewKey {
        may_publish: true,
        publish_names: Some(vec!["progress".into()]),
        expires_at: Some(clock.now().after(Duration::from_secs(60))),
        ..tidings_brokers::store::NewKey::named("app")
    };
    let (key, token) = store.create_key(key, clock.now()).unwrap();
    clock.advance(Duration::from_secs(1));
    let principal = bearer(&token).at(&door).await.unwrap();
    assert_eq!((&*principal.id, principal.key.as_deref()), ("app", Some(&*key.id)));
    assert!(principal.publish.allow("progress", "a") && !principal.publish.allow("other", "a"));
    let wrong = format!("{}x", token);
    assert_eq!(bearer(&wrong).who(&door).await, "401 invalid-credential");

    let ticket = door.issue_ticket(&principal, Duration::from_secs(30)).await.unwrap();
    assert_eq!(get(&format!("/?ticket={ticket}")).who(&door).await, "app");
    assert_eq!(get(&format!("/?ticket={ticket}")).who(&door).await, "401 invalid-credential");

    let of = Revocation::key(key.id.as_str());
    revoke(&revocations, of.clone(), clock.now().after(Duration::from_secs(600))).await;
    assert_eq!(bearer(&token).who(&door).await, "401 revoked-credential");
    let again = Revocations::open(store.clone(), clock.clone()).await.unwrap();
    assert!(again.refuse(&principal, false), "also after a restart");
    store.delete_key(&key.id).unwrap();
    assert_eq!(revocations.refresh().await.unwrap(), [of]);
    clock.advance(Duration::from_secs(60));
    assert_eq!(bearer(&token).who(&door).await, "401 invalid-credential");
}

fn sha256(text: &str) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_wrong_setting_is_named_with_its_place() {
    let program = Program::new();
    for (toml, place) in [
        ("[[sources]]\nkind = \"api-key\"\nin = [{ header = \"x\", query = \"y\" }]", "sources[0].in[0]"),
        ("[[sources]]\nkind = \"api-key\"\nkeys = [{ name = \"a\", sha256 = \"00\" }]", "sources[0].keys[0].sha256"),
        ("[[sources]]\nkind = \"api-key\"\nkeys = [{ name = \"a\" }]", "sources[0].keys[0]"),
        (
            "[[sources]]\nkind = \"api-key\"\nkeys = [{ name = \"a\", value = \"x\", grants = [\"/\"] }]",
            "sources[0].keys[0].grants[0]",
        ),
        ("[[sources]]\nkind = \"api-key\"\nstored = false", "sources[0]"),
        ("[[sources]]\nkind = \"ticket\"\n[[sources]]\nkind = \"jwt\"", "sources[1]"),
        ("[[sources]]\nkind = \"jwt\"\nsecret = \"short\"", "sources[0].secret"),
        (
            "[[sources]]\nkind = \"jwt\"\nsecret = \"0123456789abcdef\"\nalgorithms = [\"none\"]",
            "sources[0].algorithms[0]",
        ),
        (
            "[[sources]]\nkind = \"jwt\"\nsecret = \"0123456789abcdef\"\nalgorithms = [\"RS256\"]",
            "sources[0].algorithms[0]",
        ),
        ("[[sources]]\nkind = \"jwt\"\njwks_url = \"ftp://x\"", "sources[0].jwks_url"),
        ("[[sources]]\nkind = \"jwt\"\npublic_key = \"x\"", "sources[0].public_key"),
        ("[[sources]]\nkind = \"jwt\"\nsecret_env = \"TIDINGS_NO_SUCH\"", "sources[0].secret_env"),
        ("[[sources]]\nkind = \"proxy-header\"", "sources[0].trusted"),
        ("[[sources]]\nkind = \"proxy-header\"\ntrusted = [\"10.0.0.0/8\", \"x\"]", "sources[0].trusted[1]"),
        ("[[sources]]\nkind = \"forward\"", "sources[0].url"),
        ("[[sources]]\nkind = \"forward\"\nurl = \"http://a/\"", "sources[0].principal.id"),
        (
            "[[sources]]\nkind = \"forward\"\nurl = \"http://a/\"\nheaders = [\"host\"]\nprincipal.id = \"x\"",
            "sources[0].headers[0]",
        ),
        (
            "[[sources]]\nkind = \"forward\"\nurl = \"http://a/\"\nin = [{ cookie = \"c\" }, { payload = \"token\" }]\nprincipal.id = \"x\"",
            "sources[0].in[1]",
        ),
        (
            "[[sources]]\nkind = \"proxy-header\"\ntrusted = [\"::1\"]\nprincipal.about = \"{user}\"",
            "sources[0].principal.about",
        ),
        ("anonymous = { grants = [\"a//b\"] }", "anonymous.grants[0]"),
    ] {
        let error = program.try_open(toml).unwrap_err();
        assert_eq!(error.path, place, "{error}");
    }
}

#[test]
fn an_unknown_setting_and_an_unknown_kind_are_errors() {
    for toml in [
        "sourcs = []",
        "anonymous = \"allow\"",
        "[[sources]]\nkind = \"jwt\"\nsecrt = \"x\"",
        "[[sources]]\nkind = \"basic\"",
    ] {
        assert!(toml::from_str::<AuthSettings>(toml).is_err(), "{toml}");
    }
}

#[test]
fn no_secret_is_in_the_debug_text_of_settings() {
    let toml = r#"
        [[sources]]
        kind = "api-key"
        keys = [{ name = "a", value = "hunter2hunter2" }]
        [[sources]]
        kind = "jwt"
        secret = "hunter2hunter2"
        [[sources]]
        kind = "forward"
        url = "http://app/"
        set = { authorization = "Bearer hunter2hunter2" }
    "#;
    let settings: AuthSettings = toml::from_str(toml).unwrap();
    assert!(!format!("{settings:?}").contains("hunter2"), "{settings:?}");
    assert!(!format!("{settings:#?}").contains("hunter2"));
}

#[tokio::test]
async fn no_credential_is_in_a_refusal() {
    let door = Program::new().open(WALL);
    for ask in [
        get("/?apikey=hunter2hunter2"),
        get("/").with("x-api-key", "hunter2hunter2"),
        get("/").with("cookie", "sid=hunter2hunter2"),
        get("/").with("x-api-key", "hunter2a").with("x-api-key", "hunter2b"),
    ] {
        let problem = ask.at(&door).await.unwrap_err();
        assert!(!format!("{problem:?} {}", problem.body()).contains("hunter2"), "{problem:?}");
    }
}

proptest! {
    #[test]
    fn no_header_bytes_panic_or_let_anybody_in(
        key in proptest::collection::vec(any::<u8>(), 0..60),
        cookie in proptest::collection::vec(any::<u8>(), 0..60),
        user in proptest::collection::vec(any::<u8>(), 1..20),
        query in "[!-~]{0,40}",
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let door = Program::new().open(WALL);
            let mut ask = get("/").from("127.0.0.1");
            if let Ok(uri) = format!("/?{query}").parse() {
                ask.uri = uri;
            }
            for (name, bytes) in [("x-api-key", &key), ("cookie", &[b"sid=".as_slice(), &cookie].concat())] {
                if let Ok(value) = HeaderValue::from_bytes(bytes) {
                    ask.headers.insert(name, value);
                }
            }
            let _ = ask.at(&door).await;
            if let Ok(value) = HeaderValue::from_bytes(&user) {
                ask.headers.insert("x-forwarded-user", value);
            }
            let _ = ask.at(&door).await;
        });
    }
}
