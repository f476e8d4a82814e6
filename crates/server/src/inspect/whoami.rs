//! Who asks.

use serde::Serialize;
use tidings::{Principal, PublishRights};

use super::Inspector;

/// What somebody is told of themselves. Never the credential.
#[derive(Debug, Serialize)]
pub(super) struct Whoami<'a> {
    principal: &'a str,
    source: &'static str,
    operator: bool,
    /// Whether it may publish anything at all.
    publishes: bool,
    grants: Vec<&'a str>,
    profiles: &'a [String],
    dev: bool,
    version: &'static str,
}

impl Inspector {
    pub(super) fn whoami<'a>(&'a self, principal: &'a Principal) -> Whoami<'a> {
        Whoami {
            principal: &principal.id,
            source: principal.source,
            operator: principal.operator,
            publishes: principal.publish != PublishRights::None,
            grants: principal.grants.iter().map(|grant| grant.as_str()).collect(),
            profiles: &self.profiles,
            dev: self.dev,
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}
