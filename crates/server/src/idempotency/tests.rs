use std::sync::atomic::{AtomicBool, Ordering};

use tidings::event::Dedup;
use tidings::{Audience, Grants, ManualClock, NewEvent, Timestamp};
use tidings_brokers::memory::{MemoryBroker, MemorySettings};
use tidings_brokers::state::ANSWERS_KEPT;
use tidings_brokers::{DiskBroker, DiskSettings, Store};

mod shared;

use super::settle::RECORD_EVERY;
use super::*;

fn who(id: &str) -> Principal {
    Principal::new(id, Grants::default(), "api-key")
}

fn event(kept: bool) -> NewEvent {
    NewEvent {
        name: "a".into(),
        topic: "t".parse().unwrap(),
        data: "1".into(),
        scope: Default::default(),
        audience: Audience::default(),
        key: None,
        time: Timestamp(1_000),
        kept,
        dedup: None,
    }
}

struct World {
    store: Arc<Store>,
    broker: Arc<dyn Broker>,
    clock: Arc<ManualClock>,
}

impl World {
    fn new() -> Self {
        World {
            store: Arc::new(Store::in_memory().unwrap()),
            broker: Arc::new(MemoryBroker::new(MemorySettings::default())),
            clock: Arc::new(ManualClock::at(Timestamp(1_000))),
        }
    }

    async fn open(&self) -> IdempotencyKeys {
        IdempotencyKeys::open(self.store.clone(), self.broker.clone(), self.clock.clone(), Duration::ZERO)
            .await
            .unwrap()
    }

    /// Publishes `count` events as a request with this number does, and returns its answer.
    async fn publish(&self, request: [u8; 16], count: u32) -> String {
        let dedup = |index| Some(Dedup { request, index, of: count });
        let batch = (0..count).map(|index| NewEvent { dedup: dedup(index), ..event(true) }).collect();
        let places = self.broker.publish(batch).await.unwrap();
        let epoch = self.broker.head().epoch;
        let cursor = |offset: Option<Offset>| Cursor { epoch, offset: offset.unwrap() }.to_string();
        let results: Vec<_> = places.into_iter().map(|place| serde_json::json!({ "cursor": cursor(place) })).collect();
        serde_json::json!({ "results": results }).to_string()
    }
}

async fn begin(keys: &IdempotencyKeys, key: &str, body: &[u8]) -> Result<Begun, Problem> {
    keys.begin(&who("p"), key, body).await
}

fn new(begun: Result<Begun, Problem>) -> [u8; 16] {
    match begun.unwrap() {
        Begun::New(request) => request,
        Begun::Answered(answer) => panic!("was answered before: {answer}"),
    }
}

fn answered(begun: Result<Begun, Problem>) -> String {
    match begun.unwrap() {
        Begun::New(_) => panic!("would be published again"),
        Begun::Answered(answer) => answer,
    }
}

fn status(begun: Result<Begun, Problem>) -> u16 {
    begun.unwrap_err().status.as_u16()
}

#[tokio::test]
async fn a_retry_hears_the_first_answer_also_after_a_restart() {
    let world = World::new();
    let keys = world.open().await;
    let request = new(begin(&keys, "k", b"1").await);
    keys.end(request, b"1", Ended::Answered("the answer")).await;
    assert_eq!(answered(begin(&keys, "k", b"1").await), "the answer");
    drop(keys);
    assert_eq!(answered(begin(&world.open().await, "k", b"1").await), "the answer");
}

#[tokio::test]
async fn another_body_is_refused_and_another_principal_has_keys_of_its_own() {
    let world = World::new();
    let keys = world.open().await;
    let request = new(begin(&keys, "k", b"1").await);
    assert_eq!(status(begin(&keys, "k", b"2").await), 422);
    keys.end(request, b"1", Ended::Answered("the answer")).await;
    assert_eq!(status(begin(&keys, "k", b"2").await), 422);
    let other = new(keys.begin(&who("q"), "k", b"2").await);
    assert_ne!(request, other);
    // The byte between keeps (p, xk) and (px, k) apart.
    assert_ne!(number(&who("p"), "xk"), number(&who("px"), "k"));
    let of_app = Principal { namespace: Some("app".into()), ..who("p") };
    assert_ne!(number(&of_app, "k"), number(&who("p"), "k"), "p of an app is somebody else");
}

