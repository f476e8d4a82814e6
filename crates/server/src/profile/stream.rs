//! How the streams of a mount behave, from what its profile says.

use std::collections::BTreeMap;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use tidings::{Topic, TopicPattern};
use tidings_transports::{Filtering, Heartbeat, IdleEnd, StreamSettings};

use super::file::{self, File};
use super::socketio;
use crate::settings::decode::At;
use crate::settings::report::Report;

/// How the streams of `mount` behave. What is wrong is told, and left as it is by default.
pub(super) fn settings(mount: &At<file::Mount>, file: &File, report: &mut Report) -> StreamSettings {
    let defaults = StreamSettings::default();
    if mount.heartbeat_every.is_some_and(|every| every < Duration::from_secs(1)) {
        report.at(&mount.place, "`heartbeat_every` below a second only costs");
    }
    StreamSettings {
        heartbeat: mount.heartbeat.as_ref().and_then(|beat| heartbeat(beat, report)).unwrap_or(defaults.heartbeat),
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
        filters: mount.filters.iter().map(|filter| filtering(filter, report)).collect(),
        requires: mount.requires.as_ref().map(|grant| required(grant, report)),
        refusals: refusals(mount, report),
        headers: headers(mount, report),
        wrapped: mount.wrapped.unwrap_or(defaults.wrapped),
        commands: mount.commands.unwrap_or(defaults.commands),
        bare_token: mount.bare_token.unwrap_or(defaults.bare_token),
        socketio: socketio::settings(mount, file, report),
    }
}

fn heartbeat(heartbeat: &At<file::Heartbeat>, report: &mut Report) -> Option<Heartbeat> {
    match (&heartbeat.comment, &heartbeat.event, &heartbeat.data) {
        (Some(comment), None, None) => Some(Heartbeat::Comment(one_line(comment, report))),
        (None, Some(name), data) => {
            Some(Heartbeat::Event { name: one_line(name, report), data: json_line(data.as_ref(), report) })
        }
        _ => {
            report.at(&heartbeat.place, "a heartbeat is either { comment = … } or { event = …, data = … }");
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

fn refusals(mount: &file::Mount, report: &mut Report) -> BTreeMap<u16, String> {
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

fn headers(mount: &file::Mount, report: &mut Report) -> Vec<(String, String)> {
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
