//! From what a source says to a principal: implications, and the namespace of the profile.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidings::grant::EVERYONE;
use tidings::principal::PublishRights;
use tidings::{Grants, Implications, Principal, Timestamp, TopicPattern};

/// What a source says about who asks.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Who it is.
    pub id: String,
    /// What they hold, in the words of `home`.
    pub grants: Vec<TopicPattern>,
    /// Which login it is.
    pub session: Option<String>,
    /// Which key it is.
    pub key: Option<String>,
    /// When the credential runs out.
    pub expires_at: Option<Timestamp>,
    /// When it was made.
    pub issued_at: Option<Timestamp>,
    /// What it may publish, in the words of `home`.
    pub publish: PublishRights,
    /// Whether it is an operator's.
    pub operator: bool,
    /// What the app says of them: JSON.
    pub about: Option<Arc<str>>,
    /// Whose words the grants and topics are.
    pub home: Home,
}

impl Draft {
    /// Somebody in the words of this authenticator.
    pub fn new(id: impl Into<String>, grants: Vec<TopicPattern>) -> Self {
        Draft {
            id: id.into(),
            grants,
            session: None,
            key: None,
            expires_at: None,
            issued_at: None,
            publish: PublishRights::None,
            operator: false,
            about: None,
            home: Home::Own,
        }
    }
}

/// Whose words grants and topics are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Home {
    /// Those of the profile (or of `/v1`) that is asked.
    Own,
    /// Those of the profile with this namespace.
    Of(String),
    /// They are whole: `<namespace>/role/admin`.
    Whole,
}

/// The words of one authenticator.
#[derive(Clone, Debug, Default)]
pub struct Words {
    /// What stands before each of them in the log: the profile's namespace. None at `/v1`.
    pub namespace: Option<Arc<str>>,
    /// What follows from them.
    pub implications: Implications,
    /// For `/v1`: what follows from the words of each profile, by its namespace.
    pub profiles: BTreeMap<String, Implications>,
}

impl Words {
    /// Whether words of this home can be told here.
    pub fn know(&self, home: &Home) -> bool {
        match (home, &self.namespace) {
            (Home::Of(theirs), Some(ours)) => **theirs == **ours,
            _ => true,
        }
    }

    /// The principal: implications in the profile's own words first, then `everyone`, then the namespace before each.
    pub fn principal(&self, draft: Draft, source: &'static str) -> Principal {
        let own = self.namespace.as_deref();
        let none = Implications::default();
        let namespace = match (&draft.home, &self.namespace) {
            (Home::Of(theirs), None) => Some(theirs.as_str().into()),
            (_, own) => own.clone(),
        };
        let (grants, publish) = match &draft.home {
            Home::Own => (expand(&self.implications, own, draft.grants), prefix_rights(own, draft.publish)),
            Home::Of(theirs) => {
                let implications = match own {
                    Some(_) => &self.implications,
                    None => self.profiles.get(theirs).unwrap_or(&none),
                };
                let mut grants = expand(implications, Some(theirs), draft.grants);
                if own.is_none() {
                    grants.extend(pattern(EVERYONE));
                }
                (grants, prefix_rights(Some(theirs), draft.publish))
            }
            Home::Whole => (self.expand_whole(draft.grants), draft.publish),
        };
        Principal {
            id: draft.id.into(),
            namespace,
            grants: Grants::new(grants),
            session: draft.session.map(Arc::from),
            key: draft.key.map(Arc::from),
            expires_at: draft.expires_at,
            issued_at: draft.issued_at,
            source,
            publish,
            operator: draft.operator,
            about: draft.about,
        }
    }

    /// Whole words: those of a namespace we know get what follows from them.
    fn expand_whole(&self, grants: Vec<TopicPattern>) -> Vec<TopicPattern> {
        let mut rest = grants;
        let mut all = Vec::new();
        let own = self.namespace.as_deref();
        let profiles = self.profiles.iter().map(|(namespace, implications)| (namespace.as_str(), implications));
        for (namespace, implications) in own.map(|own| (own, &self.implications)).into_iter().chain(profiles) {
            let (theirs, others): (Vec<_>, Vec<_>) = rest.into_iter().partition(|g| local(namespace, g).is_some());
            rest = others;
            if !theirs.is_empty() || Some(namespace) == own {
                let theirs = theirs.iter().filter_map(|grant| local(namespace, grant)).collect();
                all.extend(expand(implications, Some(namespace), theirs));
            }
        }
        all.extend(if own.is_some() { rest } else { expand(&self.implications, None, rest) });
        all
    }
}

