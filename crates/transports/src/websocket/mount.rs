//! `GET` of a WebSocket: from a request to a conversation (`protocol/README.md` §8).

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use http::{StatusCode, request};
use tidings::{Filter, job};

use super::handshake::{self, Upgrade};
use crate::door::{Admitted, Door, Handshake};
use crate::events::{Mount, cut_off};
use crate::handover::{Granted, Handed, Handover};
use crate::problem::Problem;
use crate::query;
use crate::service::Service;
use crate::session::{About, Session};
use crate::stream::StreamSettings;

/// The subprotocol of our messages.
pub const PROTOCOL: &str = "tidings.v1";
/// What stands before a token that is offered as a subprotocol.
pub const BEARER: &str = "bearer.";

impl Mount {
    /// Answers a WebSocket handshake.
    pub(crate) async fn websocket(&self, service: &Service, door: &Arc<Door>, parts: &request::Parts) -> Response {
        let response = match self.upgraded(service, door, parts).await {
            Ok(response) => response,
            Err(problem) => self.refuse(problem),
        };
        self.readable(&parts.headers, response)
    }

    async fn upgraded(&self, service: &Service, door: &Arc<Door>, parts: &request::Parts) -> Result<Response, Problem> {
        let upgrade = handshake::check(parts)?;
        can_upgrade(self, service, parts)?;
        let settings = &self.stream.settings;
        let asks = settings.job.is_none() && (query::asks(&self.stream, &parts.uri) || !settings.commands);
        let mut asked = match asks {
            true => {
                let filter = query::filter(&self.stream, &parts.uri, service.hub.limits().filter_topics)?;
                Some(Box::new((filter, query::resume(&parts.headers, &parts.uri))))
            }
            false => None,
        };
        let handshake = Handshake::new(service, parts, &settings.cors);
        let Admitted { mut principal, since, permit } = door.admit(&handshake, None).await?;
        let cursor = asked.as_ref().and_then(|asked| asked.1.as_deref());
        service.hub.arrive(cursor).await.map_err(|_| cut_off())?;
        // Before the job is looked at: what becomes of it from here on is read on from there.
        let start = service.hub.start(None);
        let mut about = None;
        if let Some(one) = &settings.job {
            let watched = self.watched(service, parts, principal.clone(), one).await?;
            let items_after = match &service.jobs {
                Some(jobs) if tells_items(settings) => Some(jobs.begin_of(&watched.job).await?.unwrap_or(start.after)),
                _ => None,
            };
            let topic = watched.job.topic();
            about = Some(Box::new(About { topic, who: principal, end: watched.end, items_after }));
            principal = watched.principal;
            asked = Some(Box::new((watched.filter, None)));
        }
        let protocol = choose(&upgrade, settings.bare_token);
        let mut session = Session::tidings(door.clone(), handshake.peer);
        (session.asked, session.about) = (asked, about);
        let granted = Granted {
            principal,
            filter: Filter::nothing(),
            stream: self.stream.clone(),
            start,
            ends: Vec::new(),
            since,
            permit,
        };
        let mut response = upgrade.accept(protocol);
        response.extensions_mut().insert(Handover::new(Handed::Conversation(granted, session)));
        Ok(response)
    }
}

/// Whether the items of a job are told here: then all of them, also those from before its client was ready.
fn tells_items(settings: &StreamSettings) -> bool {
    let is_told = |names: &Vec<Arc<str>>| names.iter().any(|name| &**name == job::ITEM_EVENT);
    settings.dialect.is_some() && settings.names.as_ref().is_none_or(is_told)
}

/// Whether this request may become a connection here at all.
pub(crate) fn can_upgrade(mount: &Mount, service: &Service, parts: &request::Parts) -> Result<(), Problem> {
    if service.lanes.is_none() {
        let detail = "this program has no lanes, which hold such connections: start it with `Lanes::start`";
        return Err(Problem::new(StatusCode::NOT_IMPLEMENTED, "no-lanes", detail));
    }
    if !handshake::is_origin_allowed(&mount.stream.settings.cors, &parts.headers) {
        let detail = "pages of this origin may not connect here: add it to `cors`";
        return Err(Problem::new(StatusCode::FORBIDDEN, "foreign-origin", detail));
    }
    Ok(())
}

/// The subprotocol to go on with. A token is echoed only where nothing else is offered: a browser fails a handshake that
/// chooses none of those it offered.
fn choose(upgrade: &Upgrade, bare_token: bool) -> Option<&str> {
    let offered = &upgrade.protocols;
    if let Some(ours) = offered.iter().find(|protocol| *protocol == PROTOCOL) {
        return Some(ours);
    }
    match &offered[..] {
        [only] if only.starts_with(BEARER) => Some(only),
        _ if bare_token => offered.iter().find(|protocol| !protocol.starts_with(BEARER)).map(String::as_str),
        _ => None,
    }
}

/// An answer that goes on as a connection over a server that is not ours: it lets us know when it has switched.
pub(crate) fn over_foreign_server(service: &Arc<Service>, parts: &mut request::Parts, response: &mut Response) {
    let Some(handover) = response.extensions().get::<Handover>().cloned() else { return };
    if handover.is_stream() || parts.extensions.get::<crate::events::Peer>().is_some() {
        // Our own listener takes the socket itself.
        return;
    }
    let (Some(upgrade), Some(lanes)) = (parts.extensions.remove::<hyper::upgrade::OnUpgrade>(), service.lanes.clone())
    else {
        return;
    };
    let Some(permit) = service.limiter.accept(crate::events::peer(parts)) else {
        let detail = "there are as many connections as are allowed";
        let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-streams", detail);
        *response = problem.header(http::header::RETRY_AFTER, "30").into_response();
        return;
    };
    tokio::spawn(async move {
        if let Ok(upgraded) = upgrade.await
            && let Some(handed) = handover.take()
        {
            let io = hyper_util::rt::TokioIo::new(upgraded);
            crate::adopt::remote(&lanes, handed, bytes::Bytes::new(), io, Vec::new(), Some(permit)).await;
        }
    });
}
