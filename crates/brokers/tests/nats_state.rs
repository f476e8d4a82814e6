//! The state that replicas share, while NATS goes away, comes back, forgets, and is asked a lot.

mod nats_server;

use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use async_nats::jetstream::{self, stream};
use futures_util::StreamExt;
use nats_server::{Link, LinkState, NEWEST, NatsCluster, NatsServer, connect, fresh, patiently, until};
use tidings::Timestamp;
use tidings_brokers::StateStore;
use tidings_brokers::nats::{Engine, EngineError, NatsSettings, NatsState};
use tidings_brokers::state::{AccessStore, Claimed, RequestStore, StateError};
use tidings_brokers::state_contract::{self, answer, claim, revocation, rights};
use tidings_brokers::store::NewKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A replica with a connection of its own. A cluster that was just started is given a while to find its leaders.
async fn replica(settings: &NatsSettings) -> Arc<NatsState> {
    patiently(async || NatsState::open(Engine::connect(settings.clone()).await?).await).await
}

async fn key(state: &NatsState) -> (String, String) {
    let (key, token) = state.create_key(NewKey::named("a"), Timestamp(5)).await.unwrap();
    (key.id, token)
}

async fn knows(state: &NatsState, token: &str) -> bool {
    state.key_of(token).await.is_ok_and(|key| key.is_some())
}

async fn revoked(state: &NatsState) -> Vec<String> {
    state.revocations(Timestamp(9)).await.unwrap().into_iter().map(|revocation| revocation.value).collect()
}

fn is_unavailable<T>(result: Result<T, StateError>) -> bool {
    matches!(result, Err(StateError::Unavailable(_)))
}

#[tokio::test]
async fn a_cluster_that_keeps_three_copies_keeps_the_contract() {
    let cluster = NatsCluster::start(3);
    let settings = NatsSettings { copies: Some(3), ..cluster.settings() };
    replica(&fresh(settings.clone())).await;
    state_contract::all(async || {
        let settings = fresh(settings.clone());
        [replica(&settings).await as Arc<dyn StateStore>, replica(&settings).await]
    })
    .await;
}

#[tokio::test]
async fn while_nats_is_away_what_is_known_counts_and_the_rest_is_unavailable_at_once() {
    let mut server = NatsServer::start();
    let state = replica(&server.settings()).await;
    let (_, token) = key(&state).await;
    state.revoke(&revocation("u1", None, 5, 100)).await.unwrap();
    state.put_ticket([1; 32], "x", Timestamp(10)).await.unwrap();
    server.kill();
    until("it is told that NATS is away", async || is_unavailable(state.put_ticket([2; 32], "x", Timestamp(10)).await))
        .await;

    let asked = Instant::now();
    assert!(knows(&state, &token).await);
    assert_eq!(revoked(&state).await, ["u1"]);
    assert!(is_unavailable(state.key_of("tdg_00000000_x").await), "perhaps another replica has made it");
    assert!(is_unavailable(state.take_ticket([1; 32], Timestamp(9)).await));
    assert!(is_unavailable(state.revoke(&revocation("u2", None, 5, 100)).await));
    assert!(is_unavailable(state.create_key(rights(), Timestamp(5)).await));
    assert!(is_unavailable(state.claim([1; 16], &claim(1, 5)).await));
    assert!(asked.elapsed() < Duration::from_secs(20), "nobody waits for what can't come");

    server.restart();
    until("tickets are taken again", async || {
        state.take_ticket([1; 32], Timestamp(9)).await.is_ok_and(|taken| taken.as_deref() == Some("x"))
    })
    .await;
    assert!(knows(&state, &token).await);
    until("an unknown key is known to be unknown", async || state.key_of("tdg_00000000_x").await == Ok(None)).await;
}

