//! Signed tokens: what is accepted, and each attack.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use serde_json::{Value, json};

use super::app::{App, Reply, status};
use super::signer::{RSA_PUBLIC, SECRET, Signer};
use super::*;

fn claims() -> Value {
    json!({
        "sub": "ann", "exp": NOW + 60, "iat": NOW - 5, "jti": "login-1", "aud": "hub", "iss": "https://id.example",
        "role": ["admin", "editor"], "libraries": [{"id": "l1", "role": "read"}],
    })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn settings(key: &str) -> String {
    format!(
        r#"
        [[sources]]
        kind = "jwt"
        {key}
        audience = ["hub"]
        issuer = ["https://id.example"]
        principal = {{ grants = ["user/{{claims.sub}}", "role/{{claims.role}}", "team/{{claims.team}}",
            "library/{{claims.libraries.id}}/{{claims.libraries.role}}"], operator = {{ "claims.role" = "admin" }} }}
    "#
    )
}

fn hmac_door(program: &Program) -> Authenticator {
    program.open(&settings(&format!("secret = {SECRET:?}")))
}

fn hs256(claims: Value) -> String {
    Signer::hmac().token(json!({"alg": "HS256"}), claims)
}

#[tokio::test]
async fn claims_become_a_principal() {
    let program = Program::new();
    let door = hmac_door(&program);
    let principal = bearer(&hs256(claims())).at(&door).await.unwrap();
    assert_eq!((&*principal.id, principal.session.as_deref(), principal.source), ("ann", Some("login-1"), "jwt"));
    assert_eq!(principal.grants.to_string(), "everyone library/l1/read role/admin role/editor user/ann");
    assert_eq!(principal.expires_at, Some(Timestamp((NOW + 60) * 1000)));
    assert_eq!(principal.issued_at, Some(Timestamp((NOW - 5) * 1000)));
    assert!(principal.operator);
    let again = bearer(&hs256(claims())).at(&door).await.unwrap();
    assert!(Arc::ptr_eq(&principal, &again), "a token's connections share one principal");
}

#[tokio::test]
async fn every_algorithm_is_checked_with_its_key() {
    let program = Program::new();
    let signers = [
        ("RS256", Signer::rsa()),
        ("RS384", Signer::rsa()),
        ("RS512", Signer::rsa()),
        ("PS256", Signer::rsa()),
        ("ES256", Signer::ec("ES256")),
        ("ES384", Signer::ec("ES384")),
        ("EdDSA", Signer::ed()),
    ];
    for (algorithm, signer) in signers {
        let door = program.open(&settings(&format!("public_key = '''{}'''", signer.pem())));
        let token = signer.token(json!({"alg": algorithm, "kid": "any"}), claims());
        assert_eq!(bearer(&token).who(&door).await, "ann", "{algorithm}");
        let (message, _) = token.rsplit_once('.').unwrap();
        let other = signer.token(json!({"alg": algorithm}), with("sub", json!("eve")));
        let (_, signature) = other.rsplit_once('.').unwrap();
        let spliced = format!("{message}.{signature}");
        assert_eq!(bearer(&spliced).who(&door).await, "401 invalid-credential", "{algorithm}");
    }
    let door = hmac_door(&program);
    for algorithm in ["HS256", "HS384", "HS512"] {
        let token = Signer::hmac().token(json!({"alg": algorithm}), claims());
        assert_eq!(bearer(&token).who(&door).await, "ann", "{algorithm}");
    }
}

#[tokio::test]
async fn a_token_that_is_not_ours_is_refused() {
    let program = Program::new();
    let door = hmac_door(&program);
    let good = hs256(claims());
    let parts: Vec<&str> = good.split('.').collect();
    let none = |alg: &str| format!("{}.{}.", B64.encode(json!({"alg": alg}).to_string()), parts[1]);
    let with_header = |header: Value| Signer::hmac().token(header, claims());
    for (token, why) in [
        (none("none"), "alg none"),
        (none("NONE"), "alg NONE"),
        (none("HS256"), "no signature"),
        (with_header(json!({"alg": "hs256"})), "algorithms are case-sensitive"),
        (with_header(json!({"alg": "HS256", "crit": ["exp"]})), "crit"),
        (with_header(json!({"alg": "HS256", "b64": false, "crit": ["b64"]})), "b64"),
        (with_header(json!({"alg": ["HS256"]})), "alg is no text"),
        (with_header(json!({"typ": "JWT"})), "no alg"),
        (format!("{}.{}", parts[0], parts[1]), "two parts"),
        (format!("{good}.x"), "four parts"),
        (format!("{}.{}.{}=", parts[0], parts[1], parts[2]), "padding"),
        (format!("{}.!!.{}", parts[0], parts[2]), "bad base64"),
        (format!("{}.{}.{}", parts[0], parts[1], &parts[2][..20]), "a short signature"),
        (good[..good.len() - 4].to_owned() + "AAAA", "a wrong signature"),
        ("....".into(), "dots"),
        ("x".repeat(100_000), "huge"),
        (format!("{}.{}.{}", parts[0], "A".repeat(20_000), parts[2]), "huge with dots"),
        (Signer::Hmac(b"another secret of some length".to_vec()).token(json!({"alg": "HS256"}), claims()), "secret"),
        (Signer::hmac().token(json!({"alg": "HS256"}), json!(["ann"])), "claims are no object"),
    ] {
        let problem = bearer(&token).at(&door).await.unwrap_err();
        assert_eq!(problem.status, 401, "{why}");
        assert!(header(&problem, "www-authenticate").contains("invalid_token"), "{why}");
    }
}

#[tokio::test]
async fn a_public_key_is_never_taken_for_a_secret() {
    let program = Program::new();
    let door = program.open(&settings(&format!("public_key = '''{RSA_PUBLIC}'''")));
    for secret in [RSA_PUBLIC.as_bytes().to_vec(), RSA_PUBLIC.trim().into()] {
        let forged = Signer::Hmac(secret).token(json!({"alg": "HS256"}), claims());
        assert_eq!(bearer(&forged).who(&door).await, "401 invalid-credential");
    }
    let right = Signer::rsa().token(json!({"alg": "RS256"}), claims());
    assert_eq!(bearer(&right).who(&door).await, "ann");
}

#[tokio::test]
async fn an_algorithm_that_is_not_listed_is_refused() {
    let program = Program::new();
    let door = program.open(&settings(&format!("secret = {SECRET:?}\nalgorithms = [\"HS512\"]")));
    assert_eq!(bearer(&hs256(claims())).who(&door).await, "401 invalid-credential");
    assert_eq!(bearer(&Signer::hmac().token(json!({"alg": "HS512"}), claims())).who(&door).await, "ann");
}

#[tokio::test]
async fn claims_that_do_not_hold_are_refused() {
    let program = Program::new();
    let door = hmac_door(&program);
    let mut without_expiry = claims();
    without_expiry.as_object_mut().unwrap().remove("exp");
    for (claims, code) in [
        (with("exp", json!(NOW)), "401 expired-credential"),
        (with("exp", json!(NOW as f64 - 0.5)), "401 expired-credential"),
        (with("exp", json!(-1)), "401 expired-credential"),
        (with("exp", json!("later")), "401 invalid-credential"),
        (without_expiry, "401 invalid-credential"),
        (with("nbf", json!(NOW + 11)), "401 invalid-credential"),
        (with("nbf", json!(NOW + 10)), "ann"),
        (with("aud", json!("other")), "401 invalid-credential"),
        (with("aud", json!(null)), "401 invalid-credential"),
        (with("aud", json!(["other", "hub"])), "ann"),
        (with("iss", json!("https://evil.example")), "401 invalid-credential"),
        (with("sub", json!(null)), "401 invalid-credential"),
        (with("exp", json!(1e300)), "ann"),
    ] {
        assert_eq!(bearer(&hs256(claims.clone())).who(&door).await, code, "{claims}");
    }
}

#[tokio::test]
async fn a_token_made_for_somebody_is_refused_where_no_audience_is_set() {
    let program = Program::new();
    let open = |more: &str| program.open(&format!("[[sources]]\nkind = \"jwt\"\nsecret = {SECRET:?}\n{more}"));
    assert_eq!(bearer(&hs256(claims())).who(&open("")).await, "401 invalid-credential");
    assert_eq!(bearer(&hs256(with("aud", json!(null)))).who(&open("")).await, "ann");
    assert_eq!(bearer(&hs256(claims())).who(&open("audience = [\"*\"]")).await, "ann");
}

#[tokio::test]
async fn a_remembered_token_is_refused_from_its_expiry_on() {
    let program = Program::new();
    let door = program.open(&format!("anonymous = {{ grants = [] }}\n{}", settings(&format!("secret = {SECRET:?}"))));
    let token = hs256(claims());
    assert_eq!(bearer(&token).who(&door).await, "ann");
    program.pass(59);
    assert_eq!(bearer(&token).who(&door).await, "ann");
    program.pass(1);
    assert_eq!(bearer(&token).who(&door).await, "401 expired-credential");
}

fn set(signers: &[(&str, &Signer)], max_age: u32) -> Reply {
    let keys: Vec<Value> = signers.iter().map(|(id, signer)| signer.jwk(id)).collect();
    let headers = vec![("cache-control", format!("public, max-age={max_age}"))];
    Reply::Now(200, headers, json!({"keys": keys}).to_string())
}

#[tokio::test]
async fn keys_are_fetched_kept_and_rotated() {
    let (program, app) = (Program::new(), App::start().await);
    let door = program.open(&settings(&format!("jwks_url = {:?}", app.url("/keys"))));
    let (old, new) = (Signer::ec("ES256"), Signer::ed());
    let old_token = |sub: &str| old.token(json!({"alg": "ES256", "kid": "old"}), with("sub", json!(sub)));
    let new_token = |sub: &str| new.token(json!({"alg": "EdDSA", "kid": "new"}), with("sub", json!(sub)));
    app.say("/keys", set(&[("old", &old), ("secret", &Signer::hmac())], 300));
    assert_eq!(bearer(&old_token("a")).who(&door).await, "a");
    assert_eq!(bearer(&old_token("b")).who(&door).await, "b");
    assert_eq!(app.asked(), 1, "fetched once for all");
    let symmetric = Signer::hmac().token(json!({"alg": "HS256", "kid": "secret"}), claims());
    assert_eq!(bearer(&symmetric).who(&door).await, "401 invalid-credential", "a secret in a key set is no key");
    assert_eq!(app.asked(), 0);

    // The publisher rotates: an unknown key id is a reason to ask, but not each time.
    app.say("/keys", set(&[("old", &old), ("new", &new)], 300));
    assert_eq!(bearer(&new_token("a")).who(&door).await, "401 invalid-credential", "asked only a moment ago");
    program.pass(10);
    assert_eq!(bearer(&new_token("a")).who(&door).await, "a");
    assert_eq!(app.asked(), 1);
    let made_up = |n: u32| new.token(json!({"alg": "EdDSA", "kid": n.to_string()}), claims());
    program.pass(10);
    for n in 0..20 {
        assert_eq!(bearer(&made_up(n)).who(&door).await, "401 invalid-credential");
    }
    assert_eq!(app.asked(), 1, "made-up key ids make us ask once in a while");
    assert_eq!(bearer(&new.token(json!({"alg": "EdDSA"}), with("sub", json!("nokid")))).who(&door).await, "nokid");
}

#[tokio::test]
async fn old_keys_stay_when_the_publisher_is_away_and_leave_when_it_withdraws_them() {
    let (program, app) = (Program::new(), App::start().await);
    let door = program.open(&settings(&format!("jwks_url = {:?}", app.url("/keys"))));
    let (old, new) = (Signer::ec("ES384"), Signer::ed());
    let late = |sub: &str| json!({"sub": sub, "aud": "hub", "iss": "https://id.example", "exp": NOW + 100_000});
    let token = |sub: &str| old.token(json!({"alg": "ES384", "kid": "old"}), late(sub));
    app.say("/keys", set(&[("old", &old)], 60));
    assert_eq!(bearer(&token("a")).who(&door).await, "a");
    app.say("/keys", status(500));
    program.pass(61);
    assert_eq!(bearer(&token("b")).who(&door).await, "b");
    let unknown = new.token(json!({"alg": "EdDSA", "kid": "new"}), late("c"));
    assert_eq!(bearer(&unknown).who(&door).await, "503 keys-unavailable", "it may exist, so it is not called wrong");
    app.say("/keys", set(&[("new", &new)], 60));
    program.pass(61);
    assert_eq!(bearer(&token("d")).who(&door).await, "401 invalid-credential");
    assert_eq!(bearer(&unknown).who(&door).await, "c");
}

#[tokio::test]
async fn without_any_key_yet_it_is_not_known_who_asks() {
    let (program, app) = (Program::new(), App::start().await);
    let door = program
        .open(&format!("anonymous = {{ grants = [] }}\n{}", settings(&format!("jwks_url = {:?}", app.url("/keys")))));
    let signer = Signer::ed();
    let token = signer.token(json!({"alg": "EdDSA", "kid": "k"}), claims());
    let problem = bearer(&token).at(&door).await.unwrap_err();
    assert_eq!((problem.status.as_u16(), header(&problem, "retry-after").as_str()), (503, "2"));
    app.say("/keys", set(&[("k", &signer)], 60));
    program.pass(1);
    assert_eq!(bearer(&token).who(&door).await, "ann");
}
