//! What a subscriber asked for.

use std::sync::Arc;

use crate::event::NewEvent;
use crate::grant::Grants;
use crate::topic::TopicPattern;

/// What a subscriber asked for: topics and event names. Nothing asked means everything it may see.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Filter {
    /// Any of these topics; `None` is every topic, an empty list is none at all.
    pub topics: Option<Arc<[TopicPattern]>>,
    /// Any of these event names, as the publisher calls them; `None` is every name.
    pub names: Option<Arc<[Arc<str>]>>,
    /// And any of these, where several filters were put together by [`any_of`](Filter::any_of).
    either: Option<Arc<[Filter]>>,
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
        Filter { topics: Some(topics.into()), ..Filter::default() }
    }

    /// Nothing at all.
    pub fn nothing() -> Self {
        Filter::topics([])
    }

    /// What any of these asks for. The order doesn't matter: who asks for the same in another order is alike.
    pub fn any_of(filters: impl IntoIterator<Item = Filter>) -> Self {
        let mut all: Vec<Filter> = Vec::new();
        for filter in filters {
            if !all.contains(&filter) {
                all.push(filter);
            }
        }
        if all.len() <= 1 {
            return all.pop().unwrap_or_else(Filter::nothing);
        }
        if all.iter().all(|filter| filter.names.is_none() && filter.either.is_none()) {
            let topics: Option<Vec<_>> = all.iter().map(|filter| filter.topics.as_deref()).collect();
            return topics.map_or_else(Filter::all, |topics| Filter::topics(topics.into_iter().flatten().cloned()));
        }
        all.sort();
        // The topics and names that contain all of them, by which the registry and the log find candidates.
        let topics: Option<Vec<_>> = all.iter().map(|filter| filter.topics.as_deref()).collect();
        let names: Option<Vec<_>> = all.iter().map(|filter| filter.names.as_deref()).collect();
        let mut hull = match topics {
            Some(topics) => Filter::topics(topics.into_iter().flatten().cloned()),
            None => Filter::all(),
        };
        if let Some(names) = names {
            hull = hull.names(names.into_iter().flatten().cloned());
        }
        Filter { either: Some(all.into()), ..hull }
    }

    /// The same with only these event names.
    pub fn names(mut self, names: impl IntoIterator<Item = Arc<str>>) -> Self {
        let mut names: Vec<_> = names.into_iter().collect();
        names.sort();
        names.dedup();
        self.names = Some(names.into());
        self
    }

    /// Whether the event was asked for, where its topic is known to be among the topics.
    pub(crate) fn wants_found(&self, event: &NewEvent) -> bool {
        self.names.as_ref().is_none_or(|names| names.contains(&event.name))
            && self.either.as_ref().is_none_or(|either| either.iter().any(|filter| filter.wants(event)))
    }

    /// Whether the event was asked for.
    pub fn wants(&self, event: &NewEvent) -> bool {
        self.names.as_ref().is_none_or(|names| names.contains(&event.name))
            && self.topics.as_ref().is_none_or(|topics| topics.iter().any(|t| t.matches(event.topic.as_str())))
            && self.either.as_ref().is_none_or(|either| either.iter().any(|filter| filter.wants(event)))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::grant::Audience;
    use proptest::prelude::*;

    fn filter() -> impl Strategy<Value = Filter> {
        let topics = prop::option::of(prop::collection::vec("[ab*](/[ab*]){0,2}", 0..3));
        let names = prop::option::weighted(0.5, prop::collection::vec("[ef]", 0..2));
        (topics, names).prop_map(|(topics, names)| {
            let filter =
                topics.map_or_else(Filter::all, |list| Filter::topics(list.iter().map(|topic| topic.parse().unwrap())));
            match names {
                Some(names) => filter.names(names.iter().map(|name| name.as_str().into())),
                None => filter,
            }
        })
    }

    proptest! {
        /// Several filters together ask for just what one of them asks for, in whichever order, and again put together with more.
        #[test]
        fn any_of_wants_what_one_of_them_wants(
            filters in prop::collection::vec(filter(), 0..4),
            more in filter(),
            topic in "[ab](/[ab]){0,2}",
            name in "[efg]",
        ) {
            let event = NewEvent {
                name: name.as_str().into(),
                topic: topic.parse().unwrap(),
                data: "1".into(),
                scope: Default::default(),
                audience: Audience::default(),
                key: None,
                time: Timestamp(0),
                kept: true,
                dedup: None,
            };
            let together = Filter::any_of(filters.clone());
            prop_assert_eq!(together.wants(&event), filters.iter().any(|filter| filter.wants(&event)));
            prop_assert_eq!(&together, &Filter::any_of(filters.iter().rev().cloned()));
            let nested = Filter::any_of([together.clone(), more.clone()]);
            prop_assert_eq!(nested.wants(&event), together.wants(&event) || more.wants(&event));
        }
    }
}
