//! The same of several replicas, which share their requests in NATS.

use std::sync::atomic::AtomicUsize;

use tidings::{Head, Page, Query, Tail};
use tidings_brokers::nats::{Engine, NatsSettings, NatsState};

use super::*;
use crate::nats_server::{NatsServer, until};

/// Replicas with one log and one clock.
struct Replicas {
    server: NatsServer,
    world: World,
    longest_wait: Duration,
}

impl Replicas {
    fn new() -> Self {
        Replicas { server: NatsServer::start(), world: World::new(), longest_wait: Duration::ZERO }
    }

    async fn open(&self) -> IdempotencyKeys {
        self.open_with(self.world.broker.clone()).await
    }

    async fn open_with(&self, broker: Arc<dyn Broker>) -> IdempotencyKeys {
        self.open_as(broker, self.server.settings()).await
    }

    async fn open_as(&self, broker: Arc<dyn Broker>, settings: NatsSettings) -> IdempotencyKeys {
        let engine = Engine::connect(settings).await.unwrap();
        let state = NatsState::open(engine).await.unwrap();
        IdempotencyKeys::open(state, broker, self.world.clock.clone(), self.longest_wait).await.unwrap()
    }

    fn pass(&self, time: Duration) {
        self.world.clock.advance(time);
    }

