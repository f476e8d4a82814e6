//! Which servers the engine takes: the real ones.

mod nats_server;

use nats_server::{NEWEST, NatsServer, connect};
use tidings_brokers::nats::{Engine, EngineError, NatsSettings, NatsTls, Version};

#[tokio::test]
async fn a_server_that_drops_settings_in_silence_is_refused_with_what_to_do() {
    let server = NatsServer::of("debian", "");
    let refused = Engine::connect(server.settings()).await.expect_err("2.9 is too old");
    assert!(matches!(refused, EngineError::Unfit(_)), "{refused:?}");
    let sentence = refused.to_string();
    assert!(sentence.contains("2.9.10") && sentence.contains("use 2.10.0 or newer"), "{sentence}");
}

#[tokio::test]
async fn every_line_of_servers_from_2_10_on_is_taken() {
    for version in ["2.10.26", "2.11.11", "2.12.8", NEWEST] {
        let server = NatsServer::of(version, "");
        let engine = connect(server.settings()).await;
        assert_eq!(engine.version(), Version::parse(version));
        assert_eq!(engine.copies(), 1);
    }
}

#[tokio::test]
async fn a_server_that_can_not_take_the_largest_event_is_refused_at_the_start() {
    let server = NatsServer::of(NEWEST, "max_payload: 64KB");
    let sentence = Engine::connect(server.settings()).await.expect_err("64 KB are too few").to_string();
    assert!(sentence.contains("65536") && sentence.contains("raise `max_payload`"), "{sentence}");
}

#[tokio::test]
async fn a_server_without_tls_is_refused_with_what_to_do_and_not_waited_for() {
    let server = NatsServer::start();
    let tls = NatsTls { required: true, ..NatsTls::default() };
    let refused = Engine::connect(NatsSettings { tls, ..server.settings() }).await.expect_err("it speaks no TLS");
    assert!(matches!(refused, EngineError::Unfit(_)), "{refused:?}");
    let sentence = refused.to_string();
    assert!(sentence.contains("speaks no TLS: leave `tls` away, or turn it on there"), "{sentence}");
}

#[tokio::test]
async fn nobody_there_is_told_with_the_address_and_without_secrets() {
    let settings = NatsSettings { servers: vec!["nats://me:secret@127.0.0.1:1".into()], ..NatsSettings::default() };
    let error = Engine::connect(settings).await.expect_err("nobody listens there");
    assert!(matches!(error, EngineError::Unreachable { .. }), "{error:?}");
    let sentence = error.to_string();
    assert!(sentence.contains("127.0.0.1:1") && !sentence.contains("secret"), "{sentence}");
}
