//! Makes of the mounts of a file what is served where, and finds what can't be.

use std::collections::HashMap;

use super::file::{self, File, Kind};
use super::plan::reserved;
use super::{Mount, MountPath, Ready, Transport, desk, fits, stream};
use crate::settings::decode::At;
use crate::settings::report::Report;

/// What is served where.
pub(super) fn mounts(file: &File, base_path: Option<&At<String>>, report: &mut Report) -> Vec<Mount> {
    let prefix = base_path.map_or("", |path| path.value.as_str()).trim_end_matches('/');
    if let Some(base) = base_path
        && !prefix.is_empty()
        && let Err(reason) = check_path(prefix)
    {
        report.at(&base.place, format!("{:?} can't be a base path: {reason}", base.value));
        return Vec::new();
    }
    check_rates(file, report);
    let mut taken = HashMap::new();
    let mut built = Vec::new();
    for mount in &file.mounts {
        let paths = paths(mount, prefix, &mut taken, report);
        fits::check(mount, report);
        let transport = match mount.transport {
            Kind::Sse => Transport::Sse(stream::settings(mount, file, report)),
            Kind::Poll => Transport::Poll(stream::settings(mount, file, report)),
            Kind::WebSocket => Transport::WebSocket(stream::settings(mount, file, report)),
            Kind::SocketIo => Transport::SocketIo(stream::settings(mount, file, report)),
            Kind::JobCreate | Kind::Job | Kind::JobCancel | Kind::JobResult => match desk::settings(mount, report) {
                Some(settings) => Transport::Desk(Box::new(settings)),
                // What is wrong was told.
                None => continue,
            },
            Kind::Ready => Transport::Ready(side(mount)),
            Kind::Health => Transport::Health(side(mount)),
        };
        let shared_rate = mount.rate.as_ref().and_then(|rate| Some(rate.shared.as_ref()?.value.clone()));
        built.push(Mount { paths, transport, shared_rate });
    }
    built
}

/// Tells of rates that count together and are not the same.
fn check_rates(file: &File, report: &mut Report) {
    let mut known = HashMap::new();
    for (name, rate) in file
        .mounts
        .iter()
        .filter_map(|mount| mount.rate.as_ref())
        .filter_map(|rate| Some((rate.shared.as_ref()?, rate)))
    {
        let first = *known.entry(&name.value).or_insert(rate);
        if (first.requests, first.per) != (rate.requests, rate.per) {
            let line = first.place.line();
            report.at(
                &rate.place,
                format!("the rate {:?} is shared with line {line}, where it is another one", name.value),
            );
        }
    }
}

/// Its paths; `taken` are those of the mounts before it, with their lines.
fn paths(
    mount: &At<file::Mount>,
    prefix: &str,
    taken: &mut HashMap<String, usize>,
    report: &mut Report,
) -> Vec<MountPath> {
    let written = mount.path.texts();
    if written.is_empty() {
        report.at(&mount.path.place, "a mount needs a path");
    }
    let mut paths: Vec<MountPath> = Vec::new();
    for At { value, place } in written {
        if let Err(reason) = check_job(mount, &value).and_then(|()| check_path(&value.replace("{job}", "job"))) {
            report.at(&place, format!("{value:?} can't be a path: {reason}"));
            continue;
        }
        let path = format!("{prefix}{value}");
        let own = matches!((mount.transport, path.as_str()), (Kind::Ready, "/ready") | (Kind::Health, "/health"));
        if let Some(reserved) = reserved(&path).filter(|_| !own) {
            let mistake = report.at(&place, format!("the path {path} is the program's own ({reserved})"));
            mistake.help("choose another path, or give the profile a `base_path`");
        }
        let new = |spelling: &String| !paths.iter().any(|known| known.path == *spelling);
        let spellings: Vec<String> = match mount.transport {
            // Both may be written out as well.
            Kind::SocketIo => {
                let other = other_spelling(&path);
                [path, other].into_iter().filter(new).collect()
            }
            _ => vec![path],
        };
        if let Some((path, line)) = spellings.iter().find_map(|path| taken.get_key_value(path)) {
            report.at(&place, format!("the path {path} is taken by the mount in line {line}"));
        }
        for path in spellings {
            taken.entry(path.clone()).or_insert(place.line());
            paths.push(MountPath { path, place: place.clone() });
        }
    }
    paths
}

/// The path with a slash at its end, or without: Socket.IO clients are told the one and ask for the other.
fn other_spelling(path: &str) -> String {
    path.strip_suffix('/').map_or_else(|| format!("{path}/"), str::to_owned)
}

/// Whether the path names a job just where the mount is of one that is named so.
fn check_job(mount: &file::Mount, path: &str) -> Result<(), &'static str> {
    let by_query = mount.job.as_ref().is_some_and(|job| job.query.is_some());
    let is_of_job = mount.job.is_some() || matches!(mount.transport, Kind::Job | Kind::JobCancel | Kind::JobResult);
    match (path.split('/').filter(|segment| *segment == "{job}").count(), is_of_job && !by_query) {
        (1, true) | (0, false) => Ok(()),
        (0, true) => Err("it needs a segment `{job}`, which names the job, or `job = { query = … }`"),
        (1, false) => Err("`{job}` is the place of a job, and this mount is of none, or names it in the query"),
        _ => Err("one `{job}` is enough"),
    }
}

/// Whether it can be a path that is matched as it is.
fn check_path(path: &str) -> Result<(), &'static str> {
    if !path.starts_with('/') {
        return Err("it must begin with `/`");
    }
    let odd = |c: char| c.is_control() || c.is_whitespace() || !c.is_ascii() || "?#{}*:%\\\"<>".contains(c);
    if path.contains(odd) {
        return Err("it may have only letters, digits and the marks of a plain path");
    }
    if path.contains("//") || path.split('/').any(|segment| segment == "." || segment == "..") {
        return Err("it has an empty segment, `.` or `..`");
    }
    Ok(())
}

/// The answer of a side endpoint.
fn side(mount: &file::Mount) -> Ready {
    Ready {
        body: mount.body.as_ref().map(|body| body.value.clone()).unwrap_or_default(),
        clients: mount.clients.as_ref().map(|name| name.value.clone()),
        draining: mount.draining.as_ref().map(|body| body.value.clone()).unwrap_or_default(),
    }
}
