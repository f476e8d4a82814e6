//! All stores of jobs keep the contract.

mod nats_server;

use std::cell::Cell;

use nats_server::{NatsServer, patiently};
use tidings::job::MemoryJobs;
use tidings_brokers::nats::{Engine, NatsJobs, NatsSettings};
use tidings_brokers::{Store, job_contract};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_jobs_in_memory_keep_the_contract() {
    job_contract::all(MemoryJobs::default).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_in_memory_keeps_the_contract() {
    job_contract::all(|| Store::in_memory().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_on_disk_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let made = Cell::new(0);
    job_contract::all(|| {
        made.set(made.get() + 1);
        Store::open(&directory.path().join(format!("{}.db", made.get()))).unwrap()
    })
    .await;
}

#[tokio::test]
async fn a_program_with_one_thread_keeps_it_as_well() {
    job_contract::all(|| Store::in_memory().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_in_nats_keep_the_contract() {
    let (server, made) = (NatsServer::start(), Cell::new(0));
    job_contract::all_of(async || {
        made.set(made.get() + 1);
        let settings = NatsSettings { hub: format!("h{}", made.get()), ..server.settings() };
        patiently(async || NatsJobs::open(Engine::connect(settings.clone()).await?).await).await
    })
    .await;
}
