//! Requests for Socket.IO: handshakes, polls, posts, and WebSockets (`protocol/README.md` §9).

use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header, request};
use tidings::{Filter, Principal};

use super::engine::{Refusal, Version};
use super::polling::Poller;
use crate::adopt;
use crate::door::{Admitted, Door, Handshake};
use crate::events::Mount;
use crate::handover::{Granted, Handed, Handover};
use crate::lane::STRANGERS_BYTES;
use crate::limiter::Permit;
use crate::problem::Problem;
use crate::publish::collect;
use crate::query;
use crate::service::Service;
use crate::session::{Session, Voice};
use crate::stream::Rejection;
use crate::websocket::handshake;
use crate::websocket::mount::can_upgrade;

/// How a request is refused.
enum Refused {
    /// In the words of the protocol.
    Protocol(Refusal),
    /// As anywhere.
    Problem(Problem),
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Refused::Protocol(refusal)
    }
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Refused::Problem(problem)
    }
}

/// What a request says of itself in its query.
struct Asked {
    is_websocket: bool,
    version: Version,
    sid: Option<String>,
}

impl Mount {
    /// Answers a request for Socket.IO.
    pub(crate) async fn socketio(
        &self,
        service: &Arc<Service>,
        door: &Arc<Door>,
        parts: &request::Parts,
        body: Body,
    ) -> Response {
        let response = match self.engine(service, door, parts, body).await {
            Ok(response) => response,
            Err(Refused::Problem(problem)) => self.refuse(problem),
            Err(Refused::Protocol(refusal)) => {
                let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
                (refusal.status(), headers, refusal.body()).into_response()
            }
        };
        self.readable(&parts.headers, response)
    }

    async fn engine(
        &self,
        service: &Arc<Service>,
        door: &Arc<Door>,
        parts: &request::Parts,
        body: Body,
    ) -> Result<Response, Refused> {
        let Asked { is_websocket, version, sid } = self.asked(parts)?;
        can_upgrade(self, service, parts).map_err(|problem| match problem.status {
            StatusCode::FORBIDDEN => Refused::Protocol(Refusal::Forbidden),
            _ => Refused::Problem(problem),
        })?;
        match (sid, is_websocket) {
            (None, true) => self.open_websocket(service, door, parts, version).await,
            (None, false) if parts.method != Method::GET => Err(Refusal::BadHandshakeMethod.into()),
            (None, false) => self.open_polling(service, door, parts, version).await,
            (Some(sid), true) => {
                let upgrade = handshake::check(parts).map_err(|_| Refusal::BadRequest)?;
                let poller = service.pollers.get(&sid, self.stream.id).ok_or(Refusal::SessionUnknown)?;
                let claim = poller.remote.claim().filter(|_| !poller.remote.is_closed()).ok_or(Refusal::BadRequest)?;
                let mut response = upgrade.accept(None);
                response.extensions_mut().insert(Handover::new(Handed::Move(claim)));
                Ok(response)
            }
            (Some(sid), false) => self.poll_or_post(service, parts, body, &sid).await,
        }
    }

    /// What the query says, in the order in which the reference server looks at it.
    fn asked(&self, parts: &request::Parts) -> Result<Asked, Refusal> {
        let settings = &self.stream.settings.socketio;
        let value = |wanted: &str| query::pairs(&parts.uri).find(|(name, _)| name == wanted).map(|(_, value)| value);
        let is_websocket = match value("transport").as_deref() {
            Some("websocket") if settings.websocket => true,
            Some("polling") if settings.polling => false,
            _ => return Err(Refusal::TransportUnknown),
        };
        let version = match value("EIO").as_deref() {
            Some("4") => Version::V4,
            Some("3") if settings.allow_eio3 => Version::V3,
            Some("3") => return Err(Refusal::UnsupportedVersion),
            _ => return Err(Refusal::BadRequest),
        };
        Ok(Asked { is_websocket, version, sid: value("sid").map(Into::into) })
    }

