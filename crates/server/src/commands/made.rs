//! Files that are made of a profile: which profile, and whether what is there is still what would be made.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidings::Profile;
use tidings_transports::StreamSettings;

use super::Failure;
use crate::auth::AuthSettings;
use crate::profile::{LoadedProfile, Loading, Mount, MountPath, Transport};
use crate::settings::{At, Report, Settings};

/// Which profile, and where what is made of it goes.
#[derive(Clone, Debug, clap::Args)]
pub struct MadeArgs {
    /// The profile: its name, its directory, or its file; `default` is the built-in one
    #[arg(long, value_name = "PROFILE")]
    pub profile: String,
    /// The settings of a hub: the profile as it is set up there
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Variants of the profile, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',', conflicts_with = "config")]
    variants: Vec<String>,
    /// Write it to this file, instead of printing it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write nothing, and fail if the file named by --out is not what would be written
    #[arg(long, requires = "out")]
    check: bool,
}

impl MadeArgs {
    /// The profile.
    pub fn load(&self) -> Result<LoadedProfile, Failure> {
        let mut report = Report::default();
        let loaded = match &self.config {
            Some(config) => self.as_set_up(config, &mut report)?,
            None if self.profile == "default" => return Ok(built_in()),
            None => self.alone(&mut report)?,
        };
        match loaded {
            Some(loaded) if report.is_empty() => Ok(loaded),
            _ => Err(Failure::new(format!("the profile has mistakes:\n{}", report.render(false).trim_end()))),
        }
    }

    fn alone(&self, report: &mut Report) -> Result<Option<LoadedProfile>, Failure> {
        let path = Path::new(&self.profile);
        let is_name = !self.profile.contains(['/', '\\', '.']);
        let named = is_name.then(|| Loading::named(&self.profile, PathBuf::new(), report)).flatten();
        let loading = match named {
            Some(loading) => loading,
            None if is_name && !path.exists() => {
                let name = &self.profile;
                let help = "give the folder of your own, as in --profile profiles";
                return Err(Failure::new(format!("no profile {name:?} comes with the program: {help}/{name}")));
            }
            None => Loading::open(path, report).map_err(Failure::new)?,
        };
        let variants: Vec<_> = self.variants.iter().cloned().map(At::nowhere).collect();
        Ok(loading.alone().finish(&variants, &[], None, report))
    }

    fn as_set_up(&self, config: &Path, report: &mut Report) -> Result<Option<LoadedProfile>, Failure> {
        let settings = Settings::load(Some(config)).map_err(|report| Failure::new(report.render(false)))?;
        for wanted in &settings.profiles {
            let Some(loading) = Loading::find(wanted, &settings, report) else { continue };
            let loaded = loading.finish(&wanted.variants, &wanted.values.0, wanted.base_path.as_ref(), report);
            let is_path = wanted.path.as_ref().is_some_and(|path| path.as_path() == Path::new(&self.profile));
            if is_path || loaded.as_ref().is_some_and(|loaded| loaded.profile.name() == self.profile) {
                return Ok(loaded);
            }
        }
        if !report.is_empty() {
            return Ok(None);
        }
        Err(Failure::new(format!("{} sets up no profile {:?}", config.display(), self.profile)))
    }

    /// How to make it again, for the file itself: the same wherever the profile is found.
    pub fn command(&self, name: &str, loaded: &LoadedProfile, more: &[(&str, Option<&str>)]) -> String {
        let mut command = format!("tidings {name} --profile {}", loaded.profile.name());
        if !self.variants.is_empty() {
            command.push_str(&format!(" --variants {}", self.variants.join(",")));
        }
        for (option, value) in more {
            match value {
                Some("") => command.push_str(&format!(" {option}")),
                Some(value) => command.push_str(&format!(" {option} {value}")),
                None => {}
            }
        }
        command
    }

    /// Prints the text, writes it to the file, or compares it with what is there.
    pub fn put(&self, text: &str) -> Result<(), Failure> {
        let Some(out) = &self.out else {
            let _ = super::print(text);
            return Ok(());
        };
        if self.check {
            let there = std::fs::read_to_string(out)
                .map_err(|error| Failure::new(format!("{} can't be read: {error}", out.display())))?;
            return compare(&there, text).map_err(|difference| {
                Failure::new(format!(
                    "{} is not what its profile says: {difference}\nmake it again, without --check",
                    out.display()
                ))
            });
        }
        std::fs::write(out, text).map_err(|error| Failure::new(format!("{} can't be written: {error}", out.display())))
    }
}

/// The mount at this path.
pub fn mount<'a>(loaded: &'a LoadedProfile, path: &str) -> Result<&'a Mount, Failure> {
    let streams = || loaded.mounts.iter().filter(|mount| mount.transport.stream().is_some());
    streams().find(|mount| mount.paths.iter().any(|own| own.path == path)).ok_or_else(|| {
        let known: Vec<_> = streams().flat_map(|mount| &mount.paths).map(|path| path.path.as_str()).collect();
        Failure::new(format!("{} has no stream at {path}; there is {}", loaded.profile.name(), known.join(", ")))
    })
}

/// The first line that differs. How lines end does not count: a checkout on Windows ends them in its own way.
fn compare(there: &str, wanted: &str) -> Result<(), String> {
    let there = &there.replace("\r\n", "\n");
    if there == wanted {
        return Ok(());
    }
    let line =
        |text: &str, index: usize| text.lines().nth(index).map(|line| line.chars().take(120).collect::<String>());
    let mut index = 0;
    while line(there, index).is_some() && there.lines().nth(index) == wanted.lines().nth(index) {
        index += 1;
    }
    let show = |mark: char, text: Option<String>| match text {
        Some(text) => format!("\n{mark} {text}"),
        None => format!("\n{mark} (the end)"),
    };
    Err(format!("line {} differs{}{}", index + 1, show('-', line(there, index)), show('+', line(wanted, index))))
}

/// The built-in profile with the program's own streams.
fn built_in() -> LoadedProfile {
    let place = At::nowhere(()).place;
    let mount = |path: &str, transport| Mount {
        paths: vec![MountPath { path: path.into(), place: place.clone() }],
        transport,
        shared_rate: None,
    };
    LoadedProfile {
        profile: Arc::new(Profile::open()),
        description: "Any event, on any topic.".into(),
        auth: AuthSettings::default(),
        base: PathBuf::new(),
        mounts: vec![
            mount("/v1/events", Transport::Sse(StreamSettings::default())),
            mount("/v1/ws", Transport::WebSocket(StreamSettings::default())),
            mount("/v1/poll", Transport::Poll(StreamSettings::default())),
        ],
        jobs: Default::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_differs_is_shown() {
        assert_eq!(compare("a\nb\n", "a\nb\n"), Ok(()));
        assert_eq!(compare("a\r\nb\r\n", "a\nb\n"), Ok(()));
        assert_eq!(compare("a\nb\n", "a\nc\n"), Err("line 2 differs\n- b\n+ c".into()));
        assert_eq!(compare("a\n", "a\nc\n"), Err("line 2 differs\n- (the end)\n+ c".into()));
    }
}
