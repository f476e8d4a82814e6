//! The log behind the window, for readers who have fallen behind it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::sync::{OnceCell, Semaphore};

use crate::broker::{Broker, BrokerError, Query};
use crate::cursor::Offset;
use crate::entry::Entry;
use crate::event::Event;
use crate::limits::Limits;
use crate::states::Ends;
use crate::topic::TopicPattern;

/// A page of the log, shared by the readers that stand at the same place.
#[derive(Debug)]
pub struct LogPage {
    /// The events, oldest first.
    pub entries: Vec<Arc<Entry>>,
    /// Where to read on.
    pub reached: Offset,
}

type Asked = (Option<Arc<[TopicPattern]>>, Offset);
type Shared = Arc<OnceCell<Arc<LogPage>>>;

/// Reads pages of the log, each once for all who ask for it at about the same time.
///
/// After a restart or a cut, thousands of clients come back to a few places: they share the read, the decoded events
/// and the encoded frames. The log is immutable, so a page is never wrong, only short.
pub struct History {
    broker: Arc<dyn Broker>,
    recent: Mutex<VecDeque<(Asked, Shared)>>,
    permits: Semaphore,
    page_events: usize,
    page_bytes: usize,
}

/// How many pages are remembered: at `Limits::page_bytes` each they are a few dozen megabytes at most.
const REMEMBERED_PAGES: usize = 32;

impl History {
    pub(crate) fn new(broker: Arc<dyn Broker>, limits: &Limits) -> Self {
        History {
            broker,
            recent: Mutex::default(),
            permits: Semaphore::new(limits.concurrent_reads.max(1)),
            page_events: limits.page_events.max(1),
            page_bytes: limits.page_bytes,
        }
    }

    /// The events after `after` and up to `until`, on `topics` if given (all without wildcards). Empty only if there is
    /// nothing more. `until` is what was announced: what is durable but not yet announced comes by the window.
    pub async fn read(
        &self,
        topics: Option<Arc<[TopicPattern]>>,
        after: Offset,
        until: Offset,
        entry: impl Fn(Event) -> Entry,
    ) -> Result<Arc<LogPage>, BrokerError> {
        let asked = (topics, after);
        let shared = self.shared(&asked);
        let page = shared
            .get_or_try_init(|| async {
                let _permit = self.permits.acquire().await.expect("the semaphore is never closed");
                let query = Query {
                    topics: asked.0.clone(),
                    after,
                    until,
                    limit: self.page_events,
                    max_bytes: self.page_bytes,
                };
                let page = self.broker.read(query).await?;
                // What comes behind an end of an earlier page is not known here.
                let mut ends = Ends::default();
                let told = page.events.into_iter().filter(|event| {
                    ends.take(event);
                    !ends.is_before(event)
                });
                let entries = told.map(|event| Arc::new(entry(event))).collect();
                Ok::<_, BrokerError>(Arc::new(LogPage { entries, reached: page.reached }))
            })
            .await;
        // An empty page, or none, is not remembered: at the end of the log there may be more the next time.
        if page.as_ref().map_or(true, |page| page.entries.is_empty()) {
            self.forget(&shared);
        }
        page.cloned()
    }

    fn shared(&self, asked: &Asked) -> Shared {
        let mut recent = self.recent.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some((_, shared)) = recent.iter().find(|(known, _)| known == asked) {
            return shared.clone();
        }
        if recent.len() >= REMEMBERED_PAGES {
            recent.pop_front();
        }
        let shared = Shared::default();
        recent.push_back((asked.clone(), shared.clone()));
        shared
    }

    fn forget(&self, shared: &Shared) {
        let mut recent = self.recent.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        recent.retain(|(_, known)| !Arc::ptr_eq(known, shared));
    }
}