#[tokio::test]
async fn a_server_that_is_killed_loses_nothing_and_the_copies_are_right_again() {
    let mut server = NatsServer::start();
    let (a, b) = (replica(&server.settings()).await, replica(&server.settings()).await);
    let (_, first) = key(&a).await;
    let Ok(Claimed::New(held)) = a.claim([1; 16], &claim(1, 5)).await else { panic!("it is new") };
    a.answer([1; 16], held, &answer("the answer", 5)).await.unwrap();
    for round in 0..3 {
        a.revoke(&revocation(&format!("before {round}"), None, 5, 100)).await.unwrap();
        server.kill();
        server.restart();
        let name = format!("after {round}");
        until("it takes revocations again", async || b.revoke(&revocation(&name, None, 5, 100)).await.is_ok()).await;
        until("both know both", async || {
            let of = async |state| revoked(state).await.len();
            of(&a).await == 2 * (round + 1) && of(&b).await == 2 * (round + 1)
        })
        .await;
    }
    let (_, second) = key(&b).await;
    let again = replica(&server.settings()).await;
    for state in [&a, &b, &again] {
        until("keys of before and after", async || knows(state, &first).await && knows(state, &second).await).await;
        assert_eq!(revoked(state).await.len(), 6);
        until("the answer is kept", async || {
            let kept = state.claim([1; 16], &claim(9, 6)).await;
            kept.is_ok_and(|kept| kept == Claimed::Answered(answer("the answer", 5)))
        })
        .await;
    }
}

#[tokio::test]
async fn what_changed_while_a_replica_was_cut_off_is_seen_when_it_is_back() {
    let server = NatsServer::start();
    let link = Link::to(&server).await;
    let (a, b) = (replica(&server.settings()).await, replica(&link.settings()).await);
    for (round, trouble) in [LinkState::Cut, LinkState::Silent].into_iter().enumerate() {
        let ((deleted, old), (_, kept)) = (key(&a).await, key(&a).await);
        until("both are known", async || knows(&b, &old).await && knows(&b, &kept).await).await;
        let seen = b.changed(None).await.unwrap();
        link.set(trouble);
        until("it is cut off", async || is_unavailable(b.key_of("tdg_00000000_x").await)).await;
        a.delete_key(&deleted).await.unwrap();
        a.revoke(&revocation(&format!("u{round}"), None, 5, 100)).await.unwrap();
        let (_, new) = key(&a).await;
        assert!(knows(&b, &old).await && knows(&b, &kept).await && !knows(&b, &new).await);
        link.set(LinkState::Open);
        until("it has seen all of it", async || {
            !knows(&b, &old).await && knows(&b, &new).await && revoked(&b).await.len() == round + 1
        })
        .await;
        assert!(knows(&b, &kept).await);
        assert_ne!(b.changed(Some(seen)).await.unwrap(), seen, "whoever waits is told");
    }
}

#[tokio::test]
async fn many_unknown_tokens_at_once_are_one_question() {
    let server = NatsServer::start();
    let state = replica(&server.settings()).await;
    let spy = async_nats::connect(server.url()).await.unwrap();
    let mut questions = spy.subscribe("$JS.API.STREAM.MSG.GET.>").await.unwrap();
    spy.flush().await.unwrap();
    let begun = Instant::now();
    let guess = |guess| {
        let state = state.clone();
        Box::pin(async move { state.key_of(&format!("tdg_{guess:08}_x")).await })
    };
    let mut guests: Vec<_> = (0..1_000).map(guess).collect();
    // All have come before any of them is answered.
    let all_come = std::future::poll_fn(|context| {
        assert!(guests.iter_mut().all(|guest| guest.as_mut().poll(context).is_pending()));
        Poll::Ready(())
    });
    tokio::task::unconstrained(all_come).await;
    assert!(futures_util::future::join_all(guests).await.into_iter().all(|key| key == Ok(None)));
    // After it the spy has heard them all.
    spy.publish("$JS.API.STREAM.MSG.GET.end", "".into()).await.unwrap();
    let heard = questions.by_ref().take_while(|question| {
        let is_end = question.subject.ends_with(".end");
        std::future::ready(!is_end)
    });
    let count = heard.filter(|question| std::future::ready(question.subject.ends_with("_keys"))).count().await;
    // One that was under way when the others came, and the one that they share; and once a second it is asked in any case.
    let most = 3 + begun.elapsed().as_secs() as usize;
    assert!((1..=most).contains(&count), "{count} questions");
}

