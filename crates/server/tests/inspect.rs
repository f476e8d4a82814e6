//! Looking into the running program: who is connected, what is busy, what is kept, how fast it goes, and for whom that is.

mod program;

use std::path::Path;

use program::{Answer, Http, Program, bearer, output, serve, tidings, until};
use serde_json::{Value, json};

fn start(data: &Path) -> Program {
    Program::start(serve(data).arg("--dev"))
}

fn ask(program: &Program, method: &str, target: &str, token: &str, more: &str) -> Answer {
    let bearer = bearer(token);
    program
        .request(&format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\n{bearer}{more}connection: close\r\n\r\n"))
}

fn post(program: &Program, target: &str, token: &str, body: &Value) -> Answer {
    let (bearer, body) = (bearer(token), body.to_string());
    let length = format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len());
    program.request(&format!(
        "POST {target} HTTP/1.1\r\nhost: localhost\r\n{bearer}{length}connection: close\r\n\r\n{body}"
    ))
}

fn get(program: &Program, target: &str) -> Value {
    let answer = program.get(target);
    assert_eq!(answer.status, 200, "{target}: {answer:?}");
    answer.json()
}

fn publish(program: &Program, topic: &str, name: &str, n: u64) -> String {
    let event = json!({ "name": name, "topic": topic, "audience": ["all"], "data": { "n": n } });
    let answer = program.publish("", &event.to_string());
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["results"][0]["cursor"].as_str().unwrap().to_owned()
}

/// An open stream of Server-Sent Events, of which the head was read.
fn listen(program: &Program, target: &str, token: &str) -> Http {
    let mut http = Http::connect(program.address).unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nhost: localhost\r\n{}\r\n", bearer(token));
    http.send(request.as_bytes()).unwrap();
    assert_eq!(http.head().unwrap().0, 200);
    http
}

/// One who looks at the figures. By HTTP/1.0, where a body is not cut into chunks.
fn view(program: &Program, token: &str) -> std::io::Result<(u16, Http)> {
    let mut http = Http::connect(program.address)?;
    http.send(format!("GET /v1/stats/events HTTP/1.0\r\nhost: localhost\r\n{}\r\n", bearer(token)).as_bytes())?;
    Ok((http.head()?.0, http))
}

/// The data of the next event of this name.
fn told(http: &mut Http, wanted: &str) -> Value {
    loop {
        let (name, data, _) = http.event().unwrap();
        if name == wanted {
            return serde_json::from_str(&data).unwrap();
        }
    }
}

fn streams(program: &Program) -> Vec<Value> {
    get(program, "/v1/streams")["streams"].as_array().unwrap().clone()
}

fn key(data: &Path, arguments: &[&str]) -> String {
    let made = output(tidings().args(["key", "create", "--data"]).arg(data).args(arguments));
    assert!(made.status.success(), "{made:?}");
    String::from_utf8(made.stdout).unwrap().split_whitespace().find(|word| word.starts_with("tdg_")).unwrap().to_owned()
}

const PROFILE: &str = r#"name = "shop"
description = "What is sold."
[auth]
anonymous = "reject"
[[auth.sources]]
kind = "jwt"
algorithms = ["HS256"]
secret = "hush-hush-hush-hush-hush-hush-hush"

[[mounts]]
transport = "sse"
path = "/shop/live"

[events.sold]
topic = "item/{data.id}"
audience = "role/clerk"
"#;

const PATHS: [&str; 8] = [
    "/v1/streams",
    "/v1/topics",
    "/v1/profiles",
    "/v1/log",
    "/v1/log/events",
    "/v1/stats",
    "/v1/stats/events",
    "/v1/streams/1-b-1",
];

