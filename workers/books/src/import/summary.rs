//! What is said of an import when it is done.

use std::fmt;

use serde::Serialize;
use serde_json::{Value, json};

use super::columns::Source;
use super::text::Encoding;
use super::value;
use crate::isbn::IsbnError;

/// How many bytes of JSON the result of a job may have are 64 KiB (`protocol/README.md` §10.1); some are left for who
/// wraps it.
const RESULT_BYTES: usize = 60 * 1024;
/// Characters of a cell that are shown in a sentence.
const SHOWN: usize = 40;

/// What an import found. Books themselves are items of the result.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Where the file comes from.
    pub format: Source,
    /// How its characters are written.
    pub encoding: Encoding,
    /// What stands between its fields.
    pub delimiter: char,
    /// Rows under the header, without blank ones. `imported` and `failed` add up to it.
    pub rows: u64,
    /// Rows that became books.
    pub imported: u64,
    /// Rows that could not be used.
    pub failed: u64,
    /// Rows that became books although something is wrong with them.
    pub warned: u64,
    /// Why rows failed, in the order of the file: the first of them.
    pub errors: Vec<RowNote>,
    /// What is wrong with rows that became books: the first of them.
    pub warnings: Vec<RowNote>,
}

/// What is wrong with a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RowNote {
    /// As a spreadsheet numbers it: the header is 1 where no blank line stands before it, and a blank line counts.
    pub row: u64,
    /// One word for programs.
    pub code: &'static str,
    /// A sentence for people.
    pub message: String,
}

impl Summary {
    /// As the result of a job: JSON that fits into one. Where the notes are too many for that, the last are left out,
    /// those about failed rows after all others; the counts stay true.
    pub fn to_result(&self) -> Value {
        let mut budget = RESULT_BYTES;
        let errors = fitting(&self.errors, &mut budget);
        let warnings = fitting(&self.warnings, &mut budget);
        json!({
            "format": self.format,
            "encoding": self.encoding,
            "delimiter": self.delimiter,
            "rows": self.rows,
            "imported": self.imported,
            "failed": self.failed,
            "warned": self.warned,
            "errors": errors,
            "warnings": warnings,
        })
    }
}

/// The first notes that fit, as JSON.
fn fitting(notes: &[RowNote], budget: &mut usize) -> Vec<Value> {
    let mut fit = Vec::new();
    for note in notes {
        let note = json!(note);
        let bytes = note.to_string().len() + 1;
        if bytes > *budget {
            break;
        }
        *budget -= bytes;
        fit.push(note);
    }
    fit
}

/// What can be wrong with a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reason {
    /// It is longer than a record may be.
    TooLong { limit: usize },
    /// A quote opens a field and nothing closes it.
    OpenQuote,
    /// It stands behind such a quote, and does not look like a row.
    BehindOpenQuote,
    /// Its bytes are not UTF-8, in a file that is.
    NotUtf8,
    /// It has a NUL byte.
    NulByte,
    /// It has something in more fields than there are columns.
    TooManyFields { found: usize, expected: usize },
    /// It ends before a column that matters.
    TooFewFields { found: usize, expected: usize },
    /// What stands where an ISBN should is none.
    Isbn { error: IsbnError, shown: String },
    /// It has neither a title nor an ISBN.
    NothingToKnowItBy,
    /// It has the sign that stands for a character that was lost before.
    DamagedText,
    /// A text was longer, or there were more of them, than is kept.
    Shortened,
}

impl Reason {
    /// What is wrong with the ISBN in a cell.
    pub fn isbn(error: IsbnError, cell: &str) -> Reason {
        let cell = value::tidy(cell);
        let shown = match cell.char_indices().nth(SHOWN) {
            Some((end, _)) => format!("{}…", &cell[..end]),
            None => cell.into_owned(),
        };
        Reason::Isbn { error, shown }
    }

    /// What is wrong with row `row`.
    pub fn note(&self, row: u64) -> RowNote {
        RowNote { row, code: self.code(), message: self.to_string() }
    }

    fn code(&self) -> &'static str {
        match self {
            Reason::TooLong { .. } => "row-too-long",
            Reason::OpenQuote => "open-quote",
            Reason::BehindOpenQuote => "behind-open-quote",
            Reason::NotUtf8 => "not-utf8",
            Reason::NulByte => "nul-byte",
            Reason::TooManyFields { .. } => "too-many-fields",
            Reason::TooFewFields { .. } => "too-few-fields",
            Reason::Isbn { error: IsbnError::Shape, .. } => "not-an-isbn",
            Reason::Isbn { error: IsbnError::Checksum, .. } => "isbn-checksum",
            Reason::Isbn { error: IsbnError::Prefix, .. } => "isbn-prefix",
            Reason::Isbn { error: IsbnError::Rounded, .. } => "isbn-rounded",
            Reason::NothingToKnowItBy => "no-title-or-isbn",
            Reason::DamagedText => "damaged-text",
            Reason::Shortened => "shortened",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::TooLong { limit } => write!(f, "The row is longer than {limit} bytes; is a quote missing?"),
            Reason::OpenQuote => f.write_str("A quote opens a field here and is never closed."),
            Reason::BehindOpenQuote => {
                f.write_str("The line stands behind a quote that is never closed, and is no whole row.")
            }
            Reason::NotUtf8 => f.write_str("The row has bytes that are not UTF-8, unlike the rest of the file."),
            Reason::NulByte => f.write_str("The row has a NUL byte."),
            Reason::TooManyFields { found, expected } => {
                write!(
                    f,
                    "The row has {found} fields and the header {expected}; is a text with a delimiter in it not quoted?"
                )
            }
            Reason::TooFewFields { found, expected } => {
                write!(f, "The row ends after {found} of {expected} fields.")
            }
            Reason::Isbn { error, shown } => write!(f, "`{shown}` is no ISBN: {error}."),
            Reason::NothingToKnowItBy => f.write_str("The row has neither a title nor an ISBN."),
            Reason::DamagedText => {
                f.write_str("The row has `\u{fffd}`, which stands for a character that was lost before.")
            }
            Reason::Shortened => f.write_str("The row has longer texts, or more names, than are kept."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(errors: u64, warnings: u64) -> Summary {
        let reason = Reason::isbn(IsbnError::Checksum, &"9".repeat(100));
        Summary {
            format: Source::StoryGraph,
            encoding: Encoding::Windows1252,
            delimiter: '\t',
            rows: 10_000,
            imported: 9_000,
            failed: 1_000,
            warned: 7,
            errors: (0..errors).map(|row| reason.note(row)).collect(),
            warnings: (0..warnings).map(|row| reason.note(row)).collect(),
        }
    }

    #[test]
    fn the_result_is_what_the_summary_is() {
        let summary = summary(2, 2);
        assert_eq!(summary.to_result(), serde_json::to_value(&summary).unwrap());
        assert_eq!(summary.to_result()["encoding"], "windows-1252");
    }

    #[test]
    fn the_result_fits_into_a_job_and_keeps_errors_before_warnings() {
        let result = summary(1_000, 1_000).to_result();
        assert!(result.to_string().len() <= 64 * 1024);
        assert!(result["errors"].as_array().unwrap().len() > 300);
        assert!(result["warnings"].as_array().unwrap().len() <= 1);
        assert_eq!(result["failed"], 1_000);
    }

    #[test]
    fn a_cell_is_not_shown_at_length() {
        assert!(Reason::isbn(IsbnError::Shape, &"é".repeat(1_000)).to_string().chars().count() < 100);
    }
}