#[tokio::test]
async fn one_that_is_under_way_is_a_409_that_says_when_and_a_failed_one_may_be_sent_again() {
    let world = World::new();
    let keys = world.open().await;
    let request = new(begin(&keys, "k", b"1").await);
    let problem = begin(&keys, "k", b"1").await.unwrap_err();
    assert_eq!(problem.status, StatusCode::CONFLICT);
    assert!(problem.headers.iter().any(|(name, value)| name == header::RETRY_AFTER && value == "1"));
    keys.end(request, b"1", Ended::Refused).await;
    assert_eq!(new(begin(&keys, "k", b"2").await), request);
}

#[tokio::test]
async fn after_a_crash_between_publish_and_answer_a_retry_hears_the_same_and_nothing_is_published_twice() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at(Timestamp(1_000)));
    let open = || World {
        store: Arc::new(Store::open(&directory.path().join("tidings.db")).unwrap()),
        broker: Arc::new(
            DiskBroker::open(&directory.path().join("log"), DiskSettings::default(), clock.clone()).unwrap(),
        ),
        clock: clock.clone(),
    };
    let world = open();
    let keys = world.open().await;
    world.broker.publish(vec![event(true)]).await.unwrap();
    let request = new(begin(&keys, "k", b"1").await);
    let answer = world.publish(request, 3).await;
    // The crash: neither `end` nor any goodbye.
    drop((keys, world));

    let world = open();
    let keys = world.open().await;
    assert_eq!(answered(begin(&keys, "k", b"1").await), answer);
    assert_eq!(world.broker.head().last, Offset(4));
    drop((keys, world));
    // And it was kept: the next start does not look at this part of the log any more.
    let world = open();
    assert_eq!(world.store.place("idempotency").unwrap().map(|place| place.offset), Some(Offset(4)));
    assert_eq!(answered(begin(&world.open().await, "k", b"1").await), answer);
}

#[tokio::test]
async fn a_request_that_is_only_in_part_in_the_log_is_published_as_a_whole() {
    let world = World::new();
    let keys = world.open().await;
    let request = new(begin(&keys, "k", b"1").await);
    let half = NewEvent { dedup: Some(Dedup { request, index: 0, of: 2 }), ..event(true) };
    world.broker.publish(vec![half]).await.unwrap();
    assert_eq!(new(begin(&world.open().await, "k", b"1").await), request);
}

#[tokio::test]
async fn a_client_that_left_while_it_was_published_hears_the_answer_when_it_comes_back() {
    let world = World::new();
    let keys = world.open().await;
    let request = new(begin(&keys, "k", b"1").await);
    let answer = world.publish(request, 2).await;
    // Its handler was dropped: `end` is never called.
    assert_eq!(status(begin(&keys, "k", b"1").await), 409);
    world.clock.advance(SLOW);
    assert_eq!(answered(begin(&keys, "k", b"1").await), answer);
}

#[tokio::test]
async fn a_request_that_never_reached_the_log_may_be_sent_again_after_a_while() {
    let world = World::new();
    let keys = world.open().await;
    new(begin(&keys, "k", b"1").await);
    world.clock.advance(SLOW);
    assert_eq!(status(begin(&keys, "k", b"1").await), 409);
    world.clock.advance(LOST);
    new(begin(&keys, "k", b"1").await);
    // Of two that come then, one.
    assert_eq!(status(begin(&keys, "k", b"1").await), 409);
}

#[tokio::test]
async fn requests_that_nobody_comes_back_for_are_settled_and_leave_no_trace_in_memory() {
    let world = World::new();
    let keys = world.open().await;
    let published = new(begin(&keys, "published", b"1").await);
    let answer = world.publish(published, 1).await;
    new(begin(&keys, "lost", b"1").await);
    world.clock.advance(LOST);
    keys.0.clone().settle().await;
    assert_eq!(keys.0.state().begun.len(), 0);
    assert_eq!(answered(begin(&keys, "published", b"1").await), answer);
}

#[tokio::test]
async fn an_answer_is_forgotten_after_a_day_and_its_key_is_free() {
    let world = World::new();
    let keys = world.open().await;
    let request = new(begin(&keys, "k", b"1").await);
    keys.end(request, b"1", Ended::Answered("old")).await;
    world.clock.advance(ANSWERS_KEPT + Duration::from_millis(1));
    let request = new(begin(&keys, "k", b"2").await);
    keys.end(request, b"2", Ended::Answered("new")).await;
    assert_eq!(answered(begin(&keys, "k", b"2").await), "new");
}

