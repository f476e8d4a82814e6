//! How the streams of a mount behave, from what its profile says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use tidings::profile::ANY_EVENT;
use tidings::shape::InvalidShape;
use tidings::{Shape, Topic, TopicPattern, job};
use tidings_transports::{Filtering, Heartbeat, IdleEnd, StreamSettings};

use super::desk;
use super::file::{self, File};
use super::looks::{self, Looks};
use super::socketio;
use crate::settings::decode::At;
use crate::settings::report::{Place, Report, nearest};

/// How the streams of `mount` behave. What is wrong is told, and left as it is by default.
pub(super) fn settings(mount: &At<file::Mount>, file: &File, report: &mut Report) -> StreamSettings {
    let defaults = StreamSettings::default();
    if mount.heartbeat_every.is_some_and(|every| every < Duration::from_secs(1)) {
        report.at(&mount.place, "`heartbeat_every` below a second only costs");
    }
    StreamSettings {
        heartbeat: mount.heartbeat.as_ref().and_then(|beat| heartbeat(beat, report)).unwrap_or(defaults.heartbeat),
        heartbeat_every: mount.heartbeat_every.unwrap_or(defaults.heartbeat_every),
        beats_always: mount.heartbeat_when == Some(file::BeatWhen::Always),
        retry: mount.retry.unwrap_or(defaults.retry),
        drain_retry: defaults.drain_retry,
        preamble: mount.preamble.as_ref().map(|text| one_line(text, report)).or(defaults.preamble),
        ids: mount.ids.unwrap_or(defaults.ids),
        announce: mount.announce.unwrap_or(defaults.announce),
        cursor_every: mount.cursor_every.unwrap_or(defaults.cursor_every),
        idle: mount.idle.as_ref().map(|idle| IdleEnd {
            after: idle.after,
            event: idle.event.as_ref().map(|name| (one_line(name, report), json_line(idle.data.as_ref(), report))),
            form: idle.form.as_ref().and_then(|form| looks::form(form, &idle.words, &[], report)),
        }),
        require_accept: mount.require_accept.unwrap_or(defaults.require_accept),
        cors: mount.cors.clone().unwrap_or(defaults.cors),
        filters: mount.filters.iter().map(|filter| filtering(filter, report)).collect(),
        requires: mount.requires.as_ref().map(|grant| required(grant, report)),
        refusals: refusals(mount, report),
        headers: headers(mount, report),
        wrapped: mount.wrapped.unwrap_or(defaults.wrapped),
        names: mount.names.as_ref().map(|names| told(names, file, report)),
        shapes: shapes(mount, file, report),
        commands: mount.commands.unwrap_or(defaults.commands),
        bare_token: mount.bare_token.unwrap_or(defaults.bare_token),
        socketio: socketio::settings(mount, file, report),
        job: mount.job.as_ref().map(|job| desk::one_job(job, report)),
        dialect: mount.dialect.as_ref().map(|dialect| desk::dialect(dialect, mount, report)),
    }
}

fn heartbeat(heartbeat: &At<file::Heartbeat>, report: &mut Report) -> Option<Heartbeat> {
    match (&heartbeat.comment, &heartbeat.event, &heartbeat.data, &heartbeat.form) {
        (Some(comment), None, None, None) => Some(Heartbeat::Comment(one_line(comment, report))),
        (None, Some(name), data, None) => {
            Some(Heartbeat::Event { name: one_line(name, report), data: json_line(data.as_ref(), report) })
        }
        (None, Some(name), None, Some(form)) => {
            let form = looks::form(form, &BTreeMap::new(), &[], report)?;
            Some(Heartbeat::Form { name: one_line(name, report), form })
        }
        _ => {
            let choices = "{ comment = … }, { event = …, data = … } or { event = …, form = … }";
            report.at(&heartbeat.place, format!("a heartbeat is either {choices}"));
            None
        }
    }
}

fn required(grant: &At<String>, report: &mut Report) -> String {
    if let Err(error) = grant.parse::<Topic>() {
        report.at(&grant.place, error.to_string());
    }
    grant.value.clone()
}

/// The events that are told at the mount.
fn told(names: &At<Vec<At<String>>>, file: &File, report: &mut Report) -> Vec<Arc<str>> {
    if names.is_empty() {
        report.at(&names.place, "a mount that tells no event is of no use");
    }
    for name in &names.value {
        check_event(name, &name.place, file, report);
    }
    names.iter().map(|name| name.value.as_str().into()).collect()
}

/// How events look at the mount.
fn shapes(mount: &file::Mount, file: &File, report: &mut Report) -> BTreeMap<Arc<str>, Shape> {
    let mut shapes = BTreeMap::new();
    for (name, looks) in &mount.shapes {
        check_event(name, &looks.place, file, report);
        let shape = looks::shape(&Looks::on_mount(looks), report);
        // What the event itself hides is hidden here too.
        let event = file.events.get(name).or_else(|| file.events.get(ANY_EVENT));
        if event.map_or(0, |event| event.redact.len()) + looks.redact.len() > 32 {
            report.at(&looks.place, InvalidShape::TooManyRedactions.to_string());
        }
        shapes.insert(name.as_str().into(), shape);
    }
    shapes
}

/// Tells of an event that is never told.
fn check_event(name: &str, place: &Place, file: &File, report: &mut Report) {
    let is_known = file.events.contains_key(name) || file.events.contains_key(ANY_EVENT) || job::is_reserved(name);
    if name == ANY_EVENT || !is_known {
        let mistake = report.at(place, format!("the profile has no event {name:?}"));
        if let Some(near) = nearest(name, file.events.keys().map(String::as_str)) {
            mistake.help(format!("did you mean {near:?}?"));
        }
    }
}

pub(super) fn refusals(mount: &file::Mount, report: &mut Report) -> BTreeMap<u16, String> {
    let mut refusals = BTreeMap::new();
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
    refusals
}

pub(super) fn headers(mount: &file::Mount, report: &mut Report) -> Vec<(String, String)> {
    let mut headers = Vec::new();
    for (name, value) in &mount.headers {
        if HeaderName::from_bytes(name.as_bytes()).is_err() || HeaderValue::from_str(value).is_err() {
            report.at(&value.place, format!("{name:?} with this value is not a header"));
        }
        headers.push((name.clone(), value.value.clone()));
    }
    headers
}

fn filtering(filter: &At<file::Filter>, report: &mut Report) -> Filtering {
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
    Filtering { query: filter.query.value.clone(), split, topic: filter.topic.value.clone(), always }
}

/// The text, if it is one line that is not empty; else the report says so.
pub(super) fn one_line(text: &At<String>, report: &mut Report) -> String {
    if text.is_empty() || text.chars().any(char::is_control) {
        report.at(&text.place, "it must be one line, not empty and without control characters");
    }
    text.value.clone()
}

fn json_line(text: Option<&At<String>>, report: &mut Report) -> String {
    let Some(text) = text else { return "{}".to_owned() };
    if !is_json_line(text) {
        report.at(&text.place, "it must be JSON in one line");
    }
    text.value.clone()
}

/// Whether it is JSON in one line.
pub(super) fn is_json_line(text: &str) -> bool {
    !text.contains(['\n', '\r']) && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}
