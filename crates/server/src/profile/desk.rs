//! Jobs in the app's own form, from what its profile says.

use std::collections::BTreeMap;
use std::time::Duration;

use http::StatusCode;
use tidings::job::{self, KindSettings};
use tidings_transports::desk::{Check, ClientIds, CreateSettings, DeskSettings, Does, NAMES};
use tidings_transports::rate::RateLimit;
use tidings_transports::stream::{Dialect, Heard, JobNamed, OneJob};
use tidings_transports::upload::UploadSettings;

use super::file::{self, Kind};
use super::{looks, stream};
use crate::settings::decode::At;
use crate::settings::report::{Report, nearest};

/// How many items of a result a page has by default.
const PAGE: usize = 100;

/// What is done at a mount where jobs are dealt with. `None` if something needed is missing; the report says what.
pub(super) fn settings(mount: &At<file::Mount>, report: &mut Report) -> Option<DeskSettings> {
    let Some(answer) = &mount.answer else {
        let mistake = report.at(&mount.place, "a mount where jobs are dealt with needs an `answer`");
        mistake.help("for example answer = { id = \"{data.id}\", state = \"{data.state}\" }");
        return None;
    };
    let job = mount.job.as_ref().map(|job| one_job(job, report)).unwrap_or_default();
    let cancels = mount.cancel_answer.as_ref().and_then(|form| looks::form(form, &mount.words, &NAMES, report));
    let does = match mount.transport {
        Kind::JobCreate => Does::Create(create(mount, report)?),
        Kind::JobCancel => Does::Cancel { job },
        Kind::JobResult => Does::Result { job, page: mount.page.unwrap_or(PAGE).max(1) },
        _ => Does::Show { job, cancels },
    };
    let status = match &mount.status {
        None if mount.transport == Kind::JobCreate => StatusCode::CREATED,
        None => StatusCode::OK,
        Some(status) => match StatusCode::from_u16(status.value).ok().filter(StatusCode::is_success) {
            Some(status) => status,
            None => {
                report.at(&status.place, "it is the status of an answer that went well: 200 to 299");
                StatusCode::OK
            }
        },
    };
    if mount.rate.as_ref().is_some_and(|rate| rate.requests == 0 || rate.per < Duration::from_secs(1)) {
        report.at(&mount.place, "a `rate` is at least one request in at least a second");
    }
    if let Some(base) = &mount.base
        && !(base.starts_with("http://") || base.starts_with("https://"))
    {
        report.at(&base.place, "it is where clients reach the app, like \"https://books.example.org\"");
    }
    Some(DeskSettings {
        answer: looks::form(answer, &mount.words, &NAMES, report)?,
        does,
        status,
        refusals: stream::refusals(mount, report),
        headers: stream::headers(mount, report),
        cors: mount.cors.clone().unwrap_or(tidings_transports::Cors::Same),
        rate: mount.rate.as_ref().map(|rate| RateLimit { requests: rate.requests.max(1), per: rate.per }),
        base: mount.base.as_ref().map(|base| base.value.clone()),
    })
}

fn create(mount: &At<file::Mount>, report: &mut Report) -> Option<CreateSettings> {
    let Some(kind) = &mount.kind else {
        report.at(&mount.place, "a mount where jobs are made says of which `kind` they are");
        return None;
    };
    check_kind(kind, report);
    let file = mount.file.as_ref().map(|file| {
        let defaults = UploadSettings::default();
        UploadSettings {
            part: file.part.as_ref().map(|part| part.value.clone()).or(defaults.part),
            most_bytes: file.most.unwrap_or(defaults.most_bytes),
            types: file.types.iter().map(|of| of.value.clone()).collect(),
            raw: file.raw,
            required: true,
        }
    });
    let checks = mount.checks.iter().map(|check| Check {
        member: check.member.value.clone(),
        needed: check.needed,
        most_items: check.most_items,
        most_chars: check.most_chars,
    });
    if let (Some(client_ids), None) = (&mount.client_ids, &mount.id) {
        let mistake =
            report.at(&client_ids.place, "`client_ids` says which ids clients may choose, and here they choose none");
        mistake.help("say by which member of the input: id = \"jobId\"");
    }
    Some(CreateSettings {
        kind: kind.value.clone(),
        file,
        id: mount.id.as_ref().map(|id| id.value.clone()),
        client_ids: match mount.client_ids.as_ref().map(|ids| ids.value) {
            None | Some(file::ClientIds::Any) => ClientIds::Any,
            Some(file::ClientIds::Uuid) => ClientIds::Uuid,
        },
        most_input: mount.most_input.map(|most| usize::try_from(most).unwrap_or(usize::MAX)),
        checks: checks.collect(),
        token_ttl: mount.token_ttl,
        open: mount.open.unwrap_or_default(),
    })
}

