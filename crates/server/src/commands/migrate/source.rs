//! What one hub keeps on its disk.

use std::path::Path;
use std::sync::Arc;

use tidings::job::JobFiles;
use tidings::{Broker, SystemClock};
use tidings_brokers::{DiskBroker, DiskSettings, FileDirectory, OpenError, Retention, Store};

use crate::commands::Failure;

/// A data directory. While this is there no hub opens it.
pub(super) struct Source {
    pub log: Arc<dyn Broker>,
    /// Keys, revocations, answers, jobs; without the file there are none.
    pub store: Option<Arc<Store>>,
    pub files: Arc<dyn JobFiles>,
}

impl Source {
    pub fn open(dir: &Path) -> Result<Source, Failure> {
        let path = dir.join("log");
        let is_there = std::fs::read_dir(&path).is_ok_and(|mut files| files.next().is_some());
        if !is_there {
            return Err(Failure::new(format!(
                "there is no log at {}: --data says where the hub that is to go to replicas keeps what it keeps",
                path.display()
            )));
        }
        // Nothing goes from here, whatever the settings of the replicas are.
        let settings = DiskSettings { retention: Retention::FOREVER, ..DiskSettings::default() };
        let log = DiskBroker::open(&path, settings, Arc::new(SystemClock)).map_err(|error| match error {
            OpenError::InUse(_) => Failure::new(format!(
                "the hub whose data is in {} is running: stop it, so that nothing is added while it is moved",
                dir.display()
            )),
            error => Failure::new(error.to_string()),
        })?;
        let database = dir.join("tidings.db");
        let store = match database.exists() {
            true => Some(Arc::new(Store::open(&database).map_err(|error| {
                Failure::new(format!("the database {} can't be opened: {error}", database.display()))
            })?)),
            false => None,
        };
        Ok(Source { log: Arc::new(log), store, files: Arc::new(FileDirectory::new(dir.join("jobs"))) })
    }
}
