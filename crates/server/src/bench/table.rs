//! Many runs side by side, as Markdown.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Failure;
use super::report::{Report, Shown};

/// The options of `table`.
#[derive(Debug, clap::Args)]
pub struct TableArgs {
    /// The directory with the runs' JSON files
    #[arg(default_value = "bench/results")]
    directory: PathBuf,
}

/// The servers, in the order of their columns.
const COLUMNS: [&str; 5] = ["tidings", "floor", "floor-log", "nchan", "socket.io"];

/// One line of the table.
#[derive(Clone, Copy)]
struct Row {
    says: &'static str,
    scenario: &'static str,
    figure: &'static str,
    /// What the hub's figure is divided by.
    against: Against,
    /// What the hub is to reach.
    aim: Aim,
}

/// What a figure is compared with.
#[derive(Clone, Copy)]
enum Against {
    /// The same at the bare floor.
    Floor,
    /// The hub's own over Server-Sent Events, in this scenario.
    EventStream(&'static str),
    /// The same at npm's `socket.io`.
    Npm,
}

impl Against {
    fn name(self) -> &'static str {
        match self {
            Against::Floor => "floor",
            Against::EventStream(_) => "SSE",
            Against::Npm => "socket.io",
        }
    }
}

#[derive(Clone, Copy)]
enum Aim {
    AtMost(f64),
    AtLeast(f64),
    /// At most so many times what it is compared with.
    AtMostTimes(f64),
    /// At least so many times what it is compared with.
    AtLeastTimes(f64),
    None,
}

const fn row(says: &'static str, scenario: &'static str, figure: &'static str, aim: Aim) -> Row {
    Row { says, scenario, figure, against: Against::Floor, aim }
}

/// One that is not compared with the floor, which knows event streams alone.
const fn row_against(
    against: Against,
    says: &'static str,
    scenario: &'static str,
    figure: &'static str,
    aim: Aim,
) -> Row {
    Row { says, scenario, figure, against, aim }
}

