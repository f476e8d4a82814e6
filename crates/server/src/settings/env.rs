//! Settings from the environment: `TIDINGS_SECTION__KEY`.

use std::path::Path;
use std::sync::Arc;

use super::report::{Place, Report, Source};
use super::tree::{Key, Kind, Node};

const PREFIX: &str = "TIDINGS_";
/// A variable with this at its end names a file that holds the value, as container secrets come.
const FILE: &str = "_FILE";
/// Sections that are lists and so are set whole, without a key.
const LISTS: [&str; 1] = ["PROFILES"];

/// Settings that name a file themselves: the end says so again, and the file must not be read in place of its name. What
/// a key file holds would else stand in an error as a name that is not found.
const NAMES_OF_FILES: [&str; 2] = ["TLS__CERT", "TLS__KEY"];
/// Sections that are tables: a value for one would be a mistake that goes unnoticed.
const SECTIONS: [&str; 10] = ["LISTEN", "DATA", "BROKER", "LANES", "LIMITS", "TLS", "AUTH", "API", "PROXY", "DRAIN"];

/// Lays the variables over what was written. `TIDINGS_LIMITS__EVENT_DATA=2MiB` is `event_data` of `[limits]`;
/// `TIDINGS_PROFILES=a,b` is the list of profiles. Variables without `__` are not settings and are left alone.
pub fn overlay(root: &mut Node, variables: impl IntoIterator<Item = (String, String)>, report: &mut Report) {
    let mut variables: Vec<_> = variables.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
    variables.sort();
    for (name, text) in variables {
        let setting = &name[PREFIX.len()..];
        let bare = setting.strip_suffix(FILE).unwrap_or(setting);
        if !setting.contains("__") && !LISTS.contains(&bare) && !SECTIONS.contains(&setting) {
            continue;
        }
        let source = Arc::new(Source { name: format!("the environment, {name}"), text: String::new(), shown: false });
        let place = Place { source, start: 0, end: 0 };
        if SECTIONS.contains(&setting) {
            let mistake = report.at(&place, format!("{name} is a section and has no value of its own"));
            mistake.help(format!("name one of its settings, as in {name}__KEY"));
            continue;
        }
        let text = match setting.strip_suffix(FILE) {
            None => text,
            Some(bare) if NAMES_OF_FILES.contains(&bare) => text,
            Some(_) => match std::fs::read_to_string(Path::new(&text)) {
                Ok(text) => text.trim().to_owned(),
                Err(error) => {
                    report.at(&place, format!("the file that it names can't be read: {error}"));
                    continue;
                }
            },
        };
        let mut over = Node { id: 0, place: place.clone(), kind: Kind::Variable(text) };
        for part in bare.split("__").collect::<Vec<_>>().into_iter().rev() {
            let key = Key { name: part.to_ascii_lowercase(), place: place.clone() };
            over = Node { id: 0, place: place.clone(), kind: Kind::Table(vec![(key, over)]) };
        }
        root.overlay(over, report);
    }
    root.number();
}
