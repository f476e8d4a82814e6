//! Every profile of the repository against its golden fixtures: event in → bytes out, per principal.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use tidings::{
    Args, Draft, EventRule, Filter, Grants, Interest, Limits, NewEvent, Shape, Timestamp, Topic, TopicPattern,
};
use tidings_server::check::check;
use tidings_server::profile::{LoadedProfile, Loading, Transport};
use tidings_server::settings::{At, Report};
use tidings_transports::StreamSettings;

/// One file: what is published, and what each principal is given of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fixture {
    /// The claim it makes.
    claim: String,
    #[serde(default)]
    variants: Vec<String>,
    /// The body of `POST /v1/publish`.
    publish: Box<RawValue>,
    #[serde(default)]
    expect: Vec<Expected>,
    /// Why it is refused, instead.
    error: Option<Refused>,
    /// What the event becomes, where that can't be seen in the bytes.
    #[serde(default)]
    becomes: Becomes,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    /// What the auth source says they hold, in the profile's words; implications are added.
    grants: Vec<String>,
    /// The query of their request.
    #[serde(default)]
    query: BTreeMap<String, String>,
    /// The block of Server-Sent Events without its `id:` line; `null` for nothing.
    #[serde(default, deserialize_with = "present")]
    block: Option<Option<String>>,
    /// The packet of Socket.IO without its type and without the cursor, `["medias",{…}]`; `null` for nothing.
    #[serde(default, deserialize_with = "present")]
    socketio: Option<Option<Box<RawValue>>>,
    /// The message of a WebSocket in the app's own words; `null` for nothing.
    #[serde(default, deserialize_with = "present")]
    message: Option<Option<Box<RawValue>>>,
}

/// How a mount tells an event.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    Block,
    Packet,
    Message,
}

impl Expected {
    /// Whether they are given the event.
    fn is_given(&self) -> bool {
        [&self.socketio, &self.message].into_iter().flatten().any(Option::is_some)
            || self.block.iter().any(Option::is_some)
    }

    /// What is expected on a mount of this kind, if anything is.
    fn on(&self, told: Told) -> Option<Option<&str>> {
        match told {
            Told::Block => self.block.as_ref().map(Option::as_deref),
            Told::Packet => self.socketio.as_ref().map(|raw| raw.as_deref().map(RawValue::get)),
            Told::Message => self.message.as_ref().map(|raw| raw.as_deref().map(RawValue::get)),
        }
    }
}

/// Tells `null` from a member that is not there.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refused {
    field: String,
    code: String,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Becomes {
    topic: Option<String>,
    kept: Option<bool>,
    key: Option<String>,
    retained: Option<bool>,
}

fn profiles() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../profiles");
    let mut dirs: Vec<_> = std::fs::read_dir(dir)
        .expect("the repository has profiles")
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("profile.toml").is_file())
        .collect();
    dirs.sort();
    dirs
}

