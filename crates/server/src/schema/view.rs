//! What clients of a mount are given, or what publishers send, as schemas.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tidings::profile::ANY_EVENT;
use tidings::{Args, EventRule, Shape, job};
use tidings_transports::StreamSettings;

use super::refs::{self, Defs};
use super::wire::{Bench, MADE, bare};
use super::{job as job_schema, keywords};
use crate::profile::{LoadedProfile, Mount, Transport};

/// Names that are taken in what is made of a view.
const TAKEN: [&str; 3] = ["Events", "LiveEvent", "ServerToClientEvents"];

/// The events that somebody sees, each with the schema of its data.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// The events, by their names.
    pub events: Vec<ViewEvent>,
    /// What several refer to, by name: `{"$ref": "#/$defs/<name>"}`. Letters and digits, and no event's type is called so.
    pub types: BTreeMap<String, Value>,
    /// Whether there may be events that are not among these.
    pub open: bool,
}

/// One event of a view.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewEvent {
    /// Its name as it is seen.
    pub name: String,
    /// The same as a name of a type: letters and digits.
    pub type_name: String,
    /// What its data is.
    pub schema: Value,
    /// How many arguments it has, where the transport can carry several.
    pub args: Args,
    /// The names under which it is published.
    pub published: BTreeSet<String>,
    /// Whether a schema was given for it, so that its data is known.
    pub is_known: bool,
}

impl View {
    /// What publishers send.
    pub fn published(loaded: &LoadedProfile) -> View {
        let mut making = Making::default();
        for rule in sorted(loaded).into_iter().filter(|rule| !job::is_reserved(&rule.name)) {
            let (schema, is_known) = making.import(&rule.name, Some(rule));
            making.add(&rule.name, &rule.name, schema, Args::One, is_known);
        }
        making.finish(loaded.profile.rule(ANY_EVENT).is_some())
    }

    /// What is seen at a mount of the profile; without one, by those who listen at `/v1` to the profile's events.
    pub fn of(loaded: &LoadedProfile, mount: Option<&Mount>) -> View {
        let stream = mount.and_then(|mount| mount.transport.stream());
        let is_socketio = mount.is_some_and(|mount| matches!(mount.transport, Transport::SocketIo(_)));
        let mut making = Making::default();
        for (name, rule) in told(loaded, stream) {
            let (schema, is_known) = making.import(&name, rule);
            let shape = shape(loaded, stream, &name, rule);
            let wrapped = stream.is_none_or(|stream| stream.wrapped);
            let schema = making.bench.shaped(schema, &name, &shape, wrapped);
            let args = if is_socketio { shape.args() } else { Args::One };
            making.add(shape.name().unwrap_or(&name), &name, schema, args, is_known);
        }
        let is_of_one_job = stream.is_some_and(|stream| stream.job.is_some());
        let is_open = stream.is_none_or(|stream| stream.names.is_none()) && !is_of_one_job;
        making.finish(is_open && loaded.profile.rule(ANY_EVENT).is_some())
    }
}

fn sorted(loaded: &LoadedProfile) -> Vec<&EventRule> {
    let mut rules: Vec<&EventRule> =
        loaded.profile.rules().map(|rule| &**rule).filter(|rule| &*rule.name != ANY_EVENT).collect();
    rules.sort_by(|a, b| a.name.cmp(&b.name));
    rules
}

/// The events that are told on a stream, by their names as published.
fn told<'a>(loaded: &'a LoadedProfile, stream: Option<&StreamSettings>) -> BTreeMap<String, Option<&'a EventRule>> {
    let mut told: BTreeMap<String, Option<&EventRule>> =
        sorted(loaded).into_iter().map(|rule| (rule.name.to_string(), Some(rule))).collect();
    if has_jobs(loaded) {
        for name in job::STATE_EVENTS.into_iter().chain([job::ITEM_EVENT]) {
            told.entry(name.to_owned()).or_default();
        }
    }
    told.retain(|name, _| {
        stream.is_none_or(|stream| {
            (stream.job.is_none() || job::is_reserved(name))
                && stream.names.as_ref().is_none_or(|names| names.iter().any(|known| **known == **name))
        })
    });
    told
}

/// Whether the profile speaks of jobs. The built-in one takes what anybody says, of jobs too.
fn has_jobs(loaded: &LoadedProfile) -> bool {
    let is_of_jobs = |mount: &Mount| {
        matches!(mount.transport, Transport::Desk(_)) || mount.transport.stream().is_some_and(|s| s.job.is_some())
    };
    loaded.profile.namespace().is_none()
        || !loaded.jobs.is_empty()
        || loaded.mounts.iter().any(is_of_jobs)
        || loaded.profile.rules().any(|rule| job::is_reserved(&rule.name))
}

/// How an event looks on a stream.
fn shape(loaded: &LoadedProfile, stream: Option<&StreamSettings>, name: &str, rule: Option<&EventRule>) -> Shape {
    let own = || rule.map(|rule| rule.shape.clone()).unwrap_or_default();
    match stream.and_then(|stream| stream.shapes.get(name)) {
        // What can't be in its place was told when the profile was loaded.
        Some(shape) => shape.clone().in_place_of(&loaded.profile, name).unwrap_or_else(|_| own()),
        None => own(),
    }
}

/// A view in the making.
#[derive(Default)]
struct Making {
    bench: Bench,
    events: BTreeMap<String, Several>,
}

/// The events that are seen under one name.
struct Several {
    schemas: Vec<Value>,
    args: Args,
    published: BTreeSet<String>,
    is_known: bool,
}

