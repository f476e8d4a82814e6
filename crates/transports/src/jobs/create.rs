//! `POST /v1/jobs`.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode, header, request};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use tidings::job::{Created, JobFault, JobFile, JobId, Jobs, NewJob};
use tidings::{Principal, Profile, PublishRights, Topic};

use axum::response::Response;

use super::{Api, Asked, Caller, ask, extended, json};
use crate::problem::Problem;
use crate::publish::{IDEMPOTENCY_KEY, elsewhere, is_idempotency_key};
use crate::stream::Cors;
use crate::upload::{self, UploadSettings, Uploaded};
use crate::websocket::handshake::is_same_origin;

/// A job as it is asked for.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Wanted {
    kind: Option<String>,
    id: Option<JobId>,
    input: Option<Box<RawValue>>,
    owner: Option<String>,
    audience: Vec<String>,
    attempts: Option<u32>,
    #[serde(deserialize_with = "ask::lease")]
    lease: Option<Duration>,
}

impl Api {
    pub(super) async fn create(&self, asked: Asked) -> Result<Response, Problem> {
        let Asked { parts, body } = asked;
        let caller = self.caller(&parts).await?;
        // Before the body is read: it may be long.
        if caller.principal.publish == PublishRights::None {
            return Err(may_not_create(&caller.principal, ""));
        }
        let profile = self.routes.publishing.profile(&parts.uri)?.clone();
        let limits = self.service.hub.limits();
        let (mut wanted, file) = match ask::media(&parts).as_str() {
            "application/json" => (ask::read(&parts, body, limits).await?, None),
            "multipart/form-data" => {
                refuse_foreign(&parts, &self.routes.cors)?;
                let settings = UploadSettings { most_bytes: self.routes.upload_bytes, ..UploadSettings::default() };
                let received = upload::receive(&parts.headers, body, self.files()?, &settings, limits).await?;
                (described(received.fields)?, received.file)
            }
            other => {
                let takes = "a job as `Content-Type: application/json`, or with a file as multipart/form-data";
                return Err(ask::unsupported(other, takes));
            }
        };
        if wanted.kind.is_none() {
            wanted.kind = ask::parameter(&parts, "kind", "a kind of job")?;
        }
        self.check_credential(&caller)?;
        let new = self.new_job(&parts, &caller.principal, &profile, wanted, file.as_ref())?;
        let Created { job, is_new } = make(&self.jobs, new, file).await?;
        let (token, expires) = self.jobs.new_token(&job.id, None).await?;
        let more = json!({ "token": token, "token_expires": expires });
        let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
        let mut response = json(status, extended(&job.document(None), &more));
        if let Ok(location) = HeaderValue::from_str(&format!("/v1/jobs/{}", job.id)) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        Ok(response)
    }

    fn new_job(
        &self,
        parts: &request::Parts,
        principal: &Principal,
        profile: &Profile,
        wanted: Wanted,
        file: Option<&Uploaded>,
    ) -> Result<NewJob, Problem> {
        let missing = || JobFault::Invalid { field: "kind", detail: "say what is to be done".into() };
        let kind = wanted.kind.ok_or_else(missing)?;
        let id = match (wanted.id, idempotency_key(parts)?) {
            (Some(id), _) => id,
            (None, Some(key)) => of_key(principal, profile, key)?,
            (None, None) => random_id()?,
        };
        if !principal.publish.allow("job.queued", &profile.qualify(&format!("job/{id}"))) {
            return Err(may_not_create(principal, &elsewhere(&self.service.hub, principal, profile, "/v1/jobs")));
        }
        // An id means somebody only within its own app.
        let is_at_home = principal.namespace.as_deref() == profile.namespace() && principal.source != "anonymous";
        Ok(NewJob {
            id: Some(id),
            namespace: profile.namespace().map(str::to_owned),
            kind,
            input: wanted.input,
            file: file.map(job_file),
            file_hash: file.map(|file| file.sha256),
            owner: wanted.owner.or_else(|| is_at_home.then(|| principal.id.to_string())),
            audience: audience(profile, &wanted.audience)?,
            attempts: wanted.attempts,
            lease: wanted.lease,
        })
    }

    /// Whether the credential still holds: an upload may take hours.
    pub(super) fn check_credential(&self, caller: &Caller) -> Result<(), Problem> {
        let hub = &self.service.hub;
        let expired = caller.principal.is_expired(hub.clock().now()).then_some(tidings::CloseReason::Expired);
        match expired.or_else(|| hub.closed_since(caller.since, &caller.principal)) {
            None => Ok(()),
            Some(reason) => Err(Problem::unauthorized(Some("invalid_token"), reason.sentence())),
        }
    }
}

/// Makes the job, and leaves its file where it is if it has one. Goes on to the end also if the client goes away meanwhile: a job that is
/// there has its file.
pub(crate) async fn make(jobs: &Arc<Jobs>, new: NewJob, file: Option<Uploaded>) -> Result<Created, JobFault> {
    let jobs = jobs.clone();
    let made = tokio::spawn(async move {
        let created = jobs.create(new).await;
        // Where it is not known whether the job is there the file stays, until it is swept up.
        let keeps = matches!(created, Ok(Created { is_new: true, .. }) | Err(JobFault::Unavailable(_)));
        if let Some(mut file) = file.filter(|_| keeps) {
            file.keep();
        }
        created
    });
    made.await.unwrap_or_else(|_| Err(JobFault::Unavailable("the job could not be made".into())))
}

