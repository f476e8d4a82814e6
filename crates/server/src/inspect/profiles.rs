//! The apps that are served.

use serde::Serialize;
use serde_json::{Value, value::RawValue};
use tidings::{EventRule, Profile};

use super::MountedStreams;

/// One profile as it is shown. What its auth sources are told, keys and secrets among it, is no part of this.
#[derive(Debug, Serialize)]
pub struct ShownProfile {
    name: String,
    namespace: Option<String>,
    description: String,
    mounts: Vec<ShownMount>,
    events: Vec<ShownEvent>,
}

#[derive(Debug, Serialize)]
struct ShownMount {
    path: String,
    transport: &'static str,
}

#[derive(Debug, Serialize)]
struct ShownEvent {
    name: String,
    topic: String,
    kept: bool,
    retained: bool,
    /// The rules in their order, each the grants any one of which lets somebody see it.
    audience: Vec<Vec<String>>,
    /// A JSON Schema.
    schema: Option<Value>,
}

impl ShownProfile {
    /// The profile with its streams among these.
    pub fn new(profile: &Profile, description: &str, streams: &MountedStreams) -> Self {
        let own = streams.iter().filter(|(_, _, stream)| stream.profile.name() == profile.name());
        let mounts = own.map(|(path, transport, _)| ShownMount { path: path.clone(), transport });
        let mut events: Vec<ShownEvent> = profile.rules().map(|rule| ShownEvent::new(rule)).collect();
        events.sort_by(|one, other| one.name.cmp(&other.name));
        ShownProfile {
            name: profile.name().to_owned(),
            namespace: profile.namespace().map(str::to_owned),
            description: description.to_owned(),
            mounts: mounts.collect(),
            events,
        }
    }
}

impl ShownEvent {
    fn new(rule: &EventRule) -> Self {
        let grants = |rule: &Vec<tidings::Template>| rule.iter().map(|grant| grant.to_string()).collect();
        ShownEvent {
            name: rule.name.to_string(),
            topic: rule.topic.to_string(),
            kept: rule.kept,
            retained: rule.retain,
            audience: rule.audience.iter().map(grants).collect(),
            schema: rule.schema.as_ref().and_then(|schema| schema.document().cloned()),
        }
    }
}

/// The answer to whoever asks for all of them: it does not change while the program runs.
pub fn answer(profiles: &[ShownProfile]) -> Box<RawValue> {
    #[derive(Serialize)]
    struct Answer<'a> {
        profiles: &'a [ShownProfile],
    }
    serde_json::value::to_raw_value(&Answer { profiles }).unwrap_or_default()
}
