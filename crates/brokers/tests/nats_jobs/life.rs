//! The life of jobs at two replicas over a real server, log and all.

use std::sync::Arc;
use std::time::Duration;

use tidings::job::{JobFault, JobId, JobSettings, JobState, JobStore, Jobs, NewJob, Outcome, ProgressUpdate};
use tidings::{Hub, Limits, Offset, Query, SystemClock};
use tidings_brokers::nats::{NatsBroker, NatsJobs};

use crate::nats_server::{NatsServer, connect, patiently, until};

/// One program.
struct Replica {
    hub: Arc<Hub>,
    store: Arc<NatsJobs>,
    jobs: Arc<Jobs>,
}

impl Replica {
    async fn start(server: &NatsServer) -> Replica {
        let engine = connect(server.settings()).await;
        let broker = patiently(async || NatsBroker::open(engine.clone()).await).await;
        let hub = Hub::open(broker, [], Arc::new(SystemClock), Limits::default()).await.unwrap();
        let store = patiently(async || NatsJobs::open(engine.clone()).await).await;
        let jobs = Jobs::open(hub.clone(), store.clone(), JobSettings::default()).await.unwrap();
        Replica { hub, store, jobs }
    }

    async fn create(&self, name: &str, lease: u64) -> JobId {
        let id = Some(name.parse().unwrap());
        let lease = Some(Duration::from_secs(lease));
        let wanted = NewJob { id, kind: "k".into(), lease, ..NewJob::default() };
        self.jobs.create(wanted).await.unwrap().job.id
    }

    async fn claim(&self, wait: u64) -> Option<(JobId, String)> {
        let claimed = self.jobs.claim(None, &["k".into()], "w", None, Duration::from_secs(wait)).await.unwrap();
        claimed.map(|claimed| (claimed.job.id.clone(), claimed.lease))
    }

    async fn state(&self, id: &JobId) -> JobState {
        self.jobs.get(id).await.unwrap().unwrap().state
    }

    /// All that the log tells of a job.
    async fn told(&self, id: &JobId) -> Vec<String> {
        let topics = Some(Arc::from([format!("job/{id}").parse().unwrap()]));
        let query = Query { topics, after: Offset::START, until: Offset(u64::MAX), limit: 1_000, max_bytes: 1 << 20 };
        let page = self.hub.broker().read(query).await.unwrap();
        page.events.iter().map(|event| event.name.to_string()).collect()
    }
}