#[test]
fn only_operators_look_in_and_everybody_who_is_somebody_may_ask_who_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::start(&mut serve(dir.path()));
    let operator = key(dir.path(), &["--name", "op", "--operator"]);
    let reader = key(dir.path(), &["--name", "reader", "--grant", "role/viewer"]);
    for path in PATHS {
        let method = if path.ends_with("-1") { "DELETE" } else { "GET" };
        let refused = ask(&program, method, path, &reader, "");
        assert_eq!((refused.status, &refused.json()["type"]), (403, &"urn:tidings:problem:not-an-operator".into()));
        assert_eq!(ask(&program, method, path, "", "").status, 401, "{path}");
        let expected = if method == "DELETE" { 404 } else { 200 };
        if path != "/v1/stats/events" {
            assert_eq!(ask(&program, method, path, &operator, "").status, expected, "{path}");
        }
        assert_eq!(ask(&program, "PUT", path, &operator, "").status, 405, "{path}");
    }
    assert_eq!(ask(&program, "GET", "/v1/whoami", "", "").status, 401);
    let who = ask(&program, "GET", "/v1/whoami", &reader, "");
    let said = who.json();
    assert_eq!((&said["operator"], &said["publishes"], &said["dev"]), (&false.into(), &false.into(), &false.into()));
    assert!(said["grants"].as_array().unwrap().contains(&"role/viewer".into()), "{said}");
    assert!(!who.body.contains(&reader[8..]), "the credential is not repeated");
    assert_eq!(ask(&program, "GET", "/v1/whoami", &operator, "").json()["operator"], true);
}

#[test]
fn a_parameter_that_a_path_does_not_know_is_refused_unless_it_is_a_credential() {
    let dir = tempfile::tempdir().unwrap();
    let program = start(dir.path());
    let cursor = publish(&program, "t", "x", 1);
    for path in PATHS.into_iter().chain(["/v1/whoami", "/v1/explain"]) {
        let method = if path.ends_with("-1") { "DELETE" } else { "GET" };
        let known = if path.ends_with("explain") { format!("cursor={cursor}&") } else { String::new() };
        let answer = ask(&program, method, &format!("{path}?{known}limlt=5"), "", "");
        assert_eq!(
            (answer.status, &answer.json()["type"]),
            (400, &"urn:tidings:problem:invalid-query".into()),
            "{path}"
        );
    }
    let operator = Program::start(&mut serve(&dir.path().join("other")));
    let reader = key(&dir.path().join("other"), &["--name", "reader"]);
    let body = ask(&operator, "POST", "/v1/tickets", &reader, "").json();
    let ticket = body["ticket"].as_str().unwrap();
    assert_eq!(ask(&operator, "GET", &format!("/v1/whoami?ticket={ticket}"), "", "").status, 200);
}

#[test]
fn other_origins_read_it_only_where_the_settings_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::start(serve(dir.path()).arg("--dev").env("TIDINGS_API__CORS", "[\"https://ops.example\"]"));
    for (origin, allowed) in [("https://ops.example", true), ("https://other.example", false)] {
        let answer = ask(&program, "GET", "/v1/stats", "", &format!("origin: {origin}\r\n"));
        assert_eq!(answer.head.contains("access-control-allow-origin"), allowed, "{}", answer.head);
        let preflight = ask(&program, "OPTIONS", "/v1/streams/1-b-1", "", &format!("origin: {origin}\r\n"));
        assert_eq!(preflight.status, 204);
        assert_eq!(preflight.head.contains("access-control-allow-methods: delete"), allowed, "{}", preflight.head);
    }
}

#[test]
fn while_developing_pages_of_this_machine_may_read_it_whatever_their_port() {
    let dir = tempfile::tempdir().unwrap();
    let program = start(dir.path());
    for (origin, allowed) in [("http://localhost:5173", true), ("http://[::1]:80", true), ("http://app.example", false)]
    {
        let preflight = ask(&program, "OPTIONS", "/v1/events", "", &format!("origin: {origin}\r\n"));
        assert_eq!(preflight.head.contains(&format!("access-control-allow-origin: {origin}")), allowed, "{origin}");
    }
}