/// What is asked of the hub, and what explains it.
const ROWS: &[Row] = &[
    row(
        "CPU-s per 10⁶ deliveries, 1,000 subscribers at 50k/s",
        "rate-1000",
        "cpu_s_per_million",
        Aim::AtMostTimes(1.15),
    ),
    row(
        "CPU-s per 10⁶ deliveries, 5,000 subscribers at 50k/s",
        "rate-5000",
        "cpu_s_per_million",
        Aim::AtMostTimes(1.15),
    ),
    row("latency p50 ms, 1,000 subscribers at 50k/s", "rate-1000", "latency_p50_ms", Aim::None),
    row("latency p99 ms, 1,000 subscribers at 50k/s", "rate-1000", "latency_p99_ms", Aim::None),
    row("flat out, 15,000 subscribers, deliveries/s", "flat-out-15000", "deliveries_per_s", Aim::AtLeast(1_500_000.0)),
    row("the same per second of the server's CPU", "flat-out-15000", "deliveries_per_cpu_s", Aim::None),
    row("bytes per idle connection at 15,000", "idle-15000", "bytes_per_connection", Aim::AtMost(512.0)),
    row("bytes per further connection, 1,000 to 15,000", "idle-15000", "bytes_per_further_connection", Aim::None),
    row("CPU µs per publish, 10,000 topics, alone", "topics-10000", "cpu_us_per_publish_alone", Aim::None),
    row(
        "CPU µs per publish, 10,000 topics, 64 in flight",
        "topics-10000",
        "cpu_us_per_publish_64_in_flight",
        Aim::AtMost(20.0),
    ),
    row(
        "CPU µs per publish, 10,000 topics, arrays of 100",
        "topics-10000",
        "cpu_us_per_publish_arrays",
        Aim::AtMost(20.0),
    ),
    row("CPU µs to open a stream", "open-20000", "open_cpu_us", Aim::AtMost(40.0)),
    row("CPU µs to close a stream", "open-20000", "close_cpu_us", Aim::None),
    row("streams opened/s", "open-20000", "opened_per_s", Aim::None),
    row(
        "5,000 reconnects that missed 100 events, connections/s",
        "reconnect-5000",
        "reconnects_per_s",
        Aim::AtLeast(11_000.0),
    ),
    row("CPU ms each", "reconnect-5000", "cpu_ms_per_reconnect", Aim::None),
    row("publishes/s of 300 B, 64 requests in flight", "publish", "in_flight_events_per_s", Aim::AtLeast(100_000.0)),
    row("publishes/s of 300 B, 8 × 8 pipelined", "publish", "pipelined_events_per_s", Aim::None),
    row("publishes/s of 300 B, 8 arrays of 100 in flight", "publish", "array_events_per_s", Aim::None),
    row("publishes/s of 300 B, 8 NDJSON bodies of 100 in flight", "publish", "ndjson_events_per_s", Aim::None),
    row("CPU µs per publish, 64 requests in flight", "publish", "in_flight_cpu_us_per_event", Aim::None),
    row("publish alone, p50 ms", "publish", "alone_p50_ms", Aim::None),
    row("the disk's own write + fdatasync, p50 ms", "publish", "disk_sync_appended_p50_ms", Aim::None),
    row("publish alone, times the disk's own sync", "publish", "alone_p50_by_appended_sync", Aim::AtMost(2.0)),
    row(
        "resume at the start of 10⁷ events, first event p99 ms",
        "resume-10000000",
        "start_first_event_p99_ms",
        Aim::AtMost(5.0),
    ),
    row(
        "resume in the middle of 10⁷ events, first event p99 ms",
        "resume-10000000",
        "middle_first_event_p99_ms",
        Aim::AtMost(5.0),
    ),
    row(
        "resume near the end of 10⁷ events, first event p99 ms",
        "resume-10000000",
        "end_first_event_p99_ms",
        Aim::AtMost(5.0),
    ),
    row(
        "resume anywhere in 10⁷ events, first event p99 ms",
        "resume-10000000",
        "anywhere_first_event_p99_ms",
        Aim::AtMost(5.0),
    ),
    row(
        "resume anywhere on a rare topic in 10⁷ events, first event p99 ms",
        "resume-10000000",
        "rare_first_event_p99_ms",
        Aim::AtMost(5.0),
    ),
    row(
        "resume anywhere in 10⁷ events, first event p50 ms",
        "resume-10000000",
        "anywhere_first_event_p50_ms",
        Aim::AtMost(5.0),
    ),
    row(
        "resume anywhere in 10⁶ events, first event p99 ms",
        "resume-1000000",
        "anywhere_first_event_p99_ms",
        Aim::AtMost(5.0),
    ),
    row(
        "resume anywhere on a rare topic in 10⁶ events, first event p99 ms",
        "resume-1000000",
        "rare_first_event_p99_ms",
        Aim::AtMost(5.0),
    ),
    row(
        "resume anywhere in 10⁵ events, first event p99 ms",
        "resume-100000",
        "anywhere_first_event_p99_ms",
        Aim::AtMost(5.0),
    ),
    row(
        "resume anywhere on a rare topic in 10⁵ events, first event p99 ms",
        "resume-100000",
        "rare_first_event_p99_ms",
        Aim::AtMost(5.0),
    ),
    row_against(
        Against::EventStream("rate-1000"),
        "WebSocket: CPU-s per 10⁶ deliveries, 1,000 subscribers at 50k/s",
        "rate-1000-websocket",
        "cpu_s_per_million",
        Aim::AtMostTimes(1.3),
    ),
    row_against(
        Against::EventStream("rate-1000"),
        "Socket.IO: CPU-s per 10⁶ deliveries, 1,000 subscribers at 50k/s",
        "rate-1000-socketio",
        "cpu_s_per_million",
        Aim::AtMostTimes(1.3),
    ),
    row_against(
        Against::Npm,
        "Socket.IO: latency p99 ms, 1,000 subscribers at 50k/s",
        "rate-1000-socketio",
        "latency_p99_ms",
        Aim::None,
    ),
    row_against(
        Against::EventStream("flat-out-15000"),
        "WebSocket: flat out, 15,000 subscribers, deliveries/s",
        "flat-out-15000-websocket",
        "deliveries_per_s",
        Aim::None,
    ),
    row_against(
        Against::Npm,
        "Socket.IO: flat out, 15,000 subscribers, deliveries/s",
        "flat-out-15000-socketio",
        "deliveries_per_s",
        Aim::AtLeastTimes(5.0),
    ),
    row_against(
        Against::Npm,
        "Socket.IO: the same per second of the server's CPU",
        "flat-out-15000-socketio",
        "deliveries_per_cpu_s",
        Aim::None,
    ),
    row_against(
        Against::EventStream("idle-15000"),
        "WebSocket: bytes per idle connection at 15,000",
        "idle-15000-websocket",
        "bytes_per_connection",
        Aim::AtMost(768.0),
    ),
    row_against(
        Against::EventStream("idle-15000"),
        "WebSocket: bytes per further connection, 1,000 to 15,000",
        "idle-15000-websocket",
        "bytes_per_further_connection",
        Aim::None,
    ),
    row_against(
        Against::Npm,
        "Socket.IO: bytes per idle connection at 15,000",
        "idle-15000-socketio",
        "bytes_per_connection",
        Aim::AtMost(768.0),
    ),
    row_against(
        Against::Npm,
        "Socket.IO: bytes per further connection, 1,000 to 15,000",
        "idle-15000-socketio",
        "bytes_per_further_connection",
        Aim::None,
    ),
    row_against(
        Against::EventStream("open-20000"),
        "WebSocket: CPU µs to open a connection",
        "open-20000-websocket",
        "open_cpu_us",
        Aim::None,
    ),
    row_against(
        Against::EventStream("open-20000"),
        "WebSocket: connections opened/s",
        "open-20000-websocket",
        "opened_per_s",
        Aim::None,
    ),
    row_against(
        Against::Npm,
        "Socket.IO: CPU µs to open a connection",
        "open-20000-socketio",
        "open_cpu_us",
        Aim::None,
    ),
    row_against(Against::Npm, "Socket.IO: connections opened/s", "open-20000-socketio", "opened_per_s", Aim::None),
];

