//! What has become of the rows so far.

use serde_json::{Value, json};

use super::header::Header;
use super::row::Outcome;
use super::summary::{Reason, RowNote, Summary};
use super::text::Encoding;
use super::{Options, STRIDE};
use crate::book::Book;
use crate::report::{Report, Unfinished};

/// Counts rows, gathers books into batches, and says how far the work is.
pub(super) struct Tally<'a> {
    options: &'a Options,
    report: &'a dyn Report,
    total: u64,
    seen: u64,
    imported: u64,
    failed: u64,
    warned: u64,
    errors: Vec<RowNote>,
    warnings: Vec<RowNote>,
    batch: Vec<Value>,
}

impl<'a> Tally<'a> {
    /// Of `total` rows.
    pub fn new(options: &'a Options, report: &'a dyn Report, total: u64) -> Tally<'a> {
        Tally {
            options,
            report,
            total,
            seen: 0,
            imported: 0,
            failed: 0,
            warned: 0,
            errors: Vec::new(),
            warnings: Vec::new(),
            batch: Vec::with_capacity(options.batch),
        }
    }

    /// How many rows there were, blank ones included.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Adds what row `row` is.
    pub fn add(&mut self, row: u64, outcome: Outcome) -> Result<(), Unfinished> {
        self.seen += 1;
        let is_stride = self.seen.is_multiple_of(STRIDE);
        let mut item = None;
        match outcome {
            Outcome::Blank => {}
            Outcome::Unusable(reason) => {
                self.failed += 1;
                note(&mut self.errors, &[reason], row, self.options.notes);
            }
            Outcome::Book(book, reasons) => {
                self.imported += 1;
                self.warned += u64::from(!reasons.is_empty());
                note(&mut self.warnings, &reasons, row, self.options.notes);
                item = is_stride.then(|| brief(&book));
                self.hand_over(&book)?;
            }
        }
        if is_stride {
            // A file that has grown since it was counted has more rows than that.
            self.report.progress(self.seen, Some(self.total.max(self.seen)), None, item);
        }
        Ok(())
    }

    /// Hands over the last books, and says that all is done.
    pub fn finish(mut self, header: &Header, encoding: Encoding) -> Result<Summary, Unfinished> {
        self.flush()?;
        self.report.progress(self.seen, Some(self.seen), None, None);
        Ok(Summary {
            format: header.columns.source,
            encoding,
            delimiter: char::from(header.delimiter),
            rows: self.imported + self.failed,
            imported: self.imported,
            failed: self.failed,
            warned: self.warned,
            errors: self.errors,
            warnings: self.warnings,
        })
    }

    fn hand_over(&mut self, book: &Book) -> Result<(), Unfinished> {
        self.batch.push(json!(book));
        if self.batch.len() >= self.options.batch { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Unfinished> {
        if !self.batch.is_empty() {
            let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(self.options.batch));
            self.report.items(batch)?;
        }
        Ok(())
    }
}

fn note(notes: &mut Vec<RowNote>, reasons: &[Reason], row: u64, most: usize) {
    let room = most.saturating_sub(notes.len());
    notes.extend(reasons.iter().take(room).map(|reason| reason.note(row)));
}

/// What is said of a book that is worked on.
fn brief(book: &Book) -> Value {
    let Book { isbn, title, .. } = book;
    json!(Book { isbn: isbn.clone(), title: title.clone(), ..Book::default() })
}
