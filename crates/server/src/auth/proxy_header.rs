//! A reverse proxy that has logged the user in says who it is.

use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderName;
use ipnet::IpNet;
use serde_json::json;
use tidings::Principal;
use tidings_transports::Request;

use super::AuthError;
use super::cache::Cache;
use super::identity::Identity;
use super::settings::ProxyHeaderSettings;
use super::source::{Verdict, invalid, unclear};
use super::words::Words;

/// The most users whose principal is shared.
const REMEMBERED: usize = 4_096;

/// A trusted header as a source.
pub struct ProxyHeader {
    header: HeaderName,
    groups: Option<(HeaderName, String)>,
    trusted: Vec<IpNet>,
    identity: Identity,
    words: Arc<Words>,
    known: Cache<(String, Vec<String>), Arc<Principal>>,
}

impl ProxyHeader {
    /// Checks the settings that stand at `path`.
    pub fn new(settings: &ProxyHeaderSettings, path: &str, words: &Arc<Words>) -> Result<Self, AuthError> {
        let name = |text: &str, field: &str| {
            text.parse::<HeaderName>()
                .map_err(|_| AuthError::new(format!("{path}.{field}"), format!("{text:?} is not a header name")))
        };
        if settings.trusted.is_empty() {
            return Err(AuthError::new(
                format!("{path}.trusted"),
                "it must name the addresses of the proxies; otherwise nobody's header could be believed",
            ));
        }
        if settings.groups_separator.is_empty() {
            return Err(AuthError::new(format!("{path}.groups_separator"), "it is empty"));
        }
        if settings.principal.about.is_some() {
            return Err(AuthError::new(
                format!("{path}.principal.about"),
                "a proxy's header says nothing of a user but who it is",
            ));
        }
        let groups = settings.groups_header.as_ref().map(|groups| name(groups, "groups_header")).transpose()?;
        Ok(ProxyHeader {
            header: name(&settings.header, "header")?,
            groups: groups.map(|name| (name, settings.groups_separator.clone())),
            trusted: networks(&settings.trusted, &format!("{path}.trusted"))?,
            identity: Identity::new(&settings.principal, &["user", "groups"], path, &["{user}"], &[])?,
            words: words.clone(),
            known: Cache::new(REMEMBERED),
        })
    }

    /// Whom the proxy names. From any other peer the header counts as not there: anybody can write it.
    pub fn check(&self, request: &Request<'_>) -> Verdict {
        if !is_in(&self.trusted, request.peer) {
            return Verdict::Absent;
        }
        let mut users = request.headers.get_all(&self.header).iter();
        let Some(user) = users.next() else { return Verdict::Absent };
        // A second one may be the client's own, which the proxy let through.
        if users.next().is_some() {
            return Verdict::Refused(unclear("the header with the user is there more than once"));
        }
        let Ok(user) = std::str::from_utf8(user.as_bytes()) else {
            return Verdict::Refused(invalid("the header with the user is not UTF-8"));
        };
        let user = user.trim();
        if user.is_empty() {
            return Verdict::Absent;
        }
        let mut groups = Vec::new();
        if let Some((header, separator)) = &self.groups {
            for value in request.headers.get_all(header) {
                let Ok(value) = std::str::from_utf8(value.as_bytes()) else {
                    return Verdict::Refused(invalid("the header with the groups is not UTF-8"));
                };
                groups.extend(value.split(separator.as_str()).map(|g| g.trim().to_owned()).filter(|g| !g.is_empty()));
            }
        }
        let credential = (user.to_owned(), groups);
        if let Some(principal) = self.known.get(&credential) {
            return Verdict::Accepted(principal);
        }
        match self.identity.draft(&json!({ "user": credential.0, "groups": credential.1 })) {
            None => Verdict::Refused(invalid("the header with the user names nobody")),
            Some(draft) => {
                let principal = Arc::new(self.words.principal(draft, "proxy-header"));
                self.known.insert(credential, principal.clone());
                Verdict::Accepted(principal)
            }
        }
    }
}

/// Reads networks (`10.0.0.0/8`) and single addresses.
pub fn networks(texts: &[String], path: &str) -> Result<Vec<IpNet>, AuthError> {
    let read = |(index, text): (usize, &String)| {
        text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).map_err(|_| {
            AuthError::new(format!("{path}[{index}]"), format!("{text:?} is not a network like 10.0.0.0/8"))
        })
    };
    texts.iter().enumerate().map(read).collect()
}

/// Whether one of the networks holds `peer`. An IPv4 address that came in by an IPv6 socket counts as what it is.
pub fn is_in(networks: &[IpNet], peer: IpAddr) -> bool {
    let peer = peer.to_canonical();
    networks.iter().any(|network| network.contains(&peer))
}
