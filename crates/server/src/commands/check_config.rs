//! `tidings check-config`: every mistake in settings and profiles, or what they make.

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use tidings_transports::desk::Does;

use crate::check::{Report, check};
use crate::profile::{LoadedProfile, Loading, Plan, Transport};
use crate::settings::{BrokerKind, Settings};

/// `tidings check-config`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct CheckConfigArgs {
    /// Settings, or profiles (a directory, or a file called profile.toml)
    #[arg(value_name = "FILES")]
    files: Vec<PathBuf>,
    /// The settings; the same as naming them alone. Without any, TIDINGS_CONFIG or the defaults
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Prints every mistake and fails, or says what is served where.
pub fn run(args: CheckConfigArgs) -> ExitCode {
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    match summary(args) {
        Ok(text) => {
            let _ = super::print(&text);
            ExitCode::SUCCESS
        }
        Err(report) => {
            eprint!("{}", report.render(colours));
            ExitCode::FAILURE
        }
    }
}

fn summary(args: CheckConfigArgs) -> Result<String, Report> {
    let mut files: Vec<PathBuf> = args.config.into_iter().chain(args.files).collect();
    // The variable is for the settings of the hub, and says nothing where others are named.
    if files.is_empty() {
        files.extend(std::env::var_os("TIDINGS_CONFIG").map(PathBuf::from));
    }
    let report = check(&files);
    if !report.is_empty() {
        return Err(report);
    }
    let mut out = String::new();
    if files.is_empty() {
        let settings = Settings::load(None)?;
        out.push_str("ok: the defaults, with the environment over them\n");
        describe_settings(&settings, &mut out)?;
    }
    for file in &files {
        // Writing to a String does not fail, here and below.
        let _ = writeln!(out, "ok: {}", file.display());
        if file.is_dir() || file.file_name().is_some_and(|name| name == "profile.toml") {
            let mut ignored = Report::default();
            let loading = Loading::open(file, &mut ignored).ok().map(Loading::alone);
            if let Some(loaded) = loading.and_then(|loading| loading.finish(&[], &[], None, &mut ignored)) {
                describe(&loaded, &mut out);
            }
        } else {
            describe_settings(&Settings::load(Some(file))?, &mut out)?;
        }
    }
    Ok(out)
}

fn describe_settings(settings: &Settings, out: &mut String) -> Result<(), Report> {
    let plan = Plan::load(settings)?;
    let addresses = |list: &[std::net::SocketAddr], scheme: &str| -> Vec<String> {
        list.iter().map(|address| format!("{scheme}://{address}")).collect()
    };
    let listens = [addresses(&settings.listen.http, "http"), addresses(&settings.listen.https, "https")].concat();
    let _ = writeln!(out, "  listens on {}", listens.join(", "));
    let _ = match (settings.broker.kind(), settings.nats()) {
        (BrokerKind::Nats, Some(nats)) => {
            writeln!(out, "  keeps its data in NATS at {}, as hub {}", nats.shown_servers(), nats.hub)
        }
        (BrokerKind::Memory, _) => writeln!(
            out,
            "  keeps its log in memory, and the rest in {}",
            settings.base.join(&settings.data.dir).display()
        ),
        _ => writeln!(out, "  keeps its data in {}", settings.base.join(&settings.data.dir).display()),
    };
    plan.profiles.iter().for_each(|loaded| describe(loaded, out));
    Ok(())
}

fn describe(loaded: &LoadedProfile, out: &mut String) {
    let _ = write!(out, "  profile {}", loaded.profile.name());
    if !loaded.description.is_empty() {
        let _ = write!(out, ": {}", loaded.description.trim());
    }
    out.push('\n');
    for mount in &loaded.mounts {
        let transport = match mount.transport {
            Transport::Sse(_) => "sse",
            Transport::Poll(_) => "poll",
            Transport::WebSocket(_) => "websocket",
            Transport::SocketIo(_) => "socketio",
            Transport::Ready(_) => "ready",
            Transport::Health(_) => "health",
            Transport::Desk(ref desk) => match desk.does {
                Does::Create(_) => "job-create",
                Does::Show { .. } => "job",
                Does::Cancel { .. } => "job-cancel",
                Does::Result { .. } => "job-result",
            },
        };
        for path in &mount.paths {
            let _ = writeln!(out, "    {transport:9} {}", path.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_text(text: &str) -> Result<String, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("server.toml");
        std::fs::write(&file, text).unwrap();
        let args = CheckConfigArgs { files: vec![file], config: None };
        summary(args).map_err(|report| report.render(false))
    }

    #[test]
    fn settings_without_a_mistake_are_summed_up() {
        let text = check_text("[listen]\nhttp = [\"127.0.0.1:1234\"]\n").unwrap();
        assert!(text.starts_with("ok: ") && text.contains("  listens on http://127.0.0.1:1234\n"), "{text}");
    }

    #[test]
    fn where_the_data_is_kept_is_told_without_secrets() {
        let text = check_text("[broker]\nurl = \"nats://me:secret@a:4222\"\n").unwrap();
        assert!(text.contains("  keeps its data in NATS at nats://a:4222, as hub hub\n"), "{text}");
        assert!(check_text("[broker]\nkind = \"memory\"\n").unwrap().contains("keeps its log in memory"));
    }

    #[test]
    fn a_mistake_is_shown_with_its_line() {
        let text = check_text("[listen]\nhtp = []\n").unwrap_err();
        assert!(text.contains("server.toml:2:1") && text.contains("1 mistake"), "{text}");
    }

    #[test]
    fn every_profile_that_comes_with_the_program_is_summed_up_with_its_paths() {
        for (name, _) in crate::profile::embedded() {
            let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../profiles").join(name);
            let args = CheckConfigArgs { files: vec![path], config: None };
            let text = summary(args).map_err(|report| report.render(false)).unwrap();
            assert!(text.contains(&format!("  profile {name}")) && text.contains("/"), "{text}");
        }
    }
}
