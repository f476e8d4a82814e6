//! How what a source knows becomes a principal: the templates of the settings, checked once.

use std::sync::Arc;

use serde_json::Value;
use tidings::TopicPattern;
use tidings::principal::PublishRights;

use super::AuthError;
use super::settings::{GrantSettings, OneOrMany, PrincipalSettings, PublishSettings};
use super::template::{Condition, Escape, Template};
use super::words::Draft;

/// The longest id and session: an id is a name, and each connection holds one.
const MAX_ID: usize = 256;

/// The most bytes of what the app says of somebody: each principal that is connected holds them.
const MAX_ABOUT: usize = 64 << 10;

/// Templates of a principal.
#[derive(Clone, Debug)]
pub struct Identity {
    id: Vec<Template>,
    grants: Vec<Rule>,
    session: Vec<Template>,
    publish: Publish,
    operator: Option<Condition>,
    about: Option<Vec<String>>,
}

#[derive(Clone, Debug)]
struct Rule {
    grant: Template,
    when: Option<Condition>,
    unless: Option<Condition>,
}

#[derive(Clone, Debug)]
enum Publish {
    None,
    All,
    Limited { topics: Vec<Template>, names: Option<Vec<Template>> },
}

impl Identity {
    /// Checks the settings that stand at `path`. Paths in them start at one of `roots`; `id` and `session` are
    /// what counts where none is set.
    pub fn new(
        settings: &PrincipalSettings,
        roots: &[&str],
        path: &str,
        id: &[&str],
        session: &[&str],
    ) -> Result<Self, AuthError> {
        let path = format!("{path}.principal");
        let one_or_many = |set: &OneOrMany<String>, default: &[&str], name: &str| {
            let set: Vec<&str> =
                if set.0.is_empty() { default.to_vec() } else { set.0.iter().map(String::as_str).collect() };
            set.iter()
                .map(|text| Template::parse(text, roots).map_err(|why| AuthError::new(format!("{path}.{name}"), why)))
                .collect::<Result<Vec<_>, _>>()
        };
        let ids = one_or_many(&settings.id, id, "id")?;
        if ids.is_empty() {
            return Err(AuthError::new(format!("{path}.id"), "it must say who it is, with a template"));
        }
        let condition = |table: &Option<_>, path: &str| {
            table.as_ref().map(|t| Condition::parse(t, roots).map_err(|why| AuthError::new(path, why))).transpose()
        };
        let grants = settings.grants.iter().enumerate().map(|(index, GrantSettings { grant, when, unless })| {
            let path = format!("{path}.grants[{index}]");
            Ok(Rule {
                grant: path_template(grant, roots, &path)?,
                when: condition(when, &format!("{path}.when"))?,
                unless: condition(unless, &format!("{path}.unless"))?,
            })
        });
        Ok(Identity {
            id: ids,
            grants: grants.collect::<Result<_, AuthError>>()?,
            session: one_or_many(&settings.session, session, "session")?,
            publish: Publish::new(&settings.publish, roots, &format!("{path}.publish"))?,
            operator: condition(&settings.operator, &format!("{path}.operator"))?,
            about: settings.about.as_ref().map(|text| about_path(text, roots, &path)).transpose()?,
        })
    }

    /// Whether a template starts at `root`.
    pub fn uses(&self, root: &str) -> bool {
        if self.about.as_ref().is_some_and(|path| path[0] == root) {
            return true;
        }
        let all = self.id.iter().chain(&self.session).chain(self.grants.iter().map(|rule| &rule.grant));
        all.into_iter().any(|template| template.uses(root))
    }

    /// Who that is, or `None` when it names nobody.
    pub fn draft(&self, root: &Value) -> Option<Draft> {
        let id = self.id.iter().find_map(|id| id.first(root)).filter(|id| is_name(id))?;
        let held = |rule: &&Rule| {
            rule.when.as_ref().is_none_or(|when| when.holds(root))
                && !rule.unless.as_ref().is_some_and(|unless| unless.holds(root))
        };
        let grants = self.grants.iter().filter(held).flat_map(|rule| patterns(&rule.grant, root)).collect();
        Some(Draft {
            session: self.session.iter().find_map(|session| session.first(root)).filter(|session| is_name(session)),
            publish: self.publish.rights(root),
            operator: self.operator.as_ref().is_some_and(|when| when.holds(root)),
            about: self.about.as_ref().and_then(|path| about(path, root)),
            ..Draft::new(id, grants)
        })
    }
}

