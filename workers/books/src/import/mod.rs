//! Imports a list of books: a table as Goodreads, StoryGraph, LibraryThing or a spreadsheet writes it.
//!
//! The file is read twice, as a stream both times. The first pass counts its rows, so that the progress has a true total
//! from the start, and learns its encoding, which only the whole file can tell; it takes some milliseconds for each
//! 10,000 rows. The second makes books of the rows and hands them over in batches. Memory stays flat: neither the file
//! nor the result is ever held. The same file gives the same items in the same order, so work that was lost on the way
//! can begin again and hand over the same from index 0.
//!
//! `columns` knows the exports by the names of their columns, and `header` reads those. `records` tells rows and fields
//! apart, `text` knows encodings. `row` makes a book of a row, or a reason why not; `value` and `names` read its cells.
//! `refusal` has the sentences for files that can't be imported, `summary` those for rows.

mod columns;
mod header;
mod names;
mod records;
mod refusal;
mod row;
#[doc(hidden)]
pub mod sample;
mod summary;
mod tally;
mod text;
mod value;

use std::io::{self, Read, Seek, SeekFrom};

use self::header::Header;
use self::records::{Record, Records};
use self::row::Outcome;
use self::summary::Reason;
use self::tally::Tally;
use self::text::Evidence;
use crate::report::{Report, Unfinished};

pub use self::columns::Source;
pub use self::summary::{RowNote, Summary};
pub use self::text::Encoding;

/// Bounds of an import.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bytes of a row, all its cells together. A long review has some 20,000; 1 MiB is never a row that is meant.
    pub row_bytes: usize,
    /// Rows of a file. The largest libraries of single people have some 10,000.
    pub rows: u64,
    /// Books that are handed over at once.
    pub batch: usize,
    /// Notes about rows that are kept of each kind, errors and warnings; those that follow are only counted.
    pub notes: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options { row_bytes: 1024 * 1024, rows: 1_000_000, batch: 500, notes: 1_000 }
    }
}

/// After how many rows the progress is told, and it is asked whether the work is canceled.
const STRIDE: u64 = 256;

/// Imports the books of `input`, from its beginning.
///
/// Blocks, and asks `report` all the time whether it is canceled: at each read and every 256 rows. Each book is an item,
/// the JSON of a [`Book`](crate::book::Book). Progress counts rows; blank lines and the header are none.
pub fn run(mut input: impl Read + Seek, options: &Options, report: &dyn Report) -> Result<Summary, Unfinished> {
    let answer = Import { input: &mut input, options, report }.run();
    // A cancel stops the reading, which then looks like a file that can't be read.
    if matches!(answer, Err(Unfinished::Failed(_))) && report.is_canceled() {
        Err(Unfinished::Canceled)
    } else {
        answer
    }
}

struct Import<'a, R> {
    input: &'a mut R,
    options: &'a Options,
    report: &'a dyn Report,
}

impl<R: Read + Seek> Import<'_, R> {
    fn run(mut self) -> Result<Summary, Unfinished> {
        self.go_to(0)?;
        let header = header::read(&mut self.watched())?;
        let (rows, encoding) = self.survey(&header)?;
        if rows == 0 {
            return Err(refusal::header_only().into());
        }
        if rows > self.options.rows {
            return Err(refusal::too_many_rows(rows, self.options.rows).into());
        }
        self.import(&header, encoding, rows)
    }

    /// Counts the rows, and learns the encoding where the beginning did not say it.
    fn survey(&mut self, header: &Header) -> Result<(u64, Encoding), Unfinished> {
        let report = self.report;
        report.progress(0, None, Some("counting rows"), None);
        let (mut rows, mut evidence) = (0, Evidence::default());
        let mut records = self.records(header, header.beginning.encoding.unwrap_or(Encoding::Utf8))?;
        while let Some(record) = records.next().map_err(unreadable)? {
            if record.row() > header.row {
                rows += 1;
            }
            if let Record::Row(row) = record {
                evidence.add(row.bytes());
            }
            stop_if_canceled(rows, report)?;
        }
        Ok((rows, header.beginning.encoding.unwrap_or_else(|| evidence.encoding())))
    }

    /// Makes books of the `total` rows.
    fn import(&mut self, header: &Header, encoding: Encoding, total: u64) -> Result<Summary, Unfinished> {
        let (options, report) = (self.options, self.report);
        report.progress(0, Some(total), None, None);
        let mut tally = Tally::new(options, report, total);
        let mut records = self.records(header, encoding)?;
        while let Some(record) = records.next().map_err(unreadable)? {
            let row = record.row();
            if row > header.row {
                tally.add(row, outcome(record, header, options))?;
                stop_if_canceled(tally.seen(), report)?;
            }
        }
        tally.finish(header, encoding)
    }

    /// The records of the file from behind the byte order mark, header included.
    fn records(&mut self, header: &Header, encoding: Encoding) -> Result<Records<Box<dyn Read + '_>>, Unfinished> {
        self.go_to(header.beginning.mark)?;
        let limit = self.options.row_bytes;
        Ok(Records::new(encoding.decode(self.watched()), header.delimiter, limit))
    }

    fn go_to(&mut self, place: u64) -> Result<(), Unfinished> {
        self.input.seek(SeekFrom::Start(place)).map(|_| ()).map_err(unreadable)
    }

    fn watched(&mut self) -> Watched<'_, R> {
        Watched { input: self.input, report: self.report }
    }
}

fn outcome(record: Record<'_>, header: &Header, options: &Options) -> Outcome {
    match record {
        Record::Row(row) => row::read(&row, &header.columns),
        Record::TooLong { .. } => Outcome::Unusable(Reason::TooLong { limit: options.row_bytes }),
        Record::Unclosed { .. } => Outcome::Unusable(Reason::OpenQuote),
    }
}

fn stop_if_canceled(rows: u64, report: &dyn Report) -> Result<(), Unfinished> {
    if rows.is_multiple_of(STRIDE) && report.is_canceled() { Err(Unfinished::Canceled) } else { Ok(()) }
}

fn unreadable(error: io::Error) -> Unfinished {
    refusal::unreadable(&error).into()
}

/// A file that can't be read any more once the work is canceled, so that no row is too long to be stopped in.
struct Watched<'a, R> {
    input: &'a mut R,
    report: &'a dyn Report,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.report.is_canceled() {
            return Err(io::Error::other("the work was canceled"));
        }
        self.input.read(buffer)
    }
}
