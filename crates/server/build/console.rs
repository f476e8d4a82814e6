//! The files of the console, where they are built: `packages/console/dist`, or the directory in `TIDINGS_CONSOLE_DIST`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Writes `console.rs`: the list of the files with their bytes, empty where there is no console. Each has beside it what `gzip` made of
/// it, if that is there as well.
pub fn embed(manifest: &Path, out: &Path) {
    println!("cargo:rerun-if-env-changed=TIDINGS_CONSOLE_DIST");
    println!("cargo:rerun-if-env-changed=TIDINGS_REQUIRE_CONSOLE");
    let package = manifest.join("../../packages/console");
    let dist = std::env::var_os("TIDINGS_CONSOLE_DIST").map_or_else(|| package.join("dist"), PathBuf::from);
    watch(&dist, &package);
    let is_built = dist.join("index.html").is_file();
    if !is_built && std::env::var_os("TIDINGS_REQUIRE_CONSOLE").is_some_and(|value| value == "1") {
        eprintln!(
            "TIDINGS_REQUIRE_CONSOLE=1 asks for the console in the binary, and there is no {}. Build it first: \
             npm ci && npm run build -w @tidings/client && npm run build -w @tidings/console",
            dist.join("index.html").display()
        );
        std::process::exit(1);
    }
    let mut files = Vec::new();
    if is_built {
        find(&dist, "", &mut files);
    }
    files.sort();
    // Copied, so that a build of the console meanwhile, which empties the directory first, does not get in the way.
    let copies = out.join("console");
    let _ = std::fs::remove_dir_all(&copies);
    let mut code = String::from("&[\n");
    for path in files.iter().filter(|path| !path.ends_with(".gz")) {
        let Some(plain) = copy(&dist, &copies, path) else { continue };
        let packed = format!("{path}.gz");
        let packed = files.binary_search(&packed).ok().and_then(|_| copy(&dist, &copies, &packed));
        let packed = packed.map_or("None".to_owned(), |packed| format!("Some(include_bytes!({packed:?}))"));
        writeln!(code, "    File {{ path: {path:?}, plain: include_bytes!({plain:?}), packed: {packed} }},")
            .expect("a String takes it");
    }
    code.push(']');
    std::fs::write(out.join("console.rs"), code).expect("the build directory can be written");
}

/// Has cargo build again when the files change, or when there are some.
fn watch(dist: &Path, package: &Path) {
    // A path that is not there counts as changed each time; so what it will be made in is watched meanwhile.
    for path in [dist, package] {
        if path.exists() {
            println!("cargo:rerun-if-changed={}", path.display());
            return;
        }
    }
}

/// The paths of all files below `folder`, each as it stands in a URL.
fn find(dist: &Path, folder: &str, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(dist.join(folder)).into_iter().flatten().flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
        if entry.path().is_dir() {
            find(dist, &path, found);
        } else {
            found.push(path);
        }
    }
}

/// Where the copy is; none if the file has just gone.
fn copy(dist: &Path, copies: &Path, path: &str) -> Option<String> {
    let to = std::path::absolute(copies.join(path)).ok()?;
    std::fs::create_dir_all(to.parent()?).ok()?;
    std::fs::copy(dist.join(path), &to).ok()?;
    to.to_str().map(str::to_owned)
}