#[tokio::test]
async fn the_place_that_is_recorded_never_passes_a_request_that_is_under_way() {
    let world = World::new();
    let keys = world.open().await;
    let slow = new(begin(&keys, "slow", b"1").await);
    let after = world.broker.head().last;
    let slow_answer = world.publish(slow, 1).await;
    for _ in 0..RECORD_EVERY / 1024 + 1 {
        world.broker.publish(vec![event(true); 1024]).await.unwrap();
    }
    let quick = new(begin(&keys, "quick", b"1").await);
    keys.end(quick, b"1", Ended::Answered("quick")).await;
    assert_eq!(world.store.place("idempotency").unwrap().map(|place| place.offset), Some(after));
    keys.end(slow, b"1", Ended::Answered(&slow_answer)).await;
    assert_eq!(world.store.place("idempotency").unwrap().map(|place| place.offset), Some(world.broker.head().last));
}

/// A store whose disk is full while `full`.
struct Full {
    store: Store,
    full: AtomicBool,
}

#[async_trait]
impl RequestStore for Full {
    fn keeps_claims(&self) -> bool {
        self.store.keeps_claims()
    }
    async fn claim(&self, request: [u8; 16], claim: &Claim) -> Result<Claimed, StateError> {
        self.store.claim(request, claim).await
    }
    async fn take_over(&self, request: [u8; 16], held: Held, claim: &Claim) -> Result<Option<Held>, StateError> {
        self.store.take_over(request, held, claim).await
    }
    async fn answer(&self, request: [u8; 16], held: Held, answer: &Answer) -> Result<(), StateError> {
        if self.full.load(Ordering::SeqCst) {
            return Err(StateError::Full("no room".into()));
        }
        self.store.answer(request, held, answer).await
    }
    async fn give_up(&self, request: [u8; 16], held: Held) -> Result<(), StateError> {
        self.store.give_up(request, held).await
    }
    async fn known_until(&self) -> Result<Option<Cursor>, StateError> {
        self.store.known_until().await
    }
    async fn record(&self, known_until: Cursor) -> Result<(), StateError> {
        self.store.record(known_until).await
    }
}

#[tokio::test]
async fn an_answer_that_the_store_does_not_take_is_still_given_and_kept_later() {
    let world = World::new();
    let store = Arc::new(Full { store: Store::in_memory().unwrap(), full: AtomicBool::new(true) });
    let keys =
        IdempotencyKeys::open(store.clone(), world.broker.clone(), world.clock.clone(), Duration::ZERO).await.unwrap();
    let request = new(begin(&keys, "k", b"1").await);
    keys.end(request, b"1", Ended::Answered("the answer")).await;
    assert_eq!(answered(begin(&keys, "k", b"1").await), "the answer");
    store.full.store(false, Ordering::SeqCst);
    world.clock.advance(LOST);
    keys.0.clone().settle().await;
    assert_eq!(store.store.idempotent_get(request, world.clock.now()).unwrap().unwrap().answer, "the answer");
    assert_eq!(keys.0.state().begun.len(), 0);
}

#[test]
fn a_client_that_leaves_before_it_is_known_to_be_new_can_come_back_at_once() {
    // One thread for what blocks, which the test can hold up: so the store has not answered when the client leaves.
    let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let world = World::new();
        let keys = world.open().await;
        let (go, held) = std::sync::mpsc::channel::<()>();
        tokio::task::spawn_blocking(move || held.recv());
        // Polled once: it has its place and waits for the store. Then its handler is dropped.
        {
            let mut left = std::pin::pin!(begin(&keys, "k", b"1"));
            let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(left.as_mut().poll(cx).is_pending())).await;
            assert!(polled && keys.0.state().begun.len() == 1);
        }
        go.send(()).unwrap();
        new(begin(&keys, "k", b"1").await);
    });
}

#[tokio::test]
async fn there_is_a_bound_on_those_under_way() {
    let world = World::new();
    let keys = world.open().await;
    for index in 0..UNDER_WAY {
        new(begin(&keys, &index.to_string(), b"1").await);
    }
    assert_eq!(status(begin(&keys, "one more", b"1").await), 503);
}
