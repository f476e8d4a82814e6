//! Who asks.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::grant::Grants;

/// Who asks: made by an auth source, shared by every connection that came with the same credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Who it is, in the app's own words: a user id, a key's name; `anonymous` for nobody.
    pub id: Arc<str>,
    /// Whose id that is: the namespace of the profile at whose door they came, none at `/v1`. `u1` of one app is not `u1` of
    /// another.
    pub namespace: Option<Arc<str>>,
    /// What they hold, implications included.
    pub grants: Grants,
    /// Which login this is, where the source knows: revoking it ends just this one. Never the credential itself.
    pub session: Option<Arc<str>>,
    /// Which API key this is, by its public id.
    pub key: Option<Arc<str>>,
    /// When the credential runs out. Its streams end then.
    pub expires_at: Option<Timestamp>,
    /// When the credential was made, where the source knows; a revocation of the principal counts for what is older.
    pub issued_at: Option<Timestamp>,
    /// Which auth source said so: `api-key`, `jwt`, `forward`, `proxy-header`, `ticket`, `anonymous`.
    pub source: &'static str,
    /// What it may publish.
    pub publish: PublishRights,
    /// Whether it may revoke, explain, make tickets for others and look into the program.
    pub operator: bool,
    /// What their app says of them, one JSON value: shown to themselves alone, where a profile greets them with it.
    pub about: Option<Arc<str>>,
}

/// What a principal may publish.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PublishRights {
    /// Nothing.
    #[default]
    None,
    /// Only these topics and names.
    Limited {
        /// Any of these topics.
        topics: Arc<[crate::topic::TopicPattern]>,
        /// Any of these names; `None` is every name.
        names: Option<Arc<[Arc<str>]>>,
    },
    /// Everything.
    All,
}

impl PublishRights {
    /// Whether an event of this name on this topic may be published.
    pub fn allow(&self, name: &str, topic: &str) -> bool {
        match self {
            PublishRights::None => false,
            PublishRights::All => true,
            PublishRights::Limited { topics, names } => {
                topics.iter().any(|pattern| pattern.matches(topic))
                    && names.as_ref().is_none_or(|names| names.iter().any(|n| **n == *name))
            }
        }
    }
}

impl Principal {
    /// A principal that holds `grants` and nothing else.
    pub fn new(id: &str, grants: Grants, source: &'static str) -> Self {
        Principal {
            id: id.into(),
            namespace: None,
            grants,
            session: None,
            key: None,
            expires_at: None,
            issued_at: None,
            source,
            publish: PublishRights::None,
            operator: false,
            about: None,
        }
    }

    /// Whether the credential has run out.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

/// Whose streams a revocation ends.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Revocation {
    /// Who, or which credential of theirs.
    pub of: RevokedIdentity,
    /// In which profile alone, by its namespace. None is everywhere, whoever has this id there.
    pub namespace: Option<Arc<str>>,
}

/// What a revocation names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RevokedIdentity {
    /// Every stream of this principal.
    Principal(Arc<str>),
    /// The streams of this login.
    Session(Arc<str>),
    /// The streams that came with this API key.
    Key(Arc<str>),
}

impl Revocation {
    /// Of every stream of a principal, everywhere.
    pub fn principal(id: impl Into<Arc<str>>) -> Self {
        Revocation { of: RevokedIdentity::Principal(id.into()), namespace: None }
    }

    /// Of the streams of a login, everywhere.
    pub fn session(id: impl Into<Arc<str>>) -> Self {
        Revocation { of: RevokedIdentity::Session(id.into()), namespace: None }
    }

    /// Of the streams that came with an API key, everywhere.
    pub fn key(id: impl Into<Arc<str>>) -> Self {
        Revocation { of: RevokedIdentity::Key(id.into()), namespace: None }
    }

    /// The same in one profile alone.
    pub fn within(self, namespace: Option<Arc<str>>) -> Self {
        Revocation { namespace, ..self }
    }

    /// Whether it concerns `principal`.
    pub fn covers(&self, principal: &Principal) -> bool {
        if self.namespace.is_some() && self.namespace != principal.namespace {
            return false;
        }
        match &self.of {
            RevokedIdentity::Principal(id) => *id == principal.id,
            RevokedIdentity::Session(session) => principal.session.as_ref() == Some(session),
            RevokedIdentity::Key(key) => principal.key.as_ref() == Some(key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revocation_in_one_profile_leaves_the_same_id_in_another_alone() {
        let who = |namespace: Option<&str>| Principal {
            namespace: namespace.map(Into::into),
            session: Some("s".into()),
            key: Some("k".into()),
            ..Principal::new("u1", Grants::default(), "test")
        };
        for everywhere in [Revocation::principal("u1"), Revocation::session("s"), Revocation::key("k")] {
            let in_a = everywhere.clone().within(Some("a".into()));
            for (namespace, covered) in [(Some("a"), true), (Some("b"), false), (None, false)] {
                assert_eq!(in_a.covers(&who(namespace)), covered, "{namespace:?}");
                assert!(everywhere.covers(&who(namespace)), "{namespace:?}");
            }
        }
    }
}
