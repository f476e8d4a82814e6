use super::*;

fn read(text: &str, variables: &[(&str, &str)]) -> Result<Settings, Report> {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Settings::read(Some(&Source::file("server.toml", text)), variables, Report::default())
}

fn mistakes(text: &str, variables: &[(&str, &str)]) -> String {
    read(text, variables).unwrap_err().to_string()
}

#[test]
fn the_commented_file_is_the_defaults() {
    assert_eq!(read(DEFAULT_CONFIG, &[]).unwrap(), Settings::default());
    assert_eq!(read("", &[]).unwrap(), Settings::default());
}

#[test]
fn the_commented_file_names_every_setting() {
    for section in
        ["listen", "data", "broker", "broker.nats", "lanes", "limits", "tls", "api", "jobs", "proxy", "drain", "log"]
    {
        let report = mistakes(&format!("[{section}]\nzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz = 1\n"), &[]);
        let known = report.split("known here: ").nth(1).unwrap().lines().next().unwrap();
        let start = DEFAULT_CONFIG.find(&format!("\n[{section}]\n")).unwrap_or_else(|| panic!("[{section}]"));
        let table = DEFAULT_CONFIG[start + 1..].split("\n[").next().unwrap();
        for name in known.split(", ") {
            let named = |line: &str| line.trim_start_matches("# ").starts_with(&format!("{name} = "));
            let is_table = DEFAULT_CONFIG.contains(&format!("\n[{section}.{name}]\n"));
            assert!(is_table || table.lines().any(named), "{section}.{name}");
        }
    }
}

#[test]
fn naming_a_server_of_nats_chooses_it() {
    let text = "[broker]\nurl = \"nats://a:4222\"\nkeep_for = \"1d\"\n[broker.nats]\nhub = \"books\"\ncredentials = \"hub.creds\"\n";
    let settings = read(text, &[]).unwrap();
    assert_eq!(settings.broker.kind(), BrokerKind::Nats);
    let nats = settings.nats().unwrap();
    assert_eq!((nats.servers, nats.hub, nats.copies), (vec!["nats://a:4222".to_owned()], "books".to_owned(), None));
    assert_eq!(nats.retention.age, Some(Duration::from_secs(86_400)));
    assert!(matches!(nats.login, tidings_brokers::nats::Login::Credentials(_)));
    let several =
        read("", &[("TIDINGS_BROKER__URL", "nats://a:4222, nats://b:4222"), ("TIDINGS_BROKER__NATS__COPIES", "3")]);
    let nats = several.unwrap().nats().unwrap();
    assert_eq!((nats.servers.len(), nats.copies), (2, Some(3)));
    assert_eq!(read("", &[]).unwrap().nats().map(|nats| nats.hub), None);
}