fn check_kind(kind: &At<String>, report: &mut Report) {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if kind.is_empty() || kind.len() > job::MAX_KIND_BYTES || !kind.chars().all(fits) {
        report.at(&kind.place, "the kind of a job is 1 to 64 letters, digits, `.`, `_` and `-`");
    }
}

/// Which job requests are about.
pub(super) fn one_job(job: &At<file::OneJob>, report: &mut Report) -> OneJob {
    if let Some(query) = job.query.as_ref().filter(|query| query.is_empty()) {
        report.at(&query.place, "it is the name of a query parameter");
    }
    job.kinds.iter().for_each(|kind| check_kind(kind, report));
    OneJob {
        named: job.query.as_ref().map_or(JobNamed::Path, |query| JobNamed::Query(query.value.clone())),
        open: job.open,
        kinds: job.kinds.iter().map(|kind| kind.value.clone()).collect(),
        lingers: job.lingers.unwrap_or_default(),
    }
}

/// What is spoken on a WebSocket.
pub(super) fn dialect(dialect: &At<file::Dialect>, mount: &At<file::Mount>, report: &mut Report) -> Dialect {
    if mount.job.is_none() {
        let mistake = report.at(&dialect.place, "a `dialect` is spoken about one job");
        mistake.help("say which: job = { query = \"jobId\" }");
    }
    let mut hears = BTreeMap::new();
    for (word, heard) in &dialect.hears {
        let answer = heard.answer.as_ref().and_then(|form| looks::form(form, &heard.words, &[], report));
        hears.insert(word.clone(), Heard { answer, begins: heard.begins, cancels: heard.cancels });
    }
    let mut closes = BTreeMap::new();
    for (event, close) in &dialect.closes {
        if !job::is_end(event) {
            let mistake = report.at(&close.place, format!("{event:?} is not the end of a job"));
            let ends = job::STATE_EVENTS.into_iter().filter(|name| job::is_end(name));
            if let Some(near) = nearest(event, ends) {
                mistake.help(format!("did you mean {near:?}?"));
            }
        }
        // RFC 6455 §7.4: others are not for endpoints to send.
        if !matches!(close.code, 1000..=1003 | 1007..=1014 | 3000..=4999) || close.reason.len() > 123 {
            report.at(&close.place, "a code is 1000 to 1014 or 3000 to 4999, and a reason has up to 123 bytes");
        }
        closes.insert(event.clone(), (close.code, close.reason.clone()));
    }
    Dialect {
        member: dialect.member.as_ref().map_or_else(|| "type".to_owned(), |member| member.value.clone()),
        job: dialect.job.as_ref().map(|job| job.value.clone()),
        hears,
        waits: dialect.waits.filter(|waits| !waits.is_zero()),
        strict: dialect.strict,
        closes,
    }
}

/// What is different for the kinds of jobs.
pub(super) fn kinds(
    kinds: &BTreeMap<String, At<file::JobKind>>,
    report: &mut Report,
) -> BTreeMap<String, KindSettings> {
    let mut built = BTreeMap::new();
    for (name, kind) in kinds {
        if kind.attempts.is_some_and(|attempts| !(1..=100).contains(&attempts)) {
            report.at(&kind.place, "`attempts` is 1 to 100");
        }
        if kind.lease.is_some_and(|lease| lease < Duration::from_secs(1)) {
            report.at(&kind.place, "a `lease` is at least 1s");
        }
        // An event can't be larger.
        if kind.first.is_some_and(|first| first > 900 << 10) {
            report.at(&kind.place, "`first` is 900 KiB at most: what is larger is fetched, and not told");
        }
        let first_bytes = usize::try_from(kind.first.unwrap_or_default()).unwrap_or_default();
        built.insert(name.clone(), KindSettings { lease: kind.lease, attempts: kind.attempts, first_bytes });
    }
    built
}
