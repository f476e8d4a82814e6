//! What can be said of a form's output without an event, for those who make types of it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::hole::{Choice, Filter, Hole, Path, Root, Step};
use super::{Form, Part};

/// A form as it will look: what is fixed, and where something is taken from.
#[derive(Clone, Debug, PartialEq)]
pub enum FormOutline {
    /// Always this value.
    Fixed(Value),
    /// An object. A member whose value is a hole is left out where that finds nothing.
    Object(Vec<(String, FormOutline)>),
    /// A list. An element that is a hole is left out where that finds nothing.
    List(Vec<FormOutline>),
    /// What a hole takes.
    Hole(HoleOutline),
    /// A text with holes in it.
    Text,
}

/// What a hole takes: the first of the choices that is there and not `null`, changed by the filters one after another.
#[derive(Clone, Debug, PartialEq)]
pub struct HoleOutline {
    /// The choices.
    pub choices: Vec<HoleChoice>,
    /// The filters.
    pub filters: Vec<HoleFilter>,
}

/// One choice of a hole.
#[derive(Clone, Debug, PartialEq)]
pub enum HoleChoice {
    /// What stands at a path.
    Path(HoleRoot, Vec<HoleStep>),
    /// This value.
    Literal(Value),
}

/// Where a path begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoleRoot {
    /// The data.
    Data,
    /// The event's name as it was published.
    Name,
    /// The topic.
    Topic,
    /// When it was accepted, in ms since 1970.
    Time,
    /// Its place in the log, if it has one.
    Cursor,
    /// Something else that is known by name where the form is filled.
    More,
}

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HoleStep {
    /// To the member of that name.
    Member(String),
    /// To the element with that index.
    Index(usize),
}

/// One filter of a hole.
#[derive(Clone, Debug, PartialEq)]
pub enum HoleFilter {
    /// Of a number, RFC 3339.
    Iso,
    /// Of a number, a number.
    Percent,
    /// Of a number, a number.
    Seconds,
    /// Of anything but a text and `null`, a text.
    Text,
    /// Of a word, what stands for it.
    Words(BTreeMap<String, Value>),
}

impl Form {
    /// What it looks like, whatever it is filled from.
    pub fn outline(&self) -> FormOutline {
        self.part_outline(&self.root)
    }

    fn part_outline(&self, part: &Part) -> FormOutline {
        match part {
            Part::Fixed(json) => FormOutline::Fixed(parsed(json)),
            Part::Value(hole) => FormOutline::Hole(self.hole_outline(hole)),
            Part::Text(_) => FormOutline::Text,
            Part::List(elements) => FormOutline::List(elements.iter().map(|part| self.part_outline(part)).collect()),
            Part::Object(members) => {
                let member = |(name, part): &(String, Part)| {
                    let name = parsed(name.strip_suffix(':').unwrap_or(name));
                    (name.as_str().unwrap_or_default().to_owned(), self.part_outline(part))
                };
                FormOutline::Object(members.iter().map(member).collect())
            }
        }
    }

    fn hole_outline(&self, hole: &Hole) -> HoleOutline {
        let filter = |filter: &Filter| match filter {
            Filter::Iso => HoleFilter::Iso,
            Filter::Percent => HoleFilter::Percent,
            Filter::Seconds => HoleFilter::Seconds,
            Filter::Text => HoleFilter::Text,
            Filter::Words(index) => {
                let table = self.words.get(*index).into_iter().flatten();
                HoleFilter::Words(table.map(|(word, json)| (word.clone(), parsed(json))).collect())
            }
        };
        HoleOutline {
            choices: hole.choices.iter().map(choice_outline).collect(),
            filters: hole.filters.iter().map(filter).collect(),
        }
    }
}

fn choice_outline(choice: &Choice) -> HoleChoice {
    match choice {
        Choice::Literal(json) => HoleChoice::Literal(parsed(json)),
        Choice::Path(Path { root, steps }) => {
            let root = match root {
                Root::Data => HoleRoot::Data,
                Root::Name => HoleRoot::Name,
                Root::Topic => HoleRoot::Topic,
                Root::Time => HoleRoot::Time,
                Root::Cursor => HoleRoot::Cursor,
                Root::More(_) => HoleRoot::More,
            };
            let step = |step: &Step| match step {
                Step::Member(name) => HoleStep::Member(name.clone()),
                Step::Index(index) => HoleStep::Index(*index),
            };
            HoleChoice::Path(root, steps.iter().map(step).collect())
        }
    }
}

/// The parts of a form are JSON by construction.
fn parsed(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::form::{FormNode, FormWords};
    use serde_json::json;

    fn text(text: &str) -> FormNode {
        FormNode::Text(text.into())
    }

    #[test]
    fn what_is_fixed_and_what_is_taken_can_be_told_apart() {
        let words = FormWords::from([("w".into(), BTreeMap::from([("running".into(), json!("processing"))]))]);
        let tree = FormNode::Object(vec![
            ("a \"b\"".into(), text("fixed")),
            ("n".into(), FormNode::List(vec![FormNode::Literal(json!(7)), text("{data.a[0]|0:w:text}")])),
            ("t".into(), text("{data.a} of {data.b}")),
        ]);
        let taken = HoleOutline {
            choices: vec![
                HoleChoice::Path(HoleRoot::Data, vec![HoleStep::Member("a".into()), HoleStep::Index(0)]),
                HoleChoice::Literal(json!(0)),
            ],
            filters: vec![
                HoleFilter::Words(BTreeMap::from([("running".into(), json!("processing"))])),
                HoleFilter::Text,
            ],
        };
        let expected = FormOutline::Object(vec![
            ("a \"b\"".into(), FormOutline::Fixed(json!("fixed"))),
            ("n".into(), FormOutline::List(vec![FormOutline::Fixed(json!(7)), FormOutline::Hole(taken)])),
            ("t".into(), FormOutline::Text),
        ]);
        assert_eq!(Form::new(&tree, &words, &[]).unwrap().outline(), expected);
    }
}
