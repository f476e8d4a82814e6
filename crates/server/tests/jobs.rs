//! Jobs through the program itself: made, watched, worked on, and still there after a kill.

mod program;

use program::{Answer, Http, Program, bearer, serve};
use serde_json::{Value, json};

fn start(data: &std::path::Path) -> Program {
    Program::start(serve(data).arg("--dev"))
}

fn ask(program: &Program, method: &str, target: &str, token: &str, body: &str) -> Answer {
    let length = if body.is_empty() {
        String::new()
    } else {
        format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len())
    };
    let bearer = bearer(token);
    program.request(&format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\n{bearer}{length}\r\n{body}"))
}

fn post(program: &Program, target: &str, token: &str, body: Value) -> Value {
    let answer = ask(program, "POST", target, token, &body.to_string());
    assert!(answer.status < 300, "{target}: {} {:?}", answer.status, answer.json());
    answer.json()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value}")).to_owned()
}

#[test]
fn a_job_lives_through_a_kill_and_its_end_is_told_to_who_comes_late() {
    let dir = tempfile::tempdir().unwrap();
    let program = start(dir.path());
    let made = post(&program, "/v1/jobs", "", json!({"kind": "import", "id": "j1", "input": {"rows": 3}}));
    let token = text(&made["token"]);
    let mut watching = Http::connect(program.address).unwrap();
    watching
        .send(format!("GET /v1/jobs/j1/events?token={token} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes())
        .unwrap();
    assert_eq!(watching.head().unwrap().0, 200);
    let mut seen = Vec::new();
    while seen.last().is_none_or(|name| name != "job.queued") {
        seen.push(watching.event().unwrap().0);
    }
    // For longer than it takes to begin anew, however slow the machine is.
    let claimed = post(&program, "/v1/jobs/claim", "", json!({"kinds": ["import"], "lease": "1h"}));
    assert_eq!(claimed["job"]["input"], json!({"rows": 3}));
    let lease = text(&claimed["lease"]);
    post(&program, "/v1/jobs/j1/items?from=0", &lease, json!([{"row": 0}, {"row": 1}]));
    program.kill();

    let program = start(dir.path());
    let shown = ask(&program, "GET", "/v1/jobs/j1", &token, "").json();
    assert_eq!((&shown["state"], &shown["items"]), (&"running".into(), &2.into()));
    let appended = post(&program, "/v1/jobs/j1/items?from=0", &lease, json!([{"row": 0}, {"row": 1}, {"row": 2}]));
    assert_eq!(appended["count"], 3, "what was sent before the kill is there once");
    let done = post(&program, "/v1/jobs/j1/complete", &lease, json!({"result": {"good": 3}}));
    assert_eq!(done["state"], "completed");
    program.kill();

    let program = start(dir.path());
    assert_eq!(post(&program, "/v1/jobs/j1/complete", &lease, json!({}))["state"], "completed", "it asks again");
    let mut late = Http::connect(program.address).unwrap();
    late.send(format!("GET /v1/jobs/j1/events HTTP/1.1\r\nhost: localhost\r\n{}\r\n", bearer(&token)).as_bytes())
        .unwrap();
    assert_eq!(late.head().unwrap().0, 200);
    let mut ends = Vec::new();
    while let Ok((name, data, _)) = late.event() {
        if name.starts_with("job.") || name == "tidings.close" {
            ends.push((name, data));
        }
    }
    let names: Vec<_> = ends.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["job.completed", "tidings.close"], "the end once, and then nothing");
    assert!(ends[0].1.contains("\"result\":{\"good\":3}"), "{ends:?}");
    let result = ask(&program, "GET", "/v1/jobs/j1/result", &token, "").json();
    assert_eq!(result["items"], json!([{"row": 0}, {"row": 1}, {"row": 2}]));
    let other = post(&program, "/v1/jobs", "", json!({"kind": "import", "id": "j2"}));
    let refused = ask(&program, "GET", "/v1/jobs/j1", &text(&other["token"]), "");
    assert_eq!(refused.status, 401, "a token of another job");
    assert_eq!(ask(&program, "DELETE", "/v1/jobs/j1", &token, "").status, 409, "it has ended");
}

#[test]
fn a_file_is_kept_through_a_kill_and_goes_with_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let program = start(dir.path());
    let form = "--XyZ\r\nContent-Disposition: form-data; name=\"file\"; filename=\"b.csv\"\r\n\r\na,b\r\n--XyZ--\r\n";
    let head = format!("content-type: multipart/form-data; boundary=XyZ\r\ncontent-length: {}\r\n", form.len());
    let made =
        program.request(&format!("POST /v1/jobs?kind=import HTTP/1.1\r\nhost: localhost\r\n{head}\r\n{form}")).json();
    program.kill();
    let program = start(dir.path());
    let claimed = post(&program, "/v1/jobs/claim", "", json!({"kinds": ["import"]}));
    assert_eq!((&claimed["job"]["id"], &claimed["job"]["file"]["bytes"]), (&made["id"], &3.into()));
    let path = format!("/v1/jobs/{}", text(&made["id"]));
    let lease = text(&claimed["lease"]);
    assert_eq!(ask(&program, "GET", &format!("{path}/file"), &lease, "").body, "a,b");
    assert_eq!(std::fs::read_dir(dir.path().join("jobs")).unwrap().count(), 1);
    post(&program, &format!("{path}/complete"), &lease, json!({}));
    assert_eq!(std::fs::read_dir(dir.path().join("jobs")).unwrap().count(), 0);
}

#[test]
fn a_secret_of_a_job_is_in_no_log() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log.txt");
    let errors = std::fs::File::create(&log).unwrap();
    let mut command = serve(dir.path());
    let program = Program::start(command.arg("--dev").env("TIDINGS_LOG__LEVEL", "trace").stderr(errors));
    let made = post(&program, "/v1/jobs", "", json!({"kind": "import", "id": "j1"}));
    let token = text(&made["token"]);
    assert_eq!(program.get(&format!("/v1/jobs/j1?token={token}")).status, 200);
    assert_eq!(program.get(&format!("/v1/jobs/j1?token={token}x")).status, 401);
    let lease = text(&post(&program, "/v1/jobs/claim", "", json!({"kinds": ["import"]}))["lease"]);
    post(&program, "/v1/jobs/j1/complete", &lease, json!({}));
    program.kill();
    let log = std::fs::read_to_string(&log).unwrap();
    assert!(log.len() > 1_000, "it does write a log");
    assert!(!log.contains(&token) && !log.contains(&lease));
}