#[test]
fn what_does_not_fit_together_about_nats_is_told_at_its_place() {
    for (text, line, sentence) in [
        ("[broker]\nkind = \"disk\"\nurl = \"nats://a\"\n", 2, "leave `kind` away, or `url`"),
        ("[broker]\nkind = \"nats\"\n", 2, "where NATS is has to be said"),
        ("[broker]\nurl = [\"http://a\"]\n", 2, "an address of NATS is like"),
        ("[broker]\nurl = \"nats://a\"\nkeep_events = 100\n", 3, "keeps 10000 events at least"),
        ("[broker]\nurl = \"nats://a\"\nkeep_bytes = \"1MiB\"\n", 3, "keeps 64MiB at least"),
        ("[broker]\nurl = \"nats://a\"\nkeep_for = \"5s\"\n", 3, "for 1m at least"),
        (
            "[broker]\nurl = \"nats://a\"\nkeep_for = \"2m\"\n[broker.nats]\npublish_timeout = \"60s\"\nduplicate_window = \"140s\"\n",
            3,
            "at least 140s",
        ),
        ("[broker]\nurl = \"nats://a\"\n[limits]\nbatch_events = 1001\n", 4, "at most 1000 events"),
        ("[broker]\nurl = \"nats://a\"\n[broker.nats]\nhub = \"a.b\"\n", 4, "1 to 32 letters"),
        ("[broker]\nurl = \"nats://a\"\n[broker.nats]\ncopies = 2\n", 4, "on 1, 3 or 5 servers"),
        ("[broker]\nurl = \"nats://a\"\n[broker.nats]\nuser = \"u\"\n", 4, "`user` and `password` go together"),
        ("[broker]\nurl = \"nats://a\"\n[broker.nats]\ntoken = \"t\"\nnkey = \"n\"\n", 3, "keep one of"),
        ("[broker]\nurl = \"nats://a\"\n[broker.nats]\nduplicate_window = \"29s\"\n", 4, "at least 30s"),
        (
            "[broker]\nurl = \"nats://a\"\n[broker.nats]\nduplicate_window = \"2m\"\npublish_timeout = \"51s\"\n",
            4,
            "at least 122s",
        ),
        ("[broker]\nurl = \"nats://a\"\n[broker.nats]\ndurability = \"always\"\n", 4, "power-safe"),
    ] {
        let report = mistakes(text, &[]);
        assert!(report.contains(sentence) && report.contains(&format!("server.toml:{line}:")), "{text}\n{report}");
    }
}

#[test]
fn no_secret_of_nats_is_shown() {
    let text = "[broker]\nurl = \"nats://u:verysecret@a\"\n[broker.nats]\ntoken = \"verysecret\"\n";
    let settings = read(text, &[]).unwrap();
    assert!(!format!("{settings:?} {:?}", settings.nats().map(|nats| nats.login)).contains("verysecret"));
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_nearest() {
    let report = mistakes("[limits]\nevent_dta = 1\n", &[]);
    assert!(report.contains("unknown key `event_dta`"), "{report}");
    assert!(report.contains("--> server.toml:2:1"), "{report}");
    assert!(report.contains("2 | event_dta = 1\n  | ^^^^^^^^^ did you mean `event_data`?"), "{report}");
}

#[test]
fn every_mistake_is_found_and_not_only_the_first() {
    let report = read(
        "[listen]\nhttp = [\"nonsense\", \"127.0.0.1:1\"]\n[limits]\npoll_wait = \"soon\"\nx = 1\n[log]\nformat = \"jsn\"\n\
         [broker]\nkeep_for = 7\n[api]\ncors = [\"https://a/b\"]\n[tls]\ncert = \"a\"\n[[auth.sources]]\nkind = \"jwt\"\nscret = 1\n",
        &[],
    )
    .unwrap_err();
    let mut lines: Vec<usize> = report.mistakes().iter().filter_map(|m| m.place.as_ref().map(Place::line)).collect();
    lines.dedup();
    assert_eq!(lines, [2, 4, 5, 7, 9, 11, 13, 16], "{report}");
    assert!(report.to_string().contains("did you mean \"json\"?"), "{report}");
    assert!(report.to_string().contains("did you mean `secret`?"), "{report}");
}

#[test]
fn the_grammar_of_toml_is_checked_with_a_place() {
    let report = mistakes("[listen\nhttp = []\n", &[]);
    assert!(report.contains("server.toml:1:"), "{report}");
}

#[test]
fn the_environment_goes_before_the_file_and_is_typed_by_the_setting() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("level");
    std::fs::write(&file, "debug\n").unwrap();
    let settings = read(
        "[limits]\nevent_data = 1\npoll_events = 7\n",
        &[
            ("TIDINGS_LIMITS__EVENT_DATA", "2MiB"),
            ("TIDINGS_LANES__COUNT", "3"),
            ("TIDINGS_API__PAGE", "false"),
            ("TIDINGS_LISTEN__HTTP", "127.0.0.1:1, [::1]:2"),
            ("TIDINGS_BROKER__KIND", "memory"),
            ("TIDINGS_BROKER__KEEP_FOR", "false"),
            ("TIDINGS_DATA__DIR", "12"),
            ("TIDINGS_LOG__LEVEL_FILE", file.to_str().unwrap()),
            ("TIDINGS_PROFILES", "a,b"),
            ("TIDINGS_TLS__CERT", "cert.pem"),
            ("TIDINGS_TLS__KEY_FILE", "key.pem"),
            ("TIDINGS_PROXY__TRUSTED", "[\"10.0.0.0/8\"]"),
            ("TIDINGS_TOKEN", "not a setting"),
            ("PATH", "/bin"),
        ],
    )
    .unwrap();
    assert_eq!((settings.limits.event_data, settings.limits.poll_events), (2 << 20, 7));
    assert_eq!((settings.lanes.count, settings.api.page, settings.broker.kind()), (3, false, BrokerKind::Memory));
    assert_eq!(settings.listen.http.len(), 2);
    assert_eq!((settings.broker.keep_for, settings.data.dir.to_str()), (None, Some("12")));
    assert_eq!((settings.log.level.as_str(), settings.proxy.trusted.len()), ("debug", 1));
    assert_eq!(settings.tls.key.as_deref(), Some(Path::new("key.pem")), "it names a file, which is not read");
    let names: Vec<_> = settings.profiles.iter().filter_map(|p| p.name.as_ref().map(|n| n.value.as_str())).collect();
    assert_eq!(names, ["a", "b"]);
}