#[test]
fn an_open_stream_is_listed_and_ends_when_it_is_disconnected() {
    let dir = tempfile::tempdir().unwrap();
    let program = start(dir.path());
    let before = get(&program, "/v1/stats")["time"].as_u64().unwrap();
    let mut one = listen(&program, "/v1/events?topic=a/*&name=x", "");
    let mut other = listen(&program, "/v1/events?meta=true", "");
    until("both are listed", || streams(&program).len() == 2);
    let listed = streams(&program);
    let stream = listed.iter().find(|stream| stream["topics"] == json!(["a/*"])).unwrap();
    assert_eq!((&stream["names"], &stream["transport"], &stream["lag"]), (&json!(["x"]), &"sse".into(), &0.into()));
    let opened = stream["opened"].as_u64().unwrap();
    // A lane that stood still goes by the time when it began its round.
    assert!(opened.abs_diff(before) < 60_000, "{opened} {before}");
    assert_eq!(get(&program, "/ready")["streams"]["sse"], 2, "with meta=true or without");
    let path = format!("/v1/streams/{}", stream["id"].as_str().unwrap());
    assert_eq!(ask(&program, "DELETE", &path, "", "").status, 204);
    let close = told(&mut one, "tidings.close");
    assert_eq!((&close["code"], &close["reconnect"]), (&4004.into(), &false.into()));
    assert_eq!(ask(&program, "DELETE", &path, "", "").status, 404, "it is over");
    // Its place is taken by another, which has another name.
    let _third = listen(&program, "/v1/events", "");
    until("the third is listed", || streams(&program).len() == 2);
    assert_eq!(ask(&program, "DELETE", &path, "", "").status, 404);
    for wrong in ["x", "%2f", "0-l0-0-1", "1-b-1", "ffffffffff-l0-0-0"] {
        assert_eq!(ask(&program, "DELETE", &format!("/v1/streams/{wrong}"), "", "").status, 404, "{wrong}");
    }
    publish(&program, "a/1", "x", 1);
    assert_eq!(told(&mut other, "x")["n"], 1, "the others go on");
}

#[test]
fn a_poll_that_waits_is_listed_and_can_be_ended() {
    let dir = tempfile::tempdir().unwrap();
    let program = start(dir.path());
    let cursor = publish(&program, "t", "x", 1);
    let mut poll = Http::connect(program.address).unwrap();
    let request = format!("GET /v1/poll?cursor={cursor}&wait=50 HTTP/1.1\r\nhost: localhost\r\n\r\n");
    poll.send(request.as_bytes()).unwrap();
    until("it waits", || !streams(&program).is_empty());
    let [stream] = &streams(&program)[..] else { panic!("one waits") };
    assert_eq!(stream["transport"], "poll");
    assert_eq!(get(&program, "/v1/stats")["streams"]["poll"], 1, "by the same name");
    assert_eq!(ask(&program, "DELETE", &format!("/v1/streams/{}", stream["id"].as_str().unwrap()), "", "").status, 204);
    assert_eq!(poll.answer().unwrap().status, 401);
}

