//! Paths and patterns by number, and which of them cover a given path.

use std::collections::HashMap;

use slab::Slab;

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// The number of a path in an index.
pub(crate) type PathId = u32;

/// Paths and patterns, each counted as often as it was added.
///
/// A path without wildcards is found by one hash; patterns by walking a tree of their segments, which takes as many
/// steps as there are ways to read the path.
#[derive(Debug, Default)]
pub(crate) struct PathIndex {
    paths: Slab<Counted>,
    literals: Map<Box<str>, PathId>,
    patterns: Node,
}

#[derive(Debug)]
struct Counted {
    uses: u32,
}

/// What stands at one place of a pattern.
#[derive(Debug, Default)]
struct Node {
    segments: Map<Box<str>, Node>,
    star: Option<Box<Node>>,
    /// The pattern that ends here.
    ends: Option<PathId>,
    /// The pattern that ends here with `**`.
    rest: Option<PathId>,
}

impl PathIndex {
    /// The number of `path`, new or not.
    pub(crate) fn add(&mut self, path: &str) -> PathId {
        let place = if path.contains('*') {
            self.patterns.place(path)
        } else {
            match self.literals.get(path) {
                Some(&id) => {
                    self.paths[id as usize].uses += 1;
                    return id;
                }
                None => {
                    let id = number(self.paths.insert(Counted { uses: 1 }));
                    self.literals.insert(path.into(), id);
                    return id;
                }
            }
        };
        match place {
            Some(id) => {
                self.paths[*id as usize].uses += 1;
                *id
            }
            None => *place.insert(number(self.paths.insert(Counted { uses: 1 }))),
        }
    }

    /// Takes back one use of `path`; with the last one it is gone.
    pub(crate) fn remove(&mut self, path: &str) {
        let pattern = path.contains('*');
        let found = if pattern { *self.patterns.place(path) } else { self.literals.get(path).copied() };
        let Some(id) = found else { return };
        let counted = &mut self.paths[id as usize];
        counted.uses -= 1;
        if counted.uses > 0 {
            return;
        }
        self.paths.remove(id as usize);
        if pattern {
            *self.patterns.place(path) = None;
            self.patterns.prune(path);
        } else {
            self.literals.remove(path);
        }
    }

    /// Calls `found` with the number of each path or pattern that covers `path`.
    pub(crate) fn matching(&self, path: &str, mut found: impl FnMut(PathId)) {
        if let Some(&id) = self.literals.get(path) {
            found(id);
        }
        self.patterns.walk(Some(path), &mut found);
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.paths.is_empty() && self.literals.is_empty() && self.patterns.is_leaf()
    }
}

fn number(id: usize) -> PathId {
    PathId::try_from(id).expect("an index holds fewer than 2^32 paths")
}

/// The first segment and what follows it.
fn first(path: &str) -> (&str, Option<&str>) {
    match path.split_once('/') {
        Some((segment, rest)) => (segment, Some(rest)),
        None => (path, None),
    }
}

impl Node {
    /// Where the number of `pattern` is kept.
    fn place(&mut self, pattern: &str) -> &mut Option<PathId> {
        let (segment, rest) = first(pattern);
        if segment == "**" {
            return &mut self.rest;
        }
        let next = match segment {
            "*" => self.star.get_or_insert_default(),
            // Looked up first, since `entry` would need an owned key each time.
            _ if self.segments.contains_key(segment) => {
                self.segments.get_mut(segment).expect("looked up in the line above")
            }
            _ => self.segments.entry(segment.into()).or_default(),
        };
        match rest {
            Some(rest) => next.place(rest),
            None => &mut next.ends,
        }
    }

    /// Removes the nodes of `pattern` that hold nothing any more.
    fn prune(&mut self, pattern: &str) {
        let (segment, rest) = first(pattern);
        let next = match segment {
            "**" => return,
            "*" => self.star.as_deref_mut(),
            _ => self.segments.get_mut(segment),
        };
        let Some(next) = next else { return };
        if let Some(rest) = rest {
            next.prune(rest);
        }
        if next.is_leaf() && next.ends.is_none() && next.rest.is_none() {
            match segment {
                "*" => self.star = None,
                _ => drop(self.segments.remove(segment)),
            }
        }
    }

    fn is_leaf(&self) -> bool {
        self.segments.is_empty() && self.star.is_none()
    }

    fn walk(&self, path: Option<&str>, found: &mut impl FnMut(PathId)) {
        let Some(path) = path else {
            if let Some(id) = self.ends {
                found(id);
            }
            return;
        };
        if let Some(id) = self.rest {
            found(id);
        }
        if self.is_leaf() {
            return;
        }
        let (segment, rest) = first(path);
        if let Some(next) = self.segments.get(segment) {
            next.walk(rest, found);
        }
        if let Some(next) = &self.star {
            next.walk(rest, found);
        }
    }
}
