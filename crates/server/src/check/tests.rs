use super::*;

fn lines(report: &Report) -> Vec<usize> {
    let mut lines: Vec<usize> = report.mistakes().iter().filter_map(|m| m.place.as_ref().map(Place::line)).collect();
    lines.dedup();
    lines
}

fn check_text(text: &str) -> Report {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("profile.toml"), text).unwrap();
    check(&[dir.path().to_path_buf()])
}

const GOOD: &str = r#"name = "app"
[grants.implies]
"role/admin" = ["role/viewer"]
[[mounts]]
transport = "sse"
path = "/events"
[events."book.updated"]
topic = "book/{data.id}"
audience = [["user/{scope.owner}", "role/admin"], ["role/viewer"]]
[values]
name = "x"
[variants.b]
events."book.updated".wrap = "Book"
"#;

#[test]
fn a_profile_without_mistakes_is_silent() {
    let report = check_text(GOOD);
    assert!(report.is_empty(), "{report}");
}

#[test]
fn each_mistake_is_found_at_its_line() {
    for (line, from, to, says) in [
        (1, "name = \"app\"\n[grants", "name = \"a/b\"\n[grants", "a profile's name"),
        (3, "[\"role/viewer\"]\n[[", "[\"role/{x}\"]\n[[", "`{x}`"),
        (5, "\"sse\"", "\"see\"", "did you mean \"sse\"?"),
        (6, "/events", "events", "must begin with `/`"),
        (6, "/events", "/v1/events", "the program's own"),
        (6, "/events\"", "/events\"\nhartbeat_every = \"1s\"", "did you mean `heartbeat_every`?"),
        (7, "/events\"", "/events\"\nheartbeat_every = \"1y\"", "is no duration"),
        (7, "/events\"", "/events\"\nheartbeat_when = \"alway\"", "did you mean \"always\"?"),
        (7, "/events\"", "/events\"\nheartbeat = { comment = \"a\", event = \"b\" }", "a heartbeat is either"),
        (7, "/events\"", "/events\"\nheartbeat = { event = \"b\", data = \"1\", form = 1 }", "a heartbeat is either"),
        (7, "/events\"", "/events\"\nheartbeat = { event = \"b\", form = { at = \"{tme}\" } }", "tme"),
        (7, "/events\"", "/events\"\npath = \"/b\"", "duplicate key"),
        (7, "/events\"", "/events\"\nrequires = \"role/*\"", "not a valid topic"),
        (7, "/events\"", "/events\"\nrefusals = { 200 = \"x\" }", "status of a refusal"),
        (7, "/events\"", "/events\"\nfilters = [{ query = \"a\", topic = \"b\" }]", "needs a place for the value"),
        (8, "{data.id}", "{data.id", "not closed"),
        (8, "{data.id}", "{date.id}", "must begin with"),
        (7, "topic = \"book/{data.id}\"\n", "", "has no topic"),
        (9, "{scope.owner}\", \"role/admin\"", "{scope.owner}\", \"role/*\"", "has a `*`"),
        (9, "\"user/{scope.owner}\", ", "", "never reached"),
        (9, "[\"role/viewer\"]]", "[]]", "a rule without a grant"),
        (7, "audience = ", "#", "nobody would be given it"),
        (10, "[values]", "cases = [{ path = \"a[1]\", to = \"pascal\" }]\n[values]", "brackets are only"),
        (7, "\"book/{data.id}\"", "[]", "needs a topic"),
        (10, "[values]", "key = []\n[values]", "an empty list is no key"),
        (10, "[values]", "key = [\"{data.id}\", \"{date.id}\"]\n[values]", "must begin with"),
        (10, "[values]", "coalesce = { window = \"2s\", max_wait = \"1s\" }\n[values]", "shorter than"),
        (2, "\"app\"\n[grants", "\"app\"\ndescription = \"${values.nam}\"\n[grants", "did you mean `${values.name}`?"),
        (13, ".wrap", ".wrp", "did you mean `wrap`?"),
        (10, "[values]", "[auth]\nanonymus = \"reject\"\n[values]", "did you mean `anonymous`?"),
    ] {
        let text = GOOD.replacen(from, to, 1);
        assert_ne!(text, GOOD, "{from}");
        let report = check_text(&text);
        assert!(report.to_string().contains(says), "{says}: {report}");
        let near = lines(&report);
        assert!(near.contains(&line) || near.contains(&(line + 1)), "{says} in line {line}: {report}");
        assert_eq!(report.mistakes().len(), 1, "{report}");
    }
}