#[tokio::test]
async fn a_bucket_that_somebody_else_made_otherwise_is_refused_with_what_to_do() {
    let server = NatsServer::start();
    let client = jetstream::new(async_nats::connect(server.url()).await.unwrap());
    for of in ["keys", "revocations", "tickets", "requests"] {
        let settings = fresh(server.settings());
        let engine = connect(settings.clone()).await;
        let bucket = engine.bucket_name(of);
        let foreign = stream::Config {
            name: format!("KV_{bucket}"),
            subjects: vec![format!("$KV.{bucket}.>")],
            max_messages_per_subject: 5,
            ..stream::Config::default()
        };
        client.create_stream(foreign).await.unwrap();
        let refused = NatsState::open(engine).await.unwrap_err();
        assert!(matches!(refused, EngineError::Unfit(_)), "{refused:?}");
        let sentence = refused.to_string();
        assert!(sentence.contains(&bucket) && sentence.contains("another name"), "{sentence}");
    }
}

/// Takes the consumers of a bucket away, as a server that dies does with those it has in memory.
async fn lose_consumers(server: &NatsServer, bucket: &str) {
    let context = jetstream::new(async_nats::connect(server.url()).await.unwrap());
    let stream = context.get_stream(bucket).await.unwrap();
    let names: Vec<String> = stream.consumer_names().map(|name| name.unwrap()).collect().await;
    for name in names {
        stream.delete_consumer(&name).await.unwrap();
    }
}

#[tokio::test]
async fn who_is_shut_out_is_so_within_a_second_also_where_the_consumer_was_lost() {
    let server = NatsServer::start();
    // Without a hint it takes longer each time; with one, a machine that is slow for the moment may take longer once.
    for round in 0..8 {
        if shut_out_after_loss(&server, &format!("u{round}")).await < Duration::from_secs(1) {
            return;
        }
    }
    panic!("it took longer each time");
}

/// How long a revocation and the end of a key take to arrive where the consumers of both have just been lost.
async fn shut_out_after_loss(server: &NatsServer, who: &str) -> Duration {
    let (a, b) = (replica(&server.settings()).await, replica(&server.settings()).await);
    let (id, token) = key(&a).await;
    until("it is known", async || knows(&b, &token).await).await;
    lose_consumers(server, "KV_tidings_hub_keys").await;
    lose_consumers(server, "KV_tidings_hub_revocations").await;
    let seen = b.changed(None).await.unwrap();
    let lost = Instant::now();
    a.revoke(&revocation(who, None, 5, 100)).await.unwrap();
    assert!(a.delete_key(&id).await.unwrap());
    let is_out = async || revoked(&b).await.iter().any(|name| name == who);
    until("both are known", async || b.key_ids().await.unwrap().is_empty() && is_out().await).await;
    let took = lost.elapsed();
    assert_ne!(b.changed(Some(seen)).await.unwrap(), seen, "whoever waits is told");
    took
}

#[tokio::test]
async fn the_first_key_of_all_is_not_unknown_to_a_replica_that_has_not_heard_of_it() {
    let server = NatsServer::start();
    let (a, b) = (replica(&server.settings()).await, replica(&server.settings()).await);
    lose_consumers(&server, "KV_tidings_hub_keys").await;
    let (id, token) = key(&a).await;
    let found = b.key_of(&token).await;
    assert!(is_unavailable(found.clone()) || found.unwrap().is_some_and(|key| key.id == id));
}

