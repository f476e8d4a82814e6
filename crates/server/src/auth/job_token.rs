//! Tokens of jobs: who shows one may watch one job, and cancel it.

use std::sync::Arc;

use http::StatusCode;
use tidings::job::{Job, Jobs};
use tidings::principal::PublishRights;
use tidings::{Clock, Grants, Principal, Timestamp};
use tidings_transports::{Problem, Request};

use super::place::{Found, Places};
use super::settings::JobTokenSettings;
use super::source::{Verdict, expired, invalid, unclear};
use super::{AuthContext, AuthError};

/// Tokens of jobs as a source.
pub struct JobTokens {
    places: Places,
    jobs: Option<Arc<Jobs>>,
    /// The namespace of the profile whose door this is: only its jobs count here.
    namespace: Option<String>,
    clock: Arc<dyn Clock>,
}

impl JobTokens {
    /// Checks the settings that stand at `path`.
    pub fn new(settings: &JobTokenSettings, path: &str, context: &AuthContext) -> Result<Self, AuthError> {
        let places = Places::new(&settings.places, path)?;
        if places.is_empty() {
            return Err(AuthError::new(format!("{path}.in"), "it needs a place to look for the token"));
        }
        let AuthContext { jobs, namespace, clock, .. } = context;
        Ok(JobTokens { places, jobs: jobs.clone(), namespace: namespace.clone(), clock: clock.clone() })
    }

    /// The job whose token is in the request, as a principal.
    pub async fn check(&self, request: &Request<'_>) -> Verdict {
        let token = match self.places.find(request) {
            Found::Absent => return Verdict::Absent,
            Found::Unclear(why) => return Verdict::Refused(unclear(why)),
            Found::One(token) => token,
        };
        let found = match &self.jobs {
            Some(jobs) => jobs.token(&token).await,
            None => Ok(None),
        };
        match found {
            Ok(Some((job, expires))) => self.judge(&job, expires),
            Ok(None) => Verdict::Refused(invalid("the token is of no job that is still known")),
            Err(fault) => {
                tracing::error!(%fault, "the tokens of jobs can't be read");
                let detail = "tokens of jobs can't be checked at the moment";
                Verdict::Unknown(Problem::unavailable(2, "store-unavailable", detail))
            }
        }
    }

    fn judge(&self, job: &Job, expires: Timestamp) -> Verdict {
        if expires <= self.clock.now() {
            return Verdict::Refused(expired());
        }
        if self.namespace.is_some() && self.namespace != job.namespace {
            let detail = "the token is of a job of another profile";
            return Verdict::Refused(Problem::new(StatusCode::FORBIDDEN, "wrong-profile", detail));
        }
        match principal(job, expires) {
            Some(principal) => Verdict::Accepted(Arc::new(principal)),
            None => Verdict::Refused(invalid("the token is of a job that has no topic")),
        }
    }
}

/// Somebody who may see this job and nothing else: not even what everyone may.
fn principal(job: &Job, expires: Timestamp) -> Option<Principal> {
    let grants = Grants::parse([job.grant().as_str()]).ok()?;
    Some(Principal {
        namespace: job.namespace.as_deref().map(Into::into),
        expires_at: Some(expires),
        publish: PublishRights::None,
        ..Principal::new(&format!("job/{}", job.id), grants, "job-token")
    })
}