/// [`GOOD`] with a mount of this transport, and with these lines in it.
fn with_mount(transport: &str, lines: &str) -> String {
    GOOD.replacen("transport = \"sse\"", &format!("transport = \"{transport}\""), 1).replacen(
        "path = \"/events\"",
        &format!("path = \"/events\"\n{lines}"),
        1,
    )
}

#[test]
fn a_mistake_in_how_events_look_is_found_at_its_line() {
    let on_event = |line: &str| GOOD.replacen("[values]", &format!("{line}\n[values]"), 1);
    let on_mount = |line: &str| with_mount("sse", line);
    let many = |from: usize| {
        let paths: Vec<String> = (from..from + 20).map(|n| format!("{{ path = \"p{n}\" }}")).collect();
        format!("redact = [{}]", paths.join(", "))
    };
    let too_many = on_mount(&format!("shapes.\"book.updated\".{}", many(20)));
    let too_many = too_many.replacen("[values]", &format!("{}\n[values]", many(0)), 1);
    for (line, text, says) in [
        (10, on_event("form = { a = \"{data.x\" }"), "this `{` is not closed"),
        (
            10,
            on_event("form = { a = [1, { b = \"{date.x}\" }] }"),
            "`date` is nothing that can be taken; there are data",
        ),
        (10, on_event("form = \"{data.x:isso}\""), "`isso` is no filter; there are iso, percent"),
        (10, on_event("form = \"{data.x:kind}\"\nwords = { kinds = { a = 1 } }"), "seconds, text, kinds"),
        (10, on_event("words = { a = \"b\" }"), "those of a form"),
        (10, on_event("form = 1\nwords = { iso = { a = 1 } }"), "not as a filter is"),
        (10, on_event("form = 1\nwords = { a = [1] }"), "what stands for a word"),
        (10, on_event(&format!("form = {}1{}", "[".repeat(40), "]".repeat(40))), "at most 32 levels deep"),
        (7, on_mount("names = []"), "of no use"),
        (7, on_mount("names = [\"book.updatd\"]"), "did you mean \"book.updated\"?"),
        (7, on_mount("shapes.\"*\".wire = \"x\""), "the profile has no event \"*\""),
        (7, on_mount("shapes.\"book.updatd\".wire = \"x\""), "did you mean \"book.updated\"?"),
        (7, on_mount("shapes.\"book.updated\".wier = \"x\""), "did you mean `wire`?"),
        (7, on_mount("shapes.\"book.updated\".form = { a = \"{data.x:}\" }"), "is no filter"),
        (7, on_mount("shapes.\"book.updated\".topic = \"t\""), "unknown key `topic`"),
        (7, too_many, "at most 32 redactions"),
    ] {
        let report = check_text(&text);
        assert!(report.to_string().contains(says), "{says}: {report}");
        assert_eq!((report.mistakes().len(), lines(&report)), (1, vec![line]), "{says}: {report}");
    }
}

