//! Embeds every profile of the repository, so that one can be used by its name alone.

use std::fmt::Write as _;
use std::path::Path;

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
    let mut code = String::from("&[\n");
    for name in names {
        let file = profiles.join(&name).join("profile.toml");
        println!("cargo:rerun-if-changed={}", file.display());
        let path = std::path::absolute(&file).expect("the path of the manifest is absolute");
        writeln!(code, "    ({name:?}, include_str!({:?})),", path.display().to_string()).expect("a String takes it");
    }
    code.push(']');
    let out = Path::new(&std::env::var("OUT_DIR").expect("cargo sets it")).join("profiles.rs");
    std::fs::write(out, code).expect("the build directory can be written");
}
