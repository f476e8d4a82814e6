//! Any text as settings and as a profile: read, or refused with a report that can be shown.

#![no_main]

use std::path::PathBuf;

use libfuzzer_sys::fuzz_target;
use tidings_server::profile::Loading;
use tidings_server::settings::Settings;
use tidings_server::settings::decode::At;
use tidings_server::settings::report::{Report, Source};

fuzz_target!(|text: &str| {
    // Settings may name a file with a secret: a fuzzer should not read what is on this machine.
    if text.contains("/dev") || text.contains("/proc") || text.contains("/sys") {
        return;
    }
    let source = Source::file("any.toml", text);
    match Settings::read(Some(&source), [], Report::default()) {
        Ok(settings) => drop(format!("{settings:?}")),
        Err(report) => show(&report),
    }
    let mut report = Report::default();
    let loading = Loading::read(&source, PathBuf::new(), &mut report).alone();
    let made = loading.finish(&[], &[], None, &mut report);
    assert!(made.is_some() || !report.is_empty(), "a profile that can't be made has a mistake");
    for variant in loading.variants() {
        loading.finish(&[At::nowhere(variant)], &[], None, &mut report);
    }
    report.sort();
    show(&report);
});

fn show(report: &Report) {
    assert!(!report.is_empty() || report.mistakes().is_empty());
    let _ = report.render(true);
    let _ = report.render(false);
}
