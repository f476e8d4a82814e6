//! The newest of each retained kind.

use std::sync::Arc;

use indexmap::IndexMap;

use crate::cursor::Offset;
use crate::entry::Entry;
use crate::filter::Interest;

/// The newest event of each retained kind, by topic, name and key: what a new subscriber is told of the present state.
#[derive(Debug, Default)]
pub(crate) struct Retained(IndexMap<Key, Arc<Entry>>);

type Key = (Arc<str>, Arc<str>, Option<Arc<str>>);

/// The most retained kinds and keys; then the one that came first is forgotten. Each is looked at when a stream opens, and what
/// is told on connect is a state or two, not a table.
const MAX_RETAINED: usize = 1024;

impl Retained {
    /// Takes note of an entry, if its kind is retained.
    pub(crate) fn take(&mut self, entry: &Arc<Entry>) {
        if !entry.rule.retain {
            return;
        }
        let event = &entry.event;
        self.0.insert((event.topic.as_str().into(), event.name.clone(), event.key.clone()), entry.clone());
        if self.0.len() > MAX_RETAINED {
            self.0.shift_remove_index(0);
        }
    }

    /// What `interest` covers of it and lies at or before `until`, in the order of the log.
    pub(crate) fn covered(&self, interest: &Interest, until: Offset) -> Vec<Arc<Entry>> {
        let covered = self.0.values().filter(|entry| entry.event.offset <= until && interest.covers(&entry.event));
        let mut found: Vec<_> = covered.cloned().collect();
        found.sort_by_key(|entry| entry.at);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;
    use crate::filter::Filter;
    use crate::grant::Grants;
    use crate::profile::Profile;
    use crate::{Draft, Limits, Timestamp};

    #[test]
    fn of_ever_new_keys_only_the_newest_are_held() {
        let profile = Profile::open();
        let mut rule = (**profile.rule("*").unwrap()).clone();
        rule.retain = true;
        let (rule, mut retained) = (Arc::new(rule), Retained::default());
        let more = MAX_RETAINED as u64 + 10;
        for n in 1..=more {
            let mut draft = Draft::new("job.state");
            draft.topic = Some(format!("job/{n}"));
            let body = profile.derive(draft, Timestamp(1), &Limits::default()).unwrap();
            let event = Event { offset: Offset(n), body };
            retained.take(&Arc::new(Entry::new(event, rule.clone(), Offset(n))));
        }
        let interest = Interest { filter: Filter::all(), grants: Grants::parse(["everyone"]).unwrap() };
        let held = retained.covered(&interest, Offset(more));
        assert_eq!(held.len(), MAX_RETAINED);
        assert_eq!(held[0].at, Offset(11), "the oldest went");
    }
}