impl Publish {
    fn new(settings: &PublishSettings, roots: &[&str], path: &str) -> Result<Self, AuthError> {
        let PublishSettings::Limited(limited) = settings else {
            return Ok(if *settings == PublishSettings::All { Publish::All } else { Publish::None });
        };
        let every = vec!["**".to_owned()];
        let topics = limited.topics.as_ref().unwrap_or(&every).iter().enumerate();
        let names = limited.names.as_ref().map(|names| {
            let read = |(index, name): (usize, &String)| {
                Template::parse(name, roots).map_err(|why| AuthError::new(format!("{path}.names[{index}]"), why))
            };
            names.iter().enumerate().map(read).collect::<Result<_, _>>()
        });
        Ok(Publish::Limited {
            topics: topics
                .map(|(index, topic)| path_template(topic, roots, &format!("{path}.topics[{index}]")))
                .collect::<Result<_, _>>()?,
            names: names.transpose()?,
        })
    }

    fn rights(&self, root: &Value) -> PublishRights {
        match self {
            Publish::None => PublishRights::None,
            Publish::All => PublishRights::All,
            Publish::Limited { topics, names } => PublishRights::Limited {
                topics: topics.iter().flat_map(|topic| patterns(topic, root)).collect(),
                names: names
                    .as_ref()
                    .map(|names| names.iter().flat_map(|name| name.fill(root, Escape::None)).map(Into::into).collect()),
            },
        }
    }
}

/// Rights without templates.
pub fn rights(settings: &PublishSettings, path: &str) -> Result<PublishRights, AuthError> {
    Ok(Publish::new(settings, &[], path)?.rights(&Value::Null))
}

/// Grants without templates.
pub fn grants(settings: &[String], path: &str) -> Result<Vec<TopicPattern>, AuthError> {
    let read = |(index, grant): (usize, &String)| {
        grant.parse().map_err(|error| AuthError::new(format!("{path}[{index}]"), format!("{error}")))
    };
    settings.iter().enumerate().map(read).collect()
}

fn about_path(text: &str, roots: &[&str], path: &str) -> Result<Vec<String>, AuthError> {
    let wrong = |why| AuthError::new(format!("{path}.about"), why);
    let template = Template::parse(text, roots).map_err(wrong)?;
    let single = template.single_path().map(<[String]>::to_vec);
    single.ok_or_else(|| wrong(format!("{text:?} must be one path and nothing else, like \"{{{}}}\"", roots[0])))
}

/// The value at the path as JSON; none if there is none, or too much.
fn about(path: &[String], root: &Value) -> Option<Arc<str>> {
    let value = path.iter().try_fold(root, |value, name| value.get(name)).filter(|value| !value.is_null())?;
    let text = value.to_string();
    if text.len() > MAX_ABOUT {
        tracing::debug!(bytes = text.len(), most = MAX_ABOUT, "what is said of a principal is too long and left out");
        return None;
    }
    Some(text.into())
}

fn path_template(text: &str, roots: &[&str], path: &str) -> Result<Template, AuthError> {
    let template = Template::parse(text, roots).map_err(|why| AuthError::new(path, why))?;
    match template.sample().parse::<TopicPattern>() {
        Ok(_) => Ok(template),
        Err(error) => Err(AuthError::new(path, format!("{text:?} can't become a path: {error}"))),
    }
}

/// What it yields that is a path. What is not is nothing that anybody could hold.
fn patterns(template: &Template, root: &Value) -> Vec<TopicPattern> {
    template.fill(root, Escape::Segment).iter().filter_map(|text| text.parse().ok()).collect()
}

