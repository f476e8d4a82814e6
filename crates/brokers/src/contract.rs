//! What every broker must do, written once. Each implementation runs it.
//!
//! A claim is a function that takes a fresh, empty broker with no retention bound and panics when the claim is false.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tidings::{Audience, Broker, BrokerError, Event, NewEvent, Offset, Query, Tail, Timestamp, TopicPattern};

/// An event for a test: `n` is its data. Some say which request they are of, each another one: what is published again with the same
/// is the same event to a broker that looks.
pub fn event(topic: &str, n: u64) -> NewEvent {
    static REQUESTS: AtomicU64 = AtomicU64::new(0);
    let request = || (u128::from(n) << 64 | u128::from(REQUESTS.fetch_add(1, Ordering::Relaxed))).to_be_bytes();
    NewEvent {
        name: "thing.changed".into(),
        topic: topic.parse().expect("the test's topic is valid"),
        data: Bytes::from(n.to_string()),
        scope: Bytes::from_static(b"{\"owner\":\"u1\"}"),
        audience: Audience::new(["role/viewer".parse().expect("a path")]),
        key: n.is_multiple_of(3).then(|| format!("key-{n}").into()),
        time: Timestamp(1_000 + n),
        kept: true,
        dedup: n.is_multiple_of(5).then(|| tidings::event::Dedup { request: request(), index: n as u32, of: 9 }),
    }
}

/// A signal for a test.
pub fn signal(topic: &str, n: u64) -> NewEvent {
    NewEvent { kept: false, ..event(topic, n) }
}

/// A query for everything after a place.
pub fn after(offset: Offset) -> Query {
    Query { topics: None, after: offset, until: Offset(u64::MAX), limit: 1_000, max_bytes: 1 << 20 }
}

/// A query for everything of some topics.
pub fn of(topics: &[&str]) -> Query {
    let topics = topics.iter().map(|topic| topic.parse::<TopicPattern>().expect("a topic")).collect();
    Query { topics: Some(topics), ..after(Offset::START) }
}

/// Remembers what it was told.
#[derive(Default)]
pub struct Recorder(Mutex<Vec<Event>>);

impl Recorder {
    /// All it was told so far.
    pub fn told(&self) -> Vec<Event> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Tail for Recorder {
    fn appended(&self, events: Vec<Event>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(events);
    }
}

/// Reads page by page to the end.
pub async fn read_all(broker: &dyn Broker, mut query: Query) -> Result<Vec<Event>, BrokerError> {
    let mut events = Vec::new();
    loop {
        let page = broker.read(query.clone()).await?;
        let reached = page.reached;
        let done = page.events.is_empty();
        assert!(reached >= query.after, "a page never goes back");
        assert!(page.events.len() <= query.limit, "a page keeps its limit");
        events.extend(page.events);
        if done || reached >= query.until {
            return Ok(events);
        }
        query.after = reached;
    }
}

async fn publish(broker: &dyn Broker, batch: Vec<NewEvent>) -> Vec<Option<Offset>> {
    broker.publish(batch).await.expect("a healthy broker takes it")
}

fn offsets(events: &[Event]) -> Vec<Offset> {
    events.iter().map(|event| event.offset).collect()
}

/// Every claim that takes a shared broker, each on one that `fresh` makes.
pub async fn all<B: Broker + 'static>(fresh: impl AsyncFn() -> Arc<B>) {
    an_empty_log_has_nothing_and_begins_at_the_start(&*fresh().await).await;
    what_was_published_reads_back_as_it_was(&*fresh().await).await;
    a_batch_of_nothing_returns_at_once(&*fresh().await).await;
    a_batch_has_its_places_in_its_order(&*fresh().await).await;
    the_tail_is_told_before_publish_returns(&*fresh().await).await;
    a_signal_has_its_place_among_the_told_but_none_in_the_log(&*fresh().await).await;
    a_page_keeps_its_bounds_and_says_how_far_it_reached(&*fresh().await).await;
    a_topic_is_read_alone(&*fresh().await).await;
    ten_thousand_events_read_back_page_by_page(&*fresh().await).await;
    concurrent_publishers_are_told_in_log_order_each_once(fresh().await).await;
}

/// Nothing in it, nothing before it.
pub async fn an_empty_log_has_nothing_and_begins_at_the_start(broker: &dyn Broker) {
    let head = broker.head();
    assert_eq!((head.trimmed, head.last, head.events), (Offset::START, Offset::START, 0));
    let page = broker.read(after(Offset::START)).await.expect("it reads");
    assert_eq!((page.events.len(), page.reached), (0, Offset::START));
    // A place that the log has not reached yet is not an error here: who knows the epochs decides.
    let page = broker.read(after(Offset(9))).await.expect("it reads");
    assert_eq!((page.events.len(), page.reached), (0, Offset(9)));
}

