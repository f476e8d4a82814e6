//! Both brokers keep the contract.

use std::sync::Arc;

use tidings::SystemClock;
use tidings_brokers::{DiskBroker, DiskSettings, MemoryBroker, MemorySettings, Retention, contract};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_memory_broker_keeps_the_contract() {
    contract::all(async || Arc::new(MemoryBroker::new(MemorySettings { retention: Retention::FOREVER }))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_disk_broker_keeps_the_contract_in_segments_of_any_size() {
    for segment_bytes in [4_096, 20_000, 64 << 20] {
        let directory = tempfile::tempdir().unwrap();
        let made = std::cell::Cell::new(0);
        contract::all(async || {
            made.set(made.get() + 1);
            let settings = DiskSettings { retention: Retention::FOREVER, segment_bytes, write_ahead: 8_192 };
            let path = directory.path().join(made.get().to_string());
            Arc::new(DiskBroker::open(&path, settings, Arc::new(SystemClock)).unwrap())
        })
        .await;
    }
}
