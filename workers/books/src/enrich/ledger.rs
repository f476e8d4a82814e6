//! What came of each book: handed over in the order of the list, and counted.

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::cancel::hand_over;
use crate::openlibrary::{Error, Record};
use crate::report::{Failure, Report, Unfinished};

/// How many books were found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// How many there were.
    pub total: usize,
    /// Those that Open Library knows.
    pub found: usize,
    /// Those that it does not know.
    pub not_found: usize,
    /// Those that could not be looked up.
    pub errors: usize,
}

/// What is said of one book whatever comes of it.
#[derive(Clone, Debug)]
pub struct Item {
    /// Its place in the list, from 0.
    pub index: usize,
    /// What was looked for; told unless it was found.
    pub query: Value,
    /// What was read on its spine, if it came from a photo; always told.
    pub spine: Option<Value>,
}

impl Item {
    /// An item of which nothing but its place is known.
    pub fn new(index: usize) -> Item {
        Item { index, query: Value::Null, spine: None }
    }

    fn told(self, status: &str, book: Option<Record>, reason: Option<String>) -> Value {
        let mut item = Map::new();
        item.insert("index".into(), json!(self.index));
        item.insert("status".into(), json!(status));
        match book {
            Some(book) => item.insert("book".into(), json!(book)),
            None => item.insert("query".into(), self.query),
        };
        item.extend(self.spine.map(|spine| ("spine".into(), spine)));
        item.extend(reason.map(|reason| ("reason".into(), json!(reason))));
        Value::Object(item)
    }
}

/// Counts and hands over.
pub struct Ledger<'a> {
    report: &'a dyn Report,
    summary: Summary,
    done: usize,
    /// Books that got no answer since the last one that did. They are held back until one does: if none does, the
    /// work fails and is tried again, and what was handed over before stays.
    held: Vec<Value>,
    /// How many books got no answer since then. Not all that is held back: a wrong entry may be among them.
    failures: usize,
    /// Why the last of them got none.
    reason: String,
    /// How many of them in a row are a failure of the whole.
    most_failures: usize,
    answered: bool,
}

impl<'a> Ledger<'a> {
    /// A ledger for `total` books.
    pub fn new(report: &'a dyn Report, total: usize, most_failures: usize) -> Self {
        let summary = Summary { total, ..Summary::default() };
        Ledger {
            report,
            summary,
            done: 0,
            held: Vec::new(),
            failures: 0,
            reason: String::new(),
            most_failures,
            answered: false,
        }
    }

    /// Says which book is next.
    pub fn begin(&self, about: Value) -> Result<(), Unfinished> {
        if self.report.is_canceled() {
            return Err(Unfinished::Canceled);
        }
        self.progress(Some(about));
        Ok(())
    }

    /// What was taken for one book are `books`.
    pub fn split(&mut self, books: usize) {
        self.summary.total += books.saturating_sub(1);
    }

    /// Enters a book that can't be looked up.
    pub fn refuse(&mut self, item: Item, reason: &str) -> Result<(), Unfinished> {
        self.summary.errors += 1;
        self.done += 1;
        let item = item.told("error", None, Some(reason.into()));
        self.hand_over_unless_held(item)
    }

    /// Enters what was answered.
    pub fn enter(&mut self, item: Item, answer: Result<Option<Record>, Error>) -> Result<(), Unfinished> {
        self.done += 1;
        let item = match answer {
            Ok(Some(record)) => {
                self.summary.found += 1;
                item.told("found", Some(record), None)
            }
            Ok(None) => {
                self.summary.not_found += 1;
                item.told("not-found", None, None)
            }
            Err(error) => return self.fail(item, &error),
        };
        self.answered = true;
        self.failures = 0;
        let mut items = std::mem::take(&mut self.held);
        items.push(item);
        Ok(hand_over(self.report, items)?)
    }

    /// The end of the list.
    pub fn finish(mut self) -> Result<Summary, Unfinished> {
        // A list that is too short for a row of failures, and nothing of it was answered.
        if !self.answered && self.failures > 0 {
            return Err(unavailable(&format!("for any of the books: {}", self.reason)).into());
        }
        if !self.held.is_empty() {
            hand_over(self.report, std::mem::take(&mut self.held))?;
        }
        self.progress(None);
        Ok(self.summary)
    }

    fn fail(&mut self, item: Item, error: &Error) -> Result<(), Unfinished> {
        if matches!(error, Error::Refused(_)) {
            return Err(Failure::new("open-library-refused", error.to_string()).into());
        }
        self.summary.errors += 1;
        self.failures += 1;
        self.reason = error.to_string();
        self.held.push(item.told("error", None, Some(self.reason.clone())));
        if self.failures >= self.most_failures {
            return Err(unavailable(&format!("for {} books in a row: {}", self.failures, self.reason)).into());
        }
        Ok(())
    }

    fn hand_over_unless_held(&mut self, item: Value) -> Result<(), Unfinished> {
        if self.held.is_empty() {
            return Ok(hand_over(self.report, vec![item])?);
        }
        self.held.push(item);
        Ok(())
    }

    fn progress(&self, about: Option<Value>) {
        self.report.progress(self.done as u64, Some(self.summary.total as u64), None, about);
    }
}

fn unavailable(sentence: &str) -> Failure {
    Failure::passing("open-library-unavailable", format!("Open Library gave no answer {sentence}"))
}
