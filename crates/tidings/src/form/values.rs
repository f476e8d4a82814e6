//! Where the values of holes come from. Every value is the JSON text that it was written as, so that nothing is changed on the way.

use std::borrow::Cow;
use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use serde::de::IgnoredAny;
use serde_json::Value;

use super::FormFacts;
use super::hole::{Choice, Filter, Hole, Path, Root, Step};
use crate::json::{self, quoted};

/// The members of an object, in their order.
type Members<'a> = Rc<[(Cow<'a, str>, &'a str)]>;

/// The facts that one form is filled from, each part of the data read once at most.
pub(super) struct Values<'a> {
    facts: &'a FormFacts<'a>,
    words: &'a [BTreeMap<String, String>],
    data: OnceCell<Option<&'a str>>,
    /// The objects that were looked into, by where they begin.
    opened: RefCell<Vec<(*const u8, Members<'a>)>>,
}

impl<'a> Values<'a> {
    pub fn new(facts: &'a FormFacts<'a>, words: &'a [BTreeMap<String, String>]) -> Self {
        Values { facts, words, data: OnceCell::new(), opened: RefCell::default() }
    }

    /// What a hole takes, as JSON; `None` if nothing is there.
    pub fn take(&self, hole: &'a Hole) -> Option<Cow<'a, str>> {
        let mut found = None;
        for choice in &hole.choices {
            let value = match choice {
                Choice::Literal(json) => Some(Cow::Borrowed(json.as_str())),
                Choice::Path(path) => self.find(path),
            };
            let is_null = value.as_deref() == Some("null");
            found = value.or(found);
            if found.is_some() && !is_null {
                break;
            }
        }
        hole.filters.iter().fold(found, |value, filter| value.map(|value| self.filtered(value, *filter)))
    }

    fn find(&self, path: &Path) -> Option<Cow<'a, str>> {
        match &path.root {
            Root::Data => {
                path.steps.iter().try_fold(self.data()?, |value, step| self.step(value, step)).map(Into::into)
            }
            Root::Name => Some(quoted(self.facts.name).into()),
            Root::Topic => Some(quoted(self.facts.topic).into()),
            Root::Time => Some(self.facts.time.to_string().into()),
            Root::Cursor => self.facts.cursor.map(|cursor| format!("\"{cursor}\"").into()),
            Root::More(name) => {
                let (_, value) = self.facts.more.iter().find(|(known, _)| known == name)?;
                let value = path.steps.iter().try_fold(value, |value, step| match step {
                    Step::Member(name) => value.as_object()?.get(name),
                    Step::Index(index) => value.as_array()?.get(*index),
                });
                value.map(|value: &Value| value.to_string().into())
            }
        }
    }

    /// The data, if it is JSON.
    fn data(&self) -> Option<&'a str> {
        *self.data.get_or_init(|| {
            let text = std::str::from_utf8(self.facts.data).ok()?;
            // Without recursion, however deep it is.
            serde_json::from_str::<IgnoredAny>(text).ok()?;
            Some(text.trim_ascii())
        })
    }

    fn step(&self, value: &'a str, step: &Step) -> Option<&'a str> {
        match step {
            Step::Member(name) if value.starts_with('{') => {
                // Of two members with one name the last, as `JSON.parse` takes it.
                self.members(value).iter().rev().find(|(known, _)| known == name).map(|(_, member)| *member)
            }
            Step::Index(index) if value.starts_with('[') => Some(json::items(value).nth(*index)?.ok()?.1),
            _ => None,
        }
    }

    fn members(&self, object: &'a str) -> Members<'a> {
        if let Some((_, members)) = self.opened.borrow().iter().find(|(begin, _)| *begin == object.as_ptr()) {
            return Rc::clone(members);
        }
        let items = json::items(object).map_while(Result::ok);
        let members: Members<'a> = items.filter_map(|(key, member)| Some((json::string(key)?, member))).collect();
        self.opened.borrow_mut().push((object.as_ptr(), Rc::clone(&members)));
        members
    }

    fn filtered(&self, value: Cow<'a, str>, filter: Filter) -> Cow<'a, str> {
        let changed = match filter {
            Filter::Iso => number(&value).and_then(|ms| iso(ms.floor())),
            Filter::Percent => number(&value).and_then(|fraction| decimal((fraction * 1e4).round() / 1e2)),
            Filter::Seconds => number(&value).and_then(|ms| decimal(ms / 1e3)),
            Filter::Text if value.starts_with('"') || value == "null" => None,
            Filter::Text => Some(quoted(&value)),
            Filter::Words(index) => self.word(&value, index),
        };
        changed.map_or(value, Cow::Owned)
    }

    fn word(&self, value: &str, index: usize) -> Option<String> {
        let word = json::string(value).unwrap_or(Cow::Borrowed(value));
        self.words.get(index)?.get(word.as_ref()).cloned()
    }
}

/// The value, if it is a number.
fn number(json: &str) -> Option<f64> {
    json.parse().ok().filter(|_| json.starts_with(|c: char| c == '-' || c.is_ascii_digit()))
}

/// A number without the decimals that say nothing.
fn decimal(number: f64) -> Option<String> {
    // Up to here all whole numbers are numbers of this kind.
    const WHOLE: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() <= WHOLE {
        return Some((number as i64).to_string());
    }
    serde_json::Number::from_f64(number).map(|number| number.to_string())
}

/// Milliseconds since 1970 as RFC 3339 §5.6 writes them, in UTC, if the year has four digits.
fn iso(ms: f64) -> Option<String> {
    /// From the year 0 to the year 9999.
    const YEARS: std::ops::RangeInclusive<f64> = -62_167_219_200_000.0..=253_402_300_799_999.0;
    if !YEARS.contains(&ms) {
        return None;
    }
    let ms = ms as i64;
    let (days, in_day) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    // Years are counted from March, so that the leap day is the last of its year, and in eras of 400 years, which are all alike
    // (H. Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`).
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = (from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let (second, millis) = (in_day / 1_000, in_day % 1_000);
    let fraction = if millis == 0 { String::new() } else { format!(".{millis:03}") };
    Some(format!(
        "\"{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}{fraction}Z\"",
        second / 3_600,
        second / 60 % 60,
        second % 60
    ))
}