#[test]
fn the_events_of_jobs_need_no_topic_and_no_audience() {
    let text = GOOD.replacen("[values]", "[events.\"job.progress\"]\nwire = \"progress\"\n[values]", 1);
    let text = text.replacen("[events", "names = [\"job.completed\"]\nshapes.\"job.lost\".wire = \"gone\"\n[events", 1);
    assert!(check_text(&text).is_empty(), "{}", check_text(&text));
    let report = check_text(&text.replace("job.progress", "job.step"));
    assert!(report.to_string().contains("the event \"job.step\" has no topic"), "{report}");
}

#[test]
fn a_setting_of_another_transport_is_a_mistake() {
    let sse = "sse, poll and websocket";
    for (transport, line, belongs) in [
        ("sse", "commands = false", "websocket and socketio"),
        ("poll", "bare_token = true", "websocket"),
        ("websocket", "ping_interval = \"10s\"", "socketio"),
        ("websocket", "retry = \"1s\"", "sse and poll"),
        ("websocket", "heartbeat_when = \"always\"", "sse and poll"),
        ("websocket", "greetings = [{ event = \"hi\" }]", "socketio"),
        ("socketio", "heartbeat_every = \"10s\"", sse),
        ("socketio", "bare_token = true", "websocket"),
        ("socketio", "clients = \"n\"", "side endpoints"),
        ("ready", "wrapped = false", "streams"),
        ("ready", "names = [\"book.updated\"]", "streams"),
        ("health", "shapes = { \"book.updated\" = { wire = \"x\" } }", "streams"),
        ("health", "reject = \"http\"", "socketio"),
    ] {
        let report = check_text(&with_mount(transport, line));
        let name = line.split(' ').next().unwrap();
        let says = format!("`{name}` is a setting of {belongs}; the transport of this mount is {transport}");
        assert!(report.to_string().contains(&says), "{says}: {report}");
        assert_eq!(report.mistakes().len(), 1, "{report}");
    }
}

#[test]
fn mounts_that_share_a_rate_have_the_same_one() {
    let with_rates = |second: &str| {
        let desk = |path: &str, rate: &str| {
            format!("[[mounts]]\ntransport = \"job\"\npath = \"/{path}/{{job}}\"\nanswer = 1\nrate = {rate}\n")
        };
        let first = desk("a", "{ requests = 5, per = \"60s\", shared = \"asks\" }");
        check_text(&GOOD.replacen("[events", &format!("{first}{}[events", desk("b", second)), 1))
    };
    for fits in
        ["{ requests = 5, per = \"1m\", shared = \"asks\" }", "{ requests = 6, per = \"60s\", shared = \"more\" }"]
    {
        assert!(with_rates(fits).is_empty(), "{}", with_rates(fits));
    }
    let report = with_rates("{ requests = 6, per = \"60s\", shared = \"asks\" }");
    assert!(report.to_string().contains("the rate \"asks\" is shared with line 11"), "{report}");
    assert_eq!(lines(&report), [16], "{report}");
}

#[test]
fn a_mistake_in_how_a_mount_speaks_socket_io_is_found_at_its_line() {
    for (line, says) in [
        ("polling = false\nwebsocket = false", "nobody could connect"),
        ("ping_interval = \"500ms\"", "`ping_interval` is from a second to an hour"),
        ("ping_timeout = \"2h\"", "`ping_timeout` is from a second to an hour"),
        ("namespaces = []", "without a namespace"),
        ("namespaces = [\"/\", \"admin\"]", "a namespace is `/`"),
        ("namespaces = [\"/a,b\"]", "a namespace is `/`"),
        ("namespaces = [\"/a\", \"/a\"]", "there twice"),
        ("reject = \"shout\"", "\"connect-error\""),
        ("reject = { event = \"error\" }", "missing"),
        ("reject = { event = \"error\", data = \"unauthorized\" }", "a text stands in quotes"),
        ("reject = { event = \"disconnect\", data = \"1\" }", "of the client itself"),
        ("greetings = [{ event = \"\" }]", "not empty"),
        ("greetings = [{ event = \"hi\", data = '{\"a\":{id}' }]", "JSON in one line"),
        ("greetings = [{ event = \"hi\", data = '{about}' }]", "no source of credentials says anything"),
    ] {
        let report = check_text(&with_mount("socketio", line));
        assert!(report.to_string().contains(says), "{says}: {report}");
        assert_eq!(report.mistakes().len(), 1, "{report}");
        assert!(lines(&report).iter().all(|line| (4..=8).contains(line)), "{report}");
    }
}

