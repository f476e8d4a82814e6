//! Makes of a file what the hub and the transports obey, and finds what can't be.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tidings::profile::{ANY_EVENT, MAX_NAME_BYTES};
use tidings::{Coalesce, DataSchema, EventRule, Implications, Profile, Template, Topic, job};

use super::file::{self, Audience, Event, File};
use super::looks::{self, Looks};
use super::{LoadedProfile, desk, mounts};
use crate::auth::{AuthContext, AuthSettings, Authenticator, MemoryStore};
use crate::schema::{Files, Loader, Origin};
use crate::settings::decode::At;
use crate::settings::report::Report;
use crate::settings::tree::{Node, place_at};

/// Where a file comes from.
pub(super) struct Context<'a> {
    /// What was written.
    pub root: &'a Node,
    /// Where relative paths start.
    pub base: &'a Path,
    /// Where its schemas are.
    pub files: &'a Files,
    /// What the settings put before its paths.
    pub base_path: Option<&'a At<String>>,
    /// Whether nothing was wrong so far. Else what is missing may have been left out as wrong, and is not told of again.
    pub clean: bool,
}

/// The profile that the file describes. `None` if too much is wrong; the report says what is.
pub(super) fn profile(file: File, context: &Context<'_>, report: &mut Report) -> Option<LoadedProfile> {
    let root = context.root;
    let before = report.mistakes().len();
    let name = &file.name;
    if name.is_empty() || name.len() > 64 || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
        report.at(&name.place, "a profile's name is 1 to 64 letters, digits, `-`, `_` and `.`");
    }
    let namespace = file.namespace.as_ref().unwrap_or(name);
    if file.namespace.is_some() && (namespace.contains('/') || namespace.parse::<Topic>().is_err()) {
        report.at(&namespace.place, "a namespace is one segment of a path: no `/`, no `*`, not empty");
    }
    if matches!(namespace.value.as_str(), "job" | "work") {
        // `job/*` would be all that it has, and all jobs that are of no profile.
        let message = format!("{:?} begins the topics and grants of the program's own jobs", namespace.value);
        report.at(&namespace.place, message).help("give the profile another `namespace`");
    }
    let mut schemas = Loader::new(context.files);
    let rules: Vec<EventRule> =
        file.events.iter().filter_map(|(name, event)| rule(name, event, context, &mut schemas, report)).collect();
    let implications = implications(&file, report);
    let base_path = context.base_path.or(file.base_path.as_ref());
    let mounts = mounts::mounts(&file, base_path, report);
    if context.clean {
        check_auth(&file.auth, Some(namespace), implications.as_ref(), context.base, |path, message| {
            report.at(&place_at(root, &format!("auth.{path}")), message);
        });
    }
    let jobs = desk::kinds(&file.jobs, report);
    if report.mistakes().len() > before || !context.clean {
        return None;
    }
    let base = context.base.to_path_buf();
    let profile = Profile::new(name, Some(namespace), implications?, rules);
    Some(LoadedProfile {
        profile: Arc::new(profile),
        description: file.description,
        auth: file.auth,
        base,
        mounts,
        jobs,
    })
}

fn implications(file: &File, report: &mut Report) -> Option<Implications> {
    for (from, implied) in &file.grants.implies {
        for to in &implied.value {
            if let Err(error) = Implications::new([(from.clone(), vec![to.value.clone()])]) {
                report.at(&to.place, error.to_string());
            }
        }
    }
    let table = file.grants.implies.iter();
    let table = table.map(|(from, implied)| (from.clone(), implied.iter().map(|to| to.value.clone()).collect()));
    Implications::new(table).ok()
}

