//! Who is interested in an event, found without asking everybody.

use std::collections::HashMap;

use slab::Slab;
use smallvec::SmallVec;

use crate::event::NewEvent;
use crate::filter::Interest;
use crate::path_index::{PathId, PathIndex};

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// The subscribers of one lane (or of the async driver), grouped by what they are interested in.
///
/// Subscribers with the same interest form a *class*: whether they get an event, and as which bytes, is decided once for all of them.
/// A class is indexed under each pair of a topic it asked for and a grant it holds. An event looks up the pairs of its topic and
/// its audience, so that a publish costs what it reaches: a class on other topics, or without the grant, is never touched.
#[derive(Debug)]
pub struct Registry<T> {
    classes: Slab<Class<T>>,
    by_key: Map<(Interest, u32), usize>,
    topics: PathIndex,
    grants: PathIndex,
    pairs: Map<(PathId, PathId), SmallVec<[u32; 2]>>,
    /// Counts the look-ups, so that a class found by two pairs is visited once.
    visit: u64,
}

/// Subscribers who get the same events as the same bytes.
#[derive(Debug)]
pub struct Class<T> {
    /// What they asked for and hold.
    pub interest: Interest,
    /// What else they share, as the owner numbers it: the stream's settings and codec.
    pub tag: u32,
    /// The subscribers, as the owner keeps them.
    pub members: T,
    pairs: Box<[(PathId, PathId)]>,
    visited: u64,
}

/// Stands for "every topic" in a pair.
const EVERY_TOPIC: &str = "**";

impl<T: Default> Default for Registry<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Default> Registry<T> {
    /// Nobody.
    pub fn new() -> Self {
        Registry {
            classes: Slab::new(),
            by_key: Map::default(),
            topics: PathIndex::default(),
            grants: PathIndex::default(),
            pairs: Map::default(),
            visit: 0,
        }
    }

    /// The class with this interest, made if there is none yet.
    pub fn enter(&mut self, interest: Interest, tag: u32) -> usize {
        let key = (interest, tag);
        if let Some(&id) = self.by_key.get(&key) {
            return id;
        }
        let topics: SmallVec<[PathId; 4]> = match &key.0.filter.topics {
            None => std::iter::once(self.topics.add(EVERY_TOPIC)).collect(),
            Some(topics) => topics.iter().map(|topic| self.topics.add(topic.as_str())).collect(),
        };
        let grants: SmallVec<[PathId; 8]> = key.0.grants.iter().map(|grant| self.grants.add(grant.as_str())).collect();
        let pairs: Box<[_]> = topics.iter().flat_map(|&t| grants.iter().map(move |&g| (t, g))).collect();
        let entry = self.classes.vacant_entry();
        let id = entry.key();
        let number = u32::try_from(id).expect("a lane holds fewer than 2^32 classes");
        for pair in &pairs {
            self.pairs.entry(*pair).or_default().push(number);
        }
        entry.insert(Class { interest: key.0.clone(), tag, members: T::default(), pairs, visited: 0 });
        self.by_key.insert(key, id);
        id
    }

    /// Removes a class that has no members any more.
    pub fn leave(&mut self, id: usize) -> Option<T> {
        let class = self.classes.try_remove(id)?;
        for pair in &class.pairs {
            if let Some(list) = self.pairs.get_mut(pair) {
                list.retain(|&mut other| other as usize != id);
                if list.is_empty() {
                    self.pairs.remove(pair);
                }
            }
        }
        match &class.interest.filter.topics {
            None => self.topics.remove(EVERY_TOPIC),
            Some(topics) => topics.iter().for_each(|topic| self.topics.remove(topic.as_str())),
        }
        class.interest.grants.iter().for_each(|grant| self.grants.remove(grant.as_str()));
        self.by_key.remove(&(class.interest, class.tag));
        Some(class.members)
    }

    /// Calls `visit` once for each class that asked for the event and may see it.
    pub fn matching(&mut self, event: &NewEvent, mut visit: impl FnMut(usize, &mut Class<T>)) {
        let mut topics: SmallVec<[PathId; 8]> = SmallVec::new();
        self.topics.matching(event.topic.as_str(), |id| topics.push(id));
        if topics.is_empty() {
            return;
        }
        let mut grants: SmallVec<[PathId; 8]> = SmallVec::new();
        for grant in event.audience.grants() {
            self.grants.matching(grant.as_str(), |id| {
                if !grants.contains(&id) {
                    grants.push(id);
                }
            });
        }
        self.visit += 1;
        for &topic in &topics {
            for &grant in &grants {
                let Some(ids) = self.pairs.get(&(topic, grant)) else { continue };
                for &id in ids {
                    let class = &mut self.classes[id as usize];
                    if class.visited == self.visit {
                        continue;
                    }
                    class.visited = self.visit;
                    if class.interest.filter.wants_found(event) {
                        visit(id as usize, class);
                    }
                }
            }
        }
    }

