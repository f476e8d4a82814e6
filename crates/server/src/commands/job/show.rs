//! A job, for people.

use serde_json::Value;

pub(super) use super::super::tail::plain;

/// The whole job.
pub(super) fn whole(job: &Value) -> String {
    let mut out = line(job);
    for (name, value) in [("owner", &job["owner"]), ("result", &job["result"])] {
        if !value.is_null() {
            out.push_str(&format!("  {name}: {}\n", plain(&bare(value))));
        }
    }
    if let Some(items) = job["items"].as_u64() {
        out.push_str(&format!("  items: {items}, which `tidings job result` prints\n"));
    }
    out
}

/// In one line.
pub(super) fn line(job: &Value) -> String {
    let text = |name: &str| plain(job[name].as_str().unwrap_or_default());
    format!("{}  {}  {}\n", text("id"), text("kind"), state(job))
}

/// How it is: `running 3/10 reading row 3`.
pub(super) fn state(job: &Value) -> String {
    let mut out = plain(job["state"].as_str().unwrap_or_default());
    if job["canceling"] == true {
        out.push_str(", canceling");
    }
    if job["attempt"].as_u64().is_some_and(|attempt| attempt > 1) {
        out.push_str(&format!(", attempt {} of {}", job["attempt"], job["attempts"]));
    }
    let progress = &job["progress"];
    match (progress["done"].as_u64(), progress["total"].as_u64()) {
        (Some(done), Some(total)) => out.push_str(&format!(" {done}/{total}")),
        (Some(done), None) if done > 0 => out.push_str(&format!(" {done}")),
        _ => {}
    }
    let error = &job["error"];
    if let (Some(code), Some(message)) = (error["code"].as_str(), error["message"].as_str()) {
        out.push_str(&format!(": {} ({})", plain(message), plain(code)));
    } else if let Some(message) = progress["message"].as_str() {
        out.push_str(&format!(" {}", plain(message)));
    }
    out
}

/// A bar of so many columns.
pub(in crate::commands) fn bar(fraction: f64, columns: usize) -> String {
    let full = (fraction.clamp(0.0, 1.0) * columns as f64).round() as usize;
    format!("[{}{}] {:>3.0} %", "#".repeat(full), ".".repeat(columns - full), fraction.clamp(0.0, 1.0) * 100.0)
}

fn bare(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_line_says_how_far_it_is_and_why_it_failed() {
        let running = json!({"id": "j1", "kind": "import", "state": "running", "attempt": 2, "attempts": 3,
            "progress": {"done": 3, "total": 10, "message": "row 3"}});
        assert_eq!(line(&running), "j1  import  running, attempt 2 of 3 3/10 row 3\n");
        let failed = json!({"id": "j1", "kind": "import", "state": "failed", "attempt": 1, "progress": {"done": 0},
            "error": {"code": "bad-file", "message": "no\u{1b}[2J table"}});
        assert_eq!(line(&failed), "j1  import  failed: no\\u{1b}[2J table (bad-file)\n");
    }

    #[test]
    fn a_bar_is_as_long_as_it_is_told_to_be() {
        assert_eq!(bar(0.5, 4), "[##..]  50 %");
        assert_eq!(bar(7.0, 4), "[####] 100 %");
    }
}