fn rule(
    name: &str,
    event: &At<Event>,
    context: &Context<'_>,
    schemas: &mut Loader<'_>,
    report: &mut Report,
) -> Option<EventRule> {
    let place =
        context.root.get("events").and_then(|events| events.entry(name)).map_or(&event.place, |(key, _)| &key.place);
    let before = report.mistakes().len();
    if name.is_empty() || name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
        report.at(place, "an event's name is 1 to 128 bytes without control characters");
    }
    if name != ANY_EVENT && name.contains('*') {
        report.at(place, "only `*` alone stands for every other event");
    }
    // The hub tells these itself, on the topic of the job and to those who may see it: only how they look is to be said.
    let is_of_jobs = job::is_reserved(name);
    let mut topics = Vec::new();
    match &event.topic {
        Some(topic) if topic.texts().is_empty() => {
            report.at(&topic.place, "an event needs a topic");
        }
        Some(topic) => topics.extend(topic.texts().iter().filter_map(|topic| template(topic, report))),
        None if !context.clean => {}
        None if is_of_jobs => topics.push("job/{data.id}".parse().expect("a literal template")),
        None => {
            report.at(place, format!("the event {name:?} has no topic")).help("give it a `topic`, like \"books\"");
        }
    }
    let audience = match &event.audience {
        Some(audience) => rules(audience, report),
        None if event.publisher_audience || !context.clean => Vec::new(),
        None if is_of_jobs => vec![vec!["job/{data.id}".parse().expect("a literal template")]],
        None => {
            let mistake = report.at(place, format!("the event {name:?} has no audience: nobody would be given it"));
            mistake.help("give it an `audience`, like \"everyone\" or [[\"user/{scope.owner}\"]]");
            Vec::new()
        }
    };
    let mut keys = Vec::new();
    match &event.key {
        Some(key) if key.texts().is_empty() => {
            report.at(&key.place, "an empty list is no key").help("leave `key` out, if the event has none");
        }
        Some(key) => keys.extend(key.texts().iter().filter_map(|key| template(key, report))),
        None => {}
    }
    if let Some(coalesce) = &event.coalesce {
        if coalesce.max_wait < coalesce.window {
            report.at(&coalesce.place, "`max_wait` is shorter than `window`, and so would decide alone");
        }
        if coalesce.max_wait > Duration::from_secs(60) {
            report.at(&coalesce.place, "an event may be held back for a minute at most");
        }
    }
    let schema = event.schema.as_ref().and_then(|schema| {
        let written = context.root.get("events").and_then(|events| events.get(name)?.get("schema"));
        let origin = match (&schema.value, written) {
            (file::Schema::Inline, Some(written)) => Origin::Inline(written),
            (file::Schema::Inline, None) => return None,
            (file::Schema::File(path), _) => Origin::File(path, &schema.place),
        };
        schemas.load(name, origin, report)
    });
    let shape = looks::shape(&Looks::of(event), report);
    if report.mistakes().len() > before || topics.is_empty() {
        return None;
    }
    let topic = topics.remove(0);
    let mut keys = keys.into_iter();
    Some(EventRule {
        other_topics: topics,
        kept: event.kept,
        key: keys.next(),
        other_keys: keys.collect(),
        coalesce: event.coalesce.as_ref().map(|c| Coalesce { window: c.window, max_wait: c.max_wait }),
        retain: event.retain,
        publisher_topic: event.publisher_topic,
        publisher_audience: event.publisher_audience,
        schema: schema.map(|schema| Arc::new(schema) as Arc<dyn DataSchema>),
        shape,
        ..EventRule::new(name, topic, audience)
    })
}

fn rules(audience: &At<Audience>, report: &mut Report) -> Vec<Vec<Template>> {
    let rules = match &audience.value {
        Audience::Grant(grant) => {
            let grant = At { value: grant.clone(), place: audience.place.clone() };
            return vec![template(&grant, report).into_iter().collect()];
        }
        Audience::Rules(rules) => rules,
    };
    if rules.is_empty() {
        report.at(&audience.place, "no rule is nobody").help("for everyone, write \"everyone\"");
    }
    let mut always = false;
    let mut built = Vec::new();
    for rule in rules {
        if rule.is_empty() {
            report.at(&rule.place, "a rule without a grant is nobody").help("for everyone, write [\"everyone\"]");
        }
        if always {
            let mistake =
                report.at(&rule.place, "this rule is never reached: the one before it resolves for every event");
            mistake.help("put the grants of both into one list, if any of them is to see it");
        }
        let templates: Vec<Template> = rule.iter().filter_map(|grant| template(grant, report)).collect();
        always = templates.len() == rule.len() && templates.iter().all(Template::is_literal);
        built.push(templates);
    }
    built
}

pub(super) fn template(text: &At<String>, report: &mut Report) -> Option<Template> {
    text.value
        .parse()
        .map_err(|error: tidings::template::InvalidTemplate| {
            report.at(&text.place.within(text, error.position), error.reason);
        })
        .ok()
}

/// Tells every mistake in who may ask: its path in the table, and a sentence.
pub(crate) fn check_auth(
    settings: &AuthSettings,
    namespace: Option<&str>,
    implications: Option<&Implications>,
    base: &Path,
    mut tell: impl FnMut(&str, String),
) {
    let check = |settings: AuthSettings| {
        let mut context = AuthContext::new(Arc::new(MemoryStore::default()), Arc::new(|_, _| {}));
        context.namespace = namespace.map(str::to_owned);
        context.implications = implications.cloned().unwrap_or_default();
        context.base = base.to_path_buf();
        Authenticator::new(&settings, context).err()
    };
    // Each alone, as the first mistake of all would hide the others.
    for (index, source) in settings.sources.iter().enumerate() {
        let alone = AuthSettings { sources: vec![source.clone()], ..AuthSettings::default() };
        if let Some(error) = check(alone) {
            let path = error.path.strip_prefix("sources[0]").map(|rest| format!("sources[{index}]{rest}"));
            tell(path.as_deref().unwrap_or(&error.path), error.message);
        }
    }
    if let Some(error) = check(AuthSettings { sources: Vec::new(), anonymous: settings.anonymous.clone() }) {
        tell(&error.path, error.message);
    }
}
