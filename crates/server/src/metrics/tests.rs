use std::collections::BTreeSet;

use tidings::{CloseReason, Hub, Limits, Profile, SystemClock};
use tidings_brokers::memory::{MemoryBroker, MemorySettings};
use tidings_transports::StreamSettings;

use super::*;

async fn source() -> MetricsSource {
    let broker = Arc::new(MemoryBroker::new(MemorySettings::default()));
    let hub = Hub::open(broker, [], Arc::new(SystemClock), Limits::default()).await.unwrap();
    let stream = Stream::new(StreamSettings::default(), Arc::new(Profile::open()));
    let streams = vec![("/v1/events".into(), "sse", stream.clone()), ("/again".into(), "sse", stream)];
    MetricsSource::new(Service::new(hub, None, None), streams)
}

/// The metrics as the docs write them, with their labels: the first cells of the tables, up to the advice at the end.
fn documented() -> impl Iterator<Item = &'static str> {
    let docs = include_str!("../../../../docs/metrics.md");
    let (tables, _) = docs.split_once("## What to be told of").unwrap();
    tables.lines().filter_map(|line| line.strip_prefix("| `")).map(|row| row.split('`').next().unwrap())
}

/// The names that a text declares.
fn declared(text: &str) -> BTreeSet<String> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types.map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn every_metric_is_in_the_docs_and_the_docs_have_no_other() {
    let documented: BTreeSet<_> = documented().map(|written| written.split('{').next().unwrap().to_owned()).collect();
    assert_eq!(declared(&render(&source().await)), documented);
}

#[tokio::test]
async fn the_labels_in_the_docs_are_those_of_the_samples() {
    let text = render(&source().await);
    for written in documented() {
        let (name, labels) = written.split_once('{').unwrap_or((written, "}"));
        let sample = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])));
        let sample = sample.unwrap_or_else(|| panic!("{name} has no sample"));
        let found: Vec<_> =
            sample.split(['{', ',']).skip(1).filter_map(|label| label.split_once('=')).map(|(name, _)| name).collect();
        assert_eq!(found.join(","), labels.trim_end_matches('}'), "{name}");
    }
}

#[tokio::test]
async fn each_value_of_a_label_is_in_the_docs() {
    let text = render(&source().await);
    let docs = include_str!("../../../../docs/metrics.md");
    for sample in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, labels)) = sample.split_once('{') else { continue };
        let (label, value) = labels.split_once("=\"").unwrap();
        // The others are the operator's.
        if !["reason", "state", "outcome", "code"].contains(&label) {
            continue;
        }
        let value = value.split('"').next().unwrap();
        let row = docs.lines().find(|row| row.starts_with(&format!("| `{name}{{"))).unwrap();
        let mut words = row.split(|c: char| !c.is_alphanumeric() && c != '-');
        assert!(words.any(|word| word == value), "{name} has {label} {value:?}");
    }
}

#[tokio::test]
async fn what_was_counted_is_told() {
    let source = source().await;
    source.service.counters().delivered.store(7, Relaxed);
    source.service.counters().count_close(CloseReason::Draining);
    source.service.hub.counters.gaps[GapReason::Trimmed as usize].store(2, Relaxed);
    source.streams[0].2.open.store(3, Relaxed);
    let text = render(&source);
    for line in [
        "tidings_deliveries_total 7",
        "tidings_streams_closed_total{reason=\"draining\"} 1",
        "tidings_streams_closed_total{reason=\"gone\"} 0",
        "tidings_gaps_total{reason=\"trimmed\"} 2",
        "tidings_connections_limit 100000",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    let open: Vec<_> = text.lines().filter(|line| line.starts_with("tidings_streams_open{")).collect();
    let [open] = open[..] else { panic!("a stream with two paths is told once, not {open:?}") };
    assert!(open.contains("path=\"/v1/events\",transport=\"sse\"") && open.ends_with(" 3"), "{open}");
}

#[tokio::test]
async fn jobs_are_told_by_what_they_do_and_how_they_ended() {
    use tidings::job::{JobSettings, Jobs, MemoryJobs, NewJob};
    let broker = Arc::new(MemoryBroker::new(MemorySettings::default()));
    let hub = Hub::open(broker, [], Arc::new(SystemClock), Limits::default()).await.unwrap();
    let jobs = Jobs::open(hub.clone(), Arc::new(MemoryJobs::default()), JobSettings::default()).await.unwrap();
    for _ in 0..6 {
        jobs.create(NewJob { kind: "a".into(), ..NewJob::default() }).await.unwrap();
    }
    let mut claimed = Vec::new();
    for _ in 0..3 {
        let wait = std::time::Duration::ZERO;
        claimed.push(jobs.claim(None, &["a".to_owned()], "w", None, wait).await.unwrap().unwrap());
    }
    jobs.cancel(&claimed[0].job.id, std::time::Duration::ZERO).await.unwrap();
    jobs.finish(&claimed[2].job.id, &claimed[2].lease, tidings::job::Outcome::Completed(None)).await.unwrap();
    let limiter = tidings_transports::Limiter::new(hub.limits());
    let text = render(&MetricsSource::new(Service::limited(hub, None, None, limiter, Some(jobs)), Vec::new()));
    for line in ["{state=\"queued\"} 3", "{state=\"running\"} 1", "{state=\"canceling\"} 1"] {
        assert!(text.contains(&format!("tidings_jobs_open{line}\n")), "{line} is not in\n{text}");
    }
    assert!(text.contains("tidings_jobs_ended_total{state=\"completed\"} 1\n"), "{text}");
    assert!(text.contains("tidings_job_leases_lost_total 0\n"), "{text}");
}

#[tokio::test]
async fn each_line_is_of_the_text_format() {
    let text = render(&source().await);
    let mut declared = "";
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# ") {
            declared = rest.split(' ').nth(1).unwrap();
            continue;
        }
        let (sample, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok_and(|value| value >= 0.0), "{line}");
        assert_eq!(sample.split('{').next().unwrap(), declared, "a sample stands under its own name");
    }
}
