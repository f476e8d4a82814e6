//! `tidings check-config`: every mistake, with its place and what to do.

use std::path::{Path, PathBuf};

use crate::profile::{Loading, Plan};
use crate::settings::decode::At;
pub use crate::settings::report::{Mistake, Place, Report, Source};
use crate::settings::{ProfileRef, Settings};

/// Checks settings files and profiles: a directory, or a file that is called `profile.toml`, is a profile and is checked
/// alone and with each of its variants; every other file is settings, which are checked with the profiles they name.
pub fn check(paths: &[PathBuf]) -> Report {
    let mut report = Report::default();
    for path in paths {
        let is_profile = path.is_dir() || path.file_name().is_some_and(|name| name == "profile.toml");
        report.extend(if is_profile { check_profile(path) } else { check_settings(path) });
    }
    report.sort();
    report
}

fn check_settings(path: &Path) -> Report {
    match Settings::load(Some(path)) {
        Ok(settings) => Plan::load(&settings).err().unwrap_or_default(),
        Err(mut report) => {
            // What is wrong in the settings must not hide what is wrong in the profiles; only their names matter here.
            if let Some(settings) = profiles_alone(path) {
                report.extend(Plan::load(&settings).err().unwrap_or_default());
            }
            report
        }
    }
}

/// The settings with nothing but their profiles, as far as these can be read.
fn profiles_alone(path: &Path) -> Option<Settings> {
    #[derive(serde::Deserialize)]
    struct Alone {
        #[serde(default)]
        profiles: Vec<ProfileRef>,
    }
    let mut ignored = Report::default();
    let source = Source::file(path.display().to_string(), std::fs::read_to_string(path).ok()?);
    let root = crate::settings::tree::Node::parse(&source, &mut ignored);
    let Alone { profiles } = crate::settings::decode::decode(&root, &mut ignored)?;
    let base = path.parent().map(Path::to_path_buf).unwrap_or_default();
    Some(Settings { profiles, base, ..Settings::default() })
}

fn check_profile(path: &Path) -> Report {
    let mut report = Report::default();
    let loading = match Loading::open(path, &mut report) {
        Ok(loading) => loading.alone(),
        Err(error) => {
            report.nowhere(error);
            return report;
        }
    };
    loading.finish(&[], &[], None, &mut report);
    for variant in loading.variants() {
        let mut with_variant = Report::default();
        loading.finish(&[At::nowhere(variant)], &[], None, &mut with_variant);
        report.extend(with_variant);
    }
    report
}

#[cfg(test)]
mod tests;
