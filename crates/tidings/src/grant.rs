//! What principals hold, and who may see an event.

use std::fmt;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::topic::{self, InvalidTopic, Topic, TopicPattern};

/// The grant that every accepted principal holds, also an anonymous one.
pub const EVERYONE: &str = "everyone";

/// The grants any one of which lets a principal see an event. An empty audience is nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Audience(SmallVec<[Topic; 2]>);

impl Audience {
    /// The grants that may see it; duplicates are dropped.
    pub fn new(grants: impl IntoIterator<Item = Topic>) -> Self {
        let mut kept: SmallVec<[Topic; 2]> = SmallVec::new();
        for grant in grants {
            if !kept.contains(&grant) {
                kept.push(grant);
            }
        }
        Audience(kept)
    }

    /// The grants, each a path without wildcards.
    pub fn grants(&self) -> &[Topic] {
        &self.0
    }

    /// Whether nobody may see it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What a principal holds: paths, and patterns over paths (`library/*/admin`). Cheap to clone; equal sets compare equal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Grants {
    literals: Arc<[TopicPattern]>,
    patterns: Arc<[TopicPattern]>,
}

impl Grants {
    /// Sorts the grants and drops duplicates.
    pub fn new(grants: impl IntoIterator<Item = TopicPattern>) -> Self {
        let (mut literals, mut patterns): (Vec<_>, Vec<_>) = grants.into_iter().partition(TopicPattern::is_literal);
        for list in [&mut literals, &mut patterns] {
            list.sort();
            list.dedup();
        }
        Grants { literals: literals.into(), patterns: patterns.into() }
    }

    /// Reads each text as a grant.
    pub fn parse<'a>(grants: impl IntoIterator<Item = &'a str>) -> Result<Self, InvalidTopic> {
        Ok(Self::new(grants.into_iter().map(str::parse).collect::<Result<Vec<_>, _>>()?))
    }

    /// The grants without wildcards, sorted.
    pub fn literals(&self) -> &[TopicPattern] {
        &self.literals
    }

    /// The grants with wildcards, sorted.
    pub fn patterns(&self) -> &[TopicPattern] {
        &self.patterns
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &TopicPattern> {
        self.literals.iter().chain(self.patterns.iter())
    }

    /// Whether `grant`, a path without wildcards, is held.
    pub fn holds(&self, grant: &str) -> bool {
        self.literals.binary_search_by(|held| held.as_str().cmp(grant)).is_ok()
            || self.patterns.iter().any(|pattern| pattern.matches(grant))
    }

    /// The first grant of `audience` that is held: the reason why this principal may see the event.
    pub fn meets<'a>(&self, audience: &'a Audience) -> Option<&'a Topic> {
        audience.grants().iter().find(|grant| self.holds(grant.as_str()))
    }
}

impl fmt::Display for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, grant) in self.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            grant.fmt(f)?;
        }
        Ok(())
    }
}

/// Which grants bring others along: `role/admin` → `role/editor`, `library/{id}/admin` → `library/{id}/read`.
///
/// `{name}` stands for one segment and carries it over; it also carries a `*` over, so that who holds
/// `library/*/admin` gets `library/*/read`.
#[derive(Clone, Debug, Default)]
pub struct Implications(Vec<(String, Vec<String>)>);

/// An implication that can't be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidImplication {
    /// A path in it is malformed.
    #[error(transparent)]
    Path(#[from] InvalidTopic),
    /// The right side uses a name that the left side does not bind.
    #[error("`{{{name}}}` in {implied:?} is not bound by {from:?}")]
    Unbound {
        /// The name.
        name: String,
        /// The left side.
        from: String,
        /// The right side.
        implied: String,
    },
}

/// The name in `{name}`, if the segment is one.
fn variable(segment: &str) -> Option<&str> {
    segment.strip_prefix('{')?.strip_suffix('}')
}

/// The most grants one principal may come to hold through implications.
const MAX_EXPANDED: usize = 4096;

