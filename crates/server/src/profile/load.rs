//! Reads a profile: the file, its variants, its values.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::file::File;
use super::{LoadedProfile, build};
use crate::schema::Files;
use crate::settings::decode::{At, decode};
use crate::settings::report::{Report, Source, nearest};
use crate::settings::tree::{Key, Kind, Node};
use crate::settings::{ProfileRef, Settings};

/// The profiles that come with the program: name and text.
const EMBEDDED: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/profiles.rs"));

/// Their schemas, in the same order: the path of each below its profile's folder, and its text.
const SCHEMAS: &[&[(&str, &str)]] = include!(concat!(env!("OUT_DIR"), "/schemas.rs"));

/// The profiles that come with the program: name and text.
pub fn embedded() -> &'static [(&'static str, &'static str)] {
    EMBEDDED
}

/// A profile as it was written, before variants and values.
pub struct Loading {
    root: Node,
    variants: Vec<(Key, Node)>,
    values: Vec<(Key, Node)>,
    base: PathBuf,
    files: Files,
    broken: bool,
    alone: bool,
}

impl Loading {
    /// Finds the profile that the settings name.
    pub fn find(wanted: &ProfileRef, settings: &Settings, report: &mut Report) -> Option<Loading> {
        if let Some(path) = &wanted.path {
            return match Loading::open(&settings.base.join(&**path), report) {
                Ok(loading) => Some(loading),
                Err(error) => {
                    report.at(&path.place, error);
                    None
                }
            };
        }
        let name = wanted.name.as_ref()?;
        let Some(index) = EMBEDDED.iter().position(|(known, _)| *known == name.value) else {
            let mistake = report.at(&name.place, format!("no profile {:?} comes with the program", name.value));
            match nearest(name, EMBEDDED.iter().map(|(known, _)| *known)) {
                Some(near) => mistake.help(format!("did you mean {near:?}?")),
                None => mistake.help("for one of your own, give its `path`"),
            }
            return None;
        };
        Some(Loading::come_along(index, settings.base.clone(), report))
    }

    /// Reads the profile of that name that comes with the program. Relative paths in its settings start at `base`.
    pub fn named(name: &str, base: PathBuf, report: &mut Report) -> Option<Loading> {
        let index = EMBEDDED.iter().position(|(known, _)| *known == name)?;
        Some(Loading::come_along(index, base, report))
    }

    fn come_along(index: usize, base: PathBuf, report: &mut Report) -> Loading {
        let (name, text) = EMBEDDED[index];
        let source = Source::file(format!("profiles/{name}/profile.toml"), text);
        let files = Files::Embedded(name, SCHEMAS.get(index).copied().unwrap_or_default());
        Loading { files, ..Loading::read(&source, base, report) }
    }

    /// Reads a file, or the `profile.toml` of a directory.
    pub fn open(path: &Path, report: &mut Report) -> Result<Loading, String> {
        let file = if path.is_dir() { path.join("profile.toml") } else { path.to_path_buf() };
        let text =
            std::fs::read_to_string(&file).map_err(|error| format!("{} can't be read: {error}", file.display()))?;
        let base = file.parent().map(Path::to_path_buf).unwrap_or_default();
        Ok(Loading::read(&Source::file(file.display().to_string(), text), base, report))
    }

    /// Reads a text.
    pub fn read(source: &Arc<Source>, base: PathBuf, report: &mut Report) -> Loading {
        let mut syntax = Report::default();
        let mut root = Node::parse(source, &mut syntax);
        let broken = !syntax.is_empty();
        report.extend(syntax);
        let mut table = |name: &str| match root.take(name).map(|node| (node.place.clone(), node.kind)) {
            None => Vec::new(),
            Some((_, Kind::Table(entries))) => entries,
            Some((place, _)) => {
                report.at(&place, format!("`{name}` is a table"));
                Vec::new()
            }
        };
        let files = Files::Folder(base.clone());
        Loading { variants: table("variants"), values: table("values"), root, base, files, broken, alone: false }
    }

    /// The same, to be checked without an operator: values that only they can give may be missing.
    pub fn alone(self) -> Loading {
        Loading { alone: true, ..self }
    }

    /// The names of its variants.
    pub fn variants(&self) -> Vec<String> {
        self.variants.iter().map(|(key, _)| key.name.clone()).collect()
    }

