//! The schema of what a form makes of data.

use serde_json::{Map, Value, json};
use tidings::FormOutline;
use tidings::HoleOutline;
use tidings::form::{HoleChoice, HoleFilter, HoleRoot, HoleStep};

use super::refs::{self, Defs};

/// What is found somewhere.
struct Found {
    schema: Value,
    /// Whether it may be that nothing is there.
    optional: bool,
}

/// The schema of a form that is filled from data with this schema, of an event called `name`.
pub(super) fn filled(outline: &FormOutline, data: &Value, name: &str, defs: &Defs) -> Value {
    let filling = Filling { data, name, defs };
    match filling.part(outline) {
        Some(Found { schema, optional: false }) => schema,
        // A form that is a single hole is `null` where that finds nothing.
        Some(Found { schema, optional: true }) => union(vec![schema, null()]),
        None => null(),
    }
}

struct Filling<'a> {
    data: &'a Value,
    name: &'a str,
    defs: &'a Defs,
}

impl Filling<'_> {
    /// `None` where nothing is ever there.
    fn part(&self, outline: &FormOutline) -> Option<Found> {
        let fixed = |schema| Some(Found { schema, optional: false });
        match outline {
            FormOutline::Fixed(value) => fixed(json!({ "const": value })),
            FormOutline::Text => fixed(json!({ "type": "string" })),
            FormOutline::Hole(hole) => self.hole(hole),
            FormOutline::Object(members) => {
                let (mut properties, mut required) = (Map::new(), Vec::new());
                for (name, member) in members {
                    let Some(found) = self.part(member) else { continue };
                    if !found.optional {
                        required.push(Value::from(name.as_str()));
                    }
                    properties.insert(name.clone(), found.schema);
                }
                fixed(json!({
                    "type": "object", "properties": properties, "required": required, "additionalProperties": false,
                }))
            }
            FormOutline::List(elements) => {
                let found: Vec<Found> = elements.iter().filter_map(|element| self.part(element)).collect();
                if found.iter().any(|found| found.optional) {
                    // Those that are not there leave no hole, so that the others are anywhere.
                    let any = union(found.into_iter().map(|found| found.schema).collect());
                    return fixed(json!({ "type": "array", "items": any, "maxItems": elements.len() }));
                }
                let all: Vec<Value> = found.into_iter().map(|found| found.schema).collect();
                let count = all.len();
                fixed(match count {
                    0 => json!({ "type": "array", "maxItems": 0 }),
                    _ => json!({ "type": "array", "prefixItems": all, "items": false, "minItems": count }),
                })
            }
        }
    }

    fn hole(&self, hole: &HoleOutline) -> Option<Found> {
        let found: Vec<Found> = hole.choices.iter().filter_map(|choice| self.choice(choice)).collect();
        let found = self.first_of(found)?;
        let filtered = hole.filters.iter().fold(found.schema, |schema, filter| self.filtered(&schema, filter));
        Some(Found { schema: filtered, ..found })
    }

    fn choice(&self, choice: &HoleChoice) -> Option<Found> {
        let always = |schema| Some(Found { schema, optional: false });
        match choice {
            HoleChoice::Literal(value) => always(json!({ "const": value })),
            HoleChoice::Path(HoleRoot::Data, steps) => self.at(self.data, steps),
            HoleChoice::Path(_, steps) if !steps.is_empty() => Some(Found { schema: json!({}), optional: true }),
            HoleChoice::Path(HoleRoot::Name, _) => always(json!({ "const": self.name })),
            HoleChoice::Path(HoleRoot::Topic, _) => always(json!({ "type": "string" })),
            HoleChoice::Path(HoleRoot::Time, _) => {
                always(json!({ "type": "integer", "description": "Milliseconds since 1970." }))
            }
            HoleChoice::Path(HoleRoot::Cursor, _) => {
                Some(Found { schema: json!({ "type": "string" }), optional: true })
            }
            HoleChoice::Path(HoleRoot::More, _) => Some(Found { schema: json!({}), optional: true }),
        }
    }

    /// The first that is there and not `null`.
    fn first_of(&self, choices: Vec<Found>) -> Option<Found> {
        if choices.len() < 2 {
            return choices.into_iter().next();
        }
        let (mut all, mut nullable, mut optional) = (Vec::new(), false, true);
        for choice in choices {
            let mut is_last = !choice.optional;
            optional &= choice.optional;
            for one in self.alternatives(&choice.schema) {
                match kind(&one) {
                    Kind::Null => (nullable, is_last) = (true, false),
                    // It may be null as well.
                    Kind::Unknown => is_last = false,
                    _ => {}
                }
                if kind(&one) != Kind::Null {
                    all.push(one);
                }
            }
            if is_last {
                nullable = false;
                break;
            }
        }
        if nullable {
            all.push(null());
        }
        Some(Found { schema: union(all), optional })
    }

    /// What stands at a path in data of this schema.
    fn at(&self, schema: &Value, steps: &[HoleStep]) -> Option<Found> {
        let Some((step, rest)) = steps.split_first() else {
            return Some(Found { schema: schema.clone(), optional: false });
        };
        let alternatives = self.alternatives(schema);
        let (mut all, mut optional) = (Vec::new(), false);
        for one in &alternatives {
            let below = self.below(one, step).and_then(|found| {
                let deeper = self.at(&found.schema, rest)?;
                Some(Found { optional: found.optional || deeper.optional, ..deeper })
            });
            match below {
                Some(found) => {
                    optional |= found.optional;
                    all.push(found.schema);
                }
                None => optional = true,
            }
        }
        match all.len() {
            0 => None,
            _ => Some(Found { schema: union(all), optional }),
        }
    }

    /// What one step leads to from something that is one thing.
    fn below(&self, schema: &Value, step: &HoleStep) -> Option<Found> {
        let schema = self.resolved(schema);
        let parts = schema.get("allOf").and_then(Value::as_array).into_iter().flatten();
        if let Some(found) = parts.filter_map(|part| self.at(part, std::slice::from_ref(step))).find(is_known) {
            return Some(found);
        }
        match (step, kind(schema)) {
            (HoleStep::Member(name), Kind::Object | Kind::Unknown) => {
                let is_required = schema["required"].as_array().is_some_and(|all| all.iter().any(|one| one == name));
                if let Some(member) = schema.get("properties").and_then(|named| named.get(name)) {
                    return Some(Found { schema: member.clone(), optional: !is_required });
                }
                let others = schema.get("additionalProperties").cloned().unwrap_or(json!({}));
                (others != Value::Bool(false)).then_some(Found { schema: others, optional: !is_required })
            }
            (HoleStep::Index(index), Kind::Array | Kind::Unknown) => {
                let first = schema.get("prefixItems").and_then(|items| items.get(*index));
                let found = first.or(schema.get("items")).cloned().unwrap_or(json!({}));
                (found != Value::Bool(false)).then_some(Found { schema: found, optional: true })
            }
            _ => None,
        }
    }

    /// What a filter makes of it.
    fn filtered(&self, schema: &Value, filter: &HoleFilter) -> Value {
        let all = self.alternatives(schema).into_iter().flat_map(|one| changed(one, filter));
        union(all.collect())
    }

    fn resolved<'a>(&'a self, schema: &'a Value) -> &'a Value {
        let mut schema = schema;
        // More than these is a circle.
        for _ in 0..=self.defs.len() {
            match refs::target(schema).and_then(|name| self.defs.get(&name)) {
                Some(found) => schema = found,
                None => break,
            }
        }
        schema
    }

    /// The different things that it may be. One thing with a name keeps that.
    fn alternatives(&self, schema: &Value) -> Vec<Value> {
        self.alternatives_within(schema, self.defs.len() + 32)
    }

    fn alternatives_within(&self, schema: &Value, depth: usize) -> Vec<Value> {
        let depth = match depth.checked_sub(1) {
            Some(depth) => depth,
            None => return vec![json!({})],
        };
        if *schema == Value::Bool(false) {
            return Vec::new();
        }
        if refs::target(schema).is_some() {
            let all = self.alternatives_within(self.resolved(schema), depth);
            return match all.as_slice() {
                [one] if matches!(kind(one), Kind::Object | Kind::Array) => vec![schema.clone()],
                _ => all,
            };
        }
        if let Some(options) = schema.get("enum").and_then(Value::as_array) {
            return options.iter().map(|option| json!({ "const": option })).collect();
        }
        let branches = schema.get("anyOf").or(schema.get("oneOf")).and_then(Value::as_array);
        if let Some(branches) = branches.filter(|_| schema.get("type").is_none() && schema.get("properties").is_none())
        {
            return branches.iter().flat_map(|branch| self.alternatives_within(branch, depth)).collect();
        }
        match schema.get("type").and_then(Value::as_array) {
            Some(kinds) => {
                let one = |kind: &Value| {
                    let mut one = schema.clone();
                    one["type"] = kind.clone();
                    one
                };
                kinds.iter().map(one).collect()
            }
            None => vec![schema.clone()],
        }
    }
}

