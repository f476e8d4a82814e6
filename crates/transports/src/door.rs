//! What connections that go both ways ask of the rest of the program: who this is, and to publish.

use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header, request};
use serde_json::{Map, Value};
use tidings::job::JobFault;
use tidings::{Entry, Grants, Moment, Principal, Profile, TopicPattern};

use crate::auth::Request;
use crate::events::{Mount, peer};
use crate::limiter::Permit;
use crate::problem::Problem;
use crate::publish::Publisher;
use crate::recall::Recalled;
use crate::service::{Publishing, Service};
use crate::stream::Cors;
use crate::watch::no_such_job;
use crate::websocket::handshake::is_same_origin;

/// One mount's way to the rest of the program.
///
/// The service holds the lanes, and these the connections with their doors: a weak reference breaks the ring.
pub struct Door {
    /// Where it stands.
    pub(crate) mount: Mount,
    service: Weak<Service>,
    publishing: Option<Arc<Publishing>>,
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").field("path", &self.mount.path).finish_non_exhaustive()
    }
}

/// A handshake, kept for as long as somebody may still have to be asked about it.
#[derive(Clone)]
pub(crate) struct Handshake {
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) peer: IpAddr,
    /// The client's own address, where its socket is not its own.
    pub(crate) address: Option<IpAddr>,
    /// Whether a page of another origin opened it, as any page may.
    pub(crate) is_foreign: bool,
}

impl std::fmt::Debug for Handshake {
    /// Without the headers and the query: credentials stand there.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handshake").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// Somebody who may come in.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) principal: Arc<Principal>,
    /// When the credential was about to be checked.
    pub(crate) since: Moment,
    /// Counts their stream.
    pub(crate) permit: Permit,
}

impl Handshake {
    pub(crate) fn new(service: &Service, parts: &request::Parts, cors: &Cors) -> Self {
        let peer = peer(parts);
        let address = service.limiter.shared(peer, parts.version, &parts.headers);
        let mut headers = compact(&parts.headers);
        let is_foreign = *cors == Cors::Any && !is_same_origin(&headers);
        if is_foreign {
            // Browsers send along what they know of their user, whichever page opens the connection. Any page may, but as nobody's.
            headers.remove(header::COOKIE);
            let is_bearer = |value: &HeaderValue| value.as_bytes().to_ascii_lowercase().starts_with(b"bearer ");
            if !headers.get_all(header::AUTHORIZATION).iter().all(is_bearer) {
                // What the browser remembers of a password, or of the system's login. A token the page knows by itself.
                headers.remove(header::AUTHORIZATION);
            }
        }
        let uri = parts.uri.to_string().parse().unwrap_or_default();
        Handshake { uri, headers, peer, address, is_foreign }
    }

    fn request<'a>(&'a self, payload: Option<&'a Map<String, Value>>) -> Request<'a> {
        Request { method: &Method::GET, uri: &self.uri, headers: &self.headers, peer: self.peer, payload }
    }
}

/// A copy that does not keep the buffer in memory that the request was read into.
fn compact(headers: &HeaderMap) -> HeaderMap {
    let copies = headers.iter().map(|(name, value)| {
        let mut copy = HeaderValue::from_bytes(value.as_bytes()).unwrap_or_else(|_| value.clone());
        copy.set_sensitive(value.is_sensitive());
        (name.clone(), copy)
    });
    copies.collect()
}

impl Door {
    /// The door at a mount.
    pub(crate) fn new(service: &Arc<Service>, mount: Mount, publishing: Option<Arc<Publishing>>) -> Arc<Self> {
        Arc::new(Door { mount, service: Arc::downgrade(service), publishing })
    }

    fn service(&self) -> Result<Arc<Service>, Problem> {
        self.service.upgrade().ok_or_else(|| Problem::unavailable(1, "stopping", "the program is about to stop"))
    }

    /// Says who this is, and counts them. `payload` is what the client said first.
    pub(crate) async fn admit(
        &self,
        handshake: &Handshake,
        payload: Option<&Map<String, Value>>,
    ) -> Result<Admitted, Problem> {
        let service = self.service()?;
        let (principal, since) = self.mount.authenticate(&service, handshake.request(payload)).await?;
        if handshake.is_foreign && principal.source == "proxy-header" {
            let detail = "a reverse proxy says who the user is, and pages of other origins may not speak as them";
            return Err(Problem::new(StatusCode::FORBIDDEN, "foreign-origin", detail));
        }
        let permit = service.limiter.stream(&principal, handshake.address)?;
        Ok(Admitted { principal, since, permit })
    }