#[tokio::test]
async fn what_is_not_heard_of_for_seconds_is_not_current() {
    let server = NatsServer::start();
    let state = replica(&server.settings()).await;
    until("it is current", async || state.is_current()).await;
    let context = jetstream::new(async_nats::connect(server.url()).await.unwrap());
    context.delete_stream("KV_tidings_hub_revocations").await.unwrap();
    until("it says so", async || !state.is_current()).await;
    replica(&server.settings()).await;
    until("it is again", async || state.is_current()).await;
}

/// A link that holds back the first answer of the client about flow control until the server has said that it waits for it.
async fn stalling_link(server: &NatsServer) -> NatsSettings {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings =
        NatsSettings { servers: vec![format!("nats://{}", listener.local_addr().unwrap())], ..server.settings() };
    let target = server.url().trim_start_matches("nats://").to_owned();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = tokio::net::TcpStream::connect(&target).await.unwrap();
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            let (stalled, waits) = tokio::sync::watch::channel(false);
            tokio::spawn(pump(near_in, far_out, async move |bytes| {
                if holds(bytes, "$JS.FC.") {
                    let _ = waits.clone().wait_for(|stalled| *stalled).await;
                }
            }));
            tokio::spawn(pump(far_in, near_out, async move |bytes| {
                if holds(bytes, "Nats-Consumer-Stalled") {
                    stalled.send_replace(true);
                }
            }));
        }
    });
    settings
}

fn holds(bytes: &[u8], word: &str) -> bool {
    bytes.windows(word.len()).any(|window| window == word.as_bytes())
}

async fn pump(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut look: impl AsyncFnMut(&[u8]),
) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        look(&buffer[..length]).await;
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_waits_before_it_sends_the_rest_is_not_taken_for_one_that_has_sent_all() {
    const REVOKED: usize = 12_000;
    for version in [NEWEST, "2.12.8"] {
        let server = NatsServer::of(version, "");
        let a = replica(&server.settings()).await;
        let revoked = futures_util::stream::iter(0..REVOKED).map(|number| {
            let a = a.clone();
            async move { a.revoke(&revocation(&format!("u{number}"), None, 5, 100)).await }
        });
        let revoked: Vec<_> = revoked.buffer_unordered(64).collect().await;
        assert!(revoked.iter().all(Result::is_ok));
        let b = replica(&stalling_link(&server).await).await;
        assert_eq!(b.revocations(Timestamp(9)).await.unwrap().len(), REVOKED, "{version}");
    }
}

#[tokio::test]
async fn buckets_that_were_made_anew_are_read_anew() {
    let server = NatsServer::start();
    let settings = server.settings();
    let a = replica(&settings).await;
    let (_, old) = key(&a).await;
    let (_, other) = key(&a).await;
    let context = jetstream::new(async_nats::connect(server.url()).await.unwrap());
    context.delete_stream("KV_tidings_hub_keys").await.unwrap();
    until("it is missed", async || is_unavailable(a.key_of("tdg_00000000_x").await)).await;
    assert!(knows(&a, &old).await, "what is known counts until something else is known");
    let b = replica(&settings).await;
    let (_, new) = key(&b).await;
    until("the old ones are gone", async || !knows(&a, &old).await && !knows(&a, &other).await).await;
    until("the new one is known", async || knows(&a, &new).await).await;
}

#[tokio::test]
async fn secrets_are_not_in_the_buckets() {
    let server = NatsServer::start();
    let state = replica(&server.settings()).await;
    let (id, token) = key(&state).await;
    let context = jetstream::new(async_nats::connect(server.url()).await.unwrap());
    let kept = context.get_key_value("tidings_hub_keys").await.unwrap().get(format!("k.{id}")).await.unwrap();
    let text = String::from_utf8(kept.expect("other programs read it too").to_vec()).unwrap();
    let secret = token.rsplit_once(&id).unwrap().1.trim_start_matches('_');
    assert!(text.contains("secret_sha256") && !text.contains(secret), "{text}");
}
