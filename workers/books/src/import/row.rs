//! A row becomes a book, or a reason why not.

use std::borrow::Cow;

use super::columns::{Column, Columns, Source};
use super::names;
use super::records::{Row, TextRow};
use super::summary::Reason;
use super::value;
use crate::book::{Book, Status};
use crate::isbn::{Isbn, IsbnError};

/// Characters of a title that are kept: as many as the apps take.
const TITLE: usize = 500;
/// Characters of a name, of a publisher and of a series.
const NAME: usize = 100;
/// How many authors are kept.
const AUTHORS: usize = 20;
/// Characters of a shelf or tag.
const SHELF: usize = 50;
/// How many shelves are kept. With all of these at their most, in characters of four bytes, a book stays under the
/// 16 KiB that an item may have (`protocol/README.md` §10.5).
const SHELVES: usize = 20;

/// What a row is.
#[derive(Debug)]
pub(super) enum Outcome {
    /// A book, with what is to be said about it.
    Book(Box<Book>, Vec<Reason>),
    /// A row of empty cells.
    Blank,
    /// Nothing that can be used.
    Unusable(Reason),
}

/// Reads a row as the columns say.
pub(super) fn read(row: &Row<'_>, columns: &Columns) -> Outcome {
    match checked(row, columns) {
        Err(reason) => Outcome::Unusable(reason),
        Ok(text) if text.fields().all(|field| field.trim().is_empty()) => Outcome::Blank,
        Ok(text) => {
            let mut reader = Reader { row: text, columns, warnings: Vec::new() };
            if columns.missing_from(row.len()) {
                reader.warnings.push(Reason::TooFewFields { found: row.len(), expected: columns.count });
            }
            match reader.book() {
                Ok(book) => Outcome::Book(Box::new(book), reader.warnings),
                Err(reason) => Outcome::Unusable(reason),
            }
        }
    }
}

/// The row as text, if its fields are where the columns are.
fn checked<'a>(row: &Row<'a>, columns: &Columns) -> Result<TextRow<'a>, Reason> {
    if memchr::memchr(0, row.bytes()).is_some() {
        return Err(Reason::NulByte);
    }
    let text = row.text().ok_or(Reason::NotUtf8)?;
    if row.recovered && row.len() != columns.count {
        return Err(Reason::BehindOpenQuote);
    }
    let is_filled = |index| text.field(index).is_some_and(|field| !field.trim().is_empty());
    if (columns.count..row.len()).any(is_filled) {
        return Err(Reason::TooManyFields { found: row.len(), expected: columns.count });
    }
    Ok(text)
}

struct Reader<'a> {
    row: TextRow<'a>,
    columns: &'a Columns,
    warnings: Vec<Reason>,
}

impl<'a> Reader<'a> {
    fn book(&mut self) -> Result<Book, Reason> {
        let (title, series) = self.title();
        let isbn = self.isbn(title.is_some())?;
        if title.is_none() && isbn.is_none() {
            return Err(Reason::NothingToKnowItBy);
        }
        let (series, series_position) = match series {
            Some((name, position)) => (Some(name), Some(position)),
            None => (self.text(Column::Series, NAME), self.text(Column::SeriesPosition, 20)),
        };
        let date_read = self.field(Column::DateRead).and_then(|text| value::date(&text));
        let (status, shelves) = self.shelves();
        let authors = self.authors();
        let book = Book {
            isbn: isbn.map(|isbn| isbn.to_string()),
            title,
            authors,
            series,
            series_position,
            language: self.field(Column::Language).and_then(|text| value::language(&text)),
            publisher: self.publisher(),
            published_year: self.year(),
            pages: self.field(Column::Pages).and_then(|text| value::pages(&text)),
            format: self.text(Column::Format, SHELF),
            // Who says when it was read has read it.
            status: status.or(date_read.as_ref().map(|_| Status::Read)),
            rating: self.field(Column::Rating).and_then(|text| value::rating(&text)),
            shelves,
            date_added: self.field(Column::DateAdded).and_then(|text| value::date(&text)),
            date_read,
        };
        if !self.row.whole().is_ascii() && self.row.whole().contains('\u{fffd}') {
            self.warnings.push(Reason::DamagedText);
        }
        Ok(book)
    }

    fn title(&mut self) -> (Option<String>, Option<(String, String)>) {
        let Some(title) = self.text(Column::Title, TITLE) else { return (None, None) };
        match value::split_series(&title) {
            Some((title, name, position)) => {
                let series = (self.cut(name, NAME), self.cut(position, 20));
                (Some(title.to_owned()), Some(series))
            }
            None => (Some(title), None),
        }
    }