#[test]
fn a_mistake_in_the_environment_names_the_variable_and_not_its_value() {
    let report = mistakes("", &[("TIDINGS_LIMITS__POLL_EVENTS", "hunter2"), ("TIDINGS_LIMITS__NO_SUCH", "hunter2")]);
    assert!(report.contains("TIDINGS_LIMITS__POLL_EVENTS") && report.contains("TIDINGS_LIMITS__NO_SUCH"), "{report}");
    assert!(!report.contains("hunter2"), "{report}");
}

#[test]
fn a_secret_is_neither_in_a_report_nor_in_debug() {
    let text = "[[auth.sources]]\nkind = \"jwt\"\nsecret = \"hunter2hunter2hunter2\"\n\
                [[profiles]]\nname = \"a\"\nvalues = { key = \"hunter2\" }\n";
    assert!(!format!("{:?}", read(text, &[]).unwrap()).contains("hunter2"));
    let report = mistakes("[[auth.sources]]\nkind = \"jwt\"\nsecret = \"hunter2\"\n", &[]);
    assert!(!report.contains("hunter2"), "{report}");
}

#[test]
fn a_section_without_a_key_in_the_environment_is_told_of() {
    let report = mistakes("", &[("TIDINGS_LISTEN", "0.0.0.0:80")]);
    assert!(report.contains("TIDINGS_LISTEN__"), "{report}");
}

proptest::proptest! {
    #[test]
    fn a_file_that_is_cut_and_mixed_up_is_read_without_a_panic(from in 0usize..6000, length in 0usize..200, with in "[\\[\\]{}=\"a.\n,1]{0,6}") {
        let mut text: Vec<char> = DEFAULT_CONFIG.chars().collect();
        let from = from.min(text.len());
        text.splice(from..(from + length).min(text.len()), with.chars());
        if let Err(report) = read(&text.into_iter().collect::<String>(), &[]) {
            proptest::prop_assert!(!report.is_empty() && report.render(true).contains("server.toml"));
        }
    }
}

#[test]
fn settings_that_go_together_are_checked_together() {
    assert!(mistakes("[listen]\nhttp = []\n", &[]).contains("it listens nowhere"));
    assert!(mistakes("[listen]\nhttps = [\"[::]:443\"]\n", &[]).contains("HTTPS needs"));
    assert!(mistakes("[[profiles]]\nvariants = []\n", &[]).contains("either a `name`"));
}