fn is_known(found: &Found) -> bool {
    !found.schema.as_object().is_some_and(Map::is_empty)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Null,
    Bool,
    Number,
    Text,
    Array,
    Object,
    Unknown,
}

/// What something is that is one thing.
fn kind(schema: &Value) -> Kind {
    match (schema.get("const"), schema.get("type").and_then(Value::as_str)) {
        (Some(Value::Null), _) | (None, Some("null")) => Kind::Null,
        (Some(Value::Bool(_)), _) | (None, Some("boolean")) => Kind::Bool,
        (Some(Value::Number(_)), _) | (None, Some("number" | "integer")) => Kind::Number,
        (Some(Value::String(_)), _) | (None, Some("string")) => Kind::Text,
        (Some(Value::Array(_)), _) | (None, Some("array")) => Kind::Array,
        (Some(Value::Object(_)), _) | (None, Some("object")) => Kind::Object,
        _ => Kind::Unknown,
    }
}

/// What a filter makes of something that is one thing.
fn changed(schema: Value, filter: &HoleFilter) -> Vec<Value> {
    let text = || json!({ "type": "string" });
    match (filter, kind(&schema)) {
        (HoleFilter::Iso, Kind::Number) => vec![json!({ "type": "string", "format": "date-time" })],
        (HoleFilter::Percent | HoleFilter::Seconds, Kind::Number) => vec![json!({ "type": "number" })],
        (HoleFilter::Text, Kind::Text | Kind::Null) => vec![schema],
        (HoleFilter::Text, Kind::Unknown) => vec![text(), null()],
        (HoleFilter::Text, _) => vec![text()],
        (HoleFilter::Words(words), kind) if !words.is_empty() => match schema.get("const") {
            Some(value) => {
                let word = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                vec![words.get(&word).map_or(schema, |other| json!({ "const": other }))]
            }
            // A list or an object is no word.
            None if matches!(kind, Kind::Array | Kind::Object) => vec![schema],
            None => {
                let others = words.values().map(|other| json!({ "const": other }));
                std::iter::once(schema).chain(others).collect()
            }
        },
        _ => vec![schema],
    }
}

