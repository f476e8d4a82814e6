//! The profiles of one process.

use std::collections::HashMap;
use std::sync::Arc;

use crate::event::NewEvent;
use crate::profile::{EventRule, Profile};

/// The profiles of the process, found by the namespace that begins a topic.
#[derive(Debug)]
pub struct Profiles {
    named: HashMap<Box<str>, Arc<Profile>>,
    open: Arc<Profile>,
    bare: Arc<EventRule>,
}

impl Profiles {
    /// The profiles that have a namespace.
    pub fn with_namespace(&self) -> impl Iterator<Item = &Arc<Profile>> {
        self.named.values()
    }

    /// The profiles, and the built-in one for everything else.
    pub fn new(profiles: impl IntoIterator<Item = Arc<Profile>>) -> Self {
        let open = Arc::new(Profile::open());
        let named = profiles.into_iter().filter_map(|p| Some((p.namespace()?.into(), p.clone()))).collect();
        let bare = open.rule("*").cloned().expect("the built-in profile takes any event");
        Profiles { named, open, bare }
    }

    /// The profile whose namespace begins `topic`, else the built-in one.
    pub fn of(&self, topic: &str) -> &Arc<Profile> {
        let namespace = topic.split('/').next().unwrap_or(topic);
        self.named.get(namespace).unwrap_or(&self.open)
    }

    /// The profile of this name.
    pub fn named(&self, name: &str) -> Option<&Arc<Profile>> {
        self.named.values().find(|profile| profile.name() == name)
    }

    /// The built-in profile.
    pub fn open(&self) -> &Arc<Profile> {
        &self.open
    }

    /// How the event's profile treats its kind. An event of a kind that the profile no longer has is shown as it is.
    pub fn rule(&self, event: &NewEvent) -> Arc<EventRule> {
        self.of(event.topic.as_str()).rule(&event.name).unwrap_or(&self.bare).clone()
    }
}
