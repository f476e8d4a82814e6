//! Where an app's own clients make jobs, ask how they are, fetch what came of them and cancel them: in the app's own form, at its own
//! paths. Which form that is, its profile says.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use tidings::job::{Job, JobFault, Jobs, NewJob};
use tidings::{Form, FormFacts, Principal, Profile};

use crate::auth::Authenticate;
use crate::events::{cors, peer, request};
use crate::jobs::{job_file, make, refuse_foreign};
use crate::problem::Problem;
use crate::publish::collect;
use crate::query;
use crate::rate::{Checked, RateLimit, Rates};
use crate::service::{Service, method_not_allowed};
use crate::stream::{Cors, JobNamed, OneJob};
use crate::upload::{self, UploadSettings, Uploaded};
use crate::watch::{job_at, no_such_job};

/// The names that the forms of a desk may use beside those of a job's document.
pub const NAMES: [&str; 6] = ["token", "token_expires", "base", "ws_base", "now", "query"];

/// For how long somebody of whom nothing is known may repeat a request that made a job, and have another token.
const ASKED_AGAIN: Duration = Duration::from_secs(600);

/// The most items in one answer.
const MAX_ITEMS: usize = 10_000;

/// One path at which an app's clients deal with jobs.
#[derive(Clone, Debug, PartialEq)]
pub struct DeskSettings {
    /// What is done there.
    pub does: Does,
    /// What is answered when it went well: filled from the job's document, or for [`Does::Result`] from that of its result.
    pub answer: Form,
    /// With which status.
    pub status: StatusCode,
    /// The body of a refusal, by status, as JSON with the places `{code}`, `{detail}`, `{address}`, `{path}`, and where the rate is
    /// limited `{limit}`, `{remaining}` and `{retry_after}`.
    pub refusals: BTreeMap<u16, String>,
    /// More response headers.
    pub headers: Vec<(String, String)>,
    /// Which other origins may ask.
    pub cors: Cors,
    /// How often an address may ask.
    pub rate: Option<RateLimit>,
    /// Where clients reach the app, as `https://example.org`; else it is taken from the request.
    pub base: Option<String>,
}

/// What is done at a desk.
#[derive(Clone, Debug, PartialEq)]
pub enum Does {
    /// `POST` makes a job.
    Create(CreateSettings),
    /// `GET` says how a job is. With `cancels`, `DELETE` cancels it.
    Show {
        /// Which job, and who may ask.
        job: OneJob,
        /// What a cancel is answered.
        cancels: Option<Form>,
    },
    /// `DELETE` cancels a job, `POST` too.
    Cancel {
        /// Which job, and who may cancel it beside those who always may.
        job: OneJob,
    },
    /// `GET` has what came of a job, page by page: `?from=&limit=`.
    Result {
        /// Which job, and who may ask.
        job: OneJob,
        /// How many items a page has if the client does not say.
        page: usize,
    },
}

/// How jobs are made.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateSettings {
    /// Their kind.
    pub kind: String,
    /// The file that comes with each. Without it the request's body, a JSON object, is the job's input; with it the other fields of
    /// the form are.
    pub file: Option<UploadSettings>,
    /// The member of the input by which a client may name the job.
    pub id: Option<String>,
    /// Which names it may give.
    pub client_ids: ClientIds,
    /// The most bytes of the input. However it is set, the bounds of the jobs hold.
    pub most_input: Option<usize>,
    /// What the input has to be.
    pub checks: Vec<Check>,
    /// How long the token counts.
    pub token_ttl: Option<Duration>,
    /// Whether anybody who gets through the mount's `auth` may make jobs.
    pub open: bool,
}

/// Which ids clients may choose. Jobs of all apps have theirs from one space: an id that is taken there is refused here, which tells that it is
/// taken, and whoever may choose any can take one that another app is about to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientIds {
    /// Any that a job may have.
    #[default]
    Any,
    /// A UUID, in capitals or not: nobody guesses one, and nobody needs to know whether it is taken.
    Uuid,
}

impl ClientIds {
    fn check(self, id: &str) -> Result<(), &'static str> {
        // RFC 9562 §4. Of which version it is its maker knows.
        let fits = |(at, byte): (usize, u8)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        };
        match self {
            ClientIds::Uuid if id.len() != 36 || !id.bytes().enumerate().all(fits) => {
                Err("it is a UUID, made at random, like 0b2d9a4e-6c1f-4f0e-9d53-7f8a1c2e3b4d")
            }
            _ => Ok(()),
        }
    }
}