#[test]
fn topics_are_told_by_how_busy_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let program = start(dir.path());
    for n in 0..20 {
        publish(&program, "library/a", "x", n);
        if n % 4 == 0 {
            publish(&program, "library/b", "x", n);
        }
    }
    publish(&program, "user/1", "x", 0);
    let all = get(&program, "/v1/topics");
    let paths = |answer: &Value| -> Vec<String> {
        answer["topics"].as_array().unwrap().iter().map(|t| t["topic"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(paths(&all), ["library/a", "library/b", "user/1"]);
    let busiest = &all["topics"][0];
    assert_eq!((&busiest["events"], &busiest["profile"]), (&20.into(), &"default".into()));
    let rate = busiest["rate"].as_f64().unwrap();
    assert!(rate > 0.2 && rate < 20.0, "{rate}");
    assert!(busiest["last"].as_u64().unwrap() >= all["since"].as_u64().unwrap());
    assert_eq!((&all["known"], &all["forgotten"], &all["uncounted"]), (&3.into(), &0.into(), &0.into()));
    assert_eq!(paths(&get(&program, "/v1/topics?match=library/*&sort=topic&limit=1")), ["library/a"]);
    assert_eq!(paths(&get(&program, "/v1/topics?match=ser")), ["user/1"]);
    let latest = get(&program, "/v1/topics?sort=last");
    let times: Vec<u64> = latest["topics"].as_array().unwrap().iter().map(|t| t["last"].as_u64().unwrap()).collect();
    // Two may be of the same millisecond.
    assert!(times.len() == 3 && times.is_sorted_by(|one, next| one >= next), "{latest}");
    for wrong in ["sort=size", "limit=x", "match=a/**/b", "mach=x"] {
        assert_eq!(program.get(&format!("/v1/topics?{wrong}")).status, 400, "{wrong}");
    }
}

#[test]
fn the_log_is_told_and_read_back_from_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let program = start(dir.path());
    let empty = get(&program, "/v1/log");
    assert_eq!((&empty["first"], &empty["last"], &empty["oldest"]), (&Value::Null, &Value::Null, &Value::Null));
    assert_eq!(get(&program, "/v1/log/events"), json!({ "events": [] }));
    let cursors: Vec<String> = (0..120)
        .map(|n| publish(&program, &format!("t/{}", n % 3), if n % 10 == 0 { "rare" } else { "x" }, n))
        .collect();
    let log = get(&program, "/v1/log");
    assert_eq!((&log["events"], &log["broker"], &log["segments"]), (&120.into(), &"disk".into(), &1.into()));
    assert_eq!((log["first"].as_str(), log["last"].as_str()), (Some(&*cursors[0]), Some(&*cursors[119])));
    assert_eq!(log["retention"], json!({ "age": 604_800_000, "events": null, "bytes": 1 << 30 }));
    let numbers = |answer: &Value| -> Vec<u64> {
        answer["events"].as_array().unwrap().iter().map(|event| event["data"]["n"].as_u64().unwrap()).collect()
    };
    let page = get(&program, "/v1/log/events?limit=50");
    assert_eq!(numbers(&page), (70..120).rev().collect::<Vec<_>>());
    let event = &page["events"][0];
    assert_eq!((&event["topic"], &event["audience"]), (&"t/2".into(), &json!(["all"])));
    assert_eq!(event["cursor"], *cursors[119]);
    for (query, expected) in [
        ("", (0..120).rev().collect::<Vec<u64>>()),
        ("&topic=t/1", (0..120).rev().filter(|n| n % 3 == 1).collect()),
        ("&topic=*/1&name=x", (0..120).rev().filter(|n| n % 3 == 1 && n % 10 != 0).collect()),
        ("&name=rare", (0..120).rev().filter(|n| n % 10 == 0).collect()),
        ("&topic=none", Vec::new()),
    ] {
        let (mut seen, mut before) = (Vec::new(), String::new());
        loop {
            let page = get(&program, &format!("/v1/log/events?limit=7{query}{before}"));
            seen.extend(numbers(&page));
            assert!(numbers(&page).len() <= 7);
            match page["before"].as_str() {
                Some(next) => before = format!("&before={next}"),
                None => break,
            }
        }
        assert_eq!(seen, expected, "{query}");
    }
    for wrong in ["before=x", "before=00000000-5", "topic=a//b", "limit=-1", "names=x"] {
        assert_eq!(program.get(&format!("/v1/log/events?{wrong}")).status, 400, "{wrong}");
    }
}

#[test]
fn a_search_through_a_long_log_is_done_in_bounded_steps() {
    let dir = tempfile::tempdir().unwrap();
    let program = start(dir.path());
    publish(&program, "here/it/is", "needle", 0);
    let many: Vec<Value> =
        (0..1_000).map(|n| json!({ "name": "hay", "topic": format!("hay/{n}"), "audience": ["all"] })).collect();
    for _ in 0..12 {
        assert_eq!(program.publish("", &Value::from(many.clone()).to_string()).status, 200);
    }
    let page = get(&program, "/v1/log/events?name=needle");
    assert_eq!(page["events"], json!([]), "not all of it was looked at");
    let next = page["before"].as_str().unwrap();
    let page = get(&program, &format!("/v1/log/events?name=needle&before={next}"));
    assert_eq!((page["events"].as_array().unwrap().len(), &page["before"]), (1, &Value::Null));
    // By its topic it is found at once.
    let page = get(&program, "/v1/log/events?topic=here/it/is");
    assert_eq!((page["events"].as_array().unwrap().len(), &page["before"]), (1, &Value::Null));
}

#[test]
fn figures_come_each_second_and_tell_how_fast_events_arrive() {
    let dir = tempfile::tempdir().unwrap();
    let program = start(dir.path());
    let mut client = listen(&program, "/v1/events", "");
    told(&mut client, "tidings.open");
    let mut viewer = None;
    until("there are figures of before", || {
        let (status, mut http) = view(&program, "").unwrap();
        if status != 200 {
            // Those that were dropped are still looking on.
            return false;
        }
        let history = told(&mut http, "tidings.history");
        assert_eq!(history["every"], 1000);
        viewer = Some(http);
        !history["samples"].as_array().unwrap().is_empty()
    });
    let mut viewer = viewer.expect("set in the lines above");
    assert_eq!(told(&mut viewer, "tidings.stats")["latency"], Value::Null, "nothing was delivered yet");
    for n in 0..10 {
        publish(&program, "t", "x", n);
        told(&mut client, "x");
    }
    let (mut figures, mut last, mut pauses) = (json!({ "delivered": 0 }), None, Vec::new());
    // Where the machine stands still a second takes longer, and the next is shorter for it: not all need be a second apart.
    while figures["delivered"] != 10 || !pauses.iter().any(|pause| (900..1_500).contains(pause)) {
        assert!(pauses.len() < 60, "each second, not after {pauses:?} ms");
        figures = told(&mut viewer, "tidings.stats");
        let time = figures["time"].as_u64().unwrap();
        pauses.extend(last.replace(time).map(|last| time - last));
    }
    assert_eq!(
        (&figures["events"], &figures["streams"]["sse"], &figures["opened"]),
        (&10.into(), &1.into(), &1.into())
    );
    assert!(figures["latency"]["max"].as_u64().unwrap() >= figures["latency"]["p50"].as_u64().unwrap());
    assert!(figures["rss"].as_u64().unwrap() > 1 << 20 && figures["descriptors"].as_u64().unwrap() > 5, "{figures}");
    program.terminate();
    assert_eq!(told(&mut viewer, "tidings.close")["reason"], "draining");
    assert!(program.wait().success());
}

#[test]
fn so_many_look_on_and_no_more_and_who_is_shut_out_is_sent_away() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::start(&mut serve(dir.path()));
    let operator = key(dir.path(), &["--name", "op", "--operator"]);
    let mut viewers: Vec<Http> = (0..16).map(|_| view(&program, &operator).unwrap().1).collect();
    let refused = ask(&program, "GET", "/v1/stats/events", &operator, "");
    assert_eq!(refused.status, 429);
    assert!(refused.head.contains("retry-after: "), "{}", refused.head);
    drop(viewers.pop());
    until("there is room again", || {
        let (status, viewer) = view(&program, &operator).unwrap();
        viewers.extend(Some(viewer).filter(|_| status == 200));
        status == 200
    });
    let body = json!({ "principal": "op" }).to_string();
    let length = format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len());
    let mut http = Http::connect(program.address).unwrap();
    let request = format!("POST /v1/revoke HTTP/1.1\r\nhost: localhost\r\n{}{length}\r\n{body}", bearer(&operator));
    http.send(request.as_bytes()).unwrap();
    assert_eq!(http.answer().unwrap().status, 200);
    for viewer in &mut viewers {
        assert_eq!(told(viewer, "tidings.close")["reason"], "revoked");
        assert!(viewer.line().is_err(), "nothing comes after that");
    }
}

