//! `/metrics`: what was counted, in the text format of Prometheus (version 0.0.4). docs/metrics.md says what each means.

pub mod process;
mod text;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tidings::job::JobCounters;
use tidings::{CloseReason, GapReason, Standing};
use tidings_brokers::Recovery;
use tidings_transports::lane::BREAKS;
use tidings_transports::{Service, Stream};

use text::Text;

/// The content type of what [`render`] makes.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the figures are read from.
pub struct MetricsSource {
    service: Arc<Service>,
    streams: Vec<(String, &'static str, Arc<Stream>)>,
    /// What was found when the log was opened, if it is on disk.
    pub recovery: Option<Recovery>,
}

impl MetricsSource {
    /// Reads from the handlers' share, and from the streams of each mount: its path, its transport (`sse`, `poll`) and
    /// its streams. Streams with several paths are told under the first.
    pub fn new(service: Arc<Service>, streams: Vec<(String, &'static str, Arc<Stream>)>) -> Self {
        let mut seen = std::collections::HashSet::new();
        let streams = streams.into_iter().filter(|(_, _, stream)| seen.insert(stream.id)).collect();
        MetricsSource { service, streams, recovery: None }
    }
}

/// The figures as text.
pub fn render(source: &MetricsSource) -> String {
    let service = &source.service;
    let (hub, lanes) = (&service.hub, service.counters());
    let (head, counters) = (hub.broker().head(), &hub.counters);
    let of = |counter: &AtomicU64| counter.load(Relaxed);
    let mut text = Text::default();

    text.gauge("tidings_build_info", "The version that runs; always 1.")
        .sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    text.gauge("tidings_draining", "1 while the program stops and sends its streams away.")
        .value(u64::from(service.draining.load(Relaxed)));

    text.counter("tidings_publish_requests_total", "Publish requests, by what became of them.")
        .sample(&[("outcome", "accepted")], of(&service.counters.publishes))
        .sample(&[("outcome", "refused")], of(&service.counters.refused_publishes));
    text.counter("tidings_publish_errors_total", "Batches that the log could not take.")
        .value(of(&counters.publish_errors));
    text.counter("tidings_events_published_total", "Events appended to the log.").value(of(&counters.events));
    text.counter("tidings_signals_published_total", "Signals announced; they are not kept.")
        .value(of(&counters.signals));
    text.counter("tidings_events_coalesced_total", "Events that a newer one replaced before they were appended.")
        .value(of(&counters.coalesced));

    text.counter("tidings_deliveries_total", "Events and signals handed to clients.").value(of(&lanes.delivered));
    text.counter("tidings_delivered_bytes_total", "Bytes written to streams.").value(of(&lanes.bytes));
    text.counter("tidings_blocked_writes_total", "Writes that a socket did not take whole.").value(of(&lanes.blocked));
    text.gauge("tidings_streams_behind", "Streams that are behind now, and read on from the log.")
        .value(of(&lanes.behind));

    let mut open = text.gauge("tidings_streams_open", "Streams that are open, and polls that wait.");
    for (path, transport, stream) in &source.streams {
        let labels = [("profile", stream.profile.name()), ("path", path), ("transport", transport)];
        open = open.sample(&labels, stream.open_now());
    }
    text.counter("tidings_client_messages_total", "Messages heard from clients, pings included.")
        .value(of(&lanes.heard));
    let mut broken =
        text.counter("tidings_connections_broken_off_total", "Clients that broke the rules, by close code.");
    for (code, count) in BREAKS.iter().zip(&lanes.broken) {
        broken = broken.sample(&[("code", &code.to_string())], of(count));
    }
    text.counter("tidings_lane_sockets_total", "Sockets that a lane took over.").value(of(&lanes.opened));
    let mut closed = text.counter("tidings_streams_closed_total", "Ended streams, by why they ended.");
    for (reason, count) in CloseReason::ALL.iter().zip(&lanes.closed) {
        closed = closed.sample(&[("reason", reason.name())], of(count));
    }
    let mut gaps = text.counter("tidings_gaps_total", "Gaps told to clients, by why continuity could not be proven.");
    for reason in [GapReason::Unknown, GapReason::OtherEpoch, GapReason::Trimmed, GapReason::Ahead] {
        gaps = gaps.sample(&[("reason", reason.name())], of(&counters.gaps[reason as usize]));
    }

    let jobs = service.jobs.as_ref().map(|jobs| jobs.open_jobs()).unwrap_or_default();
    text.gauge("tidings_jobs_open", "Jobs that have not ended.")
        .sample(&[("state", "queued")], jobs.queued)
        .sample(&[("state", "running")], jobs.running.saturating_sub(jobs.canceling))
        .sample(&[("state", "canceling")], jobs.canceling);
    let none = JobCounters::default();
    let counted = service.jobs.as_ref().map_or(&none, |jobs| &jobs.counters);
    let mut ended = text.counter("tidings_jobs_ended_total", "Jobs that ended, by how.");
    for (state, count) in counted.ended() {
        ended = ended.sample(&[("state", state.name())], count);
    }
    text.counter(
        "tidings_job_leases_lost_total",
        "Workers that were silent for too long: their jobs went on without them.",
    )
    .value(of(&counted.leases_lost));

    text.gauge("tidings_connections", "Connections that are open, all transports together.")
        .value(service.limiter.open() as u64);
    text.gauge("tidings_connections_limit", "How many there may be: `connections` of [limits].")
        .value(hub.limits().connections as u64);
    text.counter("tidings_connections_refused_total", "Connections and streams refused by a limit.")
        .value(of(&service.limiter.refused));

    text.gauge("tidings_log_cut_off", "1 while the log is kept elsewhere and can't be reached.")
        .value(u64::from(hub.broker().standing() == Standing::CutOff));
    text.gauge("tidings_log_events", "Events that the log keeps, as near as is known.").value(head.events);
    text.gauge("tidings_log_bytes", "Bytes that the log keeps, as near as is known.").value(head.bytes);
    text.gauge("tidings_log_last_offset", "The offset of the newest event.").value(head.last.0);
    text.gauge("tidings_log_trimmed_offset", "Everything up to this offset was removed by retention.")
        .value(head.trimmed.0);
    text.gauge("tidings_log_cut_bytes", "Bytes of an unfinished write that were cut off the log when it was opened.")
        .value(source.recovery.map_or(0, |recovery| recovery.cut_bytes));
    text.counter("tidings_log_pages_read_total", "Pages read from the log for clients behind the window.")
        .value(of(&counters.history_pages));
    let (entries, bytes) = hub.window().size();
    text.gauge("tidings_window_events", "Events and signals that the window keeps in memory.").value(entries as u64);
    text.gauge("tidings_window_bytes", "Bytes that the window keeps in memory.").value(bytes as u64);

    process::write(&mut text);
    text.finish()
}

#[cfg(test)]
mod tests;