fn is_name(text: &str) -> bool {
    text.len() <= MAX_ID && !text.contains(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn settings(json: Value) -> PrincipalSettings {
        serde_json::from_value(json).unwrap()
    }

    fn identity(json: Value) -> Identity {
        Identity::new(&settings(json), &["claims"], "sources[0]", &["{claims.sub}"], &[]).unwrap()
    }

    #[test]
    fn the_first_id_that_finds_something_counts() {
        let identity = identity(json!({"id": ["{claims.user.id}", "guest"]}));
        assert_eq!(identity.draft(&json!({"claims": {"user": {"id": 7}}})).unwrap().id, "7");
        assert_eq!(identity.draft(&json!({"claims": {}})).unwrap().id, "guest");
    }

    #[test]
    fn who_is_not_named_is_nobody() {
        let identity = identity(json!({}));
        for sub in [json!(""), json!(null), json!({}), json!("a\nb"), json!("x".repeat(257))] {
            assert!(identity.draft(&json!({"claims": {"sub": sub}})).is_none(), "{sub}");
        }
    }

    #[test]
    fn a_grant_with_a_condition_is_held_only_when_it_holds() {
        let identity = identity(json!({
            "grants": ["user/{claims.sub}", {"grant": "role/admin", "when": {"claims.admin": true}},
                {"grant": "role/guest", "unless": {"claims.admin": true}}],
            "operator": {"claims.admin": true},
            "publish": {"topics": ["job/{claims.job}"], "names": ["progress"]},
        }));
        let held = |claims| identity.draft(&json!({"claims": claims})).unwrap();
        let texts = |draft: &Draft| draft.grants.iter().map(|g| g.to_string()).collect::<Vec<_>>().join(" ");
        let admin = held(json!({"sub": "u", "admin": true, "job": "j1"}));
        assert_eq!(texts(&admin), "user/u role/admin");
        assert!(admin.operator && admin.publish.allow("progress", "job/j1") && !admin.publish.allow("x", "job/j1"));
        let other = held(json!({"sub": "u"}));
        assert_eq!(texts(&other), "user/u role/guest");
        assert!(!other.operator && !other.publish.allow("progress", "job/j1"));
    }

    #[test]
    fn what_is_said_of_somebody_is_one_value_of_any_kind_or_nothing() {
        let about = |template: &str, claims: Value| {
            let identity = identity(json!({"id": "u", "about": template}));
            identity.draft(&json!({"claims": claims})).unwrap().about.map(|text| text.to_string())
        };
        let claims = json!({"user": {"name": "Ann", "libraries": [1, 2]}});
        assert_eq!(about("{claims.user}", claims.clone()).unwrap(), r#"{"libraries":[1,2],"name":"Ann"}"#);
        assert_eq!(about("{claims.user.libraries}", claims.clone()).unwrap(), "[1,2]");
        assert_eq!(about("{claims.user.name}", claims.clone()).unwrap(), "\"Ann\"");
        assert_eq!(about("{claims.nobody}", claims), None);
        assert_eq!(about("{claims.user}", json!({"user": null})), None);
        let long = |bytes: usize| json!({"user": "x".repeat(bytes - 2)});
        assert_eq!(about("{claims.user}", long(MAX_ABOUT)).unwrap().len(), MAX_ABOUT);
        assert_eq!(about("{claims.user}", long(MAX_ABOUT + 1)), None);
    }

    #[test]
    fn a_mistake_is_named_with_its_place() {
        for (json, place) in [
            (json!({"id": "{claim.sub}"}), "sources[0].principal.id"),
            (json!({"grants": ["a", "b//{claims.x}"]}), "sources[0].principal.grants[1]"),
            (json!({"grants": [{"grant": "a", "when": {"x": 1}}]}), "sources[0].principal.grants[0].when"),
            (json!({"publish": {"topics": ["/"]}}), "sources[0].principal.publish.topics[0]"),
            (json!({"about": "{claims.a}{claims.b}"}), "sources[0].principal.about"),
            (json!({"about": "{claims.a|keys}"}), "sources[0].principal.about"),
            (json!({"about": "x"}), "sources[0].principal.about"),
            (json!({"about": "{body}"}), "sources[0].principal.about"),
        ] {
            let error = Identity::new(&settings(json), &["claims"], "sources[0]", &["x"], &[]).unwrap_err();
            assert_eq!(error.path, place, "{error}");
        }
    }
}
