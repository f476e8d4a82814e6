//! The first row of a file: its columns, and what stands between them.

use std::borrow::Cow;
use std::io::Read;

use super::columns::Columns;
use super::records::{Record, Records, Row};
use super::text::{self, Beginning};
use super::{refusal, unreadable, value};
use crate::report::{Failure, Unfinished};

/// How much of a file is looked at to find the names of its columns. The widest known export needs 600 bytes.
const BEGINNING: usize = 64 * 1024;
/// What may stand between fields. The last wins where several would do: in a list of one column, where none of them
/// stands in the header, a comma is part of a title and a tab is not.
const DELIMITERS: [u8; 3] = *b",;\t";

/// What the first row says.
#[derive(Debug)]
pub(super) struct Header {
    /// Encoding and byte order mark.
    pub beginning: Beginning,
    /// What stands between fields.
    pub delimiter: u8,
    /// Which column is what.
    pub columns: Columns,
    /// Its own row: what follows is books.
    pub row: u64,
}

/// Reads the first row of `input`, or says what else the file is.
pub(super) fn read(input: &mut impl Read) -> Result<Header, Unfinished> {
    let mut bytes = Vec::new();
    input.take(BEGINNING as u64).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(header(&bytes)?)
}

fn header(bytes: &[u8]) -> Result<Header, Failure> {
    if let Some(failure) = refusal::no_table(bytes) {
        return Err(failure);
    }
    let beginning = Beginning::of(bytes);
    let is_whole = bytes.len() < BEGINNING;
    let text = beginning.text(bytes);
    if is_whole && text.trim_ascii().is_empty() {
        return Err(refusal::empty_file());
    }
    if let Some(failure) = refusal::other_text(&text) {
        return Err(failure);
    }
    let candidates: Vec<Candidate> = match separator_line(&text) {
        Some(delimiter) => Candidate::read(&text, delimiter, 1, is_whole).into_iter().collect(),
        None => DELIMITERS.iter().filter_map(|delimiter| Candidate::read(&text, *delimiter, 0, is_whole)).collect(),
    };
    if candidates.iter().any(|candidate| candidate.is_binary) {
        return Err(refusal::binary());
    }
    let best = candidates.into_iter().max_by_key(|candidate| (candidate.columns.known(), candidate.names.len()));
    let best = best.ok_or_else(refusal::no_header)?;
    if !best.columns.name_books() {
        return Err(refusal::wrong_columns(&best.names));
    }
    Ok(Header { beginning, delimiter: best.delimiter, columns: best.columns, row: best.row })
}

/// The first row, divided by one delimiter.
struct Candidate {
    delimiter: u8,
    row: u64,
    names: Vec<String>,
    columns: Columns,
    is_binary: bool,
}

impl Candidate {
    /// Reads the record behind `skipped` others. `None`: there is no end to it, or to a quote in it.
    fn read(text: &[u8], delimiter: u8, skipped: usize, is_whole: bool) -> Option<Candidate> {
        let mut records = Records::new(text, delimiter, BEGINNING * 3);
        for _ in 0..skipped {
            records.next().ok()??;
        }
        let Record::Row(row) = records.next().ok()?? else { return None };
        if row.at_end && !is_whole {
            return None;
        }
        let names: Vec<String> = fields(&row).map(|name| value::tidy(&name).into_owned()).collect();
        let columns = Columns::of(names.iter().map(|name| Cow::Borrowed(name.as_str())));
        let is_binary = row.bytes().iter().any(|byte| is_control(*byte));
        Some(Candidate { delimiter, row: row.number, names, columns, is_binary })
    }
}

fn fields(row: &Row<'_>) -> impl Iterator<Item = String> {
    (0..row.len()).filter_map(|index| row.field(index)).map(|field| text::guess(&field).into_owned())
}

fn is_control(byte: u8) -> bool {
    byte == 0x7f || byte < b' ' && !byte.is_ascii_whitespace()
}

/// The delimiter that Excel reads from a first line such as `sep=;`.
fn separator_line(text: &[u8]) -> Option<u8> {
    let line = text.split(|byte| matches!(byte, b'\r' | b'\n')).next()?;
    let (name, delimiter) = line.split_at_checked(4)?;
    match delimiter {
        [delimiter] if name.eq_ignore_ascii_case(b"sep=") && *delimiter != b'"' => Some(*delimiter),
        _ => None,
    }
}
