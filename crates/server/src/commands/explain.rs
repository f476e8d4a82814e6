//! `tidings explain`: why somebody does or does not get an event.

use std::fmt::Write as _;
use std::process::ExitCode;

use http::{HeaderMap, Method};
use serde_json::Value;

use super::http::{Hub, HubArgs, empty, target};
use super::{Failure, end};

/// `tidings explain`.
#[derive(Clone, Debug, clap::Args)]
pub struct ExplainArgs {
    /// The event: the id it had on a stream, or the cursor in the answer to its publish
    #[arg(long)]
    cursor: String,
    /// Whose open streams are asked about; without it and --grants, yours
    #[arg(long, value_name = "ID")]
    principal: Option<String>,
    /// Somebody who holds these grants, separated by commas
    #[arg(long, value_name = "GRANTS", conflicts_with = "principal")]
    grants: Option<String>,
    /// They asked for these topics, separated by commas
    #[arg(long, value_name = "TOPICS")]
    topics: Option<String>,
    #[command(flatten)]
    hub: HubArgs,
}

/// Asks the hub, and prints each question with its answer.
pub async fn run(args: ExplainArgs) -> ExitCode {
    end(ask(&args).await)
}

async fn ask(args: &ExplainArgs) -> Result<(), Failure> {
    let target = target(
        "/v1/explain",
        [
            ("cursor", Some(args.cursor.as_str())),
            ("principal", args.principal.as_deref()),
            ("grants", args.grants.as_deref()),
            ("topics", args.topics.as_deref()),
        ],
    );
    let answer = Hub::new(&args.hub)?.ask(Method::GET, &target, HeaderMap::new(), empty()).await?;
    let _ = super::print(&show(&answer));
    Ok(())
}

fn show(answer: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| {
        let items: Vec<_> = value.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if items.is_empty() { "nobody".to_owned() } else { items.join(" or ") }
    };
    let mut out = format!(
        "{} on {} ({}), for {}\n",
        text(&answer["name"]),
        text(&answer["topic"]),
        text(&answer["cursor"]),
        list(&answer["audience"])
    );
    for reader in answer["readers"].as_array().into_iter().flatten() {
        // Writing to a String does not fail.
        let profile = reader["profile"].as_str().map(|profile| format!(" (a stream of {profile})")).unwrap_or_default();
        let _ = writeln!(out, "\n{}{profile}", text(&reader["principal"]));
        for step in reader["steps"].as_array().into_iter().flatten() {
            let mark = if step["passed"] == true { "✓" } else { "✗" };
            let _ = writeln!(out, "  {mark} {}\n      {}", text(&step["question"]), text(&step["answer"]));
        }
        let _ = writeln!(out, "  → {}", if reader["given"] == true { "given" } else { "not given" });
    }
    if let Some(note) = answer["note"].as_str() {
        let _ = writeln!(out, "\n{note}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_step_is_shown_with_its_answer() {
        let answer = json!({
            "cursor": "9f3c2a1b-42", "name": "book.updated", "topic": "book/42", "audience": ["user/u1", "role/admin"],
            "readers": [{ "principal": "u2", "profile": "shelf", "given": false, "steps": [
                { "question": "is the credential good?", "passed": true, "answer": "yes: u2 by jwt" },
                { "question": "may they see it?", "passed": false, "answer": "no: it needs user/u1" },
            ]}],
        });
        let expected = "book.updated on book/42 (9f3c2a1b-42), for user/u1 or role/admin\n\nu2 (a stream of shelf)\n  \
                        ✓ is the credential good?\n      yes: u2 by jwt\n  \
                        ✗ may they see it?\n      no: it needs user/u1\n  → not given\n";
        assert_eq!(show(&answer), expected);
    }

    #[test]
    fn where_nobody_listens_the_note_is_shown() {
        let text = show(&json!({ "readers": [], "note": "no stream of this principal is open here" }));
        assert!(text.ends_with("\nno stream of this principal is open here\n"), "{text}");
    }
}
