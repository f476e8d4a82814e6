//! The ends of the jobs that a subscription names by their topics, also of those that nobody has at hand.

use std::sync::Arc;

use tidings::job::{self, JobFault, Jobs};
use tidings::{Entry, Filter, Grants, Hub, TopicPattern};

/// What is known of the ends of the jobs that a subscription names, before it is answered.
///
/// Memory has the states of all jobs that have not ended, and of others the latest. Which are missing is looked at where the subscription
/// begins: what becomes of a job from there on is read on from there.
#[derive(Debug, Default)]
pub(crate) struct Recalled {
    asked: Vec<TopicPattern>,
    ends: Vec<Arc<Entry>>,
}

impl Recalled {
    /// Somebody for whom this was looked up before.
    pub(crate) fn of(topic: Option<TopicPattern>, end: Option<Arc<Entry>>) -> Self {
        Recalled { asked: topic.into_iter().collect(), ends: end.into_iter().collect() }
    }

    /// Takes what is at hand, and gives back the topics of the jobs that `filter` names for which the store has to be asked.
    pub(crate) fn missing(&mut self, hub: &Hub, filter: &Filter) -> Vec<TopicPattern> {
        let mut missing = Vec::new();
        if filter.names.as_ref().is_some_and(|names| !names.iter().any(|name| job::is_end(name))) {
            return missing;
        }
        let is_job = |topic: &&TopicPattern| topic.is_literal() && job::is_topic(topic.as_str());
        for topic in filter.topics.iter().flat_map(|topics| topics.iter()).filter(is_job) {
            match hub.shown_state(topic.as_str()) {
                // Kept here: others may need the room in memory before the subscription is answered.
                Some(state) if job::is_end(&state.event.name) => self.ends.push(state),
                Some(_) => {}
                None if self.asked.contains(topic) => {}
                None => missing.push(topic.clone()),
            }
        }
        missing
    }

    /// Asks the store for them, on behalf of somebody who holds `grants`.
    pub(crate) async fn ask(
        &mut self,
        jobs: &Jobs,
        missing: Vec<TopicPattern>,
        grants: &Grants,
    ) -> Result<(), JobFault> {
        self.ends.extend(jobs.ends(&missing, grants).await?);
        self.asked.extend(missing);
        Ok(())
    }

    /// Those that are known.
    pub(crate) fn ends(&self) -> &[Arc<Entry>] {
        &self.ends
    }

    /// The same, to be kept.
    pub(crate) fn into_ends(self) -> Vec<Arc<Entry>> {
        self.ends
    }
}
