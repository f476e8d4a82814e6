//! Doors of two replicas, which share what they know in NATS.

use std::time::Instant;

use tidings_brokers::nats::{Engine, NatsState};
use tidings_brokers::state::AccessStore;

use super::*;
use crate::nats_server::{NatsServer, until as eventually};

/// One of them, with its door.
struct Replica {
    state: Arc<NatsState>,
    context: AuthContext,
    door: Authenticator,
    ended: tokio::sync::mpsc::UnboundedReceiver<Revocation>,
}

impl Replica {
    async fn open(server: &NatsServer) -> Self {
        let state = NatsState::open(Engine::connect(server.settings()).await.unwrap()).await.unwrap();
        let (told, ended) = tokio::sync::mpsc::unbounded_channel();
        let revoke: RevokeCallback = Arc::new(move |of, _| drop(told.send(of)));
        let context = AuthContext::new(state.clone(), revoke.clone());
        context.revocations.refresh().await.unwrap();
        tokio::spawn(context.revocations.clone().watch(revoke));
        let door = Authenticator::new(&AuthSettings::default(), context.clone()).unwrap();
        Replica { state, context, door, ended }
    }

    async fn key(&self) -> (Key, String) {
        self.state.create_key(NewKey::named("app"), self.context.clock.now()).await.unwrap()
    }

    /// Whose live streams end next.
    async fn ends(&mut self) -> Revocation {
        tokio::time::timeout(Duration::from_secs(60), self.ended.recv()).await.expect("it is told").unwrap()
    }

    async fn revoke(&self, of: Revocation) {
        let until = self.context.clock.now().after(Duration::from_secs(600));
        revoke(&self.context.revocations, of, until).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_works_at_every_replica_at_once_and_ends_at_all_of_them() {
    let server = NatsServer::start();
    let (a, mut b) = (Replica::open(&server).await, Replica::open(&server).await);
    let (key, token) = a.key().await;
    assert_eq!(bearer(&token).who(&b.door).await, "app");
    assert_eq!(bearer(&token).who(&a.door).await, "app");
    assert_eq!(bearer("tdg_00000000_x").who(&b.door).await, "401 invalid-credential");
    assert!(a.state.delete_key(&key.id).await.unwrap());
    assert_eq!(b.ends().await, Revocation::key(key.id.as_str()));
    let deadline = Instant::now() + Duration::from_secs(60);
    while bearer(&token).who(&b.door).await == "app" {
        assert!(Instant::now() < deadline, "it is refused");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(bearer(&token).who(&b.door).await.starts_with("401 "), "and stays so");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_revoked_at_one_replica_is_out_at_the_others() {
    let server = NatsServer::start();
    let (a, mut b) = (Replica::open(&server).await, Replica::open(&server).await);
    let (key, token) = a.key().await;
    let principal = bearer(&token).at(&b.door).await.unwrap();
    for of in [Revocation::principal("app").within(Some("shelf".into())), Revocation::key(key.id.as_str())] {
        a.revoke(of.clone()).await;
        assert_eq!(b.ends().await, of);
    }
    assert!(b.context.revocations.refuse(&principal, false));
    assert_eq!(bearer(&token).who(&b.door).await, "401 revoked-credential");
    let third = Replica::open(&server).await;
    assert_eq!(bearer(&token).who(&third.door).await, "401 revoked-credential", "also at one that starts later");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_with_one_ticket_at_two_replicas_one_gets_in() {
    let server = NatsServer::start();
    let (a, b) = (Arc::new(Replica::open(&server).await), Arc::new(Replica::open(&server).await));
    let (_, token) = a.key().await;
    let principal = bearer(&token).at(&a.door).await.unwrap();
    let ticket = a.door.issue_ticket(&principal, Duration::from_secs(300)).await.unwrap();
    let mut guests = tokio::task::JoinSet::new();
    for guest in 0..50 {
        let (replica, ticket) = (if guest % 2 == 0 { a.clone() } else { b.clone() }, ticket.clone());
        guests.spawn(async move { get(&format!("/v1/events?ticket={ticket}")).who(&replica.door).await });
    }
    let answers = guests.join_all().await;
    assert_eq!(answers.iter().filter(|answer| *answer == "app").count(), 1);
    assert_eq!(answers.iter().filter(|answer| *answer == "401 invalid-credential").count(), 49);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_does_not_hear_of_revocations_for_long_lets_in_operators_alone_until_it_does() {
    let mut server = NatsServer::start();
    let a = Replica::open(&server).await;
    let (_, token) = a.key().await;
    let mut operator = NewKey::named("operator");
    operator.operator = true;
    let (_, operator) = a.state.create_key(operator, a.context.clock.now()).await.unwrap();
    server.kill();
    eventually("it sends them away", async || bearer(&token).who(&a.door).await == "503 cut-off").await;
    let problem = bearer(&token).at(&a.door).await.unwrap_err();
    assert_eq!(header(&problem, "retry-after"), "2");
    assert_eq!(bearer(&operator).who(&a.door).await, "operator");
    server.restart();
    eventually("it takes them again", async || bearer(&token).who(&a.door).await == "app").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_nats_is_away_known_keys_open_the_door_and_a_revocation_shuts_this_one() {
    let mut server = NatsServer::start();
    let mut a = Replica::open(&server).await;
    let (key, token) = a.key().await;
    let principal = bearer(&token).at(&a.door).await.unwrap();
    let ticket = a.door.issue_ticket(&principal, Duration::from_secs(300)).await.unwrap();
    server.kill();
    let with_ticket = get(&format!("/v1/events?ticket={ticket}"));
    assert_eq!(with_ticket.who(&a.door).await, "503 store-unavailable");
    assert_eq!(bearer("tdg_00000000_x").who(&a.door).await, "503 store-unavailable", "perhaps it is another replica's");
    assert_eq!(bearer(&token).who(&a.door).await, "app");
    let (of, until) = (Revocation::key(key.id.as_str()), a.context.clock.now().after(Duration::from_secs(600)));
    let at = a.context.revocations.shut_out(of.clone(), until);
    a.context.revocations.keep(of.clone(), at, until).await.unwrap_err();
    assert_eq!(bearer(&token).who(&a.door).await, "401 revoked-credential");

    server.restart();
    eventually("it is kept", async || a.context.revocations.keep(of.clone(), at, until).await.is_ok()).await;
    assert_eq!(with_ticket.who(&a.door).await, "401 revoked-credential", "the ticket is there, and its key is out");
    // What it has revoked itself is no news to it.
    let b = Replica::open(&server).await;
    b.revoke(Revocation::session("s")).await;
    eventually("it hears the others again", async || {
        a.ended.try_recv().is_ok_and(|of| {
            assert_eq!(of, Revocation::session("s"));
            true
        })
    })
    .await;
}