/// All values of one figure, by scenario, server and name.
type Values = BTreeMap<(String, String, String), Vec<f64>>;

/// Prints the comparison of all runs in the directory; several runs of the same become their median.
pub fn print(args: &TableArgs) -> Result<(), Failure> {
    let entries = std::fs::read_dir(&args.directory)
        .map_err(|error| format!("cannot read {}: {error}", args.directory.display()))?;
    let mut reports = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            reports.push(Report::load(&path)?);
        }
    }
    if reports.is_empty() {
        return Err(format!("no results in {}: run `make bench` first", args.directory.display()).into());
    }
    print!("{}", render(&reports));
    Ok(())
}

fn render(reports: &[Report]) -> String {
    let mut values = Values::new();
    for report in reports {
        for (figure, value) in &report.figures {
            values.entry((report.scenario.clone(), report.target.clone(), figure.clone())).or_default().push(*value);
        }
    }
    let mut text = String::from("| what | aim | ");
    text.push_str(&COLUMNS.join(" | "));
    text.push_str(" | times | |\n|---|---|");
    text.push_str(&"---:|".repeat(COLUMNS.len() + 1));
    text.push_str("---|\n");
    for row in ROWS {
        let cells: Vec<Option<f64>> = COLUMNS.iter().map(|server| median(&values, row, server)).collect();
        if cells.iter().all(Option::is_none) {
            continue;
        }
        text.push_str(&format!("| {} | {} ", row.says, aim(row)));
        for cell in &cells {
            text.push_str(&format!("| {} ", cell.map_or("–".to_owned(), |value| Shown(value).to_string())));
        }
        let base = match row.against {
            Against::Floor => cells[1],
            Against::EventStream(scenario) => median(&values, &Row { scenario, ..*row }, COLUMNS[0]),
            Against::Npm => cells[4],
        };
        let times = match (cells[0], base) {
            (Some(ours), Some(base)) if base > 0.0 => Some(ours / base),
            _ => None,
        };
        let shown = times.map(|times| format!("{} × {}", Shown(times), row.against.name()));
        text.push_str(&format!("| {} ", shown.unwrap_or_else(|| "–".to_owned())));
        let is_reached = match row.aim {
            Aim::AtMost(most) => cells[0].map(|ours| ours <= most),
            Aim::AtLeast(least) => cells[0].map(|ours| ours >= least),
            Aim::AtMostTimes(most) => times.map(|times| times <= most),
            Aim::AtLeastTimes(least) => times.map(|times| times >= least),
            Aim::None => None,
        };
        text.push_str(match is_reached {
            Some(true) => "| reached |\n",
            Some(false) => "| **missed** |\n",
            None => "| |\n",
        });
    }
    let sum =
        |name: &str| reports.iter().filter_map(|report| report.figures.get(name)).fold(0.0, |sum, value| sum + value);
    text.push_str(&format!(
        "\n{} deliveries checked; {} lost, {} repeated or out of order.\n",
        Shown(sum("delivered")),
        Shown(sum("lost")),
        Shown(sum("repeated"))
    ));
    for report in reports.iter().filter(|report| !report.is_whole()) {
        text.push_str(&format!("- not whole: {} at {}\n", report.scenario, report.target));
    }
    text
}

