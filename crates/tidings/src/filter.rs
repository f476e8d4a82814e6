//! What a subscriber asked for.

use std::sync::Arc;

use crate::event::NewEvent;
use crate::grant::Grants;
use crate::topic::TopicPattern;

/// What a subscriber asked for: topics and event names. Nothing asked means everything it may see.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Filter {
    /// Any of these topics; `None` is every topic, an empty list is none at all.
    pub topics: Option<Arc<[TopicPattern]>>,
    /// Any of these event names, as the publisher calls them; `None` is every name.
    pub names: Option<Arc<[Arc<str>]>>,
}

impl Filter {
    /// Everything.
    pub fn all() -> Self {
        Filter::default()
    }

    /// These topics. Sorted, so that two subscribers who ask for the same in another order are alike.
    pub fn topics(topics: impl IntoIterator<Item = TopicPattern>) -> Self {
        let mut topics: Vec<_> = topics.into_iter().collect();
        topics.sort();
        topics.dedup();
        Filter { topics: Some(topics.into()), names: None }
    }

    /// The same with only these event names.
    pub fn names(mut self, names: impl IntoIterator<Item = Arc<str>>) -> Self {
        let mut names: Vec<_> = names.into_iter().collect();
        names.sort();
        names.dedup();
        self.names = Some(names.into());
        self
    }

    /// Whether the event was asked for.
    pub fn wants(&self, event: &NewEvent) -> bool {
        self.names.as_ref().is_none_or(|names| names.contains(&event.name))
            && self.topics.as_ref().is_none_or(|topics| topics.iter().any(|t| t.matches(event.topic.as_str())))
    }

    /// The topics, if all of them are named without wildcards: then the log can seek by topic instead of reading on.
    pub fn literal_topics(&self) -> Option<&[TopicPattern]> {
        self.topics.as_deref().filter(|topics| topics.iter().all(TopicPattern::is_literal))
    }
}

/// A filter and the grants to check against: what decides whether a reader is given an event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Interest {
    /// What was asked for.
    pub filter: Filter,
    /// What is held.
    pub grants: Grants,
}

impl Interest {
    /// Whether the event was asked for and may be seen.
    pub fn covers(&self, event: &NewEvent) -> bool {
        self.filter.wants(event) && self.grants.meets(&event.audience).is_some()
    }
}