    /// The class.
    pub fn get(&self, id: usize) -> Option<&Class<T>> {
        self.classes.get(id)
    }

    /// The class.
    pub fn get_mut(&mut self, id: usize) -> Option<&mut Class<T>> {
        self.classes.get_mut(id)
    }

    /// All classes.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &Class<T>)> {
        self.classes.iter()
    }

    /// How many classes there are.
    pub fn len(&self) -> usize {
        self.classes.len()
    }

    /// Whether there is nobody.
    pub fn is_empty(&self) -> bool {
        self.classes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::filter::Filter;
    use crate::grant::{Audience, Grants};
    use proptest::prelude::*;

    fn event(topic: &str, audience: &[String]) -> NewEvent {
        NewEvent {
            name: "e".into(),
            topic: topic.parse().unwrap(),
            data: "1".into(),
            scope: Default::default(),
            audience: Audience::new(audience.iter().map(|grant| grant.parse().unwrap())),
            key: None,
            time: Timestamp(0),
            kept: true,
            dedup: None,
        }
    }

    fn path() -> impl Strategy<Value = String> {
        prop::collection::vec("[ab]", 1..4).prop_map(|segments| segments.join("/"))
    }

    fn pattern() -> impl Strategy<Value = String> {
        (prop::collection::vec("[ab*]", 1..4), any::<bool>())
            .prop_map(|(segments, rest)| segments.join("/") + if rest { "/**" } else { "" })
    }

    fn interest() -> impl Strategy<Value = Interest> {
        // One filter mostly, and sometimes several that were put together.
        let filters = prop_oneof![prop::collection::vec(filter(), 1), prop::collection::vec(filter(), 2..4)];
        (filters, prop::collection::vec(pattern(), 0..4)).prop_map(|(filters, grants)| {
            let filter = Filter::any_of(filters);
            Interest { filter, grants: Grants::parse(grants.iter().map(String::as_str)).unwrap() }
        })
    }

    fn filter() -> impl Strategy<Value = Filter> {
        let topics = prop::option::of(prop::collection::vec(pattern(), 0..3));
        let names = prop::option::weighted(0.3, prop::collection::vec("[ef]", 0..2));
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
        /// The index is only a shortcut: it finds just those whom asking each would find, also after some have left.
        #[test]
        fn the_index_finds_whom_asking_everybody_would(
            interests in prop::collection::vec(interest(), 0..12),
            leaving in prop::collection::vec(any::<bool>(), 12),
            topic in path(),
            audience in prop::collection::vec(path(), 0..3),
        ) {
            let mut registry = Registry::<u32>::new();
            let ids: Vec<usize> = interests.iter().map(|interest| registry.enter(interest.clone(), 0)).collect();
            for (id, leaves) in ids.iter().zip(&leaving) {
                if *leaves {
                    registry.leave(*id);
                }
            }
            let event = event(&topic, &audience);
            let mut expected: Vec<usize> =
                registry.iter().filter(|(_, class)| class.interest.covers(&event)).map(|(id, _)| id).collect();
            let mut found = Vec::new();
            registry.matching(&event, |id, _| found.push(id));
            found.sort_unstable();
            expected.sort_unstable();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn alike_subscribers_share_a_class_and_an_empty_registry_holds_nothing() {
        let mut registry = Registry::<u32>::new();
        let interest = Interest { filter: Filter::all(), grants: Grants::parse(["everyone"]).unwrap() };
        let one = registry.enter(interest.clone(), 0);
        assert_eq!(registry.enter(interest.clone(), 0), one);
        let other = registry.enter(interest, 1);
        assert_ne!(other, one, "another stream setting is another class");
        registry.leave(one);
        registry.leave(other);
        assert!(
            registry.is_empty()
                && registry.pairs.is_empty()
                && registry.topics.is_empty()
                && registry.grants.is_empty()
        );
    }
}
