//! How a mount speaks Socket.IO, from what its profile says.

use std::ops::RangeInclusive;
use std::time::Duration;

use tidings_transports::{Greeting, Rejection, SocketIoSettings};

use super::file::{self, File};
use super::stream::{is_json_line, one_line};
use crate::auth::settings::SourceSettings;
use crate::settings::decode::At;
use crate::settings::report::Report;

/// How long between two pings, and how long for their answer: below a second they only cost, and after an hour nobody would
/// notice that somebody is gone.
const PING: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);

/// The longest name of a namespace: each connection holds one.
const MAX_NAMESPACE: usize = 128;

/// What a client does itself: as events from the server they would be taken for that, or dropped.
const RESERVED_EVENTS: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// How `mount` speaks Socket.IO. What is wrong is told, and left as it is by default.
pub(super) fn settings(mount: &At<file::Mount>, file: &File, report: &mut Report) -> SocketIoSettings {
    let defaults = SocketIoSettings::default();
    let polling = mount.polling.unwrap_or(defaults.polling);
    let websocket = mount.websocket.unwrap_or(defaults.websocket);
    if !polling && !websocket {
        report.at(&mount.place, "without `polling` and without `websocket` nobody could connect");
    }
    for (name, time) in [("ping_interval", mount.ping_interval), ("ping_timeout", mount.ping_timeout)] {
        if time.is_some_and(|time| !PING.contains(&time)) {
            report.at(&mount.place, format!("`{name}` is from a second to an hour"));
        }
    }
    let namespaces = mount.namespaces.as_ref().map(|names| namespaces(names, report));
    SocketIoSettings {
        namespaces: namespaces.unwrap_or(defaults.namespaces),
        polling,
        websocket,
        allow_eio3: mount.allow_eio3.unwrap_or(defaults.allow_eio3),
        ping_interval: mount.ping_interval.unwrap_or(defaults.ping_interval),
        ping_timeout: mount.ping_timeout.unwrap_or(defaults.ping_timeout),
        reject: mount.reject.as_ref().map_or(defaults.reject, |reject| rejection(reject, report)),
        greetings: mount.greetings.iter().map(|told| greeting(told, file, report)).collect(),
    }
}

fn namespaces(names: &At<Vec<At<String>>>, report: &mut Report) -> Vec<String> {
    if names.is_empty() {
        report.at(&names.place, "without a namespace nobody could connect").help("the usual one is \"/\"");
    }
    for (index, name) in names.iter().enumerate() {
        // In a packet a comma ends it and a query may follow it (Socket.IO protocol 5, "Packet encoding").
        let odd = |c: char| c.is_control() || c.is_whitespace() || ",?#".contains(c);
        if !name.starts_with('/') || name.len() > MAX_NAMESPACE || name.contains(odd) {
            let message =
                format!("a namespace is `/` and at most {} bytes more, none of `,?#` and no space", MAX_NAMESPACE - 1);
            report.at(&name.place, message);
        }
        if names[..index].iter().any(|known| known.value == name.value) {
            report.at(&name.place, format!("the namespace {} is there twice", name.value));
        }
    }
    names.iter().map(|name| name.value.clone()).collect()
}

fn rejection(reject: &At<file::Reject>, report: &mut Report) -> Rejection {
    match &reject.value {
        file::Reject::Http => Rejection::Http,
        file::Reject::ConnectError => Rejection::ConnectError,
        file::Reject::Disconnect => Rejection::Disconnect,
        file::Reject::Event(told) => {
            if !is_json_line(&told.data) {
                report.at(&told.data.place, "it must be JSON in one line; a text stands in quotes: '\"unauthorized\"'");
            }
            Rejection::Event(event_name(&told.event, report), told.data.value.clone())
        }
    }
}

fn greeting(greeting: &At<file::Greeting>, file: &File, report: &mut Report) -> Greeting {
    if let Some(data) = &greeting.data {
        if !is_json_line(&data.replace("{about}", "null").replace("{id}", "\"\"")) {
            let message =
                "it must be JSON in one line, in which {about} stands for a value and {id} for a text in quotes";
            report.at(&data.place, message);
        }
        if data.contains("{about}") && !file.auth.sources.iter().any(says_about) {
            let mistake = report.at(&data.place, "no source of credentials says anything for {about}");
            mistake.help("give the `principal` of one an `about`, like \"{body}\"");
        }
    }
    Greeting { name: event_name(&greeting.event, report), data: greeting.data.as_ref().map(|data| data.value.clone()) }
}

fn says_about(source: &SourceSettings) -> bool {
    match source {
        SourceSettings::Jwt(jwt) => jwt.principal.about.is_some(),
        SourceSettings::Forward(forward) => forward.principal.about.is_some(),
        SourceSettings::ApiKey(_)
        | SourceSettings::ProxyHeader(_)
        | SourceSettings::JobToken(_)
        | SourceSettings::Ticket(_) => false,
    }
}

fn event_name(name: &At<String>, report: &mut Report) -> String {
    if RESERVED_EVENTS.contains(&name.as_str()) {
        report.at(&name.place, format!("{:?} is an event of the client itself; choose another name", name.value));
    }
    one_line(name, report)
}