/// The job in the text parts of a form.
fn described(fields: Vec<(String, String)>) -> Result<Wanted, Problem> {
    let mut wanted = None;
    for (name, value) in fields {
        if name != "job" || wanted.is_some() {
            let detail = format!("part {name:?} is one too many: there is one part `job`, and one `file`");
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "unknown-part", detail).with("part", name));
        }
        wanted = Some(ask::object("part `job`", value.as_bytes())?);
    }
    Ok(wanted.unwrap_or_default())
}

/// The file as the record of its job has it.
pub(crate) fn job_file(file: &Uploaded) -> JobFile {
    JobFile {
        path: file.key().to_owned(),
        name: file.name.clone().unwrap_or_else(|| "file".into()),
        media_type: file.media_type.clone(),
        bytes: file.bytes,
    }
}

/// Grants below the namespace of the profile.
fn audience(profile: &Profile, grants: &[String]) -> Result<Vec<Topic>, Problem> {
    let qualify = |grant: &String| {
        // Checked before the namespace is put before it: `app//x` says less than `/x`.
        grant.parse::<Topic>().and_then(|_| profile.qualify(grant).parse::<Topic>())
    };
    let invalid = |error: tidings::InvalidTopic| JobFault::Invalid { field: "audience", detail: error.to_string() };
    Ok(grants.iter().map(qualify).collect::<Result<_, _>>().map_err(invalid)?)
}

fn may_not_create(principal: &Principal, elsewhere: &str) -> Problem {
    let detail = format!("{} may not publish job.queued there, and so makes no jobs{elsewhere}", principal.id);
    Problem::new(StatusCode::FORBIDDEN, "may-not-publish", detail)
}

/// A form, and a request without a body, is what a page of another origin can send without asking, and with the cookies of whoever looks
/// at that page. What stands in `Authorization` it can't send so.
pub(crate) fn refuse_foreign(parts: &request::Parts, cors: &Cors) -> Result<(), Problem> {
    // A password is sent along by the browser itself, once it knows it.
    let is_bearer = |value: &HeaderValue| value.as_bytes().to_ascii_lowercase().starts_with(b"bearer ");
    if parts.headers.get(header::ORIGIN).is_some_and(|origin| cors.lists(origin))
        || parts.headers.get(header::AUTHORIZATION).is_some_and(is_bearer)
        || is_same_origin(&parts.headers)
    {
        return Ok(());
    }
    let detail = "a page of another origin asks for this with `Authorization`, and not with cookies";
    Err(Problem::new(StatusCode::FORBIDDEN, "foreign-origin", detail))
}

fn idempotency_key(parts: &request::Parts) -> Result<Option<&str>, Problem> {
    let name: HeaderName = IDEMPOTENCY_KEY;
    let Some(value) = parts.headers.get(name) else { return Ok(None) };
    let key = value.to_str().ok().filter(|key| is_idempotency_key(key)).ok_or_else(|| {
        let detail = "Idempotency-Key takes 1 to 255 visible ASCII characters";
        Problem::new(StatusCode::BAD_REQUEST, "invalid-idempotency-key", detail)
    })?;
    Ok(Some(key))
}

/// The id of the job that this request makes: the same for the same key, so that whoever keeps jobs by their id needs to keep no keys.
fn of_key(principal: &Principal, profile: &Profile, key: &str) -> Result<JobId, Problem> {
    let mut hash = Sha256::new();
    let house = principal.namespace.as_deref().unwrap_or_default();
    for part in [house, &principal.id, profile.namespace().unwrap_or_default(), key] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let hash: [u8; 32] = hash.finalize().into();
    // Of one's own making (RFC 9562 §5.8).
    uuid(hash.first_chunk().copied().unwrap_or_default(), 8)
}

fn random_id() -> Result<JobId, Problem> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| JobFault::Unavailable(error.to_string()))?;
    uuid(random, 4)
}

/// These bytes as a UUID (RFC 9562 §4).
fn uuid(mut bytes: [u8; 16], version: u8) -> Result<JobId, Problem> {
    bytes[6] = bytes[6] & 0x0f | version << 4;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = format!("{:032x}", u128::from_be_bytes(bytes));
    let id = format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
    id.parse().map_err(|error| JobFault::Unavailable(error).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidings::Grants;

    #[test]
    fn a_key_names_one_job_of_one_principal_in_one_profile() {
        let of = |id: &str, key: &str| {
            let principal = Principal::new(id, Grants::default(), "test");
            of_key(&principal, &Profile::open(), key).unwrap().to_string()
        };
        assert_eq!(of("a", "k"), of("a", "k"));
        assert_ne!(of("a", "k"), of("b", "k"));
        assert_ne!(of("a", "bk"), of("ab", "k"));
        assert_eq!(of("a", "k").len(), 36);
        assert_eq!(&of("a", "k")[14..15], "8");
    }
}
