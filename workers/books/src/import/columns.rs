//! Which column of a file is what: known by the names in its first row.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// Where a file comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The export of goodreads.com.
    Goodreads,
    /// The export of thestorygraph.com.
    StoryGraph,
    /// The export of librarything.com.
    LibraryThing,
    /// Any other table with a title or an ISBN.
    Plain,
}

/// What a column can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    /// The title, maybe with the series behind it in parentheses.
    Title,
    /// One author or more.
    Author,
    /// The author with the family name first.
    AuthorSorted,
    /// Authors beside the first.
    MoreAuthors,
    /// What each of those did (LibraryThing).
    MoreAuthorsRoles,
    /// An ISBN-13 …
    Isbn13,
    /// … an ISBN of any kind, or the number of somebody else …
    Isbn,
    /// … or several.
    Isbns,
    /// The name of a series.
    Series,
    /// The place in it.
    SeriesPosition,
    /// A language, by name or code.
    Language,
    /// The publisher.
    Publisher,
    /// Publisher, year, edition and form in one (LibraryThing).
    Publication,
    /// A year or date of publication.
    Year,
    /// That of the first edition.
    OriginalYear,
    /// How many pages.
    Pages,
    /// Paperback and so on.
    Format,
    /// The one shelf that says how far it is read.
    Status,
    /// Other shelves, tags, collections.
    Shelves,
    /// The same again: LibraryThing has both.
    Collections,
    /// The owner's stars.
    Rating,
    /// When it was added.
    DateAdded,
    /// When it was read last.
    DateRead,
}

/// The names of each column as [`normal`] makes them, the best first.
const NAMES: [(Column, &[&str]); 23] = [
    (
        Column::Title,
        &[
            "title",
            "booktitle",
            "bookname",
            "book",
            "name",
            "titel",
            "buchtitel",
            "titre",
            "título",
            "titulo",
            "titolo",
        ],
    ),
    (
        Column::Author,
        &[
            "author",
            "authors",
            "primaryauthor",
            "authorname",
            "authornames",
            "authorsname",
            "bookauthor",
            "bookauthors",
            "writer",
            "creator",
            "by",
            "autor",
            "autoren",
            "autorin",
            "auteur",
            "auteurs",
            "autore",
            "autori",
            "autores",
            "verfasser",
        ],
    ),
    (Column::AuthorSorted, &["authorlf", "authorlastfirst", "authorsort", "authorsorted", "sortauthor"]),
    (Column::MoreAuthors, &["additionalauthors", "secondaryauthor", "secondaryauthors", "otherauthors", "coauthors"]),
    (Column::MoreAuthorsRoles, &["secondaryauthorroles"]),
    (Column::Isbn13, &["isbn13", "ean", "ean13", "gtin"]),
    (Column::Isbn, &["isbn", "isbnuid", "isbn10", "isbnnumber", "isbnno", "isbnasin", "isbn1013", "isbn1310", "uid"]),
    (Column::Isbns, &["isbns"]),
    (Column::Series, &["series", "seriesname", "reihe", "série"]),
    (Column::SeriesPosition, &["seriesnumber", "seriesposition", "seriesindex", "volume", "numberinseries"]),
    (Column::Language, &["language", "languages", "lang", "languagecode", "sprache", "langue", "idioma", "lingua"]),
    (
        Column::Publisher,
        &["publisher", "publishers", "publishername", "verlag", "éditeur", "editeur", "editorial", "editore"],
    ),
    (Column::Publication, &["publication"]),
    (
        Column::Year,
        &[
            "yearpublished",
            "publishedyear",
            "publicationyear",
            "yearofpublication",
            "year",
            "publicationdate",
            "publisheddate",
            "publishdate",
            "datepublished",
            "published",
            "erscheinungsjahr",
            "jahr",
            "année",
            "año",
            "anno",
        ],
    ),
    (Column::OriginalYear, &["originalpublicationyear", "firstpublished", "originalyear"]),
    (Column::Pages, &["numberofpages", "pages", "pagecount", "numpages", "seiten", "seitenzahl"]),
    (Column::Format, &["binding", "format", "media", "bookformat"]),
    (Column::Status, &["exclusiveshelf", "readstatus", "readingstatus", "status", "shelf", "bookshelf"]),
    (Column::Shelves, &["bookshelves", "shelves", "tags", "categories"]),
    (Column::Collections, &["collections", "collection"]),
    (Column::Rating, &["myrating", "starrating", "myratings", "rating", "userrating", "stars"]),
    (Column::DateAdded, &["dateadded", "entrydate", "added", "addeddate"]),
    (Column::DateRead, &["dateread", "lastdateread", "readdate", "datefinished", "finished"]),
];