    /// A session, which belongs to nobody until the client has connected to a namespace, unless its handshake has to say who it is.
    async fn session(
        &self,
        service: &Arc<Service>,
        door: &Arc<Door>,
        parts: &request::Parts,
        version: Version,
    ) -> Result<(Box<Session>, Granted, String), Refused> {
        // What else the query asks for is looked at now: later, it could not be refused by a status.
        query::filter(&self.stream, &parts.uri, service.hub.limits().filter_topics)?;
        let handshake = Handshake::new(service, parts, &self.stream.settings.cors);
        let since = service.hub.moment();
        let admitted: Option<Admitted> = match self.stream.settings.socketio.reject {
            Rejection::Http => Some(door.admit(&handshake, None).await?),
            Rejection::ConnectError | Rejection::Event(..) | Rejection::Disconnect => None,
        };
        let session = Session::socketio(door.clone(), version, handshake, admitted);
        let sid = match &session.voice {
            Voice::SocketIo(speaker) => speaker.sid.clone(),
            Voice::Tidings => String::new(),
        };
        let granted = Granted {
            principal: Arc::new(Principal::new("", Default::default(), "anonymous")),
            filter: Filter::nothing(),
            stream: self.stream.clone(),
            start: service.hub.start(None),
            ends: Vec::new(),
            since,
            permit: service.limiter.nothing(),
        };
        Ok((session, granted, sid))
    }

    async fn open_websocket(
        &self,
        service: &Arc<Service>,
        door: &Arc<Door>,
        parts: &request::Parts,
        version: Version,
    ) -> Result<Response, Refused> {
        let upgrade = handshake::check(parts).map_err(|_| Refusal::BadRequest)?;
        let (session, granted, _) = self.session(service, door, parts, version).await?;
        let mut response = upgrade.accept(None);
        response.extensions_mut().insert(Handover::new(Handed::Conversation(granted, session)));
        Ok(response)
    }

    async fn open_polling(
        &self,
        service: &Arc<Service>,
        door: &Arc<Door>,
        parts: &request::Parts,
        version: Version,
    ) -> Result<Response, Refused> {
        let permit = self.permit(service, parts)?;
        let (session, granted, sid) = self.session(service, door, parts, version).await?;
        let Some(lanes) = &service.lanes else { return Err(Refusal::BadRequest.into()) };
        let remote = adopt::converse(lanes, Bytes::new(), granted, session, Some(permit), true);
        let agent = parts.headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
        let packets = super::polling::packets_an_answer(agent);
        let poller =
            service.pollers.insert(&sid, remote, version, self.stream.id, packets, !self.stream.settings.commands);
        let _polling = poller.begin_poll();
        poll(service, &poller, &sid).await
    }

    /// Counts a session that has no socket of its own as if it had.
    fn permit(&self, service: &Arc<Service>, parts: &request::Parts) -> Result<Permit, Problem> {
        let peer = crate::events::peer(parts);
        let address = service.limiter.shared(peer, parts.version, &parts.headers).unwrap_or(peer);
        service.limiter.accept(address).ok_or_else(|| {
            let detail = "there are as many connections as are allowed";
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-streams", detail).header(header::RETRY_AFTER, "30")
        })
    }

    async fn poll_or_post(
        &self,
        service: &Arc<Service>,
        parts: &request::Parts,
        body: Body,
        sid: &str,
    ) -> Result<Response, Refused> {
        let poller = service.pollers.get(sid, self.stream.id).ok_or(Refusal::SessionUnknown)?;
        match parts.method {
            Method::GET => {
                let Some(_polling) = poller.begin_poll() else {
                    // Two at once: which of them would be given what? The reference ends such a session too.
                    service.pollers.break_off(sid);
                    return Err(Refusal::BadRequest.into());
                };
                poll(service, &poller, sid).await
            }
            Method::POST if poller.remote.is_closed() => Err(Refusal::SessionUnknown.into()),
            Method::POST => {
                let Some(_posting) = poller.begin_post() else {
                    service.pollers.break_off(sid);
                    return Err(Refusal::BadRequest.into());
                };
                let limits = service.hub.limits();
                let most = match poller.remote.is_known() {
                    true => limits.message_bytes,
                    false => limits.message_bytes.min(STRANGERS_BYTES),
                };
                let limits = tidings::Limits { request_bytes: most, ..limits.clone() };
                let heard = match collect(body, &limits).await {
                    Ok(body) => std::str::from_utf8(&body).is_ok_and(|body| poller.post(body).is_ok()),
                    Err(problem) => {
                        service.pollers.break_off(sid);
                        return Err(problem.into());
                    }
                };
                if !heard {
                    service.pollers.break_off(sid);
                    return Err(Refusal::BadRequest.into());
                }
                let mut response = "ok".into_response();
                response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
                Ok(response)
            }
            _ => Err(Refusal::BadRequest.into()),
        }
    }
}

/// Answers a poll as soon as there is something. Whoever was given the last words is forgotten.
async fn poll(service: &Service, poller: &Poller, sid: &str) -> Result<Response, Refused> {
    let payload = poller.poll().await.ok_or(Refusal::SessionUnknown)?;
    if poller.remote.is_over() {
        service.pollers.forget(sid);
    }
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=UTF-8"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, payload).into_response())
}
