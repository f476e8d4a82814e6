//! Embeds every profile of the repository with its schemas, so that one can be used by its name alone, and the console, if it is built.

#[path = "build/console.rs"]
mod console;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn main() {
    let manifest = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let profiles = Path::new(&manifest).join("../../profiles");
    let mut names: Vec<String> = std::fs::read_dir(&profiles)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.path().join("profile.toml").is_file())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    println!("cargo:rerun-if-changed={}", profiles.display());
    let (mut code, mut schemas) = (String::from("&[\n"), String::from("&[\n"));
    for name in names {
        let file = profiles.join(&name).join("profile.toml");
        println!("cargo:rerun-if-changed={}", file.display());
        let path = std::path::absolute(&file).expect("the path of the manifest is absolute");
        writeln!(code, "    ({name:?}, include_str!({:?})),", path.display().to_string()).expect("a String takes it");
        schemas.push_str("    &[");
        for (name, path) in schemas_of(&profiles.join(&name)) {
            let path = std::path::absolute(path).expect("the path of the manifest is absolute").display().to_string();
            write!(schemas, "({name:?}, include_str!({path:?})), ").expect("a String takes it");
        }
        schemas.push_str("],\n");
    }
    code.push(']');
    schemas.push(']');
    let out = std::env::var("OUT_DIR").expect("cargo sets it");
    console::embed(Path::new(&manifest), Path::new(&out));
    for (file, code) in [("profiles.rs", code), ("schemas.rs", schemas)] {
        std::fs::write(Path::new(&out).join(file), code).expect("the build directory can be written");
    }
}

/// The schemas of a profile: the path of each below its folder, and where it is.
fn schemas_of(profile: &Path) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    let mut folders = vec![("schemas".to_owned(), profile.join("schemas"))];
    while let Some((within, folder)) = folders.pop() {
        println!("cargo:rerun-if-changed={}", folder.display());
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), format!("{within}/{}", entry.file_name().to_string_lossy()));
            if path.is_dir() {
                folders.push((name, path));
            } else if path.extension().is_some_and(|extension| extension == "json") {
                println!("cargo:rerun-if-changed={}", path.display());
                found.push((name, path));
            }
        }
    }
    found.sort();
    found
}