fn fixtures(profile: &Path) -> Vec<(PathBuf, Vec<Fixture>)> {
    let mut files: Vec<_> = std::fs::read_dir(profile.join("fixtures"))
        .unwrap_or_else(|error| panic!("{}: {error}", profile.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).unwrap();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    files.iter().map(|path| (path.clone(), read(path))).collect()
}

fn load(path: &Path, variants: &[String]) -> LoadedProfile {
    let mut report = Report::default();
    let loading = Loading::open(path, &mut report).unwrap();
    let variants: Vec<_> = variants.iter().cloned().map(At::nowhere).collect();
    let loaded = loading.finish(&variants, &[], None, &mut report);
    assert!(report.is_empty(), "{report}");
    loaded.unwrap()
}

/// What the query asks for, as the mount's own parameters mean it.
fn filter(loaded: &LoadedProfile, mount: &StreamSettings, query: &BTreeMap<String, String>) -> Filter {
    let mut topics: Option<Vec<TopicPattern>> = None;
    for (name, text) in query {
        let filtering = mount.filters.iter().find(|filtering| filtering.query == *name).expect("a filter of that name");
        let topics = topics.get_or_insert_default();
        let values: Vec<&str> = match filtering.split {
            Some(separator) => text.split(separator).map(str::trim).filter(|value| !value.is_empty()).collect(),
            None => vec![text],
        };
        for value in values {
            let topic = filtering.topic.replace("{value}", &Topic::escape_segment(value));
            topics.push(loaded.profile.qualify(&topic).parse().unwrap());
        }
        topics.extend(filtering.always.iter().map(|topic| loaded.profile.qualify(topic.as_str()).parse().unwrap()));
    }
    topics.map_or_else(Filter::all, Filter::topics)
}

/// How an event looks on this mount.
fn shape(loaded: &LoadedProfile, rule: &EventRule, mount: &StreamSettings, event: &NewEvent) -> Shape {
    match mount.shapes.get(&event.name) {
        Some(own) => own.clone().in_place_of(&loaded.profile, &event.name).unwrap(),
        None => rule.shape.clone(),
    }
}

/// What who holds `grants` is shown of an event on this mount.
fn shown(shape: &Shape, mount: &StreamSettings, grants: &Grants, event: &NewEvent) -> String {
    let data = shape.render_at(event, shape.variant(grants, event), None, mount.wrapped);
    String::from_utf8(data.to_vec()).unwrap()
}

fn block(name: &str, data: &str) -> String {
    let lines: String = data.lines().map(|line| format!("data: {line}\n")).collect();
    format!("event: {name}\n{lines}\n")
}

/// The event and its arguments (Socket.IO protocol 5, EVENT).
fn packet(name: &str, args: Args, data: &str) -> String {
    let name = serde_json::to_string(name).unwrap();
    match args {
        Args::Zero => format!("[{name}]"),
        Args::One => format!("[{name},{data}]"),
        Args::Spread => format!("[{name},{}]", data.trim_matches(['[', ']'])),
    }
}

/// The mounts that are streams, with how each tells an event.
fn streams(loaded: &LoadedProfile) -> impl Iterator<Item = (&StreamSettings, Told)> {
    loaded.mounts.iter().filter_map(|mount| match &mount.transport {
        Transport::Sse(stream) => Some((stream, Told::Block)),
        Transport::SocketIo(stream) => Some((stream, Told::Packet)),
        Transport::WebSocket(stream) => Some((stream, Told::Message)),
        Transport::Poll(_) | Transport::Ready(_) | Transport::Health(_) | Transport::Desk(_) => None,
    })
}

#[test]
fn every_profile_gives_each_principal_the_bytes_that_its_fixtures_say() {
    let mut count = 0;
    for path in profiles() {
        for (file, fixtures) in fixtures(&path) {
            for fixture in fixtures {
                let what = format!("{}: {}", file.display(), fixture.claim);
                let loaded = load(&path, &fixture.variants);
                let draft: Draft =
                    serde_json::from_str(fixture.publish.get()).unwrap_or_else(|e| panic!("{what}: {e}"));
                let derived = loaded.profile.derive(draft, Timestamp(0), &Limits::default());
                if let Some(refused) = &fixture.error {
                    let error = derived.expect_err(&what);
                    assert_eq!(
                        (error.field.as_str(), error.code),
                        (refused.field.as_str(), refused.code.as_str()),
                        "{what}"
                    );
                    count += 1;
                    continue;
                }
                let event = derived.unwrap_or_else(|error| panic!("{what}: {error}"));
                let rule = loaded.profile.rule(&event.name).unwrap();
                let Becomes { topic, kept, key, retained } = &fixture.becomes;
                if let Some(topic) = topic {
                    assert_eq!(loaded.profile.local(event.topic.as_str()), topic, "{what}");
                }
                assert!(kept.is_none_or(|kept| kept == event.kept), "{what}: kept");
                assert!(retained.is_none_or(|retained| retained == rule.retain), "{what}: retained");
                if let Some(key) = key {
                    assert_eq!(event.key.as_deref().map(|key| loaded.profile.local(key)), Some(key.as_str()), "{what}");
                }
                for expected in &fixture.expect {
                    let who = format!("{what}: {:?} {:?}", expected.grants, expected.query);
                    let mut compared = BTreeSet::new();
                    let tells =
                        |mount: &StreamSettings| mount.names.as_ref().is_none_or(|names| names.contains(&event.name));
                    for (mount, told) in streams(&loaded).filter(|(mount, _)| tells(mount)) {
                        let grants = loaded.profile.hold(expected.grants.iter().map(|grant| grant.parse().unwrap()));
                        let interest = Interest { filter: filter(&loaded, mount, &expected.query), grants };
                        let shape = shape(&loaded, rule, mount, &event);
                        let (name, args) = (shape.wire_name(&event), shape.args());
                        let data = interest.covers(&event).then(|| shown(&shape, mount, &interest.grants, &event));
                        assert_eq!(data.is_some(), expected.is_given(), "{who}: on each mount alike");
                        let Some(wanted) = expected.on(told) else { continue };
                        let said = data.map(|data| match told {
                            Told::Block => block(name, &data),
                            Told::Packet => packet(name, args, &data),
                            Told::Message => data,
                        });
                        assert_eq!(said.as_deref(), wanted, "{who}");
                        compared.insert(told);
                    }
                    let all = [Told::Block, Told::Packet, Told::Message];
                    let said: BTreeSet<Told> = all.into_iter().filter(|told| expected.on(*told).is_some()).collect();
                    assert!(compared == said, "{who}: a mount for each");
                    assert!(!said.is_empty(), "{who}: nothing is expected");
                    count += 1;
                }
            }
        }
    }
    assert!(count > 0);
}

#[test]
fn every_event_of_a_profile_has_a_fixture_in_which_somebody_gets_it_and_somebody_does_not() {
    for path in profiles() {
        let fixtures: Vec<Fixture> = fixtures(&path).into_iter().flat_map(|(_, fixtures)| fixtures).collect();
        for rule in load(&path, &[]).profile.rules() {
            let of_rule = |fixture: &&Fixture| {
                serde_json::from_str::<Draft>(fixture.publish.get()).is_ok_and(|draft| *draft.name == *rule.name)
            };
            let expected: Vec<&Expected> =
                fixtures.iter().filter(of_rule).flat_map(|fixture| &fixture.expect).collect();
            let what = format!("{}: {}", path.display(), rule.name);
            assert!(expected.iter().any(|expected| expected.is_given()), "{what}: nobody gets it");
            let for_everyone = rule.audience.iter().flatten().any(|grant| grant.as_str() == "everyone");
            let somebody_not = expected.iter().any(|expected| !expected.is_given());
            assert!(somebody_not || for_everyone, "{what}: everybody gets it");
        }
    }
}

#[test]
fn no_profile_of_the_repository_has_a_mistake_in_any_variant() {
    let report = check(&profiles());
    assert!(report.is_empty(), "{report}");
}

#[test]
fn the_example_in_the_docs_has_no_mistake() {
    let docs = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/profiles.md")).unwrap();
    let example =
        docs.split("```toml\n").filter_map(|rest| rest.split("```").next()).find(|text| text.starts_with("name = "));
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("profile.toml"), example.expect("an example of a profile")).unwrap();
    let report = check(&[dir.path().to_path_buf()]);
    assert!(report.is_empty(), "{report}");
}