    fn last(&self) -> Offset {
        self.world.broker.head().last
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_with_one_key_at_two_replicas_at_once_one_publishes_and_all_hear_its_answer() {
    let replicas = Arc::new(Replicas::new());
    let keys = [Arc::new(replicas.open().await), Arc::new(replicas.open().await)];
    let published = Arc::new(AtomicUsize::new(0));
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..20 {
        let (keys, replicas, published) = (keys[client % 2].clone(), replicas.clone(), published.clone());
        clients.spawn(async move {
            loop {
                match begin(&keys, "k", b"1").await {
                    Ok(Begun::New(request)) => {
                        published.fetch_add(1, Ordering::SeqCst);
                        let answer = replicas.world.publish(request, 2).await;
                        keys.end(request, b"1", Ended::Answered(&answer)).await;
                        return answer;
                    }
                    Ok(Begun::Answered(answer)) => return answer,
                    Err(problem) => {
                        assert_eq!(problem.code, "request-under-way");
                        tokio::task::yield_now().await;
                    }
                }
            }
        });
    }
    let answers = clients.join_all().await;
    assert_eq!(published.load(Ordering::SeqCst), 1);
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(replicas.last(), Offset(2));
    assert_eq!(status(begin(&keys[0], "k", b"2").await), 422);
    assert_eq!(status(begin(&keys[1], "k", b"2").await), 422);
}

#[tokio::test]
async fn what_a_replica_published_before_it_crashed_is_answered_by_another_from_the_log() {
    let replicas = Replicas::new();
    replicas.world.broker.publish(vec![event(true)]).await.unwrap();
    let (crashed, other) = (replicas.open().await, replicas.open().await);
    let request = new(begin(&crashed, "k", b"1").await);
    let answer = replicas.world.publish(request, 3).await;
    drop(crashed);
    assert_eq!(status(begin(&other, "k", b"1").await), 409, "it may be at it");
    assert_eq!(status(begin(&other, "k", b"2").await), 422);
    replicas.pass(SLOW);
    assert_eq!(answered(begin(&other, "k", b"1").await), answer);
    assert_eq!(answered(begin(&replicas.open().await, "k", b"1").await), answer, "and it is kept");
    assert_eq!(replicas.last(), Offset(4));
}

#[tokio::test]
async fn what_a_replica_had_not_published_when_it_crashed_is_published_by_one_other() {
    let replicas = Replicas::new();
    let (crashed, a, b) = (replicas.open().await, replicas.open().await, replicas.open().await);
    let request = new(begin(&crashed, "k", b"1").await);
    drop(crashed);
    replicas.pass(SLOW);
    assert_eq!(status(begin(&a, "k", b"1").await), 409, "a publish may take longer");
    replicas.pass(LOST_ELSEWHERE);
    assert_eq!(new(begin(&a, "k", b"1").await), request);
    assert_eq!(status(begin(&b, "k", b"1").await), 409, "another is at it now");
    let answer = replicas.world.publish(request, 1).await;
    a.end(request, b"1", Ended::Answered(&answer)).await;
    assert_eq!(answered(begin(&b, "k", b"1").await), answer);
}

#[tokio::test]
async fn another_replica_is_given_as_long_as_its_publish_may_take() {
    let replicas = Replicas::new();
    let publish_timeout = Duration::from_secs(30);
    let settings = NatsSettings { publish_timeout, ..replicas.server.settings() };
    let (at_it, other) = (replicas.open().await, replicas.open_as(replicas.world.broker.clone(), settings).await);
    let request = new(begin(&at_it, "k", b"1").await);
    replicas.pass(publish_timeout);
    assert_eq!(status(begin(&other, "k", b"1").await), 409);
    replicas.pass(LOST_AFTER_TIMEOUT);
    assert_eq!(new(begin(&other, "k", b"1").await), request);
}

#[tokio::test]
async fn another_replica_is_given_as_long_as_it_may_hold_an_event_back() {
    let longest_wait = Duration::from_secs(60);
    let replicas = Replicas { longest_wait, ..Replicas::new() };
    let (at_it, other) = (replicas.open().await, replicas.open().await);
    let request = new(begin(&at_it, "k", b"1").await);
    replicas.pass(longest_wait);
    assert_eq!(
        status(begin(&other, "k", b"1").await),
        409,
        "what it holds back may be older than what was appended since"
    );
    replicas.pass(replicas.server.settings().publish_timeout + LOST_AFTER_TIMEOUT);
    assert_eq!(new(begin(&other, "k", b"1").await), request);
}

#[tokio::test]
async fn a_request_that_was_lost_here_is_not_begun_anew_while_another_replica_is_at_it() {
    let replicas = Replicas::new();
    let (a, b) = (replicas.open().await, replicas.open().await);
    let request = new(begin(&a, "k", b"1").await);
    replicas.pass(LOST);
    assert_eq!(new(begin(&b, "k", b"1").await), request);
    assert_eq!(status(begin(&a, "k", b"1").await), 409);
    b.end(request, b"1", Ended::Answered("of signals alone")).await;
    assert_eq!(answered(begin(&a, "k", b"1").await), "of signals alone");

    let request = new(begin(&a, "other", b"1").await);
    replicas.pass(LOST);
    assert_eq!(new(begin(&a, "other", b"1").await), request, "nobody is at it");
    assert_eq!(status(begin(&a, "other", b"1").await), 409);
    assert_eq!(status(begin(&b, "other", b"1").await), 409);
}

#[tokio::test]
async fn a_refused_request_is_free_at_every_replica_and_an_unclear_one_is_looked_for_first() {
    let replicas = Replicas::new();
    let (a, b) = (replicas.open().await, replicas.open().await);
    let request = new(begin(&a, "k", b"1").await);
    a.end(request, b"1", Ended::Refused).await;
    new(begin(&b, "k", b"2").await);
    b.end(request, b"2", Ended::Refused).await;

    let request = new(begin(&a, "k", b"3").await);
    a.end(request, b"3", Ended::Unclear).await;
    assert_eq!(status(begin(&b, "k", b"3").await), 409, "its events may be on their way");
    assert_eq!(new(begin(&a, "k", b"3").await), request, "who sent them knows that it does so no more");
    let answer = replicas.world.publish(request, 1).await;
    a.end(request, b"3", Ended::Unclear).await;
    assert_eq!(answered(begin(&a, "k", b"3").await), answer);
    assert_eq!(answered(begin(&b, "k", b"3").await), answer);
}

/// A log that is seen by a replica that is cut off from the others.
struct CutOff(Arc<dyn Broker>);

#[async_trait]
impl Broker for CutOff {
    async fn publish(&self, batch: Vec<NewEvent>) -> Result<Vec<Option<Offset>>, BrokerError> {
        self.0.publish(batch).await
    }
    async fn read(&self, query: Query) -> Result<Page, BrokerError> {
        self.0.read(query).await
    }
    fn head(&self) -> Head {
        self.0.head()
    }
    fn tail(&self, tail: Arc<dyn Tail>) {
        self.0.tail(tail);
    }
    fn standing(&self) -> Standing {
        Standing::CutOff
    }
}

#[tokio::test]
async fn a_replica_that_does_not_hear_the_others_publishes_nothing_that_may_be_published() {
    let replicas = Replicas::new();
    let (crashed, other) =
        (replicas.open().await, replicas.open_with(Arc::new(CutOff(replicas.world.broker.clone()))).await);
    let request = new(begin(&crashed, "k", b"1").await);
    replicas.pass(LOST);
    assert_eq!(status(begin(&other, "k", b"1").await), 503);
    let answer = replicas.world.publish(request, 1).await;
    assert_eq!(answered(begin(&other, "k", b"1").await), answer, "but what it sees counts");
}

#[tokio::test]
async fn while_nats_is_away_requests_with_a_key_are_refused_and_none_is_forgotten() {
    let mut replicas = Replicas::new();
    let keys = replicas.open().await;
    let request = new(begin(&keys, "k", b"1").await);
    let answer = replicas.world.publish(request, 1).await;
    replicas.server.kill();
    keys.end(request, b"1", Ended::Answered(&answer)).await;
    assert_eq!(answered(begin(&keys, "k", b"1").await), answer, "it is in the memory of this replica");
    assert_eq!(status(begin(&keys, "other", b"1").await), 503);
    replicas.server.restart();
    until("it takes requests again", async || matches!(begin(&keys, "other", b"1").await, Ok(Begun::New(_)))).await;
    replicas.pass(LOST);
    keys.0.clone().settle().await;
    assert_eq!(answered(begin(&replicas.open().await, "k", b"1").await), answer, "it was kept later");
}

#[tokio::test]
async fn two_answers_a_day_apart_are_two_requests() {
    let replicas = Replicas::new();
    let (a, b) = (replicas.open().await, replicas.open().await);
    let request = new(begin(&a, "k", b"1").await);
    a.end(request, b"1", Ended::Answered("old")).await;
    replicas.pass(ANSWERS_KEPT + Duration::from_millis(1));
    let request = new(begin(&b, "k", b"2").await);
    b.end(request, b"2", Ended::Answered("new")).await;
    assert_eq!(answered(begin(&a, "k", b"2").await), "new");
}