#[test]
fn a_mount_speaks_socket_io_as_its_profile_says() {
    use tidings_transports::{Greeting, Rejection, SocketIoSettings};
    let socketio = r#"wrapped = false
commands = false
namespaces = ["/live", "/"]
polling = false
allow_eio3 = false
ping_interval = "10s"
ping_timeout = "5s"
reject = { event = "error", data = '"unauthorized"' }
greetings = [{ event = "auth", data = '{"server":{about},"id":{id}}' }, { event = "ready" }]
"#;
    let auth = r#"[[auth.sources]]
kind = "forward"
url = "http://app/me"
principal = { id = "{body.id}", about = "{body}" }
[[mounts]]
"#;
    let text = with_mount("socketio", socketio).replacen("[[mounts]]\n", auth, 1);
    let mut report = Report::default();
    let loading = Loading::read(&Source::file("profile.toml", text), PathBuf::new(), &mut report);
    let loaded = loading.finish(&[], &[], None, &mut report).unwrap_or_else(|| panic!("{report}"));
    let stream = loaded.mounts[0].transport.stream().unwrap();
    assert!(!stream.wrapped && !stream.commands);
    let second = std::time::Duration::from_secs(1);
    let auth = Greeting { name: "auth".into(), data: Some(r#"{"server":{about},"id":{id}}"#.into()) };
    let expected = SocketIoSettings {
        namespaces: vec!["/live".into(), "/".into()],
        polling: false,
        websocket: true,
        allow_eio3: false,
        ping_interval: 10 * second,
        ping_timeout: 5 * second,
        reject: Rejection::Event("error".into(), "\"unauthorized\"".into()),
        greetings: vec![auth, Greeting { name: "ready".into(), data: None }],
    };
    assert_eq!(stream.socketio, expected);
}

#[test]
fn a_path_of_socket_io_counts_with_a_slash_at_its_end_and_without() {
    let paths = |text: &str| {
        let mut report = Report::default();
        let loading = Loading::read(&Source::file("profile.toml", text), PathBuf::new(), &mut report);
        let loaded = loading.finish(&[], &[], None, &mut report).unwrap_or_else(|| panic!("{report}"));
        let mut paths: Vec<_> = loaded.mounts[0].paths.iter().map(|path| path.path.clone()).collect();
        paths.sort();
        paths
    };
    for written in ["\"/socket.io\"", "\"/socket.io/\"", "[\"/socket.io/\", \"/socket.io\"]"] {
        let text = with_mount("socketio", "").replace("path = \"/events\"", &format!("path = {written}"));
        assert_eq!(paths(&text), ["/socket.io", "/socket.io/"], "{written}");
    }
    let other = "[[mounts]]\ntransport = \"sse\"\npath = \"/events/\"\n[events";
    let report = check_text(&with_mount("socketio", "").replacen("[events", other, 1));
    assert!(report.to_string().contains("the path /events/ is taken by the mount in line 6"), "{report}");
}

#[test]
fn a_profile_may_be_where_the_program_speaks_socket_io_itself() {
    let dir = tempfile::tempdir().unwrap();
    for (name, path) in [("a", "/socket.io"), ("b", "/socket.io/")] {
        let text = with_mount("socketio", "").replace("/events", path).replace("\"app\"", &format!("\"{name}\""));
        std::fs::create_dir(dir.path().join(name)).unwrap();
        std::fs::write(dir.path().join(name).join("profile.toml"), text).unwrap();
    }
    let file = dir.path().join("server.toml");
    std::fs::write(&file, "[[profiles]]\npath = \"a\"\n").unwrap();
    let plan = Plan::load(&Settings::load(Some(&file)).unwrap()).unwrap();
    assert!(plan.serves("/socket.io") && plan.serves("/socket.io/") && !plan.serves("/v1/ws"));
    std::fs::write(&file, "[[profiles]]\npath = \"a\"\n[[profiles]]\npath = \"b\"\n").unwrap();
    let report = check(&[file]);
    assert!(report.to_string().contains("of the profile \"b\" is taken by the profile \"a\""), "{report}");
    assert_eq!(report.mistakes().len(), 1, "told of once, not of both spellings: {report}");
}

#[test]
fn all_mistakes_of_a_file_are_found_at_once() {
    let text = GOOD
        .replace("\"sse\"", "\"see\"")
        .replace("{data.id}", "{date.id}")
        .replace("[\"role/viewer\"]]", "[]]")
        .replace("[values]", "kept = \"yes\"\n[values]");
    let report = check_text(&text);
    // A mount of no known kind can't be looked into further; the rest can.
    assert_eq!(lines(&report), [5, 8, 9, 10], "{report}");
}

#[test]
fn a_mistake_within_a_template_is_pointed_at() {
    let report = check_text(&GOOD.replace("{data.id}", "{data.}"));
    assert!(report.to_string().contains("8 | topic = \"book/{data.}\"\n  |                ^"), "{report}");
}

#[test]
fn a_value_that_is_needed_is_asked_for_where_the_profile_is_used() {
    let text = GOOD
        .replace("name = \"x\"", "key = { needed = \"the key of the app\" }")
        .replace("name = \"app\"\n", "name = \"app\"\ndescription = \"${values.key}\"\n");
    assert!(check_text(&text).is_empty(), "{}", check_text(&text));
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("profile.toml"), text).unwrap();
    let settings = dir.path().join("server.toml");
    std::fs::write(&settings, "[[profiles]]\npath = \".\"\n").unwrap();
    let report = check(std::slice::from_ref(&settings));
    assert!(report.to_string().contains("needs the value `key`: the key of the app"), "{report}");
    std::fs::write(&settings, "[[profiles]]\npath = \".\"\nvalues = { key = \"k\" }\n").unwrap();
    assert!(check(&[settings]).is_empty());
}

#[test]
fn a_variant_lays_a_table_over_each_mount() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("profile.toml"), GOOD.replace("[variants.b]", "[variants.b]\nmounts.ids = false"))
        .unwrap();
    let mut report = Report::default();
    let loading = Loading::open(dir.path(), &mut report).unwrap();
    let loaded = loading.finish(&[At::nowhere("b".into())], &[], None, &mut report).unwrap();
    let crate::profile::Transport::Sse(stream) = &loaded.mounts[0].transport else { panic!("a stream") };
    assert!(!stream.ids && loaded.mounts[0].paths[0].path == "/events");
}