impl Making {
    /// The schema of an event's data as it is published, its definitions among those of all; and whether it is known.
    fn import(&mut self, name: &str, rule: Option<&EventRule>) -> (Value, bool) {
        let own = rule.and_then(|rule| rule.schema.as_ref()?.document().cloned());
        let document = match (own, job_schema::document(name)) {
            (Some(own), Some(of_jobs)) => Some(job_schema::laid_over(of_jobs, own)),
            (own, of_jobs) => own.or(of_jobs),
        };
        let Some(mut document) = document else { return (json!({}), false) };
        let defs = document.as_object_mut().and_then(|members| members.remove("$defs"));
        let defs: Defs = match defs {
            Some(Value::Object(defs)) => defs.into_iter().collect(),
            _ => Defs::new(),
        };
        // Two schemas may call different things by one name.
        let mut names = BTreeMap::new();
        for (name, schema) in &defs {
            let taken = self.bench.defs.get(name).is_some_and(|known| known != schema);
            names.insert(name.clone(), if taken { self.bench.free(name) } else { name.clone() });
        }
        let renamed = |name: &str| names.get(name).cloned().unwrap_or_else(|| name.to_owned());
        for (name, mut schema) in defs {
            refs::rename(&mut schema, &renamed);
            self.bench.defs.insert(renamed(&name), schema);
        }
        refs::rename(&mut document, &renamed);
        (document, true)
    }

    fn add(&mut self, name: &str, published: &str, schema: Value, args: Args, is_known: bool) {
        let several = self.events.entry(name.to_owned()).or_insert_with(|| Several {
            schemas: Vec::new(),
            args,
            published: BTreeSet::new(),
            is_known: false,
        });
        several.published.insert(published.to_owned());
        several.is_known |= is_known;
        if !several.schemas.iter().any(|known| bare(known) == bare(&schema)) {
            several.schemas.push(schema);
        }
    }

    /// The view, everything with a name of its own.
    fn finish(self, open: bool) -> View {
        let mut taken: BTreeSet<String> = TAKEN.iter().map(|name| (*name).to_owned()).collect();
        let mut events: Vec<ViewEvent> = Vec::new();
        for (name, several) in self.events {
            let is_wrapped = several.schemas.len() != 1;
            let schema = match several.schemas.len() {
                1 => several.schemas.into_iter().next().unwrap_or_default(),
                _ => json!({ "anyOf": several.schemas }),
            };
            let title = schema.get("title").and_then(Value::as_str).filter(|_| !is_wrapped);
            let type_name = free_name(&type_name(title.unwrap_or(&name)), &mut taken);
            let Several { args, published, is_known, .. } = several;
            events.push(ViewEvent { type_name, schema, args, published, is_known, name });
        }
        let mut reached = BTreeSet::new();
        events.iter().for_each(|event| refs::reach(&event.schema, &self.bench.defs, &mut reached));
        let names = named(&reached, &self.bench.defs, &mut taken);
        let renamed = |name: &str| names.get(name).cloned().unwrap_or_else(|| name.to_owned());
        let mut types = BTreeMap::new();
        for name in &reached {
            let mut schema = self.bench.defs.get(name).cloned().unwrap_or_default();
            refs::rename(&mut schema, &renamed);
            types.insert(renamed(name), schema);
        }
        for event in &mut events {
            refs::rename(&mut event.schema, &renamed);
            strip_defs(&mut event.schema);
        }
        View { events, types, open }
    }
}

/// What is referred to has a place of its own.
fn strip_defs(schema: &mut Value) {
    if let Some(members) = schema.as_object_mut() {
        members.remove("$defs");
    }
    keywords::for_each_mut(schema, &mut strip_defs);
}

/// Names for the definitions, which are those of types. What means the same has one name.
fn named(reached: &BTreeSet<String>, defs: &Defs, taken: &mut BTreeSet<String>) -> BTreeMap<String, String> {
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    for name in reached {
        let same = names.iter().find(|(known, _)| defs.get(*known) == defs.get(name) && base(known) == base(name));
        let own = match same {
            Some((_, own)) => own.clone(),
            None => free_name(&type_name(base(name)), taken),
        };
        names.insert(name.clone(), own);
    }
    names
}

fn base(name: &str) -> &str {
    name.split(MADE).next().unwrap_or(name)
}

fn free_name(wanted: &str, taken: &mut BTreeSet<String>) -> String {
    let mut name = wanted.to_owned();
    let mut count = 1;
    while !taken.insert(name.clone()) {
        count += 1;
        name = format!("{wanted}{count}");
    }
    name
}

/// `BookUpdated` for `book.updated`: the words of a name, each with a capital.
pub(super) fn type_name(name: &str) -> String {
    let mut out = String::new();
    for word in name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()) {
        let (first, rest) = word.split_at(1);
        out.push_str(&first.to_ascii_uppercase());
        out.push_str(rest);
    }
    match out.chars().next() {
        None => "Event".into(),
        Some(first) if first.is_ascii_digit() => format!("Event{out}"),
        Some(_) => out,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_becomes_one_of_a_type() {
        for (name, expected) in [
            ("book.updated", "BookUpdated"),
            ("backups-files", "BackupsFiles"),
            ("on_asset_delete", "OnAssetDelete"),
            ("AssetUploadReadyV1", "AssetUploadReadyV1"),
            ("2nd", "Event2nd"),
            ("é", "Event"),
        ] {
            assert_eq!(type_name(name), expected);
        }
        let mut taken = BTreeSet::from(["Events".to_owned()]);
        assert_eq!((free_name("Events", &mut taken), free_name("A", &mut taken)), ("Events2".into(), "A".into()));
    }
}