fn null() -> Value {
    json!({ "type": "null" })
}

/// Any of these. Values that a type has anyway are not told apart.
fn union(all: Vec<Value>) -> Value {
    let mut kept: Vec<Value> = Vec::new();
    for one in all {
        if one == Value::Bool(true) || one.as_object().is_some_and(Map::is_empty) {
            return json!({});
        }
        if !kept.contains(&one) {
            kept.push(one);
        }
    }
    let plain: Vec<Kind> = kept.iter().filter(|one| one.get("const").is_none()).map(kind).collect();
    let is_covered = |one: &Value| {
        matches!(kind(one), Kind::Text | Kind::Number | Kind::Bool | Kind::Null) && plain.contains(&kind(one))
    };
    kept.retain(|one| one.get("const").is_none() || !is_covered(one));
    let (values, mut others): (Vec<Value>, Vec<Value>) = kept
        .into_iter()
        .partition(|one| one.as_object().is_some_and(|members| members.len() == 1 && members.contains_key("const")));
    match values.len() {
        0 => {}
        1 => others.extend(values),
        _ => others.push(json!({ "enum": values.iter().map(|one| one["const"].clone()).collect::<Vec<_>>() })),
    }
    match others.len() {
        1 => others.remove(0),
        _ => json!({ "anyOf": others }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tidings::{Form, FormNode, FormWords};

    fn schema_of(hole: &str, data: Value, words: &[(&str, &str)]) -> Value {
        let table = words.iter().map(|(from, to)| ((*from).to_owned(), json!(to))).collect();
        let words = FormWords::from([("words".to_owned(), table)]);
        let tree = FormNode::Object(vec![("x".into(), FormNode::Text(hole.into()))]);
        let form = Form::new(&tree, &words, &[]).unwrap();
        let defs =
            Defs::from([("Item".to_owned(), json!({"type": "object", "properties": {"title": {"type": "string"}}}))]);
        let filled = filled(&form.outline(), &data, "e", &defs);
        match filled["properties"].get("x") {
            Some(x) if filled["required"] == json!(["x"]) => x.clone(),
            Some(x) => json!({ "maybe": x }),
            None => json!("never"),
        }
    }

    #[test]
    fn a_hole_has_the_type_of_what_it_takes() {
        let data = json!({
            "type": "object", "required": ["id", "state", "n", "at", "open"], "additionalProperties": false,
            "properties": {
                "id": {"type": "string"}, "state": {"enum": ["queued", "running"]}, "n": {"type": ["number", "null"]},
                "at": {"type": "integer"}, "may": {"type": "integer"}, "open": {"type": "object"},
                "items": {"type": "array", "items": {"$ref": "#/$defs/Item"}},
                "either": {"anyOf": [{"$ref": "#/$defs/Item"}, {"type": "null"}]},
            },
        });
        for (hole, expected) in [
            ("fixed", json!({"const": "fixed"})),
            ("{data.id}", json!({"type": "string"})),
            ("a {data.id}", json!({"type": "string"})),
            ("{data.may}", json!({"maybe": {"type": "integer"}})),
            ("{data.may|0}", json!({"type": "integer"})),
            ("{data.may|\"none\"}", json!({"anyOf": [{"type": "integer"}, {"const": "none"}]})),
            ("{data.n|0}", json!({"type": "number"})),
            ("{data.may|data.n}", json!({"anyOf": [{"type": "integer"}, {"type": "number"}, {"type": "null"}]})),
            ("{data.state:words}", json!({"enum": ["queued", "processing"]})),
            ("{data.id:words}", json!({"type": "string"})),
            ("{data.at:iso}", json!({"type": "string", "format": "date-time"})),
            ("{data.at:seconds}", json!({"type": "number"})),
            ("{data.items[0].title}", json!({"maybe": {"type": "string"}})),
            ("{data.items[0]}", json!({"maybe": {"$ref": "#/$defs/Item"}})),
            ("{data.either.title}", json!({"maybe": {"type": "string"}})),
            ("{data.open.x}", json!({"maybe": {}})),
            ("{data.nope}", json!("never")),
            ("{name}", json!({"const": "e"})),
            ("{cursor}", json!({"maybe": {"type": "string"}})),
        ] {
            assert_eq!(schema_of(hole, data.clone(), &[("running", "processing")]), expected, "{hole}");
        }
    }
}