#[test]
fn a_form_is_replaced_whole_by_that_of_a_variant_and_an_event_of_that_name_is_not() {
    let event = "[events.form]\ntopic = \"t\"\naudience = \"everyone\"\nform = { a = \"{data.a}\" }\n[values]";
    let over = "[variants.b]\nevents.form.form = { b = 1 }";
    let text = GOOD.replacen("[values]", event, 1).replace("[variants.b]", over);
    let mut report = Report::default();
    let loading = Loading::read(&Source::file("profile.toml", text), PathBuf::new(), &mut report);
    let loaded =
        loading.finish(&[At::nowhere("b".into())], &[], None, &mut report).unwrap_or_else(|| panic!("{report}"));
    let draft = serde_json::from_str(r#"{"name":"form","data":{"a":1}}"#).unwrap();
    let event = loaded.profile.derive(draft, Default::default(), &tidings::Limits::default()).unwrap();
    assert_eq!(loaded.profile.rule("form").unwrap().shape.render(&event, 0), r#"{"b":1}"#);
}

#[test]
fn a_variant_lays_a_table_over_the_mounts_that_it_means() {
    let second = "[[mounts]]\ntransport = \"socketio\"\npath = \"/io\"\n[events";
    let laid = |wanted: &str| {
        GOOD.replacen("[events", second, 1)
            .replace("[variants.b]", &format!("[variants.b]\nmounts.where = {wanted}\nmounts.retry = false"))
    };
    let mut report = Report::default();
    let text = laid("{ transport = \"sse\" }");
    let loading = Loading::read(&Source::file("profile.toml", text), PathBuf::new(), &mut report);
    let loaded = loading.finish(&[At::nowhere("b".into())], &[], None, &mut report).unwrap();
    let retries: Vec<_> = loaded.mounts.iter().map(|mount| mount.transport.stream().unwrap().retry).collect();
    let default = tidings_transports::StreamSettings::default().retry;
    assert_eq!(retries, [None, default]);
    for nobody in ["{ transport = \"poll\" }", "{ nothing = 1 }", "1"] {
        let report = check_text(&laid(nobody));
        assert!(report.to_string().contains("nothing that this is laid over has these values"), "{nobody}: {report}");
        assert_eq!(report.mistakes().len(), 1, "{nobody}: {report}");
    }
}

#[test]
fn profiles_in_each_others_way_are_an_error() {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [("a", GOOD.to_owned()), ("b", GOOD.replace("name = \"app\"", "name = \"b\""))] {
        std::fs::create_dir(dir.path().join(name)).unwrap();
        std::fs::write(dir.path().join(name).join("profile.toml"), text).unwrap();
    }
    let settings = dir.path().join("server.toml");
    let check_settings = |text: &str| {
        std::fs::write(&settings, text).unwrap();
        check(std::slice::from_ref(&settings))
    };
    let both = check_settings("[[profiles]]\npath = \"a\"\n[[profiles]]\npath = \"b\"\n");
    assert!(
        both.to_string().contains("the path /events of the profile \"b\" is taken by the profile \"app\""),
        "{both}"
    );
    let apart = check_settings("[[profiles]]\npath = \"a\"\n[[profiles]]\npath = \"b\"\nbase_path = \"/b/\"\n");
    assert!(apart.is_empty(), "{apart}");
    let twice = check_settings("[[profiles]]\npath = \"a\"\n[[profiles]]\npath = \"a\"\nbase_path = \"/b\"\n");
    assert!(twice.to_string().contains("share the namespace"), "{twice}");
    let wrong = check_settings(
        "[lanes]\ncuont = 1\n[[profiles]]\npath = \"a\"\nvariants = [\"bb\"]\nvalues = { nme = \"x\" }\n[[profiles]]\nname = \"nope\"\n",
    );
    assert_eq!(lines(&wrong), [2, 5, 6, 8], "{wrong}");
}

proptest::proptest! {
    #[test]
    fn a_profile_that_is_cut_and_mixed_up_is_checked_without_a_panic(from in 0usize..500, length in 0usize..60, with in "[\\[\\]{}=\"a.\n,$1]{0,6}") {
        let mut text: Vec<char> = GOOD.chars().collect();
        let from = from.min(text.len());
        text.splice(from..(from + length).min(text.len()), with.chars());
        let source = Source::file("profile.toml", text.into_iter().collect::<String>());
        let mut report = Report::default();
        let loading = Loading::read(&source, PathBuf::new(), &mut report);
        let made = loading.finish(&[At::nowhere("b".into())], &[], None, &mut report);
        // Whatever is wrong is said, and what is not wrong is made.
        proptest::prop_assert_eq!(made.is_some(), report.is_empty(), "{}", report);
        let _ = report.render(true);
    }
}
