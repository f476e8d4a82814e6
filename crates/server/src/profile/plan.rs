//! All profiles together.

use std::collections::{BTreeMap, HashMap, HashSet};

use tidings::job::KindSettings;

use super::load::Loading;
use super::{LoadedProfile, MountPath};
use crate::settings::report::Place;
use crate::settings::{Report, Settings};

/// The paths of the program itself; one that ends in `/` is all below it. `/socket.io/` is the program's own only as long as no
/// profile is there.
pub const RESERVED: [&str; 19] = [
    "/",
    "/v1/events",
    "/v1/poll",
    "/v1/ws",
    "/v1/publish",
    "/v1/jobs/",
    "/v1/tickets",
    "/v1/revoke",
    "/v1/explain",
    "/v1/streams/",
    "/v1/whoami",
    "/v1/topics",
    "/v1/profiles",
    "/v1/log/",
    "/v1/stats/",
    "/health",
    "/ready",
    "/metrics",
    "/console/",
];

/// What is served beside `/v1`.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The profiles, as the settings name them.
    pub profiles: Vec<LoadedProfile>,
}

impl Plan {
    /// Loads every profile of the settings. Two in each other's way are an error, and so is any other mistake.
    pub fn load(settings: &Settings) -> Result<Plan, Report> {
        let mut report = Report::default();
        let (mut profiles, mut places) = (Vec::new(), Vec::new());
        for wanted in &settings.profiles {
            let Some(loading) = Loading::find(wanted, settings, &mut report) else { continue };
            let base_path = wanted.base_path.as_ref();
            if let Some(loaded) = loading.finish(&wanted.variants, &wanted.values.0, base_path, &mut report) {
                profiles.push(loaded);
                let path = wanted.path.as_ref().map(|path| &path.place);
                places.push(wanted.name.as_ref().map(|name| &name.place).or(path));
            }
        }
        find_clashes(&profiles, &places, &mut report);
        report.into_result(Some(Plan { profiles }))
    }

    /// What is different for a kind of job, by namespace and kind.
    pub fn kinds(&self) -> BTreeMap<(Option<String>, String), KindSettings> {
        let kinds = self.profiles.iter().flat_map(|loaded| {
            let namespace = loaded.profile.namespace().map(str::to_owned);
            loaded.jobs.iter().map(move |(kind, settings)| ((namespace.clone(), kind.clone()), settings.clone()))
        });
        kinds.collect()
    }

    /// Whether one of the profiles is at this path.
    pub fn serves(&self, path: &str) -> bool {
        self.profiles
            .iter()
            .flat_map(|loaded| &loaded.mounts)
            .flat_map(|mount| &mount.paths)
            .any(|own| own.path == path)
    }
}

/// `places` is where the settings name each of the profiles.
fn find_clashes(profiles: &[LoadedProfile], places: &[Option<&Place>], report: &mut Report) {
    let mut paths: HashMap<&str, (&LoadedProfile, &MountPath)> = HashMap::new();
    // A path of Socket.IO has two spellings and is told of once.
    let mut told = HashSet::new();
    let mut namespaces: HashMap<&str, &LoadedProfile> = HashMap::new();
    for (loaded, place) in profiles.iter().zip(places) {
        let name = loaded.profile.name();
        if let Some(other) = loaded.profile.namespace().and_then(|namespace| namespaces.insert(namespace, loaded)) {
            let message = format!(
                "the profiles {:?} and {name:?} share the namespace {:?}: each would see the other's events",
                other.profile.name(),
                loaded.profile.namespace().unwrap_or_default(),
            );
            let mistake = match place {
                Some(place) => report.at(place, message),
                None => report.nowhere(message),
            };
            mistake.help("copy the profile of one of them, and give it another `namespace`");
        }
        for path in loaded.mounts.iter().flat_map(|mount| &mount.paths) {
            let taken = paths.insert(&path.path, (loaded, path));
            if let Some((other, first)) = taken.filter(|_| told.insert((path.place.start, name))) {
                let message = format!(
                    "the path {} of the profile {name:?} is taken by the profile {:?} ({}:{})",
                    path.path,
                    other.profile.name(),
                    first.place.source.name,
                    first.place.line(),
                );
                let mistake = report.at(&path.place, message);
                mistake.help("give one of the two a `base_path`");
            }
        }
    }
}

/// Which path of the program itself this one takes, if any.
pub(super) fn reserved(path: &str) -> Option<&'static str> {
    RESERVED.into_iter().find(|reserved| match reserved.strip_suffix('/') {
        Some("") => path == "/",
        Some(prefix) => path == prefix || path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/')),
        None => path == *reserved,
    })
}
