//! Which setting of a mount belongs to which transport.

use super::file::{Kind, Mount};
use crate::settings::decode::At;
use crate::settings::report::Report;

/// The transports that share a setting.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    /// Every stream.
    Streams,
    /// Streams that speak into silence as the mount says. Socket.IO has its own ping.
    Beating,
    /// What is answered with one HTTP response.
    Responses,
    /// A stream, or where jobs are dealt with.
    Answering,
    /// What can be of one job.
    Watching,
    /// Where jobs are dealt with.
    Desks,
    /// Where jobs are made.
    Making,
    /// Where a job is shown.
    Showing,
    /// Where the result of a job is read.
    Results,
    /// Clients can send.
    TwoWay,
    WebSocket,
    SocketIo,
    /// No stream.
    Sides,
}

impl Of {
    fn covers(self, kind: Kind) -> bool {
        use Kind::{Health, Job, JobCancel, JobCreate, JobResult, Poll, Ready, SocketIo, Sse, WebSocket};
        match self {
            Of::Streams => matches!(kind, Sse | Poll | WebSocket | SocketIo),
            Of::Answering => !matches!(kind, Ready | Health),
            Of::Watching => matches!(kind, Sse | WebSocket | Job | JobCancel | JobResult),
            Of::Desks => matches!(kind, Job | JobCancel | JobCreate | JobResult),
            Of::Making => kind == JobCreate,
            Of::Showing => kind == Job,
            Of::Results => kind == JobResult,
            Of::Beating => matches!(kind, Sse | Poll | WebSocket),
            Of::Responses => matches!(kind, Sse | Poll),
            Of::TwoWay => matches!(kind, WebSocket | SocketIo),
            Of::WebSocket => kind == WebSocket,
            Of::SocketIo => kind == SocketIo,
            Of::Sides => matches!(kind, Ready | Health),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Of::Streams => "streams",
            Of::Answering => "streams and of where jobs are dealt with",
            Of::Watching => "sse, websocket, job, job-cancel and job-result",
            Of::Desks => "job, job-create, job-cancel and job-result",
            Of::Making => "job-create",
            Of::Showing => "job",
            Of::Results => "job-result",
            Of::Beating => "sse, poll and websocket",
            Of::Responses => "sse and poll",
            Of::TwoWay => "websocket and socketio",
            Of::WebSocket => "websocket",
            Of::SocketIo => "socketio",
            Of::Sides => "side endpoints",
        }
    }
}

/// Tells of every setting that is nothing to the mount's transport: it would be without effect.
pub(super) fn check(mount: &At<Mount>, report: &mut Report) {
    let kind = mount.transport;
    for (name, of, _) in settings(mount).into_iter().filter(|(_, of, there)| *there && !of.covers(kind)) {
        let message = format!("`{name}` is a setting of {}; the transport of this mount is {}", of.name(), kind.name());
        report.at(&mount.place, message);
    }
}

/// Every setting beside the transport and the path: its name, whose it is, and whether the mount has it.
fn settings(mount: &Mount) -> [(&'static str, Of, bool); 48] {
    [
        ("ids", Of::Streams, mount.ids.is_some()),
        ("announce", Of::Streams, mount.announce.is_some()),
        ("cursor_every", Of::Streams, mount.cursor_every.is_some()),
        ("idle", Of::Streams, mount.idle.is_some()),
        ("cors", Of::Answering, mount.cors.is_some()),
        ("filters", Of::Streams, !mount.filters.is_empty()),
        ("requires", Of::Streams, mount.requires.is_some()),
        ("refusals", Of::Answering, !mount.refusals.is_empty()),
        ("headers", Of::Answering, !mount.headers.is_empty()),
        ("wrapped", Of::Streams, mount.wrapped.is_some()),
        ("names", Of::Streams, mount.names.is_some()),
        ("shapes", Of::Streams, !mount.shapes.is_empty()),
        ("heartbeat_every", Of::Beating, mount.heartbeat_every.is_some()),
        ("heartbeat", Of::Responses, mount.heartbeat.is_some()),
        ("heartbeat_when", Of::Responses, mount.heartbeat_when.is_some()),
        ("retry", Of::Responses, mount.retry.is_some()),
        ("preamble", Of::Responses, mount.preamble.is_some()),
        ("require_accept", Of::Responses, mount.require_accept.is_some()),
        ("commands", Of::TwoWay, mount.commands.is_some()),
        ("bare_token", Of::WebSocket, mount.bare_token.is_some()),
        ("namespaces", Of::SocketIo, mount.namespaces.is_some()),
        ("polling", Of::SocketIo, mount.polling.is_some()),
        ("websocket", Of::SocketIo, mount.websocket.is_some()),
        ("allow_eio3", Of::SocketIo, mount.allow_eio3.is_some()),
        ("ping_interval", Of::SocketIo, mount.ping_interval.is_some()),
        ("ping_timeout", Of::SocketIo, mount.ping_timeout.is_some()),
        ("reject", Of::SocketIo, mount.reject.is_some()),
        ("greetings", Of::SocketIo, !mount.greetings.is_empty()),
        ("job", Of::Watching, mount.job.is_some()),
        ("dialect", Of::WebSocket, mount.dialect.is_some()),
        ("kind", Of::Making, mount.kind.is_some()),
        ("file", Of::Making, mount.file.is_some()),
        ("id", Of::Making, mount.id.is_some()),
        ("client_ids", Of::Making, mount.client_ids.is_some()),
        ("most_input", Of::Making, mount.most_input.is_some()),
        ("checks", Of::Making, !mount.checks.is_empty()),
        ("token_ttl", Of::Making, mount.token_ttl.is_some()),
        ("open", Of::Making, mount.open.is_some()),
        ("status", Of::Desks, mount.status.is_some()),
        ("answer", Of::Desks, mount.answer.is_some()),
        ("words", Of::Desks, !mount.words.is_empty()),
        ("rate", Of::Desks, mount.rate.is_some()),
        ("base", Of::Desks, mount.base.is_some()),
        ("cancel_answer", Of::Showing, mount.cancel_answer.is_some()),
        ("page", Of::Results, mount.page.is_some()),
        ("body", Of::Sides, mount.body.is_some()),
        ("clients", Of::Sides, mount.clients.is_some()),
        ("draining", Of::Sides, mount.draining.is_some()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::decode::decode;
    use crate::settings::report::Source;
    use crate::settings::tree::Node;

    #[test]
    fn each_setting_of_a_mount_is_in_the_docs() {
        let mut report = Report::default();
        let source = Source::file("mount.toml", "transport = \"sse\"\npath = \"/\"");
        let mount: Mount = decode(&Node::parse(&source, &mut report), &mut report).unwrap();
        let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/profiles.md");
        let docs = std::fs::read_to_string(docs).unwrap();
        let tables: Vec<&str> = docs.lines().filter(|line| line.starts_with("| `")).collect();
        for (name, of, _) in settings(&mount) {
            let told = tables
                .iter()
                .any(|line| line.split('|').nth(1).is_some_and(|names| names.contains(&format!("`{name}`"))));
            assert!(told, "`{name}`, a setting of {}, is in no table", of.name());
        }
    }
}
