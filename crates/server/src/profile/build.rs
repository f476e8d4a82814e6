//! Makes of a file what the hub and the transports obey, and finds what can't be.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use tidings::profile::{ANY_EVENT, MAX_NAME_BYTES};
use tidings::{
    Args, Coalesce, EventRule, Implications, JsonPath, Profile, Redaction, Shape, Template, Topic, TopicPattern,
};
use tidings_transports::{Filtering, Heartbeat, IdleEnd, StreamSettings};

use super::file::{self, Audience, Event, File, Kind, With};
use super::plan::reserved;
use super::{LoadedProfile, Mount, MountPath, Ready, Transport};
use crate::auth::{AuthContext, AuthSettings, Authenticator, MemoryStore};
use crate::settings::decode::At;
use crate::settings::report::Report;
use crate::settings::tree::{Node, place_at};

/// Where a file comes from.
pub(super) struct Context<'a> {
    /// What was written.
    pub root: &'a Node,
    /// Where relative paths start.
    pub base: &'a Path,
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
    let rules: Vec<EventRule> =
        file.events.iter().filter_map(|(name, event)| rule(name, event, context, report)).collect();
    let implications = implications(&file, report);
    let base_path = context.base_path.or(file.base_path.as_ref());
    let mounts = mounts(&file, base_path, report);
    if context.clean {
        check_auth(&file.auth, Some(namespace), implications.as_ref(), context.base, |path, message| {
            report.at(&place_at(root, &format!("auth.{path}")), message);
        });
    }
    if report.mistakes().len() > before || !context.clean {
        return None;
    }
    let base = context.base.to_path_buf();
    let profile = Profile::new(name, Some(namespace), implications?, rules);
    Some(LoadedProfile { profile: Arc::new(profile), description: file.description, auth: file.auth, base, mounts })
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