#[test]
fn a_key_is_shut_out_by_its_id_and_its_name_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::start(&mut serve(dir.path()));
    let operator = key(dir.path(), &["--name", "op", "--operator"]);
    let reader = key(dir.path(), &["--name", "reader"]);
    let id = reader.split('_').nth(1).unwrap();
    let revoke = |body: Value| post(&program, "/v1/revoke", &operator, &body);
    let status = || ask(&program, "GET", "/v1/whoami", &reader, "").status;
    let refused = revoke(json!({ "key": "reader" }));
    assert_eq!((refused.status, &refused.json()["type"]), (404, &"urn:tidings:problem:no-such-key".into()));
    assert_eq!(status(), 200);
    let [hour, seconds] = [json!("1h"), json!(3600)].map(|long| revoke(json!({ "key": id, "for": long })));
    assert_eq!(status(), 401);
    let [hour, seconds] = [hour, seconds].map(|answer| answer.json()["until"].as_u64().unwrap());
    assert!(hour.abs_diff(seconds) < 1_800_000, "{hour} {seconds}");
    let refused = revoke(json!({ "key": id, "for": 1.5 })).json();
    assert!(refused["detail"].as_str().unwrap().contains("like \"30s\""), "{refused}");
}

#[test]
fn whose_key_is_for_a_profile_is_told_where_to_post() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("profile.toml"), PROFILE).unwrap();
    let config = dir.path().join("server.toml");
    std::fs::write(&config, "[[profiles]]\npath = \".\"\n").unwrap();
    let data = dir.path().join("data");
    let program = Program::start(serve(&data).arg("--config").arg(config));
    let key = key(&data, &["--name", "app", "--profile", "shop", "--publish"]);
    for (path, body) in [
        ("/v1/publish", json!({ "name": "sold", "topic": "item/1" })),
        ("/v1/jobs", json!({ "kind": "count" })),
        ("/v1/jobs/claim", json!({ "kinds": ["count"] })),
    ] {
        let refused = post(&program, &format!("{path}?profile=default"), &key, &body);
        let detail = refused.json()["detail"].as_str().unwrap().to_owned();
        assert_eq!(refused.status, 403, "{detail}");
        let help = format!("the key is for the profile shop: post to {path}?profile=shop");
        assert!(detail.ends_with(&help), "{detail}");
    }
    let refused = post(&program, "/v1/jobs/claim", &key, &json!({ "kinds": ["count"] })).json();
    assert!(!refused["detail"].as_str().unwrap().contains("post to"), "it is the profile that was meant: {refused}");
}

#[test]
fn a_profile_is_told_with_its_mounts_and_events_and_nothing_of_its_secrets() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("profile.toml"), PROFILE).unwrap();
    let config = dir.path().join("server.toml");
    std::fs::write(&config, "[[profiles]]\npath = \".\"\n").unwrap();
    let program = Program::start(serve(&dir.path().join("data")).arg("--dev").arg("--config").arg(config));
    let answer = program.get("/v1/profiles");
    assert!(!answer.body.contains("hush"), "{}", answer.body);
    let profiles = answer.json()["profiles"].clone();
    assert_eq!((&profiles[0]["name"], &profiles[1]["name"]), (&"shop".into(), &"default".into()));
    assert_eq!(profiles[0]["mounts"], json!([{ "path": "/shop/live", "transport": "sse" }]));
    let sold = &profiles[0]["events"][0];
    assert_eq!((&sold["name"], &sold["kept"], &sold["retained"]), (&"sold".into(), &true.into(), &false.into()));
    assert_eq!((&sold["topic"], &sold["audience"]), (&"item/{data.id}".into(), &json!([["role/clerk"]])));
    assert_eq!(get(&program, "/v1/whoami")["profiles"], json!(["shop"]));
}