fn median(values: &Values, row: &Row, server: &str) -> Option<f64> {
    let mut values = values.get(&(row.scenario.to_owned(), server.to_owned(), row.figure.to_owned()))?.clone();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    Some(if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 })
}

fn aim(row: &Row) -> String {
    match row.aim {
        Aim::AtMost(most) => format!("≤ {}", Shown(most)),
        Aim::AtLeast(least) => format!("≥ {}", Shown(least)),
        Aim::AtMostTimes(times) => format!("≤ {times} × {}", row.against.name()),
        Aim::AtLeastTimes(times) => format!("≥ {times} × {}", row.against.name()),
        Aim::None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(scenario: &str, target: &str, figure: &str, value: f64) -> Report {
        let mut report = Report::new(scenario);
        report.target = target.to_owned();
        report.set(figure, value);
        report
    }

    fn rate(target: &str, value: f64) -> Report {
        report("rate-1000", target, "cpu_s_per_million", value)
    }

    #[test]
    fn the_median_of_several_runs_is_held_against_the_floor_of_the_same_run() {
        let text = render(&[rate("floor", 5.0), rate("tidings", 9.0), rate("tidings", 5.5), rate("tidings", 5.0)]);
        assert!(text.contains("| ≤ 1.15 × floor | 5.50 | 5 | – | – | – | 1.10 × floor | reached |"), "{text}");
    }

    #[test]
    fn a_missed_aim_and_a_lost_event_are_told() {
        let mut lossy = rate("tidings", 6.0);
        lossy.set("lost", 3.0);
        let text = render(&[rate("floor", 5.0), lossy]);
        assert!(text.contains("1.20 × floor | **missed** |"), "{text}");
        assert!(text.contains("3 lost") && text.contains("not whole: rate-1000 at tidings"), "{text}");
    }

    #[test]
    fn another_transport_is_held_against_event_streams_and_socketio_against_its_reference() {
        let flat_out = |target: &str, value| report("flat-out-15000-socketio", target, "deliveries_per_s", value);
        let text = render(&[
            rate("tidings", 5.0),
            report("rate-1000-websocket", "tidings", "cpu_s_per_million", 6.0),
            flat_out("tidings", 400_000.0),
            flat_out("socket.io", 50_000.0),
        ]);
        assert!(text.contains("| ≤ 1.3 × SSE | 6 | – | – | – | – | 1.20 × SSE | reached |"), "{text}");
        assert!(
            text.contains("| ≥ 5 × socket.io | 400,000 | – | – | – | 50,000 | 8 × socket.io | reached |"),
            "{text}"
        );
    }
}
