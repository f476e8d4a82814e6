//! All that keep the files of jobs keep the contract.

use std::cell::Cell;
use std::sync::Arc;

use tidings::job::JobFiles;
use tidings_brokers::{FileDirectory, files_contract};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let made = Cell::new(0);
    files_contract::all(async || {
        made.set(made.get() + 1);
        let path = directory.path().join(made.get().to_string());
        std::fs::create_dir(&path).unwrap();
        let files: Arc<dyn JobFiles> = Arc::new(FileDirectory::new(path));
        [files.clone(), files]
    })
    .await;
}
