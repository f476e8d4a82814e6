//! How events look, from what a profile says of them or of one of its mounts.

use std::collections::BTreeMap;

use serde_json::Value;
use tidings::form::InvalidForm;
use tidings::{Args, Form, FormNode, FormWords, JsonPath, Redaction, Shape, Template};

use super::build::template;
use super::file::{self, CaseAt, Event, FormTree, Redact, With};
use crate::settings::decode::At;
use crate::settings::report::Report;

/// The words of a form that stand in no table of their own are called so.
const WORDS: &str = "words";

/// What is said of how an event looks.
pub(super) struct Looks<'a> {
    wire: Option<&'a At<String>>,
    wrap: Option<&'a At<String>>,
    cases: &'a [At<CaseAt>],
    redact: &'a [At<Redact>],
    args: file::Args,
    form: Option<&'a At<FormTree>>,
    words: &'a BTreeMap<String, At<Value>>,
}

impl<'a> Looks<'a> {
    /// What an event says of itself.
    pub fn of(event: &'a Event) -> Self {
        let Event { wire, wrap, cases, redact, args, form, words, .. } = event;
        Looks { wire: wire.as_ref(), wrap: wrap.as_ref(), cases, redact, args: *args, form: form.as_ref(), words }
    }

    /// What a mount says of an event.
    pub fn on_mount(looks: &'a file::Looks) -> Self {
        let file::Looks { wire, wrap, cases, redact, args, form, words } = looks;
        Looks { wire: wire.as_ref(), wrap: wrap.as_ref(), cases, redact, args: *args, form: form.as_ref(), words }
    }
}

/// The shape that is described. What is wrong is told, and left out.
pub(super) fn shape(looks: &Looks<'_>, report: &mut Report) -> Shape {
    let mut shape = Shape::default().with_args(match looks.args {
        file::Args::Zero => Args::Zero,
        file::Args::One => Args::One,
        file::Args::Spread => Args::Spread,
    });
    if let Some(wire) = looks.wire {
        match shape.clone().named(wire) {
            Ok(named) => shape = named,
            Err(error) => {
                report.at(&wire.place, error.to_string());
            }
        }
    }
    if let Some(key) = looks.wrap {
        shape = shape.wrapped(key);
    }
    let path = |text: &At<String>, report: &mut Report| -> Option<JsonPath> {
        let wrong = |error: tidings::json::InvalidPath| {
            report.at(&text.place, error.reason);
        };
        text.value.parse().map_err(wrong).ok()
    };
    for case in looks.cases {
        if let Some(path) = path(&case.path, report) {
            shape = shape.case(path, case.to.into());
        }
    }
    for redact in looks.redact {
        let unless: Vec<Template> = redact.unless.iter().filter_map(|grant| template(grant, report)).collect();
        let Some(path) = path(&redact.path, report) else { continue };
        match shape.clone().redact(Redaction { path, unless, with_null: redact.with == With::Null }) {
            Ok(redacting) => shape = redacting,
            Err(error) => {
                report.at(&redact.place, error.to_string());
                break;
            }
        }
    }
    match looks.form {
        Some(written) => match form(written, looks.words, &[], report) {
            Some(form) => shape.with_form(form),
            None => shape,
        },
        None => {
            if let Some(words) = looks.words.values().next() {
                report.at(&words.place, "`words` are those of a form, and there is none");
            }
            shape
        }
    }
}

/// The form that is written, with its words; `more` are the names of what it can take beside an event. `None` if something is wrong.
pub(super) fn form(
    written: &At<FormTree>,
    words: &BTreeMap<String, At<Value>>,
    more: &[&str],
    report: &mut Report,
) -> Option<Form> {
    let mistakes = match Form::new(&tree(written), &tables(words), more) {
        Ok(form) => return Some(form),
        Err(mistakes) => mistakes,
    };
    for mistake in mistakes {
        let InvalidForm { steps, text, position, reason } = &mistake;
        let node = steps.iter().try_fold(written, |node, step| match &node.value {
            FormTree::List(elements) => elements.get(*step),
            FormTree::Table(members) => members.get(*step).map(|(_, node)| node),
            FormTree::Text(_) | FormTree::Literal(_) => None,
        });
        match node {
            Some(node) if matches!(&node.value, FormTree::Text(written) if written == text) => {
                report.at(&node.place.within(text, *position), reason)
            }
            _ => report.at(&node.unwrap_or(written).place, mistake.to_string()),
        };
    }
    None
}

fn tree(written: &FormTree) -> FormNode {
    match written {
        FormTree::Text(text) => FormNode::Text(text.clone()),
        FormTree::Literal(value) => FormNode::Literal(value.clone()),
        FormTree::List(elements) => FormNode::List(elements.iter().map(|element| tree(element)).collect()),
        FormTree::Table(members) => {
            FormNode::Object(members.iter().map(|(name, member)| (name.clone(), tree(member))).collect())
        }
    }
}

/// The tables of words by name. Words in no table of their own are one together.
fn tables(words: &BTreeMap<String, At<Value>>) -> FormWords {
    let mut tables = FormWords::new();
    for (name, value) in words {
        match &value.value {
            Value::Object(table) => {
                tables.entry(name.clone()).or_default().extend(table.clone());
            }
            value => {
                tables.entry(WORDS.to_owned()).or_default().insert(name.clone(), value.clone());
            }
        }
    }
    tables
}