    /// The first number that is an ISBN. One that is wrong is a warning where the book can be known by its title or by
    /// another number, and else the reason why the row is of no use.
    fn isbn(&mut self, has_title: bool) -> Result<Option<Isbn>, Reason> {
        let mut wrong = None;
        let mut right = None;
        for column in [Column::Isbn13, Column::Isbn, Column::Isbns] {
            let Some(text) = self.field(column) else { continue };
            match isbn_in(&text) {
                Ok(found) => right = right.or(found),
                // A StoryGraph file has its own id there where it knows no ISBN.
                Err(IsbnError::Shape) if self.columns.source == Source::StoryGraph => {}
                Err(error) => wrong = wrong.or(Some(Reason::isbn(error, &text))),
            }
        }
        match wrong {
            Some(reason) if right.is_none() && !has_title => Err(reason),
            Some(reason) => {
                self.warnings.push(reason);
                Ok(right)
            }
            None => Ok(right),
        }
    }

    fn authors(&mut self) -> Vec<String> {
        let source = self.columns.source;
        let (first, is_sorted) = match (self.field(Column::Author), self.field(Column::AuthorSorted)) {
            (Some(first), _) if !first.trim().is_empty() => (first, source == Source::LibraryThing),
            (_, Some(sorted)) => (sorted, true),
            _ => (Cow::Borrowed(""), false),
        };
        let mut authors = match source {
            _ if is_sorted => vec![names::given_name_first(&first)],
            Source::Goodreads => vec![first.into_owned()],
            Source::StoryGraph => names::between_commas(&first),
            Source::LibraryThing | Source::Plain => names::any(&first),
        };
        if let Some(more) = self.field(Column::MoreAuthors) {
            authors.extend(match source {
                Source::LibraryThing => {
                    let roles = self.field(Column::MoreAuthorsRoles).unwrap_or_default();
                    names::authors_by_role(&more, &roles)
                }
                Source::Goodreads | Source::StoryGraph => names::between_commas(&more),
                Source::Plain => names::any(&more),
            });
        }
        self.list(authors, AUTHORS, NAME)
    }

    fn shelves(&mut self) -> (Option<Status>, Vec<String>) {
        let mut status = None;
        let mut shelves = Vec::new();
        for column in [Column::Status, Column::Shelves, Column::Collections] {
            for shelf in self.field(column).unwrap_or_default().split([',', ';']) {
                match value::status(shelf) {
                    Some(found) => status = status.or(Some(found)),
                    None => shelves.push(shelf.to_owned()),
                }
            }
        }
        (status, self.list(shelves, SHELVES, SHELF))
    }

    fn publisher(&mut self) -> Option<String> {
        self.text(Column::Publisher, NAME).or_else(|| {
            let publication = self.field(Column::Publication)?;
            let publisher = publication.split_once(" (").or_else(|| publication.split_once(", ")).map(|(name, _)| name);
            self.tidy(publisher.unwrap_or(&publication), NAME)
        })
    }

    fn year(&self) -> Option<i32> {
        [Column::Year, Column::OriginalYear].into_iter().find_map(|column| value::year(&self.field(column)?))
    }

    fn field(&self, column: Column) -> Option<Cow<'a, str>> {
        self.row.field(self.columns.place(column)?)
    }

    fn text(&mut self, column: Column, most: usize) -> Option<String> {
        let text = self.field(column)?;
        self.tidy(&text, most)
    }

    /// Tidied texts, without the empty ones and without repetitions.
    fn list(&mut self, texts: Vec<String>, count: usize, most: usize) -> Vec<String> {
        let mut list: Vec<String> = Vec::new();
        for text in texts {
            match self.tidy(&text, most) {
                Some(text) if !list.contains(&text) => {
                    if list.len() == count {
                        self.shortened();
                        break;
                    }
                    list.push(text);
                }
                _ => {}
            }
        }
        list
    }

    fn tidy(&mut self, text: &str, most: usize) -> Option<String> {
        let text = value::tidy(text);
        (!text.is_empty()).then(|| self.cut(&text, most))
    }

    fn cut(&mut self, text: &str, most: usize) -> String {
        match text.char_indices().nth(most) {
            Some((end, _)) => {
                self.shortened();
                text[..end].trim_end().to_owned()
            }
            None => text.to_owned(),
        }
    }

    fn shortened(&mut self) {
        if !self.warnings.contains(&Reason::Shortened) {
            self.warnings.push(Reason::Shortened);
        }
    }
}

/// The ISBN of a cell that may hold several.
fn isbn_in(text: &str) -> Result<Option<Isbn>, IsbnError> {
    Isbn::parse(text).or_else(|error| {
        // As a whole first: in `9,78044E+12` the comma divides nothing.
        text.split([',', ';', '|']).find_map(|part| Isbn::parse(part).ok().flatten()).map(Some).ok_or(error)
    })
}