/// The columns of a file.
#[derive(Debug, Clone)]
pub(super) struct Columns {
    /// Where it comes from.
    pub source: Source,
    /// How many it has, the unknown included.
    pub count: usize,
    /// Where each known one stands, as `NAMES` has them.
    places: [Option<usize>; NAMES.len()],
}

impl Columns {
    /// Reads the names of the first row.
    pub fn of<'a>(names: impl Iterator<Item = Cow<'a, str>>) -> Columns {
        let names: Vec<String> = names.map(|name| normal(&name)).collect();
        let place = |wanted: &str| names.iter().position(|name| name == wanted);
        let source = source(|name| place(name).is_some());
        let mut places = NAMES.map(|(_, synonyms)| synonyms.iter().find_map(|name| place(name)));
        // Of LibraryThing it is the year of publication; elsewhere it may be any date.
        let year = &mut places[Column::Year as usize];
        if source == Source::LibraryThing {
            *year = year.or(place("date"));
        }
        Columns { source, count: names.len(), places }
    }

    /// Where a column stands.
    pub fn place(&self, column: Column) -> Option<usize> {
        self.places[column as usize]
    }

    /// Whether a row of so many fields ends before a column that is known.
    pub fn missing_from(&self, fields: usize) -> bool {
        self.places.iter().flatten().any(|place| *place >= fields)
    }

    /// How many are known.
    pub fn known(&self) -> usize {
        self.places.iter().flatten().count()
    }

    /// Whether there is anything in it by which to know a book.
    pub fn name_books(&self) -> bool {
        [Column::Title, Column::Isbn13, Column::Isbn, Column::Isbns].iter().any(|column| self.place(*column).is_some())
    }
}

/// Each export by columns that no other has.
fn source(has: impl Fn(&str) -> bool) -> Source {
    if has("isbnuid") || has("readstatus") && has("starrating") {
        Source::StoryGraph
    } else if has("primaryauthor") {
        Source::LibraryThing
    } else if has("exclusiveshelf") || has("authorlf") && has("bookid") {
        Source::Goodreads
    } else {
        Source::Plain
    }
}

/// A name without all that people write differently: case, spaces, underscores, other signs.
fn normal(name: &str) -> String {
    name.chars().filter(|character| character.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(header: &str) -> Columns {
        Columns::of(header.split(',').map(Cow::Borrowed))
    }

    #[test]
    fn the_table_of_names_is_in_the_order_of_the_columns_and_no_name_stands_twice() {
        let mut seen = Vec::new();
        for (place, (column, names)) in NAMES.iter().enumerate() {
            assert_eq!(*column as usize, place);
            for name in *names {
                assert_eq!(normal(name), *name);
                assert!(!seen.contains(name), "{name}");
                seen.push(name);
            }
        }
    }

    #[test]
    fn an_export_is_known_by_columns_that_no_other_has() {
        let goodreads =
            columns("Book Id,Title,Author,Author l-f,Additional Authors,ISBN,ISBN13,My Rating,Exclusive Shelf");
        assert_eq!(goodreads.source, Source::Goodreads);
        let story = columns("Title,Authors,Contributors,ISBN/UID,Format,Read Status,Date Added,Star Rating");
        assert_eq!(story.source, Source::StoryGraph);
        assert_eq!(columns("title,ISBN/UID").source, Source::StoryGraph);
        let thing = columns("Book Id,Title,Sort Character,Primary Author,Secondary Author,Publication,Date,ISBN,ISBNs");
        assert_eq!((thing.source, thing.place(Column::Year)), (Source::LibraryThing, Some(6)));
        let plain = columns("title,author,isbn,date");
        assert_eq!((plain.source, plain.place(Column::Year)), (Source::Plain, None));
    }

    #[test]
    fn names_are_known_in_any_order_case_and_spacing() {
        let columns = columns("\u{feff} I.S.B.N-13 ,BOOK_TITLE,Author(s),x,Année");
        assert_eq!(columns.place(Column::Isbn13), Some(0));
        assert_eq!(columns.place(Column::Title), Some(1));
        assert_eq!(columns.place(Column::Author), Some(2));
        assert_eq!(columns.place(Column::Year), Some(4));
        assert_eq!((columns.known(), columns.count), (4, 5));
    }

    #[test]
    fn a_title_or_a_number_is_needed() {
        assert!(columns("isbn").name_books() && columns("a,Title").name_books());
        assert!(!columns("author,publisher").name_books() && !columns("").name_books());
    }
}