impl Implications {
    /// Checks the table and takes it.
    pub fn new(table: impl IntoIterator<Item = (String, Vec<String>)>) -> Result<Self, InvalidImplication> {
        let table: Vec<_> = table.into_iter().collect();
        for (from, implied) in &table {
            from.parse::<TopicPattern>()?;
            for to in implied {
                to.parse::<TopicPattern>()?;
                for name in to.split('/').filter_map(variable) {
                    if !from.split('/').any(|segment| variable(segment) == Some(name)) {
                        return Err(InvalidImplication::Unbound {
                            name: name.into(),
                            from: from.clone(),
                            implied: to.clone(),
                        });
                    }
                }
            }
        }
        Ok(Implications(table))
    }

    /// The grants and all that follow from them.
    pub fn expand(&self, grants: impl IntoIterator<Item = TopicPattern>) -> Grants {
        let mut all: Vec<TopicPattern> = grants.into_iter().collect();
        let mut next = 0;
        while next < all.len() && all.len() < MAX_EXPANDED {
            let grant = all[next].clone();
            next += 1;
            for (from, implied) in &self.0 {
                let Some(bound) = bind(from, grant.as_str()) else { continue };
                for to in implied {
                    let path: Vec<&str> = to
                        .split('/')
                        .map(|segment| match variable(segment) {
                            Some(name) => bound.iter().find(|(n, _)| *n == name).map_or(segment, |(_, value)| value),
                            None => segment,
                        })
                        .collect();
                    if let Ok(path) = path.join("/").parse::<TopicPattern>()
                        && !all.contains(&path)
                    {
                        all.push(path);
                    }
                }
            }
        }
        Grants::new(all)
    }
}

/// The values of the variables of `from` when it covers all of `grant`.
fn bind<'a>(from: &'a str, grant: &'a str) -> Option<SmallVec<[(&'a str, &'a str); 4]>> {
    let mut bound = SmallVec::new();
    let mut given = grant.split('/');
    for wanted in from.split('/') {
        let value = given.next()?;
        match variable(wanted) {
            // `**` is many segments and so can't stand for one.
            Some(_) if value == "**" => return None,
            Some(name) => bound.push((name, value)),
            None if topic::matches(wanted, value) || wanted == value => {}
            None => return None,
        }
    }
    given.next().is_none().then_some(bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(list: &[&str]) -> Grants {
        Grants::parse(list.iter().copied()).unwrap()
    }

    fn implications() -> Implications {
        Implications::new([
            ("role/admin".into(), vec!["role/editor".into(), "library/*/admin".into()]),
            ("role/editor".into(), vec!["role/viewer".into()]),
            ("library/{id}/admin".into(), vec!["library/{id}/read".into()]),
        ])
        .unwrap()
    }

    #[test]
    fn roles_imply_the_lower_ones_and_an_admin_reads_every_library() {
        let admin = implications().expand(["role/admin".parse().unwrap()]);
        assert!(admin.holds("role/viewer") && admin.holds("library/lib9/read"));
        let one = implications().expand(["library/lib1/admin".parse().unwrap()]);
        assert_eq!(one, grants(&["library/lib1/admin", "library/lib1/read"]));
    }

    #[test]
    fn may_see_is_that_the_two_sets_meet() {
        let audience = Audience::new(["library/lib1/read".parse().unwrap()]);
        assert!(grants(&["library/*/read"]).meets(&audience).is_some());
        assert!(grants(&["library/lib2/read", "everyone"]).meets(&audience).is_none());
        assert!(grants(&["**"]).meets(&Audience::default()).is_none(), "an empty audience is nobody");
    }

    #[test]
    fn a_variable_that_nothing_binds_is_an_error() {
        let error = Implications::new([("role/admin".into(), vec!["library/{id}/read".into()])]).unwrap_err();
        assert!(error.to_string().contains("{id}"), "{error}");
    }

    #[test]
    fn implications_that_go_round_end() {
        let round = Implications::new([("a".into(), vec!["b".into()]), ("b".into(), vec!["a".into()])]).unwrap();
        assert_eq!(round.expand(["a".parse().unwrap()]), grants(&["a", "b"]));
    }
}