/// Byte for byte, with everything that belongs to an event.
pub async fn what_was_published_reads_back_as_it_was(broker: &dyn Broker) {
    let mut odd = event("user/ü/ä b", 0);
    odd.data = Bytes::from(vec![b'x'; 100_000]);
    odd.scope = Bytes::new();
    odd.audience = Audience::default();
    odd.key = Some("".into());
    odd.name = "n".into();
    let mut many = event("a", 1);
    many.audience = Audience::new((0..64).map(|n| format!("library/{n}/read").parse().expect("a path")));
    many.data = Bytes::new();
    let bodies = vec![odd, many, event("a", 15)];
    publish(broker, bodies.clone()).await;
    let read = read_all(broker, Query { max_bytes: 1, ..after(Offset::START) }).await.expect("it reads");
    assert_eq!(read.into_iter().map(|event| event.body).collect::<Vec<_>>(), bodies);
}

/// No place is taken and nobody is told.
pub async fn a_batch_of_nothing_returns_at_once(broker: &dyn Broker) {
    let told = Arc::new(Recorder::default());
    broker.tail(told.clone());
    assert_eq!(publish(broker, vec![]).await, []);
    assert!(told.told().is_empty());
}

/// The answers are in the batch's order, growing, and the head follows.
pub async fn a_batch_has_its_places_in_its_order(broker: &dyn Broker) {
    let first = publish(broker, (0..5).map(|n| event("a", n)).collect()).await;
    let second = publish(broker, vec![event("b", 5)]).await;
    let places: Vec<Offset> = first.into_iter().chain(second).flatten().collect();
    assert_eq!(places.len(), 6);
    assert!(places.is_sorted_by(|a, b| a < b) && places[0] > Offset::START);
    let read = read_all(broker, after(Offset::START)).await.expect("it reads");
    assert_eq!(offsets(&read), places);
    let head = broker.head();
    assert_eq!((head.last, head.events), (places[5], 6));
    assert!(head.bytes > 0);
}

/// Whoever published can rely on the hub knowing it.
pub async fn the_tail_is_told_before_publish_returns(broker: &dyn Broker) {
    let told = Arc::new(Recorder::default());
    broker.tail(told.clone());
    for n in 0..20 {
        let places = publish(broker, vec![event("a", n), event("b", n)]).await;
        let seen = told.told();
        assert_eq!(seen.len() as u64, 2 * (n + 1));
        assert_eq!(Some(seen[seen.len() - 1].offset), places[1]);
        assert_eq!(broker.head().last, seen[seen.len() - 1].offset);
    }
    let read = read_all(broker, after(Offset::START)).await.expect("it reads");
    assert_eq!(told.told(), read, "told and read are the same");
}

/// A signal is told of at its position, has no offset and is not kept.
pub async fn a_signal_has_its_place_among_the_told_but_none_in_the_log(broker: &dyn Broker) {
    let told = Arc::new(Recorder::default());
    broker.tail(told.clone());
    let places = publish(broker, vec![signal("a", 0), event("a", 1), signal("a", 2)]).await;
    assert!(places[0].is_none() && places[1].is_some() && places[2].is_none());
    assert_eq!(publish(broker, vec![signal("a", 3)]).await, [None]);
    publish(broker, vec![event("a", 4)]).await;
    let told = told.told();
    let order: Vec<_> = told.iter().map(|event| (event.data.clone(), event.offset == Offset::START)).collect();
    let expected = [("0", true), ("1", false), ("2", true), ("3", true), ("4", false)];
    assert_eq!(order, expected.map(|(data, is_signal)| (Bytes::from(data), is_signal)));
    let read = read_all(broker, after(Offset::START)).await.expect("it reads");
    assert_eq!(read.len(), 2);
    assert_eq!(broker.head().events, 2);
}

