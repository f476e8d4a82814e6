//! References within a document: every one is to `#/$defs`, and is called by the name there.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::keywords;
use super::place::{join, steps};

/// The schemas that others refer to, by name.
pub(super) type Defs = BTreeMap<String, Value>;

const PREFIX: &str = "#/$defs/";

/// What refers to a definition.
pub(super) fn reference(name: &str) -> String {
    join("#/$defs", name)
}

/// The definition that the schema refers to, if it does.
pub(super) fn target(schema: &Value) -> Option<String> {
    let text = schema.get("$ref")?.as_str()?;
    text.starts_with(PREFIX).then(|| steps(text).nth(1)).flatten()
}

/// Calls every reference within by another name.
pub(super) fn rename(schema: &mut Value, new: &dyn Fn(&str) -> String) {
    if let Some(name) = target(schema)
        && let Some(text) = schema.get_mut("$ref")
    {
        *text = reference(&new(&name)).into();
    }
    keywords::for_each_mut(schema, &mut |child| rename(child, new));
}

/// Adds the names that are referred to within, and within these.
pub(super) fn reach(schema: &Value, defs: &Defs, names: &mut BTreeSet<String>) {
    if let Some(name) = target(schema)
        && !names.contains(&name)
        && let Some(found) = defs.get(&name)
    {
        names.insert(name);
        reach(found, defs, names);
    }
    for (_, _, child) in keywords::children(schema, "") {
        reach(child, defs, names);
    }
}

/// Whether following references from this schema leads back to `name` without a step into the data: such a schema says nothing, and
/// whoever follows it never ends.
pub(super) fn leads_to(schema: &Value, name: &str, defs: &Defs, seen: &mut BTreeSet<String>) -> bool {
    if let Some(next) = target(schema) {
        if next == name {
            return true;
        }
        if seen.insert(next.clone()) && defs.get(&next).is_some_and(|next| leads_to(next, name, defs, seen)) {
            return true;
        }
    }
    let mut children = keywords::children(schema, "").into_iter();
    children.any(|(keyword, _, child)| keywords::is_in_place(keyword) && leads_to(child, name, defs, seen))
}

/// A document of a schema and what it refers to.
pub(super) fn bundle(mut root: Value, defs: &Defs) -> Value {
    let mut names = BTreeSet::new();
    reach(&root, defs, &mut names);
    if names.is_empty() {
        return root;
    }
    let own: Map<String, Value> =
        names.into_iter().filter_map(|name| defs.get(&name).map(|found| (name, found.clone()))).collect();
    if let Some(root) = root.as_object_mut() {
        root.insert("$defs".into(), own.into());
    }
    root
}