fn rule(name: &str, event: &At<Event>, context: &Context<'_>, report: &mut Report) -> Option<EventRule> {
    let place =
        context.root.get("events").and_then(|events| events.entry(name)).map_or(&event.place, |(key, _)| &key.place);
    let before = report.mistakes().len();
    if name.is_empty() || name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
        report.at(place, "an event's name is 1 to 128 bytes without control characters");
    }
    if name != ANY_EVENT && name.contains('*') {
        report.at(place, "only `*` alone stands for every other event");
    }
    let mut topics = Vec::new();
    match &event.topic {
        Some(topic) if topic.texts().is_empty() => {
            report.at(&topic.place, "an event needs a topic");
        }
        Some(topic) => topics.extend(topic.texts().iter().filter_map(|topic| template(topic, report))),
        None if !context.clean => {}
        None => {
            report.at(place, format!("the event {name:?} has no topic")).help("give it a `topic`, like \"books\"");
        }
    }
    let audience = match &event.audience {
        Some(audience) => rules(audience, report),
        None if event.publisher_audience || !context.clean => Vec::new(),
        None => {
            let mistake = report.at(place, format!("the event {name:?} has no audience: nobody would be given it"));
            mistake.help("give it an `audience`, like \"everyone\" or [[\"user/{scope.owner}\"]]");
            Vec::new()
        }
    };
    let key = event.key.as_ref().and_then(|key| template(key, report));
    if let Some(coalesce) = &event.coalesce {
        if coalesce.max_wait < coalesce.window {
            report.at(&coalesce.place, "`max_wait` is shorter than `window`, and so would decide alone");
        }
        if coalesce.max_wait > Duration::from_secs(60) {
            report.at(&coalesce.place, "an event may be held back for a minute at most");
        }
    }
    let shape = shape(event, report);
    if report.mistakes().len() > before || topics.is_empty() {
        return None;
    }
    let topic = topics.remove(0);
    Some(EventRule {
        other_topics: topics,
        kept: event.kept,
        key,
        coalesce: event.coalesce.as_ref().map(|c| Coalesce { window: c.window, max_wait: c.max_wait }),
        retain: event.retain,
        publisher_topic: event.publisher_topic,
        publisher_audience: event.publisher_audience,
        shape: shape?,
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

fn template(text: &At<String>, report: &mut Report) -> Option<Template> {
    text.value
        .parse()
        .map_err(|error: tidings::template::InvalidTemplate| {
            report.at(&text.place.within(text, error.position), error.reason);
        })
        .ok()
}

fn shape(event: &Event, report: &mut Report) -> Option<Shape> {
    let mut shape = Shape::default().with_args(match event.args {
        file::Args::Zero => Args::Zero,
        file::Args::One => Args::One,
        file::Args::Spread => Args::Spread,
    });
    if let Some(wire) = &event.wire {
        match shape.clone().named(wire) {
            Ok(named) => shape = named,
            Err(error) => {
                report.at(&wire.place, error.to_string());
            }
        }
    }
    if let Some(key) = &event.wrap {
        shape = shape.wrapped(key);
    }
    let path = |text: &At<String>, report: &mut Report| -> Option<JsonPath> {
        let wrong = |error: tidings::json::InvalidPath| {
            report.at(&text.place, error.reason);
        };
        text.value.parse().map_err(wrong).ok()
    };
    for case in &event.cases {
        if let Some(path) = path(&case.path, report) {
            shape = shape.case(path, case.to.into());
        }
    }
    for redact in &event.redact {
        let unless: Vec<Template> = redact.unless.iter().filter_map(|grant| template(grant, report)).collect();
        let Some(path) = path(&redact.path, report) else { continue };
        match shape.clone().redact(Redaction { path, unless, with_null: redact.with == With::Null }) {
            Ok(redacting) => shape = redacting,
            Err(error) => {
                report.at(&redact.place, error.to_string());
                break;
            }
        }
    }
    Some(shape)
}

fn mounts(file: &File, base_path: Option<&At<String>>, report: &mut Report) -> Vec<Mount> {
    let prefix = base_path.map_or("", |path| path.value.as_str()).trim_end_matches('/');
    if let Some(base) = base_path
        && !prefix.is_empty()
        && let Err(reason) = check_path(prefix)
    {
        report.at(&base.place, format!("{:?} can't be a base path: {reason}", base.value));
        return Vec::new();
    }
    let mut taken: HashMap<String, usize> = HashMap::new();
    let mut built = Vec::new();
    for mount in &file.mounts {
        let written = mount.path.texts();
        if written.is_empty() {
            report.at(&mount.path.place, "a mount needs a path");
        }
        let mut paths = Vec::new();
        for At { value, place } in written {
            if let Err(reason) = check_path(&value) {
                report.at(&place, format!("{value:?} can't be a path: {reason}"));
                continue;
            }
            let path = format!("{prefix}{value}");
            let own = matches!((mount.transport, path.as_str()), (Kind::Ready, "/ready") | (Kind::Health, "/health"));
            if let Some(reserved) = reserved(&path).filter(|_| !own) {
                let mistake = report.at(&place, format!("the path {path} is the program's own ({reserved})"));
                mistake.help("choose another path, or give the profile a `base_path`");
            }
            match taken.get(&path) {
                Some(line) => {
                    report.at(&place, format!("the path {path} is taken by the mount in line {line}"));
                }
                None => {
                    taken.insert(path.clone(), place.line());
                }
            }
            paths.push(MountPath { path, place });
        }
        let transport = match mount.transport {
            Kind::Sse => stream(mount, report).map(Transport::Sse),
            Kind::Poll => stream(mount, report).map(Transport::Poll),
            Kind::Ready => Some(Transport::Ready(side(mount, report))),
            Kind::Health => Some(Transport::Health(side(mount, report))),
        };
        built.extend(transport.map(|transport| Mount { paths, transport }));
    }
    built
}

/// Whether it can be a path that is matched as it is.
fn check_path(path: &str) -> Result<(), &'static str> {
    if !path.starts_with('/') {
        return Err("it must begin with `/`");
    }
    let odd = |c: char| c.is_control() || c.is_whitespace() || !c.is_ascii() || "?#{}*:%\\\"<>".contains(c);
    if path.contains(odd) {
        return Err("it may have only letters, digits and the marks of a plain path");
    }
    if path.contains("//") || path.split('/').any(|segment| segment == "." || segment == "..") {
        return Err("it has an empty segment, `.` or `..`");
    }
    Ok(())
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
        let Ok(mut context) = AuthContext::new(Arc::new(MemoryStore::default()), Arc::new(|_, _| {})) else {
            return None;
        };
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

/// The answer of a side endpoint.
fn side(mount: &At<file::Mount>, report: &mut Report) -> Ready {
    let stray = [
        ("heartbeat", mount.heartbeat.is_some()),
        ("heartbeat_every", mount.heartbeat_every.is_some()),
        ("retry", mount.retry.is_some()),
        ("preamble", mount.preamble.is_some()),
        ("ids", mount.ids.is_some()),
        ("announce", mount.announce.is_some()),
        ("cursor_every", mount.cursor_every.is_some()),
        ("idle", mount.idle.is_some()),
        ("require_accept", mount.require_accept.is_some()),
        ("cors", mount.cors.is_some()),
        ("filters", !mount.filters.is_empty()),
        ("requires", mount.requires.is_some()),
        ("refusals", !mount.refusals.is_empty()),
        ("headers", !mount.headers.is_empty()),
    ];
    for (name, _) in stray.iter().filter(|(_, there)| *there) {
        report.at(&mount.place, format!("`{name}` is a setting of streams; this mount has none"));
    }
    Ready {
        body: mount.body.as_ref().map(|body| body.value.clone()).unwrap_or_default(),
        clients: mount.clients.as_ref().map(|name| name.value.clone()),
        draining: mount.draining.as_ref().map(|body| body.value.clone()).unwrap_or_default(),
    }
}

fn stream(mount: &At<file::Mount>, report: &mut Report) -> Option<StreamSettings> {
    let defaults = StreamSettings::default();
    for (name, there) in
        [("body", mount.body.is_some()), ("clients", mount.clients.is_some()), ("draining", mount.draining.is_some())]
    {
        if there {
            report.at(&mount.place, format!("`{name}` is a setting of side endpoints; this mount is a stream"));
        }
    }
    let heartbeat = match &mount.heartbeat {
        None => defaults.heartbeat,
        Some(heartbeat) => match (&heartbeat.comment, &heartbeat.event, &heartbeat.data) {
            (Some(comment), None, None) => Heartbeat::Comment(one_line(comment, report)),
            (None, Some(name), data) => {
                Heartbeat::Event { name: one_line(name, report), data: json_line(data.as_ref(), report) }
            }
            _ => {
                report.at(&heartbeat.place, "a heartbeat is either { comment = … } or { event = …, data = … }");
                defaults.heartbeat
            }
        },
    };
    let second = Duration::from_secs(1);
    if mount.heartbeat_every.is_some_and(|every| every < second) {
        report.at(&mount.place, "`heartbeat_every` below a second only costs");
    }
    let requires = mount.requires.as_ref().map(|grant| {
        if let Err(error) = grant.parse::<Topic>() {
            report.at(&grant.place, error.to_string());
        }
        grant.value.clone()
    });
    let mut refusals = std::collections::BTreeMap::new();
    for (status, body) in &mount.refusals {
        match status.parse::<u16>().ok().filter(|status| (400..600).contains(status)) {
            Some(status) => {
                refusals.insert(status, body.value.clone());
            }
            None => {
                report.at(&body.place, format!("`{status}` is not the status of a refusal (400 to 599)"));
            }
        }
    }
    let mut headers = Vec::new();
    for (name, value) in &mount.headers {
        if HeaderName::from_bytes(name.as_bytes()).is_err() || HeaderValue::from_str(value).is_err() {
            report.at(&value.place, format!("{name:?} with this value is not a header"));
        }
        headers.push((name.clone(), value.value.clone()));
    }
    Some(StreamSettings {
        heartbeat,
        heartbeat_every: mount.heartbeat_every.unwrap_or(defaults.heartbeat_every),
        retry: mount.retry.unwrap_or(defaults.retry),
        drain_retry: defaults.drain_retry,
        preamble: mount.preamble.as_ref().map(|text| one_line(text, report)).or(defaults.preamble),
        ids: mount.ids.unwrap_or(defaults.ids),
        announce: mount.announce.unwrap_or(defaults.announce),
        cursor_every: mount.cursor_every.unwrap_or(defaults.cursor_every),
        idle: mount.idle.as_ref().map(|idle| IdleEnd {
            after: idle.after,
            event: idle.event.as_ref().map(|name| (one_line(name, report), json_line(idle.data.as_ref(), report))),
        }),
        require_accept: mount.require_accept.unwrap_or(defaults.require_accept),
        cors: mount.cors.clone().unwrap_or(defaults.cors),
        filters: mount.filters.iter().filter_map(|filter| filtering(filter, report)).collect(),
        requires,
        refusals,
        headers,
        ..defaults
    })
}

fn filtering(filter: &At<file::Filter>, report: &mut Report) -> Option<Filtering> {
    if filter.query.is_empty() {
        report.at(&filter.query.place, "a filter needs the name of a query parameter");
    }
    if !filter.topic.contains("{value}") {
        let mistake = report.at(&filter.topic.place, "the topic of a filter needs a place for the value");
        mistake.help("write it as in \"library/{value}\"");
    } else if let Err(error) = filter.topic.replace("{value}", "x").parse::<Topic>() {
        report.at(&filter.topic.place, error.reason);
    }
    let split = filter.split.as_ref().and_then(|text| {
        let mut chars = text.chars();
        let one = chars.next().filter(|_| chars.next().is_none());
        if one.is_none() {
            report.at(&text.place, "what separates values is one character, like \",\"");
        }
        one
    });
    let mut always = Vec::new();
    for pattern in &filter.always {
        match pattern.parse::<TopicPattern>() {
            Ok(pattern) => always.push(pattern),
            Err(error) => {
                report.at(&pattern.place, error.to_string());
            }
        }
    }
    Some(Filtering { query: filter.query.value.clone(), split, topic: filter.topic.value.clone(), always })
}

fn one_line(text: &At<String>, report: &mut Report) -> String {
    if text.is_empty() || text.chars().any(char::is_control) {
        report.at(&text.place, "it must be one line, not empty and without control characters");
    }
    text.value.clone()
}

fn json_line(text: Option<&At<String>>, report: &mut Report) -> String {
    let Some(text) = text else { return "{}".to_owned() };
    if text.contains(['\n', '\r']) || serde_json::from_str::<serde::de::IgnoredAny>(text).is_err() {
        report.at(&text.place, "it must be JSON in one line");
    }
    text.value.clone()
}