/// What a member of the input has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Which: `books`, or `books[].title` for a member of each element.
    pub member: String,
    /// Whether it has to be there.
    pub needed: bool,
    /// It is a list of at most this many elements, and at least one.
    pub most_items: Option<usize>,
    /// It is a text of at most this many characters.
    pub most_chars: Option<usize>,
}

/// A path at which an app's clients deal with jobs, as it is served.
pub struct Desk {
    /// The path, with `{job}` where it names one.
    pub path: String,
    /// How it answers.
    pub settings: DeskSettings,
    /// Whose jobs.
    pub profile: Arc<Profile>,
    /// Who says who asks.
    pub auth: Arc<dyn Authenticate>,
    rates: Option<Arc<Rates>>,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Desk {
    /// A desk at each of these paths. However many they are, an address may ask so often at all of them together.
    pub fn at<'a>(
        paths: impl IntoIterator<Item = &'a str>,
        settings: &DeskSettings,
        profile: &Arc<Profile>,
        auth: &Arc<dyn Authenticate>,
    ) -> Vec<Arc<Self>> {
        Desk::counted(paths, settings, profile, auth, settings.rate.map(|rate| Arc::new(Rates::new(rate))))
    }

    /// The same, whose requests are counted by `rates`, which may count those of other desks as well.
    pub fn counted<'a>(
        paths: impl IntoIterator<Item = &'a str>,
        settings: &DeskSettings,
        profile: &Arc<Profile>,
        auth: &Arc<dyn Authenticate>,
        rates: Option<Arc<Rates>>,
    ) -> Vec<Arc<Self>> {
        let desk = |path: &str| Desk {
            path: path.to_owned(),
            settings: settings.clone(),
            profile: profile.clone(),
            auth: auth.clone(),
            rates: rates.clone(),
        };
        paths.into_iter().map(|path| Arc::new(desk(path))).collect()
    }

    fn methods(&self) -> &'static str {
        match &self.settings.does {
            Does::Create(_) => "POST, OPTIONS",
            Does::Show { cancels: None, .. } | Does::Result { .. } => "GET, HEAD, OPTIONS",
            Does::Show { .. } => "GET, HEAD, DELETE, OPTIONS",
            Does::Cancel { .. } => "DELETE, POST, OPTIONS",
        }
    }

    /// Answers a request.
    pub(crate) async fn answer(&self, service: &Service, parts: &request::Parts, body: Body) -> Response {
        if parts.method == Method::OPTIONS {
            return self.preflight(&parts.headers);
        }
        if !self.methods().split(", ").any(|method| method == parts.method.as_str()) {
            return self.dressed(&parts.headers, None, method_not_allowed(self.methods()));
        }
        let address = service.limiter.address(peer(parts), &parts.headers);
        let checked = self.rates.as_ref().map(|rates| rates.check(address, service.hub.clock().as_ref()));
        let answer = match &checked {
            Some(checked) if !checked.allowed => Err(checked.problem()),
            _ => self.done(service, parts, body).await,
        };
        let response = answer.unwrap_or_else(|problem| self.refuse(problem, checked.as_ref(), address, parts));
        self.dressed(&parts.headers, checked.as_ref(), response)
    }

    fn preflight(&self, asked: &HeaderMap) -> Response {
        let mut response = self.dressed(asked, None, StatusCode::NO_CONTENT.into_response());
        let headers = response.headers_mut();
        headers.insert(header::ALLOW, HeaderValue::from_static(self.methods()));
        if headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(self.methods()));
            if let Some(wanted) = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
                headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
            }
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
        }
        response
    }

    fn dressed(&self, asked: &HeaderMap, checked: Option<&Checked>, mut response: Response) -> Response {
        let headers = response.headers_mut();
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        for (name, value) in &self.settings.headers {
            if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse()) {
                headers.insert(name, value);
            }
        }
        if let Some(checked) = checked {
            checked.headers(headers);
        }
        headers.extend(cors(&self.settings.cors, asked));
        response
    }

    fn refuse(&self, problem: Problem, checked: Option<&Checked>, address: IpAddr, parts: &request::Parts) -> Response {
        let status = problem.status.as_u16();
        let family = if problem.status.is_server_error() { 500 } else { 400 };
        let own = self.settings.refusals.get(&status).or_else(|| self.settings.refusals.get(&family));
        let own = own.map(|template| {
            let mut values = vec![
                ("code", in_text(problem.code)),
                ("detail", in_text(&problem.detail)),
                ("status", status.to_string()),
                ("address", in_text(&address.to_canonical().to_string())),
                ("path", in_text(parts.uri.path())),
            ];
            if let Some(checked) = checked {
                values.push(("limit", checked.limit.to_string()));
                values.push(("remaining", checked.remaining.to_string()));
                values.push(("retry_after", checked.retry_after.to_string()));
            }
            filled(template, &values)
        });
        let mut response = problem.into_response();
        if let Some(own) = own {
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response.headers_mut().remove(header::CONTENT_LENGTH);
            *response.body_mut() = Body::from(own);
        }
        response
    }

    async fn done(&self, service: &Service, parts: &request::Parts, body: Body) -> Result<Response, Problem> {
        let principal = self.auth.authenticate(request(parts)).await?;
        let changes = !matches!(parts.method, Method::GET | Method::HEAD);
        if changes && principal.source != "anonymous" && principal.source != "job-token" {
            // A page of another origin must not make or cancel jobs as whoever looks at it.
            refuse_foreign(parts, &self.settings.cors)?;
        }
        let Some(jobs) = &service.jobs else { return Err(no_such_job()) };
        match &self.settings.does {
            Does::Create(settings) => self.create(service, jobs, parts, body, &principal, settings).await,
            Does::Show { job, cancels } if parts.method == Method::DELETE => {
                let job = self.canceled(jobs, parts, &principal, job).await?;
                let form = cancels.as_ref().unwrap_or(&self.settings.answer);
                Ok(self.filled(service, parts, form, StatusCode::OK, &job.document(None), Vec::new()))
            }
            Does::Show { job, .. } => {
                let job = job_at(jobs, &self.profile, parts, &principal, job).await?;
                Ok(self.filled(
                    service,
                    parts,
                    &self.settings.answer,
                    self.settings.status,
                    &job.document(None),
                    Vec::new(),
                ))
            }
            Does::Cancel { job } => {
                let job = self.canceled(jobs, parts, &principal, job).await?;
                Ok(self.filled(
                    service,
                    parts,
                    &self.settings.answer,
                    self.settings.status,
                    &job.document(None),
                    Vec::new(),
                ))
            }
            Does::Result { job, page } => self.result(service, jobs, parts, &principal, job, *page).await,
        }
    }

    async fn canceled(
        &self,
        jobs: &Arc<Jobs>,
        parts: &request::Parts,
        principal: &Arc<Principal>,
        one: &OneJob,
    ) -> Result<Job, Problem> {
        let job = job_at(jobs, &self.profile, parts, principal, one).await?;
        if !one.open && !job.may_be_canceled_by(principal) {
            let detail = "whoever may only watch a job does not cancel it";
            return Err(Problem::new(StatusCode::FORBIDDEN, "may-not-cancel", detail));
        }
        jobs.cancel(&job.id, Duration::ZERO).await.map_err(Problem::from)
    }

    async fn result(
        &self,
        service: &Service,
        jobs: &Arc<Jobs>,
        parts: &request::Parts,
        principal: &Arc<Principal>,
        one: &OneJob,
        page: usize,
    ) -> Result<Response, Problem> {
        let job = job_at(jobs, &self.profile, parts, principal, one).await?;
        let number = |name: &'static str, default: u64| match query::pairs(&parts.uri).find(|(key, _)| key == name) {
            None => Ok(default),
            Some((_, value)) => value.parse::<u64>().map_err(|_| {
                let detail = format!("?{name}= takes a number from 0 on");
                Problem::new(StatusCode::BAD_REQUEST, "invalid-page", detail).with("parameter", name)
            }),
        };
        let from = number("from", 0)?;
        let limit = usize::try_from(number("limit", page as u64)?).unwrap_or(MAX_ITEMS).clamp(1, MAX_ITEMS);
        let items = jobs.items(&job.id, from, limit, service.hub.limits().page_bytes).await.map_err(Problem::from)?;
        let next = from + items.len() as u64;
        let list: Vec<Value> = items.iter().filter_map(|item| serde_json::from_slice(item).ok()).collect();
        let mut document: Map<String, Value> = serde_json::from_slice(&job.document(None)).unwrap_or_default();
        document.insert("count".into(), job.items.into());
        document.insert("items".into(), list.into());
        document.insert("from".into(), from.into());
        if next < job.items {
            document.insert("next".into(), next.into());
        }
        let document = Value::Object(document).to_string();
        let (form, status) = (&self.settings.answer, self.settings.status);
        Ok(self.filled(service, parts, form, status, document.as_bytes(), Vec::new()))
    }

    async fn create(
        &self,
        service: &Service,
        jobs: &Arc<Jobs>,
        parts: &request::Parts,
        body: Body,
        principal: &Arc<Principal>,
        settings: &CreateSettings,
    ) -> Result<Response, Problem> {
        let topic = self.profile.qualify("job/new");
        if !settings.open && !principal.publish.allow("job.queued", &topic) && !principal.operator {
            let detail = format!("{} may not make jobs: use a key with the right to publish", principal.id);
            return Err(Problem::new(StatusCode::FORBIDDEN, "may-not-publish", detail));
        }
        let (input, uploaded) = self.received(service, parts, body, settings).await?;
        check(&input, &settings.checks)?;
        let mut new = NewJob {
            namespace: self.profile.namespace().map(str::to_owned),
            kind: settings.kind.clone(),
            // Neither nobody nor the token of another job is somebody to whom a job could belong.
            owner: (principal.source != "anonymous" && !principal.id.starts_with("job/"))
                .then(|| principal.id.to_string()),
            ..NewJob::default()
        };
        if let Some(member) = &settings.id {
            new.id = match input.get(member) {
                None | Some(Value::Null) => None,
                Some(Value::String(id)) => {
                    settings.client_ids.check(id).map_err(|detail| invalid(member, detail))?;
                    Some(id.parse().map_err(|detail: String| invalid(member, detail))?)
                }
                Some(_) => return Err(invalid(member, "it is a text")),
            };
        }
        let raw =
            RawValue::from_string(Value::Object(input).to_string()).map_err(|_| invalid("body", "it is not JSON"))?;
        if let Some(most) = settings.most_input.filter(|most| raw.get().len() > *most) {
            return Err(JobFault::TooLarge { field: "input", bytes: raw.get().len(), most }.into());
        }
        new.input = Some(raw);
        if let Some(uploaded) = &uploaded {
            new.file_hash = Some(uploaded.sha256);
            new.file = Some(job_file(uploaded));
        }
        let created = make(jobs, new, uploaded).await.map_err(Problem::from)?;
        let age = service.hub.clock().now().since(created.job.created);
        if !created.is_new && principal.source == "anonymous" && age > ASKED_AGAIN {
            // Whoever repeats a request after so long is somebody who has come by the name of the job.
            return Err(JobFault::IdTaken.into());
        }
        let (token, expires) = jobs.new_token(&created.job.id, settings.token_ttl).await.map_err(Problem::from)?;
        let more = vec![("token", Value::from(token)), ("token_expires", Value::from(expires.0))];
        let (form, document) = (&self.settings.answer, created.job.document(None));
        Ok(self.filled(service, parts, form, self.settings.status, &document, more))
    }

    /// What a request brings: the input, and the file.
    async fn received(
        &self,
        service: &Service,
        parts: &request::Parts,
        body: Body,
        settings: &CreateSettings,
    ) -> Result<(Map<String, Value>, Option<Uploaded>), Problem> {
        let limits = service.hub.limits();
        if let Some(file) = &settings.file {
            let files = service.job_files().ok_or_else(|| {
                Problem::unavailable(60, "no-uploads", "this program takes no files: it has no place for them")
            })?;
            let received = upload::receive(&parts.headers, body, files, file, limits).await?;
            let fields = received.fields.into_iter().map(|(name, value)| (name, Value::from(value)));
            return Ok((fields.collect(), received.file));
        }
        let is_json = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let is_json = is_json.is_some_and(|media| {
            let media = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
            media == "application/json" || media.ends_with("+json")
        });
        if !is_json {
            // Also so that no page of another origin can make jobs without a preflight.
            let detail = "send JSON, with `Content-Type: application/json`";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "expected-json", detail));
        }
        let body = collect(body, limits).await?;
        let input = serde_json::from_slice(&body).map_err(|error| {
            let detail = format!("the body is no JSON object: {error}");
            Problem::new(StatusCode::BAD_REQUEST, "invalid-json", detail)
        })?;
        Ok((input, None))
    }

    fn filled(
        &self,
        service: &Service,
        parts: &request::Parts,
        form: &Form,
        status: StatusCode,
        document: &[u8],
        mut more: Vec<(&'static str, Value)>,
    ) -> Response {
        let base = match &self.settings.base {
            Some(base) => base.trim_end_matches('/').to_owned(),
            None => base(service, parts),
        };
        let ws_base = match base.split_once("://") {
            Some(("https", rest)) => format!("wss://{rest}"),
            Some((_, rest)) => format!("ws://{rest}"),
            None => base.clone(),
        };
        let query: Map<String, Value> = query::pairs(&parts.uri)
            .map(|(name, value)| (name.into_owned(), Value::from(value.into_owned())))
            .collect();
        let now = service.hub.clock().now();
        more.push(("base", base.into()));
        more.push(("ws_base", ws_base.into()));
        more.push(("now", now.0.into()));
        more.push(("query", Value::Object(query)));
        let body = form.render(&FormFacts { data: document, time: now, more: &more, ..FormFacts::default() });
        (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
    }
}

/// Where the client reaches us, as far as its request tells.
fn base(service: &Service, parts: &request::Parts) -> String {
    let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| parts.uri.authority().map(|authority| authority.as_str())).unwrap_or("localhost");
    let scheme = match service.limiter.is_secure(peer(parts), &parts.headers) || parts.uri.scheme_str() == Some("https")
    {
        true => "https",
        false => "http",
    };
    format!("{scheme}://{host}")
}