    /// The profile with these variants and values. `None` if it can't be made; the report says why.
    pub fn finish(
        &self,
        variants: &[At<String>],
        values: &[(Key, Node)],
        base_path: Option<&At<String>>,
        report: &mut Report,
    ) -> Option<LoadedProfile> {
        let before = report.mistakes().len();
        let mut root = self.root.clone();
        let mut own = self.values.clone();
        for wanted in variants {
            let Some((_, over)) = self.variants.iter().find(|(key, _)| key.name == wanted.value) else {
                let known = self.variants();
                let mistake = report.at(&wanted.place, format!("the profile has no variant {:?}", wanted.value));
                match nearest(wanted, known.iter().map(String::as_str)) {
                    Some(near) => mistake.help(format!("did you mean {near:?}?")),
                    None if known.is_empty() => mistake.help("it has none"),
                    None => mistake.help(format!("it has {}", known.join(", "))),
                }
                continue;
            };
            let mut over = over.clone();
            if let Some(Node { kind: Kind::Table(entries), .. }) = over.take("values") {
                entries.into_iter().for_each(|entry| lay(&mut own, entry));
            }
            root.overlay(over, report);
        }
        for (key, value) in values {
            if own.iter().any(|(known, _)| known.name == key.name) {
                lay(&mut own, (key.clone(), value.clone()));
                continue;
            }
            let known: Vec<&str> = own.iter().map(|(key, _)| key.name.as_str()).collect();
            let mistake = report.at(&key.place, format!("the profile has no value `{}`", key.name));
            match nearest(&key.name, known.iter().copied()) {
                Some(near) => mistake.help(format!("did you mean `{near}`?")),
                None => mistake.help(format!("it has {}", known.join(", "))),
            }
        }
        let filled = fill(&mut root, &own, self.alone, report);
        root.number();
        let file: File = if self.broken {
            // What the grammar could not read is missing; to say so again would only mislead.
            decode(&root, &mut Report::default())?
        } else {
            decode(&root, report)?
        };
        let clean = report.mistakes().len() == before && !self.broken && filled;
        let context = build::Context { root: &root, base: &self.base, files: &self.files, base_path, clean };
        build::profile(file, &context, report)
    }
}

fn lay(values: &mut Vec<(Key, Node)>, (key, value): (Key, Node)) {
    match values.iter_mut().find(|(known, _)| known.name == key.name) {
        Some(entry) => *entry = (key, value),
        None => values.push((key, value)),
    }
}

/// Puts the values where `${values.name}` stands. A text that is nothing but that becomes the value itself, a list too.
///
/// `name = { needed = "a sentence" }` is a value that the operator has to give. Says whether all are there.
fn fill(root: &mut Node, values: &[(Key, Node)], alone: bool, report: &mut Report) -> bool {
    let mut all = true;
    root.visit(&mut |node| {
        let Kind::Text(text) = &node.kind else { return };
        if !text.contains("${") {
            return;
        }
        let mut filled = String::new();
        let mut rest = text.as_str();
        while let Some(open) = rest.find("${") {
            filled.push_str(&rest[..open]);
            let Some(close) = rest[open..].find('}') else {
                report.at(&node.place, "this `${` is not closed");
                return;
            };
            let inner = &rest[open + 2..open + close];
            rest = &rest[open + close + 1..];
            let Some((_, value)) =
                inner.strip_prefix("values.").and_then(|name| values.iter().find(|(key, _)| key.name == name))
            else {
                let known: Vec<String> = values.iter().map(|(key, _)| format!("values.{}", key.name)).collect();
                let mistake = report.at(&node.place, format!("`${{{inner}}}` is nothing that [values] has"));
                if let Some(near) = nearest(inner, known.iter().map(String::as_str)) {
                    mistake.help(format!("did you mean `${{{near}}}`?"));
                }
                return;
            };
            if let Some(Node { kind: Kind::Text(why), .. }) = value.get("needed") {
                all = false;
                if !alone {
                    let name = inner.trim_start_matches("values.");
                    let mistake = report.at(&node.place, format!("the profile needs the value `{name}`: {why}"));
                    mistake.help(format!("set it where the profile is named: values = {{ {name} = … }}"));
                }
                return;
            }
            if filled.is_empty() && rest.is_empty() && text.starts_with("${") && text.matches("${").count() == 1 {
                *node = value.clone();
                return;
            }
            match &value.kind {
                Kind::Text(text) | Kind::Variable(text) => filled.push_str(text),
                Kind::Integer(number) => filled.push_str(&number.to_string()),
                Kind::Float(number) => filled.push_str(&number.to_string()),
                Kind::Bool(yes) => filled.push_str(&yes.to_string()),
                Kind::List(_) | Kind::Table(_) => {
                    report.at(&node.place, format!("`${{{inner}}}` is no text and so must stand alone"));
                    return;
                }
            }
        }
        filled.push_str(rest);
        node.kind = Kind::Text(filled);
    });
    all
}