/// `limit`, `max_bytes`, `until` and `after`, and what `reached` promises.
pub async fn a_page_keeps_its_bounds_and_says_how_far_it_reached(broker: &dyn Broker) {
    let places: Vec<Offset> =
        publish(broker, (100..110).map(|n| event("a", n)).collect()).await.into_iter().flatten().collect();
    let read = async |query| {
        let page = broker.read(query).await.expect("it reads");
        (offsets(&page.events), page.reached)
    };
    let all = after(Offset::START);
    assert_eq!(read(Query { limit: 3, ..all.clone() }).await, (places[..3].to_vec(), places[2]));
    assert_eq!(read(Query { limit: 10, ..all.clone() }).await, (places.clone(), places[9]));
    assert_eq!(read(Query { limit: 0, ..all.clone() }).await, (vec![], Offset::START));
    // Three bytes of data each.
    assert_eq!(read(Query { max_bytes: 7, ..all.clone() }).await, (places[..2].to_vec(), places[1]));
    assert_eq!(read(Query { max_bytes: 0, ..all.clone() }).await, (places[..1].to_vec(), places[0]), "one is given");
    assert_eq!(read(Query { until: places[4], ..all.clone() }).await, (places[..5].to_vec(), places[4]));
    assert_eq!(read(Query { until: places[4], ..after(places[2]) }).await, (places[3..5].to_vec(), places[4]));
    assert_eq!(read(Query { until: places[4], ..after(places[6]) }).await, (vec![], places[6]));
    assert_eq!(read(after(places[9])).await, (vec![], places[9]));
}

/// Only the topics asked for, in log order, and `reached` passes over the others.
pub async fn a_topic_is_read_alone(broker: &dyn Broker) {
    let topics = ["library/1", "library/2", "user/1"];
    for n in 0..90 {
        publish(broker, vec![event(topics[n as usize % 3], n), event("noise", n)]).await;
    }
    let all = read_all(broker, after(Offset::START)).await.expect("it reads");
    for wanted in [&topics[..1], &topics[1..], &["nothing/here"][..], &["user/1", "user/1"][..]] {
        let expected: Vec<Event> = all.iter().filter(|event| wanted.contains(&event.topic.as_str())).cloned().collect();
        let page = broker.read(of(wanted)).await.expect("it reads");
        assert_eq!(page.events, expected);
        assert_eq!(page.reached, broker.head().last, "nothing more of it up to the end");
        let paged = read_all(broker, Query { limit: 7, ..of(wanted) }).await.expect("it reads");
        assert_eq!(paged, expected);
        let from = all[100].offset;
        let rest = broker.read(Query { after: from, ..of(wanted) }).await.expect("it reads");
        assert_eq!(rest.events, expected.iter().filter(|event| event.offset > from).cloned().collect::<Vec<_>>());
    }
}

/// Nothing is left out or doubled where one page ends and the next begins.
pub async fn ten_thousand_events_read_back_page_by_page(broker: &dyn Broker) {
    let bodies: Vec<NewEvent> = (0..10_000).map(|n| event(&format!("job/{}", n % 40), n)).collect();
    for chunk in bodies.chunks(500) {
        publish(broker, chunk.to_vec()).await;
    }
    for query in [
        Query { limit: 333, ..after(Offset::START) },
        Query { max_bytes: 1_000, limit: usize::MAX, ..after(Offset::START) },
    ] {
        let read = read_all(broker, query).await.expect("it reads");
        assert!(read.iter().map(|event| &event.body).eq(&bodies));
    }
    let one = read_all(broker, Query { limit: 17, ..of(&["job/7"]) }).await.expect("it reads");
    assert!(one.iter().map(|event| &event.body).eq(bodies.iter().skip(7).step_by(40)));
}

/// Whatever order publishers come in, the tail's order is the log's.
pub async fn concurrent_publishers_are_told_in_log_order_each_once(broker: Arc<dyn Broker>) {
    let told = Arc::new(Recorder::default());
    broker.tail(told.clone());
    let publishers: Vec<_> = (0..16)
        .map(|publisher| {
            let broker = broker.clone();
            tokio::spawn(async move {
                for n in 0..50 {
                    let batch = vec![event(&format!("p/{publisher}"), n), event("all", n)];
                    let places = publish(&*broker, batch).await;
                    assert_eq!(places[0].map(Offset::next), places[1], "a batch stays together");
                }
            })
        })
        .collect();
    for publisher in publishers {
        publisher.await.expect("no publisher fails");
    }
    let told = told.told();
    assert_eq!(told.len(), 16 * 50 * 2);
    assert!(told.is_sorted_by(|a, b| a.offset < b.offset));
    assert_eq!(read_all(&*broker, after(Offset::START)).await.expect("it reads"), told);
    for publisher in 0..16 {
        let own = read_all(&*broker, of(&[&format!("p/{publisher}")])).await.expect("it reads");
        let order: Vec<String> = own.iter().map(|event| String::from_utf8_lossy(&event.data).into_owned()).collect();
        assert_eq!(order, (0..50).map(|n| n.to_string()).collect::<Vec<_>>(), "each publisher's own order");
    }
}
