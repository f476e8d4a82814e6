//! Why a principal does or does not get an event.

use std::fmt;

use serde::Serialize;

use crate::clock::Timestamp;
use crate::event::Event;
use crate::filter::Filter;
use crate::principal::Principal;
use crate::profile::{EventRule, Profile};

/// The answer to "did they get it, and why?", step by step in the order in which the hub asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Whether the event is given.
    pub given: bool,
    /// Each question, its answer, and whether it let the event pass.
    pub steps: Vec<Step>,
}

/// One question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What was asked.
    pub question: &'static str,
    /// Whether it let the event pass.
    pub passed: bool,
    /// A sentence with the values in it.
    pub answer: String,
}

/// Says why `principal`, who asked for `filter`, is or is not given `event`. Pure: the same decision as the hub's,
/// with its reasons.
pub fn explain(
    profile: &Profile,
    rule: &EventRule,
    principal: &Principal,
    filter: &Filter,
    event: &Event,
    now: Timestamp,
) -> Explanation {
    let local = |path: &str| profile.local(path).to_owned();
    let mut steps = Vec::new();
    let mut ask = |question, passed, answer| steps.push(Step { question, passed, answer });

    let expired = principal.is_expired(now);
    ask(
        "is the credential good?",
        !expired,
        match principal.expires_at {
            Some(at) if expired => format!("no: it ran out {} s ago", now.since(at).as_secs()),
            Some(at) => {
                format!("yes: {} by {}, for {} s more", principal.id, principal.source, at.since(now).as_secs())
            }
            None => format!("yes: {} by {}", principal.id, principal.source),
        },
    );

    let name = filter.names.as_ref().is_none_or(|names| names.contains(&event.name));
    ask(
        "did they ask for this event name?",
        name,
        match &filter.names {
            None => "yes: they asked for every name".to_owned(),
            Some(_) if name => format!("yes: {}", event.name),
            Some(names) => format!("no: it is {}, they asked for {}", event.name, names.join(", ")),
        },
    );

    let topic = event.topic.as_str();
    let asked = filter.topics.as_ref().map(|topics| (topics, topics.iter().find(|pattern| pattern.matches(topic))));
    ask(
        "did they ask for this topic?",
        !matches!(asked, Some((_, None))),
        match asked {
            None => "yes: they asked for every topic".to_owned(),
            Some((_, Some(pattern))) => format!("yes: {} is covered by {}", local(topic), local(pattern.as_str())),
            Some((topics, None)) if topics.is_empty() => format!("no: it is {}, they asked for none", local(topic)),
            Some((topics, None)) => {
                let topics: Vec<_> = topics.iter().map(|pattern| local(pattern.as_str())).collect();
                format!("no: it is {}, they asked for {}", local(topic), topics.join(", "))
            }
        },
    );

    let audience: Vec<_> = event.audience.grants().iter().map(|grant| local(grant.as_str())).collect();
    let held = principal.grants.meets(&event.audience);
    ask(
        "may they see it?",
        held.is_some(),
        match held {
            Some(grant) => format!("yes: they hold {}", local(grant.as_str())),
            None if audience.is_empty() => "no: its audience is empty, so nobody may".to_owned(),
            None => {
                let grants: Vec<_> = principal.grants.iter().take(20).map(|grant| local(grant.as_str())).collect();
                let more = if principal.grants.iter().count() > 20 { ", …" } else { "" };
                let grants = if grants.is_empty() { "nothing".to_owned() } else { grants.join(", ") };
                format!("no: it needs {}, they hold {grants}{more}", audience.join(" or "))
            }
        },
    );

    let given = steps.iter().all(|step| step.passed);
    if given {
        let hidden = rule.shape.variant(&principal.grants, event).count_ones();
        let answer = match hidden {
            0 => format!("as {}, with nothing hidden", rule.shape.wire_name(event)),
            n => format!("as {}, with {n} of its fields hidden from them", rule.shape.wire_name(event)),
        };
        steps.push(Step { question: "how does it look?", passed: true, answer });
    }
    Explanation { given, steps }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            writeln!(f, "{} {}\n    {}", if step.passed { "✓" } else { "✗" }, step.question, step.answer)?;
        }
        write!(f, "{}", if self.given { "→ given" } else { "→ not given" })
    }
}