fn expand(implications: &Implications, namespace: Option<&str>, grants: Vec<TopicPattern>) -> Vec<TopicPattern> {
    let all = implications.expand(grants.into_iter().chain(pattern(EVERYONE)));
    all.iter().filter_map(|grant| prefix(namespace, grant)).collect()
}

fn pattern(text: &str) -> Option<TopicPattern> {
    text.parse().ok()
}

/// `grant` without the namespace, if it stands in it.
fn local(namespace: &str, grant: &TopicPattern) -> Option<TopicPattern> {
    pattern(grant.as_str().strip_prefix(namespace)?.strip_prefix('/')?)
}

/// `grant` in its namespace. One that becomes too long for a path is dropped: that shows less, never more.
fn prefix(namespace: Option<&str>, grant: &TopicPattern) -> Option<TopicPattern> {
    let Some(namespace) = namespace else { return Some(grant.clone()) };
    let whole = pattern(&format!("{namespace}/{grant}"));
    if whole.is_none() {
        tracing::warn!(namespace, %grant, "a grant is too long in its namespace and is dropped");
    }
    whole
}

fn prefix_rights(namespace: Option<&str>, rights: PublishRights) -> PublishRights {
    match (namespace, rights) {
        (None, rights) => rights,
        (_, PublishRights::None) => PublishRights::None,
        (Some(_), PublishRights::All) => PublishRights::Limited {
            topics: pattern("**").iter().filter_map(|all| prefix(namespace, all)).collect(),
            names: None,
        },
        (Some(_), PublishRights::Limited { topics, names }) => PublishRights::Limited {
            topics: topics.iter().filter_map(|topic| prefix(namespace, topic)).collect(),
            names,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(namespace: Option<&str>) -> Words {
        let table = || Implications::new([("role/admin".into(), vec!["role/viewer".into()])]).unwrap();
        Words {
            namespace: namespace.map(Into::into),
            implications: if namespace.is_some() { table() } else { Implications::default() },
            profiles: [("shelf".to_owned(), table())].into(),
        }
    }

    fn grants(words: &Words, home: Home, grants: &[&str]) -> String {
        let grants = grants.iter().map(|grant| grant.parse().unwrap()).collect();
        words.principal(Draft { home, ..Draft::new("u", grants) }, "test").grants.to_string()
    }

    #[test]
    fn implications_come_first_then_everyone_then_the_namespace() {
        assert_eq!(
            grants(&words(Some("shelf")), Home::Own, &["role/admin"]),
            "shelf/everyone shelf/role/admin shelf/role/viewer"
        );
        assert_eq!(grants(&words(None), Home::Own, &["role/admin"]), "everyone role/admin");
    }

    #[test]
    fn words_of_a_profile_mean_the_same_at_the_common_door() {
        assert_eq!(
            grants(&words(None), Home::Of("shelf".into()), &["role/admin"]),
            "everyone shelf/everyone shelf/role/admin shelf/role/viewer"
        );
        assert!(!words(Some("shelf")).know(&Home::Of("other".into())));
    }

    #[test]
    fn whole_words_are_not_put_into_a_namespace_twice() {
        assert_eq!(
            grants(&words(Some("shelf")), Home::Whole, &["shelf/role/admin", "other/x"]),
            "other/x shelf/everyone shelf/role/admin shelf/role/viewer"
        );
    }

    #[test]
    fn to_publish_everything_in_a_profile_is_to_publish_in_its_namespace() {
        let draft = Draft { publish: PublishRights::All, ..Draft::new("u", Vec::new()) };
        let principal = words(Some("shelf")).principal(draft, "test");
        assert!(principal.publish.allow("x", "shelf/a") && !principal.publish.allow("x", "other/a"));
    }

    #[test]
    fn whole_words_get_what_follows_from_them_at_the_common_door_too() {
        assert_eq!(
            grants(&words(None), Home::Whole, &["shelf/role/admin", "x"]),
            "everyone shelf/everyone shelf/role/admin shelf/role/viewer x"
        );
    }

    #[test]
    fn a_grant_too_long_for_its_namespace_is_dropped() {
        let long = "x".repeat(510);
        assert_eq!(grants(&words(Some("shelf")), Home::Own, &[&long]), "shelf/everyone");
    }
}