    /// Says who this is now that a connection of `before` has shown a new credential.
    pub(crate) async fn readmit(
        &self,
        before: &Principal,
        peer: IpAddr,
        payload: &Map<String, Value>,
    ) -> Result<Admitted, Problem> {
        let handshake =
            Handshake { uri: Uri::default(), headers: HeaderMap::new(), peer, address: None, is_foreign: false };
        let service = self.service()?;
        let (principal, since) = self.mount.authenticate(&service, handshake.request(Some(payload))).await?;
        if principal.id != before.id || principal.namespace != before.namespace {
            let detail = "that is the credential of somebody else: open a connection of their own";
            return Err(Problem::new(StatusCode::FORBIDDEN, "somebody-else", detail));
        }
        Ok(Admitted { principal, since, permit: service.limiter.nothing() })
    }

    /// Publishes one event or an array of them for `principal`.
    pub(crate) async fn publish(
        &self,
        principal: Arc<Principal>,
        since: Moment,
        events: &str,
    ) -> Result<String, Problem> {
        let service = self.service()?;
        let published = self.published(&service, principal, since, events).await;
        let counters = &service.counters;
        let counter = if published.is_ok() { &counters.publishes } else { &counters.refused_publishes };
        counter.fetch_add(1, Ordering::Relaxed);
        published
    }

    async fn published(
        &self,
        service: &Arc<Service>,
        principal: Arc<Principal>,
        since: Moment,
        events: &str,
    ) -> Result<String, Problem> {
        if principal.publish == tidings::PublishRights::None {
            let detail = format!("{} may not publish: use an API key with the right to", principal.id);
            return Err(Problem::new(StatusCode::FORBIDDEN, "may-not-publish", detail));
        }
        let publisher = Publisher { service: service.clone(), principal, since, profile: self.profile() };
        publisher.check_credential()?;
        publisher.publish_document(events.as_bytes(), None).await
    }

    /// Cancels the job with this topic for `principal`.
    pub(crate) async fn cancel(&self, principal: &Principal, topic: &str) -> Result<(), Problem> {
        let service = self.service()?;
        let id = topic.rsplit('/').next().and_then(|id| id.parse().ok()).ok_or_else(no_such_job)?;
        let Some(jobs) = &service.jobs else { return Err(no_such_job()) };
        let job = jobs.get(&id).await?.ok_or_else(no_such_job)?;
        if !job.may_be_canceled_by(principal) {
            let detail = "whoever may only watch a job does not cancel it";
            return Err(Problem::new(StatusCode::FORBIDDEN, "may-not-cancel", detail));
        }
        jobs.cancel(&id, Duration::ZERO).await?;
        Ok(())
    }

    /// The end of the job with this topic, if it has ended.
    pub(crate) async fn end(&self, topic: &str) -> Result<Option<Arc<Entry>>, Problem> {
        let service = self.service()?;
        let id = topic.rsplit('/').next().and_then(|id| id.parse().ok()).ok_or_else(no_such_job)?;
        let Some(jobs) = &service.jobs else { return Err(no_such_job()) };
        let unavailable = |fault: JobFault| Problem::unavailable(2, "jobs-unavailable", fault.to_string());
        let job = jobs.get(&id).await.map_err(unavailable)?.ok_or_else(no_such_job)?;
        Ok(jobs.end_of(&job).await?)
    }

    /// Has the ends of the jobs with these topics looked up, for somebody who holds `grants`.
    pub(crate) async fn recall(
        &self,
        mut recalled: Recalled,
        missing: Vec<TopicPattern>,
        grants: &Grants,
    ) -> Result<Recalled, Problem> {
        if let Some(jobs) = &self.service()?.jobs {
            recalled.ask(jobs, missing, grants).await?;
        }
        Ok(recalled)
    }

    /// The profile that is published to: the mount's own, else the one that a publish over HTTP goes to when it names none.
    fn profile(&self) -> Arc<Profile> {
        match (&self.publishing, self.mount.stream.profile.namespace()) {
            (Some(publishing), None) => publishing.default.clone(),
            _ => self.mount.stream.profile.clone(),
        }
    }
}
