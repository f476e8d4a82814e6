//! Where the schemas of a profile are read from.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::settings::report::Source;

/// A schema is a few screens; what is larger than this is something else.
const MAX_BYTES: u64 = 1 << 20;

/// The folder of a profile.
#[derive(Clone, Debug)]
pub enum Files {
    /// On disk.
    Folder(PathBuf),
    /// In the program: the name of a profile, and the path and text of each file below its folder.
    Embedded(&'static str, &'static [(&'static str, &'static str)]),
}

impl Files {
    /// Reads a file by its [resolved](resolve) path.
    pub fn read(&self, path: &str) -> Result<Arc<Source>, String> {
        match self {
            Files::Folder(folder) => read_within(folder, path),
            Files::Embedded(name, files) => {
                let found = files.iter().find(|(known, _)| *known == path);
                let (_, text) = found.ok_or_else(|| format!("the profile {name} has no file {path}"))?;
                Ok(Source::file(format!("profiles/{name}/{path}"), *text))
            }
        }
    }
}

fn read_within(folder: &Path, path: &str) -> Result<Arc<Source>, String> {
    let file = folder.join(path);
    let wrong = |error: std::io::Error| format!("{} can't be read: {error}", file.display());
    let real = file.canonicalize().map_err(wrong)?;
    // A symbolic link may lead anywhere, and the text of what is no schema is shown in messages.
    let inside = if folder.as_os_str().is_empty() { Path::new(".") } else { folder }.canonicalize().map_err(wrong)?;
    if !real.starts_with(inside) {
        return Err(format!("{} is outside of the profile's folder", file.display()));
    }
    if real.metadata().map_err(wrong)?.len() > MAX_BYTES {
        return Err(format!("{} is larger than {MAX_BYTES} bytes", file.display()));
    }
    let text = std::fs::read_to_string(&real).map_err(wrong)?;
    Ok(Source::file(file.display().to_string(), text))
}

/// The path below the profile's folder of what is called `path` in the file `from` there; an error is a sentence.
pub(super) fn resolve(from: &str, path: &str) -> Result<String, String> {
    if path.starts_with('/') || path.contains(['\\', '\0']) {
        return Err(format!("{path:?} must be a path below the profile's folder, written with `/`"));
    }
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop().ok_or_else(|| format!("{path:?} is outside of the profile's folder"))?;
            }
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_relative_to_the_file_it_stands_in_and_never_leads_out_of_the_folder() {
        assert_eq!(resolve("profile.toml", "schemas/a.json"), Ok("schemas/a.json".into()));
        assert_eq!(resolve("schemas/a.json", "./b.json"), Ok("schemas/b.json".into()));
        assert_eq!(resolve("schemas/a.json", "../c/./d.json"), Ok("c/d.json".into()));
        for path in ["/etc/passwd", "../../a.json", "..\\a.json", "../../../etc/passwd"] {
            assert!(resolve("schemas/a.json", path).is_err(), "{path}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_link_does_not_lead_out_of_the_folder() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("profile");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(home.path().join("secret.json"), "{}").unwrap();
        std::fs::write(folder.join("own.json"), "{}").unwrap();
        std::os::unix::fs::symlink(home.path().join("secret.json"), folder.join("link.json")).unwrap();
        let files = Files::Folder(folder);
        assert!(files.read("own.json").is_ok());
        assert!(files.read("link.json").unwrap_err().contains("outside"));
    }
}