/// Whether the input is as it has to be.
fn check(input: &Map<String, Value>, checks: &[Check]) -> Result<(), Problem> {
    for check in checks {
        let (list, member) = match check.member.split_once("[].") {
            Some((list, member)) => (Some(list), member),
            None => (None, check.member.as_str()),
        };
        match list {
            None => check.holds(&check.member, input.get(member))?,
            Some(list) => {
                let Some(Value::Array(elements)) = input.get(list) else { continue };
                for (index, element) in elements.iter().enumerate() {
                    check.holds(&format!("{list}[{index}].{member}"), element.get(member))?;
                }
            }
        }
    }
    Ok(())
}

impl Check {
    fn holds(&self, name: &str, value: Option<&Value>) -> Result<(), Problem> {
        let Some(value) = value.filter(|value| !value.is_null()) else {
            return if self.needed { Err(invalid(name, "it is missing")) } else { Ok(()) };
        };
        if let Some(most) = self.most_items {
            match value.as_array().map(Vec::len) {
                None => return Err(invalid(name, "it is a list")),
                Some(0) => return Err(invalid(name, "it is empty")),
                Some(count) if count > most => {
                    return Err(invalid(name, format!("it has {count} elements, and {most} are the most")));
                }
                Some(_) => {}
            }
        }
        if let Some(most) = self.most_chars {
            match value.as_str().map(|text| text.chars().count()) {
                None => return Err(invalid(name, "it is a text")),
                Some(count) if count > most => {
                    return Err(invalid(name, format!("it has {count} characters, and {most} are the most")));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}

fn invalid(member: &str, detail: impl std::fmt::Display) -> Problem {
    let shown: String = member.chars().take(128).collect();
    Problem::new(StatusCode::BAD_REQUEST, "invalid-input", format!("{shown}: {detail}")).with("field", shown)
}

/// A text as it stands between the quotes of a JSON string.
fn in_text(text: &str) -> String {
    let quoted = json!(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// The template with its places filled, once from left to right: what is filled in is not looked at again.
fn filled(template: &str, values: &[(&str, String)]) -> String {
    let (mut filled, mut rest) = (String::with_capacity(template.len() + 64), template);
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        let found = after.split_once('}').and_then(|(name, behind)| {
            values.iter().find(|(known, _)| *known == name).map(|(_, value)| (value, behind))
        });
        match found {
            Some((value, behind)) => {
                filled.push_str(value);
                rest = behind;
            }
            None => {
                filled.push('{');
                rest = after;
            }
        }
    }
    filled.push_str(rest);
    filled
}

impl DeskSettings {
    /// Where its requests name the job, if they do.
    pub fn named(&self) -> Option<&JobNamed> {
        match &self.does {
            Does::Create(_) => None,
            Does::Show { job, .. } | Does::Cancel { job } | Does::Result { job, .. } => Some(&job.named),
        }
    }
}