fn done(done: u64) -> ProgressUpdate {
    ProgressUpdate { done: Some(done), ..ProgressUpdate::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_goes_from_replica_to_replica_and_is_told_once() {
    let server = NatsServer::start();
    let (a, b) = (Replica::start(&server).await, Replica::start(&server).await);
    for n in 0..30 {
        let waiting = {
            let jobs = b.jobs.clone();
            tokio::spawn(async move { jobs.claim(None, &["k".into()], "w", None, Duration::from_secs(60)).await })
        };
        let id = a.create(&format!("j{n}"), 30).await;
        let claimed = waiting.await.unwrap().unwrap().expect("it is called");
        assert_eq!(claimed.job.id, id);
        let lease = claimed.lease;
        a.jobs.progress(&id, &lease, done(3)).await.unwrap();
        let items = (0..3).map(|n| bytes::Bytes::from(n.to_string())).collect::<Vec<_>>();
        a.jobs.append_items(&id, &lease, 0, items.clone(), true).await.unwrap();
        b.jobs.append_items(&id, &lease, 0, items, true).await.unwrap();
        b.jobs.heartbeat(&id, &lease, Duration::ZERO).await.unwrap();
        let job = a.jobs.finish(&id, &lease, Outcome::Completed(None)).await.unwrap();
        assert_eq!((job.state, job.items), (JobState::Completed, 3));
        let again = b.jobs.finish(&id, &lease, Outcome::Completed(None)).await.unwrap();
        assert_eq!(again.revision, job.revision);
        let told = ["job.queued", "job.running", "job.item", "job.item", "job.item", "job.completed"];
        assert_eq!(a.told(&id).await, told);
    }
    until("both know that all have ended", async || a.jobs.count_open() + b.jobs.count_open() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_is_heard_by_a_heartbeat_at_the_other_replica() {
    let server = NatsServer::start();
    let (a, b) = (Replica::start(&server).await, Replica::start(&server).await);
    let id = a.create("a", 30).await;
    let (_, lease) = b.claim(60).await.unwrap();
    let (jobs, its, shown) = (b.jobs.clone(), id.clone(), lease.clone());
    let beat = tokio::spawn(async move { jobs.heartbeat(&its, &shown, Duration::from_secs(50)).await });
    a.jobs.cancel(&id, Duration::ZERO).await.unwrap();
    let beat = tokio::time::timeout(Duration::from_secs(45), beat).await.expect("it is answered");
    assert!(beat.unwrap().unwrap().cancel);
    let waits = a.jobs.cancel(&id, Duration::from_secs(50));
    let (ended, finished) = tokio::join!(waits, b.jobs.finish(&id, &lease, Outcome::Canceled(None)));
    assert_eq!((ended.unwrap().state, finished.unwrap().state), (JobState::Canceled, JobState::Canceled));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_lives_at_one_replica_is_not_given_up_by_the_other_and_one_that_died_is() {
    let server = NatsServer::start();
    let (a, b) = (Replica::start(&server).await, Replica::start(&server).await);
    let id = a.create("a", 5).await;
    let (_, lease) = a.claim(60).await.unwrap();
    // Three leases long, and at the replica that has not given it out.
    for _ in 0..60 {
        b.jobs.heartbeat(&id, &lease, Duration::from_millis(250)).await.expect("it counts");
    }
    assert_eq!(a.jobs.get(&id).await.unwrap().unwrap().attempt, 1);
    let (again, other) = a.claim(60).await.expect("it is given out anew once its worker is silent");
    assert_eq!(again, id);
    assert_eq!(b.jobs.heartbeat(&id, &lease, Duration::ZERO).await, Err(JobFault::LeaseLost));
    b.jobs.finish(&id, &other, Outcome::Completed(None)).await.unwrap();
    let told = ["job.queued", "job.running", "job.queued", "job.running", "job.completed"];
    until("it is told at the other one", async || a.told(&id).await.len() >= told.len()).await;
    assert_eq!(a.told(&id).await, told);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_in_the_middle_takes_nothing_back_and_all_goes_on() {
    let mut server = NatsServer::start();
    let (a, b) = (Replica::start(&server).await, Replica::start(&server).await);
    let mut leases = Vec::new();
    for n in 0..20 {
        a.create(&format!("j{n}"), 300).await;
    }
    for _ in 0..10 {
        leases.push(b.claim(60).await.unwrap());
    }
    server.kill();
    until("it is away", async || a.store.is_away() && b.store.is_away()).await;
    for (id, lease) in &leases {
        let beat = a.jobs.heartbeat(id, lease, Duration::ZERO).await;
        assert!(matches!(beat, Err(JobFault::Unavailable(_))), "{beat:?}");
        let finished = b.jobs.finish(id, lease, Outcome::Completed(None)).await;
        assert!(matches!(finished, Err(JobFault::Unavailable(_))), "{finished:?}");
    }
    server.restart();
    for (n, (id, lease)) in leases.iter().enumerate() {
        let at = [&a, &b][n % 2];
        until("the end is taken", async || at.jobs.finish(id, lease, Outcome::Completed(None)).await.is_ok()).await;
    }
    for _ in 0..10 {
        until("the others are done", async || {
            let Ok(Some(claimed)) = a.jobs.claim(None, &["k".into()], "w", None, Duration::from_secs(1)).await else {
                return false;
            };
            let (id, lease) = (&claimed.job.id, &claimed.lease);
            until("it is done", async || b.jobs.finish(id, lease, Outcome::Completed(None)).await.is_ok()).await;
            true
        })
        .await;
    }
    until("all have ended", async || a.jobs.count_open() + b.jobs.count_open() == 0).await;
    for n in 0..20 {
        let id = format!("j{n}").parse().unwrap();
        assert_eq!(a.state(&id).await, JobState::Completed);
        until("it is told", async || a.told(&id).await.len() >= 3 && b.told(&id).await.len() >= 3).await;
        assert_eq!(b.told(&id).await, ["job.queued", "job.running", "job.completed"], "{id}");
    }
}
